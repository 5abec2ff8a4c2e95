"""Results are all written or none, and an error tells what it is about."""

from pathlib import Path

import pytest

from posenet.errors import DataError
from posenet.staging import staged


def write(folder, names, error=None):
    with staged(folder, "--output") as stage:
        for name in names:
            (stage / name).write_text("new")
        if error is not None:
            raise error


def test_files_arrive_when_all_are_there(tmp_path):
    with staged(tmp_path / "new" / "out", "--output") as stage:
        (stage / "a.json").write_text("a")
        (stage / "b").mkdir()
        (stage / "b" / "c.png").write_text("c")
        assert not (tmp_path / "new" / "out" / "a.json").exists()
    assert (tmp_path / "new" / "out" / "a.json").read_text() == "a"
    assert (tmp_path / "new" / "out" / "b" / "c.png").read_text() == "c"
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == {"a.json", "b"}


def test_one_file_may_have_to_arrive_last(tmp_path, monkeypatch):
    moved, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda a, b: moved.append(b.name) or replace(a, b))
    with staged(tmp_path / "out", "--output", last="b.json") as stage:
        for name in ("c.tar", "b.json", "a.tar"):
            (stage / name).write_text("new")
    assert moved == ["a.tar", "c.tar", "b.json"]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "out", ["a.json"], ZeroDivisionError())
    assert not (tmp_path / "out").exists()


def test_a_folder_in_the_place_of_a_file_is_told_before_any_is_replaced(tmp_path):
    (tmp_path / "a.json").write_text("old")
    (tmp_path / "b.json").mkdir()
    with pytest.raises(DataError, match=r"b\.json is a folder.*--output"):
        write(tmp_path, ["a.json", "b.json"])
    assert (tmp_path / "a.json").read_text() == "old"


def test_what_cannot_be_read_meanwhile_is_not_what_cannot_be_written(tmp_path):
    missing = tmp_path / "input" / "gone.txt"
    error = FileNotFoundError(2, "No such file or directory", str(missing))
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "a" / "out", [], error)
