"""The page of an evaluation: parsed, its pictures decoded, its numbers compared, and opened."""

import base64
import hashlib
import io
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from posenet.config import Config
from posenet.evaluation.baselines import mean_pose
from posenet.evaluation.distance_plot import plot_error_distance, running_median
from posenet.evaluation.evaluate import MEAN, NEAREST, in_scene_units
from posenet.evaluation.metrics import (
    PoseErrors,
    bootstrap_intervals,
    json_ready,
    pose_errors,
    summarise,
)
from posenet.evaluation.nearest import nearest_training_pose, summarise_nearest
from posenet.evaluation.plots import plot_error_cdf, plot_trajectory
from posenet.evaluation.report.frames import APART, choose_examples
from posenet.evaluation.report.page import render_report, write_report
from posenet.evaluation.report.scene import MOST_TESTED, MOST_TRAINING, scene_data
from posenet.evaluation.report.sections import SECTIONS
from posenet.evaluation.report.source import ReportSource
from posenet.evaluation.report.words import recall_label, verdict
from posenet.geometry import Intrinsics, Pose
from posenet.models.calibration import PoseConfidence

TESTED, TRAINED = 40, 60
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</script><svg onload=alert(1)>{{script}}",
    "a & b/€ 💡",
)
VOID = {"meta", "link", "img", "input", "br", "hr"}


def walk(count: int, seed: int) -> Pose:
    """Cameras on a round walk in a room of 4 m by 2 m, not level."""
    generator = np.random.default_rng(seed)
    phase = np.sort(generator.uniform(0.0, 2.0 * np.pi, count))
    centers = np.stack((2.0 * np.cos(phase), 0.1 * np.sin(3 * phase) - 1.5, np.sin(phase)), axis=-1)
    views = Rotation.from_rotvec(phase[:, None] * [0.0, 1.0, 0.0])
    return Pose(torch.tensor(views.as_matrix()), torch.tensor(centers))


def moved(pose: Pose, seed: int, by_m: float = 0.1, by_deg: float = 4.0) -> Pose:
    generator = np.random.default_rng(seed)
    count = len(pose.translation)
    turn = Rotation.from_rotvec(np.radians(by_deg) * generator.normal(size=(count, 3)))
    shift = torch.tensor(by_m * generator.normal(size=(count, 3)))
    return Pose(pose.rotation @ torch.tensor(turn.as_matrix()), pose.translation + shift)


