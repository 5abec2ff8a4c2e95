"""12-Scenes: both cameras, the split and lost frames."""

import pytest

from posenet.datasets.formats.twelve_scenes import read_twelve_scenes
from posenet.errors import DataError
from posenet.geometry import Intrinsics

COLOR = Intrinsics(1158.3, 1153.53, 649.0, 483.5, 1296, 968)


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_first_sequence_is_the_test_sequence(example):
    frames = read_twelve_scenes(example("twelve_scenes"))
    assert [(frame.name, frame.sequence, frame.split) for frame in frames] == [
        ("sequence0/frame-000000", "sequence0", "test"),
        ("sequence1/frame-000001", "sequence1", "train"),
        ("sequence1/frame-000002", "sequence1", "train"),
    ]


def test_both_cameras_are_those_of_info(example):
    frame = read_twelve_scenes(example("twelve_scenes"))[0]
    assert frame.intrinsics == COLOR.resized(648, 484)  # at the size on disk
    assert frame.depth_camera.intrinsics == Intrinsics(570, 571, 320, 240, 640, 480)
    assert frame.depth_camera.color_center == (0, 0, 0)
    assert frame.depth_scale == 1000
    assert frame.depth_path.name == "frame-000000.depth.png"


def test_registered_depth_has_no_camera_of_its_own(example):
    frame = read_twelve_scenes(example("twelve_scenes"), depth_registered=True)[0]
    assert frame.depth_camera is None
    assert frame.depth_path is not None


def test_depth_of_a_camera_that_stands_elsewhere_is_not_used(example):
    root = example("twelve_scenes")
    extrinsic = "m_calibrationDepthExtrinsic = 1 0 0 0"
    replace(root / "info.txt", extrinsic, extrinsic + ".05")
    assert {frame.depth_path for frame in read_twelve_scenes(root)} == {None}


@pytest.mark.parametrize("word", ["-INF", "-inf", "-1.#INF", "-1.#IND00", "nan"])
def test_frames_without_tracking_are_left_out(example, word):
    root = example("twelve_scenes")
    (root / "data/frame-000001.pose.txt").write_text(f"{word} " * 16)
    names = [frame.name for frame in read_twelve_scenes(root)]
    assert names == ["sequence0/frame-000000", "sequence1/frame-000002"]


def test_frames_of_no_sequence_are_left_out(example):
    root = example("twelve_scenes")
    replace(root / "split.txt", "end=2", "end=1")
    assert len(read_twelve_scenes(root)) == 2


def test_without_info_the_camera_must_be_given(example):
    root = example("twelve_scenes")
    (root / "info.txt").unlink()
    with pytest.raises(DataError, match=r"info.txt: missing.*--data.intrinsics"):
        read_twelve_scenes(root)
    frame = read_twelve_scenes(root, Intrinsics(572, 572, 320, 239, 640, 478))[0]
    assert frame.intrinsics.width == 648
    assert frame.depth_path is None  # nobody knows where its pixels are


BAD = [
    ("split.txt", "[start=1 ; end=2]", "[start=0 ; end=2]", "split.txt:2: .* some of sequence0"),
    ("split.txt", "sequence1", "sequence0", "split.txt:2: .* some of sequence0"),
    ("split.txt", "[start=0 ; end=0]", "", "split.txt:1: expected 'sequence0 .*correct the line"),
    ("split.txt", "end=0", "end=" + "9" * 5000, "split.txt:1: expected"),
    ("info.txt", "m_colorWidth = 1296", "", "expected a line 'm_colorWidth'"),
    ("info.txt", "m_colorWidth = 1296", "m_colorWidth = wide", "info.txt:2: expected 1 numbers"),
    ("info.txt", "1158.3 0 649", "1158.3 0", "info.txt:7: expected 16 numbers"),
    ("info.txt", "1158.3", "0", "positive focal lengths"),
    ("info.txt", "m_depthShift = 1000", "m_depthShift = 0", "positive m_depthShift"),
    ("info.txt", "m_colorHeight = 968", "m_colorHeight = 700", "with the proportions"),
    ("data/frame-000001.pose.txt", "1.5", "x", "frame-000001.pose.txt: expected 4x4 numbers"),
    ("data/frame-000001.pose.txt", "0 -1 0", "0 1 0", "expected a rotation .*; restore"),
]


@pytest.mark.parametrize(("file", "old", "new", "expected"), BAD)
def test_a_bad_file_is_named_in_one_line(example, file, old, new, expected):
    root = example("twelve_scenes")
    replace(root / file, old, new)
    with pytest.raises(DataError, match=expected) as caught:
        read_twelve_scenes(root)
    assert "\n" not in str(caught.value)


def test_a_missing_pose_is_named(example):
    root = example("twelve_scenes")
    (root / "data/frame-000002.pose.txt").unlink()
    with pytest.raises(DataError, match=r"frame-000002.pose.txt: missing"):
        read_twelve_scenes(root)
