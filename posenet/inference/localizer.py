"""Poses of new images from a trained network."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posenet.datasets.images import IMAGE_SUFFIXES, read_image
from posenet.datasets.resampling import UNSEEN, resize_image
from posenet.errors import DataError, UsageError
from posenet.geometry import Pose
from posenet.models.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from posenet.models.network import Prediction, to_float

Image = NDArray[np.uint8]

# Aspect ratios that differ by less than this are the same up to a rounded pixel.
_SAME_ASPECT = 0.01


class Hypotheses(NamedTuple):
    """The most probable viewpoint bins of an image, and the pose if one of them is right.

    Attributes:
        probability: Of each bin, (H,), falling; with all other bins they sum to 1. They come from
            the network as it was trained, and have not been calibrated.
        poses: Pose in each bin, (H,), float64.
    """

    probability: Tensor
    poses: Pose


class Localized(NamedTuple):
    """What became of one image file.

    Attributes:
        path: The file.
        pose: Its pose, float64; None when it could not be read.
        error: Why not, in one line.
        padded: Whether its proportions are not those of the training images.
        hypotheses: Where they were asked for.
    """

    path: Path
    pose: Pose | None
    error: str | None = None
    padded: bool = False
    hypotheses: Hypotheses | None = None


class Localizer:
    """A trained network, ready for images.

    Args:
        checkpoint: The network and its settings.
        device: Where to run; a GPU when there is one.
    """

    def __init__(self, checkpoint: Checkpoint, device: str | None = None) -> None:
        self.checkpoint = checkpoint
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = checkpoint.network.to(self.device).eval()

    @classmethod
    def load(cls, run: str | Path, device: str | None = None) -> "Localizer":
        """Load the best checkpoint of a run folder, or a checkpoint file.

        Raises:
            CheckpointError: There is none, or it cannot be used.
        """
        return cls(load_checkpoint(find_checkpoint(Path(run))), device)

    def predict(
        self, images: Image | str | Path | Iterable[Image | str | Path], batch_size: int = 32
    ) -> Pose:
        """Poses of images.

        Args:
            images: RGB arrays (height, width, 3) of bytes, or paths of image files; one, or many.
            batch_size: Images in memory at a time.

        Returns:
            Float64 poses in the order of the images, rotation (N, 3, 3), translation (N, 3).

        Raises:
            DataError: An image cannot be read.
        """
        return self.predict_fully(images, batch_size).pose

    def predict_fully(
        self, images: Image | str | Path | Iterable[Image | str | Path], batch_size: int = 32
    ) -> Prediction:
        """Poses of images and, of a network with viewpoint bins, all it knows of each bin.

        Args:
            images: As for :meth:`predict`.
            batch_size: Images in memory at a time.

        Returns:
            Float64, N images: poses, and of viewpoint bins logits (N, K) and candidates (N, K).

        Raises:
            DataError: An image cannot be read.
        """
        if isinstance(images, str | Path) or (isinstance(images, np.ndarray) and images.ndim == 3):
            images = [images]
        fitted = (
            self.fit(read_image(Path(image)) if isinstance(image, str | Path) else image)
            for image in images
        )
        parts = [self._predict(np.stack(batch)) for batch in _batched(fitted, batch_size)]
        if not parts:
            data = self.checkpoint.config.data
            parts = [self._predict(np.zeros((0, data.height, data.width, 3), np.uint8))]
        pose, logits, candidates = zip(*parts, strict=True)
        if logits[0] is None:
            return Prediction(_join(pose))
        return Prediction(_join(pose), torch.cat(logits), _join(candidates))

    def predict_hypotheses(self, image: Image | str | Path, count: int) -> Hypotheses:
        """The most probable poses of one image, best first.

        Args:
            image: RGB array (height, width, 3) of bytes, or the path of an image file.
            count: How many, from 1 to the number of viewpoint bins.

        Raises:
            DataError: The image cannot be read.
            UsageError: The network has no viewpoint bins, or not as many.
        """
        self.require_bins(count)
        pixels = read_image(Path(image)) if isinstance(image, str | Path) else image
        return _most_probable(self._predict(self.fit(pixels)[None]), count)[0]

    def require_bins(self, count: int) -> None:
        """Refuse to give more hypotheses than there are viewpoint bins.

        Raises:
            UsageError: The network has no viewpoint bins, or not as many.
        """
        bins = 0 if self.network.bins is None else len(self.network.bins.rotation)
        if bins == 0:
            raise UsageError(
                "hypotheses: this network predicts one pose; train one with "
                "--model.mode coarse_to_fine"
            )
        if not 1 <= count <= bins:
            raise UsageError(f"hypotheses: expected 1 to {bins}, its viewpoint bins, found {count}")

    def predict_files(
        self, paths: Iterable[Path], batch_size: int = 32, hypotheses: int = 0
    ) -> Iterator[Localized]:
        """Poses of image files, in their order; an unreadable one does not stop the rest.

        Args:
            paths: Image files.
            batch_size: Images in memory at a time.
            hypotheses: How many to add to each; 0 for none.

        Raises:
            UsageError: The network has no viewpoint bins, or not as many.
        """
        if hypotheses:
            self.require_bins(hypotheses)
        for batch in _batched(paths, batch_size):
            results: list[Localized] = []
            images: list[Image] = []
            for path in batch:
                try:
                    image = read_image(path)
                except DataError as error:
                    results.append(Localized(path, None, str(error)))
                    continue
                height, width = image.shape[:2]
                padded = not self.has_training_aspect(width, height)
                results.append(Localized(path, None, None, padded))
                images.append(self.fit(image))
            if images:
                prediction = self._predict(np.stack(images))
                poses = iter(_singles(prediction.pose))
                several = iter(_most_probable(prediction, hypotheses) if hypotheses else ())
                results = [
                    entry
                    if entry.error
                    else entry._replace(pose=next(poses), hypotheses=next(several, None))
                    for entry in results
                ]
            yield from results

    def predict_batch(self, images: Image | Tensor) -> Pose:
        """Float64 poses of RGB byte images (N, height, width, 3) of the network's own size."""
        return self._predict(images).pose

    @torch.inference_mode()
    def _predict(self, images: Image | Tensor) -> Prediction:
        tensor = torch.as_tensor(images).permute(0, 3, 1, 2).to(self.device)
        pose, logits, candidates = self.network(to_float(tensor))
        if logits is None:
            return Prediction(_on_cpu(pose))
        return Prediction(_on_cpu(pose), logits.cpu().double(), _on_cpu(candidates))

    def has_training_aspect(self, width: int, height: int) -> bool:
        """Whether an image of this size has the proportions of the training images."""
        camera = self.checkpoint.intrinsics
        return abs(width / height / (camera.width / camera.height) - 1.0) < _SAME_ASPECT

    def fit(self, image: Image) -> Image:
        """Resize to the network's size; other proportions are padded, never cropped or squeezed.

        Args:
            image: RGB, (H, W, 3).

        Returns:
            RGB, (height, width, 3) of the network.
        """
        data, camera = self.checkpoint.config.data, self.checkpoint.intrinsics
        height, width = image.shape[:2]
        if self.has_training_aspect(width, height):
            return resize_image(image, data.width, data.height)
        # The largest size that fits into the training camera's image, then both shrunk alike.
        scale = min(camera.width / width, camera.height / height)
        new_width = max(1, round(width * scale * data.width / camera.width))
        new_height = max(1, round(height * scale * data.height / camera.height))
        resized = resize_image(image, new_width, new_height)
        left, top = (data.width - new_width) // 2, (data.height - new_height) // 2
        right, bottom = data.width - new_width - left, data.height - new_height - top
        return cv2.copyMakeBorder(
            resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=UNSEEN
        )


