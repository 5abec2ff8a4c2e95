"""What a format has no place for lies beside its files: a name a line, a timestamp a line."""

import re
from collections.abc import Iterable
from pathlib import Path

from posenet.conversion.trajectory import FileContent, Trajectory
from posenet.datasets.formats.parsing import parse_numbers, quote, read_text
from posenet.errors import DataError

NAMES, TIMES = ".names.txt", ".times.txt"
# Control characters, line ends, the byte order mark and halves of characters: a file of lines, or
# no file at all, can hold a name with one.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ufeff\ud800-\udfff]")


def sidecar(path: Path, suffix: str) -> Path:
    """``out.txt.names.txt`` beside a file, ``names.txt`` in a folder."""
    return path / suffix[1:] if path.is_dir() else path.with_name(path.name + suffix)


def is_sidecar(path: Path) -> bool:
    """Whether a file is one, by its name."""
    return f".{path.name}".endswith((NAMES, TIMES))


def add_sidecars(content: FileContent, path: Path) -> FileContent:
    """Take the names and timestamps that lie beside a file of poses, where they do.

    Raises:
        DataError: They are not as many as the poses.
    """
    count = len(content.pose.translation)
    names, times = sidecar(path, NAMES), sidecar(path, TIMES)
    if names.is_file():
        content = content._replace(names=_read(names, count))
    if times.is_file():
        lines = enumerate(_read(times, count), start=1)
        seconds = [parse_numbers([line], "timestamp", f"{times}:{i}")[0] for i, line in lines]
        content = content._replace(timestamps=seconds)
    return content


def write_sidecars(wanted: Trajectory, found: Trajectory, path: Path) -> None:
    """Write the names and timestamps that a reader does not find again.

    Args:
        wanted: What was to be written.
        found: What is read from the file.
        path: The file or folder that was written.
    """
    if wanted.names != found.names:
        _write(sidecar(path, NAMES), wanted.names)
    if wanted.timestamps is not None and wanted.timestamps != found.timestamps:
        _write(sidecar(path, TIMES), map(repr, wanted.timestamps))


def require_writable(names: list[str], where: str) -> None:
    """Refuse names that no file of lines can hold.

    Raises:
        DataError: One is empty or holds a control character.
    """
    for name in names:
        if not name or _UNWRITABLE.search(name):
            raise DataError(
                f"{where}: expected names without control characters and line ends, found "
                f"{quote(name)}; rename it in the source"
            )


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _read(path: Path, count: int) -> list[str]:
    lines = read_text(path, "a line a pose").removesuffix("\n").split("\n")
    if len(lines) != count:
        raise DataError(
            f"{path}: expected {count} lines, one a pose of the file that it lies beside, found "
            f"{len(lines)}; restore it, or remove it to do without"
        )
    return lines
