"""The map of a scene, seen from above, and how a camera stands on it."""

from math import atan2, degrees, hypot
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from posenet.datasets.scene import read_frames
from posenet.datasets.splits import split_frames
from posenet.errors import DataError, PosenetError
from posenet.geometry import Pose, stack_poses, top_down_axes
from posenet.inference.known_frames import why_not_known
from posenet.inference.localizer import Localizer
from posenet.models.checkpoint import find_checkpoint, read_split, run_folder_of
from posenet.progress import say

Array = NDArray[np.float64]


class SceneMap(NamedTuple):
    """A scene from above.

    Attributes:
        axes: World directions of the map's right and up, (2, 3).
        known: Training positions on the map, (N, 2); none where the dataset is not there.
        center: The middle of the map, (2,).
        radius: From the middle to the border, in the scene's unit.
        unit: ``m``, or ``units`` where the scene has a scale of its own.
    """

    axes: Array
    known: Array
    center: Array
    radius: float
    unit: str

    def place(self, positions: Array) -> Array:
        """Where positions (..., 3) lie on the map, (..., 2)."""
        return positions @ self.axes.T


class View(NamedTuple):
    """How a camera looks, in degrees.

    Attributes:
        heading_deg: Clockwise from the top of the map.
        pitch_deg: Upward from level.
        roll_deg: Clockwise.
    """

    heading_deg: float
    pitch_deg: float
    roll_deg: float


def scene_map(localizer: Localizer, run: Path) -> SceneMap:
    """The map of the scene that a network knows.

    The checkpoint holds no training positions. They are taken from the dataset where that is still
    there; else the map is laid about the mean training pose, which the network needs itself.
    """
    checkpoint = localizer.checkpoint
    unit = "m" if checkpoint.metric else "units"
    try:
        train = _training_poses(localizer, run_folder_of(find_checkpoint(run)))
    except (PosenetError, OSError, ValueError, KeyError) as error:
        say(
            f"overlay: the map shows no training positions, as the dataset cannot be read ({error})"
        )
        mean = checkpoint.mean_pose
        axes = top_down_axes(Pose(mean.rotation[None], mean.translation[None]))
        center, radius = mean.translation.numpy(), 3.0 * checkpoint.spread
        return SceneMap(axes, np.zeros((0, 2)), axes @ center, radius, unit)
    axes = top_down_axes(train)
    known = train.translation.numpy() @ axes.T
    low, high = known.min(axis=0), known.max(axis=0)
    radius = 0.6 * float((high - low).max()) or 1.0
    return SceneMap(axes, known, (low + high) / 2.0, radius, unit)


def _training_poses(localizer: Localizer, folder: Path) -> Pose:
    config = localizer.checkpoint.config.data
    frames = read_frames(config)
    problem = why_not_known(localizer.checkpoint.known_centers, localizer.checkpoint.spread, frames)
    if problem is not None:
        raise DataError(f"{config.root}: holds {problem}")
    listed = folder / "split.json"
    if listed.is_file():
        names = set(read_split(listed)["train"])
        chosen = [frame for frame in frames if frame.name in names]
        if not chosen:
            raise DataError(f"{config.root}: holds none of the run's training frames")
    else:
        chosen = [
            frames[i] for i in split_frames(frames, config.validation, test=config.split).train
        ]
    return stack_poses([frame.pose for frame in chosen])


def view_of(pose: Pose, scene: SceneMap) -> View:
    """Heading, pitch and roll of a pose, ()."""
    right, up = scene.axes
    above = np.cross(right, up)
    side, down, forward = pose.rotation.numpy().T
    heading = atan2(forward @ right, forward @ up)
    pitch = atan2(forward @ above, hypot(forward @ right, forward @ up))
    roll = atan2(-side @ above, -down @ above)
    return View(degrees(heading) % 360.0, degrees(pitch), degrees(roll))