def image(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def make_source(
    folder: Path, metric: bool = True, lost: tuple[int, ...] = (), run: Path | None = None
) -> ReportSource:
    """An evaluation of made-up poses as ``evaluate`` hands it to the report."""
    train, truth = walk(TRAINED, 0), walk(TESTED, 1)
    prediction = moved(truth, 2)
    prediction.translation[list(lost)] = torch.nan
    sequences = ["first"] * (TESTED // 2) + ["<b>second"] * (TESTED - TESTED // 2)
    errors = {
        "network": pose_errors(prediction, truth),
        NEAREST: pose_errors(moved(truth, 3, 0.3, 9.0), truth),
        MEAN: pose_errors(mean_pose(train, TESTED), truth),
    }

    def measure(part: PoseErrors, kept: list[str]) -> dict:
        values = {**summarise(part), "intervals_95": bootstrap_intervals(part, kept, resamples=50)}
        return in_scene_units(values, metric, 4.0)

    chosen = {name: np.array(sequences) == name for name in dict.fromkeys(sequences)}
    nearest = nearest_training_pose(train, truth)
    summary = {
        "scene": "a <kitchen> & more",
        "split": "test",
        "checkpoint": "best.pt",
        "epoch": 3,
        "metric": metric,
        "scene_size": 4.0,
        "size_of": "training",
        **measure(errors["network"], sequences),
        "sequences": {
            name: measure(PoseErrors(*(v[mask] for v in errors["network"])), [name] * mask.sum())
            for name, mask in chosen.items()
        },
        "baselines": {name: measure(errors[name], sequences) for name in (NEAREST, MEAN)},
        "nearest_training_pose": summarise_nearest(nearest, errors["network"]),
    }
    pictures = {name: folder / f"{name}.png" for name in ("error_cdf", "trajectory")}
    plot_error_cdf(pictures["error_cdf"], errors)
    plot_trajectory(pictures["trajectory"], train, truth, prediction, errors["network"])
    pictures["error_distance"] = folder / "error_distance.png"
    plot_error_distance(pictures["error_distance"], nearest, errors["network"])
    return ReportSource(
        summary=summary,
        names=[*HOSTILE, *(f"seq/frame-{i:06d}" for i in range(len(HOSTILE), TESTED))],
        sequences=sequences,
        truth=truth,
        prediction=prediction,
        errors=errors["network"],
        pictures=pictures,
        train=train,
        train_names=[f"{HOSTILE[0]}{i}" for i in range(TRAINED)],
        nearest=nearest,
        image=image,
        train_image=lambda number: image(1000 + number),
        camera=Intrinsics(60.0, 60.0, 32.0, 24.0, 64, 48),
        config=Config(output="<i>out</i>"),
        run=run,
    )


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """What a training leaves."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "environment.json").write_text(
        json.dumps({"command": ["posenet", "<u>"], "torch": 2})
    )
    split = {"train": ["a"] * 50, "validation": ["b"] * 10, "test": ["c"] * TESTED}
    (folder / "split.json").write_text(json.dumps(split))
    (folder / "metrics.csv").write_text(
        "epoch,step,train_translation_m,train_rotation_deg\n1,5,0.5,20\n2,10,0.25,8\n"
    )
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory, run_folder) -> ReportSource:
    return make_source(tmp_path_factory.mktemp("report"), lost=(7,), run=run_folder)


@pytest.fixture(scope="module")
def page(source) -> str:
    return render_report(source)


class Parsed(HTMLParser):
    """A page's elements, with a complaint about tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        kept = (data for tag, data in self.text if tag not in ("script", "style"))
        return " ".join(" ".join(kept).split())


def island(page: str) -> dict:
    [text] = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL
    )
    return json.loads(text)


def test_every_section_is_there_and_linked(page):
    parsed = Parsed(page)
    assert [section["id"] for section in parsed.all("section")] == [
        key for key in SECTIONS if key != "confidence"
    ]
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in parsed.all("a")]
    assert links == [f"#{section['id']}" for section in parsed.all("section")]
    assert all(link[1:] in ids for link in links)


def test_pictures_are_inside_and_decode(page, source):
    images = Parsed(page).all("img")
    # A CDF, distances, trajectory and curves; nine frames of three tiles, one without prediction.
    assert len(images) == 4 + 9 * 3 - 1
    for attributes in images:
        assert attributes["alt"].strip()
        kind, data = re.fullmatch(
            r"data:image/(png|jpeg);base64,([\w+/=]+)", attributes["src"]
        ).groups()
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            picture.load()
            assert picture.format.lower() == kind
            assert np.asarray(picture).std() > 5
    first = base64.b64decode(images[0]["src"].split(",")[1])
    assert first == source.pictures["error_cdf"].read_bytes()


def test_the_numbers_inside_are_those_of_the_evaluation(page, source):
    data = island(page)
    assert data["summary"] == json_ready(source.summary)
    scene = data["scene"]
    assert scene["of"] == [TRAINED, TESTED]
    assert [frame["name"] for frame in scene["tested"]] == list(source.names)
    for index, frame in enumerate(scene["tested"]):
        if index == 7:
            assert frame["predicted"] is None
            assert frame["errors"] == [None, None]
            continue
        # Coordinates are turned and moved as a whole: distances and angles stay what they were.
        true, predicted = np.array(frame["true"]), np.array(frame["predicted"])
        far = source.errors.translation_m[index]
        assert np.linalg.norm(true[:3] - predicted[:3]) == pytest.approx(far, abs=5e-4)
        assert frame["errors"][0] == pytest.approx(far, rel=1e-3)
        turned = [np.stack((c[3:6], c[6:9], np.cross(c[3:6], c[6:9]))) for c in (true, predicted)]
        angle = Rotation.from_matrix(turned[0] @ turned[1].T).magnitude()
        assert np.degrees(angle) == pytest.approx(source.errors.rotation_deg[index], abs=0.2)
        assert frame["errors"][1] == pytest.approx(source.errors.rotation_deg[index], rel=1e-3)
    # Up is z: a level camera's down axis.
    downs = np.array([frame["camera"][6:9] for frame in scene["training"]])
    np.testing.assert_allclose(downs, np.tile([0.0, 0.0, -1.0], (TRAINED, 1)), atol=1e-3)


