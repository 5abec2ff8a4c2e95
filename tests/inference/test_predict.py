"""The verb: images, videos and webcams in; lines and files out."""

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from posenet import Localizer
from posenet.cli import main
from posenet.conversion import read_pose_file
from posenet.geometry import Pose, geodesic_distance
from posenet.inference.output import POSE_FORMATS
from posenet.inference.smoothing import smooth_poses
from posenet.models.calibration import Calibration
from posenet.models.checkpoint import save_checkpoint

from .conftest import CAMERA, DATA, Webcam, picture, write_film


@pytest.fixture
def predict(run, capsys):
    """Runs the verb; returns its exit code and what it printed."""

    def call(*words):
        code = main(["predict", str(run), *map(str, words)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(3):
        Image.fromarray(picture(640, 480, number)).save(folder / f"{number}.png")
    return folder


def predicted(with_bins, film):
    """The poses of a video's frames, by the Python API."""
    capture = cv2.VideoCapture(str(film))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1].copy())
    return with_bins[0].predict(frames)


def poses_of(lines):
    rotation = [line["camera_to_world"]["rotation_matrix"] for line in lines]
    centers = [line["camera_center"] for line in lines]
    return Pose(torch.tensor(rotation).double(), torch.tensor(centers).double())


def assert_same(found, expected, atol=1e-5):
    assert geodesic_distance(found.rotation, expected.rotation).max() < atol
    torch.testing.assert_close(found.translation, expected.translation, rtol=0.0, atol=atol)


# --- videos -----------------------------------------------------------------------------------


def test_a_videos_frames_are_lines_with_their_times(predict, with_bins, film):
    code, out, err = predict(film)
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["file"] for line in lines] == [f"{film}#{i:06d}" for i in range(10)]
    assert [line["time_s"] for line in lines] == pytest.approx(np.arange(10) / 10)
    assert_same(poses_of(lines), predicted(with_bins, film))
    assert "raw" not in lines[0]


def test_every_and_stride_choose_frames(predict, film):
    for words in (("--every", "0.3"), ("--stride", "3")):
        _, out, _ = predict(film, *words)
        names = [json.loads(line)["file"][-6:] for line in out.splitlines()]
        assert names == ["000000", "000003", "000006", "000009"]


def test_a_truncated_video_gives_its_lines_and_one_error(predict, tmp_path, images):
    path = write_film(tmp_path / "film.avi", count=25, width=320, height=240)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    code, out, err = predict(path, images)
    assert code == 1
    assert err.count("\n") == 1
    assert err.startswith(f"posenet: error: {path}: expected a whole video")
    names = [json.loads(line)["file"] for line in out.splitlines()]
    assert len(names) > 8  # some frames, and the three images behind them
    assert names[-3:] == [str(images / f"{i}.png") for i in range(3)]


def test_smoothing_keeps_the_raw_pose(predict, with_bins, film):
    _, out, _ = predict(film, "--smooth", "0.2", "--hypotheses", "2")
    lines = [json.loads(line) for line in out.splitlines()]
    raw = poses_of([line["raw"] for line in lines])
    expected = predicted(with_bins, film)
    assert_same(raw, expected)
    smooth = smooth_poses(expected, torch.arange(10).double() / 10, 0.2)
    assert_same(poses_of(lines), smooth)
    assert (raw.translation - smooth.translation).norm(dim=-1).max() > 1e-4
    assert len(lines[0]["hypotheses"]) == 2


def test_patterns_are_expanded_where_the_shell_did_not(predict, images):
    code, out, _ = predict(images / "[02].png")
    assert code == 0
    assert [json.loads(line)["file"][-5:] for line in out.splitlines()] == ["0.png", "2.png"]


# --- confidence -------------------------------------------------------------------------------


