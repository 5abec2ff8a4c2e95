"""What a report is made from, and the note that stands where something is missing."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from posenet.config import Config
from posenet.evaluation.metrics import PoseErrors
from posenet.evaluation.nearest import NearestTraining
from posenet.geometry import Intrinsics, Pose
from posenet.models.calibration import PoseConfidence

ReadImage = Callable[[int], NDArray[np.uint8]]


class ReportSource(NamedTuple):
    """What a report is made from. Only the first six are always there.

    Attributes:
        summary: What ``evaluation.json`` holds.
        names: The frames, (N,).
        sequences: The sequence of each, (N,).
        truth: True poses, (N,).
        prediction: Predicted poses, (N,).
        errors: Errors of the predictions, (N,).
        pictures: PNG files of the evaluation by name, such as ``error_cdf``.
        train: Poses of the training frames, (M,).
        train_names: Their names, (M,).
        nearest: The nearest training pose of each frame, (N,).
        image: The image of a frame as the network saw it.
        train_image: The image of a training frame.
        camera: The camera of all images.
        config: Settings of the training.
        run: The run folder, for the files that the training left there.
        confidence: How sure the network was of each frame, (N,).
    """

    summary: Mapping[str, Any]
    names: Sequence[str]
    sequences: Sequence[str]
    truth: Pose
    prediction: Pose
    errors: PoseErrors
    pictures: Mapping[str, Path] = {}
    train: Pose | None = None
    train_names: Sequence[str] = ()
    nearest: NearestTraining | None = None
    image: ReadImage | None = None
    train_image: ReadImage | None = None
    camera: Intrinsics | None = None
    config: Config | None = None
    run: Path | None = None
    confidence: PoseConfidence | None = None


def note(text: str) -> str:
    """A paragraph that says why something is missing."""
    return f'<p class="note">{escape(text)}</p>'
