"""Robust losses: the table's own formulas in many digits are the oracle, over all of float32."""

import functools
import inspect
import math
import re
import types
from collections.abc import Callable

import kornia
import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from posenet.losses import ROBUST_LOSSES, cauchy, geman_mcclure, huber, l1, smooth_l1, welsch

ALL_LOSSES = pytest.mark.parametrize("name", ROBUST_LOSSES)
MAGNITUDES = [
    *(0.0, 1e-20, 1e-10, 1e-5, 1e-3, 0.1, 0.5, 0.999, 1.0, 1.001, 2**0.5, 3.0, 12.9, 100.0, 1e4),
    *(9.99e5, 1e6, 1.01e6, 1e9, 1e15, 1e18),
]
FINFO = torch.finfo(torch.float32)
OVERFLOWS = {"l2"}  # its value at the largest float32 is no float32
BOUNDED = {"geman_mcclure": 2.0, "welsch": 1.0}
REDESCENDING = {"cauchy", *BOUNDED}
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
EDGE_INPUTS = settings(
    derandomize=True,
    deadline=None,
    max_examples=150,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is not a failure
)


@functools.cache
def formula(text: str) -> Callable[..., mpmath.mpf]:
    """A formula of the table as a function of z, of the scale c and of alpha."""
    text, _, b = text.partition(", b = ")
    near, _, far = text.partition(" to |z| = 1, then ")

    def code(expression: str) -> types.CodeType:
        expression = re.sub(r"\|([^|]*)\|", r"abs(\1)", expression).replace("sign z", "sign(z)")
        expression = re.sub(r"(?<=[\w)]) (?=[\w(])", "*", expression.replace("^", "**"))
        return compile(re.sub(r"\b(\d+)\b", r"mpf(\1)", expression), text, "eval")

    near, far, b = code(near), far and code(far), code(b or "0")

    def evaluate(z, c=1, alpha=1):
        names = {"z": mpmath.mpf(z), "c": mpmath.mpf(c), "alpha": mpmath.mpf(alpha)}
        names["b"] = eval(b, vars(mpmath), names)
        return eval(far if far and abs(z) > 1 else near, vars(mpmath), names)

    return evaluate


def exact(text: str, z: torch.Tensor, **arguments: float) -> torch.Tensor:
    """A formula in float64, of z as they were rounded."""
    # 1 - exp(-z^2 / 2) loses 40 digits at z = 1e-20.
    with mpmath.workdps(100):
        values = [float(formula(text)(x, **arguments)) for x in z.tolist()]
    return torch.tensor(values, dtype=torch.float64)


def evaluate(name: str, residual: torch.Tensor, scale: float = 1.0) -> list[torch.Tensor]:
    """Values and their slopes."""
    residual = residual.clone().requires_grad_()
    values = ROBUST_LOSSES[name].function(residual, scale=scale, reduction="none")
    (slopes,) = torch.autograd.grad(values.sum(), residual)
    return [values.detach(), slopes]


# --- what the table and the docstrings say ---


@ALL_LOSSES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_slopes_are_the_tables_formulas_to_rounding(name, dtype):
    residual = torch.tensor(MAGNITUDES, dtype=dtype)
    row = ROBUST_LOSSES[name]
    for kind, found in zip(("rho", "psi"), evaluate(name, residual), strict=True):
        bound = 1e-14 if dtype == torch.float64 else 5e-7
        if dtype == torch.float32 and (name, kind) == ("welsch", "psi"):
            bound = 5e-6  # the exponential multiplies the rounding of z^2 by it
        expected = exact(getattr(row, kind), residual)
        # Below the smallest normal number a type has fewer digits than the bound asks for.
        error = (found.double() - expected).abs()
        assert (error <= bound * expected + torch.finfo(dtype).tiny).all(), (kind, error / expected)


