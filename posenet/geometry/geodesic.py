"""Distances between rotations, accurate from identical to opposite.

``acos((trace - 1) / 2)`` and ``2 acos(|q . p|)`` lose every digit near zero, where a trained
network works, and have an infinite slope there; clamping hides the NaN, not the error. The
functions below take what is small from a *difference*, in which nothing cancels, and angles from
``atan2``, which is accurate at both ends.
"""

import torch
from torch import Tensor

from posenet.geometry.angles import matrix_angle, quaternion_angle


def geodesic_distance(rotation_a: Tensor, rotation_b: Tensor, exact_at_pi: bool = False) -> Tensor:
    """Angle of the rotation that takes ``rotation_a`` to ``rotation_b``.

    With ``D = B - A`` the vector ``sum_k a_k x d_k`` over the columns is ``2 sin(angle)`` times the
    axis and ``2 - |D|^2 / 2`` is ``2 cos(angle)``. There is no matrix product, so autocast leaves
    the precision alone. The gradient is 0 for equal rotations and of Riemannian norm 1 elsewhere
    below pi; at exactly pi, where the distance has a ridge, it is 0 unless ``exact_at_pi``.

    Args:
        rotation_a: Rotation matrices, (..., 3, 3). Half precision is computed in float32.
        rotation_b: Rotation matrices, (..., 3, 3), broadcast against ``rotation_a``.
        exact_at_pi: Take the axis near pi from the symmetric part of the relative rotation, which
            does not vanish there: the gradient has norm 1 up to and at pi. Slower.

    Returns:
        Angles in radians in [0, pi], (...). The relative error is at most 3e-7 in float32.

    Raises:
        TypeError: A tensor is not floating point.
        ValueError: The last two sizes are not (3, 3), or the others do not broadcast.

    Source: Hartley et al., Rotation Averaging, IJCV 2013, section 3, for the metric.
    """
    a, b = matching_pair("rotation_a", rotation_a, "rotation_b", rotation_b, (3, 3))
    return matrix_angle(a, b, exact_at_pi)


def quaternion_geodesic_distance(quaternion_a: Tensor, quaternion_b: Tensor) -> Tensor:
    """Angle between the rotations of two quaternions; ``q`` and ``-q`` are the same rotation.

    With ``w`` the part of ``b`` that is perpendicular to ``a``, the angle is
    ``2 atan2(|a| |w|, |a . b|)``, whatever the lengths: raw network outputs need no normalisation
    first. In float32 unit quaternions are good to a *relative* error of 3e-7 down to the smallest
    angles, and lengths from 1e-6 to 1e9 to 3e-7 rad for angles up to 1 rad and to a relative error
    of 3e-7 above, where the spacing of float32 alone grows to 2.4e-7 rad. A quaternion shorter than
    1e-19 counts as zero.

    Args:
        quaternion_a: Quaternions wxyz, (..., 4). Half precision is computed in float32.
        quaternion_b: Quaternions wxyz, (..., 4), broadcast against ``quaternion_a``.

    Returns:
        Angles in radians in [0, pi], (...). The gradient is 0 for equal rotations and for a zero
        quaternion (angle 0), and of Riemannian norm 1 elsewhere, at pi too.

    Raises:
        TypeError: A tensor is not floating point.
        ValueError: The last size is not 4, or the others do not broadcast.

    Source: Huynh, Metrics for 3D Rotations, JMIV 2009, for the metric (there with acos).
    """
    a, b = matching_pair("quaternion_a", quaternion_a, "quaternion_b", quaternion_b, (4,))
    return quaternion_angle(a, b)


def chordal_distance(rotation_a: Tensor, rotation_b: Tensor) -> Tensor:
    """Frobenius norm of the difference, ``2 sqrt(2) sin(angle / 2)`` of two rotations.

    The gradient is 0 for equal rotations and fades towards pi.

    Args:
        rotation_a: Rotation matrices, (..., 3, 3). Half precision is computed in float32.
        rotation_b: Rotation matrices, (..., 3, 3), broadcast against ``rotation_a``.

    Returns:
        Distances without unit in [0, 2 sqrt(2)], (...).

    Raises:
        TypeError: A tensor is not floating point.
        ValueError: The last two sizes are not (3, 3), or the others do not broadcast.

    Source: Hartley et al., Rotation Averaging, IJCV 2013.
    """
    a, b = matching_pair("rotation_a", rotation_a, "rotation_b", rotation_b, (3, 3))
    return torch.linalg.vector_norm(a - b, dim=(-2, -1))


def quaternion_distance(quaternion_a: Tensor, quaternion_b: Tensor) -> Tensor:
    """``min(|p - q|, |p + q|)`` of two quaternions made unit, ``2 sin(angle / 4)``.

    It is taken from the angle, which is accurate for every angle and every length.

    Args:
        quaternion_a: Quaternions wxyz, (..., 4). Half precision is computed in float32.
        quaternion_b: Quaternions wxyz, (..., 4), broadcast against ``quaternion_a``.

    Returns:
        Distances without unit in [0, sqrt(2)], (...). A zero quaternion is at distance 0.

    Raises:
        TypeError: A tensor is not floating point.
        ValueError: The last size is not 4, or the others do not broadcast.

    Source: Hartley et al., Rotation Averaging, IJCV 2013.
    """
    return 2.0 * torch.sin(0.25 * quaternion_geodesic_distance(quaternion_a, quaternion_b))


def matching_pair(
    name_a: str,
    a: Tensor,
    name_b: str,
    b: Tensor,
    sizes: tuple[int, ...],
    broadcast: bool = True,
) -> tuple[Tensor, Tensor]:
    """Two tensors that end in ``sizes``, of the same shape and of one dtype of at least float32.

    Raises:
        TypeError: A tensor is not floating point.
        ValueError: A tensor has other last sizes, or the batch shapes do not match.
    """
    count = len(sizes)
    for name, tensor in ((name_a, a), (name_b, b)):
        if tensor.shape[-count:] != sizes:
            expected = ", ".join(map(str, sizes))
            raise ValueError(f"{name}: expected shape (..., {expected}), got {tuple(tensor.shape)}")
        if not tensor.is_floating_point():
            found = str(tensor.dtype).removeprefix("torch.")
            raise TypeError(f"{name}: expected floating point, got {found}")
    if a.dtype != b.dtype or a.dtype in (torch.float16, torch.bfloat16):
        dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
        a, b = a.to(dtype), b.to(dtype)
    if a.shape == b.shape:
        return a, b
    names, shapes = f"{name_a}, {name_b}", f"{tuple(a.shape)} and {tuple(b.shape)}"
    if not broadcast:
        raise ValueError(f"{names}: expected the same shape, got {shapes}")
    try:
        a, b = torch.broadcast_tensors(a, b)
    except RuntimeError as error:
        raise ValueError(f"{names}: expected shapes that broadcast, got {shapes}") from error
    return a, b
