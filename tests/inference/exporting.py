"""A network small enough to be exported in a second or two, that answers differently to images."""

import numpy as np
import torch
from torch import nn

from posenet.config import Config, DataConfig, ModelConfig
from posenet.geometry import Intrinsics, Pose, rotation_from_rotvec
from posenet.models.backbones import Backbone, _Row
from posenet.models.calibration import Calibration
from posenet.models.checkpoint import Checkpoint, save_checkpoint
from posenet.models.network import PoseNetwork

SIZE = (48, 64)
CAMERA = Intrinsics(525.0, 525.0, 320.0, 240.0, 640, 480)
ORIGIN = (4_000_000.0, -500_000.0, 1000.0)


def build_tiny():
    features = nn.Sequential(nn.Conv2d(3, 8, 16, stride=16), nn.BatchNorm2d(8), nn.ReLU())
    return features, Backbone(features, 8, list(features.children()))


TINY = _Row(build_tiny, None)


def make_checkpoint(spread=0.5, **settings):
    """A checkpoint; ``settings`` are of the model, and others of the checkpoint.

    The weights of its heads have a standard deviation of ``spread``.
    """
    torch.manual_seed(0)
    fields = {name: settings.pop(name) for name in list(settings) if name in Checkpoint._fields}
    settings = {"backbone": "tiny", "channels": 4, "bins": 4, **settings}
    model = ModelConfig(weights="none", **settings)
    data = DataConfig(width=SIZE[1], height=SIZE[0])
    network = PoseNetwork(model, data).eval()
    turns = torch.linspace(-1.0, 1.0, 36).reshape(12, 3)
    poses = Pose(rotation_from_rotvec(turns), 3.0 * turns)
    network.fit_statistics(poses)
    if network.bins is not None:
        network.bins.fit(poses, "pose_kmeans")
    with torch.no_grad():
        for name in ("rotation", "translation", "viewpoint", "confidence"):
            if hasattr(network, name):
                getattr(network, name)[-1].weight.normal_(std=spread)
    with torch.no_grad():
        pixels = torch.from_numpy(pictures(24, seed=5)).permute(0, 3, 1, 2) / 255.0
        features = network.embed(pixels)
        if network.bins is not None:  # or all images would be in one bin
            network.viewpoint[-1].bias -= network.viewpoint(features).mean(dim=0)
        if network.has_confidence:
            network.novelty.fit(features)
    config = Config(data=data, model=model)
    return Checkpoint(network, config, CAMERA, "room", 7)._replace(**fields)


def calibration(count=40):
    spaced = torch.linspace(0.5, 4.0, count, dtype=torch.float64)
    return Calibration(spaced, 2.0 * spaced, spaced.square(), 2.0 * spaced)


def pictures(count, seed=0, size=SIZE):
    """Images that differ in more than their noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 3, 4, 3))
    image = np.kron(coarse, np.ones((1, size[0] // 3, size[1] // 4, 1)))
    return image.astype(np.uint8)


def save(path, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, make_checkpoint(**settings))
    return path
