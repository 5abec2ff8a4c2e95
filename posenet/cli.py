"""The command line: verbs, and errors in one line. Nothing heavy is imported until needed."""

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from posenet.errors import LostProcessError, PosenetError, UsageError, one_line
from posenet.processes import LOST_ANOTHER, explains_itself, is_launched, run_processes
from posenet.staging import NO_SPACE

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code: 0 success, 1 bad input, 2 bad usage, 130 Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files need not be text
    try:
        verb = words[0] if words else ""
        words, settings = split_settings(words) if verb in _WITH_SETTINGS else (words, [])
        options = build_parser().parse_args(words)
        options.words = list(sys.argv[1:] if arguments is None else arguments)
        code = options.run(options, settings)
        sys.stdout.flush()  # here, where a closed pipe is caught
        return code
    except KeyboardInterrupt:
        print("posenet: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output, `head` for example, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except PosenetError as error:
        if debug:
            raise
        if isinstance(error, LostProcessError) and explains_itself():
            return LOST_ANOTHER
        print(f"posenet: error: {one_line(str(error))}", file=sys.stderr)
        return error.exit_code
    except (OSError, MemoryError, RuntimeError) as error:
        message = _outside(error, verb)
        if debug or message is None:
            raise
        print(f"posenet: error: {one_line(message)}", file=sys.stderr)
        return 1


_WITH_SETTINGS = ("train", "inspect", "bench", "shard")
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)
_LESS_MEMORY = {
    "train": "use a smaller --optimization.batch_size, or a smaller --data.width and --data.height",
    "demo": "close other programs",
    "predict": "use a smaller --batch-size",
    "bench": "use smaller --batches and --sizes, or a smaller --optimization.batch_size",
}


def _outside(error: Exception, verb: str) -> str | None:
    """What the system refused, and the cure; None where it is a mistake of ours."""
    if isinstance(error, OSError):
        cure = "correct the path, or choose another"
        if error.errno in NO_SPACE:
            cure = "free some space, or choose another place"
        elif error.errno in _NO_RIGHT:
            cure = "change its rights, or choose another place"
        return f"{error.filename or 'standard output'}: {error.strerror or error}; {cure}"
    # torch is not imported for its class, and has none for the memory of the CPU.
    refused = "OutOfMemoryError" in type(error).__name__ or "can't allocate memory" in str(error)
    if not (refused or isinstance(error, MemoryError)):
        return None
    cure = _LESS_MEMORY.get(verb, "close other programs, or use a machine with more of it")
    return f"out of memory ({str(error).splitlines()[0] if str(error) else 'of the CPU'}); {cure}"


_CAMERA = "FX,FY,CX,CY,WIDTH,HEIGHT"


