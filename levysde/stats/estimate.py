"""A number with its interval, the form every estimate here takes."""

from dataclasses import dataclass

from levysde.tables import Table, Tabled


@dataclass(frozen=True, repr=False)
class Estimate(Tabled):
    """A point estimate and its two-sided confidence interval.

    Attributes:
        value: the estimate.
        low: lower end of the interval, in the unit of `value`.
        high: upper end of the interval, in the unit of `value`.
        confidence: the interval's coverage, between 0 and 1.
    """

    value: float
    low: float
    high: float
    confidence: float = 0.95

    def _table(self) -> Table:
        if self.low == self.value == self.high:  # nothing random in it
            return Table(f"{self.value:.4g}")
        return Table(f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]")
