"""The mean escape time of a heavy-tailed SDE from forced jumps, whatever its size: the renewal
estimator under `law_error`.

Notation: nu the driver's Lévy measure, r_i the size at which a jump along ray i leaves the basin
from the attractor, R < r_i a cutoff. Put a trajectory back to rest whenever it has left. Then the
rate of leaving is the number of exits over the time of a cycle, and a cycle is: rest under the
jumps below R, one jump beyond R, and the whole process for a time tau after it. With the jumps
beyond R in strata j (of their size over the crossing) of masses nu_j, p_j the chance to leave
within tau after a jump of the stratum, life_j the mean of min(exit time, tau), and k the rate of
exits by the jumps below R alone,

    rate = (k + sum_j nu_j p_j) / (1 + sum_j nu_j life_j).

The masses are known, so only chances of order one are simulated: the cost does not grow as escapes
get rarer. Stratum 0 is the jumps that leave from the attractor. Its mass is the rate of the escape
law, so that what is estimated is the difference. A tau that is too long costs variance and no bias
(as tau grows this becomes direct simulation); one that is too short misses exits after landings
near the boundary, where the flow is slow. It is doubled until a window adds nothing.

The relation of the mean to the flux of a recycled process: Hill, "Free Energy Transduction in
Biology" (1977); Aristoff and Zuckerman, Multiscale Model. Simul. 18 (2020).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde.escape import advance_lanes
from levysde.kernels import EulerMaruyama, TamedEuler
from levysde.protocols import Domain, Dynamics, NoiseVector, State
from levysde.random import split_uint64, trajectory_key
from levysde.theory.jump_strata import Cut, Rays, strata
from levysde.theory.stable_law import EscapeLaw

_LIVE = 1e-3  # of the law's rate: a stratum with less mass is left out
# of the jumps, shared equally between the strata; the rest goes where the variance is
_PILOT = 0.25
# of the rate: a window that adds less than this beyond the background ends the doubling
_ADDS = 0.02
_DOUBLINGS = 6
_RELAX = 6.0  # of the slowest time of the flow: how long a state comes to rest
_AFTER = 12.0  # of the same: the first tau
_SETTLING = 30.0  # of the same: how long the noiseless flow after a landing is followed
_LANDINGS = 256  # jumps inside whose flow is followed
_WIDTH = 64  # lanes of a block
_BACK = 0.95  # of the landings are back near the attractor by the settling time

Stepper = EulerMaruyama | TamedEuler


class Lanes:
    """States of the dynamics in one domain, advanced together by one stepper; the lane axis is
    last."""

    def __init__(self, kernel: Stepper, domain: Domain, seed: np.random.SeedSequence):
        self.kernel, self.domain, self.seed, self.steps = kernel, domain, seed, 0
        self.rest = kernel.dynamics.settled(kernel.dynamics.attractor)

    def run(self, state: State, time: float) -> tuple[State, np.ndarray, np.ndarray]:
        """States after `time` or at the exit, how long each lasted, and whether it left."""
        seed = self.seed.spawn(1)[0].generate_state(2, np.uint32)
        count = max(1, math.ceil(time / float(self.kernel.dt) * (1 - 1e-6)))

        def block(ids: np.ndarray, part: State) -> tuple[State, Any, Any]:
            key = trajectory_key(seed, split_uint64(ids))
            part, steps, left = advance_lanes(self.kernel, self.domain, part, key, count, self.rest)
            self.steps += int(steps.sum(dtype=np.uint64))
            return part, self.kernel.elapsed(part, steps), left

        return _by_blocks(block, state)


def _by_blocks(call: Callable[[np.ndarray, Any], tuple], lanes: Any) -> tuple:
    """`call(ids, part)` for blocks of lanes of one width, so that it compiles once; the last block
    is filled up with copies."""
    num = jax.tree.leaves(lanes)[0].shape[-1]
    results = []
    for first in range(0, num, _WIDTH):
        ids = np.minimum(np.arange(first, first + _WIDTH), num - 1)
        part = jax.tree.map(functools.partial(np.take, indices=ids, axis=-1), lanes)
        results.append(jax.tree.map(np.asarray, call(ids.astype(np.uint64), part)))
    return jax.tree.map(lambda *parts: np.concatenate(parts, -1)[..., :num], *results)


class Sample(NamedTuple):
    """Forced jumps so far: stratum, life, whether it left, `(num,)`, and their states, lanes
    last."""

    stratum: np.ndarray
    life: np.ndarray
    left: np.ndarray
    state: State

    def join(self, other: "Sample") -> "Sample":
        state = jax.tree.map(lambda a, b: np.concatenate([a, b], -1), self.state, other.state)
        stratum, life, left = (
            np.concatenate(pair) for pair in zip(self[:3], other[:3], strict=True)
        )
        return Sample(stratum, life, left, state)


@dataclass(frozen=True)
class Forced:
    """What forced jumps found: the rate with its standard error, jumps made, steps; a
    rate of exits by the jumps below the cutoff that would have been seen with 95% (0 where some
    were seen); and why it may be off."""

    rate: float
    error: float
    num: int
    steps: int
    unseen: float
    unresolved: str


def steps_of(num: int, slowest: float, dt: float) -> float:
    """About the least number of steps that `num` jumps take: rest before them, two windows after
    them, and following the flow."""
    return (num * (_RELAX + 2 * _AFTER) + _LANDINGS * _SETTLING) / slowest / dt


class ForcedJumps:
    """The estimator for one kernel and domain. `slowest` is the rate at which the noiseless flow
    comes to rest."""

    def __init__(self, kernel: Stepper, law: EscapeLaw, domain: Domain, slowest: float, seed: int):
        self.kernel, self.domain, self.rays = kernel, domain, Rays(law.rays)
        self.dynamics: Dynamics = kernel.dynamics
        self.crossing = law.ray_distance
        self.strata = strata(self.rays, self.crossing, law.ray_share)
        cutoff = jnp.asarray(self.strata.cutoff, dtype=float)
        cut = eqx.tree_at(lambda k: k.dynamics.driver, kernel, Cut(self.dynamics.driver, cutoff))
        resting, whole, draws = np.random.SeedSequence(seed).spawn(3)
        self.resting, self.whole = Lanes(cut, domain, resting), Lanes(kernel, domain, whole)
        self.rng = np.random.default_rng(draws)
        self.relax = _RELAX / slowest
        self.small_exits, self.small_time = 0, 0.0
        self.first = max(_AFTER / slowest, 2 * self._settling(_SETTLING / slowest))
        self.live = self.strata.masses > _LIVE * self.strata.masses[0]

    def steps(self, num: int) -> float:
        """About how many steps `num` jumps take."""
        return num * (self.relax + 2 * self.first) / float(self.kernel.dt)

    def _settling(self, longest: float) -> float:
        """The time by which most jumps that land inside are back near the attractor, without
        noise."""
        nearest = int(np.argmin(self.crossing))
        low = np.minimum(0.3 * self.crossing[nearest], self.strata.low[-1])
        jumps = self.rays.draw(self.rng, low, self.crossing, _LANDINGS)
        step = self.crossing[nearest] * self.rays.directions[nearest]
        core = 0.5 * jnp.linalg.norm(self.dynamics.jump(jnp.asarray(step, dtype=float)))
        count = math.ceil(longest / float(self.kernel.dt))
        last, home = _noiseless(
            self.kernel, self.domain, jnp.asarray(jumps, dtype=float), core, jnp.asarray(count)
        )
        last = np.asarray(last)[np.asarray(home)]
        return float(np.quantile(last, _BACK)) * float(self.kernel.dt) if len(last) else 0.0

    def batch(self, counts: np.ndarray) -> Sample:
        """States at rest, each after one jump of its stratum."""
        num = int(counts.sum())
        rest = self.dynamics.settled(self.dynamics.attractor)
        start = jax.tree.map(
            lambda leaf: np.broadcast_to(np.asarray(leaf)[..., None], (*np.shape(leaf), num)), rest
        )
        state, _, gone = self.resting.run(start, self.relax / 2)
        state, life, gone = self.resting.run(self.refilled(state, gone), self.relax / 2)
        self.small_exits += int(gone.sum())
        self.small_time += float(life.sum())
        state = self.refilled(state, gone)
        stratum = np.repeat(np.arange(len(counts)), counts)
        jumps = np.zeros((num, self.rays.directions.shape[1]))
        for j in np.flatnonzero(counts):
            jumps[stratum == j] = self.rays.draw(
                self.rng, self.strata.low[j], self.strata.high[j], int(counts[j])
            )
        lanes = state, jumps.T.astype(jnp.result_type(float))
        state, inside = _by_blocks(lambda _, part: _jumped(self.kernel, self.domain, *part), lanes)
        return Sample(stratum, np.full(num, float(self.kernel.dt)), ~inside, state)

    def refilled(self, state: State, gone: np.ndarray) -> State:
        """The states, with copies of others in place of those that left."""
        keep = np.flatnonzero(~gone)
        if not len(keep):
            raise Restless
        chosen = np.where(gone, self.rng.choice(keep, len(gone)), np.arange(len(gone)))
        return _taken(state, chosen)

    def follow(self, sample: Sample, window: float) -> Sample:
        """Those that are still inside, followed for another `window`."""
        here = np.flatnonzero(~sample.left)
        if not len(here):
            return sample
        ends, lived, gone = self.whole.run(_taken(sample.state, here), window)
        life, left = sample.life.copy(), sample.left.copy()
        life[here] += lived
        left[here] = gone
        state = jax.tree.map(lambda all_, part: _put(all_, here, part), sample.state, ends)
        return Sample(sample.stratum, life, left, state)

    def estimate(
        self, sample: Sample, before: Sample | None = None
    ) -> tuple[float, float, np.ndarray, float]:
        """Rate, its standard error, each stratum's standard deviation, and what the exits since
        `before` add to the rate beyond the background."""
        masses, small = self.strata.masses, self.small_exits / self.small_time
        counts = np.bincount(sample.stratum, minlength=len(masses))
        some = np.maximum(counts, 1)
        chance = np.bincount(sample.stratum, sample.left, len(masses)) / some
        cycle = 1 + (masses * (np.bincount(sample.stratum, sample.life, len(masses)) / some)).sum()
        rate = (small + (masses * chance).sum()) / cycle
        score = sample.left - rate * sample.life
        deviation, added = np.zeros(len(masses)), 0.0
        variance = self.small_exits / self.small_time**2
        for j in np.flatnonzero(counts):
            here = sample.stratum == j
            # at least the variance of one more exit than was seen: none of a hundred is no proof of
            # none
            deviation[j] = math.sqrt(max(score[here].var(), 1 / (counts[j] + 2)))
            variance += (masses[j] * deviation[j]) ** 2 / counts[j]
            if before is not None:
                new = sample.left[here] & ~before.left[here]
                added += masses[j] * (new - rate * (sample.life - before.life)[here]).mean()
        return rate, math.sqrt(variance) / cycle, deviation, added

    def run(self, num: int, tell: Callable[[int], Any], budget: float) -> Forced:
        """`num` forced jumps; `tell` is called with the number of steps made. No new window is
        begun beyond `budget` steps."""
        masses = self.strata.masses
        pilot = np.where(self.live, max(40, round(_PILOT * num / self.live.sum())), 0)
        sample = self.follow(self.batch(pilot), self.first)
        tell(self.made)
        wanted = masses * np.maximum(self.estimate(sample)[2], 0.05) * self.live
        counts = np.maximum(num - pilot.sum(), 0) * wanted / wanted.sum()
        sample = sample.join(self.follow(self.batch(counts.round().astype(int)), self.first))
        tell(self.made)
        tau, growing = self.first, True
        for doubling in range(_DOUBLINGS):
            if self.made + int((~sample.left).sum()) * tau / float(self.kernel.dt) > budget:
                break
            before, sample = sample, self.follow(sample, tau)
            tell(self.made)
            tau *= 2
            rate, _, _, added = self.estimate(sample, before)
            if (doubling and added < _ADDS * rate) or added < 0 or tau > 0.5 / rate:
                growing = False
                break
        rate, error, _, _ = self.estimate(sample)
        unseen = 0.0 if self.small_exits else 3.0 / self.small_time
        why = self._unresolved(sample, rate, growing)
        return Forced(rate, error, len(sample.left), self.made, unseen, why)

    def _unresolved(self, sample: Sample, rate: float, growing: bool) -> str:
        """Why the number may be off by more than its interval; empty where nothing says so."""
        if not np.isfinite(np.asarray(jax.tree.leaves(sample.state)[0])).all():
            return "some of the simulated states became NaN or infinite: take a smaller dt"
        if growing:
            return "exits went on long after the jumps"
        masses = self.strata.masses
        low = sample.stratum == len(masses) - 1
        if not sample.left[low].any() and 3 * masses[-1] / max(1, low.sum()) > 0.1 * rate:
            return (
                "the shortest of the forced jumps are too frequent to see the few that leave: "
                "escapes take several jumps"
            )
        return ""

    @property
    def made(self) -> int:
        """Steps made so far."""
        return self.resting.steps + self.whole.steps


class Restless(Exception):
    """All states left by jumps below the cutoff before they came to rest."""


def _taken(lanes: Any, where: np.ndarray) -> Any:
    return jax.tree.map(lambda leaf: leaf[..., where], lanes)


def _put(lanes: np.ndarray, where: np.ndarray, values: np.ndarray) -> np.ndarray:
    lanes = lanes.copy()
    lanes[..., where] = values
    return lanes


@eqx.filter_jit
def _jumped(
    kernel: Stepper, domain: Domain, state: State, jumps: Float[Array, "m num"]
) -> tuple[State, Array]:
    """The states after a jump each, and whether they are inside then."""
    dynamics, dt = kernel.dynamics, kernel.dt
    after = jax.vmap(lambda s, y: dynamics.step(s, dt, y), in_axes=-1, out_axes=-1)(state, jumps)
    return after, jax.vmap(lambda s: domain.contains(dynamics.position(s)), in_axes=-1)(after)


@eqx.filter_jit
def _noiseless(
    kernel: Stepper, domain: Domain, jumps: Float[Array, "num m"], core: Array, count: Array
) -> tuple[Array, Array]:
    """The last step at which the flow after each jump is further than `core` from the attractor,
    and whether it stays."""
    dynamics, dt = kernel.dynamics, kernel.dt
    still = jnp.zeros(jumps.shape[1], jumps.dtype)

    def one(y: NoiseVector) -> tuple[Array, Array]:
        def turn(i: Array, carry: tuple) -> tuple:
            state, inside, last = carry
            state = dynamics.step(state, dt, still)
            x = dynamics.position(state)
            far = jnp.sqrt(jnp.sum((x - dynamics.attractor) ** 2)) > core
            return state, inside & domain.contains(x), jnp.where(far, i + 1, last)

        state = dynamics.step(dynamics.settled(dynamics.attractor), dt, y)
        begun = state, domain.contains(dynamics.position(state)), jnp.zeros((), count.dtype)
        _, inside, last = jax.lax.fori_loop(0, count, turn, begun)
        return last, inside & (last < count)

    return jax.vmap(one)(jumps)
