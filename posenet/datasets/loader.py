"""From frames to batches: which frame, in which order, seen how, all decided by (seed, epoch)."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from posenet.config import AugmentConfig, DataConfig
from posenet.datasets.augment import (
    DepthView,
    View,
    random_shift,
    random_turn,
    random_view,
)
from posenet.datasets.formats import Format, find_format
from posenet.datasets.frame import Frame
from posenet.datasets.images import CachedImages, Report, cache_images
from posenet.datasets.orientation import TURN_FILES, Reading
from posenet.datasets.resampling import common_lens, seen_pixels
from posenet.datasets.splits import Split, split_frames
from posenet.errors import DataError, UsageError
from posenet.geometry import Intrinsics, Pose, stack_poses
from posenet.progress import say

Array = NDArray[np.float64]

# How far away (metres plus radians) a frame may have been taken that fills in another's view. The
# nearest ones are of the same sequence and have seen the same: choosing among all brings more.
FILL_REACH = 1.0

# Views in an epoch of a dataset that has fewer frames.
EPOCH_VIEWS = 500

# Scenes farther from the world's origin than so many times their extent get an origin of their own.
_FAR_AWAY = 100.0


class Draw(NamedTuple):
    """One training sample to make: everything random about it follows from these numbers.

    Attributes:
        seed: Seed of the run.
        epoch: The pass, from 0.
        position: Place in the pass, from 0.
        index: Index of the frame in its dataset.
    """

    seed: int
    epoch: int
    position: int
    index: int


class Sample(NamedTuple):
    """One image and its label; batched, each entry gets a leading dimension.

    Attributes:
        image: RGB, uint8, (3, height, width); divide by 255 before use.
        pose: Camera-to-world, float32.
        index: Index of the frame in its dataset.
    """

    image: Tensor
    pose: Pose
    index: int


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
    images: CachedImages
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
    return frames


def load_scene(
    config: DataConfig, *, with_depth: bool = False, report: Report | None = None
) -> Scene:
    """Read a dataset, decode its images into the cache, and split it.

    Frames without a readable image are left out and counted on stderr, as long as they are few.

    Args:
        config: Which dataset. Its width and height are taken as they are.
        with_depth: Read depth too, where any frame has it.
        report: Called with (done, total) while images are decoded.

    Raises:
        DataError: The dataset cannot be used, or too few of its images.
        UsageError: The configuration does not make sense.
    """
    frames = read_frames(config)
    present = _with_images(frames, config.root)
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
    row = find_format(Path(config.root), config.format)
    with_depth = with_depth and _has_depth(frames, row, config.root)
    folder = Path(config.cache) if config.cache else default_cache_folder()
    camera = network_camera(frames, config)
    images = cache_images(
        frames,
        config.width,
        config.height,
        folder,
        camera=camera,
        with_depth=with_depth,
        least_readable=config.least_readable,
        report=report,
    )
    for what, lost in (("", images.unreadable), ("depth ", images.unreadable_depth)):
        if lost:
            say(f"{len(lost)} of {len(frames)} {what}images cannot be read and are left out:")
            for why in lost.values():
                say(f"  {why}")
    digests = images.digests if config.drop_repeated else None
    usable = set(range(len(frames))) - set(images.unreadable)
    split = split_frames(frames, config.validation, digests, config.split, usable)
    origin = _origin([frames[i] for i in split.train])
    as_stored = {i for i, how in _orientations(frames, images).items() if how != "turned"}
    turns_photos = as_stored.isdisjoint(split.train)
    return Scene(frames, images, split, camera, row.metric, origin, turns_photos)


def _has_depth(frames: Sequence[Frame], row: Format, root: str) -> bool:
    """Whether views can be rendered from depth; where they cannot, why not is told."""
    no_effect = "augment.depth_share and augment.fill_from have no effect"
    if not any(frame.depth_path is not None for frame in frames):
        say(f"no frame has depth: {no_effect}")
    elif not row.metric and not row.scaled_depth:
        say(f"{root}: its depth is in metres and its poses are in units of their own: {no_effect}")
    else:
        return True
    return False


def _orientations(frames: Sequence[Frame], images: CachedImages) -> Mapping[int, Reading]:
    """How images that have an EXIF orientation were read; refused where that is a guess."""
    readings = images.readings
    first = {how: frames[index].image_path for index, how in reversed(readings.items())}
    if "turned" in first and "undecided" in first:
        raise DataError(
            f"{first['undecided']}: expected a camera that tells whether its EXIF orientation "
            f"counts for its pose, found one that fits either way, while {first['turned']} fits "
            f"only when turned; {TURN_FILES}"
        )
    as_stored = sum(how != "turned" for how in readings.values())
    if as_stored:
        say(
            f"{as_stored} of {len(frames)} images have an EXIF orientation that their poses do not "
            "know, and are read as they are stored; so will new photos be"
        )
    return readings


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
    frames = _with_images(read_frames(config), config.root)
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


def _with_images(frames: list[Frame], root: str) -> list[Frame]:
    """The frames whose image is there; one whose depth image is not has no depth."""
    present = [
        replace(frame, depth_path=None)
        if frame.depth_path is not None and not frame.depth_path.is_file()
        else frame
        for frame in frames
        if frame.image_path.is_file()
    ]
    if present:
        return present
    raise DataError(
        f"{root}: none of its {len(frames)} posed images is there, the first should be "
        f"{frames[0].image_path}; copy the images there (posenet inspect shows poses without them)"
    )


def default_cache_folder() -> Path:
    """``$POSENET_CACHE``, else the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("POSENET_CACHE") or Path(base) / "posenet")


