"""The averaged weights, the schedule and the parameter groups."""

import pytest
import torch

from posenet.config import DataConfig, LossConfig, ModelConfig, OptimizationConfig
from posenet.models.network import PoseNetwork
from posenet.training.module import TrainingModule


@pytest.fixture(scope="module")
def network():
    model = ModelConfig(backbone="mobilenet_v3_small", weights="none", frozen_share=0.1)
    return PoseNetwork(model, DataConfig(width=64, height=48))


def make_module(network, **settings):
    return TrainingModule(network, LossConfig(), OptimizationConfig(**settings), total_steps=100)


@pytest.mark.parametrize(("steps", "low", "high"), [(5, 3.0, 5.0), (60, 50.0, 60.0)])
def test_the_average_follows_even_in_short_runs(network, steps, low, high):
    """A constant decay of 0.99 would keep about step 16 of 60."""
    module = make_module(network, ema_decay=0.99)
    with torch.no_grad():
        for step in range(1, steps + 1):
            for parameter in network.parameters():
                parameter.fill_(step)
            module.on_train_batch_end()
    averages = {float(p.detach().mean()) for p in module.best_network.parameters()}
    assert max(averages) - min(averages) < 1e-3
    assert low < averages.pop() < high


def test_the_average_reaches_its_decay(network):
    module = make_module(network, ema_decay=0.9)
    kept, new = torch.zeros(3), torch.ones(3)
    module._average([kept], [new], torch.tensor(10_000))
    torch.testing.assert_close(kept, torch.full((3,), 0.1))
    count, new_count = torch.tensor(3), torch.tensor(7)
    module._average([count], [new_count], torch.tensor(5))
    assert count == 7


def test_without_averaging_the_network_itself_is_kept(network):
    module = make_module(network, ema_decay=0.0)
    assert module.averaged is None
    assert module.best_network is network


def test_the_rate_rises_then_falls_to_zero(network):
    settings = make_module(network, learning_rate=0.5, warmup_share=0.1).configure_optimizers()
    optimizer, schedule = settings["optimizer"], settings["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(100):
        rates.append(max(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == pytest.approx(0.5)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[11:] == sorted(rates[11:], reverse=True)
    assert rates[-1] < 0.001


def test_every_trained_weight_is_in_one_group_and_only_matrices_decay(network):
    module = make_module(network, learning_rate=1.0, backbone_rate=0.25, weight_decay=0.1)
    optimizer = module.configure_optimizers()["optimizer"]
    found = [p for group in optimizer.param_groups for p in group["params"]]
    expected = [p for p in (*network.parameters(), *module.loss.parameters()) if p.requires_grad]
    assert {id(p) for p in found} == {id(p) for p in expected}
    assert len(found) == len(expected)
    in_backbone = {id(p) for p in network.backbone.parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)
            assert group["initial_lr"] == (0.25 if id(parameter) in in_backbone else 1.0)
    undecayed = [g for g in optimizer.param_groups if g["weight_decay"] == 0.0]
    assert any(p is module.loss.log_variance for g in undecayed for p in g["params"])
