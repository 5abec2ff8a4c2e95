"""The words that each verb understands."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from posenet.cli import arguments
from posenet.cli import verbs as verbs_of
from posenet.cli.arguments import CAMERA
from posenet.errors import UsageError

# Verbs that take settings as --group.name VALUE.
WITH_SETTINGS = ("train", "inspect", "bench", "shard")


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

    verb = _add(
        verbs, "demo", verbs_of.demo, "toy room, training, evaluation and prediction in one go"
    )
    verb.add_argument("--output", help="folder to make (runs/demo, or the first free runs/demo-N)")
    verb.add_argument("--seed", type=int, default=0, help="another room, another training (0)")

    verb = _add(
        verbs,
        "train",
        verbs_of.train,
        "train a network on a folder of posed images",
        epilog="Any setting can follow as --group.name VALUE; --settings lists them all.",
    )
    verb.add_argument(
        "config", nargs="?", type=Path, help="YAML file of settings, or a run folder to resume"
    )
    verb.add_argument("--resume", action="store_true", help="continue an interrupted run")
    verb.add_argument("--settings", action="store_true", help="list every setting and exit")

    verb = _add(
        verbs,
        "inspect",
        verbs_of.inspect,
        "are the poses of a dataset right? before training on it",
    )
    verb.add_argument("folder", metavar="FOLDER", help="the dataset")
    verb.add_argument("--output", type=Path, help="folder for the page (inspection-NAME)")
    verb.add_argument("--json", action="store_true", help="print inspection.json on stdout")

    verb = _add(
        verbs,
        "shard",
        verbs_of.shard,
        "a dataset as a few large tars that training can stream (webdataset's layout)",
        epilog="--data.format, --data.intrinsics and --data.depth_registered can follow, as for "
        "train. Images are copied as they are.",
    )
    verb.add_argument("source", metavar="SRC", type=Path, help="a dataset of any format")
    verb.add_argument("destination", metavar="DST", type=Path, help="folder to make")
    verb.add_argument(
        "--frames-per-shard", metavar="N", type=arguments.count, default=1000, help="at most (1000)"
    )

    verb = _add(
        verbs,
        "convert",
        verbs_of.convert,
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
        "--intrinsics",
        metavar=CAMERA,
        type=arguments.intrinsics,
        help="camera, where SRC knows none",
    )
    verb.add_argument("--force", action="store_true", help="replace DST")

    verb = _add(
        verbs,
        "evaluate",
        verbs_of.evaluate,
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
        verbs_of.compare,
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

    verb = _add(verbs, "predict", verbs_of.predict, "poses of images that have none")
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
        metavar=CAMERA,
        type=arguments.intrinsics,
        help="camera of the images, pixels (from EXIF, else that of the training images)",
    )

    verb = _add(verbs, "export", verbs_of.export, "a run as one file that needs no torch (ONNX)")
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
        verbs_of.bench,
        "how fast loading, training and predicting are here, and what to change",
        epilog="Any setting of posenet train can follow as --group.name VALUE.",
    )
    verb.add_argument("config", nargs="?", type=Path, help="YAML file of settings, or a run folder")
    verb.add_argument(
        "--backbones",
        metavar="NAME,...",
        type=arguments.words,
        default=[],
        help="which to measure (all)",
    )
    verb.add_argument(
        "--sizes",
        metavar="WIDTHxHEIGHT,...",
        type=arguments.sizes,
        default=[],
        help="of images for these (those of the settings)",
    )
    verb.add_argument(
        "--batches",
        metavar="N,...",
        type=arguments.counts,
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

    verb = _add(verbs, "losses", verbs_of.losses, "the losses: formulas, robustness, pictures")
    verb.add_argument(
        "--plot",
        metavar="FOLDER",
        type=arguments.folder,
        help="write a page with pictures into this folder",
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
        type=arguments.seconds,
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