class _PosedImages:
    """Images, poses and cameras of all frames, in a form that is cheap to send to a worker."""

    def __init__(self, scene: Scene) -> None:
        frames = scene.frames
        self.images = scene.images
        self.rotations = np.stack([frame.pose.rotation.numpy() for frame in frames])
        centers = np.stack([frame.pose.translation.numpy() for frame in frames])
        self.translations = centers - scene.origin
        self.intrinsics = scene.camera
        self.lenses = [(frame.intrinsics, frame.distortion) for frame in frames]
        has_images = scene.images.depth is not None
        self.has_depth = np.array([has_images and f.depth_path is not None for f in frames])
        self.has_depth[list(scene.images.unreadable_depth)] = False

    def view(self, index: int) -> View:
        seen = seen_pixels(*self.lenses[index], self.intrinsics)
        return View(
            self.images.color_image(index),
            self.rotations[index],
            self.translations[index],
            None if seen.all() else seen,
        )

    def depth(self, index: int) -> NDArray[np.uint16] | None:
        if self.images.depth is None or not self.has_depth[index]:
            return None
        return self.images.depth_image(index)


class PlainDataset(Dataset[Sample]):
    """Frames as they are, for validation and testing."""

    def __init__(self, scene: Scene, indices: Sequence[int]) -> None:
        self.posed = _PosedImages(scene)
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Sample:
        index = self.indices[position]
        return _to_sample(self.posed.view(index), index)


class AugmentedDataset(Dataset[Sample]):
    """Random views of the training frames; asked for by :class:`Draw`, not by number."""

    def __init__(self, scene: Scene, config: AugmentConfig) -> None:
        self.posed = _PosedImages(scene)
        self.config = config
        # Only training frames may fill in: a validation or test image must not leak into training.
        train = np.array(scene.split.train)
        self.fillers = train[self.posed.has_depth[train]]

    def __getitem__(self, draw: Draw) -> Sample:
        # OpenCV's own threads would fight with torch's over the same cores.
        cv2.setNumThreads(0)
        rng = np.random.default_rng((draw.seed, draw.epoch, 1 + draw.position))
        view = random_view(
            self.posed.view(draw.index),
            self.posed.depth(draw.index),
            self.posed.intrinsics,
            self.config,
            rng,
            lambda new: self._find_others(new, draw.index, rng),
        )
        return _to_sample(view, draw.index)

    def _find_others(self, new: View, index: int, rng: np.random.Generator) -> list[DepthView]:
        """Some of the frames that look about the same way from nearby; other ones each time."""
        if self.config.fill_from == 0:
            return []
        fillers = self.fillers[self.fillers != index]
        cosine = np.clip(self.posed.rotations[fillers, :, 2] @ new.rotation[:, 2], -1.0, 1.0)
        distance = np.linalg.norm(self.posed.translations[fillers] - new.translation, axis=1)
        # A radian counts as a metre: both take about a field of view out of a picture of a room.
        near = fillers[np.arccos(cosine) + distance < FILL_REACH]
        chosen = rng.permutation(near)[: self.config.fill_from]
        return [DepthView(self.posed.view(i), self.posed.depth(i)) for i in chosen]


