"""One camera for all images: what it would have seen, through any lens, and what it has not."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from posenet.config import AugmentConfig
from posenet.datasets.augment import random_view
from posenet.datasets.rendering import (
    DepthView,
    View,
    fill_unseen,
    moved_view,
    turned_view,
    with_alpha,
    without_alpha,
)
from posenet.datasets.resampling import (
    UNSEEN,
    common_lens,
    is_plain_resize,
    resample_depth,
    resample_image,
    resize_image,
    seen_pixels,
)
from posenet.geometry import Distortion, Intrinsics

SOURCE = Intrinsics(410.0, 405.0, 322.0, 236.0, 640, 480)
CAMERA = Intrinsics(150.0, 150.0, 111.5, 83.5, 224, 168)
LENSES = {
    "pinhole": None,
    "barrel": Distortion("radial_tangential", (-0.2, 0.05, 0.002, -0.001)),
    "phone": Distortion("radial_tangential", (0.058, -0.08, -0.001, 0.0002, 0.01)),
    "rational": Distortion("radial_tangential", (0.3, 0.02, 0.001, 0.001, 0.0, 0.5, 0.05, 0.001)),
    "fisheye": Distortion("fisheye", (0.02, -0.01, 0.003, -0.001)),
}


def colours(rays: np.ndarray) -> np.ndarray:
    """A smooth world at infinity: three colours of each direction (..., 2) on the plane z = 1."""
    x, y = rays[..., 0], rays[..., 1]
    waves = (np.sin(5 * x + 1), np.cos(4 * y), np.sin(3 * x - 4 * y))
    return 127.5 + 80 * np.stack(waves, axis=-1)


def undistorted(distortion: Distortion | None, camera: Intrinsics) -> np.ndarray:
    """Direction of every pixel of a camera, by OpenCV's own iteration."""
    grid = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1)
    points = grid.reshape(-1, 1, 2).astype(np.float64)
    if distortion is None:
        rays = cv2.undistortPoints(points, camera.matrix, np.zeros(4))
    elif distortion.model == "fisheye":
        rays = cv2.fisheye.undistortPoints(points, camera.matrix, np.array(distortion.coefficients))
    else:
        steps = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-9)
        coefficients = np.array(distortion.coefficients)
        rays = cv2.undistortPoints(points, camera.matrix, coefficients, criteria=steps)
    return rays.reshape(camera.height, camera.width, 2)


def photograph(distortion, camera=SOURCE):
    return np.rint(colours(undistorted(distortion, camera))).astype(np.uint8)


@pytest.mark.parametrize("lens", LENSES)
def test_every_lens_is_brought_to_the_pinhole_camera(lens):
    found = resample_image(photograph(LENSES[lens]), SOURCE, LENSES[lens], CAMERA)
    expected = colours(CAMERA.rays()[..., :2])
    seen = seen_pixels(SOURCE, LENSES[lens], CAMERA)
    assert seen.mean() > 0.9
    # Rounding to bytes, twice, and the mean over pixels of a curved colour.
    assert np.abs(found - expected)[seen].max() < 3.0
    assert np.abs(found - expected)[seen].mean() < 0.5


def test_a_camera_of_another_focal_length_is_not_just_resized():
    """The error that resampling is there to prevent."""
    long = Intrinsics(820.0, 820.0, 319.5, 239.5, 640, 480)
    expected = colours(CAMERA.rays()[..., :2])
    squeezed = resize_image(photograph(None, long), CAMERA.width, CAMERA.height)
    assert np.abs(squeezed - expected).mean() > 20.0
    found = resample_image(photograph(None, long), long, None, CAMERA)
    seen = seen_pixels(long, None, CAMERA)
    assert 0.2 < seen.mean() < 0.5
    assert np.abs(found - expected)[seen].mean() < 0.5
    assert (found[~seen] == UNSEEN).all()


@pytest.mark.parametrize("size", [(224, 168), (640, 480), (800, 600)])
def test_an_image_of_the_camera_itself_is_only_resized(size):
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    camera = SOURCE.resized(*size)
    assert is_plain_resize(SOURCE, None, camera)
    found = resample_image(image, SOURCE, None, camera)
    np.testing.assert_array_equal(found, resize_image(image, *size))
    assert seen_pixels(SOURCE, None, camera).all()


@pytest.mark.parametrize(
    "other",
    [
        replace(SOURCE, focal_x=415.0),
        replace(SOURCE, focal_y=400.0),
        replace(SOURCE, center_x=330.0),
        replace(SOURCE, center_y=230.0),
    ],
)
def test_another_camera_is_told_apart(other):
    assert not is_plain_resize(other, None, SOURCE.resized(224, 168))
    assert not is_plain_resize(SOURCE, LENSES["barrel"], SOURCE.resized(224, 168))


