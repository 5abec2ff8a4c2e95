"""The verb ``predict``: poses of images, videos and webcams, written as they are known."""

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from posenet.conversion.colmap import CAMERAS, IMAGES, POINTS
from posenet.conversion.placing import require_free, require_replaceable
from posenet.errors import DataError, UsageError, look_up, one_line
from posenet.geometry import Intrinsics
from posenet.inference.answers import Localized, is_elsewhere
from posenet.inference.cameras import CAMERA_WARNINGS
from posenet.inference.localizer import Localizer
from posenet.inference.output import POSE_FORMATS, open_writer, require_names
from posenet.inference.overlay import OverlayPainter, fit_picture
from posenet.inference.overlay_files import open_overlay, require_overlay
from posenet.inference.scene_map import scene_map
from posenet.inference.smoothing import smooth_localized
from posenet.inference.sources import Source, find_sources, read_sources, require_sampling
from posenet.inference.video import Sampling
from posenet.progress import report_progress, say

_OTHER_SCENE = (
    "looks unlike the images that the network was trained and validated on; is it of this place? "
    "Its pose may be of no use, as may those of others like it (same_scene in --format json)"
)


@dataclass(frozen=True)
class PredictOptions:
    """What ``posenet predict`` can be told.

    Attributes:
        format_name: A row of ``POSE_FORMATS``.
        output: File or folder to make; lines go to stdout when omitted.
        force: Whether an existing output or overlay is replaced.
        batch_size: Images in memory at a time.
        hypotheses: How many of the most probable poses to add to each line; 0 for none.
        intrinsics: The camera of the images; when omitted it is told from each image.
        sampling: Which frames of videos and webcams.
        smooth_s: Width of the smoothing of recordings in seconds; None for none.
        overlay: Video, folder or picture to draw the images in, with a map.
    """

    format_name: str = "json"
    output: Path | None = None
    force: bool = False
    batch_size: int = 32
    hypotheses: int = 0
    intrinsics: Intrinsics | None = None
    sampling: Sampling = field(default_factory=Sampling)
    smooth_s: float | None = None
    overlay: Path | None = None


def run_predict(
    run: Path, paths: Iterable[str | Path], out: TextIO, options: PredictOptions
) -> int:
    """Predict the poses of images and write each as soon as it is known.

    Args:
        run: A run folder or a checkpoint file.
        paths: Images, folders, patterns, videos, webcams; see
            :func:`posenet.inference.sources.find_sources`.
        out: Where lines go; errors and progress go to stderr.
        options: The rest.

    Returns:
        How many images or paths could not be read.

    Raises:
        PosenetError: The checkpoint, an option or an output cannot be used.
    """
    _require_usable(options)
    localizer = Localizer.load(run)
    if options.hypotheses:
        localizer.require_bins(options.hypotheses)
    sources, errors = find_sources(paths)
    for error in errors:
        say(f"posenet: error: {one_line(error)}")
    if not sources:
        return len(errors)
    _require_fit(sources, options)
    timed = all(source.is_recording for source in sources)
    unreadable = 0
    with ExitStack() as stack:
        draw = None
        if options.overlay is not None:
            painter = OverlayPainter(scene_map(localizer, run))
            draw = stack.enter_context(
                open_overlay(options.overlay, painter, sources, options.sampling)
            )
        write = stack.enter_context(
            open_writer(options.format_name, out, options.output, timed, localizer, options.force)
        )
        counts = [source.count(options.sampling) for source in sources]
        total = None if None in counts else sum(counts)
        report = stack.enter_context(report_progress("predicting"))
        warned: set[str] = set()
        told: set[tuple[str, str]] = set()
        for number, localized in enumerate(_localized(localizer, sources, options)):
            report(number + 1, total)
            if localized.pose is None:
                unreadable += 1
                # What is wrong with a recording is wrong with each of its frames.
                problem = (localized.recording or "", localized.error.replace(localized.name, ""))
                if localized.recording is None or problem not in told:
                    say(f"posenet: error: {one_line(localized.error)}")
                    told.add(problem)
                continue
            _warn(localized, warned)
            write(localized, number)
            if draw is not None:
                draw(localized, number)
    return len(errors) + unreadable


