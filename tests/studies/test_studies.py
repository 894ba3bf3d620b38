"""The frame of the studies: words of verdicts, what a study writes, what it refuses."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sweeping import data_files

from levysde.stats import Estimate
from levysde.studies import (
    Claim,
    Finding,
    Reading,
    Section,
    Study,
    Verdict,
    all_judged,
    detection_chance,
    judged,
    load_study,
    read_verdicts,
    reference,
    ruled,
    run_study,
)
from levysde.studies.page import as_json
from levysde.sweeps import open_sweep

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
    [
        ((0.9, 1.1), "holds"),
        ((1.3, 1.4), "fails"),
        ((0.1, 0.2), "fails"),
        ((1.1, 1.3), "inconclusive"),
    ],
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
        assert weaker.condition.startswith(
            "not as" if claim.known != "read" else "outside the band"
        )
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
    assert [ruled(asked, word, "1", "none").condition for word in ("holds", "fails")] == [
        "yes",
        "no",
    ]
    assert (
        ruled(asked, "holds only if", "1", "none", "eta is small").condition
        == "yes only if eta is small"
    )
    assert ruled(own, "inconclusive", "1", "none").word == "inconclusive"
    assert ruled(CLAIM, "holds", "1", "none").word == "holds"
    for word in ("holds only if", "depends on the convention", "own finding"):
        with pytest.raises(ValueError, match="needs a condition"):
            Verdict(CLAIM, word, "1", "none")


def test_verdicts_are_read_back(tmp_path):
    found = (
        Verdict(PRINTED, "fails", "power -0.5", "exact", reading=OUT),
        Verdict(CLAIM, "holds", "1", "none"),
    )
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
        ratio = Estimate(
            *(
                float(sweep.columns(sweep.plan.points[0])[n])
                for n in ("ratio", "ratio_low", "ratio_high")
            )
        )
        return Finding(
            (Verdict(CLAIM, judged(ratio, 0.1, 10), f"{ratio}", "none"),),
            {},
            {"ratio": [{"r": ratio.value}]},
        )

    spec = {"seed": 1, "run": run, "grid": {"epsilon": [0.3, 0.4]}}
    return Study(
        "tiny", "Nobody, 2026", (Section("one", (CLAIM,), lambda quick: {"well": spec}, judge),)
    )


def test_a_study_writes_its_verdicts_and_goes_on(tmp_path):
    calls: list = []
    study, out = tiny(RUN, calls), tmp_path / "out"
    (verdict,) = run_study(study, out, quick=True)
    assert verdict.word == "holds"
    written = json.loads((out / "data.json").read_text())
    assert written["command"] == "run_study(tiny, 'out', quick=True)"
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
    with pytest.raises(ValueError, match=r"no section 'two'\. There are one"):
        run_study(tiny(RUN, []), tmp_path / "out", sections=["two"])


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder to work in, without traces on the search path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


OWN = """
from levysde.studies import Study

from .rate import SECTION

STUDY = Study("own", "nobody", (SECTION,))
"""
RATE = """
from levysde.landscapes import Quadratic
from levysde.studies import Claim, Finding, Section, judged, reference, ruled

FAILS = "the interval lies outside [0.1, 10]"
CLAIM = Claim("rate", "It escapes.", "a question of ours", "ratio 1", FAILS, "own")


def well(curvature):
    return Quadratic(hessian=[curvature])


def sweeps(quick):
    run = {
        "landscape": {"name": reference(well), "curvature": 1.0},
        "driver": {"name": "StableComponents", "alpha": 1.5},
        "dynamics": {"name": "SGD", "epsilon": 0.3},
        "domain": {"name": "Ball", "radius": 1.0},
        "kernel": {"name": "EulerMaruyama", "dt": 0.01},
        "num": 50,
    }
    return {"well": {"seed": 1, "run": run, "grid": {"epsilon": [0.3, 0.4]}}}


def judge(found, quick):
    sweep = found["well"]
    ratios = [sweep.estimate(point, "ratio") for point in sweep.plan.points]
    return Finding((ruled(CLAIM, judged(ratios, 0.1, 10), f"{ratios}", "none"),))


SECTION = Section("one", (CLAIM,), sweeps, judge)
"""


def write_study(folder: Path, init: str = OWN, rate: str = RATE) -> None:
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(init)
    (folder / "rate.py").write_text(rate)


@pytest.mark.slow
def test_a_study_runs_from_its_folder_and_other_processes_find_its_modules(elsewhere):
    """The store holds where the modules are: a shard, a Ray worker and a reader need nothing
    else."""
    write_study(elsewhere / "mine" / "claim_one")
    # an enclosing package: modules are mine.claim_one.rate
    (elsewhere / "mine" / "__init__.py").touch()
    study = load_study("mine/claim_one")
    assert study.folder == "mine/claim_one"
    (verdict,) = run_study("mine/claim_one", "out")
    assert verdict.condition == "as predicted"
    assert (
        "`levysde study mine/claim_one --out out`"
        in (elsewhere / "out" / "verdicts.md").read_text()
    )
    store = elsewhere / "out" / "one" / "well"
    sweep = open_sweep(store)
    assert sweep.plan.spec.run["landscape"]["name"] == "mine.claim_one.rate:well"
    code = f"""