def split_settings(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take the ``--group.name VALUE`` settings, known or not, out of a command line.

    argparse alone would take the value of a setting for the configuration file.
    """
    own = {"--resume", "--settings", "--debug", "--help"}
    if words[0] != "train":
        own |= {word for word in words if word.startswith("--") and "." not in word.split("=")[0]}
    rest: list[str] = []
    settings: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if not word.startswith("--") or word in own:
            rest.append(word)
        elif "=" in word:
            settings.append(word)
        else:
            value = next(remaining, None)
            if value is None or value.startswith("--"):
                raise UsageError(f"{word}: expected a value after it")
            settings.append(f"{word}={value}")
    return rest, settings


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    parser = argparse.ArgumentParser(
        prog="posenet",
        description="Camera pose from one image: where the camera stood and which way it looked.",
        epilog="posenet demo shows everything on a generated room in a few minutes.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    verb = _add(verbs, "demo", _demo, "toy room, training, evaluation and prediction in one go")
    verb.add_argument("--output", help="folder to make (runs/demo, or the first free runs/demo-N)")
    verb.add_argument("--seed", type=int, default=0, help="another room, another training (0)")

    verb = _add(
        verbs,
        "train",
        _train,
        "train a network on a folder of posed images",
        epilog="Any setting can follow as --group.name VALUE; --settings lists them all.",
    )
    verb.add_argument(
        "config", nargs="?", type=Path, help="YAML file of settings, or a run folder to resume"
    )
    verb.add_argument("--resume", action="store_true", help="continue an interrupted run")
    verb.add_argument("--settings", action="store_true", help="list every setting and exit")

    verb = _add(
        verbs, "inspect", _inspect, "are the poses of a dataset right? before training on it"
    )
    verb.add_argument("folder", metavar="FOLDER", help="the dataset")
    verb.add_argument("--output", type=Path, help="folder for the page (inspection-NAME)")
    verb.add_argument("--json", action="store_true", help="print inspection.json on stdout")

    verb = _add(
        verbs,
        "shard",
        _shard,
        "a dataset as a few large tars that training can stream (webdataset's layout)",
        epilog="--data.format, --data.intrinsics and --data.depth_registered can follow, as for "
        "train. Images are copied as they are.",
    )
    verb.add_argument("source", metavar="SRC", type=Path, help="a dataset of any format")
    verb.add_argument("destination", metavar="DST", type=Path, help="folder to make")
    verb.add_argument(
        "--frames-per-shard", metavar="N", type=_count, default=1000, help="at most (1000)"
    )

    verb = _add(
        verbs,
        "convert",
        _convert,
        "poses of any format to any other",
        epilog="Only poses are written; images stay where they are.",
    )
    verb.add_argument("source", metavar="SRC", type=Path, help="a dataset, or a file of poses")
    verb.add_argument("destination", metavar="DST", type=Path, help="file or folder to make")
    verb.add_argument(
        "--to",
        metavar="FORMAT",
        required=True,
        help="tum, colmap, transforms, csv, kitti, 7scenes or visloc",
    )
    verb.add_argument(
        "--from",
        metavar="FORMAT",
        dest="from_format",
        default="auto",
        help="format of SRC (recognised by what is in it)",
    )
    verb.add_argument(
        "--intrinsics", metavar=_CAMERA, type=_intrinsics, help="camera, where SRC knows none"
    )
    verb.add_argument("--force", action="store_true", help="replace DST")

    verb = _add(
        verbs,
        "evaluate",
        _evaluate,
        "measure a run on its test split, or the predictions in a file",
        epilog="posenet evaluate RUN, or posenet evaluate --predictions FILE --ground-truth PATH",
    )
    verb.add_argument(
        "run_folder", metavar="RUN", type=Path, nargs="?", help="run folder or checkpoint file"
    )
    verb.add_argument(
        "--predictions", metavar="FILE", type=Path, help="poses in a file, instead of RUN"
    )
    _add_measuring(verb)
    verb.add_argument(
        "--output", type=Path, help="folder for the files (the run folder; none without RUN)"
    )
    verb.add_argument("--json", action="store_true", help="print evaluation.json on stdout")
    verb.add_argument(
        "--devices",
        metavar="N",
        type=int,
        default=1,
        help="processes of this machine that share the images, a GPU each if there are any (1)",
    )
    verb.add_argument(
        "--other-scene",
        metavar="FOLDER",
        type=Path,
        action="append",
        default=[],
        help="images of another place: how well does RUN tell them apart? (can be repeated)",
    )

    verb = _add(
        verbs,
        "compare",
        _compare,
        "measure runs and files of predictions on the same frames, against the first",
    )
    verb.add_argument(
        "methods",
        metavar="RUN|FILE",
        type=Path,
        nargs="+",
        help="run folders, checkpoints or files of predictions",
    )
    _add_measuring(verb)
    verb.add_argument("--output", type=Path, help="folder for comparison.json and a picture")
    verb.add_argument("--json", action="store_true", help="print comparison.json on stdout")

    verb = _add(verbs, "predict", _predict, "poses of images that have none")
    verb.add_argument(
        "run_folder", metavar="RUN", type=Path, help="run folder, checkpoint file or .onnx file"
    )
    verb.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="images, folders, patterns ('room/**/*.jpg'), videos, or a webcam (camera:0)",
    )
    verb.add_argument(
        "--format",
        default="json",
        help="json (a line each), csv, tum, visloc, colmap or transforms",
    )
    verb.add_argument(
        "--output", type=Path, help="file, or folder of colmap, to make (lines go to stdout)"
    )
    verb.add_argument("--force", action="store_true", help="replace --output and --overlay")
    frames = verb.add_mutually_exclusive_group()
    frames.add_argument(
        "--every", metavar="SECONDS", type=float, help="of a video, one frame every so often"
    )
    frames.add_argument("--stride", metavar="N", type=int, help="of a video, every N-th frame (1)")
    verb.add_argument(
        "--smooth", metavar="SECONDS", type=float, help="smooth a video over about so long (not)"
    )
    verb.add_argument(
        "--overlay",
        metavar="FILE",
        type=Path,
        help="draw the images with a map: a .mp4 or .png file, or a folder",
    )
    verb.add_argument("--batch-size", type=int, default=32, help="images in memory at a time (32)")
    verb.add_argument(
        "--hypotheses",
        metavar="N",
        type=int,
        default=0,
        help="add the N most probable poses, of a run with viewpoint bins (json only)",
    )

    verb.add_argument(
        "--intrinsics",
        metavar=_CAMERA,
        type=_intrinsics,
        help="camera of the images, pixels (from EXIF, else that of the training images)",
    )

    verb = _add(verbs, "export", _export, "a run as one file that needs no torch (ONNX)")
    verb.add_argument("run_folder", metavar="RUN", type=Path, help="run folder or checkpoint file")
    verb.add_argument("--to", metavar="FORMAT", default="onnx", help="onnx (default), torch-export")
    verb.add_argument("--output", metavar="FILE", type=Path, help="file to make (RUN/model.onnx)")
    verb.add_argument("--force", action="store_true", help="replace the file")
    verb.add_argument(
        "--images",
        metavar="PATH",
        type=Path,
        nargs="+",
        help="compare with the run on these (on frames of its dataset)",
    )
    verb.add_argument(
        "--tolerance-deg", metavar="DEG", type=float, default=1e-3, help="most it may differ (1e-3)"
    )
    verb.add_argument(
        "--tolerance-m",
        metavar="M",
        type=float,
        help="likewise (1e-4, more where the scene is larger than 10 m)",
    )

    verb = _add(
        verbs,
        "bench",
        _bench,
        "how fast loading, training and predicting are here, and what to change",
        epilog="Any setting of posenet train can follow as --group.name VALUE.",
    )
    verb.add_argument("config", nargs="?", type=Path, help="YAML file of settings, or a run folder")
    verb.add_argument(
        "--backbones", metavar="NAME,...", type=_words, default=[], help="which to measure (all)"
    )
    verb.add_argument(
        "--sizes",
        metavar="WIDTHxHEIGHT,...",
        type=_sizes,
        default=[],
        help="of images for these (those of the settings)",
    )
    verb.add_argument(
        "--batches",
        metavar="N,...",
        type=_counts,
        default=[1, 8, 32],
        help="images that are predicted at a time (1,8,32)",
    )
    verb.add_argument(
        "--quick", action="store_true", help="a look at what there is to measure; no figures to use"
    )
    verb.add_argument("--json", action="store_true", help="print the results as JSON on stdout")
    verb.add_argument("--output", metavar="FILE", type=Path, help="write them as JSON")
    verb.add_argument("--force", action="store_true", help="replace the file")
    verb.add_argument(
        "--against", metavar="FILE", type=Path, help="ratios to what --output wrote earlier"
    )

    verb = _add(verbs, "losses", _losses, "the losses: formulas, robustness, pictures")
    verb.add_argument(
        "--plot", metavar="FOLDER", type=_folder, help="write a page with pictures into this folder"
    )
    return parser


def _add_measuring(verb: argparse.ArgumentParser) -> None:
    """What evaluate and compare have in common."""
    verb.add_argument("--root", help="where the dataset of a run lies now")
    verb.add_argument(
        "--same-place",
        action="store_true",
        help="measure a run on images of its place that are not of its dataset",
    )
    verb.add_argument(
        "--ground-truth",
        metavar="PATH",
        type=Path,
        help="true poses for files of predictions: another file, or the folder of a dataset",
    )
    for what in ("predictions", "ground-truth"):
        verb.add_argument(
            f"--{what}-format",
            metavar="FORMAT",
            help="tum, visloc, colmap, csv, ... (recognised by what is in it)",
        )
    verb.add_argument(
        "--split",
        choices=("test", "validation", "train", "all"),
        help="which frames (test); all only of a ground truth",
    )
    verb.add_argument(
        "--recall",
        metavar="LIST",
        help="thresholds: 7scenes, visloc-day-night, inloc, mapfree, cambridge (none), or "
        "METRES:DEGREES,... such as 0.05:5,0.25:2",
    )
    verb.add_argument(
        "--time-tolerance",
        metavar="SECONDS",
        type=_seconds,
        help="how far timestamps of one frame may differ (0.01)",
    )
    verb.add_argument(
        "--metric",
        action="store_true",
        help="the ground truth is in metres, where its format does not promise it",
    )


class _Version(argparse.Action):
    """Prints the version without the cost of looking it up on every call."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from posenet.version import __version__

        print(f"posenet {__version__}")
        parser.exit()


def _add(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace, list[str]], int],
    help_text: str,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(
        name, help=help_text, description=help_text, epilog=epilog, allow_abbrev=False
    )
    verb.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verb.set_defaults(run=run)
    return verb


