"""Scales: the linear maps that turn a driver's unit noise into a model's noise."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.protocols import Point, Scale


class ScalarScale(Scale):
    """`S y = s y`."""

    factor: Array

    def apply(self, y: Point, x: Point) -> Point:
        return self.factor * y


class DiagonalScale(Scale):
    """`S y = s * y`, one factor a coordinate."""

    factors: Array

    def apply(self, y: Point, x: Point) -> Point:
        return self.factors * y


class DenseScale(Scale):
    """`S y = matrix @ y`, written multiply-and-sum so that bits do not depend on the number of lanes."""

    matrix: Array

    def apply(self, y: Point, x: Point) -> Point:
        return jnp.sum(self.matrix * y[None, :], 1)


def as_scale(value: Any, dim: int) -> Scale:
    """A `Scale` from None (identity), a number, a vector of `dim` factors, or a `(dim, dim)` matrix.

    Raises TypeError or ValueError when it is none of these, is not finite, or is zero throughout.
    """
    example = f"scale=1.0, {dim} factors, or a {dim} x {dim} matrix"
    if isinstance(value, Scale):
        _check_fit(value, dim, example)
        return value
    array = errors.finite("scale", 1.0 if value is None else value, example)
    classes = {(): ScalarScale, (dim,): DiagonalScale, (dim, dim): DenseScale}
    if array.shape not in classes:
        raise ValueError(f"scale has shape {array.shape}, which does not fit d = {dim}. Give {example}.")
    if not errors.is_traced(array) and not np.any(np.asarray(array)):
        raise ValueError(f"scale is zero throughout: nothing would move. Give {example}.")
    return classes[array.shape](array)


def _check_fit(scale: Scale, dim: int, example: str) -> None:
    y, x = (jax.ShapeDtypeStruct((n,), jnp.zeros(0).dtype) for n in (scale.noise_dim(dim), dim))
    try:
        out = jax.eval_shape(scale.apply, y, x).shape
    except (TypeError, ValueError) as error:
        raise ValueError(f"{type(scale).__name__} does not fit d = {dim}: {error}. Give {example}.") from None
    if out != (dim,):
        raise ValueError(
            f"{type(scale).__name__} gives noise of shape {out}, which does not fit d = {dim}. Give {example}."
        )
