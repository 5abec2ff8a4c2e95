"""Robust losses against closed forms in 50 digits, over the whole range of float32."""

import mpmath
import pytest
import torch

from posenet.losses import ROBUST_LOSSES

ALL_LOSSES = pytest.mark.parametrize("name", ROBUST_LOSSES)

# The loss of a non-negative z and its slope, in Barron's convention.
CLOSED_FORMS = {
    "l2": (lambda z: z**2 / 2, lambda z: z),
    "l1": (lambda z: z, lambda z: mpmath.mpf(z > 0)),
    "huber": (
        lambda z: z**2 / 2 if z <= 1 else z - mpmath.mpf(1) / 2,
        lambda z: min(z, mpmath.mpf(1)),
    ),
    "cauchy": (lambda z: mpmath.log1p(z**2 / 2), lambda z: z / (1 + z**2 / 2)),
}
MAGNITUDES = [
    *(0.0, 1e-20, 1e-10, 1e-5, 1e-3, 0.1, 0.5, 0.999, 1.0, 1.001, 2**0.5, 3.0, 100.0, 1e4),
    *(9.99e5, 1e6, 1.01e6, 1e9, 1e15, 1e18),
]
LARGEST, SMALLEST_NORMAL = torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny
OVERFLOWS = {"l2"}  # its value at the largest float32 is no float32


def evaluate(name: str, residual: torch.Tensor, scale: float = 1.0) -> list[torch.Tensor]:
    """Values and their slopes."""
    residual = residual.clone().requires_grad_()
    values = ROBUST_LOSSES[name].function(residual, scale=scale, reduction="none")
    (slopes,) = torch.autograd.grad(values.sum(), residual)
    return [values.detach(), slopes]


def exact(name: str, residual: torch.Tensor) -> list[torch.Tensor]:
    """Values and slopes in float64, of residuals as they were rounded."""
    with mpmath.workdps(50):
        z = [mpmath.mpf(x) for x in residual.abs().tolist()]
        return [
            torch.tensor([float(form(x)) for x in z], dtype=torch.float64)
            for form in CLOSED_FORMS[name]
        ]


def test_every_loss_has_a_closed_form_here():
    assert CLOSED_FORMS.keys() == ROBUST_LOSSES.keys()


@ALL_LOSSES
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 5e-7), (torch.float64, 3e-12)])
def test_values_and_slopes_are_the_closed_form_to_rounding(name, dtype, bound):
    residual = torch.tensor(MAGNITUDES, dtype=dtype)
    for found, expected in zip(evaluate(name, residual), exact(name, residual), strict=True):
        # Below the smallest normal number float32 has fewer digits than the bound asks for.
        error = (found.double() - expected).abs()
        assert (error <= bound * expected + SMALLEST_NORMAL).all(), error / expected


@pytest.mark.parametrize(
    ("name", "residual", "expected"),
    [
        ("cauchy", 3.0, 1.7047480922384253),  # scipy's, without the half, would be 2.302585
        ("huber", 3.0, 2.5),
        ("huber", 0.5, 0.125),
        ("l1", -3.0, 3.0),
        ("l2", -3.0, 4.5),
    ],
)
def test_convention_is_barrons(name, residual, expected):
    value = ROBUST_LOSSES[name].function(torch.tensor([residual], dtype=torch.float64))
    assert value.item() == pytest.approx(expected, rel=1e-14)


@ALL_LOSSES
def test_the_sign_of_a_residual_does_not_matter(name):
    residual = torch.tensor(MAGNITUDES)
    values, slopes = evaluate(name, residual)
    mirrored_values, mirrored_slopes = evaluate(name, -residual)
    assert torch.equal(mirrored_values, values)
    assert torch.equal(mirrored_slopes, -slopes)


@ALL_LOSSES
def test_no_residual_costs_nothing_and_pulls_nowhere(name):
    for values in evaluate(name, torch.zeros(2)):
        assert torch.equal(values, torch.zeros(2))


@ALL_LOSSES
@pytest.mark.parametrize("scale", [0.1, 7.0])
def test_scale_is_in_the_unit_of_the_residual(name, scale):
    residual = torch.linspace(-3.0, 3.0, 12, dtype=torch.float64)
    scaled = ROBUST_LOSSES[name].function(residual, scale=scale, reduction="none")
    assert torch.equal(scaled, ROBUST_LOSSES[name].function(residual / scale, reduction="none"))


@ALL_LOSSES
def test_a_larger_residual_never_costs_less(name):
    values, _ = evaluate(name, torch.tensor(MAGNITUDES, dtype=torch.float64))
    assert (values.diff() >= 0).all()


@ALL_LOSSES
def test_every_float32_whose_loss_is_one_has_a_finite_loss_and_slope(name):
    residual = torch.tensor([1e-45, SMALLEST_NORMAL, 1e18, 1.8e19, 3e19, 1e30, LARGEST])
    representable = exact(name, residual)[0] <= LARGEST
    assert representable.all() or name in OVERFLOWS
    values, slopes = evaluate(name, residual)
    assert torch.equal(values.isfinite(), representable)  # infinite, but never NaN, beyond
    assert not values.isnan().any()
    assert slopes[representable].isfinite().all()


@ALL_LOSSES
def test_gradcheck(name):
    residual = torch.tensor([-40.0, -1.2, -0.3, 0.2, 0.8, 1.7, 2e6], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: ROBUST_LOSSES[name].function(x, scale=0.5, reduction="none"),
        residual.requires_grad_(),
        rtol=1e-4,
    )


@ALL_LOSSES
def test_reductions(name):
    residual = torch.tensor([[0.3, -1.5, 2.0], [0.0, 8.0, -0.1]], dtype=torch.float64)
    loss = ROBUST_LOSSES[name].function
    values = loss(residual, reduction="none")
    assert values.shape == residual.shape
    torch.testing.assert_close(loss(residual, reduction="sum"), values.sum())
    torch.testing.assert_close(loss(residual, reduction="mean"), values.sum() / 6)
    torch.testing.assert_close(loss(residual), values.sum() / 6)


@ALL_LOSSES
@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_scale_that_is_not_positive_is_refused(name, scale):
    with pytest.raises(ValueError, match=f"scale: expected a positive number, got {scale}"):
        ROBUST_LOSSES[name].function(torch.ones(2), scale=scale)


@ALL_LOSSES
def test_unknown_reduction_is_refused(name):
    with pytest.raises(ValueError, match="expected none, sum or mean, got 'median'"):
        ROBUST_LOSSES[name].function(torch.ones(2), reduction="median")
