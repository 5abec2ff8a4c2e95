"""``transforms.json`` of NeRF, instant-ngp and nerfstudio.

Direction: camera-to-world 4x4, OpenGL axes (x right, y up, z back): the second and third column
change sign. The scale is arbitrary. An ``applied_transform`` of nerfstudio has turned the world of
the poses already; they are left as they are.

Cameras: ``fl_x, fl_y, cx, cy, w, h`` and the lens, in the file or in a frame, which wins; or only
``camera_angle_x``. Pixels are counted from the corner of the image (the centre of the top-left
pixel is (0.5, 0.5)), so the principal point moves by half a pixel. ``k4`` means two things: a
coefficient of OpenCV's fisheye, and nerfstudio's fourth radial one, which OpenCV has not and which
is refused.
Depth is a png of thousandths of the poses' unit on the pixels of the image: millimetres where a
sensor measured both, and what nerfstudio writes from COLMAP's points where nothing is metric.

NeRF's synthetic scenes have a file a split and leave out the ``.png``. Frames of its validation
split belong to neither training nor test.

Source: https://docs.nerf.studio/quickstart/data_conventions.html; the camera of instant-ngp is in
its docs/nerf_dataset_tips.md.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posenet.datasets.formats.parsing import (
    GIVE_CAMERA,
    find_examples,
    fit_camera,
    image_size,
    inside,
    make_distortion,
    make_intrinsics,
    natural_order,
    poses_from_matrices,
    quote,
    read_text,
    require_unique,
    sequence_of,
)
from posenet.datasets.frame import Frame
from posenet.datasets.images import IMAGE_SUFFIXES
from posenet.errors import DataError
from posenet.geometry import Distortion, Intrinsics

FILE = "transforms.json"
SPLIT_FILES = {
    "transforms_train.json": "train",
    "transforms_test.json": "test",
    "transforms_val.json": None,
}
SPLIT_LISTS = {"train_filenames": "train", "test_filenames": "test", "val_filenames": None}
PERSPECTIVE = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "PERSPECTIVE")
FISHEYE = "OPENCV_FISHEYE"
CAMERA_NUMBERS = (
    *("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "camera_angle_y"),
    *("k1", "k2", "k3", "k4", "p1", "p2"),
)
LEFT_OUT = (".png", ".jpg", ".jpeg", ".JPG", ".PNG")
OPENCV_FROM_OPENGL = (1.0, -1.0, -1.0)  # factors of the columns of a rotation


def read_transforms(
    root: Path, camera: Intrinsics | None = None, depth_registered: bool = False
) -> list[Frame]:
    """Read the frames of one scene.

    Args:
        root: Its folder, with ``transforms.json`` or ``transforms_train.json`` and so on.
        camera: The camera at any size, of straight lines; those of the files when omitted.
        depth_registered: Depth always is.

    Returns:
        The frames, sorted by name within each split file.

    Raises:
        DataError: A file is missing or unusable; the message names it and the frame.
    """
    if (root / FILE).is_file() or not any((root / name).is_file() for name in SPLIT_FILES):
        return require_unique(_read_file(root, FILE, None, camera), root / FILE)
    frames: list[Frame] = []
    for name, split in SPLIT_FILES.items():
        if (root / name).is_file():
            frames += _read_file(root, name, split, camera)
    return require_unique(frames, root)


def looks_like_transforms(root: Path) -> bool:
    """Whether a folder has one of the files."""
    return any((root / name).is_file() for name in (FILE, "transforms_train.json"))


def _read_file(
    root: Path, file_name: str, split: str | None, camera: Intrinsics | None
) -> list[Frame]:
    path = root / file_name
    content = _load(path)
    entries = content.get("frames")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: expected a list 'frames' of objects, found none; restore it")
    where = [f"{path}: frame {index}" for index in range(len(entries))]
    matrices = np.array([_matrix(e, at) for e, at in zip(entries, where, strict=True)])
    matrices = matrices.reshape(-1, 4, 4)
    matrices[:, :3, :3] *= OPENCV_FROM_OPENGL
    poses = poses_from_matrices(matrices, where, "correct its transform_matrix", scaled=True)
    splits = _listed_splits(content, root, path)
    listed = [_file_of(e, "file_path", root, at) for e, at in zip(entries, where, strict=True)]
    images = [_with_suffix(file) for file in listed]
    # One camera for the images of a folder, unless a frame has values of its own.
    own = [_camera_values(entry, at) for entry, at in zip(entries, where, strict=True)]
    keys = [(tuple(o.items()), image.parent) for o, image in zip(own, images, strict=True)]
    defaults = _camera_values(content, str(path))
    cameras = {
        key: _camera(defaults | dict(key[0]), str(path), image, camera)
        for key, image in find_examples(keys, images).items()
    }
    frames = []
    for i, entry in enumerate(entries):
        intrinsics, distortion = cameras[keys[i]]
        depth = None
        if "depth_file_path" in entry:
            depth = _file_of(entry, "depth_file_path", root, where[i])
        frames.append(
            Frame(
                name=listed[i].relative_to(root).as_posix(),
                image_path=images[i],
                pose=poses[i],
                intrinsics=intrinsics,
                sequence=sequence_of(images[i], root),
                split=splits.get(listed[i]) if splits else split,
                depth_path=depth,
                distortion=distortion,
            )
        )
    return sorted(frames, key=lambda frame: natural_order(frame.name))


def _load(path: Path) -> dict[str, Any]:
    text = read_text(path, "the cameras of a NeRF scene")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON, found something else ({error}); restore it") from (
            error
        )
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object with 'frames', found {quote(content)}")
    return content


def _matrix(entry: Mapping[str, Any], where: str) -> np.ndarray:
    """The 4x4 numbers of a frame; three rows get their fourth."""
    rows = entry.get("transform_matrix")
    try:
        matrix = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.empty(0)
    if matrix.shape not in ((3, 4), (4, 4)):
        raise DataError(
            f"{where}: expected 4x4 numbers 'transform_matrix', found {quote(rows)}; restore it"
        )
    return np.vstack((matrix[:3], matrix[3:] if len(matrix) == 4 else (0.0, 0.0, 0.0, 1.0)))


def _file_of(entry: Mapping[str, Any], key: str, root: Path, where: str) -> Path:
    name = entry.get(key)
    if not isinstance(name, str):
        raise DataError(f"{where}: expected a path {key!r}, found {quote(name)}; restore the file")
    return inside(root, name, f"{where}: {key}")


def _with_suffix(path: Path) -> Path:
    """The image itself where its ending was left out."""
    if path.suffix.lower() in IMAGE_SUFFIXES or path.is_file():
        return path
    named = [path.with_name(path.name + suffix) for suffix in LEFT_OUT]
    return next((candidate for candidate in named if candidate.is_file()), named[0])


def _listed_splits(content: Mapping[str, Any], root: Path, path: Path) -> dict[Path, str | None]:
    """The split of each file that nerfstudio's lists name."""
    splits: dict[Path, str | None] = {}
    for key, split in SPLIT_LISTS.items():
        names = content.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{path}: expected a list of paths {key!r}, found {quote(names)}")
        for name in names:
            file = inside(root, name, f"{path}: {key}")
            if splits.setdefault(file, split) != split:
                raise DataError(
                    f"{path}: expected {quote(name)} in one split, found it in two; a test image "
                    "must not be trained on, remove it from one of them"
                )
    return splits


