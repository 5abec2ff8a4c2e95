"""Classification losses against 50-digit arithmetic, torch's own, and each other."""

from collections.abc import Callable
from typing import NamedTuple

import mpmath
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from posenet.losses import (
    CLASSIFICATION_LOSSES,
    SMOOTHING_CONVENTIONS,
    classification,
    cross_entropy,
    cross_entropy_sum_and_weight,
    distillation,
    kl_divergence,
    nll,
    sample_weights,
    smooth_labels,
    softmax_mse,
    top1_accuracy,
)

WEIGHT = torch.tensor([0.25, 3.0, 1.5], dtype=torch.float64)
SMOOTHING, TEMPERATURE, SHARE = 0.3, 2.0, 0.7
LARGEST = torch.finfo(torch.float32).max


class Targets(NamedTuple):
    """What samples are held against: whatever a loss takes."""

    labels: Tensor
    probabilities: Tensor
    teacher: Tensor


class Form(NamedTuple):
    """A loss as it is called, and in 50 digits the loss and gradient of one sample."""

    call: Callable[..., Tensor]
    exact: Callable[..., tuple[mpmath.mpf, list[mpmath.mpf]]]


def softmax(z, temperature=1):
    shares = [mpmath.exp((x - max(z)) / temperature) for x in z]
    return [x / mpmath.fsum(shares) for x in shares]


def one_hot(label, z):
    return [mpmath.mpf(k == label) for k in range(len(z))]


def surprise(z, p, temperature=1):
    """-sum p log Q and its gradient; a class with p = 0 costs nothing."""
    log_sum = mpmath.log(mpmath.fsum(mpmath.exp((x - max(z)) / temperature) for x in z))
    terms = [a * (log_sum + (max(z) - x) / temperature) for a, x in zip(p, z, strict=True) if a > 0]
    q, whole = softmax(z, temperature), mpmath.fsum(p)
    slope = [(whole * b - a) / temperature for a, b in zip(p, q, strict=True)]
    return mpmath.fsum(terms), slope


def divergence(z, p, temperature=1):
    value, slope = surprise(z, p, temperature)
    return value + mpmath.fsum(a * mpmath.log(a) for a in p if a > 0), slope


def half_square(z, p):
    q = softmax(z)
    d = [b - a for a, b in zip(p, q, strict=True)]
    mean = mpmath.fsum(b * e for b, e in zip(q, d, strict=True))
    slope = [b * (e - mean) for b, e in zip(q, d, strict=True)]
    return mpmath.fsum(e**2 for e in d) / 2, slope


def smoothed(z, p):
    return [(1 - mpmath.mpf(SMOOTHING)) * a + mpmath.mpf(SMOOTHING) / len(z) for a in p]


def weighted(p):
    return [mpmath.mpf(w) * a for w, a in zip(WEIGHT.tolist(), p, strict=False)]


def distilled(z, teacher, label=None):
    temperature = mpmath.mpf(TEMPERATURE)
    value, slope = divergence(z, softmax(teacher, temperature), temperature)
    value, slope = temperature**2 * value, [temperature**2 * g for g in slope]
    if label is None:
        return value, slope
    share, (hard, pull) = mpmath.mpf(SHARE), surprise(z, one_hot(label, z))
    both = [share * g + (1 - share) * h for g, h in zip(slope, pull, strict=True)]
    return share * value + (1 - share) * hard, both


FORMS = {
    "cross_entropy": Form(
        lambda z, t, r="none": cross_entropy(z, t.labels, reduction=r),
        lambda z, y, p, teacher: surprise(z, one_hot(y, z)),
    ),
    "cross_entropy of probabilities": Form(
        lambda z, t, r="none": cross_entropy(z, t.probabilities, reduction=r),
        lambda z, y, p, teacher: surprise(z, p),
    ),
    "cross_entropy smoothed": Form(
        lambda z, t, r="none": cross_entropy(z, t.labels, label_smoothing=SMOOTHING, reduction=r),
        lambda z, y, p, teacher: surprise(z, smoothed(z, one_hot(y, z))),
    ),
    "cross_entropy weighted": Form(
        lambda z, t, r="none": cross_entropy(
            z, t.labels, weight=WEIGHT[: z.shape[-1]], label_smoothing=SMOOTHING, reduction=r
        ),
        lambda z, y, p, teacher: surprise(z, weighted(smoothed(z, one_hot(y, z)))),
    ),
    "nll": Form(
        lambda z, t, r="none": nll(z.log_softmax(dim=-1), t.labels, reduction=r),
        lambda z, y, p, teacher: surprise(z, one_hot(y, z)),
    ),
    "kl_divergence": Form(
        lambda z, t, r="none": kl_divergence(z, t.probabilities, reduction=r),
        lambda z, y, p, teacher: divergence(z, p),
    ),
    "softmax_mse": Form(
        lambda z, t, r="none": softmax_mse(z, t.labels, reduction=r),
        lambda z, y, p, teacher: half_square(z, one_hot(y, z)),
    ),
    "softmax_mse of probabilities": Form(
        lambda z, t, r="none": softmax_mse(z, t.probabilities, reduction=r),
        lambda z, y, p, teacher: half_square(z, p),
    ),
    "distillation": Form(
        lambda z, t, r="none": distillation(z, t.teacher, temperature=TEMPERATURE, reduction=r),
        lambda z, y, p, teacher: distilled(z, teacher),
    ),
    "distillation and labels": Form(
        lambda z, t, r="none": distillation(
            z, t.teacher, t.labels, temperature=TEMPERATURE, teacher_share=SHARE, reduction=r
        ),
        lambda z, y, p, teacher: distilled(z, teacher, y),
    ),
}
ALL_FORMS = pytest.mark.parametrize("name", FORMS)
WEIGHTED = {"cross_entropy weighted"}  # its mean divides by weights


