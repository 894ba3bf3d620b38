"""The escape law for heavy tails: from a basin and a stable noise, a rate; the escape time is then
exponential.

Notation: `th*` the attractor, Omega the basin, nu the driver's Lévy measure, `epsilon A y` the
displacement that a noise jump y makes, a the stability index,
`r_i = inf{r > 0 : th* + r epsilon A v_i not in Omega}` along noise direction v_i, `share_i` the
direction's share of the rate.

    rate = nu({y : th* + epsilon A y not in Omega}),   rate * escape time -> Exp(1) in law as
                                                       epsilon -> 0
    rate = epsilon^a T_nu m(W),   W = {y : th* + A y not in Omega},   m(|y| >= 1) = 1,   T_nu =
                                  nu(|y| >= 1)

Pavlyukevich, Stochastics and Dynamics 11 (2011); Zhou, Feng, Ma, Xiong, Hoi, E, NeurIPS 2020,
Theorem 1, with Theta the tail of the true nu. Their closed form of it (p. 7), `(2/a) epsilon^a` in
place of `T_nu epsilon^a`, gives `1/(d C_a)` of the rate for d independent SaS(1) coordinates and
`(2/a) / T_nu` of it for isotropic noise; it is offered for comparison only.
"""

import warnings
from dataclasses import replace
from typing import Literal, overload

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.interfaces import check_domain, ray_doubts
from levysde.noise import StableComponents, StableIsotropic
from levysde.parts import check_derived
from levysde.protocols import Domain, Driver, Dynamics, LevyRays
from levysde.theory.exit_conditions import (
    LEAST_SHARE,
    UNSEEN,
    Survey,
    about_geometry,
    following,
    jumps_along,
    keeps,
    linearisation,
    may_follow,
    no_escape,
    relaxation,
    stiffest_and_slowest,
    survey,
    thinnest,
)
from levysde.theory.exit_rays import Crossings, crossings
from levysde.theory.exit_response import Looker, Response, response_of
from levysde.theory.jump_strata import Rays
from levysde.theory.law_error import law_error
from levysde.theory.stable_law import EscapeLaw, with_amplitude
from levysde.types import Arg, Integer, Number, Numbers, Seed

_REPLICATES = 8  # independent sets of quasi-random directions, for the rate's standard error


@overload
def escape_law(
    dynamics: Arg[Dynamics],
    domain: Arg[Domain],
    *,
    epsilon: None = None,
    normalization: Arg[Literal["true", "printed"]] = "true",
    num_rays: Arg[Integer] = 4096,
    seed: Arg[Seed] = 0,
    dt: Arg[Number | None] = None,
    follow: Arg[bool] = True,
    check: Arg[bool] = True,
    progress: Arg[bool] = False,
) -> EscapeLaw: ...


@overload
def escape_law(
    dynamics: Arg[Dynamics],
    domain: Arg[Domain],
    *,
    epsilon: Arg[Numbers],
    normalization: Arg[Literal["true", "printed"]] = "true",
    num_rays: Arg[Integer] = 4096,
    seed: Arg[Seed] = 0,
    dt: Arg[Number | None] = None,
    follow: Arg[bool] = True,
    check: Arg[bool] = True,
    progress: Arg[bool] = False,
) -> tuple[EscapeLaw, ...]: ...


