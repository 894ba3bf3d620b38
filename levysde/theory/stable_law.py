"""The exponential law of escape by single jumps, and how far it is from its own problem's mean.

See `levysde.theory.exit_law` for the notation and the sources.
"""

from dataclasses import dataclass, field, fields, replace
from math import inf, log
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from levysde import errors
from levysde.noise import boundary_shift
from levysde.protocols import Domain, Dynamics, LevyRays
from levysde.results import Result
from levysde.stats import Estimate
from levysde.tables import Table
from levysde.theory.exit_conditions import about_attractor, about_start, jumps_along
from levysde.theory.exit_response import response_of
from levysde.theory.law import Conditions, Exponential, LawError, differs
from levysde.types import Arg, Number, Numbers

_STIFFEST = 0.5  # dt times the stiffest curvature
_LATEST = 0.02  # relative discretisation bias
_SLOWEST = 0.1  # rate over relaxation
SAMPLER_FLOOR = 1e-8  # the samplers are right to 1% down to this chance of a draw


@dataclass(frozen=True, repr=False, eq=False)
class EscapeLaw(Result, Exponential):
    """The exponential law of the escape time, in SDE time, as `escape_law` gives it.

    Attributes:
        rate: escapes a unit time; `mean` is its inverse.
        rate_error: error of `rate`: the standard error of the quadrature over directions, 0 where
            they are exact, and what a search along rays may have missed, 0 where crossings are
            known by formula.
        measure: `m(W)`, the Radon measure of the jumps (before epsilon) that leave the basin, with
            `m(|y| >= 1) = 1`; NaN where alpha is.
        alpha: stability index; NaN where the Lévy tail is no power, as for tempered noise: the rate
            is then no power of epsilon.
        epsilon: noise amplitude.
        regime: rate over relaxation, `rate * sum_i share_i / kappa_i`, kappa_i the curvature of the
            noiseless flow along the jump; the law needs it far below 1.
        stiffness: largest modulus of an eigenvalue of the noiseless flow at the attractor, per unit
            time.
        star_shaped: whether every ray of landing points, once outside, stays outside (as far as the
            search resolves, see `resolution`).
        ray_distance: `r_i` in jumps of size one, `inf` where a ray never leaves, shape `(m,)`.
        ray_share: each direction's share of the rate, shape `(m,)`.
        ray_direction: unit vectors along which the position jumps, `A v_i / |A v_i|`, shape
            `(m, d)`; zero where `A v_i` is.
        normalization: "true", or "printed" for the rate with the closed form of Theta that Zhou et
            al. print.
        response: how a jump leads to an escape, see `Dynamics.response`.
        name: what this is the law of.
        assumptions: when it holds.
        unit: of time.
        slowest: smallest real part of an eigenvalue of the noiseless flow at the attractor, per
            unit time: positive where the flow comes back from every direction; NaN where it was not
            found (near 0, beyond 200 dimensions).
        dynamics, domain: what this is the law of, None for a law made by hand.
        dt: step at which the noiseless flow after a jump was followed, in SDE time; None where none
            was.
        rays: the Lévy measure that was used, as independent sets of rays; one set where the
            directions are exact.
        crossings: how the places where rays leave and come back are known: by "formula" or by
            "search".
        resolution: share of the rate that a layer of the basin, thinner than the search's cells,
            may have and be missed; 0 where crossings are known by formula.
        flow_share: share of the rate from jumps that land inside and are carried out by the
            noiseless flow.
        repelled: share of the points near the attractor from which the noiseless flow does not
            return.
        geometry_warnings: what the basin lacks, at any noise amplitude.
        epsilon_warnings: caveats of the law at this noise amplitude; `with_epsilon` drops
            them.
        error: how far the law is from the simulated mean at this noise; None where that was not
            checked, as after `with_epsilon`: see `law_error`.
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
        """Caveats of the rate, each with its number: of the geometry,
        then of the amplitude."""
        attractor = about_attractor(self.slowest, self.stiffness, self.regime, self.repelled)
        own = (self.error.warning,) if self.error and self.error.warning else ()
        return (*attractor, *self.geometry_warnings, *self.epsilon_warnings, *own)

    @property
    def mean(self) -> float:
        """Mean escape time, in SDE time."""
        return 1 / self.rate

    @property
    def log_rate(self) -> float:
        """Natural logarithm of `rate`."""
        return log(self.rate) if self.rate else -inf

    def relative_error(self, confidence: float) -> float:
        """Of the mean's computation, at that confidence: of the quadrature and the search along
        rays."""

        return float(ndtri((1 + confidence) / 2)) * self.rate_error / self.rate

    def with_epsilon(self, epsilon: Arg[Number]) -> "EscapeLaw":
        """The law at another noise amplitude, a positive number, without looking at the basin
        again: the rate is a power of it.

        Raises ValueError where it is not: tempered noise, a sum of drivers, or a jump that acts
        nonlinearly."""
        if not (self.alpha == self.alpha and self.response != "map"):
            raise ValueError(
                f"the rate of this law ({self.name}) is no power of epsilon. Build the dynamics "
                f"with epsilon={epsilon!r} and call escape_law again."
            )
        epsilon = errors.positive_real("epsilon", epsilon)
        ratio = epsilon / self.epsilon
        factor = ratio**self.alpha
        dynamics = self.dynamics
        if dynamics is not None:
            dynamics = with_amplitude(dynamics, epsilon)
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

    def quantile(self, p: Arg[Numbers]) -> np.ndarray | float:
        """The time by which a share `p` of the trajectories has escaped, at least 0 and below 1,
        any shape."""
        share = errors.reals("p", p)
        if not ((share >= 0) & (share < 1)).all():
            raise ValueError(
                f"p must be at least 0 and below 1, not {errors.shown(p)}. For example p=0.5."
            )
        return -np.log1p(-share) / self.rate

    def one_step_chance(self, dt: Arg[Number]) -> float:
        """The chance that one step of length `dt` from the attractor leaves the basin,
        `1 - exp(-rate dt)`. A sampler must be right in the tail at this probability."""
        return float(-np.expm1(-self.rate * errors.positive_real("dt", dt)))

    def skeleton_bias(self, dt: Arg[Number]) -> float:
        """How much later, relative to the mean, a process seen every `dt` escapes than one seen
        always: `a rho_a dt^(1/a) sum_i share_i / r_i`, the leading order as dt and epsilon fall. At
        a larger dt the drift carries near misses away from the boundary and the bias is
        smaller: 0.4 to 0.9 of this in an OU well at epsilon / r = 0.1 to 0.2, dt = 0.1 to 0.01. NaN
        where no constant is known: a <= 1, no power law, or a position that the noise reaches
        otherwise than by straight jumps."""
        step = errors.positive_real("dt", dt)
        if not self.alpha > 1 or self.response != "linear":
            return float("nan")
        closeness = np.sum(self.ray_share / self.ray_distance)
        return float(self.alpha * boundary_shift(self.alpha) * step ** (1 / self.alpha) * closeness)

    def start_warnings(self, x0: Arg[Numbers]) -> tuple[str, ...]:
        """Caveats of the law for trajectories that start at `x0`, shape `(d,)`: that the
        noiseless flow from there leaves the domain, or goes to another attractor. Nothing for a law
        made by hand, and where the flow is not followed."""
        dim = self.ray_direction.shape[-1]
        start = errors.reals("x0", x0, f"x0=jnp.zeros({dim})", (dim,))
        if self.dynamics is None or self.domain is None:
            return ()
        response = response_of(self.dynamics, self.domain, None, self.stiffness)
        directions = np.concatenate([rays.directions for rays in self.rays])
        jumps = np.asarray(
            jumps_along(self.dynamics, jnp.asarray(directions, dtype=float)), dtype=float
        )
        return about_start(response, jumps, self.ray_distance, start)

    def conditions(
        self, ratio: Estimate, dt: float | None, start: tuple[float, ...] | None
    ) -> Conditions:
        """How a run of step `dt` from `start` whose mean is `ratio` times the law's stands to the
        law."""
        found = (
            *self._about_itself(),
            *(() if dt is None else self._about_step(dt)),
            *self._about_ratio(ratio),
            *(() if start is None else self.start_warnings(start)),
        )
        if dt is None:
            return Conditions(self.regime, warnings=found, law_error=self.error)
        return Conditions(
            self.regime, self.one_step_chance(dt), self.skeleton_bias(dt), found, self.error
        )

    def _about_itself(self) -> list[str]:
        found = []
        if self.normalization == "printed":
            found.append(
                'the reference is the rate as printed, not the true one. Type normalization="true" '
                "to test theory."
            )
        if not self.star_shaped:
            found.append(
                "the basin is not star-shaped about the attractor: the rate counts every stretch "
                "outside along each ray, and trajectories that cross a stretch within one step "
                "are not counted as exits."
            )
        found += self.warnings
        if _SLOWEST < self.regime < inf:
            found.append(
                f"the rate over relaxation is {self.regime:.3g}, above {_SLOWEST}: escape is not "
                "rare, and the law is a limit for rare escape. Take a smaller epsilon or a larger "
                "basin."
            )
        return found

    def _about_step(self, dt: float) -> list[str]:
        """Caveats about the step that the law is tested with."""
        found, chance, late = [], self.one_step_chance(dt), self.skeleton_bias(dt)
        if chance < SAMPLER_FLOOR:
            found.append(
                f"the one-step exit chance is {chance:.2g}, below the {SAMPLER_FLOOR:g} down to "
                "which the sampler is right to 1%. Take a larger dt or epsilon."
            )
        if dt * self.stiffness > _STIFFEST:
            found.append(
                f"dt times the largest curvature is {dt * self.stiffness:.3g}, above {_STIFFEST}: "
                f"dt is too coarse for the flow. Type dt={_STIFFEST / self.stiffness:.2g} or less."
            )
        if late > _LATEST:
            finer = dt * (_LATEST / late) ** self.alpha
            found.append(
                f"dt = {dt:g} is too coarse: its discretisation bias is up to {late:.1%}. Type "
                f"dt={finer:.2g} or less for {_LATEST:.0%}, and check whether halving it moves the "
                "mean."
            )
        return found

    def _about_ratio(self, ratio: Estimate) -> list[str]:
        """A caveat if the measured mean differs from the law's: about the law at this noise, or
        about the run."""
        comparable = self.normalization == "true" and 0 < ratio.value < inf
        if not comparable or not differs(ratio):
            return []
        side = "shorter" if ratio.value < 1 else "longer"
        off = (
            f"the measured mean is {abs(1 - ratio.value):.0%} {side} than the law's (ratio {ratio})"
        )
        if self.error is None or not self.error.ratio.value > 0:
            return [
                f"{off}: at epsilon = {self.epsilon:.3g} the law, a limit for small noise, is "
                "that far from the mean, or the run is not of the law's dynamics, domain and "
                "start, or its step is too coarse. law_error(law) estimates the first."
            ]
        if self.error.ratio.low <= ratio.high and ratio.low <= self.error.ratio.high:
            return []  # the law's own warning has said it
        return [
            f"{off}, where a simulation of the law's own problem gave {self.error.ratio}: the run "
            "is of other dynamics, another domain or start, or one of the two steps is too coarse."
        ]

    def _table(self) -> Table:
        error = f" +- {self.rate_error:.1g}" if self.rate_error > 1e-6 * self.rate else ""
        printed = " (as printed, for comparison only)" if self.normalization == "printed" else ""
        leaving = int(np.sum(self.ray_share > 0))
        power = self.alpha == self.alpha
        mean = f"{self.mean:.6g}" if self.rate else "inf"
        searched = (
            f"searched: layers of the basin with {self.resolution:.2g} of the rate or more are seen"
        )
        return Table(
            f"EscapeLaw: {self.name}",
            [
                (f"mean escape time ({self.unit})", mean + printed),
                ("rate", f"{self.rate:.6g}{error}"),
                (
                    "m(W)",
                    f"{self.measure:.6g}" if power else "none: the rate is no power of epsilon",
                ),
                (
                    "alpha, epsilon",
                    f"{self.alpha:g}, {self.epsilon:g}"
                    if power
                    else f"no power law, {self.epsilon:g}",
                ),
                ("rate over relaxation", f"{self.regime:.3g} (the law needs it far below 1)"),
                (
                    "mean over the law's, simulated",
                    f"{self.error.ratio}" if self.error else "not checked: see law_error(law)",
                ),
                ("noise directions that leave", f"{leaving} of {len(self.ray_share)}"),
                (
                    "star-shaped basin",
                    "yes" if self.star_shaped else "no: every stretch outside is counted",
                ),
                ("crossings of rays", "by formula" if self.crossings == "formula" else searched),
                ("assumes", "\n".join(self.assumptions)),
            ],
            self.warnings,
        )


def with_amplitude(dynamics: Dynamics, epsilon: Any) -> Dynamics:
    """The same dynamics at another noise amplitude."""
    return eqx.tree_at(_amplitude, dynamics, jnp.asarray(epsilon, dynamics.epsilon.dtype))


def _amplitude(dynamics: Dynamics) -> Any:
    """The leaf that holds epsilon, also of dynamics that take it from those that they are made
    of."""
    names = [each.name for each in fields(dynamics)]
    inner = [] if "epsilon" in names else [getattr(dynamics, name) for name in names]
    inner = [part for part in inner if isinstance(part, Dynamics)]
    return _amplitude(inner[0]) if inner else dynamics.epsilon
