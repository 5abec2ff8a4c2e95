"""From the settings to a scene: its frames, their images in the cache, the split, one camera."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from posenet.config import DataConfig
from posenet.datasets.cache import CachedImages, Report, cache_images
from posenet.datasets.decoding import Decoder
from posenet.datasets.formats import find_format
from posenet.datasets.frame import Frame
from posenet.datasets.orientation import TURN_FILES, Reading
from posenet.datasets.resampling import common_lens
from posenet.datasets.splits import Split, split_frames
from posenet.datasets.streamed_images import StreamedImages, stream_images
from posenet.errors import DataError, UsageError
from posenet.geometry import Intrinsics, Pose, stack_poses
from posenet.progress import say

Array = NDArray[np.float64]

# Scenes farther from the world's origin than so many times their extent get an origin of their own.
_FAR_AWAY = 100.0
# No place on Earth is so far from any origin; squares of much more do not fit into float32.
_FARTHEST = 1e12


class Scene(NamedTuple):
    """A dataset that is ready to be read.

    Attributes:
        frames: All frames that have an image.
        images: Their images (and depth), in the same order.
        split: Indices of the training, validation and test frames.
        camera: The camera of all images as they are in ``images``.
        metric: Whether poses are in metres; else a scene has a scale of its own.
        origin: The place in the world that the network's coordinates count from, (3,), float64.
            Not 0 where the scene is so far from there that float32 would lose its positions.
        turns_photos: Whether new photos are turned as their EXIF orientation says; not where
            training images that have one are read as they are stored.
    """

    frames: list[Frame]
    images: CachedImages | StreamedImages
    split: Split
    camera: Intrinsics
    metric: bool = True
    origin: Array = np.zeros(3)
    turns_photos: bool = True

    def poses(self, indices: Sequence[int]) -> Pose:
        """Poses of frames in the network's coordinates, (N,), float64."""
        world = stack_poses([self.frames[i].pose for i in indices])
        return Pose(world.rotation.double(), world.translation.double() - torch.tensor(self.origin))


def read_frames(config: DataConfig) -> list[Frame]:
    """The frames of the dataset a configuration names, whether or not their images are there.

    Raises:
        DataError: The dataset cannot be used.
        UsageError: The configuration does not make sense.
    """
    if not config.root:
        raise UsageError("data.root: expected the folder of the scene; give it with --data.root")
    root = Path(config.root)
    camera = Intrinsics(*config.intrinsics) if config.intrinsics is not None else None
    frames = find_format(root, config.format).read(root, camera, config.depth_registered)
    if not frames:
        raise DataError(f"{config.root}: holds no frames")
    for frame in frames:
        if not bool((frame.pose.translation.abs() <= _FARTHEST).all()):
            raise DataError(
                f"{config.root}: expected camera centres within {_FARTHEST:g} of the origin, found "
                f"{frame.pose.translation.tolist()} of {frame.name}; correct or remove its pose"
            )
    return frames


def load_scene(
    config: DataConfig,
    *,
    with_depth: bool = False,
    for_training: bool = False,
    report: Report | None = None,
) -> Scene:
    """Read a dataset, decode its images into the cache, and split it.

    Frames without a readable image are left out and counted on stderr, as long as they are few.
    With ``data.stream``, training images stay in their shards until they are asked for.

    Args:
        config: Which dataset. Its width and height are taken as they are.
        with_depth: Read depth too, where any frame has it.
        for_training: Whether nobody will ask for many test frames, which then stay there too.
        report: Called with (done, total) while images are decoded.

    Raises:
        DataError: The dataset cannot be used, or too few of its images.
        UsageError: The configuration does not make sense.
    """
    frames = read_frames(config)
    streams = config.stream and all(frame.packed_image is not None for frame in frames)
    if config.stream and for_training and not streams:
        raise UsageError(
            f"data.stream: expected shards to stream from, found other files in {config.root}; "
            "make shards of it with posenet shard, or leave data.stream out"
        )
    present = frames_with_images(frames, config.root)
    if len(present) < len(frames):
        say(
            f"{config.root}: {len(frames) - len(present)} of {len(frames)} posed frames have no "
            "image and are left out"
        )
    frames = present
    for name, rule in (("split", config.split), ("validation", config.validation)):
        if rule.startswith("random:"):
            say(
                f"data.{name}: {rule} draws single frames, whose neighbours are near copies: "
                "errors on them say little about new places; use tail or sequences to measure"
            )
    units = find_format(Path(config.root), config.format).units_of(Path(config.root))
    with_depth = with_depth and _has_depth(frames, units, config.root)
    folder = Path(config.cache) if config.cache else default_cache_folder()
    camera = network_camera(frames, config)
    how = {
        "with_depth": with_depth,
        "least_readable": config.least_readable,
        "report": report,
    }
    if streams:
        digests = [f.packed_image.digest for f in frames] if config.drop_repeated else None
        split = split_frames(frames, config.validation, digests, config.split)
        kept = [split.validation] if for_training else [split.validation, split.test]
        decoder = Decoder(config.width, config.height, camera)
        images = stream_images(frames, kept, decoder, folder, **how)
    else:
        images = cache_images(frames, config.width, config.height, folder, camera=camera, **how)
    for what, lost in (("", images.unreadable), ("depth ", images.unreadable_depth)):
        if lost:
            say(f"{len(lost)} of {len(frames)} {what}images cannot be read and are left out:")
            for why in lost.values():
                say(f"  {why}")
    digests = images.digests if config.drop_repeated else None
    usable = set(range(len(frames))) - set(images.unreadable)
    split = split_frames(frames, config.validation, digests, config.split, usable)
    origin = _origin([frames[i] for i in split.train])
    turns_photos = _turns_photos(frames, images.readings, split.train)
    return Scene(frames, images, split, camera, units[0], origin, turns_photos)