def make(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Targets]:
    """Logits (*shape, 3) and targets."""
    generator = torch.Generator().manual_seed(seed)
    logits, probabilities, teacher = (
        3.0 * torch.randn(*shape, 3, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    labels = torch.randint(3, shape, generator=generator)
    targets = Targets(labels, probabilities.softmax(dim=-1).to(dtype), teacher.to(dtype))
    return logits.to(dtype), targets


def evaluate(name: str, logits: Tensor, targets: Targets) -> list[Tensor]:
    """Losses of samples, and their gradients by the logits."""
    logits = logits.clone().requires_grad_()
    values = FORMS[name].call(logits, targets)
    (slopes,) = torch.autograd.grad(values.sum(), logits)
    return [values.detach(), slopes]


def exact(name: str, logits: Tensor, targets: Targets) -> list[Tensor]:
    """The same in float64, of numbers as they were rounded; of samples (N, K)."""
    with mpmath.workdps(50):
        pairs = []
        for z, y, p, teacher in zip(*(x.tolist() for x in (logits, *targets)), strict=True):
            z, p, teacher = ([mpmath.mpf(x) for x in row] for row in (z, p, teacher))
            value, slope = FORMS[name].exact(z, y, p, teacher)
            pairs.append((float(value), [float(x) for x in slope]))
    values, slopes = zip(*pairs, strict=True)
    return [torch.tensor(values, dtype=torch.float64), torch.tensor(slopes, dtype=torch.float64)]


def test_every_loss_has_an_exact_form_here_and_facts_to_print():
    assert {name.split()[0] for name in FORMS} == CLASSIFICATION_LOSSES.keys()
    for name, row in CLASSIFICATION_LOSSES.items():
        assert row.function.__name__ == name
        assert all(text and "\n" not in text for text in row[1:])
    assert all(row.formula and row.note for row in SMOOTHING_CONVENTIONS.values())


# --- values and gradients ---------------------------------------------------------------------


@ALL_FORMS
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.float64, 4e-15)])
def test_values_and_gradients_are_the_closed_form_to_rounding(name, dtype, bound):
    logits, targets = make(40, dtype=dtype)
    for found, expected in zip(
        evaluate(name, logits, targets), exact(name, logits, targets), strict=True
    ):
        error = (found.double() - expected).abs()
        assert (error <= bound * (1.0 + expected.abs())).all(), error.max()


def test_softmax_mse_has_the_gradient_it_says_and_it_sums_to_zero():
    """T10: to 1e-12, and not the diagonal of the softmax's derivative alone."""
    logits, targets = make(500)
    q, p = logits.softmax(dim=-1), targets.probabilities
    expected = q * ((q - p) - (q * (q - p)).sum(dim=-1, keepdim=True))
    _, slopes = evaluate("softmax_mse of probabilities", logits, targets)
    assert (slopes - expected).abs().max() < 1e-12
    assert slopes.sum(dim=-1).abs().max() < 1e-12
    assert (slopes - q * (1.0 - q) * (q - p)).abs().max() > 0.1


