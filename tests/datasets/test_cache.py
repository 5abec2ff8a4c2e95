"""The cache: built once, rebuilt when needed, never half."""

import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from posenet.datasets import decoding
from posenet.datasets.cache import cache_images
from posenet.datasets.formats.seven_scenes import read_seven_scenes
from posenet.datasets.images import (
    content_digest,
    read_depth,
    read_image,
    read_posed_image,
)
from posenet.datasets.resampling import resize_image
from posenet.errors import DataError

NOISE = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture
def frames(tiny_scene):
    return read_seven_scenes(tiny_scene)


@pytest.fixture
def decoded(monkeypatch):
    """The paths that are decoded, as they are."""
    paths = []

    def watch(name, read):
        def read_and_note(what, *arguments):
            paths.append(getattr(what, "image_path", what))
            return read(what, *arguments)

        monkeypatch.setattr(decoding, name, read_and_note)

    watch("read_posed_image", read_posed_image)
    watch("read_depth", read_depth)
    return paths


def test_the_cache_holds_what_the_files_hold(frames, tmp_path):
    steps = []
    cached = cache_images(
        frames, 32, 24, tmp_path / "a" / "b", with_depth=True, report=lambda *s: steps.append(s)
    )
    assert steps == [(done, 9) for done in range(1, 10)] * 2  # colour, then depth
    assert cached.color.shape == (9, 24, 32, 3)
    assert cached.depth.shape == (9, 24, 32)
    assert (cached.color.dtype, cached.depth.dtype) == (np.uint8, np.uint16)
    for index, frame in enumerate(frames):
        expected = resize_image(read_image(frame.image_path), 32, 24)
        np.testing.assert_array_equal(cached.color[index], expected)
    assert 1000 <= cached.depth.min() <= cached.depth.max() < 3000
    assert cache_images(frames, 32, 24, tmp_path).depth is None


def test_a_frame_without_depth_has_zeros(tiny_scene, tmp_path):
    (tiny_scene / "seq-01" / "frame-000001.depth.png").unlink()
    frames = read_seven_scenes(tiny_scene)
    depth = cache_images(frames, 32, 24, tmp_path / "c", with_depth=True).depth
    assert [bool(image.any()) for image in depth[:3]] == [True, False, True]


def test_a_second_call_decodes_nothing(frames, tmp_path, monkeypatch):
    first = cache_images(frames, 32, 24, tmp_path / "c", with_depth=True)

    def refuse(path):
        raise AssertionError(f"decoded {path} again")

    monkeypatch.setattr(decoding, "read_posed_image", refuse)
    monkeypatch.setattr(decoding, "read_depth", refuse)
    again = cache_images(frames, 32, 24, tmp_path / "c", with_depth=True)
    np.testing.assert_array_equal(again.color, first.color)
    np.testing.assert_array_equal(again.depth, first.depth)
    assert again.digests == first.digests


def touch(frames, path):
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    return frames, {}


def each(**changes):
    return lambda frames: ([replace(frame, **changes) for frame in frames], {})


BOTH = {"color", "depth"}
CHANGES = {  # what changes, and which of the two caches depends on it
    "an image": (lambda frames: touch(frames, frames[4].image_path), {"color"}),
    "a depth image": (lambda frames: touch(frames, frames[4].depth_path), {"depth"}),
    "width": (lambda frames: (frames, {"width": 40}), BOTH),
    "height": (lambda frames: (frames, {"height": 32}), BOTH),
    "depth camera": (each(depth_camera=None), {"depth"}),
    "color camera": (
        lambda frames: each(intrinsics=replace(frames[0].intrinsics, focal_x=50.0))(frames),
        {"depth"},
    ),
    "order": (lambda frames: (frames[::-1], {}), BOTH),
    "fewer frames": (lambda frames: (frames[:5], {}), BOTH),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_cache_is_rebuilt_when_this_changes(frames, tmp_path, decoded, change):
    settings = {"width": 32, "height": 24, "folder": tmp_path / "c", "with_depth": True}
    cache_images(frames, **settings)
    decoded.clear()
    make_change, rebuilt = CHANGES[change]
    changed, new_settings = make_change(frames)
    cached = cache_images(changed, **settings | new_settings)
    assert {path.name.split(".")[1] for path in decoded} == rebuilt
    assert len(decoded) == len(changed) * len(rebuilt)
    assert len(cached.color) == len(changed)


def test_the_color_cache_ignores_what_only_depth_depends_on(frames, tmp_path, decoded):
    cache_images(frames, 32, 24, tmp_path / "c")
    decoded.clear()
    touch(frames, frames[0].depth_path)
    cache_images(each(depth_camera=None)(frames)[0], 32, 24, tmp_path / "c")
    assert decoded == []


def test_a_changed_image_is_seen(frames, tmp_path):
    before = cache_images(frames, 32, 24, tmp_path / "c")
    cv2.imwrite(str(frames[3].image_path), NOISE)
    after = cache_images(frames, 32, 24, tmp_path / "c")
    same = [np.array_equal(a, b) for a, b in zip(before.color, after.color, strict=True)]
    assert same == [True] * 3 + [False] + [True] * 5


@pytest.mark.parametrize("stop", [DataError("bad"), KeyboardInterrupt(), OSError(28, "disk full")])
def test_an_interrupted_build_leaves_nothing_behind(frames, tmp_path, monkeypatch, stop):
    calls = []

    def fail_halfway(frame):
        calls.append(frame)
        if len(calls) == 5:
            raise stop
        return np.zeros((48, 64, 3), np.uint8), "upright"

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "read_posed_image", fail_halfway)
        with pytest.raises((DataError, KeyboardInterrupt)):
            cache_images(frames, 32, 24, tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []
    cached = cache_images(frames, 32, 24, tmp_path / "c")
    for frame, color in zip(frames, cached.color, strict=True):
        np.testing.assert_array_equal(color, resize_image(read_image(frame.image_path), 32, 24))


def test_a_build_cut_off_between_its_files_is_no_cache(frames, tmp_path, decoded):
    cache_images(frames, 32, 24, tmp_path / "c", with_depth=True)
    for path in sorted((tmp_path / "c").iterdir()):
        kept = path.read_bytes()
        path.unlink()
        decoded.clear()
        cache_images(frames, 32, 24, tmp_path / "c", with_depth=True)
        assert len(decoded) == 9, path.name
        assert path.read_bytes() == kept


def test_an_image_of_another_size_is_named_by_the_cache(frames, tmp_path):
    path = frames[7].image_path
    cv2.imwrite(str(path), NOISE[:, ::2])
    with pytest.raises(DataError, match=r"expected 64x48 pixels, or .*found \d+x48") as caught:
        cache_images(frames, 32, 24, tmp_path / "c")
    assert str(path) in str(caught.value)


def test_a_worker_gets_the_names_of_the_files_not_a_copy(frames, tmp_path):
    cached = cache_images(frames, 320, 240, tmp_path / "c", with_depth=True)
    pickled = pickle.dumps(cached)
    assert len(pickled) < 2000
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again.color, cached.color)
    np.testing.assert_array_equal(again.depth, cached.depth)
    assert isinstance(again.color, np.memmap)


