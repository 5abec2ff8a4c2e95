"""Files that hold poses and nothing else, or nothing else that matters: any of them is read here.

``POSE_FILES`` is the table that ``--to`` and ``--from`` name a row of.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from posenet.conversion.colmap import IMAGES, read_colmap, render_colmap
from posenet.conversion.kitti import read_kitti, render_kitti
from posenet.conversion.seven_scenes import (
    SUFFIX,
    list_sequences,
    read_sequence,
    render_sequence,
)
from posenet.conversion.sidecars import add_sidecars, is_sidecar
from posenet.conversion.table import read_pose_table, render_table
from posenet.conversion.trajectory import (
    FileContent,
    Trajectory,
    complete,
    join,
    require_different,
)
from posenet.conversion.transforms import read_transforms, render_transforms
from posenet.conversion.tum import read_tum, render_tum
from posenet.conversion.visloc import MORE, read_visloc, render_visloc
from posenet.datasets.formats.parsing import natural_order, read_text
from posenet.datasets.formats.tables import QUATERNION
from posenet.errors import DataError, look_up


class PoseFile(NamedTuple):
    """What is known of a format of poses.

    Attributes:
        read: ``f(path, finite)``: from a file (or, where ``holds`` says so, a folder) to what it
            says. Where ``finite`` is False a pose that is not is no error.
        render: From poses and the path they go to, to the text of each file.
        convention: In words.
        holds: ``file``: one file has everything. ``model``: one folder has everything.
            ``sequence``: one file a sequence, in a folder where there are several; and
            ``scene``: one folder a sequence.
        named: The name of a sequence that its file or folder can have, a regular expression, and
            the name by number of the others.
    """

    read: Callable[..., FileContent]
    render: Callable[[Trajectory, Path], dict[Path, str]]
    convention: str
    holds: Literal["file", "model", "sequence", "scene"] = "file"
    named: tuple[str, str] = ("", "")


POSE_FILES: dict[str, PoseFile] = {
    "tum": PoseFile(
        read_tum,
        render_tum,
        "camera-to-world, quaternion xyzw, OpenCV axes",
        "sequence",
        (r"\w[\w-]{,99}", "{:02d}"),
    ),
    "colmap": PoseFile(
        read_colmap, render_colmap, "world-to-camera, quaternion wxyz, OpenCV axes", "model"
    ),
    "transforms": PoseFile(
        read_transforms, render_transforms, "camera-to-world, 4x4 matrix, OpenGL axes"
    ),
    "csv": PoseFile(read_pose_table, render_table, "camera-to-world, quaternion wxyz, OpenCV axes"),
    "kitti": PoseFile(
        read_kitti,
        render_kitti,
        "camera-to-world, 3x4 matrix, OpenCV axes",
        "sequence",
        (r"[0-9]{2}", "{:02d}"),
    ),
    "7scenes": PoseFile(
        read_sequence,
        render_sequence,
        "camera-to-world, 4x4 matrix, OpenCV axes",
        "scene",
        (r"seq-[0-9]{2}", "seq-{:02d}"),
    ),
    "visloc": PoseFile(read_visloc, render_visloc, "world-to-camera, quaternion wxyz, OpenCV axes"),
}


def read_pose_file(path: Path, name: str = "auto", *, finite: bool = True) -> Trajectory:
    """Read poses from a file, or from a folder of them.

    Names and timestamps that lie beside a file, as ``posenet convert`` leaves them, are taken.

    Args:
        path: The file or folder.
        name: A row of ``POSE_FILES``, or auto to recognise it.
        finite: Whether a pose that is not finite is refused. Methods write such poses of images
            that they could not place; they are kept as they are, or as NaN.

    Raises:
        DataError: It is missing or unusable, or no format is recognised.
        UsageError: There is no format of this name.
    """
    if name == "auto":
        recognised = recognise(path)
        if recognised is None:
            raise DataError(
                f"{path}: expected a file of poses, found none of {', '.join(POSE_FILES)}; say "
                "which it is with --from, or give the folder of a dataset"
            )
        name = recognised
    row = look_up(POSE_FILES, name, "format of poses")
    parts = []
    for file, sequence, split in _list_files(path, row):
        part = complete(add_sidecars(row.read(file, finite), file), sequence)
        parts.append(part._replace(splits=[split] * len(part.names)) if split else part)
    if not parts:
        raise DataError(f"{path}: expected a file of {name} poses in it, found none")
    trajectory = join(parts)
    require_different(trajectory.names, str(path))
    return trajectory


def recognise(path: Path) -> str | None:
    """The row of ``POSE_FILES`` that a file's content, or a folder's, looks like; None for none.

    Raises:
        DataError: A file is missing or no text.
    """
    if path.is_dir():
        return _recognise_folder(path)
    text = read_text(path, "a file of poses")
    if text.lstrip().startswith("{"):
        return "transforms"
    lines = (line.strip() for line in text.split("\n"))
    first = next((line for line in lines if line and not line.startswith("#")), "")
    if set(QUATERNION) <= {cell.strip() for cell in first.split(",")}:
        return "csv"
    cells = first.split()
    numeric = [_is_number(cell) for cell in cells]
    if len(cells) == 12 and all(numeric):
        return "kitti"
    if len(cells) == 8 and all(numeric):
        return "tum"
    if len(cells) in (8, 9) and all(numeric[1:]):
        return "visloc"
    if 10 <= len(cells) <= 8 + MORE and all(numeric[1:]) and not numeric[0]:
        return "visloc"
    if len(cells) >= 10 and all(numeric[:9]) and cells[0].isdecimal() and cells[8].isdecimal():
        return "colmap"
    return None


def _recognise_folder(path: Path) -> str | None:
    if not (path / "images.bin").is_file() and _recognise_text(path / IMAGES) == "colmap":
        return "colmap"
    for depth in ("", "seq-*/"):  # a sequence, a scene; with images it is a dataset
        has_poses = any(path.glob(f"{depth}*{SUFFIX}"))
        if has_poses and not any(path.glob(f"{depth}*.color.*")):
            return "7scenes"
    kinds = {_recognise_text(file) for file in _text_files(path)}
    return kinds.pop() if len(kinds) == 1 and kinds <= {"tum", "kitti"} else None


def _recognise_text(path: Path) -> str | None:
    """As :func:`recognise`; None also where there is no text."""
    try:
        return recognise(path)
    except DataError:
        return None


def _list_files(path: Path, row: PoseFile) -> list[tuple[Path, str | None, str | None]]:
    """What is to be read one by one, each with its sequence and its split, where they are told."""
    if row.holds == "sequence" and path.is_dir():
        return [(file, file.stem, None) for file in _text_files(path)]
    if row.holds == "scene" and not any(path.glob(f"*{SUFFIX}")):
        return [(path / folder, folder, split) for folder, split in list_sequences(path)]
    if row.holds == "model" and path.name == IMAGES:
        path = path.parent
    return [(path, path.name if row.holds == "scene" else None, None)]


def _text_files(path: Path) -> list[Path]:
    files = [file for file in path.glob("*.txt") if file.is_file() and not is_sidecar(file)]
    return sorted(files, key=lambda file: natural_order(file.name))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
