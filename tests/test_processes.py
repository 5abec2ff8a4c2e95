"""Starting processes: what becomes of all when one ends."""

import os
import signal
import threading
from pathlib import Path

import pytest

from posenet.errors import LostProcessError, UsageError
from posenet.process_group import explain_loss
from posenet.processes import ALONE, LOST_ANOTHER, World, current_world, run_processes

# A posenet whose processes end as their word of the command line says.
PROGRAM = """
import os, signal, sys, time
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
word = sys.argv[1 + rank]
print(f"output of {rank}", flush=True)
if word == "wait":
    time.sleep(600)
if word.startswith("kill"):
    os.kill(os.getpid(), getattr(signal, word.split(":")[1]))
code, _, message = word.partition(":")
if message:
    print(message, file=sys.stderr, flush=True)
    time.sleep(float(os.environ.get("SAID_S", 0)))
sys.exit(int(code))
"""
LOST = str(LOST_ANOTHER)


@pytest.fixture(autouse=True)
def program(tmp_path, monkeypatch) -> None:
    (tmp_path / "posenet").mkdir()
    (tmp_path / "posenet" / "__init__.py").touch()
    (tmp_path / "posenet" / "__main__.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("posenet.processes._GRACE_S", 0.5)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("words", "code", "errors"),
    [
        (["0", "0"], 0, []),
        (["0:a warning", "0:a warning"], 0, ["a warning"]),  # the first speaks for all
        (["2:refused", "2:refused"], 2, ["refused"]),
        (["1:broken", LOST], 1, ["broken"]),
        ([LOST, "1:broken"], 1, ["broken"]),
        ([LOST, "0:a warning", "1:broken"], 1, ["a warning", "broken"]),
        (["wait", "1:broken"], 1, ["broken"]),
        ([LOST, "kill:SIGKILL"], 1, ["process 1 of 2 was ended by SIGKILL (out of memory?)"]),
        (["kill:SIGTERM", "wait"], 1, ["process 0 of 2 was ended by SIGTERM"]),
        ([LOST, LOST], 1, ["process 0 of 2 ended, and the others with it; start it again"]),
        ([LOST, "wait"], 1, ["process 0 of 2 ended"]),
        (["130:interrupted", LOST], 130, ["interrupted"]),
    ],
)
def test_the_one_that_failed_tells_why(capfd, words, code, errors):
    assert run_processes(words, len(words)) == code
    output, said = capfd.readouterr()
    assert output == "output of 0\n"
    assert len(said.splitlines()) == len(errors)
    # Which of several processes came first is chance; the lines are in the order of the alphabet.
    for line, expected in zip(sorted(said.splitlines()), errors, strict=True):
        assert expected in line


def test_a_second_order_to_end_does_not_wait(capfd, monkeypatch):
    monkeypatch.setattr("posenet.processes._GRACE_S", 600.0)
    (Path("posenet") / "__main__.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(600)\n"
    )
    orders = [threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)) for after in (2.0, 3.0)]
    for order in orders:
        order.start()
    assert run_processes([], 2) == 130
    assert capfd.readouterr().err == "posenet: interrupted\n"


def test_processes_know_their_place_and_their_share_of_the_cores(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("posenet.processes.count_cores", lambda: 6)
    (tmp_path / "posenet" / "__main__.py").write_text(
        "import os\n"
        "names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'OMP_NUM_THREADS')\n"
        "open(os.environ['RANK'], 'w').write(' '.join(os.environ[name] for name in names))\n"
    )
    assert run_processes([], 3) == 0
    assert [Path(str(rank)).read_text() for rank in range(3)] == [
        f"{rank} 3 {rank} 3 2" for rank in range(3)
    ]


def test_signals_do_what_they_did_before_once_all_have_ended():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run_processes(["0"], 1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_process_is_told_its_place_in_the_words_of_torchrun(monkeypatch):
    assert current_world() == ALONE
    said = {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4}
    for name, value in said.items():
        monkeypatch.setitem(os.environ, name, str(value))
    assert current_world() == World(5, 8, 1, 4)
    assert not current_world().is_main


@pytest.mark.parametrize(
    "said",
    [
        ("2", "2", "0", "2"),
        ("-1", "2", "0", "2"),
        ("0", "zero", "0", "2"),
        ("", "1", "0", "1"),
        ("0", "2", "2", "2"),
        ("0", "3", "0", "2"),
        ("0", "2", None, None),  # a guess could be wrong
    ],
)
def test_no_place_is_refused(monkeypatch, said):
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    for name, value in zip(names, said, strict=True):
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="torchrun"):
        current_world()


@pytest.mark.parametrize(
    ("says", "is_loss"),
    [
        ("[../gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:2021", True),
        ("NCCL error: remote process exited or there was a network error", True),
        (
            "[../gloo/transport/tcp/device.cc:84] Unable to resolve hostname to a (local) address",
            False,
        ),
        ("Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1000", False),
    ],
)
def test_only_a_process_that_is_gone_is_said_to_be_gone(says, is_loss):
    with pytest.raises(LostProcessError if is_loss else RuntimeError) as raised, explain_loss():
        raise RuntimeError(says)
    assert says in str(raised.value)
