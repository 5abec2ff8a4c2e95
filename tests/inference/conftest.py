"""A network that knows nothing, in a localizer and in a file; pictures and videos of noise."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from posenet import Localizer
from posenet.config import Config, DataConfig, ModelConfig
from posenet.geometry import Intrinsics, Pose, rotation_from_rotvec
from posenet.models.checkpoint import Checkpoint, save_checkpoint
from posenet.models.network import PoseNetwork

DATA = DataConfig(width=64, height=48)
MODEL = ModelConfig(backbone="mobilenet_v3_small", weights="none", mode="regression")
CAMERA = Intrinsics(525.0, 525.0, 320.0, 240.0, 640, 480)
BINS = 4


def localizer_for(network, camera=CAMERA):
    config = Config(data=DATA, model=MODEL)
    return Localizer(Checkpoint(network, config, camera, "room", 1), "cpu")


def picture(width, height, seed=0):
    return np.random.default_rng(seed).integers(1, 255, (height, width, 3), dtype=np.uint8)


def frame_of(number, width=64, height=48):
    """A smooth picture, which survives compression, and tells its number by its brightness."""
    image = np.full((height, width, 3), 40 + 8 * number, np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)  # red, top left
    return image


def write_film(path, count=10, rate=10.0, width=64, height=48):
    """A video; of an .avi every frame stands by itself."""
    code = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), code, rate, (width, height))
    assert writer.isOpened()
    for number in range(count):
        writer.write(frame_of(number % 10, width, height)[..., ::-1])
    writer.release()
    return path


def open_eyes(network):
    """Nothing learned, but different answers to different images."""
    images = [frame_of(number) for number in range(10)]
    images += [picture(64, 48, seed) for seed in range(10)]
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255.0
    with torch.no_grad():
        for branch in (network.rotation, network.translation):
            branch[-1].weight.normal_(std=0.3)
        network.train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.5  # their own would take hundreds of images to get there
        for _ in range(8):
            network(batch)
    return network.eval()


@pytest.fixture(scope="session")
def network():
    torch.manual_seed(0)
    return open_eyes(PoseNetwork(MODEL, DATA))


@pytest.fixture(scope="session")
def with_bins(tmp_path_factory):
    """A localizer with viewpoint bins, and its checkpoint."""
    torch.manual_seed(0)
    model = dataclasses.replace(MODEL, mode="coarse_to_fine", bins=BINS)
    network = PoseNetwork(model, DATA)
    turns = torch.linspace(-1.0, 1.0, 36).reshape(12, 3)
    network.bins.fit(Pose(rotation_from_rotvec(turns), 3.0 * turns), "pose_kmeans")
    torch.nn.init.normal_(network.viewpoint[-1].bias)
    open_eyes(network)
    path = tmp_path_factory.mktemp("bins") / "best.pt"
    checkpoint = Checkpoint(network, Config(data=DATA, model=model), CAMERA, "room", 1)
    save_checkpoint(path, checkpoint)
    return Localizer(checkpoint, "cpu"), path


@pytest.fixture(scope="session")
def run(with_bins):
    """A checkpoint file."""
    return with_bins[1]


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """Ten frames at ten a second."""
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4")


class Webcam:
    """Stands in for ``cv2.VideoCapture`` of a webcam, with a second between its images."""

    count = 5
    now = 0.0

    def __init__(self, index):
        self.index, self.given = index, 0

    def isOpened(self):  # noqa: N802
        return self.index == 0

    def set(self, *_):
        return True

    def read(self):
        self.given += 1
        Webcam.now += 1.0
        if self.given > self.count:
            return False, None
        return True, frame_of(self.given)[..., ::-1].copy()

    def release(self):
        pass
