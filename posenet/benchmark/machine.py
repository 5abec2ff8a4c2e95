"""The machine that figures belong to, and the memory that its processes take."""

import gc
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from posenet.processes import count_cores
from posenet.version import __version__

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_ALL_CORES = Path("/proc/stat")
_CAN_CLEAR = os.access(_CLEAR, os.W_OK)  # Linux alone forgets a peak
_MB = 2**20


def describe_machine(device: torch.device) -> dict[str, Any]:
    """What figures depend on, beside the settings.

    Args:
        device: Where networks run.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return {
        "posenet": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": count_cores(),
        "threads": torch.get_num_threads(),
        "omp_num_threads": int(asked) if asked.isdecimal() else None,
        "device": device.type,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "peak_memory_of": "each part" if _CAN_CLEAR else "all parts so far",
        "command": sys.argv,
    }


def _cpu_model() -> str:
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.is_file() else []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, platform.processor() or platform.machine())


@contextmanager
def watch_others() -> Iterator[dict[str, float | None]]:
    """The share of this machine's cores that others use meanwhile, known when it is over.

    ``used_by_others`` is in [0, 1]: what other processes, and other guests of the hardware under
    it, take. None where the system does not tell (all but Linux).
    """
    found: dict[str, float | None] = {"used_by_others": None}
    wall, busy, own = time.perf_counter(), _busy_seconds(), _own_seconds()
    yield found
    if busy is not None:
        others = _busy_seconds() - busy - (_own_seconds() - own)
        share = others / (time.perf_counter() - wall) / (os.cpu_count() or 1)
        found["used_by_others"] = min(1.0, max(0.0, share))


def _busy_seconds() -> float | None:
    """Seconds that all cores have worked since they were switched on."""
    if not _ALL_CORES.is_file():
        return None
    ticks = [int(word) for word in _ALL_CORES.read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _, _, interrupts, soft_interrupts, stolen = ticks[:8]
    return (user + nice + system + interrupts + soft_interrupts + stolen) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """CPU time of this process and of its workers that have ended."""
    return sum(os.times()[:4])


@contextmanager
def peak_memory(device: torch.device) -> Iterator[dict[str, float | None]]:
    """The memory that what is done inside takes, in MB (2**20 bytes), known when it is done.

    ``rss_before_mb`` and ``rss_peak_mb`` are the process's own resident memory, without workers;
    ``gpu_peak_mb`` is what torch allocates on a GPU. None where the system does not tell.

    Args:
        device: Whose memory counts beside the process's.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    found: dict[str, float | None] = {"rss_before_mb": _status_mb("VmRSS")}
    if _CAN_CLEAR:
        _CLEAR.write_text("5")
    yield found
    found["rss_peak_mb"] = _status_mb("VmHWM") if _CAN_CLEAR else _peak_so_far_mb()
    on_gpu = device.type == "cuda"
    found["gpu_peak_mb"] = torch.cuda.max_memory_allocated(device) / _MB if on_gpu else None


def _status_mb(name: str) -> float | None:
    if not _STATUS.is_file():
        return None
    lines = _STATUS.read_text().splitlines()
    return next((int(x.split()[1]) / 1024 for x in lines if x.startswith(f"{name}:")), None)


def _peak_so_far_mb() -> float | None:
    if os.name == "nt":
        return None
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MB
