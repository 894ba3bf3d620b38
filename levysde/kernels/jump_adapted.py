"""Stable SDEs with every large jump at its own time, so that dt does not limit when an exit is
seen.

Notation: jumps of the driver larger than the cutoff c come as a Poisson process of rate
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

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.domains import check_boundary
from levysde.dynamics import SGD
from levysde.kernels.bridge import WORDS, crossing
from levysde.kernels.euler import Stepper
from levysde.noise import StableComponents, StableIsotropic, small_jump_variance
from levysde.protocols import Domain, Dynamics, Point, State, Words
from levysde.random import exponential, log2, normals
from levysde.types import Arg, Number

_LOG2_CAP = float(np.log2(1e30))
_UNITS = 2**20  # of the clock in a step dt
_FULL = 2.0**32 - 512  # the largest count of steps that float32 holds below 2^32


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
        dynamics: `SGD` (Ito) with `StableComponents` or `StableIsotropic`.
        dt: longest step, positive, in SDE time: what the flow and the Gaussian part need.
        cutoff: c, positive, in units of the driver: a jump moves the position by epsilon S times
            its size, so let `epsilon * cutoff` be well below the size of the domain.
        domain: when given, a path that leaves it by its Gaussian part between two times is noticed,
            by a Brownian bridge: the one that `simulate_escape` gets.

    Raises:
        ValueError, TypeError: parts of another kind, noise whose numbers JAX traces, or numbers out
            of range.

    Source:
        Asmussen, Rosinski, J. Appl. Probab. 38, 2001.
    """

    dynamics: SGD
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
        if not isinstance(dynamics, SGD) or dynamics.response != "linear":
            raise TypeError(
                f"dynamics must be SGD (Ito), not {type(dynamics).__name__}. For example "
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
        middle = x + (noise - h * dynamics.landscape.gradient(x)) / 2
        move = noise - h * dynamics.landscape.gradient(middle)
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
        gradient = self.dynamics.landscape.gradient
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


def _jumps(dynamics: SGD, cutoff: Array) -> tuple[Array, Array]:
    """The variance of the jumps below the cutoff and the rate of those above."""
    driver: Any = dynamics.driver
    a, dim = float(driver.alpha), dynamics.noise_dim
    small = small_jump_variance(driver, dim) * cutoff ** (2 - a)
    return small, driver.levy_rays(dim, 2, 0).total() * cutoff**-a
