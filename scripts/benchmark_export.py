"""Time and size of a run against its exported model, as a Markdown table.

    python scripts/benchmark_export.py runs/redkitchen
    python scripts/benchmark_export.py                  # an untrained network of the defaults

From bytes of the network's size to poses in the world, one thread, CPU time. torch and onnxruntime
take turns inside one process, so that both meet the same machine; only the ratio means anything.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from posenet.config import Config, DataConfig, ModelConfig
from posenet.geometry import Intrinsics
from posenet.inference.export import export_run
from posenet.inference.localizer import Localizer
from posenet.inference.onnx_model import load_onnx
from posenet.models.checkpoint import Checkpoint, find_checkpoint, save_checkpoint
from posenet.models.network import PoseNetwork


class Row(NamedTuple):
    """CPU time of one batch in milliseconds, medians; the ratio is the median of each turn's."""

    batch: int
    torch_ms: float
    onnx_ms: float
    ratio: float


def measure(run: Path, model: Path, batch: int, turns: int) -> Row:
    """Time both sides in turns.

    Args:
        run: A run folder or a checkpoint file.
        model: Its exported model.
        batch: Images at a time.
        turns: How often each is timed.
    """
    eager, exported = Localizer.load(run, "cpu"), Localizer(load_onnx(model, threads=1))
    size = (batch, eager.camera.height, eager.camera.width, 3)
    images = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    sides = [lambda: eager.predict_batch(images), lambda: exported.predict_batch(images)]
    repeats = max(1, 16 // batch)
    for side in sides:
        seconds(side, 2)
    pairs = [[seconds(side, repeats) for side in sides] for _ in range(turns)]
    ours, theirs = (1e3 * statistics.median(times) for times in zip(*pairs, strict=True))
    return Row(batch, ours, theirs, statistics.median(b / a for a, b in pairs))


def seconds(side: Callable[[], object], repeats: int) -> float:
    """CPU seconds of one call."""
    begin = time.process_time()
    for _ in range(repeats):
        side()
    return (time.process_time() - begin) / repeats


def save_untrained(path: Path, data: DataConfig, model: ModelConfig) -> None:
    """A checkpoint of a network that has learned nothing, which takes as long as one that has."""
    network = PoseNetwork(model, data, weights="none").eval()
    camera = Intrinsics(525.0, 525.0, 320.0, 240.0, 640, 480)
    save_checkpoint(path, Checkpoint(network, Config(data=data, model=model), camera, "none", 0))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--turns", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = options.run
        if run is None:
            run = Path(folder) / "best.pt"
            save_untrained(run, DataConfig(), ModelConfig())
        files = {
            to: export_run(run, to, Path(folder) / f"model{suffix}").path
            for to, suffix in (("onnx", ".onnx"), ("torch-export", ".pt2"))
        }
        rows = [measure(run, files["onnx"], batch, options.turns) for batch in (1, 8)]
        files = {"checkpoint": find_checkpoint(run), **files}
        sizes = [f"{name} {path.stat().st_size / 1e6:.1f} MB" for name, path in files.items()]
    print("| images | torch, ms | onnxruntime, ms | ratio |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row.batch} | {row.torch_ms:.1f} | {row.onnx_ms:.1f} | {row.ratio:.2f} |")
    print("\n" + ", ".join(sizes))


if __name__ == "__main__":
    main()
