"""Checkpoints: whole or not at all, the same network back, and nothing that could run."""

import os
import re
from dataclasses import replace

import pytest
import torch

from posenet.config import Config, DataConfig, ModelConfig
from posenet.errors import CheckpointError
from posenet.geometry import Distortion, Intrinsics
from posenet.models.calibration import Calibration
from posenet.models.checkpoint import (
    CHECKPOINT_FORMAT,
    CONVENTION,
    Checkpoint,
    find_checkpoint,
    load_checkpoint,
    read_whole,
    remove_left_over,
    save_checkpoint,
    write_atomically,
)
from posenet.models.network import PoseNetwork

CONFIG = Config(
    seed=3,
    data=DataConfig(root="somewhere", width=64, height=48, intrinsics=(60, 61, 32, 24, 64, 48)),
    # These weights are gone by the time the checkpoint is read, and must not be asked for.
    model=ModelConfig(backbone="mobilenet_v3_small", weights="none", mode="regression", channels=8),
)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    network = PoseNetwork(CONFIG.model, CONFIG.data).eval()
    network.translation_center.fill_(5.0)
    camera = Intrinsics(60.5, 61.0, 31.5, 24.0, 64, 48)
    return Checkpoint(network, CONFIG, camera, "kitchen", 7)


@pytest.fixture
def path(checkpoint, tmp_path):
    path = tmp_path / "best.pt"
    save_checkpoint(path, checkpoint)
    return path


def test_what_is_saved_comes_back(checkpoint, path):
    loaded = load_checkpoint(path)
    assert loaded._replace(network=None) == checkpoint._replace(network=None)
    assert not loaded.network.training
    image = torch.rand(2, 3, 48, 64)
    with torch.inference_mode():
        for ours, theirs in zip(
            checkpoint.network(image).pose, loaded.network(image).pose, strict=True
        ):
            assert torch.equal(ours, theirs)


def test_calibration_comes_back(checkpoint, tmp_path):
    calibration = Calibration(*(torch.rand(7, dtype=torch.float64) for _ in range(4)))
    path = tmp_path / "calibrated.pt"
    save_checkpoint(path, checkpoint._replace(calibration=calibration))
    found = load_checkpoint(path).calibration
    for ours, theirs in zip(calibration, found, strict=True):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_of_format_1_has_no_confidence(checkpoint, tmp_path):
    """As they were written before networks had it."""
    path = tmp_path / "old.pt"
    config = replace(CONFIG, model=replace(CONFIG.model, confidence=False))
    network = PoseNetwork(config.model, config.data).eval()
    save_checkpoint(path, checkpoint._replace(network=network, config=config))
    content = torch.load(path, weights_only=True)
    del content["calibration"], content["config"]["model"]["confidence"]
    torch.save({**content, "format": 1}, path)
    loaded = load_checkpoint(path)
    assert loaded.calibration is None
    with torch.inference_mode():
        assert loaded.network(torch.rand(1, 3, 48, 64)).confidence is None


def test_a_checkpoint_does_not_need_the_weights_it_started_from(checkpoint, tmp_path):
    model = ModelConfig(
        "mobilenet_v3_small", weights="gone/weights.pth", mode="regression", channels=8
    )
    config = Config(data=CONFIG.data, model=model)
    save_checkpoint(tmp_path / "best.pt", checkpoint._replace(config=config))
    loaded = load_checkpoint(tmp_path / "best.pt")
    assert loaded.config == config
    norms = [m for m in loaded.network.train().backbone.modules() if hasattr(m, "running_mean")]
    assert norms  # still the norms of a pretrained backbone, should it be trained on
    assert not any(norm.training for norm in norms)


def test_a_checkpoint_says_what_it_is(path):
    content = torch.load(path, weights_only=True)
    assert content["format"] == CHECKPOINT_FORMAT
    assert content["convention"] == CONVENTION
    assert content["posenet_version"]


