"""COLMAP sparse models, text or binary.

Direction: world-to-camera, a quaternion wxyz and the translation of that direction; OpenCV axes;
the scale is arbitrary unless the model was aligned. Newer versions write ``rigs`` and ``frames``
beside, but the images of both kinds hold the pose of every image as before.

Cameras: in COLMAP the centre of the top-left pixel is (0.5, 0.5), here it is (0, 0), so the
principal point moves by half a pixel. Lenses that OpenCV describes too are taken exactly, others
are refused.

Source: https://colmap.github.io/format.html, and src/colmap/sensor/models.h for the lenses.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from posenet.datasets.formats.parsing import (
    find_examples,
    fit_camera,
    inside,
    list_poses,
    make_distortion,
    make_intrinsics,
    natural_order,
    parse_numbers,
    quote,
    read_lines,
    read_text,
    require_unique,
    rotations_from_quaternions,
    sequence_of,
)
from posenet.datasets.frame import Frame
from posenet.errors import DataError, suggest
from posenet.geometry import Distortion, Intrinsics

MODEL_FOLDERS = ("sparse/0", "sparse", ".")
MAX_NAME_BYTES = 4096


class CameraModel(NamedTuple):
    """A camera model of COLMAP.

    Attributes:
        number: What binary files call it.
        parameters: In the order of the files; ``f`` stands for fx and fy.
        lens: What is made of the coefficients; None where OpenCV has no such lens.
    """

    number: int
    parameters: str
    lens: Literal["radial_tangential", "fisheye"] | None


CAMERA_MODELS = {
    "SIMPLE_PINHOLE": CameraModel(0, "f cx cy", "radial_tangential"),
    "PINHOLE": CameraModel(1, "fx fy cx cy", "radial_tangential"),
    "SIMPLE_RADIAL": CameraModel(2, "f cx cy k1", "radial_tangential"),
    "RADIAL": CameraModel(3, "f cx cy k1 k2", "radial_tangential"),
    "OPENCV": CameraModel(4, "fx fy cx cy k1 k2 p1 p2", "radial_tangential"),
    "OPENCV_FISHEYE": CameraModel(5, "fx fy cx cy k1 k2 k3 k4", "fisheye"),
    "FULL_OPENCV": CameraModel(6, "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6", "radial_tangential"),
    "FOV": CameraModel(7, "fx fy cx cy omega", None),
    "SIMPLE_RADIAL_FISHEYE": CameraModel(8, "f cx cy k1", "fisheye"),
    "RADIAL_FISHEYE": CameraModel(9, "f cx cy k1 k2", "fisheye"),
    "THIN_PRISM_FISHEYE": CameraModel(10, "fx fy cx cy k1 k2 p1 p2 k3 k4 sx1 sy1", None),
    "RAD_TAN_THIN_PRISM_FISHEYE": CameraModel(
        11, "fx fy cx cy k0 k1 k2 k3 k4 k5 p0 p1 s0 s1 s2 s3", None
    ),
    "SIMPLE_DIVISION": CameraModel(12, "f cx cy k", None),
    "DIVISION": CameraModel(13, "fx fy cx cy k", None),
    "SIMPLE_FISHEYE": CameraModel(14, "f cx cy", "fisheye"),
    "FISHEYE": CameraModel(15, "fx fy cx cy", "fisheye"),
    "EUCM": CameraModel(16, "fx fy cx cy alpha beta", None),
    "EQUIRECTANGULAR": CameraModel(17, "w h", None),
}
_BY_NUMBER = {model.number: name for name, model in CAMERA_MODELS.items()}
_COUNT = struct.Struct("<Q")
_CAMERA_START = struct.Struct("<IiQQ")  # id, model, width, height
_IMAGE_START = struct.Struct("<I7dI")  # id, quaternion, translation, camera id
_POINT_BYTES = 24  # an observation: x, y, point id


class _Camera(NamedTuple):
    model: str
    width: float
    height: float
    parameters: tuple[float, ...]
    where: str


class _Image(NamedTuple):
    pose: tuple[float, ...]  # QW QX QY QZ TX TY TZ
    camera_id: int
    name: str
    where: str


def read_colmap(
    root: Path, camera: Intrinsics | None = None, depth_registered: bool = False
) -> list[Frame]:
    """Read the registered images of a model.

    Args:
        root: A folder with the model in ``sparse/0``, ``sparse`` or itself, and the images in
            ``images`` or itself.
        camera: The camera at any size, of straight lines; those of the model when omitted.
        depth_registered: There is no depth.

    Returns:
        The frames, sorted by name.

    Raises:
        DataError: A file is missing or unusable, or a lens has no counterpart here.
    """
    folder = _model_folder(root)
    if folder is None:
        raise DataError(
            f"{root}: expected cameras.bin and images.bin, or cameras.txt and images.txt, here or "
            "in sparse/0, found neither; give the folder that holds them with --data.root"
        )
    binary = (folder / "images.bin").is_file()  # as COLMAP itself does where both are there
    suffix, readers = ("bin", _BINARY_READERS) if binary else ("txt", _TEXT_READERS)
    cameras = readers[0](folder / f"cameras.{suffix}")
    images = list(readers[1](folder / f"images.{suffix}"))
    image_root = root / "images" if (root / "images").is_dir() else root

    numbers = np.array([image.pose for image in images]).reshape(-1, 7)
    where = [image.where for image in images]
    world_to_camera = rotations_from_quaternions(numbers[:, :4], where)
    centers = -np.einsum("nji,nj->ni", world_to_camera.numpy(), numbers[:, 4:])
    for i in np.flatnonzero(~np.isfinite(centers).all(axis=1))[:1]:
        raise DataError(f"{where[i]}: the pose is not finite; make the model again")
    poses = list_poses(world_to_camera.mT, centers)

    paths = [inside(image_root, image.name, image.where) for image in images]
    examples = find_examples((image.camera_id for image in images), paths)
    lenses: dict[int, tuple[Intrinsics, Distortion | None]] = {}
    frames = []
    for image, path, pose in zip(images, paths, poses, strict=True):
        number = image.camera_id
        if number not in lenses:
            if number not in cameras:
                raise DataError(
                    f"{folder / f'cameras.{suffix}'}: expected camera {number} of {image.where}, "
                    "found none of this number; take both files from the same model"
                )
            intrinsics, distortion = (camera, None) if camera else _lens(cameras[number])
            lenses[number] = fit_camera(intrinsics, examples[number]), distortion
        intrinsics, distortion = lenses[number]
        frames.append(
            Frame(
                name=path.relative_to(image_root).as_posix(),
                image_path=path,
                pose=pose,
                intrinsics=intrinsics,
                sequence=sequence_of(path, image_root),
                split=None,
                distortion=distortion,
            )
        )
    frames.sort(key=lambda frame: natural_order(frame.name))
    return require_unique(frames, folder / f"images.{suffix}")


def looks_like_colmap(root: Path) -> bool:
    """Whether a folder holds a model."""
    return _model_folder(root) is not None


def _model_folder(root: Path) -> Path | None:
    for name in MODEL_FOLDERS:
        for suffix in ("bin", "txt"):
            files = [root / name / f"{kind}.{suffix}" for kind in ("cameras", "images")]
            if all(path.is_file() for path in files):
                return root / name
    return None


def _lens(camera: _Camera) -> tuple[Intrinsics, Distortion | None]:
    """A camera of COLMAP in this project's words."""
    model = CAMERA_MODELS[camera.model]
    if model.lens is None:
        known = ", ".join(name for name, row in CAMERA_MODELS.items() if row.lens)
        raise DataError(
            f"{camera.where}: expected one of {known}, found {camera.model}; undistort the images "
            "with 'colmap image_undistorter' and use the model that it writes"
        )
    named = dict(zip(model.parameters.split(), camera.parameters, strict=True))
    focal_x, focal_y = (named.get(name, named.get("f", 0.0)) for name in ("fx", "fy"))
    center = (named["cx"] - 0.5, named["cy"] - 0.5)
    size = (camera.width, camera.height)
    intrinsics = make_intrinsics([focal_x, focal_y, *center, *size], camera.where)
    if not np.isfinite(camera.parameters).all():
        raise DataError(
            f"{camera.where}: expected finite numbers, found {quote(camera.parameters)}; make the "
            "model again"
        )
    return intrinsics, make_distortion(model.lens, named)


