"""Which poses and which camera explain the matches: as given, or with one thing undone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from posenet.datasets.frame import Frame
from posenet.geometry import Intrinsics
from posenet.inspection.hypotheses import HYPOTHESES, Hypothesis
from posenet.inspection.matching import PairMatches, gather_matches
from posenet.inspection.residuals import Matches, pair_errors, relative_poses

Array = NDArray[np.float64]

# All errors are judged as angles (pixels over focal length), which no image size changes. A wrong
# convention costs degrees; at a quarter of a degree there is nothing to put right.
FAULT_RAD = 0.004
# Poses that fit to a degree are the right ones with noise; those that do not fit nothing.
FITS_RAD = 0.02
BAD_RAD = 0.03
# Another explanation must be twice as good, and better in three quarters of the pairs: with five
# pairs or more neither happens by noise, and a convention that is really wrong gives ten times.
BETTER, SHARE, FEWEST_PAIRS = 0.5, 0.75, 5
# Rare mistakes must fit clearly better than common ones to be named instead.
RARE = 0.67
# A camera is a continuum, and a slightly wrong one costs little and some pairs nothing: the bar is
# a lower mean, and a test of all pairs together instead of their count. The focal length must be
# off by more than the noise of labels bends it (some per cent).
CAMERA_BETTER, CAMERA_CHANCE = 0.75, 0.005
CAMERA_FAULT_RAD, FOCAL_OFF = 0.0012, 0.07
FOCAL_FACTORS = np.exp(np.linspace(-1.0, 1.0, 41))  # 0.37 to 2.7 in steps of 5 %.
LATEST = 5  # Frames by which labels may be late or early.


class CameraVariant(NamedTuple):
    """One other camera: what it is, and how to make it from the given one."""

    what: str
    factor: float
    change: Callable[[Intrinsics], Intrinsics]


class Explanation(NamedTuple):
    """What is wrong with the poses of some sequences.

    Attributes:
        hypothesis: What.
        sequences: Whose; empty for all.
        given_px: Median error of the matches with the poses as given.
        fixed_px: With the fault undone.
        pairs: Pairs it was judged on.
    """

    hypothesis: Hypothesis
    sequences: tuple[str, ...]
    given_px: float
    fixed_px: float
    pairs: int


class GeometryFit(NamedTuple):
    """How well poses and cameras agree with the images, P pairs.

    Attributes:
        matches: The matches, as rays of the best cameras.
        given_px: Median error of each pair as given, (P,).
        fixed_px: With every explained fault undone, (P,).
        given_rad: Likewise as angles, (P,).
        fixed_rad: Likewise as angles, (P,).
        table: Median error in pixels over all pairs, by hypothesis; ``as given`` first.
        explanations: Faults of the poses.
        camera: A camera that fits clearly better; None.
        camera_px: Median error with the given camera (other faults undone) and with the best one.
        rotations: Rotations with the explained faults undone, (N, 3, 3).
        centers: Likewise camera centres, (N, 3).
        label_angles: Angle of each pair's relative rotation by the labels, radians, (P,).
        image_angles: By the images alone; NaN where they do not tell, (P,).
    """

    matches: Matches
    given_px: Array
    fixed_px: Array
    given_rad: Array
    fixed_rad: Array
    table: dict[str, float]
    explanations: list[Explanation]
    camera: CameraVariant | None
    camera_px: tuple[float, float]
    rotations: Array
    centers: Array
    label_angles: Array
    image_angles: Array


def fit_geometry(
    frames: Sequence[Frame], rotations: Array, centers: Array, pairs: Sequence[PairMatches]
) -> GeometryFit | None:
    """Find out which poses and which camera explain the matches.

    Args:
        frames: All frames.
        rotations: Their rotations as given, camera-to-world, (N, 3, 3).
        centers: Their camera centres as given, (N, 3).
        pairs: Matched pairs.

    Returns:
        None without any pair.
    """
    if not pairs:
        return None
    cameras = [frame.intrinsics for frame in frames]
    matches = gather_matches(pairs, cameras, frames)
    given = _errors(rotations, centers, matches)
    camera, by_camera = _best_camera(frames, pairs, rotations, centers, given)
    table = [*HYPOTHESES, *late_labels(frames)]
    undone = [hypothesis.undo(rotations, centers) for hypothesis in table]
    errors = np.stack([_errors(*poses, matches) for poses in undone])
    # A wrong camera must not be taken for a wrong convention.
    reference = by_camera if camera is not None else given
    sequences = np.array([frames[i].sequence for i in matches.first])
    chosen = _explain_all(reference, errors, table, sequences)

    fixed_rotations, fixed_centers = rotations.copy(), centers.copy()
    of_frame = np.array([frame.sequence for frame in frames])
    explanations = []
    for row, names in chosen:
        mine = np.isin(of_frame, names) if names else np.ones(len(frames), dtype=bool)
        fixed_rotations[mine], fixed_centers[mine] = (part[mine] for part in undone[row])
        at = np.isin(sequences, names) if names else np.ones(len(pairs), dtype=bool)
        both = (float(np.median((part * matches.focal)[at])) for part in (given, errors[row]))
        explanations.append(Explanation(table[row], tuple(names), *both, int(at.sum())))
    fixed = _errors(fixed_rotations, fixed_centers, matches)
    if chosen:
        camera, by_camera = _best_camera(frames, pairs, fixed_rotations, fixed_centers, fixed)
    scores = {"as given": float(np.median(given * matches.focal))}
    for hypothesis, row in zip(table, errors, strict=True):
        scores.setdefault(hypothesis.what, float(np.median(row * matches.focal)))
    before, focal = fixed, matches.focal
    if camera is not None:
        matches = gather_matches(pairs, [camera.change(c) for c in cameras], frames)
        fixed = by_camera
    label_angles = _angles(relative_poses(rotations, centers, matches).turn)
    return GeometryFit(
        matches,
        given * focal,
        fixed * matches.focal,
        given,
        fixed,
        scores,
        explanations,
        camera,
        (float(np.median(before * focal)), float(np.median(fixed * matches.focal))),
        fixed_rotations,
        fixed_centers,
        label_angles,
        _image_angles(matches),
    )


def late_labels(frames: Sequence[Frame]) -> list[Hypothesis]:
    """Labels that belong to a frame some places before or after, within each sequence."""
    members: dict[str, list[int]] = {}
    for index, frame in enumerate(frames):
        members.setdefault(frame.sequence, []).append(index)

    def shifted(by: int) -> NDArray[np.int64]:
        source = np.arange(len(frames))
        for order in members.values():
            places = np.clip(np.arange(len(order)) + by, 0, len(order) - 1)
            source[order] = np.array(order)[places]
        return source

    def hypothesis(by: int) -> Hypothesis:
        source = shifted(by)
        return Hypothesis(
            "late_labels",
            f"labels of the frame {abs(by)} {'before' if by > 0 else 'after'}",
            f"give each image the pose that is now {abs(by)} {'after' if by > 0 else 'before'} its "
            "own; check the clocks of images and poses",
            lambda rotations, centers: (rotations[source], centers[source]),
            True,
        )

    steps = range(1, LATEST + 1)
    return [hypothesis(sign * by) for by in steps for sign in (1, -1)]


def _errors(rotations: Array, centers: Array, matches: Matches) -> Array:
    """Median error of each pair as an angle, (P,)."""
    return pair_errors(relative_poses(rotations, centers, matches), matches) / matches.focal


def _explain_all(
    given: Array, errors: Array, table: Sequence[Hypothesis], sequences: NDArray[np.str_]
) -> list[tuple[int, list[str]]]:
    """Rows of the table and the sequences they explain; no names for all of them.

    One convention for the whole dataset first: the more pairs, the surer. Then sequence by
    sequence, for recordings that were converted apart.
    """
    row = _explain(given, errors, table)
    if row is not None:
        return [(row, [])]
    found: dict[int, list[str]] = {}
    for name in dict.fromkeys(sequences.tolist()):
        mine = sequences == name
        row = _explain(given[mine], errors[:, mine], table)
        if row is not None:
            found.setdefault(row, []).append(name)
    return list(found.items())


def _explain(given: Array, errors: Array, table: Sequence[Hypothesis]) -> int | None:
    """The row of the table that explains the matches much better than the poses as given."""
    if len(given) < FEWEST_PAIRS or np.median(given) < FAULT_RAD:
        return None
    medians = np.median(errors, axis=1)
    common = np.array([hypothesis.common for hypothesis in table])
    row, rare = (int(np.where(part, medians, np.inf).argmin()) for part in (common, ~common))
    if medians[rare] < RARE * medians[row]:
        row = rare
    better = medians[row] < BETTER * np.median(given) and medians[row] < FITS_RAD
    return row if better and (errors[row] < given).mean() >= SHARE else None


def _best_camera(
    frames: Sequence[Frame],
    pairs: Sequence[PairMatches],
    rotations: Array,
    centers: Array,
    given: Array,
) -> tuple[CameraVariant | None, Array]:
    """A camera that explains the matches clearly better, and the error of each pair with it."""
    best, best_errors = None, given
    if len(pairs) < FEWEST_PAIRS or np.median(given) < CAMERA_FAULT_RAD:
        return best, best_errors
    for variant in _camera_variants(frames):
        cameras = [variant.change(frame.intrinsics) for frame in frames]
        matches = gather_matches(pairs, cameras, frames)
        # As angles of the given camera: a longer focal length must not win by its mere length.
        errors = _errors(rotations, centers, matches) * variant.factor
        if errors.mean() < best_errors.mean():
            best, best_errors = variant, errors
    if best is None or (abs(np.log(best.factor)) < FOCAL_OFF and "centre" not in best.what):
        return None, given
    # Where even the best camera leaves degrees, the poses are wrong and not the camera.
    clear = best_errors.mean() < CAMERA_BETTER * given.mean() and np.median(best_errors) < FITS_RAD
    if not clear or wilcoxon(given, best_errors, alternative="greater").pvalue > CAMERA_CHANCE:
        return None, given
    return best, best_errors / best.factor


def _camera_variants(frames: Sequence[Frame]) -> list[CameraVariant]:
    def scaled(factor: float, centred: bool) -> Callable[[Intrinsics], Intrinsics]:
        def change(camera: Intrinsics) -> Intrinsics:
            new = replace(camera, focal_x=camera.focal_x * factor, focal_y=camera.focal_y * factor)
            middle = (0.5 * (camera.width - 1), 0.5 * (camera.height - 1))
            return replace(new, center_x=middle[0], center_y=middle[1]) if centred else new

        return change

    variants = [
        CameraVariant(f"{f:.2f} times the focal length", f, scaled(f, False)) for f in FOCAL_FACTORS
    ]
    first = frames[0].intrinsics
    aside = max(
        abs(first.center_x - 0.5 * (first.width - 1)) / first.width,
        abs(first.center_y - 0.5 * (first.height - 1)) / first.height,
    )
    # Real lenses are centred to a few per cent; further off, the camera of another size is likely.
    if aside > 0.05:
        variants += [
            CameraVariant(
                f"{f:.2f} times the focal length and the principal point in the image's centre",
                f,
                scaled(f, True),
            )
            for f in FOCAL_FACTORS
        ]
    return variants


def _angles(turns: Array) -> Array:
    """Angles of rotations (P, 3, 3), radians."""
    return np.arccos(np.clip(0.5 * (np.trace(turns, axis1=1, axis2=2) - 1.0), -1.0, 1.0))


def _image_angles(matches: Matches) -> Array:
    """Angle of the rotation of each pair's essential matrix, NaN where there is none, (P,)."""
    angles = np.full(len(matches.first), np.nan)
    for pair, focal in enumerate(matches.focal):
        mine = matches.pair == pair
        first, second = matches.points_first[mine], matches.points_second[mine]
        try:
            essential, inlier = cv2.findEssentialMat(
                first, second, np.eye(3), cv2.USAC_MAGSAC, 0.999, 2.0 / focal
            )
        except cv2.error:  # of degenerate samples
            continue
        if essential is None or essential.shape != (3, 3):
            continue
        _, turn, _, _ = cv2.recoverPose(essential, first, second, np.eye(3), mask=inlier)
        angles[pair] = _angles(turn[None])[0]
    return angles
