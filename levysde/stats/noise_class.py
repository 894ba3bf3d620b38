"""Which class of noise does a sample hold, and which escape law follows?

The classes, in the order in which they are tested:

* not continuous: values repeat more often than order statistics allow (`samples.repeated`), other
  than values clipped to the ends;
* correlated: the values, or their sizes, are correlated over 20 lags. Correlated sizes mean that
  the scale changes in time;
* Gaussian; stable; clipped stable, for values that are set to an end or do not pass it;
  heavy-tailed, not stable (Student t, mixtures of normals): the class of the law with the largest
  evidence among those of `noise_fits`;
* too short to tell: fewer than 1000 values, or fewer than 5000 and the evidence for the best class
  less than 3 (a factor of 20) above that for the next.

Rules fixed by tuning on seeds other than those of `benchmarks/noise_classes.py`, which reports how
often the class is wrong.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import scipy

from levysde import errors
from levysde.results import Result
from levysde.stats.bootstrap import autocovariance, normal_scores
from levysde.stats.noise_fits import (
    GAUSSIAN,
    STABLE,
    STUDENT,
    TWO,
    NoiseFit,
    binned,
    fit_laws,
    tail,
)
from levysde.stats.samples import repeated, sample, sizes as lengths
from levysde.tables import Grid, Table
from levysde.types import Arg, Numbers

Name = Literal[
    "Gaussian",
    "stable",
    "clipped stable",
    "heavy-tailed, not stable",
    "not continuous",
    "correlated",
    "too short to tell",
]
LAGS = 20
_LEAST, _ENOUGH = 1000, 5000  # values below which no class, and from which one is named
_FITTED, _ROWS = 100, 200  # steps from which laws are fitted, and a class is named
_MARGIN = 3.0  # of the evidence
_LEVEL = 1e-4  # of the tests of correlation
_WEAK = 0.05  # a correlation that changes no escape time by much
_COORDINATES, _POOLED = 64, 4_000_000  # of a vector that are looked at, and their values in all
_LONGEST, _STRETCHES = 1_000_000, 16  # values in which correlation is measured
_ROUGH = 0.05  # a gap in the distribution function that is no detail
_NO_JUMPS = 1.999  # an index from which on a sample shows no jumps
_SLIGHT = 0.1  # an excess kurtosis that is next to none
_REPEATED = 4  # norms that are equal to the largest by chance are fewer
_EQUAL = 1e-5  # relative difference of two norms clipped to one
_LAWS = {
    "Gaussian": "Gaussian: the mean escape time grows exponentially with the barrier over the "
    "noise. Use theory.kramers_law; ls.escape_law is for jumps.",
    "stable": "One large jump: the mean escape time grows as epsilon^-alpha. Use ls.escape_law.",
    "clipped stable": "One jump, if a single step of this size at the end can leave the basin: use "
    "ls.escape_law. Otherwise escape takes many steps, as for Gaussian noise.",
    STUDENT: "One large step, if steps are rare enough: the mean escape time grows as "
    "epsilon^-df. Use ls.escape_law. Otherwise Gaussian laws with the same variance.",
    "mixture": "No single step leaves at small noise: use Gaussian laws with the same variance, or "
    "simulate.",
    "correlated": "No law: the steps are correlated, and every law assumes independent ones. "
    "Measure at fixed parameters, or keep every k-th step.",
    "not continuous": "No law: the values are rounded or discrete. Write them unrounded, in "
    "float32 or better.",
    "too short to tell": "No law yet: several would fit. Write more steps.",
}


@dataclass(frozen=True, repr=False)
class NoiseClass(Result):
    """The class of a sample of noise, with the evidence. Prints as a table.

    Attributes:
        name: "Gaussian", "stable", "clipped stable", "heavy-tailed, not stable", "not continuous",
            "correlated" or "too short to tell".
        reason: what decided, in words.
        law: which escape law follows, in words.
        driver: the driver to type, in which `learning_rate` is a number of yours; "" where no
            driver has this noise.
        scale: standard deviation of a Gaussian value, or scale of another law, in the unit of the
            sample; of a typical coordinate for vectors. NaN for norms, and without fits.
        fits: the laws that were fitted, the likeliest first.
        size: sizes at which the fits give their survival, rising, shape `(m,)`; in the unit of the
            sample. Those of vectors are in units of the median of their coordinate, times a typical
            median; those of norms lie above the median.
        share: share of the sample whose size is larger than each, shape `(m,)`.
        correlation, size_correlation: root of the summed squares of the autocorrelations over 20
            lags, of normal scores of the values and of the sizes, less what chance adds.
        clipped: how many values are set to an end.
        num_values: n, how many steps the sample has.
        dim: d, the number of coordinates; 1 for scalars and norms.
        norms: whether the values were taken as norms.
        warnings: caveats, a tuple of sentences.
    """

    name: Name
    reason: str
    law: str
    driver: str
    scale: float
    fits: tuple[NoiseFit, ...]
    size: np.ndarray = field(repr=False)
    share: np.ndarray = field(repr=False)
    correlation: float
    size_correlation: float
    clipped: int
    num_values: int
    dim: int
    norms: bool
    warnings: tuple[str, ...] = ()

    @property
    def dynamics(self) -> str:
        """The call that makes an SDE of SGD with this noise, to type; "" without a driver
        or a scale."""
        if not self.driver or self.norms:
            return ""
        amount = "learning_rate=learning_rate"
        if self.name == "clipped stable":  # an index of 2, unlike the stable driver
            amount = f"epsilon=learning_rate**(1 - 1/{self.fits[0].parameters['alpha']:.4g})"
        return f"ls.SGD(landscape, {self.driver}, {amount}, scale={self.scale:.4g})"

    def _table(self) -> Table:
        what = "norms" if self.norms else "vectors" if self.dim > 1 else "signed values"
        rows: list = [
            ("sample", f"{self.num_values:,} {what}" + f" of {self.dim:,}" * (self.dim > 1)),
            ("because", self.reason),
            (
                "correlation",
                f"{self.correlation:.2g} of values, {self.size_correlation:.2g} of sizes",
            ),
            ("values at an end", f"{self.clipped:,}"),
        ]
        if self.fits:
            best = self.fits[0].evidence
            cells = [
                (
                    fit.label,
                    f"{fit.evidence - best:.1f}",
                    f"{fit.gap:.2g}",
                    fit.numbers,
                )
                for fit in self.fits
            ]
            rows.append(Grid(("fitted law", "evidence", "gap", "parameters"), cells))
        rows.append(("escape law", self.law))
        rows += [("type", self.dynamics or self.driver)] if self.driver else []
        return Table(f"NoiseClass: {self.name}", rows, self.warnings)


def noise_class(x: Arg[Numbers], *, norms: Arg[bool | None] = None) -> NoiseClass:
    """Say which class of noise a sample holds: Gaussian, stable, clipped stable, heavy-tailed but
    not stable, not continuous, correlated, or too short to tell.

    Laws are fitted to the sizes of the values by maximum likelihood and compared by their evidence,
    the log-likelihood less a penalty for each parameter. The median is subtracted first, so that a
    constant mean gradient does no harm. Of vectors, up to 64 coordinates are looked at, each in
    units of its median size; where their sizes are correlated, they count as fewer values.

    Norms show the tail of the law, and that only: whether large ones are Gaussian, a power or cut
    off. They do not show whether jumps lie on the axes, the scale of single coordinates, or the
    number of coordinates, since unequal scales make norms as those of fewer coordinates.

    Args:
        x: noise of successive steps, shape `(n,)` or `(n, d)`, any unit: gradients, their
            deviations from the mean gradient, or norms of these.
        norms: whether x holds norms, the lengths of vectors; by default it does if it is 1-D and no
            value is negative.

    Returns:
        The class, with the evidence, the driver and the escape law; it prints as a table.

    Raises:
        ValueError, TypeError: not a finite sample of 2 values that differ; norms that are negative
            or 2-D.

    Source:
        this package; the laws and their references are in `noise_fits`. The evidence is that of
        Schwarz, Annals of Statistics 6 (1978).
    """
    x = sample(x, vectors=True, least=2)
    given = x.ndim == 1 and bool(x.min() >= 0)
    norms = given if norms is None else errors.flag("norms", norms)
    if norms and not given:
        raise ValueError(
            f"norms must be False for an x that has two axes or negative values, not True: its "
            f"shape is {x.shape}, its smallest value {x.min():.4g}."
        )
    columns, warnings = _columns(x)
    ends = np.stack([_ends(column, norms) for column in columns])
    if ends.any():  # the ends of several coordinates differ in units of their sizes
        most = [int(ends.sum(1).argmax())]
        columns, ends = columns[most], ends[most]
    sizes = columns if norms else np.abs(columns - np.median(columns, axis=1, keepdims=True))
    joint, clipped = _joint(sizes), int(ends.sum())
    weight = 1 / (1 + (len(columns) - 1) * joint)
    middle = np.median(sizes, axis=1, keepdims=True)
    doubles = [repeated(c[~e]) for c, e in zip(columns, ends, strict=True)]
    discrete = sum(map(bool, doubles)) > len(columns) / 2 or not middle.all()
    fits, (places, share) = (), tail(sizes.ravel())
    if not discrete and len(x) >= _FITTED:
        smooth = [not found for found in doubles]
        if not all(smooth):
            warnings.append(
                f"values of {len(smooth) - sum(smooth)} of {len(smooth)} coordinates repeat: laws "
                "are fitted to the others."
            )
        sizes, middle = sizes[smooth], middle[smooth]
        alike = sizes * (np.median(middle) / middle)
        pooled = binned(alike.ravel(), norms=norms, clipped=clipped, weight=weight)
        fits, places, share = fit_laws(pooled, norms=norms), pooled.places, pooled.share
    of = _Sample(len(x), sizes.size * weight, clipped, norms, joint)
    serial, seen = _autocorrelation(columns)
    sized, seen_in_sizes = (serial, seen) if norms else _autocorrelation(sizes)
    name, more = "not continuous", [] if norms or discrete else _asymmetry(columns)
    if discrete:
        reason = next((found[0] for found in doubles if found), "most values of x are equal")
    elif seen:
        name = "correlated"
        reason = f"the values of nearby steps are correlated, by {serial:.2g} over {LAGS} lags"
    elif seen_in_sizes:
        name = "correlated"
        reason = (
            f"the sizes of nearby steps are correlated, by {sized:.2g} over {LAGS} lags: the scale "
            "of the noise changes in time"
        )
    else:
        name, reason, fits, caveats = _decided(fits, of)
        warnings += caveats
    driver, scale, law = _followed(name, fits, of)
    return NoiseClass(
        name=name,
        reason=reason,
        law=law,
        driver=driver,
        scale=scale,
        fits=fits,
        size=places,
        share=share,
        correlation=serial,
        size_correlation=sized,
        clipped=clipped,
        num_values=len(x),
        dim=x.size // len(x),
        norms=norms,
        warnings=(*warnings, *more),
    )


@dataclass(frozen=True)
class _Sample:
    """Steps, independent sizes that all values are worth, how many of them are set to an end,
    whether they are norms, and the correlation of the sizes of coordinates."""

    rows: int
    worth: float
    clipped: int
    norms: bool
    joint: float


def _columns(x: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Some of the coordinates that vary, shape `(m, n)`, and what to say of the others."""
    rows, x = len(x), x.reshape(len(x), -1)
    most = max(1, min(_COORDINATES, x.shape[1], _POOLED // rows))
    columns = x[:, np.linspace(0, x.shape[1] - 1, most).astype(int)].T
    varied = np.ptp(columns, axis=1) > 0
    if not varied.any():
        raise ValueError(
            f"all {rows:,} values of x are equal to {columns[0, 0]:.6g}: there is no noise to "
            "classify. Give values that vary."
        )
    warnings = []
    if not varied.all():
        warnings.append(f"{int((~varied).sum())} of {len(columns)} coordinates are constant.")
    norms = lengths(x)
    if x.shape[1] > 1 and np.sum(norms > norms.max() * (1 - _EQUAL)) >= _REPEATED:
        warnings.append(
            "several vectors have the same, largest norm: gradients were clipped by their norm. "
            "Write them before they are clipped."
        )
    return columns[varied], warnings


def _ends(x: np.ndarray, norms: bool) -> np.ndarray:
    """Which values are set to the largest or the smallest value, as clipping does."""
    high, low = x.max(), x.min()
    if norms:
        ends, least = x > high * (1 - _EQUAL), _REPEATED
    else:
        ends, least = (x == high) | (x == low), 2 if high == -low else 3
    return ends & (least <= ends.sum() <= x.size / 4)


def _autocorrelation(columns: np.ndarray) -> tuple[float, bool]:
    """How strong it is beyond chance, and whether it counts: of normal scores, on average over up
    to 8 coordinates. The test is that of Ljung and Box (Biometrika 65, 1978), or that of the first
    lag."""
    chosen = columns[:: -(-len(columns) // 8)]
    length = min(_LONGEST, chosen.shape[1])
    if chosen.shape[1] > length:  # stretches from all over the series
        cut = chosen.shape[1] // _STRETCHES * _STRETCHES
        chosen = chosen[:, :cut].reshape(len(chosen), _STRETCHES, -1)
        chosen = chosen[..., : length // _STRETCHES].reshape(len(chosen), -1)
    n, lags = chosen.shape[1], min(LAGS, chosen.shape[1] - 1)
    found = np.array([autocovariance(normal_scores(column), lags) for column in chosen])
    r = (found[:, 1:] / found[:, :1]).mean(0)
    q = n * (n + 2) * np.sum(r**2 / (n - np.arange(1, lags + 1)))
    first = abs(float(r[0])) * np.sqrt(n)
    seen = scipy.stats.chi2.sf(q, lags) < _LEVEL or 2 * scipy.stats.norm.sf(first) < _LEVEL
    strength = float(np.sqrt(max(r @ r - lags / n, r[0] ** 2 - 1 / n, 0.0)))
    return strength, bool(seen) and strength >= _WEAK


def _joint(sizes: np.ndarray) -> float:
    """Mean correlation of the sizes of two coordinates, of normal scores; 0 if it may be chance."""
    chosen = sizes[:16, :20_000]
    if len(chosen) < 2:
        return 0.0
    matrix = np.corrcoef(np.array([normal_scores(c) for c in chosen]))
    mean = float((matrix.sum() - len(chosen)) / (len(chosen) * (len(chosen) - 1)))
    return mean if mean > max(_WEAK, 4 / np.sqrt(chosen.shape[1])) else 0.0


def _asymmetry(columns: np.ndarray) -> list[str]:
    """A caveat if the quantiles of a typical coordinate are not symmetric."""
    low, middle, high = np.quantile(columns, [0.05, 0.5, 0.95], axis=1)
    skew = (high + low - 2 * middle) / (high - low)
    # quantiles of a Gaussian have a skew of standard error 2.1 / sqrt(n), of a stable law a larger
    if np.median(np.abs(skew)) < max(0.05, 15 / np.sqrt(columns.shape[1])):
        return []
    return [
        f"values are not symmetric about their median (quantile skewness {np.median(skew):.2g}), "
        "as all laws here are. ls.SkewedComponents has skewed jumps."
    ]


def _class_of(fit: NoiseFit) -> Name:
    if fit.parameters.get("alpha", 0) > _NO_JUMPS:
        return "Gaussian"
    if fit.name == STABLE:
        return "clipped stable" if fit.ending else "stable"
    return "Gaussian" if fit.excess_kurtosis < _SLIGHT else "heavy-tailed, not stable"


def _decided(
    fits: tuple[NoiseFit, ...], of: _Sample
) -> tuple[Name, str, tuple[NoiseFit, ...], list[str]]:
    """The class by the evidence, why, the fits with the one that decided first, and caveats."""
    few = f"there are only {of.rows:,} steps"
    if not fits or of.rows < _ROWS or of.worth < _LEAST:
        return "too short to tell", f"{few}, worth {of.worth:,.0f} independent values", fits, []
    # what is clipped or a norm says less, so that the simplest law is taken if it is near the best
    simple = STABLE if of.clipped else GAUSSIAN if of.norms else ""
    # without a variance a Student t adds up to stable noise, and at 1 degree of freedom is Cauchy
    if fits[0].name == STUDENT and fits[0].parameters["df"] < 2:
        simple = STABLE
    near = [fit for fit in fits if fit.name == simple]
    if near and near[0].evidence > fits[0].evidence - _MARGIN:
        fits = (near[0], *(fit for fit in fits if fit is not near[0]))
    best, name = fits[0], _class_of(fits[0])
    others = [fit for fit in fits if _class_of(fit) != name]
    other = max(others, key=lambda fit: fit.evidence) if others else fits[-1]
    lead = best.evidence - other.evidence
    reason = (
        f"{best.label} has a log evidence {lead:.1f} above that of {other.label}, the best law of "
        "another class"
    )
    if lead < _MARGIN and of.worth < _ENOUGH:
        return "too short to tell", f"{few}, and {reason}", fits, []
    warnings = []
    if lead < _MARGIN:
        warnings.append(f"{other.label} fits nearly as well as {best.label}.")
    if name == "Gaussian" and best.label not in (GAUSSIAN, f"clipped {GAUSSIAN}"):
        warnings.append(f"{best.label} fits best, and has next to no tail: {best.numbers}.")
        plain = next(fit for fit in fits if fit.name == GAUSSIAN and fit.ending != "truncated")
        fits = (plain, *(fit for fit in fits if fit is not plain))
    if best.gap > _ROUGH:
        warnings.append(
            f"no law fits well: {best.label} misses the distribution function by {best.gap:.2g}."
        )
    if best.ending and name != "clipped stable":
        warnings.append(f"no size is above {best.parameters['end']:.4g}: no step is longer.")
    if of.norms:
        warnings.append(
            "norms show the tail only: not the scale of single coordinates, nor whether jumps lie "
            "on the axes. Give the vectors, or some of their coordinates."
        )
    return name, reason, fits, warnings


def _followed(name: Name, fits: tuple[NoiseFit, ...], of: _Sample) -> tuple[str, float, str]:
    """The driver to type, the scale, and the escape law in words."""
    if not fits:
        return "", np.nan, _LAWS[name]
    fit = fits[0]
    p, scale = fit.parameters, np.nan if of.norms else fit.parameters["scale"]
    if name == "Gaussian":
        return "ls.Brownian()", scale, _LAWS[name]
    kind = "Isotropic" if of.joint or of.norms else "Components"
    if name == "stable":
        return f"ls.Stable{kind}(alpha={p['alpha']:.4g})", scale, _LAWS[name]
    if name == "clipped stable":
        a, end = p["alpha"], p["end"] / p["scale"]
        # chance that a draw is longer, by which `TruncatedComponents.check_step` judges
        longer = 2 / np.pi * scipy.special.gamma(a) * np.sin(np.pi * a / 2) * end**-a
        longer = min(0.7, float(longer + scipy.special.erfc(end / 2)))
        tries = max(3, int(np.ceil(np.log(1e-9) / np.log(longer))))
        driver = (
            f"ls.Truncated{kind}(alpha={a:.4g}, cutoff={end:.4g} * learning_rate**(1/{a:.4g}), "
            f"tries={tries})"
        )
        return driver, scale, _LAWS[name]
    if name != "heavy-tailed, not stable":
        return "", scale, _LAWS[name]
    if fit.name == STUDENT:
        return f"ls.StudentT(df={p['df']:.4g}, dt=learning_rate)", scale, _LAWS[STUDENT]
    if fit.name == TWO:
        weights, scales = [1 - p["weight"], p["weight"]], [1.0, p["ratio"]]
    else:
        nodes, masses = np.polynomial.hermite_e.hermegauss(5)
        weights, scales = [*(masses / masses.sum())], [*np.exp(p["spread"] * nodes)]
    shown = ", ".join(
        f"{word}=[{', '.join(f'{number:.7g}' for number in numbers)}]"  # the weights add to 1
        for word, numbers in (("weights", weights), ("scales", scales))
    )
    return f"ls.GaussianMixture({shown}, dt=learning_rate)", scale, _LAWS["mixture"]
