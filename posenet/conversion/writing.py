"""Writing poses in any format, so that they are read as they are.

Everything is written beside the destination under another name, read back, compared, and only then
put in its place. What is not found again is written beside (names, timestamps) or told (the rest).
"""

import re
import tempfile
from pathlib import Path

import torch

from posenet.conversion.placing import is_folder, list_below, place_file, place_folder, require_free
from posenet.conversion.pose_files import POSE_FILES, PoseFile, read_pose_file
from posenet.conversion.seven_scenes import render_splits
from posenet.conversion.sidecars import is_sidecar, require_writable, write_sidecars
from posenet.conversion.trajectory import (
    Trajectory,
    complete,
    join,
    require_different,
    select,
)
from posenet.datasets.formats.parsing import natural_order
from posenet.errors import DataError, look_up
from posenet.staging import refused_writing

# A pose that comes back further away than this was not written as it was: per entry of the
# rotation, and of the centre in its unit, which far from the origin has fewer digits.
MAX_DIFFERENCE, MAX_RELATIVE_DIFFERENCE = 1e-9, 1e-14


def write_pose_file(
    trajectory: Trajectory, destination: Path, to: str, force: bool = False
) -> list[str]:
    """Write poses, so that :func:`read_pose_file` reads them as they are, or write nothing.

    Args:
        trajectory: The poses.
        destination: The file or folder to make. Formats of one trajectory a file (tum, kitti) get
            a folder with a file a sequence where the name has no ending.
        to: A row of ``POSE_FILES``.
        force: Whether an existing destination is replaced.

    Returns:
        What a user should know: what is not kept, and what lies where.

    Raises:
        PosenetError: There is something already, or the format cannot hold the poses.
    """
    row = look_up(POSE_FILES, to, "format of poses")
    require_free(destination, row.holds, force)
    require_writable(trajectory.names, str(destination))
    require_different(trajectory.names, str(destination))
    finite = [part.isfinite().flatten(1).all(dim=1) for part in trajectory.pose]
    for i in (~(finite[0] & finite[1])).nonzero().flatten().tolist()[:1]:
        raise DataError(
            f"{destination}: expected poses, found one that is not finite ({trajectory.names[i]}); "
            "remove it from the source"
        )
    parts = _divide(trajectory, row, destination)

    with refused_writing(destination):
        return _write_staged(parts, row, destination, to)


