"""How far test frames are from what was trained on, and whether errors follow that distance."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from posenet.evaluation.metrics import PoseErrors
from posenet.geometry import (
    Pose,
    geodesic_distance,
    mean_rotation,
    translation_distance,
)

Array = NDArray[np.float64]

_PAIRS_AT_ONCE = 500_000


class NearestTraining(NamedTuple):
    """The training pose nearest to each of N poses.

    Attributes:
        index: Which training pose, (N,).
        distance_m: Between the two camera centres, (N,), in the scene's unit.
        angle_deg: Between the two rotations, (N,), degrees.
    """

    index: NDArray[np.int64]
    distance_m: Array
    angle_deg: Array


def nearest_training_pose(train: Pose, poses: Pose) -> NearestTraining:
    """The training pose nearest to each pose: what a perfect retrieval of images would answer.

    A distance counts in units of the spread of the training positions, an angle in units of the
    spread of the training rotations, as viewpoint bins count them.

    Args:
        train: Training poses, (M,), M > 0.
        poses: Finite poses, (N,).
    """
    train, poses = (
        Pose(*(part.detach().cpu().double() for part in pose)) for pose in (train, poses)
    )
    turn = geodesic_distance(train.rotation, mean_rotation(train.rotation))
    shift = translation_distance(train.translation, train.translation.mean(dim=0))
    scales = [max(float(part.square().mean().sqrt()), 1e-6) for part in (turn, shift)]
    # Which pose is nearest may rest on the digits of a cosine; how near it is, below, may not.
    known, asked = train.rotation.flatten(1), poses.rotation.flatten(1)
    chunk = max(1, _PAIRS_AT_ONCE // len(known))
    chosen = []
    for rotation, center in zip(asked.split(chunk), poses.translation.split(chunk), strict=True):
        angle = (0.5 * (rotation @ known.T - 1.0)).clamp(-1.0, 1.0).acos()
        # Not by a product of matrices, which loses a georeferenced scene's digits.
        far = torch.cdist(center, train.translation, compute_mode="donot_use_mm_for_euclid_dist")
        chosen.append(((angle / scales[0]).square() + (far / scales[1]).square()).argmin(dim=1))
    index = torch.cat(chosen)
    angle = geodesic_distance(train.rotation[index], poses.rotation)
    distance = translation_distance(train.translation[index], poses.translation)
    return NearestTraining(index.numpy(), distance.numpy(), torch.rad2deg(angle).numpy())


def summarise_nearest(nearest: NearestTraining, errors: PoseErrors) -> dict[str, Any]:
    """Whether a network betters the nearest training pose, and whether distance makes it worse.

    Args:
        nearest: The nearest training pose of N frames.
        errors: Their errors, (N,).

    Returns:
        For ``translation`` and ``rotation``: ``median_..``, how far the nearest training poses are;
        ``better_..``, the share of frames whose error is smaller than that;
        ``near_quarter_median_error_..`` and ``far_quarter_median_error_..``, the median errors of
        the quarters of the frames with the smallest and the largest distance, NaN of fewer than
        four frames.
    """
    summary: dict[str, Any] = {}
    for name, unit, far, error in (
        ("translation", "m", nearest.distance_m, errors.translation_m),
        ("rotation", "deg", nearest.angle_deg, errors.rotation_deg),
    ):
        summary[f"median_{name}_{unit}"] = float(np.median(far))
        summary[f"better_{name}"] = float(np.mean(error < far))
        order, quarter = np.argsort(far, kind="stable"), len(far) // 4
        for where, part in (("near", order[:quarter]), ("far", order[len(far) - quarter :])):
            median = float(np.median(error[part])) if quarter else math.nan
            summary[f"{where}_quarter_median_error_{name}_{unit}"] = median
    return summary
