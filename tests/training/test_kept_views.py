"""Views that are kept are those that training would make, past the layers that do not learn."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from posenet.cli import main
from posenet.config import Config, load_config
from posenet.datasets.loader import AugmentedDataset, Draw, training_loader
from posenet.datasets.scene import load_scene, resolve_data
from posenet.datasets.toy_room import write_toy_room
from posenet.errors import DataError, UsageError
from posenet.models.network import PoseNetwork, to_float
from posenet.training.kept_views import keep_views, require_layers_to_keep

VIEWS = 3
WORDS = [
    *("--data.width=64", "--data.height=48", "--data.workers=0", "--trainer.accelerator=cpu"),
    *("--model.backbone=mobilenet_v3_small", "--model.weights=none", "--model.bins=3"),
    *("--model.frozen_share=0.3", f"--optimization.kept_views={VIEWS}"),
    *("--optimization.batch_size=4", "--optimization.epochs=2", "--optimization.views=1"),
]


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("kept")
    write_toy_room(
        folder / "room",
        train_sequences=2,
        test_sequences=1,
        frames_per_sequence=6,
        width=64,
        height=48,
    )
    return [*WORDS, f"--data.root={folder / 'room'}", f"--data.cache={folder / 'cache'}"]


@pytest.fixture(scope="module")
def config(words) -> Config:
    config = load_config(None, words)
    return replace(config, data=resolve_data(config.data))


@pytest.fixture(scope="module")
def made(config):
    scene = load_scene(config.data)
    torch.manual_seed(0)
    network = PoseNetwork(config.model, config.data)
    return scene, network, keep_views(network, scene, config, "cpu")


def test_a_kept_view_is_a_view_past_the_frozen_layers(config, made):
    scene, network, kept = made
    views = AugmentedDataset(scene, config.augment)
    for epoch in range(VIEWS):
        for position, index in enumerate(scene.split.train):
            view = views[Draw(config.seed, epoch, position, index)]
            row = kept.rows[index][epoch]
            with torch.no_grad():
                expected = network.pass_frozen_layers(to_float(view.image[None]))[0]
            kept.file.seek(row * expected.numel() * 2)
            found = torch.frombuffer(
                bytearray(kept.file.read(expected.numel() * 2)), dtype=torch.half
            )
            torch.testing.assert_close(
                found.view_as(expected).float(), expected, rtol=1e-3, atol=1e-3
            )
            assert torch.equal(kept.poses.rotation[row], view.pose.rotation)
            assert torch.equal(kept.poses.translation[row], view.pose.translation)


def test_epochs_draw_among_all_the_views_of_each_frame(config, made):
    scene, _, kept = made
    loader = training_loader(
        scene, config.data, config.augment, batch_size=3, views=1, seed=0, kept=kept
    )
    seen: dict[int, Counter] = {index: Counter() for index in scene.split.train}
    for epoch in range(30):
        loader.batch_sampler.sampler.set_epoch(epoch)
        for batch in loader:
            for index, rotation in zip(batch.index.tolist(), batch.pose.rotation, strict=True):
                seen[index][tuple(rotation.flatten().tolist())] += 1
    rotations = kept.poses.rotation.flatten(1)
    for index, rows in kept.rows.items():
        assert set(seen[index]) == {tuple(rotations[row].tolist()) for row in rows}
        assert len(seen[index]) == VIEWS
        assert sum(seen[index].values()) == 30  # one of three is missed by a chance of 1e-5


def test_what_is_kept_trains_as_the_images_do(config, made):
    scene, network, kept = made
    views = AugmentedDataset(scene, config.augment)
    draws = [Draw(config.seed, 0, position, i) for position, i in enumerate(scene.split.train)]
    images = torch.stack([to_float(views[draw].image) for draw in draws])
    rows = [kept.rows[index][0] for index in scene.split.train]
    size = torch.Size((len(rows), *kept.shape))
    with torch.no_grad():
        features = network.pass_frozen_layers(images)
    assert features.shape == size
    network.eval()
    ours = network(features.half().float(), is_past_frozen=True).pose.translation
    torch.testing.assert_close(ours, network(images).pose.translation, rtol=1e-2, atol=1e-3)


def test_a_file_that_was_cut_short_is_not_taken_for_features(config, made):
    scene, network, _ = made
    kept = keep_views(network, scene, config, "cpu")
    kept.file.truncate(10)
    with pytest.raises(DataError, match="found fewer"):
        kept[Draw(0, 0, 0, scene.split.train[0])]


def test_a_training_on_kept_views_leaves_a_run_and_no_file_of_them(words, tmp_path, capsys):
    cache = Path(words[-1].partition("=")[2])
    assert main(["train", *words, f"--output={tmp_path / 'run'}"]) == 0
    assert (tmp_path / "run" / "checkpoints" / "best.pt").is_file()
    assert {path.suffix for path in cache.iterdir()} == {".npy", ".json"}
    assert "epoch 2/2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("--model.frozen_share=0", "expected layers that do not learn"),
        ("--model.frozen_share=0.01", "less than a layer"),
        ("--data.stream=true", "leave one of them out"),
        ("--distill.teacher=nowhere", "a teacher has to see the images"),
    ],
)
def test_views_that_cannot_be_kept_are_refused(words, tmp_path, capsys, setting, says):
    assert main(["train", *words, setting, f"--output={tmp_path / 'run'}"]) == 2
    assert says in capsys.readouterr().err


def test_several_processes_would_each_keep_all_views(config):
    several = replace(config, trainer=replace(config.trainer, devices=2))
    with pytest.raises(UsageError, match="expected one process, found 2"):
        require_layers_to_keep(several)