class Evil:
    """Makes a folder when unpickled by a reader that lets it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def change(path, **entries):
    content = torch.load(path, weights_only=True)
    torch.save({k: v for k, v in (content | entries).items() if v is not ...}, path)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_the_end(path):
    content = bytearray(path.read_bytes())
    content[-30:] = bytes(30)
    path.write_bytes(content)


def change_network(path, name, tensor):
    state = torch.load(path, weights_only=True)["network"]
    state.pop(name)
    change(path, network=state if tensor is None else state | {name: tensor})


def change_config(path, group, name, value):
    config = torch.load(path, weights_only=True)["config"]
    config[group][name] = value
    change(path, config=config)


DAMAGE = {  # what happens to the file, and what the error says after its name
    "missing": (lambda p: p.unlink(), "no such checkpoint; give a run folder or a .pt file in one"),
    "truncated": (truncate, "not a checkpoint of posenet, or damaged .*; use another"),
    "end overwritten": (flip_the_end, "not a checkpoint of posenet, or damaged .*; use another"),
    "empty": (lambda p: p.write_bytes(b""), "not a checkpoint of posenet, or damaged .*; use ano"),
    "text": (lambda p: p.write_text("hello"), "not a checkpoint of posenet, or damaged .*; use"),
    "code": (
        lambda p: change(p, network=Evil(p.with_name("marker"))),
        r"not a checkpoint of posenet, or damaged \(UnpicklingError\)",
    ),
    "code beside": (
        lambda p: change(p, extra=Evil(p.with_name("marker"))),
        r"not a checkpoint of posenet, or damaged \(UnpicklingError\)",
    ),
    "state dict": (
        lambda p: torch.save({"weight": torch.zeros(2)}, p),
        "expected a checkpoint of posenet, found another file of torch",
    ),
    "tensor": (lambda p: torch.save(torch.zeros(2), p), "found another file of torch"),
    "newer": (
        lambda p: change(p, format=CHECKPOINT_FORMAT + 1, posenet_version="9.1"),
        f"written by posenet 9.1 in format {CHECKPOINT_FORMAT + 1}, this version reads up to "
        f"{CHECKPOINT_FORMAT}; update posenet",
    ),
    "no network": (lambda p: change(p, network=...), "does not fit together .'network'"),
    "no camera": (lambda p: change(p, intrinsics=...), "does not fit together .'intrinsics'"),
    "other camera": (lambda p: change(p, intrinsics={"focal": 1}), "does not fit together"),
    "tensor missing": (lambda p: change_network(p, "reduce.bias", None), "does not fit together"),
    "other shape": (
        lambda p: change_network(p, "reduce.bias", torch.zeros(9)),
        "does not fit together",
    ),
    "unknown setting": (
        lambda p: change_config(p, "model", "depth", 3),
        "does not fit together .unknown setting model.depth",
    ),
    "unknown backbone": (
        lambda p: change_config(p, "model", "backbone", "resnet19"),
        "does not fit together .unknown backbone 'resnet19'",
    ),
    "other size": (lambda p: change_config(p, "data", "width", 128), "does not fit together"),
    "no config": (lambda p: change(p, config=None), "does not fit together"),
    "no format": (lambda p: change(p, format=...), "does not say its format"),
    "format in words": (lambda p: change(p, format="one"), "does not say its format"),
}


@pytest.mark.parametrize(
    "case",
    DAMAGE,
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(path, case):
    damage, message = DAMAGE[case]
    damage(path)
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))}: .*{message}") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not path.with_name("marker").exists()


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_crash_while_saving_leaves_the_old_file(checkpoint, path, monkeypatch, failure):
    before = path.read_bytes()

    def crash(_, file):
        file.write(b"half a checkpoint")
        raise failure

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(type(failure)) as caught:
        save_checkpoint(path, checkpoint._replace(epoch=8))
    assert caught.value is failure
    if isinstance(failure, OSError):
        assert failure.filename == str(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_crash_while_saving_the_first_time_leaves_nothing(tmp_path, monkeypatch):
    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        write_atomically(tmp_path / "a.pt", {})
    assert list(tmp_path.iterdir()) == []


def test_the_file_before_is_kept_where_it_is_asked_for(tmp_path):
    path, previous = tmp_path / "a.pt", tmp_path / "b.pt"
    for content in (1, 2, 3):
        write_atomically(path, content, previous)
    assert (read_whole(path), read_whole(previous)) == (3, 2)


def test_every_bit_of_a_file_counts(path):
    """torch.load takes a tensor with a bit turned for a good one."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path):
    kept = {"best.pt", ".hidden", ".best.pt.old", ".notes.2024", ".env.1"}
    for name in (*kept, ".best.pt.4711", ".metrics.csv.12"):
        (tmp_path / name).touch()
    (tmp_path / ".venv-3.11").mkdir()
    remove_left_over(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {*kept, ".venv-3.11"}


def test_saving_replaces_the_old_file(checkpoint, path):
    save_checkpoint(path, checkpoint._replace(epoch=8))
    assert load_checkpoint(path).epoch == 8
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (("best.pt", "last.pt"), "best.pt"),
        (("last.pt", "resume.ckpt"), "last.pt"),
        (("best.pt",), "best.pt"),
    ],
)
def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path, present, expected):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in present:
        (folder / name).touch()
    assert find_checkpoint(tmp_path) == folder / expected


