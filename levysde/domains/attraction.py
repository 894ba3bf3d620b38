"""Basins by gradient flow: the basin of attraction of a minimum, and the connected component of a
sublevel set. Both follow the path of steepest descent from a point to a known minimum.

Notation: F the loss, `u(x) = -grad F / |grad F|` the direction of descent, s the length of path
walked, so that `dx/ds = u(x)` has the orbits of the gradient flow without its slow stretches.
Integrated by the method of Bogacki and Shampine (Appl. Math. Lett. 2, 1989), of order 3 with an
error estimate of order 2.

A path ends in the capture ball of a minimum m: where `(x - m) . grad F(x) > 0` throughout a ball,
|x - m| falls along the flow, so every path that enters ends at m.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from levysde import errors
from levysde.domains.implicit import OfLoss, Sublevel, search_ray
from levysde.domains.shapes import as_point
from levysde.protocols import Label, Landscape, Point, Scalar, Truth
from levysde.types import Arg, Integer, Number, Numbers

_ENOUGH = 10_000  # steps of the flow; a path among wells takes some tens
_NUDGE = 0.01  # off a saddle, in units of the smallest capture radius
_TOLERANCE = 1e-4  # error allowed in a step, in units of the distance to the nearest known minimum
_LONGEST = 0.25  # largest step, in the same units
# error allowed in a step, in units of its length: a turn is followed, however narrow for the
# distance
_BEND = 5e-3
# at an unknown minimum the direction flips and every step is refused, until it is this short
_STALL = 1e-6
_DIRECTIONS = 64  # random directions, besides the principal axes, that test a capture ball
_PRINCIPAL = 32  # principal axes that test it, half from either end of the spectrum
_SHELLS = np.linspace(0.125, 1.0, 8)
_SMALLER, _TRIES = 2.0**-0.25, 120  # a ball that fails is followed by one of this size
_SAFE = 0.75  # of the largest ball that passed
_STATIONARY = 1e-3


class Attractors(eqx.Module):
    """Minima with their capture balls: `minima` of shape `(n, d)`, `radii` of shape `(n,)`."""

    minima: Array
    radii: Array
    max_steps: Array

    def reached_from(self, landscape: Landscape, x: Point, moving: Truth) -> Int[Array, ""]:
        """The row of the minimum at which the descent from `x` ends; n where it ends elsewhere, is
        not done within `max_steps`, or is not `moving` to begin with."""

        def caught(y: Point) -> Array:
            offset = y[None, :] - self.minima
            return jnp.sum(offset * offset, 1) < self.radii * self.radii

        def scale(y: Point) -> Scalar:
            return jnp.min(jnp.max(jnp.abs(y[None, :] - self.minima), 1))

        def going(carry: tuple) -> Truth:
            y, _, _, stalled, count = carry
            return moving & ~jnp.any(caught(y)) & ~stalled & (count < self.max_steps)

        def walk(carry: tuple) -> tuple:
            y, u, length, _, count = carry
            new, error, after = _step(landscape, y, u, length)
            allowed = jnp.minimum(_TOLERANCE * scale(y), _BEND * length)
            accept = error <= allowed
            growth = jnp.clip(
                0.9 * jnp.cbrt(allowed / jnp.maximum(error, allowed * 1e-3)), 0.2, 2.0
            )
            growth = jnp.where(jnp.isfinite(error), growth, 0.2)
            y, u = jnp.where(accept, new, y), jnp.where(accept, after, u)
            length = jnp.minimum(length * growth, _LONGEST * scale(y))
            return y, u, length, (length < _STALL * (scale(y) + jnp.max(jnp.abs(y)))), count + 1

        def lost(u: Point) -> Truth:  # no slope at all, or none that is a number
            return ~(jnp.sum(u * u) > 0.5)

        u = _descent(landscape, x)
        start = x, u, _LONGEST * scale(x), lost(u), jnp.zeros_like(self.max_steps)
        inside = caught(jax.lax.while_loop(going, walk, start)[0]) & moving
        return jnp.where(jnp.any(inside), jnp.argmax(inside), len(self.radii)).astype(jnp.int32)


class Basin(OfLoss):
    """The points from which the gradient flow `dx = -grad F dt` ends at the landscape's marked
    minimum.

    The flow is followed in steps of controlled error until it enters a ball about a known minimum
    that no flow leaves (tested along many directions when the domain is built). A point whose
    flow ends elsewhere, or has not arrived after `max_steps` steps, is outside. Beside the
    watershed, within about 1e-4 of the distance to the minimum, a point may be put on the wrong
    side; from 1e7 times the size of the well, floats of 32 bits no longer follow a flow. The basin
    is that of the loss: where the noiseless dynamics is not its gradient flow (momentum, ADAM),
    theirs differs.

    The label is `1 + i` where the flow ends at `minima[i]`, and one more than there are `minima`
    where it ends elsewhere or has not arrived.

    Args:
        landscape: the loss, with its minimum.
        minima: other known minima, `(n, d)`, for the labels and to end flows there early; the
            marked one may be among them.
        max_steps: of the flow, each three gradients; long curved valleys need many.

    Raises:
        TypeError, ValueError: no landscape; a minimum that is a saddle, not stationary, or not
            isolated; bad `minima` or `max_steps`; a landscape traced by JAX.
    """

    landscape: Landscape
    attractors: Attractors

    def __init__(
        self,
        landscape: Arg[Landscape],
        *,
        minima: Arg[Numbers | None] = None,
        max_steps: Arg[Integer] = _ENOUGH,
    ):
        example = "Basin(DoubleWell()); from_function makes a landscape of your own loss"
        self.landscape = errors.instance("landscape", landscape, Landscape, example)
        self.attractors = attractors(landscape, minima, max_steps)

    def _arguments(self) -> dict:
        known = self.attractors
        return {"landscape": self.landscape, "minima": known.minima, "max_steps": known.max_steps}

    def contains(self, x: Point) -> Truth:
        return self.label(x) == 0

    def label(self, x: Point) -> Label:
        return self.attractors.reached_from(self.landscape, x, jnp.all(jnp.isfinite(x)))


class Component(OfLoss):
    """The connected component of `{x : F(x) < F(minimum) + height}` that holds the landscape's
    marked minimum.

    Decided by the gradient flow, which never leaves a component: `x` is inside when its loss is
    below the level and the flow from it ends at a minimum that is linked to the marked one below
    the level.

    Without `minima` and `saddles` only the marked minimum counts: the component where it is the
    only minimum in it, else the part of the component in its basin of attraction. With them, minima
    are linked through the saddles below the level (from each of index 1 the flow is followed to
    both sides), and what is decided is the whole component, provided that none of either is missing
    from the lists. Precision of the flow, and what becomes of a flow that does not arrive, as for
    `Basin`.

    Args:
        landscape: the loss, with its minimum.
        height: of the level above the loss at the minimum, in units of the loss.
        minima, saddles: all others below the level, `(n, d)` and `(m, d)`; both or, by default,
            neither. The marked minimum may be among them, saddles of higher index and above the
            level do no harm.
        max_steps: of the flow, each three gradients.

    Raises:
        TypeError, ValueError: as `Sublevel` and `Basin`; one of `minima` and `saddles` without the
            other; a point that is not a saddle, or whose two sides do not lead to minima of the
            list.
    """

    sublevel: Sublevel
    attractors: Attractors
    # whether each minimum is in the component, and False for none of them; shape (n + 1,)
    linked: Array
    listed: bool = eqx.field(static=True)

    def __init__(
        self,
        landscape: Arg[Landscape],
        *,
        height: Arg[Number],
        minima: Arg[Numbers | None] = None,
        saddles: Arg[Numbers | None] = None,
        max_steps: Arg[Integer] = _ENOUGH,
    ):
        for name, value in {"height": height, "minima": minima, "saddles": saddles}.items():
            errors.concrete(name, value)
        self.sublevel = Sublevel(landscape, height=height)
        if (minima is None) != (saddles is None):
            given, missing = ("minima", "saddles") if saddles is None else ("saddles", "minima")
            raise ValueError(
                f"{given} without {missing}: which minima the component holds is seen from both. "
                "For example minima=landscape.minima, saddles=landscape.saddles, or give "
                "neither."
            )
        self.attractors = attractors(landscape, minima, max_steps)
        points = rows("saddles", saddles, landscape.dim)
        self.linked = jnp.asarray(_linked(self.sublevel, self.attractors, points))
        self.listed = saddles is not None

    def contains(self, x: Point) -> Truth:
        below = self.sublevel.contains(x)
        return below & self.linked[self.attractors.reached_from(self.landscape, x, below)]

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        if not self.listed:
            return search_ray(self.contains, x, v)
        # until it leaves the sublevel set, a ray stays in its component
        return jnp.where(self.contains(x), self.sublevel.ray_distance(x, v), 0)

    @property
    def landscape(self) -> Landscape:
        """The loss whose component it is."""
        return self.sublevel.landscape


def _linked(sublevel: Sublevel, known: Attractors, saddles: list[Array]) -> np.ndarray:
    """Which minima lie in the component of row 0: the saddles below the level join those on their
    two sides."""
    landscape, count = sublevel.landscape, len(known.radii)
    nearest = float(jnp.min(jnp.where(known.radii > 0, known.radii, jnp.inf)))
    edges = []
    for number, saddle in enumerate(saddles):
        values, vectors = stationary_spectrum(landscape, saddle, f"saddles[{number}]")
        if not values[0] < 0:
            raise ValueError(
                f"saddles[{number}] = {np.asarray(saddle)} is no saddle: the Hessian's smallest "
                f"eigenvalue there is {values[0]:.4g}. Leave it out."
            )
        if (len(values) > 1 and values[1] < 0) or not bool(sublevel.contains(saddle)):
            continue
        nudge = jnp.asarray(_NUDGE * nearest * vectors[:, 0], dtype=saddle.dtype)
        ends = [int(_follow(known, landscape, saddle + side * nudge)) for side in (1.0, -1.0)]
        if count in ends:
            raise ValueError(
                f"the flow down from saddles[{number}] = {np.asarray(saddle)} ends at none of the "
                "minima. List every minimum below the level."
            )
        edges.append(ends)
    linked = np.arange(count + 1) == 0
    for _ in range(count):
        for one, other in edges:
            linked[[one, other]] = linked[one] or linked[other]
    return linked


@eqx.filter_jit
def _follow(known: Attractors, landscape: Landscape, x: Point) -> Array:
    return known.reached_from(landscape, x, jnp.ones((), bool))


def _step(landscape: Landscape, y: Point, u: Point, length: Scalar) -> tuple[Point, Scalar, Point]:
    """One step of Bogacki and Shampine: the new point, the error estimate, the direction there."""
    second = _descent(landscape, y + length / 2 * u)
    third = _descent(landscape, y + length * 3 / 4 * second)
    new = y + length * (u * 2 / 9 + second / 3 + third * 4 / 9)
    after = _descent(landscape, new)
    error = jnp.max(jnp.abs(u * 5 / 72 - second / 12 - third / 9 + after / 8))
    return new, length * error, after


def _descent(landscape: Landscape, x: Point) -> Point:
    """`-grad F / |grad F|`; zero where the gradient is zero."""
    slope = landscape.gradient(x)
    largest = jnp.max(jnp.abs(slope))
    slope = slope / jnp.where(largest > 0, largest, 1)
    size = jnp.sqrt(jnp.sum(slope * slope))
    return -slope / jnp.where(size > 0, size, 1)


def attractors(
    landscape: Landscape, minima: Arg[Numbers | None], max_steps: Arg[Integer]
) -> Attractors:
    """The marked minimum in row 0, then `minima`, with capture balls found on the host.

    Raises TypeError or ValueError for a bad argument, and for a point that is no isolated minimum.
    """
    max_steps = errors.integer("max_steps", max_steps, high=10**6)
    points = [landscape.minimum, *rows("minima", errors.concrete("minima", minima), landscape.dim)]
    names = ["the landscape's minimum", *(f"minima[{i}]" for i in range(len(points) - 1))]
    errors.concrete("landscape", landscape)
    stacked = jnp.stack(points)
    radii = [_capture_radius(landscape, x, name) for x, name in zip(points, names, strict=True)]
    apart = np.linalg.norm(np.asarray(stacked)[:, None] - np.asarray(stacked)[None], axis=-1)
    same = apart <= 1e-6 * (1 + np.abs(np.asarray(stacked)).max())
    radius = np.minimum(radii, np.where(same, np.inf, apart).min(1) / 2)
    radius[np.tril(same, -1).any(1)] = 0  # listed before: the earlier row catches
    return Attractors(
        stacked, jnp.asarray(radius, dtype=stacked.dtype), jnp.asarray(max_steps, jnp.int32)
    )


def rows(name: str, points: Arg[Numbers | None], dim: int) -> list[Array]:
    """The rows of an `(n, d)` array of points, none when `points` is None."""
    if points is None:
        return []
    array = errors.finite(name, points, f"{name}=landscape.{name}")
    if array.ndim != 2 or array.shape[1] != dim or not len(array):
        raise ValueError(
            f"{name} must have shape (n, {dim}), a point in each row, not {array.shape}. "
            f"For example {name}=landscape.{name}."
        )
    return [as_point(name, row) for row in array]


def stationary_spectrum(landscape: Landscape, x: Point, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and eigenvectors of the Hessian at `x`; ValueError unless the
    gradient vanishes there."""
    slope, hessian = (np.asarray(f(x), float) for f in (landscape.gradient, landscape.hessian))
    if not (np.isfinite(slope).all() and np.isfinite(hessian).all()):
        raise ValueError(
            f"gradient or Hessian are not finite at {name}, x = {np.asarray(x)}. Mend "
            "the loss or move x."
        )
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    limit = _STATIONARY * max(np.abs(values).max(), 1e-6) * (1 + np.linalg.norm(np.asarray(x)))
    if np.linalg.norm(slope) > limit:
        raise ValueError(
            f"{name}, x = {np.asarray(x)}, is no stationary point: the gradient's norm there is "
            f"{np.linalg.norm(slope):.4g}. Refine it first, for example with "
            "scipy.optimize.minimize."
        )
    return values, vectors


