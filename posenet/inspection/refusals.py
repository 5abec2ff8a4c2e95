"""Why a reader refused a dataset: the same faults, looked for in the files themselves."""

from pathlib import Path

import numpy as np

from posenet.inspection.checks_labels import NONRIGID_DEFECT
from posenet.inspection.findings import Finding
from posenet.inspection.images import read_thumbnail
from posenet.inspection.raw import (
    POSE_SUFFIX,
    orthonormality_defect,
    read_json_matrices,
    read_matrix,
)

COLOR = ".color."


def explain_refusal(root: Path, message: str) -> list[Finding]:
    """Findings about a dataset that cannot be read.

    Args:
        root: Its folder.
        message: What the reader said; it is told as it is where the files tell nothing more.
    """
    findings = [*_matrices(root), *_images(root)]
    # Readers tell the setting of training where this verb has an argument.
    what, _, cure = message.replace("--data.root ", "posenet inspect ").rpartition("; ")
    if not findings:
        findings.append(
            Finding("unreadable_dataset", "error", what or cure, (), cure or "see the message")
        )
    return findings


def _matrices(root: Path) -> list[Finding]:
    """Pose matrices that are no poses."""
    named: dict[str, np.ndarray | None] = {}
    for path in sorted(root.rglob(f"*{POSE_SUFFIX}")):
        named[path.relative_to(root).as_posix().removesuffix(POSE_SUFFIX)] = read_matrix(path)
    for path in sorted(root.glob("transforms*.json")):
        for stem, matrix in read_json_matrices(path).items():
            named[Path(stem).name] = matrix
    broken = [name for name, m in named.items() if m is None or not np.isfinite(m).all()]
    whole = {name: m for name, m in named.items() if m is not None and np.isfinite(m).all()}
    findings = []
    if broken:
        findings.append(
            Finding(
                "invalid_poses",
                "error",
                f"expected finite 4x4 poses, found {len(broken)} of {len(named)} files without",
                tuple(broken),
                "leave these frames out: tracking was lost there",
            )
        )
    if not whole:
        return findings
    matrices = np.stack(list(whole.values()))
    determinant, defect = np.linalg.det(matrices), orthonormality_defect(matrices)
    for code, bad, found, cure in (
        (
            "mirrored_axis",
            determinant < 0,
            "with determinant -1: one axis is negated or two are swapped",
            "negate the axis back: a column of the rotation if the camera's axis was flipped, a "
            "row together with that coordinate of the position if the world's was",
        ),
        (
            "nonrigid_poses",
            (determinant >= 0) & (defect > NONRIGID_DEFECT),
            f"scaled or sheared, determinant {np.median(determinant):.3g} in the median",
            "divide the scale out of the upper left 3x3, or leave the frames out",
        ),
    ):
        names = tuple(name for name, flag in zip(whole, bad, strict=True) if flag)
        if names:
            text = f"expected rotations, found {len(names)} of {len(whole)} matrices {found}"
            findings.append(Finding(code, "error", text, names, cure))
    return findings


def _images(root: Path) -> list[Finding]:
    """Colour images of 7-Scenes that cannot be read: its readers look at the first ones."""
    broken = {}
    for path in sorted(root.glob(f"*/*{COLOR}*")):
        fact = read_thumbnail(path)
        if fact.state != "ok":
            broken[path.relative_to(root).as_posix().split(COLOR)[0]] = fact.reason
    if not broken:
        return []
    first, reason = next(iter(broken.items()))
    return [
        Finding(
            "unreadable_images",
            "error",
            f"expected images, found {len(broken)} that cannot be read; the first is {first} "
            f"({reason})",
            tuple(broken),
            "copy them again, or remove them and their poses",
        )
    ]
