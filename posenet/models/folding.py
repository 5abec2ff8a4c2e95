"""Batch norms that no longer learn, folded into the convolutions before them.

Such a norm is a factor and an offset a channel, which a convolution can have in its own weights:
one pass over memory less for each.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def folded(module: nn.Module, probe: Tensor) -> nn.Module:
    """A copy of a module that computes the same, but for rounding, in less time.

    Args:
        module: Its norms do not learn.
        probe: An input, by which is seen which norm reads which convolution.

    Returns:
        The copy, which can no longer be trained.
    """
    copied = copy.deepcopy(module).requires_grad_(False).eval()
    names = {part: name for name, part in copied.named_modules()}
    for convolution, norm in _pairs(copied, probe):
        weight, bias = fuse_conv_bn_weights(
            *(convolution.weight, convolution.bias),
            *(norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias),
        )
        convolution.weight = nn.Parameter(_as_laid_out(weight, convolution.weight), False)
        convolution.bias = nn.Parameter(bias, False)
        parent, _, name = names[norm].rpartition(".")
        setattr(copied.get_submodule(parent), name, nn.Identity())
    return copied


def _pairs(module: nn.Module, probe: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the norms that read what they give, as the input is passed through."""
    made_by: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensor too: a number may come again
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after_convolution(layer: nn.Conv2d, _: tuple[Tensor, ...], output: Tensor) -> None:
        made_by[id(output)] = layer, output

    def before_norm(layer: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in made_by:
            pairs.append((made_by[id(inputs[0])][0], layer))

    handles = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            handles.append(layer.register_forward_hook(after_convolution))
        elif isinstance(layer, nn.BatchNorm2d):
            handles.append(layer.register_forward_pre_hook(before_norm))
    try:
        with torch.no_grad():
            module(probe)
    finally:
        for handle in handles:
            handle.remove()
    return pairs


def _as_laid_out(weight: Tensor, like: Tensor) -> Tensor:
    """The weights in the memory format that they had."""
    channels_last = like.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return weight.contiguous(memory_format=layout)
