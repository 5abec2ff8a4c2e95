"""Viewpoint bins: the parts of a scene that a classification head tells apart.

A bin is a whole pose, the mean of the training poses in it: which part of the view sphere, which
part of the room, or both. ``BINNINGS`` is the table a configuration names a row of.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from posenet.errors import DataError, look_up
from posenet.geometry import (
    Clusters,
    Pose,
    cluster_poses,
    geodesic_distance,
    group_means,
    mean_rotation,
    rotation_grid,
    squared_pose_distance,
)

_MOST_GRID = 200_000  # rotations of a grid; its cells are then about 5 degrees wide


class Binning(NamedTuple):
    """A way to divide poses.

    Attributes:
        divide: ``f(poses, count, rotation_scale, translation_scale, seed)``.
        by_rotation: Whether bins differ by rotation.
        by_position: Whether bins differ by camera centre.
    """

    divide: Callable[..., Clusters]
    by_rotation: bool
    by_position: bool


class ViewpointBins(nn.Module):
    """K bins of poses, as buffers that travel with the network's weights.

    Distances between poses are without unit: an angle counts in units of the training rotations'
    spread about their mean, a distance in units of the training positions' spread; what the binning
    does not look at counts nothing.

    Args:
        count: Bins K.
    """

    rotation: Tensor
    translation: Tensor
    rotation_scale: Tensor
    translation_scale: Tensor
    spread: Tensor
    spread_m: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("rotation", torch.eye(3).repeat(count, 1, 1))
        self.register_buffer("translation", torch.zeros(count, 3))
        self.register_buffer("rotation_scale", torch.ones(()))
        self.register_buffer("translation_scale", torch.ones(()))
        # Root mean square distance of training poses to their bins: without unit, and in metres.
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("spread_m", torch.ones(()))

    @property
    def centers(self) -> Pose:
        """Mean pose of each bin, rotation (K, 3, 3), translation (K, 3) in metres."""
        return Pose(self.rotation, self.translation)

    def fit(self, poses: Pose, binning: str, seed: int = 0) -> Tensor:
        """Place the bins among training poses; every bin gets some.

        Args:
            poses: Training poses, and random views of them, (N,).
            binning: A row of ``BINNINGS``.
            seed: Seed of k-means.

        Returns:
            Number of poses in each bin, (K,).

        Raises:
            DataError: There are fewer poses that differ than bins.
            UsageError: There is no such binning.
        """
        row = look_up(BINNINGS, binning, "binning")
        poses = Pose(poses.rotation.double(), poses.translation.double())
        count = len(self.rotation)
        center = Pose(mean_rotation(poses.rotation), poses.translation.mean(dim=0))
        angle = geodesic_distance(poses.rotation, center.rotation)
        distance = (poses.translation - center.translation).norm(dim=-1)
        scales = (
            _root_mean_square(angle) if row.by_rotation else math.inf,
            _root_mean_square(distance) if row.by_position else math.inf,
        )
        try:
            centers, assignment = row.divide(poses, count, *scales, seed)
        except ValueError as error:
            raise DataError(
                f"model.bins: {count} bins for {len(poses.translation)} poses ({error}); use fewer"
            ) from error
        members = Pose(centers.rotation[assignment], centers.translation[assignment])
        reach = squared_pose_distance(poses, members, *scales)
        self.rotation.copy_(centers.rotation)
        self.translation.copy_(centers.translation)
        self.rotation_scale.fill_(scales[0])
        self.translation_scale.fill_(scales[1])
        self.spread.copy_(reach.mean().sqrt().clamp_min(1e-6))
        within = (poses.translation - members.translation).square().sum(dim=-1)
        self.spread_m.copy_(within.mean().sqrt().clamp_min(1e-6))
        return torch.bincount(assignment, minlength=count)

    def squared_distances(self, poses: Pose) -> Tensor:
        """Squared distances of poses to all bins in units of the bins' spread, (..., K)."""
        one_by_one = Pose(poses.rotation.unsqueeze(-3), poses.translation.unsqueeze(-2))
        scales = self.rotation_scale * self.spread, self.translation_scale * self.spread
        return squared_pose_distance(one_by_one, self.centers, *scales)

    def assign(self, poses: Pose) -> Tensor:
        """The nearest bin of each pose, (...), integers in [0, K); the first of equal ones."""
        return self.squared_distances(poses).argmin(dim=-1)


def decode(logits: Tensor, candidates: Pose, decoding: str) -> Pose:
    """One pose from the probabilities of K candidates.

    Args:
        logits: (..., K).
        candidates: The pose in each bin, (..., K).
        decoding: A row of ``DECODINGS``.

    Raises:
        UsageError: There is no such decoding.
    """
    return look_up(DECODINGS, decoding, "decoding")(logits, candidates)


def _most_probable(logits: Tensor, candidates: Pose) -> Pose:
    # Expanded by hand: take_along_dim compares sizes, which fixes them in an exported network.
    index = logits.argmax(dim=-1)[..., None, None]
    rotation = candidates.rotation.gather(
        -3, index.unsqueeze(-1).expand(*index.shape[:-2], 1, 3, 3)
    ).squeeze(-3)
    translation = candidates.translation.gather(-2, index.expand(*index.shape[:-2], 1, 3)).squeeze(
        -2
    )
    return Pose(rotation, translation)


def _weighted_mean(logits: Tensor, candidates: Pose) -> Pose:
    """Chordal mean of the rotations and mean of the positions, by their probabilities."""
    share = logits.softmax(dim=-1)
    rotation = mean_rotation(candidates.rotation, share)
    return Pose(rotation, (share.unsqueeze(-1) * candidates.translation).sum(dim=-2))


DECODINGS: dict[str, Callable[[Tensor, Pose], Pose]] = {
    "top1": _most_probable,
    "mean": _weighted_mean,
}


def _divide_by_grid(poses: Pose, count: int, *_: float) -> Clusters:
    """The ``count`` fullest cells of the coarsest even grid that has as many with poses in them.

    Poses in other cells go to the nearest of these.
    """
    size = count
    while size <= _MOST_GRID:
        grid = rotation_grid(size)
        cell = _nearest(poses.rotation, grid)
        sizes = torch.bincount(cell, minlength=size)
        if int((sizes > 0).sum()) >= count:
            kept = grid[sizes.topk(count).indices]
            cell = _nearest(poses.rotation, kept)
            return Clusters(Pose(kept, group_means(poses, cell, count).translation), cell)
        size = math.ceil(1.25 * size)
    raise ValueError(f"the poses do not fill {count} cells of a grid of {_MOST_GRID} rotations")


def _nearest(rotation: Tensor, grid: Tensor) -> Tensor:
    """Index of the nearest of (K, 3, 3) rotations to each of (N, 3, 3): that of the largest trace.

    Unlike angles, traces are one matrix product.
    """
    slices = rotation.flatten(1).split(1024)  # many poses times a fine grid would not fit
    return torch.cat([(part @ grid.flatten(1).T).argmax(dim=1) for part in slices])


BINNINGS: dict[str, Binning] = {
    "rotation_grid": Binning(_divide_by_grid, by_rotation=True, by_position=False),
    "rotation_kmeans": Binning(cluster_poses, by_rotation=True, by_position=False),
    "position_kmeans": Binning(cluster_poses, by_rotation=False, by_position=True),
    "pose_kmeans": Binning(cluster_poses, by_rotation=True, by_position=True),
}


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt().clamp_min(1e-6))
