"""COLMAP: both encodings, every camera model, and the truth on real images."""

import struct
import time

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posenet.datasets.formats.colmap import CAMERA_MODELS, looks_like_colmap, read_colmap
from posenet.errors import DataError
from posenet.geometry import Intrinsics

# Of each model that OpenCV has too: parameters for a 640x480 image, all of them at work.
PARAMETERS = {
    "SIMPLE_PINHOLE": (500, 321, 242),
    "PINHOLE": (500, 510, 321, 242),
    "SIMPLE_RADIAL": (500, 321, 242, 0.1),
    "RADIAL": (500, 321, 242, 0.1, -0.05),
    "OPENCV": (500, 510, 321, 242, 0.1, -0.05, 0.003, -0.002),
    "OPENCV_FISHEYE": (500, 510, 321, 242, 0.1, -0.05, 0.02, -0.01),
    "FULL_OPENCV": (500, 510, 321, 242, 0.1, -0.05, 0.003, -0.002, 0.02, 0.07, -0.03, 0.01),
    "SIMPLE_RADIAL_FISHEYE": (500, 321, 242, 0.1),
    "RADIAL_FISHEYE": (500, 321, 242, 0.1, -0.05),
    "SIMPLE_FISHEYE": (500, 321, 242),
    "FISHEYE": (500, 510, 321, 242),
}
REFUSED = sorted(set(CAMERA_MODELS) - set(PARAMETERS))


def project(frame, points):
    """Pixels of camera-frame points by OpenCV, with the frame's intrinsics and distortion."""
    points, none = np.ascontiguousarray(points), np.zeros(3)
    if frame.distortion is not None and frame.distortion.model == "fisheye":
        coefficients = np.array(frame.distortion.coefficients)
        pixels, _ = cv2.fisheye.projectPoints(
            points[:, None], none, none, frame.intrinsics.matrix, coefficients
        )
    else:
        coefficients = np.array(frame.distortion.coefficients) if frame.distortion else none[:0]
        pixels, _ = cv2.projectPoints(points, none, none, frame.intrinsics.matrix, coefficients)
    return pixels[:, 0]


def binary_cameras(*cameras):
    """``(id, model number, width, height, parameters)`` each."""
    packed = [struct.pack("<Q", len(cameras))]
    for number, model, width, height, parameters in cameras:
        packed.append(struct.pack("<IiQQ", number, model, width, height))
        packed.append(struct.pack(f"<{len(parameters)}d", *parameters))
    return b"".join(packed)


def binary_images(*images, points=2):
    """``(id, quaternion and translation, camera id, name)`` each."""
    packed = [struct.pack("<Q", len(images))]
    for number, pose, camera, name in images:
        packed.append(struct.pack("<I7dI", number, *pose, camera) + name + b"\0")
        packed.append(struct.pack("<Q", points) + b"\x01" * 24 * points)
    return b"".join(packed)


POSE = (0.5, 0.5, -0.5, 0.5, 2, 3, -1)  # the first camera of the examples
CAMERAS = binary_cameras((1, 1, 640, 480, (500, 510, 320, 240)))
IMAGES = binary_images((1, POSE, 1, b"a1.jpg"), (2, (1, 0, 0, 0, 0, 0, 0), 1, b"a2.jpg"))


@pytest.fixture
def binary(tmp_path):
    (tmp_path / "cameras.bin").write_bytes(CAMERAS)
    (tmp_path / "images.bin").write_bytes(IMAGES)
    return tmp_path


def test_binary_files_say_what_text_files_say(binary, first_rotation, centers):
    frames = read_colmap(binary)
    assert [frame.name for frame in frames] == ["a1.jpg", "a2.jpg"]
    np.testing.assert_allclose(frames[0].pose.rotation, first_rotation, atol=1e-12)
    np.testing.assert_allclose(frames[0].pose.translation, centers[0], atol=1e-12)
    assert frames[0].intrinsics == Intrinsics(500, 510, 319.5, 239.5, 640, 480)


def test_the_centre_of_the_first_pixel_is_at_a_half_there_and_at_zero_here(example):
    frame = read_colmap(example("colmap"))[0]
    assert frame.intrinsics == Intrinsics(500, 510, 319.5, 239.5, 640, 480)
    assert frame.distortion is None


@pytest.mark.parametrize("place", ["sparse/0", "sparse", "."])
def test_the_places_of_a_model(example, tmp_path, place):
    source = example("colmap") / "sparse/0"
    root = tmp_path / "scene"
    (root / place).mkdir(parents=True)
    for path in source.iterdir():
        path.rename(root / place / path.name)
    assert looks_like_colmap(root)
    assert read_colmap(root)[0].image_path == root / "a1.jpg"
    (root / "images").mkdir()
    assert read_colmap(root)[0].image_path == root / "images/a1.jpg"


