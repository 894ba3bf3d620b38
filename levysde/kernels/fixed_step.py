"""What the kernels that step a `Dynamics` by a fixed dt have in common: the clock and what they are
made of."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde.dynamics import SGD, Langevin
from levysde.protocols import Dynamics, Kernel, Point, State
from levysde.types import Arg


class FixedStep(Kernel):
    """A kernel whose clock is the number of steps times `dt`, in SDE time."""

    dynamics: eqx.AbstractVar[Dynamics]
    dt: eqx.AbstractVar[Array]

    @property
    def unit(self) -> str:
        """SDE time."""
        return "SDE time"

    @property
    def dim(self) -> int:
        """d, the length of the position."""
        return self.dynamics.landscape.dim

    @property
    def words_per_init(self) -> int:
        """Random words that a start takes: none."""
        return 0

    def elapsed(self, state: Any, steps: Any) -> Any:
        return np.asarray(steps, np.float64) * float(self.dt)

    def steps_within(self, time: float) -> int:
        # a clock rounded to float32 has not reached less
        return max(1, math.ceil(time / float(self.dt) * (1 - 1e-6)))

    def settled(self, x: Point) -> State:
        return self.dynamics.settled(x)

    def noise_directions(self) -> Float[Array, "m d"]:
        axes = jnp.eye(self.dynamics.noise_dim)
        jumps = jax.vmap(self.dynamics.jump)(axes)
        return jnp.concatenate([jumps, -jumps])


def gradient_flow(kernel: str, dynamics: Arg[Dynamics]) -> SGD | Langevin:
    """`dynamics`, or a TypeError that names the kernel: it needs `d th = -grad F dt + noise` with
    the position as its state."""
    if not isinstance(dynamics, SGD | Langevin):
        kind = type(dynamics).__name__ if isinstance(dynamics, Dynamics) else repr(dynamics)
        raise TypeError(
            f"{kernel} steps a gradient flow, SGD(...) or Langevin(...), not {kind}. "
            "Any Dynamics can be stepped by EulerMaruyama(dynamics, dt=1e-3)."
        )
    return dynamics
