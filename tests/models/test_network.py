"""The network: rotations that are rotations, statistics that travel, parts that stay frozen."""

import copy
import math

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import nn

from posenet.config import DataConfig, ModelConfig
from posenet.errors import UsageError
from posenet.geometry import REPRESENTATIONS, Pose, geodesic_distance
from posenet.models.backbones import build_backbone
from posenet.models.network import PoseNetwork

WIDTH, HEIGHT, CHANNELS = 64, 48, 8
DATA = DataConfig(width=WIDTH, height=HEIGHT)
ALL_REPRESENTATIONS = pytest.mark.parametrize("rotation", REPRESENTATIONS)


def make_network(data: DataConfig = DATA, **settings) -> PoseNetwork:
    torch.manual_seed(0)
    defaults = {"backbone": "mobilenet_v3_small", "weights": "none", "channels": CHANNELS}
    defaults["mode"] = "regression"
    return PoseNetwork(ModelConfig(**defaults | settings), data)


def random_images(count: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def training_poses() -> Pose:
    """Cameras within half a radian and a few metres of a mean far from the identity."""
    center = Rotation.from_rotvec([1.9, -0.7, 1.1])
    turns = Rotation.from_rotvec(torch.linspace(-0.5, 0.5, 30).reshape(10, 3).numpy())
    shifts = torch.linspace(-2.0, 2.0, 30).reshape(10, 3)
    rotation = torch.from_numpy((center * turns).as_matrix()).float()
    return Pose(rotation, torch.tensor([40.0, -3.0, 8.0]) + shifts)


def assert_rotations(rotation: torch.Tensor) -> None:
    product = rotation.double() @ rotation.double().mT
    torch.testing.assert_close(
        product, torch.eye(3).double().expand_as(product), rtol=0.0, atol=2e-6
    )
    assert (torch.linalg.det(rotation.double()) > 0).all()


def norm_statistics(module: nn.Module) -> list[torch.Tensor]:
    return [
        tensor.clone()
        for norm in module.modules()
        if isinstance(norm, nn.BatchNorm2d)
        for tensor in (norm.running_mean, norm.running_var)
    ]


def same(before: list[torch.Tensor], after: list[torch.Tensor]) -> list[bool]:
    return [torch.equal(a, b) for a, b in zip(before, after, strict=True)]


@ALL_REPRESENTATIONS
@pytest.mark.parametrize("bf16", [False, True])
def test_outputs_are_poses_in_float32(rotation, bf16):
    network = make_network(rotation=rotation)
    network.fit_statistics(training_poses())
    for branch in (network.rotation, network.translation):  # far away from the initial zero
        nn.init.normal_(branch[-1].weight)
    for mode in (True, False):
        network.train(mode)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            pose = network(random_images(5)).pose
        assert pose.rotation.shape == (5, 3, 3)
        assert pose.translation.shape == (5, 3)
        assert pose.rotation.dtype == pose.translation.dtype == torch.float32
        assert_rotations(pose.rotation)
        assert pose.translation.isfinite().all()
        assert geodesic_distance(pose.rotation, training_poses().rotation[:5]).max() > 0.1


@ALL_REPRESENTATIONS
def test_every_trained_tensor_gets_a_finite_gradient(rotation):
    network = make_network(rotation=rotation)
    pose, _, _, confidence = network(random_images())
    total = pose.rotation.sin().sum() + pose.translation.square().sum()
    (total + confidence.rotation_scale.sum() + confidence.translation_scale.sum()).backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) is parameter.requires_grad, name
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    untrained = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert untrained == ["reduce.bias"]  # which the norm behind it takes away again


@ALL_REPRESENTATIONS
@pytest.mark.parametrize("mode", [True, False])
def test_training_starts_at_the_mean_pose(rotation, mode):
    network = make_network(rotation=rotation).train(mode)
    poses = training_poses()
    network.fit_statistics(poses)
    found = network(random_images(8)).pose
    mean = torch.from_numpy(Rotation.from_matrix(poses.rotation.numpy()).mean().as_matrix())
    # A batch's own statistics, in training, make its images differ more.
    largest_deg, largest_share = (15.0, 0.3) if mode else (2.0, 0.1)
    assert geodesic_distance(found.rotation, mean.float()).max() < math.radians(largest_deg)
    spread = (poses.translation - poses.translation.mean(0)).square().sum(1).mean().sqrt()
    distance = torch.linalg.vector_norm(found.translation - poses.translation.mean(0), dim=1)
    assert distance.max() < largest_share * spread


