"""Spreading rotations evenly, and finding the groups that camera poses form."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from posenet.geometry.averaging import geodesic_mean
from posenet.geometry.geodesic import geodesic_distance
from posenet.geometry.poses import Pose
from posenet.geometry.rotations import rotation_from_quaternion


def rotation_grid(count: int) -> Tensor:
    """Rotations spread quasi-uniformly over SO(3), as many as wanted: super-Fibonacci spirals.

    Args:
        count: How many, at least 1.

    Returns:
        Rotation matrices, (count, 3, 3), float64.

    Raises:
        ValueError: The count is below 1.

    Source: Alexa, Super-Fibonacci Spirals: Fast, Low-Discrepancy Sampling of SO(3), CVPR 2022.
    """
    if count < 1:
        raise ValueError(f"count: expected at least 1, got {count}")
    place = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    inner, outer = place.sqrt(), (1.0 - place).sqrt()
    # sqrt 2 and the positive root of x^4 = x + 4: the pair of least discrepancy.
    first = 2.0 * math.pi * count * place / math.sqrt(2.0)
    second = 2.0 * math.pi * count * place / 1.533751168755204288118041
    parts = (inner * first.sin(), inner * first.cos(), outer * second.sin(), outer * second.cos())
    return rotation_from_quaternion(torch.stack(parts, dim=-1))


class Clusters(NamedTuple):
    """Groups of poses.

    Attributes:
        centers: Mean pose of each group, (K,).
        assignment: The group of each pose, (N,), integers in [0, K).
    """

    centers: Pose
    assignment: Tensor


def squared_pose_distance(
    first: Pose, second: Pose, rotation_scale: float, translation_scale: float
) -> Tensor:
    """``(angle / rotation_scale)^2 + (distance / translation_scale)^2`` of two poses.

    Args:
        first: Poses of shape (...).
        second: Poses that broadcast against them.
        rotation_scale: Angle in radians that counts 1; infinite to leave rotations out.
        translation_scale: Distance in metres that counts 1; infinite to leave positions out.

    Returns:
        (...), no unit.
    """
    angle = geodesic_distance(first.rotation, second.rotation)
    distance = torch.linalg.vector_norm(first.translation - second.translation, dim=-1)
    return (angle / rotation_scale).square() + (distance / translation_scale).square()


def cluster_poses(
    poses: Pose,
    count: int,
    rotation_scale: float,
    translation_scale: float,
    seed: int = 0,
    sweeps: int = 100,
) -> Clusters:
    """k-means of poses, rotations by their angle: the geodesic metric and the geodesic mean.

    Quaternions, whose two signs are one rotation, do not come into it. The start is k-means++.
    A group that loses all of its poses is started anew at the pose farthest from its centre.

    Args:
        poses: Poses of shape (N,); computed in float64.
        count: Groups K, from 1 to the number of poses that differ.
        rotation_scale: Angle in radians that counts 1; infinite for groups of positions.
        translation_scale: Distance in metres that counts 1; infinite for groups of rotations.
        seed: Seed of the start.
        sweeps: Most sweeps of Lloyd's algorithm; fewer where nothing moves any more.

    Returns:
        Centres in float64 and the group of each pose; no group is empty.

    Raises:
        ValueError: There are fewer poses that differ than groups.

    Source: Arthur and Vassilvitskii, k-means++, SODA 2007, for the start.
    """
    poses = Pose(poses.rotation.double(), poses.translation.double())
    scales = rotation_scale, translation_scale
    centers = _spread_out(poses, count, scales, seed)
    assignment = torch.full((len(poses.translation),), -1)
    for _ in range(sweeps):
        distances = _to_all(poses, centers, scales)
        nearest = _without_empty(distances, count)
        if torch.equal(nearest, assignment):
            break
        assignment = nearest
        centers = group_means(poses, assignment, count)
    return Clusters(centers, assignment)


def group_means(poses: Pose, assignment: Tensor, count: int) -> Pose:
    """Geodesic mean of the rotations and mean of the positions of each group.

    Args:
        poses: Poses of shape (N,).
        assignment: The group of each, (N,), integers in [0, count); no group is empty.
        count: Groups K.

    Returns:
        Poses of shape (K,).
    """
    groups = [assignment == k for k in range(count)]
    return Pose(
        torch.stack([geodesic_mean(poses.rotation[group]) for group in groups]),
        torch.stack([poses.translation[group].mean(dim=0) for group in groups]),
    )


def _spread_out(poses: Pose, count: int, scales: tuple[float, float], seed: int) -> Pose:
    """k-means++: each next centre is a pose drawn by its squared distance to those before."""
    generator = torch.Generator().manual_seed(seed)
    total = len(poses.translation)
    if not 1 <= count <= total:
        raise ValueError(f"count: expected 1 to {total} groups of {total} poses, got {count}")
    chosen = [int(torch.randint(total, (1,), generator=generator))]
    nearest = _to_all(poses, _take(poses, chosen), scales)[:, 0]
    while len(chosen) < count:
        if not nearest.max() > 0:
            raise ValueError(
                f"count: expected at most {len(chosen)} groups, as many as there are poses that "
                f"differ, got {count}"
            )
        chosen.append(int(torch.multinomial(nearest, 1, generator=generator)))
        nearest = torch.minimum(nearest, _to_all(poses, _take(poses, chosen[-1:]), scales)[:, 0])
    return _take(poses, chosen)


def _without_empty(distances: Tensor, count: int) -> Tensor:
    """The nearest centre of each pose, (N,); a centre without any gets the farthest pose."""
    assignment = distances.argmin(dim=1)
    reach = distances.gather(1, assignment.unsqueeze(1)).squeeze(1)
    sizes = torch.bincount(assignment, minlength=count)
    for empty in (sizes == 0).nonzero().flatten().tolist():
        # From a group that has others left, or another group would be empty instead.
        movable = torch.where(sizes[assignment] > 1, reach, -1.0)
        farthest = int(movable.argmax())
        sizes[assignment[farthest]] -= 1
        sizes[empty] += 1
        assignment[farthest], reach[farthest] = empty, 0.0
    return assignment


def _to_all(poses: Pose, centers: Pose, scales: tuple[float, float]) -> Tensor:
    """Squared distances (N, K)."""
    one_by_one = Pose(poses.rotation.unsqueeze(1), poses.translation.unsqueeze(1))
    return squared_pose_distance(one_by_one, centers, *scales)


def _take(poses: Pose, indices: list[int]) -> Pose:
    return Pose(poses.rotation[indices], poses.translation[indices])