def _demo(options: argparse.Namespace, _: list[str]) -> int:
    from posenet.demo import free_folder, run_demo

    run_demo(Path(options.output) if options.output else free_folder(), options.seed)
    return 0


def _train(options: argparse.Namespace, settings: list[str]) -> int:
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


def _inspect(options: argparse.Namespace, settings: list[str]) -> int:
    from posenet.config import load_config
    from posenet.inspection.run import run_inspect

    for word in settings:
        if not word.startswith("--data."):
            raise UsageError(f"{word.split('=')[0]}: posenet inspect takes settings of data only")
    config = load_config(None, [*settings, f"--data.root={options.folder}"])
    return run_inspect(config.data, options.output, options.json)


# The other settings of data decide how shards are read.
_OF_SHARDS = ("--data.format", "--data.intrinsics", "--data.depth_registered")


def _shard(options: argparse.Namespace, settings: list[str]) -> int:
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


def _convert(options: argparse.Namespace, _: list[str]) -> int:
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


def _evaluate(options: argparse.Namespace, _: list[str]) -> int:
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


def _compare(options: argparse.Namespace, _: list[str]) -> int:
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


def _predict(options: argparse.Namespace, _: list[str]) -> int:
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


def _export(options: argparse.Namespace, _: list[str]) -> int:
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


