"""Matched points between frames that see the same: what the poses are held against.

Frames are paired by what the images show, never by the poses: those are on trial.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from posenet.datasets.frame import Frame
from posenet.geometry import Distortion, Intrinsics
from posenet.inspection.images import (
    READ_ERRORS,
    ImageFacts,
    describe_thumbnails,
    read_grey,
)
from posenet.inspection.residuals import Matches

Array = NDArray[np.float64]
Report = Callable[[int, int], None]

LONGEST_PX = 640  # Images are matched at this size: finer ones take long and tell little more.
KEYPOINTS = 1000
RATIO = (
    0.8  # Of the nearest to the second nearest descriptor. Source: Lowe, IJCV 2004, section 7.1.
)
INLIER_PX = 1.5  # From the epipolar line of a fundamental matrix, which knows no pose and no lens.
FEWEST_MATCHES = 30  # 7 fix a fundamental matrix: these many agree with one hardly by chance.
MOST_MATCHES = 100  # Kept per pair, so that no pair dominates the time.
# Median motion of the matches as a share of the longer side: less tells nothing from noise, more
# leaves few points in common. Two aims, for pairs that are near and pairs that are far apart.
LEAST_MOTION, AIMS = 0.03, ((0.04, 0.12), (0.10, 0.30))
ATTEMPTS = 5


class Features(NamedTuple):
    """SIFT keypoints of an image, in its pixels on disk, (K, 2), and descriptors, (K, 128)."""

    points: NDArray[np.float32]
    descriptors: NDArray[np.float32]


class PairMatches(NamedTuple):
    """Matches of one pair of images that agree with one fundamental matrix.

    Attributes:
        first: Index of the first frame.
        second: Index of the second frame.
        points_first: In pixels of the first image on disk, (M, 2).
        points_second: Their matches, (M, 2).
        motion: Median length of the matches, as a share of the longer side.
    """

    first: int
    second: int
    points_first: Array
    points_second: Array
    motion: float


class Matcher:
    """Matches frames by number, and remembers the features of the last ones it saw."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self._sift = cv2.SIFT_create(nfeatures=KEYPOINTS, contrastThreshold=0.02)
        self._brute_force = cv2.BFMatcher(cv2.NORM_L2)
        self.features = lru_cache(maxsize=64)(self._features)

    def _features(self, index: int) -> Features:
        frame = self.frames[index]
        try:
            grey, scale_x, scale_y = read_grey(frame, LONGEST_PX)
        except READ_ERRORS:
            return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
        keypoints, descriptors = self._sift.detectAndCompute(grey, None)
        if descriptors is None:
            return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
        points = np.array([keypoint.pt for keypoint in keypoints], np.float32)
        points = (points + 0.5) / np.float32((scale_x, scale_y)) - 0.5
        # The square root of the histogram compares it by Hellinger's distance.
        # Source: Arandjelovic and Zisserman, CVPR 2012, section 3.
        descriptors /= np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-7)
        return Features(points, np.sqrt(descriptors))

    def match(self, first: int, second: int) -> PairMatches | None:
        """Matches of two frames; None where fewer than ``FEWEST_MATCHES`` agree."""
        a, b = self.features(first), self.features(second)
        if min(len(a.points), len(b.points)) < FEWEST_MATCHES:
            return None
        forth = self._nearest(a, b)
        back = dict(self._nearest(b, a))
        mutual = np.array([(i, j) for i, j in forth if back.get(j) == i], dtype=np.int64)
        if len(mutual) < FEWEST_MATCHES:
            return None
        from_points, to_points = a.points[mutual[:, 0]], b.points[mutual[:, 1]]
        intrinsics = self.frames[first].intrinsics
        longest = max(intrinsics.width, intrinsics.height)
        limit = INLIER_PX * max(longest / LONGEST_PX, 1.0)
        inlier = _agreeing(from_points, to_points, limit)
        if inlier is None or int(inlier.sum()) < FEWEST_MATCHES:
            return None
        kept = np.flatnonzero(inlier.ravel())
        motion = np.linalg.norm(to_points[kept] - from_points[kept], axis=1)
        kept = kept[np.linspace(0, len(kept) - 1, min(len(kept), MOST_MATCHES)).astype(int)]
        return PairMatches(
            first,
            second,
            from_points[kept].astype(np.float64),
            to_points[kept].astype(np.float64),
            float(np.median(motion)) / longest,
        )

    def _nearest(self, a: Features, b: Features) -> list[tuple[int, int]]:
        found = self._brute_force.knnMatch(a.descriptors, b.descriptors, k=2)
        return [
            (best.queryIdx, best.trainIdx)
            for best, second in (pair for pair in found if len(pair) == 2)
            if best.distance < RATIO * second.distance
        ]


def _agreeing(
    first: NDArray[np.float32], second: NDArray[np.float32], limit: float
) -> NDArray[np.uint8] | None:
    """Which matches agree with one fundamental matrix, to ``limit`` pixels."""
    # The first is better, but raises on some degenerate samples.
    for method in (cv2.USAC_MAGSAC, cv2.FM_RANSAC):
        try:
            return cv2.findFundamentalMat(first, second, method, limit, 0.999, 2000)[1]
        except cv2.error:
            continue
    return None


