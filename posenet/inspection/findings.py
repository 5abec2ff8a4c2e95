"""What an inspection can find: one line each, how bad it is, where, and what to do about it."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Finding(NamedTuple):
    """One thing worth knowing before hours of training.

    Attributes:
        code: What it is, for programs; a row of docs/inspect.md.
        severity: ``error`` (training on this is pointless), ``warning`` (it will cost accuracy or
            make a measurement meaningless) or ``note``.
        message: One line: what was expected and what was found, with figures.
        frames: Names of the frames concerned, the worst or the first ones first.
        cure: What to do.
    """

    code: str
    severity: Severity
    message: str
    frames: tuple[str, ...]
    cure: str


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first; the order of the checks otherwise."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
