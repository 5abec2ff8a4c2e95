"""The angle of two rotations with fast and finite derivatives: what is under the distances.

Each angle is written as a formula, of which autograd, ``torch.func`` and compilers make
derivatives of any order, and as a ``torch.autograd.Function`` around the same formula whose
gradient is in closed form: it takes a fraction of the time of autograd's.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

Parts = tuple[Tensor, ...]
Gradients = tuple[Tensor | None, Tensor | None]


def matrix_angle(a: Tensor, b: Tensor, exact_at_pi: bool) -> Tensor:
    """Angle of two rotations (..., 3, 3) of the same shape and dtype."""
    if _is_plain(a, b):
        return _MatrixAngle.apply(a, b, exact_at_pi)
    axis, sine, cosine = _matrix_parts(a, b)
    if exact_at_pi:
        # The slope of |v| by v is lost where v vanishes; that of v . n is n.
        near_pi, direction = _axis_near_pi(a, b, axis, cosine)
        sine = torch.where(near_pi, (axis * direction).sum(dim=-1), sine)
    return torch.atan2(sine, cosine)


def quaternion_angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle of two quaternions (..., 4) of the same shape and dtype, and of any lengths."""
    if _is_plain(a, b):
        return _QuaternionAngle.apply(a, b)
    _, sine, cosine, _ = _quaternion_parts(a, b, for_autograd=True)
    # Not abs, whose slope at 0 is 0: the gradient would vanish at pi.
    cosine = torch.where(cosine < 0, -cosine, cosine)
    # atan2(0, 0) has the gradient 0/0: a zero quaternion is given the harmless cosine 1 instead.
    cosine = torch.where((sine == 0) & (cosine == 0), 1.0, cosine)
    return 2.0 * torch.atan2(sine, cosine)


# Without it every call looks transformed, which is slower and as right.
_transforms_are_active = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)


def _is_plain(a: Tensor, b: Tensor) -> bool:
    """Whether no compiler, ``torch.func`` transform or forward mode needs to see the formula."""
    return not (
        torch.compiler.is_compiling()
        or _transforms_are_active()
        or unpack_dual(a).tangent is not None
        or unpack_dual(b).tangent is not None
    )


def _matrix_parts(a: Tensor, b: Tensor) -> Parts:
    """Axis times twice the sine, twice the sine, and twice the cosine of the angle."""
    difference = b - a
    axis = torch.linalg.cross(a, difference, dim=-2).sum(dim=-1)
    sine = torch.linalg.vector_norm(axis, dim=-1)
    cosine = 2.0 - 0.5 * difference.square().sum(dim=(-2, -1))
    return axis, sine, cosine


def _axis_near_pi(a: Tensor, b: Tensor, axis: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor]:
    """Where the angle is above 161 degrees, and there the unit axis ``n``, along ``axis``.

    With ``R = B A^T``: ``R + R^T - 2 cos I = 2 (1 - cos) n n^T``, whose columns are multiples of n.
    The largest of them has the largest entry on the diagonal.
    """
    near_pi = cosine < -1.9
    largest = (a * b).sum(dim=-1).argmax(dim=-1, keepdim=True)
    rows = largest.unsqueeze(-1).expand(*largest.shape, 3)
    row_a, row_b = a.gather(-2, rows), b.gather(-2, rows)
    on_diagonal = (torch.arange(3, device=a.device) == largest).to(a.dtype)
    column = torch.addcmul(b * row_a, a, row_b).sum(dim=-1) - cosine.unsqueeze(-1) * on_diagonal
    # Elsewhere the column may vanish, and its direction is not used.
    column = torch.where(near_pi.unsqueeze(-1), column, 1.0)
    column = torch.where((axis * column).sum(dim=-1, keepdim=True) < 0, -column, column)
    length = torch.linalg.vector_norm(column, dim=-1, keepdim=True)
    return near_pi, column * _reciprocal(length)


def _quaternion_parts(a: Tensor, b: Tensor, for_autograd: bool) -> Parts:
    """``b = c a + w`` with ``w`` perpendicular to ``a``: ``w``, ``|w| / |a|``, ``c``, ``|a|^2``.

    To keep every digit of a small ``w``, a whole multiple of ``a`` is taken away first: for
    quaternions of about the same length it is ``a`` or ``-a`` and the difference free of rounding.
    It is ``c`` cut off, not rounded: where ``b`` is the shorter, ``b - a`` would cost its digits.
    The rest of ``c`` is then small, and ``c`` more accurate than ``a . b``; of ``|w|`` and ``|a|``
    the squares are divided, since one root halves the rounding errors of both.

    ``for_autograd`` gives the same parts in a form whose derivatives can be taken.
    """
    tiny = torch.finfo(a.dtype).tiny
    # Where a square underflows, its quaternion counts as zero.
    square = torch.nn.functional.threshold(_dot(a, a), tiny, torch.inf)
    # A factor above 1, so that rounding cannot make 0 of a c that is about 1.
    cosine = (_dot(a, b) / square).detach().mul(1.1).trunc()
    perpendicular = torch.addcmul(b, cosine.unsqueeze(-1), a, value=-1.0)
    # Autograd takes it as given that w is perpendicular to a; one projection leaves a rest.
    for _ in range(2 if for_autograd else 1):
        rest = _dot(perpendicular, a) / square
        perpendicular = torch.addcmul(perpendicular, rest.unsqueeze(-1), a, value=-1.0)
        cosine = cosine + rest
    reach = torch.nn.functional.threshold(_dot(perpendicular, perpendicular), tiny, 0.0)
    sine = _root(reach / square.detach())
    if for_autograd:
        # The derivative of reach / square by the square overflows for short quaternions. That of
        # this factor, which is 1, does not.
        length = torch.nn.functional.threshold(_dot(a, a), tiny, 1.0).sqrt()
        sine = sine * (length.detach() / length)
    return perpendicular, sine, cosine, square


