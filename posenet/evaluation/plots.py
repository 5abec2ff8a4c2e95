"""Pictures of an evaluation, each written as a PNG; the one home of matplotlib.

Figures are built as objects and never through ``pyplot``: no global state, no window, and nothing
to close. Lines use the palette of Okabe and Ito, errors ``viridis``; both can be told apart by
colour-blind readers and, by line style or lightness, in black and white.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from posenet.evaluation.metrics import PoseErrors
from posenet.geometry import Pose, top_down_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
DOTS_PER_INCH = 150

_GREY, _DARK = "#B8B8B8", "#333333"
_MOST_PREDICTIONS, _MOST_ARROWS = 400, 40


def plot_error_cdf(path: str | Path, curves: Mapping[str, PoseErrors], length: str = "m") -> None:
    """Share of frames within an error, for translation and rotation, one curve per method.

    Frames without a prediction have infinite errors, so their curve ends below 100 %.

    Args:
        path: The PNG to write.
        curves: Errors of the same frames by method, the most important first.
        length: Unit of the translation errors.
    """
    figure = make_figure(10.0, 4.2 + 0.22 * len(curves))
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("Translation error", "Rotation error")
    for panel, title, unit, index in zip(panels, titles, (length, "deg"), (0, 1), strict=True):
        finite = [errors[index][np.isfinite(errors[index])] for errors in curves.values()]
        limit = max((np.percentile(part, 95) for part in finite if len(part)), default=1.0)
        limit = float(limit) or 1.0
        for row, (name, errors) in enumerate(curves.items()):
            _draw_cdf(panel, name, errors[index], unit, limit, row)
        panel.axhline(50.0, color=_GREY, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        panel.set(title=title, xlabel=f"error ({unit})", xlim=(0.0, limit), ylim=(0.0, 101.5))
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.15), "frameon": False}
        panel.legend(title="method: median error", alignment="left", **below)
    panels[0].set_ylabel("frames within the error (%)")
    save_figure(figure, path)


def plot_trajectory(
    path: str | Path,
    train: Pose | None,
    truth: Pose,
    prediction: Pose,
    errors: PoseErrors,
    length: str = "m",
    split: str = "test",
) -> None:
    """Camera centres from above and from the side: training, true and predicted, how far apart.

    "Above" is the mean of the training cameras' upward axes (-y in OpenCV axes), and the longest
    extent of the training positions lies horizontally in both views; of the true ones, where
    nothing was trained.

    Args:
        path: The PNG to write.
        train: Poses of the training frames, (M,), M > 0; None where there are none.
        truth: True poses of the measured frames, (N,).
        prediction: Predicted poses, (N,); those that are not finite, or farther outside than half
            the extent of the scene, are left out and counted in the title.
        errors: Errors of the predictions, (N,).
        length: Unit of the positions.
        split: What the measured frames are called beside those of the training.
    """
    about = truth if train is None else train
    right, across = top_down_axes(about)
    axes = np.stack((right, across, np.cross(right, across)))
    centers = [_numpy(pose.translation) @ axes.T for pose in (about, truth, prediction)]
    origin = centers[0].mean(axis=0)
    train_xyz, truth_xyz, predicted_xyz = (part - origin for part in centers)
    usable = np.isfinite(predicted_xyz).all(axis=1) & np.isfinite(errors.translation_m)
    known = np.concatenate((train_xyz, truth_xyz))
    reach = 0.5 * float(np.ptp(known, axis=0).max()) or 1.0
    low, high = known.min(axis=0) - reach, known.max(axis=0) + reach
    inside = usable & (predicted_xyz >= low).all(axis=1) & (predicted_xyz <= high).all(axis=1)
    every = -(-len(truth_xyz) // _MOST_PREDICTIONS) or 1
    drawn = np.flatnonzero(inside & (np.arange(len(truth_xyz)) % every == 0))

    extent = np.ptp(np.concatenate((known, predicted_xyz[inside])), axis=0)
    # Of equal scale; a walk at one height still gets a strip.
    heights = np.maximum(extent[1:] / max(extent[0], 1e-9), 0.15)
    figure = make_figure(8.0, float(np.clip(1.9 + 6.4 * heights.sum(), 5.2, 12.0)))
    panels = figure.subplots(2, 1, sharex=True, height_ratios=heights + 0.12)
    name = "" if train is None else f"{split}, "
    for panel, other in zip(panels, (1, 2), strict=True):
        view = [0, other]
        dots = {"linestyle": "none", "marker": "o", "markeredgewidth": 0}
        known_xy, truth_xy, predicted_xy = (
            part[:, view] for part in (train_xyz, truth_xyz, predicted_xyz)
        )
        if train is not None:
            panel.plot(*known_xy.T, color=_GREY, markersize=2.5, label="training", zorder=1, **dots)
        panel.plot(*truth_xy.T, color=_DARK, markersize=3.5, label=f"{name}true", zorder=4, **dots)
        shades = _draw_predictions(
            panel, truth_xy[drawn], predicted_xy[drawn], errors, usable, drawn
        )
        label = f"{name}predicted" + (f" (one in {every} drawn)" if every > 1 else "")
        panel.plot([], [], color=shades.cmap(0.5), markersize=4.0, label=label, **dots)

        arrow = 0.045 * float(extent.max() or 1.0)
        turned = drawn[:: -(-len(drawn) // _MOST_ARROWS) or 1]
        colours = shades.to_rgba(errors.translation_m[turned])
        _draw_views(panel, predicted_xy[turned], prediction, turned, axes[view], arrow, colours)
        turned = np.arange(0, len(truth_xy), -(-len(truth_xy) // _MOST_ARROWS) or 1)
        _draw_views(panel, truth_xy[turned], truth, turned, axes[view], arrow, _DARK)
        panel.set_aspect("equal", adjustable="datalim")
        panel.margins(0.06)
        panel.set_ylabel(f"{('across', 'up')[other - 1]} ({length})")
    frames = "frames" if train is None else f"{split} frames"
    _label_trajectory(figure, usable, inside, shades, length, frames, train is not None)
    save_figure(figure, path)


def _label_trajectory(
    figure: "Figure",
    usable: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    shades: "PathCollection",
    length: str,
    frames: str,
    is_trained: bool,
) -> None:
    top, side = figure.axes
    title = f"Camera positions from above: {len(usable)} {frames}"
    if missing := int((~usable).sum()):
        title += f", {missing} without a prediction"
    if far := int((usable & ~inside).sum()):
        title += f", {far} predicted far outside"
    top.set_title(title)
    side.set_title("The same from the side")
    of = "training" if is_trained else "true"
    side.set_xlabel(f"along the longest extent of the {of} positions ({length})")
    handles = top.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, markerscale=1.6, frameon=False)
    bar = figure.colorbar(shades, ax=[top, side], extend="max", fraction=0.04, pad=0.02)
    bar.set_label(f"translation error ({length})")
    bar.outline.set_visible(False)


def plot_training_curves(
    path: str | Path, rows: Sequence[Mapping[str, float]], length: str = "m"
) -> None:
    """Errors on the training and validation frames over the epochs.

    Args:
        path: The PNG to write.
        rows: One mapping per epoch with ``epoch`` and any of ``train_translation_m``,
            ``train_rotation_deg``, ``validation_translation_m`` and ``validation_rotation_deg``;
            values that are missing or not finite are left out.
        length: The unit of lengths.
    """
    from matplotlib.ticker import MaxNLocator

    figure = make_figure(7.0, 5.6)
    panels = figure.subplots(2, 1, sharex=True)
    quantities = (
        ("translation_m", "translation error", length),
        ("rotation_deg", "rotation error", "deg"),
    )
    for panel, (key, label, unit) in zip(panels, quantities, strict=True):
        for row, split in enumerate(("train", "validation")):
            points = [(r["epoch"], r.get(f"{split}_{key}")) for r in rows]
            points = [(epoch, value) for epoch, value in points if _is_number(value)]
            if not points:
                continue
            name = "training" if split == "train" else split
            style = {"color": PALETTE[row], "linestyle": LINE_STYLES[row]}
            marker = "o" if len(points) <= 40 else ""
            panel.plot(*zip(*points, strict=True), marker=marker, markersize=3, label=name, **style)
            if split == "validation":
                epoch, value = min(points, key=lambda point: point[1])
                best = f"lowest: {value:#.3g} {unit}, epoch {epoch:g}"
                panel.plot(epoch, value, label=best, **_ring(PALETTE[row]))
        panel.set_ylabel(f"{label} ({unit})")
        panel.set_ylim(bottom=0.0)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(loc="upper right")
    panels[0].set_title("Errors during training")
    panels[1].set_xlabel("epoch")
    if epochs := [r["epoch"] for r in rows]:
        panels[1].set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    panels[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    save_figure(figure, path)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a ``metrics.csv``, one an epoch."""
    with path.open(newline="") as file:
        return [
            {
                name: int(value) if name in ("epoch", "step") else float(value)
                for name, value in row.items()
                if value
            }
            for row in csv.DictReader(file)
        ]


