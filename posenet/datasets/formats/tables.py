"""Tables of poses as CSV: what ``poses.csv`` and the tables that ``posenet convert`` reads share.

The first line names the columns, in any order; then comes a line a pose.
"""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from posenet.datasets.formats.parsing import make_intrinsics, parse_numbers, quote, read_text
from posenet.errors import DataError
from posenet.geometry import Intrinsics

QUATERNION = ("qw", "qx", "qy", "qz")
CAMERA_COLUMNS = ("focal_x", "focal_y", "principal_x", "principal_y", "width", "height")

Row = Mapping[str, str]


class Table(NamedTuple):
    """The cells of a table.

    Attributes:
        columns: Their names.
        rows: The cells of each row by column, one row at least.
        where: Where each row stands, such as ``a.csv:3``.
    """

    columns: list[str]
    rows: list[Row]
    where: list[str]


def read_table(
    path: Path,
    what: str,
    row: str,
    check: Callable[[list[str], str], None] | None = None,
    *,
    by_hand: bool,
) -> Table:
    """Read a table; empty lines, and comments that begin with ``#``, are left out.

    Args:
        path: The file.
        what: What it holds, for the message when it is missing.
        row: What has a line each, for the message when there is none.
        check: ``f(columns, where)`` refuses columns before any row is looked at.
        by_hand: Whether people wrote it: spaces around cells are none of theirs then, and any line
            that begins with ``#`` is a comment. Else names may hold both, and only a line that has
            not a cell for each column is one.

    Raises:
        DataError: The file is missing or no table; the message names the line.
    """
    reader = csv.reader(io.StringIO(read_text(path, what), newline=""), skipinitialspace=by_hand)
    columns: list[str] = []
    rows: list[Row] = []
    places: list[str] = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            cells = stripped if by_hand else cells
            comment = by_hand or not columns or len(cells) != len(columns)
            if not any(stripped) or (comment and cells[0].startswith("#")):
                continue
            where = f"{path}:{reader.line_num}"
            if not columns:
                columns = stripped
                if check is not None:
                    check(columns, where)
            elif len(cells) != len(columns):
                raise DataError(
                    f"{where}: expected {len(columns)} cells as in the first line, found "
                    f"{len(cells)}; correct the line"
                )
            else:
                rows.append(dict(zip(columns, cells, strict=True)))
                places.append(where)
    except csv.Error as error:
        raise DataError(
            f"{path}:{reader.line_num}: expected a line of a table, found {error}; correct the line"
        ) from error
    if not rows:
        raise DataError(f"{path}: expected a line of columns and one {row}, found none")
    return Table(columns, rows, places)


def parse_split(row: Row, where: str) -> str | None:
    """``train``, ``test`` or None, as the column ``split`` says."""
    split = row.get("split", "").strip()
    if split not in ("train", "test", ""):
        raise DataError(
            f"{where}: expected split train, test or none, found {quote(split)}; correct it"
        )
    return split or None


def parse_camera(row: Row, where: str) -> Intrinsics | None:
    """The camera of a row; None where its cells are empty or the table has not all of them."""
    cells = [row.get(name, "").strip() for name in CAMERA_COLUMNS]
    if not any(cells) or not row.keys() >= set(CAMERA_COLUMNS):
        return None
    return make_intrinsics(parse_numbers(cells, " ".join(CAMERA_COLUMNS), where), where)
