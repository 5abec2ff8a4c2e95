"""Which frames train, which choose the epoch, which are touched once at the end."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from posenet.datasets.frame import Frame
from posenet.errors import UsageError, suggest

# Neighbouring frames of a video are near copies. These many between training and validation are
# left out, so that validation is not a memory test.
AUTO_TAIL, AUTO_GAP = 0.15, 10
AUTO_TEST_TAIL = 0.2
SHORTEST_CUT = 5  # frames of a sequence that the automatic rules cut
_EXPECTED = "auto, none, sequences:NAME,NAME, tail:FRACTION,gap:FRAMES or random:FRACTION"


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
        rule = f"tail:{AUTO_TEST_TAIL},gap:auto" if test == "auto" else test
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
        rule = f"sequences:{sequences[-1]}" if several else f"tail:{AUTO_TAIL},gap:auto"
    chosen, left_out = _choose(frames, train, rule, "data.validation")
    kept = [i for i in train if i not in chosen and i not in left_out]
    if digests is not None:
        kept = [i for i in kept if not _repeats(frames, digests, i)]
    if not kept:
        raise UsageError(
            f"data.validation: {validation!r} leaves no frame to train on; "
            "use a smaller tail or gap, or --data.validation none"
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
    elif kind == "tail":
        fraction, gap = _parse_tail(rest, setting)
        for name in sequences:
            members = [i for i in candidates if frames[i].sequence == name]
            if gap is None and len(members) < SHORTEST_CUT:
                continue
            start = len(members) - max(1, round(fraction * len(members)))
            chosen.update(members[start:])
            near = min(AUTO_GAP, len(members) // 10) if gap is None else gap
            left_out.update(members[max(0, start - near) : start])
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


def _parse_tail(text: str, setting: str) -> tuple[float, int | None]:
    """Fraction and gap; None for a gap by the length of each sequence."""
    fraction_text, _, gap_text = text.partition(",gap:")
    try:
        fraction = float(fraction_text)
        gap = None if gap_text == "auto" else int(gap_text or AUTO_GAP)
    except ValueError:
        fraction, gap = -1.0, -1
    if not 0.0 < fraction < 1.0 or (gap is not None and gap < 0):
        raise UsageError(
            f"{setting}: expected tail:FRACTION,gap:FRAMES such as tail:0.2,gap:10, "
            f"found 'tail:{text}'"
        )
    return fraction, gap


def _parse_share(text: str, setting: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 < share < 1.0:
        raise UsageError(f"{setting}: expected random:FRACTION such as random:0.2, found {text!r}")
    return share
