"""Files that strangers wrote: what is read of good ones, and the one line said of bad ones."""

import json
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from posenet.conversion import POSE_FILES, read_pose_file
from posenet.errors import DataError, UsageError

TUM = "1 0 0 0 0 0 0 1"
VISLOC = "a.png 1 0 0 0 0 0 0"
KITTI = "1 0 0 0 0 1 0 0 0 0 1 0"
CSV = "frame,qw,qx,qy,qz,center_x,center_y,center_z"
COLMAP = "1 1 0 0 0 0 0 0 1 a.png\n\n"
IDENTITY = np.eye(4).tolist()


def transforms(frame, **content):
    return json.dumps(
        {"frames": [{"file_path": "a.png", "transform_matrix": IDENTITY} | frame]} | content
    )


GOOD = {  # format: a text, its names
    "comments, blank lines, Windows": ("tum", f"\ufeff# x\r\n\r\n {TUM}\r\n", ["000000"]),
    "no last line end": ("kitti", KITTI, ["000000"]),
    "focal length behind": ("visloc", f"{VISLOC} 525.0\n", ["a.png"]),
    "errors and inliers behind": ("visloc", f"{VISLOC} 0.5 0.02 1234\n", ["a.png"]),
    "predictions.csv": (
        "csv",
        "frame,sequence,qw,qx,qy,qz,center_x_m,center_y_m,center_z_m,rotation_error_deg\n"
        "seq-01/a,seq-01,1,0,0,0,1,2,3,0.5\n",
        ["seq-01/a"],
    ),
    "predict --format csv": (
        "csv",
        'file,qw,qx,qy,qz,center_x,center_y,center_z\n"a ""b"", c.png",1,0,0,0,1,2,3\n',
        ['a "b", c.png'],
    ),
    "observations": (
        "colmap",
        "1 1 0 0 0 0 0 0 7 b c.png\n1.5 2.5 -1 3 4 9\n" + COLMAP,
        ["b c.png", "a.png"],
    ),
    "instant-ngp": ("transforms", transforms({"sharpness": 3.0}, aabb_scale=4), ["a.png"]),
    "three rows": ("transforms", transforms({"transform_matrix": IDENTITY[:3]}), ["a.png"]),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_others_write_is_recognised_and_read(case, tmp_path):
    name, text, names = GOOD[case]
    (tmp_path / "file.txt").write_bytes(text.encode())
    assert read_pose_file(tmp_path / "file.txt").names == names
    assert read_pose_file(tmp_path / "file.txt", name).names == names


BAD = {  # the format to read as, the text, what the message says
    "nothing": ("auto", "", "expected a file of poses, found none of .*--from"),
    "prose": ("auto", "hello world\n", "--from"),
    "a Cambridge list": ("auto", "Visual Landmark Dataset V1\n\na.png 1 2 3 1 0 0 0\n", "--from"),
    "no text": ("auto", b"\x89PNG\xff\xfe\x00", "UTF-8"),
    "tum: empty": ("tum", "# only comments\n", "found none; restore"),
    "tum: 7 numbers": ("tum", TUM[:-2], r"file.txt:1: expected 8 numbers \(timestamp tx.*correct"),
    "tum: a word": ("tum", f"{TUM}\n1 0 x 0 0 0 0 1", "file.txt:2: expected 8 numbers"),
    "tum: NaN": ("tum", "1 nan 0 0 0 0 0 1", "file.txt:1: expected 8 numbers"),
    "tum: wxyz of visloc": ("tum", "1 0 0 0 1 0.5 2 3", "length 1, found.*order of the columns"),
    "tum: zero quaternion": ("tum", "1 0 0 0 0 0 0 0", "length 1, found length 0"),
    "kitti: 11 numbers": ("kitti", KITTI[:-2], "file.txt:1: expected 12 numbers"),
    "kitti: mirrored": ("kitti", KITTI.replace("1", "-1"), "determinant -1.000.*correct"),
    "kitti: scaled": ("kitti", KITTI.replace("1", "2"), "determinant 8.000"),
    "visloc: no name": ("visloc", "1 0 0 0 0 0 0", "expected 'name qw qx qy qz tx ty tz'"),
    "visloc: a Cambridge line": ("visloc", "a.png 10 2 3 1 0 0 0", "length 1, found"),
    "visloc: twice": ("visloc", f"{VISLOC}\n{VISLOC}\n", "found 'a.png' twice"),
    "visloc: too far": ("visloc", "a 0.6 0 0 0.8 1.7e308 1.7e308 0", "too large"),
    "csv: no header": ("csv", "a,1,0,0,0,0,0,0\n", "expected a line of columns and one a pose"),
    "csv: no name": ("csv", f"{CSV[6:]}\n1,0,0,0,0,0,0\n", "expected the columns frame, qw"),
    "csv: a short line": ("csv", f"{CSV}\na,1,0,0\n", "file.txt:2: expected 8 cells"),
    "csv: a word": ("csv", f"{CSV}\na,1,0,0,0,0,0,x\n", "file.txt:2: expected 7 numbers"),
    "csv: split": ("csv", f"{CSV},split\na,1,0,0,0,0,0,0,dev\n", "train, test or none"),
    "colmap: 9 words": ("colmap", "1 1 0 0 0 0 0 0 1\n\n", "CAMERA_ID NAME"),
    "colmap: no empty lines": ("colmap", COLMAP[:-1] * 2, "file.txt:2.*leave an empty line"),
    "json: cut off": ("transforms", '{"frames": [', "expected JSON"),
    "json: deep": ("transforms", '{"frames":' + "[" * 100000, "expected JSON"),
    "json: a list": ("transforms", "[]", "expected a list 'frames'"),
    "json: no frames": ("transforms", '{"frames": []}', "expected a list 'frames'"),
    "json: no path": ("transforms", transforms({"file_path": 3}), "frame 0: expected a path"),
    "json: no matrix": ("transforms", transforms({"transform_matrix": None}), "expected 4x4 num"),
    "json: ragged": ("transforms", transforms({"transform_matrix": [[1], [2, 3]]}), "4x4 numbers"),
    "json: huge": ("transforms", transforms({"transform_matrix": [[10**400] * 4] * 4}), "4x4"),
    "json: NaN": ("transforms", transforms({"transform_matrix": [[np.nan] * 4] * 4}), "not finite"),
    "json: a word": ("transforms", transforms({}, fl_x="f", w=1, h=1), "a number 'fl_x'"),
    "json: no camera": ("transforms", transforms({}, fl_x=0, w=1, h=1), "positive focal"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(case, tmp_path):
    name, text, message = BAD[case]
    path = tmp_path / "file.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=re.escape(str(path))) as caught:
        read_pose_file(path, name)
    assert re.search(message, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["auto", *POSE_FILES])
def test_a_missing_file_is_told(name, tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        read_pose_file(tmp_path / "nowhere", name)


def test_an_unknown_format_is_told_with_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'colmap'"):
        read_pose_file(tmp_path, "colmapp")


@pytest.mark.parametrize("suffix", [".names.txt", ".times.txt"])
def test_sidecars_must_have_a_line_a_pose(suffix, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(f"{TUM}\n2{TUM[1:]}\n")
    beside = path.with_name(f"a.txt{suffix}")
    beside.write_text("1\n2\n")
    assert len(read_pose_file(path).names) == 2
    beside.write_text("1\n2\n3\n")
    with pytest.raises(DataError, match=r"a\.txt\..*expected 2 lines.*found 3; .*remove it"):
        read_pose_file(path)
    beside.write_text("1\n1x\n")
    if suffix == ".times.txt":
        with pytest.raises(DataError, match=r"times\.txt:2: expected 1 numbers"):
            read_pose_file(path)


def test_a_lens_that_is_not_known_costs_the_camera_alone(tmp_path, capsys):
    (tmp_path / "cameras.txt").write_text("1 FOV 640 480 500 500 320 240 0.9\n")
    (tmp_path / "images.txt").write_text(COLMAP)
    assert read_pose_file(tmp_path).intrinsics == [None]
    assert "cameras.txt:1: a FOV lens is not known" in capsys.readouterr().err
    path = tmp_path / "t.json"
    path.write_text(transforms({}, fl_x=5, w=4, h=4, camera_model="EQUIRECTANGULAR"))
    assert read_pose_file(path).intrinsics == [None]
    assert "t.json: a lens is not known" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["1 PINHOLE 640 480 500 500 320", "1 PINHOL 640 480 1 1 1 1", "1", "x PINHOLE"]
)
def test_bad_cameras_are_refused(line, tmp_path):
    (tmp_path / "cameras.txt").write_text(f"# c\n{line}\n")
    (tmp_path / "images.txt").write_text(COLMAP)
    with pytest.raises(DataError, match=r"cameras\.txt:2: expected"):
        read_pose_file(tmp_path)


# Bytes near a good file reach further into a reader than arbitrary ones.
NUMBERS = st.sampled_from(["0", "1", "-1", "0.5", "nan", "inf", "1e308", "1e-320", "1_0", "x", "é"])
NEAR = st.builds(
    lambda rows, gap, end: end.join(gap.join(row) for row in rows).encode(),
    st.lists(st.lists(NUMBERS, max_size=13), max_size=5),
    st.sampled_from([" ", ",", "\t", "\u3000"]),
    st.sampled_from(["\n", "\n\n", "\r\n", "\r", "\x00"]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["frames", "file_path", "transform_matrix", "fl_x", "w", "h", "k4", "camera_model"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
FRAMES = st.builds(
    lambda frame, content: transforms(frame, **content).encode("utf-8", "replace"),
    st.dictionaries(st.sampled_from(["file_path", "transform_matrix", "fl_x", "k1"]), JSON),
    st.dictionaries(st.sampled_from(["w", "h", "fl_x", "cx", "camera_model", "is_fisheye"]), JSON),
)
TABLES = st.builds(
    lambda rows: "\n".join([f"{CSV},split,timestamp", *(",".join(r) for r in rows)]).encode(),
    st.lists(st.lists(NUMBERS, min_size=9, max_size=11), max_size=3),
)


@pytest.mark.parametrize("name", ["auto", *POSE_FILES])
def test_any_bytes_give_poses_or_one_line(name, tmp_path):
    folder = tmp_path / "x"
    (folder / "seq-01").mkdir(parents=True)
    files = {
        "7scenes": ["seq-01/frame-000000.pose.txt", "TrainSplit.txt"],
        "colmap": ["images.txt", "cameras.txt", "names.txt"],
    }.get(name, ["file.txt", "file.txt.names.txt", "file.txt.times.txt"])
    good = {
        "seq-01/frame-000000.pose.txt": "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
        "images.txt": COLMAP,
        "cameras.txt": "1 PINHOLE 640 480 500 500 320 240\n",
    }

    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.sampled_from(files),
        st.one_of(
            st.binary(max_size=80), NEAR, JSON.map(lambda v: json.dumps(v).encode()), FRAMES, TABLES
        ),
    )
    @example(files[0], b"\xef\xbb\xbf")
    @example(files[0], f"{CSV}\n".encode() + b'"' + b"x" * 140000)
    def check(target, data):
        for file in files:
            (folder / file).unlink(missing_ok=True)
        for file in files[:2]:
            if file in good:
                (folder / file).write_text(good[file])
        if target not in good and target != files[0]:
            (folder / files[0]).write_text(good.get(files[0], TUM))
        (folder / target).write_bytes(data)
        path = folder if name in ("7scenes", "colmap") else folder / files[0]
        try:
            found = read_pose_file(path, name)
        except DataError as error:
            said = str(error)
        else:
            said = ""
        assert "\n" not in said
        if said:
            return
        count = len(found.names)
        assert count == len(set(found.names)) > 0
        assert all(np.isfinite(part).all() for part in map(np.asarray, found.pose))
        assert {len(column) for column in found if isinstance(column, list)} == {count}
        assert found.pose.rotation.shape == (count, 3, 3)

    check()


LOST = {  # format: the text of two poses, the second of which a method could not tell
    "tum": "1 0 0 0 0 0 0 1\n2 nan nan nan nan nan nan nan\n",
    "kitti": f"{KITTI}\n{' '.join(['nan'] * 12)}\n",
    "visloc": f"{VISLOC}\nb.png nan nan nan nan nan nan nan\n",
    "csv": f"{CSV}\na,1,0,0,0,0,0,0\nb,1,0,0,0,inf,0,0\n",
    "colmap": f"{COLMAP}2 nan nan nan nan 0 0 0 1 b.png\n\n",
    "transforms": json.dumps(
        {
            "frames": [
                {"file_path": name, "transform_matrix": (scale * np.eye(4)).tolist()}
                for name, scale in (("a.png", 1.0), ("b.png", np.nan))
            ]
        }
    ),
    "7scenes": (np.eye(4), np.full((4, 4), np.nan)),
}


@pytest.mark.parametrize("name", POSE_FILES)
def test_a_pose_that_is_not_finite_is_kept_only_where_it_is_asked_for(name, tmp_path):
    path = tmp_path / "images.txt"
    if name == "7scenes":
        path = tmp_path / "seq-01"
        path.mkdir()
        for number, matrix in enumerate(LOST[name]):
            np.savetxt(path / f"frame-{number:06d}.pose.txt", matrix)
    else:
        path.write_text(LOST[name])
    with pytest.raises(DataError, match=r"not finite|expected \d+ numbers"):
        read_pose_file(path, name)
    pose = read_pose_file(path, name, finite=False).pose
    np.testing.assert_array_equal(np.isfinite(pose.matrix.numpy()).all(axis=(1, 2)), [True, False])
    truth = np.diag((1.0, -1.0, -1.0, 1.0)) if name == "transforms" else np.eye(4)
    np.testing.assert_allclose(pose.matrix[0], truth, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "text"),
    [("tum", "nan 0 0 0 0 0 0 1\n"), ("colmap", "1 1 0 0 0 0 0 0 nan a.png\n\n")],
)
def test_times_and_cameras_are_always_finite(name, text, tmp_path):
    path = tmp_path / "images.txt"
    path.write_text(text)
    with pytest.raises(DataError, match="expected 1 numbers"):
        read_pose_file(path, name, finite=False)
