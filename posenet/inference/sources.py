"""What the paths of ``posenet predict`` mean: images, folders, patterns, videos and webcams."""

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from posenet.datasets.images import IMAGE_SUFFIXES
from posenet.errors import DataError, UsageError
from posenet.inference.photos import Photo, Unreadable
from posenet.inference.video import (
    CAMERA_PREFIX,
    VIDEO_SUFFIXES,
    Sampling,
    VideoLength,
    camera_index,
    measure_video,
    read_camera,
    read_video,
)


class Source(NamedTuple):
    """An image file, a video or a webcam.

    Attributes:
        name: As it was given.
        length: Of a video.
        live: Whether it is a webcam.
    """

    name: str
    length: VideoLength | None = None
    live: bool = False

    @property
    def is_recording(self) -> bool:
        """Whether it has frames, at times."""
        return self.live or self.length is not None

    def count(self, sampling: Sampling) -> int | None:
        """How many images it gives; None where that is not known."""
        if self.live:
            return None
        return 1 if self.length is None else self.length.sampled(sampling)


def find_sources(paths: Iterable[str | Path]) -> tuple[list[Source], list[str]]:
    """What lies at the paths, in their order, and an error for each that is of no use.

    Args:
        paths: Images, folders of images, patterns such as ``room/**/*.jpg``, videos, and webcams
            as ``camera:0``.
    """
    sources: list[Source] = []
    errors: list[str] = []
    for path in map(str, paths):
        try:
            if camera_index(path) is not None:
                sources.append(Source(path, live=True))
                continue
            if path.startswith(CAMERA_PREFIX):
                raise DataError(f"{path}: expected the number of a webcam, such as camera:0")
            for file in _expand(path):
                try:
                    is_video = file.suffix.lower() in VIDEO_SUFFIXES
                    sources.append(Source(str(file), measure_video(file) if is_video else None))
                except DataError as error:
                    errors.append(str(error))
        except DataError as error:
            errors.append(str(error))
    # A recording is worth asking once; its frames would have one name.
    known: set[str] = set()
    unique = []
    for source in sources:
        if not (source.is_recording and source.name in known):
            unique.append(source)
        known.add(source.name)
    return unique, errors


def require_sampling(sampling: Sampling, sources: Sequence[Source]) -> None:
    """Refuse a choice of frames that chooses none, or where there are no frames to choose from.

    Raises:
        UsageError: It does.
    """
    if sampling.stride < 1:
        raise UsageError(f"--stride: expected at least 1, found {sampling.stride}")
    if sampling.every_s is not None and not 0.0 < sampling.every_s < float("inf"):
        raise UsageError(f"--every: expected seconds, more than 0, found {sampling.every_s:g}")
    if sources and sampling != Sampling() and not any(source.is_recording for source in sources):
        raise UsageError(
            "--every, --stride: choose among the frames of videos and webcams, found only images"
        )


def read_sources(
    sources: Iterable[Source], sampling: Sampling
) -> Iterator[Path | Photo | Unreadable]:
    """All images, one after the other: files as paths, frames as they are reached."""
    for source in sources:
        if not source.is_recording:
            yield Path(source.name)
            continue
        try:
            if source.live:
                yield from read_camera(source.name, sampling)
            else:
                yield from read_video(Path(source.name), sampling)
        except DataError as error:
            yield Unreadable(source.name, str(error))


def find_images(path: Path) -> list[Path]:
    """The images of a folder and the folders below it, sorted; any other path is one image.

    Raises:
        DataError: The folder holds no image.
    """
    if not path.is_dir():
        return [path]
    images = sorted(entry for entry in path.rglob("*") if _is_photograph(entry))
    if not images:
        raise DataError(f"{path}: holds no image; give an image, a video or a folder of images")
    return images


def _expand(path: str) -> list[Path]:
    """The files that a path, a folder or a pattern stands for.

    Raises:
        DataError: It stands for none.
    """
    if Path(path).exists() or not glob.has_magic(path):
        return find_images(Path(path))
    found = sorted(_matches(path))
    files = [
        file
        for file in found
        if _is_photograph(file) or (file.suffix.lower() in VIDEO_SUFFIXES and file.is_file())
    ]
    folders = [] if files else [file for file in found if file.is_dir()]
    files += [image for folder in folders for image in find_images(folder)]
    if not files:
        what = f"{len(found)} files of other kinds" if found else "nothing"
        raise DataError(
            f"{path}: expected a pattern of images or videos, found {what}; correct it, and quote "
            "it, so that the shell leaves it alone"
        )
    return list(dict.fromkeys(files))


def _matches(pattern: str) -> set[Path]:
    """What a pattern stands for; ``**`` follows no links, which may lead back to where they are."""
    parts = Path(pattern).parts
    at = parts.index("**") if "**" in parts else len(parts)
    tops = map(Path, glob.glob(str(Path(*parts[:at])) if at else "."))  # noqa: PTH207  # absolute too
    if at == len(parts):
        return set(tops)
    rest = [part if part == "**" else re.sub(r"\*\*+", "*", part) for part in parts[at:]]
    if rest[-1] == "**":  # which pathlib takes for folders alone
        rest.append("*")
    return {
        found
        for top in tops
        for found in top.glob("/".join(rest))
        if not any(part.startswith(".") for part in found.relative_to(top).parts)
    }


def _is_photograph(path: Path) -> bool:
    # Depth images lie beside colour ones in many datasets and are no photographs.
    return path.suffix.lower() in IMAGE_SUFFIXES and ".depth." not in path.name
