"""Claims of a paper, written down before the run, and what the run said of them.

A verdict is one of four words. With an interval of 95% around what was measured and a band that the claim allows:

    holds               the interval lies inside the band
    fails               the interval lies outside the band
    holds only if       the claim holds under a condition that the paper does not name, and fails without it
    not testable here   the interval reaches from inside to outside: the run could not tell, and says how wide it was
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Literal

from levysde.stats import Estimate
from levysde.tables import Table, Tabled

Word = Literal["holds", "fails", "holds only if", "not testable here"]


@dataclass(frozen=True, repr=False)
class Claim(Tabled):
    """What a paper says, and what would have contradicted it.

    Attributes:
        key: short name, unique in the study.
        statement: the claim in one sentence.
        where: place in the paper: theorem, equation, figure.
        predicted: what it predicts of the numbers measured here.
        fails_if: the result that would have meant "fails", fixed before the run.
    """

    key: str
    statement: str
    where: str
    predicted: str
    fails_if: str

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

    Attributes:
        claim: as written before the run.
        word: holds, fails, holds only if, or not testable here.
        measured: the numbers, with intervals.
        power: how small a contradiction the run would have seen.
        condition: under which it holds, or why it could not be tested; "" else.
    """

    claim: Claim
    word: Word
    measured: str
    power: str
    condition: str = ""

    def _table(self) -> Table:
        rows = [
            ("statement", self.claim.statement),
            ("verdict", self.word + (f": {self.condition}" if self.condition else "")),
            ("measured", self.measured),
            ("power", self.power),
        ]
        return Table(f"Verdict: {self.claim.key}", rows)


def judged(measured: Estimate, low: float = -inf, high: float = inf) -> Word:
    """The word for an interval against the band from `low` to `high`: see the head of this file."""
    if low <= measured.low and measured.high <= high:
        return "holds"
    if measured.high < low or measured.low > high:
        return "fails"
    return "not testable here"


def all_judged(words: Sequence[Word]) -> Word:
    """The word for a claim that was looked at in several places: it holds if in all of them, and fails if in any."""
    if "fails" in words:
        return "fails"
    return "holds" if words and all(word == "holds" for word in words) else "not testable here"


def detection_chance(margin: float, measured: Estimate) -> float:
    """The chance that an interval as wide as this one would have shown a deviation of `margin` (normal approximation)."""
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
