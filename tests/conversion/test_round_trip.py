"""Every format to every other and back: the poses, the names, the times."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posenet.conversion import POSE_FILES, read_pose_file, read_source, write_pose_file
from posenet.errors import DataError
from posenet.geometry import Distortion

PAIRS = list(itertools.permutations(POSE_FILES, 2)) + [(name, name) for name in POSE_FILES]
ENDINGS = {"transforms": ".json", "csv": ".csv", "visloc": ".txt"}
ONE_WORD = {"colmap", "visloc"}  # formats whose names end at a space

# Some machines have no floats of more than 64 bits.
RELATIVE = 1e-15 if np.finfo(np.longdouble).eps < 1e-16 else 4e-15

ANY = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\ufeff")
NAMES = st.lists(st.text(ANY, min_size=1, max_size=12), min_size=1, max_size=4, unique=True)
WORDS = st.lists(
    st.text(ANY.filter(lambda c: not c.isspace()), min_size=1, max_size=12).filter(
        lambda name: not name.startswith("#")
    ),
    min_size=1,
    max_size=4,
    unique=True,
)
PART = st.floats(-1.0, 1.0, allow_subnormal=False)
TURNS = st.one_of(
    st.tuples(PART, PART, PART, PART).filter(lambda q: np.linalg.norm(q) > 1e-3),
    st.sampled_from(
        [
            (1.0, 0.0, 0.0, 0.0),
            (0.0, 1.0, 0.0, 0.0),  # half turns: w = 0, either sign of the rest
            (0.0, 0.0, -1.0, 0.0),
            (0.0, 0.6, 0.0, -0.8),
            (0.5, -0.5, 0.5, -0.5),
            (1.0, 1e-9, 0.0, 0.0),
            (1e-9, 1.0, 0.0, 0.0),
        ]
    ),
)
CENTERS = st.tuples(*[st.floats(-5e6, 5e6, allow_subnormal=False)] * 3)


def same_poses(found, wanted):
    """Whether the poses are the same by name, within 1e-9, far from the origin 1e-15 of it."""
    assert sorted(found.names) == sorted(wanted.names)
    order = [found.names.index(name) for name in wanted.names]
    turned = (found.pose.rotation[order] - wanted.pose.rotation).abs().max()
    moved = torch.linalg.vector_norm(
        found.pose.translation[order] - wanted.pose.translation, dim=-1
    )
    distance = torch.linalg.vector_norm(wanted.pose.translation, dim=-1)
    assert turned < 1e-9
    assert (moved <= 1e-9 + RELATIVE * distance).all()


@pytest.mark.parametrize(("there", "back"), PAIRS)
def test_poses_survive_any_pair_of_formats(there, back, new_trajectory):
    @settings(max_examples=8, deadline=None)
    @given(st.data())
    def check(data):
        names = data.draw(WORDS if {there, back} & ONE_WORD else NAMES)
        turns = [data.draw(TURNS) for _ in names]
        centers = [data.draw(CENTERS) for _ in names]
        wanted = new_trajectory(turns, centers, names)
        with tempfile.TemporaryDirectory() as folder:
            paths = [
                Path(folder) / f"{i}{ENDINGS.get(name, '')}"
                for i, name in enumerate((there, back, there))
            ]
            write_pose_file(wanted, paths[0], there)
            write_pose_file(read_source(paths[0], there)[0], paths[1], back)
            write_pose_file(read_source(paths[1], back)[0], paths[2], there)
            same_poses(read_pose_file(paths[2], there), wanted)

    check()


@pytest.mark.parametrize("name", POSE_FILES)
@pytest.mark.parametrize("ending", ["", ".txt"])
def test_names_and_times_are_found_again(name, ending, drive, tmp_path):
    path = tmp_path / f"out{ENDINGS.get(name, ending)}"
    write_pose_file(drive, path, name)
    found, _ = read_source(path)  # the format is recognised
    assert found.names == drive.names
    assert found.timestamps == drive.timestamps
    assert found.sequences == drive.sequences or (name, ending) == ("kitti", "")
    same_poses(found, drive)


@pytest.mark.parametrize("name", ["colmap", "transforms", "csv"])
def test_cameras_are_found_again(name, drive, destination):
    write_pose_file(drive, destination(name), name)
    found = read_pose_file(destination(name))
    assert found.intrinsics == drive.intrinsics
    if name != "csv":
        padded = Distortion("radial_tangential", (0.1, -0.02, 0.003, -0.004, 0, 0, 0, 0))
        assert found.distortions == [padded] * 5


@pytest.mark.parametrize(
    "lens",
    [
        None,
        Distortion("fisheye", (0.1, 0.2, -0.3, 0.4)),
        Distortion("radial_tangential", (0.1, 0.2, 0.3, 0.4, 0.5)),
        Distortion("radial_tangential", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
    ],
)
@pytest.mark.parametrize("name", ["colmap", "transforms"])
def test_lenses(name, lens, drive, destination):
    lenses = [None, None, lens, lens, None]
    drive = drive._replace(distortions=lenses, intrinsics=[*drive.intrinsics[:4], None])
    if name == "transforms" and lens is not None and len(lens.coefficients) == 8:
        with pytest.raises(DataError, match=r"denominator.*; use --to colmap"):
            write_pose_file(drive, destination(name), name)
        return
    write_pose_file(drive, destination(name), name)
    found = read_pose_file(destination(name))
    assert found.intrinsics == drive.intrinsics
    for one, other in zip(found.distortions, lenses, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.model == other.model
            size = len(other.coefficients)
            assert one.coefficients[:size] == other.coefficients
            assert not any(one.coefficients[size:])


@pytest.mark.parametrize("name", ["kitti", "tum", "7scenes"])
def test_a_folder_has_a_file_or_folder_a_sequence(name, drive, destination):
    write_pose_file(drive, destination(name), name)
    entries = {path.name for path in destination(name).iterdir()}
    expected = {
        "kitti": {"00.txt", "01.txt"},
        "tum": {"seq-01.txt", "seq-02.txt"},
        "7scenes": {"seq-01", "seq-02", "TrainSplit.txt", "TestSplit.txt"},
    }[name]
    assert {entry for entry in entries if not entry.endswith((".names.txt", ".times.txt"))} == (
        expected
    )


def test_a_sequence_that_is_trained_and_tested_on_becomes_two(drive, destination):
    drive = drive._replace(sequences=["a"] * 5, splits=["test", "train", "train", "test", None])
    write_pose_file(drive, destination("7scenes"), "7scenes")
    found = read_pose_file(destination("7scenes"))
    assert dict(zip(found.names, found.splits, strict=True)) == {
        name: split or "train" for name, split in zip(drive.names, drive.splits, strict=True)
    }
    assert found.sequences == ["seq-01"] * 3 + ["seq-02"] * 2
    same_poses(found, drive)


@pytest.mark.parametrize("sequences", [["a", "A"], ["../x", "b"], ["x/y", "z"], ["", "a"]])
@pytest.mark.parametrize("name", ["kitti", "tum", "7scenes"])
def test_sequences_that_no_file_can_be_named_for_are_numbered(
    name, sequences, new_trajectory, destination, tmp_path
):
    wanted = new_trajectory([(1, 0, 0, 0)] * 2, [(0, 0, 0)] * 2, ["a", "b"], sequences=sequences)
    write_pose_file(wanted, destination(name), name)
    same_poses(read_pose_file(destination(name)), wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


BAD_NAMES = ["", "a\nb", "a\rb", "a\x00", "\ufeffa", "a\u2028", "\ud800"]


@pytest.mark.parametrize("name", POSE_FILES)
@pytest.mark.parametrize("bad", BAD_NAMES, ids=repr)
def test_names_that_no_file_can_hold_are_refused(name, bad, new_trajectory, destination):
    wanted = new_trajectory([(1, 0, 0, 0)], [(0, 0, 0)], [bad])
    with pytest.raises(DataError, match=r"expected names without control.*; rename"):
        write_pose_file(wanted, destination(name), name)
    assert not destination(name).exists()


@pytest.mark.parametrize("name", sorted(ONE_WORD))
@pytest.mark.parametrize("bad", ["a b", " a", "a\u3000b", "#a"])
def test_names_with_spaces_are_refused_where_they_would_end(name, bad, new_trajectory, destination):
    wanted = new_trajectory([(1, 0, 0, 0)], [(0, 0, 0)], [bad])
    with pytest.raises(DataError, match=r"expected names without spaces.*--to csv"):
        write_pose_file(wanted, destination(name), name)
    assert not destination(name).exists()
    assert list(destination(name).parent.iterdir()) == []


@pytest.mark.parametrize("name", POSE_FILES)
def test_a_name_twice_is_refused(name, new_trajectory, destination):
    wanted = new_trajectory([(1, 0, 0, 0)] * 2, [(0, 0, 0)] * 2, ["a", "a"])
    with pytest.raises(DataError, match="found 'a' twice"):
        write_pose_file(wanted, destination(name), name)


@pytest.mark.parametrize("name", POSE_FILES)
def test_poses_that_cannot_be_held_are_refused(name, drive, destination):
    """A scaled rotation would be read as another pose; a centre of 1e308 overflows."""
    scaled = drive.pose._replace(rotation=1.01 * drive.pose.rotation)
    far = drive.pose._replace(translation=torch.full((5, 3), float("nan")).double())
    for pose in (scaled, far):
        with pytest.raises(DataError) as caught:
            write_pose_file(drive._replace(pose=pose), destination(name), name)
        assert "/." not in str(caught.value)  # no temporary name
        assert not destination(name).exists()
        assert list(destination(name).parent.iterdir()) == []
