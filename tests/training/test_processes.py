"""Training and evaluation by several processes: the same answer, and a clear end."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from posenet.cli import main
from posenet.datasets.toy_room import write_toy_room

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "data.width": 64,
    "data.height": 48,
    "data.workers": 0,
    "model.bins": 3,
    "optimization.views": 1,
    "optimization.batch_size": 8,
    "trainer.accelerator": "cpu",
    "trainer.threads": 1,
}
# The default network, and a rate at which Adam, which divides a gradient by its own size, does not
# make more of the rounding of gradients than is to be seen. With batch norms that see their own
# part of a batch only, weights end 300 times farther off than is allowed.
DEFAULT = {"model.frozen_share": 0.22, "optimization.learning_rate": 3e-5}
SMALL = {"model.backbone": "mobilenet_v3_small", "model.weights": "none"}
# Of each weight without a gradient, of which two processes must not wait for each other's.
BINS = {"model.mode": "classification", "optimization.ema_decay": 0}
REGRESSION = {"model.mode": "regression", "model.confidence": False}


class Ended(NamedTuple):
    """What became of a command line."""

    code: int
    output: str
    errors: str


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    write_toy_room(
        folder / "room",
        train_sequences=2,
        test_sequences=1,
        frames_per_sequence=40,
        width=64,
        height=48,
    )
    return folder


def train_words(place: Path, name: str, **settings: object) -> list[str]:
    paths = {"output": place / name, "data.root": place / "room", "data.cache": place / "cache"}
    values = SETTINGS | paths | settings
    return ["train", *(str(word) for key, value in values.items() for word in (f"--{key}", value))]


def start(words: list[str], program: tuple[str, ...] = ("posenet",)) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", *program, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        # A shell has what it starts in the background ignore Ctrl-C, and so these tests too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(words: list[str], program: tuple[str, ...] = ("posenet",)) -> Ended:
    process = start(words, program)
    output, errors = process.communicate()
    return Ended(process.returncode, output, errors)


@pytest.fixture(scope="module")
def one(place) -> Path:
    threads = torch.get_num_threads()
    assert main(train_words(place, "one", **DEFAULT, **{"optimization.epochs": 2})) == 0
    torch.set_num_threads(threads)
    return place / "one"


@pytest.fixture(scope="module")
def two(place, one) -> Path:
    settings = {"optimization.epochs": 2, "trainer.devices": 2}
    ended = run(train_words(place, "two", **DEFAULT, **settings))
    assert ended.code == 0, ended.errors
    assert ended.errors.count("epoch 1/2") == 1  # one of them speaks
    assert "Warning" not in ended.errors
    return place / "two"


def weights(folder: Path, name: str = "last.pt") -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / name, weights_only=True)["network"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_processes_learn_the_weights_that_one_does(one, two):
    ours, right = weights(two), weights(one)
    learned = {name for name in right if not name.startswith("novelty.")}  # fitted after training
    differences = {
        name: float((ours[name] - right[name]).abs().max() / right[name].abs().max().clamp_min(1))
        for name in learned
        if right[name].numel()
    }
    assert max(differences.values()) < 1e-6, max(differences, key=differences.get)


def test_two_processes_write_the_metrics_that_one_does(one, two):
    ours, right = rows(two / "metrics.csv"), rows(one / "metrics.csv")
    assert len(ours) == len(right) == 2
    for our_row, row in zip(ours, right, strict=True):
        assert our_row.keys() == row.keys()
        for name, value in row.items():
            assert float(our_row[name]) == pytest.approx(float(value), rel=1e-4), name


def test_an_evaluation_by_two_processes_has_the_rows_of_one(place, one, capsys):
    folders = [place / "evaluation-1", place / "evaluation-2"]
    words = [["evaluate", str(one), "--output", str(folder)] for folder in folders]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert main(words[0]) == 0
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    ended = run([*words[1], "--devices", "2"])  # with one thread each, by the environment
    assert (ended.code, ended.output) == (0, printed), ended.errors
    ours, right = (rows(folder / "predictions.csv") for folder in reversed(folders))
    assert len({row["frame"] for row in ours}) == len(ours) == 40  # two batches, one of them short
    assert ours == right


@pytest.mark.slow
def test_torchrun_starts_the_same_training(place, two):
    program = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "posenet")
    words = train_words(place, "torchrun", **DEFAULT, **{"optimization.epochs": 2})
    ended = run(words, program)
    assert ended.code == 0, ended.errors
    ours, right = weights(place / "torchrun"), weights(two)
    assert all(torch.equal(ours[name], right[name]) for name in right)


def rank_of(process: int) -> int | None:
    environment = Path(f"/proc/{process}/environ").read_text()
    found = re.search(r"\bRANK=(\d+)", environment)
    return int(found[1]) if found else None


def processes_of(parent: int) -> dict[int, int]:
    """The processes that a launcher has started, by rank."""
    found = {}
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        rank = rank_of(int(child))
        if rank is not None:
            found[rank] = int(child)
    return found


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to find processes")
@pytest.mark.parametrize(
    ("how", "whom", "code", "says", "settings"),
    [
        pytest.param(
            *(signal.SIGKILL, 0, 1, "process 0 of 2 was ended by SIGKILL", {}),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(signal.SIGTERM, None, 130, "posenet: interrupted", {}), marks=pytest.mark.slow
        ),
        (signal.SIGINT, None, 130, "posenet: interrupted", BINS),
        (signal.SIGKILL, None, -9, None, REGRESSION),
    ],
    ids=["first killed", "launcher told to end", "Ctrl-C", "launcher killed"],
)
def test_a_stopped_process_ends_all_and_the_run_can_be_resumed(
    place, how, whom, code, says, settings
):
    name = f"stopped-{how}-{whom}"
    many = {"optimization.epochs": 500, "trainer.devices": 2}
    process = start(train_words(place, name, **SMALL, **many, **settings))
    said = ""
    while "epoch 2/" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    ranks = processes_of(process.pid)
    assert sorted(ranks) == [0, 1]
    os.kill(process.pid if whom is None else ranks[whom], how)
    said += process.communicate()[1]
    assert process.returncode == code
    while any(is_alive(pid) for pid in ranks.values()):  # hangs where they do
        time.sleep(0.05)
    assert "Traceback" not in said
    if says is not None:
        assert says in said.splitlines()[-1]
    kept = torch.load(place / name / "checkpoints" / "resume.ckpt", weights_only=True)
    assert kept["global_step"] > 0


@pytest.fixture
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_a_resumed_run_of_two_processes_ends_where_an_uninterrupted_one_does(place, two):
    name = "resumed"
    settings = {"optimization.epochs": 2, "trainer.devices": 2}
    process = start(train_words(place, name, **DEFAULT, **settings))
    while "epoch 1/" not in process.stderr.readline():
        pass
    os.kill(processes_of(process.pid)[1], signal.SIGKILL)
    said = process.communicate()[1]
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("posenet: error: process 1 of 2 was ended by SIGKILL")
    ended = run(["train", str(place / name), "--resume"])
    assert ended.code == 0, ended.errors
    ours, right = weights(place / name), weights(two)
    assert all(torch.equal(ours[name], right[name]) for name in right)


@pytest.mark.parametrize(
    ("environment", "settings", "says"),
    [
        ({}, {"trainer.num_nodes": 2}, "torchrun to start the processes of 2 machines"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, {}, "is no place among processes"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, {}, "is no place among processes"),
        (
            {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"},
            {"trainer.devices": 4},
            "expected 4 processes on each of 1 machines, found 2 on 2",
        ),
        # As some operators of Kubernetes do; a guess would start more processes, or doubles.
        ({"RANK": "1", "WORLD_SIZE": "2"}, {}, "LOCAL_RANK=, LOCAL_WORLD_SIZE="),
    ],
)
def test_processes_that_contradict_the_settings_are_refused(
    place, alone, monkeypatch, capsys, environment, settings, says
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(train_words(place, "refused", **SMALL, **settings)) == 2
    assert says in capsys.readouterr().err
    assert not (place / "refused").exists()
