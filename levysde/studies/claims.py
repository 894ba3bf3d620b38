"""Claims of a paper, written down before the run, and the rule for what a run may say of them.

A claim says how its statement is known:

    read       in the work itself, at the place given
    restated   in another work that repeats it (named in `where`)
    recalled   from memory only
    own        it is ours, and not in the paper

A verdict is one of five words, or "own finding":

    holds                       the interval of what was measured lies inside the band that the
                                claim allows
    holds only if               it holds under a condition that the statement does not name, and not
                                without it
    depends on the convention   the statement is right under one convention and wrong under another
    fails                       see below
    inconclusive                the interval reaches from inside to outside the band
    own finding                 a result of ours that contradicts no printed statement, or that
                                answers our own question

"fails" is a statement about other people's work. It needs a printed statement that was read
(`known="read"`, `printed`, `where`), the most favourable reasonable reading of it (`favourable`),
and a number measured under that reading whose interval excludes what the printed statement allows
(`Reading`). A `Verdict` with the word "fails" and without these is refused.
"""

from dataclasses import dataclass, fields
from math import inf
from typing import Literal, get_args

from levysde import errors
from levysde.stats import Estimate
from levysde.tables import Table, Tabled
from levysde.types import Arg, Number

Word = Literal[
    "holds", "holds only if", "depends on the convention", "fails", "inconclusive", "own finding"
]
Known = Literal["read", "restated", "recalled", "own"]


@dataclass(frozen=True, repr=False)
class Claim(Tabled):
    """What a paper says, or what we ask of it, and what would contradict it. Written before the
    run.

    Args:
        key: short name, unique in the study.
        statement: what is tested, in one sentence.
        where: place in the paper (page, theorem, equation), with who restates it where it was not
            read in the paper.
        predicted: what it predicts for the numbers measured here.
        fails_if: the result that would contradict it.
        known: "read" in the work itself, "restated" by others, "recalled" from memory, or our "own"
            question.
        printed: the statement as printed; needed if it was read.
        favourable: the most favourable reasonable reading of it; needed for the verdict "fails".

    Raises:
        TypeError: an argument that is not a string.
        ValueError: an unknown word for `known`; a statement that was read, without `printed`.
    """

    key: Arg[str]
    statement: Arg[str]
    where: Arg[str]
    predicted: Arg[str]
    fails_if: Arg[str]
    known: Arg[Known] = "recalled"
    printed: Arg[str] = ""
    favourable: Arg[str] = ""

    def __post_init__(self):
        for about in fields(self):
            errors.word(about.name, getattr(self, about.name))
        errors.choice("known", self.known, get_args(Known))
        if self.known == "read" and not self.printed.strip():
            raise ValueError(
                f'{self.key}: known="read" needs the statement as printed, got '
                f"printed={self.printed!r}. "
                'Give printed="...", or known="recalled".'
            )

    @property
    def source(self) -> str:
        """The place, and how the statement is known."""
        return self.where if self.known == "own" else f"{self.where} ({self.known})"

    def _table(self) -> Table:
        rows = [
            ("statement", self.statement),
            ("where", self.source),
            ("printed", self.printed),
            ("favourable reading", self.favourable),
            ("predicted", self.predicted),
            ("fails if", self.fails_if),
        ]
        return Table(f"Claim: {self.key}", [row for row in rows if row[1]])


@dataclass(frozen=True, repr=False)
class Reading(Tabled):
    """The number measured under the most favourable reading of a printed statement, and what the
    statement allows.

    Args:
        measured: an `Estimate`, its interval with every error that matters, not of sampling alone.
        low, high: ends of what the printed statement allows; equal for an equation, infinite for a
            sign or an order. They are not tolerances of ours.
        allowed_by: the printed words or the formula that set `low` and `high`.

    Raises:
        ValueError, TypeError: no `Estimate`, ends that are no numbers or the wrong way round, an
            `allowed_by` without text.
    """

    measured: Arg[Estimate]
    low: Arg[float]
    high: Arg[float]
    allowed_by: Arg[str]

    def __post_init__(self):
        errors.instance("measured", self.measured, Estimate, "Estimate(1.0, 0.9, 1.1)")
        low, high = band_end("low", self.low), band_end("high", self.high)
        if low > high:
            raise ValueError(
                f"low must not exceed high, got low={low:g} and high={high:g}. Swap them."
            )
        if not errors.word("allowed_by", self.allowed_by).strip():
            raise ValueError(
                f"allowed_by must say what sets low and high, got {self.allowed_by!r}. For example "
                'allowed_by="equation (3), an equality".'
            )

    @property
    def contradicts(self) -> bool:
        """Whether the interval excludes everything that the printed statement allows."""
        return bool(self.measured.high < self.low or self.measured.low > self.high)

    @property
    def allowed(self) -> str:
        """What the statement allows, in words."""
        if self.low == self.high:
            return f"{self.low:g}"
        if self.high == inf:
            return f"above {self.low:g}"
        return f"below {self.high:g}" if self.low == -inf else f"{self.low:g} to {self.high:g}"

    def _table(self) -> Table:
        rows = [
            ("measured", repr(self.measured)),
            ("printed", f"{self.allowed} ({self.allowed_by})"),
            ("excluded", "yes" if self.contradicts else "no"),
        ]
        return Table("Reading", rows)


def band_end(name: str, value: Arg[Number]) -> float:
    """A number that may be infinite."""
    import numpy as np

    number = errors.numeric(name, errors.concrete(name, value), f"{name}=1.0")
    if number.shape != () or np.isnan(number):
        raise ValueError(
            f"{name} must be one number, not {errors.shown(value)}. For example {name}=1.0."
        )
    return float(number)