def _draw_cdf(panel: "Axes", name: str, errors: Array, unit: str, limit: float, row: int) -> None:
    finite = np.sort(errors[np.isfinite(errors)])
    share = 100.0 * np.arange(1, len(finite) + 1) / max(len(errors), 1)
    last = share[-1] if len(share) else 0.0
    colour = PALETTE[row % len(PALETTE)]
    median = float(np.median(errors)) if len(errors) else np.inf
    label = f"{name}: {median:#.3g} {unit}" if np.isfinite(median) else f"{name}: infinite"
    if missing := len(errors) - len(finite):
        label += f" ({missing} of {len(errors)} frames without a prediction)"
    panel.plot(
        np.concatenate(([0.0], finite, [max(limit, finite[-1] if len(finite) else 0.0)])),
        np.concatenate(([0.0], share, [last])),
        color=colour,
        linestyle=LINE_STYLES[row % len(LINE_STYLES)],
        drawstyle="steps-post",
        label=label,
        zorder=4 - 0.1 * row,
    )
    if median <= limit:
        panel.plot(median, 50.0, **_ring(colour, zorder=6 - 0.1 * row))


def _draw_predictions(
    panel: "Axes",
    truth_xy: Array,
    predicted_xy: Array,
    errors: PoseErrors,
    usable: NDArray[np.bool_],
    drawn: NDArray[np.int64],
) -> "PathCollection":
    """Predicted positions joined to the true ones; colours end at the 95th percentile of all."""
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.colors import ListedColormap, Normalize

    finite = errors.translation_m[usable]
    largest = float(np.percentile(finite, 95)) if len(finite) else 1.0
    # Without its lightest yellow, which is lost on white.
    colours = ListedColormap(colormaps["viridis_r"](np.linspace(0.12, 1.0, 256)))
    scale = {"cmap": colours, "norm": Normalize(0.0, largest or 1.0)}
    shade = errors.translation_m[drawn]
    segments = np.stack((truth_xy, predicted_xy), axis=1)
    panel.add_collection(
        LineCollection(segments, array=shade, linewidths=0.8, alpha=0.8, zorder=2, **scale)
    )
    return panel.scatter(*predicted_xy.T, c=shade, s=14, linewidths=0, zorder=3, **scale)


