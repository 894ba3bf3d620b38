"""The Radon measure m(W) of a basin `F < F(th) + h` in many dimensions, from some of its rays.

Notation: A the diagonal map by which a unit jump of the noise moves the position (`S` for SGD,
`S/Q` for ADAM), a the index, `r(v)` how far the ray along the unit vector v goes before it leaves,
H the Hessian, W the jumps that leave.

    components   m(W) = (1/d) sum_i m_i,   m_i = A_i^a [ r(e_i)^-a + r(-e_i)^-a ] / 2
    isotropic    m(W) = E |A v|^a r(A v / |A v|)^-a,   v uniform on the sphere

A mean over d coordinates is estimated from N of them. On a quadratic basin
`m_i = q_i = (A_i^2 H_ii / 2h)^(a/2)`, and q_i is known for every coordinate from the Hessian's
diagonal, right or roughly.
It serves twice: coordinates are drawn with chances `p_i = 1/3d + 2/3 q_i/sum q`, so that the few
that carry the measure are seen, and q is a control variate,

    m = mean_k Z_k - b (mean_k Y_k - mean q),   Z_k = m_k / (d p_k),   Y_k = q_k / (d p_k),   b =
                                                cov(Z, Y) / var(Y),

right whatever q is; a bad q costs accuracy only. Where two optimisers share the rays, p mixes their
q. Isotropic noise has no known mean of q, so it is taken over five times as many directions, at one
product with the Hessian each (double sampling: Cochran, "Sampling Techniques", 1977, chapter 12).

A ray is looked at on a grid about the quadratic guess of its length, every change between inside
and outside on the grid is narrowed down to 1e-5 of its distance, and all of them count: `r^-a` with
a plus where it leaves, a minus where it comes back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from levysde.stats import Estimate
from levysde.tables import Table, Tabled

# of the guessed length: finer beyond it, where the basin may come back
_GRID = np.array(
    [1 / 16, 1 / 8, 1 / 4, 0.5, 0.7, 0.9, 1.1, 1.3, 1.6, 2, 2.5, 3.2, 4, 5.6, 8, 16, 64, 256]
)
_WIDER, _FARTHEST, _NEAREST = (
    16.0,
    2.0**50,
    2.0**-50,
)  # steps of the search where the grid holds no crossing, and its ends
_CLOSE, _MOST = 1e-5, 60  # relative width of a bracket, and turns
_DEFENSIVE = 1 / 3  # share of the draws that go to all coordinates alike
EXTRA = 4  # directions of isotropic noise with a product alone, for each with a ray

# of rays' numbers and distances, less the level
Loss = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class RayCrossings:
    """Where rays leave the basin: of every crossing its ray's number, distance, and +1 out or -1
    back in."""

    ray: np.ndarray
    distance: np.ndarray
    sign: np.ndarray
    evaluations: int

    def masses(self, count: int, alpha: float) -> np.ndarray:
        """`sum +- r^-a` over the crossings of each of `count` rays."""
        return np.bincount(self.ray, self.sign * self.distance**-alpha, minlength=count)

    def first(self, count: int) -> np.ndarray:
        """The first crossing of each ray, inf where there is none."""
        found = np.full(count, np.inf)
        np.minimum.at(found, self.ray, self.distance)
        return found

    def returning(self, count: int) -> np.ndarray:
        """Which rays come back after they have left."""
        return np.bincount(self.ray, self.sign < 0, minlength=count) > 0


@dataclass(frozen=True, repr=False)
class BasinMeasure(Tabled):
    """m(W) of one optimiser, with `m(|y| >= 1) = 1`.

    Attributes:
        measure: with the interval of its rays alone, at the scale and index measured; of no width
            where all were looked at.
        quadratic: what the Hessian alone predicts, `mean_i q_i`.
        rays: half-lines looked at, of `of` (inf for isotropic noise).
        reduction: how many times as many rays plain sampling would have needed for this interval;
            and of this
        by_sampling: the part of the chances p, the rest being the control variate's.
        relaxation: `sum_i share_i / kappa_i`, the mean time of return after a jump that leaves, in
            SDE time.
        returning: the share of rays that come back into the basin: 0 for a star-shaped one.
        numbers: of the coordinates (or directions) looked at, each once, rising, shape `(k,)`; and
            of each
        masses, predicted: m_i as found and q_i by the quadratic, shape `(k,)`.
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
    count, calls = len(guess), [0]

    def at(ray: np.ndarray, distance: np.ndarray) -> np.ndarray:
        calls[0] += ray.size
        values = loss(ray, distance)
        return np.where(np.isnan(values), np.inf, values)

    rays = np.repeat(np.arange(count), _GRID.size)
    radii = guess[:, None] * _GRID
    values = at(rays, radii.ravel()).reshape(radii.shape)
    inner, radii, values = _inner(at, radii, values)
    radii, values = _outer(at, radii, values)
    radii = np.concatenate([inner[:, None], radii], 1)
    inside = np.concatenate([np.ones((count, 1), bool), values < 0], 1)
    values = np.concatenate([np.full((count, 1), -np.inf), values], 1)
    ray, place = np.nonzero(inside[:, 1:] != inside[:, :-1])
    low, high = radii[ray, place], radii[ray, place + 1]
    leaves = inside[ray, place]
    distance = _narrowed(at, ray, low, high, values[ray, place], values[ray, place + 1], leaves)
    return RayCrossings(ray, distance, np.where(leaves, 1.0, -1.0), calls[0])


