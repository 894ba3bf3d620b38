"""The inner part of a domain, away from its boundary, and the distance to the boundary.

Notation: `distance(x)` is the distance from x to the nearest point outside the domain. The inner
set `{distance >= margin}` is the `Omega^{-eps^gamma}` of Zhou et al., NeurIPS 2020: the escape law
holds uniformly over starts in it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.domains.algebra import Intersection
from levysde.domains.implicit import search_ray
from levysde.domains.shapes import ConvexShape
from levysde.interfaces import check_domain
from levysde.protocols import Domain, Landscape, Point, Scalar, Truth
from levysde.types import Arg, Integer, Number, Numbers

_ASCENTS = 8  # steps towards the highest loss on the sphere of radius margin


class Inner(Domain):
    """The points of `domain` that are at least `margin` away from everything outside it.

    Exact for `Ball`, `Box`, `Ellipsoid`, `HalfSpaces`, their intersections, and inner sets of these
    (see `boundary_distance`). For any other domain `x` counts as inner when it is inside and so are
    all `x + margin u`, u from a fixed set of directions: that is the exact set or a larger one. A
    flat piece of boundary whose normal is at an angle t from the nearest direction is seen from
    `margin cos t` on. Where the domain comes from a landscape, the direction in which the loss is
    highest at that distance is sought besides, and found where the loss is convex.

    Args:
        domain: what to take the inner part of.
        margin: distance, positive, in the units of the parameters.
        num_directions: directions looked along where the distance has no formula, 2 or more; both
            ends in one dimension, equal angles in two, quasi-random above.

    Raises:
        ValueError, TypeError: a bad argument; nothing left: margin not below the radius of the
            largest ball inside, where that is known, or the landscape's minimum not inner itself.

    Source:
        `Omega^{-eps^gamma}` of Zhou et al., NeurIPS 2020.
    """

    domain: Domain
    margin: Array
    directions: Array | None

    def __init__(
        self, domain: Arg[Domain], *, margin: Arg[Number], num_directions: Arg[Integer] = 64
    ):
        if not isinstance(domain, Domain):
            raise TypeError(
                f"domain must be a Domain, not {domain!r}. For example "
                "Inner(Ball(radius=1.0, center=jnp.zeros(2)), margin=0.1)."
            )
        check_domain(domain)
        self.domain = domain
        self.margin = errors.positive("margin", margin)
        num = errors.integer("num_directions", num_directions, low=2)
        self.directions = (
            None if has_distance(domain) else jnp.asarray(_directions(domain.dim, num), dtype=float)
        )
        if any(errors.is_traced(leaf) for leaf in jax.tree.leaves((domain, self.margin))):
            return
        largest, landscape = _inradius(domain), _landscape(domain)
        if not float(self.margin) < largest:
            raise ValueError(
                f"nothing is left: margin = {margin!r}, but the largest ball inside the domain has "
                f"radius {largest:.6g}. Give a smaller margin."
            )
        if landscape is not None and not bool(self.contains(landscape.minimum)):
            raise ValueError(
                f"margin = {margin!r} reaches past the minimum: it is closer to the boundary of "
                "the domain than that. Give a smaller margin."
            )

    def contains(self, x: Point) -> Truth:
        if self.directions is None:
            return _distance(self.domain, x) >= self.margin
        directions, landscape = self.directions.astype(x.dtype), _landscape(self.domain)
        if landscape is not None:
            directions = jnp.concatenate(
                [directions, self._highest(landscape, directions, x)[None, :]]
            )
        reached = jax.vmap(self.domain.contains)(x[None, :] + self.margin * directions)
        return self.domain.contains(x) & jnp.all(reached)

    def _highest(self, landscape: Landscape, directions: Array, x: Point) -> Point:
        """The direction of the highest loss at distance margin: from the best of `directions`,
        `u <- grad F(x + margin u)`, normalised. For a convex loss each step goes up."""
        heights = jax.vmap(landscape.value)(x[None, :] + self.margin * directions)

        def ascend(_: Array, u: Point) -> Point:
            slope = landscape.gradient(x + self.margin * u)
            slope = slope / jnp.maximum(jnp.max(jnp.abs(slope)), jnp.finfo(x.dtype).tiny)
            size = jnp.sqrt(jnp.sum(slope * slope))
            return jnp.where(size > 0, slope / jnp.where(size > 0, size, 1), u)

        return jax.lax.fori_loop(0, _ASCENTS, ascend, directions[jnp.argmax(heights)])

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        return jnp.where(self.contains(x), search_ray(self.contains, x, v), 0)

    @property
    def dim(self) -> int:
        """d, the length of the points it takes."""
        return self.domain.dim

    @property
    def convex(self) -> bool:
        return self.domain.convex


def boundary_distance(domain: Arg[Domain], x: Arg[Numbers]) -> Scalar:
    """Distance from a point to the nearest point outside `domain`.

    Args:
        domain: one whose distance has a formula: Ball, Box, Ellipsoid, HalfSpaces, their
            Intersection, and Inner of these.
        x: the point, shape `(d,)`.

    Returns:
        The distance, in the units of the parameters; 0 outside.

    Raises:
        ValueError, TypeError: another domain, or x of another shape or not finite.
    """
    if not isinstance(domain, Domain):
        raise TypeError(
            f"domain must be a Domain, not {errors.shown(domain)}. For example "
            "Ball(radius=1.0, center=jnp.zeros(2))."
        )
    if not has_distance(domain):
        raise TypeError(
            f"the distance to the boundary of {type(domain).__name__} has no formula. Known are "
            "Ball, Box, Ellipsoid, HalfSpaces, their Intersection, and Inner of these; "
            "Inner(domain, margin=...) works for every domain."
        )
    return _distance(domain, errors.finite("x", x, f"x=jnp.zeros({domain.dim})", (domain.dim,)))


def _distance(domain: Domain, x: Point) -> Scalar:
    if isinstance(domain, Intersection):
        return jnp.min(jnp.stack([_distance(part, x) for part in domain.domains]))
    if isinstance(domain, Inner):
        # straight to the nearest point outside, the distance falls as fast as one goes
        return jnp.maximum(_distance(domain.domain, x) - domain.margin, 0)
    assert isinstance(domain, ConvexShape)
    return domain.margin(x)


def has_distance(domain: Domain) -> bool:
    """Whether `boundary_distance` knows the domain."""
    if isinstance(domain, Intersection):
        return all(has_distance(part) for part in domain.domains)
    return isinstance(domain, ConvexShape) or (
        isinstance(domain, Inner) and domain.directions is None
    )


def _inradius(domain: Domain) -> float:
    """An upper limit of the radius of a ball inside; the radius itself for a convex shape."""
    if isinstance(domain, ConvexShape):
        return domain.inradius
    if isinstance(domain, Intersection):
        return min(_inradius(part) for part in domain.domains)
    return (
        _inradius(domain.domain) - float(domain.margin)
        if isinstance(domain, Inner)
        else float("inf")
    )


def _landscape(domain: Domain) -> Landscape | None:
    return getattr(domain, "landscape", None)


def _directions(dim: int, num: int) -> Float[np.ndarray, "m d"]:
    """Unit vectors spread over the sphere."""
    if dim == 1:
        return np.array([[1.0], [-1.0]])
    if dim == 2:
        angles = 2 * np.pi * np.arange(num) / num
        return np.stack([np.cos(angles), np.sin(angles)], 1)
    from scipy.stats import norm, qmc  # slow to import

    uniform = qmc.Sobol(dim, rng=np.random.default_rng(0)).random_base2(
        max(1, int(np.ceil(np.log2(num))))
    )
    points = norm.ppf(np.clip(uniform, 1e-12, 1 - 1e-12))
    return points / np.linalg.norm(points, axis=1, keepdims=True)
