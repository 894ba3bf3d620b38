"""The Lévy mass of the jumps that leave a basin: the rays of a driver, their crossings, the flow
after a landing."""

import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.protocols import Driver, LevyRays
from levysde.theory.exit_conditions import (
    LEAST_SHARE,
    UNSEEN,
    Survey,
    following,
    keeps,
    may_follow,
    survey,
    thinnest,
)
from levysde.theory.exit_rays import Crossings, crossings
from levysde.theory.exit_response import Response
from levysde.types import Arg, Integer

_REPLICATES = 8  # independent sets of quasi-random directions, for the rate's standard error


def ray_sets(
    driver: Driver, dim: int, num_rays: Arg[Integer], seed: Arg[Integer]
) -> list[LevyRays]:
    """One set of rays where they are exact, else independent sets of equal size."""
    num_rays = errors.integer("num_rays", num_rays, "num_rays=4096", low=8 * _REPLICATES)
    seeds = np.random.SeedSequence(errors.seed(seed)).generate_state(_REPLICATES)
    sets = [driver.levy_rays(dim, num_rays // _REPLICATES, int(s)) for s in seeds[:2]]
    if _same(*sets):
        return sets[:1]
    return sets + [driver.levy_rays(dim, num_rays // _REPLICATES, int(s)) for s in seeds[2:]]


def _same(first: LevyRays, second: LevyRays) -> bool:
    """Whether two sets are one, tails included: jumps drawn on a half-line share their directions,
    not their sizes."""
    if not np.array_equal(first.directions, second.directions):
        return False
    radii, rays = (
        grid.ravel()
        for grid in np.meshgrid(np.geomspace(1e-6, 1e6, 61), np.arange(len(first.weights)))
    )
    return np.array_equal(first.tail(radii, rays), second.tail(radii, rays))


def masses(sets: list[LevyRays], ray: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The Lévy measure beyond `radius` along each `ray`, rays being numbered through all sets."""
    each, mass = len(sets[0].weights), np.empty(len(ray))
    for number, rays in enumerate(sets):
        mine = ray // each == number
        i = ray[mine] % each
        mass[mine] = rays.weights[i] * rays.tail(radius[mine], i)
    return mass


def counted(
    response: Response, directions: Array, jumps: np.ndarray, sets: list[LevyRays], follow: bool
) -> tuple[Crossings, Survey, float]:
    """Where jumps leave, what the flow does after them, and the rate of those that it carries out
    after landing inside."""

    def mass(ray: np.ndarray, radius: np.ndarray) -> np.ndarray:
        return masses(sets, ray, radius) / len(sets)

    def rate(found: Crossings) -> float:
        return float(np.sum(found.sign * mass(found.ray, found.radius)))

    index = sets[0].index
    sampled = len(sets) > 1
    found = crossings(response, directions, mass, index, sampled=sampled)
    if not follow:
        return found, UNSEEN._replace(why="the flow was not followed"), 0.0
    seen = survey(response, directions, jumps, found, mass)
    lost = not np.isfinite(found.distance).any()
    carried = seen.left > LEAST_SHARE * (rate(found) + seen.left)
    # the way back of what lands behind a layer of the outside passes it
    behind = not found.star_shaped and not keeps(response.dynamics, response.domain)
    if not may_follow(response) or not (lost or carried or behind):
        return found, seen, 0.0
    # a jump that lands inside may leave by the flow: the flow decides
    at_once, flowing = rate(found), following(response, jumps, found.distance, thinnest(found))
    shape, found = (
        found.star_shaped,
        crossings(flowing, directions, mass, index, sampled=sampled, guess=found.distance),
    )
    found = found._replace(star_shaped=shape)
    if lost and np.isfinite(found.distance).any():
        seen = survey(flowing, directions, jumps, found, mass)
    return found, seen, max(rate(found) - at_once, 0.0)


def assumptions(response: Response, seen: Survey, carried: float) -> tuple[str, ...]:
    """When the law holds, and what was looked at."""
    if carried > 0:
        flow = (
            "Landing points inside that the noiseless flow carries out of the basin count as "
            f"escapes: {carried:.1%} of the rate. The attractor is the only one in the basin."
        )
    else:
        flow = (
            "The noiseless flow never leaves the basin, and the attractor is its only attractor "
            "there"
        )
        if keeps(response.dynamics, response.domain):
            flow += " (the first is so for this basin)."
        elif seen.looked:
            flow += f" (the flow was followed from {seen.looked} landing points inside)."
        elif seen.why:
            flow += f" ({seen.why})."
        else:
            flow += "."
    return (
        "The noise amplitude is small: the rate is far below the rate of relaxation.",
        flow,
        "The basin is bounded along the noise's directions, and its boundary carries no jumps.",
        "The start is inside, away from the boundary.",
        "Escape is by one jump from the attractor: the height of the barrier does not matter.",
    )
