"""Pictures of the classification losses: why cross-entropy, and what label smoothing targets."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from posenet.evaluation.plots import LINE_STYLES, PALETTE, make_figure
from posenet.losses import SMOOTHING_CONVENTIONS, cross_entropy, smooth_labels, softmax_mse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPARED: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "softmax_mse": softmax_mse,
}
CONFIDENTLY_WRONG = -5.0  # logits -2 and 3
STEPS, RATE = 200, 1.0


def draw_softmax_mse() -> "Figure":
    """Gradients of the two losses when the network is confidently wrong, and what follows."""
    margin = torch.linspace(-12.0, 12.0, 241, dtype=torch.float64)
    figure = make_figure(11.0, 4.8)
    gradients, descent = figure.subplots(1, 2)
    for i, (name, loss) in enumerate(COMPARED.items()):
        style = {"color": PALETTE[i], "linestyle": LINE_STYLES[i], "linewidth": 1.8}
        gradients.plot(margin, pull_on_true_logit(loss, margin), label=name, **style)
        for start, width in ((CONFIDENTLY_WRONG, 1.8), (2 * CONFIDENTLY_WRONG, 1.0)):
            label = f"{name} from a margin of {start:g}"
            style["linewidth"] = width
            descent.plot(range(STEPS + 1), descend(loss, start), label=label, **style)
    gradients.axvline(CONFIDENTLY_WRONG, color="#333333", linewidth=0.8, linestyle=":")
    wrong = torch.tensor([CONFIDENTLY_WRONG], dtype=torch.float64)
    by_entropy, by_mse = (float(pull_on_true_logit(loss, wrong)) for loss in COMPARED.values())
    gradients.annotate(
        f"logits -2 and 3:\n{by_entropy:.4f} against {by_mse:.4f},\n"
        f"{by_entropy / by_mse:.1f} times",
        (CONFIDENTLY_WRONG, by_mse),
        (-4.6, 1e-9),
    )
    gradients.set(
        title="Two classes: pull on the true class's logit",
        xlabel="logit of the true class minus the other (no unit)",
        ylabel="|d loss / d logit|",
        yscale="log",
    )
    gradients.legend(loc="upper right")
    descent.set(
        title=f"Gradient descent on the logits, rate {RATE:g}",
        xlabel="step",
        ylabel="probability of the true class",
        ylim=(-0.02, 1.02),
    )
    descent.legend(loc="center right")
    return figure


def pull_on_true_logit(loss: Callable[..., Tensor], margin: Tensor) -> Tensor:
    """Size of the loss's derivative by the true class's logit, for margins (N,) of two classes."""
    logits = torch.stack((margin, torch.zeros_like(margin)), dim=-1).requires_grad_()
    target = torch.zeros(len(margin), dtype=torch.int64)
    (gradient,) = torch.autograd.grad(loss(logits, target, reduction="sum"), logits)
    return gradient[:, 0].abs()


def descend(loss: Callable[..., Tensor], margin: float) -> list[float]:
    """Probability of the true class at every step, from a margin between two logits."""
    logits = torch.tensor([[margin, 0.0]], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0])
    probabilities = []
    for _ in range(STEPS + 1):
        probabilities.append(float(logits.detach().softmax(dim=-1)[0, 0]))
        (gradient,) = torch.autograd.grad(loss(logits, target, reduction="sum"), logits)
        logits = (logits - RATE * gradient).detach().requires_grad_()
    return probabilities


def draw_label_smoothing() -> "Figure":
    """Targets of three classes by both conventions, and of the true class by their number."""
    epsilon, classes = 0.1, ("class 0", "class 1 (true)", "class 2")
    figure = make_figure(11.0, 4.6)
    bars, sweep = figure.subplots(1, 2)
    width = 0.8 / (1 + len(SMOOTHING_CONVENTIONS))
    targets = {"no smoothing": smooth_labels(torch.tensor(1), 3, 0.0)}
    targets |= {
        f"{name}, eps = {epsilon:g}": smooth_labels(torch.tensor(1), 3, epsilon, name)
        for name in SMOOTHING_CONVENTIONS
    }
    for i, (label, target) in enumerate(targets.items()):
        places = [place + (i - 1) * width for place in range(3)]
        drawn = bars.bar(places, target, width, color=("#B8B8B8", *PALETTE)[i], label=label)
        bars.bar_label(drawn, [f"{value:.3g}" for value in target.tolist()], fontsize=8)
    bars.set_xticks(range(3), classes)
    bars.set(title="Three classes", ylabel="target probability", ylim=(0.0, 1.25))
    bars.legend(loc="upper right", ncols=3, fontsize=8)
    counts = range(2, 21)
    for i, name in enumerate(SMOOTHING_CONVENTIONS):
        values = [float(smooth_labels(torch.tensor(0), k, epsilon, name)[0]) for k in counts]
        style = {"color": PALETTE[i], "linestyle": LINE_STYLES[i], "marker": "o"}
        sweep.plot(counts, values, markersize=3, label=f"{name}, eps = {epsilon:g}", **style)
    sweep.set(
        title="The conventions agree as classes grow many",
        xlabel="number of classes K",
        ylabel="target of the true class",
        xticks=range(2, 21, 2),
    )
    sweep.legend(loc="upper right")
    return figure