def sample_pairs(
    frames: Sequence[Frame],
    images: Sequence[ImageFacts],
    matcher: Matcher,
    count: int,
    report: Report | None = None,
) -> tuple[list[PairMatches], int]:
    """Match about ``count`` pairs, spread over all sequences.

    Within a sequence the distance of the partners is found by trying: as far apart as the images
    still share enough. Where neighbours share nothing, the most similar image is tried instead.

    Returns:
        The pairs, and how many were looked for.
    """
    readable = [i for i, image in enumerate(images) if image.thumbnail is not None]
    members: dict[str, list[int]] = {}
    for index in readable:
        members.setdefault(frames[index].sequence, []).append(index)
    vectors = None
    pairs: dict[tuple[int, int], PairMatches] = {}
    anchors = _anchors(members, count)
    gaps: dict[tuple[str, int], int] = {}
    for done, (sequence, place) in enumerate(anchors):
        if report is not None:
            report(done, len(anchors))
        order, aim = members[sequence], done % len(AIMS)
        gap = gaps.get((sequence, aim), 1)
        found, gap = _walk(order, place, gap, AIMS[aim], matcher)
        if found is None:
            if vectors is None:
                vectors = describe_thumbnails(np.stack([images[i].thumbnail for i in readable]))
            found = _most_similar(order[place], readable, vectors, matcher)
        else:
            gaps[sequence, aim] = gap
        if found is not None:
            pairs[found.first, found.second] = found
    return list(pairs.values()), len(anchors)


def _anchors(members: dict[str, list[int]], count: int) -> list[tuple[str, int]]:
    """Sequence and place in it of the first frame of each pair; every sequence has a few."""
    total = sum(map(len, members.values())) or 1
    anchors = []
    for sequence, order in members.items():
        wanted = max(round(count * len(order) / total), 4)
        places = np.linspace(0, len(order) - 1, wanted + 2)[1:-1] if len(order) > 1 else []
        anchors += [(sequence, int(place)) for place in np.unique(np.asarray(places, int))]
    return anchors


def _walk(
    order: list[int], place: int, gap: int, aim: tuple[float, float], matcher: Matcher
) -> tuple[PairMatches | None, int]:
    """Try partners farther away while the images hardly move, and nearer where they share little.

    Returns:
        The best pair that moves enough, and its distance in frames.
    """
    best: PairMatches | None = None
    best_gap, lower, upper = gap, 0, len(order)
    for _ in range(ATTEMPTS):
        partner = place + gap if place + gap < len(order) else place - gap
        if gap < 1 or partner < 0 or gap <= lower or gap >= upper:
            break
        found = matcher.match(order[place], order[partner])
        if found is None or found.motion > aim[1]:
            upper = gap
        else:
            lower = gap
        if found is not None and found.motion >= LEAST_MOTION:
            better = best is None or abs(found.motion - sum(aim) / 2) < abs(
                best.motion - sum(aim) / 2
            )
            best, best_gap = (found, gap) if better else (best, best_gap)
            if aim[0] <= found.motion <= aim[1]:
                break
        gap = 2 * gap if upper > 2 * gap else (lower + upper) // 2
    return best, best_gap


def _most_similar(
    index: int, readable: list[int], vectors: NDArray[np.float32], matcher: Matcher
) -> PairMatches | None:
    alike = vectors @ vectors[readable.index(index)]
    for place in np.argsort(-alike)[1:4]:
        found = matcher.match(index, readable[place])
        if found is not None and found.motion >= LEAST_MOTION:
            return found
    return None


def to_rays(points: Array, intrinsics: Intrinsics, distortion: Distortion | None) -> Array:
    """Points of the plane z = 1 from pixels, (M, 2), the lens undone."""
    matrix = intrinsics.matrix
    if distortion is None:
        return (points - matrix[:2, 2]) / np.diag(matrix)[:2]
    coefficients = np.array(distortion.coefficients)
    undo = cv2.fisheye.undistortPoints if distortion.model == "fisheye" else cv2.undistortPoints
    return undo(points[:, None], matrix, coefficients)[:, 0]


def gather_matches(
    pairs: Sequence[PairMatches], cameras: Sequence[Intrinsics], frames: Sequence[Frame]
) -> Matches:
    """All pairs as rays of the given cameras, one per frame."""
    rays_first = [to_rays(p.points_first, cameras[p.first], _lens(frames, p.first)) for p in pairs]
    rays_second = [
        to_rays(p.points_second, cameras[p.second], _lens(frames, p.second)) for p in pairs
    ]
    second = [cameras[p.second] for p in pairs]
    return Matches(
        np.array([p.first for p in pairs], np.int64),
        np.array([p.second for p in pairs], np.int64),
        np.repeat(np.arange(len(pairs)), [len(p.points_first) for p in pairs]),
        np.concatenate([*rays_first, np.zeros((0, 2))]),
        np.concatenate([*rays_second, np.zeros((0, 2))]),
        np.array([0.5 * (c.focal_x + c.focal_y) for c in second]),
    )


def _lens(frames: Sequence[Frame], index: int) -> Distortion | None:
    return frames[index].distortion
