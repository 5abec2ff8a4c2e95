"""Results of visuallocalization.net: ``name qw qx qy qz tx ty tz``, an image a line.

Direction: world-to-camera, also the translation; the quaternion is wxyz; OpenCV axes. Lists of
query images have a focal length behind, methods of scene coordinates also a confidence or their own
errors: up to three numbers more are accepted and not used.

Source: https://www.visuallocalization.net/submission/.
"""

from pathlib import Path

import numpy as np

from posenet.conversion.trajectory import FileContent, Trajectory, words, written_names
from posenet.conversion.world_to_camera import from_world_to_camera, to_world_to_camera
from posenet.datasets.formats.parsing import parse_numbers, quote, read_lines
from posenet.errors import DataError

COLUMNS = "qw qx qy qz tx ty tz"
MORE = 3


def read_visloc(path: Path, finite: bool = True) -> FileContent:
    """Read the poses of images.

    Raises:
        DataError: The file is missing or unusable; the message names the line.
    """
    names, rows, where = [], [], []
    for place, line in read_lines(path, "a list of images and poses"):
        name, *numbers = line.split()
        if not 7 <= len(numbers) <= 7 + MORE:
            raise DataError(
                f"{place}: expected 'name {COLUMNS}', found {quote(line)}; correct the line"
            )
        names.append(name)
        rows.append(parse_numbers(numbers[:7], COLUMNS, place, finite=finite))
        where.append(place)
    if not rows:
        raise DataError(f"{path}: expected a line 'name {COLUMNS}' an image, found none")
    return FileContent(from_world_to_camera(np.array(rows), where, finite=finite), names=names)


def render_visloc(trajectory: Trajectory, path: Path) -> dict[Path, str]:
    """The text of a list.

    Raises:
        DataError: A name is not one word.
    """
    names = words(written_names(trajectory), str(path))
    rows = to_world_to_camera(trajectory.pose).tolist()
    lines = [" ".join([name, *map(repr, row)]) for name, row in zip(names, rows, strict=True)]
    return {path: "".join(line + "\n" for line in lines)}
