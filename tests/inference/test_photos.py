"""An image is the same image in whatever form it comes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from posenet.errors import DataError
from posenet.inference.photos import read_photos

from .conftest import CAMERA, localizer_for, picture

PIXELS = picture(64, 48)
CHANNELS_FIRST = np.ascontiguousarray(np.moveaxis(PIXELS, -1, 0))


def only(images):
    (photo,) = read_photos(images)
    return photo


FORMS = {
    "array": PIXELS,
    "channels first": CHANNELS_FIRST,
    "floats": PIXELS / 255.0,
    "float32": np.float32(PIXELS / 255.0),
    "alpha": np.dstack((PIXELS, PIXELS[..., 0])),
    "tensor": torch.from_numpy(CHANNELS_FIRST),
    "float tensor": torch.from_numpy(CHANNELS_FIRST) / 255.0,
    "channels last tensor": torch.from_numpy(PIXELS),
    "tensor with gradient": (torch.from_numpy(CHANNELS_FIRST) / 255.0).requires_grad_(),
    "batch": torch.from_numpy(CHANNELS_FIRST)[None],
    "array batch": PIXELS[None],
    "list": [PIXELS],
    "pillow": Image.fromarray(PIXELS),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_same_pixels(form):
    found = only(FORMS[form]).pixels
    assert (found.dtype, found.shape) == (np.uint8, (48, 64, 3))
    np.testing.assert_array_equal(found, PIXELS)


@pytest.mark.parametrize(
    "grey",
    [
        PIXELS[..., 0],
        PIXELS[..., :1],
        torch.from_numpy(PIXELS[..., 0]),
        torch.from_numpy(PIXELS[None, ..., 0]),
        Image.fromarray(PIXELS[..., 0]),
    ],
    ids=["array", "one channel", "tensor", "one channel tensor", "pillow"],
)
def test_grey_is_grey_in_all_channels(grey):
    np.testing.assert_array_equal(only(grey).pixels, np.repeat(PIXELS[..., :1], 3, axis=-1))


def test_half_precision_is_good_enough_for_bytes():
    for dtype in (torch.float16, torch.bfloat16):
        found = only((torch.from_numpy(CHANNELS_FIRST) / 255.0).to(dtype)).pixels
        assert np.abs(found.astype(int) - PIXELS).max() <= 1


def test_what_could_be_either_is_read_as_its_library_has_it():
    """A picture of three rows or columns: numpy has channels last, torch first."""
    odd = picture(3, 3)[:, :, :]
    np.testing.assert_array_equal(only(odd).pixels, odd)
    np.testing.assert_array_equal(only(torch.from_numpy(odd)).pixels, np.moveaxis(odd, 0, -1))


def test_forms_may_be_mixed_and_come_one_by_one(tmp_path, network):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    mixed = [path, str(path), PIXELS, FORMS["float tensor"], FORMS["pillow"]]
    localizer = localizer_for(network)
    expected = localizer.predict(PIXELS)
    for images in (mixed, tuple(mixed), (image for image in mixed)):
        found = localizer.predict(images, batch_size=2)
        torch.testing.assert_close(found.translation, expected.translation.expand(5, 3))
    rotation, translation = localizer.predict(mixed)  # a pose unpacks
    assert (rotation.shape, translation.shape) == ((5, 3, 3), (5, 3))
    assert localizer.predict(np.zeros((0, 48, 64, 3), np.uint8)).translation.shape == (0, 3)


def test_pillows_images_are_turned_and_measured_by_their_exif_like_files(tmp_path, network):
    image = Image.fromarray(picture(640, 480))
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = 6  # the camera was held upright
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 50
    path = tmp_path / "a.png"
    image.save(path, exif=exif)
    with Image.open(path) as opened:
        photo, file = only(opened), only(path)
    assert photo.pixels.shape == (640, 480, 3)
    np.testing.assert_array_equal(photo.pixels, file.pixels)
    assert photo.focal_px == file.focal_px == pytest.approx(50 / 43.2666 * 800)
    camera = localizer_for(network, CAMERA).camera_of(photo)
    assert (camera.source, camera.intrinsics.focal_x) == ("exif", photo.focal_px)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (PIXELS.astype(np.uint16), TypeError, "expected bytes (uint8) or floating point in [0, 1]"),
        (PIXELS > 9, TypeError, "got bool"),
        (torch.from_numpy(PIXELS).long(), TypeError, "got int64"),
        (PIXELS * 1.0, DataError, "found values from 1 to 254; undo a normalisation"),
        (PIXELS / 255.0 - 0.5, DataError, "expected floating point in [0, 1]"),
        (np.full((4, 4, 3), np.nan), DataError, "found values from nan to nan"),
        (np.zeros((48, 64, 2), np.uint8), DataError, "expected the shape (height, width, 3)"),
        (np.zeros((0, 4, 3), np.uint8), DataError, "one without pixels"),
        (np.zeros(5, np.uint8), DataError, "found (5,)"),
        (np.zeros((1, 1, 4, 4, 3), np.uint8), DataError, "found (1, 1, 4, 4, 3)"),
        ([PIXELS, 7], TypeError, "image 1: expected a path, an RGB array"),
        ([[PIXELS]], TypeError, "got list"),
        (None, TypeError, "images: expected a path"),
        (7, TypeError, "got int"),
        ({"a": PIXELS}, TypeError, "got dict"),
        (Path("nowhere.jpg"), DataError, "nowhere.jpg: expected an image"),
    ],
)
def test_what_is_no_image_is_refused(images, error, message, network):
    with pytest.raises(error) as caught:
        localizer_for(network).predict(images)
    assert message in str(caught.value)


def test_a_truncated_file_is_refused_when_pillow_decodes_it(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture(64, 48)).save(path)
    path.write_bytes(path.read_bytes()[:500])
    with Image.open(path) as image, pytest.raises(DataError, match="image: cannot be decoded"):
        only(image)
