"""Spread rotations, geodesic means, and groups of poses."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from posenet.geometry import (
    Pose,
    cluster_poses,
    geodesic_distance,
    geodesic_mean,
    mean_rotation,
    rotation_from_rotvec,
    rotation_grid,
    squared_pose_distance,
)

INF = math.inf


def random_rotations(count: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(Rotation.random(count, random_state=seed).as_matrix())


def scattered(centers: torch.Tensor, each: int, angle: float, seed: int = 0) -> torch.Tensor:
    """Rotations about each centre, (K * each, 3, 3), at most ``angle`` away."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.randn(len(centers), each, 3, generator=generator, dtype=torch.float64)
    turn = angle * torch.rand(len(centers), each, 1, generator=generator, dtype=torch.float64)
    axis = torch.nn.functional.normalize(axis, dim=-1)
    return (centers.unsqueeze(1) @ rotation_from_rotvec(axis * turn)).flatten(0, 1)


# --- a grid ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 7, 72, 1000])
def test_a_grid_holds_as_many_rotations_as_asked_for(count):
    grid = rotation_grid(count)
    assert grid.shape == (count, 3, 3)
    torch.testing.assert_close(grid @ grid.mT, torch.eye(3).double().expand(count, 3, 3))
    torch.testing.assert_close(torch.linalg.det(grid), torch.ones(count).double())


def test_a_grid_covers_all_rotations_more_evenly_than_chance():
    anywhere = random_rotations(2000).unsqueeze(1)
    gaps = [
        geodesic_distance(anywhere, centers).min(dim=1).values.max()
        for centers in (rotation_grid(500), random_rotations(500, seed=1))
    ]
    assert gaps[0] < 0.75 * gaps[1]
    neighbours = geodesic_distance(rotation_grid(500).unsqueeze(1), rotation_grid(500))
    neighbours += 9.0 * torch.eye(500)
    # 8 pi^2 of volume for 500 balls: the nearest neighbour is about 35 degrees away.
    nearest = torch.rad2deg(neighbours.min(dim=1).values)
    assert nearest.min() > 20.0
    assert nearest.max() < 45.0


def test_a_grid_without_rotations_is_refused():
    with pytest.raises(ValueError, match="count: expected at least 1, got 0"):
        rotation_grid(0)


# --- the geodesic mean -------------------------------------------------------------------------


def test_the_geodesic_mean_has_the_least_sum_of_squared_angles():
    rotations = scattered(random_rotations(1), 20, angle=1.2)
    mean = geodesic_mean(rotations)

    def cost(center: torch.Tensor) -> float:
        return float(geodesic_distance(center, rotations).square().sum())

    for axis in 1e-3 * torch.cat((torch.eye(3), -torch.eye(3))).double():
        assert cost(mean) < cost(mean @ rotation_from_rotvec(axis))
    assert cost(mean) < cost(mean_rotation(rotations))
    torch.testing.assert_close(
        mean, torch.tensor(Rotation.from_matrix(rotations).mean().as_matrix()), atol=0.2, rtol=0.0
    )


def test_the_geodesic_mean_of_two_is_half_way_and_of_one_is_itself():
    first = random_rotations(4)
    turn = torch.tensor([[0.3, -0.8, 1.1]]).double().expand(4, 3)
    pair = torch.stack((first, first @ rotation_from_rotvec(turn)), dim=1)
    torch.testing.assert_close(geodesic_mean(pair), first @ rotation_from_rotvec(turn / 2))
    torch.testing.assert_close(geodesic_mean(first.unsqueeze(1)), first)


def test_the_geodesic_mean_turns_with_the_world():
    rotations, turn = scattered(random_rotations(1), 9, 1.0), random_rotations(1, seed=5)[0]
    torch.testing.assert_close(geodesic_mean(turn @ rotations), turn @ geodesic_mean(rotations))
    assert geodesic_mean(rotations.float()).dtype == torch.float32


# --- groups ------------------------------------------------------------------------------------


def planted(count: int, each: int) -> tuple[Pose, torch.Tensor]:
    """Well-separated groups of poses in random order, and the group of each."""
    generator = torch.Generator().manual_seed(3)
    rotations = scattered(rotation_grid(count), each, angle=0.1)
    # Groups 0 and 1 share a place, so that only their rotations tell them apart, and so on.
    places = torch.arange(count).div(2, rounding_mode="floor").repeat_interleave(each).double()
    noise = 0.05 * torch.randn(count * each, 3, generator=generator, dtype=torch.float64)
    order = torch.randperm(count * each, generator=generator)
    centers = torch.stack((places, -places, 2 * places), dim=-1) + noise
    labels = torch.arange(count).repeat_interleave(each)
    return Pose(rotations[order], centers[order]), labels[order]


