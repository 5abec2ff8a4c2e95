"""Predicted poses as text: JSON lines, CSV or TUM."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from posenet.errors import DataError, UsageError, look_up
from posenet.geometry import Intrinsics, Pose, rotation_to_quaternion
from posenet.inference.localizer import Localized, Localizer, find_images
from posenet.progress import report_progress, say


class PoseFormat(NamedTuple):
    """A text format of poses.

    Attributes:
        header: First line; empty for none.
        line: From a localized image and its number to a line.
        hypotheses: Whether a line has room for them.
    """

    header: str
    line: Callable[[Localized, int], str]
    hypotheses: bool = False


def json_line(localized: Localized, number: int) -> str:
    """Both directions, spelled out, so that nobody has to guess; hypotheses if there are any."""
    content = {"file": str(localized.path), **_spelled_out(localized.pose)}
    if localized.hypotheses is not None:
        probability, poses = localized.hypotheses
        each = zip(probability.tolist(), poses.rotation, poses.translation, strict=True)
        content["hypotheses"] = [
            {"probability": share, **_spelled_out(Pose(*pose))} for share, *pose in each
        ]
    return json.dumps(content)


def _spelled_out(pose: Pose) -> dict[str, Any]:
    world_to_camera = pose.world_to_camera
    rotation = world_to_camera[:3, :3]
    return {
        "camera_to_world": {
            "quaternion_wxyz": rotation_to_quaternion(pose.rotation).tolist(),
            "rotation_matrix": pose.rotation.tolist(),
        },
        "camera_center": pose.translation.tolist(),
        "world_to_camera": {
            "quaternion_wxyz": rotation_to_quaternion(rotation).tolist(),
            "rotation_matrix": rotation.tolist(),
            "translation": world_to_camera[:3, 3].tolist(),
        },
    }


def csv_line(localized: Localized, number: int) -> str:
    """Camera-to-world quaternion wxyz and camera centre."""
    file, pose = str(localized.path), localized.pose
    quoted = '"' + file.replace('"', '""') + '"' if any(c in file for c in ',"\n') else file
    numbers = (*rotation_to_quaternion(pose.rotation).tolist(), *pose.translation.tolist())
    return ",".join([quoted, *(f"{value:.9f}" for value in numbers)])


def tum_line(localized: Localized, number: int) -> str:
    """``timestamp tx ty tz qx qy qz qw``, camera-to-world; the image's number is the timestamp."""
    pose = localized.pose
    w, x, y, z = rotation_to_quaternion(pose.rotation).tolist()
    numbers = (*pose.translation.tolist(), x, y, z, w)
    return " ".join([str(number), *(f"{value:.9f}" for value in numbers)])


POSE_FORMATS: dict[str, PoseFormat] = {
    "json": PoseFormat("", json_line, hypotheses=True),
    "csv": PoseFormat("file,qw,qx,qy,qz,center_x,center_y,center_z", csv_line),
    "tum": PoseFormat("# timestamp tx ty tz qx qy qz qw", tum_line),
}


# Once a call, for the first image of its kind.
_CAMERA_WARNINGS = {
    "exif": (
        "is not of the training camera; its focal length is taken from EXIF, to some percent "
        "(give a better one with --intrinsics)"
    ),
    "guessed": (
        "has other proportions than the training images; it is padded and its focal length "
        "guessed, so its pose may be far off (give its camera with --intrinsics)"
    ),
}


def write_poses(
    run: Path,
    paths: Iterable[Path],
    format_name: str,
    out: TextIO,
    batch_size: int = 32,
    hypotheses: int = 0,
    intrinsics: Intrinsics | None = None,
) -> int:
    """Predict the poses of images and write one line each, as soon as it is known.

    Args:
        run: A run folder or a checkpoint file.
        paths: Images and folders of images.
        format_name: A row of :data:`POSE_FORMATS`.
        out: Where the lines go; errors and progress go to stderr.
        batch_size: Images in memory at a time.
        hypotheses: How many of the most probable poses to add to each line; 0 for none.
        intrinsics: The camera of the images; when omitted it is told from each image.

    Returns:
        How many paths could not be read.

    Raises:
        PosenetError: The checkpoint or a path cannot be used.
    """
    form = look_up(POSE_FORMATS, format_name, "output format")
    if batch_size < 1:
        raise UsageError(f"--batch-size: expected at least 1, found {batch_size}")
    if hypotheses and not form.hypotheses:
        raise UsageError(f"--hypotheses: a line of {format_name} holds one pose; use --format json")
    localizer = Localizer.load(run)
    if hypotheses:
        localizer.require_bins(hypotheses)
    unreadable = 0
    warned: set[str] = set()
    images: list[Path] = []
    for path in paths:
        try:
            images += find_images(path)
        except DataError as error:
            say(f"posenet: error: {error}")
            unreadable += 1
    if form.header:
        print(form.header, file=out)
    predicted = localizer.predict_files(images, batch_size, hypotheses, intrinsics)
    with report_progress("predicting") as report:
        for number, localized in enumerate(predicted):
            report(number + 1, len(images))
            if localized.pose is None:
                say(f"posenet: error: {localized.error}")
                unreadable += 1
                continue
            if localized.camera in _CAMERA_WARNINGS and localized.camera not in warned:
                say(f"posenet: warning: {localized.path} {_CAMERA_WARNINGS[localized.camera]}")
                warned.add(localized.camera)
            print(form.line(localized, number), file=out, flush=True)
    return unreadable
