"""Fixtures of all tests: the real data, where it is at hand."""

import os
from pathlib import Path

import pytest

DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def redkitchen() -> Path:
    """Real frames of the 7-Scenes scene redkitchen, which may not be redistributed."""
    root = Path(os.environ.get("POSENET_TEST_DATA", DEFAULT_DATA)) / "7scenes" / "redkitchen"
    if not root.is_dir():
        pytest.skip(f"real frames absent: {root} does not exist; set POSENET_TEST_DATA")
    return root
