"""Intervals for dependent series: resampling stretches of consecutive values instead of single
ones.

Moving blocks: Kuensch, Annals of Statistics 17 (1989). Stationary: geometric lengths on a circle,
Politis and Romano, J. Amer. Statist. Assoc. 89 (1994). Block length: Politis and White, Econometric
Reviews 23 (2004), as corrected by Patton, Politis, White, Econometric Reviews 28 (2009):

    b = (2 n G^2 / D)^(1/3),  G = sum_h w(h/M) |h| R(h),  g = sum_h w(h/M) R(h),  D = 2 g^2
                              (stationary), 4 g^2/3 (moving),

R the autocovariance, w flat to 1/2 and then linear to 0 at 1, M twice the lag beyond which R stays
within its noise.
"""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from levysde import errors
from levysde.errors import AccuracyWarning
from levysde.stats.estimate import Estimate
from levysde.stats.samples import sample, sizes
from levysde.types import Arg, Integer, Number, Numbers

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
    from scipy.special import ndtri  # slow to import
    from scipy.stats import rankdata  # slow to import

    return ndtri((rankdata(x) - 0.5) / x.size)


def autocovariance(x: np.ndarray, lags: int) -> np.ndarray:
    """`R(0), ..., R(lags)` about the mean, divided by n, by one FFT."""
    from scipy.fft import irfft, next_fast_len, rfft  # slow to import

    size = next_fast_len(x.size + lags + 1, real=True)
    power = np.abs(np.asarray(rfft(x - x.mean(), size))) ** 2
    return np.asarray(irfft(power, size))[: lags + 1] / x.size


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
    seed: Arg[Integer] = 0,
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
    from scipy.stats import norm  # slow to import

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
    z = float(norm.isf((1 - confidence) / 2))
    value = reading(estimator(x))
    draws = []
    for _ in range(resamples):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AccuracyWarning)  # rows repeat in every resample
                draws.append(reading(estimator(x[_rows(rng, len(x), block, kind)])))
        except ValueError:
            continue
    if len(draws) < 0.9 * resamples:
        raise ValueError(
            f"estimator failed on {resamples - len(draws)} of {resamples} resamples, so its "
            "interval is unknown. Give more values, or an estimator that takes any sample of this "
            "size."
        )
    spread = float(np.diff(np.quantile(draws, [0.25, 0.75]))[0]) / (2 * norm.isf(0.25))
    spread = spread or float(np.std(draws))  # of an estimator that takes few values
    if not spread > _ROUNDING * float(np.max(np.abs(draws), initial=np.finfo(float).tiny)):
        raise ValueError(
            f"estimator gave {value:.6g} on every resample, which leaves no interval: x is "
            "constant, or the estimator does not depend on it. Give values that vary."
        )
    error = z * spread
    return Estimate(value, float(value - error), float(value + error), confidence)


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
