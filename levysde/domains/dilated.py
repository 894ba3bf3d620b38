"""A domain made larger or smaller about the origin."""

import jax.numpy as jnp
from jaxtyping import Array

from levysde import errors
from levysde.interfaces import check_domain
from levysde.protocols import Domain, Label, Point, Scalar, Truth
from levysde.types import Arg, Number


class Dilated(Domain):
    """`{factor x : x in domain}`, with the labels of `domain`: the basin that goes with a loss
    whose parameters are stretched (`levysde.landscapes.rescaled`, factor `hessian_factor^(-1/2)`).

    Args:
        domain: the set to dilate, about the origin.
        factor: of all lengths, positive.

    Raises:
        ValueError, TypeError: something that is no `Domain`, a factor that is not positive and
            finite.
    """

    domain: Domain
    factor: Array

    def __init__(self, domain: Arg[Domain], factor: Arg[Number]):
        if not isinstance(domain, Domain):
            raise TypeError(
                f"domain must be a Domain, not {domain!r}. For example "
                "Dilated(Ball(radius=1.0, center=jnp.zeros(2)), factor=0.5)."
            )
        check_domain(domain)
        self.domain = domain
        self.factor = errors.positive("factor", factor)

    def contains(self, x: Point) -> Truth:
        return self.domain.contains(x / self.factor)

    def label(self, x: Point) -> Label:
        return self.domain.label(x / self.factor)

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        return self.domain.ray_distance(x / self.factor, v / self.factor)

    def ray_edges(self, x: Point, v: Point) -> Array | None:
        return self.domain.ray_edges(x / self.factor, v / self.factor)

    def faces(self, x: Point) -> tuple[Array, Array]:
        gaps, normals = self.domain.faces(x / self.factor)
        return jnp.asarray(self.factor * gaps), normals

    @property
    def dim(self) -> int:
        """d, the length of the points it takes."""
        return self.domain.dim

    @property
    def convex(self) -> bool:
        return self.domain.convex
