"""Which prediction is of which frame: real files' names, clocks, and what must not be guessed."""

import numpy as np
import pytest
import torch

from posenet.conversion import Trajectory
from posenet.conversion.trajectory import SourceImage
from posenet.errors import DataError
from posenet.evaluation.matching import PoseSet, match, match_names, match_timestamps
from posenet.geometry import Pose


def poses(source, names, *, named=True, times=None, sequences=None) -> PoseSet:
    count = len(names)
    pose = Pose(torch.eye(3).double().expand(count, 3, 3), torch.zeros(count, 3).double())
    none = [None] * count
    sequences = sequences or [name.rpartition("/")[0] or "all" for name in names]
    trajectory = Trajectory(list(names), pose, sequences, none, none, none, times)
    return PoseSet(source, trajectory, named)


TRUE = ["seq-06/frame-000003", "seq-06/frame-000004", "seq-07/frame-000004"]

NAMES = {  # as files of others have them: the frame that is meant
    "seq-06/frame-000003": 0,
    "seq-06/frame-000003.color.png": 0,
    "seq-06/frame-000003.color.jpg": 0,
    "seq-06/frame-000003.PNG": 0,
    "seq-06/frame-000003.pose.txt": 0,
    "./seq-06/frame-000003.color.png": 0,
    "../../data/redkitchen/seq-06/frame-000003.color.png": 0,
    "/data/7scenes/redkitchen/seq-07/frame-000004.color.png": 2,
    "C:\\data\\redkitchen\\seq-07\\frame-000004.color.png": 2,
    "seq-06-frame-000004.color.png": 1,
    "test/rgb/seq-07-frame-000004.color.png": 2,
    "frame-000003.color.png": 0,  # only one folder has it
    "frame-000005": None,
    "seq-08/frame-000003": None,
    "seq-06/frame-00003": None,
    "06/frame-000003": None,
    "rame-000003": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_real_files(name):
    found = match_names([name], [(n,) for n in TRUE], "ours", "theirs")
    assert found == ({} if NAMES[name] is None else {0: NAMES[name]})


@pytest.mark.parametrize("name", NAMES)
def test_names_match_in_either_direction(name):
    """The ground truth has the long names as often as the predictions do."""
    true = [(f"{n}.color.jpg", n) for n in ("rgb/zero", "one")] + [(name,)]
    for i, other in enumerate(TRUE):
        wanted = {0: 2} if NAMES[name] == i else {}
        assert match_names([other], true, "ours", "theirs") == wanted


def test_an_exact_name_comes_before_one_without_its_ending():
    true = [("a.jpg",), ("a.png",), ("b/a",)]
    assert match_names(["a.png", "b/a"], true, "ours", "theirs") == {0: 1, 1: 2}


def test_an_ambiguous_name_names_both():
    with pytest.raises(DataError) as caught:
        match_names(["frame-000004.png"], [(n,) for n in TRUE], "ours.txt", "theirs.txt")
    message = str(caught.value)
    assert message.startswith("ours.txt: ")
    for word in ("frame-000004.png", TRUE[1], TRUE[2], "theirs.txt", "with its folder"):
        assert word in message
    assert "\n" not in message


def test_two_predictions_of_one_frame_are_named():
    with pytest.raises(DataError) as caught:
        match_names(["a/1.png", "b/1.png"], [("1",)], "ours.txt", "theirs.txt")
    assert all(f"'{word}'" in str(caught.value) for word in ("a/1.png", "b/1.png", "1"))


def test_a_frame_goes_by_the_name_of_its_image_too():
    truth = poses("truth", ["000000", "000001"])
    images = [SourceImage(None, f"images/{name}.png") for name in ("left", "right")]
    truth = truth._replace(trajectory=truth.trajectory._replace(images=images))
    found = match(poses("ours", ["right.png", "000000"]), truth)
    assert (found.by, found.prediction, found.unknown) == ("name", {1: 0, 0: 1}, [])


def test_the_nearest_timestamps_match_and_each_once():
    #       0.004 away; 0.006 away from the same; beyond the tolerance
    found = match_timestamps([1.004, 0.994, 2.02, 3.0], [1.0, 2.0, 3.01, 3.0], 0.01)
    assert found == {0: 0, 3: 3}


def test_timestamps_match_as_in_a_search_of_all_pairs():
    rng = np.random.default_rng(0)
    true = np.cumsum(rng.uniform(0.02, 0.05, 300)).tolist()
    predicted = [t + rng.uniform(-0.02, 0.02) for t in rng.permutation(true)[:200]]
    pairs = sorted(
        (abs(p - t), i, j)
        for i, p in enumerate(predicted)
        for j, t in enumerate(true)
        if abs(p - t) <= 0.01
    )
    wanted = {}
    for _, i, j in pairs:
        if i not in wanted and j not in wanted.values():
            wanted[i] = j
    assert match_timestamps(predicted, true, 0.01) == wanted
    assert 50 < len(wanted) < 200


def test_the_tolerance_is_part_of_it():
    truth = poses("truth", ["000000"], named=False, times=[10.0])
    ours = poses("ours", ["000000"], named=False, times=[10.5])
    with pytest.raises(DataError, match=r"within 0.01 s .*10.5 here, 10.0 there.*--time-tolerance"):
        match(ours, truth)
    found = match(ours, truth, 0.5)
    assert (found.by, found.prediction) == ("timestamp", {0: 0})


def test_timestamps_are_compared_within_a_recording():
    """Every recording of a folder may start at 0."""
    names, sequences = ["a/000000", "a/000001", "b/000000"], ["a", "a", "b"]
    truth = poses("truth", names, named=False, times=[0.0, 1.0, 0.0], sequences=sequences)
    ours = poses("ours", ["b/000000"], named=False, times=[0.0], sequences=["b"])
    assert match(ours, truth).prediction == {2: 0}
    alone = poses("ours", ["000000"], named=False, times=[0.0])
    with pytest.raises(DataError, match=r"at different times, found 'a/000000' and 'b/000000'"):
        match(alone, truth)


def test_recordings_match_by_name_also_where_the_truth_is_one():
    """The other recording's clock may begin at 0 too."""
    truth = poses(
        "truth", ["b/000000", "b/000001"], named=False, times=[0.0, 1.0], sequences=["b", "b"]
    )
    names, sequences = ["a/000000", "a/000001", "b/000000", "b/000001"], ["a", "a", "b", "b"]
    times = [0.0, 1.0, 0.0, 1.0]
    ours = poses("ours", names, named=False, times=times, sequences=sequences)
    assert match(ours, truth).prediction == {0: 2, 1: 3}
    alone = poses("truth", ["000000", "000001"], named=False, times=[0.0, 1.0])
    with pytest.raises(DataError, match=r"ours: expected recordings at different times"):
        match(ours, alone)


def test_names_come_before_timestamps():
    truth = poses("truth", ["x", "y"], times=[0.0, 1.0])
    found = match(poses("ours", ["y", "x"], times=[0.0, 1.0]), truth)
    assert (found.by, found.prediction) == ("name", {0: 1, 1: 0})


def test_order_only_without_names_and_of_as_many():
    counted = [f"{i:06d}" for i in range(4)]
    truth = poses("truth", counted, named=False)
    found = match(poses("ours", counted, named=False), truth)
    assert (found.by, found.prediction) == ("order", {i: i for i in range(4)})
    timed = poses("ours", counted, named=False, times=[0.0, 1.0, 2.0, 3.0])
    assert match(timed, truth).by == "order"
    for other in (
        poses("ours", counted[:3], named=False),
        poses("ours", ["a", "b", "c", "d"]),
        poses("ours", ["a", "b", "c"], times=[0.0, 1.0, 2.0]),
    ):
        with pytest.raises(DataError, match=r"expected names or timestamps that truth has too"):
            match(other, truth)


def test_recordings_of_other_lengths_do_not_match_by_order():
    names = [
        [f"{s}/{i:06d}" for s, n in zip("ab", n, strict=True) for i in range(n)]
        for n in ((2, 3), (3, 2))
    ]
    truth, ours = (poses(s, n, named=False) for s, n in zip(("truth", "ours"), names, strict=True))
    with pytest.raises(DataError, match="expected names or timestamps"):
        match(ours, truth)


def test_nothing_in_common_shows_a_name_of_each():
    with pytest.raises(DataError, match=r"^ours: expected frames of truth, found none: 'a' here, "):
        match(poses("ours", ["a"]), poses("truth", ["b"]))


def test_frames_that_are_not_measured_on_are_told():
    found = match(poses("ours", ["z", "b"]), poses("truth", ["a", "b"]))
    assert (found.prediction, found.unknown) == ({1: 1}, [0])
