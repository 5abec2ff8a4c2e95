"""Pose errors per frame, what they come to, and how sure that is; float64 throughout.

Every frame of the ground truth counts: one without a prediction, or with one that is not finite,
has an infinite error in both translation and rotation. Leaving such frames out, as ``nanmedian``
does, makes a method look better the more often it fails.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from posenet.errors import DataError
from posenet.evaluation.recall import DEFAULT_RECALL, Threshold, recall_key
from posenet.geometry import (
    Pose,
    geodesic_distance,
    project_to_rotation,
    translation_distance,
)

Array = NDArray[np.float64]

_RESAMPLES_AT_ONCE = 50
_FEWEST = 4  # frames of which an interval can be told


class PoseErrors(NamedTuple):
    """Errors of N frames; infinite where there was no usable prediction.

    Attributes:
        translation_m: Distances between camera centres, (N,), metres, float64.
        rotation_deg: Angles between camera rotations, (N,), degrees, float64.
    """

    translation_m: Array
    rotation_deg: Array


def pose_errors(prediction: Pose, truth: Pose) -> PoseErrors:
    """Errors of predicted poses, frame by frame.

    Rotations are projected to SO(3) in float64 first, because those of a float32 network are
    orthonormal to 1e-7 only.

    Args:
        prediction: Poses of shape (N,), of any dtype, on any device. Not finite: no prediction.
        truth: Poses of shape (N,).

    Returns:
        The errors, (N,). Accurate to float64 rounding of the given poses.

    Raises:
        ValueError: The shapes are not those of N poses each.
        DataError: A true pose is not finite.
    """
    prediction, truth = _in_float64("prediction", prediction), _in_float64("truth", truth)
    if len(prediction.translation) != len(truth.translation):
        raise ValueError(
            f"expected as many predictions as true poses, got {len(prediction.translation)} "
            f"and {len(truth.translation)}"
        )
    if not (known := _is_finite(truth)).all():
        raise DataError(f"true pose {known.logical_not().nonzero()[0].item()} is not finite")
    usable = _is_finite(prediction)
    rotation = torch.where(usable[:, None, None], prediction.rotation, truth.rotation)
    angle = geodesic_distance(project_to_rotation(rotation), project_to_rotation(truth.rotation))
    distance = translation_distance(prediction.translation, truth.translation)
    return PoseErrors(
        torch.where(usable, distance, torch.inf).numpy(),
        torch.where(usable, torch.rad2deg(angle), torch.inf).numpy(),
    )


def summarise(errors: PoseErrors, recall: Sequence[Threshold] = DEFAULT_RECALL) -> dict[str, float]:
    """What the errors of a test set come to.

    Medians and means are infinite where too many (for a mean: any) frames have no prediction.

    Args:
        errors: Errors of N frames, N > 0.
        recall: Thresholds, metres and degrees.

    Returns:
        ``frames`` (N), ``median_translation_m``, ``median_rotation_deg``, ``mean_translation_m``,
        ``mean_rotation_deg``, ``rmse_translation_m`` and ``rmse_rotation_deg`` (the root mean
        square, which trajectories are compared by) and, for each threshold, the share of frames in
        [0, 1] within both of its numbers, such as ``recall_5cm_5deg``.

    Raises:
        DataError: There are no frames.
    """
    if len(errors.translation_m) == 0:
        raise DataError("expected at least one frame to summarise, got none")
    return {key: float(value) for key, value in _statistics(errors, recall).items()}


def bootstrap_intervals(
    errors: PoseErrors,
    sequences: Sequence[str],
    recall: Sequence[Threshold] = DEFAULT_RECALL,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    block: int = 10,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of everything ``summarise`` returns, by a moving-block bootstrap.

    Neighbouring video frames look alike and so do their errors; drawing single frames would take
    them for independent and give intervals far too narrow. Blocks of consecutive frames are drawn
    instead, inside each sequence, as many as make up its length. The intervals say how the figures
    vary with the frames of *these* sequences, not with the choice of sequences.

    Args:
        errors: Errors of N frames; those of a sequence in the order they were recorded.
        sequences: The sequence each frame belongs to, (N,).
        recall: Thresholds, as of ``summarise``.
        level: Share of resamples inside the interval, in (0, 1).
        resamples: How many test sets to draw.
        block: Consecutive frames drawn together, at least 1; at most a quarter of the frames they
            are drawn from. Sequences shorter than two blocks are taken together.
        seed: Equal seeds give equal intervals.

    Returns:
        (lower, upper) for each key of ``summarise``; NaN for fewer than four frames, which say
        nothing of how errors vary.

    Raises:
        ValueError: A length or a setting is out of range.
        DataError: There are no frames.

    Source: Kunsch, The Jackknife and the Bootstrap for General Stationary Observations, Annals of
    Statistics 17(3), 1989.
    """
    parts = [
        _statistics(_drawn(errors, drawn), recall)
        for drawn in _resample(len(errors.translation_m), sequences, level, resamples, block, seed)
    ]
    return _percentiles(parts, level, len(errors.translation_m))


