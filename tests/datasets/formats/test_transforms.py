"""transforms.json: axes, cameras, splits and the truth on real images."""

import json
import math

import cv2
import numpy as np
import pytest

from posenet.datasets.formats.transforms import read_transforms
from posenet.errors import DataError
from posenet.geometry import Distortion, Intrinsics

IDENTITY = np.eye(4).tolist()


@pytest.fixture
def scene(tmp_path):
    """Write a file of keys and frames; a frame is a path or more keys."""

    def write(*frames, name="transforms.json", **keys):
        full = [{"file_path": f} if isinstance(f, str) else f for f in frames]
        full = [{"transform_matrix": IDENTITY} | frame for frame in full]
        (tmp_path / name).write_text(json.dumps(keys | {"frames": full}))
        return tmp_path

    return write


SIZE = {"w": 640, "h": 480}


def test_opengl_axes_become_opencvs(scene):
    (frame,) = read_transforms(scene("a.png", fl_x=500, **SIZE))
    # At the identity of OpenGL the camera looks along -z, its y axis pointing up.
    np.testing.assert_allclose(frame.pose.view_direction, (0, 0, -1), atol=1e-12)
    np.testing.assert_allclose(frame.pose.rotation[:, 1], (0, -1, 0), atol=1e-12)
    np.testing.assert_allclose(frame.pose.rotation[:, 0], (1, 0, 0), atol=1e-12)


def test_the_principal_point_counts_from_the_corner_of_the_image(scene):
    frame = read_transforms(scene("a.png", fl_x=500, fl_y=510, cx=320, cy=240, **SIZE))[0]
    assert frame.intrinsics == Intrinsics(500, 510, 319.5, 239.5, 640, 480)
    frame = read_transforms(scene("a.png", fl_y=510, **SIZE))[0]  # the middle, square pixels
    assert frame.intrinsics == Intrinsics(510, 510, 319.5, 239.5, 640, 480)


def test_an_angle_of_view_is_a_focal_length(scene):
    angle = 2 * math.atan(0.4)
    frame = read_transforms(scene("a.png", camera_angle_x=angle, **SIZE))[0]
    assert frame.intrinsics.focal_x == pytest.approx(800)
    assert frame.intrinsics.focal_y == pytest.approx(800)
    root = scene("a.png", camera_angle_x=angle, camera_angle_y=angle, **SIZE)
    assert read_transforms(root)[0].intrinsics.focal_y == pytest.approx(600)


def test_a_synthetic_scene_has_a_file_a_split_and_no_endings(scene, make_image):
    for split in ("train", "val", "test"):
        root = scene(
            *(f"./{split}/r_{i}" for i in (10, 2)),
            name=f"transforms_{split}.json",
            camera_angle_x=math.pi / 2,
        )
        make_image(root / f"{split}/r_10.png", 80, 80)  # r_2 is not there
    frames = read_transforms(root)
    assert [(frame.name, frame.split) for frame in frames] == [
        ("train/r_2", "train"),
        ("train/r_10", "train"),
        ("test/r_2", "test"),
        ("test/r_10", "test"),
        ("val/r_2", None),
        ("val/r_10", None),
    ]
    assert [frame.image_path for frame in frames[:2]] == [
        root / "train/r_2.png",
        root / "train/r_10.png",
    ]
    assert len({frame.intrinsics for frame in frames}) == 1
    assert frames[0].intrinsics.focal_x == frames[0].intrinsics.focal_y == pytest.approx(40)
    assert (frames[0].intrinsics.width, frames[0].intrinsics.height) == (80, 80)
    assert frames[0].intrinsics.center_x == frames[0].intrinsics.center_y == 39.5


def test_dots_in_a_name_are_no_ending(scene, make_image):
    root = scene("img.0001", "img.0002", fl_x=500, **SIZE)
    make_image(root / "img.0001.jpg", 640, 480)
    found = [frame.image_path.name for frame in read_transforms(root)]
    assert found == ["img.0001.jpg", "img.0002.png"]


