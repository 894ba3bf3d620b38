"""Euler-Maruyama: one explicit step of an SDE with the driver's increment over dt."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.kernels.fixed_step import FixedStep
from levysde.protocols import Dynamics, Point, State, Words
from levysde.types import Arg, Number


class EulerMaruyama(FixedStep):
    """The Euler-Maruyama scheme.

    Exits are looked for at the grid times only, so they are late by a bias that falls as
    `dt^(1/alpha)` for alpha > 1: see `EscapeLaw.skeleton_bias`, and for exits on time `Bridged`,
    `JumpAdapted` and `Shifted`.

    Args:
        dynamics: the SDE: any `Dynamics`.
        dt: the step, positive, in SDE time.

    Raises:
        ValueError, TypeError: something that is no `Dynamics`, a bad `dt`, or one over which the
            driver has no increments.

    Source:
        Maruyama, Rend. Circ. Mat. Palermo 4, 1955.
    """

    dynamics: Dynamics
    dt: Array

    def __init__(self, dynamics: Arg[Dynamics], dt: Arg[Number]):
        if not isinstance(dynamics, Dynamics):
            raise TypeError(
                f"dynamics must be a Dynamics, not {dynamics!r}. For example "
                "EulerMaruyama(SGD(well, StableComponents(alpha=1.5), epsilon=0.1), dt=1e-3)."
            )
        self.dynamics = dynamics
        self.dt = errors.positive("dt", dt)
        if not errors.is_traced(self.dt):
            dynamics.driver.check_step(float(np.asarray(dt)))

    @property
    def words_per_step(self) -> int:
        return self.dynamics.driver.words_per_step(self.dynamics.noise_dim)

    def init(self, x0: Point, words: Words) -> State:
        return self.dynamics.init(x0)

    def step(self, words: Words, state: State) -> State:
        increment = self.dynamics.driver.increment(words, self.dynamics.noise_dim, self.dt)
        return self.dynamics.step(state, self.dt, increment)

    def noiseless(self, state: State) -> State:
        return self.dynamics.step(state, self.dt, jnp.zeros(self.dynamics.noise_dim, self.dt.dtype))

    def position(self, state: State) -> Point:
        return self.dynamics.position(state)
