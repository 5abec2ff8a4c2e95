"""Scenes: what the settings name, without what is missing or broken, split, seen by one camera."""

import multiprocessing
import os
import socket
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from posenet.config import AugmentConfig, DataConfig
from posenet.datasets import scene as scenes
from posenet.datasets.formats import FORMATS
from posenet.datasets.formats.seven_scenes import COLOR_CAMERA
from posenet.datasets.loader import AugmentedDataset, PlainDataset
from posenet.datasets.resampling import UNSEEN
from posenet.datasets.scene import default_cache_folder, load_scene, read_frames, resolve_data
from posenet.errors import DataError, PosenetError, UsageError
from posenet.geometry import Intrinsics

WIDTH, HEIGHT = 32, 24
DATA = DataConfig(root="unused", format="seven_scenes", width=WIDTH, height=HEIGHT, workers=0)


def test_a_scene_is_read_decoded_and_split(tiny_scene, tmp_path):
    first, repeat = (tiny_scene / "seq-01" / f"frame-00000{k}.color.jpg" for k in (0, 1))
    repeat.write_bytes(first.read_bytes())
    config = replace(DATA, root=str(tiny_scene), cache=str(tmp_path / "cache"))
    scene = load_scene(config, with_depth=True)
    assert scene.split == ([0, 2], [3, 4, 5], [6, 7, 8])  # frame 1 repeats frame 0
    assert scene.images.color.shape == (9, HEIGHT, WIDTH, 3)
    assert scene.images.depth.shape == (9, HEIGHT, WIDTH)
    assert any((tmp_path / "cache").iterdir())
    kept = load_scene(replace(config, drop_repeated=False, validation="none"))
    assert kept.split.train == list(range(6))
    assert kept.images.depth is None


