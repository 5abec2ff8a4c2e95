"""What predictions in a file are measured against: the poses of a file, or a dataset's split."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from posenet.conversion import Trajectory, read_source
from posenet.conversion.sidecars import NAMES, sidecar
from posenet.conversion.trajectory import select
from posenet.datasets.formats import FORMATS
from posenet.datasets.formats.parsing import natural_order
from posenet.datasets.frame import Frame
from posenet.datasets.splits import split_frames
from posenet.errors import DataError, UsageError
from posenet.evaluation.matching import PoseSet
from posenet.geometry import Pose
from posenet.progress import say

ALL = "all"
_COUNTED = ("tum poses", "kitti poses")  # formats without names; their poses are counted


class Truth(NamedTuple):
    """Frames to measure on.

    Attributes:
        poses: Their true poses.
        scene: What the place is called.
        split: test, validation or train, where they are part of something larger.
        metric: Whether positions are in metres.
        size: Diagonal of the box around the training positions, or around these where there is no
            training, in the unit of the positions.
        train: Poses of the training frames; None where there are none.
    """

    poses: PoseSet
    scene: str
    split: str | None
    metric: bool
    size: float
    train: Pose | None

    @property
    def trajectory(self) -> Trajectory:
        """Names, poses and recordings of the frames."""
        return self.poses.trajectory


def read_truth(
    path: Path, name: str = "auto", split: str | None = None, metric: bool | None = None
) -> Truth:
    """The frames to measure on.

    Args:
        path: A file of poses, or the folder of a dataset.
        name: Its format, or auto to recognise it.
        split: test, validation, train or all; when omitted test, or all where a file does not tell
            which frames test.
        metric: Whether positions are in metres; when omitted, as for datasets of the format.

    Raises:
        PosenetError: It cannot be used, or has no such frames.
    """
    everything, kind = read_source(path, name, options=_options("--ground-truth"))
    form, _, holds = kind.rpartition(" ")
    if metric is None:
        metric = form not in FORMATS or FORMATS[form].units_of(path)[0]
    if holds == "dataset":
        everything, parts = _split_dataset(everything, path, split)
    else:
        parts = _split_file(everything, path, split)
    train = select(everything, parts["train"]).pose if parts.get("train") else None
    trajectory, chosen = everything, ALL
    if split != ALL and parts:
        chosen = split or "test"
        trajectory = _choose(everything, parts[chosen], path, chosen)
    named = _is_named(trajectory, kind, path)
    if named:  # COLMAP's lines come in no order, and neighbours are drawn together for intervals
        names = trajectory.names
        trajectory = select(
            trajectory, sorted(range(len(names)), key=lambda i: natural_order(names[i]))
        )
    centers = (trajectory.pose if train is None else train).translation
    return Truth(
        PoseSet(str(path), trajectory, named),
        path.resolve().stem if path.is_file() else path.resolve().name,
        None if chosen == ALL else chosen,
        metric,
        float((centers.amax(dim=0) - centers.amin(dim=0)).norm().clamp_min(1e-12)),
        train,
    )


def read_predictions(path: Path, name: str = "auto") -> PoseSet:
    """The poses in a file; those that are not finite are kept, as of frames that were lost.

    Raises:
        PosenetError: It cannot be used.
    """
    trajectory, kind = read_source(path, name, finite=False, options=_options("--predictions"))
    return PoseSet(str(path), trajectory, _is_named(trajectory, kind, path))


def _split_dataset(
    trajectory: Trajectory, path: Path, split: str | None
) -> tuple[Trajectory, dict[str, Sequence[int]]]:
    """The frames with an image, if any has one, and which of them are of which split."""
    here = [i for i, image in enumerate(trajectory.images) if image.path.is_file()]
    if 0 < len(here) < len(trajectory.names):
        lost = len(trajectory.names) - len(here)
        say(f"{path}: {lost} of {len(trajectory.names)} posed frames have no image, left out")
        trajectory = select(trajectory, here)
    if split == ALL or set(trajectory.splits) == {"test"}:
        return trajectory, {part: [] for part in ("train", "validation")} | {
            "test": range(len(trajectory.names))
        }
    frames = [
        Frame(name, image.path, Pose(*pose), intrinsics, sequence, split)
        for name, image, intrinsics, sequence, split, *pose in zip(
            trajectory.names,
            trajectory.images,
            trajectory.intrinsics,
            trajectory.sequences,
            trajectory.splits,
            *trajectory.pose,
            strict=True,
        )
    ]
    return trajectory, split_frames(frames, "auto")._asdict()


def _split_file(trajectory: Trajectory, path: Path, split: str | None) -> dict[str, Sequence[int]]:
    """Which poses are of which split, where the file tells which frames test; else nothing."""
    parts = {
        part: [i for i, its in enumerate(trajectory.splits) if its == part]
        for part in ("train", "test")
    }
    if split in (None, ALL):
        return parts if parts["test"] else {}
    if not parts.get(split):
        raise UsageError(
            f"--split {split}: {path} does not tell which frames are for {split}; leave it out, or "
            "give the dataset's folder as ground truth"
        )
    return parts


def _choose(trajectory: Trajectory, chosen: Sequence[int], path: Path, split: str) -> Trajectory:
    if not chosen:
        raise DataError(
            f"{path}: the {split} split has no frames to evaluate; give --split all, or another"
        )
    total = len(trajectory.names)
    if len(chosen) < total:
        say(f"{path}: {len(chosen)} of {total} frames are {split} frames")
    return select(trajectory, chosen)


def _is_named(trajectory: Trajectory, kind: str, path: Path) -> bool:
    """Whether names are more than the numbers that readers give where a format has none."""
    if kind not in _COUNTED or sidecar(path, NAMES).is_file():
        return True
    counts: dict[str, int] = {}
    for name in trajectory.names:
        folder, _, number = name.rpartition("/")
        if number != f"{counts.setdefault(folder, 0):06d}":
            return True
        counts[folder] += 1
    return False


def _options(flag: str) -> dict[str, str]:
    """What the options that readers tell of are called here."""
    return {
        " (with --root to posenet evaluate)": "",
        '--data.intrinsics "[fx, fy, cx, cy, width, height]"': (
            "posenet convert --to csv --intrinsics FX,FY,CX,CY,WIDTH,HEIGHT"
        ),
        "--data.format": f"{flag}-format",
        "with --from": f"with {flag}-format",
        "--data.root": flag,
    }
