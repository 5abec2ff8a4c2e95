"""Views that are rendered once, and kept as what the frozen layers make of them.

Neither a view nor its way through layers that do not learn has to be made again then; the price is
that each epoch takes one of the same few views of a frame.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from posenet.config import Config
from posenet.datasets.loader import AugmentedDataset, Sample
from posenet.datasets.sampling import Draw
from posenet.datasets.scene import Scene, default_cache_folder
from posenet.errors import DataError, UsageError
from posenet.geometry import Pose
from posenet.models.network import PoseNetwork, to_float
from posenet.processes import current_world
from posenet.progress import report_progress
from posenet.staging import refused_writing

_KEPT_AS = torch.float16  # three digits of features are enough, and half of the disk


class KeptViews(Dataset[Sample]):
    """Samples whose ``image`` is what frozen layers made of a view; asked for by :class:`Draw`.

    Args:
        file: The features, view after view.
        shape: Of the features of one view.
        poses: Of the views, by number.
        rows: Numbers of the views of each frame, by the frame's index.
    """

    def __init__(
        self, file: BinaryIO, shape: torch.Size, poses: Pose, rows: dict[int, list[int]]
    ) -> None:
        self.file = file
        self.shape = shape
        self.poses = poses
        self.rows = rows

    def __getitem__(self, draw: Draw) -> Sample:
        rng = np.random.default_rng((draw.seed, draw.epoch, 1 + draw.position))
        row = int(rng.choice(self.rows[draw.index]))
        features = torch.empty(self.shape, dtype=_KEPT_AS)
        # Read, not mapped: pages of a map would all count as memory.
        self.file.seek(row * features.nbytes)
        if self.file.readinto(features.numpy()) < features.nbytes:
            raise DataError(
                "optimization.kept_views: expected the views that were written to the folder of "
                "the cache, found fewer; is its disk all right?"
            )
        return Sample(features, Pose(*(part[row] for part in self.poses)), draw.index)


def require_layers_to_keep(config: Config) -> None:
    """Refuse settings with which no views can be kept.

    Raises:
        UsageError: Nothing is frozen, or the images themselves are needed in every epoch.
    """
    if config.optimization.kept_views == 0:
        return
    if config.distill.teacher is not None:
        raise UsageError(
            "optimization.kept_views: a teacher has to see the images, of which only features are "
            "kept; use 0 with distill.teacher"
        )
    processes = max(current_world().size, config.trainer.devices * config.trainer.num_nodes)
    if processes > 1:
        raise UsageError(
            f"optimization.kept_views: expected one process, found {processes}, which would each "
            "keep all views; leave one of them out"
        )
    if config.data.stream:
        raise UsageError(
            "optimization.kept_views: are kept on the disk, which data.stream is there to spare; "
            "leave one of them out"
        )
    if config.model.frozen_share == 0:
        raise UsageError(
            "optimization.kept_views: expected layers that do not learn, found model.frozen_share "
            "0; use --model.frozen_share 0.22, or 0 kept views"
        )


def keep_views(network: PoseNetwork, scene: Scene, config: Config, device: str) -> KeptViews:
    """Render the views and pass them through the frozen layers.

    They are written to a file in the folder of the cache, which vanishes with the process.

    Args:
        network: Its frozen layers have their weights.
        scene: The dataset.
        config: How many views of each training frame, and of what kind.
        device: Where to run.

    Raises:
        UsageError: No layer is frozen.
        DataError: The file cannot be written, or cannot hold the features.
    """
    network.to(device).fold_frozen_layers()
    if not network.has_frozen_layers:
        raise UsageError(
            f"optimization.kept_views: expected layers that do not learn, found model.frozen_share "
            f"{config.model.frozen_share:g}, which is less than a layer; use a larger one"
        )
    folder = Path(config.data.cache) if config.data.cache else default_cache_folder()
    with refused_writing(folder, "--data.cache"):
        folder.mkdir(parents=True, exist_ok=True)
        # Deleted when it is closed, with the dataset.
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        poses: list[Pose] = []
        rows: dict[int, list[int]] = {index: [] for index in scene.split.train}
        count = 0
        total = len(scene.split.train) * config.optimization.kept_views
        with report_progress("keeping views") as report:
            for batch in _views(scene, config):
                with torch.no_grad():
                    features = network.pass_frozen_layers(to_float(batch.image.to(device)))
                features = features.to("cpu", _KEPT_AS).contiguous()
                if not features.isfinite().all():
                    raise DataError(
                        "optimization.kept_views: expected features that float16 can hold, found "
                        f"larger ones of {config.model.backbone}; use 0 kept views"
                    )
                file.write(features.numpy())
                poses.append(batch.pose)
                for index in batch.index.tolist():
                    rows[index].append(count)
                    count += 1
                report(count, total)
        file.flush()
    together = Pose(*(torch.cat(parts) for parts in zip(*poses, strict=True)))
    return KeptViews(file, features.shape[1:], together, rows)


def _views(scene: Scene, config: Config) -> Iterator[Sample]:
    """Batches of views as training makes them: in each pass one of every frame."""
    train = scene.split.train
    draws = [
        Draw(config.seed, epoch, position, index)
        for epoch in range(config.optimization.kept_views)
        for position, index in enumerate(train)
    ]
    size = config.optimization.batch_size
    return iter(
        DataLoader(
            AugmentedDataset(scene, config.augment),
            batch_sampler=[draws[start : start + size] for start in range(0, len(draws), size)],
            num_workers=config.data.workers,
        )
    )