def test_words_say_what_the_numbers_are(page, source):
    words = Parsed(page).words
    summary = source.summary
    for values in (summary, *summary["baselines"].values(), *summary["sequences"].values()):
        assert f"{values['median_translation_m']:.3f} m" in words
        assert f"{values['median_rotation_deg']:.2f}°" in words
        low, high = values["intervals_95"]["median_translation_m"]
        assert f"{low:.3f} to {high:.3f}" in words
    assert f"{100 * summary['recall_50cm_5deg']:.1f} %" in words
    near = summary["nearest_training_pose"]
    assert (
        f"error smaller than that in {100 * near['better_translation']:.1f} % of the frames"
        in words
    )
    for text in (
        "40 test images",
        "block bootstrap",
        "comparable on the same frames only",
        "50 train, 10 validation, 40 test",
        "At the end: train 0.250 m and 8.00°",
        "efficientnet_lite0, coarse to fine",
    ):
        assert text in words


def test_hostile_names_are_words_and_nothing_else(page):
    parsed = Parsed(page)
    assert len(parsed.all("script")) == 2
    assert not parsed.all("svg")
    for tag, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
    assert "a <kitchen> & more" in parsed.words
    assert "<b>second" in parsed.words
    names = [frame["name"] for frame in island(page)["scene"]["tested"]]
    assert names[: len(HOSTILE)] == list(HOSTILE)


def test_names_of_shown_frames_are_escaped(source):
    few = [0, 1, 2, 3]
    part = source._replace(
        names=list(HOSTILE),
        sequences=["one"] * 4,
        truth=Pose(*(values[few] for values in source.truth)),
        prediction=Pose(*(values[few] for values in source.prediction)),
        errors=PoseErrors(*(values[few] for values in source.errors)),
        nearest=type(source.nearest)(*(values[few] for values in source.nearest)),
    )
    parsed = Parsed(render_report(part))
    assert len(parsed.all("script")) == 2
    for name in HOSTILE:
        assert name in parsed.words
        assert f"{name} as the network saw it" in [image["alt"] for image in parsed.all("img")]


def test_nothing_is_loaded_from_elsewhere(page):
    assert not re.search(r"https?://|@import|url\(", page)
    parsed = Parsed(page)
    assert not parsed.all("link")
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "data", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), tag
    [policy] = [meta["content"] for meta in parsed.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        text = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        [digest] = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in text]
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_equal_input_gives_an_equal_page(source, page, tmp_path):
    assert render_report(source) == page
    assert write_report(tmp_path, source).read_text(encoding="utf-8") == page
    assert len(page) < 3e6


def test_what_is_not_known_is_left_out_with_a_note(source, tmp_path):
    """Prediction files without images, an old run: only what is always there."""
    summary = {
        key: value
        for key, value in source.summary.items()
        if key not in ("baselines", "nearest_training_pose", "checkpoint", "sequences", "split")
    }
    least = ReportSource(summary, *source[1:6])
    parsed = Parsed(render_report(least))
    assert not parsed.all("img")
    scene = island(render_report(least))["scene"]
    assert scene["training"] == []
    assert scene["of"] == [0, TESTED]
    assert len(scene["tested"]) == TESTED
    assert "Half of the 40 images are located within" in parsed.words
    assert "method mean position mean rotation within 5 cm, 5°" in parsed.words
    assert "predictions" in parsed.words
    assert "network" not in parsed.words.split("How often")[0]
    for text in (
        "It is not known here what the network was trained on",
        "there are no images to show",
        "There are no viewpoint bins",
        "No metrics.csv with epochs",
        "No environment.json",
    ):
        assert text in parsed.words
    empty = tmp_path / "run"
    empty.mkdir()
    assert "No metrics.csv with epochs" in Parsed(render_report(source._replace(run=empty))).words


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metrics.csv", "epoch,step\n1,5\nnonsense,6\n", "The training curve is left out"),
        ("metrics.csv", "", "No metrics.csv with epochs"),
        ("training_curves.png", "no picture", "The training curve is left out"),
        ("environment.json", "{", "No environment.json"),
        ("environment.json", "[1]", "No environment.json"),
        ("split.json", "nonsense", "Settings"),
        ("split.json", '{"train": 3}', "Settings"),
    ],
)
def test_damaged_files_of_a_run_cost_their_part_only(
    source, run_folder, tmp_path, name, content, said
):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    (run / name).write_text(content)
    parsed = Parsed(render_report(source._replace(run=run)))
    assert said in parsed.words
    assert len(parsed.all("section")) == len(SECTIONS) - 1


