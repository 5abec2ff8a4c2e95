"""Losses on rotations: functions of two (..., 3, 3) rotations that return (...), in radians."""

from collections.abc import Callable

from torch import Tensor

from posenet.geometry import geodesic_distance

# The network turns every representation into a matrix, so one loss serves them all.
ROTATION_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "geodesic": geodesic_distance,
}
