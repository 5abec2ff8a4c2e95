"""Where the bytes of an image are: in a file of its own, or in a shard among many others."""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from posenet.errors import DataError


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
            with self.archive.open("rb") as file:
                file.seek(self.offset)
                content = file.read(self.size)
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
