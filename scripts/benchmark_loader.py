"""How fast batches are made, against a plain Pillow and torchvision loader; and who waits for whom.

    python scripts/benchmark_loader.py --root data/7scenes/redkitchen
    python scripts/benchmark_loader.py                     # on a rendered room

Images a second are of one process with one thread, by CPU time, the best of some turns that ours
and the peer take in alternation: only their ratio means anything. The step rate is by wall clock,
so that the machine must have nothing else to do: training from the loader, its workers beside it,
against training on the same batches already in memory, turn by turn. Beside it stands what CPU time
alone allows: a batch's time of one core is taken from the cores that a step needs. The cache is
warm; what the first pass costs is printed too.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import torch
import torchvision.transforms.v2 as transforms
from PIL import Image

from posenet.benchmark.loading import time_batches
from posenet.config import AugmentConfig, Config, DataConfig, load_config
from posenet.datasets.loader import AugmentedDataset, PlainDataset, training_loader
from posenet.datasets.sampling import Draw
from posenet.datasets.scene import Scene, load_scene, resolve_data
from posenet.datasets.toy_room import write_toy_room
from posenet.training.module import TrainingModule
from posenet.training.timing import untrained_network

STEPS = 8  # a turn
PAUSE_S = 1.0
CONFIG = Path(__file__).parents[1] / "configs" / "seven_scenes.yaml"


def peer_images(scene: Scene, data: DataConfig, augment: AugmentConfig | None) -> Iterator[object]:
    """What most projects do: decode with Pillow each time, then torchvision's transforms."""
    steps: list[object] = [transforms.Resize((data.height, data.width), antialias=True)]
    if augment is not None:
        jitter = (augment.brightness, augment.contrast, augment.saturation, augment.hue_deg / 360)
        steps += [
            transforms.RandomRotation(augment.roll_deg),
            transforms.RandomPerspective(0.3, p=1.0),  # stands for yaw and pitch
            transforms.ColorJitter(*jitter),
            transforms.GaussianBlur(5, (0.1, 1.0)),
        ]
    steps += [transforms.PILToTensor()]
    pipeline = transforms.Compose(steps)
    while True:
        for index in scene.split.train:
            with Image.open(scene.frames[index].image_path) as image:
                yield pipeline(image.convert("RGB"))


def our_images(scene: Scene, augment: AugmentConfig | None) -> Iterator[object]:
    """The same from the cache."""
    plain = PlainDataset(scene, scene.split.train)
    views = AugmentedDataset(scene, augment) if augment is not None else None
    epoch = 0
    while True:
        for position, index in enumerate(scene.split.train):
            yield plain[position] if views is None else views[Draw(0, epoch, position, index)]
        epoch += 1


def images_per_second(images: Iterator[object], count: int) -> float:
    """Of CPU time."""
    start = time.process_time()
    for _ in range(count):
        next(images)
    return count / (time.process_time() - start)


def take_turns(ours: Iterator[object], peer: Iterator[object], args: argparse.Namespace) -> dict:
    """Images a second of both, the best of their turns, and the ratio."""
    best = {"ours": 0.0, "peer": 0.0}
    for _ in range(args.repeats):
        for name, images in (("ours", ours), ("peer", peer)):
            best[name] = max(best[name], images_per_second(images, args.images))
    return {**best, "ratio": best["ours"] / best["peer"]}


def step_rates(scene: Scene, config: Config, turns: int) -> dict[str, float]:
    """Training steps a second from the loader and from memory, in alternation, and their ratio."""
    network = untrained_network(config, scene)
    module = TrainingModule(network, config.loss, config.optimization, 10_000)
    optimizer = module.configure_optimizers()["optimizer"]

    def step(batch: object) -> None:
        prediction = network(batch.image.float() / 255.0)
        optimizer.zero_grad()
        module._loss(prediction, batch.pose).total.backward()
        optimizer.step()

    loader = training_loader(
        scene,
        config.data,
        config.augment,
        batch_size=config.optimization.batch_size,
        views=100,
        seed=0,
    )
    stream = iter(loader)
    kept = [next(stream) for _ in range(4)]
    sources: dict[str, Callable[[int], object]] = {
        "loader": lambda _: next(stream),
        "memory": lambda i: kept[i % len(kept)],
    }
    for batch in kept:
        step(batch)
    rates: dict[str, list[float]] = {name: [] for name in sources}
    cores: list[float] = []
    for turn in range(turns):
        for name in sorted(sources, reverse=turn % 2 == 1):
            # The worker fills its queue up now, and not during the turn of the other.
            time.sleep(PAUSE_S)
            start, core = time.perf_counter(), time.process_time()
            for i in range(STEPS):
                step(sources[name](i))
            rates[name].append(STEPS / (time.perf_counter() - start))
            if name == "memory":
                cores.append((time.process_time() - core) / STEPS)
    pairs = zip(rates["loader"], rates["memory"], strict=True)
    ratio = statistics.median(loader / memory for loader, memory in pairs)
    rows = {name: statistics.median(values) for name, values in rates.items()}
    batch = min(made.cpu for made in time_batches(loader, 8))
    costs = {"core s a step": min(cores), "core s a batch": batch}
    bound = costs["core s a step"] / sum(costs.values())
    return {**rows, "ratio": ratio, **costs, "ratio by CPU time": bound}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="dataset; a rendered room when omitted")
    parser.add_argument("--images", type=int, default=100, help="images a turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--turns", type=int, default=6, help=f"turns of {STEPS} training steps")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as scratch:
        root = args.root
        if root is None:
            root = Path(scratch) / "room"
            write_toy_room(root, width=640, height=480, frames_per_sequence=20)
        config = load_config(CONFIG, [f"--data.root={root}", f"--data.cache={scratch}/cache"])
        config = replace(config, data=resolve_data(config.data))
        results = measure(config, args)
    if args.json:
        print(json.dumps(results, indent=2))
        return
    for name, row in results.items():
        print(name.ljust(44), "  ".join(f"{key} {value:.3g}" for key, value in row.items()))


def measure(config: Config, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """All figures by name."""
    start = time.perf_counter()
    scene = load_scene(config.data, with_depth=True)
    first = time.perf_counter() - start
    start = time.perf_counter()
    load_scene(config.data, with_depth=True)
    results = {
        "first pass and warm start, s": {"first": first, "warm": time.perf_counter() - start}
    }
    turned = replace(config.augment, depth_share=0.0, fill_from=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, augment in (
        ("images/s, as they are", None),
        ("images/s, turned, other colours", turned),
        ("images/s, moved and filled in (peer: turned)", config.augment),
    ):
        peer = peer_images(scene, config.data, augment)
        results[name] = take_turns(our_images(scene, augment), peer, args)
    torch.set_num_threads(threads)
    for name, augment in (("turned views", turned), ("moved and filled in", config.augment)):
        changed = replace(config, augment=augment)
        results[f"steps/s, {name}"] = step_rates(scene, changed, args.turns)
    return results


if __name__ == "__main__":
    main()
