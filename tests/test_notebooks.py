"""Notebooks run from the first cell to the last, with few trajectories."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.py")))
def test_notebook(name):
    settings = {"LEVYSDE_NOTEBOOK_NUM": "50", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, str(FOLDER / name)], env=os.environ | settings, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "nan" not in done.stdout
