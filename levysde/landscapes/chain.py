"""Wells in a row with every height, width and curvature given, and valleys with one steep and one
gentle side.

A chain is a C^2 piecewise quintic through its stationary points: at each, value, slope 0 and
curvature are given, so that you choose minima, saddles, barriers and curvatures directly. Outside
it is quadratic.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.landscapes.wells import first_and_rest
from levysde.protocols import Landscape, Point, Scalar
from levysde.random import polynomial
from levysde.types import Arg, Integer, Number, Numbers

# rows: coefficients of 1, t, ..., t^5 on [0, 1] for value at 0, curvature at 0, value at 1,
# curvature at 1 (slopes 0)
_HERMITE = np.array(
    [
        [1, 0, 0, -10, 15, -6],
        [0, 0, 0.5, -1.5, 1.5, -0.5],
        [0, 0, 0, 10, -15, 6],
        [0, 0, 0, 0.5, -1, 0.5],
    ],
    float,
)


class WellChain(Landscape):
    """n wells in a row along `x_0`, and `stiffness x_i^2 / 2` across. See the top of the file.

    Args:
        positions: minimum, saddle, minimum, ..., minimum, ascending, shape `(2n - 1,)`.
        heights: the loss at each, shape `(2n - 1,)`; a saddle above its two neighbours.
        curvatures: `F''` at each, shape `(2n - 1,)`; positive at minima, negative at saddles.
        stiffness: curvature of every other coordinate, positive.
        dim: d, 1 by default.
        marked: which minimum is the marked one, from 0.

    Raises:
        ValueError, TypeError: shapes, order or signs that do not fit, or a quintic between two
            stationary points that would have another one (curvatures too large for the height over
            the distance squared).

    Source:
        This package: piecewise quintic Hermite interpolation.
    """

    positions: Array
    heights: Array
    curvatures: Array
    stiffness: Array
    dim: int = eqx.field(static=True)
    marked: int = eqx.field(static=True)

    def __init__(
        self,
        positions: Arg[Numbers],
        heights: Arg[Numbers],
        curvatures: Arg[Numbers],
        *,
        stiffness: Arg[Number] = 1.0,
        dim: Arg[Integer] = 1,
        marked: Arg[Integer] = 0,
    ):
        self.positions = errors.finite("positions", positions)
        self.heights = errors.finite("heights", heights)
        self.curvatures = errors.finite("curvatures", curvatures)
        self.stiffness = errors.positive("stiffness", stiffness)
        self.dim = errors.integer("dim", dim, "dim=1")
        numbers = self.positions, self.heights, self.curvatures
        shape = self.positions.shape
        if len(shape) != 1 or shape[0] % 2 == 0 or len({part.shape for part in numbers}) > 1:
            raise ValueError(
                "positions, heights and curvatures must have one odd length (minimum, saddle, "
                f"minimum, ...), not shapes {shape}, {self.heights.shape} and "
                f"{self.curvatures.shape}. For example positions=[-1.0, 0.0, 1.0]."
            )
        self.marked = errors.integer("marked", marked, low=0, high=shape[0] // 2)
        if not any(map(errors.is_traced, numbers)):
            _check_chain(*(np.asarray(part, float) for part in numbers))

    def value(self, x: Point) -> Scalar:
        return self._along(x[0], 0) + self.stiffness / 2 * jnp.sum(x[1:] * x[1:])

    def gradient(self, x: Point) -> Point:
        return first_and_rest(self._along(x[0], 1), self.stiffness * x)

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        return jnp.diag(first_and_rest(self._along(x[0], 2), jnp.full(self.dim, self.stiffness)))

    def _along(self, u: Scalar, order: int) -> Scalar:
        """The loss along `x_0`, or its derivative of an order up to 2: the pieces written one over
        the other, left to right."""
        knots, heights, curvatures = self.positions, self.heights, self.curvatures
        rows = np.polynomial.polynomial.polyder(_HERMITE, order, axis=1)
        total = _parabola(u - knots[0], heights[0], curvatures[0], order)
        for i in range(len(knots) - 1):
            width = knots[i + 1] - knots[i]
            ends = jnp.stack(
                [heights[i], curvatures[i] * width**2, heights[i + 1], curvatures[i + 1] * width**2]
            )
            coefficients = jnp.sum(ends[:, None] * jnp.asarray(rows, u.dtype), 0)
            piece = polynomial(coefficients, (u - knots[i]) / width) / width**order
            total = jnp.where(u > knots[i], piece, total)
        return jnp.where(
            u > knots[-1], _parabola(u - knots[-1], heights[-1], curvatures[-1], order), total
        )

    @property
    def minimum(self) -> Point:
        """The marked minimum, shape `(d,)`."""
        return self.minima[self.marked]

    @property
    def minima(self) -> Float[Array, "n d"]:
        """All minima, shape `(n, d)`, left to right."""
        return self._points(self.positions[::2])

    @property
    def saddles(self) -> Float[Array, "m d"]:
        """The saddles between them, shape `(n - 1, d)`."""
        return self._points(self.positions[1::2])

    def _points(self, along: Array) -> Float[Array, "n d"]:
        return jnp.zeros((len(along), self.dim), along.dtype).at[:, 0].set(along)


def _parabola(offset: Scalar, height: Scalar, curvature: Scalar, order: int) -> Scalar:
    """`height + curvature offset^2 / 2`, or its derivative of the order."""
    return (
        height + curvature / 2 * offset * offset,
        curvature * offset,
        jnp.broadcast_to(curvature, offset.shape),
    )[order]


def _check_chain(positions: np.ndarray, heights: np.ndarray, curvatures: np.ndarray) -> None:
    if not (np.diff(positions) > 0).all():
        raise ValueError(
            f"positions must ascend, but are {positions}. Sort them, with heights and curvatures."
        )
    sign = np.where(np.arange(len(positions)) % 2, -1.0, 1.0)
    if not (sign * curvatures > 0).all():
        raise ValueError(
            f"curvatures must be positive at minima and negative at saddles, but are {curvatures}."
        )
    if not (np.diff(heights) * sign[:-1] > 0).all():
        raise ValueError(
            "each saddle must be higher than the two minima beside it, but the "
            f"heights are {heights}."
        )
    t = np.linspace(0, 1, 401)[1:-1]
    slopes = np.array(
        [np.polynomial.polynomial.polyval(t, row[1:] * np.arange(1, 6)) for row in _HERMITE]
    )
    for i, width in enumerate(np.diff(positions)):
        parts = [heights[i], curvatures[i] * width**2, heights[i + 1], curvatures[i + 1] * width**2]
        if not (sign[i] * (parts @ slopes) > 0).all():
            raise ValueError(
                f"between positions {positions[i]:g} and {positions[i + 1]:g} the loss would not "
                f"be monotone: curvatures of {curvatures[i]:g} and {curvatures[i + 1]:g} do not "
                f"fit a height of {abs(heights[i + 1] - heights[i]):g} over a distance of "
                f"{width:g}. Lower them (about 12 heights over the distance squared always fits) "
                "or widen."
            )


def sharp_flat(
    *,
    sharp_curvature: Arg[Number] = 16.0,
    flat_curvature: Arg[Number] = 2.0,
    barriers: Arg[Numbers] = (1.0, 1.0),
    distances: Arg[Numbers] = (0.8, 2.0),
    saddle_curvature: Arg[Number] = 2.0,
    stiffness: Arg[Number] = 1.0,
    dim: Arg[Integer] = 1,
    marked: Arg[Integer] = 0,
) -> WellChain:
    """A sharp and a flat well side by side, the saddle at the origin.

    Args:
        sharp_curvature, flat_curvature: curvatures of the left and the right minimum, positive.
        barriers: heights of the saddle over the left and the right minimum, shape `(2,)`; their
            difference is the asymmetry in depth.
        distances: distances of the left and the right minimum from the saddle, shape `(2,)`,
            positive.
        saddle_curvature: `|F''|` at the saddle, positive.
        stiffness: curvature of every other coordinate, positive.
        dim: d, 1 by default.
        marked: which minimum is the marked one: 0, the sharp one, or 1.

    Returns:
        A `WellChain`; the left minimum has loss 0.

    Raises:
        ValueError, TypeError: an argument out of range, or numbers that `WellChain` refuses.

    Source:
        This package, see `WellChain`.
    """
    barriers = errors.finite("barriers", barriers, shape=(2,))
    distances = errors.finite("distances", distances, shape=(2,))
    left = errors.positive("sharp_curvature", sharp_curvature, "sharp_curvature=2.0")
    right = errors.positive("flat_curvature", flat_curvature, "flat_curvature=2.0")
    top = errors.positive("saddle_curvature", saddle_curvature, "saddle_curvature=2.0")
    stiffness = errors.positive("stiffness", stiffness)
    dim = errors.integer("dim", dim, "dim=1")
    marked = errors.integer("marked", marked, low=0, high=1)
    zero = jnp.zeros_like(top)
    positions = jnp.stack([-distances[0], zero, distances[1]])
    heights = jnp.stack([zero, barriers[0], barriers[0] - barriers[1]])
    curvatures = jnp.stack([left, -top, right])
    try:
        return WellChain(
            positions, heights, curvatures, stiffness=stiffness, dim=dim, marked=marked
        )
    except ValueError as error:
        raise ValueError(
            "sharp_curvature, flat_curvature, barriers, distances and saddle_curvature do not fit "
            f"together: {error}"
        ) from None


class AsymmetricValley(Landscape):
    """A valley that rises steeply on one side and gently on the other.

    Along `x_0` the curvature goes from `left` to `right` over a stretch of `smoothing`:
    `F'' = (left + right)/2 + (right - left)/2 x_0 / sqrt(x_0^2 + smoothing^2)`, the minimum at
    the origin; across, `stiffness x_i^2 / 2`.

    Args:
        left: curvature far to the left, positive.
        right: curvature far to the right, positive.
        smoothing: length over which it changes, positive.
        stiffness: curvature of every other coordinate, positive.
        dim: d, 1 by default.

    Raises:
        ValueError, TypeError: an argument that is not positive and finite.

    Source:
        After He, Huang, Yuan, NeurIPS 2019, whose valleys have two sides; the formula is this
        package's.
    """

    left: Array
    right: Array
    smoothing: Array
    stiffness: Array
    dim: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        left: Arg[Number] = 10.0,
        right: Arg[Number] = 0.5,
        smoothing: Arg[Number] = 0.1,
        stiffness: Arg[Number] = 1.0,
        dim: Arg[Integer] = 1,
    ):
        self.left = errors.positive("left", left)
        self.right = errors.positive("right", right)
        self.smoothing = errors.positive("smoothing", smoothing)
        self.stiffness = errors.positive("stiffness", stiffness)
        self.dim = errors.integer("dim", dim, "dim=1")

    def value(self, x: Point) -> Scalar:
        u, w = x[0], self.smoothing
        bend = (u * jnp.sqrt(u * u + w * w) + w * w * jnp.arcsinh(u / w)) / 2 - w * u
        along = (self.left + self.right) / 4 * u * u + (self.right - self.left) / 2 * bend
        return along + self.stiffness / 2 * jnp.sum(x[1:] * x[1:])

    def gradient(self, x: Point) -> Point:
        u, w = x[0], self.smoothing
        bend = jnp.sqrt(u * u + w * w) - w
        along = (self.left + self.right) / 2 * u + (self.right - self.left) / 2 * bend
        return first_and_rest(along, self.stiffness * x)

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        u, w = x[0], self.smoothing
        along = (self.left + self.right) / 2 + (self.right - self.left) / 2 * u / jnp.sqrt(
            u * u + w * w
        )
        return jnp.diag(first_and_rest(along, jnp.full(self.dim, self.stiffness)))

    @property
    def minimum(self) -> Point:
        """The origin, shape `(d,)`."""
        return jnp.zeros(self.dim, self.left.dtype)