def test_lines_say_how_sure_the_network_is(run, images, tmp_path, capsys, with_bins):
    """Calibrated on images of which one is as unlike the training images as ours, none more."""
    localizer = with_bins[0]
    novelty = localizer.predict_fully([localizer.fit(picture(640, 480, 1))]).confidence.novelty
    ratios = torch.arange(1.0, 200.0).double()
    calibration = Calibration(ratios, 2.0 * ratios, *2 * [novelty.repeat(199)])
    checkpoint = localizer.checkpoint._replace(calibration=calibration)
    save_checkpoint(tmp_path / "best.pt", checkpoint)
    expected = Localizer(checkpoint, "cpu").localize(images / "1.png").confidence
    words = ["predict", str(tmp_path / "best.pt"), str(images / "1.png")]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)["confidence"]
    assert found == pytest.approx({key: v.item() for key, v in expected._asdict().items()})
    assert (found["familiarity"], found["same_scene"]) == (1.0, True)
    assert main([*words, "--format", "csv"]) == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for name in ("rotation_radius_deg", "translation_radius_m", "familiarity"):
        assert float(row[name]) == pytest.approx(found[name], rel=1e-5)
    assert main(["predict", str(run), str(images / "1.png")]) == 0  # without validation
    found = json.loads(capsys.readouterr().out)["confidence"]
    assert found["familiarity"] is None
    assert found["translation_radius_m"] > 0.0


def test_an_image_of_another_place_is_warned_of_once(images, tmp_path, capsys, with_bins):
    calibration = Calibration(*torch.full((4, 200), -1e9, dtype=torch.float64))
    checkpoint = with_bins[0].checkpoint._replace(calibration=calibration)
    save_checkpoint(tmp_path / "best.pt", checkpoint)
    assert main(["predict", str(tmp_path / "best.pt"), str(images)]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["confidence"]["same_scene"] for line in out.splitlines()] == [
        False
    ] * 3
    assert err.count("\n") == 1
    assert f"posenet: warning: {images / '0.png'} looks unlike the images that the network" in err
    few = Calibration(*torch.full((4, 2), -1e9, dtype=torch.float64))  # two images tell nothing
    save_checkpoint(tmp_path / "few.pt", checkpoint._replace(calibration=few))
    assert main(["predict", str(tmp_path / "few.pt"), str(images)]) == 0
    assert capsys.readouterr().err == ""


# --- formats ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POSE_FORMATS)
@pytest.mark.parametrize("what", ["images", "film"])
def test_every_format_is_read_again_by_convert(name, what, predict, images, film, tmp_path):
    source = images if what == "images" else film
    _, out, _ = predict(source)
    expected = [json.loads(line) for line in out.splitlines()]
    if name == "json":
        return
    suffix = {"colmap": "", "transforms": ".json", "csv": ".csv"}.get(name, ".txt")
    output = tmp_path / "new" / f"out{suffix}"
    code, out, _ = predict(source, "--format", name, "--output", output)
    assert (code, out) == (0, "")
    found = read_pose_file(output)
    assert_same(found.pose, poses_of(expected))
    if name == "tum":
        times = [line.get("time_s") for line in expected] if what == "film" else None
        assert found.timestamps == (times and pytest.approx(times))
    elif name == "transforms":  # relative to the file, so that it finds the images
        names = [line["file"] for line in expected]
        assert [str((output.parent / name).resolve()) for name in found.names] == names
    else:
        assert found.names == [line["file"] for line in expected]
    if name in ("colmap", "transforms"):
        width, height = (640, 480) if what == "images" else (64, 48)
        camera = CAMERA.resized(width, height)
        assert found.intrinsics[0].width == width
        assert found.intrinsics[0].focal_x == pytest.approx(camera.focal_x)
        assert found.intrinsics[0].center_x == pytest.approx(camera.center_x)
    if name == "csv":
        assert (found.timestamps is not None) == (what == "film")


@pytest.mark.parametrize("name", ["csv", "tum", "visloc"])
def test_streams_go_to_stdout_or_to_a_file(name, predict, images, tmp_path):
    _, out, _ = predict(images, "--format", name)
    output = tmp_path / "out.txt"
    predict(images, "--format", name, "--output", output)
    assert output.read_text() == out
    assert len([line for line in out.splitlines() if line[0] != "#"]) == 3 + (name == "csv")


def test_lines_are_in_the_file_while_the_rest_is_predicted(predict, tmp_path, monkeypatch, images):
    output = tmp_path / "out.jsonl"
    seen = []
    read = Image.open

    def peek(path, *rest):
        seen.append(output.read_text().count("\n") if output.exists() else None)
        return read(path, *rest)

    monkeypatch.setattr(Image, "open", peek)
    predict(images, "--output", output, "--batch-size", "1")
    assert seen == [0, 0, 1, 1, 2, 2]  # once for the pixels, once for the focal length