@ALL_FORMS
def test_a_shift_of_all_logits_changes_nothing(name):
    logits, targets = make(20)
    values, slopes = evaluate(name, logits, targets)
    shifted_values, shifted_slopes = evaluate(name, logits + 1000.0, targets)
    torch.testing.assert_close(shifted_values, values, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(shifted_slopes, slopes, rtol=1e-11, atol=1e-12)
    assert slopes.sum(dim=-1).abs().max() < 1e-12


EDGES = [0.0, -0.0, 1e-45, 1e-7, 1.0, 16.0, 88.0, 104.0, 1e4, 1e30, 2e38, 3e38, LARGEST]
edges = st.sampled_from([*EDGES, *(-x for x in EDGES)])
shares = st.sampled_from([0.0, 0.0, 1e-6, 0.1, 1.0, 3.0])


@st.composite
def edge_cases(draw):
    """One sample of up to three classes, float32 logits at the edges of the type."""
    classes = draw(st.integers(1, 3))
    rows = [draw(st.lists(edges, min_size=classes, max_size=classes)) for _ in range(2)]
    logits, teacher = (torch.tensor([row]) for row in rows)
    parts = torch.tensor(draw(st.lists(shares, min_size=classes, max_size=classes)))
    parts[draw(st.integers(0, classes - 1))] += 1.0
    labels = torch.tensor([draw(st.integers(0, classes - 1))])
    return logits, Targets(labels, (parts / parts.sum())[None], teacher)


@ALL_FORMS
@given(case=edge_cases())
@settings(derandomize=True, deadline=None, max_examples=80)
def test_finite_wherever_the_true_value_is(name, case):
    """Also where the difference of two logits is no float32."""
    (values, slopes), (true_values, true_slopes) = evaluate(name, *case), exact(name, *case)
    # Of a sum of two losses, where each of them is.
    near = true_values.abs() <= ((1.0 - SHARE) if "and" in name else 0.999999) * LARGEST
    error = (values.double() - true_values).abs()
    assert (error <= 4e-6 + 2e-6 * true_values)[near].all(), (values, true_values)
    assert not values.isnan().any()
    torch.testing.assert_close(slopes.double(), true_slopes, rtol=0.0, atol=3e-6)


def test_a_target_probability_of_zero_may_meet_a_masked_class():
    """torch's own losses make NaN of 0 times -inf."""
    logits = torch.tensor([[1.0, -torch.inf, 0.0]], requires_grad=True)
    target = torch.tensor([[1.0, 0.0, 0.0]])
    assert F.cross_entropy(logits, target).isnan()
    expected = F.cross_entropy(logits[:, ::2], torch.tensor([0]))
    for loss in (cross_entropy, kl_divergence):
        value = loss(logits, target)
        torch.testing.assert_close(value, expected)
        (slope,) = torch.autograd.grad(value, logits)
        torch.testing.assert_close(slope, torch.tensor([[-0.268941, 0.0, 0.268941]]))


def test_a_masked_class_with_probability_costs_infinitely_much():
    logits = torch.tensor([[1.0, -torch.inf, 0.0]])
    for target in (torch.tensor([1]), torch.tensor([[0.5, 0.5, 0.0]])):
        assert cross_entropy(logits, target) == torch.inf


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_a_class_weight_of_zero_may_meet_a_masked_class(epsilon):
    """torch makes NaN of 0 times -inf; an index and its one-hot agree."""
    logits = torch.tensor([[1.0, -torch.inf, 0.0], [2.0, 0.0, 1.0]], requires_grad=True)
    target, weight = torch.tensor([1, 0]), torch.tensor([1.0, 0.0, 2.0])
    assert F.cross_entropy(logits, target, weight, label_smoothing=epsilon).isnan()
    options = {"weight": weight, "label_smoothing": epsilon, "reduction": "none"}
    by_index = cross_entropy(logits, target, **options)
    one_hots = F.one_hot(target, 3).float()
    torch.testing.assert_close(by_index, cross_entropy(logits, one_hots, **options))
    expected = F.cross_entropy(logits[1:], target[1:], **options)
    torch.testing.assert_close(by_index[1:], expected)
    assert by_index.isfinite().all()
    (slope,) = torch.autograd.grad(by_index.sum(), logits)
    assert slope.isfinite().all()
    assert slope[1].abs().max() > 0.1
    if epsilon == 0.0:
        values = nll(logits.log_softmax(dim=-1), target, weight=weight, reduction="none")
        torch.testing.assert_close(values, by_index)
        for found in (values, by_index):
            assert found[0] == 0.0
        assert slope[0].abs().max() == 0.0


def test_a_class_weight_of_zero_does_not_hide_nan():
    logits, weight = torch.tensor([[torch.nan, 1.0, 0.0]]), torch.tensor([1.0, 0.0, 2.0])
    for target in (torch.tensor([1]), torch.tensor([[0.0, 1.0, 0.0]])):
        assert cross_entropy(logits, target, weight=weight, reduction="sum").isnan()


@ALL_FORMS
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_not_hidden(name, bad):
    logits, targets = make(3)
    logits[1, 0] = bad
    values = FORMS[name].call(logits, targets)
    assert values.isfinite().tolist() == [True, False, True]


@ALL_FORMS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_logits_are_computed_in_float32(name, dtype):
    logits, targets = make(50, dtype=dtype)
    targets = targets._replace(probabilities=targets.probabilities.float())
    targets = targets._replace(
        probabilities=targets.probabilities / targets.probabilities.sum(-1, True)
    )
    if name == "nll":  # takes what log_softmax made of them
        assert nll(logits, targets.labels).dtype == torch.float32
        return
    found = FORMS[name].call(logits, targets)
    assert found.dtype == torch.float32
    expected = FORMS[name].call(logits.float(), targets._replace(teacher=targets.teacher.float()))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_probabilities_may_be_rounded_to_16_bits(dtype):
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(200, 10, generator=generator).softmax(dim=-1).to(dtype)
    assert cross_entropy(torch.zeros(200, 10), target).isfinite()


@ALL_FORMS
def test_autocast_changes_nothing(name):
    logits, targets = make(50, dtype=torch.float32)
    expected = FORMS[name].call(logits, targets)
    with torch.autocast("cpu", torch.bfloat16):
        found = FORMS[name].call(logits, targets)
    assert torch.equal(found, expected)


# --- torch's conventions ----------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("epsilon", [0.0, 0.2, 1.0])
def test_cross_entropy_is_torchs(reduction, weight, epsilon):
    logits, targets = make(30)
    labels = targets.labels.clone()
    labels[::4] = -100
    options = {"weight": weight, "label_smoothing": epsilon, "reduction": reduction}
    for target in (targets.labels, labels, targets.probabilities):
        found = cross_entropy(logits, target, **options)
        torch.testing.assert_close(
            found, F.cross_entropy(logits, target, **options), rtol=1e-13, atol=0
        )
    labels[labels < 0] = 1
    found = cross_entropy(logits, labels, ignore_index=1, **options)
    expected = F.cross_entropy(logits, labels, ignore_index=1, **options)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_nll_is_torchs(weight):
    logits, targets = make(30)
    labels = targets.labels.clone()
    labels[::4] = -1
    options = {"weight": weight, "ignore_index": -1}
    log_probabilities = logits.log_softmax(dim=-1)
    for reduction in ("none", "sum", "mean"):
        found = nll(log_probabilities, labels, reduction=reduction, **options)
        expected = F.nll_loss(log_probabilities, labels, reduction=reduction, **options)
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    whole = cross_entropy(logits, labels, **options)
    torch.testing.assert_close(nll(log_probabilities, labels, **options), whole)


def test_kl_divergence_is_torchs_batchmean_and_no_mean_over_elements():
    logits, targets = make(30)
    q, p = logits.log_softmax(dim=-1), targets.probabilities
    found = kl_divergence(logits, p)
    torch.testing.assert_close(found, F.kl_div(q, p, reduction="batchmean"), rtol=1e-12, atol=0)
    over_elements = F.kl_div(q, p, reduction="none").mean()
    torch.testing.assert_close(found / 3, over_elements, rtol=1e-12, atol=0)
    match = kl_divergence(p.log(), p, reduction="none")
    assert match.abs().max() < 1e-15


@pytest.mark.parametrize("classes", [3, 200, 300])
@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
        *(torch.int8, torch.int16, torch.int32, torch.int64),
    ],
)
def test_indices_of_every_integer_type(dtype, classes):
    """In 8 bits -100 is 156, and 300 is 44."""
    largest = min(classes - 1, torch.iinfo(dtype).max)
    labels = torch.tensor([0, 1, 2, 5, 43, 44, 45, 127, 128, 155, 156, 157, 199, 255, 299])
    labels = labels[labels <= largest]
    logits = 3.0 * torch.randn(len(labels), classes, generator=torch.Generator().manual_seed(0))
    logits[::2] += 9.0 * smooth_labels(labels, classes, 0.0)[::2]
    target, weight = labels.to(dtype), torch.linspace(0.5, 2.0, classes)
    for options in ({}, {"weight": weight}, {"label_smoothing": 0.1}):
        expected = F.cross_entropy(logits, labels, **options)
        torch.testing.assert_close(cross_entropy(logits, target, **options), expected)
    log_probabilities = logits.log_softmax(dim=-1)
    for loss, scores in (
        (nll, log_probabilities),
        (softmax_mse, logits),
        (top1_accuracy, logits),
    ):
        assert torch.equal(loss(scores, target), loss(scores, labels))
    torch.testing.assert_close(nll(log_probabilities, target), F.cross_entropy(logits, labels))
    hits = (logits.argmax(dim=-1) == labels).float()
    assert 0 < hits.mean() <= 1
    torch.testing.assert_close(top1_accuracy(logits, target), hits.mean())
    assert sample_weights(target).tolist() == [1.0] * len(labels)
    assert torch.equal(sample_weights(target, weight=weight), weight[labels])
    assert torch.equal(smooth_labels(target, classes, 0.0), F.one_hot(labels, classes).float())
    # An index to ignore may be one of the type or not.
    ignored = F.cross_entropy(logits, labels, ignore_index=2)
    torch.testing.assert_close(cross_entropy(logits, target, ignore_index=2), ignored)


