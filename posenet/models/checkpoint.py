"""Checkpoints that need nothing beside them, and hold nothing that could run.

A file holds tensors and plain values only, is written whole or not at all, and is read with
``weights_only=True``.
"""

import json
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

import torch

from posenet.config import Config, config_from_dict, config_to_dict
from posenet.errors import CheckpointError, UsageError
from posenet.geometry import Distortion, Intrinsics, Pose
from posenet.models.calibration import Calibration
from posenet.models.network import PoseNetwork
from posenet.staging import bring_to_disk, sync_folder
from posenet.version import __version__

CHECKPOINT_FORMAT = 2  # 1 was before networks had confidence
_SUFFIXES = {".pt", ".ckpt", ".csv", ".json", ".yaml"}  # of the files of a run
CONVENTION = "camera-to-world, OpenCV axes, translation is the camera centre"


class Checkpoint(NamedTuple):
    """A trained network and what it must be used with.

    Attributes:
        network: In evaluation mode, on the CPU.
        config: The settings it was trained with.
        intrinsics: The camera of most of its training images, at their size on disk.
        scene: Name of the scene it knows.
        epoch: Epochs it was trained for.
        distortion: Of that camera's lens.
        metric: Whether its poses are in metres.
        origin: The place in the world that the network's coordinates count from.
        calibration: What validation images taught about its confidence; None without them.
        turns_photos: Whether new photos are turned as their EXIF orientation says; not where the
            training images had orientations and were read as they are stored.
        known_centers: Where some of its training frames stood, by name, in the world: by these a
            dataset is known again.
    """

    network: PoseNetwork
    config: Config
    intrinsics: Intrinsics
    scene: str
    epoch: int
    distortion: Distortion | None = None
    metric: bool = True
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    calibration: Calibration | None = None
    turns_photos: bool = True
    known_centers: Mapping[str, tuple[float, ...]] = MappingProxyType({})

    @property
    def camera(self) -> Intrinsics:
        """The pinhole camera whose images the network knows, at the size of its images."""
        data = self.config.data
        if data.camera is not None:
            return Intrinsics(*data.camera, data.width, data.height)
        return self.intrinsics.resized(data.width, data.height)

    @property
    def mean_pose(self) -> Pose:
        """Mean of the training poses in the world, float64, ()."""
        network, origin = self.network, torch.tensor(self.origin, dtype=torch.float64)
        center = network.translation_center.cpu().double() + origin
        return Pose(network.rotation_center.cpu().double(), center)

    @property
    def spread(self) -> float:
        """Root mean square distance of the training positions to their mean."""
        return float(self.network.translation_spread)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint under a temporary name and rename it when it is whole."""
    intrinsics, distortion = checkpoint.intrinsics, checkpoint.distortion
    content = {
        "format": CHECKPOINT_FORMAT,
        "posenet_version": __version__,
        "convention": CONVENTION,
        "config": config_to_dict(checkpoint.config),
        "intrinsics": {name: getattr(intrinsics, name) for name in intrinsics.__match_args__},
        "distortion": None
        if distortion is None
        else {"model": distortion.model, "coefficients": list(distortion.coefficients)},
        "metric": checkpoint.metric,
        "origin": list(checkpoint.origin),
        "turns_photos": checkpoint.turns_photos,
        "known_centers": {name: list(xyz) for name, xyz in checkpoint.known_centers.items()},
        "scene": checkpoint.scene,
        "epoch": checkpoint.epoch,
        "calibration": None if checkpoint.calibration is None else checkpoint.calibration._asdict(),
        "network": checkpoint.network.state_dict(),
    }
    write_atomically(path, content)


def write_atomically(path: Path, content: Any, previous: Path | None = None) -> None:
    """``torch.save`` as :func:`whole_file` writes."""
    with whole_file(path, previous) as file:
        torch.save(content, file)


@contextmanager
def whole_file(path: Path, previous: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write that takes its place when it is whole and on the disk.

    Whatever happens meanwhile, a kill or a power cut, leaves the old file.

    Args:
        path: Where it goes.
        previous: Where the file that it replaces goes; a kill between the two moves leaves this
            one alone.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            bring_to_disk(file)
        if previous is not None and path.exists():
            path.replace(previous)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # of a full disk
            error.filename = str(path)
        raise
    sync_folder(path.parent)


def remove_left_over(folder: Path) -> None:
    """Delete what a kill left of :func:`whole_file` among a run's files, and nothing else."""
    for path in folder.glob(".*.*"):
        name, _, process = path.name[1:].rpartition(".")
        if process.isdigit() and Path(name).suffix in _SUFFIXES and path.is_file():
            path.unlink()


