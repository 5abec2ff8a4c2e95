"""KITTI odometry: which camera, where it stands, and one world at a time."""

import numpy as np
import pytest

from posenet.datasets.formats import find_format
from posenet.datasets.formats.kitti import read_kitti
from posenet.errors import DataError
from posenet.geometry import Intrinsics


def use_color_camera(root):
    (root / "sequences/04/image_0").rename(root / "sequences/04/image_2")


def test_the_left_colour_camera_stands_beside_the_camera_of_the_poses(example, first_rotation):
    root = example("kitti")
    use_color_camera(root)
    frame = read_kitti(root)[0]
    # P2 is K (I | -c) of the centre c = (-.06, .002, -.01): its last column is (48, .4, .01). In
    # the world, right is -y, down is -z and forward is x.
    np.testing.assert_allclose(frame.pose.translation, (1 - 0.01, 2 + 0.06, 3 - 0.002))
    np.testing.assert_allclose(frame.pose.rotation, first_rotation, atol=1e-12)
    assert frame.image_path.parent.name == "image_2"


def test_a_point_is_projected_as_by_the_matrix_of_the_file(example):
    root = example("kitti")
    use_color_camera(root)
    frame = read_kitti(root)[1]
    projection = np.array([[700, 0, 600, 48], [0, 700, 180, 0.4], [0, 0, 1, 0.01]])
    in_grey_camera = np.array((1.0, -0.5, 7.0, 1.0))
    expected = projection @ in_grey_camera
    rows = (root / "poses/04.txt").read_text().splitlines()
    world = np.array(rows[1].split(), float).reshape(3, 4) @ in_grey_camera
    in_camera = frame.pose.world_to_camera.numpy() @ (*world, 1.0)
    np.testing.assert_allclose(frame.intrinsics.project(in_camera[:3]), expected[:2] / expected[2])


def test_names_and_the_camera_without_images(example):
    frames = read_kitti(example("kitti"))
    assert [frame.name for frame in frames] == ["04/000000", "04/000001", "04/000002"]
    assert {(frame.sequence, frame.split) for frame in frames} == {("04", None)}
    assert frames[0].intrinsics == Intrinsics(700, 700, 600, 180, 1226, 370)


def test_the_size_is_that_of_the_images(example, make_image):
    root = example("kitti")
    make_image(root / "sequences/04/image_0/000001.png", 1200, 350)  # the first is not there
    frame = read_kitti(root)[0]
    assert (frame.intrinsics.width, frame.intrinsics.height) == (1200, 350)
    given = Intrinsics(350, 350, 300, 90, 600, 175)
    assert read_kitti(root, given)[0].intrinsics == given.resized(1200, 350)


@pytest.mark.parametrize("place", [".", "sequences/04", "sequences", "above"])
def test_the_root_is_the_dataset_its_parent_or_a_sequence(example, tmp_path, place):
    root = example("kitti")
    expected = [frame.name for frame in read_kitti(root)]
    if place == "above":
        (tmp_path / "above").mkdir()
        root.rename(tmp_path / "above/dataset")
        root, place = tmp_path / "above", "."
    frames = find_format(root / place).read(root / place)
    assert [frame.name for frame in frames] == expected


def test_sequences_of_several_worlds_are_not_mixed(example):
    root = example("kitti")
    for name in ("05", "11"):
        (root / f"sequences/{name}").mkdir()
        calibration = (root / "sequences/04/calib.txt").read_text()
        (root / f"sequences/{name}/calib.txt").write_text(calibration)
    (root / "poses/05.txt").write_text((root / "poses/04.txt").read_text())
    assert {frame.sequence for frame in read_kitti(root)} == {"04"}  # the one with images
    (root / "sequences/05/image_2").mkdir()
    with pytest.raises(DataError, match=r"found 04, 05, whose .*--data.root .*sequences/04"):
        read_kitti(root)
    assert len(read_kitti(root / "sequences/05")) == 3
    with pytest.raises(DataError, match=r"poses/11.txt: .*no file"):
        read_kitti(root / "sequences/11")


def test_sequences_without_poses_are_told(example):
    root = example("kitti")
    (root / "poses/04.txt").unlink()
    with pytest.raises(DataError, match=r"sequences 11 to 21 have no poses"):
        read_kitti(root)


BAD = [
    ("poses/04.txt", "0 0 1 1 ", "0 0 1 ", "04.txt:1: expected 12 numbers"),
    ("poses/04.txt", "0 0 1 1.5 ", "0 0 1 nan ", "04.txt:2: expected 12 numbers"),
    ("poses/04.txt", "0 0 1 1 ", "0 0 2 1 ", "04.txt:1: expected a rotation .*correct the line"),
    ("poses/04.txt", "0 0 1 1 ", "0 0 -1 1 ", "04.txt:1: expected a rotation .*determinant -1"),
    ("sequences/04/calib.txt", "P0:", "Q0:", "calib.txt: expected a line 'P0: '"),
    ("sequences/04/calib.txt", "P0: 700", "P0: -700", "calib.txt:1: expected positive focal"),
    ("sequences/04/calib.txt", "P0: 700 0", "P0: 700 9", "calib.txt:1: .*rectified camera"),
    ("sequences/04/calib.txt", "P0: 700 0", "P0: 700", "calib.txt:1: expected 12 numbers"),
]


@pytest.mark.parametrize(("file", "old", "new", "expected"), BAD)
def test_a_bad_line_is_named_with_a_cure(example, file, old, new, expected):
    root = example("kitti")
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=expected) as caught:
        read_kitti(root)
    assert "\n" not in str(caught.value)