@ALL_LOSSES
@pytest.mark.parametrize("scale", [0.1, 2.5])
def test_formulas_hold_at_every_scale(name, scale):
    row = ROBUST_LOSSES[name]
    z = torch.tensor([-7.0, -1.5, -0.3, 0.2, 0.99, 1.01, 4.0], dtype=torch.float64)
    values, slopes = evaluate(name, z * scale, scale)
    torch.testing.assert_close(values, exact(row.rho, z, c=scale), rtol=1e-13, atol=0.0)
    torch.testing.assert_close(slopes * scale, exact(row.psi, z, c=scale), rtol=1e-13, atol=0.0)
    weights = exact(row.weight, z, c=scale)
    torch.testing.assert_close(slopes * scale / z, weights, rtol=1e-13, atol=0.0)


@ALL_LOSSES
def test_the_docstring_gives_the_tables_formulas(name):
    row = ROBUST_LOSSES[name]
    documentation = " ".join(inspect.getdoc(row.function).split())
    for text in (row.rho, row.psi, row.weight):
        assert f"``{text}``" in documentation


@ALL_LOSSES
def test_the_docstring_says_scale_efficiency_convention_and_source(name):
    row = ROBUST_LOSSES[name]
    documentation = inspect.getdoc(row.function)
    words = ["scale: ", "95 % efficient: ", "elsewhere: "]
    words += ["Source: "] if name not in ("l2", "l1") else []  # those are older than papers
    words += [f"{row.efficient_scale} standard deviations"] if row.efficient_scale else []
    for word in words:
        assert word in documentation


def efficiency(psi: str, scale: float) -> float:
    """Of the location estimate under standard normal noise, relative to the mean."""
    pull = formula(psi)

    def expectation(function):
        points = [-mpmath.inf, -scale, 0, scale, mpmath.inf]  # psi has kinks there
        return mpmath.quad(lambda x: function(x) * mpmath.npdf(x), points)

    slope = expectation(lambda x: x * pull(x / scale))  # E psi', by parts
    return float(slope**2 / expectation(lambda x: pull(x / scale) ** 2))


@pytest.mark.parametrize("name", [n for n, row in ROBUST_LOSSES.items() if row.efficient_scale])
def test_efficient_scale_gives_95_percent(name):
    row = ROBUST_LOSSES[name]
    assert efficiency(row.psi, row.efficient_scale) == pytest.approx(0.95, abs=1e-6)


def test_losses_without_efficient_scale_have_the_same_efficiency_at_every_scale():
    for scale in (0.5, 3.0):
        assert efficiency(ROBUST_LOSSES["l2"].psi, scale) == pytest.approx(1.0)
        assert efficiency(ROBUST_LOSSES["l1"].psi, scale) == pytest.approx(2.0 / math.pi)


def estimate_is_carried_away(name: str, data: list[float], outliers: int) -> bool:
    """Whether outliers at a million move the best location out of the data's neighbourhood."""
    values = torch.tensor([*data, *[1e6] * outliers], dtype=torch.float64)
    places = torch.cat((torch.linspace(-50, 50, 201, dtype=torch.float64), values))
    places = torch.cat((places, values.mean()[None]))  # the best place of l2
    residual = values - places[:, None]
    costs = ROBUST_LOSSES[name].function(residual, reduction="none").sum(dim=1)
    return abs(places[costs.argmin()]) > 50


@ALL_LOSSES
def test_breakdown_point(name):
    said = ROBUST_LOSSES[name].breakdown
    tight = [-0.2, -0.1, 0.0, 0.1, 0.2, 0.0, -0.1, 0.1, 0.05, 0.15]
    wide = [50.0 * x for x in tight]
    assert estimate_is_carried_away(name, tight, 11)
    assert estimate_is_carried_away(name, tight, 1) == (said == "0")
    assert estimate_is_carried_away(name, tight, 9) == (said == "0")
    # A bounded loss counts good data as outliers where they lie wide apart.
    assert estimate_is_carried_away(name, wide, 8) == (said == "0" or name in BOUNDED)


