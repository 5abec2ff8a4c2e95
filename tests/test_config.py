"""Settings: read from YAML, overridden in words, and every mistake named with its cure."""

import dataclasses
import re
import typing
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posenet.config import (
    Config,
    DataConfig,
    ModelConfig,
    config_from_dict,
    config_to_dict,
    describe_settings,
    dump_config,
    load_config,
    load_run_config,
)
from posenet.errors import UsageError

SHIPPED = sorted((Path(__file__).parents[1] / "configs").glob("**/*.yaml"))
GROUPS = {f.name: f.type for f in dataclasses.fields(Config) if dataclasses.is_dataclass(f.type)}
SETTINGS = [
    *(f.name for f in dataclasses.fields(Config) if f.name not in GROUPS),
    *(f"{group}.{f.name}" for group, cls in GROUPS.items() for f in dataclasses.fields(cls)),
]
SPECIAL = {  # another value than the default, where its type does not suggest one
    "output": "runs/a b",
    "model.mode": "classification",  # a student needs bins
    "data.root": "data/with, comma: and 'quotes'",
    "data.intrinsics": (525.5, 526.0, 320.0, 240.0, 640, 480),
    "data.camera": (175.5, 175.25, 111.5, 83.5),
    "loss.translation_scale": 0.25,
    "data.cache": "/tmp/cache",
    "distill.teacher": "runs/a teacher",
    "loss.translation": "general_robust",  # the only one with a shape
}


def another_value(name: str, kind: typing.Any, default: typing.Any) -> typing.Any:
    if name in SPECIAL:
        return SPECIAL[name]
    if typing.get_origin(kind) is typing.Literal:
        return next(option for option in typing.get_args(kind) if option != default)
    if isinstance(default, bool):
        return not default
    return default + (1 if isinstance(default, int) else 0.00390625 if kind is float else "x")


def other_config() -> Config:
    """A value that is not the default for every setting."""
    groups = {
        group: cls(
            **{
                f.name: another_value(f"{group}.{f.name}", f.type, f.default)
                for f in dataclasses.fields(cls)
            }
        )
        for group, cls in GROUPS.items()
    }
    return Config(output=SPECIAL["output"], seed=1, **groups)


def get(config: Config, name: str) -> typing.Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "settings.yaml"
        path.write_text(text)
        return path

    return write


def test_without_anything_there_are_defaults():
    assert load_config(None) == Config()
    assert config_from_dict({}) == Config()


@pytest.mark.parametrize("config", [Config(), other_config()], ids=["default", "other"])
def test_settings_survive_a_dictionary_and_yaml(config, write):
    assert config_from_dict(config_to_dict(config)) == config
    path = write(dump_config(config))
    assert load_config(path) == config
    assert yaml.safe_load(path.read_text()) == config_to_dict(config)


def test_every_setting_can_be_overridden_in_words():
    other = other_config()
    values = {name: get(other, name) for name in SETTINGS}
    words = [f"--{n}={[*v] if isinstance(v, tuple) else v}" for n, v in values.items()]
    assert load_config(None, words) == other
    for name in SETTINGS:
        assert get(other, name) != get(Config(), name)


def test_words_win_over_the_file_and_the_file_over_defaults(write):
    path = write("seed: 5\noptimization: {epochs: 7, batch_size: 9}\n")
    config = load_config(path, ["--optimization.epochs=11", "--optimization.epochs=12"])
    assert config.seed == 5
    assert config.optimization.epochs == 12
    assert config.optimization.batch_size == 9
    assert config.optimization.views == Config().optimization.views
    assert config.data == DataConfig()


def test_an_empty_file_holds_defaults(write):
    assert load_config(write("# nothing yet\n")) == Config()


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("2", 2.0), ("5.0e-4", 5e-4)])
def test_numbers_are_read_as_people_write_them(write, text, value):
    """YAML takes 1e-3, which has no point, for a string."""
    for config in (
        load_config(write(f"optimization: {{learning_rate: {text}}}")),
        load_config(None, [f"--optimization.learning_rate={text}"]),
    ):
        assert config.optimization.learning_rate == value
        assert isinstance(config.optimization.learning_rate, float)


def test_intrinsics_are_a_tuple_of_their_types(write):
    config = load_config(write("data: {intrinsics: [525, 525, 320, 240, 640, 480]}"))
    assert config.data.intrinsics == (525.0, 525.0, 320.0, 240.0, 640, 480)
    assert [type(x) for x in config.data.intrinsics] == [float] * 4 + [int] * 2