def test_statistics_are_those_of_the_training_poses():
    network, poses = make_network(), training_poses()
    network.fit_statistics(Pose(*(part.double() for part in poses)))
    expected = Rotation.from_matrix(poses.rotation.numpy()).mean().as_matrix()
    torch.testing.assert_close(
        network.rotation_center, torch.from_numpy(expected).float(), rtol=0.0, atol=1e-6
    )
    torch.testing.assert_close(network.translation_center, poses.translation.mean(dim=0))
    variance = poses.translation.var(dim=0, correction=0).sum()
    torch.testing.assert_close(network.translation_spread, variance.sqrt())


def test_a_single_training_pose_leaves_a_scale_to_divide_by():
    network = make_network()
    network.fit_statistics(Pose(*(part[:1] for part in training_poses())))
    assert network.translation_spread > 0


@ALL_REPRESENTATIONS
def test_statistics_travel_with_the_weights(rotation, tmp_path):
    network = make_network(rotation=rotation).eval()
    network.fit_statistics(training_poses())
    torch.save(network.state_dict(), tmp_path / "network.pt")
    state = torch.load(tmp_path / "network.pt", weights_only=True)
    statistics = ("rotation_center", "translation_center", "translation_spread")
    assert {*statistics, "pixel_mean", "pixel_std"} <= state.keys()
    torch.manual_seed(1)
    other = PoseNetwork(
        ModelConfig("mobilenet_v3_small", "none", rotation, "regression", channels=CHANNELS), DATA
    )
    other.load_state_dict(state)
    with torch.inference_mode():
        for a, b in zip(
            network(random_images()).pose, other.eval()(random_images()).pose, strict=True
        ):
            assert torch.equal(a, b)


class Constant(nn.Module):
    """A backbone that has seen this feature map already."""

    def __init__(self, features: torch.Tensor) -> None:
        super().__init__()
        self.features = features

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.features


@pytest.mark.parametrize("change", ["mirrored", "upside down"])
def test_where_a_feature_is_seen_matters(change):
    """A global mean of the feature map would be the same for both."""
    network = make_network().eval()
    channels = network.reduce.in_channels
    features = torch.randn(1, channels, 2, 2, generator=torch.Generator().manual_seed(0))
    poses = []
    for seen in (features, features.flip(-1 if change == "mirrored" else -2)):
        network.backbone = Constant(seen)
        poses.append(network(random_images(1)).pose)
    first, second = poses
    assert geodesic_distance(first.rotation, second.rotation) > 1e-3
    assert (first.translation - second.translation).abs().max() > 1e-3


@pytest.mark.parametrize(("width", "height", "cells"), [(64, 48, 4), (96, 64, 6), (100, 40, 8)])
def test_the_head_reads_every_cell(width, height, cells):
    network = make_network(DataConfig(width=width, height=height))
    for branch in (network.rotation, network.translation):
        assert branch[0].in_features == CHANNELS * cells
    assert network.eval()(torch.zeros(1, 3, height, width)).pose.rotation.shape == (1, 3, 3)


def test_images_are_normalised_as_the_backbone_expects():
    network = make_network().eval()
    backbone = build_backbone("mobilenet_v3_small", "none")
    seen = []
    network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = random_images()
    network(image)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (backbone.mean, backbone.std))
    torch.testing.assert_close(seen[0], (image - mean) / std)


