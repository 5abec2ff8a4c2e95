"""Cambridge Landmarks: the mixed direction, strangers' paths and the cameras."""

import numpy as np
import pytest

from posenet.datasets.formats.cambridge import read_cambridge
from posenet.errors import DataError
from posenet.geometry import Intrinsics

NVM = """NVM_V3

3
seq1/frame00001.jpg 1660.5 1 0 0 0 0 0 0 -0.02 0
seq1/frame00002.jpg	1670.25 1 0 0 0 0 0 0 -0.02 0
seq9/frame00001.jpg 1000 1 0 0 0 0 0 0 0 0
0
"""


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_camera_centre_is_in_the_line_and_the_quaternion_is_world_to_camera(example):
    root = example("cambridge")
    # A quarter turn about z takes the world to the camera: the camera's x axis in the world is
    # where (1, 0, 0) comes from, (0, -1, 0).
    replace(root / "dataset_test.txt", "2 2 3 .5 .5 -.5 .5", "7 8 9 .70710678 0 0 .70710678")
    pose = read_cambridge(root)[-1].pose
    np.testing.assert_allclose(pose.translation, (7, 8, 9))
    np.testing.assert_allclose(pose.rotation[:, 0], (0, -1, 0), atol=1e-12)
    np.testing.assert_allclose(pose.view_direction, (0, 0, 1), atol=1e-12)


def test_sequences_splits_and_order(example):
    root = example("cambridge")
    path = root / "dataset_train.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[-1].replace("frame00002", "frame00010"), ""]))
    replace(path, "seq1/frame00001", "seq1/frame00011")
    frames = read_cambridge(root)
    assert [(frame.name, frame.sequence, frame.split) for frame in frames] == [
        ("seq1/frame00002.png", "seq1", "train"),
        ("seq1/frame00010.png", "seq1", "train"),
        ("seq1/frame00011.png", "seq1", "train"),
        ("seq2/frame00001.png", "seq2", "test"),
    ]


@pytest.mark.parametrize("folder", ["D:/_git/set/Scene", "C:\\data\\Scene", "/home/me/Scene"])
def test_strangers_absolute_paths_are_read_below_the_root(example, folder):
    root = example("cambridge")
    slash = "\\" if "\\" in folder else "/"
    replace(root / "dataset_train.txt", "seq1/", f"{folder}{slash}seq1{slash}")
    assert [frame.image_path for frame in read_cambridge(root)][:2] == [
        root / "seq1/frame00001.png",
        root / "seq1/frame00002.png",
    ]


def test_without_images_the_camera_is_the_usual_phone(example):
    frame = read_cambridge(example("cambridge"))[0]
    assert frame.intrinsics == Intrinsics(1675, 1675, 959.5, 539.5, 1920, 1080)


def test_the_camera_follows_the_images_on_disk(example, make_image):
    root = example("cambridge")
    make_image(root / "seq1/frame00002.png", 192, 108)  # the first one is not there
    make_image(root / "seq2/frame00001.png", 54, 96)  # held upright
    cameras = [frame.intrinsics for frame in read_cambridge(root)]
    assert cameras[0] == cameras[1] == Intrinsics(167.5, 167.5, 95.5, 53.5, 192, 108)
    assert cameras[2] == Intrinsics(83.75, 83.75, 26.5, 47.5, 54, 96)


def test_focal_lengths_come_from_the_model_where_it_is(example, make_image):
    root = example("cambridge")
    (root / "reconstruction.nvm").write_text(NVM)
    make_image(root / "seq1/frame00001.png", 192, 108)
    found = [(f.intrinsics.focal_x, f.intrinsics.focal_y) for f in read_cambridge(root)]
    np.testing.assert_allclose(found, [(166.05,) * 2, (167.025,) * 2, (1675,) * 2])
    given = Intrinsics(1000, 1000, 960, 540, 1920, 1080)
    assert read_cambridge(root, given)[0].intrinsics == given.resized(192, 108)


def test_a_scene_of_ones_own_needs_no_test_list(example):
    root = example("cambridge")
    (root / "dataset_test.txt").unlink()
    assert {frame.split for frame in read_cambridge(root)} == {"train"}


BAD = [
    ("1 2 3 .5 .5 -.5 .5", "1 2 3 .5 .5 -.5", ":4: expected 7 numbers .X Y Z W P Q R"),
    ("1 2 3 .5 .5 -.5 .5", "1 2 nan .5 .5 -.5 .5", ":4: expected 7 numbers"),
    ("1 2 3 .5 .5 -.5 .5", "1 2 3 .5 .5 -.5 .6", ":4: expected a quaternion of length 1, .*order"),
    ("1 2 3 .5 .5 -.5 .5", "1 2 3 0 0 0 0", ":4: expected a quaternion .* length 0; divide"),
    ("1 2 3 .5 .5 -.5 .5", "1 2 3 1e200 1e200 0 0", ":4: expected a quaternion .* length inf"),
    ("seq1/frame00001.png", "frame00001.png", ":4: expected an image in the folder of its seq"),
    ("seq1/frame00001.png", "seq1/../../a.png", ":4: expected the path of a file inside"),
    ("seq1/frame00001.png", "../seq1/a.png", ":4: expected the path of a file inside"),
]


@pytest.mark.parametrize(("old", "new", "expected"), BAD)
def test_a_bad_line_is_named_with_a_cure(example, old, new, expected):
    root = example("cambridge")
    replace(root / "dataset_train.txt", old, new)
    with pytest.raises(DataError, match=expected) as caught:
        read_cambridge(root)
    assert "\n" not in str(caught.value)


def test_a_bad_model_is_named_with_a_cure(example):
    root = example("cambridge")
    (root / "reconstruction.nvm").write_text("NVM_V3\n\nmany\n")
    with pytest.raises(DataError, match=r"reconstruction.nvm: .*remove it to use 1675 px"):
        read_cambridge(root)


@pytest.mark.parametrize(
    ("scene", "train", "test"),
    [
        ("KingsCollege", 1220, 343),
        ("ShopFacade", 231, 103),
    ],
)
def test_real_lists(real_data, scene, train, test):
    root = real_data(f"cambridge/{scene}")
    frames = read_cambridge(root)
    assert [f.split for f in frames] == ["train"] * train + ["test"] * test
    assert all(frame.image_path.parent == root / frame.sequence for frame in frames)


@pytest.mark.parametrize("scene", ["KingsCollege", "ShopFacade"])
def test_real_cameras_look_at_their_building(real_data, scene):
    frames = read_cambridge(real_data(f"cambridge/{scene}"))
    views = np.array([frame.pose.view_direction.numpy() for frame in frames])
    centers = np.array([frame.pose.translation.numpy() for frame in frames])
    # The point nearest to all optical axes; with quaternions in the other direction it is beside
    # or behind most cameras.
    across = np.eye(3) - views[:, :, None] * views[:, None, :]
    building = np.linalg.solve(across.sum(axis=0), np.einsum("nij,nj->i", across, centers))
    toward = building - centers
    cosine = (toward * views).sum(axis=1) / np.linalg.norm(toward, axis=1)
    assert np.median(np.degrees(np.arccos(cosine))) < 10
    assert (cosine > 0).mean() > 0.98
