"""Lists of recall thresholds: those that were published, and one's own."""

import re
from pathlib import Path

import pytest

from posenet.errors import UsageError
from posenet.evaluation.recall import RECALL_THRESHOLDS, parse_recall, recall_key


@pytest.mark.parametrize("name", RECALL_THRESHOLDS)
def test_a_list_is_named(name):
    assert parse_recall(name) == RECALL_THRESHOLDS[name]


PUBLISHED = {  # as their papers and sites print them
    "7scenes": "5cm 5deg",
    "visloc-day-night": "25cm 2deg, 50cm 5deg, 5m 10deg",
    "inloc": "25cm 10deg, 50cm 10deg, 1m 10deg",
    "mapfree": "25cm 5deg",
    "cambridge": "",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_lists(name):
    keys = [recall_key(*pair) for pair in RECALL_THRESHOLDS[name]]
    assert keys == [f"recall_{k.replace(' ', '_')}" for k in PUBLISHED[name].split(", ") if k]


def test_the_documentation_has_every_list():
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    documented = {row[1].strip("`"): row[2] for row in rows if len(row) == 5}
    for name, words in PUBLISHED.items():
        said = documented[name].replace(", each with 10 deg", "").split(", ")
        wanted = [
            pair.removesuffix(" 10deg") if name == "inloc" else pair for pair in words.split(", ")
        ]
        wanted = [re.sub(r"(\d)([a-z])", r"\1 \2", pair) for pair in wanted]
        assert said == wanted or (name, documented[name]) == ("cambridge", "none: medians only")
    assert documented.keys() >= RECALL_THRESHOLDS.keys() - {"default"}


def test_a_list_of_ones_own():
    assert parse_recall("0.05:5,0.25:2.5") == ((0.05, 5.0), (0.25, 2.5))
    assert recall_key(0.25, 2.5) == "recall_25cm_2.5deg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7scene", "did you mean '7scenes'"),
        ("0.05", "unknown list of recall thresholds '0.05'"),
        ("0.05:5:3", "expected METRES:DEGREES pairs .* found '0.05:5:3'"),
        ("0.05:5,", "unknown list|found ''"),
        ("0:5", "found '0:5'"),
        ("-1:5", "found '-1:5'"),
        ("nan:5", "found 'nan:5'"),
        ("1:181", "found '1:181'"),
        ("0.05:5,0.05:5", "that differ"),
    ],
)
def test_bad_lists_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_recall(text)
