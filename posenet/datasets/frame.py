"""One posed image, whatever format it came from."""

from dataclasses import dataclass
from pathlib import Path

from posenet.datasets.orientation import Reading
from posenet.datasets.stored import PackedFile, Stored
from posenet.geometry import Distortion, Intrinsics, Pose


@dataclass(frozen=True)
class DepthCamera:
    """A depth sensor beside the colour camera, looking the same way.

    Attributes:
        intrinsics: Of the depth image, at any size.
        color_center: Centre of the colour camera in depth-camera coordinates, metres.
    """

    intrinsics: Intrinsics
    color_center: tuple[float, float, float]


@dataclass(frozen=True)
class Frame:
    """A posed image on disk.

    Attributes:
        name: Unique in its dataset and stable across machines, for example
            ``"seq-06/frame-000003"``.
        image_path: The colour image. Of a frame in a shard, where it was in its dataset, which
            names it; read what :attr:`image` gives.
        pose: Camera-to-world pose, float64.
        intrinsics: The camera of the image at its size on disk.
        sequence: The recording the frame belongs to; neighbours in a sequence look alike.
        split: ``"train"`` or ``"test"``, as the dataset says; None where it does not.
        depth_path: Depth image, where the dataset has one.
        depth_camera: The camera of that image; None when its pixels are the colour image's.
        depth_scale: Units of the depth image in a metre; 1000 for millimetres.
        distortion: Of the image's lens; None where straight lines are straight.
        packed_image: The colour image of a frame in a shard.
        packed_depth: Its depth image.
        known_reading: Which way up the image is read, where that is known without opening it.
    """

    name: str
    image_path: Path
    pose: Pose
    intrinsics: Intrinsics
    sequence: str
    split: str | None
    depth_path: Path | None = None
    depth_camera: DepthCamera | None = None
    depth_scale: float = 1000.0
    distortion: Distortion | None = None
    packed_image: PackedFile | None = None
    packed_depth: PackedFile | None = None
    known_reading: Reading | None = None

    @property
    def image(self) -> Stored:
        """Where the bytes of the colour image are."""
        return self.packed_image or self.image_path

    @property
    def depth(self) -> Stored | None:
        """Where the bytes of the depth image are; None where there is none."""
        return None if self.depth_path is None else self.packed_depth or self.depth_path


def path_below(path: Path, root: Path) -> str | None:
    """What a file is called below the folder of its dataset; None where it lies elsewhere."""
    if not path.is_relative_to(root):
        root = root.resolve()  # some readers resolve links, some do not
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None
