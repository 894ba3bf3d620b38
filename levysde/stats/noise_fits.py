"""Which law do the sizes of noise follow? Likelihoods of several laws, compared.

Signed values and norms are treated alike. With r a size, chi_k the norm of k independent standard
normal values, s a scale:

    Gaussian              r = s chi_k
    stable                r = s sqrt(2 A) chi_k,   A positive stable of index alpha/2
    Student t             r = s sqrt(df / W) chi_k,   W chi-square with df degrees of freedom
    two normals           r = s chi_k, and `ratio` times as large with probability `weight`
    lognormal scales      r = s exp(spread N) chi_k,   N standard normal

Sizes of signed values have k = 1, for which these are exactly the laws of `|x|`. Norms have a k
that is fitted, an effective dimension, and norms below the median only count as such: the body of
their law depends on the scales of the coordinates, and the tail decides. For norms the Gaussian law
is `r^2 = a + (s chi_k)^2`, which has the first three moments of the squared norm of any Gaussian
vector (Pearson, Biometrika 46, 1959).

A law ends at c if it is conditioned on r < c, and is clipped at c if larger sizes are set to c.

The likelihood is that of a histogram of log r, whose bins are a hundredth of the interquartile
range. So it costs the same for any number of values. The density of A follows from its integral
representation (Kanter, Annals of Probability 3, 1975) by quadrature; that of log r is a convolution
on a grid. Compared with scipy's stable density at 0.05 to 200 scales, its relative error is at most
1e-4 for alpha up to 1.6, 3e-4 at 1.9, and 1.2e-3 at 1.99.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy

from levysde.results import Result
from levysde.tables import Table

_BINS = 100  # in the interquartile range of log r
_FLOOR = 6.0  # interquartile ranges below the median, where all laws are the same power
# log distances over which a tail is integrated, and their weights: dense near 0, where a law of
# norms may be narrow
_REACH, _WEIGHTS = 30 * np.linspace(0, 1, 401) ** 4, 0.3 * np.linspace(0, 1, 401) ** 3
_SHOWN = 120  # sizes at which survival is given
_WIDEST = 3.0  # log log of the ratio of two scales
_CUT = 0.5  # most that is cut off by an end
_WORST = 1e300  # in place of a likelihood that is not finite
_LARGEST = 1e6  # effective dimension of a stable law, on whose grid it must be resolved
_NORMALS = np.polynomial.hermite_e.hermegauss(30)
GAUSSIAN, STABLE, STUDENT, TWO, LOGNORMAL = (
    "Gaussian",
    "stable",
    "Student t",
    "two normals",
    "lognormal scales",
)
LogDensity = Callable[[np.ndarray], np.ndarray]  # of log r


@dataclass(frozen=True, repr=False)
class NoiseFit(Result):
    """A law fitted to the sizes of noise.

    Attributes:
        name: "Gaussian", "stable", "Student t", "two normals" or "lognormal scales".
        ending: "" for a law without an end, "truncated" or "clipped".
        parameters: the fitted numbers by name; `scale` has the unit of the sample.
        evidence: log-likelihood less `log(n) / 2` for each fitted parameter and `log(n)` for an
            end of the support.
        gap: largest distance between the fitted distribution function of sizes and the measured
            one.
        survival: probability that a size exceeds each of `NoiseClass.size`, shape `(m,)`.
    """

    name: str
    ending: str
    parameters: dict[str, float]
    evidence: float
    gap: float
    survival: np.ndarray

    @property
    def label(self) -> str:
        """The name with the ending: "truncated stable"."""
        return f"{self.ending} {self.name}".strip()

    @property
    def numbers(self) -> str:
        """The parameters in one line; of norms without the scale, which says nothing alone."""
        hidden = "scale" if "dimension" in self.parameters else ""
        shown = [(name, value) for name, value in self.parameters.items() if name != hidden]
        return ", ".join(f"{name} {value:.3g}" for name, value in shown)

    @property
    def excess_kurtosis(self) -> float:
        """Of a coordinate, without the ending; 0 for the Gaussian law, infinite where the fourth
        moment is."""
        p = self.parameters
        if self.name == GAUSSIAN:
            return 0.0
        if self.name == STUDENT and p["df"] > 4:
            return 6 / (p["df"] - 4)
        if self.name == LOGNORMAL:
            return float(3 * np.expm1(4 * p["spread"] ** 2))
        if self.name == TWO:
            fourth, second = (1 + p["weight"] * (p["ratio"] ** n - 1) for n in (4, 2))
            return 3 * fourth / second**2 - 3
        return np.inf

    def _table(self) -> Table:
        rows = [(name, f"{value:.4g}") for name, value in self.parameters.items()]
        return Table(f"NoiseFit: {self.label}", [*rows, ("largest gap", f"{self.gap:.2g}")])


@dataclass(frozen=True)
class _Family:
    """A law: where searches for its own parameters start, beside log scale and k, given the
    interquartile range of log r; the density of log r; and what the parameters are called."""

    name: str
    starts: Callable[[float], tuple[tuple[float, ...], ...]]
    density: Callable[..., LogDensity]
    named: Callable[..., dict[str, float]]


def _log_chi(z: np.ndarray, k: float) -> np.ndarray:
    """Log density of log chi_k."""
    return (
        (1 - k / 2) * np.log(2)
        + k * z
        - np.exp(np.minimum(2 * z, 700)) / 2
        - scipy.special.gammaln(k / 2)
    )


def _gaussian(k: float) -> LogDensity:
    return lambda z: _log_chi(z, k)


def _student(k: float, log_df: float) -> LogDensity:
    df = np.exp(min(log_df, 15.0))
    constant = np.log(2) - k / 2 * np.log(df) - scipy.special.betaln(k / 2, df / 2)
    return lambda z: constant + k * z - (k + df) / 2 * np.logaddexp(0, 2 * z - np.log(df))


def _two(k: float, logit: float, log_ratio: float) -> LogDensity:
    weight, shift = (
        np.clip(scipy.special.expit(logit), 1e-9, 1 - 1e-9),
        np.exp(min(log_ratio, _WIDEST)),
    )
    return lambda z: np.logaddexp(
        np.log1p(-weight) + _log_chi(z, k), np.log(weight) + _log_chi(z - shift, k)
    )


def _lognormal(k: float, log_spread: float) -> LogDensity:
    nodes, weights = _NORMALS[0] * np.exp(min(log_spread, 1.5)), _NORMALS[1] / _NORMALS[1].sum()
    return lambda z: scipy.special.logsumexp(_log_chi(z[..., None] - nodes, k), b=weights, axis=-1)


def _stable(k: float, log_gap: float) -> LogDensity:
    # rounded, so that the search meets the same law again
    alpha = round(float(np.clip(2 - np.exp(log_gap), 0.3, 1.9999)), 5)
    start, step, log_density = _stable_grid(round(float(min(k, _LARGEST)), 4), alpha)
    grid = start + step * np.arange(log_density.size)
    # beyond the grid the tail is a power, and so is the density near 0
    return lambda z: (
        np.interp(z, grid, log_density)
        - alpha * np.maximum(z - grid[-1], 0)
        - k * np.maximum(grid[0] - z, 0)
    )


@lru_cache(maxsize=16)
def _stable_grid(k: float, alpha: float) -> tuple[float, float, np.ndarray]:
    """First point, step and values of the log density of `log(sqrt(2A) chi_k)`."""
    step, b = 0.0128 / max(1.0, np.sqrt(k) / 20), alpha / 2
    # A = a(u) / E^((1-b)/b), u uniform on (0, pi), E exponential; large A come from u near pi
    q, v = np.linspace(-50, 12, 160), np.linspace(-34, 4, 250)
    left, u = scipy.special.expit(q), np.pi * scipy.special.expit(-q)  # left = 1 - u / pi
    log_a = b * np.log(np.sin(b * u)) + (1 - b) * np.log(np.sin((1 - b) * u))
    log_a = (log_a - np.log(np.sin(np.pi * np.minimum(left, 1 - left)))) / b
    sizes = (np.log(2) + log_a[:, None] - (1 - b) / b * v) / 2
    mass = (left * scipy.special.expit(-q))[:, None] * np.exp(v - np.exp(v))
    low = np.floor(sizes.min() / step) - 1
    place = (sizes.ravel() / step) - low
    cell = place.astype(int)
    upper = (mass.ravel() * (place - cell)) / mass.sum()  # each mass is shared by two neighbours
    lower = mass.ravel() / mass.sum() - upper
    masses = np.append(np.bincount(cell, lower), 0.0)
    masses += np.bincount(cell + 1, upper, masses.size)
    first = np.log(k) / 2 - 40 / k - 9 / np.sqrt(k)
    z = np.arange(np.floor(first / step), np.ceil(np.log(np.sqrt(k) + 12) / step)) * step
    density = scipy.signal.fftconvolve(masses, np.exp(_log_chi(z, k)))
    kept = density > 1e-13  # rounding of the convolution
    begin, end = np.flatnonzero(kept)[[0, -1]]
    log_density = np.log(np.maximum(density[begin : end + 1], 1e-300))
    return float(low * step + z[0] + begin * step), step, log_density


def _shifted_gaussian(floor: float) -> Callable[..., LogDensity]:
    """Of log r with `r^2 = a + (s chi_k)^2`, a share of the squared median, whose log is twice
    `floor`; `middle` is about the median of log r."""

    def made(middle: float, k: float, logit: float) -> LogDensity:
        log_a = 2 * floor + np.log(scipy.special.expit(min(logit, 5.0)))
        log_scale = middle - _log_middle(k) + _log_rest(log_a, middle) / 2

        def log_density(y: np.ndarray) -> np.ndarray:
            rest = _log_rest(log_a, y)
            return _log_chi(y + rest / 2 - log_scale, k) - rest

        return log_density

    return made


def _log_rest(log_a: float, y: np.ndarray | float) -> np.ndarray | float:
    """`log(1 - a / r^2)`, of r whose log is y."""
    return np.log(np.maximum(-np.expm1(log_a - 2 * y), 1e-300))


def _log_middle(k: float) -> float:
    """About the median of log chi_k."""
    return 0.5 * np.log(max(k - 2 / 3, 0.45))


_FAMILIES = (
    _Family(GAUSSIAN, lambda wide: ((),), _gaussian, lambda: {}),
    _Family(
        STABLE, lambda wide: ((np.log(wide / 3),),), _stable, lambda p: {"alpha": 2 - np.exp(p)}
    ),
    _Family(
        STUDENT,
        lambda wide: ((np.log(4 / wide**2),),),
        _student,
        lambda p: {"df": np.exp(min(p, 15.0))},
    ),
    _Family(
        TWO,
        lambda wide: tuple(
            (p, np.log(q * wide)) for p, q in ((-0.8, 0.5), (-3.0, 1.2), (0.0, 0.8))
        ),
        _two,
        lambda p, q: {"weight": scipy.special.expit(p), "ratio": np.exp(np.exp(min(q, _WIDEST)))},
    ),
    _Family(
        LOGNORMAL,
        lambda wide: ((np.log(wide / 2),),),
        _lognormal,
        lambda p: {"spread": np.exp(min(p, 1.5))},
    ),
)


@dataclass(frozen=True)
class Sizes:
    """What the fits know of a sample of sizes.

    `bins` of log r with their `counts`; quartiles of log r; `below` sizes whose log is under
    `floor`; `end` is the log of the largest size, to which `atoms` sizes were set; `places` are
    sizes at which survival is given, and `share` is the measured one.
    """

    bins: np.ndarray
    counts: np.ndarray
    quartiles: np.ndarray
    below: float
    floor: float
    atoms: float
    end: float
    places: np.ndarray
    share: np.ndarray

    @property
    def total(self) -> float:
        """How many independent sizes the sample is worth."""
        return float(self.counts.sum()) + self.below + self.atoms


def tail(size: np.ndarray, lowest: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Some of the sizes above the lowest, rising, and the share of all that exceeds each."""
    size = np.sort(size)
    levels = np.geomspace(1.0, 1 / size.size, _SHOWN)
    ranks = np.round((1 - levels) * size.size).astype(int)
    places = np.unique(size[np.minimum(ranks, size.size - 1)])
    places = places[(places >= lowest) & (places > 0)]
    return places, 1 - np.searchsorted(size, places, side="right") / size.size


