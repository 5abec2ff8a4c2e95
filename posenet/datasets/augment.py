"""Random views and colours of a training image, with labels that follow.

A crop that moves the optical axis without telling the label is, in yaw, up to 12 degrees of label
noise; nothing here crops. A camera *turned* about its centre sees a homography of the image
whatever the depth, and a camera *moved* a little sees what the depth image says.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from posenet.config import AugmentConfig
from posenet.datasets.depth import invert_depth, splat, transfer_pixels
from posenet.datasets.resampling import UNSEEN
from posenet.geometry import Intrinsics, rotation_homography

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

# Filling in the last specks of a view is not worth another rendering.
ENOUGH_SEEN = 0.98


class View(NamedTuple):
    """An image and the pose it was seen from.

    Attributes:
        image: RGB, (height, width, 3).
        rotation: Camera-to-world, (3, 3).
        translation: Camera centre, (3,), metres.
        seen: Which of its pixels have a colour, (height, width); None where all have.
    """

    image: Image
    rotation: Array
    translation: Array
    seen: NDArray[np.bool_] | None = None


class DepthView(NamedTuple):
    """A view whose depth is known.

    Attributes:
        view: Image and pose.
        depth: Millimetres, 0 where unknown, (height, width).
    """

    view: View
    depth: NDArray[np.uint16]


def random_view(
    view: View,
    depth: NDArray[np.uint16] | None,
    intrinsics: Intrinsics,
    config: AugmentConfig,
    rng: np.random.Generator,
    find_others: Callable[[View], Sequence[DepthView]] | None = None,
) -> View:
    """A view from a random pose near that of ``view``, in random colours.

    Args:
        view: The training image.
        depth: Its depth in millimetres, 0 where unknown, (height, width); None without.
        intrinsics: The camera of all images.
        config: The ranges.
        rng: Source of everything random.
        find_others: Gives, for the new view, other training images that may have seen the parts of
            it that ``view`` has not.
    """
    turn = random_turn(config, rng)
    new, seen = turned_view(view, intrinsics, turn)
    if depth is not None and rng.random() < config.depth_share:
        shift = random_shift(config, rng)
        moved, moved_seen = moved_view(DepthView(view, depth), intrinsics, turn, shift)
        # An image's own padding is no hole of the rendering.
        before = 1.0 if view.seen is None else view.seen.mean()
        if 1.0 - moved_seen.mean() / before <= config.max_hole_share:
            new, seen = moved, moved_seen
    if find_others is not None:
        new = fill_unseen(new, seen, find_others(new), intrinsics)
    return new._replace(image=random_colors(new.image, config, rng))


def random_turn(config: AugmentConfig, rng: np.random.Generator) -> Array:
    """Rotation from turned-camera to camera coordinates, (3, 3)."""
    limits = np.deg2rad((config.pitch_deg, config.yaw_deg, config.roll_deg))
    pitch, yaw, roll = rng.uniform(-limits, limits)
    # Yaw about the camera's y axis (down), then pitch about x (right), then roll about z (forward).
    return Rotation.from_euler("YXZ", (yaw, pitch, roll)).as_matrix()


def random_shift(config: AugmentConfig, rng: np.random.Generator) -> Array:
    """Centre of a moved camera in camera coordinates, (3,), metres."""
    return rng.uniform(-config.shift_m, config.shift_m, size=3)


def fill_unseen(
    view: View, seen: NDArray[np.bool_], others: Sequence[DepthView], intrinsics: Intrinsics
) -> View:
    """Render what a view has not seen from images that did, the first of them winning.

    The outline of an unseen part gives away how far the camera was turned, which a network could
    read instead of the scene.

    Args:
        view: A turned or moved view.
        seen: Which of its pixels have a colour, (height, width).
        others: Images with depth.
        intrinsics: The camera of all.
    """
    image, seen = view.image.copy(), seen.copy()
    for other in others:
        if seen.mean() > ENOUGH_SEEN:
            break
        turn = other.view.rotation.T @ view.rotation
        shift = other.view.rotation.T @ (view.translation - other.view.translation)
        rendered, visible = moved_view(other, intrinsics, turn, shift)
        new = visible & ~seen
        image[new] = rendered.image[new]
        seen |= new
    return view._replace(image=image)


def turned_view(view: View, intrinsics: Intrinsics, turn: Array) -> tuple[View, NDArray[np.bool_]]:
    """The view of the same camera turned about its centre; exact at any depth.

    Args:
        view: The original.
        intrinsics: Its camera.
        turn: Rotation from turned-camera to camera coordinates, (3, 3).

    Returns:
        The view, and which of its pixels have a colour, (height, width).
    """
    homography = rotation_homography(intrinsics, turn)
    size = (intrinsics.width, intrinsics.height)
    image = cv2.warpPerspective(
        view.image, homography, size, borderMode=cv2.BORDER_CONSTANT, borderValue=UNSEEN
    )
    before = np.full(size[::-1], 255, np.uint8) if view.seen is None else view.seen * np.uint8(255)
    seen = cv2.warpPerspective(before, homography, size) == 255
    return View(image, view.rotation @ turn, view.translation), seen


def moved_view(
    source: DepthView, intrinsics: Intrinsics, turn: Array, shift: Array
) -> tuple[View, NDArray[np.bool_]]:
    """The view of a turned *and* moved camera, rendered from depth.

    The depth is splatted forward with a z-buffer, one-pixel cracks are closed, and the colours are
    then read backward, so that surfaces stay sharp and whole.

    Args:
        source: The original and its depth.
        intrinsics: Its camera.
        turn: Rotation from moved-camera to camera coordinates, (3, 3).
        shift: Centre of the moved camera in camera coordinates, (3,), metres.

    Returns:
        The view, and which of its pixels have a colour, (height, width).
    """
    view, depth = source
    inverse = invert_depth(depth / np.float32(1000.0))
    forward = transfer_pixels(inverse, intrinsics, intrinsics, turn, shift)
    backward = transfer_pixels(
        splat(forward, intrinsics), intrinsics, intrinsics, turn.T, -turn.T @ shift
    )
    u, v, visible = backward
    seen = (visible > 0) & (u >= 0) & (u <= intrinsics.width - 1)
    seen &= (v >= 0) & (v <= intrinsics.height - 1)
    if view.seen is not None:
        before = view.seen.astype(np.uint8)
        seen &= cv2.remap(before, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT) > 0
    outside = np.float32(-10.0)
    image = cv2.remap(
        view.image,
        np.where(seen, u, outside),
        np.where(seen, v, outside),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=UNSEEN,
    )
    return View(image, view.rotation @ turn, view.rotation @ shift + view.translation), seen


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
    turned = Rotation.from_rotvec(hue * np.ones(3) / np.sqrt(3.0)).as_matrix()
    color = brightness * (grey + saturation * contrast * (turned - grey))
    color += brightness * (contrast - 1.0) * grey
    offset = brightness * (1.0 - contrast) * image.mean()
    out = cv2.transform(image, np.column_stack((color, np.full(3, offset))))
    sigma = rng.uniform(0.0, config.blur_px)
    if sigma > 0.2:  # below, the kernel is one pixel
        out = cv2.GaussianBlur(out, (0, 0), sigma)
    strength = rng.uniform(0.0, config.noise) * 255.0
    if strength > 0.5:
        noise = rng.standard_normal(out.shape, dtype=np.float32) * strength
        out = np.clip(out + noise, 0, 255).astype(np.uint8)
    return out
