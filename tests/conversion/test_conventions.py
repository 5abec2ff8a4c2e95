"""What each format means: one known camera in every format, and other people's readers."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from posenet.conversion import POSE_FILES, read_pose_file, write_pose_file
from posenet.geometry import Distortion, Intrinsics

# The camera stands at (1, 2, 3) and looks along the world's x; its right is the world's -y, its
# down the world's -z. By hand: the columns of the rotation are right, down and forward.
CENTER = (1.0, 2.0, 3.0)
ROTATION = np.array(((0.0, 0.0, 1.0), (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)))
# world-to-camera translation -R^T c: (c_y, c_z, -c_x)
FILES = {
    "tum": "12.5 1 2 3 -0.5 0.5 -0.5 0.5\n",
    "visloc": "a.png 0.5 0.5 -0.5 0.5 2 3 -1\n",
    "kitti": "0 0 1 1 -1 0 0 2 0 -1 0 3\n",
    "csv": "frame,qw,qx,qy,qz,center_x,center_y,center_z\na.png,0.5,-0.5,0.5,-0.5,1,2,3\n",
    "colmap": "1 0.5 0.5 -0.5 0.5 2 3 -1 1 a.png\n\n",
    # OpenGL: right stays, up is -down, back is -forward
    "transforms": json.dumps(
        {
            "frames": [
                {
                    "file_path": "a.png",
                    "transform_matrix": [[0, 0, -1, 1], [-1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]],
                }
            ]
        }
    ),
    "7scenes": "0 0 1 1\n-1 0 0 2\n0 -1 0 3\n0 0 0 1\n",
}


def lay_out(name, folder):
    """The file of a format, and what to read."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "colmap":
        (folder / "images.txt").write_text(FILES[name])
        return folder
    if name == "7scenes":
        (folder / "seq-01").mkdir()
        (folder / "seq-01" / "frame-000000.pose.txt").write_text(FILES[name])
        return folder
    path = folder / ("t.json" if name == "transforms" else "t.txt")
    path.write_text(FILES[name])
    return path


@pytest.mark.parametrize("name", POSE_FILES)
def test_a_camera_written_by_hand_is_recognised_and_read(name, tmp_path):
    found = read_pose_file(lay_out(name, tmp_path / "in"))
    np.testing.assert_allclose(found.pose.rotation[0], ROTATION, atol=1e-15)
    np.testing.assert_allclose(found.pose.translation[0], CENTER, atol=1e-15)


@pytest.mark.parametrize("name", POSE_FILES)
def test_a_camera_is_written_as_by_hand(name, tmp_path, new_trajectory):
    x, y, z, w = Rotation.from_matrix(ROTATION).as_quat()
    wanted = new_trajectory([(w, x, y, z)], [CENTER], ["a.png"], timestamps=[12.5])
    path = tmp_path / {"transforms": "t.json", "csv": "t.csv"}.get(name, "t.txt")
    write_pose_file(wanted, path, name)
    file = {"colmap": "images.txt", "7scenes": "seq-01/frame-000000.pose.txt"}.get(name)
    text = (path / file if file else path).read_text()
    if name == "transforms":
        assert json.loads(text) == json.loads(FILES[name])
    elif name == "csv":
        assert text.splitlines()[0] == (
            "frame,sequence,timestamp,qw,qx,qy,qz,center_x_m,center_y_m,center_z_m"
        )
        assert [float(cell) for cell in text.splitlines()[1].split(",")[2:]] == (
            [12.5, 0.5, -0.5, 0.5, -0.5, 1, 2, 3]
        )
    else:
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        expected = FILES[name].splitlines()
        assert len(lines) == len(expected)
        for line, other in zip(lines, expected, strict=True):
            for one, two in zip(line.split(), other.split(), strict=True):
                assert one == two or float(one) == pytest.approx(float(two), abs=1e-15)


def test_quaternions_are_written_with_w_not_negative(new_trajectory, tmp_path):
    rng = np.random.default_rng(0)
    turns = [*rng.normal(size=(50, 4)).tolist(), (0, -1, 0, 0), (0, 0, -0.6, 0.8)]
    wanted = new_trajectory(turns, rng.normal(size=(52, 3)), [f"n{i}" for i in range(52)])
    for name, column in (("tum", 7), ("visloc", 1), ("colmap", 1)):
        write_pose_file(wanted, tmp_path / name / "out.txt", name)
        path = tmp_path / name / "out.txt"
        text = (path / "images.txt" if path.is_dir() else path).read_text()
        rows = [line.split() for line in text.splitlines() if line and line[0] != "#"]
        assert len(rows) == 52
        assert all(float(row[column]) >= 0 for row in rows)


