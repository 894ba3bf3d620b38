"""Scaling laws: straight lines fitted to the logarithm of the mean escape time along an axis.

Notation: at the points p of a line, y_p = log(T_p / N_p), T_p the time at risk, N_p the escapes,
and u_p = log x_p (a power law, whose slope is its exponent) or 1 / x_p (Kramers' law, whose slope
is the barrier in units of x). The slope is that of weighted least squares with weights N_p; its
variance is c' S c, c the slope's coefficients, S the covariance of the y_p:

* points with independent noise: S = diag(1 / N_p), as for exponential escape times, censored or
  not;
* points that share their noise (`coupled = true`): trajectory i of one point goes with trajectory i
  of the others, so S is that of a bootstrap which resamples the ids of trajectories, the same ids
  at every point. Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 8.

Intervals are normal. The goodness of fit is the chi-square of its residuals under the same
S.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from levysde import tables
from levysde.escape import Status
from levysde.stats import Estimate
from levysde.sweeps.rows import Row, SweepTable, words_of
from levysde.sweeps.store import Store
from levysde.types import Arg, Numbers

FEWEST_ESCAPES = 10  # below, log(T/N) is not normal with variance 1/N
LEAST_POINTS = 3
_BATCH = 2_000_000  # weights drawn at once
# a slope below this is rounding of the law's means in single precision
_ROUNDING = 1e-6
# variance of a residual, relative to that of a point, below which the fit cannot be tested
_SINGULAR = 1e-9


@dataclass(frozen=True, repr=False)
class ScalingFit(tables.Tabled):
    """A straight line through log(mean escape time) along one axis, the others held fixed.

    Attributes:
        axis: the axis.
        form: "power", mean = exp(intercept) x^slope, or "exponential", mean = exp(intercept + slope
            / x).
        quantity: "mean_time", or "ratio" for the mean over the law's mean.
        at: the values of the other axes, by name.
        along: axes that change together with it (in a sweep with a [list]).
        slope: slope of the line, with its interval.
        intercept: intercept of the line, as a logarithm of time.
        theory_slope: slope of the law's means at the same points with the same weights; NaN if the
            law does not predict all of them.
        low, high: the range of x.
        points: number of fitted points.
        left_out: number of points with fewer than 10 escapes, which are not fitted.
        chi_square, freedom, p_value: goodness of fit by the residuals; NaN if it cannot be tested.
        coupled: whether the points share their noise; the interval is then a bootstrap over the
            trajectories' ids.
    """

    axis: str
    form: str
    quantity: str
    at: dict[str, Any]
    along: tuple[str, ...]
    slope: Estimate
    intercept: float
    theory_slope: float
    low: float
    high: float
    points: int
    left_out: int
    chi_square: float
    freedom: int
    p_value: float
    coupled: bool

    @property
    def rejected(self) -> bool:
        """Whether the points do not lie on a straight line. The slope and its interval are then
        meaningless."""
        return self.p_value < REJECTED

    def predict(self, x: Arg[Numbers]) -> np.ndarray:
        """The line's mean at `x`, in the unit of time, same shape."""
        return np.exp(
            self.intercept + self.slope.value * _abscissa(np.asarray(x, float), self.form)
        )

    @property
    def where(self) -> str:
        """The values of the other axes, as text."""
        return words_of(self.at)

    @property
    def method(self) -> str:
        """How the interval was computed."""
        return METHODS[self.coupled]

    def _table(self) -> tables.Table:
        against = f"log {self.axis}" if self.form == "power" else f"1/{self.axis}"
        rows = [
            *([("along with it", ", ".join(self.along))] if self.along else []),
            *([("at", self.where)] if self.at else []),
            ("slope", f"{self.slope}  ({self.slope.confidence:.0%} interval)"),
            (
                "theory's slope",
                "none" if np.isnan(self.theory_slope) else f"{self.theory_slope:.4g}",
            ),
            ("points", f"{self.points}, {self.axis} from {self.low:g} to {self.high:g}"),
            ("straight", "not tested" if np.isnan(self.p_value) else f"p = {self.p_value:.2g}"),
            ("interval", self.method),
        ]
        if self.left_out:
            rows.append(
                ("left out", f"{self.left_out} points with fewer than {FEWEST_ESCAPES} escapes")
            )
        warnings = []
        if self.rejected:
            warnings.append(
                f"the line is rejected (p = {self.p_value:.2g}): the means do not lie on a "
                "straight line, and the slope and its interval describe nothing. Fit a shorter "
                "range, or the other form."
            )
        return tables.Table(f"ScalingFit of log {self.quantity} against {against}", rows, warnings)


