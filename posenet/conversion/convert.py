"""The verb ``convert``: poses of any format in, poses of another out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from posenet.conversion.placing import require_free
from posenet.conversion.pose_files import POSE_FILES, read_pose_file, recognise
from posenet.conversion.trajectory import Trajectory, trajectory_of_frames
from posenet.conversion.writing import write_pose_file
from posenet.datasets.formats import FORMATS, find_format
from posenet.datasets.formats.parsing import make_intrinsics
from posenet.errors import DataError, PosenetError, UsageError, look_up
from posenet.geometry import Intrinsics
from posenet.progress import say

# Readers tell the options of training; here they have other names.
OPTIONS = {
    '--data.intrinsics "[fx, fy, cx, cy, width, height]"': "--intrinsics FX,FY,CX,CY,WIDTH,HEIGHT",
    "--data.format": "--from",
    "with --data.root": "as SRC",
    "--data.root": "SRC",
}


def run_convert(
    source: Path,
    destination: Path,
    to: str,
    from_format: str = "auto",
    intrinsics: Sequence[float] | None = None,
    force: bool = False,
) -> None:
    """Convert, and say on stderr what was read and written.

    Args:
        source: The folder of a dataset, or a file of poses.
        destination: The file or folder to make.
        to: A row of ``POSE_FILES``.
        from_format: A row of ``FORMATS`` or ``POSE_FILES``, or auto to recognise it.
        intrinsics: fx, fy, cx, cy, width, height in pixels of the camera that took the images,
            where the source does not know; the centre of the top-left pixel is (0, 0).
        force: Whether an existing destination is replaced.

    Raises:
        PosenetError: Something cannot be read, written, or held by the format.
    """
    row = look_up(POSE_FILES, to, "format of poses")
    require_free(destination, row.holds, force)
    if source.exists() and destination.exists() and destination.samefile(source):
        raise UsageError(f"{destination}: is the source; give another name for the result")
    camera = make_intrinsics(intrinsics, "--intrinsics") if intrinsics else None
    trajectory, read_as = read_source(source, from_format, camera)
    notes = write_pose_file(trajectory, destination, to, force)
    poses = f"{len(trajectory.names)} poses"
    say(f"read {poses} from {source} ({read_as}, sequences: {len(set(trajectory.sequences))})")
    say(f"wrote {poses} to {destination} ({to}: {row.convention})")
    for note in notes:
        say(f"note: {note}")


def read_source(
    source: Path,
    name: str = "auto",
    camera: Intrinsics | None = None,
    *,
    finite: bool = True,
    options: Mapping[str, str] = OPTIONS,
) -> tuple[Trajectory, str]:
    """Read the folder of a dataset, a file of poses, or a folder of such files.

    Args:
        source: The file or folder.
        name: Its format, or auto to recognise it.
        camera: Instead of the cameras that the source knows.
        finite: Whether a pose in a file that is not finite is refused.
        options: What the options that readers tell of are called where this is called from.

    Returns:
        The poses, and the format's name: ``tum dataset`` of a folder, ``tum poses`` of a file.

    Raises:
        PosenetError: It is missing or unusable, or the format is not known.
    """
    if not source.exists():
        raise DataError(
            f"{source}: expected the folder of a dataset or a file of poses, found nothing; "
            "correct the path"
        )
    if name != "auto":
        look_up(FORMATS | POSE_FILES, name, "format")
    try:
        return _read(source, name, camera, finite)
    except PosenetError as error:
        problem = str(error)
        for theirs, ours in options.items():
            problem = problem.replace(theirs, ours)
        raise type(error)(problem) from error


def _read(
    source: Path, name: str, camera: Intrinsics | None, finite: bool
) -> tuple[Trajectory, str]:
    # A name such as tum stands for a dataset and for files of poses: what is there decides.
    auto = name == "auto"
    kind = recognise(source) if auto or source.is_dir() else name
    if source.is_dir() and (kind is None if auto else name in FORMATS and name != kind):
        return _read_dataset(source, name, camera)
    trajectory = read_pose_file(source, name, finite=finite)
    if camera is not None:
        count = len(trajectory.names)
        trajectory = trajectory._replace(intrinsics=[camera] * count, distortions=[None] * count)
    return trajectory, f"{kind if auto else name} poses"


def _read_dataset(root: Path, name: str, camera: Intrinsics | None) -> tuple[Trajectory, str]:
    form = find_format(root, name)
    name = next(key for key, row in FORMATS.items() if row is form)
    frames = form.read(root, camera, False)
    # TUM's images are named by the second at which they were taken.
    trajectory = trajectory_of_frames(frames, root, timed_by_name=name == "tum")
    return trajectory, f"{name} dataset"
