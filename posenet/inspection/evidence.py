"""Everything the checks look at, gathered once."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from posenet.datasets.frame import Frame
from posenet.geometry import project_to_rotation
from posenet.inspection.depth_fit import DepthFit, fit_depth
from posenet.inspection.geometry_fit import GeometryFit, fit_geometry
from posenet.inspection.images import ImageFacts, identical_images, read_images
from posenet.inspection.leaps import Leap, find_leaps
from posenet.inspection.matching import Matcher, PairMatches, sample_pairs
from posenet.inspection.raw import raw_rotations
from posenet.inspection.residuals import relative_poses, triangulate
from posenet.inspection.trajectory import (
    Nearest,
    Steps,
    nearest_training_poses,
    walk_steps,
)

Array = NDArray[np.float64]
Report = Callable[[str, int, int], None]

MOST_IMAGES, PAIRS = 2000, 48


class Evidence(NamedTuple):
    """Facts about N frames.

    Attributes:
        frames: The frames.
        metric: Whether their format claims metres.
        rotations: As given, (N, 3, 3); the identity where a pose is not finite.
        centers: As given, (N, 3); 0 where a pose is not finite.
        finite: Whether the pose is finite, (N,).
        raw: Rotation matrices as the files hold them, NaN where there are none, (N, 3, 3).
        images: What is known of each image.
        identical: Groups of frames with one image, byte for byte.
        pairs: Matched pairs of frames.
        pairs_tried: How many pairs were looked for.
        geometry: How poses and camera agree with the pairs; None without pairs.
        depth: How depth agrees; None without depth or pairs.
        registered: How it agrees if its pixels are taken for the colour image's, where they are
            said not to be; None elsewhere.
        view_distance: Median distance of what the cameras see, in the unit of the labels; a
            quarter of the extent where no image tells.
        steps: Steps along the sequences.
        leaps: The longest steps, compared with the images where there are any.
        nearest: Nearest training pose of each test frame; None without test frames.
    """

    frames: Sequence[Frame]
    metric: bool
    rotations: Array
    centers: Array
    finite: NDArray[np.bool_]
    raw: Array
    images: list[ImageFacts]
    identical: list[list[int]]
    pairs: list[PairMatches]
    pairs_tried: int
    geometry: GeometryFit | None
    depth: DepthFit | None
    registered: DepthFit | None
    view_distance: float
    steps: Steps
    leaps: list[Leap]
    nearest: Nearest | None


def gather_evidence(
    frames: Sequence[Frame],
    metric: bool,
    *,
    pairs: int = PAIRS,
    most_images: int = MOST_IMAGES,
    report: Report | None = None,
) -> Evidence:
    """Look at labels, images and depth.

    Args:
        frames: All frames, in order within each sequence.
        metric: Whether the poses are said to be in metres.
        pairs: About how many pairs of images to match.
        most_images: Images to decode at most for what concerns each image by itself.
        report: Called with (what, done, total).
    """

    def progress(what: str) -> Callable[[int, int], None] | None:
        return None if report is None else lambda done, total: report(what, done, total)

    rotations = np.stack([frame.pose.rotation.double().numpy() for frame in frames])
    centers = np.stack([frame.pose.translation.double().numpy() for frame in frames])
    finite = np.isfinite(rotations).all(axis=(1, 2)) & np.isfinite(centers).all(axis=1)
    rotations[~finite], centers[~finite] = np.eye(3), 0.0

    images = read_images(frames, most_images, progress("reading images"))
    usable = [
        image if good else image._replace(thumbnail=None)
        for image, good in zip(images, finite, strict=True)
    ]
    matcher = Matcher(frames)
    matched, tried = sample_pairs(frames, usable, matcher, pairs, progress("matching images"))
    # What is no rotation is told as such; the nearest one shows what else is wrong. A reflection
    # has no nearest rotation, and its relative poses are taken as they are.
    proper = np.linalg.det(rotations) > 0
    nearest = project_to_rotation(torch.from_numpy(rotations)).numpy()
    straight = np.where(proper[:, None, None], nearest, rotations)
    geometry = fit_geometry(frames, straight, centers, matched)
    extent = float(np.linalg.norm(np.ptp(centers[finite], axis=0))) if finite.any() else 0.0
    view_distance, depth, registered = 0.25 * extent or 1.0, None, None
    if geometry is not None:
        relative = relative_poses(geometry.rotations, geometry.centers, geometry.matches)
        depths, parallax = triangulate(relative, geometry.matches)
        clear = np.isfinite(depths) & (parallax > 2.0)
        if clear.sum() >= 30:
            view_distance = float(np.median(depths[clear]))
        depth = fit_depth(frames, matched, geometry.matches, depths, parallax)
        if any(frame.depth_camera is not None for frame in frames):
            others = [replace(frame, depth_camera=None) for frame in frames]
            registered = fit_depth(others, matched, geometry.matches, depths, parallax)
    # With explained faults undone: a wrong convention must not show up as a hundred jumps as well.
    fixed = (straight, centers) if geometry is None else (geometry.rotations, geometry.centers)
    steps = walk_steps(frames, *fixed, finite)
    cameras = [frame.intrinsics for frame in frames]
    if geometry is not None and geometry.camera is not None:
        cameras = [geometry.camera.change(camera) for camera in cameras]
    leaps = find_leaps(
        frames, steps, fixed, cameras, usable, matcher, view_distance, progress("checking steps")
    )
    return Evidence(
        frames,
        metric,
        rotations,
        centers,
        finite,
        raw_rotations(frames),
        images,
        identical_images(frames),
        matched,
        tried,
        geometry,
        depth,
        registered,
        view_distance,
        steps,
        leaps,
        nearest_training_poses(frames, *fixed, finite, view_distance),
    )
