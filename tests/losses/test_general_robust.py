"""Barron's general loss for every alpha, its normalisation, and learning shape and scale."""

import math

import mpmath
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from posenet.losses import ROBUST_LOSSES, AdaptiveRobustLoss, general_robust, log_partition

SPECIAL = {
    -math.inf: "welsch",
    -2.0: "geman_mcclure",
    0.0: "cauchy",
    1.0: "pseudo_huber",
    2.0: "l2",
}
MAGNITUDES = [
    *(0.0, 1e-20, 1e-10, 1e-5, 1e-3, 0.03, 0.3, 0.7, 1.0, 1.5, 3.0, 8.0, 12.9, 30.0, 1e3, 1e6),
    *(1e9, 1e13, 1e18),
]
ALPHAS = [
    *(-math.inf, -1e6, -100.0, -4.0, -2.0001, -2.0, -1.5, -1.0, -0.5, -1e-3, -1e-7, 0.0, 1e-30),
    *(1e-7, 1e-3, 0.3, 0.9, 1.0, 1.1, 1.5, 1.9, 2.0 - 1e-6, 2.0 - 2.4e-7, 2.0, 2.0 + 5e-7),
    *(2.1, 3.0, 10.0, math.inf),
]
ALL_ALPHAS = pytest.mark.parametrize("alpha", ALPHAS)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
EDGE_INPUTS = settings(
    derandomize=True,
    deadline=None,
    max_examples=150,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is not a failure
)


def rho(z, alpha):
    """The published formula, its special cases included."""
    z, alpha = mpmath.mpf(z), mpmath.mpf(alpha)
    if alpha == 2:
        return z**2 / 2
    if alpha == 0:
        return mpmath.log1p(z**2 / 2)
    if mpmath.isinf(alpha):
        return mpmath.sign(alpha) * mpmath.expm1(mpmath.sign(alpha) * z**2 / 2)
    b = abs(alpha - 2)
    return b / alpha * mpmath.expm1(alpha / 2 * mpmath.log1p(z**2 / b))


def psi(z, alpha):
    z, alpha = mpmath.mpf(z), mpmath.mpf(alpha)
    if alpha == 2:
        return z
    if mpmath.isinf(alpha):
        return z * mpmath.exp(mpmath.sign(alpha) * z**2 / 2)
    return z * (z**2 / abs(alpha - 2) + 1) ** (alpha / 2 - 1)


def evaluate(z: torch.Tensor, alpha: torch.Tensor | float) -> list[torch.Tensor]:
    """Values and their derivatives by z and, for a tensor, by alpha, element by element."""
    z = z.clone().requires_grad_()
    wanted = [z]
    if isinstance(alpha, torch.Tensor):
        alpha = alpha.expand_as(z).clone().requires_grad_()
        wanted.append(alpha)
    values = general_robust(z, alpha=alpha, reduction="none")
    return [values.detach(), *torch.autograd.grad(values.sum(), wanted)]


def worst_error(found: torch.Tensor, expected: list) -> float:
    """Largest relative error; what is no normal number of the type need only be as small or big."""
    finfo, worst = torch.finfo(found.dtype), 0.0
    for f, e in zip(found.tolist(), expected, strict=True):
        if e > finfo.max:
            assert f == math.inf
        elif abs(e) < finfo.tiny:
            assert abs(f) <= 2 * finfo.tiny
        else:
            assert math.isfinite(f)  # max would pass over a NaN
            worst = max(worst, float(abs(f - e) / e))
    return worst


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("expected", [1.0, 1e-300])
def test_the_bounds_on_errors_do_not_let_nan_pass(wrong, expected):
    with pytest.raises(AssertionError):
        worst_error(torch.tensor([1.0, wrong]), [1.0, expected])


# --- accuracy ---


@ALL_ALPHAS
@DTYPES
def test_values_and_slopes_for_alpha_as_tensor(alpha, dtype):
    z, alpha = torch.tensor(MAGNITUDES, dtype=dtype), torch.tensor(alpha, dtype=dtype)
    values, slopes, _ = evaluate(z, alpha)
    bound = 2e-7 if dtype == torch.float32 else 2e-13
    with mpmath.workdps(50):
        for found, function in ((values, rho), (slopes, psi)):
            expected = [function(x, alpha.item()) for x in z.tolist()]
            assert worst_error(found, expected) <= bound, function


