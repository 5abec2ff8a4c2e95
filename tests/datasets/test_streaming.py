"""Streaming: every frame once, in about the order of the shards, and the same views as cached."""

import pickle
import shutil
import tracemalloc
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posenet.config import AugmentConfig, DataConfig
from posenet.datasets.damage import few_enough
from posenet.datasets.loader import AugmentedDataset, plain_loader
from posenet.datasets.sampling import Draw, EpochSampler
from posenet.datasets.scene import load_scene, read_frames
from posenet.datasets.sharding import write_shards
from posenet.datasets.stored import PackedFile
from posenet.datasets.streaming import (
    StreamedViews,
    StreamSampler,
    draw_among_next,
    places_in_shards,
    training_batches,
)
from posenet.errors import DataError, UsageError
from posenet.processes import ALONE, World

WIDTH, HEIGHT, WALKS, FRAMES = 32, 24, 4, 12  # the last walk tests, the one before validates
TRAIN = 2 * FRAMES
CAMERA = "50,50,31.5,23.5,64,48"
COLUMNS = "image,sequence,split,depth,qw,qx,qy,qz,center_x_m,center_y_m,center_z_m,"
AUGMENT = AugmentConfig(depth_share=0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A dataset of its own format; two of the images in a row are one and the same."""
    root, rng = tmp_path_factory.mktemp("folder") / "walks", np.random.default_rng(0)
    rows = []
    for walk in range(WALKS):
        (root / f"{walk}").mkdir(parents=True)
        for number in range(FRAMES):
            name = f"{walk}/{number:02d}"
            coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            cv2.imwrite(str(root / f"{name}.jpg"), cv2.resize(coarse, (64, 48)))
            depth = rng.integers(1000, 3000, (48, 64)).astype(np.uint16)
            cv2.imwrite(str(root / f"{name}.png"), depth)
            split = "test" if walk == WALKS - 1 else "train"
            pose = f"1,0,0,0,{walk},{number},0.5"
            rows.append(f"{name}.jpg,walk{walk},{split},{name}.png,{pose},{CAMERA}\n")
    (root / "0" / "05.jpg").write_bytes((root / "0" / "04.jpg").read_bytes())
    head = f"{COLUMNS}focal_x,focal_y,principal_x,principal_y,width,height\n"
    (root / "poses.csv").write_text(head + "".join(rows))
    return root


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("shards") / "walks"
    write_shards(DataConfig(root=str(folder)), root, 7)
    return root


@pytest.fixture
def settings(shards, tmp_path) -> DataConfig:
    return DataConfig(
        root=str(shards),
        width=WIDTH,
        height=HEIGHT,
        cache=str(tmp_path / "cache"),
        workers=0,
        stream=True,
        stream_buffer=5,
        drop_repeated=False,
    )


@pytest.fixture
def scene(settings):
    return load_scene(settings, with_depth=True, for_training=True)


@pytest.fixture
def own_shards(shards, settings, tmp_path) -> DataConfig:
    """Settings of shards that are the test's own to break."""
    return replace(settings, root=str(shutil.copytree(shards, tmp_path / "own")))


def batches(scene, settings, epoch=0, batch_size=4, views=1.0, world=ALONE):
    loader = training_batches(
        scene, settings, AUGMENT, batch_size=batch_size, views=views, seed=2, world=world
    )
    loader.batch_sampler.sampler.set_epoch(epoch)
    return list(loader)


def places(scene):
    """Shard and offset of each training frame."""
    return places_in_shards([scene.frames[i] for i in scene.split.train])


def sampler(scene, views=1.0, buffer=5, seed=3):
    return StreamSampler(places(scene), scene.split.train, seed, views, 4, buffer)


# ------------------------------------------------------------------------------------ the order


@pytest.mark.parametrize("views", [0.3, 1.0, 2.0, 2.5])
def test_every_frame_comes_once_before_any_comes_again(scene, views):
    """In epochs that are as long as those of cached frames."""
    own = sampler(scene, views)
    assert len(own) == len(EpochSampler(scene.split.train, 3, views, 4))
    drawn = []
    for epoch in range(8):
        own.set_epoch(epoch)
        draws = list(own)
        assert [draw.position for draw in draws] == list(range(len(own)))
        drawn += [draw.index for draw in draws]
    for start in range(0, len(drawn) - TRAIN, TRAIN):
        assert sorted(drawn[start : start + TRAIN]) == scene.split.train


def test_the_order_follows_from_seed_and_epoch(scene):
    def order(epoch, seed=3):
        own = sampler(scene, seed=seed)
        own.set_epoch(epoch)
        return [draw.index for draw in own]

    own, orders = sampler(scene), []
    for epoch in (0, 1, 2, 1):
        own.set_epoch(epoch)
        orders.append([draw.index for draw in own])
    assert orders[1] == orders[3] == order(1)  # no memory of earlier epochs
    assert len({tuple(one) for one in (*orders[:3], order(0, seed=4))}) == 4


def test_shards_are_read_one_after_the_other(scene):
    """With one frame to draw among, each from front to back."""
    where = dict(zip(scene.split.train, places(scene).tolist(), strict=True))
    orders = set()
    for epoch in range(4):
        own = sampler(scene, buffer=1)
        own.set_epoch(epoch)
        read = [where[draw.index] for draw in own]
        numbers = [shard for shard, _ in read]
        assert sum(a != b for a, b in pairwise(numbers)) == len(set(numbers)) - 1 > 2
        assert all(a < b for a, b in pairwise(read) if a[0] == b[0])
        orders.add(tuple(dict.fromkeys(numbers)))
    assert len(orders) > 1  # the shards themselves are shuffled


@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 9))
def test_the_next_one_is_drawn_among_the_next_few(length, buffer, seed):
    drawn = draw_among_next(np.arange(length), buffer, np.random.default_rng(seed))
    assert sorted(drawn) == list(range(length))
    assert all(value - place < buffer for place, value in enumerate(drawn))