def read_whole(path: Path) -> Any:
    """Read a file of ``torch.save`` to the CPU, and hold every byte of it against its checksums.

    ``torch.load`` does not, and takes a damaged tensor for a good one.

    Raises:
        CheckpointError: The file is damaged, or holds more than tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(damaged)
        with warnings.catch_warnings():  # of what is refused here
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # torch raises many types for a damaged or refused file
        raise CheckpointError(
            f"{path}: not a checkpoint of posenet, or damaged ({type(error).__name__}); "
            "use another checkpoint of the run, or train again"
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and build its network.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, or of a newer version.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; give a run folder or a .pt file in one")
    content = read_whole(path)
    if not isinstance(content, dict) or "posenet_version" not in content:
        raise CheckpointError(
            f"{path}: expected a checkpoint of posenet, found another file of torch; give a run "
            "folder or a .pt file in one"
        )
    if not isinstance(content.get("format"), int):
        raise CheckpointError(f"{path}: the checkpoint does not say its format; train again")
    if content["format"] > CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{path}: written by posenet {content['posenet_version']} in format "
            f"{content['format']}, this version reads up to {CHECKPOINT_FORMAT}; "
            "update posenet"
        )
    if content.get("convention") != CONVENTION:
        raise CheckpointError(
            f"{path}: expected poses that are {CONVENTION}, found {content.get('convention')!r}; "
            "train again with this version"
        )
    try:
        settings = content["config"]
        # What networks were before a setting told it.
        before = {"mode": "regression", "confidence": False}
        config = config_from_dict({**settings, "model": {**before, **settings["model"]}})
        network = PoseNetwork(config.model, config.data, weights="none")
        network.load_state_dict(content["network"])
        return Checkpoint(
            network=network.eval(),
            config=config,
            intrinsics=Intrinsics(**content["intrinsics"]),
            scene=str(content["scene"]),
            epoch=content["epoch"],
            distortion=_distortion(content.get("distortion")),
            metric=content.get("metric", True),
            origin=tuple(map(float, content.get("origin", (0.0, 0.0, 0.0)))),
            turns_photos=content.get("turns_photos", True),
            known_centers={
                name: tuple(map(float, xyz))
                for name, xyz in content.get("known_centers", {}).items()
            },
            calibration=_calibration(content.get("calibration")),
        )
    except (AttributeError, KeyError, TypeError, RuntimeError, UsageError, ValueError) as error:
        # torch's first line names the class, the others what does not fit.
        lines = [line.strip() for line in str(error).splitlines()]
        reason = lines[1] if isinstance(error, RuntimeError) and len(lines) > 1 else lines[0]
        raise CheckpointError(
            f"{path}: the checkpoint does not fit together ({reason}); use another one of the run, "
            "or train again"
        ) from error


def _distortion(values: dict[str, Any] | None) -> Distortion | None:
    if values is None:
        return None
    return Distortion(values["model"], tuple(values["coefficients"]))


def _calibration(values: dict[str, Any] | None) -> Calibration | None:
    return None if values is None else Calibration(**values)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint meant by a run folder (its best) or a file (itself).

    Raises:
        CheckpointError: There is none.
    """
    if not path.is_dir():
        return path
    for name in ("best.pt", "last.pt"):
        candidate = path / "checkpoints" / name
        if candidate.is_file():
            return candidate
    raise CheckpointError(
        f"{path}: expected a run folder with checkpoints/best.pt, found none; "
        "train one with: posenet train CONFIG"
    )


def read_split(path: Path) -> dict[str, list[str]]:
    """The names of a run's frames by part: train, validation and test, from its ``split.json``.

    Raises:
        CheckpointError: It is not what a training wrote.
    """
    try:
        names: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        names = None
    parts = ("train", "validation", "test")
    if not isinstance(names, dict) or not all(isinstance(names.get(part), list) for part in parts):
        raise CheckpointError(
            f"{path}: expected the names of the run's frames, found something else; restore it, or "
            "train again"
        )
    return {part: [str(name) for name in names[part]] for part in parts}


def run_folder_of(checkpoint: Path) -> Path:
    """The run folder that a checkpoint file lies in, or its own folder."""
    folder = checkpoint.resolve().parent
    return folder.parent if folder.name == "checkpoints" else folder
