"""Euler-Maruyama: one explicit step of an SDE with the driver's increment over dt."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.errors import Checked
from levysde.protocols import Dynamics, Kernel, Point, State, Words


class EulerMaruyama(Kernel):
    """The Euler-Maruyama scheme, `dt` in SDE time.

    Exits are looked for at the grid times only, so they are late by a bias that falls as dt^(1/alpha) for alpha > 1;
    see `EscapeLaw.skeleton_bias`. Raises TypeError for something that is no `Dynamics`, ValueError for a bad `dt`.
    """

    dynamics: Dynamics
    dt: Array
    unit: str = eqx.field(static=True)

    def __init__(self, dynamics: Checked, dt: Checked):
        if not isinstance(dynamics, Dynamics):
            raise TypeError(
                f"dynamics must be a Dynamics, not {dynamics!r}. "
                "Type for example EulerMaruyama(SGD(well, StableComponents(alpha=1.5), epsilon=0.1), dt=1e-3)."
            )
        self.dynamics = dynamics
        self.dt = errors.positive("dt", dt, "dt=1e-3")
        if not errors.is_traced(self.dt):
            dynamics.driver.check_step(float(np.asarray(dt)))
        self.unit = "SDE time"

    @property
    def dim(self) -> int:
        return self.dynamics.landscape.dim

    @property
    def words_per_step(self) -> int:
        return self.dynamics.driver.words_per_step(self.dynamics.noise_dim)

    @property
    def words_per_init(self) -> int:
        return 0

    def init(self, x0: Point, words: Words) -> State:
        return self.dynamics.init(x0)

    def step(self, words: Words, state: State) -> State:
        increment = self.dynamics.driver.increment(words, self.dynamics.noise_dim, self.dt)
        return self.dynamics.step(state, self.dt, increment)

    def position(self, state: State) -> Point:
        return self.dynamics.position(state)

    def elapsed(self, state: Any, steps: Any) -> Any:
        return np.asarray(steps, np.float64) * float(self.dt)

    def steps_within(self, time: float) -> int:
        return max(1, math.ceil(time / float(self.dt) * (1 - 1e-6)))  # a clock rounded to float32 has not reached less

    def noise_directions(self) -> Float[Array, "m d"]:
        axes = jnp.eye(self.dynamics.noise_dim)
        jumps = jax.vmap(self.dynamics.jump)(axes)
        return jnp.concatenate([jumps, -jumps])
