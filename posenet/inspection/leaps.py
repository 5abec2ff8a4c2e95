"""Steps of the labels that are much longer than those around them, held against the images."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from posenet.datasets.frame import Frame
from posenet.geometry import Intrinsics
from posenet.inspection.geometry_fit import FITS_RAD
from posenet.inspection.images import ImageFacts
from posenet.inspection.matching import Matcher, gather_matches
from posenet.inspection.residuals import pair_errors, relative_poses, triangulate
from posenet.inspection.trajectory import Steps, local_median

Array = NDArray[np.float64]

# A step is worth a look when it is these many times the steps around it.
LEAP = 3.0
MOST_LEAPS = 12  # Looked at; each costs the matching of a pair.


class Leap(NamedTuple):
    """A step of the labels that is much longer than those around it.

    Attributes:
        first: Index of the frame before it.
        second: Index of the frame after it.
        ratio: Its length over the median of those around it.
        error: Median error of the matches of the two images, radians; NaN where they share too
            little.
        depth: Median depth of the matches by the labels, as a multiple of what the cameras see
            elsewhere: a step that never was pushes everything away. NaN where the matches do not
            tell.
    """

    first: int
    second: int
    ratio: float
    error: float
    depth: float


def find_leaps(
    frames: Sequence[Frame],
    steps: Steps,
    poses: tuple[Array, Array],
    cameras: Sequence[Intrinsics],
    images: Sequence[ImageFacts],
    matcher: Matcher,
    view_distance: float,
    report: Callable[[int, int], None] | None = None,
) -> list[Leap]:
    """The longest steps relative to those around them, the longest first.

    A length is a motion of the image: the angle, plus the distance over that of what is seen. A
    long step is no fault by itself (people turn round, recordings pause): the images decide.

    Args:
        frames: All frames.
        steps: Their steps.
        poses: Their rotations (N, 3, 3) and centres (N, 3).
        cameras: Their cameras.
        images: Which images can be matched.
        matcher: Matches them.
        view_distance: Of what the cameras see, in the unit of the labels.
        report: Called with (done, total).
    """
    turn, shift = steps.angle, steps.distance / view_distance
    usual = local_median(frames, steps, turn + shift)
    ratio = np.zeros(len(turn))
    # Turns hide a shift that is long by itself, and the other way round; where it is less than the
    # usual step in all it is no leap, however still the camera stood.
    for part in (turn + shift, turn, shift):
        alone = part / np.maximum(local_median(frames, steps, part), 1e-9)
        ratio = np.maximum(ratio, np.where(part >= usual, alone, 0.0))
    long = np.flatnonzero((ratio > LEAP) & (usual > 0))
    chosen = long[np.argsort(-ratio[long], kind="stable")][:MOST_LEAPS]
    leaps = []
    for done, step in enumerate(chosen):
        if report is not None:
            report(done, len(chosen))
        first, second = int(steps.first[step]), int(steps.second[step])
        error = depth = np.nan
        known = images[first].thumbnail is not None and images[second].thumbnail is not None
        pair = matcher.match(first, second) if known else None
        if pair is not None:
            matches = gather_matches([pair], cameras, frames)
            relative = relative_poses(*poses, matches)
            error = float(pair_errors(relative, matches)[0] / matches.focal[0])
            depths, _ = triangulate(relative, matches)
            # Only a step that must be seen can be missed; behind counts as infinitely far.
            if shift[step] > max(FITS_RAD, usual[step]):
                inverse = np.where(np.isfinite(depths), 1.0 / depths, 0.0)
                depth = 1.0 / max(float(np.median(inverse)) * view_distance, 1e-9)
        leaps.append(Leap(first, second, float(ratio[step]), error, depth))
    return leaps
