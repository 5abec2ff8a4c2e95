"""7-Scenes: what is read from a good folder, and the one line that is said of a bad one."""

import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from posenet.datasets.formats.seven_scenes import COLOR_CAMERA, DEPTH_CAMERA, read_seven_scenes
from posenet.datasets.images import read_posed_image
from posenet.errors import DataError
from posenet.geometry import Intrinsics


def test_frames_come_in_the_order_of_the_splits_with_their_poses(tiny_scene):
    frames = read_seven_scenes(tiny_scene)
    assert [frame.name for frame in frames] == [
        f"seq-{sequence:02d}/frame-{number:06d}" for sequence in (1, 2, 3) for number in range(3)
    ]
    assert [frame.split for frame in frames] == ["train"] * 6 + ["test"] * 3
    assert [frame.sequence for frame in frames[::3]] == ["seq-01", "seq-02", "seq-03"]
    for frame in frames:
        stored = np.loadtxt(tiny_scene / f"{frame.name}.pose.txt")
        assert frame.pose.rotation.dtype == torch.float64
        np.testing.assert_allclose(frame.pose.matrix.numpy(), stored, atol=1e-12)
        assert frame.image_path == tiny_scene / f"{frame.name}.color.jpg"
        assert frame.depth_path == tiny_scene / f"{frame.name}.depth.png"


def test_a_png_is_read_and_wins_over_a_jpg(tiny_scene):
    folder = tiny_scene / "seq-01"
    image = cv2.imread(str(folder / "frame-000000.color.jpg"))
    cv2.imwrite(str(folder / "frame-000000.color.png"), image)  # beside its jpg
    cv2.imwrite(str(folder / "frame-000001.color.png"), image)
    (folder / "frame-000001.color.jpg").unlink()  # alone
    names = [frame.image_path.name for frame in read_seven_scenes(tiny_scene)[:3]]
    assert names == ["frame-000000.color.png", "frame-000001.color.png", "frame-000002.color.jpg"]


def test_other_files_are_ignored_and_depth_is_optional(tiny_scene):
    folder = tiny_scene / "seq-01"
    for name in ("Thumbs.db", "._frame-000000.color.png", "frame-000009.color.jpg.part"):
        (folder / name).write_bytes(b"dirt")
    (folder / "frame-000001.depth.png").unlink()
    frames = read_seven_scenes(tiny_scene)[:3]
    assert [frame.depth_path is None for frame in frames] == [False, True, False]
    assert {frame.sequence for frame in frames} == {"seq-01"}


@pytest.mark.parametrize(
    ("text", "sequences"),
    [
        ("sequence1\nsequence2\n", ["seq-01", "seq-02"]),
        ("seq-01\nseq-02\n", ["seq-01", "seq-02"]),
        ("sequence2\nsequence1", ["seq-02", "seq-01"]),
        ("seq-1\r\n\r\n  sequence02  \r\n", ["seq-01", "seq-02"]),
        ("sequence1\nseq-01\n", ["seq-01"]),  # named twice, read once
    ],
)
def test_split_lines(tiny_scene, text, sequences):
    (tiny_scene / "TrainSplit.txt").write_bytes(text.encode())
    train = [frame.name for frame in read_seven_scenes(tiny_scene) if frame.split == "train"]
    assert train == [f"{name}/frame-{k:06d}" for name in sequences for k in range(3)]


def test_labels_are_projected_to_so3(tiny_scene):
    path = tiny_scene / "seq-01" / "frame-000001.pose.txt"
    matrix = np.loadtxt(path)
    rotation = matrix[:3, :3].copy()
    # A symmetric stretch does not turn: the nearest rotation is the one we started from.
    stretch = np.array(((1e-2, 4e-3, 0.0), (4e-3, -1e-2, 2e-3), (0.0, 2e-3, 5e-3)))
    matrix[:3, :3] = rotation @ (np.eye(3) + stretch)
    np.savetxt(path, matrix, fmt="%.17g")
    found = read_seven_scenes(tiny_scene)[1].pose.rotation.numpy()
    assert np.abs(matrix[:3, :3].T @ matrix[:3, :3] - np.eye(3)).max() > 1e-2
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(found, rotation, atol=1e-12)


