"""Augmentation: whatever happens to an image happens to its label, and to nothing else."""

from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posenet.config import AugmentConfig
from posenet.datasets.augment import random_colors, random_view
from posenet.datasets.formats.seven_scenes import COLOR_CAMERA
from posenet.datasets.rendering import View, turned_view, with_alpha, without_alpha

NOTHING = AugmentConfig(
    yaw_deg=0,
    pitch_deg=0,
    roll_deg=0,
    depth_share=0,
    shift_m=0,
    brightness=0,
    contrast=0,
    saturation=0,
    hue_deg=0,
    blur_px=0,
    noise=0,
)
POSE = (Rotation.from_rotvec((0.4, -1.1, 0.7)).as_matrix(), np.array((1.0, -2.0, 0.5)))
SMALL = COLOR_CAMERA.resized(32, 24)
ROOM_CAMERA = COLOR_CAMERA.resized(160, 120)  # of the fixture room_views


def noise_view(camera=SMALL):
    image = np.random.default_rng(3).integers(20, 200, (camera.height, camera.width, 3), np.uint8)
    return View(with_alpha(image), *POSE)


# ---------------------------------------------------------------------------------- random views


@pytest.mark.parametrize("most", [0.3, 1.0])
def test_a_random_view_with_too_many_holes_is_turned_instead(most):
    """One of nothing but holes is no view, whatever may be holes."""
    view = noise_view()
    config = replace(
        NOTHING, yaw_deg=10, roll_deg=10, depth_share=1.0, shift_m=0.3, max_hole_share=most
    )
    for seed in range(5):
        found = random_view(
            view, lambda: np.zeros((24, 32), np.uint16), SMALL, config, np.random.default_rng(seed)
        )
        np.testing.assert_array_equal(found.translation, view.translation)
        turn = view.rotation.T @ found.rotation
        assert not np.allclose(turn, np.eye(3))
        np.testing.assert_allclose(found.image, turned_view(view, SMALL, turn).image, atol=1)


@pytest.mark.parametrize("depth_share", [0.0, 1.0])
def test_a_random_view_without_ranges_is_the_view(room_views, depth_share):
    config = replace(NOTHING, depth_share=depth_share)
    for view, depth in room_views:
        found = random_view(
            view, partial(np.array, depth), ROOM_CAMERA, config, np.random.default_rng(0)
        )
        np.testing.assert_array_equal(found.image, view.image)
        np.testing.assert_allclose(found.rotation, view.rotation, atol=1e-15)
        np.testing.assert_allclose(found.translation, view.translation, atol=1e-15)


def draw(config, depth, count=300):
    """Turns as yaw, pitch and roll in degrees, and shifts in the camera's axes, of random views."""
    view, rng = noise_view(), np.random.default_rng(11)
    views = [random_view(view, depth, SMALL, config, rng) for _ in range(count)]
    turns = np.stack([view.rotation.T @ found.rotation for found in views])
    np.testing.assert_allclose(
        turns @ turns.swapaxes(1, 2), np.tile(np.eye(3), (count, 1, 1)), atol=1e-12
    )
    shifts = np.stack([view.rotation.T @ (found.translation - view.translation) for found in views])
    return Rotation.from_matrix(turns).as_euler("YXZ", degrees=True), shifts


def test_turns_and_shifts_fill_their_ranges_and_stay_in_them():
    config = replace(
        NOTHING, yaw_deg=20, pitch_deg=5, roll_deg=10, depth_share=1, shift_m=0.1, max_hole_share=1
    )
    angles, shifts = draw(config, lambda: np.full((24, 32), 2000, np.uint16))
    for values, limits in ((angles, (20, 5, 10)), (shifts, (0.1, 0.1, 0.1))):
        for column, limit in zip(values.T, limits, strict=True):
            assert np.abs(column).max() <= limit + 1e-9
            assert column.max() > 0.9 * limit
            assert column.min() < -0.9 * limit
            assert abs(column.mean()) < 0.15 * limit


