"""A picture of errors against the distance to the nearest training pose."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from posenet.evaluation.metrics import PoseErrors
from posenet.evaluation.nearest import NearestTraining
from posenet.evaluation.plots import PALETTE, Array, make_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY, _FEWEST = "#888888", 8
_MOST_WINDOWS = 400


def plot_error_distance(
    path: str | Path,
    nearest: NearestTraining,
    errors: PoseErrors,
    length: str = "m",
    split: str = "test",
) -> None:
    """Errors over the distance to the nearest training pose, with a running median.

    On the dashed line an error is as large as that distance: what a perfect retrieval of training
    images would answer. Errors beyond the 98th percentile lie as triangles on the upper edge.

    Args:
        path: The PNG to write.
        nearest: The nearest training pose of N frames.
        errors: Their errors, (N,).
        length: Unit of the positions.
        split: What the frames are called.
    """
    figure = make_figure(10.0, 4.6)
    panels = figure.subplots(1, 2)
    far = (nearest.distance_m, nearest.angle_deg)
    for panel, x, y, title, unit in zip(
        panels, far, errors, ("Translation", "Rotation"), (length, "deg"), strict=True
    ):
        _draw_scatter(panel, x, y, f"{split} frame")
        panel.set(title=title, xlabel=f"to the nearest training pose ({unit})")
        panel.set_ylabel(f"error ({unit})")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
    )
    save_figure(figure, path)


def _draw_scatter(panel: "Axes", x: Array, y: Array, name: str) -> None:
    finite = np.isfinite(y)
    limit = float(np.percentile(y[finite], 98)) if finite.any() else 1.0
    limit = 1.08 * max(limit, float(np.median(x)), 1e-9)
    right = 1.05 * float(x.max()) or 1.0
    inside = finite & (y <= limit)
    dots = {"linestyle": "none", "markeredgewidth": 0}
    panel.plot(
        (0.0, 1e3 * right),
        (0.0, 1e3 * right),
        color=_GREY,
        linestyle="--",
        label="as far off as the nearest training pose",
    )
    panel.plot(
        x[inside],
        y[inside],
        "o",
        color=PALETTE[0],
        markersize=4,
        alpha=0.55,
        label=name,
        **dots,
    )
    place, median = running_median(x, y)
    panel.plot(place, median, color=PALETTE[1], linewidth=2.0, label="running median")
    beyond = np.full((~inside).sum(), 0.985 * limit)
    panel.plot(x[~inside], beyond, "^", color=PALETTE[0], markersize=6, label="beyond", **dots)
    panel.set(xlim=(0.0, right), ylim=(0.0, limit))


def running_median(x: Array, y: Array) -> tuple[Array, Array]:
    """Medians of y in a window that slides over the frames in the order of x.

    Args:
        x: Places, (N,).
        y: Values, (N,); infinite ones count.

    Returns:
        Median place and median value of windows of a fifth of the frames, at least eight: of all,
        or of some hundred evenly spaced ones; of fewer frames nothing.
    """
    window = max(_FEWEST, len(x) // 5)
    if len(x) < window:
        return np.empty(0), np.empty(0)
    order = np.argsort(x, kind="stable")
    windows = np.lib.stride_tricks.sliding_window_view(order, window)
    windows = windows[:: -(-len(windows) // _MOST_WINDOWS)]
    return np.median(x[windows], axis=1), np.median(y[windows], axis=1)
