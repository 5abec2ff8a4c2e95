"""Dataset formats: one file each holds all that is known of it. A configuration names a row."""

from collections.abc import Callable

from posenet.datasets.formats.seven_scenes import read_seven_scenes
from posenet.datasets.frame import Frame

FORMATS: dict[str, Callable[..., list[Frame]]] = {"seven_scenes": read_seven_scenes}
