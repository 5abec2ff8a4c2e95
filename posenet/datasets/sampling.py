"""Which frame comes when: the draws of an epoch, and each process's part of their batches."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, Sampler

from posenet.errors import UsageError
from posenet.processes import World

# Views in an epoch of a dataset that has fewer frames.
EPOCH_VIEWS = 500


class Draw(NamedTuple):
    """One training sample to make: everything random about it follows from these numbers.

    Attributes:
        seed: Seed of the run.
        epoch: The pass, from 0.
        position: Place in the pass, from 0.
        index: Index of the frame in its dataset.
    """

    seed: int
    epoch: int
    position: int
    index: int


class EpochSampler(Sampler[Draw]):
    """Every training frame ``views`` times an epoch, shuffled by (seed, epoch) alone.

    Lightning calls :meth:`set_epoch`; the order does not depend on workers or on earlier epochs.

    Args:
        indices: The training frames.
        seed: Seed of the run.
        views: How often each frame comes in one epoch. Where that is no whole number, epochs are as
            long as the nearest whole number of batches, and go on where the one before ended: each
            frame comes once in a pass, wherever epochs begin. 0 for as often as makes about
            ``EPOCH_VIEWS`` of all.
        batch_size: Images a batch.
    """

    def __init__(
        self, indices: Sequence[int], seed: int, views: float = 1, batch_size: int = 1
    ) -> None:
        self.indices = indices
        self.seed = seed
        self.epoch = 0
        views = views or max(1, round(EPOCH_VIEWS / len(indices)))
        if float(views).is_integer():
            self.pass_length = self.epoch_length = len(indices) * int(views)
        else:
            self.pass_length = len(indices)
            batches = max(1, round(views * len(indices) / batch_size))
            self.epoch_length = min(batches * batch_size, max(1, round(views)) * len(indices))

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.epoch_length

    def __iter__(self) -> Iterator[Draw]:
        position = 0
        while position < len(self):
            number, first = divmod(self.epoch * len(self) + position, self.pass_length)
            for choice in self.order(number)[first : first + len(self) - position]:
                frame = self.indices[choice % len(self.indices)]
                yield Draw(self.seed, self.epoch, position, frame)
                position += 1

    def order(self, number: int) -> NDArray[np.int64]:
        """Of a pass, which comes when: places in the training frames, one after the other."""
        return np.random.default_rng((self.seed, number)).permutation(self.pass_length)


class SharedBatchSampler(BatchSampler):
    """The part of each batch that falls to one of several processes; all of it where there is one.

    Args:
        sampler: Draws for all processes, the same in each.
        batch_size: Images a batch, of all processes together.
        world: Which process this is.

    Raises:
        UsageError: The images of a batch cannot be shared out evenly.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, world: World) -> None:
        # A ragged last batch is dropped, unless it is the only one.
        super().__init__(sampler, min(batch_size, len(sampler)), drop_last=True)
        self.world = world
        if self.batch_size % world.size:
            raise UsageError(
                f"optimization.batch_size: expected a multiple of the {world.size} processes that "
                f"share a batch, found {self.batch_size} images in one"
            )

    def __iter__(self) -> Iterator[list[Draw]]:
        share = self.batch_size // self.world.size
        start = self.world.rank * share
        for batch in super().__iter__():
            yield batch[start : start + share]
