"""Pictures of the robust losses: their curves, and a line fitted through outliers by each."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from posenet.evaluation.plots import LINE_STYLES, PALETTE, make_figure
from posenet.losses import ROBUST_LOSSES, general_robust

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALPHAS = (2.0, 1.5, 1.0, 0.5, 0.0, -2.0, -torch.inf)

# A loss has the same colour and dash in every picture; those that coincide take the first's.
STYLES = {
    name: {"color": PALETTE[i % len(PALETTE)], "linestyle": LINE_STYLES[i % len(LINE_STYLES)]}
    for i, name in enumerate(
        ("l2", "l1", "huber", "cauchy", "geman_mcclure", "welsch", "pseudo_huber")
    )
}

# The rail of the line fit: a camera glides along it, and some of its measured positions are wrong.
SECONDS, START_M, SPEED, NOISE_M, OUTLIER_M = 4.0, 0.5, 0.25, 0.02, (0.3, 1.0)
POINTS, DRAWS, SWEEPS = 40, 100, 100


def draw_robust_curves() -> "Figure":
    """Loss, derivative and weight of every robust loss, and of the general one by alpha."""
    from matplotlib import colormaps

    z = torch.linspace(-6.0, 6.0, 601, dtype=torch.float64)
    named: dict[str, tuple[Tensor, ...]] = {}
    for name, row in ROBUST_LOSSES.items():
        curves = rho_psi_weight(row.function, z)
        # At scale 1 some losses coincide: one curve with both names.
        same = [key for key in named if torch.allclose(named[key][0], curves[0], atol=1e-12)]
        if same:
            named[f"{same[0]} = {name}"] = named.pop(same[0])
        else:
            named[name] = curves
    general = {
        f"alpha = {alpha:g}": rho_psi_weight(partial(general_robust, alpha=alpha), z)
        for alpha in ALPHAS
    }
    figure = make_figure(11.0, 8.2)
    rows = figure.subfigures(2, 1, hspace=0.04)
    shades = [colormaps["viridis"](share) for share in torch.linspace(0.0, 0.92, len(ALPHAS))]
    titles = "The losses by name, scale c = 1", "general_robust, by its shape alpha"
    by_shape = [
        {"color": shade, "linestyle": LINE_STYLES[i % len(LINE_STYLES)]}
        for i, shade in enumerate(shades)
    ]
    for part, title, curves, styles in (
        (rows[0], titles[0], named, [STYLES[label.split(" = ")[0]] for label in named]),
        (rows[1], titles[1], general, by_shape),
    ):
        part.suptitle(title, fontweight="bold")
        panels = part.subplots(1, 3)
        for (label, values), style in zip(curves.items(), styles, strict=True):
            for panel, value in zip(panels, values, strict=True):
                panel.plot(z.numpy(), value.numpy(), label=label, linewidth=1.6, **style)
        _label(panels[0], "loss rho(z)", (-0.1, 6.0))
        _label(panels[1], "pull psi(z) = d rho / d z", (-2.6, 2.6))
        _label(panels[2], "weight psi(z) / z", (-0.02, 1.3))
        handles, labels = panels[0].get_legend_handles_labels()
        part.legend(handles, labels, loc="outside lower center", ncols=7, frameon=False)
    return figure


def _label(panel: "Axes", quantity: str, limits: tuple[float, float]) -> None:
    panel.set(xlabel="z = residual / scale (no unit)", ylabel=quantity, ylim=limits, xlim=(-6, 6))


def rho_psi_weight(loss: Callable[..., Tensor], z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values, derivatives and weights psi / z of a robust loss at scale 1; NaN weight at 0."""
    z = z.clone().requires_grad_()
    rho = loss(z, reduction="none")
    (psi,) = torch.autograd.grad(rho.sum(), z)
    z = z.detach()
    return rho.detach(), psi, torch.where(z == 0, torch.nan, psi / z)


