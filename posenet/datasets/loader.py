"""From frames to batches: which frame, in which order, seen how, all decided by (seed, epoch)."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from posenet.config import AugmentConfig, DataConfig
from posenet.datasets.augment import random_colors, random_shift, random_turn, random_view
from posenet.datasets.rendering import DepthView, View, with_alpha, without_alpha
from posenet.datasets.resampling import seen_pixels
from posenet.datasets.sampling import Draw, EpochSampler, SharedBatchSampler
from posenet.datasets.scene import Scene
from posenet.errors import UsageError
from posenet.geometry import Pose
from posenet.process_group import deal
from posenet.processes import ALONE, World

Array = NDArray[np.float64]

# How far away (metres plus radians) a frame may have been taken that fills in another's view. The
# nearest ones are of the same sequence and have seen the same: choosing among all brings more.
FILL_REACH = 1.0


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
        has_images = scene.images.has_depth
        self.has_depth = np.array([has_images and f.depth_path is not None for f in frames])
        self.has_depth[list(scene.images.unreadable_depth)] = False

    def view(self, index: int) -> View:
        seen = seen_pixels(*self.lenses[index], self.intrinsics)
        image = with_alpha(self.images.color_image(index), seen)
        return View(image, self.rotations[index], self.translations[index])

    def depth(self, index: int) -> Callable[[], NDArray[np.uint16]] | None:
        return partial(self.images.depth_image, index) if self.has_depth[index] else None


class PlainDataset(Dataset[Sample]):
    """Frames as they are, for validation and testing."""

    def __init__(self, scene: Scene, indices: Sequence[int]) -> None:
        self.posed = _PosedImages(scene)
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Sample:
        index = self.indices[position]
        posed = self.posed
        image = posed.images.color_image(index)
        return _to_sample(image, posed.rotations[index], posed.translations[index], index)


class AugmentedDataset(Dataset[Sample]):
    """Random views of the training frames; asked for by :class:`Draw`, not by number."""

    def __init__(self, scene: Scene, config: AugmentConfig) -> None:
        self.posed = _PosedImages(scene)
        self.config = config
        # Only training frames may fill in: a validation or test image must not leak into training.
        train = np.array(scene.split.train)
        self.fillers = train[self.posed.has_depth[train]]
        self.filler_directions = self.posed.rotations[self.fillers, :, 2]
        self.filler_centers = self.posed.translations[self.fillers]

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
        image = random_colors(without_alpha(view.image), self.config, rng)
        return _to_sample(image, view.rotation, view.translation, draw.index)

    def _find_others(self, new: View, index: int, rng: np.random.Generator) -> Iterator[DepthView]:
        """Some of the frames that look about the same way from nearby; other ones each time."""
        if self.config.fill_from == 0:
            return iter(())
        cosine = np.clip(self.filler_directions @ new.rotation[:, 2], -1.0, 1.0)
        distance = np.linalg.norm(self.filler_centers - new.translation, axis=1)
        # A radian counts as a metre: both take about a field of view out of a picture of a room.
        is_near = np.arccos(cosine) + distance < FILL_REACH
        near = self.fillers[is_near & (self.fillers != index)]
        chosen = rng.permutation(near)[: self.config.fill_from]
        return (DepthView(self.posed.view(i), self.posed.images.depth_image(i)) for i in chosen)


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
    has_depth = scene.images.has_depth
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
    views: float,
    seed: int,
    world: World = ALONE,
    kept: Dataset[Sample] | None = None,
) -> DataLoader[Sample]:
    """Shuffled batches of random views; see :class:`SharedBatchSampler`.

    Args:
        scene: The dataset.
        data: Number of workers.
        augment: The views.
        batch_size: Images a batch, of all processes together.
        views: Of each frame in one epoch, see :class:`EpochSampler`.
        seed: Seed of order and views.
        world: Which of several processes the batches are for.
        kept: Gives views that were made before, by :class:`Draw`; they are read in this process.
    """
    sampler = EpochSampler(scene.split.train, seed, views, batch_size)
    return DataLoader(
        AugmentedDataset(scene, augment) if kept is None else kept,
        batch_sampler=SharedBatchSampler(sampler, batch_size, world),
        **worker_settings(data.workers if kept is None else 0),
    )


def worker_settings(workers: int) -> dict[str, Any]:
    """What each loader of training batches is told of the processes that prepare them."""
    return {
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "pin_memory": torch.cuda.is_available(),
    }


def plain_loader(
    scene: Scene, indices: Sequence[int], batch_size: int, world: World = ALONE
) -> DataLoader[Sample]:
    """Batches of frames as they are, in order. The cache makes workers unnecessary.

    Args:
        scene: The dataset.
        indices: The frames, of all processes.
        batch_size: Images a batch; fewer where a process would have none else.
        world: Which of several processes the batches are for.

    Raises:
        UsageError: There are fewer frames than processes.
    """
    if len(indices) < world.size:
        raise UsageError(
            f"trainer.devices: expected at most as many processes as validation frames, found "
            f"{world.size} for {len(indices)}; use fewer, or more frames with --data.validation"
        )
    batch_size = max(1, min(batch_size, len(indices) // world.size))
    dealt = deal(indices, batch_size, world.rank, world.size)
    return DataLoader(PlainDataset(scene, dealt), batch_size=batch_size)


def _to_sample(image: NDArray[np.uint8], rotation: Array, translation: Array, index: int) -> Sample:
    rotation, translation = rotation.astype(np.float32), translation.astype(np.float32)
    pose = Pose(torch.from_numpy(rotation), torch.from_numpy(translation))
    # Planes of colour, which a batch then only has to copy.
    return Sample(torch.from_numpy(np.stack(cv2.split(image))), pose, index)
