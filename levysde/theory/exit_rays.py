"""Where jumps along a ray leave the basin: the geometry under the escape law.

Notation: `th*` the attractor, v a unit direction of the driver, a jump is `r v` with `r > 0`. It leaves when the point
where it lands is outside (`response` "linear" and "map"), or when the noiseless flow after it goes outside ("flow"), at any of
its steps of dt, on whichever side. The flow is followed until the averages have spent what the jump gave them: a step from the
state is then a step from the settled state at its position, and the law assumes that this flow stays where it is inside. Since
an oscillating flow passes through such states, it must have been so for half of the time since the jump.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from levysde.domains import search_ray
from levysde.protocols import Domain, Dynamics, Point, State, Truth

# where a ray is looked at, in units of its first crossing: is the basin left for good there, and not before?
_GRID = np.concatenate([np.geomspace(0.02, 0.99, 15), np.geomspace(1.01, 1000.0, 40)])
_BISECTIONS = 30
_BATCH = 256  # rays at a time, which bounds the memory a network needs
# the flow is followed until a step differs from a settled one by less than this share of its largest step,
_SPENT = 1e-3
_ROUNDING = 4  # or by less than so many last digits of the position
_BETWEEN = 8  # steps between two looks at that
_LONGEST = 10**6  # steps
_GROWTH = 1e-3  # a flow that grows faster than this a step is none that comes back
_LARGEST_FLOW = 200  # dimensions up to which the eigenvalues of a step are looked at


class Response(eqx.Module):
    """What a jump at the attractor leads to. `dt` is the step of the flow that follows, where one is needed."""

    dynamics: Dynamics
    domain: Domain
    dt: Array

    def stays(self, y: Point) -> Truth:
        """Whether the driver's jump `y` at the attractor fails to leave the domain."""
        dynamics, domain = self.dynamics, self.domain
        if dynamics.response == "linear":
            return domain.contains(dynamics.attractor + dynamics.jump(y))
        rest = dynamics.settled(dynamics.attractor)
        if dynamics.response == "map":
            return domain.contains(dynamics.position(dynamics.step(rest, jnp.zeros_like(self.dt), y)))
        return self.follow(y)[0]

    def follow(self, y: Point) -> tuple[Truth, Truth]:
        """Whether the flow after the jump `y` stays inside, and whether it was followed to its end."""
        dynamics, domain = self.dynamics, self.domain
        still = jnp.zeros(dynamics.noise_dim, self.dt.dtype)
        rest = dynamics.settled(dynamics.attractor)

        def advance(_: Array, carry: tuple[State, Truth, Point]) -> tuple[State, Truth, Point]:
            state, inside, largest = carry
            new = dynamics.step(state, self.dt, still)
            moved = jnp.abs(dynamics.position(new) - dynamics.position(state))
            return new, inside & domain.contains(dynamics.position(new)), jnp.maximum(largest, moved)

        def look(carry: tuple) -> tuple:
            state, inside, largest, restless, count = carry
            state, inside, largest = jax.lax.fori_loop(0, _BETWEEN, advance, (state, inside, largest))
            x = dynamics.position(state)
            settled = dynamics.step(dynamics.settled(x), self.dt, still)
            lag = jnp.abs(dynamics.position(dynamics.step(state, self.dt, still)) - dynamics.position(settled))
            floor = _ROUNDING * jnp.finfo(x.dtype).eps * (jnp.abs(x) + jnp.abs(dynamics.attractor))
            settled_now = jnp.all(lag <= _SPENT * largest + floor)
            count = count + _BETWEEN
            return state, inside, largest, jnp.where(settled_now, restless, count), count

        def going(carry: tuple) -> Truth:
            _, inside, _, restless, count = carry
            return inside & (count < 2 * restless) & (count < _LONGEST)

        state = dynamics.step(rest, self.dt, y)
        x = dynamics.position(state)
        first = jnp.asarray(_BETWEEN, jnp.int32), jnp.asarray(0, jnp.int32)  # last seen restless, steps made
        start = state, domain.contains(x), jnp.abs(x - dynamics.attractor), *first
        _, inside, _, restless, count = jax.lax.while_loop(going, look, start)
        return inside, (count >= 2 * restless) | ~inside

    def distance(self, v: Point) -> Float[Array, ""]:
        """The smallest `r` at which the jump `r v` leaves; inf when none does."""
        if self.dynamics.response == "linear":
            return self.domain.ray_distance(self.dynamics.attractor, self.dynamics.jump(v))
        return search_ray(self.stays, jnp.zeros_like(v), v)


