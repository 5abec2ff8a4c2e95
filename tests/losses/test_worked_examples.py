"""The worked examples of the tutorial this package grew from: where it is wrong, and where right.

True values come from 50 digits. Where the tutorial's figure is wrong, the test shows how it arises.
"""

import mpmath
import pytest
import torch
import torch.nn.functional as F

from posenet.losses import (
    cross_entropy,
    cross_entropy_sum_and_weight,
    nll,
    sample_weights,
    smooth_labels,
    softmax_mse,
    top1_accuracy,
)
from posenet.losses.accounting import EpochMean

# Cat, Dog, Bird; the picture shows a dog.
Q = ["0.1", "0.7", "0.2"]
SMOOTHED = ["0.05", "0.9", "0.05"]
DOG = 1


@pytest.fixture(autouse=True)
def fifty_digits():
    with mpmath.workdps(50):
        yield


def tensor(*numbers: object) -> torch.Tensor:
    return torch.tensor([float(mpmath.mpf(x)) for x in numbers], dtype=torch.float64)


def logits_of(*probabilities: str) -> torch.Tensor:
    """Logits whose softmax these are."""
    return tensor(*(mpmath.log(mpmath.mpf(x)) for x in probabilities))


def exact_softmax(*z: float) -> list[mpmath.mpf]:
    parts = [mpmath.exp(mpmath.mpf(x)) for x in z]
    return [x / mpmath.fsum(parts) for x in parts]


def exact_surprise(target: list) -> float:
    """-sum P log Q of the picture."""
    terms = (mpmath.mpf(p) * mpmath.log(mpmath.mpf(q)) for p, q in zip(target, Q, strict=True))
    return float(-mpmath.fsum(terms))


def gradient(loss, z: list[float], label: int) -> torch.Tensor:
    logits = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(loss(logits, torch.tensor(label)), logits)[0]


def exact_mse_gradient(z: list[float], label: int) -> torch.Tensor:
    q = exact_softmax(*z)
    d = [x - (k == label) for k, x in enumerate(q)]
    mean = mpmath.fsum(x * e for x, e in zip(q, d, strict=True))
    return tensor(*(x * (e - mean) for x, e in zip(q, d, strict=True)))


def tutorial_mse_gradient(z: list[float], label: int) -> torch.Tensor:
    """(Q_k - P_k) Q_k (1 - Q_k): only the diagonal of the softmax's derivative."""
    return tensor(*((x - (k == label)) * x * (1 - x) for k, x in enumerate(exact_softmax(*z))))


def close(found, expected, rel: float = 1e-14) -> None:
    torch.testing.assert_close(
        found, torch.as_tensor(expected, dtype=found.dtype), rtol=rel, atol=0
    )


# --- cross-entropy and its targets ------------------------------------------------------------


def test_cross_entropy_of_the_smoothed_dog_is_0_516609_and_not_0_453():
    terms = [-mpmath.mpf(p) * mpmath.log(mpmath.mpf(q)) for p, q in zip(SMOOTHED, Q, strict=True)]
    assert [mpmath.nstr(x, 4) for x in terms] == ["0.1151", "0.321", "0.08047"]
    found = cross_entropy(logits_of(*Q), tensor(*SMOOTHED))
    close(found, float(mpmath.fsum(terms)))
    assert found.item() == pytest.approx(0.516609, abs=5e-7)
    assert abs(found.item() - 0.453) > 0.06


def test_cross_entropy_takes_one_hot_and_smoothed_vectors_of_floats():
    logits, one_hot = logits_of(*Q), tensor(0, 1, 0)
    expected = float(-mpmath.log(mpmath.mpf("0.7")))
    for loss in (cross_entropy, torch.nn.CrossEntropyLoss()):
        close(loss(logits, one_hot), expected)
        close(loss(logits, torch.tensor(DOG)), expected)
        close(loss(logits, tensor(*SMOOTHED)), exact_surprise(SMOOTHED))
    with pytest.raises(RuntimeError, match="floating point"):  # what is true of the claim
        torch.nn.CrossEntropyLoss()(logits, one_hot.long())
    with pytest.raises(TypeError, match=r"convert a one-hot with \.float\(\)"):
        cross_entropy(logits, one_hot.long())