@ALL_ALPHAS
@DTYPES
def test_values_and_slopes_for_alpha_as_number(alpha, dtype):
    z = torch.tensor(MAGNITUDES, dtype=dtype)
    values, slopes = evaluate(z, alpha)
    bound = 5e-7 if dtype == torch.float32 else 2e-13
    slope_bound = 5e-6 if (dtype, alpha) == (torch.float32, -math.inf) else bound  # Welsch
    with mpmath.workdps(50):
        assert worst_error(values, [rho(x, alpha) for x in z.tolist()]) <= bound
        assert worst_error(slopes, [psi(x, alpha) for x in z.tolist()]) <= slope_bound


@pytest.mark.parametrize("alpha", [a for a in ALPHAS if math.isfinite(a) and a != 2.0])
@DTYPES
def test_derivative_by_alpha(alpha, dtype):
    z, alpha = torch.tensor(MAGNITUDES, dtype=dtype), torch.tensor(alpha, dtype=dtype)
    _, _, found = evaluate(z, alpha)
    # It is about z^6 / 48 for small z, the rest of 1e60 times larger terms that cancel.
    with mpmath.workdps(150):
        step, a = mpmath.mpf(10) ** -20, mpmath.mpf(alpha.item())
        expected = [(rho(x, a + step) - rho(x, a - step)) / (2 * step) for x in z.tolist()]
        assert worst_error(found, expected) <= (2e-7 if dtype == torch.float32 else 1e-8)


@pytest.mark.parametrize("alpha", SPECIAL)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_special_alphas_are_the_named_losses(alpha, as_tensor):
    z = torch.tensor([-40.0, -3.0, -1e-4, 0.0, 0.5, 1.0, 7.0], dtype=torch.float64)
    given = torch.tensor(alpha, dtype=torch.float64) if as_tensor else alpha
    named = ROBUST_LOSSES[SPECIAL[alpha]].function
    for reduction in ("none", "mean"):
        ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
        value = general_robust(ours, 0.7, reduction, alpha=given)
        expected = named(theirs, 0.7, reduction)
        torch.testing.assert_close(value, expected, rtol=1e-14, atol=0.0)
        value.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-13, atol=0.0)


def test_alpha_of_plus_infinity_is_the_exponential_of_the_square():
    z = torch.tensor([0.0, 0.3, -2.0], dtype=torch.float64)
    expected = torch.expm1(0.5 * z.square())
    torch.testing.assert_close(general_robust(z, alpha=math.inf, reduction="none"), expected)


@pytest.mark.parametrize("alpha", [-math.inf, 0.0, 2.0, math.inf, -2.0, 1.0])
@DTYPES
def test_no_nan_at_a_special_alpha_whatever_the_residual(alpha, dtype):
    finfo = torch.finfo(dtype)
    z = [0.0, -0.0, finfo.tiny, 1e-3, 1.0, -30.0, 1e18, 1e30, finfo.max, math.inf, -math.inf]
    z, alpha = torch.tensor(z, dtype=dtype), torch.tensor(alpha, dtype=dtype)
    for found in evaluate(z, alpha):
        assert not found.isnan().any()


@EDGE_INPUTS
@given(
    z=st.floats(width=32, allow_nan=False),
    alpha=st.one_of(st.floats(width=32, allow_nan=False), st.floats(-3, 3, width=32)),
)
def test_any_residual_and_any_alpha(z, alpha):
    z = torch.tensor(z)
    value, slope, by_alpha = (t.item() for t in evaluate(z, torch.tensor(alpha)))
    # Comparisons with NaN are false.
    assert value >= 0.0
    assert slope * math.copysign(1.0, z) >= 0.0
    assert by_alpha >= 0.0
    if alpha <= 1.0 and z.isfinite():
        assert value < math.inf
        assert abs(slope) <= 1.0 + 1e-6
    if alpha < -1e-20:  # what is nearer to 0 counts as 0
        assert value <= abs(alpha - 2.0) / -alpha * (1.0 + 1e-6) or math.isinf(alpha)


@EDGE_INPUTS
@given(
    z=st.floats(-100.0, 100.0, width=32),
    alphas=st.lists(st.floats(-1e3, 2.0), min_size=5, max_size=5),
)
def test_the_loss_grows_with_alpha(z, alphas):
    alphas = torch.tensor(sorted(alphas), dtype=torch.float64)
    values = general_robust(torch.tensor(z, dtype=torch.float64), alpha=alphas, reduction="none")
    assert (values.diff() >= -1e-13 * values[1:]).all()


