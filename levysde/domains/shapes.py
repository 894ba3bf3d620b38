"""Basins with a formula: ball and box."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.errors import Checked
from levysde.protocols import Domain, Label, Point, Scalar, Truth


class Ball(Domain):
    """`|x - center| < radius`, in the units of the parameters.

    Raises ValueError when the radius is not positive and finite, or the center is not a finite vector.
    """

    radius: Array
    center: Array

    def __init__(self, *, radius: Checked, center: Checked):
        self.radius = errors.positive("radius", radius, "radius=1.0")
        self.center = _vector("center", center, "center=jnp.zeros(2)")

    def contains(self, x: Point) -> Truth:
        offset = x - self.center
        return jnp.sum(offset * offset) < self.radius * self.radius

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        size = jnp.sqrt(jnp.sum(v * v))
        unit = v / jnp.where(size > 0, size, 1)
        offset = x - self.center
        along = jnp.sum(offset * unit)
        # written with the distance to the axis of the ray, so that no large squares cancel
        across = offset - along * unit
        root = jnp.sqrt(jnp.maximum(self.radius**2 - jnp.sum(across * across), 0))
        return jnp.where(size > 0, (root - along) / jnp.where(size > 0, size, 1), jnp.inf)

    @property
    def dim(self) -> int:
        return self.center.shape[0]

    @property
    def convex(self) -> bool:
        return True


class Box(Domain):
    """`lower < x < upper`, coordinate by coordinate; bounds may be infinite.

    The exit set's label tells the face of the coordinate that is furthest outside, relative to the order
    lower 0, upper 0, lower 1, ...: label `1 + 2 i` for the lower and `2 + 2 i` for the upper face of coordinate i.
    Raises ValueError when the bounds differ in shape, hold NaN, or are the wrong way round.
    """

    lower: Array
    upper: Array

    def __init__(self, *, lower: Checked, upper: Checked):
        self.lower = errors.as_array("lower", lower, "lower=-jnp.ones(2)")
        self.upper = errors.as_array("upper", upper, "upper=jnp.ones(2)")
        if self.lower.ndim != 1 or self.lower.shape != self.upper.shape or not self.lower.size:
            raise ValueError(
                f"lower and upper must be vectors of one length, not of shapes {self.lower.shape} and {self.upper.shape}. "
                "Type for example Box(lower=-jnp.ones(2), upper=jnp.ones(2))."
            )
        if errors.is_traced(self.lower) or errors.is_traced(self.upper):
            return
        low, high = np.asarray(self.lower), np.asarray(self.upper)
        wrong = np.flatnonzero(~(low < high))
        if wrong.size:
            i = int(wrong[0])
            raise ValueError(
                f"lower must be below upper, but lower[{i}] = {low[i]} and upper[{i}] = {high[i]}. Swap or mend them."
            )

    def contains(self, x: Point) -> Truth:
        return jnp.all((x > self.lower) & (x < self.upper))

    def label(self, x: Point) -> Label:
        excess = jnp.stack([self.lower - x, x - self.upper], 1).reshape(-1)
        face = 1 + jnp.argmax(jnp.where(jnp.isnan(excess), -jnp.inf, excess)).astype(jnp.int32)
        return jnp.where(self.contains(x), 0, face)

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        wall = jnp.where(v > 0, self.upper, self.lower)
        moving = v != 0
        return jnp.min(jnp.where(moving, (wall - x) / jnp.where(moving, v, 1), jnp.inf))

    @property
    def dim(self) -> int:
        return self.lower.shape[0]

    @property
    def convex(self) -> bool:
        return True


def _vector(name: str, value: Checked, example: str) -> Array:
    array = errors.finite(name, value, example)
    if array.ndim != 1 or not array.size:
        raise ValueError(
            f"{name} must be a vector of shape (d,), not of shape {array.shape}. Type for example {example}."
        )
    return array


def as_point(name: str, value: Checked, dim: int | None = None) -> Array:
    """A finite vector, of length `dim` when given."""
    example = f"{name}=jnp.zeros({dim or 2})"
    point = _vector(name, value, example)
    if dim is not None and point.shape != (dim,):
        raise ValueError(f"{name} must have shape ({dim},), not {point.shape}. Type for example {example}.")
    return point
