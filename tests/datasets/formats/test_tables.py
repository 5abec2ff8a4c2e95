"""One parser of tables: what people write by hand, and what programs write."""

import pytest

from posenet.datasets.formats.tables import CAMERA_COLUMNS, parse_camera, parse_split, read_table
from posenet.errors import DataError
from posenet.geometry import Intrinsics


@pytest.fixture
def table(tmp_path):
    def read(text, *, by_hand, check=None):
        path = tmp_path / "a.csv"
        path.write_text(text)
        return read_table(path, "a table", "a thing", check, by_hand=by_hand)

    return read


TEXT = '# made by me\n\n name , note\n , \n a.png , "b, c"\n#1.png,x\n# 3 more\n'
# Whether people wrote it: the names in the table.
NAMES = {True: ["a.png"], False: [" a.png ", "#1.png"]}


@pytest.mark.parametrize("by_hand", NAMES)
def test_spaces_and_hashes_belong_to_names_only_where_programs_wrote_them(table, by_hand):
    text = TEXT if by_hand else TEXT.replace(' "b, c"', '"b, c"')
    found = table(text, by_hand=by_hand)
    assert found.columns == ["name", "note"]
    assert [row["name"] for row in found.rows] == NAMES[by_hand]
    assert found.rows[0]["note"] == "b, c"
    assert [place.rpartition(":")[2] for place in found.where] == ["5", "6"][: len(found.rows)]


@pytest.mark.parametrize("by_hand", NAMES)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv: expected a line of columns and one a thing, found none"),
        ("# a\nb,c\n# d\n", "a.csv: expected a line of columns and one a thing, found none"),
        ("b,c\n1\n", "a.csv:2: expected 2 cells as in the first line, found 1; correct the line"),
        ("b,c\n" + "1" * 200_000, "a.csv:2: expected a line of a table, found field larger"),
    ],
)
def test_what_is_no_table_is_told(table, text, message, by_hand):
    with pytest.raises(DataError, match=message):
        table(text, by_hand=by_hand)


def test_columns_are_checked_before_the_rows(table):
    def refuse(columns, where):
        raise DataError(f"{where}: {columns}")

    with pytest.raises(DataError, match=r"a.csv:2: \['b;c'\]"):
        table("#\nb;c\n1,2\n", by_hand=True, check=refuse)


def test_the_split_of_a_row():
    found = [
        parse_split(row, "x") for row in ({"split": " train "}, {"split": "test"}, {"split": ""})
    ]
    assert found == ["train", "test", None]
    assert parse_split({}, "x") is None
    with pytest.raises(
        DataError, match=r"a.csv:3: expected split train, test or none, found 'val'"
    ):
        parse_split({"split": "val"}, "a.csv:3")


def test_the_camera_of_a_row():
    row = dict(zip(CAMERA_COLUMNS, ["500", " 510", "3", "2", "8", "6"], strict=True))
    assert parse_camera(row, "x") == Intrinsics(500.0, 510.0, 3.0, 2.0, 8, 6)
    assert parse_camera(dict.fromkeys(CAMERA_COLUMNS, " "), "x") is None
    assert parse_camera({"focal_x": "500"}, "x") is None
    with pytest.raises(DataError, match=r"a.csv:3: expected 6 numbers \(focal_x"):
        parse_camera(row | {"width": ""}, "a.csv:3")