def test_folders_are_sequences_names_may_have_spaces_and_2_comes_before_10(example):
    root = example("colmap")
    path = root / "sparse/0/images.txt"
    text = path.read_text().replace("a1.jpg", "left/my photo 10.jpg")
    path.write_text(text.replace("a2.jpg", "left/my photo 2.jpg"))
    assert [(frame.name, frame.sequence, frame.split) for frame in read_colmap(root)] == [
        ("a3.jpg", "all", None),
        ("left/my photo 2.jpg", "left", None),
        ("left/my photo 10.jpg", "left", None),
    ]


def test_intrinsics_are_those_of_the_images_on_disk(example, make_image):
    root = example("colmap")
    make_image(root / "images/a2.jpg", 320, 240)  # the first one is not there
    expected = Intrinsics(500, 510, 319.5, 239.5, 640, 480).resized(320, 240)
    assert {frame.intrinsics for frame in read_colmap(root)} == {expected}


def test_images_without_observations_have_an_empty_line(example):
    root = example("colmap")
    path = root / "sparse/0/images.txt"
    observations = "1.5 2.5 -1 3 4 7\n"
    path.write_text(path.read_text().replace(observations, "\n").rstrip())
    assert len(read_colmap(root)) == 3
    path.write_text(path.read_text().replace("\n\n", "\n"))
    with pytest.raises(DataError, match=r"images.txt:3: expected the observations .*empty line"):
        read_colmap(root)


@pytest.mark.parametrize("model", REFUSED)
def test_a_lens_that_opencv_has_not_is_refused_with_the_cure(binary, model):
    number, names, _ = CAMERA_MODELS[model]
    parameters = [0.1] * len(names.split())
    (binary / "cameras.bin").write_bytes(binary_cameras((1, number, 640, 480, parameters)))
    with pytest.raises(DataError, match=f"found {model}; .*colmap image_undistorter") as caught:
        read_colmap(binary)
    assert "\n" not in str(caught.value)
    camera = Intrinsics(500, 500, 319.5, 239.5, 640, 480)
    assert len(read_colmap(binary, camera)) == 2  # the user knows better


BAD_BINARY = {
    "empty": ("images.bin", b"", "cut off or something else .0 bytes.; copy it again"),
    "an absurd count": ("images.bin", b"\xff" * 8 + IMAGES[8:], "cut off"),
    "an absurd number of points": (
        "images.bin",
        IMAGES.replace(struct.pack("<Q", 2) + b"\x01", b"\xff" * 8 + b"\x01"),
        "cut off",
    ),
    "too few images": ("images.bin", struct.pack("<Q", 1) + IMAGES[8:], "expected 1 images in"),
    "a name without an end": ("images.bin", IMAGES[:78] + b"a" * 9000, "cut off"),
    "a name that is no text": ("images.bin", IMAGES.replace(b"a1", b"\xff1"), "image 1: .*UTF-8"),
    "a name of two lines": ("images.bin", IMAGES.replace(b"a1", b"\n1"), "path of a file inside"),
    "no unit quaternion": (
        "images.bin",
        binary_images((7, (1, 1, 0, 0, 0, 0, 0), 1, b"a")),
        "image 7: expected a quaternion of length 1, found length 1.41421",
    ),
    "not finite": (
        "images.bin",
        binary_images((7, (1, 0, 0, 0, float("nan"), 0, 0), 1, b"a")),
        "image 7: the pose is not finite",
    ),
    "no images": ("images.bin", binary_images(), "expected posed images, found none"),
    "another camera": ("images.bin", binary_images((1, POSE, 9, b"a")), "expected camera 9"),
    "the same name twice": (
        "images.bin",
        binary_images((1, POSE, 1, b"a"), (2, POSE, 1, b"a")),
        "found a twice",
    ),
    "no cameras file": ("cameras.bin", b"", "cameras.bin: .*cut off"),
    "cameras cut off": ("cameras.bin", CAMERAS[:-1], "cameras.bin: .*cut off"),
    "an absurd number of cameras": ("cameras.bin", b"\xff" * 8 + CAMERAS[8:], "cut off"),
    "a model of tomorrow": (
        "cameras.bin",
        binary_cameras((1, 99, 640, 480, (1,))),
        "camera 1: expected a camera model from 0 to 17, found 99",
    ),
    "no size": (
        "cameras.bin",
        binary_cameras((1, 0, 0, 480, (500, 320, 240))),
        "camera 1: expected positive focal lengths and whole numbers of pixels",
    ),
    "a focal length below 0": (
        "cameras.bin",
        binary_cameras((1, 0, 640, 480, (-500, 320, 240))),
        "camera 1: expected positive focal lengths",
    ),
    "an infinite coefficient": (
        "cameras.bin",
        binary_cameras((1, 2, 640, 480, (500, 320, 240, float("inf")))),
        "camera 1: expected finite numbers",
    ),
}


