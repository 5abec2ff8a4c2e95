"""Is a dataset the one that a run was trained on, and does it test the run on what it has seen?"""

from collections.abc import Sequence
from pathlib import Path

import torch

from posenet.datasets.frame import Frame
from posenet.datasets.scene import Scene
from posenet.errors import DataError
from posenet.models.checkpoint import Checkpoint, read_split

# In units of the spread of the training positions: poses that were converted differ by rounding.
_TOLERANCE = 1e-3


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
    problem = _why_not(checkpoint, scene)
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


def _why_not(checkpoint: Checkpoint, scene: Scene) -> str | None:
    known = checkpoint.known_centers
    now = {frame.name: frame.pose.translation for frame in scene.frames if frame.name in known}
    if len(now) < 0.5 * len(known):
        return f"{len(now)} of the {len(known)} training frames that the checkpoint knows"
    if not now:  # a checkpoint that knows none
        return None
    then = torch.tensor([known[name] for name in now], dtype=torch.float64)
    moved = torch.linalg.vector_norm(torch.stack([*now.values()]).double() - then, dim=-1).median()
    if moved <= _TOLERANCE * checkpoint.spread:
        return None
    return (
        "frames of the same names elsewhere: in the median "
        f"{float(moved):.3g} away from where they stood"
    )
