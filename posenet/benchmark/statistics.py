"""Times as the figures that are reported."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch


class Effort(NamedTuple):
    """How much is measured.

    Attributes:
        batches: Batches that the loader makes.
        steps: Training steps that are taken apart.
        backbone_steps: Training steps of each backbone at each size.
        warm_up: Batches and steps before these, which do not count.
        least: The fewest predictions.
        most: The most predictions.
        seconds: How long to predict before there are the most.
    """

    batches: int = 8
    steps: int = 20
    backbone_steps: int = 3
    warm_up: int = 2
    least: int = 10
    most: int = 100
    seconds: float = 3.0


QUICK = Effort(batches=2, steps=2, backbone_steps=1, warm_up=1, least=2, most=2)


def median_and_spread(seconds: Sequence[float]) -> tuple[float, float]:
    """The median, and the distance of the quartiles as a share of it."""
    low, middle, high = np.quantile(seconds, (0.25, 0.5, 0.75))
    return float(middle), float((high - low) / middle) if middle > 0 else 0.0


def batch_figures(seconds: Sequence[float], images: int) -> dict[str, float]:
    """``batch_ms`` (median), ``images_per_s`` by it, and the ``spread``.

    Args:
        seconds: Of each batch.
        images: In a batch.
    """
    middle, spread = median_and_spread(seconds)
    return {"batch_ms": 1e3 * middle, "images_per_s": images / middle, "spread": spread}


def repeat(call: Callable[[], object], effort: Effort) -> list[float]:
    """Wall clock seconds of each call, after those of the warm-up."""
    for _ in range(effort.warm_up):
        call()
    found: list[float] = []
    end = time.perf_counter() + effort.seconds
    while len(found) < effort.least or (len(found) < effort.most and time.perf_counter() < end):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found


def time_reference() -> list[float]:
    """Seconds of work that no change of posenet touches: products of two matrices on the CPU."""
    matrix = torch.ones(512, 512)
    effort = Effort(warm_up=2, least=20, most=20)
    return repeat(lambda: matrix @ matrix, effort)
