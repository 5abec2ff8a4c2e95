"""From a folder to findings, a page and an exit code."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from posenet.config import DataConfig
from posenet.errors import DataError, UsageError
from posenet.inspection import inspect_dataset, inspect_frames, run_inspect
from posenet.inspection.raw import raw_rotations, self_angle_deg


def config(root, **settings):
    return DataConfig(root=str(root), **({"depth_registered": True} | settings))


def codes(inspection, severities=("error", "warning")):
    return [f.code for f in inspection.findings if f.severity in severities]


def poses_of(root):
    return sorted(root.glob("*/*.pose.txt"))


def rewrite(root, change):
    for path in poses_of(root):
        np.savetxt(path, change(np.loadtxt(path)))


def test_clean_room_ends_with_0_and_a_page_that_needs_nothing_else(room_copy, tmp_path, capsys):
    output = tmp_path / "out"
    assert run_inspect(config(room_copy), output) == 0
    captured = capsys.readouterr()
    assert "0 errors, 0 warnings" in captured.out
    assert str(output / "inspection.html") in captured.err
    page = (output / "inspection.html").read_text()
    assert page.count("data:image/") == 4
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert all(len(alt) > 20 for alt in re.findall(r'alt="([^"]*)"', page))
    assert len(re.findall("<img", page)) == len(re.findall(r"<img alt=", page))
    assert 'name="viewport"' in page
    assert "prefers-color-scheme" in page
    assert len(page) < 2_000_000
    saved = json.loads((output / "inspection.json").read_text())
    assert saved["summary"]["frames"] == 120
    assert saved["summary"]["splits"] == {"train": 80, "test": 40}


def test_json_on_stdout_is_the_json_of_the_folder(room_copy, tmp_path, capsys):
    rewrite(room_copy, np.linalg.inv)
    assert run_inspect(config(room_copy), tmp_path / "out", as_json=True) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "inspection.json").read_text())
    assert printed["counts"]["error"] == 1
    assert printed["findings"][0]["code"] == "inverted_poses"
    assert printed["summary"]["matching"]["hypotheses_px"]["as given"] > 5


def test_default_folder_is_named_after_the_scene(room_copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_inspect(config(room_copy))
    assert (tmp_path / "inspection-room" / "inspection.html").is_file()


@pytest.mark.parametrize(
    ("column", "row"), [(0, None), (2, None), (None, 1)], ids=("x", "z", "world y")
)
def test_mirrored_matrices_in_files_are_named(room_copy, column, row):
    def mirror(matrix):
        if column is not None:
            matrix[:3, column] *= -1
        else:
            matrix[row] *= -1
        return matrix

    rewrite(room_copy, mirror)
    inspection = inspect_dataset(config(room_copy))
    assert codes(inspection) == ["mirrored_axis"]
    assert len(inspection.findings[0].frames) == 120


def test_scaled_matrices_in_files_are_named(room_copy):
    rewrite(room_copy, lambda matrix: matrix @ np.diag((1.5, 1.5, 1.5, 1)))
    assert codes(inspect_dataset(config(room_copy))) == ["nonrigid_poses"]


def test_millimetres_in_files_are_named(room_copy):
    def to_millimetres(matrix):
        matrix[:3, 3] *= 1000
        return matrix

    rewrite(room_copy, to_millimetres)
    assert codes(inspect_dataset(config(room_copy))) == ["wrong_scale"]


@pytest.mark.parametrize("place", [0, 17, 119])
@pytest.mark.parametrize("kind", ["truncated", "text", "empty"])
def test_unreadable_images_are_named(room_copy, place, kind):
    path = sorted(room_copy.glob("*/*.color.jpg"))[place]
    content = path.read_bytes()
    damaged = {"truncated": content[: len(content) // 2], "text": b"no image", "empty": b""}
    path.write_bytes(damaged[kind])
    inspection = inspect_dataset(config(room_copy))
    found = [f for f in inspection.findings if f.code == "unreadable_images"]
    assert found[0].severity == "error"
    assert found[0].frames == (f"{path.parent.name}/{path.name.split('.')[0]}",)


def test_lost_tracking_in_a_file_is_named(room_copy):
    path = poses_of(room_copy)[5]
    path.write_text(" ".join(["nan"] * 16))
    found = inspect_dataset(config(room_copy)).findings
    assert [f.code for f in found] == ["invalid_poses"]
    assert found[0].frames == ("seq-01/frame-000005",)


def test_refusal_without_a_known_reason_is_told_as_the_reader_tells_it(room_copy):
    (room_copy / "TrainSplit.txt").write_text("a sequence\n")
    found = inspect_dataset(config(room_copy)).findings
    assert [f.code for f in found] == ["unreadable_dataset"]
    assert "TrainSplit.txt:1" in found[0].message


def test_a_folder_of_several_worlds_is_refused_with_the_command_for_one(tmp_path):
    for name in ("00", "05"):
        (tmp_path / "sequences" / name).mkdir(parents=True)
        (tmp_path / "poses").mkdir(exist_ok=True)
        (tmp_path / f"poses/{name}.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    (finding,) = inspect_dataset(DataConfig(root=str(tmp_path))).findings
    assert finding.code == "unreadable_dataset"
    assert "found 00, 05, whose poses are not in one world" in finding.message
    assert finding.cure == f"name one, as in posenet inspect {tmp_path}/sequences/00"


def test_recordings_of_one_place_are_inspected_together(tmp_path):
    for name, x in (("fr1_a", 1), ("fr1_b", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rgb.txt").write_text("1.0 rgb/1.0.png\n2.0 rgb/2.0.png\n")
        poses = [f"{time} {x} {time} 0 0 0 0 1\n" for time in (1.0, 2.0)]
        (tmp_path / name / "groundtruth.txt").write_text("".join(poses))
    inspection = inspect_dataset(DataConfig(root=str(tmp_path), split="sequences:fr1_b"))
    assert [f.code for f in inspection.findings if f.severity == "error"] == ["missing_images"]
    assert list(inspection.summary["sequences"]) == ["fr1_a", "fr1_b"]


def test_missing_images_and_poses_alone_are_inspected(rooms, tmp_path):
    frames = [replace(f, image_path=tmp_path / f.image_path.name) for f in rooms[0]]
    inspection = inspect_frames(frames, True)
    assert codes(inspection) == ["missing_images"]
    assert inspection.summary["matching"] is None
    assert inspection.summary["nearest_training_pose"]["test_frames"] == 40


def test_images_of_another_size_are_named(rooms):
    frames = [
        replace(f, intrinsics=f.intrinsics.resized(480, 360)) if i % 3 == 0 else f
        for i, f in enumerate(rooms[0])
    ]
    inspection = inspect_frames(frames, True, pairs=12)
    assert "image_size" in codes(inspection)


def test_a_single_frame_and_none(rooms):
    assert codes(inspect_frames(rooms[0][:1], True)) == []
    with pytest.raises(DataError, match="expected posed frames"):
        inspect_frames([], True)


def test_no_folder_is_an_error_in_one_line(tmp_path):
    with pytest.raises(DataError, match="expected the folder of a dataset"):
        inspect_dataset(config(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="expected the folder"):
        inspect_dataset(DataConfig())


def test_depth_registration_is_noted(room_copy):
    inspection = inspect_dataset(config(room_copy, depth_registered=False))
    assert codes(inspection) == []
    assert "depth_registration" in codes(inspection, ("note",))


def test_redkitchen_repeats_images_and_nothing_worse(redkitchen):
    inspection = inspect_dataset(DataConfig(root=str(redkitchen)))
    assert codes(inspection) == ["repeated_images"]
    assert len(inspection.findings[0].frames) == 71
    assert codes(inspection, ("note",)) == ["label_noise"]
    noise = inspection.summary["label_noise"]["median_self_angle_deg"]
    assert noise == pytest.approx(1.47, abs=0.01)


def test_redkitchen_with_the_focal_length_of_the_depth_camera(redkitchen):
    wrong = (585.0, 585.0, 320.0, 240.0, 640, 480)
    inspection = inspect_dataset(DataConfig(root=str(redkitchen), intrinsics=wrong))
    assert "wrong_intrinsics" in codes(inspection)


def test_bonsai_has_one_camera_that_stands_elsewhere(real_data):
    inspection = inspect_dataset(DataConfig(root=str(real_data("colmap/bonsai"))))
    assert codes(inspection) == ["jump"]
    assert inspection.findings[0].frames == ("DSCF5701.JPG",)


def test_fox_misses_images_and_nothing_else(real_data):
    inspection = inspect_dataset(DataConfig(root=str(real_data("nerf/fox"))))
    assert codes(inspection) == ["missing_images"]
    assert len(inspection.findings[0].frames) == 17


def test_raw_matrices_are_read_beside_images_and_from_json(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    matrix = np.eye(4)
    matrix[0, 0] = 0.9
    entry = {"file_path": "images/a.jpg", "transform_matrix": matrix.tolist()}
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": [entry]}))
    np.savetxt(folder / "b.pose.txt", matrix)
    known = [SimpleNamespace(image_path=folder / n) for n in ("a.jpg", "b.color.png", "c.jpg")]
    raw = raw_rotations(known)
    np.testing.assert_allclose(raw[0], matrix[:3, :3])
    np.testing.assert_allclose(raw[1], matrix[:3, :3])
    assert np.isnan(raw[2]).all()
    assert self_angle_deg(raw[:1])[0] == pytest.approx(np.degrees(np.arccos((0.81 + 1) / 2)))