def _read_cameras_text(path: Path) -> dict[int, _Camera]:
    cameras = {}
    for where, line in read_lines(path, "the cameras of a COLMAP model"):
        number, name, *words = [*line.split(maxsplit=2), "", ""]
        model = CAMERA_MODELS.get(name)
        if model is None:
            raise DataError(
                f"{where}: expected 'CAMERA_ID MODEL WIDTH HEIGHT PARAMS', found {quote(line)}"
                f"{suggest(name, CAMERA_MODELS)}; make the model again"
            )
        names = f"CAMERA_ID WIDTH HEIGHT {model.parameters}"
        camera_id, *numbers = parse_numbers([number, *words[0].split()], names, where)
        cameras[int(camera_id)] = _Camera(name, *numbers[:2], tuple(numbers[2:]), where)
    return cameras


def _read_images_text(path: Path) -> Iterator[_Image]:
    """Two lines an image; the second, its observations, may be empty and is not of interest."""
    lines = enumerate(read_text(path, "the images of a COLMAP model").split("\n"), start=1)
    for number, line in lines:
        where = f"{path}:{number}"
        words = line.split(maxsplit=9)
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 10:
            raise DataError(
                f"{where}: expected 'IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME', found "
                f"{quote(line)}; make the model again"
            )
        numbers = parse_numbers(words[:9], "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID", where)
        yield _Image(tuple(numbers[1:8]), int(numbers[8]), words[9].strip(), where)
        _, observations = next(lines, (0, ""))
        # Without this, a file whose empty lines someone removed would lose every other image.
        if len(observations.split()) % 3:
            raise DataError(
                f"{path}:{number + 1}: expected the observations of an image (X Y POINT3D_ID, any "
                f"number of times), found {quote(observations)}; leave an empty line where an "
                "image has none"
            )


