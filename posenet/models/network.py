"""The pose network: backbone, spatial head, rotation and translation. Read it top to bottom."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posenet.config import DataConfig, ModelConfig
from posenet.errors import look_up
from posenet.geometry import REPRESENTATIONS, Pose, mean_rotation
from posenet.geometry.projection import is_exporting
from posenet.models.backbones import build_backbone, norm_layers
from posenet.models.folding import folded
from posenet.models.novelty import FeatureDensity
from posenet.models.viewpoints import DECODINGS, ViewpointBins, decode

# Scales of errors, in radians and in units of the training positions' spread: where they begin, and
# between which limits they stay.
_FIRST_LOG_SCALE = -2.0
_LOG_SCALES = (-10.0, 2.0)


class Confidence(NamedTuple):
    """How sure a network is of a batch of images.

    Attributes:
        rotation_scale: Scale of the rotation error, radians, (B,); its density falls by e for each.
        translation_scale: Scale of the translation error, metres, (B,).
        novelty: How unlike the training images an image is, (B,); without unit, see
            :class:`posenet.models.novelty.FeatureDensity`.
    """

    rotation_scale: Tensor
    translation_scale: Tensor
    novelty: Tensor


class Prediction(NamedTuple):
    """What the network makes of a batch of images, always float32.

    Attributes:
        pose: Camera-to-world poses, rotation (B, 3, 3), translation (B, 3) in metres.
        logits: Of the viewpoint bins, (B, K); None for a network that only regresses.
        candidates: The pose in each bin, (B, K); None likewise.
        confidence: None for a network without it.
    """

    pose: Pose
    logits: Tensor | None = None
    candidates: Pose | None = None
    confidence: Confidence | None = None


class PoseNetwork(nn.Module):
    """Camera-to-world poses of RGB images.

    The head reads the feature map cell by cell, since where a thing is seen tells the pose; global
    pooling would throw that away. Rotations are predicted relative to the mean rotation of the
    training frames and translations in units of their spread about their mean; both statistics are
    buffers, and so travel with the weights.

    With viewpoint bins (``model.mode``) the head gives a logit a bin, and coarse-to-fine a rotation
    and a translation a bin, relative to its centre; one pose is decoded from all of them.

    Confidence (``model.confidence``) is read from the same features, which it does not shape: no
    gradient goes back from it, so that poses are what they would be without it.

    Args:
        model: Settings of the network.
        data: Settings of its images; the head is made for their size.
        weights: Overrides ``model.weights``; ``none`` when a checkpoint is about to be loaded.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    rotation_center: Tensor
    translation_center: Tensor
    translation_spread: Tensor

    def __init__(self, model: ModelConfig, data: DataConfig, weights: str | None = None) -> None:
        super().__init__()
        self.representation = look_up(REPRESENTATIONS, model.rotation, "rotation representation")
        weights = model.weights if weights is None else weights
        backbone = build_backbone(model.backbone, weights)
        self.memory_format = (
            torch.channels_last if backbone.channels_last else torch.contiguous_format
        )
        self.register_buffer("pixel_mean", torch.tensor(backbone.mean).view(3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(backbone.std).view(3, 1, 1))
        self.backbone = backbone.features.to(memory_format=self.memory_format)
        # The statistics of ImageNet are better than those of 32 neighbouring frames.
        self.frozen_norms = list(norm_layers(self.backbone)) if model.weights != "none" else []
        count = round(model.frozen_share * len(backbone.layers))
        for layer in backbone.layers[:count]:
            layer.requires_grad_(False)
            self.frozen_norms.extend(norm_layers(layer))
        # The backbone in two, in tuples, which torch does not look into: its weights are there.
        self._frozen_layers = (nn.Sequential(*backbone.layers[:count]),)
        self._trained_layers = (nn.Sequential(*backbone.layers[count:]),)
        # What is passed through in place of the frozen layers.
        self._folded: tuple[nn.Module, ...] = ()

        with torch.no_grad():
            probe = torch.zeros(1, 3, data.height, data.width)
            cells = self.backbone.eval()(probe).shape[-2:].numel()
        self.reduce = nn.Conv2d(backbone.channels, model.channels, kernel_size=1)
        # Normalisation takes a bias away again. It is there for the files that have it; training it
        # would follow the rounding of a gradient that is 0.
        self.reduce.bias.requires_grad_(False)
        self.norm = nn.BatchNorm2d(model.channels)
        self.dropout = nn.Dropout(model.dropout)
        features = model.channels * cells
        self.mode, self.decoding = model.mode, model.decoding
        self.bins = ViewpointBins(model.bins) if model.mode != "regression" else None
        if self.bins is not None:
            look_up(DECODINGS, model.decoding, "decoding")
            self.viewpoint = _branch(features, model.bins)
        if model.mode != "classification":
            poses = 1 if self.bins is None else model.bins
            self.rotation = _branch(features, poses * self.representation.size)
            self.translation = _branch(features, poses * 3)
        if model.confidence:  # after all else: the other layers begin as they would without it
            self.confidence = _branch(features, 2)
            nn.init.constant_(self.confidence[-1].bias, _FIRST_LOG_SCALE)
            self.novelty = FeatureDensity(features)
        self.has_confidence = model.confidence
        self.register_buffer(
            "identity", self.representation.from_rotation(torch.eye(3)), persistent=False
        )
        self.register_buffer("rotation_center", torch.eye(3))
        self.register_buffer("translation_center", torch.zeros(3))
        self.register_buffer("translation_spread", torch.ones(()))
        self.train()

    def fit_statistics(self, poses: Pose) -> None:
        """Set centre and spread from the training poses, rotation (N, 3, 3), translation (N, 3)."""
        center = poses.translation.mean(dim=0)
        spread = (poses.translation - center).square().sum(dim=-1).mean().sqrt()
        self.rotation_center.copy_(mean_rotation(poses.rotation))
        self.translation_center.copy_(center)
        self.translation_spread.copy_(spread.clamp_min(1e-6))

    def train(self, mode: bool = True) -> "PoseNetwork":
        """Switch dropout and batch statistics; frozen layers and norms stay as they are."""
        super().train(mode)
        for norm in self.frozen_norms:
            norm.eval()
        self._frozen_layers[0].eval()
        return self

    @property
    def has_frozen_layers(self) -> bool:
        """Whether layers of the backbone do not learn."""
        return len(self._frozen_layers[0]) > 0

    def fold_frozen_layers(self) -> None:
        """Pass images through the frozen layers in less time: their norms become part of them.

        Until weights are loaded or moved; the same poses but for rounding.
        """
        if self.has_frozen_layers:
            probe = torch.zeros(1, 3, 64, 64, device=self.pixel_mean.device)
            self._folded = (folded(self._frozen_layers[0], probe),)

    def compile_backbone(self) -> None:
        """Have torch compile what of the backbone learns, when images first pass through it."""
        for part in (self.backbone, *self._trained_layers):
            part.compile()

    def _apply(self, *arguments: Any, **keywords: Any) -> "PoseNetwork":
        self._folded = ()  # what torch moves, or gives another type, is moved without it
        return super()._apply(*arguments, **keywords)

    def _load_from_state_dict(self, *arguments: Any, **keywords: Any) -> None:
        self._folded = ()  # of other weights
        super()._load_from_state_dict(*arguments, **keywords)

    def forward(self, image: Tensor, *, is_past_frozen: bool = False) -> Prediction:
        """Poses of images.

        Args:
            image: RGB in [0, 1], (B, 3, H, W), of the size the network was made for.
            is_past_frozen: It is what :meth:`pass_frozen_layers` made of images instead.
        """
        features = self.embed(image, is_past_frozen=is_past_frozen)
        confidence = self._confidence(features.detach()) if self.has_confidence else None
        features = self.dropout(features)
        if self.bins is None:
            mean = Pose(self.rotation_center, self.translation_center)
            pose = self._poses_about(mean, self.translation_spread, features)
            return Prediction(pose, confidence=confidence)
        logits = self.viewpoint(features).float()
        if self.mode == "classification":
            count = image.shape[0]  # len() would be a constant in an exported network
            candidates = Pose(*(part.expand(count, *part.shape) for part in self.bins.centers))
        else:
            candidates = self._poses_about(self.bins.centers, self.bins.spread_m, features)
        with _full_precision(image):
            pose = decode(logits, candidates, self.decoding)
        return Prediction(pose, logits, candidates, confidence)

    def embed(self, image: Tensor, *, is_past_frozen: bool = False) -> Tensor:
        """Features that pose and confidence are read from, (B, D).

        Args:
            image: RGB in [0, 1], (B, 3, H, W), of the size the network was made for.
            is_past_frozen: It is what :meth:`pass_frozen_layers` made of images instead.
        """
        if is_past_frozen or self._folded:
            past = image if is_past_frozen else self.pass_frozen_layers(image)
            features = self._trained_layers[0](past)
        else:
            features = self.backbone(self._normalised(image))
        return F.relu(self.norm(self.reduce(features))).flatten(start_dim=1)

    def pass_frozen_layers(self, image: Tensor) -> Tensor:
        """What the layers that do not learn make of images, (B, C, h, w); it stays the same."""
        return (self._folded or self._frozen_layers)[0](self._normalised(image))

    def _normalised(self, image: Tensor) -> Tensor:
        image = (image - self.pixel_mean) / self.pixel_std
        return image.contiguous(memory_format=self.memory_format)

    def _confidence(self, features: Tensor) -> Confidence:
        raw = self.confidence(features).float().clamp(*_LOG_SCALES)
        with _full_precision(features):
            rotation, translation = raw.exp().unbind(dim=-1)
            novelty = self.novelty(features.float())
        return Confidence(rotation, translation * self.translation_spread, novelty)

    def _poses_about(self, centers: Pose, unit_m: Tensor, features: Tensor) -> Pose:
        """Poses (B, ...) relative to centres (...), their positions in units of so many metres."""
        shape = centers.translation.shape[:-1]
        raw_rotation = self.rotation(features).float().unflatten(-1, (*shape, -1))
        raw_translation = self.translation(features).float().unflatten(-1, (*shape, 3))
        with _full_precision(features):
            rotation = self.representation.to_rotation(raw_rotation + self.identity)
            return Pose(centers.rotation @ rotation, raw_translation * unit_m + centers.translation)


def to_float(image: Tensor) -> Tensor:
    """Images in [0, 1] from bytes; bytes are cheaper to move between processes and devices."""
    return image.float() / 255.0


def _full_precision(tensor: Tensor) -> AbstractContextManager:
    """No autocast; an exported network, which has none, cannot hold the context either."""
    return nullcontext() if is_exporting() else torch.autocast(tensor.device.type, enabled=False)


def _branch(inputs: int, outputs: int, hidden: int = 256) -> nn.Sequential:
    """Two-layer perceptron that starts near zero, so that training starts at the mean pose."""
    last = nn.Linear(hidden, outputs)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), last)
