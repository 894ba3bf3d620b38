"""What a jump at the attractor leads to: the landing point, and the noiseless flow after it.

Notation: `th*` the attractor, y a jump of the driver. Three ways of deciding whether y leaves the
domain:

    at once        the landing point is outside (`Dynamics.response` "linear" and "map");
    by the flow    the landing point is outside, or the noiseless flow from it goes outside before
                   it is back near `th*`;
    by averages    the same for dynamics whose noise enters an average ("flow"), followed at the
                   step `dt` of a simulation.

The flow after a landing is integrated by steps of controlled error: an explicit step against two
half steps, extrapolated (order 2). It ends when the position is outside (LEFT), within `near` of
`th*` (RETURNED), at rest elsewhere (ELSEWHERE), or when the steps are used up (UNKNOWN). The domain
is tested after every half step, and no step moves by more than the share `stride` of the
distance from `th*`: thinner layers of the outside are crossed unseen.

For averages, the flow is followed until the averages have spent what the jump gave them: a step
from the state is then a step from the settled state at its position, and the law assumes that this
flow stays where it is inside. Since an oscillating flow passes through such states, it must have
been so for half of the time since the jump.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from levysde.protocols import Domain, Dynamics, Point, State, Truth

RETURNED, LEFT, ELSEWHERE, UNKNOWN = 0, 1, 2, 3
# of the flow after a landing
_TOLERANCE = 2e-3  # error of a step, in units of the distance from the attractor
STRIDE = 0.05  # longest step, in the same units
_BEND = 0.5  # change of the velocity from one half step to the next, in units of itself
_STEPS = 30.0  # tried or made, over the stride
_FIRST = 1e-3  # first step, in units of the time of the stiffest relaxation
# 6 steps in a row that move by less than this, in the same units: another attractor
_RESTING = 1e-6, 6
# of the flow of averages: it is followed until a step differs from a settled one by less than this
# share of its largest step,
_SPENT = 1e-3
_ROUNDING = 4  # or by less than 4 roundings of the position
_BETWEEN = 8  # steps between two looks at that
LONGEST = 10**6  # steps
_GROWTH = 1e-3  # a flow that grows faster than this per step does not come back
_LARGEST_FLOW = 200  # dimensions up to which the eigenvalues of a step are computed
_BATCH = 256  # jumps at a time
# of what is asked of many jumps
CHUNK = 512  # jumps tested in one call
_THREADS = min(os.cpu_count() or 1, 8)  # calls at a time
# dimensions up to which a loss is cheap, and jumps a call beyond, for a network's memory
FEW, _NETWORK_CHUNK = 16, 128


class Response(eqx.Module):
    """What a jump at the attractor leads to.

    Attributes:
        dynamics, domain: what moves, and the basin.
        dt: step of the flow of averages.
        near: distance from the attractor at which a landing point counts as returned.
        first: first step of the flow after a landing, in SDE time.
        stride: longest step of that flow, in units of the distance from the attractor.
        follows: whether the flow after a landing decides, too.
    """

    dynamics: Dynamics
    domain: Domain
    dt: Array
    near: Array
    first: Array
    stride: Array
    follows: bool = eqx.field(static=True, default=False)

    def stays(self, y: Point) -> Truth:
        """Whether the driver's jump `y` at the attractor fails to leave the domain."""
        if self.dynamics.response == "flow":
            return self.average(y)[0]
        if self.follows:
            return self.end(y) != LEFT
        return self.domain.contains(self.dynamics.position(self.landing(y)))

    def landing(self, y: Point) -> State:
        """The state right after the jump `y` at the attractor."""
        dynamics = self.dynamics
        rest = dynamics.settled(dynamics.attractor)
        if dynamics.response == "map":
            return dynamics.step(rest, jnp.zeros_like(self.dt), y)
        return dynamics.move(rest, dynamics.attractor + dynamics.jump(y))

    def end(self, y: Point) -> Int[Array, ""]:
        """Where the noiseless flow after the jump `y` ends: RETURNED, LEFT, ELSEWHERE or
        UNKNOWN."""
        return self.end_of(self.landing(y))

    def end_of(self, state: State) -> Int[Array, ""]:
        """Where the noiseless flow from `state` ends."""
        dynamics, domain = self.dynamics, self.domain
        still = jnp.zeros(dynamics.noise_dim, self.dt.dtype)
        tiny, (resting, often) = jnp.finfo(self.dt.dtype).tiny, _RESTING
        most = (_STEPS / self.stride).astype(jnp.int32)

        def apart(x: Point) -> Array:
            return jnp.max(jnp.abs(x - dynamics.attractor))

        def going(carry: tuple) -> Truth:
            state, _, inside, quiet, count = carry
            return (
                inside
                & (apart(dynamics.position(state)) > self.near)
                & (quiet < often)
                & (count < most)
            )

        def advance(carry: tuple) -> tuple:
            state, h, inside, quiet, count = carry
            x = dynamics.position(state)
            once = dynamics.position(dynamics.step(state, h, still))
            half = dynamics.step(state, h / 2, still)
            full = dynamics.step(half, h / 2, still)
            middle, twice = dynamics.position(half), dynamics.position(full)
            new = twice + (twice - once)
            scale = apart(x) + self.near
            error = jnp.max(jnp.abs(twice - once)) / (_TOLERANCE * scale)
            ratio = jnp.maximum(error, jnp.max(jnp.abs(new - x)) / (self.stride * scale))
            speed, turn = (
                jnp.max(jnp.abs(part)) for part in (middle - x, (twice - middle) - (middle - x))
            )
            bend = jnp.where(speed > resting * scale / 4, turn / jnp.where(speed > 0, speed, 1), 0)
            ratio = jnp.maximum(ratio, jnp.square(bend / _BEND))
            ratio = jnp.where(jnp.isfinite(ratio), ratio, jnp.inf)
            good = ratio <= 1
            h = h * jnp.clip(0.9 / jnp.sqrt(jnp.maximum(ratio, 1e-2)), 0.1, 3.0)
            seen = domain.contains(middle) & domain.contains(new)
            moved = jax.tree.map(
                lambda a, b: jnp.where(good, a, b), dynamics.move(full, new), state
            )
            small = good & (jnp.max(jnp.abs(new - x)) <= resting * scale)
            quiet = jnp.where(good, jnp.where(small, quiet + 1, 0), quiet)
            return moved, jnp.maximum(h, tiny), inside & (seen | ~good), quiet, count + 1

        none = jnp.zeros((), jnp.int32)
        start = state, self.first, domain.contains(dynamics.position(state)), none, none
        state, _, inside, quiet, _ = jax.lax.while_loop(going, advance, start)
        back = apart(dynamics.position(state)) <= self.near
        return jnp.where(
            inside, jnp.where(back, RETURNED, jnp.where(quiet >= often, ELSEWHERE, UNKNOWN)), LEFT
        )

    def average(self, y: Point) -> tuple[Truth, Truth]:
        """Whether the flow of averages after the jump `y` stays inside, and whether it was followed
        to its end."""
        dynamics, domain = self.dynamics, self.domain
        still = jnp.zeros(dynamics.noise_dim, self.dt.dtype)
        rest = dynamics.settled(dynamics.attractor)

        def advance(_: Array, carry: tuple[State, Truth, Point]) -> tuple[State, Truth, Point]:
            state, inside, largest = carry
            new = dynamics.step(state, self.dt, still)
            moved = jnp.abs(dynamics.position(new) - dynamics.position(state))
            return (
                new,
                inside & domain.contains(dynamics.position(new)),
                jnp.maximum(largest, moved),
            )

        def look(carry: tuple) -> tuple:
            state, inside, largest, restless, count = carry
            state, inside, largest = jax.lax.fori_loop(
                0, _BETWEEN, advance, (state, inside, largest)
            )
            x = dynamics.position(state)
            settled = dynamics.step(dynamics.settled(x), self.dt, still)
            lag = jnp.abs(
                dynamics.position(dynamics.step(state, self.dt, still)) - dynamics.position(settled)
            )
            floor = _ROUNDING * jnp.finfo(x.dtype).eps * (jnp.abs(x) + jnp.abs(dynamics.attractor))
            settled_now = jnp.all(lag <= _SPENT * largest + floor)
            count = count + _BETWEEN
            return state, inside, largest, jnp.where(settled_now, restless, count), count

        def going(carry: tuple) -> Truth:
            _, inside, _, restless, count = carry
            return inside & (count < 2 * restless) & (count < LONGEST)

        state = dynamics.step(rest, self.dt, y)
        x = dynamics.position(state)
        # last seen restless, steps made
        first = jnp.asarray(_BETWEEN, jnp.int32), jnp.asarray(0, jnp.int32)
        start = state, domain.contains(x), jnp.abs(x - dynamics.attractor), *first
        _, inside, _, restless, count = jax.lax.while_loop(going, look, start)
        return inside, (count >= 2 * restless) | ~inside


