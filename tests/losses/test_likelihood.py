"""Likelihoods of errors: normalised, proper, exact over their range, and finite."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, stats

from posenet.losses import (
    log_rotation_partition,
    rotation_laplace_nll,
    translation_laplace_nll,
)

SCALES = [1e-4, 1e-3, 0.01, 0.05, 0.2, 1.0, 3.0, 30.0]


def exact_log_partition(log_scale: float) -> mpmath.mpf:
    """By numerical integration, not by the closed form."""
    with mpmath.workdps(40):
        b = mpmath.exp(mpmath.mpf(log_scale))
        knots = sorted({mpmath.mpf(0), min(3 * b, mpmath.pi), min(40 * b, mpmath.pi), mpmath.pi})
        integral = mpmath.quad(lambda t: (1 - mpmath.cos(t)) * mpmath.exp(-t / b), knots)
        return mpmath.log(integral / mpmath.pi)


@pytest.mark.parametrize("scale", SCALES)
def test_the_rotation_density_integrates_to_one(scale):
    log_scale = torch.tensor(math.log(scale), dtype=torch.float64)

    def density(angle: float) -> float:
        nll = rotation_laplace_nll(torch.tensor(angle, dtype=torch.float64), log_scale)
        # The uniform measure on SO(3) gives an angle the weight (1 - cos) / pi.
        return math.exp(-float(nll)) * (1.0 - math.cos(angle)) / math.pi

    end = min(math.pi, 60.0 * scale)
    total, _ = integrate.quad(density, 0.0, end, limit=200)
    assert total == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("scale", SCALES)
def test_the_translation_density_integrates_to_one(scale):
    log_scale = torch.tensor(math.log(scale), dtype=torch.float64)

    def density(radius: float) -> float:
        nll = translation_laplace_nll(torch.tensor(radius, dtype=torch.float64), log_scale)
        return math.exp(-float(nll)) * 4.0 * math.pi * radius**2

    total, _ = integrate.quad(density, 0.0, 60.0 * scale, limit=200)
    assert total == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_the_normalisation_is_exact(dtype, bound):
    for value in np.linspace(-12.0, 6.0, 13):
        log_scale = torch.tensor(value, dtype=dtype, requires_grad=True)
        found = log_rotation_partition(log_scale)
        found.backward()
        exact = exact_log_partition(log_scale.item())
        assert abs(found.item() - exact) <= bound * max(1, abs(exact)), value
        with mpmath.workdps(40):
            step = mpmath.mpf("1e-8")
            upper = exact_log_partition(log_scale.item() + step)
            lower = exact_log_partition(log_scale.item() - step)
            slope = (upper - lower) / (2 * step)
        assert abs(log_scale.grad.item() - slope) <= max(1e-9, 3 * bound), value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_limits_of_the_normalisation(dtype):
    sharp = torch.tensor(-40.0, dtype=dtype)
    torch.testing.assert_close(
        log_rotation_partition(sharp), torch.tensor(-math.log(math.pi) - 120.0, dtype=dtype)
    )
    uniform = log_rotation_partition(torch.tensor(40.0, dtype=dtype))
    assert abs(uniform.item()) < 2e-6


@pytest.mark.parametrize("nll", [rotation_laplace_nll, translation_laplace_nll])
@pytest.mark.parametrize("log_scale", [-40.0, -10.0, 0.0, 10.0, 40.0])
@pytest.mark.parametrize("error", [0.0, 1e-20, 1e-3, 3.0])
def test_values_and_gradients_are_finite(nll, log_scale, error):
    error = torch.tensor(error, requires_grad=True)
    log_scale = torch.tensor(log_scale, requires_grad=True)
    value = nll(error, log_scale)
    value.backward()
    assert torch.isfinite(torch.stack((value, error.grad, log_scale.grad))).all()


def draw_angles(scale: float, count: int) -> torch.Tensor:
    """Angles of the rotation density, by inverting its distribution on a fine grid."""
    grid = np.linspace(0.0, math.pi, 200_001)
    density = (1.0 - np.cos(grid)) * np.exp(-grid / scale)
    cumulative = integrate.cumulative_trapezoid(density, grid, initial=0.0)
    uniform = (np.arange(count) + 0.5) / count
    return torch.from_numpy(np.interp(uniform, cumulative / cumulative[-1], grid))


@pytest.mark.parametrize("scale", [0.02, 0.2, 1.0])
def test_no_other_scale_costs_less_on_average(scale):
    candidates = torch.linspace(-1.0, 1.0, 201, dtype=torch.float64) + math.log(scale)
    angles = draw_angles(scale, 2000)
    cost = rotation_laplace_nll(angles[:, None], candidates, reduction="none").mean(dim=0)
    assert candidates[cost.argmin()].item() == pytest.approx(math.log(scale), abs=0.011)

    # The distance of the truth from the prediction has a gamma distribution of shape 3.
    uniform = (np.arange(2000) + 0.5) / 2000
    distances = torch.from_numpy(stats.gamma(3.0, scale=scale).ppf(uniform))
    cost = translation_laplace_nll(distances[:, None], candidates, reduction="none").mean(dim=0)
    assert candidates[cost.argmin()].item() == pytest.approx(math.log(scale), abs=0.011)


def test_gradients_are_those_of_finite_differences():
    angle = torch.rand(5, dtype=torch.float64, requires_grad=True)
    log_scale = torch.randn(5, dtype=torch.float64, requires_grad=True)
    for nll in (rotation_laplace_nll, translation_laplace_nll):
        assert torch.autograd.gradcheck(nll, (angle, log_scale))
        assert torch.autograd.gradgradcheck(nll, (angle, log_scale))


def test_half_precision_is_computed_in_float32():
    for nll in (rotation_laplace_nll, translation_laplace_nll):
        value = nll(torch.tensor(0.5, dtype=torch.bfloat16), torch.tensor(-1.0).bfloat16())
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, nll(torch.tensor(0.5), torch.tensor(-1.0)))


def test_reductions_and_broadcasting():
    angle, log_scale = torch.rand(4, 1), torch.randn(3)
    each = rotation_laplace_nll(angle, log_scale, reduction="none")
    assert each.shape == (4, 3)
    torch.testing.assert_close(rotation_laplace_nll(angle, log_scale, "sum"), each.sum())
    torch.testing.assert_close(rotation_laplace_nll(angle, log_scale), each.mean())
    with pytest.raises(ValueError, match="reduction"):
        translation_laplace_nll(angle, log_scale, reduction="average")
    with pytest.raises(TypeError, match="floating point"):
        rotation_laplace_nll(torch.tensor(1), log_scale)


def test_compiles_and_maps():
    angle, log_scale = torch.rand(4, 3), torch.randn(4, 3)
    expected = rotation_laplace_nll(angle, log_scale)
    compiled = torch.compile(rotation_laplace_nll, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(angle, log_scale), expected)
    mapped = torch.func.vmap(rotation_laplace_nll)(angle, log_scale)
    torch.testing.assert_close(mapped.mean(), expected)