@pytest.mark.parametrize("present", [(), ("resume.ckpt",)])
def test_a_folder_without_a_checkpoint_is_no_run(tmp_path, present):
    for name in present:
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / name).touch()
    with pytest.raises(CheckpointError, match=r"expected a run folder with checkpoints/best\.pt"):
        find_checkpoint(tmp_path)


def test_a_file_stands_for_itself(tmp_path):
    assert find_checkpoint(tmp_path / "any.pt") == tmp_path / "any.pt"


def test_a_checkpoint_from_before_bins_and_lenses_is_read(path):
    """The first ones had neither a mode nor a lens, a metric or an origin."""
    content = torch.load(path, weights_only=True)
    del content["config"]["model"]["mode"]
    change(path, config=content["config"], distortion=..., metric=..., origin=..., turns_photos=...)
    loaded = load_checkpoint(path)
    assert loaded.config.model.mode == "regression"
    assert (loaded.distortion, loaded.metric, loaded.origin) == (None, True, (0.0, 0.0, 0.0))
    assert loaded.turns_photos


def test_lens_scale_and_origin_travel(checkpoint, tmp_path):
    lens = Distortion("fisheye", (0.1, -0.02, 0.003, 0.0))
    there = checkpoint._replace(
        distortion=lens, metric=False, origin=(4.5e6, -2.0, 7.0), turns_photos=False
    )
    save_checkpoint(tmp_path / "best.pt", there)
    loaded = load_checkpoint(tmp_path / "best.pt")
    assert loaded._replace(network=None) == there._replace(network=None)


def test_bins_that_do_not_match_the_head_are_named(tmp_path):
    model = replace(CONFIG.model, mode="coarse_to_fine", bins=3)
    config = replace(CONFIG, model=model)
    camera = Intrinsics(60.5, 61.0, 31.5, 24.0, 64, 48)
    network = PoseNetwork(model, config.data)
    path = tmp_path / "best.pt"
    save_checkpoint(path, Checkpoint(network, config, camera, "kitchen", 7))
    change_config(path, "model", "bins", 4)
    with pytest.raises(
        CheckpointError, match=r"does not fit together .*bins\.rotation.*\[4, 3, 3\]"
    ):
        load_checkpoint(path)
    change_config(path, "model", "bins", 3)
    change_network(path, "bins.spread", None)
    with pytest.raises(CheckpointError, match=r"does not fit together .*bins\.spread"):
        load_checkpoint(path)
