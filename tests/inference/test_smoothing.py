"""Smoothing keeps what it must keep, whatever the world's axes, and loses outliers."""

import math

import pytest
import torch

from posenet.geometry import (
    Pose,
    geodesic_distance,
    rotation_from_quaternion,
    rotation_from_rotvec,
    rotation_to_quaternion,
    stack_poses,
    translation_distance,
)
from posenet.inference.answers import Localized
from posenet.inference.cameras import ImageCamera
from posenet.inference.smoothing import _robust_weights, smooth_localized, smooth_poses
from posenet.losses import ROBUST_LOSSES

from .conftest import CAMERA

WIDTH = 0.3


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def irregular_times(count, seed=0):
    gaps = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (0.01 + 0.1 * gaps).cumsum(dim=0)


def ramp(times):
    """Uniform motion: a turn at 1 rad a second about a tilted axis, and a line."""
    rate = torch.tensor([0.6, -0.64, 0.48], dtype=torch.float64)
    start = rotation_from_rotvec(torch.tensor([0.3, 2.0, -1.0], dtype=torch.float64))
    velocity = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    return Pose(start @ rotation_from_rotvec(times[:, None] * rate), times[:, None] * velocity)


def shaken(poses, angle=0.03, distance=0.03, seed=0):
    count = len(poses.translation)
    return Pose(
        poses.rotation @ rotation_from_rotvec(angle * normal(count, 3, seed=seed)),
        poses.translation + distance * normal(count, 3, seed=seed + 1),
    )


def walk(times):
    turns = torch.stack((0.3 * times.sin(), 0.5 * times, 0.2 * (0.7 * times).cos()), dim=-1)
    centers = torch.stack(((0.5 * times).cos(), 0.1 * times.sin(), (0.5 * times).sin()), dim=-1)
    return Pose(rotation_from_rotvec(turns), centers)


def errors(poses, truth):
    return (
        geodesic_distance(poses.rotation, truth.rotation),
        translation_distance(poses.translation, truth.translation),
    )


def assert_same(poses, expected, atol=1e-9):
    angle, distance = errors(poses, expected)
    assert angle.max() < atol
    assert distance.max() < atol * (1.0 + expected.translation.abs().max())


def gone_to(pose, world):
    return Pose(
        world.rotation @ pose.rotation, pose.translation @ world.rotation.mT + world.translation
    )


@pytest.mark.parametrize("causal", [False, True])
def test_a_camera_that_stands_still_stays(causal):
    times = irregular_times(40)
    still = Pose(*(part.expand(40, *part.shape[1:]) for part in ramp(times[:1])))
    assert_same(smooth_poses(still, times, WIDTH, causal), still)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("times", [torch.arange(60).double() / 30, irregular_times(60)])
def test_uniform_motion_stays_also_at_the_ends(times, causal):
    poses = ramp(times)
    assert_same(smooth_poses(poses, times, WIDTH, causal), poses)


@pytest.mark.parametrize("causal", [False, True])
def test_a_moved_world_has_moved_poses(causal):
    times = irregular_times(50)
    poses = shaken(walk(times))
    for scale in (1.0, 1e6):  # far from the origin, too
        world = Pose(ramp(times[20:21]).rotation[0], scale * normal(3, seed=5))
        expected = gone_to(smooth_poses(poses, times, WIDTH, causal), world)
        found = smooth_poses(gone_to(poses, world), times, WIDTH, causal)
        assert_same(found, expected, atol=1e-8)


def test_the_sign_of_a_quaternion_does_not_matter():
    times = irregular_times(40)
    poses = shaken(walk(times))
    quaternions = rotation_to_quaternion(poses.rotation)
    signs = torch.where(normal(40, 1, seed=3) > 0, 1.0, -1.0)
    again = Pose(rotation_from_quaternion(signs * quaternions), poses.translation)
    assert_same(smooth_poses(again, times, WIDTH), smooth_poses(poses, times, WIDTH))


@pytest.mark.parametrize(("causal", "gain"), [(False, 2.5), (True, 1.5)])
def test_noise_gets_less(causal, gain):
    times = torch.arange(200).double() / 30
    truth = walk(times)
    raw = shaken(truth)
    smooth = smooth_poses(raw, times, WIDTH, causal)
    for before, after in zip(errors(raw, truth), errors(smooth, truth), strict=True):
        assert after.median() < before.median() / gain


def test_outliers_are_lost_and_leave_no_trace():
    times = torch.arange(90).double() / 30
    truth = walk(times)
    raw = shaken(truth, 0.01, 0.01)
    clean = smooth_poses(raw, times, WIDTH)
    wrong = [3, 20, 21, 50, 70, 88]
    rotation, translation = raw.rotation.clone(), raw.translation.clone()
    rotation[wrong] = rotation[wrong] @ rotation_from_rotvec(2.0 * normal(6, 3, seed=7))
    translation[wrong] += 5.0 * normal(6, 3, seed=8)
    found = smooth_poses(Pose(rotation, translation), times, WIDTH)
    angle, distance = errors(found, clean)
    assert angle.max() < 0.01  # a mean would be half a radian off
    assert distance.max() < 0.01


