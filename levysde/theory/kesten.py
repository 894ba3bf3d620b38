"""The tail index of SGD on linear regression, by Kesten's equation. Plain float64, no sampling.

`x <- M x + q`, `M = I - (eta/B) sum_i a_i a_i'`, with B fresh inputs `a_i ~ N(0, s^2 I_d)` an
iteration and any label noise of light tails. Stationary solutions have `P(|x| > r) ~ C r^-alpha`,
alpha the positive root of (Kesten, Acta Math. 131, 1973)

    lim_n (E ||M_n ... M_1||^alpha)^(1/n) = E |M e|^alpha = 1,   |e| = 1.

The first equality is exact here: the law of M is invariant under rotations, so
`log |M_n ... M_1 e|` is a sum of n independent terms with the law of `log |M e|`, whatever e.
The inputs enter along e and across it only. With `c = eta s^2 / B`, X ~ chi-square(B) and an
independent
Y ~ chi-square(d - 1), 0 for d = 1,

    |M e|^2 = (1 - c X)^2 + c^2 X Y

(Gurbuzbalaban, Simsekli, Zhu, ICML 2021, for Gaussian inputs). A stationary law exists iff
`E log |M e| < 0`.

What is exactly true. alpha depends on (c, B, d), not on eta/B alone. X is unbounded, so alpha is
finite for every eta: the tail is always a power. Where alpha >= 1, it falls strictly as eta or s
grows (|M e|^alpha is convex in c, and 1 at c = 0) and rises strictly with B (Jensen: M of B inputs
is a mean of exchangeable M of B - 1). alpha = 2 exactly at `c = 2/(B + d + 1)`, from
`E |M e|^2 = 1 - 2 c B + c^2 B (B + d + 1)`.
"""

import math

import numpy as np

from levysde import errors
from levysde.types import Arg, Integer, Number

_LARGEST = 128.0  # above it the tail is out of reach of any sample, and of the quadrature's nodes
_RESOLVED = 1e-7  # |E log |M e|| below this is 0 to the quadrature: alpha is then below it too
_DROP = 50.0  # integrals end where the integrand is e^-50 of its largest value


def kesten_index(
    *,
    dim: Arg[Integer],
    learning_rate: Arg[Number],
    batch_size: Arg[Integer],
    input_scale: Arg[Number] = 1.0,
) -> float:
    """The tail index alpha of the stationary law of `LinearRegressionSGD`:
    `P(|x| > r) ~ C r^-alpha`.

    The root of `E |M e|^alpha = 1`, to about 1e-9, by trapezoids in logarithmic variables. With
    `c = eta s^2 / B`, X and Y independent chi-squares of B and d - 1 degrees of freedom,
    `|M e|^2 = (1 - c X)^2 + c^2 X Y`.

    Args:
        dim: d, the dimension.
        learning_rate: eta, positive.
        batch_size: B, fresh pairs an iteration.
        input_scale: s, standard deviation of an input's coordinate, positive; 1 by default.

    Returns:
        The tail index, positive, at most 128.

    Raises:
        TypeError: an argument of another kind, or traced by JAX.
        ValueError: a number out of range; no stationary law (`E log |M e| >= 0`: the iterates grow
            without bound); or an index above 128, a tail too thin for any sample to show.

    Source:
        Kesten, Acta Math. 131 (1973); Gurbuzbalaban, Simsekli, Zhu, ICML 2021, for Gaussian inputs.
    """
    d = errors.integer("dim", dim)
    eta = errors.positive_real("learning_rate", learning_rate)
    batch = errors.integer("batch_size", batch_size)
    c = eta * errors.positive_real("input_scale", input_scale) ** 2 / batch
    growth = _Growth(c, batch, d, 4.0)
    drift = growth.mean_log()
    if drift > -_RESOLVED:
        raise ValueError(
            f"learning_rate = {eta:g} has no stationary law: E log|M e| = {drift:.3g} is not "
            "below 0, so the iterates grow without bound. Take a smaller learning_rate, for "
            f"example {_contracting(eta, c, batch, d):.2g}."
        )
    high = 4.0
    while growth.log_moment(high) <= 0:
        high *= 2
        if high > _LARGEST:
            raise ValueError(
                f"the tail index at learning_rate = {eta:g} is above {_LARGEST:g}: a power tail "
                "that no sample can show. Take a larger learning_rate."
            )
        growth = _Growth(c, batch, d, high)
    return _root(growth, high)


