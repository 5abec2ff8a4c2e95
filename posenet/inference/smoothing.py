"""Smoothing the poses of a recording over time, on SO(3) x R^3 and against outliers.

Around the time of each pose the motion is taken for uniform: a geodesic of rotations, a line of
positions. It is fitted to the poses nearby, which count by a Gaussian of their distance in time and
less the worse they fit. A motion that *is* uniform stays as it is, at any times, also at the ends
of the recording and where nothing later is known; a mean of the poses nearby would lag there.

Source: Cleveland, Robust Locally Weighted Regression and Smoothing Scatterplots, JASA 74, 1979, for
the method; Hartley et al., Rotation Averaging, IJCV 2013, sections 5.2 and 5.5, for the tangent
space and the L1 start; the robust weights are psi(z) / z of Geman and McClure's loss.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile

import torch
from torch import Tensor

from posenet.geometry import (
    Pose,
    mean_rotation,
    rotation_from_rotvec,
    rotation_to_rotvec,
    stack_poses,
)
from posenet.inference.answers import Localized
from posenet.losses import ROBUST_LOSSES

# Beyond so many widths a Gaussian is nothing.
_REACH = 3.0

_L1_STEPS, _ROBUST_STEPS = 6, 6
_FEWEST_TO_JUDGE = 5  # poses: three lie near any line
_EFFICIENT_SCALE = ROBUST_LOSSES["geman_mcclure"].efficient_scale

# Median length of a vector of three Gaussian components, in their standard deviation.
_MEDIAN_LENGTH = 1.538

_TOGETHER = 32  # poses fitted at a time


def smooth_poses(poses: Pose, times_s: Tensor, width_s: float, causal: bool = False) -> Pose:
    """Smoothed poses of a recording, each from those around it.

    Equivariant: the poses of a moved world are smoothed to moved poses.

    Args:
        poses: (N,), float64.
        times_s: When each was taken, (N,), rising; at any distances.
        width_s: Standard deviation of the Gaussian by which neighbours count; those more than three
            away do not.
        causal: Use no later poses.

    Returns:
        (N,) poses.

    Raises:
        ValueError: The width is not positive and finite, or the times do not rise.
    """
    _check_width(width_s)
    times_s = times_s.double()
    if not bool((times_s.diff() > 0.0).all()):
        raise ValueError("times_s: expected rising times, found one that is not after the last")
    if not len(times_s):
        return poses
    parts = [_smooth_at(poses, times_s, at, width_s, causal) for at in times_s.split(_TOGETHER)]
    return Pose(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def smooth_localized(
    localized: Iterable[Localized], width_s: float, causal: bool
) -> Iterator[Localized]:
    """Smooth the frames of recordings as they come; single images pass as they are.

    The network's own pose is kept as ``raw``. A window of frames waits for later ones.

    Args:
        localized: Frames of a recording follow one another.
        width_s: As for :func:`smooth_poses`.
        causal: Likewise; nothing waits then.

    Raises:
        ValueError: The width is not positive and finite.
    """
    _check_width(width_s)
    for recording, entries in groupby(localized, key=lambda entry: entry.recording):
        if recording is None:
            yield from entries
        else:
            yield from _smooth_recording(entries, width_s, causal)


def _smooth_recording(
    entries: Iterable[Localized], width_s: float, causal: bool
) -> Iterator[Localized]:
    reach_s = _REACH * width_s
    known: list[Localized] = []  # whose poses have a say in those that wait
    waiting: deque[Localized] = deque()

    def finish(count: int) -> Iterator[Localized]:
        done = [waiting.popleft() for _ in range(count)]
        yield from _smoothed(done, known, width_s, causal)
        times = [entry.time_s for entry in waiting if entry.pose is not None]
        oldest = min(times, default=known[-1].time_s if known else 0.0) - reach_s
        known[:] = [entry for entry in known if entry.time_s >= oldest]

    for entry in entries:
        waiting.append(entry)
        if entry.pose is None:
            continue
        known.append(entry._replace(picture=None))  # its pose is all that is asked for again
        until_s = entry.time_s - (0.0 if causal else reach_s)
        ready = sum(1 for _ in takewhile(lambda e: e.pose is None or e.time_s <= until_s, waiting))  # noqa: B023
        if ready >= (1 if causal else _TOGETHER):
            yield from finish(ready)
    yield from finish(len(waiting))


def _smoothed(
    entries: Sequence[Localized], known: Sequence[Localized], width_s: float, causal: bool
) -> Iterator[Localized]:
    """Some frames of a recording, given what is known of those around them."""
    at = [entry.time_s for entry in entries if entry.pose is not None]
    if not at:
        yield from entries
        return
    poses = stack_poses([entry.pose for entry in known])
    times = torch.tensor([entry.time_s for entry in known], dtype=torch.float64)
    smooth = _smooth_at(poses, times, torch.tensor(at, dtype=torch.float64), width_s, causal)
    own = iter(zip(*smooth, strict=True))
    for entry in entries:
        yield entry._replace(pose=Pose(*next(own)), raw=entry.pose) if entry.pose else entry


def _smooth_at(poses: Pose, times_s: Tensor, at_s: Tensor, width_s: float, causal: bool) -> Pose:
    """Smoothed poses at some times (M,), given those at times (N,)."""
    first = torch.searchsorted(times_s, at_s - _REACH * width_s)
    end = torch.searchsorted(times_s, at_s if causal else at_s + _REACH * width_s, right=True)
    index = first[:, None] + torch.arange(int((end - first).max()))
    inside = index < end[:, None]
    index = index.clamp_max(len(times_s) - 1)
    offset_s = torch.where(inside, times_s[index] - at_s[:, None], 0.0)
    near = torch.exp(-0.5 * (offset_s / width_s).square()) * inside
    return _fit(Pose(poses.rotation[index], poses.translation[index]), offset_s, near)


def _fit(poses: Pose, offset_s: Tensor, near: Tensor) -> Pose:
    """The poses at offset 0 of the uniform motions that fit windows of poses (M, W) best.

    Rotations are compared in the tangent space at the answer itself, where the geodesics through
    it are lines. Each step moves the answer and weighs anew.

    Args:
        poses: (M, W).
        offset_s: When each was taken, from the time of the answer on.
        near: Weights by that; 0 for what is not there.
    """
    judge = ((near > 0.0).sum(dim=-1) >= _FEWEST_TO_JUDGE)[:, None]
    rotation, translation = mean_rotation(poses.rotation, near), poses.translation[:, 0]
    weights = [near, near]
    for step in range(1 + _L1_STEPS + _ROBUST_STEPS):
        tangent = rotation_to_rotvec(rotation[:, None].mT @ poses.rotation)
        turn, turns = _line(tangent, offset_s, weights[0])
        rotation = rotation @ rotation_from_rotvec(turn)
        # From the last answer, which keeps the digits of a scene that is far from 0.
        move, moves = _line(poses.translation - translation[:, None], offset_s, weights[1])
        translation = translation + move
        trust = _l1_weights if step < _L1_STEPS else _robust_weights
        weights = [near * torch.where(judge, trust(part, near), 1.0) for part in (turns, moves)]
    return Pose(rotation, translation)


def _line(values: Tensor, offset_s: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted regression lines of values (M, W, 3): where they are at offset 0, and residuals."""
    share = (weight / weight.sum(dim=-1, keepdim=True))[..., None]
    mean_s = (share * offset_s[..., None]).sum(dim=-2, keepdim=True)
    mean = (share * values).sum(dim=-2, keepdim=True)
    time = offset_s[..., None] - mean_s
    spread = (share * time.square()).sum(dim=-2, keepdim=True)
    slope = (share * time * (values - mean)).sum(dim=-2, keepdim=True) / spread.clamp_min(1e-300)
    return (mean - slope * mean_s).squeeze(-2), values - mean - slope * time


