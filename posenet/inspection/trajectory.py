"""What the labels say by themselves: steps of each recording, and how near test is to training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from posenet.datasets.frame import Frame

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

CHUNK = 256  # Test frames compared with all training frames at a time.
# How far the way over a test frame may exceed the way between its two training neighbours.
DETOUR = 1.25
# A step of more than these many usual ones is a leap. Where usual steps are wider than this
# (radians: half a view), anything in a room lies between some two poses.
LONG_STEP, WIDE_STEP = 3.0, 0.6
# A step is judged by the median of these many around it.
WINDOW = 21


class Steps(NamedTuple):
    """From each frame to the next one of its sequence.

    Attributes:
        first: Index of the frame, (S,).
        second: Index of the next frame, (S,).
        distance: Between the camera centres, in the unit of the labels, (S,).
        angle: Between the rotations, radians, (S,).
    """

    first: Indices
    second: Indices
    distance: Array
    angle: Array


class Nearest(NamedTuple):
    """The training frame nearest to each test frame.

    Attributes:
        test: Indices of the test frames, (T,).
        train: Index of the nearest training frame of each, (T,).
        distance: Between the camera centres, in the unit of the labels, (T,).
        angle: Between the rotations, radians, (T,).
        between: Whether the test pose lies between two consecutive training poses of the one
            sequence that has most of the test sequence between its poses, (T,).
    """

    test: Indices
    train: Indices
    distance: Array
    angle: Array
    between: NDArray[np.bool_]


def sequences_of(
    frames: Sequence[Frame], kept: NDArray[np.bool_] | None = None
) -> dict[str, Indices]:
    """Indices of the frames of each sequence, in their order; only those kept."""
    members: dict[str, list[int]] = {}
    for index, frame in enumerate(frames):
        if kept is None or kept[index]:
            members.setdefault(frame.sequence, []).append(index)
    return {name: np.array(order, dtype=np.int64) for name, order in members.items()}


def angle_between(first: Array, second: Array) -> Array:
    """Angle between rotations (..., 3, 3), radians, from the chord: exact near 0."""
    chord = np.linalg.norm(first - second, axis=(-2, -1)) / np.sqrt(8.0)
    return 2.0 * np.arcsin(np.clip(chord, 0.0, 1.0))


def walk_steps(
    frames: Sequence[Frame], rotations: Array, centers: Array, finite: NDArray[np.bool_]
) -> Steps:
    """Steps along every sequence over its finite poses; none leads to another sequence."""
    orders = list(sequences_of(frames, finite).values())
    nothing = np.zeros(0, dtype=np.int64)
    first = np.concatenate([*(order[:-1] for order in orders), nothing])
    second = np.concatenate([*(order[1:] for order in orders), nothing])
    return Steps(
        first,
        second,
        np.linalg.norm(centers[second] - centers[first], axis=1),
        angle_between(rotations[first], rotations[second]),
    )


def local_median(frames: Sequence[Frame], steps: Steps, values: Array) -> Array:
    """Median of the nonzero values of the steps around each one in its sequence, (S,)."""
    names = np.array([frames[i].sequence for i in steps.first])
    medians = np.zeros(len(values))
    for name in dict.fromkeys(names.tolist()):
        mine = np.flatnonzero(names == name)
        part = values[mine]
        for place, index in enumerate(mine):
            low = max(0, min(place - WINDOW // 2, len(part) - WINDOW))
            window = part[low : low + WINDOW]
            moving = window[window > 1e-9]
            medians[index] = np.median(moving) if len(moving) else 0.0
    return medians


def nearest_training_poses(
    frames: Sequence[Frame],
    rotations: Array,
    centers: Array,
    finite: NDArray[np.bool_],
    radian: float,
) -> Nearest | None:
    """The training frame with the nearest pose, for each test frame.

    Args:
        frames: All frames.
        rotations: Their rotations, (N, 3, 3).
        centers: Their camera centres, (N, 3).
        finite: Whether a pose is one; the others are left out, (N,).
        radian: The distance that counts as much as a radian: that of what is seen.

    Returns:
        None without test or without training frames.
    """
    splits = np.where(finite, [frame.split or "" for frame in frames], "")
    test, train = np.flatnonzero(splits == "test"), np.flatnonzero(splits == "train")
    if not len(test) or not len(train):
        return None
    flat = rotations[train].reshape(len(train), 9)
    square = (centers[train] ** 2).sum(axis=1)
    chosen, between = [], []
    trained = np.array([frames[i].sequence for i in train])
    consecutive = trained[1:] == trained[:-1]
    owner = np.unique(trained[1:], return_inverse=True)[1]
    span = np.linalg.norm(np.diff(centers[train], axis=0), axis=1)
    turn = angle_between(rotations[train][1:], rotations[train][:-1])
    # Between the ends of a leap lies half the scene.
    step = turn + span / radian
    usual = np.median(step[consecutive]) if consecutive.any() else np.inf
    consecutive &= (step <= LONG_STEP * usual) & (usual < WIDE_STEP)
    for start in range(0, len(test), CHUNK):
        part = test[start : start + CHUNK]
        cosine = 0.5 * (rotations[part].reshape(len(part), 9) @ flat.T - 1.0)
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        squared = square + (centers[part] ** 2).sum(axis=1)[:, None]
        squared -= 2.0 * centers[part] @ centers[train].T
        distance = np.sqrt(np.maximum(squared, 0.0))
        chosen.append(train[(angle + distance / radian).argmin(axis=1)])
        beside = distance[:, 1:] + distance[:, :-1] <= DETOUR * span
        beside &= angle[:, 1:] + angle[:, :-1] <= DETOUR * turn
        between.append(_in_sequences(beside & consecutive, owner))
    nearest = np.concatenate(chosen)
    return Nearest(
        test,
        nearest,
        np.linalg.norm(centers[test] - centers[nearest], axis=1),
        angle_between(rotations[test], rotations[nearest]),
        _between_one_sequence(frames, test, np.concatenate(between)),
    )


def _in_sequences(beside: NDArray[np.bool_], owner: Indices) -> NDArray[np.bool_]:
    """Which training sequences (S) have a step that a test frame lies on, (T, S)."""
    count = int(owner.max(initial=-1)) + 1
    found = [beside[:, owner == k].any(axis=1) for k in range(count)]
    return np.stack(found, axis=1) if found else np.zeros((len(beside), 1), dtype=bool)


def _between_one_sequence(
    frames: Sequence[Frame], test: Indices, inside: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The column of ``inside`` (T, S) that has most of each test sequence, (T,).

    Frames taken out of a recording all lie within that one; walks that cross several do not.
    """
    names = np.array([frames[i].sequence for i in test])
    between = np.zeros(len(test), dtype=bool)
    for name in dict.fromkeys(names.tolist()):
        mine = names == name
        between[mine] = inside[mine, inside[mine].mean(axis=0).argmax()]
    return between


def adjacent_training_frames(frames: Sequence[Frame], reach: int) -> NDArray[np.bool_]:
    """Whether a frame has a training frame within ``reach`` places of it in its sequence, (N,)."""
    adjacent = np.zeros(len(frames), dtype=bool)
    for order in sequences_of(frames).values():
        train = np.array([frames[i].split == "train" for i in order])
        near = np.zeros(len(order), dtype=bool)
        for by in range(1, min(reach, len(order) - 1) + 1):
            near[by:] |= train[:-by]
            near[:-by] |= train[by:]
        adjacent[order] = near
    return adjacent
