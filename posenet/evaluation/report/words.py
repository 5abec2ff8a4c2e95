"""Figures of an evaluation as words for people: units, intervals, what a summary comes to."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from posenet.evaluation.recall import recall_keys

NOTHING = "infinite"
_SPACE = "\u00a0"  # at which no line breaks


def unit_of(summary: Mapping[str, Any]) -> str:
    """m, or units where a dataset has a scale of its own."""
    return "m" if summary["metric"] else "units"


def method_of(summary: Mapping[str, Any]) -> str:
    """What was measured: a network, or predictions of whatever made a file."""
    return "network" if "checkpoint" in summary else "predictions"


def images_of(summary: Mapping[str, Any]) -> str:
    """How many images of which split, where there is one."""
    split = f"{summary['split']} " if summary.get("split") else ""
    return f"{int(summary['frames'])} {split}images"


def length(value: float | None, unit: str) -> str:
    """A distance with its unit."""
    return NOTHING if is_missing(value) else f"{_digits(value, unit)}{_SPACE}{unit}"


def angle(value: float | None) -> str:
    """An angle in degrees."""
    return NOTHING if is_missing(value) else f"{value:.2f}°"


def share(value: float | None) -> str:
    """A share in [0, 1] in percent."""
    return "unknown" if is_missing(value) else f"{100.0 * value:.1f}{_SPACE}%"


def interval(low_high: Sequence[float | None] | None, unit: str) -> str:
    """Both ends of an interval; nothing where there is none."""
    if low_high is None or all(is_missing(end) for end in low_high):
        return ""
    ends = ["∞" if is_missing(end) else _bare(end, unit) for end in low_high]
    return f"{ends[0]} to {ends[1]}"


def recall_label(key: str) -> str:
    """``recall_5cm_5deg`` as 5 cm, 5°, with spaces at which no line breaks."""
    parts = key.removeprefix("recall_").split("_")
    spaced = [re.sub(r"(?<=[\d.])(?=[a-z%])", _SPACE, part) for part in parts]
    return f",{_SPACE}".join(part.replace(f"{_SPACE}deg", "°") for part in spaced)


def median_cells(values: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Medians of one row of a summary, with their intervals in brackets."""
    unit, around = unit_of(summary), values.get("intervals_95") or {}
    cells = []
    for key, text, kind in (
        ("median_translation_m", length(values["median_translation_m"], unit), unit),
        ("median_rotation_deg", angle(values["median_rotation_deg"]), "deg"),
    ):
        between = interval(around.get(key), kind)
        cells.append(f"{text} ({between})" if between else text)
    return cells


def mean_cells(values: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Means of one row of a summary."""
    return [
        length(values["mean_translation_m"], unit_of(summary)),
        angle(values["mean_rotation_deg"]),
    ]


def recall_cells(values: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Recalls of one row of a summary; before them, of a scene without a metre, what stands in."""
    relative = [] if summary["metric"] else [share(values.get("median_translation_relative"))]
    return relative + [share(values.get(key)) for key in recall_keys(summary)]


def recall_header(summary: Mapping[str, Any]) -> list[str]:
    """Names of the cells of :func:`recall_cells`."""
    relative = [] if summary["metric"] else ["median position error / scene size"]
    return relative + [f"within {recall_label(key)}" for key in recall_keys(summary)]


def verdict(summary: Mapping[str, Any]) -> str:
    """What the medians say, in plain words."""
    unit, images = unit_of(summary), images_of(summary)
    far, turned = summary["median_translation_m"], summary["median_rotation_deg"]
    if is_missing(far) or is_missing(turned):
        return f"Half or more of the {images} got no usable prediction."
    text = f"Half of the {images} are located within {length(far, unit)}"
    if not summary["metric"]:
        text += f" ({share(summary['median_translation_relative'])} of the scene's size)"
    text += f", and half within {angle(turned)}."
    others = [
        f"{'the ' if name.startswith('mean') else 'the pose of the '}{name} gives "
        f"{length(values['median_translation_m'], unit)} and "
        f"{angle(values['median_rotation_deg'])}"
        for name, values in summary.get("baselines", {}).items()
    ]
    if others:
        text += f" Without any training, {', '.join(others)}."
    for name, values in list(summary.get("baselines", {}).items())[:1]:
        nearer = _times(far, values["median_translation_m"])
        straighter = _times(turned, values["median_rotation_deg"])
        text += f" Against the {name}, the position error is {nearer}"
        text += f" and the rotation error {straighter}."
    return text


def _times(ours: float, theirs: float | None) -> str:
    if is_missing(theirs) or theirs <= 0.0 or ours <= 0.0:
        return "not comparable"
    ratio = theirs / ours
    if 0.95 < ratio < 1.05:
        return "about the same"
    return f"{ratio:.1f} times smaller" if ratio > 1.0 else f"{1.0 / ratio:.1f} times larger"


def _bare(value: float, unit: str) -> str:
    return f"{value:.2f}" if unit == "deg" else _digits(value, unit)


def _digits(value: float, unit: str) -> str:
    return f"{value:.3f}" if unit == "m" else f"{value:.3g}"


def is_missing(value: float | None) -> bool:
    """Whether a number is none: unknown, NaN or infinite."""
    return value is None or not math.isfinite(value)
