"""What may have gone wrong with the poses of a whole dataset, each as the way to undo it.

What can be told from images alone, that is from *relative* poses ``x_j = R_ij x_i + t_ij``:

- Camera axes. Labels whose camera axes are permuted or negated by P have relative poses
  ``(P^T R_ij P, P^T t_ij)``: told apart as soon as the cameras turn about more than one axis, or
  turn and move. P of determinant -1 is a mirrored image or a left-handed world.
- Inverted poses: ``R_i R_j^T`` is seen about the world's axes instead of the camera's.
- The rotation or the position alone inverted, world axes of positions and rotations that differ,
  quaternions read in the wrong order: each bends relative poses in its own way.
- *Not*: a rotated or moved world (harmless), a scale (depth tells), and a world of which positions
  *and* rotations are mirrored together: its matrices have determinant -1, which is checked as such.

All of these keep the *angle* of relative rotations: conjugation does, and quaternions read in
another order are turned by an orthogonal 4x4 matrix, which keeps their dot products. Labels that
belong to other images do not keep it. That is how the two kinds of fault are told apart.
"""

from collections.abc import Callable
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from posenet.geometry import rotation_from_quaternion, rotation_to_quaternion

Array = NDArray[np.float64]
Poses = tuple[Array, Array]  # Rotations (N, 3, 3) and centres (N, 3), camera-to-world.

FLIP_YZ = np.diag((1.0, -1.0, -1.0))
_DIRECTIONS = (("right", "left"), ("down", "up"), ("forward", "back"))
_AXES = "xyz"


class Hypothesis(NamedTuple):
    """One thing that may be wrong with all poses.

    Attributes:
        code: Of the finding.
        what: Ends the sentence "the poses look like ...".
        cure: What to do about it.
        undo: From the poses as given to those that are right if this is what is wrong.
        common: Whether people do this every day; the others must fit clearly better to be named.
    """

    code: str
    what: str
    cure: str
    undo: Callable[[Array, Array], Poses]
    common: bool


def invert(rotations: Array, centers: Array) -> Poses:
    """World-to-camera from camera-to-world, and back."""
    back = rotations.swapaxes(1, 2)
    return back, -np.einsum("nab,nb->na", back, centers)


def invert_rotations(rotations: Array, centers: Array) -> Poses:
    """Transposed rotations at the same positions."""
    return rotations.swapaxes(1, 2), centers


def invert_positions(rotations: Array, centers: Array) -> Poses:
    """Positions that were ``-R^T c``, the translation of world-to-camera."""
    return rotations, -np.einsum("nab,nb->na", rotations, centers)


def turn_axes(axes: Array) -> Callable[[Array, Array], Poses]:
    """Other camera axes: the columns of ``axes`` are the true ones in terms of those given."""
    sign = np.sign(np.linalg.det(axes))
    # A mirrored camera in a mirrored world is a camera in a world: relative poses see P alone.
    return lambda rotations, centers: (sign * rotations @ axes, sign * centers)


def turn_positions(axes: Array) -> Callable[[Array, Array], Poses]:
    """Other world axes of the positions alone."""
    return lambda rotations, centers: (rotations, centers @ axes.T)


def reorder_quaternions(order: tuple[int, ...], direction: str) -> Callable[[Array, Array], Poses]:
    """Quaternions whose entries were read in another order.

    Args:
        order: Where each of w, x, y, z is found in the quaternion as read.
        direction: ``camera_to_world``; ``world_to_camera`` with its translation; or ``mixed``, a
            world-to-camera rotation beside a camera centre.
    """

    def undo(rotations: Array, centers: Array) -> Poses:
        if direction == "camera_to_world":
            return _reorder(rotations, order), centers
        back, shift = invert(rotations, centers)
        right = _reorder(back, order)
        if direction == "mixed":
            return right.swapaxes(1, 2), centers
        return invert(right, shift)

    return undo


def _reorder(rotations: Array, order: tuple[int, ...]) -> Array:
    quaternions = rotation_to_quaternion(torch.from_numpy(np.ascontiguousarray(rotations)))
    return rotation_from_quaternion(quaternions[:, list(order)]).numpy()


def _chain(first: Callable[[Array, Array], Poses], second: Callable[[Array, Array], Poses]):
    return lambda rotations, centers: second(*first(rotations, centers))