@pytest.mark.parametrize(
    ("axis", "names"), [(0, "yaw_deg"), (1, "pitch_deg"), (2, "roll_deg")], ids=str
)
def test_each_range_turns_about_its_own_axis(axis, names):
    angles, shifts = draw(replace(NOTHING, **{names: 12}), None, count=20)
    assert np.abs(angles[:, axis]).max() > 6
    assert np.abs(np.delete(angles, axis, axis=1)).max() < 1e-9
    np.testing.assert_allclose(shifts, 0, atol=1e-12)


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.4, 0.3, 0.5), (1.0, 1, 1)])
def test_depth_share_is_the_share_of_moved_views(share, low, high):
    config = replace(NOTHING, depth_share=share, shift_m=0.1, max_hole_share=1)
    _, shifts = draw(config, lambda: np.full((24, 32), 2000, np.uint16))
    assert low <= np.mean(np.abs(shifts).max(axis=1) > 1e-6) <= high
    _, shifts = draw(config, None, count=20)
    np.testing.assert_allclose(shifts, 0, atol=1e-12)


def test_the_generator_decides_everything(room_views):
    view, depth = room_views[0]
    config = AugmentConfig(depth_share=0.5)

    def look(seed):
        return random_view(view, lambda: depth, ROOM_CAMERA, config, np.random.default_rng(seed))

    for seed in range(4):
        for first, again in zip(look(seed), look(seed), strict=True):
            np.testing.assert_array_equal(first, again)
    assert not np.array_equal(look(0).image, look(1).image)
    assert not np.allclose(look(0).rotation, look(1).rotation)


def test_the_original_is_left_alone(room_views):
    view, depth = room_views[0]
    before = [entry.copy() for entry in (*view[:3], depth)]
    for seed in range(4):
        random_view(
            view,
            lambda: depth,
            ROOM_CAMERA,
            AugmentConfig(depth_share=0.5),
            np.random.default_rng(seed),
        )
    for old, new in zip(before, (*view[:3], depth), strict=True):
        np.testing.assert_array_equal(old, new)


# ---------------------------------------------------------------------------------------- colours


def smooth_image():
    """Colours that no setting below drives out of 0 to 255."""
    coarse = np.random.default_rng(5).integers(90, 150, (4, 5, 3), np.uint8)
    return cv2.resize(coarse, (50, 40))


def split_grey(image):
    image = image.astype(float)
    grey = image.mean(axis=2, keepdims=True)
    return grey, image - grey


def is_brightness(old, new):
    factor = new.mean() / old.mean()
    assert 0.69 < factor < 1.31
    np.testing.assert_allclose(new, old * factor, atol=1.0)
    return factor


def is_contrast(old, new):
    factor = new.std() / old.std()
    assert 0.69 < factor < 1.31
    np.testing.assert_allclose(new, old.mean() + factor * (old - old.mean()), atol=1.0)
    return factor


def is_saturation(old, new):
    (old_grey, old_color), (new_grey, new_color) = split_grey(old), split_grey(new)
    factor = new_color.std() / old_color.std()
    assert 0.69 < factor < 1.31
    np.testing.assert_allclose(new_grey, old_grey, atol=1.0)
    np.testing.assert_allclose(new_color, old_color * factor, atol=1.5)
    return factor


def is_hue(old, new):
    (old_grey, old_color), (new_grey, new_color) = split_grey(old), split_grey(new)
    np.testing.assert_allclose(new_grey, old_grey, atol=1.0)
    np.testing.assert_allclose(
        np.linalg.norm(new_color, axis=2), np.linalg.norm(old_color, axis=2), atol=1.5
    )
    # The signed angle about the grey axis, from all pixels at once.
    sine = (np.cross(old_color, new_color) @ np.ones(3) / np.sqrt(3)).sum()
    angle = np.degrees(np.arctan2(sine, (old_color * new_color).sum()))
    assert abs(angle) < 40.5
    return 1 + angle / 100


