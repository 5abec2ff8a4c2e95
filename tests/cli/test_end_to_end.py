"""The whole way by the command line, on a toy room: train, stop, resume, evaluate, predict."""

import base64
import contextlib
import csv
import hashlib
import io
import json
import re
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from posenet import Localizer
from posenet.cli import main
from posenet.config import DataConfig, LossConfig, ModelConfig, OptimizationConfig, load_config
from posenet.datasets.formats import FORMATS
from posenet.datasets.images import read_image
from posenet.datasets.toy_room import write_toy_room
from posenet.evaluation.baselines import mean_pose
from posenet.evaluation.evaluate import MEAN, NEAREST
from posenet.evaluation.nearest import nearest_training_pose
from posenet.evaluation.recall import DEFAULT_RECALL
from posenet.geometry import Pose
from posenet.models.checkpoint import load_checkpoint
from posenet.models.network import PoseNetwork, Prediction
from posenet.training.callbacks import ShowProgress
from posenet.training.module import TrainingModule

FRAMES, EPOCHS = 12, 2
TRAIN, VALIDATION, TEST = "seq-01", "seq-02", "seq-03"
PNG = b"\x89PNG\r\n\x1a\n"


class Answer(NamedTuple):
    """What the command line answered."""

    code: int
    out: str
    err: str


def posenet(*words: object) -> Answer:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Answer(code, out.getvalue(), err.getvalue())


def names(sequence: str) -> list[str]:
    return [f"{sequence}/frame-{number:06d}" for number in range(FRAMES)]


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """Two training sequences, of which the second validates, and one test sequence."""
    root = tmp_path_factory.mktemp("data") / "room"
    write_toy_room(
        root,
        train_sequences=2,
        test_sequences=1,
        frames_per_sequence=FRAMES,
        width=96,
        height=72,
    )
    return root


@pytest.fixture(scope="module")
def train(room, tmp_path_factory):
    """Train in a folder of its own with the settings of these tests."""
    cache = tmp_path_factory.mktemp("cache")

    def train(folder: Path, **settings: object) -> Answer:
        values = {
            "output": folder,
            "data.root": room,
            "data.cache": cache,
            "data.width": 64,
            "data.height": 48,
            "data.depth_registered": True,
            "data.workers": 0,
            "augment.depth_share": 0.5,
            "augment.fill_from": 1,
            "model.backbone": "mobilenet_v3_small",
            "model.weights": "none",
            "model.mode": "regression",
            "optimization.epochs": EPOCHS,
            "optimization.views": 1,
            "optimization.batch_size": 4,
            "trainer.accelerator": "cpu",
        }
        values |= {name.replace("__", "."): value for name, value in settings.items()}
        resume = ["--resume"] if values.pop("resume", False) else []
        words = [word for name, value in values.items() for word in (f"--{name}", value)]
        return posenet("train", *words, *resume)

    return train


class Trained(NamedTuple):
    """A finished run, and the frames that were given to the network on the way."""

    folder: Path
    answer: Answer
    trained_on: list[int]
    validated_on: list[int]


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("runs") / "run"
    seen: dict[str, list[int]] = {"training_step": [], "validation_step": []}
    with pytest.MonkeyPatch.context() as patch:
        for name, indices in seen.items():
            step = getattr(TrainingModule, name)

            def spy(module, batch, batch_index, step=step, indices=indices):
                indices.extend(batch.index.tolist())
                return step(module, batch, batch_index)

            patch.setattr(TrainingModule, name, spy)
        answer = train(folder)
    return Trained(folder, answer, *seen.values())


@pytest.fixture(scope="module")
def evaluated(trained) -> Answer:
    return posenet("evaluate", trained.folder, "--json")


@pytest.fixture(scope="module")
def predictions(trained, evaluated) -> list[dict[str, str]]:
    return read_csv(trained.folder / "predictions.csv")


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def row_pose(row: dict[str, str], center: str = "center_{}_m") -> tuple[Rotation, np.ndarray]:
    quaternion = [float(row[f"q{axis}"]) for axis in "xyzw"]
    return Rotation.from_quat(quaternion), np.array([float(row[center.format(a)]) for a in "xyz"])


def true_poses(room: Path, sequence: str) -> np.ndarray:
    return np.stack([np.loadtxt(room / f"{name}.pose.txt") for name in names(sequence)])


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).network.state_dict()


# --- training ---------------------------------------------------------------------------------


def test_training_succeeds_and_says_what_to_do_next(trained):
    assert trained.answer.code == 0
    assert trained.answer.out == ""
    assert f"{FRAMES} training, {FRAMES} validation, {FRAMES} test frames" in trained.answer.err
    assert f"epoch {EPOCHS}/{EPOCHS}" in trained.answer.err
    assert trained.answer.err.endswith(f"next: posenet evaluate {trained.folder}\n")


def test_a_run_folder_describes_the_run(trained, room):
    folder = trained.folder
    config = load_config(folder / "config.yaml")
    assert (config.data.root, config.output) == (str(room), str(folder))
    assert config.augment.depth_share == 0.5
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["torch"] == torch.__version__.split("+")[0]
    assert {"posenet", "python", "platform", "gpu", "command", "lightning"} <= environment.keys()
    assert (folder / "training_curves.png").read_bytes().startswith(PNG)
    files = {path.name for path in (folder / "checkpoints").iterdir()}
    assert files == {"best.pt", "last.pt", "resume.ckpt"}


def test_split_names_the_frames_and_keeps_the_test_sequence_apart(trained):
    split = json.loads((trained.folder / "split.json").read_text())
    expected = {"train": names(TRAIN), "validation": names(VALIDATION), "test": names(TEST)}
    assert split == expected


def test_no_test_frame_is_trained_or_validated_on(trained):
    # Frames are numbered in the order of the split files: training, validation, test.
    assert sorted(trained.trained_on) == sorted([*range(FRAMES)] * EPOCHS)
    assert trained.validated_on == [*range(FRAMES, 2 * FRAMES)] * EPOCHS