@eqx.filter_jit
def _distances(response: Response, directions: Float[Array, "m d"]) -> Float[Array, " m"]:
    return jax.lax.map(response.distance, directions, batch_size=_BATCH)


@eqx.filter_jit
def _stays(response: Response, directions: Float[Array, "m d"], r: Float[Array, "m n"]) -> Bool[Array, "m n"]:
    """Whether the jump `r_ij v_i` stays."""

    def along(ray):
        return jax.vmap(lambda s: response.stays(s * ray[0]))(ray[1])

    return jax.lax.map(along, (directions, r), batch_size=_BATCH)


@eqx.filter_jit
def _all_spent(response: Response, jumps: Float[Array, "m n"]) -> Truth:
    return jnp.all(jax.lax.map(lambda y: response.follow(y)[1], jumps, batch_size=_BATCH))


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


def _check_flow(response: Response) -> None:
    """Raises ValueError when the flow at this dt grows: then every jump, however small, would seem to leave."""
    if response.dynamics.landscape.dim > _LARGEST_FLOW:
        return
    jacobian = np.asarray(_growth(response), float)
    if not np.isfinite(jacobian).all():  # a root of v at 0
        return
    growth = float(np.abs(np.linalg.eigvals(jacobian)).max())
    if growth > 1 + _GROWTH:
        raise ValueError(
            f"dt = {float(response.dt):.4g} is too coarse: the noiseless flow of {type(response.dynamics).__name__} about the "
            f"attractor grows by a factor {growth:.4g} a step, so every jump would leave. Give a smaller dt."
        )


def _check_spent(response: Response, directions: Array, distance: np.ndarray) -> None:
    """Raises ValueError when the flow just inside a crossing could not be followed to its end."""
    finite = np.isfinite(distance)
    jumps = jnp.asarray(0.99 * distance[finite, None], dtype=float) * directions[finite]
    if finite.any() and not bool(_all_spent(response, jumps)):
        raise ValueError(
            f"the averages of {type(response.dynamics).__name__} are not back at rest {_LONGEST} steps of dt = "
            f"{float(response.dt):.4g} after a jump, so whether it leaves is not known. Give a larger dt."
        )


def crossings(
    response: Response, directions: Array
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray], bool]:
    """Where rays leave the basin and come back.

    Returns:
        The first crossing of each ray, shape `(m,)`, inf where it never leaves; every crossing as three arrays, its ray's
        number, its distance, and +1 where the ray leaves or -1 where it comes back; and whether every ray that has left
        stays outside (as seen on a grid of 55 points a ray, from 0.02 to 1000 times the first crossing, unless the domain
        is convex). What the last point shows is held to last for ever.
    """
    follows = response.dynamics.response == "flow"
    if follows:
        _check_flow(response)
    distance = np.array(_distances(response, directions), dtype=float)
    if follows:
        _check_spent(response, directions, distance)
    finite = np.isfinite(distance)
    rays = np.flatnonzero(finite)
    once = rays, distance[rays], np.ones(len(rays))
    if not len(rays) or (response.domain.convex and response.dynamics.response == "linear"):
        return distance, once, True
    reach = np.where(finite, distance, np.median(distance[finite]))
    radii = reach[:, None] * np.concatenate([[0.0], _GRID])
    stays = np.array(_stays(response, directions, jnp.asarray(radii, dtype=float)))
    expected = np.concatenate([[True], _GRID < 1]) | ~finite[:, None]
    odd = (stays != expected).any(1)
    if not odd.any():
        return distance, once, True
    where = np.flatnonzero(odd)
    ray, at, sign = _refined(response, directions[where], radii[where], stays[where])
    np.minimum.at(distance, where[ray], at)
    kept = ~odd[once[0]]
    every = np.concatenate([rays[kept], where[ray]]), np.concatenate([once[1][kept], at])
    return distance, (*every, np.concatenate([once[2][kept], sign])), False


def _refined(
    response: Response, directions: Array, radii: np.ndarray, stays: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every change along the grid of each ray, bisected: ray, distance, sign."""
    ray, step = np.nonzero(stays[:, 1:] != stays[:, :-1])  # in order along each ray
    low, high, leaves = radii[ray, step], radii[ray, step + 1], stays[ray, step]
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        row = jnp.asarray(middle[:, None], dtype=float)
        still = np.asarray(_stays(response, directions[ray], row))[:, 0] == leaves
        low, high = np.where(still, middle, low), np.where(still, high, middle)
    return ray, high, np.where(leaves, 1.0, -1.0)
