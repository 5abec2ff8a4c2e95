"""Toy rooms to inspect: written once, their faults planted into lists of frames or copies."""

import shutil
from pathlib import Path

import pytest

from posenet.datasets.formats.seven_scenes import read_seven_scenes
from posenet.datasets.toy_room import write_toy_room

SEEDS = (0, 1, 2)


@pytest.fixture(scope="session")
def room_folders(tmp_path_factory) -> dict[int, Path]:
    """A small room of each seed: two training sequences and a test one."""
    root = tmp_path_factory.mktemp("rooms")
    for seed in SEEDS:
        write_toy_room(
            root / str(seed),
            seed=seed,
            train_sequences=2,
            test_sequences=1,
            frames_per_sequence=40,
            width=240,
            height=180,
        )
    return {seed: root / str(seed) for seed in SEEDS}


@pytest.fixture(scope="session")
def rooms(room_folders) -> dict[int, list]:
    """The frames of the rooms, whose depth pixels are their colour pixels."""
    return {seed: read_seven_scenes(root, None, True) for seed, root in room_folders.items()}


@pytest.fixture
def room_copy(room_folders, tmp_path) -> Path:
    """A room of its own for the test, to break as it likes."""
    return shutil.copytree(room_folders[0], tmp_path / "room")
