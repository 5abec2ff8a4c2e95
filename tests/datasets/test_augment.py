"""Augmentation: whatever happens to an image happens to its label, and to nothing else."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posenet.config import AugmentConfig
from posenet.datasets.augment import (
    UNSEEN,
    DepthView,
    View,
    fill_unseen,
    moved_view,
    random_colors,
    random_view,
    turned_view,
)
from posenet.datasets.formats.seven_scenes import COLOR_CAMERA
from posenet.datasets.toy_room import trajectory

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


def noise_view(camera=SMALL):
    image = np.random.default_rng(3).integers(20, 200, (camera.height, camera.width, 3), np.uint8)
    return View(image, *POSE)


def project(points, rotation, translation, camera):
    return camera.project((points - translation) @ rotation)


# -------------------------------------------------------------------------------- turned cameras

TURNS = {
    "yaw": (0, 12, 0),
    "pitch": (-10, 0, 0),
    "roll": (0, 0, 15),
    "all": (9, -13, 11),
    "all, other way": (-11, 8, -25),
}


@pytest.mark.parametrize("name", TURNS)
def test_a_turned_view_shows_points_where_its_pose_says(name):
    camera = COLOR_CAMERA.resized(320, 240)
    u, v = np.meshgrid(np.arange(20, 310, 40) + 0.3, np.arange(20, 230, 40) - 0.2)
    dots = np.stack((u.ravel(), v.ravel()), axis=1)
    depth = np.random.default_rng(0).uniform(0.5, 5, len(dots))  # A turn is exact at any depth.
    rays = np.column_stack(
        ((dots - (camera.center_x, camera.center_y)) / camera.focal_x, np.ones(len(dots)))
    )
    points = (rays * depth[:, None]) @ POSE[0].T + POSE[1]
    rows, columns = np.mgrid[:240, :320]
    blobs = sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.5**2)) for x, y in dots)
    image = np.uint8(np.clip(blobs * 250, 0, 250))[..., None].repeat(3, axis=2)

    turn = Rotation.from_euler("xyz", TURNS[name], degrees=True).as_matrix()
    turned, _ = turned_view(View(image, *POSE), camera, turn)
    np.testing.assert_array_equal(turned.translation, POSE[1])
    expected = project(points, turned.rotation, turned.translation, camera)
    checked = 0
    for x, y in expected[((expected > 12) & (expected < (307, 227))).all(axis=1)]:
        left, top = round(x) - 11, round(y) - 11
        window = turned.image[top : top + 23, left : left + 23, 0].astype(float)
        moments = np.mgrid[top : top + 23, left : left + 23] * window
        center = moments.sum(axis=(1, 2))[::-1] / window.sum()
        assert np.linalg.norm(center - (x, y)) < 0.3
        checked += 1
    assert checked >= 20
    assert np.abs(expected - dots).max() > 30  # It did move.


def test_a_turned_view_is_grey_where_nothing_was_seen():
    view = View(np.zeros((24, 32, 3), np.uint8), *POSE)
    turned, _ = turned_view(view, SMALL, Rotation.from_euler("y", 30, degrees=True).as_matrix())
    assert (turned.image[:, -5:] == UNSEEN).all()  # Turned right: the right rim is new.
    assert (turned.image[6:-6, :10] == 0).all()


# --------------------------------------------------------------------------------- moved cameras

ROOM_CAMERA = COLOR_CAMERA.resized(160, 120)


@pytest.fixture(scope="module")
def room_views(room):
    """Views of the toy room with depth in millimetres."""
    views = []
    for rotation, center in list(zip(*trajectory(0, 2, 30), strict=True))[::8]:
        color, depth = room.render(rotation, center, ROOM_CAMERA)
        views.append((View(color, rotation, center), np.rint(depth * 1000).astype(np.uint16)))
    return views


MOVES = {  # turn about x, y, z in degrees; shift along x, y, z in metres
    "right": ((0, 0, 0), (0.2, 0, 0)),
    "down": ((0, 0, 0), (0, 0.2, 0)),
    "forward": ((0, 0, 0), (0, 0, 0.25)),
    "turned only": ((5, -8, 10), (0, 0, 0)),
    "all": ((-4, 6, 8), (-0.15, 0.1, -0.2)),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_moved_view_is_the_view_from_the_pose_it_returns(room, room_views, name):
    degrees, shift = MOVES[name]
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    for view, depth in room_views:
        moved, _ = moved_view(DepthView(view, depth), ROOM_CAMERA, turn, np.array(shift))
        seen = (moved.image != UNSEEN).any(axis=2)
        assert seen.mean() > 0.6

        def difference(rotation, translation, found=moved.image, seen=seen):
            true, _ = room.render(rotation, translation, ROOM_CAMERA)
            return np.abs(true.astype(int) - found)[seen]

        right = difference(moved.rotation, moved.translation)
        assert np.median(right) <= 4
        wrong = {
            "the old pose": (view.rotation, view.translation),
            "the inverse turn": (view.rotation @ turn.T, moved.translation),
            "the opposite shift": (moved.rotation, 2 * view.translation - moved.translation),
            "the shift in the world": (moved.rotation, view.translation + shift),
        }
        for what, pose in wrong.items():
            same = np.allclose(pose[0], moved.rotation) and np.allclose(pose[1], moved.translation)
            if not same:
                assert difference(*pose).mean() > 1.8 * right.mean(), what
        np.testing.assert_allclose(moved.rotation, view.rotation @ turn, atol=1e-12)
        np.testing.assert_allclose(
            moved.translation, view.translation + view.rotation @ shift, atol=1e-12
        )


def test_a_view_that_is_only_turned_is_the_same_from_depth_as_from_the_homography(room_views):
    turn = Rotation.from_euler("xyz", (3, 6, -4), degrees=True).as_matrix()
    for view, depth in room_views:
        moved = moved_view(DepthView(view, depth), ROOM_CAMERA, turn, np.zeros(3))[0].image.astype(
            int
        )
        turned = turned_view(view, ROOM_CAMERA, turn)[0].image
        assert np.mean(np.abs(moved - turned).max(axis=2) < 8) > 0.95


def test_what_has_no_depth_is_not_seen():
    view, depth = noise_view(), np.full((24, 32), 2000, np.uint16)
    depth[:, :16] = 0
    moved, seen = moved_view(DepthView(view, depth), SMALL, np.eye(3), np.zeros(3))
    np.testing.assert_array_equal(moved.image[:, 16:], view.image[:, 16:])
    assert (moved.image[:, :14] == UNSEEN).all()
    assert not seen[:, :14].any()
    assert seen[1:-1, 17:-1].all()


def test_only_what_is_unseen_is_filled_in_and_the_first_filler_wins():
    view, depth = noise_view(), np.full((24, 32), 2000, np.uint16)
    red, blue = (View(np.full_like(view.image, c), *view[1:]) for c in ((200, 0, 0), (0, 0, 200)))
    half = depth.copy()
    half[:, :8] = 0
    seen = np.zeros((24, 32), bool)
    seen[:, 24:] = True
    filled = fill_unseen(view, seen, [DepthView(red, half), DepthView(blue, depth)], SMALL).image
    np.testing.assert_array_equal(filled[:, 24:], view.image[:, 24:])
    assert (filled[1:-1, 10:24] == (200, 0, 0)).all()
    assert (filled[1:-1, 1:6] == (0, 0, 200)).all()
    assert fill_unseen(view, ~seen | seen, [DepthView(red, depth)], SMALL).image is not red.image


def test_what_was_not_seen_is_rendered_as_it_is(room):
    """Turn a toy room camera away, fill in from a second camera, compare with the true view."""
    (rotations, centers) = trajectory(0, 0, 60)
    first, second = (
        DepthView(View(color, rotations[i], centers[i]), np.rint(1000 * depth).astype(np.uint16))
        for i in (10, 14)
        for color, depth in [room.render(rotations[i], centers[i], ROOM_CAMERA)]
    )
    turn = first.view.rotation.T @ second.view.rotation
    turned, seen = turned_view(first.view, ROOM_CAMERA, turn)
    filled = fill_unseen(turned, seen, [second], ROOM_CAMERA)
    truth, _ = room.render(filled.rotation, filled.translation, ROOM_CAMERA)
    difference = np.abs(filled.image.astype(int) - truth)[~seen]
    assert (~seen).mean() > 0.05
    assert np.median(difference) < 12
    assert np.median(np.abs(turned.image.astype(int) - truth)[~seen]) > 25


def test_a_random_view_with_too_many_holes_is_turned_instead():
    view = noise_view()
    config = replace(NOTHING, yaw_deg=10, roll_deg=10, depth_share=1.0, shift_m=0.3)
    for seed in range(5):
        found = random_view(
            view, np.zeros((24, 32), np.uint16), SMALL, config, np.random.default_rng(seed)
        )
        np.testing.assert_array_equal(found.translation, view.translation)
        turn = view.rotation.T @ found.rotation
        assert not np.allclose(turn, np.eye(3))
        np.testing.assert_allclose(found.image, turned_view(view, SMALL, turn)[0].image, atol=1)


# ---------------------------------------------------------------------------------- random views


@pytest.mark.parametrize("depth_share", [0.0, 1.0])
def test_a_random_view_without_ranges_is_the_view(room_views, depth_share):
    config = replace(NOTHING, depth_share=depth_share)
    for view, depth in room_views:
        found = random_view(view, depth, ROOM_CAMERA, config, np.random.default_rng(0))
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
    angles, shifts = draw(config, np.full((24, 32), 2000, np.uint16))
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
    _, shifts = draw(config, np.full((24, 32), 2000, np.uint16))
    assert low <= np.mean(np.abs(shifts).max(axis=1) > 1e-6) <= high
    _, shifts = draw(config, None, count=20)
    np.testing.assert_allclose(shifts, 0, atol=1e-12)


def test_the_generator_decides_everything(room_views):
    view, depth = room_views[0]
    config = AugmentConfig(depth_share=0.5)

    def look(seed):
        return random_view(view, depth, ROOM_CAMERA, config, np.random.default_rng(seed))

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
            view, depth, ROOM_CAMERA, AugmentConfig(depth_share=0.5), np.random.default_rng(seed)
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
    image, rng = noise_view().image, np.random.default_rng(0)
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
