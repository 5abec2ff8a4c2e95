"""What travels from one format to another: named poses, and what else is known of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from posenet.datasets.formats.parsing import ONE_SEQUENCE
from posenet.datasets.frame import Frame, path_below
from posenet.errors import DataError
from posenet.geometry import Distortion, Intrinsics, Pose, stack_poses


class SourceImage(NamedTuple):
    """The image a pose belongs to.

    Attributes:
        path: Where it lies; where it was before, if it is packed.
        name: What formats that name images call it: its path below the dataset's images.
        packed: Whether it is in a tar.
    """

    path: Path
    name: str
    packed: bool = False


class FileContent(NamedTuple):
    """What one file of poses says; None for what its format has no place for.

    Attributes:
        pose: Camera-to-world poses, float64, (N,).
        names: N names.
        sequences: N recordings.
        splits: ``"train"``, ``"test"`` or None, N times.
        timestamps: N, seconds.
        intrinsics: N cameras; None for one that is not known.
        distortions: Of the N lenses; None where straight lines are straight.
    """

    pose: Pose
    names: list[str] | None = None
    sequences: list[str] | None = None
    splits: list[str | None] | None = None
    timestamps: list[float] | None = None
    intrinsics: list[Intrinsics | None] | None = None
    distortions: list[Distortion | None] | None = None


class Trajectory(NamedTuple):
    """Named poses of one or several recordings.

    Attributes:
        names: N names, no two alike.
        pose: Camera-to-world poses, float64, (N,).
        sequences: The recording of each pose.
        splits: ``"train"``, ``"test"`` or None.
        intrinsics: The camera of each pose; None where it is not known.
        distortions: Of the lenses; None where straight lines are straight or nothing is known.
        timestamps: Seconds; None where the source has none.
        images: The images; None where the source is only poses.
    """

    names: list[str]
    pose: Pose
    sequences: list[str]
    splits: list[str | None]
    intrinsics: list[Intrinsics | None]
    distortions: list[Distortion | None]
    timestamps: list[float] | None = None
    images: list[SourceImage] | None = None


def complete(content: FileContent, sequence: str | None = None) -> Trajectory:
    """Give what a file leaves out its usual value.

    Args:
        content: What the file says.
        sequence: The recording that its name or folder tells; a pose without a name is then
            ``sequence/000000``, otherwise ``000000``. None to take the recording of a pose from
            the folder in its name.
    """
    count = len(content.pose.translation)
    prefix = f"{sequence}/" if sequence else ""
    names = content.names or [f"{prefix}{i:06d}" for i in range(count)]
    sequences = content.sequences or [sequence or _folder_of(name) for name in names]
    return Trajectory(
        names,
        content.pose,
        sequences,
        content.splits or [None] * count,
        content.intrinsics or [None] * count,
        content.distortions or [None] * count,
        content.timestamps,
    )


def trajectory_of_frames(
    frames: Sequence[Frame], root: Path, *, timed_by_name: bool = False
) -> Trajectory:
    """The poses of a dataset.

    Args:
        frames: Its frames.
        root: Its folder.
        timed_by_name: Whether its images are named by the second at which they were taken.
    """
    timestamps = None
    if timed_by_name:
        try:
            timestamps = [float(frame.image_path.stem) for frame in frames]
        except ValueError:  # renamed images have no times
            timestamps = None
    return Trajectory(
        names=[frame.name for frame in frames],
        pose=stack_poses([frame.pose for frame in frames]),
        sequences=[frame.sequence for frame in frames],
        splits=[frame.split for frame in frames],
        intrinsics=[frame.intrinsics for frame in frames],
        distortions=[frame.distortion for frame in frames],
        timestamps=timestamps,
        images=[
            SourceImage(frame.image_path, _image_name(frame, root), frame.packed_image is not None)
            for frame in frames
        ],
    )


def select(trajectory: Trajectory, indices: Sequence[int]) -> Trajectory:
    """Some of the poses, in the order of ``indices``."""
    chosen = torch.as_tensor(indices, dtype=torch.long)
    columns = trajectory._asdict() | {"pose": None}
    kept = {key: column and [column[i] for i in indices] for key, column in columns.items()}
    pose = Pose(trajectory.pose.rotation[chosen], trajectory.pose.translation[chosen])
    return Trajectory(**kept | {"pose": pose})


def join(parts: Sequence[Trajectory]) -> Trajectory:
    """Trajectories one after the other; timestamps and images only where all have them."""
    pose = Pose(*(torch.cat(fields) for fields in zip(*(p.pose for p in parts), strict=True)))
    columns = {}
    for key in Trajectory._fields:
        lists = [getattr(part, key) for part in parts]
        whole = key != "pose" and all(column is not None for column in lists)
        columns[key] = [value for column in lists for value in column] if whole else None
    return Trajectory(**columns | {"pose": pose})


def written_names(trajectory: Trajectory) -> list[str]:
    """The names for a format that names images: those of the images, where there are images."""
    if trajectory.images is None:
        return trajectory.names
    return [image.name for image in trajectory.images]


def words(names: Sequence[str], what: str) -> list[str]:
    """The names, if each is one word, as formats need whose lines are split at spaces.

    Raises:
        DataError: One is not, or two are the same.
    """
    for name in names:
        if name.split() != [name] or name.startswith("#"):
            raise DataError(
                f"{what}: expected names without spaces, which would end them, or a '#' in front, "
                f"found {name!r}; rename the image, or use --to csv or transforms"
            )
    require_different(names, what)
    return list(names)


def require_different(names: Sequence[str], where: str) -> None:
    """Refuse names of which two are the same.

    Raises:
        DataError: Two are.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(
                f"{where}: expected a pose a name, found {name!r} twice; remove one of them"
            )
        seen.add(name)


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0] or ONE_SEQUENCE


def _image_name(frame: Frame, root: Path) -> str:
    """The frame's name where that is its image's, else the image's path below the dataset."""
    path = frame.image_path
    if f"/{path.as_posix()}".endswith(f"/{frame.name}"):
        return frame.name
    return path_below(path, root) or path.as_posix()