def _write_staged(
    parts: list[tuple[Path, Trajectory]], row: PoseFile, destination: Path, to: str
) -> list[str]:
    """Write beside the destination, read again, compare, and put into its place."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    hidden = {"prefix": f".{destination.name}-", "dir": destination.parent}
    with tempfile.TemporaryDirectory(**hidden) as stage:
        staged = Path(stage) / destination.name
        wanted = join([part for _, part in parts])
        try:
            _write_parts(parts, row, destination, staged)
            found = read_pose_file(staged, to)
        except DataError as error:
            raise DataError(str(error).replace(str(staged), str(destination))) from error
        _require_same(found, wanted, destination)
        notes = _notes(wanted, found, row, destination)
        beside = [path for path in list_below(Path(stage)) if is_sidecar(path)]
        if beside:
            more = f" and {len(beside) - 1} files like it" if len(beside) > 1 else ""
            first = destination.parent / beside[0]
            notes.append(f"names or timestamps, which the format cannot hold, are in {first}{more}")
        if is_folder(destination, row.holds):
            place_folder(staged, destination)
        else:
            place_file(staged, destination)
    return notes


def _divide(
    trajectory: Trajectory, row: PoseFile, destination: Path
) -> list[tuple[Path, Trajectory]]:
    """What goes where: a file or a folder a sequence, or all in one; in the order of reading."""
    if row.holds == "model" or not is_folder(destination, row.holds):
        return [(destination, trajectory)]
    scene = row.holds == "scene"
    groups: dict[tuple[str, str], list[int]] = {}
    for i, (sequence, split) in enumerate(
        zip(trajectory.sequences, trajectory.splits, strict=True)
    ):
        groups.setdefault(((split or "train") if scene else "", sequence), []).append(i)
    keys = sorted(groups, key=lambda key: key[0] == "test")
    pattern, numbered = row.named
    names = [sequence for _, sequence in keys]
    fits = all(re.fullmatch(pattern, name) for name in names)
    # Some file systems do not tell A from a.
    if not fits or len({name.casefold() for name in names}) < len(names):
        names = [numbered.format(i) for i in range(scene, scene + len(keys))]
    suffix = "" if scene else ".txt"
    parts = [
        (destination / f"{name}{suffix}", select(trajectory, groups[key]))
        for name, key in zip(names, keys, strict=True)
    ]
    return parts if scene else sorted(parts, key=lambda part: natural_order(part[0].name))


def _write_parts(
    parts: list[tuple[Path, Trajectory]], row: PoseFile, destination: Path, staged: Path
) -> None:
    """Write each part, and beside it the names and timestamps that it does not hold."""
    for path, part in parts:
        _write(row.render(part, path), destination, staged)
        written = staged / path.relative_to(destination)
        sequence = None if path == destination else path.name.removesuffix(".txt")
        write_sidecars(part, complete(row.read(written), sequence), written)
    if row.holds == "scene":
        listed = [(path.name, part.splits[0]) for path, part in parts]
        _write(render_splits(listed, destination), destination, staged)


def _write(files: dict[Path, str], destination: Path, staged: Path) -> None:
    for path, text in files.items():
        file = staged / path.relative_to(destination)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            file.write_text(text, encoding="utf-8", newline="\n")
        except UnicodeEncodeError as error:
            raise DataError(
                f"{path}: expected names that are text, found {error.object[error.start]!r} in "
                "one; rename the image"
            ) from error


def _require_same(found: Trajectory, wanted: Trajectory, destination: Path) -> None:
    """Refuse poses that are not read as they were to be written."""
    size = torch.linalg.vector_norm(wanted.pose.translation, dim=-1, keepdim=True)
    allowed = MAX_DIFFERENCE + MAX_RELATIVE_DIFFERENCE * size
    same = (
        found.names == wanted.names
        and wanted.timestamps in (None, found.timestamps)
        and bool(((found.pose.translation - wanted.pose.translation).abs() <= allowed).all())
        and bool(((found.pose.rotation - wanted.pose.rotation).abs() <= MAX_DIFFERENCE).all())
    )
    if not same:
        raise DataError(
            f"{destination}: expected to read again what was written, found other poses "
            "or names; are the rotations of the source rotations? Nothing was written"
        )


def _notes(wanted: Trajectory, found: Trajectory, row: PoseFile, destination: Path) -> list[str]:
    """What is not kept, and what one might take for something else."""
    notes = []
    if wanted.images is not None and any(image.packed for image in wanted.images):
        notes.append(
            "images stay in their tars: paths of images that are written lead to no files; to have "
            "such, convert the dataset that the shards were made of"
        )
    elif wanted.images is not None:
        notes.append("images stay where they are, unchanged")
    columns = {
        "cameras": "intrinsics",
        "lens distortion": "distortions",
        "train or test": "splits",
    }
    lost = [
        what
        for what, column in columns.items()
        if any(getattr(wanted, column)) and not any(getattr(found, column))
    ]
    if lost:
        notes.append(f"not kept, as the format has no place for it: {', '.join(lost)}")
    if row is POSE_FILES["tum"] and wanted.timestamps is None:
        notes.append("the source has no timestamps: the first column counts the poses")
    if row is POSE_FILES["colmap"] and not all(wanted.intrinsics):
        notes.append("the camera is not known: cameras.txt holds one of 0x0 pixels in its place")
    several = len(set(wanted.sequences)) > 1
    if several and row.holds == "sequence" and not is_folder(destination, row.holds):
        notes.append(
            "the sequences follow one another in one file; for a file each, give a folder (a name "
            "without an ending)"
        )
    return notes