BAD_FILES = {  # text: what the error says after the file's name
    "modle: {}": "unknown setting modle, did you mean 'model'?",
    "model: {bakbone: resnet18}": "unknown setting model.bakbone, did you mean 'backbone'?",
    "optimization: {qqq: 1}": "unknown setting optimization.qqq",
    "1: 2": "unknown setting 1",
    "optimization: {epochs: many}": "epochs",
    "optimization: {epochs: 2.5}": "epochs",
    "optimization: {learning_rate: fast}": "learning_rate",
    "loss: {weighting: guessed}": "weighting",
    "trainer: {precision: 16}": "precision",
    "data: {intrinsics: [1, 2, 3]}": "intrinsics",
    "data: {drop_repeated: maybe}": "drop_repeated",
    "seed: null": "seed",
    "optimization: {epochs: null}": "epochs",
    "- model": "expected 'name: value' settings, found ['model']",
    "just words": "expected 'name: value' settings, found 'just words'",
    "42": "expected 'name: value' settings, found 42",
    "model:": "expected 'name: value' settings under 'model', found None",
    "model: resnet18": "expected 'name: value' settings under 'model', found 'resnet18'",
    "model: {a: [}": "cannot be read as YAML: ",
    "model: {}\n\tdata: {}": "cannot be read as YAML: ",
    "a: !!python/object/apply:os.getcwd []": "cannot be read as YAML: ",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_file_that_makes_no_sense_is_refused_in_one_line(write, text):
    path = write(text)
    message = f"^{re.escape(str(path))}: .*{re.escape(BAD_FILES[text])}"
    with pytest.raises(UsageError, match=message) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UsageError, match=f"^{re.escape(str(path))}: cannot be read as YAML"):
        load_config(path)


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "none.yaml"
    with pytest.raises(UsageError, match=f"^{re.escape(str(path))}: no such configuration"):
        load_config(path)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--model.bakbone=resnet18", "unknown setting --model.bakbone, did you mean 'model.backb"),
        ("--epochs=3", "unknown setting --epochs, did you mean 'optimization.epochs'"),
        ("--sed=3", "unknown setting --sed, did you mean 'seed'"),
        ("--model=resnet18", "unknown setting --model"),
        ("--config=x.yaml", "unknown setting --config"),
        ("--optimization.epochs=many", "epochs"),
        ("--optimization.epochs=", "epochs"),
        ("--loss.weighting=guessed", "weighting"),
        ("--data.intrinsics=[1, 2]", "intrinsics"),
    ],
)
def test_a_word_that_makes_no_sense_is_refused_in_one_line(write, word, message):
    for path in (None, write("seed: 1")):
        with pytest.raises(UsageError, match=message) as caught:
            load_config(path, [word])
        assert "\n" not in str(caught.value)
        assert "settings.yaml" not in str(caught.value)  # the file is not to blame


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--loss.translation_learned=true", "translation_learned: only general_robust has .* l1"),
        ("--loss.translation_alpha=0.5", "translation_alpha: only general_robust has a .* l1"),
        (
            "--loss.translation_learned=true --loss.translation=general_robust "
            "--loss.translation_alpha=-2",
            "translation_alpha: expected a start from 0.01 to 1.99 where it is learned, found -2",
        ),
        ("--loss.translation_alpha=2.5", "translation_alpha: expected -1e.09 to 2, found 2.5"),
    ],
)
def test_a_shape_is_learned_only_where_there_is_one(words, message):
    with pytest.raises(UsageError, match=message):
        load_config(None, words.split())


def test_an_epoch_is_passes_or_a_part_of_one():
    for views in (0.0, 0.05, 1.0, 1.5, 3.0):
        assert load_config(None, [f"--optimization.views={views}"]).optimization.views == views
    with pytest.raises(UsageError, match=r"views: expected at least 0, found -0\.5"):
        load_config(None, ["--optimization.views=-0.5"])


def test_a_dictionary_that_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match=r"unknown setting model.bakbone, did you mean 'backbone'"):
        config_from_dict({"model": {"bakbone": "x"}})
    with pytest.raises(UsageError, match="expected 'name: value' settings, found None"):
        config_from_dict(None)


def test_a_run_folder_stands_for_its_settings_and_is_the_output(tmp_path):
    (tmp_path / "config.yaml").write_text(dump_config(Config(output="elsewhere", seed=4)))
    config = load_run_config(tmp_path, ["--data.workers=0"])
    assert config == Config(output=str(tmp_path), seed=4, data=DataConfig(workers=0))
    assert load_run_config(tmp_path / "config.yaml").output == "elsewhere"
    assert load_run_config(tmp_path, ["--output=other"]).output == "other"


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"config.yaml: no such configuration"):
        load_run_config(tmp_path)


@pytest.mark.parametrize("cls", [Config, *GROUPS.values()], ids=lambda cls: cls.__name__)
def test_every_setting_is_documented_where_it_is_defined(cls):
    documented = re.findall(r"^ +(\w+): \S", cls.__doc__.split("Attributes:")[1], re.MULTILINE)
    assert documented == [f.name for f in dataclasses.fields(cls)]


def test_every_setting_is_listed_for_the_command_line():
    listing = describe_settings()
    for name in SETTINGS:
        assert f"--{name} " in listing
    assert "Turn the camera right or left by up to this angle." in " ".join(listing.split())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_settings_load_and_name_rows_that_exist(path):
    config = load_config(path)
    assert config != Config()
    assert isinstance(config.model, ModelConfig)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "a.yaml"


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "seed",
                "data",
                "root",
                ": ",
                ":\n  ",
                "{",
                "}",
                "[",
                "]",
                "&a ",
                "*a",
                "<<",
                "1",
                ", ",
                "\n",
                "!!set ",
                "!!python/name:os.system",
                "? ",
                "- ",
                "2024-13-45",
                "0x",
            ]
        ),
        max_size=12,
    ).map(lambda words: "".join(words).encode())
)
@example(b"data: &a {<<: *a}")
@example(b"? [1]\n: 2")
def test_any_bytes_are_settings_or_one_line(fuzzed, content):
    fuzzed.write_bytes(content)
    try:
        config, message = load_config(fuzzed), ""
    except UsageError as error:
        config, message = None, str(error)
    assert isinstance(config, Config) or (message and "\n" not in message)
