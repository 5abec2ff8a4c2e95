"""The table of poses: its columns, and what is said of a bad one."""

import numpy as np
import pytest

from posenet.datasets.formats.poses_csv import read_poses_csv
from posenet.errors import DataError
from posenet.geometry import Intrinsics

POSE = "qw,qx,qy,qz,center_x_m,center_y_m,center_z_m"
CAMERA = Intrinsics(500, 500, 319.5, 239.5, 640, 480)


@pytest.fixture
def table(tmp_path):
    def write(*lines):
        (tmp_path / "poses.csv").write_text("\n".join(lines) + "\n")
        return tmp_path

    return write


def test_columns_may_be_in_any_order_and_others_are_not_read(table):
    root = table(
        "center_z_m,qx,note,split,qy,qz,qw,sequence,center_y_m,image,center_x_m,depth",
        '9,0,"blue, or red",train,0,0.6,0.8,walk,8,a/1.png,7,a/1d.png',
        "9,0,,test,0,0.6,-0.8,,8,a/2.png,7,",
        "9,0,,,0,0.6,-0.8,,8,3.png,7,",
    )
    frames = read_poses_csv(root, CAMERA)
    assert [(f.name, f.sequence, f.split) for f in frames] == [
        ("a/1.png", "walk", "train"),
        ("a/2.png", "a", "test"),
        ("3.png", "all", None),
    ]
    assert [frame.depth_path for frame in frames] == [root / "a/1d.png", None, None]
    np.testing.assert_allclose(frames[0].pose.translation, (7, 8, 9))
    # wxyz = (.8, 0, 0, .6): about z by 2 acos .8, whose cosine is .28 and sine .96.
    np.testing.assert_allclose(frames[0].pose.rotation[:, 0], (0.28, 0.96, 0), atol=1e-12)
    np.testing.assert_allclose(frames[1].pose.rotation[:, 0], (0.28, -0.96, 0), atol=1e-12)


def test_the_camera_of_a_row_is_taken_as_it_is_and_fitted_to_its_images(example, make_image):
    root = example("csv")
    expected = Intrinsics(500, 510, 319.5, 239.5, 640, 480)
    assert read_poses_csv(root)[0].intrinsics == expected
    make_image(root / "walk/2.jpg", 320, 240)  # the first one is not there
    assert {f.intrinsics for f in read_poses_csv(root)} == {expected.resized(320, 240)}


def test_nearly_unit_quaternions_are_normalised(table):
    root = table(f"image,{POSE}", "a.png,0.8005,0,0,0.6003,0,0,0")
    rotation = read_poses_csv(root, CAMERA)[0].pose.rotation.numpy()
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)


GOOD = "a.png,1,0,0,0,1,2,3"
BAD = {
    "no table": ((), "expected a line of columns and one an image, found none"),
    "no rows": ((f"image,{POSE}",), "expected a line of columns and one an image"),
    "no camera": ((f"image,{POSE}", GOOD), ":2: expected the camera .*--data.intrinsics"),
    "half a camera": ((f"image,{POSE},focal_x", GOOD + ",5"), "found no focal_y, principal_x, "),
    "no image column": ((POSE, "1,0,0,0,1,2,3"), ":1: expected the columns .* found no image"),
    "no unit": (
        (f"image,{POSE[:-2]}", GOOD),
        ":1: unknown column 'center_z', did you mean 'center_z_m'",
    ),
    "misspelled": ((f"image,{POSE},sequnce", GOOD + ",a"), "'sequnce', did you mean 'sequence'"),
    "capital": ((f"Image,{POSE}", GOOD), "'Image', did you mean 'image'"),
    "twice": ((f"image,{POSE},image", GOOD + ",b"), "each column once, found image twice"),
    "semicolons": ((f"image,{POSE}".replace(",", ";"), GOOD), "separated by commas"),
    "short row": ((f"image,{POSE}", GOOD[:-2]), ":2: expected 8 cells .*, found 7"),
    "word": ((f"image,{POSE}", "a.png,1,0,0,zero,1,2,3"), ":2: expected 7 numbers .qw qx"),
    "nan": ((f"image,{POSE}", "a.png,1,0,0,0,1,2,nan"), ":2: expected 7 numbers"),
    "long quaternion": ((f"image,{POSE}", "a.png,1,0,0,.1,1,2,3"), ":2: .*divide it by its len"),
    "zero quaternion": ((f"image,{POSE}", "a.png,0,0,0,0,1,2,3"), ":2: .*length 0"),
    "split": ((f"image,{POSE},split", GOOD + ",val"), ":2: expected split train, test .*'val'"),
    "no name": ((f"image,{POSE}", GOOD.removeprefix("a.png")), ":2: expected the path of a file"),
    "camera": (
        (
            f"image,{POSE},focal_x,focal_y,principal_x,principal_y,width,height",
            GOOD + ",0,5,1,1,9,9",
        ),
        ":2: expected positive focal lengths",
    ),
    "long cell": ((f"image,{POSE}", "a" * 200_000 + GOOD), "expected a line of a table, found"),
}


@pytest.mark.parametrize("problem", BAD)
def test_a_bad_table_is_told_in_one_line(table, problem):
    lines, expected = BAD[problem]
    camera = None if "camera" in problem else CAMERA
    with pytest.raises(DataError, match=expected) as caught:
        read_poses_csv(table(*lines), camera)
    assert "\n" not in str(caught.value)
    assert "poses.csv" in str(caught.value)