@ALL_LOSSES
def test_how_hard_a_far_outlier_pulls(name):
    said = ROBUST_LOSSES[name].outlier
    _, pull = evaluate(name, torch.tensor([1e2, 1e4], dtype=torch.float64))
    growth = (pull[1] / pull[0].clamp(min=1e-300)).item()
    expected = {"constant": 1.0, "grows with it": 1e2, "falls as 2 / z": 1e-2}
    expected |= {"falls as 16 / z^3": 1e-6, "falls as exp(-z^2 / 2)": 0.0}
    expected |= {"goes as z^(alpha - 1)": 1.0}
    assert growth == pytest.approx(expected[said], rel=2e-3)
    assert (name in REDESCENDING) == said.startswith("falls")


# --- conventions ---


@pytest.mark.parametrize(
    ("name", "residual", "expected"),
    [
        ("cauchy", 3.0, 1.7047480922384253),
        ("geman_mcclure", 2.0, 1.0),
        ("general_robust", 3.0, 10.0**0.5 - 1.0),
        ("huber", 3.0, 2.5),
        ("huber", 0.5, 0.125),
        ("l1", -3.0, 3.0),
        ("l2", -3.0, 4.5),
        ("pseudo_huber", 3.0, 10.0**0.5 - 1.0),
        ("smooth_l1", 3.0, 2.5),
        ("welsch", 2.0**0.5, 1.0 - math.exp(-1.0)),
    ],
)
def test_convention_is_barrons(name, residual, expected):
    value = ROBUST_LOSSES[name].function(torch.tensor([residual], dtype=torch.float64))
    assert value.item() == pytest.approx(expected, rel=1e-14)


SAMPLE = torch.tensor([-4.0, -0.7, -0.1, 0.0, 0.3, 1.0, 2.5], dtype=torch.float64)


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])
def test_huber_is_delta_times_smooth_l1_so_that_they_are_equal_at_1_only(scale):
    zero, plain = torch.zeros_like(SAMPLE), {"reduction": "none"}
    torch_huber = F.huber_loss(SAMPLE, zero, delta=scale, **plain)
    torch_smooth_l1 = F.smooth_l1_loss(SAMPLE, zero, beta=scale, **plain)
    torch.testing.assert_close(scale**2 * huber(SAMPLE, scale, "none"), torch_huber)
    torch.testing.assert_close(smooth_l1(SAMPLE, scale, "none"), torch_smooth_l1)
    torch.testing.assert_close(scale * smooth_l1(SAMPLE, scale, "none"), torch_huber)
    torch.testing.assert_close(scale * huber(SAMPLE, scale, "none"), torch_smooth_l1)
    assert torch.allclose(torch_huber, torch_smooth_l1) == (scale == 1.0)


def test_mse_is_twice_l2_and_mae_is_l1():
    zero = torch.zeros_like(SAMPLE)
    torch.testing.assert_close(2.0 * ROBUST_LOSSES["l2"].function(SAMPLE), F.mse_loss(SAMPLE, zero))
    torch.testing.assert_close(l1(SAMPLE), F.l1_loss(SAMPLE, zero))


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("pseudo_huber", kornia.losses.charbonnier_loss),
        ("cauchy", kornia.losses.cauchy_loss),
        ("geman_mcclure", kornia.losses.geman_mcclure_loss),
        ("welsch", kornia.losses.welsch_loss),
    ],
)
def test_kornias_losses_are_ours_at_scale_1(name, peer):
    theirs = peer(SAMPLE, torch.zeros_like(SAMPLE), reduction="none")
    torch.testing.assert_close(ROBUST_LOSSES[name].function(SAMPLE, 1.0, "none"), theirs)


@pytest.mark.parametrize(
    ("name", "scipy_name", "constant"),
    [("huber", "huber", 1.0), ("pseudo_huber", "soft_l1", 1.0), ("cauchy", "cauchy", 2.0**0.5)],
)
def test_scipys_cost_is_the_square_of_the_scale_times_ours(name, scipy_name, constant):
    scale, residual = 0.7, 3.0
    fit = least_squares(
        lambda _: [residual], [0.0], loss=scipy_name, f_scale=constant * scale, max_nfev=1
    )
    ours = ROBUST_LOSSES[name].function(torch.tensor(residual, dtype=torch.float64), scale)
    assert scale**2 * ours.item() == pytest.approx(fit.cost, rel=1e-12)


