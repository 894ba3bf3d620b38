"""Verdicts on claims: the word for an interval and a band, and the rule for the word "fails".

`levysde.studies.claims` explains the words and the rule.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import get_args

from levysde import errors
from levysde.stats import Estimate
from levysde.studies.claims import Claim, Reading, Word, band_end
from levysde.tables import Table, Tabled
from levysde.types import Arg, Number

WORDS = get_args(Word)
_MEASURED = "For example Estimate(1.0, 0.9, 1.1)."
_READING = "Reading(Estimate(2.0, 1.9, 2.1), 1.0, 1.0, 'eq. 3')"  # for messages


@dataclass(frozen=True, repr=False)
class Verdict(Tabled):
    """What a run said of a claim.

    Args:
        claim: a `Claim`, as written before the run.
        word: "holds", "holds only if", "depends on the convention", "fails", "inconclusive" or "own
            finding".
        outcome: the measured numbers, with intervals, as text.
        power: how small a contradiction the run would have seen.
        condition: under which condition it holds, why it is inconclusive, or what was found; "" if
            there is nothing to say.
        reading: a `Reading`, the number under the claim's most favourable reading; needed for
            "fails".

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an unknown word; "holds only if" or "own finding" without a condition; "fails"
            where the statement was not read in the work, without its favourable reading, or without
            a `Reading` that excludes what is printed.
    """

    claim: Arg[Claim]
    word: Arg[Word]
    outcome: Arg[str]
    power: Arg[str]
    condition: Arg[str] = ""
    reading: Arg[Reading | None] = None

    def __post_init__(self):
        errors.instance(
            "claim", self.claim, Claim, "Claim(key, statement, where, predicted, fails_if)"
        )
        errors.choice("word", self.word, WORDS)
        for name in ("outcome", "power", "condition"):
            errors.word(name, getattr(self, name))
        errors.instance("reading", self.reading, Reading | None, _READING)
        if (
            self.word in ("holds only if", "depends on the convention", "own finding")
            and not self.condition
        ):
            raise ValueError(
                f'{self.claim.key}: word="{self.word}" needs a condition that says more, got "".'
            )
        missing = lacking(self.claim, self.reading) if self.word == "fails" else []
        if missing:
            raise ValueError(
                f'{self.claim.key}: word="fails" needs {"; ".join(missing)}. Give these, or use '
                '"own finding" or '
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
            ("measured", self.outcome),
            ("power", self.power),
        ]
        return Table(f"Verdict: {self.claim.key}", [row for row in rows if row[1]])


def _under(reading: Reading | None) -> str:
    return (
        f"{reading.measured}, printed {reading.allowed} ({reading.allowed_by})" if reading else ""
    )


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
        found.append(
            f"a reading that excludes what is printed, not {reading.measured} for {reading.allowed}"
        )
    return found


def ruled(
    claim: Arg[Claim],
    word: Arg[Word],
    outcome: Arg[str],
    power: Arg[str],
    condition: Arg[str] = "",
    reading: Arg[Reading | None] = None,
) -> Verdict:
    """The `Verdict` for what a run says of a claim, with the strongest word that the rule for
    "fails" allows.

    Args:
        claim: a `Claim`.
        word: what interval and band say, for example from `judged`.
        outcome, power, condition: as for `Verdict`.
        reading: a `Reading`, if the claim's favourable reading was tested.

    Returns:
        A `Verdict`. The result for a claim of our own is an "own finding": "yes" or "no" if the
        statement is a question, else "as predicted" or not. A result outside the band is an "own
        finding" too where the rule for "fails" is not met.

    Raises:
        ValueError, TypeError: as for `Verdict`.
    """
    errors.instance("claim", claim, Claim, "Claim(key, statement, where, predicted, fails_if)")
    errors.choice("word", word, WORDS)
    errors.word("condition", condition)
    errors.instance("reading", reading, Reading | None, _READING)
    also = f": {condition}" if condition else ""
    yes, no = (
        ("yes", "no") if claim.statement.endswith("?") else ("as predicted", "not as predicted")
    )
    if word == "fails" and (claim.known == "own" or lacking(claim, reading)):
        how = {"own": no, "read": "outside the band that we set"}.get(
            claim.known, f"not as {claim.known}"
        )
        return Verdict(claim, "own finding", outcome, power, how + also, reading)
    if claim.known == "own" and word in ("holds", "holds only if"):
        found = yes + also if word == "holds" else f"{yes} only if {condition}"
        return Verdict(claim, "own finding", outcome, power, found, reading)
    return Verdict(claim, word, outcome, power, condition, reading)


def judged(
    measured: Arg[Estimate | Iterable[Estimate]], low: Arg[Number] = -inf, high: Arg[Number] = inf
) -> Word:
    """The word for an interval and the band that a claim allows.

    Args:
        measured: an `Estimate` with its interval, or several, measured in several places.
        low, high: ends of the band, in the unit of what was measured; infinite for no end.

    Returns:
        "holds" if the interval lies inside the band, "fails" if it lies outside, else
        "inconclusive". For several estimates see `all_judged`.

    Raises:
        ValueError, TypeError: something other than estimates, an end that is not a number, or the
            ends in the wrong order.
    """
    low, high = band_end("low", low), band_end("high", high)
    if low > high:
        raise ValueError(f"low must not exceed high, got low={low:g} and high={high:g}. Swap them.")
    return all_judged([_word(one, low, high) for one in _several(measured)])


def _several(measured: Arg[Estimate | Iterable[Estimate]]) -> list[Estimate]:
    """One estimate or several as a list."""
    if isinstance(measured, Estimate):
        return [measured]
    if not isinstance(measured, Iterable) or isinstance(measured, str | bytes):
        raise TypeError(
            f"measured must be an Estimate or several, got {errors.shown(measured)}. {_MEASURED}"
        )
    found = [
        errors.instance("each of measured", one, Estimate, "[Estimate(1.0, 0.9, 1.1)]")
        for one in measured
    ]
    if not found:
        raise ValueError(f"measured must hold at least one Estimate, got none. {_MEASURED}")
    return found


def _word(measured: Estimate, low: float, high: float) -> Word:
    if low <= measured.low and measured.high <= high:
        return "holds"
    if measured.high < low or measured.low > high:
        return "fails"
    return "inconclusive"


def all_judged(verdict_words: Arg[Sequence[Word]]) -> Word:
    """The word for a claim that was tested in several places.

    Args:
        verdict_words: the word of each place.

    Returns:
        "fails" if it failed in any of them, "holds" if it held in all of them, else "inconclusive",
        also for no places.

    Raises:
        ValueError, TypeError: something other than words of verdicts.
    """
    for word in errors.several(
        "verdict_words", verdict_words, str, 'verdict_words=["holds", "fails"]'
    ):
        errors.choice("each of verdict_words", word, WORDS)
    if "fails" in verdict_words:
        return "fails"
    return "holds" if verdict_words and set(verdict_words) == {"holds"} else "inconclusive"


def detection_chance(deviation: Arg[Number], measured: Arg[Estimate | Iterable[Estimate]]) -> float:
    """The chance that an interval as wide as this one would have shown a deviation (normal
    approximation).

    Args:
        deviation: in the unit of what was measured; its sign does not matter.
        measured: an `Estimate`, for the width of its interval, or several, for the smallest chance
            among them.

    Returns:
        A probability.

    Raises:
        ValueError, TypeError: a deviation that is not a finite number, something other than
            estimates, or none.
    """
    deviation = errors.real("deviation", deviation)
    found = _several(measured)
    from scipy.stats import norm  # slow to import

    def chance(one: Estimate) -> float:
        z = float(norm.isf((1 - one.confidence) / 2))
        error = (one.high - one.low) / (2 * z)
        return 1.0 if error == 0 else float(norm.cdf(abs(deviation) / error - z))

    return min(map(chance, found))
