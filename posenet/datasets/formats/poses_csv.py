"""The plain table ``poses.csv``, for datasets that come in no known format.

Direction: camera-to-world; a quaternion wxyz and the camera centre; OpenCV axes, metres. The first
line names the columns, in any order::

    image,sequence,split,qw,qx,qy,qz,center_x_m,center_y_m,center_z_m

``image`` is a path below the folder of the file. ``sequence`` (else the image's folder), ``split``
(train, test or empty), ``depth`` (a 16-bit png in millimetres on the image's pixels) and the camera
(``focal_x, focal_y, principal_x, principal_y, width, height`` in pixels, the centre of the top-left
one being (0, 0)) may be left out. Other columns are not read.
"""

import difflib
from pathlib import Path

import numpy as np

from posenet.datasets.formats.parsing import (
    GIVE_CAMERA,
    find_examples,
    fit_camera,
    inside,
    list_poses,
    parse_numbers,
    quote,
    require_unique,
    rotations_from_quaternions,
    sequence_of,
)
from posenet.datasets.formats.tables import (
    CAMERA_COLUMNS,
    QUATERNION,
    Row,
    parse_camera,
    parse_split,
    read_table,
)
from posenet.datasets.frame import Frame
from posenet.errors import DataError
from posenet.geometry import Intrinsics

FILE = "poses.csv"
POSE_COLUMNS = (*QUATERNION, "center_x_m", "center_y_m", "center_z_m")
REQUIRED = ("image", *POSE_COLUMNS)
OPTIONAL = ("sequence", "split", "depth", *CAMERA_COLUMNS)
SIMILAR = 0.8  # difflib's ratio from which another column is a misspelling of a known one


def read_poses_csv(
    root: Path, camera: Intrinsics | None = None, depth_registered: bool = False
) -> list[Frame]:
    """Read the frames of the table.

    Args:
        root: The folder of ``poses.csv``.
        camera: The camera at any size; that of the table when omitted.
        depth_registered: Depth always is.

    Returns:
        The frames, in order of the table.

    Raises:
        DataError: The table is missing or unusable; the message names the line.
    """
    path = root / FILE
    what = f"a table with the columns {', '.join(REQUIRED)}"
    _, rows, where = read_table(path, what, "an image", _check_columns, by_hand=True)
    placed = list(zip(where, rows, strict=True))
    numbers = np.array(
        [
            parse_numbers([row[name] for name in POSE_COLUMNS], " ".join(POSE_COLUMNS), place)
            for place, row in placed
        ]
    ).reshape(-1, len(POSE_COLUMNS))
    rotations = rotations_from_quaternions(numbers[:, :4], where)
    poses = list_poses(rotations, numbers[:, 4:])
    images = [inside(root, row["image"], place) for place, row in placed]
    cameras = [camera or _camera(row, place) for place, row in placed]
    keys = [(c, image.parent) for c, image in zip(cameras, images, strict=True)]
    fitted = {key: fit_camera(key[0], image) for key, image in find_examples(keys, images).items()}
    frames = []
    for (place, row), image, key, pose in zip(placed, images, keys, poses, strict=True):
        depth = row.get("depth")
        frames.append(
            Frame(
                name=image.relative_to(root).as_posix(),
                image_path=image,
                pose=pose,
                intrinsics=fitted[key],
                sequence=row.get("sequence") or sequence_of(image, root),
                split=parse_split(row, place),
                depth_path=inside(root, depth, place) if depth else None,
            )
        )
    return require_unique(frames, path)


def looks_like_poses_csv(root: Path) -> bool:
    """Whether a folder has the table."""
    return (root / FILE).is_file()


def _check_columns(columns: list[str], where: str) -> None:
    known = [*REQUIRED, *OPTIONAL]
    absent = [name for name in known if name not in columns]
    for column in columns:
        near = difflib.get_close_matches(column.lower(), absent, n=1, cutoff=SIMILAR)
        if column not in known and near:
            raise DataError(
                f"{where}: unknown column {quote(column)}, did you mean {near[0]!r}? rename it"
            )
    required = [*REQUIRED, *(CAMERA_COLUMNS if set(CAMERA_COLUMNS) & set(columns) else ())]
    missing = [name for name in required if name not in columns]
    if missing:
        raise DataError(
            f"{where}: expected the columns {', '.join(required)}, found no {', '.join(missing)}; "
            "name them in the first line, separated by commas"
        )
    twice = [name for name in known if columns.count(name) > 1]
    if twice:
        raise DataError(f"{where}: expected each column once, found {twice[0]} twice; remove one")


def _camera(row: Row, where: str) -> Intrinsics:
    camera = parse_camera(row, where)
    if camera is None:
        raise DataError(
            f"{where}: expected the camera in the columns {', '.join(CAMERA_COLUMNS)}, found none; "
            f"add them or {GIVE_CAMERA}"
        )
    return camera
