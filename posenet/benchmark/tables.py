"""The results of a benchmark as tables for people."""

from typing import Any

from posenet.progress import show_table


def show_results(results: dict[str, Any]) -> None:
    """Print tables of all that was measured, and what to change.

    Args:
        results: What :func:`posenet.benchmark.run.run_benchmark` measured.
    """
    machine, data = results["environment"], results["dataset"]
    where = data["root"] or "a rendered toy room"
    print(
        f"{machine['gpu'] or machine['cpu']}, {machine['cores']} cores, {machine['threads']} "
        f"threads, torch {machine['torch']}; {where}, {data['training_frames']} training frames\n"
    )
    _show_loader(results)
    _show_step(results)
    _show_predict(results)
    _show_backbones(results)
    show_table(
        f"Memory, MB (the peak is of {machine['peak_memory_of']})",
        ["", "before", "peak", "GPU peak"],
        [
            [name, *(_whole(row[key]) for key in ("rss_before_mb", "rss_peak_mb", "gpu_peak_mb"))]
            for name, row in results["memory"].items()
        ],
    )
    for line in results["advice"]:
        print(f"- {line}")
    if "against" in results:
        _show_against(results["against"])


def _show_loader(results: dict[str, Any]) -> None:
    size = results["loader"]["augmented"]["batch_size"]
    show_table(
        "Loader: what one worker makes, with one thread",
        ["", "images/s", "by CPU time", f"ms a batch of {size}", "spread"],
        [
            [
                name,
                *_rates(row),
                f"{row['batch_ms']:.1f}",
                f"{row['spread']:.0%}",
            ]
            for name, row in results["loader"].items()
        ],
    )


def _show_step(results: dict[str, Any]) -> None:
    step, model, data = results["step"], results["settings"]["model"], results["dataset"]
    rows = [
        [name, *_times(part, "median_ms"), f"{part['share']:.0%}"]
        for name, part in step["parts"].items()
    ]
    rows.append(["whole", *_times(step, "batch_ms"), ""])
    show_table("Training step", ["", "ms", "spread", "CPU ms", "spread", "share"], rows)
    print(
        f"{step['images_per_s']:.1f} images/s: {model['backbone']}, {step['batch_size']} images of "
        f"{data['width']}x{data['height']} a step, data.workers {step['workers']}, "
        f"{step['precision']}\n"
    )


def _show_predict(results: dict[str, Any]) -> None:
    show_table(
        "Prediction, from bytes to poses",
        ["images at a time", "p50 ms", "p95 ms", "images/s", "by CPU time"],
        [
            [
                size,
                f"{row['p50_ms']:.1f}",
                f"{row['p95_ms']:.1f}",
                *_rates(row),
            ]
            for size, row in results["predict"].items()
        ],
    )


def _show_backbones(results: dict[str, Any]) -> None:
    show_table(
        f"Backbones, batches of {results['step']['batch_size']} from memory",
        [
            "",
            "million weights",
            "training images/s",
            "by CPU time",
            "prediction images/s",
            "by CPU time",
            "peak MB",
        ],
        [
            [
                name,
                f"{row['parameters'] / 1e6:.1f}",
                *_rates(row["training"]),
                *_rates(row["prediction"]),
                _whole(row["memory"]["gpu_peak_mb"] or row["memory"]["rss_peak_mb"]),
            ]
            for name, row in results["backbones"].items()
        ],
    )


def _times(row: dict[str, float], name: str) -> list[str]:
    pairs = ((row[f"{by}{name}"], row[f"{by}spread"]) for by in ("", "cpu_"))
    return [cell for ms, spread in pairs for cell in (f"{ms:.1f}", f"{spread:.0%}")]


def _rates(row: dict[str, float]) -> list[str]:
    return [f"{row[name]:.1f}" for name in ("images_per_s", "cpu_images_per_s")]


def _show_against(against: dict[str, Any]) -> None:
    show_table(
        f"Against {against['file']}",
        ["", "before", "now", "now / before", "spread", "verdict"],
        [
            [
                name,
                f"{row['before']:.4g}",
                f"{row['now']:.4g}",
                f"{row['ratio']:.2f}",
                f"{row['spread']:.0%}",
                row["verdict"],
            ]
            for name, row in against["ratios"].items()
        ],
    )
    for when in ("before", "now"):
        if against[f"only_{when}"]:
            print(f"only {when}: {', '.join(against[f'only_{when}'])}")


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
