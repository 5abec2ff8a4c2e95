"""Dataset formats: one file each holds all that is known of it. A configuration names a row.

A reader gives every frame that the dataset lists, in order within each sequence, whether or not its
image is there: what to do about a missing one is decided in one place, the loader. A frame is named
by its path below the dataset's folder as the dataset lists it, or, where nothing lists it, by its
sequence and number.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from posenet.datasets.formats.cambridge import looks_like_cambridge, read_cambridge
from posenet.datasets.formats.colmap import looks_like_colmap, read_colmap
from posenet.datasets.formats.kitti import looks_like_kitti, read_kitti
from posenet.datasets.formats.poses_csv import looks_like_poses_csv, read_poses_csv
from posenet.datasets.formats.seven_scenes import looks_like_seven_scenes, read_seven_scenes
from posenet.datasets.formats.shards import looks_like_shards, read_shards, shard_units
from posenet.datasets.formats.transforms import looks_like_transforms, read_transforms
from posenet.datasets.formats.tum import looks_like_tum, read_tum
from posenet.datasets.formats.twelve_scenes import looks_like_twelve_scenes, read_twelve_scenes
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
        scaled_depth: Whether depth beside poses that are not in metres has their unit. No view of
            another place is rendered from depth in metres there.
        units: ``f(root)``: both of a dataset, for a format in which each says so by itself.
    """

    read: Callable[..., list[Frame]]
    recognise: Callable[[Path], bool]
    expects: str
    metric: bool
    scaled_depth: bool = False
    units: Callable[[Path], tuple[bool, bool]] | None = None

    def units_of(self, root: Path) -> tuple[bool, bool]:
        """``metric`` and ``scaled_depth`` of a dataset."""
        return (self.metric, self.scaled_depth) if self.units is None else self.units(root)


FORMATS: dict[str, Format] = {
    "seven_scenes": Format(
        read_seven_scenes, looks_like_seven_scenes, "TrainSplit.txt and seq-XX/", metric=True
    ),
    "twelve_scenes": Format(
        read_twelve_scenes, looks_like_twelve_scenes, "split.txt and data/", metric=True
    ),
    "cambridge": Format(
        read_cambridge, looks_like_cambridge, "dataset_train.txt and seqX/", metric=True
    ),
    "colmap": Format(
        read_colmap, looks_like_colmap, "sparse/0/images.bin (or .txt) and images/", metric=False
    ),
    "transforms": Format(
        read_transforms,
        looks_like_transforms,
        "transforms.json or its _train",
        metric=False,
        scaled_depth=True,
    ),
    "tum": Format(
        read_tum, looks_like_tum, "rgb.txt and groundtruth.txt, or folders with them", metric=True
    ),
    "kitti": Format(read_kitti, looks_like_kitti, "sequences/XX/ and poses/XX.txt", metric=True),
    "csv": Format(read_poses_csv, looks_like_poses_csv, "poses.csv", metric=True),
    "shards": Format(
        read_shards, looks_like_shards, "shards.json", metric=False, units=shard_units
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
