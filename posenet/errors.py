"""The errors a user can cause, each one line: what was expected and found, where, the cure."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Row = TypeVar("Row")


class PosenetError(Exception):
    """A problem with the user's input; the command line prints it as one line and exits with 1."""

    exit_code = 1


class UsageError(PosenetError):
    """A command line or a configuration that does not make sense; exits with 2."""

    exit_code = 2


class DataError(PosenetError):
    """A dataset, an image or a pose file that cannot be used."""


class CheckpointError(PosenetError):
    """A checkpoint or a weights file that cannot be used."""


class LostProcessError(PosenetError):
    """Another of the processes that work together is gone."""


class MemoryLackError(PosenetError):
    """Settings that need more memory than there is."""


def one_line(text: str) -> str:
    """The text with what no terminal should get spelled out: line ends, control characters.

    Names of files may hold both, and could else end the line, or turn the screen over.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def look_up(table: Mapping[str, Row], name: str, what: str) -> Row:
    """Return ``table[name]``, or raise an error that lists the names and the nearest one.

    Args:
        table: The rows by name.
        name: The name asked for.
        what: What a row is, for the message, for example ``"backbone"``.

    Raises:
        UsageError: The table has no such row.
    """
    if name in table:
        return table[name]
    raise UsageError(f"unknown {what} {name!r}{suggest(name, table)}; known: {', '.join(table)}")


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``", did you mean 'x'?"`` for the nearest known name, or an empty string."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {nearest[0]!r}?" if nearest else ""
