"""Rendering: a view shows what a camera at its pose would have seen, and knows what it has not."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posenet.datasets.formats.seven_scenes import COLOR_CAMERA
from posenet.datasets.rendering import (
    DepthView,
    View,
    fill_unseen,
    moved_view,
    turned_view,
    with_alpha,
)
from posenet.datasets.resampling import UNSEEN
from posenet.datasets.toy_room import trajectory

POSE = (Rotation.from_rotvec((0.4, -1.1, 0.7)).as_matrix(), np.array((1.0, -2.0, 0.5)))
SMALL = COLOR_CAMERA.resized(32, 24)
ROOM_CAMERA = COLOR_CAMERA.resized(160, 120)  # of the fixture room_views


def noise_view():
    image = np.random.default_rng(3).integers(20, 200, (24, 32, 3), np.uint8)
    return View(with_alpha(image), *POSE)


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
    turned = turned_view(View(with_alpha(image), *POSE), camera, turn)
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
    view = View(with_alpha(np.zeros((24, 32, 3), np.uint8)), *POSE)
    turned = turned_view(view, SMALL, Rotation.from_euler("y", 30, degrees=True).as_matrix())
    assert (turned.image[:, -5:, :3] == UNSEEN).all()  # Turned right: the right rim is new.
    assert not turned.seen[:, -5:].any()
    assert (turned.image[6:-6, :10, :3] == 0).all()
    assert turned.seen[6:-6, :10].all()


# --------------------------------------------------------------------------------- moved cameras

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
        moved = moved_view(DepthView(view, depth), ROOM_CAMERA, turn, np.array(shift))
        seen = moved.seen
        assert seen.mean() > 0.6

        def difference(rotation, translation, found=moved.image[..., :3], seen=seen):
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
        moved = moved_view(DepthView(view, depth), ROOM_CAMERA, turn, np.zeros(3)).image.astype(int)
        turned = turned_view(view, ROOM_CAMERA, turn).image
        assert np.mean(np.abs(moved - turned).max(axis=2) < 8) > 0.95


def test_what_has_no_depth_is_not_seen():
    view, depth = noise_view(), np.full((24, 32), 2000, np.uint16)
    depth[:, :16] = 0
    moved = moved_view(DepthView(view, depth), SMALL, np.eye(3), np.zeros(3))
    np.testing.assert_array_equal(moved.image[:, 16:], view.image[:, 16:])
    assert (moved.image[:, :14, :3] == UNSEEN).all()
    assert not moved.seen[:, :14].any()
    assert moved.seen[1:-1, 17:-1].all()


def test_only_what_is_unseen_is_filled_in_and_the_first_filler_wins():
    view, depth = noise_view(), np.full((24, 32), 2000, np.uint16)
    colors = np.uint8((200, 0, 0)), np.uint8((0, 0, 200))
    red, blue = (View(with_alpha(np.tile(c, (24, 32, 1))), *view[1:]) for c in colors)
    half = depth.copy()
    half[:, :8] = 0
    seen = np.zeros((24, 32), bool)
    seen[:, 24:] = True
    known = view._replace(image=with_alpha(view.image[..., :3].copy(), seen))
    filled = fill_unseen(known, [DepthView(red, half), DepthView(blue, depth)], SMALL).image
    np.testing.assert_array_equal(filled[:, 24:], view.image[:, 24:])
    assert (filled[1:-1, 10:24, :3] == (200, 0, 0)).all()
    assert (filled[1:-1, 1:6, :3] == (0, 0, 200)).all()
    np.testing.assert_array_equal(known.image[..., 3] == 255, seen)  # left as it was


def test_what_was_not_seen_is_rendered_as_it_is(room):
    """Turn a toy room camera away, fill in from a second camera, compare with the true view."""
    (rotations, centers) = trajectory(0, 0, 60)
    first, second = (
        DepthView(
            View(with_alpha(color), rotations[i], centers[i]),
            np.rint(1000 * depth).astype(np.uint16),
        )
        for i in (10, 14)
        for color, depth in [room.render(rotations[i], centers[i], ROOM_CAMERA)]
    )
    turn = first.view.rotation.T @ second.view.rotation
    turned = turned_view(first.view, ROOM_CAMERA, turn)
    seen = turned.seen
    filled = fill_unseen(turned, [second], ROOM_CAMERA)
    truth, _ = room.render(filled.rotation, filled.translation, ROOM_CAMERA)
    difference = np.abs(filled.image[..., :3].astype(int) - truth)[~seen]
    assert (~seen).mean() > 0.05
    assert np.median(difference) < 12
    assert np.median(np.abs(turned.image[..., :3].astype(int) - truth)[~seen]) > 25


# ------------------------------------------------------------------------- what has not been seen


def test_an_image_without_colours_at_its_border_has_none_there_in_any_view():
    seen = np.ones((24, 32), bool)
    seen[:, :10] = False
    view = noise_view()
    view = view._replace(image=with_alpha(view.image[..., :3].copy(), seen))
    np.testing.assert_array_equal(view.seen, seen)
    turn, nowhere = Rotation.from_euler("z", 4, degrees=True).as_matrix(), np.zeros(3)
    depth = np.full((24, 32), 2000, np.uint16)
    for found in (
        turned_view(view, SMALL, turn),
        moved_view(DepthView(view, depth), SMALL, turn, nowhere),
    ):
        assert not found.seen[2:-2, :8].any()
        assert found.seen[3:-3, 13:-3].all()


@pytest.mark.parametrize("size", [(160, 120), (150, 117)])
def test_filled_in_pixels_are_those_of_the_moved_view(room, size):
    """Only a part of the filler is rendered, and it must be the right one."""
    camera = COLOR_CAMERA.resized(*size)
    rotations, centers = trajectory(0, 0, 60)
    views = []
    for i in (10, 13, 16):
        color, depth = room.render(rotations[i], centers[i], camera)
        view = View(with_alpha(color), rotations[i], centers[i])
        views.append(DepthView(view, np.rint(1000 * depth).astype(np.uint16)))
    rng = np.random.default_rng(0)
    for other in views[1:]:
        to_other = other.view.rotation.T
        nearby = Rotation.from_rotvec(rng.normal(0, 0.05, 3)).as_matrix()
        turn = views[0].view.rotation.T @ other.view.rotation @ nearby
        shift = rng.normal(0, 0.1, 3)
        view = moved_view(views[0], camera, turn, shift)
        filled = fill_unseen(view, [other], camera)
        shift = to_other @ (view.translation - other.view.translation)
        whole = moved_view(other, camera, to_other @ view.rotation, shift)
        new = ~view.seen & whole.seen
        expected = np.where(new[..., None], whole.image, view.image)
        assert new.mean() > 0.02
        assert (filled.image != expected).any(axis=2)[new].mean() < 0.005
        np.testing.assert_array_equal(filled.image[~new], expected[~new])


def test_an_image_that_looks_away_fills_in_nothing(room_views):
    view = turned_view(
        room_views[0].view, ROOM_CAMERA, Rotation.from_rotvec((0, 0.3, 0)).as_matrix()
    )
    behind = Rotation.from_rotvec((0, np.pi, 0)).as_matrix()
    away = room_views[0].view._replace(rotation=view.rotation @ behind)
    filled = fill_unseen(view, [DepthView(away, room_views[0].depth)], ROOM_CAMERA)
    np.testing.assert_array_equal(filled.image, view.image)


def test_a_view_that_has_seen_everything_asks_for_nothing(room_views):
    def never():
        raise AssertionError("asked")
        yield

    view = room_views[0].view
    np.testing.assert_array_equal(fill_unseen(view, never(), ROOM_CAMERA).image, view.image)
