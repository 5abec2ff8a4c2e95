"""Microsoft 7-Scenes: one folder a sequence, colour, depth and a pose matrix a frame.

Direction: camera-to-world 4x4, OpenCV axes, metres. As shipped the rotations are not orthonormal
(a label is about 1.5 deg away from itself under the trace formula), so they are projected to SO(3).
The colour camera's focal length is about 525 px at 640x480; the 585 px that circulates belongs to
the depth camera, whose pixels are not the colour camera's: it sits 2.5 cm beside it.
"""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError

from posenet.datasets.frame import DepthCamera, Frame
from posenet.errors import DataError
from posenet.geometry import Intrinsics, Pose, pose_from_matrix

COLOR_CAMERA = Intrinsics(525.0, 525.0, 320.0, 240.0, 640, 480)
DEPTH_CAMERA = DepthCamera(Intrinsics(585.0, 585.0, 320.0, 240.0, 640, 480), (0.025, 0.0, 0.0))
SPLIT_FILES = {"train": "TrainSplit.txt", "test": "TestSplit.txt"}
# A rotation further than this from SO(3) (Frobenius norm) is no rotation with noise.
# The worst label of the original dataset is at about 0.05.
MAX_ROTATION_DEFECT = 0.2
# Images whose proportions differ by less than this from the camera's differ by a rounded pixel.
SAME_ASPECT = 0.01
TURNED_BY_EXIF = (5, 6, 7, 8)  # orientations in which width and height change places
_COLOR = re.compile(r"frame-(\d+)\.color\.(png|jpg)")


def read_seven_scenes(
    root: Path, camera: Intrinsics | None = None, depth_registered: bool = False
) -> list[Frame]:
    """Read the frames of one scene, in the order of the split files.

    Args:
        root: The scene's folder, with ``TrainSplit.txt``, ``seq-XX/`` and, unless there is nothing
            to test on, ``TestSplit.txt``.
        camera: The colour camera at any size; the frames' own size decides the scale. The
            dataset's 525 px camera when omitted.
        depth_registered: Whether depth pixels are colour pixels, as in rendered scenes.

    Returns:
        The frames of both splits.

    Raises:
        DataError: A file is missing or unusable; the message names it.
    """
    if not root.is_dir():
        raise DataError(
            f"{root}: expected the folder of a 7-Scenes scene, found nothing; "
            "give it with --data.root (with --root to posenet evaluate)"
        )
    splits = {"train": _sequences(root / SPLIT_FILES["train"]), "test": []}
    if (root / SPLIT_FILES["test"]).exists():  # a scene of one's own may have no test sequences
        splits["test"] = _sequences(root / SPLIT_FILES["test"])
    shared = set(splits["train"]) & set(splits["test"])
    if shared:
        raise DataError(
            f"{root}: {', '.join(sorted(shared))} is named by both split files; a test sequence "
            "must not be trained on, remove it from one of them"
        )
    camera = camera or COLOR_CAMERA
    depth_camera = None if depth_registered else DEPTH_CAMERA
    return [
        frame
        for split, sequences in splits.items()
        for sequence in sequences
        for frame in _read_sequence(root, sequence, split, camera, depth_camera)
    ]


def looks_like_seven_scenes(root: Path) -> bool:
    """Whether a folder has the files of a scene."""
    return any((root / name).is_file() for name in SPLIT_FILES.values())


def _sequences(path: Path) -> list[str]:
    """Folder names of a split file, whose lines are ``sequence1`` or ``seq-01``."""
    if not path.is_file():
        raise DataError(
            f"{path}: missing; a 7-Scenes scene has TrainSplit.txt and TestSplit.txt, "
            "each with a line such as 'sequence1' per sequence"
        )
    # Bytes that are no text must not raise: the line is then refused below.
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    names = []
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not line:
            continue
        match = re.fullmatch(r"(?:sequence|seq-)(\d+)", line)
        if match is None:
            raise DataError(
                f"{path}:{number}: expected 'sequence<number>', found {line!r}; correct the line"
            )
        names.append(f"seq-{int(match[1]):02d}")
    if not names:
        raise DataError(f"{path}: names no sequence; add a line such as 'sequence1'")
    return list(dict.fromkeys(names))


def _read_sequence(
    root: Path, sequence: str, split: str, camera: Intrinsics, depth_camera: DepthCamera | None
) -> list[Frame]:
    folder = root / sequence
    if not folder.is_dir():
        raise DataError(
            f"{root / SPLIT_FILES[split]}: names {sequence}, but {folder} does not exist; "
            "unpack its zip file there or remove the line"
        )
    images: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _COLOR.fullmatch(path.name)
        if match:  # where both exist, the png (sorted last) is the original
            images[int(match[1])] = path
    if not images:
        raise DataError(
            f"{folder}: holds no frame-XXXXXX.color.png or .jpg; "
            "unpack the sequence's zip file there"
        )
    intrinsics = _fit_camera(camera, next(iter(images.values())))
    frames = []
    for _, image_path in sorted(images.items()):
        stem = image_path.name.split(".")[0]
        depth_path = folder / f"{stem}.depth.png"
        frames.append(
            Frame(
                name=f"{sequence}/{stem}",
                image_path=image_path,
                pose=_read_pose(folder / f"{stem}.pose.txt"),
                intrinsics=intrinsics,
                sequence=sequence,
                split=split,
                depth_path=depth_path if depth_path.is_file() else None,
                depth_camera=depth_camera,
            )
        )
    return frames


def _fit_camera(camera: Intrinsics, path: Path) -> Intrinsics:
    """The camera at the size of an image, which must have its proportions."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.getexif().get(ExifTags.Base.Orientation, 1) in TURNED_BY_EXIF:
                width, height = height, width
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path}: not a readable image ({error}); download it again") from error
    if abs(width / height / (camera.width / camera.height) - 1.0) > SAME_ASPECT:
        raise DataError(
            f"{path}: expected an image with the proportions of the {camera.width}x{camera.height} "
            f"camera, found {width}x{height}; give the camera that took it with "
            '--data.intrinsics "[fx, fy, cx, cy, width, height]"'
        )
    return camera.resized(width, height)


def _read_pose(path: Path) -> Pose:
    cure = "restore the file or remove the frame"
    if not path.is_file():
        raise DataError(f"{path}: missing, every colour image needs a pose; {cure}")
    try:
        matrix = np.array([float(word) for word in path.read_text(encoding="utf-8").split()])
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: expected 4x4 numbers, found something else ({error}); {cure}"
        ) from error
    if matrix.size != 16:
        raise DataError(f"{path}: expected 4x4 numbers, found {matrix.size} of them; {cure}")
    matrix = matrix.reshape(4, 4)
    if not np.isfinite(matrix).all():
        raise DataError(f"{path}: the pose is not finite (tracking was lost?); {cure}")
    rotation = matrix[:3, :3]
    defect = np.linalg.norm(rotation.T @ rotation - np.eye(3))
    if defect > MAX_ROTATION_DEFECT or np.linalg.det(rotation) < 0:
        raise DataError(
            f"{path}: expected a rotation in the upper left 3x3, found a matrix with determinant "
            f"{np.linalg.det(rotation):.3f} and |RtR - I| = {defect:.3f}; {cure}"
        )
    if not np.allclose(matrix[3], (0.0, 0.0, 0.0, 1.0), atol=1e-6):
        raise DataError(
            f"{path}: expected the last row 0 0 0 1, found {matrix[3].tolist()}; {cure}"
        )
    return pose_from_matrix(torch.from_numpy(matrix))
