"""KITTI odometry poses: the 12 numbers of a 3x4 matrix, row by row, a pose a line.

Direction: camera-to-world; OpenCV axes. The format has neither names nor timestamps.
"""

from pathlib import Path

import numpy as np

from posenet.conversion.trajectory import FileContent, Trajectory
from posenet.datasets.formats.parsing import parse_numbers, poses_from_matrices, read_lines
from posenet.errors import DataError
from posenet.geometry import stack_poses

COLUMNS = " ".join(f"m{row}{column}" for row in range(3) for column in range(4))


def read_kitti(path: Path, finite: bool = True) -> FileContent:
    """Read the poses of one sequence.

    Raises:
        DataError: The file is missing or unusable; the message names the line.
    """
    lines = read_lines(path, "the poses of a KITTI sequence")
    if not lines:
        raise DataError(f"{path}: expected 12 numbers a pose, found no line; restore it")
    numbers = [parse_numbers(line.split(), COLUMNS, at, finite=finite) for at, line in lines]
    matrices = np.array(numbers).reshape(-1, 3, 4)
    where = [place for place, _ in lines]
    poses = poses_from_matrices(matrices, where, "correct the line", finite=finite)
    return FileContent(stack_poses(poses))


def render_kitti(trajectory: Trajectory, path: Path) -> dict[Path, str]:
    """The text of a pose file; comments are not part of the format."""
    rows = trajectory.pose.matrix[:, :3].flatten(1).tolist()
    return {path: "".join(" ".join(map(repr, row)) + "\n" for row in rows)}