def test_cauchy_of_3_is_1_704748_where_scipy_and_pypose_have_2_302585():
    three = torch.tensor(3.0, dtype=torch.float64)
    assert cauchy(three).item() == pytest.approx(1.704748, abs=5e-7)
    assert math.log(1.0 + 3.0**2) == pytest.approx(2.302585, abs=5e-7)  # of the square, no half
    assert cauchy(three, 0.5**0.5).item() == pytest.approx(2.302585, abs=5e-7)


@pytest.mark.parametrize(
    ("loss", "ratio", "zhang", "tuned"),
    [
        (cauchy, 2.0**0.5, lambda x, k: k**2 / 2.0 * (1.0 + (x / k) ** 2).log(), 2.3849),
        (geman_mcclure, 2.0, lambda x, k: x**2 / 2.0 / (1.0 + (x / k) ** 2), None),
        (welsch, 2.0**0.5, lambda x, k: k**2 / 2.0 * (1.0 - (-((x / k) ** 2)).exp()), 2.9846),
    ],
)
def test_zhangs_constant_is_larger_by_a_fixed_ratio(loss, ratio, zhang, tuned):
    scale = 0.7
    ours = scale**2 * loss(SAMPLE, scale, "none")
    torch.testing.assert_close(ours, zhang(SAMPLE, ratio * scale))
    if tuned is not None:  # Zhang's table 1, 95 % efficiency
        efficient = ROBUST_LOSSES[loss.__name__].efficient_scale
        assert ratio * efficient == pytest.approx(tuned, abs=1e-4)


def test_not_mae_but_its_derivative_jumps_at_zero():
    values, slopes = evaluate("l1", torch.tensor([-1e-30, 0.0, 1e-30]))
    assert values.max() <= 1e-30
    assert slopes.tolist() == [-1.0, 0.0, 1.0]


def test_mae_is_not_the_epsilon_insensitive_loss_of_svr():
    # That one is flat for residuals below epsilon; MAE pulls at any distance.
    _, slopes = evaluate("l1", torch.tensor([1e-6, 1e-3, 0.1, 10.0]))
    assert slopes.tolist() == [1.0] * 4


# --- the whole of float32 ---


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
    unit = scale if name == "smooth_l1" else 1.0
    torch.testing.assert_close(
        scaled, unit * ROBUST_LOSSES[name].function(residual / scale, reduction="none")
    )


@ALL_LOSSES
def test_a_larger_residual_never_costs_less(name):
    values, _ = evaluate(name, torch.tensor(MAGNITUDES, dtype=torch.float64))
    assert (values.diff() >= 0).all()


@ALL_LOSSES
def test_every_float32_whose_loss_is_one_has_a_finite_loss_and_slope(name):
    residual = torch.tensor([1e-45, FINFO.tiny, 1e18, 1.8e19, 2.4e19, 3e19, 1e30, FINFO.max])
    representable = exact(ROBUST_LOSSES[name].rho, residual) <= FINFO.max
    assert representable.all() or name in OVERFLOWS
    values, slopes = evaluate(name, residual)
    assert torch.equal(values.isfinite(), representable)  # infinite, but never NaN, beyond
    assert not values.isnan().any()
    assert slopes.isfinite().all()


@EDGE_INPUTS
@given(x=FLOATS, scale=st.floats(1e-3, 1e3))
def test_any_float32_gives_a_loss_and_a_pull_in_bounds(x, scale):
    for name in ROBUST_LOSSES:
        value, slope = (t.item() for t in evaluate(name, torch.tensor(x), scale))
        assert value >= 0.0, name
        assert value < math.inf or name in OVERFLOWS or abs(x / scale) > FINFO.max, name
        assert value <= BOUNDED.get(name, math.inf), name
        assert math.isfinite(slope) or name in OVERFLOWS, name
        assert slope * x >= 0.0, name
        steepest = math.inf if name in OVERFLOWS else 1.0 if name == "smooth_l1" else 1.0 / scale
        assert abs(slope) <= steepest * (1.0 + 1e-6), name


