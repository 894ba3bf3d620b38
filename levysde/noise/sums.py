"""Independent drivers added, each times a factor: Brownian plus stable noise, several tails at
once.

L = sum_j c_j L_j,   exponent(k) = sum_j exponent_j(c_j k),   nu(W) = sum_j nu_j({y : c_j y in W})
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.protocols import Driver, LevyRays, Point, Scalar, TracedRays, Words
from levysde.types import Arg, Number

_EXAMPLE = "DriverSum((Brownian(), 0.5), StableComponents(alpha=1.5))"


class DriverSum(Driver):
    """The sum of independent drivers: `L = sum_j c_j L_j`.

    Args:
        parts: drivers, or pairs `(driver, factor)`; the factor, finite and not zero, multiplies the
            driver's noise (1 when not given).

    Raises:
        ValueError, TypeError: a part of another kind, no part, or a factor out of range.

    Source:
        Elementary: exponents and Lévy measures of independent processes add.
    """

    drivers: tuple[Driver, ...]
    factors: tuple[Array, ...]

    def __init__(self, *parts: Arg[Driver | tuple[Driver, Number]]):
        if not parts:
            raise ValueError(f"a sum needs at least one driver. For example {_EXAMPLE}.")
        pairs = [_pair(number, part) for number, part in enumerate(parts)]
        self.drivers, self.factors = (tuple(part) for part in zip(*pairs, strict=True))

    def _arguments(self) -> dict[str, tuple]:
        return {"parts": tuple(zip(self.drivers, self.factors, strict=True))}

    @property
    def index(self) -> Scalar:
        """The common index of the parts. Raises ValueError where they have several: one step of dt
        = eta would need another epsilon for each of them."""
        indices = [driver.index for driver in self.drivers]
        known = {float(index) for index in indices if not errors.is_traced(index)}
        if len(known) > 1:
            several = ", ".join(f"{index:g}" for index in sorted(known))
            raise ValueError(
                f"the drivers of this DriverSum have the indices {several}: no epsilon = "
                "eta^((a-1)/a) turns a step of dt = eta into one optimiser step for all of them. "
                "Give epsilon itself instead of learning_rate (and rates to ADAM), and let the "
                "factors carry the rest: eta^(1 - 1/a) / epsilon for a part of index a."
            )
        return indices[0]

    def words_per_step(self, dim: int) -> int:
        return sum(driver.words_per_step(dim) for driver in self.drivers)

    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        moves, used = [], 0
        for driver, factor in zip(self.drivers, self.factors, strict=True):
            count = driver.words_per_step(dim)
            moves.append(factor * driver.increment(words[used : used + count], dim, dt))
            used += count
        return functools.reduce(jnp.add, moves)

    def exponent(self, k: Point) -> Array:
        pairs = zip(self.drivers, self.factors, strict=True)
        return functools.reduce(jnp.add, [driver.exponent(factor * k) for driver, factor in pairs])

    def levy_rays(self, dim: int, num: int, seed: int) -> LevyRays:
        """The rays of every part that has a Lévy measure, about `num` for each; parts without one
        are passed over (at small noise they make no escape). Raises ValueError when no part has
        one."""
        errors.concrete("DriverSum", self)
        parts = self._jumping(seed, lambda driver, own: driver.levy_rays(dim, num, own))
        found = [(rays, float(factor)) for rays, factor in parts]
        indices = {rays.index for rays, _ in found}
        return LevyRays(
            np.concatenate([np.sign(factor) * rays.directions for rays, factor in found]),
            np.concatenate([rays.weights for rays, _ in found]),
            _joined_tail(found),
            indices.pop() if len(indices) == 1 else float("nan"),
        )

    def traced_rays(self, dim: int, num: int, seed: int) -> TracedRays:
        found = self._jumping(seed, lambda driver, own: driver.traced_rays(dim, num, own))
        ends = np.cumsum([len(rays.weights) for rays, _ in found])[:-1]

        def log_tail(r: Array) -> Array:
            parts = zip(found, jnp.split(r, ends), strict=True)
            return jnp.concatenate([rays.log_tail(mine / jnp.abs(c)) for (rays, c), mine in parts])

        return TracedRays(
            np.concatenate([rays.directions for rays, _ in found]),
            jnp.concatenate([_turned(rays.weights, factor) for rays, factor in found]),
            log_tail,
        )

    def _jumping(self, seed: int, rays_of: Callable[[Driver, int], Any]) -> list[tuple[Any, Array]]:
        """Rays and factor of every part that has a Lévy measure, each with a seed of its own."""
        seeds = np.random.SeedSequence(seed).generate_state(len(self.drivers)).tolist()
        found, refusals = [], []
        for driver, factor, own in zip(self.drivers, self.factors, seeds, strict=True):
            try:
                found.append((rays_of(driver, own), factor))
            except ValueError as error:
                refusals.append(f"{type(driver).__name__}: {error}")
        if not found:
            raise ValueError(
                "no driver of this DriverSum has an escape law of jumps. " + " ".join(refusals)
            )
        return found

    def check_step(self, dt: float) -> None:
        for driver in self.drivers:
            driver.check_step(dt)


def _turned(weights: Array, factor: Array) -> Array:
    """The weights of rays of `traced_rays` times a factor: those of the opposite directions where
    it is negative."""
    return jnp.where(factor > 0, weights, jnp.roll(weights, len(weights) // 2))


def _pair(number: int, part: Any) -> tuple[Driver, Array]:
    driver, factor = part if isinstance(part, tuple | list) and len(part) == 2 else (part, 1.0)
    if not isinstance(driver, Driver):
        raise TypeError(
            f"parts[{number}] of a DriverSum must be a Driver or a pair (driver, factor), not "
            f"{errors.shown(part)}. For example {_EXAMPLE}."
        )
    factor = errors.finite(f"the factor of parts[{number}]", factor, "(Brownian(), 0.5)", ())
    if not errors.is_traced(factor) and float(factor) == 0:
        raise ValueError(
            f"the factor of parts[{number}] ({type(driver).__name__}) is zero. Leave the part out "
            "instead."
        )
    return driver, factor


def _joined_tail(parts: list[tuple[LevyRays, float]]):
    """`tail(r, i)` of rays numbered through all parts: under a factor c a ray reaches r where the
    part's own reaches r/|c|."""
    return functools.partial(_tail_of_parts, parts)


def _tail_of_parts(parts: list[tuple[LevyRays, float]], r: np.ndarray, i: np.ndarray) -> np.ndarray:
    ends = np.cumsum([len(rays.weights) for rays, _ in parts])
    r, i = np.broadcast_arrays(np.asarray(r, dtype=float), i)
    mass, start = np.empty(r.shape), 0
    for (rays, factor), end in zip(parts, ends, strict=True):
        mine = (i >= start) & (i < end)
        mass[mine] = rays.tail(r[mine] / abs(factor), i[mine] - start)
        start = end
    return mass
