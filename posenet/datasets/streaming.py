"""Training frames out of shards: in about the order in which they lie there, never in a cache.

Disks and networks are many times faster in order. So an epoch goes through the shards in a shuffled
order, each from front to back, and draws the next frame among the next few hundred. The index knows
where every frame is; the order is therefore a list of numbers, made without reading anything, and
no image waits in memory for its turn. As everywhere, what a batch holds follows from (seed, epoch);
workers and processes share the batches out, all going through the same shards at about the same
time, and each reads from them the bytes of its own images alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, default_collate

from posenet.config import AugmentConfig, DataConfig
from posenet.datasets.damage import Damage
from posenet.datasets.frame import Frame
from posenet.datasets.loader import AugmentedDataset, Sample, training_loader, worker_settings
from posenet.datasets.sampling import Draw, EpochSampler, SharedBatchSampler
from posenet.datasets.scene import Scene
from posenet.datasets.stored import ShardError
from posenet.datasets.streamed_images import StreamedImages
from posenet.errors import DataError
from posenet.processes import ALONE, World

Indices = NDArray[np.int64]


class StreamSampler(EpochSampler):
    """The training frames in about the order of their shards, shuffled by (seed, pass) alone.

    Args:
        places: The shard of each training frame and where it is there, (N, 2).
        indices: The training frames, likewise.
        seed: Seed of the run.
        views: How often each frame comes in an epoch, see :class:`EpochSampler`.
        batch_size: Images a batch.
        buffer: Frames among which the next one is drawn.
    """

    def __init__(
        self,
        places: Indices,
        indices: Sequence[int],
        seed: int,
        views: float = 1,
        batch_size: int = 1,
        buffer: int = 1,
    ) -> None:
        super().__init__(indices, seed, views, batch_size)
        order = np.lexsort(places.T[::-1])
        borders = np.flatnonzero(np.diff(places[order, 0])) + 1
        self.shards = np.split(order, borders)
        self.buffer = buffer

    def order(self, number: int) -> Indices:
        """Of a pass, which comes when; all frames come once before any comes again."""
        times = self.pass_length // len(self.indices)
        return np.concatenate([self._once(number * times + time) for time in range(times)])

    def _once(self, number: int) -> Indices:
        rng = np.random.default_rng((self.seed, number))
        read = np.concatenate([self.shards[i] for i in rng.permutation(len(self.shards))])
        return draw_among_next(read, self.buffer, rng)


def draw_among_next(sequence: Indices, buffer: int, rng: np.random.Generator) -> Indices:
    """A shuffled sequence, in which nothing comes more than about ``buffer`` places too early.

    What a shuffle buffer of this size would make of it: the next one is any of the ones in the
    buffer, whose place the next of the sequence takes.
    """
    waiting = sequence[:buffer].copy()
    choices = rng.integers(len(waiting), size=max(0, len(sequence) - buffer))
    shuffled = np.empty_like(sequence)
    for place, choice in enumerate(choices):
        shuffled[place] = waiting[choice]
        waiting[choice] = sequence[buffer + place]
    shuffled[len(choices) :] = rng.permutation(waiting)
    return shuffled


class StreamedViews(Dataset[Sample | DataError]):
    """Random views of training frames in shards; another frame comes for one that is damaged.

    One whose depth alone is damaged is turned and never moved. So a view follows from its draw,
    whatever was found damaged before.

    What went wrong is returned and not raised: an error that a worker raises arrives with a
    traceback for a message.

    Args:
        scene: The dataset.
        config: The views; none is filled in from other frames.
        least_readable: Share of the training frames, and of their depth images, that must not be
            damaged.
    """

    def __init__(self, scene: Scene, config: AugmentConfig, least_readable: float) -> None:
        frames, self.train = scene.frames, np.array(scene.split.train)
        deep = sum(frames[i].depth_path is not None for i in scene.split.train)
        self.damaged = Damage(len(frames), len(self.train), least_readable, "training frames")
        images = scene.images._replace(
            strict=True,
            damaged_depth=Damage(len(frames), deep, least_readable, "depth images to train on"),
        )
        self.views = AugmentedDataset(scene._replace(images=images), replace(config, fill_from=0))

    def __getitem__(self, draw: Draw) -> Sample | DataError:
        try:
            return self._view(draw)
        except ShardError as error:
            return error

    def _view(self, draw: Draw) -> Sample:
        place = int(np.searchsorted(self.train, draw.index))
        for following in range(len(self.train)):
            index = int(self.train[(place + following) % len(self.train)])
            if index in self.damaged:
                continue
            try:
                return self.views[draw._replace(index=index)]
            except ShardError:
                raise
            except DataError as error:
                self.damaged.add(index, error)
        raise ShardError(
            "expected training frames, found all of them damaged; copy the shards again"
        )


class StreamLoader(DataLoader[Sample]):
    """Batches of what :class:`StreamedViews` gives, whose errors are raised here."""

    def __iter__(self) -> Iterator[Any]:
        batches = super().__iter__()
        while (batch := next(batches, None)) is not None:
            if isinstance(batch, DataError):
                # Workers end with their iterator. In the error's traceback it would be garbage
                # together with the queue that tells them, and each waited for in vain.
                self._iterator = batches = None
                raise batch
            yield batch


def collate_or_tell(samples: list[Sample | DataError]) -> Sample | DataError:
    """A batch, or the first error in it."""
    errors = [sample for sample in samples if isinstance(sample, DataError)]
    return errors[0] if errors else default_collate(samples)


def training_batches(
    scene: Scene,
    data: DataConfig,
    augment: AugmentConfig,
    *,
    batch_size: int,
    views: float,
    seed: int,
    world: World = ALONE,
    kept: Dataset[Sample] | None = None,
) -> DataLoader[Sample]:
    """Shuffled batches of random views, out of shards where the scene's images are streamed.

    The arguments are those of ``training_loader``, which makes the others.
    """
    if not isinstance(scene.images, StreamedImages):
        return training_loader(
            *(scene, data, augment),
            batch_size=batch_size,
            views=views,
            seed=seed,
            world=world,
            kept=kept,
        )
    train = scene.split.train
    sampler = StreamSampler(
        places_in_shards([scene.frames[i] for i in train]),
        train,
        seed,
        views,
        batch_size,
        data.stream_buffer,
    )
    return StreamLoader(
        StreamedViews(scene, augment, data.least_readable),
        batch_sampler=SharedBatchSampler(sampler, batch_size, world),
        collate_fn=collate_or_tell,
        **worker_settings(data.workers),
    )


def places_in_shards(frames: Sequence[Frame]) -> Indices:
    """Number of the shard and offset in it of each frame, (N, 2)."""
    shards = sorted({str(frame.packed_image.archive) for frame in frames})
    numbers = {shard: number for number, shard in enumerate(shards)}
    return np.array(
        [(numbers[str(frame.packed_image.archive)], frame.packed_image.offset) for frame in frames]
    )
