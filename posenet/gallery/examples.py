"""What is often said about losses, and what is right: computed by the functions of this package.

The statements on the left are those of a widely copied tutorial; the right-hand sides are computed
anew whenever the page is written, and tests hold them to 50-digit arithmetic. Only what float32
rounding and other versions of torch do is quoted as it was measured.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from posenet.geometry import quaternion_geodesic_distance
from posenet.losses import (
    cauchy,
    cross_entropy,
    huber,
    l1,
    smooth_l1,
    smooth_labels,
    softmax_mse,
)


class Example(NamedTuple):
    """A row of the page: what is said, what is right."""

    said: str
    right: str


def worked_examples() -> list[Example]:
    """Every example, in the order of the page."""
    return [*_cross_entropy_examples(), *_gradient_examples(), *_other_examples()]


def _cross_entropy_examples() -> list[Example]:
    predicted, target = _tensor(0.1, 0.7, 0.2), _tensor(0.05, 0.9, 0.05)
    value = cross_entropy(predicted.log(), target)
    terms = " + ".join(f"{term:.4f}" for term in (-target * predicted.log()).tolist())
    uniform, others = (
        smooth_labels(torch.tensor(1), 3, 0.1, name) for name in ("uniform", "others")
    )
    by_uniform = cross_entropy(predicted.log(), torch.tensor(1), label_smoothing=0.1)
    float_onehot = cross_entropy(predicted.log(), _tensor(0.0, 1.0, 0.0))
    return [
        Example(
            "the cross-entropy of Q = [.1, .7, .2] against P = [.05, .9, .05] is 0.453",
            f"{terms} = **{value:.6f}**",
        ),
        Example(
            "`nn.CrossEntropyLoss` takes no one-hot or smoothed vectors",
            "it takes float probabilities: [0., 1., 0.] gives "
            f"{float_onehot:.6f}, as index 1 does; only an *integer* one-hot is refused",
        ),
        Example(
            "[.05, .9, .05] is what `label_smoothing=0.1` trains on",
            f"torch spreads eps over all classes: {_vector(uniform)}, cross-entropy "
            f"{by_uniform:.6f}. {_vector(others)} spreads it over the *other* classes, and is "
            f"torch's eps = {3.0 * float(others[0]):.4g}",
        ),
        Example(
            "`loss.item() * batch_size` adds up to the epoch's loss",
            "not with class weights (torch divides by the sum of the weights) nor with "
            "`ignore_index`, and a batch that is all ignored gives NaN. `EpochMean` adds sums and "
            "weights",
        ),
        Example(
            'the true class is "Dog (y = 2)", Dog being entry 1', "index 1: classes count from 0"
        ),
    ]


def _gradient_examples() -> list[Example]:
    three = _softmax_mse_gradient(-2.0, 3.0, 2.9)
    wrong_formula = _naive_softmax_mse_gradient(-2.0, 3.0, 2.9)
    right, wrong = _softmax_mse_gradient(3.0, -2.0), _softmax_mse_gradient(-2.0, 3.0)
    logits = _tensor(-2.0, 3.0).requires_grad_()
    (entropy,) = torch.autograd.grad(cross_entropy(logits, torch.tensor(0)), logits)
    ratio = float(entropy[0] / wrong[0])
    return [
        Example(
            "the gradient of 1/2 sum (Q - P)^2 through a softmax is (Q_k - P_k) Q_k (1 - Q_k)",
            "Q_k [(Q_k - P_k) - sum_j Q_j (Q_j - P_j)]: every output moves every logit. For logits "
            f"[-2, 3, 2.9] and class 0 {_vector(three, '.5f')}, where the other formula gives "
            f"{_vector(wrong_formula, '.5f')}",
        ),
        Example(
            "for logits [3, -2] and class 0 it is -/+ 0.000044, for [-2, 3] -/+ 0.0066",
            f"twice that: -/+ {right[1]:.5e} and -/+ {wrong[1]:.8f}",
        ),
        Example(
            'the gradient of the cross-entropy is "about 100 times" or "about 150 times" as large',
            f"**{ratio:.2f} times** in both cases: 1 / (2 Q_0 Q_1)",
        ),
    ]


def _other_examples() -> list[Example]:
    delta, x = 2.0, _tensor(5.0)
    torch_huber = torch.nn.functional.huber_loss(x, torch.zeros_like(x), delta=delta)
    first = _tensor(1.0, 0.0, 0.0, 0.0)
    second = 2.0 * _tensor(0.8, 0.6, 0.0, 0.0)
    angle = torch.rad2deg(quaternion_geodesic_distance(first, second))
    naive = torch.rad2deg(2.0 * (first @ second).abs().clamp(max=1.0).acos())
    return [
        Example(
            "the mean absolute error is discontinuous at zero; support vector regression uses it",
            f"it is continuous, {l1(_tensor(0.0)):.0f} at 0; its *derivative* jumps. Support "
            "vector regression uses the epsilon-insensitive loss",
        ),
        Example(
            "SmoothL1 is Huber",
            "huber_loss(delta) = delta * smooth_l1_loss(beta = delta), equal only at 1. For x = 5, "
            f"delta = 2 torch's are {torch_huber:g} and {smooth_l1(x, scale=delta):g}; our `huber` "
            f"is the first over delta^2, {huber(x, scale=delta):g}",
        ),
        Example(
            "the Cauchy loss is log(1 + z^2)",
            f"by scipy's and pypose's convention, {math.log1p(9.0):.6f} at z = 3. By Barron's, "
            f"which is ours, log(1 + z^2 / 2): {cauchy(_tensor(3.0)):.6f}",
        ),
        Example(
            "`clamp(cos, -1, 1)` before `acos` is there for stability",
            "in the forward pass only. In float32 the angle of a rotation to itself comes out as "
            "up to 6.9e-4 rad (0.04 deg), and below about 3e-4 rad the gradient along the "
            "rotations fades to 0 where it should be 1, as the picture above shows. By the matrix "
            "entries it is 0 or as large as 1.8e3 (4e7 in float64); before torch 2.15 it was NaN "
            "or infinite for 98.6 % of pairs of equal rotations",
        ),
        Example(
            'quaternions are "normalised" (said in a comment)',
            f"2q at a true {angle:.1f} deg gives 2 acos(min(1, |p.q|)) = {naive:.0f} deg, "
            "with gradient 0, silently. `quaternion_geodesic_loss` gives the same angle for any "
            "length",
        ),
    ]


def _softmax_mse_gradient(*logits: float) -> Tensor:
    """Gradient of the softmax-MSE of class 0 by the logits."""
    z = _tensor(*logits).requires_grad_()
    (gradient,) = torch.autograd.grad(softmax_mse(z, torch.tensor(0)), z)
    return gradient


def _naive_softmax_mse_gradient(*logits: float) -> Tensor:
    """The formula that forgets the softmax's other derivatives."""
    q = _tensor(*logits).softmax(dim=-1)
    return (q - _tensor(1.0, *(0.0 for _ in logits[1:]))) * q * (1.0 - q)


def _tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _vector(values: Tensor, form: str = ".4g") -> str:
    return f"[{', '.join(format(value, form) for value in values.tolist())}]"
