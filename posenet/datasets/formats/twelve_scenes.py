"""12-Scenes: all frames of a scene in one folder, cut into sequences by their numbers.

Direction: camera-to-world 4x4, OpenCV axes, metres, as in 7-Scenes. ``split.txt`` names the
sequences; the first is the test sequence, as everybody reports it. ``info.txt`` holds both cameras:
colour 1296x968, depth 640x480. Where tracking was lost the pose is -INF: there is no label, and
the frame is left out.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from posenet.datasets.formats.parsing import (
    GIVE_CAMERA,
    fit_camera,
    make_intrinsics,
    parse_numbers,
    poses_from_matrices,
    quote,
    read_lines,
    require_unique,
)
from posenet.datasets.formats.seven_scenes import POSE_CURE, find_color_images, read_pose_matrix
from posenet.datasets.frame import DepthCamera, Frame
from posenet.errors import DataError
from posenet.geometry import Intrinsics

_SEQUENCE = re.compile(r"(sequence\d+)\s*\[frames=\d+\]\s*\[start=(\d+)\s*;\s*end=(\d+)\]")
_MATRIX = " ".join(f"m{row}{column}" for row in range(4) for column in range(4))


class _Sensors(NamedTuple):
    """What info.txt says; ``depth_camera`` None where depth cannot be brought to the colour."""

    color: Intrinsics
    depth_camera: DepthCamera | None
    depth_scale: float


def read_twelve_scenes(
    root: Path, camera: Intrinsics | None = None, depth_registered: bool = False
) -> list[Frame]:
    """Read the frames of one scene, such as ``apt1/kitchen``.

    Args:
        root: The scene's folder, with ``split.txt``, ``info.txt`` and ``data/``.
        camera: The colour camera at any size; that of ``info.txt`` when omitted.
        depth_registered: Whether depth pixels are colour pixels; the dataset's are not.

    Returns:
        The tracked frames of all sequences, in order.

    Raises:
        DataError: A file is missing or unusable; the message names it.
    """
    sequences = _read_sequences(root / "split.txt")
    folder = root / "data"
    if not folder.is_dir():
        raise DataError(f"{folder}: missing, it holds the frames; unpack the scene's zip file")
    images = find_color_images(folder)
    info = root / "info.txt"
    sensors = _read_info(info) if info.is_file() else None
    if camera is None and sensors is None:
        raise DataError(f"{info}: missing, it holds the camera; restore it or {GIVE_CAMERA}")
    intrinsics = fit_camera(camera or sensors.color, next(iter(images.values())))
    depth_camera = sensors.depth_camera if sensors and not depth_registered else None
    has_depth = depth_registered or depth_camera is not None

    tracked = [n for n in images if not _is_lost(folder / f"frame-{n}.pose.txt")]
    pose_paths = [folder / f"frame-{number}.pose.txt" for number in tracked]
    matrices = np.array([read_pose_matrix(path) for path in pose_paths]).reshape(-1, 4, 4)
    poses = poses_from_matrices(matrices, [str(path) for path in pose_paths], POSE_CURE)
    frames = []
    for number, pose in zip(tracked, poses, strict=True):
        sequence = next((s for s, numbers in sequences.items() if int(number) in numbers), None)
        if sequence is None:  # the scene has it, the dataset's split has not
            continue
        depth_path = folder / f"frame-{number}.depth.png"
        frames.append(
            Frame(
                name=f"{sequence}/frame-{number}",
                image_path=images[number],
                pose=pose,
                intrinsics=intrinsics,
                sequence=sequence,
                split="test" if sequence == next(iter(sequences)) else "train",
                depth_path=depth_path if has_depth and depth_path.is_file() else None,
                depth_camera=depth_camera,
                depth_scale=sensors.depth_scale if sensors else 1000.0,
            )
        )
    return require_unique(frames, root)


def looks_like_twelve_scenes(root: Path) -> bool:
    """Whether a folder has the files of a scene."""
    return (root / "split.txt").is_file() and (root / "data").is_dir()


def _is_lost(path: Path) -> bool:
    # Microsoft's library writes -1.#INF or -1.#IND.
    return path.is_file() and any(
        word in path.read_text(encoding="utf-8", errors="replace").upper()
        for word in ("INF", "#IND", "NAN")
    )


def _read_sequences(path: Path) -> dict[str, range]:
    """The frame numbers of each sequence, in order of the file."""
    sequences: dict[str, range] = {}
    for where, line in read_lines(path, "the sequences of a 12-Scenes scene"):
        match = _SEQUENCE.fullmatch(line)
        if match is None or len(line) > 200:
            raise DataError(
                f"{where}: expected 'sequence0 [frames=357] [start=0 ; end=356]', found "
                f"{quote(line)}; correct the line"
            )
        numbers = range(int(match[2]), int(match[3]) + 1)
        for name, others in sequences.items():
            if name == match[1] or (numbers.start < others.stop and others.start < numbers.stop):
                raise DataError(
                    f"{where}: expected frames of no other sequence, found some of {name}; "
                    "correct the line"
                )
        sequences[match[1]] = numbers
    if not sequences:
        raise DataError(f"{path}: names no sequence; download it again")
    return sequences


def _read_info(path: Path) -> _Sensors:
    found = {}
    for where, line in read_lines(path, "the cameras of a 12-Scenes scene"):
        key, _, value = line.partition("=")
        found[key.strip()] = (where, value.split())

    def numbers(key: str, names: str) -> list[float]:
        if key not in found:
            raise DataError(f"{path}: expected a line {key!r}, found none; download it again")
        where, words = found[key]
        return parse_numbers(words, names, where)

    def camera(kind: str) -> Intrinsics:
        matrix = numbers(f"m_calibration{kind}Intrinsic", _MATRIX)
        size = [*numbers(f"m_{kind.lower()}Width", "w"), *numbers(f"m_{kind.lower()}Height", "h")]
        focal_x, center_x, focal_y, center_y = (matrix[i] for i in (0, 2, 5, 6))
        return make_intrinsics([focal_x, focal_y, center_x, center_y, *size], str(path))

    if "m_calibrationDepthIntrinsic" not in found:
        return _Sensors(camera("Color"), None, 1000.0)
    # The sensors' extrinsics are the identity as shipped. What others would mean is not written
    # down anywhere: depth is then not used rather than put in the wrong place.
    extrinsics = [key for key in found if re.fullmatch("m_calibration(Color|Depth)Extrinsic", key)]
    aligned = all(np.allclose(numbers(key, _MATRIX), np.eye(4).ravel()) for key in extrinsics)
    depth_camera = DepthCamera(camera("Depth"), (0.0, 0.0, 0.0)) if aligned else None
    scale = numbers("m_depthShift", "units")[0] if "m_depthShift" in found else 1000.0
    if scale <= 0:
        raise DataError(f"{path}: expected a positive m_depthShift, found {scale:g}; correct it")
    return _Sensors(camera("Color"), depth_camera, scale)
