"""Baselines: what needs no training must at least be right."""

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from posenet.evaluation.baselines import describe, mean_pose, nearest_image_pose
from posenet.geometry import Pose

COUNT = 12
POSES = Pose(
    torch.from_numpy(Rotation.random(COUNT, random_state=0).as_matrix()),
    torch.arange(3.0 * COUNT, dtype=torch.float64).reshape(COUNT, 3),
)


@pytest.fixture(scope="module")
def images():
    """Smooth random pictures, their values in [60, 180] so that exposure does not clip them."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 181, (COUNT, 6, 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (64, 48)) for image in coarse])


def exposed(images, gain, offset):
    return np.clip(np.rint(gain * images.astype(float) + offset), 0, 255).astype(np.uint8)


def assert_poses(found: Pose, order) -> None:
    assert torch.equal(found.rotation, POSES.rotation[order])
    assert torch.equal(found.translation, POSES.translation[order])


def test_the_nearest_image_of_a_training_image_is_itself(images):
    order = np.random.default_rng(1).permutation(COUNT)
    assert_poses(nearest_image_pose(images, POSES, images[order]), order)


@pytest.mark.parametrize(
    ("gain", "offset"), [(1.0, 60), (1.0, -50), (0.5, 0), (0.6, 100), (1.4, 0), (1.3, -70)]
)
def test_brightness_and_contrast_do_not_matter(images, gain, offset):
    changed = exposed(images, gain, offset)
    assert_poses(nearest_image_pose(images, POSES, changed), range(COUNT))
    for image, other in zip(images, changed, strict=True):
        assert describe(image) @ describe(other) > 0.97


def test_noise_and_a_shift_of_two_pixels_do_not_matter(images):
    rng = np.random.default_rng(2)
    moved = np.roll(images, 2, axis=2) + rng.normal(0.0, 5.0, images.shape)
    found = nearest_image_pose(images, POSES, exposed(moved, 1.0, 0.0))
    assert_poses(found, range(COUNT))


def test_colour_tells_images_apart(images):
    recoloured = np.concatenate((images[:1], images[:1, ..., ::-1]))  # red and blue exchanged
    found = nearest_image_pose(recoloured, Pose(*(part[:2] for part in POSES)), images[:1])
    assert_poses(found, [0])


def test_descriptors_have_unit_length_and_no_mean(images):
    for image in images:
        descriptor = describe(image)
        assert np.linalg.norm(descriptor) == pytest.approx(1.0, abs=1e-6)
        np.testing.assert_allclose(descriptor.reshape(-1, 3).mean(axis=0), 0.0, atol=1e-6)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_image_is_like_no_other_and_breaks_nothing(images, level):
    blank = np.full_like(images[:1], level)
    assert np.isfinite(describe(blank[0])).all()
    known = np.concatenate((blank, images[1:]))
    found = nearest_image_pose(known, POSES, images[1:])
    assert_poses(found, range(1, COUNT))


def test_mean_pose_is_the_mean():
    center = Rotation.from_rotvec([0.3, -0.5, 1.2])
    turns = Rotation.from_rotvec([[0.4, 0, 0], [-0.4, 0, 0], [0, 0.2, 0], [0, -0.2, 0]])
    translations = torch.tensor([[1.0, 2, 3], [3, 2, 1], [-1, 0, 5], [1, 0, 3]]).double()
    train = Pose(torch.from_numpy((center * turns).as_matrix()), translations)
    found = mean_pose(train, 3)
    assert found.rotation.shape == (3, 3, 3)
    assert found.translation.shape == (3, 3)
    for rotation, translation in zip(*found, strict=True):
        np.testing.assert_allclose(rotation, center.as_matrix(), atol=1e-14)
        np.testing.assert_allclose(translation, [1.0, 1.0, 3.0], atol=1e-14)
