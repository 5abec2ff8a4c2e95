"""Targets of a viewpoint classification, from the distances of a pose to the bins."""

import torch
from torch import Tensor

from posenet.config import LossConfig
from posenet.losses.label_smoothing import smooth_labels


def viewpoint_targets(squared_distances: Tensor, config: LossConfig) -> Tensor:
    """Probability that each bin should get.

    ``none`` is 1 for the nearest bin. ``uniform`` and ``others`` spread ``label_smoothing`` over
    all bins, or the others. ``geodesic`` is ``P_k ~ exp(-d_k^2 / 2 w^2)``: a pose between two bins
    belongs to both, and mistaking a bin for its neighbour costs less than for a far one.

    Args:
        squared_distances: Of poses to bins, in units of the bins' spread, (..., K).
        config: ``viewpoint_smoothing``, and what it needs.

    Returns:
        Probabilities (..., K).
    """
    if config.viewpoint_smoothing == "geodesic":
        return torch.softmax(-0.5 * squared_distances / config.smoothing_width**2, dim=-1)
    nearest = squared_distances.argmin(dim=-1)
    epsilon, convention = 0.0, "uniform"
    if config.viewpoint_smoothing != "none":
        epsilon, convention = config.label_smoothing, config.viewpoint_smoothing
    classes = squared_distances.shape[-1]
    return smooth_labels(nearest, classes, epsilon, convention, squared_distances.dtype)
