"""Averages of rotations."""

import torch
from torch import Tensor

from posenet.geometry.rotations import (
    project_to_rotation,
    rotation_from_rotvec,
    rotation_to_rotvec,
)


def mean_rotation(rotation: Tensor, weight: Tensor | None = None) -> Tensor:
    """Chordal mean: the rotation with the least sum of squared Frobenius distances.

    It needs no start and no iteration, and q/-q ambiguity cannot arise.

    Args:
        rotation: (..., N, 3, 3).
        weight: Non-negative weights, (..., N); equal when omitted.

    Returns:
        Rotation matrices, (..., 3, 3).

    Source: Hartley et al., Rotation Averaging, IJCV 2013, section 5.3.
    """
    if weight is not None:
        rotation = rotation * weight[..., None, None]
    return project_to_rotation(rotation.sum(dim=-3))


def geodesic_mean(rotation: Tensor, sweeps: int = 100) -> Tensor:
    """Karcher mean: the rotation with the least sum of squared angles, nearest the chordal mean.

    Unlike the chordal mean it is the mean of the geodesic metric. It is unique for rotations that
    lie within 90 degrees of one.

    Args:
        rotation: (..., N, 3, 3).
        sweeps: Most steps of the descent; fewer where it has come to rest.

    Returns:
        Rotation matrices, (..., 3, 3).

    Source: Hartley et al., Rotation Averaging, IJCV 2013, section 5.2.
    """
    mean = mean_rotation(rotation)
    rest = 4.0 * torch.finfo(rotation.dtype).eps
    for _ in range(sweeps):
        step = rotation_to_rotvec(mean.unsqueeze(-3).mT @ rotation).mean(dim=-2)
        mean = mean @ rotation_from_rotvec(step)
        if not (step.abs() > rest).any():
            break
    return project_to_rotation(mean)
