"""Losses: what is minimised. Plain functions, one table per family; a config names a row."""

from posenet.losses.accounting import EpochMean
from posenet.losses.adaptive import AdaptiveRobustLoss, log_partition
from posenet.losses.classification import (
    CLASSIFICATION_LOSSES,
    LossSum,
    cross_entropy,
    cross_entropy_sum_and_weight,
    distillation,
    kl_divergence,
    nll,
    sample_weights,
    softmax_mse,
    top1_accuracy,
)
from posenet.losses.label_smoothing import SMOOTHING_CONVENTIONS, smooth_labels
from posenet.losses.likelihood import (
    log_rotation_partition,
    rotation_laplace_nll,
    translation_laplace_nll,
)
from posenet.losses.pose import PoseLoss, PoseLossTerms
from posenet.losses.robust import (
    ROBUST_LOSSES,
    cauchy,
    geman_mcclure,
    general_robust,
    huber,
    l1,
    l2,
    pseudo_huber,
    smooth_l1,
    welsch,
)
from posenet.losses.rotation import (
    ROTATION_LOSSES,
    chordal_loss,
    chordal_squared_loss,
    geodesic_loss,
    quaternion_geodesic_loss,
    quaternion_l2_loss,
)
from posenet.losses.viewpoint import viewpoint_targets

__all__ = [
    "CLASSIFICATION_LOSSES",
    "ROBUST_LOSSES",
    "ROTATION_LOSSES",
    "SMOOTHING_CONVENTIONS",
    "AdaptiveRobustLoss",
    "EpochMean",
    "LossSum",
    "PoseLoss",
    "PoseLossTerms",
    "cauchy",
    "chordal_loss",
    "chordal_squared_loss",
    "cross_entropy",
    "cross_entropy_sum_and_weight",
    "distillation",
    "geman_mcclure",
    "general_robust",
    "geodesic_loss",
    "huber",
    "kl_divergence",
    "l1",
    "l2",
    "log_partition",
    "log_rotation_partition",
    "nll",
    "pseudo_huber",
    "quaternion_geodesic_loss",
    "quaternion_l2_loss",
    "rotation_laplace_nll",
    "sample_weights",
    "smooth_l1",
    "smooth_labels",
    "softmax_mse",
    "top1_accuracy",
    "translation_laplace_nll",
    "viewpoint_targets",
    "welsch",
]
