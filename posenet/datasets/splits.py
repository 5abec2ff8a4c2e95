"""Which frames train, which choose the epoch, which are touched once at the end."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from posenet.datasets.frame import Frame
from posenet.errors import UsageError, suggest

# Neighbouring frames of a video are near copies. These many between training and validation are
# left out, so that validation is not a memory test.
AUTO_GAP = 10
AUTO_VALIDATION, AUTO_TEST = 0.15, 0.2  # shares of the frames
SHORTEST_CUT = 5  # frames of a sequence that the automatic rules cut
# Blocks of a sequence by its length: each has so many frames to stand among, up to so many blocks.
FRAMES_A_BLOCK, MOST_BLOCKS = 20, 4
_TAIL = "tail:FRACTION,gap:FRAMES"
_BLOCKS = "blocks:FRACTION,count:NUMBER,gap:FRAMES"
_EXPECTED = f"auto, none, sequences:NAME,NAME, {_TAIL}, {_BLOCKS} or random:FRACTION"


class Split(NamedTuple):
    """Indices into a dataset's frames."""

    train: list[int]
    validation: list[int]
    test: list[int]


def split_frames(
    frames: Sequence[Frame],
    validation: str,
    digests: Sequence[str] | None = None,
    test: str = "auto",
    usable: Collection[int] | None = None,
) -> Split:
    """Split a dataset; validation frames always come from its training sequences.

    Args:
        frames: All frames, in order within each sequence.
        validation: The rule of validation, see :class:`posenet.config.DataConfig`.
        digests: Digests of the image files; given, a training frame whose image is that of the
            frame before (its label is then late) is dropped.
        test: The rule of testing, likewise.
        usable: Frames that may be used; all when omitted.

    Raises:
        UsageError: A rule is malformed, names an unknown sequence or leaves no frames.
    """
    everything = list(range(len(frames)))
    own = any(frame.split is not None for frame in frames)
    if test == "auto" and own:
        tested = [i for i in everything if frames[i].split == "test"]
        train = [i for i in everything if frames[i].split == "train"]
        if not train:
            raise UsageError(
                "data.split: the dataset gives no frame to train on; choose the test frames with "
                "--data.split, such as tail:0.2,gap:10"
            )
    else:
        rule = f"tail:{AUTO_TEST},gap:auto" if test == "auto" else test
        chosen, left_out = _choose(frames, everything, rule, "data.split")
        tested = sorted(chosen)
        train = [i for i in everything if i not in chosen and i not in left_out]
        if not train:
            raise UsageError(
                f"data.split: {test!r} leaves no frame to train on; use a smaller share"
            )
    sequences = list(dict.fromkeys(frames[i].sequence for i in train))
    rule = validation
    if validation == "auto":
        # Sequences cut by the rule of testing all go on in the test frames.
        whole = [s for s in sequences if not any(frames[i].sequence == s for i in tested)]
        several = len(sequences) > 1 and sequences[-1] in whole
        # Blocks, not a tail: where the camera goes around a thing, the tail shows a side that no
        # training frame does, and says little of what training can teach.
        rule = f"sequences:{sequences[-1]}" if several else f"blocks:{AUTO_VALIDATION}"
    chosen, left_out = _choose(frames, train, rule, "data.validation")
    kept = [i for i in train if i not in chosen and i not in left_out]
    if digests is not None:
        kept = [i for i in kept if not _repeats(frames, digests, i)]
    if not kept:
        raise UsageError(
            f"data.validation: {validation!r} leaves no frame to train on; "
            "use a smaller share or gap, or --data.validation none"
        )
    if usable is not None:  # only now: a broken image must not move others to another part
        kept, tested = ([i for i in part if i in usable] for part in (kept, tested))
        chosen &= set(usable)
    return Split(kept, sorted(chosen), tested)


