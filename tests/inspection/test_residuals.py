"""The error of a match is its distance to where the point could be seen."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posenet.inspection.hypotheses import HYPOTHESES, describe_axes, invert, signed_permutations
from posenet.inspection.residuals import (
    Matches,
    match_errors,
    pair_errors,
    relative_poses,
    triangulate,
)

FOCAL = 500.0


def scene(seed, count=60):
    """Two cameras that look at the same points; poses (2, ...), matches without noise, depths."""
    rng = np.random.default_rng(seed)
    points = rng.uniform((-1, -1, 2), (1, 1, 5), (count, 3))
    rotations = Rotation.from_rotvec(rng.normal(0, 0.1, (2, 3))).as_matrix()
    centers = rng.uniform(-0.3, 0.3, (2, 3))
    seen = [(points - c) @ r for r, c in zip(rotations, centers, strict=True)]
    first, second = (part[:, :2] / part[:, 2:] for part in seen)
    ends = np.array([0]), np.array([1])
    matches = Matches(*ends, np.zeros(count, int), first, second, np.array([FOCAL]))
    # Any world will do.
    turn, shift = Rotation.random(random_state=seed).as_matrix(), rng.normal(0, 3, 3)
    return turn @ rotations, centers @ turn.T + shift, matches, seen[0][:, 2]


@pytest.mark.parametrize("seed", range(5))
def test_right_poses_have_no_error_and_the_right_depth(seed):
    rotations, centers, matches, depths = scene(seed)
    relative = relative_poses(rotations, centers, matches)
    np.testing.assert_allclose(match_errors(relative, matches), 0, atol=1e-8)
    np.testing.assert_allclose(triangulate(relative, matches)[0], depths, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_scale_and_world_change_nothing(seed):
    rotations, centers, matches, _ = scene(seed)
    turn = Rotation.random(random_state=99).as_matrix()
    noisy = matches._replace(points_second=matches.points_second + 0.01)
    error = match_errors(relative_poses(rotations, centers, noisy), noisy)
    other = relative_poses(turn @ rotations, 7 * centers @ turn.T + 3, noisy)
    np.testing.assert_allclose(match_errors(other, noisy), error, rtol=1e-6)


def test_moving_a_point_across_its_line_costs_what_it_was_moved():
    matches = Matches(
        np.array([0]),
        np.array([1]),
        np.array([0]),
        np.array([[0.1, 0.0]]),
        np.array([[0.0, 0.004]]),
        np.array([FOCAL]),
    )
    # The second camera stands to the right: points move left, along rows.
    centers = np.array([[0.0, 0, 0], [0.5, 0, 0]])
    relative = relative_poses(np.stack([np.eye(3)] * 2), centers, matches)
    np.testing.assert_allclose(match_errors(relative, matches), 0.004 * FOCAL, rtol=1e-6)


def test_a_point_behind_the_cameras_is_as_wrong_as_it_is_far_from_infinity():
    matches = Matches(
        np.array([0]),
        np.array([1]),
        np.array([0]),
        np.array([[0.0, 0.0]]),
        np.array([[0.02, 0.0]]),  # moved right although the camera moved right
        np.array([FOCAL]),
    )
    centers = np.array([[0.0, 0, 0], [0.5, 0, 0]])
    relative = relative_poses(np.stack([np.eye(3)] * 2), centers, matches)
    np.testing.assert_allclose(match_errors(relative, matches), 0.02 * FOCAL, rtol=1e-6)
    assert np.isnan(triangulate(relative, matches)[0]).all()


def test_without_a_baseline_the_rotation_is_judged():
    rotations, centers, matches, _ = scene(0)
    still = np.zeros_like(centers)
    turned = relative_poses(rotations, still, matches)
    assert np.isfinite(pair_errors(turned, matches)).all()
    same = matches._replace(points_second=matches.points_first)
    unturned = relative_poses(np.stack([np.eye(3)] * 2), still, same)
    np.testing.assert_allclose(match_errors(unturned, same), 0, atol=1e-9)


def test_inversion_undoes_itself():
    rotations, centers, _, _ = scene(1)
    for got, expected in zip(
        invert(*invert(rotations, centers)), (rotations, centers), strict=True
    ):
        np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("hypothesis", HYPOTHESES, ids=lambda row: row.what)
def test_undoing_keeps_rotations_and_relative_angles(hypothesis):
    rng = np.random.default_rng(4)
    rotations, centers = Rotation.random(6, random_state=4).as_matrix(), rng.normal(size=(6, 3))
    undone, moved = hypothesis.undo(rotations, centers)
    np.testing.assert_allclose(np.linalg.det(undone), 1, atol=1e-9)
    assert moved.shape == centers.shape

    def angles(matrices):
        return np.einsum("iab,jab->ij", matrices, matrices)

    # What is promised: no convention changes the angle between two labels.
    np.testing.assert_allclose(angles(undone), angles(rotations), atol=1e-6)


def test_there_are_48_axes_and_they_are_told_by_name():
    axes = signed_permutations()
    assert len({a.tobytes() for a in (np.round(b + 0.0) for b in axes)}) == 48
    np.testing.assert_array_equal(axes[0], np.eye(3))
    assert describe_axes(np.diag((1.0, -1.0, -1.0))) == "x right, y up, z back"
