"""Poses to convert: two recordings with everything that a trajectory can know."""

from pathlib import Path

import numpy as np
import pytest
import torch

from posenet.conversion import Trajectory
from posenet.geometry import Distortion, Intrinsics, Pose, rotation_from_quaternion

CAMERA = Intrinsics(500.25, 510.5, 319.5, 239.75, 640, 480)
LENS = Distortion("radial_tangential", (0.1, -0.02, 0.003, -0.004))


def make_trajectory(quaternions, centers, names, **known) -> Trajectory:
    """Poses of quaternions wxyz of any length, and what else is known of them."""
    rotation = rotation_from_quaternion(torch.tensor(quaternions, dtype=torch.float64))
    count = len(names)
    usual = {
        "sequences": [name.rpartition("/")[0] or "all" for name in names],
        "splits": [None] * count,
        "intrinsics": [None] * count,
        "distortions": [None] * count,
    }
    pose = Pose(rotation, torch.tensor(centers, dtype=torch.float64))
    return Trajectory(names=list(names), pose=pose, **usual | known)


@pytest.fixture(scope="session")
def new_trajectory():
    return make_trajectory


@pytest.fixture
def drive() -> Trajectory:
    """Five poses of two recordings, one for testing."""
    rng = np.random.default_rng(3)
    names = [f"seq-01/frame-{i:06d}" for i in (0, 1, 5)] + [f"seq-02/frame-{i:06d}" for i in (0, 1)]
    return make_trajectory(
        rng.normal(size=(5, 4)),
        rng.normal(size=(5, 3)),
        names,
        splits=["train"] * 3 + ["test"] * 2,
        intrinsics=[CAMERA] * 5,
        distortions=[LENS] * 5,
        timestamps=[1305031102.175304, 1305031102.211214, 1305031102.5, 7.0, 7.1],
    )


@pytest.fixture
def destination(tmp_path):
    """Where poses of a format go: ``destination("tum")``."""
    suffixes = {"transforms": ".json", "csv": ".csv", "visloc": ".txt"}

    def place(name: str, folder: str = "out") -> Path:
        return tmp_path / folder / f"{name}{suffixes.get(name, '')}"

    return place
