"""Is a dataset the one that a run was trained on, and does it test the run on what it has seen?"""

from collections.abc import Sequence
from pathlib import Path

from posenet.datasets.frame import Frame
from posenet.datasets.scene import Scene
from posenet.errors import DataError
from posenet.inference.known_frames import why_not_known
from posenet.models.checkpoint import Checkpoint, read_split


def require_same_scene(
    checkpoint: Checkpoint, run: Path, scene: Scene, root: str, same_place: bool = False
) -> bool:
    """Refuse a dataset that does not hold the run's training frames where they were.

    A network answers for images of any place, and scenes name their frames alike; errors of one
    scene's network on another's images would look like those of a bad network.

    Args:
        checkpoint: Of the run.
        run: Its folder, for the message.
        scene: The dataset.
        root: Where that lies, for the message.
        same_place: Refuse nothing.

    Returns:
        Whether it does hold them, so that equal names are of equal frames.

    Raises:
        DataError: It does not.
    """
    problem = why_not_known(checkpoint.known_centers, checkpoint.spread, scene.frames)
    if problem is not None and not same_place:
        raise DataError(
            f"{root}: expected the dataset that {run} was trained on ({checkpoint.scene!r}), found "
            f"{problem}; give its folder with --root, or --same-place to measure on other "
            "images of the same place, in the same coordinates"
        )
    return problem is None


def require_unseen(frames: Sequence[Frame], run: Path, split: str) -> None:
    """Refuse to measure on frames that the run knows, whatever the dataset says now.

    Raises:
        DataError: There is one.
    """
    path = run / "split.json"
    if split == "train" or not path.is_file():
        return
    names = read_split(path)
    trained = set(names["train"]) | set(names["validation"] if split == "test" else ())
    both = [frame.name for frame in frames if frame.name in trained]
    if both:
        raise DataError(
            f"{path}: this run was trained on {both[0]} and {len(both) - 1} more frames that are "
            f"{split} frames now; evaluate with the split that it was trained with"
        )