import sys
from levysde.sweeps import open_sweep, run_sweep
from levysde.sweeps.engines import _run_numbered
sweep = open_sweep({str(store)!r})
assert not sweep.failures
here = str(sweep.plan.folder)
tallies = [run_sweep(sweep.plan.spec, "shards", shard=(i, 2), folder=here) for i in range(2)]
assert [tally.done for tally in tallies] == [1, 1], tallies
other = sweep.plan.spec.model_copy(update={{"seed": 2}})
def forget():
    sys.path.remove(here)
    for name in [name for name in sys.modules if name.split(".")[0] == "mine"]:
        sys.modules.pop(name)
forget()
fresh = run_sweep(other, "ray", shard=(0, 2), folder=here)
forget()
given = other.model_dump_json(), here, "ray"
assert _run_numbered(given, 1, 5.0, False)[0] == ""
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=elsewhere
    )
    assert done.returncode == 0, done.stderr
    for name, data in data_files(store).items():
        assert (elsewhere / "shards" / name).read_bytes() == data or name.endswith("zarr.json"), (
            name
        )


@pytest.mark.parametrize(
    ("name", "init", "words"),
    [
        ("not_there", None, "there is no folder 'not_there'"),
        ("empty", "", r"'empty' defines no Study called STUDY. Add STUDY"),
        ("no_study", "STUDY = 3", "defines no Study called STUDY"),
        ("a-claim", OWN, "'a-claim' cannot be imported. Rename it to letters"),
        ("broken", "1 / 0", r"'broken' cannot be imported \(ZeroDivisionError"),
        ("json", OWN, r"belongs to another module, .*json.*Rename the folder"),
    ],
)
def test_a_folder_without_a_study_is_refused(elsewhere, name, init, words):
    if init is not None:
        write_study(elsewhere / name, init)
    with pytest.raises(ValueError, match=words):
        run_study(name, "out")


def test_a_folder_that_is_no_package_is_refused(elsewhere):
    (elsewhere / "plain").mkdir()
    with pytest.raises(ValueError, match=r"'plain' has no __init__\.py"):
        load_study("plain")
    with pytest.raises(TypeError, match="path must be a str or a PathLike"):
        run_study(3, "out")


def test_references_are_names_that_other_processes_find():
    assert reference(Study) == "levysde.studies.run:Study"
    assert reference(tiny) == f"{__name__}:tiny"
    with pytest.raises(ValueError, match="part must be defined at the top level of a module"):
        reference(lambda x: x)
    with pytest.raises(TypeError, match="part must be a function or class"):
        reference("tiny")


def test_a_section_that_judges_other_claims_is_refused(tmp_path):
    other = replace(CLAIM, key="other")
    section = Section(
        "one",
        (other,),
        lambda quick: {},
        lambda found, quick: Finding((Verdict(CLAIM, "holds", "1", "none"),)),
    )
    with pytest.raises(
        ValueError,
        match=r"a verdict on each of its claims, in their order "
        r"\(other\), got rate",
    ):
        run_study(Study("tiny", "nobody", (section,)), tmp_path / "out")
    section = replace(section, judge=lambda found, quick: None)
    with pytest.raises(TypeError, match="what judge returns must be a Finding"):
        run_study(Study("tiny", "nobody", (section,)), tmp_path / "out")


def test_several_estimates_are_judged_together():
    near, far, wide = Estimate(1.0, 0.9, 1.1), Estimate(3.0, 2.9, 3.1), Estimate(1.0, 0.0, 2.0)
    assert judged([near, near], 0.8, 1.2) == "holds"
    assert judged((e for e in (near, wide)), 0.8, 1.2) == "inconclusive"
    assert judged({"a": near, "b": far}.values(), 0.8, 1.2) == "fails"
    assert (
        detection_chance(0.1, [near, wide])
        == detection_chance(0.1, wide)
        < detection_chance(0.1, near)
    )
    with pytest.raises(TypeError, match="measured must be an Estimate or several, got 1"):
        judged(1.0)
    with pytest.raises(TypeError, match="each of measured must be an Estimate"):
        judged([1.0])
    with pytest.raises(ValueError, match="at least one Estimate"):
        detection_chance(0.1, [])
