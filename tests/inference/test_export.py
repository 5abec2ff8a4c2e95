"""What leaves Python answers as the run does; what is not ours is refused in a line."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import posenet
from posenet import Localizer
from posenet.cli import main
from posenet.errors import CheckpointError, UsageError
from posenet.geometry import REPRESENTATIONS, geodesic_distance, rotation_to_quaternion
from posenet.inference import export, onnx_model
from posenet.inference.export import EXPORTS, METADATA_FILE, export_run
from posenet.inference.onnx_metadata import _KEYS, LEVELS
from posenet.inference.onnx_model import BIN_OUTPUTS, CONFIDENCE_OUTPUTS, POSE_OUTPUTS, load_onnx
from posenet.inference.scene_map import scene_map
from posenet.models import backbones
from posenet.models.backbones import BACKBONES
from posenet.models.calibration import pose_confidence
from posenet.models.viewpoints import DECODINGS

from . import exporting
from .exporting import CAMERA, ORIGIN, SIZE, TINY, calibration, make_checkpoint, pictures

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def tiny_backbone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "tiny", TINY)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_backbone):
    """A run with all that networks have, and its exported model."""
    run = tmp_path_factory.mktemp("made")
    exporting.save(run / "checkpoints" / "best.pt", origin=ORIGIN, calibration=calibration())
    return run, export_run(run).path


def require_equal(ours, theirs):
    assert torch.rad2deg(geodesic_distance(ours.pose.rotation, theirs.pose.rotation)).max() < 1e-3
    assert (ours.pose.translation - theirs.pose.translation).abs().max() < 1e-4
    for part in ("logits", "candidates", "confidence"):
        a, b = getattr(ours, part), getattr(theirs, part)
        assert (a is None) == (b is None)
        if part == "logits" and a is not None:
            a, b = a.softmax(dim=-1), b.softmax(dim=-1)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def export_and_compare(folder, **settings):
    path = exporting.save(folder / "best.pt", **settings)
    eager, exported = Localizer.load(path, "cpu"), Localizer.load(export_run(path).path)
    images = pictures(5, seed=3)
    ours = eager.predict_fully(images)
    assert geodesic_distance(ours.pose.rotation[:1], ours.pose.rotation[1:]).max() > 1e-3
    for size in (1, 2, 5):
        require_equal(ours, exported.predict_fully(images, size))


# Every representation, mode, decoding, with and without confidence; all pairs of them are slow.
@pytest.mark.parametrize(
    ("rotation", "mode", "decoding", "confidence"),
    [
        ("6d", "coarse_to_fine", "mean", True),
        ("9d", "regression", "mean", False),
        ("quaternion", "coarse_to_fine", "top1", False),
        ("rotvec", "classification", "mean", True),
    ],
)
def test_an_exported_model_answers_as_the_run(tmp_path, rotation, mode, decoding, confidence):
    export_and_compare(
        tmp_path, rotation=rotation, mode=mode, decoding=decoding, confidence=confidence
    )


@pytest.mark.slow
@pytest.mark.parametrize("rotation", REPRESENTATIONS)
@pytest.mark.parametrize(
    ("mode", "decoding"),
    [("regression", "mean"), *itertools.product(("classification", "coarse_to_fine"), DECODINGS)],
)
@pytest.mark.parametrize("confidence", [True, False])
def test_every_network_can_be_exported(tmp_path, rotation, mode, decoding, confidence):
    export_and_compare(
        tmp_path, rotation=rotation, mode=mode, decoding=decoding, confidence=confidence
    )


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_can_be_exported(tmp_path, backbone):
    # Large random heads ask for rotations of two nearly parallel axes, which float32 itself tells
    # to a few thousandths of a degree only: torch differs by as much from batch to batch.
    path = exporting.save(tmp_path / "best.pt", spread=0.05, backbone=backbone)
    assert export_run(path).parity.rotation_deg < 1e-3


def test_positions_far_from_zero_keep_their_digits(made):
    model = made[1]
    images = pictures(3)
    near = Localizer(make_checkpoint(), "cpu").predict_fully(images).pose.translation
    found = Localizer.load(model).predict_fully(images).pose.translation
    assert (found - near - torch.tensor(ORIGIN)).abs().max() < 1e-5
    assert found[:, 0].min() > 3_999_000.0


def predict_lines(model, photos, capsys, *words):
    assert main(["predict", str(model), *map(str, photos), *words]) == 0
    return capsys.readouterr().out.splitlines()


def numbers_of(value):
    """All numbers of a parsed JSON value, in their order."""
    if isinstance(value, dict):
        return [number for part in value.values() for number in numbers_of(part)]
    if isinstance(value, list):
        return [number for part in value for number in numbers_of(part)]
    return [float(value)] if isinstance(value, (int, float)) else []


def keys_of(value):
    """The same value without its numbers."""
    if isinstance(value, dict):
        return {name: keys_of(part) for name, part in value.items()}
    if isinstance(value, list):
        return [keys_of(part) for part in value]
    return value if isinstance(value, (str, bool)) else None


def write_photos(folder, size=(480, 640)):
    paths = [folder / f"{number}.png" for number in range(3)]
    for path, pixels in zip(paths, pictures(3, seed=9, size=size), strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def test_predict_says_the_same_of_a_run_and_of_its_export(made, tmp_path, capsys):
    run, model = made
    photos = write_photos(tmp_path)
    ours, theirs = (
        [json.loads(line) for line in predict_lines(source, photos, capsys, "--hypotheses", "3")]
        for source in (run, model)
    )
    assert len(ours) == 3
    assert keys_of(ours) == keys_of(theirs)
    assert len(numbers_of(ours)) > 100  # poses both ways, hypotheses, confidence
    np.testing.assert_allclose(numbers_of(ours), numbers_of(theirs), rtol=1e-4, atol=1e-4)
    csv = [predict_lines(source, photos, capsys, "--format", "csv") for source in (run, model)]
    assert csv[0][0] == csv[1][0]  # the same columns


def test_photos_of_other_cameras_go_the_same_way(made):
    run, model = made
    eager, exported = Localizer.load(run, "cpu"), Localizer.load(model)
    assert exported.camera == eager.camera
    upright = pictures(1, size=(640, 480))[0]
    np.testing.assert_array_equal(eager.fit(upright), exported.fit(upright))
    assert exported.predict([]).rotation.shape == (0, 3, 3)


def test_the_map_of_an_exported_scene_lies_about_its_mean_pose(made, capsys):
    run, model = made
    ours, theirs = (scene_map(Localizer.load(path), path) for path in (run, model))
    np.testing.assert_allclose(ours.center, theirs.center)
    assert ours.radius == pytest.approx(theirs.radius)


def test_torch_export_answers_as_the_run_and_needs_no_posenet(made, tmp_path):
    run, _ = made
    path = export_run(run, "torch-export", tmp_path / "model.pt2").path
    files = {METADATA_FILE: ""}
    module = torch.export.load(path, extra_files=files).module()
    assert set(json.loads(files[METADATA_FILE])) == set(_KEYS)
    images = torch.from_numpy(pictures(3))
    outputs = module(images)
    assert list(outputs) == [*POSE_OUTPUTS, *BIN_OUTPUTS, *CONFIDENCE_OUTPUTS]
    pose = Localizer.load(run, "cpu").predict_batch(images)
    torch.testing.assert_close(outputs["rotation"].double(), pose.rotation, rtol=0, atol=1e-6)
    quaternion = rotation_to_quaternion(pose.rotation)
    torch.testing.assert_close(outputs["quaternion_wxyz"].double(), quaternion, rtol=0, atol=1e-6)
    with pytest.raises(CheckpointError, match=r"torch\.export\.load"):
        Localizer.load(path)


def test_the_file_says_how_to_use_it_and_nothing_of_this_machine(made):
    run, path = made
    model = onnx.load(path)
    says = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert set(says) == set(_KEYS)
    page = (ROOT / "docs" / "export.md").read_text()
    outputs = [output.name for output in model.graph.output]
    assert outputs == [*POSE_OUTPUTS, *BIN_OUTPUTS, *CONFIDENCE_OUTPUTS]
    for name in (*says, *outputs, *says["input"], *says["bins"], *says["training_poses"]):
        assert f"`{name}`" in page, name
    (images,) = model.graph.input
    shape = [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim]
    assert (images.name, shape) == ("images", ["batch", *SIZE, 3])
    content = path.read_bytes()
    for folder in (Path(posenet.__file__).parent, run, Path.home()):
        assert str(folder).encode() not in content


def test_the_levels_and_the_threshold_say_what_the_calibration_says(made):
    says = onnx.load(made[1]).metadata_props
    confidence = json.loads(next(entry.value for entry in says if entry.key == "confidence"))
    checkpoint = make_checkpoint()
    answer = Localizer(checkpoint, "cpu").predict_fully(pictures(24, seed=5)).confidence
    for level in LEVELS:
        factors = confidence["levels"][str(level)]
        wanted = pose_confidence(answer, calibration(), level)
        if factors["translation_factor"] is None:  # 40 images say nothing of the 99th percentile
            assert wanted.translation_radius_m.isinf().all()
            continue
        radius = answer.translation_scale * factors["translation_factor"]
        torch.testing.assert_close(radius, wanted.translation_radius_m)
        radius = torch.rad2deg(answer.rotation_scale * factors["rotation_factor"]).clamp(max=180.0)
        torch.testing.assert_close(radius, wanted.rotation_radius_deg)
    novelty = torch.linspace(0.0, 20.0, 500, dtype=torch.float64)
    wanted = pose_confidence(answer._replace(novelty=novelty), calibration())
    threshold = confidence["calibration"]["same_scene_novelty"]
    assert torch.equal(novelty <= threshold, wanted.same_scene)
    assert 0 < wanted.same_scene.sum() < len(novelty)


BLOCKED = """
import runpy, sys
sys.modules["torch"] = sys.modules["posenet"] = sys.modules["cv2"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_example(*words):
    script = ROOT / "scripts" / "predict_without_torch.py"
    command = [sys.executable, "-c", BLOCKED, str(script), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_example_without_torch_says_what_predict_says(made, tmp_path, capsys):
    _, model = made
    photos = write_photos(tmp_path)
    wanted = [json.loads(line) for line in predict_lines(model, photos, capsys)]
    for photo, line in zip(photos[:2], wanted, strict=False):
        done = run_example(model, photo)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        pose = line["camera_to_world"]["quaternion_wxyz"]
        np.testing.assert_allclose(found["quaternion_wxyz"], pose, atol=1e-3)
        np.testing.assert_allclose(found["translation"], line["camera_center"], atol=1e-2)
        radii = numbers_of(line["confidence"])[:2]
        assert found["rotation_radius_deg"] == pytest.approx(radii[0], rel=1e-2)
        assert found["translation_radius_m"] == pytest.approx(radii[1], rel=1e-2)


def test_the_example_refuses_photos_of_other_proportions(made, tmp_path):
    Image.fromarray(pictures(1, size=(640, 480))[0]).save(tmp_path / "upright.png")
    done = run_example(made[1], tmp_path / "upright.png")
    assert done.returncode == 1
    assert done.stderr.startswith("this photo must be resampled")


def copy_instead(monkeypatch, model, read=EXPORTS["onnx"].read):
    """Have exports copy a model that was written before, which takes no time."""
    row = EXPORTS["onnx"]._replace(
        write=lambda program, metadata, path: path.write_bytes(model.read_bytes()), read=read
    )
    monkeypatch.setitem(export.EXPORTS, "onnx", row)
    monkeypatch.setattr(export, "trace", lambda checkpoint: None)


def test_a_model_that_answers_otherwise_is_not_written(made, tmp_path, monkeypatch, capsys):
    run, model = made
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")

    def read(file):
        predict = load_onnx(file).predict

        def off(images):
            answer = predict(images)
            moved = answer.pose.translation + 2e-4 * (len(images) > 1)
            return answer._replace(pose=answer.pose._replace(translation=moved))

        return off

    copy_instead(monkeypatch, model, read)
    words = ["export", str(run), "--output", str(path), "--force"]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "1.0e-04 m, found 3.5e-04" in error
    assert error.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == b"before"
    assert main([*words, "--tolerance-m", "1e-3"]) == 0
    assert "from the run on 32 images of random pixels" in capsys.readouterr().out
    assert path.read_bytes() != b"before"


def test_images_to_compare_on_can_be_given(made, tmp_path, monkeypatch):
    photos = write_photos(tmp_path)
    run, model = made
    monkeypatch.setattr(export, "trace", lambda checkpoint: None)
    copied = EXPORTS["onnx"]._replace(
        write=lambda _, __, path: path.write_bytes(model.read_bytes())
    )
    monkeypatch.setitem(export.EXPORTS, "onnx", copied)
    exported = export_run(run, output=tmp_path / "m.onnx", images=[tmp_path])
    assert exported.frames == f"{len(photos)} images given"
    with pytest.raises(UsageError, match="--force"):
        export_run(run, output=tmp_path / "m.onnx", images=[tmp_path])
    with pytest.raises(UsageError, match=r"a \.onnx file"):
        export_run(run, output=tmp_path / "m.pt")
    with pytest.raises(UsageError, match="tolerance-deg"):
        export_run(run, output=tmp_path / "n.onnx", tolerance_deg=0.0)
    with pytest.raises(UsageError, match="export format"):
        export_run(run, "onyx")


def test_an_exporter_that_fails_is_told_in_a_line(made, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("no function for this\nand a long story")

    monkeypatch.setattr(torch.onnx, "export", fail)
    assert main(["export", str(made[0]), "--output", str(tmp_path / "model.onnx")]) == 1
    error = capsys.readouterr().err
    assert "cannot write this network as ONNX (no function for this); update torch" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_its_cure(made, monkeypatch, tmp_path, package):
    run, model = made
    found = onnx_model.find_spec
    monkeypatch.setattr(
        onnx_model, "find_spec", lambda name: None if name == package else found(name)
    )
    cure = rf"{package}, which is not installed; run: pip install onnx onnxruntime onnxscript"
    with pytest.raises(CheckpointError, match=cure):
        export_run(run, output=tmp_path / "model.onnx")
    if package != "onnxscript":
        with pytest.raises(CheckpointError, match=cure):
            Localizer.load(model)


def changed(model, folder, change):
    """A copy of a model with something changed."""
    proto = onnx.load(model)
    change(proto)
    path = folder / "changed.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def set_entry(name, value):
    def change(proto):
        entry = next(entry for entry in proto.metadata_props if entry.key == name)
        entry.value = value if isinstance(value, str) else json.dumps(value)

    return change


def move_weights_outside(proto):
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")


def move_constant_outside(proto):
    tensor = onnx.TensorProto(name="c", data_type=1, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    proto.graph.node.append(onnx.helper.make_node("Constant", [], ["c"], value=tensor))


REFUSED = {
    "foreign": (lambda proto: proto.ClearField("metadata_props"), "no metadata of posenet"),
    "newer": (set_entry("posenet_format", 99), "format 99, this version reads up to 1"),
    "unversioned": (set_entry("posenet_format", "x"), "do not fit together"),
    "convention": (set_entry("convention", {"pose": "world-to-camera"}), "convention of posenet"),
    "camera": (set_entry("camera", {"width": 3}), "do not fit together"),
    "deep": (set_entry("scene", "[" * 100_000), "do not fit together"),
    "list": (set_entry("confidence", [1]), "do not fit together"),
    "null": (set_entry("training_poses", None), "do not fit together"),
    "other bins": (set_entry("bins", None), "not what its metadata say"),
    "outside": (move_weights_outside, "all weights inside the file"),
    "outside, constant": (move_constant_outside, "all weights inside the file"),
    "opset": (lambda proto: setattr(proto.opset_import[0], "version", 999), "onnxruntime"),
    "operator": (
        lambda proto: setattr(proto.graph.node[0], "op_type", "Unheard"),
        "onnxruntime",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_not_ours_are_refused_in_a_line(made, tmp_path, name, capsys):
    change, words = REFUSED[name]
    path = changed(made[1], tmp_path, change)
    assert main(["predict", str(path), "photo.jpg"]) == 1
    error = capsys.readouterr().err
    assert str(path) in error
    assert words in error
    assert error.count("\n") == 1


def test_damaged_files_are_refused(made, tmp_path):
    content = made[1].read_bytes()
    path = tmp_path / "model.onnx"
    for damaged in (b"", b"hello", content[: len(content) // 2], content[:-7], b"\0" + content):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"another one|damaged"):
            load_onnx(path)
    with pytest.raises(CheckpointError, match="no such model"):
        load_onnx(tmp_path / "none.onnx")


def test_what_needs_the_dataset_asks_for_the_run(made, capsys):
    assert main(["evaluate", str(made[1])]) == 1
    assert "give the run it was exported from" in capsys.readouterr().err


def test_a_lens_is_known_of_the_training_camera(tmp_path, monkeypatch, made):
    from posenet.geometry import Distortion
    from posenet.inference.onnx_metadata import read_metadata, write_metadata

    lens = Distortion("radial_tangential", (0.1, -0.2, 0.0, 0.0))
    checkpoint = make_checkpoint(mode="regression", distortion=lens, metric=False)
    says = write_metadata(checkpoint)
    known = read_metadata(says, tmp_path)
    assert known.distortion == lens
    assert known.intrinsics == CAMERA
    assert not known.metric
    assert known.bins is None
    assert not json.loads(says["input"])["plain_resize"]
    assert json.loads(says["confidence"])["calibration"] is None
