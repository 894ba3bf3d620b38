"""A custom loss as a landscape."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.landscapes.wells import Smooth
from levysde.parts import own_arrays
from levysde.protocols import Landscape, Point, Scalar
from levysde.types import Arg, Integer, Numbers

_DIRECTIONS = 16  # of a zero eigenvalue along which the loss is looked at
_STEPS = 10.0 ** np.arange(-3, 0, 0.5)  # of the looks, in units of 1 + |x|


class FunctionLandscape(Smooth):
    """A plain `fn(x) -> scalar` with a marked minimum; derivatives by JAX. Made by `from_function`.

    Attributes:
        fn: the loss, a function of x of shape `(d,)`.
        minimum: the marked minimum, shape `(d,)`.
        dim: d, the length of x.
    """

    fn: Callable = eqx.field(static=True)
    minimum: Array
    dim: int = eqx.field(static=True)

    def value(self, x: Point) -> Scalar:
        return own_arrays(self.fn)(x)


def from_function(
    fn: Arg[Callable[[Array], Any]], *, dim: Arg[Integer], minimum: Arg[Numbers]
) -> FunctionLandscape:
    """A landscape from a loss `fn(x) -> scalar` of a vector `x` of shape `(dim,)`, written with
    jax.numpy.

    Args:
        fn: the loss; differentiated by JAX.
        dim: length of `x`.
        minimum: a strict or flat minimum of `fn`, shape `(dim,)`: the gradient there must vanish.

    Returns:
        A `FunctionLandscape`.

    Raises:
        TypeError: `fn` is not a function, fails, or does not return one real number; `minimum` is
            traced by JAX.
        ValueError: loss, gradient or Hessian are not finite at `minimum`, or it is not a minimum.
            Where the Hessian has a zero eigenvalue, the loss is evaluated along that direction;
            an `AccuracyWarning` reports where it is flat.

    Source:
        Elementary.
    """
    dim = errors.integer("dim", dim)
    example = "lambda x: jnp.sum(x**2)"
    errors.function("fn", fn, example)
    minimum = errors.finite(
        "minimum", errors.concrete("minimum", minimum), f"minimum=jnp.zeros({dim})", (dim,)
    )
    what = "one real number (sum or average what it returns)"
    errors.outcome("fn(x)", fn, minimum, example=example, what=what)
    landscape = FunctionLandscape(fn=fn, minimum=minimum, dim=dim)
    for name in ("gradient", "hessian"):
        errors.outcome(f"the {name} of fn(x)", getattr(landscape, name), minimum, example=example)
    check_minimum(landscape, minimum)
    return landscape


@eqx.filter_jit
def _derivatives(landscape: Landscape, x: Point) -> tuple[Array, Array, Array]:
    """Loss, gradient and Hessian in one program: operation by operation a first call takes ten
    times as long."""
    return landscape.value(x), landscape.gradient(x), landscape.hessian(x)


def check_minimum(landscape: Landscape, x: Point, tolerance: float = 1e-3) -> None:
    """Raises ValueError unless `x` is finite in loss, gradient and Hessian, stationary, and no
    saddle or maximum.

    Stationary: the gradient is below `tolerance` times what it becomes one unit away,
    `|H| (1 + |x|)`."""
    value, gradient, hessian = (np.asarray(found, float) for found in _derivatives(landscape, x))
    for name, number in (("loss", value), ("gradient", gradient), ("Hessian", hessian)):
        if not np.isfinite(number).all():
            raise ValueError(
                f"the {name} is not finite at the minimum, x = {np.asarray(x)}: {number}. Mend fn "
                "or move x."
            )
    eigenvalues, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    size, norm = np.abs(eigenvalues).max(), np.linalg.norm(gradient)
    if norm > tolerance * max(size, 1e-6) * (1 + np.linalg.norm(np.asarray(x))):
        raise ValueError(
            f"minimum = {np.asarray(x)} is not one: the gradient's norm there is {norm:.4g} "
            f"(largest curvature {size:.4g}). Find the minimum first, for example with "
            "scipy.optimize.minimize."
        )
    if eigenvalues[0] < -tolerance * size:
        raise ValueError(
            f"minimum = {np.asarray(x)} is a saddle or a maximum: the Hessian's smallest "
            f"eigenvalue is {eigenvalues[0]:.4g}. Give a minimum."
        )
    flat = vectors[:, np.abs(eigenvalues) <= tolerance * size].T[:_DIRECTIONS]
    if len(flat):
        _check_flat(landscape, x, np.concatenate([flat, -flat]), gradient, tolerance * size)


@eqx.filter_jit
def _losses(
    landscape: Landscape, points: Float[Array, "m n d"], x: Point
) -> tuple[Float[Array, "m n"], Scalar]:
    return jax.vmap(jax.vmap(landscape.value))(points), landscape.value(x)


def _check_flat(
    landscape: Landscape, x: Point, along: np.ndarray, gradient: np.ndarray, curvature: float
) -> None:
    """Follows the loss along directions in which the Hessian does not decide. The first change
    that is neither rounding, nor from the gradient, nor a fall by `curvature`, decides whether x
    is a minimum. Warns where there is no such change."""
    at, steps = np.asarray(x, float), _STEPS * (1 + np.linalg.norm(np.asarray(x)))
    points = jnp.asarray(at + steps[:, None] * along[:, None, :], dtype=float)
    values, value = (np.asarray(found, float) for found in _losses(landscape, points, x))
    change = values - value
    rounding = 16 * np.finfo(points.dtype).eps * np.maximum(np.abs(value), np.abs(values))
    unsure = rounding + 2 * np.abs(along @ gradient)[:, None] * steps
    rises, falls = change > unsure, change < -unsure - curvature * steps**2 / 2
    first = np.argmax(rises | falls, axis=1)
    falling = falls[np.arange(len(along)), first]
    if falling.any():
        i = int(np.argmax(falling))
        raise ValueError(
            f"minimum = {at} is not one: the Hessian has a zero eigenvalue along "
            f"{along[i].round(4)}, and there the loss falls from {value:.6g} to "
            f"{values[i, first[i]]:.6g} within a step of {steps[first[i]]:.3g}. Give a minimum."
        )
    level = ~(rises | falls).any(1)
    if level.any():
        i = int(np.argmax(level))
        warnings.warn(
            errors.AccuracyWarning(
                f"the loss is flat at minimum = {at} along {along[i].round(4)}: within "
                f"{steps[-1]:.3g} it changes by no more than rounding. The minimum is not "
                "isolated, and noise moves freely along it. Check fn, or add a small penalty such "
                "as 1e-3 * jnp.sum(x**2)."
            ),
            stacklevel=5,  # past the wrapper of names
        )
