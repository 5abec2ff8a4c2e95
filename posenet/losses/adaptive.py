"""Barron's general loss for any shape ``alpha``, and the loss that learns shape and scale.

    rho(z, alpha) = (b / alpha) ((z^2 / b + 1)^(alpha / 2) - 1),  b = |alpha - 2|

Written with ``L = log(1 + z^2 / b)`` it is ``(b / alpha) expm1(alpha L / 2)``, and the special
cases of the published formula (alpha of 2, 0 and -inf) are met by nudging alpha, in float64, by
less than any digit of the result can tell. Float64 is needed for more: a power multiplies the
rounding of its logarithm by its exponent, which costs float32 up to three digits, and ``z^2 / b``
leaves its range.

Source: Barron, A General and Adaptive Robust Loss Function, CVPR 2019.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from posenet.losses.elementwise import at_least_float32, check_number, standardize
from posenet.losses.reduction import Reduction, reduce

LARGEST_ALPHA = 1e18  # infinity to more than 16 digits
LARGEST_LOG = 1e100  # L of an infinite residual in the derivative by alpha
LARGEST_Z = 1e140  # pulls for an infinite residual: infinity times a vanished power would be NaN
SMALLEST_B = 1e-20  # alpha = 2
SMALLEST_ALPHA = 1e-20  # alpha = 0
LEARNED_ALPHAS = (0.001, 1.999)  # as in Barron's code: nearer to an end the sigmoid is too flat


def general(z: Tensor, alpha: float | Tensor) -> Tensor:
    """``rho(z, alpha)`` of :func:`posenet.losses.general_robust`, differentiable in both.

    Args:
        z: Residuals in units of the scale, any shape, floating point.
        alpha: Number or tensor that broadcasts with ``z``, from -inf to inf.

    Returns:
        Losses in the type of ``z`` and the common shape.
    """
    if not isinstance(alpha, Tensor):
        alpha = torch.full((), alpha, dtype=torch.float64, device=z.device)
    # torch.compile refuses a Function that knows forward mode, which torch.func.hessian needs.
    function = _General if torch.compiler.is_compiling() else _GeneralForwardMode
    return function.apply(z, alpha)


def _rho(z: Tensor, alpha: Tensor) -> Tensor:
    alpha, b = _shape(alpha)
    alpha = torch.where(alpha.abs() < SMALLEST_ALPHA, SMALLEST_ALPHA, alpha)
    return _log_base(z, b).mul_(0.5 * alpha).expm1_().mul_(b / alpha).to(z.dtype)


def _psi(z: Tensor, alpha: Tensor) -> Tensor:
    """Derivative by z, ``z (z^2 / b + 1)^(alpha / 2 - 1)``."""
    alpha, b = _shape(alpha)
    z64 = z.double().clamp(-LARGEST_Z, LARGEST_Z)
    # exp2 takes a third of the time of exp.
    power = _log_base(z64, b).mul_((0.5 / math.log(2.0)) * (alpha - 2.0)).exp2_()
    return (z64 * power).to(z.dtype)


def _slope_by_alpha(z: Tensor, alpha: Tensor) -> Tensor:
    """Derivative by alpha: ``e^u L^2 |k(L) - k(u)| / 2``, ``u = alpha L / 2``, never negative.

    ``k(v) = (1 - v - e^-v) / v^2`` is smooth, so that no alpha is special but 2, where the
    derivative is infinite. The difference is taken by Horner's rule for divided differences where
    both arguments are small, because there it cancels.
    """
    alpha, b = _shape(alpha)
    close = b < 1e-7
    alpha, b = torch.where(close, 2.0 - 1e-7, alpha), torch.where(close, 1e-7, b)
    log = _log_base(z, b).clamp(max=LARGEST_LOG)
    u = 0.5 * alpha * log

    log_is_small, u_is_small = log < 1.0, u.abs() < 1.0
    # Each branch gets harmless arguments where the other is chosen, or NaN times 0 would come back
    # from the derivative of the branch that was not.
    small_log, small_u = torch.where(log_is_small, log, 0.0), torch.where(u_is_small, u, 0.0)
    large_log, large_u = torch.where(log_is_small, 2.0, log), torch.where(u_is_small, 2.0, u)
    k_of_log, ratio = _divided_difference(small_log, small_u)
    k_of_u, _ = _divided_difference(small_u, small_log)
    both_small = torch.exp(small_u) * 0.5 * b * small_log * ratio  # L - u = +-b L / 2

    # Otherwise e^u (k(L) - k(u)), with the factor e^|u| kept apart where it can overflow.
    k_of_log = torch.where(
        log_is_small, k_of_log, (-torch.expm1(-large_log) - large_log) / large_log.square()
    )
    size = large_u.abs()
    decay = torch.exp(-size)
    above = (1.0 - size - decay) / size.square()  # k(u)
    below = (decay * (1.0 + size) - 1.0) / size.square()  # e^u k(u)
    positive = u > 0
    factor = torch.where(u_is_small, torch.exp(small_u), torch.where(positive, 1.0, decay))
    second = torch.where(u_is_small, factor * k_of_u, torch.where(positive, above, below))
    growth = torch.exp(torch.where(positive & ~u_is_small, large_u, 0.0))
    either_large = growth * (factor * k_of_log - second).abs()

    difference = torch.where(log_is_small & u_is_small, both_small, either_large)
    return 0.5 * log.square() * difference


def _divided_difference(v: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """``k(v)`` and ``(k(v) - k(w)) / (v - w)`` from k's series; both within 1 of zero."""
    value, ratio = torch.zeros_like(v), torch.zeros_like(v)
    for n in range(15, -1, -1):
        ratio = value + w * ratio
        value = (-1) ** (n + 1) / math.factorial(n + 2) + v * value
    return value, ratio