def test_nan_stays_in_its_own_element():
    z = torch.tensor([0.5, math.nan, 2.0])
    for found in evaluate(z, torch.tensor(0.5)):
        assert found.isnan().tolist() == [False, True, False]
    values = general_robust(z[:1], alpha=torch.tensor([0.5, math.nan]), reduction="none")
    assert values.isnan().tolist() == [False, True]


@pytest.mark.parametrize(("alpha", "limit", "pull"), [(-1.0, 3.0, 0.0), (0.5, math.inf, 0.0)])
def test_an_infinite_residual_gives_the_limits(alpha, limit, pull):
    values, slopes = evaluate(torch.tensor([math.inf, -math.inf]), alpha)
    assert values.tolist() == [limit, limit]
    assert slopes.tolist() == [pull, -pull]


def test_the_derivative_by_alpha_is_finite_and_large_at_2():
    # It is infinite there, as 1/4 z^2 log(z^2 / b); a learned alpha must survive it.
    at_2 = evaluate(torch.tensor([0.0, 1.0, 10.0]), torch.tensor(2.0))[2]
    below = evaluate(torch.tensor([0.0, 1.0, 10.0]), torch.tensor(2.0 - 1e-6))[2]
    assert at_2.isfinite().all()
    assert at_2[0] == 0.0
    assert (at_2[1:] > below[1:]).all()


# --- arguments ---


def test_alpha_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="alpha: expected a number from -inf to inf, got nan"):
        general_robust(torch.ones(2), alpha=math.nan)


def test_alpha_broadcasts_and_gathers_its_gradient():
    z = torch.linspace(-3.0, 3.0, 12, requires_grad=True).view(4, 3)
    alpha = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    values = general_robust(z, 0.7, "none", alpha=alpha)
    assert values.dtype == z.dtype
    for column in range(3):
        alone = general_robust(z[:, column], 0.7, "none", alpha=alpha[column])
        assert torch.equal(values[:, column], alone)
    (together,) = torch.autograd.grad(values.sum(), alpha)
    one_by_one = [
        torch.autograd.grad(general_robust(z[:, i], 0.7, "sum", alpha=alpha[i]), alpha)[0][i]
        for i in range(3)
    ]
    torch.testing.assert_close(together, torch.stack(one_by_one))
    assert general_robust(torch.ones(()), alpha=alpha, reduction="none").shape == (3,)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_type_of_alpha_does_not_change_the_results(dtype):
    alpha = torch.tensor(0.5, dtype=dtype, requires_grad=True)
    value = general_robust(torch.tensor([0.3, 2.0]), alpha=alpha)
    assert value.dtype == torch.float32
    value.backward()
    assert alpha.grad.dtype == dtype


# --- derivatives and transformations ---

POINTS = torch.tensor([-30.0, -1.2, 0.2, 0.8, 1.7, 5.0], dtype=torch.float64)
SMOOTH_ALPHAS = [-1e3, -2.0, -0.7, 0.0, 1e-3, 0.6, 1.0, 1.8, 2.5]


@pytest.mark.parametrize("alpha", SMOOTH_ALPHAS)
def test_gradcheck_with_scale_and_alpha(alpha):
    z, scale, alpha = (
        t.clone().requires_grad_()
        for t in (POINTS, torch.full_like(POINTS, 0.5), torch.full_like(POINTS, alpha))
    )

    def loss(z, scale, alpha):
        return general_robust(z, scale, "none", alpha=alpha)

    assert torch.autograd.gradcheck(loss, (z, scale, alpha), rtol=1e-4, check_forward_ad=True)
    alpha_alone = alpha.detach()[0].clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (z.detach(), 0.5, alpha_alone), rtol=1e-4)


@pytest.mark.parametrize("alpha", SMOOTH_ALPHAS)
def test_double_backward_with_scale_and_alpha(alpha):
    z, scale, alpha = (
        t.clone().requires_grad_()
        for t in (POINTS, torch.full_like(POINTS, 0.5), torch.full_like(POINTS, alpha))
    )
    assert torch.autograd.gradgradcheck(
        lambda z, scale, alpha: general_robust(z, scale, "none", alpha=alpha), (z, scale, alpha)
    )


