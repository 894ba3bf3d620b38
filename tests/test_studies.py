"""The frame of the studies: words of verdicts, what a study writes, what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from levysde.stats import Estimate
from levysde.studies import (
    STUDIES,
    Claim,
    Finding,
    Reading,
    Section,
    Study,
    Verdict,
    all_judged,
    detection_chance,
    find_study,
    judged,
    read_verdicts,
    ruled,
    run_study,
)
from levysde.studies.verdicts import as_json, lacking, markdown

PAGES = Path(__file__).parent.parent / "docs" / "studies"

CLAIM = Claim("rate", "It escapes.", "eq. 1", "ratio 1", "the interval lies outside [0.5, 2]")
RUN = {
    "landscape": {"name": "Quadratic", "hessian": [1.0]},
    "driver": {"name": "StableComponents", "alpha": 1.5},
    "dynamics": {"name": "SGD", "epsilon": 0.3},
    "domain": {"name": "Ball", "radius": 1.0},
    "kernel": {"name": "EulerMaruyama", "dt": 0.01},
    "num": 50,
}


@pytest.mark.parametrize(
    ("ends", "word"),
    [((0.9, 1.1), "holds"), ((1.3, 1.4), "fails"), ((0.1, 0.2), "fails"), ((1.1, 1.3), "inconclusive")],
)
def test_the_word_follows_from_interval_and_band(ends, word):
    assert judged(Estimate(np.mean(ends), *ends), 0.8, 1.2) == word


def test_a_claim_fails_where_it_fails_once():
    assert all_judged(["holds", "holds"]) == "holds"
    assert all_judged(["holds", "inconclusive"]) == "inconclusive"
    assert all_judged(["holds", "inconclusive", "fails"]) == "fails"
    assert all_judged([]) == "inconclusive"


def test_detection_chance_is_the_power_of_the_interval():
    wide = Estimate(1.0, 1 - 1.959964, 1 + 1.959964)  # standard error 1
    assert detection_chance(1.959964, wide) == pytest.approx(0.5)
    assert detection_chance(1.959964 + 1.644854, wide) == pytest.approx(0.95, abs=1e-4)
    assert detection_chance(0.1, Estimate(1.0, 1.0, 1.0)) == 1.0


PRINTED = Claim(
    "volume",
    "The volume is the product.",
    "p. 8",
    "power 1",
    "a power below 0",
    "read",
    "V = z prod l_i",
    "any factor z",
)
OUT = Reading(Estimate(-0.5, -0.6, -0.4), 0.0, np.inf, "V rises with the product")


def test_fails_needs_what_was_read_its_favourable_reading_and_a_result_that_excludes_it():
    assert Verdict(PRINTED, "fails", "power -0.5", "exact", reading=OUT).word == "fails"
    for claim, reading, missing in (
        (replace(PRINTED, known="restated"), OUT, 'known="read"'),
        (replace(PRINTED, known="recalled"), OUT, 'known="read"'),
        (replace(PRINTED, known="own"), OUT, 'known="read"'),
        (replace(PRINTED, favourable=" "), OUT, "favourable"),
        (replace(PRINTED, where=""), OUT, "where"),
        (PRINTED, None, "measured under that reading"),
        (PRINTED, replace(OUT, low=-0.45), "excludes what is printed, not -0.5 .* for above -0.45"),
    ):
        with pytest.raises(ValueError, match=f'volume: word="fails" needs .*{missing}'):
            Verdict(claim, "fails", "power -0.5", "exact", reading=reading)
        weaker = ruled(claim, "fails", "power -0.5", "exact", reading=reading)
        assert weaker.word == "own finding"
        assert weaker.condition.startswith("not as" if claim.known != "read" else "outside the band")
    assert ruled(PRINTED, "fails", "power -0.5", "exact", reading=OUT).word == "fails"


def test_a_statement_that_was_read_is_quoted():
    with pytest.raises(ValueError, match='known="read" needs the statement as printed'):
        Claim("a", "b", "p. 1", "c", "d", "read")
    with pytest.raises(ValueError, match='known must be "read" or "restated"'):
        replace(PRINTED, known="heard")
    with pytest.raises(ValueError, match="allowed_by must say what sets low and high"):
        replace(OUT, allowed_by=" ")
    with pytest.raises(ValueError, match="low must not exceed high"):
        replace(OUT, low=2.0, high=1.0)


def test_answers_to_our_own_questions_are_own_findings():
    own = replace(CLAIM, known="own")
    assert ruled(own, "holds", "1", "none").condition == "as predicted"
    assert ruled(own, "fails", "1", "none", "too large").condition == "not as predicted: too large"
    asked = replace(own, statement="Does it escape?")
    assert [ruled(asked, word, "1", "none").condition for word in ("holds", "fails")] == ["yes", "no"]
    assert ruled(asked, "holds only if", "1", "none", "eta is small").condition == "yes only if eta is small"
    assert ruled(own, "inconclusive", "1", "none").word == "inconclusive"
    assert ruled(CLAIM, "holds", "1", "none").word == "holds"
    for word in ("holds only if", "depends on the convention", "own finding"):
        with pytest.raises(ValueError, match="needs a condition"):
            Verdict(CLAIM, word, "1", "none")


def test_verdicts_are_read_back(tmp_path):
    found = (Verdict(PRINTED, "fails", "power -0.5", "exact", reading=OUT), Verdict(CLAIM, "holds", "1", "none"))
    (tmp_path / "verdicts.json").write_text(as_json(found))
    assert read_verdicts(tmp_path) == read_verdicts(tmp_path / "verdicts.json") == found
    bad = as_json(found).replace('"read"', '"recalled"')
    (tmp_path / "verdicts.json").write_text(bad)
    with pytest.raises(ValueError, match='word="fails" needs'):
        read_verdicts(tmp_path)
    (tmp_path / "verdicts.json").write_text('[{"claim": 3}]')
    with pytest.raises(ValueError, match="holds no verdicts of a study"):
        read_verdicts(tmp_path)


def tiny(run: dict, calls: list) -> Study:
    def judge(found, quick):
        sweep = found["well"]
        calls.append((quick, len(sweep.finished)))
        ratio = Estimate(*(float(sweep.columns(sweep.plan.points[0])[n]) for n in ("ratio", "ratio_low", "ratio_high")))
        return Finding(
            (Verdict(CLAIM, judged(ratio, 0.1, 10), f"{ratio}", "none"),), {}, {"ratio": [{"r": ratio.value}]}
        )

    spec = {"seed": 1, "run": run, "grid": {"epsilon": [0.3, 0.4]}}
    return Study("tiny", "Nobody, 2026", (Section("one", (CLAIM,), lambda quick: {"well": spec}, judge),))


def test_a_study_writes_its_verdicts_and_goes_on(tmp_path):
    calls: list = []
    study, out = tiny(RUN, calls), tmp_path / "out"
    (verdict,) = run_study(study, out, quick=True)
    assert verdict.word == "holds"
    written = json.loads((out / "data.json").read_text())
    assert written["command"] == "levysde study tiny --quick --out out"
    assert written["tables"]["one/ratio"][0]["r"] > 0
    assert json.loads((out / "verdicts.json").read_text())[0]["claim"]["fails_if"] == CLAIM.fails_if
    assert "| **holds** |" in (out / "verdicts.md").read_text()
    before = (out / "one/well/done/c/0").stat().st_mtime_ns
    run_study(study, out, quick=True)
    assert (out / "one/well/done/c/0").stat().st_mtime_ns == before
    assert calls == [(True, 2), (True, 2)]
    with pytest.raises(ValueError, match="holds another sweep"):
        run_study(tiny(RUN | {"num": 60}, calls), out, quick=True)


def test_a_point_that_fails_gives_no_verdict(tmp_path):
    broken = RUN | {"landscape": {"name": "from_function_that_is_not_there:f"}}
    with pytest.raises(ValueError, match="cannot be imported"):
        run_study(tiny(broken, []), tmp_path / "out", quick=True)


def test_what_is_unknown_is_named_with_what_there_is(tmp_path):
    with pytest.raises(ValueError, match="jelassi2022, xie2021, zhou2020"):
        find_study("zhou2021")
    with pytest.raises(ValueError, match=r"no section 'two'\. There are one"):
        run_study(tiny(RUN, []), tmp_path / "out", sections=["two"])


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_its_claims(name):
    study = find_study(name)
    assert study.name == name
    keys = [claim.key for section in study.sections for claim in section.claims]
    assert len(set(keys)) == len(keys) >= 10
    for section in study.sections:
        for claim in section.claims:
            assert all([claim.statement, claim.where, claim.predicted, claim.fails_if])


def test_three_statements_can_fail_and_no_other():
    """Read in the work, with their most favourable reading: what a run may say "fails" of."""
    claims = [c for name in STUDIES for section in find_study(name).sections for c in section.claims]
    assert {claim.key for claim in claims if not lacking(claim, OUT)} == {"normalisation", "volumes", "decay-rates"}


@pytest.mark.parametrize("name", STUDIES)
def test_committed_verdicts_follow_the_rule_and_are_those_of_the_page(name):
    """Reading them makes each `Verdict` anew, which refuses "fails" without what it needs."""
    study, verdicts = find_study(name), read_verdicts(PAGES / name)
    assert [v.claim for v in verdicts] == [claim for section in study.sections for claim in section.claims]
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert markdown(verdicts) in page
    failed = [v for v in verdicts if v.word == "fails"]
    if name != "zhou2020":  # of the other papers abstracts and restatements were read
        assert not failed
    papers = (PAGES.parent / "papers.md").read_text(encoding="utf-8")
    for verdict in failed:
        assert f"`{verdict.claim.key}`" in papers
