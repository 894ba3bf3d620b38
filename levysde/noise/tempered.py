"""Exponentially tempered stable noise: the relativistic stable process.

Notation: a the stability index, m = 1/length, `E exp(i <k, L_t>) = exp(-t psi(k))`,

    psi(k) = (|k|^2 + m^2)^(a/2) - m^a        (isotropic; components: the sum of this over
                                              coordinates).

Jumps far below `length` are those of SaS(1) noise, those far above are cut exponentially,
`nu ~ exp(-m r)`; all moments are finite, the variance is `a m^(a-2) t` a coordinate. Carmona,
Masters, Simon, J. Funct. Anal. 91 (1990); Ryznar, Potential Analysis 17 (2002).

Sampler: `L_dt = sqrt(2V) G`, G normal, V the stable subordinator tempered by m^2, with the Laplace
transform `E exp(-s V) = exp(-dt ((s + m^2)^(a/2) - m^a))`. V has the density of the untempered V'
times `exp(dt m^a - m^2 v)`, so V' is drawn and kept with the chance `exp(-m^2 V')` (Brix, Adv.
Appl. Probab. 31, 1999), on average `exp(-dt m^a)`: near 1 for a small step. The number of tries is
fixed; where all fail, V is put at its mean `dt (a/2) m^(a-2)`, an ordinary value, so that no false
large jump arises. `check_step` keeps the chance of that, `(1 - exp(-dt m^a))^tries` a draw, below
1e-9: the law of a draw is exact up to that much in total variation.

Lévy measure: a mixture of normals, with
`nu(|y| > r) = int P(|N(0, 2s I)| > r) (a/2)/Gamma(1-a/2) s^(-1-a/2) exp(-m^2 s) ds`."""

import functools
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaincc, gammaln
from jaxtyping import Array, Float

from levysde import errors
from levysde.noise.rays import component_rays, isotropic_rays, traced_components, traced_isotropic
from levysde.noise.stable import log2_positive_stable, require_jumps, traced_index
from levysde.protocols import Driver, LevyRays, Point, Scalar, TracedRays, Words
from levysde.random import exp2, exponential, normals
from levysde.types import Arg, Integer, Number

EXHAUSTED = 1e-9  # largest chance, a draw, that all tries fail
_LOG2_CAP = 87.0  # log2, of the subordinator; kept draws are far below
# of the trapezoid rule in log s; doubling it moves a tail by 1e-14 relative at d = 100, by 5e-6 at
# d = 1000
_NODES = 513
_BLOCK = 2048  # radii at a time


def check_tries(name: str, failure: float, tries: int, dt: float, shorter: float) -> None:
    """Raises ValueError when `tries` draws that each fail with chance `failure` may all do so with
    more than `EXHAUSTED`."""
    if failure**tries <= EXHAUSTED:
        return
    needed = math.ceil(math.log(EXHAUSTED) / math.log(failure)) if failure < 0.5 else None
    more = (
        f"Type tries={needed} in {name}, or dt={shorter:.2g} or less."
        if needed
        else f"Type dt={shorter:.2g} or less."
    )
    raise ValueError(
        f"dt = {dt:g} is too long for {name}: a draw over it fails with chance {failure:.3g}, all "
        f"{tries} tries with {failure**tries:.1e}, above {EXHAUSTED:g}. {more}"
    )


def tempered_subordinator(
    words: Words, shape: tuple[int, ...], tries: int, alpha: Scalar, inverse: Scalar, dt: Scalar
) -> Float[Array, "..."]:
    """V over dt, of `shape`, from `3 tries prod(shape)` words; `inverse` is m."""
    dtype, rate = alpha.dtype, inverse * inverse
    blocks = words.reshape((tries, 3, *shape))
    kept = jnp.broadcast_to(dt * (alpha / 2) * inverse ** (alpha - 2), shape)
    for angle, tail, accept in blocks[::-1]:
        log2_v = log2_positive_stable(angle, tail, alpha / 2) + 2 / alpha * jnp.log2(dt)
        v = exp2(jnp.minimum(log2_v, _LOG2_CAP))
        kept = jnp.where(rate * v < exponential(accept, dtype), v, kept)
    return kept


