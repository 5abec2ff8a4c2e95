"""What is said of two benchmarks, and of one: ratios, warnings, advice."""

import copy
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from posenet.benchmark.advice import RULES, advise
from posenet.benchmark.comparison import compare_results, read_results
from posenet.benchmark.machine import describe_machine, peak_memory, watch_others
from posenet.config import Config, config_to_dict
from posenet.errors import DataError

CPU = torch.device("cpu")


@pytest.fixture
def results():
    """What a benchmark of a machine with nothing to be desired would find."""

    def row(rate):
        wall = {"images_per_s": rate, "batch_ms": 32e3 / rate, "spread": 0.02}
        return {**wall, **{f"cpu_{name}": value for name, value in wall.items()}}

    return {
        "format": 1,
        "environment": {
            **describe_machine(CPU),
            "cores": 4,
            "threads": 4,
            "omp_num_threads": None,
        },
        "settings": config_to_dict(Config()),
        "effort": {"quick": False},
        "dataset": {"root": None, "width": 224, "height": 168},
        "reference": {"matmul_ms": 5.0, "cpu_matmul_ms": 5.0, "cpu_spread": 0.01},
        "loader": {"augmented": row(500.0)},
        "step": {
            **row(40.0),
            "workers": 1,
            "parts": {
                "load": {"median_ms": 16.0, "spread": 0.1, "share": 0.02},
                "backward": {"median_ms": 240.0, "spread": 0.02, "share": 0.3},
            },
        },
        "predict": {"1": row(50.0), "8": row(51.0)},
        "backbones": {
            f"{name} 224x168": {"training": row(rate), "prediction": row(3 * rate)}
            for name, rate in (("efficientnet_lite0", 41.0), ("resnet50", 9.0))
        },
        "memory": {"step": {"rss_before_mb": 700.0, "rss_peak_mb": 900.0, "gpu_peak_mb": None}},
    }


def test_a_benchmark_against_itself_says_nothing(results):
    found = compare_results(results, results)
    assert {row["ratio"] for row in found["ratios"].values()} == {1.0}
    assert {row["verdict"] for row in found["ratios"].values()} == {"unclear"}
    assert len(found["ratios"]) >= 16
    names = ("machine", "settings", "warnings", "only_before", "only_now")
    assert not any(found[name] for name in names)


def test_half_the_time_is_a_ratio_of_a_half(results):
    before = copy.deepcopy(results)
    for by in ("", "cpu_"):
        results["step"][f"{by}batch_ms"] /= 2
        results["loader"]["augmented"][f"{by}batch_ms"] *= 3
    results["predict"]["1"]["batch_ms"] *= 2  # others used the machine
    results["predict"]["8"]["cpu_batch_ms"] *= 1.2
    results["memory"]["step"]["rss_peak_mb"] += 900.0
    found = compare_results(results, before)
    told = {
        name: (round(row["ratio"], 6), row["verdict"])
        for name, row in found["ratios"].items()
        if row["verdict"] != "unclear"
    }
    assert told == {
        "step.batch_ms": (0.5, "better"),
        "step.cpu_batch_ms": (0.5, "better"),
        "loader.augmented.batch_ms": (3.0, "worse"),
        "loader.augmented.cpu_batch_ms": (3.0, "worse"),
        "predict.1.batch_ms": (2.0, "worse, by the clock only"),
        "predict.8.cpu_batch_ms": (1.2, "worse"),
        "memory.step.rss_peak_mb": (2.0, "worse"),
    }
    assert found["warnings"] == []


@pytest.mark.parametrize(("spread", "verdict"), [(0.02, "better"), (0.5, "unclear")])
def test_a_ratio_within_the_spread_of_either_is_not_believed(spread, verdict, results):
    before = copy.deepcopy(results)
    results["step"]["batch_ms"] *= 0.8
    before["step"]["spread"] = spread
    results["step"]["cpu_batch_ms"] *= 0.8
    found = compare_results(results, before)["ratios"]["step.batch_ms"]
    assert (found["verdict"], found["spread"]) == (verdict, max(spread, 0.02))


def test_a_machine_that_others_use_is_believed_less(results):
    before = copy.deepcopy(results)
    for by in ("", "cpu_"):
        results["step"][f"{by}batch_ms"] *= 1.2
        results["loader"]["augmented"][f"{by}batch_ms"] *= 1.6
    before["environment"]["used_by_others"] = 0.5
    found = compare_results(results, before)
    assert found["ratios"]["step.cpu_batch_ms"]["verdict"] == "unclear"
    assert found["ratios"]["loader.augmented.cpu_batch_ms"]["verdict"] == "worse"
    [warning] = found["warnings"]
    assert "others used the machine" in warning


def test_on_a_gpu_the_clock_is_right(results):
    before = copy.deepcopy(results)
    for part in (results, before):
        part["environment"]["device"] = "cuda"
    results["step"]["batch_ms"] *= 0.8
    assert compare_results(results, before)["ratios"]["step.batch_ms"]["verdict"] == "better"


