"""The claims of the three papers, and the verdicts on them that the documentation holds."""

from pathlib import Path

import numpy as np
import pytest
from papers import jelassi2022, xie2021, zhou2020

from levysde.stats import Estimate
from levysde.studies import Reading, load_study, read_verdicts
from levysde.studies.page import markdown
from levysde.studies.verdicts import lacking

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "studies"
STUDIES = {paper.STUDY.name: paper.STUDY for paper in (jelassi2022, xie2021, zhou2020)}
OUT = Reading(Estimate(-0.5, -0.6, -0.4), 0.0, np.inf, "V rises with the product")


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_its_claims(name):
    study = load_study(ROOT / "benchmarks" / "papers" / name)
    assert study.name == name
    assert study.sections == STUDIES[name].sections
    keys = [claim.key for section in study.sections for claim in section.claims]
    assert len(set(keys)) == len(keys) >= 10
    for section in study.sections:
        for claim in section.claims:
            assert all([claim.statement, claim.where, claim.predicted, claim.fails_if])


def test_three_statements_can_fail_and_no_other():
    """Read in the work, with their most favourable reading: what a run may say "fails" of."""
    claims = [c for study in STUDIES.values() for section in study.sections for c in section.claims]
    assert {claim.key for claim in claims if not lacking(claim, OUT)} == {
        "normalisation",
        "volumes",
        "decay-rates",
    }


@pytest.mark.parametrize("name", STUDIES)
def test_committed_verdicts_follow_the_rule_and_are_those_of_the_page(name):
    """Reading them makes each `Verdict` anew, which refuses "fails" without what it needs."""
    study, verdicts = STUDIES[name], read_verdicts(PAGES / name)
    assert [v.claim for v in verdicts] == [
        claim for section in study.sections for claim in section.claims
    ]
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert markdown(verdicts) in page
    assert f"levysde study benchmarks/papers/{name}" in page
    failed = [v for v in verdicts if v.word == "fails"]
    if name != "zhou2020":  # of the other papers abstracts and restatements were read
        assert not failed
    papers = (PAGES.parent / "papers.md").read_text(encoding="utf-8")
    for verdict in failed:
        assert f"`{verdict.claim.key}`" in papers
