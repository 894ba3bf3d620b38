"""Our drivers as paths of diffrax, for equations that its users write themselves.

This module is imported on first use of its name: diffrax is slow to import.
"""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from levysde import errors
from levysde.protocols import Driver, Point
from levysde.random import LAST_STEP, lane_words, split_uint64, trajectory_key
from levysde.types import Arg, Integer, Number, Seed

_OFF = 0.1  # of a step: how far rounding may carry a time off the grid


class LevyPath(diffrax.AbstractPath):
    """A path of `driver` in `dim` coordinates, known at the times 0, dt, 2 dt, ..., for
    `diffrax.ControlTerm`.

    Its increment over the i-th step is drawn from the words of (seed, trajectory, i), as in
    `simulate_paths`: diffrax's `Euler` with `dt0=dt` and this path makes the trajectory of that
    number of `EulerMaruyama`, up to rounding. Any Lévy noise has such a path, but where its
    coefficient depends on the position only schemes are right that take it before the step (Ito),
    as `diffrax.Euler`.

    A time further than a tenth of a step off the grid is an error at run time, so take `dt0=dt` and
    a `t1` that is a whole number of steps (diffrax stretches its steps to end at `t1`). In
    float32 the grid is resolved for some hundred thousand steps, in float64 without a practical
    limit.

    Args:
        driver: the law, for example `StableComponents(alpha=1.5)`.
        dim: number of coordinates.
        dt: the step, positive.
        seed: 0 to 2^64 - 1.
        trajectory: 0 to 2^64 - 1; a number that JAX traces (by `jax.vmap` over trajectories) 0 to
            2^32 - 1.

    Raises:
        ValueError, TypeError: arguments of another kind or out of range, a dt over which the driver
            has no increments.

    Source:
        This package: the engine's words as a path.
    """

    driver: Driver
    dt: Array
    key: Array  # of the trajectory; uint32, shape (2,)
    dim: int = eqx.field(static=True)

    def __init__(
        self,
        driver: Arg[Driver],
        dim: Arg[Integer],
        *,
        dt: Arg[Number],
        seed: Arg[Seed],
        trajectory: Arg[Integer | Array] = 0,
    ):
        self.driver = errors.instance("driver", driver, Driver, "StableComponents(alpha=1.5)")
        self.dim = errors.integer("dim", dim)
        self.dt = errors.positive("dt", dt)
        if not errors.is_traced(dt):  # self.dt is traced inside jit, where dt may be a number
            driver.check_step(float(np.asarray(dt)))
        self.key = _key(errors.seed(seed), trajectory)

    @property
    def t0(self) -> float:
        """0, where the path starts."""
        return 0.0

    @property
    def t1(self) -> Array:
        """The last time at which it is known, in units of time."""
        return self.dt * float(LAST_STEP + 1)

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Point:
        """The increment over (t0, t1], or the path at `t0`, which is 0 at time 0; shape `(dim,)`.
        Of any number of steps, one by one; times off the grid are an error at run time."""
        first, last = (0.0, t0) if t1 is None else (t0, t1)

        def add(i: Array, total: Point) -> Point:
            words = lane_words(self.key, i.astype(jnp.uint32), self.driver.words_per_step(self.dim))
            return total + self.driver.increment(words, self.dim, self.dt)

        start = jnp.zeros(self.dim, self.dt.dtype)
        return jax.lax.fori_loop(self._step(first), self._step(last), add, start)

    def _step(self, time: Any) -> Array:
        """The number of steps up to `time`."""
        steps = jax.lax.stop_gradient(time) / self.dt
        whole = jnp.round(steps)
        off = (jnp.abs(steps - whole) > _OFF) | (whole < 0) | (whole > float(LAST_STEP))
        whole = eqx.error_if(
            whole,
            off,
            "a LevyPath is known at multiples of its dt only. Take dt0=dt, and a t1 that is a "
            "whole number of steps.",
        )
        return whole.astype(jnp.uint32)


def _key(seed: int, trajectory: Arg[Integer | Array]) -> Array:
    if isinstance(trajectory, Tracer):
        if jnp.shape(trajectory) != () or not jnp.issubdtype(trajectory.dtype, jnp.integer):
            raise TypeError(
                f"trajectory must be one integer, not {trajectory}. Type jax.vmap over "
                "jnp.arange(100)."
            )
        words = jnp.stack([trajectory.astype(jnp.uint32), jnp.zeros((), jnp.uint32)])
    else:
        number = (
            trajectory.item()
            if isinstance(trajectory, np.ndarray | jax.Array) and trajectory.ndim == 0
            else trajectory
        )
        words = split_uint64(errors.integer("trajectory", number, low=0, high=2**64 - 1))
    return jnp.asarray(trajectory_key(split_uint64(seed)[:, None], words[:, None])[:, 0])
