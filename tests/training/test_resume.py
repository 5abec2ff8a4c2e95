"""A training that is stopped at any moment and resumed ends where one that was left alone does."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from posenet.datasets.toy_room import write_toy_room
from posenet.training.resume import PREVIOUS, RESUME, say_what_changed

EPOCHS = 3
SETTINGS = {
    "data.width": 64,
    "data.height": 48,
    "data.depth_registered": True,
    "augment.depth_share": 0.5,
    "augment.fill_from": 1,
    "model.backbone": "mobilenet_v3_small",
    "model.weights": "none",
    "model.bins": 3,
    "loss.weighting": "learned",
    "optimization.epochs": EPOCHS,
    "optimization.views": 1,
    "optimization.batch_size": 4,
    "trainer.accelerator": "cpu",
}


class Answer(NamedTuple):
    """What became of a process: as a shell would tell, and the moments it went through."""

    code: int
    seconds: float
    output: str
    moments: list[str]


Train = Callable[..., Answer]


@pytest.fixture(scope="module")
def ask() -> Iterator[Callable[..., Answer]]:
    """Run a command line in a process of its own, stopped by a signal if that is asked for."""
    program = Path(__file__).with_name("stoppable.py")
    root = Path(__file__).parents[2]
    server = subprocess.Popen(
        [sys.executable, program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )

    def ask(words: list[object], log: Path, stop_at=None, stop_after_s=None, how=signal.SIGKILL):
        request = {"words": [str(word) for word in words], "log": str(log), "how": int(how)}
        request |= {"stop_at": stop_at, "stop_after_s": stop_after_s}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return Answer(**json.loads(server.stdout.readline()))

    yield ask
    server.stdin.close()
    server.wait()


@pytest.fixture(scope="module")
def train(ask, tmp_path_factory) -> Train:
    """``train(folder, **settings)`` begins a run or, where there is one, goes on with it."""
    room = tmp_path_factory.mktemp("data") / "room"
    write_toy_room(
        room, train_sequences=2, test_sequences=1, frames_per_sequence=8, width=64, height=48
    )

    def train(folder: Path, *, stop_at=None, stop_after_s=None, how=signal.SIGKILL, **settings):
        paths = {"output": folder, "data.root": room, "data.cache": folder.with_suffix(".cache")}
        values = SETTINGS | paths | {k.replace("__", "."): v for k, v in settings.items()}
        words = [word for name, value in values.items() for word in (f"--{name}", value)]
        words += ["--resume"] if (folder / "config.yaml").exists() else []
        return ask(["train", *words], folder.with_suffix(".log"), stop_at, stop_after_s, how)

    return train


class Whole(NamedTuple):
    """A run that nothing stopped."""

    folder: Path
    answer: Answer
    settings: dict[str, Any]


VARIANTS = {
    "workers 0": {"data__workers": 0},
    # An epoch is a half of the frames, a batch smaller than that.
    "workers 1": {
        "data__workers": 1,
        "model__mode": "regression",
        "optimization__views": 0.5,
        "optimization__batch_size": 2,
    },
}


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory) -> Callable[[str], Whole]:
    made: dict[str, Whole] = {}

    def whole(variant: str) -> Whole:
        if variant not in made:
            folder = tmp_path_factory.mktemp("whole") / "run"
            answer = train(folder, **VARIANTS[variant])
            assert answer.code == 0, answer.output
            made[variant] = Whole(folder, answer, VARIANTS[variant])
        return made[variant]

    return whole


def differences(found: Any, expected: Any, where: str = "") -> list[str]:
    """The places in which two checkpoints differ, but for where their files lie."""
    if where in ("/config/output", "/config/data/cache"):
        return []
    if isinstance(expected, dict):
        if not isinstance(found, dict) or found.keys() != expected.keys():
            return [f"{where} keys"]
        return [d for k, v in expected.items() for d in differences(found[k], v, f"{where}/{k}")]
    same = torch.equal(found, expected) if torch.is_tensor(expected) else found == expected
    return [] if same else [where]


def assert_same_end(folder: Path, whole: Whole) -> None:
    for name in ("best.pt", "last.pt"):
        found, expected = (
            torch.load(run / "checkpoints" / name, weights_only=True)
            for run in (folder, whole.folder)
        )
        assert differences(found, expected) == [], name
    assert (folder / "metrics.csv").read_bytes() == (whole.folder / "metrics.csv").read_bytes()
    for name in ("split.json", "training_curves.png"):
        assert (folder / name).read_bytes() == (whole.folder / name).read_bytes()
    files = {path.name for path in (folder / "checkpoints").iterdir()}
    assert files == {"best.pt", "last.pt", RESUME}
    assert not list(folder.glob(".*"))
    assert tensorboard(folder) == tensorboard(whole.folder)


def tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


# Each resumes what the one before has left; the number is how often it has been there before.
KILLS = {
    "workers 0": [
        ("before best.pt", 0),  # no epoch is finished
        ("half of resume.ckpt", 1),  # of the second epoch
        ("after resume.previous.ckpt", 0),  # between the two moves
        ("before resume.ckpt", 1),  # all else of the last epoch is written
        ("half of last.pt", 1),  # in the calibration
    ],
    "workers 1": [("training", 3), ("validating", 1)],
}


@pytest.mark.parametrize("variant", KILLS)
def test_a_run_that_is_killed_ends_where_it_would_have_to_the_bit(variant, whole, train, tmp_path):
    run = whole(variant)
    for stop_at in KILLS[variant]:
        killed = train(tmp_path / "run", stop_at=stop_at, **run.settings)
        assert (killed.code, killed.moments[-1]) == (-signal.SIGKILL, stop_at[0]), killed.output
    resumed = train(tmp_path / "run", **run.settings)
    assert resumed.code == 0, resumed.output
    assert_same_end(tmp_path / "run", run)


INTERRUPTS = [
    ("decoding", 3),
    ("half of best.pt", 0),
    ("training", 3),
    ("validating", 0),
    ("after resume.previous.ckpt", 0),
    ("calibrating", 0),
    ("drawing", 0),
]
LINES = (
    r"(.*: 8 training, 8 validation, 8 test frames|epoch ./3  training .* validation .*"
    r"|.*: no epoch was finished; beginning again)"
)


def test_ctrl_c_ends_with_one_line_and_a_run_that_can_be_resumed(whole, train, tmp_path):
    run = whole("workers 1")
    for stop_at in INTERRUPTS:
        stopped = train(tmp_path / "run", stop_at=stop_at, how=signal.SIGINT, **run.settings)
        assert stopped.code == 130, stopped.output
        *lines, last = stopped.output.splitlines()
        assert last == "posenet: interrupted"
        assert [line for line in lines if not re.fullmatch(LINES, line)] == []
        assert not list(tmp_path.glob("run/checkpoints/.*"))
    resumed = train(tmp_path / "run", **run.settings)
    assert resumed.code == 0, resumed.output
    assert_same_end(tmp_path / "run", run)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def turn_a_bit(path: Path) -> None:
    """In the middle, which is numbers: torch.load would not notice."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def trained(whole, train, tmp_path_factory) -> Path:
    """A run that was killed when its last epoch was done."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run = whole("workers 0")
    killed = train(folder, stop_at=("calibrating", 0), **run.settings)
    assert killed.code == -signal.SIGKILL
    return folder


@pytest.mark.parametrize("damage", [cut, turn_a_bit])
def test_a_damaged_resume_file_costs_an_epoch(damage, trained, whole, train, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    damage(tmp_path / "run" / "checkpoints" / RESUME)
    run = whole("workers 0")
    resumed = train(tmp_path / "run", **run.settings)
    assert resumed.code == 0, resumed.output
    line = f"{tmp_path}/run/checkpoints/{RESUME}: damaged; going on from {PREVIOUS}, an epoch ea"
    assert [text for text in resumed.output.splitlines() if text.startswith(line)] != []
    assert resumed.moments.count("training") == 2  # the batches of an epoch
    assert_same_end(tmp_path / "run", run)


def test_other_software_is_mentioned(trained, whole, train, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    path = tmp_path / "run" / "environment.json"
    began = json.loads(path.read_text())
    path.write_text(json.dumps(began | {"torch": "0.1", "command": ["another"]}))
    resumed = train(tmp_path / "run", **whole("workers 0").settings)
    line = f"{path}: torch was 0.1, now {began['torch']}: the run need not end where it would have"
    assert (resumed.code, line in resumed.output) == (0, True), resumed.output


def test_where_all_resume_files_are_damaged_one_line_says_so(trained, whole, train, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    for name in (RESUME, PREVIOUS):
        cut(checkpoints / name)
    resumed = train(tmp_path / "run", **whole("workers 0").settings)
    assert resumed.code == 1
    last = resumed.output.splitlines()[-1]
    assert last.startswith(f"posenet: error: {checkpoints / RESUME}: damaged, and so is")
    assert "best.pt and last.pt can still be used" in last


def test_a_run_that_lost_patience_trains_no_further(train, tmp_path):
    """It was killed in its calibration: resumed it has only that to do."""
    settings = {"optimization__epochs": 9, "optimization__patience": 1, "data__workers": 0}
    settings |= {"optimization__learning_rate": 1e-12}  # no better, no worse
    killed = train(tmp_path / "run", stop_at=("calibrating", 0), **settings)
    assert killed.code == -signal.SIGKILL
    rows = (tmp_path / "run" / "metrics.csv").read_text()
    assert 2 < rows.count("\n") < 9
    resumed = train(tmp_path / "run", **settings)
    assert (resumed.code, "training" in resumed.moments) == (0, False), resumed.output
    assert (tmp_path / "run" / "metrics.csv").read_text() == rows


@pytest.mark.slow
def test_twenty_kills_at_random(whole, train, ask, tmp_path):
    """Half of them at moments, half at times; with each worker count."""
    kills = 0
    for kill in range(20):
        generator = random.Random(kill)
        run = whole(list(VARIANTS)[kill % 2])
        folder = tmp_path / f"run{kill}"
        if kill % 4 < 2:
            moments = run.answer.moments
            number = generator.randrange(moments.index("before environment.json"), len(moments))
            name = moments[number]
            how = {"stop_at": (name, moments[:number].count(name))}
        else:
            how = {"stop_after_s": generator.uniform(0.0, run.answer.seconds)}
        killed = train(folder, **how, **run.settings)
        resumed = train(folder, **run.settings)
        assert resumed.code == 0, resumed.output
        assert_same_end(folder, run)
        kills += killed.code == -signal.SIGKILL
    assert kills >= 15  # a process that was to die after some time may have been done
    for name in (run.folder, folder):
        evaluated = ask(["evaluate", name], tmp_path / "evaluation.log")
        assert evaluated.code == 0, evaluated.output
    for name in ("predictions.csv", "evaluation.json"):
        assert (folder / name).read_bytes() == (run.folder / name).read_bytes()


@pytest.mark.parametrize("content", [None, "", "{", "[1]"])
def test_a_lost_description_of_the_software_stops_no_resume(content, tmp_path, capsys):
    path = tmp_path / "environment.json"
    if content is not None:
        path.write_text(content)
    say_what_changed(path, {"torch": "1"})
    assert capsys.readouterr().err.startswith(f"{path}: cannot be read")