def _dot(a: Tensor, b: Tensor) -> Tensor:
    # Adding slices is several times as fast as sum(dim=-1), which loops over runs of four.
    w, x, y, z = (a * b).unbind(dim=-1)
    return (w + x) + (y + z)


def _root(value: Tensor) -> Tensor:
    """Square root, without a NaN in any derivative at 0."""
    positive = value > 0
    return torch.where(positive, value, 1.0).sqrt() * positive


def _reciprocal(value: Tensor) -> Tensor:
    """``1 / value``, and 0 for 0, without a NaN in any derivative."""
    positive = value > 0
    return positive / torch.where(positive, value, 1.0)


def _matrix_gradients(
    slope: Tensor, a: Tensor, b: Tensor, parts: Parts, needed: tuple[bool, ...], exact_at_pi: bool
) -> Gradients:
    """``slope`` times the gradients of the angle by ``a`` and by ``b``, where needed.

    ``atan2(s, c)`` with ``s = |v|`` has the slopes ``c v / (s (s^2 + c^2))`` by ``v`` and
    ``-s / (s^2 + c^2)`` by ``c``. As ``v = sum_k a_k x b_k``, a slope ``g`` by ``v`` is ``b_k x g``
    by ``a_k`` and ``g x a_k`` by ``b_k``. The slope of ``c`` by ``a`` is ``D``, by ``b`` ``-D``.
    """
    axis, sine, cosine = parts
    info = torch.finfo(a.dtype)
    # The square is 4 for rotations; other matrices may not divide by zero either.
    slope = slope / (sine.square() + cosine.square()).clamp_min(info.eps)
    # Below the root the norm underflows: dividing by it could give more than a unit vector.
    direction = axis / sine.clamp_min(info.tiny**0.5).unsqueeze(-1)
    if exact_at_pi:
        near_pi, exact_direction = _axis_near_pi(a, b, axis, cosine)
        direction = torch.where(near_pi.unsqueeze(-1), exact_direction, direction)
    by_axis = ((slope * cosine).unsqueeze(-1) * direction).unsqueeze(-1)
    by_cosine = (slope * sine).unsqueeze(-1).unsqueeze(-1)
    difference = b - a
    by_a = by_b = None
    if needed[0]:
        by_a = torch.linalg.cross(b, by_axis, dim=-2)
        by_a = torch.addcmul(by_a, by_cosine, difference, value=-1.0)
    if needed[1]:
        by_b = torch.linalg.cross(by_axis, a, dim=-2)
        by_b = torch.addcmul(by_b, by_cosine, difference)
    return by_a, by_b


def _quaternion_gradients(
    slope: Tensor, a: Tensor, b: Tensor, parts: Parts, needed: tuple[bool, ...]
) -> Gradients:
    """``slope`` times the gradients of the angle by ``a`` and by ``b``, where needed.

    The angle grows fastest as ``a`` turns away from ``w``, and as ``b`` turns in the same plane
    away from ``a``; the gradients have the lengths ``2 / |a|`` and ``2 / |b|``.
    """
    perpendicular, sine, cosine, square = parts
    # Of the two directions at cosine = 0, which is pi, either will do: it has to be one.
    slope = slope * torch.where(cosine < 0, -2.0, 2.0)
    per_sine = _reciprocal(sine)
    by_a = by_b = None
    if needed[0]:
        by_a = (-slope * per_sine / square).unsqueeze(-1) * perpendicular
    if needed[1]:
        slope = slope * _reciprocal(
            torch.nn.functional.threshold(_dot(b, b), torch.finfo(b.dtype).tiny, 0.0)
        )
        along_w = (slope * cosine * per_sine).unsqueeze(-1)
        by_b = along_w * perpendicular - (slope * sine).unsqueeze(-1) * a
    return by_a, by_b


class _MatrixAngle(torch.autograd.Function):
    """Angle of two (..., 3, 3) rotations; the parts of the formula are kept for the gradient.

    Near pi ``exact_at_pi`` only swaps the direction of the axis: for rotations, and along them in
    the second derivative, this is the gradient of the formula in ``matrix_angle``.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, exact_at_pi: bool) -> Tensor:
        axis, sine, cosine = _matrix_parts(a, b)
        ctx.exact_at_pi = exact_at_pi
        ctx.save_for_backward(a, b, axis, sine, cosine)
        return torch.atan2(sine, cosine)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        a, b, *parts = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative, which has to see through the parts
            parts = _matrix_parts(a, b)
        needed = ctx.needs_input_grad
        return *_matrix_gradients(slope, a, b, parts, needed, ctx.exact_at_pi), None


class _QuaternionAngle(torch.autograd.Function):
    """Angle of two (..., 4) quaternions; the parts of the formula are kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        parts = _quaternion_parts(a, b, for_autograd=False)
        ctx.save_for_backward(a, b, *parts)
        _, sine, cosine, _ = parts
        return 2.0 * torch.atan2(sine, cosine.abs())

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Gradients:
        a, b, *parts = ctx.saved_tensors
        if torch.is_grad_enabled():
            parts = _quaternion_parts(a, b, for_autograd=True)
        return _quaternion_gradients(slope, a, b, parts, ctx.needs_input_grad)
