"""A valley that is steep on one side and flat on the other."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from levysde import errors
from levysde.errors import Checked
from levysde.protocols import Landscape, Point, Scalar


class AsymmetricValley(Landscape):
    """`F(x) = f(x_0) + stiffness sum_(i > 0) x_i^2 / 2` with one minimum, at the origin, and

        f''(u) = (sharp + flat) / 2 - (sharp - flat) / 2 * u / sqrt(u^2 + width^2)

    so `f` grows like `sharp u^2 / 2` to the left and `flat u^2 / 2` to the right; at the minimum its curvature is
    `(sharp + flat) / 2`, and `width` is the distance over which it changes. Smooth and convex. The first axis is an
    asymmetric direction in the sense of the source: slopes beyond `width` differ by about `sharp / flat`.

    Args:
        sharp, flat: curvature far to the left and far to the right.
        width: in units of `x`.
        stiffness, dim: curvature of the other `dim - 1` coordinates.

    Raises TypeError or ValueError unless all are positive.

    Source: He, Huang, Yuan, "Asymmetric valleys: beyond sharp and flat local minima", NeurIPS 2019 (the notion; this
    formula is ours).
    """

    sharp: Array
    flat: Array
    width: Array
    stiffness: Array
    dim: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        sharp: Checked = 10.0,
        flat: Checked = 1.0,
        width: Checked = 0.1,
        stiffness: Checked = 1.0,
        dim: Checked = 1,
    ):
        self.sharp = errors.positive("sharp", sharp, "sharp=10.0")
        self.flat = errors.positive("flat", flat, "flat=1.0")
        self.width = errors.positive("width", width, "width=0.1")
        self.stiffness = errors.positive("stiffness", stiffness, "stiffness=1.0")
        self.dim = errors.integer("dim", dim, "dim=1")

    @property
    def minimum(self) -> Point:
        return jnp.zeros(self.dim, self.sharp.dtype)

    @property
    def minima(self) -> Float[Array, "1 d"]:
        return self.minimum[None]

    @property
    def saddles(self) -> Float[Array, "0 d"]:
        return jnp.zeros((0, self.dim), self.sharp.dtype)

    def value(self, x: Point) -> Scalar:
        u, w = x[0], self.width
        root = jnp.sqrt(u * u + w * w)
        # (u^2 - u root) / 2 without its cancellation to the right
        bent = (
            -u * w * w / (2 * (jnp.abs(u) + root)) + jnp.where(u < 0, u * u, 0) - w * w / 2 * jnp.arcsinh(u / w) + w * u
        )
        return (self.flat * u * u + (self.sharp - self.flat) * bent + self.stiffness * jnp.sum(x[1:] ** 2)) / 2

    def gradient(self, x: Point) -> Point:
        u = x[0]
        first = (self.sharp + self.flat) / 2 * u
        # width - sqrt(u^2 + width^2), without its cancellation near 0
        first = first - (self.sharp - self.flat) / 2 * u * (u / (self.width + jnp.sqrt(u * u + self.width**2)))
        return jnp.concatenate([first[None], self.stiffness * x[1:]])

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        bend = x[0] / jnp.sqrt(x[0] ** 2 + self.width**2)
        first = (self.sharp + self.flat) / 2 - (self.sharp - self.flat) / 2 * bend
        return jnp.diag(jnp.full(self.dim, self.stiffness).at[0].set(first))