def test_metrics_have_one_row_an_epoch(trained):
    rows = read_csv(trained.folder / "metrics.csv")
    assert [float(row["epoch"]) for row in rows] == [1.0, 2.0]
    assert [float(row["step"]) for row in rows] == [3.0, 6.0]
    for row in rows:
        for name in ("loss", "rotation_deg", "translation_m"):
            assert np.isfinite(float(row[f"train_{name}"]))
        rotation, translation = (
            float(row[f"validation_{name}"]) for name in ("rotation_deg", "translation_m")
        )
        assert float(row["validation_score"]) == pytest.approx((rotation * translation) ** 0.5)
        assert 0.0 <= float(row["learning_rate"]) <= 1e-3


def test_best_is_the_epoch_with_the_lowest_validation_score(trained):
    scores = [float(row["validation_score"]) for row in read_csv(trained.folder / "metrics.csv")]
    best = load_checkpoint(trained.folder / "checkpoints" / "best.pt")
    assert best.epoch == 1 + int(np.argmin(scores))
    assert best.scene == "room"
    assert load_checkpoint(trained.folder / "checkpoints" / "last.pt").epoch == EPOCHS
    assert f"best epoch {best.epoch}, " in trained.answer.err


def test_statistics_come_from_the_training_frames_alone(trained, room):
    network = load_checkpoint(trained.folder / "checkpoints" / "best.pt").network
    true = torch.from_numpy(true_poses(room, TRAIN))
    mean = mean_pose(Pose(true[:, :3, :3], true[:, :3, 3]), 1)
    torch.testing.assert_close(network.translation_center, mean.translation[0].float())
    torch.testing.assert_close(
        network.rotation_center, mean.rotation[0].float(), rtol=0.0, atol=1e-6
    )


def test_a_run_is_not_overwritten(trained, train):
    before = digests(trained.folder)
    again = train(trained.folder, seed=1)
    assert again.code == 1
    assert "already holds a run; continue it with --resume, or choose another" in again.err
    assert digests(trained.folder) == before


def test_equal_seeds_train_equal_weights(trained, train, tmp_path):
    assert train(tmp_path).code == 0
    first, second = (
        weights(folder / "checkpoints" / "last.pt") for folder in (trained.folder, tmp_path)
    )
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.mark.parametrize("weighting", ["learned", "fixed"])
def test_loss_weights_are_never_decayed(weighting):
    network = PoseNetwork(
        ModelConfig("mobilenet_v3_small", "none", mode="regression"), DataConfig()
    )
    loss, optimization = LossConfig(weighting=weighting), OptimizationConfig(weight_decay=0.1)
    module = TrainingModule(network, loss, optimization, total_steps=10)
    groups = module.configure_optimizers()["optimizer"].param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decay) == sum(len(group["params"]) for group in groups)
    trainable = [p for p in network.parameters() if p.requires_grad]
    assert decay.keys() == {id(p) for p in (*trainable, *module.loss.parameters())}
    assert [decay[id(p)] for p in module.loss.parameters()] == [0.0] * (weighting == "learned")
    for p in trainable:  # neither are biases and norms
        assert decay[id(p)] == (0.1 if p.ndim > 1 else 0.0)


# --- stopping and going on --------------------------------------------------------------------


def stop_between_epochs(patch):
    def stop(self, trainer, module):
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    patch.setattr(ShowProgress, "on_train_epoch_start", stop, raising=False)


def stop_within_the_second_epoch(patch):
    shown = ShowProgress.on_train_batch_end

    def stop(self, trainer, *rest):
        shown(self, trainer, *rest)
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    patch.setattr(ShowProgress, "on_train_batch_end", stop)


class Resumed(NamedTuple):
    """An uninterrupted run, and one that was stopped (``stopped`` copies it then) and resumed."""

    whole: Path
    stopped: Path
    resumed: Path
    answers: list[Answer]


STOPS = {"between": stop_between_epochs, "within": stop_within_the_second_epoch}


@pytest.fixture(scope="module", params=[(stop, p) for stop in STOPS for p in (0.0, 0.1)], ids=str)
def resumed(request, train, trained, tmp_path_factory) -> Resumed:
    stop, dropout = request.param
    base = tmp_path_factory.mktemp("resumed")
    whole = trained.folder if dropout == 0.1 else base / "whole"
    if dropout != 0.1:
        assert train(whole, model__dropout=dropout).code == 0
    with pytest.MonkeyPatch.context() as patch:
        STOPS[stop](patch)
        answers = [train(base / "run", model__dropout=dropout)]
    shutil.copytree(base / "run", base / "stopped")
    answers.append(train(base / "run", model__dropout=dropout, resume=True))
    return Resumed(whole, base / "stopped", base / "run", answers)


def test_an_interrupted_run_is_usable(resumed):
    assert resumed.answers[0].code == 130
    assert resumed.answers[0].err.endswith("posenet: interrupted\n")
    assert "Traceback" not in resumed.answers[0].err
    last = load_checkpoint(resumed.stopped / "checkpoints" / "last.pt")
    assert last.epoch == 1
    evaluation = posenet("evaluate", resumed.stopped / "checkpoints" / "last.pt", "--json")
    assert evaluation.code == 0
    assert json.loads(evaluation.out)["frames"] == FRAMES
    assert len(read_csv(resumed.stopped / "metrics.csv")) == 1


def test_a_resumed_run_is_complete(resumed):
    assert resumed.answers[1].code == 0
    whole, rows = (
        [{name: float(value) for name, value in row.items()} for row in read_csv(path)]
        for path in (resumed.whole / "metrics.csv", resumed.resumed / "metrics.csv")
    )
    assert [row["epoch"] for row in rows] == [1.0, 2.0]
    assert rows[0] == whole[0]
    for name in ("step", "learning_rate"):
        assert rows[1][name] == whole[1][name]
    assert (resumed.resumed / "training_curves.png").read_bytes().startswith(PNG)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(resumed):
    whole, found = (
        weights(folder / "checkpoints" / "last.pt") for folder in (resumed.whole, resumed.resumed)
    )
    differences = {name: (found[name] - whole[name]).abs().max().item() for name in whole}
    assert {name: d for name, d in differences.items() if d > 0} == {}