def _camera_values(content: Mapping[str, Any], where: str) -> dict[str, float | str]:
    """What the file, or a frame of it, says of the camera."""
    values: dict[str, float | str] = {}
    for key in CAMERA_NUMBERS:
        value = content.get(key, 0.0)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e100:
            raise DataError(f"{where}: expected a number {key!r}, found {quote(value)}; correct it")
        if key in content:
            values[key] = float(value)
    model = FISHEYE if content.get("is_fisheye") is True else content.get("camera_model")
    if model is not None:
        if model not in (*PERSPECTIVE, FISHEYE):
            raise DataError(
                f"{where}: expected camera_model {', '.join(PERSPECTIVE)} or {FISHEYE}, found "
                f"{quote(model)}; undistort the images first"
            )
        values["camera_model"] = model
    return values


def _camera(
    values: Mapping[str, Any], where: str, image: Path, camera: Intrinsics | None
) -> tuple[Intrinsics, Distortion | None]:
    """The camera of an image, at its size on disk where it is there."""
    if camera is not None:
        return fit_camera(camera, image), None
    width, height = image_size(image) or (None, None)
    width, height = values.get("w", width), values.get("h", height)
    if width is None or height is None:
        raise DataError(
            f"{where}: expected the size of the images, 'w' and 'h', or the image {image}, found "
            f"neither; copy the images there, or give the camera: {GIVE_CAMERA}"
        )
    focal_x = _focal(values, "fl_x", "camera_angle_x", width)
    focal_y = _focal(values, "fl_y", "camera_angle_y", height)
    if focal_x is None and focal_y is None:
        raise DataError(
            f"{where}: expected a focal length, 'fl_x' or 'camera_angle_x', found none; add it, or "
            f"{GIVE_CAMERA}"
        )
    if focal_x is None or focal_y is None:  # one is given: pixels are square
        focal_x = focal_y = focal_x or focal_y or 0.0
    center = (values.get("cx", width / 2) - 0.5, values.get("cy", height / 2) - 0.5)
    intrinsics = make_intrinsics([focal_x, focal_y, *center, width, height], where)
    return fit_camera(intrinsics, image), _lens(values, where)


def _focal(values: Mapping[str, Any], key: str, angle_key: str, side: float) -> float | None:
    """A focal length in pixels, given or from the angle that the image's side spans."""
    if key in values or angle_key not in values:
        return values.get(key)
    tangent = math.tan(0.5 * values[angle_key])
    return 0.5 * side / tangent if tangent > 0 else 0.0


def _lens(values: Mapping[str, Any], where: str) -> Distortion | None:
    if values.get("camera_model") == FISHEYE:
        return make_distortion("fisheye", values)
    if values.get("k4"):
        raise DataError(
            f"{where}: expected k4 for {FISHEYE} alone, found {values['k4']:g}, which no other "
            "lens of OpenCV has; undistort the images first, or calibrate again without it"
        )
    return make_distortion("radial_tangential", values)
