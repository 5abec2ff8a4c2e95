"""Decoding images, and a cache in which each is decoded and resized only once."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from posenet.datasets.depth import depth_for_color
from posenet.datasets.frame import Frame
from posenet.errors import DataError

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm"))
INVALID_DEPTH_MM = 65535
CACHE_FORMAT = 3

Report = Callable[[int, int], None]


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode a colour image as RGB, (height, width, 3).

    The EXIF orientation is applied, as every viewer does. Pillow, not OpenCV: it refuses a
    truncated file, which OpenCV fills up with grey without a word.

    Raises:
        DataError: The file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # An error of the file system has a reason that is worth more than its number.
        reason = getattr(error, "strerror", None) or str(error).replace(f" {str(path)!r}", "")
        raise DataError(
            f"{path}: expected an image, found none that can be read ({reason}); copy it again, or "
            "convert it to png or jpg"
        ) from error


def read_depth(path: Path) -> NDArray[np.float32]:
    """Decode a 16-bit depth image to metres, (height, width); 0 where there is no measurement.

    Raises:
        DataError: The file is not a 16-bit single-channel image.
    """
    depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if depth is None or depth.dtype != np.uint16 or depth.ndim != 2:
        found = "no image" if depth is None else f"{depth.dtype} of shape {depth.shape}"
        raise DataError(f"{path}: expected a 16-bit depth image in millimetres, found {found}")
    depth[depth == INVALID_DEPTH_MM] = 0
    return depth.astype(np.float32) / 1000.0


def resize_image(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize (H, W, 3) to (height, width, 3) pixels, averaging over pixels when shrinking."""
    shrinks = width < image.shape[1] or height < image.shape[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)


def content_digest(path: Path) -> str:
    """Short digest of a file's bytes; equal images have equal digests."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


class CachedImages(NamedTuple):
    """All images of a dataset at one size, read from disk on demand.

    Pickled as file names: a worker process maps the same files instead of getting a copy.

    Attributes:
        color: uint8 RGB, (N, height, width, 3).
        depth: uint16 millimetres, 0 where unknown, (N, height, width); None without depth.
        digests: Digest of each colour file's bytes.
    """

    color: NDArray[np.uint8]
    depth: NDArray[np.uint16] | None
    digests: list[str]

    def __reduce__(self) -> tuple[Any, ...]:
        """Reopen by name."""
        depth = Path(self.depth.filename) if isinstance(self.depth, np.memmap) else None
        return _open_cache, (Path(self.color.filename), depth, self.digests)


def cache_images(
    frames: Sequence[Frame],
    width: int,
    height: int,
    folder: Path,
    *,
    with_depth: bool = False,
    report: Report | None = None,
) -> CachedImages:
    """Decode and resize every frame once, into memory-mapped files.

    The files are rebuilt when a source changed (name, size or modification time) or a setting did.
    They are written under a temporary name and renamed when whole, so that a crash or a second
    process never leaves half a cache behind.

    Args:
        frames: The frames, in the order of the returned arrays.
        width: Width of the cached images in pixels.
        height: Height of the cached images in pixels.
        folder: Where to keep the files.
        with_depth: Cache the depth images too, on the colour image's pixels; a frame without one
            gets zeros.
        report: Called with (done, total) while the cache is built.

    Raises:
        DataError: An image cannot be decoded, or the folder cannot be written.
    """

    def load_color(frame: Frame) -> tuple[NDArray[np.uint8], str]:
        image = read_image(frame.image_path)
        expected = (frame.intrinsics.height, frame.intrinsics.width, 3)
        if image.shape != expected:
            raise DataError(
                f"{frame.image_path}: expected {expected[1]}x{expected[0]} pixels like the first "
                f"image of {frame.sequence}, found {image.shape[1]}x{image.shape[0]}; give images "
                "of another size their own sequence"
            )
        return resize_image(image, width, height), content_digest(frame.image_path)

    def load_depth(frame: Frame) -> tuple[NDArray[np.uint16], str]:
        if frame.depth_path is None:
            return np.zeros((height, width), np.uint16), ""
        intrinsics = frame.intrinsics.resized(width, height)
        metres = depth_for_color(read_depth(frame.depth_path), frame.depth_camera, intrinsics)
        return np.rint(np.minimum(metres * 1000.0, INVALID_DEPTH_MM)).astype(np.uint16), ""

    key = _cache_key([[frame.image_path] for frame in frames], width, height, [])
    color_path = folder / f"{key}.color.npy"
    _build(color_path, frames, load_color, (height, width, 3), np.uint8, report)
    depth_path = None
    if with_depth:
        sources = [[frame.depth_path] for frame in frames]
        cameras = [repr((frame.intrinsics, frame.depth_camera)) for frame in frames]
        key = _cache_key(sources, width, height, cameras)
        depth_path = folder / f"{key}.depth.npy"
        _build(depth_path, frames, load_depth, (height, width), np.uint16, report)
    digests = json.loads(color_path.with_suffix(".json").read_text())
    return _open_cache(color_path, depth_path, digests)


def _open_cache(color: Path, depth: Path | None, digests: list[str]) -> CachedImages:
    return CachedImages(
        color=np.load(color, mmap_mode="r"),
        depth=np.load(depth, mmap_mode="r") if depth is not None else None,
        digests=digests,
    )


def _cache_key(
    sources: list[list[Path | None]], width: int, height: int, settings: list[str]
) -> str:
    def stamp(path: Path | None) -> list[Any]:
        if path is None:
            return []
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); copy it again") from error
        return [str(path.resolve()), status.st_size, status.st_mtime_ns]

    stamps = [[stamp(path) for path in paths] for paths in sources]
    state = json.dumps([CACHE_FORMAT, width, height, settings, stamps])
    return hashlib.blake2b(state.encode(), digest_size=12).hexdigest()


def _build(
    path: Path,
    frames: Sequence[Frame],
    load: Callable[[Frame], tuple[NDArray[Any], str]],
    shape: tuple[int, ...],
    dtype: type,
    report: Report | None,
) -> None:
    """Write an array of all frames and, beside it, the digests of their files."""
    digests_path = path.with_suffix(".json")
    if path.is_file() and digests_path.is_file():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".building-", dir=path.parent) as scratch:
            array_path, json_path = Path(scratch) / path.name, Path(scratch) / digests_path.name
            array = np.lib.format.open_memmap(array_path, "w+", dtype, (len(frames), *shape))

            def decode(index: int) -> str:
                array[index], digest = load(frames[index])
                return digest

            digests = []
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding releases the lock
                for done, digest in enumerate(pool.map(decode, range(len(frames))), start=1):
                    digests.append(digest)
                    if report is not None:
                        report(done, len(frames))
            array.flush()
            json_path.write_text(json.dumps(digests))
            array_path.replace(path)
            json_path.replace(digests_path)  # last: a reader asks for both
    except OSError as error:
        raise DataError(
            f"{path.parent}: the image cache cannot be written ({error.strerror}); choose another "
            "folder with --data.cache, or with the environment variable POSENET_CACHE"
        ) from error
