"""Measuring a trained network on the test split, beside what needs no training."""

import csv
import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from posenet.datasets.cache import map_in_order
from posenet.datasets.frame import Frame
from posenet.datasets.scene import Scene, load_scene
from posenet.errors import DataError, UsageError
from posenet.evaluation.baselines import mean_pose, nearest_image_pose
from posenet.evaluation.confidence import (
    evaluate_confidence,
    measure_other_scene,
    summarise_confidence,
)
from posenet.evaluation.confidence_plot import plot_confidence
from posenet.evaluation.distance_plot import plot_error_distance
from posenet.evaluation.metrics import (
    PoseErrors,
    bootstrap_intervals,
    json_ready,
    pose_errors,
    summarise,
)
from posenet.evaluation.nearest import nearest_training_pose, summarise_nearest
from posenet.evaluation.plots import plot_error_cdf, plot_trajectory
from posenet.evaluation.recall import DEFAULT_RECALL, Threshold, recall_keys
from posenet.evaluation.report.page import write_report
from posenet.evaluation.report.source import ReportSource
from posenet.evaluation.same_scene import require_same_scene, require_unseen
from posenet.evaluation.viewpoint_plot import plot_viewpoints
from posenet.evaluation.viewpoints import evaluate_viewpoints, summarise_viewpoints
from posenet.geometry import Pose, rotation_to_quaternion, stack_poses
from posenet.inference.localizer import Localizer, join_predictions
from posenet.inference.sources import find_images
from posenet.models.calibration import PoseConfidence
from posenet.models.checkpoint import find_checkpoint, run_folder_of
from posenet.models.network import Prediction
from posenet.process_group import (
    first_of_machine,
    from_all,
    group_rank,
    group_size,
    process_group,
    share_cores,
)
from posenet.progress import report_progress
from posenet.staging import require_place, staged

NETWORK, NEAREST, MEAN = "network", "nearest training image", "mean pose"
PREDICTIONS = "predictions"  # of a file, whoever made them


class Evaluation(NamedTuple):
    """The result of one evaluation.

    Attributes:
        summary: What ``evaluation.json`` holds.
        errors: Errors by method: the network and the baselines.
        folder: Where the files were written; None where none were.
    """

    summary: dict[str, Any]
    errors: dict[str, PoseErrors]
    folder: Path | None


