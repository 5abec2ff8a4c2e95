"""How processes that work together talk: a thin layer over ``torch.distributed``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from posenet.errors import LostProcessError
from posenet.processes import (
    World,
    count_cores,
    current_world,
    end_with_launcher,
    explains_itself,
    meeting_place,
)

Item = TypeVar("Item")

# The first process may decode a large dataset while the others wait. One that dies is noticed by
# whoever started it, and by the connection.
_PATIENCE = timedelta(hours=12)


@contextmanager
def process_group(on_gpu: bool) -> Iterator[World]:
    """The processes that the environment tells of, connected; nothing of it where there is one.

    Args:
        on_gpu: Whether tensors on the GPU are to be exchanged too, each process having its own.

    Raises:
        LostProcessError: Another process is gone.
    """
    world = current_world()
    if world.size == 1 or dist.is_initialized():
        yield world
        return
    end_with_launcher()
    if on_gpu:
        torch.cuda.set_device(world.local_rank)
    place = meeting_place()
    with explain_loss():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            # Not by a URL, in which torch would take some characters of a path for its own.
            store=None if place is None else dist.FileStore(str(place), world.size),
            rank=world.rank,
            world_size=world.size,
            timeout=_PATIENCE,
        )
        yield world
        # Not after an error: it might wait for others, which wait for this one.
        dist.destroy_process_group()


@contextmanager
def explain_loss() -> Iterator[None]:
    """Turn what torch says when another process is gone into one line, and nothing else.

    Raises:
        LostProcessError: In its place.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not any(words in text.lower() for words in _SAYS_LOST):
            raise
        raise LostProcessError(
            "another of the processes that work together is gone, so this one ends too; see what "
            f"that one said, and start again ({text.splitlines()[0]})"
        ) from error


# Of Gloo and of NCCL.
_SAYS_LOST = ("closed by peer", "reset by peer", "broken pipe", "remote process exited")


def share_cores(world: World, threads: int = 0) -> None:
    """Give each process of a machine its share of the cores, or as many threads as are asked for.

    torchrun gives each of them one; whoever else started them has shared the cores out.
    """
    if threads:
        torch.set_num_threads(threads)
    elif world.local_size > 1 and not explains_itself():
        torch.set_num_threads(max(1, count_cores() // world.local_size))


def group_size() -> int:
    """Number of connected processes."""
    return dist.get_world_size() if _is_connected() else 1


def group_rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if _is_connected() else 0


def from_main(value: Any) -> Any:
    """The first process's value, in all of them; it may be anything that can be pickled."""
    if group_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def from_all(value: Item) -> list[Item]:
    """The values of all processes by number, in all of them."""
    if group_size() == 1:
        return [value]
    values: list[Any] = [None] * group_size()
    dist.all_gather_object(values, value)
    return values


@contextmanager
def first_of_machine() -> Iterator[None]:
    """What one process of each machine does before its others, which find it done: a cache."""
    is_first = current_world().local_rank == 0
    if not is_first:
        from_all(None)
    yield
    if is_first:
        from_all(None)


def deal(items: Sequence[Item], batch_size: int, rank: int, size: int) -> list[Item]:
    """This process's part of items that are read in batches: whole batches, in turn.

    So the batches are those of one process, whatever their number.
    """
    starts = range(rank * batch_size, len(items), size * batch_size)
    return [item for start in starts for item in items[start : start + batch_size]]


def _is_connected() -> bool:
    return dist.is_available() and dist.is_initialized()
