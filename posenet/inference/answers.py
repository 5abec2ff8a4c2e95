"""What a localizer answers, for several images at once and for each as it comes."""

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from posenet.geometry import Pose
from posenet.inference.cameras import ImageCamera
from posenet.inference.photos import Pixels
from posenet.models.calibration import PoseConfidence
from posenet.models.network import Prediction

Tuple = TypeVar("Tuple", Pose, PoseConfidence)


class Hypotheses(NamedTuple):
    """The most probable viewpoint bins of images, and the pose if one of them is right.

    Attributes:
        probability: Of each bin, (..., H), falling; with all other bins they sum to 1. They come
            from the network as it was trained, and have not been calibrated.
        poses: Pose in each bin, (..., H), float64.
    """

    probability: Tensor
    poses: Pose


class Localization(NamedTuple):
    """All that the network says of N images.

    Attributes:
        pose: Where they were taken, (N,), float64.
        confidence: How sure each pose is, (N,); None for a network without it.
        hypotheses: Their most probable bins, (N, H), where they were asked for.
    """

    pose: Pose
    confidence: PoseConfidence | None = None
    hypotheses: Hypotheses | None = None


class Localized(NamedTuple):
    """What became of one image.

    Attributes:
        name: What it is called.
        pose: Its pose, float64; None when it could not be read.
        error: Why not, in one line.
        camera: Which camera took it; None when it could not be read.
        confidence: How sure the network's pose is, (); None for a network without it.
        hypotheses: Where they were asked for, (H,).
        recording: The video or the webcam it is a frame of; None for a single image.
        time_s: Seconds since the recording began.
        raw: The network's own pose, where ``pose`` is a smoothed one.
        picture: Where pictures were asked for.
    """

    name: str
    pose: Pose | None
    error: str | None = None
    camera: ImageCamera | None = None
    confidence: PoseConfidence | None = None
    hypotheses: Hypotheses | None = None
    recording: str | None = None
    time_s: float | None = None
    raw: Pose | None = None
    picture: Pixels | None = None


def is_elsewhere(confidence: PoseConfidence | None) -> bool:
    """Whether to tell people that an image is not of the scene."""
    return confidence is not None and not bool(confidence.same_scene)


def most_probable(prediction: Prediction, count: int) -> Hypotheses:
    """The best of each image's candidates."""
    probability, index = prediction.logits.softmax(dim=-1).topk(count, dim=-1)
    index = index.unsqueeze(-1)
    rotation = torch.take_along_dim(prediction.candidates.rotation, index.unsqueeze(-1), dim=1)
    translation = torch.take_along_dim(prediction.candidates.translation, index, dim=1)
    return Hypotheses(probability, Pose(rotation, translation))


def singles(several: Localization) -> Iterator[Localization]:
    """Each image by itself."""
    pose, confidence, hypotheses = several
    for i in range(len(pose.translation)):
        yield Localization(
            _at(pose, i),
            confidence and _at(confidence, i),
            hypotheses and Hypotheses(hypotheses.probability[i], _at(hypotheses.poses, i)),
        )


def _at(several: Tuple, index: int) -> Tuple:
    return type(several)(*(part[index] for part in several))
