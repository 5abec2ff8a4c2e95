"""What a network takes from its dataset before it is trained: statistics and viewpoint bins."""

from posenet.config import Config
from posenet.datasets.loader import training_poses
from posenet.datasets.scene import Scene
from posenet.geometry import Pose
from posenet.models.network import PoseNetwork

_VIEWS_TO_BIN = 3  # random views of each frame that viewpoint bins are fitted to, beside the frame


def fit_statistics(network: PoseNetwork, scene: Scene) -> None:
    """Set centre and spread from the training frames."""
    poses = scene.poses(scene.split.train)
    network.fit_statistics(Pose(poses.rotation.float(), poses.translation.float()))


def fit_bins(network: PoseNetwork, scene: Scene, config: Config) -> str:
    """Divide the training poses into viewpoint bins, where the network has some.

    Returns:
        What came of it, to be said to the user; nothing where it has none.

    Raises:
        DataError: There are too few poses.
    """
    if network.bins is None:
        return ""
    views = training_poses(scene, config.augment, _VIEWS_TO_BIN, config.seed)
    sizes = network.bins.fit(views, config.model.binning, config.seed)
    return f"{len(sizes)} viewpoint bins, of {sizes.min():d} to {sizes.max():d} training views"
