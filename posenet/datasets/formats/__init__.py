"""Dataset formats: one file each holds all that is known of it. A configuration names a row.

A reader gives every frame that the dataset lists, in order within each sequence, whether or not its
image is there: what to do about a missing one is decided in one place, the loader.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from posenet.datasets.formats.seven_scenes import looks_like_seven_scenes, read_seven_scenes
from posenet.datasets.frame import Frame
from posenet.errors import DataError, look_up


class Format(NamedTuple):
    """What is known of a dataset format.

    Attributes:
        read: ``f(root, camera, depth_registered)``: the frames. ``camera`` replaces what the
            dataset says or leaves open about its colour camera; None to take what it says.
        recognise: Whether a folder looks like one, by the names in it.
        expects: Those names, as an error tells them.
        metric: Whether its poses are in metres.
    """

    read: Callable[..., list[Frame]]
    recognise: Callable[[Path], bool]
    expects: str
    metric: bool


FORMATS: dict[str, Format] = {
    "seven_scenes": Format(
        read_seven_scenes, looks_like_seven_scenes, "TrainSplit.txt and seq-XX/", metric=True
    ),
}


def find_format(root: Path, name: str = "auto") -> Format:
    """The format of a dataset.

    Args:
        root: Its folder.
        name: A row of ``FORMATS``, or auto to recognise it.

    Raises:
        DataError: None is recognised, or several are.
        UsageError: There is no format of this name.
    """
    if name != "auto":
        return look_up(FORMATS, name, "dataset format")
    if not root.is_dir():
        raise DataError(
            f"{root}: expected the folder of a dataset, found nothing; give it with --data.root"
        )
    found = [name for name, row in FORMATS.items() if row.recognise(root)]
    if len(found) == 1:
        return FORMATS[found[0]]
    if found:
        raise DataError(
            f"{root}: looks like {' and like '.join(found)}; say which with --data.format"
        )
    known = "; ".join(f"{name}: {row.expects}" for name, row in FORMATS.items())
    raise DataError(f"{root}: expected a dataset, found none of ({known})")
