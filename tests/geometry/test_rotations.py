"""Every row of REPRESENTATIONS against scipy, target T7, and the mean rotation."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from posenet.geometry import (
    REPRESENTATIONS,
    canonical_quaternion,
    mean_rotation,
    normalise_quaternion,
    project_to_rotation,
    rotation_from_6d,
    rotation_from_9d,
    rotation_from_quaternion,
    rotation_to_quaternion,
)

# The same numbers read by scipy; a new representation needs a line here.
SCIPY = {
    "quaternion": lambda v: Rotation.from_quat(np.roll(v, -1, axis=-1)).as_matrix(),
    "6d": lambda v: np.stack(
        [Rotation.align_vectors(np.eye(3)[:2], row.reshape(2, 3))[0].as_matrix().T for row in v]
    ),
    "9d": lambda v: Rotation.from_matrix(v.reshape(-1, 3, 3)).as_matrix(),
    "rotvec": lambda v: Rotation.from_rotvec(v).as_matrix(),
}
EXTREMES = [0.0, 1.0, -1.0, 1e-25, 1e20, -1e20, 1e-40, -1.4e-45, 3.4028234e38, -3.4028234e38, 1e-7]
ALL_REPRESENTATIONS = pytest.mark.parametrize("name", REPRESENTATIONS)
pytestmark = pytest.mark.losses


def random_rotations(count: int, seed: int = 0) -> torch.Tensor:
    """Random rotations, with the identity, half turns and tiny turns first; float64."""
    special = Rotation.from_rotvec(
        [[0, 0, 0], [np.pi, 0, 0], [0, np.pi, 0], [0, 0, np.pi], [1e-9, 0, 0], [0, 1e-4, 0]]
    )
    rotations = Rotation.random(count, np.random.default_rng(seed))
    return torch.tensor(Rotation.concatenate([special, rotations]).as_matrix())


def assert_rotation(matrix: torch.Tensor, bound: float) -> None:
    """|RtR - I| (Frobenius) and |det - 1| within the bound, measured in float64."""
    matrix = matrix.detach().double()
    residual = (matrix.mT @ matrix - torch.eye(3, dtype=torch.float64)).flatten(-2).norm(dim=-1)
    assert residual.max() <= bound
    assert (torch.linalg.det(matrix) - 1.0).abs().max() <= bound


@ALL_REPRESENTATIONS
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_round_trip(name, dtype, bound):
    representation = REPRESENTATIONS[name]
    rotation = random_rotations(500).to(dtype)
    vector = representation.from_rotation(rotation)
    assert vector.shape == (len(rotation), representation.size)
    assert vector.dtype == dtype
    assert (representation.to_rotation(vector) - rotation).abs().max() <= bound


@ALL_REPRESENTATIONS
def test_agrees_with_scipy(name):
    representation = REPRESENTATIONS[name]
    rotation = random_rotations(50)
    vector = representation.from_rotation(rotation)
    np.testing.assert_allclose(SCIPY[name](vector.numpy()), rotation, atol=1e-13)


@ALL_REPRESENTATIONS
@pytest.mark.parametrize("batch", [(), (0,), (1,), (2, 0, 3), (2, 3, 4)])
def test_any_batch_shape(name, batch):
    representation = REPRESENTATIONS[name]
    vector = torch.randn(*batch, representation.size, generator=torch.manual_seed(0))
    rotation = representation.to_rotation(vector)
    assert rotation.shape == (*batch, 3, 3)
    assert representation.from_rotation(rotation).shape == vector.shape
    flat = representation.to_rotation(vector.reshape(-1, representation.size))
    torch.testing.assert_close(rotation.reshape(-1, 3, 3), flat)


@ALL_REPRESENTATIONS
def test_gradcheck(name):
    representation = REPRESENTATIONS[name]
    vector = torch.randn(4, representation.size, generator=torch.manual_seed(0)).double()
    assert torch.autograd.gradcheck(representation.to_rotation, vector.requires_grad_())


@ALL_REPRESENTATIONS
def test_wrong_shape_is_named(name):
    representation = REPRESENTATIONS[name]
    for shape in ((7, representation.size + 1), ()):
        expected = f"expected shape (..., {representation.size}), got {shape}"
        with pytest.raises(ValueError, match=re.escape(expected)):
            representation.to_rotation(torch.zeros(shape))


def check_any_finite_vector(name: str, vector: torch.Tensor, bound: float) -> None:
    vector.requires_grad_()
    rotation = REPRESENTATIONS[name].to_rotation(vector)
    assert_rotation(rotation, bound)
    weight = torch.linspace(-1.0, 1.3, 9).reshape(3, 3)
    (gradient,) = torch.autograd.grad((rotation * weight).sum(), vector)
    assert torch.isfinite(gradient).all()


# T7 asks 1e-6 of 6D; the others go through a float32 quaternion, 2e-6 (9D in float64: 1e-6).
BOUNDS = {"quaternion": 2e-6, "6d": 1e-6, "9d": 1e-6, "rotvec": 2e-6}


@ALL_REPRESENTATIONS
def test_t7_every_mixture_of_extremes(name):
    generator = np.random.default_rng(0)
    size = REPRESENTATIONS[name].size
    drawn = generator.choice(EXTREMES, size=(20_000, size))
    any_bits = generator.integers(0, 2**32, (20_000, size), dtype=np.uint32).view(np.float32)
    usual = generator.normal(size=(20_000, size))
    for values in (drawn, any_bits[np.isfinite(any_bits).all(axis=1)], usual, np.zeros((1, size))):
        vector = torch.tensor(values, dtype=torch.float32)
        assert torch.isfinite(vector).all()
        check_any_finite_vector(name, vector, BOUNDS[name])


def test_t7_collinear_and_nearly_collinear():
    generator = np.random.default_rng(0)
    first = generator.normal(size=(20_000, 3))
    scale = 10.0 ** generator.uniform(-30, 30, size=(20_000, 1)) * generator.choice([-1, 1])
    off = generator.normal(size=(20_000, 3)) * 10.0 ** generator.uniform(-9, -3, (20_000, 1))
    for second in (first * scale, first + off, first, -first, 0 * first):
        vector = torch.tensor(np.concatenate((first, second), axis=1), dtype=torch.float32)
        check_any_finite_vector("6d", vector, 1e-6)
        check_any_finite_vector("6d", vector.detach().roll(3, dims=1), 1e-6)


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=300, deadline=None)
@given(st.lists(FINITE | st.sampled_from(EXTREMES), min_size=6, max_size=6))
@example([0.0] * 6)
@example([1e-25] * 6)
@example([1e20, 0.0, 0.0, -1e20, 0.0, 0.0])
@example([1e-40, 0.0, 0.0, 0.0, 1e-40, 0.0])
@example([3.4e38, 3.4e38, 3.4e38, 3.4e38, 3.4e38, -3.4e38])
def test_t7_every_finite_float32(values):
    check_any_finite_vector("6d", torch.tensor([values], dtype=torch.float32), 1e-6)


def test_6d_keeps_the_first_direction():
    """Gram-Schmidt: column 0 along the first vector, column 1 in the plane of both."""
    vector = torch.randn(100, 6, generator=torch.manual_seed(0)).double()
    rotation, (first, second) = rotation_from_6d(vector), vector.unflatten(-1, (2, 3)).unbind(-2)
    torch.testing.assert_close(rotation[..., 0], first / first.norm(dim=-1, keepdim=True))
    assert ((rotation[..., 1] * second).sum(dim=-1) > 0).all()
    assert (rotation[..., 2] * second).sum(dim=-1).abs().max() < 1e-14


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quaternion_signs_and_lengths(dtype):
    quaternion = torch.randn(500, 4, generator=torch.manual_seed(0)).to(dtype)
    rotation = rotation_from_quaternion(quaternion)
    assert torch.equal(rotation_from_quaternion(-quaternion), rotation)
    assert torch.equal(rotation_from_quaternion(8.0 * quaternion), rotation)
    back = rotation_to_quaternion(rotation)
    assert (back[:, 0] >= 0).all()
    expected = canonical_quaternion(normalise_quaternion(quaternion))
    torch.testing.assert_close(back, expected, rtol=0, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("quaternion", "expected"),
    [
        ([-1.0, 2.0, 3.0, 4.0], [1.0, -2.0, -3.0, -4.0]),
        ([0.0, -1.0, 2.0, 0.0], [0.0, 1.0, -2.0, 0.0]),
        ([0.0, 0.0, 0.0, -1.0], [0.0, 0.0, 0.0, 1.0]),
        ([0.5, -1.0, 0.0, 0.0], [0.5, -1.0, 0.0, 0.0]),
        ([0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_canonical_quaternion(quaternion, expected):
    assert torch.equal(canonical_quaternion(torch.tensor(quaternion)), torch.tensor(expected))


def test_9d_is_the_nearest_rotation_and_never_a_reflection():
    matrix = torch.randn(200, 3, 3, generator=torch.manual_seed(0)).double()
    assert (torch.linalg.det(matrix) < 0).any()
    u, _, vt = np.linalg.svd(matrix.numpy())
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
    nearest = torch.tensor(u @ vt)
    torch.testing.assert_close(rotation_from_9d(matrix.flatten(-2)), nearest, rtol=0, atol=1e-10)
    torch.testing.assert_close(project_to_rotation(matrix), nearest, rtol=0, atol=1e-10)
    reflections = torch.tensor([-1.0, -1.0, -1.0]).diag(), torch.tensor([1.0, 1.0, -1.0]).diag()
    assert_rotation(project_to_rotation(torch.stack(reflections)), 1e-6)


def test_9d_gradients_at_exact_rotations():
    """Where the three singular values are equal and the gradient of the SVD itself is NaN."""
    rotation = random_rotations(2000).float().requires_grad_()
    weight = torch.linspace(-1.0, 1.3, 9).reshape(3, 3)
    (gradient,) = torch.autograd.grad((project_to_rotation(rotation) * weight).sum(), rotation)
    assert torch.isfinite(gradient).all()
    assert gradient.flatten(1).norm(dim=1).max() < 10.0


@pytest.mark.parametrize("weighted", [False, True])
def test_mean_rotation_is_scipys(weighted):
    generator = np.random.default_rng(0)
    rotations = Rotation.from_rotvec(generator.normal(scale=0.7, size=(30, 3)))
    weight = generator.uniform(size=30) if weighted else None
    mean = mean_rotation(
        torch.tensor(rotations.as_matrix()), None if weight is None else torch.tensor(weight)
    )
    np.testing.assert_allclose(mean, rotations.mean(weight).as_matrix(), atol=1e-12)


def test_mean_rotation_in_batches():
    rotation = random_rotations(18).reshape(2, 3, 4, 3, 3)
    mean = mean_rotation(rotation)
    assert mean.shape == (2, 3, 3, 3)
    torch.testing.assert_close(mean[1, 2], mean_rotation(rotation[1, 2]))


def test_a_first_prediction_in_inference_mode_does_not_break_training():
    """In a process of its own: what RoMa keeps from its first call must serve autograd too."""
    program = """
import torch
from posenet.geometry import rotation_from_9d
with torch.inference_mode():
    rotation_from_9d(torch.randn(2, 9))
vector = torch.randn(2, 9, requires_grad=True)
rotation_from_9d(vector).sum().backward()
assert vector.grad.isfinite().all()
"""
    subprocess.run([sys.executable, "-c", program], check=True)
