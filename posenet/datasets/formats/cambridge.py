"""Cambridge Landmarks: two lists of images, each line the camera centre and a quaternion.

Direction: mixed. ``X Y Z`` is the camera centre in the world, metres; ``W P Q R`` is the
world-to-camera rotation, a quaternion wxyz. Axes are OpenCV's.

Cameras: phones, 1920x1080. ``reconstruction.nvm``, where it is there, holds a focal length for each
image; without it they are taken to be 1675 px, the value others use (744.4 px at 852x480). The
radial distortion of that file belongs to a model that undistorts; it is small and not used.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from posenet.datasets.formats.parsing import (
    find_examples,
    fit_camera,
    image_size,
    inside,
    is_absolute,
    list_poses,
    make_intrinsics,
    natural_order,
    parse_numbers,
    quote,
    read_lines,
    require_unique,
    rotations_from_quaternions,
)
from posenet.datasets.frame import Frame
from posenet.errors import DataError
from posenet.geometry import Intrinsics

LISTS = {"train": "dataset_train.txt", "test": "dataset_test.txt"}
MODEL = "reconstruction.nvm"
IMAGE_SIZE = (1920, 1080)
FOCAL_PX = 1675.0  # at 1920 pixels along the long side
HEADER = ("visual landmark dataset", "imagefile,")


class _Row(NamedTuple):
    where: str
    split: str
    image: Path
    numbers: list[float]  # X Y Z W P Q R


def read_cambridge(
    root: Path, camera: Intrinsics | None = None, depth_registered: bool = False
) -> list[Frame]:
    """Read the frames of one scene, the training list first.

    Args:
        root: The scene's folder, with ``dataset_train.txt``, ``dataset_test.txt`` and ``seqX/``.
        camera: The camera at any size; what the module says of the cameras when omitted.
        depth_registered: There is no depth.

    Returns:
        The frames of both lists; the lists may be there without the images.

    Raises:
        DataError: A list is missing or unusable; the message names file and line.
    """
    rows = _read_list(root / LISTS["train"], root, "train")
    if (root / LISTS["test"]).is_file():  # a scene of one's own may have no test sequences
        rows += _read_list(root / LISTS["test"], root, "test")
    numbers = np.array([row.numbers for row in rows])
    rotations = rotations_from_quaternions(numbers[:, 3:], [row.where for row in rows])
    poses = list_poses(rotations.mT, numbers[:, :3])
    names = [row.image.relative_to(root).as_posix() for row in rows]
    sequences = [name.partition("/")[0] for name in names]
    examples = find_examples(sequences, (row.image for row in rows))
    cameras = {name: _sequence_camera(camera, image) for name, image in examples.items()}
    focals = _read_focal_lengths(root / MODEL) if camera is None else {}
    frames = []
    for row, name, sequence, pose in zip(rows, names, sequences, poses, strict=True):
        scale = focals.get(name.rpartition(".")[0], FOCAL_PX) / FOCAL_PX
        usual = cameras[sequence]
        intrinsics = replace(usual, focal_x=usual.focal_x * scale, focal_y=usual.focal_y * scale)
        frames.append(Frame(name, row.image, pose, intrinsics, sequence, row.split))
    # The lists are in no order; neighbours in a recording must be neighbours here.
    frames.sort(key=lambda frame: (frame.split == "test", natural_order(frame.name)))
    return require_unique(frames, root)


def looks_like_cambridge(root: Path) -> bool:
    """Whether a folder has one of the lists."""
    return any((root / name).is_file() for name in LISTS.values())


def _sequence_camera(camera: Intrinsics | None, image: Path) -> Intrinsics:
    """The camera of a sequence, at the size of an image of it that may not be there."""
    if camera is not None:
        return fit_camera(camera, image)
    width, height = image_size(image) or IMAGE_SIZE
    focal = FOCAL_PX * max(width, height) / max(IMAGE_SIZE)
    return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)


def _read_list(path: Path, root: Path, split: str) -> list[_Row]:
    rows = []
    for where, line in read_lines(path, "a list of Cambridge Landmarks"):
        if line.lower().startswith(HEADER):
            continue
        image, *words = line.rsplit(maxsplit=7)
        numbers = parse_numbers(words, "X Y Z W P Q R", where)
        rows.append(_Row(where, split, _find_image(root, image, where), numbers))
    if not rows:
        raise DataError(
            f"{path}: expected lines 'seq1/frame00001.png X Y Z W P Q R', found none; download it "
            "again"
        )
    return rows


def _find_image(root: Path, name: str, where: str) -> Path:
    """The image of a line; lists that were made elsewhere hold that machine's absolute paths."""
    if is_absolute(name):
        name = "/".join(name.replace("\\", "/").split("/")[-2:])
    path = inside(root, name, where)
    if path.parent == root:
        raise DataError(
            f"{where}: expected an image in the folder of its sequence, as seq1/frame00001.png, "
            f"found {quote(name)}; correct the line"
        )
    return path


def _read_focal_lengths(path: Path) -> dict[str, float]:
    """Focal lengths in pixels of an NVM file, by image name without its ending.

    The file's names end in jpg, those of the lists in png.
    """
    if not path.is_file():
        return {}
    lines = read_lines(path, "a model of VisualSFM")
    try:
        count = int(lines[1][1])
        cameras = [line.rsplit(maxsplit=10)[:2] for _, line in lines[2 : 2 + count]]
        focals = {name.rpartition(".")[0]: float(focal) for name, focal in cameras}
    except (IndexError, ValueError) as error:
        raise DataError(
            f"{path}: expected the cameras of an NVM_V3 file, found something else "
            f"({quote(str(error))}); download it again, or remove it to use {FOCAL_PX:.0f} px"
        ) from error
    for name, focal in focals.items():
        make_intrinsics((focal, focal, 0, 0, *IMAGE_SIZE), f"{path}: {quote(name)}")
    return focals
