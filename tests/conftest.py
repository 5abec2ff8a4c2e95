"""Fixtures of all tests: the real data, where it is at hand."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A folder of the real datasets, which may not be redistributed."""

    def find(name: str) -> Path:
        root = Path(os.environ.get("POSENET_TEST_DATA", DEFAULT_DATA)) / name
        if not root.is_dir():
            pytest.skip(f"real frames absent: {root} does not exist; set POSENET_TEST_DATA")
        return root

    return find


@pytest.fixture(scope="session")
def redkitchen(real_data) -> Path:
    """Real frames of the 7-Scenes scene redkitchen."""
    return real_data("7scenes/redkitchen")
