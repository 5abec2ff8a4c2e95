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
# Ends of the names of times and of memory, rates saying the same as times; and how much less than
# a ratio of two of them says nothing, however little the repeats of one run differ.
_NOISE = {"_ms": 0.05, "_peak_mb": 0.1}
_MACHINE = ("cpu", "cores", "threads", "device", "gpu", "platform", "torch")
REFERENCE = "reference.cpu_matmul_ms"
_NO_MATTER = ("output", "data.cache")  # of settings
# On a machine that others use, figures that no change concerned differed by up to 37 % from run to
# run, also those by CPU time: cores share caches and memory.
_BUSY, _NOISE_OF_BUSY = 0.1, 0.4
_BY_CLOCK = "by the clock only"


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
        where the ratio is within the spread, or 5 % of 1 (of memory 10 %, on a machine that others
        use 40 %); with "by the clock only"
        where networks run on the CPU and its time does not say so. ``machine`` and ``settings``:
        what differs, ``[before, now]`` by name. ``warnings``: what makes the ratios worth less.
        ``only_before`` and ``only_now``: figures without a partner.
    """
    ours, theirs = (dict(_figures(part)) for part in (now, before))
    busy = any(map(is_busy, (now, before)))
    ratios = {name: _ratio(name, theirs[name], ours[name], busy) for name in ours if name in theirs}
    if now["environment"].get("device") == "cpu":
        _doubt_clock(ratios)
    machine = _differences(
        *({name: part["environment"].get(name) for name in _MACHINE} for part in (before, now))
    )
    settings = _differences(*(_settings(part) for part in (before, now)))
    return {
        "machine": machine,
        "settings": settings,
        "warnings": list(_warnings(machine, settings, ratios, busy)),
        "ratios": ratios,
        "only_before": [name for name in theirs if name not in ours],
        "only_now": [name for name in ours if name not in theirs],
    }


def is_busy(results: Mapping[str, Any]) -> bool:
    """Whether others used the machine while it was measured."""
    share = results["environment"].get("used_by_others")
    return _is_positive(share) and share > _BUSY


def _settings(results: Mapping[str, Any]) -> dict[str, Any]:
    more = {name: results[name] for name in ("effort", "dataset")}
    # What an earlier version did not have, it did as the defaults do.
    return {**_flat(config_to_dict(Config())), **_flat({**results["settings"], **more})}


def _warnings(
    machine: Mapping[str, Any],
    settings: Mapping[str, Any],
    ratios: Mapping[str, Any],
    busy: bool,
) -> Iterator[str]:
    for what, differences in (("machine is another", machine), ("settings are others", settings)):
        for name, (before, now) in differences.items():
            yield f"the {what}: {name} was {before!r}, now {now!r}"
    if busy:
        yield (
            "others used the machine while one of both was measured: times that differ by less "
            f"than {_NOISE_OF_BUSY:.0%} say nothing"
        )
    reference = ratios.get(REFERENCE)
    if reference is not None and reference["verdict"] != "unclear":
        yield (
            f"the machine itself took {reference['ratio']:.2f} times as long as before for the "
            f"same product of matrices ({REFERENCE}): ratios near this are not of posenet's making"
        )


def _ratio(name: str, before: _Figure, now: _Figure, busy: bool) -> dict[str, Any]:
    ratio, spread = now.value / before.value, max(before.spread, now.spread)
    noise = next(noise for end, noise in _NOISE.items() if name.endswith(end))
    noise = max(noise, _NOISE_OF_BUSY if busy else 0.0)
    verdict = "unclear"
    if abs(math.log(ratio)) > math.log1p(max(spread, noise)):
        verdict = "better" if ratio < 1.0 else "worse"
    return {
        "before": before.value,
        "now": now.value,
        "ratio": ratio,
        "spread": spread,
        "verdict": verdict,
    }


def _doubt_clock(ratios: dict[str, dict[str, Any]]) -> None:
    """Say where the clock tells what the CPU does not: others may have used the machine."""
    for name, row in ratios.items():
        above, _, last = name.rpartition(".")
        partner = {"p50_ms": "batch_ms", "p95_ms": "batch_ms"}.get(last, last)
        by_cpu = ratios.get(f"{above}.cpu_{partner}", row)
        if row["verdict"] not in ("unclear", by_cpu["verdict"]):
            row["verdict"] += f", {_BY_CLOCK}"


def _figures(results: Mapping[str, Any]) -> Iterator[tuple[str, _Figure]]:
    """All times and peaks of memory by name."""
    flat = _flat({name: results.get(name) for name in _MEASURED})
    for name, value in flat.items():
        if name.endswith(tuple(_NOISE)) and _is_positive(value):
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
