"""Where escapes land: gradient descent from the first point outside, and the sharpness of the
minimum that it reaches.

Notation: g(x) the gradient, h the step. A step `x - h g(x)` is taken when
`g(x - h g(x))'g(x) >= |g(x)|^2 / 2`, then h grows; else h is halved. So each step stays where
the gradient has not turned (on a quadratic, `h` at most half of the exact line search), follows
the gradient flow, and no difference of losses is formed, which float32 would lose near a
minimum. Sharpness: trace and largest eigenvalue of the Hessian."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.analysis.exits import bounded_mean, exits_of
from levysde.protocols import Landscape
from levysde.results import Result
from levysde.stats import Estimate
from levysde.tables import Grid, Table
from levysde.types import Arg, Integer, Number, Numbers

if TYPE_CHECKING:
    from levysde.escape import EscapeResult

_GROW, _BATCH = 1.5, 4096
_FIRST = 1e-2  # length of the first step, relative to 1 + |x|
_NEAR = 0.1  # a landing belongs to a minimum within this share of the distance between minima


@dataclass(frozen=True, repr=False)
class Landings(Result):
    """The minima that gradient descent reaches after trajectories left.

    Attributes:
        ids: trajectories that left, shape `(k,)`.
        points: where gradient descent ended, shape `(k, d)`.
        gradient_norm: Euclidean norm of the gradient there, in loss units over parameter units,
            shape `(k,)`.
        settled: whether it is below the tolerance, shape `(k,)`.
        minimum: index of the listed minimum that was reached, -1 for none of them or if descent has
            not settled, shape `(k,)`.
        minima: the listed minima, shape `(m, d)`.
        shares: share of the exits that landed in each, with binomial intervals, length m.
        trace, largest_eigenvalue: trace and largest eigenvalue of the Hessian where each landed,
            shape `(k,)`.
    """

    ids: np.ndarray
    points: np.ndarray = field(repr=False)
    gradient_norm: np.ndarray
    settled: np.ndarray
    minimum: np.ndarray
    minima: np.ndarray
    shares: tuple[Estimate, ...]
    trace: np.ndarray
    largest_eigenvalue: np.ndarray

    def _table(self) -> Table:
        places = [
            (f"minimum {i}", f"{share}", self.minimum == i) for i, share in enumerate(self.shares)
        ]
        other = self.minimum < 0
        if other.any():
            places.append(("elsewhere", f"{other.mean():.4g}", other))
        head = ("at", "share of exits", "mean trace", "mean largest eigenvalue")
        cells = [
            (name, share, _mean(self.trace[here]), _mean(self.largest_eigenvalue[here]))
            for name, share, here in places
        ]
        return Table(
            f"Landings of {len(self.ids)} exits, {int(self.settled.sum())} settled",
            [Grid(head, cells)],
        )


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.4g}" if values.size else "-"


def landing_sharpness(
    result: Arg["EscapeResult"],
    landscape: Arg[Landscape],
    *,
    minima: Arg[Numbers | None] = None,
    tolerance: Arg[Number] = 1e-4,
    max_steps: Arg[Integer] = 10_000,
    confidence: Arg[Number] = 0.95,
) -> Landings:
    """Follow gradient descent from each first point outside to a minimum, and measure the sharpness
    there.

    An exit need not be an escape to another minimum: a trajectory that left a ball may return.

    Args:
        result: an `EscapeResult` or `Paths`.
        landscape: the loss it moved on.
        minima: minima to recognise, `(m, d)`; those that the landscape knows by default, else its
            one marked minimum.
        tolerance: gradient norm at which a point has come to rest, in loss units over parameter
            units.
        max_steps: largest number of tried steps of a trajectory, each with one gradient.
        confidence: coverage of the intervals of the shares, in (0, 1): Clopper and Pearson's,
            conservative; measured at 95% are 96% to 99% (shares of 0.1 and 0.5 of 20 and 100
            exits).

    Returns:
        A `Landings`, one row an exit.

    Raises:
        TypeError, ValueError: arguments of another kind or shape, no exit.
    """
    errors.instance(
        "landscape", landscape, Landscape, "from_function(loss, dim=2, minimum=jnp.zeros(2))"
    )
    limit = errors.positive_real("tolerance", tolerance)
    tolerance = errors.positive("tolerance", tolerance)
    max_steps = errors.integer("max_steps", max_steps, high=2**31 - 1)
    confidence = errors.fraction("confidence", confidence)
    listed = _minima(landscape, minima)
    exits = exits_of(result, landscape.dim)
    num, dtype = len(exits.ids), landscape.minimum.dtype
    size = min(_BATCH, 2 ** (num - 1).bit_length())
    ends, norms = [], []
    for i in range(0, num, size):
        rows = exits.first_outside[np.minimum(np.arange(i, i + size), num - 1)]
        end, norm = _descend(landscape, jnp.asarray(rows, dtype), tolerance, jnp.asarray(max_steps))
        ends.append(np.asarray(end))
        norms.append(np.asarray(norm))
    points, norm = np.concatenate(ends)[:num], np.concatenate(norms)[:num]
    settled = norm <= limit
    number = np.where(settled, _nearest(points, listed), -1)
    trace, top = _sharpness(landscape, points, number, listed)
    shares = tuple(
        bounded_mean(float(np.sum(number == i)), num, confidence) for i in range(len(listed))
    )
    return Landings(exits.ids, points, norm, settled, number, listed, shares, trace, top)


def _minima(landscape: Landscape, minima: Arg[Numbers | None]) -> np.ndarray:
    if minima is None:
        minima = getattr(landscape, "minima", landscape.minimum[None, :])
    example = f"minima=jnp.zeros((1, {landscape.dim}))"
    array = errors.reals("minima", minima, example)
    if array.ndim != 2 or array.shape[1] != landscape.dim:
        raise ValueError(
            f"minima must have shape (m, {landscape.dim}), not {array.shape}. For "
            f"example {example}."
        )
    return array


@eqx.filter_jit
def _descend(
    landscape: Landscape, starts: Array, tolerance: Array, max_steps: Array
) -> tuple[Array, Array]:
    """Ends and gradient norms of gradient descent from each row of `starts`."""

    def norm(g: Array) -> Array:
        largest = jnp.max(jnp.abs(g))
        return largest * jnp.sqrt(jnp.sum((g / jnp.where(largest > 0, largest, 1)) ** 2))

    def descend(x: Array) -> tuple[Array, Array]:
        def moving(carry) -> Array:
            _, g, _, count = carry
            return (norm(g) > tolerance) & (count < max_steps)

        def follow(carry):
            x, g, h, count = carry
            size = norm(g)
            new = x - h * g
            there = landscape.gradient(new)
            # over |g|, so that no square overflows far outside
            turned = jnp.sum((there / size) * (g / size))
            good = (turned >= 0.5) & jnp.all(jnp.isfinite(there))
            x, g = jnp.where(good, new, x), jnp.where(good, there, g)
            return x, g, jnp.where(good, _GROW, 0.5) * h, count + 1

        g = landscape.gradient(x)
        size = norm(g)
        h = _FIRST * (1 + norm(x)) / jnp.where(size > 0, size, 1)
        x, g, _, _ = jax.lax.while_loop(moving, follow, (x, g, h, jnp.zeros((), jnp.int32)))
        return x, norm(g)

    return jax.vmap(descend)(starts)


def _nearest(points: np.ndarray, minima: np.ndarray) -> np.ndarray:
    """The index of the minimum nearest to each point, -1 if none is near."""
    gaps = (
        np.linalg.norm(minima[:, None] - minima[None], axis=2)
        if len(minima) > 1
        else np.zeros((1, 1))
    )
    near = _NEAR * (gaps[gaps > 0].min() if (gaps > 0).any() else 1 + np.linalg.norm(minima[0]))
    best, distance = np.zeros(len(points), int), np.full(len(points), np.inf)
    for i, minimum in enumerate(minima):
        here = np.linalg.norm(points - minimum, axis=1)
        best, distance = np.where(here < distance, i, best), np.minimum(here, distance)
    return np.where(distance <= near, best, -1)


def _sharpness(
    landscape: Landscape, points: np.ndarray, number: np.ndarray, minima: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Trace and largest eigenvalue of the Hessian at the listed minimum that was reached, else at
    the end of the descent."""
    other = np.flatnonzero(number < 0)
    places = jnp.asarray(np.concatenate([minima, points[other]]), landscape.minimum.dtype)
    hessian = eqx.filter_jit(lambda landscape, x: landscape.hessian(x))
    eigenvalues = np.array(
        [np.linalg.eigvalsh(np.asarray(hessian(landscape, x), float)) for x in places]
    )
    index = number.copy()
    index[other] = len(minima) + np.arange(len(other))
    return eigenvalues.sum(1)[index], eigenvalues[:, -1][index]
