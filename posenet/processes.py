"""Which of several processes this is, as their launcher says."""

import os
from typing import NamedTuple


class World(NamedTuple):
    """The processes that train together.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
        local_rank: Its number on this machine.
        local_size: How many there are on this machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int


def current_world() -> World:
    """The processes of torchrun or Lightning, by the environment; a process alone is 0 of 1."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    defaults = (0, 1, 0, 1)
    return World(*(int(os.environ.get(n, d)) for n, d in zip(names, defaults, strict=True)))
