"""Every row of the loss tables trains: settings as words, a network, two optimiser steps."""

import dataclasses
import typing

import pytest
import torch

from posenet.config import LossConfig, load_config
from posenet.geometry import Pose, geodesic_distance, rotation_from_rotvec
from posenet.losses import ROBUST_LOSSES, ROTATION_LOSSES, PoseLoss
from posenet.models.network import PoseNetwork
from posenet.models.viewpoints import BINNINGS
from posenet.training.module import TrainingModule

SMOOTHINGS = typing.get_args(typing.get_type_hints(LossConfig)["viewpoint_smoothing"])
ROWS = [
    *(f"--loss.translation={name} --loss.translation_scale=0.2" for name in ROBUST_LOSSES),
    *(f"--loss.rotation={name}" for name in ROTATION_LOSSES),
    "--loss.translation=general_robust --loss.translation_alpha=-2",
    "--loss.translation=general_robust --loss.translation_learned=true",
    "--loss.translation=general_robust --loss.translation_learned=true --loss.weighting=fixed",
]
WITH_BINS = [
    *(f"--model.mode=coarse_to_fine --loss.viewpoint_smoothing={name}" for name in SMOOTHINGS),
    *(f"--model.mode=coarse_to_fine --model.binning={name}" for name in BINNINGS),
    "--model.mode=coarse_to_fine --model.decoding=top1 --loss.translation=general_robust "
    "--loss.translation_learned=true",
    "--model.mode=classification",
]
SCENE = ["--data.width=64", "--data.height=48", "--data.root=room"]
BATCH = 4


@pytest.fixture
def batch() -> tuple[torch.Tensor, Pose]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH, 3, 48, 64, generator=generator)
    rotation = rotation_from_rotvec(0.3 * torch.randn(BATCH, 3, generator=generator))
    return images, Pose(rotation, torch.randn(BATCH, 3, generator=generator))


def make_module(words: str) -> TrainingModule:
    config = load_config(None, [*SCENE, *words.split()])
    torch.manual_seed(0)
    small = {"backbone": "mobilenet_v3_small", "weights": "none", "bins": 5}
    network = PoseNetwork(dataclasses.replace(config.model, **small), config.data)
    if network.bins is not None:
        generator = torch.Generator().manual_seed(2)
        rotation = rotation_from_rotvec(0.3 * torch.randn(40, 3, generator=generator))
        poses = Pose(rotation, torch.randn(40, 3, generator=generator))
        network.bins.fit(poses, config.model.binning)
    return TrainingModule(network, config.loss, config.optimization, total_steps=10)


@pytest.mark.parametrize("words", [*ROWS, *WITH_BINS])
def test_two_steps_of_training(words, batch):
    module = make_module(words)
    images, target = batch
    optimizer = module.configure_optimizers()["optimizer"]
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    module.train()
    for _ in range(2):
        total = module._loss(module.network(images), target).total
        assert total.isfinite()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    trained = {name: p for name, p in module.named_parameters() if p.grad is not None}
    assert all(p.isfinite().all() for p in trained.values())
    changed = {name for name, p in trained.items() if not torch.equal(p, before[name])}
    assert any(name.startswith("network.") for name in changed)
    # Whatever of the loss is learned takes part; centres of bins are not learned.
    learned = {name for name, _ in module.named_parameters() if name.startswith("loss.")}
    assert learned.isdisjoint(changed) if "classification" in words else learned <= changed


@pytest.mark.parametrize("words", WITH_BINS)
def test_the_bins_of_a_batch_can_be_learned(words, batch):
    module = make_module(words)
    images, target = batch
    module.network.dropout.p = 0.0
    optimizer = torch.optim.Adam(module.network.parameters(), lr=1e-3)
    bins = module.network.bins.assign(target)
    for _ in range(40):
        prediction = module.network(images)
        optimizer.zero_grad()
        module._loss(prediction, target).total.backward()
        optimizer.step()
    assert torch.equal(prediction.logits.argmax(dim=-1), bins)


@pytest.mark.parametrize("words", ROWS)
def test_fitting_poses_directly_finds_them(words):
    """Without a network in between, every row leads to the target."""
    loss = PoseLoss(load_config(None, [*SCENE, *words.split()]).loss)
    generator = torch.Generator().manual_seed(1)
    turn = (0.2 * torch.randn(BATCH, 3, generator=generator)).requires_grad_()
    center = (0.1 * torch.randn(BATCH, 3, generator=generator)).requires_grad_()
    target = Pose(torch.eye(3).expand(BATCH, 3, 3), torch.zeros(BATCH, 3))
    optimizer = torch.optim.Adam([turn, center], lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    for _ in range(400):
        optimizer.zero_grad()
        loss(Pose(rotation_from_rotvec(turn), center), target).total.backward()
        optimizer.step()
        schedule.step()
    angle = torch.rad2deg(geodesic_distance(rotation_from_rotvec(turn.detach()), torch.eye(3)))
    assert angle.max() < 0.5
    assert center.detach().norm(dim=-1).max() < 0.01
