"""What every law of an escape time answers, whatever theory it comes from: the side of a comparison
that was not measured."""

from dataclasses import dataclass
from math import exp, inf
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from levysde import errors
from levysde.results import Result
from levysde.stats import Estimate
from levysde.tables import Table
from levysde.types import Arg, Number, Numbers

_QUIET = 0.9  # a mean between this and its inverse times the law's is not warned of
_SAME_START = 1e-5  # relative difference of two starts that are one


@dataclass(frozen=True, repr=False)
class LawError(Result):
    """The mean escape time at the noise of a law, over the law's mean, as simulated.

    Attributes:
        ratio: mean escape time over the law's mean, with its 95% interval (sampling error, the
            law's error of quadrature, and the range of the correction for the step); NaN where
            nothing could be simulated.
        method: "direct" (escapes from the attractor), "forced" (forced jumps), or "none".
        num: escapes or forced jumps simulated.
        dt: the step, in SDE time.
        seed: of the simulation.
        steps: steps made, all trajectories together.
        epsilon: noise amplitude of the law.
        unresolved: why the ratio says little; empty where it does not.
    """

    ratio: Estimate
    method: str
    num: int
    dt: float
    seed: int
    steps: int
    epsilon: float
    unresolved: str = ""

    @property
    def warning(self) -> str:
        """What a reader of the law should know; empty where the law is within 10%, or may be."""
        ratio = self.ratio
        if differs(ratio):
            side = "shorter" if ratio.value < 1 else "longer"
            return (
                f"at epsilon = {self.epsilon:.3g} the mean escape time is estimated to be "
                f"{abs(1 - ratio.value):.0%} {side} than the law's (mean over law "
                f"{ratio.value:.3g} [{ratio.low:.3g}, {ratio.high:.3g}]): the law is a limit for "
                "small noise. Simulate, or take a smaller epsilon."
            )
        if self.unresolved:
            return (
                f"how far the law is from the mean escape time at epsilon = {self.epsilon:.3g} is "
                f"not resolved: {self.unresolved}."
            )
        return ""

    def _table(self) -> Table:
        ways = {"direct": "direct escapes", "forced": "forced jumps", "none": "simulated"}
        return Table(
            "LawError",
            [
                ("mean escape time over the law's", f"{self.ratio}"),
                (
                    "from",
                    f"{self.num} {ways[self.method]} at dt = {self.dt:.3g}, seed {self.seed}, "
                    f"{self.steps:.3g} steps",
                ),
                ("epsilon", f"{self.epsilon:.4g}"),
            ],
            [self.warning] if self.warning else [],
        )


@dataclass(frozen=True, repr=False)
class Conditions(Result):
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
    law_error: LawError | None = None

    def _table(self) -> Table:
        return Table(
            "Conditions",
            [
                ("rate over relaxation", f"{self.regime:.3g}"),
                ("one-step exit chance", f"{self.one_step_chance:.3g}"),
                ("discretisation bias, at most", f"{self.skeleton_bias:.2%}"),
            ],
            self.warnings,
        )


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


def differs(ratio: Estimate) -> bool:
    """Whether a ratio of means is away from 1 by more than 10%, and by more than its interval."""
    closeness = min(ratio.value, 1 / ratio.value if ratio.value else inf)
    return bool(closeness < _QUIET and not ratio.low <= 1 <= ratio.high)


class Exponential(Answers):
    """What an exponential law answers."""

    rate: float

    def survival(self, t: Arg[Numbers]) -> np.ndarray | float:
        """`P(escape time > t) = exp(-rate t)` at finite times `t`, in `unit`, any shape; 1 before
        0."""
        times = np.maximum(errors.reals("t", t), 0)
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(-self.rate * times)
