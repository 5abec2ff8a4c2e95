"""What all losses share: how values become one, and which arguments are refused."""

from typing import Literal

from torch import Tensor

Reduction = Literal["none", "sum", "mean"]


def reduce(values: Tensor, reduction: Reduction) -> Tensor:
    """Values as they are, their sum, or their mean.

    Args:
        values: Losses of any shape.
        reduction: none, sum or mean. The mean of no values is NaN, as in torch.

    Raises:
        ValueError: The reduction has another name.
    """
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    if reduction == "mean":
        return values.mean()
    raise ValueError(f"reduction: expected none, sum or mean, got {reduction!r}")
