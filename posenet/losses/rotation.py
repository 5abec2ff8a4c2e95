"""Losses on rotations: the geodesic angle, and the L2 losses it is contrasted with.

With ``theta`` the angle between prediction and target in radians, all of them are increasing
functions of ``theta`` alone. What tells them apart in training is the slope: the angle pulls alike
from everywhere, the others pull less the further a prediction is off.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from posenet.geometry import chordal_distance, geodesic_distance, quaternion_geodesic_distance
from posenet.geometry.geodesic import matching_pair
from posenet.losses.reduction import Reduction, reduce


class RotationLoss(NamedTuple):
    """A row of ``ROTATION_LOSSES``: the function, and what `posenet losses` says about it.

    Attributes:
        function: ``f(rotation, target, reduction="mean")`` of matrices (..., 3, 3), which every
            representation is turned into: what is compared is then the loss alone.
        formula: The loss as a function of the angle ``theta`` in radians.
        derivative: Its derivative by theta: how hard an error pulls.
        identical: How hard it pulls near a perfect match. At the match itself nothing does.
        opposite: How hard it pulls near theta = pi, the largest error there is. At pi itself, where
            every way round is as short, matrices are not pulled.
    """

    function: Callable[..., Tensor]
    formula: str
    derivative: str
    identical: str
    opposite: str


def geodesic_loss(rotation: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Angle between two rotations, ``theta``: the only one with an equal pull at every error.

    Args:
        rotation: Predicted rotation matrices, (..., 3, 3).
        target: True rotation matrices, of the same shape.
        reduction: none, sum or mean.

    Returns:
        Radians, a scalar, or (...) without a reduction.

    Raises:
        TypeError: A tensor is not floating point.
        ValueError: A shape does not end in (3, 3), the shapes differ, or the reduction is unknown.

    Source: Mahendran et al., 3D Pose Regression using CNNs, ICCVW 2017, for its use as a loss.
    """
    rotation, target = _same_shape("rotation", rotation, target, (3, 3))
    return reduce(geodesic_distance(rotation, target), reduction)


def quaternion_geodesic_loss(
    quaternion: Tensor, target: Tensor, reduction: Reduction = "mean"
) -> Tensor:
    """Angle between two rotations given as quaternions: ``q`` and ``-q`` cost the same.

    Args:
        quaternion: Predicted quaternions wxyz of any length, (..., 4): no need to normalise them.
        target: True quaternions wxyz of any length, of the same shape.
        reduction: none, sum or mean.

    Returns:
        Radians, a scalar, or (...) without a reduction.

    Raises:
        TypeError: A tensor is not floating point.
        ValueError: A shape does not end in (4,), the shapes differ, or the reduction is unknown.
    """
    quaternion, target = _same_shape("quaternion", quaternion, target, (4,))
    return reduce(quaternion_geodesic_distance(quaternion, target), reduction)


def chordal_loss(rotation: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Frobenius norm of the difference, ``2 sqrt(2) sin(theta / 2)``. As :func:`geodesic_loss`.

    The straight line between two matrices, through the space around the rotations.

    Source: Hartley et al., Rotation Averaging, IJCV 2013.
    """
    rotation, target = _same_shape("rotation", rotation, target, (3, 3))
    return reduce(chordal_distance(rotation, target), reduction)


def chordal_squared_loss(rotation: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Sum of squared differences, ``8 sin(theta / 2)^2``. As :func:`geodesic_loss`.

    This is the plain L2 loss on matrices; torch's ``mse_loss`` is a ninth of it.
    """
    rotation, target = _same_shape("rotation", rotation, target, (3, 3))
    return reduce((rotation - target).square().sum(dim=(-2, -1)), reduction)


def quaternion_l2_loss(rotation: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """L2 distance of the nearer two unit quaternions of two *matrices*. As :func:`geodesic_loss`.

    It is ``2 sin(theta / 4)``, and taken from the angle: a conversion to quaternions has no part in
    it. :func:`posenet.geometry.quaternion_distance` is the same of quaternions.

    Source: Hartley et al., Rotation Averaging, IJCV 2013.
    """
    rotation, target = _same_shape("rotation", rotation, target, (3, 3))
    return reduce(2.0 * torch.sin(0.25 * geodesic_distance(rotation, target)), reduction)


ROTATION_LOSSES: dict[str, RotationLoss] = {
    "geodesic": RotationLoss(geodesic_loss, "theta", "1", "constant", "constant"),
    "chordal": RotationLoss(
        chordal_loss, "2 sqrt(2) sin(theta / 2)", "sqrt(2) cos(theta / 2)", "constant", "fades to 0"
    ),
    "chordal_squared": RotationLoss(
        chordal_squared_loss, "8 sin(theta / 2)^2", "4 sin(theta)", "fades to 0", "fades to 0"
    ),
    "quaternion_l2": RotationLoss(
        quaternion_l2_loss, "2 sin(theta / 4)", "cos(theta / 4) / 2", "constant", "falls by 29 %"
    ),
}


def _same_shape(
    name: str, value: Tensor, target: Tensor, sizes: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    # Distances broadcast. In a loss, (B,) against (B, 1) is a slip that would train on B^2 pairs.
    return matching_pair(name, value, "target", target, sizes, broadcast=False)
