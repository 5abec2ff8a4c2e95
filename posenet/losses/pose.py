"""The training loss of a pose: a rotation term and a translation term, weighed."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from posenet.config import LossConfig
from posenet.errors import look_up
from posenet.geometry import Pose
from posenet.losses.adaptive import AdaptiveRobustLoss
from posenet.losses.robust import ROBUST_LOSSES, general_robust
from posenet.losses.rotation import ROTATION_LOSSES

# 10 cm in a room of 7-Scenes.
_SCALE_OF_SPREAD = 0.2


class PoseLossTerms(NamedTuple):
    """The loss of a batch and what it is made of, all scalars."""

    total: Tensor
    rotation: Tensor
    translation: Tensor


class PoseLoss(nn.Module):
    """Rotation loss plus robust translation loss, with fixed or learned weights.

    Learned weights are homoscedastic log-variances ``s``: each term counts ``exp(-s) loss + s``, so
    that the balance between radians and metres is found in training. They are parameters of this
    module, and must stay out of weight decay, which would pull the balance to an arbitrary 1.

    A translation loss whose scale is learned is a negative log-likelihood already, and may be
    negative: it has no log-variance on top, which would be driven to minus infinity.

    Args:
        config: The settings.
        spread: Root mean square distance of the training positions to their mean, in metres or the
            scene's own unit; gives the scale of the translation loss where the settings do not.

    Source: Kendall and Cipolla, Geometric Loss Functions for Camera Pose Regression, CVPR 2017.
    """

    def __init__(self, config: LossConfig, spread: float = 0.5) -> None:
        super().__init__()
        if config.translation_scale is None:
            config = replace(config, translation_scale=_SCALE_OF_SPREAD * spread)
        self.rotation_loss = look_up(ROTATION_LOSSES, config.rotation, "rotation loss").function
        self.translation_loss = _translation_loss(config)
        self.config = config
        self.log_variance = None
        if config.weighting == "learned":
            weighed = 1 if config.translation_learned else 2  # rotation, translation
            self.log_variance = nn.Parameter(torch.zeros(weighed))

    def forward(self, prediction: Pose, target: Pose, share: Tensor | None = None) -> PoseLossTerms:
        """Loss of predicted poses.

        Args:
            prediction: Rotation (B, 3, 3) and translation (B, 3) in metres; with ``share`` K
                candidates for each, (B, K, 3, 3) and (B, K, 3).
            target: True poses, rotation (B, 3, 3) and translation (B, 3).
            share: How much each candidate counts, (B, K), 1 in all for each target.

        Raises:
            ValueError: The shapes do not belong together.
        """
        if share is not None:
            target = Pose(
                target.rotation.unsqueeze(1).expand_as(prediction.rotation),
                target.translation.unsqueeze(1).expand_as(prediction.translation),
            )
        if prediction.translation.shape != target.translation.shape:
            # They would broadcast, and train on pairs that do not belong together.
            raise ValueError(
                f"translation: expected shape {tuple(target.translation.shape)} as the target's, "
                f"got {tuple(prediction.translation.shape)}"
            )
        reduction = "mean" if share is None else "none"
        rotation = self.rotation_loss(prediction.rotation, target.rotation, reduction=reduction)
        # The length of the residual, not its components: the loss must not depend on world axes.
        distance = torch.linalg.vector_norm(prediction.translation - target.translation, dim=-1)
        translation = self.translation_loss(distance, reduction=reduction)
        if share is not None:
            rotation = (share * rotation).sum(dim=-1).mean()
            translation = (share * translation).sum(dim=-1).mean()
        terms = torch.stack((rotation, translation))
        if self.log_variance is None:
            weights = self.config.rotation_weight, self.config.translation_weight
            total = (terms * terms.new_tensor(weights)).sum()
        else:
            weighed = len(self.log_variance)
            total = (torch.exp(-self.log_variance) * terms[:weighed] + self.log_variance).sum()
            total = total + terms[weighed:].sum()
        return PoseLossTerms(total, rotation, translation)


def _translation_loss(config: LossConfig) -> Callable[..., Tensor]:
    function = look_up(ROBUST_LOSSES, config.translation, "translation loss").function
    if config.translation_learned:
        return AdaptiveRobustLoss(config.translation_alpha, config.translation_scale)
    if function is general_robust:
        function = partial(function, alpha=config.translation_alpha)
    return partial(function, scale=config.translation_scale)
