"""Log-rank test of two samples of escape times."""

from dataclasses import dataclass

import numpy as np
import scipy

from levysde.results import Result
from levysde.stats.survival import checked
from levysde.tables import Table
from levysde.types import Arg, Numbers


@dataclass(frozen=True, repr=False)
class LogRank(Result):
    """Log-rank test of two samples, as `log_rank` gives it.

    Attributes:
        statistic: standard normal where both have one law; positive where the first sample leaves
            earlier.
        p_value: chance of a deviation at least as large, to either side.
    """

    statistic: float
    p_value: float

    def _table(self) -> Table:
        return Table(f"z = {self.statistic:.3g}  (p = {self.p_value:.2g})")


def log_rank(
    time: Arg[Numbers],
    exited: Arg[Numbers],
    other_time: Arg[Numbers],
    other_exited: Arg[Numbers],
) -> LogRank:
    """Tests whether two independent samples leave at the same rate at every time, by
    `scipy.stats.logrank`.

    Needs no law of the times. It sees best a rate that is a constant multiple of the other; curves
    that cross may go unseen.

    Args:
        time: escape or censoring times of the first sample, shape `(num,)`, any unit.
        exited: whether each is an escape, bool or 0 and 1, shape `(num,)`.
        other_time: those of the other sample, shape `(num2,)`, in the same unit.
        other_exited: whether each of these is an escape, bool or 0 and 1, shape `(num2,)`.

    Returns:
        The statistic and its p-value; NaN where nothing can be told: no exits, or none while others
        remain.

    Raises:
        ValueError, TypeError: as `escape_rate`.

    Source:
        Mantel, Cancer Chemotherapy Reports 50 (1966).
    """
    samples = checked(time, exited), checked(other_time, other_exited, "other_")
    if not any(left.any() for _, left in samples):
        return LogRank(np.nan, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = scipy.stats.logrank(
            *(scipy.stats.CensoredData(uncensored=t[left], right=t[~left]) for t, left in samples)
        )
    return LogRank(float(found.statistic), float(found.pvalue))