def _choose(
    frames: Sequence[Frame], candidates: list[int], rule: str, setting: str
) -> tuple[set[int], set[int]]:
    """Frames that a rule chooses among some, and those that it leaves out beside them."""
    sequences = list(dict.fromkeys(frames[i].sequence for i in candidates))
    kind, _, rest = rule.partition(":")
    chosen: set[int] = set()
    left_out: set[int] = set()
    if kind == "sequences":
        for name in rest.split(","):
            if name not in sequences:
                kind = "training sequence" if setting == "data.validation" else "sequence"
                raise UsageError(
                    f"{setting}: {name!r} is no {kind}"
                    f"{suggest(name, sequences)}; known: {', '.join(sequences)}"
                )
            chosen.update(i for i in candidates if frames[i].sequence == name)
    elif kind in ("tail", "blocks"):
        parse, cut = (_parse_tail, _tail) if kind == "tail" else (_parse_blocks, _blocks)
        settings = parse(rest, setting)
        for name in sequences:
            members = [i for i in candidates if frames[i].sequence == name]
            if settings.gap is None and len(members) < SHORTEST_CUT:
                continue
            inside, beside = cut(len(members), settings)
            chosen.update(members[i] for i in inside)
            left_out.update(members[i] for i in beside)
        if not chosen:
            raise UsageError(
                f"{setting}: every sequence has fewer than {SHORTEST_CUT} frames, too few to cut; "
                f"choose with --{setting} sequences:NAME,NAME or random:0.2"
            )
    elif kind == "random":
        fraction = _parse_share(rest, setting)
        order = np.random.default_rng(0).permutation(candidates)
        chosen.update(order[: max(1, round(fraction * len(order)))].tolist())
    elif rule != "none":
        raise UsageError(f"{setting}: expected {_EXPECTED}, found {rule!r}")
    return chosen, left_out


def _repeats(frames: Sequence[Frame], digests: Sequence[str], index: int) -> bool:
    return (
        index > 0
        and frames[index].sequence == frames[index - 1].sequence
        and digests[index] == digests[index - 1]
    )


class _Cut(NamedTuple):
    """How a rule cuts every sequence; None is decided by the length of each."""

    fraction: float
    gap: int | None
    count: int | None = None


def _tail(length: int, cut: _Cut) -> tuple[set[int], set[int]]:
    """Places in a sequence of its last frames, and of the gap before them."""
    start = length - max(1, round(cut.fraction * length))
    gap = min(AUTO_GAP, length // 10) if cut.gap is None else cut.gap
    return set(range(start, length)), set(range(max(0, start - gap), start))


def _blocks(length: int, cut: _Cut) -> tuple[set[int], set[int]]:
    """Places in a sequence of blocks spread evenly over it, and of the gaps on both their sides."""
    size = max(1, round(cut.fraction * length))
    count = min(max(length // FRAMES_A_BLOCK, 1), MOST_BLOCKS) if cut.count is None else cut.count
    count = min(count, size)
    # The tenth that is left out before a tail, shared among all sides of all blocks.
    gap = min(AUTO_GAP, -(-(length // 10) // (2 * count))) if cut.gap is None else cut.gap
    chosen: set[int] = set()
    left_out: set[int] = set()
    for block in range(count):
        own = size * (block + 1) // count - size * block // count
        # In the middle of one of as many equal parts of the sequence.
        start = (length * (2 * block + 1) - own * count) // (2 * count)
        chosen.update(range(start, start + own))
        left_out.update(range(max(0, start - gap), min(length, start + own + gap)))
    return chosen, left_out - chosen


def _parse_tail(text: str, setting: str) -> _Cut:
    fraction_text, _, gap_text = text.partition(",gap:")
    try:
        cut = _Cut(float(fraction_text), None if gap_text == "auto" else int(gap_text or AUTO_GAP))
    except ValueError:
        cut = _Cut(-1.0, -1)
    if not 0.0 < cut.fraction < 1.0 or (cut.gap is not None and cut.gap < 0):
        raise UsageError(
            f"{setting}: expected {_TAIL} such as tail:0.2,gap:10, found 'tail:{text}'"
        )
    return cut


def _parse_blocks(text: str, setting: str) -> _Cut:
    fraction, *named = text.split(",")
    try:
        pairs = [word.split(":") for word in named]
        values = {name: int(number) for name, number in pairs}
        cut = _Cut(float(fraction), values.get("gap"), values.get("count"))
    except ValueError:
        cut, values = _Cut(-1.0, None), {}
    known = len(values) == len(named) and values.keys() <= {"count", "gap"}
    sensible = values.get("gap", 0) >= 0 and values.get("count", 1) >= 1
    if not (0.0 < cut.fraction < 1.0 and known and sensible):
        raise UsageError(
            f"{setting}: expected {_BLOCKS} such as blocks:0.15,count:4,gap:5 (count and gap by "
            f"the length of each sequence when left out), found 'blocks:{text}'"
        )
    return cut


def _parse_share(text: str, setting: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 < share < 1.0:
        raise UsageError(f"{setting}: expected random:FRACTION such as random:0.2, found {text!r}")
    return share
