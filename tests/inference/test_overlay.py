"""Pictures with a map: what is drawn is where it should be."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from posenet.config import Config, DataConfig
from posenet.datasets.scene import read_frames
from posenet.datasets.toy_room import write_toy_room
from posenet.errors import DataError
from posenet.geometry import Pose
from posenet.inference.answers import Localized
from posenet.inference.cameras import ImageCamera
from posenet.inference.localizer import Localizer
from posenet.inference.overlay import (
    LEAST_HEIGHT,
    MOST_HEIGHT,
    OverlayPainter,
    _Panel,
    fit_picture,
)
from posenet.inference.overlay_files import _Video
from posenet.inference.scene_map import SceneMap, scene_map, view_of
from posenet.inference.video import measure_video
from posenet.models.calibration import PoseConfidence
from posenet.models.checkpoint import Checkpoint, save_checkpoint

from .conftest import CAMERA, MODEL, picture

# The map shows the world's x to the right and y up; the camera looks down on it from z.
FLAT = SceneMap(np.eye(3)[:2], np.array([[-3.0, -3.0], [3.0, 3.0]]), np.zeros(2), 4.0, "m")
HERE = (240, 160, 20)


def looking(heading_deg, pitch_deg=0.0, roll_deg=0.0, at=(0.0, 0.0, 1.0)):
    """A camera in a world whose z is up, whose heading counts clockwise from y."""
    level = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # right, down, forward
    turn = Rotation.from_euler("z", -heading_deg, degrees=True).as_matrix()
    tilt = Rotation.from_euler("x", pitch_deg, degrees=True).as_matrix()
    spin = Rotation.from_euler("z", roll_deg, degrees=True).as_matrix()
    return Pose(torch.from_numpy(turn @ level @ tilt @ spin), torch.tensor(at).double())


def localized(pose, name="a.png", width=64, height=48, **known):
    camera = ImageCamera(CAMERA, "training")
    pixels = np.full((height, width, 3), 9, np.uint8)
    return Localized(name, pose, None, camera, picture=pixels, **known)


def near(image, color, tolerance=30):
    """Pixels (x, y) that are about of a colour."""
    return np.argwhere(np.abs(image.astype(int) - color).max(axis=-1) < tolerance)[:, ::-1]


@pytest.mark.parametrize(
    ("heading", "pitch", "roll"), [(0, 0, 0), (90, 0, 0), (200, -30, 10), (300, 60, -45)]
)
def test_angles_are_those_of_a_pilot(heading, pitch, roll):
    view = view_of(looking(heading, pitch, roll), FLAT)
    assert view.heading_deg == pytest.approx(heading, abs=1e-9)
    assert view.pitch_deg == pytest.approx(pitch, abs=1e-9)
    assert view.roll_deg == pytest.approx(roll, abs=1e-9)


@pytest.mark.parametrize(("heading", "at"), [(0, (0.0, 0.0)), (90, (2.0, 1.0)), (225, (-1.5, 2.0))])
def test_the_camera_is_drawn_where_it_stands_and_looks(heading, at):
    image = OverlayPainter(FLAT).paint(localized(looking(heading, at=(*at, 1.0))))
    panel = _Panel(image.shape[0], FLAT)
    drawn = image[:, -panel.width :]
    here = near(drawn, HERE).mean(axis=0)
    # 8 m are as wide as the map; its y points up.
    middle = np.array([panel.left, panel.top]) + panel.side / 2.0
    expected = middle + panel.side / 8.0 * np.array(at) * (1, -1)
    np.testing.assert_allclose(here + 0.5, expected, atol=1.5)
    area = panel.map_of(drawn).astype(int)
    corner = np.array([panel.left, panel.top])
    bluish = np.argwhere(area[..., 2] - area[..., 0] > 40)[:, ::-1] + corner - here
    seen = bluish[np.linalg.norm(bluish, axis=1) < 50].mean(axis=0)  # not the axes' letters
    seen /= np.linalg.norm(seen)
    expected = np.sin(np.radians(heading)), -np.cos(np.radians(heading))
    np.testing.assert_allclose(seen, expected, atol=0.1)


def test_a_camera_beyond_the_map_stays_at_its_border():
    far = OverlayPainter(FLAT).paint(localized(looking(0.0, at=(1e9, 0.0, 0.0))))
    assert far.shape == OverlayPainter(FLAT).paint(localized(looking(0.0))).shape
    assert len(near(far, HERE)) == 0  # hollow


def test_a_recording_leaves_a_trail_and_the_next_one_its_own():
    painter = OverlayPainter(FLAT)
    steps = [looking(0.0, at=(x, 0.0, 0.0)) for x in np.linspace(-2.0, 2.0, 9)]
    for pose in steps[:-1]:
        painter.paint(localized(pose, recording="a"))
    trail = painter.paint(localized(steps[-1], recording="a"))
    other = painter.paint(localized(steps[-1], recording="b"))
    orange = [(image[..., 0].astype(int) - image[..., 2] > 25).sum() for image in (trail, other)]
    assert orange[0] > orange[1] + 60  # pixels


@pytest.mark.parametrize("size", [(64, 48), (640, 480), (1080, 1920), (4000, 300), (31, 333)])
def test_pictures_get_a_height_at_which_a_map_can_be_read(size):
    found = fit_picture(picture(*size))
    height, width = found.shape[:2]
    assert LEAST_HEIGHT <= height <= MOST_HEIGHT
    assert (height % 2, width % 2) == (0, 0)  # encoders of video ask for that
    assert width / height == pytest.approx(size[0] / size[1], rel=0.02)
    image = OverlayPainter(FLAT).paint(localized(looking(0.0), width=size[0], height=size[1]))
    assert image.shape[0] == height
    assert image.shape[1] % 2 == 0


def test_the_radius_of_confidence_is_drawn_to_scale():
    def drawn(radius):
        numbers = [torch.tensor(value) for value in (3.0, radius, 0.5, True)]
        entry = localized(looking(0.0), confidence=PoseConfidence(*numbers))
        image = OverlayPainter(FLAT).paint(entry).astype(int)
        panel = _Panel(image.shape[0], FLAT)
        area = panel.map_of(image[:, -panel.width :])
        purple = np.minimum(area[..., 0], area[..., 2]) - area[..., 1] > 30
        return np.ptp(np.argwhere(purple), axis=0) / panel.side if purple.any() else None

    np.testing.assert_allclose(drawn(2.0), 4.0 / 8.0, atol=0.02)
    np.testing.assert_allclose(drawn(3.0), 6.0 / 8.0, atol=0.02)
    assert drawn(float("inf")) is None


def test_names_of_any_letters_and_length_are_drawn():
    painter = OverlayPainter(FLAT)
    image = painter.paint(localized(looking(0.0), name="x" * 300 + "ü\n漢.png"))
    assert image.shape == painter.paint(localized(looking(0.0))).shape


# --- where the map comes from -----------------------------------------------------------------


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    root = tmp_path_factory.mktemp("scene") / "room"
    write_toy_room(root, frames_per_sequence=4, width=64, height=48)
    return root


def save_run(network, root, folder, names=None):
    config = Config(data=DataConfig(root=str(root), width=64, height=48), model=MODEL)
    checkpoint = Checkpoint(network, config, CAMERA, "room", 1, metric=False)
    (folder / "checkpoints").mkdir(parents=True)
    save_checkpoint(folder / "checkpoints" / "best.pt", checkpoint)
    if names is not None:
        split = {"train": names, "validation": [], "test": []}
        (folder / "split.json").write_text(json.dumps(split))
    return Localizer(checkpoint, "cpu")


def test_the_map_shows_the_training_positions_of_the_run(network, room, tmp_path):
    frames = read_frames(DataConfig(root=str(room)))
    names = [frame.name for frame in frames][:3]
    scene = scene_map(save_run(network, room, tmp_path / "a", names), tmp_path / "a")
    centers = np.stack([frame.pose.translation.numpy() for frame in frames[:3]])
    np.testing.assert_allclose(scene.known, centers @ scene.axes.T)
    assert (np.abs(scene.known - scene.center) < scene.radius).all()
    assert scene.unit == "units"
    localizer = save_run(network, room, tmp_path / "b")  # no split.json
    assert 3 < len(scene_map(localizer, tmp_path / "b").known) < len(frames)


def test_without_the_dataset_the_map_lies_about_the_mean_pose(network, tmp_path, capsys):
    scene = scene_map(save_run(network, tmp_path / "gone", tmp_path / "a"), tmp_path / "a")
    assert "overlay: the map shows no training positions" in capsys.readouterr().err
    assert len(scene.known) == 0
    center = network.translation_center.double().numpy()
    np.testing.assert_allclose(scene.center, scene.axes @ center)
    assert scene.radius == pytest.approx(3.0 * float(network.translation_spread))
    assert OverlayPainter(scene).paint(localized(looking(0.0))).std() > 5


def test_a_map_of_another_datasets_positions_is_not_drawn(network, room, tmp_path, capsys):
    localizer = save_run(network, room, tmp_path / "other", ["seq-99/frame-000000"])
    assert len(scene_map(localizer, tmp_path / "other").known) == 0
    assert "holds none of the run's training frames" in capsys.readouterr().err
    frames = read_frames(DataConfig(root=str(room)))
    known = {f.name: tuple((f.pose.translation + 3.0).tolist()) for f in frames}
    elsewhere = localizer.checkpoint._replace(known_centers=known)
    save_checkpoint(tmp_path / "other" / "checkpoints" / "best.pt", elsewhere)
    assert len(scene_map(Localizer(elsewhere, "cpu"), tmp_path / "other").known) == 0
    assert "frames of the same names elsewhere" in capsys.readouterr().err


def test_a_video_that_cannot_be_written_whole_is_an_error(tmp_path):
    """OpenCV says nothing of a full disk."""
    path = tmp_path / "overlay.avi"
    picture = np.zeros((48, 64, 3), np.uint8)
    with _Video(path, 10.0, picture) as video:
        video.write(picture)
    assert measure_video(path).frames == 1
    video = _Video(path, 10.0, picture)
    video.write(picture)
    video.count += 2
    with pytest.raises(DataError, match="cannot be written whole, 3 frames are meant and 1"):
        video.__exit__(None)