def test_a_frame_may_have_a_camera_of_its_own(scene, make_image):
    root = scene(
        "a/1.png",
        {"file_path": "a/2.png", "fl_x": 900, "k1": 0.2, "w": 64},
        fl_x=500,
        fl_y=510,
        **SIZE,
    )
    first, second = read_transforms(root)
    assert first.intrinsics.focal_x == 500
    assert (second.intrinsics.focal_x, second.intrinsics.width) == (900, 64)
    assert first.distortion is None
    assert second.distortion.coefficients == (0.2, 0, 0, 0, 0, 0, 0, 0)
    make_image(root / "a/1.png", 320, 240)
    assert read_transforms(root)[0].intrinsics.focal_x == 250  # at the size on disk


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"k1": 0.1, "p2": 0.01}, ("radial_tangential", (0.1, 0, 0, 0.01, 0, 0, 0, 0))),
        ({"k3": 0.1, "camera_model": "OPENCV"}, ("radial_tangential", (0, 0, 0, 0, 0.1, 0, 0, 0))),
        ({"k4": 0.1, "camera_model": "OPENCV_FISHEYE"}, ("fisheye", (0, 0, 0, 0.1))),
        ({"k1": 0.1, "is_fisheye": True}, ("fisheye", (0.1, 0, 0, 0))),
        ({"camera_model": "OPENCV_FISHEYE"}, ("fisheye", (0, 0, 0, 0))),
        ({"k1": 0, "k2": 0.0, "camera_model": "PINHOLE"}, None),
    ],
)
def test_lenses(scene, keys, expected):
    frame = read_transforms(scene("a.png", fl_x=500, **SIZE, **keys))[0]
    assert frame.distortion == (Distortion(*expected) if expected else None)


def test_lists_of_nerfstudio_split_the_frames(scene):
    root = scene(
        *("images/1.png", "images/2.png", "images/3.png", "images/4.png"),
        fl_x=500,
        **SIZE,
        train_filenames=["images/1.png"],
        test_filenames=["./images/3.png"],
        val_filenames=["images/2.png"],
    )
    assert [frame.split for frame in read_transforms(root)] == ["train", None, "test", None]
    root = scene("1.png", fl_x=500, **SIZE, train_filenames=["1.png"], test_filenames=["1.png"])
    with pytest.raises(DataError, match="in one split, found it in two"):
        read_transforms(root)


def test_depth_is_where_the_frame_says(scene):
    frame = {"file_path": "images/1.png", "depth_file_path": "depth\\1.png"}
    root = scene(frame, "images/2.png", fl_x=500, **SIZE)
    assert [f.depth_path for f in read_transforms(root)] == [root / "depth/1.png", None]


