"""A training that is stopped at any moment and resumed ends where one that was left alone does."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from posenet.datasets.toy_room import write_toy_room
from posenet.training.resume import RESUME

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
    "workers 1": {"data__workers": 1, "model__mode": "regression"},
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


def moment(answer: Answer, name: str, count: int) -> int:
    """The number of the moment of a name; -1 is the last of that name."""
    found = [number for number, other in enumerate(answer.moments) if other == name]
    return found[count]


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


KILLS = {
    "before there is an epoch": ("before best.pt", 0, "workers 0"),
    "in an epoch": ("training", 3, "workers 1"),
    "while resume.ckpt is written": ("half of resume.ckpt", 1, "workers 0"),
    "between its two moves": ("after resume.previous.ckpt", 0, "workers 1"),
    "after all files but it": ("before resume.ckpt", -1, "workers 0"),
    "in the calibration": ("half of last.pt", -1, "workers 0"),
}


@pytest.mark.parametrize("kill", KILLS)
def test_a_killed_run_is_resumed_to_the_bit(kill, whole, train, tmp_path):
    name, count, variant = KILLS[kill]
    run = whole(variant)
    stop_at = moment(run.answer, name, count)
    killed = train(tmp_path / "run", stop_at=stop_at, **run.settings)
    assert killed.code == -signal.SIGKILL
    assert killed.moments[-1] == name
    resumed = train(tmp_path / "run", **run.settings)
    assert resumed.code == 0, resumed.output
    assert_same_end(tmp_path / "run", run)
