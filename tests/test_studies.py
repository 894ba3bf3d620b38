"""The frame of the studies: words of verdicts, what a study writes, what it refuses."""

import json

import numpy as np
import pytest

from levysde.stats import Estimate
from levysde.studies import (
    STUDIES,
    Claim,
    Finding,
    Section,
    Study,
    Verdict,
    all_judged,
    detection_chance,
    find_study,
    judged,
    run_study,
)

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
    [((0.9, 1.1), "holds"), ((1.3, 1.4), "fails"), ((0.1, 0.2), "fails"), ((1.1, 1.3), "not testable here")],
)
def test_the_word_follows_from_interval_and_band(ends, word):
    assert judged(Estimate(np.mean(ends), *ends), 0.8, 1.2) == word


def test_a_claim_fails_where_it_fails_once():
    assert all_judged(["holds", "holds"]) == "holds"
    assert all_judged(["holds", "not testable here"]) == "not testable here"
    assert all_judged(["holds", "not testable here", "fails"]) == "fails"
    assert all_judged([]) == "not testable here"


def test_detection_chance_is_the_power_of_the_interval():
    wide = Estimate(1.0, 1 - 1.959964, 1 + 1.959964)  # standard error 1
    assert detection_chance(1.959964, wide) == pytest.approx(0.5)
    assert detection_chance(1.959964 + 1.644854, wide) == pytest.approx(0.95, abs=1e-4)
    assert detection_chance(0.1, Estimate(1.0, 1.0, 1.0)) == 1.0


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
            assert all(vars(claim).values())
