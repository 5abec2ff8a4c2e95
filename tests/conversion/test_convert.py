"""The verb: where it reads, where it writes, what it says, and what it leaves alone."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from posenet.config import DataConfig
from posenet.conversion import (
    POSE_FILES,
    read_pose_file,
    read_source,
    run_convert,
    write_pose_file,
)
from posenet.datasets.sharding import write_shards
from posenet.errors import DataError, PosenetError, UsageError
from posenet.geometry import Intrinsics

FOLDERS = ("colmap", "7scenes")


@pytest.fixture
def source(drive, tmp_path):
    path = tmp_path / "in" / "source.csv"
    write_pose_file(drive, path, "csv")
    return path


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", POSE_FILES)
def test_an_existing_destination_is_replaced_only_by_force(name, source, destination, capsys):
    path = destination(name)
    run_convert(source, path, name)
    before = tree(path.parent)
    with pytest.raises(UsageError, match=r"exists already; .*--force"):
        run_convert(source, path, name)
    assert tree(path.parent) == before
    run_convert(source, path, name, force=True)
    assert tree(path.parent) == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == sorted(
        {entry.relative_to(path.parent).parts[0] for entry in before}
    )


def test_what_lies_beside_the_old_file_goes_with_it(source, new_trajectory, tmp_path):
    path = tmp_path / "a.txt"
    run_convert(source, path, "kitti")
    assert path.with_name("a.txt.names.txt").exists()
    plain = new_trajectory([(1, 0, 0, 0)] * 5, [(0, 0, 0)] * 5, [f"{i:06d}" for i in range(5)])
    write_pose_file(plain, path, "kitti", force=True)
    assert [entry.name for entry in path.parent.glob("a.*")] == ["a.txt"]


@pytest.mark.parametrize("suffix", [".names.txt", ".times.txt"])
def test_a_file_beside_is_not_overwritten(suffix, source, tmp_path):
    beside = tmp_path / f"a.txt{suffix}"
    beside.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        run_convert(source, tmp_path / "a.txt", "kitti")
    assert beside.read_text() == "mine"


@pytest.mark.parametrize("name", ["colmap", "7scenes", "tum", "kitti"])
def test_a_folder_with_other_files_is_never_replaced(name, source, tmp_path):
    folder = tmp_path / "out"
    run_convert(source, folder, name)
    (folder / "thesis.tex").write_text("mine")
    before = tree(folder)
    with pytest.raises(UsageError, match=r"found thesis\.tex; give another name"):
        run_convert(source, folder, name, force=True)
    assert tree(folder) == before
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


@pytest.mark.parametrize("name", ["colmap", "7scenes", "tum", "kitti"])
def test_an_empty_folder_is_filled(name, source, tmp_path):
    (tmp_path / "out").mkdir()
    run_convert(source, tmp_path / "out", name)
    assert len(read_pose_file(tmp_path / "out").names) == 5


@pytest.mark.parametrize("name", POSE_FILES)
def test_a_file_is_no_folder_and_the_other_way(name, source, tmp_path):
    path = tmp_path / "out"
    if name in FOLDERS:
        path.write_text("mine")
    else:
        (path / "mine").mkdir(parents=True)
    with pytest.raises(UsageError):
        run_convert(source, path, name, force=True)
    assert path.read_text() == "mine" if name in FOLDERS else (path / "mine").is_dir()


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_destination_needs_a_name(name, source, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(UsageError, match="expected the name"):
        run_convert(source, type(source)(name), "colmap")


def test_the_source_is_not_the_destination(source):
    before = source.read_bytes()
    with pytest.raises(UsageError, match="is the source"):
        run_convert(source, source, "csv", force=True)
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("to", "from_format", "message"),
    [
        ("tumm", "auto", "unknown format of poses 'tumm', did you mean 'tum'"),
        ("tum", "colmapp", "unknown format 'colmapp', did you mean 'colmap'"),
    ],
)
def test_unknown_formats_are_told(to, from_format, message, source, tmp_path):
    with pytest.raises(UsageError, match=message):
        run_convert(source, tmp_path / "out", to, from_format)


@pytest.mark.parametrize("make", ["nothing", "empty folder"])
def test_a_source_that_is_none(make, tmp_path):
    path = tmp_path / "source"
    if make != "nothing":
        path.mkdir()
    with pytest.raises(DataError, match="expected") as caught:
        run_convert(path, tmp_path / "out", "tum")
    assert "--data." not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_failure_on_the_way_leaves_the_old_folder(source, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    run_convert(source, folder, "colmap")
    before = tree(folder)
    rename = type(folder).rename

    def fail(path, target):
        if target == folder and path.name == "out":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(type(folder), "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        run_convert(source, folder, "colmap", force=True)
    assert tree(folder) == before


def test_what_was_done_is_said_in_words(source, tmp_path, capsys):
    run_convert(source, tmp_path / "out.txt", "tum")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"read 5 poses from {source} (csv poses, sequences: 2)",
        f"wrote 5 poses to {tmp_path / 'out.txt'} (tum: camera-to-world, quaternion xyzw, "
        "OpenCV axes)",
        "note: not kept, as the format has no place for it: cameras, train or test",
        "note: the sequences follow one another in one file; for a file each, give a folder "
        "(a name without an ending)",
        "note: names or timestamps, which the format cannot hold, are in "
        f"{tmp_path / 'out.txt.names.txt'}",
    ]


@pytest.mark.parametrize("name", POSE_FILES)
def test_of_shards_it_is_said_that_their_images_stay_in_the_tars(
    name, tmp_path, destination, capsys
):
    """No such files as the paths that are written are there."""
    (tmp_path / "scene").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "scene" / "a.png")
    head = "image,qw,qx,qy,qz,center_x_m,center_y_m,center_z_m,focal_x,focal_y,principal_x,"
    (tmp_path / "scene" / "poses.csv").write_text(
        f"{head}principal_y,width,height\na.png,1,0,0,0,0,0,0,50,50,31.5,23.5,64,48\n"
    )
    write_shards(DataConfig(root=str(tmp_path / "scene")), tmp_path / "shards")
    said = {}
    for source in ("scene", "shards"):
        run_convert(tmp_path / source, destination(name, f"of {source}"), name)
        lines = capsys.readouterr().err.splitlines()
        said[source] = [line for line in lines if line.startswith("note: images stay")]
    assert said["scene"] == ["note: images stay where they are, unchanged"]
    (line,) = said["shards"]
    assert "in their tars: paths of images that are written lead to no files" in line


def test_poses_without_times_are_counted(new_trajectory, tmp_path):
    wanted = new_trajectory([(1, 0, 0, 0)] * 3, [(0, 0, 0)] * 3, ["a", "b", "c"])
    notes = write_pose_file(wanted, tmp_path / "t.txt", "tum")
    assert any("no timestamps" in note for note in notes)
    lines = (tmp_path / "t.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["#", "#", "0", "1", "2"]
    assert read_pose_file(tmp_path / "t.txt").timestamps is None


def test_a_camera_can_be_given(source, tmp_path):
    run_convert(source, tmp_path / "m", "colmap", intrinsics=[500, 501, 320, 240, 640, 480])
    found = read_pose_file(tmp_path / "m")
    assert set(found.intrinsics) == {Intrinsics(500, 501, 320, 240, 640, 480)}
    with pytest.raises(DataError, match="--intrinsics: expected positive"):
        run_convert(source, tmp_path / "n", "colmap", intrinsics=[0, 501, 320, 240, 640, 480])


@pytest.mark.parametrize("name", POSE_FILES)
def test_a_table_of_poses_finds_the_images_again(name, redkitchen, tmp_path):
    """Real frames to every format and back, whatever the names of the images are."""
    suffix = {"transforms": ".json", "csv": ".csv", "visloc": ".txt"}.get(name, "")
    frames, kind = read_source(redkitchen)
    assert kind == "seven_scenes dataset"
    run_convert(redkitchen, tmp_path / f"there{suffix}", name)
    run_convert(tmp_path / f"there{suffix}", tmp_path / "back", "7scenes")
    found = read_pose_file(tmp_path / "back")
    order = [found.names.index(frame) for frame in frames.names]
    assert len(order) == len(found.names) == 780
    for one, other in zip(found.pose, frames.pose, strict=True):
        assert torch.abs(one[order] - other).max() < 1e-12
    if name in ("csv", "7scenes"):
        assert [found.splits[i] for i in order] == frames.splits
        assert sorted(found.sequences) == sorted(frames.sequences)


def test_images_are_named_where_the_format_names_images(redkitchen, tmp_path):
    for name, path in {"colmap": "m", "visloc": "v.txt", "transforms": "t.json"}.items():
        run_convert(redkitchen, tmp_path / path, name)
    listed = (tmp_path / "v.txt").read_text().splitlines()[0].split()[0]
    assert (redkitchen / listed).is_file()
    listed = (tmp_path / "m" / "images.txt").read_text().splitlines()[1].split()[-1]
    assert (redkitchen / listed).is_file()
    listed = re.search(r'"file_path": "(.*)"', (tmp_path / "t.json").read_text())[1]
    assert (tmp_path / listed).is_file()


@pytest.mark.parametrize("place", ["colmap/bonsai", "nerf/fox", "cambridge/KingsCollege"])
def test_other_real_datasets(place, redkitchen, tmp_path):
    root = redkitchen.parents[1] / place
    if not root.is_dir():
        pytest.skip(f"real frames absent: {root} does not exist")
    wanted, _ = read_source(root)
    run_convert(root, tmp_path / "m", "colmap")
    found = read_pose_file(tmp_path / "m")
    assert found.names == wanted.names
    assert found.pose.translation.sub(wanted.pose.translation).abs().max() < 1e-9
    assert all(
        np.allclose(one.matrix, other.matrix, rtol=0, atol=1e-9)
        for one, other in zip(found.intrinsics, wanted.intrinsics, strict=True)
    )


def test_errors_are_of_the_project(source, tmp_path, monkeypatch):
    """What a reader cannot hold is told of before anything is written."""
    lines = source.read_text().splitlines()
    source.write_text("\n".join([lines[0], lines[1].replace("seq-01/frame-000000", "a b")]))
    for name in ("colmap", "visloc"):
        with pytest.raises(PosenetError, match="expected names without spaces"):
            run_convert(source, tmp_path / "out" / name, name)
    assert list((tmp_path / "out").iterdir()) == []


def test_options_have_the_names_that_this_verb_gives_them(tmp_path):
    """Readers of datasets tell the options of training."""
    recording = tmp_path / "recording"
    recording.mkdir()
    (recording / "rgb.txt").write_text("1.0 rgb/1.0.png\n")
    (recording / "groundtruth.txt").write_text("1.0 0 0 0 0 0 0 1\n")
    with pytest.raises(DataError, match="--intrinsics FX,FY,CX,CY,WIDTH,HEIGHT") as caught:
        run_convert(recording, tmp_path / "out.csv", "csv")
    assert "--data." not in str(caught.value)
    run_convert(recording, tmp_path / "out.csv", "csv", intrinsics=[5, 5, 2, 2, 4, 4])
    found = read_pose_file(tmp_path / "out.csv")
    assert (found.names, found.timestamps) == (["rgb/1.0.png"], [1.0])


def test_several_recordings_of_one_place_are_converted_together(tmp_path, capsys):
    for name, x in (("fr1_a", 1), ("fr1_b", 2)):
        (tmp_path / "tum" / name).mkdir(parents=True)
        (tmp_path / "tum" / name / "rgb.txt").write_text("1.0 rgb/1.0.png\n")
        (tmp_path / "tum" / name / "groundtruth.txt").write_text(f"1.0 {x} 0 0 0 0 0 1\n")
    run_convert(tmp_path / "tum", tmp_path / "out.csv", "csv")
    assert "(tum dataset, sequences: 2)" in capsys.readouterr().err
    found = read_pose_file(tmp_path / "out.csv")
    assert found.names == ["fr1_a/rgb/1.0.png", "fr1_b/rgb/1.0.png"]
    assert (found.sequences, found.timestamps) == (["fr1_a", "fr1_b"], [1.0, 1.0])
    assert found.pose.translation[:, 0].tolist() == [1.0, 2.0]


def test_sequences_of_several_worlds_are_not_converted_together(tmp_path):
    for name in ("00", "05"):
        (tmp_path / "dataset/sequences" / name).mkdir(parents=True)
        calibration = "P2: 700 0 600 0 0 700 180 0 0 0 1 0\n"
        (tmp_path / "dataset/sequences" / name / "calib.txt").write_text(calibration)
        (tmp_path / "dataset/poses").mkdir(exist_ok=True)
        (tmp_path / f"dataset/poses/{name}.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    for source in (tmp_path, tmp_path / "dataset", tmp_path / "dataset/sequences"):
        with pytest.raises(DataError, match=r"found 00, 05, .*as in SRC .*sequences.00$") as caught:
            run_convert(source, tmp_path / "out.csv", "csv")
        assert "\n" not in str(caught.value)
    run_convert(tmp_path / "dataset/sequences/05", tmp_path / "out.csv", "csv")
    assert read_pose_file(tmp_path / "out.csv").names == ["05/000000"]