def escape_law(
    dynamics: Arg[Dynamics],
    domain: Arg[Domain],
    *,
    epsilon: Arg[Numbers | None] = None,
    normalization: Arg[Literal["true", "printed"]] = "true",
    num_rays: Arg[Integer] = 4096,
    seed: Arg[Seed] = 0,
    dt: Arg[Number | None] = None,
    follow: Arg[bool] = True,
    check: Arg[bool] = True,
    progress: Arg[bool] = False,
) -> EscapeLaw | tuple[EscapeLaw, ...]:
    """The escape law of `dynamics` from `domain` by single jumps, exact as the noise amplitude
    falls.

    The escape time is exponential, with the rate `nu({y : th* + epsilon A y not in Omega})`: the
    Lévy measure nu of the jumps y that carry the attractor `th*` out of the basin Omega,
    `epsilon A y` being the displacement that a jump makes. For stable noise it is
    `epsilon^a T_nu m(W)` (see `EscapeLaw`).

    Args:
        dynamics: an SDE whose driver has a Lévy measure; its attractor must lie inside `domain`.
        domain: the basin.
        epsilon: noise amplitudes in place of that of `dynamics`, shape `(n,)`: the laws are those
            of `dynamics` made with each of them.
        normalization: "true", or "printed" for `(2/a) epsilon^a m(W)`, with the closed form of
            Theta that Zhou et al. print (p. 7), for comparison.
        num_rays: directions for isotropic noise, 64 or more, rounded to 8 sets of a power of two;
            component noise has 2d exactly.
        seed: of the quasi-random directions.
        dt: step at which the flow after a jump is followed, in SDE time; needed only if the
            noise enters an average (`response` "flow").
        follow: whether the noiseless flow is followed from landing points inside. Where it carries
            some of them out of the domain, they count as escapes. False counts jumps that land
            outside alone.
        check: estimate by simulation how far the law is from the mean escape time at this noise,
            and issue an `AccuracyWarning` where it is not within 10% (see `law_error`). It takes
            some seconds, most of them to compile; False leaves it out. A law as printed is not
            checked.
        progress: True shows a bar for the check.

    Returns:
        The law, with its conditions; with `epsilon`, one law for each amplitude, in its order.

    Raises:
        ValueError, TypeError: a driver without jumps (alpha = 2, Brownian) or without an escape law
            of jumps, an `epsilon` that is no vector of positive numbers, an attractor outside the
            domain, a basin unbounded along every noise ray (infinite mean), an unknown
            normalization, a bad `num_rays` or `seed`, no `dt` where one is needed.

    Source:
        Pavlyukevich, Stochastics and Dynamics 11 (2011); Zhou, Feng, Ma, Xiong, Hoi, E, NeurIPS
        2020, Theorem 1.
    """
    errors.check_process()
    errors.concrete("dynamics, domain, epsilon or dt", (dynamics, domain, epsilon, dt))
    if not isinstance(dynamics, Dynamics) or not isinstance(domain, Domain):
        raise TypeError(
            f"escape_law takes a dynamics and a domain, not {type(dynamics).__name__} and "
            f"{type(domain).__name__}. For example escape_law(dynamics, Ball(radius=1.0, "
            "center=jnp.zeros(2)))."
        )
    errors.choice("normalization", normalization, ("true", "printed"))
    errors.flag("check", check)
    errors.flag("progress", progress)
    step = None if dt is None else errors.positive("dt", dt)
    errors.flag("follow", follow)
    if epsilon is None:
        given = [dynamics]
    else:
        amplitudes = errors.reals("epsilon", epsilon, "epsilon=[0.1, 0.05]")
        if amplitudes.ndim != 1 or not (amplitudes > 0).all():
            raise ValueError(
                f"epsilon must be a vector of positive numbers, not {errors.shown(epsilon)}. For "
                "example epsilon=[0.1, 0.05]. One amplitude is that of the dynamics."
            )
        given = [with_amplitude(dynamics, each) for each in amplitudes]
    laws = tuple(
        _law(each, domain, normalization, num_rays, seed, step, follow, check, progress)
        for each in given
    )
    return laws[0] if epsilon is None else laws


def _law(
    dynamics: Dynamics,
    domain: Domain,
    normalization: str,
    num_rays: Arg[Integer],
    seed: Arg[Seed],
    step: Array | None,
    follow: bool,
    check: bool,
    progress: bool,
) -> EscapeLaw:
    """The law at the amplitude of `dynamics`."""
    driver, dim = dynamics.driver, dynamics.dim
    measure = Rays(_ray_sets(driver, dynamics.noise_dim, num_rays, seed))
    sets = measure.sets
    check_derived((dynamics, domain))
    if domain.dim != dim:
        raise ValueError(
            f"the domain takes points of {domain.dim} dimensions, the dynamics move in {dim}. Make "
            "them one."
        )
    check_domain(domain)
    directions = jnp.asarray(measure.directions, dtype=float)
    jumps = np.asarray(jumps_along(dynamics, directions), dtype=float)
    flow = np.asarray(linearisation(dynamics), dtype=float)
    stiffness, slowest = stiffest_and_slowest(flow)
    response = response_of(dynamics, domain, _response_step(dynamics, step), stiffness)
    if not Looker(response, directions).holds_attractor():
        raise ValueError(
            f"the attractor {np.asarray(dynamics.attractor)} lies outside the domain: there is "
            "nothing to escape from. Center the domain on dynamics.attractor."
        )
    doubts = ray_doubts(domain, dynamics.attractor, jumps)
    for doubt in doubts:
        warnings.warn(doubt, errors.AccuracyWarning, stacklevel=4)  # past the wrapper of names
    found, seen, carried = _counted(response, directions, jumps, measure, follow)
    leaving = found.sign * measure.mass(found.ray, found.radius)
    parts = np.maximum(np.bincount(found.ray, leaving, minlength=len(directions)), 0)
    rate = float(parts.sum())
    if not rate > 0:
        raise ValueError(no_escape(measure, found, float(dynamics.epsilon)))
    share = parts / rate
    alpha, epsilon = sets[0].index, float(dynamics.epsilon)
    radon = rate / (epsilon**alpha * sets[0].total())
    by_set = parts.reshape(len(sets), -1).sum(1) * len(sets)
    error = float(np.std(by_set, ddof=1) / np.sqrt(len(sets))) if len(sets) > 1 else 0.0
    unfollowed = seen.left if carried == 0 else 0.0
    error = float(np.hypot(error, found.resolution + found.change + unfollowed))
    lengths = np.linalg.norm(jumps, axis=1, keepdims=True)
    regime = rate * relaxation(flow, jumps, share)
    about = (*doubts, *about_geometry(found, seen, rate))
    resolution, carried = found.resolution / rate, carried / rate
    if normalization == "printed":
        rate, error = _as_printed(driver, rate, error, radon, epsilon)
    law = EscapeLaw(
        rate=rate,
        rate_error=error,
        measure=radon,
        alpha=alpha,
        epsilon=epsilon,
        regime=regime,
        stiffness=stiffness,
        slowest=slowest,
        star_shaped=found.star_shaped,
        ray_distance=found.distance,
        ray_share=share,
        ray_direction=jumps / np.where(lengths > 0, lengths, 1),
        normalization=normalization,
        response=dynamics.response,
        name=f"{'stable ' if alpha == alpha else ''}escape law of {type(dynamics).__name__} with "
        f"{type(driver).__name__}",
        assumptions=_assumptions(response, seen, carried),
        dynamics=dynamics,
        domain=domain,
        dt=float(response.dt) if dynamics.response == "flow" else None,
        rays=tuple(sets),
        crossings=found.how,
        resolution=resolution,
        flow_share=carried,
        repelled=seen.repelled,
        geometry_warnings=about,
    )
    if not check or normalization != "true":
        return law
    error = law_error(law, progress=progress)
    if error.warning:
        warnings.warn(error.warning, errors.AccuracyWarning, stacklevel=4)
    return replace(law, error=error)


