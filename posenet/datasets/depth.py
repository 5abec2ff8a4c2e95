"""Depth images: onto the colour camera, without holes, and splatted into another view."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from posenet.datasets.frame import DepthCamera
from posenet.datasets.resampling import resample_depth
from posenet.geometry import Distortion, Intrinsics

Array = NDArray[np.float64]

# Nearer than this the pinhole model of a hand-held camera has nothing to say.
NEAREST_M = 0.1


class Transfer(NamedTuple):
    """Where the pixels of one camera are seen by another; all (height, width) of the first.

    Attributes:
        u: Columns in the other camera.
        v: Rows in the other camera.
        inverse: Inverse depths in the other camera, 1 / metres; 0 where there is nothing to see:
            no depth, behind the other camera, or too near to it.
    """

    u: NDArray[np.float32]
    v: NDArray[np.float32]
    inverse: NDArray[np.float32]


def transfer_pixels(
    inverse: NDArray[np.float32], source: Intrinsics, target: Intrinsics, turn: Array, shift: Array
) -> Transfer:
    """Transfer pixels of known depth from one camera to another.

    A homography of the pixels plus the inverse depth times the epipole: a pixel is never lifted
    into space, which saves most of the work.

    Args:
        inverse: Inverse depths, 1 / metres, 0 where unknown, (height, width) of the source.
        source: The camera the depths belong to.
        target: The other camera.
        turn: Rotation from target to source coordinates, (3, 3).
        shift: Centre of the target in source coordinates, (3,), metres.

    Source: Hartley and Zisserman, Multiple View Geometry, 2nd ed., section 13.2 (plane plus
    parallax, with the plane at infinity).
    """
    homography = target.matrix @ turn.T @ np.linalg.inv(source.matrix)
    epipole = -target.matrix @ turn.T @ shift
    columns = np.arange(source.width, dtype=np.float32)
    rows = np.arange(source.height, dtype=np.float32)[:, None]
    x, y, z = (
        (np.float32(a) * columns + np.float32(c)) + np.float32(b) * rows + np.float32(e) * inverse
        for (a, b, c), e in zip(homography, epipole, strict=True)
    )
    # z is the depth in the target as a multiple of that in the source.
    visible = (inverse > 0) & (z > np.float32(NEAREST_M) * inverse)
    z = np.where(visible, z, np.float32(1.0))
    return Transfer(x / z, y / z, np.where(visible, inverse / z, np.float32(0.0)))


def splat(transfer: Transfer, target: Intrinsics) -> NDArray[np.float32]:
    """Inverse depth image of the target camera, the nearest pixel winning; cracks are closed.

    Args:
        transfer: Pixels of another camera in this one.
        target: This camera.

    Returns:
        1 / metres, 0 where no pixel falls, (height, width).
    """
    width, height = target.width, target.height
    u, v = np.rint(transfer.u), np.rint(transfer.v)
    hit = (transfer.inverse > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    image = np.zeros(height * width, dtype=np.float32)
    flat = v[hit].astype(np.int64) * width + u[hit].astype(np.int64)
    np.maximum.at(image, flat, transfer.inverse[hit])
    # Cracks of a pixel only: a larger empty region was hidden from the other camera.
    kernel = np.ones((3, 3), np.uint8)
    return cv2.morphologyEx(image.reshape(height, width), cv2.MORPH_CLOSE, kernel)


def invert_depth(depth: NDArray[np.floating]) -> NDArray[np.float32]:
    """1 / depth, and 0 where the depth is 0: unknown stays unknown. Its own inverse."""
    depth = depth.astype(np.float32)
    return np.divide(1.0, depth, out=np.zeros_like(depth), where=depth > 0)


def depth_for_color(
    depth: NDArray[np.float32],
    depth_camera: DepthCamera | None,
    intrinsics: Intrinsics,
    distortion: Distortion | None,
    camera: Intrinsics,
) -> NDArray[np.float32]:
    """Depth at the pixels of a resampled colour image, holes filled by their nearest neighbours.

    Args:
        depth: As the sensor wrote it, metres, 0 where unknown, (h, w).
        depth_camera: The depth camera; None when its pixels are those of the colour image.
        intrinsics: The colour image's camera.
        distortion: Of its lens.
        camera: The camera that the colour image was resampled to.

    Returns:
        Metres, (camera.height, camera.width); all zero when nothing is known.
    """
    if depth_camera is None:
        depth = resample_depth(depth, intrinsics, distortion, camera)
    else:
        sensor = depth_camera.intrinsics.resized(depth.shape[1], depth.shape[0])
        moved = transfer_pixels(
            invert_depth(depth), sensor, camera, np.eye(3), np.array(depth_camera.color_center)
        )
        depth = invert_depth(splat(moved, camera))
    unknown = depth <= 0
    if unknown.all() or not unknown.any():
        return depth
    rows, columns = ndimage.distance_transform_edt(
        unknown, return_distances=False, return_indices=True
    )
    return depth[rows, columns]
