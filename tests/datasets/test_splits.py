"""Splits: validation comes from training sequences, and test frames are never touched."""

from pathlib import Path

import numpy as np
import pytest
import torch

from posenet.datasets.frame import Frame
from posenet.datasets.splits import AUTO_GAP, AUTO_VALIDATION, split_frames
from posenet.errors import UsageError
from posenet.geometry import Intrinsics, Pose

POSE = Pose(torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))


def make_frames(*sequences):
    """Frames of (name, split, count) sequences, in this order."""
    return [
        Frame(f"{name}/{k}", Path(f"{name}/{k}"), POSE, Intrinsics(1, 1, 0, 0, 2, 2), name, split)
        for name, split, count in sequences
        for k in range(count)
    ]


# Indices: a 0-39, b 40-59, t 60-69, c 70-79.
FRAMES = make_frames(("a", "train", 40), ("b", "train", 20), ("t", "test", 10), ("c", "train", 10))
TEST = list(range(60, 70))
A, B, C = range(40), range(40, 60), range(70, 80)

RULES = {  # the rule: training and validation indices
    "auto": ([*A, *B], [*C]),
    "none": ([*A, *B, *C], []),
    "sequences:b": ([*A, *C], [*B]),
    "sequences:c,a": ([*B], [*A, *C]),
    "tail:0.5,gap:0": ([*A[:20], *B[:10], *C[:5]], [*A[20:], *B[10:], *C[5:]]),
    "tail:0.1,gap:4": ([*A[:32], *B[:14], *C[:5]], [*A[36:], *B[18:], *C[9:]]),
    "tail:0.2": ([*A[:22], *B[:6]], [*A[32:], *B[16:], *C[8:]]),  # the gap of 10 swallows c
    # Blocks stand in the middle of equal parts, here of 20, 10 and 5 frames.
    "blocks:0.2,count:2,gap:0": (
        [*A[:8], *A[12:28], *A[32:], *B[:4], *B[6:14], *B[16:], *C[:2], *C[3:7], *C[8:]],
        [*A[8:12], *A[28:32], *B[4:6], *B[14:16], *C[2:3], *C[7:8]],
    ),
    "blocks:0.2,count:2,gap:2": (
        [*A[:6], *A[14:26], *A[34:], *B[:2], *B[8:12], *B[18:], *C[5:5]],
        [*A[8:12], *A[28:32], *B[4:6], *B[14:16], *C[2:3], *C[7:8]],
    ),
    # By the length: two blocks of a, one of b and of c; gaps of 1 (a tenth, on two or four sides).
    "blocks:0.2": (
        [*A[:7], *A[13:27], *A[33:], *B[:7], *B[13:], *C[:3], *C[7:]],
        [*A[8:12], *A[28:32], *B[8:12], *C[4:6]],
    ),
    "blocks:0.1,gap:0": (
        [*A[:9], *A[11:29], *A[31:], *B[:9], *B[11:], *C[:4], *C[5:]],
        [*A[9:11], *A[29:31], *B[9:11], *C[4:5]],
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_chooses_these_frames(rule):
    train, validation = RULES[rule]
    assert split_frames(FRAMES, rule) == (train, validation, TEST)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("digests", [None, ["same"] * 80])
def test_no_frame_has_two_purposes_and_test_frames_only_test(rule, digests):
    split = split_frames(FRAMES, rule, digests)
    purposes = [*split.train, *split.validation, *split.test]
    assert len(purposes) == len(set(purposes))
    assert {FRAMES[i].split for i in (*split.train, *split.validation)} == {"train"}
    assert split.test == TEST


def test_auto_takes_blocks_of_a_single_sequence_behind_gaps():
    frames = make_frames(("t", "test", 5), ("a", "train", 1000))
    train, validation, test = split_frames(frames, "auto")
    starts = [i for i in validation if i - 1 not in validation]
    assert len(validation) == round(AUTO_VALIDATION * 1000)
    assert len(starts) == 4
    assert np.abs(np.diff(starts) - 250).max() <= 1
    away = np.abs(np.subtract.outer(validation, train)).min(axis=1)
    assert away.min() == AUTO_GAP + 1
    assert len(train) == 1000 - len(validation) - 4 * 2 * AUTO_GAP
    assert test == list(range(5))


@pytest.mark.parametrize("length", [5, 6, 9, 10, 19, 20, 37, 61, 83, 200, 777])
def test_automatic_blocks_fit_every_length(length):
    """What training loses to gaps is about a tenth, and no block touches an end or a neighbour."""
    train, validation, _ = split_frames(make_frames(("a", "train", length)), "auto")
    assert len(validation) == max(1, round(AUTO_VALIDATION * length))
    lost = length - len(train) - len(validation)
    assert lost <= max(0.15 * length, 2 * (length >= 10))
    assert (lost > 0) == (length >= 10)
    assert validation[0] > 0
    assert validation[-1] < length - 1
    blocks = 1 + int((np.diff(validation) > 1).sum())
    assert blocks == min(max(length // 20, 1), 4)


@pytest.mark.parametrize("length", [20, 61, 200])
def test_validation_of_a_circle_is_near_training_on_both_sides(length):
    """Around a thing: a tail is half a gap of 15 % of the circle away, a block a fraction of it."""
    frames = make_frames(("a", "train", length))
    farthest = {}
    for rule in ("tail:0.15,gap:auto", "auto"):
        train, validation, _ = split_frames(frames, rule)
        apart = np.abs(np.subtract.outer(validation, train))
        farthest[rule] = apart.min(axis=1).max() / length
    assert farthest["auto"] < 0.75 * farthest["tail:0.15,gap:auto"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("sequences:seq-01x", "'seq-01x' is no training sequence, did you mean 'seq-01'"),
        ("sequences:t", "'t' is no training sequence"),  # of a test sequence
        ("sequences:", "'' is no training sequence.*known: seq-01, seq-02"),
        ("sequences:seq-01,seq-02", "leaves no frame to train on"),
        ("sequence:seq-01", "expected auto, none, sequences:"),
        ("automatic", "expected auto, none, sequences:"),
        ("", "expected auto, none, sequences:"),
        ("none:", "expected auto, none, sequences:"),
        ("tail:", "expected tail:FRACTION,gap:FRAMES"),
        ("tail:0", "expected tail:FRACTION,gap:FRAMES"),
        ("tail:1.0", "expected tail:FRACTION,gap:FRAMES"),
        ("tail:-0.1", "expected tail:FRACTION,gap:FRAMES"),
        ("tail:nan", "expected tail:FRACTION,gap:FRAMES"),
        ("tail:0.2,gap:-1", "expected tail:FRACTION,gap:FRAMES"),
        ("tail:0.2,gap:1.5", "expected tail:FRACTION,gap:FRAMES"),
        ("tail:0.2,gab:3", "expected tail:FRACTION,gap:FRAMES"),
        ("tail:0.5,gap:99", "leaves no frame to train on"),
        ("blocks:", "expected blocks:FRACTION,count:NUMBER,gap:FRAMES such as blocks:0.15"),
        ("blocks:0", "expected blocks:FRACTION"),
        ("blocks:1", "expected blocks:FRACTION"),
        ("blocks:nan", "expected blocks:FRACTION"),
        ("blocks:3,0.2", "found 'blocks:3,0.2'"),
        ("blocks:0.2,count:0", "expected blocks:FRACTION"),
        ("blocks:0.2,count:1.5", "expected blocks:FRACTION"),
        ("blocks:0.2,gap:-1", "expected blocks:FRACTION"),
        ("blocks:0.2,gap:1,gap:2", "expected blocks:FRACTION"),
        ("blocks:0.2,gab:3", "expected blocks:FRACTION"),
        ("blocks:0.2,", "expected blocks:FRACTION"),
        ("blocks:0.2,count:3:4", "expected blocks:FRACTION"),
        ("blocks:0.2,count:2,gap:99", "leaves no frame to train on"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_in_one_line(rule, message):
    frames = make_frames(("seq-01", "train", 20), ("seq-02", "train", 20), ("t", "test", 5))
    with pytest.raises(UsageError, match=message) as caught:
        split_frames(frames, rule)
    assert str(caught.value).startswith("data.validation: ")
    assert "\n" not in str(caught.value)


def test_without_training_frames_there_is_nothing_to_split():
    with pytest.raises(UsageError, match="no frame to train on"):
        split_frames(make_frames(("t", "test", 5)), "auto")


def test_repeated_images_are_dropped_from_training_only():
    frames = make_frames(("a", "train", 6), ("b", "train", 4), ("t", "test", 3))
    digests = [*"xyyyzy", *"yqqr", *"rrr"]  # b begins with the image that a ends with
    assert split_frames(frames, "none", digests).train == [0, 1, 4, 5, 6, 7, 9]
    assert split_frames(frames, "none").train == list(range(10))
    split = split_frames(frames, "auto", digests)
    assert split == ([0, 1, 4, 5], [6, 7, 8, 9], [10, 11, 12])


# --- which frames test ------------------------------------------------------------------------


def unsplit(*lengths: int) -> list[Frame]:
    """Sequences of so many frames, of a dataset that does not say which are for testing."""
    return make_frames(*((f"seq-{n:02d}", None, count) for n, count in enumerate(lengths, 1)))


def test_a_dataset_that_says_nothing_is_tested_on_the_tails_behind_a_gap():
    split = split_frames(unsplit(50), "none")
    assert split.test == list(range(40, 50))
    assert split.train == list(range(35))  # a gap of a tenth of the frames


def test_validation_then_lies_among_what_is_left():
    split = split_frames(unsplit(100, 100), "auto")
    assert split.test == [*range(80, 100), *range(180, 200)]
    for start in (0, 100):  # 70 frames before the gap: 3 blocks, 10 of them, a gap of 2
        validation = [i - start for i in split.validation if start <= i < start + 100]
        train = [i - start for i in split.train if start <= i < start + 100]
        assert validation == [10, 11, 12, 33, 34, 35, 56, 57, 58, 59]
        assert train == [*range(8), *range(15, 31), *range(38, 54), *range(62, 70)]


def test_blocks_can_test_too():
    split = split_frames(unsplit(50), "none", test="blocks:0.2,count:2,gap:1")
    assert split.test == [*range(10, 15), *range(35, 40)]
    assert split.train == [*range(9), *range(16, 34), *range(41, 50)]


def test_a_rule_overrules_the_dataset():
    frames = make_frames(("a", "train", 10), ("b", "test", 10))
    assert split_frames(frames, "none").test == list(range(10, 20))
    assert split_frames(frames, "none", test="sequences:a").test == list(range(10))
    split = split_frames(frames, "none", test="tail:0.2,gap:1")
    assert split.test == [8, 9, 18, 19]
    assert split.train == [*range(7), *range(10, 17)]


def test_testing_on_sequences_leaves_the_last_other_one_for_validation():
    split = split_frames(unsplit(4, 4, 4), "auto", test="sequences:seq-03")
    assert split == ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11])


def test_random_frames_are_the_same_ones_each_time():
    frames = unsplit(100)
    split = split_frames(frames, "none", test="random:0.3")
    assert len(split.test) == 30
    assert np.diff(split.test).max() > 1
    assert sorted(split.train + split.test) == list(range(100))
    assert split_frames(frames, "none", test="random:0.3") == split


def test_frames_that_cannot_be_used_are_in_no_part():
    split = split_frames(unsplit(50), "tail:0.1,gap:0", usable=set(range(50)) - {0, 34, 49})
    everything = {*split.train, *split.validation, *split.test}
    assert not everything & {0, 34, 49}
    assert split.test[-1] == 48


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("sequences:seq-09", r"data.split: 'seq-09' is no .* did you mean"),
        ("tail:0.2,gap:x", "data.split: expected tail:"),
        ("random:1.5", "data.split: expected random:FRACTION"),
        ("random:", "data.split: expected random:FRACTION"),
        ("halves", "data.split: expected auto, none"),
        ("sequences:seq-01", "data.split: .* leaves no frame to train on"),
    ],
)
def test_a_rule_of_testing_that_makes_no_sense_is_refused(rule, message):
    with pytest.raises(UsageError, match=message):
        split_frames(unsplit(20), "none", test=rule)


def test_many_short_sequences_are_cut_by_their_own_length():
    split = split_frames(unsplit(*[30] * 10), "auto")
    assert len(split.test) == 60
    assert len(split.validation) == 30  # of the 21 left of each, 15 %
    assert len(split.train) == 10 * (30 - 6 - 3 - 3 - 2)  # gaps of 3 before test, 1 and 1 within


def test_sequences_too_short_to_cut_train():
    split = split_frames(unsplit(4, 50, 3), "none")
    assert split.test == list(range(44, 54))
    assert {0, 3, 54, 56} <= set(split.train)
    with pytest.raises(UsageError, match=r"fewer than 5 frames.*random:0.2"):
        split_frames(unsplit(*[3] * 20), "none")


def test_a_dataset_that_only_tests_is_refused_with_the_cure():
    with pytest.raises(UsageError, match=r"data.split: the dataset gives no frame to train on"):
        split_frames(make_frames(("a", "test", 9)), "auto")


def test_a_broken_image_moves_no_other_frame():
    frames = unsplit(60, 60)
    for rule in ("random:0.2", "tail:0.2,gap:3", "blocks:0.2,count:2,gap:3", "auto"):
        whole = split_frames(frames, "auto", test=rule)
        without = split_frames(frames, "auto", test=rule, usable=set(range(120)) - {7, 58})
        for before, after in zip(whole, without, strict=True):
            assert after == [i for i in before if i not in (7, 58)]
