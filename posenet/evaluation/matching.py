"""Which prediction belongs to which true frame: by name, by timestamp, or by order."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from posenet.conversion import Trajectory
from posenet.datasets.images import IMAGE_SUFFIXES
from posenet.errors import DataError

# evo's own default, so that both take the same poses for one.
TIME_TOLERANCE_S = 0.01

# frame-000003, frame-000003.color.png and frame-000003.pose.txt are one frame.
_ENDING = re.compile(
    rf"(?:\.color|\.pose)?(?:{'|'.join(map(re.escape, sorted(IMAGE_SUFFIXES)))}|\.txt)?$",
    re.IGNORECASE,
)


class PoseSet(NamedTuple):
    """Poses from somewhere, and how they can be told apart.

    Attributes:
        source: Where they are from, for messages.
        trajectory: The poses.
        named: Whether their names are names, or only count them.
    """

    source: str
    trajectory: Trajectory
    named: bool

    @property
    def labels(self) -> list[str]:
        """What people know each pose by."""
        if self.named or self.trajectory.timestamps is None:
            return self.trajectory.names
        return list(map(repr, self.trajectory.timestamps))


class Matches(NamedTuple):
    """Predictions by true frame.

    Attributes:
        by: What they were matched by.
        prediction: The index of the prediction of a true frame, by that of the frame.
        unknown: Indices of predictions that belong to no true frame.
    """

    by: Literal["name", "timestamp", "order"]
    prediction: dict[int, int]
    unknown: list[int]


def match(predictions: PoseSet, truth: PoseSet, tolerance_s: float = TIME_TOLERANCE_S) -> Matches:
    """Match predictions with the ground truth by the surest of what both know.

    Args:
        predictions: What a method made.
        truth: The frames to measure it on.
        tolerance_s: Seconds that the timestamps of one frame may differ by.

    Raises:
        DataError: They have nothing in common, or it is not clear which frame is meant.
    """
    ours, theirs = predictions.trajectory, truth.trajectory
    same_names = len(ours.names) == len(theirs.names) and set(ours.names) == set(theirs.names)
    neither = not (predictions.named or truth.named)
    timed = ours.timestamps is not None and theirs.timestamps is not None
    if (predictions.named and truth.named) or (same_names and not (neither and timed)):
        frame_of = match_names(ours.names, _aliases(theirs), predictions.source, truth.source)
        # Two files without names count alike: that is their order.
        by = "order" if neither else "name"
    elif timed:
        frame_of = _match_timed(ours, theirs, tolerance_s, predictions.source, truth.source)
        by = "timestamp"
    elif neither and _same_lengths(ours, theirs):
        frame_of, by = {i: i for i in range(len(ours.names))}, "order"
    else:
        raise DataError(_nothing_to_match_by(predictions, truth))
    if not frame_of:
        raise DataError(_nothing_matches(by, predictions, truth, tolerance_s))
    unknown = [i for i in range(len(ours.names)) if i not in frame_of]
    return Matches(by, {frame: i for i, frame in frame_of.items()}, unknown)


def match_names(
    predicted: Sequence[str],
    true: Sequence[Iterable[str]],
    predictions_source: str,
    truth_source: str,
) -> dict[int, int]:
    """True frames by prediction, both by index.

    Two names are of one frame when they are equal without the ending of an image, or when one is
    the end of the other (``frame-000003`` or ``/data/seq-06/frame-000003.color.png`` and
    ``seq-06/frame-000003``), or when one is the other with dashes for slashes.

    Args:
        predicted: Names of predictions.
        true: Of each true frame the names it goes by.
        predictions_source: Where predictions are from, for messages.
        truth_source: Where the truth is from.

    Raises:
        DataError: A name could be of two frames, or two predictions are of one.
    """
    index = _TrueNames(true)
    first_names = [next(iter(names)) for names in true]
    frame_of: dict[int, int] = {}
    taken: dict[int, int] = {}
    for i, name in enumerate(predicted):
        found = sorted(index.find(name))
        if len(found) > 1:
            one, other = (first_names[frame] for frame in found[:2])
            raise DataError(
                f"{predictions_source}: expected names that tell one frame, found {name!r}, which "
                f"can be {one!r} or {other!r} of {truth_source}; write it with its folder"
            )
        for frame in found:
            if frame in taken:
                raise DataError(
                    f"{predictions_source}: expected one pose a frame, found {name!r} and "
                    f"{predicted[taken[frame]]!r}, which both are {first_names[frame]!r} of "
                    f"{truth_source}; remove one, or write them with their folders"
                )
            frame_of[i] = frame
            taken[frame] = i
    return frame_of


def match_timestamps(
    predicted: Sequence[float], true: Sequence[float], tolerance_s: float
) -> dict[int, int]:
    """True frames by prediction, both by index: the nearest pairs first, each used once.

    Args:
        predicted: Seconds.
        true: Seconds.
        tolerance_s: A pair may differ by this much, itself included.

    Source: the association of the TUM RGB-D benchmark's tools.
    """
    order = sorted(range(len(true)), key=true.__getitem__)
    times = [true[i] for i in order]
    pairs = []
    for i, time in enumerate(predicted):
        place = bisect_left(times, time - tolerance_s)
        while place < len(times) and times[place] - time <= tolerance_s:
            pairs.append((abs(times[place] - time), i, order[place]))
            place += 1
    frame_of: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, frame in sorted(pairs):
        if i not in frame_of and frame not in taken:
            frame_of[i] = frame
            taken.add(frame)
    return frame_of


class _TrueNames:
    """True frames by all that they can be called."""

    def __init__(self, true: Sequence[Iterable[str]]) -> None:
        self.exact: dict[str, set[int]] = {}
        self.whole: dict[str, set[int]] = {}
        self.ends: dict[str, set[int]] = {}
        self.flat: dict[str, set[int]] = {}
        for frame, names in enumerate(true):
            for name in names:
                key = _key(name)
                self.exact.setdefault(name, set()).add(frame)
                self.whole.setdefault(key, set()).add(frame)
                self.flat.setdefault(key.replace("/", "-"), set()).add(frame)
                for end in _ends(key):
                    self.ends.setdefault(end, set()).add(frame)

    def find(self, name: str) -> set[int]:
        """The frames that a name can be of, by the surest rule that finds any."""
        key = _key(name)
        flat = key.replace("/", "-")
        looked_up: list[tuple[Mapping[str, set[int]], str]] = [
            (self.exact, name),
            (self.whole, key),
            (self.ends, key),
            *((self.whole, end) for end in _ends(key)),
            (self.flat, flat),
            *((self.flat, end) for end in _ends(key)),
            (self.ends, flat),
        ]
        return next((table[word] for table, word in looked_up if word in table), set())


def _aliases(truth: Trajectory) -> list[tuple[str, ...]]:
    if truth.images is None:
        return [(name,) for name in truth.names]
    return [(name, image.name) for name, image in zip(truth.names, truth.images, strict=True)]


def _key(name: str) -> str:
    """A name with one kind of slash, without the ending of an image and what leads to the root."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return _ENDING.sub("", "/".join(parts), count=1)


