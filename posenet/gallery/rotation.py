"""Pictures of the rotation losses: why not L2, and where the usual angle loses its digits."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import kornia
import roma
import torch
from torch import Tensor

from posenet.evaluation.plots import LINE_STYLES, PALETTE, make_figure
from posenet.geometry import geodesic_distance, project_to_rotation, rotation_from_rotvec
from posenet.losses import ROTATION_LOSSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = 200


def draw_rotation_losses() -> "Figure":
    """Every rotation loss and its pull over the angle between the rotations."""
    angle = torch.linspace(0.0, torch.pi, 721, dtype=torch.float64)[1:-1].requires_grad_()
    axis = torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64) / 3.0
    figure = make_figure(10.0, 4.6)
    values, pulls = figure.subplots(1, 2)
    for i, (name, row) in enumerate(ROTATION_LOSSES.items()):
        rotation = rotation_from_rotvec(angle.unsqueeze(-1) * axis)
        identity = torch.eye(3, dtype=torch.float64).expand_as(rotation)
        loss = row.function(rotation, identity, reduction="none")
        (pull,) = torch.autograd.grad(loss.sum(), angle)
        degrees, loss = torch.rad2deg(angle.detach()), loss.detach()
        style = {"color": PALETTE[i], "linestyle": LINE_STYLES[i % len(LINE_STYLES)]}
        values.plot(degrees, loss / loss[-1], label=f"{name}: {row.formula}", **style)
        pulls.plot(degrees, pull / pull.max(), label=name, **style)
    ticks = {"xlabel": "angle theta between the rotations (deg)", "xticks": range(0, 181, 30)}
    values.set(title="Loss", ylabel="share of the loss at 180 deg", **ticks)
    pulls.set(title="Pull d loss / d theta", ylabel="share of the strongest pull", **ticks)
    figure.legend(*values.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def clamped_acos(rotation: Tensor, target: Tensor) -> Tensor:
    """The usual formula, here only to be shown: the angle from a clamped cosine, in radians."""
    cosine = ((rotation.mT @ target).diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1.0) / 2.0
    return torch.acos(cosine.clamp(-1.0, 1.0))


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "acos(clamp((trace - 1) / 2))": clamped_acos,
    "kornia angle_error_mat": lambda a, b: torch.deg2rad(kornia.metrics.pose.angle_error_mat(a, b)),
    "roma rotmat_geodesic_distance": roma.rotmat_geodesic_distance,
    "posenet, exact_at_pi=True": partial(geodesic_distance, exact_at_pi=True),
    "posenet geodesic_distance": geodesic_distance,
}


class AngleAccuracy(NamedTuple):
    """What one method makes of many pairs: largest error in radians, and gradient norms."""

    error: float
    least_norm: float
    largest_norm: float


def draw_geodesic_accuracy() -> "Figure":
    """Error and gradient norm of the float32 angle, from 1e-8 rad to pi."""
    small = torch.logspace(-8.0, 0.0, 65, dtype=torch.float64)
    figure = make_figure(11.0, 7.6)
    panels = figure.subplots(2, 2, sharey="row", sharex="col")
    for column, label in enumerate(("angle theta (rad)", "pi - theta (rad)")):
        error, slope = panels[:, column]
        angles = small if column == 0 else torch.pi - small
        measured = [measure_angles(float(angle)) for angle in angles]
        for i, name in enumerate(METHODS):
            # Ours lie on one another for most angles: a thin line on a wide one shows both.
            dash, width = (("-", 2.4), ("--", 1.6), ("-.", 1.6), ("-", 4.5), ("-", 1.4))[i]
            style = {"color": PALETTE[i], "linestyle": dash, "linewidth": width}
            points = [point[name] for point in measured]
            # The scale has no zero: what is exactly 0 is drawn on the floor.
            errors = [max(point.error, 1e-16) for point in points]
            least = [min(max(point.least_norm, 1e-3), 10.0) for point in points]
            largest = [min(max(point.largest_norm, 1e-3), 10.0) for point in points]
            error.plot(small, errors, label=name, **style)
            slope.plot(small, largest, label=name, **style)
            slope.plot(small, least, **style)
            slope.fill_between(small, least, largest, color=PALETTE[i], alpha=0.12, linewidth=0)
        error.set(xscale="log", yscale="log")
        slope.set(xscale="log", yscale="log", xlabel=label, ylim=(7e-4, 14.0))
    panels[0, 1].invert_xaxis()  # the right column ends at pi
    panels[0, 0].set(title="towards equal rotations", ylabel="largest error (rad)")
    panels[0, 1].set(title="towards opposite rotations")
    panels[1, 0].set(
        ylabel="least and largest gradient norm, should be 1\n(0: at the bottom, infinite: on top)"
    )
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def measure_angles(angle: float) -> dict[str, AngleAccuracy]:
    """Accuracy of each method in float32, over random pairs at an angle in radians.

    Errors are against the float64 angle of the rotations nearest to the rounded inputs. Pairs that
    rounding has made equal have no gradient, and are left out of its norms.
    """
    generator = torch.Generator().manual_seed(0)
    options = {"generator": generator, "dtype": torch.float64}
    axis = torch.nn.functional.normalize(torch.randn(PAIRS, 3, **options), dim=-1)
    first = rotation_from_rotvec(torch.randn(PAIRS, 3, **options))
    second = (first @ rotation_from_rotvec(angle * axis)).float()
    first = first.float()
    different = (first != second).flatten(1).any(dim=1)
    exact = geodesic_distance(*(project_to_rotation(part.double()) for part in (first, second)))
    results = {}
    for name, method in METHODS.items():
        moved = first.clone().requires_grad_()
        found = method(moved, second)
        (gradient,) = torch.autograd.grad(found.sum(), moved)
        # Along the rotations: the antisymmetric part of A^T G, as a vector.
        turn = first.double().mT @ gradient.double()
        norm = (torch.linalg.matrix_norm(turn - turn.mT) / 2.0**0.5)[different]
        norm = norm.nan_to_num(torch.inf, torch.inf)
        error = (found.detach().double() - exact).abs().nan_to_num(torch.inf)
        results[name] = AngleAccuracy(float(error.max()), float(norm.min()), float(norm.max()))
    return results
