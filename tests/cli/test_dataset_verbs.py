"""``posenet inspect`` and ``posenet convert`` by the command line, on a toy room."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from posenet.cli import main
from posenet.datasets.toy_room import write_toy_room


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "room"
    write_toy_room(root, train_sequences=2, test_sequences=1, frames_per_sequence=12)
    return root


@pytest.fixture
def inspect(tmp_path, capsys):
    def inspect(folder: Path, *words: str) -> tuple[int, str, str]:
        output = ["--output", str(tmp_path / "page")]
        code = main(["inspect", str(folder), "--data.depth_registered", "true", *output, *words])
        return code, *capsys.readouterr()

    return inspect


def test_a_sound_dataset_has_no_errors_and_a_page(inspect, room, tmp_path):
    code, out, err = inspect(room)
    assert code == 0
    assert "36 in 3 sequences" in out
    assert "0 errors, 0 warnings" in out
    page = (tmp_path / "page" / "inspection.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert str(tmp_path / "page") in err


def test_inverted_poses_are_an_error_with_a_cure(inspect, room, tmp_path):
    scene = shutil.copytree(room, tmp_path / "inverted")
    for path in scene.rglob("*.pose.txt"):
        np.savetxt(path, np.linalg.inv(np.loadtxt(path)))
    code, out, _ = inspect(scene, "--json")
    assert code == 1
    found = json.loads(out)
    assert found["counts"]["error"] >= 1
    worst = found["findings"][0]
    assert worst["severity"] == "error"
    assert "invert" in worst["code"] + worst["message"]
    assert worst["cure"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["inspect", "nowhere"], 1, "nowhere: expected the folder of a dataset"),
        (["inspect"], 2, "required: FOLDER"),
        (["inspect", "x", "--data.formt", "csv"], 2, "did you mean"),
        (["inspect", "x", "--model.bins", "4"], 2, "settings of data only"),
        (["convert", "nowhere", "out.txt", "--to", "tum"], 1, "nowhere: expected"),
        (["convert", "nowhere", "out.txt", "--to", "tun"], 2, "did you mean 'tum'"),
        (["convert", "nowhere", "out.txt"], 2, "--to"),
        (["convert", "a", "b", "--to", "tum", "--intrinsics", "1,2"], 2, "focal_x,focal_y"),
    ],
)
def test_bad_usage_is_one_line(words, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        found = main(words)
    except SystemExit as error:  # argparse's own
        found = error.code
    err = capsys.readouterr().err
    assert found == code
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_poses_are_converted_there_and_back(room, tmp_path, capsys):
    there, back = tmp_path / "poses.csv", tmp_path / "again.csv"
    assert main(["convert", str(room), str(there), "--to", "csv"]) == 0
    assert "36 poses" in capsys.readouterr().err
    model = tmp_path / "model"
    assert main(["convert", str(there), str(model), "--to", "colmap"]) == 0
    assert main(["convert", str(model), str(back), "--to", "csv"]) == 0
    first, second = (
        np.genfromtxt(path, delimiter=",", names=True, usecols=range(2, 9))
        for path in (there, back)
    )
    for name in ("qw", "qx", "qy", "qz", "center_x_m", "center_y_m", "center_z_m"):
        if name in (first.dtype.names or ()):
            np.testing.assert_allclose(first[name], second[name], atol=1e-9)


def test_what_is_there_is_not_replaced_unasked(room, tmp_path, capsys):
    path = tmp_path / "poses.txt"
    path.write_text("mine")
    assert main(["convert", str(room), str(path), "--to", "csv"]) == 2
    assert "--force" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert main(["convert", str(room), str(path), "--to", "csv", "--force"]) == 0
    assert path.read_text() != "mine"
