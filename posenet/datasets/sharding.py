"""The verb ``shard``: a dataset as a few large tars and an index, for where one disk is too small.

Each sample of a tar follows webdataset's convention: files that share a key, which are ``KEY.jpg``
(the image's own bytes and suffix), ``KEY.json`` (what is known of the frame) and, where there is
depth, ``KEY.depth.png``. The same dataset gives the same bytes.

Source: https://github.com/webdataset/webdataset, "The WebDataset Format".
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from posenet.config import DataConfig
from posenet.datasets.cache import Report
from posenet.datasets.formats import find_format
from posenet.datasets.formats.parsing import MAX_PATH, UNWRITABLE, quote
from posenet.datasets.formats.shards import (
    DEPTH_SUFFIX,
    FORMAT,
    FRAMES,
    INDEX,
    Lens,
    member_suffix,
)
from posenet.datasets.frame import Frame, path_below
from posenet.datasets.images import UNDECODABLE
from posenet.datasets.orientation import Reading, reading
from posenet.datasets.scene import frames_with_images, read_frames
from posenet.datasets.stored import Stored, bytes_digest
from posenet.errors import DataError, UsageError
from posenet.geometry import Intrinsics
from posenet.progress import say
from posenet.staging import bring_to_disk, require_place, staged

_SEED = 0  # of the order in a shard
_HEADER = 512  # bytes before each file in a tar
_NO_SPLIT = "frames"  # what shards of frames are called that are for neither training nor testing


class Sharding(NamedTuple):
    """What was written.

    Attributes:
        frames: How many.
        shards: The names of the tars.
        size: Bytes of all tars.
    """

    frames: int
    shards: list[str]
    size: int


def write_shards(
    config: DataConfig,
    destination: Path,
    frames_per_shard: int = 1000,
    report: Report | None = None,
) -> Sharding:
    """Write a dataset as shards; images are copied, never encoded again.

    Frames for training and for testing lie in shards of their own, as the dataset says; how a
    dataset without such words is split, and what validates, is decided where the shards are read.
    Nothing is left of shards that were not finished, and the index comes last.

    Args:
        config: The dataset. Where, in which format, by which cameras.
        destination: The folder to make; it may be there, and empty.
        frames_per_shard: At most.
        report: Called with (done, total).

    Raises:
        DataError: The dataset cannot be used, or the folder cannot be written or holds something.
        UsageError: The folder is inside the dataset.
    """
    root = Path(config.root)
    if destination.resolve().is_relative_to(root.resolve()):
        raise UsageError(
            f"{destination}: expected a folder outside of the dataset {root}, found one inside it; "
            "choose another"
        )
    if destination.is_dir() and any(destination.iterdir()):
        raise DataError(
            f"{destination}: expected a new or an empty folder, found "
            f"{min(destination.iterdir()).name} in it; choose another, or empty it"
        )
    require_place(destination, "DST")
    posed = read_frames(config)
    frames = frames_with_images(posed, config.root)
    if len(frames) < len(posed):
        lost = len(posed) - len(frames)
        say(f"{root}: {lost} of {len(posed)} posed frames have no image and are left out")
    for text in (text for frame in frames for text in (frame.name, frame.sequence)):
        if UNWRITABLE.search(text) or len(text) > MAX_PATH:
            raise DataError(
                f"{root}: expected names of frames and sequences of at most {MAX_PATH} characters "
                f"that can be written down, found {quote(text)}; rename it"
            )
    metric, scaled_depth = find_format(root, config.format).units_of(root)
    lenses = _Numbers()
    cameras = _Numbers()
    shards: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = [{}] * len(frames)
    done = 0
    with staged(destination, "DST", last=INDEX) as stage:
        for name, members in _deal(frames, frames_per_shard):
            with (stage / name).open("wb") as file:
                tar = _Tar(file)
                for number in members:
                    frame = frames[number]
                    image, depth = frame.image_path, frame.depth_path
                    known = _describe(frame, path_below(image, root) or image.name)
                    rows[number] = {
                        **known,
                        "lens": lenses.of(Lens(frame.intrinsics, frame.distortion)),
                        "shard": len(shards),
                        **_add_sample(tar, f"{number:08d}", frame, known | {"metric": metric}),
                    }
                    if depth is not None:
                        rows[number] |= {
                            "depth": path_below(depth, root) or depth.name,
                            "depth_scale": frame.depth_scale,
                            "depth_camera": cameras.of(frame.depth_camera),
                        }
                    done += 1
                    if report is not None:
                        report(done, len(frames))
                size = tar.close()
            shards.append(
                {"file": name, "frames": len(members), "bytes": size, "sha256": tar.sha256}
            )
        index = {
            "format": FORMAT,
            "dataset": root.resolve().name,
            "metric": metric,
            "scaled_depth": scaled_depth,
            "frames": len(frames),
            "lenses": [
                {
                    "intrinsics": _numbers(lens.intrinsics),
                    "distortion": lens.distortion and asdict(lens.distortion),
                }
                for lens in lenses
            ],
            "depth_cameras": [
                {"intrinsics": _numbers(camera.intrinsics), "color_center": camera.color_center}
                for camera in cameras
            ],
            "shards": shards,
        }
        _write_lines(stage / FRAMES, (json.dumps(row, allow_nan=False) for row in rows))
        _write_lines(stage / INDEX, [json.dumps(index, indent=1)])
    return Sharding(
        len(frames),
        [shard["file"] for shard in shards],
        sum(shard["bytes"] for shard in shards),
    )


def _deal(frames: Sequence[Frame], most: int) -> Iterator[tuple[str, list[int]]]:
    """Names of shards, and the frames of each: a mixed sample of its split, shards of one size."""
    for split in ("train", "test", None):
        members = [i for i, frame in enumerate(frames) if frame.split == split]
        if not members:
            continue
        order = np.random.default_rng(_SEED).permutation(members)
        for number, part in enumerate(np.array_split(order, -(-len(members) // most))):
            yield f"{split or _NO_SPLIT}-{number:06d}.tar", part.tolist()


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        bring_to_disk(file)


def _describe(frame: Frame, image: str) -> dict[str, Any]:
    """What the index and the sample say alike."""
    return {
        "name": frame.name,
        "image": image,
        "sequence": frame.sequence,
        "split": frame.split,
        "pose": frame.pose.matrix[:3].flatten().tolist(),
    }


def _add_sample(tar: "_Tar", key: str, frame: Frame, known: dict[str, Any]) -> dict[str, Any]:
    """Write the files of a frame; returns what the index says of them."""
    content = _read(frame.image)
    pose = [known["pose"][row : row + 4] for row in (0, 4, 8)]
    sample = {
        **known,
        "pose": [*pose, [0.0, 0.0, 0.0, 1.0]],  # camera-to-world, OpenCV axes
        "intrinsics": asdict(frame.intrinsics),
        "distortion": frame.distortion and asdict(frame.distortion),
    }
    if frame.depth is not None:
        sample |= {
            "depth_scale": frame.depth_scale,
            "depth_camera": frame.depth_camera and asdict(frame.depth_camera),
        }
    text = json.dumps(sample, indent=1, allow_nan=False) + "\n"
    at = {
        "key": key,
        "reading": _reading(content, frame),
        "image_at": tar.add(f"{key}{member_suffix(frame.image_path)}", content),
    }
    tar.add(f"{key}.json", text.encode())
    if frame.depth is not None:
        at["depth_at"] = tar.add(f"{key}{DEPTH_SUFFIX}", _read(frame.depth))
    return at


def _read(stored: Stored) -> bytes:
    try:
        return stored.read_bytes()
    except OSError as error:
        raise DataError(
            f"{stored}: expected an image, found none that can be read ({error.strerror}); copy it "
            "again, or remove its pose"
        ) from error


def _reading(content: bytes, frame: Frame) -> Reading:
    """Which way up the image is read; of one that is damaged, whoever reads it will say so."""
    try:
        with Image.open(BytesIO(content)) as image:
            return reading(image, frame.intrinsics)
    except UNDECODABLE:
        return "upright"


def _numbers(intrinsics: Intrinsics) -> list[float]:
    return list(asdict(intrinsics).values())


class _Numbers(dict[Any, int]):
    """Numbers for values that many frames share, from 0; iterates over the values."""

    def of(self, value: Any) -> int | None:
        """The number of a value; None of None."""
        return None if value is None else self.setdefault(value, len(self))


class _Tar:
    """A tar of which every byte follows from what is added.

    Args:
        file: Where to.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._size = 0
        self._tar = tarfile.open(fileobj=self, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    def tell(self) -> int:
        """Bytes written; for the library."""
        return self._size

    def write(self, content: bytes) -> int:
        """Write bytes, and remember them in the digest; for the library."""
        self._hash.update(content)
        self._size += len(content)
        return self._file.write(content)

    def add(self, name: str, content: bytes) -> list[int | str]:
        """Add a file; returns where its bytes begin, how many there are, and their digest."""
        info = tarfile.TarInfo(name)  # of nobody, and of 1970
        info.size = len(content)
        self._tar.addfile(info, BytesIO(content))
        padded = -(-len(content) // _HEADER) * _HEADER
        return [self._size - padded, len(content), bytes_digest(content)]

    def close(self) -> int:
        """End it, on the disk too; returns its size in bytes."""
        self._tar.close()
        bring_to_disk(self._file)
        return self._size

    @property
    def sha256(self) -> str:
        """Digest of all bytes, as ``sha256sum`` prints it."""
        return self._hash.hexdigest()
