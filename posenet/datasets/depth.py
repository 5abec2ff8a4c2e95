"""Depth images: onto the colour camera, without holes, and splatted into another view."""

from functools import lru_cache
from typing import Any, NamedTuple

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

_KERNEL = np.ones((3, 3), np.uint8)


class Parallax(NamedTuple):
    """How one camera sees the pixels of another: homography * (u, v, 1) + inverse depth * epipole.

    A pixel is never lifted into space, which saves most of the work.

    Attributes:
        homography: Of pixels infinitely far away, (3, 3).
        epipole: Image of the one camera's centre in the other, homogeneous, (3,).

    Source: Hartley and Zisserman, Multiple View Geometry, 2nd ed., section 13.2 (plane plus
    parallax, with the plane at infinity).
    """

    homography: Array
    epipole: Array


def parallax(source: Intrinsics, target: Intrinsics, turn: Array, shift: Array) -> Parallax:
    """How a camera sees the pixels of another.

    Args:
        source: The camera the pixels and their depths belong to.
        target: The camera that sees them too.
        turn: Rotation from target to source coordinates, (3, 3).
        shift: Centre of the target in source coordinates, (3,), metres.
    """
    project = target.matrix @ turn.T
    return Parallax(project @ source.inverse_matrix, -project @ shift)


class Transfer(NamedTuple):
    """Where pixels of one camera are seen by another; all of one shape.

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
    inverse: NDArray[np.float32], seen_by: Parallax, pixels: NDArray[np.intp] | None = None
) -> Transfer:
    """Transfer pixels of known depth from one camera to another.

    Args:
        inverse: Inverse depths, 1 / metres, 0 where unknown, (height, width) of the one camera.
        seen_by: How the other one sees its pixels.
        pixels: Which pixels, row * width + column, two dimensions; all when omitted.
    """
    columns, rows = _pixel_grid(*inverse.shape)
    if pixels is not None:
        columns, rows, inverse = (part.take(pixels) for part in (columns, rows, inverse))
    # Two passes over memory each, where numpy's operators would take six.
    x, y, z = (
        cv2.scaleAdd(inverse, e, cv2.addWeighted(columns, a, rows, b, c))
        for (a, b, c), e in zip(*seen_by, strict=True)
    )
    # z is the depth in the other camera as a multiple of that in the first.
    hidden = z <= np.float32(NEAREST_M) * inverse
    if hidden.any():
        z[hidden] = np.inf  # to where the inverse depth is 0
    scale = np.divide(np.float32(1.0), z, out=z)
    return Transfer(
        np.multiply(x, scale, out=x),
        np.multiply(y, scale, out=y),
        np.multiply(inverse, scale, out=scale),
    )


@lru_cache(maxsize=8)
def _pixel_grid(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Columns and rows of all pixels, (height, width) each; read-only."""
    rows, columns = np.indices((height, width), dtype=np.float32)
    for part in (columns, rows):
        part.setflags(write=False)
    return columns, rows


def splat(transfer: Transfer, target: Intrinsics) -> NDArray[np.float32]:
    """Inverse depth image of the target camera, the nearest pixel winning; cracks are closed.

    Args:
        transfer: Pixels of another camera in this one.
        target: This camera.

    Returns:
        1 / metres, 0 where no pixel falls, (height, width).
    """
    # What falls outside goes to a rim of one pixel, which is cheaper than to sort it out.
    width, height = target.width + 2, target.height + 2
    columns = np.clip(np.rint(transfer.u), -1, target.width).astype(np.int32)
    cells = np.clip(np.rint(transfer.v), -1, target.height).astype(np.int32)
    cells *= width
    cells += columns
    cells += width + 1
    image = np.zeros(height * width, dtype=np.float32)
    np.maximum.at(image, cells.ravel().astype(np.intp), transfer.inverse.ravel())
    image = image.reshape(height, width)[1:-1, 1:-1]
    # Cracks of a pixel only: a larger empty region was hidden from the other camera.
    return cv2.morphologyEx(np.ascontiguousarray(image), cv2.MORPH_CLOSE, _KERNEL)


def invert_depth(depth: NDArray[Any], unit: float = 1.0) -> NDArray[np.float32]:
    """``unit`` / depth, and 0 where the depth is 0: unknown stays unknown.

    Args:
        depth: Any shape, not negative.
        unit: How many of the depth's units make one of the result's: 1000 from millimetres to
            1 / metres.
    """
    known = depth > 0
    divisor = depth.astype(np.float32)
    if not known.all():
        np.copyto(divisor, np.float32(np.inf), where=~known)
    return np.divide(np.float32(unit), divisor, out=divisor)


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
            invert_depth(depth),
            parallax(sensor, camera, np.eye(3), np.array(depth_camera.color_center)),
        )
        depth = invert_depth(splat(moved, camera))
    unknown = depth <= 0
    if unknown.all() or not unknown.any():
        return depth
    rows, columns = ndimage.distance_transform_edt(
        unknown, return_distances=False, return_indices=True
    )
    return depth[rows, columns]
