"""How far a boundary seems to move when a stable process is replaced by another one on small
scales.

Notation: psi the characteristic exponent, across the boundary, of the process that is simulated,
and `|k|^a` that of the stable one; both agree as k -> 0. Far from the boundary the chance of
leaving is as if it stood further out by

    shift = -(1/pi) int_0^inf log(psi(k) / k^a) / k^2 dk

(the first term of the Wiener-Hopf factor of psi as k -> 0; for a walk of Gaussian steps Siegmund,
Adv. Appl. Probab. 11, 1979):

    a skeleton of steps dt         psi = (1 - exp(-k^a dt)) / dt
                                   shift = rho_a dt^(1/a),    rho_a = -zeta(1 - 1/a) Gamma(1 - 1/a)
                                       / pi
    jumps below c made Gaussian    psi = k^a + int_{|y|<c} ((k y)^2/2 - 1 + cos(k y)) nu(dy)
                                   shift = -gamma_a c,        gamma_a > 0
"""

from math import gamma, log, pi

import numpy as np

from levysde import errors
from levysde.noise.stable import StableComponents, StableIsotropic, require_jumps
from levysde.protocols import Driver
from levysde.types import Arg, Integer, Number

_NODES, _ANGLES = 400, 40  # of the quadratures over a jump's size and direction
_FAR = 60.0  # beyond this k the large jumps' phases average out


def boundary_shift(alpha: Arg[Number]) -> float:
    """`rho_a = -zeta(1 - 1/a) Gamma(1 - 1/a) / pi`: exits of an Euler skeleton of step dt are late
    as if the boundary stood further out by `rho_a s dt^(1/a)`, s the scale of the noise across it
    (SaS(s) at time 1).

    1.2165 at a = 1.2, 0.8300 at 1.5, 0.8022 at 1.8, and at 2 0.8239 = sqrt(2) times the 0.5826 of
    Brownian motion.

    Args:
        alpha: stability index a, in (1, 2]: at and below 1 the discretisation bias is not of this
            order.

    Returns:
        `rho_a`, in units of `s dt^(1/a)`.

    Raises:
        ValueError, TypeError: alpha outside (1, 2], no number, or traced by JAX.

    Source:
        Siegmund, Adv. Appl. Probab. 11, 1979 (walks of Gaussian steps); Gobet and Menozzi,
        Stochastic Process. Appl. 120, 2010 (diffusions); for stable noise the formula at the top of
        this file.
    """
    from scipy.special import zeta  # slow to import

    a = errors.real_index(alpha)
    if a <= 1:
        raise ValueError(
            f"alpha must lie in (1, 2], not {alpha!r}: at and below 1 the skeleton is late by "
            "O(dt log(1/dt)) or O(dt) with no such constant. Halve dt and compare instead."
        )
    return float(-zeta(1 - 1 / a) * gamma(1 - 1 / a) / pi)


def small_jump_variance(driver: Arg[Driver], dim: Arg[Integer]) -> float:
    """Variance of a coordinate, per unit time, of the jumps of size below 1: `T a / ((2 - a) d)`, T
    the rate of jumps beyond 1 (d = 1 and the T of one coordinate where they jump one at a time).
    For jumps below c times `c^(2-a)`.

    Args:
        driver: `StableComponents` or `StableIsotropic`, alpha below 2.
        dim: d, the driver's coordinates.

    Returns:
        The variance, per unit time.

    Raises:
        ValueError, TypeError: another driver, alpha = 2 or traced by JAX, a bad `dim`.

    Source:
        Asmussen and Rosinski, J. Appl. Probab. 38, 2001, who put a Gaussian of this variance in
        place of small jumps.
    """
    a, total, directions = _jumps(driver, dim)
    return total * a / ((2 - a) * directions)


def small_jump_shift(driver: Arg[Driver], dim: Arg[Integer]) -> float:
    """gamma_a (top of this file): jumps below c made Gaussian let the boundary seem nearer by
    `gamma_a s c`.

    Args:
        driver: `StableComponents` (jumps along an axis) or `StableIsotropic`, alpha below 2.
        dim: d, the driver's coordinates; it matters for isotropic noise only.

    Returns:
        `gamma_a`, positive, in units of the cutoff c.

    Raises:
        ValueError, TypeError: another driver, alpha = 2 or traced by JAX, a bad `dim`.

    Source:
        This package: the formula at the top of this file, after Siegmund, Adv. Appl. Probab. 11,
        1979.
    """
    from scipy.integrate import simpson

    a, _, _ = _jumps(driver, dim)
    t = np.linspace(log(1e-6), log(1e9), 6001)  # log k
    k = np.exp(t)
    ratio = _replaced(driver, int(dim), k) / k**a
    return float(simpson(np.log1p(ratio) / k, x=t) / pi)


def _replaced(driver: Driver, dim: int, k: np.ndarray) -> np.ndarray:
    """`int_{|y|<1} ((k y_1)^2/2 - 1 + cos(k y_1)) nu(dy)`."""
    from scipy.special import roots_gegenbauer  # slow to import

    a, total, directions = _jumps(driver, dim)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    power = 6 / (4 - a)  # sizes r = v^power: what follows is smooth in v
    v, weights = (nodes + 1) / 2, weights / 2
    along, share = np.ones(1), np.ones(1)
    if directions > 1:
        # density ~ (1 - u^2)^((d-3)/2)
        along, share = roots_gegenbauer(_ANGLES, directions / 2 - 1)
        share = share / share.sum()
    near = k <= _FAR
    x = k[near, None, None] * along[:, None] * v**power
    square = x * x
    small = square * square / 24 * (1 - square / 30 * (1 - square / 56))
    value = np.where(np.abs(x) < 0.2, small, square / 2 - 1 + np.cos(x))
    size = total * a * power * v ** (-1 - power * a) * weights  # of r^(-1-a) dr
    out = np.empty_like(k)
    out[near] = np.einsum("kuv,u,v->k", value, share, size)
    far = k[~near]
    out[~near] = small_jump_variance(driver, dim) * far * far / 2 + total - far**a
    return out


def _jumps(driver: Arg[Driver], dim: Arg[Integer]) -> tuple[float, float, int]:
    """alpha, the rate of jumps beyond 1, and the dimension of their directions: of one coordinate
    for components."""
    known = StableComponents | StableIsotropic
    errors.instance("driver", driver, known, "StableComponents(alpha=1.5)")
    dim = errors.integer("dim", dim)
    directions = dim if isinstance(driver, StableIsotropic) else 1
    a = require_jumps(driver)
    return a, driver.levy_rays(directions, 2, 0).total(), directions