@ALL_LOSSES
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_nan_stays_nan_in_its_own_element(name, scale):
    residual = torch.tensor([0.5, math.nan, -2.0, *[0.1] * 20])  # long enough for vector code
    clean = torch.tensor([0.5, 1.0, -2.0, *[0.1] * 20])
    others = torch.arange(23) != 1
    for found, expected in zip(
        evaluate(name, residual, scale), evaluate(name, clean, scale), strict=True
    ):
        assert found[1].isnan()
        assert torch.equal(found[others], expected[others])


@ALL_LOSSES
@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_infinite_residual_gives_the_limits(name, scale, dtype):
    values, slopes = evaluate(name, torch.tensor([math.inf, -math.inf, 0.1], dtype=dtype), scale)
    assert values[:2].tolist() == [BOUNDED.get(name, math.inf)] * 2
    limit = 0.0 if name in REDESCENDING else math.inf if name == "l2" else 1.0 / scale
    limit = 1.0 if name == "smooth_l1" else limit
    assert slopes[:2].tolist() == [limit, -limit]
    assert slopes[2].isfinite()


@ALL_LOSSES
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_a_residual_that_is_not_floating_point_is_refused(name, dtype):
    found = str(dtype).removeprefix("torch.")
    with pytest.raises(TypeError, match=f"residual: expected floating point, got {found}"):
        ROBUST_LOSSES[name].function(torch.ones(2, dtype=dtype))


@ALL_LOSSES
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_half_precision_is_computed_and_returned_in_float32(name, dtype, scale):
    residual = torch.tensor([-300.0, -1.5, 0.2, 1e-3, 5e3], dtype=dtype)
    values, slopes = evaluate(name, residual, scale)
    expected_values, expected_slopes = evaluate(name, residual.float(), scale)
    assert values.dtype == torch.float32
    assert torch.equal(values, expected_values)
    assert slopes.dtype == dtype
    assert torch.equal(slopes, expected_slopes.to(dtype))


@ALL_LOSSES
def test_autocast_does_not_lower_the_precision(name):
    residual = torch.linspace(-3.0, 3.0, 12)
    expected = evaluate(name, residual, 0.3)
    with torch.autocast("cpu", torch.bfloat16):
        found = evaluate(name, residual, 0.3)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


# --- scale ---


@ALL_LOSSES
@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 1e-50, 1e39])
def test_scale_that_is_not_positive_and_finite_is_refused(name, scale):
    message = re.escape(f"scale: expected a positive finite number, got {scale}")
    with pytest.raises(ValueError, match=message):
        ROBUST_LOSSES[name].function(torch.ones(2), scale=scale)


@ALL_LOSSES
@pytest.mark.parametrize("scale", ["a", None, [1.0], 1j])
def test_scale_that_is_no_number_is_named(name, scale):
    message = f"^scale: expected a number or a tensor, got {type(scale).__name__}"
    with pytest.raises(TypeError, match=message):
        ROBUST_LOSSES[name].function(torch.ones(2), scale=scale)


@ALL_LOSSES
@pytest.mark.parametrize("scale", [2, np.float32(2.0), np.float64(2.0), np.int64(2)])
def test_scale_may_be_any_real_number(name, scale):
    residual, loss = torch.tensor([0.3, -5.0]), ROBUST_LOSSES[name].function
    assert torch.equal(loss(residual, scale), loss(residual, 2.0))


def test_how_large_a_scale_may_be_depends_on_the_type_of_the_residual():
    assert cauchy(torch.ones(2, dtype=torch.float64), 1e150).item() == pytest.approx(5e-301)
    with pytest.raises(ValueError, match="scale: expected a positive finite number"):
        cauchy(torch.ones(2, dtype=torch.float64), torch.inf)