def test_default_intrinsics_are_525_px_at_640_pixels(tiny_scene):
    assert Intrinsics(525, 525, 320, 240, 640, 480) == COLOR_CAMERA
    assert read_seven_scenes(tiny_scene)[0].intrinsics == COLOR_CAMERA.resized(64, 48)
    large = np.zeros((480, 640, 3), np.uint8)
    for path in (tiny_scene / "seq-02").glob("*.jpg"):
        cv2.imwrite(str(path), large)
    assert read_seven_scenes(tiny_scene)[3].intrinsics == COLOR_CAMERA


def test_given_intrinsics_follow_the_size_of_the_images(tiny_scene):
    camera = Intrinsics(400.0, 420.0, 150.0, 130.0, 320, 240)
    found = read_seven_scenes(tiny_scene, camera)[0].intrinsics
    assert found == Intrinsics(80.0, 84.0, 150.5 / 5 - 0.5, 130.5 / 5 - 0.5, 64, 48)


def test_depth_has_its_own_camera_unless_registered(tiny_scene):
    assert {f.depth_camera for f in read_seven_scenes(tiny_scene)} == {DEPTH_CAMERA}
    assert DEPTH_CAMERA.intrinsics.focal_x == 585
    assert DEPTH_CAMERA.color_center == (0.025, 0, 0)
    registered = read_seven_scenes(tiny_scene, depth_registered=True)
    assert {f.depth_camera for f in registered} == {None}


def write_pose(*rows):
    return "\n".join(" ".join(map(str, row)) for row in rows)


LAST = (0, 0, 0, 1)
SPLIT, SEQUENCE = "TrainSplit.txt", "seq-01"
POSE, IMAGE = "seq-01/frame-000001.pose.txt", "seq-01/frame-000000.color.jpg"
# what is wrong: the file to change, its new content (None: removed), what the message says
BAD_FILES = {
    "missing root": ("", None, "--data.root"),
    "missing split file": (SPLIT, None, "each with a line such as 'sequence1'"),
    "empty test split file": ("TestSplit.txt", "\n", "add a line such as 'sequence1'"),
    "empty split file": (SPLIT, " \n\n", "add a line such as 'sequence1'"),
    "garbage split line": (SPLIT, "sequence1\nkitchen\n", "TrainSplit.txt:2: .*correct the line"),
    "binary split file": (SPLIT, b"\xff\xfe\x00\x81", "correct the line"),
    "split of a missing folder": (SPLIT, "sequence1\nsequence9\n", "names seq-09.*unpack its zip"),
    "a test sequence trained on": (SPLIT, "seq-01\nseq-03\n", "seq-03 .*remove it from one"),
    "missing pose": (POSE, None, "restore the file or remove the frame"),
    "empty pose": (POSE, "", "found 0 of them; restore"),
    "NaN pose": (POSE, write_pose((1, 0, 0, "nan"), (0, 1, 0, 0), (0, 0, 1, 0), LAST), "finite.*;"),
    "inf pose": (POSE, write_pose((1, 0, 0, "-inf"), (0, 1, 0, 0), (0, 0, 1, 0), LAST), "finite"),
    "lost -1.#IND": (POSE, write_pose(*[("-1.#IND",) * 4] * 4), "expected 4x4 numbers.*; restore"),
    "15 numbers": (POSE, "1 " * 15, "found 15 of them; restore"),
    "words": (POSE, "no pose\nhere\n", "expected 4x4 numbers.*; restore"),
    "binary pose": (POSE, b"\x89PNG\xff\xfe\x00", "expected 4x4 numbers.*; restore"),
    "scaled": (
        POSE,
        write_pose((2, 0, 0, 0), (0, 2, 0, 0), (0, 0, 2, 0), LAST),
        "8.000.*; restore",
    ),
    "sheared": (
        POSE,
        write_pose((1, 0.3, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), LAST),
        "RtR.*; restore",
    ),
    "mirrored": (
        POSE,
        write_pose((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, -1, 0), LAST),
        "-1.000.*; res",
    ),
    "all zero": (POSE, "0 " * 16, "expected a rotation.*; restore"),
    "wrong last row": (POSE, write_pose(*np.eye(4)[:3], (0, 0, 1, 1)), "last row.*; restore"),
    "first image empty": (IMAGE, b"", "download it again"),
    "first image cut off": (IMAGE, b"\xff\xd8\xff\xe0\x00\x10JFIF", "download it again"),
    "first image a web page": (IMAGE, "<html>\n404\n</html>", "download it again"),
}