def test_a_large_buffer_shuffles_all():
    rng = np.random.default_rng(0)
    firsts = [draw_among_next(np.arange(10), 10, rng)[0] for _ in range(1000)]
    assert np.bincount(firsts, minlength=10).min() > 60


# ----------------------------------------------------------------------------------- the samples


def test_views_are_those_of_cached_frames(folder, scene, settings):
    """The same draw is the same sample, to the bit, wherever its frame comes from."""
    cached = load_scene(replace(settings, root=str(folder), stream=False), with_depth=True)
    assert cached.split == scene.split
    assert cached.camera == scene.camera
    expected = AugmentedDataset(cached, AUGMENT)
    streamed = StreamedViews(scene, replace(AUGMENT, fill_from=2), 1.0)
    moved = 0
    for position, index in enumerate(scene.split.train):
        draw = Draw(5, 1, position, index)
        one, other = streamed[draw], expected[draw]
        assert one.index == other.index == index
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.pose.rotation, other.pose.rotation)
        assert torch.equal(one.pose.translation, other.pose.translation)
        moved += not torch.equal(one.pose.translation, scene.frames[index].pose.translation.float())
    assert 0 < moved < TRAIN


def test_repeated_images_are_left_out_as_of_cached_frames(folder, settings):
    repeated = replace(settings, drop_repeated=True)
    streamed = load_scene(repeated, for_training=True)
    cached = load_scene(replace(repeated, root=str(folder), stream=False))
    assert streamed.split == cached.split
    assert len(streamed.split.train) == TRAIN - 1


def test_only_what_is_asked_for_again_and_again_is_cached(scene, settings, monkeypatch):
    frame = HEIGHT * WIDTH * 3
    files = list(Path(settings.cache).glob("*.npy"))
    (color,) = files  # no depth: nothing of validation is moved
    assert np.load(color).nbytes == FRAMES * frame
    opened = load_scene(settings)  # as to evaluate
    assert sum(np.load(p).nbytes for p in Path(settings.cache).glob("*.npy")) == 2 * FRAMES * frame
    for index in (*scene.split.validation, *scene.split.train[:2]):
        np.testing.assert_array_equal(
            scene.images.color_image(index), opened.images.color_image(index)
        )
    validation = list(plain_loader(scene, scene.split.validation, 5))
    assert [batch.index.tolist() for batch in validation] == [
        scene.split.validation[i : i + 5] for i in (0, 5, 10)
    ]


def test_an_image_is_read_once_for_a_view(scene, monkeypatch):
    read, read_bytes = [], PackedFile.read_bytes
    monkeypatch.setattr(
        PackedFile, "read_bytes", lambda packed: read.append(packed.name) or read_bytes(packed)
    )
    views = StreamedViews(scene, replace(AUGMENT, depth_share=0.0), 1.0)
    for index in scene.split.train[:3]:
        views[Draw(0, 0, 0, index)]
    assert read == [scene.frames[i].packed_image.name for i in scene.split.train[:3]]