def _bench(options: argparse.Namespace, settings: list[str]) -> int:
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


def _losses(options: argparse.Namespace, _: list[str]) -> int:
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


def _intrinsics(text: str) -> list[float]:
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 6 or not all(0.0 < value < float("inf") for value in values):
        raise argparse.ArgumentTypeError(
            "expected focal_x,focal_y,center_x,center_y,width,height in pixels, all above 0, "
            f"found {text!r}"
        )
    return [*values[:4], round(values[4]), round(values[5])]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _counts(text: str) -> list[int]:
    return [_count(word) for word in text.split(",")]


def _sizes(text: str) -> list[tuple[int, int]]:
    try:
        sizes = [tuple(int(side) for side in word.split("x")) for word in text.split(",")]
    except ValueError:
        sizes = [()]
    if any(len(size) != 2 for size in sizes):
        raise argparse.ArgumentTypeError(
            f"expected WIDTHxHEIGHT in pixels, such as 224x168, found {text!r}"
        )
    return sizes


def _count(text: str) -> int:
    value = int(text) if text.isascii() and text.isdecimal() else 0
    if not 0 < value < 10**9:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, found {text!r}")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, found {text!r}")
    return value


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, found nothing")
    return Path(text)


if __name__ == "__main__":
    sys.exit(main())
