"""Checks of what the escape law assumes about a basin and its attractor, and the caveats that
follow, each with its number."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array

from levysde.domains import Ball, Basin, Component, Sublevel
from levysde.dynamics import SGD, Langevin
from levysde.protocols import Domain, Dynamics
from levysde.theory.exit_rays import Crossings, Mass
from levysde.theory.exit_response import ELSEWHERE, FEW, LEFT, STRIDE, Looker, Response
from levysde.theory.jump_strata import Rays

_FLAT = 1e-7  # of the stiffness: an eigenvalue below it is 0 within rounding
# landing points from which the flow is followed, in few dimensions and in many
_LOOKED, _LOOKED_OF_MANY = 512, 64
_NEARBY = np.array(
    [0.02, 0.05, 0.1, 0.2]
)  # and at these shares of the first crossing, to see that the attractor attracts
# distance from the attractor, in units of the nearest crossing, at which a flow has returned
_NEAR = 0.02
_FINEST = 2e-3  # shortest limit of a step of the flow, in units of the distance from the attractor
_DOUBTFUL = 0.01  # of the rate: a part of it that is not known is then reported
_LARGEST = 200  # dimensions up to which flows are followed
# of the rate, below which landing points that the flow carries out are within the flow's own error
LEAST_SHARE = 0.005


class Survey(NamedTuple):
    """Where the noiseless flow takes landing points that are inside.

    Attributes:
        looked: number of points followed; 0 if none was.
        left: mass of those that the flow carries out of the domain.
        elsewhere: mass of those whose flow does not return to the attractor, nor leave.
        repelled: share of the points near the attractor from which the flow does not return.
        why: what was not followed and why; empty if nothing was left out.
    """

    looked: int
    left: float
    elsewhere: float
    repelled: float
    why: str


UNSEEN = Survey(0, 0.0, 0.0, 0.0, "")


def keeps(dynamics: Dynamics, domain: Domain) -> bool:
    """Whether the noiseless flow is known never to leave: that of the gradient, in a set that
    belongs to the same loss; and for a convex loss in a ball about its minimum, or in an
    interval."""
    if not isinstance(dynamics, SGD | Langevin):
        return False
    loss = dynamics.landscape
    if isinstance(domain, Basin | Component | Sublevel):
        return domain.landscape is loss or bool(eqx.tree_equal(domain.landscape, loss))
    centred = isinstance(domain, Ball) and np.array_equal(domain.center, loss.minimum)
    return loss.convex and (centred or (domain.convex and domain.dim == 1))


def following(
    response: Response, jumps: np.ndarray, distance: np.ndarray, thinnest: float = np.inf
) -> Response:
    """The response that follows the flow after a landing, in steps no longer than the thinnest
    layer that rays show; it has returned when it is as near as a fiftieth of the nearest
    crossing."""
    dtype, finite = response.dt.dtype, np.isfinite(distance)
    at = float(np.abs(np.asarray(response.dynamics.attractor)).max())
    nearest = (
        np.min(distance[finite] * np.abs(jumps[finite]).max(1)) if finite.any() else 1e-3 * (1 + at)
    )
    near = max(_NEAR * float(nearest), 8 * float(jnp.finfo(dtype).eps) * at)
    stride = float(np.clip(thinnest, _FINEST, STRIDE))
    return replace(
        response, near=jnp.asarray(near, dtype), stride=jnp.asarray(stride, dtype), follows=True
    )


def thinnest(found: Crossings) -> float:
    """The thinnest stretch outside from which a ray comes back, in units of its distance; inf
    without one."""
    order = np.lexsort((found.radius, found.ray))
    ray, radius, sign = found.ray[order], found.radius[order], found.sign[order]
    back = np.flatnonzero((sign[1:] < 0) & (ray[1:] == ray[:-1]))
    return float(np.min((radius[back + 1] - radius[back]) / radius[back + 1], initial=np.inf))


def may_follow(response: Response) -> bool:
    """Whether the flow after a landing can be followed."""
    return response.dynamics.response != "flow" and response.dynamics.dim <= _LARGEST


def survey(
    response: Response, directions: Array, jumps: np.ndarray, found: Crossings, mass: Mass
) -> Survey:
    """Follows the flow from landing points inside, spread over the rays by their Lévy mass."""
    dynamics, domain = response.dynamics, response.domain
    if dynamics.response == "flow":
        return UNSEEN
    if dynamics.dim > _LARGEST:
        return UNSEEN._replace(why=f"the flow is not followed beyond {_LARGEST} dimensions")
    few, stays = dynamics.dim <= FEW, keeps(dynamics, domain)
    convex = getattr(getattr(dynamics, "landscape", None), "convex", False)
    known = stays and (not few or convex or isinstance(domain, Basin))
    finite = np.isfinite(found.distance)
    moving = np.flatnonzero(np.abs(jumps).max(1) > 0)
    if known or not finite.any() or not len(moving):
        return UNSEEN
    looked = _LOOKED if few else _LOOKED_OF_MANY
    chosen = moving[
        np.unique(np.linspace(0, len(moving) - 1, min(len(moving), looked // 8)).astype(int))
    ]
    scale = np.where(finite, found.distance, np.median(found.distance[finite]))[chosen]
    each = max(looked // (2 * len(chosen)), 2)
    middle = (np.arange(each) + 0.5) / each
    here = mass(chosen, scale)
    # radii at which the mass is these multiples of that beyond the first crossing, by bisection
    multiples = np.concatenate([middle, 1 + 2 * middle])
    radii = _radii_of(mass, chosen, scale, here[:, None] * multiples)
    weight = np.where(multiples < 1, 1, 2) * here[:, None] / each * len(moving) / len(chosen)
    near = scale[:, None] * _NEARBY
    ray, radius = np.repeat(chosen, len(multiples)), radii.ravel()
    inside = Looker(response, directions)(ray, radius)
    look = Looker(following(response, jumps, found.distance, thinnest(found)), directions)
    end, weight = look.ends(ray[inside], radius[inside]), weight.ravel()[inside]
    close = look.ends(np.repeat(chosen, len(_NEARBY)), near.ravel())
    left = 0.0 if stays else float(weight[end == LEFT].sum())
    elsewhere = float(weight[end == ELSEWHERE].sum())
    repelled = float(np.mean((close == LEFT) | (close == ELSEWHERE)))
    return Survey(int(inside.sum()) + close.size, left, elsewhere, repelled, "")


def _radii_of(mass: Mass, rays: np.ndarray, scale: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where `mass` along each ray is what is wanted, between a millionth and a million of the
    scale."""
    low, high = np.full(wanted.shape, -14.0), np.full(wanted.shape, 14.0)
    ray = np.broadcast_to(rays[:, None], wanted.shape).ravel()
    for _ in range(30):
        middle = (low + high) / 2
        more = mass(ray, (scale[:, None] * np.exp(middle)).ravel()).reshape(wanted.shape) > wanted
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return scale[:, None] * np.exp((low + high) / 2)


