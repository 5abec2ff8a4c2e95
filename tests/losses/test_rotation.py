"""Rotation losses: values, slopes, what is refused, and what the common formulas get wrong."""

import functools
import json
import math
import re

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from posenet.losses.rotation import (
    ROTATION_LOSSES,
    chordal_loss,
    geodesic_loss,
    quaternion_geodesic_loss,
    quaternion_l2_loss,
)

ALL_LOSSES = pytest.mark.parametrize("name", ROTATION_LOSSES)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
ANGLES = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0, math.pi / 2, 3.0, math.pi - 1e-4, math.pi]

# The loss of an angle and its slope.
CLOSED_FORMS = {
    "geodesic": (lambda t: t, lambda t: mpmath.mpf(1)),
    "chordal": (
        lambda t: mpmath.sqrt(8) * mpmath.sin(t / 2),
        lambda t: mpmath.sqrt(2) * mpmath.cos(t / 2),
    ),
    "chordal_squared": (lambda t: 8 * mpmath.sin(t / 2) ** 2, lambda t: 4 * mpmath.sin(t)),
    "quaternion_l2": (lambda t: 2 * mpmath.sin(t / 4), lambda t: mpmath.cos(t / 4) / 2),
}
FROBENIUS = {"chordal": 1, "chordal_squared": 2}  # powers of |A - B|, whether rotations or not


def rotation_pairs(angle: float, count: int) -> tuple[Rotation, Rotation]:
    """Random rotations and the same turned by ``angle`` about random axes."""
    generator = np.random.default_rng(0)
    axes = generator.normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    first = Rotation.random(count, generator)
    return first, first * Rotation.from_rotvec(axes * angle)


def matrices(angle: float, count: int, dtype: torch.dtype) -> list[torch.Tensor]:
    pair = rotation_pairs(angle, count)
    return [torch.tensor(r.as_matrix(), dtype=dtype, requires_grad=True) for r in pair]


