"""How fast one worker makes batches."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch
from torch.utils.data import DataLoader

from posenet.benchmark.statistics import Effort, Took, batch_figures, watch
from posenet.config import Config
from posenet.datasets.loader import Sample, plain_loader
from posenet.datasets.scene import Scene
from posenet.datasets.streaming import training_batches
from posenet.errors import DataError


def time_loader(config: Config, scene: Scene, effort: Effort) -> dict[str, dict[str, float]]:
    """Figures of ``plain`` frames and of ``augmented`` views, as the configuration makes them.

    Args:
        config: The settings.
        scene: The dataset.
        effort: How many batches.
    """
    size = config.optimization.batch_size
    train = scene.split.train
    whole = train[: len(train) // size * size] or train  # a ragged batch takes less time
    loaders = {
        "plain": plain_loader(scene, whole, size),
        "augmented": training_batches(
            scene, config.data, config.augment, batch_size=size, views=0, seed=config.seed
        ),
    }
    return {name: _figures(loader, effort) for name, loader in loaders.items()}


def _figures(loader: DataLoader[Sample], effort: Effort) -> dict[str, float]:
    images = len(next(iter(loader.batch_sampler)))
    times = time_batches(loader, effort.batches, effort.warm_up)
    return {"batch_size": images, **batch_figures(times, images)}


def time_batches(loader: DataLoader[Sample], count: int, warm_up: int = 0) -> list[Took]:
    """Make batches as a worker does: in one process, with one thread.

    Args:
        loader: Whose batches; its own workers have no part in it.
        count: How many.
        warm_up: How many before these, which do not count.
    """
    endless = itertools.chain.from_iterable(itertools.repeat(loader.batch_sampler))
    times: list[Took] = []
    with _one_thread():
        for draws in itertools.islice(endless, warm_up + count):
            with watch(times):
                batch = loader.collate_fn([loader.dataset[draw] for draw in draws])
            if isinstance(batch, DataError):  # of shards, which have no other way to tell
                raise batch
    return times[warm_up:]


@contextmanager
def _one_thread() -> Iterator[None]:
    threads, of_opencv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(of_opencv)
