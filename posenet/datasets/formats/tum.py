"""TUM RGB-D: lists of images and depth images by time, and a trajectory from motion capture.

Direction: camera-to-world; a line is ``timestamp tx ty tz qx qy qz qw`` (the quaternion xyzw), of
the colour camera, OpenCV axes, metres. Depth has 5000 units in a metre, on the pixels of the colour
image.

The trajectory is sampled three times as densely as the images and not in step with them. A pose
is interpolated between the samples before and after its image (the rotation along the geodesic)
where both are within 0.02 s; where only one is, that one is taken; where none is, motion capture
had lost the camera and the image is left out.

Recordings of one place share the frame of its motion capture, and may lie in one folder: each is a
sequence. freiburg1, 2 and 3 are three places, or times, with a frame each.

Source: https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats, also for the cameras.
"""

import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from posenet.datasets.formats.parsing import (
    GIVE_CAMERA,
    fit_camera,
    inside,
    list_poses,
    make_distortion,
    natural_order,
    parse_numbers,
    quote,
    read_lines,
    require_unique,
    rotations_from_quaternions,
)
from posenet.datasets.frame import Frame
from posenet.errors import DataError
from posenet.geometry import Intrinsics, Pose, rotation_from_rotvec, rotation_to_rotvec

TRAJECTORY, COLOR_LIST, DEPTH_LIST = "groundtruth.txt", "rgb.txt", "depth.txt"
MAX_TIME_APART = 0.02  # seconds
DEPTH_SCALE = 5000.0
# By the digit of freiburg1, 2 and 3, three Kinects; the images of the third are undistorted.
CAMERAS = {
    "1": Intrinsics(517.306408, 516.469215, 318.643040, 255.313989, 640, 480),
    "2": Intrinsics(520.908620, 521.007327, 325.141442, 249.701764, 640, 480),
    "3": Intrinsics(535.4, 539.2, 320.1, 247.6, 640, 480),
}
DISTORTIONS = {
    "1": {"k1": 0.262383, "k2": -0.953104, "p1": -0.005358, "p2": 0.002628, "k3": 1.163314},
    "2": {"k1": 0.231222, "k2": -0.784899, "p1": -0.003257, "p2": -0.000105, "k3": 0.917205},
    "3": {},
}

Array = NDArray[np.float64]


def read_tum(
    root: Path, camera: Intrinsics | None = None, depth_registered: bool = False
) -> list[Frame]:
    """Read the frames of one recording, or of several of one place.

    Args:
        root: The folder of a recording, with ``rgb.txt``, ``groundtruth.txt`` and perhaps
            ``depth.txt``, or a folder of such folders.
        camera: The colour camera at any size, of straight lines; that of freiburg1, 2 or 3 when
            omitted and the name of a recording's folder, or of the one above, holds one of these.
        depth_registered: Depth always is.

    Returns:
        The images whose pose is known, in order of time within each recording.

    Raises:
        DataError: A file is missing or unusable, the camera is not known, or the recordings are of
            several places.
    """
    folders = [root] if _is_recording(root) else _recordings(root) or [root]
    kinects = {folder: _kinect(folder) for folder in folders}
    known = sorted(set(kinects.values()) - {None})
    if len(known) > 1:
        raise DataError(
            f"{root}: expected recordings of one place, found freiburg{' and '.join(known)}, whose "
            "poses are not in one world; keep those of one place under one folder, or name a "
            f"recording, as in --data.root {folders[0]}"
        )
    frames = [
        frame
        for folder, kinect in kinects.items()
        for frame in _read_recording(folder, root, camera, kinect)
    ]
    return require_unique(frames, root)


def looks_like_tum(root: Path) -> bool:
    """Whether a folder has the files of a recording, or folders that have."""
    return _is_recording(root) or bool(_recordings(root))


def _is_recording(folder: Path) -> bool:
    return (folder / TRAJECTORY).is_file() and (folder / COLOR_LIST).is_file()


