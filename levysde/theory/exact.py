"""Exact mean exit times from a ball without drift. Plain float64.

Notation: a the stability index, `epsilon L` the noise, r the radius, x the start relative to the
centre, d the dimension. Times are in the time of L. Convention: `E exp(i k L_1) = exp(-|k|^a)` in
each coordinate, so a = 2 is variance 2t.
"""

from math import gamma, hypot

import numpy as np

from levysde import errors
from levysde.types import Arg, Integer, Number, Numbers


def getoor_mean_exit(
    *,
    alpha: Arg[Number],
    dim: Arg[Integer],
    radius: Arg[Number] = 1.0,
    epsilon: Arg[Number] = 1.0,
    start: Arg[Numbers] = 0.0,
) -> float:
    """Mean exit time of `x + epsilon L`, L isotropic stable, from the ball of `radius`.

    `Gamma(d/2) (r^2 - |x|^2)^(a/2) / (2^a Gamma(1 + a/2) Gamma((d + a)/2) epsilon^a)`.

    Args:
        alpha: stability index, in (0, 2].
        dim: d, the dimension.
        radius: of the ball, positive, in the unit of x; 1 by default.
        epsilon: noise amplitude, positive; 1 by default.
        start: x, relative to the centre: a point, `(d,)`, or its distance from the centre, which is
            0 by default.

    Returns:
        The mean exit time, in the time of L.

    Raises:
        ValueError, TypeError: a number out of range, or traced by JAX; a start outside the ball.

    Source:
        Getoor, Trans. Amer. Math. Soc. 101 (1961).
    """
    from scipy.special import poch  # slow to import

    a, d, gap, eps = _checked(alpha, dim, radius, epsilon, start)
    return float(gap ** (a / 2) / (2**a * gamma(1 + a / 2) * poch(d / 2, a / 2) * eps**a))


def ryznar_mean_exit(
    *,
    alpha: Arg[Number],
    dim: Arg[Integer],
    radius: Arg[Number] = 1.0,
    epsilon: Arg[Number] = 1.0,
    start: Arg[Numbers] = 0.0,
) -> float:
    """Mean exit time of `x + epsilon L`, L of d independent stable coordinates, from the ball of
    `radius`.

    `(r^2 - |x|^2)^(a/2) / (d Gamma(1 + a) epsilon^a)`, shown by Ryznar for every symmetric stable
    process with `Gamma(1 - a/2) Gamma(1 + a/2) nu(|y| >= 1)` in place of `d Gamma(1 + a)`.

    Args:
        alpha: stability index, in (0, 2].
        dim: d, the dimension.
        radius: of the ball, positive, in the unit of x; 1 by default.
        epsilon: noise amplitude, positive; 1 by default.
        start: x, relative to the centre: a point, `(d,)`, or its distance from the centre, which is
            0 by default.

    Returns:
        The mean exit time, in the time of L.

    Raises:
        ValueError, TypeError: a number out of range, or traced by JAX; a start outside the ball.

    Source:
        Ryznar (2025).
    """
    a, d, gap, eps = _checked(alpha, dim, radius, epsilon, start)
    return gap ** (a / 2) / (d * gamma(1 + a) * eps**a)


def brownian_mean_exit(
    *,
    dim: Arg[Integer],
    radius: Arg[Number] = 1.0,
    sigma: Arg[Number] = 1.0,
    start: Arg[Numbers] = 0.0,
) -> float:
    """Mean exit time of `x + sigma W`, W standard Brownian motion, from the ball:
    `(r^2 - |x|^2) / (d sigma^2)`.

    Args:
        dim: d, the dimension.
        radius: of the ball, positive, in the unit of x; 1 by default.
        sigma: noise amplitude, positive; 1 by default.
        start: x, relative to the centre: a point, `(d,)`, or its distance from the centre, which is
            0 by default.

    Returns:
        The mean exit time, in the time of W.

    Raises:
        ValueError, TypeError: a number out of range, or traced by JAX; a start outside the ball.

    Source:
        elementary: the mean solves `sigma^2 u'' / 2 = -1`, as a Laplacian in d dimensions.
    """
    amplitude = errors.positive_real("sigma", sigma)
    _, d, gap, _ = _checked(2.0, dim, radius, 1.0, start)
    return gap / (d * amplitude**2)


def survival_at(rate: float, t: Arg[Numbers]) -> np.ndarray | float:
    """`exp(-rate t)`, the chance that an exponential time is beyond t; 1 before 0."""
    times = np.maximum(errors.reals("t", t), 0)
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(-rate * times)


def _checked(
    alpha: Arg[Number],
    dim: Arg[Integer],
    radius: Arg[Number],
    epsilon: Arg[Number],
    start: Arg[Numbers],
) -> tuple[float, int, float, float]:
    """alpha, d, `r^2 - |x|^2`, epsilon."""
    a = errors.real_index(alpha)
    d = errors.integer("dim", dim)
    r = errors.positive_real("radius", radius)
    eps = errors.positive_real("epsilon", epsilon)
    x = errors.reals("start", start)
    if x.shape not in ((), (d,)):
        raise ValueError(
            f"start must be a distance or have shape ({d},), not {x.shape}. For example start=0.0."
        )
    distance = hypot(*x.ravel())
    if distance > r:
        raise ValueError(
            f"start = {start!r} lies outside the ball of radius {radius!r}. Give a start inside."
        )
    return a, d, (r - distance) * (r + distance), eps
