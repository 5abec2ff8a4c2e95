"""How fast everything is on this machine: one benchmark of loader, training and prediction."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from posenet.benchmark.advice import advise
from posenet.benchmark.comparison import FORMAT, compare_results, is_busy, read_results
from posenet.benchmark.loading import time_loader
from posenet.benchmark.machine import describe_machine, peak_memory, watch_others
from posenet.benchmark.networks import (
    Size,
    localizer_of,
    time_backbone,
    time_prediction,
    time_training,
    with_backbone,
)
from posenet.benchmark.statistics import QUICK, Effort, time_figures, time_reference
from posenet.config import RANGES, Config, DataConfig, config_to_dict
from posenet.datasets.scene import Scene, load_scene, resolve_data
from posenet.datasets.toy_room import write_toy_room
from posenet.errors import UsageError, look_up
from posenet.models.backbones import BACKBONES
from posenet.models.checkpoint import whole_file
from posenet.process_group import share_cores
from posenet.processes import ALONE
from posenet.progress import make_bar, report_progress, say
from posenet.staging import refused_writing, require_place
from posenet.training.timing import require_usable, untrained_network

BATCHES = (1, 8, 32)


class BenchOptions(NamedTuple):
    """What to measure, and where the results go.

    Attributes:
        backbones: Rows of BACKBONES; all when empty.
        sizes: Widths and heights of images for these, pixels; the configuration's when empty.
        batches: Images that are predicted at a time.
        quick: Measure as little as shows that it works; the figures mean little.
        output: File for the results; none when omitted.
        force: Whether it is replaced.
        against: File of earlier results.
        needs_root: Whether the configuration's dataset must be there; where it is not, and where it
            names none, a toy room is rendered.
    """

    backbones: Sequence[str] = ()
    sizes: Sequence[Size] = ()
    batches: Sequence[int] = BATCHES
    quick: bool = False
    output: Path | None = None
    force: bool = False
    against: Path | None = None
    needs_root: bool = True


def run_benchmark(config: Config, options: BenchOptions) -> dict[str, Any]:
    """Measure, and write the results where the options say; ``docs/bench.md`` explains them.

    Args:
        config: The settings.
        options: What to measure.

    Returns:
        What ``--json`` prints.

    Raises:
        PosenetError: The settings or the dataset cannot be used, or a file cannot be written.
    """
    _require_sense(options)
    device = require_usable(config)
    before = None if options.against is None else read_results(options.against)
    effort = QUICK if options.quick else Effort()
    share_cores(ALONE, config.trainer.threads)
    if (config.trainer.devices, config.trainer.num_nodes) != (1, 1):
        say("trainer.devices and num_nodes: one process is measured, whatever they say")
    machine = describe_machine(device)
    with _dataset(config, options) as (ours, toy):
        ours = replace(ours, data=resolve_data(ours.data))
        data = ours.data
        sizes = options.sizes or [(data.width, data.height)]
        networks = {
            f"{name} {width}x{height}": with_backbone(ours, name, (width, height))
            for width, height in sizes
            for name in options.backbones or BACKBONES
        }
        for other in networks.values():
            require_usable(other)
        wants_depth = ours.augment.depth_share > 0 or ours.augment.fill_from > 0
        with report_progress("decoding images") as report:
            scene = load_scene(data, with_depth=wants_depth, for_training=True, report=report)
        with watch_others() as others:
            measured = _measure(ours, scene, device, networks, options.batches, effort)
        results = {
            "format": FORMAT,
            "environment": {**machine, **others},
            "settings": config_to_dict(config),
            "effort": {"quick": options.quick, **effort._asdict()},
            "dataset": {
                "root": None if toy else data.root,
                "training_frames": len(scene.split.train),
                "width": data.width,
                "height": data.height,
            },
            **measured,
        }
    if is_busy(results):
        say(
            f"others used {others['used_by_others']:.0%} of this machine's cores meanwhile: "
            "figures by the clock say little, and those by CPU time are rough"
        )
    results["advice"] = advise(results)
    if before is not None:
        results["against"] = {"file": str(options.against), **compare_results(results, before)}
        for warning in results["against"]["warnings"]:
            say(warning)
    if options.output is not None:
        _write(options.output, results)
    return results


def _measure(
    config: Config,
    scene: Scene,
    device: torch.device,
    networks: Mapping[str, Config],
    batches: Sequence[int],
    effort: Effort,
) -> dict[str, Any]:
    """All figures, by part and name."""
    memory: dict[str, dict[str, float | None]] = {}
    predict: dict[str, dict[str, float]] = {}
    backbones: dict[str, dict[str, Any]] = {}
    reference = time_reference()
    with make_bar() as bar:
        task = bar.add_task("measuring", total=2 + len(batches) + len(networks), status="")

        def begin(what: str) -> None:
            bar.update(task, status=what)

        begin("the loader")
        with peak_memory(device) as memory["loader"]:
            loader = time_loader(config, scene, effort)
        bar.advance(task)
        begin("the training step")
        with peak_memory(device) as memory["step"]:
            step = time_training(config, scene, device, effort)
        bar.advance(task)
        with peak_memory(device) as memory["predict"]:
            localizer = localizer_of(config, scene, untrained_network(config, scene), device)
            for size in batches:
                begin(f"predicting {size} at a time")
                predict[str(size)] = time_prediction(localizer, size, effort)
                bar.advance(task)
        for name, other in networks.items():
            begin(name)
            backbones[name] = time_backbone(other, scene, device, effort)
            bar.advance(task)
    reference += time_reference()
    return {
        "reference": time_figures(reference, "matmul_ms"),
        "loader": loader,
        "step": step,
        "predict": predict,
        "backbones": backbones,
        "memory": memory,
    }


def _require_sense(options: BenchOptions) -> None:
    for name in options.backbones:
        look_up(BACKBONES, name, "backbone")
    for size in options.sizes:
        for side, name in zip(size, ("width", "height"), strict=True):
            low, high = RANGES[f"data.{name}"]
            if not low <= side <= high:
                raise UsageError(f"--sizes: expected a {name} of {low} to {high}, found {side}")
    output = options.output
    if output is None:
        return
    require_place(output.parent, "--output")
    if output.is_dir():
        raise UsageError(f"{output}: is a folder; give the name of a file with --output")
    if not options.force and (output.exists() or output.is_symlink()):
        raise UsageError(f"{output}: exists already; give another name, or --force to replace it")


@contextmanager
def _dataset(config: Config, options: BenchOptions) -> Iterator[tuple[Config, bool]]:
    """The settings with a dataset that is there, and whether that is a toy room."""
    root = config.data.root
    if root and (options.needs_root or Path(root).exists()):
        yield config, False
        return
    if root:
        say(f"{root}: the configuration's dataset is not there; a toy room is rendered instead")
    with tempfile.TemporaryDirectory(prefix="posenet-bench-") as scratch:
        room = Path(scratch) / "room"
        frames, size = (8, (96, 72)) if options.quick else (20, (320, 240))
        with report_progress("rendering") as report:
            write_toy_room(
                room, frames_per_sequence=frames, width=size[0], height=size[1], report=report
            )
        data = DataConfig(
            root=str(room),
            width=config.data.width,
            height=config.data.height,
            workers=config.data.workers,
            depth_registered=True,
            cache=f"{scratch}/cache",
        )
        yield replace(config, data=data), True


def _write(path: Path, results: dict[str, Any]) -> None:
    with refused_writing(path, "--output"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write((json.dumps(results, indent=2) + "\n").encode())
