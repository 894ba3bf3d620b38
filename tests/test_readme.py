"""The README's own lines."""

import re
from pathlib import Path

import matplotlib
import numpy as np

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_twelve_lines_run_as_written_and_print_what_it_says(capsys):
    matplotlib.use("Agg")
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(code, names)
    printed = capsys.readouterr().out
    (shown,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    # bits differ between machines, the law and the layout of the table do not
    numbers = r"[\d.]+(e-\d+)?"
    assert re.sub(numbers, "#", printed).strip() == re.sub(numbers, "#", shown).strip()
    np.testing.assert_allclose(names["law"].mean, 39.633, rtol=1e-4)
    assert 0.9 < names["result"].time.mean() / 39.633 < 1.02


def test_there_are_two_set_up_lines():
    lines = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert lines[0].endswith("levysde escape")
    assert lines[1].endswith("python -m pytest")