class NamedFrame(Protocol):
    """What a table of predictions says of a frame beside its pose."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def sequence(self) -> str:
        """The recording that it is of."""


class OpenedRun(NamedTuple):
    """A trained network beside the frames to measure it on.

    Attributes:
        checkpoint_path: The file that was loaded.
        localizer: The network.
        scene: The dataset.
        indices: The frames of the split.
        frames: The same as frames.
        split: Its name.
    """

    checkpoint_path: Path
    localizer: Localizer
    scene: Scene
    indices: list[int]
    frames: list[Frame]
    split: str

    @property
    def size(self) -> float:
        """Diagonal of the box around the training positions, in the scene's unit."""
        train = stack_poses([self.scene.frames[i].pose for i in self.scene.split.train]).translation
        return float((train.amax(dim=0) - train.amin(dim=0)).norm().clamp_min(1e-12))

    def predict(self, batch_size: int = 32) -> Prediction:
        """What the network makes of the frames; several processes share them.

        They share whole batches: an image's pose depends, by rounding, on the others in its batch.
        """
        read = self.scene.images.color_image
        starts = range(0, len(self.indices), batch_size)
        batches = [self.indices[start : start + batch_size] for start in starts]
        own = batches[group_rank() :: group_size()]
        predict = self.localizer.predict_fully
        shares = from_all([predict((read(i) for i in batch), batch_size) for batch in own])
        return join_predictions(
            [shares[i % len(shares)][i // len(shares)] for i in range(len(batches))]
        )


def open_run(
    run: Path, root: str | None = None, split: str = "test", same_place: bool = False
) -> OpenedRun:
    """Load a run and the frames of a split.

    Args:
        run: A run folder or a checkpoint file.
        root: Where the dataset lies, if no longer where it was trained from.
        split: test, validation or train.
        same_place: Whether the dataset may be another one of the place that the run was trained on.

    Raises:
        PosenetError: The checkpoint or the dataset cannot be used, the run was trained on another
            dataset, or on a frame that is to test it.
    """
    checkpoint_path = find_checkpoint(run)
    localizer = Localizer.load(checkpoint_path)
    config = localizer.checkpoint.config
    # The cache of the training may be on another machine; it is only a cache.
    cache = config.data.cache if config.data.cache and Path(config.data.cache).is_dir() else None
    data = dataclasses.replace(config.data, root=root or config.data.root, cache=cache)
    with first_of_machine(), report_progress("decoding images") as report:
        scene = load_scene(data, report=report)
    indices: list[int] = getattr(scene.split, split)
    if not indices:
        raise DataError(
            f"{data.root}: the {split} split has no frames to evaluate; choose another "
            "with --split, or give the dataset some"
        )
    frames = [scene.frames[i] for i in indices]
    folder = run_folder_of(checkpoint_path)
    if require_same_scene(localizer.checkpoint, folder, scene, data.root, same_place):
        require_unseen(frames, folder, split)
    return OpenedRun(checkpoint_path, localizer, scene, indices, frames, split)


def evaluate(
    run: Path,
    *,
    root: str | None = None,
    split: str = "test",
    output: Path | None = None,
    recall: Sequence[Threshold] = DEFAULT_RECALL,
    same_place: bool = False,
    other_scenes: Sequence[Path] = (),
) -> Evaluation | None:
    """Evaluate a run, and write ``report.html``, its numbers and its pictures.

    Several processes (see :mod:`posenet.processes`) share the frames; the first one does the rest.

    Args:
        run: A run folder or a checkpoint file.
        root: Where the dataset lies, if no longer where it was trained from.
        split: test, validation or train.
        output: Folder for the files; the run folder (or ``evaluation-SPLIT`` in it) when omitted.
        recall: Thresholds of the recalls, metres and degrees.
        same_place: Whether the dataset may be another one of the place that the run was trained on.
        other_scenes: Folders of images of other places, which the network should disown.

    Returns:
        The result; None in any process but the first.

    Raises:
        PosenetError: The checkpoint or the dataset cannot be used.
    """
    with process_group(on_gpu=False) as world:  # tensors are exchanged when they are on the CPU
        share_cores(world)
        if world.size > 1 and torch.cuda.is_available():
            torch.cuda.set_device(world.local_rank % torch.cuda.device_count())
        folder = output or _default_folder(run_folder_of(find_checkpoint(run)), split)
        require_place(folder, "--output")
        opened = open_run(run, root, split, same_place)
        if other_scenes:
            _require_other_scenes(opened, other_scenes)
        answer = opened.predict()
    if not world.is_main:
        return None
    return _measure(opened, answer, folder, recall, other_scenes)


def _measure(
    opened: OpenedRun,
    answer: Prediction,
    folder: Path,
    recall: Sequence[Threshold],
    other_scenes: Sequence[Path],
) -> Evaluation:
    """Hold predictions against the truth, and write what comes of it."""
    localizer, scene, indices, frames = (
        opened.localizer,
        opened.scene,
        opened.indices,
        opened.frames,
    )
    split = opened.split
    truth = stack_poses([frame.pose for frame in frames])
    prediction = answer.pose
    predictions = {NETWORK: prediction, **_baselines(scene, indices)}
    trained = scene.split.train
    train = stack_poses([scene.frames[i].pose for i in trained])
    errors = {name: pose_errors(pose, truth) for name, pose in predictions.items()}
    sequences = [frame.sequence for frame in frames]

    def measure(name: str, chosen: NDArray[np.bool_]) -> dict[str, Any]:
        part = PoseErrors(*(values[chosen] for values in errors[name]))
        kept = np.array(sequences)[chosen].tolist()
        return measure_errors(part, kept, recall, scene.metric, opened.size)

    everything = np.ones(len(frames), dtype=bool)
    summary = {
        "scene": localizer.checkpoint.scene,
        "split": split,
        "checkpoint": opened.checkpoint_path.name,
        "epoch": localizer.checkpoint.epoch,
        "metric": scene.metric,
        "scene_size": opened.size,
        "size_of": "training",
        **measure(NETWORK, everything),
        "sequences": {
            name: measure(NETWORK, np.array(sequences) == name) for name in dict.fromkeys(sequences)
        },
        "baselines": {name: measure(name, everything) for name in (NEAREST, MEAN)},
    }
    beside = train if split != "train" else None  # those are their own nearest ones
    nearest = None
    if beside is not None:
        nearest = nearest_training_pose(train, truth)
        summary["nearest_training_pose"] = summarise_nearest(nearest, errors[NETWORK])
    viewpoints = None
    if answer.logits is not None:
        origin = torch.tensor(localizer.checkpoint.origin, dtype=torch.float64)
        local = Pose(truth.rotation, truth.translation - origin)
        viewpoints = evaluate_viewpoints(localizer.network.bins, answer.logits, local)
        summary["viewpoints"] = summarise_viewpoints(viewpoints)
    confidence = evaluate_confidence(localizer, answer, errors[NETWORK])
    if confidence is not None:
        summary["confidence"] = summarise_confidence(confidence, errors[NETWORK], sequences)
        others = {
            str(path): measure_other_scene(localizer, confidence.novelty, path)
            for path in other_scenes
        }
        summary["confidence"] |= {"other_scenes": others} if others else {}
    with staged(folder, "--output") as stage:
        (stage / "evaluation.json").write_text(json.dumps(json_ready(summary), indent=2) + "\n")
        radii = None if confidence is None else confidence.at_level
        write_predictions(stage / "predictions.csv", frames, prediction, errors[NETWORK], radii)
        unit = "m" if scene.metric else "units"
        pictures = {name: stage / f"{name}.png" for name in ("error_cdf", "trajectory")}
        plot_error_cdf(pictures["error_cdf"], errors, unit)
        plot_trajectory(
            pictures["trajectory"],
            beside,
            truth,
            prediction,
            errors[NETWORK],
            unit,
            split,
        )
        if nearest is not None:
            pictures["error_distance"] = stage / "error_distance.png"
            path = pictures["error_distance"]
            plot_error_distance(path, nearest, errors[NETWORK], unit, split)
        if viewpoints is not None:
            pictures["viewpoints"] = stage / "viewpoints.png"
            near = Pose(train.rotation, train.translation - origin)
            plot_viewpoints(pictures["viewpoints"], near, local, viewpoints)
        if confidence is not None:
            pictures["confidence"] = stage / "confidence.png"
            plot_confidence(pictures["confidence"], confidence, errors[NETWORK], unit)
        source = ReportSource(
            summary=summary,
            names=[frame.name for frame in frames],
            sequences=sequences,
            truth=truth,
            prediction=prediction,
            errors=errors[NETWORK],
            pictures=pictures,
            train=beside,
            train_names=[scene.frames[i].name for i in trained],
            nearest=nearest,
            image=lambda place: scene.images.color_image(indices[place]),
            train_image=lambda place: scene.images.color_image(trained[place]),
            camera=scene.camera,
            config=localizer.checkpoint.config,
            run=run_folder_of(opened.checkpoint_path),
            confidence=radii,
        )
        write_report(stage, source)
    return Evaluation(summary, errors, folder)


def _require_other_scenes(opened: OpenedRun, folders: Sequence[Path]) -> None:
    """Refuse before anything is predicted."""
    if not opened.localizer.checkpoint.config.model.confidence:
        raise UsageError(
            f"{opened.checkpoint_path}: this network says nothing of other scenes; train one with "
            "--model.confidence true"
        )
    for folder in folders:
        find_images(folder)


def measure_errors(
    errors: PoseErrors,
    sequences: Sequence[str],
    recall: Sequence[Threshold],
    metric: bool,
    size: float,
) -> dict[str, Any]:
    """What the errors come to and how sure that is (``intervals_95``), in the scene's units."""
    intervals = bootstrap_intervals(errors, sequences, recall)
    return in_scene_units({**summarise(errors, recall), "intervals_95": intervals}, metric, size)


def in_scene_units(values: dict[str, Any], metric: bool, size: float) -> dict[str, Any]:
    """What can be said of translations where a scene has a scale of its own.

    Recalls within centimetres mean nothing there; medians and means relative to the scene's size
    do.
    """
    if metric:
        return values
    kept = {key: value for key, value in values.items() if key not in recall_keys(values)}
    if "intervals_95" in kept:
        kept["intervals_95"] = in_scene_units(kept["intervals_95"], metric, size)
    for name in ("median", "mean"):
        value = np.asarray(kept[f"{name}_translation_m"])
        kept[f"{name}_translation_relative"] = (value / size).tolist()
    return kept


def write_predictions(
    path: Path,
    frames: Sequence[NamedFrame],
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


def _baselines(scene: Scene, indices: list[int]) -> dict[str, Pose]:
    """What all training frames tell without a network, those held out for validation included."""
    known = sorted(set(scene.split.train + scene.split.validation) - set(indices)) or indices
    train = stack_poses([scene.frames[i].pose for i in known])
    images = _read_images(scene, [*known, *indices])
    nearest = nearest_image_pose(islice(images, len(known)), train, images)
    return {NEAREST: nearest, MEAN: mean_pose(train, len(indices))}


def _read_images(scene: Scene, indices: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """Images in order, by all cores: those of a stream are decoded here."""
    with (
        report_progress("comparing with training images") as report,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        images = map_in_order(pool, scene.images.color_image, indices)
        for done, image in enumerate(images, start=1):
            report(done, len(indices))
            yield image


def _default_folder(folder: Path, split: str) -> Path:
    return folder if split == "test" else folder / f"evaluation-{split}"
