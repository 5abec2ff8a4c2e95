"""The summary of an evaluation as a table for people."""

from typing import Any

from posenet.evaluation.confidence import format_confidence
from posenet.evaluation.evaluate import NETWORK, PREDICTIONS
from posenet.evaluation.recall import recall_keys

INTERVALS = (
    "95 %: block bootstrap over the frames of these sequences, not over scenes or recordings"
)


def format_evaluation(summary: dict[str, Any]) -> str:
    """The summary of a run or of a file of predictions as a table for people."""
    unit = "m" if summary["metric"] else "units"
    columns = [
        ("median_translation_m", f"median {unit}", "{:.3f}"),
        ("median_rotation_deg", "median deg", "{:.2f}"),
        ("mean_translation_m", f"mean {unit}", "{:.3f}"),
        ("mean_rotation_deg", "mean deg", "{:.2f}"),
        ("rmse_translation_m", f"rmse {unit}", "{:.3f}"),
        ("rmse_rotation_deg", "rmse deg", "{:.2f}"),
        ("median_translation_relative", "median / size", "{:.2%}"),
        *(
            (key, key.removeprefix("recall_").replace("_", "/"), "{:.1%}")
            for key in recall_keys(summary)
        ),
    ]
    columns = [column for column in columns if column[0] in summary]
    rows = [(NETWORK if "checkpoint" in summary else PREDICTIONS, summary)]
    low_high = summary["intervals_95"]
    rows += [
        ("  95 % from", {key: low_high[key][0] for key, _, _ in columns}),
        ("  to", {key: low_high[key][1] for key, _, _ in columns}),
    ]
    rows += [
        (f"  {name if name.isprintable() else repr(name)}", values)
        for name, values in summary["sequences"].items()
    ]
    rows += list(summary.get("baselines", {}).items())
    header = ["", *(title for _, title, _ in columns)]
    table = [
        [name, *(form.format(values[key]) for key, _, form in columns)] for name, values in rows
    ]
    widths = [max(len(row[i]) for row in [header, *table]) for i in range(len(header))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in [header, *table]
    ]
    lines.append(INTERVALS)
    if not summary["metric"]:
        lines.append(
            "the dataset has a scale of its own: lengths are in its units, and relative to its "
            f"size of {summary['scene_size']:.3g} (diagonal of the {summary['size_of']} positions)"
        )
    if "viewpoints" in summary:
        lines.append(_format_viewpoints(summary["viewpoints"], unit))
    if "confidence" in summary:
        lines.append(format_confidence(summary["confidence"], unit))
    return "\n".join([_title(summary), *lines])


def _title(summary: dict[str, Any]) -> str:
    split = f"{summary['split']} " if summary["split"] else ""
    frames = f"{summary['scene']}: {summary['frames']:.0f} {split}frames"
    if "checkpoint" in summary:
        return f"{frames}, {summary['checkpoint']} of epoch {summary['epoch']}"
    lost = f", {summary['missing']} without one" if summary["missing"] else ""
    return f"{frames}, predictions of {summary['predictions']} by {summary['matched_by']}{lost}"


def _format_viewpoints(values: dict[str, Any], unit: str) -> str:
    accuracy = f"{values['top1_accuracy']:.1%} right"
    if "top5_accuracy" in values:
        accuracy += f", {values['top5_accuracy']:.1%} among the best five"
    return (
        f"{values['bins']} viewpoint bins: {accuracy}; said to be right "
        f"{values['mean_probability']:.1%}, calibration error "
        f"{values['expected_calibration_error']:.1%}; centre of the bin "
        f"{values['coarse_median_translation_m']:.3f} {unit} "
        f"{values['coarse_median_rotation_deg']:.2f} deg, of the right one "
        f"{values['nearest_bin_median_translation_m']:.3f} {unit} "
        f"{values['nearest_bin_median_rotation_deg']:.2f} deg (medians)"
    )