def _shape(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Alpha in float64, finite, and ``b``, not zero."""
    alpha = alpha.double().clamp(-LARGEST_ALPHA, LARGEST_ALPHA)
    return alpha, (alpha - 2.0).abs().clamp(min=SMALLEST_B)


def _log_base(z: Tensor, b: Tensor) -> Tensor:
    """``L = log(1 + z^2 / b)``, a tensor of its own in the common shape."""
    return (z.double() * b.rsqrt()).pow_(2).log1p_()


class _General(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, alpha: Tensor) -> Tensor:
        return _rho(z, alpha)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        z, alpha = ctx.saved_tensors
        for_z = for_alpha = None
        if ctx.needs_input_grad[0]:
            for_z = (grad * _psi(z, alpha)).sum_to_size(z.shape)
        if ctx.needs_input_grad[1]:
            for_alpha = grad * _slope_by_alpha(z, alpha)
            for_alpha = for_alpha.sum_to_size(alpha.shape).to(alpha.dtype)
        return for_z, for_alpha


class _GeneralForwardMode(_General):
    @staticmethod
    def jvp(ctx: Any, z_tangent: Tensor | None, alpha_tangent: Tensor | None) -> Tensor:
        z, alpha = ctx.saved_tensors
        result = torch.zeros_like(z)
        if z_tangent is not None:
            result = result + z_tangent * _psi(z, alpha)
        if alpha_tangent is not None:
            result = result + (alpha_tangent * _slope_by_alpha(z, alpha)).to(z.dtype)
        return result


def log_partition(alpha: float | Tensor) -> Tensor:
    """Logarithm of ``Z(alpha)``, the integral of ``exp(-rho(x, alpha))`` over all x.

    ``exp(-rho) / Z`` is then a density. Known: ``sqrt(2 pi)`` at 2 (the normal distribution),
    ``pi sqrt 2`` at 0 (Cauchy's), ``2 e K_1(1)`` at 1. For alpha below 0 there is none: rho is
    bounded, exp(-rho) does not fall to zero, and the integral is infinite.

    Double-exponential quadrature with fixed nodes, good to nine digits, differentiable in alpha. At
    alpha = 2 itself the derivative is infinite, see :func:`posenet.losses.general_robust`.

    Args:
        alpha: Number from 0 to 2, or tensor of any shape. A tensor's values are not looked at.

    Returns:
        The shape of alpha, float64.

    Raises:
        TypeError: Alpha is no number or tensor.
        ValueError: Alpha is a number outside 0 to 2.

    Source: Barron, CVPR 2019, section 3; Takahasi and Mori, Double Exponential Formulas for
    Numerical Integration, 1974.
    """
    if not isinstance(alpha, Tensor):
        check_number("alpha", alpha)
        if not 0 <= alpha <= 2:
            raise ValueError(f"alpha: expected a number from 0 to 2, got {alpha}")
        alpha = torch.tensor(alpha, dtype=torch.float64)
    step = 1 / 32
    t = step * torch.arange(153, dtype=torch.float64, device=alpha.device)
    # x = sinh(pi / 2 sinh t), and twice the half t >= 0. After this exp(-rho), which falls as x^-2
    # at worst, falls as exp(-exp t).
    inner = 0.5 * math.pi * torch.sinh(t)
    weight = step * math.pi * torch.cosh(t) * torch.cosh(inner)
    weight[0] = 0.5 * weight[0]
    losses = general(torch.sinh(inner), alpha.double().unsqueeze(-1))
    return torch.logsumexp(torch.log(weight) - losses, dim=-1)


class AdaptiveRobustLoss(nn.Module):
    """The general loss with shape and scale learned from the residuals themselves.

    The mean is the negative log-likelihood ``rho(z, alpha) + log(scale) + log Z(alpha)`` of the
    density whose energy is the general loss. Its last two terms are the price of tolerance: without
    them a large scale and a small alpha would make every residual free. Where residuals are
    Gaussian, alpha goes to 2 and the scale to their standard deviation; the heavier their tails,
    the lower alpha goes. Alpha stays between 0 and 2, see :func:`log_partition`, more exactly from
    0.001 to 1.999, and from there its gradient can lead it back.

    The density is that of signed residuals in one dimension. That of a length is twice as high,
    which shifts the loss by log 2 and changes nothing else.

    Both are parameters of the module, unconstrained (``alpha = 2 sigmoid(alpha_logit)``, which
    beyond the ends has their value and slope; ``scale = exp(log_scale)``). They must stay out of
    weight decay.

    Args:
        alpha: Where the shape starts, from 0.001 to 1.999.
        scale: Where the scale starts, positive, in the unit of the residuals.

    Raises:
        TypeError: Alpha or the scale is no number.
        ValueError: Alpha is not from 0.001 to 1.999, or the scale is not positive and finite.

    Source: Barron, CVPR 2019, section 3.
    """

    def __init__(self, alpha: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        check_number("alpha", alpha, "a number")
        check_number("scale", scale, "a number")
        low, high = LEARNED_ALPHAS
        if not low <= alpha <= high:
            raise ValueError(f"alpha: expected a number from {low} to {high}, got {alpha}")
        if not 0 < scale < math.inf:
            raise ValueError(f"scale: expected a positive finite number, got {scale}")
        self.alpha_logit = nn.Parameter(torch.tensor(_logit(alpha)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    @property
    def alpha(self) -> Tensor:
        """Shape, a scalar from 0.001 to 1.999."""
        logit = at_least_float32(self.alpha_logit)
        # The value of clamp, but its slope is 1 beyond the bounds, too.
        logit = logit - logit.detach() + logit.detach().clamp(*map(_logit, LEARNED_ALPHAS))
        return 2.0 * torch.sigmoid(logit)

    @property
    def scale(self) -> Tensor:
        """Scale, a positive scalar in the unit of the residuals."""
        return torch.exp(self.log_scale)

    def forward(self, residual: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Negative log-likelihood of residuals of any shape; it can be below zero.

        Args:
            residual: Floating point, any shape.
            reduction: none, sum or mean.

        Raises:
            TypeError: The residual is not floating point.
            ValueError: The reduction has another name.
        """
        losses = general(standardize(residual, self.scale), self.alpha)
        price = self.log_scale + log_partition(self.alpha).to(self.log_scale.dtype)
        return reduce(losses + price, reduction)


def _logit(alpha: float) -> float:
    """Inverse of ``2 sigmoid``."""
    return math.log(alpha / (2.0 - alpha))
