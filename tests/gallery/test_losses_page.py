"""The page of losses: as the command writes it today, and true."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from posenet.cli import main
from posenet.gallery import page
from posenet.gallery.robust import NOISE_M, fit_line, line_error, measure
from posenet.gallery.rotation import measure_angles
from posenet.losses import CLASSIFICATION_LOSSES, ROBUST_LOSSES, ROTATION_LOSSES, l2
from posenet.progress import show_table

DOCS = Path(__file__).parents[2] / "docs"
# Rounding errors differ from processor to processor, and peers improve from release to release.
NOISY = {"geodesic_accuracy"}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "new" / "folder"
    assert main(["losses", "--plot", str(folder)]) == 0
    return folder


def described(path: Path) -> list[dict]:
    with Image.open(path) as image:
        assert image.width >= 1200
        return json.loads(image.text["Description"])


def test_the_page_in_the_docs_is_the_one_the_command_writes(written):
    assert (DOCS / page.PAGE).read_text() == (written / page.PAGE).read_text(), (
        "run: posenet losses --plot docs"
    )


@pytest.mark.parametrize("name", page.DRAWINGS)
def test_the_pictures_in_the_docs_show_what_the_code_computes(written, name):
    kept, new = (described(folder / page.PICTURES / f"{name}.png") for folder in (DOCS, written))
    assert [
        [{**line, "y": len(line["y"])} for line in p.pop("lines")] for p in map(dict, kept)
    ] == [[{**line, "y": len(line["y"])} for line in p.pop("lines")] for p in map(dict, new)]
    for before, after in zip(kept, new, strict=True):
        assert {**before, "lines": None} == {**after, "lines": None}
        for old_line, new_line in zip(before["lines"], after["lines"], strict=True):
            pairs = zip(old_line["y"], new_line["y"], strict=True)
            if name not in NOISY:
                assert all(new == pytest.approx(old, rel=2e-3, abs=1e-9) for old, new in pairs)
            elif old_line["label"].startswith("posenet"):
                assert all(abs(math.log10(old / new)) < 2.0 for old, new in pairs)


def test_every_picture_is_on_the_page(written):
    text = (written / page.PAGE).read_text()
    for name in page.DRAWINGS:
        assert f"](losses/{name}.png)" in text
        assert (written / page.PICTURES / f"{name}.png").is_file()
    assert "{{" not in text


@pytest.mark.parametrize("family", [ROBUST_LOSSES, ROTATION_LOSSES, CLASSIFICATION_LOSSES])
def test_every_loss_is_in_the_printed_table(family, capsys):
    assert main(["losses"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name in family:
        assert f" {name} " in out
    # A pipe has no width to fold to: formulas stay whole.
    assert "z^2 / 2 to |z| = 1, then |z| - 1/2" in out


def test_wrong_values_of_the_tutorial_stand_beside_the_right_ones():
    text = page.render_page()
    for value in ("0.516609", "75.21", "8.89889e-05", "0.01320712", "0.463297", "1.704748"):
        assert value in text
    assert "[-0.00525, 0.01513, -0.00987]" in text
    assert "[0.03333, 0.9333, 0.03333]" in text


def fitted_error(name: str, outliers: float) -> float:
    row = ROBUST_LOSSES[name]
    loss = partial(row.function, scale=NOISE_M * (row.efficient_scale or 1.0))
    return float(line_error(fit_line(loss, *measure(outliers))).median())


def test_the_fitted_line_is_that_of_least_squares_for_l2():
    time, position = measure(0.25, draws=3)
    for line, x, y in zip(fit_line(l2, time, position), time, position, strict=True):
        assert line.tolist() == pytest.approx(np.polyfit(x, y, 1)[::-1].tolist(), rel=1e-9)


@pytest.mark.parametrize("name", ["cauchy", "geman_mcclure", "welsch"])
def test_a_falling_pull_hardly_notices_a_quarter_of_outliers(name):
    assert fitted_error(name, 0.25) < 1.5 * fitted_error(name, 0.0)
    assert fitted_error("huber", 0.25) > 2.0 * fitted_error("huber", 0.0)
    assert fitted_error("l2", 0.25) > 10.0 * fitted_error("l2", 0.0)


def test_the_usual_angle_loses_what_ours_keeps():
    usual, *_, exact_at_pi, ours = measure_angles(1e-5).values()
    assert usual.error > 1e-5
    assert ours.error < 1e-11
    for method in (ours, exact_at_pi):
        assert method.least_norm == pytest.approx(1.0, abs=1e-5)
        assert method.largest_norm == pytest.approx(1.0, abs=1e-5)
    assert usual.least_norm == 0.0


def test_a_folder_that_cannot_be_made_is_named(tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.write_text("")
    assert main(["losses", "--plot", str(taken)]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"posenet: error: {taken}")
    assert out == ""


def test_on_a_narrow_terminal_each_loss_is_a_block_of_lines(monkeypatch, capsys):
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", "60")
    show_table("Title", ["name", "loss"], [["huber", "a-word-of-forty-characters-and-some-more"]])
    assert "huber" in (wide := capsys.readouterr().out)
    assert "a-word-of-forty-characters-and-some-more" in wide
    monkeypatch.setenv("COLUMNS", "44")
    show_table("Title", ["name", "loss"], [["huber", "a-word-of-forty-characters-and-some-more"]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert "huber" in lines
    assert "  loss:" in lines
