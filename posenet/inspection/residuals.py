"""How well matched points agree with poses: the distance to where a point could be seen.

A point seen at x by one camera lies on a ray, and another camera sees that ray as a piece of a
line: from the image of the point at infinity to the image of the first camera. The error of a match
is its distance to that *piece*, in pixels. Along the line's normal this is the epipolar distance;
beyond the ends it is what a point behind a camera would need. One number thus holds rotation,
direction of translation and cheirality, and stays meaningful where the cameras hardly moved: the
piece shrinks to a point, and the rotation alone is judged.

A global scale of the translations changes nothing here, nor does turning or moving the world.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Errors are cut off at this share of the focal length: a point on the wrong side of the camera is
# infinitely wrong, and one that is half an image away tells nothing more than that it is wrong.
CUT_OFF = 0.25


class Matches(NamedTuple):
    """Matched points of P image pairs, M of them in all.

    Attributes:
        first: Index of the first frame of each pair, (P,).
        second: Index of the second one, (P,).
        pair: Index of the pair that a match belongs to, ascending, (M,).
        points_first: Points of the first images on the plane z = 1, lens undone, (M, 2).
        points_second: Their matches in the second images, (M, 2).
        focal: Mean focal length of the second image, in its pixels, (P,).
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    pair: NDArray[np.int64]
    points_first: Array
    points_second: Array
    focal: Array


class Relative(NamedTuple):
    """``x_second = turn @ x_first + shift`` for each of P pairs."""

    turn: Array
    shift: Array


def relative_poses(rotations: Array, centers: Array, matches: Matches) -> Relative:
    """Poses of the second cameras relative to the first, from camera-to-world labels.

    Args:
        rotations: Of all frames, (N, 3, 3).
        centers: Camera centres of all frames, (N, 3).
        matches: Names the pairs.
    """
    i, j = matches.first, matches.second
    back = rotations[j].swapaxes(1, 2)
    return Relative(back @ rotations[i], np.einsum("pab,pb->pa", back, centers[i] - centers[j]))


def match_errors(relative: Relative, matches: Matches) -> Array:
    """Distance of every match to where it could be, the mean of both images, pixels, (M,)."""
    turn, shift = relative.turn[matches.pair], relative.shift[matches.pair]
    forth = _distance(turn, shift, matches.points_first, matches.points_second)
    back = turn.swapaxes(1, 2)
    return_shift = -np.einsum("mab,mb->ma", back, shift)
    backward = _distance(back, return_shift, matches.points_second, matches.points_first)
    return 0.5 * (forth + backward) * matches.focal[matches.pair]


def pair_errors(relative: Relative, matches: Matches) -> Array:
    """Median error of each pair's matches, pixels, (P,)."""
    return per_pair(match_errors(relative, matches), matches.pair, len(matches.first))


def per_pair(values: Array, pair: NDArray[np.int64], count: int) -> Array:
    """Median of the values of each pair; NaN for a pair without any. (count,)."""
    ends = np.searchsorted(pair, np.arange(count + 1))
    parts = [values[a:b] for a, b in pairwise(ends)]
    parts = [part[np.isfinite(part)] for part in parts]
    return np.array([np.median(part) if len(part) else np.nan for part in parts])


def triangulate(relative: Relative, matches: Matches) -> tuple[Array, Array]:
    """Depth of every match in the first camera, in the unit of the labels, and its parallax.

    Returns:
        Depths, NaN where the point is at infinity or behind, (M,); and how far the match lies from
        the image of the point at infinity, in pixels of the second image, (M,). A depth is as good
        as its parallax is large.
    """
    turn, shift = relative.turn[matches.pair], relative.shift[matches.pair]
    far = np.einsum("mab,mb->ma", turn, _homogeneous(matches.points_first))
    with np.errstate(divide="ignore", invalid="ignore"):
        line = shift[:, :2] * far[:, 2:] - far[:, :2] * shift[:, 2:]
        length = np.linalg.norm(line, axis=1)
        moved = matches.points_second - far[:, :2] / far[:, 2:]
        along = (moved * line).sum(axis=1) / length
        inverse = along * far[:, 2] ** 2 / (length - along * far[:, 2] * shift[:, 2])
        depth = np.where((inverse > 0) & (far[:, 2] > 0), 1.0 / inverse, np.nan)
    parallax = np.abs(along) * matches.focal[matches.pair]
    return np.where(np.isfinite(depth), depth, np.nan), np.nan_to_num(parallax)


def _distance(turn: Array, shift: Array, seen: Array, found: Array) -> Array:
    """Distance of ``found`` to the images of all points in front on the rays of ``seen``, (M,).

    With ``a`` the ray in the other camera and ``b`` the shift, the points are ``a + r b`` for
    inverse depths r >= 0. Their image runs along ``line``, away from that of ``a`` if that lies in
    front, and towards that of ``b`` if that does.
    """
    a, b = np.einsum("mab,mb->ma", turn, _homogeneous(seen)), shift
    line = b[:, :2] * a[:, 2:] - a[:, :2] * b[:, 2:]
    length = np.linalg.norm(line, axis=1)
    unit = line / np.maximum(length, 1e-12)[:, None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a_front, b_front = a[:, 2] > 1e-9, b[:, 2] > 1e-9
        start = np.where(a_front[:, None], a[:, :2] / a[:, 2:], b[:, :2] / b[:, 2:])
        extent = np.where(a_front & b_front, length / (a[:, 2] * b[:, 2]), np.inf)
    # Where infinity is behind, the piece starts at the image of b and runs the other way.
    unit = np.where(a_front[:, None], unit, -unit)
    offset = found - np.nan_to_num(start, posinf=1e6, neginf=-1e6)
    along = (offset * unit).sum(axis=1)
    beyond = along - np.clip(along, 0.0, extent)
    across = np.abs(offset[:, 0] * unit[:, 1] - offset[:, 1] * unit[:, 0])
    # Without any shift there is no line, only a point.
    distance = np.where(length > 1e-12, np.hypot(across, beyond), np.linalg.norm(offset, axis=1))
    distance = np.where(a_front | b_front, distance, CUT_OFF)
    return np.minimum(distance, CUT_OFF)


def _homogeneous(points: Array) -> Array:
    return np.concatenate((points, np.ones((len(points), 1))), axis=1)
