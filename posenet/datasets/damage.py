"""How many images may be damaged, and which ones of a stream are."""

import torch

from posenet.datasets.stored import ShardError
from posenet.errors import DataError
from posenet.progress import say


def few_enough(lost: int, total: int, least_readable: float) -> bool:
    """Whether the share of images that are not lost is at least this.

    The share is rounded as the setting was: 9 of 10 are 0.9, and (1 - 0.9) * 10 is less than 1.
    """
    return lost == 0 or (total - lost) / total >= least_readable


class Damage:
    """Which images of a stream are damaged: each is told once, and too many are refused.

    Args:
        frames: How many frames the dataset has.
        total: Images that the damaged ones are among.
        least_readable: Share of these that must be readable.
        what: What these are called.
    """

    def __init__(self, frames: int, total: int, least_readable: float, what: str) -> None:
        # In memory that all workers share.
        self._damaged = torch.zeros(frames, dtype=torch.uint8).share_memory_()
        self._total = total
        self._least_readable = least_readable
        self._what = what

    def __contains__(self, index: int) -> bool:
        """Whether the image of a frame was found damaged."""
        return bool(self._damaged[index])

    def add(self, index: int, error: DataError) -> None:
        """Tell that the image of a frame is damaged, unless that was told.

        Raises:
            ShardError: Too many are.
        """
        if index in self:
            return
        self._damaged[index] = 1
        count = int(self._damaged.sum())
        problem = f"{error} ({count} of {self._total} {self._what} cannot be read"
        if not few_enough(count, self._total, self._least_readable):
            least = f"data.least_readable is {self._least_readable:g}"
            raise ShardError(f"{problem}, and {least})") from error
        say(f"{problem} and are left out)")
