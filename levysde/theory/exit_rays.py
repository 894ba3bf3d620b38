"""Where jumps along a ray leave the basin: the geometry under the escape law.

Notation: `th*` the attractor, v a unit direction of the driver, a jump is `r v` with `r > 0`;
`mass(i, r)` is the Lévy measure beyond r on ray i. The set of r that leave is a union of intervals;
the rate is the mass of all of them.

If the domain knows where a ray meets its boundary (`Domain.ray_edges`), one point between each two
of these places is tested, and the result is exact. Otherwise the ray is searched:

1. A first crossing r_1 is bracketed by doubling and then narrowed down.
2. The ray is divided into cells of equal mass, and one random point of each cell is tested: `num`
   cells beyond r_1, `num` between r_1 and the place where the mass is 3 times that of r_1, and as
   many, equal in the logarithm, down to 1e-4 of that place. Beyond the last millionth of the mass,
   the ray is assumed to stay as it is at its last point.
3. Each change between two points is narrowed down.
4. If a ray leaves and comes back, its cells are made 8 times finer until the rate stands still.

A layer between two points is missed: `resolution` is the mass that a layer may have and be missed.
If there are 256 rays or more and they are a sample of directions, a cell counts as its point does.
This has no bias, and the scatter between samples includes the error.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from levysde.theory.exit_response import CHUNK, Looker, Response, check_growth, check_spent

_POINTS, _MOST, _LEAST = 2**15, 4096, 8  # cells in all, and along each ray
# mass before the first crossing that is divided into equal cells, in units of that beyond it
_INNER = 3.0
_DEEPER = 1e-4  # how far in the others reach, in units of where these end
_NEGLIGIBLE = 1e-6  # of the mass beyond the first crossing
_PROBES = 16  # rays that are searched first, for the scale of the domain
_FARTHEST = 2.0**60
# relative width at which a crossing is known, of few rays and of 256 and more
_SHARP, _SHARP_OF_MANY = 5e-7, 4e-6
_BESIDE = 1e-4  # relative distance from a guessed crossing at which it is checked
_SECTIONS = 64  # at most, of a bracket in one call
# how much finer cells are made, and how many rays may come back before all are searched again
_FINER, _FEW_ODD = 8, 8
_MANY = 256  # rays from which layers are sampled, not searched for
_LIMIT = 2**20  # most jumps tested in one refinement
_STANDS = 2e-4  # relative change of the rate at which refinement ends
_SURE = 7  # a set of jumps with the mass of 7 cells, on several rays, is missed with chance e^-7

Mass = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Crossings(NamedTuple):
    """Where rays leave the basin and come back.

    Attributes:
        distance: first crossing of each ray, shape `(m,)`, inf where it never leaves.
        ray, radius, sign: every crossing: number of its ray, distance, +1 where the ray leaves, -1
            where it comes back.
        star_shaped: whether every ray that has left stays outside.
        resolution: mass that a set of jumps may have and be missed; 0 where crossings are known by
            formula.
        change: of the mass that leaves, at the last refinement; 0 without one.
        how: "formula" or "search".
    """

    distance: np.ndarray
    ray: np.ndarray
    radius: np.ndarray
    sign: np.ndarray
    star_shaped: bool
    resolution: float
    change: float
    how: str


class Changes(NamedTuple):
    """Where rays change sides: the number of the ray, the distance, and +1 where it leaves, -1
    where it comes back."""

    ray: np.ndarray
    radius: np.ndarray
    sign: np.ndarray

    def masses(self, mass: Mass) -> np.ndarray:
        """What each adds to the mass that leaves."""
        return self.sign * mass(self.ray, self.radius)

    def coming_back(self) -> np.ndarray:
        """The rays that come back."""
        return np.unique(self.ray[self.sign < 0])

    def replaced(self, rays: np.ndarray, new: "Changes") -> "Changes":
        """The same with those of `rays` from `new`."""
        kept = ~np.isin(self.ray, rays)
        pairs = zip(self, new, strict=True)
        return Changes(*(np.concatenate([old[kept], other]) for old, other in pairs))

    def crossings(self, num: int, resolution: float, moved: float, how: str) -> Crossings:
        """These as the crossings of `num` rays."""
        distance = np.full(num, np.inf)
        np.minimum.at(distance, self.ray, self.radius)
        return Crossings(distance, *self, bool((self.sign > 0).all()), resolution, moved, how)


def crossings(
    response: Response,
    directions: Array,
    mass: Mass,
    index: float,
    *,
    sampled: bool = False,
    guess: np.ndarray | None = None,
) -> Crossings:
    """Where jumps leave the basin.

    Args:
        response: what a jump leads to.
        directions: of the rays, `(m, d)`.
        mass: `mass(i, r)`, the Lévy measure beyond r on ray i, for arrays of one shape.
        index: alpha, or NaN for a tail that is no power.
        sampled: whether the directions are a sample, so that chance along them is seen in their
            scatter.
        guess: a crossing of each ray, `(m,)`, inf where none is known: where it holds it is not
            looked for again.
    """
    if response.dynamics.response == "flow":
        check_growth(response)
    at_once = response.dynamics.response == "linear" and not response.follows
    if at_once and response.domain.convex:
        return _once(np.array(_distances(response, directions), dtype=float))
    look = Looker(response, directions)
    edges = _edges(response, directions) if at_once else None
    if edges is not None:
        return _between(look, np.array(edges, dtype=float))
    found = _search(look, mass, index, sampled, guess)
    if response.dynamics.response == "flow":
        check_spent(response, directions, found.distance)
    return found


def _once(distance: np.ndarray) -> Crossings:
    rays = np.flatnonzero(np.isfinite(distance))
    return Crossings(distance, rays, distance[rays], np.ones(len(rays)), True, 0.0, 0.0, "formula")


@eqx.filter_jit
def _distances(response: Response, directions: Float[Array, "m d"]) -> Float[Array, " m"]:
    start, jump = response.dynamics.attractor, response.dynamics.jump
    return jax.lax.map(
        lambda v: response.domain.ray_distance(start, jump(v)), directions, batch_size=CHUNK
    )


@eqx.filter_jit
def _edges(response: Response, directions: Float[Array, "m d"]) -> Float[Array, "m k"] | None:
    start, jump = response.dynamics.attractor, response.dynamics.jump
    if jax.eval_shape(lambda v: response.domain.ray_edges(start, jump(v)), directions[0]) is None:
        return None
    return jax.lax.map(
        lambda v: response.domain.ray_edges(start, jump(v)), directions, batch_size=CHUNK
    )


def _between(look: Looker, edges: np.ndarray) -> Crossings:
    """The crossings among the places where a ray may cross: those with the inside on one side
    only."""
    edges = np.sort(np.where(np.isfinite(edges) & (edges > 0), edges, np.inf), axis=1)
    before = np.concatenate([np.zeros((len(edges), 1)), edges[:, :-1]], 1)
    middle = np.where(
        np.isfinite(edges),
        (before + edges) / 2,
        np.where(np.isfinite(before), 2 * before + 1, np.inf),
    )
    last = np.where(np.isfinite(edges[:, -1:]), 2 * edges[:, -1:], np.inf)
    middle = np.concatenate([middle, last], 1)
    known = np.isfinite(middle)
    stays = np.ones(middle.shape, bool)
    stays[known] = look(np.nonzero(known)[0], middle[known])
    change = (stays[:, 1:] != stays[:, :-1]) & np.isfinite(edges)
    ray, k = np.nonzero(change)
    found = Changes(ray, edges[ray, k], np.where(stays[ray, k], 1.0, -1.0))
    return found.crossings(len(edges), 0.0, 0.0, "formula")


def _search(
    look: Looker, mass: Mass, index: float, sampled: bool, guess: np.ndarray | None
) -> Crossings:
    m = len(look.directions)
    first = _first(look, m, index, guess)
    finite = np.isfinite(first)
    if not finite.any():
        return _once(first)
    scale = np.where(finite, first, np.median(first[finite]))
    points, most = _POINTS, _MOST
    if look.response.dynamics.response == "flow":
        points, most = points // 8, most // 8  # the flow of averages is long
    elif look.response.follows:
        points, most = points // 2, most // 2
    num = int(np.clip(points // m, _LEAST, most))
    rays, rng, many = np.arange(m), np.random.default_rng(0), sampled and m >= _MANY

    def changes(rays: np.ndarray, num: int) -> Changes:
        points = _points(_cells(num, index, False), scale[rays], index, rng)
        return _changes(look, rays, points, first[rays])

    found = (
        _sampled(look, rays, scale, _cells(num, index, True), index, rng)[0]
        if many
        else changes(rays, num)
    )
    rate, moved, cells = float(np.sum(found.masses(mass))), 0.0, np.full(m, num)
    odd = found.coming_back()
    while len(odd) and not many:
        finer = _FINER * int(cells[odd].max())
        # where many come back, some of the others do so unseen
        again = odd if len(odd) <= _FEW_ODD else rays
        if 3 * finer * len(again) > _LIMIT:
            break
        found = found.replaced(again, changes(again, finer))
        cells[again] = finer
        before, rate = rate, float(np.sum(found.masses(mass)))
        moved = abs(rate - before)
        odd = np.union1d(found.coming_back(), odd)
        if moved <= _STANDS * abs(rate):
            break
    odd = found.coming_back()
    # layers finer than cells: bisection finds the thicker ones, cells that are as their points have
    # no bias
    if len(odd) and not many:
        fine = _cells(int(cells[odd].max()), index, False)
        new, weight = _sampled(look, odd, scale[odd], fine, index, rng)
        old = found.masses(mass)[np.isin(found.ray, odd)]
        apart = float(abs(np.sum(new.masses(mass)) - np.sum(old)))
        chance = np.sqrt(np.sum((weight * mass(new.ray, scale[new.ray])) ** 2) / 4)
        if apart > 5 * chance + _STANDS * rate:
            found, moved = found.replaced(odd, new), max(moved, apart)
    within = mass(rays, scale) * (_INNER - 1) / cells
    return found.crossings(m, min(m, _SURE) * float(within.max()), moved, "search")


def _first(look: Looker, m: int, index: float, guess: np.ndarray | None) -> np.ndarray:
    """A crossing of each ray, not always the first; inf if there is none before the last millionth
    of the mass."""
    start, rays = np.ones(m), np.arange(m)
    holds, nearest = np.zeros(m, bool), np.inf
    if guess is not None and np.isfinite(guess).any():
        known = np.flatnonzero(np.isfinite(guess))
        start = np.where(np.isfinite(guess), guess, np.median(guess[known]))
        nearest = guess[known].min()
        inner, outer = guess[known] * (1 - _BESIDE), guess[known] * (1 + _BESIDE)
        holds[known] = look(known, inner) & ~look(known, outer)
        start[~holds] *= 1 - _BESIDE
    else:
        probes = np.unique(np.linspace(0, m - 1, min(m, _PROBES)).astype(int))
        seen = _doubled(look, probes, np.ones(len(probes)), _FARTHEST)
        if np.isfinite(seen).any():
            start, nearest = np.full(m, np.median(seen[np.isfinite(seen)])), seen.min()
        elif look.response.follows:  # far flows are long
            return np.full(m, np.inf)
    farthest = min(nearest * max(_NEGLIGIBLE ** (-1 / _power(index)), 2.0**10), _FARTHEST)
    outside = np.where(holds, start, 0.0)
    outside[~holds] = _doubled(look, rays[~holds], start[~holds], farthest)
    new = np.flatnonzero(np.isfinite(outside) & ~holds)
    high = outside[new]
    outside[new] = _narrowed(look, new, high / 2, high, np.ones(len(new), bool))
    return outside


def _power(index: float) -> float:
    return index if index == index else 1.0


def _doubled(look: Looker, rays: np.ndarray, start: np.ndarray, farthest: float) -> np.ndarray:
    """A radius outside, half of which is inside, for each of `rays`; inf where there is none below
    `farthest`."""
    radius = start.copy()
    inside = look(rays, radius)
    up, down = np.flatnonzero(inside), np.flatnonzero(~inside)
    while len(up):
        radius[up] *= 2
        lost = radius[up] > farthest
        radius[up[lost]] = np.inf
        up = up[~lost]
        up = up[look(rays[up], radius[up])]
    while len(down):
        down = down[~look(rays[down], radius[down] / 2)]
        radius[down] /= 2
        down = down[radius[down] > 1 / _FARTHEST]
    return radius


def _cells(num: int, index: float, many: bool) -> np.ndarray:
    """Cells of a ray, nearest first: the masses at their ends, in units of that beyond the first
    crossing, `(n, 2)`."""
    inner = 1 + (_INNER - 1) * np.arange(num + 1) / num
    deep = _INNER * _DEEPER ** (-_power(index) * np.linspace(0, 1, (8 * num if many else num) + 1))
    ends = np.concatenate([deep[:0:-1], inner[:0:-1], np.arange(num, -1, -1) / num])
    return np.stack([ends[:-1], ends[1:]], 1)


def _points(
    cells: np.ndarray, scale: np.ndarray, index: float, rng: np.random.Generator
) -> np.ndarray:
    """One radius at random in each cell of each ray, `(m, n)`."""
    at = rng.uniform(size=(len(scale), len(cells)))
    logarithmic = cells[:, 0] > _INNER
    safe = np.where(logarithmic[:, None], cells, 1.0)
    mass = np.where(
        logarithmic,
        safe[:, 1] * (safe[:, 0] / safe[:, 1]) ** at,
        cells[:, 1] + (cells[:, 0] - cells[:, 1]) * at,
    )
    return scale[:, None] * np.maximum(mass, _NEGLIGIBLE) ** (-1 / _power(index))


def _sampled(
    look: Looker,
    rays: np.ndarray,
    scale: np.ndarray,
    cells: np.ndarray,
    index: float,
    rng: np.random.Generator,
) -> tuple[Changes, np.ndarray]:
    """Changes if each cell counts as its point does: they lie at the ends of cells, and the rate
    has no bias however thin the layers are. Also the mass of the cell at each change, in units of
    that beyond the first crossing."""
    stays = look(rays[:, None], _points(cells, scale, index, rng))
    stays = np.concatenate([np.ones((len(rays), 1), bool), stays], 1)
    row, k = np.nonzero(stays[:, 1:] != stays[:, :-1])
    radius = scale[row] * np.maximum(cells[k, 0], _NEGLIGIBLE) ** (-1 / _power(index))
    found = Changes(rays[row], radius, np.where(stays[row, k], 1.0, -1.0))
    return found, cells[k, 0] - cells[k, 1]


def _changes(look: Looker, rays: np.ndarray, radii: np.ndarray, first: np.ndarray) -> Changes:
    """Every change along the radii of each ray, the known crossing `first` among them: ray,
    distance, sign."""
    stays = look(rays[:, None], radii)
    known = np.isfinite(first)
    at = np.where(known, first, radii[:, -1])
    # just before and just after the known crossing, which is not looked for again
    apart = np.where(known, _sharp(len(look.directions)) / 2, 0.0) * at
    radii = np.concatenate(
        [np.zeros((len(rays), 1)), radii, (at - apart)[:, None], (at + apart)[:, None]], 1
    )
    ends = np.stack([np.where(known, True, stays[:, -1]), np.where(known, False, stays[:, -1])], 1)
    stays = np.concatenate([np.ones((len(rays), 1), bool), stays, ends], 1)
    order = np.argsort(radii, axis=1, kind="stable")
    radii, stays = np.take_along_axis(radii, order, 1), np.take_along_axis(stays, order, 1)
    row, k = np.nonzero(stays[:, 1:] != stays[:, :-1])
    leaves = stays[row, k]
    radius = _narrowed(look, rays[row], radii[row, k], radii[row, k + 1], leaves)
    return Changes(rays[row], radius, np.where(leaves, 1.0, -1.0))


def _sharp(rays: int) -> float:
    return _SHARP if rays < _MANY else _SHARP_OF_MANY


def _narrowed(
    look: Looker, ray: np.ndarray, low: np.ndarray, high: np.ndarray, leaves: np.ndarray
) -> np.ndarray:
    """The change between `low` and `high` of each ray, the first one where sections see several."""
    low, high = low.copy(), high.copy()
    sharp = _sharp(len(ray))
    wide = np.flatnonzero(high - low > sharp * high)
    while len(wide):
        pieces = int(np.clip(look.chunk // len(wide), 2, _SECTIONS))
        width = (high[wide] - low[wide])[:, None] / pieces
        inner = low[wide][:, None] + width * np.arange(1, pieces)
        differs = look(ray[wide][:, None], inner) != leaves[wide][:, None]
        step = np.where(differs.any(1), differs.argmax(1), pieces - 1)
        low[wide] += width[:, 0] * step
        high[wide] = low[wide] + width[:, 0]
        wide = wide[high[wide] - low[wide] > sharp * high[wide]]
    return (low + high) / 2
