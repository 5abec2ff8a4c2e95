"""Which of several processes this one is, and starting them on one machine.

Processes are told who they are by the environment, in the words of torchrun, whoever started them:
``posenet train --trainer.devices 2`` starts them itself, torchrun does on several machines.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, NamedTuple

from posenet.errors import UsageError

# How a process ends that has only lost another one, which has more to say. Seen by nobody else.
LOST_ANOTHER = 76

_LAUNCHED = "POSENET_LAUNCHED"
_GRACE_S = 20.0  # in which processes end by themselves, once one has
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
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    found = [os.environ.get(name) for name in names]
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return ALONE
    try:
        rank, size = int(found[0]), int(found[1])
        local_rank = rank if found[2] is None else int(found[2])
        local_size = size if found[3] is None else int(found[3])
        if 0 <= rank < size and 0 <= local_rank < local_size and size % local_size == 0:
            return World(rank, size, local_rank, local_size)
    except ValueError:
        pass
    said = ", ".join(f"{name}={value}" for name, value in zip(names, found, strict=True))
    raise UsageError(
        f"the environment says {said}, which is no place among processes; unset these, or start "
        "with torchrun, which sets them"
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


def run_processes(words: Sequence[str], count: int, threads: int = 0) -> int:
    """Run a command line of posenet in several processes of this machine, and wait for all.

    Ctrl-C goes to the first of them, which saves what there is. Where one ends before its time the
    others are ended, and one line says which it was and why.

    Args:
        words: The command line, without ``posenet``.
        count: Number of processes.
        threads: Of each for its computations; 0 shares the cores out.

    Returns:
        The exit code.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = threads or max(1, count_cores() // count)
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        _LAUNCHED: "1",
    }
    with tempfile.TemporaryFile() as said:
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
            with _passing_on_signals(processes):
                first = _wait_for_all(processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()
                process.stdin.close()
        return _explain(first, processes, said)


@contextmanager
def _passing_on_signals(processes: list[subprocess.Popen]) -> Iterator[None]:
    """Ctrl-C for the first process, an order to end for all."""

    def interrupt(*_: object) -> None:
        _send(processes[:1], signal.SIGINT)

    def terminate(*_: object) -> None:
        _send(processes, signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, interrupt),
        signal.SIGTERM: signal.signal(signal.SIGTERM, terminate),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_all(processes: list[subprocess.Popen]) -> int | None:
    """The first process that failed by itself, by its number; None where all went well."""
    first: int | None = None
    since = 0.0
    while any(process.poll() is None for process in processes):
        failed = [i for i, process in enumerate(processes) if process.poll()]
        own = [i for i in failed if processes[i].returncode != LOST_ANOTHER]
        if failed and not since:
            since = time.monotonic()
        if own and first is None:
            first = own[0]
        if since and time.monotonic() - since > _GRACE_S:
            _send(processes, signal.SIGKILL)
        time.sleep(_POLL_S)
    own = [i for i, process in enumerate(processes) if process.returncode not in (0, LOST_ANOTHER)]
    return own[0] if first is None and own else first


def _explain(first: int | None, processes: list[subprocess.Popen], said: IO[bytes]) -> int:
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
        "it; a training goes on from its last epoch with --resume",
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
