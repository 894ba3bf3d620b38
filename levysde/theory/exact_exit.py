"""Exact mean exit times: of a one-dimensional SDE from an interval, at any noise, and of noise
without drift from a ball. Float64.

In one dimension `d th = -F'(th) dt + epsilon s dL`, s the number that the scale is. Every stable
driver is then the same: SaS(|epsilon s|) at time 1; Brownian motion adds `D = (epsilon s)^2 / 2`.
With jumps the nonlocal equation is solved (`stable_exit`), without them a quadrature is done
(`first_passage`).

For balls: a the stability index, `epsilon L` the noise, r the radius, x the start relative to the
centre, d the dimension. Times are in the time of L. Convention: `E exp(i k L_1) = exp(-|k|^a)` in
each coordinate, so a = 2 is variance 2t.
"""

from dataclasses import replace
from math import gamma, hypot
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import poch

from levysde import errors
from levysde.dynamics import FirstOrder
from levysde.interfaces import check_domain
from levysde.noise import STATE_FREE, Brownian, DriverSum, StableComponents, StableIsotropic
from levysde.parts import in_float64
from levysde.protocols import Domain, Driver, Dynamics
from levysde.theory.first_passage import FirstPassage, first_passage
from levysde.theory.stable_exit import StableExit, stable_exit
from levysde.types import Arg, Integer, Number, Numbers


