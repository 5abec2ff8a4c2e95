"""Viewpoint bins on a test set: hits, calibration, coarse errors, the picture."""

import numpy as np
import pytest
import torch

from posenet.evaluation import viewpoint_plot
from posenet.evaluation.viewpoints import (
    evaluate_viewpoints,
    expected_calibration_error,
    summarise_viewpoints,
)
from posenet.geometry import Pose, rotation_from_rotvec
from posenet.models.viewpoints import ViewpointBins


def turned(*degrees: float) -> torch.Tensor:
    yaw = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return rotation_from_rotvec(yaw[:, None] * torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))


def three_bins() -> ViewpointBins:
    """Bins that look 0, 40 and 90 deg to the right, a metre apart."""
    bins = ViewpointBins(3)
    bins.rotation.copy_(turned(0.0, 40.0, 90.0))
    bins.translation.copy_(torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]))
    return bins


TRUTH = Pose(
    turned(1.0, 38.0, 95.0, 87.0),
    torch.tensor([[0.0, 0, 0.1], [1, 0, 0], [2, 0, 0.2], [2, 0, 0]]).double(),
)
LOGITS = torch.tensor([[3.0, 1, 0], [2, 1, 0], [0, 0, 9], [0, 1, 5]])


def test_frames_are_compared_with_the_bin_of_their_true_pose():
    found = evaluate_viewpoints(three_bins(), LOGITS, TRUTH)
    assert found.true_bin.tolist() == [0, 1, 2, 2]
    assert found.predicted_bin.tolist() == [0, 0, 2, 2]
    np.testing.assert_allclose(found.probability.sum(axis=1), 1.0)
    np.testing.assert_allclose(found.coarse.rotation_deg, [1, 38, 5, 3], atol=1e-5)
    np.testing.assert_allclose(found.coarse.translation_m, [0.1, 1, 0.2, 0], atol=1e-7)
    np.testing.assert_allclose(found.nearest.rotation_deg, [1, 2, 5, 3], atol=1e-5)
    np.testing.assert_allclose(found.nearest.translation_m, [0.1, 0, 0.2, 0], atol=1e-7)


def test_what_they_come_to():
    summary = summarise_viewpoints(evaluate_viewpoints(three_bins(), LOGITS, TRUTH))
    best = LOGITS.double().softmax(dim=1).amax(dim=1)
    assert summary["bins"] == 3
    assert summary["top1_accuracy"] == 0.75
    assert "top5_accuracy" not in summary  # of three
    assert summary["mean_probability"] == pytest.approx(float(best.mean()))
    assert summary["coarse_median_rotation_deg"] == pytest.approx(4.0, abs=1e-5)
    assert summary["nearest_bin_median_rotation_deg"] == pytest.approx(2.5, abs=1e-5)
    assert summary["coarse_median_translation_m"] == pytest.approx(0.15, abs=1e-6)


def test_five_guesses_are_counted_where_there_are_more_bins():
    bins = ViewpointBins(8)
    bins.translation[:, 0] = torch.arange(8.0)
    truth = Pose(turned(0.0, 0.0), torch.tensor([[3.0, 0, 0], [7, 0, 0]]).double())
    logits = torch.tensor([[8.0, 7, 6, 5, 4, 3, 2, 1]] * 2)
    assert summarise_viewpoints(evaluate_viewpoints(bins, logits, truth))["top5_accuracy"] == 0.5


def test_permuting_the_bins_changes_nothing():
    bins, order = three_bins(), torch.tensor([2, 0, 1])
    other = ViewpointBins(3)
    other.rotation.copy_(bins.rotation[order])
    other.translation.copy_(bins.translation[order])
    expected = summarise_viewpoints(evaluate_viewpoints(bins, LOGITS, TRUTH))
    found = summarise_viewpoints(evaluate_viewpoints(other, LOGITS[:, order], TRUTH))
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_bins_are_left_as_they_were():
    bins = three_bins()
    evaluate_viewpoints(bins, LOGITS, TRUTH)
    assert bins.rotation.dtype == torch.float32


@pytest.mark.parametrize(
    ("said", "right", "expected"),
    [
        ([0.8] * 5, [1, 1, 1, 1, 0], 0.0),  # calibrated
        ([1.0, 1.0], [1, 0], 0.5),
        ([0.0, 1.0], [0, 1], 0.0),
        ([0.55, 0.95, 0.95, 0.95], [1, 1, 1, 0], 0.25 * 0.45 + 0.75 * (0.95 - 2 / 3)),
    ],
)
def test_calibration_error(said, right, expected):
    error = expected_calibration_error(np.array(said), np.array(right, dtype=bool))
    assert error == pytest.approx(expected)


def test_calibration_groups_are_closed_above():
    # 0.5 and 0.6 would fall together if five groups were closed below.
    said, right = np.array([0.4, 0.6]), np.array([True, False])
    assert expected_calibration_error(said, right, bins=5) == pytest.approx(0.6)
    assert expected_calibration_error(np.array([0.41, 0.6]), right, bins=5) == pytest.approx(0.005)


def test_calibration_of_nothing_is_refused():
    with pytest.raises(ValueError, match="N > 0"):
        expected_calibration_error(np.array([]), np.array([], dtype=bool))


def test_the_picture_shows_bins_and_frames(tmp_path, monkeypatch):
    figures, save = [], viewpoint_plot.save_figure
    monkeypatch.setattr(viewpoint_plot, "save_figure", lambda f, p: (figures.append(f), save(f, p)))
    found = evaluate_viewpoints(three_bins(), LOGITS, TRUTH)
    train = Pose(
        turned(0.0, 45.0, 90.0), torch.tensor([[0.0, 0, 0], [1, 0, 0.3], [2, 0, 0]]).double()
    )
    viewpoint_plot.plot_viewpoints(tmp_path / "bins.png", train, TRUTH, found)
    assert (tmp_path / "bins.png").stat().st_size > 10_000
    sphere, counts, calibration = figures[0].axes
    labels = {line.get_label(): line.get_xydata() for line in sphere.get_lines()}
    # Bin 0 looks 45 deg left of the mean direction of the training frames, and bin 2 as far right.
    (rings,) = (xy.get_xydata() for xy in sphere.get_lines() if xy.get_markerfacecolor() == "white")
    np.testing.assert_allclose(rings, [[-45, 0], [-5, 0], [45, 0]], atol=1e-4)
    right, wrong = (labels[name] for name in labels if " frames" in name)
    np.testing.assert_allclose(right[:, 0], [-44, 50, 42], atol=1e-4)
    np.testing.assert_allclose(wrong, [[-7, 0]], atol=1e-4)
    assert [text.get_text() for text in sphere.texts] == ["0", "1", "2"]
    heights = [bar.get_height() for bar in counts.patches]
    np.testing.assert_allclose(heights[:3], np.full(3, 100 / 3))
    np.testing.assert_allclose(heights[3:], [25, 25, 50, 25, 0, 50])
    assert calibration.get_xlabel().startswith("probability")


def test_directions_all_around_have_a_picture_too(tmp_path):
    around = turned(*np.linspace(0, 360, 12, endpoint=False))
    train = Pose(around, torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).double())
    bins = ViewpointBins(4)
    bins.rotation.copy_(around[::3])
    found = evaluate_viewpoints(bins, torch.eye(12, 4), train)
    viewpoint_plot.plot_viewpoints(tmp_path / "bins.png", train, train, found)
    assert (tmp_path / "bins.png").is_file()
