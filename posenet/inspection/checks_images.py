"""Checks of the image files."""

import numpy as np

from posenet.datasets.orientation import TURN_FILES
from posenet.inspection.checks_labels import names
from posenet.inspection.evidence import Evidence
from posenet.inspection.findings import Finding
from posenet.inspection.images import THUMBNAIL, look_the_same
from posenet.inspection.trajectory import angle_between

# Labels of one image may differ by rounding: this is a tenth of a degree.
SAME_LABEL_RAD = 0.002
# Sizes on disk that differ by a pixel come from rounding.
ROUNDING_PX = 1
_TOLD = ("stored", "turned", "undecided")


def check_readable(evidence: Evidence) -> list[Finding]:
    """Every listed image must exist and be one."""
    findings = []
    total = len(evidence.images)
    missing = [i for i, image in enumerate(evidence.images) if image.state == "missing"]
    broken = [i for i, image in enumerate(evidence.images) if image.state == "unreadable"]
    if missing:
        first = evidence.frames[missing[0]].image
        findings.append(
            Finding(
                "missing_images",
                "error" if 2 * len(missing) >= total else "warning",
                f"expected {total} images, found {total - len(missing)}; the first missing one is "
                f"{first}",
                names(evidence, missing),
                "copy the images there, or remove their poses",
            )
        )
    if broken:
        image = evidence.images[broken[0]]
        findings.append(
            Finding(
                "unreadable_images",
                "error",
                f"expected images, found {len(broken)} that cannot be read; the first is "
                f"{evidence.frames[broken[0]].image} ({image.reason})",
                names(evidence, broken),
                "copy them again, or remove them and their poses",
            )
        )
    return findings


def check_sizes(evidence: Evidence) -> list[Finding]:
    """Images must have the size that their intrinsics are for."""
    wrong = [
        i
        for i, (image, frame) in enumerate(zip(evidence.images, evidence.frames, strict=True))
        if image.state == "ok"
        and max(
            abs(image.width - frame.intrinsics.width), abs(image.height - frame.intrinsics.height)
        )
        > ROUNDING_PX
    ]
    if not wrong:
        return []
    image, frame = evidence.images[wrong[0]], evidence.frames[wrong[0]]
    return [
        Finding(
            "image_size",
            "error",
            f"expected images of the size of their intrinsics, found {len(wrong)} others, such as "
            f"{image.width}x{image.height} pixels with intrinsics for {frame.intrinsics.width}x"
            f"{frame.intrinsics.height}",
            names(evidence, wrong),
            "resize the intrinsics with the images, or give these images their own camera",
        )
    ]


def check_orientations(evidence: Evidence) -> list[Finding]:
    """Poses belong to images as they are stored, or to turned ones; EXIF must not be in doubt."""
    told = {how: [i for i, m in enumerate(evidence.images) if m.reading == how] for how in _TOLD}
    stored, turned, undecided = told.values()
    if turned and undecided:
        return [
            Finding(
                "exif_orientation",
                "error",
                f"expected one way up for all images, found {len(turned)} that fit their camera "
                f"when turned as their EXIF orientation says, and {len(undecided)} that fit it "
                "either way",
                names(evidence, undecided),
                TURN_FILES,
            )
        ]
    if not stored and not undecided:
        return []
    return [
        Finding(
            "exif_orientation",
            "note",
            f"{len(stored) + len(undecided)} images have an EXIF orientation and are read as they "
            "are stored, as structure from motion reads them",
            names(evidence, sorted(stored + undecided)),
            f"none, if that is where the poses come from; else {TURN_FILES}",
        )
    ]


def check_repeated(evidence: Evidence) -> list[Finding]:
    """One image, one pose: a repeated image with another pose has a wrong label."""
    pairs = [(group[0], other) for group in evidence.identical for other in group[1:]]
    angle, distance, view = _label_differences(evidence, pairs)
    repeated = {p: (a, d, v) for p, a, d, v in zip(pairs, angle, distance, view, strict=True)}
    exact = len(repeated)
    # Re-encoded or blurred copies: thumbnails tell shifts of 0.15 columns, so that labels which
    # differ by a whole column are not those of these images.
    steps = evidence.steps
    near = [
        (int(i), int(j))
        for i, j in zip(steps.first, steps.second, strict=True)
        if _same(evidence, int(i), int(j))
    ]
    angle, distance, view = _label_differences(evidence, near)
    for (i, j), a, d, v in zip(near, angle, distance, view, strict=True):
        camera = evidence.frames[i].intrinsics
        if v > camera.width / camera.focal_x / THUMBNAIL[0]:
            repeated.setdefault((i, j), (a, d, v))
    if not repeated:
        return []
    angles, distances, views = np.array(list(repeated.values())).T
    other = views > SAME_LABEL_RAD
    message = (
        f"expected every image once, found {len(repeated)} that repeat another ({exact} byte for "
        "byte)"
    )
    if other.any():
        unit = "m" if evidence.metric else "units"
        message += (
            f"; {int(other.sum())} of them have another pose: "
            f"{np.degrees(np.median(angles[other])):.2g} deg and "
            f"{np.median(distances[other]):.2g} {unit} apart in the median, "
            f"{np.degrees(angles.max()):.2g} deg at most"
        )
    return [
        Finding(
            "repeated_images",
            "warning" if other.any() else "note",
            message,
            names(evidence, sorted({j for _, j in repeated})),
            "leave the repeated frames out (data.drop_repeated does so for exact copies that "
            "follow each other)",
        )
    ]


def _label_differences(
    evidence: Evidence, pairs: list[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angle, distance, and both as motion of the image in radians, for pairs of frames."""
    i, j = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    angle = angle_between(evidence.rotations[i], evidence.rotations[j])
    distance = np.linalg.norm(evidence.centers[i] - evidence.centers[j], axis=1)
    return angle, distance, angle + distance / evidence.view_distance


def _same(evidence: Evidence, i: int, j: int) -> bool:
    first, second = evidence.images[i].thumbnail, evidence.images[j].thumbnail
    return first is not None and second is not None and look_the_same(first, second)
