"""Shards: what ``posenet shard`` makes of a dataset, tars of many images each, and an index.

Direction: camera-to-world, OpenCV axes, as all of posenet's; each pose is given back to the bit.

``shards.json`` says what the dataset is and which tars there are, ``frames.jsonl`` has a line a
frame, in the order of the dataset: its pose, its camera, and where in which tar its images are.
The index is read whole, images one by one. Nothing that is in the tars alone is needed; what the
samples in them say of their poses is for other tools.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from posenet.datasets.formats.json_values import (
    CURE,
    parse_object,
    require_object,
    take_flag,
    take_numbers,
    take_objects,
    take_place,
    take_text,
    take_whole,
    unexpected,
)
from posenet.datasets.formats.parsing import (
    COEFFICIENTS,
    inside,
    list_poses,
    make_intrinsics,
    poses_from_matrices,
    quote,
    read_lines,
    read_text,
    require_unique,
)
from posenet.datasets.frame import DepthCamera, Frame
from posenet.datasets.images import IMAGE_SUFFIXES
from posenet.datasets.orientation import Reading
from posenet.datasets.stored import PackedFile
from posenet.errors import DataError
from posenet.geometry import Distortion, Intrinsics, Pose

INDEX, FRAMES = "shards.json", "frames.jsonl"
FORMAT = 1
DEPTH_SUFFIX = ".depth.png"
UNKNOWN_SUFFIX = ".image"  # of an image that has none, or another format's
_COPY = "copy it again"
_SHARD = re.compile(r"[a-z]+-\d{6,}\.tar")
_KEY = re.compile(r"\d{8,}")
_DIGEST = re.compile(r"[0-9a-f]{32}")
# What a rotation may differ from the nearest one by rounding: it is then given back as it is.
_ROUNDING = 1e-9


class Lens(NamedTuple):
    """A colour camera; many frames share one."""

    intrinsics: Intrinsics
    distortion: Distortion | None


class _Shard(NamedTuple):
    """One of the tars: where, and how many bytes it must have."""

    path: Path
    size: int


class _Index(NamedTuple):
    """What ``shards.json`` says."""

    metric: bool
    scaled_depth: bool
    frames: int
    lenses: list[Lens]
    depth_cameras: list[DepthCamera]
    shards: list[_Shard]


def member_suffix(image: Path) -> str:
    """What an image's name in a shard ends in: its own suffix, in small letters."""
    suffix = image.suffix.lower()
    return suffix if suffix in IMAGE_SUFFIXES else UNKNOWN_SUFFIX


def looks_like_shards(root: Path) -> bool:
    """Whether a folder has the index."""
    return (root / INDEX).is_file()


def shard_units(root: Path) -> tuple[bool, bool]:
    """Whether poses are in metres, and whether depth beside ones that are not has their unit."""
    index = _read_index(root)
    return index.metric, index.scaled_depth


def read_shards(
    root: Path, camera: Intrinsics | None = None, depth_registered: bool = False
) -> list[Frame]:
    """Read the index; no image is opened.

    Args:
        root: The folder that ``posenet shard`` made.
        camera: The colour camera at any size; those of the index when omitted.
        depth_registered: Whether depth pixels are colour pixels, whatever the index says.

    Returns:
        The frames, in the order of the dataset that they were made of.

    Raises:
        DataError: The index is none, names files that it must not, or not what is there: a shard
            is missing, or was cut short.
    """
    index = _read_index(root)
    for shard in index.shards:
        _require_whole(shard)
    path = root / FRAMES
    _require_no_link(path)
    lines = read_lines(path, "a line a frame")
    if len(lines) != index.frames:
        raise DataError(
            f"{path}: expected {index.frames} frames, as {INDEX} says, found {len(lines)}; {_COPY}"
        )
    rows = [(where, parse_object(text, where)) for where, text in lines]
    matrices = np.array([take_numbers(row, "pose", 12, where) for where, row in rows])
    poses = _exact_poses(matrices.reshape(-1, 3, 4), [where for where, _ in rows])
    frames = [
        _frame(root, row, pose, index, where)
        for (where, row), pose in zip(rows, poses, strict=True)
    ]
    if camera is not None:
        frames = [_seen_by(frame, camera, str(path)) for frame in frames]
    if depth_registered:
        frames = [replace(frame, depth_camera=None) for frame in frames]
    return require_unique(frames, path)


def _require_no_link(path: Path) -> None:
    if path.is_symlink():
        raise DataError(
            f"{path}: expected a file of the shards in this folder, found a link; copy it here"
        )


def _require_whole(shard: _Shard) -> None:
    _require_no_link(shard.path)
    if not shard.path.is_file():
        raise DataError(f"{shard.path}: expected a shard, found no file; {_COPY}")
    found = shard.path.stat().st_size
    if found != shard.size:
        raise DataError(
            f"{shard.path}: expected {shard.size} bytes, found {found}: it was cut short, or is of "
            f"other shards; {_COPY}"
        )


