"""KITTI odometry: rectified driving sequences, a pose a line.

Direction: camera-to-world 3x4, OpenCV axes, metres, of the left grey camera (``image_0``), whose
first position is the origin. The other cameras stand beside it: ``P2`` of ``calib.txt`` projects
points in the grey camera's coordinates into ``image_2``, so the centre of camera 2 follows from its
fourth column, and is accounted for.

Every sequence has a world of its own, so a dataset here is one sequence. 11 to 21 have no poses.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posenet.datasets.formats.parsing import (
    fit_camera,
    image_size,
    make_intrinsics,
    parse_numbers,
    poses_from_matrices,
    read_lines,
    require_unique,
)
from posenet.datasets.frame import Frame
from posenet.errors import DataError
from posenet.geometry import Intrinsics

# The first of these folders that is there is read: the left colour camera, then the left grey one.
CAMERAS = (2, 0, 3, 1)
# Of the images, for the time when they are not there. Rectification cut each drive differently.
IMAGE_SIZES = {"00": (1241, 376), "01": (1241, 376), "02": (1241, 376), "03": (1242, 375)}
OTHER_SIZE = (1226, 370)
_ROW = " ".join(f"m{row}{column}" for row in range(3) for column in range(4))

Array = NDArray[np.float64]


def read_kitti(
    root: Path, camera: Intrinsics | None = None, depth_registered: bool = False
) -> list[Frame]:
    """Read the frames of one sequence.

    Args:
        root: Its folder ``dataset/sequences/00`` beside ``dataset/poses/00.txt``; or the dataset's
            folder (or its ``sequences``), if one sequence of it is there.
        camera: The camera at any size; that of ``calib.txt`` when omitted.
        depth_registered: There is no depth.

    Returns:
        A frame for each pose, of the first camera of ``CAMERAS`` that has images.

    Raises:
        DataError: A file is missing or unusable, or there are several sequences.
    """
    folder = _find_sequence(root)
    name = folder.name
    pose_path = folder.parents[1] / "poses" / f"{name}.txt"
    lines = read_lines(pose_path, "the poses of a KITTI sequence")
    if not lines:
        raise DataError(f"{pose_path}: expected 12 numbers a line, found no line; restore it")
    numbers = [parse_numbers(line.split(), _ROW, where) for where, line in lines]
    matrices = np.array(numbers).reshape(-1, 3, 4)

    index = next((i for i in CAMERAS if (folder / f"image_{i}").is_dir()), CAMERAS[0])
    images = folder / f"image_{index}"
    paths = [images / f"{number:06d}.png" for number in range(len(matrices))]
    example = next((path for path in paths if path.is_file()), paths[0])
    size = image_size(example) or IMAGE_SIZES.get(name, OTHER_SIZE)
    intrinsics, center = _read_calibration(folder / "calib.txt", index, size)
    matrices[:, :, 3] += matrices[:, :, :3] @ center
    poses = poses_from_matrices(matrices, [where for where, _ in lines], "correct the line")
    if camera is not None:
        intrinsics = fit_camera(camera, example)
    frames = [
        Frame(f"{name}/{path.stem}", path, pose, intrinsics, sequence=name, split=None)
        for path, pose in zip(paths, poses, strict=True)
    ]
    return require_unique(frames, pose_path)


def looks_like_kitti(root: Path) -> bool:
    """Whether a folder is the dataset's or one of its sequences."""
    folder = root.resolve()
    is_sequence = (folder / "calib.txt").is_file() and folder.parent.name == "sequences"
    return is_sequence or _dataset(root) is not None


def _dataset(root: Path) -> Path | None:
    """The folder with ``sequences/`` and ``poses/``, which the zip files call ``dataset``."""
    above = [root.resolve().parent] if root.resolve().name == "sequences" else []
    for folder in (root, root / "dataset", *above):
        if (folder / "sequences").is_dir() and (folder / "poses").is_dir():
            return folder.resolve()
    return None


def _find_sequence(root: Path) -> Path:
    dataset = _dataset(root)
    if dataset is None:
        if not (root / "calib.txt").is_file():
            raise DataError(
                f"{root}: expected a folder dataset/sequences/XX with calib.txt, or dataset/ with "
                "sequences/ and poses/, found neither; name one with --data.root"
            )
        return root.resolve()
    posed = [
        folder
        for folder in sorted((dataset / "sequences").iterdir())
        if (dataset / "poses" / f"{folder.name}.txt").is_file()
    ]
    # The calibrations of all sequences come in one zip file, the images in many.
    posed = [f for f in posed if any((f / f"image_{i}").is_dir() for i in CAMERAS)] or posed
    if len(posed) == 1:
        return posed[0]
    if not posed:
        raise DataError(
            f"{root}: expected sequences/XX and its poses/XX.txt, found no such pair (sequences 11 "
            "to 21 have no poses); unpack both zip files there"
        )
    raise DataError(
        f"{root}: expected one sequence, found {', '.join(f.name for f in posed)}, whose poses are "
        f"not in one world; name one, as in --data.root {posed[0]}"
    )


def _read_calibration(path: Path, index: int, size: tuple[int, int]) -> tuple[Intrinsics, Array]:
    """A camera, and its centre (3,) in the coordinates of the left grey camera."""
    for where, line in read_lines(path, "the calibration of a KITTI sequence"):
        key, *words = line.split()
        if key.rstrip(":") != f"P{index}":
            continue
        projection = np.array(parse_numbers(words, _ROW, where)).reshape(3, 4)
        matrix = projection[:, :3]
        (focal_x, _, center_x), (_, focal_y, center_y), _ = matrix.tolist()
        intrinsics = make_intrinsics([focal_x, focal_y, center_x, center_y, *size], where)
        if not np.allclose(matrix, intrinsics.matrix):
            raise DataError(
                f"{where}: expected the projection of a rectified camera (fx 0 cx tx 0 fy cy ty "
                f"0 0 1 tz), found {matrix.ravel().tolist()}; restore the file"
            )
        return intrinsics, -np.linalg.solve(matrix, projection[:, 3])
    raise DataError(f"{path}: expected a line 'P{index}: ' and 12 numbers, found none; restore it")
