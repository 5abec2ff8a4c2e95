"""Tables of poses: the project's own ``predictions.csv`` and ``poses.csv``.

Direction: camera-to-world; the quaternion is wxyz; OpenCV axes. The first line names the columns,
in any order: a name (``frame``, ``image``, ``file`` or ``name``, the first that is there), the
quaternion and the centre are needed, the rest may be missing. The centre has the source's unit,
which the datasets that are read from such tables expect to be metres.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from posenet.conversion.trajectory import FileContent, Trajectory
from posenet.datasets.formats.parsing import (
    make_intrinsics,
    parse_numbers,
    quote,
    read_text,
    rotations_from_quaternions,
)
from posenet.datasets.formats.poses_csv import CAMERA_COLUMNS
from posenet.errors import DataError
from posenet.geometry import Intrinsics, Pose, rotation_to_quaternion

NAMES = ("frame", "image", "file", "name")
QUATERNION = ("qw", "qx", "qy", "qz")
CENTER = ("center_x", "center_y", "center_z")


def read_table(path: Path, finite: bool = True) -> FileContent:
    """Read a table.

    Raises:
        DataError: The file is missing or unusable; the message names the line.
    """
    rows, columns = _read_rows(path)
    where = [place for place, _ in rows]
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
            for at, row in rows
        ]
    )
    rotation = rotations_from_quaternions(numbers[:, :4], where, finite=finite)
    timestamps = None
    if "timestamp" in columns:
        times = [parse_numbers([row["timestamp"]], "timestamp", at) for at, row in rows]
        timestamps = [time for (time,) in times]
    has_camera = set(CAMERA_COLUMNS) <= set(columns)
    return FileContent(
        Pose(rotation, torch.from_numpy(numbers[:, 4:].copy())),
        names=[row[name_column] for _, row in rows],
        sequences=[row["sequence"] for _, row in rows] if "sequence" in columns else None,
        splits=[_split(row, at) for at, row in rows] if "split" in columns else None,
        timestamps=timestamps,
        intrinsics=[_camera(row, at) for at, row in rows] if has_camera else None,
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


def _read_rows(path: Path) -> tuple[list[tuple[str, Mapping[str, str]]], list[str]]:
    """Where each row stands and its cells by column; and the columns."""
    text = read_text(path, "a table of poses")
    reader = csv.reader(io.StringIO(text, newline=""))
    columns: list[str] = []
    rows = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{path}:{reader.line_num}"
            if not columns:
                columns = [cell.strip() for cell in cells]
            elif len(cells) != len(columns):
                raise DataError(
                    f"{where}: expected {len(columns)} cells as in the first line, found "
                    f"{len(cells)}; correct the line"
                )
            else:
                rows.append((where, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        raise DataError(
            f"{path}:{reader.line_num}: expected a line of a table, found {error}; correct the line"
        ) from error
    if not rows:
        raise DataError(f"{path}: expected a line of columns and one a pose, found none")
    return rows, columns


def _split(row: Mapping[str, str], where: str) -> str | None:
    if row["split"] not in ("train", "test", ""):
        raise DataError(
            f"{where}: expected split train, test or none, found {quote(row['split'])}; correct it"
        )
    return row["split"] or None


def _camera(row: Mapping[str, str], where: str) -> Intrinsics | None:
    cells = [row[name] for name in CAMERA_COLUMNS]
    if not any(cells):
        return None
    return make_intrinsics(parse_numbers(cells, " ".join(CAMERA_COLUMNS), where), where)


def _camera_cells(intrinsics: Intrinsics | None) -> list[str]:
    if intrinsics is None:
        return [""] * len(CAMERA_COLUMNS)
    i = intrinsics
    focal_and_center = (i.focal_x, i.focal_y, i.center_x, i.center_y)
    return [*(repr(float(n)) for n in focal_and_center), str(i.width), str(i.height)]
