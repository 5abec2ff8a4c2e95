"""Poses of new images from a trained network."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from posenet.datasets.cache import map_in_order
from posenet.datasets.resampling import resample_image
from posenet.errors import CheckpointError, DataError, UsageError
from posenet.geometry import Distortion, Intrinsics, Pose
from posenet.inference.answers import Localization, Localized, most_probable, singles
from posenet.inference.cameras import ImageCamera, camera_of
from posenet.inference.onnx_model import ONNX_SUFFIX, OnnxModel, load_onnx
from posenet.inference.photos import (
    ImageLike,
    Photo,
    Pixels,
    Unreadable,
    read_photo,
    read_photos,
)
from posenet.models.calibration import LEVEL, PoseConfidence, pose_confidence
from posenet.models.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from posenet.models.folding import folded
from posenet.models.network import Confidence, Prediction, to_float

Tuple = TypeVar("Tuple", Pose, Confidence)

_WORKERS = min(4, os.cpu_count() or 1)  # threads that decode and resample


class Localizer:
    """A trained network, ready for images.

    Args:
        checkpoint: The network and its settings, or an exported model, which runs on the CPU.
        device: Where to run; a GPU when there is one.
    """

    def __init__(self, checkpoint: Checkpoint | OnnxModel, device: str | None = None) -> None:
        if isinstance(checkpoint, OnnxModel):
            self.network, self.checkpoint = checkpoint, checkpoint.known
            self.device = torch.device("cpu")
            return
        self.checkpoint = checkpoint
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = checkpoint.network.to(self.device).eval()
        self._folded: nn.Module | None = None  # the same network in less time, once it is needed

    @classmethod
    def load(cls, run: str | Path, device: str | None = None) -> "Localizer":
        """Load the best checkpoint of a run folder, a checkpoint file, or an exported model.

        Raises:
            CheckpointError: There is none, or it cannot be used.
        """
        path = find_checkpoint(Path(run))
        if path.suffix == ".pt2":
            raise CheckpointError(
                f"{path}: is for programs of your own, which load it with torch.export.load; give "
                "the run, or a .onnx file of it"
            )
        return cls(load_onnx(path) if path.suffix == ONNX_SUFFIX else load_checkpoint(path), device)

    def predict(
        self,
        images: ImageLike | Iterable[ImageLike],
        batch_size: int = 32,
        intrinsics: Intrinsics | None = None,
    ) -> Pose:
        """Poses of images: :meth:`localize`, when the poses are all you want.

        Returns:
            Float64 poses in the order of the images, rotation (N, 3, 3), translation (N, 3).

        Raises:
            DataError: An image cannot be read.
            TypeError: Something is no image.
        """
        return self.localize(images, batch_size=batch_size, intrinsics=intrinsics).pose

    def localize(
        self,
        images: ImageLike | Iterable[ImageLike],
        hypotheses: int = 0,
        batch_size: int = 32,
        intrinsics: Intrinsics | None = None,
    ) -> Localization:
        """Poses of images, and what else the network says of each.

        Args:
            images: Paths of files, arrays (height, width, 3) of bytes, tensors (3, height, width),
                images of Pillow; one or many, see :func:`posenet.inference.photos.read_photos`.
            hypotheses: How many of the most probable poses to give; 0 for none.
            batch_size: Images in memory at a time.
            intrinsics: The camera that took them, at any size; when omitted, see
                :func:`posenet.inference.cameras.camera_of`.

        Raises:
            DataError: An image cannot be read.
            TypeError: Something is no image.
            UsageError: The network has no viewpoint bins, or not as many.
        """
        if hypotheses:
            self.require_bins(hypotheses)
        photos = read_photos(images, turned=self.checkpoint.turns_photos)
        fitted = (self.fit(p.pixels, self.camera_of(p, intrinsics).intrinsics) for p in photos)
        prediction = self.predict_fully(fitted, batch_size)
        return self._conclude(prediction, hypotheses)

    def predict_fully(self, images: Iterable[Pixels], batch_size: int = 32) -> Prediction:
        """Poses and, of a network with viewpoint bins, all it knows of each bin.

        Args:
            images: RGB bytes that :meth:`fit` made, or the cache of a dataset holds.
            batch_size: Images in memory at a time.

        Returns:
            Float64, N images: poses, of viewpoint bins logits (N, K) and candidates (N, K), and the
            confidence as the network has it (see :meth:`confidence`).
        """
        parts = [self._predict(np.stack(batch)) for batch in _batched(images, batch_size)]
        if not parts:
            size = (0, self.camera.height, self.camera.width, 3)
            parts = [self._predict(np.zeros(size, np.uint8))]
        return join_predictions(parts)

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

    def localize_each(
        self,
        images: Iterable[Path | Photo | Unreadable],
        hypotheses: int = 0,
        batch_size: int = 32,
        intrinsics: Intrinsics | None = None,
        picture: Callable[[Pixels], Pixels] | None = None,
    ) -> Iterator[Localized]:
        """Localize images as they come; an unreadable one does not stop the rest.

        A batch and a few images more are in memory at a time. They are decoded and resampled ahead
        by threads, unless batches are of one image: whoever asks for these does not want to wait
        for the next one.

        Args:
            images: Image files, or photos.
            hypotheses: How many to add to each; 0 for none.
            batch_size: Images that the network sees at a time.
            intrinsics: The camera that took them; when omitted, see
                :func:`posenet.inference.cameras.camera_of`.
            picture: What to keep of the pixels of each; nothing when omitted.

        Raises:
            UsageError: The network has no viewpoint bins, or not as many.
        """
        if hypotheses:
            self.require_bins(hypotheses)

        def prepare(image: Path | Photo | Unreadable) -> tuple[Localized, Pixels | None]:
            return self._prepare(image, intrinsics, picture)

        with ThreadPoolExecutor(_WORKERS) as pool:
            prepared = (
                map(prepare, images)
                if batch_size == 1
                else map_in_order(pool, prepare, images, 2 * _WORKERS)
            )
            for batch in _batched(prepared, batch_size):
                fitted = [pixels for _, pixels in batch if pixels is not None]
                answers = iter(())
                if fitted:
                    answers = singles(self._conclude(self._predict(np.stack(fitted)), hypotheses))
                for entry, pixels in batch:
                    yield entry if pixels is None else entry._replace(**next(answers)._asdict())

    def _prepare(
        self,
        image: Path | Photo | Unreadable,
        intrinsics: Intrinsics | None,
        picture: Callable[[Pixels], Pixels] | None,
    ) -> tuple[Localized, Pixels | None]:
        """What is known of an image before the network sees it, and what the network is to see."""
        if isinstance(image, Unreadable):
            return Localized(image.name, None, image.error, recording=image.recording), None
        try:
            turned = self.checkpoint.turns_photos
            photo = read_photo(image, turned=turned) if isinstance(image, Path) else image
            camera = self.camera_of(photo, intrinsics)
        except DataError as error:
            if isinstance(image, Photo):
                return Localized(image.name, None, str(error), recording=image.recording), None
            return Localized(str(image), None, str(error)), None
        known = {"camera": camera, "recording": photo.recording, "time_s": photo.time_s}
        kept = None if picture is None else picture(photo.pixels)
        fitted = self.fit(photo.pixels, camera.intrinsics)
        return Localized(photo.name, None, picture=kept, **known), fitted

    def _conclude(self, prediction: Prediction, hypotheses: int) -> Localization:
        several = most_probable(prediction, hypotheses) if hypotheses else None
        return Localization(prediction.pose, self.confidence(prediction), several)

    def predict_batch(self, images: Pixels | Tensor) -> Pose:
        """Float64 poses of RGB byte images (N, height, width, 3) of the network's own size."""
        return self._predict(images).pose

    @torch.inference_mode()
    def _predict(self, images: Pixels | Tensor) -> Prediction:
        if isinstance(self.network, OnnxModel):
            return self.network.predict(torch.as_tensor(images))
        tensor = to_float(torch.as_tensor(images).permute(0, 3, 1, 2).to(self.device))
        if self._folded is None:
            probe = torch.zeros(1, *tensor.shape[1:], device=self.device)
            self._folded = folded(self.network, probe)
        pose, logits, candidates, confidence = self._folded(tensor)
        return Prediction(
            self._in_world(pose),
            None if logits is None else logits.cpu().double(),
            None if candidates is None else self._in_world(candidates),
            None if confidence is None else Confidence(*(x.cpu().double() for x in confidence)),
        )

    def confidence(self, prediction: Prediction, level: float = LEVEL) -> PoseConfidence | None:
        """How sure predicted poses are, by what validation images taught; None for an old network.

        Args:
            prediction: From :meth:`predict_fully`.
            level: Share of truths that the radii shall hold, in (0, 1).

        Raises:
            ValueError: The level is out of range.
        """
        if prediction.confidence is None:
            return None
        return pose_confidence(prediction.confidence, self.checkpoint.calibration, level)

    def _in_world(self, pose: Pose) -> Pose:
        origin = torch.tensor(self.checkpoint.origin, dtype=torch.float64)
        return Pose(pose.rotation.cpu().double(), pose.translation.cpu().double() + origin)

    @property
    def camera(self) -> Intrinsics:
        """The pinhole camera whose images the network knows."""
        return self.checkpoint.camera

    def camera_of(self, photo: Photo, known: Intrinsics | None = None) -> ImageCamera:
        """The camera that took an image, see :func:`posenet.inference.cameras.camera_of`."""
        return camera_of(photo, self.checkpoint.intrinsics, known)

    def lens_of(self, intrinsics: Intrinsics) -> Distortion | None:
        """The lens of a camera: known of the training camera only."""
        trained = self.checkpoint.intrinsics.resized(intrinsics.width, intrinsics.height)
        return self.checkpoint.distortion if intrinsics == trained else None

    def fit(self, image: Pixels, intrinsics: Intrinsics | None = None) -> Pixels:
        """Resample an image to the network's camera; what it has not seen is grey.

        Args:
            image: RGB, (H, W, 3).
            intrinsics: Its camera; that of :meth:`camera_of` when omitted.

        Returns:
            RGB, (height, width, 3) of the network.
        """
        if intrinsics is None:
            intrinsics = self.camera_of(Photo("image", image)).intrinsics
        return resample_image(image, intrinsics, self.lens_of(intrinsics), self.camera)


def join_predictions(parts: Sequence[Prediction]) -> Prediction:
    """One prediction of all images, from those of batches."""
    pose, logits, candidates, confidence = zip(*parts, strict=True)
    return Prediction(
        _join(Pose, pose),
        None if logits[0] is None else torch.cat(logits),
        None if candidates[0] is None else _join(Pose, candidates),
        None if confidence[0] is None else _join(Confidence, confidence),
    )


def _join(kind: type[Tuple], values: Sequence[Tuple]) -> Tuple:
    """NamedTuples of tensors, end to end."""
    return kind(*(torch.cat(parts) for parts in zip(*values, strict=True)))


def _batched(items: Iterable, size: int) -> Iterator[list]:
    if size < 1:
        raise UsageError(f"batch_size: expected at least 1, found {size}")
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