def about_attractor(
    slowest: float, stiffness: float, regime: float, repelled: float = 0.0
) -> tuple[str, ...]:
    """A caveat if the attractor is not a minimum: the law then means nothing."""
    if slowest <= _FLAT * stiffness:
        why = f"the flow has the eigenvalue {slowest:.3g} there"
    elif not regime < np.inf:
        why = "the flow does not come back from a jump"
    elif repelled > 0:
        why = f"from {repelled:.0%} of the points near it the flow does not come back"
    else:
        return ()
    return (
        f"the attractor is no minimum ({why}): train and refine the network first, see "
        "levysde.networks.train and refine.",
    )


def about_start(
    response: Response, jumps: np.ndarray, distance: np.ndarray, start: np.ndarray
) -> tuple[str, ...]:
    """A caveat if the noiseless flow from `start` can be followed and does not go to the
    attractor."""
    dynamics = response.dynamics
    x = jnp.asarray(start, response.dt.dtype)
    apart = np.max(np.abs(np.asarray(x) - np.asarray(dynamics.attractor)))
    if not may_follow(response) or not np.isfinite(distance).any():
        return ()
    follow = following(response, jumps, distance)
    if apart <= float(follow.near) or not bool(response.domain.contains(x)):
        return ()
    end = int(_end_from(follow, x))
    if end not in (LEFT, ELSEWHERE):
        return ()
    what = "leaves the domain" if end == LEFT else "does not go to the attractor"
    return (
        f"the noiseless flow from the start, x0 = {np.asarray(x)}, {what}: the law is that of "
        f"trajectories that start in the basin of {np.asarray(dynamics.attractor)}. Start there.",
    )


@eqx.filter_jit
def _end_from(response: Response, x: Array) -> Array:
    return response.end_of(response.dynamics.settled(x))


