"""Peak memory by the number of frames: of training data, and of predicting a video.

    python scripts/benchmark_memory.py --frames 500 5000
    python scripts/benchmark_memory.py --mode predict --frames 200 2000

Each number is measured in a process of its own. ``train``: caching, two epochs of turned views, no
workers. ``predict``: the verb on a video of 640x480, with a network that has learned nothing.
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

_TRAIN = """
import json, resource, sys
from posenet.config import AugmentConfig, DataConfig
from posenet.datasets.loader import load_scene, training_loader
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

_PREDICT = """
import json, resource, sys
from posenet.cli import main
from posenet.config import Config, DataConfig, ModelConfig
from posenet.geometry import Intrinsics
from posenet.models.checkpoint import Checkpoint, save_checkpoint
from posenet.models.network import PoseNetwork
from pathlib import Path
root = Path(sys.argv[1])
data = DataConfig()
model = ModelConfig(backbone="mobilenet_v3_small", weights="none", mode="regression")
camera = Intrinsics(525.0, 525.0, 319.5, 239.5, 640, 480)
checkpoint = Checkpoint(PoseNetwork(model, data), Config(data=data, model=model), camera, "-", 1)
save_checkpoint(root / "best.pt", checkpoint)
peak = {"start": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
words = ["predict", str(root / "best.pt"), str(root / "film.mp4"), "--output", str(root / "out")]
if main(words + sys.argv[2:]):
    sys.exit("the video could not be predicted")
peak["predicted"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
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
        cv2.imwrite(f"{stem}.color.jpg", _noise(rng, 320, 240))
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotations[number], rng.normal(size=3)
        np.savetxt(f"{stem}.pose.txt", pose)


def write_film(root: Path, count: int) -> None:
    """A video of noise at 640x480 and 30 frames a second."""
    writer = cv2.VideoWriter(
        str(root / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 30.0, (640, 480)
    )
    rng = np.random.default_rng(0)
    for _ in range(count):
        writer.write(_noise(rng, 640, 480))
    writer.release()


def _noise(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    coarse = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height))


MODES = {"train": (write_frames, _TRAIN), "predict": (write_film, _PREDICT)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--mode", choices=MODES, default="train")
    parser.add_argument("--smooth", help="seconds; of predict alone")
    options = parser.parse_args()
    write, measure = MODES[options.mode]
    more = ["--smooth", options.smooth] if options.smooth else []
    for count in options.frames:
        with tempfile.TemporaryDirectory() as scratch:
            write(Path(scratch), count)
            command = [sys.executable, "-c", measure, scratch, *more]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        peaks = "  ".join(f"{name} {mb:.0f} MB" for name, mb in json.loads(done.stdout).items())
        print(f"{count} frames: {peaks}", flush=True)


if __name__ == "__main__":
    main()
