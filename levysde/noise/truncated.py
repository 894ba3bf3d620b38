"""Truncated stable noise: the stable Lévy measure with its jumps beyond a cutoff taken away.

Notation: a the stability index, c the cutoff, `E exp(i <k, L_t>) = exp(-t psi(k))`, T = nu(|y| >=
1) of the stable noise,

    psi(k) = int (1 - cos <k, y>) 1(|y| < c) nu(dy),      nu(|y| > r) = T (r^-a - c^-a)  for r < c,
                                                          and 0 beyond

(components: each coordinate by itself, with T = 2 C_a / a).

Sampler: a stable increment over dt, drawn again while it lies beyond c (the step of Mantegna and
Stanley, Phys. Rev. Lett. 73, 1994). This is a random walk, not the exact increment: a step is
judged by its sum, so that a jump near c is kept or not together with the small ones beside it.
Single jumps come at the right rate up to c. The exponent comes out low by 0.8, 1.9, 2.9, 4.1, 4.8
times `T c^-a dt`, relative, at a = 0.7, 1.2, 1.5, 1.8, 1.95 (numerical inversion in d = 1, small k;
less at larger k): an error of order dt. The tries are fixed; where all fail the increment is 0, and
`check_step` keeps the chance of that below 1e-9, which with 3 tries also keeps `T c^-a dt` below
1e-3.
"""

import functools
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.noise.stable import StableComponents, StableIsotropic, levy_constant
from levysde.noise.tempered import EXHAUSTED, check_tries
from levysde.protocols import Driver, LevyRays, Point, Scalar, TracedRays, Words
from levysde.types import Arg, Integer, Number

_SIZES, _ANGLES = 256, 64  # nodes of the quadratures over a jump's size and angle
# |k| cutoff up to which they resolve the oscillation; beyond, expansions in its inverse take over
_RESOLVED = 60.0


def _cut_tail(rays: LevyRays, longest: float, r: np.ndarray, i: np.ndarray) -> np.ndarray:
    r = np.asarray(r, dtype=float)
    beyond = rays.tail(np.minimum(r, longest), i) - rays.tail(np.full(r.shape, longest), i)
    return np.where(r < longest, beyond, 0.0)


class _Truncated(Driver):
    """What the two laws share: draws of the free stable law, made again while they lie beyond the
    cutoff."""

    stable: ClassVar[type[StableComponents | StableIsotropic]]
    free: StableComponents | StableIsotropic
    cutoff: Array
    tries: int = eqx.field(static=True)

    def __init__(self, alpha: Arg[Number], cutoff: Arg[Number], tries: Arg[Integer] = 3):
        # plain numbers stay such inside jit, where `check_step` looks at them
        with jax.ensure_compile_time_eval():
            index = errors.stability_index(alpha)
            self.cutoff = errors.positive("cutoff", cutoff, "cutoff=5.0")
        if not errors.is_traced(index) and float(index) == 2:
            raise ValueError(
                "alpha = 2 is Gaussian and has no jumps to cut off. For example alpha=1.5, or use "
                "Brownian()."
            )
        self.free = self.stable(index)
        self.tries = errors.integer("tries", tries, high=64)

    @property
    def alpha(self) -> Scalar:
        """Stability index of the jumps."""
        return self.free.alpha

    @property
    def index(self) -> Scalar:
        return jnp.full_like(self.alpha, 2)  # finite variance

    def words_per_step(self, dim: int) -> int:
        return self.tries * self.free.words_per_step(dim)

    def check_step(self, dt: float) -> None:
        from scipy.special import erfc  # slow to import

        if errors.is_traced(self.alpha) or errors.is_traced(self.cutoff):
            return
        alpha, cutoff = float(self.alpha), float(self.cutoff)
        rate = 2 * levy_constant(alpha) / alpha * cutoff**-alpha
        # near alpha = 2 jumps are rare, and what reaches beyond the cutoff is the body of the law
        failure = min(1.0, rate * dt + erfc(cutoff / (2 * dt ** (1 / alpha))))
        check_tries(
            type(self).__name__,
            failure,
            self.tries,
            dt,
            0.99 * dt * EXHAUSTED ** (1 / self.tries) / failure,
        )

    def levy_rays(self, dim: int, num: int = 256, seed: int = 0) -> LevyRays:
        """Those of the stable driver, their tails cut."""
        errors.concrete(type(self).__name__, self)
        rays, longest = self.free.levy_rays(dim, num, seed), float(self.cutoff)
        tail = functools.partial(_cut_tail, rays, longest)
        return LevyRays(rays.directions, rays.weights, tail, math.nan)

    def traced_rays(self, dim: int, num: int = 256, seed: int = 0) -> TracedRays:
        rays, longest = self.free.traced_rays(dim, num, seed), self.cutoff

        def log_tail(r: Array) -> Array:
            beyond, inside = rays.log_tail(jnp.full(r.shape, longest)), r < longest
            near = rays.log_tail(jnp.where(inside, r, longest / 2))
            return jnp.where(inside, near + jnp.log(-jnp.expm1(beyond - near)), -jnp.inf)

        return TracedRays(rays.directions, rays.weights, log_tail)


