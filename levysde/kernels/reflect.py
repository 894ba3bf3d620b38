"""A reflecting wall: a step that ends behind it is folded back along the wall's normal.

For Brownian noise this is the symmetrised Euler scheme, of weak order 1 (Bossy, Gobet, Talay, J.
Appl. Probab. 41, 2004). A jump that is longer than the region is wide is folded as often as needed
in a box or a ball, up to eight times in other shapes, and is then put on the wall where its
straight way meets it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from levysde import errors
from levysde.domains import Ball, Box
from levysde.dynamics import FirstOrder
from levysde.kernels.euler import FixedStep, Stepper
from levysde.protocols import Domain, Dynamics, Kernel, Point, State, Truth, Words
from levysde.types import Arg

_FOLDS = 8
_BEFORE = 1e-3  # of the way: how far before the wall a step is put that folding does not bring back


def _unfolded(domain: Domain, x: Point) -> Point:
    """`x` reflected as often as needed, in a box or a ball; elsewhere as it is."""
    if isinstance(domain, Box):
        wide = domain.upper - domain.lower
        bounded = jnp.isfinite(wide)
        return jnp.where(bounded, domain.lower + _wave(x - domain.lower, wide), x)
    if isinstance(domain, Ball):
        offset = x - domain.center
        # of a jump so long that its square leaves the floats too
        largest = jnp.max(jnp.abs(offset))
        unit = offset / jnp.where(largest > 0, largest, 1)
        length = jnp.sqrt(jnp.sum(unit * unit))
        unit = unit / jnp.where(length > 0, length, 1)
        back = _wave(largest * length + domain.radius, 2 * domain.radius) - domain.radius
        inside = largest * length < domain.radius
        return jnp.where(inside | ~jnp.isfinite(back), x, domain.center + back * unit)
    return x


def _wave(x: Array, wide: Array) -> Array:
    """Up and down between 0 and `wide` as x grows; x itself in between."""
    at = jnp.mod(x, 2 * wide)
    return jnp.where((x >= 0) & (x <= wide), x, jnp.where(at <= wide, at, 2 * wide - at))


class OfKernel(Stepper):
    """A stepper made of one other."""

    kernel: Kernel

    @property
    def dynamics(self) -> Dynamics:
        """The SDE that is stepped."""
        return self.kernel.dynamics  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def dt(self) -> Array:
        """The step, in SDE time."""
        return self.kernel.dt  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def unit(self) -> str:
        """Of time."""
        return self.kernel.unit

    @property
    def dim(self) -> int:
        """d, the length of the position."""
        return self.kernel.dim

    @property
    def words_per_step(self) -> int:
        return self.kernel.words_per_step

    @property
    def words_per_init(self) -> int:
        return self.kernel.words_per_init

    def admits(self, x: Point) -> Truth:
        return self.kernel.admits(x)

    def noise_directions(self) -> Array:
        return self.kernel.noise_directions()

    def steps_within(self, time: float) -> int:
        return self.kernel.steps_within(time)


class Reflected(OfKernel):
    """A kernel whose trajectories are reflected where they would leave `domain`.

    The domain of the wall is not the one that is escaped from: that is given to
    `simulate_escape`, and is to end somewhere inside the wall. Longer jumps than the region is wide
    are reflected as often as needed in a `Box` or a `Ball`; in other shapes they end on the wall
    after eight reflections, so there the mean depends on that number if such jumps are frequent. A
    trajectory of `sample_paths` that starts behind the wall is NaN.

    Args:
        kernel: `EulerMaruyama`, `TamedEuler` or `OrnsteinUhlenbeck` of an equation of first order.
        domain: the region behind the wall, with a formula for its boundary (see `Domain.faces`):
            `Ball`, `Box`, `Ellipsoid`, `HalfSpaces`, `Sublevel` or an `Intersection` of these.

    Raises:
        TypeError: another kernel, or a domain without such a formula.
        ValueError: dimensions that do not agree.

    Source:
        Bossy, Gobet, Talay, J. Appl. Probab. 41, 2004.
    """

    kernel: FixedStep
    domain: Domain

    def __init__(self, kernel: Arg[Kernel], domain: Arg[Domain]):
        dynamics = getattr(kernel, "dynamics", None)
        if not isinstance(kernel, FixedStep) or not isinstance(dynamics, FirstOrder):
            raise TypeError(
                "kernel must step an equation of first order by fixed steps, not "
                f"{errors.shown(kernel)}. For example Reflected(EulerMaruyama(dynamics, dt=1e-2), "
                "half_space(normal=[-1.0], offset=0.0))."
            )
        errors.instance("domain", domain, Domain, "half_space(normal=[-1.0], offset=0.0)")
        self.domain = domain
        if domain.dim != kernel.dim:
            raise ValueError(
                f"the wall takes points of {domain.dim} dimensions, the kernel moves in "
                f"{kernel.dim}. Make them one."
            )
        jax.eval_shape(domain.faces, jax.ShapeDtypeStruct((domain.dim,), jnp.result_type(float)))
        x = jax.ShapeDtypeStruct((kernel.dim,), jnp.result_type(float))
        if not isinstance(jax.eval_shape(kernel.settled, x), jax.ShapeDtypeStruct):
            raise TypeError(
                f"{type(kernel).__name__} may keep more than the position from step to step, which "
                "a wall does not reflect. Type Reflected(EulerMaruyama(dynamics, dt=1e-2), domain)."
            )
        self.kernel = kernel

    def admits(self, x: Point) -> Truth:
        """Whether `x` is in front of the wall, or on it."""
        gap, _ = self.domain.faces(x)
        rounding = 8 * jnp.finfo(x.dtype).eps * (1 + jnp.max(jnp.abs(x)))
        return jnp.all(gap >= -rounding)

    def init(self, x0: Point, words: Words) -> State:
        # behind the wall nothing would bring it back: NaN, which is seen
        return jnp.where(self.admits(x0), self.kernel.init(x0, words), jnp.nan)

    def settled(self, x: Point) -> State:
        return self.kernel.settled(x)

    def step(self, words: Words, state: Point) -> Point:
        return self._back(state, self.kernel.step(words, state))

    def noiseless(self, state: Point) -> Point:
        return self._back(state, self.kernel.noiseless(state))

    def _back(self, before: Point, after: Point) -> Point:
        def fold(_: Any, x: Point) -> Point:
            gap, normal = self.domain.faces(x)
            return x + 2 * jnp.sum(jnp.minimum(gap, 0)[:, None] * normal, 0)

        folded = jax.lax.fori_loop(0, _FOLDS, fold, _unfolded(self.domain, after))
        way = after - before
        share = jnp.minimum(self.domain.ray_distance(before, way), 1) * (1 - _BEFORE)
        stopped = jnp.where(self.domain.contains(before), before + share * way, before)
        # a position that is not finite stays so, and is told
        keeps = self.domain.contains(folded) | ~jnp.all(jnp.isfinite(after))
        return jnp.where(keeps, folded, stopped)

    def position(self, state: State) -> Point:
        return self.kernel.position(state)

    def elapsed(self, state: Any, steps: Any) -> Any:
        return self.kernel.elapsed(state, steps)
