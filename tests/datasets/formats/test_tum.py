"""TUM RGB-D: association in time, interpolation and the three cameras."""

import shutil

import numpy as np
import pytest
import torch

from posenet.datasets.formats import FORMATS, find_format
from posenet.datasets.formats.tum import CAMERAS, read_tum
from posenet.datasets.splits import split_frames
from posenet.errors import DataError
from posenet.geometry import Intrinsics

HALF = 2**-0.5
GIVEN = Intrinsics(525, 525, 319.5, 239.5, 640, 480)


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


# --- several recordings ------------------------------------------------------------------------


@pytest.fixture
def recordings(example, tmp_path):
    """Write the example as recordings of these names into one folder."""

    def write(*names, root="mocap"):
        original = example("tum")
        for name in names:
            shutil.copytree(original, tmp_path / root / name)
        (tmp_path / root / "notes").mkdir()
        return tmp_path / root

    return write


def test_recordings_of_one_place_are_sequences(recordings):
    names = ["rgbd_dataset_freiburg1_desk2", "rgbd_dataset_freiburg1_desk10"]
    root = recordings(*names)
    assert find_format(root) is FORMATS["tum"]
    frames = read_tum(root)
    assert list(dict.fromkeys(frame.sequence for frame in frames)) == names  # in natural order
    assert [frame.name for frame in frames[:2]] == [
        f"{names[0]}/rgb/100.000000.png",
        f"{names[0]}/rgb/100.100000.png",
    ]
    for name in names:
        alone = read_tum(root / name)
        among = [frame for frame in frames if frame.sequence == name]
        assert [f.image_path for f in among] == [f.image_path for f in alone]
        assert [f.depth_path for f in among] == [f.depth_path for f in alone]
        assert {f.intrinsics for f in among} == {CAMERAS["1"]}
        torch.testing.assert_close([f.pose for f in among], [f.pose for f in alone])
    split = split_frames(frames, "none", test=f"sequences:{names[1]}")
    assert [frames[i].sequence for i in split.test] == [names[1]] * 3


# the folder, its recordings, a camera or none: what the message says, or the focal length
PLACES = {
    "the folder above tells the camera": ("freiburg2", ["xyz", "desk"], None, 520.908620),
    "the recording's folder wins": ("fr3", ["freiburg1_a", "freiburg1_b"], None, 517.306408),
    "none tells it": ("mocap", ["a", "b"], None, r"mocap.a: expected freiburg1, 2 or 3"),
    "half of them": ("mocap", ["a", "fr1_b"], None, r"mocap.a: expected freiburg1, 2 or 3"),
    "a given one": ("mocap", ["a", "b"], GIVEN, 525.0),
    "two places": (
        "mocap",
        ["freiburg1_a", "freiburg3_b"],
        None,
        r"one place, found freiburg1 and 3, whose .*as in --data.root \S*mocap.freiburg1_a$",
    ),
    "two places, one camera": ("mocap", ["fr1_a", "fr2_b"], GIVEN, "found freiburg1 and 2, whose"),
}


@pytest.mark.parametrize("case", PLACES)
def test_recordings_must_share_a_world_and_tell_their_cameras(recordings, case):
    root, names, camera, expected = PLACES[case]
    folder = recordings(*names, root=root)
    if isinstance(expected, float):
        for place in (folder, *(folder / name for name in names)):  # all of them, and each alone
            assert {frame.intrinsics.focal_x for frame in read_tum(place, camera)} == {expected}
        return
    with pytest.raises(DataError, match=expected) as caught:
        read_tum(folder, camera)
    assert "\n" not in str(caught.value)


def test_a_recording_that_holds_others_is_itself(recordings, example):
    root = recordings("fr1_a")
    for name in ("rgb.txt", "groundtruth.txt"):
        shutil.copy(root / "fr1_a" / name, root / name)
    assert {frame.sequence for frame in read_tum(root, GIVEN)} == {"mocap"}
