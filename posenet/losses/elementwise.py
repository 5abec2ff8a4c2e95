"""How a robust loss is computed: from a residual to ``z``, and from ``z`` to values and slopes."""

from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

ElementFunction = Callable[[Tensor], Tensor]


def at_least_float32(residual: Tensor) -> Tensor:
    """The residual, float16 and bfloat16 as float32.

    Raises:
        TypeError: The residual is not floating point.
    """
    if not residual.is_floating_point():
        found = str(residual.dtype).removeprefix("torch.")
        raise TypeError(f"residual: expected floating point, got {found}")
    return residual.float() if residual.dtype in (torch.float16, torch.bfloat16) else residual


def check_number(name: str, value: object, expected: str = "a number or a tensor") -> None:
    """Refuse what is no real number, under its own name.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, Real):
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__}")


def standardize(residual: Tensor, scale: float | Tensor) -> Tensor:
    """The residual in units of the scale, ``z = residual / scale``.

    Args:
        residual: Floating point, any shape. float16 and bfloat16 become float32.
        scale: A number that is positive and finite in the residual's type, or a tensor that
            broadcasts with the residual. A tensor's values are not looked at: that would wait for a
            GPU and break ``torch.compile``.

    Raises:
        TypeError: The residual is not floating point, or the scale no number or tensor.
        ValueError: The scale is a number that is not positive and finite in the residual's type.
    """
    residual = at_least_float32(residual)
    if isinstance(scale, Tensor):
        # An infinite z must not reach a learned scale: its part there is z psi(z), and infinity
        # times a vanished psi would be NaN.
        z = residual / scale.detach()
        infinite = z.isinf()
        return torch.where(infinite, z, residual.masked_fill(infinite, 0.0) / scale)
    check_number("scale", scale)
    finfo = torch.finfo(residual.dtype)
    if not finfo.tiny <= scale <= finfo.max:
        raise ValueError(f"scale: expected a positive finite number, got {scale}")
    return residual if scale == 1 else residual / scale


def elementwise(z: Tensor, *functions: ElementFunction) -> Tensor:
    """``rho(z)``, with ``psi(z)`` for its derivative whatever autograd would have found.

    Autograd of a formula is rarely the best formula of the derivative: it overflows where the
    derivative does not, and takes several times as long.

    Args:
        z: Any shape.
        functions: ``rho``, ``psi`` and perhaps further derivatives, elementwise. Autograd
            differentiates the last one; it does not look inside the others, so that they may
            overwrite tensors of their own.
    """
    if len(functions) == 1:
        return functions[0](z)
    # torch.compile refuses a Function that knows forward mode, which torch.func.hessian needs.
    function = _Elementwise if torch.compiler.is_compiling() else _ElementwiseForwardMode
    return function.apply(z, *functions)


class _Elementwise(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, value: ElementFunction, *derivatives: ElementFunction) -> Tensor:
        return value(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        z, _, *ctx.derivatives = inputs
        ctx.save_for_backward(z)
        ctx.save_for_forward(z)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (z,) = ctx.saved_tensors
        again = torch.is_grad_enabled()  # a second derivative will be asked for
        for_z = grad * (elementwise(z, *ctx.derivatives) if again else ctx.derivatives[0](z))
        return for_z, None, *(None for _ in ctx.derivatives)


class _ElementwiseForwardMode(_Elementwise):
    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        (z,) = ctx.saved_tensors
        return tangent * elementwise(z, *ctx.derivatives)