def test_resuming_with_other_settings_is_refused(trained, train):
    before = digests(trained.folder)
    answer = train(trained.folder, seed=1, resume=True)
    assert answer.code == 2
    assert "cannot be resumed with another seed (was 0, now 1)" in answer.err
    assert digests(trained.folder) == before


# --- evaluation -------------------------------------------------------------------------------


def test_evaluation_prints_json_and_nothing_else(trained, evaluated):
    assert evaluated.code == 0
    assert json.loads(evaluated.out) == json.loads((trained.folder / "evaluation.json").read_text())


def test_evaluation_has_the_documented_keys(evaluated):
    summary = json.loads(evaluated.out)
    recalls = {
        f"recall_{f'{m:g}m' if m >= 1 else f'{100 * m:g}cm'}_{d:g}deg" for m, d in DEFAULT_RECALL
    }
    errors = {
        f"{a}_{b}" for a in ("median", "mean", "rmse") for b in ("translation_m", "rotation_deg")
    }
    flat = {"frames", *errors, *recalls}
    about = {"scene", "split", "checkpoint", "epoch", "intervals_95", "sequences", "baselines"}
    about |= {"metric", "scene_size", "size_of", "confidence", "nearest_training_pose"}
    assert summary.keys() == flat | about
    assert (summary["scene"], summary["split"]) == ("room", "test")
    assert summary["checkpoint"] == "best.pt"
    assert summary["frames"] == FRAMES
    assert summary["sequences"].keys() == {TEST}
    measured = flat | {"intervals_95"}
    assert summary["sequences"][TEST] == {key: summary[key] for key in measured}
    assert summary["baselines"].keys() == {NEAREST, MEAN}
    for baseline in summary["baselines"].values():
        assert baseline.keys() == measured
    assert summary["intervals_95"].keys() == flat
    for key in flat:
        low, high = summary["intervals_95"][key]
        assert low <= high


def test_predictions_have_a_row_a_test_frame_with_its_true_errors(evaluated, predictions, room):
    assert [row["frame"] for row in predictions] == names(TEST)
    summary = json.loads(evaluated.out)
    found = {"translation": [], "rotation": []}
    for row, true in zip(predictions, true_poses(room, TEST), strict=True):
        rotation, center = row_pose(row)
        assert float(row["qw"]) >= 0.0
        angle = (Rotation.from_matrix(true[:3, :3]).inv() * rotation).magnitude()
        found["translation"].append(np.linalg.norm(center - true[:3, 3]))
        found["rotation"].append(np.degrees(angle))
        assert float(row["translation_error_m"]) == pytest.approx(
            found["translation"][-1], abs=2e-6
        )
        assert float(row["rotation_error_deg"]) == pytest.approx(found["rotation"][-1], abs=2e-5)
    for kind, unit in (("translation", "m"), ("rotation", "deg")):
        median, mean = (summary[f"{name}_{kind}_{unit}"] for name in ("median", "mean"))
        assert median == pytest.approx(np.median(found[kind]), rel=1e-5)
        assert mean == pytest.approx(np.mean(found[kind]), rel=1e-5)


def test_baselines_know_all_frames_that_are_not_for_testing(evaluated, room):
    known = np.concatenate((true_poses(room, TRAIN), true_poses(room, VALIDATION)))
    distances = np.linalg.norm(
        true_poses(room, TEST)[:, :3, 3] - known[:, :3, 3].mean(axis=0), axis=1
    )
    mean = json.loads(evaluated.out)["baselines"][MEAN]
    assert mean["median_translation_m"] == pytest.approx(np.median(distances), rel=1e-9)


def test_nearest_training_poses_are_of_frames_that_were_trained_on(evaluated, room):
    """Not of those that chose the epoch."""
    train, test = true_poses(room, TRAIN), true_poses(room, TEST)
    far = nearest_training_pose(*(Pose(*torch_parts(poses)) for poses in (train, test)))
    found = json.loads(evaluated.out)["nearest_training_pose"]
    assert found["median_translation_m"] == pytest.approx(np.median(far.distance_m), rel=1e-6)
    assert found["median_rotation_deg"] == pytest.approx(np.median(far.angle_deg), rel=1e-6)


def torch_parts(poses: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(poses[:, :3, :3]), torch.from_numpy(poses[:, :3, 3])


def test_evaluation_draws_pictures(trained, evaluated):
    for name in ("error_cdf.png", "error_distance.png", "trajectory.png", "confidence.png"):
        content = (trained.folder / name).read_bytes()
        assert content.startswith(PNG)
        assert len(content) > 5000


def test_evaluation_writes_a_page(trained, evaluated):
    assert str(trained.folder / "report.html") in evaluated.err
    page = (trained.folder / "report.html").read_text(encoding="utf-8")
    assert f"<title>room: {FRAMES} test images</title>" in page
    for name in ("error_cdf", "error_distance", "trajectory", "training_curves"):
        content = base64.b64encode((trained.folder / f"{name}.png").read_bytes()).decode()
        assert content in page
    assert page.count("data:image/jpeg") >= 2 * 9


def test_a_checkpoint_without_its_run_has_a_page_too(trained, tmp_path):
    shutil.copy(trained.folder / "checkpoints" / "best.pt", tmp_path)
    words = ("evaluate", tmp_path / "best.pt", "--output", tmp_path / "out", "--split", "train")
    assert posenet(*words).code == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for missing in ("No metrics.csv", "No environment.json", "or it was these frames"):
        assert missing in page
    assert "nearest_training_pose" not in (tmp_path / "out" / "evaluation.json").read_text()


def test_evaluation_prints_a_table_for_people(trained, tmp_path):
    answer = posenet("evaluate", trained.folder, "--output", tmp_path / "new")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0].startswith(f"room: {FRAMES} test frames, best.pt of epoch ")
    for name in ("network", "95 % from", TEST, NEAREST, MEAN):
        assert any(line.strip().startswith(name) for line in lines)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "evaluation.json",
        "predictions.csv",
        "error_cdf.png",
        "error_distance.png",
        "trajectory.png",
        "confidence.png",
        "report.html",
    }


