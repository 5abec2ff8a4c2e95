"""What a network must beat: predictions made from the training frames without learning."""

from collections.abc import Iterable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from posenet.geometry import Pose, mean_rotation

Images = Iterable[NDArray[np.uint8]]

# Small enough that a shift of a few pixels does not matter, large enough to tell places apart.
DESCRIPTOR_SIZE = (32, 24)


def mean_pose(train: Pose, count: int) -> Pose:
    """The same pose for every image: mean position and mean rotation of the training frames.

    Args:
        train: Training poses, (N,).
        count: Images to predict.
    """
    rotation = mean_rotation(train.rotation)
    translation = train.translation.mean(dim=0)
    return Pose(rotation.expand(count, 3, 3), translation.expand(count, 3))


def nearest_image_pose(train_images: Images, train: Pose, images: Images) -> Pose:
    """The pose of the training image that looks most alike.

    Args:
        train_images: N RGB images, (height, width, 3).
        train: Their poses, (N,).
        images: M RGB images, (height, width, 3).

    Returns:
        Poses, (M,).
    """
    known = np.stack([describe(image) for image in train_images])
    asked = np.stack([describe(image) for image in images])
    nearest = torch.from_numpy((asked @ known.T).argmax(axis=1))
    return Pose(train.rotation[nearest], train.translation[nearest])


def describe(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnail in CIE Lab, each channel without its mean, of unit length: (D,).

    The dot product of two is their correlation; exposure and white balance drop out.
    """
    small = cv2.resize(np.ascontiguousarray(image), DESCRIPTOR_SIZE, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
    lab -= lab.mean(axis=(0, 1))
    vector = lab.reshape(-1)
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
