"""How fast networks train and predict."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from posenet.benchmark.machine import peak_memory
from posenet.benchmark.statistics import Effort, Took, batch_figures, repeat, time_figures
from posenet.config import Config
from posenet.datasets.loader import Sample
from posenet.datasets.scene import Scene
from posenet.datasets.streaming import training_batches
from posenet.inference.localizer import Localizer
from posenet.models.checkpoint import Checkpoint
from posenet.models.network import PoseNetwork
from posenet.training.distillation import load_teacher
from posenet.training.kept_views import keep_views
from posenet.training.timing import (
    PARTS,
    StepTimes,
    as_float,
    time_steps,
    untrained_network,
)

Size = tuple[int, int]


def time_training(
    config: Config, scene: Scene, device: torch.device, effort: Effort
) -> dict[str, Any]:
    """Figures of the training step, its batches from the loader and its workers.

    Args:
        config: The settings.
        scene: The dataset.
        device: Where it trains.
        effort: How many steps.

    Returns:
        :func:`~posenet.benchmark.statistics.batch_figures` of whole steps, and of each of ``parts``
        its ``median_ms`` and ``spread``, the same by CPU time, and its ``share`` of the mean step.
    """
    teacher = load_teacher(config, str(device))
    size = config.optimization.batch_size
    count = effort.warm_up + effort.steps

    def measure(split: bool) -> StepTimes:
        network = untrained_network(config, scene)
        if teacher is not None:
            network.bins.load_state_dict(teacher.network.bins.state_dict())
        keeps = config.optimization.kept_views > 0
        loader = training_batches(
            scene,
            config.data,
            config.augment,
            batch_size=size,
            views=math.ceil(count * size / len(scene.split.train)),
            seed=config.seed,
            kept=keep_views(network, scene, config, str(device)) if keeps else None,
        )
        return time_steps(
            config,
            network,
            loader,
            steps=effort.steps,
            warm_up=effort.warm_up,
            split=split,
            teacher=teacher.network if teacher is not None else None,
            reads_kept_views=keeps,
        )

    split = measure(split=True)
    # Waiting for a GPU between the parts makes the whole slower than it is.
    whole = measure(split=False) if device.type != "cpu" else split
    parts = {part: _part_figures(split, part) for part in PARTS}
    return {
        "batch_size": whole.batch_size,
        "steps": len(whole.wall),
        "workers": config.data.workers,
        "precision": whole.precision,
        "first_step_s": split.first,
        **_step_figures(whole),
        "parts": parts,
    }


def _step_figures(times: StepTimes) -> dict[str, float]:
    steps = zip(times.wall, times.cpu, strict=True)
    took = [Took(sum(wall.values()), sum(cpu.values())) for wall, cpu in steps]
    return batch_figures(took, times.batch_size)


def _part_figures(times: StepTimes, part: str) -> dict[str, float]:
    pairs = zip(times.wall, times.cpu, strict=True)
    took = [Took(wall[part], cpu[part]) for wall, cpu in pairs]
    whole = sum(sum(step.values()) for step in times.wall)
    return {
        **time_figures(took, "median_ms"),
        "share": sum(step[part] for step in times.wall) / whole,
    }


def time_backbone(
    config: Config, scene: Scene, device: torch.device, effort: Effort
) -> dict[str, Any]:
    """Figures of a network that trains on a batch from memory, and predicts it.

    Args:
        config: Its settings; frames of any other size may be in the scene.
        scene: The dataset, for its poses.
        device: Where it runs.
        effort: How many steps and predictions.

    Returns:
        ``parameters``, the figures of ``training`` and of ``prediction``, the ``memory`` of both.
    """
    size = config.optimization.batch_size
    with peak_memory(device) as memory:
        network = untrained_network(config, scene)
        steps = time_steps(
            config,
            network,
            [_noise(config, scene)] * (effort.warm_up + effort.backbone_steps),
            steps=effort.backbone_steps,
            warm_up=effort.warm_up,
            split=False,
        )
        # Prediction does not compile, so another network predicts.
        localizer = localizer_of(config, scene, untrained_network(config, scene), device)
        few = effort._replace(least=effort.backbone_steps, seconds=0.0)
        prediction = time_prediction(localizer, size, few)
    return {
        "batch_size": size,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "training": _step_figures(steps),
        "prediction": prediction,
        "memory": memory,
    }


def _noise(config: Config, scene: Scene) -> Sample:
    """A batch of images of noise with poses of training frames."""
    train, data = scene.split.train, config.data
    indices = [train[i % len(train)] for i in range(config.optimization.batch_size)]
    shape = (len(indices), 3, data.height, data.width)
    image = torch.randint(256, shape, dtype=torch.uint8)
    return Sample(image, as_float(scene.poses(indices)), torch.tensor(indices))


def localizer_of(
    config: Config, scene: Scene, network: PoseNetwork, device: torch.device
) -> Localizer:
    """What predicts with a network of these settings."""
    name = "cuda" if device.type == "cuda" else "cpu"  # as posenet predict does
    return Localizer(Checkpoint(network, config, scene.camera, "benchmark", 0), name)


def time_prediction(localizer: Localizer, batch_size: int, effort: Effort) -> dict[str, float]:
    """Figures of a localizer, from bytes of the network's size to poses in the world.

    Args:
        localizer: With any network.
        batch_size: Images at a time.
        effort: How many times.

    Returns:
        ``p50_ms`` and ``p95_ms`` of a batch, of so many ``repeats``, and the other figures of
        :func:`~posenet.benchmark.statistics.batch_figures`.
    """
    data = localizer.checkpoint.config.data
    size = (batch_size, data.height, data.width, 3)
    images = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    times = repeat(lambda: localizer.predict_batch(images), effort)
    figures = batch_figures(times, batch_size)
    return {
        "p50_ms": figures.pop("batch_ms"),
        "p95_ms": 1e3 * float(np.quantile([took.wall for took in times], 0.95)),
        "repeats": len(times),
        **figures,
    }


def with_backbone(config: Config, name: str, size: Size) -> Config:
    """The settings of another network, that learns from no teacher.

    Args:
        config: All other settings.
        name: Its backbone.
        size: Width and height of its images, pixels.
    """
    return replace(
        config,
        data=replace(config.data, width=size[0], height=size[1]),
        model=replace(config.model, backbone=name),
    )
