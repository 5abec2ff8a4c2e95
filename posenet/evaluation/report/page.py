"""One page about an evaluation that needs nothing else: no network, no folder of pictures."""

import base64
import hashlib
import json
import re
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from posenet.evaluation.metrics import json_ready
from posenet.evaluation.report.scene import scene_data
from posenet.evaluation.report.sections import SECTIONS
from posenet.evaluation.report.source import ReportSource
from posenet.evaluation.report.words import images_of, unit_of

PAGE = "report.html"


def write_report(folder: Path, source: ReportSource) -> Path:
    """Write ``report.html`` into a folder; return the page."""
    path = folder / PAGE
    path.write_text(render_report(source), encoding="utf-8")
    return path


def render_report(source: ReportSource) -> str:
    """The page.

    Everything that comes from files is escaped. Beyond that the page allows itself (by its content
    security policy) no script but its own and nothing from elsewhere, so that a name which slipped
    through could still do nothing.
    """
    parts = {key: section.render(source) for key, section in SECTIONS.items()}
    parts = {key: content for key, content in parts.items() if content}
    style, script = _read("report.css"), _read("report.js")
    return _fill(
        _read("report.html"),
        {
            "title": escape(f"{source.summary['scene']}: {images_of(source.summary)}"),
            "scene": escape(str(source.summary["scene"])),
            "subtitle": escape(_subtitle(source)),
            "links": "".join(
                f'<a href="#{key}">{escape(SECTIONS[key].title)}</a>' for key in parts
            ),
            "sections": "".join(
                f'<section id="{key}"><h2>{escape(SECTIONS[key].title)}</h2>{content}</section>'
                for key, content in parts.items()
            ),
            "data": _island(report_data(source)),
            "style": style,
            "script": script,
            "style_hash": _digest(style),
            "script_hash": _digest(script),
        },
    )


def report_data(source: ReportSource) -> dict[str, Any]:
    """The numbers of the page as plain values: what its script draws, and the summary."""
    scene = scene_data(
        source.train,
        source.train_names,
        source.truth,
        source.prediction,
        source.names,
        source.errors,
        source.camera,
    )
    return {"summary": json_ready(source.summary), "unit": unit_of(source.summary), "scene": scene}


def _subtitle(source: ReportSource) -> str:
    summary = source.summary
    sequences = len(summary.get("sequences", {}))
    parts = [images_of(summary) + (f" in {sequences} sequences" if sequences > 1 else "")]
    if source.config is not None:
        model = source.config.model
        parts.append(f"{model.backbone}, {model.mode.replace('_', ' ')}")
    if "checkpoint" in summary:
        parts.append(f"{summary['checkpoint']} of epoch {summary['epoch']}")
    return " · ".join(parts)


def _island(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _fill(template: str, values: dict[str, str]) -> str:
    """In one pass, so that a value which looks like a place stays as it is."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: values[place[1]], template)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _read(name: str) -> str:
    return files("posenet.evaluation.report").joinpath(name).read_text(encoding="utf-8")
