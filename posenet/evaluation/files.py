"""Measuring predictions that lie in a file, whoever made them, as a run's own are measured."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from posenet.datasets.formats.parsing import quote
from posenet.evaluation.evaluate import (
    PREDICTIONS,
    Evaluation,
    measure_errors,
    write_predictions,
)
from posenet.evaluation.matching import TIME_TOLERANCE_S, Matches, PoseSet, match
from posenet.evaluation.metrics import PoseErrors, json_ready, pose_errors
from posenet.evaluation.plots import plot_error_cdf, plot_trajectory
from posenet.evaluation.recall import DEFAULT_RECALL, Threshold
from posenet.evaluation.report.page import write_report
from posenet.evaluation.report.source import ReportSource
from posenet.evaluation.truth import Truth, read_predictions, read_truth
from posenet.geometry import Pose
from posenet.progress import say
from posenet.staging import require_place, staged

_SHOWN = 3


class Matched(NamedTuple):
    """Predictions in the order of the true frames.

    Attributes:
        pose: Predicted poses, (N,); NaN where there is none.
        errors: Their errors, (N,), infinite where there is none.
        matches: What belongs to what.
    """

    pose: Pose
    errors: PoseErrors
    matches: Matches

    @property
    def missing(self) -> int:
        """True frames without a usable prediction."""
        return int(np.isinf(self.errors.translation_m).sum())


class _Row(NamedTuple):
    name: str
    sequence: str


def evaluate_file(
    predictions: Path,
    ground_truth: Path,
    *,
    predictions_format: str = "auto",
    ground_truth_format: str = "auto",
    split: str | None = None,
    metric: bool | None = None,
    recall: Sequence[Threshold] = DEFAULT_RECALL,
    tolerance_s: float = TIME_TOLERANCE_S,
    output: Path | None = None,
) -> Evaluation:
    """Measure the poses in a file against true ones.

    Args:
        predictions: A file of poses in any format that ``posenet convert`` reads.
        ground_truth: Another, or the folder of a dataset.
        predictions_format: The format of the former, or auto to recognise it.
        ground_truth_format: Likewise.
        split: See :func:`read_truth`.
        metric: Likewise.
        recall: Thresholds of the recalls, metres and degrees.
        tolerance_s: Seconds that timestamps of one frame may differ by.
        output: Folder for ``report.html``, its numbers and its pictures; none when omitted.

    Returns:
        As of a run: without what only a run has, and with ``predictions``, ``ground_truth``,
        ``matched_by`` (name, timestamp or order), ``missing`` (frames without a usable prediction,
        also of each sequence) and ``unknown`` (predictions of other frames, left out).

    Raises:
        PosenetError: A file cannot be used, or they have nothing in common.
    """
    if output is not None:
        require_place(output, "--output")
    truth = read_truth(ground_truth, ground_truth_format, split, metric)
    matched = measure_file(read_predictions(predictions, predictions_format), truth, tolerance_s)
    errors, sequences = matched.errors, truth.trajectory.sequences

    def measure(chosen: np.ndarray) -> dict[str, Any]:
        part = PoseErrors(*(values[chosen] for values in errors))
        kept = np.array(sequences)[chosen].tolist()
        measured = measure_errors(part, kept, recall, truth.metric, truth.size)
        return {**measured, "missing": int(np.isinf(part.translation_m).sum())}

    summary = {
        "scene": truth.scene,
        "split": truth.split,
        "predictions": str(predictions),
        "ground_truth": str(ground_truth),
        "matched_by": matched.matches.by,
        "unknown": len(matched.matches.unknown),
        "metric": truth.metric,
        "scene_size": truth.size,
        "size_of": "true" if truth.train is None else "training",
        **measure(np.ones(len(sequences), dtype=bool)),
        "sequences": {
            name: measure(np.array(sequences) == name) for name in dict.fromkeys(sequences)
        },
    }
    if output is not None:
        _write(output, summary, truth, matched)
    return Evaluation(summary, {PREDICTIONS: errors}, output)


def measure_file(
    predictions: PoseSet, truth: Truth, tolerance_s: float = TIME_TOLERANCE_S
) -> Matched:
    """Match predictions with true frames and measure them; what has no partner is said.

    Raises:
        DataError: They have nothing in common, or it is not clear which frame is meant.
    """
    matches = match(predictions, truth.poses, tolerance_s)
    count = len(truth.trajectory.names)
    shapes = ((count, 3, 3), (count, 3))
    pose = Pose(*(torch.full(shape, torch.nan, dtype=torch.float64) for shape in shapes))
    frames, places = list(matches.prediction), list(matches.prediction.values())
    for part, given in zip(pose, predictions.trajectory.pose, strict=True):
        part[frames] = given[places].double()
    matched = Matched(pose, pose_errors(pose, truth.trajectory.pose), matches)
    _say_what_is_left(predictions, truth, matched)
    return matched


def _say_what_is_left(predictions: PoseSet, truth: Truth, matched: Matched) -> None:
    matches, names = matched.matches, truth.poses.labels
    if matches.by == "order":
        say(
            f"{predictions.source}: has no names or timestamps, nor has {truth.poses.source}: "
            "matched by their order"
        )
    if matches.unknown:
        unknown = [predictions.labels[i] for i in matches.unknown]
        say(
            f"{predictions.source}: {len(unknown)} of {len(predictions.labels)} "
            f"predictions are of frames that are not measured on and are left out "
            f"({_first(unknown)})"
        )
    if matched.missing:
        lost = [names[i] for i in np.flatnonzero(np.isinf(matched.errors.translation_m))]
        say(
            f"{predictions.source}: {len(lost)} of {len(names)} frames have no prediction, which "
            f"counts as an infinite error ({_first(lost)})"
        )
        if matches.by == "timestamp" and len(lost) > len(names) / 2:
            say(
                f"{truth.poses.source}: has far more poses than there are predictions; if it was "
                "recorded faster than images were taken, give the dataset's folder as ground "
                "truth, or a file with the poses of the images"
            )


def _write(folder: Path, summary: dict[str, Any], truth: Truth, matched: Matched) -> None:
    with staged(folder, "--output") as stage:
        (stage / "evaluation.json").write_text(json.dumps(json_ready(summary), indent=2) + "\n")
        frames = [*map(_Row, truth.trajectory.names, truth.trajectory.sequences)]
        write_predictions(stage / "predictions.csv", frames, matched.pose, matched.errors)
        unit = "m" if truth.metric else "units"
        pictures = {name: stage / f"{name}.png" for name in ("error_cdf", "trajectory")}
        plot_error_cdf(pictures["error_cdf"], {PREDICTIONS: matched.errors}, unit)
        true = truth.trajectory.pose
        plot_trajectory(
            pictures["trajectory"], truth.train, true, matched.pose, matched.errors, unit
        )
        source = ReportSource(
            summary=summary,
            names=truth.trajectory.names,
            sequences=truth.trajectory.sequences,
            truth=true,
            prediction=matched.pose,
            errors=matched.errors,
            pictures=pictures,
            train=truth.train,
        )
        write_report(stage, source)


def _first(names: Sequence[str]) -> str:
    return ", ".join(map(quote, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
