"""Peak memory of building a cache and reading an epoch of views, by the number of frames.

    python scripts/benchmark_memory.py --frames 500 5000

Each number is measured in a process of its own: caching, two epochs of turned views, no workers.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

_MEASURE = """
import json, resource, sys
from posenet.config import AugmentConfig, DataConfig
from posenet.datasets.loader import training_loader
from posenet.datasets.scene import load_scene
root = sys.argv[1]
augment = AugmentConfig()
data = DataConfig(root=root, cache=root + "/cache", workers=0, validation="none")
peak = {"start": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
scene = load_scene(data)
peak["cached"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for epoch in range(2):
    for batch in training_loader(scene, data, augment, batch_size=32, views=1, seed=epoch):
        pass
peak["two epochs"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(peak))
"""


def write_frames(root: Path, count: int) -> None:
    """A 7-Scenes folder of noise at 320x240, which compresses badly and decodes quickly."""
    folder = root / "seq-01"
    folder.mkdir()
    (root / "TrainSplit.txt").write_text("sequence1\n")
    rng = np.random.default_rng(0)
    rotations = Rotation.random(count, random_state=0).as_matrix()
    for number in range(count):
        stem = folder / f"frame-{number:06d}"
        coarse = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        cv2.imwrite(f"{stem}.color.jpg", cv2.resize(coarse, (320, 240)))
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotations[number], rng.normal(size=3)
        np.savetxt(f"{stem}.pose.txt", pose)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[500, 5000])
    for count in parser.parse_args().frames:
        with tempfile.TemporaryDirectory() as scratch:
            write_frames(Path(scratch), count)
            command = [sys.executable, "-c", _MEASURE, scratch]
            done = subprocess.run(command, capture_output=True, check=True, text=True)
        peaks = "  ".join(f"{name} {mb:.0f} MB" for name, mb in json.loads(done.stdout).items())
        print(f"{count} frames: {peaks}")


if __name__ == "__main__":
    main()
