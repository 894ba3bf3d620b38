"""Where jumps along a ray leave the basin: the geometry under the escape law.

Notation: `th*` the attractor, v a unit direction of the driver, a jump is `r v` with `r > 0`. It leaves when the point
where it lands is outside (`response` "linear" and "map"), or when the noiseless flow after it goes outside ("flow").
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from levysde.domains import search_ray
from levysde.protocols import Domain, Dynamics, Point, State, Truth

# where a ray is looked at, in units of its first crossing: is the basin left for good there, and not before?
_GRID = np.concatenate([np.geomspace(0.02, 0.99, 15), np.geomspace(1.01, 1000.0, 40)])
_BISECTIONS = 30
_BATCH = 256  # rays at a time, which bounds the memory a network needs
_AT_REST = 0.01  # the flow is followed until every part of the state is back to this share of its largest excursion
_LONGEST = 10**6  # steps


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
        rest = dynamics.init(dynamics.attractor)
        if dynamics.response == "map":
            return domain.contains(dynamics.position(dynamics.step(rest, jnp.zeros_like(self.dt), y)))
        return self._flow_stays(rest, dynamics.step(rest, self.dt, y))

    def _flow_stays(self, rest: State, state: State) -> Truth:
        dynamics, domain = self.dynamics, self.domain
        still = jnp.zeros(dynamics.noise_dim, self.dt.dtype)

        def excursion(state: State) -> Array:
            now, start = (jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array)) for tree in (state, rest))
            return jnp.stack([jnp.max(jnp.abs(a - b)) for a, b in zip(now, start, strict=True)])

        def going(carry: tuple[State, Array, Array]) -> Truth:
            state, largest, count = carry
            moving = jnp.any(excursion(state) > _AT_REST * largest)
            return moving & domain.contains(dynamics.position(state)) & (count < _LONGEST)

        def follow(carry: tuple[State, Array, Array]) -> tuple[State, Array, Array]:
            state, largest, count = carry
            state = dynamics.step(state, self.dt, still)
            return state, jnp.maximum(largest, excursion(state)), count + 1

        state, _, _ = jax.lax.while_loop(going, follow, (state, excursion(state), jnp.zeros((), jnp.int32)))
        return domain.contains(dynamics.position(state))

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
    distance = np.array(_distances(response, directions), dtype=float)
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
