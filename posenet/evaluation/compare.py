"""Several methods measured on the same frames: errors, paired differences, size and speed."""

import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from posenet.conversion.trajectory import trajectory_of_frames
from posenet.datasets.formats import FORMATS, find_format
from posenet.errors import DataError, UsageError
from posenet.evaluation.evaluate import OpenedRun, in_scene_units, measure_errors, open_run
from posenet.evaluation.files import measure_file
from posenet.evaluation.matching import TIME_TOLERANCE_S, PoseSet
from posenet.evaluation.metrics import PoseErrors, bootstrap_differences, json_ready
from posenet.evaluation.plots import plot_error_cdf
from posenet.evaluation.recall import DEFAULT_RECALL, Threshold, recall_keys
from posenet.evaluation.truth import ALL, Truth, read_predictions, read_truth
from posenet.geometry import stack_poses
from posenet.staging import require_place, staged

_WARMUP, _TIMED = 3, 30


def compare(
    methods: Sequence[Path],
    *,
    root: str | None = None,
    split: str | None = None,
    output: Path | None = None,
    ground_truth: Path | None = None,
    ground_truth_format: str = "auto",
    predictions_format: str = "auto",
    metric: bool | None = None,
    recall: Sequence[Threshold] = DEFAULT_RECALL,
    tolerance_s: float = TIME_TOLERANCE_S,
    same_place: bool = False,
) -> dict[str, Any]:
    """Measure runs and files of predictions on the same frames, and the later against the first.

    Args:
        methods: Run folders, checkpoint files and files of predictions, two at least.
        root: Where the dataset of the runs lies, if no longer where they were trained from.
        split: Which frames: test (when omitted), validation or train; of a ground truth also all.
        output: Folder for ``comparison.json`` and ``comparison_cdf.png``; none when omitted.
        ground_truth: True poses of the frames, as of ``evaluate_file``; when omitted, those of the
            first run's dataset.
        ground_truth_format: Its format, or auto to recognise it.
        predictions_format: The format of the files of predictions, likewise.
        metric: Whether the ground truth is in metres; when omitted, by its format.
        recall: Thresholds of the recalls, metres and degrees.
        tolerance_s: Seconds that timestamps of one frame may differ by.
        same_place: Whether the dataset may be another one of the place that a run was trained on.

    Returns:
        ``split``, ``frames``, ``metric``, ``scene_size`` and by method what ``summarise`` gives,
        ``intervals_95``, ``missing`` (frames without a prediction) and, of all but the first,
        ``difference_95`` to the first. Of a run also ``parameters``, ``megabytes`` of the
        checkpoint and ``latency_ms`` (median, one image at a time).

    Raises:
        UsageError: There are fewer than two, or one twice, or nothing tells the true poses.
        DataError: Runs were not made for the same frames, or a file does not know them.
        PosenetError: A checkpoint, a dataset or a file cannot be used.
    """
    names = [str(method) for method in methods]
    first_run = next((name for name in names if is_run(Path(name))), None)
    _require_sense(names, first_run, split, ground_truth)
    if output is not None:
        require_place(output, "--output")
    reference = None
    if ground_truth is None:
        reference = open_run(Path(first_run), root, split or "test", same_place)
        truth = _truth_of(reference, root)
    else:
        truth = read_truth(ground_truth, ground_truth_format, split, metric)

    def predict(name: str) -> tuple[PoseSet, dict[str, Any]]:
        if not is_run(Path(name)):
            return read_predictions(Path(name), predictions_format), {}
        opened = reference
        if reference is None or name != first_run:
            opened = open_run(Path(name), root, split or "test", same_place)
        if reference is not None:
            _require_same_frames(reference, opened, first_run, name)
        return _predictions_of(opened), _extent_of(opened)

    sequences = truth.trajectory.sequences
    errors: dict[str, PoseErrors] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        poses, extent = predict(name)
        matched = measure_file(poses, truth, tolerance_s)
        errors[name] = matched.errors
        measured = measure_errors(errors[name], sequences, recall, truth.metric, truth.size)
        rows[name] = {**measured, "missing": matched.missing, **extent}
        if name != names[0]:
            difference = bootstrap_differences(errors[name], errors[names[0]], sequences, recall)
            rows[name]["difference_95"] = in_scene_units(difference, truth.metric, truth.size)
    comparison = {
        "split": truth.split,
        "frames": len(sequences),
        "metric": truth.metric,
        "scene_size": truth.size,
        "runs": rows,
    }
    if ground_truth is not None:
        comparison["ground_truth"] = str(ground_truth)
    if output is not None:
        text = json.dumps(json_ready(comparison), indent=2)
        curves = dict(zip(_short(names), errors.values(), strict=True))
        unit = "m" if truth.metric else "units"
        with staged(output, "--output") as stage:
            (stage / "comparison.json").write_text(text + "\n")
            plot_error_cdf(stage / "comparison_cdf.png", curves, unit)
    return comparison


def _require_sense(
    names: Sequence[str], first_run: str | None, split: str | None, ground_truth: Path | None
) -> None:
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(
            "compare: expected two or more different runs or files of predictions, found "
            f"{', '.join(names)}"
        )
    if split == ALL and first_run is not None:
        raise UsageError("--split all: runs are measured on test, validation or train frames")
    if ground_truth is None and first_run is None:
        raise UsageError(
            f"compare: expected --ground-truth beside files of predictions, found {names[0]} and "
            "no run whose dataset could tell the true poses"
        )


