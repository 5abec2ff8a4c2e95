"""A picture of viewpoint bins: where they look, what is taken for what, how sure the network is."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from posenet.evaluation.plots import PALETTE, Array, make_figure, save_figure
from posenet.evaluation.viewpoints import ViewpointEvaluation, calibration_groups
from posenet.geometry import Pose, top_down_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY, _LIGHT, _DARK = "#B8B8B8", "#DDDDDD", "#333333"
_RIGHT, _WRONG = PALETTE[0], PALETTE[1]
_MOST_DOTS, _MOST_NUMBERS = 600, 24


def plot_viewpoints(
    path: str | Path, train: Pose, truth: Pose, evaluation: ViewpointEvaluation
) -> None:
    """Bins on the sphere of viewing directions, frames a bin, and calibration.

    The sphere is drawn azimuthally equidistant about the mean viewing direction: distances and
    directions from the middle are true. A wrong frame is joined to the bin it was taken for.

    Args:
        path: The PNG to write.
        train: Poses of the training frames, (M,).
        truth: Poses of the test frames, (N,).
        evaluation: What became of them.
    """
    figure = make_figure(10.0, 8.6)
    sphere, below = figure.subfigures(2, 1, height_ratios=(1.1, 1.0))
    _draw_sphere(sphere.subplots(), train, truth, evaluation)
    counts, calibration = below.subplots(1, 2, width_ratios=(1.5, 1.0))
    _draw_counts(counts, evaluation.bins.assign(train).numpy(), evaluation)
    _draw_calibration(calibration, evaluation)
    save_figure(figure, path)


def _draw_sphere(panel: "Axes", train: Pose, truth: Pose, evaluation: ViewpointEvaluation) -> None:
    frame = _view_frame(train)
    bins, seen, tested = (
        _azimuthal(pose.view_direction.double().numpy() @ frame.T)
        for pose in (evaluation.bins.centers, train, truth)
    )
    right = evaluation.predicted_bin == evaluation.true_bin
    _draw_graticule(panel)
    every = -(-len(seen) // _MOST_DOTS)
    dots = {"linestyle": "none", "marker": "o", "markeredgewidth": 0}
    panel.plot(*seen[::every].T, color=_GREY, markersize=2, label="training frame", **dots)
    wrong = np.flatnonzero(~right)
    taken_for = bins[evaluation.predicted_bin[wrong]]
    for start, end in zip(tested[wrong], taken_for, strict=True):
        panel.plot(*zip(start, end, strict=True), color=_WRONG, linewidth=0.7, alpha=0.6)
    for mask, colour, marker, name in (
        (right, _RIGHT, "o", "right bin"),
        (~right, _WRONG, "D", "taken for the bin at the end of its line"),
    ):
        label = f"{name}: {mask.sum()} of {len(right)} frames"
        style = {"linestyle": "none", "marker": marker, "markeredgewidth": 0}
        panel.plot(*tested[mask].T, color=colour, markersize=4, label=label, **style)
    ring = {"markerfacecolor": "white", "markeredgecolor": _DARK, "markeredgewidth": 1.2}
    panel.plot(*bins.T, "o", markersize=13, zorder=4, **ring)
    for number, (x, y) in enumerate(bins[:_MOST_NUMBERS]):
        panel.text(x, y, str(number), ha="center", va="center", fontsize=8, zorder=5)
    known = np.concatenate((bins, seen, tested))
    low, high = known.min(axis=0), known.max(axis=0)
    margin = 5.0 + 0.05 * (high - low)
    panel.set_xlim(low[0] - margin[0], high[0] + margin[0])
    panel.set_ylim(low[1] - margin[1], high[1] + margin[1])
    panel.set_aspect("equal")
    panel.set_title("Viewing directions: bins (numbered) and frames")
    panel.set_xlabel("right of the mean direction (deg)")
    panel.set_ylabel("above it (deg)")
    panel.figure.legend(loc="outside lower center", ncols=3, frameon=False, markerscale=1.5)


def _draw_counts(
    panel: "Axes", train_bin: NDArray[np.int64], evaluation: ViewpointEvaluation
) -> None:
    """Shares, since training and test differ in size."""
    count = evaluation.probability.shape[1]
    place = np.arange(count)
    train, true, hit = (
        np.bincount(chosen, minlength=count)
        for chosen in (
            train_bin,
            evaluation.true_bin,
            evaluation.true_bin[evaluation.true_bin == evaluation.predicted_bin],
        )
    )
    total = len(evaluation.true_bin)
    panel.bar(place - 0.2, 100 * train / len(train_bin), 0.38, color=_GREY, label="training")
    panel.bar(place + 0.2, 100 * true / total, 0.38, color=_LIGHT, edgecolor=_RIGHT, label="tested")
    panel.bar(place + 0.2, 100 * hit / total, 0.38, color=_RIGHT, label="of these right")
    panel.set(title="Frames in each bin", xlabel="bin", ylabel="share of the frames (%)")
    if count <= _MOST_NUMBERS:
        panel.set_xticks(place)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, ncols=3)


def _draw_calibration(panel: "Axes", evaluation: ViewpointEvaluation) -> None:
    right = evaluation.predicted_bin == evaluation.true_bin
    groups = calibration_groups(evaluation.probability.max(axis=-1), right, bins=10)
    said = [100 * said.mean() for said, _ in groups]
    true = [100 * hit.mean() for _, hit in groups]
    sizes = np.array([len(hit) for _, hit in groups])
    panel.plot((0, 100), (0, 100), color=_GREY, linestyle="--", label="calibrated")
    panel.plot(said, true, color=_RIGHT, linewidth=1)
    area = 20 + 180 * sizes / sizes.max()
    panel.scatter(said, true, s=area, color=_RIGHT, label="frames, by area", zorder=3)
    panel.set(title="How far to believe it", xlim=(0, 104), ylim=(0, 104))
    panel.set(xlabel="probability of the best bin (%)", ylabel="how often it is right (%)")
    panel.set_aspect("equal")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, ncols=2)


def _view_frame(train: Pose) -> Array:
    """World directions right of, above and along the mean viewing direction, (3, 3)."""
    right, across = top_down_axes(train)
    up = np.cross(right, across)
    forward = train.view_direction.double().numpy().mean(axis=0)
    # Looking all around has no mean direction, and looking straight up or down no horizon.
    for fallback in (forward, across):
        level = fallback - (fallback @ up) * up
        if np.linalg.norm(level) > 0.1:
            break
    level /= np.linalg.norm(level)
    return np.stack((np.cross(level, up), up, level))


def _azimuthal(direction: Array) -> Array:
    """Unit vectors (N, 3), right, up and forward, to degrees right and up (N, 2) of a flat map."""
    angle = np.arctan2(np.linalg.norm(direction[:, :2], axis=1), direction[:, 2])
    length = np.linalg.norm(direction[:, :2], axis=1, keepdims=True)
    outward = direction[:, :2] / np.maximum(length, 1e-12)
    return np.rad2deg(angle)[:, None] * outward


def _draw_graticule(panel: "Axes", step_deg: int = 30) -> None:
    """Lines of equal height and of equal compass direction, every so many degrees."""
    fine = np.deg2rad(np.linspace(-179.9, 179.9, 361))
    for height in np.deg2rad(np.arange(-60, 61, step_deg)):
        _draw_curve(panel, fine, np.full_like(fine, height))
    for compass in np.deg2rad(np.arange(-150, 181, step_deg)):
        _draw_curve(panel, np.full_like(fine, compass), fine / 2.0)


def _draw_curve(panel: "Axes", compass: Array, height: Array) -> None:
    level = np.cos(height)
    direction = np.stack((level * np.sin(compass), np.sin(height), level * np.cos(compass)), -1)
    panel.plot(*_azimuthal(direction).T, color=_LIGHT, linewidth=0.6, zorder=0)
