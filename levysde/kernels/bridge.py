"""Exits between the times of two steps: of a Gaussian SDE by the Brownian bridge, and of a stable
SDE by a step that ends at every large jump, so that dt does not limit when an exit is seen.

Bridge. Along the normal of a face: a, b the distances inside before and after a step of length h,
s^2 the variance of the noise per unit time. Given both ends, the path between them has left with
probability

    exp(-2 a b / (s^2 h))  for b > 0, else 1,

and then it first did so at tau, `tau / (h - tau)` being inverse Gaussian of mean `a / |b|` and
shape `a^2 / (s^2 h)` (the density of the first passage times that of the rest of the way). Gobet,
Stochastic Process. Appl. 87 (2000); the draw by Michael, Schucany, Haas, Amer. Statist. 30 (1976).
Exact for a half-space without drift; a drift or a curve costs O(h).

Jump-adapted. Jumps of the driver larger than the cutoff c come as a Poisson process of rate
`lambda = T c^-a` (one coordinate at a time for components), of size `c U^(-1/a)`; those below it
are replaced by Brownian motion of the same variance (Asmussen, Rosinski, J. Appl. Probab. 38,
2001). A step goes
to the next large jump, or for dt, whichever is sooner: a midpoint step of the flow with the
Gaussian part, then the jump. The trajectory keeps its own clock.

What is left is an error of the cutoff: the boundary seems nearer by `gamma_a s c`, which
`Shifted(domain, dynamics, cutoff=c)` takes back (`levysde.noise.boundary`).
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.domains import check_boundary, pulled_back
from levysde.dynamics import FirstOrder
from levysde.kernels.euler import Stepper
from levysde.kernels.reflect import OfKernel
from levysde.noise import Brownian, StableComponents, StableIsotropic, small_jump_variance
from levysde.protocols import Domain, Dynamics, Kernel, Point, State, Truth, Words
from levysde.random import exponential, log2, normals, unit_pair
from levysde.types import Arg, Number

WORDS = 4  # of a crossing test
_LOG2_CAP = float(np.log2(1e30))
_UNITS = 2**20  # of the clock in a step dt
_FULL = 2.0**32 - 512  # the largest count of steps that float32 holds below 2^32
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


class Bridged(OfKernel):
    """A Gaussian kernel that also detects exits from `domain` between two steps, and their times.
    Escape times then have weak order 1 in dt instead of 1/2.

    Args:
        kernel: a stepper of `SGD` (Ito) or `SDE` with `Brownian` noise, or of `Langevin`:
            `EulerMaruyama`, or `OrnsteinUhlenbeck`, whose drift has no error near the minimum, so
            that hardly any is left.
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
    def words_per_step(self) -> int:
        return self.kernel.words_per_step + WORDS

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


class JumpAdaptedState(NamedTuple):
    """Position; time to the next large jump, as full steps dt and a rest below dt; and the clock:
    whole steps dt, and parts of one in units of 2^-20. In integers, since a running float would
    lose short steps."""

    x: Point
    full: Array
    rest: Array
    whole: Array
    part: Array


