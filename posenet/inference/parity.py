"""How far an exported model is from the network that it was made of, on images."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posenet.datasets.scene import load_scene
from posenet.errors import CheckpointError, PosenetError
from posenet.geometry import Pose, geodesic_distance, translation_distance
from posenet.inference.localizer import Localizer
from posenet.inference.photos import read_photos
from posenet.inference.sources import find_images
from posenet.models.checkpoint import Checkpoint
from posenet.models.network import Prediction
from posenet.progress import report_progress, say

FRAMES = 64
_BATCH = 16  # and the first images one by one, as a webcam gives them
_SINGLE = 4
# Of the scene's extent, where a metre means nothing; a tenth of it where the scene is large.
_TOLERANCE = 1e-4
# Probabilities, and scales and novelty relative to their size: rounding, some sums of which cancel.
_TOLERANCE_SHARE = 1e-3

Answer = Callable[[Tensor], Prediction]


class Frames(NamedTuple):
    """Images to compare on.

    Attributes:
        images: RGB bytes of the network's size, (N, height, width, 3).
        words: What they are.
    """

    images: NDArray[np.uint8]
    words: str


class Parity(NamedTuple):
    """The largest differences between two models over some images.

    Attributes:
        rotation_deg: Of poses and of the pose in each bin, degrees.
        translation_m: Likewise, in the scene's unit.
        share: Of the bins' probabilities, and of scales and novelty relative to their size.
        images: Numbers of the images where these were found, from 0.
    """

    rotation_deg: float
    translation_m: float
    share: float
    images: tuple[int, int, int]


def compare_models(ours: Answer, theirs: Answer, images: NDArray[np.uint8]) -> Parity:
    """The largest differences between two models, in batches of one and of several.

    Args:
        ours: From RGB bytes (B, height, width, 3) to float64 predictions.
        theirs: Likewise.
        images: (N, height, width, 3), N at least 1.
    """
    count = len(images)
    batches = [range(i, i + 1) for i in range(min(_SINGLE, count))]
    batches += [range(i, min(i + _BATCH, count)) for i in range(0, count, _BATCH)]
    differences = torch.zeros(count, 3, dtype=torch.float64)
    with report_progress("comparing") as report:
        for done, batch in enumerate(batches):
            part = slice(batch.start, batch.stop)
            pixels = torch.from_numpy(images[part])
            found = _differences(ours(pixels), theirs(pixels))
            # A NaN is as far off as can be.
            found = found.nan_to_num(nan=torch.inf, posinf=torch.inf)
            differences[part] = torch.maximum(differences[part], found)
            report(done + 1, len(batches))
    worst = differences.max(dim=0)
    return Parity(*worst.values.tolist(), tuple(worst.indices.tolist()))


def _differences(ours: Prediction, theirs: Prediction) -> Tensor:
    """Of each image: degrees, metres, share; (B, 3)."""
    rotation, translation = _pose_differences(ours.pose, theirs.pose)
    share = torch.zeros_like(rotation)
    if ours.logits is not None:
        pairs = _pose_differences(ours.candidates, theirs.candidates)
        rotation = torch.maximum(rotation, pairs[0].amax(dim=-1))
        translation = torch.maximum(translation, pairs[1].amax(dim=-1))
        gap = ours.logits.softmax(dim=-1) - theirs.logits.softmax(dim=-1)
        share = gap.abs().amax(dim=-1)
    if ours.confidence is not None:
        for a, b in zip(ours.confidence, theirs.confidence, strict=True):
            share = torch.maximum(share, (a - b).abs() / a.abs().clamp_min(1e-12))
    return torch.stack((rotation, translation, share), dim=-1)


def _pose_differences(ours: Pose, theirs: Pose) -> tuple[Tensor, Tensor]:
    angle = torch.rad2deg(geodesic_distance(ours.rotation, theirs.rotation))
    return angle, translation_distance(ours.translation, theirs.translation)


def require_parity(
    parity: Parity,
    checkpoint: Checkpoint,
    output: Path,
    tolerance_deg: float,
    tolerance_m: float | None,
) -> None:
    """Refuse a model that answers otherwise than the network.

    Args:
        parity: How far it is.
        checkpoint: The network.
        output: Where the model was to go, for the message.
        tolerance_deg: Largest difference allowed, degrees.
        tolerance_m: Likewise, in the scene's unit. When omitted, 1e-4 m, and 1e-5 of the spread of
            the training positions where that is more; without metres, 1e-4 of the spread.

    Raises:
        CheckpointError: It is too far off.
    """
    spread = checkpoint.spread
    if tolerance_m is None:
        unit = max(1.0, spread / 10.0) if checkpoint.metric else spread
        tolerance_m = _TOLERANCE * unit
    unit = "m" if checkpoint.metric else "units"
    checks = (
        (parity.rotation_deg, tolerance_deg, "deg"),
        (parity.translation_m, tolerance_m, unit),
        (parity.share, _TOLERANCE_SHARE, "of a probability or scale"),
    )
    for (found, allowed, what), image in zip(checks, parity.images, strict=True):
        if found > allowed:
            raise CheckpointError(
                f"{output}: expected the answers of the network to within {allowed:.1e} {what}, "
                f"found {found:.1e} (image {image + 1}), so nothing was written; allow more with "
                "--tolerance-deg or --tolerance-m, or train with another --model.rotation"
            )


def find_frames(localizer: Localizer, paths: list[Path] | None) -> Frames:
    """Images to compare on: those given, else of the run's dataset, else random pixels.

    Args:
        localizer: The network.
        paths: Images and folders of images.

    Raises:
        DataError: One of the paths cannot be read.
    """
    if paths:
        files = [file for path in paths for file in find_images(path)]
        files = [files[i] for i in _spaced(len(files))]
        photos = read_photos(files, turned=localizer.checkpoint.turns_photos)
        fitted = [localizer.fit(p.pixels, localizer.camera_of(p).intrinsics) for p in photos]
        return Frames(np.stack(fitted), f"{len(files)} images given")
    return _dataset_frames(localizer.checkpoint) or _random_frames(localizer.checkpoint)


def _dataset_frames(checkpoint: Checkpoint) -> Frames | None:
    """Frames of the dataset a network was trained from, as it saw them; None where it is gone."""
    data = checkpoint.config.data
    if not data.root or not Path(data.root).is_dir():
        return None
    # The cache of the training may be on another machine; it is only a cache.
    cache = data.cache if data.cache and Path(data.cache).is_dir() else None
    try:
        with report_progress("decoding images") as report:
            scene = load_scene(dataclasses.replace(data, cache=cache), report=report)
    except PosenetError as error:
        say(f"posenet: warning: the frames of the run cannot be compared on: {error}")
        return None
    names = ("validation", "test", "train")
    name = next(name for name in names if getattr(scene.split, name))
    indices = getattr(scene.split, name)
    chosen = [indices[i] for i in _spaced(len(indices))]
    images = np.stack([scene.images.color_image(i) for i in chosen])
    return Frames(images, f"{len(chosen)} {name} frames of {data.root}")


def _random_frames(checkpoint: Checkpoint) -> Frames:
    data, rng = checkpoint.config.data, np.random.default_rng(0)
    shape = (2 * _BATCH, data.height, data.width, 3)
    words = "random pixels, since no frames are at hand (give some with --images)"
    return Frames(rng.integers(0, 256, shape, dtype=np.uint8), f"{shape[0]} images of {words}")


def _spaced(count: int) -> list[int]:
    """At most FRAMES of so many, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, FRAMES)).round().astype(int)).tolist()
