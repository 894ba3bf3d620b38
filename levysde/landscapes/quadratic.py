"""The quadratic well."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.protocols import Landscape, Point, Scalar, matvec
from levysde.types import Arg, Numbers


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
            _check_positive(np.asarray(self.matrix, float), example)
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
        if self.matrix.ndim == 1:
            return self.matrix * offset
        return matvec(self.matrix, offset)

    def hessian(self, x: Point) -> Float[Array, "d d"]:
        return jnp.diag(self.matrix) if self.matrix.ndim == 1 else self.matrix


def _check_positive(matrix: np.ndarray, example: str) -> None:
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
