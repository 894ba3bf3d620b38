"""The quadratic well, the double well, and the derivatives of losses given by a formula."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.protocols import Landscape, Point, Scalar, matvec
from levysde.types import Arg, Integer, Number, Numbers

_FORWARD = 4  # dimensions up to which a gradient is taken coordinate by coordinate


def first_and_rest(first: Array, rest: Point) -> Point:
    """`rest` with its first coordinate replaced. Chosen and not stacked: a stack fused into a step
    takes four times the time of the step."""
    return jnp.where(jnp.arange(rest.shape[0]) == 0, first, rest)


def gradient_of(fn: Callable, x: Point) -> Point:
    """The gradient of `fn(x) -> scalar` in a form that XLA vectorises over lanes.

    Reverse mode puts a gradient together from padded pieces (x[0] here, x[1:] there) and sums over
    constants, which fused into a step cost up to ten times the step. In few dimensions forward mode
    has neither; in more, the gradient is materialised.
    """
    dim = x.shape[0]
    if dim > _FORWARD:
        return jax.lax.optimization_barrier(jax.grad(fn)(x))
    parts = [x[i] for i in range(dim)]

    def slope(i: int) -> Array:
        def along(part: Array) -> Array:
            return fn(jnp.stack([*parts[:i], part, *parts[i + 1 :]]))

        return jax.jvp(along, (parts[i],), (jnp.ones_like(parts[i]),))[1]

    total = jnp.broadcast_to(slope(0), (dim,))
    for i in range(1, dim):
        total = jnp.where(jnp.arange(dim) == i, slope(i), total)
    return total


class Smooth(Landscape):
    """A landscape whose gradient and Hessian are JAX's derivatives of `value`."""

    def gradient(self, x: Point) -> Point:
        return gradient_of(self.value, x)

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        return jax.hessian(self.value)(x)


class Quadratic(Landscape):
    """`F(x) = (x - minimum)' H (x - minimum) / 2`.

    Args:
        hessian: H, `(d, d)`, symmetric, positive semidefinite; or its diagonal, `(d,)`, which is
            cheaper in many dimensions.
        minimum: `(d,)`, the origin by default.

    Raises:
        ValueError, TypeError: a Hessian that is not square, symmetric, finite, or has a negative
            eigenvalue; a minimum that is no finite vector of d numbers.

    Source:
        Elementary.
    """

    matrix: Array
    minimum: Array
    dim: int = eqx.field(static=True)

    def __init__(self, hessian: Arg[Numbers], minimum: Arg[Numbers | None] = None):
        example = "hessian=jnp.diag(jnp.array([1.0, 4.0]))"
        self.matrix = errors.finite("hessian", hessian, example)
        shape = self.matrix.shape
        if self.matrix.ndim not in (1, 2) or not self.matrix.size or len(set(shape)) != 1:
            raise ValueError(
                f"hessian must be square, or a vector (its diagonal), not of shape {shape}. Give "
                f"{example}."
            )
        self.dim = shape[0]
        if not errors.is_traced(self.matrix):
            _check_semidefinite(np.asarray(self.matrix, float), example)
        centre = jnp.zeros(self.dim) if minimum is None else minimum
        self.minimum = errors.finite(
            "minimum", centre, f"minimum=jnp.zeros({self.dim}) for this hessian", (self.dim,)
        )

    def _arguments(self) -> dict[str, Array]:
        return {"hessian": self.matrix, "minimum": self.minimum}

    @property
    def convex(self) -> bool:
        return True

    def value(self, x: Point) -> Scalar:
        return jnp.sum((x - self.minimum) * self.gradient(x)) / 2

    def gradient(self, x: Point) -> Point:
        offset = x - self.minimum
        return self.matrix * offset if self.matrix.ndim == 1 else matvec(self.matrix, offset)

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        return jnp.diag(self.matrix) if self.matrix.ndim == 1 else self.matrix


def _check_semidefinite(matrix: np.ndarray, example: str) -> None:
    full = np.diag(matrix) if matrix.ndim == 1 else matrix
    size = np.abs(full).max()
    gap = np.abs(full - full.T).max()
    if gap > 1e-5 * size:
        raise ValueError(
            f"hessian must be symmetric, but hessian - hessian.T reaches {gap:.3g}. Give {example}."
        )
    lowest = np.linalg.eigvalsh((full + full.T) / 2)[0]
    if lowest < -1e-5 * size:
        raise ValueError(
            f"hessian has a negative eigenvalue, {lowest:.4g}: its origin is a saddle, not a "
            f"minimum. Give {example}."
        )


class DoubleWell(Landscape):
    """`F(x) = barrier ((x_0 / distance)^2 - 1)^2 + stiffness x_1^2 / 2`, in one or two dimensions.

    Minima at `x_0 = -distance` (the marked one) and `+distance`, a saddle of height `barrier` at
    the origin. Curvature at a minimum: `8 barrier / distance^2`; at the saddle
    `-4 barrier / distance^2`.

    Args:
        barrier: height of the saddle over the minima, positive.
        distance: distance of a minimum from the saddle, positive.
        stiffness: curvature across, positive; without meaning in one dimension.
        dim: d, 1 or 2.

    Raises:
        ValueError, TypeError: an argument out of range.

    Source:
        Elementary: the quartic double well.
    """

    barrier: Array
    distance: Array
    stiffness: Array
    dim: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        barrier: Arg[Number] = 1.0,
        distance: Arg[Number] = 1.0,
        stiffness: Arg[Number] = 1.0,
        dim: Arg[Integer] = 1,
    ):
        self.barrier = errors.positive("barrier", barrier)
        self.distance = errors.positive("distance", distance)
        self.stiffness = errors.positive("stiffness", stiffness)
        self.dim = errors.integer("dim", dim, "dim=1", high=2)

    @property
    def minimum(self) -> Point:
        """The left one, shape `(d,)`."""
        return self.minima[0]

    @property
    def minima(self) -> Float[Array, "2 d"]:
        """Both, shape `(2, d)`, the left one first."""
        return jnp.zeros((2, self.dim)).at[:, 0].set(jnp.stack([-self.distance, self.distance]))

    @property
    def saddles(self) -> Float[Array, "1 d"]:
        """The one at the origin, shape `(1, d)`."""
        return jnp.zeros((1, self.dim))

    def value(self, x: Point) -> Scalar:
        u = x[0] / self.distance
        well = self.barrier * (u * u - 1) ** 2
        return well + self.stiffness * x[1] ** 2 / 2 if self.dim == 2 else well

    def gradient(self, x: Point) -> Point:
        u = x[0] / self.distance
        first = 4 * self.barrier / self.distance * u * (u * u - 1)
        return first_and_rest(first, self.stiffness * x)

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        u = x[0] / self.distance
        first = 4 * self.barrier / self.distance**2 * (3 * u * u - 1)
        return jnp.diag(jnp.stack([first, self.stiffness] if self.dim == 2 else [first]))
