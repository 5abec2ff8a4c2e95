"""What the interactive picture of a report draws: cameras in coordinates with up for z."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import torch

from posenet.evaluation.metrics import PoseErrors
from posenet.evaluation.plots import Array
from posenet.evaluation.report.source import ReportSource
from posenet.geometry import Intrinsics, Pose, top_down_axes

# More are a blot, and slow on a telephone.
MOST_TRAINING, MOST_TESTED = 1000, 600


def scene_data(
    train: Pose | None,
    train_names: Sequence[str],
    truth: Pose,
    prediction: Pose,
    names: Sequence[str],
    errors: PoseErrors,
    camera: Intrinsics | None = None,
) -> dict[str, Any]:
    """Cameras for the script of the page, evenly thinned out where there are too many.

    The axes are those of the trajectory's picture: x along the longest extent of the training
    positions, z up, the origin in the middle of the training positions; or of the true ones.

    Args:
        train: Poses of the training frames, (M,), M > 0; None where they are not known.
        train_names: Their names, (M,); empty where they are not known.
        truth: True poses of the test frames, (N,).
        prediction: Predicted poses, (N,); not finite: none.
        names: Names of the test frames, (N,).
        errors: Errors of the predictions, (N,).
        camera: Gives the frusta their shape; 4:3 and 60 degrees wide when omitted.

    Returns:
        Plain values. A camera is its centre, its right and its down axis, nine numbers in a row.
    """
    about = truth if train is None else train
    right, across = top_down_axes(about)
    axes = np.stack((right, across, np.cross(right, across)))
    middle = about.translation.double().numpy().mean(axis=0)
    trained = 0 if train is None else len(train.translation)
    known, tested = _some(trained, MOST_TRAINING), _some(len(names), MOST_TESTED)
    training = _cameras(about, known, axes, middle)
    centers = np.concatenate((training[:, :3], _cameras(truth, tested, axes, middle)[:, :3]))
    extent = float(np.ptp(centers, axis=0).max()) or 1.0
    usable = np.isfinite(errors.translation_m)
    true, predicted = (_cameras(pose, tested, axes, middle) for pose in (truth, prediction))
    half = (0.577, 0.433)
    if camera is not None:
        half = (0.5 * camera.width / camera.focal_x, 0.5 * camera.height / camera.focal_y)
    digits = 4 - int(np.floor(np.log10(extent)))
    return {
        "extent": _rounded(extent, digits),
        "half_view": [_rounded(value, 4) for value in half],
        "world": [[_rounded(value, 4) for value in row] for row in axes.T],
        "training": [
            {"name": train_names[i] if train_names else f"pose {i}", "camera": _row(row, digits)}
            for i, row in zip(known, training, strict=True)
        ],
        "tested": [
            {
                "index": i,
                "name": names[i],
                "true": _row(true[row], digits),
                "predicted": _row(predicted[row], digits) if usable[i] else None,
                "errors": [float(f"{errors[k][i]:.4g}") if usable[i] else None for k in (0, 1)],
            }
            for row, i in enumerate(tested)
        ],
        "of": [trained, len(names)],
    }


def _some(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return np.linspace(0, count - 1, most).round().astype(int).tolist()


def _cameras(pose: Pose, indices: Sequence[int], axes: Array, middle: Array) -> Array:
    rotation, center = (
        part[torch.tensor(indices, dtype=torch.long)].double().numpy() for part in pose
    )
    center = (center - middle) @ axes.T
    turned = axes @ rotation
    return np.concatenate((center, turned[:, :, 0], turned[:, :, 1]), axis=1)


def _row(camera: Array, digits: int) -> list[float]:
    return [_rounded(value, digits if place < 3 else 3) for place, value in enumerate(camera)]


def _rounded(value: float, digits: int) -> float:
    return round(float(value), digits)


def render_scene(source: ReportSource) -> str:
    """The canvas and its controls; the script of the page draws it."""
    state = "checked" if source.train is not None else "disabled"
    text = files("posenet.evaluation.report").joinpath("scene.html").read_text(encoding="utf-8")
    return text.replace("{{state}}", state)
