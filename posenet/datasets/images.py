"""Decoding images, the way up that their poses are for."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from posenet.datasets.frame import Frame
from posenet.datasets.orientation import Reading, orient, reading
from posenet.datasets.stored import PackedFile, Stored, bytes_digest, opened
from posenet.errors import DataError

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm"))
INVALID_DEPTH_MM = 65535
FULL_FRAME_DIAGONAL_MM = 43.2666
_FOCAL_35_MM = ExifTags.Base.FocalLengthIn35mmFilm
UNDECODABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # Pillow's errors


def read_image(path: Path, *, turned: bool = True) -> NDArray[np.uint8]:
    """Decode a colour image of no known pose as RGB, (height, width, 3).

    Pillow, not OpenCV: it refuses a truncated file, which OpenCV fills up with grey without a word.

    Args:
        path: The file.
        turned: Whether its EXIF orientation is applied, as every viewer does; else it is read as it
            is stored.

    Raises:
        DataError: The file is missing, truncated or no image.
    """
    with _opened(path) as image:
        return rgb_pixels(image, turned=turned)


def read_posed_image(frame: Frame) -> tuple[NDArray[np.uint8], Reading]:
    """Decode the image of a frame as RGB, (height, width, 3), the way up that its pose is for.

    Raises:
        DataError: The file is missing, truncated or no image.
    """
    with _opened(frame.image) as image:
        how = reading(image, frame.intrinsics)
        return rgb_pixels(image, turned=how == "turned"), how


@contextmanager
def _opened(stored: Stored) -> Iterator[Image.Image]:
    try:
        with Image.open(opened(stored)) as image:
            yield image
    except UNDECODABLE as error:
        raise DataError(
            f"{stored}: expected an image, found none that can be read "
            f"({why_unreadable(stored, error)}); copy it again, or convert it to png or jpg"
        ) from error


def why_unreadable(stored: Stored, error: Exception) -> str:
    """What Pillow or the file system has against an image, without its name."""
    # An error of the file system has a reason that is worth more than its number.
    reason = getattr(error, "strerror", None) or str(error).replace(f" {str(stored)!r}", "")
    return re.sub(r" <_io\.BytesIO object at \w+>", "", reason)


def rgb_pixels(image: Image.Image, *, turned: bool) -> NDArray[np.uint8]:
    """The pixels of an image, (height, width, 3), turned as its EXIF says or as it is stored."""
    return np.array(orient(image, turned=turned).convert("RGB"))


def exif_focal_px(image: Path | Image.Image) -> float | None:
    """Focal length in pixels by an image's EXIF, good to some percent; None where it has none.

    From the 35 mm equivalent, which compares diagonals of images (CIPA DCG-001).
    """
    if isinstance(image, Path):
        try:
            with Image.open(image) as opened:
                return exif_focal_px(opened)
        except UNDECODABLE:
            return None  # read_image says what is wrong with it
    try:
        exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
        focal = float(exif.get(_FOCAL_35_MM))
    except (OSError, SyntaxError, TypeError, ValueError, ZeroDivisionError):
        return None
    diagonal = float(np.hypot(*image.size))
    return focal / FULL_FRAME_DIAGONAL_MM * diagonal if 0.0 < focal < 10_000.0 else None


def read_depth(stored: Stored, scale: float = 1000.0) -> NDArray[np.float32]:
    """Decode a 16-bit depth image to metres, (height, width); 0 where there is no measurement.

    Args:
        stored: The image.
        scale: Its units in a metre.

    Raises:
        DataError: The file is not a 16-bit single-channel image.
    """
    try:
        content = np.frombuffer(stored.read_bytes(), np.uint8)
    except OSError:
        content = np.empty(0, np.uint8)
    depth = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if len(content) else None
    if depth is None or depth.dtype != np.uint16 or depth.ndim != 2:
        found = "no image" if depth is None else f"{depth.dtype} of shape {depth.shape}"
        raise DataError(f"{stored}: expected a 16-bit depth image, found {found}")
    depth[depth == INVALID_DEPTH_MM] = 0
    return depth.astype(np.float32) / np.float32(scale)


def content_digest(stored: Stored) -> str:
    """Short digest of a file's bytes; equal images have equal digests.

    That of a packed file is known, and whoever reads the file holds its bytes against it.
    """
    return stored.digest if isinstance(stored, PackedFile) else bytes_digest(stored.read_bytes())
