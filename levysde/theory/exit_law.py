"""The escape law for heavy tails: from a basin and a stable noise, a rate; the escape time is then exponential.

Notation: `th*` the attractor, Omega the basin, nu the driver's Lévy measure, `epsilon A y` the displacement that a
noise jump y makes, a the stability index, `r_i = inf{r > 0 : th* + r epsilon A v_i not in Omega}` along noise
direction v_i, `share_i` the direction's share of the rate.

    rate = nu({y : th* + epsilon A y not in Omega}),   rate * escape time -> Exp(1) in law as epsilon -> 0
    rate = epsilon^a T_nu m(W),   W = {y : th* + A y not in Omega},   m(|y| >= 1) = 1,   T_nu = nu(|y| >= 1)

Pavlyukevich, Stochastics and Dynamics 11 (2011); Zhou, Feng, Ma, Xiong, Hoi, E, NeurIPS 2020, Theorem 1, with
Theta the tail of the true nu. Their closed form of it (p. 7), `(2/a) epsilon^a` in place of `T_nu epsilon^a`, gives
`1/(d C_a)` of the rate for d independent SaS(1) coordinates and `(2/a) / T_nu` of it for isotropic noise; it is offered for
comparison only.
"""

import warnings
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.errors import AccuracyWarning
from levysde.interfaces import check_domain, ray_doubts
from levysde.noise import StableComponents, StableIsotropic, boundary_shift
from levysde.parts import check_derived
from levysde.protocols import Domain, Driver, Dynamics, LevyRays
from levysde.tables import Table, Tabled
from levysde.theory.exact import survival_at
from levysde.theory.exit_conditions import (
    about_attractor,
    about_flow,
    about_layers,
    about_start,
    jumps_along,
    linearisation,
    no_escape,
    relaxation,
    stiffest_and_slowest,
)
from levysde.theory.exit_count import assumptions, counted, masses, ray_sets
from levysde.theory.exit_rays import holds_attractor
from levysde.theory.exit_response import response_of
from levysde.theory.law_error import LawError, law_error
from levysde.types import Arg, Integer, Number, Numbers


