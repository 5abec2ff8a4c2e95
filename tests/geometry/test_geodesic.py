"""Targets T1 to T6 and T14 of the distances between rotations, against 50-digit arithmetic."""

import functools
import math
import re

import mpmath
import numpy as np
import pytest
import roma
import torch
from scipy.spatial.transform import Rotation

from posenet.geometry import (
    chordal_distance,
    geodesic_distance,
    quaternion_distance,
    quaternion_geodesic_distance,
)

ANGLES = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0, math.pi / 2, 3.0, math.pi - 1e-4, math.pi]
PRECISIONS = [(torch.float32, ANGLES, 3e-7), (torch.float64, [1e-8, 1e-7, *ANGLES], 1e-15)]
RIEMANNIAN_ANGLES = ANGLES[:-1]  # at pi itself the matrix distance has a ridge, and gradient 0

exact_geodesic_distance = functools.partial(geodesic_distance, exact_at_pi=True)
pytestmark = pytest.mark.losses


@functools.cache
def rotation_pairs(angle: float, count: int, seed: int = 0) -> tuple[Rotation, Rotation]:
    """Random rotations and the same turned by ``angle`` about random axes."""
    generator = np.random.default_rng(seed)
    axes = generator.normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    first = Rotation.random(count, generator)
    return first, first * Rotation.from_rotvec(axes * angle)


def matrices(pair: tuple[Rotation, Rotation], dtype: torch.dtype) -> list[torch.Tensor]:
    return [torch.tensor(r.as_matrix(), dtype=dtype, requires_grad=True) for r in pair]


def quaternions(
    pair: tuple[Rotation, Rotation], dtype: torch.dtype, lengths: tuple[float, float] = (1.0, 1.0)
) -> list[torch.Tensor]:
    """Quaternions wxyz with random signs, of lengths drawn log-uniformly from a range."""
    generator = np.random.default_rng(1)
    result = []
    for rotation in pair:
        wxyz = np.roll(rotation.as_quat(), 1, axis=1)
        scale = np.exp(generator.uniform(*np.log(lengths), size=(len(wxyz), 1)))
        sign = generator.choice([-1.0, 1.0], size=(len(wxyz), 1))
        result.append(torch.tensor(wxyz * scale * sign, dtype=dtype, requires_grad=True))
    return result


def exact_matrix_angle(a: torch.Tensor, b: torch.Tensor) -> mpmath.mpf:
    """Angle between the rotations nearest to two rounded matrices."""
    nearest = []
    for matrix in (mpmath.matrix(a.tolist()), mpmath.matrix(b.tolist())):
        for _ in range(3):  # Newton-Schulz squares the distance to SO(3): 1e-7 -> below 1e-50
            matrix = matrix * (3 * mpmath.eye(3) - matrix.T * matrix) / 2
        nearest.append(matrix)
    product = nearest[0].T * nearest[1]
    cosine = (product[0, 0] + product[1, 1] + product[2, 2] - 1) / 2
    return mpmath.acos(max(mpmath.mpf(-1), min(mpmath.mpf(1), cosine)))


def exact_quaternion_angle(a: torch.Tensor, b: torch.Tensor) -> mpmath.mpf:
    p, q = ([mpmath.mpf(x) for x in quaternion.tolist()] for quaternion in (a, b))
    lengths = mpmath.sqrt(mpmath.fdot(p, p) * mpmath.fdot(q, q))
    return 2 * mpmath.acos(min(mpmath.mpf(1), abs(mpmath.fdot(p, q)) / lengths))


def exact_angles(exact, a: torch.Tensor, b: torch.Tensor) -> list[mpmath.mpf]:
    with mpmath.workdps(50):
        return [exact(*pair) for pair in zip(a, b, strict=True)]


@functools.cache
def exact_sample(inputs, exact, dtype: torch.dtype, angle: float):
    """24 pairs with their angles, which take some time."""
    a, b = (x.detach() for x in inputs(rotation_pairs(angle, 24), dtype))
    return a, b, exact_angles(exact, a, b)


