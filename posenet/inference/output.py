"""Predicted poses as files: lines as they come (json, csv, tum, visloc), or whole files."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from torch import Tensor

from posenet.conversion.pose_files import POSE_FILES
from posenet.conversion.trajectory import SourceImage, Trajectory, require_different, words
from posenet.conversion.tum import COLUMNS as TUM_COLUMNS
from posenet.conversion.tum import NO_TIMES
from posenet.conversion.writing import write_pose_file
from posenet.errors import DataError
from posenet.geometry import Pose, project_to_rotation, rotation_to_quaternion, stack_poses
from posenet.inference.answers import Localized
from posenet.inference.localizer import Localizer
from posenet.progress import say
from posenet.staging import unwritable

# Columns of a table, as in the predictions of an evaluation.
_CONFIDENCE = ("rotation_radius_deg", "translation_radius_m", "familiarity")

Writer = Callable[[Localized, int], None]


class Columns(NamedTuple):
    """What every line of a table has.

    Attributes:
        timed: A time.
        confident: A confidence.
    """

    timed: bool
    confident: bool


class PoseFormat(NamedTuple):
    """A format of predicted poses.

    Attributes:
        line: From a localized image and its number to a line; None for a format that is written
            whole at the end, as ``posenet convert`` does.
        header: The first lines.
        hypotheses: Whether there is room for them.
        names: Whether images are told apart by names without spaces.
        one_recording: Whether it holds one recording, or images without times.
    """

    line: Callable[[Localized, int], str] | None = None
    header: Callable[[Columns], str] = lambda columns: ""
    hypotheses: bool = False
    names: bool = False
    one_recording: bool = False


def json_line(localized: Localized, number: int) -> str:
    """Both directions, spelled out, so that nobody has to guess; and what else is known."""
    content: dict[str, Any] = {"file": localized.name}
    if localized.time_s is not None:
        content["time_s"] = localized.time_s
    content |= _spelled_out(localized.pose)
    if localized.confidence is not None:
        content["confidence"] = {
            name: value if isfinite(value) else None  # JSON knows no others
            for name, value in zip(
                localized.confidence._fields, map(Tensor.item, localized.confidence), strict=True
            )
        }
    if localized.raw is not None:
        content["raw"] = _spelled_out(localized.raw)
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
    file, pose = localized.name, localized.pose
    quoted = '"' + file.replace('"', '""') + '"' if any(c in file for c in ',"\r\n') else file
    numbers = (*rotation_to_quaternion(pose.rotation).tolist(), *pose.translation.tolist())
    time = () if localized.time_s is None else (f"{localized.time_s:.6f}",)
    cells = [quoted, *time, *(f"{value:.9f}" for value in numbers)]
    if localized.confidence is not None:
        cells += [f"{float(getattr(localized.confidence, name)):.6g}" for name in _CONFIDENCE]
    return ",".join(cells)


def csv_header(columns: Columns) -> str:
    """The names of the columns; of a time only where every image has one."""
    time = ("timestamp",) if columns.timed else ()
    confidence = _CONFIDENCE if columns.confident else ()
    pose = ("qw", "qx", "qy", "qz", "center_x", "center_y", "center_z")
    return ",".join(("file", *time, *pose, *confidence))


def tum_line(localized: Localized, number: int) -> str:
    """``timestamp tx ty tz qx qy qz qw``, camera-to-world; else the number is the timestamp."""
    time_s = number if localized.time_s is None else localized.time_s
    return _last_line("tum", trajectory_of([localized._replace(time_s=time_s)]))


def tum_header(columns: Columns) -> str:
    """The names of the columns, and whether the timestamps are some."""
    return f"# {TUM_COLUMNS}" + ("" if columns.timed else f"\n{NO_TIMES}")


def visloc_line(localized: Localized, number: int) -> str:
    """``name qw qx qy qz tx ty tz``, world-to-camera."""
    return _last_line("visloc", trajectory_of([localized]))


def _last_line(name: str, trajectory: Trajectory) -> str:
    path = Path(name)
    return POSE_FILES[name].render(trajectory, path)[path].splitlines()[-1]


POSE_FORMATS: dict[str, PoseFormat] = {
    "json": PoseFormat(json_line, hypotheses=True),
    "csv": PoseFormat(csv_line, csv_header),
    "tum": PoseFormat(tum_line, tum_header, one_recording=True),
    "visloc": PoseFormat(visloc_line, names=True),
    "colmap": PoseFormat(names=True),
    "transforms": PoseFormat(),
}


def trajectory_of(entries: Sequence[Localized], localizer: Localizer | None = None) -> Trajectory:
    """Localized images as what travels between formats of poses.

    Args:
        entries: Images with a pose.
        localizer: Given, the trajectory knows the lenses.
    """
    times = [entry.time_s for entry in entries]
    cameras = [entry.camera and entry.camera.intrinsics for entry in entries]
    lens = localizer.lens_of if localizer is not None else lambda camera: None
    pose = stack_poses([entry.pose for entry in entries])
    images = [SourceImage(Path(entry.name), entry.name) for entry in entries]
    return Trajectory(
        names=[entry.name for entry in entries],
        # The network's float32 rotations are none to the digits of a file.
        pose=Pose(project_to_rotation(pose.rotation), pose.translation),
        sequences=[entry.recording or str(Path(entry.name).parent) for entry in entries],
        splits=[None] * len(entries),
        intrinsics=cameras,
        distortions=[camera and lens(camera) for camera in cameras],
        timestamps=None if None in times else times,
        images=images,
    )


@contextmanager
def open_writer(
    format_name: str,
    out: TextIO,
    output: Path | None,
    timed: bool,
    localizer: Localizer,
    force: bool = False,
) -> Iterator[Writer]:
    """Where localized images go: each at once, or all when there are no more.

    Args:
        format_name: A row of :data:`POSE_FORMATS`.
        out: Where lines go when no output is given.
        output: File or folder to make; nothing is there, or it may be replaced.
        timed: Whether every image has a time.
        localizer: It knows the lens.
        force: Whether an existing output is replaced.

    Raises:
        PosenetError: A whole file cannot be written.
    """
    form = POSE_FORMATS[format_name]
    if form.line is None:
        kept: list[Localized] = []
        yield lambda localized, number: kept.append(localized._replace(picture=None))
        if kept:
            notes = write_pose_file(trajectory_of(kept, localizer), output, format_name, force)
            for note in notes:
                say(f"note: {note}")
        return
    header = form.header(Columns(timed, localizer.network.has_confidence))
    with _open_lines(out, output) as write_line:
        if header:
            write_line(header)

        def write(localized: Localized, number: int) -> None:
            if header and not timed:  # a column is for all or for none
                localized = localized._replace(time_s=None)
            write_line(form.line(localized, number))

        yield write


@contextmanager
def _open_lines(out: TextIO, output: Path | None) -> Iterator[Callable[[str], None]]:
    """Writes lines, each at once; a line that there is no room for leaves no part of itself."""
    if output is None:
        yield lambda line: print(line, file=out, flush=True)
        return
    with output.open("wb", buffering=0) as file:

        def write_line(line: str) -> None:
            data, start = f"{line}\n".encode("utf-8", "surrogateescape"), file.tell()
            try:
                written = 0
                while written < len(data):  # the last bytes of a disk are a short write
                    written += file.write(data[written:])
            except OSError as error:
                file.truncate(start)
                raise unwritable(output, error, "--output") from error

        yield write_line


def require_names(names: Sequence[str], format_name: str) -> None:
    """Refuse images that a format cannot tell apart by their names, before they are predicted.

    Raises:
        DataError: One has a space in it, or two are the same.
    """
    form = POSE_FORMATS[format_name]
    try:
        if form.names:
            words(names, f"--format {format_name}")
        elif form.line is None:
            require_different(names, f"--format {format_name}")
    except DataError as error:
        problem = str(error).replace("use --to csv or transforms", "use --format csv or json")
        raise DataError(problem) from error