class Looker:
    """Tests many jumps along rays at once, in calls of one size, so that one program is
    compiled."""

    def __init__(self, response: Response, directions: Array):
        self.response, self.directions = response, directions
        self.landing = replace(response, follows=False)
        self.chunk = CHUNK if response.dynamics.dim <= FEW else _NETWORK_CHUNK

    def __call__(self, ray: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Whether the jump `radius_i v_(ray_i)` stays, for arrays of one shape."""
        stays = self._each(self.landing, False, ray, radius).astype(bool)
        if self.response.follows:  # from where it lands inside, and from there alone
            rays = np.broadcast_to(ray, radius.shape)
            stays[stays] = self.ends(rays[stays], radius[stays]) != LEFT
        return stays

    def ends(self, ray: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Where the flow after each jump ends, see `Response.end`."""
        return self._each(self.response, True, ray, radius)

    def _each(
        self, response: Response, ends: bool, ray: np.ndarray, radius: np.ndarray
    ) -> np.ndarray:
        rays, radii = np.broadcast_to(ray, radius.shape).ravel(), radius.ravel()

        def some(start: int) -> np.ndarray:
            # the last call is filled up with the first rows
            chosen = np.arange(start, start + self.chunk) % len(rays)
            number = jnp.asarray(rays[chosen], jnp.int32)
            size = jnp.asarray(radii[chosen], dtype=float)
            return np.asarray(_answers(response, ends, self.directions, number, size))

        if not len(rays):
            return np.zeros(radius.shape, int)
        first, *others = range(0, len(rays), self.chunk)
        found = [some(first)]  # compiles
        if others:
            with ThreadPoolExecutor(_THREADS) as pool:
                found += pool.map(some, others)
        return np.concatenate(found)[: len(rays)].reshape(radius.shape)

    def holds_attractor(self) -> bool:
        """Whether the attractor is inside, by the program that looks at jumps."""
        if self.response.dynamics.response != "linear":
            return bool(self.response.domain.contains(self.response.dynamics.attractor))
        return bool(self(np.zeros(1, int), np.zeros(1))[0])


@eqx.filter_jit
def _answers(
    response: Response, ends: bool, directions: Float[Array, "m d"], ray: Array, size: Array
) -> Array:
    """For each jump where the flow after it ends, or whether it stays."""
    question = response.end if ends else response.stays
    return jax.vmap(lambda i, r: question(r * directions[i]))(ray, size)


def response_of(dynamics: Dynamics, domain: Domain, dt: Array | None, stiffness: float) -> Response:
    """The response with the step `dt` of averages (0 if it needs none). The first step of the flow
    follows from the stiffness at the attractor."""
    zero = jnp.zeros((), dtype=float)
    first = jnp.asarray(_FIRST / stiffness if stiffness > 0 else _FIRST, dtype=float)
    return Response(
        dynamics, domain, zero if dt is None else dt, zero, first, jnp.full_like(zero, STRIDE)
    )


@eqx.filter_jit
def _all_spent(response: Response, jumps: Float[Array, "m n"]) -> Bool[Array, ""]:
    return jnp.all(jax.lax.map(lambda y: response.average(y)[1], jumps, batch_size=_BATCH))


@eqx.filter_jit
def _growth(response: Response) -> Float[Array, "n n"]:
    """The Jacobian of one noiseless step at the attractor, in every float of the state."""
    dynamics = response.dynamics
    rest, other = eqx.partition(dynamics.settled(dynamics.attractor), eqx.is_inexact_array)
    flat, unravel = ravel_pytree(rest)

    def step(flat: Array) -> Array:
        state = eqx.combine(unravel(flat), other)
        new = dynamics.step(state, response.dt, jnp.zeros(dynamics.noise_dim, response.dt.dtype))
        return ravel_pytree(eqx.filter(new, eqx.is_inexact_array))[0]

    return jax.jacfwd(step)(flat)


def check_growth(response: Response) -> None:
    """Raises ValueError when the flow at this dt grows: then every jump, however small, would seem
    to leave."""
    if response.dynamics.dim > _LARGEST_FLOW:
        return
    jacobian = np.asarray(_growth(response), float)
    if not np.isfinite(jacobian).all():  # a root of v at 0
        return
    growth = float(np.abs(np.linalg.eigvals(jacobian)).max())
    if growth > 1 + _GROWTH:
        raise ValueError(
            f"dt = {float(response.dt):.4g} is too coarse: the noiseless flow of "
            f"{type(response.dynamics).__name__} about the attractor grows by a factor "
            f"{growth:.4g} a step, so every jump would leave. Give a smaller dt."
        )


def check_spent(response: Response, directions: Array, distance: np.ndarray) -> None:
    """Raises ValueError when the flow just inside a crossing could not be followed to its end."""
    finite = np.isfinite(distance)
    jumps = jnp.asarray(0.99 * distance[finite, None], dtype=float) * directions[finite]
    if finite.any() and not bool(_all_spent(response, jumps)):
        raise ValueError(
            f"the averages of {type(response.dynamics).__name__} are not back at rest {LONGEST} "
            f"steps of dt = {float(response.dt):.4g} after a jump, so whether it leaves is not "
            "known. Give a larger dt."
        )
