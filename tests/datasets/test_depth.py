"""Depth: the nearest surface wins, and the depth camera's pixels land on the colour camera's."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posenet.datasets.depth import (
    Transfer,
    depth_for_color,
    invert_depth,
    parallax,
    splat,
    transfer_pixels,
)
from posenet.datasets.frame import DepthCamera
from posenet.geometry import Intrinsics

CAMERA = Intrinsics(100.0, 100.0, 40.0, 30.0, 81, 61)


def at_pixels(camera, pixels, depth):
    """Points at ``depth`` seen at pixels (N, 2)."""
    pixels = np.asarray(pixels)
    return (camera.rays()[pixels[:, 1], pixels[:, 0]] * np.reshape(depth, (-1, 1))).astype("f4")


def splat_points(points, camera):
    """The inverse depth image of points (N, 3) of the camera's frame that lie in front of it."""
    u, v = camera.project(points).T
    return splat(Transfer(u, v, 1 / points[:, 2]), camera)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_nearest_point_wins_in_any_order(order):
    points = at_pixels(CAMERA, [(20, 10)] * 3, (4.0, 2.0, 3.0))[list(order)]
    inverse = splat_points(points, CAMERA)
    assert inverse.shape == (61, 81)
    assert inverse[10, 20] == pytest.approx(1 / 2)
    assert np.count_nonzero(inverse) == 1


def test_points_outside_leave_no_trace():
    points = np.float32([(0.405, 0, 1), (-0.406, 0, 1), (0, 9, 1), (0, -9, 1)])
    inverse = splat_points(points, CAMERA)
    assert np.argwhere(inverse).tolist() == [[30, 80]]  # 40.5 rounds to the even, last column
    assert not splat_points(np.zeros((0, 3), np.float32), CAMERA).any()


def test_pixels_are_transferred_as_their_points_are_projected():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 5, (61, 81)).astype(np.float32)
    other = Intrinsics(140.0, 130.0, 50.0, 20.0, 96, 64)
    turn, shift = Rotation.from_rotvec((0.2, -0.1, 0.3)).as_matrix(), np.array((0.3, -0.2, 0.4))
    seen_by = parallax(CAMERA, other, turn, shift)
    moved = transfer_pixels(1 / depth, seen_by)
    points = (CAMERA.rays() * depth[..., None] - shift) @ turn
    np.testing.assert_allclose(np.stack((moved.u, moved.v), -1), other.project(points), atol=2e-3)
    np.testing.assert_allclose(1 / moved.inverse, points[..., 2], rtol=1e-4)
    pixels = rng.integers(0, depth.size, (7, 11))
    for some, every in zip(transfer_pixels(1 / depth, seen_by, pixels), moved, strict=True):
        np.testing.assert_allclose(some, every.ravel()[pixels], rtol=1e-6)


def test_what_is_unknown_behind_or_too_near_is_not_transferred():
    inverse = np.zeros((61, 81), np.float32)
    inverse[30, 40], inverse[30, 41], inverse[30, 42], inverse[30, 43] = (
        1 / 2,
        1 / 3,
        1 / 3.05,
        1 / 4,
    )
    seen_by = parallax(CAMERA, CAMERA, np.eye(3), np.array((0, 0, 3.0)))
    moved = transfer_pixels(inverse, seen_by)
    assert all(np.isfinite(part).all() for part in moved)
    assert np.argwhere(moved.inverse).tolist() == [[30, 43]]
    assert moved.inverse[30, 43] == pytest.approx(1.0)


def test_cracks_of_a_pixel_are_closed_and_larger_gaps_stay():
    columns, rows = np.meshgrid(np.arange(10, 70), np.arange(10, 50))
    pixels = np.column_stack((columns.ravel(), rows.ravel()))
    crack = pixels[:, 0] == 30
    gap = (pixels[:, 0] >= 50) & (pixels[:, 0] < 55)
    inverse = splat_points(at_pixels(CAMERA, pixels[~crack & ~gap], 2.0), CAMERA)
    np.testing.assert_allclose(inverse[12:48, 12:49], 0.5, rtol=1e-6)
    assert not inverse[10:50, 50:55].any()


def test_a_background_does_not_shine_through_the_cracks_of_a_foreground():
    columns, rows = np.meshgrid(np.arange(20, 60), np.arange(15, 45))
    pixels = np.column_stack((columns.ravel(), rows.ravel()))
    near = at_pixels(CAMERA, pixels[pixels[:, 0] % 5 != 0], 1.0)
    inverse = splat_points(np.concatenate((at_pixels(CAMERA, pixels, 4.0), near)), CAMERA)
    np.testing.assert_allclose(inverse[16:44, 21:58], 1.0, rtol=1e-6)