def test_nothing_need_be_cached(settings):
    scene = load_scene(replace(settings, validation="none"), for_training=True)
    assert not Path(settings.cache).exists()
    assert len(batches(scene, settings)) == 3 * FRAMES // 4


# ----------------------------------------------------------------------------------- the batches


def test_workers_do_not_change_the_batches(scene, settings):
    alone, *others = (
        batches(scene, replace(settings, workers=workers), epoch=3) for workers in (0, 1, 2)
    )
    assert sorted(i for batch in alone for i in batch.index.tolist()) == scene.split.train
    for helped in others:
        for one, other in zip(alone, helped, strict=True):
            assert torch.equal(one.image, other.image)
            assert torch.equal(one.pose.rotation, other.pose.rotation)
            assert torch.equal(one.index, other.index)
    assert not torch.equal(alone[0].image, batches(scene, settings, epoch=4)[0].image)


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_each_batch(scene, settings, size):
    """All make as many batches, which together are those of one process."""
    alone = batches(scene, settings, epoch=1, batch_size=6)
    shares = [
        batches(scene, settings, epoch=1, batch_size=6, world=World(rank, size, rank, size))
        for rank in range(size)
    ]
    assert len(alone) == TRAIN // 6
    for whole, *parts in zip(alone, *shares, strict=True):
        assert torch.equal(whole.image, torch.cat([part.image for part in parts]))
        assert torch.equal(whole.index, torch.cat([part.index for part in parts]))


@pytest.mark.parametrize(("batch_size", "sizes"), [(5, [5] * 4), (24, [24]), (30, [24])])
def test_a_ragged_last_batch_is_dropped_unless_it_is_the_only_one(
    scene, settings, batch_size, sizes
):
    found = batches(scene, settings, batch_size=batch_size)
    assert [len(batch.index) for batch in found] == sizes


def test_a_spawned_worker_gets_names_and_poses_not_pixels(scene):
    """What macOS and Python 3.14 do to start a worker: pickle the dataset."""
    views = StreamedViews(scene, AUGMENT, 1.0).views
    pickled = pickle.dumps(views)
    assert len(pickled) < 700 * len(scene.frames)
    draw = Draw(0, 0, 0, scene.split.train[0])
    assert torch.equal(pickle.loads(pickled)[draw].image, views[draw].image)


def test_memory_does_not_grow_with_the_frames_that_were_read(settings):
    """An epoch holds fewer bytes at a time than a tenth of what it has decoded."""
    settings = replace(settings, width=64, height=48)
    scene = load_scene(settings, with_depth=True, for_training=True)
    batches(scene, settings, batch_size=1)  # tables that are made once
    loader = training_batches(scene, settings, AUGMENT, batch_size=1, views=20, seed=0)
    read = 0
    tracemalloc.start()
    for batch in loader:
        read += batch.image.nbytes
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == 20 * TRAIN * 3 * 48 * 64
    assert peak < read / 10


# ------------------------------------------------------------------------------------- the damage


def damage(settings, name, depth=False):
    """Turn a bit in an image of a dataset in shards, or in its depth."""
    (frame,) = [frame for frame in read_frames(settings) if frame.name == name]
    packed = frame.packed_depth if depth else frame.packed_image
    content = bytearray(packed.archive.read_bytes())
    content[packed.offset + packed.size // 2] ^= 4
    packed.archive.write_bytes(content)
    return str(packed)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_once_and_another_frame_comes_for_it(own_shards, capfd, workers):
    lost = damage(own_shards, "0/03.jpg")
    settings = replace(own_shards, least_readable=0.9, workers=workers)
    scene = load_scene(settings, for_training=True)
    (index,) = [i for i, frame in enumerate(scene.frames) if frame.name == "0/03.jpg"]
    loader = training_batches(scene, settings, AUGMENT, batch_size=4, views=1, seed=0)
    for epoch in range(2):
        loader.batch_sampler.sampler.set_epoch(epoch)
        seen = [i for batch in loader for i in batch.index.tolist()]
        assert len(seen) == TRAIN
        assert set(seen) == set(scene.split.train) - {index}
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"{lost}: expected the bytes that were packed, found others")
    assert line.endswith("(1 of 24 training frames cannot be read and are left out)")


