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
CACHE_FORMAT = 2

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
    """Resize to ``width`` x ``height``, averaging over pixels when shrinking."""
    shrinks = width < image.shape[1] or height < image.shape[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)


def content_digest(path: Path) -> str:
    """Short digest of a file's bytes; equal images have equal digests."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


class CachedImages(NamedTuple):
    """All images of a dataset at one size, read from disk on demand.

    Attributes:
        color: uint8 RGB, (N, height, width, 3).
        depth: uint16 millimetres, 0 where unknown, (N, height, width); None without depth.
        digests: Digest of each colour file's bytes.
    """

    color: NDArray[np.uint8]
    depth: NDArray[np.uint16] | None
    digests: list[str]


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
    key = _cache_key(frames, width, height, with_depth)
    names = [f"{key}.color.npy", f"{key}.json"] + ([f"{key}.depth.npy"] if with_depth else [])
    paths = {name.split(".")[1]: folder / name for name in names}
    if not all(path.is_file() for path in paths.values()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _build(frames, width, height, paths, report)
        except OSError as error:
            raise DataError(
                f"{folder}: the image cache cannot be written ({error.strerror}); "
                "choose another folder with --data.cache"
            ) from error
    return CachedImages(
        color=np.load(paths["color"], mmap_mode="r"),
        depth=np.load(paths["depth"], mmap_mode="r") if with_depth else None,
        digests=json.loads(paths["json"].read_text())["digests"],
    )


def _cache_key(frames: Sequence[Frame], width: int, height: int, with_depth: bool) -> str:
    def stamp(path: Path | None) -> list[Any]:
        if path is None:
            return []
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        return [str(path.resolve()), status.st_size, status.st_mtime_ns]

    def stamp_depth(frame: Frame) -> list[Any]:
        # Depth is brought onto the colour camera's pixels, so it depends on both cameras.
        return [stamp(frame.depth_path), repr(frame.depth_camera), repr(frame.intrinsics)]

    sources = [
        [stamp(frame.image_path)] + (stamp_depth(frame) if with_depth else []) for frame in frames
    ]
    state = json.dumps([CACHE_FORMAT, width, height, sources])
    return hashlib.blake2b(state.encode(), digest_size=12).hexdigest()


def _build(
    frames: Sequence[Frame],
    width: int,
    height: int,
    paths: dict[str, Path],
    report: Report | None,
) -> None:
    folder = paths["color"].parent
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as scratch_name:
        scratch = {kind: Path(scratch_name) / path.name for kind, path in paths.items()}
        shape = (len(frames), height, width)
        color = np.lib.format.open_memmap(scratch["color"], "w+", np.uint8, (*shape, 3))
        depth = None
        if "depth" in scratch:
            depth = np.lib.format.open_memmap(scratch["depth"], "w+", np.uint16, shape)

        def decode(index: int) -> str:
            frame = frames[index]
            color[index] = resize_image(read_image(frame.image_path), width, height)
            if depth is not None and frame.depth_path is not None:
                metres = depth_for_color(
                    read_depth(frame.depth_path),
                    frame.depth_camera,
                    frame.intrinsics.resized(width, height),
                )
                depth[index] = np.rint(np.minimum(metres * 1000.0, INVALID_DEPTH_MM))
            return content_digest(frame.image_path)

        digests = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV releases the interpreter lock
            for done, digest in enumerate(pool.map(decode, range(len(frames))), start=1):
                digests.append(digest)
                if report is not None:
                    report(done, len(frames))
        color.flush()
        if depth is not None:
            depth.flush()
        scratch["json"].write_text(json.dumps({"digests": digests}))
        for kind in sorted(paths):  # json, the last one, is what a reader would miss first
            scratch[kind].replace(paths[kind])
