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
# An image is of another place if it is more novel than all but this share of the validation images,
# and than the median of their mirror images, which look like the scene and are of no place.
_RARE = 0.01
# Of fewer validation images one may be more novel than all, and be of the scene.
_FEWEST = 19


class Calibration(NamedTuple):
    """What n validation images showed, each sorted, (n,), float64.

    Attributes:
        rotation_ratios: Rotation errors in units of their predicted scales.
        translation_ratios: Translation errors likewise.
        novelties: Their novelty.
        mirrored_novelties: The novelty of their mirror images.
    """

    rotation_ratios: Tensor
    translation_ratios: Tensor
    novelties: Tensor
    mirrored_novelties: Tensor


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
    confidence: Confidence,
    rotation_error: Tensor,
    translation_error: Tensor,
    mirrored_novelty: Tensor,
) -> Calibration:
    """Calibration by images whose errors are known.

    Args:
        confidence: Of n images, (n,).
        rotation_error: Radians, (n,).
        translation_error: Metres, (n,).
        mirrored_novelty: Of their mirror images, (n,).
    """
    ratios = (
        rotation_error.double() / confidence.rotation_scale.double(),
        translation_error.double() / confidence.translation_scale.double(),
        confidence.novelty.double(),
        mirrored_novelty.double(),
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
        same_scene = confidence.novelty.double() <= most_novel(calibration)
    radius = torch.rad2deg(factors[0] * confidence.rotation_scale.double())
    return PoseConfidence(
        radius.clamp(max=180.0),
        factors[1] * confidence.translation_scale.double(),
        familiarity,
        same_scene,
    )


def most_novel(calibration: Calibration) -> float:
    """Novelty above which an image is said to be of another scene; infinite where that is unknown.

    What validation images alone would allow is too strict: they come from training recordings, and
    an image from farther away is more novel. Their mirror images show how novel another place that
    looks alike would be.
    """
    count = len(calibration.novelties)
    if count < _FEWEST:
        return math.inf
    rank = min(count, math.ceil((count + 1) * (1.0 - _RARE)))
    usual = float(calibration.novelties[rank - 1])
    return max(usual, float(calibration.mirrored_novelties.median()))


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
