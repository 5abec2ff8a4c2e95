"""Which way up an image is read: as its file stores it, or turned as its EXIF orientation says.

Poses belong to the pixels that another tool saw. Structure from motion wants all photos of a camera
to share its intrinsics, however it was held, and reads them as they are stored: COLMAP (some
versions turn an image to find features, none its camera), hloc, nerfstudio and instant-ngp do. What
reads with OpenCV's defaults sees them turned. So an image is read as stored, unless only the turned
one has the proportions of its camera.

Source: EXIF 2.32, 4.6.4, Orientation; https://github.com/colmap/colmap/issues/1456,
https://github.com/cvg/Hierarchical-Localization/pull/373,
https://github.com/nerfstudio-project/nerfstudio/pull/1261.
"""

from typing import Literal

from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from posenet.geometry import Intrinsics

# upright: the file says no other orientation. stored, turned: the camera's proportions say so.
# undecided: both have its proportions, as for half a turn; read as stored.
Reading = Literal["upright", "stored", "turned", "undecided"]

TURN_FILES = "turn the files themselves, as with: mogrify -auto-orient FILES"

_SIDES_SWAPPED = (5, 6, 7, 8)
_UNDONE_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def reading(image: Image.Image, camera: Intrinsics | None) -> Reading:
    """How an image of a camera, if it is known, is read; to be asked before it is loaded."""
    orientation = _orientation(image)
    if orientation == 1:
        return "upright"
    if camera is None:
        return "undecided"
    width, height = _stored_size(image)
    shown = (height, width) if orientation in _SIDES_SWAPPED else (width, height)
    if not camera.has_proportions(*shown):
        return "stored"
    return "undecided" if camera.has_proportions(width, height) else "turned"


def size_for(image: Image.Image, camera: Intrinsics | None) -> tuple[int, int]:
    """Width and height as :func:`reading` says, of an image that is not loaded yet."""
    width, height = _stored_size(image)
    return (height, width) if reading(image, camera) == "turned" else (width, height)


def orient(image: Image.Image, *, turned: bool) -> Image.Image:
    """The pixels of an image that is not loaded yet: turned as its EXIF says, or as stored."""
    orientation = _orientation(image)
    image.load()  # which turns a TIFF
    if orientation == 1:
        return image
    if turned:
        return ImageOps.exif_transpose(image)
    if _orientation(image) != orientation:
        return image.transpose(_UNDONE_BY[orientation])
    return image


def _stored_size(image: Image.Image) -> tuple[int, int]:
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # tells how it will be turned, or not yet
        return image.tag_v2[TiffImagePlugin.IMAGEWIDTH], image.tag_v2[TiffImagePlugin.IMAGELENGTH]
    return image.size


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in _UNDONE_BY else 1
