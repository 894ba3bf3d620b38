"""Compound Poisson noise: separate jumps of a custom law, at a rate per unit time.

Notation: lambda the intensity, mu = lambda dt, N ~ Poisson(mu) the number of jumps in a step, Y_1,
Y_2, ... independent jumps, `L_dt = Y_1 + ... + Y_N`, phi(k) = E exp(i <k, Y>),
`E exp(i <k, L_t>) = exp(-t psi(k))`:

    psi(k) = lambda (1 - phi(k)),        nu(B) = lambda P(Y in B)

Nothing is compensated: jumps of nonzero mean push. A step makes at most `max_jumps` of them;
`check_step` keeps the chance of more, P(N > max_jumps), below 1e-9, and what is beyond is left out.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaincc
from jaxtyping import Array

from levysde import errors
from levysde.noise.rays import isotropic_rays, traced_isotropic
from levysde.parts import Part, as_module, in_float64, own_arrays
from levysde.protocols import Driver, LevyRays, Point, Scalar, TracedRays, Words
from levysde.random import normals, unit_pair
from levysde.types import Arg, Integer, Number

_OVERFULL = 1e-9  # largest chance, a step, of more jumps than `max_jumps`
_EXTRA = 8  # terms of P(N >= j) beyond max_jumps


class GaussianJump(Part):
    """Normal jumps: `N(0, std^2 I)` in `dim` dimensions. A jump law for `CompoundPoisson`, and an
    example for writing others.

    Args:
        std: standard deviation of a coordinate, positive.
        dim: coordinates of a jump.

    Raises:
        ValueError, TypeError: a number out of range.

    Source:
        Elementary.
    """

    std: Array
    dim: int = eqx.field(static=True)

    def __init__(self, std: Arg[Number], dim: Arg[Integer] = 1):
        self.std = errors.positive("std", std)
        self.dim = errors.integer("dim", dim)

    @property
    def words_per_jump(self) -> int:
        """Random words that a jump consumes."""
        return 2 * ((self.dim + 1) // 2)

    def __call__(self, words: Words) -> Point:
        return self.std * normals(words, self.dim, self.std.dtype)

    def log_tail(self, r: Array) -> Array:
        """Logarithm of `P(|Y| > r)`; the direction of a jump is uniform."""
        return jnp.log(gammaincc(self.dim / 2, (r / self.std) ** 2 / 2))

    def characteristic(self, k: Point) -> Scalar:
        """`exp(-std^2 |k|^2 / 2)`, for k of shape `(dim,)`."""
        return jnp.exp(-self.std * self.std * jnp.sum(k * k) / 2)


class ParetoJump(Part):
    """Jumps of a uniform direction and a Pareto size: `P(|Y| > r) = (smallest_jump / r)^alpha` for
    `r >= smallest_jump`.

    A jump law for `CompoundPoisson`: with `intensity = T smallest_jump^-alpha` its jumps are those
    of stable noise beyond `smallest_jump`.

    Args:
        alpha: exponent of the tail, positive.
        smallest_jump: size of the smallest jump, positive.
        dim: coordinates of a jump.

    Raises:
        ValueError, TypeError: a number out of range.

    Source:
        Elementary.
    """

    alpha: Array
    smallest_jump: Array
    dim: int = eqx.field(static=True)

    def __init__(self, alpha: Arg[Number], smallest_jump: Arg[Number], dim: Arg[Integer] = 1):
        self.alpha = errors.positive("alpha", alpha)
        self.smallest_jump = errors.positive("smallest_jump", smallest_jump)
        self.dim = errors.integer("dim", dim)

    @property
    def words_per_jump(self) -> int:
        """Random words that a jump consumes."""
        return 1 + 2 * ((self.dim + 1) // 2)

    def log_tail(self, r: Array) -> Array:
        """Logarithm of `P(|Y| > r)`; the direction of a jump is uniform."""
        return self.alpha * jnp.minimum(jnp.log(self.smallest_jump / r), 0)

    def __call__(self, words: Words) -> Point:
        dtype = self.alpha.dtype
        direction = normals(words[1:], self.dim, dtype)
        direction = direction / jnp.sqrt(jnp.sum(direction * direction))
        uniform, _ = unit_pair(words[0], dtype)
        return (
            self.smallest_jump
            * jnp.exp(jnp.minimum(-jnp.log(uniform) / self.alpha, 60.0))
            * direction
        )


class CompoundPoisson(Driver):
    """Jumps of a given law at `intensity` per unit time. See the top of the file.

    The escape law of a jump with a `log_tail`, as `GaussianJump` and `ParetoJump` have, is exact up
    to the directions. Of other jumps, `num_rays` are drawn; its `rate_error` says how well they fix
    the rate, so ask for more when few jumps leave. It is no power of epsilon
    (`index` is 2, so `learning_rate` means `epsilon = sqrt(learning_rate)`). It counts single
    jumps: right where jumps are heavy-tailed, or rare against relaxation. Light and frequent ones
    leave together, and far sooner: Gaussian jumps in OU with curvature 1 at intensity 2, epsilon
    0.3 took 0.06 of the predicted mean, at intensity 0.01, epsilon 0.5 (d = 2) 0.97 of it.

    Args:
        intensity: expected number of jumps per unit time, positive.
        jump: `jump(words) -> (d,)`, one jump from its random words (`uint32`), written with
            jax.numpy (helpers in `levysde.random`): a plain function, or an `equinox.Module` such
            as `GaussianJump`, whose numbers may then be swept.
        words_per_jump: how many words a jump consumes; `jump.words_per_jump` by default.
        characteristic: `phi(k) -> complex or real number` of one jump, for `exponent`;
            `jump.characteristic` by default, where there is one.
        max_jumps: how many jumps a step can hold. 4 allow `intensity dt` up to 0.042, 2 up to
            0.0018.

    Raises:
        ValueError, TypeError: an argument out of range, a jump that does not give a real vector, a
            missing `words_per_jump`; later, a dt with too many jumps (`check_step`), or another
            number of coordinates than the noise has.

    Source:
        Elementary: a sum of a Poisson number of jumps.
    """

    intensity: Array
    jump: Callable
    words_per_jump: int = eqx.field(static=True)
    characteristic: Callable | None = eqx.field(static=True)
    max_jumps: int = eqx.field(static=True)

    def __init__(
        self,
        intensity: Arg[Number],
        jump: Arg[Callable[[Array], Array]],
        words_per_jump: Arg[Integer | None] = None,
        characteristic: Arg[Callable[..., Any] | None] = None,
        max_jumps: Arg[Integer] = 4,
    ):
        self.intensity = errors.positive("intensity", intensity)
        errors.function("jump", jump, "GaussianJump(std=1.0)")
        if words_per_jump is None:
            words_per_jump = getattr(jump, "words_per_jump", None)
        if words_per_jump is None:
            raise TypeError(
                "words_per_jump is missing: say how many random words a jump consumes, for example "
                "words_per_jump=2."
            )
        self.words_per_jump = errors.integer("words_per_jump", words_per_jump)
        self.max_jumps = errors.integer("max_jumps", max_jumps, high=64)
        self.jump = as_module(jump)
        _jump_dim(self.jump, self.words_per_jump)
        if characteristic is not None:
            errors.function("characteristic", characteristic, "lambda k: jnp.exp(-k @ k / 2)")
        self.characteristic = characteristic

    @property
    def index(self) -> Scalar:
        return jnp.full_like(self.intensity, 2)

    def words_per_step(self, dim: int) -> int:
        own = _jump_dim(self.jump, self.words_per_jump)
        if own != dim:
            raise ValueError(
                f"jump gives vectors of {own} coordinates, but the noise has {dim}. Make them one."
            )
        return 2 + self.max_jumps * self.words_per_jump

    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        # a uniform on (0, 1) with 64 bits below its leading one: P(N >= 1) may be 1e-8
        finer, _ = unit_pair(words[1], dt.dtype)
        v = (words[0].astype(dt.dtype) + finer) * np.asarray(2.0**-32, dt.dtype)
        chances = _at_least(self.intensity * dt, self.max_jumps)
        total = jnp.zeros(dim, dt.dtype)
        for i, chance in enumerate(chances):
            jump = self.jump(
                words[2 + i * self.words_per_jump : 2 + (i + 1) * self.words_per_jump]
            ).astype(dt.dtype)
            total = total + jnp.where(v < chance, jump, 0)
        return total

    def exponent(self, k: Point) -> Array:
        phi = self.characteristic or getattr(self.jump, "characteristic", None)
        if phi is None:
            raise ValueError(
                "the exponent of CompoundPoisson needs the characteristic function of a jump, and "
                "this jump has none. Type CompoundPoisson(..., characteristic=lambda k: ...)."
            )
        return self.intensity * (1 - own_arrays(phi)(k))

    def check_step(self, dt: float) -> None:
        from scipy.special import gammainc, gammaincinv  # slow to import

        if errors.is_traced(self.intensity):
            return
        mean, most = float(self.intensity) * dt, self.max_jumps + 1
        chance = float(gammainc(most, mean))
        if chance > _OVERFULL:
            longest = float(gammaincinv(most, _OVERFULL)) / float(self.intensity)
            raise ValueError(
                f"dt = {dt:g} holds {mean:.3g} jumps on average, and more than max_jumps = "
                f"{self.max_jumps} with chance {chance:.1e}, above {_OVERFULL:g}. Type "
                f"dt={longest:.2g} or less, or a larger max_jumps."
            )

    def levy_rays(self, dim: int, num: int, seed: int) -> LevyRays:
        """Exact for a jump of uniform direction with a `log_tail`. Else jumps drawn by quasi-random
        words, at least `num` of them (a power of two): each is a ray that carries its share of the
        intensity, at the jump's own size. Raises ValueError for a jump that is not finite."""
        from scipy.stats import qmc  # slow to import

        errors.concrete("CompoundPoisson", self)
        self.words_per_step(dim)
        if hasattr(self.jump, "log_tail"):
            beyond = functools.partial(_tail_of, self.jump)
            return isotropic_rays(dim, num, seed, beyond, math.nan, float(self.intensity))
        rng = np.random.default_rng(seed)
        power = max(1, math.ceil(math.log2(max(num, 2))))
        points = qmc.Sobol(self.words_per_jump, rng=rng).random_base2(power)
        # low bits, often used as signs, stay independent
        high = (points * 2.0**16).astype(np.uint32)
        words = jnp.asarray((high << 16) | rng.integers(0, 2**16, points.shape, dtype=np.uint32))
        jumps = np.asarray(jax.jit(jax.vmap(self.jump))(words), dtype=float)
        if not np.isfinite(jumps).all():
            raise ValueError(
                "jump gives values that are not finite. Cap them, for example with jnp.clip."
            )
        sizes = np.linalg.norm(jumps, axis=1)
        unit = jumps / np.where(sizes > 0, sizes, 1)[:, None]
        directions = np.where(sizes[:, None] > 0, unit, np.eye(dim)[0])
        weights = np.full(len(sizes), float(self.intensity) / len(sizes))
        tail = functools.partial(_size_tail, sizes)
        return LevyRays(directions, weights, tail, math.nan)

    def traced_rays(self, dim: int, num: int, seed: int) -> TracedRays:
        """Raises TypeError for a jump without `log_tail`: drawn jumps would have no derivatives."""
        self.words_per_step(dim)
        log_tail = getattr(self.jump, "log_tail", None)
        if log_tail is None:
            raise TypeError(
                f"the jump {errors.shown(self.jump)} has no `log_tail(r)`, the logarithm of "
                "P(|Y| > r) of jumps of uniform direction. Add it as GaussianJump has it, or use "
                "theory.escape_law, which draws jumps."
            )
        return traced_isotropic(dim, num, seed, lambda r: jnp.log(self.intensity) + log_tail(r))


