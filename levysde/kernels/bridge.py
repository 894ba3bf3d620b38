"""Crossings between the grid times of a Gaussian SDE, by the Brownian bridge.

Notation, along the normal of a face: a, b the distances inside before and after a step of length h,
s^2 the variance of the noise per unit time. Given both ends, the path between them has left with
probability

    exp(-2 a b / (s^2 h))  for b > 0, else 1,

and then it first did so at tau, `tau / (h - tau)` being inverse Gaussian of mean `a / |b|` and
shape `a^2 / (s^2 h)` (the density of the first passage times that of the rest of the way). Gobet,
Stochastic Process. Appl. 87 (2000); the draw by Michael, Schucany, Haas, Amer. Statist. 30 (1976).
Exact for a half-space without drift; a drift or a curve costs O(h).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde.domains import check_boundary, pulled_back
from levysde.kernels.euler import Stepper
from levysde.noise import Brownian
from levysde.protocols import Domain, Dynamics, Kernel, Point, State, Truth, Words
from levysde.random import normals, unit_pair
from levysde.types import Arg

WORDS = 4  # of a crossing test
_NEAR = (1e-3, 0.1)  # of the noise of a step: how far beyond a face a path that crossed is put


class Crossing(NamedTuple):
    """Whether a path left between two points, the share of the step made by then, and a place just
    outside there."""

    left: Truth
    share: Array
    place: Point


class BridgedState(NamedTuple):
    """The kernel's state, the position shown, and how long before the end of its last step the path
    left; 0 inside."""

    base: State
    place: Point
    early: Array


class Bridged(Stepper):
    """A Gaussian kernel that also notices that it left `domain` between two steps, and when: exits
    of weak order one in dt where those of the skeleton have order one half.

    Args:
        kernel: a stepper of `SGD` (Ito) with `Brownian` noise, or of `Langevin`: `EulerMaruyama`,
            or `OrnsteinUhlenbeck`, whose drift has no error near the minimum, so that hardly any is
            left.
        domain: the one that `simulate_escape` gets, with a formula for its boundary (see
            `Domain.faces`).

    Raises:
        ValueError, TypeError: parts of another kind or dimension: stable noise crosses by jumps,
            see `JumpAdapted`.

    Source:
        Gobet, Stochastic Process. Appl. 87, 2000; the draw of the time Michael, Schucany, Haas,
        Amer. Statist. 30, 1976.
    """

    kernel: Kernel
    domain: Domain

    def __init__(self, kernel: Arg[Kernel], domain: Arg[Domain]):
        dynamics = getattr(kernel, "dynamics", None)
        if not isinstance(kernel, Kernel) or dynamics is None or isinstance(kernel, Bridged):
            raise TypeError(
                f"kernel must be a stepper of an SDE, not {kernel!r}. For example "
                "Bridged(EulerMaruyama(dynamics, dt=1e-2), domain)."
            )
        self.domain, _ = check_boundary(domain, dynamics)
        if not isinstance(dynamics.driver, Brownian):
            raise TypeError(
                f"{type(dynamics.driver).__name__} has jumps, and between two steps no Brownian "
                "bridge. Type JumpAdapted(dynamics, dt=..., cutoff=..., domain=domain), or "
                "Shifted(domain, dynamics, dt=...)."
            )
        self.kernel = kernel

    @property
    def dynamics(self) -> Dynamics:
        """The SDE that is stepped."""
        return self.kernel.dynamics  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def dt(self) -> Array:
        """The step, in SDE time."""
        return self.kernel.dt  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def words_per_step(self) -> int:
        return self.kernel.words_per_step + WORDS

    @property
    def words_per_init(self) -> int:
        return self.kernel.words_per_init

    def init(self, x0: Point, words: Words) -> BridgedState:
        base = self.kernel.init(x0, words)
        return BridgedState(base, self.kernel.position(base), jnp.zeros((), x0.dtype))

    def step(self, words: Words, state: BridgedState) -> BridgedState:
        base = self.kernel.step(words[WORDS:], state.base)
        after = self.kernel.position(base)
        dt = self.dt.astype(after.dtype)
        found = crossing(self.domain, self.dynamics, state.place, after, dt, 1.0, words[:WORDS])
        return BridgedState(
            base,
            jnp.where(found.left, found.place, after),
            jnp.where(found.left, (1 - found.share) * dt, 0),
        )

    @property
    def exits_on_grid(self) -> bool:
        """False: a crossing between two steps is noticed."""
        return False

    def settled(self, x: Point) -> BridgedState:
        return BridgedState(self.kernel.settled(x), x, jnp.zeros((), x.dtype))

    def noiseless(self, state: BridgedState) -> BridgedState | None:
        base = self.kernel.noiseless(state.base)
        return None if base is None else state._replace(base=base, place=self.kernel.position(base))

    def position(self, state: BridgedState) -> Point:
        return state.place

    def elapsed(self, state: Any, steps: Any) -> Any:
        return self.kernel.elapsed(state.base, steps) - np.asarray(state.early, np.float64)

    def steps_within(self, time: float) -> int:
        return self.kernel.steps_within(time)


def crossing(
    domain: Domain,
    dynamics: Dynamics,
    before: Point,
    after: Point,
    h: Array,
    variance: Any,
    words: Words,
) -> Crossing:
    """The test over a time `h`, for Gaussian noise of `variance` per unit time and coordinate of
    the driver; words `(4,)`."""
    dtype = after.dtype
    # materialised here and below: fused into what follows, the faces would be computed anew for
    # every coordinate
    a, normal = jax.lax.optimization_barrier(domain.faces(before))
    b, _ = jax.lax.optimization_barrier(domain.faces(after))
    a = jnp.maximum(a, 0)
    pulled = pulled_back(dynamics, before, normal)
    spread = variance * h * jnp.sum(pulled * pulled, 1)  # s^2 h
    spread = jnp.maximum(spread, jnp.finfo(dtype).tiny)
    chance = jnp.where(b > 0, jnp.exp(-2 * a * b / spread), 1)
    stays_out = ~domain.contains(after)
    uniform, _ = unit_pair(words[0], dtype)
    # never where all chances are 0: a uniform may round to 1, not to 0
    left = uniform < -jnp.expm1(jnp.sum(jnp.log1p(-chance)))
    # the face that it is furthest beyond, or likeliest to have left by
    i = jnp.arange(len(a)) == jnp.argmax(jnp.where(b > 0, chance, 1 - b))
    a, b, spread = (jnp.sum(jnp.where(i, values, 0)) for values in (a, b, spread))
    share = jax.lax.optimization_barrier(_first_passage(a, b, spread, words[1:]))
    on_the_way = before + share * (after - before)
    gap, outward = jax.lax.optimization_barrier(domain.faces(on_the_way))
    gap, outward = jnp.sum(jnp.where(i, gap, 0)), jnp.sum(jnp.where(i[:, None], outward, 0), 0)
    place, outside = after, stays_out  # outside already, unless the path came back
    for beyond in _NEAR[::-1]:
        least = 8 * jnp.finfo(dtype).eps * jnp.max(jnp.abs(after))
        candidate = on_the_way + (gap + beyond * jnp.sqrt(spread) + least) * outward
        candidate = jax.lax.optimization_barrier(candidate)
        beyond_it = jax.lax.optimization_barrier(~domain.contains(candidate))
        place, outside = jnp.where(beyond_it, candidate, place), outside | beyond_it
    return Crossing(left & outside, share, place)


def _first_passage(a: Array, b: Array, spread: Array, words: Words) -> Array:
    """`tau / h`. The inverse Gaussian is drawn from a normal y and a uniform as
    `x = m / (q + sqrt(1 + q^2))^2`, `q^2 = m y^2 / (4 shape)`, or, with probability
    `x / (m + x)`, as `m^2 / x`."""
    m = jnp.maximum(a, 1e-30) / jnp.maximum(jnp.abs(b), 1e-6 * a + 1e-30)
    y = normals(words[:2], 1, a.dtype)[0]
    q = jnp.abs(y) / 2 * jnp.sqrt(spread / (jnp.maximum(a, 1e-30) ** 2 / m))
    shrink = 1 / (q + jnp.sqrt(1 + q * q)) ** 2
    uniform, _ = unit_pair(words[2], a.dtype)
    ratio = m * jnp.where(uniform * (1 + shrink) <= 1, shrink, 1 / shrink)
    return ratio / (1 + ratio)
