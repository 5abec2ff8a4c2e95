"""Tables of poses: the project's own ``predictions.csv`` and ``poses.csv``.

Direction: camera-to-world; the quaternion is wxyz; OpenCV axes. The first line names the columns,
in any order: a name (``frame``, ``image``, ``file`` or ``name``, the first that is there), the
quaternion and the centre are needed, the rest may be missing. The centre has the source's unit,
which the datasets that are read from such tables expect to be metres.
"""

import csv
import io
from pathlib import Path

import numpy as np
import torch

from posenet.conversion.trajectory import FileContent, Trajectory
from posenet.datasets.formats.parsing import parse_numbers, quote, rotations_from_quaternions
from posenet.datasets.formats.tables import (
    CAMERA_COLUMNS,
    QUATERNION,
    parse_camera,
    parse_split,
    read_table,
)
from posenet.errors import DataError
from posenet.geometry import Intrinsics, Pose, rotation_to_quaternion

NAMES = ("frame", "image", "file", "name")
CENTER = ("center_x", "center_y", "center_z")


def read_pose_table(path: Path, finite: bool = True) -> FileContent:
    """Read a table.

    Raises:
        DataError: The file is missing or unusable; the message names the line.
    """
    columns, rows, where = read_table(path, "a table of poses", "a pose", by_hand=False)
    placed = list(zip(rows, where, strict=True))
    name_column = next((name for name in NAMES if name in columns), None)
    unit = "_m" if f"{CENTER[0]}_m" in columns else ""
    needed = (*QUATERNION, *(f"{name}{unit}" for name in CENTER))
    missing = [name for name in needed if name not in columns]
    if name_column is None or missing:
        raise DataError(
            f"{path}: expected the columns frame, {', '.join(needed)}, found "
            f"{quote(', '.join(columns))}; name them in the first line"
        )
    numbers = np.array(
        [
            parse_numbers([row[k] for k in needed], " ".join(needed), at, finite=finite)
            for row, at in placed
        ]
    )
    rotation = rotations_from_quaternions(numbers[:, :4], where, finite=finite)
    timestamps = None
    if "timestamp" in columns:
        times = [parse_numbers([row["timestamp"]], "timestamp", at) for row, at in placed]
        timestamps = [time for (time,) in times]
    has_camera = set(CAMERA_COLUMNS) <= set(columns)
    return FileContent(
        Pose(rotation, torch.from_numpy(numbers[:, 4:].copy())),
        names=[row[name_column] for row in rows],
        sequences=[row["sequence"] for row in rows] if "sequence" in columns else None,
        splits=[parse_split(*entry) for entry in placed] if "split" in columns else None,
        timestamps=timestamps,
        intrinsics=[parse_camera(*entry) for entry in placed] if has_camera else None,
    )


def render_table(trajectory: Trajectory, path: Path) -> dict[Path, str]:
    """The text of a table, with a column for whatever is known but the lens."""
    columns: dict[str, list] = {"frame": trajectory.names}
    if trajectory.images is not None:
        columns["image"] = [image.name for image in trajectory.images]
    columns["sequence"] = trajectory.sequences
    if any(trajectory.splits):
        columns["split"] = [split or "" for split in trajectory.splits]
    if trajectory.timestamps is not None:
        columns["timestamp"] = [repr(time) for time in trajectory.timestamps]
    numbers = (rotation_to_quaternion(trajectory.pose.rotation), trajectory.pose.translation)
    names = (*QUATERNION, *(f"{name}_m" for name in CENTER))
    for name, column in zip(names, torch.cat(numbers, dim=-1).T.tolist(), strict=True):
        columns[name] = list(map(repr, column))
    if any(trajectory.intrinsics):
        cameras = zip(*map(_camera_cells, trajectory.intrinsics), strict=True)
        columns |= dict(zip(CAMERA_COLUMNS, cameras, strict=True))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return {path: text.getvalue()}


def _camera_cells(intrinsics: Intrinsics | None) -> list[str]:
    if intrinsics is None:
        return [""] * len(CAMERA_COLUMNS)
    i = intrinsics
    focal_and_center = (i.focal_x, i.focal_y, i.center_x, i.center_y)
    return [*(repr(float(n)) for n in focal_and_center), str(i.width), str(i.height)]
