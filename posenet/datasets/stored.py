"""Where the bytes of an image are: in a file of its own, or in a shard among many others."""

import hashlib
import os
import threading
import weakref
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from posenet.errors import DataError

_MOST_OPEN = 64  # shards that a process keeps open


class ShardError(DataError):
    """A shard that is not there or ends too early, or too much damage: more than one image's."""


class PackedFile(NamedTuple):
    """A file inside a shard, with the part of ``Path``'s methods that readers of images need.

    Attributes:
        archive: The tar.
        name: What the file is called in it.
        offset: Where its first byte is.
        size: Bytes.
        digest: Of these bytes, as :func:`bytes_digest` gives it.
    """

    archive: Path
    name: str
    offset: int
    size: int
    digest: str

    def __str__(self) -> str:
        """As an error tells it."""
        return f"{self.archive}/{self.name}"

    def is_file(self) -> bool:
        """Yes, as its index says, which was held against the shard; reading tells if it went."""
        return True

    def read_bytes(self) -> bytes:
        """The bytes that were packed.

        Raises:
            ShardError: The shard is not there, or cut short.
            DataError: These are others.
        """
        try:
            return self._read()
        except DataError:
            # Another file may have come in the place of the one that is open.
            _keep_open.cache_clear()
            return self._read()

    def _read(self) -> bytes:
        try:
            content = _keep_open(self.archive).read(self.offset, self.size)
        except OSError as error:
            raise ShardError(
                f"{self.archive}: expected a shard, found none that can be read "
                f"({error.strerror}); copy it again"
            ) from error
        if len(content) < self.size:
            raise ShardError(
                f"{self.archive}: expected {self.size} bytes of {self.name} at {self.offset}, "
                f"found {len(content)}: the shard was cut short; copy it again"
            )
        if bytes_digest(content) != self.digest:
            raise DataError(
                f"{self}: expected the bytes that were packed, found others; copy the shard again"
            )
        return content


class _OpenFile:
    """A file that is open for as long as anybody has this, a thread that reads from it too.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """The bytes at a place; fewer where the file ends."""
        content = b""
        while len(content) < size:
            part = self._read_some(offset + len(content), size - len(content))
            if not part:
                break
            content += part
        return content

    def _read_some(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):  # no place in the file that threads and forks would share
            return os.pread(self._descriptor, size, offset)
        with self._lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.read(self._descriptor, size)


# Where many images lie in a file, opening files may be what is slow.
_keep_open = lru_cache(_MOST_OPEN)(_OpenFile)

Stored = Path | PackedFile


def opened(stored: Stored) -> Path | BytesIO:
    """What Pillow opens; a path stays one, which its errors then name."""
    return stored if isinstance(stored, Path) else BytesIO(stored.read_bytes())


def state_of(stored: Stored) -> tuple[int, int | str]:
    """Size in bytes, and what changes when the bytes do.

    Raises:
        OSError: The file is not there.
    """
    if isinstance(stored, PackedFile):
        return stored.size, stored.digest
    status = stored.stat()
    return status.st_size, status.st_mtime_ns


def bytes_digest(content: bytes) -> str:
    """Short digest; equal images have equal ones."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
