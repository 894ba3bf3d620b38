"""Symmetric alpha-stable drivers.

Convention: SaS(s) has `E exp(i k X) = exp(-|s k|^alpha)`, so that alpha = 2 is a normal of variance
`2 s^2`. Both drivers have SaS(1) marginals at time 1 and differ in how coordinates jump: one at a
time (`StableComponents`) or together (`StableIsotropic`). Chambers, Mallows, Stuck, JASA 71 (1976);
Kanter, Ann. Probab. 3 (1975); Lévy constants from Samorodnitsky and Taqqu, "Stable non-Gaussian
random processes" (1994).

Both samplers work with the angle's distance to its pole, where the large draws come from, and with
logarithms, so that no alpha in (0, 2] needs a branch. The step's own factor dt^(1/alpha) joins the
logarithm too (at alpha = 0.1 and dt = 1e-3 it is 1e-30 and would underflow), and what comes out is
capped at 1e30, so that the state stays finite.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, UInt

from levysde import errors
from levysde.noise.quantile import FITTED, fit_quantile
from levysde.noise.rays import (
    component_rays,
    isotropic_rays,
    power_tail,
    traced_components,
    traced_isotropic,
)
from levysde.protocols import Driver, LevyRays, Point, Scalar, TracedRays, Words
from levysde.random import (
    U32,
    exp2,
    exponential,
    half_pair,
    log2,
    normals,
    polynomial,
    sinpi,
    unit_pair,
)
from levysde.types import Arg, Integer, Number

LOG2_CAP = float(np.log2(1e30))
_TINY = 1e-30


def levy_constant(alpha: Arg[Number]) -> float:
    """`C_a = Gamma(1+a) sin(pi a/2) / pi`: the Lévy density of SaS(1) is `C_a |y|^(-1-a)`. 0 at a =
    2: no jumps.

    Args:
        alpha: stability index a, in (0, 2].

    Returns:
        `C_a`, per unit time.

    Raises:
        ValueError, TypeError: alpha outside (0, 2], no number, or traced by JAX.

    Source:
        Samorodnitsky and Taqqu, "Stable non-Gaussian random processes", 1994.
    """
    a = errors.real_index(alpha)
    return math.gamma(1 + a) * math.sin(math.pi * min(a, 2 - a) / 2) / math.pi


def stable(
    angle: UInt[Array, "..."],
    tail: UInt[Array, "..."],
    alpha: Scalar,
    log2_dt: Scalar | float = 0.0,
) -> Float[Array, "..."]:
    """SaS(dt^(1/alpha)) draws from two words each (Chambers, Mallows, Stuck), for any alpha in (0,
    2]: at dt = 1, Cauchy for alpha = 1 and N(0, 2) for alpha = 2."""
    dtype = alpha.dtype
    # the angle is pi * centre, its distance to the pole pi * pole; the exponential needs the tail
    # word's high bits only
    pole, centre, sign = half_pair(angle, dtype, finer=tail)
    scaled = alpha * centre
    # past the quarter turn the sine is taken of the complement, which has no cancellation as alpha
    # -> 2
    sine = sinpi(jnp.where(scaled > 0.5, (1 - alpha / 2) + alpha * pole, scaled))
    turn = jnp.abs(1 - alpha)
    cosine = sinpi((1 - turn) / 2 + turn * pole)  # cos((1 - alpha) * angle)
    power = (1 - alpha) * (log2(cosine) - log2(exponential(tail, dtype))) - log2(sinpi(pole))
    return sign * sine * exp2(jnp.minimum((power + log2_dt) * (1 / alpha), LOG2_CAP))


def fitted_stable(
    word: UInt[Array, "..."],
    finer: UInt[Array, "..."],
    alpha: Scalar,
    ratio: Float[Array, "2 n"],
    log2_dt: Scalar | float = 0.0,
) -> Float[Array, "..."]:
    """SaS(dt^(1/alpha)) draws from one word each, by the fitted quantile of `noise.quantile`.
    `finer` holds 16 more bits (its second to seventeenth) of the probability, which only draws
    rarer than 1e-6 feel, so it may be a neighbour's word."""
    dtype = alpha.dtype
    pole, centre, sign = half_pair(word, dtype, finer=finer >> U32(1))
    p, rest = 2 * pole, 2 * centre  # P(|X| > |draw|) and its complement
    root = jnp.sqrt(p)
    size = rest * polynomial(ratio[0], root) / polynomial(ratio[1], root)
    return sign * size * exp2(jnp.minimum((log2_dt - log2(p)) * (1 / alpha), LOG2_CAP))


def log2_positive_stable(
    angle: UInt[Array, "..."], tail: UInt[Array, "..."], index: Scalar
) -> Float[Array, "..."]:
    """log2 V with `E exp(-s V) = exp(-s^index)`, index in (0, 1], from two words each (Kanter). 0
    at index = 1."""
    dtype = index.dtype
    turn, pole = unit_pair(angle, dtype)  # the angle is pi * turn
    rest = 1 - index
    first = sinpi(jnp.where(index * turn > 0.5, rest + index * pole, index * turn))
    second = sinpi(jnp.where(rest * turn > 0.5, index + rest * pole, rest * turn))
    log_second = log2(jnp.maximum(second, _TINY)) - log2(exponential(tail, dtype))
    return log2(first) + (rest * log_second - log2(sinpi(jnp.minimum(turn, pole)))) * (1 / index)


