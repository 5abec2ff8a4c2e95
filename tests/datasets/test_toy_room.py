"""The toy room: its images, depths and poses belong together, and its folder is 7-Scenes."""

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from posenet.datasets import toy_room
from posenet.datasets.formats.seven_scenes import COLOR_CAMERA, read_seven_scenes
from posenet.datasets.toy_furniture import CAMERA_ROOM, FURNITURE, ROOM, visible_faces
from posenet.datasets.toy_room import ToyRoom
from posenet.errors import DataError

CAMERA = COLOR_CAMERA.resized(160, 120)
SMALL_CAMERA = COLOR_CAMERA.resized(80, 60)
SEQUENCES = range(1, 8)


@pytest.fixture
def quick(room, monkeypatch):
    """Let the writer use the room that is built already."""
    monkeypatch.setattr(toy_room, "ToyRoom", lambda seed: room)


def angles_between(first, second):
    cosine = (np.einsum("...ij,...ij->...", first, second) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def world_points(depth, rotation, center, camera):
    return (camera.rays() * depth[..., None]) @ rotation.T + center


@pytest.fixture(scope="module")
def sparse_rooms():
    """Two rooms of seed 0 and one of seed 1, coarse and with little furniture: quick to build."""
    faces = visible_faces()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy_room, "visible_faces", lambda: faces[:6] + faces[6::20])
        patch.setattr(toy_room, "TEXELS_PER_METRE", 40)
        patch.setattr(toy_room, "LIGHT_SPACING", 0.3)
        return [ToyRoom(seed) for seed in (0, 0, 1)]


def test_same_seed_gives_the_same_walk_and_another_seed_or_sequence_another():
    rotations, centers = toy_room.trajectory(0, 2, 4)
    again = toy_room.trajectory(0, 2, 4)
    np.testing.assert_array_equal(again[0], rotations)
    np.testing.assert_array_equal(again[1], centers)
    assert not np.allclose(toy_room.trajectory(1, 2, 4)[1], centers)
    assert not np.allclose(toy_room.trajectory(0, 3, 4)[1], centers)


def test_same_seed_gives_the_same_room_and_another_seed_other_patterns(sparse_rooms):
    for rotation, center in zip(*toy_room.trajectory(0, 2, 4), strict=True):
        (color, depth), same, other = (
            room.render(rotation, center, CAMERA) for room in sparse_rooms
        )
        np.testing.assert_array_equal(same[0], color)
        np.testing.assert_array_equal(same[1], depth)
        np.testing.assert_array_equal(other[1], depth)  # The furniture stays.
        assert np.abs(other[0].astype(int) - color).mean() > 3


def test_depth_is_along_the_optical_axis(room):
    # Straight up from beside the ceiling lamp: every pixel of the ceiling is equally deep.
    center = np.array((0.8, 0.3, 1.6))
    _, depth = room.render(np.eye(3), center, CAMERA)
    assert np.median(depth) == pytest.approx(ROOM[2] - center[2], abs=1e-4)
    assert (np.abs(depth - np.median(depth)) < 1e-4).mean() > 0.6


def test_an_upside_down_camera_sees_the_same_image_upside_down(room):
    # An offset between colour and depth would move with the camera and show up twice here.
    rotations, centers = toy_room.trajectory(0, 1, 5)
    turned = replace(
        CAMERA,
        center_x=CAMERA.width - 1 - CAMERA.center_x,
        center_y=CAMERA.height - 1 - CAMERA.center_y,
    )
    for rotation, center in zip(rotations, centers, strict=True):
        color, depth = room.render(rotation, center, CAMERA)
        flipped = room.render(rotation @ np.diag((-1.0, -1.0, 1.0)), center, turned)
        assert np.abs(flipped[0][::-1, ::-1].astype(int) - color).mean() < 0.2
        assert (np.abs(flipped[1][::-1, ::-1] - depth) < 1e-4).mean() > 0.998


