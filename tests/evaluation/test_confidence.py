"""Summaries of confidence: coverage, ranks, other scenes, and the picture."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

from posenet.config import Config, DataConfig, ModelConfig
from posenet.errors import DataError
from posenet.evaluation.confidence import (
    LEVELS,
    EvaluatedConfidence,
    cut_to_camera,
    evaluate_confidence,
    format_confidence,
    measure_other_scene,
    summarise_confidence,
)
from posenet.evaluation.confidence_plot import plot_confidence
from posenet.evaluation.metrics import PoseErrors, bootstrap_mean
from posenet.geometry import Intrinsics, Pose
from posenet.inference.localizer import Localizer
from posenet.inference.photos import Photo
from posenet.models.calibration import Calibration, PoseConfidence
from posenet.models.checkpoint import Checkpoint
from posenet.models.network import Confidence, PoseNetwork, Prediction

COUNT = 60
SEQUENCES = ["a"] * 30 + ["b"] * 30
MODEL = ModelConfig(backbone="mobilenet_v3_small", weights="none", mode="regression", channels=8)
DATA = DataConfig(width=64, height=48)


@pytest.fixture(scope="module")
def localizer():
    torch.manual_seed(0)
    network = PoseNetwork(MODEL, DATA).eval()
    ratios = torch.linspace(0.1, 10.0, 99, dtype=torch.float64)
    novelties = torch.linspace(0.5, 2.0, 99).double()
    calibration = Calibration(ratios, 2 * ratios, novelties, 0 * novelties)
    camera = Intrinsics(60.0, 60.0, 31.5, 23.5, 64, 48)
    config = Config(data=DATA, model=MODEL)
    return Localizer(Checkpoint(network, config, camera, "room", 1, calibration=calibration), "cpu")


@pytest.fixture(scope="module")
def prediction():
    scale = torch.linspace(0.01, 0.2, COUNT, dtype=torch.float64)
    pose = Pose(torch.eye(3).double().expand(COUNT, 3, 3), torch.zeros(COUNT, 3).double())
    novelty = torch.linspace(0.5, 2.5, COUNT).double()
    return Prediction(pose, confidence=Confidence(scale, 2 * scale, novelty))


@pytest.fixture(scope="module")
def errors(prediction):
    rng = np.random.default_rng(0)
    scale = prediction.confidence.rotation_scale.numpy()
    return PoseErrors(
        4 * scale * rng.gamma(3.0, 1.0, COUNT), np.rad2deg(scale * rng.gamma(3.0, 1.0, COUNT))
    )


def test_the_summary_is_what_it_says(localizer, prediction, errors):
    evaluated = evaluate_confidence(localizer, prediction, errors)
    summary = summarise_confidence(evaluated, errors, SEQUENCES)
    # The 90th of 99 ratios: 10 * 0.9 + 0.1 / 99 and so on; simply: the rank is 90.
    factor = float(localizer.checkpoint.calibration.rotation_ratios[89])
    radius = np.rad2deg(factor * prediction.confidence.rotation_scale.numpy())
    np.testing.assert_allclose(evaluated.at_level.rotation_radius_deg, radius, rtol=1e-12)
    assert summary["rotation_coverage"] == np.mean(errors.rotation_deg <= radius)
    assert summary["median_rotation_radius_deg"] == pytest.approx(np.median(radius))
    expected = spearmanr(radius, errors.rotation_deg).statistic
    assert summary["rotation_rank_correlation"] == pytest.approx(expected)
    assert summary["rotation_rank_correlation"] > 0.5
    low, high = summary["rotation_coverage_95"]
    assert low <= summary["rotation_coverage"] <= high
    assert summary["calibration_frames"] == 99
    assert len(summary["translation_coverage_by_level"]) == len(LEVELS)
    assert summary["translation_coverage_by_level"] == sorted(
        summary["translation_coverage_by_level"]
    )
    assert summary["flagged"] == pytest.approx(np.mean(prediction.confidence.novelty.numpy() > 2))
    text = format_confidence(summary, "m")
    assert "calibrated on 99 validation frames" in text
    assert f"{summary['rotation_coverage']:.0%} of rotations" in text


def test_frames_without_a_prediction_are_not_held(localizer, prediction, errors):
    lost = PoseErrors(*(values.copy() for values in errors))
    for values in lost:
        values[:30] = math.inf
    summary = summarise_confidence(
        evaluate_confidence(localizer, prediction, lost), lost, SEQUENCES
    )
    assert summary["rotation_coverage"] <= 0.5
    assert summary["translation_coverage"] <= 0.5


def test_a_network_without_confidence_has_none(localizer, prediction, errors):
    assert evaluate_confidence(localizer, prediction._replace(confidence=None), errors) is None


def test_equal_radii_have_no_rank_correlation(localizer, prediction, errors):
    same = Confidence(*(torch.ones(COUNT).double() for _ in range(3)))
    evaluated = evaluate_confidence(localizer, prediction._replace(confidence=same), errors)
    summary = summarise_confidence(evaluated, errors, SEQUENCES)
    assert math.isnan(summary["rotation_rank_correlation"])


def test_the_interval_of_a_mean_is_wider_for_neighbours_that_are_alike():
    alike = np.repeat([True, False], 50)
    mixed = np.tile([True, False], 50)
    names = ["a"] * 100
    wide, narrow = (np.ptp(bootstrap_mean(values, names)) for values in (alike, mixed))
    assert wide > 3 * narrow
    low, high = bootstrap_mean(mixed, names)
    assert low <= 0.5 <= high


@pytest.mark.parametrize("size", [(640, 480), (1920, 1080), (480, 640), (64, 48)])
def test_images_of_other_scenes_are_cut_until_no_border_gives_them_away(localizer, size):
    """The training camera's proportions count: the network's images may be squeezed."""
    wide = Intrinsics(1600.0, 1600.0, 959.5, 539.5, 1920, 1080)
    squeezed = Localizer(localizer.checkpoint._replace(intrinsics=wide), "cpu")
    image = np.full((size[1], size[0], 3), 7, np.uint8)
    cut = cut_to_camera(image, squeezed)
    assert squeezed.camera_of(Photo("cut", cut)).source == "training"
    assert (squeezed.fit(cut) == 7).all()


def test_other_scenes_are_ranked_against_test_images(localizer, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):  # taller than the network's images: the sides are cut, nothing is padded
        pixels = rng.integers(0, 255, (100, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    found = measure_other_scene(localizer, np.array([-1.0, np.inf]), tmp_path)
    assert found["images"] == 4
    assert found["auroc"] == 0.5  # above one, below the other
    assert measure_other_scene(localizer, np.array([-1.0]), tmp_path)["auroc"] == 1.0
    assert measure_other_scene(localizer, np.array([np.inf]), tmp_path)["auroc"] == 0.0
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image"):
        measure_other_scene(localizer, np.array([1.0]), tmp_path / "empty")


@pytest.mark.parametrize("infinite", [0, 10, COUNT])
def test_the_picture_is_drawn(tmp_path, errors, infinite):
    radius = torch.linspace(0.1, 1.0, COUNT, dtype=torch.float64)
    radius[:infinite] = math.inf
    radii = PoseConfidence(
        torch.full((COUNT,), 20.0).double(), radius, radius, torch.ones(COUNT, dtype=torch.bool)
    )
    shares = list(np.linspace(0.2, 0.9, len(LEVELS)))
    zeros = PoseErrors(errors.translation_m * (np.arange(COUNT) > 3), errors.rotation_deg)
    path = tmp_path / "confidence.png"
    plot_confidence(path, EvaluatedConfidence(radii, shares, shares, np.ones(COUNT), 5), zeros)
    assert path.stat().st_size > 20_000