@dataclass(frozen=True, repr=False, eq=False)
class EscapeLaw(Tabled):
    """The exponential law of the escape time, in SDE time, as `escape_law` gives it.

    Attributes:
        rate: escapes a unit time; `mean` is its inverse.
        rate_error: error of `rate`: the standard error of the quadrature over directions, 0 where they are exact, and what a
            search along rays may have missed, 0 where crossings are known by formula.
        measure: `m(W)`, the Radon measure of the jumps (before epsilon) that leave the basin, with `m(|y| >= 1) = 1`;
            NaN where alpha is.
        alpha: stability index; NaN where the Lévy tail is no power, as for tempered noise: the rate is then no power of
            epsilon.
        epsilon: noise amplitude.
        regime: rate over relaxation, `rate * sum_i share_i / kappa_i`, kappa_i the curvature of the noiseless flow
            along the jump; the law needs it far below 1.
        stiffness: largest modulus of an eigenvalue of the noiseless flow at the attractor, per unit time.
        star_shaped: whether every ray of landing points, once outside, stays outside (as far as the search resolves, see
            `resolution`).
        ray_distance: `r_i` in jumps of size one, `inf` where a ray never leaves, shape `(m,)`.
        ray_share: each direction's share of the rate, shape `(m,)`.
        ray_direction: unit vectors along which the position jumps, `A v_i / |A v_i|`, shape `(m, d)`; zero where `A v_i` is.
        normalization: "true", or "printed" for the rate with the closed form of Theta that Zhou et al. print.
        response: how a jump leads to an escape, see `Dynamics.response`.
        name: what this is the law of.
        assumptions: when it holds.
        unit: of time.
        slowest: smallest real part of an eigenvalue of the noiseless flow at the attractor, per unit time: positive where the
            flow comes back from every direction; NaN where it was not found (near 0, beyond 200 dimensions).
        dynamics, domain: what this is the law of, None for a law made by hand.
        dt: step at which the noiseless flow after a jump was followed, in SDE time; None where none was.
        rays: the Lévy measure that was used, as independent sets of rays; one set where the directions are exact.
        crossings: how the places where rays leave and come back are known: by "formula" or by "search".
        resolution: share of the rate that a layer of the basin, thinner than the search's cells, may have and be missed; 0
            where crossings are known by formula.
        flow_share: share of the rate from jumps that land inside and are carried out by the noiseless flow.
        repelled: share of the points near the attractor from which the noiseless flow does not return.
        geometry_warnings: what the basin lacks, at any noise amplitude.
        epsilon_warnings: what stands against the law at this noise amplitude; `with_epsilon` drops them.
        error: how far the law is from the simulated mean at this noise; None where that was not checked, as after
            `with_epsilon`: see `law_error`.
    """

    rate: float
    rate_error: float
    measure: float
    alpha: float
    epsilon: float
    regime: float
    stiffness: float
    star_shaped: bool
    ray_distance: np.ndarray
    ray_share: np.ndarray
    ray_direction: np.ndarray
    normalization: str
    response: str
    name: str
    assumptions: tuple[str, ...]
    unit: str = "SDE time"
    slowest: float = float("nan")
    dynamics: Dynamics | None = field(default=None, repr=False, compare=False)
    domain: Domain | None = field(default=None, repr=False, compare=False)
    dt: float | None = field(default=None, compare=False)
    rays: tuple[LevyRays, ...] = field(default=(), repr=False, compare=False)
    crossings: str = "formula"
    resolution: float = 0.0
    flow_share: float = 0.0
    repelled: float = 0.0
    geometry_warnings: tuple[str, ...] = field(default=(), compare=False)
    epsilon_warnings: tuple[str, ...] = field(default=(), compare=False)
    error: LawError | None = field(default=None, compare=False)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What stands against reading the rate as it is, each with its number: of the geometry, then of the amplitude."""
        attractor = about_attractor(self.slowest, self.stiffness, self.regime, self.repelled)
        own = (self.error.warning,) if self.error and self.error.warning else ()
        return (*attractor, *self.geometry_warnings, *self.epsilon_warnings, *own)

    @property
    def mean(self) -> float:
        """Mean escape time, in SDE time."""
        return 1 / self.rate

    def with_epsilon(self, epsilon: Arg[Number]) -> "EscapeLaw":
        """The law at another noise amplitude, a positive number, without looking at the basin again: the rate is a power of it.

        Raises ValueError where it is not: tempered noise, a sum of drivers, or a jump that acts nonlinearly."""
        if not (self.alpha == self.alpha and self.response != "map"):
            raise ValueError(
                f"the rate of this law ({self.name}) is no power of epsilon. Build the dynamics with epsilon={epsilon!r} "
                "and call escape_law again."
            )
        epsilon = errors.positive_real("epsilon", epsilon, "epsilon=0.1")
        ratio = epsilon / self.epsilon
        factor = ratio**self.alpha
        dynamics = self.dynamics
        if dynamics is not None:
            amplitude = jnp.asarray(epsilon, dynamics.epsilon.dtype)
            dynamics = eqx.tree_at(_amplitude, dynamics, amplitude)
        return replace(
            self,
            dynamics=dynamics,
            epsilon_warnings=(),
            error=None,
            rate=self.rate * factor,
            rate_error=self.rate_error * factor,
            regime=self.regime * factor,
            epsilon=epsilon,
            ray_distance=self.ray_distance / ratio,
        )

    def survival(self, t: Arg[Numbers]) -> np.ndarray | float:
        """`P(escape time > t) = exp(-rate t)` at finite times `t`, in SDE time, any shape."""
        return survival_at(self.rate, t)

    def quantile(self, p: Arg[Numbers]) -> np.ndarray | float:
        """The time by which a share `p` of the trajectories has escaped, at least 0 and below 1, any shape."""
        share = errors.reals("p", p, "p=0.5")
        if not ((share >= 0) & (share < 1)).all():
            raise ValueError(f"p must be at least 0 and below 1, not {errors.shown(p)}. Type for example p=0.5.")
        return -np.log1p(-share) / self.rate

    def one_step_chance(self, dt: Arg[Number]) -> float:
        """The chance that one step of length `dt` from the attractor leaves the basin, `1 - exp(-rate dt)`. A sampler
        must be right in the tail at this probability."""
        return float(-np.expm1(-self.rate * errors.positive_real("dt", dt, "dt=1e-3")))

    def skeleton_bias(self, dt: Arg[Number]) -> float:
        """How much later, relative to the mean, a process seen every `dt` escapes than one seen always:
        `a rho_a dt^(1/a) sum_i share_i / r_i`, the leading order as dt and epsilon fall. At a larger dt the drift carries
        near misses away from the boundary and the lateness is smaller: 0.4 to 0.9 of this in an OU well at
        epsilon / r = 0.1 to 0.2, dt = 0.1 to 0.01. NaN where no constant is known: a <= 1, no power law, or a position that
        the noise reaches otherwise than by straight jumps."""
        step = errors.positive_real("dt", dt, "dt=1e-3")
        if not self.alpha > 1 or self.response != "linear":
            return float("nan")
        closeness = np.sum(self.ray_share / self.ray_distance)
        return float(self.alpha * boundary_shift(self.alpha) * step ** (1 / self.alpha) * closeness)

    def start_warnings(self, x0: Arg[Numbers]) -> tuple[str, ...]:
        """What stands against the law for trajectories that start at `x0`, shape `(d,)`: that the noiseless flow from there
        leaves the domain, or goes to another attractor. Nothing for a law made by hand, and where the flow is not followed."""
        dim = self.ray_direction.shape[-1]
        start = errors.reals("x0", x0, f"x0=jnp.zeros({dim})", (dim,))
        if self.dynamics is None or self.domain is None:
            return ()
        response = response_of(self.dynamics, self.domain, None, self.stiffness)
        directions = np.concatenate([rays.directions for rays in self.rays])
        jumps = np.asarray(jumps_along(self.dynamics, jnp.asarray(directions, dtype=float)), dtype=float)
        return about_start(response, jumps, self.ray_distance, start)

    def _table(self) -> Table:
        error = f" +- {self.rate_error:.1g}" if self.rate_error > 1e-6 * self.rate else ""
        printed = " (as printed, for comparison only)" if self.normalization == "printed" else ""
        leaving = int(np.sum(self.ray_share > 0))
        power = self.alpha == self.alpha
        mean = f"{self.mean:.6g}" if self.rate else "inf"
        rows = [
            (f"mean escape time ({self.unit})", mean + printed),
            ("rate", f"{self.rate:.6g}{error}"),
            ("m(W)", f"{self.measure:.6g}" if power else "none: the rate is no power of epsilon"),
            ("alpha, epsilon", f"{self.alpha:g}, {self.epsilon:g}" if power else f"no power law, {self.epsilon:g}"),
            ("rate over relaxation", f"{self.regime:.3g} (the law needs it far below 1)"),
            (
                "mean over the law's, simulated",
                f"{self.error.ratio}" if self.error else "not checked: see law_error(law)",
            ),
            ("noise directions that leave", f"{leaving} of {len(self.ray_share)}"),
            ("star-shaped basin", "yes" if self.star_shaped else "no: every stretch outside is counted"),
            ("crossings of rays", self._crossings()),
            ("assumes", "\n".join(self.assumptions)),
        ]
        return Table(f"EscapeLaw: {self.name}", rows, self.warnings)

    def _crossings(self) -> str:
        if self.crossings == "formula":
            return "by formula"
        return f"searched: layers of the basin with {self.resolution:.2g} of the rate or more are seen"


def escape_law(
    dynamics: Arg[Dynamics],
    domain: Arg[Domain],
    *,
    normalization: Arg[Literal["true", "printed"]] = "true",
    num_rays: Arg[Integer] = 4096,
    seed: Arg[Integer] = 0,
    dt: Arg[Number | None] = None,
    follow: Arg[bool] = True,
    check: Arg[bool] = True,
    progress: Arg[bool] = False,
) -> EscapeLaw:
    """The escape law of `dynamics` from `domain` by single jumps, exact as the noise amplitude falls.

    The escape time is exponential, with the rate `nu({y : th* + epsilon A y not in Omega})`: the Lévy measure nu of the jumps
    y that carry the attractor `th*` out of the basin Omega, `epsilon A y` being the displacement that a jump makes. For stable
    noise it is `epsilon^a T_nu m(W)` (see `EscapeLaw`).

    Args:
        dynamics: an SDE whose driver has a Lévy measure; its attractor must lie inside `domain`.
        domain: the basin.
        normalization: "true", or "printed" for `(2/a) epsilon^a m(W)`, with the closed form of Theta that Zhou et al. print
            (p. 7), for comparison.
        num_rays: directions for isotropic noise, 64 or more, rounded to 8 sets of a power of two; component noise has 2d
            exactly.
        seed: of the quasi-random directions.
        dt: step at which the flow after a jump is followed, in SDE time; needed only where the noise enters an average
            (`response` "flow").
        follow: whether the noiseless flow is followed from landing points inside. Where it carries some of them out of the
            domain, they count as escapes. False counts jumps that land outside alone.
        check: estimate by simulation how far the law is from the mean escape time at this noise, and issue an
            `AccuracyWarning` where it is not within 10% (see `law_error`). It takes some seconds, most of them to compile;
            False leaves it out. A law as printed is not checked.
        progress: True shows a bar for the check.

    Returns:
        The law, with its conditions.

    Raises:
        ValueError, TypeError: a driver without jumps (alpha = 2, Brownian) or without an escape law of jumps, an
            attractor outside the domain, a basin unbounded along every noise ray (infinite mean), an unknown
            normalization, a bad `num_rays` or `seed`, no `dt` where one is needed.

    Source:
        Pavlyukevich, Stochastics and Dynamics 11 (2011); Zhou, Feng, Ma, Xiong, Hoi, E, NeurIPS 2020, Theorem 1.
    """
    errors.concrete("dynamics, domain or dt", (dynamics, domain, dt))
    if not isinstance(dynamics, Dynamics) or not isinstance(domain, Domain):
        raise TypeError(
            f"escape_law takes a dynamics and a domain, not {type(dynamics).__name__} and {type(domain).__name__}. "
            "Type for example escape_law(dynamics, Ball(radius=1.0, center=jnp.zeros(2)))."
        )
    check_derived((dynamics, domain))
    errors.choice("normalization", normalization, ("true", "printed"))
    errors.flag("check", check)
    errors.flag("progress", progress)
    step = None if dt is None else errors.positive("dt", dt, "dt=1e-3")
    errors.flag("follow", follow)
    driver, dim = dynamics.driver, dynamics.landscape.dim
    sets = ray_sets(driver, dynamics.noise_dim, num_rays, seed)
    if domain.dim != dim:
        raise ValueError(
            f"the domain takes points of {domain.dim} dimensions, the dynamics move in {dim}. Make them one."
        )
    check_domain(domain)
    directions = jnp.asarray(np.concatenate([rays.directions for rays in sets]), dtype=float)
    jumps = np.asarray(jumps_along(dynamics, directions), dtype=float)
    flow = np.asarray(linearisation(dynamics), dtype=float)
    stiffness, slowest = stiffest_and_slowest(flow)
    response = response_of(dynamics, domain, _response_step(dynamics, step), stiffness)
    if not holds_attractor(response, directions):
        raise ValueError(
            f"the attractor {np.asarray(dynamics.attractor)} lies outside the domain: there is nothing to escape from. "
            "Center the domain on dynamics.attractor."
        )
    doubts = ray_doubts(domain, dynamics.attractor, jumps)
    for doubt in doubts:
        warnings.warn(doubt, AccuracyWarning, stacklevel=3)  # past the wrapper of names
    found, seen, carried = counted(response, directions, jumps, sets, follow)
    parts = np.bincount(found.ray, found.sign * masses(sets, found.ray, found.radius), minlength=len(directions))
    parts = np.maximum(parts, 0) / len(sets)
    rate = float(parts.sum())
    if not rate > 0:
        raise ValueError(no_escape(sets, found, float(dynamics.epsilon)))
    share = parts / rate
    alpha, epsilon = sets[0].index, float(dynamics.epsilon)
    measure = rate / (epsilon**alpha * sets[0].total())
    by_set = parts.reshape(len(sets), -1).sum(1) * len(sets)
    error = float(np.std(by_set, ddof=1) / np.sqrt(len(sets))) if len(sets) > 1 else 0.0
    unfollowed = seen.left if carried == 0 else 0.0
    error = float(np.hypot(error, found.resolution + found.change + unfollowed))
    lengths = np.linalg.norm(jumps, axis=1, keepdims=True)
    regime = rate * relaxation(flow, jumps, share)
    about = (
        *doubts,
        *about_layers(found, rate),
        *about_flow(seen, rate),
    )
    resolution, carried = found.resolution / rate, carried / rate
    if normalization == "printed":
        rate, error = _as_printed(driver, rate, error, measure, epsilon)
    law = EscapeLaw(
        rate=rate,
        rate_error=error,
        measure=measure,
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
        name=f"{'stable ' if alpha == alpha else ''}escape law of {type(dynamics).__name__} with {type(driver).__name__}",
        assumptions=assumptions(response, seen, carried),
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
    return _with_error(law, progress) if check and normalization == "true" else law


def _amplitude(dynamics: Dynamics) -> Any:
    """The leaf that holds epsilon, also of dynamics that take it from those that they are made of."""
    names = [each.name for each in fields(dynamics)]
    inner = [] if "epsilon" in names else [getattr(dynamics, name) for name in names]
    inner = [part for part in inner if isinstance(part, Dynamics)]
    return _amplitude(inner[0]) if inner else dynamics.epsilon


def _with_error(law: EscapeLaw, progress: bool) -> EscapeLaw:
    error = law_error(law, progress=progress)
    if error.warning:
        warnings.warn(error.warning, AccuracyWarning, stacklevel=4)  # past the wrapper of names
    return replace(law, error=error)


def _response_step(dynamics: Dynamics, dt: Array | None) -> Array:
    if dynamics.response != "flow":
        return jnp.asarray(0.0, dtype=float)
    if dt is None:
        raise ValueError(
            f"the noise of {type(dynamics).__name__} enters an average, so the noiseless flow after a jump decides whether "
            "it leaves. Give the step at which to follow it, that of the simulation: escape_law(dynamics, domain, dt=1e-3)."
        )
    return dt


def _as_printed(driver: Driver, rate: float, error: float, measure: float, epsilon: float) -> tuple[float, float]:
    """The rate `(2/a) epsilon^a m(W)`, with the printed closed form of Theta, and its error."""
    if not isinstance(driver, StableComponents | StableIsotropic):  # printed for the two drivers of Zhou et al. only
        raise ValueError(
            f'normalization="printed" is known for StableComponents and StableIsotropic, not {type(driver).__name__}. '
            'Type normalization="true".'
        )
    alpha = float(driver.alpha)
    printed = 2 / alpha * epsilon**alpha * measure
    return printed, error * printed / rate
