"""Shards: the dataset that went in comes out, to the bit; nothing else is read from them."""

import errno
import hashlib
import json
import os
import shutil
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from posenet.config import DataConfig
from posenet.datasets.formats import FORMATS
from posenet.datasets.images import content_digest, read_posed_image
from posenet.datasets.orientation import reading
from posenet.datasets.scene import load_scene, read_frames
from posenet.datasets.sharding import write_shards
from posenet.datasets.stored import PackedFile, ShardError, bytes_digest
from posenet.errors import DataError, UsageError
from posenet.geometry import Distortion


@pytest.fixture(scope="session")
def sharded_template(scene_template, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sharded") / "shards"
    write_shards(DataConfig(root=str(scene_template)), folder, 4)
    return folder


@pytest.fixture
def sharded(sharded_template, tmp_path) -> Path:
    """Shards of the tiny scene, the test's own to break: two of three training frames, one test."""
    return shutil.copytree(sharded_template, tmp_path / "shards")


# ------------------------------------------------------------------------------------ the tars


def test_webdataset_reads_the_images_and_the_poses(sharded, scene_template):
    """The reader whose layout this is."""
    webdataset = pytest.importorskip("webdataset", reason="webdataset is in the extra dev")
    frames = {frame.name: frame for frame in read_frames(DataConfig(root=str(scene_template)))}
    for path in sorted(sharded.glob("*.tar")):
        for sample in webdataset.WebDataset(str(path), shardshuffle=False):
            known = json.loads(sample["json"])
            frame = frames.pop(known["name"])
            assert sample["jpg"] == frame.image_path.read_bytes()
            assert sample["depth.png"] == frame.depth_path.read_bytes()
            assert np.array_equal(known["pose"], frame.pose.matrix.numpy())
            assert known["intrinsics"]["focal_x"] == frame.intrinsics.focal_x
            assert (known["sequence"], known["split"]) == (frame.sequence, frame.split)
            assert known["depth_camera"]["color_center"] == [0.025, 0.0, 0.0]
            assert known["metric"] is True
    assert not frames


def test_the_same_dataset_gives_the_same_bytes(sharded, scene_template, tmp_path):
    copy = shutil.copytree(scene_template, tmp_path / "copy")
    for path in copy.rglob("*.jpg"):
        path.touch()
    made = write_shards(DataConfig(root=str(copy)), tmp_path / "again", 4)
    assert (made.frames, len(made.shards)) == (9, 3)
    for path in sorted(sharded.iterdir()):
        again = (tmp_path / "again" / path.name).read_bytes()
        named = again.replace(b'"copy"', b'"scene"')
        assert named == path.read_bytes(), path.name


def test_shards_hold_mixed_frames_of_one_split_and_are_of_one_size(sharded):
    index = json.loads((sharded / "shards.json").read_text())
    rows = [json.loads(line) for line in (sharded / "frames.jsonl").read_text().splitlines()]
    assert [(s["file"], s["frames"]) for s in index["shards"]] == [
        ("train-000000.tar", 3),
        ("train-000001.tar", 3),
        ("test-000000.tar", 3),
    ]
    for number, shard in enumerate(index["shards"]):
        content = (sharded / shard["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == shard["sha256"]
        members = [row for row in rows if row["shard"] == number]
        assert {row["split"] for row in members} == {shard["file"].split("-")[0]}
    assert len({row["sequence"] for row in rows if row["shard"] == 0}) == 2


def test_members_are_where_the_index_says(sharded):
    for frame in FORMATS["shards"].read(sharded):
        for packed in (frame.packed_image, frame.packed_depth):
            with tarfile.open(packed.archive) as tar:
                assert tar.extractfile(packed.name).read() == packed.read_bytes()
                assert tar.getmember(packed.name).offset_data == packed.offset
        assert content_digest(frame.image) == bytes_digest(frame.image.read_bytes())


def test_a_shard_is_opened_once_for_all_that_is_read_of_it(sharded, monkeypatch):
    opened, open_file = Counter(), os.open

    def count_and_open(path, *words, **settings):
        opened[Path(path).name] += 1
        return open_file(path, *words, **settings)

    frames = FORMATS["shards"].read(sharded)
    monkeypatch.setattr(os, "open", count_and_open)
    for frame in (*frames, *reversed(frames)):
        read_posed_image(frame)
        frame.depth.read_bytes()
    assert opened == {path.name: 1 for path in sharded.glob("*.tar")}


@pytest.mark.parametrize("where", ["pread", "lseek"])
def test_threads_read_from_one_open_shard(sharded, where, monkeypatch):
    if where == "lseek":  # as on Windows
        monkeypatch.delattr(os, "pread", raising=False)
    packed = [frame.packed_image for frame in FORMATS["shards"].read(sharded)] * 50
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(PackedFile.read_bytes, packed))
    assert [bytes_digest(content) for content in found] == [file.digest for file in packed]


OPEN_FILES = Path("/proc/self/fd")


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="open files are counted in /proc")
def test_few_shards_stay_open(tmp_path):
    before = len(list(OPEN_FILES.iterdir()))
    for number in range(300):
        path = tmp_path / f"train-{number:06d}.tar"
        path.write_bytes(b"image")
        assert PackedFile(path, "a.jpg", 0, 5, bytes_digest(b"image")).read_bytes() == b"image"
    assert len(list(OPEN_FILES.iterdir())) < before + 100


def test_a_shard_that_another_one_replaced_is_read_anew(tmp_path):
    path = tmp_path / "train-000000.tar"
    for content in (b"first", b"other"):
        (tmp_path / "new").write_bytes(content)
        (tmp_path / "new").replace(path)
        assert PackedFile(path, "a.jpg", 0, 5, bytes_digest(content)).read_bytes() == content


# --------------------------------------------------------------------------------- what comes out


@pytest.mark.parametrize("settings", [{}, {"depth_registered": True}])
def test_the_frames_are_those_of_the_dataset(tiny_scene, tmp_path, settings, assert_same_frames):
    config = DataConfig(root=str(tiny_scene), **settings)
    write_shards(config, tmp_path / "shards")
    assert_same_frames(FORMATS["shards"].read(tmp_path / "shards"), read_frames(config))


def test_the_cache_is_that_of_the_dataset(sharded, scene_template, tmp_path):
    """And so is all that follows from it."""
    scenes = [
        load_scene(
            DataConfig(root=str(root), width=32, height=24, cache=str(tmp_path / "cache")),
            with_depth=True,
        )
        for root in (scene_template, sharded)
    ]
    for name in ("color", "depth", "digests"):
        found = [getattr(scene.images, name) for scene in scenes]
        np.testing.assert_array_equal(*found)
    assert scenes[0].split == scenes[1].split
    assert scenes[0].camera == scenes[1].camera


def test_what_is_known_of_lens_and_orientation_is_kept(tiny_scene, tmp_path, monkeypatch):
    bent = Distortion("radial_tangential", (0.1, -0.02, 0.001, 0.0, 0.0, 0.0, 0.0, 0.3))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    photo = tiny_scene / "seq-01" / "frame-000001.color.jpg"
    Image.open(photo).save(photo, exif=exif)
    read = FORMATS["seven_scenes"].read
    row = FORMATS["seven_scenes"]._replace(
        read=lambda *words: [replace(frame, distortion=bent) for frame in read(*words)],
        metric=False,
        scaled_depth=True,
    )
    monkeypatch.setitem(FORMATS, "seven_scenes", row)
    write_shards(DataConfig(root=str(tiny_scene)), tmp_path / "shards")
    frames = FORMATS["shards"].read(tmp_path / "shards")
    assert {frame.distortion for frame in frames} == {bent}
    assert FORMATS["shards"].units_of(tmp_path / "shards") == (False, True)
    with Image.open(photo) as image:
        assert frames[1].known_reading == reading(image, frames[1].intrinsics) == "stored"
    assert {frame.known_reading for frame in frames[2:]} == {"upright"}


def test_images_that_are_not_there_are_left_out_and_broken_ones_copied(tmp_path, capsys):
    root = tmp_path / "scene"
    root.mkdir()
    head = "image,qw,qx,qy,qz,center_x_m,center_y_m,center_z_m,focal_x,focal_y,principal_x,"
    rows = [f"{i}.jpg,1,0,0,0,{i},0,0,50,50,31.5,23.5,64,48\n" for i in range(3)]
    (root / "poses.csv").write_text(head + "principal_y,width,height\n" + "".join(rows))
    Image.new("RGB", (64, 48)).save(root / "1.jpg")
    write_shards(
        DataConfig(root=str(root), intrinsics=(50, 50, 31.5, 23.5, 64, 48)), tmp_path / "shards"
    )
    assert "2 of 3 posed frames have no image and are left out" in capsys.readouterr().err
    (frame,) = FORMATS["shards"].read(tmp_path / "shards")
    assert (frame.name, frame.split) == ("1.jpg", None)
    assert frame.packed_image.archive.name == "frames-000000.tar"


def test_a_broken_image_is_copied_as_it_is_and_named_where_it_is_read(tiny_scene, tmp_path):
    (tiny_scene / "seq-01" / "frame-000001.color.jpg").write_bytes(b"no image")
    write_shards(DataConfig(root=str(tiny_scene)), tmp_path / "shards")
    found = FORMATS["shards"].read(tmp_path / "shards")[1]
    assert found.image.read_bytes() == b"no image"
    with pytest.raises(DataError, match=r"tar/00000001\.jpg: .* \(cannot identify image file\)"):
        read_posed_image(found)


# ------------------------------------------------------------------------------ where they go


def test_a_stop_leaves_nothing(scene_template, tmp_path):
    def stop(done, total):
        assert total == 9
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(DataConfig(root=str(scene_template)), tmp_path / "shards", 4, stop)
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(
    ("stop", "told"),
    [(OSError(errno.ENOSPC, "No space left"), DataError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
@pytest.mark.parametrize("refused", range(5))
def test_a_file_that_cannot_be_written_leaves_none_of_the_others(
    stop, told, refused, scene_template, tmp_path, monkeypatch
):
    """Three tars, the lines and the index are brought to the disk one by one."""
    fsync, numbers = os.fsync, count()

    def sync(descriptor):
        if next(numbers) == refused:
            raise stop
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(told):
        write_shards(DataConfig(root=str(scene_template)), tmp_path / "shards", 4)
    assert not (tmp_path / "shards").exists()


def test_the_index_comes_last(scene_template, tmp_path, monkeypatch):
    """What a kill leaves is no dataset, whenever it comes."""
    folder, seen = tmp_path / "shards", []
    replace_file = Path.replace

    def note(path, target):
        seen.append((target.name, sorted(p.name for p in folder.iterdir() if p.is_file())))
        return replace_file(path, target)

    monkeypatch.setattr(Path, "replace", note)
    write_shards(DataConfig(root=str(scene_template)), folder, 4)
    assert seen[-1][0] == "shards.json"
    assert len(seen[-1][1]) == len(seen) - 1 == 4


def test_what_is_there_is_not_touched(scene_template, tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"shards: expected a new or an empty folder, found mine"):
        write_shards(DataConfig(root=str(scene_template)), tmp_path / "shards")
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["mine.txt"]


def test_a_name_that_no_index_can_tell_is_refused_before_anything_is_written(
    tiny_scene, tmp_path, monkeypatch
):
    row = FORMATS["seven_scenes"]
    read = row.read
    odd = row._replace(read=lambda *words: [replace(f, sequence="a\x1b[2J") for f in read(*words)])
    monkeypatch.setitem(FORMATS, "seven_scenes", odd)
    with pytest.raises(DataError, match=r"found 'a\\x1b\[2J'; rename it"):
        write_shards(DataConfig(root=str(tiny_scene)), tmp_path / "shards")
    assert not (tmp_path / "shards").exists()


def test_not_into_the_dataset_itself(tiny_scene):
    before = sorted(tiny_scene.rglob("*"))
    for folder in (tiny_scene, tiny_scene / "shards", tiny_scene / "seq-01" / ".." / "x"):
        with pytest.raises(UsageError, match="outside of the dataset"):
            write_shards(DataConfig(root=str(tiny_scene)), folder)
    assert sorted(tiny_scene.rglob("*")) == before


# ------------------------------------------------------------------------- what is not believed


def change_index(**changes):
    def change(root):
        path = root / "shards.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def change_shard(**changes):
    def change(root):
        path = root / "shards.json"
        index = json.loads(path.read_text())
        index["shards"][0] |= changes
        path.write_text(json.dumps(index))

    return change


def change_frame(**changes):
    def change(root):
        path = root / "frames.jsonl"
        first, *others = path.read_text().splitlines(keepends=True)
        path.write_text(json.dumps(json.loads(first) | changes) + "\n" + "".join(others))

    return change


def cut_short(root):
    path = root / "train-000001.tar"
    path.write_bytes(path.read_bytes()[:-1])


def link_away(root):
    path = root / "train-000001.tar"
    path.replace(root.parent / "elsewhere.tar")
    path.symlink_to(root.parent / "elsewhere.tar")


def link_frames_away(root):
    (root / "frames.jsonl").replace(root.parent / "elsewhere.jsonl")
    (root / "frames.jsonl").symlink_to(root.parent / "elsewhere.jsonl")


def link_index_away(root):
    (root / "shards.json").replace(root.parent / "elsewhere.json")
    (root / "shards.json").symlink_to(root.parent / "elsewhere.json")


def drop_all_frames(root):
    change_index(frames=0)(root)
    (root / "frames.jsonl").write_text("")


def drop_a_line(root):
    lines = (root / "frames.jsonl").read_text().splitlines(keepends=True)
    (root / "frames.jsonl").write_text("".join(lines[:-1]))


AT = [512, 10, "0" * 32]
HOSTILE = {
    "a shard above": (change_shard(file="../train-000000.tar"), "names of shards"),
    "a shard below": (change_shard(file="a/train-000000.tar"), "names of shards"),
    "an absolute shard": (change_shard(file="/etc/passwd"), "names of shards"),
    "a link for a shard": (link_away, r"train-000001\.tar: .*found a link"),
    "a link for the frames": (link_frames_away, r"frames\.jsonl: .*found a link"),
    "a link for the index": (link_index_away, r"shards\.json: .*found a link"),
    "a shard that is missing": (
        lambda root: (root / "test-000000.tar").unlink(),
        r"test-000000\.tar: expected a shard, found no file",
    ),
    "a shard cut short": (cut_short, r"train-000001\.tar: expected \d+ bytes, found \d+: it was"),
    "more shards than there are": (change_frame(shard=3), r"jsonl:1: shard: .*below 3"),
    "a negative shard": (change_frame(shard=-1), "shard: expected a whole number"),
    "an offset beyond the shard": (change_frame(image_at=[10**9, *AT[1:]]), "bytes within"),
    "an end beyond the shard": (change_frame(image_at=[512, 10**9, AT[2]]), "bytes within"),
    "a negative offset": (change_frame(image_at=[-512, *AT[1:]]), "a whole number"),
    "an offset that is none": (change_frame(depth_at=[True, *AT[1:]]), "a whole number"),
    "a digest that is none": (change_frame(image_at=[512, 10, "../x"]), "a digest"),
    "an image outside": (change_frame(image="../a.jpg"), "path of a file inside"),
    "an absolute image": (change_frame(image="/etc/passwd"), "path of a file inside"),
    "depth outside": (change_frame(depth="../a.png"), "path of a file inside"),
    "a name outside": (change_frame(name="../../a"), "path of a file inside"),
    "a name that turns the screen over": (change_frame(name="a\x1b[2J"), "name: expected"),
    "a key with a path": (change_frame(key="../00001"), "key: expected eight digits"),
    "a name twice": (change_frame(name="seq-01/frame-000001"), "found seq-01/frame-000001 twice"),
    "a split of its own": (change_frame(split="secret"), "split: expected train, test or null"),
    "a pose of NaN": (change_frame(pose=[float("nan")] * 12), "pose: expected 12 numbers"),
    "a pose that is none": (change_frame(pose=[1.0] * 12), "expected a rotation"),
    "half a pose": (change_frame(pose=[1.0] * 6), "pose: expected 12 numbers"),
    "numbers too large": (change_frame(pose=[10**400] * 12), "pose: expected 12 numbers"),
    "a scale of nothing": (change_frame(depth_scale=0), "depth_scale: expected"),
    "an unknown reading": (change_frame(reading="sideways"), "reading: expected one of"),
    "fewer lines": (drop_a_line, "expected 9 frames, as shards.json says, found 8"),
    "no frames": (drop_all_frames, r"shards\.json: frames: expected 1 or more, found 0"),
    "another format": (change_index(format=2), "expected shards of format 1, found 2"),
    "lenses that are none": (change_index(lenses=[7]), "expected an object"),
    "an unknown lens": (
        change_index(
            lenses=[{"intrinsics": [9.0] * 6, "distortion": {"model": "x", "coefficients": []}}]
        ),
        "model of a distortion",
    ),
}


@pytest.mark.parametrize("problem", HOSTILE)
def test_what_an_index_must_not_say_is_refused_in_one_line(sharded, problem):
    change, expected = HOSTILE[problem]
    change(sharded)
    with pytest.raises(DataError, match=expected) as caught:
        FORMATS["shards"].read(sharded)
    assert "\n" not in str(caught.value)
    assert str(sharded) in str(caught.value)


def test_more_digits_than_usual_are_read(sharded, scene_template, assert_same_frames):
    """As they are written of a million shards, or a hundred million frames."""
    change_frame(key="100000000")(sharded)
    change_shard(file="train-1000000.tar")(sharded)
    (sharded / "train-000000.tar").replace(sharded / "train-1000000.tar")
    expected = read_frames(DataConfig(root=str(scene_template)))
    assert_same_frames(FORMATS["shards"].read(sharded), expected)


def test_bytes_that_changed_are_found_out(sharded):
    frame = FORMATS["shards"].read(sharded)[0]
    content = bytearray(frame.packed_image.archive.read_bytes())
    content[frame.packed_image.offset + 700] ^= 1  # a jpg that decodes, to other pixels
    frame.packed_image.archive.write_bytes(content)
    with pytest.raises(DataError, match=r"tar/00000000\.jpg: expected the bytes that were packed"):
        read_posed_image(frame)


@pytest.mark.parametrize("lost", ["whole", "half"])
def test_a_shard_that_goes_while_it_is_read_is_named(sharded, lost):
    packed = FORMATS["shards"].read(sharded)[0].packed_image
    if lost == "whole":
        packed.archive.unlink()
    else:
        packed.archive.write_bytes(packed.archive.read_bytes()[: packed.offset + 10])
    with pytest.raises(ShardError, match=rf"^{packed.archive}: expected"):
        packed.read_bytes()