def wxyz(rotation: Rotation, dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor(np.roll(rotation.as_quat(), 1, axis=-1), dtype=dtype, requires_grad=True)


def function(name: str):
    return ROTATION_LOSSES[name].function


def exact_loss(name: str, a: list[list[float]], b: list[list[float]]) -> mpmath.mpf:
    """The loss of two matrices as they were rounded, in 50 digits."""
    if name in FROBENIUS:
        return mpmath.norm(list(mpmath.matrix(a) - mpmath.matrix(b))) ** FROBENIUS[name]
    return CLOSED_FORMS[name][0](exact_angle(str(a), str(b)))


@functools.cache  # of the text, which is exact and can be looked up
def exact_angle(a: str, b: str) -> mpmath.mpf:
    p, q = (mpmath.matrix(json.loads(text)) for text in (a, b))
    for _ in range(3):  # to the nearest rotations: Newton-Schulz squares the distance to them
        p, q = (m * (3 * mpmath.eye(3) - m.T * m) / 2 for m in (p, q))
    product = p.T * q
    cosine = (product[0, 0] + product[1, 1] + product[2, 2] - 1) / 2
    return mpmath.acos(max(-1, min(1, cosine)))


def riemannian_slope(rotation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Norm of the derivative along ``rotation @ exp([w]x)`` at w = 0, in float64."""
    local = rotation.detach().double().mT @ gradient.double()
    skew = local - local.mT
    return torch.stack((skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]), dim=-1).norm(dim=-1)


def as_python(formula: str) -> str:
    """``2 sqrt(2) sin(theta / 2)`` with its multiplications and powers spelled out."""
    return re.sub(r"(?<=[\d)]) (?=[a-z\d])", " * ", formula).replace("^", "**")


def test_every_loss_has_a_closed_form_here():
    assert CLOSED_FORMS.keys() == ROTATION_LOSSES.keys()


@ALL_LOSSES
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 3e-7), (torch.float64, 1e-15)])
def test_values_are_exact_to_rounding_at_every_angle(name, dtype, bound):
    for angle in ANGLES:
        a, b = matrices(angle, 8, dtype)
        values = function(name)(a, b, reduction="none")
        with mpmath.workdps(50):
            for value, p, q in zip(values.tolist(), a.tolist(), b.tolist(), strict=True):
                exact = exact_loss(name, p, q)
                assert abs(value - exact) <= bound * exact, f"angle {angle}"


@ALL_LOSSES
def test_values_and_slopes_follow_the_angle(name):
    value_of, slope_of = CLOSED_FORMS[name]
    for angle in ANGLES[3:-1]:
        a, b = matrices(angle, 100, torch.float64)
        values = function(name)(a, b, reduction="none")
        gradients = torch.autograd.grad(values.sum(), (a, b))
        expected = torch.full_like(values, float(value_of(angle)))
        torch.testing.assert_close(values, expected, rtol=1e-11, atol=0.0)
        for rotation, gradient in zip((a, b), gradients, strict=True):
            slope = riemannian_slope(rotation, gradient)
            expected = torch.full_like(slope, float(slope_of(angle)))
            torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-12)


@ALL_LOSSES
def test_the_table_states_the_formula_and_its_derivative(name):
    row, (value_of, slope_of) = ROTATION_LOSSES[name], CLOSED_FORMS[name]
    for theta in ANGLES:
        names = {key: getattr(mpmath, key) for key in ("sin", "cos", "sqrt")}
        names["theta"] = mpmath.mpf(theta)
        stated = [eval(as_python(text), {}, names) for text in (row.formula, row.derivative)]
        assert stated == [
            pytest.approx(value_of(theta), rel=1e-14),
            pytest.approx(slope_of(theta), rel=1e-12, abs=1e-15),
        ]
        if theta > 1e-4:
            assert stated[1] == pytest.approx(mpmath.diff(value_of, theta), rel=1e-9, abs=1e-9)


@ALL_LOSSES
def test_the_table_states_how_the_slope_behaves_at_both_ends(name):
    row, slope_of = ROTATION_LOSSES[name], CLOSED_FORMS[name][1]
    for words, near, nearer in (
        (row.identical, 1e-3, 1e-5),
        (row.opposite, math.pi - 1e-3, math.pi - 1e-5),
    ):
        fades = slope_of(nearer) < 0.02 * slope_of(near)
        assert fades == (words == "fades to 0")
    if row.opposite == "falls by 29 %":
        assert slope_of(math.pi) / slope_of(0) == pytest.approx(0.71, abs=0.005)
    elif row.opposite == "constant":
        assert slope_of(math.pi) == slope_of(0)


@ALL_LOSSES
@DTYPES
def test_a_perfect_match_costs_nothing_and_pulls_nowhere(name, dtype):
    a, _ = matrices(1.0, 500, dtype)
    values = function(name)(a, a.detach().clone(), reduction="none")
    (gradient,) = torch.autograd.grad(values.sum(), a)
    assert (values == 0).all()
    assert (gradient == 0).all()


@ALL_LOSSES
@DTYPES
def test_gradients_are_finite_at_special_inputs(name, dtype):
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=dtype)] * 3)
    special = torch.diag_embed(torch.cat((signs, torch.zeros(1, 3, dtype=dtype))))
    for other in (special, special.flip(0), torch.eye(3, dtype=dtype).expand_as(special)):
        a, b = (tensor.clone().requires_grad_() for tensor in (special, other))
        value = function(name)(a, b)
        assert value.isfinite()
        assert all(g.isfinite().all() for g in torch.autograd.grad(value, (a, b)))


EDGE_ANGLES = st.sampled_from([0.0, 1e-30, 1e-21, 1e-12, 1e-7, 1e-4, math.pi - 1e-7, math.pi])
EDGE_AXES = st.tuples(*[st.sampled_from([0.0, 1.0, -1.0, 1e-7, 0.3])] * 3).filter(any)


@settings(derandomize=True, database=None, deadline=None, max_examples=150)
@given(EDGE_AXES, EDGE_ANGLES | st.floats(0.0, math.pi), EDGE_AXES, st.floats(0.0, math.pi))
def test_every_row_holds_for_any_axis_and_angle(axis, angle, first_axis, first_angle):
    """In float32: the value, the symmetry, and a gradient no longer than the steepest slope."""
    unit, first_unit = (np.array(x) / np.linalg.norm(x) for x in (axis, first_axis))
    first = Rotation.from_rotvec(first_unit * first_angle)
    second = first * Rotation.from_rotvec(unit * angle)
    a, b = (torch.tensor(r.as_matrix(), dtype=torch.float32) for r in (first, second))
    for name, (value_of, _) in CLOSED_FORMS.items():
        pair = a.clone().requires_grad_(), b.clone().requires_grad_()
        value = function(name)(*pair)
        # The matrices themselves are rounded by 3e-8 an entry; the steepest slope is 4.
        assert value.item() == pytest.approx(float(value_of(angle)), abs=2e-6)
        assert function(name)(b, a).item() == pytest.approx(value.item(), abs=1e-6)
        steepest = {"geodesic": 1.0, "chordal": 1.0, "chordal_squared": 32**0.5}.get(name, 0.5)
        for gradient in torch.autograd.grad(value, pair):
            assert gradient.norm() <= steepest * 1.001  # near 1e-21 a norm has few digits


@settings(derandomize=True, database=None, deadline=None, max_examples=150)
@given(
    st.tuples(*[st.floats(-1.0, 1.0)] * 4).filter(lambda q: math.hypot(*q) > 1e-3),
    EDGE_AXES,
    EDGE_ANGLES | st.floats(0.0, math.pi),
    st.sampled_from([1.0, -1.0, 0.5, -7.3, 1e-5, 1e8]),
)
def test_quaternion_loss_for_any_axis_angle_length_and_sign(q, axis, angle, factor):
    first = Rotation.from_quat(q)
    second = first * Rotation.from_rotvec(np.array(axis) / np.linalg.norm(axis) * angle)
    p = wxyz(first, torch.float32)
    q = (wxyz(second, torch.float32).detach() * factor).requires_grad_()
    value = quaternion_geodesic_loss(p, q)
    assert value.item() == pytest.approx(angle, abs=1e-6)
    for quaternion, gradient in zip((p, q), torch.autograd.grad(value, (p, q)), strict=True):
        length = (gradient.double().norm() * quaternion.detach().double().norm()).item()
        assert length == 0 or length == pytest.approx(2.0, rel=1e-5)


@DTYPES
def test_a_quaternion_and_its_negative_are_the_same_rotation(dtype):
    p, q = (wxyz(rotation, dtype) for rotation in rotation_pairs(1.3, 50))
    loss = quaternion_geodesic_loss(p, q, reduction="none")
    assert torch.equal(quaternion_geodesic_loss(-p, q, reduction="none"), loss)
    assert torch.equal(quaternion_geodesic_loss(p, -q, reduction="none"), loss)
    (gradient,) = torch.autograd.grad(loss.sum(), p)
    mirrored = (-p).detach().requires_grad_()
    (other,) = torch.autograd.grad(quaternion_geodesic_loss(mirrored, q, "sum"), mirrored)
    assert torch.equal(other, -gradient)
    assert quaternion_geodesic_loss(p, -p).item() == 0.0


@DTYPES
def test_matrix_and_quaternion_losses_agree(dtype):
    for angle in ANGLES:
        pair = rotation_pairs(angle, 50)
        p, q = (wxyz(rotation, dtype) for rotation in pair)
        a, b = (torch.tensor(rotation.as_matrix(), dtype=dtype) for rotation in pair)
        tolerance = 1e-6 if dtype == torch.float32 else 1e-14
        angles = quaternion_geodesic_loss(p, 2.5 * q, reduction="none")
        expected = geodesic_loss(a, b, reduction="none")
        torch.testing.assert_close(angles, expected, rtol=0.0, atol=tolerance)
        nearer = torch.minimum((p - q).norm(dim=-1), (p + q).norm(dim=-1))
        distances = quaternion_l2_loss(a, b, reduction="none")
        torch.testing.assert_close(distances, nearer, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(0.0, 0.0), (90.0, math.pi / 2), (180.0, math.pi), (270.0, math.pi / 2)],
)
def test_quarter_turns(degrees, expected):
    turn = Rotation.from_euler("z", degrees, degrees=True)
    identity = torch.eye(3, dtype=torch.float64)
    assert geodesic_loss(identity, torch.tensor(turn.as_matrix())).item() == pytest.approx(expected)
    unit = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    loss = quaternion_geodesic_loss(unit, wxyz(turn, torch.float64))
    assert loss.item() == pytest.approx(expected, abs=1e-15)


@ALL_LOSSES
def test_reductions(name):
    a, b = (x.unflatten(0, (2, 3)) for x in matrices(1.0, 6, torch.float64))
    loss = function(name)
    values = loss(a, b, reduction="none")
    assert values.shape == (2, 3)
    torch.testing.assert_close(loss(a, b, reduction="sum"), values.sum())
    torch.testing.assert_close(loss(a, b, reduction="mean"), values.sum() / 6)
    torch.testing.assert_close(loss(a, b), values.sum() / 6)
    assert loss(a[0, 0], b[0, 0]).shape == ()
    assert loss(a[:0], b[:0], reduction="none").shape == (0, 3)
    assert loss(a[:0], b[:0], reduction="sum").item() == 0.0


def test_reductions_of_quaternions():
    p, q = (wxyz(rotation, torch.float64) for rotation in rotation_pairs(1.0, 6))
    values = quaternion_geodesic_loss(p, q, reduction="none")
    assert values.shape == (6,)
    torch.testing.assert_close(quaternion_geodesic_loss(p, q, reduction="sum"), values.sum())
    torch.testing.assert_close(quaternion_geodesic_loss(p, q), values.sum() / 6)


@ALL_LOSSES
def test_unknown_reduction_is_refused(name):
    with pytest.raises(ValueError, match="expected none, sum or mean, got 'median'"):
        function(name)(torch.eye(3), torch.eye(3), reduction="median")


@ALL_LOSSES
@pytest.mark.parametrize("shape", [(2, 4), (3,), (), (5, 3, 4), (9,)])
def test_shapes_that_are_no_matrices_are_named(name, shape):
    message = re.escape(f"expected shape (..., 3, 3), got {shape}")
    with pytest.raises(ValueError, match=f"^rotation: {message}"):
        function(name)(torch.zeros(shape), torch.eye(3))
    with pytest.raises(ValueError, match=f"^target: {message}"):
        function(name)(torch.eye(3), torch.zeros(shape))


@ALL_LOSSES
def test_integers_are_named(name):
    integers = torch.eye(3, dtype=torch.int64)
    with pytest.raises(TypeError, match=r"^rotation: expected floating point, got int64"):
        function(name)(integers, torch.eye(3))
    with pytest.raises(TypeError, match=r"^target: expected floating point, got int64"):
        function(name)(torch.eye(3), integers)


def test_integers_are_named_as_quaternions():
    with pytest.raises(TypeError, match=r"^quaternion: expected floating point, got int64"):
        quaternion_geodesic_loss(torch.ones(4, dtype=torch.int64), torch.ones(4))


def test_shapes_that_are_no_quaternions_are_named():
    message = re.escape("expected shape (..., 4), got (3, 3)")
    with pytest.raises(ValueError, match=f"^quaternion: {message}"):
        quaternion_geodesic_loss(torch.eye(3), torch.zeros(3, 4))
    with pytest.raises(ValueError, match=f"^target: {message}"):
        quaternion_geodesic_loss(torch.zeros(3, 4), torch.eye(3))


@ALL_LOSSES
@pytest.mark.parametrize("batch", [(3,), (2, 1), ()])
def test_batches_that_differ_are_refused_even_where_they_broadcast(name, batch):
    prediction, target = torch.eye(3).expand(2, 3, 3), torch.eye(3).expand(*batch, 3, 3)
    message = f"rotation, target: expected the same shape, got (2, 3, 3) and {(*batch, 3, 3)}"
    with pytest.raises(ValueError, match=re.escape(message)):
        function(name)(prediction, target)


def test_quaternion_batches_that_differ_are_refused():
    message = "quaternion, target: expected the same shape, got (2, 4) and (3, 4)"
    with pytest.raises(ValueError, match=re.escape(message)):
        quaternion_geodesic_loss(torch.ones(2, 4), torch.ones(3, 4))


@ALL_LOSSES
def test_gradcheck_of_both_orders(name):
    for angle in (0.5, 2.9):
        pair = matrices(angle, 2, torch.float64)
        assert torch.autograd.gradcheck(lambda a, b: function(name)(a, b, "none"), pair)
        assert torch.autograd.gradgradcheck(lambda a, b: function(name)(a, b, "none"), pair)


@ALL_LOSSES
def test_vmap(name):
    a, b = matrices(1.0, 5, torch.float64)
    values = function(name)(a, b, reduction="none")
    torch.testing.assert_close(torch.vmap(function(name))(a, b), values)
    (gradient,) = torch.autograd.grad(values.sum(), a)
    torch.testing.assert_close(torch.vmap(torch.func.grad(function(name)))(a, b), gradient)


@ALL_LOSSES
def test_compiles_in_one_graph(name):
    a, b = matrices(1.0, 5, torch.float32)
    torch.compiler.reset()
    loss = torch.compile(function(name), fullgraph=True, backend="aot_eager")(a, b)
    expected = function(name)(a, b)
    torch.testing.assert_close(loss, expected)
    gradients = (torch.autograd.grad(x, (a, b)) for x in (loss, expected))
    torch.testing.assert_close(*gradients)


@ALL_LOSSES
def test_autocast_leaves_the_precision_alone(name):
    a, b = matrices(1e-3, 50, torch.float32)
    expected = function(name)(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = function(name)(a, b)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@ALL_LOSSES
def test_descent_along_the_gradient_reaches_the_target(name):
    rotation, target = (x[0] for x in matrices(3.0, 1, torch.float64))
    rotvec = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([rotvec], lr=0.05)
    for _ in range(200):
        cross = torch.linalg.cross(rotvec.expand(3, 3), torch.eye(3, dtype=torch.float64), dim=-1)
        loss = function(name)(rotation.detach() @ torch.matrix_exp(cross.mT), target.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1 * float(CLOSED_FORMS[name][0](3.0))


# The common formulas, written as they are usually found, and what they do.


def clamped_acos_of_matrices(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    trace = (a.mT @ b).diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return torch.acos(((trace - 1.0) / 2.0).clamp(-1.0, 1.0))


def clamped_acos_of_quaternions(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return 2.0 * torch.acos((p * q).sum(dim=-1).abs().clamp(-1.0, 1.0))


def test_clamped_acos_errs_by_6_9e_4_rad_for_a_rotation_against_itself_and_ours_by_0():
    a, _ = matrices(1.0, 20_000, torch.float32)
    assert clamped_acos_of_matrices(a, a.detach()).max().item() == pytest.approx(6.9e-4, rel=0.01)
    assert geodesic_loss(a, a.detach(), reduction="none").max().item() == 0.0


def test_clamped_acos_has_gradients_of_0_or_up_to_1_8e3_at_a_match_and_ours_of_0():
    a, _ = matrices(1.0, 20_000, torch.float32)
    (peer,) = torch.autograd.grad(clamped_acos_of_matrices(a, a.detach()).sum(), a)
    lengths = peer.flatten(1).norm(dim=1)
    assert lengths.max() > 1.7e3
    assert ((lengths == 0) | (lengths > 100)).all()  # nothing in between
    (ours,) = torch.autograd.grad(geodesic_loss(a, a.detach(), reduction="sum"), a)
    assert (ours == 0).all()


def test_clamped_acos_stops_pulling_at_a_milliradian_and_ours_pulls_with_1():
    """The cosine of a small angle has no digits left: some pull is 0, some 1.7 times too hard."""
    a, b = matrices(3e-4, 1000, torch.float32)
    (peer,) = torch.autograd.grad(clamped_acos_of_matrices(a, b).sum(), a)
    slopes = riemannian_slope(a, peer)
    assert slopes.min() == 0
    (ours,) = torch.autograd.grad(geodesic_loss(a, b, reduction="sum"), a)
    assert (riemannian_slope(a, ours) - 1.0).abs().max() <= 1e-5


def test_twice_a_quaternion_at_a_true_73_7_deg_costs_0_when_clamped_and_73_7_deg_here():
    p = torch.tensor([1.0, 0.0, 0.0, 0.0])
    q = torch.tensor([0.8, 0.6, 0.0, 0.0])
    raw = (2.0 * q).requires_grad_()
    wrong = clamped_acos_of_quaternions(p, raw)
    assert wrong.item() == 0.0
    assert (torch.autograd.grad(wrong, raw)[0] == 0).all()
    loss = quaternion_geodesic_loss(raw, p)
    assert math.degrees(loss.item()) == pytest.approx(73.7398, abs=1e-4)
    (gradient,) = torch.autograd.grad(loss, raw)
    assert gradient.norm().item() == pytest.approx(2.0 / 2.0, rel=1e-6)  # 2 / |q|


def test_chordal_loss_stops_pulling_at_half_a_turn_and_the_angle_does_not():
    a, b = matrices(math.pi - 1e-3, 50, torch.float64)
    for loss, slope in (
        (chordal_loss, math.sqrt(2.0) * math.cos(math.pi / 2 - 5e-4)),
        (geodesic_loss, 1.0),
    ):
        (gradient,) = torch.autograd.grad(loss(a, b, reduction="sum"), a)
        expected = torch.full((50,), slope, dtype=torch.float64)
        torch.testing.assert_close(riemannian_slope(a, gradient), expected, rtol=1e-8, atol=0.0)
