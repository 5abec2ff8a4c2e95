"""Put frames and results of a demo run on one sheet: docs/images/demo.jpg of the README.

Usage: python scripts/make_readme_picture.py runs/demo docs/images/demo.jpg
"""

import sys
from pathlib import Path

import cv2
import numpy as np

WIDTH, GAP = 1600, 12


def fit_width(image: np.ndarray, width: int) -> np.ndarray:
    """Resize to a width in pixels, keeping the proportions."""
    height = round(image.shape[0] * width / image.shape[1])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def fit_height(image: np.ndarray, height: int) -> np.ndarray:
    """Resize to a height in pixels, keeping the proportions."""
    width = round(image.shape[1] * height / image.shape[0])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def side_by_side(images: list[np.ndarray]) -> np.ndarray:
    """One row of images of equal height, scaled to the sheet's width."""
    height = max(image.shape[0] for image in images)
    gap = np.full((height, GAP, 3), 255, np.uint8)
    parts = [part for image in images for part in (fit_height(image, height), gap)]
    return fit_width(np.hstack(parts[:-1]), WIDTH)


def main(run: Path, target: Path) -> None:
    """Make the sheet."""
    frames = sorted((run / "room" / "seq-01").glob("frame-*.color.*"))
    chosen = [frames[round(i)] for i in np.linspace(5, len(frames) * 0.85, 5)]
    rows = [
        side_by_side([cv2.imread(str(path)) for path in chosen]),
        side_by_side([cv2.imread(str(run / n)) for n in ("trajectory.png", "error_cdf.png")]),
    ]
    gap = np.full((GAP, WIDTH, 3), 255, np.uint8)
    sheet = np.vstack([rows[0], gap, rows[1]])
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