def require_jumps(driver: Any) -> float:
    """The driver's alpha as a number below 2, or a ValueError: at 2 there is no Lévy measure."""
    alpha = float(errors.concrete(type(driver).__name__, driver).alpha)
    if alpha == 2:
        raise ValueError(
            "alpha = 2 is Gaussian: the driver has no jumps, so no Lévy measure and no stable "
            "escape law. Use alpha below 2, or a Gaussian law, levysde.theory.kramers_law."
        )
    return alpha


def traced_index(driver: Any) -> Scalar:
    """The driver's alpha, which JAX may trace; a ValueError at 2."""
    if not errors.is_traced(driver.alpha):
        require_jumps(driver)
    return driver.alpha


def total_tail(driver: Arg["StableComponents | StableIsotropic"], dim: Arg[Integer]) -> float:
    """`T_nu = nu(|y| >= 1)` of a stable driver, without its rays: `2 d C_a / a` for components,
    `2^a Gamma((d+a)/2) / (Gamma(d/2) Gamma(1-a/2))` for isotropic noise.

    Args:
        driver: `StableComponents` or `StableIsotropic`, alpha below 2.
        dim: d, the driver's coordinates.

    Returns:
        The rate of jumps of size 1 and more, per unit time.

    Raises:
        ValueError, TypeError: another driver, alpha = 2 (which has no jumps) or traced by JAX, a
            bad `dim`.

    Source:
        Samorodnitsky and Taqqu, "Stable non-Gaussian random processes", 1994.
    """
    dim = errors.integer("dim", dim)
    example = "StableComponents(alpha=1.5)"
    errors.instance("driver", driver, StableComponents | StableIsotropic, example)
    alpha = require_jumps(driver)
    if isinstance(driver, StableIsotropic):
        return _isotropic_tail(alpha, dim)
    return 2 * dim * levy_constant(alpha) / alpha


def log_levy_constant(alpha: Scalar) -> Scalar:
    """Logarithm of `levy_constant`, for an alpha below 2 that JAX may trace."""
    sine = jnp.sin(jnp.pi / 2 * jnp.minimum(alpha, 2 - alpha))
    return gammaln(1 + alpha) + jnp.log(sine / jnp.pi)


def _fitted(alpha: Array) -> tuple[float, Array | None]:
    """alpha as a number, NaN where JAX traces it, and the coefficients of its quantile where it can
    be fitted."""
    # float32 has no 1.95
    number = math.nan if errors.is_traced(alpha) else round(float(alpha), 7)
    known = FITTED[0] <= number <= FITTED[1]
    return number, jnp.asarray(fit_quantile(number), dtype=float) if known else None


class StableComponents(Driver):
    """d independent SaS(1) coordinates: `E exp(i <k, L_t>) = exp(-t sum_i |k_i|^alpha)`; jumps lie
    on the axes.

    One word makes one draw for alpha in [0.7, 1.95], by a quantile fitted to 3e-5; elsewhere, when
    alpha is traced by JAX, or with `exact_sampler=True`, two words by the formula of Chambers,
    Mallows and Stuck. Both are right in the tail to 1% at P = 1e-8.

    Args:
        alpha: stability index, in (0, 2]; at 2 each coordinate is a Brownian motion of variance 2t.
            To change it, make a new driver: one whose alpha alone was replaced is refused by a run,
            and makes NaN where JAX traces it.
        exact_sampler: draw by the formula whatever alpha is.

    Raises:
        ValueError, TypeError: an alpha outside its range, an `exact_sampler` that is not True or
            False.

    Source:
        Samorodnitsky and Taqqu, "Stable non-Gaussian random processes", 1994; the formula Chambers,
        Mallows, Stuck, JASA 71, 1976; the fit this package, `levysde.noise.quantile`.
    """

    alpha: Array
    ratio: Array | None  # coefficients of the fitted quantile, shape (2, 9)
    fitted: Array | None  # the alpha that they belong to

    def __init__(self, alpha: Arg[Number], *, exact_sampler: Arg[bool] = False):
        exact = errors.flag("exact_sampler", exact_sampler)
        # a plain number stays one inside jit, so that the draws are those of a driver made outside
        with jax.ensure_compile_time_eval():
            self.alpha = errors.stability_index(alpha)
            self.ratio = None if exact else _fitted(self.alpha)[1]
        self.fitted = None if self.ratio is None else self.alpha

    def _arguments(self) -> dict[str, Array | bool]:
        return {"alpha": self.alpha, "exact_sampler": self.ratio is None}

    def _derived(self) -> dict[str, Array | None]:
        if self.ratio is None:
            return {}
        return {"ratio": _fitted(self.alpha)[1], "fitted": self.alpha}

    @property
    def index(self) -> Scalar:
        return self.alpha

    def words_per_step(self, dim: int) -> int:
        return 2 * dim if self.ratio is None else max(2, dim)

    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        log2_dt = jnp.log2(dt)
        if self.ratio is None:
            return stable(words[:dim], words[dim:], self.alpha, log2_dt)
        ratio, finer = self.ratio, words[::-1][:dim]
        if errors.is_traced(self.alpha) or errors.is_traced(self.fitted):
            # alpha was replaced, as by `equinox.tree_at`: there is no fit to be had here
            log2_dt = jnp.where(self.alpha == self.fitted, log2_dt, jnp.nan)
        elif float(self.alpha) != float(self.fitted):  # pyright: ignore[reportArgumentType]
            ratio = jnp.asarray(fit_quantile(_fitted(self.alpha)[0]), self.alpha.dtype)
        return fitted_stable(words[:dim], finer, self.alpha, ratio, log2_dt)

    def exponent(self, k: Point) -> Scalar:
        return jnp.sum(jnp.abs(k) ** self.alpha)

    def levy_rays(self, dim: int, num: int = 0, seed: int = 0) -> LevyRays:
        """The `2 dim` half-axes; `num` and `seed` are not needed."""
        alpha = require_jumps(self)
        return component_rays(dim, power_tail(alpha, levy_constant(alpha) / alpha), alpha)

    def traced_rays(self, dim: int, num: int = 0, seed: int = 0) -> TracedRays:
        alpha = traced_index(self)
        at_one = log_levy_constant(alpha) - jnp.log(alpha)
        return traced_components(dim, lambda r: at_one - alpha * jnp.log(r))