@pytest.mark.parametrize("loss", [cross_entropy, nll, top1_accuracy])
def test_samples_are_counted_exactly_whatever_the_default_type(loss, monkeypatch):
    """float16 has no 100 000."""
    logits = torch.tensor([0.3, 0.5, 0.2]).log().expand(100_000, 3)
    target = torch.tensor([1, 0]).repeat(50_000)
    expected = loss(logits, target)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        found, weights = loss(logits, target), sample_weights(target)
    finally:
        torch.set_default_dtype(before)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert expected > 0.4
    assert weights.sum().item() == 100_000


def test_more_samples_are_counted_than_float32_can():
    """Its numbers end to be dense at 2^24, and the next integer is rounded."""
    target = torch.tensor(0).expand(2**24 + 1)
    assert classification._sample_weights(target, None, -100).sum().item() == 2**24 + 1


@ALL_FORMS
def test_reductions_count_samples(name):
    logits, targets = make(4, 5)
    values = FORMS[name].call(logits, targets)
    assert values.shape == (4, 5)
    torch.testing.assert_close(FORMS[name].call(logits, targets, "sum"), values.sum())
    count = WEIGHT[targets.labels].sum() if name in WEIGHTED else 20
    torch.testing.assert_close(FORMS[name].call(logits, targets, "mean"), values.sum() / count)


