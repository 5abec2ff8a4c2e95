"""From frames to batches: which frame, in which order, seen how, all decided by (seed, epoch)."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from posenet.config import AugmentConfig, DataConfig
from posenet.datasets.augment import DepthView, View, random_view
from posenet.datasets.formats import FORMATS
from posenet.datasets.frame import Frame
from posenet.datasets.images import CachedImages, Report, cache_images
from posenet.datasets.splits import Split, split_frames
from posenet.errors import DataError, UsageError, look_up
from posenet.geometry import Intrinsics, Pose

# How far away (metres plus radians) a frame may have been taken that fills in another's view. The
# nearest ones are of the same sequence and have seen the same: choosing among all brings more.
FILL_REACH = 1.0


class Draw(NamedTuple):
    """One training sample to make: everything random about it follows from these numbers."""

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
        frames: All frames.
        images: Their images (and depth), in the same order.
        split: Indices of the training, validation and test frames.
    """

    frames: list[Frame]
    images: CachedImages
    split: Split


def read_frames(config: DataConfig) -> list[Frame]:
    """The frames of the dataset a configuration names.

    Raises:
        DataError: The dataset cannot be used.
        UsageError: The configuration does not make sense.
    """
    if not config.root:
        raise UsageError("data.root: expected the folder of the scene; give it with --data.root")
    read = look_up(FORMATS, config.format, "dataset format")
    camera = Intrinsics(*config.intrinsics) if config.intrinsics is not None else None
    frames = read(Path(config.root), camera, config.depth_registered)
    if not frames:
        raise DataError(f"{config.root}: holds no frames")
    return frames


def load_scene(
    config: DataConfig, *, with_depth: bool = False, report: Report | None = None
) -> Scene:
    """Read a dataset, decode its images into the cache, and split it."""
    frames = read_frames(config)
    folder = Path(config.cache) if config.cache else default_cache_folder()
    images = cache_images(
        frames, config.width, config.height, folder, with_depth=with_depth, report=report
    )
    digests = images.digests if config.drop_repeated else None
    return Scene(frames, images, split_frames(frames, config.validation, digests))


def default_cache_folder() -> Path:
    """``$POSENET_CACHE``, else the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("POSENET_CACHE") or Path(base) / "posenet")


class PlainDataset(Dataset[Sample]):
    """Frames as they are, for validation and testing."""

    def __init__(self, scene: Scene, indices: Sequence[int]) -> None:
        self.scene = scene
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Sample:
        index = self.indices[position]
        return _to_sample(_view(self.scene, index), index)


class AugmentedDataset(Dataset[Sample]):
    """Random views of the training frames; asked for by :class:`Draw`, not by number."""

    def __init__(self, scene: Scene, config: AugmentConfig, width: int, height: int) -> None:
        self.scene = scene
        self.config = config
        self.size = (width, height)
        train = np.array(scene.split.train)
        poses = [scene.frames[i].pose for i in train]
        # Only training frames may fill in: a validation or test image must not leak into training.
        has_depth = [scene.frames[i].depth_path is not None for i in train]
        self.fillers = train[np.array(has_depth)]
        self.directions = np.stack([pose.view_direction.numpy() for pose in poses])[has_depth]
        self.centers = np.stack([pose.translation.numpy() for pose in poses])[has_depth]

    def __getitem__(self, draw: Draw) -> Sample:
        # OpenCV's own threads would fight with torch's over the same cores.
        cv2.setNumThreads(0)
        rng = np.random.default_rng((draw.seed, draw.epoch, draw.position))
        frame = self.scene.frames[draw.index]
        fills = self.scene.images.depth is not None and self.config.fill_from > 0
        view = random_view(
            _view(self.scene, draw.index),
            self._depth(draw.index),
            frame.intrinsics.resized(*self.size),
            self.config,
            rng,
            (lambda new: self._find_others(new, rng)) if fills else None,
        )
        return _to_sample(view, draw.index)

    def _depth(self, index: int) -> NDArray[np.uint16] | None:
        depth = self.scene.images.depth
        if depth is None or self.scene.frames[index].depth_path is None:
            return None
        return np.asarray(depth[index])

    def _find_others(self, new: View, rng: np.random.Generator) -> list[DepthView]:
        """Some of the frames that look about the same way from nearby; other ones each time."""
        cosine = np.clip(self.directions @ new.rotation[:, 2], -1.0, 1.0)
        distance = np.linalg.norm(self.centers - new.translation, axis=1)
        # A radian counts as a metre: both take about a field of view out of a picture of a room.
        cost = np.arccos(cosine) + distance
        chosen = rng.permutation(np.flatnonzero(cost < FILL_REACH))[: self.config.fill_from]
        others = self.fillers[chosen]
        return [DepthView(_view(self.scene, i), self.scene.images.depth[i]) for i in others]


class EpochSampler(Sampler[Draw]):
    """Every training frame ``views`` times an epoch, shuffled by (seed, epoch) alone.

    Lightning calls :meth:`set_epoch`; the order does not depend on workers or on earlier epochs.
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


def training_loader(
    scene: Scene,
    data: DataConfig,
    augment: AugmentConfig,
    *,
    batch_size: int,
    views: int,
    seed: int,
) -> DataLoader[Sample]:
    """Shuffled batches of random views; a ragged last one is dropped, unless it is the only one."""
    sampler = EpochSampler(scene.split.train, seed, views)
    return DataLoader(
        AugmentedDataset(scene, augment, data.width, data.height),
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


def _view(scene: Scene, index: int) -> View:
    pose = scene.frames[index].pose
    return View(
        np.array(scene.images.color[index]), pose.rotation.numpy(), pose.translation.numpy()
    )


def _to_sample(view: View, index: int) -> Sample:
    pose = Pose(torch.from_numpy(view.rotation).float(), torch.from_numpy(view.translation).float())
    return Sample(torch.from_numpy(view.image).permute(2, 0, 1), pose, index)
