"""Domains whose boundary is that of another one, moved: by a fixed distance inwards, or by what a
stepper's small scales cost, so that exits come neither late nor early.

Notation: `distance(x)` is the distance from x to the nearest point outside the domain. The inner
set `{distance >= margin}` is the `Omega^{-eps^gamma}` of Zhou et al., NeurIPS 2020: the escape law
holds uniformly over starts in it.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from levysde import errors
from levysde.domains.algebra import Intersection, OfDomain
from levysde.domains.implicit import Searched
from levysde.domains.shapes import ConvexShape, as_domain
from levysde.dynamics import FirstOrder
from levysde.noise import (
    Brownian,
    StableComponents,
    StableIsotropic,
    boundary_shift,
    small_jump_shift,
)
from levysde.protocols import Domain, Dynamics, Label, Landscape, Point, Scalar, Truth
from levysde.random import exp2, log2
from levysde.types import Arg, Integer, Number, Numbers

_ASCENTS = 8  # steps towards the highest loss on the sphere of radius margin


class Inner(OfDomain, Searched):
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
        example = "Inner(Ball(radius=1.0, center=jnp.zeros(2)), margin=0.1)"
        self.domain = as_domain(domain, example)
        self.margin = errors.positive("margin", margin)
        num = errors.integer("num_directions", num_directions, low=2)
        self.directions = (
            None if has_distance(domain) else jnp.asarray(_directions(domain.dim, num), dtype=float)
        )
        if any(errors.is_traced(leaf) for leaf in jax.tree.leaves((domain, self.margin))):
            return
        largest, landscape = _inradius(domain), getattr(domain, "landscape", None)
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
        directions = self.directions.astype(x.dtype)
        landscape = getattr(self.domain, "landscape", None)
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
    errors.instance("domain", domain, Domain, "Ball(radius=1.0, center=jnp.zeros(2))")
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


def _directions(dim: int, num: int) -> Float[np.ndarray, "m d"]:
    """Unit vectors spread over the sphere."""
    if dim == 1:
        return np.array([[1.0], [-1.0]])
    if dim == 2:
        angles = 2 * np.pi * np.arange(num) / num
        return np.stack([np.cos(angles), np.sin(angles)], 1)

    uniform = scipy.stats.qmc.Sobol(dim, rng=np.random.default_rng(0)).random_base2(
        max(1, int(np.ceil(np.log2(num))))
    )
    points = scipy.stats.norm.ppf(np.clip(uniform, 1e-12, 1 - 1e-12))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


class Shifted(OfDomain, Searched):
    """`domain` with its boundary moved so that exits of a stepper have no discretisation bias, to
    leading order.

    With `dt`, the step of a skeleton such as `EulerMaruyama`: inwards by `rho_a s dt^(1/a)`, s the
    scale of the noise across the boundary there (`levysde.noise.boundary_shift`). With `cutoff`,
    that of `JumpAdapted`: outwards by `gamma_a s cutoff` (`levysde.noise.small_jump_shift`).

    Both hold if paths reach the boundary by small jumps. If the noise is so small that the drift
    keeps paths away from the boundary, an exit is one large jump and needs no shift. The shift then
    makes the mean wrong by alpha times its share of the way to the boundary: choose a small dt or
    cutoff (in an Ornstein-Uhlenbeck well at epsilon = 0.05, a cutoff of a fifth of the way gives a
    mean that is 2% too long).

    Use it for an SDE, where dt causes an error. For a real optimiser, dt is the learning rate and
    part of the algorithm, so nothing applies this correction automatically.

    Args:
        domain: with a formula for its boundary: Ball, Box, Ellipsoid, HalfSpaces, Sublevel,
            Intersection.
        dynamics: `SGD` (Ito), `Langevin` or `SDE`, with Brownian or stable noise.
        dt: the step, positive, in SDE time; or
        cutoff: that of `JumpAdapted`, positive, in units of the driver.

    Raises:
        ValueError, TypeError: parts of another kind, not exactly one of dt and cutoff, alpha <= 1
            with `dt` (no such shift), or a shift past the start: where nothing of the domain is
            left around the attractor.

    Source:
        Brownian noise: Gobet, Menozzi, Stochastic Process. Appl. 120, 2010; stable noise: this
        package, see `levysde.noise.boundary`.
    """

    domain: Domain
    dynamics: Dynamics
    reach: Array  # dt or cutoff
    size: Array  # of the shift, for noise of scale 1 across the boundary
    by_cutoff: bool = eqx.field(static=True)

    def __init__(
        self,
        domain: Arg[Domain],
        dynamics: Arg[Dynamics],
        *,
        dt: Arg[Number | None] = None,
        cutoff: Arg[Number | None] = None,
    ):
        self.domain, self.dynamics = check_boundary(domain, dynamics)
        errors.concrete("dynamics", self.dynamics.driver)
        if (dt is None) == (cutoff is None):
            raise ValueError(
                f"give exactly one of dt and cutoff, not dt={dt!r} and cutoff={cutoff!r}. For "
                "example dt=1e-3."
            )
        self.by_cutoff = cutoff is not None
        self.reach = (
            errors.positive("cutoff", cutoff, "cutoff=0.1")
            if dt is None
            else errors.positive("dt", dt)
        )
        self.size = self._derived()["size"]
        if not self.dynamics.has_attractor:
            return
        left = self.contains(self.dynamics.attractor)
        if not errors.is_traced(left) and not bool(left):
            raise ValueError(
                f"nothing is left around the attractor {self.dynamics.attractor}: the shift is "
                f"{float(self.size):.3g} times the scale of the noise. Take a smaller dt, or a "
                "larger domain."
            )

    def _arguments(self) -> dict:
        return {name: getattr(self, name) for name in ("domain", "dynamics", "size", "by_cutoff")}

    def _derived(self) -> dict[str, Array]:
        driver: Any = self.dynamics.driver
        if self.by_cutoff:
            return {"size": -small_jump_shift(driver, self.dynamics.noise_dim) * self.reach}
        a = 2.0 if isinstance(driver, Brownian) else float(driver.index)
        return {"size": self.reach ** (1 / a) * boundary_shift(a)}

    def contains(self, x: Point) -> Truth:
        return jnp.all(self.faces(x)[0] > 0)

    def faces(self, x: Point) -> tuple[Array, Array]:
        distance, normal = jax.lax.optimization_barrier(self.domain.faces(x))
        across = _jump_across if self.by_cutoff else noise_across
        return distance - self.size * across(self.dynamics, x, normal), normal

    @property
    def made_for_steps(self) -> bool:
        """Whether the boundary is corrected for the bias of steps of dt."""
        return not self.by_cutoff

    def label(self, x: Point) -> Label:
        """That of the face which `x` is furthest beyond."""
        distance, normal = self.faces(x)
        worst = jnp.argmin(distance)
        beyond = x + (self.domain.faces(x)[0][worst] + 2 * jnp.abs(distance[worst])) * normal[worst]
        label = jnp.maximum(self.domain.label(jnp.where(self.domain.contains(x), beyond, x)), 1)
        return jnp.where(self.contains(x), 0, label)


def noise_across(dynamics: Dynamics, x: Point, normals: Float[Array, "k d"]) -> Float[Array, " k"]:
    """The scale of `epsilon S(x) L` along each unit normal, as SaS(s) at time 1:
    `sum_j |(S' n)_j|^a` to the power 1/a for components, `|S' n|` for isotropic noise, and
    `|S' n| / sqrt(2)` for Brownian motion."""
    pulled = pulled_back(dynamics, x, normals)
    driver = dynamics.driver
    if isinstance(driver, StableComponents):
        return jnp.sum(_power(pulled, driver.alpha), 1) ** (1 / driver.alpha)
    size = jnp.sqrt(jnp.sum(pulled * pulled, 1))
    return size * jnp.sqrt(0.5).astype(size.dtype) if isinstance(driver, Brownian) else size


def _jump_across(dynamics: Dynamics, x: Point, normals: Float[Array, "k d"]) -> Float[Array, " k"]:
    """How far a jump of size 1 goes across each face: `|S' n|` for isotropic noise, exact with its
    constant; the mean over coordinates, weighed by how often each jumps, for components (exact
    where the normal is an axis of the noise)."""
    pulled = pulled_back(dynamics, x, normals)
    driver = dynamics.driver
    if not isinstance(driver, StableComponents):
        return jnp.sqrt(jnp.sum(pulled * pulled, 1))
    weight = _power(pulled, driver.alpha)
    total = jnp.sum(weight, 1)
    return jnp.sum(weight * jnp.abs(pulled), 1) / jnp.where(total > 0, total, 1)


def _power(x: Array, alpha: Array) -> Array:
    """`|x|^alpha`, by the fast primitives; 0 for x too small for a float."""
    size = jnp.abs(x)
    tiny = jnp.finfo(x.dtype).tiny
    return jnp.where(size > tiny, exp2(alpha * log2(jnp.maximum(size, tiny))), 0)


def pulled_back(dynamics: Dynamics, x: Point, normals: Float[Array, "k d"]) -> Float[Array, "k m"]:
    """`epsilon S(x)' n` for each normal."""
    y = jax.ShapeDtypeStruct((dynamics.noise_dim,), x.dtype)
    transposed = jax.linear_transpose(lambda y: dynamics.epsilon * dynamics.scale.apply(y, x), y)
    return jax.vmap(lambda n: transposed(n)[0])(normals)


def check_boundary(domain: Arg[Domain], dynamics: Arg[Dynamics]) -> tuple[Domain, Dynamics]:
    """A domain with faces and an equation of first order whose noise moves the position at once,
    or an error."""
    domain = as_domain(domain, "Ball(radius=1.0, center=jnp.zeros(2))")
    if not isinstance(dynamics, FirstOrder) or dynamics.response != "linear":
        raise TypeError(
            "dynamics must be SGD (Ito), Langevin or SDE, whose noise moves the position at once, "
            f"not {type(dynamics).__name__}. For others simulate with EulerMaruyama and "
            "extrapolate over dt."
        )
    if not isinstance(dynamics.driver, Brownian | StableComponents | StableIsotropic):
        raise TypeError(
            "the driver must be Brownian, StableComponents or StableIsotropic, not "
            f"{type(dynamics.driver).__name__}: for others no constant is known. Extrapolate over "
            "dt."
        )
    if domain.dim != dynamics.dim:
        raise ValueError(
            f"the domain takes points of {domain.dim} dimensions, the dynamics move in "
            f"{dynamics.dim}. Make them one."
        )
    jax.eval_shape(domain.faces, jax.ShapeDtypeStruct((domain.dim,), jnp.zeros(0).dtype))
    return domain, dynamics
