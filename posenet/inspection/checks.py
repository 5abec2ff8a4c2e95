"""The table of checks: each looks at the evidence and returns what it finds."""

from collections.abc import Callable

from posenet.inspection.checks_geometry import (
    check_belonging,
    check_conventions,
    check_coverage,
    check_depth,
    check_intrinsics,
    check_scale,
)
from posenet.inspection.checks_images import (
    check_orientations,
    check_readable,
    check_repeated,
    check_sizes,
)
from posenet.inspection.checks_labels import (
    check_amount,
    check_finite,
    check_jumps,
    check_leak,
    check_rigid,
)
from posenet.inspection.evidence import Evidence
from posenet.inspection.findings import Finding, by_severity

# What explains most comes first: a wrong convention before the jumps it might have caused.
CHECKS: dict[str, Callable[[Evidence], list[Finding]]] = {
    "finite": check_finite,
    "rigid": check_rigid,
    "conventions": check_conventions,
    "belonging": check_belonging,
    "intrinsics": check_intrinsics,
    "scale": check_scale,
    "readable": check_readable,
    "sizes": check_sizes,
    "orientations": check_orientations,
    "repeated": check_repeated,
    "leak": check_leak,
    "jumps": check_jumps,
    "depth": check_depth,
    "amount": check_amount,
    "coverage": check_coverage,
}


def run_checks(evidence: Evidence) -> list[Finding]:
    """All findings, errors first; each code once unless it concerns other frames."""
    findings: list[Finding] = []
    for check in CHECKS.values():
        for finding in check(evidence):
            if not any(f.code == finding.code and not finding.frames for f in findings):
                findings.append(finding)
    return by_severity(findings)
