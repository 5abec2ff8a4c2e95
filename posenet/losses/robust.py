"""Robust losses of a residual, all in Barron's convention, and the table that compares them.

Every loss is ``f(residual, scale=1.0, reduction="mean")``, a function ``rho`` of
``z = residual / scale``. The scale ``c`` is in the residual's own unit, metres for translations;
the result has none. All but ``l1`` are about ``z^2 / 2`` for small residuals; they differ in how
much a large one counts. ``psi`` is the derivative of ``rho`` by ``z``: how hard a residual pulls;
``psi / z`` is its weight in iteratively reweighted least squares. ``smooth_l1`` is the exception:
it is ``c rho(z)``, in the unit of the residual.

A pull by the residual is ``psi / c``. Where residuals are Gaussian with standard deviation
``sigma``, the scale named as *95 % efficient* times ``sigma`` makes an estimate of location as good
as the mean of 95 % as many samples; a smaller scale is more robust and less efficient.

What does not depend on the loss:

- ``residual``: floating point, any shape. float16 and bfloat16 are computed in float32 and
  returned as float32. Other types raise ``TypeError``.
- ``scale``: a number that is positive and finite in the residual's type, else ``ValueError``; or a
  tensor that broadcasts with the residual, learned if it requires a gradient. A tensor's values are
  not looked at: that would wait for a GPU and break ``torch.compile``. Anything else raises
  ``TypeError``.
- ``reduction``: none, sum or mean, else ``ValueError``.
- A NaN stays NaN in its own element, loss and gradient alike; nothing is masked, the caller is to
  know. An infinite residual gives the limits of ``rho`` and ``psi``, never NaN: infinity, or the
  bound of a bounded loss. It leaves a learned scale alone: its part of that gradient is 0.

Source: Barron, A General and Adaptive Robust Loss Function, CVPR 2019; Zhang, Parameter Estimation
Techniques: A Tutorial with Application to Conic Fitting, Image and Vision Computing 15, 1997.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from posenet.losses.adaptive import general
from posenet.losses.elementwise import at_least_float32, check_number, elementwise, standardize
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
            (fixed scale) can be carried away. Source: Huber, Finite Sample Breakdown of M- and
            P-Estimators, Annals of Statistics 12, 1984.
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


def l2(residual: Tensor, scale: float | Tensor = 1.0, reduction: Reduction = "mean") -> Tensor:
    """Half the square: best for Gaussian noise; one outlier can outweigh all the rest.

    - rho: ``z^2 / 2``; psi: ``z``; weight: ``1``
    - scale: a mere factor. At 0.1 m an error of 0.3 m costs 4.5.
    - 95 % efficient: at no scale; it is the mean itself, 100 %.
    - elsewhere: torch's ``mse_loss`` is twice this at scale 1.

    The value alone overflows, to infinity, for ``z`` above the root of the largest number, 1.8e19
    in float32.

    Args:
        residual: Floating point, any shape.
        scale: Positive number or tensor, in the unit of ``residual``.
        reduction: none, sum or mean.

    Raises:
        TypeError: The residual is not floating point, or the scale no number or tensor.
        ValueError: The scale is a number that is not positive and finite, or the reduction has
            another name.
    """
    return reduce(elementwise(standardize(residual, scale), _l2_rho, _l2_psi), reduction)


def _l2_rho(z: Tensor) -> Tensor:
    return (0.5 * z).mul_(z)


def _l2_psi(z: Tensor) -> Tensor:
    return z


def l1(residual: Tensor, scale: float | Tensor = 1.0, reduction: Reduction = "mean") -> Tensor:
    """Magnitude: every residual pulls with the same force, so that the median comes out.

    - rho: ``|z|``; psi: ``sign z``; weight: ``1 / |z|``
    - scale: a mere factor. At 0.1 m an error of 0.3 m costs 3.
    - 95 % efficient: at no scale; the median has 64 %.
    - elsewhere: torch's ``l1_loss`` (MAE) is this at scale 1.

    The loss is continuous; its derivative jumps at zero, where it is taken as 0. There is no zone
    of tolerance around zero: that is the epsilon-insensitive loss of support vector regression.

    Arguments and errors as for :func:`l2`.
    """
    return reduce(elementwise(standardize(residual, scale), torch.abs, _l1_psi), reduction)


def _l1_psi(z: Tensor) -> Tensor:
    return torch.where(z.isnan(), z, z.sign())  # torch's sign of NaN is 0


def huber(residual: Tensor, scale: float | Tensor = 1.0, reduction: Reduction = "mean") -> Tensor:
    """Square near zero, magnitude beyond: outliers pull with a constant force.

    - rho: ``z^2 / 2 to |z| = 1, then |z| - 1/2``
    - psi: ``z to |z| = 1, then sign z``
    - weight: ``1 to |z| = 1, then 1 / |z|``
    - scale: where the square ends. At 0.1 m an error of 0.3 m pulls as one of 0.1 m.
    - 95 % efficient: 1.344998 standard deviations.
    - elsewhere: torch's ``huber_loss(delta=c)`` is ``c^2`` times this, its
      ``smooth_l1_loss(beta=c)`` ``c`` times this, so that
      ``huber(delta) = delta * smooth_l1(beta=delta)``: the two are equal at 1 only. scipy's
      ``huber`` costs ``c^2`` times this at ``f_scale=c``. Zhang's constant is ours.

    Arguments and errors as for :func:`l2`.

    Source: Huber, Robust Estimation of a Location Parameter, Annals of Mathematical Statistics 35,
    1964.
    """
    return reduce(elementwise(standardize(residual, scale), _huber_rho, _huber_psi), reduction)


def _huber_rho(z: Tensor) -> Tensor:
    near = z.clamp(-1.0, 1.0)
    return torch.add(z, near, alpha=-0.5).mul_(near)


def _huber_psi(z: Tensor) -> Tensor:
    return z.clamp(-1.0, 1.0)


def smooth_l1(
    residual: Tensor, scale: float | Tensor = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """Huber's loss in the unit of the residual: ``c huber(residual / c)``, slope 1 for outliers.

    The only loss here that has a unit, metres for translations. It is ``l1`` with the corner
    rounded off; the larger the scale ``c``, the wider.

    - rho: ``c z^2 / 2 to |z| = 1, then c (|z| - 1/2)``
    - psi: ``c z to |z| = 1, then c sign z``
    - weight: ``c to |z| = 1, then c / |z|``
    - scale: where the square ends. At 0.1 m an error of 0.3 m costs 0.25 m.
    - 95 % efficient: 1.344998 standard deviations, as Huber's.
    - elsewhere: torch's ``smooth_l1_loss(beta=c)`` is this; its ``huber_loss(delta=c)`` is ``c``
      times this.

    Arguments and errors as for :func:`l2`.

    Source: Girshick, Fast R-CNN, ICCV 2015.
    """
    near = standardize(residual, scale).clamp(-1.0, 1.0)
    residual = at_least_float32(residual)
    if isinstance(scale, Tensor):
        scale = torch.where(residual.isinf(), scale.detach(), scale)
    # In c huber(z) the derivative by c would be a difference of two large numbers.
    return reduce(near * (residual - 0.5 * scale * near), reduction)


def pseudo_huber(
    residual: Tensor, scale: float | Tensor = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """Huber's loss without the joint (Charbonnier): outliers pull with a force that tends to 1.

    - rho: ``sqrt(1 + z^2) - 1``; psi: ``z / sqrt(1 + z^2)``; weight: ``1 / sqrt(1 + z^2)``
    - scale: where the pull is 71 % of its limit. At 0.1 m an error of 0.3 m pulls with 95 %.
    - 95 % efficient: 1.287099 standard deviations.
    - elsewhere: kornia's ``charbonnier_loss`` is this at scale 1; scipy's ``soft_l1`` costs ``c^2``
      times this at ``f_scale=c``.

    Arguments and errors as for :func:`l2`.

    Source: Charbonnier et al., Two Deterministic Half-Quadratic Regularization Algorithms for
    Computed Imaging, ICIP 1994.
    """
    z = standardize(residual, scale)
    return reduce(elementwise(z, _pseudo_huber_rho, _pseudo_huber_psi), reduction)


def _pseudo_huber_rho(z: Tensor) -> Tensor:
    # z (z / (1 + root)): nothing cancels, and only the root needs z^2 to be finite.
    near = _square_fits(z)
    root = torch.addcmul(z.new_ones(()), near, near).sqrt_()
    return near.div_(root.add_(1.0)).mul_(z)


def _pseudo_huber_psi(z: Tensor) -> Tensor:
    near = _square_fits(z)
    return near / torch.addcmul(z.new_ones(()), near, near).sqrt_()


def cauchy(residual: Tensor, scale: float | Tensor = 1.0, reduction: Reduction = "mean") -> Tensor:
    """Logarithm of the square: pulls hardest at ``|z| = sqrt 2``, ever less beyond.

    - rho: ``log(1 + z^2 / 2)``; psi: ``z / (1 + z^2 / 2)``; weight: ``1 / (1 + z^2 / 2)``
    - scale: 0.71 of the residual that pulls hardest. At 0.1 m that is 0.14 m; 1 m pulls as 0.02 m.
    - 95 % efficient: 1.686412 standard deviations.
    - elsewhere: kornia's ``cauchy_loss`` is this at scale 1. scipy and pypose take the square
      without the half, ``log(1 + z^2)``: 2.302585 at ``z = 3`` where this is 1.704748. Their
      constant is ``sqrt 2`` times ours, and so is Zhang's: 2.3849 for 95 %.

    Arguments and errors as for :func:`l2`.

    Source: Black and Anandan, The Robust Estimation of Multiple Motions, CVIU 63, 1996.
    """
    z = standardize(residual, scale)
    return reduce(elementwise(z, _cauchy_rho, _cauchy_psi, _cauchy_curvature), reduction)


def _cauchy_rho(z: Tensor) -> Tensor:
    # 2 log1p(sqrt(1 + z^2 / 2) - 1), the inner part as in pseudo-Huber: finite where z^2 is not.
    near = _square_fits(z)
    # On a CPU these two together take half the time of sqrt.
    root = torch.addcmul(z.new_full((), 4.0), near, near, value=2.0).pow_(-0.5).reciprocal_()
    return near.div_(root.add_(2.0)).mul_(z).log1p_().mul_(2.0)


def _cauchy_psi(z: Tensor) -> Tensor:
    # 1 / (1 / z + z / 2): right at 0 and at infinity, too, and quick; but its autograd is not.
    return z.reciprocal().add_(z, alpha=0.5).reciprocal_()


def _cauchy_curvature(z: Tensor) -> Tensor:
    weight = torch.addcmul(z.new_ones(()), z, z, value=0.5).reciprocal()
    return weight * (2.0 * weight - 1.0)


def geman_mcclure(
    residual: Tensor, scale: float | Tensor = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """A square that levels off at 2: far outliers do not count at all.

    - rho: ``2 z^2 / (z^2 + 4)``; psi: ``16 z / (z^2 + 4)^2``; weight: ``16 / (z^2 + 4)^2``
    - scale: 0.87 of the residual that pulls hardest. At 0.1 m that is 0.12 m; 1 m pulls as 0.001 m.
    - 95 % efficient: 1.893709 standard deviations.
    - elsewhere: kornia's ``geman_mcclure_loss`` is this at scale 1. Zhang's ``x^2 / 2 / (1 + x^2)``
      with ``x = residual / k`` has ``k`` twice our scale: 3.7874 for 95 %.

    Arguments and errors as for :func:`l2`.

    Source: Geman and McClure, Bayesian Image Analysis: An Application to Single Photon Emission
    Tomography, 1985.
    """
    z = standardize(residual, scale)
    return reduce(elementwise(z, _geman_mcclure_rho, _geman_mcclure_psi), reduction)


def _geman_mcclure_rho(z: Tensor) -> Tensor:
    # 1 / (1/2 + 2 / z^2): right at 0 and at infinity, too.
    return z.square().reciprocal_().mul_(2.0).add_(0.5).reciprocal_()


def _geman_mcclure_psi(z: Tensor) -> Tensor:
    near = _square_fits(z)
    quarter = torch.addcmul(z.new_ones(()), near, near, value=0.25)  # 1 + z^2 / 4
    return (near / quarter).div_(quarter)


def welsch(residual: Tensor, scale: float | Tensor = 1.0, reduction: Reduction = "mean") -> Tensor:
    """An upturned Gaussian that levels off at 1 (Leclerc): far outliers do not count at all.

    - rho: ``1 - exp(-z^2 / 2)``; psi: ``z exp(-z^2 / 2)``; weight: ``exp(-z^2 / 2)``
    - scale: the residual that pulls hardest. At 0.1 m errors from 0.5 m on have no pull left.
    - 95 % efficient: 2.110457 standard deviations.
    - elsewhere: kornia's ``welsch_loss`` is this at scale 1. Zhang's constant is ``sqrt 2`` times
      ours: 2.9846 for 95 %.

    Arguments and errors as for :func:`l2`.

    Source: Dennis and Welsch, Techniques for Nonlinear Least Squares and Robust Regression,
    Communications in Statistics 7, 1978; Leclerc, Constructing Simple Stable Descriptions for Image
    Partitioning, IJCV 3, 1989.
    """
    return reduce(elementwise(standardize(residual, scale), _welsch_rho, _welsch_psi), reduction)


def _welsch_rho(z: Tensor) -> Tensor:
    return z.square().mul_(-0.5).expm1_().neg_()


def _welsch_psi(z: Tensor) -> Tensor:
    near = z.clamp(-64.0, 64.0)  # infinity times exp(-infinity) would be NaN; here it is 0 already
    return near.square().mul_(-0.5).exp_() * near


def general_robust(
    residual: Tensor,
    scale: float | Tensor = 1.0,
    reduction: Reduction = "mean",
    *,
    alpha: float | Tensor = 1.0,
) -> Tensor:
    """Barron's general loss: one shape parameter from L2 (2) to Welsch (minus infinity).

    - rho: ``(b / alpha) ((z^2 / b + 1)^(alpha / 2) - 1), b = |alpha - 2|``
    - psi: ``z (z^2 / b + 1)^(alpha / 2 - 1), b = |alpha - 2|``
    - weight: ``(z^2 / b + 1)^(alpha / 2 - 1), b = |alpha - 2|``
    - alpha: at 2 this is :func:`l2`, at 1 :func:`pseudo_huber`, at 0 :func:`cauchy`, at -2
      :func:`geman_mcclure`, at minus infinity :func:`welsch`; above 2 outliers count more than
      their square, at infinity it is ``exp(z^2 / 2) - 1``.
    - scale: about where the square ends, for every alpha.
    - 95 % efficient: the scale depends on alpha.
    - elsewhere: ``robust_loss_pytorch.general.lossfun``.

    The value overflows, to infinity, for large ``z`` where ``alpha > 1``. The derivative by alpha
    is infinite at 2; within 1e-7 of it the one at that distance is given. Unless alpha is one of
    the numbers -inf, -2, 0, 1 and 2, the loss is computed in float64, which Apple's MPS does not
    have, and an infinite residual pulls as one of 1e140.

    Args:
        residual: Floating point, any shape.
        scale: Positive number or tensor, in the unit of ``residual``.
        reduction: none, sum or mean.
        alpha: Number or tensor that broadcasts with the residual, from -inf to inf. A tensor may
            be learned, see :class:`AdaptiveRobustLoss`.

    Raises:
        TypeError: The residual is not floating point, or scale or alpha no number or tensor.
        ValueError: The scale is a number that is not positive and finite, alpha is NaN, or the
            reduction has another name.

    Source: Barron, A General and Adaptive Robust Loss Function, CVPR 2019, equation 8.
    """
    if not isinstance(alpha, Tensor):
        check_number("alpha", alpha)
        if alpha in _BY_ALPHA:
            return _BY_ALPHA[alpha](residual, scale, reduction)
        if not -math.inf <= alpha <= math.inf:
            raise ValueError(f"alpha: expected a number from -inf to inf, got {alpha}")
    return reduce(general(standardize(residual, scale), alpha), reduction)


_BY_ALPHA: dict[float, Callable[..., Tensor]] = {
    -math.inf: welsch,
    -2.0: geman_mcclure,
    0.0: cauchy,
    1.0: pseudo_huber,
    2.0: l2,
}


def _square_fits(z: Tensor) -> Tensor:
    """A copy of ``z`` in the range where its square is finite; beyond, 1 is nothing next to it."""
    limit = 0.25 * math.sqrt(torch.finfo(z.dtype).max)
    return z.clamp(-limit, limit)


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
    "smooth_l1": RobustLoss(
        smooth_l1,
        "c z^2 / 2 to |z| = 1, then c (|z| - 1/2)",
        "c z to |z| = 1, then c sign z",
        "c to |z| = 1, then c / |z|",
        "constant",
        "1/2",
        1.344998,
    ),
    "pseudo_huber": RobustLoss(
        pseudo_huber,
        "sqrt(1 + z^2) - 1",
        "z / sqrt(1 + z^2)",
        "1 / sqrt(1 + z^2)",
        "constant",
        "1/2",
        1.287099,
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
    "geman_mcclure": RobustLoss(
        geman_mcclure,
        "2 z^2 / (z^2 + 4)",
        "16 z / (z^2 + 4)^2",
        "16 / (z^2 + 4)^2",
        "falls as 16 / z^3",
        "just under 1/2, nearer the tighter the good data lie",
        1.893709,
    ),
    "welsch": RobustLoss(
        welsch,
        "1 - exp(-z^2 / 2)",
        "z exp(-z^2 / 2)",
        "exp(-z^2 / 2)",
        "falls as exp(-z^2 / 2)",
        "just under 1/2, nearer the tighter the good data lie",
        2.110457,
    ),
    "general_robust": RobustLoss(
        general_robust,
        "(b / alpha) ((z^2 / b + 1)^(alpha / 2) - 1), b = |alpha - 2|",
        "z (z^2 / b + 1)^(alpha / 2 - 1), b = |alpha - 2|",
        "(z^2 / b + 1)^(alpha / 2 - 1), b = |alpha - 2|",
        "goes as z^(alpha - 1)",
        "by alpha: 0 above 1, 1/2 from 0 to 1, just under 1/2 below 0",
        None,
    ),
}
