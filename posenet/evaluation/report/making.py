"""How a network was made: its curves, frames, settings and versions."""

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
from posenet.evaluation.report.words import angle, length, unit_of


def render_making(source: ReportSource) -> str:
    """Curves, frames, settings and versions, as far as the run folder still has them."""
    environment, split = _read_json(source, "environment.json"), _read_json(source, "split.json")
    rows = []
    if source.config is not None:
        data, model = source.config.data, source.config.model
        rows.append(("network", f"{model.backbone}, {model.mode.replace('_', ' ')}"))
        rows.append(("images", f"{data.width} x {data.height} pixels"))
    sizes = [f"{len(names)} {part}" for part, names in split.items() if isinstance(names, list)]
    if sizes:
        rows.append(("frames of the run", ", ".join(sizes)))
    parts = [facts(rows, "The run")] if rows else []
    if command := environment.get("command"):
        words = escape(shlex.join(str(word) for word in command))
        parts.append(f'<pre tabindex="0" aria-label="Command of the training">{words}</pre>')
    parts.append(_training_curves(source))
    if source.config is not None:
        parts.append(_details("Settings (config.yaml)", dump_config(source.config)))
    if environment:
        parts.append(_details("Versions (environment.json)", json.dumps(environment, indent=2)))
    else:
        parts.append(note("No environment.json that can be read lies beside the checkpoint."))
    return "".join(parts)


def _training_curves(source: ReportSource) -> str:
    metrics = _file(source, "metrics.csv")
    try:
        rows = read_metrics(metrics) if metrics is not None else []
        if not rows:
            return note("No metrics.csv with epochs is at hand: no training curve.")
        picture = _file(source, "training_curves.png")
        if picture is not None:
            content = picture.read_bytes()
        else:  # of a training that was stopped
            stream = BytesIO()
            plot_training_curves(stream, rows, unit_of(source.summary))
            content = stream.getvalue()
        return chart(content, f"Errors over {len(rows)} epochs. {_last_errors(source, rows)}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return note(f"The training curve is left out, its files cannot be read: {error}")


def _last_errors(source: ReportSource, rows: list[dict[str, float]]) -> str:
    last = rows[-1] if rows else {}
    ends = [
        f"{name} {length(last[f'{name}_translation_m'], unit_of(source.summary))} and "
        f"{angle(last[f'{name}_rotation_deg'])}"
        for name in ("train", "validation")
        if f"{name}_translation_m" in last and f"{name}_rotation_deg" in last
    ]
    return f"At the end: {'; '.join(ends)}." if ends else ""


def _details(title: str, text: str) -> str:
    return (
        f"<details><summary>{escape(title)}</summary>"
        f'<pre tabindex="0" aria-label="{escape(title)}">{escape(text)}</pre></details>'
    )


def _file(source: ReportSource, name: str) -> Path | None:
    path = None if source.run is None else source.run / name
    return path if path is not None and path.is_file() else None


def _read_json(source: ReportSource, name: str) -> dict[str, Any]:
    """A mapping in a file of the run; empty where there is none that can be read."""
    path = _file(source, name)
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
