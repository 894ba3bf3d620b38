"""Scales: the linear maps that turn a driver's unit noise into a model's noise."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.protocols import Point, Scale


class ScalarScale(Scale):
    """`S y = s y`."""

    factor: Array

    def apply(self, y: Point) -> Point:
        return self.factor * y


class DiagonalScale(Scale):
    """`S y = s * y`, one factor a coordinate."""

    factors: Array

    def apply(self, y: Point) -> Point:
        return self.factors * y


class DenseScale(Scale):
    """`S y = matrix @ y`, written multiply-and-sum so that bits do not depend on the number of lanes."""

    matrix: Array

    def apply(self, y: Point) -> Point:
        return jnp.sum(self.matrix * y[None, :], 1)


def as_scale(value: Any, dim: int) -> Scale:
    """A `Scale` from None (identity), a number, a vector of `dim` factors, or a `(dim, dim)` matrix.

    Raises TypeError or ValueError when it is none of these, is not finite, or is zero throughout.
    """
    if isinstance(value, Scale):
        return value
    example = f"scale=1.0, {dim} factors, or a {dim} x {dim} matrix"
    array = errors.finite("scale", 1.0 if value is None else value, example)
    classes = {(): ScalarScale, (dim,): DiagonalScale, (dim, dim): DenseScale}
    if array.shape not in classes:
        raise ValueError(f"scale has shape {array.shape}, which does not fit d = {dim}. Give {example}.")
    if not errors.is_traced(array) and not np.any(np.asarray(array)):
        raise ValueError(f"scale is zero throughout: nothing would move. Give {example}.")
    return classes[array.shape](array)
