"""Pictures: what is drawn, read back from the figures before they are written."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from posenet.evaluation import plots
from posenet.evaluation.metrics import PoseErrors, pose_errors
from posenet.geometry import Pose

INF = float("inf")


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Calls a plot function; returns its figure after checking the PNG it wrote."""
    figures, save = [], plots.save_figure

    def remember(figure, path):
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(plots, "save_figure", remember)

    def call(function, *arguments):
        path = tmp_path / "picture.png"
        function(path, *arguments)
        image = cv2.imread(str(path))
        assert min(image.shape[:2]) >= 400
        assert image.std() > 5  # not blank
        return figures[-1]

    return call


def walk(count: int, tilt: Rotation, seed: int = 0) -> Pose:
    """Cameras that walk an ellipse on a floor and look around, the whole world tilted."""
    phase = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    centers = np.stack((2.0 * np.cos(phase), 0.0 * phase - 1.5, np.sin(phase)), axis=-1)
    views = Rotation.from_rotvec(phase[:, None] * [0.0, 1.0, 0.0])
    return Pose(torch.tensor((tilt * views).as_matrix()), torch.tensor(tilt.apply(centers) + seed))


def curve(panel, index: int) -> np.ndarray:
    return np.stack(panel.get_lines()[index].get_data(), axis=-1)


def labels(panel) -> list[str]:
    return [text.get_text() for text in panel.get_legend().get_texts()]


def test_error_cdf(drawn):
    generator = np.random.default_rng(0)
    network = PoseErrors(generator.gamma(2, 0.1, 99), generator.gamma(2, 2.0, 99))
    lossy = PoseErrors(np.array([0.1, 0.2, INF, 0.3]), np.array([1.0, 2.0, INF, 3.0]))
    figure = drawn(plots.plot_error_cdf, {"network": network, "lossy": lossy})
    translation, rotation = figure.axes
    assert "(m)" in translation.get_xlabel()
    assert "(deg)" in rotation.get_xlabel()
    assert "(%)" in translation.get_ylabel()
    assert translation.get_xlim() == (0.0, np.percentile(network.translation_m, 95))
    curves = [line for line in translation.get_lines() if len(line.get_xdata()) > 2]
    # Half of the frames are within the median, and frames without a prediction never arrive.
    x, y = curves[0].get_data()
    assert y[np.searchsorted(x, np.median(network.translation_m))] == pytest.approx(50, abs=1)
    assert y[-1] == 100.0
    assert list(curves[1].get_ydata()) == [0.0, 25.0, 50.0, 75.0, 75.0]
    assert labels(rotation) == [
        f"network: {np.median(network.rotation_deg):#.3g} deg",
        "lossy: 2.50 deg (1 of 4 frames without a prediction)",
    ]


def test_error_cdf_without_any_prediction(drawn):
    nothing = PoseErrors(np.full(3, INF), np.full(3, INF))
    figure = drawn(plots.plot_error_cdf, {"network": nothing})
    assert labels(figure.axes[0]) == ["network: infinite (3 of 3 frames without a prediction)"]


@pytest.mark.parametrize("tilt", [(0, 0, 0), (60, 0, 0), (0, 0, 170), (40, 80, -120)])
def test_top_down_axes_follow_the_cameras(tilt):
    """The floor plan of a tilted world is the plan of the level one: an ellipse of 4 m by 2 m."""
    turn = Rotation.from_euler("xyz", tilt, degrees=True)
    pose = walk(100, turn, seed=3)
    axes = plots.top_down_axes(pose)
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    plan = pose.translation.numpy() @ axes.T
    np.testing.assert_allclose(np.ptp(plan, axis=0), [4.0, 2.0], atol=1e-9)
    up = turn.apply([0.0, -1.0, 0.0])
    np.testing.assert_allclose(np.cross(*axes), up, atol=1e-12)  # seen from above, not mirrored


def test_top_down_axes_of_degenerate_cameras():
    """One camera twice, and cameras whose upward axes cancel."""
    still = walk(1, Rotation.identity())
    rolled = Pose(torch.stack((torch.eye(3), torch.diag(torch.tensor([-1.0, -1.0, 1.0])))), None)
    flat = rolled._replace(translation=torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]))
    for pose in (still, flat):
        axes = plots.top_down_axes(pose)
        np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)


