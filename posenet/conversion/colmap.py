"""COLMAP's text model: a folder with ``cameras.txt``, ``images.txt`` and ``points3D.txt``.

Direction: world-to-camera, also the translation; the quaternion is wxyz; OpenCV axes. The centre of
the top-left pixel is (0.5, 0.5), here it is (0, 0).

A model cannot be without cameras. Where none is known a camera of 0x0 pixels stands in, which
COLMAP loads and which is read as none.

Source: https://colmap.github.io/format.html.
"""

from pathlib import Path

import numpy as np

from posenet.conversion.trajectory import FileContent, Trajectory, words, written_names
from posenet.conversion.world_to_camera import from_world_to_camera, to_world_to_camera
from posenet.datasets.formats.colmap import CAMERA_MODELS
from posenet.datasets.formats.parsing import (
    COEFFICIENTS,
    make_distortion,
    make_intrinsics,
    parse_numbers,
    quote,
    read_lines,
    read_text,
)
from posenet.errors import DataError
from posenet.geometry import Distortion, Intrinsics
from posenet.progress import say

CAMERAS, IMAGES, POINTS = "cameras.txt", "images.txt", "points3D.txt"
COLUMNS = "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID"

Lens = tuple[Intrinsics | None, Distortion | None]


def read_colmap(path: Path, finite: bool = True) -> FileContent:
    """Read a model.

    Args:
        path: Its folder, or its images.txt, whose cameras.txt may be missing.
        finite: Whether a pose that is not finite is refused.

    Raises:
        DataError: A file is missing or unusable; the message names the line.
    """
    images = path / IMAGES if path.is_dir() else path
    names, rows, numbers, where = [], [], [], []
    lines = enumerate(read_text(images, "the images of a COLMAP model").split("\n"), start=1)
    for number, line in lines:
        place = f"{images}:{number}"
        cells = line.split(maxsplit=9)
        if not cells or cells[0].startswith("#"):
            continue
        if len(cells) < 10:
            raise DataError(
                f"{place}: expected '{COLUMNS} NAME', found {quote(line)}; correct the line"
            )
        _, *pose, camera = parse_numbers(cells[:9], COLUMNS, place, finite=finite)
        parse_numbers([cells[8]], "CAMERA_ID", place)  # always finite
        rows.append(pose)
        numbers.append(int(camera))
        names.append(cells[9].strip())
        where.append(place)
        _, observations = next(lines, (0, ""))
        if len(observations.split()) % 3:  # X Y POINT3D_ID, again and again
            raise DataError(
                f"{images}:{number + 1}: expected the observations of an image, found "
                f"{quote(observations)}; leave an empty line where an image has none"
            )
    if not rows:
        raise DataError(f"{images}: expected two lines an image, found none; restore it")
    lenses = _read_cameras(images.with_name(CAMERAS))
    pose = from_world_to_camera(np.array(rows), where, finite=finite)
    each = [lenses.get(number, (None, None)) for number in numbers]
    intrinsics, distortions = (list(column) for column in zip(*each, strict=True))
    return FileContent(pose, names=names, intrinsics=intrinsics, distortions=distortions)


def render_colmap(trajectory: Trajectory, path: Path) -> dict[Path, str]:
    """The three files of a model without points.

    Raises:
        DataError: A name is not one word.
    """
    names = words(written_names(trajectory), str(path))
    lenses = list(zip(trajectory.intrinsics, trajectory.distortions, strict=True))
    ids = {lens: number for number, lens in enumerate(dict.fromkeys(lenses), start=1)}
    cameras = ["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS"]
    cameras += [f"{number} {_render_camera(*lens)}" for lens, number in ids.items()]
    images = [f"# {COLUMNS} NAME, world-to-camera; then an empty line for observations"]
    rows = to_world_to_camera(trajectory.pose).tolist()
    for number, (name, lens, row) in enumerate(zip(names, lenses, rows, strict=True), start=1):
        images += [" ".join([str(number), *map(repr, row), str(ids[lens]), name]), ""]
    return {
        path / CAMERAS: "\n".join([*cameras, ""]),
        path / IMAGES: "\n".join([*images, ""]),
        path / POINTS: "# No points: only poses were converted.\n",
    }


def _read_cameras(path: Path) -> dict[int, Lens]:
    """The cameras by number; lenses that have no counterpart here are warned of, and left out."""
    if not path.is_file():
        return {}
    lenses: dict[int, Lens] = {}
    for place, line in read_lines(path, "the cameras of a COLMAP model"):
        number, name, *rest = [*line.split(), ""]
        model = CAMERA_MODELS.get(name)
        if model is None:
            raise DataError(
                f"{place}: expected 'CAMERA_ID MODEL WIDTH HEIGHT PARAMS', found {quote(line)}; "
                "make the model again"
            )
        names = f"CAMERA_ID WIDTH HEIGHT {model.parameters}"
        camera_id, width, height, *values = parse_numbers([number, *rest[:-1]], names, place)
        if model.lens is None:
            say(f"posenet: warning: {place}: a {name} lens is not known here, it is left out")
        elif width or height:
            named = dict(zip(model.parameters.split(), values, strict=True))
            focal_x, focal_y = (named.get(key, named.get("f", 0.0)) for key in ("fx", "fy"))
            center = (named["cx"] - 0.5, named["cy"] - 0.5)
            intrinsics = make_intrinsics([focal_x, focal_y, *center, width, height], place)
            lenses[int(camera_id)] = intrinsics, make_distortion(model.lens, named)
    return lenses


def _render_camera(intrinsics: Intrinsics | None, distortion: Distortion | None) -> str:
    if intrinsics is None:
        return "PINHOLE 0 0 0 0 0 0"
    model, parameters = "PINHOLE", []
    if distortion is not None:
        coefficients = dict(zip(COEFFICIENTS[distortion.model], distortion.coefficients))  # noqa: B905  # fewer are allowed
        full = any(coefficients.get(key) for key in ("k3", "k4", "k5", "k6"))
        model = "FULL_OPENCV" if full else "OPENCV"
        model = "OPENCV_FISHEYE" if distortion.model == "fisheye" else model
        keys = CAMERA_MODELS[model].parameters.split()[4:]
        parameters = [float(coefficients.get(key, 0.0)) for key in keys]
    i = intrinsics
    numbers = (i.focal_x, i.focal_y, i.center_x + 0.5, i.center_y + 0.5, *parameters)
    return " ".join([model, str(i.width), str(i.height), *(repr(float(n)) for n in numbers)])
