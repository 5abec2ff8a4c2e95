"""The benchmarks run; how fast is for them to say, on a machine that has nothing else to do."""

import importlib.util
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "scripts" / "benchmark_losses.py"


@pytest.fixture(scope="module")
def benchmark():
    specification = importlib.util.spec_from_file_location("benchmark_losses", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_both_sides_of_every_row_run_and_compute_the_same(benchmark):
    rows = list(benchmark.make_rows())
    assert len({row.name for row in rows}) == len(rows) >= 14
    for row in rows:
        ours, peer = (side(*row.inputs) for side in (row.ours, row.peer))
        if row.peer_name.startswith("kornia angle"):  # degrees
            peer = torch.deg2rad(peer)
        torch.testing.assert_close(ours, peer, rtol=1e-3, atol=1e-5)
        assert min(benchmark.compare(row._replace(inputs=row.inputs), repeats=1)) > 0.0