def test_few_enough_is_what_the_share_says():
    """Not what is left of it after rounding."""
    for total, lost, percent in product((1, 3, 10, 20, 50, 100, 200), range(200), range(101)):
        if lost <= total:
            expected = Fraction(total - lost, total) >= Fraction(percent, 100)
            assert few_enough(lost, total, percent / 100) is expected


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_depth_is_named_once_and_does_not_change_later_epochs(own_shards, capfd, workers):
    """A frame whose depth is damaged keeps coming, turned, whether or not that was found out."""
    lost = {damage(own_shards, f"0/{number:02d}.jpg", depth=True) for number in range(8)}
    settings = replace(own_shards, least_readable=0.5, workers=workers)
    scene = load_scene(settings, with_depth=True, for_training=True)
    damaged = {i for i, frame in enumerate(scene.frames) if str(frame.packed_depth) in lost}
    loader = training_batches(scene, settings, AUGMENT, batch_size=4, views=2, seed=2)
    epochs = {}
    for epoch in range(4):
        loader.batch_sampler.sampler.set_epoch(epoch)
        epochs[epoch] = list(loader)
    told = capfd.readouterr().err.splitlines()
    assert {line.split(": expected")[0] for line in told} == lost
    assert len(told) == len(lost)
    assert " of 24 depth images to train on cannot be read and are left out)" in told[0]
    moved = set()
    for epoch, seen in epochs.items():
        for one, fresh in zip(seen, batches(scene, settings, epoch, views=2), strict=True):
            assert torch.equal(one.index, fresh.index)
            assert torch.equal(one.image, fresh.image)
            for index, center in zip(one.index.tolist(), one.pose.translation, strict=True):
                if not torch.equal(center, scene.frames[index].pose.translation.float()):
                    moved.add(index)
        times = Counter(i for batch in seen for i in batch.index.tolist())
        assert times == dict.fromkeys(scene.split.train, 2)
    assert moved
    assert not moved & damaged


def test_too_much_damaged_depth_ends_the_epoch_in_one_line(own_shards):
    for number in range(3):
        damage(own_shards, f"0/{number:02d}.jpg", depth=True)
    settings = replace(own_shards, least_readable=0.9)
    scene = load_scene(settings, with_depth=True, for_training=True)
    with pytest.raises(
        DataError, match=r"\(3 of 24 depth images .* data\.least_readable is 0\.9\)"
    ):
        batches(scene, settings, views=10)


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_damaged_images_end_the_epoch_in_one_line(own_shards, workers):
    for number in range(3):
        damage(own_shards, f"0/0{number}.jpg")
    settings = replace(own_shards, least_readable=0.9, workers=workers)
    scene = load_scene(settings, for_training=True)
    with pytest.raises(DataError, match=r"\(3 of 24 .* data\.least_readable is 0\.9\)") as caught:
        batches(scene, settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("loss", ["whole", "half"])
def test_a_shard_that_is_lost_on_the_way_ends_the_epoch_in_one_line(own_shards, workers, loss):
    # None is validated: what was read of a shard keeps it open, even if its name is gone.
    settings = replace(own_shards, least_readable=0.0, workers=workers, validation="none")
    scene = load_scene(settings, for_training=True)
    path = scene.frames[scene.split.train[0]].packed_image.archive
    if loss == "whole":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=rf"^{path}: expected .*; copy it again$") as caught:
        batches(scene, settings)
    assert "\n" not in str(caught.value)


def test_evaluation_shows_a_damaged_training_image_black_and_says_so(own_shards, capsys):
    lost = damage(own_shards, "0/03.jpg")
    scene = load_scene(own_shards)
    (index,) = [i for i, frame in enumerate(scene.frames) if frame.name == "0/03.jpg"]
    assert not scene.images.color_image(index).any()
    assert capsys.readouterr().err.startswith(lost)


def test_a_damaged_validation_image_is_left_out_as_of_cached_frames(own_shards, capsys):
    damage(own_shards, "2/03.jpg")
    scene = load_scene(replace(own_shards, least_readable=0.9), for_training=True)
    assert len(scene.split.validation) == FRAMES - 1
    assert "1 of 48 images cannot be read and are left out" in capsys.readouterr().err


def test_only_shards_can_be_streamed(folder, settings):
    unpacked = replace(settings, root=str(folder))
    with pytest.raises(UsageError, match=r"data\.stream: expected shards .* posenet shard"):
        load_scene(unpacked, for_training=True)
    assert load_scene(unpacked).images.color_image(0).any()  # to evaluate a run on the folder