def test_label_smoothing_of_a_tenth_is_not_05_9_05():
    """torch spreads eps over all classes: [.0333, .9333, .0333]; [.05, .9, .05] is eps = .15."""
    logits, dog = logits_of(*Q), torch.tensor(DOG)
    third = mpmath.mpf("0.1") / 3
    target = [third, mpmath.mpf("0.9") + third, third]
    expected = exact_surprise(target)
    assert f"{expected:.6f}" == "0.463297"
    for loss in (cross_entropy, F.cross_entropy):
        close(loss(logits, dog, label_smoothing=0.1), expected)
        close(loss(logits, dog, label_smoothing=0.15), exact_surprise(SMOOTHED))
    close(smooth_labels(dog, 3, 0.1, dtype=torch.float64), tensor(*target))
    others = cross_entropy(logits, dog, label_smoothing=0.1, smoothing="others")
    close(others, exact_surprise(SMOOTHED))
    close(smooth_labels(dog, 3, 0.1, "others", torch.float64), tensor(*SMOOTHED))


def test_dog_is_index_1():
    """With y = 2, as the tutorial has it, the picture would show a bird."""
    logits = logits_of(*Q)
    assert tensor(*SMOOTHED).argmax() == DOG
    assert top1_accuracy(logits, torch.tensor(DOG)) == 1.0
    assert cross_entropy(logits, torch.tensor(DOG)).item() == pytest.approx(0.356675, abs=5e-7)
    assert cross_entropy(logits, torch.tensor(2)).item() == pytest.approx(1.609438, abs=5e-7)


# --- the gradient of the squared error --------------------------------------------------------


def test_gradient_of_softmax_mse_is_not_that_of_the_diagonal_alone():
    for z, label in (([3.0, -2.0], 0), ([-2.0, 3.0], 0), ([-2.0, 3.0, 2.9], 0)):
        found = gradient(softmax_mse, z, label)
        close(found, exact_mse_gradient(z, label), rel=1e-12)
        assert abs(found.sum()) < 1e-15  # a shift of all logits changes nothing
        assert (found - tutorial_mse_gradient(z, label)).abs().max() > 4e-5


def test_for_three_classes_even_its_sign_can_differ():
    z, label = [-2.0, 3.0, 2.9], 0
    found, tutorial = gradient(softmax_mse, z, label), tutorial_mse_gradient(z, label)
    torch.testing.assert_close(found, tensor("-0.00525", "0.01513", "-0.00987"), rtol=0, atol=5e-6)
    assert found.sign().tolist() == [-1.0, 1.0, -1.0]
    assert tutorial.sign().tolist() == [-1.0, 1.0, 1.0]
    assert abs(tutorial.sum()) > 0.1  # and it does not sum to zero


@pytest.mark.parametrize(
    ("z", "right", "tutorial"),
    [([3.0, -2.0], 8.89889e-5, 0.000044), ([-2.0, 3.0], 0.01320712, 0.0066)],
)
def test_for_two_classes_it_is_twice_the_tutorials(z, right, tutorial):
    found, half = gradient(softmax_mse, z, 0), tutorial_mse_gradient(z, 0)
    assert found.tolist() == pytest.approx([-right, right], rel=1e-6)
    assert half.tolist() == pytest.approx([-tutorial, tutorial], rel=0.015)
    close(found, 2 * half, rel=1e-12)


@pytest.mark.parametrize("z", [[3.0, -2.0], [-2.0, 3.0]])
def test_cross_entropy_pulls_75_21_times_as_hard_and_not_100_or_150(z):
    ratio = gradient(cross_entropy, z, 0) / gradient(softmax_mse, z, 0)
    q0, q1 = exact_softmax(*z)
    exact = 1 / (2 * q0 * q1)
    assert mpmath.nstr(exact, 4) == "75.21"
    close(ratio, [float(exact)] * 2, rel=1e-11)
    # Against the wrong gradients it is twice that: where "150x" is from.
    wrong = gradient(cross_entropy, z, 0) / tutorial_mse_gradient(z, 0)
    assert wrong.tolist() == pytest.approx([150.42] * 2, rel=1e-5)


# --- means of an epoch ------------------------------------------------------------------------


def three_batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    sizes = (4, 4, 2)
    return [
        (
            torch.randn(size, 3, generator=generator, dtype=torch.float64),
            torch.randint(3, (size,), generator=generator),
        )
        for size in sizes
    ]


