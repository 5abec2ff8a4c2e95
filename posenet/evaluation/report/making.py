"""How a network was made: its curves, frames, settings and versions."""

import csv
import json
import shlex
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from posenet.config import dump_config
from posenet.evaluation.html import chart, facts
from posenet.evaluation.plots import plot_training_curves, read_metrics
from posenet.evaluation.report.source import ReportSource, note


def render_making(source: ReportSource) -> str:
    """How the network was made: curves, frames, settings, versions."""
    parts = []
    environment = _read_json(source.run, "environment.json")
    split = _read_json(source.run, "split.json")
    rows = []
    if source.config is not None:
        data, model = source.config.data, source.config.model
        rows.append(("network", f"{model.backbone}, {model.mode.replace('_', ' ')}"))
        rows.append(("images", f"{data.width} x {data.height} pixels"))
    if split is not None:
        sizes = ", ".join(f"{len(frames)} {name}" for name, frames in split.items())
        rows.append(("frames of the run", sizes))
    command = (environment or {}).get("command")
    if command:
        words = escape(shlex.join(str(word) for word in command))
        command = f'<pre tabindex="0" aria-label="Command of the training">{words}</pre>'
    if rows:
        parts.append(facts(rows, "The run"))
    parts.append(command or "")
    parts.append(_training_curves(source.run))
    if source.config is not None:
        parts.append(_details("Settings (config.yaml)", dump_config(source.config)))
    if environment is not None:
        parts.append(_details("Versions (environment.json)", json.dumps(environment, indent=2)))
    else:
        parts.append(note("There is no environment.json beside the checkpoint."))
    return "".join(parts)


def _training_curves(run: Path | None) -> str:
    picture, metrics = (
        None if run is None else run / name for name in ("training_curves.png", "metrics.csv")
    )
    try:
        rows = read_metrics(metrics) if metrics is not None else []
        if not rows:
            return note("There is no metrics.csv beside the checkpoint, and so no training curve.")
        content = BytesIO()
        if picture.is_file():
            content.write(picture.read_bytes())
        else:  # of a training that was stopped
            plot_training_curves(content, rows)
        last = rows[-1]
        ends = [
            f"{name} {last[f'{name}_translation_m']:.3f} and {last[f'{name}_rotation_deg']:.2f}°"
            for name in ("train", "validation")
            if f"{name}_translation_m" in last and f"{name}_rotation_deg" in last
        ]
        alt = f"Errors over {len(rows)} epochs. At the end: {'; '.join(ends) or 'unknown'}."
        return chart(content.getvalue(), alt)
    except (OSError, ValueError, KeyError, csv.Error) as error:
        return note(f"The training curve is left out: {metrics} cannot be read ({error}).")


def _details(title: str, text: str) -> str:
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def _read_json(folder: Path | None, name: str) -> Any:
    """A file of the run; None where there is none, or none that can be read."""
    if folder is None or not (folder / name).is_file():
        return None
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
