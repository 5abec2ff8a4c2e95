"""Measuring a trained network on the test split, beside what needs no training."""

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from posenet.datasets.frame import Frame
from posenet.datasets.loader import Scene, load_scene
from posenet.errors import DataError, UsageError
from posenet.evaluation.baselines import mean_pose, nearest_image_pose
from posenet.evaluation.confidence import (
    evaluate_confidence,
    format_confidence,
    measure_other_scene,
    summarise_confidence,
)
from posenet.evaluation.confidence_plot import plot_confidence
from posenet.evaluation.metrics import (
    PoseErrors,
    bootstrap_intervals,
    json_ready,
    pose_errors,
    summarise,
)
from posenet.evaluation.plots import plot_error_cdf, plot_trajectory
from posenet.evaluation.viewpoint_plot import plot_viewpoints
from posenet.evaluation.viewpoints import evaluate_viewpoints, summarise_viewpoints
from posenet.geometry import Pose, rotation_to_quaternion, stack_poses
from posenet.inference.localizer import Localizer
from posenet.models.calibration import PoseConfidence
from posenet.models.checkpoint import find_checkpoint, run_folder_of
from posenet.models.network import Prediction
from posenet.progress import report_progress

NETWORK, NEAREST, MEAN = "network", "nearest training image", "mean pose"


class Evaluation(NamedTuple):
    """The result of one evaluation.

    Attributes:
        summary: What ``evaluation.json`` holds.
        errors: Errors by method: the network and the baselines.
        folder: Where the files were written.
    """

    summary: dict[str, Any]
    errors: dict[str, PoseErrors]
    folder: Path


class OpenedRun(NamedTuple):
    """A trained network beside the frames to measure it on.

    Attributes:
        checkpoint_path: The file that was loaded.
        localizer: The network.
        scene: The dataset.
        indices: The frames of the split.
        frames: The same as frames.
    """

    checkpoint_path: Path
    localizer: Localizer
    scene: Scene
    indices: list[int]
    frames: list[Frame]

    @property
    def size(self) -> float:
        """Diagonal of the box around the training positions, in the scene's unit."""
        train = stack_poses([self.scene.frames[i].pose for i in self.scene.split.train]).translation
        return float((train.amax(dim=0) - train.amin(dim=0)).norm().clamp_min(1e-12))

    def predict(self, batch_size: int = 32) -> Prediction:
        """What the network makes of the frames."""
        read = self.scene.images.color_image
        return self.localizer.predict_fully((read(i) for i in self.indices), batch_size)


def open_run(run: Path, root: str | None = None, split: str = "test") -> OpenedRun:
    """Load a run and the frames of a split.

    Args:
        run: A run folder or a checkpoint file.
        root: Where the dataset lies, if no longer where it was trained from.
        split: test, validation or train.

    Raises:
        PosenetError: The checkpoint or the dataset cannot be used, or the run was trained on a
            frame that is to test it.
    """
    checkpoint_path = find_checkpoint(run)
    localizer = Localizer.load(checkpoint_path)
    config = localizer.checkpoint.config
    # The cache of the training may be on another machine; it is only a cache.
    cache = config.data.cache if config.data.cache and Path(config.data.cache).is_dir() else None
    data = dataclasses.replace(config.data, root=root or config.data.root, cache=cache)
    with report_progress("decoding images") as report:
        scene = load_scene(data, report=report)
    indices: list[int] = getattr(scene.split, split)
    if not indices:
        raise DataError(f"{data.root}: the {split} split has no frames to evaluate")
    frames = [scene.frames[i] for i in indices]
    if split != "train":
        _require_unseen(frames, run_folder_of(checkpoint_path), split)
    return OpenedRun(checkpoint_path, localizer, scene, indices, frames)


