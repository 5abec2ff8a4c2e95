"""Losses: what is minimised. Plain functions, one table per family; a config names a row."""

from posenet.losses.pose import PoseLoss, PoseLossTerms
from posenet.losses.robust import ROBUST_LOSSES, cauchy, huber, l1, l2
from posenet.losses.rotation import ROTATION_LOSSES

__all__ = [
    "ROBUST_LOSSES",
    "ROTATION_LOSSES",
    "PoseLoss",
    "PoseLossTerms",
    "cauchy",
    "huber",
    "l1",
    "l2",
]
