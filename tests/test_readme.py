"""The README's own lines."""

import re
from pathlib import Path

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

import levysde as ls
from levysde.noise import levy_constant

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()


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
    means = [re.search(r"measured mean \(SDE time\) +([\d.]+)", text) for text in (printed, shown)]
    assert float(means[0][1]) == pytest.approx(float(means[1][1]), rel=0.005)  # the same draws
    np.testing.assert_allclose(names["law"].mean, 39.633, rtol=1e-4)
    assert 0.9 < names["result"].time.mean() / 39.633 < 1.02


def test_there_are_two_set_up_lines():
    lines = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert lines[0].endswith("levysde escape")
    assert lines[1].endswith("python -m pytest")


def test_the_guide_to_a_new_domain_works_as_written():
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(code.splitlines()) < 80
    names = {"__name__": "slab"}
    exec(code, names)
    slab = names["Slab"](half_width=0.5, dim=2)
    assert [int(slab.label(jnp.array([u, 9.0]))) for u in (-0.6, 0.0, 0.6, np.nan)] == [1, 0, 2, 2]
    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.eye(2)), ls.StableComponents(alpha=1.5), epsilon=0.1)
    exact = 2 * 0.1**1.5 * levy_constant(1.5) / 1.5 * 0.5**-1.5
    assert ls.escape_law(dynamics, slab, check=False).rate == pytest.approx(exact, rel=1e-5)
    with pytest.raises(ValueError, match="axis must be from 0 to 1"):
        names["Slab"](half_width=1.0, axis=2)


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "CONTRIBUTING.md",
        *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md")),
    ],
)
def test_no_placeholder_was_left(path):
    assert not re.findall(
        r"\b(?:TODO|TBD|FIXME|XXX)\b|\b[A-Z]{3,}_[A-Z]{3,}_[A-Z_]+\b",
        (ROOT / path).read_text().replace("LEVYSDE_", ""),
    )
