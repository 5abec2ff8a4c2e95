"""A picture of confidence: errors against their radii, and what intervals hold."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from posenet.evaluation.confidence import LEVELS, EvaluatedConfidence
from posenet.evaluation.metrics import PoseErrors
from posenet.evaluation.plots import PALETTE, Array, make_figure, save_figure
from posenet.models.calibration import LEVEL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY, _HELD, _MISSED = "#B8B8B8", PALETTE[0], PALETTE[1]


def plot_confidence(
    path: str | Path, confidence: EvaluatedConfidence, errors: PoseErrors, length: str = "m"
) -> None:
    """Errors against their radii, and coverage against the level that was asked for.

    Args:
        path: The PNG to write.
        confidence: In N predictions.
        errors: Of the same.
        length: Unit of the translation errors.
    """
    figure = make_figure(12.0, 5.4)
    translation, rotation, coverage = figure.subplots(1, 3)
    radii = confidence.at_level
    _draw_errors(translation, "Translation", radii.translation_radius_m.numpy(), errors[0], length)
    _draw_errors(rotation, "Rotation", radii.rotation_radius_deg.numpy(), errors[1], "deg")
    _draw_coverage(coverage, confidence)
    save_figure(figure, path)


def _draw_errors(panel: "Axes", title: str, radius: Array, error: Array, unit: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    finite = np.isfinite(radius) & np.isfinite(error)
    left_out = len(radius) - int(finite.sum())
    radius, error = radius[finite], error[finite]
    held = error <= radius
    # Logarithmic axes know no 0.
    least = 1e-3 * max(error.max(initial=0.0), 1e-12)
    error = np.maximum(error, least)
    for mask, colour, marker, name in (
        (held, _HELD, "o", "within the radius"),
        (~held, _MISSED, "D", "outside"),
    ):
        label = f"{name}: {mask.sum()} of {len(held)}"
        panel.plot(radius[mask], error[mask], marker, color=colour, markersize=4, label=label)
    if len(radius):
        ends = np.array([min(radius.min(), error.min()), max(radius.max(), error.max())])
        ends *= (0.8, 1.25)
        panel.plot(ends, ends, color=_GREY, linestyle="--", zorder=0)
        panel.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
    note = f" ({left_out} infinite left out)" if left_out else ""
    panel.set_title(f"{title}{note}")
    panel.set(xlabel=f"{LEVEL:.0%} radius ({unit})", ylabel=f"error ({unit})")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False)


def _draw_coverage(panel: "Axes", confidence: EvaluatedConfidence) -> None:
    asked = 100 * np.array(LEVELS)
    panel.plot((0, 100), (0, 100), color=_GREY, linestyle="--", zorder=0, label="as asked")
    for name, shares, colour, marker in (
        ("translation", confidence.translation_coverage, PALETTE[2], "o"),
        ("rotation", confidence.rotation_coverage, PALETTE[3], "s"),
    ):
        panel.plot(asked, 100 * np.array(shares), color=colour, marker=marker, label=name)
    panel.set(title="What the intervals hold", xlim=(0, 101), ylim=(0, 101))
    panel.set(xlabel="asked (% of frames)", ylabel="held (% of frames)")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False)