@ALL_FORMS
def test_unknown_reduction_is_refused(name):
    with pytest.raises(ValueError, match="expected none, sum or mean, got 'median'"):
        FORMS[name].call(*make(2), "median")


# --- nothing counts ---------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_a_batch_of_ignored_targets_costs_nothing_and_pulls_nowhere(weight, epsilon):
    """torch's mean is NaN, and one such batch ends a training."""
    logits = make(4)[0].requires_grad_()
    ignored = torch.full((4,), -100)
    assert F.cross_entropy(logits, ignored).isnan()
    options = {"weight": weight}
    for loss in (
        cross_entropy(logits, ignored, label_smoothing=epsilon, **options),
        nll(logits.log_softmax(dim=-1), ignored, **options),
    ):
        assert loss == 0.0
        (slope,) = torch.autograd.grad(loss, logits)
        assert torch.equal(slope, torch.zeros(4, 3, dtype=torch.float64))
    assert top1_accuracy(logits, ignored) == 0.0


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_the_logits_of_an_ignored_sample_do_not_matter(epsilon):
    """Padding may hold anything; torch's gradient of a NaN there is NaN."""
    logits = make(3)[0]
    logits[1] = torch.nan
    logits.requires_grad_()
    target = torch.tensor([0, -100, 2])
    loss = cross_entropy(logits, target, label_smoothing=epsilon)
    expected = F.cross_entropy(logits[::2], target[::2], label_smoothing=epsilon)
    torch.testing.assert_close(loss, expected)
    (slope,) = torch.autograd.grad(loss, logits)
    assert slope.isfinite().all()
    assert torch.equal(slope[1], torch.zeros(3, dtype=torch.float64))


def test_labels_of_weight_zero_count_nothing():
    logits, target = make(2)[0], torch.tensor([0, 0])
    weight = torch.tensor([0.0, 1.0, 1.0])
    assert cross_entropy(logits, target, weight=weight) == 0.0
    # Smoothing gives the other classes a share, so that torch's x / 0 is what is asked for.
    assert cross_entropy(logits, target, weight=weight, label_smoothing=0.1) == torch.inf


@ALL_FORMS
@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
def test_an_empty_batch_costs_nothing(name, shape):
    logits, targets = make(*shape)
    logits.requires_grad_()
    assert FORMS[name].call(logits, targets).shape == shape
    for reduction in ("sum", "mean"):
        loss = FORMS[name].call(logits, targets, reduction)
        assert loss == 0.0
        (slope,) = torch.autograd.grad(loss, logits)
        assert slope.shape == logits.shape


# --- smoothing --------------------------------------------------------------------------------


def test_smoothing_conventions_by_name():
    target = torch.tensor([1])
    double = {"dtype": torch.float64}
    uniform = smooth_labels(target, 3, 0.1, **double)
    others = smooth_labels(target, 3, 0.1, "others", **double)
    expected = torch.tensor([[0.1 / 3, 0.9 + 0.1 / 3, 0.1 / 3]], **double)
    torch.testing.assert_close(uniform, expected, rtol=1e-15, atol=0)
    torch.testing.assert_close(
        others, torch.tensor([[0.05, 0.9, 0.05]], **double), rtol=1e-15, atol=0
    )
    assert smooth_labels(target, 3, 0.1).dtype == torch.float32


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5])
def test_others_is_uniform_at_a_larger_epsilon(classes, epsilon):
    target = torch.tensor([[0, 1], [1, 0]])
    others = smooth_labels(target, classes, epsilon, "others", torch.float64)
    larger = epsilon * classes / (classes - 1)
    uniform = smooth_labels(target, classes, larger, "uniform", torch.float64)
    assert others.shape == (2, 2, classes)
    torch.testing.assert_close(others, uniform, rtol=1e-12, atol=0)


