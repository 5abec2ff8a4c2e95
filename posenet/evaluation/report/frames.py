"""The frames of an evaluation to look at: the worst, those in the middle and the best."""

from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from posenet.evaluation.html import figure
from posenet.evaluation.metrics import PoseErrors
from posenet.evaluation.nearest import nearest_training_pose
from posenet.evaluation.report.source import ReportSource, note
from posenet.evaluation.report.words import angle, length, unit_of
from posenet.geometry import Pose
from posenet.models.calibration import LEVEL

# Neighbours of a video are near copies: three pictures of one place would show one thing.
APART = 10
TILE_PX, QUALITY = 256, 80


def choose_examples(
    errors: PoseErrors, sequences: Sequence[str], each: int = 3
) -> dict[str, list[int]]:
    """Frames with the largest, the smallest and the middle errors; no frame is chosen twice.

    Frames are ranked by the sum of both errors, each in units of its median. Those of a sequence
    lie at least ``APART`` frames from one another, unless there are not enough of them.

    Args:
        errors: Errors of N frames, in the order they were recorded.
        sequences: The sequence of each, (N,).
        each: How many of each kind.

    Returns:
        Indices by kind: worst, median, best.
    """
    score = np.zeros(len(errors.translation_m))
    for values in errors:
        finite = values[np.isfinite(values)]
        score += values / (float(np.median(finite)) or 1.0 if len(finite) else 1.0)
    rising = np.argsort(score, kind="stable")
    # Beside the middle first, then farther and farther from it.
    middle = np.argsort(np.abs(np.arange(len(score)) - (len(score) - 1) / 2), kind="stable")
    orders = {"worst": rising[::-1], "best": rising, "median": rising[middle]}
    taken: list[int] = []
    chosen: dict[str, list[int]] = {}
    for kind, order in orders.items():
        chosen[kind] = _apart([int(i) for i in order], taken, sequences, each)
        taken += chosen[kind]
    return {kind: chosen[kind] for kind in ("worst", "median", "best")}


def _apart(
    order: Sequence[int], taken: Sequence[int], sequences: Sequence[str], count: int
) -> list[int]:
    chosen: list[int] = []
    for apart in (APART, 1):
        for index in order:
            others = [other for other in (*taken, *chosen) if sequences[other] == sequences[index]]
            if len(chosen) < count and all(abs(index - other) >= apart for other in others):
                chosen.append(index)
    return chosen


def encode_tile(image: NDArray[np.uint8]) -> bytes:
    """A small JPEG of an RGB image (height, width, 3)."""
    tile = Image.fromarray(image)
    tile.thumbnail((TILE_PX, TILE_PX))
    stream = BytesIO()
    tile.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def render_frames(source: ReportSource) -> str:
    """The worst, the middle and the best frames as pictures."""
    if source.image is None:
        return note("Only predicted poses were evaluated: there are no images to show.")
    chosen = choose_examples(source.errors, source.sequences)
    kinds = {"worst": "Worst", "median": "Around the median", "best": "Best"}
    reading = (
        "<p>Frames are ranked by the sum of both errors in units of their medians; neighbours of a "
        'video are passed over.</p><p class="soft">Mind the licence of the dataset before you pass '
        "this page on: it holds these images.</p>"
    )
    parts = [reading]
    for kind, title in kinds.items():
        if chosen[kind]:
            rows = "".join(_frame(source, index) for index in chosen[kind])
            parts.append(f"<h3>{title}</h3>{rows}")
    return "".join(parts)


def _frame(source: ReportSource, index: int) -> str:
    unit = unit_of(source.summary)
    name = source.names[index]
    far, turned = (float(values[index]) for values in source.errors)
    told = f"{length(far, unit)}, {angle(turned)}" if np.isfinite(far) else "no usable prediction"
    said = ""
    if source.confidence is not None:
        sure = source.confidence
        radius = length(float(sure.translation_radius_m[index]), unit)
        turn = angle(float(sure.rotation_radius_deg[index]))
        said = f"said to be within {radius} and {turn} ({LEVEL:.0%})"
        said += "" if sure.same_scene[index] else ", and to be of another scene"
    tiles = [_tile(source.image(index), f"{name} as the network saw it", "as the network saw it")]
    if source.nearest is not None and source.train_image is not None:
        near = source.nearest
        where = (
            f"{length(near.distance_m[index], unit)}, {angle(near.angle_deg[index])} from the truth"
        )
        tiles.append(_training_tile(source, near.index[index], "training, nearest to truth", where))
        if np.isfinite(far):
            one = Pose(*(part[index : index + 1] for part in source.prediction))
            answer = nearest_training_pose(source.train, one)
            where = f"{length(answer.distance_m[0], unit)}, {angle(answer.angle_deg[0])} from the "
            where += "prediction"
            text = "training, nearest to prediction"
            tiles.append(_training_tile(source, answer.index[0], text, where))
    button = f'<button class="locate" data-frame="{index}">show in 3D</button>'
    return (
        f'<article class="frame"><h4><code>{escape(name)}</code> <b>{escape(told)}</b> '
        f'<small class="soft">{escape(said)}</small>{button}</h4>'
        f'<div class="tiles">{"".join(tiles)}</div></article>'
    )


def _training_tile(source: ReportSource, index: int, caption: str, where: str) -> str:
    name = source.train_names[index]
    alt = f"{name}, {caption}, {where}"
    return _tile(source.train_image(int(index)), alt, f"{caption} ({where})")


def _tile(image: NDArray[np.uint8], alt: str, caption: str) -> str:
    return figure(encode_tile(image), alt, caption)
