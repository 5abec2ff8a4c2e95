"""What a network learns after its training: what is usual, and how far its word can be trusted."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from posenet.datasets.loader import Scene
from posenet.geometry import geodesic_distance, stack_poses, translation_distance
from posenet.inference.localizer import Localizer
from posenet.models.calibration import make_calibration
from posenet.models.checkpoint import load_checkpoint, save_checkpoint
from posenet.models.network import to_float

# More would cost time and memory, and say no more of what the scene looks like.
_MOST_IMAGES = 2000


def calibrate(path: Path, scene: Scene, batch_size: int = 32) -> None:
    """Fit a checkpoint's novelty to the training images, and its confidence to the validation's.

    Once, after training: features change with every step.

    Args:
        path: The checkpoint, which is replaced. One without confidence is left alone.
        scene: What it was trained on; without validation frames only the novelty is fitted.
        batch_size: Images in memory at a time.
    """
    checkpoint = load_checkpoint(path)
    localizer = Localizer(checkpoint)
    network = localizer.network
    if not network.has_confidence:
        return
    train = np.linspace(0, len(scene.split.train) - 1, _MOST_IMAGES).round().astype(int)
    known = [scene.split.train[i] for i in np.unique(train)]
    network.novelty.fit(torch.cat(list(_features(localizer, scene, known, batch_size))))
    calibration = None
    if scene.split.validation:
        images = (scene.images.color_image(i) for i in scene.split.validation)
        prediction = localizer.predict_fully(images, batch_size)
        truth = stack_poses([scene.frames[i].pose for i in scene.split.validation])
        calibration = make_calibration(
            prediction.confidence,
            geodesic_distance(prediction.pose.rotation, truth.rotation),
            translation_distance(prediction.pose.translation, truth.translation),
        )
    save_checkpoint(path, checkpoint._replace(network=network.cpu(), calibration=calibration))


@torch.no_grad()
def _features(
    localizer: Localizer, scene: Scene, indices: Sequence[int], batch_size: int
) -> Iterator[Tensor]:
    for start in range(0, len(indices), batch_size):
        batch = [scene.images.color_image(i) for i in indices[start : start + batch_size]]
        images = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).to(localizer.device)
        yield localizer.network.embed(to_float(images)).cpu()