def _draw_views(
    panel: "Axes",
    positions: Array,
    poses: Pose,
    shown: NDArray[np.int64],
    axes: Array,
    length: float,
    colour: object,
) -> None:
    """Short arrows along the viewing directions; foreshortened where a camera looks up or down."""
    directions = length * _numpy(poses.view_direction)[shown] @ axes.T
    panel.quiver(
        *positions.T,
        *directions.T,
        color=colour,
        angles="xy",
        scale_units="xy",
        scale=1.0,
        width=0.0022,
        headwidth=4.5,
        headlength=5.0,
        zorder=5,
    )


def _ring(colour: str, zorder: float = 6.0) -> dict[str, object]:
    return {
        "marker": "o",
        "markersize": 7,
        "markerfacecolor": "white",
        "markeredgecolor": colour,
        "markeredgewidth": 1.8,
        "linestyle": "none",
        "zorder": zorder,
    }


def make_figure(width: float, height: float) -> "Figure":
    """A figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def save_figure(
    figure: "Figure", path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a figure as a PNG in the house style: no box, a light grid behind the curves.

    Args:
        figure: From :func:`make_figure`.
        path: The PNG to write.
        metadata: Text to store in the file, by PNG keyword such as ``Description``.
    """
    for panel in figure.axes:
        if panel.get_label() == "<colorbar>":
            continue
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(True, color="#E6E6E6", linewidth=0.6)
        panel.set_axisbelow(True)
    figure.savefig(path, format="png", dpi=DOTS_PER_INCH, metadata=dict(metadata or {}))


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()


def _is_number(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))
