"""Intersections of half-spaces.

Notation: unit normals n_i, offsets b_i; inside is `n_i . x < b_i` for every i, so that
`b_i - n_i . x` is the distance to the i-th plane."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.domains.shapes import ConvexShape, furthest, unless_missed
from levysde.protocols import Label, Point, Scalar, Truth, matvec
from levysde.types import Arg, Number, Numbers

_EXAMPLE = "HalfSpaces(normals=jnp.array([[1.0, 0.0], [0.0, 1.0]]), offsets=jnp.array([1.0, 1.0]))"


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
        between = jnp.all((speed != 0) | (gaps > 0))
        return unless_missed(between & (low < high), low, high)

    def margin(self, x: Point) -> Scalar:
        return jnp.maximum(jnp.min(self._gaps(x)), 0)

    def faces(self, x: Point) -> tuple[Array, Array]:
        return self._gaps(x), self.normals

    def _gaps(self, x: Point) -> Array:
        """Signed distances to the planes, positive inside, shape `(n,)`."""
        return self.offsets - matvec(self.normals, x)

    @property
    def dim(self) -> int:
        """d, the length of the points it takes."""
        return self.normals.shape[1]

    @property
    def inradius(self) -> float:
        """By a linear programme (the Chebyshev ball); -inf for an empty set."""
        if len(self.offsets) == 1:
            return float("inf")
        from scipy.optimize import linprog  # slow to import

        n, d = self.normals.shape
        planes = np.hstack([np.asarray(self.normals, float), np.ones((n, 1))])
        bounds = [(None, None)] * d + [(0, None)]
        found = linprog(
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
