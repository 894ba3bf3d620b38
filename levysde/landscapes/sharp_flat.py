"""A sharp and a flat valley side by side."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.errors import Checked
from levysde.landscapes.quintic import check_monotone, evaluate
from levysde.landscapes.well_chain import on_axis
from levysde.protocols import Landscape, Point, Scalar


class SharpFlat(Landscape):
    """Two wells on a line whose sharpness, width and depth are set one by one; in one or two dimensions.

    `F(x) = f(x_0) + stiffness(x_0) x_1^2 / 2`: the saddle at the origin, the sharp minimum (the marked one, loss 0) at
    `x_0 = -width[0]`, the flat one at `+width[1]`. `f` is made of quintics, twice continuously differentiable, with no other
    stationary point, quadratic beyond the minima (see `quintic`). The Hessian is diagonal at all three points.

    Args, each a pair (sharp, flat), or one number for both:
        curvature: of `f` at the minima.
        width: distance from the saddle.
        depth: height of the saddle above the minimum. The flat minimum's loss is `depth[0] - depth[1]`.
        stiffness: curvature along `x_1` at the minima, in two dimensions; between them it goes over smoothly.
        saddle_curvature: one number, of `-f` at the saddle.
        dim: 1 or 2.

    Raises TypeError or ValueError unless all are positive and the curvatures fit the rise: always up to
    `curvature + saddle_curvature = 12 depth / width^2`. Equal pairs `curvature = 8 depth / width^2`, with
    `saddle_curvature` half of it, are a quartic double well between the minima.
    """

    curvature: Float[Array, "2"]
    width: Float[Array, "2"]
    depth: Float[Array, "2"]
    stiffness: Float[Array, "2"]
    saddle_curvature: Array
    dim: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        curvature: Checked = (32.0, 4.0),
        width: Checked = (0.5, 1.0),
        depth: Checked = (1.0, 1.0),
        saddle_curvature: Checked = 4.0,
        stiffness: Checked = 1.0,
        dim: Checked = 1,
    ):
        self.curvature = _pair("curvature", curvature)
        self.width = _pair("width", width)
        self.depth = _pair("depth", depth)
        self.stiffness = _pair("stiffness", stiffness)
        self.saddle_curvature = errors.positive("saddle_curvature", saddle_curvature, "saddle_curvature=4.0")
        self.dim = errors.integer("dim", dim, "dim=1", high=2)
        shape = self._shape()
        if not any(errors.is_traced(numbers) for numbers in shape):
            check_monotone(*(np.asarray(numbers, float) for numbers in shape))

    @property
    def minimum(self) -> Point:
        return self.minima[0]

    @property
    def minima(self) -> Float[Array, "2 d"]:
        """The sharp one, then the flat one."""
        return on_axis(self._shape()[0][::2], self.dim)

    @property
    def saddles(self) -> Float[Array, "1 d"]:
        return jnp.zeros((1, self.dim), self.width.dtype)

    def value(self, x: Point) -> Scalar:
        along = evaluate(x[0], *self._shape())[0]
        return along + self._across(x[0])[0] * x[1] ** 2 / 2 if self.dim == 2 else along

    def gradient(self, x: Point) -> Point:
        along = evaluate(x[0], *self._shape())[1]
        if self.dim == 1:
            return along[None]
        stiffness, slope, _ = self._across(x[0])
        return jnp.stack([along + slope * x[1] ** 2 / 2, stiffness * x[1]])

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        along = evaluate(x[0], *self._shape())[2]
        if self.dim == 1:
            return along[None, None]
        stiffness, slope, curvature = self._across(x[0])
        mixed = slope * x[1]
        return jnp.stack([jnp.stack([along + curvature * x[1] ** 2 / 2, mixed]), jnp.stack([mixed, stiffness])])

    def _shape(self) -> tuple[Float[Array, "3"], Float[Array, "3"], Float[Array, "3"]]:
        """Positions, losses and curvatures of sharp minimum, saddle and flat minimum."""
        zero = jnp.zeros_like(self.saddle_curvature)
        return (
            jnp.stack([-self.width[0], zero, self.width[1]]),
            jnp.stack([zero, self.depth[0], self.depth[0] - self.depth[1]]),
            jnp.stack([self.curvature[0], -self.saddle_curvature, self.curvature[1]]),
        )

    def _across(self, x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
        """The stiffness at `x_0 = x` with its first two derivatives: a quintic from minimum to minimum, flat at both."""
        length = self.width[0] + self.width[1]
        t = jnp.clip((x + self.width[0]) / length, 0, 1)
        step = self.stiffness[1] - self.stiffness[0]
        rise, slope = t**3 * (10 - 15 * t + 6 * t**2), 30 * t**2 * (1 - t) ** 2
        curvature = 60 * t * (1 - t) * (1 - 2 * t)
        return self.stiffness[0] + step * rise, step * slope / length, step * curvature / length**2


def _pair(name: str, value: Checked) -> Float[Array, "2"]:
    example = f"{name}=(2.0, 1.0), the sharp valley's first"
    array = errors.as_array(name, value, example)
    array = errors.finite(name, jnp.full(2, array) if array.ndim == 0 else array, example, (2,))
    if not errors.is_traced(array) and not (np.asarray(array) > 0).all():
        raise ValueError(f"{name} must be positive, not {np.asarray(array)}. Type for example {example}.")
    return array