def _size_tail(sizes: np.ndarray, r: np.ndarray, i: np.ndarray) -> np.ndarray:
    return (sizes[i] > np.asarray(r, dtype=float)).astype(float)


_log_tail = eqx.filter_jit(lambda jump, r: jump.log_tail(r))


def _tail_of(jump: Any, r: np.ndarray, _: np.ndarray) -> np.ndarray:
    """`P(|Y| > r)` in float64, as `LevyRays` has it."""
    flat = np.ravel(np.asarray(r, dtype=float))
    room = 1 << max(len(flat) - 1, 0).bit_length()  # few shapes, each compiled once
    with in_float64(jump) as precise:
        padded = jnp.asarray(np.concatenate([flat, np.ones(room - len(flat))]))
        return np.exp(np.asarray(_log_tail(precise, padded)))[: len(flat)].reshape(np.shape(r))


def _jump_dim(jump: Callable, words: int) -> int:
    """How many coordinates `jump` has, or a TypeError when it does not return a real vector."""
    example = f"a function of {words} words, or another words_per_jump than {words}"
    given = jax.ShapeDtypeStruct((words,), jnp.uint32)
    out = errors.outcome("jump(words)", jump, given, example=example)
    if len(getattr(out, "shape", ())) != 1 or not jnp.issubdtype(out.dtype, jnp.floating):
        raise TypeError(
            f"jump(words) must return a real vector of shape (d,), not {out}. Put a number in "
            "jnp.array([...])."
        )
    return out.shape[0]


def _at_least(mean: Scalar, most: int) -> list[Scalar]:
    """`P(N >= j)`, j = 1, ..., `most`, as sums of positive terms: right to the last digits however
    small."""
    terms = [jnp.exp(-mean)]
    for i in range(1, most + _EXTRA + 1):
        terms.append(terms[-1] * mean / i)
    return list(itertools.accumulate(terms[:0:-1]))[::-1][:most]
