"""The tail index from the largest values (Hill, Annals of Statistics 3, 1975).

Notation: `z_1 >= z_2 >= ...` the sizes |x| in falling order, `k` how many are used, `u = z_(k+1)`
the threshold, `1/a = (1/k) sum_(i<=k) log(z_i / u)`.

Hill reads the tail beyond u as a pure power. A stable law becomes one far out only, the later the
nearer a is to 2: what Hill reads there is known (`hill_on_stable`), at a share k/n of
.001/.01/.05/.1 of the sample

    a = 1.2 : 1.20 1.20 1.22 1.23        a = 1.8 : 1.82 2.01 2.66 2.81
    a = 1.5 : 1.50 1.53 1.63 1.72        a = 1.95: 2.07 3.73 4.53 4.05

so near 2 only samples of millions show Hill the index: compare a reading with `hill_on_stable`, not
with 2. With the automatic k and n = 10,000 (100,000) the mean reading was 1.23 (1.22), 1.61 (1.57),
2.34 (2.04), 4.62 (4.32) for these four, 2.79 (2.87) for a Student t with 3 degrees of freedom, 2.03
(2.01) for a Pareto law of index 2.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy

from levysde import errors
from levysde.results import Result
from levysde.stats.samples import (
    Estimate,
    repeated,
    sample,
    sizes,
    stable_table,
    ties,
    too_many,
    warned,
)
from levysde.tables import Table, spread
from levysde.types import Arg, Integer, Number, Numbers

_FEWEST = 10  # values used by the automatic choice
_REGRESSED = 0.1  # share of the sample over which the drift of the curve is fitted


@dataclass(frozen=True, repr=False)
class HillFit(Result):
    """The tail index from the largest values, as `hill` gives it.

    Attributes:
        alpha: the index, with its interval.
        k: how many of the largest values were used.
        threshold: the next one, beyond which they lie, in the unit of the sample.
        warnings: what makes the estimate doubtful: values that repeat, zeros.
    """

    alpha: Estimate
    k: int
    threshold: float
    warnings: tuple[str, ...] = ()

    def _table(self) -> Table:
        return Table(
            "HillFit",
            [
                ("alpha", f"{self.alpha}  ({self.alpha.confidence:.0%} interval)"),
                ("from", f"the {self.k} largest values, above {self.threshold:.4g}"),
            ],
            self.warnings,
        )


@dataclass(frozen=True, repr=False)
class HillCurve(Result):
    """The Hill estimate against k, for a stability plot (`plots.hill`).

    Attributes:
        k: how many of the largest values are used, ascending, shape `(m,)`.
        alpha: the estimate with each, shape `(m,)`.
        low: lower end of the pointwise interval, shape `(m,)`.
        high: upper end of the pointwise interval, shape `(m,)`.
        chosen: the k that `hill` chooses by default.
        num_values: n, how many values the sample has.
        confidence: pointwise coverage.
        warnings: what makes the estimates doubtful: values that repeat, zeros.
    """

    k: np.ndarray
    alpha: np.ndarray
    low: np.ndarray
    high: np.ndarray
    chosen: int
    num_values: int
    confidence: float
    warnings: tuple[str, ...] = ()

    def _table(self) -> Table:
        i = int(np.argmin(np.abs(self.k - self.chosen)))
        return Table(
            "HillCurve",
            [
                (
                    "k",
                    f"{len(self.k)} from {self.k[0]} to {self.k[-1]}, of {self.num_values} values",
                ),
                ("alpha along k", spread(self.alpha)),
                (
                    f"alpha at k = {self.k[i]}, chosen",
                    f"{self.alpha[i]:.4g} [{self.low[i]:.4g}, {self.high[i]:.4g}]  "
                    f"({self.confidence:.0%} interval)",
                ),
            ],
            self.warnings,
        )


def hill(
    x: Arg[Numbers], k: Arg[Integer | None] = None, *, confidence: Arg[Number] = 0.95
) -> HillFit:
    """Tail index `k / sum_(i<=k) log(z_i / z_(k+1))` of the sizes `|x|`, Euclidean norms for
    vectors.

    Choice of k: along the curve, `1/a_k ~ 1/a + b k` (the bias of a law with second-order parameter
    -1, as stable laws have), fitted over k up to a tenth of the sample with weights k; then k
    minimises the asymptotic mean square error `(b k)^2 + 1/(a^2 k)`: `k = (1 / (2 a^2 b^2))^(1/3)`.

    The interval is exact for independent values with a Pareto tail, `2k a/a_k` being chi-square
    with 2k degrees of freedom; it allows neither for bias nor for dependence (`block_bootstrap`
    does for the latter). With the automatic k it covered 93% for the Pareto law, 70% for stable
    values at a = 1.5, 10% at a = 1.8 and never at a = 1.95 (n = 10,000); at n = 100 (1000) 94%
    (92%) at a = 1.2, 89% (83%) at a = 1.5 and 68% (38%) at a = 1.8. With a given k it covers 95% on
    Pareto values.

    Values that repeat, as rounded ones do, make the index jump with k by more than its interval: an
    `AccuracyWarning` says so, and another one that zeros, which have no logarithm, were left out.

    Args:
        x: the sample, in any order, shape `(n,)` or `(n, d)`, any unit, centred: sizes are measured
            from 0.
        k: how many of the largest values to use, from 2 to n - 1; chosen as said above by default.
        confidence: coverage of the interval, in (0, 1); 0.95 by default.

    Returns:
        The index, with k and the threshold.

    Raises:
        ValueError, TypeError: not a finite sample of 50 values, k out of range, or no spread above
            the threshold.

    Source:
        Hill, Annals of Statistics 3 (1975); the choice of k: Huisman, Koedijk, Kool, Palm, J. Bus.
        Econ. Stat. 19 (2001).
    """
    confidence = errors.fraction("confidence", confidence)
    size, inverse, zeros = _curve(x)
    k = _choice(inverse) if k is None else errors.integer("k", k, low=2, high=inverse.size)
    low, high = (end[0] for end in _interval(np.array([k]), confidence))
    if not inverse[k - 1] > 0:
        raise ValueError(
            f"the {k + 1} largest values of x are equal: their tail has no index. Type a larger k."
        )
    a = float(1 / inverse[k - 1])
    found = warned(_doubts(size, np.array([k]), zeros))
    return HillFit(
        Estimate(a, float(a * low), float(a * high), confidence), int(k), float(size[k]), found
    )


def hill_curve(x: Arg[Numbers], *, confidence: Arg[Number] = 0.95) -> HillCurve:
    """The Hill estimate for up to 400 values of k, from 10 to half the sample.

    Args:
        x: the sample, in any order, shape `(n,)` or `(n, d)`, any unit, centred: sizes are measured
            from 0.
        confidence: pointwise coverage, in (0, 1); 0.95 by default.

    Returns:
        The curve.

    Raises:
        ValueError, TypeError: as `hill`.

    Source:
        Hill, Annals of Statistics 3 (1975).
    """
    confidence = errors.fraction("confidence", confidence)
    size, inverse, zeros = _curve(x)
    k = np.unique(np.geomspace(_FEWEST, inverse.size // 2, 400).astype(int))
    k = k[inverse[k - 1] > 0]
    low, high = _interval(k, confidence)
    a = 1 / inverse[k - 1]
    found = warned(_doubts(size, k, zeros))
    return HillCurve(
        k, a, a * low, a * high, _choice(inverse), size.size + zeros, confidence, found
    )


def hill_on_stable(alpha: Arg[Number], fraction: Arg[Number]) -> float:
    """What Hill reads on a symmetric stable law of index `alpha` with a fraction `k/n` of an
    endless sample.

    From a table of exact values, interpolated to about 1e-3.

    Args:
        alpha: the true index, from 0.5 to 2.
        fraction: k/n, from 0.0001 to 0.5.

    Returns:
        The reading.

    Raises:
        ValueError, TypeError: outside these ranges.

    Source:
        this package: the mean log excess of the exact law, by quadrature
        (`benchmarks/stable_quantiles.py`).
    """
    a = errors.real_index(alpha)
    fraction = errors.fraction("fraction", fraction, "fraction=0.01")
    table = stable_table()
    if not (table["alpha"][0] <= a and table["share"][0] <= fraction <= table["share"][-1]):
        raise ValueError(
            f"alpha = {alpha!r} and fraction = {fraction!r} lie outside the table: alpha from "
            "0.5 to 2, fraction from 0.0001 to 0.5."
        )
    return float(np.exp(-_excess_spline()(a, np.log(fraction))[0, 0]))


@cache
def _excess_spline():
    """The logarithm of the mean log excess; straight in alpha, where the curve bends sharply
    towards 2."""

    table = stable_table()
    return scipy.interpolate.RectBivariateSpline(
        table["alpha"], np.log(table["share"]), np.log(table["log_excess"]), kx=1, ky=3
    )


def _curve(x: Arg[Numbers]) -> tuple[np.ndarray, np.ndarray, int]:
    """Sizes in falling order without zeros, `1/a` for k = 1, 2, ..., and the number of zeros."""
    x = sample(x, vectors=True, least=50)
    size = np.sort(sizes(x))[::-1]
    size = size[size > 0]
    if size.size < 50 or size[0] == size[-1]:
        raise ValueError(
            f"x has {size.size} sizes above 0 among {len(x)} values, {np.unique(size).size} of "
            "them different; at least 50, not all equal, are needed. Give a continuous sample."
        )
    log_size = np.log(size)
    k = np.arange(1, size.size)
    return size, np.cumsum(log_size)[:-1] / k - log_size[1:], len(x) - size.size


def _doubts(size: np.ndarray, k: np.ndarray, zeros: int) -> list[str]:
    """What makes estimates with these k doubtful."""
    found = []
    # among the k + 1 largest and those equal to the threshold
    most = np.maximum.accumulate(ties(size))[k]
    if (bad := too_many(most, k)).any():
        where = f"{k[bad][0]}" if bad.sum() == 1 else f"{k[bad][0]} to {k[bad][-1]}"
        found.append(
            f"up to {most[bad].max()} sizes of x are equal, so that the index at k = {where} "
            "jumps by more than its interval from one k to the next: x is rounded or discrete. "
            "Give the values unrounded."
        )
    else:
        found += repeated(size[: k.max() + 1], "largest sizes of x")
    if zeros:
        found.append(
            f"{zeros} of {size.size + zeros} values of x are 0, which has no logarithm: they were "
            "left out. Check whether they are measurements, and leave them out before the call if "
            "they are not."
        )
    return found


def _interval(k: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Factors of the estimate at both ends."""

    tail = (1 - confidence) / 2
    return scipy.special.chdtri(2 * k, 1 - tail) / (2 * k), scipy.special.chdtri(2 * k, tail) / (
        2 * k
    )


def _choice(inverse: np.ndarray) -> int:
    k = np.arange(_FEWEST, max(2 * _FEWEST, int(_REGRESSED * inverse.size)) + 1)
    y = inverse[k - 1]
    slope, level = np.polyfit(k, y, 1, w=np.sqrt(k))
    level = max(level, 0.2 * float(np.median(y)))  # a line may fall below 0 where the curve bends
    with np.errstate(divide="ignore"):
        best = np.cbrt(level**2 / (2 * slope**2))
    return int(np.clip(best, _FEWEST, k[-1]))
