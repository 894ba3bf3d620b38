"""Domains without a formula for their boundary, whose rays are searched: sublevel sets of a loss,
and any predicate."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.domains.shapes import bisected, quadratic_distance
from levysde.parts import own_arrays
from levysde.protocols import Domain, Landscape, Point, Scalar, Truth
from levysde.types import Arg, Integer, Number

# of the height: a coarser spacing of the floats at the level moves the mean exit time by percents
_COARSE_LEVEL = 0.02
_SCAN = 64  # points tested between the start and the first doubling that is outside
_FEW = 16  # dimensions up to which they are tested together; a network has more
_BISECTIONS = 40
_FARTHEST = 2.0**60


class Searched(Domain):
    """A domain that is known by `contains` only, so that its rays are searched."""

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        return search_ray(self.contains, x, v)

    @property
    def convex(self) -> bool:
        return False


class OfLoss(Searched):
    """A domain that a loss defines."""

    landscape: eqx.AbstractVar[Landscape]

    @property
    def dim(self) -> int:
        """d, the length of the points it takes."""
        return self.landscape.dim


class Sublevel(OfLoss):
    """`{x : F(x) < F(minimum) + height}`. A NaN loss is outside.

    Not restricted to the connected component of the minimum: for that there is `Component`.

    Args:
        landscape: the loss F, with its minimum.
        height: of the level above the loss at the minimum, positive, in units of the loss.

    Raises:
        ValueError, TypeError: no landscape; a height that is not positive and finite, or too small
            to be seen next to the loss at the minimum.
    """

    landscape: Landscape
    height: Array
    level: Array

    def __init__(self, landscape: Arg[Landscape], *, height: Arg[Number]):
        example = "Sublevel(well, height=0.5); from_function makes a landscape of your own loss"
        self.landscape = errors.instance("landscape", landscape, Landscape, example)
        self.height = errors.positive("height", height)
        lowest = landscape.value(landscape.minimum)
        self.level = lowest + self.height
        if errors.is_traced(self.level):
            return
        if not float(self.level) - float(lowest) > 0.5 * float(self.height):
            raise ValueError(
                f"height = {height!r} is lost in rounding next to the loss at the minimum, "
                f"{float(lowest)!r} in {lowest.dtype}. Give a larger height, or shift the loss to "
                "be about 0 at its minimum."
            )
        share = float(np.spacing(np.abs(np.asarray(self.level)))) / float(self.height)
        if share > _COARSE_LEVEL:
            warnings.warn(
                f"the loss at the minimum is {float(lowest):.6g}, where the floats of "
                f"{lowest.dtype} are {share:.1%} of height = {float(self.height):.4g} apart: "
                "the level is that coarse. Shift the loss to be about 0 at its minimum, or "
                "switch JAX to float64.",
                errors.PrecisionWarning,
                stacklevel=3,  # past the wrapper of names
            )

    def contains(self, x: Point) -> Truth:
        return self.landscape.value(x) < self.level

    def faces(self, x: Point) -> tuple[Array, Array]:
        gradient = self.landscape.gradient(x)
        slope = jnp.sqrt(jnp.sum(gradient * gradient))
        unit = gradient / jnp.where(slope > 0, slope, 1)
        _, turning = jax.jvp(self.landscape.gradient, (x,), (unit,))
        slope = jnp.maximum(slope, jnp.finfo(x.dtype).tiny ** 0.5)
        return quadratic_distance(
            self.level - self.landscape.value(x), slope, jnp.sum(unit * turning)
        )[None], unit[None]

    @property
    def convex(self) -> bool:
        return self.landscape.convex


class Predicate(Searched):
    """Where `inside(x)` holds. NaN is outside.

    Args:
        inside: a function, written with jax.numpy, of x of shape `(dim,)`, that returns one truth
            value.
        dim: d, the length of x.

    Raises:
        ValueError, TypeError: a bad `dim`; something that is no function, fails, or returns
            something else.
    """

    inside: Callable = eqx.field(static=True)
    dim: int = eqx.field(static=True)

    def __init__(self, inside: Arg[Callable[[Array], Any]], *, dim: Arg[Integer]):
        self.dim = errors.integer("dim", dim)
        errors.function("inside", inside, "inside=lambda x: x[0] < 1")
        x = jax.ShapeDtypeStruct((self.dim,), jnp.zeros(0).dtype)
        out = errors.outcome("inside", inside, x, example="lambda x: jnp.sum(x**2) < 1")
        if getattr(out, "shape", None) != () or out.dtype != bool:
            raise TypeError(
                f"inside(x) must return one truth value for x of shape ({dim},), not {out}. "
                "For example lambda x: jnp.sum(x**2) < 1."
            )
        self.inside = inside

    def contains(self, x: Point) -> Truth:
        return own_arrays(self.inside)(x) & jnp.all(x == x)


def search_ray(contains: Callable[[Array], Array], x: Point, v: Point) -> Scalar:
    """The first `r > 0` with `x + r v` outside: doubling, a scan of 64 points below it, bisection.

    A gap in the basin narrower than 1/64 of the way can be overlooked.

    Args:
        contains: a function of a point that says whether it is inside.
        x: the start of the ray, shape `(d,)`.
        v: its direction, shape `(d,)`, of any length.

    Returns:
        r, in units of `|v|`: 0 from outside, inf past `2^60` of them, or for v = 0.
    """
    one = jnp.ones((), x.dtype)

    def inside(r: Array) -> Array:
        return contains(x + r * v)

    far = jax.lax.while_loop(lambda r: inside(r) & (r < _FARTHEST), lambda r: 2 * r, one)
    reach = jax.lax.while_loop(lambda r: ~inside(r / 2) & (r > 1 / _FARTHEST), lambda r: r / 2, far)
    grid = jnp.arange(1, _SCAN + 1, dtype=x.dtype) / _SCAN * reach
    # in few dimensions all at once: one after another, a basin's flows would each wait for the
    # slowest
    first = jnp.argmax(~jax.lax.map(inside, grid, batch_size=_SCAN if x.shape[0] <= _FEW else 1))
    _, high = bisected(inside, grid[first] - reach / _SCAN, grid[first], _BISECTIONS)
    ends = jnp.where(inside(far) | ~jnp.any(v != 0), np.inf, high)
    return jnp.where(contains(x), ends, 0)
