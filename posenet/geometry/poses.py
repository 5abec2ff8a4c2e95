"""Camera poses: where the camera stood and which way it looked."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posenet.geometry.rotations import project_to_rotation

Array = NDArray[np.float64]


class Pose(NamedTuple):
    """Camera-to-world pose: ``x_world = rotation @ x_camera + translation``.

    A NamedTuple, so that ``default_collate`` and ``torch.export`` know it.

    Attributes:
        rotation: (..., 3, 3); its columns are the camera's x (right), y (down) and z (forward)
            axes in the world.
        translation: (..., 3), the camera centre in the world, in metres when the dataset is metric.
    """

    rotation: Tensor
    translation: Tensor

    @property
    def matrix(self) -> Tensor:
        """The homogeneous camera-to-world matrix, (..., 4, 4)."""
        return _homogeneous(self.rotation, self.translation)

    @property
    def world_to_camera(self) -> Tensor:
        """The homogeneous world-to-camera matrix, (..., 4, 4)."""
        rotation = self.rotation.transpose(-1, -2)
        translation = -(rotation @ self.translation.unsqueeze(-1)).squeeze(-1)
        return _homogeneous(rotation, translation)

    @property
    def view_direction(self) -> Tensor:
        """Unit vectors the cameras look along, in the world, (..., 3)."""
        return self.rotation[..., :, 2]


def pose_from_matrix(matrix: Tensor) -> Pose:
    """Pose of homogeneous camera-to-world matrices, their rotation part projected to SO(3).

    Args:
        matrix: (..., 4, 4) or (..., 3, 4).
    """
    return Pose(project_to_rotation(matrix[..., :3, :3]), matrix[..., :3, 3])


def stack_poses(poses: list[Pose]) -> Pose:
    """Stack N poses into one with a leading batch dimension of N."""
    return Pose(
        torch.stack([pose.rotation for pose in poses]),
        torch.stack([pose.translation for pose in poses]),
    )


def translation_distance(translation_a: Tensor, translation_b: Tensor) -> Tensor:
    """Euclidean distance of camera centres (..., 3), in their unit, (...)."""
    return torch.linalg.vector_norm(translation_a - translation_b, dim=-1)


def top_down_axes(train: Pose) -> Array:
    """World directions of the right and the up of a picture taken from above, (2, 3).

    Args:
        train: Poses of shape (M,), M > 0. "Above" is the mean of their cameras' -y axes; where
            those cancel, the direction in which the camera centres vary least.
    """
    up = -train.rotation.detach().cpu().double().numpy()[:, :, 1].mean(axis=0)
    centers = train.translation.detach().cpu().double().numpy()
    spread = np.cov((centers - centers.mean(axis=0)).T, ddof=0)
    if np.linalg.norm(up) < 0.1:
        up = np.linalg.eigh(spread)[1][:, 0]
    up /= np.linalg.norm(up)
    flat = np.eye(3) - np.outer(up, up)
    # Pushing the up direction to the bottom of the spectrum keeps it out of the largest extent,
    # even if all centres coincide.
    right = np.linalg.eigh(flat @ spread @ flat - (np.trace(spread) + 1.0) * np.outer(up, up))[1]
    right = right[:, -1] * (1.0 if right[np.abs(right[:, -1]).argmax(), -1] > 0 else -1.0)
    return np.stack((right, np.cross(up, right)))


def _homogeneous(rotation: Tensor, translation: Tensor) -> Tensor:
    upper = torch.cat((rotation, translation.unsqueeze(-1)), dim=-1)
    bottom = upper.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*upper.shape[:-2], 1, 4)
    return torch.cat((upper, bottom), dim=-2)
