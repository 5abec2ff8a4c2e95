"""A tiny dataset of each format, its poses worked out by hand.

The first camera of each stands at (1, 2, 3) and looks along the world's x axis, the world's z axis
pointing up in its image. Its axes in the world are then: right (0, -1, 0), down (0, 0, -1) and
forward (1, 0, 0); camera-to-world quaternion wxyz (.5, -.5, .5, -.5). The others are further on.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from posenet.config import DataConfig
from posenet.datasets.sharding import write_shards

RIGHT, DOWN, FORWARD = (0, -1, 0), (0, 0, -1), (1, 0, 0)
ROTATION = np.array((RIGHT, DOWN, FORWARD), float).T
CENTERS = np.array(((1, 2, 3), (1.5, 2, 3), (2, 2, 3)), float)
MATRICES = [f"0 0 1 {x}\n-1 0 0 2\n0 -1 0 3\n0 0 0 1\n" for x in (1, 1.5, 2)]
INFO = """m_versionNumber = 4
m_colorWidth = 1296
m_colorHeight = 968
m_depthWidth = 640
m_depthHeight = 480
m_depthShift = 1000
m_calibrationColorIntrinsic = 1158.3 0 649 0 0 1153.53 483.5 0 0 0 1 0 0 0 0 1
m_calibrationColorExtrinsic = 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1
m_calibrationDepthIntrinsic = 570 0 320 0 0 571 240 0 0 0 1 0 0 0 0 1
m_calibrationDepthExtrinsic = 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_image(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


def write_seven_scenes(root: Path) -> None:
    for number, matrix in enumerate(MATRICES):
        write(root / f"seq-01/frame-{number:06d}.pose.txt", matrix)
        write_image(root / f"seq-01/frame-{number:06d}.color.png", 64, 48)
    write(root / "TrainSplit.txt", "sequence1\n")


def write_twelve_scenes(root: Path) -> None:
    for number, matrix in enumerate(MATRICES):
        write(root / f"data/frame-{number:06d}.pose.txt", matrix)
        write_image(root / f"data/frame-{number:06d}.color.jpg", 648, 484)
        cv2.imwrite(str(root / f"data/frame-{number:06d}.depth.png"), np.ones((48, 64), np.uint16))
    lines = "sequence0 [frames=1]  [start=0 ; end=0]\nsequence1 [frames=2]  [start=1 ; end=2]\n"
    write(root / "split.txt", lines)
    write(root / "info.txt", INFO)


def write_cambridge(root: Path) -> None:
    head = "Visual Landmark Dataset V1\nImageFile, Camera Position [X Y Z W P Q R]\n\n"
    # Camera centre, but the world-to-camera quaternion.
    lines = [f"seq1/frame0000{i}.png {x} 2 3 .5 .5 -.5 .5\n" for i, x in ((1, 1), (2, 1.5))]
    write(root / "dataset_train.txt", head + "".join(lines))
    write(root / "dataset_test.txt", head + "seq2/frame00001.png 2 2 3 .5 .5 -.5 .5\n")


def write_colmap(root: Path) -> None:
    write(root / "sparse/0/cameras.txt", "# Camera list\n1 PINHOLE 640 480 500 510 320 240\n")
    # World-to-camera: minus the centre along right, down and forward.
    lines = [
        f"{i} 0.5 0.5 -0.5 0.5 2 3 {-x} 1 a{i}.jpg\n1.5 2.5 -1 3 4 7\n"
        for i, x in ((1, 1), (2, 1.5), (3, 2))
    ]
    write(root / "sparse/0/images.txt", "# Image list\n" + "".join(lines))


def write_transforms(root: Path) -> None:
    # OpenGL: the columns are right, up and back.
    frames = [
        {
            "file_path": f"./images/{i}.png",
            "transform_matrix": [[0, 0, -1, x], [-1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]],
        }
        for i, x in enumerate((1, 1.5, 2))
    ]
    camera = {"fl_x": 500, "fl_y": 510.0, "cx": 320, "cy": 240, "w": 640.0, "h": 480}
    write(root / "transforms.json", json.dumps(camera | {"frames": frames}))


def write_tum(root: Path) -> None:
    times = (100.0, 100.1, 100.2)
    write(root / "rgb.txt", "# color\n" + "".join(f"{t:.6f} rgb/{t:.6f}.png\n" for t in times))
    depth = "".join(f"{t + 0.01:.6f} depth/{t:.6f}.png\n" for t in times)
    write(root / "depth.txt", "# depth\n" + depth)
    poses = zip(times, (1, 1.5, 2), strict=True)  # xyzw
    lines = [f"{t:.4f} {x} 2 3 -0.5 0.5 -0.5 0.5\n" for t, x in poses]
    write(root / "groundtruth.txt", "# timestamp tx ty tz qx qy qz qw\n" + "".join(lines))


def write_kitti(root: Path) -> None:
    rows = [f"0 0 1 {x} -1 0 0 2 0 -1 0 3\n" for x in (1, 1.5, 2)]
    write(root / "poses/04.txt", "".join(rows))
    calibration = "P0: 700 0 600 0 0 700 180 0 0 0 1 0\nP2: 700 0 600 48 0 700 180 0.4 0 0 1 0.01\n"
    write(root / "sequences/04/calib.txt", calibration)
    write(root / "sequences/04/times.txt", "0\n0.1\n0.2\n")
    (root / "sequences/04/image_0").mkdir()


def write_csv(root: Path) -> None:
    head = "image,qw,qx,qy,qz,center_x_m,center_y_m,center_z_m,"
    head += "focal_x,focal_y,principal_x,principal_y,width,height\n"
    rows = [
        f"walk/{i}.jpg,.5,-.5,.5,-.5,{x},2,3,500,510,319.5,239.5,640,480\n"
        for i, x in ((1, 1), (2, 1.5), (3, 2))
    ]
    write(root / "poses.csv", head + "".join(rows))


def write_shards_of_seven_scenes(root: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_seven_scenes(Path(folder))
        write_shards(DataConfig(root=folder), root)


WRITERS: dict[str, Callable[[Path], None]] = {
    "seven_scenes": write_seven_scenes,
    "twelve_scenes": write_twelve_scenes,
    "cambridge": write_cambridge,
    "colmap": write_colmap,
    "transforms": write_transforms,
    "tum": write_tum,
    "kitti": write_kitti,
    "csv": write_csv,
    "shards": write_shards_of_seven_scenes,
}


@pytest.fixture(scope="session")
def write_example() -> Callable[[str, Path], Path]:
    """Write the tiny dataset of a format into a new folder; it is returned."""

    def write_one(name: str, folder: Path) -> Path:
        root = folder / f"freiburg3_{name}"  # TUM reads the camera from the folder's name
        root.mkdir(parents=True)
        WRITERS[name](root)
        return root

    return write_one


@pytest.fixture
def example(write_example, tmp_path) -> Callable[[str], Path]:
    """The tiny dataset of a format, the test's own to break."""
    return lambda name: write_example(name, tmp_path)


@pytest.fixture(scope="session")
def first_rotation() -> np.ndarray:
    return ROTATION


@pytest.fixture(scope="session")
def centers() -> np.ndarray:
    return CENTERS


@pytest.fixture(scope="session")
def make_image() -> Callable[[Path, int, int], None]:
    return write_image
