"""Camera pose from one image: train, evaluate and use absolute camera pose networks.

Conventions, obeyed everywhere: a pose is camera-to-world with OpenCV axes (x right, y down,
z forward), its translation is the camera centre, quaternions are wxyz, angles are radians unless
a name ends in ``_deg``.
"""

from typing import TYPE_CHECKING, Any

from posenet.version import __version__

if TYPE_CHECKING:
    from posenet.geometry import Pose
    from posenet.inference.localizer import Localizer

__all__ = ["Localizer", "Pose", "__version__"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; `import posenet` and `posenet --help` must not pay for it.
    if name == "Localizer":
        from posenet.inference.localizer import Localizer

        return Localizer
    if name == "Pose":
        from posenet.geometry import Pose

        return Pose
    raise AttributeError(f"module 'posenet' has no attribute {name!r}")