def in_float64(distance, inputs, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Angles of float32 inputs; how good float64 is itself is compared with 50 digits elsewhere."""
    a, b = a.double(), b.double()
    if inputs is matrices:
        for _ in range(3):
            a, b = (m @ (3.0 * torch.eye(3, dtype=m.dtype) - m.mT @ m) / 2.0 for m in (a, b))
    return distance(a, b)


def worst_pairs(distance, inputs, exact, a, b, relative_above: float):
    """The largest error of all pairs, found in float64 and measured in 50 digits.

    Relative for angles above a threshold, else absolute over it.
    """
    values, expected = distance(a, b), in_float64(distance, inputs, a, b)
    errors = (values.double() - expected).abs() / expected.clamp_min(relative_above)
    assert errors.isfinite().all()
    worst = errors.topk(3).indices
    angles = exact_angles(exact, a[worst], b[worst])
    sizes = np.maximum(np.array(angles, dtype=float), relative_above)
    measured = absolute_errors(values[worst], angles) / sizes
    assert measured.max() == pytest.approx(errors.max().item(), abs=1e-9)
    return measured.max()


def absolute_errors(result: torch.Tensor, exact: list[mpmath.mpf]) -> np.ndarray:
    with mpmath.workdps(50):
        pairs = zip(result.tolist(), exact, strict=True)
        return np.array([float(abs(value - angle)) for value, angle in pairs])


def riemannian_norm(rotation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Norm of the derivative along ``rotation @ exp([w]x)`` at w = 0, in float64."""
    local = rotation.detach().double().mT @ gradient.double()
    skew = local - local.mT
    return torch.stack((skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]), dim=-1).norm(dim=-1)


EVERY_ANGLE = pytest.mark.parametrize(
    ("distance", "inputs", "exact"),
    [
        (geodesic_distance, matrices, exact_matrix_angle),
        (exact_geodesic_distance, matrices, exact_matrix_angle),
        (quaternion_geodesic_distance, quaternions, exact_quaternion_angle),
    ],
    ids=["matrix", "matrix_exact_at_pi", "quaternion"],
)


@pytest.mark.parametrize(("dtype", "angles", "bound"), PRECISIONS, ids=["float32", "float64"])
@EVERY_ANGLE
def test_t1_relative_error(distance, inputs, exact, dtype, angles, bound):
    for angle in angles:
        a, b, expected = exact_sample(inputs, exact, dtype, angle)
        relative = absolute_errors(distance(a, b), expected) / np.array(expected, dtype=float)
        assert relative.max() <= bound, f"angle {angle}"


