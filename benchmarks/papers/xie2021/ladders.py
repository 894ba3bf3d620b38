"""Escape rates along one axis, and the lines through their logarithms.

Notation: at rung p of a ladder N_p escapes over a time at risk T_p (censored runs included), `y_p =
-log(N_p / T_p)`, of variance 1 / N_p for exponential escape times. All fits are least squares with
weights N_p, as in `levysde.sweeps.scaling_fits`, whose forms know x^p and 1/x only; intervals are
normal, of 95%.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import numpy as np

from levysde.stats import Estimate
from levysde.sweeps import Sweep

from ..figures import look, new_figure, points, shared_legend
from ..numbers import around, scaled, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Z = 1.959964  # of the normal law at 97.5%


@dataclass(frozen=True)
class Ladder:
    """Measured rates at rising `x`: `slowness` is `-log rate`, the rate a unit of the sweep's
    time."""

    x: np.ndarray
    slowness: np.ndarray
    escapes: np.ndarray
    censored: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """Standard error of `slowness`."""
        return self.escapes**-0.5

    @property
    def estimates(self) -> list[Estimate]:
        """`slowness` with its intervals."""
        return list(map(around, self.slowness, Z * self.error))

    def shifted(self, amount: np.ndarray) -> "Ladder":
        """With `amount` added to `-log rate`: a known prefactor taken out."""
        return Ladder(self.x, self.slowness + amount, self.escapes, self.censored)

    def against(self, x: np.ndarray) -> "Ladder":
        """With another abscissa, in the order of the old."""
        order = np.argsort(x)
        return Ladder(x[order], self.slowness[order], self.escapes[order], self.censored[order])


def ladder(sweep: Sweep) -> Ladder:
    """The rungs of a sweep with one axis of numbers. Raises ValueError for a rung without an
    escape."""
    rows = []
    for point in sweep.plan.points:
        columns = sweep.columns(point)
        escapes = float(columns["escapes"])
        if not escapes:
            raise ValueError(
                f"no escape at {point.id}: {columns['censored']:g} trajectories were cut off."
            )
        (x,) = sweep.values(point).values()
        rows.append((float(x), log(columns["mean_time"]), escapes, float(columns["censored"])))
    x, slowness, escapes, censored = np.array(sorted(rows)).T
    return Ladder(x, slowness, escapes, censored)


def combined(
    design: np.ndarray, y: np.ndarray, weights: np.ndarray, contrast: Sequence[float]
) -> Estimate:
    """`contrast . coefficients` of the weighted fit of `y` by the columns of `design`, with its
    interval."""
    gram = design.T @ (weights[:, None] * design)
    coefficients = np.linalg.solve(gram, design.T @ (weights * y))
    wanted = np.asarray(contrast, float)
    return around(
        float(wanted @ coefficients), Z * float(np.sqrt(wanted @ np.linalg.solve(gram, wanted)))
    )


def slope(found: Ladder) -> Estimate:
    """Of the straight line through `-log rate` against x."""
    return combined(_line(found.x), found.slowness, found.escapes, (0, 1))


def intercept(found: Ladder) -> Estimate:
    return combined(_line(found.x), found.slowness, found.escapes, (1, 0))


def predicted_slope(found: Ladder, slowness: np.ndarray) -> float:
    """Of the same line through a law's `-log rate`, with the weights of the measurement."""
    return combined(_line(found.x), slowness, found.escapes, (0, 1)).value


def slope_ratio(found: Ladder, slowness: np.ndarray) -> Estimate:
    """The measured slope over the law's."""
    return scaled(slope(found), 1 / predicted_slope(found, slowness))


def quotient(a: Estimate, b: Estimate) -> Estimate:
    """`a / b` of independent estimates, by the delta method."""
    value = a.value / b.value
    return around(value, np.hypot(width(a) / 2 / a.value, width(b) / 2 / b.value) * abs(value))


def pooled(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates, weighted by their precision."""
    weights = np.array([(width(estimate) / 2) ** -2 for estimate in estimates])
    value = float(np.sum(weights * [estimate.value for estimate in estimates]) / weights.sum())
    return around(value, float(weights.sum() ** -0.5))


def bend(found: Ladder) -> Estimate:
    """How far the points are from a straight line: the slope at the upper end less that at the
    lower, over the slope in the middle, of the weighted parabola. 0 for a line; needs four
    rungs."""
    u = 2 * (found.x - found.x.mean()) / np.ptp(found.x)
    design = np.stack([np.ones_like(u), u, u * u], 1)
    curve = combined(design, found.slowness, found.escapes, (0, 0, 1))
    middle = combined(design, found.slowness, found.escapes, (0, 1, 0)).value
    ends = float(u.max() - u.min())
    return scaled(curve, 2 * ends / middle)


def power(found: Ladder, start: float = 1.0) -> Estimate:
    """p of the weighted fit `-log rate = a + b x^p`, with its interval by the delta method; needs
    four rungs."""
    from scipy.optimize import curve_fit  # slow to import

    x = found.x / np.exp(np.mean(np.log(found.x)))

    def curve(x: np.ndarray, a: float, b: float, p: float) -> np.ndarray:
        return a + b * (x**p - 1) / p

    first = np.polyfit(np.log(x), found.slowness, 1)
    best, covariance, *_ = curve_fit(
        curve,
        x,
        found.slowness,
        p0=(first[1], first[0], start),
        sigma=found.error,
        absolute_sigma=True,
        maxfev=20_000,
    )
    return around(float(best[2]), Z * float(covariance[2, 2] ** 0.5))


def rows(found: Ladder, axis: str) -> list[dict[str, float]]:
    """The ladder as a table for `data.json`."""
    columns = zip(found.x, found.slowness, found.error, found.escapes, found.censored, strict=True)
    return [
        {axis: x, "-log rate": y, "standard error": e, "escapes": n, "censored": c}
        for x, y, e, n, c in columns
    ]


def _line(x: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(x), x], 1)


@dataclass(frozen=True)
class Series:
    """Points of one kind with their fitted line; `law` is a theory's `-log rate` at the same x,
    drawn dashed; `look` is the number of its colour and marker, by default its place in the
    panel."""

    label: str
    found: Ladder
    law: np.ndarray | None = None
    look: int | None = None


@dataclass(frozen=True)
class Panel:
    """One axes: what is on x, its series, a title."""

    x: str
    series: Sequence[Series]
    title: str = ""


def ladder_figure(
    panels: Sequence[Sequence[Panel]], y: str = "−log rate (natural log)"
) -> "Figure":
    """Panels in rows; each series with 95% intervals and its weighted straight line."""
    columns = len(panels[0])
    figure, axes = new_figure(len(panels), columns, width=3.3, height=2.9, legend=0.5)
    for ax, panel in zip(axes, [panel for row in panels for panel in row], strict=True):
        _draw(ax, panel)
    for ax in axes[::columns]:
        ax.set_ylabel(y)
    shared_legend(figure, axes)
    return figure


def _draw(ax: "Axes", panel: Panel) -> None:
    for k, series in enumerate(panel.series):
        found, style = series.found, look(k if series.look is None else series.look)
        points(ax, found.x, found.estimates, ls="", ms=4.5, label=series.label, **style)
        ends = np.array([found.x.min(), found.x.max()])
        ax.plot(
            ends, intercept(found).value + slope(found).value * ends, color=style["color"], lw=1
        )
        if series.law is not None:
            ax.plot(found.x, series.law, color=style["color"], lw=1, ls=(0, (4, 2)))
    ax.set_xlabel(panel.x)
    ax.set_title(panel.title, fontsize="medium")
