"""A cache in which each image of a dataset is decoded and resampled only once."""

import hashlib
import json
import mmap
import os
import shutil
import socket
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from posenet.datasets.damage import few_enough
from posenet.datasets.decoding import Decoded, Decoder
from posenet.datasets.frame import Frame
from posenet.datasets.orientation import Reading
from posenet.datasets.resampling import is_plain_resize
from posenet.datasets.stored import PackedFile, Stored, state_of
from posenet.errors import DataError
from posenet.geometry import Intrinsics
from posenet.staging import bring_to_disk

CACHE_FORMAT = 5
_DECODED_AHEAD = 32  # images
Report = Callable[[int, int], None]


class CachedImages(NamedTuple):
    """All images of a dataset at one size, read from disk on demand.

    Pickled as file names: a worker process maps the same files instead of getting a copy.

    Attributes:
        color: uint8 RGB, (N, height, width, 3); zeros where an image could not be read.
        depth: uint16 millimetres, 0 where unknown, (N, height, width); None without depth.
        digests: Digest of each colour file's bytes.
        unreadable: Why not, by the index of a frame whose image could not be read.
        unreadable_depth: The same of depth images.
        readings: How it was read, by the index of a frame whose image has an EXIF orientation.
    """

    color: NDArray[np.uint8]
    depth: NDArray[np.uint16] | None
    digests: list[str]
    unreadable: Mapping[int, str] = MappingProxyType({})
    unreadable_depth: Mapping[int, str] = MappingProxyType({})
    readings: Mapping[int, Reading] = MappingProxyType({})

    @property
    def has_depth(self) -> bool:
        """Whether depth was asked for, and some frame has it."""
        return self.depth is not None

    def color_image(self, index: int) -> NDArray[np.uint8]:
        """A copy of one image; unlike a view of the map, it costs no memory once it is gone."""
        return _copy_row(self.color, index)

    def depth_image(self, index: int) -> NDArray[np.uint16]:
        """A copy of one depth image."""
        return _copy_row(self.depth, index)

    def __reduce__(self) -> tuple[Any, ...]:
        """Reopen by name."""
        depth = Path(self.depth.filename) if isinstance(self.depth, np.memmap) else None
        return _open_cache, (Path(self.color.filename), depth)


def _copy_row(array: NDArray[Any], index: int) -> NDArray[Any]:
    """A row of an array; of a mapped one, read from its file and not through the map.

    Pages that a map brings in count as this process's memory, so that it seems to grow by every
    image it has ever read, and to drop them each time takes twice as long as all of this.
    """
    if not isinstance(array.base, mmap.mmap) or not hasattr(os, "preadv"):  # as on Windows
        return np.array(array[index])
    row = np.empty(array.shape[1:], array.dtype)
    start = array.offset + range(len(array))[index] * row.nbytes
    if os.preadv(_descriptor(array), [row], start) < row.nbytes:
        raise DataError(
            f"{array.filename}: expected {array.shape[0]} cached images, found the file cut short; "
            "delete it, and it is built again"
        )
    return row


def _descriptor(array: np.memmap) -> int:
    """The open file of a mapped array; like the map, it outlives the file's name."""
    if not hasattr(array, "descriptor"):
        array.descriptor = os.open(array.filename, os.O_RDONLY)
        weakref.finalize(array, os.close, array.descriptor)
    return array.descriptor