def relativistic_exponent(square: Array, alpha: Scalar, inverse: Scalar) -> Array:
    """`(square + m^2)^(a/2) - m^a`, without cancellation."""
    return inverse**alpha * jnp.expm1(alpha / 2 * jnp.log1p(square / (inverse * inverse)))


def relativistic_tail(r: np.ndarray, alpha: float, length: float, dim: int) -> np.ndarray:
    """`nu(|y| > r)` of the isotropic noise in `dim` dimensions, any shape, per unit time; float64.

    With `s = (r length / 2) e^u` both ends of the integrand fall off double-exponentially in u, so
    the trapezoid rule converges faster than any power; 0 where it falls below 1e-300.
    """
    from scipy.special import gammaincc  # slow to import

    flat = np.maximum(np.asarray(r, dtype=float).ravel(), 1e-12 * length) / length
    out = np.empty(flat.shape)
    factor = alpha / 2 / math.gamma(1 - alpha / 2) * length**-alpha
    for start in range(0, len(flat), _BLOCK):
        x = flat[start : start + _BLOCK, None]
        reach = np.log(2 * (60 + 2 * x + dim) / x)
        u = np.linspace(-1, 1, _NODES) * reach
        s = x / 2 * np.exp(u)
        values = gammaincc(dim / 2, x * x / (4 * s)) * np.exp(-s) * s ** (-alpha / 2)
        out[start : start + _BLOCK] = factor * values.sum(1) * reach[:, 0] * 2 / (_NODES - 1)
    return out.reshape(np.shape(r))


def log_relativistic_tail(r: Array, alpha: Scalar, length: Scalar, dim: int) -> Array:
    """Logarithm of `relativistic_tail`, with numbers that JAX may trace; of shape `(m,)`."""
    x = r[:, None] / length
    reach = jnp.log(2 * (60 + 2 * x + dim) / x)
    s = x / 2 * jnp.exp(jnp.linspace(-1, 1, _NODES)[None] * reach)
    values = gammaincc(dim / 2, x * x / (4 * s)) * jnp.exp(-s) * s ** (-alpha / 2)
    factor = jnp.log(alpha / 2) - gammaln(1 - alpha / 2) - alpha * jnp.log(length)
    return factor + jnp.log(jnp.sum(values, 1) * reach[:, 0] * 2 / (_NODES - 1))


def _tail(alpha: float, length: float, dim: int, r: np.ndarray, _: np.ndarray) -> np.ndarray:
    return relativistic_tail(r, alpha, length, dim)


def _half_tail(alpha: float, length: float, r: np.ndarray, _: np.ndarray) -> np.ndarray:
    return relativistic_tail(r, alpha, length, 1) / 2


