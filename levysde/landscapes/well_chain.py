"""A chain of wells on a line."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.errors import Checked
from levysde.landscapes.quintic import check_monotone, evaluate
from levysde.protocols import Landscape, Point, Scalar


class WellChain(Landscape):
    """`F(x) = f(x_0) + stiffness sum_(i > 0) x_i^2 / 2`, `f` with `n` minima in a row and a saddle between neighbours.

    `f` passes through the given points with the given curvatures and nothing else is stationary (pieces of quintics, twice
    continuously differentiable, see `quintic`). Beyond the outermost minima it is quadratic.

    Args:
        wells: where the minima are, ascending, shape `(n,)`; or the number `n`, then 2 apart around 0.
        saddles: where the saddles are, shape `(n - 1,)`; halfway by default.
        levels: the loss at the minima, `(n,)` or one number.
        barriers: the loss at the saddles, `(n - 1,)` or one number.
        curvatures: of `f` at the minima, `(n,)` or one number. By default `8 rise / distance^2` (as in a quartic double
            well) of the gentler side.
        saddle_curvatures: of `-f` at the saddles, `(n - 1,)` or one number. By default `4 rise / distance^2`.
        marked: which minimum is the marked one, from 0.
        stiffness, dim: curvature of the other `dim - 1` coordinates.

    Raises TypeError or ValueError for fewer than two wells, points out of order, a barrier below a minimum beside it,
    curvatures that are not positive or that do not fit the rise.
    """

    knots: Array
    values: Array
    curvatures: Array
    stiffness: Array
    marked: int = eqx.field(static=True)
    dim: int = eqx.field(static=True)

    def __init__(
        self,
        wells: Checked,
        *,
        saddles: Checked = None,
        levels: Checked = 0.0,
        barriers: Checked = 1.0,
        curvatures: Checked = None,
        saddle_curvatures: Checked = None,
        marked: Checked = 0,
        stiffness: Checked = 1.0,
        dim: Checked = 1,
    ):
        wells = _positions(wells)
        n = wells.shape[0]
        middle = (wells[1:] + wells[:-1]) / 2
        saddles = middle if saddles is None else errors.finite("saddles", saddles, "saddles=[0.0]", (n - 1,))
        self.knots = _interleave(wells, saddles)
        self.values = _interleave(_each("levels", levels, n, 0.0), _each("barriers", barriers, n - 1, 1.0))
        if not errors.is_traced(self.knots) and not errors.is_traced(self.values):
            _check_order(np.asarray(self.knots, float), np.asarray(self.values, float))
        # the gentler of the two sides: then a quintic always fits
        pull = jnp.abs(jnp.diff(self.values)) / jnp.diff(self.knots) ** 2
        pull = jnp.minimum(jnp.append(pull[:1], pull), jnp.append(pull, pull[-1:]))
        bottom = 8 * pull[::2] if curvatures is None else _each("curvatures", curvatures, n, 8.0)
        top = 4 * pull[1::2]
        if saddle_curvatures is not None:
            top = _each("saddle_curvatures", saddle_curvatures, n - 1, 4.0)
        self.curvatures = _interleave(bottom, -top)
        if not any(errors.is_traced(numbers) for numbers in (self.knots, self.values, self.curvatures)):
            _check_curvatures(*(np.asarray(a, float) for a in (self.knots, self.values, self.curvatures)))
        self.marked = errors.integer("marked", marked, "marked=0", low=0, high=n - 1)
        self.stiffness = errors.positive("stiffness", stiffness, "stiffness=1.0")
        self.dim = errors.integer("dim", dim, "dim=1")

    @property
    def minimum(self) -> Point:
        return self.minima[self.marked]

    @property
    def minima(self) -> Float[Array, "n d"]:
        return on_axis(self.knots[::2], self.dim)

    @property
    def saddles(self) -> Float[Array, "m d"]:
        return on_axis(self.knots[1::2], self.dim)

    def value(self, x: Point) -> Scalar:
        return evaluate(x[0], self.knots, self.values, self.curvatures)[0] + self.stiffness / 2 * jnp.sum(x[1:] ** 2)

    def gradient(self, x: Point) -> Point:
        slope = evaluate(x[0], self.knots, self.values, self.curvatures)[1]
        return jnp.concatenate([slope[None], self.stiffness * x[1:]])

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        curvature = evaluate(x[0], self.knots, self.values, self.curvatures)[2]
        return jnp.diag(jnp.full(self.dim, self.stiffness).at[0].set(curvature))


def on_axis(positions: Float[Array, " n"], dim: int) -> Float[Array, "n d"]:
    """Points on the first axis."""
    return jnp.zeros((positions.shape[0], dim), positions.dtype).at[:, 0].set(positions)


def _positions(wells: Checked) -> Float[Array, " n"]:
    example = "wells=[-1.0, 1.0, 3.0], or wells=3"
    if isinstance(wells, int) or (isinstance(wells, np.integer)):
        n = errors.integer("wells", wells, example, low=2)
        return jnp.arange(n, dtype=float) * 2 - (n - 1)
    wells = errors.finite("wells", wells, example)
    if wells.ndim != 1 or wells.shape[0] < 2:
        raise ValueError(
            f"wells must hold at least two positions, not an array of shape {wells.shape}. Type {example}."
        )
    return wells


def _each(name: str, value: Checked, num: int, example: float) -> Float[Array, " num"]:
    array = errors.as_array(name, value, f"{name}={example}")
    return errors.finite(name, jnp.full(num, array) if array.ndim == 0 else array, f"{name}={[example] * num}", (num,))


def _interleave(minima: Array, saddles: Array) -> Array:
    n = minima.shape[0]
    return jnp.zeros(2 * n - 1, minima.dtype).at[::2].set(minima).at[1::2].set(saddles)


def _check_order(knots: np.ndarray, values: np.ndarray) -> None:
    if not (np.diff(knots) > 0).all():
        raise ValueError(
            f"minima and saddles must follow each other from left to right, not minima {knots[::2]} with saddles "
            f"{knots[1::2]}. Sort wells, and put one saddle between each two."
        )
    rises = np.diff(values) * np.resize([1, -1], len(values) - 1)
    if not (rises > 0).all():
        j = int(np.argmin(rises))
        raise ValueError(
            f"a barrier must be above the minima beside it, but between x = {knots[j]:g} and x = {knots[j + 1]:g} the loss goes "
            f"from {values[j]:g} to {values[j + 1]:g}. Raise barriers, or lower levels."
        )


def _check_curvatures(knots: np.ndarray, values: np.ndarray, curvatures: np.ndarray) -> None:
    for name, numbers in (("curvatures", curvatures[::2]), ("saddle_curvatures", -curvatures[1::2])):
        if not (numbers > 0).all():
            raise ValueError(f"{name} must be positive, not {numbers}. Type for example {name}={4.0}.")
    check_monotone(knots, values, curvatures)
