"""Batch norms that no longer learn, folded into the convolutions before them.

Such a norm is a factor and an offset a channel, which a convolution can have in its own weights:
one pass over memory less for each.
"""

import copy
from collections import Counter

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
    # Outside of inference mode, whose tensors do not tell whether they were changed.
    with torch.inference_mode(False), torch.no_grad():
        copied = copy.deepcopy(module).requires_grad_(False).eval()
        _fold(copied, probe.clone())
    return copied


def _fold(copied: nn.Module, probe: Tensor) -> None:
    for convolution, norm in _pairs(copied, probe):
        weight, bias = fuse_conv_bn_weights(
            *(convolution.weight, convolution.bias),
            *(norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias),
        )
        convolution.weight = nn.Parameter(_as_laid_out(weight, convolution.weight), False)
        convolution.bias = nn.Parameter(bias, False)
        # The object itself, not a name of it: it may have several, in containers that torch does
        # not look into.
        norm.__class__ = nn.Identity


def _pairs(module: nn.Module, probe: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the norms that read what they give, as the input is passed through."""
    # The tensors too: numbers of tensors that are gone come again.
    made_by: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    uses: Counter[nn.Module] = Counter()

    def after_convolution(layer: nn.Conv2d, _: tuple[Tensor, ...], output: Tensor) -> None:
        uses[layer] += 1
        made_by[id(output)] = layer, output, output._version

    def before_norm(layer: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        uses[layer] += 1
        layer_before, _, version = made_by.get(id(inputs[0]), (None, None, None))
        if version == inputs[0]._version:  # nothing has changed it on the way
            pairs.append((layer_before, layer))

    handles = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            handles.append(layer.register_forward_hook(after_convolution))
        elif isinstance(layer, nn.BatchNorm2d):
            handles.append(layer.register_forward_pre_hook(before_norm))
    try:
        module(probe)
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in pairs if uses[pair[0]] == uses[pair[1]] == 1]


def _as_laid_out(weight: Tensor, like: Tensor) -> Tensor:
    """The weights in the memory format that they had."""
    channels_last = like.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return weight.contiguous(memory_format=layout)