def test_noisy_or_scaled_rotations_are_projected(scene):
    matrix = np.diag((3.0, 3.0, 3.0, 1.0))
    matrix[0, 1] += 1e-3
    matrix[:3, 3] = (1, 2, 3)
    for rows in (matrix, matrix[:3]):
        frame = {"file_path": "a.png", "transform_matrix": rows.tolist()}
        pose = read_transforms(scene(frame, fl_x=500, **SIZE))[0].pose
        np.testing.assert_allclose(pose.rotation, np.diag((1, -1, -1)), atol=1e-3)
        np.testing.assert_allclose(pose.rotation.T @ pose.rotation, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(pose.translation, (1, 2, 3))


def matrix_frame(*rows):
    return {"file_path": "a.png", "transform_matrix": rows}


MIRROR = np.diag((1.0, 1.0, -1.0, 1.0)).tolist()
BAD = {
    "no frames": ((), {}, "expected posed images, found none"),
    "no path": (({"file_path": None},), {}, "frame 0: expected a path 'file_path', found None"),
    "no matrix": ((matrix_frame(),), {}, "frame 0: expected 4x4 numbers"),
    "a ragged matrix": ((matrix_frame([1], [1, 2]),), {}, "frame 0: expected 4x4 numbers"),
    "words": ((matrix_frame(*[["a"] * 4] * 4),), {}, "frame 0: expected 4x4 numbers"),
    "nothing": ((matrix_frame(*[[None] * 4] * 4),), {}, "frame 0: the pose is not finite"),
    "zeros": ((matrix_frame(*[[0] * 4] * 4),), {}, "frame 0: expected a rotation .*; correct"),
    "a mirror": ((matrix_frame(*MIRROR),), {}, "frame 0: expected a rotation .*determinant -1"),
    "a last row": ((matrix_frame(*IDENTITY[:3], [0, 0, 1, 1]),), {}, "frame 0: .*last row"),
    "a word": (("a.png",), {"fl_x": "wide"}, "expected a number 'fl_x', found 'wide'"),
    "true": (("a.png",), {"fl_x": True}, "expected a number 'fl_x', found True"),
    "NaN": (("a.png",), {"fl_x": float("nan")}, "expected a number 'fl_x', found nan"),
    "an absurd number": (("a.png",), {"fl_x": 10**400}, "expected a number 'fl_x'"),
    "a focal length of 0": (("a.png",), {"fl_x": 0}, "expected positive focal lengths"),
    "half a pixel": (("a.png",), {"w": 640.5}, "whole numbers of pixels"),
    "an angle beyond 180": (("a.png",), {"fl_x": None}, "expected a number 'fl_x', found None"),
    "k4": (("a.png",), {"k4": 0.1}, "expected k4 for OPENCV_FISHEYE alone, found 0.1"),
    "another lens": (("a.png",), {"camera_model": "EQUIRECTANGULAR"}, "found 'EQUIRECTANGULAR'"),
    "no list": (("a.png",), {"test_filenames": "a.png"}, "list of paths 'test_filenames'"),
    "out": (("a.png",), {"test_filenames": ["../a.png"]}, "path of a file inside"),
    "out with depth": (
        ({"file_path": "a.png", "depth_file_path": "../d.png"},),
        {},
        "frame 0: depth_file_path: expected the path of a file inside",
    ),
}


@pytest.mark.parametrize("problem", BAD)
def test_a_bad_file_is_told_in_one_line(scene, problem):
    frames, keys, expected = BAD[problem]
    root = scene(*frames, **({"fl_x": 500} | SIZE | keys))
    with pytest.raises(DataError, match=expected) as caught:
        read_transforms(root)
    assert "\n" not in str(caught.value)
    assert str(root / "transforms.json") in str(caught.value)


def test_what_is_missing_of_the_camera_is_told(scene):
    with pytest.raises(DataError, match=r"a focal length, .*--data.intrinsics"):
        read_transforms(scene("a.png", **SIZE))
    with pytest.raises(DataError, match=r"the size of the images, .*--data.intrinsics"):
        read_transforms(scene("a.png", fl_x=500))
    given = Intrinsics(500, 500, 319.5, 239.5, 640, 480)
    assert read_transforms(scene("a.png"), given)[0].intrinsics == given


@pytest.mark.parametrize("text", ["[" * 100_000, '{"frames": ' * 5000, '{"frames": [1]}', "[]"])
def test_strange_json_is_one_line(scene, text):
    root = scene("a.png")
    (root / "transforms.json").write_text(text)
    with pytest.raises(DataError, match=r"transforms.json: expected") as caught:
        read_transforms(root)
    assert "\n" not in str(caught.value)


def test_fox_lists_more_images_than_it_has(real_data):
    frames = read_transforms(real_data("nerf/fox"))
    assert len(frames) == 67
    assert sum(frame.image_path.is_file() for frame in frames) == 50
    assert frames[0].name == "images/0001.jpg"
    expected = Intrinsics(1375.52, 1374.49, 554.558 - 0.5, 965.268 - 0.5, 1080, 1920)
    assert {frame.intrinsics for frame in frames} == {expected}
    assert frames[0].distortion.coefficients[:4] == (
        0.0578421,
        -0.0805099,
        -0.000980296,
        0.00015575,
    )


def matched_rays(frame_a, frame_b):
    """Normalised, undistorted points (N, 2) of SIFT matches of two images."""
    sift = cv2.SIFT_create(2000)
    found = []
    for frame in (frame_a, frame_b):
        image = cv2.imread(str(frame.image_path), cv2.IMREAD_GRAYSCALE)
        points, descriptors = sift.detectAndCompute(image, None)
        coefficients = np.array(frame.distortion.coefficients)
        pixels = np.array([point.pt for point in points])[:, None]
        rays = cv2.undistortPoints(pixels, frame.intrinsics.matrix, coefficients)[:, 0]
        found.append((rays, descriptors))
    (rays_a, descriptors_a), (rays_b, descriptors_b) = found
    pairs = cv2.BFMatcher().knnMatch(descriptors_a, descriptors_b, k=2)
    good = [first for first, second in pairs if first.distance < 0.7 * second.distance]
    return rays_a[[m.queryIdx for m in good]], rays_b[[m.trainIdx for m in good]]


def epipolar_distance(frame_a, frame_b, rays_a, rays_b):
    """Median distance in pixels of points in b to the lines of their partners in a."""
    relative = (frame_b.pose.world_to_camera @ frame_a.pose.matrix).numpy()
    x, y, z = relative[:3, 3]
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ relative[:3, :3]
    rays_a, rays_b = (np.column_stack((rays, np.ones(len(rays)))) for rays in (rays_a, rays_b))
    lines = rays_a @ essential.T
    distance = np.abs((lines * rays_b).sum(axis=1)) / np.linalg.norm(lines[:, :2], axis=1)
    return np.median(distance) * frame_b.intrinsics.focal_x


def test_neighbouring_photos_of_fox_agree_with_their_poses(real_data):
    frames = [f for f in read_transforms(real_data("nerf/fox")) if f.image_path.is_file()]
    frame_a, frame_b = frames[10], frames[12]
    rays = matched_rays(frame_a, frame_b)
    assert len(rays[0]) > 100
    assert epipolar_distance(frame_a, frame_b, *rays) < 2.0