def test_a_scene_without_a_metre(tmp_path):
    source = make_source(tmp_path, metric=False)
    words = Parsed(render_report(source)).words
    assert f"{source.summary['median_translation_m']:.3g} units" in words
    assert (
        f"({100 * source.summary['median_translation_relative']:.1f} % of the scene's size" in words
    )
    assert "relative to its size of 4 units" in words
    assert not re.search(r"\d m\b", words)
    assert island(render_report(source))["unit"] == "units"


def test_without_any_prediction(tmp_path):
    source = make_source(tmp_path, lost=tuple(range(TESTED)))
    words = Parsed(render_report(source)).words
    assert "Half or more of the 40 test images got no usable prediction." in words
    assert words.count("no usable prediction") >= 10  # and so do all nine examples


def test_confidence_is_shown_where_the_network_has_it(source):
    values = {
        "level": 0.9,
        "calibration_frames": 85,
        "rotation_coverage": 0.81,
        "rotation_coverage_95": (math.nan, math.nan),
        "translation_coverage": 0.925,
        "translation_coverage_95": (0.85, 0.975),
        "median_rotation_radius_deg": 7.5,
        "median_translation_radius_m": 0.25,
        "rotation_rank_correlation": math.nan,
        "translation_rank_correlation": 0.62,
        "flagged": 0.05,
        "other_scenes": {"<u>attic": {"images": 12, "flagged": 0.75, "auroc": 0.987}},
    }
    radius = torch.linspace(0.1, 0.4, TESTED)
    sure = PoseConfidence(10 * radius, radius, radius, torch.arange(TESTED) != 7)
    picture = {**source.pictures, "confidence": source.pictures["error_cdf"]}
    parsed = Parsed(
        render_report(
            source._replace(
                summary={**source.summary, "confidence": values}, confidence=sure, pictures=picture
            )
        )
    )
    assert [section["id"] for section in parsed.all("section")] == list(SECTIONS)
    for text in (
        "calibrated on 85 validation frames. Of these frames, 5.0 % are said to be of another",
        "truth within the 90.0 % radius 92.5 % (85.0 % to 97.5 %) 81.0 %",
        "median radius 0.250 m 7.50°",
        "rank correlation of radius and error 0.62 unknown",
        "<u>attic 12 75.0 % 0.987",
        f"no usable prediction said to be within {radius[7]:.3f} m and {10 * radius[7]:.2f}° (90%)",
        "(90%), and to be of another scene show in 3D",
    ):
        assert text in parsed.words


def test_large_sets_are_thinned_out_evenly():
    train, truth = walk(3 * MOST_TRAINING, 0), walk(2 * MOST_TESTED, 1)
    names = [str(i) for i in range(3 * MOST_TRAINING)]
    errors = pose_errors(truth, truth)
    scene = scene_data(train, names, truth, truth, names[: 2 * MOST_TESTED], errors)
    assert len(scene["training"]) == MOST_TRAINING
    assert len(scene["tested"]) == MOST_TESTED
    assert scene["of"] == [3 * MOST_TRAINING, 2 * MOST_TESTED]
    kept = [int(frame["name"]) for frame in scene["tested"]]
    assert kept == [frame["index"] for frame in scene["tested"]]
    assert kept[0] == 0
    assert kept[-1] == 2 * MOST_TESTED - 1
    assert set(np.diff(kept)) <= {2, 3}


