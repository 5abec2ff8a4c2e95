"""Images of which some are cached, and the others are decoded from their shards when needed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from posenet.datasets.cache import CachedImages, Report, cache_images
from posenet.datasets.damage import Damage
from posenet.datasets.decoding import Decoder
from posenet.datasets.frame import Frame
from posenet.datasets.orientation import Reading
from posenet.datasets.stored import ShardError
from posenet.errors import DataError
from posenet.geometry import Pose
from posenet.progress import say


class StreamedImages(NamedTuple):
    """All images of a dataset in shards, at one size; what a scene asks of ``CachedImages``.

    Attributes:
        frames: The frames, their poses left out.
        decoder: How an image is brought to the size.
        cached: The images that are cached, in parts.
        rows: Part and row there, by the index of the frame.
        has_depth: Whether depth was asked for, and some frame has it.
        strict: Whether a damaged colour image is an error; else it is told, and black, as in the
            cache.
        damaged_depth: Where damaged depth is told, which is then unknown everywhere, as in the
            cache; None where it is an error.
    """

    frames: Sequence[Frame]
    decoder: Decoder
    cached: Sequence[CachedImages]
    rows: Mapping[int, tuple[int, int]]
    has_depth: bool
    strict: bool = False
    damaged_depth: Damage | None = None

    def color_image(self, index: int) -> NDArray[np.uint8]:
        """One image.

        Raises:
            DataError: It is damaged.
            ShardError: Its shard is not there, or cut short.
        """
        if index in self.rows:
            part, row = self.rows[index]
            return self.cached[part].color_image(row)
        try:
            return self.decoder.color(self.frames[index]).pixels
        except ShardError:
            raise
        except DataError as error:
            if self.strict:
                raise
            say(str(error))
            return np.zeros((self.decoder.height, self.decoder.width, 3), np.uint8)

    def depth_image(self, index: int) -> NDArray[np.uint16]:
        """One depth image.

        Raises:
            DataError: It is damaged.
            ShardError: Its shard is not there, or cut short, or too many are damaged.
        """
        try:
            return self.decoder.depth(self.frames[index]).pixels
        except ShardError:
            raise
        except DataError as error:
            if self.damaged_depth is None:
                raise
            self.damaged_depth.add(index, error)
            return np.zeros((self.decoder.height, self.decoder.width), np.uint16)

    @property
    def unreadable(self) -> Mapping[int, str]:
        """Why not, by the index of a frame whose image could not be cached."""
        return {
            index: self.cached[part].unreadable[row]
            for index, (part, row) in self.rows.items()
            if row in self.cached[part].unreadable
        }

    @property
    def unreadable_depth(self) -> Mapping[int, str]:
        """Nothing: no depth is cached."""
        return MappingProxyType({})

    @property
    def digests(self) -> list[str]:
        """Digest of each colour file's bytes."""
        return [frame.packed_image.digest for frame in self.frames]

    @property
    def readings(self) -> Mapping[int, Reading]:
        """How it is read, by the index of a frame whose image has an EXIF orientation."""
        known = {index: frame.known_reading for index, frame in enumerate(self.frames)}
        return {index: how for index, how in known.items() if how not in ("upright", None)}


def stream_images(
    frames: Sequence[Frame],
    parts: Sequence[Sequence[int]],
    decoder: Decoder,
    folder: Path,
    *,
    with_depth: bool,
    least_readable: float,
    report: Report | None,
) -> StreamedImages:
    """Cache some images of a dataset in shards, and leave the others where they are.

    Args:
        frames: All frames, in shards.
        parts: Which of them to cache, without depth, a file for each part.
        decoder: The size and the camera that all are brought to.
        folder: The cache.
        with_depth: Whether depth will be asked for.
        least_readable: Share of the cached ones that must be readable.
        report: Called with (done, total).
    """
    parts = [part for part in parts if part]
    cached = [
        cache_images(
            [frames[i] for i in part],
            decoder.width,
            decoder.height,
            folder,
            camera=decoder.camera,
            least_readable=least_readable,
            report=report,
        )
        for part in parts
    ]
    # One pose for all: workers that are spawned would get each tensor as an open file.
    none = Pose(torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    return StreamedImages(
        [replace(frame, pose=none) for frame in frames],
        decoder,
        cached,
        {
            index: (number, row)
            for number, part in enumerate(parts)
            for row, index in enumerate(part)
        },
        with_depth,
    )
