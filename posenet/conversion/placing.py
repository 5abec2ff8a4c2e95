"""Putting what was written into its place: nothing of anybody's is lost on the way."""

from collections.abc import Iterable
from pathlib import Path

from posenet.conversion.sidecars import NAMES, TIMES, is_sidecar, sidecar
from posenet.errors import UsageError


def is_folder(destination: Path, holds: str) -> bool:
    """Whether the destination of a format is to be a folder; ``holds`` is of its ``PoseFile``."""
    if holds == "sequence":
        return destination.is_dir() or not destination.suffix
    return holds in ("model", "scene")


def require_free(destination: Path, holds: str, force: bool) -> None:
    """Refuse a destination that is there already, unless it may be replaced.

    Raises:
        UsageError: It is.
    """
    if destination.name in ("", ".."):
        raise UsageError(f"{destination}: expected the name of a file or folder to make")
    in_folder = is_folder(destination, holds)
    kind = "folder" if in_folder else "file"
    if destination.exists() and destination.is_dir() != in_folder:
        raise UsageError(
            f"{destination}: expected the name of a {kind} to write, found a "
            f"{'file' if in_folder else 'folder'}; give another name"
        )
    taken = [destination]
    if in_folder and destination.is_dir() and not any(destination.iterdir()):
        taken = []
    if not in_folder:
        taken += [sidecar(destination, suffix) for suffix in (NAMES, TIMES)]
    for path in taken:
        if not force and (path.exists() or path.is_symlink()):
            raise UsageError(f"{path}: exists already; give another name, or --force to replace it")


def place_file(staged: Path, destination: Path) -> None:
    """Put a file and what lies beside it into their place."""
    for suffix in (NAMES, TIMES):
        if sidecar(staged, suffix).exists():
            sidecar(staged, suffix).replace(sidecar(destination, suffix))
        else:  # that of another file would be read with this one
            sidecar(destination, suffix).unlink(missing_ok=True)
    staged.replace(destination)


def place_folder(staged: Path, destination: Path) -> None:
    """Put a folder into its place; an old one may hold nothing that is not replaced.

    Raises:
        UsageError: It holds something else.
    """
    if not destination.exists():
        staged.rename(destination)
        return
    require_replaceable(destination, list_below(staged))
    replaced = staged.with_name(f"{staged.name}.replaced")
    destination.rename(replaced)
    try:
        staged.rename(destination)
    except BaseException:  # also Ctrl-C: the old folder must not go with the temporary one
        replaced.rename(destination)
        raise


def require_replaceable(destination: Path, files: Iterable[str | Path]) -> None:
    """Refuse a folder that holds something else than files of these names below it.

    Raises:
        UsageError: It does.
    """
    new = {Path(file) for file in files}
    other = [path for path in list_below(destination) if path not in new and not is_sidecar(path)]
    if other:
        raise UsageError(
            f"{destination}: expected only files that are replaced, found {other[0]}"
            f"{f' and {len(other) - 1} others' if len(other) > 1 else ''}; give another name, or "
            "remove the folder yourself"
        )


def list_below(folder: Path) -> list[Path]:
    """Files and folders below a folder, relative to it."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))