def test_pixels_between_those_of_a_reduced_image_are_averaged():
    """Without, a fine pattern would turn into one that is not there."""
    stripes = np.zeros((480, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    found = resample_image(stripes, SOURCE, LENSES["barrel"], CAMERA)
    seen = cv2.erode(
        seen_pixels(SOURCE, LENSES["barrel"], CAMERA).astype(np.uint8), np.ones((5, 5))
    )
    assert np.abs(found[seen > 0].astype(float) - 127.5).mean() < 25.0


def test_a_lens_model_that_turns_back_shows_nothing_twice():
    """x + k x^3 falls again beyond 1 / sqrt(3 |k|), here 0.82; the camera looks out to 1.5."""
    lens = Distortion("radial_tangential", (-0.5, 0.0, 0.0, 0.0))
    wide = Intrinsics(75.0, 75.0, 111.5, 83.5, 224, 168)
    seen = seen_pixels(SOURCE, lens, wide)
    radius = np.linalg.norm(wide.rays()[..., :2], axis=-1)
    assert seen[radius < 0.55].all()
    assert not seen[radius > 0.82].any()


def test_depth_is_never_mixed_and_follows_its_image():
    depth = np.full((480, 640), 2.0, np.float32)
    depth[:, 320:] = 3.0
    found = resample_depth(depth, SOURCE, LENSES["barrel"], CAMERA)
    seen = seen_pixels(SOURCE, LENSES["barrel"], CAMERA)
    assert set(np.unique(found[seen])) == {2.0, 3.0}
    assert not found[~seen].any()
    rays = undistorted(LENSES["barrel"], SOURCE)
    edge = rays[240, 320, 0] * CAMERA.focal_x + CAMERA.center_x
    assert abs(np.flatnonzero(found[84] == 3.0)[0] - edge) <= 1.0


class Seen:
    """What is asked of a frame here."""

    def __init__(self, intrinsics, distortion=None):
        self.intrinsics, self.distortion = intrinsics, distortion


def test_of_cameras_calibrated_one_by_one_a_middling_one_is_taken():
    portrait = Intrinsics(2400.0, 2400.0, 299.5, 399.5, 600, 800)
    landscape = [Seen(replace(SOURCE, focal_x=500.0 + k, focal_y=500.0 + k)) for k in range(31)]
    assert common_lens([Seen(portrait), *landscape])[0].focal_x == 515.0


def test_the_camera_of_most_frames_is_found():
    rare = replace(SOURCE, focal_x=1.0)
    assert common_lens([Seen(rare), Seen(SOURCE), Seen(SOURCE)]) == (SOURCE, None)
    lens = LENSES["barrel"]
    assert common_lens([Seen(SOURCE, lens)] * 2 + [Seen(SOURCE)]) == (SOURCE, lens)


# ------------------------------------------------------------------------- views of padded images


def padded_view():
    """The left quarter has not been seen."""
    image = np.random.default_rng(3).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    seen = np.ones((48, 64), bool)
    seen[:, :16] = False
    image[~seen] = UNSEEN
    return View(with_alpha(image, seen), np.eye(3), np.zeros(3))


SMALL = Intrinsics(60.0, 60.0, 31.5, 23.5, 64, 48)


def test_a_turned_view_has_not_seen_what_its_image_has_not():
    view = padded_view()
    turned = turned_view(view, SMALL, np.eye(3))
    np.testing.assert_array_equal(turned.seen, view.seen)
    whole = view._replace(image=with_alpha(without_alpha(view.image)))
    assert turned_view(whole, SMALL, np.eye(3)).seen.all()


def test_a_moved_view_has_not_either():
    view = padded_view()
    depth = np.full((48, 64), 2000, np.uint16)
    moved = moved_view(DepthView(view, depth), SMALL, np.eye(3), np.zeros(3))
    np.testing.assert_array_equal(moved.seen[1:-1, 1:-1], view.seen[1:-1, 1:-1])


def test_the_padding_is_filled_from_other_images():
    view, depth = padded_view(), np.full((48, 64), 2000, np.uint16)
    other = View(with_alpha(np.full((48, 64, 3), 7, np.uint8)), np.eye(3), np.zeros(3))
    filled = fill_unseen(view, [DepthView(other, depth)], SMALL)
    assert (filled.image[2:-2, 2:14, :3] == 7).all()
    np.testing.assert_array_equal(filled.image[:, 16:], view.image[:, 16:])


def test_padding_does_not_keep_views_from_moving():
    """A landscape image in an upright network: most of the picture is padding."""
    seen = np.zeros((48, 64), bool)
    seen[:, 24:40] = True
    image = with_alpha(np.full((48, 64, 3), 90, np.uint8), seen)
    view = View(image, np.eye(3), np.zeros(3))
    depth = np.full((48, 64), 2000, np.uint16)
    config = AugmentConfig(depth_share=1.0, shift_m=0.05, yaw_deg=2, pitch_deg=2, roll_deg=2)
    moved = [
        random_view(view, lambda: depth, SMALL, config, np.random.default_rng(seed))
        for seed in range(20)
    ]
    assert sum(np.abs(new.translation).max() > 0 for new in moved) > 15
