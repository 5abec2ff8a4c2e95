"""Checks of poses and cameras against the images, and against depth."""

import numpy as np

from posenet.inspection.checks_labels import names
from posenet.inspection.depth_fit import DepthFit
from posenet.inspection.evidence import Evidence
from posenet.inspection.findings import Finding
from posenet.inspection.geometry_fit import BAD_RAD, FEWEST_PAIRS, Explanation

# Of the pairs that no convention explains: more than these are no accident, and half are a rule.
SOME_BAD, MOST_BAD, FEWEST_BAD = 0.1, 0.5, 3
# Relative angles by labels and by images agree to this share, or to 2 degrees where they are small.
SAME_ANGLE, SMALL_ANGLE = 0.25, np.radians(2.0)
# A wrong focal length or offset bends the scale by per cents, a wrong unit by tens.
SCALE_OFF, SCALE_FAULT = 1.2, 2.0
# Triangulation from 8 px of parallax is good to a tenth. Depth that differs by more, and agrees
# hardly better than the depth of other frames would, is not the depth of these images.
DEPTH_SPREAD, LIKE_CHANCE = 0.12, 0.7
MISFIT_SHARE = 0.2
# Depth edges out of place cost a factor of two and more in rendered scenes; sensors have noise.
REGISTERED_BETTER = 0.6
# What cameras that are carried by people, cars and drones look at lies between these, metres.
NEAREST_VIEW, FARTHEST_VIEW = 0.05, 500.0


def check_conventions(evidence: Evidence) -> list[Finding]:
    """Axes, direction and quaternion order, by what the matches say of relative poses."""
    if evidence.geometry is None:
        return []
    return [_explained(evidence, row) for row in evidence.geometry.explanations]


def _explained(evidence: Evidence, row: Explanation) -> Finding:
    where = f" in {', '.join(row.sequences)}" if row.sequences else ""
    frames = [f.name for f in evidence.frames if f.sequence in row.sequences]
    return Finding(
        row.hypothesis.code,
        "error",
        "expected camera-to-world poses with x right, y down, z forward, found what looks like "
        f"{row.hypothesis.what}{where}: median error of matched points {row.given_px:.1f} px as "
        f"given, {row.fixed_px:.1f} px with that undone ({row.pairs} pairs)",
        tuple(frames),
        row.hypothesis.cure,
    )


def check_belonging(evidence: Evidence) -> list[Finding]:
    """Labels must belong to their images: pairs that no convention explains."""
    fit = evidence.geometry
    if fit is None or len(evidence.pairs) < FEWEST_PAIRS:
        return []
    bad = fit.fixed_rad > BAD_RAD
    if bad.mean() < SOME_BAD or bad.sum() < FEWEST_BAD:
        return []
    known = bad & np.isfinite(fit.image_angles)
    tolerance = np.maximum(SAME_ANGLE * fit.image_angles, SMALL_ANGLE)
    agree = np.abs(fit.label_angles - fit.image_angles)[known] < tolerance[known]
    foreign = known.any() and agree.mean() < 0.5
    sequences = dict.fromkeys(evidence.frames[i].sequence for i in fit.matches.first[bad])
    order = np.argsort(-fit.fixed_rad * bad)[: bad.sum()]
    message = (
        f"expected poses that explain the matches, found {int(bad.sum())} of {len(bad)} pairs that "
        f"they do not (median error {np.median(fit.fixed_px[bad]):.0f} px), in "
        f"{', '.join(sequences)}; no convention explains them"
    )
    if foreign:
        message += (
            f", and of these pairs the angle between the labels is that between the images in "
            f"{agree.mean():.0%} only"
        )
    return [
        Finding(
            "shuffled_labels" if foreign else "unfit_poses",
            "error" if bad.mean() >= MOST_BAD or foreign else "warning",
            message,
            names(evidence, fit.matches.first[order]),
            "check which pose goes with which image: sorting (1, 10, 2), missing lines, clocks"
            if foreign
            else "check how these poses were made, and leave out what drifted or was lost",
        )
    ]


def check_intrinsics(evidence: Evidence) -> list[Finding]:
    """The focal length that explains the matches is about the given one."""
    fit = evidence.geometry
    if fit is None or fit.camera is None:
        return []
    given = evidence.frames[int(fit.matches.first[0])].intrinsics
    best = fit.camera.change(given)
    before, after = fit.camera_px
    return [
        Finding(
            "wrong_intrinsics",
            "error" if abs(np.log(fit.camera.factor)) > np.log(1.25) else "warning",
            f"expected a camera that fits the matches, found focal length {given.focal_x:.0f} px "
            f"with a median error of {before:.1f} px; {fit.camera.what} "
            f"({best.focal_x:.0f} px, centre {best.center_x:.0f}, {best.center_y:.0f}) gives "
            f"{after:.1f} px ({len(fit.fixed_px)} pairs)",
            (),
            "give the camera that took the images, at their size, with --data.intrinsics; "
            "calibrate it if you do not know",
        )
    ]


