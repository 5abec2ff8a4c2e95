"""The inspection as one HTML file that needs nothing else: no network, no folder of pictures."""

from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any

from PIL import Image

from posenet.evaluation.html import facts as facts_table
from posenet.evaluation.html import figure, table
from posenet.evaluation.plots import save_figure
from posenet.inspection.findings import Finding
from posenet.inspection.pictures import Picture

MOST_NAMES = 12

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --error: #b00020; --warning: #a05a00;
  --note: #0060a0; }
@media (prefers-color-scheme: dark) {
  :root { --error: #ff8a90; --warning: #ffc069; --note: #8ecbff; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
.wide { overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid var(--line); }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.finding { border-left: .3rem solid var(--line); padding-left: .8rem; margin: 1rem 0; }
.finding p { margin: .2rem 0; overflow-wrap: anywhere; }
.error { border-color: var(--error); } .warning { border-color: var(--warning); }
.note { border-color: var(--note); }
.error strong { color: var(--error); } .warning strong { color: var(--warning); }
.note strong { color: var(--note); }
figure { margin: 1.5rem 0; } figcaption { font-size: .9rem; }
img { width: 100%; height: auto; background: #fff; border-radius: .3rem; }
code { overflow-wrap: anywhere; }
"""


def embed(picture: Picture) -> str:
    """A figure element with the picture inside, and its words for those who cannot see it."""
    stream = BytesIO()
    save_figure(picture.figure, stream, {"Description": picture.alt})
    content = stream.getvalue()
    photographs = BytesIO()
    Image.open(stream).convert("RGB").save(photographs, "JPEG", quality=85)
    if 2 * photographs.tell() < len(content):
        content = photographs.getvalue()
    return figure(content, picture.alt)


def render_page(
    title: str,
    facts: Sequence[tuple[str, str]],
    sequences: Sequence[Sequence[str]],
    findings: Sequence[Finding],
    pictures: Mapping[str, Picture],
) -> str:
    """The page.

    Args:
        title: Of the dataset.
        facts: Names and values of the summary.
        sequences: A header and a row for each sequence.
        findings: Sorted by severity.
        pictures: By name.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Inspection of {escape(title)}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>Inspection of {escape(title)}</h1>",
        "<h2>Findings</h2>",
        *([_finding(f) for f in findings] or ["<p>Nothing to complain about.</p>"]),
        "<h2>Summary</h2>",
        facts_table(facts, "Summary"),
    ]
    for picture in pictures.values():
        parts += [f"<h2>{escape(picture.title)}</h2>", embed(picture)]
    parts += ["<h2>Sequences</h2>", table(sequences, "Sequences"), "</main></body></html>"]
    return "\n".join(parts) + "\n"


def _finding(finding: Finding) -> str:
    lines = [
        f'<section class="finding {finding.severity}">',
        f"<p><strong>{finding.severity}</strong> <code>{escape(finding.code)}</code></p>",
        f"<p>{escape(finding.message)}</p>",
        f"<p>Cure: {escape(finding.cure)}.</p>",
    ]
    if finding.frames:
        shown = ", ".join(escape(name) for name in finding.frames[:MOST_NAMES])
        more = len(finding.frames) - MOST_NAMES
        ending = f" and {more} more, listed in inspection.json" if more > 0 else ""
        lines.append(f"<p>Frames: <code>{shown}</code>{ending}</p>")
    return "\n".join([*lines, "</section>"])


def sequence_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """A header and a row for each sequence of a summary."""
    unit = "m" if summary["metric"] else "units"
    header = ["sequence", "split", "frames", f"path ({unit})", f"step ({unit})", "turn (deg)"]
    return [
        header,
        *(
            [
                name,
                ", ".join(row["splits"]),
                str(row["frames"]),
                _number(row["path_length"]),
                _number(row["median_step"]),
                _number(row["median_turn_deg"]),
            ]
            for name, row in summary["sequences"].items()
        ),
    ]


def fact_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of a summary, for people."""
    unit = "m" if summary["metric"] else "units"
    images = summary["images"]
    rows = [
        ("frames", f"{summary['frames']} in {len(summary['sequences'])} sequences"),
        ("split", ", ".join(f"{count} {name}" for name, count in summary["splits"].items())),
        ("images", ", ".join(f"{n} {state}" for state, n in images.items() if n) or "none"),
        ("camera", _most(summary["cameras"])),
        ("extent", f"{' x '.join(_number(side) for side in summary['extent'])} {unit}"),
    ]
    if summary["view_distance"] is not None:
        rows.append(("seen at", f"{_number(summary['view_distance'])} {unit} (median)"))
    if noise := summary["label_noise"]:
        text = f"|RtR - I| {noise['median_defect']:.1g}, {noise['median_self_angle_deg']:.2g} deg"
        rows.append(("label noise", f"{text} from itself by the trace formula (medians)"))
    if matching := summary["matching"]:
        text = f"{matching['median_error_px']:.2g} px (median of {matching['pairs']} pairs)"
        rows.append(("matches off by", text))
        if matching["depth_scale"] is not None:
            rows.append(("positions / depth", f"{matching['depth_scale']:.3g}"))
    if nearest := summary["nearest_training_pose"]:
        text = f"{_number(nearest['median_distance'])} {unit}, "
        text += f"{_number(nearest['median_angle_deg'])} deg (medians)"
        rows.append(("test to training", text))
    return rows


def _most(counts: Mapping[str, int]) -> str:
    if not counts:
        return "unknown"
    more = f" and {len(counts) - 1} more" if len(counts) > 1 else ""
    return next(iter(counts)) + more


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