def test_another_machine_and_other_settings_are_warned_of(results):
    before = copy.deepcopy(results)
    before["environment"]["cpu"] = "Zuse Z3"
    before["settings"]["model"]["frozen_share"] = 0.22
    before["settings"]["data"]["cache"] = "elsewhere"
    before["effort"]["quick"] = True
    before["reference"]["cpu_matmul_ms"] = 10.0
    before["backbones"]["resnet18 64x48"] = {"training": {"batch_ms": 1.0}}
    found = compare_results(results, before)
    assert set(found["machine"]) == {"cpu"}
    assert found["settings"]["model.frozen_share"] == [0.22, 0.0]
    assert set(found["settings"]) == {"model.frozen_share", "effort.quick"}
    assert found["only_before"] == ["backbones.resnet18 64x48.training.batch_ms"]
    warnings = found["warnings"]
    assert len(warnings) == 4
    assert "Zuse Z3" in warnings[0]
    assert "0.50 times as long" in warnings[-1]


def test_a_setting_that_the_earlier_version_did_not_have_was_its_default(results):
    before = copy.deepcopy(results)
    del before["settings"]["trainer"]["precision"]
    assert compare_results(results, before)["warnings"] == []
    results["settings"]["trainer"]["precision"] = "bf16"
    assert compare_results(results, before)["settings"] == {"trainer.precision": ["auto", "bf16"]}


def test_figures_of_nothing_are_not_divided_by(results):
    before = copy.deepcopy(results)
    before["step"]["batch_ms"] = 0.0
    before["predict"]["1"]["batch_ms"] = "fast"
    before["loader"] = None
    found = compare_results(results, before)
    assert {"step.batch_ms", "predict.1.batch_ms", "loader.augmented.batch_ms"} <= set(
        found["only_now"]
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\x00", "expected what posenet bench --output wrote"),
        (b"[1, 2]", "expected what posenet bench --output wrote"),
        (b'{"format": 1, "environment": 3}', "expected what posenet bench --output wrote"),
        (
            b'{"format": 7, "environment": {}, "settings": {}, "effort": {}, "dataset": {}}',
            "expected results of format 1, found 7",
        ),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as refused:
        read_results(path)
    assert str(path) in str(refused.value)


def test_results_are_read_as_they_were_written(results, tmp_path):
    path = tmp_path / "b.json"
    path.write_text(json.dumps(results))
    assert read_results(path) == results


def test_where_nothing_is_wrong_nothing_is_advised(results):
    assert advise(results) == []


def test_a_thread_for_each_physical_core_is_not_too_few(results):
    results["environment"]["threads"] //= 2
    assert advise(results) == []


def set_in(values, path, new):
    *above, last = path
    for name in above:
        values = values[name]
    values[last] = new


CASES = [
    (
        [(("environment", "threads"), 1), (("environment", "omp_num_threads"), 1)],
        "OMP_NUM_THREADS=4",
    ),
    (
        [(("environment", "threads"), 1), (("settings", "trainer", "threads"), 1)],
        "--trainer.threads 4",
    ),
    ([(("step", "parts", "load", "share"), 0.4)], "--data.workers 2 (now 1)"),
    (
        # 32 views take 1.6 s and all else 0.4: three workers would not do.
        [
            (("step", "parts", "load", "share"), 0.5),
            (("loader", "augmented", "batch_ms"), 1600.0),
            (("settings", "augment", "fill_from"), 2),
        ],
        "--augment.fill_from 0",
    ),
    ([(("step", "parts", "backward", "share"), 0.6)], "--model.frozen_share"),
    (
        [(("backbones", "resnet50 224x168", "training", "cpu_images_per_s"), 82.0)],
        "resnet50 trains 2.0 times as fast as efficientnet_lite0",
    ),
    ([(("predict", "8", "cpu_images_per_s"), 150.0)], "batches of 8 makes 3.0 times"),
]


@pytest.mark.parametrize(
    ("changes", "words"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_is_slow_is_told_with_its_cure(changes, words, results):
    for path, new in changes:
        set_in(results, path, new)
    [line] = advise(results)
    assert words in line


def test_each_rule_has_a_case(results):
    fired = set()
    for changes, _ in CASES:
        found = copy.deepcopy(results)
        for path, new in changes:
            set_in(found, path, new)
        fired |= {rule for rule in RULES if rule(found) is not None}
    assert fired == set(RULES)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells what others use")
def test_what_other_processes_use_is_seen():
    code = "import time; end = time.time() + 1.5\nwhile time.time() < end: pass"
    with watch_others() as found:
        others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
        time.sleep(1.0)
    for other in others:
        other.wait()
    assert 0.25 / os.cpu_count() < found["used_by_others"] <= 1.0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak")
def test_peaks_are_of_what_is_done_inside():
    size = 150 * 2**20

    def measure(allocated):
        with peak_memory(CPU) as found:
            np.ones(allocated, np.uint8)
        assert found["gpu_peak_mb"] is None
        return found["rss_peak_mb"] - found["rss_before_mb"]

    assert measure(size) > 140
    assert measure(1) < 30