def _recordings(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    folders = (folder for folder in root.iterdir() if _is_recording(folder))
    return sorted(folders, key=lambda folder: natural_order(folder.name))


def _kinect(folder: Path) -> str | None:
    """The digit of the camera, by the name of the recording's folder or of the one above."""
    names = [folder.absolute().name, folder.absolute().parent.name]
    found = (re.search(r"(?:freiburg|fr)([123])(?!\d)", name) for name in names)
    return next((match[1] for match in found if match), None)


def _read_recording(
    root: Path, top: Path, camera: Intrinsics | None, kinect: str | None
) -> list[Frame]:
    """The frames of one recording below the dataset's folder, or in it."""
    if camera is None and kinect is None:
        raise DataError(
            f"{root}: expected freiburg1, 2 or 3 in the folder's name, which tells the camera; "
            f"for another camera, {GIVE_CAMERA}"
        )
    intrinsics = camera or CAMERAS[kinect]
    bent = DISTORTIONS[kinect] if camera is None else {}
    distortion = make_distortion("radial_tangential", bent)
    times, images = _read_list(root / COLOR_LIST, root)
    indices, poses = _poses_at(times, *_read_trajectory(root / TRAJECTORY))
    depths: dict[int, Path] = {}
    if (root / DEPTH_LIST).is_file():
        depth_times, depth_images = _read_list(root / DEPTH_LIST, root)
        nearest = _nearest(depth_times, times)
        close = np.abs(depth_times[nearest] - times) <= MAX_TIME_APART
        depths = {i: depth_images[nearest[i]] for i in np.flatnonzero(close)}
    if not indices:
        raise DataError(
            f"{root / TRAJECTORY}: expected poses within {MAX_TIME_APART} s of the images of "
            f"{COLOR_LIST}, found none; take both files from the same recording"
        )
    existing = next((images[i] for i in indices if images[i].is_file()), images[indices[0]])
    intrinsics = fit_camera(intrinsics, existing)
    return [
        Frame(
            name=images[i].relative_to(top).as_posix(),
            image_path=images[i],
            pose=pose,
            intrinsics=intrinsics,
            sequence=root.resolve().name,
            split=None,
            depth_path=depths.get(i),
            depth_scale=DEPTH_SCALE,
            distortion=distortion,
        )
        for i, pose in zip(indices, poses, strict=True)
    ]


def _read_list(path: Path, root: Path) -> tuple[Array, list[Path]]:
    """Times (N,) in seconds, rising, and the files."""
    rows = []
    for where, line in read_lines(path, "times and file names"):
        time, *name = line.split(maxsplit=1)
        if not name:
            raise DataError(
                f"{where}: expected 'timestamp filename', found {quote(line)}; correct the line"
            )
        rows.append((parse_numbers([time], "timestamp", where)[0], inside(root, name[0], where)))
    if not rows:
        raise DataError(f"{path}: expected lines 'timestamp filename', found none; restore it")
    rows.sort(key=lambda row: row[0])
    return np.array([time for time, _ in rows]), [name for _, name in rows]


def _read_trajectory(path: Path) -> tuple[Array, Pose]:
    """Times (M,) in seconds, strictly rising, and the poses, batched."""
    lines = read_lines(path, "a trajectory")
    if not lines:
        raise DataError(f"{path}: expected a pose a line, found none; download it again")
    names = "timestamp tx ty tz qx qy qz qw"
    numbers = np.array([parse_numbers(line.split(), names, where) for where, line in lines])
    rotations = rotations_from_quaternions(numbers[:, [7, 4, 5, 6]], [where for where, _ in lines])
    times, first = np.unique(numbers[:, 0], return_index=True)  # some are written twice
    return times, Pose(rotations[first], torch.from_numpy(numbers[first, 1:4]))


def _poses_at(times: Array, known: Array, poses: Pose) -> tuple[list[int], list[Pose]]:
    """The pose at each time that has one, and the indices of these times."""
    after = np.clip(np.searchsorted(known, times), 0, len(known) - 1)
    before = np.clip(after - 1, 0, None)
    has_before = np.abs(times - known[before]) <= MAX_TIME_APART
    has_after = np.abs(times - known[after]) <= MAX_TIME_APART
    span = np.where(before < after, known[after] - known[before], 1.0)
    share = np.clip((times - known[before]) / span, 0.0, 1.0)
    share = np.where(has_before & has_after, share, np.where(has_after, 1.0, 0.0))
    kept = np.flatnonzero(has_before | has_after)
    start, end = (Pose(*(part[index[kept]] for part in poses)) for index in (before, after))
    weight = torch.from_numpy(share[kept])[:, None]
    turn = rotation_to_rotvec(start.rotation.mT @ end.rotation)
    rotations = start.rotation @ rotation_from_rotvec(weight * turn)
    centers = start.translation + weight * (end.translation - start.translation)
    return kept.tolist(), list_poses(rotations, centers.numpy())


def _nearest(known: Array, times: Array) -> NDArray[np.intp]:
    """Index of the known time nearest to each time."""
    after = np.clip(np.searchsorted(known, times), 0, len(known) - 1)
    before = np.clip(after - 1, 0, None)
    return np.where(times - known[before] <= known[after] - times, before, after)
