"""Is a dataset the one that a network was trained on? Scenes name their frames alike."""

from collections.abc import Mapping, Sequence

import torch

from posenet.datasets.frame import Frame

# In units of the spread of the training positions: poses that were converted differ by rounding.
_TOLERANCE = 1e-3


def why_not_known(
    known_centers: Mapping[str, tuple[float, ...]], spread: float, frames: Sequence[Frame]
) -> str | None:
    """What speaks against frames being those that a network was trained on; None for nothing.

    Args:
        known_centers: Camera centres of some of its training frames by name, in the world.
        spread: Root mean square distance of its training positions to their mean.
        frames: All frames of the dataset, some of which may have been lost.
    """
    now = {f.name: f.pose.translation for f in frames if f.name in known_centers}
    if len(now) < 0.5 * len(known_centers):
        return f"{len(now)} of the {len(known_centers)} training frames that the checkpoint knows"
    if not now:  # a checkpoint that knows none
        return None
    then = torch.tensor([known_centers[name] for name in now], dtype=torch.float64)
    moved = torch.linalg.vector_norm(torch.stack([*now.values()]).double() - then, dim=-1).median()
    if moved <= _TOLERANCE * spread:
        return None
    return (
        "frames of the same names elsewhere: in the median "
        f"{float(moved):.3g} away from where they stood"
    )
