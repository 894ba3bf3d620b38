"""Every section of two studies, from the specs of its quick run to verdicts, tables and figures.

A dozen trajectories a point: what is tested is the way, not what it finds. (Sections of the third,
which train networks, are in `test_jelassi.py`.)
"""

import dataclasses
import json
import warnings

import pytest
from papers import xie2021, zhou2020

from levysde.studies import Section, Study, run_study

SECTIONS = [
    (paper.STUDY.name, section) for paper in (zhou2020, xie2021) for section in paper.STUDY.sections
]
FEW = 12


def with_few(section: Section) -> Section:
    """The section with so few trajectories that it takes seconds."""

    def sweeps(quick):
        made = section.sweeps(True)
        return {
            k: s | {"run": s["run"] | ({"num": FEW} if "num" in s["run"] else {})}
            for k, s in made.items()
        }

    return dataclasses.replace(section, sweeps=sweeps)


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "section"), SECTIONS, ids=[f"{n}-{s.name}" for n, s in SECTIONS])
def test_a_section_comes_to_its_verdicts(name, section, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of a dozen censored times
        verdicts = run_study(
            Study(name, "a paper", (with_few(section),)), tmp_path / "out", quick=True
        )
    assert [verdict.claim for verdict in verdicts] == list(section.claims)
    assert all(verdict.outcome and verdict.power for verdict in verdicts)
    assert json.loads((tmp_path / "out" / "data.json").read_text())["tables"]
    assert list((tmp_path / "out").glob(f"{section.name}-*.png"))
