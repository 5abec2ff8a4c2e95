"""How fast one worker makes batches."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import torch
from torch.utils.data import DataLoader

from posenet.benchmark.statistics import Effort, batch_figures, median_and_spread
from posenet.config import Config
from posenet.datasets.loader import Sample, plain_loader, training_loader
from posenet.datasets.scene import Scene


class BatchTime(NamedTuple):
    """Seconds of making one batch: of the thread that makes it, and by the clock."""

    cpu: float
    wall: float


def time_loader(config: Config, scene: Scene, effort: Effort) -> dict[str, dict[str, float]]:
    """Figures of ``plain`` frames and of ``augmented`` views, as the configuration makes them.

    Args:
        config: The settings.
        scene: The dataset.
        effort: How many batches.
    """
    size = config.optimization.batch_size
    loaders = {
        "plain": plain_loader(scene, scene.split.train, size),
        "augmented": training_loader(
            scene, config.data, config.augment, batch_size=size, views=0, seed=config.seed
        ),
    }
    return {name: _figures(loader, effort) for name, loader in loaders.items()}


def _figures(loader: DataLoader[Sample], effort: Effort) -> dict[str, float]:
    times = time_batches(loader, effort.batches, effort.warm_up)
    images = len(next(iter(loader.batch_sampler)))
    cpu, _ = median_and_spread([made.cpu for made in times])
    figures = batch_figures([made.wall for made in times], images)
    by_cpu = {"cpu_batch_ms": 1e3 * cpu, "cpu_images_per_s": images / cpu}
    return {"batch_size": images, **by_cpu, **figures}


def time_batches(loader: DataLoader[Sample], count: int, warm_up: int = 0) -> list[BatchTime]:
    """Make batches as a worker does: in one process, with one thread.

    Args:
        loader: Whose batches; its own workers have no part in it.
        count: How many.
        warm_up: How many before these, which do not count.
    """
    endless = itertools.chain.from_iterable(itertools.repeat(loader.batch_sampler))
    times = []
    with _one_thread():
        for draws in itertools.islice(endless, warm_up + count):
            start, core = time.perf_counter(), time.thread_time()
            loader.collate_fn([loader.dataset[draw] for draw in draws])
            times.append(BatchTime(time.thread_time() - core, time.perf_counter() - start))
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