class _Growth:
    """Nodes of `log |M e|` with logarithms of their weights, good for moments up to `alpha`.

    The integral over x is split at 1/c, where |1 - c x| is not smooth; each piece and the integral
    over y are turned into ones over the whole line whose integrand falls exponentially, where
    trapezoids converge exponentially. A step is 0.7 of the narrowest peak, that of a gamma variable
    in its logarithm.
    """

    def __init__(self, c: float, batch: int, d: int, alpha: float):
        outer = min(0.2, 0.7 / math.sqrt(batch / 2 + alpha))
        bulk = math.log(c * batch)
        below = np.arange(min(0.0, bulk) - _reach(batch / 2), _DROP, outer)
        above = np.arange(-_DROP, max(0.0, math.log(c) + _highest(batch / 2 + alpha)), outer)
        log_x = np.concatenate([_log_sigmoid(below), np.logaddexp(0, above)]) - math.log(c)
        log_gap = np.concatenate([_log_sigmoid(-below), above])  # log |1 - c x|
        # log dx/dt
        slope = np.concatenate([log_x[: len(below)] + log_gap[: len(below)], above - math.log(c)])
        weight = _log_chi_square(log_x, batch) + slope
        size = log_gap
        if d > 1:
            shape = (d - 1) / 2
            inner = min(0.2, 0.7 / math.sqrt(shape + alpha / 2))
            log_y = np.arange(
                math.log(2 * shape) - _reach(shape), _highest(shape + alpha / 2), inner
            )
            weight = weight[:, None] + (_log_chi_square(log_y, d - 1) + log_y)[None]
            across = 2 * math.log(c) + log_x[:, None] + log_y[None]
            size = np.logaddexp(2 * log_gap[:, None], across) / 2
        # the others count for no moment up to alpha
        kept = weight + alpha * np.maximum(size, 0) > -2 * _DROP
        self.size, self.weight = size[kept], weight[kept]
        self.weight = self.weight - _log_sum(self.weight)

    def mean_log(self) -> float:
        """`E log |M e|`."""
        return float(np.sum(np.exp(self.weight) * self.size))

    def log_moment(self, alpha: float) -> float:
        """`log E |M e|^alpha`: convex, 0 at 0."""
        return _log_sum(self.weight + alpha * self.size)


def _reach(shape: float) -> float:
    """How far below its mean the logarithm of a gamma variable of this shape has fallen to a
    density of e^-DROP."""
    return _DROP / shape + math.sqrt(2 * _DROP / shape)


def _highest(shape: float) -> float:
    """The logarithm of a value that a chi-square of `2 shape` degrees of freedom exceeds with
    chance below e^-DROP."""
    return math.log(2 * (shape + math.sqrt(2 * _DROP * shape) + _DROP))


def _log_chi_square(log_x: np.ndarray, df: int) -> np.ndarray:
    """Logarithm of the chi-square density."""
    return (df / 2 - 1) * log_x - np.exp(log_x) / 2 - df / 2 * math.log(2) - math.lgamma(df / 2)


def _log_sigmoid(t: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, -t)


def _log_sum(terms: np.ndarray) -> float:
    top = float(terms.max())
    return top + math.log(float(np.sum(np.exp(terms - top))))


def _root(growth: _Growth, high: float) -> float:
    from scipy.optimize import root_scalar  # slow to import

    low = high / 2
    while growth.log_moment(low) >= 0:
        low, high = low / 2, low
    return float(
        root_scalar(growth.log_moment, method="brentq", bracket=(low, high), xtol=1e-12 * high).root
    )


def _contracting(eta: float, c: float, batch: int, d: int) -> float:
    """A learning rate with a stationary law: halved until `E log |M e|` is negative."""
    while True:
        eta, c = eta / 2, c / 2
        if _Growth(c, batch, d, 4.0).mean_log() < 0:
            return eta