class TruncatedComponents(_Truncated):
    """d independent truncated stable coordinates; jumps lie on the axes. See the top of the file.

    The escape law holds with the cut tail: the rate is no power of epsilon, and 0 (refused) where
    one jump cannot leave.

    Args:
        alpha: stability index of the jumps, in (0, 2).
        cutoff: largest jump, in units of L. No increment is longer in any coordinate.
        tries: draws a step and coordinate may take. 3 allow `2 (C_a/a) cutoff^-alpha dt` up to
            1e-3; more tries allow a longer dt, whose error you must judge yourself.

    Raises:
        ValueError, TypeError: an argument out of range; later, a dt that needs more tries
            (`check_step`).

    Source:
        Mantegna and Stanley, Phys. Rev. Lett. 73, 1994, whose step it is.
    """

    stable = StableComponents

    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        kept = jnp.zeros(dim, self.alpha.dtype)
        for draw in words.reshape((self.tries, self.free.words_per_step(dim)))[::-1]:
            drawn = self.free.increment(draw, dim, dt)
            kept = jnp.where(jnp.abs(drawn) < self.cutoff, drawn, kept)
        return kept

    def exponent(self, k: Point) -> Scalar:
        return jnp.sum(_exponent(k * self.cutoff, 1, self.alpha)) * self.cutoff**-self.alpha


class TruncatedIsotropic(_Truncated):
    """Rotation-invariant truncated stable noise; jumps in every direction. See the top of the file.

    The escape law holds with the cut tail: the rate is no power of epsilon, and 0 (refused) where
    one jump cannot leave.

    Args:
        alpha: stability index of the jumps, in (0, 2).
        cutoff: largest jump, in units of L. No increment is longer.
        tries: draws a step may take. 3 allow `T cutoff^-alpha dt` up to 1e-3 in one dimension, by
            which `check_step` judges; in d dimensions T is larger (alpha = 1.5: 1.8, 6.4, 37 times
            in d = 2, 10, 100), so take dt shorter in proportion.

    Raises:
        ValueError, TypeError: an argument out of range; later, a dt that needs more tries
            (`check_step`).

    Source:
        Mantegna and Stanley, Phys. Rev. Lett. 73, 1994, whose step it is.
    """

    stable = StableIsotropic

    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        kept = jnp.zeros(dim, self.alpha.dtype)
        for draw in words.reshape((self.tries, self.free.words_per_step(dim)))[::-1]:
            # materialised: it would be drawn once more for its size
            drawn = jax.lax.optimization_barrier(self.free.increment(draw, dim, dt))
            small = drawn / self.cutoff  # the square of a capped draw would leave the float range
            inside = jnp.max(jnp.abs(small)) < 1
            square = jnp.sum(jnp.where(inside, small * small, 1))
            kept = jnp.where(inside & (square < 1), drawn, kept)
        return kept

    def exponent(self, k: Point) -> Scalar:
        from scipy.special import roots_gegenbauer  # slow to import

        dim, dtype = k.shape[0], self.alpha.dtype
        # one coordinate of a uniform direction has density ~ (1 - v^2)^((d-3)/2)
        one = np.ones(1)
        v, weights = (one, one) if dim == 1 else roots_gegenbauer(_ANGLES, dim / 2 - 1)
        size = jnp.sqrt(jnp.sum(k * k)) * self.cutoff
        along = _exponent(size * jnp.asarray(v, dtype), dim, self.alpha)
        near = jnp.sum(along * jnp.asarray(weights / weights.sum(), dtype))
        if dim > 1:
            far = size > _RESOLVED * max(1, dim / 3) ** 0.5
            near = jnp.where(far, _far_exponent(size, dim, self.alpha), near)
        return near * self.cutoff**-self.alpha