def _inner(
    at: Loss, radii: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A distance inside below the grid of each ray; rays whose grid begins outside are followed
    inwards."""
    inner = np.zeros(len(radii))
    reach = radii[:, 0].copy()
    lost = np.flatnonzero(values[:, 0] >= 0)
    factor = 1.0
    while lost.size and factor > _NEAREST:
        factor /= _WIDER
        trial = radii[lost, 0] * factor
        outside = at(lost, trial) >= 0
        reach[lost[outside]] = trial[outside]
        inner[lost[~outside]] = trial[~outside]
        lost = lost[outside]
    # the smallest distance known to be outside takes the place of the grid's first
    near = reach < radii[:, 0]
    radii[near, 0] = reach[near]
    return inner, radii, values


def _outer(at: Loss, radii: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The grid with one more point: the first outside beyond it, for rays that have not left; else
    its end again."""
    reach, end = radii[:, -1].copy(), values[:, -1].copy()
    lost = np.flatnonzero((values < 0).all(1))
    last, factor = radii[:, -1].copy(), 1.0
    while lost.size and factor < _FARTHEST:
        factor *= _WIDER
        trial = radii[lost, -1] * factor
        found = at(lost, trial)
        outside = found >= 0
        reach[lost[outside]], end[lost[outside]] = trial[outside], found[outside]
        last[lost[~outside]] = trial[~outside]
        lost = lost[~outside]
    radii[:, -1] = last  # still inside there
    return np.concatenate([radii, reach[:, None]], 1), np.concatenate([values, end[:, None]], 1)


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
    estimate = _student(value, error, count - 2, confidence)
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
    estimate = _student(value, float(np.sqrt(variance)), count - 2, confidence)
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


def _student(value: float, error: float, freedom: int, confidence: float) -> Estimate:
    from scipy.stats import t  # slow to import

    half = float(t.isf((1 - confidence) / 2, freedom)) * error
    return Estimate(value, max(value - half, 0.0), value + half, confidence)


def _relaxation(shares: np.ndarray, kappa: np.ndarray) -> float:
    """`sum_i share_i / kappa_i`; infinite where the flow does not pull back along a jump that
    leaves."""
    leaving = shares > 0
    if not leaving.any() or (kappa[leaving] <= 0).any():
        return float("inf")
    return float(np.sum(shares[leaving] / kappa[leaving]) / shares[leaving].sum())
