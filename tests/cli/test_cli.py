"""The command line: fast to answer, one line for an error, and an exit code to rely on."""

import itertools
import os
import subprocess
import sys

import pytest

from posenet import __version__
from posenet.cli import main, split_settings
from posenet.config import Config, load_config
from posenet.errors import CheckpointError, DataError, UsageError
from posenet.training.run import run_folder

VERBS = ["demo", "train", "evaluate", "predict", "bench", "losses"]
HEAVY = ["torch", "numpy", "cv2", "lightning", "matplotlib", "scipy"]


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["evaluate", "--help"],
        ["train", "--settings"],
        ["train", "--model.bakbone", "resnet18"],
        ["trian"],
    ],
    ids=" ".join,
)
def test_what_needs_no_network_imports_nothing_heavy(words):
    code = f"""
import sys
from posenet.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print("HEAVY", [name for name in {HEAVY} if name in sys.modules])
"""
    result = run_python(code, *words)
    assert result.stdout.splitlines()[-1] == "HEAVY []"
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("words", [["--help"], *([verb, "--help"] for verb in VERBS)])
def test_help_goes_to_stdout_and_succeeds(words, capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(words)
    out, err = capsys.readouterr()
    assert out.startswith("usage: posenet")
    assert err == ""
    if words == ["--help"]:
        for verb in VERBS:
            assert f" {verb} " in out


def test_version(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"posenet {__version__}\n"


def test_settings_are_listed(capsys):
    assert main(["train", "--settings"]) == 0
    out, err = capsys.readouterr()
    assert "--optimization.learning_rate" in out
    assert err == ""


SPLITS = {  # the words: what is left, and the settings
    "train a.yaml": ("train a.yaml", ""),
    "train --data.root X a.yaml": ("train a.yaml", "--data.root=X"),
    "train a.yaml --data.root X": ("train a.yaml", "--data.root=X"),
    "train --data.root=X a.yaml": ("train a.yaml", "--data.root=X"),
    "train --data.root X --seed 3 --output=o a.yaml": (
        "train a.yaml",
        "--data.root=X --seed=3 --output=o",
    ),
    "train --resume runs/a": ("train --resume runs/a", ""),
    "train runs/a --resume --data.workers 0": ("train runs/a --resume", "--data.workers=0"),
    "train --debug --settings": ("train --debug --settings", ""),
    "train --help": ("train --help", ""),
    "train -h": ("train -h", ""),
    "train --loss.rotation_weight -1": ("train", "--loss.rotation_weight=-1"),
    "train --unknown 3": ("train", "--unknown=3"),
    "train --data.cache=a=b": ("train", "--data.cache=a=b"),
    "train --data.root=": ("train", "--data.root="),
    "bench a.yaml --output o.json --data.root X --quick": (
        "bench a.yaml --output o.json --quick",
        "--data.root=X",
    ),
}


@pytest.mark.parametrize("words", SPLITS)
def test_settings_are_told_from_the_other_words(words):
    rest, settings = SPLITS[words]
    assert split_settings(words.split()) == (rest.split(), settings.split())


@pytest.fixture
def trained(monkeypatch):
    """What train was called with, instead of a training."""
    calls = []

    class Result:
        folder = "runs/x"
        best_epoch = 3

    def fake(config, *, resume):
        calls.append((config, resume))
        return Result

    monkeypatch.setattr("posenet.training.run.train", fake)
    return calls


@pytest.mark.parametrize(
    "parts",
    list(itertools.permutations([["--data.root", "X"], ["settings.yaml"], ["--seed=4"]])),
    ids=lambda parts: " ".join(itertools.chain(*parts)),
)
def test_train_takes_settings_and_file_in_any_order(parts, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yaml").write_text("seed: 3\ndata: {root: Y, width: 100}\n")
    assert main(["train", *itertools.chain(*parts)]) == 0
    [(config, resume)] = trained
    assert (config.data.root, config.data.width, config.seed) == ("X", 100, 4)
    assert not resume
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("posenet evaluate runs/x\n")


@pytest.mark.parametrize("words", [["--resume", "RUN"], ["RUN", "--resume"]])
def test_train_resumes_a_run_folder(words, trained, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 3\n")
    assert main(["train", *(str(tmp_path) if w == "RUN" else w for w in words)]) == 0
    assert trained == [(Config(output=str(tmp_path), seed=3), True)]
    assert trained[0][0] == load_config(tmp_path / "config.yaml", [f"--output={tmp_path}"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "invalid choice: 'trian'"),
        ([], "arguments are required: VERB"),
        (["predict"], "arguments are required: RUN"),
        (["predict", "runs/x"], "arguments are required: PATH"),
        (["evaluate", "runs/x", "--split", "tset"], "invalid choice: 'tset'"),
        (["evaluate", "runs/x", "--jsn"], "unrecognized arguments: --jsn"),
        (["evaluate", "runs/x", "--js"], "unrecognized arguments: --js"),  # no abbreviations
        (["predict", "runs/x", "a.jpg", "--batch-size", "x"], "invalid int value: 'x'"),
        (["train", "a.yaml", "b.yaml"], "unrecognized arguments: b.yaml"),
    ],
)
def test_a_command_line_that_cannot_be_parsed_exits_with_2(words, message, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(words)
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[-1]


ERRORS = [  # the words, the exit code, part of the message, the class behind it
    (
        ["train", "--model.bakbone", "resnet18"],
        2,
        "unknown setting --model.bakbone, did you mean 'model.backbone'?",
        UsageError,
    ),
    (["train", "--optimization.epochs", "many"], 2, "epochs", UsageError),
    (["train", "--optimization.epochs", "0"], 2, "epochs: expected at least 1", UsageError),
    (["train", "none.yaml"], 2, "none.yaml: no such configuration", UsageError),
    (["train"], 2, "data.root: expected the folder of the scene", UsageError),
    (["train", "--data.root"], 2, "--data.root: expected a value after it", UsageError),
    (["train", "--data.root", "--resume"], 2, "--data.root: expected a value", UsageError),
    (["train", "--data.root", "none"], 1, "none: expected the folder of a dataset", DataError),
    (["train", "--data.format", "seven_scene", "--data.root", "x"], 2, "did you mean", UsageError),
    (["train", "--resume", "--data.root", "none"], 1, "expected a run to resume", DataError),
    (["evaluate", "runs/none"], 1, "runs/none: no such checkpoint", CheckpointError),
    (["evaluate", "."], 1, "expected a run folder with checkpoints/best.pt", CheckpointError),
    (["predict", "runs/none", "photo.jpg"], 1, "runs/none: no such checkpoint", CheckpointError),
    (
        ["predict", "runs/none", "photo.jpg", "--format", "cvs"],
        2,
        "unknown output format 'cvs', did you mean 'csv'?; known: json, csv, tum",
        UsageError,
    ),
    (["predict", "x", "photo.jpg", "--batch-size", "0"], 2, "at least 1, found 0", UsageError),
]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working folder that must stay as it is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("words", "code", "message", "_"), ERRORS, ids=lambda value: str(value))
def test_an_error_is_one_line_on_stderr(words, code, message, _, elsewhere, capsys):
    if "photo.jpg" in words:
        (elsewhere / "photo.jpg").touch()
    before = sorted(elsewhere.rglob("*"))
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("posenet: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(elsewhere.rglob("*")) == before  # a mistake leaves no folder behind


OUT_OF_RANGE = (
    ("data.width", 0),
    ("optimization.epochs", -1),
    ("optimization.views", -1),
    ("optimization.batch_size", 0),
    ("optimization.learning_rate", -0.1),
    ("data.workers", -1),
    ("data.intrinsics", "[0, 0, 0, 0, 0, 0]"),
    ("seed", -1),
    ("model.channels", 0),
    ("model.dropout", 1.5),
    ("optimization.ema_decay", 1.5),
    ("augment.yaw_deg", -5),
    ("augment.shift_m", -1),
    ("trainer.accelerator", "gpuu"),
    ("optimization.weight_decay", -1),
    ("optimization.backbone_rate", -1),
    ("optimization.warmup_share", 2),
    ("augment.depth_share", 3),
)


@pytest.mark.parametrize(("setting", "value"), OUT_OF_RANGE)
def test_a_setting_out_of_range_is_refused_before_the_data_is_read(
    setting, value, elsewhere, capsys
):
    code = main(["train", "--data.root", "none", f"--{setting}={value}"])
    assert (code, setting in capsys.readouterr().err) == (2, True)


@pytest.mark.parametrize(("words", "_", "message", "kind"), ERRORS[:1] + ERRORS[8:9])
def test_debug_raises_the_error_itself(words, _, message, kind, elsewhere):
    with pytest.raises(kind, match=message.replace("?", r"\?")):
        main([*words, "--debug"])


@pytest.mark.parametrize("debug", [False, True])
def test_a_traceback_is_shown_for_debug_only(debug):
    words = ["train", "--model.bakbone", "x", *(["--debug"] if debug else [])]
    result = subprocess.run(
        [sys.executable, "-m", "posenet", *words], capture_output=True, text=True, timeout=120
    )
    assert ("Traceback (most recent call last)" in result.stderr) is debug
    assert result.returncode == (1 if debug else 2)
    assert "unknown setting --model.bakbone" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "posenet: interrupted\n"),
        (
            PermissionError(13, "Permission denied", "runs/x"),
            1,
            "posenet: error: runs/x: Permission denied; change its rights, or choose another "
            "place\n",
        ),
        (
            OSError(28, "No space left on device"),
            1,
            f"posenet: error: {run_folder(Config())}: No space left on device; free some space, or "
            "choose another place\n",
        ),
        (
            MemoryError(),
            1,
            "posenet: error: out of memory (of the CPU); use a smaller --optimization.batch_size, "
            "or a smaller --data.width and --data.height\n",
        ),
        (DataError("room: holds no frames"), 1, "posenet: error: room: holds no frames\n"),
    ],
)
def test_what_happens_outside_becomes_one_line(error, code, line, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("posenet.training.run.train", fail)
    assert main(["train"]) == code
    assert capsys.readouterr() == ("", line)


def test_a_bug_is_not_hidden(monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr("posenet.training.run.train", fail)
    with pytest.raises(ZeroDivisionError, match="a bug of ours"):
        main(["train"])


SHORT_LISTING, LONG_LISTING = (
    f"posenet.config.describe_settings = lambda: {text!r}; words = ['train', '--settings']"
    for text in ("short", "long" * 10_000)
)


@pytest.mark.parametrize("setup", [SHORT_LISTING, LONG_LISTING, "words = ['losses']"], ids=len)
def test_a_reader_that_has_seen_enough_is_no_error(setup):
    """As in ``posenet evaluate RUN | head -1``."""
    code = f"""
import sys, posenet.config
from posenet.cli import main
{setup}
sys.exit(main(words))
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        os.close(writing)
        _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("--loss.translation=hubber", "unknown translation loss 'hubber', did you mean 'huber'"),
        ("--loss.rotation=geodesi", "unknown rotation loss 'geodesi', did you mean 'geodesic'"),
        ("--model.rotation=7d", "unknown rotation representation '7d'"),
        ("--model.backbone=resnet19", "unknown backbone 'resnet19', did you mean 'resnet18'"),
    ],
)
def test_unknown_rows_are_refused_before_the_data_is_read(setting, message, tmp_path, capsys):
    words = ["train", f"--data.root={tmp_path / 'missing'}", f"--output={tmp_path / 'run'}"]
    assert main([*words, setting]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_no_folder_for_pictures_is_bad_usage(capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["losses", "--plot", ""])
    assert "expected a folder, found nothing" in capsys.readouterr().err
