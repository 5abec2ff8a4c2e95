"""Means over an epoch against the value of the whole set, however it is cut."""

import datetime
import inspect
import itertools
import math
import subprocess
import sys
from fractions import Fraction

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posenet.losses import (
    accounting,
    cross_entropy,
    cross_entropy_sum_and_weight,
    nll,
    sample_weights,
    top1_accuracy,
)
from posenet.losses.accounting import EpochMean

WEIGHT = torch.tensor([0.25, 3.0, 1.5])
ULP = 2.0**-52

random_splits = settings(derandomize=True, deadline=None, max_examples=60)


def make(count: int, seed: int, ignored: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3.0 * torch.randn(count, 3, generator=generator)
    target = torch.randint(3, (count,), generator=generator)
    if ignored:
        target[torch.rand(count, generator=generator) < 0.3] = -100
    return logits, target


def cut(count: int, places: list[int]) -> list[slice]:
    """Ragged batches, some of them empty."""
    edges = [0, *sorted(place % (count + 1) for place in places), count]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def exact_mean(values: torch.Tensor, weights: torch.Tensor) -> float:
    """Of float32 numbers, by exact arithmetic."""
    total, weight = (sum(map(Fraction, x.tolist()), Fraction(0)) for x in (values, weights))
    return float(total / weight) if weight else 0.0


# --- against the whole set --------------------------------------------------------------------


@random_splits
@given(
    count=st.integers(0, 60),
    places=st.lists(st.integers(0, 60), max_size=8),
    seed=st.integers(0, 10**6),
    weighted=st.booleans(),
    ignored=st.booleans(),
    epsilon=st.sampled_from([0.0, 0.1]),
)
@example(count=0, places=[], seed=0, weighted=False, ignored=False, epsilon=0.0)
@example(count=1, places=[0, 1], seed=0, weighted=True, ignored=True, epsilon=0.1)
def test_an_epoch_is_its_whole_set(count, places, seed, weighted, ignored, epsilon):
    """T10: ragged and empty batches, class weights, ignored labels."""
    logits, target = make(count, seed, ignored)
    weight = WEIGHT if weighted else None
    options = {"weight": weight, "label_smoothing": epsilon}
    by_sum, by_values = EpochMean(), EpochMean()
    for batch in cut(count, places):
        by_sum.update(*cross_entropy_sum_and_weight(logits[batch], target[batch], **options))
        values = cross_entropy(logits[batch], target[batch], reduction="none", **options)
        by_values.update_values(values, sample_weights(target[batch], weight=weight))
    values = cross_entropy(logits, target, reduction="none", **options)
    whole = exact_mean(values, sample_weights(target, weight=weight))
    for mean in (by_sum.mean, by_values.mean):
        assert mean.dtype == torch.float64
        assert mean.item() == pytest.approx(whole, rel=4 * ULP, abs=0)
    in_float32 = cross_entropy(logits, target, **options).item()
    assert by_sum.mean.item() == pytest.approx(in_float32, rel=1e-5)


@random_splits
@given(
    batches=st.lists(
        st.lists(st.floats(-(2.0**100), 2.0**100, width=32), max_size=5).map(tuple), max_size=20
    )
)
def test_any_float32_values(batches):
    mean = EpochMean()
    for batch in batches:
        mean.update_values(torch.tensor(batch))
    values = [x for batch in batches for x in batch]
    expected = math.fsum(values) / len(values) if values else 0.0
    size = math.fsum(map(abs, values)) / max(1, len(values))
    assert mean.mean.item() == pytest.approx(expected, rel=0, abs=4 * ULP * size)
    assert mean.weight == len(values)


def test_batches_are_summed_with_compensation():
    """A running sum in float64 loses every one of these batches."""
    mean, naive = EpochMean(), 1.0
    mean.update(1.0, 1)
    for _ in range(10_000):
        mean.update(1e-16, 0)
        naive += 1e-16
    assert naive == 1.0
    assert mean.total.item() == pytest.approx(1.0 + 1e-12, rel=ULP, abs=0)
    mean.update(-1.0, 1)
    assert mean.total.item() == pytest.approx(1e-12, rel=1e-3)


def test_accuracy_of_an_epoch():
    logits, target = make(50, 0, ignored=True)
    mean = EpochMean()
    for batch in cut(50, [7, 7, 31]):
        hits = top1_accuracy(logits[batch], target[batch], reduction="none")
        mean.update_values(hits, sample_weights(target[batch]))
    assert mean.mean.item() == pytest.approx(top1_accuracy(logits, target).item())
    assert mean.weight == (target != -100).sum()


def test_means_with_what_they_were_divided_by():
    logits, target = make(50, 1, ignored=True)
    mean = EpochMean()
    for batch in cut(50, [3, 10, 10]):
        loss = nll(logits[batch].log_softmax(-1), target[batch], weight=WEIGHT)
        mean.update_mean(loss, sample_weights(target[batch], weight=WEIGHT).sum())
    whole = nll(logits.log_softmax(-1), target, weight=WEIGHT)
    assert mean.mean.item() == pytest.approx(whole.item(), rel=1e-6)


# --- what is usually done ---------------------------------------------------------------------


def usual(logits, target, batches, **options) -> float:
    """``loss.item() * batch_size``, summed, over the number of samples."""
    total = sum(
        F.cross_entropy(logits[b], target[b], **options).item() * len(target[b]) for b in batches
    )
    return total / len(target)


def ours(logits, target, batches, **options) -> float:
    mean = EpochMean()
    for b in batches:
        mean.update(*cross_entropy_sum_and_weight(logits[b], target[b], **options))
    return mean.mean.item()


LOGITS = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0], [2.0, 0.0]]).double()
BATCHES = [slice(0, 2), slice(2, 4)]
RIGHT, WRONG = math.log1p(math.exp(-2.0)), math.log1p(math.exp(2.0))  # 0.126928 and 2.126928


