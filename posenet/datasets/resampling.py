"""One camera for all images: every image is resampled to what a chosen pinhole camera would see.

A network cannot tell a longer lens from a nearer wall. Where the images of a dataset come from
several cameras, or through a lens that bends lines, they are brought to one camera first; what
that camera sees beyond an image's border is unseen.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from posenet.datasets.frame import Frame
from posenet.geometry import Distortion, Intrinsics

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

# Pixels that no view has seen get mid-grey, which the networks' normalisation takes to about zero.
UNSEEN = (128, 128, 128)

# Cameras whose focal lengths and centres differ by less than this at the network's size are one.
SAME_CAMERA_PX = 0.5


def common_lens(frames: Sequence[Frame]) -> tuple[Intrinsics, Distortion | None]:
    """Camera and distortion of most frames.

    Where no camera took more than half of them, as when each image was calibrated by itself, the
    one whose field of view is in the middle of those that stand as most do, upright or level.
    """
    counts = Counter((frame.intrinsics, frame.distortion) for frame in frames)
    lens, most = counts.most_common(1)[0]
    if 2 * most > len(frames):
        return lens
    upright = [frame.intrinsics.height > frame.intrinsics.width for frame in frames]
    stands_so = sum(upright) * 2 > len(frames)
    lenses = [
        (frame.intrinsics, frame.distortion)
        for frame, stands in zip(frames, upright, strict=True)
        if stands == stands_so
    ]
    lenses.sort(key=lambda lens: lens[0].focal_x / lens[0].width)
    return lenses[len(lenses) // 2]


def is_plain_resize(
    intrinsics: Intrinsics, distortion: Distortion | None, camera: Intrinsics
) -> bool:
    """Whether an image only has to be resized to be that of ``camera``."""
    ours = intrinsics.resized(camera.width, camera.height)
    names = ("focal_x", "focal_y", "center_x", "center_y")
    gaps = [abs(getattr(ours, name) - getattr(camera, name)) for name in names]
    return distortion is None and max(gaps) < SAME_CAMERA_PX


def resize_image(image: Image, width: int, height: int) -> Image:
    """Resize (H, W, 3) to (height, width, 3) pixels, averaging over pixels when shrinking."""
    shrinks = width < image.shape[1] or height < image.shape[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)


def resample_image(
    image: Image, intrinsics: Intrinsics, distortion: Distortion | None, camera: Intrinsics
) -> Image:
    """What a pinhole camera at the same place would have seen.

    Args:
        image: RGB, (intrinsics.height, intrinsics.width, 3).
        intrinsics: Its camera.
        distortion: Of its lens.
        camera: The pinhole camera wanted.

    Returns:
        RGB, (camera.height, camera.width, 3); grey beyond the image's border.
    """
    if is_plain_resize(intrinsics, distortion, camera):
        return resize_image(image, camera.width, camera.height)
    reduced = _reduced(intrinsics, camera)
    if reduced != intrinsics:  # remap takes no mean over the pixels it skips
        image = resize_image(image, reduced.width, reduced.height)
    u, v, _ = _source_pixels(reduced, distortion, camera)
    image = cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    image[~seen_pixels(intrinsics, distortion, camera)] = UNSEEN
    return image


def resample_depth(
    depth: NDArray[np.float32],
    intrinsics: Intrinsics,
    distortion: Distortion | None,
    camera: Intrinsics,
) -> NDArray[np.float32]:
    """The same of a depth image on an image's pixels; its nearest measurement, never a mean.

    Args:
        depth: Any unit, at any size, (h, w).
        intrinsics: Camera of the image.
        distortion: Of its lens.
        camera: The pinhole camera wanted.

    Returns:
        (camera.height, camera.width); 0 beyond the border.
    """
    if is_plain_resize(intrinsics, distortion, camera):
        # A mean of two surfaces is a point on neither. EXACT: nearest to the pixel's centre; plain
        # INTER_NEAREST is half an output pixel off.
        size = (camera.width, camera.height)
        return cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT)
    own = intrinsics.resized(depth.shape[1], depth.shape[0])
    u, v, _ = _source_pixels(own, distortion, camera)
    depth = cv2.remap(depth, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.where(seen_pixels(intrinsics, distortion, camera), depth, np.float32(0.0))


@lru_cache(maxsize=256)
def seen_pixels(
    intrinsics: Intrinsics, distortion: Distortion | None, camera: Intrinsics
) -> NDArray[np.bool_]:
    """Which pixels of ``camera`` an image has seen, (height, width); read-only."""
    if is_plain_resize(intrinsics, distortion, camera):
        seen = np.ones((camera.height, camera.width), dtype=bool)
    else:
        u, v, known = _source_pixels(intrinsics, distortion, camera)
        seen = known & (u >= -0.5) & (u <= intrinsics.width - 0.5)
        seen &= (v >= -0.5) & (v <= intrinsics.height - 0.5)
    seen.setflags(write=False)
    return seen


def _reduced(intrinsics: Intrinsics, camera: Intrinsics) -> Intrinsics:
    """The image's camera at about the scale of the wanted one, if that is smaller."""
    scale_x = min(1.0, camera.focal_x / intrinsics.focal_x)
    scale_y = min(1.0, camera.focal_y / intrinsics.focal_y)
    width, height = round(scale_x * intrinsics.width), round(scale_y * intrinsics.height)
    return intrinsics.resized(max(1, width), max(1, height))


@lru_cache(maxsize=16)
def _source_pixels(
    intrinsics: Intrinsics, distortion: Distortion | None, camera: Intrinsics
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Where an image shows what each pixel of a camera sees, u and v, and whether it can at all."""
    size = (camera.width, camera.height)
    if distortion is not None and distortion.model == "fisheye":
        undistort, coefficients = cv2.fisheye.initUndistortRectifyMap, distortion.coefficients[:4]
    else:
        undistort = cv2.initUndistortRectifyMap
        coefficients = distortion.coefficients if distortion is not None else (0.0,) * 4
    padded = np.zeros(4 if len(coefficients) <= 4 else 5 if len(coefficients) == 5 else 8)
    padded[: len(coefficients)] = coefficients
    maps = undistort(intrinsics.matrix, padded, np.eye(3), camera.matrix, size, cv2.CV_32FC1)
    radius = np.linalg.norm(camera.rays()[..., :2], axis=-1)
    return *maps, radius < _largest_radius(distortion, float(radius.max()))


def _largest_radius(distortion: Distortion | None, wanted: float) -> float:
    """Distance from the axis (tangent of the angle) up to which a lens model is one to one.

    Fitted polynomials turn back somewhere beyond the image; rays from there on would be shown a
    second copy of it.
    """
    if distortion is None:
        return np.inf
    radius = np.linspace(0.0, 1.01 * wanted, 2048)
    k = np.zeros(8)
    k[: len(distortion.coefficients)] = distortion.coefficients
    if distortion.model == "fisheye":
        angle = np.arctan(radius)
        bent = angle * (1.0 + sum(k[i] * angle ** (2 * i + 2) for i in range(4)))
    else:
        square = radius**2
        above = 1.0 + square * (k[0] + square * (k[1] + square * k[4]))
        below = 1.0 + square * (k[5] + square * (k[6] + square * k[7]))
        bent = radius * above / below
    turns_back = np.flatnonzero(np.diff(bent) <= 0.0)
    return float(radius[turns_back[0]]) if len(turns_back) else np.inf