def _l1_weights(residual: Tensor, near: Tensor) -> Tensor:
    """Of a fit that no outlier can carry away, in which outliers still count."""
    length, scale = _lengths(residual, near)
    return scale / torch.maximum(length, 0.1 * scale)


def _robust_weights(residual: Tensor, near: Tensor) -> Tensor:
    """``psi(z) / z`` of Geman and McClure's loss, at the scale of the residuals themselves."""
    length, scale = _lengths(residual, near)
    z = length / (_EFFICIENT_SCALE * scale)
    return 16.0 / (z.square() + 4.0).square()


def _lengths(residual: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths of residuals (M, W, 3), and the standard deviation that their median tells."""
    length = torch.linalg.vector_norm(residual, dim=-1)
    ordered, order = length.sort(dim=-1)
    passed = near.gather(-1, order).cumsum(dim=-1)
    middle = (passed < 0.5 * passed[..., -1:]).sum(dim=-1, keepdim=True)
    scale = ordered.gather(-1, middle) / _MEDIAN_LENGTH
    return length, scale.clamp_min(1e-12 + 1e-9 * length.amax(dim=-1, keepdim=True))


def _check_width(width_s: float) -> None:
    if not 0.0 < width_s < float("inf"):
        raise ValueError(f"width_s: expected seconds, more than 0, got {width_s:g}")
