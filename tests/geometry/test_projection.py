"""The projection that exported networks use agrees with RoMa's, as far as matrices tell."""

import pytest
import roma
import torch

from posenet.geometry import geodesic_distance, rotation_from_9d
from posenet.geometry.projection import nearest_rotation


def matrices(gap, count=2000, seed=0):
    """Matrices (N, 3, 3), float64, whose rotation is told by ``gap`` of their length 1.2."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(2, count, 4, generator=generator, dtype=torch.float64)
    left, right = roma.unitquat_to_rotmat(torch.nn.functional.normalize(q, dim=-1))
    return (left * torch.tensor([1.0, 0.5, gap - 0.5], dtype=torch.float64)) @ right.mT


@pytest.mark.parametrize("gap", [1.0, 0.1, 1e-3, 1e-5])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_it_errs_by_what_rounding_of_the_matrix_costs_at_most(gap, scale):
    exact = roma.special_procrustes(matrices(gap))
    error = geodesic_distance(nearest_rotation(scale * matrices(gap)), exact).max()
    # An error e of the matrix turns the rotation by e / gap; RoMa and the products err likewise.
    assert error < 16 * torch.finfo(torch.float64).eps / gap


def test_float32_matrices_have_the_rotations_of_roma():
    for gap in (1.0, 1e-2, 1e-4):
        matrix = matrices(gap).float()
        torch.testing.assert_close(
            nearest_rotation(matrix), roma.special_procrustes(matrix), rtol=0, atol=2e-7
        )


def test_without_an_answer_it_is_a_rotation_all_the_same():
    hard = torch.stack(
        (
            torch.zeros(3, 3),
            -torch.eye(3),
            torch.diag(torch.tensor([1.0, 1.0, -1.0])),
            torch.diag(torch.tensor([1.0, 0.0, 0.0])),
            torch.full((3, 3), 1e-30),
            torch.full((3, 3), 1e30),
        )
    )
    rotation = nearest_rotation(hard)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand_as(rotation))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(len(hard)))
    # A rotation is nearest if no other is nearer: tr(R^T M) is the sum of signed singular values.
    values = torch.linalg.svdvals(hard[:4])
    signed = values.sum(-1) - 2 * values[:, 2] * (torch.linalg.det(hard[:4]) < 0)
    torch.testing.assert_close((rotation[:4] * hard[:4]).sum(dim=(-2, -1)), signed)


def test_an_exported_projection_needs_no_solver_and_takes_any_batch():
    class Projection(torch.nn.Module):
        def forward(self, vector):
            return rotation_from_9d(vector)

    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(
        Projection(), (torch.randn(2, 9),), dynamic_shapes=({0: batch},), strict=False
    )
    names = {str(node.target) for node in program.graph.nodes}
    assert not {name for name in names if "solve" in name or "eig" in name or "svd" in name}
    vector = torch.randn(7, 9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(program.module()(vector), rotation_from_9d(vector))