class JumpAdapted(Stepper):
    """A stepper for stable noise whose large jumps come at their own times (see the top of this
    file).

    Args:
        dynamics: `SGD` (Ito) or `SDE` with `StableComponents` or `StableIsotropic`.
        dt: longest step, positive, in SDE time: what the flow and the Gaussian part need.
        cutoff: c, positive, in units of the driver: a jump moves the position by epsilon S times
            its size, so let `epsilon * cutoff` be well below the size of the domain.
        domain: the one that `simulate_escape` gets; when given, exits by the Gaussian part
            between two times are detected by a Brownian bridge.

    Raises:
        ValueError, TypeError: parts of another kind, noise whose numbers JAX traces, or numbers out
            of range.

    Source:
        Asmussen, Rosinski, J. Appl. Probab. 38, 2001.
    """

    dynamics: FirstOrder
    dt: Array
    cutoff: Array
    rate: Array
    variance: Array
    domain: Domain | None

    def __init__(
        self,
        dynamics: Arg[Dynamics],
        *,
        dt: Arg[Number],
        cutoff: Arg[Number],
        domain: Arg[Domain | None] = None,
    ):
        if not isinstance(dynamics, FirstOrder) or dynamics.response != "linear":
            raise TypeError(
                f"dynamics must be SGD (Ito) or SDE, not {type(dynamics).__name__}. For example "
                "JumpAdapted(SGD(well, StableComponents(alpha=1.5), epsilon=0.1), dt=0.01, "
                "cutoff=0.5)."
            )
        driver = errors.concrete("dynamics", dynamics.driver)
        if not isinstance(driver, StableComponents | StableIsotropic):
            raise TypeError(
                "the driver must be StableComponents or StableIsotropic, not "
                f"{type(driver).__name__}. EulerMaruyama takes others; for Brownian motion type "
                "Bridged(EulerMaruyama(...), domain)."
            )
        self.dynamics = dynamics
        self.dt = errors.positive("dt", dt, "dt=0.01")
        self.cutoff = errors.positive("cutoff", cutoff)
        self.variance, self.rate = _jumps(dynamics, self.cutoff)
        self.domain = None if domain is None else check_boundary(domain, dynamics)[0]

    def _derived(self) -> dict[str, Array]:
        return dict(zip(("variance", "rate"), _jumps(self.dynamics, self.cutoff), strict=True))

    @property
    def words_per_step(self) -> int:
        """Those of the Gaussian part, the jump's direction, its size, the next wait, and the
        bridge's."""
        even = 2 * ((self.dynamics.noise_dim + 1) // 2)
        direction = even if isinstance(self.dynamics.driver, StableIsotropic) else 1
        return 3 + even + direction + (0 if self.domain is None else WORDS)

    @property
    def words_per_init(self) -> int:
        return 1

    def init(self, x0: Point, words: Words) -> JumpAdaptedState:
        zero = jnp.zeros((), jnp.uint32)
        return JumpAdaptedState(x0, *self._wait(words[0], x0.dtype), zero, zero)

    def _wait(self, word: Array, dtype: Any) -> tuple[Array, Array]:
        """The time to a jump, as full steps and the rest."""
        steps = exponential(word, dtype) / (self.rate * self.dt)
        full = jnp.floor(jnp.minimum(steps, _FULL))
        return full.astype(jnp.uint32), jnp.minimum(steps - full, 1) * self.dt

    def step(self, words: Words, state: JumpAdaptedState) -> JumpAdaptedState:
        dynamics, x, dtype = self.dynamics, state.x, state.x.dtype
        m = dynamics.noise_dim
        even = 2 * ((m + 1) // 2)
        lands = state.full == 0
        h = jnp.where(lands, state.rest, self.dt)
        gaussian = jnp.sqrt(self.variance * h) * normals(words[3 : 3 + even], m, dtype)
        noise = dynamics.kick(gaussian, x)
        middle = x + (noise - h * dynamics.force(x)) / 2
        move = noise - h * dynamics.force(middle)
        after = x + move
        jump = self._jump(words[2], words[1], words[3 + even :], m)
        landed = jnp.where(lands, x + (move + dynamics.kick(jump, after)), after)
        if self.domain is not None:
            found = crossing(self.domain, dynamics, x, after, h, self.variance, words[-WORDS:])
            landed = jnp.where(found.left, found.place, landed)
            h = jnp.where(found.left, found.share * h, h)
        full, rest = self._wait(words[0], dtype)
        full = jnp.where(lands, full, state.full - jnp.uint32(1))
        rest = jnp.where(lands, rest, state.rest)
        part = state.part + jnp.round(h / self.dt * _UNITS).astype(jnp.uint32)
        return JumpAdaptedState(landed, full, rest, state.whole + part // _UNITS, part % _UNITS)

    def _jump(self, size: Array, finer: Array, words: Words, m: int) -> Point:
        """A jump beyond the cutoff."""
        driver, dtype = self.dynamics.driver, self.cutoff.dtype
        log2_size = exponential(size, dtype, finer=finer) * (math.log2(math.e) / driver.index)
        length = jnp.exp2(jnp.minimum(log2_size + log2(self.cutoff), _LOG2_CAP))
        if isinstance(driver, StableIsotropic):
            direction = normals(words, m, dtype)
            return length * direction / jnp.sqrt(jnp.sum(direction * direction))
        axis = (words[0] >> jnp.uint32(1)) % jnp.uint32(m)
        sign = (words[0] & jnp.uint32(1)).astype(dtype) * 2 - 1
        return jnp.where(jnp.arange(m, dtype=jnp.uint32) == axis, length * sign, 0)

    def noiseless(self, state: JumpAdaptedState) -> JumpAdaptedState:
        gradient = self.dynamics.force
        return state._replace(
            x=state.x - self.dt * gradient(state.x - self.dt * gradient(state.x) / 2)
        )

    def position(self, state: State) -> Point:
        return state.x

    def elapsed(self, state: Any, steps: Any) -> Any:
        return (
            np.asarray(state.whole, np.float64) + np.asarray(state.part, np.float64) / _UNITS
        ) * float(self.dt)

    def steps_within(self, time: float) -> int:
        """So many that the clock has reached `time` but for a chance of 1e-9: a jump cuts a step
        short."""
        jumps = float(self.rate) * time
        return max(1, math.ceil(time / float(self.dt) + jumps + 6 * math.sqrt(jumps) + 20))


def _jumps(dynamics: FirstOrder, cutoff: Array) -> tuple[Array, Array]:
    """The variance of the jumps below the cutoff and the rate of those above."""
    driver: Any = dynamics.driver
    a, dim = float(driver.alpha), dynamics.noise_dim
    small = small_jump_variance(driver, dim) * cutoff ** (2 - a)
    return small, driver.levy_rays(dim, 2, 0).total() * cutoff**-a