@pytest.mark.parametrize("problem", BAD_BINARY)
def test_a_bad_binary_file_is_named_in_one_line(binary, problem):
    name, content, expected = BAD_BINARY[problem]
    (binary / name).write_bytes(content)
    with pytest.raises(DataError, match=expected) as caught:
        read_colmap(binary)
    assert "\n" not in str(caught.value)
    assert str(binary) in str(caught.value)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_every_cut_is_noticed(binary, name):
    content = (binary / name).read_bytes()
    for length in range(len(content)):
        (binary / name).write_bytes(content[:length])
        with pytest.raises(DataError, match=name):
            read_colmap(binary)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_any_bytes_give_frames_or_one_line(tmp_path_factory, name):
    root = tmp_path_factory.mktemp("fuzz")
    (root / "cameras.bin").write_bytes(CAMERAS)
    (root / "images.bin").write_bytes(IMAGES)
    good = (root / name).read_bytes()

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(good)), st.binary(max_size=12), st.integers(0, 12))
    def read(start, piece, length):
        (root / name).write_bytes(good[:start] + piece + good[start + length :])
        try:
            frames, message = read_colmap(root), ""
        except DataError as error:
            frames, message = [], str(error)
        assert bool(frames) != bool(message)
        assert "\n" not in message

    read()


BAD_TEXT = [
    ("cameras.txt", "PINHOLE", "PINHOL", "cameras.txt:2: .*did you mean 'PINHOLE'"),
    ("cameras.txt", "PINHOLE 640", "OPENCV 640", "cameras.txt:2: expected 11 numbers"),
    ("cameras.txt", " 240", "", "cameras.txt:2: expected 7 numbers"),
    ("cameras.txt", "640", "640.5", "cameras.txt:2: .*whole numbers of pixels"),
    ("cameras.txt", "1 PIN", "one PIN", "cameras.txt:2: expected 7 numbers"),
    ("images.txt", " 1 a1.jpg", " a1.jpg", "images.txt:2: expected 'IMAGE_ID QW"),
    ("images.txt", "2 3 -1 1 a1", "2 3 nan 1 a1", "images.txt:2: expected 9 numbers"),
    ("images.txt", "1 0.5 0.5", "1 0.5 0.8", "images.txt:2: expected a quaternion"),
]


@pytest.mark.parametrize(("file", "old", "new", "expected"), BAD_TEXT)
def test_a_bad_line_is_named_with_a_cure(example, file, old, new, expected):
    root = example("colmap")
    path = root / "sparse/0" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=expected) as caught:
        read_colmap(root)
    assert "\n" not in str(caught.value)


def test_a_hundred_thousand_images_are_read_in_seconds(binary):
    pose = (1, 0, 0, 0, 0, 0, 0)
    images = [(i, pose, 1, b"cam%d/%06d.jpg" % (i % 9, i)) for i in range(100_000)]
    (binary / "images.bin").write_bytes(binary_images(*images))
    started = time.perf_counter()
    assert len(read_colmap(binary)) == 100_000
    assert time.perf_counter() - started < 60  # 5 s on a laptop's core


# What COLMAP itself says.


@pytest.fixture(scope="module")
def pycolmap():
    return pytest.importorskip("pycolmap", reason="pycolmap, the reference, is not installed")


def test_the_table_of_models_is_colmaps(pycolmap):
    theirs = {
        name: (int(number), len(pycolmap.Camera.create_from_model_id(1, number, 1, 9, 9).params))
        for name, number in pycolmap.CameraModelId.__members__.items()
        if name != "INVALID"
    }
    ours = {name: (row.number, len(row.parameters.split())) for name, row in CAMERA_MODELS.items()}
    assert {name: ours.get(name) for name in theirs} == theirs


