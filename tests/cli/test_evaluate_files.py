"""Predictions in files are measured as a run's are: every format, by hand, and by evo."""

import contextlib
import csv
import io
import itertools
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from posenet.cli import main
from posenet.conversion import POSE_FILES, Trajectory, write_pose_file
from posenet.conversion.trajectory import select
from posenet.datasets.toy_room import write_toy_room
from posenet.evaluation.recall import RECALL_THRESHOLDS, recall_key
from posenet.geometry import Pose

COUNT = 24
NAMES = [f"seq-{1 + i // 12:02d}/frame-{i % 12:06d}" for i in range(COUNT)]
TIMES = [1305031102.0 + 0.04 * i for i in range(COUNT)]
SUFFIXES = {"transforms": ".json", "csv": ".csv", "visloc": ".txt"}
PNG = b"\x89PNG\r\n\x1a\n"


def posenet(*words: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()


def measure(predictions: Path, truth: Path, *words: object) -> dict:
    code, out, err = posenet(
        "evaluate", "--predictions", predictions, "--ground-truth", truth, "--json", *words
    )
    assert code == 0, err
    return json.loads(out)


def refusal(*words: object) -> str:
    """The one line of an error; notes may come before it."""
    code, out, err = posenet(*words)
    assert (code in (1, 2), out) == (True, "")
    *notes, message = err.splitlines()
    assert message.startswith("posenet: error: ")
    assert not any("error:" in note for note in notes)
    return message


def trajectory(rotation: Rotation, centers: np.ndarray, **known: object) -> Trajectory:
    pose = Pose(torch.tensor(rotation.as_matrix()), torch.tensor(centers))
    count = len(centers)
    usual = {
        "sequences": [name.rpartition("/")[0] for name in NAMES[:count]],
        "splits": [None] * count,
        "intrinsics": [None] * count,
        "distortions": [None] * count,
    }
    return Trajectory(names=NAMES[:count], pose=pose, **usual | known)


@pytest.fixture(scope="module")
def true() -> Trajectory:
    rng = np.random.default_rng(0)
    return trajectory(Rotation.random(COUNT, rng), rng.normal(size=(COUNT, 3)), timestamps=TIMES)


@pytest.fixture(scope="module")
def wrong() -> tuple[np.ndarray, np.ndarray]:
    """Translation errors in metres and rotation errors in degrees."""
    rng = np.random.default_rng(1)
    return rng.gamma(2.0, 0.04, COUNT), rng.gamma(2.0, 1.5, COUNT)


@pytest.fixture(scope="module")
def predicted(true, wrong) -> Trajectory:
    """Off by exactly as much as ``wrong`` says."""
    rng = np.random.default_rng(2)
    axes, ways = (v / np.linalg.norm(v, axis=1)[:, None] for v in rng.normal(size=(2, COUNT, 3)))
    turn = Rotation.from_rotvec(np.deg2rad(wrong[1])[:, None] * axes)
    rotation = Rotation.from_matrix(true.pose.rotation.numpy()) * turn
    centers = true.pose.translation.numpy() + wrong[0][:, None] * ways
    return trajectory(rotation, centers, timestamps=TIMES)


def write(poses: Trajectory, folder: Path, name: str, stem: str) -> Path:
    path = folder / f"{stem}-{name}{SUFFIXES.get(name, '')}"
    write_pose_file(poses, path, name)
    return path


@pytest.fixture(scope="module")
def files(true, predicted, tmp_path_factory) -> dict[str, dict[str, Path]]:
    """True and predicted poses in every format."""
    folder = tmp_path_factory.mktemp("files")
    return {
        stem: {name: write(poses, folder, name, stem) for name in POSE_FILES}
        for stem, poses in (("true", true), ("predicted", predicted))
    }


@pytest.fixture(scope="module")
def by_hand(wrong) -> dict[str, float]:
    expected = {}
    for errors, unit in zip(wrong, ("translation_m", "rotation_deg"), strict=True):
        expected[f"median_{unit}"] = np.median(errors)
        expected[f"mean_{unit}"] = errors.mean()
        expected[f"rmse_{unit}"] = math.sqrt((errors**2).mean())
    for metres, degrees in RECALL_THRESHOLDS["default"]:
        within = (wrong[0] <= metres) & (wrong[1] <= degrees)
        expected[recall_key(metres, degrees)] = within.mean()
    return expected


@pytest.mark.parametrize(("ours", "theirs"), itertools.product(POSE_FILES, POSE_FILES))
def test_every_pair_of_formats_gives_the_same_figures(ours, theirs, files, by_hand):
    found = measure(files["predicted"][ours], files["true"][theirs], "--metric")
    assert {key: found[key] for key in by_hand} == pytest.approx(by_hand, abs=1e-9, rel=0.0)
    assert (found["frames"], found["missing"], found["unknown"]) == (COUNT, 0, 0)
    assert found["matched_by"] == "name"
    assert list(found["sequences"]) == (["00", "01"] if theirs == "kitti" else ["seq-01", "seq-02"])


def test_a_summary_has_the_keys_of_a_run_where_they_make_sense(files, by_hand):
    found = measure(files["predicted"]["csv"], files["true"]["visloc"])
    measured = {"frames", "intervals_95", "missing", *by_hand}
    own = {"predictions", "ground_truth", "matched_by", "unknown", "size_of"}
    assert found.keys() == measured | own | {"scene", "split", "metric", "scene_size", "sequences"}
    assert found["intervals_95"].keys() == {"frames", *by_hand}
    assert all(part.keys() == measured for part in found["sequences"].values())
    assert (found["metric"], found["split"]) == (True, None)


def test_a_table_says_what_its_intervals_are(files):
    code, out, err = posenet(
        *("evaluate", "--predictions", files["predicted"]["csv"]),
        *("--ground-truth", files["true"]["csv"], "--recall", "7scenes"),
    )
    assert (code, err) == (0, "")
    assert f"{COUNT} frames, predictions of {files['predicted']['csv']} by name" in out
    assert "block bootstrap over the frames of these sequences, not over scenes" in out
    assert "rmse m" in out
    assert re.findall(r"\S+cm/\S+", out) == ["5cm/5deg"]


def test_intervals_do_not_depend_on_the_order_of_named_lines(files, tmp_path):
    """Neighbouring frames are drawn together, wherever their lines stand."""
    predictions = files["predicted"]["csv"]
    lines = files["true"]["visloc"].read_text().splitlines(keepends=True)
    shuffled = tmp_path / "shuffled.txt"
    order = np.random.default_rng(0).permutation(len(lines))
    shuffled.write_text("".join(lines[i] for i in order))
    expected = measure(predictions, files["true"]["visloc"])
    found = measure(predictions, shuffled)
    for key in ("intervals_95", "sequences"):
        assert found[key] == expected[key]


def test_formats_without_metres_say_so(files):
    found = measure(files["predicted"]["csv"], files["true"]["colmap"])
    assert found["metric"] is False
    assert not [key for key in found if key.startswith("recall_")]
    size = found["median_translation_m"] / found["median_translation_relative"]
    assert size == pytest.approx(found["scene_size"])


@pytest.mark.parametrize("name", [*RECALL_THRESHOLDS, "0.03:2,1:10"])
def test_recalls_are_a_setting(name, files, wrong):
    found = measure(files["predicted"]["csv"], files["true"]["csv"], "--recall", name)
    pairs = RECALL_THRESHOLDS.get(name, ((0.03, 2.0), (1.0, 10.0)))
    assert [key for key in found if key.startswith("recall_")] == [recall_key(*p) for p in pairs]
    for metres, degrees in pairs:
        within = (wrong[0] <= metres) & (wrong[1] <= degrees)
        assert found[recall_key(metres, degrees)] == pytest.approx(within.mean())


# --- frames without a prediction ---------------------------------------------------------------


def text_with(path: Path, tmp_path: Path, change) -> Path:
    lines = path.read_text().splitlines()
    new = tmp_path / path.name
    new.write_text("\n".join(change(lines)) + "\n")
    return new


def test_a_missing_prediction_is_infinite_and_counted(files, wrong, tmp_path):
    path = text_with(files["predicted"]["visloc"], tmp_path, lambda lines: lines[:14])
    found = measure(path, files["true"]["visloc"])
    assert (found["frames"], found["missing"]) == (COUNT, 10)
    median = np.median([*wrong[0][:14], *[np.inf] * 10])
    assert found["median_translation_m"] == pytest.approx(median, abs=1e-9)
    assert found["mean_translation_m"] is None  # infinite
    assert found["rmse_rotation_deg"] is None
    assert found["recall_5m_10deg"] == pytest.approx((wrong[1][:14] <= 10).sum() / COUNT)
    assert [part["missing"] for part in found["sequences"].values()] == [0, 10]
    words = ("evaluate", "--predictions", path, "--ground-truth", files["true"]["visloc"])
    code, out, err = posenet(*words)
    assert code == 0
    assert "10 of 24 frames have no prediction, which counts as an infinite error" in err
    assert NAMES[14] in err
    assert "10 without one" in out


def nan_at(place: int):
    def change(lines: list[str]) -> list[str]:
        header = sum(line.startswith(("#", "frame,")) for line in lines)
        separator = "," if "," in lines[header] else " "
        cells = lines[header + place].split(separator)
        numbers = [i for i, cell in enumerate(cells) if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", cell)]
        for i in numbers[-7:]:
            cells[i] = "nan"
        lines[header + place] = separator.join(cells)
        return lines

    return change


@pytest.mark.parametrize("name", ["csv", "visloc", "tum", "kitti"])
def test_a_prediction_that_is_not_finite_is_missing(name, files, tmp_path):
    original = files["predicted"][name]
    if original.is_dir():
        shutil.copytree(original, tmp_path / original.name)
        path = tmp_path / original.name
        part = next(path.glob("*1.txt")) if name == "tum" else path / "00.txt"
        text_with(part, path, nan_at(3))
    else:
        path = text_with(original, tmp_path, nan_at(3))
    found = measure(path, files["true"]["csv"])
    assert (found["frames"], found["missing"]) == (COUNT, 1)
    assert found["sequences"]["seq-01"]["missing"] == 1
    assert np.isfinite(found["median_translation_m"])


def test_a_truth_that_is_not_finite_is_refused(files, tmp_path):
    path = text_with(files["true"]["visloc"], tmp_path, nan_at(3))
    words = ("evaluate", "--predictions", files["predicted"]["csv"], "--ground-truth", path)
    assert f"{path}:4: expected 7 numbers" in refusal(*words)


def test_a_prediction_of_another_frame_is_said_and_left_out(files, true, tmp_path):
    truth = write(select(true, range(20)), tmp_path, "csv", "part")
    words = ("evaluate", "--predictions", files["predicted"]["csv"], "--ground-truth", truth)
    code, out, err = posenet(*words, "--json")
    found = json.loads(out)
    assert (code, found["frames"], found["missing"], found["unknown"]) == (0, 20, 0, 4)
    assert "4 of 24 predictions are of frames that are not measured on and are left out" in err
    assert NAMES[20] in err


# --- what files of others look like --------------------------------------------------------------


def test_names_of_images_and_numbers_behind(files, by_hand, tmp_path):
    """Published lists: image names, a focal length; ACE: flat names, its own errors."""
    for name, more in (("published", "525.0"), ("ace", "0.5 0.02 1234")):

        def change(lines, name=name, more=more):
            for line in reversed(lines):
                frame, pose = line.split(" ", 1)
                frame = frame.replace("/", "-") if name == "ace" else frame
                yield f"{frame}.color.png {pose} {more}"

        (tmp_path / name).mkdir()
        path = text_with(files["predicted"]["visloc"], tmp_path / name, change)
        found = measure(path, files["true"]["csv"])
        assert found["missing"] == 0
        assert {key: found[key] for key in by_hand} == pytest.approx(by_hand, abs=1e-9, rel=0.0)


def test_names_of_strangers_do_not_write_on_the_terminal(tmp_path):
    path, truth = tmp_path / "p.txt", tmp_path / "t.txt"
    pose = "1 0 0 0 0 0 0\n"
    truth.write_text(f"\x1b[31m/1 {pose}\x1b[31m/2 {pose}")
    path.write_text(f"\x1b[31m/1 {pose}\x1b[31m/3 {pose}")
    code, out, err = posenet("evaluate", "--predictions", path, "--ground-truth", truth)
    assert (code, "\x1b" in out + err) == (0, False)


def test_timestamps_match_where_there_are_no_names(files, true, predicted, by_hand, tmp_path):
    late = predicted._replace(timestamps=[time + 0.004 for time in TIMES])
    order = np.random.default_rng(3).permutation(COUNT).tolist()
    paths = []
    for stem, poses in (("t", true), ("p", select(late, order))):
        paths.append(tmp_path / f"{stem}.txt")
        write_pose_file(poses, paths[-1], "tum")
        paths[-1].with_name(f"{stem}.txt.names.txt").unlink()
    found = measure(paths[1], paths[0])
    assert (found["matched_by"], found["missing"]) == ("timestamp", 0)
    assert {key: found[key] for key in by_hand} == pytest.approx(by_hand, abs=1e-9, rel=0.0)
    words = ("evaluate", "--predictions", paths[1], "--ground-truth", paths[0])
    lines = paths[1].read_text().splitlines()
    lines[1] = f"5.5 {lines[1].split(' ', 1)[1]}"
    paths[1].write_text("\n".join(lines) + "\n")
    code, _, err = posenet(*words)
    assert (code, "left out ('5.5')" in err) == (0, True)
    message = refusal(*words, "--time-tolerance", "0.001")
    assert "expected timestamps within 0.001 s" in message


def test_order_is_said(true, predicted, by_hand, tmp_path):
    paths = []
    for stem, poses in (("t", true), ("p", predicted)):
        paths.append(tmp_path / f"{stem}.txt")
        write_pose_file(poses, paths[-1], "kitti")
        for beside in ("names", "times"):
            paths[-1].with_name(f"{stem}.txt.{beside}.txt").unlink()
    words = ("evaluate", "--predictions", paths[1], "--ground-truth", paths[0], "--json")
    code, out, err = posenet(*words)
    found = json.loads(out)
    assert (code, found["matched_by"]) == (0, "order")
    assert "matched by their order" in err
    assert {key: found[key] for key in by_hand} == pytest.approx(by_hand, abs=1e-9, rel=0.0)


# --- ground truth that is a dataset ------------------------------------------------------------


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "room"
    shape = {"frames_per_sequence": 5, "width": 32, "height": 24}
    write_toy_room(root, train_sequences=2, test_sequences=1, **shape)
    return root


@pytest.mark.parametrize(
    ("words", "frames", "missing"),
    [((), 5, 0), (("--split", "train"), 5, 5), (("--split", "all"), 15, 10)],
)
def test_a_dataset_gives_the_frames_of_its_split(room, tmp_path, words, frames, missing):
    path = tmp_path / "p.txt"
    assert posenet("convert", room, tmp_path / "all.txt", "--to", "visloc")[0] == 0
    lines = [f"{line}\n" for line in (tmp_path / "all.txt").read_text().splitlines()]
    path.write_text("".join(line for line in lines if line.startswith("seq-03")))
    if words == ("--split", "train"):  # nothing in common
        assert "found none" in refusal(
            "evaluate", "--predictions", path, "--ground-truth", room, *words
        )
        return
    found = measure(path, room, *words)
    assert (found["frames"], found["missing"], found["scene"]) == (frames, missing, "room")
    if not missing:
        assert found["split"] == "test"
        assert found["median_rotation_deg"] == pytest.approx(0.0, abs=1e-9)


def test_a_file_that_tells_its_splits_is_measured_on_its_test_frames(room, tmp_path):
    path = tmp_path / "all.csv"
    assert posenet("convert", room, path, "--to", "csv")[0] == 0
    words = ("evaluate", "--predictions", path, "--ground-truth", path)
    code, out, err = posenet(*words, "--json")
    assert (code, json.loads(out)["frames"], json.loads(out)["split"]) == (0, 5, "test")
    assert "5 of 15 frames are test frames" in err
    assert measure(path, path, "--split", "all")["frames"] == 15
    assert "--split validation" in refusal(*words, "--split", "validation")


# --- what is written --------------------------------------------------------------------------


def test_nothing_is_written_unless_asked(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = files["true"]["csv"].parent
    before = sorted(folder.rglob("*"))
    measure(files["predicted"]["csv"], files["true"]["csv"])
    assert sorted(folder.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


def test_the_folder_has_what_a_run_has(files, wrong, tmp_path):
    text = text_with(files["predicted"]["visloc"], tmp_path, lambda lines: lines[:20])
    output = tmp_path / "out"
    found = measure(text, files["true"]["csv"], "--output", output)
    assert json.loads((output / "evaluation.json").read_text()) == found
    pictures = {"error_cdf.png", "trajectory.png"}
    numbers = {"evaluation.json", "predictions.csv"}
    assert {p.name for p in output.iterdir()} == {*numbers, *pictures, "report.html"}
    page = (output / "report.html").read_text(encoding="utf-8")
    assert f"{found['median_translation_m']:.3f}\u00a0m" in page
    for name in pictures:
        assert (output / name).read_bytes().startswith(PNG)
    with (output / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == NAMES
    np.testing.assert_allclose(
        [float(row["translation_error_m"]) for row in rows],
        [*wrong[0][:20], *[np.inf] * 4],
        atol=1e-6,
    )
    again = measure(output / "predictions.csv", files["true"]["csv"])
    assert again["missing"] == 4
    assert again["median_translation_m"] == pytest.approx(found["median_translation_m"], abs=1e-8)


# --- bad input ----------------------------------------------------------------------------------


BAD = {  # content of the file of predictions: what the error says
    "": "expected a file of poses, found none of tum, colmap",
    "# only a comment\n": "expected a file of poses",
    "zzz/1.png 1 0 0 0 0 0 0\n": "found none: 'zzz/1.png' here, 'seq-01/frame-000000' there",
    f"{NAMES[0]} 1 0 0 0 0 0\n": "expected a file of poses",
    f"{NAMES[0]} 0 0 0 0 0 0 0\n": "expected a quaternion of length 1, found length 0",
    f"{NAMES[0]} 1 0 0 0 0 0 0\n{NAMES[0]} 1 0 0 0 0 0 0\n": "twice",
    f"{NAMES[0]}.png 1 0 0 0 0 0 0\n{NAMES[0]}.jpg 1 0 0 0 0 0 0\n": "expected one pose a frame",
    "frame-000000 1 0 0 0 0 0 0\n": "can be 'seq-01/frame-000000' or 'seq-02/frame-000000'",
}


@pytest.mark.parametrize("content", BAD, ids=range(len(BAD)))
def test_bad_predictions_are_one_line(content, files, tmp_path):
    path = tmp_path / "bad.txt"
    path.write_text(content)
    words = ("evaluate", "--predictions", path, "--ground-truth", files["true"]["csv"])
    message = refusal(*words)
    assert f"error: {path}" in message
    assert BAD[content] in message
    assert "--from" not in message
    assert "--data." not in message


def test_the_wrong_format_says_how_to_name_it(files, tmp_path):
    truth = files["true"]["csv"]
    words = ("evaluate", "--ground-truth", truth, "--predictions")
    path = tmp_path / "bad.txt"
    path.write_text("1 2 3\n")
    assert "with --predictions-format" in refusal(*words, path)
    ours = files["predicted"]["visloc"]
    assert f"{ours}:1: expected 8 numbers" in refusal(*words, ours, "--predictions-format", "tum")
    assert "unknown format 'tun', did you mean 'tum'" in refusal(
        *words, ours, "--ground-truth-format", "tun"
    )
    assert "nothing" in refusal(*words, tmp_path / "absent.txt")
    empty = tmp_path / "empty"
    empty.mkdir()
    message = refusal("evaluate", "--predictions", ours, "--ground-truth", empty)
    assert f"{empty}: expected a dataset, found none of" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("evaluate", "either a RUN or --predictions"),
        ("evaluate run --predictions a --ground-truth b", "either a RUN or --predictions"),
        ("evaluate --predictions a", "together"),
        ("evaluate run --ground-truth a", "together"),
        ("evaluate run --metric", "--metric: goes with --predictions"),
        ("evaluate run --time-tolerance 0", "--time-tolerance: goes with --predictions"),
        ("evaluate --predictions a --ground-truth b --root c", "--root: goes with RUN"),
        ("evaluate run --split all", "--split all: a run"),
        ("evaluate run --recall 1:2:3", "METRES:DEGREES"),
        ("compare a.pt b.pt --metric", "--metric: goes with --ground-truth"),
        ("compare a.csv b.csv", "expected --ground-truth beside files of predictions"),
        ("compare a.pt b.csv --ground-truth c --split all", "--split all: runs"),
    ],
)
def test_usage(words, message):
    code, _, err = posenet(*words.split())
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


# --- comparison ----------------------------------------------------------------------------------


def test_files_are_compared(files, predicted, true, tmp_path):
    better = predicted._replace(
        pose=predicted.pose._replace(
            translation=0.5 * (predicted.pose.translation + true.pose.translation)
        )
    )
    ours, best = files["predicted"]["csv"], write(select(better, range(22)), tmp_path, "csv", "b")
    words = ("compare", ours, best, "--ground-truth", files["true"]["csv"])
    code, out, err = posenet(*words, "--json", "--output", tmp_path / "out")
    assert code == 0, err
    found = json.loads(out)
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == found
    assert (tmp_path / "out" / "comparison_cdf.png").read_bytes().startswith(PNG)
    assert (found["frames"], found["ground_truth"]) == (COUNT, str(files["true"]["csv"]))
    first, second = found["runs"][str(ours)], found["runs"][str(best)]
    alone = measure(best, files["true"]["csv"])
    for key in ("median_translation_m", "rmse_rotation_deg", "intervals_95", "missing"):
        assert second[key] == alone[key]
    assert (first["missing"], second["missing"]) == (0, 2)
    assert "difference_95" not in first
    low, high = second["difference_95"]["median_translation_m"]
    assert low <= second["median_translation_m"] - first["median_translation_m"] <= high < 0.0
    assert "latency_ms" not in second

    code, out, _ = posenet(*words, "--recall", "0.1:5")
    assert code == 0
    assert "not over scenes" in out
    assert "10cm/5deg" in out
    assert "no prediction" in out
    row = next(line for line in out.splitlines() if str(best) in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]][-4:] == ["2", "", "", ""]


# --- against evo ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relation", "index"), [("trans_part", 0), ("angle_deg", 1)], ids=["translation", "rotation"]
)
def test_evo_measures_the_same(relation, index, true, predicted, tmp_path, run_evo):
    """APE without alignment: evo's mean, median, rmse, min, max and std of the errors we list."""
    for stem, poses in (("truth", true), ("ours", predicted)):
        write_pose_file(poses, tmp_path / f"{stem}.txt", "tum")
    words = ("tum", "truth.txt", "ours.txt", "-r", relation, "--save_results", "result.zip")
    run_evo("evo_ape", *words)
    shutil.unpack_archive(tmp_path / "result.zip", tmp_path / "result")
    theirs = json.loads((tmp_path / "result" / "stats.json").read_text())
    found = measure(tmp_path / "ours.txt", tmp_path / "truth.txt", "--output", tmp_path / "out")
    kind, unit = (("translation", "m"), ("rotation", "deg"))[index]
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        errors = np.array([float(row[f"{kind}_error_{unit}"]) for row in csv.DictReader(file)])
    listed = {"min": errors.min(), "max": errors.max(), "std": errors.std()}
    for name in ("mean", "median", "rmse"):
        listed[name] = found[f"{name}_{kind}_{unit}"]
    assert {name: theirs[name] for name in listed} == pytest.approx(listed, abs=1e-6, rel=0.0)