def exact_exit(
    dynamics: Arg[Dynamics], domain: Arg[Domain], *, start: Arg[Numbers | None] = None
) -> StableExit | FirstPassage:
    """Mean, second moment and side of the exit of `dynamics` from the interval of `domain` that
    holds the start.

    Args:
        dynamics: `SGD` (Ito), `Langevin` or `SDE` in one dimension, driven by stable noise,
            Brownian motion, or a `DriverSum` of them. With jumps the scale must not depend on the
            position.
        domain: a convex set in one dimension; with jumps, bounded.
        start: where the path starts, `(1,)`; the attractor by default. An `SDE` without one needs
            it.

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
    if not isinstance(dynamics, FirstOrder) or dynamics.response != "linear":
        raise TypeError(
            "dynamics must be SGD (Ito), Langevin or SDE, whose state is one number, not "
            f"{errors.shown(dynamics)}. Simulate instead."
        )
    errors.instance("domain", domain, Domain, "Ball(radius=1.0, center=jnp.zeros(1))")
    check_domain(domain)
    if dynamics.dim != 1 or domain.dim != 1:
        raise ValueError(
            f"exact_exit is one-dimensional; the dynamics have d = {dynamics.dim} and "
            f"the domain d = {domain.dim}. For a radial well in a ball type stable_ball_exit(...)."
        )
    if not domain.convex:
        raise ValueError(
            f"{type(domain).__name__} is not known to be an interval. Give a Ball or a Box."
        )
    alpha, jumps, diffusion = _noise(dynamics)
    factor = _factor(dynamics) if jumps else 1.0
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
    with in_float64(dynamics) as precise:

        def drift(z: np.ndarray) -> np.ndarray:
            return -np.asarray(_forces(precise, jnp.asarray(z)[:, None]))[:, 0]

        def spread(z: np.ndarray) -> np.ndarray:
            return diffusion * np.asarray(_squares(precise, jnp.asarray(z)[:, None]))

        if not jumps:
            lower, upper = (None if np.isinf(end) else end for end in (low, high))
            found = first_passage(drift, spread, start=x, lower=lower, upper=upper)
            return replace(found, start=x)
        if not np.isfinite([low, high]).all():
            raise ValueError(
                f"the interval ({low:g}, {high:g}) has no end on one side, where jumps land too. "
                "Bound it, far out."
            )
        exit_ = stable_exit(
            drift,
            alpha=alpha,
            epsilon=jumps * factor,
            start=x,
            lower=low,
            upper=high,
            diffusion=diffusion * factor**2,
        )
        return replace(exit_, start=x)


@eqx.filter_jit
def _forces(dynamics: FirstOrder, points: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """One program for each n, shared by all dynamics of a kind."""
    return jax.vmap(dynamics.force)(points)


@eqx.filter_jit
def _squares(dynamics: FirstOrder, points: Float[Array, "n d"]) -> Float[Array, " n"]:
    """The sum over the noise of the squares of its scales, at each point."""
    axes = jnp.eye(dynamics.noise_dim, dtype=points.dtype)
    at = lambda x: jax.vmap(lambda y: dynamics.scale.apply(y, x))(axes)  # noqa: E731
    return jnp.sum(jax.vmap(at)(points) ** 2, (1, 2))


def _factor(dynamics: FirstOrder) -> float:
    """The number that the scale is."""
    scale = dynamics.scale
    if not isinstance(scale, STATE_FREE) or dynamics.noise_dim != 1:
        raise ValueError(
            f"the scale {type(scale).__name__} is no number: with jumps exact_exit needs noise of "
            "one coordinate that does not depend on the position. Give a number, or simulate "
            "instead."
        )
    return abs(float(scale.apply(jnp.ones(1), jnp.zeros(1))[0]))


def _noise(dynamics: Any) -> tuple[float, float, float]:
    """Stability index, amplitude (0 without jumps) and D of the noise, where the scale is 1."""
    driver, factor = dynamics.driver, float(dynamics.epsilon)
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


def getoor_mean_exit(
    *,
    alpha: Arg[Number],
    dim: Arg[Integer],
    radius: Arg[Number] = 1.0,
    epsilon: Arg[Number] = 1.0,
    start: Arg[Numbers] = 0.0,
) -> float:
    """Mean exit time of `x + epsilon L`, L isotropic stable, from the ball of `radius`.

    `Gamma(d/2) (r^2 - |x|^2)^(a/2) / (2^a Gamma(1 + a/2) Gamma((d + a)/2) epsilon^a)`.

    Args:
        alpha: stability index, in (0, 2].
        dim: d, the dimension.
        radius: of the ball, positive, in the unit of x; 1 by default.
        epsilon: noise amplitude, positive; 1 by default.
        start: x, relative to the centre: a point, `(d,)`, or its distance from the centre, which is
            0 by default.

    Returns:
        The mean exit time, in the time of L.

    Raises:
        ValueError, TypeError: a number out of range, or traced by JAX; a start outside the ball.

    Source:
        Getoor, Trans. Amer. Math. Soc. 101 (1961).
    """

    a, d, gap, eps = _checked(alpha, dim, radius, epsilon, start)
    return float(gap ** (a / 2) / (2**a * gamma(1 + a / 2) * poch(d / 2, a / 2) * eps**a))


def ryznar_mean_exit(
    *,
    alpha: Arg[Number],
    dim: Arg[Integer],
    radius: Arg[Number] = 1.0,
    epsilon: Arg[Number] = 1.0,
    start: Arg[Numbers] = 0.0,
) -> float:
    """Mean exit time of `x + epsilon L`, L of d independent stable coordinates, from the ball of
    `radius`.

    `(r^2 - |x|^2)^(a/2) / (d Gamma(1 + a) epsilon^a)`, shown by Ryznar for every symmetric stable
    process with `Gamma(1 - a/2) Gamma(1 + a/2) nu(|y| >= 1)` in place of `d Gamma(1 + a)`.

    Args:
        alpha: stability index, in (0, 2].
        dim: d, the dimension.
        radius: of the ball, positive, in the unit of x; 1 by default.
        epsilon: noise amplitude, positive; 1 by default.
        start: x, relative to the centre: a point, `(d,)`, or its distance from the centre, which is
            0 by default.

    Returns:
        The mean exit time, in the time of L.

    Raises:
        ValueError, TypeError: a number out of range, or traced by JAX; a start outside the ball.

    Source:
        Ryznar (2025).
    """
    a, d, gap, eps = _checked(alpha, dim, radius, epsilon, start)
    return gap ** (a / 2) / (d * gamma(1 + a) * eps**a)


def brownian_mean_exit(
    *,
    dim: Arg[Integer],
    radius: Arg[Number] = 1.0,
    sigma: Arg[Number] = 1.0,
    start: Arg[Numbers] = 0.0,
) -> float:
    """Mean exit time of `x + sigma W`, W standard Brownian motion, from the ball:
    `(r^2 - |x|^2) / (d sigma^2)`.

    Args:
        dim: d, the dimension.
        radius: of the ball, positive, in the unit of x; 1 by default.
        sigma: noise amplitude, positive; 1 by default.
        start: x, relative to the centre: a point, `(d,)`, or its distance from the centre, which is
            0 by default.

    Returns:
        The mean exit time, in the time of W.

    Raises:
        ValueError, TypeError: a number out of range, or traced by JAX; a start outside the ball.

    Source:
        elementary: the mean solves `sigma^2 u'' / 2 = -1`, as a Laplacian in d dimensions.
    """
    amplitude = errors.positive_real("sigma", sigma)
    _, d, gap, _ = _checked(2.0, dim, radius, 1.0, start)
    return gap / (d * amplitude**2)


def _checked(
    alpha: Arg[Number],
    dim: Arg[Integer],
    radius: Arg[Number],
    epsilon: Arg[Number],
    start: Arg[Numbers],
) -> tuple[float, int, float, float]:
    """alpha, d, `r^2 - |x|^2`, epsilon."""
    a = errors.real_index(alpha)
    d = errors.integer("dim", dim)
    r = errors.positive_real("radius", radius)
    eps = errors.positive_real("epsilon", epsilon)
    x = errors.reals("start", start)
    if x.shape not in ((), (d,)):
        raise ValueError(
            f"start must be a distance or have shape ({d},), not {x.shape}. For example start=0.0."
        )
    distance = hypot(*x.ravel())
    if distance > r:
        raise ValueError(
            f"start = {start!r} lies outside the ball of radius {radius!r}. Give a start inside."
        )
    return a, d, (r - distance) * (r + distance), eps
