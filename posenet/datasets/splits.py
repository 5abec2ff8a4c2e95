"""Which frames train, which choose the epoch, which are touched once at the end."""

from collections.abc import Sequence
from typing import NamedTuple

from posenet.datasets.frame import Frame
from posenet.errors import UsageError, suggest

# Neighbouring frames of a video are near copies. These many between training and validation are
# left out, so that validation is not a memory test.
AUTO_TAIL, AUTO_GAP = 0.15, 10
_EXPECTED = "auto, none, sequences:NAME,NAME or tail:FRACTION,gap:FRAMES"


class Split(NamedTuple):
    """Indices into a dataset's frames."""

    train: list[int]
    validation: list[int]
    test: list[int]


def split_frames(
    frames: Sequence[Frame], validation: str, digests: Sequence[str] | None = None
) -> Split:
    """Split a dataset; validation frames always come from its training sequences.

    Args:
        frames: All frames, in order within each sequence.
        validation: The rule, see :class:`posenet.config.DataConfig`.
        digests: Digests of the image files; given, a training frame whose image is that of the
            frame before (its label is then late) is dropped.

    Raises:
        UsageError: The rule is malformed, names an unknown sequence or leaves no frames.
    """
    test = [i for i, frame in enumerate(frames) if frame.split == "test"]
    train = [i for i, frame in enumerate(frames) if frame.split == "train"]
    sequences = list(dict.fromkeys(frames[i].sequence for i in train))
    chosen: set[int] = set()
    left_out: set[int] = set()
    kind, _, rest = validation.partition(":")
    if validation == "auto":
        if len(sequences) > 1:
            kind, rest = "sequences", sequences[-1]
        else:
            kind, rest = "tail", f"{AUTO_TAIL},gap:{min(AUTO_GAP, len(train) // 10)}"
    if kind == "sequences":
        for name in rest.split(","):
            if name not in sequences:
                raise UsageError(
                    f"data.validation: {name!r} is no training sequence"
                    f"{suggest(name, sequences)}; known: {', '.join(sequences)}"
                )
            chosen.update(i for i in train if frames[i].sequence == name)
    elif kind == "tail":
        fraction, gap = _parse_tail(rest)
        for name in sequences:
            members = [i for i in train if frames[i].sequence == name]
            start = len(members) - max(1, round(fraction * len(members)))
            chosen.update(members[start:])
            left_out.update(members[max(0, start - gap) : start])
    elif validation != "none":
        raise UsageError(f"data.validation: expected {_EXPECTED}, found {validation!r}")
    kept = [i for i in train if i not in chosen and i not in left_out]
    if digests is not None:
        kept = [i for i in kept if not _repeats(frames, digests, i)]
    if not kept:
        raise UsageError(
            f"data.validation: {validation!r} leaves no frame to train on; "
            "use a smaller tail or gap, or --data.validation none"
        )
    return Split(kept, sorted(chosen), test)


def _repeats(frames: Sequence[Frame], digests: Sequence[str], index: int) -> bool:
    return (
        index > 0
        and frames[index].sequence == frames[index - 1].sequence
        and digests[index] == digests[index - 1]
    )


def _parse_tail(text: str) -> tuple[float, int]:
    fraction_text, _, gap_text = text.partition(",gap:")
    try:
        fraction, gap = float(fraction_text), int(gap_text or AUTO_GAP)
    except ValueError:
        fraction, gap = -1.0, -1
    if not 0.0 < fraction < 1.0 or gap < 0:
        raise UsageError(
            "data.validation: expected tail:FRACTION,gap:FRAMES such as tail:0.2,gap:10, "
            f"found 'tail:{text}'"
        )
    return fraction, gap
