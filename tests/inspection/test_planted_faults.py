"""Each fault that people make is named; a room without faults is left in peace."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from posenet.geometry import Pose, rotation_from_quaternion, rotation_to_quaternion
from posenet.inspection import inspect_frames

PAIRS = 24


def codes(inspection, severities=("error", "warning")):
    return [f.code for f in inspection.findings if f.severity in severities]


def moved(frames, change: Callable):
    """The frames with poses ``change(R, c)``."""
    poses = [change(f.pose.rotation.clone(), f.pose.translation.clone()) for f in frames]
    return [replace(f, pose=Pose(*pose)) for f, pose in zip(frames, poses, strict=True)]


def signs(*values):
    return torch.diag(torch.tensor(values, dtype=torch.float64))


def reordered(order, world_to_camera=False):
    def change(rotation, center):
        if world_to_camera:
            shift = -rotation.T @ center
            wrong = rotation_from_quaternion(rotation_to_quaternion(rotation.T)[list(order)])
            return wrong.T, -wrong.T @ shift
        return rotation_from_quaternion(rotation_to_quaternion(rotation)[list(order)]), center

    return change


def mirrored(axis):
    flip = torch.eye(3, dtype=torch.float64)
    flip[axis, axis] = -1
    return flip


FAULTS: dict[str, tuple[str, Callable]] = {
    "world-to-camera": ("inverted_poses", lambda r, c: (r.T, -r.T @ c)),
    "transposed rotations": ("inverted_poses", lambda r, c: (r.T, c)),
    "world-to-camera translations": ("inverted_poses", lambda r, c: (r, -r.T @ c)),
    "OpenGL": ("opengl_axes", lambda r, c: (r @ signs(1, -1, -1), c)),
    "OpenGL, world-to-camera": (
        "inverted_poses",
        lambda r, c: ((r @ signs(1, -1, -1)).T, -(r @ signs(1, -1, -1)).T @ c),
    ),
    "camera upside down": ("camera_axes", lambda r, c: (r @ signs(-1, -1, 1), c)),
    "x of the camera negated": ("mirrored_axis", lambda r, c: (r @ mirrored(0), c)),
    "z of the camera negated": ("mirrored_axis", lambda r, c: (r @ mirrored(2), c)),
    "x of the world negated": ("mirrored_axis", lambda r, c: (mirrored(0) @ r, mirrored(0) @ c)),
    "x of the positions negated": ("mirrored_axis", lambda r, c: (r, mirrored(0) @ c)),
    "y of the positions negated": ("mirrored_axis", lambda r, c: (r, mirrored(1) @ c)),
    "left-handed": (
        "mirrored_axis",
        lambda r, c: (mirrored(1) @ r @ mirrored(1), mirrored(1) @ c),
    ),
    "images flipped": (
        "mirrored_axis",
        lambda r, c: (mirrored(0) @ r @ mirrored(0), mirrored(0) @ c),
    ),
    "y and z of the positions swapped": ("mirrored_axis", lambda r, c: (r, c[[0, 2, 1]])),
    "wxyz as xyzw": ("quaternion_order", reordered((3, 0, 1, 2))),
    "xyzw as wxyz": ("quaternion_order", reordered((1, 2, 3, 0))),
    "xyzw as wxyz, world-to-camera": ("quaternion_order", reordered((1, 2, 3, 0), True)),
    "millimetres": ("wrong_scale", lambda r, c: (r, 1000 * c)),
    "centimetres": ("wrong_scale", lambda r, c: (r, 100 * c)),
    "scaled matrices": ("nonrigid_poses", lambda r, c: (1.3 * r, c)),
    "sheared matrices": (
        "nonrigid_poses",
        lambda r, c: (r @ (torch.eye(3) + 0.2 * torch.eye(3).roll(1, 0)).double(), c),
    ),
    "lost tracking": ("invalid_poses", lambda r, c: (r, c * torch.nan)),
}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clean_room_is_left_in_peace(rooms, seed):
    inspection = inspect_frames(rooms[seed], True)
    assert codes(inspection) == [], inspection.findings


@pytest.mark.parametrize("name", FAULTS)
def test_fault_of_all_poses_is_named(rooms, name):
    code, change = FAULTS[name]
    seed = list(FAULTS).index(name) % 3
    inspection = inspect_frames(moved(rooms[seed], change), True, pairs=PAIRS)
    found = codes(inspection, ("error",))
    assert code in found, inspection.findings
    if name != "sheared matrices":  # which bend everything else as well
        assert set(found) == {code}
    assert inspection.has_errors


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 2.0])
def test_wrong_focal_length_is_named(rooms, factor):
    frames = [
        replace(
            f,
            intrinsics=replace(
                f.intrinsics,
                focal_x=f.intrinsics.focal_x * factor,
                focal_y=f.intrinsics.focal_y * factor,
            ),
        )
        for f in rooms[1]
    ]
    inspection = inspect_frames(frames, True, pairs=PAIRS)
    found = [f for f in inspection.findings if f.severity in ("error", "warning")]
    assert found[0].code == "wrong_intrinsics", found
    best = float(found[0].message.split("px; ")[1].split(" times")[0])
    assert best == pytest.approx(1 / factor, rel=0.06)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("within", [True, False], ids=("in sequences", "everywhere"))
def test_shuffled_labels_are_named(rooms, seed, within):
    frames = rooms[seed]
    rng = np.random.default_rng(seed)
    source = np.arange(len(frames))
    parts = [source[k : k + 40] for k in range(0, len(frames), 40)] if within else [source]
    source = np.concatenate([rng.permutation(part) for part in parts])
    shuffled = [replace(f, pose=frames[i].pose) for f, i in zip(frames, source, strict=True)]
    found = codes(inspect_frames(shuffled, True, pairs=PAIRS))
    assert "shuffled_labels" in found
    assert not {"inverted_poses", "opengl_axes", "camera_axes", "mirrored_axis"} & set(found)


def test_labels_of_another_sequence_are_named(rooms):
    frames = rooms[2]
    swapped = [replace(f, pose=frames[(i + 40) % 80].pose) for i, f in enumerate(frames[:80])]
    assert "shuffled_labels" in codes(inspect_frames(swapped + frames[80:], True, pairs=PAIRS))


def test_labels_late_by_three_frames_are_named(rooms):
    frames = rooms[0][:40]
    late = [replace(f, pose=frames[max(i - 3, 0)].pose) for i, f in enumerate(frames)]
    inspection = inspect_frames(late, True)
    assert "late_labels" in codes(inspection), inspection.findings
    assert "3 after" in inspection.findings[0].cure


def test_fault_of_one_sequence_is_named_with_the_sequence(rooms):
    frames = rooms[0]
    turned = moved(frames[:40], lambda r, c: (r @ signs(1, -1, -1), c))
    inspection = inspect_frames(turned + frames[40:], True)
    found = [f for f in inspection.findings if f.code == "opengl_axes"]
    assert found
    assert set(found[0].frames) == {f.name for f in frames[:40]}


@pytest.mark.parametrize("kind", ["every second", "random", "renamed"])
def test_leaked_split_is_named(rooms, kind):
    frames = rooms[1][:80]
    rng = np.random.default_rng(3)
    test = np.arange(80) % 2 == 1 if kind != "random" else rng.random(80) < 0.3
    leaked = [replace(f, split="test" if t else "train") for f, t in zip(frames, test, strict=True)]
    if kind == "renamed":
        leaked = [replace(f, sequence=f"{f.sequence}-{f.split}") for f in leaked]
    inspection = inspect_frames(leaked, True, pairs=PAIRS)
    assert codes(inspection) == ["leaked_split"], inspection.findings


def test_test_images_that_are_training_images_are_named(rooms):
    frames = rooms[1]
    copies = [replace(f, split="test", sequence="copy") for f in frames[10:20]]
    copies = [replace(f, name=f"copy/{i}") for i, f in enumerate(copies)]
    inspection = inspect_frames(frames[:80] + copies, True, pairs=PAIRS)
    assert "leaked_split" in codes(inspection, ("error",))


@pytest.mark.parametrize("at", [5, 20, 60])
def test_repeated_image_with_another_pose_is_named(rooms, at):
    frames = list(rooms[2])
    frames[at] = replace(frames[at], image_path=frames[at - 1].image_path)
    found = inspect_frames(frames, True, pairs=PAIRS).findings
    repeated = [f for f in found if f.code == "repeated_images"]
    assert repeated[0].severity == "warning"
    assert repeated[0].frames == (frames[at].name,)


@pytest.mark.parametrize(
    ("at", "offset"), [(7, (1.0, 0, 0)), (25, (0, 1.5, 0)), (70, (0, 0, -1.0))]
)
def test_jump_of_one_frame_is_named(rooms, at, offset):
    frames = list(rooms[at % 3])
    pose = frames[at].pose
    away = Pose(pose.rotation, pose.translation + torch.tensor(offset, dtype=torch.float64))
    frames[at] = replace(frames[at], pose=away)
    jumps = [f for f in inspect_frames(frames, True, pairs=PAIRS).findings if f.code == "jump"]
    assert jumps[0].severity == "warning"
    assert jumps[0].frames == (frames[at].name,)


def test_jump_for_good_is_named(rooms):
    frames = list(rooms[1])
    shift = torch.tensor((0.0, 0.0, 1.2), dtype=torch.float64)
    for k in range(22, 40):
        pose = frames[k].pose
        frames[k] = replace(frames[k], pose=Pose(pose.rotation, pose.translation + shift))
    jumps = [f for f in inspect_frames(frames, True, pairs=PAIRS).findings if f.code == "jump"]
    assert jumps[0].frames == (frames[22].name,)


def test_depth_of_other_frames_is_named(rooms):
    frames = rooms[0]
    rng = np.random.default_rng(0)
    others = rng.permutation(len(frames))
    wrong = [
        replace(f, depth_path=frames[k].depth_path) for f, k in zip(frames, others, strict=True)
    ]
    found = codes(inspect_frames(wrong, True))
    assert found == ["depth_mismatch"]


def test_depth_in_another_unit_is_named(rooms):
    frames = [replace(f, depth_scale=5000.0) for f in rooms[0]]
    assert codes(inspect_frames(frames, True, pairs=PAIRS)) == ["wrong_scale"]


def test_scale_is_only_noted_where_metres_are_not_claimed(rooms):
    frames = moved(rooms[1], lambda r, c: (r, 3.7 * c))
    inspection = inspect_frames(frames, False, pairs=PAIRS)
    assert codes(inspection) == []
    assert "wrong_scale" in codes(inspection, ("note",))


def test_constant_poses_are_named(rooms):
    frames = [replace(f, pose=rooms[0][0].pose) for f in rooms[0]]
    assert "constant_poses" in codes(inspect_frames(frames, True, pairs=PAIRS))
