"""The whole way with shards by the command line: shard, stream, stop, resume, evaluate."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from posenet.cli import main
from posenet.datasets.toy_room import write_toy_room
from posenet.evaluation import evaluate as evaluation
from posenet.models.checkpoint import load_checkpoint
from posenet.training.module import TrainingModule

FRAMES, EPOCHS = 10, 2


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "room"
    write_toy_room(
        root, train_sequences=3, test_sequences=1, frames_per_sequence=FRAMES, width=96, height=72
    )
    return root


@pytest.fixture(scope="module")
def shards(room, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("shards") / "room"
    words = ["--data.depth_registered", "true", "--frames-per-shard", "8"]
    assert main(["shard", str(room), str(root), *words]) == 0
    return root


@pytest.fixture(scope="module")
def train(shards, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")

    def train(folder: Path, *words: object, **settings: object) -> int:
        values = {
            "output": folder,
            "data.root": shards,
            "data.stream": True,
            "data.stream_buffer": 6,
            "data.cache": cache,
            "data.width": 64,
            "data.height": 48,
            "data.workers": 0,
            "augment.depth_share": 0.5,
            "augment.fill_from": 2,
            "model.backbone": "mobilenet_v3_small",
            "model.weights": "none",
            "model.bins": 3,
            "optimization.epochs": EPOCHS,
            "optimization.views": 1,
            "optimization.batch_size": 4,
            "trainer.accelerator": "cpu",
        }
        values |= {name.replace("__", "."): value for name, value in settings.items()}
        named = [word for name, value in values.items() for word in (f"--{name}", value)]
        return main(["train", *(str(word) for word in (*named, *words))])

    return train


@pytest.fixture(scope="module")
def run(train, tmp_path_factory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert train(folder) == 0
    return folder


def test_training_says_what_streaming_cannot_do(train, tmp_path, capsys):
    assert train(tmp_path / "run", optimization__epochs=1) == 0
    err = capsys.readouterr().err
    assert err.count("augment.fill_from: has no effect on frames that are streamed") == 1
    assert "20 training, 10 validation, 10 test frames" in err
    assert "Traceback" not in err


def test_the_shards_and_the_folder_measure_a_run_alike(run, room, capsys):
    """The frames, and the poses that the same network gives them."""
    assert main(["evaluate", str(run)]) == 0
    rows = (run / "predictions.csv").read_text()
    assert len(rows.splitlines()) == 1 + FRAMES
    words = ["--root", str(room), "--output", str(run.parent / "folder")]
    assert main(["evaluate", str(run), *words]) == 0
    assert (run.parent / "folder" / "predictions.csv").read_text() == rows
    first, second = (
        json.loads((folder / "evaluation.json").read_text())
        for folder in (run, run.parent / "folder")
    )
    assert first == second  # the baselines among them, made of the training images


def test_evaluation_shows_how_far_it_is_with_the_training_images(run, monkeypatch):
    shown = []

    @contextmanager
    def record(description):
        yield lambda done, total: shown.append((description, done, total))

    monkeypatch.setattr(evaluation, "report_progress", record)
    assert main(["evaluate", str(run), "--output", str(run.parent / "shown")]) == 0
    compared = [step[1:] for step in shown if step[0] == "comparing with training images"]
    assert compared == [(done, 4 * FRAMES) for done in range(1, 4 * FRAMES + 1)]


def test_a_run_that_was_stopped_ends_where_another_one_does(train, run, tmp_path, monkeypatch):
    """With another number of workers, too."""
    folder, step = tmp_path / "run", TrainingModule.training_step

    def stop(module, batch, number):
        if module.current_epoch == 1 and number == 2:
            raise KeyboardInterrupt
        return step(module, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", stop)
        assert train(folder) == 130
    assert train(folder, "--resume", data__workers=1) == 0
    first, second = (
        load_checkpoint(place / "checkpoints" / "last.pt").network.state_dict()
        for place in (run, folder)
    )
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_stream_is_not_resumed_in_another_order(train, run, capsys):
    assert train(run, "--resume", data__stream_buffer=7) == 2
    assert "cannot be resumed with another data.stream_buffer (was 6, now 7)" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("verb", ["train", "inspect", "evaluate"])
def test_a_shard_cut_short_is_one_line(verb, shards, run, tmp_path, capsys):
    for path in shards.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    cut = tmp_path / "train-000001.tar"
    cut.write_bytes(cut.read_bytes()[:-10240])
    words = {
        "train": ["--data.root", tmp_path, "--output", tmp_path / "run"],
        "inspect": [tmp_path, "--output", tmp_path / "page"],
        "evaluate": [run, "--root", tmp_path],
    }
    assert main([verb, *(str(word) for word in words[verb])]) == 1
    told = capsys.readouterr()
    assert f"{cut}: expected" in (told.out + told.err)
    assert "cut short" in told.out + told.err
    assert "Traceback" not in told.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["SRC"], 2, "required: DST"),
        (["nowhere", "DST"], 1, "nowhere: expected the folder of a dataset"),
        (["SRC", "DST", "--frames-per-shard", "0"], 2, "a whole number, 1 or more, found '0'"),
        (["SRC", "DST", "--data.split", "random:0.2"], 2, "--data.split: posenet shard takes"),
        (["SRC", "DST", "--data.formt", "csv"], 2, "--data.formt: posenet shard takes"),
        (["SRC", "SRC/DST"], 2, "outside of the dataset"),
        (["SRC", "FULL"], 1, "found shards.json in it; choose another, or empty it"),
    ],
)
def test_bad_usage_is_one_line(words, code, message, room, tmp_path, capsys):
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL" / "shards.json").touch()
    places = {name: str(tmp_path / name) for name in ("DST", "FULL")}
    places |= {"SRC": str(room), "SRC/DST": str(room / "DST")}
    try:
        found = main(["shard", *(places.get(word, word) for word in words)])
    except SystemExit as error:  # argparse's own
        found = error.code
    err = capsys.readouterr().err
    assert found == code
    assert message in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["FULL"]
