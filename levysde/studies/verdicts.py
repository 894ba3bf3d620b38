"""Claims of a paper, written down before the run, and what the run said of them.

A verdict is one of four words. With an interval of 95% around what was measured and a band that the claim allows:

    holds               the interval lies inside the band
    fails               the interval lies outside the band
    holds only if       the claim holds under a condition that the paper does not name, and fails without it
    not testable here   the interval reaches from inside to outside: the run could not tell, and says how wide it was
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from math import inf
from typing import Literal, get_args

import numpy as np

from levysde import errors
from levysde.errors import Checked
from levysde.stats import Estimate
from levysde.tables import Table, Tabled

Word = Literal["holds", "fails", "holds only if", "not testable here"]


@dataclass(frozen=True, repr=False)
class Claim(Tabled):
    """What a paper says, and what would have contradicted it.

    Args:
        key: short name, unique in the study.
        statement: the claim in one sentence.
        where: place in the paper: theorem, equation, figure.
        predicted: what it predicts of the numbers measured here.
        fails_if: the result that would have meant "fails", fixed before the run.

    Raises:
        TypeError: one that is no text.
    """

    key: Checked
    statement: Checked
    where: Checked
    predicted: Checked
    fails_if: Checked

    def __post_init__(self):
        for about in fields(self):
            errors.word(about.name, getattr(self, about.name))

    def _table(self) -> Table:
        rows = [
            ("statement", self.statement),
            ("where", self.where),
            ("predicted", self.predicted),
            ("fails if", self.fails_if),
        ]
        return Table(f"Claim: {self.key}", rows)


@dataclass(frozen=True, repr=False)
class Verdict(Tabled):
    """What a run said of a claim.

    Args:
        claim: a `Claim`, as written before the run.
        word: holds, fails, holds only if, or not testable here.
        measured: the numbers, with intervals.
        power: how small a contradiction the run would have seen.
        condition: under which it holds, or why it could not be tested; "" else.

    Raises:
        ValueError, TypeError: another word, something else than a claim or a text.
    """

    claim: Checked
    word: Checked
    measured: Checked
    power: Checked
    condition: Checked = ""

    def __post_init__(self):
        errors.instance("claim", self.claim, Claim, "Claim(key, statement, where, predicted, fails_if)")
        errors.choice("word", self.word, get_args(Word))
        for name in ("measured", "power", "condition"):
            errors.word(name, getattr(self, name))

    def _table(self) -> Table:
        rows = [
            ("statement", self.claim.statement),
            ("verdict", self.word + (f": {self.condition}" if self.condition else "")),
            ("measured", self.measured),
            ("power", self.power),
        ]
        return Table(f"Verdict: {self.claim.key}", rows)


def judged(measured: Checked, low: Checked = -inf, high: Checked = inf) -> Word:
    """The word for an interval against the band that a claim allows.

    Args:
        measured: an `Estimate`, with its interval.
        low, high: ends of the band, in the unit of what was measured; infinite for none.

    Returns:
        "holds" where the interval lies inside the band, "fails" where it lies outside, else "not testable here".

    Raises:
        ValueError, TypeError: no `Estimate`, an end that is no number, or the two the wrong way round.
    """
    errors.instance("measured", measured, Estimate, "Estimate(1.0, 0.9, 1.1)")
    low, high = _end("low", low), _end("high", high)
    if low > high:
        raise ValueError(f"low = {low:g} lies above high = {high:g}. Type the lower end first.")
    if low <= measured.low and measured.high <= high:
        return "holds"
    if measured.high < low or measured.low > high:
        return "fails"
    return "not testable here"


def _end(name: str, value: Checked) -> float:
    """A number that may be infinite."""
    number = errors.numeric(name, errors.concrete(name, value), f"{name}=1.0")
    if number.shape != () or np.isnan(number):
        raise ValueError(f"{name} must be one number, not {errors.shown(value)}. Type for example {name}=1.0.")
    return float(number)


def all_judged(words: Checked) -> Word:
    """The word for a claim that was looked at in several places.

    Args:
        words: the word of each place.

    Returns:
        "fails" if it failed in any of them, "holds" if it held in all, else "not testable here", as for no places.

    Raises:
        ValueError, TypeError: something else than the four words.
    """
    for word in errors.several("words", words, str, 'words=["holds", "fails"]'):
        errors.choice("each of words", word, get_args(Word))
    if "fails" in words:
        return "fails"
    return "holds" if words and all(word == "holds" for word in words) else "not testable here"


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


def markdown(verdicts: Sequence[Verdict], command: str) -> str:
    """The verdicts as one table, and the command that made it."""
    head = "| claim | where | predicted | measured | would have failed if | power | verdict |\n|---|---|---|---|---|---|---|"
    rows = [
        (c.statement, c.where, c.predicted, v.measured, c.fails_if, v.power, _word(v))
        for v in verdicts
        for c in [v.claim]
    ]
    lines = ["| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([head, *lines, "", f"`{command}`", ""])


def _word(verdict: Verdict) -> str:
    if verdict.word == "holds only if":
        return f"**holds only if** {verdict.condition}"
    return f"**{verdict.word}**" + (f": {verdict.condition}" if verdict.condition else "")


def as_json(verdicts: Sequence[Verdict]) -> str:
    return json.dumps([asdict(verdict) for verdict in verdicts], indent=1)
