"""The ellipsoid.

Notation: c the center, a_i the radii, the columns of V the principal axes, `z = V'(x - c)`
principal coordinates. Inside is `sum (z_i / a_i)^2 < 1`, or `(x - c)' M (x - c) < 1` with
`M = V diag(a^-2) V'`.

Distance to the boundary from inside: the nearest point is `p_i = a_i^2 z_i / (a_i^2 + t)`, with t
in `(-min a^2, 0]` such that p lies on the boundary. `q = 1 + t / min a^2` is found by bisection of
its logarithm; where z has no component along the shortest axes there may be no such t, and the
nearest point lies beside z along such an axis.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.domains.shapes import (
    ConvexShape,
    as_point,
    bisected,
    quadratic_distance,
    sphere_chord,
)
from levysde.protocols import Point, Scalar, Truth, matvec
from levysde.types import Arg, Numbers

_SMALLEST = -60.0  # log2 of the smallest q tried
_BISECTIONS = 40


class Ellipsoid(ConvexShape):
    """`(x - center)' matrix (x - center) < 1`, or the same set from its radii and axes.

    Args:
        center: where its centre is, shape `(d,)`.
        matrix: `(d, d)`, symmetric, positive definite, in units of the parameters to the power -2;
            or
        radii: `(d,)`, the lengths of the half-axes.
        axes: `(d, d)`, orthonormal columns along which `radii` are measured; the coordinate axes by
            default.

    Raises:
        ValueError, TypeError: not exactly one of matrix and radii, or one of other shapes and signs
            than above.
    """

    center: Array
    radii: Array
    axes: Array | None

    def __init__(
        self,
        *,
        center: Arg[Numbers],
        matrix: Arg[Numbers | None] = None,
        radii: Arg[Numbers | None] = None,
        axes: Arg[Numbers | None] = None,
    ):
        self.center = as_point("center", center)
        dim = len(self.center)
        if (matrix is None) == (radii is None):
            raise ValueError(
                f"give exactly one of matrix and radii, not matrix={matrix!r} and radii={radii!r}. "
                f"For example radii=jnp.ones({dim})."
            )
        if matrix is None:
            self.radii, self.axes = _radii(radii, dim), _axes(axes, dim)
            return
        if axes is not None:
            raise ValueError(
                "axes belong to radii; a matrix has its own. Leave axes out, or give radii instead."
            )
        example = f"matrix=jnp.eye({dim}) for this center"
        self.radii, self.axes = _principal(
            errors.finite("matrix", matrix, example, (dim, dim)), dim
        )

    def contains(self, x: Point) -> Truth:
        z = self._principal(x - self.center) / self.radii
        return jnp.sum(z * z) < 1

    def chord(self, x: Point, v: Point) -> tuple[Scalar, Scalar]:
        offset, speed = self._principal(x - self.center), self._principal(v)
        return sphere_chord(offset / self.radii, speed / self.radii, jnp.ones((), x.dtype))

    def margin(self, x: Point) -> Scalar:
        shortest = jnp.min(self.radii)
        a, z = self.radii / shortest, self._principal(x - self.center) / shortest
        longer = (a - 1) * (a + 1)  # a^2 - 1

        def outside(q: Array) -> Scalar:
            return jnp.sum((a * z / (longer + q)) ** 2) - 1

        def beyond(log_q: Array) -> Truth:
            return outside(jnp.exp2(log_q)) > 0

        smallest = jnp.full((), _SMALLEST, z.dtype)
        q = jnp.exp2(bisected(beyond, smallest, jnp.zeros((), z.dtype), _BISECTIONS)[1])
        shift = z * (1 - q) / (longer + q)  # nearest point minus z
        beside = jnp.where(beyond(smallest), 0, jnp.maximum(-outside(q), 0))
        return jnp.where(self.contains(x), shortest * jnp.sqrt(jnp.sum(shift * shift) + beside), 0)

    def faces(self, x: Point) -> tuple[Array, Array]:
        z = self._principal(x - self.center)
        steep = 2 * z / (self.radii * self.radii)  # of sum (z / a)^2, along the principal axes
        slope = jnp.sqrt(jnp.sum(steep * steep))
        shortest = jnp.arange(self.dim) == jnp.argmin(self.radii)
        first = shortest.astype(slope.dtype)  # the direction seen from the center
        unit = jnp.where(slope > 0, steep, first) / jnp.where(slope > 0, slope, 1)
        curvature = 2 * jnp.sum((unit / self.radii) ** 2)
        gap = 1 - jnp.sum((z / self.radii) ** 2)
        distance = quadratic_distance(
            gap, jnp.maximum(slope, 1e-6 / jnp.min(self.radii)), curvature
        )
        return distance[None], (unit if self.axes is None else matvec(self.axes, unit))[None]

    def _principal(self, offset: Point) -> Point:
        return offset if self.axes is None else matvec(self.axes.T, offset)

    @property
    def dim(self) -> int:
        return self.center.shape[0]

    @property
    def inradius(self) -> float:
        return float(jnp.min(self.radii))


def _radii(radii: Arg[Numbers | None], dim: int) -> Array:
    example = f"radii=jnp.ones({dim}) for this center"
    array = errors.finite("radii", radii, example, (dim,))
    if not errors.is_traced(array) and not (np.asarray(array) > 0).all():
        raise ValueError(f"radii must be positive, not {radii!r}. For example {example}.")
    return array


def _axes(axes: Arg[Numbers | None], dim: int) -> Array | None:
    if axes is None:
        return None
    array = errors.finite("axes", axes, f"axes=jnp.eye({dim}) for this center", (dim, dim))
    if not errors.is_traced(array):
        columns = np.asarray(array, float)
        gap = np.abs(columns.T @ columns - np.eye(dim)).max()
        if gap > 1e-4:
            raise ValueError(
                "axes must have orthonormal columns, but axes.T @ axes differs from the identity "
                f"by {gap:.3g}. For example axes=jnp.linalg.eigh(hessian)[1]."
            )
    return array


def _principal(matrix: Array, dim: int) -> tuple[Array, Array]:
    """Radii and axes of a matrix, or an error that says what is wrong with it."""
    if errors.is_traced(matrix):
        values, axes = jnp.linalg.eigh(matrix)
        return 1 / jnp.sqrt(values), axes
    full = np.asarray(matrix, float)
    gap, size = np.abs(full - full.T).max(), np.abs(full).max()
    if gap > 1e-5 * size:
        raise ValueError(
            f"matrix must be symmetric, but matrix - matrix.T reaches {gap:.3g}. For example "
            f"matrix=jnp.eye({dim})."
        )
    values, axes = np.linalg.eigh((full + full.T) / 2)
    if not values[0] > 1e-12 * size:
        raise ValueError(
            f"matrix must be positive definite, but its smallest eigenvalue is {values[0]:.4g}: "
            f"the set would be unbounded. For example matrix=jnp.eye({dim})."
        )
    return jnp.asarray(1 / np.sqrt(values), dtype=float), jnp.asarray(axes, dtype=float)
