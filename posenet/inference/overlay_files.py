"""Where pictures with a map go: a video, a folder, or a single file."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2

from posenet.errors import DataError, UsageError
from posenet.inference.answers import Localized
from posenet.inference.overlay import OverlayPainter
from posenet.inference.photos import Pixels
from posenet.inference.sources import Source
from posenet.inference.video import Sampling, measure_video
from posenet.staging import require_place, unwritable

OVERLAY_VIDEOS = {".mp4": "mp4v", ".avi": "MJPG"}
_LIVE_RATE = 10.0  # frames a second, where a webcam does not promise any

Draw = Callable[[Localized, int], None]


def require_overlay(path: Path, sources: Sequence[Source], force: bool) -> None:
    """Refuse a name that does not go with the images, or is taken.

    Raises:
        UsageError: It does not, or is.
    """
    recordings = [source for source in sources if source.is_recording]
    suffix = path.suffix.lower()
    if suffix in OVERLAY_VIDEOS and (len(sources), len(recordings)) != (1, 1):
        raise UsageError(
            f"--overlay {path}: a video shows one video or webcam, found {len(sources)} images or "
            "videos; give the name of a folder"
        )
    if suffix == ".png" and (len(sources), len(recordings)) != (1, 0):
        raise UsageError(
            f"--overlay {path}: a picture shows one image, found {_count(sources, recordings)}; "
            "give the name of a folder"
            + (", or of a .mp4 file" if len(recordings) == len(sources) == 1 else "")
        )
    if suffix and suffix not in OVERLAY_VIDEOS and suffix != ".png" and not path.is_dir():
        raise UsageError(
            f"--overlay {path}: expected the name of a .mp4, .avi or .png file or of a folder, "
            f"found {suffix}"
        )
    taken = any(path.iterdir()) if path.is_dir() else path.exists() or path.is_symlink()
    if (suffix in OVERLAY_VIDEOS or suffix == ".png") and path.is_dir():
        raise UsageError(f"{path}: expected the name of a file to write, found a folder")
    if taken and not force:
        raise UsageError(f"{path}: exists already; give another name, or --force to replace it")


@contextmanager
def open_overlay(
    path: Path, painter: OverlayPainter, sources: Sequence[Source], sampling: Sampling
) -> Iterator[Draw]:
    """Where the pictures of localized images go.

    In a folder an image is ``000012-NAME.png`` by its number, a video ``000012-NAME.mp4`` by that
    of its first frame: two images of one name stay apart, and no name leads elsewhere.

    Raises:
        DataError: A file cannot be written.
    """
    rates = {
        source.name: source.length.sampled_rate(sampling) if source.length else _LIVE_RATE
        for source in sources
        if source.is_recording
    }
    into_folder = path.suffix.lower() not in (*OVERLAY_VIDEOS, ".png") or path.is_dir()
    folder = path if into_folder else path.parent
    require_place(folder, "--overlay")
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        videos: dict[str, _Video] = {}

        def draw(localized: Localized, number: int) -> None:
            picture = cv2.cvtColor(painter.paint(localized), cv2.COLOR_RGB2BGR)
            recording = localized.recording
            if recording is None:
                file = path / f"{_plain(localized.name, number)}.png" if into_folder else path
                _write_picture(file, picture)
                return
            if recording not in videos:
                stack.close()  # the one before is whole
                file = path / f"{_plain(recording, number)}.mp4" if into_folder else path
                videos[recording] = _Video(file, rates[recording], picture)
                stack.enter_context(videos[recording])
            videos[recording].write(picture)

        yield draw


def _write_picture(path: Path, picture: Pixels) -> None:
    """Write a PNG, whole or not at all."""
    try:
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise unwritable(path, error, "--overlay") from error


class _Video:
    """A video whose frames all have the size of its first.

    Args:
        path: The file.
        rate: Frames a second.
        first: The first frame, which is not written yet.

    Raises:
        DataError: It cannot be written.
    """

    def __init__(self, path: Path, rate: float, first: Pixels) -> None:
        self.path, self.count = path, 0
        self.size = (first.shape[1], first.shape[0])
        code = cv2.VideoWriter_fourcc(*OVERLAY_VIDEOS[path.suffix.lower()])
        self.writer = cv2.VideoWriter(str(path), code, rate, self.size)
        if not self.writer.isOpened():
            raise DataError(f"{path}: cannot be written; is there room, and the right?")

    def write(self, picture: Pixels) -> None:
        if picture.shape[1::-1] != self.size:
            picture = cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA)
        self.writer.write(picture)
        self.count += 1

    def __enter__(self) -> "_Video":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.writer.release()
        if kind is not None:
            return
        try:  # OpenCV does not tell that it could not write
            found = measure_video(self.path).frames
        except DataError:
            found = 0
        if found < self.count:
            raise DataError(
                f"{self.path}: cannot be written whole, {self.count} frames are meant and {found} "
                "are there; free some space, or choose another place with --overlay"
            )


def _plain(name: str, number: int) -> str:
    """A name for a file: the number makes it the only one, the letters let people find it."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(name).stem).strip("-")[:80]
    return f"{number:06d}-{stem}" if stem else f"{number:06d}"


def _count(sources: Sequence[Source], recordings: Sequence[Source]) -> str:
    if len(recordings) == len(sources) == 1:
        return "a video or webcam"
    return f"{len(sources)} images or videos"