def binned(size: np.ndarray, *, norms: bool, clipped: int, weight: float) -> Sizes:
    """A sample whose largest `clipped` sizes are set to their largest, and in which each size
    counts as `weight` independent ones."""
    size = np.sort(size)
    with np.errstate(divide="ignore"):
        y = np.log(size)
    quartiles = np.quantile(y, [0.25, 0.5, 0.75])
    wide = float(quartiles[2] - quartiles[0])
    step, floor = wide / _BINS, float(quartiles[1]) - (0 if norms else _FLOOR * wide)
    below = int(np.searchsorted(y, floor)) if norms else 0
    used = np.maximum(y[below : size.size - clipped], floor)
    cells, counts = np.unique(((used - floor) / step).astype(int), return_counts=True)
    places, share = tail(size, np.exp(floor))
    return Sizes(
        floor + (cells + 0.5) * step,
        counts * weight,
        quartiles,
        below * weight,
        floor,
        clipped * weight,
        float(y[-1]),
        places,
        share,
    )


def fit_laws(sizes: Sizes, *, norms: bool) -> tuple[NoiseFit, ...]:
    """All laws fitted to a sample of sizes, of norms or of signed values, the likeliest first."""
    found = []
    for family in _FAMILIES:
        if sizes.atoms:
            endings = ("clipped",)
        else:
            endings = ("", "truncated") if family.name in (GAUSSIAN, STABLE) else ("",)
        with np.errstate(all="ignore"):  # a search tries parameters far off
            found += [_fit(family, ending, sizes, norms) for ending in endings]
    known = [fit for fit in found if fit.evidence > -_WORST / 2]
    return tuple(sorted(known, key=lambda fit: -fit.evidence))


