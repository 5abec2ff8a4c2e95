"""The parts of a report, each a function of what is known; what is not gets a short note."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from posenet.evaluation.confidence import NOT_CALIBRATED
from posenet.evaluation.html import chart, table
from posenet.evaluation.report.frames import render_frames
from posenet.evaluation.report.making import render_making
from posenet.evaluation.report.scene import render_scene
from posenet.evaluation.report.source import ReportSource, note
from posenet.evaluation.report.words import (
    angle,
    interval,
    is_missing,
    length,
    mean_cells,
    median_cells,
    method_of,
    recall_cells,
    recall_header,
    share,
    unit_of,
    verdict,
)


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        title: Its heading.
        render: Its HTML; empty for a part that this evaluation has no use for.
    """

    title: str
    render: Callable[[ReportSource], str]


def render_headline(source: ReportSource) -> str:
    """Medians of the network and the baselines, in large and in words."""
    summary = source.summary
    rows = {method_of(summary): summary, **summary.get("baselines", {})}
    cards = "".join(_card(name, values, unit_of(summary)) for name, values in rows.items())
    size = ""
    if not summary["metric"]:
        size = (
            '<p class="soft">The dataset has a scale of its own: lengths are in its units, and '
            f"relative to its size of {summary['scene_size']:.3g} units, the diagonal of the "
            f"{summary['size_of']} positions.</p>"
        )
    return (
        f'<p class="verdict">{escape(verdict(summary))}</p><div class="cards">{cards}</div>{size}'
        + table(
            [
                ["method", "mean position", "mean rotation", *recall_header(summary)],
                *(
                    [name, *mean_cells(values, summary), *recall_cells(values, summary)]
                    for name, values in rows.items()
                ),
            ],
            "Mean errors and recalls, beside what needs no training",
        )
        + _READING
    )


_MEDIANS = ["median position", "median rotation"]
_READING = """<p class="soft">Small or in brackets: 95&nbsp;% intervals of a block bootstrap.
Neighbouring frames of a video look alike and so do their errors, so runs of consecutive frames are
redrawn together; single frames would give intervals far too narrow. They say how the figures vary
with the frames of these sequences, not with the choice of sequences and not with the training's
seed. Figures are comparable on the same frames only: those of a part of a dataset, or of another
split, cannot be held against published tables.</p>"""


def _card(name: str, values: Mapping[str, Any], unit: str) -> str:
    around = values.get("intervals_95") or {}
    lines = "".join(
        f"<dd><b>{escape(text)}</b> <small>{escape(interval(around.get(key), kind))}</small></dd>"
        for text, key, kind in (
            (length(values["median_translation_m"], unit), "median_translation_m", unit),
            (angle(values["median_rotation_deg"]), "median_rotation_deg", "deg"),
        )
    )
    return f"<dl><dt>{escape(name)}</dt>{lines}</dl>"


def render_distribution(source: ReportSource) -> str:
    """Error curves, and a table by sequence."""
    summary = source.summary
    rows = {method_of(summary): summary, **summary.get("baselines", {})}
    medians = ", ".join(
        f"{name} {length(values['median_translation_m'], unit_of(summary))} and "
        f"{angle(values['median_rotation_deg'])}"
        for name, values in rows.items()
    )
    picture = _picture(
        source,
        "error_cdf",
        f"Share of frames within an error, for position and rotation. Medians: {medians}.",
    )
    if not summary.get("sequences"):
        return picture
    sequences = table(
        [
            ["sequence", "frames", *_MEDIANS, *recall_header(summary)],
            *(
                [
                    name,
                    f"{values['frames']:.0f}",
                    *median_cells(values, summary),
                    *recall_cells(values, summary),
                ]
                for name, values in summary["sequences"].items()
            ),
        ],
        "Errors by sequence",
    )
    return f"{picture}<h3>By sequence</h3>{sequences}"


def render_distance(source: ReportSource) -> str:
    """Errors against the distance to the nearest training pose."""
    values = source.summary.get("nearest_training_pose")
    if values is None:
        return note("It is not known here what the network was trained on, or it was these frames.")
    unit = unit_of(source.summary)
    parts = []
    for name, of, say in (
        ("position", "translation_m", lambda value: length(value, unit)),
        ("rotation", "rotation_deg", angle),
    ):
        kind = of.split("_")[0]
        text = f"{name}: nearest training pose {say(values[f'median_{of}'])} away (median)"
        text += f", error smaller than that in {share(values[f'better_{kind}'])} of the frames"
        near, far = (values[f"{where}_quarter_median_error_{of}"] for where in ("near", "far"))
        if not is_missing(near) and not is_missing(far):
            text += f"; median error {say(near)} in the quarter of the frames that is nearest to a "
            text += f"training pose and {say(far)} in the quarter that is farthest"
        parts.append(text)
    reading = (
        "<p>Below the dashed line the network is closer to the truth than the nearest training "
        "pose, which is what a perfect search for the most similar training image would answer: "
        "there it interpolates. A running median that climbs along the line says that it answers "
        "with what it has seen; a flat one that it also knows what lies between.</p>"
    )
    alt = "Error of each frame against the distance to its nearest training pose. "
    return reading + _picture(source, "error_distance", alt + _sentences(parts))


