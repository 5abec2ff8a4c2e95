"""Images as another camera pose would have seen them: turned, moved by depth, and filled in.

An image is RGBA while it is rendered: alpha says what was seen, is resampled together with the
colours, and four channels take half the time of three.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from posenet.datasets.depth import Parallax, invert_depth, parallax, splat, transfer_pixels
from posenet.datasets.resampling import UNSEEN
from posenet.geometry import Intrinsics, rotation_homography

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

# Filling in the last specks of a view is not worth another rendering.
ENOUGH_SEEN = 0.98

# The colour of pixels that nothing was seen of, and their alpha.
_NOTHING = (*UNSEEN, 0)

# Side of the squares of pixels that a filler is searched by.
_SQUARE = 8
_AROUND = np.ones((3, 3), np.uint8)

# Pixels that are rendered by themselves, in rows of this length: cv2.remap takes no longer ones
# than 32767.
_ROW = 256


class View(NamedTuple):
    """An image and the pose it was seen from.

    Attributes:
        image: RGBA, (height, width, 4). Alpha is 255 where a pixel has a colour, and less where
            some of it comes from beyond what was seen. A renderer carries it along with the
            colours; four channels are also twice as fast to resample as three.
        rotation: Camera-to-world, (3, 3).
        translation: Camera centre, (3,), metres.
    """

    image: Image
    rotation: Array
    translation: Array

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which pixels have a colour, (height, width)."""
        return cv2.extractChannel(self.image, 3) == 255


class DepthView(NamedTuple):
    """A view whose depth is known.

    Attributes:
        view: Image and pose.
        depth: Millimetres, 0 where unknown, (height, width).
    """

    view: View
    depth: NDArray[np.uint16]


def with_alpha(image: Image, seen: NDArray[np.bool_] | None = None) -> Image:
    """An RGB image, (height, width, 3), as RGBA.

    Args:
        image: The image.
        seen: Which of its pixels have a colour, (height, width); all when omitted.
    """
    image = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    if seen is not None and not seen.all():
        image[..., 3] = seen * np.uint8(255)
    return image


def without_alpha(image: Image) -> Image:
    """The colours of an RGBA image."""
    return cv2.cvtColor(image, cv2.COLOR_RGBA2RGB)


def turned_view(view: View, intrinsics: Intrinsics, turn: Array) -> View:
    """The view of the same camera turned about its centre; exact at any depth.

    Args:
        view: The original.
        intrinsics: Its camera.
        turn: Rotation from turned-camera to camera coordinates, (3, 3).
    """
    image = cv2.warpPerspective(
        view.image,
        rotation_homography(intrinsics, turn),
        (intrinsics.width, intrinsics.height),
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=_NOTHING,
    )
    return View(image, view.rotation @ turn, view.translation)


def moved_view(source: DepthView, intrinsics: Intrinsics, turn: Array, shift: Array) -> View:
    """The view of a turned *and* moved camera, rendered from depth.

    The depth is splatted forward with a z-buffer, one-pixel cracks are closed, and the colours are
    then read backward, so that surfaces stay sharp and whole.

    Args:
        source: The original and its depth.
        intrinsics: Its camera.
        turn: Rotation from moved-camera to camera coordinates, (3, 3).
        shift: Centre of the moved camera in camera coordinates, (3,), metres.
    """
    view = source.view
    forward, backward = _there_and_back(intrinsics, turn, shift)
    inverse = invert_depth(source.depth, 1000.0)
    moved = splat(transfer_pixels(inverse, forward), intrinsics)
    image = _read_back(view.image, moved, backward)
    return View(image, view.rotation @ turn, view.rotation @ shift + view.translation)


