"""Whether a network's confidence holds: what its intervals cover, and which images it disowns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from posenet.datasets.images import read_image
from posenet.evaluation.metrics import PoseErrors, bootstrap_mean
from posenet.inference.localizer import Localizer
from posenet.inference.photos import Pixels
from posenet.inference.sources import find_images
from posenet.models.calibration import LEVEL, PoseConfidence
from posenet.models.network import Prediction

NOT_CALIBRATED = (
    "not calibrated: the run had no validation frames, or was stopped before its end (--resume "
    "finishes it)"
)
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


class EvaluatedConfidence(NamedTuple):
    """The confidence in N predictions beside their errors.

    Attributes:
        at_level: Intervals that should hold ``LEVEL`` of the truths.
        rotation_coverage: Share of truths that intervals of each of ``LEVELS`` hold.
        translation_coverage: The same of camera centres.
        novelty: Of each image, (N,).
        calibration_frames: Validation images that the intervals were calibrated with; 0 for none.
    """

    at_level: PoseConfidence
    rotation_coverage: list[float]
    translation_coverage: list[float]
    novelty: NDArray[np.float64]
    calibration_frames: int


def evaluate_confidence(
    localizer: Localizer, prediction: Prediction, errors: PoseErrors
) -> EvaluatedConfidence | None:
    """Hold a network's confidence against the errors it made; None where it has none."""
    at_level = localizer.confidence(prediction)
    if at_level is None:
        return None
    coverage: tuple[list[float], list[float]] = ([], [])
    for level in LEVELS:
        radii = localizer.confidence(prediction, level)
        for shares, inside in zip(coverage, _inside(radii, errors), strict=True):
            shares.append(float(inside.mean()))
    calibration = localizer.checkpoint.calibration
    return EvaluatedConfidence(
        at_level,
        *coverage,
        prediction.confidence.novelty.numpy(),
        0 if calibration is None else len(calibration.novelties),
    )


def summarise_confidence(
    confidence: EvaluatedConfidence, errors: PoseErrors, sequences: Sequence[str]
) -> dict[str, Any]:
    """What ``evaluation.json`` says of it.

    Args:
        confidence: Of N frames.
        errors: Of the same frames.
        sequences: The sequence of each frame, for the bootstrap.

    Returns:
        ``level``, ``calibration_frames``; of rotation and translation ``*_coverage`` with its
        interval ``*_coverage_95``, ``*_coverage_by_level``, ``median_*_radius_*``,
        ``*_rank_correlation`` of radius and error; and ``flagged``, the share of frames that are
        said to be of another scene.
    """
    radii = confidence.at_level
    values: dict[str, Any] = {
        "level": LEVEL,
        "calibration_frames": confidence.calibration_frames,
        "levels": list(LEVELS),
    }
    rows = (
        ("rotation", "deg", radii.rotation_radius_deg.numpy(), errors.rotation_deg),
        ("translation", "m", radii.translation_radius_m.numpy(), errors.translation_m),
    )
    inside = _inside(radii, errors)
    for (name, unit, radius, error), held in zip(rows, inside, strict=True):
        values[f"{name}_coverage"] = float(held.mean())
        values[f"{name}_coverage_95"] = bootstrap_mean(held, sequences)
        values[f"{name}_coverage_by_level"] = getattr(confidence, f"{name}_coverage")
        values[f"median_{name}_radius_{unit}"] = float(np.median(radius))
        values[f"{name}_rank_correlation"] = _rank_correlation(radius, error)
    values["flagged"] = float((~radii.same_scene.numpy()).mean())
    return values


def measure_other_scene(
    localizer: Localizer, novelty: NDArray[np.float64], folder: Path
) -> dict[str, Any]:
    """How well images of another place are told from those of the scene.

    They are cut to the proportions of the training images, so that no grey border gives them away.

    Args:
        localizer: The network.
        novelty: Of test images of its own scene, (N,).
        folder: Images of another place.

    Returns:
        ``images``, ``flagged`` (the share said to be of another scene) and ``auroc``: how often one
        of them is more novel than a test image, ties counting half.

    Raises:
        DataError: The folder holds no image, or one that cannot be read.
    """
    turns = localizer.checkpoint.turns_photos
    paths = find_images(folder)
    images = (cut_to_camera(read_image(path, turned=turns), localizer) for path in paths)
    prediction = localizer.predict_fully(localizer.fit(image) for image in images)
    other = prediction.confidence.novelty.numpy()
    ranks = stats.rankdata(np.concatenate((other, novelty)))[: len(other)]
    auroc = (ranks.mean() - (len(other) + 1) / 2) / len(novelty)
    flagged = ~localizer.confidence(prediction).same_scene.numpy()
    return {"images": len(other), "flagged": float(flagged.mean()), "auroc": float(auroc)}


def format_confidence(values: dict[str, Any], unit: str) -> str:
    """The summary in a few lines for people."""
    calibrated = (
        f"calibrated on {values['calibration_frames']} validation frames"
        if values["calibration_frames"]
        else NOT_CALIBRATED
    )
    parts = []
    for name, key, symbol, form in (
        ("rotation", "median_rotation_radius_deg", "deg", ".2f"),
        ("translation", "median_translation_radius_m", unit, ".3f"),
    ):
        low, high = values[f"{name}_coverage_95"]
        parts.append(
            f"{values[f'{name}_coverage']:.0%} of {name}s ({low:.0%} to {high:.0%}; median radius "
            f"{values[key]:{form}} {symbol}, rank correlation with the error "
            f"{values[f'{name}_rank_correlation']:.2f})"
        )
    lines = [
        f"confidence, {calibrated}: intervals for {values['level']:.0%} held {' and '.join(parts)}",
        f"said to be of another scene: {values['flagged']:.1%} of these frames",
    ]
    for folder, other in values.get("other_scenes", {}).items():
        lines.append(
            f"  of {other['images']} images in {folder}: {other['flagged']:.1%}, "
            f"AUROC {other['auroc']:.3f}"
        )
    return "\n".join(lines)


def _inside(
    radii: PoseConfidence, errors: PoseErrors
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which intervals hold the truth, for rotations and for translations."""
    return (
        errors.rotation_deg <= radii.rotation_radius_deg.numpy(),
        errors.translation_m <= radii.translation_radius_m.numpy(),
    )


def _rank_correlation(radius: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    """Spearman's; NaN where either does not vary."""
    if len(radius) < 3 or np.ptp(stats.rankdata(radius)) == 0 or np.ptp(stats.rankdata(error)) == 0:
        return float("nan")
    return float(stats.spearmanr(radius, error).statistic)


def cut_to_camera(image: Pixels, localizer: Localizer) -> Pixels:
    """The middle of an image, of the training images' proportions."""
    height, width = image.shape[:2]
    camera = localizer.checkpoint.intrinsics  # the network's own images may be squeezed
    scale = min(width / camera.width, height / camera.height)
    wide, high = round(scale * camera.width), round(scale * camera.height)
    left, top = (width - wide) // 2, (height - high) // 2
    return np.ascontiguousarray(image[top : top + high, left : left + wide])