def find_images(path: Path) -> list[Path]:
    """The images of a folder and the folders below it, sorted; any other path is one image.

    Raises:
        DataError: The folder holds no image.
    """
    if not path.is_dir():
        return [path]
    # Depth images lie beside colour ones in many datasets and are no photographs.
    images = sorted(
        entry
        for entry in path.rglob("*")
        if entry.suffix.lower() in IMAGE_SUFFIXES and ".depth." not in entry.name
    )
    if not images:
        raise DataError(f"{path}: holds no image; give an image or a folder of images")
    return images


def _most_probable(prediction: Prediction, count: int) -> list[Hypotheses]:
    """The best of each image's candidates."""
    probability, index = prediction.logits.softmax(dim=-1).topk(count, dim=-1)
    index = index.unsqueeze(-1)
    rotation = torch.take_along_dim(prediction.candidates.rotation, index.unsqueeze(-1), dim=1)
    translation = torch.take_along_dim(prediction.candidates.translation, index, dim=1)
    poses = _singles(Pose(rotation, translation))
    return [Hypotheses(*entry) for entry in zip(probability, poses, strict=True)]


def _singles(poses: Pose) -> list[Pose]:
    return [Pose(*parts) for parts in zip(poses.rotation, poses.translation, strict=True)]


def _join(poses: Sequence[Pose]) -> Pose:
    return Pose(*(torch.cat(parts) for parts in zip(*poses, strict=True)))


def _on_cpu(pose: Pose) -> Pose:
    return Pose(pose.rotation.cpu().double(), pose.translation.cpu().double())


def _batched(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
