"""TUM RGB-D: association in time, interpolation and the three cameras."""

import shutil

import numpy as np
import pytest

from posenet.datasets.formats.tum import read_tum
from posenet.errors import DataError
from posenet.geometry import Intrinsics

HALF = 2**-0.5


def write_trajectory(root, *rows):
    lines = [" ".join(map(str, row)) for row in rows]
    (root / "groundtruth.txt").write_text("# trajectory\n" + "\n".join(lines) + "\n")


def test_a_pose_is_interpolated_between_its_neighbours(example):
    root = example("tum")
    # From no turn to a quarter turn about z in 0.02 s; the image is a quarter of the way.
    write_trajectory(root, (99.995, 0, 0, 0, 0, 0, 0, 1), (100.015, 4, 8, -2, 0, 0, HALF, HALF))
    (frame,) = read_tum(root)
    angle = np.pi / 8
    np.testing.assert_allclose(frame.pose.translation, (1, 2, -0.5), atol=1e-9)
    np.testing.assert_allclose(
        frame.pose.rotation[:, 0], (np.cos(angle), np.sin(angle), 0), atol=1e-9
    )


def test_opposite_signs_of_a_quaternion_are_the_same_turn(example):
    root = example("tum")
    write_trajectory(root, (99.99, 0, 0, 0, 0, 0, 0, 1), (100.01, 0, 0, 0, 0, 0, 0, -1))
    np.testing.assert_allclose(read_tum(root)[0].pose.rotation, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((99.985, 100.5), 0),  # the one before is near, the one after is not
        ((99.0, 100.015), 10),
        ((100.01, 100.02), 0),  # the trajectory begins after the image
        ((99.985, 99.99), 10),
    ],
)
def test_a_single_near_neighbour_gives_its_pose(example, times, expected):
    root = example("tum")
    (root / "rgb.txt").write_text("100.0 rgb/a.png\n")
    write_trajectory(root, *[(t, x, 0, 0, 0, 0, 0, 1) for t, x in zip(times, (0, 10), strict=True)])
    (frame,) = read_tum(root)
    np.testing.assert_allclose(frame.pose.translation, (expected, 0, 0))


def test_images_without_a_pose_are_left_out(example):
    root = example("tum")
    write_trajectory(root, (100.1, 0, 0, 0, 0, 0, 0, 1), (100.15, 1, 0, 0, 0, 0, 0, 1))
    assert [frame.name for frame in read_tum(root)] == ["rgb/100.100000.png"]
    write_trajectory(root, (7.0, 0, 0, 0, 0, 0, 0, 1))
    with pytest.raises(DataError, match=r"groundtruth.txt: expected poses within 0.02 s"):
        read_tum(root)


def test_lines_may_be_out_of_order_or_written_twice(example):
    root = example("tum")
    expected = read_tum(root)
    for name in ("rgb.txt", "depth.txt", "groundtruth.txt"):
        head, *lines = (root / name).read_text().splitlines()
        again = lines[:1] if name == "groundtruth.txt" else []
        (root / name).write_text("\n".join([head, *reversed(lines), *again]))
    assert [(f.name, f.depth_path) for f in read_tum(root)] == [
        (f.name, f.depth_path) for f in expected
    ]


def test_depth_is_associated_in_time_and_has_5000_units_a_metre(example):
    root = example("tum")
    (root / "depth.txt").write_text("100.015 depth/a.png\n100.19 depth/b.png\n100.15 depth/c.png\n")
    frames = read_tum(root)
    assert [frame.depth_path for frame in frames] == [
        root / "depth/a.png",
        None,
        root / "depth/b.png",
    ]
    assert {frame.depth_scale for frame in frames} == {5000.0}
    assert {frame.depth_camera for frame in frames} == {None}
    (root / "depth.txt").unlink()
    assert {frame.depth_path for frame in read_tum(root)} == {None}


@pytest.mark.parametrize(
    ("name", "focal", "k1"),
    [
        ("rgbd_dataset_freiburg1_desk", 517.306408, 0.262383),
        ("rgbd_dataset_freiburg2_xyz", 520.908620, 0.231222),
        ("fr3_office", 535.4, None),
    ],
)
def test_the_folder_tells_the_camera(example, tmp_path, name, focal, k1):
    frame = read_tum(example("tum").rename(tmp_path / name))[0]
    assert frame.intrinsics.focal_x == focal
    assert frame.sequence == name
    assert (frame.distortion.coefficients[0] if frame.distortion else None) == k1


def test_another_folder_needs_the_camera(example, tmp_path, make_image):
    root = shutil.move(example("tum"), tmp_path / "freiburg12")
    with pytest.raises(DataError, match=r"freiburg1, 2 or 3 .*--data.intrinsics"):
        read_tum(root)
    make_image(root / "rgb/100.100000.png", 320, 240)
    camera = Intrinsics(525, 525, 319.5, 239.5, 640, 480)
    frame = read_tum(root, camera)[0]
    assert frame.intrinsics == camera.resized(320, 240)
    assert frame.distortion is None


BAD = [
    ("rgb.txt", "100.000000 rgb", "now rgb", "rgb.txt:2: expected 1 numbers .timestamp"),
    ("rgb.txt", "100.000000 rgb/100.000000.png", "100", "rgb.txt:2: expected 'timestamp filename'"),
    ("groundtruth.txt", "-0.5 0.5\n", "-0.5\n", "groundtruth.txt:2: expected 8 numbers"),
    ("groundtruth.txt", "100.0000 1", "100.0000 inf", "groundtruth.txt:2: expected 8 numbers"),
    ("groundtruth.txt", "-0.5 0.5\n", "-0.5 0.8\n", "groundtruth.txt:2: .*quaternion of length 1"),
]


@pytest.mark.parametrize(("file", "old", "new", "expected"), BAD)
def test_a_bad_line_is_named_with_a_cure(example, file, old, new, expected):
    root = example("tum")
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))
    with pytest.raises(DataError, match=expected) as caught:
        read_tum(root)
    assert "\n" not in str(caught.value)
