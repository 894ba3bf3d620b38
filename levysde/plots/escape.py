"""Survival curves, ratios over noise levels, and the stability plot of the Hill estimate.

Each function draws on the axes that it is given, or makes its own, and returns them. Colours and
markers are those of `style.py`; nothing is simulated, shown, or set globally."""

from typing import TYPE_CHECKING, Any

import numpy as np

from levysde import errors, stats
from levysde.escape import EscapeResult, Status
from levysde.plots.style import COLOURS, LINES, MARKERS, axes, drawn, ink, legend
from levysde.theory import EscapeLaw
from levysde.types import Arg, Number, Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_REFERENCE, _SERIES = "levysde: reference", "levysde: series"  # how lines are found again
_MOST_TICKS = 8  # up to here every level is a tick,
_TICK_GAP = 0.04  # but of two closer than this share of the axis only the first


def survival(
    result: Arg[EscapeResult],
    law: Arg[EscapeLaw | None] = None,
    *,
    ax: "Axes | None" = None,
    label: Arg[str | None] = "measured",
    confidence: Arg[Number] = 0.95,
    artist: Arg[dict[str, Any] | None] = None,
) -> "Axes":
    """Draw the share of trajectories still inside against time (Kaplan-Meier, with its pointwise
    band), and the law's `exp(-rate t)`.

    Args:
        result: an `EscapeResult`; rows that became NaN or did not finish are left out.
        law: an `EscapeLaw`, or None.
        ax: axes to draw on; a new figure by default.
        label: name of the curve in the legend; with a law, the ratio of the means is added.
        confidence: coverage of the band and of the ratio's interval.
        artist: keywords for the curve, as for `Axes.step`, for example `{"color": "k"}`.

    Returns:
        The axes: time in the result's unit against a logarithmic share.

    Raises:
        TypeError: arguments of another kind.
        ValueError: no row can be used, the law's unit is not the result's, or what matplotlib has
            against `artist`.
    """
    errors.instance("result", result, EscapeResult, "plots.survival(result, law)")
    errors.instance("law", law, EscapeLaw | None, "plots.survival(result, law)")
    unit = result.info.unit
    if law is not None and law.unit != unit:
        raise ValueError(
            f"the result counts {unit} and the law {law.unit}. Give both the same clock."
        )
    used = (result.status == Status.EXITED) | (result.status == Status.CENSORED)
    if not used.any():
        raise ValueError(
            "no trajectory left or was censored: there is nothing to draw. Run it longer."
        )
    ax = axes(ax, artist, label=label)
    time, exited = result.time[used], result.exited[used]
    curve = stats.kaplan_meier(time, exited, confidence=confidence)
    if law is not None:
        mean = stats.mean_time(time, exited, confidence=confidence)
        ends = ", ".join(f"{end * law.rate:.3f}" for end in (mean.low, mean.high))
        label = f"{label}, {exited.sum()} exits:\nratio {mean.value * law.rate:.3f} [{ends}]"
    t, share, low, high = (
        np.concatenate([[start], values])
        for start, values in (
            (0.0, curve.time),
            (1.0, curve.survival),
            (1.0, curve.low),
            (1.0, curve.high),
        )
    )
    first = not _series(ax)
    (line,) = drawn(
        ax.step,
        t,
        share,
        where="post",
        artist=artist,
        color=_next_colour(ax),
        linewidth=1.6,
        label=label,
    )
    line.set_gid(_SERIES)
    ax.fill_between(t, low, high, step="post", color=line.get_color(), alpha=0.3, linewidth=0)
    if law is not None:
        _reference_curve(ax, law, float(t[-1]))
    bottom, last = 0.5 / len(time), 1.02 * t[-1]
    ax.set(yscale="log", xlabel=f"time ({unit})", ylabel="share still inside")
    ax.set_ylim(bottom if first else min(bottom, ax.get_ylim()[0]), 1.5)
    ax.set_xlim(0, last if first else max(last, ax.get_xlim()[1]))
    _legend(ax)
    return ax


