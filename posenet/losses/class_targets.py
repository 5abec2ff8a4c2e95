"""What classification losses ask of logits and targets, and how they say what is wrong."""

import torch
from torch import Tensor

IGNORE_INDEX = -100  # torch's default

_SUM_TOLERANCE = 1e-4  # by how much probabilities may miss a sum of 1


def checked_logits(logits: Tensor, name: str = "logits") -> Tensor:
    """The logits, in float32 if they have fewer digits."""
    if not logits.is_floating_point():
        raise TypeError(f"{name}: expected floating point numbers, got {kind(logits)}")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"{name}: expected shape (..., K) with K classes, got {shape_of(logits)}")
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def checked_target(logits: Tensor, target: Tensor) -> Tensor:
    """The target: probabilities as they are, floating; class indices in int64.

    Raises:
        TypeError: It is neither by its type.
        ValueError: It is neither by its shape.
    """
    floating = target.is_floating_point()
    indices = None if floating else checked_indices(target)
    if target.shape == (logits.shape if floating else logits.shape[:-1]):
        return target if indices is None else indices
    message = (
        f"target: expected class indices {shape_of(logits[..., 0])} or float probabilities "
        f"{shape_of(logits)}, got {kind(target)}"
    )
    if target.shape == logits.shape:
        raise TypeError(f"{message}; convert a one-hot with .float()")
    if target.shape == logits.shape[:-1]:
        raise TypeError(f"{message}; convert indices with .long()")
    raise ValueError(message)


def checked_indices(target: Tensor) -> Tensor:
    """The class indices in int64, as shorter types wrap the numbers that they are compared with.

    Raises:
        TypeError: They are not of an integer type.
    """
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise TypeError(f"target: expected class indices of an integer type, got {kind(target)}")
    return target.long()


def require_range(target: Tensor, classes: int, ignore_index: int | None) -> None:
    """Refuse class indices outside 0..K-1 that are not ignored, with ValueError."""
    good = (target >= 0) & (target < classes)
    also = ""
    if ignore_index is not None:
        good |= target == ignore_index
        also = f" (or ignore_index {ignore_index})"
    if not holds_everywhere(good):
        position, value = _first(~good, target)
        raise ValueError(
            f"target: expected class indices 0..{classes - 1}{also}, "
            f"got {value:.0f} at position {position}"
        )


def require_probabilities(target: Tensor) -> None:
    """Refuse negative numbers, and sums over the classes that are not 1."""
    # Rounding to 8 bits alone may miss a sum of 1 by more than the tolerance.
    tolerance = max(_SUM_TOLERANCE, torch.finfo(target.dtype).eps)
    sums = target.sum(dim=-1, dtype=torch.promote_types(target.dtype, torch.float32))
    positive, whole = (target >= 0.0).all(dim=-1), (sums - 1.0).abs() <= tolerance
    if not holds_everywhere(positive & whole):
        position, total = _first(~(positive & whole), sums)
        least = float(target.detach()[position].amin())
        raise ValueError(
            "target: expected probabilities that are not negative and sum to 1 over the classes, "
            f"got a sum of {total:g} with a least one of {least:g} at position {position}"
        )


def require_weight(weight: Tensor, classes: int) -> None:
    """Refuse class weights that are not K finite numbers from 0 on."""
    if weight.shape != (classes,) or not weight.is_floating_point():
        raise ValueError(f"weight: expected {classes} floating numbers, got {kind(weight)}")
    good = (weight >= 0.0) & weight.isfinite()
    if not holds_everywhere(good):
        (position,), value = _first(~good, weight)
        raise ValueError(
            "weight: expected finite numbers that are not negative, "
            f"got {value:g} of class {position}"
        )


def one_hot(target: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """F.one_hot reads the values, which neither vmap nor a compiler can."""
    return (target.unsqueeze(-1) == torch.arange(classes, device=target.device)).to(dtype)


def holds_everywhere(conditions: Tensor, unknown: bool = True) -> bool:
    """Whether all hold; ``unknown`` where values cannot be read."""
    if torch.compiler.is_compiling():
        return unknown
    if conditions.is_cuda and torch.cuda.is_current_stream_capturing():
        return unknown
    try:
        return bool(conditions.all())
    except RuntimeError:  # how vmap, fake and meta tensors say that they have no value
        return unknown


def _first(wrong: Tensor, values: Tensor) -> tuple[tuple[int, ...], float]:
    """Position of the first wrong entry, and its value."""
    position = tuple(wrong.nonzero()[0].tolist())
    return position, float(values.detach()[position])


def kind(tensor: Tensor) -> str:
    """Type and shape, as errors say them."""
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {shape_of(tensor)}"


def shape_of(tensor: Tensor) -> str:
    """Shape, as errors say it."""
    return str(tuple(tensor.shape))
