"""The Radon measure m(W) of a basin `F < F(th) + h` in many dimensions, from some of its rays.

Notation: A the diagonal map by which a unit jump of the noise moves the position (`S` for SGD,
`S/Q` for ADAM), a the index, `r(v)` how far the ray along the unit vector v goes before it leaves,
H the Hessian, W the jumps that leave.

    components   m(W) = (1/d) sum_i m_i,   m_i = A_i^a [ r(e_i)^-a + r(-e_i)^-a ] / 2
    isotropic    m(W) = E |A v|^a r(A v / |A v|)^-a,   v uniform on the sphere

A mean over d coordinates is estimated from N of them. On a quadratic basin
`m_i = q_i = (A_i^2 H_ii / 2h)^(a/2)`, and q_i is known for every coordinate from the Hessian's
diagonal, exactly or approximately. It is used twice: coordinates are drawn with probabilities
`p_i = 1/3d + 2/3 q_i/sum q`, so that the few that carry the measure are drawn, and q is a control
variate,

    m = mean_k Z_k - b (mean_k Y_k - mean q),   Z_k = m_k / (d p_k),   Y_k = q_k / (d p_k),   b =
                                                cov(Z, Y) / var(Y),

which is unbiased for every q; a bad q only costs accuracy. If two optimisers share the rays, p is
the mean of both. For isotropic noise the mean of q is not known, so it is estimated from five times
as many directions, at one product with the Hessian each (double sampling: Cochran, "Sampling
Techniques", 1977, chapter 12).

The loss along a ray is computed on a grid around the quadratic guess of its length. Every change
between inside and outside on the grid is located to 1e-5 of its distance, and all of them count:
`r^-a` with a plus sign where the ray leaves, with a minus sign where it comes back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from levysde.networks.curvature import student_estimate
from levysde.results import Result
from levysde.stats import Estimate
from levysde.tables import Table

# of the guessed length: finer beyond it, where the basin may come back
_GRID = np.array(
    [1 / 16, 1 / 8, 1 / 4, 0.5, 0.7, 0.9, 1.1, 1.3, 1.6, 2, 2.5, 3.2, 4, 5.6, 8, 16, 64, 256]
)
# steps of the search where the grid holds no crossing, and its ends
_WIDER, _FARTHEST, _NEAREST = 16.0, 2.0**50, 2.0**-50
_CLOSE, _MOST = 1e-5, 60  # relative width of a bracket, and turns
_DEFENSIVE = 1 / 3  # share of the draws that go to all coordinates alike
EXTRA = 4  # directions of isotropic noise with a product alone, for each with a ray

# of rays' numbers and distances, less the level
Loss = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class RayCrossings:
    """Where rays cross the edge of the basin: the ray's number and the distance of each crossing,
    and its sign, +1 out of the basin or -1 back into it."""

    ray: np.ndarray
    distance: np.ndarray
    sign: np.ndarray

    def masses(self, count: int, alpha: float) -> np.ndarray:
        """`sum +- r^-a` over the crossings of each of `count` rays."""
        return np.bincount(self.ray, self.sign * self.distance**-alpha, minlength=count)

    def returning(self, count: int) -> np.ndarray:
        """Which rays come back after they have left."""
        return np.bincount(self.ray, self.sign < 0, minlength=count) > 0


@dataclass(frozen=True, repr=False)
class BasinMeasure(Result):
    """m(W) of one optimiser, with `m(|y| >= 1) = 1`.

    Attributes:
        measure: m(W); its interval covers only the sampling of rays, at the measured scale and
            index, and has no width if all rays were used.
        quadratic: the prediction by the Hessian only, `mean_i q_i`.
        rays: number of rays used, of `of` (infinite for isotropic noise).
        reduction: how many times more rays plain sampling would need for this interval.
        by_sampling: the part of `reduction` due to the probabilities p; the rest is due to the
            control variate.
        relaxation: `sum_i share_i / kappa_i`, the mean time of return after a jump that leaves, in
            SDE time.
        returning: share of rays that come back into the basin; 0 for a star-shaped basin.
        numbers: numbers of the coordinates (or directions) used, increasing, shape `(k,)`.
        masses, predicted: m_i as measured and q_i by the quadratic, shape `(k,)`.
    """

    measure: Estimate
    quadratic: float
    rays: int
    of: float
    reduction: float
    by_sampling: float
    relaxation: float
    returning: float
    numbers: np.ndarray = field(repr=False)
    masses: np.ndarray = field(repr=False)
    predicted: np.ndarray = field(repr=False)

    def _table(self) -> Table:
        return Table(
            "BasinMeasure", [*self._rows(), ("mean time of return", f"{self.relaxation:.4g}")]
        )

    def _rows(self, whose: str = "") -> list[tuple[str, str]]:
        of = "" if np.isinf(self.of) else f" of {self.of:,}"
        gain = (
            "exact"
            if np.isinf(self.reduction)
            else f"variance {self.reduction:.3g} times below plain sampling"
        )
        return [
            (f"m(W){whose}", f"{self.measure}, {self.rays:,}{of} rays, {gain}"),
            (
                f"by the Hessian alone{whose}",
                f"{self.quadratic:.4g}, {self.returning:.1%} of rays return",
            ),
        ]


def cross(loss: Loss, guess: np.ndarray) -> RayCrossings:
    """All crossings of rays, `loss(i, r) = F(th + r v_i) - level` for arrays of rays and distances;
    NaN is outside.

    A gap in the basin narrower than the grid's spacing can be overlooked.
    """
    count = len(guess)

    def at(ray: np.ndarray, distance: np.ndarray) -> np.ndarray:
        values = loss(ray, distance)
        return np.where(np.isnan(values), np.inf, values)

    rays = np.repeat(np.arange(count), _GRID.size)
    radii = guess[:, None] * _GRID
    values = at(rays, radii.ravel()).reshape(radii.shape)
    # one more distance below the grid, where the ray is inside, and one more above it
    inner, outer, end = np.zeros(count), radii[:, -1].copy(), values[:, -1].copy()
    lost = np.flatnonzero(values[:, 0] >= 0)  # the grid begins outside
    radii[lost, 0], found, _ = _search(at, lost, radii[lost, 0], 1 / _WIDER, leaves=False)
    inner[lost] = np.nan_to_num(found)
    lost = np.flatnonzero((values < 0).all(1))  # the grid ends inside
    radii[lost, -1], found, value = _search(at, lost, radii[lost, -1], _WIDER, leaves=True)
    known = ~np.isnan(found)
    outer[lost[known]], end[lost[known]] = found[known], value[known]
    radii = np.concatenate([inner[:, None], radii, outer[:, None]], 1)
    values = np.concatenate([values, end[:, None]], 1)
    inside = np.concatenate([np.ones((count, 1), bool), values < 0], 1)
    values = np.concatenate([np.full((count, 1), -np.inf), values], 1)
    ray, place = np.nonzero(inside[:, 1:] != inside[:, :-1])
    low, high = radii[ray, place], radii[ray, place + 1]
    leaves = inside[ray, place]
    distance = _narrowed(at, ray, low, high, values[ray, place], values[ray, place + 1], leaves)
    return RayCrossings(ray, distance, np.where(leaves, 1.0, -1.0))


def _search(
    at: Loss, ray: np.ndarray, start: np.ndarray, factor: float, leaves: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow rays from `start` in steps of a factor to the edge of the basin, outwards if `leaves`.

    Returns the last distance before the edge, the first one beyond it and the loss there; the last
    two are NaN where no edge was found.
    """
    before, beyond = start.copy(), np.full(len(ray), np.nan)
    value, open_, scale = beyond.copy(), np.arange(len(ray)), 1.0
    while open_.size and _NEAREST < scale < _FARTHEST:
        scale *= factor
        trial = start[open_] * scale
        found = at(ray[open_], trial)
        crossed = (found >= 0) == leaves
        beyond[open_[crossed]], value[open_[crossed]] = trial[crossed], found[crossed]
        before[open_[~crossed]] = trial[~crossed]
        open_ = open_[~crossed]
    return before, beyond, value