@pytest.mark.parametrize("convention", SMOOTHING_CONVENTIONS)
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("epsilon", [0.1, 0.9, 1.0])
def test_smoothing_in_the_loss_is_the_loss_of_smoothed_labels(convention, weight, epsilon):
    logits, targets = make(20)
    options = {"weight": weight, "reduction": "none"}
    found = cross_entropy(
        logits, targets.labels, label_smoothing=epsilon, smoothing=convention, **options
    )
    target = smooth_labels(targets.labels, 3, epsilon, convention, torch.float64)
    torch.testing.assert_close(found, cross_entropy(logits, target, **options), rtol=1e-14, atol=0)
    assert found.sum() != cross_entropy(logits, targets.labels, **options).sum()


def test_all_of_the_probability_can_go_to_the_others():
    found = smooth_labels(torch.tensor([2]), 3, 1.0, "others")
    assert torch.equal(found, torch.tensor([[0.5, 0.5, 0.0]]))


# --- distillation -----------------------------------------------------------------------------


def test_a_student_that_agrees_learns_nothing_and_the_teacher_never():
    logits, targets = make(10)
    teacher = targets.teacher.requires_grad_()
    student = (targets.teacher.detach() + 7.0).requires_grad_()
    loss = distillation(student, teacher, temperature=4.0)
    assert abs(loss) < 1e-14
    assert torch.autograd.grad(loss, student)[0].abs().max() < 1e-15
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(distillation(logits.requires_grad_(), teacher), teacher)


def test_the_gradient_keeps_its_size_at_high_temperature():
    """Hinton et al. 2015, equation 4: it tends to the difference of centred logits over K."""
    logits, targets = make(10)
    logits.requires_grad_()
    loss = distillation(logits, targets.teacher, temperature=1e5, reduction="sum")
    (slope,) = torch.autograd.grad(loss, logits)
    gap = (logits - targets.teacher).detach()
    expected = (gap - gap.mean(dim=-1, keepdim=True)) / 3
    torch.testing.assert_close(slope, expected, rtol=1e-3, atol=1e-4)


def test_a_sample_without_label_learns_from_the_teacher_alone():
    logits, targets = make(3)
    labels = torch.tensor([1, -100, 0])
    options = {"temperature": 3.0, "reduction": "none"}
    found = distillation(logits, targets.teacher, labels, teacher_share=0.4, **options)
    soft = distillation(logits, targets.teacher, **options)
    torch.testing.assert_close(found[1], 0.4 * soft[1])
    hard = cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(found, 0.4 * soft + 0.6 * hard)


# --- accuracy ---------------------------------------------------------------------------------


def test_accuracy_of_the_first_largest_logit():
    logits = torch.tensor([[2.0, 2.0, 1.0], [0.0, 3.0, 3.0], [0.0, 1.0, 2.0], [9.0, 0.0, 0.0]])
    target = torch.tensor([0, 2, 2, -100])
    hits = torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert torch.equal(top1_accuracy(logits, target, reduction="none"), hits)
    assert top1_accuracy(logits, target, reduction="sum") == 2.0
    assert top1_accuracy(logits, target).item() == pytest.approx(2 / 3)
    assert top1_accuracy(logits[:1, None], target[:1, None]) == 1.0


def test_a_network_of_nan_hits_nothing():
    """argmax alone would have it predict class 0."""
    assert top1_accuracy(torch.full((2, 3), torch.nan), torch.zeros(2, dtype=torch.int64)) == 0.0


# --- transforms (T14) -------------------------------------------------------------------------


@ALL_FORMS
def test_gradcheck_and_gradgradcheck(name):
    logits, targets = make(2, 2)
    logits.requires_grad_()
    for reduction in ("none", "mean"):
        assert torch.autograd.gradcheck(
            lambda z, r=reduction: FORMS[name].call(z, targets, r), logits
        )
    assert torch.autograd.gradgradcheck(lambda z: FORMS[name].call(z, targets), logits)


@pytest.mark.parametrize(
    "name", ["cross_entropy of probabilities", "kl_divergence", "softmax_mse of probabilities"]
)
def test_gradients_flow_into_probabilities(name):
    logits, targets = make(4)

    def loss(scores):
        return FORMS[name].call(logits, targets._replace(probabilities=scores.softmax(dim=-1)))

    scores = targets.probabilities.log().requires_grad_()
    assert torch.autograd.gradcheck(loss, scores)
    assert torch.autograd.gradgradcheck(loss, scores)


