"""How verdicts are written: the page of tables, the JSON file, and reading it back."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from levysde import errors
from levysde.stats import Estimate
from levysde.studies.claims import Claim, Reading
from levysde.studies.verdicts import WORDS, Verdict
from levysde.types import Arg, PathLike


def markdown(verdicts: Sequence[Verdict], command: str = "") -> str:
    """The verdicts as tables: on the paper's statements, our own findings, and how each was
    judged."""
    counts = [
        f"{count} {word}"
        for word in WORDS
        for count in [sum(v.word == word for v in verdicts)]
        if count
    ]
    parts = [f"{len(verdicts)} verdicts: {', '.join(counts)}.", ""]
    groups = {
        "What the paper says": [v for v in verdicts if not _own(v)],
        "Own findings": [v for v in verdicts if _own(v)],
    }
    for title, group in groups.items():
        if group:
            head = ("", "statement", "where", "measured", "verdict")
            rows = [
                (f"`{v.claim.key}`", v.claim.statement, v.claim.source, v.outcome, _word(v))
                for v in group
            ]
            parts += [f"### {title}", "", *_lines(head, rows), ""]
    printed = [v for v in verdicts if v.claim.printed]
    if printed:
        head = (
            "",
            "printed, or as restated",
            "most favourable reading",
            "allowed by it",
            "measured under it",
        )
        rows = [
            (f"`{v.claim.key}`", v.claim.printed, v.claim.favourable, *_read(v)) for v in printed
        ]
        parts += ["### Printed statements and their readings", "", *_lines(head, rows), ""]
    head = ("", "predicted", "contradicted if", "power")
    rows = [(f"`{v.claim.key}`", v.claim.predicted, v.claim.fails_if, v.power) for v in verdicts]
    parts += ["### Criteria, fixed before the run", "", *_lines(head, rows), ""]
    return "\n".join(parts + ([f"`{command}`", ""] if command else []))


def _own(verdict: Verdict) -> bool:
    return verdict.claim.known == "own" or verdict.word == "own finding"


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return [
        "| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in line) + " |"
        for line in lines
    ]


def _word(verdict: Verdict) -> str:
    if verdict.word == "holds only if":
        return f"**holds only if** {verdict.condition}"
    return f"**{verdict.word}**" + (f": {verdict.condition}" if verdict.condition else "")


def _read(verdict: Verdict) -> tuple[str, str]:
    """What the printed statement allows, and what was measured under its favourable reading."""
    reading = verdict.reading
    if reading is None:
        return "", "see above" if verdict.claim.favourable else ""
    return f"{reading.allowed} ({reading.allowed_by})", repr(reading.measured)


def as_json(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as JSON, which `read_verdicts` reads."""
    return json.dumps([asdict(verdict) for verdict in verdicts], indent=1)


def read_verdicts(path: Arg[PathLike]) -> tuple[Verdict, ...]:
    """The verdicts that a run of a study has written.

    Args:
        path: the file `verdicts.json`, or the folder that it lies in.

    Returns:
        The verdicts, in the order of the claims.

    Raises:
        TypeError, ValueError: no path, or a file that holds something else; a verdict "fails" that
            breaks the rule for it.
        OSError: no such file.
    """
    file = Path(errors.instance("path", path, str | os.PathLike, '"zhou2020/verdicts.json"'))
    file = file / "verdicts.json" if file.is_dir() else file
    try:
        return tuple(_restored(row) for row in json.loads(file.read_text(encoding="utf-8")))
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{file} holds no verdicts of a study: {error!r}. Run `levysde study` again."
        ) from error


def _restored(row: dict[str, Any]) -> Verdict:
    reading = row["reading"]
    if reading is not None:
        reading = Reading(**reading | {"measured": Estimate(**reading["measured"])})
    return Verdict(**row | {"claim": Claim(**row["claim"]), "reading": reading})
