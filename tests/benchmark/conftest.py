"""A toy room small enough to be measured in no time."""

from dataclasses import replace
from pathlib import Path

import pytest

from posenet.config import Config, load_config
from posenet.datasets.scene import Scene, load_scene, resolve_data
from posenet.datasets.toy_room import write_toy_room

SMALL = [
    "--data.width=64",
    "--data.height=48",
    "--data.workers=0",
    "--model.backbone=mobilenet_v3_small",
    "--model.channels=8",
    "--optimization.batch_size=4",
]


@pytest.fixture(scope="session")
def room(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("benchmark") / "room"
    write_toy_room(
        root, train_sequences=2, test_sequences=1, frames_per_sequence=6, width=64, height=48
    )
    return root


@pytest.fixture(scope="session")
def config(room) -> Config:
    found = load_config(None, [*SMALL, f"--data.root={room}", f"--data.cache={room}-cache"])
    return replace(found, data=resolve_data(found.data))


@pytest.fixture(scope="session")
def scene(config) -> Scene:
    return load_scene(config.data)