def about_geometry(found: Crossings, seen: Survey, rate: float) -> tuple[str, ...]:
    """Caveats if layers of the basin are thinner than what was resolved, and if large jumps land
    where the flow goes to another attractor."""
    unsure, elsewhere = found.change / rate, seen.elsewhere / (rate + seen.elsewhere)
    layers = (
        "the basin has layers along the rays that are thinner than the search resolves: two ways "
        f"of counting them differ by {unsure:.1%} of the rate. Make the basin of shapes with "
        "formulas (Ball, Box, Ellipsoid, HalfSpaces, Intersection, Complement, ExitSets), whose "
        "crossings are exact."
    )
    attractors = (
        f"{elsewhere:.1%} of the jumps that end a stay near the attractor land inside the domain, "
        "where the flow does not return to it: there is another attractor, or none. They are not "
        "counted as escapes, and the escape from there has another rate. Take a domain that holds "
        "one attractor, for example Basin(landscape)."
    )
    doubts = (unsure, layers), (elsewhere, attractors)
    return tuple(text for share, text in doubts if share > _DOUBTFUL)


def no_escape(measure: Rays, found: Crossings, epsilon: float) -> str:
    """The reason why no single jump leaves."""
    rays = np.flatnonzero(np.isfinite(found.distance))
    if not len(rays):
        return (
            "the mean escape time is infinite: the basin is unbounded along every noise ray (no "
            "jump of the noise leaves it). Bound the domain, or let the scale reach the "
            "directions in which it ends."
        )
    radii = np.geomspace(1e-9, 1, 3000)
    reached = []  # along each ray, the largest share of the way and the length of the way
    for ray in rays[:: max(1, len(rays) // 256)]:
        masses = measure.mass(np.full(len(radii), ray), radii * found.distance[ray])
        reached.append((float(np.max(radii[masses > 0], initial=0)), float(found.distance[ray])))
    share, distance = max(reached, key=lambda end: end[0])
    if not share:
        return (
            "the noise has no jumps along the rays on which the basin is bounded: their Lévy "
            "measure is zero there. Check the intensity, the skewness or the weights of the "
            "driver."
        )
    jumps = math.ceil(1 / share - 1e-3)
    return (
        f"no single jump leaves: the longest jump along a ray, {share * distance:.4g} in units of "
        f"the driver, goes {share:.1%} of the way to the boundary, {distance:.4g}. An escape "
        f"takes {jumps} jumps, one soon after another, and this is the law of single jumps. Take "
        f"a longer cutoff, an epsilon above {epsilon / share:.4g}, or a smaller domain; or "
        "measure the time with simulate_escape."
    )


@eqx.filter_jit
def linearisation(dynamics: Dynamics) -> Array:
    """As one program: a network's Hessian, operation by operation, takes ten times as long."""
    return dynamics.linearisation()


@eqx.filter_jit
def jumps_along(dynamics: Dynamics, directions: Array) -> Array:
    """How far a unit jump of the driver along each direction moves the position, `(m, d)`."""
    return jax.vmap(dynamics.jump)(directions)


def relaxation(flow: np.ndarray, jumps: np.ndarray, share: np.ndarray) -> float:
    """`sum_i share_i / kappa_i`, `kappa_i = v'Jv / v'v`: the relaxation time after a jump that
    leaves. Infinite where the flow does not pull back along such a jump."""
    jumps, share = jumps[share > 0], share[share > 0]
    unit = jumps / np.linalg.norm(jumps, axis=1, keepdims=True)
    kappa = np.sum((unit @ flow) * unit, 1)
    return float(np.sum(share / kappa)) if (kappa > 0).all() else float("inf")


def stiffest_and_slowest(flow: np.ndarray) -> tuple[float, float]:
    """Largest modulus and smallest real part of an eigenvalue; by Arnoldi where a full
    decomposition would take long."""
    if len(flow) <= 200:
        eigenvalues = np.linalg.eigvals(flow)
        return float(np.abs(eigenvalues).max()), float(eigenvalues.real.min())

    start = np.random.default_rng(0).normal(size=len(flow))
    stiffness = float(
        np.abs(
            scipy.sparse.linalg.eigs(flow, k=1, which="LM", v0=start, return_eigenvectors=False)
        )[0]
    )
    try:  # bounded: those near 0 lie close together and take long, one well below 0 is soon found
        bound: Any = {"tol": 1e-3, "maxiter": 50}  # scipy's stub takes tol for an integer
        found = scipy.sparse.linalg.eigs(
            flow, k=1, which="SR", v0=start, return_eigenvectors=False, **bound
        )
        slowest = float(np.real(np.asarray(found))[0])
    except scipy.sparse.linalg.ArpackNoConvergence:
        slowest = float("nan")
    return stiffness, slowest