def test_compiles_whole_with_alpha_as_number_and_as_tensor():
    z = torch.linspace(-3.0, 3.0, 12)
    torch.compiler.reset()  # other tests may have used up the recompilations
    compiled = torch.compile(general_robust, fullgraph=True, backend="aot_eager")
    learned = torch.tensor(0.5, requires_grad=True)
    for alpha in (1.5, 0.0, -2.0, 0.3, -math.inf, 1.4, learned):  # numbers may turn dynamic
        gradients = []
        for function in (general_robust, compiled):
            x = z.clone().requires_grad_()
            value = function(x, 0.7, alpha=alpha)
            wanted = [x, alpha] if alpha is learned else [x]
            gradients.append([value, *torch.autograd.grad(value, wanted)])
        for eager, whole in zip(*gradients, strict=True):
            torch.testing.assert_close(whole, eager)


@pytest.mark.filterwarnings("error:There is a performance drop")
def test_vmap_over_residuals_and_over_alpha():
    z = torch.linspace(-3.0, 3.0, 12, dtype=torch.float64).view(4, 3)
    alpha = torch.tensor([-3.0, 0.0, 0.7, 2.0], dtype=torch.float64)

    def loss(z, alpha):
        return general_robust(z, 0.7, "sum", alpha=alpha)

    together = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)))(z, alpha)
    for i in range(4):
        alone = torch.func.grad(loss, argnums=(0, 1))(z[i], alpha[i])
        torch.testing.assert_close((together[0][i], together[1][i]), alone)
    by_alpha = torch.func.vmap(loss, in_dims=(None, 0))(z, alpha)
    torch.testing.assert_close(by_alpha[2], loss(z, alpha[2]))
    assert torch.func.hessian(loss, argnums=1)(z[0], alpha[1]).isfinite()


# --- the normalisation ---


def exact_log_partition(alpha: mpmath.mpf) -> mpmath.mpf:
    """By the trapezoidal rule in another variable, x = sinh(sinh t), and with finer steps."""

    def integrand(t):
        x = mpmath.sinh(mpmath.sinh(t))
        return mpmath.exp(-rho(x, alpha)) * mpmath.cosh(mpmath.sinh(t)) * mpmath.cosh(t)

    step = mpmath.mpf(1) / 48
    return mpmath.log(step * (integrand(0) + 2 * sum(integrand(k * step) for k in range(1, 230))))


@pytest.mark.parametrize(
    ("alpha", "partition"),
    [
        (0.0, math.pi * 2.0**0.5),
        (1.0, 2.0 * math.e * float(mpmath.besselk(1, 1))),
        (2.0, (2.0 * math.pi) ** 0.5),
    ],
)
def test_known_partition_functions(alpha, partition):
    assert log_partition(alpha).item() == pytest.approx(math.log(partition), rel=1e-10)


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 0.1, 0.5, 0.8, 1.0, 1.3, 1.7, 1.9, 1.99])
def test_log_partition_and_its_derivative(alpha):
    given = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    found = log_partition(given)
    (derivative,) = torch.autograd.grad(found, given)
    with mpmath.workdps(30):
        middle, step = mpmath.mpf(alpha), mpmath.mpf(10) ** -8
        if alpha == 0.0:
            middle += step
        low, high = exact_log_partition(middle - step), exact_log_partition(middle + step)
        # Around alpha, and to first order at its side for alpha = 0.
        slope = (high - low) / (2 * step)
        expected = (low + high) / 2 - slope * (middle - mpmath.mpf(alpha))
    assert found.item() == pytest.approx(float(expected), rel=1e-10)
    assert derivative.item() == pytest.approx(float(slope), rel=1e-7)


def test_log_partition_takes_any_shape_and_float32():
    alpha = torch.tensor([[0.0, 0.5], [1.0, 2.0]])
    found = log_partition(alpha)
    assert found.dtype == torch.float64
    for row, column in ((0, 1), (1, 1)):
        assert found[row, column] == log_partition(alpha[row, column].item())


@pytest.mark.parametrize("alpha", [-0.1, 2.1, math.nan, -math.inf])
def test_alpha_without_a_density_is_refused(alpha):
    with pytest.raises(ValueError, match=f"alpha: expected a number from 0 to 2, got {alpha}"):
        log_partition(alpha)


