"""What a network learns after its training: what is usual, and how far its word can be trusted."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from posenet.config import Config
from posenet.datasets.scene import Scene
from posenet.datasets.streaming import training_batches
from posenet.geometry import geodesic_distance, stack_poses, translation_distance
from posenet.inference.localizer import Localizer
from posenet.models.calibration import Calibration, make_calibration
from posenet.models.checkpoint import load_checkpoint, save_checkpoint
from posenet.models.network import to_float

# Random views of each training frame that tell what is usual, and how many of all at the most: more
# would cost time and memory, and say no more of what the scene looks like.
_VIEWS, _MOST_VIEWS = 2, 1000


def calibrate(paths: Sequence[Path], scene: Scene, config: Config, device: str) -> None:
    """Fit the novelty of checkpoints to training views, and their confidence to validation frames.

    Once, after training: features change with every step.

    Args:
        paths: The checkpoints, which are replaced. One without confidence is left alone.
        scene: What they were trained on; without validation frames only the novelty is fitted.
        config: How they were trained.
        device: Where to run, such as ``"cpu"``.
    """
    if not config.model.confidence:
        return
    # The best epoch may be the last: the same weights twice.
    checkpoints = {path: load_checkpoint(path) for path in paths}
    by_epoch = {checkpoint.epoch: checkpoint for checkpoint in checkpoints.values()}
    localizers = {epoch: Localizer(checkpoint, device) for epoch, checkpoint in by_epoch.items()}
    features: dict[int, list[Tensor]] = {epoch: [] for epoch in localizers}
    with torch.no_grad():
        for images in _training_views(scene, config):  # rendered once for all
            for epoch, localizer in localizers.items():
                images = images.to(localizer.device)
                features[epoch].append(localizer.network.embed(to_float(images)).cpu())
    finished = {}
    for epoch, localizer in localizers.items():
        localizer.network.novelty.fit(torch.cat(features[epoch]))
        calibration = None
        if scene.split.validation:
            calibration = _calibration(localizer, scene, config.optimization.batch_size)
        network = localizer.network.cpu()
        finished[epoch] = localizer.checkpoint._replace(network=network, calibration=calibration)
    for path, checkpoint in checkpoints.items():
        save_checkpoint(path, finished[checkpoint.epoch])


def _training_views(scene: Scene, config: Config) -> Iterator[Tensor]:
    """Batches of views as training makes them, of an epoch that it has not seen."""
    loader = training_batches(
        scene,
        config.data,
        config.augment,
        batch_size=config.optimization.batch_size,
        views=_VIEWS,
        seed=config.seed,
    )
    loader.batch_sampler.sampler.set_epoch(config.optimization.epochs)
    left = _MOST_VIEWS
    for batch in loader:
        yield batch.image[:left]
        left -= len(batch.image)
        if left <= 0:
            return


def _calibration(localizer: Localizer, scene: Scene, batch_size: int) -> Calibration:
    frames = [scene.frames[i] for i in scene.split.validation]
    images = [scene.images.color_image(i) for i in scene.split.validation]
    prediction = localizer.predict_fully(images, batch_size)
    mirrored = localizer.predict_fully(_mirror(images), batch_size)
    truth = stack_poses([frame.pose for frame in frames])
    return make_calibration(
        prediction.confidence,
        geodesic_distance(prediction.pose.rotation, truth.rotation),
        translation_distance(prediction.pose.translation, truth.translation),
        mirrored.confidence.novelty,
    )


def _mirror(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    return (np.ascontiguousarray(image[:, ::-1]) for image in images)
