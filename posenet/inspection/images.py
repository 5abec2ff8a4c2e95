"""What the image files say by themselves: readable, how large, alike."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from posenet.datasets.frame import Frame
from posenet.datasets.images import UNDECODABLE, content_digest, why_unreadable
from posenet.datasets.orientation import Reading, orient, reading, size_for
from posenet.datasets.stored import Stored, opened, state_of
from posenet.errors import DataError
from posenet.geometry import Intrinsics

Report = Callable[[int, int], None]

# Columns and rows of a thumbnail: a column is about a degree of a usual lens.
THUMBNAIL = (64, 48)
# Two thumbnails differ by less than this share of what moving one by a column changes: the images
# are then within about 0.15 columns, or degrees, of each other.
SAME_SHIFT = 0.15
# Below this mean difference to itself one column aside an image shows nothing to compare.
FLAT = 0.5
READ_ERRORS = (*UNDECODABLE, DataError)  # the last of what is in a shard


class ImageFacts(NamedTuple):
    """One image file.

    Attributes:
        state: ``ok``, ``missing``, ``unreadable`` or ``unread`` (not sampled).
        reason: Why it cannot be read; empty otherwise.
        width: Pixels the way up that the camera is for; 0 where unknown.
        height: Likewise.
        thumbnail: Grey levels, (48, 64); None unless the state is ``ok``.
        reading: What its EXIF orientation and its camera say of the way up.
    """

    state: str
    reason: str
    width: int
    height: int
    thumbnail: NDArray[np.float32] | None
    reading: Reading = "upright"


def read_images(
    frames: Sequence[Frame], most: int, report: Report | None = None
) -> list[ImageFacts]:
    """Look at the image of every frame, or at ``most`` of them in runs spread over the dataset.

    Args:
        frames: The frames.
        most: Images to decode at most; the others are looked up, not read.
        report: Called with (done, total).
    """
    chosen = np.zeros(len(frames), dtype=bool)
    chosen[spread_runs(len(frames), most)] = True

    def look(index: int) -> ImageFacts:
        stored = frames[index].image
        if not stored.is_file():
            return ImageFacts("missing", "", 0, 0, None)
        if not chosen[index]:
            return ImageFacts("unread", "", 0, 0, None)
        return read_thumbnail(stored, frames[index].intrinsics)

    facts = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, fact in enumerate(pool.map(look, range(len(frames))), start=1):
            facts.append(fact)
            if report is not None:
                report(done, len(frames))
    return facts


def spread_runs(count: int, most: int, run: int = 10) -> NDArray[np.int64]:
    """At most ``most`` of ``count`` indices, in runs of neighbours: repeats follow each other."""
    if count <= most:
        return np.arange(count)
    starts = np.linspace(0, count - run, max(most // run, 1)).astype(np.int64)
    return np.unique((starts[:, None] + np.arange(run)).ravel())


def read_thumbnail(stored: Stored, camera: Intrinsics | None = None) -> ImageFacts:
    """Decode an image only as finely as a thumbnail needs; a truncated file is found out."""
    try:
        with Image.open(opened(stored)) as image:
            size, how = size_for(image, camera), reading(image, camera)
            image.draft("L", (4 * THUMBNAIL[0], 4 * THUMBNAIL[1]))
            shown = orient(image, turned=how == "turned")
            grey = shown.convert("L").resize(THUMBNAIL, Image.Resampling.BOX)
            return ImageFacts("ok", "", *size, np.asarray(grey, dtype=np.float32), how)
    except READ_ERRORS as error:
        return ImageFacts("unreadable", why_unreadable(stored, error), 0, 0, None)


def read_grey(frame: Frame, longest: int) -> tuple[NDArray[np.uint8], float, float]:
    """Grey image whose longer side is at most ``longest``, and its pixels per pixel on disk.

    Raises:
        OSError: Or another of ``READ_ERRORS``: the image cannot be read.
    """
    with Image.open(opened(frame.image)) as image:
        width, height = size_for(image, frame.intrinsics)
        how = reading(image, frame.intrinsics)
        image.draft("L", (longest, longest))
        shown = orient(image, turned=how == "turned")
        scale = min(1.0, longest / max(width, height))
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        grey = shown.convert("L").resize(size, Image.Resampling.BOX if scale < 1 else None)
        return np.asarray(grey), size[0] / width, size[1] / height


def identical_images(frames: Sequence[Frame]) -> list[list[int]]:
    """Groups of frames whose files are equal byte for byte; only files of one size are read."""
    sizes: dict[int, list[int]] = {}
    for index, frame in enumerate(frames):
        try:
            sizes.setdefault(state_of(frame.image)[0], []).append(index)
        except OSError:
            continue
    groups: dict[tuple[int, str], list[int]] = {}
    for size, members in sizes.items():
        # A path listed twice is one image, not a repeated one, but its labels must agree as well.
        for index in members if len(members) > 1 else []:
            try:
                digest = content_digest(frames[index].image)
            except OSError:
                continue
            groups.setdefault((size, digest), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def self_difference(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean change of grey level when an image moves by a column, (N,)."""
    return np.abs(np.diff(thumbnails, axis=2)).mean(axis=(1, 2))


def look_the_same(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    """Whether two thumbnails show the same to within about 0.15 degrees."""
    detail = float(self_difference(first[None])[0])
    return detail > FLAT and float(np.abs(first - second).mean()) < SAME_SHIFT * detail


def describe_thumbnails(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thumbnails of a quarter of the size without mean, of unit length: (N, D).

    The dot product of two is their correlation.
    """
    small = thumbnails.reshape(len(thumbnails), THUMBNAIL[1] // 4, 4, THUMBNAIL[0] // 4, 4)
    vectors = small.mean(axis=(2, 4)).reshape(len(thumbnails), -1)
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
