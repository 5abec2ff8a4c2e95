"""The other direction: what formats that store world-to-camera poses have in common."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from posenet.datasets.formats.parsing import rotations_from_quaternions
from posenet.errors import DataError
from posenet.geometry import Pose, rotation_to_quaternion

Array = NDArray[np.float64]


def to_world_to_camera(pose: Pose) -> Array:
    """Quaternion wxyz (w >= 0) and translation of the world-to-camera direction, (N, 7)."""
    quaternions = rotation_to_quaternion(pose.rotation.mT)
    # By the quaternion as it is written, not by the rotation, so that a reader finds our centre:
    # far from the origin, the last bit of a rotation is more than that of the position.
    rotations = _long_rotations(quaternions.numpy())
    translations = -np.einsum("nij,nj->ni", rotations, pose.translation.numpy())
    return np.concatenate((quaternions.numpy(), translations.astype(np.float64)), axis=1)


def from_world_to_camera(numbers: Array, where: Sequence[str], *, finite: bool = True) -> Pose:
    """Poses of quaternions wxyz and translations (N, 7) of the world-to-camera direction.

    Args:
        numbers: As files hold them.
        where: Where each was found.
        finite: Whether numbers that are not finite are refused; else they give a pose that is not.

    Raises:
        DataError: A quaternion is not of unit length, or a centre is not finite.
    """
    rotation = rotations_from_quaternions(numbers[:, :4], where, finite=finite).mT.contiguous()
    with np.errstate(all="ignore"):  # what overflows here is refused below
        centers = -np.einsum("nji,nj->ni", _long_rotations(numbers[:, :4]), numbers[:, 4:])
        centers = centers.astype(np.float64)
    checked = finite | np.isfinite(numbers).all(axis=1)
    for i in np.flatnonzero(checked & ~np.isfinite(centers).all(axis=1))[:1]:
        raise DataError(
            f"{where[i]}: expected a translation, found {numbers[i, 4:].tolist()}, too large for a "
            "camera centre; correct the line"
        )
    return Pose(rotation, torch.from_numpy(centers))


def _long_rotations(quaternions: Array) -> NDArray[np.longdouble]:
    """Rotations (N, 3, 3) of quaternions wxyz (N, 4), with more digits where the machine has them.

    With 64 bits, a centre 5000 km from the origin moves by 4 nm on its way to a file and back; with
    80, by less than 1 nm, which is its own last bit.
    """
    q = quaternions.astype(np.longdouble)
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