def render_trajectory(source: ReportSource) -> str:
    """The picture of the trajectory."""
    values, unit = source.errors.translation_m, unit_of(source.summary)
    finite = values[np.isfinite(values)]
    largest = length(float(finite.max()), unit) if len(finite) else "unknown"
    alt = (
        f"Training, true and predicted camera positions of {len(values)} frames from above and "
        "from the side; each predicted one is joined to the true one and coloured by the distance "
        f"between them, {largest} at most."
    )
    return _picture(source, "trajectory", alt)


def render_viewpoints(source: ReportSource) -> str:
    """Viewpoint bins and the calibration of their probabilities."""
    values = source.summary.get("viewpoints")
    if values is None:
        return note("There are no viewpoint bins: one pose was predicted for each image.")
    unit = unit_of(source.summary)
    accuracy = f"the right bin is the most probable in {share(values['top1_accuracy'])}"
    if "top5_accuracy" in values:
        accuracy += f" and among the best five in {share(values['top5_accuracy'])}"
    text = (
        f"Of {values['bins']} viewpoint bins, {accuracy} of the frames. The network gives its best "
        f"bin {share(values['mean_probability'])} on average; the calibration error between said "
        f"and true is {share(values['expected_calibration_error'])}. The centre of the predicted "
        f"bin is off by {length(values['coarse_median_translation_m'], unit)} and "
        f"{angle(values['coarse_median_rotation_deg'])}, that of the right one by "
        f"{length(values['nearest_bin_median_translation_m'], unit)} and "
        f"{angle(values['nearest_bin_median_rotation_deg'])} (medians)."
    )
    return _picture(source, "viewpoints", text)


def render_confidence(source: ReportSource) -> str:
    """How sure the network says it is, and whether it is right about that."""
    values = source.summary.get("confidence")
    if values is None:
        return ""
    unit = unit_of(source.summary)
    rows = [["", "position", "rotation"]]
    rows.append([f"truth within the {share(values['level'])} radius"])
    rows.append(["median radius"])
    rows.append(["rank correlation of radius and error"])
    for name, radius in (
        ("translation", length(values["median_translation_radius_m"], unit)),
        ("rotation", angle(values["median_rotation_radius_deg"])),
    ):
        low, high = values[f"{name}_coverage_95"]
        held = share(values[f"{name}_coverage"])
        # Of too few frames there is no interval, and of equal radii no correlation.
        if not is_missing(low) and not is_missing(high):
            held += f" ({share(low)} to {share(high)})"
        correlation = values[f"{name}_rank_correlation"]
        told = "unknown" if is_missing(correlation) else f"{correlation:.2f}"
        for row, cell in zip(rows[1:], (held, radius, told), strict=True):
            row.append(cell)
    frames = values["calibration_frames"]
    calibrated = f"calibrated on {frames} validation frames" if frames else NOT_CALIBRATED
    text = (
        "Around each pose the network draws a radius within which it expects the truth in "
        f"{share(values['level'])} of the cases, {calibrated}. Of these frames, "
        f"{share(values['flagged'])} are said to be of another scene."
    )
    others = [
        [name, f"{other['images']}", share(other["flagged"]), f"{other['auroc']:.3f}"]
        for name, other in values.get("other_scenes", {}).items()
    ]
    header = ["images of other places", "images", "said to be of another scene", "AUROC"]
    parts = [f"<p>{escape(text)}</p>", table(rows, "Confidence")]
    parts += [table([header, *others], "Images of other places")] if others else []
    alt = "Error of each frame against its radius, and the share of truths within radii by level."
    return "".join([*parts, _picture(source, "confidence", alt)])


# In the order in which a reader wants them.
SECTIONS: dict[str, Section] = {
    "result": Section("Result", render_headline),
    "distribution": Section("How often is it how wrong?", render_distribution),
    "distance": Section("Does it interpolate or memorise?", render_distance),
    "trajectory": Section("Where it thinks it stood", render_trajectory),
    "cameras": Section("The scene in 3D", render_scene),
    "frames": Section("Worst, median and best frames", render_frames),
    "viewpoints": Section("Viewpoint bins", render_viewpoints),
    "confidence": Section("How sure it is", render_confidence),
    "making": Section("How it was made", render_making),
}


def _picture(source: ReportSource, name: str, alt: str) -> str:
    path = source.pictures.get(name)
    if path is None:
        return note(f"There is no picture of it: {alt}")
    return chart(path.read_bytes(), alt)


def _sentences(parts: Sequence[str]) -> str:
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts)