@ALL_LOSSES
def test_scale_may_be_a_tensor_that_broadcasts(name):
    loss = ROBUST_LOSSES[name].function
    residual = torch.linspace(-3.0, 3.0, 12).view(4, 3)
    scale = torch.tensor([0.2, 1.0, 5.0])
    together = loss(residual, scale, "none")
    for column, c in enumerate(scale.tolist()):
        torch.testing.assert_close(
            together[:, column], loss(residual[:, column].contiguous(), c, "none")
        )
    assert loss(torch.ones(()), scale, "none").shape == (3,)


@ALL_LOSSES
def test_a_learned_scale_has_a_finite_gradient_whatever_the_residuals(name):
    scale = torch.tensor(0.5, requires_grad=True)
    residual = torch.tensor([0.0, 0.3, -2.0, 1e10])
    infinite = torch.tensor([math.inf, -math.inf])
    loss = ROBUST_LOSSES[name].function
    (expected,) = torch.autograd.grad(loss(residual, scale, "sum"), scale)
    assert expected.isfinite()
    (found,) = torch.autograd.grad(loss(torch.cat((residual, infinite)), scale, "sum"), scale)
    torch.testing.assert_close(found, expected)
    (alone,) = torch.autograd.grad(loss(infinite, scale, "sum"), scale)
    assert alone == 0.0


@ALL_LOSSES
def test_a_learned_scale_survives_a_z_that_overflows(name):
    scale = torch.tensor(1e-3, requires_grad=True)
    residual = torch.tensor([1e37, -1e37], requires_grad=True)
    value = ROBUST_LOSSES[name].function(residual, scale, "sum")
    for gradient in torch.autograd.grad(value, (residual, scale)):
        assert not gradient.isnan().any()
    (gradient,) = torch.autograd.grad(ROBUST_LOSSES[name].function(residual, scale, "sum"), scale)
    assert gradient == (-1.0 if name == "smooth_l1" else 0.0)


# --- derivatives and transformations ---

SMOOTH_POINTS = [-40.0, -1.2, -0.3, 0.2, 0.8, 1.7, 2e3]  # none at a kink for scale 0.5


@ALL_LOSSES
def test_gradcheck_with_the_scale(name):
    residual = torch.tensor(SMOOTH_POINTS, dtype=torch.float64, requires_grad=True)
    scale = torch.full((7,), 0.5, dtype=torch.float64, requires_grad=True)
    loss = ROBUST_LOSSES[name].function
    assert torch.autograd.gradcheck(lambda x: loss(x, 0.5, "none"), residual, rtol=1e-4)
    assert torch.autograd.gradcheck(
        lambda x, c: loss(x, c, "none"), (residual[:6], scale[:6]), rtol=1e-4
    )
    assert torch.autograd.gradcheck(
        lambda x: loss(x, 1.0, "none"),
        residual,
        rtol=1e-4,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )


@ALL_LOSSES
def test_double_backward(name):
    residual = torch.tensor([-4.0, -1.2, 0.2, 0.8, 1.7], dtype=torch.float64, requires_grad=True)
    scale = torch.full((5,), 0.5, dtype=torch.float64, requires_grad=True)
    loss = ROBUST_LOSSES[name].function
    assert torch.autograd.gradgradcheck(lambda x: loss(x, 0.5, "none"), residual)
    assert torch.autograd.gradgradcheck(lambda x, c: loss(x, c, "none"), (residual, scale))


@ALL_LOSSES
def test_curvature_at_zero_and_far_out_is_finite(name):
    residual = torch.tensor([0.0, -0.0, 1e-30, 1e18, 1e30], requires_grad=True)
    values = ROBUST_LOSSES[name].function(residual, 1.0, "none")
    (slopes,) = torch.autograd.grad(values.sum(), residual, create_graph=True)
    curvature = torch.zeros(5)
    if slopes.requires_grad:
        (curvature,) = torch.autograd.grad(slopes.sum(), residual)
    assert curvature[:3].tolist() == [0.0 if name == "l1" else 1.0] * 3
    assert curvature.isfinite().all()


