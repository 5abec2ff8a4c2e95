"""The pinhole camera: intrinsics that follow the image, and the homography of a turned camera.

Pixel convention: the centre of the top-left pixel is (0, 0), as in OpenCV. Resizing therefore maps
``u`` to ``(u + 0.5) * scale - 0.5``.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Intrinsics:
    """Focal lengths, principal point and image size, all in pixels."""

    focal_x: float
    focal_y: float
    center_x: float
    center_y: float
    width: int
    height: int

    @property
    def matrix(self) -> Array:
        """The 3x3 matrix K that takes camera rays to homogeneous pixels."""
        return np.array(
            [
                [self.focal_x, 0.0, self.center_x],
                [0.0, self.focal_y, self.center_y],
                [0.0, 0.0, 1.0],
            ]
        )

    @property
    def inverse_matrix(self) -> Array:
        """The inverse of K, which takes homogeneous pixels to camera rays with z = 1."""
        return np.array(
            [
                [1.0 / self.focal_x, 0.0, -self.center_x / self.focal_x],
                [0.0, 1.0 / self.focal_y, -self.center_y / self.focal_y],
                [0.0, 0.0, 1.0],
            ]
        )

    def has_proportions(self, width: int, height: int) -> bool:
        """Whether an image of this size is as wide for its height as the camera's own.

        Proportions that differ by less than a hundredth differ by a rounded pixel.
        """
        return abs(width / height / (self.width / self.height) - 1.0) <= 0.01

    def resized(self, width: int, height: int) -> "Intrinsics":
        """Intrinsics of the same image resized to ``width`` x ``height`` pixels."""
        scale_x, scale_y = width / self.width, height / self.height
        return Intrinsics(
            self.focal_x * scale_x,
            self.focal_y * scale_y,
            (self.center_x + 0.5) * scale_x - 0.5,
            (self.center_y + 0.5) * scale_y - 0.5,
            width,
            height,
        )

    def cropped(self, left: int, top: int, width: int, height: int) -> "Intrinsics":
        """Intrinsics of the ``width`` x ``height`` window whose top-left pixel is (left, top)."""
        return replace(
            self,
            center_x=self.center_x - left,
            center_y=self.center_y - top,
            width=width,
            height=height,
        )

    def project(self, points: Array) -> Array:
        """Pixels (..., 2) of camera-frame points (..., 3); points must lie in front (z > 0)."""
        x, y, z = np.moveaxis(points, -1, 0)
        return np.stack(
            (self.focal_x * x / z + self.center_x, self.focal_y * y / z + self.center_y), axis=-1
        )

    def rays(self) -> Array:
        """Camera-frame directions with z = 1 of all pixels, (height, width, 3)."""
        u = (np.arange(self.width) - self.center_x) / self.focal_x
        v = (np.arange(self.height) - self.center_y) / self.focal_y
        u, v = np.meshgrid(u, v)
        return np.stack((u, v, np.ones_like(u)), axis=-1)


@dataclass(frozen=True)
class Distortion:
    """How a lens bends straight lines; intrinsics take the bent, normalised points to pixels.

    Attributes:
        model: ``radial_tangential`` (OpenCV's rational model: k1, k2, p1, p2, k3, k4, k5, k6,
            missing ones 0) or ``fisheye`` (OpenCV's equidistant one: k1, k2, k3, k4).
        coefficients: In that order.
    """

    model: Literal["radial_tangential", "fisheye"]
    coefficients: tuple[float, ...]


def rotation_homography(intrinsics: Intrinsics, turn: Array) -> Array:
    """Homography that takes pixels of a camera to pixels of the same camera turned in place.

    Turning a camera about its centre moves pixels by ``K turn^T K^-1`` whatever the depth, so the
    turned image and its label ``rotation @ turn`` are exact.

    Args:
        intrinsics: The camera.
        turn: Rotation from turned-camera to camera coordinates, (3, 3).

    Returns:
        The homography from old to new homogeneous pixels, (3, 3).

    Source: Hartley and Zisserman, Multiple View Geometry, 2nd ed., section 8.4.2.
    """
    return intrinsics.matrix @ turn.T @ intrinsics.inverse_matrix
