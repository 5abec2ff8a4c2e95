"""Is a dataset the one that a run was trained on, and does it test the run on what it has seen?"""

from collections.abc import Sequence
from pathlib import Path

import torch

from posenet.datasets.frame import Frame
from posenet.datasets.scene import Scene
from posenet.errors import DataError
from posenet.models.checkpoint import Checkpoint, read_split

# In units of the spread of the training positions. The network has their mean in float32, and
# frames that were lost since may have stood some spreads away from it.
_TOLERANCE, _REACH = 1e-3, 4.0


def require_same_scene(
    checkpoint: Checkpoint, run: Path, scene: Scene, root: str, same_place: bool = False
) -> bool:
    """Refuse a dataset that does not hold the run's training frames where they were.

    A network answers for images of any place, and scenes name their frames alike; errors of one
    scene's network on another's images would look like those of a bad network.

    Args:
        checkpoint: Of the run.
        run: Its folder. Without its split.json nothing can be told, and nothing is refused.
        scene: The dataset.
        root: Where that lies, for the message.
        same_place: Refuse nothing.

    Returns:
        Whether it does hold them, so that equal names are of equal frames.

    Raises:
        DataError: It does not.
    """
    problem = _why_not(checkpoint, run, scene)
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


def _why_not(checkpoint: Checkpoint, run: Path, scene: Scene) -> str | None:
    path = run / "split.json"
    if not path.is_file():
        return None
    trained = read_split(path)["train"]
    index = {frame.name: i for i, frame in enumerate(scene.frames)}
    known = [index[name] for name in trained if name in index]
    if len(known) < 0.5 * len(trained):
        return f"{len(known)} of its {len(trained)} training frames"
    positions = torch.stack([scene.frames[i].pose.translation for i in known]).double()
    there = checkpoint.network.translation_center.double().cpu()
    there = there + torch.tensor(checkpoint.origin, dtype=torch.float64)
    moved = float(torch.linalg.vector_norm(positions.mean(dim=0) - there))
    spread = float(checkpoint.network.translation_spread)
    lost = 1.0 - len(known) / len(trained)
    if moved <= spread * (_TOLERANCE + _REACH * lost):
        return None
    return (
        f"frames of the same names elsewhere: the mean of their positions is {moved:.3g} away from "
        f"where it was, and their spread about it was {spread:.3g}"
    )
