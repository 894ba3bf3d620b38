"""Convex domains with a formula: the interface of all of them, balls, boxes, and intersections of
half-spaces.

Notation for half-spaces: unit normals n_i, offsets b_i; inside is `n_i . x < b_i` for every i, so
that `b_i - n_i . x` is the distance to the i-th plane.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array

from levysde import errors
from levysde.interfaces import check_domain
from levysde.protocols import Domain, Label, Point, Scalar, Truth, matvec
from levysde.types import Arg, Number, Numbers

_EXAMPLE = "HalfSpaces(normals=jnp.array([[1.0, 0.0], [0.0, 1.0]]), offsets=jnp.array([1.0, 1.0]))"


class ConvexShape(Domain):
    """An open convex set that is known by formulas: where a line crosses it, how far its boundary
    is."""

    @abstractmethod
    def chord(self, x: Point, v: Point) -> tuple[Scalar, Scalar]:
        """The ends `low < high` of the interval of r, negative ones too, where `x + r v` is inside,
        in units of `|v|`; `(inf, -inf)` where the line misses. `x` may be anywhere."""

    @abstractmethod
    def margin(self, x: Point) -> Scalar:
        """Distance from `x` to the nearest point outside, in the units of the parameters; 0
        outside."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """d, the length of the points it takes."""

    @property
    @abstractmethod
    def inradius(self) -> float:
        """Radius of the largest ball inside; inf where there is none. On the host."""

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        _, high = self.chord(x, v)
        return jnp.where(self.contains(x), jnp.maximum(high, 0), 0)

    def ray_edges(self, x: Point, v: Point) -> Array | None:
        return jnp.stack(self.chord(x, v))

    @property
    def convex(self) -> bool:
        return True


class Ball(ConvexShape):
    """`|x - center| < radius`.

    Args:
        radius: positive, in the units of the parameters.
        center: the centre, shape `(d,)`.

    Raises:
        ValueError, TypeError: a radius that is not positive and finite, a center that is no finite
            vector.
    """

    radius: Array
    center: Array

    def __init__(self, *, radius: Arg[Number], center: Arg[Numbers]):
        self.radius = errors.positive("radius", radius)
        self.center = as_point("center", center)

    def contains(self, x: Point) -> Truth:
        offset = x - self.center
        return jnp.sum(offset * offset) < self.radius * self.radius

    def chord(self, x: Point, v: Point) -> tuple[Scalar, Scalar]:
        return sphere_chord(x - self.center, v, self.radius)

    def margin(self, x: Point) -> Scalar:
        offset = x - self.center
        return jnp.maximum(self.radius - jnp.sqrt(jnp.sum(offset * offset)), 0)

    def faces(self, x: Point) -> tuple[Array, Array]:
        offset = x - self.center
        size = jnp.sqrt(jnp.sum(offset * offset))
        first = (jnp.arange(self.dim) == 0).astype(size.dtype)  # the direction seen from the center
        return (self.radius - size)[None], (
            jnp.where(size > 0, offset, first) / jnp.where(size > 0, size, 1)
        )[None]

    @property
    def dim(self) -> int:
        return self.center.shape[0]

    @property
    def inradius(self) -> float:
        return float(self.radius)


class Box(ConvexShape):
    """`lower < x < upper`, coordinate by coordinate; bounds may be infinite.

    The exit set's label tells the face of the coordinate that is furthest outside, relative to the
    order lower 0, upper 0, lower 1, ...: label `1 + 2 i` for the lower and `2 + 2 i` for the upper
    face of coordinate i.

    Args:
        lower: lower bounds, shape `(d,)`, in the units of the parameters; -inf leaves a side open.
        upper: upper bounds, shape `(d,)`; inf leaves a side open.

    Raises:
        ValueError, TypeError: bounds that differ in shape, hold NaN, or are the wrong way round.
    """

    lower: Array
    upper: Array

    def __init__(self, *, lower: Arg[Numbers], upper: Arg[Numbers]):
        self.lower = errors.as_array("lower", lower)
        self.upper = errors.as_array("upper", upper)
        if self.lower.ndim != 1 or self.lower.shape != self.upper.shape or not self.lower.size:
            raise ValueError(
                f"lower and upper must be vectors of one length, not of shapes {self.lower.shape} "
                f"and {self.upper.shape}. For example Box(lower=-jnp.ones(2), "
                "upper=jnp.ones(2))."
            )
        if errors.is_traced(self.lower) or errors.is_traced(self.upper):
            return
        low, high = np.asarray(self.lower), np.asarray(self.upper)
        wrong = np.flatnonzero(~(low < high))
        if wrong.size:
            i = int(wrong[0])
            raise ValueError(
                f"lower must be below upper, but lower[{i}] = {low[i]} and upper[{i}] = {high[i]}. "
                "Swap or mend them."
            )

    def contains(self, x: Point) -> Truth:
        return jnp.all((x > self.lower) & (x < self.upper))

    def label(self, x: Point) -> Label:
        excess = jnp.stack([self.lower - x, x - self.upper], 1).reshape(-1)
        return jnp.where(self.contains(x), 0, furthest(excess))

    def chord(self, x: Point, v: Point) -> tuple[Scalar, Scalar]:
        moving = v != 0
        speed = jnp.where(moving, v, 1)
        ahead, behind = (
            jnp.where(v > 0, self.upper, self.lower),
            jnp.where(v > 0, self.lower, self.upper),
        )
        between = jnp.all(moving | ((x > self.lower) & (x < self.upper)))
        high = jnp.min(jnp.where(moving, (ahead - x) / speed, jnp.inf))
        low = jnp.max(jnp.where(moving, (behind - x) / speed, -jnp.inf))
        return unless_missed(between & (low < high), low, high)

    def margin(self, x: Point) -> Scalar:
        return jnp.maximum(jnp.min(jnp.minimum(x - self.lower, self.upper - x)), 0)

    def faces(self, x: Point) -> tuple[Array, Array]:
        axes = jnp.eye(self.dim, dtype=x.dtype)
        return jnp.concatenate([x - self.lower, self.upper - x]), jnp.concatenate([-axes, axes])

    @property
    def dim(self) -> int:
        return self.lower.shape[0]

    @property
    def inradius(self) -> float:
        return float(np.min(np.asarray(self.upper) / 2 - np.asarray(self.lower) / 2))


class HalfSpaces(ConvexShape):
    """`normals[i] . x < offsets[i]` for every i: a half-space, a wedge, a polytope.

    The exit set's label is `1 + i`, i the plane that `x` is furthest beyond, in Euclidean distance.

    Args:
        normals: `(n, d)`, pointing outwards; any length but zero.
        offsets: `(n,)`; for a normal of length one the signed distance of its plane from the
            origin.

    Raises:
        ValueError, TypeError: wrong shapes, numbers that are not finite, a zero normal, or an empty
            set.
    """

    normals: Array
    offsets: Array

    def __init__(self, *, normals: Arg[Numbers], offsets: Arg[Numbers]):
        normals = errors.finite("normals", normals)
        offsets = errors.finite("offsets", offsets)
        if normals.ndim != 2 or not normals.size or offsets.shape != normals.shape[:1]:
            raise ValueError(
                f"normals must have shape (n, d) and offsets (n,), not {normals.shape} and "
                f"{offsets.shape}. For example {_EXAMPLE}."
            )
        largest = jnp.max(jnp.abs(normals), 1, keepdims=True)
        if not errors.is_traced(normals) and not np.asarray(largest).all():
            row = int(np.flatnonzero(np.asarray(largest) == 0)[0])
            raise ValueError(
                f"normals must not be zero, but normals[{row}] = {np.asarray(normals[row])}. "
                f"For example {_EXAMPLE}."
            )
        scaled = normals / largest
        size = jnp.sqrt(jnp.sum(scaled * scaled, 1, keepdims=True))
        self.normals = scaled / size
        self.offsets = offsets / (largest * size)[:, 0]
        if errors.is_traced(normals) or errors.is_traced(offsets):
            return
        if not self.inradius > 1e-9 * float(jnp.max(jnp.abs(self.offsets))):
            raise ValueError(
                "the half-spaces have no point in common. Check the signs of normals and offsets."
            )

    def contains(self, x: Point) -> Truth:
        # a half-space reaches to infinity, but a point beyond the float range has left
        return jnp.all(self._gaps(x) > 0) & jnp.all(jnp.isfinite(x))

    def label(self, x: Point) -> Label:
        return jnp.where(self.contains(x), 0, furthest(-self._gaps(x)))

    def chord(self, x: Point, v: Point) -> tuple[Scalar, Scalar]:
        gaps, speed = self._gaps(x), matvec(self.normals, v)
        r = gaps / jnp.where(speed != 0, speed, 1)
        high = jnp.min(jnp.where(speed > 0, r, jnp.inf))
        low = jnp.max(jnp.where(speed < 0, r, -jnp.inf))
        return unless_missed(jnp.all((speed != 0) | (gaps > 0)) & (low < high), low, high)

    def margin(self, x: Point) -> Scalar:
        return jnp.maximum(jnp.min(self._gaps(x)), 0)

    def faces(self, x: Point) -> tuple[Array, Array]:
        return self._gaps(x), self.normals

    def _gaps(self, x: Point) -> Array:
        """Signed distances to the planes, positive inside, shape `(n,)`."""
        return self.offsets - matvec(self.normals, x)

    @property
    def dim(self) -> int:
        return self.normals.shape[1]

    @property
    def inradius(self) -> float:
        """By a linear programme (the Chebyshev ball); -inf for an empty set."""
        if len(self.offsets) == 1:
            return float("inf")

        n, d = self.normals.shape
        planes = np.hstack([np.asarray(self.normals, float), np.ones((n, 1))])
        bounds = [(None, None)] * d + [(0, None)]
        found = scipy.optimize.linprog(
            -np.eye(d + 1)[d], A_ub=planes, b_ub=np.asarray(self.offsets, float), bounds=bounds
        )
        if found.status == 3:  # unbounded
            return float("inf")
        return float(found.x[-1]) if found.status == 0 else -float("inf")


def half_space(*, normal: Arg[Numbers], offset: Arg[Number]) -> HalfSpaces:
    """`normal . x < offset`: one half-space.

    Args:
        normal: `(d,)`, pointing outwards; any length but zero.
        offset: a number; for a normal of length one the signed distance of its plane from the
            origin.

    Returns:
        `HalfSpaces` of one plane.

    Raises:
        ValueError, TypeError: a normal that is no vector or is zero; numbers that are not finite.
    """
    normal = errors.finite("normal", normal)
    offset = errors.finite("offset", offset, shape=())
    if normal.ndim != 1 or not normal.size:
        raise ValueError(
            f"normal must be a vector of shape (d,), not of shape {normal.shape}. "
            "For example normal=jnp.array([1.0, 0.0])."
        )
    return HalfSpaces(normals=normal[None, :], offsets=offset[None])


def sphere_chord(offset: Point, v: Point, radius: Array) -> tuple[Scalar, Scalar]:
    """Where the line `offset + r v` lies inside the ball of `radius` about the origin;
    `(inf, -inf)` where it misses.

    Written with the distance to the axis of the line, and each root in the form that has no
    difference of equals.
    """
    largest = jnp.max(jnp.abs(v))
    still = largest == 0
    # squares of tiny or huge speeds would leave the float range
    w = v / jnp.where(still, 1, largest)
    size = jnp.where(still, 1, jnp.sqrt(jnp.sum(w * w)))
    unit = w / size
    along = jnp.sum(offset * unit)
    across = offset - along * unit
    off, away = jnp.sqrt(jnp.sum(across * across)), jnp.sqrt(jnp.sum(offset * offset))
    half = jnp.sqrt(jnp.maximum((radius - off) * (radius + off), 0))
    power = (radius - away) * (radius + away)
    sum_of = half + jnp.abs(along)
    far, near = sum_of, jnp.where(sum_of > 0, power / jnp.where(sum_of > 0, sum_of, 1), 0)
    low, high = jnp.where(along > 0, -far, -near), jnp.where(along > 0, near, far)
    speed = size * jnp.where(still, 1, largest)
    inside = away < radius
    low, high = jnp.where(still, -jnp.inf, low / speed), jnp.where(still, jnp.inf, high / speed)
    return unless_missed(jnp.where(still, inside, off < radius), low, high)


def quadratic_distance(gap: Scalar, slope: Scalar, curvature: Scalar) -> Scalar:
    """The smallest root t of `gap = slope t + curvature t^2 / 2`, by the form without a difference
    of equals; where there is none, that of the line."""
    first = gap / slope
    return 2 * first / (1 + jnp.sqrt(jnp.maximum(1 + 2 * curvature * first / slope, 0)))


def unless_missed(hit: Truth, low: Scalar, high: Scalar) -> tuple[Scalar, Scalar]:
    return jnp.where(hit, low, jnp.inf), jnp.where(hit, high, -jnp.inf)


def furthest(excess: Array) -> Label:
    """The number, from 1, of the largest entry that is no NaN."""
    return 1 + jnp.argmax(jnp.where(jnp.isnan(excess), -jnp.inf, excess)).astype(jnp.int32)


def as_point(name: str, value: Arg[Numbers], dim: int | None = None) -> Array:
    """A finite vector, of length `dim` when given."""
    example = f"{name}=jnp.zeros({dim or 2})"
    array = errors.finite(name, value, example)
    if array.ndim != 1 or not array.size:
        raise ValueError(
            f"{name} must be a vector of shape (d,), not of shape {array.shape}. For example "
            f"{example}."
        )
    if dim is not None and array.shape != (dim,):
        raise ValueError(
            f"{name} must have shape ({dim},), not {array.shape}. For example {example}."
        )
    return array


def as_domain(value: Any, example: str, name: str = "domain") -> Domain:
    """`value` if it is a domain whose methods return what the interface asks for; else an error."""
    errors.instance(name, value, Domain, example)
    check_domain(value)
    return value


def bisected(
    stays: Callable[[Scalar], Truth], low: Scalar, high: Scalar, times: int
) -> tuple[Scalar, Scalar]:
    """The bracket of a change after `times` halvings: `stays` is true at its lower end, and false
    at its upper end."""

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        at = stays(middle)
        return jnp.where(at, middle, low), jnp.where(at, high, middle)

    return jax.lax.fori_loop(0, times, halve, (low, high))