def _fit(family: _Family, ending: str, sizes: Sizes, norms: bool) -> NoiseFit:
    """Maximum likelihood by Nelder and Mead's search from each start."""
    wide = float(sizes.quartiles[2] - sizes.quartiles[0])
    k = max(0.91 / wide**2, 0.5) if norms else 1.0  # as of a Gaussian
    shifted = norms and family.name == GAUSSIAN
    shift = _shifted_gaussian(sizes.floor)
    ends = np.array([sizes.floor, sizes.end])

    def read(p: np.ndarray) -> tuple[float, float, np.ndarray]:
        """About the median of log r, k, and the law's own parameters."""
        return float(p[0]), *((float(np.exp(min(p[1], 25.0))), p[2:]) if norms else (1.0, p[1:]))

    def density(p: np.ndarray) -> LogDensity:
        middle, free, own = read(p)
        if shifted:
            return shift(middle, free, *own)
        standard, log_scale = family.density(free, *own), middle - _log_middle(free)
        return lambda y: standard(y - log_scale)

    def loss(p: np.ndarray) -> float:
        law = density(p)
        value = float(law(sizes.bins) @ sizes.counts)
        if ending or norms:
            under, over = np.clip(_beyond(law, ends), 1e-300, 1 - 1e-12)
            cut = over if ending == "truncated" else 0.0
            if cut > _CUT:
                return _WORST
            value += sizes.below * np.log(max(1 - under, 1e-300)) - sizes.total * np.log1p(-cut)
            value += sizes.atoms * np.log(over)
        return -value if np.isfinite(value) else _WORST

    middle = float(sizes.quartiles[1]) - (0.35 if family.name == STABLE else 0)  # log sqrt(2A)
    first = [middle, *([float(np.log(k))] if norms else [])]
    own_starts = ((-3.0,),) if shifted else family.starts(min(wide, 1.3))
    starts = [(*first, *start) for start in own_starts]
    tried = [_search(loss, np.array(start), min(0.3, wide / 4)) for start in starts]
    p, value = min(tried, key=lambda found: found[1])
    law, (middle, free, own) = density(p), read(p)
    log_places = np.log(sizes.places)
    survival, beyond = _beyond(law, log_places), _beyond(law, ends)[1]
    if ending == "truncated":
        survival = (survival - beyond) / (1 - beyond)
    if ending:
        survival = np.where(sizes.places < np.exp(sizes.end), np.maximum(survival, 0), 0.0)
    parameters = {"scale": float(np.exp(middle - _log_middle(free)))} | (
        {"dimension": free} if norms else {}
    )
    if not shifted:
        parameters |= {name: float(number) for name, number in family.named(*own).items()}
    if ending:
        parameters["end"] = float(np.exp(sizes.end))
    penalty = (p.size / 2 + (ending == "truncated")) * np.log(sizes.total)
    inner = log_places < sizes.end - 0.02 * wide  # not beside values that are set to the end
    gap = float(np.abs(survival - sizes.share)[inner].max())
    return NoiseFit(family.name, ending, parameters, -value - float(penalty), gap, survival)


def _search(
    loss: Callable[[np.ndarray], float], start: np.ndarray, step: float
) -> tuple[np.ndarray, float]:
    """The best parameters and their loss; `step` is the first one of log r."""
    steps = np.diag([step, *[0.3] * (start.size - 1)])
    simplex = np.vstack([start, start + steps])
    found = scipy.optimize.minimize(
        loss,
        start,
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 1e-3, "fatol": 0.02, "maxiter": 600},
    )
    return found.x, float(found.fun)


def _beyond(law: LogDensity, y: np.ndarray) -> np.ndarray:
    """Probability that log r exceeds each y."""
    return np.exp(law(y[:, None] + _REACH)) @ _WEIGHTS
