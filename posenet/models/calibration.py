"""What held-out images teach about a network's confidence: how much its scales are to be believed.

A network is sure of what it was trained on. On images it has not seen, its scales still tell easy
ones from hard ones, but not how large errors are. Conformal calibration asks validation images by
what factor the scales must be multiplied for a given share of the errors to lie within.
"""

import math
from typing import NamedTuple

import torch
from scipy.special import gammaincinv
from torch import Tensor

from posenet.models.network import Confidence

LEVEL = 0.9  # share of truths that an interval shall hold, where nothing else is asked
# An image less familiar than all validation images, or than all but so many of them, is of another
# place.
_LEAST_FAMILIARITY = 0.01


class Calibration(NamedTuple):
    """What n validation images showed, each sorted, (n,), float64.

    Attributes:
        rotation_ratios: Rotation errors in units of their predicted scales.
        translation_ratios: Translation errors likewise.
        novelties: Their novelty.
    """

    rotation_ratios: Tensor
    translation_ratios: Tensor
    novelties: Tensor


class PoseConfidence(NamedTuple):
    """How sure a pose is; batched, each entry has a leading dimension.

    Attributes:
        rotation_radius_deg: The true rotation is expected within this angle, degrees, at most 180.
        translation_radius_m: The true camera centre is expected within this distance, metres (or
            the scene's unit). Infinite where validation images are too few for the level asked.
        familiarity: Share of validation images that were at least as unlike the training images,
            in (0, 1]; NaN without validation.
        same_scene: Whether the image may show the scene; true where nothing is known.
    """

    rotation_radius_deg: Tensor
    translation_radius_m: Tensor
    familiarity: Tensor
    same_scene: Tensor


def make_calibration(
    confidence: Confidence, rotation_error: Tensor, translation_error: Tensor
) -> Calibration:
    """Calibration by images whose errors are known.

    Args:
        confidence: Of n images, (n,).
        rotation_error: Radians, (n,).
        translation_error: Metres, (n,).
    """
    ratios = (
        rotation_error.double() / confidence.rotation_scale.double(),
        translation_error.double() / confidence.translation_scale.double(),
        confidence.novelty.double(),
    )
    return Calibration(*(values.sort().values for values in ratios))


def pose_confidence(
    confidence: Confidence, calibration: Calibration | None, level: float = LEVEL
) -> PoseConfidence:
    """Intervals and familiarity from what a network says and what validation taught.

    Args:
        confidence: Of B images.
        calibration: None for a network that was trained without validation: radii are then those
            of the densities it was trained with, and too small on images it has not seen.
        level: Share of truths that the radii shall hold, in (0, 1).

    Returns:
        (B,) each, float64.

    Raises:
        ValueError: The level is out of range.
    """
    factors = radius_factors(calibration, level)
    if calibration is None:
        familiarity = torch.full_like(confidence.novelty, math.nan, dtype=torch.float64)
        same_scene = torch.ones_like(familiarity, dtype=torch.bool)
    else:
        count = len(calibration.novelties)
        below = torch.searchsorted(calibration.novelties, confidence.novelty.double())
        familiarity = (count - below).double().add(1.0) / (count + 1.0)
        same_scene = familiarity > max(_LEAST_FAMILIARITY, 1.0 / (count + 1.0))
    radius = torch.rad2deg(factors[0] * confidence.rotation_scale.double())
    return PoseConfidence(
        radius.clamp(max=180.0),
        factors[1] * confidence.translation_scale.double(),
        familiarity,
        same_scene,
    )


def radius_factors(calibration: Calibration | None, level: float) -> tuple[float, float]:
    """By what the scales of rotation and translation are multiplied for radii of a level.

    Args:
        calibration: As of :func:`pose_confidence`.
        level: Share of truths that the radii shall hold, in (0, 1).

    Raises:
        ValueError: The level is out of range.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: expected a share in (0, 1), got {level}")
    if calibration is None:
        # The distance has a gamma distribution of shape 3; so has the angle while it is small.
        return (float(gammaincinv(3.0, level)),) * 2
    return (
        conformal_quantile(calibration.rotation_ratios, level),
        conformal_quantile(calibration.translation_ratios, level),
    )


def conformal_quantile(scores: Tensor, level: float) -> float:
    """What a new score of the same kind does not exceed with a probability of ``level`` at least.

    Args:
        scores: Sorted, (n,).
        level: In (0, 1).

    Returns:
        The score of rank ``ceil((n + 1) level)``, not the plain quantile, which is exceeded more
        often; infinite where n is too small for the level.

    Source: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; as split
    conformal prediction in Lei et al., JASA 113, 2018. It holds for scores that come in no order.
    Frames of a video do: what held on test frames is part of every evaluation.
    """
    rank = math.ceil(round((len(scores) + 1) * level, 9))
    return float(scores[rank - 1]) if rank <= len(scores) else math.inf
