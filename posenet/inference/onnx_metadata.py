"""What an exported model says of itself: written into its file, and read back from there.

One JSON value a key, in words, so that a program that knows neither torch nor posenet can use the
model rightly. docs/export.md explains every key.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from posenet.datasets.resampling import is_plain_resize
from posenet.errors import CheckpointError
from posenet.geometry import Distortion, Intrinsics, Pose
from posenet.models.calibration import Calibration, most_novel, radius_factors
from posenet.models.checkpoint import Checkpoint
from posenet.version import __version__

EXPORT_FORMAT = 1
LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95, 0.99)
_KEYS = (
    *("posenet_format", "posenet_version", "convention", "scene", "epoch", "unit", "origin"),
    *("input", "camera", "training_camera", "training_poses", "bins", "confidence"),
)
CONVENTION = {
    "pose": "camera-to-world: x_world = rotation @ x_camera + translation",
    "axes": "OpenCV: x right, y down, z forward",
    "translation": "the camera centre in the world, origin added",
    "quaternion": "wxyz, w not negative",
}


class Description(NamedTuple):
    """What is known of an exported model, as :class:`posenet.models.checkpoint.Checkpoint` has it.

    Attributes:
        path: Its file.
        camera: The pinhole camera whose images the network knows, at the size of its images.
        intrinsics: The camera of most training images, at their size on disk.
        distortion: Of that camera's lens.
        scene: Name of the scene it knows.
        epoch: Epochs it was trained for.
        metric: Whether its poses are in metres.
        origin: The place that its network's coordinates count from; its poses do not.
        mean_pose: Mean of the training poses in the world, ().
        spread: Root mean square distance of the training positions to their mean.
        bins: Centres of the viewpoint bins in the world, (K,); None without.
        has_confidence: Whether the model says how sure it is.
        calibration: What validation images taught about its confidence; None without them.
        turns_photos: Whether new photos are turned as their EXIF orientation says.
    """

    path: Path
    camera: Intrinsics
    intrinsics: Intrinsics
    distortion: Distortion | None
    scene: str
    epoch: int
    metric: bool
    origin: tuple[float, float, float]
    mean_pose: Pose
    spread: float
    bins: Pose | None
    has_confidence: bool
    calibration: Calibration | None
    turns_photos: bool

    @property
    def config(self) -> NoReturn:
        """Settings stay with the run.

        Raises:
            CheckpointError: Always.
        """
        raise CheckpointError(
            f"{self.path}: an exported model does not know the dataset and the settings it was "
            "trained with; give the run it was exported from"
        )


def write_metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """The entries of a file's metadata: JSON by name."""
    distortion, camera = checkpoint.distortion, checkpoint.camera
    content = {
        "posenet_format": EXPORT_FORMAT,
        "posenet_version": __version__,
        "convention": CONVENTION,
        "scene": checkpoint.scene,
        "epoch": checkpoint.epoch,
        "unit": {"metric": checkpoint.metric, "name": "metre" if checkpoint.metric else "scene"},
        "origin": list(checkpoint.origin),
        "input": {
            "name": "images",
            "type": "uint8",
            "layout": "batch, height, width, channel",
            "colour_order": "RGB",
            "range": [0, 255],
            "height": camera.height,
            "width": camera.width,
            "plain_resize": is_plain_resize(checkpoint.intrinsics, distortion, camera),
            "turned_by_exif": checkpoint.turns_photos,
        },
        "camera": asdict(camera),
        "training_camera": {
            **asdict(checkpoint.intrinsics),
            "distortion": None if distortion is None else asdict(distortion),
        },
        "training_poses": {
            "mean_rotation": checkpoint.mean_pose.rotation.tolist(),
            "mean_translation": checkpoint.mean_pose.translation.tolist(),
            "spread": checkpoint.spread,
        },
        "bins": _bins(checkpoint),
        "confidence": _confidence(checkpoint),
    }
    return {name: json.dumps(value, allow_nan=False) for name, value in content.items()}


def _bins(checkpoint: Checkpoint) -> dict[str, Any] | None:
    bins = checkpoint.network.bins
    if bins is None:
        return None
    world = bins.translation.double() + torch.tensor(checkpoint.origin, dtype=torch.float64)
    return {
        "count": len(world),
        "decoding": checkpoint.network.decoding,
        "rotation": bins.rotation.tolist(),
        "translation": world.tolist(),
    }


def _confidence(checkpoint: Checkpoint) -> dict[str, Any] | None:
    calibration = checkpoint.calibration
    if not checkpoint.network.has_confidence:
        return None
    levels = {}
    for level in LEVELS:
        factors = radius_factors(calibration, level)
        names = ("rotation_factor", "translation_factor")
        levels[str(level)] = {
            name: factor if isfinite(factor) else None
            for name, factor in zip(names, factors, strict=True)
        }
    learned = None
    if calibration is not None:
        most = most_novel(calibration)
        learned = {
            "images": len(calibration.novelties),
            "same_scene_novelty": most if isfinite(most) else None,
            **{name: values.tolist() for name, values in calibration._asdict().items()},
        }
    return {"levels": levels, "calibration": learned}


def read_metadata(metadata: Mapping[str, str], path: Path) -> Description:
    """What a file says of its model.

    Args:
        metadata: JSON by name.
        path: The file, for messages.

    Raises:
        CheckpointError: It says nothing of ours, is of a newer version, or makes no sense.
    """
    if "posenet_format" not in metadata:
        raise CheckpointError(
            f"{path}: expected a model that posenet wrote, found another one (no metadata of "
            "posenet); write one with: posenet export RUN --to onnx"
        )
    try:
        # Other programs may have added entries of their own.
        content = {name: json.loads(metadata[name]) for name in _KEYS if name in metadata}
        version, newest = content["posenet_format"], EXPORT_FORMAT
        if not isinstance(version, int):
            raise TypeError("its format is no number")
        if version > newest:
            raise CheckpointError(
                f"{path}: written by posenet {content.get('posenet_version')} in format {version}, "
                f"this version reads up to {newest}; update posenet, or export the run again"
            )
        if content["convention"] != CONVENTION:
            raise CheckpointError(
                f"{path}: expected poses in the convention of posenet, found "
                f"{content['convention']!r}; export the run again with this version"
            )
        training = dict(content["training_camera"])
        distortion = training.pop("distortion")
        poses, bins = content["training_poses"], content["bins"]
        confidence = content["confidence"]
        learned = None if confidence is None else confidence["calibration"]
        return Description(
            path=path,
            camera=Intrinsics(**content["camera"]),
            intrinsics=Intrinsics(**training),
            distortion=None
            if distortion is None
            else Distortion(distortion["model"], tuple(distortion["coefficients"])),
            scene=content["scene"],
            epoch=content["epoch"],
            metric=content["unit"]["metric"],
            origin=tuple(content["origin"]),
            mean_pose=_pose(poses["mean_rotation"], poses["mean_translation"]),
            spread=poses["spread"],
            bins=None if bins is None else _pose(bins["rotation"], bins["translation"]),
            has_confidence=confidence is not None,
            calibration=None
            if learned is None
            else Calibration(*(_numbers(learned[name]) for name in Calibration._fields)),
            turns_photos=content["input"]["turned_by_exif"],
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: its metadata do not fit together ({type(error).__name__}: {error}); "
            "export the run again"
        ) from error


def _pose(rotation: list, translation: list) -> Pose:
    return Pose(_numbers(rotation), _numbers(translation))


def _numbers(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
