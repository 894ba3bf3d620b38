"""Numbers with intervals from trainings that differ by their seed, and how the verdict table writes
them."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from levysde.stats import Estimate
from levysde.studies import detection_chance
from levysde.sweeps import Sweep

from ..numbers import CONFIDENCE, around


def runs(sweep: Sweep, name: str, **at: Any) -> np.ndarray:
    """A measured number at the end of each training of a point: shape `(..., runs)` over the axes
    not in `at`."""
    return paths(sweep, name, **at)[..., -1]


def paths(sweep: Sweep, name: str, **at: Any) -> np.ndarray:
    """The same along the trainings: shape `(..., runs, records)`."""
    frame = sweep.data[name]
    return np.asarray(frame.sel({k: v for k, v in at.items() if k in frame.dims}).values, float)


def axis(sweep: Sweep, name: str) -> list[Any]:
    """The values of an axis."""
    return sweep.data[name].values.tolist()


def over_runs(values: np.ndarray) -> Estimate:
    """Mean over independent runs with its t interval; of no width where all agree to the last
    bit."""
    from scipy.stats import t  # slow to import

    values = np.asarray(values, float)
    n = values.size
    half = float(t.isf((1 - CONFIDENCE) / 2, n - 1)) * float(values.std(ddof=1)) / np.sqrt(n)
    return around(float(values.mean()), half)


def share(count: int, total: int) -> Estimate:
    """A fraction of runs with its exact binomial interval."""
    from scipy.stats import binomtest  # slow to import

    found = binomtest(count, total).proportion_ci(CONFIDENCE)
    return Estimate(count / total, float(found.low), float(found.high))


def resampled(
    statistic: Callable[[np.ndarray], float], values: np.ndarray, draws: int = 1000
) -> Estimate:
    """A number from all runs, which lie on the last axis of `values`, with its interval from runs
    drawn again (percentiles).

    Draws without a number are left out; where more than one in twenty is, the interval is the whole
    line.
    """
    rng = np.random.default_rng(0)
    count = values.shape[-1]
    found = np.array(
        [statistic(values[..., rng.integers(count, size=count)]) for _ in range(draws)]
    )
    kept = found[np.isfinite(found)]
    value = float(statistic(values))
    if kept.size < 0.95 * draws:
        return Estimate(value, -np.inf, np.inf)
    low, high = np.quantile(kept, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))


def shown(found: Estimate, digits: int = 3) -> str:
    value, low, high = (f"{number:.{digits}g}" for number in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def sight(found: Estimate | Iterable[Estimate], margin: float, what: str) -> str:
    """How likely a deviation of `margin` would have been seen; of several estimates, in the widest
    interval."""
    return (
        f"{what} by {margin:g} would have been seen with chance "
        f"{detection_chance(margin, found):.2f}"
    )
