"""Frames of video files and webcams, one at a time, upright as OpenCV turns them."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2

from posenet.errors import DataError
from posenet.inference.photos import Photo, Unreadable
from posenet.progress import say

VIDEO_SUFFIXES = frozenset(
    (
        ".3gp",
        ".avi",
        ".flv",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ogv",
        ".ts",
        ".webm",
        ".wmv",
    )
)
CAMERA_PREFIX = "camera:"

# Containers count frames by duration and rate, which misses the true number by a few.
_ENDS_EARLY = 0.98
_SAME_TIME_S = 1e-3  # containers count milliseconds


class Sampling(NamedTuple):
    """Which frames of a recording are wanted.

    Attributes:
        stride: Every so many-th.
        every_s: One every so many seconds, in place of a stride.
    """

    stride: int = 1
    every_s: float | None = None


class VideoLength(NamedTuple):
    """What a video's header says of it.

    Attributes:
        frames: How many it has; 0 where that is not known.
        rate: Frames a second; 0 where that is not known.
    """

    frames: int
    rate: float

    def sampled(self, sampling: Sampling) -> int | None:
        """How many frames are wanted; None where that is not known."""
        if not self.frames or (sampling.every_s and not self.rate):
            return None
        if sampling.every_s:
            return min(self.frames, int((self.frames - 1) / self.rate / sampling.every_s) + 1)
        return -(-self.frames // sampling.stride)

    def sampled_rate(self, sampling: Sampling) -> float:
        """Wanted frames a second; 30 a second where the video's own rate is not known."""
        rate = self.rate or 30.0
        return min(rate, 1.0 / sampling.every_s) if sampling.every_s else rate / sampling.stride


def measure_video(path: Path) -> VideoLength:
    """What the header of a video says.

    Raises:
        DataError: It cannot be opened.
    """
    with _opened(path) as capture:
        return _length(capture)


def read_video(path: Path, sampling: Sampling) -> Iterator[Photo | Unreadable]:
    """The frames of a video, and at the end an :class:`Unreadable` where frames are missing.

    A frame is called ``FILE#000120`` by its place in the video, from 0.

    Raises:
        DataError: It cannot be opened.
    """
    with _opened(path) as capture:
        length = _length(capture)
        found, due_s, time_s = 0, 0.0, -1.0
        while capture.grab():
            number, found = found, found + 1
            time_s = _time_s(capture, length.rate, time_s)
            if sampling.every_s is None and number % sampling.stride:
                continue
            if sampling.every_s is not None:
                if time_s < due_s - _SAME_TIME_S:
                    continue
                # From the beginning each time: a sum drifts, and a frame may come a hair early.
                due_s = sampling.every_s * ((time_s + _SAME_TIME_S) // sampling.every_s + 1)
            decoded, image = capture.retrieve()
            if not decoded:
                problem = f"{path}: frame {number} cannot be decoded; it is left out"
                yield Unreadable(str(path), problem, recording=str(path))
                continue
            name = f"{path}#{number:06d}"
            yield Photo(name, cv2.cvtColor(image, cv2.COLOR_BGR2RGB), None, str(path), time_s)
    if not found or found < _ENDS_EARLY * length.frames - 1:
        of = f" of {length.frames}" if length.frames else ""
        yield Unreadable(
            str(path),
            f"{path}: expected a whole video, found that it ends after {found}{of} frames; copy it "
            "again",
        )


def read_camera(name: str, sampling: Sampling) -> Iterator[Photo | Unreadable]:
    """The frames of a webcam as they come, until Ctrl-C, which ends them like the end of a video.

    Args:
        name: ``camera:0``, by the number that the system gives it.
        sampling: Which frames.

    Raises:
        DataError: The webcam does not answer.
    """
    with _quiet():
        capture = cv2.VideoCapture(camera_index(name))
    try:
        if not capture.isOpened():
            raise DataError(
                f"{name}: expected a webcam, found none that answers; is it plugged in, and used "
                "by no other program?"
            )
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # a frame that waited is late
        say(f"{name}: Ctrl-C ends it")
        number, start_s, due_s = 0, time.monotonic(), 0.0
        with _interrupt_noted() as interrupted:
            while not interrupted.is_set():
                read, image = capture.read()
                if interrupted.is_set():
                    return
                if not read:
                    yield Unreadable(name, f"{name}: gave no more images after {number}")
                    return
                time_s = time.monotonic() - start_s
                due = number % sampling.stride == 0
                if sampling.every_s is not None and (due := time_s >= due_s):
                    due_s = time_s + sampling.every_s
                if due:
                    pixels = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                    yield Photo(f"{name}#{number:06d}", pixels, None, name, time_s)
                number += 1
    finally:
        capture.release()


def camera_index(name: str) -> int | None:
    """The number of a webcam that is called ``camera:0``; None for any other name."""
    number = name.removeprefix(CAMERA_PREFIX)
    return int(number) if number != name and number.isdecimal() else None


def _time_s(capture: cv2.VideoCapture, rate: float, before_s: float) -> float:
    """When the frame that was grabbed is shown: later than the one before, whatever is said.

    Recordings that were cut together begin to count again, and some do not count at all.
    """
    time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
    if time_s > before_s:
        return time_s
    return before_s + 1.0 / (rate or 30.0)


def _length(capture: cv2.VideoCapture) -> VideoLength:
    frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    rate = capture.get(cv2.CAP_PROP_FPS)
    return VideoLength(
        int(frames) if 0 < frames < 1e9 else 0, float(rate) if 0 < rate < 1000 else 0.0
    )


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    with _quiet():
        capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            found = "none that can be read" if path.exists() else "nothing"
            raise DataError(f"{path}: expected a video, found {found}; copy it again")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # as a phone was held
        yield capture
    finally:
        capture.release()


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV and FFmpeg say on stderr what we say in a line of our own."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    logging = cv2.utils.logging
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)


@contextmanager
def _interrupt_noted() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, once; the second one interrupts as ever."""
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted  # only the main thread can listen
        return

    def note(*_: object) -> None:
        noted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)
