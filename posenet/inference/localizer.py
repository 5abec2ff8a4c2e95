"""Poses of new images from a trained network."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posenet.datasets.images import IMAGE_SUFFIXES, exif_focal_px, read_image
from posenet.datasets.resampling import resample_image
from posenet.errors import DataError, UsageError
from posenet.geometry import Intrinsics, Pose
from posenet.models.calibration import LEVEL, PoseConfidence, pose_confidence
from posenet.models.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from posenet.models.network import Confidence, Prediction, to_float

Image = NDArray[np.uint8]
Tuple = TypeVar("Tuple", Pose, Confidence)

# EXIF rounds to whole millimetres of 35 mm film, and a lens breathes.
_SAME_FOCAL = 0.1


class Hypotheses(NamedTuple):
    """The most probable viewpoint bins of an image, and the pose if one of them is right.

    Attributes:
        probability: Of each bin, (H,), falling; with all other bins they sum to 1. They come from
            the network as it was trained, and have not been calibrated.
        poses: Pose in each bin, (H,), float64.
    """

    probability: Tensor
    poses: Pose


CameraSource = Literal["given", "training", "exif", "guessed"]


class ImageCamera(NamedTuple):
    """The camera that took an image, and where that is known from."""

    intrinsics: Intrinsics
    source: CameraSource


class Localized(NamedTuple):
    """What became of one image file.

    Attributes:
        path: The file.
        pose: Its pose, float64; None when it could not be read.
        error: Why not, in one line.
        camera: Where its camera was taken from; None when it could not be read.
        hypotheses: Where they were asked for.
    """

    path: Path
    pose: Pose | None
    error: str | None = None
    camera: CameraSource | None = None
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
        self,
        images: Image | str | Path | Iterable[Image | str | Path],
        batch_size: int = 32,
        intrinsics: Intrinsics | None = None,
    ) -> Pose:
        """Poses of images.

        Args:
            images: RGB arrays (height, width, 3) of bytes, or paths of image files; one, or many.
            batch_size: Images in memory at a time.
            intrinsics: The camera that took them, at any size; when omitted, see :meth:`fit`.

        Returns:
            Float64 poses in the order of the images, rotation (N, 3, 3), translation (N, 3).

        Raises:
            DataError: An image cannot be read.
        """
        if isinstance(images, str | Path) or (isinstance(images, np.ndarray) and images.ndim == 3):
            images = [images]
        fitted = (self._read(image, intrinsics) for image in images)
        return self.predict_fully(fitted, batch_size).pose

    def predict_fully(self, images: Iterable[Image], batch_size: int = 32) -> Prediction:
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
            data = self.checkpoint.config.data
            parts = [self._predict(np.zeros((0, data.height, data.width, 3), np.uint8))]
        return _join_predictions(parts)

    def predict_hypotheses(
        self, image: Image | str | Path, count: int, intrinsics: Intrinsics | None = None
    ) -> Hypotheses:
        """The most probable poses of one image, best first.

        Args:
            image: RGB array (height, width, 3) of bytes, or the path of an image file.
            count: How many, from 1 to the number of viewpoint bins.
            intrinsics: Its camera; when omitted, see :meth:`fit`.

        Raises:
            DataError: The image cannot be read.
            UsageError: The network has no viewpoint bins, or not as many.
        """
        self.require_bins(count)
        return _most_probable(self._predict(self._read(image, intrinsics)[None]), count)[0]

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
        self,
        paths: Iterable[Path],
        batch_size: int = 32,
        hypotheses: int = 0,
        intrinsics: Intrinsics | None = None,
    ) -> Iterator[Localized]:
        """Poses of image files, in their order; an unreadable one does not stop the rest.

        Args:
            paths: Image files.
            batch_size: Images in memory at a time.
            hypotheses: How many to add to each; 0 for none.
            intrinsics: The camera that took them; when omitted, see :meth:`fit`.

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
                    image = read_image(path, turned=self.checkpoint.turns_photos)
                    camera = self.camera_of(image, path, intrinsics)
                except DataError as error:
                    results.append(Localized(path, None, str(error)))
                    continue
                results.append(Localized(path, None, None, camera.source))
                images.append(self.fit(image, camera.intrinsics))
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
        pose, logits, candidates, confidence = self.network(to_float(tensor))
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
        data, trained = self.checkpoint.config.data, self.checkpoint.intrinsics
        if data.camera is not None:
            return Intrinsics(*data.camera, data.width, data.height)
        return trained.resized(data.width, data.height)

    def camera_of(
        self, image: Image, path: Path | None = None, known: Intrinsics | None = None
    ) -> ImageCamera:
        """The camera that took an image, as far as that can be told.

        The known one; else the training camera, if the image has its proportions and EXIF does not
        say another focal length; else what EXIF says; else a camera of the training camera's focal
        length for an image of this size, which is a guess.

        Args:
            image: RGB, (H, W, 3).
            path: Its file.
            known: Its camera, at any size.

        Raises:
            DataError: The known camera has other proportions than the image.
        """
        height, width = image.shape[:2]
        if known is not None and not known.has_proportions(width, height):
            raise DataError(
                f"{path or 'image'}: expected the proportions of the camera that was given, "
                f"{known.width}x{known.height}, found {width}x{height}; give each camera's images "
                "by themselves"
            )
        if known is not None:
            return ImageCamera(known.resized(width, height), "given")
        trained = self.checkpoint.intrinsics
        focal = exif_focal_px(path) if path is not None else None
        if trained.has_proportions(width, height):
            same = trained.resized(width, height)
            if focal is None or abs(focal / same.focal_x - 1.0) < _SAME_FOCAL:
                return ImageCamera(same, "training")
        if focal is not None:
            center = (width - 1) / 2, (height - 1) / 2
            return ImageCamera(Intrinsics(focal, focal, *center, width, height), "exif")
        if trained.has_proportions(height, width):  # the training camera, held upright or level
            scale = height / trained.width
        else:  # the largest size that fits into the training camera's image
            scale = max(width / trained.width, height / trained.height)
        center = (width - 1) / 2, (height - 1) / 2
        guess = Intrinsics(scale * trained.focal_x, scale * trained.focal_y, *center, width, height)
        return ImageCamera(guess, "guessed")

    def fit(self, image: Image, intrinsics: Intrinsics | None = None) -> Image:
        """Resample an image to the network's camera; what it has not seen is grey.

        Args:
            image: RGB, (H, W, 3).
            intrinsics: Its camera; that of :meth:`camera_of` when omitted.

        Returns:
            RGB, (height, width, 3) of the network.
        """
        if intrinsics is None:
            intrinsics = self.camera_of(image).intrinsics
        trained = self.checkpoint.intrinsics.resized(intrinsics.width, intrinsics.height)
        # The lens is known with its camera only.
        distortion = self.checkpoint.distortion if intrinsics == trained else None
        return resample_image(image, intrinsics, distortion, self.camera)

    def _read(self, image: Image | str | Path, intrinsics: Intrinsics | None) -> Image:
        path = Path(image) if isinstance(image, str | Path) else None
        pixels = image
        if path is not None:
            pixels = read_image(path, turned=self.checkpoint.turns_photos)
        return self.fit(pixels, self.camera_of(pixels, path, intrinsics).intrinsics)


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


def _join_predictions(parts: Sequence[Prediction]) -> Prediction:
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
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
