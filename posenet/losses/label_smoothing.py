"""Label smoothing, whose two conventions go by the same name and the same epsilon."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from posenet.losses.class_targets import checked_indices, one_hot, require_range


class SmoothingConvention(NamedTuple):
    """A row of ``SMOOTHING_CONVENTIONS``: where label smoothing puts the probability it takes.

    Attributes:
        function: ``f(epsilon, classes)``: probability of the labelled class and of each other one.
        formula: The same in words.
        note: Who uses it.
    """

    function: Callable[[float, int], tuple[float, float]]
    formula: str
    note: str


def smooth_labels(
    target: Tensor,
    classes: int,
    epsilon: float,
    convention: str = "uniform",
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Target probabilities (..., classes) of class indices (...), smoothed by ``epsilon``.

    ``others`` at ``epsilon`` is ``uniform`` at ``epsilon K / (K - 1)``: [.05, .9, .05] is 0.1 of
    the one and 0.15 of the other.

    Args:
        target: Class indices (...).
        classes: K.
        epsilon: 0 to 1.
        convention: A row of ``SMOOTHING_CONVENTIONS``.
        dtype: Type of the result; torch's default type if None.

    Raises:
        TypeError: The target is not of an integer type.
        ValueError: A class index or a setting is out of range.
    """
    target = checked_indices(target)
    if classes < 1:
        raise ValueError(f"classes: expected a positive number, got {classes}")
    require_range(target, classes, None)
    labels = one_hot(target, classes, dtype or torch.get_default_dtype())
    return smooth(labels, epsilon, convention)


def _smoothed_uniformly(epsilon: float, classes: int) -> tuple[float, float]:
    return 1.0 - epsilon + epsilon / classes, epsilon / classes


def _smoothed_over_others(epsilon: float, classes: int) -> tuple[float, float]:
    if classes == 1 and epsilon > 0.0:
        raise ValueError("smoothing: expected uniform for a single class, got others")
    return 1.0 - epsilon, epsilon / max(1, classes - 1)


SMOOTHING_CONVENTIONS: dict[str, SmoothingConvention] = {
    "uniform": SmoothingConvention(
        _smoothed_uniformly,
        "1 - eps + eps / K for the class, eps / K for each other one",
        "torch, Szegedy et al. 2016: eps is spread over all classes",
    ),
    "others": SmoothingConvention(
        _smoothed_over_others,
        "1 - eps for the class, eps / (K - 1) for each other one",
        "eps is what the class loses; the same as uniform at eps K / (K - 1)",
    ),
}


def smooth(probabilities: Tensor, epsilon: float, convention: str) -> Tensor:
    """Target probabilities (..., K), smoothed: a share of each class goes to all or the others."""
    labelled, other = smoothed_shares(epsilon, convention, probabilities.shape[-1])
    return probabilities if other == 0.0 else other + (labelled - other) * probabilities


def smoothed_shares(epsilon: float, convention: str, classes: int) -> tuple[float, float]:
    """Probability of the labelled class and of each other one."""
    if convention not in SMOOTHING_CONVENTIONS:
        names = " or ".join(SMOOTHING_CONVENTIONS)
        raise ValueError(f"smoothing: expected {names}, got {convention!r}")
    if not 0.0 <= epsilon <= 1.0:
        raise ValueError(f"label smoothing: expected a number from 0 to 1, got {epsilon}")
    return SMOOTHING_CONVENTIONS[convention].function(epsilon, classes)