def written_model(pycolmap, folder, camera, text):
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(camera)
    turn = pycolmap.Rotation3d(np.array((0.1, -0.5, 0.3, 0.8)) / np.sqrt(0.99))  # xyzw
    pose = pycolmap.Rigid3d(turn, np.array((0.3, -1.2, 2.5)))
    image = pycolmap.Image(name="a b/1.png", camera_id=1, image_id=4)
    model.add_image_with_trivial_frame(image, pose)
    (model.write_text if text else model.write_binary)(str(folder))
    return pose


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("model", PARAMETERS)
def test_our_projection_is_that_of_every_camera_model(pycolmap, tmp_path, model, text):
    if model not in pycolmap.CameraModelId.__members__:
        pytest.skip(f"this pycolmap has no {model} yet")
    camera = pycolmap.Camera(
        camera_id=1, model=model, width=640, height=480, params=PARAMETERS[model]
    )
    pose = written_model(pycolmap, tmp_path, camera, text)
    (frame,) = read_colmap(tmp_path)
    np.testing.assert_allclose(frame.pose.world_to_camera[:3], pose.matrix(), atol=1e-12)
    rng = np.random.default_rng(3)
    rays = np.column_stack((rng.uniform(-0.6, 0.6, (50, 2)), np.ones(50)))
    points = rays * rng.uniform(1, 9, (50, 1))
    expected = camera.img_from_cam(points) - 0.5
    np.testing.assert_allclose(project(frame, points), expected, atol=1e-9)


def test_images_of_a_rig_hold_their_own_poses(pycolmap, tmp_path):
    model = pycolmap.Reconstruction()
    for number in (1, 2):
        model.add_camera(
            pycolmap.Camera(
                camera_id=number,
                model="PINHOLE",
                width=640,
                height=480,
                params=(500, 500, 320, 240),
            )
        )
    beside = pycolmap.Rigid3d(
        pycolmap.Rotation3d(np.array((0, 0.6, 0, 0.8))), np.array((0.5, 0, 0))
    )
    sensors = [pycolmap.sensor_t(pycolmap.SensorType.CAMERA, number) for number in (1, 2)]
    rig = pycolmap.Rig(rig_id=1)
    rig.add_ref_sensor(sensors[0])
    rig.add_sensor(sensors[1], beside)
    model.add_rig(rig)
    frame = pycolmap.Frame(frame_id=1, rig_id=1)
    frame.rig_from_world = pycolmap.Rigid3d(
        pycolmap.Rotation3d(np.array((0.6, 0, 0, 0.8))), np.array((1.0, 2.0, 3.0))
    )
    images = []
    for number, sensor in zip((1, 2), sensors, strict=True):
        frame.add_data_id(pycolmap.data_t(sensor, number))
        images.append(pycolmap.Image(name=f"{number}.png", camera_id=number, image_id=number))
        images[-1].frame_id = 1
    model.add_frame(frame)
    for image in images:
        model.add_image(image)
    model.register_frame(1)
    model.write_binary(str(tmp_path))
    assert (tmp_path / "rigs.bin").is_file()
    for ours, number in zip(read_colmap(tmp_path), (1, 2), strict=True):
        theirs = model.images[number].cam_from_world().matrix()
        np.testing.assert_allclose(ours.pose.world_to_camera[:3], theirs, atol=1e-12)


def test_bonsai_is_what_pycolmap_reads(pycolmap, real_data, tmp_path):
    root = real_data("colmap/bonsai")
    model = pycolmap.Reconstruction(str(root / "sparse/0"))
    frames = {frame.name: frame for frame in read_colmap(root)}
    assert len(frames) == 292
    assert all(frame.image_path.is_file() for frame in frames.values())
    for image in model.images.values():
        found = frames[image.name].pose.world_to_camera[:3].numpy()
        np.testing.assert_allclose(found, image.cam_from_world().matrix(), atol=1e-9)
    model.write_text(str(tmp_path))
    for frame in read_colmap(tmp_path):  # the text says the same
        torch.testing.assert_close(frame.pose, frames[frame.name].pose, atol=1e-9, rtol=0)
        assert frame.intrinsics == frames[frame.name].intrinsics
        assert frame.distortion == frames[frame.name].distortion


def test_points_of_bonsai_are_seen_where_they_were_found(pycolmap, real_data):
    root = real_data("colmap/bonsai")
    model = pycolmap.Reconstruction(str(root / "sparse/0"))
    frames = {frame.name: frame for frame in read_colmap(root)}
    errors = []
    for image in list(model.images.values())[::40]:
        seen = [point for point in image.points2D if point.has_point3D()]
        world = np.array([(*model.points3D[point.point3D_id].xyz, 1.0) for point in seen])
        frame = frames[image.name]
        pixels = project(frame, (world @ frame.pose.world_to_camera.numpy().T)[:, :3])
        errors.append(np.linalg.norm(pixels + 0.5 - [point.xy for point in seen], axis=1))
    assert (
        np.median(np.concatenate(errors)) < 0.4
    )  # and half a pixel more where it is not taken off
