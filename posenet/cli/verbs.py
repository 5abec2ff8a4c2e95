"""What each verb does with its words; what it needs is imported there."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posenet.errors import UsageError
from posenet.processes import is_launched, run_processes


def demo(options: argparse.Namespace, _: list[str]) -> int:
    """A toy room, a training, an evaluation and predictions in one go."""
    from posenet.demo import free_folder, run_demo

    run_demo(Path(options.output) if options.output else free_folder(), options.seed)
    return 0


def train(options: argparse.Namespace, settings: list[str]) -> int:
    """Train a network, or start the processes that do."""
    from posenet.config import describe_settings, load_run_config
    from posenet.progress import say

    if options.settings:
        print(describe_settings())
        return 0
    config = load_run_config(options.config, settings)
    from posenet.training.requirements import processes_to_start
    from posenet.training.run import run_folder, train

    processes = processes_to_start(config)
    if processes > 1:
        cure = "go on from the last epoch with --resume"
        return run_processes(options.words, processes, config.trainer.threads, cure)
    try:
        result = train(config, resume=options.resume)
    except (OSError, RuntimeError) as error:
        # torch hides what stopped its writing behind an error about its own file.
        refused = error if isinstance(error, OSError) else error.__context__
        if not isinstance(refused, OSError):
            raise
        refused.filename = refused.filename or str(run_folder(config))  # writes do not tell theirs
        raise refused from None
    best = f"best epoch {result.best_epoch}, " if result.best_epoch else ""
    say(f"{result.folder}: {best}next: posenet evaluate {result.folder}")
    return 0


def inspect(options: argparse.Namespace, settings: list[str]) -> int:
    """Hold the poses of a dataset against its images."""
    from posenet.config import load_config
    from posenet.inspection.run import run_inspect

    for word in settings:
        if not word.startswith("--data."):
            raise UsageError(f"{word.split('=')[0]}: posenet inspect takes settings of data only")
    config = load_config(None, [*settings, f"--data.root={options.folder}"])
    return run_inspect(config.data, options.output, options.json)


# The other settings of data decide how shards are read.
_OF_SHARDS = ("--data.format", "--data.intrinsics", "--data.depth_registered")


def shard(options: argparse.Namespace, settings: list[str]) -> int:
    """Pack a dataset into tars."""
    from posenet.config import load_config

    for word in settings:
        name = word.split("=")[0]
        if name not in _OF_SHARDS:
            raise UsageError(f"{name}: posenet shard takes the settings {', '.join(_OF_SHARDS)}")
    config = load_config(None, [*settings, f"--data.root={options.source}"])
    from posenet.datasets.sharding import write_shards
    from posenet.progress import report_progress

    with report_progress("copying frames") as report:
        made = write_shards(config.data, options.destination, options.frames_per_shard, report)
    print(
        f"{options.destination}: {made.frames} frames in {len(made.shards)} shards, "
        f"{made.size / 1e6:.1f} MB; next: posenet train --data.root {options.destination} "
        "--data.stream true",
        file=sys.stderr,
    )
    return 0


def convert(options: argparse.Namespace, _: list[str]) -> int:
    """Poses of one format to another."""
    from posenet.conversion.convert import run_convert

    run_convert(
        options.source,
        options.destination,
        options.to,
        options.from_format,
        options.intrinsics,
        options.force,
    )
    return 0


def evaluate(options: argparse.Namespace, _: list[str]) -> int:
    """Measure a run, or the predictions in a file."""
    import json

    if (options.run_folder is None) == (options.predictions is None):
        raise UsageError("evaluate: expected either a RUN or --predictions FILE")
    if (options.predictions is None) != (options.ground_truth is None):
        raise UsageError("evaluate: expected --predictions and --ground-truth together")
    if options.predictions is None:
        _refuse_unused(options, _OF_FILES, "--predictions")
    else:
        _refuse_unused(options, ("root", "same_place", "other_scene"), "RUN")
    if options.devices < 1:
        raise UsageError(f"--devices: expected at least 1, found {options.devices}")
    if options.devices > 1 and not is_launched():
        if options.predictions is not None:
            raise UsageError("--devices: goes with RUN")
        return run_processes(options.words, options.devices)
    from posenet.evaluation.evaluate import evaluate
    from posenet.evaluation.files import evaluate_file
    from posenet.evaluation.metrics import json_ready
    from posenet.evaluation.summary_table import format_evaluation

    if options.predictions is None:
        evaluation = evaluate(
            options.run_folder,
            root=options.root,
            split=_split_of_run(options),
            output=options.output,
            recall=_recall(options),
            same_place=options.same_place,
            other_scenes=options.other_scene,
        )
        if evaluation is None:  # the first process speaks for all
            return 0
    else:
        evaluation = evaluate_file(
            options.predictions,
            options.ground_truth,
            output=options.output,
            split=options.split,
            **_how_to_measure(options),
        )
    if options.json:
        print(json.dumps(json_ready(evaluation.summary), indent=2))
    else:
        print(format_evaluation(evaluation.summary))
    if evaluation.folder is not None:
        print(
            f"wrote {evaluation.folder / 'report.html'}, and its numbers and pictures beside it",
            file=sys.stderr,
        )
    return 0


_OF_FILES = ("predictions_format", "ground_truth_format", "time_tolerance", "metric")


def _refuse_unused(options: argparse.Namespace, names: Sequence[str], what: str) -> None:
    """An option that changes nothing is a mistake."""
    for name in names:
        value = getattr(options, name)
        given = not (value is None or value is False or value == [])
        if given:
            raise UsageError(f"--{name.replace('_', '-')}: goes with {what}")


def _recall(options: argparse.Namespace) -> tuple[tuple[float, float], ...]:
    from posenet.evaluation.recall import parse_recall

    return parse_recall(options.recall or "default")


def _split_of_run(options: argparse.Namespace) -> str:
    if options.split == "all":
        raise UsageError("--split all: a run is measured on test, validation or train frames")
    return options.split or "test"


def _how_to_measure(options: argparse.Namespace) -> dict[str, Any]:
    """What files of predictions are measured by."""
    how = {"recall": _recall(options), "metric": options.metric or None}
    for name, ours in (
        ("predictions_format", "predictions_format"),
        ("ground_truth_format", "ground_truth_format"),
        ("time_tolerance", "tolerance_s"),
    ):
        if getattr(options, name) is not None:
            how[ours] = getattr(options, name)
    return how


def compare(options: argparse.Namespace, _: list[str]) -> int:
    """Measure several methods beside each other."""
    import json

    from posenet.evaluation.compare import compare, comparison_table
    from posenet.evaluation.metrics import json_ready
    from posenet.progress import show_table

    if options.ground_truth is None:
        _refuse_unused(options, ("ground_truth_format", "metric"), "--ground-truth")
    comparison = compare(
        options.methods,
        root=options.root,
        split=options.split,
        output=options.output,
        ground_truth=options.ground_truth,
        same_place=options.same_place,
        **_how_to_measure(options),
    )
    if options.json:
        print(json.dumps(json_ready(comparison), indent=2))
    else:
        show_table(*comparison_table(comparison, recalls=options.recall is not None))
    return 0


def predict(options: argparse.Namespace, _: list[str]) -> int:
    """Poses of new images."""
    from posenet.geometry import Intrinsics
    from posenet.inference.predict import PredictOptions, run_predict
    from posenet.inference.video import Sampling

    wanted = PredictOptions(
        format_name=options.format,
        output=options.output,
        force=options.force,
        batch_size=options.batch_size,
        hypotheses=options.hypotheses,
        intrinsics=Intrinsics(*options.intrinsics) if options.intrinsics else None,
        sampling=Sampling(1 if options.stride is None else options.stride, options.every),
        smooth_s=options.smooth,
        overlay=options.overlay,
    )
    unreadable = run_predict(options.run_folder, options.paths, sys.stdout, wanted)
    return 1 if unreadable else 0


def export(options: argparse.Namespace, _: list[str]) -> int:
    """A run as one file that needs no torch."""
    from posenet.inference.export import describe_export, export_run

    exported = export_run(
        options.run_folder,
        options.to,
        options.output,
        force=options.force,
        images=options.images,
        tolerance_deg=options.tolerance_deg,
        tolerance_m=options.tolerance_m,
    )
    print(describe_export(exported))
    if exported.path.suffix == ".onnx":
        print(f"next: posenet predict {exported.path} photo.jpg", file=sys.stderr)
    else:
        print(f"next, in Python: torch.export.load({str(exported.path)!r})", file=sys.stderr)
    return 0


def bench(options: argparse.Namespace, settings: list[str]) -> int:
    """How fast this machine is."""
    import json

    from posenet.config import load_run_config

    config = load_run_config(options.config, settings)
    from posenet.benchmark.run import BenchOptions, run_benchmark
    from posenet.benchmark.tables import show_results

    wanted = BenchOptions(
        backbones=options.backbones,
        sizes=options.sizes,
        batches=options.batches,
        quick=options.quick,
        output=options.output,
        force=options.force,
        against=options.against,
        needs_root=any(word.startswith("--data.root=") for word in settings),
    )
    results = run_benchmark(config, wanted)
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        show_results(results)
    return 0


def losses(options: argparse.Namespace, _: list[str]) -> int:
    """Tables and pictures of the losses."""
    from posenet.gallery.tables import loss_tables
    from posenet.progress import report_progress, show_table

    if options.plot is not None:
        from posenet.gallery.page import write_page

        with report_progress("drawing") as report:
            page = write_page(options.plot, report)
        print(f"wrote {page} and its pictures", file=sys.stderr)
    for table in loss_tables().values():
        show_table(*table)
    return 0
