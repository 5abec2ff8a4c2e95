"""The page of losses and its pictures."""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from posenet.evaluation.plots import save_figure
from posenet.gallery.classification import draw_label_smoothing, draw_softmax_mse
from posenet.gallery.examples import worked_examples
from posenet.gallery.robust import draw_line_fit, draw_robust_curves
from posenet.gallery.rotation import draw_geodesic_accuracy, draw_rotation_losses
from posenet.gallery.tables import loss_tables
from posenet.staging import staged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE, PICTURES = "losses.md", "losses"

# In the order of the page.
DRAWINGS: dict[str, Callable[[], "Figure"]] = {
    "robust_curves": draw_robust_curves,
    "line_fit": draw_line_fit,
    "rotation_losses": draw_rotation_losses,
    "geodesic_accuracy": draw_geodesic_accuracy,
    "softmax_mse": draw_softmax_mse,
    "label_smoothing": draw_label_smoothing,
}


def write_page(folder: Path, report: Callable[[int, int], None] | None = None) -> Path:
    """Write the page and its pictures; return the page.

    Args:
        folder: Where ``losses.md`` and the folder ``losses/`` of pictures go; made if need be.
        report: Called with the pictures done and their number, for a progress bar.

    Raises:
        DataError: The folder cannot be written.
    """
    with staged(folder, "--plot") as stage:
        (stage / PICTURES).mkdir()
        for done, (name, draw) in enumerate(DRAWINGS.items()):
            if report is not None:
                report(done, len(DRAWINGS))
            figure = draw()
            path = stage / PICTURES / f"{name}.png"
            save_figure(figure, path, {"Description": json.dumps(describe_figure(figure))})
        (stage / PAGE).write_text(render_page(), encoding="utf-8")
    return folder / PAGE


def render_page() -> str:
    """The page as Markdown: prose from ``losses.md`` beside this module, tables and values anew."""
    text = files("posenet.gallery").joinpath("losses.md").read_text(encoding="utf-8")
    for name, table in loss_tables().items():
        text = text.replace(f"{{{{table {name}}}}}", _markdown(table.header, table.rows))
    examples = [list(example) for example in worked_examples()]
    text = text.replace("{{examples}}", _markdown(["often said", "right"], examples))
    for name in DRAWINGS:
        text = text.replace(f"{{{{picture {name}}}}}", f"{PICTURES}/{name}.png")
    return text


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def describe_figure(figure: "Figure") -> list[dict[str, Any]]:
    """What is drawn, for a test that the picture is still true: words, and some points of lines."""
    return [
        {
            "title": panel.get_title(),
            "axes": [panel.get_xlabel(), panel.get_ylabel()],
            "lines": [
                {
                    "label": label if not (label := line.get_label()).startswith("_") else "",
                    "y": [
                        float(f"{value:.4g}") if np.isfinite(value) else None
                        for value in _some(np.asarray(line.get_ydata(), dtype=np.float64))
                    ],
                }
                for line in panel.get_lines()
            ],
            "words": [text.get_text() for text in panel.texts],
        }
        for panel in figure.axes
    ]


def _some(values: np.ndarray, count: int = 9) -> np.ndarray:
    return values[np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)]