def test_a_camera_counts_pixels_from_the_corner_in_colmap_and_transforms(drive, tmp_path):
    """The centre of the top-left pixel is (0, 0) here and (0.5, 0.5) there."""
    write_pose_file(drive, tmp_path / "m", "colmap")
    line = (tmp_path / "m" / "cameras.txt").read_text().splitlines()[1]
    assert line == "1 OPENCV 640 480 500.25 510.5 320.0 240.25 0.1 -0.02 0.003 -0.004"
    write_pose_file(drive, tmp_path / "t.json", "transforms")
    content = json.loads((tmp_path / "t.json").read_text())
    assert (content["cx"], content["cy"], content["w"], content["h"]) == (320.0, 240.25, 640, 480)
    assert (content["fl_x"], content["fl_y"]) == (500.25, 510.5)
    assert (content["camera_model"], content["k1"], content["p2"]) == ("OPENCV", 0.1, -0.004)


LENSES = {
    "none": None,
    "radial": Distortion("radial_tangential", (0.1, -0.02, 0.003, -0.004)),
    "rational": Distortion(
        "radial_tangential", (0.1, -0.02, 0.003, -0.004, 0.01, 0.02, -0.01, 0.005)
    ),
    "fisheye": Distortion("fisheye", (0.1, -0.02, 0.003, -0.004)),
}


@pytest.mark.parametrize("lens", LENSES)
def test_colmap_reads_the_poses_and_projects_as_we_do(lens, drive, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    cv2 = pytest.importorskip("cv2")
    camera = drive.intrinsics[0]
    other = Intrinsics(300.0, 310.0, 99.5, 49.5, 200, 100)
    drive = drive._replace(
        distortions=[LENSES[lens]] * 5, intrinsics=[camera, camera, other, camera, other]
    )
    write_pose_file(drive, tmp_path / "m", "colmap")
    model = pycolmap.Reconstruction(str(tmp_path / "m"))
    images = {image.name: image for image in model.images.values()}
    assert sorted(images) == sorted(drive.names)
    assert len(model.cameras) == 2
    seen = np.random.default_rng(1).uniform((-0.4, -0.4, 1.0), (0.4, 0.4, 2.0), (20, 3))
    for i, name in enumerate(drive.names):
        image, pose = images[name], drive.pose
        matrix = image.cam_from_world().matrix()
        np.testing.assert_allclose(
            matrix, pose.world_to_camera[i, :3].numpy(), rtol=0.0, atol=1e-12
        )
        np.testing.assert_allclose(image.projection_center(), pose.translation[i], atol=1e-12)
        theirs = np.array([image.camera.img_from_cam(point) for point in seen])
        intrinsics, distortion = drive.intrinsics[i], LENSES[lens]
        bent = np.zeros(4) if distortion is None else np.array(distortion.coefficients)
        project = cv2.fisheye.projectPoints if lens == "fisheye" else cv2.projectPoints
        zero = np.zeros(3)
        if lens == "fisheye":
            ours, _ = project(seen[:, None], zero, zero, intrinsics.matrix, bent)
        else:
            ours, _ = project(seen, zero, zero, intrinsics.matrix, bent)
        np.testing.assert_allclose(theirs - 0.5, ours.reshape(-1, 2), atol=1e-9)


def test_colmap_loads_a_model_without_cameras(drive, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    drive = drive._replace(intrinsics=[None] * 5, distortions=[None] * 5)
    notes = write_pose_file(drive, tmp_path / "m", "colmap")
    assert any("0x0 pixels" in note for note in notes)
    model = pycolmap.Reconstruction(str(tmp_path / "m"))
    assert len(model.images) == 5
    assert read_pose_file(tmp_path / "m").intrinsics == [None] * 5


@pytest.mark.parametrize("name", ["tum", "kitti"])
def test_evo_reads_our_trajectories(name, new_trajectory, tmp_path, run_evo):
    """evo's own copy of what it read, and its measure of the path, against ours."""
    rng = np.random.default_rng(5)
    known = {"timestamps": np.cumsum(rng.uniform(0.01, 0.1, 40)).tolist()} if name == "tum" else {}
    wanted = new_trajectory(
        rng.normal(size=(40, 4)), rng.normal(size=(40, 3)), [f"{i}" for i in range(40)], **known
    )
    write_pose_file(wanted, tmp_path / "ours.txt", name)
    save = f"--save_as_{name}"
    printed = run_evo("evo_traj", name, "ours.txt", "--full_check", save)
    assert "SE(3) conform\tyes" in printed
    theirs = read_pose_file(tmp_path / ("ours.tum" if name == "tum" else "ours.kitti"), name)
    np.testing.assert_allclose(theirs.pose.matrix, wanted.pose.matrix, rtol=0.0, atol=1e-9)
    if name == "tum":
        np.testing.assert_allclose(theirs.timestamps, wanted.timestamps, rtol=0.0, atol=1e-9)
