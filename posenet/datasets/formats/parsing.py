"""What the formats share: text, numbers, paths, poses and cameras that strangers wrote.

Each function refuses what it cannot use with a one-line ``DataError``. ``where`` is the file, with
a line where there is one, that such a line names.
"""

import math
import re
import reprlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from posenet.datasets.frame import Frame
from posenet.datasets.orientation import size_for
from posenet.errors import DataError
from posenet.geometry import (
    Distortion,
    Intrinsics,
    Pose,
    project_to_rotation,
    rotation_from_quaternion,
)

Array = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

# A rotation further than this from SO(3) (Frobenius norm) is no rotation with noise. The worst
# label of the original 7-Scenes is at about 0.05.
MAX_ROTATION_DEFECT = 0.2
# Quaternions are stored with four decimals or more; this far from unit length is something else.
MAX_LENGTH_DEFECT = 1e-3
MAX_SIDE = 1_000_000  # pixels; more is a corrupt file
MAX_NAME, MAX_PATH = 255, 2048  # bytes; longer ones fail on some or all file systems
ONE_SEQUENCE = "all"  # the sequence of images that no folder tells apart
GIVE_CAMERA = 'give it with --data.intrinsics "[fx, fy, cx, cy, width, height]"'
COEFFICIENTS = {
    "radial_tangential": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "fisheye": ("k1", "k2", "k3", "k4"),
}
# Control characters, line ends and halves of characters: no name that a message can tell.
UNWRITABLE = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


def read_text(path: Path, what: str) -> str:
    """The text of a file, its byte order mark removed and its line ends made one.

    Args:
        path: The file.
        what: What it holds, for the message when it is missing.

    Raises:
        DataError: There is no such file, or its bytes are no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{path}: expected {what}, found no file that can be read ({error.strerror}); "
            "give the folder that holds it with --data.root"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected {what} as UTF-8 text, found byte {error.object[error.start]:#04x} "
            f"at {error.start}; save the file as UTF-8 text, or download it again"
        ) from error


def read_lines(path: Path, what: str) -> list[tuple[str, str]]:
    """The lines of a file that say something, each with where it stands, such as ``a.txt:3``.

    Blank lines and those that start with ``#`` are left out.
    """
    lines = [line.strip() for line in read_text(path, what).split("\n")]
    return [
        (f"{path}:{number}", line)
        for number, line in enumerate(lines, start=1)
        if line and not line.startswith("#")
    ]


def parse_numbers(
    words: Sequence[str], names: str, where: str, *, finite: bool = True
) -> list[float]:
    """Numbers, one for each of the ``names`` that an error tells (``"tx ty tz"``).

    Only finite ones, unless ``finite`` is False.
    """
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    refused = finite and not all(map(math.isfinite, numbers))
    if len(numbers) != len(names.split()) or refused:
        raise DataError(
            f"{where}: expected {len(names.split())} numbers ({names}), found "
            f"{quote(' '.join(words))}; correct the line"
        )
    return numbers


def quote(value: object) -> str:
    """What was found, on one line and no longer than a message bears."""
    return _REPR.repr(value)


def inside(root: Path, name: str, where: str) -> Path:
    """The file that a dataset calls ``name``, which must lie below ``root``.

    Backslashes are separators, as datasets come from Windows too. What ``..`` leaves is decided by
    the names alone: a symbolic link within the dataset may point wherever its owner wants.

    Raises:
        DataError: The name is absolute, leaves the root, or is no name of a file.
    """
    parts: list[str] = []
    for part in name.replace("\\", "/").split("/"):
        if part == "..":
            if not parts:
                break
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    else:
        lengths = [len(part.encode("utf-8", "replace")) for part in parts]
        fits = max(lengths, default=0) <= MAX_NAME and sum(lengths) <= MAX_PATH
        if parts and fits and not UNWRITABLE.search(name) and not is_absolute(name):
            return root.joinpath(*parts)
    raise DataError(
        f"{where}: expected the path of a file inside {root}, found {quote(name)}; "
        "write it relative to this folder, and copy the file there"
    )


def is_absolute(name: str) -> bool:
    """Whether a path starts at the root of a file system or names a drive."""
    return re.match(r"[/\\]|[A-Za-z]:", name) is not None


def natural_order(name: str) -> list[int | str]:
    """A key that sorts ``r_2`` before ``r_10``."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name))]


def sequence_of(path: Path, root: Path) -> str:
    """The folder of an image below the root, which tells recordings apart."""
    folder = path.relative_to(root).parent.as_posix()
    return ONE_SEQUENCE if folder == "." else folder


def find_examples(keys: Iterable[Key], paths: Iterable[Path]) -> dict[Key, Path]:
    """For each key the first of its paths that is a file, or the first where none is."""
    found: dict[Key, Path] = {}
    absent: dict[Key, Path] = {}
    for key, path in zip(keys, paths, strict=True):
        if key not in found:
            (found if path.is_file() else absent).setdefault(key, path)
    return absent | found


def require_unique(frames: Sequence[Frame], source: Path) -> list[Frame]:
    """The frames, of which there must be one at least and no two of one name."""
    if not frames:
        raise DataError(f"{source}: expected posed images, found none; download it again")
    seen: set[str] = set()
    for frame in frames:
        if frame.name in seen:
            raise DataError(
                f"{source}: expected each image once, found {frame.name} twice; remove one of them"
            )
        seen.add(frame.name)
    return list(frames)


