"""Each part of a training step holds what it is named for, and they add up."""

import time
from dataclasses import replace

import pytest
import torch

from posenet.benchmark.networks import localizer_of, time_training
from posenet.benchmark.statistics import QUICK
from posenet.config import DistillConfig
from posenet.datasets.loader import training_loader
from posenet.models.checkpoint import save_checkpoint
from posenet.models.network import PoseNetwork
from posenet.training.module import TrainingModule
from posenet.training.timing import PARTS, time_steps, untrained_network

CPU = torch.device("cpu")
SLOW_S = 0.2


class Batches(list):
    """Batches that say when they were asked for, and may take their time."""

    slow_s = 0.0

    def __iter__(self):
        self.asked = []
        for batch in super().__iter__():
            self.asked.append(time.perf_counter())
            time.sleep(self.slow_s)
            yield batch


@pytest.fixture
def batches(config, scene):
    loader = training_loader(
        scene, config.data, config.augment, batch_size=4, views=4, seed=config.seed
    )
    return Batches(loader)


def slow_down(owner, name, monkeypatch):
    fast = getattr(owner, name)

    def slow(*words, **named):
        time.sleep(SLOW_S)
        return fast(*words, **named)

    monkeypatch.setattr(owner, name, slow)


def slow_backward(network):
    parameter = network.reduce.weight
    parameter.register_hook(lambda gradient: time.sleep(SLOW_S))


@pytest.mark.parametrize("part", [part for part in PARTS if part != "rest"])
def test_a_part_that_is_slow_is_the_one_that_is_named(part, config, scene, batches, monkeypatch):
    network = untrained_network(config, scene)
    if part == "load":
        batches.slow_s = SLOW_S
    elif part == "backward":
        slow_backward(network)
    else:
        slow_down(
            *{
                "forward": (PoseNetwork, "embed"),
                "loss": (TrainingModule, "_loss"),
                "optimizer": (TrainingModule, "configure_gradient_clipping"),
                "average": (TrainingModule, "_average"),
            }[part],
            monkeypatch,
        )
    times = time_steps(config, network, batches, steps=3, warm_up=1, split=True)
    assert len(times.wall) == len(times.cpu) == 3
    # Any single step may have met others on the machine.
    wall, cpu = ({p: min(step[p] for step in steps) for p in PARTS} for steps in times[:2])
    assert min(*wall.values(), *cpu.values()) >= 0.0
    assert [name for name in PARTS if wall[name] >= SLOW_S] == [part]
    assert cpu[part] < wall[part]  # sleep costs none


@pytest.mark.parametrize("split", [True, False])
def test_the_parts_add_up_to_the_time_from_batch_to_batch(split, config, scene, batches):
    network = untrained_network(config, scene)
    times = time_steps(config, network, batches, steps=5, warm_up=1, split=split)
    assert times.batch_size == 4
    assert len(batches.asked) == 6
    # From the second batch, with which what is counted begins, to the last: the same four steps.
    whole = batches.asked[-1] - batches.asked[1]
    counted = sum(sum(step.values()) for step in times.wall[:-1])
    assert counted == pytest.approx(whole, rel=0.05, abs=0.02)


def test_the_steps_train_and_leave_no_watch_behind(config, scene, batches):
    network = untrained_network(config, scene)
    before = {name: value.clone() for name, value in network.named_parameters()}
    time_steps(config, network, batches, steps=2, warm_up=0, split=True)
    changed = [n for n, value in network.named_parameters() if not value.equal(before[n])]
    assert len(changed) > len(before) / 2
    assert not network._forward_hooks


def test_a_student_is_timed_with_its_teacher(config, scene, tmp_path):
    teacher = localizer_of(config, scene, untrained_network(config, scene), CPU)
    save_checkpoint(tmp_path / "best.pt", teacher.checkpoint)
    student = replace(config, distill=DistillConfig(teacher=str(tmp_path / "best.pt")))
    found = time_training(student, scene, CPU, QUICK)
    assert found["steps"] == 2
    assert sum(part["share"] for part in found["parts"].values()) == pytest.approx(1.0)
