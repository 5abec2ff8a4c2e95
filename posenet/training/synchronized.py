"""Layers that see the whole batch of a step, however many processes share it.

With these, processes that share a batch train as one process would with all of it: batch
normalisation takes its statistics over all images, and what is dropped at random is what one
process would have dropped.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from posenet.process_group import group_rank, group_size


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes, each of which has as many.

    ``torch.nn.SyncBatchNorm`` does the same, on GPUs only.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        if not self.training or group_size() == 1:
            return super().forward(images)
        features = _at_least_float(images)
        mean = _mean_of_all(features.mean(dim=(0, 2, 3)))
        centered = features - mean.view(-1, 1, 1)
        # In a pass of its own: the difference of two large sums would have lost digits.
        variance = _mean_of_all(centered.square().mean(dim=(0, 2, 3)))
        with torch.no_grad():
            self.num_batches_tracked += 1
            momentum = self.momentum
            if momentum is None:  # torch's word for the mean of all batches
                momentum = 1.0 / float(self.num_batches_tracked)
            count = images.numel() // images.shape[1] * group_size()
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (count / max(1, count - 1)), momentum)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centered * scale.view(-1, 1, 1) + self.bias.view(-1, 1, 1)).to(images.dtype)


class SharedDropout(nn.Dropout):
    """Dropout by this process's part of what is drawn for the images of all."""

    def forward(self, features: Tensor) -> Tensor:
        """Drop some of (B, ...)."""
        if not self.training or self.p == 0.0 or group_size() == 1:
            return super().forward(features)
        wide = _at_least_float(features)  # half precision would round 1 / (1 - p)
        return (wide * _own_part(F.dropout(_ones_for_all(wide), self.p))).to(features.dtype)


class SharedStochasticDepth(StochasticDepth):
    """Stochastic depth by this process's part of what is drawn for the images of all."""

    def forward(self, features: Tensor) -> Tensor:
        """Drop some of the images of (B, ...), or all."""
        if not self.training or self.p == 0.0 or group_size() == 1:
            return super().forward(features)
        ones = _ones_for_all(features.new_empty(len(features), *([1] * (features.ndim - 1))))
        return features * _own_part(super().forward(ones))


_SHARED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm2d: SharedBatchNorm,
    nn.Dropout: SharedDropout,
    StochasticDepth: SharedStochasticDepth,
}


def share_batches(module: nn.Module) -> None:
    """Let the layers below a module see the batch of all processes.

    They keep their parameters, their state and their names. A layer that is of no use for this, as
    batch normalisation that is frozen, behaves as before.
    """
    for layer in module.modules():
        # A shared layer is its own layer with another ``forward``: it has the same state.
        layer.__class__ = _SHARED.get(type(layer), type(layer))


class _SumOfAll(torch.autograd.Function):
    """The sum over all processes. Each adds to it, so each gets the gradients of all.

    torch has had this in two places, of which it says by now not to use the one, and of which its
    older versions do not have the other.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        """Sum."""
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Sum too."""
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _at_least_float(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _mean_of_all(value: Tensor) -> Tensor:
    return _SumOfAll.apply(value) / group_size()


def _ones_for_all(features: Tensor) -> Tensor:
    return features.new_ones(group_size() * len(features), *features.shape[1:])


def _own_part(values: Tensor) -> Tensor:
    share = len(values) // group_size()
    return values[group_rank() * share : (group_rank() + 1) * share]
