"""A diffusion that follows the curvature along the whole path, not near critical points only. One
dimension, float64.

`dX = -L'(X) dt + sqrt(2 D(X)) dW`, `D(x) = (eta / 2 B) |L''(x)|`: a model of this package, beside
that of Xie, Sato and Sugiyama (ICLR 2021), whose D belongs to the neighbourhood of critical points.
At an inflection c before the saddle D vanishes while the slope points back. There, y = c - x obeys
`dy = g dt + sqrt(2 k y) dW` with `g = L'(c) > 0`, a squared Bessel process: it may touch y = 0, at
`g < k`, but is pushed off and never crosses. SGD described so never leaves a valley that has an
inflection on its way out; an escape that a simulation shows is an artefact of its step.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from levysde import errors
from levysde.landscapes import in_float64
from levysde.protocols import Landscape
from levysde.theory import FirstPassage, first_passage
from levysde.types import Arg, Number

_GRID = 4001  # points on which inflections are looked for


def literal_passage(
    landscape: Arg[Landscape],
    *,
    learning_rate: Arg[Number],
    batch_size: Arg[Number],
    start: Arg[Number | None] = None,
    lower: Arg[Number | None] = None,
    upper: Arg[Number | None] = None,
) -> FirstPassage:
    """Exit of the literal equation, `D(x) = (eta / 2B) |L''(x)|` at every x, in one dimension, by
    quadrature.

    Args:
        landscape: the loss L, in one dimension.
        learning_rate: eta, positive.
        batch_size: B, positive.
        start: where the path starts, a number; the landscape's minimum by default.
        lower: the lower end, where it exits; one of the two may be left out.
        upper: the upper end, where it exits.

    Returns:
        Mean, second moment and side of the exit, in SDE time: a unit is `1 / eta` iterations.

    Raises:
        ValueError, TypeError: as `first_passage`.
        ValueError: "never escapes": an inflection with the slope pointing back stands before every
            end. D vanishes there, so nothing carries a path across; what a simulation shows is an
            artefact of its step.

    Source:
        this package; D near critical points is that of Xie, Sato, Sugiyama, ICLR 2021. Solved by
        `first_passage`.
    """
    if not isinstance(landscape, Landscape):
        raise TypeError(
            f"landscape must be a Landscape, not {errors.shown(landscape)}. For "
            "example DoubleWell()."
        )
    if landscape.dim != 1:
        raise ValueError(
            "the exact mean is known in one dimension, but the landscape has "
            f"{landscape.dim}. Simulate."
        )
    eta, batch = (
        errors.positive_real(name, value, f"{name}=1.0")
        for name, value in (("learning_rate", learning_rate), ("batch_size", batch_size))
    )
    x = float(np.asarray(landscape.minimum)[0]) if start is None else errors.real("start", start)
    ends = [
        None if end is None else errors.real(name, end, f"{name}=0.0")
        for name, end in (("lower", lower), ("upper", upper))
    ]
    with in_float64(landscape) as precise:
        slope = jax.jit(jax.vmap(lambda u: precise.gradient(u[None])[0]))
        bend = jax.jit(jax.vmap(lambda u: precise.hessian(u[None])[0, 0]))

        def drift(z: np.ndarray) -> np.ndarray:
            return -np.asarray(slope(jnp.asarray(z)))

        def curvature(z: np.ndarray) -> np.ndarray:
            return np.asarray(bend(jnp.asarray(z)))

        walls = [None if end is None else _wall(drift, curvature, x, end) for end in ends]
        standing = [wall for wall in walls if wall is not None]
        if standing and len(standing) == 2 - ends.count(None):
            places = " and ".join(f"{wall:.6g}" for wall in standing)
            raise ValueError(
                "never escapes: with the literal D = (eta / 2B) |L''| the noise vanishes at the "
                f"inflection, x = {places}, where the slope points back towards the start {x:g}. "
                "Freeze the noise (xie_law), or add noise that stays."
            )
        return first_passage(
            drift,
            lambda z: eta / (2 * batch) * np.abs(curvature(z)),
            start=x,
            lower=ends[0],
            upper=ends[1],
        )


def _wall(drift: Callable, curvature: Callable, x: float, end: float) -> float | None:
    """The first inflection between x and an end at which the drift points back to x."""
    from scipy.optimize import root_scalar  # slow to import

    z = np.linspace(x, end, _GRID)
    signs = np.sign(curvature(z))
    for i in np.flatnonzero(signs[1:] * signs[:-1] < 0):
        place = root_scalar(
            lambda u: float(curvature(np.array([u]))[0]), method="brentq", bracket=(z[i], z[i + 1])
        ).root
        if float(drift(np.array([place]))[0]) * (end - x) < 0:
            return float(place)
    return None
