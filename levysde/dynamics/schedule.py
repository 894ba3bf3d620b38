"""A learning rate that changes in time: every step's displacement, drift and noise alike, times
`u(t)`.

For SGD, `d th = u(t) (-grad F(th) dt + eps S dL)`. The learning rate at time t is `u(t)` times the
base dynamics' eta, and the averages of an optimiser with memory are not affected: what
`optax.scale_by_schedule` and a schedule given as `learning_rate` do (after the momentum, after
ADAM's preconditioner, after ADAMW's decay).
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from levysde import errors
from levysde.dynamics.gradient import WholeStep
from levysde.parts import own_arrays
from levysde.protocols import Driver, Dynamics, NoiseVector, Point, Scalar, Scale, State
from levysde.types import Arg, Number


class ScheduledState(NamedTuple):
    """State of the base dynamics, steps made."""

    base: State
    count: Array


class Scheduled(WholeStep):
    """`dynamics` with every displacement multiplied by a schedule (see the top of this file).

    A rate of escape exists for a constant only: `escape_law` of another schedule raises ValueError.

    Args:
        dynamics: the base.
        schedule: u: a number (constant), or a function written with jax.numpy of one number,
            returning one number. Its own numbers are part of the program: another schedule compiles
            anew.
        clock: what the function takes: "time", the SDE time at the start of the step; or "steps",
            the number of steps made, from 0, as an optax schedule does. A schedule of absolute
            learning rates belongs to a base with eta = 1, or is divided by eta.

    Raises:
        ValueError, TypeError: something that is no `Dynamics`, or is scheduled already; a schedule
            that is neither a positive number nor such a function; an unknown clock.

    Source:
        Elementary: what `optax.scale_by_schedule` does to an update.
    """

    dynamics: Dynamics
    factor: Array | None  # of a constant schedule
    schedule: Callable | None = eqx.field(static=True)
    clock: str = eqx.field(static=True)

    def __init__(
        self,
        dynamics: Arg[Dynamics],
        schedule: Arg[Number],
        *,
        clock: Arg[Literal["time", "steps"]] = "time",
    ):
        self.dynamics = errors.instance(
            "dynamics",
            dynamics,
            Dynamics,
            "Scheduled(SGD(well, StableComponents(alpha=1.5), learning_rate=0.1), "
            "lambda t: 1 / (1 + t))",
        )
        if isinstance(dynamics, Scheduled):
            raise TypeError(
                "dynamics is Scheduled already. Give one schedule, the product of the two."
            )
        self.clock = errors.choice("clock", clock, ("time", "steps"))
        self.factor, self.schedule = None, None
        if not callable(schedule):
            self.factor = errors.positive("schedule", schedule)
            return
        self.schedule = schedule
        at = jax.ShapeDtypeStruct((), jnp.int32 if clock == "steps" else jnp.zeros(0).dtype)
        what = "one real number for one number"
        errors.outcome("schedule", schedule, at, example="lambda t: 1 / (1 + t)", what=what)

    @property
    def dim(self) -> int:
        """d, the length of the position."""
        return self.dynamics.dim

    @property
    def has_attractor(self) -> bool:
        return self.dynamics.has_attractor

    def force(self, x: Point) -> Point:
        return self.dynamics.force(x)

    @property
    def driver(self) -> Driver:
        """The law of L of the base."""
        return self.dynamics.driver

    @property
    def epsilon(self) -> Array:
        """The noise amplitude of the base."""
        return self.dynamics.epsilon

    @property
    def scale(self) -> Scale:
        """S of the base."""
        return self.dynamics.scale

    def init(self, x0: Point) -> ScheduledState:
        return ScheduledState(self.dynamics.init(x0), jnp.zeros((), jnp.uint32))

    def settled(self, x: Point) -> ScheduledState:
        return ScheduledState(self.dynamics.settled(x), jnp.zeros((), jnp.uint32))

    def moving(self, x: Point) -> ScheduledState:
        return ScheduledState(self.dynamics.moving(x), jnp.zeros((), jnp.uint32))

    def advance(
        self, state: ScheduledState, dt: Scalar, increment: NoiseVector
    ) -> tuple[ScheduledState, Point]:
        dynamics = self.dynamics
        if isinstance(dynamics, WholeStep):
            base, displacement = dynamics.advance(state.base, dt, increment)
        else:  # a custom class, whose displacement has been rounded
            base = dynamics.step(state.base, dt, increment)
            displacement = dynamics.position(base) - dynamics.position(state.base)
        new = ScheduledState(base, state.count + jnp.uint32(1))
        return new, self._factor(state.count, dt) * displacement

    def position(self, state: ScheduledState) -> Point:
        return self.dynamics.position(state.base)

    def move(self, state: ScheduledState, x: Point) -> ScheduledState:
        return state._replace(base=self.dynamics.move(state.base, x))

    @property
    def attractor(self) -> Point:
        return self.dynamics.attractor

    def jump(self, y: NoiseVector) -> Point:
        """That of the base, times the constant or the schedule's value at the start."""
        return self._start * self.dynamics.jump(y)

    def linearisation(self) -> Float[Array, "d d"]:
        """That of the base, times the constant or the schedule's value at the start."""
        return self._start * self.dynamics.linearisation()

    @property
    def response(self) -> str:
        """Raises ValueError unless the schedule is a constant."""
        if self.factor is None:
            raise ValueError(
                "a schedule changes the noise in time, so there is no one rate of escape and no "
                "escape law. Give a constant schedule, for example Scheduled(dynamics, 0.5), or "
                "the law of the base dynamics at one learning rate."
            )
        return self.dynamics.response

    @property
    def _start(self) -> Array:
        return self._factor(jnp.zeros((), jnp.uint32), jnp.zeros_like(self.epsilon))

    def _factor(self, count: Array, dt: Scalar) -> Array:
        if self.factor is not None or self.schedule is None:
            return jnp.asarray(self.factor)
        at = count.astype(jnp.int32) if self.clock == "steps" else count.astype(dt.dtype) * dt
        return jnp.asarray(own_arrays(self.schedule)(at), dt.dtype)
