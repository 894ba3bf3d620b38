"""Kernels that step an SDE by a fixed dt, and two of them: Euler-Maruyama, one explicit step with
the driver's increment over dt, and the same with a tamed drift, for forces that grow faster than
linearly.

Tamed, with `g = grad F`, one step is

    x' = x - dt g(x) / (1 + dt |g(x)|) + epsilon S(x) dL

Hutzenthaler, Jentzen, Kloeden, Ann. Appl. Probab. 22 (2012). The drift moves a point by less than 1
in a step, so it cannot overshoot further each time, as Euler's does where `dt |g| > 2 |x|`: there
every moment of Euler's diverges as dt -> 0 (same authors, Proc. R. Soc. A 467, 2011). Where
`dt |g|` is small the two differ by `dt^2 |g| g` a step.
"""

import math
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.dynamics import FirstOrder
from levysde.protocols import Dynamics, Kernel, NoiseVector, Point, Scalar, State, Words
from levysde.types import Arg, Number


class Stepper(Kernel):
    """A kernel that steps a `Dynamics`, in SDE time."""

    dynamics: eqx.AbstractVar[Dynamics]
    dt: eqx.AbstractVar[Array]

    @property
    def unit(self) -> str:
        """SDE time."""
        return "SDE time"

    @property
    def dim(self) -> int:
        """d, the length of the position."""
        return self.dynamics.dim

    @property
    def words_per_init(self) -> int:
        return 0

    def noise_directions(self) -> Float[Array, "m d"]:
        axes = jnp.eye(self.dynamics.noise_dim)
        if not self.dynamics.has_attractor:  # then any direction of the space
            axes = jnp.eye(self.dim)
            return jnp.concatenate([axes, -axes])
        jumps = jax.vmap(self.dynamics.jump)(axes)
        return jnp.concatenate([jumps, -jumps])


class FixedStep(Stepper):
    """A stepper whose clock is the number of steps times `dt`."""

    @abstractmethod
    def advance(self, noise: Any, state: State) -> State:
        """The step with this noise, as `noise` makes it."""

    def noise(self, words: Words) -> Any:
        """The noise of a step from its random words; by default the driver's increment."""
        return self.dynamics.driver.increment(words, self.dynamics.noise_dim, self.dt)

    @property
    def still(self) -> Any:
        """The noise of a step without any."""
        return jnp.zeros(self.dynamics.noise_dim, self.dt.dtype)

    @property
    def words_per_step(self) -> int:
        return self.dynamics.driver.words_per_step(self.dynamics.noise_dim)

    def init(self, x0: Point, words: Words) -> State:
        return self.dynamics.init(x0)

    def step(self, words: Words, state: State) -> State:
        return self.advance(self.noise(words), state)

    def noiseless(self, state: State) -> State:
        return self.advance(self.still, state)

    def position(self, state: State) -> Point:
        return self.dynamics.position(state)

    def settled(self, x: Point) -> State:
        return self.dynamics.settled(x)

    def elapsed(self, state: Any, steps: Any) -> Any:
        return np.asarray(steps, np.float64) * float(self.dt)

    def steps_within(self, time: float) -> int:
        # a clock rounded to float32 has not reached less
        return max(1, math.ceil(time / float(self.dt) * (1 - 1e-6)))


class EulerMaruyama(FixedStep):
    """The Euler-Maruyama scheme.

    Exits are detected at the grid times only. The discretisation bias of the escape time falls as
    `dt^(1/alpha)` for alpha > 1, see `EscapeLaw.skeleton_bias`; `Bridged`, `JumpAdapted` and
    `Shifted` reduce it.

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
        example = "EulerMaruyama(SGD(well, StableComponents(alpha=1.5), epsilon=0.1), dt=1e-3)"
        self.dynamics = errors.instance("dynamics", dynamics, Dynamics, example)
        self.dt = _checked_dt(dynamics, dt)

    def advance(self, noise: NoiseVector, state: State) -> State:
        return self.dynamics.step(state, self.dt, noise)


class TamedEuler(FixedStep):
    """The tamed Euler scheme for an equation of first order with any driver and scale.

    Weak order 1, as Euler-Maruyama, and stable where that explodes: F growing faster than `|x|^2`,
    far starts, heavy tails. After a jump of length r it needs about r steps to come back, whatever
    dt is, where the true flow comes back within a time of order 1: far out, only times much longer
    than `r dt` are to be trusted.

    Args:
        dynamics: `SGD`, `Langevin` or `SDE`.
        dt: the step, positive, in SDE time.

    Raises:
        ValueError, TypeError: other dynamics, a bad `dt`, or one over which the driver has no
            increments.

    Source:
        Hutzenthaler, Jentzen, Kloeden, Ann. Appl. Probab. 22, 2012.
    """

    dynamics: FirstOrder
    dt: Array

    def __init__(self, dynamics: Arg[Dynamics], dt: Arg[Number]):
        self.dynamics = first_order("TamedEuler", dynamics)
        self.dt = _checked_dt(self.dynamics, dt)

    def advance(self, noise: NoiseVector, state: Point) -> Point:
        drift = tamed(self.dynamics.force(state), self.dt)
        return state + (self.dynamics.kick(noise, state) - drift)


def _checked_dt(dynamics: Dynamics, dt: Arg[Number]) -> Array:
    length = errors.positive("dt", dt)
    if not errors.is_traced(dt):  # length is traced inside jit, where dt may be a number
        dynamics.driver.check_step(float(np.asarray(dt)))
    return length


def first_order(kernel: str, dynamics: Arg[Dynamics]) -> FirstOrder:
    """`dynamics`, or a TypeError that names the kernel: it needs `dx = b(x) dt + noise` with the
    position as its state."""
    if not isinstance(dynamics, FirstOrder):
        kind = type(dynamics).__name__ if isinstance(dynamics, Dynamics) else repr(dynamics)
        raise TypeError(
            f"{kernel} steps an equation of first order, SGD(...), Langevin(...) or SDE(...), not "
            f"{kind}. "
            "Any Dynamics can be stepped by EulerMaruyama(dynamics, dt=1e-3)."
        )
    return dynamics


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
