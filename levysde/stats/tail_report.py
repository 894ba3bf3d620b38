"""Is a sample what the index estimators assume: independent, symmetric, alpha-stable values of one
scale?

An index alone cannot say. A Gaussian mixture, an averaged stable series and a Student t all yield a
plausible number, each a different one by every estimator. Six checks, each a statistic that is
about standard normal (or chi-square, turned into normal) on independent, symmetric stable values,
distinguished by what they mean:

* correlated: portmanteau of the autocorrelations of normal scores over 20 lags (Ljung, Box,
  Biometrika 65, 1978);
* varying scale: the same of the sizes about the median;
* drifts under sums: characteristic-function index of sums of 5 and of 10 consecutive values against
  that of single ones;
* tail: Hill's reading over the largest 2% against what it reads on the exact stable law of the
  fitted index;
* asymmetric: `(q95 + q05 - 2 q50)/(q95 - q05)`, over 25 interleaved parts of the sample;
* Gaussian: the index is not below 2.

A seventh check looks for repeated values: "not continuous" is flagged if sqrt(n)/2 or more are
equal to one another, so that order statistics move by their standard errors. Rounded and integer
samples have no tail index, and some estimators no value for them.

Scores come from ranks, so no check needs a moment. Each of the six is made at `level / 6`: together
they err at `level`. Measured at level 0.02, n = 10,000, 200 samples each: independent stable values
of index 0.8, 1.2, 1.5, 1.8, 1.95 are flagged in 2.0%, 1.5%, 2.5%, 1.0%, 1.0%. Always flagged, for
their reason: Gaussians of independent lognormal scales and Student t with 3 degrees of freedom
(tail; sums in 100% and 97%), Laplace (sums, tail), Gaussians of slow lognormal scales (varying
scale; a third are called correlated too), stable noise averaged by momentum 0.9 (correlated; half
are called asymmetric too), Gaussian.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from levysde import errors
from levysde.errors import AccuracyWarning
from levysde.results import Result
from levysde.stats.bootstrap import autocovariance, normal_scores
from levysde.stats.hill import hill, hill_on_stable
from levysde.stats.mcculloch import mcculloch
from levysde.stats.samples import Estimate, repeated, sample, ties
from levysde.stats.tail_index import block_log_moment_index, characteristic_function_fit
from levysde.tables import Grid, Table
from levysde.types import Arg, Number, Numbers

LAGS = 20
SUMS = (5, 10)
SHARE = 0.02
PARTS = 25
_LEAST = 1000


@dataclass(frozen=True, repr=False)
class TailFinding(Result):
    """One check of a `TailReport`.

    Attributes:
        name: "not continuous", "correlated", "varying scale", "drifts under sums", "tail",
            "asymmetric" or "Gaussian".
        statistic: about standard normal for independent, symmetric stable values; for "not
            continuous" the largest number of equal values over sqrt(n); NaN where there is none.
        flagged: whether it is beyond its threshold.
        meaning: what a flag says about the sample, in words.
    """

    name: str
    statistic: float
    flagged: bool
    meaning: str

    def _table(self) -> Table:
        found = f"flagged: {self.meaning}" if self.flagged else "not flagged"
        return Table(
            f"TailFinding: {self.name}",
            [("statistic", f"{self.statistic:+.2f}"), ("verdict", found)],
        )


@dataclass(frozen=True, repr=False)
class TailReport(Result):
    """Every estimate of the index, and whether the sample is one to which they apply. Prints as a
    table.

    Attributes:
        indices: the estimates by name; NaN where an estimator has none for a sample that is not
            continuous.
        by_sum: the characteristic-function index of sums of m values, by m; constant for a stable
            law.
        findings: the seven checks.
        num_values: n, how many values the sample has.
    """

    indices: dict[str, Estimate]
    by_sum: dict[int, Estimate]
    findings: tuple[TailFinding, ...]
    num_values: int

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the checks that failed."""
        return tuple(f.name for f in self.findings if f.flagged)

    @property
    def verdict(self) -> str:
        """What the checks say, in words."""
        if not self.flags:
            return (
                "consistent with independent symmetric stable values, index "
                f"{self.indices['characteristic function']}"
            )
        return "not independent symmetric stable noise: " + "; ".join(
            f.meaning for f in self.findings if f.flagged
        )

    def _table(self) -> Table:
        rows: list = [(f"index, {name}", f"{found}") for name, found in self.indices.items()]
        rows += [(f"index of sums of {m}", f"{found}") for m, found in self.by_sum.items()]
        checks = [
            (f.name, f"{f.statistic:+.2f}", "FLAG" if f.flagged else "ok") for f in self.findings
        ]
        return Table(
            f"TailReport of {self.num_values} values",
            [*rows, Grid(("check", "statistic", "result"), checks), self.verdict],
        )


