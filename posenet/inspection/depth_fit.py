"""Depth images against the poses: the scale of the translations, and whether depth belongs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from posenet.datasets.depth import depth_for_color
from posenet.datasets.frame import Frame
from posenet.datasets.images import read_depth
from posenet.errors import DataError
from posenet.geometry import Intrinsics
from posenet.inspection.matching import PairMatches, to_rays
from posenet.inspection.residuals import Matches, per_pair

Array = NDArray[np.float64]

WIDTH = 160  # Depth is looked up at this width: it has few details, and holes are filled in it.
# A depth from a parallax of these many pixels is good to about a tenth.
LEAST_PARALLAX_PX = 8.0
FEWEST_DEPTHS = 100  # Points that decide; with a tenth of noise each, their median is good to 1 %.


class DepthFit(NamedTuple):
    """Depth by the poses (triangulated) as a multiple of depth by the sensor.

    Attributes:
        scale: Median of the ratio over all points: 1 where positions and depth are in one unit.
        spread: Median absolute deviation of its logarithm.
        chance: The same with the depth image of another frame each.
        points: Points it was measured on.
        misfits: Indices of frames whose own depth is far off the others' scale.
        unreadable: Indices of frames of which the depth image cannot be read.
    """

    scale: float
    spread: float
    chance: float
    points: int
    misfits: list[int]
    unreadable: list[int]


def fit_depth(
    frames: Sequence[Frame],
    pairs: Sequence[PairMatches],
    matches: Matches,
    depths: Array,
    parallax: Array,
) -> DepthFit | None:
    """Compare triangulated depth with measured depth at the matches.

    Args:
        frames: All frames.
        pairs: The pairs, P of them.
        matches: Their matches, M of them.
        depths: Depth of each match in the first image by the poses, NaN where unknown, (M,).
        parallax: Of each match in pixels, (M,).

    Returns:
        None where no frame of a pair has depth.
    """
    cache: dict[int, Array | None] = {}
    for pair in pairs:
        if frames[pair.first].depth_path is not None and pair.first not in cache:
            cache[pair.first] = _depth(frames[pair.first])
    if not cache:
        return None
    unreadable = [index for index, depth in cache.items() if depth is None]
    known = [index for index, depth in cache.items() if depth is not None]
    measured, foreign = np.full(len(depths), np.nan), np.full(len(depths), np.nan)
    for number, pair in enumerate(pairs):
        if pair.first in known:
            mine = matches.pair == number
            other = known[(known.index(pair.first) + len(known) // 2) % len(known)]
            pixels = pair.points_first, frames[pair.first]
            measured[mine] = _look_up(cache[pair.first], *pixels)
            foreign[mine] = _look_up(cache[other], *pixels)
    focal = matches.focal[matches.pair]
    clear = np.isfinite(depths) & (parallax > LEAST_PARALLAX_PX * np.maximum(focal / 525.0, 0.25))
    logs, chance = (_log_ratio(depths, part, clear) for part in (measured, foreign))
    points = int(np.isfinite(logs).sum())
    if points < FEWEST_DEPTHS:
        return DepthFit(np.nan, np.nan, np.nan, points, [], unreadable)
    scale = float(np.nanmedian(logs))
    by_pair = per_pair(logs - scale, matches.pair, len(pairs))
    misfits = [p.first for p, off in zip(pairs, by_pair, strict=True) if abs(off) > np.log(2.0)]
    return DepthFit(
        float(np.exp(scale)), _spread(logs), _spread(chance), points, misfits, unreadable
    )


def _log_ratio(depths: Array, measured: Array, clear: NDArray[np.bool_]) -> Array:
    usable = clear & (measured > 0)
    return np.where(usable, np.log(np.where(usable, depths / measured, 1.0)), np.nan)


def _spread(logs: Array) -> float:
    """Median absolute deviation."""
    known = logs[np.isfinite(logs)]
    return float(np.median(np.abs(known - np.median(known)))) if len(known) else np.nan


def _small(camera: Intrinsics) -> Intrinsics:
    """The camera of the small depth images, of straight lines."""
    return camera.resized(WIDTH, max(1, round(WIDTH * camera.height / camera.width)))


def _depth(frame: Frame) -> Array | None:
    """Depth as the colour camera sees it, metres, small; None where it cannot be read."""
    try:
        depth = read_depth(frame.depth, frame.depth_scale)
    except DataError:
        return None
    camera = frame.intrinsics
    return depth_for_color(depth, frame.depth_camera, camera, frame.distortion, _small(camera))


def _look_up(depth: Array, points: Array, frame: Frame) -> Array:
    rays = to_rays(points, frame.intrinsics, frame.distortion)
    pixels = _small(frame.intrinsics).project(np.column_stack((rays, np.ones(len(rays)))))
    column, row = np.rint(np.nan_to_num(pixels)).astype(int).T
    height, width = depth.shape
    return depth[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