def test_below_zero_there_is_no_density_because_the_loss_is_bounded():
    far = torch.tensor(1e18)
    assert general_robust(far, alpha=-0.5) == pytest.approx(5.0)  # exp(-5) all the way out
    assert general_robust(far, alpha=0.0) > 80.0


# --- learning shape and scale ---


def fitted(samples: torch.Tensor) -> AdaptiveRobustLoss:
    loss = AdaptiveRobustLoss().double()
    optimizer = torch.optim.LBFGS(loss.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(samples)
        value.backward()
        return value

    optimizer.step(closure)
    return loss


def quantiles(distribution) -> torch.Tensor:
    """A sample without luck."""
    return torch.tensor(distribution.ppf((torch.arange(2000).double() + 0.5) / 2000))


def cost_of_fixed_alpha(samples: torch.Tensor, alpha: float) -> float:
    scales = torch.logspace(-2, 2, 801, dtype=torch.float64)[:, None]
    costs = general_robust(samples, scales, "none", alpha=alpha).mean(dim=1)
    return (costs + scales[:, 0].log()).min().item() + log_partition(alpha).item()


def test_gaussian_residuals_teach_alpha_2_and_their_standard_deviation():
    samples = quantiles(stats.norm(scale=0.3))
    loss = fitted(samples)
    assert loss.alpha > 1.95
    assert loss.scale.item() == pytest.approx(0.3, rel=0.02)
    assert loss(samples) <= cost_of_fixed_alpha(samples, 2.0) + 1e-3
    assert loss(samples) < cost_of_fixed_alpha(samples, 0.0)


def test_cauchy_residuals_teach_alpha_0():
    samples = quantiles(stats.cauchy(scale=0.3))
    loss = fitted(samples)
    assert loss.alpha < 0.05
    assert loss.scale.item() == pytest.approx(0.3 * 0.5**0.5, rel=0.02)
    assert loss(samples) <= cost_of_fixed_alpha(samples, 0.0) + 1e-3
    assert loss(samples) < cost_of_fixed_alpha(samples, 2.0)


def test_heavier_tails_teach_a_lower_alpha():
    alphas = []
    for freedom in (1.5, 3, 10):
        samples = quantiles(stats.t(freedom))
        loss = fitted(samples)
        alphas.append(loss.alpha.item())
        for fixed in (0.0, 1.0, 2.0):
            assert loss(samples) <= cost_of_fixed_alpha(samples, fixed) + 1e-6
    assert 0.0 < alphas[0] < alphas[1] < alphas[2] < 2.0


@pytest.mark.parametrize(("alpha", "scale"), [(0.4, 0.2), (1.0, 1.0), (1.9, 5.0)])
def test_it_is_the_negative_logarithm_of_a_density(alpha, scale):
    loss = AdaptiveRobustLoss(alpha, scale).double()
    t = torch.linspace(-4.2, 4.2, 4001, dtype=torch.float64)
    inner = torch.sinh(t)
    x = scale * torch.sinh(inner)
    with torch.no_grad():
        density = torch.exp(-loss(x, reduction="none"))
    mass = torch.trapezoid(density * scale * inner.cosh() * t.cosh(), t)
    assert mass.item() == pytest.approx(1.0, abs=1e-6)


def test_it_starts_where_it_is_told():
    loss = AdaptiveRobustLoss(alpha=0.5, scale=0.1)
    assert loss.alpha.item() == pytest.approx(0.5)
    assert loss.scale.item() == pytest.approx(0.1)
    assert {name for name, _ in loss.named_parameters()} == {"alpha_logit", "log_scale"}
    residual = torch.tensor([0.05, -0.4])
    expected = general_robust(residual, 0.1, alpha=0.5) + math.log(0.1) + log_partition(0.5)
    torch.testing.assert_close(loss(residual).double(), expected, rtol=1e-6, atol=0.0)


def test_every_residual_pays_the_price_of_tolerance():
    loss = AdaptiveRobustLoss()
    residual = torch.tensor([[0.3, -2.0, 0.0]])
    values = loss(residual, reduction="none")
    assert values.shape == residual.shape
    torch.testing.assert_close(loss(residual, reduction="sum"), values.sum())
    torch.testing.assert_close(loss(residual), values.mean())


@pytest.mark.parametrize("alpha_logit", [-200.0, -20.0, 20.0, 200.0])
@pytest.mark.parametrize("residual", [0.0, 1e-3, 50.0, 1e18])
def test_gradients_are_finite_however_far_the_parameters_ran(alpha_logit, residual):
    loss = AdaptiveRobustLoss()
    with torch.no_grad():
        loss.alpha_logit.fill_(alpha_logit)
    x = torch.tensor([residual, 0.5], requires_grad=True)
    loss(x).backward()
    for tensor in (x, *loss.parameters()):
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("alpha_logit", [-1e30, -200.0, -17.0, 17.0, 200.0, 1e30])
def test_alpha_never_reaches_an_end_and_is_pulled_back_from_there(alpha_logit, dtype):
    loss = AdaptiveRobustLoss().to(dtype)
    with torch.no_grad():
        loss.alpha_logit.fill_(alpha_logit)
    assert 0.00099 < loss.alpha.item() < 1.9991
    residual = torch.tensor([0.5, -0.3, 0.1] if alpha_logit < 0 else [1e3, -50.0, 0.1])
    loss(residual.to(dtype)).backward()
    assert loss.alpha_logit.grad * alpha_logit > 0.0  # descent leads inwards


@pytest.mark.parametrize(("alpha_logit", "sampled"), [(20.0, stats.cauchy), (-20.0, stats.norm)])
def test_alpha_comes_back_from_an_end(alpha_logit, sampled):
    loss = AdaptiveRobustLoss()
    with torch.no_grad():
        loss.alpha_logit.fill_(alpha_logit)
    samples = quantiles(sampled)[5::10].float()
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.2, betas=(0.9, 0.9))
    for _ in range(250):
        optimizer.zero_grad()
        loss(samples).backward()
        optimizer.step()
    assert loss.alpha < 0.3 if alpha_logit > 0 else loss.alpha > 1.7