@pytest.mark.parametrize("angle", ANGLES)
def test_t1_relative_error_of_the_worst_of_many_pairs(angle):
    for distance, inputs, exact in (
        (geodesic_distance, matrices, exact_matrix_angle),
        (quaternion_geodesic_distance, quaternions, exact_quaternion_angle),
    ):
        a, b = (x.detach() for x in inputs(rotation_pairs(angle, 60_000), torch.float32))
        assert worst_pairs(distance, inputs, exact, a, b, relative_above=0.0) <= 3e-7


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_t1_exactly_zero_for_the_same_rotation(dtype):
    a, _ = matrices(rotation_pairs(1.0, 2000), dtype)
    q, _ = quaternions(rotation_pairs(1.0, 2000), dtype, lengths=(0.5, 10.0))
    for angle, inputs in (
        (geodesic_distance(a, a.clone()), a),
        (exact_geodesic_distance(a, a.clone()), a),
        (quaternion_geodesic_distance(q, q.clone()), q),
        (quaternion_geodesic_distance(q, -q), q),
    ):
        (gradient,) = torch.autograd.grad(angle.sum(), inputs)
        assert (angle == 0).all()
        assert (gradient == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", ANGLES)
def test_t2_t4_gradients(dtype, angle):
    """Finite everywhere, of Riemannian norm 1, and bounded in the ambient space."""
    rounding = 1.0 + 8 * torch.finfo(dtype).eps  # of the gradient itself and of measuring it
    pair = rotation_pairs(angle, 2000)
    inputs = matrices(pair, dtype)
    gradients = torch.autograd.grad(geodesic_distance(*inputs).sum(), inputs)
    for rotation, gradient in zip(inputs, gradients, strict=True):
        assert torch.isfinite(gradient).all()
        assert gradient.flatten(1).norm(dim=1).max() <= 1.0 * rounding
        if angle in RIEMANNIAN_ANGLES:
            assert (riemannian_norm(rotation, gradient) - 1.0).abs().max() <= 1e-5

    for lengths in ((1.0, 1.0), (0.5, 10.0)):
        inputs = quaternions(pair, dtype, lengths)
        gradients = torch.autograd.grad(quaternion_geodesic_distance(*inputs).sum(), inputs)
        for quaternion, gradient in zip(inputs, gradients, strict=True):
            assert torch.isfinite(gradient).all()
            # d angle / d (turn) = 1 means |gradient| = 2 / |q|: T2 and T4 in one.
            norm = gradient.double().norm(dim=1) * quaternion.detach().double().norm(dim=1) / 2.0
            assert norm.max() <= 1.0 * rounding
            assert (norm - 1.0).abs().max() <= 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_t2_gradients_are_finite_at_special_inputs(dtype):
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=dtype)] * 3)
    special = torch.diag_embed(torch.cat((signs, torch.zeros(1, 3, dtype=dtype))))
    units = torch.cat((torch.eye(4, dtype=dtype), -torch.eye(4, dtype=dtype)))
    special_quaternions = torch.cat((units, torch.zeros(1, 4, dtype=dtype), 3 * units))
    for distance, table in (
        (geodesic_distance, special),
        (exact_geodesic_distance, special),
        (chordal_distance, special),
        (quaternion_geodesic_distance, special_quaternions),
        (quaternion_distance, special_quaternions),
    ):
        a = table.unsqueeze(1).clone().requires_grad_()
        b = table.unsqueeze(0).clone().requires_grad_()
        angle = distance(a, b)
        assert torch.isfinite(angle).all()
        assert all(torch.isfinite(g).all() for g in torch.autograd.grad(angle.sum(), (a, b)))


def test_t2_forward_mode_is_finite_at_the_zero_quaternion():
    """Reverse-mode atan2 guards 0/0 in recent torch; forward mode does not."""
    zero, identity = torch.zeros(4), torch.tensor([1.0, 0.0, 0.0, 0.0])
    for pair in ((zero, zero), (zero, identity), (identity, zero)):
        _, slope = torch.func.jvp(quaternion_geodesic_distance, pair, (torch.ones(4),) * 2)
        assert torch.isfinite(slope)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [3.0, math.pi - 1e-3, math.pi - 1e-6, math.pi])
def test_t3_exact_at_pi_has_a_unit_gradient_up_to_pi(dtype, angle):
    inputs = matrices(rotation_pairs(angle, 2000), dtype)
    gradients = torch.autograd.grad(exact_geodesic_distance(*inputs).sum(), inputs)
    for rotation, gradient in zip(inputs, gradients, strict=True):
        assert (riemannian_norm(rotation, gradient) - 1.0).abs().max() <= 1e-5
        assert gradient.flatten(1).norm(dim=1).max() <= 1.0 + 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_t3_at_pi_the_gradient_is_along_the_axis(dtype):
    """About x, y, z and between them, where entries of the axis vanish."""
    axes = torch.cat((torch.eye(3), 1.0 - torch.eye(3), torch.tensor([[1.0, -1.0, 0.5]])))
    axes = torch.nn.functional.normalize(axes.to(dtype), dim=-1)
    half_turn = 2.0 * axes.unsqueeze(-1) * axes.unsqueeze(-2) - torch.eye(3, dtype=dtype)
    half_turn.requires_grad_()
    angle = exact_geodesic_distance(torch.eye(3, dtype=dtype), half_turn)
    (gradient,) = torch.autograd.grad(angle.sum(), half_turn)
    skew = (half_turn.detach().mT @ gradient) - (half_turn.detach().mT @ gradient).mT
    slope = torch.stack((skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]), dim=-1)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    assert (angle - math.pi).abs().max() <= tolerance
    assert ((slope * axes).sum(dim=-1).abs() - 1.0).abs().max() <= tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [a for a in ANGLES if a <= math.pi / 2])