def _response_step(dynamics: Dynamics, dt: Array | None) -> Array:
    if dynamics.response != "flow":
        return jnp.asarray(0.0, dtype=float)
    if dt is None:
        raise ValueError(
            f"the noise of {type(dynamics).__name__} enters an average, so the noiseless flow "
            "after a jump decides whether it leaves. Give the step at which to follow it, that of "
            "the simulation: escape_law(dynamics, domain, dt=1e-3)."
        )
    return dt


def _as_printed(
    driver: Driver, rate: float, error: float, measure: float, epsilon: float
) -> tuple[float, float]:
    """The rate `(2/a) epsilon^a m(W)`, with the printed closed form of Theta, and its error."""
    # printed for the two drivers of Zhou et al. only
    if not isinstance(driver, StableComponents | StableIsotropic):
        raise ValueError(
            'normalization="printed" is known for StableComponents and StableIsotropic, not '
            f"{type(driver).__name__}. "
            'Type normalization="true".'
        )
    alpha = float(driver.alpha)
    printed = 2 / alpha * epsilon**alpha * measure
    return printed, error * printed / rate


def _ray_sets(driver: Driver, dim: int, num_rays: Arg[Integer], seed: Arg[Seed]) -> list[LevyRays]:
    """One set of rays where they are exact, else independent sets of equal size."""
    each, seeds = replicates(num_rays, seed)
    first, second = (driver.levy_rays(dim, each, s) for s in seeds[:2])
    if _same(first, second):
        return [first]
    return [first, second, *(driver.levy_rays(dim, each, s) for s in seeds[2:])]


def replicates(num_rays: Arg[Integer], seed: Arg[Seed]) -> tuple[int, list[int]]:
    """The number of directions in a set, and the seed of each set."""
    num_rays = errors.integer("num_rays", num_rays, "num_rays=4096", low=8 * _REPLICATES)
    seeds = np.random.SeedSequence(errors.seed(seed)).generate_state(_REPLICATES)
    return num_rays // _REPLICATES, seeds.tolist()


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


def _counted(
    response: Response, directions: Array, jumps: np.ndarray, measure: Rays, follow: bool
) -> tuple[Crossings, Survey, float]:
    """Where jumps leave, what the flow does after them, and the rate of those that it carries out
    after landing inside."""

    def rate(found: Crossings) -> float:
        return float(np.sum(found.sign * measure.mass(found.ray, found.radius)))

    index, sampled = measure.sets[0].index, len(measure.sets) > 1
    found = crossings(response, directions, measure.mass, index, sampled=sampled)
    if not follow:
        return found, UNSEEN._replace(why="the flow was not followed"), 0.0
    seen = survey(response, directions, jumps, found, measure.mass)
    lost = not np.isfinite(found.distance).any()
    carried = seen.left > LEAST_SHARE * (rate(found) + seen.left)
    # the way back of what lands behind a layer of the outside passes it
    behind = not found.star_shaped and not keeps(response.dynamics, response.domain)
    if not may_follow(response) or not (lost or carried or behind):
        return found, seen, 0.0
    # a jump that lands inside may leave by the flow: the flow decides
    at_once, flowing = rate(found), following(response, jumps, found.distance, thinnest(found))
    ends = crossings(
        flowing, directions, measure.mass, index, sampled=sampled, guess=found.distance
    )
    found = ends._replace(star_shaped=found.star_shaped)
    if lost and np.isfinite(found.distance).any():
        seen = survey(flowing, directions, jumps, found, measure.mass)
    return found, seen, max(rate(found) - at_once, 0.0)


def _assumptions(response: Response, seen: Survey, carried: float) -> tuple[str, ...]:
    """When the law holds, and what was checked."""
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
