"""Verdicts on claims: the word for an interval and a band, the rule for "fails", and how verdicts are written and read.

The words, and what "fails" needs, are explained in `levysde.studies.claims`.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from levysde import errors
from levysde.errors import Checked
from levysde.stats import Estimate
from levysde.studies.claims import Claim, Reading, Text, Word, band_end
from levysde.tables import Table, Tabled

WORDS = get_args(Word)
_READING = "Reading(Estimate(2.0, 1.9, 2.1), 1.0, 1.0, 'eq. 3')"  # for messages

if TYPE_CHECKING:
    AnyClaim: TypeAlias = Claim
    AnyWord: TypeAlias = Word
    AnyReading: TypeAlias = Reading | None
else:
    AnyClaim = AnyWord = AnyReading = Checked


@dataclass(frozen=True, repr=False)
class Verdict(Tabled):
    """What a run said of a claim.

    Args:
        claim: a `Claim`, as written before the run.
        word: "holds", "holds only if", "depends on the convention", "fails", "inconclusive" or "own finding".
        measured: the numbers, with intervals.
        power: how small a contradiction the run would have seen.
        condition: under which condition it holds, why it is inconclusive, or what was found; "" if there is nothing to say.
        reading: a `Reading`, the number under the claim's most favourable reading; needed for "fails".

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an unknown word; "holds only if" or "own finding" without a condition; "fails" where the statement was not
            read in the work, without its favourable reading, or without a `Reading` that excludes what is printed.
    """

    claim: AnyClaim
    word: AnyWord
    measured: Text
    power: Text
    condition: Text = ""
    reading: AnyReading = None

    def __post_init__(self):
        errors.instance("claim", self.claim, Claim, "Claim(key, statement, where, predicted, fails_if)")
        errors.choice("word", self.word, WORDS)
        for name in ("measured", "power", "condition"):
            errors.word(name, getattr(self, name))
        errors.instance("reading", self.reading, Reading | None, _READING)
        if self.word in ("holds only if", "depends on the convention", "own finding") and not self.condition:
            raise ValueError(f'{self.claim.key}: word="{self.word}" needs a condition that says more, got "".')
        missing = lacking(self.claim, self.reading) if self.word == "fails" else []
        if missing:
            raise ValueError(
                f'{self.claim.key}: word="fails" needs {"; ".join(missing)}. Give these, or use "own finding" or '
                '"inconclusive".'
            )

    def _table(self) -> Table:
        rows = [
            ("statement", self.claim.statement),
            ("where", self.claim.source),
            ("printed", self.claim.printed),
            ("favourable reading", self.claim.favourable),
            ("under it", _under(self.reading)),
            ("verdict", self.word + (f": {self.condition}" if self.condition else "")),
            ("measured", self.measured),
            ("power", self.power),
        ]
        return Table(f"Verdict: {self.claim.key}", [row for row in rows if row[1]])


def lacking(claim: Claim, reading: Reading | None) -> list[str]:
    """What the verdict "fails" on this claim would still need."""
    found = []
    if claim.known != "read":
        found.append(f'a statement read in the work itself (known="read"), not {claim.known!r}')
    if not claim.printed.strip():
        found.append("the statement as printed (printed)")
    if not claim.where.strip():
        found.append("its place (where)")
    if not claim.favourable.strip():
        found.append("the most favourable reading (favourable)")
    if reading is None:
        found.append("a number measured under that reading (reading)")
    elif not reading.contradicts:
        found.append(f"a reading that excludes what is printed, not {reading.measured} for {reading.allowed}")
    return found


def ruled(
    claim: Checked,
    word: Checked,
    measured: Checked,
    power: Checked,
    condition: Checked = "",
    reading: Checked = None,
) -> Verdict:
    """The `Verdict` for what a run says of a claim, with the strongest word that the rule for "fails" allows.

    Args:
        claim: a `Claim`.
        word: what interval and band say, for example from `judged`.
        measured, power, condition: as for `Verdict`.
        reading: a `Reading`, if the claim's favourable reading was tested.

    Returns:
        A `Verdict`. The result for a claim of our own is an "own finding": "yes" or "no" if the statement is a question, else
        "as predicted" or not. A result outside the band is an "own finding" too where the rule for "fails" is not met.

    Raises:
        ValueError, TypeError: as for `Verdict`.
    """
    errors.instance("claim", claim, Claim, "Claim(key, statement, where, predicted, fails_if)")
    errors.choice("word", word, WORDS)
    errors.word("condition", condition)
    errors.instance("reading", reading, Reading | None, _READING)
    also = f": {condition}" if condition else ""
    yes, no = ("yes", "no") if claim.statement.endswith("?") else ("as predicted", "not as predicted")
    if word == "fails" and (claim.known == "own" or lacking(claim, reading)):
        how = {"own": no, "read": "outside the band that we set"}.get(claim.known, f"not as {claim.known}")
        return Verdict(claim, "own finding", measured, power, how + also, reading)
    if claim.known == "own" and word in ("holds", "holds only if"):
        found = yes + also if word == "holds" else f"{yes} only if {condition}"
        return Verdict(claim, "own finding", measured, power, found, reading)
    return Verdict(claim, word, measured, power, condition, reading)


def judged(measured: Checked, low: Checked = -inf, high: Checked = inf) -> Word:
    """The word for an interval and the band that a claim allows.

    Args:
        measured: an `Estimate`, with its interval.
        low, high: ends of the band, in the unit of what was measured; infinite for none.

    Returns:
        "holds" where the interval lies inside the band, "fails" where it lies outside, else "inconclusive".

    Raises:
        ValueError, TypeError: no `Estimate`, an end that is no number, or the two the wrong way round.
    """
    errors.instance("measured", measured, Estimate, "Estimate(1.0, 0.9, 1.1)")
    low, high = band_end("low", low), band_end("high", high)
    if low > high:
        raise ValueError(f"low = {low:g} lies above high = {high:g}. Type the lower end first.")
    if low <= measured.low and measured.high <= high:
        return "holds"
    if measured.high < low or measured.low > high:
        return "fails"
    return "inconclusive"


def all_judged(words: Checked) -> Word:
    """The word for a claim that was tested in several places.

    Args:
        words: the word of each place.

    Returns:
        "fails" if it failed in any of them, "holds" if it held in all, else "inconclusive", as for no places.

    Raises:
        ValueError, TypeError: something else than the words of verdicts.
    """
    for word in errors.several("words", words, str, 'words=["holds", "fails"]'):
        errors.choice("each of words", word, WORDS)
    if "fails" in words:
        return "fails"
    return "holds" if words and all(word == "holds" for word in words) else "inconclusive"


def detection_chance(margin: Checked, measured: Checked) -> float:
    """The chance that an interval as wide as this one would have shown a deviation (normal approximation).

    Args:
        margin: the deviation, in the unit of what was measured; its sign does not matter.
        measured: an `Estimate`, whose interval is looked at.

    Returns:
        A probability.

    Raises:
        ValueError, TypeError: a margin that is no finite number, no `Estimate`.
    """
    margin = errors.real("margin", margin, "margin=0.1")
    errors.instance("measured", measured, Estimate, "Estimate(1.0, 0.9, 1.1)")
    from scipy.stats import norm  # slow to import

    z = float(norm.isf((1 - measured.confidence) / 2))
    error = (measured.high - measured.low) / (2 * z)
    return 1.0 if error == 0 else float(norm.cdf(abs(margin) / error - z))


def markdown(verdicts: Sequence[Verdict], command: str = "") -> str:
    """The verdicts as tables: on the paper's statements, our own findings, and how each was judged."""
    counts = [f"{count} {word}" for word in WORDS for count in [sum(v.word == word for v in verdicts)] if count]
    parts = [f"{len(verdicts)} verdicts: {', '.join(counts)}.", ""]
    groups = {
        "What the paper says": [v for v in verdicts if not _own(v)],
        "Own findings": [v for v in verdicts if _own(v)],
    }
    for title, group in groups.items():
        if group:
            head = ("", "statement", "where", "measured", "verdict")
            rows = [(f"`{v.claim.key}`", v.claim.statement, v.claim.source, v.measured, _word(v)) for v in group]
            parts += [f"### {title}", "", *_lines(head, rows), ""]
    printed = [v for v in verdicts if v.claim.printed]
    if printed:
        head = ("", "printed, or as restated", "most favourable reading", "allowed by it", "measured under it")
        rows = [(f"`{v.claim.key}`", v.claim.printed, v.claim.favourable, *_read(v)) for v in printed]
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
    return ["| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in line) + " |" for line in lines]


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


def _under(reading: Reading | None) -> str:
    return f"{reading.measured}, printed {reading.allowed} ({reading.allowed_by})" if reading else ""


def as_json(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as JSON, which `read_verdicts` reads."""
    return json.dumps([asdict(verdict) for verdict in verdicts], indent=1)


def read_verdicts(path: Checked) -> tuple[Verdict, ...]:
    """The verdicts that a run of a study has written.

    Args:
        path: the file `verdicts.json`, or the folder that it lies in.

    Returns:
        The verdicts, in the order of the claims.

    Raises:
        TypeError, ValueError: no path, or a file that holds something else; a verdict "fails" that breaks the rule for it.
        OSError: no such file.
    """
    file = Path(errors.instance("path", path, str | os.PathLike, '"zhou2020/verdicts.json"'))
    file = file / "verdicts.json" if file.is_dir() else file
    try:
        return tuple(_restored(row) for row in json.loads(file.read_text(encoding="utf-8")))
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} holds no verdicts of a study: {error!r}. Run `levysde study` again.") from error


def _restored(row: dict[str, Any]) -> Verdict:
    reading = row["reading"]
    if reading is not None:
        reading = Reading(**reading | {"measured": Estimate(**reading["measured"])})
    return Verdict(**row | {"claim": Claim(**row["claim"]), "reading": reading})