def signed_permutations() -> list[Array]:
    """The 48 ways to permute and negate three axes, the identity first, (3, 3) each."""
    return [
        np.array(signs)[None, :] * np.eye(3)[:, list(order)]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]


def describe_axes(axes: Array) -> str:
    """Which way the camera axes of labels point that ``turn_axes(axes)`` puts right."""
    # Row k holds the given axis k in terms of the true right, down and forward.
    words = []
    for name, row in zip(_AXES, axes, strict=True):
        true = int(np.abs(row).argmax())
        words.append(f"{name} {_DIRECTIONS[true][0 if row[true] > 0 else 1]}")
    return ", ".join(words)


def _inversions() -> list[Hypothesis]:
    return [
        Hypothesis(
            "inverted_poses",
            "world-to-camera given as camera-to-world",
            "invert every 4x4 matrix, or name the format whose direction it is with --data.format",
            invert,
            True,
        ),
        Hypothesis(
            "inverted_poses",
            "camera centres beside world-to-camera rotations (transposed ones)",
            "transpose the rotations (conjugate the quaternions) and leave the positions alone",
            invert_rotations,
            True,
        ),
        Hypothesis(
            "inverted_poses",
            "world-to-camera translations beside camera-to-world rotations",
            "replace each translation t by the camera centre -R t",
            invert_positions,
            True,
        ),
    ]


def _quaternions() -> list[Hypothesis]:
    orders = (((3, 0, 1, 2), "xyzw read as wxyz"), ((1, 2, 3, 0), "wxyz read as xyzw"))
    return [
        Hypothesis(
            "quaternion_order",
            f"{direction.replace('_', '-')} quaternions {what}",
            "write the quaternions in the order that the format demands (docs/conventions.md)",
            reorder_quaternions(order, direction),
            True,
        )
        for order, what in orders
        for direction in ("camera_to_world", "world_to_camera", "mixed")
    ]


def _camera_axes(axes: Array, before: Hypothesis | None) -> Hypothesis:
    words = describe_axes(axes)
    if np.array_equal(axes, FLIP_YZ):
        code, what = "opengl_axes", f"OpenGL camera axes ({words})"
        cure = "negate the second and third column of every camera-to-world rotation"
    elif np.linalg.det(axes) < 0:
        code, what = "mirrored_axis", f"a mirrored camera or world (camera {words})"
        cure = "undo the flip: of the images, or of one axis of a left-handed world"
    else:
        code, what = "camera_axes", f"camera axes {words}"
        cure = "turn the camera axes to x right, y down, z forward (or the images, if they are on"
        cure += " their side)"
    common = int((np.diag(axes) == 1.0).sum()) >= 1 and np.abs(np.diag(axes)).all()
    if before is None:
        return Hypothesis(code, what, cure, turn_axes(axes), bool(common))
    undo = _chain(before.undo, turn_axes(axes))
    what = f"{before.what}, and {what}"
    return Hypothesis(before.code, what, f"{before.cure}; then {cure}", undo, False)


def _positions(axes: Array) -> Hypothesis:
    parts = []
    for name, row in zip(_AXES, axes, strict=True):
        source = int(np.abs(row).argmax())
        parts.append(f"{name} = {'-' if row[source] < 0 else ''}{_AXES[source]}")
    words = ", ".join(part for part in parts if part not in ("x = x", "y = y", "z = z"))
    mirrored = np.linalg.det(axes) < 0
    return Hypothesis(
        "mirrored_axis" if mirrored else "world_axes",
        f"positions in other world axes than the rotations ({words})",
        f"put {words} in the positions, or turn the world axes of the rotations likewise",
        turn_positions(axes),
        bool(np.abs(np.diag(axes)).all()),
    )


def _table() -> list[Hypothesis]:
    axes = [a for a in signed_permutations() if not np.array_equal(a, np.eye(3))]
    inversions = _inversions()
    # Minus the identity as camera axes is minus the identity as axes of the positions.
    cameras = [_camera_axes(a, None) for a in axes if not np.array_equal(a, -np.eye(3))]
    positions = [_positions(a) for a in axes]
    both = [_camera_axes(a, inversion) for inversion in inversions[:2] for a in axes]
    return [*inversions, *cameras, *_quaternions(), *positions, *both]


HYPOTHESES: list[Hypothesis] = _table()
