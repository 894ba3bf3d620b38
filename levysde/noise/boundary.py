"""How far a boundary seems to move when a stable process is replaced by another one on small scales.

Notation: psi the characteristic exponent, across the boundary, of the process that is simulated, and `|k|^a` that of the stable
one; both agree as k -> 0. Far from the boundary the chance of leaving is as if it stood further out by

    shift = -(1/pi) int_0^inf log(psi(k) / k^a) / k^2 dk

(the first term of the Wiener-Hopf factor of psi as k -> 0; for a walk of Gaussian steps Siegmund, Adv. Appl. Probab. 11, 1979):

    a skeleton of steps dt         psi = (1 - exp(-k^a dt)) / dt
                                   shift = rho_a dt^(1/a),    rho_a = -zeta(1 - 1/a) Gamma(1 - 1/a) / pi
    jumps below c made Gaussian    psi = k^a + int_{|y|<c} ((k y)^2/2 - 1 + cos(k y)) nu(dy)
                                   shift = -gamma_a c,        gamma_a > 0
"""

from math import gamma, log, pi

import numpy as np

from levysde import errors
from levysde.errors import Checked
from levysde.noise.stable import StableComponents, StableIsotropic, require_jumps
from levysde.protocols import Driver

_NODES, _ANGLES = 400, 40  # of the quadratures over a jump's size and direction
_FAR = 60.0  # beyond this k the large jumps' phases average out


def boundary_shift(alpha: Checked) -> float:
    """`rho_a = -zeta(1 - 1/a) Gamma(1 - 1/a) / pi`: exits of an Euler skeleton of step dt are late as if the boundary
    stood further out by `rho_a s dt^(1/a)`, s the scale of the noise across it (SaS(s) at time 1).

    1.2165 at a = 1.2, 0.8300 at 1.5, 0.8022 at 1.8, and at 2 0.8239 = sqrt(2) times the 0.5826 of Brownian motion
    (Gobet and Menozzi, Stochastic Process. Appl. 120, 2010).

    Raises ValueError unless alpha lies in (1, 2]: at and below 1 the lateness is not of this order.
    """
    from scipy.special import zeta  # slow to import

    if errors.is_traced(errors.stability_index(alpha)):
        raise TypeError("alpha is traced by JAX; exact values are plain Python numbers. Call this outside jit.")
    a = float(alpha)
    if a <= 1:
        raise ValueError(
            f"alpha must lie in (1, 2], not {alpha!r}: at and below 1 the skeleton is late by O(dt log(1/dt)) or O(dt) "
            "with no such constant. Halve dt and compare instead."
        )
    return float(-zeta(1 - 1 / a) * gamma(1 - 1 / a) / pi)


def small_jump_variance(driver: Driver, dim: int) -> float:
    """Variance of a coordinate, per unit time, of the jumps of size below 1: `T a / ((2 - a) d)`, T the rate of jumps beyond 1
    (d = 1 and the T of one coordinate where they jump one at a time). For jumps below c times `c^(2-a)`."""
    a, total, directions = _jumps(driver, dim)
    return total * a / ((2 - a) * directions)


def small_jump_shift(driver: Driver, dim: int) -> float:
    """gamma_a (top of this file), of jumps along an axis of `StableComponents`, or of `StableIsotropic` in `dim` dimensions."""
    from scipy.integrate import simpson

    a, _, _ = _jumps(driver, dim)
    t = np.linspace(log(1e-6), log(1e9), 6001)  # log k
    k = np.exp(t)
    ratio = _replaced(driver, dim, k) / k**a
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
        along, share = roots_gegenbauer(_ANGLES, directions / 2 - 1)  # density ~ (1 - u^2)^((d-3)/2)
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


def _jumps(driver: Driver, dim: int) -> tuple[float, float, int]:
    """alpha, the rate of jumps beyond 1, and the dimension of their directions: of one coordinate for components."""
    if not isinstance(driver, StableComponents | StableIsotropic):
        raise TypeError(
            f"small jumps are replaced for StableComponents and StableIsotropic, not for {type(driver).__name__}."
        )
    directions = dim if isinstance(driver, StableIsotropic) else 1
    a = require_jumps(driver.alpha)
    return a, driver.levy_rays(directions, 2, 0).total(), directions
