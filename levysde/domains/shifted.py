"""A domain with its boundary moved by what a stepper's small scales cost, so that exits come
neither late nor early."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from levysde import errors
from levysde.domains.implicit import search_ray
from levysde.dynamics import SGD, Langevin
from levysde.interfaces import check_domain
from levysde.noise import (
    Brownian,
    StableComponents,
    StableIsotropic,
    boundary_shift,
    small_jump_shift,
)
from levysde.protocols import Domain, Dynamics, Label, Point, Scalar, Truth
from levysde.random import exp2, log2
from levysde.types import Arg, Number


class Shifted(Domain):
    """`domain` with its boundary moved to where the exits of a stepper come on time, to leading
    order.

    With `dt`, the step of a skeleton such as `EulerMaruyama`: inwards by `rho_a s dt^(1/a)`, s the
    scale of the noise across the boundary there (`levysde.noise.boundary_shift`). With `cutoff`,
    that of `JumpAdapted`: outwards by `gamma_a s cutoff` (`levysde.noise.small_jump_shift`).

    Both hold where paths reach the boundary by their small jumps. Where the noise is so small that
    the drift keeps them off it, an exit is one large jump and needs no shift: then it makes the
    mean wrong by alpha times its share of the way to the boundary, so let it be small, by a small
    dt or cutoff (an Ornstein-Uhlenbeck well at epsilon = 0.05, a cutoff of a fifth of the way: 2%
    late).

    It belongs to an SDE, whose dt is an error. For a real optimiser dt is the learning rate, and
    its exits are as late as they are: nothing applies it by itself.

    Args:
        domain: with a formula for its boundary: Ball, Box, Ellipsoid, HalfSpaces, Sublevel,
            Intersection.
        dynamics: `SGD` (Ito) or `Langevin`, with Brownian or stable noise.
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
        """Whether the boundary is where the exits of steps of dt come on time."""
        return not self.by_cutoff

    def label(self, x: Point) -> Label:
        """That of the face which `x` is furthest beyond."""
        distance, normal = self.faces(x)
        worst = jnp.argmin(distance)
        beyond = x + (self.domain.faces(x)[0][worst] + 2 * jnp.abs(distance[worst])) * normal[worst]
        label = jnp.maximum(self.domain.label(jnp.where(self.domain.contains(x), beyond, x)), 1)
        return jnp.where(self.contains(x), 0, label)

    def ray_distance(self, x: Point, v: Point) -> Scalar:
        return jnp.where(self.contains(x), search_ray(self.contains, x, v), 0)

    @property
    def dim(self) -> int:
        """d, the length of the points it takes."""
        return self.domain.dim

    @property
    def convex(self) -> bool:
        return False


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
    """A domain with faces and a gradient flow whose noise moves the position at once, or an
    error."""
    if not isinstance(domain, Domain):
        raise TypeError(
            f"domain must be a Domain, not {domain!r}. For example Ball(radius=1.0, "
            "center=jnp.zeros(2))."
        )
    if not isinstance(dynamics, SGD | Langevin) or dynamics.response != "linear":
        raise TypeError(
            "dynamics must be SGD (Ito) or Langevin, whose noise moves the position at once, not "
            f"{type(dynamics).__name__}. For others simulate with EulerMaruyama and extrapolate "
            "over dt."
        )
    if not isinstance(dynamics.driver, Brownian | StableComponents | StableIsotropic):
        raise TypeError(
            "the driver must be Brownian, StableComponents or StableIsotropic, not "
            f"{type(dynamics.driver).__name__}: for others no constant is known. Extrapolate over "
            "dt."
        )
    if domain.dim != dynamics.landscape.dim:
        raise ValueError(
            f"the domain takes points of {domain.dim} dimensions, the dynamics move in "
            f"{dynamics.landscape.dim}. Make them one."
        )
    check_domain(domain)
    x = jax.ShapeDtypeStruct((domain.dim,), jnp.zeros(0).dtype)
    jax.eval_shape(domain.faces, x)
    return domain, dynamics
