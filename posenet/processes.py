"""Which of several processes this one is, and starting them on one machine.

Processes are told who they are by the environment, in the words of torchrun, whoever started them:
``posenet train --trainer.devices 2`` starts them itself, torchrun does on several machines.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from posenet.errors import UsageError

# How a process ends that has only lost another one, which has more to say. Seen by nobody else.
LOST_ANOTHER = 76

INTERRUPTED = 130  # 128 + SIGINT, as shells report it

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_LAUNCHED = "POSENET_LAUNCHED"  # names the file by which the processes find each other
_GRACE_S = 30.0  # in which processes end by themselves, once one has, or has been told to
_POLL_S = 0.05


class World(NamedTuple):
    """The processes that work together, and which one this is.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        local_rank: Number of this process on its machine, from 0.
        local_size: Number of processes on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes, and talks to the user."""
        return self.rank == 0


ALONE = World()


def current_world() -> World:
    """What the environment says of this process; alone where it says nothing.

    Raises:
        UsageError: It contradicts itself.
    """
    if not is_launched():
        return ALONE
    found = {name: os.environ.get(name) for name in _NAMES}
    try:
        world = World(*(int(value or "") for value in found.values()))
        if (
            0 <= world.rank < world.size
            and 0 <= world.local_rank < world.local_size
            and world.size % world.local_size == 0
        ):
            return world
    except ValueError:
        pass
    said = ", ".join(f"{name}={'' if value is None else value}" for name, value in found.items())
    raise UsageError(
        f"the environment says {said}, which is no place among processes; unset these, or start "
        "with torchrun, which sets them all"
    )


def count_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_launched() -> bool:
    """Whether this process has been told its place among others."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def explains_itself() -> bool:
    """Whether the one who started this process tells the user how it ended."""
    return _LAUNCHED in os.environ


def meeting_place() -> Path | None:
    """The file by which processes find each other; None where torchrun gives them an address."""
    return Path(os.environ[_LAUNCHED]) if explains_itself() else None


def run_processes(words: Sequence[str], count: int, threads: int = 0, cure: str = "") -> int:
    """Run a command line of posenet in several processes of this machine, and wait for all.

    Ctrl-C goes to the first of them, which saves what there is; a second one ends all at once.
    Where one ends before its time the others are ended, and one line says which it was and why.

    Args:
        words: The command line, without ``posenet``.
        count: Number of processes.
        threads: Of each for its computations; 0 shares the cores out.
        cure: What to do where one is killed.

    Returns:
        The exit code.

    Raises:
        UsageError: The system is Windows, whose processes know no signals.
    """
    if sys.platform == "win32":
        raise UsageError("several processes: expected Linux or macOS; use one process, or torchrun")
    threads = threads or max(1, count_cores() // count)
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }
    with tempfile.TemporaryDirectory(prefix="posenet-") as folder, tempfile.TemporaryFile() as said:
        shared[_LAUNCHED] = str(Path(folder).resolve() / "meeting")
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "posenet", *words],
                env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,  # its end tells a process that this one is gone
                stdout=None if rank == 0 else subprocess.DEVNULL,
                stderr=None if rank == 0 else said,
                start_new_session=True,  # Ctrl-C reaches this process alone
            )
            for rank in range(count)
        ]
        try:
            first, interrupted = _wait_for_all(processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()
                process.stdin.close()
        if interrupted and processes[0].returncode != 0:
            if processes[0].returncode < 0:  # before it could say so itself
                print("posenet: interrupted", file=sys.stderr)
            return INTERRUPTED
        return _explain(first, processes, said, cure)


def _wait_for_all(processes: list[subprocess.Popen]) -> tuple[int | None, bool]:
    """The first process that failed by itself, by its number, or None; whether all were told to."""
    first: int | None = None
    ending: list[float] = []  # since when
    told: list[int] = []  # by which signals
    with _passing_on_signals(processes, ending, told):
        while any(process.poll() is None for process in processes):
            failed = [i for i, process in enumerate(processes) if process.poll()]
            if failed and not ending:
                ending.append(time.monotonic())
            if first is None:
                first = _own_failure(processes, failed)
            if ending and time.monotonic() - ending[0] > _GRACE_S:
                return first, bool(told)  # who called ends the others
            time.sleep(_POLL_S)
    if first is None:
        first = _own_failure(processes, range(len(processes)))
    return first, bool(told)


def _own_failure(processes: list[subprocess.Popen], failed: Sequence[int]) -> int | None:
    """The first of some processes that failed, and has not only lost another one."""
    codes = [(i, processes[i].returncode) for i in failed]
    return next((i for i, code in codes if code not in (None, 0, LOST_ANOTHER)), None)


@contextmanager
def _passing_on_signals(
    processes: list[subprocess.Popen], ending: list[float], told: list[int]
) -> Iterator[None]:
    """Orders to end go to the first process, which saves what there is; a second one to all.

    Lightning's processes would talk to each other in the midst of whatever they are at, if each of
    them got one.
    """

    def end(number: int, _: object) -> None:
        told.append(number)
        if ending:
            _send(processes, signal.SIGKILL)
        else:
            ending.append(time.monotonic())
            _send(processes[:1], signal.SIGINT)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _explain(
    first: int | None, processes: list[subprocess.Popen], said: IO[bytes], cure: str
) -> int:
    """The exit code of all, and a line where the process that failed cannot speak for itself."""
    codes = [process.returncode for process in processes]
    if first is None and not any(codes):
        return 0
    if first is not None and codes[first] > 0 and 0 < codes[0] != LOST_ANOTHER:
        return codes[0]  # it has said so
    if first is not None and codes[first] > 0:
        said.seek(0)
        sys.stderr.write(said.read().decode(errors="replace"))
        return codes[first]
    number = signal.Signals(-codes[first]) if first is not None else None
    how = f"was ended by {number.name}" if number else "ended"
    memory = " (out of memory?)" if number == signal.SIGKILL else ""
    print(
        f"posenet: error: process {first or 0} of {len(codes)} {how}{memory}, and the others with "
        f"it; {cure or 'start it again'}",
        file=sys.stderr,
    )
    return 1


def _send(processes: list[subprocess.Popen], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            process.send_signal(number)


def end_with_launcher() -> None:
    """Have this process end when the one that started it does, however that ended."""
    if not explains_itself():
        return

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(LOST_ANOTHER)  # as a kill would; whatever it waits for, nobody waits for it

    threading.Thread(target=wait, daemon=True).start()