def test_times_batch_size_is_wrong_with_class_weights():
    """torch divides a batch by the sum of its weights, 6 and 4 here, not by its two samples."""
    weight = torch.tensor([3.0, 1.0]).double()
    target = torch.tensor([0, 0, 0, 1])
    whole = (3 * RIGHT + 3 * WRONG + 3 * WRONG + WRONG) / 10
    assert whole == pytest.approx(1.526928, abs=5e-7)
    assert ours(LOGITS, target, BATCHES, weight=weight) == pytest.approx(whole, rel=4 * ULP)
    assert usual(LOGITS, target, BATCHES, weight=weight) == pytest.approx(1.626928, abs=5e-7)


def test_times_batch_size_is_wrong_with_ignored_labels():
    """Three samples count; the usual sum counts the one of the second batch twice."""
    target = torch.tensor([0, 1, 0, -100])
    whole = (2 * RIGHT + WRONG) / 3
    assert whole == pytest.approx(0.793595, abs=5e-7)
    assert ours(LOGITS, target, BATCHES) == pytest.approx(whole, rel=4 * ULP)
    assert usual(LOGITS, target, BATCHES) == pytest.approx(1.126928, abs=5e-7)


def test_times_batch_size_is_nan_where_a_batch_has_no_label():
    target = torch.tensor([0, 1, -100, -100])
    assert math.isnan(usual(LOGITS, target, BATCHES))
    assert ours(LOGITS, target, BATCHES) == pytest.approx(RIGHT, rel=4 * ULP)


# --- corners ----------------------------------------------------------------------------------


def test_the_mean_of_nothing_is_zero_like_the_losses():
    mean = EpochMean()
    assert (mean.mean, mean.total, mean.weight) == (0.0, 0.0, 0.0)
    mean.update(*cross_entropy_sum_and_weight(LOGITS, torch.full((4,), -100)))
    mean.update_values(torch.zeros(0))
    mean.update_mean(torch.tensor(torch.nan), 0)  # torch's mean of nothing
    assert (mean.mean, mean.weight) == (0.0, 0.0)
    mean.update(1.0, 0)
    assert mean.mean == math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_stays(bad):
    mean = EpochMean()
    mean.update_values(torch.tensor([1.0, bad]))
    mean.update_values(torch.ones(3))
    assert str(mean.mean.item()) == str(bad)
    mean.reset()
    mean.update(3.0, 2)
    assert mean.mean == 1.5


def test_no_graph_is_kept():
    mean = EpochMean()
    mean.update_values(torch.ones(3, requires_grad=True) * 2.0)
    mean.update(torch.ones((), requires_grad=True) * 2.0, 1)
    assert not mean.mean.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_values_of_other_types(dtype):
    mean = EpochMean()
    mean.update_values(torch.tensor([[1, 0], [1, 1]]).to(dtype))
    assert mean.mean == 0.75


