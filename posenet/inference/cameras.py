"""Which camera took a new image, as far as that can be told."""

from typing import Literal, NamedTuple

from posenet.errors import DataError
from posenet.geometry import Intrinsics
from posenet.inference.photos import Photo

CameraSource = Literal["given", "training", "exif", "guessed"]

# EXIF rounds to whole millimetres of 35 mm film, and a lens breathes.
_SAME_FOCAL = 0.1

# What a user should know, once for the first image of its kind.
CAMERA_WARNINGS: dict[CameraSource, str] = {
    "exif": (
        "is not of the training camera; its focal length is taken from EXIF, to some percent "
        "(give a better one with --intrinsics)"
    ),
    "guessed": (
        "has other proportions than the training images; it is padded and its focal length "
        "guessed, so its pose may be far off (give its camera with --intrinsics)"
    ),
}


class ImageCamera(NamedTuple):
    """The camera that took an image, and where that is known from."""

    intrinsics: Intrinsics
    source: CameraSource


def camera_of(photo: Photo, trained: Intrinsics, known: Intrinsics | None = None) -> ImageCamera:
    """The camera that took an image.

    The known one; else the training camera, if the image has its proportions and EXIF does not say
    another focal length; else what EXIF says; else a camera of the training camera's focal length
    for an image of this size, which is a guess.

    Args:
        photo: The image.
        trained: The training camera, at any size.
        known: Its camera, at any size.

    Raises:
        DataError: The known camera has other proportions than the image.
    """
    height, width = photo.pixels.shape[:2]
    focal = photo.focal_px
    if known is not None and not known.has_proportions(width, height):
        raise DataError(
            f"{photo.name}: expected the proportions of the camera that was given, "
            f"{known.width}x{known.height}, found {width}x{height}; give each camera's images "
            "by themselves"
        )
    if known is not None:
        return ImageCamera(known.resized(width, height), "given")
    if trained.has_proportions(width, height):
        same = trained.resized(width, height)
        if focal is None or abs(focal / same.focal_x - 1.0) < _SAME_FOCAL:
            return ImageCamera(same, "training")
    center = (width - 1) / 2, (height - 1) / 2
    if focal is not None:
        return ImageCamera(Intrinsics(focal, focal, *center, width, height), "exif")
    if trained.has_proportions(height, width):  # the training camera, held upright or level
        scale = height / trained.width
    else:  # the largest size that fits into the training camera's image
        scale = max(width / trained.width, height / trained.height)
    guess = Intrinsics(scale * trained.focal_x, scale * trained.focal_y, *center, width, height)
    return ImageCamera(guess, "guessed")
