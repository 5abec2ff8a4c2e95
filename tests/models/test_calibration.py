"""Conformal radii: what they must cover, at which sizes, and what is said without validation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from posenet.models.calibration import (
    Calibration,
    PoseConfidence,
    conformal_quantile,
    make_calibration,
    pose_confidence,
)
from posenet.models.network import Confidence


def drawn(
    count: int, seed: int, factor: float = 1.0
) -> tuple[Confidence, torch.Tensor, torch.Tensor]:
    """Confidence and the errors it should have had, times a factor."""
    rng = np.random.default_rng(seed)
    scales = torch.from_numpy(np.exp(rng.normal(-5.0, 0.7, (2, count))))
    ratios = torch.from_numpy(stats.gamma(3.0).rvs((2, count), random_state=rng))
    novelty = torch.from_numpy(rng.gamma(5.0, 0.2, count))
    return Confidence(*scales, novelty), *(factor * scales * ratios)


def calibration_of(count: int, factor: float = 1.0, seed: int = 1) -> Calibration:
    confidence, angle, distance = drawn(count, seed, factor)
    return make_calibration(confidence, angle, distance, 0.0 * confidence.novelty)


def test_the_conformal_quantile_is_the_rank_that_the_proof_needs():
    scores = torch.arange(1.0, 20.0)  # 19 scores
    assert conformal_quantile(scores, 0.9) == 18.0  # ceil(20 * 0.9)
    assert conformal_quantile(scores, 0.95) == 19.0
    assert conformal_quantile(scores, 0.951) == math.inf
    assert conformal_quantile(scores, 0.5) == 10.0
    assert conformal_quantile(scores[:0], 0.5) == math.inf
    # 0.7 * 10 is 7.000000000000001 in floating point, and rank 8 would be one too many.
    assert conformal_quantile(scores[:9], 0.7) == 7.0


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 60), st.floats(0.1, 0.95), st.integers(0, 1000))
def test_a_new_score_is_held_as_often_as_asked(count, level, seed):
    """Exactly: of all ways to choose the new one among count + 1 scores."""
    scores = np.random.default_rng(seed).permutation(count + 1).astype(float)
    held = 0
    for i in range(count + 1):
        rest = torch.from_numpy(np.sort(np.delete(scores, i)))
        held += scores[i] <= conformal_quantile(rest, level)
    assert held / (count + 1) >= level - 1e-9
    assert held / (count + 1) <= level + 1.0 / (count + 1) + 1e-9


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_radii_hold_what_is_asked_however_wrong_the_scales_are(factor):
    calibration = calibration_of(2000, factor)
    confidence, angle, distance = drawn(4000, 2, factor)
    for level in (0.5, 0.9):
        radii = pose_confidence(confidence, calibration, level)
        rotation = (torch.rad2deg(angle) <= radii.rotation_radius_deg).double().mean()
        translation = (distance <= radii.translation_radius_m).double().mean()
        assert rotation == pytest.approx(level, abs=0.03)
        assert translation == pytest.approx(level, abs=0.03)


def said_of(novelties: list[float], known: list[float], mirrored: list[float]) -> PoseConfidence:
    """What is said of images, by the novelties of validation images and their mirror images."""
    calibration = Calibration(
        *(torch.ones(len(known)).double() for _ in range(2)),
        torch.tensor(known).double(),
        torch.tensor(mirrored).double(),
    )
    ones = torch.ones(len(novelties))
    return pose_confidence(Confidence(ones, ones, torch.tensor(novelties)), calibration)


def test_familiarity_is_the_share_of_validation_that_is_as_novel():
    found = said_of([0.5, 1.0, 1.5, 3.0, 9.0], [1.0, 2.0, 3.0], [5.0, 6.0, 7.0])
    expected = torch.tensor([1.0, 1.0, 0.75, 0.5, 0.25]).double()
    torch.testing.assert_close(found.familiarity, expected)


def test_what_is_as_novel_as_a_mirror_image_is_of_another_scene():
    known = [1.0 + 0.01 * i for i in range(40)]
    found = said_of([1.2, 3.0, 6.9, 7.1, 9.0], known, [5.0 + 0.1 * i for i in range(41)])
    assert found.same_scene.tolist() == [True, True, True, False, False]  # their median is 7


def test_a_scene_that_is_its_own_mirror_image_disowns_no_more_than_a_hundredth():
    confidence, *errors = drawn(5000, 1)
    calibration = make_calibration(confidence, *errors, confidence.novelty)  # median below 99 %
    other, *_ = drawn(5000, 3)
    flagged = ~pose_confidence(other, calibration).same_scene
    assert 0.003 < flagged.double().mean() < 0.02


@pytest.mark.parametrize("count", [1, 5, 18])
def test_few_validation_images_disown_nothing(count):
    found = said_of([99.0], [1.0] * count, [2.0] * count)
    assert found.same_scene.all()
    assert not said_of([99.0], [1.0] * 19, [2.0] * 19).same_scene.any()


def test_too_few_validation_images_say_so_by_infinite_radii():
    confidence, *_ = drawn(4, 0)
    found = pose_confidence(confidence, calibration_of(5))
    assert (found.rotation_radius_deg == 180.0).all()
    assert found.translation_radius_m.isinf().all()


def test_without_validation_radii_are_those_of_the_densities():
    confidence, angle, distance = drawn(4000, 2)
    found = pose_confidence(confidence, None, 0.9)
    held = (distance <= found.translation_radius_m).double().mean()
    assert held == pytest.approx(0.9, abs=0.02)
    held = (torch.rad2deg(angle) <= found.rotation_radius_deg).double().mean()
    assert held == pytest.approx(0.9, abs=0.02)
    assert found.familiarity.isnan().all()
    assert found.same_scene.all()


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, math.nan])
def test_a_level_that_is_no_share_is_refused(level):
    with pytest.raises(ValueError, match="level"):
        pose_confidence(drawn(2, 0)[0], None, level)


def test_an_angle_is_never_more_than_half_a_turn():
    confidence = Confidence(torch.full((2,), 5.0), torch.ones(2), torch.ones(2))
    assert (pose_confidence(confidence, None).rotation_radius_deg == 180.0).all()