def cache_images(
    frames: Sequence[Frame],
    width: int,
    height: int,
    folder: Path,
    *,
    camera: Intrinsics | None = None,
    with_depth: bool = False,
    least_readable: float = 1.0,
    report: Report | None = None,
) -> CachedImages:
    """Decode and resample every frame once, into memory-mapped files.

    The files are rebuilt when a source changed (name, size or modification time) or a setting did.
    They are written under a temporary name and renamed when whole, so that a crash or a second
    process never leaves half a cache behind; what a crash did leave is removed by the next build.

    Args:
        frames: The frames, in the order of the returned arrays.
        width: Width of the cached images in pixels.
        height: Height of the cached images in pixels.
        folder: Where to keep the files.
        camera: The camera that all images are brought to, of this size; when omitted every image
            keeps its own, and is only resized.
        with_depth: Cache the depth images too, on the colour image's pixels; a frame without one
            gets zeros.
        least_readable: Share of the images (and of the depth images) that must be readable.
        report: Called with (done, total) while the cache is built.

    Raises:
        DataError: Too many images cannot be read, or the folder cannot be written.
    """
    decoder = Decoder(width, height, camera)
    # An image that is only resized does not depend on its camera, but for the way up.
    lenses = [
        repr((frame.intrinsics, frame.distortion, decoder.target(frame)))
        if camera is not None and not is_plain_resize(frame.intrinsics, frame.distortion, camera)
        else repr((width, height, frame.intrinsics.width < frame.intrinsics.height))
        for frame in frames
    ]
    color_path = _cache_path(folder, [f.image for f in frames], "color", lenses)
    shape = (height, width)
    build = _Build(frames, report, least_readable)
    build.write(color_path, decoder.color, (*shape, 3), np.uint8)
    depth_path = None
    if with_depth:
        sensors = [
            repr((lens, frame.intrinsics, frame.depth_camera, frame.depth_scale))
            for frame, lens in zip(frames, lenses, strict=True)
        ]
        depth_path = _cache_path(folder, [f.depth for f in frames], "depth", sensors)
        build.write(depth_path, decoder.depth, shape, np.uint16)
    return _open_cache(color_path, depth_path)


def _open_cache(color: Path, depth: Path | None) -> CachedImages:
    found = _read_sidecar(color)
    return CachedImages(
        color=_map(color),
        depth=_map(depth) if depth is not None else None,
        digests=found["digests"],
        unreadable=found["unreadable"],
        unreadable_depth=_read_sidecar(depth)["unreadable"] if depth is not None else {},
        readings=found["readings"],
    )


def _map(path: Path) -> np.memmap:
    array = np.load(path, mmap_mode="r")
    _descriptor(array)  # before another process replaces the file
    return array


def _read_sidecar(path: Path) -> dict[str, Any]:
    values = json.loads(path.with_suffix(".json").read_text())
    for name in ("unreadable", "readings"):
        values[name] = {int(index): value for index, value in values[name].items()}
    return values


def _usable(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any] | None:
    """What is known of the files of a cached array; None where it is not there, or damaged."""
    try:
        known = _read_sidecar(path)
        array = np.load(path, mmap_mode="r")
        count = len(known["digests"])
    except (OSError, EOFError, ValueError, AttributeError, KeyError, TypeError):
        return None  # what a full disk or a crash of the machine left is built again
    return known if (array.shape, array.dtype, count) == (shape, dtype, shape[0]) else None


def _cache_path(folder: Path, sources: list[Stored | None], kind: str, settings: list[str]) -> Path:
    """``WHAT-STATE.kind.npy``: which files at which settings, and how the files are now."""
    resolved = cache(Path.resolve)  # of the shards, each of which holds many

    def stamp(stored: Stored | None) -> list[Any]:
        if stored is None:
            return []
        try:
            return list(state_of(stored))
        except OSError as error:
            reason = f"cannot be read ({error.strerror}); copy it again"
            raise DataError(f"{stored}: {reason}") from error

    def name(stored: Stored | None) -> str:
        if isinstance(stored, PackedFile):
            return f"{resolved(stored.archive)}/{stored.name}"
        return str(stored.resolve()) if stored else ""

    def short(value: Any) -> str:
        return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()

    what = short([CACHE_FORMAT, [name(stored) for stored in sources], settings])
    state = short([stamp(stored) for stored in sources])
    return folder / f"{what}-{state}.{kind}.npy"


