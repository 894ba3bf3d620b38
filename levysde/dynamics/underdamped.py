"""Underdamped Langevin dynamics: position and velocity, integrated by BAOAB.

    dX = V dt,    dV = -(grad F(X) + g V) dt + sqrt(2 g D) dW,

mass 1, friction g, temperature D: the stationary law is `exp(-(F(x) + |v|^2/2) / D)`. As g grows
with t/g kept, it tends to `Langevin` with the diffusion D and the clock t/g. A step over dt,
`xi = increment / sqrt(dt)` a unit draw, `c = exp(-g dt)`:

    B  v <- v - dt/2 grad F(x)
    A  x <- x + dt/2 v
    O  v <- c v + sqrt(D (1 - c^2)) xi      (exact)
    A, B again,

of weak order 2, two gradients a step; on a quadratic loss of curvature h the stationary
`<x^2> = D/h` is exact at any stable dt, and `<v^2> = D (1 - h dt^2/4)`.

SGD with momentum (`momentum.py`: rate b, gain G, S = 1) is the same equation in another clock: with
`t' = sqrt(b G) t`, `V = -m / sqrt(b G)`,

    friction g = sqrt(b / G),    temperature D = G epsilon^2 / 2.

Leimkuhler, Matthews, Appl. Math. Res. Express 2013 (BAOAB); J. Chem. Phys. 138 (2013), the
exactness on a quadratic.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from levysde import errors
from levysde.dynamics.gradient import check_parts
from levysde.dynamics.whole import WholeStep
from levysde.noise import Brownian, as_scale
from levysde.protocols import Driver, Landscape, NoiseVector, Point, Scalar, Scale
from levysde.types import Arg, Number


class UnderdampedState(NamedTuple):
    """Position and velocity, each `(d,)`."""

    x: Array
    v: Array


class Underdamped(WholeStep):
    """`dX = V dt, dV = -(grad F + g V) dt + sqrt(2 g D) dW` (see the head of this file).

    It starts at rest, V = 0. There is no escape law of jumps: the noise is Gaussian.

    Args:
        landscape: the loss F.
        diffusion: D, the temperature, positive, in units of the loss.
        friction: g, positive, per unit of time.

    Raises:
        ValueError, TypeError: a part of the wrong kind, or a number that is not positive and
            finite.

    Source:
        BAOAB: Leimkuhler, Matthews, Appl. Math. Res. Express 2013; J. Chem. Phys. 138, 2013.
    """

    landscape: Landscape
    driver: Driver
    epsilon: Array  # sqrt(2 g D)
    scale: Scale
    friction: Array

    def __init__(self, landscape: Arg[Landscape], *, diffusion: Arg[Number], friction: Arg[Number]):
        self.driver = Brownian()
        check_parts(landscape, self.driver)
        self.landscape = landscape
        self.friction = errors.positive("friction", friction)
        self.epsilon = jnp.sqrt(2 * self.friction * errors.positive("diffusion", diffusion))
        self.scale = as_scale(None, landscape.dim)

    def init(self, x0: Point) -> UnderdampedState:
        return UnderdampedState(x0, jnp.zeros_like(x0))

    def moving(self, x: Point) -> UnderdampedState:
        """At the speed of the temperature, `sqrt(D)`."""
        return UnderdampedState(x, jnp.full_like(x, 1) * self.epsilon / jnp.sqrt(2 * self.friction))

    def advance(
        self, state: UnderdampedState, dt: Scalar, increment: NoiseVector
    ) -> tuple[UnderdampedState, Point]:
        half, decay = dt / 2, self.friction * dt
        # all changes of v are summed before v is added, as those of x are
        change = -half * self.landscape.gradient(state.x)
        first = state.v + change
        noise = self.epsilon * self.scale.apply(increment, state.x + half * first)
        change = (
            change
            + jnp.expm1(-decay) * first
            + jnp.sqrt(-jnp.expm1(-2 * decay) / (2 * decay)) * noise
        )
        displacement = half * (first + (state.v + change))
        change = change - half * self.landscape.gradient(state.x + displacement)
        return UnderdampedState(state.x, state.v + change), displacement

    def position(self, state: UnderdampedState) -> Point:
        return state.x

    def move(self, state: UnderdampedState, x: Point) -> UnderdampedState:
        return state._replace(x=x)

    @property
    def attractor(self) -> Point:
        return self.landscape.minimum

    def jump(self, y: NoiseVector) -> Point:
        """`epsilon y / g`: how far a kick goes in all, where nothing pulls back."""
        return self.epsilon * self.scale.apply(y, self.attractor) / self.friction

    def linearisation(self) -> Float[Array, "d d"]:
        """`H / g`: the overdamped limit, the velocity following the gradient faster than x
        moves."""
        return self.landscape.hessian(self.attractor) / self.friction

    @property
    def response(self) -> str:
        return "flow"