def _narrowed(
    at: Loss,
    ray: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    at_low: np.ndarray,
    at_high: np.ndarray,
    leaves: np.ndarray,
) -> np.ndarray:
    """Regula falsi in r^2, where a quadratic loss is a line, with the weight of an end that stays
    put halved (Illinois); every third turn a bisection, which bounds the number of turns."""
    sign = np.where(leaves, 1.0, -1.0)
    f, g = sign * at_low, sign * at_high  # below 0 at the low end, above at the high one
    low, high = low.copy(), high.copy()
    last = np.zeros(len(ray))
    for turn in range(_MOST):
        open_ = np.flatnonzero(high - low > _CLOSE * high)
        if not open_.size:
            break
        a, b = low[open_] ** 2, high[open_] ** 2
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            guess = np.sqrt((a * g[open_] - b * f[open_]) / (g[open_] - f[open_]))
        middle = (low[open_] + high[open_]) / 2
        margin = 0.4 * _CLOSE * high[open_]
        safe = np.isfinite(guess) & (guess >= low[open_]) & (guess <= high[open_]) & (turn % 3 != 2)
        # a step onto an end would not move it: go just past
        trial = np.where(safe, np.clip(guess, low[open_] + margin, high[open_] - margin), middle)
        value = sign[open_] * at(ray[open_], trial)
        beyond = value >= 0
        side = np.where(beyond, 1.0, -1.0)
        again = side == last[open_]
        high[open_] = np.where(beyond, trial, high[open_])
        low[open_] = np.where(beyond, low[open_], trial)
        g[open_] = np.where(beyond, value, np.where(again, g[open_] / 2, g[open_]))
        f[open_] = np.where(beyond, np.where(again, f[open_] / 2, f[open_]), value)
        last[open_] = side
    return (low + high) / 2