def _has_depth(frames: Sequence[Frame], units: tuple[bool, bool], root: str) -> bool:
    """Whether views can be rendered from depth; where they cannot, why not is told."""
    metric, scaled_depth = units
    no_effect = "augment.depth_share and augment.fill_from have no effect"
    if not any(frame.depth_path is not None for frame in frames):
        say(f"no frame has depth: {no_effect}")
    elif not metric and not scaled_depth:
        say(f"{root}: its depth is in metres and its poses are in units of their own: {no_effect}")
    else:
        return True
    return False


def _turns_photos(
    frames: Sequence[Frame], readings: Mapping[int, Reading], train: Sequence[int]
) -> bool:
    """Whether photos are turned, as training images were; refused where that was a guess."""
    first = {how: frames[index].image for index, how in reversed(readings.items())}
    if "turned" in first and "undecided" in first:
        raise DataError(
            f"{first['undecided']}: expected a camera that tells whether its EXIF orientation "
            f"counts for its pose, found one that fits either way, while {first['turned']} fits "
            f"only when turned; {TURN_FILES}"
        )
    as_stored = [index for index, how in readings.items() if how != "turned"]
    turns = set(as_stored).isdisjoint(train)
    if as_stored:
        say(
            f"{len(as_stored)} of {len(frames)} images have an EXIF orientation and are read as "
            f"they are stored, as their poses are{'' if turns else '; so will new photos be'}"
        )
    return turns


def _origin(train: Sequence[Frame]) -> Array:
    """0, or in a georeferenced scene a round place in the middle of the training frames."""
    centers = np.stack([frame.pose.translation.numpy() for frame in train])
    mean = centers.mean(axis=0)
    extent = np.linalg.norm(np.ptp(centers, axis=0))
    # Up to there float32 keeps positions to a hundred-thousandth of the scene's extent.
    return np.rint(mean) if np.linalg.norm(mean) > _FAR_AWAY * max(extent, 1e-9) else np.zeros(3)


def resolve_data(config: DataConfig) -> DataConfig:
    """The configuration with everything filled in that is taken from the dataset.

    ``camera`` is that of most training frames; width and height change places where most images
    stand the other way. A run keeps these, so that other frames cannot change what it sees.

    Raises:
        DataError: The dataset cannot be used.
        UsageError: The configuration does not make sense.
    """
    if config.camera is not None:
        return config
    frames = frames_with_images(read_frames(config), config.root)
    camera = _training_camera(frames, config)
    if (camera.width - camera.height) * (config.width - config.height) < 0:
        say(
            f"{config.root}: its images are {camera.width}x{camera.height}, so the network's are "
            f"{config.height}x{config.width}, not {config.width}x{config.height}"
        )
        config = replace(config, width=config.height, height=config.width)
    camera = network_camera(frames, config)
    center = camera.center_x, camera.center_y
    return replace(config, camera=(camera.focal_x, camera.focal_y, *center))


def network_camera(frames: Sequence[Frame], config: DataConfig) -> Intrinsics:
    """The camera that all images are resampled to, at the network's size."""
    if config.camera is not None:
        return Intrinsics(*config.camera, config.width, config.height)
    return _training_camera(frames, config).resized(config.width, config.height)


def _training_camera(frames: Sequence[Frame], config: DataConfig) -> Intrinsics:
    train = split_frames(frames, config.validation, test=config.split).train
    return common_lens([frames[i] for i in train])[0]


def frames_with_images(frames: list[Frame], root: str) -> list[Frame]:
    """The frames whose image is there; one whose depth image is not has no depth.

    Raises:
        DataError: There is none.
    """
    present = [
        replace(frame, depth_path=None)
        if frame.depth is not None and not frame.depth.is_file()
        else frame
        for frame in frames
        if frame.image.is_file()
    ]
    if present:
        return present
    raise DataError(
        f"{root}: none of its {len(frames)} posed images is there, the first should be "
        f"{frames[0].image}; copy the images there (posenet inspect shows poses without them)"
    )


def default_cache_folder() -> Path:
    """``$POSENET_CACHE``, else the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("POSENET_CACHE") or Path(base) / "posenet")