@pytest.mark.parametrize("problem", BAD_FILES)
def test_a_bad_file_is_named_in_one_line_with_a_cure(tiny_scene, problem):
    name, content, expected = BAD_FILES[problem]
    path = tiny_scene / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(DataError, match=expected) as caught:
        read_seven_scenes(tiny_scene)
    message = str(caught.value)
    assert "\n" not in message
    # A sequence in both splits is a matter of two files: the folder is named.
    assert str(tiny_scene if problem == "a test sequence trained on" else path) in message


def test_a_sequence_without_images_is_named(tiny_scene):
    for path in (tiny_scene / "seq-02").glob("*.color.*"):
        path.unlink()
    with pytest.raises(DataError, match=r"seq-02: holds no frame.*unpack") as caught:
        read_seven_scenes(tiny_scene)
    assert "\n" not in str(caught.value)


def test_real_frames(redkitchen):
    frames = read_seven_scenes(redkitchen)
    assert len(frames) == len({frame.name for frame in frames}) == 780
    assert sum(frame.split == "train" for frame in frames) == 680
    assert sum(frame.split == "test" for frame in frames) == 100
    assert all(frame.depth_path is not None for frame in frames)
    assert {frame.intrinsics for frame in frames} == {COLOR_CAMERA}
    rotation = torch.stack([frame.pose.rotation for frame in frames])
    identity = torch.eye(3, dtype=torch.float64).expand_as(rotation)
    torch.testing.assert_close(rotation.mT @ rotation, identity, atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(780, dtype=torch.float64))
    # As shipped they are not.
    raw = np.stack([np.loadtxt(redkitchen / f"{frame.name}.pose.txt") for frame in frames[:50]])
    assert np.abs(raw[:, :3, :3].swapaxes(1, 2) @ raw[:, :3, :3] - np.eye(3)).max() > 1e-5


def test_a_scene_of_ones_own_needs_no_test_split(tiny_scene):
    (tiny_scene / "TestSplit.txt").unlink()
    assert {frame.split for frame in read_seven_scenes(tiny_scene)} == {"train"}


def test_a_camera_of_other_proportions_is_refused(tiny_scene):
    wide = Intrinsics(900.0, 900.0, 640.0, 360.0, 1280, 720)
    with pytest.raises(DataError, match=r"1280x720 camera, found 64x48; .*--data.intrinsics"):
        read_seven_scenes(tiny_scene, wide)


def test_a_photograph_turned_by_exif_has_the_size_that_its_camera_is_for(tiny_scene):
    upright = Intrinsics(52.5, 52.5, 23.5, 31.5, 48, 64)
    for path in sorted(tiny_scene.rglob("*.color.*")):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        Image.open(path).convert("RGB").save(path, exif=exif)
    frame = read_seven_scenes(tiny_scene, upright)[0]
    assert (frame.intrinsics.width, frame.intrinsics.height) == (48, 64)
    assert read_posed_image(frame)[0].shape == (64, 48, 3)
    frame = read_seven_scenes(tiny_scene)[0]
    assert (frame.intrinsics.width, frame.intrinsics.height) == (64, 48)
    assert read_posed_image(frame)[0].shape == (48, 64, 3)