def test_trajectory_skips_and_counts_what_it_cannot_draw(drawn):
    train, truth = walk(60, Rotation.identity()), walk(20, Rotation.identity())
    prediction = Pose(truth.rotation, truth.translation + torch.tensor([0.1, 0.0, 0.0]))
    prediction.translation[3:5] = torch.nan
    prediction.translation[7] = 1e6
    errors = pose_errors(prediction, truth)
    figure = drawn(plots.plot_trajectory, train, truth, prediction, errors)
    panel, side, bar = figure.axes
    expected = "20 test frames, 2 without a prediction, 1 predicted far outside"
    assert expected in panel.get_title()
    assert panel.get_aspect() == side.get_aspect() == 1.0
    assert "(m)" in side.get_xlabel()
    assert "(m)" in bar.get_ylabel()
    joins = np.array(panel.collections[0].get_segments())
    assert joins.shape == (17, 2, 2)
    np.testing.assert_allclose(np.linalg.norm(joins[:, 1] - joins[:, 0], axis=1), 0.1, atol=1e-6)
    assert len(curve(panel, 0)) == 60
    assert len(curve(panel, 1)) == 20
    assert np.ptp(panel.get_xlim()) < 10.0
    # The walk is level, so from the side it is a line; its plan is an ellipse of 4 m by 2 m.
    np.testing.assert_allclose(np.ptp(curve(panel, 0), axis=0), [4.0, 2.0], atol=1e-9)
    np.testing.assert_allclose(np.ptp(curve(side, 0), axis=0), [4.0, 0.0], atol=1e-9)


def test_trajectory_thins_out_long_sequences(drawn):
    truth = walk(1000, Rotation.identity())
    figure = drawn(plots.plot_trajectory, truth, truth, truth, pose_errors(truth, truth))
    assert len(figure.axes[0].collections[0].get_segments()) == 334
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "test, predicted (one in 3 drawn)" in texts


def test_trajectory_without_any_prediction(drawn):
    truth = walk(10, Rotation.identity())
    nothing = Pose(truth.rotation, truth.translation * torch.nan)
    figure = drawn(plots.plot_trajectory, truth, truth, nothing, pose_errors(nothing, truth))
    assert "10 without a prediction" in figure.axes[0].get_title()


def test_training_curves_leave_gaps_out(drawn):
    rows = [
        {"epoch": 0, "train_translation_m": 1.0, "train_rotation_deg": 30.0},
        {"epoch": 1, "train_translation_m": float("nan"), "validation_translation_m": 0.4},
        {"epoch": 2, "train_translation_m": 0.5, "validation_translation_m": 0.6},
    ]
    figure = drawn(plots.plot_training_curves, rows)
    translation, rotation = figure.axes
    assert curve(translation, 0).tolist() == [[0.0, 1.0], [2.0, 0.5]]
    assert labels(translation) == ["training", "validation", "lowest: 0.400 m, epoch 1"]
    assert labels(rotation) == ["training"]
    assert translation.get_xlim() == rotation.get_xlim() == (-0.5, 2.5)
    assert translation.get_ylabel() == "translation error (m)"
    assert rotation.get_ylabel() == "rotation error (deg)"


def test_training_curves_of_a_scene_without_metres_have_none(drawn):
    rows = [{"epoch": 1, "validation_translation_m": 0.4, "validation_rotation_deg": 3.0}]
    translation, rotation = drawn(plots.plot_training_curves, rows, "units").axes
    assert labels(translation) == ["validation", "lowest: 0.400 units, epoch 1"]
    assert translation.get_ylabel() == "translation error (units)"
    assert labels(rotation) == ["validation", "lowest: 3.00 deg, epoch 1"]


def test_no_global_state_and_no_matplotlib_at_import():
    """Importing the module loads no matplotlib; drawing loads no pyplot."""
    code = (
        "import sys, tempfile, posenet.evaluation.plots as p\n"
        "assert 'matplotlib' not in sys.modules\n"
        "p.plot_training_curves(tempfile.mkstemp()[1], [{'epoch': 0}])\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
