"""Targets T1, T2, T4, T5 and T6 of the geodesic distances, against 50-digit arithmetic."""

import math
import re

import mpmath
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from posenet.geometry import geodesic_distance, quaternion_geodesic_distance

ANGLES = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0, math.pi / 2, 3.0, math.pi - 1e-4, math.pi]
PRECISIONS = [(torch.float32, ANGLES, 3e-7), (torch.float64, [1e-8, 1e-7, *ANGLES], 1e-15)]
RIEMANNIAN_ANGLES = ANGLES[:-1]  # at pi itself the matrix distance has a ridge, and gradient 0


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
        for _ in range(4):  # Newton-Schulz squares the distance to SO(3): 1e-7 -> below 1e-50
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


def absolute_errors(result: torch.Tensor, exact: list[mpmath.mpf]) -> np.ndarray:
    with mpmath.workdps(50):
        pairs = zip(result.tolist(), exact, strict=True)
        return np.array([float(abs(value - angle)) for value, angle in pairs])


def riemannian_norm(rotation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Norm of the derivative along ``rotation @ exp([w]x)`` at w = 0, in float64."""
    local = rotation.detach().double().mT @ gradient.double()
    skew = local - local.mT
    return torch.stack((skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]), dim=-1).norm(dim=-1)


@pytest.mark.parametrize(("dtype", "angles", "bound"), PRECISIONS, ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("distance", "inputs", "exact"),
    [
        (geodesic_distance, matrices, exact_matrix_angle),
        (quaternion_geodesic_distance, quaternions, exact_quaternion_angle),
    ],
    ids=["matrix", "quaternion"],
)
def test_t1_relative_error(distance, inputs, exact, dtype, angles, bound):
    for angle in angles:
        a, b = inputs(rotation_pairs(angle, 24), dtype)
        expected = exact_angles(exact, a, b)
        relative = absolute_errors(distance(a, b), expected) / np.array(expected, dtype=float)
        assert relative.max() <= bound, f"angle {angle}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_t1_exactly_zero_for_the_same_rotation(dtype):
    a, _ = matrices(rotation_pairs(1.0, 2000), dtype)
    q, _ = quaternions(rotation_pairs(1.0, 2000), dtype, lengths=(0.5, 10.0))
    for angle, inputs in (
        (geodesic_distance(a, a.clone()), a),
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
        (quaternion_geodesic_distance, special_quaternions),
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


@pytest.mark.parametrize("angle", ANGLES)
def test_t5_autocast_leaves_the_precision_alone(angle):
    pair = rotation_pairs(angle, 24)
    for distance, inputs, exact in (
        (geodesic_distance, matrices, exact_matrix_angle),
        (quaternion_geodesic_distance, quaternions, exact_quaternion_angle),
    ):
        a, b = inputs(pair, torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = distance(a, b)
        expected = exact_angles(exact, a, b)
        assert result.dtype == torch.float32
        relative = absolute_errors(result, expected) / np.array(expected, dtype=float)
        assert relative.max() <= 3e-7


@pytest.mark.parametrize("angle", ANGLES)
def test_t6_raw_quaternions(angle):
    """Lengths from 0.5 to 10: rounding them moves small angles, so the error is absolute there."""
    a, b = quaternions(rotation_pairs(angle, 100), torch.float32, lengths=(0.5, 10.0))
    expected = exact_angles(exact_quaternion_angle, a, b)
    error = absolute_errors(quaternion_geodesic_distance(a, b), expected)
    assert (error / np.maximum(1.0, np.array(expected, dtype=float))).max() <= 3e-7


@pytest.mark.parametrize(
    ("distance", "inputs"),
    [(geodesic_distance, matrices), (quaternion_geodesic_distance, quaternions)],
)
def test_differentiable_twice_and_broadcasting(distance, inputs):
    a, b = inputs(rotation_pairs(1.0, 3), torch.float64)
    assert torch.autograd.gradcheck(distance, (a, b))
    assert torch.autograd.gradgradcheck(distance, (a, b))
    table = distance(a.unsqueeze(1), b.unsqueeze(0))
    assert table.shape == (3, 3)
    torch.testing.assert_close(table.diagonal(), distance(a, b))
    torch.testing.assert_close(torch.vmap(distance)(a, b), distance(a, b))
    assert distance(a[0], b[0]).shape == ()
    assert distance(a[:0], b[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("distance", "shape", "expected"),
    [
        (geodesic_distance, (5, 3, 4), "(..., 3, 3)"),
        (geodesic_distance, (3,), "(..., 3, 3)"),
        (quaternion_geodesic_distance, (5, 3), "(..., 4)"),
        (quaternion_geodesic_distance, (), "(..., 4)"),
    ],
)
def test_wrong_shapes_are_named(distance, shape, expected):
    right = torch.zeros(3, 3) if distance is geodesic_distance else torch.zeros(4)
    for arguments in ((torch.zeros(shape), right), (right, torch.zeros(shape))):
        with pytest.raises(ValueError, match=re.escape(f"expected shape {expected}, got {shape}")):
            distance(*arguments)
