"""The benchmarks run; how fast is for them to say, on a machine that has nothing else to do."""

import argparse
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from posenet.config import DataConfig, ModelConfig, OptimizationConfig, load_config
from posenet.datasets.scene import resolve_data
from posenet.datasets.toy_room import write_toy_room

SCRIPTS = Path(__file__).parents[1] / "scripts"


def load(name: str):
    specification = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark():
    return load("benchmark_losses")


def test_both_sides_of_every_row_run_and_compute_the_same(benchmark):
    rows = list(benchmark.make_rows())
    assert len({row.name for row in rows}) == len(rows) >= 14
    for row in rows:
        ours, peer = (side(*row.inputs) for side in (row.ours, row.peer))
        if row.peer_name.startswith("kornia angle"):  # degrees
            peer = torch.deg2rad(peer)
        torch.testing.assert_close(ours, peer, rtol=1e-3, atol=1e-5)
        assert min(benchmark.compare(row._replace(inputs=row.inputs), repeats=1)) > 0.0


def test_the_loader_benchmark_measures_both_sides(tmp_path, monkeypatch):
    module = load("benchmark_loader")
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    monkeypatch.setattr(module, "STEPS", 2)
    write_toy_room(tmp_path / "room", frames_per_sequence=4, width=96, height=72)
    config = load_config(module.CONFIG, [f"--data.root={tmp_path}/room", "--data.workers=0"])
    data = replace(config.data, cache=str(tmp_path / "cache"), width=64, height=48)
    config = replace(
        config,
        data=resolve_data(data),
        model=ModelConfig(backbone="mobilenet_v3_small", weights="none"),
        optimization=OptimizationConfig(batch_size=2),
    )
    found = module.measure(config, argparse.Namespace(images=4, repeats=1, turns=1))
    assert len(found) == 6
    assert all(value > 0.0 for row in found.values() for value in row.values())


def test_the_novelty_benchmark_ranks_images_by_either_score():
    module = load("benchmark_novelty")
    known = torch.randn(40, 12, generator=torch.Generator().manual_seed(0)) + 3.0
    strange = -known[:10]
    for make in (module.density, module.nearest):
        score = make(known)
        assert module.auroc(score(strange), score(known)) == 1.0
        assert module.auroc(score(known[:10]), score(known)) == pytest.approx(0.5, abs=0.2)
    assert module.nearest(known)(known).abs().max() < 1e-6
    assert module.auroc(torch.tensor([1.0, 3.0]), torch.tensor([2.0])) == 0.5
    assert module.auroc(torch.tensor([2.0]), torch.tensor([2.0])) == 0.5


def test_the_export_benchmark_times_both_sides(tmp_path):
    pytest.importorskip("onnxruntime")
    module = load("benchmark_export")
    model = ModelConfig(backbone="resnet18", weights="none", channels=4)
    module.save_untrained(tmp_path / "best.pt", DataConfig(width=64, height=48), model)
    exported = module.export_run(tmp_path / "best.pt").path
    row = module.measure(tmp_path / "best.pt", exported, batch=2, turns=2)
    assert row.batch == 2
    assert min(row.torch_ms, row.onnx_ms, row.ratio) > 0.0