def test_examples_are_the_extremes_and_no_neighbours():
    generator = np.random.default_rng(0)
    smooth = np.convolve(generator.gamma(2.0, 1.0, 400), np.ones(30) / 30, "same")
    errors = PoseErrors(smooth, 10 * smooth)
    errors.translation_m[123] = errors.rotation_deg[123] = np.inf
    sequences = ["a"] * 200 + ["b"] * 200
    chosen = choose_examples(errors, sequences)
    assert chosen["worst"][0] == 123
    assert chosen["best"][0] == int(np.argmin(smooth))
    ranks = np.argsort(np.argsort(errors.translation_m))
    assert all(abs(ranks[i] - 199.5) < 60 for i in chosen["median"])
    everyone = list(itertools.chain.from_iterable(chosen.values()))
    for one, other in itertools.combinations(everyone, 2):
        assert abs(one - other) >= APART or sequences[one] != sequences[other]


@pytest.mark.parametrize("count", [1, 2, 5, 9, 12])
def test_examples_of_few_frames(count):
    errors = PoseErrors(np.arange(count, dtype=float), np.zeros(count))
    chosen = choose_examples(errors, ["a"] * count)
    everyone = list(itertools.chain.from_iterable(chosen.values()))
    assert len(everyone) == len(set(everyone)) == min(count, 9)
    assert chosen["worst"][0] == count - 1


def test_nearest_training_pose_is_that_of_a_search(monkeypatch):
    monkeypatch.setattr("posenet.evaluation.nearest._PAIRS_AT_ONCE", 100)  # several chunks
    train, poses = walk(30, 0), moved(walk(17, 5), 6, 0.5, 40.0)
    nearest = nearest_training_pose(train, poses)
    centers, asked = train.translation.numpy(), poses.translation.numpy()
    mean = Rotation.from_matrix(train.rotation.numpy()).mean()
    spread = np.sqrt(
        (mean.inv() * Rotation.from_matrix(train.rotation.numpy())).magnitude().__pow__(2).mean()
    )
    spread_m = np.sqrt(((centers - centers.mean(axis=0)) ** 2).sum(axis=1).mean())
    for i in range(17):
        one = Rotation.from_matrix(poses.rotation[i].numpy())
        turn = (one.inv() * Rotation.from_matrix(train.rotation.numpy())).magnitude()
        far = np.linalg.norm(centers - asked[i], axis=1)
        best = np.argmin((turn / spread) ** 2 + (far / spread_m) ** 2)
        assert nearest.index[i] == best
        assert nearest.distance_m[i] == pytest.approx(far[best], rel=1e-9)
        assert nearest.angle_deg[i] == pytest.approx(np.degrees(turn[best]), rel=1e-6)


def test_summary_of_nearest_poses():
    train = walk(10, 0)
    nearest = nearest_training_pose(train, train)._replace(
        distance_m=np.arange(1.0, 9.0), angle_deg=np.full(8, 2.0)
    )
    errors = PoseErrors(np.array([9.0, 1, 1, 1, 1, 1, 5, 7.5]), np.full(8, np.inf))
    values = summarise_nearest(nearest, errors)
    assert values["median_translation_m"] == 4.5
    assert values["better_translation"] == 7 / 8
    assert values["near_quarter_median_error_translation_m"] == 5.0
    assert values["far_quarter_median_error_translation_m"] == 6.25
    assert values["better_rotation"] == 0.0
    few = summarise_nearest(
        type(nearest)(*(part[:3] for part in nearest)), PoseErrors(*(part[:3] for part in errors))
    )
    assert np.isnan(few["near_quarter_median_error_translation_m"])


def test_running_median_follows_a_line_and_ignores_outliers():
    x = np.linspace(0.0, 1.0, 100)
    y = 2.0 * x
    y[::10] = np.inf
    order = np.random.default_rng(0).permutation(100)
    place, median = running_median(x[order], y[order])
    assert len(place) == 81
    np.testing.assert_allclose(median, 2.0 * place, atol=0.05)
    assert len(running_median(x[:5], y[:5])[0]) == 0


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (0.25, "the position error is 2.0 times smaller"),
        (1.0, "the position error is 2.0 times larger"),
        (0.49, "the position error is about the same"),
    ],
)
def test_the_verdict_is_honest(ours, said):
    medians = {"median_translation_m": 0.5, "median_rotation_deg": 8.0}
    summary = {"metric": True, "frames": 10.0, "split": "test", "baselines": {NEAREST: medians}}
    text = verdict({**summary, "median_translation_m": ours, "median_rotation_deg": 8.0})
    assert said in text
    assert "the rotation error about the same" in text
    alone = verdict({**summary, "baselines": {}, **medians})
    assert (
        alone
        == "Half of the 10 test images are located within 0.500\u00a0m, and half within 8.00°."
    )


