"""What an index of shards holds, taken out of JSON with its type and range made sure of.

Each function refuses what it does not expect with a one-line ``DataError``; ``where`` is the file,
with a line where there is one, that such a line names.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from posenet.datasets.formats.parsing import MAX_PATH, UNWRITABLE, quote
from posenet.errors import DataError

CURE = "make the shards again with posenet shard"


def parse_object(text: str, where: str) -> Mapping[str, Any]:
    """The object that a text is."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where}: expected JSON, found something else ({error}); copy it again"
        ) from error
    return require_object(values, where)


def require_object(values: Any, where: str) -> Mapping[str, Any]:
    """A value that must be an object."""
    if not isinstance(values, dict):
        raise DataError(f"{where}: expected an object, found {quote(values)}; {CURE}")
    return values


def take_objects(values: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    """A list of objects."""
    rows = values.get(name)
    if not isinstance(rows, list):
        raise unexpected(name, "a list", rows, where)
    return [require_object(row, where) for row in rows]


def take_text(values: Mapping[str, Any], name: str, where: str) -> str:
    """A name: no control characters, and no longer than file systems bear."""
    text = values.get(name)
    if not isinstance(text, str) or not 0 < len(text) <= MAX_PATH or UNWRITABLE.search(text):
        raise unexpected(name, "a name", text, where)
    return text


def take_flag(values: Mapping[str, Any], name: str, where: str) -> bool:
    """True or false."""
    flag = values.get(name)
    if not isinstance(flag, bool):
        raise unexpected(name, "true or false", flag, where)
    return flag


def take_whole(values: Mapping[str, Any], name: str, where: str) -> int:
    """A whole number, 0 or more."""
    number = values.get(name)
    if type(number) is not int or not 0 <= number < 2**63:
        raise unexpected(name, "a whole number, 0 or more", number, where)
    return number


def take_place(values: Mapping[str, Any], name: str, among: Sequence[Any], where: str) -> int:
    """A place in a list."""
    place = take_whole(values, name, where)
    if place >= len(among):
        raise unexpected(name, f"a number below {len(among)}", place, where)
    return place


def take_numbers(values: Mapping[str, Any], name: str, count: int, where: str) -> list[float]:
    """So many finite numbers."""
    numbers = values.get(name)
    plain = isinstance(numbers, list) and all(type(n) in (int, float) for n in numbers)
    if not plain or len(numbers) != count or not all(abs(n) < math.inf for n in numbers):
        raise unexpected(name, f"{count} numbers", numbers, where)
    try:
        return [float(number) for number in numbers]
    except OverflowError as error:
        raise unexpected(name, f"{count} numbers", numbers, where) from error


def unexpected(name: str, expected: str, found: Any, where: str) -> DataError:
    """That something else was found."""
    return DataError(f"{where}: {name}: expected {expected}, found {quote(found)}; {CURE}")
