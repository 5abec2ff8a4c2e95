"""What to change, by what was measured."""

import math
from typing import Any

# A step that waits for less than this share of its time has no use for more workers.
_MUCH_WAITING = 0.1
# Other choices are named where they are so many times as fast.
_MUCH_FASTER = 1.3


def advise(results: dict[str, Any]) -> list[str]:
    """One line for each thing that would make this machine faster.

    Args:
        results: What :func:`posenet.benchmark.run.run_benchmark` measured.
    """
    found = (rule(results) for rule in RULES)
    return [line for line in found if line is not None]


def _idle_cores(results: dict[str, Any]) -> str | None:
    machine, cores = results["environment"], results["environment"]["cores"]
    # By itself torch takes a thread a physical core, which may be fewer and is right.
    limits = {
        "--trainer.threads ": results["settings"]["trainer"]["threads"],
        "OMP_NUM_THREADS=": machine["omp_num_threads"],
    }
    limit = next((name for name, value in limits.items() if value), None)
    if machine["device"] != "cpu" or limit is None or limits[limit] >= cores:
        return None
    return (
        f"torch computes with {machine['threads']} of {cores} cores: set {limit}{cores}, "
        "unless others need them"
    )


def _waiting(results: dict[str, Any]) -> str | None:
    step, machine = results["step"], results["environment"]
    share = step["parts"]["load"]["share"]
    if share < _MUCH_WAITING:
        return None
    busy_ms = step["batch_ms"] * (1.0 - share)
    made_ms = results["loader"]["augmented"]["batch_ms"]
    enough = max(step["workers"] + 1, math.ceil(made_ms / busy_ms))
    waits = f"training waits {share:.0%} of its time for batches"
    if enough < machine["cores"]:
        return f"{waits}: try --data.workers {enough} (now {step['workers']})"
    augment = results["settings"]["augment"]
    dear = [f"--augment.{name} 0" for name in ("fill_from", "depth_share") if augment[name]]
    cheaper = f"make cheaper views ({' and '.join(dear)}), or " if dear else ""
    return f"{waits}, and this machine has no cores to make more: {cheaper}use one with more cores"


def _freezing(results: dict[str, Any]) -> str | None:
    model, backward = results["settings"]["model"], results["step"]["parts"]["backward"]
    if model["frozen_share"] > 0 or model["weights"] == "none" or backward["share"] < 0.4:
        return None
    return (
        f"{backward['share']:.0%} of a step is the backward pass: --model.frozen_share 0.2 spares "
        "the early layers theirs, of which few images have anything to teach"
    )


def _other_backbone(results: dict[str, Any]) -> str | None:
    step, mine = results["step"], results["settings"]["model"]["backbone"]
    width, height = results["dataset"]["width"], results["dataset"]["height"]
    rows = {
        name: _rate(row["training"], results)
        for name, row in results["backbones"].items()
        if name.endswith(f" {width}x{height}")
    }
    ours = rows.get(f"{mine} {width}x{height}")
    if ours is None:
        return None
    best = max(rows, key=rows.__getitem__)
    # Batches from memory say nothing of a training that waits for its loader.
    if rows[best] < _MUCH_FASTER * ours or step["parts"]["load"]["share"] > 0.5:
        return None
    return (
        f"{best.split()[0]} trains {rows[best] / ours:.1f} times as fast as {mine}, and is another "
        "network: hold their errors beside each other (posenet compare)"
    )


def _rate(row: dict[str, float], results: dict[str, Any]) -> float:
    """Images a second to compare rows by: on a CPU those that others on the machine do not slow."""
    on_cpu = results["environment"]["device"] == "cpu"
    return row["cpu_images_per_s" if on_cpu else "images_per_s"]


def _larger_batches(results: dict[str, Any]) -> str | None:
    rows = {int(size): _rate(row, results) for size, row in results["predict"].items()}
    best, smallest = max(rows, key=rows.__getitem__), min(rows)
    if rows[best] < _MUCH_FASTER * rows[smallest]:
        return None
    return (
        f"prediction in batches of {best} makes {rows[best] / rows[smallest]:.1f} times the "
        f"images/s of batches of {smallest}, where nobody waits for a single one"
    )


RULES = (_idle_cores, _waiting, _freezing, _other_backbone, _larger_batches)
