"""Every row of the loss tables trains: settings as words, a network, two optimiser steps."""

import pytest
import torch

from posenet.config import ModelConfig, load_config
from posenet.geometry import Pose, geodesic_distance, rotation_from_rotvec
from posenet.losses import ROBUST_LOSSES, ROTATION_LOSSES, PoseLoss
from posenet.models.network import PoseNetwork
from posenet.training.module import TrainingModule

ROWS = [
    *(f"--loss.translation={name} --loss.translation_scale=0.2" for name in ROBUST_LOSSES),
    *(f"--loss.rotation={name}" for name in ROTATION_LOSSES),
    "--loss.translation=general_robust --loss.translation_alpha=-2",
    "--loss.translation=general_robust --loss.translation_learned=true",
    "--loss.translation=general_robust --loss.translation_learned=true --loss.weighting=fixed",
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
    network = PoseNetwork(ModelConfig("mobilenet_v3_small", "none"), config.data)
    return TrainingModule(network, config.loss, config.optimization, total_steps=10)


@pytest.mark.parametrize("words", ROWS)
def test_two_steps_of_training(words, batch):
    module = make_module(words)
    images, target = batch
    optimizer = module.configure_optimizers()["optimizer"]
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    module.train()
    for _ in range(2):
        total = module.loss(module.network(images), target).total
        assert total.isfinite()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    trained = {name: p for name, p in module.named_parameters() if p.grad is not None}
    assert all(p.isfinite().all() for p in trained.values())
    changed = {name for name, p in trained.items() if not torch.equal(p, before[name])}
    assert any(name.startswith("network.") for name in changed)
    # Whatever of the loss is learned takes part.
    assert changed >= {name for name in trained if name.startswith("loss.")}
    assert {n for n, _ in module.named_parameters() if n.startswith("loss.")} <= trained.keys()


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
