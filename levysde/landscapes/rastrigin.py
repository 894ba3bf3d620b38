"""The Rastrigin function."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.errors import Checked
from levysde.protocols import Landscape, Point, Scalar

_TURN = 2 * math.pi


class Rastrigin(Landscape):
    """`F(x) = sum_i (x_i^2 + amplitude (1 - cos(2 pi x_i)))`: a bowl full of wells near the points with whole coordinates.

    The marked minimum is the global one, the origin, with loss 0 and Hessian `(2 + 4 pi^2 amplitude) I`.

    Args:
        dim: the dimension `d`.
        amplitude: of the ripples, in units of the loss, at least 1 (the wells beside the origin vanish below 0.24).

    Raises TypeError or ValueError for an argument outside its range.

    Source: Rastrigin, Systems of extremal control (1974); in any dimension: Muehlenbein, Schomisch, Born, Parallel
    Computing 17 (1991) 619.
    """

    amplitude: Array
    dim: int = eqx.field(static=True)

    def __init__(self, dim: Checked = 2, *, amplitude: Checked = 10.0):
        self.dim = errors.integer("dim", dim, "dim=2")
        self.amplitude = errors.positive("amplitude", amplitude, "amplitude=10.0")
        if not errors.is_traced(self.amplitude) and float(self.amplitude) < 1:
            raise ValueError(
                f"amplitude must be at least 1, not {amplitude!r}: the wells beside the origin would vanish. "
                "Type for example amplitude=10.0."
            )

    @property
    def minimum(self) -> Point:
        return jnp.zeros(self.dim, self.amplitude.dtype)

    @property
    def minima(self) -> Float[Array, "n d"]:
        """The origin, then its `2 d` nearest neighbours along the axes (`+e_0, ..., -e_0, ...`); there are many more."""
        return jnp.concatenate([self.minimum[None], self._both_ways(1.0)])

    @property
    def saddles(self) -> Float[Array, "m d"]:
        """The `2 d` saddles between the origin and those neighbours, in their order."""
        return self._both_ways(0.5)

    def value(self, x: Point) -> Scalar:
        return jnp.sum(x * x + 2 * self.amplitude * jnp.sin(_TURN / 2 * x) ** 2)

    def gradient(self, x: Point) -> Point:
        return 2 * x + _TURN * self.amplitude * jnp.sin(_TURN * x)

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        return jnp.diag(2 + _TURN**2 * self.amplitude * jnp.cos(_TURN * x))

    def _both_ways(self, near: float) -> Array:
        axes = self._stationary(near) * jnp.asarray(np.eye(self.dim), self.amplitude.dtype)
        return jnp.concatenate([axes, -axes])

    def _stationary(self, near: float) -> Scalar:
        """The stationary coordinate next to `near`, by Newton's method."""
        x = jnp.asarray(near, self.amplitude.dtype)
        for _ in range(8):
            slope = x + _TURN / 2 * self.amplitude * jnp.sin(_TURN * x)
            x = x - slope / (1 + _TURN**2 / 2 * self.amplitude * jnp.cos(_TURN * x))
        return x
