"""Random views and colours of a training image, with labels that follow.

A crop that moves the optical axis without telling the label is, in yaw, up to 12 degrees of label
noise; nothing here crops. A camera *turned* about its centre sees a homography of the image
whatever the depth, and a camera *moved* a little sees what the depth image says.
"""

import math
from collections.abc import Callable, Iterable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from posenet.config import AugmentConfig
from posenet.datasets.rendering import DepthView, Image, View, fill_unseen, moved_view, turned_view
from posenet.geometry import Intrinsics

Array = NDArray[np.float64]

# What the standard deviation of the noise at hand is, about 128.
_NOISE_SCALE = 32.0
_NOISE_PLACES = 2**20


def random_view(
    view: View,
    depth: Callable[[], NDArray[np.uint16]] | None,
    intrinsics: Intrinsics,
    config: AugmentConfig,
    rng: np.random.Generator,
    find_others: Callable[[View], Iterable[DepthView]] | None = None,
) -> View:
    """A view from a random pose near that of ``view``.

    Args:
        view: The training image.
        depth: Gives its depth in millimetres, 0 where unknown, (height, width), which not every
            view needs; None without.
        intrinsics: The camera of all images.
        config: The ranges.
        rng: Source of everything random.
        find_others: Gives, for the new view, other training images that may have seen the parts of
            it that ``view`` has not.
    """
    turn = random_turn(config, rng)
    new = None
    if depth is not None and rng.random() < config.depth_share:
        shift = random_shift(config, rng)
        moved = moved_view(DepthView(view, depth()), intrinsics, turn, shift)
        # An image's own padding is no hole of the rendering.
        seen, before = np.count_nonzero(moved.seen), np.count_nonzero(view.seen)
        if seen > 0 and seen >= (1.0 - config.max_hole_share) * before:
            new = moved
    if new is None:
        new = turned_view(view, intrinsics, turn)
    return new if find_others is None else fill_unseen(new, find_others(new), intrinsics)


def random_turn(config: AugmentConfig, rng: np.random.Generator) -> Array:
    """Rotation from turned-camera to camera coordinates, (3, 3)."""
    limits = np.deg2rad((config.pitch_deg, config.yaw_deg, config.roll_deg))
    pitch, yaw, roll = rng.uniform(-limits, limits)
    # Yaw about the camera's y axis (down), then pitch about x (right), then roll about z (forward).
    return _turn(0.0, yaw, 0.0) @ _turn(pitch, 0.0, 0.0) @ _turn(0.0, 0.0, roll)


def _turn(x: float, y: float, z: float) -> Array:
    """Matrix of a rotation vector, (3, 3); a tenth of the time that scipy takes."""
    return cv2.Rodrigues(np.array((x, y, z)))[0]


def random_shift(config: AugmentConfig, rng: np.random.Generator) -> Array:
    """Centre of a moved camera in camera coordinates, (3,), metres."""
    return rng.uniform(-config.shift_m, config.shift_m, size=3)


def random_colors(image: Image, config: AugmentConfig, rng: np.random.Generator) -> Image:
    """Brightness, contrast, saturation, hue, blur and noise of another camera at another hour.

    The first four are one affine map of the colours, and cost one pass.

    Args:
        image: RGB, (height, width, 3).
        config: The ranges.
        rng: Source of everything random.
    """
    brightness, contrast, saturation = 1.0 + rng.uniform(-1, 1, size=3) * (
        config.brightness,
        config.contrast,
        config.saturation,
    )
    hue = np.deg2rad(rng.uniform(-1, 1) * config.hue_deg)
    grey = np.full((3, 3), 1.0 / 3.0)
    # Hue is a turn about the grey axis; saturation scales the distance to it.
    turned = _turn(*(3 * [hue / np.sqrt(3.0)]))
    color = brightness * (grey + saturation * contrast * (turned - grey))
    color += brightness * (contrast - 1.0) * grey
    offset = brightness * (1.0 - contrast) * sum(cv2.mean(image)[:3]) / 3.0
    out = cv2.transform(image, np.column_stack((color, np.full(3, offset))))
    sigma = rng.uniform(0.0, config.blur_px)
    if sigma > 0.2:  # below, the kernel is one pixel
        side = 2 * math.ceil(2.0 * sigma) + 1
        out = cv2.GaussianBlur(out, (side, side), sigma)
    strength = rng.uniform(0.0, config.noise) * 255.0
    if strength > 0.5:
        start = rng.integers(_NOISE_PLACES)
        noise = _noise(out.size)[start : start + out.size].reshape(out.shape)
        scale = strength / _NOISE_SCALE
        out = cv2.addWeighted(out, 1.0, noise, scale, -128.0 * scale)
    return out


@lru_cache(maxsize=2)
def _noise(size: int) -> Image:
    """Normal noise for images of so many values from any of ``_NOISE_PLACES`` on; read-only.

    To draw it anew for each image would take twice as long as all the rest of a turned view.
    """
    normal = np.random.default_rng(0).standard_normal(size + _NOISE_PLACES, dtype=np.float32)
    noise = np.clip(np.rint(128.0 + _NOISE_SCALE * normal), 0, 255).astype(np.uint8)
    noise.setflags(write=False)
    return noise
