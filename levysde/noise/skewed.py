"""Skewed alpha-stable noise: d independent coordinates whose upward and downward jumps differ in
number.

Notation: a the stability index, b the skewness (beta), t = 1 - a, z = b tan(pi a/2),
`E exp(i k L_dt) = exp(-dt psi(k))`. The two parameterisations of Nolan ("Univariate Stable
Distributions", 2020, section 1.3), at unit scale, no location:

    S1:  psi(k) = |k|^a (1 - i z sign k)                     a != 1
    S0:  psi(k) = |k|^a (1 - i z sign k) + i z k             a != 1; continuous in a:
    both psi(k) = |k| (1 + i b (2/pi) sign(k) log|k|)        at a = 1

As a Lévy process S0 is S1 with the drift -z dt. S1 is strictly stable: centred for a > 1, without
drift (pure jumps) for a < 1, but z grows without bound as a -> 1, where S0 is the one with numbers
of order one. The Lévy density is `C_a (1 + b) y^(-1-a)` upwards and `C_a (1 - b) |y|^(-1-a)`
downwards.

Sampler: Chambers, Mallows, Stuck, JASA 71 (1976), rearranged. With U = pi phi uniform on (-pi/2,
pi/2), W exponential, p = 1/2 + phi and p' = 1/2 - phi the distances to the two poles, h(p) = sin(pi
t p) / (2 sin(pi t/2)):

    c = cos(tU) + z sin(tU) = (1 + b) h(p) + (1 - b) h(p'),     E = exp((t/a) log(dt c / (W cos U)))
    S1:  L_dt = dt E (tan(U) c - sin(tU) + z cos(tU))
    S0:  L_dt = dt [E (tan(U) c - sin(tU)) + (z t) ((E - 1)/t cos(tU) - (1 - cos(tU))/t)]

Nothing here cancels near a = 1 (z t tends to 2b/pi, (E - 1)/t to log(dt c / (W cos U))), c is a sum
of positive terms that is exact near both poles, and the a = 1 term dt log dt comes by itself.
"""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, UInt

from levysde import errors
from levysde.noise.rays import component_rays, power_tail, traced_components
from levysde.noise.stable import levy_constant, log_levy_constant, require_jumps, traced_index
from levysde.protocols import Driver, LevyRays, Point, Scalar, TracedRays, Words
from levysde.random import exp2, exponential, half_pair, log2, sinpi
from levysde.types import Arg, Number, Numbers

_CAP = 1e30  # of a draw, so that the state stays finite
_LOG_RANGE = 115.0  # of log2 of a factor before the pole's 1/cos(U), which adds at most 34
_LARGEST = 120.0  # log2 beyond which a draw is capped anyway


def _ratio(numerator: Array, t: Array, limit: Array | float) -> Array:
    """`numerator / t`, its limit at t = 0."""
    return jnp.where(t == 0, limit, numerator / jnp.where(t == 0, 1, t))


def _tan(alpha: Scalar) -> tuple[Scalar, Scalar]:
    """`t tan(pi a/2)` and `tan(pi a/2)`, with t = 1 - a; the second is 0 at a = 1, where it has no
    meaning."""
    t = 1 - alpha
    cosine = sinpi(jnp.minimum(alpha, 2 - alpha) / 2)
    times_t = cosine / _ratio(sinpi(t / 2), t, np.pi / 2)
    return times_t, _ratio(times_t, t, 0.0)


def skewed_stable(
    angle: UInt[Array, "..."],
    tail: UInt[Array, "..."],
    alpha: Scalar,
    beta: Array,
    dt: Scalar,
    centred: bool,
) -> Float[Array, "..."]:
    """Increments over dt of the S1 (`centred`) or S0 process from two words each; `beta` a number
    or one a draw."""
    dtype = alpha.dtype
    t = 1 - alpha
    turn = jnp.abs(t)
    # to the nearer pole, to the centre, over pi
    near, middle, sign = half_pair(angle, dtype, finer=tail)
    far = 0.5 + middle
    upper, lower = jnp.where(sign > 0, near, far), jnp.where(sign > 0, far, near)
    weighted = (1 + beta) * _arch(lower, upper, turn) + (1 - beta) * _arch(upper, lower, turn)  # c
    cosine = sinpi((1 - turn) / 2 + turn * near)  # cos(tU)
    half_sine = sinpi(turn * middle / 2)  # of |tU|/2
    sine = sign * jnp.sign(t) * sinpi(turn * middle)  # sin(tU)
    cos_u, sin_u = sinpi(near), sign * sinpi(middle)
    log_dt = jnp.log2(dt)  # logarithms to base 2 from here
    log_cos = log2(cos_u)
    depth = log2(weighted) - log2(exponential(tail, dtype)) - log_cos + log_dt
    range_ = jnp.minimum(_LOG_RANGE - 43 - log_dt, _LOG_RANGE)
    power = jnp.minimum(t / alpha * depth, range_)
    size = exp2(jnp.minimum(power + log_dt - log_cos, _LARGEST))  # dt E / cos(U)
    z_t, tangent = _tan(alpha)
    jumps = size * (sin_u * weighted - cos_u * sine)
    depth = depth * np.asarray(np.log(2), dtype)
    if centred:
        pure = size * (sin_u * weighted + cos_u * (beta * tangent * cosine - sine))
        shifted = jnp.where(t == 0, jumps + dt * beta * z_t * depth * cosine, pure)
    else:
        growth = _ratio(jnp.expm1(np.asarray(np.log(2), dtype) * power), t, depth)  # (E - 1)/t
        bend = _ratio(2 * half_sine * half_sine, t, 0.0)  # (1 - cos(tU))/t
        shifted = jumps + dt * beta * z_t * (growth * cosine - bend)
    return jnp.clip(shifted, -_CAP, _CAP)


