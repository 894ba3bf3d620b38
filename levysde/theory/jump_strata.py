"""Jumps of a Lévy measure by their sizes: what leaves a basin from the attractor, and what lands
inside, in strata.

Notation: r_i the size at which a jump along ray i leaves the basin. Stratum 0 are the jumps beyond
r_i; the others land inside, in steps of the size over r_i, down to a cutoff R. The mass of stratum
0 is the rate of the escape law.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde.protocols import Driver, LevyRays, Point, Scalar, Words

# R over the crossing; 0.3 and 0.7 move the estimate by less than 2%, 0.3 doubles its standard error
# or worse
_CUT = 0.5
_EDGES = (0.9, 0.75, 0.55)  # of the strata inside, in crossings
_NEAREST = 0.02  # the crossing below which this share of the rate lies stands for the nearest one


class Cut(Driver):
    """A driver without its long jumps: an increment beyond `cutoff` (a length, or one a coordinate)
    is left out."""

    free: Driver
    cutoff: Array

    @property
    def index(self) -> Scalar:
        return self.free.index

    def words_per_step(self, dim: int) -> int:
        return self.free.words_per_step(dim)

    def increment(self, words: Words, dim: int, dt: Scalar) -> Point:
        y = self.free.increment(words, dim, dt)
        size = jnp.abs(y)
        if not self.cutoff.ndim:
            largest = jnp.max(size)  # no square overflows
            size = largest * jnp.sqrt(jnp.sum((y / jnp.where(largest > 0, largest, 1)) ** 2))
        return jnp.where(size < self.cutoff, y, 0)

    def exponent(self, k: Point) -> Array:
        return self.free.exponent(k)

    def levy_rays(self, dim: int, num: int, seed: int) -> LevyRays:
        return self.free.levy_rays(dim, num, seed)


class Rays:
    """All sets of rays of a law in one: unit vectors `(n, m)`, weights `(n,)`, and tails. Each set
    stands for the whole measure, so their weights are averaged."""

    def __init__(self, sets: Sequence[LevyRays]):
        self.sets = sets
        self.directions = np.concatenate([rays.directions for rays in sets])
        self.weights = np.concatenate([rays.weights for rays in sets]) / len(sets)

    def beyond(self, size: np.ndarray, ray: np.ndarray) -> np.ndarray:
        """The tail of each of the rays numbered `ray`, without its weight; 0 beyond infinity."""
        size, ray = np.broadcast_arrays(np.asarray(size, float), ray)
        each, found, finite = len(self.sets[0].weights), np.zeros(size.shape), np.isfinite(size)
        for number, rays in enumerate(self.sets):
            mine = (ray // each == number) & finite
            found[mine] = rays.tail(size[mine], ray[mine] % each)
        return found

    def mass(self, ray: np.ndarray, size: np.ndarray) -> np.ndarray:
        """The Lévy measure beyond `size` along each `ray`, for arrays of one shape."""
        return self.weights[ray] * self.beyond(size, ray)

    def between(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The Lévy measure of each ray between two sizes, `(n,)`."""
        ray = np.arange(len(self.weights))
        return self.weights * np.maximum(self.beyond(low, ray) - self.beyond(high, ray), 0)

    def draw(
        self, rng: np.random.Generator, low: np.ndarray, high: np.ndarray, num: int
    ) -> np.ndarray:
        """`num` jumps `(num, m)` from the measure between the sizes `low` and `high` of each
        ray."""
        mass = self.between(low, high)
        ray = rng.choice(len(mass), num, p=mass / mass.sum())
        top, bottom = self.beyond(low[ray], ray), self.beyond(high[ray], ray)
        wanted = bottom + (top - bottom) * rng.random(num)
        least = np.log(low[ray])
        most = np.log(np.where(np.isfinite(high[ray]), high[ray], low[ray] * 1e8))
        for _ in range(50):
            middle = (least + most) / 2
            above = self.beyond(np.exp(middle), ray) > wanted
            least, most = np.where(above, middle, least), np.where(above, most, middle)
        return np.exp(least)[:, None] * self.directions[ray]


class Strata(NamedTuple):
    """Sizes between which each stratum's jumps lie, `(strata, n)`, their masses, and the cutoff of
    the rest."""

    low: np.ndarray
    high: np.ndarray
    masses: np.ndarray
    cutoff: np.ndarray


def strata(rays: Rays, crossing: np.ndarray, share: np.ndarray) -> Strata:
    """Stratum 0 leaves from the attractor; the others land inside, in steps of the size over the
    crossing. `crossing` is where each ray leaves the basin, `share` its share of the rate."""
    order = np.argsort(crossing)
    total = np.cumsum(share[order])
    median, nearest = (
        crossing[order][min(np.searchsorted(total, q * total[-1]), len(order) - 1)]
        for q in (0.5, _NEAREST)
    )
    bound = np.minimum(crossing, median)  # of a ray that never leaves, the median of those that do
    on_axis = np.abs(rays.directions) > 1 - 1e-6
    if on_axis.any(1).all():  # independent coordinates: each has its own cutoff
        axis = on_axis.argmax(1)
        cutoff = np.full(rays.directions.shape[1], np.inf)
        np.minimum.at(cutoff, axis, _CUT * bound)
        least = cutoff[axis]
    else:
        cutoff = np.asarray(_CUT * min(nearest, median))
        least = np.full(len(crossing), cutoff)
    edges = [crossing]
    for edge in (*_EDGES, 0.0):
        edges.append(np.minimum(np.maximum(np.minimum(edge * bound, crossing), least), edges[-1]))
    low, high = np.stack(edges), np.stack([np.full(len(crossing), np.inf), *edges[:-1]])
    masses = np.array([rays.between(*sizes).sum() for sizes in zip(low, high, strict=True)])
    return Strata(low, high, masses, cutoff)