# A box in front of a wall. The depth camera has another lens and sits so far beside the colour
# camera that box and wall shift by 10 and 4 pixels against each other.
COLOR = Intrinsics(300.0, 300.0, 79.5, 59.5, 160, 120)
DEPTH = DepthCamera(Intrinsics(330.0, 330.0, 79.5, 59.5, 160, 120), (0.1, -0.04, 0.0))
WALL, BOX = 3.0, 1.5
BOX_CORNERS = (-0.2, -0.1, 0.15, 0.12)  # left, top, right, bottom in the colour camera's frame


def box_and_wall(camera, center):
    """Depth of the scene seen by ``camera``, whose centre is ``center`` in the colour frame."""
    x, y = np.moveaxis(camera.rays()[..., :2] * BOX, -1, 0)
    left, top, right, bottom = BOX_CORNERS
    inside = (x > left - center[0]) & (x < right - center[0])
    inside &= (y > top - center[1]) & (y < bottom - center[1])
    return np.where(inside, BOX, WALL).astype(np.float32)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_box_registers_to_the_pixels_where_the_color_camera_sees_it(scale):
    sensor = DEPTH.intrinsics.resized(160 * scale, 120 * scale)
    measured = box_and_wall(sensor, -np.array(DEPTH.color_center))
    truth = box_and_wall(COLOR, np.zeros(3))
    found = depth_for_color(measured, DEPTH, COLOR, None, COLOR)
    assert found.shape == (120, 160)
    assert (found > 0).all()  # holes are filled
    inside = truth == BOX
    assert inside.sum() == 70 * 44
    # Beside the box is wall that the depth camera does not see, filled from a neighbour.
    core = cv2.erode(inside.astype(np.uint8), np.ones((5, 5))) > 0
    around = cv2.dilate(inside.astype(np.uint8), np.ones((13, 25))) > 0
    sure = core | ~around
    assert sure.mean() > 0.85
    np.testing.assert_allclose(found[sure], truth[sure], rtol=1e-4)
    # The same depth taken for the colour camera's own is off by the parallax.
    naive = depth_for_color(measured, None, COLOR, None, COLOR)
    assert (np.abs(naive - truth)[sure] > 0.1).mean() > 0.02


def test_a_slanted_plane_registers_to_its_depth():
    normal, offset = np.array((0.3, -0.2, 1.0)), 2.0  # normal . x = offset, colour frame
    rays = DEPTH.intrinsics.rays()
    # x_color = x_depth - center
    measured = (offset + normal @ DEPTH.color_center) / (rays @ normal)
    found = depth_for_color(measured.astype(np.float32), DEPTH, COLOR, None, COLOR)
    truth = offset / (COLOR.rays() @ normal)
    # A pixel is half a pixel off at most: 2 m * 0.3 / 300 px * 0.5 = 1 mm. The depth camera does
    # not see the rim.
    np.testing.assert_allclose(found[12:-12, 25:-25], truth[12:-12, 25:-25], atol=4e-3)


def test_holes_take_the_depth_of_their_nearest_neighbour():
    depth = np.full((61, 81), 2.0, np.float32)
    depth[:, 40:] = 3.0
    whole = depth.copy()
    depth[20:30, 36:48] = 0
    filled = depth_for_color(depth, None, CAMERA, None, CAMERA)
    np.testing.assert_array_equal(filled[:, :40], whole[:, :40])
    # The hole reaches 4 px left and 8 px right of the step: its middle may go either way.
    np.testing.assert_array_equal(filled[:, 43:], whole[:, 43:])
    assert set(np.unique(filled)) == {2.0, 3.0}


@pytest.mark.parametrize("camera", [None, DEPTH])
def test_nothing_known_stays_nothing(camera):
    found = depth_for_color(np.zeros((120, 160), np.float32), camera, COLOR, None, COLOR)
    assert found.shape == (120, 160)
    assert not found.any()


@pytest.mark.parametrize("size", [(224, 168), (320, 240), (700, 500)])
def test_registered_depth_is_resized_about_pixel_centres_without_mixing(size):
    ramp = np.tile(np.arange(1, 641, dtype=np.float32), (480, 1))
    found = depth_for_color(ramp, None, COLOR, None, COLOR.resized(*size))
    centre = (np.arange(size[0]) + 0.5) * 640 / size[0] + 0.5  # of the pixel, on the ramp
    assert found.shape == size[::-1]
    assert np.abs(found - centre).max() <= 0.51
    assert np.isin(found, ramp).all()


def test_unknown_depth_stays_unknown_when_inverted():
    depth = np.uint16([[0, 500], [2000, 65535]])
    np.testing.assert_allclose(invert_depth(depth, 1000.0), [[0, 2], [0.5, 1000 / 65535]])
    np.testing.assert_allclose(invert_depth(invert_depth(depth)), depth)
