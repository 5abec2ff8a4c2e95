"""Depth images: onto the colour camera, without holes, and splatted into another view."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from posenet.datasets.frame import DepthCamera
from posenet.geometry import Intrinsics

# Nearer than this the pinhole model of a hand-held camera has nothing to say.
NEAREST_M = 0.1


def splat_inverse_depth(points: NDArray[np.float32], intrinsics: Intrinsics) -> NDArray[np.float32]:
    """Inverse depth image of a cloud of points, the nearest winning; one-pixel cracks are closed.

    Args:
        points: In the camera's frame, (N, 3), metres.
        intrinsics: The camera.

    Returns:
        1 / z in 1 / metres, 0 where no point falls, (height, width).
    """
    width, height = intrinsics.width, intrinsics.height
    inverse = np.zeros(height * width, dtype=np.float32)
    points = points[points[:, 2] > NEAREST_M]
    u, v = np.rint(intrinsics.project(points)).astype(np.int64).T
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    np.maximum.at(inverse, (v * width + u)[inside], 1.0 / points[inside, 2])
    # Cracks only: a larger empty region was hidden from the camera the points come from.
    kernel = np.ones((3, 3), np.uint8)
    return cv2.morphologyEx(inverse.reshape(height, width), cv2.MORPH_CLOSE, kernel)


def depth_for_color(
    depth: NDArray[np.float32], camera: DepthCamera | None, intrinsics: Intrinsics
) -> NDArray[np.float32]:
    """Depth at the pixels of the colour image, with every hole filled by its nearest neighbour.

    Args:
        depth: As the sensor wrote it, metres, 0 where unknown, (h, w).
        camera: The depth camera; None when its pixels are those of the colour image.
        intrinsics: The colour camera at the size wanted.

    Returns:
        Metres, (height, width); all zero when nothing is known.
    """
    if camera is None:
        # Nearest, not average: a mean of two surfaces is a point on neither. EXACT: nearest to
        # the pixel's centre; plain INTER_NEAREST is half an output pixel off.
        size = (intrinsics.width, intrinsics.height)
        depth = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT)
    else:
        rays = camera.intrinsics.resized(depth.shape[1], depth.shape[0]).rays()
        known = depth > 0
        points = rays[known] * depth[known][:, None] - np.array(camera.color_center)
        inverse = splat_inverse_depth(points.astype(np.float32), intrinsics)
        depth = np.divide(1.0, inverse, out=np.zeros_like(inverse), where=inverse > 0)
    unknown = depth <= 0
    if unknown.all() or not unknown.any():
        return depth
    rows, columns = ndimage.distance_transform_edt(
        unknown, return_distances=False, return_indices=True
    )
    return depth[rows, columns]