def test_the_weights_are_those_of_the_loss():
    residual = normal(1, 9, 3, seed=2)
    near = torch.ones(1, 9, dtype=torch.float64)
    length = residual.norm(dim=-1)
    row = ROBUST_LOSSES["geman_mcclure"]
    sigma = length.median() / 1.538
    z = (length / (row.efficient_scale * sigma)).requires_grad_()
    (psi,) = torch.autograd.grad(row.function(z, reduction="sum"), z)
    torch.testing.assert_close(_robust_weights(residual, near), psi / z.detach())
    lengths = normal(1_000_001, 3).norm(dim=-1)  # what 1.538 says
    assert lengths.median().item() == pytest.approx(1.538, abs=0.003)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_few_poses_are_enough(count):
    times = torch.arange(count).double()
    poses = ramp(times)
    for causal in (False, True):
        assert_same_or_empty(smooth_poses(poses, times, 0.5, causal), poses)


def assert_same_or_empty(found, expected):
    assert found.rotation.shape == expected.rotation.shape
    if len(expected.translation):
        assert_same(found, expected)


def test_poses_that_stand_alone_stay():
    times = 100.0 * torch.arange(5).double()
    poses = shaken(ramp(times), 1.0, 1.0)
    assert_same(smooth_poses(poses, times, 1.0), poses)


def test_a_causal_pose_does_not_depend_on_later_ones():
    times = irregular_times(40)
    poses = shaken(walk(times))
    first = Pose(poses.rotation[:25], poses.translation[:25])
    whole = smooth_poses(poses, times, WIDTH, causal=True)
    part = smooth_poses(first, times[:25], WIDTH, causal=True)
    assert_same(part, Pose(whole.rotation[:25], whole.translation[:25]))


@pytest.mark.parametrize("width", [0.0, -1.0, math.inf, math.nan])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(ValueError, match="width_s: expected seconds, more than 0"):
        smooth_poses(ramp(torch.zeros(1).double()), torch.zeros(1), width)


def test_times_must_rise():
    times = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match="times_s: expected rising times"):
        smooth_poses(ramp(times), times, 1.0)


# --- as they come ---------------------------------------------------------------------------


def film(times, poses, name="film"):
    camera = ImageCamera(CAMERA, "training")
    for i, time in enumerate(times.tolist()):
        pose = Pose(poses.rotation[i], poses.translation[i])
        yield Localized(f"{name}#{i}", pose, None, camera, recording=name, time_s=time)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("count", [1, 31, 32, 33, 150])
def test_frames_are_smoothed_as_they_come_like_all_at_once(causal, count):
    times = irregular_times(count)
    poses = shaken(walk(times))
    found = list(smooth_localized(film(times, poses), WIDTH, causal))
    assert [entry.name for entry in found] == [f"film#{i}" for i in range(count)]
    expected = smooth_poses(poses, times, WIDTH, causal)
    assert_same(stack_poses([entry.pose for entry in found]), expected)
    assert_same(stack_poses([entry.raw for entry in found]), poses)


def test_recordings_are_smoothed_each_by_itself_and_images_not_at_all():
    times = irregular_times(40)
    poses, other = shaken(walk(times)), shaken(walk(times + 50.0), seed=9)
    image = Localized("a.png", Pose(torch.eye(3).double(), torch.ones(3).double()))
    lost = Localized("film#x", None, "cannot be decoded", recording="film")
    first, second = list(film(times, poses)), list(film(times, other, "other"))
    mixed = [image, *first[:7], lost, *first[7:], *second, Localized("film", None, "ends early")]
    found = list(smooth_localized(mixed, WIDTH, causal=False))
    assert [entry.name for entry in found] == [entry.name for entry in mixed]
    assert (found[0], found[8], found[-1]) == (image, lost, mixed[-1])
    frames = [entry for entry in found if entry.raw is not None]
    smooth = (smooth_poses(poses, times, WIDTH), smooth_poses(other, times, WIDTH))
    assert_same(stack_poses([entry.pose for entry in frames[:40]]), smooth[0])
    assert_same(stack_poses([entry.pose for entry in frames[40:]]), smooth[1])


def test_a_webcams_frame_is_given_back_at_once_and_a_videos_after_a_window():
    times = torch.arange(300).double() / 10
    poses = walk(times)
    for causal, most in ((True, 1), (False, 9 + 32 + 1)):
        taken = 0

        def count(entries):
            nonlocal taken
            for entry in entries:
                taken += 1
                yield entry

        found = smooth_localized(count(film(times, poses)), WIDTH, causal)
        for given, _ in enumerate(found, start=1):
            assert taken - given < most