def same_partition(found: torch.Tensor, expected: torch.Tensor) -> bool:
    pairs = set(zip(found.tolist(), expected.tolist(), strict=True))
    return len(pairs) == len(found.unique()) == len(expected.unique())


@pytest.mark.parametrize("seed", range(5))
def test_planted_groups_are_found(seed):
    poses, labels = planted(6, 15)
    clusters = cluster_poses(poses, 6, 0.3, 0.3, seed=seed)
    assert len(clusters.assignment.unique()) == 6
    by_place = cluster_poses(poses, 3, INF, 1.0, seed=seed)
    assert same_partition(by_place.assignment, labels.div(2, rounding_mode="floor"))
    distance = squared_pose_distance(
        poses, Pose(*(part[clusters.assignment] for part in clusters.centers)), 0.3, 0.3
    )
    everywhere = squared_pose_distance(
        Pose(*(part.unsqueeze(1) for part in poses)), clusters.centers, 0.3, 0.3
    )
    torch.testing.assert_close(distance, everywhere.min(dim=1).values)


def test_the_start_finds_every_planted_group_at_least_once_in_a_few():
    poses, labels = planted(6, 15)
    found = [cluster_poses(poses, 6, 0.3, 0.3, seed=seed).assignment for seed in range(5)]
    assert any(same_partition(assignment, labels) for assignment in found)


def test_centres_are_geodesic_means_of_their_groups():
    poses, _ = planted(4, 10)
    centers, assignment = cluster_poses(poses, 4, 1.0, INF)
    for k in range(4):
        members = assignment == k
        torch.testing.assert_close(centers.rotation[k], geodesic_mean(poses.rotation[members]))
        torch.testing.assert_close(centers.translation[k], poses.translation[members].mean(dim=0))


def test_groups_do_not_depend_on_the_axes_of_the_world():
    poses, _ = planted(5, 8)
    turn, shift = random_rotations(1)[0], torch.tensor([100.0, -3.0, 7.0]).double()
    moved = Pose(turn @ poses.rotation, poses.translation @ turn.T + shift)
    first, second = (cluster_poses(p, 5, 0.5, 0.5, seed=2) for p in (poses, moved))
    assert torch.equal(first.assignment, second.assignment)
    torch.testing.assert_close(turn @ first.centers.rotation, second.centers.rotation)


@pytest.mark.parametrize("count", [1, 20, 79, 80])
def test_no_group_is_empty(count):
    poses, _ = planted(8, 10)
    centers, assignment = cluster_poses(poses, count, 0.5, 0.5)
    assert torch.bincount(assignment, minlength=count).min() >= 1
    assert centers.rotation.shape == (count, 3, 3)


def test_a_group_emptied_on_the_way_starts_anew(monkeypatch):
    poses, _ = planted(2, 10)
    from posenet.geometry import clustering

    twice = Pose(poses.rotation[[0, 0, 1]], poses.translation[[0, 0, 1]])
    monkeypatch.setattr(clustering, "_spread_out", lambda *_: twice)
    assignment = cluster_poses(poses, 3, 0.5, 0.5).assignment
    assert torch.bincount(assignment, minlength=3).min() >= 1


def test_more_groups_than_poses_are_refused():
    poses, _ = planted(2, 3)
    with pytest.raises(ValueError, match="expected 1 to 6 groups of 6 poses, got 7"):
        cluster_poses(poses, 7, 1.0, 1.0)
    same = Pose(poses.rotation[[0] * 5], poses.translation[[0] * 5])
    with pytest.raises(ValueError, match="expected at most 1 groups, as many as there are"):
        cluster_poses(same, 2, 1.0, 1.0)


def test_an_infinite_scale_leaves_a_part_out():
    poses, _ = planted(3, 4)
    pair = Pose(*(part[:6] for part in poses)), Pose(*(part[6:] for part in poses))
    angle = geodesic_distance(pair[0].rotation, pair[1].rotation)
    distance = (pair[0].translation - pair[1].translation).norm(dim=-1)
    torch.testing.assert_close(squared_pose_distance(*pair, 0.5, INF), (angle / 0.5) ** 2)
    torch.testing.assert_close(squared_pose_distance(*pair, INF, 0.5), (distance / 0.5) ** 2)