def poses_from_matrices(
    matrices: Array,
    where: Sequence[str],
    cure: str,
    *,
    scaled: bool = False,
    finite: bool = True,
) -> list[Pose]:
    """Poses of camera-to-world matrices, their rotation part projected to SO(3).

    Args:
        matrices: (N, 4, 4) or (N, 3, 4), in the camera axes of :class:`Pose`.
        where: Where each was found.
        cure: What to do about a bad one.
        scaled: Whether the rotation part may be a rotation times a positive number.
        finite: Whether a pose that is not finite is refused; else all of its numbers become NaN.

    Raises:
        DataError: One is not finite or its upper left 3x3 is no rotation.
    """
    if not finite:
        lost = ~np.isfinite(matrices).all(axis=(1, 2))
        known = np.where(lost[:, None, None], np.eye(4)[: matrices.shape[1]], matrices)
        poses = poses_from_matrices(known, where, cure, scaled=scaled)
        unknown = Pose(torch.full((3, 3), torch.nan).double(), torch.full((3,), torch.nan).double())
        return [unknown if gone else pose for gone, pose in zip(lost, poses, strict=True)]
    bottom = matrices[:, 3:]
    rotations = matrices[:, :3, :3]
    with np.errstate(all="ignore"):  # what overflows here is refused below
        determinant = np.linalg.det(rotations)
        if scaled:
            rotations = rotations / np.cbrt(determinant)[:, None, None]
        gram = rotations.swapaxes(1, 2) @ rotations
        defect = np.linalg.norm(gram - np.eye(3), axis=(1, 2))
    known = np.isfinite(matrices).all(axis=(1, 2))
    proper = (defect <= MAX_ROTATION_DEFECT) & (determinant > 0)
    ended = (np.abs(bottom - (0.0, 0.0, 0.0, 1.0)) <= 1e-6).all(axis=(1, 2))
    for i in np.flatnonzero(~(known & proper & ended))[:1]:
        if not known[i]:
            problem = "the pose is not finite (tracking was lost?)"
        elif not proper[i]:
            problem = (
                "expected a rotation in the upper left 3x3, found a matrix with determinant "
                f"{determinant[i]:.3f} and |RtR - I| = {defect[i]:.3f}"
            )
        else:
            problem = f"expected the last row 0 0 0 1, found {bottom[i, 0].tolist()}"
        raise DataError(f"{where[i]}: {problem}; {cure}")
    return list_poses(project_to_rotation(torch.from_numpy(rotations)), matrices[:, :3, 3])


def rotations_from_quaternions(
    quaternions: Array, where: Sequence[str], *, finite: bool = True
) -> Tensor:
    """Rotations (N, 3, 3) of quaternions wxyz (N, 4), of unit length but for rounding.

    One that is not finite is refused, or where ``finite`` is False gives a rotation of NaN.

    Raises:
        DataError: One is not.
    """
    with np.errstate(over="ignore"):
        length = np.linalg.norm(quaternions, axis=1)
    lost = np.zeros(len(length), dtype=bool) if finite else ~np.isfinite(quaternions).all(axis=1)
    for i in np.flatnonzero(~(np.abs(length - 1.0) <= MAX_LENGTH_DEFECT) & ~lost)[:1]:
        raise DataError(
            f"{where[i]}: expected a quaternion of length 1, found length {length[i]:.6g}; divide "
            "it by its length, or check the order of the columns"
        )
    return rotation_from_quaternion(torch.from_numpy(np.where(lost[:, None], np.nan, quaternions)))


def list_poses(rotations: Tensor, centers: Array) -> list[Pose]:
    """One pose a camera, from rotations (N, 3, 3) and centres (N, 3)."""
    # Cloned: a row of a tensor is pickled with all of the tensor.
    return [
        Pose(rotation.clone(), center.clone())
        for rotation, center in zip(rotations, torch.from_numpy(centers), strict=True)
    ]


def make_intrinsics(numbers: Sequence[float], where: str) -> Intrinsics:
    """A camera from focal_x, focal_y, center_x, center_y, width, height, once they make sense."""
    focal_x, focal_y, center_x, center_y, width, height = numbers
    sides_fit = all(1 <= side <= MAX_SIDE and side == int(side) for side in (width, height))
    if not (all(map(math.isfinite, numbers)) and sides_fit and min(focal_x, focal_y) > 0):
        raise DataError(
            f"{where}: expected positive focal lengths and whole numbers of pixels, found fx, fy, "
            f"cx, cy, width, height = {', '.join(f'{n:g}' for n in numbers)}; correct the camera"
        )
    return Intrinsics(focal_x, focal_y, center_x, center_y, int(width), int(height))


def make_distortion(model: str, named: Mapping[str, float]) -> Distortion | None:
    """The distortion of named coefficients, missing ones 0; None where it bends nothing."""
    coefficients = tuple(float(named.get(name, 0.0)) for name in COEFFICIENTS[model])
    if model == "radial_tangential" and not any(coefficients):
        return None
    return Distortion(model, coefficients)


def image_size(path: Path, camera: Intrinsics | None = None) -> tuple[int, int] | None:
    """Width and height of an image; None where there is no such file.

    Args:
        path: The image.
        camera: Its camera, which may show that its EXIF orientation counts; as stored when omitted.

    Raises:
        DataError: The file is no image.
    """
    if not path.is_file():
        return None
    try:
        with Image.open(path) as image:
            return size_for(image, camera)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({error}); download it again") from error


def fit_camera(camera: Intrinsics, path: Path) -> Intrinsics:
    """The camera at the size of an image on disk; as it is where the image is not there.

    Raises:
        DataError: The image has other proportions, or is none.
    """
    size = image_size(path, camera)
    if size is None:
        return camera
    width, height = size
    if not camera.has_proportions(width, height):
        raise DataError(
            f"{path}: expected an image with the proportions of the {camera.width}x{camera.height} "
            f"camera, found {width}x{height}; give the camera that took it with "
            '--data.intrinsics "[fx, fy, cx, cy, width, height]"'
        )
    return camera.resized(width, height)