def draw_line_fit() -> "Figure":
    """A line through measurements of which many are wrong, and errors by share of outliers."""
    shares = torch.linspace(0.0, 0.5, 11).tolist()
    shown = 0.4
    time, position = measure(shown, draws=1)
    figure = make_figure(11.0, 5.2)
    fitted, swept = figure.subplots(1, 2)
    ends = torch.tensor([0.0, SECONDS], dtype=torch.float64)
    zoom = fitted.inset_axes((0.56, 0.05, 0.41, 0.36))
    for panel in (fitted, zoom):
        panel.plot(time[0], position[0], "o", color="#B8B8B8", markersize=4, label="measured")
        truth = START_M + SPEED * ends
        panel.plot(ends, truth, color="#333333", linewidth=5, alpha=0.25, label="true motion")
    for name, loss in _efficient_losses().items():
        style = STYLES[name.split(" = ")[0]]
        start, speed = fit_line(loss, time, position)[0]
        for panel in (fitted, zoom):
            panel.plot(ends, start + speed * ends, linewidth=1.6, **style)
        errors = [line_error(fit_line(loss, *measure(share))).median() for share in shares]
        swept.plot([100 * s for s in shares], errors, label=name, marker="o", ms=3, **style)
    fitted.set(
        title=f"{POINTS} positions, {100 * shown:.0f} % of them wrong",
        xlabel="time (s)",
        ylabel="position along the rail (m)",
    )
    fitted.legend(loc="upper left")
    zoom.set(xlim=(3.0, 4.0), ylim=(1.2, 1.6), xticks=(), yticks=())
    fitted.indicate_inset_zoom(zoom, edgecolor="#333333")
    swept.set(
        title=f"How wrong the fitted line is, median of {DRAWS} draws",
        xlabel="wrong measurements (%)",
        ylabel="root mean square distance to the true line (m)",
        yscale="log",
    )
    handles, labels = swept.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=7, frameon=False)
    return figure


def _efficient_losses() -> dict[str, Callable[..., Tensor]]:
    """Losses at the scale of 95 % efficiency, those that then fit the same line under one name."""
    groups: dict[float | str, str] = {}
    for name, row in ROBUST_LOSSES.items():
        if row.function is not general_robust:  # pseudo_huber by its default shape
            key = row.efficient_scale or name
            groups[key] = f"{groups[key]} = {name}" if key in groups else name
    rows = {label: ROBUST_LOSSES[label.split(" = ")[0]] for label in groups.values()}
    return {
        label: partial(row.function, scale=NOISE_M * (row.efficient_scale or 1.0))
        for label, row in rows.items()
    }


def measure(outliers: float, draws: int = DRAWS) -> tuple[Tensor, Tensor]:
    """Times (draws, POINTS) in seconds and positions in metres, a share of them far too large."""
    generator = torch.Generator().manual_seed(0)
    options = {"generator": generator, "dtype": torch.float64}
    time = SECONDS * torch.rand(draws, POINTS, **options)
    noise = NOISE_M * torch.randn(draws, POINTS, **options)
    low, high = OUTLIER_M
    offset = low + (high - low) * torch.rand(draws, POINTS, **options)
    offset[:, round(outliers * POINTS) :] = 0.0
    return time, START_M + SPEED * time + noise + offset


def fit_line(loss: Callable[..., Tensor], time: Tensor, position: Tensor) -> Tensor:
    """Lines (draws, 2), start and speed, by iteratively reweighted least squares from the L1 line.

    A loss with a falling pull has several minima; which one is found depends on the start.
    """
    design = torch.stack((torch.ones_like(time), time), dim=-1)

    def solve(weight: Tensor) -> Tensor:
        weighted = weight.unsqueeze(-1) * design
        right = (weighted * position.unsqueeze(-1)).sum(dim=-2)
        return torch.linalg.solve(weighted.mT @ design, right)

    line = solve(torch.ones_like(time))
    for function in (ROBUST_LOSSES["l1"].function, loss):
        for _ in range(SWEEPS):
            residual = (position - (design @ line.unsqueeze(-1)).squeeze(-1)).requires_grad_()
            (pull,) = torch.autograd.grad(function(residual, reduction="sum"), residual)
            # L1 weighs a point that the line goes through without limit.
            line = solve(pull.abs() / residual.detach().abs().clamp_min(1e-9))
    return line


def line_error(line: Tensor) -> Tensor:
    """Root mean square distance in metres between lines (draws, 2) and the true one, (draws,)."""
    start, slope = line[..., 0] - START_M, line[..., 1] - SPEED
    return (start**2 + start * slope * SECONDS + (slope * SECONDS) ** 2 / 3).sqrt()