def _read_cameras_binary(path: Path) -> dict[int, _Camera]:
    data = _map(path)
    cameras = {}
    try:
        (count,) = _COUNT.unpack_from(data, 0)
        offset = _COUNT.size
        for _ in range(count):
            number, model_number, width, height = _CAMERA_START.unpack_from(data, offset)
            offset += _CAMERA_START.size
            where = f"{path}: camera {number}"
            if model_number not in _BY_NUMBER:
                raise DataError(
                    f"{where}: expected a camera model from 0 to {max(_BY_NUMBER)}, found "
                    f"{model_number}; make the model again"
                )
            name = _BY_NUMBER[model_number]
            parameters = struct.Struct(f"<{len(CAMERA_MODELS[name].parameters.split())}d")
            values = parameters.unpack_from(data, offset)
            offset += parameters.size
            cameras[number] = _Camera(name, width, height, values, where)
    except struct.error as error:
        raise _cut_off(path, data) from error
    return cameras


def _read_images_binary(path: Path) -> Iterator[_Image]:
    data = _map(path)  # observations, most of the file, are skipped and never read from disk
    try:
        (count,) = _COUNT.unpack_from(data, 0)
        offset = _COUNT.size
        for _ in range(count):
            number, *pose, camera_id = _IMAGE_START.unpack_from(data, offset)
            offset += _IMAGE_START.size
            where = f"{path}: image {number}"
            end = data.find(b"\0", offset, offset + MAX_NAME_BYTES)
            if end < 0:
                raise _cut_off(path, data)
            try:
                name = data[offset:end].decode()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{where}: expected a name in UTF-8, found {quote(data[offset:end])}; rename "
                    "the image and make the model again"
                ) from error
            (points,) = _COUNT.unpack_from(data, end + 1)
            offset = end + 1 + _COUNT.size + points * _POINT_BYTES
            if offset > len(data):
                raise _cut_off(path, data)
            yield _Image(tuple(pose), camera_id, name, where)
    except struct.error as error:
        raise _cut_off(path, data) from error
    if offset != len(data):
        raise DataError(
            f"{path}: expected {count} images in {offset} bytes, found {len(data)} bytes; make the "
            "model again"
        )


def _map(path: Path) -> mmap.mmap | bytes:
    """The bytes of a file, which may be larger than the memory."""
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:  # cannot be mapped
                return b""
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); copy it again") from error


def _cut_off(path: Path, data: mmap.mmap | bytes) -> DataError:
    return DataError(
        f"{path}: expected a binary file of COLMAP, found one that is cut off or something else "
        f"({len(data)} bytes); copy it again"
    )


_TEXT_READERS = (_read_cameras_text, _read_images_text)
_BINARY_READERS = (_read_cameras_binary, _read_images_binary)
