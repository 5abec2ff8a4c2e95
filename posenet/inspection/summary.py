"""The dataset in a few numbers."""

from collections import Counter
from typing import Any

import numpy as np

from posenet.inspection.evidence import Evidence
from posenet.inspection.raw import orthonormality_defect, self_angle_deg
from posenet.inspection.trajectory import sequences_of


def summarise(evidence: Evidence) -> dict[str, Any]:
    """Numbers for ``inspection.json``; lengths are in the unit of the labels.

    Args:
        evidence: What was gathered.

    Returns:
        Plain values by name; None where something is unknown.
    """
    frames, steps = evidence.frames, evidence.steps
    centers = evidence.centers[evidence.finite]
    extent = np.ptp(centers, axis=0) if len(centers) else np.zeros(3)
    names = np.array([frames[i].sequence for i in steps.first])
    sequences = {}
    for name, order in sequences_of(frames).items():
        mine = names == name
        sequences[name] = {
            "frames": len(order),
            "splits": dict(Counter(frames[i].split or "none" for i in order)),
            "path_length": float(steps.distance[mine].sum()),
            "median_step": _median(steps.distance[mine]),
            "median_turn_deg": _median(np.degrees(steps.angle[mine])),
        }
    states = Counter(image.state for image in evidence.images)
    return {
        "frames": len(frames),
        "splits": dict(Counter(frame.split or "none" for frame in frames)),
        "metric": evidence.metric,
        "extent": extent.tolist(),
        "view_distance": evidence.view_distance if evidence.geometry is not None else None,
        "images": {
            state: states.get(state, 0) for state in ("ok", "missing", "unreadable", "unread")
        },
        "image_sizes": dict(Counter(_sizes(evidence)).most_common(8)),
        "cameras": dict(Counter(_cameras(evidence)).most_common(8)),
        "depth_images": sum(frame.depth_path is not None for frame in frames),
        "sequences": sequences,
        "label_noise": _label_noise(evidence),
        "matching": _matching(evidence),
        "nearest_training_pose": _nearest(evidence),
    }


def _sizes(evidence: Evidence) -> list[str]:
    return [f"{image.width}x{image.height}" for image in evidence.images if image.state == "ok"]


def _cameras(evidence: Evidence) -> list[str]:
    texts = []
    for frame in evidence.frames:
        camera = frame.intrinsics
        text = (
            f"{camera.width}x{camera.height}, focal {camera.focal_x:.1f} {camera.focal_y:.1f}, "
            f"centre {camera.center_x:.1f} {camera.center_y:.1f}"
        )
        texts.append(text + (f", {frame.distortion.model}" if frame.distortion else ""))
    return texts


def _label_noise(evidence: Evidence) -> dict[str, Any] | None:
    known = np.isfinite(evidence.raw).all(axis=(1, 2))
    if not known.any():
        return None
    matrices = evidence.raw[known]
    return {
        "matrices": int(known.sum()),
        "median_defect": _median(orthonormality_defect(matrices)),
        "median_self_angle_deg": _median(self_angle_deg(matrices)),
    }


def _matching(evidence: Evidence) -> dict[str, Any] | None:
    fit = evidence.geometry
    if fit is None:
        return None
    ranked = sorted(fit.table.items(), key=lambda row: row[1])[:6]
    depth = evidence.depth
    return {
        "pairs": len(evidence.pairs),
        "pairs_tried": evidence.pairs_tried,
        "median_error_px": _median(fit.given_px),
        "hypotheses_px": {"as given": fit.table["as given"], **dict(ranked)},
        "depth_scale": depth.scale if depth is not None else None,
        "depth_spread": depth.spread if depth is not None else None,
    }


def _nearest(evidence: Evidence) -> dict[str, Any] | None:
    nearest = evidence.nearest
    if nearest is None:
        return None
    return {
        "test_frames": len(nearest.test),
        "median_distance": _median(nearest.distance),
        "median_angle_deg": _median(np.degrees(nearest.angle)),
    }


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if len(values) else None
