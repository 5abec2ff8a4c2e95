"""What to do where memory does not suffice."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from posenet.config import Config
from posenet.errors import MemoryLackError

# What torch says has no type of its own, but on the GPU.
_SAYS_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
_SAYS_WORKER_DIED = "DataLoader worker (pid"


@contextmanager
def explain_lack_of_memory(config: Config) -> Iterator[None]:
    """Turn the many errors of a lack of memory into one line with the cure.

    Args:
        config: The settings that were too large.

    Raises:
        MemoryLackError: In their place.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if _SAYS_WORKER_DIED in text:
            raise MemoryLackError(
                "a process that prepares batches was killed, which happens where memory, or a "
                f"container's /dev/shm, is too small; use fewer --data.workers (now "
                f"{config.data.workers}, 0 needs no shared memory)"
            ) from error
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(words in text for words in _SAYS_NO_MEMORY):
            raise
        raise MemoryLackError(
            f"out of memory with batches of {config.optimization.batch_size} images of "
            f"{config.data.width}x{config.data.height} pixels; use a smaller "
            "--optimization.batch_size, or --data.width and --data.height, in a new run"
        ) from error