class StableIsotropic(Driver):
    """The rotation-invariant stable driver: `E exp(i <k, L_t>) = exp(-t |k|^alpha)`; jumps in every
    direction.

    Args:
        alpha: stability index, in (0, 2]; at 2 it is a Brownian motion of variance 2t a coordinate.

    Raises:
        ValueError, TypeError: an alpha outside its range.

    Source:
        Samorodnitsky and Taqqu, "Stable non-Gaussian random processes", 1994, as a normal times the
        root of a positive stable variable; that one by Kanter, Ann. Probab. 3, 1975.
    """

    alpha: Array

    def __init__(self, alpha: Arg[Number]):
        self.alpha = errors.stability_index(alpha)

    @property
    def index(self) -> Scalar:
        return self.alpha

    def words_per_step(self, dim: int) -> int:
        return 2 + 2 * ((dim + 1) // 2)

    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        log2_size = (
            log2_positive_stable(words[0], words[1], self.alpha / 2) / 2 + jnp.log2(dt) / self.alpha
        )
        # materialised: fused into the product it would be computed for every coordinate
        size = jax.lax.optimization_barrier(exp2(jnp.minimum(log2_size, LOG2_CAP) + 0.5))
        return size * normals(words[2:], dim, self.alpha.dtype)

    def exponent(self, k: Point) -> Scalar:
        return jnp.sum(k * k) ** (self.alpha / 2)

    def levy_rays(self, dim: int, num: int, seed: int) -> LevyRays:
        """Directions uniform on the sphere: both ends in d = 1, equal angles in d = 2, scrambled
        Sobol above, independent ones beyond its 21,201 dimensions."""
        alpha = require_jumps(self)
        total = _isotropic_tail(alpha, dim)
        return isotropic_rays(dim, num, seed, power_tail(alpha), alpha, total)

    def traced_rays(self, dim: int, num: int, seed: int) -> TracedRays:
        alpha = traced_index(self)
        at_one = (
            alpha * np.log(2)
            + gammaln((dim + alpha) / 2)
            - gammaln(dim / 2)
            - gammaln(1 - alpha / 2)
        )
        return traced_isotropic(dim, num, seed, lambda r: at_one - alpha * jnp.log(r))


def _isotropic_tail(alpha: float, dim: int) -> float:
    """`nu(|y| >= 1)`, in logarithms: the gamma functions overflow from d = 300 on."""
    return math.exp(
        alpha * math.log(2)
        + math.lgamma((dim + alpha) / 2)
        - math.lgamma(dim / 2)
        - math.lgamma(1 - alpha / 2)
    )


class Brownian(Driver):
    """Standard Brownian motion: variance t in each coordinate, no jumps.

    Source:
        Elementary.
    """

    @property
    def index(self) -> Scalar:
        return jnp.asarray(2.0, dtype=float)

    def words_per_step(self, dim: int) -> int:
        return 2 * ((dim + 1) // 2)

    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        return jnp.sqrt(dt) * normals(words, dim, dt.dtype)

    def exponent(self, k: Point) -> Scalar:
        return jnp.sum(k * k) / 2

    def levy_rays(self, dim: int, num: int, seed: int) -> LevyRays:
        raise ValueError(
            "Brownian motion has no jumps, so no Lévy measure and no stable escape law. "
            "Use StableComponents(alpha=1.5) or StableIsotropic(alpha=1.5), or a Gaussian law, "
            "levysde.theory.kramers_law."
        )