def test_images_and_videos_in_one_table_have_no_times(predict, images, film):
    _, out, _ = predict(images, film, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 13
    pose = ["qw", "qx", "qy", "qz", "center_x", "center_y", "center_z"]
    sure = ["rotation_radius_deg", "translation_radius_m", "familiarity"]
    assert list(rows[0]) == ["file", *pose, *sure]
    assert None not in rows[-1]  # no cell too many


def test_colmap_loads_the_predicted_cameras(predict, images, film, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    _, out, _ = predict(images, film)
    lines = {line["file"]: line for line in map(json.loads, out.splitlines())}
    predict(images, film, "--format", "colmap", "--output", tmp_path / "m")
    model = pycolmap.Reconstruction(str(tmp_path / "m"))
    assert len(model.cameras) == 2
    found = {image.name: image for image in model.images.values()}
    assert found.keys() == lines.keys()
    for name, image in found.items():
        expected = lines[name]["world_to_camera"]
        matrix = image.cam_from_world().matrix()
        np.testing.assert_allclose(matrix[:, :3], expected["rotation_matrix"], atol=1e-6)
        np.testing.assert_allclose(matrix[:, 3], expected["translation"], atol=1e-5)
        width = 64 if "#" in name else 640
        assert (image.camera.width, image.camera.focal_length_x) == (
            width,
            pytest.approx(525.0 * width / 640),
        )


def test_evo_reads_a_videos_trajectory(predict, film, tmp_path, run_evo):
    predict(film, "--format", "tum", "--output", tmp_path / "ours.txt")
    printed = run_evo("evo_traj", "tum", "ours.txt", "--full_check")
    assert "nr. of poses\t10" in printed
    assert "SE(3) conform\tyes" in printed


# --- outputs are not lost ---------------------------------------------------------------------


@pytest.mark.parametrize("words", [["json", "o.jsonl"], ["transforms", "o.json"], ["colmap", "o"]])
def test_an_output_is_replaced_only_when_told(words, predict, images, tmp_path):
    name, file = words
    output = tmp_path / file
    rest = ("--format", name, "--output", output)
    assert predict(images / "0.png", *rest)[0] == 0
    before = sorted((path, path.is_file() and path.read_bytes()) for path in tmp_path.rglob("*"))
    code, _, err = predict(images, *rest)
    assert code == 2
    assert f"{output}: exists already; give another name, or --force to replace it" in err
    assert before == sorted(
        (path, path.is_file() and path.read_bytes()) for path in tmp_path.rglob("*")
    )
    assert predict(images, *rest, "--force")[0] == 0
    if name != "json":
        assert len(read_pose_file(output).names) == 3
    else:
        assert output.read_text().count("\n") == 3


def test_a_run_that_fails_leaves_the_old_output(predict, images, tmp_path, capsys):
    output = tmp_path / "out.jsonl"
    output.write_text("precious")
    words = ["predict", str(tmp_path / "none"), str(images), "--output", str(output), "--force"]
    assert main(words) == 1
    assert output.read_text() == "precious"
    assert predict("nowhere.png", "--output", output, "--force", "--hypotheses", "99")[0] == 2
    assert predict(tmp_path / "nothing*.png", "--output", output, "--force")[0] == 1
    assert output.read_text() == "precious"


def test_what_is_predicted_is_never_overwritten(predict, images, tmp_path):
    copy = tmp_path / "a.png"
    shutil.copy(images / "0.png", copy)
    before = copy.read_bytes()
    for option in ("--output", "--overlay"):
        code, _, err = predict(copy, option, copy, "--force")
        assert code == 2
        assert "is what is to be predicted; give another name" in err
    assert copy.read_bytes() == before


def test_a_folder_with_something_else_is_refused_before_predicting(predict, images, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "notes.txt").write_text("mine")
    rest = ("--format", "colmap", "--output", tmp_path / "m", "--force")
    code, _, err = predict(images, *rest)
    assert code == 2
    assert "expected only files that are replaced, found notes.txt" in err
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["notes.txt"]


BAD = [  # words, exit code, part of the message; {i}: images, {f}: a video, {t}: an empty folder
    (["{t}"], 1, "holds no image; give an image, a video or a folder of images"),
    (["{t}/*.png"], 1, "expected a pattern of images or videos, found nothing"),
    (["{t}/none.mp4"], 1, "none.mp4: expected a video, found nothing"),
    (["{f}", "--every", "0"], 2, "--every: expected seconds, more than 0, found 0"),
    (["{f}", "--stride", "0"], 2, "--stride: expected at least 1, found 0"),
    (["{i}", "--stride", "2"], 2, "--stride: choose among the frames of videos"),
    (["{i}", "--smooth", "1"], 2, "--smooth: smooths videos and webcams, found only images"),
    (["{f}", "--smooth", "0"], 2, "--smooth: expected seconds, more than 0, found 0"),
    (["{f}", "--smooth", "nan"], 2, "--smooth: expected seconds, more than 0, found nan"),
    (["{i}", "--format", "colmap"], 2, "is written whole; give the name of a folder with --output"),
    (["{i}", "--format", "transforms"], 2, "give the name of a file with --output"),
    (["{i}", "--format", "tmu"], 2, "did you mean 'tum'"),
    (["{f}", "{i}", "--format", "tum"], 2, "tum: holds one recording, found 4 images or videos"),
    (["{i}", "--hypotheses", "2", "--format", "csv"], 2, "a line of csv holds one pose"),
    (["{i}", "--hypotheses", "2", "--format", "colmap", "--output", "x"], 2, "holds one pose"),
    (["{i}", "{i}", "--format", "visloc"], 1, "found '{i}/0.png' twice"),
    (["{i}", "{i}", "--format", "transforms", "--output", "{t}/o.json"], 1, "0.png' twice"),
    (["{t}/a b.mp4", "--format", "visloc"], 1, "expected names without spaces"),
    (["{i}", "--output", "{i}/0.png/out.txt"], 1, "expected a place that can be written"),
    (["{i}", "--output", "{t}"], 2, "expected the name of a file to write, found a folder"),
    (["{i}", "--format", "colmap", "--output", "{i}/0.png/m"], 1, "expected a place that can be"),
    (["{i}", "--overlay", "{t}/o.mp4"], 2, "a video shows one video or webcam, found 3"),
    (["{i}", "--overlay", "{t}/o.png"], 2, "a picture shows one image, found 3 images"),
    (
        ["{f}", "--overlay", "{t}/o.png"],
        2,
        "found a video or webcam; give the name of a folder, or",
    ),
    (["{f}", "--overlay", "{t}/o.gif"], 2, "expected the name of a .mp4, .avi or .png file or"),
    (["{f}", "--overlay", "{i}"], 2, "exists already; give another name"),
    (["camera:x"], 1, "camera:x: expected the number of a webcam, such as camera:0"),
    (["camera:0", "{i}"], 2, "a webcam is used by itself; give other images in another call"),
]


@pytest.mark.parametrize(("words", "code", "message"), BAD)
def test_bad_input_is_one_line(words, code, message, predict, images, film, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    if "{t}/a b.mp4" in words:
        write_film(folder / "a b.mp4", count=2)
    places = {"{i}": str(images), "{f}": str(film), "{t}": str(folder)}
    before = sorted(tmp_path.rglob("*"))
    for key, value in places.items():
        words = [word.replace(key, value) for word in words]
        message = message.replace(key, value)
    found, out, err = predict(*words)
    assert (found, out) == (code, "")
    assert err.startswith("posenet: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before


def test_ffmpeg_adds_nothing_to_the_line_about_a_video_that_is_none(run, images, tmp_path):
    (tmp_path / "film.mp4").write_text("no film")
    words = ["predict", str(run), str(tmp_path / "film.mp4"), str(images / "0.png")]
    done = subprocess.run(  # FFmpeg takes its settings when a process first uses it
        [sys.executable, "-m", "posenet.cli", *words], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stderr == (
        f"posenet: error: {tmp_path / 'film.mp4'}: expected a video, found none that can be read; "
        "copy it again\n"
    )


def test_every_and_stride_exclude_each_other(predict, film, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        predict(film, "--every", "1", "--stride", "2")
    assert "not allowed with argument --every" in capsys.readouterr().err


# --- webcams ----------------------------------------------------------------------------------


class InterruptedWebcam(Webcam):
    """Ctrl-C while its fourth image is on the way."""

    def read(self):
        if self.given == 3:
            signal.raise_signal(signal.SIGINT)
        return super().read()


@pytest.mark.parametrize("name", ["json", "tum", "colmap"])
def test_ctrl_c_ends_a_webcam_with_everything_written(name, predict, tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", InterruptedWebcam)
    output = tmp_path / "out"
    code, _, err = predict(
        "camera:0",
        "--format",
        name,
        "--output",
        output.with_suffix("" if name == "colmap" else ".txt"),
        "--smooth",
        "0.2",
    )
    assert (code, "camera:0: Ctrl-C ends it" in err, "error" in err) == (0, True, False)
    if name == "json":
        lines = [json.loads(line) for line in output.with_suffix(".txt").read_text().splitlines()]
        assert [line["file"] for line in lines] == [f"camera:0#{i:06d}" for i in range(3)]
        assert all("raw" in line for line in lines)
    else:
        found = read_pose_file(output if name == "colmap" else output.with_suffix(".txt"))
        assert len(found.names) == 3


def test_a_webcam_that_does_not_open(predict, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", InterruptedWebcam)
    code, out, err = predict("camera:1")
    assert (code, out) == (1, "")
    assert err == (
        "posenet: error: camera:1: expected a webcam, found none that answers; is it plugged in, "
        "and used by no other program?\n"
    )


# --- overlays ---------------------------------------------------------------------------------


def test_a_video_is_drawn_as_a_video(predict, film, tmp_path):
    output = tmp_path / "map.mp4"
    code, out, err = predict(film, "--stride", "2", "--overlay", output)
    assert (code, out.count("\n")) == (0, 5)
    assert "overlay: the map shows no training positions" in err
    capture = cv2.VideoCapture(str(output))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(5.0)
    _, frame = capture.read()
    assert frame.shape[0] == 360
    assert frame.shape[1] > 480  # the picture and the map
    rgb = frame[10:100, 10:100, ::-1].reshape(-1, 3)
    np.testing.assert_allclose(np.median(rgb, axis=0), (255, 0, 0), atol=12)


def test_images_are_drawn_into_a_folder_and_stay_apart(predict, film, tmp_path):
    for folder in ("a", "b/.."):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    paths = [tmp_path / "a" / "same.png", tmp_path / "same.png", tmp_path / "a" / "..x ü.png"]
    for seed, path in enumerate(paths):
        Image.fromarray(picture(64, 48, seed)).save(path)
    folder = tmp_path / "maps"
    code, out, _ = predict(*paths, film, "--overlay", folder)
    assert (code, out.count("\n")) == (0, 13)
    assert sorted(path.name for path in folder.iterdir()) == [
        "000000-same.png",
        "000001-same.png",
        "000002-x.png",
        "000003-film.mp4",
    ]
    assert not np.array_equal(
        cv2.imread(str(folder / "000000-same.png")), cv2.imread(str(folder / "000001-same.png"))
    )


def test_one_image_is_drawn_into_a_picture(predict, images, tmp_path):
    output = tmp_path / "new" / "map.png"
    assert predict(images / "0.png", "--overlay", output)[0] == 0
    assert cv2.imread(str(output)).shape[0] == 480
    assert predict(images / "0.png", "--overlay", output)[0] == 2
    assert predict(images / "1.png", "--overlay", output, "--force")[0] == 0


def test_a_network_of_another_size_is_no_matter(predict, tmp_path):
    assert (DATA.width, DATA.height) == (64, 48)
    Image.fromarray(picture(300, 500)).save(tmp_path / "tall.png")
    code, _, err = predict(tmp_path / "tall.png", "--overlay", tmp_path / "o.png")
    assert code == 0
    assert f"posenet: warning: {tmp_path / 'tall.png'} has other proportions" in err
    assert Path(tmp_path / "o.png").is_file()
