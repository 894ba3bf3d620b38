"""Exact mean exit times from a ball without drift. Plain float64.

Notation: a the stability index, `epsilon L` the noise, r the radius, x the start relative to the centre, d the
dimension. Times are in the time of L. Convention: `E exp(i k L_1) = exp(-|k|^a)` in each coordinate, so a = 2 is
variance 2t.
"""

from math import exp, gamma, lgamma

import numpy as np

from levysde import errors
from levysde.errors import Checked


def getoor_mean_exit(
    *, alpha: Checked, dim: Checked, radius: Checked = 1.0, epsilon: Checked = 1.0, start: Checked = 0.0
) -> float:
    """Mean exit time of `x + epsilon L`, L isotropic stable, from the ball of `radius`.

    `Gamma(d/2) (r^2 - |x|^2)^(a/2) / (2^a Gamma(1 + a/2) Gamma((d + a)/2) epsilon^a)`; Getoor, Trans. Amer. Math. Soc.
    101 (1961).

    Args:
        alpha: stability index, in (0, 2].
        dim: d.
        radius, start: in one unit; `start` a point of shape `(d,)`, or its distance from the centre.
        epsilon: noise amplitude.

    Raises:
        TypeError, ValueError: a number out of range, or a start outside the ball.
    """
    a, d, gap, eps = _checked(alpha, dim, radius, epsilon, start)
    ratio = exp(lgamma(d / 2) - lgamma((d + a) / 2))
    return ratio * gap ** (a / 2) / (2**a * gamma(1 + a / 2) * eps**a)


def ryznar_mean_exit(
    *, alpha: Checked, dim: Checked, radius: Checked = 1.0, epsilon: Checked = 1.0, start: Checked = 0.0
) -> float:
    """Mean exit time of `x + epsilon L`, L of d independent stable coordinates, from the ball of `radius`.

    `(r^2 - |x|^2)^(a/2) / (d Gamma(1 + a) epsilon^a)`; Ryznar 2025, who shows it for every symmetric stable process
    with `Gamma(1-a/2) Gamma(1+a/2) nu(|y| >= 1)` in place of `d Gamma(1 + a)`. Arguments, errors as `getoor_mean_exit`.
    """
    a, d, gap, eps = _checked(alpha, dim, radius, epsilon, start)
    return gap ** (a / 2) / (d * gamma(1 + a) * eps**a)


def brownian_mean_exit(*, dim: Checked, radius: Checked = 1.0, sigma: Checked = 1.0, start: Checked = 0.0) -> float:
    """Mean exit time of `x + sigma W`, W standard Brownian motion, from the ball: `(r^2 - |x|^2) / (d sigma^2)`.

    Arguments and errors as `getoor_mean_exit`.
    """
    sigma = as_real("sigma", errors.positive("sigma", sigma, "sigma=1.0"), sigma)
    _, d, gap, _ = _checked(2.0, dim, radius, 1.0, start)
    return gap / (d * sigma**2)


def _checked(alpha, dim, radius, epsilon, start) -> tuple[float, int, float, float]:
    """alpha, d, `r^2 - |x|^2`, epsilon, in float64."""
    a = as_real("alpha", errors.stability_index(alpha), alpha)
    d = errors.integer("dim", dim, "dim=2")
    r = as_real("radius", errors.positive("radius", radius, "radius=1.0"), radius)
    eps = as_real("epsilon", errors.positive("epsilon", epsilon, "epsilon=0.1"), epsilon)
    errors.finite("start", start, "start=0.0")
    x = np.asarray(start, dtype=float)
    if x.shape not in ((), (d,)):
        raise ValueError(f"start must be a distance or have shape ({d},), not {x.shape}. Type for example start=0.0.")
    gap = r**2 - float(np.sum(x * x))
    if gap < 0:
        raise ValueError(f"start = {start!r} lies outside the ball of radius {radius!r}. Give a start inside.")
    return a, d, gap, eps


def as_real(name: str, checked, value) -> float:
    """The float64 number behind a checked argument (the check itself may hold fewer digits)."""
    if errors.is_traced(checked):
        raise TypeError(f"{name} is traced by JAX; exact values are plain Python numbers. Call this outside jit.")
    return float(value)