def test_labels_of_recalls():
    assert recall_label("recall_5cm_5deg") == "5\u00a0cm,\u00a05°"
    assert recall_label("recall_0.25m_2.5deg") == "0.25\u00a0m,\u00a02.5°"


def test_the_files_of_the_page_are_packaged():
    root = Path(__file__).parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = patterns["package-data"]["posenet"]
    files = [path for path in (root / "posenet/evaluation/report").iterdir() if path.is_file()]
    for path in files:
        name = path.relative_to(root / "posenet").as_posix()
        assert path.suffix == ".py" or any(fnmatch(name, pattern) for pattern in patterns), name


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """Opens a page in a headless Chromium; returns its DOM afterwards and what the console said."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"the page is opened in none of {', '.join(names)}: none is installed")

    def open_page(page: str, **others: str) -> tuple[str, list[str]]:
        folder = tmp_path_factory.mktemp("browser")
        path = folder / "page.html"
        path.write_text(page, encoding="utf-8")
        for name, content in others.items():
            (folder / f"{name}.html").write_text(content, encoding="utf-8")
        command = [
            browser,
            *("--headless", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            *("--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"),
            *(f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000"),
            path.as_uri(),
        ]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        return answer.stdout, [line for line in answer.stderr.splitlines() if "CONSOLE" in line]

    return open_page


def test_predictions_without_a_training_are_drawn_too(browse, source):
    dom, console = browse(render_report(ReportSource(*source[:6])))
    assert console == []
    [canvas] = [attributes for attributes in Parsed(dom).all("canvas") if "tabindex" in attributes]
    assert int(canvas["data-drawn"]) == TESTED + TESTED - 1


def test_the_page_opens_without_a_complaint(browse, page):
    dom, console = browse(page)
    assert console == []
    parsed = Parsed(dom)
    assert "data-error" not in parsed.all("html")[0]
    [canvas] = [attributes for attributes in parsed.all("canvas") if attributes["id"] == "scene"]
    assert int(canvas["data-drawn"]) == TRAINED + TESTED + TESTED - 1
    assert "owned" not in parsed.words.split("posenet evaluate")[0]


PROBE = Path(__file__).with_name("report_probe.js")
# A window cannot be as narrow as a telephone, a frame in it can.
NARROW = """<!doctype html><iframe src="report.html" width="{width}" height="900" frameborder="0">
</iframe><pre></pre><script>window.addEventListener("message", (event) => {{
document.querySelector("pre").textContent = event.data; }});</script>"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_scene_is_drawn_and_obeys(browse, page, source, width):
    page = re.sub(r"<meta http-equiv[^>]*>", "", page)  # the policy would refuse the probe
    report = page.replace("</head>", f"<script>{PROBE.read_text()}</script></head>")
    dom, console = browse(NARROW.format(width=width), report=report)
    assert console == []
    [answer] = re.findall(r"<pre>(.*?)</pre>", dom, re.DOTALL)
    found = json.loads(unescape(answer))
    assert len(found["images"]) == 30
    assert min(found["images"]) > 0
    assert found["wide"] == [width, 0]  # the page itself never scrolls sideways
    # Each layer that is switched off takes its lines away, until nothing is left; all come back.
    assert found["ink"] == sorted(set(found["ink"]), reverse=True)
    assert found["ink"][0] > 500
    assert found["ink"][-1] == 0
    assert found["again"] == found["reset"] == found["ink"][0]
    assert len({found["reset"], found["turned"], found["nearer"]}) == 3
    assert found["dragged"]
    assert found["hovered"] != found["before"]
    for told, index in zip(found["frames"], (0, 1, 2, 7), strict=True):
        errors = [values[index] for values in source.errors]
        expected = f"off by {errors[0]:.3f} m and {errors[1]:.2f}°"
        expected = "no usable prediction" if index == 7 else expected
        assert told == f"{source.names[index]}: {expected}"
    assert found["located"].startswith(source.names[7])  # the worst: it has no prediction