def quadratic_masses(
    sizes: np.ndarray, diagonal: np.ndarray, height: float, alpha: float
) -> np.ndarray:
    """`q_i = (A_i^2 H_ii / 2h)^(a/2)`, 0 where the curvature is not positive."""
    return (sizes**2 * np.maximum(diagonal, 0) / (2 * height)) ** (alpha / 2)


def draw_axes(
    predicted: list[np.ndarray], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """`count` coordinates and the chances of all, `(d,)`, by the mixture of the predictions; all
    coordinates once, each with chance NaN, where there are no more than that."""
    dim = len(predicted[0])
    if dim <= count:
        return np.arange(dim), np.full(dim, np.nan)
    known = [q / q.sum() for q in predicted if q.sum() > 0]
    chance = np.full(dim, 1 / dim)
    if known:
        chance = _DEFENSIVE / dim + (1 - _DEFENSIVE) * np.mean(known, axis=0)
    chance /= chance.sum()
    return rng.choice(dim, count, p=chance), chance


def axis_measure(
    masses: np.ndarray,
    drawn: np.ndarray,
    chance: np.ndarray,
    predicted: np.ndarray,
    kappa: np.ndarray,
    returning: float,
    confidence: float,
) -> BasinMeasure:
    """m(W) of components noise from the `masses` m_i and curvatures `kappa` of the drawn
    coordinates, `(N,)`."""
    dim, count = len(predicted), len(drawn)
    weight = np.ones(count) if np.isnan(chance).all() else 1 / (dim * chance[drawn])
    relaxation = _relaxation(masses * weight, kappa)
    quadratic = float(predicted.mean())
    seen, once = np.unique(drawn, return_index=True)
    rest = relaxation, returning, seen, masses[once], predicted[seen]
    if np.isnan(chance).all():
        value = float(masses.mean())
        return BasinMeasure(
            Estimate(value, value, value, confidence),
            quadratic,
            2 * dim,
            2 * dim,
            np.inf,
            np.inf,
            *rest,
        )
    z, y = masses * weight, predicted[drawn] * weight
    slope = _slope(z, y)
    left = z - slope * (y - quadratic)
    value, error = float(left.mean()), float(left.std(ddof=2) / np.sqrt(count))
    # of single coordinates drawn alike, by the same draws
    plain = max(float((masses**2 * weight).mean() - value**2), 0.0)
    reduction = plain / left.var(ddof=2) if left.var() > 0 else np.inf
    by_sampling = plain / z.var(ddof=1) if z.var() > 0 else np.inf
    estimate = _positive(student_estimate(value, error, count - 2, confidence))
    return BasinMeasure(
        estimate, quadratic, 2 * len(seen), 2 * dim, float(reduction), float(by_sampling), *rest
    )


def isotropic_measure(
    masses: np.ndarray,
    predicted: np.ndarray,
    kappa: np.ndarray,
    returning: float,
    confidence: float,
) -> BasinMeasure:
    """m(W) of isotropic noise from `masses` of N directions and the predictions of these and more,
    `(M,)`."""
    count, many = len(masses), len(predicted)
    near = predicted[:count]
    slope = _slope(masses, near)
    left = masses - slope * near
    value = float(left.mean() + slope * predicted.mean())
    variance = left.var(ddof=2) * (1 / count - 1 / many) + masses.var(ddof=1) / many
    error = float(np.sqrt(variance))
    estimate = _positive(student_estimate(value, error, count - 2, confidence))
    reduction = masses.var(ddof=1) / count / variance if variance > 0 else np.inf
    return BasinMeasure(
        estimate,
        float(predicted.mean()),
        count,
        np.inf,
        float(reduction),
        1.0,
        _relaxation(masses, kappa),
        returning,
        np.arange(count),
        masses,
        near,
    )


def _slope(z: np.ndarray, y: np.ndarray) -> float:
    spread = float(np.var(y, ddof=1))
    return float(np.cov(z, y)[0, 1] / spread) if spread > 0 else 0.0


def _positive(estimate: Estimate) -> Estimate:
    return replace(estimate, low=max(estimate.low, 0.0))


def _relaxation(shares: np.ndarray, kappa: np.ndarray) -> float:
    """`sum_i share_i / kappa_i`; infinite where the flow does not pull back along a jump that
    leaves."""
    leaving = shares > 0
    if not leaving.any() or (kappa[leaving] <= 0).any():
        return float("inf")
    return float(np.sum(shares[leaving] / kappa[leaving]) / shares[leaving].sum())