# p-value below which a straight line is rejected, as the exponential law is in `compare`
REJECTED = 1e-3
METHODS = {
    False: "points of independent noise, exponential escape times",
    True: "points that share their noise: bootstrap of trajectory ids, the same at every point",
}


@dataclass(frozen=True, repr=False)
class EndRatio(tables.Tabled):
    """The mean at an axis's lowest value over the mean at its highest, at fixed other axes: the
    effect of a step size."""

    axis: str
    at: dict[str, Any]
    low: float
    high: float
    ratio: Estimate
    coupled: bool

    def _table(self) -> tables.Table:
        return tables.Table(
            "EndRatio",
            [
                *([("at", words_of(self.at))] if self.at else []),
                (
                    f"mean at {self.axis} = {self.low:g} over {self.high:g}",
                    f"{self.ratio}  ({self.ratio.confidence:.0%} interval)",
                ),
                ("interval", METHODS[self.coupled]),
            ],
        )


@dataclass(frozen=True)
class Line:
    """Points along one axis: `rows` by increasing x, the covariance `(k, k)` of their log means,
    the values of the other axes, and the axes that change together with x."""

    rows: tuple[Row, ...]
    covariance: np.ndarray
    at: dict[str, Any]
    along: tuple[str, ...]
    left_out: int


def end_ratios(
    table: SweepTable, x: str, covariance: dict[Any, Any], coupled: bool, confidence: float
) -> list[EndRatio]:
    """For each line of at least two points that differ only in x, the mean at the lowest x over the
    mean at the highest."""
    found = []
    for line in lines_along(table, x, covariance, 2):
        if line.along:
            continue
        contrast = np.zeros(len(line.rows))
        contrast[0], contrast[-1] = 1.0, -1.0
        log_ratio = _interval(contrast, _log_means(line), line.covariance, confidence)
        value, low, high = (
            float(np.exp(v)) for v in (log_ratio.value, log_ratio.low, log_ratio.high)
        )
        ends = line.rows[0].at[x], line.rows[-1].at[x]
        found.append(EndRatio(x, line.at, *ends, Estimate(value, low, high, confidence), coupled))
    return found


def log_mean_covariance(
    store: Store, table: SweepTable, resamples: int, seed: int
) -> dict[Any, Any]:
    """Variances for `lines_along`, by a point's index: 1/N, or for shared noise the bootstrap draws
    of log(T/N), shape `(resamples,)`."""
    rows = _usable(table)
    if not store.spec.coupled:
        return {row.index: 1 / row.get("escapes") for row in rows}
    arrays = store.arrays
    if not rows or "time" not in arrays or "status" not in arrays:
        return {}
    status = np.stack([arrays["status"][row.index] for row in rows])
    time = np.stack([arrays["time"][row.index] for row in rows])
    return dict(
        zip((row.index for row in rows), joint_draws(time, status, resamples, seed).T, strict=True)
    )


