"""``posenet bench`` by the command line."""

import json
import math
from pathlib import Path

import pytest

from posenet.benchmark.run import BenchOptions, run_benchmark
from posenet.cli import main
from posenet.models.backbones import BACKBONES
from posenet.training.timing import PARTS

from .conftest import SMALL

QUICK = ["--quick", "--backbones", "mobilenet_v3_small", "--batches", "1,2"]


@pytest.fixture(scope="module")
def written(config, tmp_path_factory):
    """The file that a benchmark of the room leaves."""
    path = tmp_path_factory.mktemp("results") / "deep" / "before.json"
    options = BenchOptions(
        backbones=["mobilenet_v3_small"],
        sizes=[(64, 48), (96, 64)],
        batches=[1, 2],
        quick=True,
        output=path,
    )
    assert run_benchmark(config, options) == json.loads(path.read_text())
    return path


def figures(values, above=""):
    """All numbers by name."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from figures(value, f"{above}{name}.")
        elif isinstance(value, int | float):
            yield f"{above}{name}", value


def test_everything_is_measured(written, room):
    found = json.loads(written.read_text())
    machine = {"cpu", "cores", "threads", "torch", "posenet", "device", "command"}
    assert machine <= set(found["environment"])
    assert found["dataset"]["root"] == str(room)
    assert found["settings"]["model"]["backbone"] == "mobilenet_v3_small"
    assert set(found["loader"]) == {"plain", "augmented"}
    assert set(found["step"]["parts"]) == set(PARTS)
    assert set(found["predict"]) == {"1", "2"}
    assert set(found["backbones"]) == {"mobilenet_v3_small 64x48", "mobilenet_v3_small 96x64"}
    assert set(found["memory"]) == {"loader", "step", "predict"}
    for part in ("reference", "loader", "step", "predict", "backbones", "memory"):
        for name, value in figures(found[part], f"{part}."):
            assert math.isfinite(value), name
            at_least_zero = name.endswith(("spread", "share", "workers"))
            assert value >= 0 if at_least_zero else value > 0, name


def test_figures_of_a_row_agree_with_each_other(written):
    found = json.loads(written.read_text())
    step = found["step"]
    assert sum(part["share"] for part in step["parts"].values()) == pytest.approx(1.0)
    assert step["images_per_s"] == pytest.approx(4e3 / step["batch_ms"])
    for size, row in found["predict"].items():
        assert row["p50_ms"] <= row["p95_ms"]
        assert row["images_per_s"] == pytest.approx(int(size) * 1e3 / row["p50_ms"])
    made = found["loader"]["augmented"]
    assert made["cpu_batch_ms"] <= 1.1 * made["batch_ms"] + 1.0  # of one thread
    for row in (step, found["predict"]["1"], made):
        assert row["cpu_images_per_s"] == pytest.approx(
            1e3 * row.get("batch_size", 1) / row["cpu_batch_ms"]
        )


def test_json_is_all_that_stdout_gets(written, room, capfd, tmp_path):
    settings = [*SMALL, "--data.root", str(room), "--data.cache", str(tmp_path)]
    assert main(["bench", *QUICK, "--json", "--against", str(written), *settings]) == 0
    out, err = capfd.readouterr()
    found = json.loads(out)
    against = found["against"]
    assert against["file"] == str(written)
    assert against["machine"] == {}
    assert against["ratios"]["step.batch_ms"]["ratio"] == pytest.approx(
        found["step"]["batch_ms"] / json.loads(written.read_text())["step"]["batch_ms"]
    )
    assert {name.split(".")[1] for name in against["only_before"]} == {"mobilenet_v3_small 96x64"}
    assert [line for line in err.splitlines() if "data.camera" in line]  # resolved in the other
    assert all(warning in err for warning in against["warnings"])


def test_tables_of_a_room_where_the_configured_dataset_is_absent(
    written, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "room.yaml").write_text("data: {root: nowhere, width: 64, height: 48}\n")
    words = ["room.yaml", *QUICK, "--against", str(written), *SMALL[2:]]
    assert main(["bench", *words]) == 0
    out, err = capsys.readouterr()
    assert "nowhere: the configuration's dataset is not there; a toy room is rendered" in err
    assert "the settings are others: data.root was" in err
    for title in ("Loader", "Training step", "Prediction", "Backbones", "Memory", "Against"):
        assert f"\n{title}" in out
    for part in PARTS:
        assert part in out
    assert "a rendered toy room, 32 training frames" in out
    assert [path.name for path in tmp_path.iterdir()] == ["room.yaml"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--data.root", "nowhere"], 1, "nowhere: expected"),
        (["nowhere.yaml"], 2, "nowhere.yaml: no such configuration"),
        (["--model.bakbone", "resnet18"], 2, "did you mean"),
        (["--model.backbone", "resnet19"], 2, "unknown backbone 'resnet19'"),
        (["--backbones", "resnet18,resnet19"], 2, "did you mean 'resnet18'"),
        (["--sizes", "224"], 2, "expected WIDTHxHEIGHT in pixels, such as 224x168, found '224'"),
        (["--sizes", "224x9"], 2, "--sizes: expected a height of 16 to 8192, found 9"),
        (["--batches", "1,0"], 2, "expected a whole number, 1 or more, found '0'"),
        (["--batches", "few"], 2, "expected a whole number, 1 or more, found 'few'"),
        (["--against", "nowhere.json"], 1, "nowhere.json: No such file"),
        (["--against", "other.json"], 1, "other.json: expected what posenet bench --output wrote"),
        (["--output", "other.json"], 2, "other.json: exists already"),
        (["--output", "."], 2, ".: is a folder"),
        (["--output", "other.json/b.json"], 1, "cannot be written"),
        (["--seed"], 2, "--seed"),
        (["--trainer.accelerator", "mps"], 2, "mps was asked for"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_one_line_before_anything_is_measured(
    words, code, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    (tmp_path / "other.json").write_text("{}")
    try:
        found = main(["bench", "--quick", *words])
    except SystemExit as error:  # argparse's own
        found = error.code
    out, err = capsys.readouterr()
    assert found == code
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]
    assert (tmp_path / "other.json").read_text() == "{}"


def test_every_backbone_is_measured_where_none_is_named(config, monkeypatch):
    """Their figures are another test's: eight networks take their time."""
    rates = {"images_per_s": 1.0, "cpu_images_per_s": 1.0}
    monkeypatch.setattr(
        "posenet.benchmark.run.time_backbone",
        lambda config, *_: {
            "backbone": config.model.backbone,
            "size": (config.data.width, config.data.height),
            "training": rates,
        },
    )
    found = run_benchmark(config, BenchOptions(batches=[1], quick=True))["backbones"]
    assert [row["backbone"] for row in found.values()] == list(BACKBONES)
    assert {row["size"] for row in found.values()} == {(64, 48)}


def test_the_page_names_what_is_in_the_file(written):
    page = (Path(__file__).parents[2] / "docs" / "bench.md").read_text()
    found = json.loads(written.read_text())
    names = [*found, *PARTS, *found["environment"], "against"]
    for section in ("reference", "step", "predict", "memory"):
        names += [name.rpartition(".")[2] for name, _ in figures(found[section])]
    assert {name for name in names if f"`{name}`" not in page} == set()