def ratios(
    abscissa: Arg[Numbers],
    ratios: Arg[Numbers],
    intervals: Arg[Numbers],
    *,
    label: Arg[str | None] = None,
    xlabel: Arg[str] = "noise amplitude ε",
    ax: "Axes | None" = None,
    artist: Arg[dict[str, Any] | None] = None,
) -> "Axes":
    """Measured over predicted mean, level by level, with error bars and a line at 1, where theory
    and runs agree.

    Call it again with the same `ax` for a second series.

    Args:
        abscissa: what is lowered from level to level (epsilon, or the predicted mean in steps),
            positive, shape `(n,)`.
        ratios: measured over predicted mean, shape `(n,)`.
        intervals: their lower and upper ends, shape `(n, 2)`.
        label: the series' name in the legend.
        xlabel: text below the abscissa, with its unit.
        ax: axes to draw on; a new figure by default.
        artist: keywords for the points, as for `Axes.errorbar`.

    Returns:
        The axes, with a logarithmic abscissa.

    Raises:
        TypeError, ValueError: arrays of something else than numbers, shapes that do not fit, an
            `abscissa` that is not positive and finite; what matplotlib has against `artist`.
    """
    abscissa = errors.reals("abscissa", abscissa)
    ratios, intervals = (  # infinite where nothing left
        errors.numeric(name, errors.concrete(name, values), example).astype(float)
        for name, values, example in (
            ("ratios", ratios, "ratios=[1.0, 0.9]"),
            ("intervals", intervals, "intervals=[(0.9, 1.1), (0.8, 1.0)]"),
        )
    )
    if (
        abscissa.ndim != 1
        or not abscissa.size
        or ratios.shape != abscissa.shape
        or intervals.shape != (abscissa.size, 2)
    ):
        raise ValueError(
            "abscissa, ratios and intervals must have shapes (n,), (n,) and (n, 2), "
            f"not {abscissa.shape}, {ratios.shape} and {intervals.shape}."
        )
    if not (abscissa > 0).all():
        raise ValueError(
            f"abscissa must be positive and finite, for a logarithmic axis, not {abscissa}."
        )
    ax = axes(ax, artist, label="" if label is None else label, xlabel=xlabel)
    bars = drawn(
        ax.errorbar,
        abscissa,
        ratios,
        yerr=np.abs(intervals.T - ratios),
        artist=artist,
        color=_next_colour(ax),
        marker=MARKERS[_series(ax) % len(MARKERS)],
        linewidth=1.4,
        capsize=3,
        label=label,
    )
    bars.lines[0].set_gid(_SERIES)
    if not any(line.get_gid() == _REFERENCE for line in ax.lines):
        ax.axhline(1.0, color=ink(ax), linewidth=1.0, linestyle=":", gid=_REFERENCE)
    ax.set(xscale="log", xlabel=xlabel, ylabel="measured over predicted mean")
    levels = np.unique(
        np.concatenate([line.get_xdata() for line in ax.lines if line.get_gid() == _SERIES])
    )
    levels = levels[np.diff(np.log(levels), prepend=-np.inf) > _TICK_GAP * np.ptp(np.log(levels))]
    if len(levels) <= _MOST_TICKS:
        ax.set_xticks(levels, [f"{level:.4g}" for level in levels])
        ax.minorticks_off()
    _legend(ax)
    return ax


def _legend(ax: "Axes") -> None:
    """A legend, unless no series has a name: matplotlib hides names that begin with "_"."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False)


def _series(ax: "Axes") -> int:
    """The number of series drawn on these axes so far."""
    return sum(line.get_gid() == _SERIES for line in ax.lines)


def _next_colour(ax: "Axes") -> str:
    return COLOURS[_series(ax) % len(COLOURS)]


def _reference_curve(ax: "Axes", law: EscapeLaw, last: float) -> None:
    """Draw the law up to time `last`; the legend names each mean once."""
    label = f"law, mean {law.mean:.4g}"
    if any(line.get_label() == label for line in ax.lines):
        label = "_" + label
    t = np.linspace(0, last, 200)
    ax.plot(t, law.survival(t), "--", color=ink(ax), linewidth=1.2, label=label, gid=_REFERENCE)


def hill(
    curve: Arg[stats.HillCurve],
    *,
    stable: Arg[Number | None] = None,
    ax: "Axes | None" = None,
    label: Arg[str | None] = "Hill",
    artist: Arg[dict[str, Any] | None] = None,
) -> "Axes":
    """Draw the Hill estimate against the number of largest values used, its pointwise band, and the
    k chosen by `stats.hill`.

    A power tail gives a level stretch. A stable law gives the curve drawn for `stable`, which is
    level only far to the left if the index is near 2. Call it again with the same `ax` for a second
    sample.

    Args:
        curve: a `HillCurve`, from `stats.hill_curve(x)`.
        stable: an index from 0.5 to 2, or None: draws what Hill reads on the exact symmetric stable
            law of that index.
        ax: axes to draw on; a new figure by default.
        label: the curve's name in the legend.
        artist: keywords for the curve, as for `Axes.plot`, for example `{"color": "k"}`.

    Returns:
        The axes: k on a logarithmic axis, the index on a linear one.

    Raises:
        TypeError: `curve` is not a `HillCurve`.
        ValueError: `stable` outside its range.
    """
    errors.instance("curve", curve, stats.HillCurve, "plots.hill(stats.hill_curve(x))")
    share = curve.k / curve.num_values
    inside = share >= 1e-4  # where the table of exact readings begins
    exact = None
    if stable is not None:
        stable = errors.positive_real("stable", stable)
        if not 0.5 <= stable <= 2:
            raise ValueError(
                f"stable must be an index from 0.5 to 2, not {stable:g}. For example stable=1.5."
            )
        exact = np.array([stats.hill_on_stable(stable, float(s)) for s in share[inside]])
    ax = axes(ax, artist, label=label)
    number = _series(ax)
    (line,) = drawn(
        ax.plot,
        curve.k,
        curve.alpha,
        artist=artist,
        color=COLOURS[number % len(COLOURS)],
        linestyle=LINES[number % len(LINES)],
        linewidth=1.6,
        label=label,
    )
    line.set_gid(_SERIES)
    ax.fill_between(curve.k, curve.low, curve.high, color=line.get_color(), alpha=0.25, linewidth=0)
    at = np.interp(curve.chosen, curve.k, curve.alpha)
    ax.plot(
        curve.chosen,
        at,
        MARKERS[number % len(MARKERS)],
        color=line.get_color(),
        markeredgecolor=ink(ax),
        markersize=8,
        label=f"{label}: k = {curve.chosen} chosen, index {at:.3g}",
    )
    if exact is not None:
        ax.plot(
            curve.k[inside],
            exact,
            color=ink(ax),
            linewidth=1.2,
            linestyle=":",
            label=f"exact stable law, {stable:g}",
        )
    ax.set(xscale="log", xlabel="largest values used, k", ylabel="tail index")
    legend(ax)
    return ax
