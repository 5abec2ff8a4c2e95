"""Robust losses of a residual length, all in Barron's convention.

With ``z = residual / scale`` every loss but ``l1`` is about ``z^2 / 2`` for small residuals; they
differ in how much a large one counts. The scale is in the residual's own unit: metres for
translations. The result has no unit.

Source: Barron, A General and Adaptive Robust Loss Function, CVPR 2019.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from posenet.losses.reduction import Reduction, reduce


class RobustLoss(NamedTuple):
    """A row of ``ROBUST_LOSSES``: the function, and what `posenet losses` says about it.

    Attributes:
        function: ``f(residual, scale=1.0, reduction="mean")``.
        rho: The loss as a function of ``z = residual / scale``.
        psi: Its derivative by z: how hard a residual pulls.
        weight: ``psi / z``, the weight in iteratively reweighted least squares.
        outlier: How hard a far outlier pulls.
        breakdown: Share of outliers, placed at will, from which on an estimate of location
            (fixed scale) can be carried away.
        efficient_scale: Scale in standard deviations of Gaussian noise at which an estimate of
            location has 95 % of the efficiency of the mean; None where no scale gives just that.
    """

    function: Callable[..., Tensor]
    rho: str
    psi: str
    weight: str
    outlier: str
    breakdown: str
    efficient_scale: float | None


def l2(residual: Tensor, scale: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """Half the square, ``z^2 / 2``: best for Gaussian noise; one outlier can outweigh the rest.

    Args:
        residual: Any shape.
        scale: Positive, in the unit of ``residual``.
        reduction: none, sum or mean.
    """
    z = _scaled(residual, scale)
    return reduce(0.5 * z * z, reduction)


def l1(residual: Tensor, scale: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """Magnitude, ``|z|``: every residual pulls with the same force. Arguments as for :func:`l2`."""
    return reduce(_scaled(residual, scale).abs(), reduction)


def huber(residual: Tensor, scale: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """``z^2 / 2`` up to ``|z| = 1``, then ``|z| - 1/2``. Arguments as for :func:`l2`.

    Source: Huber, Robust Estimation of a Location Parameter, 1964.
    """
    z = _scaled(residual, scale)
    return reduce(F.smooth_l1_loss(z, torch.zeros_like(z), reduction="none"), reduction)


def cauchy(residual: Tensor, scale: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """``log(1 + z^2 / 2)``: pulls hardest at ``|z| = sqrt 2``, ever less beyond. As :func:`l2`.

    SciPy's and pypose's Cauchy is ``log(1 + z^2)`` of the squared residual: theirs at scale
    ``sqrt 2 c`` is ours at ``c``.
    """
    z = _scaled(residual, scale)
    # z^2 overflows float32 at 1.8e19, where log(1 + z^2 / 2) is 2 log z - log 2 to every digit.
    large = z.abs() > 1e9
    near = torch.log1p(0.5 * torch.where(large, 0.0, z).square())
    far = 2.0 * torch.log(torch.where(large, z.abs(), 1.0)) - torch.log(z.new_tensor(2.0))
    return reduce(torch.where(large, far, near), reduction)


ROBUST_LOSSES: dict[str, RobustLoss] = {
    "l2": RobustLoss(l2, "z^2 / 2", "z", "1", "grows with it", "0", None),
    "l1": RobustLoss(l1, "|z|", "sign z", "1 / |z|", "constant", "1/2", None),
    "huber": RobustLoss(
        huber,
        "z^2 / 2 to |z| = 1, then |z| - 1/2",
        "z to |z| = 1, then sign z",
        "1 to |z| = 1, then 1 / |z|",
        "constant",
        "1/2",
        1.344998,
    ),
    "cauchy": RobustLoss(
        cauchy,
        "log(1 + z^2 / 2)",
        "z / (1 + z^2 / 2)",
        "1 / (1 + z^2 / 2)",
        "falls as 2 / z",
        "1/2",
        1.686412,
    ),
}


def _scaled(residual: Tensor, scale: float) -> Tensor:
    if not scale > 0:
        raise ValueError(f"scale: expected a positive number, got {scale}")
    return residual / scale
