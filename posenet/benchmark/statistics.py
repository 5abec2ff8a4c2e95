"""Times as the figures that are reported."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch


class Effort(NamedTuple):
    """How much is measured.

    Attributes:
        batches: Batches that the loader makes.
        steps: Training steps that are taken apart.
        backbone_steps: Training steps, and the fewest predictions, of each backbone and size.
        warm_up: Batches and steps before these, which do not count.
        least: The fewest predictions.
        most: The most predictions.
        seconds: How long to predict before there are the most.
    """

    batches: int = 20
    steps: int = 20
    backbone_steps: int = 3
    warm_up: int = 2
    least: int = 10
    most: int = 100
    seconds: float = 3.0


QUICK = Effort(batches=2, steps=2, backbone_steps=1, warm_up=1, least=2, most=2)


class Took(NamedTuple):
    """Seconds that something took.

    Attributes:
        wall: By the clock.
        cpu: Of all threads of this process together.
    """

    wall: float
    cpu: float


@contextmanager
def watch(times: list[Took]) -> Iterator[None]:
    """Add what is done inside to some times."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    times.append(Took(time.perf_counter() - wall, time.process_time() - cpu))


def repeat(call: Callable[[], object], effort: Effort) -> list[Took]:
    """What each call takes, after those of the warm-up."""
    for _ in range(effort.warm_up):
        call()
    times: list[Took] = []
    end = time.perf_counter() + effort.seconds
    while len(times) < effort.least or (len(times) < effort.most and time.perf_counter() < end):
        with watch(times):
            call()
    return times


def median_and_spread(seconds: Sequence[float]) -> tuple[float, float]:
    """The median, and the distance of the quartiles as a share of it."""
    low, middle, high = np.quantile(seconds, (0.25, 0.5, 0.75))
    return float(middle), float((high - low) / middle) if middle > 0 else 0.0


def batch_figures(times: Sequence[Took], images: int) -> dict[str, float]:
    """``batch_ms`` (median), ``images_per_s`` by it and ``spread``; by CPU time with ``cpu_``.

    Args:
        times: Of each batch.
        images: In a batch.
    """
    figures = time_figures(times, "batch_ms")
    for by in ("", "cpu_"):
        # A coarse clock may say 0, as Windows' does of CPU time.
        figures[f"{by}images_per_s"] = 1e3 * images / max(figures[f"{by}batch_ms"], 1e-3)
    return figures


def time_figures(times: Sequence[Took], name: str) -> dict[str, float]:
    """The median under a name, in ms, and its ``spread``; by CPU time with ``cpu_``."""
    figures = {}
    for by, seconds in zip(("", "cpu_"), zip(*times, strict=True), strict=True):
        middle, spread = median_and_spread(seconds)
        figures[f"{by}{name}"], figures[f"{by}spread"] = 1e3 * middle, spread
    return figures


def time_reference() -> list[Took]:
    """Work that no change of posenet touches: products of two matrices on the CPU."""
    matrix = torch.ones(512, 512)
    effort = Effort(warm_up=2, least=20, most=20)
    return repeat(lambda: matrix @ matrix, effort)
