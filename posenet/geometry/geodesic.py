"""The angle between two rotations, accurate from identical to opposite.

``acos((trace - 1) / 2)`` and ``2 acos(|q . p|)`` lose every digit near zero, where a trained
network works, and have an infinite slope there; clamping hides the NaN, not the error. Both
functions below take the sine from a *difference*, in which nothing cancels, and use ``atan2``,
which is accurate at both ends.
"""

import torch
from torch import Tensor


def geodesic_distance(rotation_a: Tensor, rotation_b: Tensor) -> Tensor:
    """Angle of the rotation that takes ``rotation_a`` to ``rotation_b``.

    With ``D = B - A`` the vector ``sum_k a_k x d_k`` over the columns is ``2 sin(angle)`` times the
    axis and ``2 - |D|^2 / 2`` is ``2 cos(angle)``. There is no matrix product, so autocast leaves
    the precision alone. The gradient is 0 for equal rotations and of Riemannian norm 1 elsewhere
    below pi; at exactly pi, where the distance has a ridge, it is 0.

    Args:
        rotation_a: Rotation matrices, (..., 3, 3).
        rotation_b: Rotation matrices, (..., 3, 3), broadcast against ``rotation_a``.

    Returns:
        Angles in radians in [0, pi], (...). Relative error about 3e-7 in float32.

    Raises:
        ValueError: The last two sizes are not (3, 3).

    Source: Hartley et al., Rotation Averaging, IJCV 2013, section 3, for the metric.
    """
    _require_last_sizes("rotation_a", rotation_a, (3, 3))
    _require_last_sizes("rotation_b", rotation_b, (3, 3))
    rotation_a, rotation_b = torch.broadcast_tensors(rotation_a, rotation_b)
    difference = rotation_b - rotation_a
    double_sine_axis = torch.linalg.cross(rotation_a, difference, dim=-2).sum(dim=-1)
    double_sine = torch.linalg.vector_norm(double_sine_axis, dim=-1)
    double_cosine = 2.0 - 0.5 * difference.square().sum(dim=(-2, -1))
    return torch.atan2(double_sine, double_cosine)


def quaternion_geodesic_distance(quaternion_a: Tensor, quaternion_b: Tensor) -> Tensor:
    """Angle between the rotations of two quaternions; ``q`` and ``-q`` are the same rotation.

    The result does not depend on the lengths of the quaternions, so raw network outputs need no
    normalisation first. Unit quaternions keep full *relative* accuracy (about 3e-7 in float32) down
    to the smallest angles; lengths from 1e-6 to 1e9 are good to about 3e-7 rad.

    Args:
        quaternion_a: Quaternions wxyz, (..., 4).
        quaternion_b: Quaternions wxyz, (..., 4), broadcast against ``quaternion_a``.

    Returns:
        Angles in radians in [0, pi], (...). A zero quaternion gives angle 0 and gradient 0.

    Raises:
        ValueError: The last size is not 4.

    Source: Huynh, Metrics for 3D Rotations, JMIV 2009, for the metric (there with acos).
    """
    _require_last_sizes("quaternion_a", quaternion_a, (4,))
    _require_last_sizes("quaternion_b", quaternion_b, (4,))
    dot = (quaternion_a * quaternion_b).sum(dim=-1)
    difference = quaternion_b - _nearest_multiple(quaternion_a, dot).unsqueeze(-1) * quaternion_a
    scalar, vector = quaternion_a[..., :1], quaternion_a[..., 1:]
    vector, difference_vector = torch.broadcast_tensors(vector, difference[..., 1:])
    # The imaginary part of conj(a) d; that of conj(a) a is zero, so d stands in for b exactly, and
    # the multiple of a that d lacks is a constant for the gradient.
    imaginary = (
        scalar * difference_vector
        - difference[..., :1] * vector
        - torch.linalg.cross(vector, difference_vector, dim=-1)
    )
    sine = torch.linalg.vector_norm(imaginary, dim=-1)
    cosine = torch.where(dot < 0, -dot, dot)
    # atan2(0, 0) has the gradient 0/0: a zero quaternion is given the harmless cosine 1 instead.
    degenerate = (sine == 0) & (cosine == 0)
    cosine = torch.where(degenerate, torch.ones_like(cosine), cosine)
    return 2.0 * torch.atan2(sine, cosine)


@torch.no_grad()
def _nearest_multiple(quaternion: Tensor, dot: Tensor) -> Tensor:
    """The factor of ``quaternion`` nearest to another one whose dot product with it is ``dot``.

    Exactly 1 or -1 for two of about the same length: then the difference is free of rounding.
    """
    square = quaternion.square().sum(dim=-1)
    multiple = dot / square.clamp_min(torch.finfo(square.dtype).tiny)
    return torch.where((multiple.abs() - 1.0).abs() < 0.125, multiple.sign(), multiple)


def _require_last_sizes(name: str, tensor: Tensor, sizes: tuple[int, ...]) -> None:
    if tuple(tensor.shape[-len(sizes) :]) != sizes:
        expected = ", ".join(map(str, sizes))
        raise ValueError(f"{name}: expected shape (..., {expected}), got {tuple(tensor.shape)}")