def _read_index(root: Path) -> _Index:
    path = root / INDEX
    where = str(path)
    _require_no_link(path)
    values = parse_object(read_text(path, "the index of shards"), where)
    made_as = take_whole(values, "format", where)
    if made_as != FORMAT:
        raise DataError(
            f"{path}: expected shards of format {FORMAT}, found {made_as}; {CURE} of this "
            "version, or use the one that made them"
        )
    frames = take_whole(values, "frames", where)
    if frames == 0:
        raise unexpected("frames", "1 or more", frames, where)
    shards = []
    for entry in take_objects(values, "shards", where):
        name = take_text(entry, "file", where)
        if not _SHARD.fullmatch(name):
            raise DataError(
                f"{path}: expected names of shards such as train-000000.tar, found {quote(name)}; "
                f"{CURE}"
            )
        shards.append(_Shard(root / name, take_whole(entry, "bytes", where)))
    return _Index(
        take_flag(values, "metric", where),
        take_flag(values, "scaled_depth", where),
        frames,
        [_lens(entry, where) for entry in take_objects(values, "lenses", where)],
        [
            DepthCamera(
                make_intrinsics(take_numbers(entry, "intrinsics", 6, where), where),
                tuple(take_numbers(entry, "color_center", 3, where)),
            )
            for entry in take_objects(values, "depth_cameras", where)
        ],
        shards,
    )


def _lens(entry: Mapping[str, Any], where: str) -> Lens:
    intrinsics = make_intrinsics(take_numbers(entry, "intrinsics", 6, where), where)
    if entry.get("distortion") is None:
        return Lens(intrinsics, None)
    bent = require_object(entry["distortion"], where)
    model = take_text(bent, "model", where)
    if model not in COEFFICIENTS:
        raise unexpected("model of a distortion", f"one of {', '.join(COEFFICIENTS)}", model, where)
    given = bent.get("coefficients")
    count = len(given) if isinstance(given, list) else 0
    if count > len(COEFFICIENTS[model]):
        raise unexpected("coefficients", f"{len(COEFFICIENTS[model])} numbers", given, where)
    return Lens(
        intrinsics, Distortion(model, tuple(take_numbers(bent, "coefficients", count, where)))
    )


def _exact_poses(matrices: NDArray[np.float64], where: Sequence[str]) -> list[Pose]:
    """The poses as they were written, once they are found to be poses; else the nearest ones."""
    nearest = torch.stack([pose.rotation for pose in poses_from_matrices(matrices, where, CURE)])
    given = torch.from_numpy(matrices[:, :, :3])
    exact = (given - nearest).abs().amax(dim=(1, 2), keepdim=True) <= _ROUNDING
    return list_poses(torch.where(exact, given, nearest), matrices[:, :, 3])


def _frame(root: Path, row: Mapping[str, Any], pose: Pose, index: _Index, where: str) -> Frame:
    name, sequence = take_text(row, "name", where), take_text(row, "sequence", where)
    inside(root, name, where)  # other tools will name files after it
    image = inside(root, take_text(row, "image", where), where)
    split = row.get("split")
    if split not in (None, "train", "test"):
        raise unexpected("split", "train, test or null", split, where)
    reading = row.get("reading", "upright")
    if reading not in get_args(Reading):
        raise unexpected("reading", f"one of {', '.join(get_args(Reading))}", reading, where)
    key = take_text(row, "key", where)
    if not _KEY.fullmatch(key):
        raise unexpected("key", "eight digits or more", key, where)
    lens = index.lenses[take_place(row, "lens", index.lenses, where)]
    shard = index.shards[take_place(row, "shard", index.shards, where)]
    return Frame(
        name=name,
        image_path=image,
        pose=pose,
        intrinsics=lens.intrinsics,
        sequence=sequence,
        split=split,
        distortion=lens.distortion,
        packed_image=_packed(row, "image_at", shard, f"{key}{member_suffix(image)}", where),
        known_reading=reading,
        **_depth(root, row, key, index, shard, where),
    )


def _depth(
    root: Path, row: Mapping[str, Any], key: str, index: _Index, shard: _Shard, where: str
) -> dict[str, Any]:
    """What is known of the depth image of a frame, if it has one."""
    if row.get("depth") is None:
        return {}
    camera = None
    if row.get("depth_camera") is not None:
        cameras = index.depth_cameras
        camera = cameras[take_place(row, "depth_camera", cameras, where)]
    (scale,) = take_numbers({"depth_scale": [row.get("depth_scale")]}, "depth_scale", 1, where)
    if scale <= 0:
        raise unexpected("depth_scale", "a number above 0", scale, where)
    return {
        "depth_path": inside(root, take_text(row, "depth", where), where),
        "depth_camera": camera,
        "depth_scale": scale,
        "packed_depth": _packed(row, "depth_at", shard, f"{key}{DEPTH_SUFFIX}", where),
    }


def _packed(
    row: Mapping[str, Any], name: str, shard: _Shard, member: str, where: str
) -> PackedFile:
    at = row.get(name)
    if not (isinstance(at, list) and len(at) == 3 and isinstance(at[2], str)):
        raise unexpected(name, "an offset, a size and a digest", at, where)
    offset, size = (take_whole({name: value}, name, where) for value in at[:2])
    if offset + size > shard.size:
        raise unexpected(name, f"bytes within the {shard.size} of {shard.path.name}", at, where)
    if not _DIGEST.fullmatch(at[2]):
        raise unexpected(name, "a digest of 32 hexadecimal digits", at[2], where)
    return PackedFile(shard.path, member, offset, size, at[2])


def _seen_by(frame: Frame, camera: Intrinsics, where: str) -> Frame:
    """The frame, taken by another camera than the index says."""
    width, height = frame.intrinsics.width, frame.intrinsics.height
    if not camera.has_proportions(width, height):
        raise DataError(
            f"{where}: expected images with the proportions of the {camera.width}x{camera.height} "
            f"camera, found {width}x{height} of {frame.name}; give the camera that took it with "
            '--data.intrinsics "[fx, fy, cx, cy, width, height]"'
        )
    return replace(frame, intrinsics=camera.resized(width, height), distortion=None)
