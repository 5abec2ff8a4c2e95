"""Results that are written whole or not at all, and what is said where they cannot be."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from posenet.errors import DataError

# EFBIG: a limit on the size of files, as some clusters set it.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def unwritable(path: Path | str, error: OSError, option: str = "") -> DataError:
    """That something cannot be written, why, and what to do.

    Args:
        path: What was to be written.
        error: What the system said.
        option: The option that chooses another place.
    """
    space = "free some space, or " if error.errno in NO_SPACE else ""
    place = f"another place with {option}" if option else "another place"
    return DataError(
        f"{path}: cannot be written ({error.strerror or error}); {space}choose {place}"
    )


def require_place(path: Path, option: str) -> None:
    """Refuse a place where nothing can be made, before hours of work for it; make nothing yet.

    Args:
        path: The folder to make, or to write into.
        option: The option that chooses another place.

    Raises:
        DataError: What lies above it is no folder, or may not be written into.
    """
    try:
        above = next(entry for entry in (path, *path.absolute().parents) if entry.exists())
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise unwritable(path, error, option) from error


@contextmanager
def refused_writing(path: Path, option: str = "") -> Iterator[None]:
    """Say where and what to do, where the system refuses to write.

    Args:
        path: What is written.
        option: The option that chooses another place.

    Raises:
        DataError: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        read = error.filename  # what was read meanwhile, and is no matter of this place
        if isinstance(read, str) and not _on_the_way(Path(read).absolute(), path.absolute()):
            raise
        raise unwritable(path, error, option) from error
    except RuntimeError as error:
        # torch hides what stopped its writing behind an error about its own file.
        if not isinstance(error.__context__, OSError):
            raise
        raise unwritable(path, error.__context__, option) from error


def _on_the_way(path: Path, place: Path) -> bool:
    """Whether a path lies above a place, below it, or beside it."""
    return path.is_relative_to(place.parent) or place.is_relative_to(path)


def bring_to_disk(file: IO[Any]) -> None:
    """Wait until what was written to a file is where a power cut cannot take it back."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Until this a power cut may take back the new name of a file in a folder."""
    if os.name == "nt":  # which cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a network's file system may have no such thing
            raise
    finally:
        os.close(descriptor)


@contextmanager
def staged(folder: Path, option: str, last: str | None = None) -> Iterator[Path]:
    """A folder to write files into; they go to ``folder`` when all are there.

    Args:
        folder: Where they go, over files of the same names; made if need be.
        option: The option that chooses another folder.
        last: The file that goes there when all others have arrived: whoever finds it finds them,
            after a power cut too, if each was brought to the disk.

    Raises:
        DataError: It cannot be written.
    """
    made: list[Path] = []
    try:
        with refused_writing(folder, option):
            made = [path for path in (folder, *folder.parents) if not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".posenet-", dir=folder) as stage:
                yield Path(stage)
                files = sorted(path for path in Path(stage).rglob("*") if path.is_file())
                files.sort(key=lambda file: file.name == last)
                places = [folder / file.relative_to(stage) for file in files]
                for place in places:  # before the first of them is replaced
                    if place.is_dir():
                        raise IsADirectoryError(errno.EISDIR, f"{place.name} is a folder")
                for file, place in zip(files, places, strict=True):
                    if file.name == last:
                        sync_folder(folder)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    file.replace(place)
                if last is not None:
                    sync_folder(folder)
    finally:
        for path in made:  # only those that stayed empty
            with suppress(OSError):
                path.rmdir()