def test_adaptive_loss_compiles_whole():
    torch.compiler.reset()  # other tests may have used up the recompilations
    loss, x = AdaptiveRobustLoss(), torch.linspace(-3.0, 3.0, 12)
    gradients = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        value = function(x)
        gradients.append([value, *torch.autograd.grad(value, list(loss.parameters()))])
    for eager, whole in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, eager)


@pytest.mark.parametrize("alpha", [0.0, 2.0, -1.0, math.nan, 1e-8, 1.9999999])
def test_start_of_alpha_must_be_inside(alpha):
    message = f"alpha: expected a number from 0.001 to 1.999, got {alpha}"
    with pytest.raises(ValueError, match=message):
        AdaptiveRobustLoss(alpha=alpha)


@pytest.mark.parametrize("alpha", [0.001, 1.999])
def test_alpha_may_start_at_an_end(alpha):
    assert AdaptiveRobustLoss(alpha=alpha).alpha.item() == pytest.approx(alpha, abs=2e-7)


@pytest.mark.parametrize("wrong", ["a", None, [1.0], 1j])
def test_shapes_and_scales_that_are_no_numbers_are_named(wrong):
    message = f"expected a number or a tensor, got {type(wrong).__name__}"
    for call in (
        lambda: general_robust(torch.ones(2), alpha=wrong),
        lambda: log_partition(wrong),
    ):
        with pytest.raises(TypeError, match=f"^alpha: {message}"):
            call()


@pytest.mark.parametrize("wrong", ["a", None, [1.0], 1j, torch.ones(())])
@pytest.mark.parametrize("name", ["alpha", "scale"])
def test_starts_that_are_no_numbers_are_named(name, wrong):
    message = f"^{name}: expected a number, got {type(wrong).__name__}"
    with pytest.raises(TypeError, match=message):
        AdaptiveRobustLoss(**{name: wrong})


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_start_of_scale_must_be_positive(scale):
    with pytest.raises(ValueError, match=f"scale: expected a positive finite number, got {scale}"):
        AdaptiveRobustLoss(scale=scale)


def test_adaptive_loss_refuses_integers_and_unknown_reductions():
    with pytest.raises(TypeError, match="residual: expected floating point, got int64"):
        AdaptiveRobustLoss()(torch.ones(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected none, sum or mean, got 'median'"):
        AdaptiveRobustLoss()(torch.ones(2), reduction="median")
