"""Averages of rotations."""

from torch import Tensor

from posenet.geometry.rotations import project_to_rotation


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