def evaluate(
    run: Path,
    *,
    root: str | None = None,
    split: str = "test",
    output: Path | None = None,
    other_scenes: Sequence[Path] = (),
) -> Evaluation:
    """Evaluate a run, and write ``evaluation.json``, ``predictions.csv`` and two pictures.

    Args:
        run: A run folder or a checkpoint file.
        root: Where the dataset lies, if no longer where it was trained from.
        split: test, validation or train.
        output: Folder for the files; the run folder (or ``evaluation-SPLIT`` in it) when omitted.
        other_scenes: Folders of images of other places, which the network should disown.

    Raises:
        PosenetError: The checkpoint or the dataset cannot be used.
    """
    opened = open_run(run, root, split)
    localizer, scene, indices, frames = (
        opened.localizer,
        opened.scene,
        opened.indices,
        opened.frames,
    )
    truth = stack_poses([frame.pose for frame in frames])
    answer = opened.predict()
    prediction = answer.pose
    train, predictions = _baselines(scene, indices)
    predictions = {NETWORK: prediction, **predictions}
    errors = {name: pose_errors(pose, truth) for name, pose in predictions.items()}
    sequences = [frame.sequence for frame in frames]

    def measure(name: str, chosen: NDArray[np.bool_]) -> dict[str, Any]:
        part = PoseErrors(*(values[chosen] for values in errors[name]))
        kept = [
            sequence for sequence, is_chosen in zip(sequences, chosen, strict=True) if is_chosen
        ]
        return in_scene_units(
            {**summarise(part), "intervals_95": bootstrap_intervals(part, kept)},
            scene.metric,
            opened.size,
        )

    everything = np.ones(len(frames), dtype=bool)
    summary = {
        "scene": localizer.checkpoint.scene,
        "split": split,
        "checkpoint": opened.checkpoint_path.name,
        "epoch": localizer.checkpoint.epoch,
        "metric": scene.metric,
        "scene_size": opened.size,
        **measure(NETWORK, everything),
        "sequences": {
            name: measure(NETWORK, np.array(sequences) == name) for name in dict.fromkeys(sequences)
        },
        "baselines": {name: measure(name, everything) for name in (NEAREST, MEAN)},
    }
    viewpoints = None
    if answer.logits is not None:
        origin = torch.tensor(localizer.checkpoint.origin, dtype=torch.float64)
        local = Pose(truth.rotation, truth.translation - origin)
        viewpoints = evaluate_viewpoints(localizer.network.bins, answer.logits, local)
        summary["viewpoints"] = summarise_viewpoints(viewpoints)
    confidence = evaluate_confidence(localizer, answer, errors[NETWORK])
    if confidence is None and other_scenes:
        raise UsageError(
            f"{run}: this network says nothing of other scenes; train one with "
            "--model.confidence true"
        )
    if confidence is not None:
        summary["confidence"] = summarise_confidence(confidence, errors[NETWORK], sequences)
        others = {
            str(path): measure_other_scene(localizer, confidence.novelty, path)
            for path in other_scenes
        }
        summary["confidence"] |= {"other_scenes": others} if others else {}
    folder = output or _default_folder(run_folder_of(opened.checkpoint_path), split)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(json_ready(summary), indent=2) + "\n")
    radii = None if confidence is None else confidence.at_level
    write_predictions(folder / "predictions.csv", frames, prediction, errors[NETWORK], radii)
    unit = "m" if scene.metric else "units"
    plot_error_cdf(folder / "error_cdf.png", errors, unit)
    path = folder / "trajectory.png"
    plot_trajectory(path, train, truth, prediction, errors[NETWORK], unit)
    if viewpoints is not None:
        train = Pose(train.rotation, train.translation - origin)
        plot_viewpoints(folder / "viewpoints.png", train, local, viewpoints)
    if confidence is not None:
        plot_confidence(folder / "confidence.png", confidence, errors[NETWORK], unit)
    return Evaluation(summary, errors, folder)


def in_scene_units(values: dict[str, Any], metric: bool, size: float) -> dict[str, Any]:
    """What can be said of translations where a scene has a scale of its own.

    Recalls within centimetres mean nothing there; medians and means relative to the scene's size
    do.
    """
    if metric:
        return values
    kept = {key: value for key, value in values.items() if not key.startswith("recall_")}
    if "intervals_95" in kept:
        kept["intervals_95"] = in_scene_units(kept["intervals_95"], metric, size)
    for name in ("median", "mean"):
        value = np.asarray(kept[f"{name}_translation_m"])
        kept[f"{name}_translation_relative"] = (value / size).tolist()
    return kept


def write_predictions(
    path: Path,
    frames: list[Frame],
    pose: Pose,
    errors: PoseErrors,
    confidence: PoseConfidence | None = None,
) -> None:
    """One row a frame: camera-to-world quaternion wxyz, camera centre in metres, errors, radii."""
    quaternions = rotation_to_quaternion(pose.rotation)
    columns = ("rotation_radius_deg", "translation_radius_m", "familiarity") if confidence else ()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                *("frame", "sequence", "qw", "qx", "qy", "qz"),
                *("center_x_m", "center_y_m", "center_z_m"),
                *("translation_error_m", "rotation_error_deg"),
                *columns,
            ]
        )
        for i, frame in enumerate(frames):
            numbers = (*quaternions[i].tolist(), *pose.translation[i].tolist())
            row = [f"{value:.9f}" for value in numbers]
            row += [f"{errors.translation_m[i]:.6f}", f"{errors.rotation_deg[i]:.6f}"]
            row += [f"{float(getattr(confidence, name)[i]):.6f}" for name in columns]
            writer.writerow([frame.name, frame.sequence, *row])


