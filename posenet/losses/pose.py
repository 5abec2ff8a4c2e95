"""The training loss of a pose: a rotation term and a translation term, weighed."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from posenet.config import LossConfig
from posenet.errors import look_up
from posenet.geometry import Pose
from posenet.losses.robust import ROBUST_LOSSES
from posenet.losses.rotation import ROTATION_LOSSES


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

    Source: Kendall and Cipolla, Geometric Loss Functions for Camera Pose Regression, CVPR 2017.
    """

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.rotation_loss = look_up(ROTATION_LOSSES, config.rotation, "rotation loss")
        self.translation_loss = look_up(
            ROBUST_LOSSES, config.translation, "translation loss"
        ).function
        self.config = config
        self.log_variance = None
        if config.weighting == "learned":
            self.log_variance = nn.Parameter(torch.zeros(2))  # rotation, translation

    def forward(self, prediction: Pose, target: Pose) -> PoseLossTerms:
        """Loss of predicted poses, rotation (B, 3, 3) and translation (B, 3) in metres."""
        rotation = self.rotation_loss(prediction.rotation, target.rotation).mean()
        # The length of the residual, not its components: the loss must not depend on world axes.
        distance = torch.linalg.vector_norm(prediction.translation - target.translation, dim=-1)
        translation = self.translation_loss(distance, scale=self.config.translation_scale)
        if self.log_variance is None:
            total = (
                self.config.rotation_weight * rotation
                + self.config.translation_weight * translation
            )
        else:
            terms = torch.stack((rotation, translation))
            total = (torch.exp(-self.log_variance) * terms + self.log_variance).sum()
        return PoseLossTerms(total, rotation, translation)
