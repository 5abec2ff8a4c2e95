"""Viewpoint bins: fitted, assigned, decoded, and what a head makes of them."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from posenet.config import DataConfig, LossConfig, ModelConfig
from posenet.errors import DataError, UsageError
from posenet.geometry import (
    REPRESENTATIONS,
    Pose,
    geodesic_distance,
    mean_rotation,
    rotation_from_quaternion,
    rotation_to_quaternion,
)
from posenet.losses import viewpoint_targets
from posenet.models.network import PoseNetwork
from posenet.models.viewpoints import BINNINGS, DECODINGS, ViewpointBins, decode

ALL_BINNINGS = pytest.mark.parametrize("binning", BINNINGS)
COUNT = 7


def walk(count: int = 120, seed: int = 0) -> Pose:
    """Cameras that wander through a room and look about."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(count, 3, generator=generator, dtype=torch.float64).cumsum(dim=0)
    turns = 0.15 * torch.randn(count, 3, generator=generator, dtype=torch.float64).cumsum(dim=0)
    rotation = torch.from_numpy(Rotation.from_rotvec(turns.numpy()).as_matrix())
    return Pose(rotation, 0.3 * steps)


def fitted(binning: str = "pose_kmeans", count: int = COUNT) -> ViewpointBins:
    bins = ViewpointBins(count)
    bins.fit(walk(), binning)
    return bins.double()


def at(poses: Pose, index: object) -> Pose:
    return Pose(poses.rotation[index], poses.translation[index])


@ALL_BINNINGS
@pytest.mark.parametrize("count", [2, 7, 40])
def test_every_bin_holds_poses_and_its_centre_is_its_own(binning, count):
    bins = ViewpointBins(count)
    sizes = bins.fit(walk(), binning)
    assert sizes.shape == (count,)
    assert sizes.min() >= 1
    assert sizes.sum() == 120
    assert torch.equal(bins.assign(bins.centers), torch.arange(count))
    assert bins.rotation.dtype == torch.float32
    product = bins.rotation @ bins.rotation.mT
    torch.testing.assert_close(product, torch.eye(3).expand_as(product), atol=2e-6, rtol=0.0)


@ALL_BINNINGS
def test_the_same_poses_and_seed_give_the_same_bins(binning):
    first, again = fitted(binning), fitted(binning)
    assert torch.equal(first.rotation, again.rotation)
    assert torch.equal(first.translation, again.translation)


def test_bins_differ_by_what_their_binning_looks_at():
    poses = walk()
    for binning, row in BINNINGS.items():
        bins = fitted(binning)
        turned = Pose(poses.rotation.flip(0), poses.translation)
        moved = Pose(poses.rotation, poses.translation.flip(0))
        assert torch.equal(bins.assign(turned), bins.assign(poses)) == (not row.by_rotation)
        assert torch.equal(bins.assign(moved), bins.assign(poses)) == (not row.by_position)


@ALL_BINNINGS
def test_a_pose_near_a_centre_falls_into_its_bin(binning):
    bins = fitted(binning)
    distances = bins.squared_distances(bins.centers)
    assert distances.diagonal().abs().max() < 1e-12
    assert torch.equal(distances.argmin(dim=1), torch.arange(COUNT))
    # Root mean square over the poses that were binned: the unit of all distances.
    nearest = bins.squared_distances(walk()).min(dim=1).values
    assert nearest.mean() == pytest.approx(1.0, rel=0.05)


@ALL_BINNINGS
def test_both_signs_of_a_quaternion_fall_into_the_same_bin(binning):
    bins, poses = fitted(binning), walk(seed=4)
    quaternion = rotation_to_quaternion(poses.rotation)
    both = [
        bins.assign(Pose(rotation_from_quaternion(sign * quaternion), poses.translation))
        for sign in (1.0, -1.0)
    ]
    assert torch.equal(*both)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_permuting_the_bins_changes_nothing(decoding):
    bins, poses = fitted(), walk(seed=5)
    logits = torch.randn(len(poses.translation), COUNT, dtype=torch.float64)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    everywhere = Pose(*(part.expand(len(logits), *part.shape) for part in bins.centers))
    permuted = Pose(everywhere.rotation[:, order], everywhere.translation[:, order])
    found, again = (
        decode(logits, everywhere, decoding),
        decode(logits[:, order], permuted, decoding),
    )
    torch.testing.assert_close(again.rotation, found.rotation)
    torch.testing.assert_close(again.translation, found.translation)
    before = bins.assign(poses)
    bins.rotation, bins.translation = bins.rotation[order], bins.translation[order]
    assert torch.equal(order[bins.assign(poses)], before)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_a_sure_network_answers_with_its_bin(decoding):
    bins = fitted()
    logits = 80.0 * torch.eye(COUNT, dtype=torch.float64)
    everywhere = Pose(*(part.expand(COUNT, *part.shape) for part in bins.centers))
    found = decode(logits, everywhere, decoding)
    assert geodesic_distance(found.rotation, bins.rotation).max() < 1e-12
    torch.testing.assert_close(found.translation, bins.translation)


def test_the_mean_is_that_on_the_rotations():
    candidates = Pose(
        torch.from_numpy(Rotation.from_rotvec([[0.0, 0, 3.1], [0, 0, -3.1]]).as_matrix()),
        torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]).double(),
    )
    # Just this side and that side of a half turn: the mean is the half turn, not the identity.
    found = decode(torch.zeros(2).double(), candidates, "mean")
    half_turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0])).double()
    assert geodesic_distance(found.rotation, half_turn) < 1e-9
    torch.testing.assert_close(found.translation, torch.tensor([0.5, 1.0, 1.5]).double())
    share = torch.tensor([0.25, 0.75]).double()
    found = decode(share.log(), candidates, "mean")
    torch.testing.assert_close(found.rotation, mean_rotation(candidates.rotation, share))


