"""Inspect a dataset: findings in the terminal, a page with pictures, JSON for programs."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from posenet.config import DataConfig
from posenet.datasets.formats import find_format
from posenet.datasets.frame import Frame
from posenet.datasets.scene import read_frames
from posenet.datasets.splits import split_frames
from posenet.errors import DataError, UsageError
from posenet.evaluation.metrics import json_ready
from posenet.inspection.checks import run_checks
from posenet.inspection.evidence import MOST_IMAGES, PAIRS, Evidence, gather_evidence
from posenet.inspection.findings import SEVERITIES, Finding, by_severity
from posenet.inspection.page import fact_rows, render_page, sequence_rows
from posenet.inspection.pictures import draw_all
from posenet.inspection.refusals import explain_refusal
from posenet.inspection.summary import summarise
from posenet.progress import make_bar, say
from posenet.staging import require_place, staged

PAGE, DATA = "inspection.html", "inspection.json"
MOST_NAMES = 4  # Of frames in the terminal; the page and the JSON have more.


class Inspection(NamedTuple):
    """What an inspection found.

    Attributes:
        summary: The dataset in plain numbers; empty where it could not be read.
        findings: Errors first.
        evidence: What was looked at; None where the dataset could not be read.
    """

    summary: dict[str, Any]
    findings: list[Finding]
    evidence: Evidence | None

    @property
    def has_errors(self) -> bool:
        """Whether training on this would be pointless."""
        return any(finding.severity == "error" for finding in self.findings)


def inspect_frames(
    frames: Sequence[Frame],
    metric: bool,
    *,
    pairs: int = PAIRS,
    most_images: int = MOST_IMAGES,
    report: Callable[[str, int, int], None] | None = None,
) -> Inspection:
    """Hold poses against images, depth and each other.

    Args:
        frames: Frames of any format, in order within each sequence.
        metric: Whether their poses are said to be in metres.
        pairs: About how many pairs of images to match.
        most_images: Images to decode at most.
        report: Called with (what, done, total).

    Raises:
        DataError: There is no frame.
    """
    if not frames:
        raise DataError("expected posed frames to inspect, found none; check the dataset's folder")
    evidence = gather_evidence(frames, metric, pairs=pairs, most_images=most_images, report=report)
    return Inspection(summarise(evidence), run_checks(evidence), evidence)


def inspect_dataset(
    data: DataConfig, report: Callable[[str, int, int], None] | None = None
) -> Inspection:
    """Inspect the dataset that a configuration names, with the split that training would use.

    A dataset that its reader refuses is an inspection with errors, not an error of its own: what
    is wrong with the files is what was asked.

    Raises:
        DataError: There is no dataset, or it is of no known format.
        UsageError: The configuration does not make sense.
    """
    if not data.root:
        raise UsageError("expected the folder of a dataset, found nothing; name it")
    row = find_format(Path(data.root), data.format)
    try:
        frames = read_frames(data)
    except DataError as error:
        return Inspection({}, by_severity(explain_refusal(Path(data.root), str(error))), None)
    metric, _ = row.units_of(Path(data.root))
    return inspect_frames(_with_split(frames, data), metric, report=report)


def run_inspect(data: DataConfig, output: Path | None = None, as_json: bool = False) -> int:
    """The verb ``posenet inspect``.

    Args:
        data: Which dataset, and how to read it.
        output: Folder for the page and the JSON; ``inspection-<scene>`` when omitted.
        as_json: Print the JSON on stdout instead of a table.

    Returns:
        1 if there are errors, else 0.
    """
    name = Path(data.root).resolve().name
    folder = output or Path(f"inspection-{name}")
    require_place(folder, "--output")
    with make_bar() as bar:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=None, status="")
            bar.update(tasks[what], completed=done, total=total)

        inspection = inspect_dataset(data, report)
        content = to_json(name, inspection)
        report("drawing", 0, 1)
        write_inspection(folder, name, inspection)
    print(json.dumps(content, indent=2) if as_json else format_inspection(name, inspection))
    sys.stdout.flush()
    say(f"wrote {folder / PAGE} and {folder / DATA}")
    return 1 if inspection.has_errors else 0


def write_inspection(folder: Path, name: str, inspection: Inspection) -> None:
    """Write ``inspection.html`` and ``inspection.json`` into a folder, which is made if need be.

    Raises:
        DataError: The folder cannot be written.
    """
    pictures = {}
    if inspection.evidence is not None:
        pictures = draw_all(inspection.evidence, inspection.findings)
    facts = fact_rows(inspection.summary) if inspection.summary else []
    rows = sequence_rows(inspection.summary) if inspection.summary else [["sequence"]]
    page = render_page(name, facts, rows, inspection.findings, pictures)
    text = json.dumps(to_json(name, inspection), indent=2) + "\n"
    with staged(folder, "--output") as stage:
        (stage / PAGE).write_text(page, encoding="utf-8")
        (stage / DATA).write_text(text, encoding="utf-8")


def to_json(name: str, inspection: Inspection) -> dict[str, Any]:
    """An inspection as plain values; numbers that are not finite become None."""
    counts = {s: sum(f.severity == s for f in inspection.findings) for s in SEVERITIES}
    return {
        "dataset": name,
        "counts": counts,
        "findings": [json_ready(finding) for finding in inspection.findings],
        "summary": json_ready(inspection.summary),
    }


def format_inspection(name: str, inspection: Inspection) -> str:
    """The summary and the findings as text for a terminal."""
    lines = [f"Inspection of {name}"]
    if inspection.summary:
        facts = fact_rows(inspection.summary)
        width = max(len(label) for label, _ in facts)
        lines += [f"  {label:<{width}}  {value}" for label, value in facts]
    for finding in inspection.findings:
        lines += ["", f"{finding.severity}: {finding.code}: {finding.message}"]
        if finding.frames:
            shown = ", ".join(finding.frames[:MOST_NAMES])
            more = len(finding.frames) - MOST_NAMES
            lines.append(f"  frames: {shown}" + (f" and {more} more" if more > 0 else ""))
        lines.append(f"  cure: {finding.cure}")
    counts = to_json(name, inspection)["counts"]
    told = ", ".join(f"{n} {s}{'s' if n != 1 else ''}" for s, n in counts.items())
    return "\n".join([*lines, "", told])


def _with_split(frames: list[Frame], data: DataConfig) -> list[Frame]:
    """The frames with the split that training would use."""
    if data.split == "auto" and any(frame.split is not None for frame in frames):
        return frames
    test = set(split_frames(frames, "none", None, data.split).test)
    kept = set(split_frames(frames, "none", None, data.split).train)
    names = {True: "test", False: "train"}
    return [
        replace(frame, split=names[i in test] if i in test or i in kept else None)
        for i, frame in enumerate(frames)
    ]
