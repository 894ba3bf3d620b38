"""Scales: the linear maps that turn a driver's unit noise into a model's noise.

Notation: d the dimension of the position x, m that of the driver's noise y; `S(x) y` is the noise,
S of shape `(d, m)`. The law of `S L` follows from `S S'` alone where L is rotation-invariant
(`Brownian`, `StableIsotropic`); with components noise it does not: coordinate j of L then pushes
along column j of S, whatever the other columns are. Scales that match a covariance:
`levysde.noise.covariance`.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.parts import as_module, traced
from levysde.protocols import NoiseVector, Point, Scale, matvec
from levysde.types import Arg, Integer, Number, Numbers


class ScalarScale(Scale):
    """`S y = s y`.

    Args:
        noise_factor: s, a finite number; 0 is no noise.

    Raises:
        ValueError, TypeError: not one finite number.

    Source:
        Elementary.
    """

    noise_factor: Array

    def __init__(self, noise_factor: Arg[Number]):
        self.noise_factor = errors.finite("noise_factor", noise_factor, shape=())

    def apply(self, y: NoiseVector, x: Point) -> Point:
        return self.noise_factor * y


class DiagonalScale(Scale):
    """`S y = s * y`, one factor a coordinate.

    Args:
        factors: s, shape `(d,)`, finite.

    Raises:
        ValueError, TypeError: no finite vector.

    Source:
        Elementary.
    """

    factors: Array

    def __init__(self, factors: Arg[Numbers]):
        self.factors = errors.finite("factors", factors)
        if self.factors.ndim != 1:
            raise ValueError(
                f"factors must have shape (d,), not {self.factors.shape}. For example "
                "factors=jnp.ones(2)."
            )

    def apply(self, y: NoiseVector, x: Point) -> Point:
        return self.factors * y


class DenseScale(Scale):
    """`S y = matrix @ y`, written multiply-and-sum so that bits do not depend on the number of
    lanes.

    Args:
        matrix: S, shape `(d, m)`, finite; m is the number of coordinates of the noise, and must be
            d where the rest of a run takes it to be. For others take `LowRankScale`.

    Raises:
        ValueError, TypeError: no finite matrix.

    Source:
        Elementary.
    """

    matrix: Array

    def __init__(self, matrix: Arg[Numbers]):
        self.matrix = _finite_matrix("matrix", matrix, "matrix=jnp.eye(2)")

    def apply(self, y: NoiseVector, x: Point) -> Point:
        return matvec(self.matrix, y)


class LowRankScale(Scale):
    """`S y = low_rank_factor @ y`, a driver of r coordinates in d dimensions.

    Args:
        low_rank_factor: S, shape `(d, r)`, finite, not zero throughout.
        trace_share: which share of the trace of a covariance it holds, in (0, 1], where
            `minibatch_scale` has cut one; else 1.

    Raises:
        ValueError, TypeError: a `low_rank_factor` that is no finite matrix, or zero; a share out of
            range.

    Source:
        Elementary.
    """

    low_rank_factor: Array
    trace_share: Array

    def __init__(self, low_rank_factor: Arg[Numbers], *, trace_share: Arg[Number] = 1.0):
        self.low_rank_factor = _finite_matrix(
            "low_rank_factor", low_rank_factor, "low_rank_factor=jnp.ones((3, 1))"
        )
        if not errors.is_traced(self.low_rank_factor) and not np.any(
            np.asarray(self.low_rank_factor)
        ):
            raise ValueError(
                "low_rank_factor is zero throughout: nothing would move. For example "
                "low_rank_factor=jnp.ones((3, 1))."
            )
        self.trace_share = errors.finite("trace_share", trace_share, shape=())
        if not errors.is_traced(self.trace_share) and not 0 < float(self.trace_share) <= 1:
            raise ValueError(
                f"trace_share must lie in (0, 1], not {trace_share!r}. Leave it out for a whole "
                "covariance."
            )

    def apply(self, y: NoiseVector, x: Point) -> Point:
        return matvec(self.low_rank_factor, y)

    def noise_dim(self, dim: int) -> int:
        return self.low_rank_factor.shape[1]


class StateScale(Scale):
    """S as a function of the position: multiplicative noise.

    Read as Ito (S is taken before the jump) by every dynamics, unless it has a `convention` and is
    unless set otherwise, see `SGD`.

    Args:
        fn: `fn(x)` of shape `()` (`S y = s y`), `(d,)` (`S y = s * y`) or `(d, m)`
            (`S y = matrix @ y`, m noise coordinates), for x of shape `(d,)`, written with
            jax.numpy: a plain function, or an `equinox.Module`, whose numbers may then be swept
            without compiling anew.
        dim: d, the dimension of x.
        noise_dim: m, if given: checked against what `fn` returns.

    Raises:
        TypeError: something that is no function, fails, or returns something else.
        ValueError: dimensions that do not agree.

    Source:
        Elementary.
    """

    fn: Callable
    dim: int = eqx.field(static=True)
    columns: int = eqx.field(static=True)

    def __init__(
        self,
        fn: Arg[Callable[[Array], Array]],
        *,
        dim: Arg[Integer],
        noise_dim: Arg[Integer | None] = None,
    ):
        self.dim = errors.integer("dim", dim)
        example = "lambda x: 1 + x**2"
        law = as_module(errors.function("fn", fn, example))
        self.fn = law
        x = jax.ShapeDtypeStruct((self.dim,), jnp.zeros(0).dtype)
        out = errors.outcome("fn(x)", lambda x: jnp.asarray(traced(law)(x)), x, example=example)
        shape = out.shape
        matrix = len(shape) == 2 and shape[0] == self.dim and shape[1] > 0
        fits = matrix or shape in ((), (self.dim,))
        if not fits or not jnp.issubdtype(out.dtype, jnp.floating):
            raise TypeError(
                f"fn(x) must return a real number, {self.dim} factors, or a matrix of {self.dim} "
                f"rows, not {out.dtype} of shape {shape}. For example {example}."
            )
        self.columns = shape[1] if matrix else self.dim
        if noise_dim is not None and errors.integer("noise_dim", noise_dim) != self.columns:
            raise ValueError(
                f"noise_dim = {noise_dim}, but fn(x) has shape {shape}, which takes noise of "
                f"{self.columns} coordinates. Return a matrix of shape ({self.dim}, {noise_dim}), "
                "or leave noise_dim out."
            )

    def apply(self, y: NoiseVector, x: Point) -> Point:
        factor = jnp.asarray(self.fn(x))
        return matvec(factor, y) if factor.ndim == 2 else factor * y

    def noise_dim(self, dim: int) -> int:
        return self.columns


STATE_FREE: tuple[type[Scale], ...] = (
    ScalarScale,
    DiagonalScale,
    DenseScale,
    LowRankScale,
)  # those that do not look at the position


def _finite_matrix(name: str, value: Arg[Numbers], example: str) -> Array:
    matrix = errors.finite(name, value, example)
    if matrix.ndim != 2:
        raise ValueError(
            f"{name} must be a matrix of shape (d, r), not of shape {matrix.shape}. For "
            f"example {example}."
        )
    return matrix


def as_scale(
    value: Arg[Scale | Numbers | Callable[[Array], Array] | None], dim: Arg[Integer]
) -> Scale:
    """A `Scale` from what arguments named `scale` may be.

    Args:
        value: None (identity), a number, a vector `(d,)` of factors, a matrix `(d, d)`, a function
            of the position as `StateScale` takes it, or a `Scale`, which is checked and handed
            back.
        dim: d, the dimension of the position.

    Returns:
        A `ScalarScale`, `DiagonalScale`, `DenseScale` or `StateScale`, or the `Scale` given.

    Raises:
        ValueError, TypeError: a value that is none of these, does not fit, is not finite, or is
            zero throughout.

    Source:
        Elementary.
    """
    dim = errors.integer("dim", dim)
    example = f"scale=1.0, {dim} factors, or a {dim} x {dim} matrix"
    if isinstance(value, Scale):
        _check_fit(value, dim, example)
        return value
    if callable(value) and not isinstance(value, type):
        try:
            return StateScale(value, dim=dim)
        except TypeError as error:
            raise TypeError(f"scale: {error}") from None
    array = errors.finite("scale", 1.0 if value is None else value, example)
    classes = {(): ScalarScale, (dim,): DiagonalScale, (dim, dim): DenseScale}
    if array.shape not in classes:
        raise ValueError(
            f"scale has shape {array.shape}, which does not fit d = {dim}. Give {example}."
        )
    if not errors.is_traced(array) and not np.any(np.asarray(array)):
        raise ValueError(f"scale is zero throughout: nothing would move. Give {example}.")
    return classes[array.shape](array)


def _check_fit(scale: Scale, dim: int, example: str) -> None:
    if isinstance(scale, StateScale) and scale.dim != dim:
        raise ValueError(
            f"StateScale is made for dim = {scale.dim}, which does not fit d = {dim}. "
            f"Give {example}."
        )
    y, x = (jax.ShapeDtypeStruct((n,), jnp.zeros(0).dtype) for n in (scale.noise_dim(dim), dim))
    try:
        out = jax.eval_shape(scale.apply, y, x).shape
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{type(scale).__name__} does not fit d = {dim}: {error}. Give {example}."
        ) from None
    if out != (dim,):
        raise ValueError(
            f"{type(scale).__name__} gives noise of shape {out}, which does not fit d = {dim}. "
            f"Give {example}."
        )
