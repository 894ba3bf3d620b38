"""The exact exit of a one-dimensional SDE: from its dynamics and its interval to the equation that
holds at any noise.

`d th = -F'(th) dt + epsilon s dL`, s the number that the scale is in one dimension. In one
dimension every stable driver is the same: SaS(|epsilon s|) at time 1; Brownian motion adds
`D = (epsilon s)^2 / 2`. With jumps the nonlocal equation is solved (`stable_exit`), without them
a quadrature is done (`first_passage`)."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from levysde import errors
from levysde.dynamics import SGD, Langevin
from levysde.interfaces import check_domain
from levysde.landscapes import in_float64
from levysde.noise import STATE_FREE, Brownian, DriverSum, StableComponents, StableIsotropic
from levysde.protocols import Domain, Driver, Landscape
from levysde.theory.first_passage import FirstPassage, first_passage
from levysde.theory.stable_exit import StableExit, stable_exit
from levysde.types import Arg, Numbers

if TYPE_CHECKING:
    from levysde.protocols import Dynamics


def exact_exit(
    dynamics: Arg["Dynamics"], domain: Arg[Domain], *, start: Arg[Numbers | None] = None
) -> StableExit | FirstPassage:
    """Mean, second moment and side of the exit of `dynamics` from the interval of `domain` that
    holds the start.

    Args:
        dynamics: `SGD` or `Langevin` in one dimension, driven by stable noise, Brownian motion, or
            a `DriverSum` of them, with a scale that does not depend on the position.
        domain: a convex set in one dimension; with jumps, bounded.
        start: where the path starts, `(1,)`; the attractor by default.

    Returns:
        What `stable_exit` gives where there are jumps, else what `first_passage` gives; times are
        SDE time.

    Raises:
        ValueError, TypeError: other dynamics, drivers, scales or domains, by name; a start outside;
            stable drivers of several indices; an interval without an end. Also what `stable_exit`
            and `first_passage` raise.
        RuntimeError: as they do.

    Source:
        `stable_exit` (the nonlocal equation) and `first_passage` (Karlin and Taylor, 1981, chapter
        15).
    """
    errors.concrete("dynamics, domain or start", (dynamics, domain, start))
    if not isinstance(dynamics, SGD | Langevin):
        raise TypeError(
            "dynamics must be SGD or Langevin, whose state is one number, not "
            f"{errors.shown(dynamics)}. Simulate instead."
        )
    if not isinstance(domain, Domain):
        raise TypeError(
            f"domain must be a Domain, not {errors.shown(domain)}. For example "
            "Ball(radius=1.0, center=jnp.zeros(1))."
        )
    check_domain(domain)
    if dynamics.landscape.dim != 1 or domain.dim != 1:
        raise ValueError(
            f"exact_exit is one-dimensional; the dynamics have d = {dynamics.landscape.dim} and "
            f"the domain d = {domain.dim}. For a radial well in a ball type stable_ball_exit(...)."
        )
    if not domain.convex:
        raise ValueError(
            f"{type(domain).__name__} is not known to be an interval. Give a Ball or a Box."
        )
    alpha, epsilon, diffusion = _noise(dynamics)
    place = (
        dynamics.attractor
        if start is None
        else errors.finite("start", start, "start=jnp.zeros(1)", (1,))
    )
    if not bool(domain.contains(place)):
        raise ValueError(f"the start {np.asarray(place)} lies outside the domain. Start inside.")
    x = float(place[0])
    low, high = (
        x + side * float(domain.ray_distance(place, jnp.full_like(place, side))) for side in (-1, 1)
    )
    with in_float64(dynamics.landscape) as landscape:

        def drift(z: np.ndarray) -> np.ndarray:
            return -np.asarray(_gradients(landscape, jnp.asarray(z)[:, None]))[:, 0]

        if epsilon == 0:
            ends = (None if np.isinf(low) else low, None if np.isinf(high) else high)
            found = first_passage(drift, diffusion, start=x, lower=ends[0], upper=ends[1])
            return replace(found, start=x)
        if not np.isfinite([low, high]).all():
            raise ValueError(
                f"the interval ({low:g}, {high:g}) has no end on one side, where jumps land too. "
                "Bound it, far out."
            )
        exit_ = stable_exit(
            drift, alpha=alpha, epsilon=epsilon, start=x, lower=low, upper=high, diffusion=diffusion
        )
        return replace(exit_, start=x)


@eqx.filter_jit
def _gradients(landscape: Landscape, points: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """One program for each n, shared by all landscapes of a kind."""
    return jax.vmap(landscape.gradient)(points)


def _noise(dynamics: Any) -> tuple[float, float, float]:
    """Stability index, amplitude (0 without jumps) and D of the noise."""
    scale, driver = dynamics.scale, dynamics.driver
    if not isinstance(scale, STATE_FREE) or dynamics.noise_dim != 1:
        raise ValueError(
            f"the scale {type(scale).__name__} is no number: exact_exit needs noise of one "
            "coordinate that does not depend on the position. Give a number, or call stable_exit "
            "or first_passage, which takes D(x)."
        )
    factor = float(dynamics.epsilon) * float(scale.apply(jnp.ones(1), jnp.zeros(1))[0])
    parts: list[tuple[Driver, float]] = [(driver, factor)]
    if isinstance(driver, DriverSum):
        parts = [
            (part, factor * float(c))
            for part, c in zip(driver.drivers, driver.factors, strict=True)
        ]
    diffusion, jumps = 0.0, []
    for part, amplitude in parts:
        if isinstance(part, Brownian):
            diffusion += amplitude**2 / 2
        elif isinstance(part, StableComponents | StableIsotropic):
            alpha = float(part.alpha)
            if alpha == 2:
                diffusion += amplitude**2
            else:
                jumps.append((alpha, abs(amplitude)))
        else:
            raise TypeError(
                "exact_exit knows StableComponents, StableIsotropic, Brownian and a DriverSum of "
                f"them, not {type(part).__name__}. Simulate instead."
            )
    indices = sorted({alpha for alpha, _ in jumps})
    if len(indices) > 1:
        raise ValueError(
            f"the stable drivers have the indices {indices}; exact_exit takes one. "
            "Simulate instead."
        )
    if not jumps:
        return 2.0, 0.0, diffusion
    return indices[0], sum(c ** indices[0] for _, c in jumps) ** (1 / indices[0]), diffusion