def tail_report(
    x: Arg[Numbers], *, level: Arg[Number] = 0.02, confidence: Arg[Number] = 0.95
) -> TailReport:
    """All estimators of the tail index on one series, and whether it is one to which they apply.

    Seven checks tell what is wrong with a sample: values that repeat; values correlated in time, or
    their sizes; an index that drifts under sums; a tail that is not that of the fitted stable law;
    asymmetry; an index that is not below 2.

    The intervals assume independent values; where "correlated" or "varying scale" is flagged take
    them from `block_bootstrap`, and mind that then the other checks are no longer calibrated.

    Args:
        x: the series in its order, shape `(n,)`, any unit; for vectors, one coordinate or
            projection at a time.
        level: chance of any flag on independent, symmetric stable values (index below 2), in (0,
            1); 0.02 by default.
        confidence: coverage of the intervals, in (0, 1); 0.95 by default.

    Returns:
        The estimates, the checks and a verdict in words; it prints as a table.

    Raises:
        ValueError, TypeError: not a finite 1-D series of 1000 values, or a constant one.

    Source:
        this package; correlation by Ljung, Box, Biometrika 65 (1978), on normal scores.
    """

    x = sample(x, least=_LEAST)
    level = errors.fraction("level", level)
    confidence = errors.fraction("confidence", confidence)
    most = int(ties(np.sort(x)).max())
    if most == x.size:
        raise ValueError(
            f"all {x.size} values of x are equal: there is nothing to estimate. Give a sample that "
            "varies."
        )
    discrete = bool(repeated(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # of repeated values: a finding below
        indices, fits, scores = _measured(x, confidence, discrete)
    z_one, z_two = float(scipy.stats.norm.isf(level / 6)), float(scipy.stats.norm.isf(level / 12))
    serial, sized, drift, tail, skew, below = scores
    meaning = (
        f"values repeat, {most} of {x.size} are equal, so that x is rounded or discrete and has no "
        "tail index"
    )
    findings = (
        TailFinding("not continuous", most / np.sqrt(x.size), discrete, meaning),
        TailFinding(
            "correlated",
            serial,
            serial > z_one,
            "values are correlated in time, thin or decorrelate them first",
        ),
        TailFinding(
            "varying scale", sized, sized > z_one, "sizes are correlated in time, the scale varies"
        ),
        TailFinding(
            "drifts under sums",
            drift,
            abs(drift) > z_two,
            "the index changes when values are summed, not stable",
        ),
        TailFinding(
            "tail",
            tail,
            abs(tail) > z_two,
            f"the far tail is {'lighter' if tail > 0 else 'heavier'} than stable",
        ),
        TailFinding("asymmetric", skew, abs(skew) > z_two, "the law is not symmetric"),
        TailFinding(
            "Gaussian", below, below < z_one, "the index is not below 2: no heavy tail seen"
        ),
    )
    return TailReport(indices, fits, findings, x.size)


def _measured(
    x: np.ndarray, confidence: float, discrete: bool
) -> tuple[dict[str, Estimate], dict[int, Estimate], list[float]]:
    """The estimates, those of sums, and the statistics of the checks; NaN for what a discrete
    sample does not have."""

    nothing = Estimate(np.nan, np.nan, np.nan, confidence)

    def known(measure: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return measure()
        except ValueError:
            if not discrete:
                raise
            return otherwise

    centred = x - np.median(x)
    sizes, centred = np.abs(centred), centred[centred != 0]
    fits = {
        m: known(
            lambda m=m: characteristic_function_fit(_sums(x, m), confidence=confidence).alpha,
            nothing,
        )
        for m in (1, *SUMS)
    }
    indices = {
        "characteristic function": fits[1],
        "block log-moment": known(
            lambda: block_log_moment_index(centred, confidence=confidence), nothing
        ),
        "quantiles (McCulloch)": known(lambda: mcculloch(x, confidence=confidence).alpha, nothing),
        "Hill": known(lambda: hill(centred, confidence=confidence).alpha, nothing),
    }
    error = float((fits[1].high - fits[1].low) / (2 * scipy.stats.norm.isf((1 - confidence) / 2)))
    with np.errstate(divide="ignore", invalid="ignore"):  # of a discrete sample
        drifts = [(fits[m].value - fits[1].value) / (error * np.sqrt(m + 1)) for m in SUMS]
        scores = [
            _portmanteau(x),
            _portmanteau(sizes),
            float(max(drifts, key=abs)),
            known(lambda: _tail(centred, fits[1].value, error), np.nan),
            _skew(x),
            float((2 - fits[1].value) / error),
        ]
    return indices, fits, scores


def _sums(x: np.ndarray, m: int) -> np.ndarray:
    count = x.size // m
    return x[: count * m].reshape(count, m).sum(1)


def _portmanteau(x: np.ndarray) -> float:
    """Ljung-Box on normal scores, turned into a normal quantile (cube root of a chi-square, Wilson
    and Hilferty 1931)."""
    r = autocovariance(normal_scores(x), LAGS)
    n = x.size
    q = n * (n + 2) * np.sum((r[1:] / r[0]) ** 2 / (n - np.arange(1, LAGS + 1)))
    return float((np.cbrt(q / LAGS) - (1 - 2 / (9 * LAGS))) / np.sqrt(2 / (9 * LAGS)))


def _tail(x: np.ndarray, alpha: float, error: float) -> float:
    """Hill against the exact stable law, in 1/a: positive where the tail is lighter."""
    size = np.sort(np.abs(x))[::-1]
    k = int(SHARE * size.size)
    excess = np.log(size[:k] / size[k])
    index = min(max(alpha, 0.5), 2.0)
    near = [
        1 / hill_on_stable(a, SHARE)
        for a in (index, max(index - 0.02, 0.5), min(index + 0.02, 2.0))
    ]
    slope = (near[2] - near[1]) / (min(index + 0.02, 2.0) - max(index - 0.02, 0.5))
    spread = np.hypot(excess.std(ddof=1) / np.sqrt(k), slope * error)
    return float((near[0] - excess.mean()) / spread)


def _skew(x: np.ndarray) -> float:
    """Quantile skewness over 25 interleaved parts of the sample: a t statistic, turned into a
    normal quantile."""

    parts = x[: x.size // PARTS * PARTS].reshape(-1, PARTS)
    low, middle, high = np.quantile(parts, [0.05, 0.5, 0.95], axis=0)
    skew = (high + low - 2 * middle) / (high - low)
    score = skew.mean() / (skew.std(ddof=1) / np.sqrt(PARTS))
    return float(np.sign(score) * scipy.stats.norm.isf(scipy.stats.t.sf(abs(score), PARTS - 1)))
