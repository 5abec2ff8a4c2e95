"""Checks of the labels by themselves, and of the split."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from posenet.inspection.evidence import Evidence
from posenet.inspection.findings import Finding
from posenet.inspection.geometry_fit import BAD_RAD, FITS_RAD
from posenet.inspection.images import describe_thumbnails, look_the_same
from posenet.inspection.leaps import Leap
from posenet.inspection.raw import mean_scale, orthonormality_defect, self_angle_deg
from posenet.inspection.trajectory import adjacent_training_frames

# |R^T R - I| of float32 numbers or of six printed digits is below 1e-5; of 7-Scenes 3e-4 as a rule,
# 0.05 at worst. At 0.1 axes are 3 degrees from square or 5 % too long: a scale or a shear.
NOISY_DEFECT, NONRIGID_DEFECT = 1e-4, 0.1
FEW_FRAMES = 50
# A test frame next to training frames of its own recording is no test. A tenth of them may be at
# the seam of two blocks. Walks that follow each other closely lie between each other's poses in up
# to a third of their frames; frames taken out of a walk in most.
ADJACENT, LEAKED_SHARE, BETWEEN_SHARE = 2, 0.1, 0.45
# Motion of the image that the images of two neighbouring frames of a video show at most, radians.
NEXT_FRAME_RAD = 0.05
# A jump: across it the matches are off by these many times what they are elsewhere, or what is
# seen is by the labels these many times as far away as elsewhere.
JUMP_ERROR, JUMP_DEPTH = 5.0, 5.0
# Without images only a leap that no walk makes is worth a word.
WILD_LEAP = 10.0


def names(evidence: Evidence, indices: object) -> tuple[str, ...]:
    """Names of frames by index."""
    return tuple(evidence.frames[int(i)].name for i in np.asarray(indices, dtype=np.int64).ravel())


def check_finite(evidence: Evidence) -> list[Finding]:
    """Poses must be numbers."""
    bad = np.flatnonzero(~evidence.finite)
    if not len(bad):
        return []
    return [
        Finding(
            "invalid_poses",
            "error",
            f"expected finite poses, found {len(bad)} that are not",
            names(evidence, bad),
            "leave these frames out: tracking was lost there",
        )
    ]


def check_rigid(evidence: Evidence) -> list[Finding]:
    """Rotations must be rotations: not mirrored, scaled or sheared; noise is told."""
    # A reader may have put the file right; what it gave must be right as well.
    given, in_file = evidence.rotations, np.nan_to_num(evidence.raw)
    worse = orthonormality_defect(in_file) > orthonormality_defect(given)
    worse |= np.linalg.det(in_file) < 0
    worse &= np.isfinite(evidence.raw).all(axis=(1, 2)) & (np.linalg.det(given) > 0)
    matrices = np.where(worse[:, None, None], in_file, given)
    defect, mirrored = orthonormality_defect(matrices), np.linalg.det(matrices) < 0
    nonrigid = (defect > NONRIGID_DEFECT) & ~mirrored
    findings = []
    if mirrored.any():
        findings.append(
            Finding(
                "mirrored_axis",
                "error",
                f"expected rotations of determinant +1, found {int(mirrored.sum())} of "
                f"{len(mirrored)} with determinant -1: one axis is negated or two are swapped",
                names(evidence, np.flatnonzero(mirrored)),
                "negate the axis back: a column of the rotation if the camera's axis was flipped, "
                "a row together with that coordinate of the position if the world's was",
            )
        )
    if nonrigid.any():
        worst = np.argsort(-defect * nonrigid)[: nonrigid.sum()]
        scale = float(np.median(mean_scale(matrices[nonrigid])))
        findings.append(
            Finding(
                "nonrigid_poses",
                "error",
                f"expected orthonormal rotations, found {len(worst)} of {len(defect)} that are "
                f"scaled or sheared: |RtR - I| up to {defect[worst[0]]:.2g}, scale {scale:.3g} in "
                "the median",
                names(evidence, worst),
                "divide the scale out of the upper left 3x3, or leave the frames out",
            )
        )
    noisy = np.flatnonzero((defect > NOISY_DEFECT) & ~mirrored & ~nonrigid)
    if len(noisy):
        angle = float(np.median(self_angle_deg(matrices)))
        findings.append(
            Finding(
                "label_noise",
                "note",
                f"expected orthonormal rotations, found {len(noisy)} of {len(defect)} with "
                f"|RtR - I| above {NOISY_DEFECT:g}, {np.median(defect):.2g} in the median: by the "
                f"trace formula a label is {angle:.2f} deg from itself in the median",
                names(evidence, noisy[np.argsort(-defect[noisy])]),
                "nothing to do here, they are projected to the nearest rotation; do so wherever "
                "else you use these files",
            )
        )
    return findings


def check_amount(evidence: Evidence) -> list[Finding]:
    """Enough frames, of more than one pose."""
    findings = []
    train = [f for f in evidence.frames if f.split != "test"]
    if len(train) < FEW_FRAMES:
        findings.append(
            Finding(
                "few_frames",
                "note",
                f"expected {FEW_FRAMES} training frames or more, found {len(train)}",
                (),
                "record more; a network learns a place from hundreds of views",
            )
        )
    still = evidence.steps.distance.max(initial=0.0) + evidence.steps.angle.max(initial=0.0)
    if len(evidence.steps.first) and still < 1e-9:
        findings.append(
            Finding(
                "constant_poses",
                "error",
                "expected poses that change, found the same one for all frames of each sequence",
                (),
                "check which file or column the poses were read from",
            )
        )
    if evidence.nearest is None:
        findings.append(
            Finding(
                "no_split",
                "note",
                "expected training and test frames, found no split between them",
                (),
                "keep a recording of its own for testing, and name it in the dataset",
            )
        )
    return findings


def check_jumps(evidence: Evidence) -> list[Finding]:
    """A step far longer than those around it that the images do not show."""
    same = {frozenset(pair) for group in evidence.identical for pair in pairwise(group)}
    leaps = [leap for leap in evidence.leaps if frozenset(leap[:2]) not in same]
    fit = evidence.geometry
    usual = float(np.median(fit.fixed_rad)) if fit is not None else 0.0
    # Where no pose fits, a jump means nothing.
    judged = leaps if usual < BAD_RAD else []
    limit = max(FITS_RAD, JUMP_ERROR * usual)
    unseen = [leap for leap in judged if leap.error > limit or leap.depth > JUMP_DEPTH]
    if unseen:
        worst = unseen[0]
        return [
            Finding(
                "jump",
                "warning",
                f"expected steps like those around them, found {len(unseen)} that the images do "
                f"not show: from {evidence.frames[worst.first].name} to "
                f"{evidence.frames[worst.second].name} the pose moves {worst.ratio:.0f} times as "
                f"far as usual there, {_told(worst, usual)}",
                names(evidence, _displaced(unseen)),
                "leave these frames out, or start a new sequence where tracking was lost",
            )
        ]
    wild = [leap for leap in leaps if np.isnan(leap.error) and leap.ratio > WILD_LEAP]
    if not wild:
        return []
    return [
        Finding(
            "jump",
            "note",
            f"expected steps like those around them, found {len(wild)} up to {wild[0].ratio:.0f} "
            "times as long, and no images that tell whether it is a cut",
            names(evidence, [leap.second for leap in wild]),
            "look at these frames; start a new sequence at a cut",
        )
    ]


def _told(leap: Leap, usual: float) -> str:
    """What the images say of a leap."""
    if leap.depth > JUMP_DEPTH:
        times = f"{leap.depth:.0f} times" if leap.depth < 100.0 else "over 100 times"
        return f"and what is seen would have to be {times} as far away as elsewhere"
    error, elsewhere = np.degrees((leap.error, usual))
    return f"and matches are off by {error:.1f} deg ({elsewhere:.1f} deg elsewhere)"


def _displaced(leaps: Sequence[Leap]) -> list[int]:
    """Frames that stand between two leaps; of a leap alone the frame after it."""
    before, after = {leap.first for leap in leaps}, [leap.second for leap in leaps]
    alone = [i for i in after if i in before]
    touched = {i for leap in leaps if {leap.first, leap.second} & set(alone) for i in leap[:2]}
    return alone + [i for i in after if i not in touched]


def check_leak(evidence: Evidence) -> list[Finding]:
    """Test frames must not be neighbours or copies of training frames."""
    nearest = evidence.nearest
    if nearest is None:
        return []
    copied = _copied(evidence)
    adjacent = adjacent_training_frames(evidence.frames, ADJACENT)[nearest.test]
    inside = copied | adjacent
    # Between neighbours of a shuffled walk lies everything.
    fit = evidence.geometry
    orderly = fit is None or np.median(fit.fixed_rad) < BAD_RAD
    if orderly and nearest.between.mean() >= BETWEEN_SHARE:
        inside = inside | nearest.between
    if not copied.any() and inside.mean() < LEAKED_SHARE:
        return []
    view = nearest.angle + nearest.distance / evidence.view_distance
    close = inside.mean() >= 0.5 and (
        np.median(view[inside]) < NEXT_FRAME_RAD or copied.mean() >= 0.5
    )
    ways = (
        (copied, "show a training image"),
        (adjacent, f"are within {ADJACENT} frames of a training frame of their sequence"),
        (nearest.between & inside, "lie between two consecutive training poses"),
    )
    found = ", ".join(f"{int(part.sum())} {what}" for part, what in ways if part.any())
    unit = "m" if evidence.metric else "units"
    return [
        Finding(
            "leaked_split",
            "error" if close else "warning",
            f"expected test frames from recordings of their own, found {int(inside.sum())} of "
            f"{len(inside)} that are not: {found}; nearest training pose of these "
            f"{np.median(nearest.distance[inside]):.3g} {unit} / "
            f"{np.degrees(np.median(nearest.angle[inside])):.2g} deg (median)",
            names(evidence, nearest.test[inside]),
            "split by recording, not by frame; measured like this, a memory looks like a skill",
        )
    ]


def _copied(evidence: Evidence) -> np.ndarray:
    """Whether each test frame shows what a training image shows, (T,)."""
    frames, test = evidence.frames, evidence.nearest.test
    copied = np.zeros(len(frames), dtype=bool)
    for group in evidence.identical:
        if any(frames[i].split == "train" for i in group):
            copied[group] = True
    seen = [i for i, image in enumerate(evidence.images) if image.thumbnail is not None]
    known = [i for i in seen if frames[i].split == "train"]
    asked = [i for i in seen if frames[i].split == "test"]
    if known and asked:
        thumbnails = {i: evidence.images[i].thumbnail for i in (*known, *asked)}
        vectors = describe_thumbnails(np.stack([thumbnails[i] for i in known]))
        others = describe_thumbnails(np.stack([thumbnails[i] for i in asked]))
        for index, best in zip(asked, (others @ vectors.T).argmax(axis=1), strict=True):
            copied[index] |= look_the_same(thumbnails[index], thumbnails[known[best]])
    return copied[test]
