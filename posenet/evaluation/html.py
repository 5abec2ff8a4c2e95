"""Parts of pages that need nothing beside them: tables and pictures, every word escaped."""

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO

from PIL import Image

from posenet.evaluation.plots import DOTS_PER_INCH

_CHART_SCALE = 96 / DOTS_PER_INCH  # CSS counts 96 pixels an inch
_MAGIC = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg"}


def data_uri(content: bytes) -> str:
    """A PNG or JPEG file as an address that holds it.

    Raises:
        ValueError: It is neither.
    """
    for magic, kind in _MAGIC.items():
        if content.startswith(magic):
            return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    raise ValueError(f"expected a PNG or JPEG file, got one that begins with {content[:4]!r}")


def figure(content: bytes, alt: str, caption: str | None = None) -> str:
    """A picture with its caption; the words for those who cannot see it, when omitted."""
    image = f'<img alt="{escape(alt)}" src="{data_uri(content)}">'
    return f"<figure>{image}<figcaption>{escape(caption or alt)}</figcaption></figure>"


def chart(content: bytes, alt: str) -> str:
    """A picture with writing in it, which scrolls by itself where the page is too narrow for it.

    Charts of different sizes are shown at one scale, so that their writing is of one size.
    """
    with Image.open(BytesIO(content)) as picture:
        width, height = (round(side * _CHART_SCALE) for side in picture.size)
    image = f'<img width="{width}" height="{height}" alt="{escape(alt)}" src="{data_uri(content)}">'
    image = scrolling(image, "Picture, described below")
    return f'<figure class="chart">{image}<figcaption>{escape(alt)}</figcaption></figure>'


def table(rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table of numbers that scrolls by itself where it is too wide.

    Args:
        rows: The header, and rows that begin with their name.
        caption: What it is, for those who cannot see it.
    """
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f'<td class="number">{escape(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows[1:]
    )
    return scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", caption)


def facts(rows: Sequence[tuple[str, str]], caption: str) -> str:
    """Names and values below each other."""
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return scrolling(f"<table>{body}</table>", caption)


def scrolling(content: str, caption: str) -> str:
    """HTML in a box that scrolls by itself where the page is too narrow for it."""
    # With a place in the order of tabs, the keyboard can scroll it too.
    label = escape(caption)
    return f'<div class="wide" role="region" aria-label="{label}" tabindex="0">{content}</div>'
