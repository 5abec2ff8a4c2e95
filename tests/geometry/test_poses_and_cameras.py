"""Poses in both directions, and intrinsics that follow the image."""

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.utils.data import default_collate

from posenet.geometry import (
    Intrinsics,
    Pose,
    pose_from_matrix,
    rotation_homography,
    stack_poses,
    translation_distance,
)

CAMERA = Intrinsics(525.0, 520.0, 319.5, 236.25, 640, 480)


def random_pose(*batch: int) -> Pose:
    generator = np.random.default_rng(0)
    count = int(np.prod(batch))
    rotation = Rotation.random(count, generator).as_matrix().reshape(*batch, 3, 3)
    return Pose(torch.tensor(rotation), torch.tensor(generator.normal(size=(*batch, 3))))


def points_in_front(count: int = 100) -> np.ndarray:
    """Camera-frame points that project all over the image, (count, 3)."""
    generator = np.random.default_rng(0)
    depth = generator.uniform(0.5, 5.0, size=(count, 1))
    return np.hstack((generator.uniform((-0.55, -0.4), (0.55, 0.4), (count, 2)), depth**0)) * depth


@pytest.mark.parametrize("batch", [(), (0,), (5,), (2, 3)])
def test_both_directions_are_inverses(batch):
    pose = random_pose(*batch)
    assert pose.matrix.shape == pose.world_to_camera.shape == (*batch, 4, 4)
    identity = torch.eye(4, dtype=torch.float64).expand(*batch, 4, 4)
    torch.testing.assert_close(pose.matrix @ pose.world_to_camera, identity, rtol=0, atol=1e-14)


def test_the_convention_is_camera_to_world_opencv():
    """A camera at (1, 2, 3) that looks along the world's x, with y down along the world's -z."""
    rotation = torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    pose = Pose(rotation, torch.tensor([1.0, 2.0, 3.0]))
    ahead = pose.matrix @ torch.tensor([0.0, 0.0, 5.0, 1.0])
    assert ahead.tolist() == [6.0, 2.0, 3.0, 1.0]
    assert (pose.world_to_camera @ torch.tensor([1.0, 2.0, 3.0, 1.0])).tolist() == [0, 0, 0, 1]
    assert pose.view_direction.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("rows", [3, 4])
def test_pose_from_matrix_projects_the_rotation(rows):
    pose = random_pose(20)
    sheared = pose.matrix[:, :rows].clone()
    sheared[:, :3, :3] *= 1.01  # as 7-Scenes ships them: not orthonormal
    read = pose_from_matrix(sheared)
    torch.testing.assert_close(read.rotation, pose.rotation, rtol=0, atol=1e-12)
    assert torch.equal(read.translation, pose.translation)


def test_pose_survives_collate_and_stack():
    batch = random_pose(4)
    poses = [Pose(batch.rotation[i], batch.translation[i]) for i in range(4)]
    for joined in (default_collate(poses), stack_poses(poses)):
        assert isinstance(joined, Pose)
        assert torch.equal(joined.rotation, batch.rotation)
        assert torch.equal(joined.translation, batch.translation)


def test_translation_distance():
    a, b = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), torch.tensor([2.0, 3.0, 6.0])
    torch.testing.assert_close(translation_distance(a, b), torch.tensor([7.0, 30.0**0.5]))
    zero = torch.zeros(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(translation_distance(zero, torch.zeros(3)), zero)
    assert torch.isfinite(gradient).all()


def test_project_agrees_with_opencv():
    points = points_in_front()
    pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), CAMERA.matrix, None)
    np.testing.assert_allclose(CAMERA.project(points), pixels[:, 0], atol=1e-9)


@pytest.mark.parametrize("size", [(320, 240), (224, 168), (1280, 960), (300, 480)])
def test_resized_projects_to_the_resized_pixel(size):
    points = points_in_front()
    scale = np.array(size) / (CAMERA.width, CAMERA.height)
    resized = CAMERA.resized(*size)
    expected = (CAMERA.project(points) + 0.5) * scale - 0.5
    np.testing.assert_allclose(resized.project(points), expected, atol=1e-9)
    assert (resized.width, resized.height) == size


def test_resized_follows_cv2_resize():
    """The oracle above is what cv2 does: a linear ramp of u, resized, holds the mapped u."""
    ramp = np.tile(np.arange(640, dtype=np.float64), (480, 1))
    small = cv2.resize(ramp, (320, 240), interpolation=cv2.INTER_AREA)
    old = CAMERA.rays()[0, :, 0] * CAMERA.focal_x + CAMERA.center_x
    np.testing.assert_allclose(old, ramp[0], atol=1e-9)
    new = CAMERA.resized(320, 240)
    x_over_z = new.rays()[120, :, 0]
    np.testing.assert_allclose(x_over_z * CAMERA.focal_x + CAMERA.center_x, small[120], atol=1e-9)


@pytest.mark.parametrize("window", [(0, 0, 640, 480), (17, 40, 224, 168), (-5, -8, 700, 500)])
def test_cropped_projects_to_the_shifted_pixel(window):
    left, top, width, height = window
    points = points_in_front()
    cropped = CAMERA.cropped(left, top, width, height)
    np.testing.assert_allclose(
        cropped.project(points), CAMERA.project(points) - (left, top), atol=1e-9
    )
    assert (cropped.width, cropped.height) == (width, height)


def test_rays_reproject_to_their_own_pixels():
    pixels = CAMERA.project(CAMERA.rays())
    assert pixels.shape == (480, 640, 2)
    v, u = np.mgrid[:480, :640]
    np.testing.assert_allclose(pixels, np.stack((u, v), axis=-1), atol=1e-9)


@pytest.mark.parametrize("turn_deg", [(0, 0, 0), (12, 0, 0), (0, -15, 0), (0, 0, 20), (5, 8, -9)])
def test_rotation_homography_moves_pixels_as_the_turned_camera(turn_deg):
    """World points seen by the camera and by the same camera with the label ``rotation @ turn``."""
    turn = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    pose = random_pose(1)
    rotation, center = pose.rotation[0].numpy(), pose.translation[0].numpy()
    points = points_in_front()
    world = points @ rotation.T + center
    turned_points = (world - center) @ (rotation @ turn)  # rows: (rotation @ turn).T @ (x - c)
    old = np.hstack((CAMERA.project(points), np.ones((len(points), 1))))
    new = old @ rotation_homography(CAMERA, turn).T
    np.testing.assert_allclose(new[:, :2] / new[:, 2:], CAMERA.project(turned_points), atol=1e-8)