def joint_draws(time: np.ndarray, status: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Bootstrap draws of log(T/N) at points that share their trajectories' noise.

    Args:
        time, status: of each point's trajectories, shape `(points, num)`; those that neither left
            nor were censored do not count.
        resamples, seed: number of draws, and their seed.

    Returns:
        Shape `(resamples, points)`; in one draw, all points have the same resampled ids.
    """
    exited = status == Status.EXITED
    risk = np.where(exited | (status == Status.CENSORED), time, 0.0)
    left, num = exited.astype(float), time.shape[1]
    rng = np.random.default_rng(seed)
    draws = []
    step = max(1, _BATCH // num)
    for begin in range(0, resamples, step):
        count = min(step, resamples - begin)
        drawn = rng.integers(num, size=(count, num)) + num * np.arange(count)[:, None]
        weights = (
            np.bincount(drawn.ravel(), minlength=count * num).reshape(count, num).astype(float)
        )
        # a draw without escapes is left out below
        with np.errstate(divide="ignore", invalid="ignore"):
            draws.append(np.log(weights @ risk.T) - np.log(weights @ left.T))
    return np.concatenate(draws)


def groups_along(table: SweepTable, x: str) -> tuple[list[list[Row]], tuple[str, ...]]:
    """Groups of finished points that differ only in x, in increasing order of x, or of its labels.

    In a sweep with a [list], if no two points differ only in x, all points are one group. The
    second value has the names of the axes that change together with x.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    others = [axis.name for axis in table.axes if axis.name != x]
    for row in table.done:
        groups.setdefault(tuple(row.at[name] for name in others), []).append(row)
    along: tuple[str, ...] = ()
    if table.walked and max(map(len, groups.values()), default=0) < 2:
        groups, along = {(): table.done}, tuple(name for name in others if table.axis(name).varies)
    axis = table.axis(x)
    place = {label: label if axis.is_numeric else k for k, label in enumerate(axis.labels)}
    return [sorted(rows, key=lambda row: place[row.at[x]]) for rows in groups.values()], along


def lines_along(table: SweepTable, x: str, covariance: dict[Any, Any], least: int) -> list[Line]:
    """The lines of at least `least` usable points along x."""
    groups, along = groups_along(table, x)
    known = {row.index for row in _usable(table)} & set(covariance)
    lines = []
    for rows in groups:
        used = [row for row in rows if row.index in known]
        if len({row.at[x] for row in used}) < least:
            continue
        matrix = _matrix([covariance[row.index] for row in used])
        lines.append(
            Line(
                tuple(used),
                matrix,
                held_fixed(table, used[0], x, along),
                along,
                len(rows) - len(used),
            )
        )
    return lines


def held_fixed(table: SweepTable, row: Row, x: str, along: tuple[str, ...]) -> dict[str, Any]:
    """The values of a line's other axes, without constant ones and those that change with x."""
    return {n: v for n, v in row.at.items() if n != x and n not in along and table.axis(n).varies}


def fit_line(
    line: Line, x: str, y: str, form: str, confidence: float, coupled: bool
) -> ScalingFit | None:
    """The weighted straight line, or None if it needs a law and there is none."""
    values = np.array([row.at[x] for row in line.rows], float)
    u = _abscissa(values, form)
    predicted = np.log([row.get("predicted_mean") for row in line.rows])
    target = _log_means(line) - (predicted if y == "ratio" else 0.0)
    if not np.isfinite(target).all():
        return None
    weights = np.array([row.get("escapes") for row in line.rows])
    design = np.stack([np.ones_like(u), u], axis=1)
    solve = np.linalg.solve(design.T @ (weights[:, None] * design), (weights[:, None] * design).T)
    theory = float(solve[1] @ predicted) if y == "mean_time" else 0.0
    chi_square, freedom, p_value = _straightness(design, target, line.covariance)
    return ScalingFit(
        axis=x,
        form=form,
        quantity=y,
        at=line.at,
        along=line.along,
        slope=_interval(solve[1], target, line.covariance, confidence),
        intercept=float(solve[0] @ target),
        theory_slope=0.0 if abs(theory) < _ROUNDING else theory,
        low=float(values[0]),
        high=float(values[-1]),
        points=len(values),
        left_out=line.left_out,
        chi_square=chi_square,
        freedom=freedom,
        p_value=p_value,
        coupled=coupled,
    )


def _interval(
    coefficients: np.ndarray, values: np.ndarray, covariance: np.ndarray, confidence: float
) -> Estimate:
    """A linear combination with its normal interval."""
    from scipy.stats import norm  # slow to import

    value = float(coefficients @ values)
    variance = max(float(coefficients @ covariance @ coefficients), 0.0)
    half = float(norm.isf((1 - confidence) / 2)) * variance**0.5
    return Estimate(value, value - half, value + half, confidence)


def _straightness(
    design: np.ndarray, target: np.ndarray, covariance: np.ndarray
) -> tuple[float, int, float]:
    """Chi-square of the residuals, its degrees of freedom, and its p-value."""
    from scipy.stats import chi2  # slow to import

    freedom = len(target) - 2
    rest = np.linalg.svd(design)[0][:, 2:]  # directions orthogonal to all straight lines
    spread = rest.T @ covariance @ rest
    scale = float(np.trace(covariance)) / len(target)
    if freedom < 1 or np.linalg.eigvalsh(spread)[0] <= _SINGULAR * scale:
        return np.nan, max(freedom, 0), np.nan
    residual = rest.T @ target
    chi_square = float(residual @ np.linalg.solve(spread, residual))
    return chi_square, freedom, float(chi2.sf(chi_square, freedom))


def _matrix(parts: Sequence[Any]) -> np.ndarray:
    """Covariance of a line's log means, from variances, or from joint draws."""
    if np.ndim(parts[0]) == 0:
        return np.diag(np.array(parts, float))
    draws = np.stack(parts, axis=1)
    return np.atleast_2d(np.cov(draws[np.isfinite(draws).all(axis=1)], rowvar=False))


def _log_means(line: Line) -> np.ndarray:
    return np.log([row.get("mean_time") for row in line.rows])


def _usable(table: SweepTable) -> list[Row]:
    """Finished points whose log mean is approximately normal."""
    return [
        row
        for row in table.done
        if row.get("escapes") >= FEWEST_ESCAPES
        and np.isfinite(row.get("mean_time"))
        and row.get("mean_time") > 0
    ]


def _abscissa(values: np.ndarray, form: str) -> np.ndarray:
    return np.log(values) if form == "power" else 1 / values
