"""Pose errors against scipy, infinite errors that stay in the figures, and honest intervals."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from posenet.errors import DataError
from posenet.evaluation.metrics import (
    PoseErrors,
    bootstrap_differences,
    bootstrap_intervals,
    json_ready,
    pose_errors,
    summarise,
)
from posenet.evaluation.recall import RECALL_THRESHOLDS, recall_key, recall_keys
from posenet.geometry import Pose

INF = math.inf


def poses(count: int, seed: int) -> Pose:
    generator = np.random.default_rng(seed)
    rotation = Rotation.random(count, generator).as_matrix()
    return Pose(torch.tensor(rotation), torch.tensor(generator.normal(size=(count, 3))))


def errors(*rows: tuple[float, float]) -> PoseErrors:
    return PoseErrors(*np.array(rows, dtype=np.float64).T)


def test_pose_errors_agree_with_scipy():
    prediction, truth = poses(200, seed=0), poses(200, seed=1)
    turn = Rotation.from_matrix(truth.rotation).inv() * Rotation.from_matrix(prediction.rotation)
    result = pose_errors(prediction, truth)
    np.testing.assert_allclose(result.rotation_deg, np.rad2deg(turn.magnitude()), rtol=1e-12)
    moved = (prediction.translation - truth.translation).numpy()
    np.testing.assert_allclose(result.translation_m, np.linalg.norm(moved, axis=1), rtol=1e-14)
    assert result.translation_m.dtype == result.rotation_deg.dtype == np.float64


def test_small_errors_of_labels_that_are_not_orthonormal():
    """trace-acos says 1.5 degrees of such a label against itself; here 0 and 0.001 come out."""
    truth = poses(50, seed=0)
    sheared = Pose(truth.rotation * 1.0003, truth.translation)
    assert pose_errors(sheared, truth).rotation_deg.max() < 1e-12
    turn = torch.tensor(Rotation.from_rotvec([0.0, np.deg2rad(1e-3), 0.0]).as_matrix())
    turned = Pose(sheared.rotation @ turn, truth.translation)
    np.testing.assert_allclose(pose_errors(turned, truth).rotation_deg, 1e-3, rtol=1e-9)


def test_float32_predictions_are_projected_first():
    truth = poses(50, seed=0)
    rounded = Pose(truth.rotation.float(), truth.translation.float())
    assert pose_errors(rounded, truth).rotation_deg.max() < 1e-5


@pytest.mark.parametrize("bad", [math.nan, INF, -INF])
@pytest.mark.parametrize("part", ["rotation", "translation"])
def test_a_prediction_that_is_not_finite_is_infinitely_wrong(part, bad):
    truth = poses(3, seed=0)
    prediction = Pose(truth.rotation.clone(), truth.translation.clone())
    getattr(prediction, part)[1, 0] = bad
    result = pose_errors(prediction, truth)
    np.testing.assert_array_equal(result.translation_m, [0.0, INF, 0.0])
    assert result.rotation_deg[1] == INF
    assert result.rotation_deg[[0, 2]].max() < 1e-12


def test_shapes_and_true_poses_are_checked():
    good = poses(3, seed=0)
    with pytest.raises(ValueError, match=r"prediction: expected .* got \(3, 3\) and \(3,\)"):
        pose_errors(Pose(good.rotation[0], good.translation[0]), good)
    with pytest.raises(ValueError, match="got 2 and 3"):
        pose_errors(Pose(good.rotation[:2], good.translation[:2]), good)
    with pytest.raises(DataError, match="true pose 2"):
        pose_errors(good, Pose(good.rotation, good.translation * torch.tensor([[1], [1], [INF]])))


def test_summarise_by_hand():
    result = summarise(errors((0.05, 5.0), (0.08, 1.0), (0.20, 3.0), (0.40, 1.0), (INF, INF)))
    assert result == {
        "frames": 5.0,
        "median_translation_m": 0.20,
        "median_rotation_deg": 3.0,
        "mean_translation_m": INF,
        "mean_rotation_deg": INF,
        "rmse_translation_m": INF,
        "rmse_rotation_deg": INF,
        "recall_5cm_5deg": 0.2,
        "recall_10cm_5deg": 0.4,
        "recall_25cm_2deg": 0.2,
        "recall_50cm_5deg": 0.8,
        "recall_5m_10deg": 0.8,
    }
    finite = summarise(errors((1.0, 2.0), (2.0, 6.0)))
    assert (finite["mean_translation_m"], finite["median_rotation_deg"]) == (1.5, 4.0)
    assert finite["rmse_translation_m"] == pytest.approx(math.sqrt(2.5))
    assert finite["rmse_rotation_deg"] == pytest.approx(math.sqrt(20.0))


def test_missing_frames_worsen_every_figure():
    """With nanmedian three lost frames would leave 0.1 m; they must not."""
    result = summarise(errors((0.1, 1.0), (0.1, 1.0), (INF, INF), (INF, INF), (INF, INF)))
    assert result["median_translation_m"] == result["median_rotation_deg"] == INF
    assert result["recall_10cm_5deg"] == 0.4


def test_no_frames_is_an_error():
    empty = PoseErrors(np.zeros(0), np.zeros(0))
    for call in (lambda: summarise(empty), lambda: bootstrap_intervals(empty, [])):
        with pytest.raises(DataError, match="got none"):
            call()


def random_errors(count: int) -> PoseErrors:
    generator = np.random.default_rng(0)
    return PoseErrors(generator.gamma(2.0, 0.05, count), generator.gamma(2.0, 1.5, count))


def test_intervals_contain_the_figures_and_repeat():
    sample, sequences = random_errors(300), ["a"] * 120 + ["b"] * 180
    intervals = bootstrap_intervals(sample, sequences, seed=3)
    for key, value in summarise(sample).items():
        lower, upper = intervals[key]
        assert lower <= value <= upper, key
    assert intervals == bootstrap_intervals(sample, sequences, seed=3)
    assert intervals != bootstrap_intervals(sample, sequences, seed=4)
    narrow = bootstrap_intervals(sample, sequences, seed=3, level=0.5)["mean_translation_m"]
    wide = intervals["mean_translation_m"]
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_independent_frames_give_the_normal_interval():
    """Block length 1 is the ordinary bootstrap: mean +- 1.96 standard errors."""
    sample = random_errors(400)
    lower, upper = bootstrap_intervals(sample, ["a"] * 400, block=1, resamples=4000)[
        "mean_rotation_deg"
    ]
    expected = 2 * 1.96 * sample.rotation_deg.std() / math.sqrt(400)
    assert upper - lower == pytest.approx(expected, rel=0.1)


def test_blocks_widen_the_interval_of_correlated_frames():
    """Errors that come in runs of ten are a tenth as many independent observations."""
    runs = np.repeat(random_errors(60).translation_m, 10)
    sample = PoseErrors(runs, runs)
    width = {}
    for block in (1, 10, 30):
        interval = bootstrap_intervals(sample, ["a"] * 600, block=block)["mean_translation_m"]
        width[block] = interval[1] - interval[0]
    independent = 2 * 1.96 * runs.std() / math.sqrt(60)
    assert width[1] < 0.5 * independent
    assert width[10] > 0.7 * independent
    assert width[30] == pytest.approx(independent, rel=0.3)


def test_blocks_stay_inside_their_sequence():
    """A sequence keeps its share of the frames in every resample, even when interleaved."""
    sequences = ["good", "bad", "good"] * 20 + ["alone"]
    sample = errors(*((0.01, 1.0) if s == "good" else (9.0, 90.0) for s in sequences))
    lower, upper = bootstrap_intervals(sample, sequences, resamples=200)["recall_5cm_5deg"]
    assert lower == upper == pytest.approx(40 / 61)


def test_intervals_of_infinite_errors_are_never_nan():
    sample = errors(*[(0.1, 1.0)] * 10, *[(INF, INF)] * 10)
    for lower, upper in bootstrap_intervals(sample, ["a"] * 20, block=2).values():
        assert lower <= upper  # false for nan
    medians = bootstrap_intervals(sample, ["a"] * 20, block=2)["median_translation_m"]
    assert medians == (0.1, INF)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": 1.0}, "level"),
        ({"resamples": 0}, "resamples"),
        ({"block": 0}, "block"),
        ({"sequences": ["a"]}, "expected 3 names, got 1"),
    ],
)
def test_intervals_check_their_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_intervals(random_errors(3), **{"sequences": ["a"] * 3, **settings})


def test_json_ready_is_strict_json():
    value = {
        "summary": summarise(errors((INF, INF))),
        "interval": (0.1, math.nan),
        "errors": errors((INF, 1.0), (0.5, -INF)),
        "scalar": np.float64(2.5),
        "count": np.int64(3),
        "name": "a",
    }
    back = json.loads(json.dumps(json_ready(value), allow_nan=False))
    assert back["summary"]["median_translation_m"] is None
    assert back["summary"]["recall_5cm_5deg"] == 0.0
    assert back["interval"] == [0.1, None]
    assert back["errors"] == {"translation_m": [None, 0.5], "rotation_deg": [1.0, None]}
    assert (back["scalar"], back["count"], back["name"]) == (2.5, 3, "a")


@pytest.mark.parametrize("name", RECALL_THRESHOLDS)
def test_recall_keys_follow_the_list(name):
    recall, sample = RECALL_THRESHOLDS[name], random_errors(40)
    keys = [recall_key(*pair) for pair in recall]
    for summary in (
        summarise(sample, recall),
        bootstrap_intervals(sample, ["a"] * 40, recall, resamples=2),
        bootstrap_differences(sample, sample, ["a"] * 40, recall, resamples=2),
    ):
        assert recall_keys(summary) == keys


def test_differences_of_a_method_with_itself_are_zero():
    errors = PoseErrors(np.linspace(0.1, 1.0, 40), np.linspace(1.0, 9.0, 40))
    found = bootstrap_differences(errors, errors, ["a"] * 40, resamples=50)
    assert set(found) == set(summarise(errors))
    assert set(found.values()) == {(0.0, 0.0)}


def test_what_is_hard_for_both_cancels_in_a_difference():
    rng = np.random.default_rng(0)
    hard = rng.gamma(1.0, 1.0, 60)
    reference = PoseErrors(hard + 0.1, 10 * hard)
    better = PoseErrors(hard, 9 * hard)
    low, high = bootstrap_differences(better, reference, ["a"] * 60)["median_translation_m"]
    assert (low, high) == pytest.approx((-0.1, -0.1))
    own = bootstrap_intervals(better, ["a"] * 60)["median_translation_m"]
    assert own[1] - own[0] > 0.2  # alone, the two could not be told apart


def test_differences_need_the_same_frames():
    few, many = (PoseErrors(np.ones(n), np.ones(n)) for n in (3, 4))
    with pytest.raises(ValueError, match="same frames"):
        bootstrap_differences(few, many, ["a"] * 3)


def test_infinite_errors_of_both_have_no_difference():
    lost = PoseErrors(np.full(10, np.inf), np.full(10, np.inf))
    low, high = bootstrap_differences(lost, lost, ["a"] * 10, resamples=20)["median_rotation_deg"]
    assert np.isnan(low)
    assert np.isnan(high)


@pytest.mark.parametrize("sequences", [["a"] * 10, [f"s{i // 10}" for i in range(60)]])
def test_short_sequences_do_not_make_certain(sequences):
    rng = np.random.default_rng(0)
    count = len(sequences)
    errors, other = (PoseErrors(rng.gamma(2, 1, count), rng.gamma(2, 9, count)) for _ in range(2))
    low, high = bootstrap_intervals(errors, sequences)["median_translation_m"]
    assert high - low > 0.1
    low, high = bootstrap_differences(errors, other, sequences)["median_rotation_deg"]
    assert high - low > 0.1


def test_three_frames_have_no_interval():
    errors = PoseErrors(np.arange(1.0, 4.0), np.arange(1.0, 4.0))
    assert all(np.isnan(v).all() for v in bootstrap_intervals(errors, ["a"] * 3).values())