class _Tempered(Driver):
    """What the two laws share: `sqrt(2V) G`, with one V for each coordinate, or for all of them."""

    joint: ClassVar[bool]  # one for all

    alpha: Array
    length: Array
    tries: int = eqx.field(static=True)

    def __init__(self, alpha: Arg[Number], length: Arg[Number], tries: Arg[Integer] = 4):
        # plain numbers stay such inside jit, where `check_step` looks at them
        with jax.ensure_compile_time_eval():
            self.alpha = errors.stability_index(alpha)
            self.length = errors.positive("length", length)
        self.tries = errors.integer("tries", tries, "tries=4", high=64)

    @property
    def index(self) -> Scalar:
        return jnp.full_like(self.alpha, 2)  # finite variance

    def words_per_step(self, dim: int) -> int:
        return 3 * self.tries * (1 if self.joint else dim) + 2 * ((dim + 1) // 2)

    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        split, shape = 2 * ((dim + 1) // 2), (1 if self.joint else dim,)
        v = tempered_subordinator(words[split:], shape, self.tries, self.alpha, 1 / self.length, dt)
        return jnp.sqrt(2 * v) * normals(words[:split], dim, self.alpha.dtype)

    def exponent(self, k: Point) -> Scalar:
        square = jnp.sum(k * k) if self.joint else k * k
        return jnp.sum(relativistic_exponent(square, self.alpha, 1 / self.length))

    def levy_rays(self, dim: int, num: int = 256, seed: int = 0) -> LevyRays:
        """As those of the stable driver of the same directions."""
        alpha, length = require_jumps(self), float(self.length)
        if self.joint:
            tail = functools.partial(_tail, alpha, length, dim)
            return isotropic_rays(dim, num, seed, tail, math.nan)
        half = functools.partial(_half_tail, alpha, length)
        return component_rays(dim, half, math.nan)

    def traced_rays(self, dim: int, num: int = 256, seed: int = 0) -> TracedRays:
        alpha, length = traced_index(self), self.length
        if self.joint:
            return traced_isotropic(
                dim, num, seed, lambda r: log_relativistic_tail(r, alpha, length, dim)
            )
        return traced_components(
            dim, lambda r: log_relativistic_tail(r, alpha, length, 1) - np.log(2)
        )

    def check_step(self, dt: float) -> None:
        if errors.is_traced(self.alpha) or errors.is_traced(self.length):
            return
        unit = float(self.length) ** float(self.alpha)
        longest = -unit * math.log1p(-(EXHAUSTED ** (1 / self.tries)))
        check_tries(type(self).__name__, -math.expm1(-dt / unit), self.tries, dt, longest)


class TemperedComponents(_Tempered):
    """d independent tempered stable coordinates; jumps lie on the axes. See the top of the file.

    The escape law takes the real tail in place of a power: the rate is then no power of epsilon. It
    is good where the jump that leaves is not many lengths long; beyond, several jumps and the noise
    before them help, and escape is faster. Simulated over predicted mean (alpha = 1.5, curvature
    and radius 1): 0.96 at length 10, epsilon 0.05; 0.80 at 3, 0.1; 0.38 at 1, 0.2.

    Args:
        alpha: stability index of the small jumps, in (0, 2]; at 2 nothing is left to temper:
            Brownian motion of variance 2t.
        length: jump size beyond which jumps die out exponentially, in units of L.
        tries: draws a step and coordinate may take, 3 words each. 4 allow a dt up to
            `0.0056 length^alpha`, 6 up to 0.032.

    Raises:
        ValueError, TypeError: an argument out of range; later, a dt that needs more tries
            (`check_step`).

    Source:
        Carmona, Masters, Simon, J. Funct. Anal. 91, 1990; Ryznar, Potential Analysis 17, 2002; the
        sampler Brix, Adv. Appl. Probab. 31, 1999.
    """

    joint = False


class TemperedIsotropic(_Tempered):
    """Rotation-invariant tempered stable noise; jumps in every direction. See the top of the file.

    The escape law holds as it does for `TemperedComponents`.

    Args:
        alpha: stability index of the small jumps, in (0, 2]; at 2 nothing is left to temper:
            Brownian motion of variance 2t.
        length: jump size beyond which jumps die out exponentially, in units of L.
        tries: draws a step may take, 3 words each. 4 allow a dt up to `0.0056 length^alpha`, 6 up
            to 0.032.

    Raises:
        ValueError, TypeError: an argument out of range; later, a dt that needs more tries
            (`check_step`).

    Source:
        Carmona, Masters, Simon, J. Funct. Anal. 91, 1990; Ryznar, Potential Analysis 17, 2002; the
        sampler Brix, Adv. Appl. Probab. 31, 1999.
    """

    joint = True