def check_scale(evidence: Evidence) -> list[Finding]:
    """Positions in metres, by depth where there is some, else by what is plausible."""
    fit, depth = evidence.geometry, evidence.depth
    if fit is None or np.median(fit.fixed_rad) > BAD_RAD:
        return []
    if depth is None or not np.isfinite(depth.scale):
        view = evidence.view_distance
        if not evidence.metric or NEAREST_VIEW < view < FARTHEST_VIEW:
            return []
        message = (
            f"expected metres, found that what the cameras see is {view:.3g} of the labels' units "
            "away in the median"
        )
        return [Finding("wrong_scale", "note", message, (), "check the unit of the positions")]
    off = float(np.exp(abs(np.log(depth.scale))))
    # Depth is looked up by the camera: a wrong one bends the scale, but not by a unit.
    least = SCALE_FAULT if fit.camera is not None else SCALE_OFF
    if off < least or _is_foreign(depth):
        return []
    if not evidence.metric:
        severity, ending = "note", "; the format does not claim metres"
    else:
        severity, ending = "error" if off >= SCALE_FAULT else "warning", ""
    unit = next(
        (
            name
            for factor, name in ((1000.0, "millimetres"), (100.0, "centimetres"))
            if 0.7 < depth.scale / factor < 1.4
        ),
        "",
    )
    like = f", which looks like {unit}" if unit else ""
    return [
        Finding(
            "wrong_scale",
            severity,
            f"expected positions in the unit of depth (metres), found {depth.scale:.3g} times "
            f"that{like} ({depth.points} points){ending}",
            (),
            f"divide the positions by {depth.scale:.4g}, or check the unit of the depth images "
            "(millimetres are expected)",
        )
    ]


def _is_foreign(depth: DepthFit) -> bool:
    return depth.spread > max(DEPTH_SPREAD, LIKE_CHANCE * depth.chance)


def check_depth(evidence: Evidence) -> list[Finding]:
    """Depth images that can be read and belong to their colour images."""
    depth, fit = evidence.depth, evidence.geometry
    if depth is None or fit is None:
        return []
    findings = []
    if depth.unreadable:
        findings.append(
            Finding(
                "unreadable_depth",
                "error",
                f"expected 16-bit depth images, found {len(depth.unreadable)} sampled ones that "
                f"are none, such as {evidence.frames[depth.unreadable[0]].depth}",
                names(evidence, depth.unreadable),
                "copy them again, or remove them: depth is optional",
            )
        )
    if np.median(fit.fixed_rad) > BAD_RAD or fit.camera or not np.isfinite(depth.scale):
        return findings
    share = len(depth.misfits) / max(len(evidence.pairs), 1)
    if _is_foreign(depth) or share > MISFIT_SHARE:
        findings.append(
            Finding(
                "depth_mismatch",
                "warning",
                "expected depth that agrees with what poses and matches give, found a typical "
                f"factor of {np.exp(depth.spread):.2f} between them, and {len(depth.misfits)} of "
                f"{len(evidence.pairs)} pairs off by more than 2",
                names(evidence, depth.misfits),
                "check that depth and colour frames belong together, and which camera the depth "
                "is for (--data.depth_registered)",
            )
        )
    other = evidence.registered
    if other is not None and other.spread < REGISTERED_BETTER * depth.spread:
        findings.append(
            Finding(
                "depth_registration",
                "note",
                "expected depth of a sensor beside the camera, found that it agrees better if its "
                f"pixels are those of the colour image: to {other.spread:.1%} instead of "
                f"{depth.spread:.1%}",
                (),
                "set data.depth_registered, for training as well",
            )
        )
    return findings


def check_coverage(evidence: Evidence) -> list[Finding]:
    """Whether there was enough to check the poses with."""
    found, tried = len(evidence.pairs), evidence.pairs_tried
    if not any(image.thumbnail is not None for image in evidence.images):
        return []
    if found < FEWEST_PAIRS:
        message = (
            f"expected {FEWEST_PAIRS} pairs of images or more that share enough to check the poses "
            f"with, found {found} of {tried} tried: conventions and intrinsics are not checked"
        )
    elif 2 * found < tried:
        message = f"expected neighbours that share a view, found {found} of {tried} tried pairs"
    else:
        return []
    return [
        Finding("little_overlap", "note", message, (), "record more slowly, or closer together")
    ]