def _exponent(k: Float[Array, " n"], dim: int, alpha: Scalar) -> Float[Array, " n"]:
    """`int_0^1 (1 - cos(k r)) T a r^(-1-a) dr`. With `r = v^p`, `p = 4/(2-a)`, it is
    `T a p (k^2/2) int_0^1 sinc(k v^p / 2)^2 v^3 dv`, smooth in v. For large k it is that of the
    free law, `k^a T / T_1` (T_1 that of d = 1), less T, plus
    `T a int_1^inf cos(k r) r^(-1-a) dr`, by parts."""
    nodes, weights = np.polynomial.legendre.leggauss(_SIZES)
    v = jnp.asarray((nodes + 1) / 2, alpha.dtype)
    weights = jnp.asarray(weights / 2, alpha.dtype)
    total = _total(dim, alpha)
    k = jnp.abs(k)
    inner, outer = jnp.minimum(k, _RESOLVED), jnp.maximum(k, _RESOLVED)
    p = 4 / (2 - alpha)
    sinc = jnp.sinc(inner[:, None] * (v**p)[None, :] / (2 * np.pi))
    near = (
        total * alpha * p * inner * inner / 2 * jnp.sum(sinc * sinc * (weights * v**3)[None, :], 1)
    )
    sine, cosine = jnp.sin(outer), jnp.cos(outer)
    s, inverse = 1 + alpha, 1 / outer
    beyond = inverse * (
        -sine + s * inverse * (cosine + (s + 1) * inverse * (sine - (s + 2) * inverse * cosine))
    )
    free = total / _total(1, alpha) * outer**alpha
    return jnp.where(k > _RESOLVED, free - total + total * alpha * beyond, near)


def _far_exponent(k: Scalar, dim: int, alpha: Scalar) -> Scalar:
    """The isotropic exponent at large k: `k^a` of the free law, less T, plus
    `T a int_1^inf E cos(k r v) r^(-1-a) dr` to leading order, where
    `E cos(z v) = Gamma(d/2) (2/z)^(d/2-1) J_(d/2-1)(z)`, v a coordinate of a uniform
    direction."""
    total = _total(dim, alpha)
    size = (
        math.exp(math.lgamma(dim / 2) + (dim / 2 - 1) * math.log(2)) * math.sqrt(2 / math.pi)
        if dim <= 8
        else 0.0
    )
    beyond = -size * k ** (-(dim + 1) / 2) * jnp.cos(k - dim * math.pi / 4 - math.pi / 4)
    return k**alpha - total + total * alpha * beyond


def _total(dim: int, alpha: Scalar) -> Scalar:
    """T, the rate of jumps beyond 1 of the isotropic law in `dim` dimensions."""
    log_gamma = jax.scipy.special.gammaln
    return jnp.exp(
        alpha * np.log(2)
        + log_gamma((dim + alpha) / 2)
        - math.lgamma(dim / 2)
        - log_gamma(1 - alpha / 2)
    )
