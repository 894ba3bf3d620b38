"""Calls of `levysde.studies`."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from calls.small import folder
from calls.table import Call, Exempt
from levysde import studies
from levysde.stats import Estimate
from levysde.studies.page import as_json


@cache
def claim() -> studies.Claim:
    return studies.Claim(
        "rate", "It escapes.", "eq. 1", "ratio 1", "the interval lies outside [0.5, 2]"
    )


@cache
def verdict() -> studies.Verdict:
    return studies.Verdict(claim(), "holds", "ratio 1.01 [0.9, 1.1]", "10%")


def verdict_arguments() -> dict:
    return {
        "claim": claim(),
        "word": "holds only if",
        "outcome": "ratio 1",
        "power": "10%",
        "condition": "epsilon is small",
        "reading": studies.Reading(Estimate(2.0, 1.9, 2.1), 1.0, 1.0, "eq. 1"),
    }


@cache
def written() -> Path:
    """A file of verdicts."""
    path = folder() / "verdicts.json"
    path.write_text(as_json((verdict(),)))
    return path


@cache
def study_folder() -> Path:
    """A folder with a study without runs."""
    path = folder() / "study_of_calls"
    path.mkdir()
    (path / "__init__.py").write_text("from calls.studies import study\n\nSTUDY = study()\n")
    return path


@cache
def study() -> studies.Study:
    """A study without runs."""
    found = studies.Finding((verdict(),))
    return studies.Study(
        "small", "nobody", (studies.Section("one", (claim(),), lambda quick: {}, lambda *_: found),)
    )


def calls() -> Iterator[Call | Exempt]:
    yield Call(
        studies.run_study,
        lambda: {
            "study": study(),
            "out": str(folder() / "study"),
            "quick": True,
            "sections": ("one",),
            "progress": False,
        },
        fine={"out": ("text",)},  # any word is a folder
        also={"study": ("path",)},
    )
    yield Call(studies.load_study, lambda: {"path": str(study_folder())})
    yield Call(studies.reference, lambda: {"part": claim})
    yield Call(
        studies.judged,
        lambda: {"measured": Estimate(1.0, 0.9, 1.1), "low": 0.5, "high": 2.0},
        host=True,
    )
    yield Call(studies.all_judged, lambda: {"verdict_words": ["holds", "fails"]})
    yield Call(
        studies.detection_chance,
        lambda: {"deviation": 0.1, "measured": Estimate(1.0, 0.9, 1.1)},
        host=True,
    )
    yield Call(studies.read_verdicts, lambda: {"path": str(written())}, fine={"path": ("text",)})
    words = ("key", "statement", "where", "predicted", "fails_if", "printed", "favourable")
    yield Call(studies.Claim, lambda: dict.fromkeys(words, "text") | {"known": "read"})
    yield Call(
        studies.Reading,
        lambda: {
            "measured": Estimate(2.0, 1.9, 2.1),
            "low": 1.0,
            "high": 1.0,
            "allowed_by": "eq. 1",
        },
        host=True,
    )
    for judge in (studies.Verdict, studies.ruled):
        yield Call(judge, lambda: verdict_arguments())
    yield Call(
        studies.Finding,
        lambda: {"verdicts": (verdict(),), "figures": {}, "tables": {"table": [{"a": 1}]}},
    )
    yield Call(
        studies.Section,
        lambda: {
            "name": "one",
            "claims": (claim(),),
            "sweeps": lambda quick: {},
            "judge": lambda found, quick: None,
        },
    )
    yield Call(
        studies.Study,
        lambda: {"name": "small", "paper": "nobody", "sections": study().sections, "folder": ""},
    )