def compiled_gradients_match(backend: str) -> None:
    """All losses side by side, each with a residual and a scale of its own."""

    def every_loss(residual, scale):
        scales = scale if isinstance(scale, torch.Tensor) else [scale] * len(ROBUST_LOSSES)
        rows = zip(ROBUST_LOSSES.values(), residual, scales, strict=True)
        return torch.stack([row.function(x, c, "sum") for row, x, c in rows])

    count = len(ROBUST_LOSSES)
    residual = torch.linspace(-3.0, 3.0, 40).view(8, 5).expand(count, 8, 5)
    torch.compiler.reset()  # other tests may have used up the recompilations
    compiled = torch.compile(every_loss, fullgraph=True, backend=backend)
    for scale in (1.0, 0.3, torch.full((count,), 0.3, requires_grad=True)):
        gradients = []
        for function in (every_loss, compiled):
            x = residual.clone().requires_grad_()
            wanted = [x, scale] if isinstance(scale, torch.Tensor) else [x]
            values = function(x, scale)
            gradients.append([values, *torch.autograd.grad(values.sum(), wanted)])
        for eager, whole in zip(*gradients, strict=True):
            for name, right, found in zip(ROBUST_LOSSES, eager, whole, strict=True):
                torch.testing.assert_close(found, right, msg=lambda m, n=name: f"{n}: {m}")


def test_compiles_whole():
    compiled_gradients_match("aot_eager")


@pytest.mark.slow
def test_compiles_to_machine_code():
    compiled_gradients_match("inductor")


@ALL_LOSSES
@pytest.mark.filterwarnings("error:There is a performance drop")
def test_vmap(name):
    loss = ROBUST_LOSSES[name].function
    residual = torch.linspace(-3.0, 3.0, 12, dtype=torch.float64).view(4, 3)
    values, slopes = evaluate(name, residual)
    one = torch.func.vmap(lambda x: loss(x, reduction="none"))(residual)
    torch.testing.assert_close(one, values)
    gradients = torch.func.vmap(torch.func.grad(lambda x: loss(x, reduction="sum")))(residual)
    torch.testing.assert_close(gradients, slopes)
    scales = torch.tensor([0.1, 1.0, 3.0, 10.0], dtype=torch.float64)
    by_scale = torch.func.vmap(lambda c: loss(residual[0], c, "sum"))(scales)
    torch.testing.assert_close(by_scale[1], values[0].sum())


@ALL_LOSSES
def test_hessian_forward_over_reverse(name):
    loss = ROBUST_LOSSES[name].function
    z = torch.tensor([-1.3, 0.0, 0.4], dtype=torch.float64)
    hessian = torch.func.hessian(lambda x: loss(x, reduction="sum"))(z)
    step = 1e-6
    _, above = evaluate(name, z + step)
    _, below = evaluate(name, z - step)
    expected = (above - below) / (2.0 * step)
    if name == "l1":
        expected[1] = 0.0
    torch.testing.assert_close(hessian, torch.diag(expected), rtol=1e-8, atol=1e-8)


@ALL_LOSSES
@pytest.mark.parametrize("shape", [(), (0,), (1,), (0, 3), (2, 3, 4)])
def test_any_shape(name, shape):
    residual = torch.full(shape, 0.5)
    values, slopes = evaluate(name, residual)
    assert values.shape == slopes.shape == shape
    total = ROBUST_LOSSES[name].function(residual, reduction="sum")
    torch.testing.assert_close(total, values.sum())


@ALL_LOSSES
def test_the_residual_is_left_as_it_was(name):
    residual = torch.tensor([0.5, -3.0, 0.0])
    for scale in (1.0, 2.0):
        values, slopes = evaluate(name, residual, scale)
        values.zero_()
        slopes.zero_()
    assert residual.tolist() == [0.5, -3.0, 0.0]


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
def test_unknown_reduction_is_refused(name):
    with pytest.raises(ValueError, match="expected none, sum or mean, got 'median'"):
        ROBUST_LOSSES[name].function(torch.ones(2), reduction="median")
