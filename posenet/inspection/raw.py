"""Rotation matrices as the files hold them, before a reader projects them to rotations."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posenet.datasets.frame import Frame
from posenet.datasets.images import IMAGE_SUFFIXES

Array = NDArray[np.float64]

POSE_SUFFIX = ".pose.txt"


def raw_rotations(frames: Sequence[Frame]) -> Array:
    """The 3x3 matrices in the frames' own files, (N, 3, 3); NaN where a format has no matrices.

    Known are 7-Scenes' ``frame-XXXXXX.pose.txt`` beside the image, and ``transforms*.json`` in
    the image's folder or one above it.
    """
    known: dict[Path, dict[str, Array]] = {}
    raw = np.full((len(frames), 3, 3), np.nan)
    for index, frame in enumerate(frames):
        matrix = read_matrix(beside(frame.image_path))
        if matrix is None:
            matrix = _from_json(frame.image_path, known)
        if matrix is not None:
            raw[index] = matrix
    return raw


def beside(image_path: Path) -> Path:
    """The pose file of an image in the layout of 7-Scenes."""
    return image_path.with_name(image_path.name.split(".")[0] + POSE_SUFFIX)


def read_matrix(path: Path) -> Array | None:
    """The rotation part of a file of 3x4 or 4x4 numbers; None for anything else."""
    try:
        numbers = [float(word) for word in path.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return None
    return np.reshape(numbers, (-1, 4))[:3, :3] if len(numbers) in (12, 16) else None


def orthonormality_defect(matrices: Array) -> Array:
    """Frobenius norm of ``R^T R - I``: 0 for rotations and reflections, (N,)."""
    return np.linalg.norm(matrices.swapaxes(-1, -2) @ matrices - np.eye(3), axis=(-2, -1))


def self_angle_deg(matrices: Array) -> Array:
    """Angle of a matrix with itself by the trace formula, degrees: 0 for rotations, (N,)."""
    cosine = 0.5 * ((matrices * matrices).sum(axis=(-2, -1)) - 1.0)
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def mean_scale(matrices: Array) -> Array:
    """Cube root of |det|: 1 for rotations, (N,)."""
    return np.cbrt(np.abs(np.linalg.det(matrices)))


def _from_json(image_path: Path, known: dict[Path, dict[str, Array]]) -> Array | None:
    """Look an image up in the files of its folders; ``known`` remembers each folder's."""
    for folder in list(image_path.parents)[:3]:
        if folder not in known:
            known[folder] = {}
            for path in sorted(folder.glob("transforms*.json")):
                known[folder].update(read_json_matrices(path))
        matrix = known[folder].get(_stem(image_path))
        if matrix is not None:
            return matrix
    return None


def read_json_matrices(path: Path) -> dict[str, Array]:
    """Rotation parts in a ``transforms.json`` by the path of their image without its suffix."""
    try:
        frames: Iterable[dict] = json.loads(path.read_text(encoding="utf-8"))["frames"]
        return {
            _stem(path.parent / frame["file_path"]): np.array(
                frame["transform_matrix"], dtype=np.float64
            )[:3, :3]
            for frame in frames
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return {}


def _stem(path: Path) -> str:
    """Absolute path without the suffix of an image, which such files may leave out."""
    absolute = os.path.normpath(path.absolute())
    suffix = Path(absolute).suffix
    return absolute.removesuffix(suffix) if suffix.lower() in IMAGE_SUFFIXES else absolute
