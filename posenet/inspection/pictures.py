"""Pictures of an inspection: where the cameras are, what they see, how well it all fits."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from posenet.datasets.images import read_image
from posenet.errors import DataError
from posenet.evaluation.plots import PALETTE, make_figure
from posenet.geometry import Pose, top_down_axes
from posenet.inspection.evidence import Evidence
from posenet.inspection.findings import Finding

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_RED = "#B00020"
_SPLITS = (("train", "training"), ("test", "test"), (None, "in neither"))
MOST_FRUSTA = 120  # Drawn, spread over the frames: more are a blot.
TILES, TILE_PX, PER_CODE = 20, 240, 3


class Picture(NamedTuple):
    """A figure and what it shows, for those who cannot see it."""

    figure: "Figure"
    title: str
    alt: str


def draw_all(evidence: Evidence, findings: Sequence[Finding]) -> dict[str, Picture]:
    """The pictures that the evidence allows, by name."""
    drawings: dict[str, Callable[[], Picture | None]] = {
        "cameras": lambda: draw_cameras(evidence, findings),
        "frames": lambda: draw_contact_sheet(evidence, findings),
        "nearest": lambda: draw_nearest(evidence),
        "errors": lambda: draw_errors(evidence),
    }
    drawn = {name: draw() for name, draw in drawings.items()}
    return {name: picture for name, picture in drawn.items() if picture is not None}


def draw_cameras(evidence: Evidence, findings: Sequence[Finding]) -> Picture | None:
    """Camera frusta from above and from the side, coloured by split, faults ringed."""
    kept = np.flatnonzero(evidence.finite)
    if not len(kept):
        return None
    rotations, centers = evidence.rotations[kept], evidence.centers[kept]
    right, across = top_down_axes(Pose(torch.from_numpy(rotations), torch.from_numpy(centers)))
    up = np.cross(right, across)
    origin = centers.mean(axis=0)
    extent = np.ptp((centers - origin) @ np.stack((right, across, up)).T, axis=0)
    size = 0.05 * float(max(extent.max(), 1e-6))
    figure = make_figure(
        10.0, float(np.clip(3.0 + 5.0 * max(extent[1:]) / max(extent[0], 1e-9), 4.2, 7.5))
    )
    panels = figure.subplots(1, 2)
    unit = "m" if evidence.metric else "units of the labels"
    views = (("from above", across, "across"), ("from the side", up, "up"))
    flagged = {name for f in findings if f.severity != "note" for name in f.frames}
    for panel, (title, other, label) in zip(panels, views, strict=True):
        axes = np.stack((right, other))
        _draw_frusta(panel, evidence, kept, axes, origin, size, flagged)
        panel.set_aspect("equal", adjustable="datalim")
        panel.set(title=f"Cameras {title}", xlabel=f"longest extent ({unit})")
        panel.set_ylabel(f"{label} ({unit})")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    alt = (
        f"Positions of {len(kept)} cameras with lines along their fields of view, from above and "
        f"from the side; the extent is {extent[0]:.3g} x {extent[1]:.3g} x {extent[2]:.3g} {unit}."
    )
    return Picture(figure, "Where the cameras are", alt)


def _draw_frusta(
    panel: "Axes",
    evidence: Evidence,
    kept: NDArray[np.int64],
    axes: Array,
    origin: Array,
    size: float,
    flagged: set[str],
) -> None:
    """Positions of all cameras, and some of them as pyramids seen along one direction."""
    from matplotlib.collections import LineCollection

    frames = evidence.frames
    points = (evidence.centers - origin) @ axes.T
    for row, (split, label) in enumerate(_SPLITS):
        mine = [i for i in kept if frames[i].split == split]
        if not mine:
            continue
        panel.plot(
            *points[mine].T,
            linestyle="none",
            marker="o",
            markersize=2.2,
            markeredgewidth=0,
            color=PALETTE[row],
            label=f"{label} ({len(mine)})",
            zorder=3,
        )
        every = -(-len(kept) // MOST_FRUSTA)
        segments = [line for i in mine[::every] for line in _frustum(evidence, i, size)]
        lines = (np.stack(segments) - origin) @ axes.T
        panel.add_collection(
            LineCollection(lines, colors=PALETTE[row], linewidths=0.6, alpha=0.7, zorder=2)
        )
    ringed = [i for i in kept if frames[i].name in flagged]
    # Rings around everything point at nothing.
    if ringed and 2 * len(ringed) <= len(kept):
        panel.plot(
            *points[ringed].T,
            linestyle="none",
            marker="o",
            markersize=6,
            markerfacecolor="none",
            markeredgecolor=_RED,
            markeredgewidth=0.8,
            label=f"with a finding ({len(ringed)})",
            zorder=4,
        )
    panel.autoscale_view()


def _frustum(evidence: Evidence, index: int, size: float) -> list[Array]:
    """Eight edges of the pyramid that a camera sees, (2, 3) each, in the world."""
    camera = evidence.frames[index].intrinsics
    u, v = (
        np.array([0, camera.width, camera.width, 0]),
        np.array([0, 0, camera.height, camera.height]),
    )
    rays = np.stack(
        (
            (u - camera.center_x) / camera.focal_x,
            (v - camera.center_y) / camera.focal_y,
            np.ones(4),
        ),
        axis=1,
    )
    center = evidence.centers[index]
    corners = center + size * rays @ evidence.rotations[index].T
    edges = [np.stack((center, corner)) for corner in corners]
    return edges + [np.stack((corners[k], corners[(k + 1) % 4])) for k in range(4)]


def draw_contact_sheet(evidence: Evidence, findings: Sequence[Finding]) -> Picture | None:
    """Frames spread over the sequences, and those with findings in a red frame."""
    codes: dict[str, str] = {}
    for finding in findings:
        if finding.severity != "note":
            for name in finding.frames:
                codes.setdefault(name, finding.code)
    shown = [
        i
        for i, image in enumerate(evidence.images)
        if image.state in ("ok", "unread", "unreadable")
    ]
    if not shown:
        return None
    bad = _some_of_each([i for i in shown if evidence.frames[i].name in codes], evidence, codes)
    spread = np.linspace(0, len(shown) - 1, min(TILES - len(bad), len(shown))).round().astype(int)
    chosen = sorted({*bad, *(shown[k] for k in spread)})
    columns = 5
    rows = -(-len(chosen) // columns)
    first = evidence.frames[chosen[0]].intrinsics
    figure = make_figure(10.0, rows * (2.0 * first.height / first.width + 0.25) + 0.1)
    panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for panel, index in zip(panels, chosen, strict=False):
        _draw_tile(panel, evidence, index, codes.get(evidence.frames[index].name))
    for panel in panels[len(chosen) :]:
        panel.set_axis_off()
    marked = sum(evidence.frames[i].name in codes for i in chosen)
    alt = f"{len(chosen)} frames spread over the sequences; {marked} of them have a finding."
    return Picture(figure, "What the cameras see", alt)


def _some_of_each(indices: list[int], evidence: Evidence, codes: dict[str, str]) -> list[int]:
    """Some frames of each kind of finding, spread over them."""
    by_code: dict[str, list[int]] = {}
    for index in indices:
        by_code.setdefault(codes[evidence.frames[index].name], []).append(index)
    chosen = []
    for group in by_code.values():
        places = np.linspace(0, len(group) - 1, min(PER_CODE, len(group))).round().astype(int)
        chosen += [group[place] for place in places]
    return chosen[: TILES // 2]


def _draw_tile(panel: "Axes", evidence: Evidence, index: int, code: str | None) -> None:
    from matplotlib.patches import Rectangle

    frame = evidence.frames[index]
    try:
        image = Image.fromarray(read_image(frame.image_path))
        image.thumbnail((TILE_PX, TILE_PX))
        panel.imshow(np.asarray(image))
    except DataError:
        panel.text(0.5, 0.5, "cannot be read", ha="center", va="center", transform=panel.transAxes)
    panel.set(xticks=[], yticks=[])
    name = frame.name if len(frame.name) <= 28 else f"...{frame.name[-25:]}"
    panel.set_title(
        f"{name}\n{code}" if code else name, fontsize=6, color=_RED if code else "black"
    )
    panel.spines[:].set_visible(False)
    if code:
        edge = {"fill": False, "edgecolor": _RED, "linewidth": 3.0, "clip_on": False}
        panel.add_patch(Rectangle((0.0, 0.0), 1.0, 1.0, transform=panel.transAxes, **edge))


def draw_nearest(evidence: Evidence) -> Picture | None:
    """How far the nearest training pose of each test frame is."""
    nearest = evidence.nearest
    if nearest is None:
        return None
    figure = make_figure(10.0, 3.4)
    panels = figure.subplots(1, 2)
    unit = "m" if evidence.metric else "units of the labels"
    angle = np.degrees(nearest.angle)
    for panel, values, axis in ((panels[0], nearest.distance, unit), (panels[1], angle, "deg")):
        panel.hist(values, bins=20, range=(0.0, float(values.max()) or 1.0), color=PALETTE[0])
        median = float(np.median(values))
        label = f"median {median:.3g} {axis}"
        panel.axvline(median, color=PALETTE[1], linestyle="--", label=label)
        panel.set(xlabel=axis, ylabel="test frames")
    for panel, name in zip(panels, ("Distance", "Angle"), strict=True):
        panel.set_title(f"{name} to the nearest training pose")
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)
    alt = (
        f"Histograms of the nearest training pose of {len(nearest.test)} test frames: median "
        f"{np.median(nearest.distance):.3g} {unit} and {np.median(angle):.3g} degrees."
    )
    return Picture(figure, "How far test frames are from training frames", alt)


def draw_errors(evidence: Evidence) -> Picture | None:
    """Errors of the matched pairs as given and, where a fault is explained, with it undone."""
    fit = evidence.geometry
    if fit is None:
        return None
    given, fixed = np.maximum(fit.given_px, 1e-2), np.maximum(fit.fixed_px, 1e-2)
    changed = bool(fit.explanations) or fit.camera is not None
    both = np.concatenate((given, fixed))
    bins = np.geomspace(both.min() * 0.9, both.max() * 1.1, 20)
    figure = make_figure(7.0, 3.4)
    panel = figure.subplots()
    panel.hist(
        given,
        bins=bins,
        color=PALETTE[0],
        alpha=0.8,
        label=f"as given: median {np.median(given):.2g} px",
    )
    if changed:
        panel.hist(
            fixed,
            bins=bins,
            color=PALETTE[1],
            histtype="step",
            linewidth=1.8,
            label=f"with the fault undone: median {np.median(fixed):.2g} px",
        )
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:g}")
    panel.set(xlabel="median error of the matched points of a pair (px)", ylabel="pairs of images")
    panel.set_title("Do poses and intrinsics explain what the images share?")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)
    alt = (
        f"Histogram of the errors of {len(given)} image pairs: median {np.median(given):.2g} "
        "pixels as given"
    )
    alt += f", {np.median(fixed):.2g} with the fault undone." if changed else "."
    return Picture(figure, "How well poses explain the images", alt)