class _Build(NamedTuple):
    """Writes arrays of all frames, each with what is known of its files beside it.

    Attributes:
        frames: The frames.
        report: Called with (done, total).
        least_readable: Share of the files that must be readable.
    """

    frames: Sequence[Frame]
    report: Report | None
    least_readable: float

    def write(
        self,
        path: Path,
        load: Callable[[Frame], Decoded],
        shape: tuple[int, ...],
        dtype: type,
    ) -> None:
        """Write an array, unless it is there already."""
        sidecar = path.with_suffix(".json")
        known = _usable(path, (len(self.frames), *shape), np.dtype(dtype))
        if known is not None:
            unreadable = known["unreadable"]
            # Rights and networks come and go without a file's changing.
            if not any(self._can_read(load, index) for index in unreadable):
                self._require_readable(unreadable)
                return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_left_over(path)
            with tempfile.TemporaryDirectory(prefix=_building(), dir=path.parent) as scratch:
                array_path, json_path = Path(scratch) / path.name, Path(scratch) / sidecar.name
                with array_path.open("wb") as file:
                    known = self._fill(file, load, shape, np.dtype(dtype))
                    bring_to_disk(file)
                json_path.write_text(json.dumps(known))
                array_path.replace(path)
                json_path.replace(sidecar)  # last: a reader asks for both
        except OSError as error:
            raise DataError(
                f"{path.parent}: the image cache cannot be written ({error.strerror}); choose "
                "another folder with --data.cache, or with the environment variable POSENET_CACHE"
            ) from error

    def _fill(
        self,
        file: BinaryIO,
        load: Callable[[Frame], Decoded],
        shape: tuple[int, ...],
        dtype: np.dtype,
    ) -> dict[str, Any]:
        """Write the rows one after the other; mapped, they would all count as memory."""
        header = {"descr": dtype.str, "fortran_order": False, "shape": (len(self.frames), *shape)}
        np.lib.format.write_array_header_2_0(file, header)
        nothing = Decoded(np.zeros(shape, dtype))
        digests: list[str] = []
        unreadable: dict[int, str] = {}
        readings: dict[int, Reading] = {}

        def decode(frame: Frame) -> Decoded | DataError:
            try:
                return load(frame)
            except DataError as error:
                return error

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding releases the lock
            decoded = map_in_order(pool, decode, self.frames)
            for index, found in enumerate(decoded):
                loaded = nothing if isinstance(found, DataError) else found
                file.write(np.ascontiguousarray(loaded.pixels, dtype).tobytes())
                digests.append(loaded.digest)
                if loaded.how != "upright":
                    readings[index] = loaded.how
                if isinstance(found, DataError):
                    unreadable[index] = str(found)
                    # Once too many are lost there is no need to look at the others.
                    self._require_readable(unreadable)
                if self.report is not None:
                    self.report(index + 1, len(self.frames))
        return {"digests": digests, "unreadable": unreadable, "readings": readings}

    def _can_read(self, load: Callable[[Frame], Decoded], index: int) -> bool:
        try:
            load(self.frames[index])
        except DataError:
            return False
        return True

    def _require_readable(self, unreadable: dict[int, str]) -> None:
        if few_enough(len(unreadable), len(self.frames), self.least_readable):
            return
        first = next(iter(unreadable.values()))
        if len(unreadable) > 1 or self.least_readable < 1.0:
            first += (
                f" ({len(unreadable)} of {len(self.frames)} files cannot be read, and "
                f"data.least_readable is {self.least_readable:g})"
            )
        raise DataError(first)


def map_in_order(
    pool: ThreadPoolExecutor,
    function: Callable[[Any], Any],
    items: Iterable[Any],
    ahead: int = _DECODED_AHEAD,
) -> Iterator[Any]:
    """Results in order, never more than a few ahead: ``pool.map`` would hold all of them."""
    waiting: deque[Future[Any]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _building() -> str:
    return f".building-{socket.gethostname()}-{os.getpid()}-"


def _remove_left_over(path: Path) -> None:
    """Delete what crashed builds left, and the array as it was before its files changed.

    Whoever still reads the old array keeps it: a mapped file outlives its name.
    """
    host = f".building-{socket.gethostname()}-"
    for folder in path.parent.glob(f"{host}*"):
        process = folder.name.removeprefix(host).split("-")[0]
        if process.isdigit() and not _is_running(int(process)):
            shutil.rmtree(folder, ignore_errors=True)
    what, _, rest = path.name.partition("-")
    kind = rest.split(".", 1)[1].removesuffix(".npy")
    for old in path.parent.glob(f"{what}-*.{kind}.*"):
        if old.stem != path.stem:
            old.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
