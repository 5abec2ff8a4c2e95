"""Several runs measured on the same frames: errors, paired differences, size and speed."""

import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from posenet.errors import DataError, UsageError
from posenet.evaluation.evaluate import OpenedRun, in_scene_units, open_run
from posenet.evaluation.metrics import (
    PoseErrors,
    bootstrap_differences,
    bootstrap_intervals,
    json_ready,
    pose_errors,
    summarise,
)
from posenet.evaluation.plots import plot_error_cdf
from posenet.geometry import stack_poses

_WARMUP, _TIMED = 3, 30


def compare(
    runs: Sequence[Path],
    *,
    root: str | None = None,
    split: str = "test",
    output: Path | None = None,
) -> dict[str, Any]:
    """Measure runs on the same frames, and the later ones against the first.

    Args:
        runs: Run folders or checkpoint files, two at least.
        root: Where the dataset lies, if no longer where they were trained from.
        split: test, validation or train.
        output: Folder for ``comparison.json`` and ``comparison_cdf.png``; none when omitted.

    Returns:
        ``split``, ``frames``, ``metric``, ``scene_size`` and by run what ``summarise`` gives,
        ``intervals_95``, ``parameters``, ``megabytes`` of the checkpoint, ``latency_ms``
        (median, one image at a time) and, of all but the first, ``difference_95`` to the first.

    Raises:
        UsageError: There are fewer than two runs, or one twice.
        DataError: They were not made for the same frames.
        PosenetError: A checkpoint or a dataset cannot be used.
    """
    names = [str(run) for run in runs]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(f"compare: expected two or more different runs, found {', '.join(names)}")
    errors: dict[str, PoseErrors] = {}
    rows: dict[str, dict[str, Any]] = {}
    first: OpenedRun | None = None
    for name in names:
        opened = open_run(Path(name), root, split)
        first = first or opened
        _require_same_frames(first, opened, names[0], name)
        truth = stack_poses([frame.pose for frame in opened.frames])
        sequences = [frame.sequence for frame in opened.frames]
        errors[name] = pose_errors(opened.predict().pose, truth)
        measured = summarise(errors[name])
        measured["intervals_95"] = bootstrap_intervals(errors[name], sequences)
        rows[name] = {
            **in_scene_units(measured, first.scene.metric, first.size),
            "parameters": sum(p.numel() for p in opened.localizer.network.parameters()),
            "megabytes": opened.checkpoint_path.stat().st_size / 1e6,
            "latency_ms": measure_latency(opened),
        }
        if name != names[0]:
            difference = bootstrap_differences(errors[name], errors[names[0]], sequences)
            rows[name]["difference_95"] = in_scene_units(difference, first.scene.metric, first.size)
    comparison = {
        "split": split,
        "frames": len(first.frames),
        "metric": first.scene.metric,
        "scene_size": first.size,
        "runs": rows,
    }
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(json_ready(comparison), indent=2)
        (output / "comparison.json").write_text(text + "\n")
        unit = "m" if first.scene.metric else "units"
        plot_error_cdf(output / "comparison_cdf.png", errors, unit)
    return comparison


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


def comparison_table(comparison: dict[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    """Title, header and rows for people."""
    unit = "m" if comparison["metric"] else "units"
    header = ["run", f"median {unit}", "median deg"]
    header += [f"minus the first, {unit}", "minus the first, deg"]
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
        cells.append(f"{values['parameters'] / 1e6:.2f} M")
        cells += [f"{values['megabytes']:.1f}", f"{values['latency_ms']:.1f}"]
        rows.append(cells)
    title = (
        f"{comparison['frames']} {comparison['split']} frames; in brackets and as differences "
        "95 % intervals of a block bootstrap over these frames"
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
