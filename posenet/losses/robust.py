"""Robust losses of a residual length, all in Barron's convention.

With ``z = residual / scale`` every loss but ``l1`` is about ``z^2 / 2`` for small residuals; they
differ in how much a large one counts. The scale is in the residual's own unit: metres for
translations. The result has no unit.

Source: Barron, A General and Adaptive Robust Loss Function, CVPR 2019.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["none", "sum", "mean"]


def l2(residual: Tensor, scale: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """Half the square, ``z^2 / 2``: best for Gaussian noise; one outlier can outweigh the rest.

    Args:
        residual: Any shape.
        scale: Positive, in the unit of ``residual``.
        reduction: none, sum or mean.
    """
    z = _scaled(residual, scale)
    return _reduce(0.5 * z * z, reduction)


def l1(residual: Tensor, scale: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """Magnitude, ``|z|``: every residual pulls with the same force. Arguments as for :func:`l2`."""
    return _reduce(_scaled(residual, scale).abs(), reduction)


def huber(residual: Tensor, scale: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """``z^2 / 2`` up to ``|z| = 1``, then ``|z| - 1/2``. Arguments as for :func:`l2`.

    Source: Huber, Robust Estimation of a Location Parameter, 1964.
    """
    z = _scaled(residual, scale)
    return _reduce(F.smooth_l1_loss(z, torch.zeros_like(z), reduction="none"), reduction)


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
    return _reduce(torch.where(large, far, near), reduction)


ROBUST_LOSSES: dict[str, Callable[..., Tensor]] = {
    "l2": l2,
    "l1": l1,
    "huber": huber,
    "cauchy": cauchy,
}


def _scaled(residual: Tensor, scale: float) -> Tensor:
    if not scale > 0:
        raise ValueError(f"scale: expected a positive number, got {scale}")
    return residual / scale


def _reduce(loss: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        return loss.mean()
    raise ValueError(f"reduction: expected none, sum or mean, got {reduction!r}")
