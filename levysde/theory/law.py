"""What every law of an escape time answers, whatever theory it comes from: the side of a comparison
that was not measured."""

from dataclasses import dataclass
from math import exp, inf
from typing import Any, ClassVar, Protocol, runtime_checkable

from levysde import errors
from levysde.stats import Estimate
from levysde.tables import Table, Tabled
from levysde.types import Arg, Number

_SAME_START = 1e-5  # relative difference of two starts that are one


@dataclass(frozen=True, repr=False)
class Conditions(Tabled):
    """How a run stands to a law.

    Attributes:
        regime: rate over relaxation, which is far below 1 where escapes are rare; NaN where the law
            does not know it.
        one_step_chance: chance that one step from the attractor leaves; NaN without a step.
        skeleton_bias: largest relative discretisation bias of the step; NaN where it is not known.
        warnings: caveats, each with its number and what to do.
        law_error: how far the law is from its own problem's mean, a `LawError`, where that was
            estimated.
    """

    regime: float = float("nan")
    one_step_chance: float = float("nan")
    skeleton_bias: float = float("nan")
    warnings: tuple[str, ...] = ()
    law_error: Any = None

    def _table(self) -> Table:
        rows = [
            ("rate over relaxation", f"{self.regime:.3g}"),
            ("one-step exit chance", f"{self.one_step_chance:.3g}"),
            ("discretisation bias, at most", f"{self.skeleton_bias:.2%}"),
        ]
        return Table("Conditions", rows, self.warnings)


@runtime_checkable
class Law(Protocol):
    """A mean escape time from theory.

    Attributes:
        name: of the law.
        unit: of time.
        mean: mean escape time, in `unit`; inf where float64 ends.
        log_rate: natural logarithm of the escapes a unit of time, where `mean` may be inf.
        assumptions: when the law holds.
    """

    @property
    def name(self) -> str:
        """What the law is called."""
        ...

    @property
    def unit(self) -> str:
        """Of time."""
        ...

    @property
    def mean(self) -> float:
        """Mean escape time; inf where float64 ends."""
        ...

    @property
    def log_rate(self) -> float:
        """Natural logarithm of the rate."""
        ...

    @property
    def assumptions(self) -> tuple[str, ...]:
        """When the law holds."""
        ...

    def interval(self, confidence: float = 0.95) -> Estimate:
        """The mean, with the error of its computation: the error of the law itself is not in it."""
        ...

    def conditions(
        self, ratio: Estimate, dt: float | None, start: tuple[float, ...] | None
    ) -> Conditions:
        """How a run of step `dt` from `start` whose mean is `ratio` times the law's stands to the
        law."""
        ...


class Answers:
    """What a law answers where its mean is known without error, and there are no caveats."""

    mean: float
    name: str
    start = None  # the place that the mean is for, where it depends on it
    is_exact: ClassVar[bool] = False  # whether `mean` is the equation's own, and no limit

    def relative_error(self, confidence: float) -> float:
        """Of the mean's computation, at that confidence."""
        return 0.0

    def interval(self, confidence: Arg[Number] = 0.95) -> Estimate:
        """The mean, with the error of its computation: the error of the law itself is not in it."""
        level = errors.fraction("confidence", confidence)
        error = self.relative_error(level)
        return Estimate(
            self.mean,
            self.mean * exp(-error),
            self.mean * exp(error) if error < 700 else inf,
            level,
        )

    def conditions(
        self, ratio: Estimate, dt: float | None, start: tuple[float, ...] | None
    ) -> Conditions:
        """How a run of step `dt` from `start` whose mean is `ratio` times the law's stands to the
        law."""
        own = self.start
        if own is None or start is None or len(start) != 1:
            return Conditions()
        if abs(start[0] - own) <= _SAME_START * (1 + abs(own)):
            return Conditions()
        return Conditions(
            warnings=(
                f"the run started at {start[0]:g}, and {self.name} is for a start at {own:g}: "
                f"their means differ by that too. Compute it with start={start[0]:g}.",
            )
        )
