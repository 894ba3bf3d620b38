"""Eq. 5 as its supplement reads it: v follows a minibatch gradient that is independent of the noise
on the position.

    d th = -mu Q^-1 m dt + eps Q^-1 S dL,    d m = b1 (grad F - m) dt,    d v = b2 (g^2 - v) dt,
                                             g = grad F - S xi,

xi stable as the increments of L are, and independent of them (supplement, A.2: the two sources of
randomness "actually do not depend on each other"). The driver has two coordinates for each
parameter: the first half is L, the second xi.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from levysde.dynamics import Adam
from levysde.protocols import Driver, Dynamics, Landscape, NoiseVector, Point, Scalar, Scale


class IndependentSquare(Dynamics):
    """Eq. 5 with an independent minibatch gradient in v.

    Args:
        landscape: the loss F.
        driver: the law of L.
        learning_rate: eta, positive.
        scale: S, as for `levysde.Adam`.
        delta: added to `sqrt(v)`, positive, in units of the gradient.

    Raises:
        ValueError, TypeError: as `levysde.Adam`.
    """

    landscape: Landscape
    driver: Driver
    epsilon: Array
    scale: Scale
    adam: Adam = eqx.field(repr=False)

    def __init__(
        self,
        landscape: Any,
        driver: Any,
        *,
        learning_rate: Any,
        scale: Any = None,
        delta: Any = 1e-8,
    ):
        self.adam = Adam(
            landscape,
            driver,
            learning_rate=learning_rate,
            scale=scale,
            delta=delta,
            square="sampled",
            bias_correction=True,
        )
        self.landscape, self.driver, self.epsilon = (
            self.adam.landscape,
            self.adam.driver,
            self.adam.epsilon,
        )
        self.scale = self.adam.scale

    @property
    def dim(self) -> int:
        return self.landscape.dim

    def force(self, x: Point) -> Point:
        return self.landscape.gradient(x)

    def init(self, x0: Point):
        return self.adam.init(x0)

    def step(self, state, dt: Scalar, increment: NoiseVector):
        kick, other = jnp.split(increment, 2)
        rates, gradient = self.adam.rates, self.landscape.gradient(state.x)
        square = (gradient - self.epsilon * self.scale.apply(other, state.x) / dt) ** 2
        gain, count = -jnp.expm1(-rates * dt), state.count + jnp.uint32(1)
        m = state.m + gain[0] * (gradient - state.m)
        v = state.v + gain[1] * (jnp.minimum(square, jnp.finfo(square.dtype).max) - state.v)
        mu, omega = -1 / jnp.expm1(-rates * dt * count.astype(dt.dtype))
        push = self.epsilon * self.scale.apply(kick, state.x) - dt * mu * m
        return type(state)(state.x + push / (jnp.sqrt(omega * v) + self.adam.delta), m, v, count)

    def position(self, state) -> Point:
        return state.x

    def move(self, state, x: Point):
        return state._replace(x=x)

    @property
    def attractor(self) -> Point:
        return self.adam.attractor

    def jump(self, y: NoiseVector) -> Point:
        return self.adam.jump(jnp.split(y, 2)[0])

    def linearisation(self) -> Float[Array, "d d"]:
        return self.adam.linearisation()

    @property
    def response(self) -> str:
        """Raises ValueError: v rests on sampled noise, so there is no escape law."""
        return self.adam.response

    @property
    def noise_dim(self) -> int:
        return 2 * self.adam.noise_dim
