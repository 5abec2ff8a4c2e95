"""Likelihoods of errors under a predicted scale: what teaches a network how sure it is.

A network that predicts a scale ``b`` beside each pose is asked for the density of the truth. Both
densities fall exponentially with the distance of the truth from the prediction, as the losses that
train the pose (the angle, and the length of the residual) do:

    rotation      p(R) = exp(-theta / b) / Z(b)          by the uniform measure on SO(3)
    translation   p(t) = exp(-r / b) / (8 pi b^3)        by volume

with the angle ``theta`` and the distance ``r`` between truth and prediction. Without its
normalisation a scale would grow without end: every error looks small beside a huge one. The
uniform measure gives an angle the weight ``(1 - cos theta) / pi``, so that

    Z(b) = (1 / pi) integral_0^pi (1 - cos theta) exp(-theta / b) d theta
         = (1 - E (1 + 2 a^2)) / (pi a (1 + a^2)),   a = 1 / b,  E = exp(-pi a)

which is about ``b^3 / pi`` for small scales, where SO(3) is flat, and 1 for large ones, where the
density is uniform. Both likelihoods are strictly proper: on average over errors of scale ``b`` no
other scale costs less. The best single scale of many errors is a third of their mean (rotations:
while it is small).
"""

import math

import torch
from torch import Tensor

from posenet.losses.elementwise import at_least_float32
from posenet.losses.reduction import Reduction, reduce

_LOG_8_PI = math.log(8.0 * math.pi)


def rotation_laplace_nll(angle: Tensor, log_scale: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Negative log-likelihood of a rotation at an angle from the predicted one.

    Args:
        angle: Angles between true and predicted rotations in radians, in [0, pi], any shape.
        log_scale: Logarithms of the scales in radians, of a shape that broadcasts. From -40 to 40;
            beyond, the result leaves float32.
        reduction: none, sum or mean.

    Returns:
        ``theta / b + log Z(b)`` in the broadcast shape, or reduced. Negative for a sharp and right
        prediction: it is a density. Accurate to 1e-6 (absolute, or relative where larger) in
        float32.

    Raises:
        TypeError: An argument is not floating point.
        ValueError: The reduction has another name.

    Source: the maximum-entropy density on SO(3) with a given mean angle. Its normalisation is
    ours; the measure is in Hartley et al., Rotation Averaging, IJCV 2013, section 5.
    """
    angle, log_scale = at_least_float32(angle), at_least_float32(log_scale)
    values = angle * torch.exp(-log_scale) + log_rotation_partition(log_scale)
    return reduce(values, reduction)


def translation_laplace_nll(
    distance: Tensor, log_scale: Tensor, reduction: Reduction = "mean"
) -> Tensor:
    """Negative log-likelihood of a camera centre at a distance from the predicted one.

    The density is the same in all directions, so that it does not depend on the world's axes. (A
    Laplace density in each coordinate would.)

    Args:
        distance: Distances of true and predicted camera centres in metres, any shape.
        log_scale: Logarithms of the scales in metres, of a shape that broadcasts.
        reduction: none, sum or mean.

    Returns:
        ``r / b + 3 log b + log 8 pi`` in the broadcast shape, or reduced.

    Raises:
        TypeError: An argument is not floating point.
        ValueError: The reduction has another name.

    Source: the multivariate exponential power distribution with exponent 1/2 in three dimensions,
    Gomez, Gomez-Villegas and Marin, Communications in Statistics 27(3), 1998.
    """
    distance, log_scale = at_least_float32(distance), at_least_float32(log_scale)
    return reduce(distance * torch.exp(-log_scale) + 3.0 * log_scale + _LOG_8_PI, reduction)


def log_rotation_partition(log_scale: Tensor) -> Tensor:
    """``log Z(b)`` of :func:`rotation_laplace_nll`, without overflow or cancellation.

    Args:
        log_scale: ``log b``, b in radians, any shape.

    Returns:
        The logarithms, in the same shape; 0 for large b, ``log(b^3 / pi)`` for small ones.
    """
    inverse = torch.exp(-log_scale)
    # The two terms have unlike signs but never nearly the same size.
    tail = torch.exp(-2.0 * log_scale - math.pi * inverse)
    log_numerator = torch.log(-torch.expm1(-math.pi * inverse) - 2.0 * tail)
    # log(1 + a^2) of an a whose square may leave the range of float32.
    log_denominator = torch.logaddexp(torch.zeros_like(log_scale), -2.0 * log_scale)
    return log_numerator - math.log(math.pi) + log_scale - log_denominator