def test_t3_exact_at_pi_changes_nothing_away_from_pi(dtype, angle):
    inputs = matrices(rotation_pairs(angle, 200), dtype)
    values, slopes = [], []
    for distance in (geodesic_distance, exact_geodesic_distance):
        values.append(distance(*inputs))
        slopes.append(torch.autograd.grad(values[-1].sum(), inputs))
    assert torch.equal(*values)
    for ordinary, exact in zip(*slopes, strict=True):
        assert (ordinary - exact).abs().max() <= 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("angle", ANGLES)
def test_t5_autocast_leaves_the_precision_alone(angle):
    for distance, inputs, exact in (
        (geodesic_distance, matrices, exact_matrix_angle),
        (quaternion_geodesic_distance, quaternions, exact_quaternion_angle),
    ):
        a, b, expected = exact_sample(inputs, exact, torch.float32, angle)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = distance(a, b)
        assert result.dtype == torch.float32
        relative = absolute_errors(result, expected) / np.array(expected, dtype=float)
        assert relative.max() <= 3e-7


@pytest.mark.parametrize("angle", [*ANGLES, 0.75, 1.3, 1.8, 2.1])
@pytest.mark.parametrize("lengths", [(0.5, 10.0), (0.9, 1.1), (1e-6, 1e9)])
def test_t6_raw_quaternions_to_3e_7_rad_up_to_1_rad_and_relative_above(angle, lengths):
    """Up to 1 rad the error is absolute: of unequal lengths no difference is free of rounding.

    Above 1 rad 3e-7 rad cannot be had: from 2 rad on float32 has steps of 2.4e-7 rad, of which the
    last rounding and atan2 take half a step and up to one. At worst 4.1e-7 rad have been seen.
    """
    pair = (x.detach() for x in quaternions(rotation_pairs(angle, 60_000), torch.float32, lengths))
    distance, exact = quaternion_geodesic_distance, exact_quaternion_angle
    assert worst_pairs(distance, quaternions, exact, *pair, relative_above=1.0) <= 3e-7


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-21, 1e-19, 1e-6, 1.0, 1e9])
def test_raw_quaternions_of_any_length_have_finite_gradients(length):
    for other in (1e-6, 1.0, 1e9):
        for angle in (1e-6, 0.5, math.pi):
            pair = quaternions(rotation_pairs(angle, 50), torch.float32)
            short, long = (q.detach() * x for q, x in zip(pair, (length, other), strict=True))
            for inputs in ((short, long), (long, short)):
                inputs = [q.requires_grad_() for q in inputs]
                distances = [quaternion_geodesic_distance]
                if length == 0.0 or length >= 1e-6:
                    distances.append(torch.vmap(quaternion_geodesic_distance))
                for distance in distances:
                    result = distance(*inputs)
                    gradients = torch.autograd.grad(result.sum(), inputs)
                    assert all(x.isfinite().all() for x in (result, *gradients))
                    if length < 1e-19:
                        assert (result == 0.0).all()


EVERY_DISTANCE = pytest.mark.parametrize(
    ("distance", "inputs"),
    [
        (geodesic_distance, matrices),
        (exact_geodesic_distance, matrices),
        (quaternion_geodesic_distance, quaternions),
        (chordal_distance, matrices),
        (quaternion_distance, quaternions),
    ],
    ids=["matrix", "matrix_exact_at_pi", "quaternion", "chordal", "quaternion_l2"],
)


