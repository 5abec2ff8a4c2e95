"""Layers that share a batch among processes do what one process does with all of it."""

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn
from torchvision.ops import StochasticDepth

from posenet.training.synchronized import share_batches

SIZE = 2
BATCH = 6


class Block(nn.Module):
    """All that looks at a batch as a whole, or draws at random for it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8, momentum=0.3)
        self.mean_norm = nn.BatchNorm2d(8, momentum=None)
        self.depth = StochasticDepth(0.4, "row")
        self.batch_depth = StochasticDepth(0.4, "batch")
        self.dropout = nn.Dropout(0.3)
        self.frozen = nn.BatchNorm2d(8)
        self.last = nn.Linear(8, 5)

    def train(self, mode: bool = True) -> "Block":
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.norm(self.first(images))
        features = features + self.depth(torch.sin(features))
        features = self.mean_norm(features + self.batch_depth(features.square()))
        return self.last(self.dropout(self.frozen(features).mean(dim=(2, 3))))


def steps(model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """The gradients of three steps, and the state after them."""
    parameters = list(model.parameters())
    for step in range(3):
        torch.manual_seed(step)
        loss = model(images).square().mean()
        gradients = torch.autograd.grad(loss, parameters)
        if dist.is_initialized():
            for gradient in gradients:
                dist.all_reduce(gradient)
            gradients = [gradient / SIZE for gradient in gradients]
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.1 * gradient
    return [*gradients, *(value.clone() for value in model.state_dict().values())]


def half_precision(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What training gives in bf16 where layers ask for it."""
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model.float()(images.float()).detach().float()


def make() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(7)
    return Block().double(), torch.randn(BATCH, 3, 9, 8, dtype=torch.float64) * 3 + 1


def share(rank: int, folder: str) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=SIZE
    )
    model, images = make()
    share_batches(model)
    part = images[rank * BATCH // SIZE : (rank + 1) * BATCH // SIZE]
    torch.save([*steps(model, part), half_precision(model, part)], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[list[torch.Tensor]]:
    folder = tmp_path_factory.mktemp("shared")
    torch.multiprocessing.spawn(share, (str(folder),), nprocs=SIZE)
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(SIZE)]


def test_gradients_and_statistics_are_those_of_one_process_with_the_whole_batch(found):
    expected = steps(*make())
    for values in found:
        for value, right in zip(values[:-1], expected, strict=True):
            torch.testing.assert_close(value, right, rtol=1e-12, atol=1e-12)


def test_half_precision_sees_the_whole_batch_too(found):
    model, images = make()
    steps(model, images)
    expected = half_precision(model, images)
    ours = torch.cat([values[-1] for values in found])
    assert expected.std() > 0.1
    torch.testing.assert_close(ours, expected, rtol=0.05, atol=0.05)


def test_the_comparison_would_notice_layers_that_see_their_own_part_only(found):
    model, images = make()
    alone = steps(model, images[: BATCH // SIZE])
    assert not torch.allclose(alone[0], found[0][0], rtol=1e-3)


def test_without_other_processes_nothing_changes():
    model, images = make()
    shared = copy.deepcopy(model)
    share_batches(shared)
    for value, right in zip(steps(shared, images), steps(model, images), strict=True):
        assert torch.equal(value, right)


def test_a_shared_layer_keeps_its_state_and_its_names():
    model, _ = make()
    names = list(model.state_dict())
    share_batches(model)
    assert list(model.state_dict()) == names
    assert type(model.norm) is not nn.BatchNorm2d