def _ends(key: str) -> Iterator[str]:
    """``b/c`` and ``c`` of ``a/b/c``."""
    parts = key.split("/")
    return ("/".join(parts[i:]) for i in range(1, len(parts)))


def _match_timed(
    ours: Trajectory,
    theirs: Trajectory,
    tolerance_s: float,
    predictions_source: str,
    truth_source: str,
) -> dict[int, int]:
    """By timestamps; recording by recording where both tell recordings apart."""
    ours_in, theirs_in = (_by_sequence(part.sequences) for part in (ours, theirs))
    if theirs_in.keys() & ours_in.keys():
        groups = [(ours_in[name], theirs_in[name]) for name in theirs_in if name in ours_in]
    else:
        groups = [(list(range(len(ours.names))), list(range(len(theirs.names))))]
        for part, source in ((ours, predictions_source), (theirs, truth_source)):
            _require_times_apart(part, tolerance_s, source)
    frame_of = {}
    for mine, its in groups:
        found = match_timestamps(
            [ours.timestamps[i] for i in mine], [theirs.timestamps[i] for i in its], tolerance_s
        )
        frame_of |= {mine[i]: its[frame] for i, frame in found.items()}
    return dict(sorted(frame_of.items()))


def _same_lengths(ours: Trajectory, theirs: Trajectory) -> bool:
    lengths = [[len(part) for part in _by_sequence(t.sequences).values()] for t in (ours, theirs)]
    if min(map(len, lengths)) > 1:  # else one of them does not tell recordings apart
        return lengths[0] == lengths[1]
    return len(ours.names) == len(theirs.names)


def _by_sequence(sequences: Sequence[str]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = {}
    for i, name in enumerate(sequences):
        members.setdefault(name, []).append(i)
    return members


def _require_times_apart(poses: Trajectory, tolerance_s: float, source: str) -> None:
    """Refuse recordings that a clock does not tell apart."""
    order = sorted(range(len(poses.names)), key=poses.timestamps.__getitem__)
    for one, other in pairwise(order):
        near = poses.timestamps[other] - poses.timestamps[one] <= 2 * tolerance_s
        if near and poses.sequences[one] != poses.sequences[other]:
            raise DataError(
                f"{source}: expected recordings at different times, found {poses.names[one]!r} and "
                f"{poses.names[other]!r} at the same; give predictions with names, or both sides "
                "as folders with a file a recording, named alike"
            )


def _nothing_to_match_by(predictions: PoseSet, truth: PoseSet) -> str:
    def knows(poses: PoseSet) -> str:
        parts = ["names"] if poses.named else []
        parts += ["timestamps"] if poses.trajectory.timestamps is not None else []
        return f"{len(poses.trajectory.names)} poses with {' and '.join(parts) or 'neither'}"

    return (
        f"{predictions.source}: expected names or timestamps that {truth.source} has too, found "
        f"{knows(predictions)} here and {knows(truth)} there; write predictions with the names of "
        "the frames (csv or visloc), or these, one a line, into a file beside it that ends in "
        ".names.txt"
    )


def _nothing_matches(by: str, predictions: PoseSet, truth: PoseSet, tolerance_s: float) -> str:
    ours, theirs = predictions.trajectory, truth.trajectory
    if by == "timestamp":
        return (
            f"{predictions.source}: expected timestamps within {tolerance_s:g} s of those of "
            f"{truth.source}, found none: {ours.timestamps[0]!r} here, {theirs.timestamps[0]!r} "
            "there; correct them, or give another --time-tolerance"
        )
    return (
        f"{predictions.source}: expected frames of {truth.source}, found none: {ours.names[0]!r} "
        f"here, {theirs.names[0]!r} there; write the names of the ground truth, with or without "
        "the ending of the image"
    )