def test_evaluation_says_whether_the_confidence_held(trained, evaluated, predictions, room):
    summary = json.loads(evaluated.out)["confidence"]
    assert summary["calibration_frames"] == FRAMES
    for kind, unit in (("rotation", "deg"), ("translation", "m")):
        error, radius = (
            np.array([float(row[f"{kind}_{name}_{unit}"]) for row in predictions])
            for name in ("error", "radius")
        )
        assert summary[f"{kind}_coverage"] == pytest.approx((error <= radius).mean())
        assert summary[f"median_{kind}_radius_{unit}"] == pytest.approx(np.median(radius), rel=1e-4)
        by_level = summary[f"{kind}_coverage_by_level"]
        assert by_level == sorted(by_level)
        assert by_level[summary["levels"].index(0.9)] == summary[f"{kind}_coverage"]
    familiarity = np.array([float(row["familiarity"]) for row in predictions])
    assert ((familiarity > 0) & (familiarity <= 1)).all()
    assert summary["flagged"] == 0.0  # so few validation frames disown nothing


def test_calibration_is_of_the_validation_frames(trained, room):
    for name in ("best.pt", "last.pt"):
        localizer = Localizer.load(trained.folder / "checkpoints" / name)
        images = sorted((room / VALIDATION).glob("*.color.*"))
        prediction = localizer.predict_fully(localizer.fit(read_image(path)) for path in images)
        truth = torch.from_numpy(true_poses(room, VALIDATION))
        distance = (prediction.pose.translation - truth[:, :3, 3]).norm(dim=1)
        ratios = (distance / prediction.confidence.translation_scale).sort().values
        found = localizer.checkpoint.calibration
        torch.testing.assert_close(found.translation_ratios, ratios, rtol=1e-4, atol=1e-6)
        novelties = prediction.confidence.novelty.sort().values
        torch.testing.assert_close(found.novelties, novelties, rtol=1e-3, atol=1e-4)