def format_evaluation(summary: dict[str, Any]) -> str:
    """The summary as a table for people."""
    unit = "m" if summary["metric"] else "units"
    columns = [
        ("median_translation_m", f"median {unit}", "{:.3f}"),
        ("median_rotation_deg", "median deg", "{:.2f}"),
        ("mean_translation_m", f"mean {unit}", "{:.3f}"),
        ("mean_rotation_deg", "mean deg", "{:.2f}"),
        ("median_translation_relative", "median / size", "{:.2%}"),
        *(
            (key, key.removeprefix("recall_").replace("_", "/"), "{:.1%}")
            for key in summary
            if key.startswith("recall_")
        ),
    ]
    columns = [column for column in columns if column[0] in summary]
    rows = [(NETWORK, summary)]
    low_high = summary["intervals_95"]
    rows += [
        ("  95 % from", {key: low_high[key][0] for key, _, _ in columns}),
        ("  to", {key: low_high[key][1] for key, _, _ in columns}),
    ]
    rows += [(f"  {name}", values) for name, values in summary["sequences"].items()]
    rows += list(summary["baselines"].items())
    header = ["", *(title for _, title, _ in columns)]
    table = [
        [name, *(form.format(values[key]) for key, _, form in columns)] for name, values in rows
    ]
    widths = [max(len(row[i]) for row in [header, *table]) for i in range(len(header))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in [header, *table]
    ]
    title = (
        f"{summary['scene']}: {summary['frames']:.0f} {summary['split']} frames, "
        f"{summary['checkpoint']} of epoch {summary['epoch']}"
    )
    if not summary["metric"]:
        lines.append(
            "the dataset has a scale of its own: lengths are in its units, and relative to its "
            f"size of {summary['scene_size']:.3g} (diagonal of the training positions)"
        )
    if "viewpoints" in summary:
        lines.append(_format_viewpoints(summary["viewpoints"], unit))
    if "confidence" in summary:
        lines.append(format_confidence(summary["confidence"], unit))
    return "\n".join([title, *lines])


def _format_viewpoints(values: dict[str, Any], unit: str) -> str:
    accuracy = f"{values['top1_accuracy']:.1%} right"
    if "top5_accuracy" in values:
        accuracy += f", {values['top5_accuracy']:.1%} among the best five"
    return (
        f"{values['bins']} viewpoint bins: {accuracy}; said to be right "
        f"{values['mean_probability']:.1%}, calibration error "
        f"{values['expected_calibration_error']:.1%}; centre of the bin "
        f"{values['coarse_median_translation_m']:.3f} {unit} "
        f"{values['coarse_median_rotation_deg']:.2f} deg, of the right one "
        f"{values['nearest_bin_median_translation_m']:.3f} {unit} "
        f"{values['nearest_bin_median_rotation_deg']:.2f} deg (medians)"
    )


def _baselines(scene: Scene, indices: list[int]) -> tuple[Pose, dict[str, Pose]]:
    """Training poses, and predictions from all training frames, those held out included."""
    known = sorted(set(scene.split.train + scene.split.validation) - set(indices)) or indices
    train = stack_poses([scene.frames[i].pose for i in known])
    read = scene.images.color_image
    return train, {
        NEAREST: nearest_image_pose((read(i) for i in known), train, (read(i) for i in indices)),
        MEAN: mean_pose(train, len(indices)),
    }


def _require_unseen(frames: list[Frame], run: Path, split: str) -> None:
    """Refuse to measure on frames that the run knows, whatever the dataset says now."""
    path = run / "split.json"
    if not path.is_file():
        return
    names = json.loads(path.read_text())
    trained = set(names["train"]) | set(names["validation"] if split == "test" else ())
    both = [frame.name for frame in frames if frame.name in trained]
    if both:
        raise DataError(
            f"{path}: this run was trained on {both[0]} and {len(both) - 1} more frames that are "
            f"{split} frames now; evaluate with the split that it was trained with"
        )


def _default_folder(folder: Path, split: str) -> Path:
    return folder if split == "test" else folder / f"evaluation-{split}"