def _arch(p: Array, rest: Array, turn: Scalar) -> Array:
    """`h(p) = sin(pi turn p) / (2 sin(pi turn / 2))` for p on (0, 1), rest = 1 - p; p itself at
    turn = 0."""
    scaled = turn * p
    sine = sinpi(jnp.where(scaled > 0.5, (1 - turn) + turn * rest, scaled))
    return jnp.where(turn == 0, p, sine / jnp.where(turn == 0, 1, 2 * sinpi(turn / 2)))


class SkewedComponents(Driver):
    """d independent skewed stable coordinates of unit scale; jumps lie on the axes. See the top of
    the file.

    For alpha < 1 and skewness = 1 (S1) the coordinate only grows. Near alpha = 1, "S1" has a
    location of order `skewness / |alpha - 1|`, and loses as many digits.

    Args:
        alpha: stability index, in (0, 2].
        skewness: beta, one number or one a coordinate, shape `(d,)`, each in [-1, 1]: the share of
            upward jumps is `(1 + skewness)/2`. 0 is `StableComponents`; at alpha = 2 nothing is
            skewed and it must be 0.
        parameterization: "S1" (no drift of its own: the choice for escape problems, unless alpha is
            close to 1) or "S0" (continuous in alpha; drifts by `-skewness tan(pi alpha/2)` against
            S1). They are one and the same at alpha = 1.

    Raises:
        ValueError, TypeError: an index or skewness out of range, a skewness at alpha = 2, another
            parameterization; later, where skewness has another number of coordinates than the
            noise.

    Source:
        Nolan, "Univariate Stable Distributions", 2020, section 1.3; the sampler Chambers, Mallows,
        Stuck, JASA 71, 1976.
    """

    alpha: Array
    skewness: Array
    parameterization: str = eqx.field(static=True)

    def __init__(
        self,
        alpha: Arg[Number],
        skewness: Arg[Numbers],
        parameterization: Arg[Literal["S1", "S0"]] = "S1",
    ):
        self.alpha = errors.stability_index(alpha)
        self.skewness = errors.finite("skewness", skewness)
        if self.skewness.ndim > 1:
            raise ValueError(
                "skewness must be one number or one a coordinate, not of shape "
                f"{self.skewness.shape}. Type skewness=0.5."
            )
        if not errors.is_traced(self.skewness) and np.any(np.abs(np.asarray(skewness, float)) > 1):
            raise ValueError(
                f"skewness must lie in [-1, 1], not {skewness!r}. For example skewness=0.5; "
                "skewness=0 is symmetric."
            )
        self.parameterization = errors.choice("parameterization", parameterization, ("S1", "S0"))
        known = not (errors.is_traced(self.alpha) or errors.is_traced(self.skewness))
        if known and float(self.alpha) == 2 and np.any(np.asarray(self.skewness) != 0):
            raise ValueError(
                f"alpha = 2 is Gaussian and has no skewness, but skewness = {skewness!r}. Type "
                "skewness=0, or alpha below 2."
            )

    @property
    def index(self) -> Scalar:
        return self.alpha

    def words_per_step(self, dim: int) -> int:
        if self.skewness.shape not in ((), (dim,)):
            raise ValueError(
                f"skewness has shape {self.skewness.shape}, but the noise has {dim} "
                "coordinates. Give one number."
            )
        return 2 * dim

    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        return skewed_stable(
            words[:dim],
            words[dim:],
            self.alpha,
            self.skewness,
            dt,
            centred=self.parameterization == "S1",
        )

    def exponent(self, k: Point) -> Complex[Array, ""]:
        """`sum_i psi(k_i)`, see the top of the file."""
        size = jnp.abs(k)
        t = 1 - self.alpha
        log = jnp.log(jnp.where(size > 0, size, 1))
        times_t, tangent = _tan(self.alpha)
        # S0: tan(pi a/2) (k - |k|^a sign k) = t tan(pi a/2) sign(k) |k|^a (exp(t log|k|) - 1)/t
        twist = times_t * _ratio(jnp.expm1(t * log), t, log)
        if self.parameterization == "S1":
            twist = jnp.where(t == 0, twist, -tangent)
        real = jnp.where(size > 0, jnp.exp(self.alpha * log), 0)
        return jnp.sum(real) + 1j * jnp.sum(real * self.skewness * jnp.sign(k) * twist)

    def levy_rays(self, dim: int, num: int = 0, seed: int = 0) -> LevyRays:
        """The `2 dim` half-axes, weighted by `1 + skewness` upwards and `1 - skewness` downwards;
        `num`, `seed` not needed. The drift of "S0" is no part of the Lévy measure; it moves the
        noisy attractor by an amount of order epsilon."""
        self.words_per_step(dim)
        alpha = require_jumps(self)
        beta = np.asarray(self.skewness, dtype=float)
        tail = power_tail(alpha, levy_constant(alpha) / alpha)
        return component_rays(dim, tail, alpha, 1 + beta, 1 - beta)

    def traced_rays(self, dim: int, num: int = 0, seed: int = 0) -> TracedRays:
        alpha, beta = traced_index(self), self.skewness
        at_one = log_levy_constant(alpha) - jnp.log(alpha)
        return traced_components(dim, lambda r: at_one - alpha * jnp.log(r), 1 + beta, 1 - beta)