def is_blur(old, new):
    assert abs(new.mean() - old.mean()) < 0.5
    factor = np.abs(np.diff(new, axis=1)).mean() / np.abs(np.diff(old, axis=1)).mean()
    assert factor < 1.02
    return factor


def is_noise(old, new):
    difference = new - old
    assert abs(difference.mean()) < 1.0
    assert difference.std() < 0.05 * 255 + 0.5
    return 1 + difference.std() / 255


COLOR_SETTINGS = {
    "brightness": (0.3, is_brightness),
    "contrast": (0.3, is_contrast),
    "saturation": (0.3, is_saturation),
    "hue_deg": (40.0, is_hue),
    "blur_px": (2.0, is_blur),
    "noise": (0.05, is_noise),
}


@pytest.mark.parametrize("name", COLOR_SETTINGS)
def test_a_color_setting_does_what_it_says_and_nothing_else(name):
    strength, check = COLOR_SETTINGS[name]
    old, rng = smooth_image(), np.random.default_rng(2)
    config = replace(NOTHING, **{name: strength})
    outs = [random_colors(old, config, rng) for _ in range(30)]
    assert all(out.dtype == np.uint8 and out.shape == old.shape for out in outs)
    factors = [check(old.astype(float), out.astype(float)) for out in outs]
    assert np.ptp(factors) > 0.03  # It varies from draw to draw.


def test_contrast_and_brightness_together_are_one_after_the_other():
    old = smooth_image()
    for seed in range(20):

        def recolor(*names, seed=seed):
            config = replace(NOTHING, **dict.fromkeys(names, 0.3))
            return random_colors(old, config, np.random.default_rng(seed)).astype(float)

        factor = recolor("brightness").mean() / old.mean()
        expected = recolor("contrast") * factor
        np.testing.assert_allclose(recolor("brightness", "contrast"), expected, atol=2.0)


def test_no_color_setting_is_the_identity():
    image, rng = without_alpha(noise_view().image), np.random.default_rng(0)
    for _ in range(5):
        np.testing.assert_array_equal(random_colors(image, NOTHING, rng), image)


@pytest.mark.parametrize("setting", [{"saturation": 0.9}, {"hue_deg": 180.0}])
def test_a_grey_image_has_neither_hue_nor_saturation(setting):
    grey = np.tile(np.arange(0, 256, dtype=np.uint8)[None, :, None], (8, 1, 3))
    rng = np.random.default_rng(1)
    for _ in range(20):
        out = random_colors(grey, replace(NOTHING, **setting), rng)
        np.testing.assert_allclose(out, grey, atol=1)


def test_colors_saturate_instead_of_wrapping():
    image = np.full((8, 8, 3), 250, np.uint8)
    image[:4] = 4
    config = replace(NOTHING, brightness=0.9, contrast=0.9, noise=0.1)
    for seed in range(30):
        out = random_colors(image, config, np.random.default_rng(seed)).astype(int)
        assert out[4:].mean() >= out[:4].mean() - 5


def test_noise_is_normal_and_other_each_time():
    grey, config = np.full((60, 80, 3), 128, np.uint8), replace(NOTHING, noise=0.05)
    seeds = range(8)
    noises = [random_colors(grey, config, np.random.default_rng(k)) - 128.0 for k in seeds]
    again = random_colors(grey, config, np.random.default_rng(0)) - 128.0
    np.testing.assert_array_equal(noises[0], again)
    found = [noise for noise in noises if noise.std() > 3.0]  # the others are mostly rounding
    assert len(found) >= 4
    for noise in found:
        within = [(np.abs(noise) < k * noise.std()).mean() for k in (1, 2, 3)]
        np.testing.assert_allclose(within, (0.683, 0.954, 0.997), atol=0.06)
        assert abs(noise.mean()) < 0.1 * noise.std()
    correlations = np.corrcoef([noise.ravel() for noise in found])
    assert np.abs(correlations - np.eye(len(found))).max() < 0.05
