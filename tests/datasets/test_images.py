"""Decoding: a whole image or an error."""

import cv2
import numpy as np
import pytest

from posenet.datasets.images import (
    read_depth,
    read_image,
)
from posenet.datasets.resampling import resize_image
from posenet.errors import DataError

NOISE = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_images_are_rgb(tmp_path, suffix):
    path = tmp_path / f"räd 1{suffix}"
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 2] = 250  # OpenCV writes BGR
    path.write_bytes(cv2.imencode(suffix, red)[1].tobytes())
    image = read_image(path)
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - (250, 0, 0)).max() < 6


def test_grey_and_transparent_images_become_rgb(tmp_path):
    for name, shape in (("grey.png", (8, 9)), ("alpha.png", (8, 9, 4))):
        cv2.imwrite(str(tmp_path / name), np.full(shape, 70, np.uint8))
        np.testing.assert_array_equal(read_image(tmp_path / name), np.full((8, 9, 3), 70))


# how the file is broken: its name, the share of its bytes that are there, what the message says
BAD_IMAGES = {
    "half a jpg": ("a.jpg", 0.5, "truncated.*copy it again"),
    "nearly all of a jpg": ("a.jpg", 0.99, "truncated.*copy it again"),
    "half a png": ("a.png", 0.5, "truncated.*copy it again"),
    "nearly all of a png": ("a.png", 0.99, "truncated.*copy it again"),
    "half a bmp": ("a.bmp", 0.01, "expected an image"),
    "empty": ("a.jpg", 0.0, "expected an image.*copy it again"),
}


@pytest.mark.parametrize("problem", BAD_IMAGES)
def test_a_broken_image_is_named(tmp_path, problem):
    name, share, expected = BAD_IMAGES[problem]
    encoded = cv2.imencode(name[1:], NOISE)[1].tobytes()
    (tmp_path / name).write_bytes(encoded[: int(share * len(encoded))])
    with pytest.raises(DataError, match=expected) as caught:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_image_at_all_is_named(tmp_path):
    (tmp_path / "notes.jpg").write_text("buy\nmilk")
    with pytest.raises(DataError, match=r"notes\.jpg: expected an image"):
        read_image(tmp_path / "notes.jpg")
    with pytest.raises(DataError, match=r"nothing\.jpg: .*No such file"):
        read_image(tmp_path / "nothing.jpg")


def test_depth_is_metres_and_both_marks_of_no_measurement_are_zero(tmp_path):
    path = tmp_path / "d.png"
    cv2.imwrite(str(path), np.array([[0, 1, 1500], [65534, 65535, 250]], np.uint16))
    depth = read_depth(path)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[0, 0.001, 1.5], [65.534, 0, 0.25]], rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (cv2.imencode(".png", NOISE[..., 0])[1], "found uint8"),
        (cv2.imencode(".png", NOISE)[1], "found uint8"),
        (cv2.imencode(".png", NOISE.astype(np.uint16))[1], r"shape \(48, 64, 3\)"),
        (cv2.imencode(".png", NOISE[..., 0].astype(np.uint16) * 9)[1][:900], "found no image"),
        (b"words", "found no image"),
    ],
)
def test_what_is_no_16_bit_depth_is_refused(tmp_path, content, found):
    (tmp_path / "d.png").write_bytes(bytes(content))
    with pytest.raises(DataError, match=rf"d\.png: expected a 16-bit depth image.*{found}"):
        read_depth(tmp_path / "d.png")


def test_shrinking_averages_and_growing_interpolates():
    stripes = np.zeros((8, 16, 3), np.uint8)
    stripes[:, ::2] = 200
    small = resize_image(stripes, 8, 4)
    assert small.shape == (4, 8, 3)
    np.testing.assert_array_equal(small, 100)  # nearest would say 0 or 200
    ramp = np.tile(np.uint8([0, 100])[None, :, None], (2, 1, 3))
    large = resize_image(ramp, 8, 2)[0, :, 0]
    assert (np.diff(large.astype(int)) >= 0).all()
    assert len(np.unique(large)) > 3
