"""Euler-Maruyama with a tamed drift, for forces that grow faster than linearly.

With `g = grad F`, one step is

    x' = x - dt g(x) / (1 + dt |g(x)|) + epsilon S(x) dL

Hutzenthaler, Jentzen, Kloeden, Ann. Appl. Probab. 22 (2012). The drift moves a point by less than 1
in a step, so it cannot overshoot further each time, as Euler's does where `dt |g| > 2 |x|`: there
every moment of Euler's diverges as dt -> 0 (same authors, Proc. R. Soc. A 467, 2011). Where
`dt |g|` is small the two differ by `dt^2 |g| g` a step."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.dynamics import SGD, Langevin
from levysde.kernels.fixed_step import FixedStep, gradient_flow
from levysde.protocols import NoiseVector, Point, Scalar, State, Words
from levysde.types import Arg, Number

if TYPE_CHECKING:
    from levysde.protocols import Dynamics


class TamedEuler(FixedStep):
    """The tamed Euler scheme for a gradient flow with any driver and scale.

    Weak order 1, as Euler-Maruyama, and stable where that explodes: F growing faster than `|x|^2`,
    far starts, heavy tails. After a jump of length r it needs about r steps to come back, whatever
    dt is, where the true flow comes back within a time of order 1: far out, only times much longer
    than `r dt` are to be trusted.

    Args:
        dynamics: `SGD` or `Langevin`.
        dt: the step, positive, in SDE time.

    Raises:
        ValueError, TypeError: other dynamics, a bad `dt`, or one over which the driver has no
            increments.

    Source:
        Hutzenthaler, Jentzen, Kloeden, Ann. Appl. Probab. 22, 2012.
    """

    dynamics: SGD | Langevin
    dt: Array

    def __init__(self, dynamics: Arg["Dynamics"], dt: Arg[Number]):
        self.dynamics = gradient_flow("TamedEuler", dynamics)
        self.dt = errors.positive("dt", dt, "dt=1e-2")
        if not errors.is_traced(self.dt):
            self.dynamics.driver.check_step(float(np.asarray(dt)))

    @property
    def words_per_step(self) -> int:
        return self.dynamics.driver.words_per_step(self.dynamics.noise_dim)

    def init(self, x0: Point, words: Words) -> State:
        return self.dynamics.init(x0)

    def step(self, words: Words, state: Point) -> Point:
        return self.advance(
            self.dynamics.driver.increment(words, self.dynamics.noise_dim, self.dt), state
        )

    def noiseless(self, state: Point) -> Point:
        return self.advance(jnp.zeros(self.dynamics.noise_dim, state.dtype), state)

    def position(self, state: Point) -> Point:
        return state

    def advance(self, increment: NoiseVector, x: Point) -> Point:
        """The step with this increment of the driver."""
        return x + (
            self.dynamics.kick(increment, x) - tamed(self.dynamics.landscape.gradient(x), self.dt)
        )


def tamed(gradient: Point, dt: Scalar) -> Point:
    """`dt g / (1 + dt |g|)`."""
    # a jump of 1e30 makes a force beyond the float range: held to where its square is finite, it
    # still points the way back
    most = jnp.asarray(
        0.5 * float(jnp.finfo(gradient.dtype).max) ** 0.5 / gradient.shape[0] ** 0.5, gradient.dtype
    )
    force = jnp.clip(gradient, -most, most)
    square = jnp.sum(force * force)
    # with a derivative at 0, too
    length = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    return dt * force / (1 + dt * length)