def test_images_of_another_place_are_measured(trained, tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        cv2.imwrite(str(other / f"{i}.png"), rng.integers(0, 255, (90, 160, 3), dtype=np.uint8))
    output = tmp_path / "out"
    answer = posenet("evaluate", trained.folder, "--other-scene", other, "--output", output)
    assert answer.code == 0, answer.err
    found = json.loads((output / "evaluation.json").read_text())["confidence"]["other_scenes"]
    assert found.keys() == {str(other)}
    assert found[str(other)]["images"] == 3
    assert 0.0 <= found[str(other)]["auroc"] <= 1.0
    assert f"of 3 images in {other}" in answer.out


@pytest.mark.parametrize(("split", "sequence"), [("train", TRAIN), ("validation", VALIDATION)])
def test_other_splits_are_evaluated_beside(trained, evaluated, split, sequence):
    before = (trained.folder / "evaluation.json").read_bytes()
    answer = posenet("evaluate", trained.folder, "--split", split, "--json")
    assert json.loads(answer.out)["split"] == split
    rows = read_csv(trained.folder / f"evaluation-{split}" / "predictions.csv")
    assert [row["frame"] for row in rows] == names(sequence)
    assert (trained.folder / "evaluation.json").read_bytes() == before


def test_a_dataset_that_moved_is_found_by_root(trained, room, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(room, moved)
    for sequence in (TEST, TRAIN):
        for path in (moved / sequence).glob("frame-000000.*"):
            path.unlink()
    words = ("evaluate", trained.folder, "--root", moved, "--output", tmp_path / "out", "--json")
    assert json.loads(posenet(*words).out)["frames"] == FRAMES - 1
    shutil.rmtree(moved)
    gone = posenet(*words)
    assert gone.code == 1
    assert gone.err.startswith(f"posenet: error: {moved}: ")


def test_a_runs_predictions_are_measured_the_same_from_their_file(trained, evaluated, room):
    answer = posenet(
        *("evaluate", "--predictions", trained.folder / "predictions.csv"),
        *("--ground-truth", room, "--json"),
    )
    run, file = json.loads(evaluated.out), json.loads(answer.out)
    for key in run.keys() & file.keys() - {"intervals_95", "sequences"}:
        assert file[key] == pytest.approx(run[key], abs=1e-6), key
    assert {"median_translation_m", "scene_size", "frames", "split"} <= run.keys() & file.keys()


def test_recalls_of_a_run_are_a_setting(trained, tmp_path):
    words = ("evaluate", trained.folder, "--output", tmp_path, "--json", "--recall", "inloc")
    found = json.loads(posenet(*words).out)
    assert [key for key in found if key.startswith("recall_")] == [
        "recall_25cm_10deg",
        "recall_50cm_10deg",
        "recall_1m_10deg",
    ]
    assert [key for key in found["baselines"][MEAN] if key.startswith("recall_")]


@pytest.fixture
def elsewhere(room, tmp_path) -> Path:
    """Another scene whose frames have the same names."""
    scene = shutil.copytree(room, tmp_path / "elsewhere")
    for path in scene.rglob("*.pose.txt"):
        pose = np.loadtxt(path)
        pose[:3, 3] += (0.3, 0.0, 0.0)
        np.savetxt(path, pose, fmt="%.17g")
    return scene


def test_another_scene_is_refused_unless_it_is_asked_for(trained, elsewhere, tmp_path):
    words = ("evaluate", trained.folder, "--root", elsewhere, "--output", tmp_path / "out")
    answer = posenet(*words)
    assert (answer.code, answer.out) == (1, "")
    assert f"{elsewhere}: expected the dataset that {trained.folder} was trained on" in answer.err
    assert "frames of the same names elsewhere" in answer.err
    assert "--same-place" in answer.err
    assert not (tmp_path / "out").exists()
    both = posenet(
        "compare", trained.folder, trained.folder / "checkpoints" / "last.pt", *words[2:4]
    )
    assert (both.code, "frames of the same names elsewhere" in both.err) == (1, True)
    asked = posenet(*words, "--same-place", "--json")
    assert json.loads(asked.out)["frames"] == FRAMES


def test_lost_frames_do_not_hide_another_scene(trained, room, elsewhere, tmp_path):
    """A third of the training frames gone: the mean of the others may be anywhere."""
    for scene, code in ((elsewhere, 1), (shutil.copytree(room, tmp_path / "lost"), 0)):
        for name in names(TRAIN)[: FRAMES // 3]:
            for path in scene.glob(f"{name}.*"):
                path.unlink()
        answer = posenet(
            "evaluate", trained.folder, "--root", scene, "--output", tmp_path / f"out{code}"
        )
        assert answer.code == code, answer.err
        assert ("frames of the same names elsewhere" in answer.err) == (code == 1)


def test_frames_that_the_run_does_not_know_are_refused(trained, room, tmp_path):
    """A new recording of the same place: refused, and measured when asked for."""
    scene = shutil.copytree(room, tmp_path / "recording")
    for old, new in ((TRAIN, "seq-07"), (VALIDATION, "seq-08"), (TEST, "seq-09")):
        (scene / old).rename(scene / new)
    (scene / "TrainSplit.txt").write_text("sequence7\nsequence8\n")
    (scene / "TestSplit.txt").write_text("sequence9\n")
    words = ("evaluate", trained.folder, "--root", scene, "--output", tmp_path / "out")
    answer = posenet(*words)
    assert (answer.code, f"found 0 of the {FRAMES} training frames" in answer.err) == (1, True)
    assert posenet(*words, "--same-place").code == 0


def test_its_own_frames_are_no_same_place(trained, room, tmp_path):
    """What was trained on stays refused, whatever is asked for."""
    scene = shutil.copytree(room, tmp_path / "room")
    (scene / "TrainSplit.txt").write_text("sequence3\n")
    (scene / "TestSplit.txt").write_text("sequence1\n")
    for more in ((), ("--same-place",)):
        answer = posenet("evaluate", trained.folder, "--root", scene, *more)
        assert (answer.code, "was trained on seq-01/frame-000000" in answer.err) == (1, True)


# --- prediction -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images(room) -> list[Path]:
    return [room / f"{names(TEST)[number]}.color.jpg" for number in (7, 0, 4)]


@pytest.fixture(scope="module")
def expected(predictions) -> list[tuple[Rotation, np.ndarray]]:
    return [row_pose(predictions[number]) for number in (7, 0, 4)]


def assert_pose(rotation: Rotation, center: np.ndarray, expected) -> None:
    assert (expected[0].inv() * rotation).magnitude() < 1e-5
    np.testing.assert_allclose(center, expected[1], atol=1e-5)


def test_predict_prints_the_poses_of_the_evaluation_as_json_lines(trained, images, expected):
    answer = posenet("predict", trained.folder, *images)
    assert (answer.code, answer.err) == (0, "")
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert [line["file"] for line in lines] == [str(path) for path in images]
    for line, pose in zip(lines, expected, strict=True):
        rotation = np.array(line["camera_to_world"]["rotation_matrix"])
        center = np.array(line["camera_center"])
        assert_pose(Rotation.from_matrix(rotation), center, pose)
        inverse = np.array(line["world_to_camera"]["rotation_matrix"])
        translation = np.array(line["world_to_camera"]["translation"])
        np.testing.assert_allclose(inverse @ rotation, np.eye(3), atol=1e-6)
        np.testing.assert_allclose(inverse @ center + translation, 0.0, atol=1e-6)
        for direction, matrix in (("camera_to_world", rotation), ("world_to_camera", inverse)):
            w, x, y, z = line[direction]["quaternion_wxyz"]
            assert w >= 0.0
            np.testing.assert_allclose(
                Rotation.from_quat([x, y, z, w]).as_matrix(), matrix, atol=1e-6
            )


def test_predict_prints_csv(trained, images, expected):
    answer = posenet("predict", trained.folder, *images, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert [row["file"] for row in rows] == [str(path) for path in images]
    for row, pose in zip(rows, expected, strict=True):
        assert_pose(*row_pose(row, "center_{}"), pose)


def test_predict_prints_tum(trained, images, expected):
    answer = posenet("predict", trained.folder, *images, "--format", "tum")
    rows = np.loadtxt(io.StringIO(answer.out))  # skips the comment
    assert rows.shape == (3, 8)
    assert rows[:, 0].tolist() == [0, 1, 2]
    for row, pose in zip(rows, expected, strict=True):
        assert_pose(Rotation.from_quat(row[4:]), row[1:4], pose)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_folder_is_predicted_in_batches_of_any_size(trained, room, predictions, batch_size):
    answer = posenet("predict", trained.folder, room / TEST, "--batch-size", batch_size)
    lines = [json.loads(line) for line in answer.out.splitlines()]
    files = [str(room / f"{name}.color.jpg") for name in names(TEST)]  # and no depth image
    assert [line["file"] for line in lines] == files
    for line, row in zip(lines, predictions, strict=True):
        rotation = Rotation.from_matrix(line["camera_to_world"]["rotation_matrix"])
        assert_pose(rotation, np.array(line["camera_center"]), row_pose(row))


@pytest.mark.parametrize("batch_size", [1, 32])
def test_an_unreadable_file_does_not_stop_the_others(
    trained, images, expected, tmp_path, batch_size
):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(images[0].read_bytes()[:300])
    paths = [images[0], bad, *images[1:]]
    answer = posenet("predict", trained.folder, *paths, "--batch-size", batch_size)
    assert answer.code == 1
    assert answer.err.startswith(f"posenet: error: {bad}: ")
    assert answer.err.count("\n") == 1
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert [line["file"] for line in lines] == [str(path) for path in images]
    for line, pose in zip(lines, expected, strict=True):
        rotation = Rotation.from_matrix(line["camera_to_world"]["rotation_matrix"])
        assert_pose(rotation, np.array(line["camera_center"]), pose)


def test_ctrl_c_in_the_first_epoch_leaves_a_usable_checkpoint_and_a_run_to_resume(
    train, trained, tmp_path, monkeypatch
):
    step = TrainingModule.training_step

    def interrupt(module, batch, batch_index):
        if batch_index == 1:
            raise KeyboardInterrupt
        return step(module, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", interrupt)
        assert train(tmp_path / "run").code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt").epoch == 0
    again = train(tmp_path / "run")
    assert (again.code, "continue it with --resume, or choose another" in again.err) == (1, True)
    resumed = train(tmp_path / "run", resume=True)
    assert (resumed.code, "no epoch was finished; beginning again" in resumed.err) == (0, True)
    whole, found = (
        weights(folder / "checkpoints" / "last.pt") for folder in (trained.folder, tmp_path / "run")
    )
    assert all(torch.equal(tensor, found[name]) for name, tensor in whole.items())


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    train, tmp_path, monkeypatch
):
    forward = PoseNetwork.forward

    def diverge(network, image):
        prediction = forward(network, image)
        if network.training and diverge.calls == 4:
            pose = prediction.pose
            holes = torch.tensor([[1.0], [torch.nan], [1.0], [1.0]])
            prediction = Prediction(Pose(pose.rotation, pose.translation * holes))
        diverge.calls += network.training
        return prediction

    diverge.calls = 0
    monkeypatch.setattr(PoseNetwork, "forward", diverge)
    answer = train(tmp_path / "run")
    assert answer.code == 1
    assert re.search(
        rf"the loss is nan at step 5, for the frames {TRAIN}/frame-\d+ of 4 in the batch; the last",
        answer.err.splitlines()[-1],
    )
    kept = weights(tmp_path / "run" / "checkpoints" / "last.pt")
    assert all(tensor.isfinite().all() for tensor in kept.values())


def test_a_run_is_neither_resumed_nor_tested_on_another_split(train, trained, room, tmp_path):
    other = shutil.copytree(room, tmp_path / "room")
    (other / "TrainSplit.txt").write_text("sequence2\nsequence3\n")
    (other / "TestSplit.txt").write_text("sequence1\n")
    run = shutil.copytree(trained.folder, tmp_path / "run")
    resumed = train(run, resume=True, data__root=other)
    assert (resumed.code, "frames are not those the run began with" in resumed.err) == (1, True)
    before = (run / "evaluation.json").read_bytes() if (run / "evaluation.json").exists() else b""
    tested = posenet("evaluate", run, "--root", other)
    assert (tested.code, f"this run was trained on {TRAIN}/frame" in tested.err) == (1, True)
    after = (run / "evaluation.json").read_bytes() if (run / "evaluation.json").exists() else b""
    assert before == after


def test_one_sequence_without_depth_and_without_a_test_split_is_enough(train, room, tmp_path):
    scene = tmp_path / "scene"
    shutil.copytree(room / TRAIN, scene / TRAIN, ignore=shutil.ignore_patterns("*.depth.png"))
    (scene / "TrainSplit.txt").write_text("sequence1\n")
    answer = train(tmp_path / "run", data__root=scene)
    assert answer.code == 0
    assert "no frame has depth" in answer.err
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert split["validation"] == names(TRAIN)[5:7]
    assert split["train"] == [*names(TRAIN)[:4], *names(TRAIN)[8:]]  # gaps of one frame
    assert posenet("predict", tmp_path / "run", scene / TRAIN).out.count("\n") == FRAMES
    tested = posenet("evaluate", tmp_path / "run")
    assert (tested.code, "the test split has no frames" in tested.err) == (1, True)


def test_training_stops_early_when_validation_gets_no_better(train, tmp_path, monkeypatch):
    def never_better(module):
        module._errors.clear()
        module.log("validation_score", torch.tensor(1.0))

    monkeypatch.setattr(TrainingModule, "on_validation_epoch_end", never_better)
    train(tmp_path / "run", optimization__epochs=6, optimization__patience=1)
    assert len(read_csv(tmp_path / "run" / "metrics.csv")) == 2


def test_a_missing_path_does_not_stop_the_rest(trained, room):
    image = room / TEST / "frame-000000.color.jpg"
    answer = posenet("predict", trained.folder, "nowhere.jpg", room / TEST, room, image)
    assert answer.code == 1
    assert answer.out.count("\n") == FRAMES + 3 * FRAMES + 1
    assert answer.err.count("posenet: error:") == 1
    assert "nowhere.jpg" in answer.err


# --- viewpoint bins ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["classification", "coarse_to_fine"])
def test_a_run_with_viewpoint_bins(train, room, tmp_path, mode):
    run = tmp_path / "run"
    answer = train(run, model__mode=mode, model__bins=3)
    assert answer.code == 0
    assert "3 viewpoint bins, of " in answer.err
    evaluation = posenet("evaluate", run)
    assert evaluation.code == 0
    assert "3 viewpoint bins: " in evaluation.out
    assert json.loads((run / "evaluation.json").read_text())["viewpoints"]["bins"] == 3
    assert (run / "viewpoints.png").read_bytes().startswith(PNG)
    bins = load_checkpoint(run / "checkpoints" / "best.pt").network.bins
    assert bins.rotation.shape == (3, 3, 3)
    assert float(bins.spread_m) > 0.0
    image = next((room / TEST).glob("*.color.*"))
    predicted = posenet("predict", run, image, "--hypotheses", 3)
    hypotheses = json.loads(predicted.out)["hypotheses"]
    assert sum(entry["probability"] for entry in hypotheses) == pytest.approx(1.0, abs=1e-6)
    if mode == "classification":  # every answer is the centre of a bin
        found = np.array(sorted(entry["camera_center"] for entry in hypotheses))
        np.testing.assert_allclose(found, sorted(bins.translation.tolist()), atol=1e-6)


def test_more_bins_than_training_views_are_refused(train, tmp_path):
    answer = train(tmp_path / "run", model__mode="classification", model__bins=5000)
    assert answer.code == 1
    assert "model.bins: 5000 bins for " in answer.err
    assert "use fewer" in answer.err
    assert not (tmp_path / "run" / "checkpoints").exists()


# --- distillation -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def teacher(train, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    assert train(folder, model__mode="coarse_to_fine", model__bins=3).code == 0
    return folder


def student(train, folder, teacher, **settings):
    values = {"model__mode": "coarse_to_fine", "model__bins": 3, "distill__teacher": teacher}
    return train(folder, **values | settings)


@pytest.fixture
def credulous(monkeypatch):
    """Two epochs teach the teacher of these tests little: take it nevertheless."""
    monkeypatch.setattr("posenet.training.distillation._MOST_OF_MEAN_POSE", 100.0)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_student_takes_over_the_bins_and_learns_from_the_probabilities(
    train, teacher, tmp_path, credulous, share
):
    alone, taught = tmp_path / "alone", tmp_path / "taught"
    train(alone, model__mode="coarse_to_fine", model__bins=3)
    answer = student(train, taught, teacher, distill__teacher_share=share)
    assert answer.code == 0
    assert f"3 viewpoint bins of the teacher {teacher}" in answer.err
    before, after = (
        weights(teacher / "checkpoints/best.pt"),
        weights(taught / "checkpoints/last.pt"),
    )
    for name in ("rotation", "translation", "spread", "spread_m", "rotation_scale"):
        assert torch.equal(after[f"bins.{name}"], before[f"bins.{name}"])
    # The same seed, data and budget: what differs comes from the teacher.
    by_itself = weights(alone / "checkpoints/last.pt")["viewpoint.2.weight"]
    assert not torch.equal(after["viewpoint.2.weight"], by_itself)
    # The teacher is neither changed nor kept.
    assert after.keys() == before.keys()
    kept = torch.load(taught / "checkpoints/resume.ckpt", weights_only=True)["state_dict"]
    assert not any("teacher" in name for name in kept)


def test_a_teacher_has_an_effect_of_the_size_it_is_given(train, teacher, tmp_path, credulous):
    """With a share of 0 the teacher is silent, and the run is that of a student alone."""
    silent, alone = tmp_path / "silent", tmp_path / "alone"
    student(train, silent, teacher, distill__teacher_share=0.0)
    train(alone, model__mode="coarse_to_fine", model__bins=3)
    assert_equal_weights(silent, alone)


def assert_equal_weights(one: Path, other: Path) -> None:
    first, second = (weights(folder / "checkpoints" / "last.pt") for folder in (one, other))
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], msg=name, rtol=1e-4, atol=1e-5)


def test_a_distilled_run_is_resumed(train, teacher, tmp_path, credulous):
    student(train, tmp_path / "whole", teacher)
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    answer = student(train, tmp_path / "again", teacher, resume=True)
    assert (answer.code, "another output" in answer.err) == (0, False)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model__mode": "regression"}, "a student learns viewpoint bins"),
        ({"model__bins": 4}, "has 3 viewpoint bins, the student 4; use --model.bins 3"),
        ({"data__width": 96, "data__height": 72}, "images of 64x48 pixels, the student 96x72"),
        ({"distill__teacher": "nowhere"}, "nowhere: no such checkpoint"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(train, teacher, tmp_path, settings, expected):
    answer = student(train, tmp_path / "run", teacher, **settings)
    assert answer.code in (1, 2)
    assert expected in answer.err
    assert len(answer.err.splitlines()) == 1  # before anything was read
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_another_camera_is_refused(train, teacher, tmp_path):
    camera = "[60.0, 60.0, 31.5, 23.5]"
    answer = student(train, tmp_path / "run", teacher, data__camera=camera)
    assert (answer.code, "sees images of the camera" in answer.err) == (2, True)


def test_a_teacher_without_bins_is_refused(train, trained, tmp_path):
    answer = student(train, tmp_path / "run", trained.folder)
    assert (answer.code, "has no viewpoint bins to teach" in answer.err) == (2, True)


@pytest.mark.parametrize(
    ("train_on", "test_on", "known"),
    [
        ("sequence3", "sequence1", "seq-01/frame-000000"),  # the teacher was trained on these
        ("sequence1\nsequence3", "sequence2", "seq-02/frame-000000"),  # they chose its epoch
    ],
)
def test_a_teacher_that_knows_the_frames_kept_for_testing_is_refused(
    train, teacher, room, tmp_path, credulous, train_on, test_on, known
):
    scene = shutil.copytree(room, tmp_path / "room")
    (scene / "TrainSplit.txt").write_text(f"{train_on}\n")
    (scene / "TestSplit.txt").write_text(f"{test_on}\n")
    answer = student(train, tmp_path / "run", teacher, data__root=scene)
    assert answer.code == 1
    assert f"the teacher was trained on, or chosen by, {known} and 11 more frames" in answer.err


def test_a_teacher_of_another_scene_is_refused(train, teacher, room, tmp_path):
    """Its frames are named alike, and it stands ten metres beside them."""
    scene = shutil.copytree(room, tmp_path / "elsewhere")
    for path in scene.rglob("*.pose.txt"):
        pose = np.loadtxt(path)
        pose[:3, 3] += 10.0
        np.savetxt(path, pose)
    answer = student(train, tmp_path / "run", teacher, data__root=scene)
    assert answer.code == 1
    assert "expected a teacher that knows" in answer.err
    assert "it was trained on 'room'" in answer.err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_teacher_of_another_convention_is_refused(train, teacher, tmp_path):
    path = shutil.copytree(teacher, tmp_path / "old") / "checkpoints" / "best.pt"
    content = torch.load(path, weights_only=True)
    torch.save({**content, "convention": "world-to-camera"}, path)
    answer = student(train, tmp_path / "run", path)
    assert answer.code == 1
    assert "expected poses that are camera-to-world" in answer.err
    assert "found 'world-to-camera'" in answer.err


# --- comparison -------------------------------------------------------------------------------


def test_runs_are_compared_on_the_same_frames(trained, evaluated, teacher, tmp_path):
    answer = posenet("compare", trained.folder, teacher, "--json", "--output", tmp_path / "both")
    found = json.loads(answer.out)
    assert (found["split"], found["frames"]) == ("test", FRAMES)
    first, second = (found["runs"][str(run)] for run in (trained.folder, teacher))
    alone = json.loads(evaluated.out)
    for name in ("median_translation_m", "median_rotation_deg", "intervals_95"):
        assert first[name] == alone[name]
    assert "difference_95" not in first
    low, high = second["difference_95"]["median_rotation_deg"]
    assert low <= second["median_rotation_deg"] - first["median_rotation_deg"] <= high
    assert second["parameters"] > first["parameters"] > 1e6
    assert first["latency_ms"] > 0.0
    assert first["megabytes"] == pytest.approx(
        (trained.folder / "checkpoints" / "best.pt").stat().st_size / 1e6
    )
    assert json.loads((tmp_path / "both" / "comparison.json").read_text()) == found
    assert (tmp_path / "both" / "comparison_cdf.png").read_bytes().startswith(PNG)


def test_a_comparison_is_a_table_for_people(trained, teacher):
    table = posenet("compare", trained.folder, teacher).out
    assert str(trained.folder) in table
    assert "ms an image" in table


def test_a_run_is_compared_with_a_file(trained, evaluated, teacher, room, tmp_path):
    """Its own predictions from a file: no difference; the truth is the run's dataset, or given."""
    own = trained.folder / "predictions.csv"
    split = tmp_path / "truth.txt"
    assert posenet("convert", room, split, "--to", "visloc").code == 0
    for more in ((), ("--ground-truth", room), ("--ground-truth", split)):
        answer = posenet("compare", own, trained.folder, teacher, "--json", *more)
        found = json.loads(answer.out)
        frames = 3 * FRAMES if split in more else FRAMES
        assert found["frames"] == frames
        file, run, other = (found["runs"][str(path)] for path in (own, trained.folder, teacher))
        assert [part["missing"] for part in (file, run, other)] == [frames - FRAMES] * 3
        assert "latency_ms" not in file
        assert run["latency_ms"] > 0.0
        if split not in more:
            assert run["difference_95"]["median_translation_m"] == pytest.approx((0, 0), abs=1e-6)
            alone = json.loads(evaluated.out)
            assert run["median_rotation_deg"] == pytest.approx(alone["median_rotation_deg"])
    table = posenet("compare", trained.folder, own).out
    row = next(line for line in table.splitlines() if str(own) in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]][-3:] == ["", "", ""]


def test_a_comparison_needs_two_runs_of_the_same_frames(trained, teacher, room, tmp_path):
    answer = posenet("compare", trained.folder)
    assert (answer.code, "two or more different runs" in answer.err) == (2, True)
    answer = posenet("compare", trained.folder, trained.folder)
    assert (answer.code, "two or more different runs" in answer.err) == (2, True)


# --- scenes far away, and of no known scale ---------------------------------------------------


def test_a_scene_far_from_the_origin_is_the_same_scene(train, trained, room, tmp_path):
    """Georeferenced coordinates: float32 would round them to half a metre."""
    offset = np.array([412_345.0, 5_654_321.0, 120.0])
    scene = shutil.copytree(room, tmp_path / "room")
    for path in scene.rglob("*.pose.txt"):
        pose = np.loadtxt(path)
        pose[:3, 3] += offset
        np.savetxt(path, pose, fmt="%.17g")
    run = tmp_path / "run"
    train(run, data__root=scene, model__mode="coarse_to_fine", model__bins=3)
    assert posenet("evaluate", run).code == 0
    near = tmp_path / "near"
    train(near, model__mode="coarse_to_fine", model__bins=3)
    assert posenet("evaluate", near).code == 0
    for far_row, near_row in zip(
        read_csv(run / "predictions.csv"), read_csv(near / "predictions.csv"), strict=True
    ):
        far_center, near_center = row_pose(far_row)[1], row_pose(near_row)[1]
        # Training in other coordinates rounds otherwise; half a metre it is not.
        np.testing.assert_allclose(far_center - offset, near_center, atol=0.05)
    far, close = (
        json.loads((folder / "evaluation.json").read_text())["viewpoints"] for folder in (run, near)
    )
    name = "nearest_bin_median_translation_m"
    assert far[name] == pytest.approx(close[name], abs=0.01)


def test_a_scene_without_scale_is_measured_relative_to_its_size(
    trained, room, tmp_path, monkeypatch
):
    row = FORMATS["seven_scenes"]._replace(metric=False)
    monkeypatch.setitem(FORMATS, "seven_scenes", row)
    answer = posenet("evaluate", trained.folder, "--output", tmp_path / "out")
    assert "median units" in answer.out
    assert "relative to its size" in answer.out
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    positions = np.stack([pose[:3, 3] for pose in true_poses(room, TRAIN)])
    size = np.linalg.norm(np.ptp(positions, axis=0))
    assert summary["metric"] is False
    assert summary["scene_size"] == pytest.approx(size)
    assert summary["median_translation_relative"] == pytest.approx(
        summary["median_translation_m"] / size
    )
    assert not any(key.startswith("recall_") for key in summary)
    assert not any(key.startswith("recall_") for key in summary["intervals_95"])


def test_training_on_a_scene_without_scale_speaks_of_units(train, tmp_path, monkeypatch):
    row = FORMATS["seven_scenes"]._replace(metric=False, scaled_depth=True)
    monkeypatch.setitem(FORMATS, "seven_scenes", row)
    drawn = []
    monkeypatch.setattr(
        "posenet.training.run.plot_training_curves", lambda *words: drawn.append(words[2])
    )
    answer = train(tmp_path / "run", optimization__epochs=1)
    assert answer.code == 0
    (line,) = [line for line in answer.err.splitlines() if line.startswith("epoch 1/1")]
    assert re.search(
        r"training +[\d.]+ deg +[\d.]+ units  validation +[\d.]+ deg +[\d.]+ units$", line
    )
    assert drawn == ["units"]
    assert re.search(
        r"shift_m: 0.25 is in the scene's own units; .* extend over [\d.]+", answer.err
    )


def test_a_run_without_confidence_or_validation(train, room, tmp_path):
    run = tmp_path / "plain"
    assert train(run, model__confidence=False, optimization__epochs=1).code == 0
    assert "confidence" not in posenet("evaluate", run).out
    assert not (run / "confidence.png").exists()
    answer = posenet("evaluate", run, "--other-scene", room)
    assert answer.code == 2
    assert "says nothing of other scenes" in answer.err
    run = tmp_path / "unvalidated"
    assert train(run, data__validation="none", optimization__epochs=1).code == 0
    assert load_checkpoint(run / "checkpoints" / "last.pt").calibration is None
    answer = posenet("evaluate", run)
    assert "not calibrated: the run had no validation frames" in answer.out