def bootstrap_differences(
    errors: PoseErrors,
    reference: PoseErrors,
    sequences: Sequence[str],
    recall: Sequence[Threshold] = DEFAULT_RECALL,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    block: int = 10,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of how much ``summarise`` differs between two methods.

    Both are drawn on the same frames each time, so that what makes a frame hard for both cancels:
    an interval without 0 tells them apart where their own intervals may overlap.

    Args:
        errors: Errors of N frames by one method.
        reference: Errors of the same frames by another, which is subtracted.
        sequences: The sequence each frame belongs to, (N,).
        recall: Thresholds, as of ``summarise``.
        level: Share of resamples inside the interval, in (0, 1).
        resamples: How many test sets to draw.
        block: Consecutive frames drawn together.
        seed: Equal seeds give equal intervals.

    Returns:
        (lower, upper) for each key of ``summarise``; NaN where both are infinite.

    Raises:
        ValueError: A length or a setting is out of range.
        DataError: There are no frames.
    """
    if len(errors.translation_m) != len(reference.translation_m):
        raise ValueError(
            f"expected errors of the same frames, got {len(errors.translation_m)} "
            f"and {len(reference.translation_m)}"
        )
    parts = []
    for drawn in _resample(len(errors.translation_m), sequences, level, resamples, block, seed):
        ours, theirs = (
            _statistics(_drawn(method, drawn), recall) for method in (errors, reference)
        )
        with np.errstate(invalid="ignore"):  # inf - inf
            parts.append({key: ours[key] - theirs[key] for key in ours})
    return _percentiles(parts, level, len(errors.translation_m))


def bootstrap_mean(
    values: NDArray[Any], sequences: Sequence[str], level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of a mean over frames, by the bootstrap of :func:`bootstrap_intervals`.

    Args:
        values: Of N frames; those of a sequence in the order they were recorded.
        sequences: The sequence each frame belongs to, (N,).
        level: Share of resamples inside the interval, in (0, 1).
    """
    drawn = _resample(len(values), sequences, level, resamples=1000, block=10, seed=0)
    parts = [{"mean": np.asarray(values, np.float64)[indices].mean(axis=1)} for indices in drawn]
    return _percentiles(parts, level, len(values))["mean"]


def json_ready(value: Any) -> Any:
    """The same nested value for ``json.dump``: infinite and NaN numbers become None (``null``).

    JSON has neither, and Python would write ``Infinity``, which other readers refuse. Mappings,
    sequences, NamedTuples, numpy arrays and numpy scalars are turned into dicts, lists and numbers.
    """
    if isinstance(value, Mapping):
        return {str(key): json_ready(entry) for key, entry in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return json_ready(value._asdict())
    if isinstance(value, list | tuple):
        return [json_ready(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return json_ready(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _statistics(errors: PoseErrors, recall: Sequence[Threshold]) -> dict[str, Array]:
    """``summarise`` over the last axis: (..., N) errors give (...) values."""
    translation_m, rotation_deg = errors
    values = {
        "frames": np.full(translation_m.shape[:-1], float(translation_m.shape[-1])),
        "median_translation_m": np.median(translation_m, axis=-1),
        "median_rotation_deg": np.median(rotation_deg, axis=-1),
        "mean_translation_m": np.mean(translation_m, axis=-1),
        "mean_rotation_deg": np.mean(rotation_deg, axis=-1),
        "rmse_translation_m": np.sqrt(np.mean(np.square(translation_m), axis=-1)),
        "rmse_rotation_deg": np.sqrt(np.mean(np.square(rotation_deg), axis=-1)),
    }
    for metres, degrees in recall:
        within = (translation_m <= metres) & (rotation_deg <= degrees)
        values[recall_key(metres, degrees)] = np.mean(within, axis=-1)
    return values


def _resample(
    frames: int, sequences: Sequence[str], level: float, resamples: int, block: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Frame indices of resampled test sets, some sets at a time, (sets, frames)."""
    if len(sequences) != frames:
        raise ValueError(f"sequences: expected {frames} names, got {len(sequences)}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: expected a share in (0, 1), got {level}")
    if resamples < 1 or block < 1:
        raise ValueError(f"expected resamples and block >= 1, got {resamples} and {block}")
    if not sequences:
        raise DataError("expected at least one frame to resample, got none")
    names = np.asarray(sequences)
    members = [np.flatnonzero(names == name) for name in dict.fromkeys(sequences)]
    # A sequence of a block or two would be drawn as it is, time after time, and seem certain.
    short = [part for part in members if len(part) < 2 * block]
    members = [part for part in members if len(part) >= 2 * block]
    members += [np.concatenate(short)] if short else []
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):  # a few at a time, to bound the memory
        count = min(_RESAMPLES_AT_ONCE, resamples - start)
        yield np.concatenate([_draw_blocks(m, count, block, generator) for m in members], axis=1)


def _drawn(errors: PoseErrors, drawn: NDArray[np.int64]) -> PoseErrors:
    return PoseErrors(*(values[drawn] for values in errors))


def _percentiles(
    parts: Sequence[Mapping[str, Array]], level: float, frames: int
) -> dict[str, tuple[float, float]]:
    tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    intervals = {}
    for key in parts[0]:
        values = np.concatenate([part[key] for part in parts])
        # Without interpolation, which would make inf - inf = nan of infinite errors.
        lower, upper = np.quantile(values, tails, method="inverted_cdf")
        intervals[key] = (float(lower), float(upper)) if frames >= _FEWEST else (math.nan, math.nan)
    return intervals


def _draw_blocks(
    members: NDArray[np.int64], resamples: int, block: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Frame indices of one sequence, resampled in blocks, (resamples, len(members))."""
    length = len(members)
    block = max(1, min(block, length // 4))
    blocks = -(-length // block)
    starts = generator.integers(0, length - block + 1, size=(resamples, blocks, 1))
    return members[(starts + np.arange(block)).reshape(resamples, -1)[:, :length]]


def _in_float64(name: str, pose: Pose) -> Pose:
    rotation, translation = tuple(pose.rotation.shape), tuple(pose.translation.shape)
    if translation[1:] != (3,) or rotation != (*translation, 3):
        raise ValueError(
            f"{name}: expected rotation (N, 3, 3) and translation (N, 3), "
            f"got {rotation} and {translation}"
        )
    return _on_cpu(pose)


def _on_cpu(pose: Pose) -> Pose:
    return Pose(*(part.detach().to("cpu", torch.float64) for part in pose))


def _is_finite(pose: Pose) -> torch.Tensor:
    finite_rotation = pose.rotation.isfinite().flatten(1).all(dim=1)
    return finite_rotation & pose.translation.isfinite().all(dim=1)