def fill_unseen(view: View, others: Iterable[DepthView], intrinsics: Intrinsics) -> View:
    """Render what a view has not seen from images that did, the first of them winning.

    The outline of an unseen part gives away how far the camera was turned, which a network could
    read instead of the scene.

    Args:
        view: A turned or moved view.
        others: Images with depth.
        intrinsics: The camera of all.
    """
    image = view.image.copy()
    colors, alpha = _whole_pixels(image), image.reshape(-1, 4)[:, 3]
    unseen = np.flatnonzero(~view.seen)
    enough = (1.0 - ENOUGH_SEEN) * len(alpha)
    if len(unseen) < enough:
        return view
    for other in others:
        to_other = other.view.rotation.T
        shift = to_other @ (view.translation - other.view.translation)
        forward, backward = _there_and_back(intrinsics, to_other @ view.rotation, shift)
        inverse = invert_depth(other.depth, 1000.0)
        useful = _pixels_that_reach(image, inverse, forward)
        if len(useful) == 0:
            continue
        moved = splat(transfer_pixels(inverse, forward, useful), intrinsics)
        found = unseen[moved.ravel()[unseen] > 0]
        if len(found) == 0:
            continue
        # In rows of a length that cv2.remap takes; the last one is filled up with the first pixels.
        rows = np.resize(found, (-(-len(found) // _ROW), _ROW))
        rendered = _read_back(other.view.image, moved, backward, rows)
        whole = rendered[..., 3] == 255
        colors[rows[whole]] = _whole_pixels(rendered)[whole.ravel()]
        unseen = unseen[alpha[unseen] < 255]
        if len(unseen) < enough:
            break
    return view._replace(image=image)


def _there_and_back(intrinsics: Intrinsics, turn: Array, shift: Array) -> tuple[Parallax, Parallax]:
    """How a moved camera sees a camera's pixels, and the other way round."""
    forward = parallax(intrinsics, intrinsics, turn, shift)
    return forward, parallax(intrinsics, intrinsics, turn.T, -turn.T @ shift)


def _pixels_that_reach(
    target: Image, inverse: NDArray[np.float32], forward: Parallax
) -> NDArray[np.intp]:
    """The pixels of an image that show another camera what it has not seen yet, and some more.

    One pixel of each square stands for all of it. That leaves a fifth of the pixels, on average.

    Args:
        target: What the other camera has seen so far, RGBA, (height, width, 4).
        inverse: Inverse depths of the image, 1 / metres, (height, width).
        forward: How the other camera sees the image's pixels.

    Returns:
        row * width + column, (squares, pixels of a square).
    """
    height, width = inverse.shape
    squares = _squares(height, width)
    rows, columns, size = squares.shape
    u, v, _ = transfer_pixels(inverse, forward, squares[..., (size + _SQUARE) // 2])
    alpha = cv2.resize(cv2.extractChannel(target, 3), (columns, rows), interpolation=cv2.INTER_AREA)
    # A square may reach where its middle does not, and so may its neighbours.
    wanted = cv2.dilate((alpha < 255).astype(np.uint8), _AROUND)
    scale_x, scale_y = np.float32(columns / width), np.float32(rows / height)
    reached = cv2.remap(  # 0 beyond the border
        wanted, u * scale_x + (scale_x - 1) / 2, v * scale_y + (scale_y - 1) / 2, cv2.INTER_NEAREST
    )
    return squares[cv2.dilate(reached, _AROUND) > 0]


@lru_cache(maxsize=8)
def _squares(height: int, width: int) -> NDArray[np.intp]:
    """Pixels of an image by squares, row * width + column, (rows, columns, _SQUARE ** 2).

    Squares that stick out repeat the image's last pixels. Read-only.
    """
    rows, columns = (
        np.minimum(np.arange(-(-size // _SQUARE) * _SQUARE), size - 1) for size in (height, width)
    )
    pixels = rows.reshape(-1, 1, _SQUARE, 1) * width + columns.reshape(1, -1, 1, _SQUARE)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    pixels.setflags(write=False)
    return pixels


def _read_back(
    image: Image,
    moved: NDArray[np.float32],
    backward: Parallax,
    pixels: NDArray[np.intp] | None = None,
) -> Image:
    """Colours of a moved camera's pixels, read from where the original camera saw them.

    Args:
        image: RGBA of the original camera, (height, width, 4).
        moved: Inverse depths that the moved camera sees, 0 where unknown, (height, width).
        backward: How the original camera sees its pixels.
        pixels: Which pixels, row * width + column, two dimensions; all when omitted.

    Returns:
        RGBA, (height, width, 4), or (*pixels.shape, 4).
    """
    u, v, visible = transfer_pixels(moved, backward, pixels)
    np.copyto(u, np.float32(-10.0), where=visible == 0)  # outside of the image
    return cv2.remap(
        image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=_NOTHING
    )


def _whole_pixels(image: Image) -> NDArray[np.uint32]:
    """An RGBA image as one number a pixel, (height * width,), which is quicker to index."""
    return image.view(np.uint32).reshape(-1)
