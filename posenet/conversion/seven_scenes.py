"""7-Scenes: a folder a sequence, and in it ``frame-XXXXXX.pose.txt``, 4x4 numbers a frame.

Direction: camera-to-world; OpenCV axes. ``TrainSplit.txt`` and ``TestSplit.txt`` name the
sequences. A frame of the dataset is an image; here are only the poses.
"""

import re
from pathlib import Path

import numpy as np

from posenet.conversion.trajectory import FileContent, Trajectory
from posenet.datasets.formats.parsing import natural_order, poses_from_matrices, read_text
from posenet.datasets.formats.seven_scenes import POSE_CURE, SPLIT_FILES, read_pose_matrix
from posenet.errors import DataError
from posenet.geometry import stack_poses

SUFFIX = ".pose.txt"
_NUMBERED = re.compile(r"frame-(\d{6})")


def read_sequence(path: Path, finite: bool = True) -> FileContent:
    """Read the poses of one sequence.

    Raises:
        DataError: The folder holds none, or one is unusable; the message names the file.
    """
    files = sorted(path.glob(f"*{SUFFIX}"), key=lambda file: natural_order(file.name))
    if not files:
        raise DataError(
            f"{path}: expected frame-XXXXXX{SUFFIX}, found none; unpack the sequence there, or "
            "remove it from the split files"
        )
    matrices = np.stack([read_pose_matrix(file) for file in files])
    where = [str(file) for file in files]
    pose = stack_poses(poses_from_matrices(matrices, where, POSE_CURE, finite=finite))
    names = [f"{path.name}/{file.name.removesuffix(SUFFIX)}" for file in files]
    return FileContent(pose, names=names)


def render_sequence(trajectory: Trajectory, path: Path) -> dict[Path, str]:
    """A file a pose; numbers in the names are kept where they rise."""
    matches = [_NUMBERED.fullmatch(name.rpartition("/")[2]) for name in trajectory.names]
    numbers = [int(match[1]) for match in matches if match]
    if len(numbers) < len(matches) or numbers != sorted(set(numbers)):
        numbers = list(range(len(matches)))
    return {
        path / f"frame-{number:06d}{SUFFIX}": "".join(
            " ".join(map(repr, row)) + "\n" for row in matrix
        )
        for number, matrix in zip(numbers, trajectory.pose.matrix.tolist(), strict=True)
    }


def list_sequences(root: Path) -> list[tuple[str, str | None]]:
    """The folders of a scene with the split of each, training first; all of them without splits.

    Raises:
        DataError: A split file cannot be used.
    """
    listed: list[tuple[str, str | None]] = []
    for split, name in SPLIT_FILES.items():
        if (root / name).is_file():
            text = read_text(root / name, "the sequences of a split")
            lines = [line.strip() for line in text.split("\n") if line.strip()]
            matches = [re.fullmatch(r"(?:sequence|seq-)([0-9]{1,9})", line) for line in lines]
            if not lines or None in matches:
                raise DataError(
                    f"{root / name}: expected lines such as 'sequence1', found something else; "
                    "correct it"
                )
            listed += [(f"seq-{int(match[1]):02d}", split) for match in matches if match]
    if listed:
        return list(dict.fromkeys(listed))
    folders = sorted((path.name for path in root.glob("seq-*/")), key=natural_order)
    return [(folder, None) for folder in folders]


def render_splits(listed: list[tuple[str, str | None]], root: Path) -> dict[Path, str]:
    """The split files; what belongs to no split is for training."""
    texts = {}
    for split, name in SPLIT_FILES.items():
        lines = [
            f"sequence{int(folder[4:])}\n" for folder, of in listed if (of or "train") == split
        ]
        if lines:
            texts[root / name] = "".join(lines)
    return texts
