"""From the files of a frame to its image and depth at the network's size, seen by one camera."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from posenet.datasets.depth import depth_for_color
from posenet.datasets.frame import Frame
from posenet.datasets.images import INVALID_DEPTH_MM, content_digest, read_depth, read_posed_image
from posenet.datasets.orientation import Reading
from posenet.datasets.resampling import resample_image
from posenet.errors import DataError
from posenet.geometry import Intrinsics


class Decoded(NamedTuple):
    """One image, and what is known of its file."""

    pixels: NDArray[Any]
    digest: str = ""
    how: Reading = "upright"


class Decoder(NamedTuple):
    """How images are brought to one size.

    Attributes:
        width: In pixels.
        height: In pixels.
        camera: The camera, of this size, that all images are brought to; None where every image
            keeps its own, and is only resized.
    """

    width: int
    height: int
    camera: Intrinsics | None

    def target(self, frame: Frame) -> Intrinsics:
        """The camera that the image of a frame is brought to."""
        return self.camera or frame.intrinsics.resized(self.width, self.height)

    def color(self, frame: Frame) -> Decoded:
        """The colour image, RGB, (height, width, 3).

        Raises:
            DataError: It cannot be read, or is of another camera.
        """
        image, how = read_posed_image(frame)
        own = _camera_of(frame, image.shape[1], image.shape[0])
        distortion = None if self.camera is None else frame.distortion
        digest = content_digest(frame.image)
        return Decoded(resample_image(image, own, distortion, self.target(frame)), digest, how)

    def depth(self, frame: Frame) -> Decoded:
        """Depth on its pixels, millimetres, 0 where unknown, (height, width); 0 without an image.

        Raises:
            DataError: It cannot be read.
        """
        if frame.depth is None:
            return Decoded(np.zeros((self.height, self.width), np.uint16))
        distortion = None if self.camera is None else frame.distortion
        metres = depth_for_color(
            read_depth(frame.depth, frame.depth_scale),
            frame.depth_camera,
            frame.intrinsics,
            distortion,
            self.target(frame),
        )
        return Decoded(np.rint(np.minimum(metres * 1000.0, INVALID_DEPTH_MM)).astype(np.uint16))


def _camera_of(frame: Frame, width: int, height: int) -> Intrinsics:
    """The frame's camera at the size its image turned out to have."""
    known = frame.intrinsics
    if (width, height) == (known.width, known.height):
        return known
    if not known.has_proportions(width, height):
        raise DataError(
            f"{frame.image}: expected {known.width}x{known.height} pixels, or their "
            f"proportions, like its camera in {frame.sequence}, found {width}x{height}; give "
            "images of another camera their own intrinsics or their own sequence"
        )
    return known.resized(width, height)
