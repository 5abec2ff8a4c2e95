"""A benchmark against an earlier one: ratios by name, and what makes them worth less."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from posenet.config import Config, config_to_dict
from posenet.errors import DataError

FORMAT = 1
_MEASURED = ("reference", "loader", "step", "predict", "backbones", "memory")
_ENDS = ("_ms", "_peak_mb")  # of the names of times and memory; rates say the same as times
_MACHINE = ("cpu", "cores", "threads", "device", "gpu", "platform", "torch")
REFERENCE = "reference.matmul_ms"
_NO_MATTER = ("output", "data.cache")  # of settings
# Less than this says nothing, however little the repeats of one run differ.
_NOISE = 0.05


class _Figure(NamedTuple):
    value: float
    spread: float  # of the repeats that it comes from


def read_results(path: Path) -> dict[str, Any]:
    """Read what ``posenet bench --output`` wrote.

    Raises:
        DataError: It is something else, or of a newer version.
    """
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(
        isinstance(found.get(part), dict)
        for part in ("environment", "settings", "effort", "dataset")
    ):
        raise DataError(
            f"{path}: expected what posenet bench --output wrote, found something else; make one "
            "with: posenet bench --output FILE"
        )
    if found.get("format") != FORMAT:
        raise DataError(
            f"{path}: expected results of format {FORMAT}, found {found.get('format')!r}; measure "
            "again with this version"
        )
    return found


def compare_results(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Ratios of this benchmark to an earlier one.

    Args:
        now: Results of this one.
        before: Of the earlier one.

    Returns:
        ``ratios`` of times and memory: by name ``before``, ``now``, ``ratio`` (now / before, below
        1 is better), ``spread`` (the larger of both) and ``verdict``: better, worse, or unclear
        where the ratio is within the spread or 5 % of 1. ``machine`` and ``settings``: what
        differs, ``[before, now]`` by name. ``warnings``: what makes the ratios worth less.
        ``only_before`` and ``only_now``: figures without a partner.
    """
    ours, theirs = (dict(_figures(part)) for part in (now, before))
    ratios = {name: _ratio(theirs[name], ours[name]) for name in ours if name in theirs}
    machine = _differences(
        *({name: part["environment"].get(name) for name in _MACHINE} for part in (before, now))
    )
    settings = _differences(*(_settings(part) for part in (before, now)))
    return {
        "machine": machine,
        "settings": settings,
        "warnings": list(_warnings(machine, settings, ratios)),
        "ratios": ratios,
        "only_before": [name for name in theirs if name not in ours],
        "only_now": [name for name in ours if name not in theirs],
    }


def _settings(results: Mapping[str, Any]) -> dict[str, Any]:
    more = {name: results[name] for name in ("effort", "dataset")}
    # What an earlier version did not have, it did as the defaults do.
    return {**_flat(config_to_dict(Config())), **_flat({**results["settings"], **more})}


def _warnings(
    machine: Mapping[str, Any], settings: Mapping[str, Any], ratios: Mapping[str, Any]
) -> Iterator[str]:
    for what, differences in (("machine is another", machine), ("settings are others", settings)):
        for name, (before, now) in differences.items():
            yield f"the {what}: {name} was {before!r}, now {now!r}"
    reference = ratios.get(REFERENCE)
    if reference is not None and reference["verdict"] != "unclear":
        yield (
            f"the machine itself took {reference['ratio']:.2f} times as long as before for the "
            f"same product of matrices ({REFERENCE}): ratios near this are not of posenet's making"
        )


def _ratio(before: _Figure, now: _Figure) -> dict[str, Any]:
    ratio, spread = now.value / before.value, max(before.spread, now.spread)
    verdict = "unclear"
    if abs(math.log(ratio)) > math.log1p(max(spread, _NOISE)):
        verdict = "better" if ratio < 1.0 else "worse"
    return {
        "before": before.value,
        "now": now.value,
        "ratio": ratio,
        "spread": spread,
        "verdict": verdict,
    }


def _figures(results: Mapping[str, Any]) -> Iterator[tuple[str, _Figure]]:
    """All times and peaks of memory by name."""
    flat = _flat({name: results.get(name) for name in _MEASURED})
    for name, value in flat.items():
        if name.endswith(_ENDS) and _is_positive(value):
            parent, _, last = name.rpartition(".")
            by_cpu = "cpu_" if last.startswith("cpu_") else ""
            spread = flat.get(f"{parent}.{by_cpu}spread")
            yield name, _Figure(value, spread if _is_positive(spread) else 0.0)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{above}{name}.")
        else:
            found[f"{above}{name}"] = value
    return found


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    names = [name for name in {**before, **now} if name not in _NO_MATTER]
    pairs = {name: [before.get(name), now.get(name)] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