# --- the head ----------------------------------------------------------------------------------


def make_network(**settings) -> PoseNetwork:
    torch.manual_seed(0)
    defaults = {"backbone": "mobilenet_v3_small", "weights": "none", "channels": 8, "bins": COUNT}
    network = PoseNetwork(ModelConfig(**defaults | settings), DataConfig(width=64, height=48))
    network.fit_statistics(Pose(*(part.float() for part in walk())))
    if network.bins is not None:
        network.bins.fit(walk(), "pose_kmeans")
    return network.eval()


@pytest.mark.parametrize("rotation", REPRESENTATIONS)
@pytest.mark.parametrize("bin_index", range(COUNT))
def test_decoding_inverts_encoding(rotation, bin_index):
    """The head's numbers for a pose relative to a bin, put into the head, give the pose."""
    network, form = (
        make_network(mode="coarse_to_fine", rotation=rotation),
        REPRESENTATIONS[rotation],
    )
    network.double()
    truth, centers, unit_m = walk(seed=9), network.bins.centers, network.bins.spread_m
    for index in range(0, 120, 40):
        raw_rotation = form.from_rotation(centers.rotation[bin_index].T @ truth.rotation[index])
        raw_translation = (truth.translation[index] - centers.translation[bin_index]) / unit_m
        with torch.no_grad():
            for branch, raw in (
                (network.rotation, raw_rotation - network.identity),
                (network.translation, raw_translation),
            ):
                branch[-1].weight.zero_()
                branch[-1].bias.zero_()
                branch[-1].bias.unflatten(0, (COUNT, -1))[bin_index] = raw
            network.viewpoint[-1].weight.zero_()
            network.viewpoint[-1].bias.copy_(80.0 * torch.eye(COUNT)[bin_index])
            pose = network(torch.rand(2, 3, 48, 64, dtype=torch.float64)).pose
        assert geodesic_distance(pose.rotation, truth.rotation[index]).max() < 1e-6
        torch.testing.assert_close(pose.translation[0], truth.translation[index], rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["classification", "coarse_to_fine"])
def test_a_head_with_bins_gives_logits_and_candidates(mode):
    network = make_network(mode=mode)
    with torch.no_grad():
        found = network(torch.rand(3, 3, 48, 64))
    assert found.logits.shape == (3, COUNT)
    assert found.candidates.rotation.shape == (3, COUNT, 3, 3)
    assert found.candidates.translation.shape == (3, COUNT, 3)
    expected = decode(found.logits, found.candidates, "mean")
    torch.testing.assert_close(found.pose.rotation, expected.rotation)
    # Training starts at the centres of the bins.
    gap = geodesic_distance(found.candidates.rotation, network.bins.rotation)
    assert gap.max() < (0.2 if mode == "coarse_to_fine" else 1e-6)


def test_a_network_without_bins_has_none():
    found = make_network(mode="regression")(torch.rand(1, 3, 48, 64))
    assert found.logits is None
    assert found.candidates is None


# --- bad input ---------------------------------------------------------------------------------


@ALL_BINNINGS
def test_more_bins_than_poses_are_refused(binning):
    few = at(walk(), slice(5))
    with pytest.raises(DataError, match=r"model.bins: 9 bins for 5 poses .* use fewer"):
        ViewpointBins(9).fit(few, binning)


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="unknown binning 'kmeans'"):
        ViewpointBins(2).fit(walk(), "kmeans")
    with pytest.raises(UsageError, match="unknown decoding 'top', did you mean 'top1'"):
        make_network(mode="classification", decoding="top")


# --- targets -----------------------------------------------------------------------------------

DISTANCES = torch.tensor([[0.0, 1.0, 4.0, 9.0], [2.0, 0.5, 0.5, 7.0]]).double()


def test_targets_without_smoothing_are_the_nearest_bin():
    targets = viewpoint_targets(DISTANCES, LossConfig(viewpoint_smoothing="none"))
    assert targets.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize(("smoothing", "first"), [("uniform", 0.9 + 0.1 / 4), ("others", 0.9)])
def test_smoothed_targets_follow_their_convention(smoothing, first):
    config = LossConfig(viewpoint_smoothing=smoothing, label_smoothing=0.1)
    targets = viewpoint_targets(DISTANCES, config)
    rest = (1.0 - first) / 3
    torch.testing.assert_close(targets[0], torch.tensor([first, rest, rest, rest]).double())


def test_geodesic_targets_fall_with_the_distance():
    config = LossConfig(viewpoint_smoothing="geodesic", smoothing_width=2.0)
    targets = viewpoint_targets(DISTANCES, config)
    expected = [math.exp(-d / 8.0) for d in DISTANCES[0].tolist()]
    expected = [value / sum(expected) for value in expected]
    torch.testing.assert_close(targets[0], torch.tensor(expected).double())
    torch.testing.assert_close(targets.sum(dim=-1), torch.ones(2).double())
    assert targets[1, 1] == targets[1, 2]  # between two bins, both
    sharp = viewpoint_targets(DISTANCES, LossConfig(smoothing_width=1e-3))
    assert sharp[0].tolist() == [1, 0, 0, 0]
