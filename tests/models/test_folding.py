"""Norms folded into convolutions: the same features, but for rounding."""

import copy

import pytest
import torch
from torch import nn

from posenet.config import DataConfig, ModelConfig
from posenet.models.backbones import BACKBONES, build_backbone
from posenet.models.folding import folded
from posenet.models.network import PoseNetwork

SIZE = (1, 3, 64, 96)


def stir(module: nn.Module) -> nn.Module:
    """Norms as after a training, not as they begin, when they do nothing."""
    torch.manual_seed(3)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
            layer.running_mean.normal_(std=0.2)
            layer.running_var.uniform_(0.5, 2.0)
    return module


def norms(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


@pytest.mark.parametrize("name", BACKBONES)
def test_a_folded_backbone_gives_the_same_features_without_norms(name):
    backbone = stir(build_backbone(name, "none").features).eval()
    image = torch.randn(SIZE)
    fast = folded(backbone, torch.zeros(SIZE))
    with torch.no_grad():
        expected = backbone(image)
        scale = float(expected.abs().max())
        torch.testing.assert_close(fast(image), expected, rtol=0, atol=1e-5 * scale)
    assert norms(fast) == 0
    assert norms(backbone) > 0 or name.startswith("convnext")  # which has layer norms


def make_network(share: float) -> PoseNetwork:
    model = ModelConfig(backbone="mobilenet_v3_small", weights="none", bins=3, frozen_share=share)
    return stir(PoseNetwork(model, DataConfig(width=96, height=64))).train()


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_frozen_layers_are_folded_and_the_others_go_on_learning(share):
    network = make_network(share)
    plain = copy.deepcopy(network)
    network.fold_frozen_layers()
    image = torch.rand(4, *SIZE[1:])
    results = []
    for model in (network, plain):
        torch.manual_seed(0)  # of dropout
        prediction = model(image)
        loss = prediction.pose.translation.square().sum() + prediction.logits.square().sum()
        loss.backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        statistics = {n: b for n, b in model.named_buffers() if "running" in n}
        results.append((prediction.pose.translation, gradients, statistics))
    (ours, our_gradients, our_statistics), (right, gradients, statistics) = results
    torch.testing.assert_close(ours, right, rtol=1e-4, atol=1e-5)
    assert our_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        scale = max(float(gradient.abs().max()), 1e-4)  # before a norm that learns it is rounding
        torch.testing.assert_close(our_gradients[name], gradient, rtol=0, atol=1e-3 * scale)
    for name, value in statistics.items():
        torch.testing.assert_close(our_statistics[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "mobilenet_v3_small", "resnet18"])
def test_a_network_whose_frozen_layers_are_folded_can_be_folded_as_a_whole(backbone):
    model = ModelConfig(backbone=backbone, weights="none", bins=3, frozen_share=0.3)
    network = stir(PoseNetwork(model, DataConfig(width=96, height=64))).eval()
    image = torch.rand(2, *SIZE[1:])
    with torch.no_grad():
        expected = network(image)
        network.fold_frozen_layers()
        found = folded(network, image[:1])(image)
        still = network(image)
    for ours in (found, still):
        torch.testing.assert_close(ours.logits, expected.logits, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(
            ours.pose.translation, expected.pose.translation, rtol=1e-3, atol=1e-4
        )


def test_folding_changes_no_weights_and_no_names():
    network = make_network(0.5)
    before = copy.deepcopy(network.state_dict())
    network.fold_frozen_layers()
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert len(list(network.parameters())) == len(list(make_network(0.5).parameters()))


def test_loaded_weights_are_those_that_are_used():
    network, other = make_network(0.5).eval(), make_network(0.5).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.2)
    network.fold_frozen_layers()
    network.load_state_dict(other.state_dict())
    image = torch.rand(SIZE)
    with torch.no_grad():
        assert torch.equal(network(image).logits, other(image).logits)


def test_a_folded_network_can_be_moved_to_another_type():
    network = make_network(0.5).eval()
    network.fold_frozen_layers()
    with torch.no_grad():
        assert network.double().embed(torch.rand(SIZE, dtype=torch.float64)).dtype == torch.float64
