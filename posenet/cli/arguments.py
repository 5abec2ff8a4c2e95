"""What words of the command line must look like."""

import argparse
from pathlib import Path

CAMERA = "FX,FY,CX,CY,WIDTH,HEIGHT"


def intrinsics(text: str) -> list[float]:
    """A camera: focal lengths, centre and size, in pixels."""
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 6 or not all(0.0 < value < float("inf") for value in values):
        raise argparse.ArgumentTypeError(
            "expected focal_x,focal_y,center_x,center_y,width,height in pixels, all above 0, "
            f"found {text!r}"
        )
    return [*values[:4], round(values[4]), round(values[5])]


def words(text: str) -> list[str]:
    """Names with commas between them."""
    return [word.strip() for word in text.split(",")]


def counts(text: str) -> list[int]:
    """Whole numbers above 0 with commas between them."""
    return [count(word) for word in text.split(",")]


def sizes(text: str) -> list[tuple[int, int]]:
    """Widths and heights, such as 224x168,320x240."""
    try:
        sizes = [tuple(int(side) for side in word.split("x")) for word in text.split(",")]
    except ValueError:
        sizes = [()]
    if any(len(size) != 2 for size in sizes):
        raise argparse.ArgumentTypeError(
            f"expected WIDTHxHEIGHT in pixels, such as 224x168, found {text!r}"
        )
    return sizes


def count(text: str) -> int:
    """A whole number above 0."""
    value = int(text) if text.isascii() and text.isdecimal() else 0
    if not 0 < value < 10**9:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, found {text!r}")
    return value


def seconds(text: str) -> float:
    """A time, not negative."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, found {text!r}")
    return value


def folder(text: str) -> Path:
    """A folder that has a name."""
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, found nothing")
    return Path(text)
