"""Any estimator on parts of a sample: on resampled blocks of a dependent series, on single
coordinates, on random projections.

Moving blocks: Kuensch, Annals of Statistics 17 (1989). Stationary: geometric lengths on a circle,
Politis and Romano, J. Amer. Statist. Assoc. 89 (1994). Block length: Politis and White, Econometric
Reviews 23 (2004), as corrected by Patton, Politis, White, Econometric Reviews 28 (2009):

    b = (2 n G^2 / D)^(1/3),  G = sum_h w(h/M) |h| R(h),  g = sum_h w(h/M) R(h),  D = 2 g^2
                              (stationary), 4 g^2/3 (moving),

R the autocovariance, w flat to 1/2 and then linear to 0 at 1, M twice the lag beyond which R stays
within its noise.

Vectors. `block_log_moment_index` and `hill` take vectors whole, through their norms (for the first,
Mohammadi et al., Metrika 78, 2015: `1/a = [mean log|Y| - mean log|X|] / log K` holds for strictly
stable vectors with |.| any norm). Every projection of a stable vector is stable with the same
index, so projections that disagree show a vector that is not.

Norms in many dimensions hide as much as they show. Measured at n = 5000: a Gaussian of independent
lognormal scales (index 2) reads 1.385, 1.396, 1.394 by block sums of norms in 1, 10 and 1000
dimensions, with a spread of 0.07, 0.014 and 0.003: the more dimensions, the surer of the wrong
number; Hill on its norms reads 2.4 to 2.7. Norms of Gaussian vectors concentrate, and Hill reads
8.8, 17.5, 124. Isotropic stable vectors of index 1.5 read 1.48 to 1.51 by block sums, with a spread
of 0.08, 0.03, 0.02.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy

from levysde import errors
from levysde.results import Result
from levysde.stats.samples import Estimate, sample, sizes
from levysde.tables import Table, spread
from levysde.types import Arg, Integer, Number, Numbers, Seed

_ROUNDING = 1e-12  # a spread below this share of the estimate is none
Estimator = Callable[[np.ndarray], Any]  # to a number, an `Estimate`, or a fit whose `alpha` is one


def reading(found: Any) -> float:
    """The number that an estimator gave."""
    found = getattr(found, "alpha", found)
    found = getattr(found, "value", found)
    try:
        number = float(found)
    except (TypeError, ValueError):
        raise TypeError(
            f"estimator gave {errors.shown(found)}, not a number, an Estimate or a fit with "
            ".alpha. For example estimator=lambda x: stats.hill(x, k=200)."
        ) from None
    if np.isnan(number):
        raise ValueError(
            "estimator gave NaN. Let it raise ValueError where a sample has no estimate."
        )
    return number


def normal_scores(x: np.ndarray) -> np.ndarray:
    """Values replaced by normal quantiles of their ranks: moments and autocovariances exist
    whatever the law."""
    return scipy.special.ndtri((scipy.stats.rankdata(x) - 0.5) / x.size)


def autocovariance(x: np.ndarray, lags: int) -> np.ndarray:
    """`R(0), ..., R(lags)` about the mean, divided by n, by one FFT."""
    size = scipy.fft.next_fast_len(x.size + lags + 1, real=True)
    power = np.abs(np.asarray(scipy.fft.rfft(x - x.mean(), size))) ** 2
    return np.asarray(scipy.fft.irfft(power, size))[: lags + 1] / x.size


def block_length(x: Arg[Numbers], *, kind: Arg[Literal["moving", "stationary"]] = "moving") -> int:
    """Block length for `block_bootstrap`, the rule of Politis and White.

    The rule needs autocovariances, which heavy tails do not have; it is put to the normal scores of
    the values and of their sizes, coordinate by coordinate, and the longest length is taken, within
    1 and n/8.

    Args:
        x: the series in its order, shape `(n,)` or `(n, d)`.
        kind: of blocks, "moving" or "stationary".

    Returns:
        The length, from 1 to n/8.

    Raises:
        ValueError, TypeError: not a finite series of 50 values, another kind.

    Source:
        Politis and White, Econometric Reviews 23 (2004); Patton, Politis, White, Econometric
        Reviews 28 (2009).
    """
    x = sample(x, vectors=True, least=50)
    errors.choice("kind", kind, ("moving", "stationary"))
    columns = [x] if x.ndim == 1 else [*x.T]
    scores = [
        normal_scores(side)
        for c in [*columns, sizes(x)]
        for side in (c, np.abs(c - np.median(c)))
        if np.ptp(c)
    ]
    longest = max((_politis_white(s, kind) for s in scores), default=1.0)
    return int(np.clip(np.ceil(longest), 1, len(x) // 8))


def block_bootstrap(
    estimator: Arg[Callable[..., Any]],
    x: Arg[Numbers],
    *,
    block: Arg[Integer | None] = None,
    kind: Arg[Literal["moving", "stationary"]] = "moving",
    resamples: Arg[Integer] = 200,
    seed: Arg[Seed] = 0,
    confidence: Arg[Number] = 0.95,
) -> Estimate:
    """Any estimator with an interval that allows for dependence over a block's length.

    The interval is the estimate plus and minus normal quantiles times the bootstrap's robust
    standard deviation (from its quartiles), so that a rare resample without an estimate or far out
    does not decide it. Resamples in which the estimator raises ValueError are left out; more than
    one in ten is an error. Measured with moving blocks, n = 5000, 200 series: the 95% interval
    covers 94% for the mean of an AR(1) series (0.7), 94% for the index of independent stable
    values, 90% for that of stable noise averaged by momentum 0.9 (plain interval: 42%). For the
    mean of few independent values, blocks of 1: exponential 93% at n = 50 and 95% at n = 200,
    lognormal 88% and 93%.

    Args:
        estimator: takes an array like `x` and gives a number, an `Estimate`, or a fit with
            `.alpha`.
        x: the series in its order, shape `(n,)` or `(n, d)`; rows stay together.
        block: length of a stretch (mean length for "stationary"); by default `block_length(x)`. 1
            for independent rows.
        kind: of blocks, "moving", all of one length, or "stationary", of geometric lengths on a
            circle.
        resamples: how many, 20 or more; 200 by default.
        seed: of the resampling.
        confidence: coverage of the interval, in (0, 1); 0.95 by default.

    Returns:
        The estimate on x itself, with the interval.

    Raises:
        ValueError, TypeError: bad arguments, fewer than 8 blocks in x, an estimator that fails or
            gives no number.

    Source:
        moving blocks: Kuensch, Annals of Statistics 17 (1989); stationary: Politis and Romano, J.
        Amer. Statist. Assoc. 89 (1994).
    """
    errors.function("estimator", estimator)
    x = sample(x, vectors=True, least=50)
    errors.choice("kind", kind, ("moving", "stationary"))
    block = (
        block_length(x, kind=kind)
        if block is None
        else errors.integer("block", block, "block=50", high=len(x) // 8)
    )
    resamples = errors.integer("resamples", resamples, low=20)
    rng = np.random.default_rng(errors.seed(seed))
    confidence = errors.fraction("confidence", confidence)
    value = reading(estimator(x))
    draws = []
    for _ in range(resamples):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", errors.AccuracyWarning)  # rows repeat
                draws.append(reading(estimator(x[_rows(rng, len(x), block, kind)])))
        except ValueError:
            continue
    if len(draws) < 0.9 * resamples:
        raise ValueError(
            f"estimator failed on {resamples - len(draws)} of {resamples} resamples, so its "
            "interval is unknown. Give more values, or an estimator that takes any sample of this "
            "size."
        )
    norm = scipy.stats.norm
    error = float(np.diff(np.quantile(draws, [0.25, 0.75]))[0]) / (2 * norm.isf(0.25))
    error = error or float(np.std(draws))  # of an estimator that takes few values
    if not error > _ROUNDING * float(np.max(np.abs(draws), initial=np.finfo(float).tiny)):
        raise ValueError(
            f"estimator gave {value:.6g} on every resample, which leaves no interval: x is "
            "constant, or the estimator does not depend on it. Give values that vary."
        )
    half = float(norm.isf((1 - confidence) / 2)) * error
    return Estimate(value, float(value - half), float(value + half), confidence)


def _rows(rng: np.random.Generator, size: int, block: int, kind: str) -> np.ndarray:
    """The row numbers of one resample, shape `(size,)`."""
    if kind == "moving":
        starts = rng.integers(size - block + 1, size=-(-size // block))
        return (starts[:, None] + np.arange(block)).ravel()[:size]
    fresh = rng.random(size) < 1 / block
    fresh[0] = True
    begun = np.flatnonzero(fresh)
    starts = rng.integers(size, size=begun.size)
    number = np.cumsum(fresh) - 1
    return (starts[number] + np.arange(size) - begun[number]) % size


def _politis_white(x: np.ndarray, kind: str) -> float:
    n = x.size
    lags = min(n - 1, int(np.ceil(np.sqrt(n))) + max(5, int(np.log10(n))))
    r = autocovariance(x, lags)
    quiet = np.abs(r[1:] / r[0]) < 2 * np.sqrt(np.log10(n) / n)
    run = max(5, int(np.log10(n)))
    still = np.convolve(quiet, np.ones(run), "valid") == run  # lags m + 1 to m + run are all quiet
    m = int(np.argmax(still)) if still.any() else int(np.max(np.flatnonzero(~quiet)) + 1)
    last = min(2 * max(m, 1), lags)
    h = np.arange(last + 1)
    weight = np.clip(2 * (1 - h / last), 0, 1) * np.where(h > 0, 2, 1)  # both signs of h
    g, level = np.sum(weight * h * r[: last + 1]), np.sum(weight * r[: last + 1])
    if level <= 0:
        return 1.0
    ratio = g**2 / level**2
    return float((2 * ratio / (2 if kind == "stationary" else 4 / 3)) ** (1 / 3) * n ** (1 / 3))


@dataclass(frozen=True, repr=False)
class DirectionalIndex(Result):
    """The index along several directions of one sample, as `per_coordinate` and `projections` give
    it.

    Attributes:
        values: the estimates, shape `(m,)`; NaN where a direction has no estimate (no noise there,
            too few values).
        directions: unit vectors, shape `(m, d)`.
    """

    values: np.ndarray
    directions: np.ndarray

    @property
    def median(self) -> float:
        """Of the directions that have an estimate."""
        return float(np.nanmedian(self.values))

    def _table(self) -> Table:
        known = self.values[np.isfinite(self.values)]
        return Table(
            "DirectionalIndex",
            [
                ("directions", f"{len(known)} directions with an estimate, of {len(self.values)}"),
                ("median", f"{np.median(known):.4g}" if known.size else "none"),
                ("spread", spread(known)),
            ],
        )


def per_coordinate(estimator: Arg[Callable[..., Any]], x: Arg[Numbers]) -> DirectionalIndex:
    """`estimator` on each coordinate of `x`.

    The spread over coordinates is no confidence interval: use
    `block_bootstrap(lambda x: per_coordinate(estimator, x).median, x)`.

    Args:
        estimator: takes an array `(n,)` and gives a number, an `Estimate`, or a fit with `.alpha`.
        x: the sample, shape `(n, d)`, any unit.

    Returns:
        One value for each coordinate.

    Raises:
        ValueError, TypeError: x is not `(n, d)` and finite, or no coordinate has an estimate.

    Source:
        elementary: every projection of a stable vector is stable with the same index.
    """
    x = _vectors(x)
    return _along(estimator, x, np.eye(x.shape[1]))


def projections(
    estimator: Arg[Callable[..., Any]],
    x: Arg[Numbers],
    *,
    directions: Arg[Integer] = 50,
    seed: Arg[Seed] = 0,
) -> DirectionalIndex:
    """`estimator` on projections of `x` on independent, uniform directions.

    Coordinates of unequal scale are not made equal: divide by `stable_scale` first where they
    should be.

    Args:
        estimator: takes an array `(n,)` and gives a number, an `Estimate`, or a fit with `.alpha`.
        x: the sample, shape `(n, d)`, any unit.
        directions: how many; 50 by default.
        seed: of the directions.

    Returns:
        One value for each direction.

    Raises:
        ValueError, TypeError: x is not `(n, d)` and finite, or no direction has an estimate.

    Source:
        elementary: every projection of a stable vector is stable with the same index.
    """
    x = _vectors(x)
    shape = (errors.integer("directions", directions, high=10**6), x.shape[1])
    drawn = np.random.default_rng(errors.seed(seed)).normal(size=shape)
    return _along(estimator, x, drawn / np.sqrt((drawn**2).sum(1, keepdims=True)))


def _vectors(x: Arg[Numbers]) -> np.ndarray:
    x = sample(x, vectors=True)
    if x.ndim != 2:
        raise ValueError(
            f"x must have shape (n, d), not {x.shape}. Type x[:, None] for one coordinate."
        )
    return x


def _along(
    estimator: Arg[Callable[..., Any]], x: np.ndarray, directions: np.ndarray
) -> DirectionalIndex:
    errors.function("estimator", estimator)
    values, fault = np.full(len(directions), np.nan), None
    for i, direction in enumerate(directions):
        try:
            values[i] = reading(estimator(x @ direction))
        except ValueError as error:
            fault = error
    if np.isnan(values).all():
        raise ValueError(
            f"no direction of x has an estimate by estimator; the last one failed with: {fault}"
        )
    return DirectionalIndex(values, directions)