def is_run(path: Path) -> bool:
    """Whether a path is of a run or a checkpoint, not of a file of poses."""
    inside = ("checkpoints", "config.yaml", "split.json")
    return path.suffix in (".pt", ".ckpt") or any((path / name).exists() for name in inside)


def _short(names: Sequence[str]) -> list[str]:
    """The ends of paths, as long as they must be to tell them apart."""
    paths = [Path(name) for name in names]
    for count in range(1, max(len(path.parts) for path in paths)):
        ends = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(ends)) == len(ends):
            return ends
    return list(names)


def _truth_of(opened: OpenedRun, root: str | None) -> Truth:
    config = opened.localizer.checkpoint.config.data
    folder = Path(root or config.root)
    timed = find_format(folder, config.format) is FORMATS["tum"]
    trajectory = trajectory_of_frames(opened.frames, folder, timed_by_name=timed)
    return Truth(
        PoseSet(str(folder), trajectory, named=True),
        opened.localizer.checkpoint.scene,
        opened.split,
        opened.scene.metric,
        opened.size,
        stack_poses([opened.scene.frames[i].pose for i in opened.scene.split.train]),
    )


def _predictions_of(opened: OpenedRun) -> PoseSet:
    config = opened.localizer.checkpoint.config.data
    trajectory = trajectory_of_frames(opened.frames, Path(config.root))
    trajectory = trajectory._replace(pose=opened.predict().pose, images=None)
    return PoseSet(str(opened.checkpoint_path), trajectory, named=True)


def _extent_of(opened: OpenedRun) -> dict[str, Any]:
    return {
        "parameters": sum(p.numel() for p in opened.localizer.network.parameters()),
        "megabytes": opened.checkpoint_path.stat().st_size / 1e6,
        "latency_ms": measure_latency(opened),
    }


def measure_latency(opened: OpenedRun) -> float:
    """Median time from one decoded image to its pose, in milliseconds, one image at a time.

    It depends on the machine and on what else runs there: compare figures of one call only.
    """
    image = opened.scene.images.color_image(opened.indices[0])[None]
    times = []
    for _ in range(_WARMUP + _TIMED):
        start = time.perf_counter()
        opened.localizer.predict_batch(image)
        if opened.localizer.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1000.0 * statistics.median(times[_WARMUP:])


def comparison_table(
    comparison: dict[str, Any], *, recalls: bool = False
) -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows for people.

    Args:
        comparison: From :func:`compare`.
        recalls: Whether recalls have columns.
    """
    unit = "m" if comparison["metric"] else "units"
    methods = comparison["runs"].values()
    shown = recall_keys(next(iter(methods))) if recalls else []
    lost = any(values["missing"] for values in methods)
    header = ["method", f"median {unit}", "median deg"]
    header += [f"minus the first, {unit}", "minus the first, deg"]
    header += [key.removeprefix("recall_").replace("_", "/") for key in shown]
    header += ["no prediction"] if lost else []
    header += ["parameters", "MB", "ms an image"]
    rows = []
    for name, values in comparison["runs"].items():
        cells = [name]
        for key, form in (("median_translation_m", ".3f"), ("median_rotation_deg", ".2f")):
            low, high = values["intervals_95"][key]
            cells.append(f"{values[key]:{form}} ({low:{form}} to {high:{form}})")
        for key, form in (("median_translation_m", "+.3f"), ("median_rotation_deg", "+.2f")):
            if "difference_95" not in values:
                cells.append("")
                continue
            low, high = values["difference_95"][key]
            cells.append(f"{low:{form}} to {high:{form}}")
        cells += [f"{values[key]:.1%}" for key in shown]
        cells += [str(values["missing"])] if lost else []
        if "parameters" in values:
            cells.append(f"{values['parameters'] / 1e6:.2f} M")
            cells += [f"{values['megabytes']:.1f}", f"{values['latency_ms']:.1f}"]
        else:
            cells += ["", "", ""]
        rows.append(cells)
    split = f"{comparison['split']} " if comparison["split"] else ""
    title = (
        f"{comparison['frames']} {split}frames; in brackets and as differences 95 % intervals of a "
        "block bootstrap over these frames, not over scenes or recordings"
    )
    return title, header, rows


def _require_same_frames(first: OpenedRun, other: OpenedRun, first_name: str, name: str) -> None:
    ours, theirs = ([frame.name for frame in run.frames] for run in (first, other))
    if ours != theirs:
        odd = sorted(set(ours) ^ set(theirs))
        what = f"{odd[0]} is only in one of them" if odd else "in another order"
        raise DataError(
            f"{name}: expected the {len(ours)} frames that {first_name} is measured on, found "
            f"{len(theirs)} ({what}); compare runs of the same split"
        )
    for mine, its in zip(first.frames, other.frames, strict=True):
        if not torch.equal(mine.pose.translation, its.pose.translation):
            raise DataError(
                f"{name}: {its.name} has another true pose than in {first_name}; compare runs of "
                "the same scene"
            )
