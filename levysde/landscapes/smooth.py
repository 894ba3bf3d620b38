"""What landscapes given by a formula for the loss share: derivatives by JAX."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from levysde.protocols import Landscape, Point

_FORWARD = 4  # dimensions up to which a gradient is taken coordinate by coordinate


def first_and_rest(first: Array, rest: Point) -> Point:
    """`rest` with its first coordinate replaced. Chosen and not stacked: a stack fused into a step
    takes four times the time of the step."""
    return jnp.where(jnp.arange(rest.shape[0]) == 0, first, rest)


def gradient_of(fn: Callable, x: Point) -> Point:
    """The gradient of `fn(x) -> scalar` in a form that XLA vectorises over lanes.

    Reverse mode puts a gradient together from padded pieces (x[0] here, x[1:] there) and sums over
    constants, which fused into a step cost up to ten times the step. In few dimensions forward mode
    has neither; in more, the gradient is materialised.
    """
    dim = x.shape[0]
    if dim > _FORWARD:
        return jax.lax.optimization_barrier(jax.grad(fn)(x))
    parts = [x[i] for i in range(dim)]

    def slope(i: int) -> Array:
        def along(part: Array) -> Array:
            return fn(jnp.stack([*parts[:i], part, *parts[i + 1 :]]))

        return jax.jvp(along, (parts[i],), (jnp.ones_like(parts[i]),))[1]

    total = jnp.broadcast_to(slope(0), (dim,))
    for i in range(1, dim):
        total = jnp.where(jnp.arange(dim) == i, slope(i), total)
    return total


class Smooth(Landscape):
    """A landscape whose gradient and Hessian are JAX's derivatives of `value`."""

    def gradient(self, x: Point) -> Point:
        return gradient_of(self.value, x)

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        return jax.hessian(self.value)(x)
