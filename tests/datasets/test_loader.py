"""Loading: what a batch holds follows from (seed, epoch) and nothing else."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from posenet.config import AugmentConfig, DataConfig
from posenet.datasets.cache import CachedImages
from posenet.datasets.formats.seven_scenes import COLOR_CAMERA
from posenet.datasets.frame import Frame
from posenet.datasets.loader import (
    AugmentedDataset,
    PlainDataset,
    plain_loader,
    training_loader,
    training_poses,
)
from posenet.datasets.sampling import Draw, EpochSampler
from posenet.datasets.scene import Scene, load_scene
from posenet.datasets.splits import Split
from posenet.geometry import Pose, geodesic_distance, stack_poses

WIDTH, HEIGHT, FRAMES = 32, 24, 13
DATA = DataConfig(root="unused", format="seven_scenes", width=WIDTH, height=HEIGHT, workers=0)
STILL = AugmentConfig(
    **dict.fromkeys(("yaw_deg", "pitch_deg", "roll_deg", "shift_m", "brightness"), 0.0),
    **dict.fromkeys(("contrast", "saturation", "hue_deg", "blur_px", "noise"), 0.0),
)


@pytest.fixture(scope="module")
def scene():
    """Thirteen frames in memory: 0 to 9 train, 10 validates, 11 and 12 test; 3 has no depth."""
    rng = np.random.default_rng(0)
    rotations = Rotation.random(FRAMES, random_state=1).as_matrix()
    frames = [
        Frame(
            name=f"a/{k}",
            image_path=Path(f"{k}.jpg"),
            pose=Pose(torch.from_numpy(rotations[k]), torch.from_numpy(rng.normal(size=3))),
            intrinsics=COLOR_CAMERA,
            sequence="a",
            split="test" if k > 10 else "train",
            depth_path=None if k == 3 else Path(f"{k}.png"),
        )
        for k in range(FRAMES)
    ]
    color = rng.integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    depth = rng.integers(1800, 2200, (FRAMES, HEIGHT, WIDTH)).astype(np.uint16)
    images = CachedImages(color, depth, [str(k) for k in range(FRAMES)])
    return Scene(
        frames, images, Split(list(range(10)), [10], [11, 12]), COLOR_CAMERA.resized(WIDTH, HEIGHT)
    )


def assert_same(first, second):
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.pose.rotation, second.pose.rotation)
    assert torch.equal(first.pose.translation, second.pose.translation)
    assert np.array_equal(first.index, second.index)


# ------------------------------------------------------------------------------------- the order


@pytest.mark.parametrize("views", [1, 3])
def test_an_epoch_holds_each_frame_as_often_as_asked(views):
    sampler = EpochSampler([4, 8, 15, 16, 23], seed=1, views=views)
    draws = list(sampler)
    assert len(draws) == len(sampler) == 5 * views
    assert sorted(draw.index for draw in draws) == sorted([4, 8, 15, 16, 23] * views)
    assert [draw.position for draw in draws] == list(range(5 * views))


@pytest.mark.parametrize(
    ("frames", "views", "batch_size", "length"),
    [
        (11, 0.25, 1, 3),
        (630, 0.1, 32, 64),
        (1000, 0.7, 32, 704),
        (3, 0.01, 32, 3),
        (50, 2.5, 4, 100),
    ],
)
def test_epochs_of_a_part_go_through_all_frames(frames, views, batch_size, length):
    """Whole batches, so that none is dropped; each frame once before any comes again."""
    sampler = EpochSampler(range(frames), 1, views, batch_size)
    drawn = []
    for epoch in range(3 * frames // length + 3):
        sampler.set_epoch(epoch)
        draws = list(sampler)
        assert len(draws) == len(sampler) == length
        assert [(draw.epoch, draw.position) for draw in draws] == [
            (epoch, i) for i in range(length)
        ]
        drawn += [draw.index for draw in draws]
    passes = [drawn[i * frames : (i + 1) * frames] for i in range(3)]
    assert all(sorted(part) == list(range(frames)) for part in passes)
    assert frames == 3 or passes[0] != passes[1] != passes[2]


def test_the_loader_drops_nothing_of_an_epoch_of_a_part(scene):
    batches = training_loader(scene, DATA, STILL, batch_size=3, views=0.7, seed=0)
    seen = []
    for epoch in range(10):
        batches.batch_sampler.sampler.set_epoch(epoch)
        seen += [index for batch in batches for index in batch.index.tolist()]
    count = len(scene.split.train)
    assert len(seen) == 10 * len(batches.batch_sampler.sampler)
    assert sorted(seen[:count]) == sorted(scene.split.train)


def test_the_order_depends_on_seed_and_epoch_only():
    def order(seed, epoch):
        sampler = EpochSampler(range(50), seed)
        sampler.set_epoch(epoch)
        return [draw.index for draw in sampler]

    sampler = EpochSampler(range(50), 3)
    passes = []
    for epoch in (0, 1, 2, 1):
        sampler.set_epoch(epoch)
        passes.append([draw.index for draw in sampler])
    assert passes[1] == passes[3] == order(3, 1)  # no memory of earlier passes
    assert [draw.index for draw in sampler] == passes[3]  # nor of its own
    different = [order(seed, epoch) for seed in (3, 4) for epoch in (0, 1)] + [list(range(50))]
    assert len({tuple(one) for one in different}) == 5


# ----------------------------------------------------------------------------------- the samples


def test_the_same_draw_is_the_same_sample(scene):
    config = AugmentConfig(depth_share=0.5)
    for position in range(4):
        draw = Draw(seed=5, epoch=2, position=position, index=position)
        first = AugmentedDataset(scene, config)[draw]
        np.random.seed(position)  # Global state must not matter.
        torch.manual_seed(position)
        assert_same(first, AugmentedDataset(scene, config)[draw])


@pytest.mark.parametrize("change", [{"seed": 6}, {"epoch": 3}, {"position": 8}])
def test_another_seed_epoch_or_position_is_another_view(scene, change):
    dataset = AugmentedDataset(scene, AugmentConfig())
    draw = Draw(seed=5, epoch=2, position=7, index=1)
    first, other = dataset[draw], dataset[draw._replace(**change)]
    assert not torch.equal(first.image, other.image)
    assert not torch.allclose(first.pose.rotation, other.pose.rotation)


def test_without_ranges_an_augmented_sample_is_the_plain_one(scene):
    for index in range(3):
        augmented = AugmentedDataset(scene, STILL)[Draw(0, 0, 9, index)]
        assert_same(augmented, PlainDataset(scene, [index])[0])


def test_only_frames_with_depth_are_moved(scene):
    config = replace(STILL, depth_share=1.0, shift_m=0.1, max_hole_share=1.0)
    dataset = AugmentedDataset(scene, config)
    moved = [
        not torch.allclose(
            dataset[Draw(0, 0, k, k)].pose.translation, scene.frames[k].pose.translation.float()
        )
        for k in range(6)
    ]
    assert moved == [True, True, True, False, True, True]
    no_depth = scene._replace(images=scene.images._replace(depth=None))
    sample = AugmentedDataset(no_depth, config)[Draw(0, 0, 0, 0)]
    assert torch.equal(sample.pose.translation, scene.frames[0].pose.translation.float())


def test_the_plain_dataset_is_the_cache_and_the_poses(scene):
    dataset = PlainDataset(scene, [12, 4])
    assert len(dataset) == 2
    for position, index in enumerate((12, 4)):
        image, pose, found = dataset[position]
        assert found == index
        assert (image.dtype, image.shape) == (torch.uint8, (3, HEIGHT, WIDTH))
        expected = scene.images.color[index].transpose(2, 0, 1)
        np.testing.assert_array_equal(image.numpy(), expected)
        assert pose.rotation.dtype == pose.translation.dtype == torch.float32
        assert torch.equal(pose.rotation, scene.frames[index].pose.rotation.float())
        assert torch.equal(pose.translation, scene.frames[index].pose.translation.float())


def test_the_cache_is_left_alone(scene):
    before = scene.images.color.copy()
    PlainDataset(scene, [0])[0].image.zero_()
    AugmentedDataset(scene, STILL)[Draw(0, 0, 0, 0)].image.zero_()
    np.testing.assert_array_equal(scene.images.color, before)


# ----------------------------------------------------------------------------------- the batches


def batches(scene, epoch=0, workers=0, batch_size=4, views=1, augment=None, seed=2):
    loader = training_loader(
        scene,
        replace(DATA, workers=workers),
        augment or AugmentConfig(depth_share=0.5),
        batch_size=batch_size,
        views=views,
        seed=seed,
    )
    loader.batch_sampler.sampler.set_epoch(epoch)
    return list(loader)


def test_workers_do_not_change_the_batches(scene):
    alone, helped = batches(scene, epoch=3), batches(scene, epoch=3, workers=1)
    assert len(alone) == len(helped) == 2
    for first, second in zip(alone, helped, strict=True):
        assert_same(first, second)
    assert not torch.equal(alone[0].image, batches(scene, epoch=4)[0].image)


def test_a_batch_stacks_its_samples(scene):
    for batch in batches(scene):
        assert (batch.image.dtype, batch.image.shape) == (torch.uint8, (4, 3, HEIGHT, WIDTH))
        assert batch.pose.rotation.shape == (4, 3, 3)
        assert batch.pose.translation.shape == (4, 3)
        assert set(batch.index.tolist()) <= set(scene.split.train)
    for batch in batches(scene, augment=STILL):
        for k, index in enumerate(batch.index.tolist()):
            expected = PlainDataset(scene, [index])[0]
            assert torch.equal(batch.image[k], expected.image)
            assert torch.equal(batch.pose.rotation[k], expected.pose.rotation)


@pytest.mark.parametrize(
    ("batch_size", "views", "sizes"),
    [(4, 1, [4, 4]), (5, 1, [5, 5]), (10, 1, [10]), (16, 1, [10]), (8, 2, [8, 8]), (9, 1, [9])],
)
def test_a_ragged_last_batch_is_dropped_unless_it_is_the_only_one(scene, batch_size, views, sizes):
    found = batches(scene, batch_size=batch_size, views=views)
    assert [len(batch.index) for batch in found] == sizes


def test_plain_batches_are_in_order_and_complete(scene):
    found = list(plain_loader(scene, [11, 3, 7], batch_size=2))
    assert [batch.index.tolist() for batch in found] == [[11, 3], [7]]
    assert found[1].image.shape == (1, 3, HEIGHT, WIDTH)


def test_a_spawned_worker_gets_names_and_poses_not_pixels(tiny_scene, tmp_path):
    """What macOS and Python 3.14 do to start a worker: pickle the dataset."""
    settings = DataConfig(root=str(tiny_scene), width=320, height=240, cache=str(tmp_path / "c"))
    loaded = load_scene(settings, with_depth=True)
    dataset = AugmentedDataset(loaded, AugmentConfig(depth_share=1.0, fill_from=2))
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 20_000 < loaded.images.color.nbytes
    draw = Draw(0, 0, 0, loaded.split.train[0])
    assert_same(pickle.loads(pickled)[draw], dataset[draw])


def test_training_poses_are_those_of_the_frames_and_of_views_near_them(scene):
    config = replace(STILL, yaw_deg=20.0, depth_share=1.0, shift_m=0.2)
    poses = training_poses(scene, config, views=30, seed=0)
    frames = stack_poses([scene.frames[i].pose for i in scene.split.train])
    assert torch.equal(poses.rotation[:10], frames.rotation)
    assert torch.equal(poses.translation[:10], frames.translation)
    turned = poses.rotation.unflatten(0, (31, 10))
    angle = torch.rad2deg(geodesic_distance(turned, frames.rotation))
    assert 18.0 < angle.max() <= 20.0 + 1e-6
    shift = poses.translation.unflatten(0, (31, 10)) - frames.translation
    in_camera = (frames.rotation.mT @ shift.unsqueeze(-1)).squeeze(-1).abs()
    assert 0.19 < in_camera.max() <= 0.2 + 1e-9
    assert (in_camera[:, 3] == 0.0).all()  # no depth, no moved view
    again = training_poses(scene, config, views=30, seed=0)
    assert torch.equal(again.rotation, poses.rotation)
    other = training_poses(scene, config, views=30, seed=1)
    assert not torch.equal(other.rotation, poses.rotation)


@pytest.mark.parametrize(("views", "length"), [(0, 500), (1, 10), (3, 30)])
def test_an_epoch_of_a_small_dataset_is_as_long_as_one_of_a_room(scene, views, length):
    batches = training_loader(scene, DATA, STILL, batch_size=2, views=views, seed=0)
    assert len(batches.batch_sampler.sampler) == length
