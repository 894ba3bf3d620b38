"""What landscapes given by a formula for the loss share: derivatives by JAX."""

import jax
from jaxtyping import Array, Float

from levysde.protocols import Landscape, Point


class Smooth(Landscape):
    """A landscape whose gradient and Hessian are JAX's derivatives of `value`."""

    def gradient(self, x: Point) -> Point:
        # materialised: the pieces of a gradient that are put together (x[0] here, x[1:] there), fused into a step, would have
        # its draw computed for each, at up to five times the time of the step
        return jax.lax.optimization_barrier(jax.grad(self.value)(x))

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        return jax.hessian(self.value)(x)