def _capture_radius(landscape: Landscape, x: Point, name: str) -> float:
    """Three quarters of the first radius, from `1 + max|x|` downwards, at which the loss rises
    outwards throughout the ball, as seen on 8 shells along the principal axes and random
    directions."""
    values, vectors = stationary_spectrum(landscape, x, name)
    if values[0] < -_STATIONARY * np.abs(values).max():
        raise ValueError(
            f"{name}, x = {np.asarray(x)}, is a saddle or a maximum (the Hessian's smallest "
            f"eigenvalue is {values[0]:.4g}): no basin of attraction surrounds it. Give a minimum."
        )
    half = _PRINCIPAL // 2
    axes = (
        vectors.T
        if len(values) <= _PRINCIPAL
        else np.concatenate([vectors.T[:half], vectors.T[-half:]])
    )
    random = np.random.default_rng(0).normal(size=(_DIRECTIONS, landscape.dim))
    unit = np.concatenate([axes, -axes, random / np.linalg.norm(random, axis=1, keepdims=True)])
    offsets = jnp.asarray(
        (_SHELLS[:, None, None] * unit[None]).reshape(-1, landscape.dim), dtype=x.dtype
    )
    radius = float(1 + np.abs(np.asarray(x)).max())
    for _ in range(_TRIES):
        if bool(_rises(landscape, x, offsets, jnp.asarray(radius, dtype=x.dtype))):
            return _SAFE * radius
        radius *= _SMALLER
    raise ValueError(
        f"{name}, x = {np.asarray(x)}, is not isolated: around it the loss does not rise in every "
        "direction (a flat valley, or a loss that is not smooth), so the flow does not single it "
        "out. Give an isolated minimum."
    )


@eqx.filter_jit
def _rises(landscape: Landscape, x: Point, offsets: Float[Array, "m d"], radius: Array) -> Truth:
    def outwards(offset: Array) -> Scalar:
        return jnp.sum(offset * landscape.gradient(x + radius * offset))

    return jnp.all(jax.lax.map(outwards, offsets, batch_size=256) > 0)
