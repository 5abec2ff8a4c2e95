"""Within which errors a frame counts as recalled: the lists that the field's benchmarks use."""

from collections.abc import Sequence

from posenet.errors import UsageError, look_up

Threshold = tuple[float, float]  # metres, degrees

# A frame is recalled when both of its errors are within. Source:
# - 7scenes: Shotton et al., Scene Coordinate Regression Forests, CVPR 2013.
# - visloc-day-night: Sattler et al., Benchmarking 6DOF Outdoor Visual Localization in Changing
#   Conditions, CVPR 2018: high, medium and coarse precision; visuallocalization.net counts Aachen,
#   RobotCar Seasons and CMU Seasons by them, day and night.
# - inloc: Taira et al., InLoc, CVPR 2018, as visuallocalization.net reports it.
# - mapfree: Arnold et al., Map-free Visual Relocalization, ECCV 2022, its precision of poses.
# - cambridge: Kendall et al., PoseNet, ICCV 2015, and all since: medians alone.
RECALL_THRESHOLDS: dict[str, tuple[Threshold, ...]] = {
    "default": ((0.05, 5.0), (0.10, 5.0), (0.25, 2.0), (0.50, 5.0), (5.0, 10.0)),
    "7scenes": ((0.05, 5.0),),
    "visloc-day-night": ((0.25, 2.0), (0.50, 5.0), (5.0, 10.0)),
    "inloc": ((0.25, 10.0), (0.50, 10.0), (1.0, 10.0)),
    "mapfree": ((0.25, 5.0),),
    "cambridge": (),
}
DEFAULT_RECALL = RECALL_THRESHOLDS["default"]


def parse_recall(text: str) -> tuple[Threshold, ...]:
    """The thresholds of a list by name, or of ``METRES:DEGREES,METRES:DEGREES,...``.

    Raises:
        UsageError: There is no such list, or a threshold is no pair of numbers above 0.
    """
    if ":" not in text:
        return look_up(RECALL_THRESHOLDS, text, "list of recall thresholds")
    thresholds = tuple(_parse_pair(pair) for pair in text.split(","))
    keys = [recall_key(*pair) for pair in thresholds]
    if len(set(keys)) < len(keys):
        raise UsageError(f"--recall: expected thresholds that differ, found {text!r}")
    return thresholds


def recall_key(metres: float, degrees: float) -> str:
    """What a summary calls the share of frames within both, such as ``recall_5cm_5deg``."""
    length = f"{metres:g}m" if metres >= 1.0 else f"{100.0 * metres:g}cm"
    return f"recall_{length}_{degrees:g}deg"


def recall_keys(summary: Sequence[str]) -> list[str]:
    """Those of the keys that are recalls, in their order."""
    return [key for key in summary if key.startswith("recall_")]


def _parse_pair(pair: str) -> Threshold:
    try:
        metres, degrees = (float(word) for word in pair.split(":"))
    except ValueError:
        metres = degrees = 0.0
    if not (0.0 < metres < float("inf") and 0.0 < degrees <= 180.0):
        raise UsageError(
            "--recall: expected METRES:DEGREES pairs such as 0.05:5,0.25:2 or one of "
            f"{', '.join(RECALL_THRESHOLDS)}, found {pair!r}"
        )
    return metres, degrees
