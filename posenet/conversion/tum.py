"""TUM trajectories, as evo reads them: ``timestamp tx ty tz qx qy qz qw``, a pose a line.

Direction: camera-to-world; the quaternion is xyzw; OpenCV axes. The format has no names.

Source: https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats.
"""

from pathlib import Path

import numpy as np
import torch

from posenet.conversion.trajectory import FileContent, Trajectory
from posenet.datasets.formats.parsing import (
    parse_numbers,
    read_lines,
    read_text,
    rotations_from_quaternions,
)
from posenet.errors import DataError
from posenet.geometry import Pose, rotation_to_quaternion

COLUMNS = "timestamp tx ty tz qx qy qz qw"
NO_TIMES = "# The source has no timestamps: the first column counts the poses."


def read_tum(path: Path, finite: bool = True) -> FileContent:
    """Read a trajectory.

    Raises:
        DataError: The file is missing or unusable; the message names the line.
    """
    lines = read_lines(path, "a TUM trajectory")
    if not lines:
        raise DataError(f"{path}: expected a line '{COLUMNS}' a pose, found none; restore it")
    where = [place for place, _ in lines]
    numbers = np.array(
        [parse_numbers(line.split(), COLUMNS, place, finite=finite) for place, line in lines]
    )
    for place, line in lines:  # always finite
        parse_numbers(line.split()[:1], "timestamp", place)
    rotation = rotations_from_quaternions(numbers[:, [7, 4, 5, 6]], where, finite=finite)
    counted = NO_TIMES in read_text(path, "a TUM trajectory").split("\n")
    return FileContent(
        Pose(rotation, torch.from_numpy(numbers[:, 1:4].copy())),
        timestamps=None if counted else numbers[:, 0].tolist(),
    )


def render_tum(trajectory: Trajectory, path: Path) -> dict[Path, str]:
    """The text of a trajectory; without timestamps the poses are counted, and a comment says so."""
    quaternions = rotation_to_quaternion(trajectory.pose.rotation).roll(-1, dims=-1)
    rows = torch.cat((trajectory.pose.translation, quaternions), dim=-1).tolist()
    comments = [f"# {COLUMNS}"]
    times: list[float] | range = range(len(rows))
    if trajectory.timestamps is None:
        comments.append(NO_TIMES)
    else:
        times = trajectory.timestamps
    lines = [" ".join(map(repr, (time, *row))) for time, row in zip(times, rows, strict=True)]
    return {path: "\n".join([*comments, *lines, ""])}