def test_no_update_reads_a_value():
    """Meta tensors have none, as a GPU would have to be waited for."""
    mean, one, values = EpochMean(), torch.ones((), device="meta"), torch.ones(4, device="meta")
    mean.update(one, 3)
    mean.update(1.0, one)
    mean.update(1.0, 1.0)
    mean.update_mean(one, 3)
    mean.update_mean(2.0, one)
    mean.update_values(values)
    mean.update_values(values, values)
    assert mean.mean.device.type == "meta"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda mean: mean.update(torch.ones(2), 2), r"total: expected a scalar, got shape \(2,\)"),
        (lambda mean: mean.update(1.0, torch.ones(2)), r"weight: expected a scalar"),
        (lambda mean: mean.update_mean(torch.ones(2), 2), r"mean: expected a scalar"),
        (lambda mean: mean.update(1.0, -1), "weight: expected a finite number, not .*, got -1"),
        (lambda mean: mean.update(1.0, math.nan), "got nan"),
        (lambda mean: mean.update(1.0, math.inf), "got inf"),
        (lambda mean: mean.update_mean(1.0, math.inf), "got inf"),
        (
            lambda mean: mean.update_values(torch.ones(2), torch.ones(3)),
            r"weights: expected shape \(2,\) as the values', got \(3,\)",
        ),
        (lambda mean: mean.load_state_dict({}), "state_dict: expected two sums and two errors"),
        (lambda mean: mean.load_state_dict({"sums": [1.0], "errors": [1.0]}), "got {'sums'"),
        (lambda mean: mean.load_state_dict({"sums": [[1], [2]], "errors": [[0], [0]]}), "two sums"),
        (lambda mean: mean.load_state_dict({"sums": "ab", "errors": None}), "expected two sums"),
    ],
)
def test_arguments_that_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(EpochMean())


def test_complex_numbers_are_refused():
    """torch only warns, and drops the imaginary part."""
    mean, real, imaginary = EpochMean(), torch.ones(2), torch.full((2,), 1j)
    with pytest.raises(TypeError, match=r"values: expected real numbers, got torch\.complex64"):
        mean.update_values(imaginary)
    with pytest.raises(TypeError, match="weights: expected real"):
        mean.update_values(real, imaginary)
    with pytest.raises(TypeError, match="total: expected real"):
        mean.update(imaginary[0], 1)
    assert mean.weight == 0.0


# --- going on, and other processes ------------------------------------------------------------


def test_a_resumed_epoch_goes_on_to_the_bit(tmp_path):
    values = torch.rand(20, 7, generator=torch.Generator().manual_seed(0)) * 1e-3
    whole, first, second = EpochMean(), EpochMean(), EpochMean()
    for batch in values:
        whole.update_values(batch)
    for batch in values[:11]:
        first.update_values(batch)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.update(3.0, 1)  # forgotten
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for batch in values[11:]:
        second.update_values(batch)
    assert second.state_dict() == whole.state_dict()


def test_one_process_has_nothing_to_reduce():
    mean = EpochMean()
    mean.update(3.0, 2)
    copy = mean.reduce()
    mean.update(3.0, 1)
    assert (copy.mean, mean.mean) == (1.5, 2.0)


def test_values_are_widened_on_a_device_that_can():
    """Apple's GPU has no float64; the tensor goes to the CPU before it is widened."""

    class Apple:
        device = torch.device("mps")
        detach = lambda self: self  # noqa: E731
        cpu = staticmethod(lambda: torch.ones(2))

    assert accounting._wide(Apple(), "values").dtype == torch.float64


def reduced(rank: int, folder: str) -> list[str]:
    """What a process of two finds: means over both of batches, and where one has none."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=120),
    )
    try:
        mean, none = EpochMean(), EpochMean()
        for batch in torch.load(f"{folder}/values.pt", weights_only=True)[rank]:
            mean.update_values(batch)
        if rank == 1:
            none.update(6.0, 4)
        whole, again = mean.reduce(), mean.reduce()
        assert again.state_dict() == whole.state_dict(), "reducing must not count twice"
        numbers = whole.weight, mean.weight, none.reduce().mean
        return [whole.mean.item().hex(), *(str(x.item()) for x in numbers)]
    finally:
        dist.destroy_process_group()


# Only what it needs, as importing the package takes most of the time.
OTHER_PROCESS = f"""
import datetime, runpy, sys, torch, torch.distributed as dist
EpochMean = runpy.run_path({accounting.__file__!r})["EpochMean"]
{inspect.getsource(reduced)}
print(*reduced(1, sys.argv[1]))
"""


def test_two_processes_with_unequal_batches(tmp_path):
    generator = torch.Generator().manual_seed(0)
    sizes = [[5, 5, 5, 2], [3]]
    values = [[torch.randn(size, generator=generator) for size in rank] for rank in sizes]
    torch.save(values, tmp_path / "values.pt")
    with subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            ours = reduced(0, str(tmp_path))
            out, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    answers = [ours, out.split()]
    flat = torch.cat([batch for rank in values for batch in rank]).double().tolist()
    assert answers[0][0] == answers[1][0]  # the same bits
    assert float.fromhex(answers[0][0]) == pytest.approx(math.fsum(flat) / 20, rel=4 * ULP, abs=0)
    assert [answer[1:] for answer in answers] == [["20.0", "17.0", "1.5"], ["20.0", "3.0", "1.5"]]