class EpochSampler(Sampler[Draw]):
    """Every training frame ``views`` times an epoch, shuffled by (seed, epoch) alone.

    Lightning calls :meth:`set_epoch`; the order does not depend on workers or on earlier epochs.

    Args:
        indices: The training frames.
        seed: Seed of the run.
        views: How often each frame comes in one epoch.
    """

    def __init__(self, indices: Sequence[int], seed: int, views: int = 1) -> None:
        self.indices = indices
        self.seed = seed
        self.views = views
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.indices) * self.views

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng((self.seed, self.epoch))
        for position, choice in enumerate(rng.permutation(len(self))):
            yield Draw(self.seed, self.epoch, position, self.indices[choice % len(self.indices)])


def training_poses(scene: Scene, config: AugmentConfig, views: int, seed: int) -> Pose:
    """Poses that training will see: those of its frames, and of random views of each.

    Args:
        scene: The dataset.
        config: The ranges of the views.
        views: Random views of each frame.
        seed: Seed of the views; they are not those of any epoch.

    Returns:
        Poses of shape (frames * (1 + views),), float64, the frames first, in the network's
        coordinates.
    """
    rng = np.random.default_rng((seed, views))
    poses = [scene.frames[i].pose for i in scene.split.train]
    rotations = [pose.rotation.double().numpy() for pose in poses]
    centers = [pose.translation.double().numpy() - scene.origin for pose in poses]
    has_depth = scene.images.depth is not None
    for index in range(len(poses) * views):
        rotation, center = rotations[index % len(poses)], centers[index % len(poses)]
        frame = scene.frames[scene.split.train[index % len(poses)]]
        moved = has_depth and frame.depth_path is not None and rng.random() < config.depth_share
        shift = random_shift(config, rng) if moved else np.zeros(3)
        rotations.append(rotation @ random_turn(config, rng))
        centers.append(center + rotation @ shift)
    return Pose(torch.from_numpy(np.stack(rotations)), torch.from_numpy(np.stack(centers)))


def training_loader(
    scene: Scene,
    data: DataConfig,
    augment: AugmentConfig,
    *,
    batch_size: int,
    views: int,
    seed: int,
) -> DataLoader[Sample]:
    """Shuffled batches of random views; a ragged last one is dropped, unless it is the only one.

    Args:
        scene: The dataset.
        data: Number of workers.
        augment: The views.
        batch_size: Images a batch.
        views: Of each frame in one epoch; 0 for as many as make about ``EPOCH_VIEWS`` of all.
        seed: Seed of order and views.
    """
    views = views or max(1, round(EPOCH_VIEWS / len(scene.split.train)))
    sampler = EpochSampler(scene.split.train, seed, views)
    return DataLoader(
        AugmentedDataset(scene, augment),
        batch_size=batch_size,
        sampler=sampler,
        drop_last=len(sampler) > batch_size,
        num_workers=data.workers,
        persistent_workers=data.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def plain_loader(scene: Scene, indices: Sequence[int], batch_size: int) -> DataLoader[Sample]:
    """Batches of frames as they are, in order. The cache makes workers unnecessary."""
    return DataLoader(PlainDataset(scene, indices), batch_size=batch_size)


def _to_sample(view: View, index: int) -> Sample:
    pose = Pose(torch.from_numpy(view.rotation).float(), torch.from_numpy(view.translation).float())
    return Sample(torch.from_numpy(view.image).permute(2, 0, 1), pose, index)
