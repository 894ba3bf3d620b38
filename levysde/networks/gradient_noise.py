"""The noise of a minibatch gradient at a point: its scale, its variance, its tail index.

A minibatch of B of the n examples, drawn without replacement, has the gradient `g_B`; the noise is
`g_B - g`, g the gradient over all examples. With `C1 = 1/n sum_i (g_i - g)(g_i - g)'` its
covariance is `C1/B * (n-B)/(n-1)` exactly.

Scale: a covariance is a Gaussian's parameter; a stable law of index a has a scale s,
`E exp(i k X) = exp(-|s k|^a)`. It is measured coordinate by coordinate through `E log|X|`, which
exists for every a (see `levysde.stats.stable_scale`). The noise of a finite data set is bounded,
so an index below 2 describes its bulk, not its far tail. Mixed scales mislead both estimators (see
`levysde.stats.tail_index`), so each coordinate first gets an index of its own.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde import errors
from levysde.errors import AccuracyWarning
from levysde.landscapes import NetworkLandscape, flattened
from levysde.networks.training import check_network
from levysde.results import Result
from levysde.stats import (
    Estimate,
    block_log_moment_index,
    characteristic_function_fit,
    stable_scale,
)
from levysde.tables import Table, spread
from levysde.types import Arg, Integer, Number, Seed

_NOTHING = Estimate(np.nan, np.nan, np.nan)
_POOLED = 20_000  # standardised values that the pooled estimates look at
# share of examples that need different values: a pixel lit in few images gives noise of few values
VARIED = 0.1
# a coordinate has no noise if its examples differ by less than this share of their size
_ROUNDING = 1e-6


@dataclass(frozen=True, repr=False)
class TailIndex(Result):
    """Tail index of the noise over coordinates, by one estimator.

    Attributes:
        pooled: index of all coordinates, each scaled to one, pooled to at most 20,000 values. Its
            interval assumes independent values; coordinates of one batch are not independent, so it
            is too narrow.
        median: median of the coordinates' indices; its interval is a bootstrap over coordinates.
        per_coordinate: index of each coordinate, shape `(d,)`; NaN if it has no noise, if fewer
            than a tenth of the examples have different gradients (a pixel lit in few images), or if
            the estimator fails. The two summaries leave the same coordinates out.
    """

    pooled: Estimate
    median: Estimate
    per_coordinate: np.ndarray = field(repr=False)

    def _table(self) -> Table:
        return Table(
            "TailIndex",
            [
                (
                    "median over coordinates",
                    f"{self.median}  ({self.median.confidence:.0%} interval)",
                ),
                ("pooled", f"{self.pooled}"),
                ("coordinates", spread(self.per_coordinate)),
            ],
        )


@dataclass(frozen=True, repr=False)
class GradientNoise(Result):
    """Minibatch gradient noise at a point.

    Attributes:
        scale: S, the stable scale of each coordinate at `alpha`, in gradient units, 0 without
            noise; shape `(d,)`.
        alpha: the index `scale` was measured at.
        variance: diag(C_B), exact for batches without replacement, gradient units squared; shape
            `(d,)`. ADAM's stationary v at a minimum.
        block_log_moment, characteristic_function: the tail index by the two estimators.
        dead: number of coordinates without any noise (a pixel that is dark in every image).
        batch_size, num_batches: examples a batch, and batches drawn.
    """

    scale: np.ndarray = field(repr=False)
    alpha: float
    variance: np.ndarray = field(repr=False)
    block_log_moment: TailIndex
    characteristic_function: TailIndex
    dead: int
    batch_size: int
    num_batches: int

    def _table(self) -> Table:
        indices = {
            "block log-moment": self.block_log_moment,
            "characteristic function": self.characteristic_function,
        }
        rows = [
            ("batches", f"{self.num_batches} of {self.batch_size}"),
            ("coordinates", f"{self.scale.size}, {self.dead} of them without noise"),
            (f"scale at alpha = {self.alpha:g}", spread(self.scale[self.scale > 0])),
            *(
                (f"tail index, {name}", f"median of coordinates {k.median}, pooled {k.pooled}")
                for name, k in indices.items()
            ),
        ]
        return Table("GradientNoise", rows)


def measure_gradient_noise(
    landscape: Arg[NetworkLandscape],
    x: Arg[Any] = None,
    *,
    batch_size: Arg[Integer] = 30,
    num_batches: Arg[Integer] = 2000,
    seed: Arg[Seed] = 0,
    alpha: Arg[Number] = 1.5,
) -> GradientNoise:
    """Measure scale, variance and tail index of minibatch gradient noise in each coordinate.

    Args:
        landscape: a network on data.
        x: the point, shape `(d,)` or a tree of parameters; the landscape's minimum by default.
        batch_size: examples in a batch, drawn without replacement; less than their number.
        num_batches: batches to draw, at least 400.
        seed: seed of the batches and of the bootstraps.
        alpha: stability index at which the scale is measured, in (0, 2].

    Returns:
        A `GradientNoise`.

    Raises:
        TypeError, ValueError: an argument outside its range; no noise in any coordinate.
    """
    check_network(landscape)
    example = f"x=jnp.zeros({landscape.dim})"
    x = (
        landscape.minimum
        if x is None
        else errors.finite(
            "x", flattened(landscape, "x", errors.concrete("x", x)), example, (landscape.dim,)
        )
    )
    n = landscape.num_examples
    if n < 2:
        raise ValueError("one example has no minibatch noise: give a landscape with more data.")
    batch_size = errors.integer(
        "batch_size", batch_size, f"batch_size={min(30, n - 1)}", high=n - 1
    )
    num_batches = errors.integer("num_batches", num_batches, low=400)
    seed = errors.seed(seed)
    index = errors.real_index(alpha)
    deviations = _deviations(landscape, x)
    live = np.asarray(deviations.any(0))
    if not live.any():
        raise ValueError(
            "no coordinate has any gradient noise at x: all examples have the same gradient there."
        )
    rng = np.random.default_rng(seed)
    noise = _batch_noise(deviations[:, live], batch_size, num_batches, rng)
    scale, variance = np.zeros(live.size), np.zeros(live.size)
    scale[live] = _stable_scale(noise, index)
    variance[live] = (deviations[:, live] ** 2).mean(0) / batch_size * (n - batch_size) / (n - 1)
    varied = np.array([np.unique(c).size >= VARIED * n for c in deviations[:, live].T])
    block, cf = tail_indices(noise, live, varied, rng)
    dead = int((~live).sum())
    return GradientNoise(scale, index, variance, block, cf, dead, batch_size, num_batches)


def _deviations(landscape: NetworkLandscape, x: Array) -> np.ndarray:
    """`g_i - g`, float64, shape `(n, d)`; exactly 0 in coordinates that vary by rounding only."""
    rows = np.asarray(
        eqx.filter_jit(lambda net, x: net.example_gradients(x))(landscape, jnp.asarray(x)),
        np.float64,
    )
    bad = np.asarray(~np.isfinite(rows).all(1))
    if bad.any():
        which = errors.place_of_first(bad, "have a gradient that is not finite at x")
        raise ValueError(f"of the examples, {which}. Give another point x, or mend the loss.")
    deviations = rows - rows.mean(0)
    rounding = _ROUNDING * np.abs(rows).max(0)
    return np.where(np.abs(deviations).max(0) <= rounding, 0.0, deviations)


def _batch_noise(
    deviations: np.ndarray, batch_size: int, num_batches: int, rng: np.random.Generator
) -> np.ndarray:
    """`g_B - g` for independent batches, shape `(num_batches, d)`."""
    n = deviations.shape[0]
    chosen = rng.permuted(np.broadcast_to(np.arange(n), (num_batches, n)), axis=1)[:, :batch_size]
    member = np.zeros((num_batches, n))
    np.put_along_axis(member, chosen, 1 / batch_size, axis=1)
    return member @ deviations


def _stable_scale(noise: np.ndarray, alpha: float) -> np.ndarray:
    """As `stable_scale`, without the zeros of batches that have no noise in a coordinate."""
    scale = np.empty(noise.shape[1])
    whole = noise.all(0)
    if whole.any():
        scale[whole] = stable_scale(noise[:, whole], alpha)
    for j in np.flatnonzero(~whole):
        column = noise[:, j]
        scale[j] = stable_scale(column[column != 0], alpha) if column.any() else 0.0
    return scale


def tail_indices(
    noise: np.ndarray, live: np.ndarray, varied: np.ndarray, rng: np.random.Generator
) -> tuple[TailIndex, TailIndex]:
    """The index by block log-moments and by the characteristic function.

    `live`, `(d,)`, says which coordinates are columns of `noise`, and `varied` which of these
    columns have enough different values for an estimate.
    """
    block, cf = np.full(live.size, np.nan), np.full(live.size, np.nan)
    if not varied.any():
        return TailIndex(_NOTHING, _NOTHING, block), TailIndex(_NOTHING, _NOTHING, cf)
    where = np.flatnonzero(live)[varied]
    noise = noise[:, varied]
    block[where] = [_or_nothing(lambda c=c: block_log_moment_index(c)).value for c in noise.T]
    cf[where] = [
        _or_nothing(lambda c=c: characteristic_function_fit(c).alpha).value for c in noise.T
    ]
    # one coordinate after the other, so that the sums of neighbours stay within one
    columns = rng.permutation(noise.shape[1])[: max(1, _POOLED // noise.shape[0])]
    middle = np.median(np.abs(noise[:, columns]), axis=0)
    # noise of few values may be 0 in half of the batches
    pooled = (noise[:, columns[middle > 0]] / middle[middle > 0]).T.ravel()
    growth = _or_nothing(lambda: block_log_moment_index(pooled, block=int(np.sqrt(len(noise)))))
    fit = _or_nothing(lambda: characteristic_function_fit(pooled).alpha)
    return TailIndex(growth, median_estimate(block, rng), block), TailIndex(
        fit, median_estimate(cf, rng), cf
    )


def median_estimate(values: np.ndarray, rng: np.random.Generator) -> Estimate:
    """The median of the finite values, with a 95% bootstrap interval, which needs at least 6 of
    them."""
    known = values[np.isfinite(values)]
    if not known.size:
        return _NOTHING
    if known.size < 6:
        return Estimate(float(np.median(known)), 0.0, np.inf)
    draws = np.median(known[rng.integers(known.size, size=(1000, known.size))], axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(float(np.median(known)), float(low), float(high))


def _or_nothing(estimate: Callable[[], Estimate]) -> Estimate:
    """An estimate without its warnings, NaN if the estimator raises ValueError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            return estimate()
    except ValueError:
        return _NOTHING
