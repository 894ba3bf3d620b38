"""Wells with two minima."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from levysde import errors
from levysde.landscapes.smooth import first_and_rest
from levysde.protocols import Landscape, Point, Scalar
from levysde.types import Arg, Integer, Number


class DoubleWell(Landscape):
    """`F(x) = barrier ((x_0 / distance)^2 - 1)^2 + stiffness x_1^2 / 2`, in one or two dimensions.

    Minima at `x_0 = -distance` (the marked one) and `+distance`, a saddle of height `barrier` at
    the origin. Curvature at a minimum: `8 barrier / distance^2`; at the saddle
    `-4 barrier / distance^2`.

    Args:
        barrier: height of the saddle over the minima, positive.
        distance: distance of a minimum from the saddle, positive.
        stiffness: curvature across, positive; without meaning in one dimension.
        dim: d, 1 or 2.

    Raises:
        ValueError, TypeError: an argument out of range.

    Source:
        Elementary: the quartic double well.
    """

    barrier: Array
    distance: Array
    stiffness: Array
    dim: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        barrier: Arg[Number] = 1.0,
        distance: Arg[Number] = 1.0,
        stiffness: Arg[Number] = 1.0,
        dim: Arg[Integer] = 1,
    ):
        self.barrier = errors.positive("barrier", barrier)
        self.distance = errors.positive("distance", distance)
        self.stiffness = errors.positive("stiffness", stiffness)
        self.dim = errors.integer("dim", dim, "dim=1", high=2)

    @property
    def minimum(self) -> Point:
        """The left one, shape `(d,)`."""
        return self.minima[0]

    @property
    def minima(self) -> Float[Array, "2 d"]:
        """Both, shape `(2, d)`, the left one first."""
        return jnp.zeros((2, self.dim)).at[:, 0].set(jnp.stack([-self.distance, self.distance]))

    @property
    def saddles(self) -> Float[Array, "1 d"]:
        """The one at the origin, shape `(1, d)`."""
        return jnp.zeros((1, self.dim))

    def value(self, x: Point) -> Scalar:
        u = x[0] / self.distance
        well = self.barrier * (u * u - 1) ** 2
        return well + self.stiffness * x[1] ** 2 / 2 if self.dim == 2 else well

    def gradient(self, x: Point) -> Point:
        u = x[0] / self.distance
        first = 4 * self.barrier / self.distance * u * (u * u - 1)
        return first_and_rest(first, self.stiffness * x)

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        u = x[0] / self.distance
        first = 4 * self.barrier / self.distance**2 * (3 * u * u - 1)
        return jnp.diag(jnp.stack([first, self.stiffness] if self.dim == 2 else [first]))
