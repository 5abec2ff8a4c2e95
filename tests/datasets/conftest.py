"""Fixtures of the dataset tests: a tiny 7-Scenes scene and a toy room that is built only once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from posenet.datasets.formats.seven_scenes import COLOR_CAMERA
from posenet.datasets.images import read_depth, read_posed_image
from posenet.datasets.rendering import DepthView, View, with_alpha
from posenet.datasets.toy_room import ToyRoom, trajectory

FRAMES = 3  # a sequence


def write_scene(root: Path) -> None:
    """Three sequences of 64x48 jpg images with depth; the third is the test sequence."""
    rng = np.random.default_rng(7)
    for sequence in (1, 2, 3):
        folder = root / f"seq-{sequence:02d}"
        folder.mkdir(parents=True)
        for number in range(FRAMES):
            stem = f"{folder}/frame-{number:06d}"
            coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            cv2.imwrite(f"{stem}.color.jpg", cv2.resize(coarse, (64, 48)))
            depth = rng.integers(1000, 3000, (48, 64)).astype(np.uint16)
            cv2.imwrite(f"{stem}.depth.png", depth)
            pose = np.eye(4)
            pose[:3, :3] = Rotation.random(random_state=10 * sequence + number).as_matrix()
            pose[:3, 3] = (sequence, number, 0.5)
            np.savetxt(f"{stem}.pose.txt", pose)
    (root / "TrainSplit.txt").write_text("sequence1\nsequence2\n")
    (root / "TestSplit.txt").write_text("sequence3\n")


@pytest.fixture(scope="session")
def scene_template(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("template") / "scene"
    write_scene(root)
    return root


@pytest.fixture
def tiny_scene(scene_template, tmp_path) -> Path:
    """A scene of its own for the test, to break as it likes."""
    return shutil.copytree(scene_template, tmp_path / "scene")


@pytest.fixture(scope="session")
def room() -> ToyRoom:
    return ToyRoom(0)


@pytest.fixture(scope="session")
def room_views(room) -> list[DepthView]:
    """160x120 views of the toy room."""
    camera, views = COLOR_CAMERA.resized(160, 120), []
    for rotation, center in list(zip(*trajectory(0, 2, 30), strict=True))[::8]:
        color, depth = room.render(rotation, center, camera)
        view = View(with_alpha(color), rotation, center)
        views.append(DepthView(view, np.rint(depth * 1000).astype(np.uint16)))
    return views


@pytest.fixture(scope="session")
def assert_same_frames() -> Callable:
    """Compares frames to the bit, whatever their images are stored in."""

    def compare(found, expected):
        assert [f.name for f in found] == [f.name for f in expected]
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one.pose.rotation, other.pose.rotation)
            assert torch.equal(one.pose.translation, other.pose.translation)
            for name in ("intrinsics", "distortion", "sequence", "split"):
                assert getattr(one, name) == getattr(other, name)
            assert one.image.read_bytes() == other.image.read_bytes()
            np.testing.assert_array_equal(read_posed_image(one)[0], read_posed_image(other)[0])
            assert (one.depth is None) == (other.depth is None)
            if one.depth is not None:
                assert one.depth_camera == other.depth_camera
                depths = [read_depth(frame.depth, frame.depth_scale) for frame in (one, other)]
                np.testing.assert_array_equal(*depths)

    return compare