@ALL_FORMS
def test_any_batch_shape(name):
    logits, targets = make(2, 3, 4)
    values = FORMS[name].call(logits, targets)
    flat = Targets(targets.labels.flatten(), *(x.reshape(-1, 3) for x in targets[1:]))
    torch.testing.assert_close(FORMS[name].call(logits.reshape(-1, 3), flat), values.flatten())
    single = Targets(*(x[1, 2, 3] for x in targets))
    torch.testing.assert_close(FORMS[name].call(logits[1, 2, 3], single), values[1, 2, 3])
    turned = Targets(*(x.transpose(0, 1) for x in targets))  # not contiguous
    found = FORMS[name].call(logits.transpose(0, 1), turned)
    torch.testing.assert_close(found, values.transpose(0, 1))


@ALL_FORMS
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_vmap(name, reduction):
    logits, targets = make(4, 5)
    call = FORMS[name].call
    found = torch.vmap(lambda z, *t: call(z, Targets(*t), reduction))(logits, *targets)
    rows = [call(logits[i], Targets(*(x[i] for x in targets)), reduction) for i in range(4)]
    torch.testing.assert_close(found, torch.stack(rows))
    first = Targets(*(x[0] for x in targets))  # an ensemble of networks, one batch
    found = torch.vmap(lambda z: call(z, first, reduction))(logits)
    rows = [call(z, first, reduction) for z in logits]
    torch.testing.assert_close(found, torch.stack(rows))


@ALL_FORMS
def test_gradients_by_sample(name):
    logits, targets = make(6)
    call = FORMS[name].call
    slope = torch.func.vmap(torch.func.grad(lambda z, *t: call(z, Targets(*t), "sum")))
    torch.testing.assert_close(slope(logits, *targets), evaluate(name, logits, targets)[1])


def check_compiled(name: str, backend: str, *reductions: str) -> None:
    """Several reductions in one graph, as compiling is what takes the time."""

    def call(*logits):
        pairs = zip(logits, reductions, strict=True)
        return [FORMS[name].call(z, targets, reduction) for z, reduction in pairs]

    torch.compiler.reset()
    compiled = torch.compile(call, fullgraph=True, backend=backend)
    logits, targets = make(6, dtype=torch.float32)
    found, expected = ([logits.clone().requires_grad_() for _ in reductions] for _ in range(2))
    values, true_values = compiled(*found), call(*expected)
    torch.testing.assert_close(values, true_values)
    sum(x.sum() for x in values).backward()
    sum(x.sum() for x in true_values).backward()
    torch.testing.assert_close([z.grad for z in found], [z.grad for z in expected])


@ALL_FORMS
def test_compiles_without_a_break(name):
    check_compiled(name, "aot_eager", "none", "mean")


def test_compiles_to_machine_code():
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except RuntimeError:
        pytest.skip("no C++ compiler")
    check_compiled("cross_entropy weighted", "inductor", "mean")


@pytest.mark.parametrize("name", [name for name in FORMS if name not in WEIGHTED])
def test_tensors_without_values_are_taken_for_good(name):
    logits, targets = make(4, dtype=torch.float32)
    targets = Targets(*(x.to("meta") for x in targets))
    assert FORMS[name].call(logits.to("meta"), targets).shape == (4,)


# --- sums and weights -------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_sum_over_weight_is_the_mean(weight, epsilon):
    logits, targets = make(30)
    labels = targets.labels.clone()
    labels[::3] = -100
    options = {"weight": weight, "label_smoothing": epsilon}
    for target in (labels, targets.probabilities):
        logits.requires_grad_()
        total, count = cross_entropy_sum_and_weight(logits, target, **options)
        assert total.dtype == count.dtype == torch.float64
        mean = cross_entropy(logits, target, **options)
        torch.testing.assert_close(total / count, mean, rtol=1e-14, atol=0)
        slopes = (torch.autograd.grad(x, logits)[0] for x in (total / count, mean))
        torch.testing.assert_close(*slopes, rtol=1e-12, atol=1e-15)


def test_sample_weights():
    target = torch.tensor([[0, -100], [2, 1]])
    assert sample_weights(target).tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert sample_weights(target, weight=WEIGHT).tolist() == [[0.25, 0.0], [1.5, 3.0]]
    weighted = sample_weights(target.clamp(min=0), weight=WEIGHT, ignore_index=2)
    assert weighted.tolist() == [[0.25, 0.25], [0.0, 3.0]]


# --- what is refused --------------------------------------------------------------------------

