"""Fixtures of all tests: the real data, where it is at hand."""

import os
import shutil
import subprocess
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


@pytest.fixture
def run_evo(tmp_path) -> Callable[..., str]:
    """Run a program of evo in the test's folder and return what it printed; skip without evo."""

    def run(program: str, *words: str) -> str:
        evo = shutil.which(program)
        if evo is None:
            pytest.skip(f"{program} is not on the PATH; evo is GPL and no dependency: install it")
        result = subprocess.run(
            [evo, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "MPLBACKEND": "Agg"},
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run