def test_the_camera_of_the_settings_reaches_the_frames(tiny_scene):
    camera = (60.0, 61.0, 30.0, 20.0, 64, 48)
    frames = read_frames(replace(DATA, root=str(tiny_scene), intrinsics=camera))
    assert frames[0].intrinsics == Intrinsics(*camera)
    assert frames[0].depth_camera is not None
    frames = read_frames(replace(DATA, root=str(tiny_scene), depth_registered=True))
    assert frames[0].depth_camera is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"root": ""}, "--data.root"),
        ({"format": "seven_scene"}, "did you mean 'seven_scenes'"),
        ({"root": "/nonexistent/kitchen"}, "/nonexistent/kitchen.*--data.root"),
    ],
)
def test_settings_that_lead_nowhere_are_refused(settings, message):
    with pytest.raises(PosenetError, match=message) as caught:
        read_frames(replace(DATA, **settings))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UsageError) == (settings.get("root", "") == "")


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("POSENET_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("POSENET_CACHE")
    assert default_cache_folder() == tmp_path / "xdg" / "posenet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / ".cache" / "posenet"


# ---------------------------------------------------------------------- what is missing or broken


@pytest.fixture
def settings(tiny_scene, tmp_path):
    cache = str(tmp_path / "cache")
    return replace(DATA, root=str(tiny_scene), cache=cache, drop_repeated=False)


def test_frames_without_an_image_are_counted_and_left_out(settings, monkeypatch, capsys):
    read = scenes.read_frames

    def with_a_ghost(config):
        frames = read(config)
        return [*frames, replace(frames[0], name="ghost", image_path=Path("/nowhere/ghost.jpg"))]

    monkeypatch.setattr(scenes, "read_frames", with_a_ghost)
    scene = load_scene(settings)
    assert len(scene.frames) == 9
    assert "1 of 10 posed frames have no image and are left out" in capsys.readouterr().err


def test_a_dataset_without_any_image_is_refused(settings, tiny_scene, monkeypatch):
    frames = read_frames(settings)
    for path in tiny_scene.rglob("*.color.jpg"):
        path.unlink()
    monkeypatch.setattr(scenes, "read_frames", lambda _: frames)
    with pytest.raises(DataError, match=r"none of its 9 posed images is there.*posenet inspect"):
        load_scene(settings)


def damage(scene: Path, name: str) -> None:
    path = scene / name
    path.write_bytes(path.read_bytes()[:-200])


def test_broken_images_are_listed_and_left_out_while_they_are_few(settings, tiny_scene, capsys):
    damage(tiny_scene, "seq-01/frame-000001.color.jpg")
    damage(tiny_scene, "seq-03/frame-000000.color.jpg")
    with pytest.raises(DataError, match=r"truncated.*data.least_readable is 0.95"):
        load_scene(settings)
    for _ in range(2):  # the second time from the cache
        scene = load_scene(replace(settings, least_readable=0.7))
        assert scene.split == ([0, 2], [3, 4, 5], [7, 8])
        said = capsys.readouterr().err
        assert "2 of 9 images cannot be read and are left out" in said
        assert "seq-01/frame-000001.color.jpg" in said
        assert "seq-03/frame-000000.color.jpg" in said
    with pytest.raises(DataError, match="2 of 9 files"):
        load_scene(replace(settings, least_readable=0.9))


def test_a_repaired_image_is_read_again(settings, tiny_scene):
    path = tiny_scene / "seq-01/frame-000001.color.jpg"
    whole = path.read_bytes()
    damage(tiny_scene, "seq-01/frame-000001.color.jpg")
    lenient = replace(settings, least_readable=0.7)
    assert 1 not in load_scene(lenient).split.train
    path.write_bytes(whole)
    assert 1 in load_scene(lenient).split.train


def test_a_frame_with_broken_depth_is_turned_but_not_moved(settings, tiny_scene):
    damage(tiny_scene, "seq-01/frame-000001.depth.png")
    scene = load_scene(replace(settings, least_readable=0.7), with_depth=True)
    posed = AugmentedDataset(scene, AugmentConfig(depth_share=1.0)).posed
    assert posed.has_depth.tolist() == [True, False] + [True] * 7


def test_a_crashed_build_is_cleaned_up_and_a_running_one_is_not(settings, tmp_path):
    cache = Path(settings.cache)
    host = socket.gethostname()
    # 2^22 is above every Linux system's greatest process number.
    dead, alive = (cache / f".building-{host}-{n}-x" for n in (2**22 + 1, os.getppid()))
    for folder in (dead, alive):
        folder.mkdir(parents=True)
        (folder / "half.npy").write_bytes(b"half")
    load_scene(settings)
    assert not dead.exists()
    assert alive.exists()


def test_an_outdated_cache_is_removed_and_one_of_another_size_is_kept(settings, tiny_scene):
    def files():
        return {path.name for path in Path(settings.cache).iterdir()}

    load_scene(settings)
    first = files()
    load_scene(replace(settings, width=40))
    both = files()
    assert first < both
    path = tiny_scene / "seq-01/frame-000001.color.jpg"
    os.utime(path, ns=(0, 0))
    load_scene(settings)
    assert first.isdisjoint(files())
    assert (both - first) < files()


def test_processes_that_build_one_cache_at_once_both_get_it(settings):
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        sums = pool.map(_sum_of_images, [settings] * 3)
    assert len(set(sums)) == 1
    assert not list(Path(settings.cache).glob(".building-*"))
    assert len(list(Path(settings.cache).iterdir())) == 2  # an array, and what is known of it


def _sum_of_images(config: DataConfig) -> int:
    return int(load_scene(config).images.color.astype(np.int64).sum())


# ------------------------------------------------------------------------------- cameras and size


def test_upright_images_turn_the_network_upright(settings, tiny_scene, capsys):
    for path in tiny_scene.rglob("*.color.jpg"):
        cv2.imwrite(str(path), cv2.rotate(cv2.imread(str(path)), cv2.ROTATE_90_CLOCKWISE))
    upright = replace(settings, intrinsics=(60.0, 60.0, 23.5, 31.5, 48, 64))
    resolved = resolve_data(upright)
    assert (resolved.width, resolved.height) == (HEIGHT, WIDTH)
    assert "its images are 48x64, so the network's are 24x32" in capsys.readouterr().err
    assert resolve_data(resolved) == resolved
    assert load_scene(resolved).images.color.shape == (9, WIDTH, HEIGHT, 3)


def test_the_camera_of_a_run_is_that_of_its_training_frames(settings):
    resolved = resolve_data(settings)
    expected = COLOR_CAMERA.resized(WIDTH, HEIGHT)
    assert resolved.camera == pytest.approx(
        (expected.focal_x, expected.focal_y, expected.center_x, expected.center_y)
    )
    plain, again = load_scene(settings), load_scene(resolved)
    assert again.camera == plain.camera
    np.testing.assert_array_equal(plain.images.color, again.images.color)


def test_all_images_are_resampled_to_the_camera_of_the_settings(settings):
    camera = (20.0, 20.0, 15.5, 11.5)  # a little wider than the images
    scene = load_scene(replace(settings, camera=camera))
    assert scene.camera == Intrinsics(*camera, WIDTH, HEIGHT)
    sample = PlainDataset(scene, [0])[0]
    border = sample.image[:, [0, -1]].flatten()
    assert (border == UNSEEN[0]).all()
    view = AugmentedDataset(scene, AugmentConfig()).posed.view(0)
    assert not view.seen[0].any()
    assert view.seen[12, 16]


def test_random_splits_come_with_a_warning(settings, capsys):
    load_scene(replace(settings, split="random:0.3", validation="none"))
    assert "neighbours are near copies" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("metric", "scaled_depth", "has_depth"),
    [(True, False, True), (True, True, True), (False, True, True), (False, False, False)],
)
def test_depth_in_metres_moves_no_camera_whose_pose_has_none(
    settings, monkeypatch, capsys, metric, scaled_depth, has_depth
):
    row = FORMATS["seven_scenes"]._replace(metric=metric, scaled_depth=scaled_depth)
    monkeypatch.setitem(FORMATS, "seven_scenes", row)
    scene = load_scene(settings, with_depth=True)
    assert (scene.images.depth is not None) == has_depth
    error = capsys.readouterr().err
    said = "its depth is in metres and its poses are in units of their own: augment.depth_share"
    assert (said in error) == (not has_depth)
    assert error.count("\n") == (not has_depth)


def test_only_depth_of_formats_that_scale_it_is_trusted_without_metres():
    """Add a row here with the reason: what says that depth and poses share a unit?"""
    scaled = {name for name, row in FORMATS.items() if not row.metric and row.scaled_depth}
    assert scaled == {"transforms"}  # nerfstudio writes SfM depth in the model's own unit