def test_a_truncated_image_is_named_by_the_cache(frames, tmp_path):
    path = frames[7].image_path
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match="truncated") as caught:
        cache_images(frames, 32, 24, tmp_path / "c")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("entry", ["image_path", "depth_path"])
def test_an_image_that_is_gone_is_named(frames, tmp_path, entry):
    getattr(frames[2], entry).unlink()
    with pytest.raises(DataError, match="cannot be read") as caught:
        cache_images(frames, 32, 24, tmp_path / "c", with_depth=True)
    assert str(getattr(frames[2], entry)) in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named_with_a_cure(frames, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match=r"cannot be written.*--data\.cache") as caught:
            cache_images(frames, 32, 24, folder)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_repeated_images_have_equal_digests(tiny_scene, tmp_path):
    folder = tiny_scene / "seq-02"
    shutil.copy(folder / "frame-000000.color.jpg", folder / "frame-000001.color.jpg")
    digests = cache_images(read_seven_scenes(tiny_scene), 32, 24, tmp_path / "c").digests
    assert digests[3] == digests[4]
    assert len(set(digests)) == 8
    assert digests[3] == content_digest(folder / "frame-000000.color.jpg")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_process_does_not_grow_by_the_images_it_has_read(tmp_path):
    """150 MB of images are read one by one, in a process of its own."""
    array = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (1000, 224, 224, 3))
    array[:] = np.arange(1000, dtype=np.uint16).astype(np.uint8)[:, None, None, None]
    array.flush()
    program = f"""
import numpy as np, resource
from posenet.datasets.cache import CachedImages
images = CachedImages(np.load({str(tmp_path / "x.npy")!r}, mmap_mode="r"), None, [])
def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize() / 1e6
before = resident()
for index in (*range(1000), 999, 500, 0):
    assert (images.color_image(index) == index % 256).all()
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert float(done.stdout) < 15.0


def test_images_are_read_from_the_file_that_was_opened(frames, tmp_path, monkeypatch):
    cached = cache_images(frames, 32, 24, tmp_path / "c")
    expected = [cached.color[index].copy() for index in range(len(frames))]
    for path in (tmp_path / "c").iterdir():  # as when another process builds the cache anew
        path.unlink()
    for index, image in enumerate(expected):
        np.testing.assert_array_equal(cached.color_image(index), image)
    np.testing.assert_array_equal(cached.color_image(-1), expected[-1])
    np.testing.assert_array_equal(
        cached._replace(color=cached.color[1:]).color_image(0), expected[1]
    )
    with pytest.raises(IndexError):
        cached.color_image(len(frames))
    monkeypatch.delattr(os, "preadv")  # as on Windows
    np.testing.assert_array_equal(cached.color_image(1), expected[1])


def test_a_cache_that_was_cut_short_is_named_with_a_cure(frames, tmp_path):
    cached = cache_images(frames, 32, 24, tmp_path / "c")
    path = Path(cached.color.filename)
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(DataError, match=r"cut short; delete it") as caught:
        cached.color_image(len(frames) - 1)
    assert str(path) in str(caught.value)