@EVERY_DISTANCE
@pytest.mark.parametrize("angle", [1.0, 3.0])
def test_t14_derivatives_of_both_orders_and_modes(distance, inputs, angle):
    a, b = inputs(rotation_pairs(angle, 2), torch.float64)
    assert torch.autograd.gradcheck(
        distance, (a, b), check_forward_ad=True, check_batched_grad=True
    )
    # Near pi exact_at_pi is made for rotations: what it says of other matrices is not compared.
    only_rotations = distance is exact_geodesic_distance and angle == 3.0
    assert torch.autograd.gradgradcheck(distance, (a, b), check_fwd_over_rev=not only_rotations)
    assert torch.autograd.gradcheck(distance, (a.unsqueeze(1), b.unsqueeze(0)), fast_mode=True)


@pytest.mark.parametrize("angle", [1.0, 3.0])
def test_t14_exact_at_pi_second_derivatives_along_rotations(angle):
    a, b = (tensor.detach() for tensor in matrices(rotation_pairs(angle, 2), torch.float64))

    def turned(*turns):
        angles = (roma.rotvec_to_rotmat(turn) for turn in turns)
        return exact_geodesic_distance(*(r @ t for r, t in zip((a, b), angles, strict=True)))

    turns = [torch.full((2, 3), x, dtype=torch.float64, requires_grad=True) for x in (0.01, -0.02)]
    assert torch.autograd.gradcheck(turned, turns, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(turned, turns, check_fwd_over_rev=True)


@EVERY_DISTANCE
def test_t14_hessians_agree_whatever_they_are_made_of(distance, inputs):
    """A closed-form gradient that hides how it depends on the inputs makes some of them wrong."""
    a, b = (tensor.detach()[0] for tensor in inputs(rotation_pairs(1.0, 1), torch.float64))
    function = functools.partial(distance, b)
    hessian = torch.autograd.functional.hessian(function, a)
    for outer in (torch.func.jacfwd, torch.func.jacrev):
        for inner in (torch.func.jacfwd, torch.func.jacrev):
            torch.testing.assert_close(outer(inner(function))(a), hessian, rtol=0.0, atol=1e-13)
    leaf, tangent = a.clone().requires_grad_(), torch.randn_like(a)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(leaf, tangent)
        (gradient,) = torch.autograd.grad(function(dual), dual)
        product = torch.autograd.forward_ad.unpack_dual(gradient).tangent
    expected = torch.tensordot(hessian, tangent, tangent.dim())
    torch.testing.assert_close(product, expected, rtol=0.0, atol=1e-13)


@EVERY_DISTANCE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lengths", [(1.0, 1.0), (0.5, 10.0)])
def test_t14_vmap_makes_the_same_gradients_at_every_angle(distance, inputs, dtype, lengths):
    lengths = () if inputs is matrices else (lengths,)
    for angle in RIEMANNIAN_ANGLES:
        a, b = inputs(rotation_pairs(angle, 100), dtype, *lengths)
        value = distance(a, b)
        gradients = torch.autograd.grad(value.sum(), (a, b))
        mapped = torch.vmap(torch.func.grad(distance, argnums=(0, 1)))(a, b)
        for tensor, gradient, same in zip((a, b), gradients, mapped, strict=True):
            size = tensor.detach().flatten(1).norm(dim=1, keepdim=True)  # a slope is per length
            error = ((gradient - same).flatten(1) * size).abs().max()
            # Lengths that differ leave a rounding error in the direction of a small angle.
            rounding = torch.finfo(dtype).eps * (64 + 16 * bool(lengths) / angle)
            assert error <= rounding, f"angle {angle}"
        torch.testing.assert_close(torch.vmap(distance)(a, b), value)
        (through,) = torch.autograd.grad(torch.vmap(distance)(a, b).sum(), a)
        torch.testing.assert_close(through, mapped[0])


def test_t14_transformed_gradients_keep_t2():
    """vmap and compilers differentiate the formula itself: it has to be as good."""
    for lengths in ((1.0, 1.0), (0.5, 10.0)):
        for angle in ANGLES:
            a, b = quaternions(rotation_pairs(angle, 500), torch.float32, lengths)
            slopes = torch.func.grad(
                lambda a, b: quaternion_geodesic_distance(a, b).sum(), argnums=(0, 1)
            )(a.detach(), b.detach())
            for quaternion, slope in zip((a, b), slopes, strict=True):
                norm = slope.double().norm(dim=1) * quaternion.detach().double().norm(dim=1) / 2.0
                assert (norm - 1.0).abs().max() <= 1e-5


def compiled_gradients_match(distance, inputs, backend: str) -> None:
    a, b = inputs(rotation_pairs(1.0, 5), torch.float32)
    with torch.no_grad():
        b[0] = a[0]
        if inputs is quaternions:
            b[1] = 0.0
    torch.compiler.reset()
    compiled = torch.compile(distance, fullgraph=True, backend=backend)
    for pair in ((a, b), (a.unsqueeze(1), b)):
        value, expected = compiled(*pair), distance(*pair)
        torch.testing.assert_close(value, expected)
        found, right = (torch.autograd.grad(v.sum(), (a, b)) for v in (value, expected))
        torch.testing.assert_close(found, right)


@EVERY_DISTANCE
def test_t14_compiles_in_one_graph(distance, inputs):
    compiled_gradients_match(distance, inputs, "aot_eager")


@pytest.mark.slow
@EVERY_DISTANCE
def test_t14_compiles_to_machine_code(distance, inputs):
    compiled_gradients_match(distance, inputs, "inductor")


@EVERY_DISTANCE
def test_t14_gradients_of_one_argument_alone(distance, inputs):
    a, b = inputs(rotation_pairs(1.0, 6), torch.float64)
    both = torch.autograd.grad(distance(a, b).sum(), (a, b))
    for position in (0, 1):
        pair = [tensor.detach() for tensor in (a, b)]
        pair[position].requires_grad_()
        (alone,) = torch.autograd.grad(distance(*pair).sum(), pair[position])
        assert torch.equal(alone, both[position])
    with torch.no_grad():
        assert not distance(a, b).requires_grad


@EVERY_DISTANCE
def test_t14_batch_shapes(distance, inputs):
    a, b = inputs(rotation_pairs(1.0, 6), torch.float32)
    row = distance(a, b)
    assert distance(a[0], b[0]).shape == ()
    assert distance(a[:0], b[:0]).shape == (0,)
    (gradient,) = torch.autograd.grad(distance(a[:0], b[:0]).sum(), a)
    assert (gradient == 0).all()
    deep = distance(a.unflatten(0, (2, 1, 3)), b.unflatten(0, (2, 1, 3)))
    assert torch.equal(deep, row.unflatten(0, (2, 1, 3)))
    table = distance(a.unsqueeze(1), b)
    assert table.shape == (6, 6)
    torch.testing.assert_close(table.diagonal(), row)
    (summed,) = torch.autograd.grad(table.sum(), b)
    each = [torch.autograd.grad(distance(x, b).sum(), b)[0] for x in a]
    torch.testing.assert_close(summed, torch.stack(each).sum(dim=0))
    strided = a.detach().transpose(0, -1).contiguous().transpose(0, -1)
    torch.testing.assert_close(distance(strided, b), row)


@EVERY_DISTANCE
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(distance, inputs, dtype):
    a, b = (
        tensor.detach().to(dtype).requires_grad_()
        for tensor in inputs(rotation_pairs(1.0, 9), dtype)
    )
    result = distance(a, b)
    assert result.dtype == torch.float32
    assert torch.equal(result, distance(a.float(), b.float()))
    gradient, expected = (
        torch.autograd.grad(result.sum(), a),
        torch.autograd.grad(distance(a.float(), b).sum(), a),
    )
    assert gradient[0].dtype == dtype
    torch.testing.assert_close(gradient, expected)
    assert distance(a, b.double()).dtype == torch.float64


@pytest.mark.parametrize(("dtype", "angles", "bound"), PRECISIONS, ids=["float32", "float64"])
def test_chordal_distance_is_the_frobenius_norm(dtype, angles, bound):
    for angle in angles:
        a, b = (x.detach() for x in matrices(rotation_pairs(angle, 24), dtype))
        with mpmath.workdps(50):
            exact = [
                mpmath.norm([mpmath.mpf(x) - mpmath.mpf(y) for x, y in zip(p, q, strict=True)])
                for p, q in zip(a.flatten(1).tolist(), b.flatten(1).tolist(), strict=True)
            ]
        relative = absolute_errors(chordal_distance(a, b), exact) / np.array(exact, dtype=float)
        assert relative.max() <= bound
    a, b = matrices(rotation_pairs(1.0, 24), torch.float64)
    expected = torch.full((24,), 2.0 * math.sqrt(2.0) * math.sin(0.5), dtype=torch.float64)
    torch.testing.assert_close(chordal_distance(a, b), expected, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize(("dtype", "angles", "bound"), PRECISIONS, ids=["float32", "float64"])
def test_quaternion_distance_is_that_of_the_nearer_unit_quaternions(dtype, angles, bound):
    for angle in angles:
        a, b, exact = exact_sample(quaternions, exact_quaternion_angle, dtype, angle)
        with mpmath.workdps(50):
            exact = [2 * mpmath.sin(x / 4) for x in exact]
        relative = absolute_errors(quaternion_distance(a, b), exact) / np.array(exact, dtype=float)
        assert relative.max() <= bound
    p, q = (x.detach() for x in quaternions(rotation_pairs(2.0, 50), torch.float64, (0.5, 10.0)))
    p_unit, q_unit = (x / x.norm(dim=1, keepdim=True) for x in (p, q))
    nearer = torch.minimum((p_unit - q_unit).norm(dim=1), (p_unit + q_unit).norm(dim=1))
    torch.testing.assert_close(quaternion_distance(p, q), nearer, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chordal_and_quaternion_distance_rest_at_equality(dtype):
    a, _ = matrices(rotation_pairs(1.0, 100), dtype)
    q, _ = quaternions(rotation_pairs(1.0, 100), dtype, (0.5, 10.0))
    for value, inputs in (
        (chordal_distance(a, a.detach()), a),
        (quaternion_distance(q, q.detach()), q),
        (quaternion_distance(q, -q.detach()), q),
    ):
        (gradient,) = torch.autograd.grad(value.sum(), inputs)
        assert (value == 0).all()
        assert (gradient == 0).all()


@pytest.mark.parametrize(
    ("distance", "shape", "expected"),
    [
        (geodesic_distance, (5, 3, 4), "(..., 3, 3)"),
        (geodesic_distance, (3,), "(..., 3, 3)"),
        (chordal_distance, (5, 3, 4), "(..., 3, 3)"),
        (quaternion_distance, (5, 3), "(..., 4)"),
        (quaternion_geodesic_distance, (5, 3), "(..., 4)"),
        (quaternion_geodesic_distance, (), "(..., 4)"),
    ],
)
def test_wrong_shapes_are_named(distance, shape, expected):
    right = torch.zeros(4) if expected == "(..., 4)" else torch.zeros(3, 3)
    for arguments in ((torch.zeros(shape), right), (right, torch.zeros(shape))):
        with pytest.raises(ValueError, match=re.escape(f"expected shape {expected}, got {shape}")):
            distance(*arguments)


@EVERY_DISTANCE
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_what_is_not_floating_point_is_named(distance, inputs, dtype):
    a, b = inputs(rotation_pairs(1.0, 3), torch.float32)
    name = "rotation" if inputs is matrices else "quaternion"
    message = f"expected floating point, got {str(dtype).removeprefix('torch.')}"
    with pytest.raises(TypeError, match=f"^{name}_a: {message}"):
        distance(a.detach().to(dtype), b)
    with pytest.raises(TypeError, match=f"^{name}_b: {message}"):
        distance(a, b.detach().to(dtype))


@EVERY_DISTANCE
def test_batch_shapes_that_do_not_broadcast_are_named(distance, inputs):
    a, b = inputs(rotation_pairs(1.0, 3), torch.float32)
    shapes = f"got {tuple(a[:2].shape)} and {tuple(b.shape)}"
    with pytest.raises(ValueError, match=re.escape(f"expected shapes that broadcast, {shapes}")):
        distance(a[:2], b)
