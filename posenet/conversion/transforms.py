"""``transforms.json`` of NeRF, instant-ngp and nerfstudio.

Direction: camera-to-world 4x4, OpenGL axes (x right, y up, z back): the second and third column
change sign. Pixels are counted from the corner of the image, so the principal point moves by half a
pixel. ``file_path`` is relative to the folder of the file.

Lenses: ``camera_model`` OPENCV with k1, k2, k3, p1, p2, or OPENCV_FISHEYE with k1 to k4. The
denominator of OpenCV's rational model (its k4 to k6) has no place: nerfstudio's own k4 is
another thing.

Source: https://docs.nerf.studio/quickstart/data_conventions.html.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posenet.conversion.trajectory import FileContent, Trajectory
from posenet.datasets.formats.parsing import (
    COEFFICIENTS,
    make_distortion,
    make_intrinsics,
    poses_from_matrices,
    quote,
    read_text,
)
from posenet.datasets.formats.transforms import FISHEYE, PERSPECTIVE
from posenet.errors import DataError
from posenet.geometry import Distortion, Intrinsics, stack_poses
from posenet.progress import say

# The same turn takes either axes to the other: y and z change sign.
AXES = np.diag((1.0, -1.0, -1.0))
RADIAL = ("k1", "k2", "p1", "p2", "k3")


def read_transforms(path: Path, finite: bool = True) -> FileContent:
    """Read the frames of a file.

    Raises:
        DataError: The file is missing or unusable; the message names the frame.
    """
    content = _load(path)
    entries, names, matrices, where = content["frames"], [], [], []
    for index, entry in enumerate(entries):
        place = f"{path}: frame {index}"
        name = entry.get("file_path")
        if not isinstance(name, str):
            raise DataError(f"{place}: expected a path 'file_path', found {quote(name)}; add it")
        try:
            matrix = np.array(entry.get("transform_matrix"), dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            matrix = np.empty(0)
        if matrix.shape not in ((3, 4), (4, 4)):
            raise DataError(
                f"{place}: expected 4x4 numbers 'transform_matrix', found "
                f"{quote(str(entry.get('transform_matrix')))}; restore it"
            )
        names.append(name)
        matrices.append(matrix if len(matrix) == 4 else np.vstack((matrix, (0, 0, 0, 1))))
        where.append(place)
    stacked = np.array(matrices)
    with np.errstate(invalid="ignore"):  # what is not finite is refused below
        stacked[:, :3, :3] = stacked[:, :3, :3] @ AXES
    poses = poses_from_matrices(
        stacked, where, "correct its transform_matrix", scaled=True, finite=finite
    )
    lenses = [_lens(content | entry, place) for entry, place in zip(entries, where, strict=True)]
    if any(lens is None for lens in lenses):
        say(f"posenet: warning: {path}: a lens is not known here, it is left out")
    intrinsics, distortions = (
        list(column) for column in zip(*(lens or (None, None) for lens in lenses), strict=True)
    )
    return FileContent(
        stack_poses(poses), names=names, intrinsics=intrinsics, distortions=distortions
    )


def render_transforms(trajectory: Trajectory, path: Path) -> dict[Path, str]:
    """The text of a file, with a camera for all where all have the same.

    Raises:
        DataError: A lens has no place in this format.
    """
    files = trajectory.names
    if trajectory.images is not None:  # relative, so that the file finds them from where it is
        folder = path.parent.resolve()
        paths = [image.path.parent.resolve() / image.path.name for image in trajectory.images]
        files = [Path(os.path.relpath(image, folder)).as_posix() for image in paths]
    matrices = trajectory.pose.matrix.clone()
    matrices[:, :3, :3] = matrices[:, :3, :3] @ torch.from_numpy(AXES)
    lenses = list(zip(trajectory.intrinsics, trajectory.distortions, strict=True))
    cameras = {lens: _camera(*lens, str(path)) for lens in dict.fromkeys(lenses)}
    shared = len(cameras) == 1
    frames = [
        {"file_path": file, **({} if shared else cameras[lens]), "transform_matrix": matrix}
        for file, lens, matrix in zip(files, lenses, matrices.tolist(), strict=True)
    ]
    content = {**(cameras[lenses[0]] if shared else {}), "frames": frames}
    return {path: json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"}


def _load(path: Path) -> dict[str, Any]:
    """The object of a file, with at least one frame."""
    text = read_text(path, "a transforms.json")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: expected JSON, found something else ({quote(str(error))}); restore it"
        ) from error
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(f, dict) for f in frames):
        raise DataError(
            f"{path}: expected a list 'frames' of objects, found {quote(frames)}; restore it"
        )
    return content


def _lens(
    values: Mapping[str, Any], where: str
) -> tuple[Intrinsics | None, Distortion | None] | None:
    """The camera of a frame; (None, None) where there is none, None where it is not known here."""
    if not {"fl_x", "w", "h"} <= values.keys():
        return None, None
    fisheye = values.get("is_fisheye") is True or values.get("camera_model") == FISHEYE
    if not fisheye and values.get("camera_model") not in (None, *PERSPECTIVE):
        return None
    keys = ("fl_x", "fl_y", "cx", "cy", "w", "h", "k1", "k2", "k3", "k4", "p1", "p2")
    found = {key: values[key] for key in keys if key in values}
    for key, value in found.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e100:
            raise DataError(f"{where}: expected a number {key!r}, found {quote(value)}; correct it")
    if not fisheye and found.get("k4"):
        return None
    width, height = found["w"], found["h"]
    focal_y = found.get("fl_y", found["fl_x"])
    center = (found.get("cx", width / 2) - 0.5, found.get("cy", height / 2) - 0.5)
    intrinsics = make_intrinsics([found["fl_x"], focal_y, *center, width, height], where)
    return intrinsics, make_distortion("fisheye" if fisheye else "radial_tangential", found)


def _camera(
    intrinsics: Intrinsics | None, distortion: Distortion | None, where: str
) -> dict[str, Any]:
    if intrinsics is None:
        return {}
    lens: dict[str, Any] = {"camera_model": "PINHOLE"}
    if distortion is not None:
        fisheye = distortion.model == "fisheye"
        keys = COEFFICIENTS[distortion.model]
        lens = {"camera_model": FISHEYE if fisheye else "OPENCV"}
        lens |= dict(zip(keys, distortion.coefficients))  # noqa: B905  # fewer are allowed
        if not fisheye and any(lens.pop(key, 0.0) for key in keys if key not in RADIAL):
            raise DataError(
                f"{where}: expected a lens of k1, k2, k3, p1, p2, found {distortion.coefficients} "
                "(with k4 to k6, a denominator), which transforms.json cannot hold; use --to colmap"
            )
    return lens | {
        "fl_x": intrinsics.focal_x,
        "fl_y": intrinsics.focal_y,
        "cx": intrinsics.center_x + 0.5,
        "cy": intrinsics.center_y + 0.5,
        "w": intrinsics.width,
        "h": intrinsics.height,
    }