LOGITS = torch.zeros(2, 3)
INDICES = torch.tensor([0, 2])
UNIFORM = torch.full((2, 3), 1 / 3)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (
            torch.tensor([0, 3]),
            ValueError,
            r"0\.\.2 \(or ignore_index -100\), got 3 at position \(1,\)",
        ),
        (torch.tensor([-1, 3]), ValueError, r"got -1 at position \(0,\)"),
        (
            torch.eye(3, dtype=torch.int64)[:2],
            TypeError,
            r"target: expected class indices \(2,\) or float probabilities \(2, 3\), got int64 of "
            r"shape \(2, 3\); convert a one-hot with \.float\(\)",
        ),
        (torch.tensor([0.0, 2.0]), TypeError, r"got float32 of shape \(2,\); convert indices with"),
        (torch.tensor([True, False]), TypeError, "of an integer type, got bool"),
        (torch.tensor([0]), ValueError, r"class indices \(2,\) or .* got int64 of shape \(1,\)"),
        (torch.ones(3) / 3, ValueError, r"probabilities \(2, 3\), got float32 of shape \(3,\)"),
        (2 * UNIFORM, ValueError, r"sum to 1 .* got a sum of 2 .* at position \(0,\)"),
        (torch.tensor([[1.0, 0, 0], [1.5, -0.5, 0]]), ValueError, r"least one of -0.5 at .*\(1,\)"),
        (UNIFORM * torch.nan, ValueError, "got a sum of nan"),
    ],
)
def test_targets_that_are_refused(target, error, message):
    for loss in (cross_entropy, softmax_mse):
        if "ignore_index" in message and loss is softmax_mse:
            continue
        with pytest.raises(error, match=message):
            loss(LOGITS, target)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cross_entropy(LOGITS.long(), INDICES), TypeError, "logits: expected floating"),
        (lambda: cross_entropy(torch.tensor(1.0), INDICES), ValueError, r"\.\.\., K\).*got \(\)"),
        (lambda: cross_entropy(torch.zeros(2, 0), INDICES), ValueError, r"got \(2, 0\)"),
        (
            lambda: cross_entropy(LOGITS, INDICES, label_smoothing=1.1),
            ValueError,
            "0 to 1, got 1.1",
        ),
        (lambda: cross_entropy(LOGITS, UNIFORM, label_smoothing=-0.1), ValueError, "got -0.1"),
        (lambda: smooth_labels(INDICES, 3, float("nan")), ValueError, "0 to 1, got nan"),
        (
            lambda: cross_entropy(LOGITS, INDICES, smoothing="other"),
            ValueError,
            "smoothing: expected uniform or others, got 'other'",
        ),
        (lambda: smooth_labels(INDICES * 0, 1, 0.1, "others"), ValueError, "for a single class"),
        (lambda: smooth_labels(INDICES, 0, 0.1), ValueError, "classes: expected a positive"),
        (lambda: smooth_labels(INDICES, 2, 0.1), ValueError, r"0\.\.1, got 2 at position \(1,\)"),
        (lambda: smooth_labels(UNIFORM, 3, 0.1), TypeError, "of an integer type, got float32"),
        (
            lambda: cross_entropy(LOGITS, INDICES, weight=torch.ones(2)),
            ValueError,
            r"weight: expected 3 floating numbers, got float32 of shape \(2,\)",
        ),
        (
            lambda: cross_entropy(LOGITS, INDICES, weight=torch.tensor([1.0, -1.0, 1.0])),
            ValueError,
            "weight: expected finite numbers that are not negative, got -1 of class 1",
        ),
        (
            lambda: cross_entropy(LOGITS, UNIFORM, ignore_index=0),
            ValueError,
            "ignore_index: expected none with class probabilities, got 0",
        ),
        (lambda: nll(LOGITS, UNIFORM), TypeError, "go to cross_entropy or kl_divergence"),
        (lambda: nll(LOGITS, INDICES + 1), ValueError, r"0\.\.2 \(or .*got 3"),
        (lambda: nll(LOGITS.long(), INDICES), TypeError, "log_probabilities: expected floating"),
        (lambda: kl_divergence(LOGITS, INDICES), TypeError, "class indices go to cross_entropy"),
        (lambda: kl_divergence(LOGITS, 2 * UNIFORM), ValueError, "got a sum of 2"),
        (lambda: top1_accuracy(LOGITS, UNIFORM), TypeError, "of an integer type, got float32"),
        (lambda: top1_accuracy(LOGITS, INDICES + 1), ValueError, "got 3"),
        (lambda: distillation(LOGITS, LOGITS[:1]), ValueError, r"\(2, 3\) as .*, got \(1, 3\)"),
        (lambda: distillation(LOGITS, LOGITS, temperature=0), ValueError, "positive number, got 0"),
        (lambda: distillation(LOGITS, LOGITS, teacher_share=0.5), ValueError, "1 with no target"),
        (lambda: distillation(LOGITS, LOGITS, INDICES), ValueError, "less than 1 with a target"),
        (
            lambda: distillation(LOGITS, LOGITS, INDICES, teacher_share=2.0),
            ValueError,
            "teacher_share: expected a number from 0 to 1, got 2.0",
        ),
        (lambda: sample_weights(UNIFORM), TypeError, "of an integer type"),
        (lambda: sample_weights(INDICES, weight=UNIFORM), ValueError, r"a weight a class \(K\)"),
        (lambda: sample_weights(INDICES, weight=torch.ones(2)), ValueError, "got 2 at"),
    ],
)
def test_arguments_that_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