def _localized(
    localizer: Localizer, sources: Sequence[Source], options: PredictOptions
) -> Iterable[Localized]:
    live = any(source.live for source in sources)
    localized = localizer.localize_each(
        read_sources(sources, options.sampling),
        options.hypotheses,
        1 if live else options.batch_size,
        options.intrinsics,
        fit_picture if options.overlay is not None else None,
    )
    if options.smooth_s is None:
        return localized
    return smooth_localized(localized, options.smooth_s, causal=live)


def _warn(localized: Localized, warned: set[str]) -> None:
    """Tell once what is in doubt: the camera of an image, and whether it shows the scene."""
    doubts = {localized.camera.source: CAMERA_WARNINGS.get(localized.camera.source)}
    if is_elsewhere(localized.confidence):
        doubts["scene"] = _OTHER_SCENE
    for kind, doubt in doubts.items():
        if doubt is not None and kind not in warned:
            say(f"posenet: warning: {one_line(localized.name)} {doubt}")
            warned.add(kind)


def _require_usable(options: PredictOptions) -> None:
    """Refuse options that make no sense, whatever the images are.

    Raises:
        UsageError: They do not.
    """
    name = options.format_name
    form = look_up(POSE_FORMATS, name, "output format")
    if options.batch_size < 1:
        raise UsageError(f"--batch-size: expected at least 1, found {options.batch_size}")
    if options.hypotheses and not form.hypotheses:
        raise UsageError(f"--hypotheses: a line of {name} holds one pose; use --format json")
    if form.line is None and options.output is None:
        what = "folder" if name == "colmap" else "file"
        raise UsageError(
            f"--format {name}: is written whole; give the name of a {what} with --output"
        )
    if options.smooth_s is not None and not 0.0 < options.smooth_s < float("inf"):
        raise UsageError(f"--smooth: expected seconds, more than 0, found {options.smooth_s:g}")
    require_sampling(options.sampling, ())


def _require_fit(sources: Sequence[Source], options: PredictOptions) -> None:
    """Refuse options that do not go with the images, before any is predicted.

    Raises:
        PosenetError: They do not.
    """
    recordings = [source for source in sources if source.is_recording]
    if len(sources) > 1 and any(source.live for source in sources):
        raise UsageError("a webcam is used by itself; give other images in another call")
    require_sampling(options.sampling, sources)
    if options.smooth_s is not None and not recordings:
        raise UsageError("--smooth: smooths videos and webcams, found only images")
    form = POSE_FORMATS[options.format_name]
    if form.one_recording and recordings and len(sources) > 1:
        raise UsageError(
            f"--format {options.format_name}: holds one recording, found {len(sources)} images or "
            "videos; predict each by itself, or use --format csv"
        )
    require_names([source.name for source in sources], options.format_name)
    for path in (options.output, options.overlay):
        if path is not None and any(_is_same(path, source.name) for source in sources):
            raise UsageError(f"{path}: is what is to be predicted; give another name")
    if options.output is not None:
        require_free(
            options.output, "model" if options.format_name == "colmap" else "file", options.force
        )
        _require_writable(options.output)
        if options.output.is_dir():  # no line was written before; a model replaces nothing else
            require_replaceable(options.output, (CAMERAS, IMAGES, POINTS))
    if options.overlay is not None:
        if options.output is not None and _is_same(options.overlay, options.output):
            raise UsageError(f"{options.overlay}: is the output too; give another name")
        require_overlay(options.overlay, sources, options.force)


def _is_same(path: Path, other: str | Path) -> bool:
    return path.resolve() == Path(other).resolve()


def _require_writable(path: Path) -> None:
    """Refuse a place where nothing can be written: later, what was predicted would be lost.

    Raises:
        DataError: It is one.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise DataError(
            f"{path}: expected a place that can be written, found that it cannot "
            f"({error.strerror or error}); give another with --output"
        ) from error
