"""The losses as tables of words, for a terminal and for the page."""

from typing import Any, NamedTuple

from posenet.losses import CLASSIFICATION_LOSSES, ROBUST_LOSSES, ROTATION_LOSSES


class Table(NamedTuple):
    """A family of losses as words: a header and a row for each loss."""

    title: str
    header: list[str]
    rows: list[list[str]]


def loss_tables() -> dict[str, Table]:
    """Every family of losses, from the rows that a configuration names."""
    return {
        "robust": _table(
            "Robust losses of a residual x with scale c: z = x / c",
            {
                "rho": "loss rho(z)",
                "psi": "pull psi(z)",
                "weight": "weight psi / z",
                "outlier": "pull of a far outlier",
                "breakdown": "breakdown",
                "efficient_scale": "95 % scale",
            },
            ROBUST_LOSSES,
        ),
        "rotation": _table(
            "Rotation losses of two rotations at an angle theta in [0, pi]",
            {
                "formula": "loss",
                "derivative": "d loss / d theta",
                "identical": "gradient near theta = 0",
                "opposite": "gradient near theta = pi",
            },
            ROTATION_LOSSES,
        ),
        "classification": _table(
            "Classification losses of logits with softmax Q against targets P",
            {
                "formula": "loss",
                "gradient": "gradient by logit k",
                "targets": "targets",
                "note": "note",
            },
            CLASSIFICATION_LOSSES,
        ),
    }


def _table(title: str, columns: dict[str, str], losses: dict[str, Any]) -> Table:
    rows = [
        [name, *(_words(getattr(row, column)) for column in columns)]
        for name, row in losses.items()
    ]
    return Table(title, ["name", *columns.values()], rows)


def _words(value: str | float | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.4f}"