def epoch(batches, **options) -> tuple[float, float, float]:
    """By loss.item() * batch_size, by EpochMean, and of the whole set at once."""
    seen, total, mean = 0, 0.0, EpochMean()
    for logits, target in batches:
        total += F.cross_entropy(logits, target, **options).item() * len(target)
        seen += len(target)
        mean.update(*cross_entropy_sum_and_weight(logits, target, **options))
    logits, target = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return total / seen, mean.mean.item(), F.cross_entropy(logits, target, **options).item()


def test_loss_item_times_batch_size_is_right_without_weights():
    usual, ours, whole = epoch(three_batches())
    assert usual == pytest.approx(whole, rel=1e-14)
    assert ours == pytest.approx(whole, rel=1e-14)


def test_loss_item_times_batch_size_is_wrong_with_class_weights():
    weight = torch.tensor([1.0, 5.0, 0.2], dtype=torch.float64)
    batches = three_batches()
    usual, ours, whole = epoch(batches, weight=weight)
    assert ours == pytest.approx(whole, rel=1e-14)
    assert abs(usual - whole) > 0.02
    counts = [sample_weights(target, weight=weight).sum() for _, target in batches]
    assert [float(x) for x in counts] != [4.0, 4.0, 2.0]  # what torch divides by


def test_loss_item_times_batch_size_is_wrong_with_ignored_labels():
    batches = three_batches()
    batches[0][1][:3] = -100
    usual, ours, whole = epoch(batches)
    assert ours == pytest.approx(whole, rel=1e-14)
    assert abs(usual - whole) > 0.05


def test_loss_item_times_batch_size_is_nan_once_a_batch_is_all_ignored():
    batches = three_batches()
    batches[2][1][:] = -100
    usual, ours, whole = epoch(batches)
    assert usual != usual
    assert ours == pytest.approx(whole, rel=1e-14)
    assert cross_entropy(*batches[2]) == 0.0


# --- what checks out --------------------------------------------------------------------------


def test_one_hot_cross_entropy_is_357_and_half_the_squared_error_07():
    logits, dog = logits_of(*Q), torch.tensor(DOG)
    found = cross_entropy(logits, dog)
    close(found, float(-mpmath.log(mpmath.mpf("0.7"))))
    assert found.item() == pytest.approx(0.357, abs=5e-4)
    close(softmax_mse(logits, dog), 0.07)


@pytest.mark.parametrize(
    ("z", "value", "pull"), [([3.0, -2.0], 0.0067, 0.0067), ([-2.0, 3.0], 5.01, 0.9933)]
)
def test_sure_and_right_costs_0067_and_sure_and_wrong_5_01(z, value, pull):
    q = exact_softmax(*z)
    found = cross_entropy(tensor(*z), torch.tensor(0))
    close(found, float(-mpmath.log(q[0])), rel=1e-13)
    assert found.item() == pytest.approx(value, rel=5e-3)
    slope = gradient(cross_entropy, z, 0)
    close(slope, tensor(q[0] - 1, q[1]), rel=1e-13)
    assert slope.tolist() == pytest.approx([-pull, pull], rel=2e-3)


def test_two_samples_sum_to_2_0418_with_a_mean_of_1_0209():
    rows, labels = [["0.1", "0.3", "0.2"], ["0.4", "0.1", "0.2"]], [2, 0]
    exact = mpmath.fsum(
        -mpmath.log(exact_softmax(*row)[label]) for row, label in zip(rows, labels, strict=True)
    )
    logits = torch.tensor([[0.1, 0.3, 0.2], [0.4, 0.1, 0.2]])
    target = torch.tensor(labels)
    # The tutorial's figures are float32 numbers, as .item() prints them.
    for loss in (
        lambda reduction: cross_entropy(logits, target, reduction=reduction),
        lambda reduction: nll(logits.log_softmax(dim=-1), target, reduction=reduction),
    ):
        assert loss("sum").item() == pytest.approx(2.041774034500122, rel=1.2e-7)
        assert loss("mean").item() == pytest.approx(1.020887017250061, rel=1.2e-7)
    double = torch.stack([tensor(*row) for row in rows])
    close(cross_entropy(double, target, reduction="sum"), float(exact))
    assert float(exact) == pytest.approx(2.041774034500122, rel=1.2e-7)
    assert logits.argmax(dim=-1).tolist() == [1, 0]
    assert top1_accuracy(logits, target) == 0.5