@pytest.mark.parametrize("sequence", [1, 4])
def test_color_depth_and_pose_of_neighbouring_views_belong_together(room, sequence):
    rotations, centers = toy_room.trajectory(0, sequence, 60)
    for k in range(0, 58, 12):
        color, depth = room.render(rotations[k], centers[k], CAMERA)
        next_color, next_depth = room.render(rotations[k + 1], centers[k + 1], CAMERA)
        points = world_points(depth, rotations[k], centers[k], CAMERA)
        local = (points - centers[k + 1]) @ rotations[k + 1]
        u, v = np.moveaxis(CAMERA.project(np.maximum(local, (-9, -9, 0.05))), -1, 0)
        inside = (u > 0) & (v > 0) & (u < CAMERA.width - 1) & (v < CAMERA.height - 1)
        assert inside.mean() > 0.4

        u, v = u.astype(np.float32), v.astype(np.float32)
        # 1/z is linear in the pixel on a plane, so interpolating it is exact off the edges.
        found = 1 / cv2.remap(1 / next_depth, u, v, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
        error = np.abs(found - local[..., 2])[inside]
        assert np.median(error) < 5e-4
        assert (error < 0.01).mean() > 0.8

        seen = inside & (np.abs(found - local[..., 2]) < 0.01)
        there = cv2.remap(next_color, u, v, cv2.INTER_LINEAR)
        difference = np.abs(there.astype(int) - color)[seen]
        assert np.median(difference) < 8
        shuffled = np.abs(next_color.astype(int) - color)[seen]
        assert difference.mean() < 0.5 * shuffled.mean()


def test_every_point_seen_lies_in_the_room(room):
    for sequence in SEQUENCES:
        for rotation, center in zip(*toy_room.trajectory(0, sequence, 8), strict=True):
            _, depth = room.render(rotation, center, SMALL_CAMERA)
            assert depth.min() > 0.2
            points = world_points(depth, rotation, center, SMALL_CAMERA).reshape(-1, 3)
            beyond = np.abs(points - ROOM * (0, 0, 0.5)) - ROOM / 2
            assert beyond.max() < 0.001


def test_no_furniture_reaches_into_the_space_of_the_cameras():
    signs = np.stack(np.meshgrid((-1, 1), (-1, 1), (-1, 1)), axis=-1).reshape(-1, 3)
    for box in FURNITURE:
        corners = box.center + (signs * box.size / 2) @ box.axes
        apart = (corners.min(axis=0) > CAMERA_ROOM[1] + 0.1) | (
            corners.max(axis=0) < CAMERA_ROOM[0] - 0.1
        )
        assert apart.any(), box


@pytest.mark.parametrize("seed", [0, 5])
def test_walks_are_smooth_stay_in_free_space_and_look_everywhere(seed):
    for sequence in SEQUENCES:
        rotations, centers = toy_room.trajectory(seed, sequence, 100)
        assert rotations.dtype == centers.dtype == np.float64
        np.testing.assert_allclose(
            rotations @ rotations.swapaxes(1, 2), np.tile(np.eye(3), (100, 1, 1)), atol=1e-12
        )
        np.testing.assert_allclose(np.linalg.det(rotations), 1)
        assert (centers >= CAMERA_ROOM[0]).all()
        assert (centers <= CAMERA_ROOM[1]).all()
        assert np.linalg.norm(np.diff(centers, axis=0), axis=1).max() < 0.3
        assert angles_between(rotations[1:], rotations[:-1]).max() < 16
        assert (rotations[:, 2, 1] < -0.7).all()  # Image down is world down.
        heading = np.degrees(np.arctan2(rotations[:, 1, 2], rotations[:, 0, 2]))
        assert len(np.unique(heading // 45)) == 8


def test_test_views_lie_between_training_views_without_repeating_them():
    def views(sequences):
        walks = [toy_room.trajectory(0, sequence, 100) for sequence in sequences]
        return [np.concatenate(parts) for parts in zip(*walks, strict=True)]

    (train_rotations, train_centers), (rotations, centers) = views(range(1, 6)), views((6, 7))
    distance = np.linalg.norm(centers[:, None] - train_centers, axis=-1)
    angle = angles_between(rotations[:, None], train_rotations)
    nearest = np.argmin(distance / 0.3 + angle / 15, axis=1)[:, None]
    assert 0.15 < np.median(np.take_along_axis(distance, nearest, 1)) < 0.4
    assert 5 < np.median(np.take_along_axis(angle, nearest, 1)) < 20


def test_images_are_neither_flat_nor_noise(room):
    views = zip(*toy_room.trajectory(0, 3, 100), strict=True)
    colors = [room.render(*view, CAMERA)[0].astype(float) for view in list(views)[::5]]
    for color in colors:
        assert color.std() > 25
        rows, columns = np.abs(np.diff(color, axis=0)), np.abs(np.diff(color, axis=1))
        assert (rows.mean() + columns.mean()) / 2 < 0.5 * color.std()
    near = np.mean([np.abs(a - b).mean() for a, b in pairwise(colors)])
    far = np.mean([np.abs(a - b).mean() for a, b in zip(colors, colors[10:], strict=False)])
    assert near < 0.9 * far


def test_folder_has_the_layout_of_seven_scenes(room, quick, tmp_path):
    reports = []
    root = tmp_path / "new" / "toy"
    toy_room.write_toy_room(
        root,
        train_sequences=2,
        test_sequences=1,
        frames_per_sequence=3,
        width=80,
        height=60,
        report=lambda done, total: reports.append((done, total)),
    )
    assert reports == [(done, 9) for done in range(1, 10)]
    assert (root / "TrainSplit.txt").read_text() == "sequence1\nsequence2\n"
    assert (root / "TestSplit.txt").read_text() == "sequence3\n"
    assert len(list(root.rglob("*.*"))) == 2 + 9 * 3

    frames = read_seven_scenes(root)
    assert [frame.split for frame in frames] == ["train"] * 6 + ["test"] * 3
    rotations, centers = toy_room.trajectory(0, 3, 3)
    camera = COLOR_CAMERA.resized(80, 60)
    assert frames[-1].intrinsics == camera
    stem = root / "seq-03" / "frame-000002"
    pose = np.loadtxt(f"{stem}.pose.txt")
    np.testing.assert_allclose(pose[:3, :3], rotations[2], atol=1e-12)
    np.testing.assert_allclose(pose[:, 3], (*centers[2], 1), atol=1e-12)

    color, depth = room.render(rotations[2], centers[2], camera)
    millimetres = cv2.imread(f"{stem}.depth.png", cv2.IMREAD_UNCHANGED)
    assert millimetres.dtype == np.uint16
    np.testing.assert_allclose(millimetres / 1000, depth, atol=0.00051)
    stored = cv2.imread(str(frames[-1].image_path))[..., ::-1].astype(int)
    assert np.abs(stored - color).mean() < 6
    assert np.abs(stored[..., ::-1] - color).mean() > 12  # RGB and BGR are not mixed up.


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(DataError, match="expected a new or empty folder") as caught:
        toy_room.write_toy_room(tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_interrupted_folder_has_no_split_files(quick, tmp_path):
    def interrupt(done, total):
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy_room.write_toy_room(
            tmp_path,
            train_sequences=1,
            test_sequences=1,
            frames_per_sequence=1,
            width=16,
            height=12,
            report=interrupt,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seq-01", "seq-02"]
