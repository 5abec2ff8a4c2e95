"""Images whose poses are wanted, in whatever form they come: files, arrays, tensors, Pillow's."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from posenet.datasets.images import UNDECODABLE, exif_focal_px, read_image, upright_rgb
from posenet.errors import DataError

Pixels = NDArray[np.uint8]
ImageLike: TypeAlias = str | Path | np.ndarray | Tensor | Image.Image

_CHANNELS = (1, 3, 4)
_EXPECTED = (
    "expected a path, an RGB array (height, width, 3) of bytes, a tensor (3, height, width), an "
    "image of Pillow, or several of them"
)


class Photo(NamedTuple):
    """An image, decoded, and what is known of how it was taken.

    Attributes:
        name: What it is called in results.
        pixels: RGB, uint8, (height, width, 3).
        focal_px: Focal length by EXIF, to some percent; None where it is not known.
        recording: The video or the webcam it is a frame of; None for a single image.
        time_s: Seconds since the recording began; None for a single image.
    """

    name: str
    pixels: Pixels
    focal_px: float | None = None
    recording: str | None = None
    time_s: float | None = None


class Unreadable(NamedTuple):
    """An image that is none.

    Attributes:
        name: Its file.
        error: Why not, in one line.
        recording: The video that it is a frame of, and that goes on after it.
    """

    name: str
    error: str
    recording: str | None = None


def read_photo(path: Path) -> Photo:
    """Read an image file, turned as its EXIF says.

    Raises:
        DataError: The file is missing, truncated or no image.
    """
    return Photo(str(path), read_image(path), exif_focal_px(path))


def read_photos(images: ImageLike | Iterable[ImageLike]) -> Iterator[Photo]:
    """Photos of images in any form, one or several, also mixed; each when it is asked for.

    Args:
        images: Paths of image files; images of Pillow, whose EXIF is heeded; arrays or tensors of
            bytes, or of floating point in [0, 1]: (height, width, 3) or (3, height, width), a
            batch of them with one more size in front. Grey images and images with an alpha
            channel are taken as image files are: grey in all three channels, alpha dropped.

    Raises:
        DataError: A file cannot be read, or an array is no image.
        TypeError: Something is of another type.
    """
    single = isinstance(images, str | Path | Image.Image)
    if single or (isinstance(images, np.ndarray | Tensor) and images.ndim != 4):
        yield _photo(images, "image")
    elif isinstance(images, dict | bytes) or not isinstance(images, Iterable):
        raise TypeError(f"images: {_EXPECTED}, got {type(images).__name__}")
    else:
        for number, image in enumerate(images):
            yield _photo(image, f"image {number}")


def _photo(image: ImageLike, name: str) -> Photo:
    if isinstance(image, str | Path):
        return read_photo(Path(image))
    if isinstance(image, Image.Image):
        try:
            return Photo(name, upright_rgb(image), exif_focal_px(image))
        except UNDECODABLE as error:  # Pillow decodes when it has to
            raise DataError(f"{name}: cannot be decoded ({error}); open its file again") from error
    if isinstance(image, Tensor):
        return Photo(name, _tensor_pixels(image, name))
    if isinstance(image, np.ndarray):
        return Photo(name, _pixels(image, name, channels_first=False))
    raise TypeError(f"{name}: {_EXPECTED}, got {type(image).__name__}")


def _tensor_pixels(image: Tensor, name: str) -> Pixels:
    image = image.detach().cpu()
    if image.is_floating_point():  # numpy knows no bfloat16
        image = image.float()
    return _pixels(image.numpy(), name, channels_first=True)


def _pixels(image: NDArray, name: str, channels_first: bool) -> Pixels:
    """RGB bytes of an array.

    Args:
        image: (height, width), (height, width, channels) or (channels, height, width).
        name: What to call it in errors.
        channels_first: Which it is where it could be either.
    """
    last, first = (image.ndim == 3 and image.shape[axis] in _CHANNELS for axis in (-1, 0))
    if first and (channels_first or not last):
        image = np.moveaxis(image, 0, -1)
    elif image.ndim == 2:
        image = image[..., None]
    elif not last:
        raise DataError(
            f"{name}: expected the shape (height, width, 3) or (3, height, width), found "
            f"{image.shape}"
        )
    if image.size == 0:
        raise DataError(f"{name}: expected an image, found one without pixels, {image.shape}")
    if np.issubdtype(image.dtype, np.floating):
        low, high = float(image.min()), float(image.max())
        if not (low >= 0.0 and high <= 1.0):  # also NaN
            raise DataError(
                f"{name}: expected floating point in [0, 1], found values from {low:g} to "
                f"{high:g}; undo a normalisation, or give bytes (uint8)"
            )
        image = np.rint(image * 255.0).astype(np.uint8)
    if image.dtype != np.uint8:
        raise TypeError(
            f"{name}: expected bytes (uint8) or floating point in [0, 1], got {image.dtype}"
        )
    colour = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image, 3, axis=-1)
    return np.ascontiguousarray(colour)