def test_dropout_is_off_at_evaluation():
    network = make_network(dropout=0.5, frozen_share=0.99)
    network.norm.eval()
    for branch in (network.rotation, network.translation):
        nn.init.normal_(branch[-1].weight)
    image = random_images()
    assert not torch.equal(network(image).pose.translation, network(image).pose.translation)
    network.eval()
    for a, b in zip(network(image).pose, network(image).pose, strict=True):
        assert torch.equal(a, b)
    single = network(image[:1]).pose  # nor does an image's pose depend on its batch
    torch.testing.assert_close(
        single.rotation[0], network(image).pose.rotation[0], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
def test_frozen_layers_do_not_learn(share):
    network = make_network(frozen_share=share)
    layers = list(network.backbone.children())
    count = round(share * len(layers))
    assert count > 0 or share == 0.0
    before = [norm_statistics(layer) for layer in layers]
    network.eval().train()  # as around every validation
    pose = network(random_images()).pose
    (pose.rotation.sin().sum() + pose.translation.square().sum()).backward()
    for i, layer in enumerate(layers):
        frozen = i < count
        moved = same(before[i], norm_statistics(layer))
        assert all(moved) if frozen else not any(moved)
        for parameter in layer.parameters():
            assert parameter.requires_grad is not frozen
            assert (parameter.grad is None) is frozen
    assert network.reduce.weight.grad is not None


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("copied", [False, True])  # the moving average is a deep copy
def test_pretrained_statistics_stay_while_the_weights_learn(tmp_path, share, copied):
    path = tmp_path / "weights.pth"
    backbone = build_backbone("mobilenet_v3_small", "none")
    names = {f"features.{name}": tensor for name, tensor in backbone.features.state_dict().items()}
    torch.save(names, path)
    network = make_network(weights=str(path), frozen_share=share)
    network = copy.deepcopy(network) if copied else network
    backbone_before, head_before = norm_statistics(network.backbone), norm_statistics(network.norm)
    network.eval().train()
    network(random_images()).pose.translation.sum().backward()
    assert all(same(backbone_before, norm_statistics(network.backbone)))
    assert not any(same(head_before, norm_statistics(network.norm)))
    learning = [p.grad is not None for p in network.backbone.parameters()]
    assert all(learning) if share == 0.0 else 0 < sum(learning) < len(learning)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"rotation": "quaternions"},
            "unknown rotation representation 'quaternions', did you mean",
        ),
        ({"backbone": "mobilenet"}, "unknown backbone 'mobilenet', did you mean 'mobilenet_v3_"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        make_network(**settings)


# --- confidence -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["regression", "classification", "coarse_to_fine"])
def test_confidence_has_positive_scales_and_teaches_nothing_else(mode):
    network = make_network(mode=mode, bins=3)
    network.translation_spread.fill_(7.0)
    confidence = network(random_images(5)).confidence
    assert confidence.rotation_scale.shape == confidence.translation_scale.shape == (5,)
    assert (confidence.rotation_scale > 0).all()
    assert (confidence.translation_scale > 0).all()
    assert all(part.dtype == torch.float32 for part in confidence)
    # Translations are told in units of the scene.
    assert 0.1 < float((confidence.translation_scale / confidence.rotation_scale).median() / 7) < 10
    (confidence.rotation_scale.sum() + confidence.novelty.sum()).backward()
    taught = {n.split(".")[0] for n, p in network.named_parameters() if p.grad is not None}
    assert taught == {"confidence"}


def test_scales_stay_finite_and_positive_whatever_the_head_says():
    network = make_network()
    for bias in (-1e4, 1e4):
        nn.init.constant_(network.confidence[-1].bias, bias)
        confidence = network(random_images()).confidence
        for scale in (confidence.rotation_scale, confidence.translation_scale):
            assert scale.isfinite().all()
            assert (scale > 0).all()


def test_without_confidence_there_is_none():
    network = make_network(confidence=False)
    assert network(random_images()).confidence is None
    assert not any("confidence" in name or "novelty" in name for name in network.state_dict())


def test_confidence_does_not_change_where_the_other_layers_begin():
    with_it, without = make_network().state_dict(), make_network(confidence=False).state_dict()
    assert all(torch.equal(value, with_it[name]) for name, value in without.items())


def test_novelty_is_that_of_the_features_the_pose_is_read_from():
    network = make_network().eval()
    with torch.no_grad():
        features = network.embed(random_images(20))
        network.novelty.fit(features)
        confidence = network(random_images(20)).confidence
    torch.testing.assert_close(confidence.novelty, network.novelty(features))
    assert not torch.equal(confidence.novelty, make_network().eval()(random_images(20))[-1].novelty)
