"""Microsoft 7-Scenes: one folder a sequence, colour, depth and a pose matrix a frame.

Direction: camera-to-world 4x4, OpenCV axes, metres. As shipped the rotations are not orthonormal
(a label is about 1.5 deg away from itself under the trace formula), so they are projected to SO(3).
The colour camera's focal length is about 525 px at 640x480; the 585 px that circulates belongs to
the depth camera, whose pixels are not the colour camera's: it sits 2.5 cm beside it.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posenet.datasets.formats.parsing import fit_camera, poses_from_matrices, quote
from posenet.datasets.frame import DepthCamera, Frame
from posenet.errors import DataError
from posenet.geometry import Intrinsics

COLOR_CAMERA = Intrinsics(525.0, 525.0, 320.0, 240.0, 640, 480)
DEPTH_CAMERA = DepthCamera(Intrinsics(585.0, 585.0, 320.0, 240.0, 640, 480), (0.025, 0.0, 0.0))
SPLIT_FILES = {"train": "TrainSplit.txt", "test": "TestSplit.txt"}
POSE_CURE = "restore the file or remove the frame"
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
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
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
    images = find_color_images(folder)
    intrinsics = fit_camera(camera, next(iter(images.values())))
    pose_paths = [folder / f"frame-{number}.pose.txt" for number in images]
    matrices = np.stack([read_pose_matrix(path) for path in pose_paths])
    poses = poses_from_matrices(matrices, [str(path) for path in pose_paths], POSE_CURE)
    frames = []
    for (number, image_path), pose in zip(images.items(), poses, strict=True):
        depth_path = folder / f"frame-{number}.depth.png"
        frames.append(
            Frame(
                name=f"{sequence}/frame-{number}",
                image_path=image_path,
                pose=pose,
                intrinsics=intrinsics,
                sequence=sequence,
                split=split,
                depth_path=depth_path if depth_path.is_file() else None,
                depth_camera=depth_camera,
            )
        )
    return frames


def find_color_images(folder: Path) -> dict[str, Path]:
    """The colour images of a folder by their number as it is written, in order.

    Raises:
        DataError: It holds none.
    """
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _COLOR.fullmatch(path.name)
        if match:  # where both exist, the png (sorted last) is the original
            images[match[1]] = path
    if not images:
        raise DataError(
            f"{folder}: holds no frame-XXXXXX.color.png or .jpg; "
            "unpack the sequence's zip file there"
        )
    return dict(sorted(images.items(), key=lambda item: (int(item[0]), item[0])))


def read_pose_matrix(path: Path) -> NDArray[np.float64]:
    """The 4x4 numbers of a pose file, finite or not, (4, 4).

    Raises:
        DataError: It is missing or holds something else.
    """
    if not path.is_file():
        raise DataError(f"{path}: missing, every colour image needs a pose; {POSE_CURE}")
    try:
        matrix = np.array([float(word) for word in path.read_text(encoding="utf-8-sig").split()])
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: expected 4x4 numbers, found something else ({quote(str(error))}); {POSE_CURE}"
        ) from error
    if matrix.size != 16:
        raise DataError(f"{path}: expected 4x4 numbers, found {matrix.size} of them; {POSE_CURE}")
    return matrix.reshape(4, 4)
