"""Figures of a sweep's report, each as one inline SVG.

An SVG takes the colour of the page's text, so it can be read on light and dark pages. Text stays
text. All panels have one size, so that a page can put them side by side. Series have the colours
and markers of `plots`; markers distinguish them without colour.
"""

import contextlib
import html
import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from levysde import plots, stats
from levysde.escape import Status
from levysde.plots import COLOURS, MARKERS
from levysde.sweeps.fits import Line, ScalingFit, groups_along, held_fixed
from levysde.sweeps.rows import AxisColumn, Row, SweepTable, number, shortened, words_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from levysde.sweeps.sweep import Sweep

MOST_SERIES = len(COLOURS)
MOST_CURVES = 9
_INK = "#010203"  # drawn nowhere else, and replaced by the page's text colour
_LINE = 0.19  # inches of a line of a legend
# inches; on a phone a panel is as wide as the page and its letters hardly shrink
_SIZE = (4.4, 3.5)
_STEPS = 160  # of a survival curve, enough for any eye
_MOST_TICKS = 7
_TITLE_WIDTH = 44  # letters of a line
_CLOSEST = 0.09  # of an axis's length: ticks nearer than this run into each other


@dataclass(frozen=True)
class Panel:
    """One figure: its SVG, and its title."""

    svg: str
    title: str


@dataclass(frozen=True)
class Series:
    """Points of one line: its rows by rising x, what is held fixed, and its fit where there is
    one."""

    rows: list[Row]
    label: str
    fit: ScalingFit | None = None


def series_along(
    table: SweepTable, axis: AxisColumn, fits: Sequence[ScalingFit], lines: Sequence[Line]
) -> list[Series]:
    """All lines along an axis, also those too short to be fitted; `fits` are those of `lines`."""
    fit_of = {row.index: fit for fit, line in zip(fits, lines, strict=True) for row in line.rows}
    groups, along = groups_along(table, axis.name)
    found = []
    for rows in groups:
        fit = next((fit_of[row.index] for row in rows if row.index in fit_of), None)
        found.append(Series(rows, words_of(held_fixed(table, rows[0], axis.name, along)), fit))
    return found


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, evenly chosen, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[k] for k in np.linspace(0, len(items) - 1, most).round().astype(int)]


def mean_panel(
    series: Sequence[Series], axis: AxisColumn, unit: str, name: str, form: str = "power"
) -> Panel:
    """Mean escape time along an axis with its intervals, the law (dashed) and the fitted line
    (solid)."""
    with _sheet(name) as (figure, ax):
        for k, one in enumerate(evenly(series, MOST_SERIES)):
            colour = COLOURS[k]
            rows = [row for row in one.rows if np.isfinite(row.get("mean_time"))]
            mean, low, high = (
                np.array([row.get(f"mean_time{end}") for row in rows])
                for end in ("", "_low", "_high")
            )
            ends = [np.where(np.isfinite(end), end, mean) for end in (low, high)]
            ax.errorbar(
                _places(rows, axis, form),
                mean,
                yerr=np.abs(np.array(ends) - mean),
                fmt=MARKERS[k],
                color=colour,
                markersize=4.5,
                capsize=2.5,
                elinewidth=1.2,
                label=one.label or "measured",
            )
            _law(ax, one, axis, form)
            _fitted(ax, one, axis, form, colour)
        ax.set(yscale="log", ylabel=f"mean escape time ({unit})")
        _ticks(ax.yaxis, ax.get_ylim())
        _x_axis(ax, axis, form, [row for one in series for row in one.rows])
        _legend(ax, series)
        return Panel(_svg(figure, name, f"mean escape time along {axis.name}"), axis.name)


def ratio_panel(series: Sequence[Series], axis: AxisColumn, name: str) -> Panel:
    """Measured over predicted mean along an axis, with a line at 1 where they agree."""
    shown, names = evenly(series, MOST_SERIES), []
    with _sheet(name) as (figure, ax):
        logarithmic = axis.is_numeric and min(axis.labels) > 0
        aside = _aside(axis, logarithmic)
        for k, one in enumerate(shown):
            rows = [
                r
                for r in one.rows
                if np.isfinite([r.get("ratio"), r.get("ratio_low"), r.get("ratio_high")]).all()
            ]
            if not rows:
                continue
            x, off = _places(rows, axis, "power"), aside * (k - (len(shown) - 1) / 2)
            ratios = np.array([row.get("ratio") for row in rows])
            ends = np.array([(row.get("ratio_low"), row.get("ratio_high")) for row in rows])
            look = {"color": COLOURS[k], "marker": MARKERS[k], "markersize": 4.5, "capsize": 2.5}
            look |= {} if axis.is_numeric else {"linestyle": "none"}
            if logarithmic:
                plots.ratios(x * np.exp(off), ratios, ends, ax=ax, artist=look)
            else:
                ax.errorbar(x + off, ratios, yerr=np.abs(ends.T - ratios), **look)
            names.append((k, one.label or "measured"))
        # after the last `plots.ratios`, which puts what has a name into a legend on the data
        for k, label in names:
            ax.plot([], [], color=COLOURS[k], marker=MARKERS[k], markersize=4.5, label=label)
        if not logarithmic:
            ax.axhline(1.0, color=_INK, linewidth=1.0, linestyle=":")
        _x_axis(ax, axis, "power", [row for one in series for row in one.rows])
        about = "measured over predicted mean"
        ax.set_ylabel(about)
        _legend(ax, series)
        return Panel(_svg(figure, name, f"{about} along {axis.name}"), axis.name)


def _aside(axis: AxisColumn, logarithmic: bool) -> float:
    """The offset between the bars of two series at one x, so that they do not hide each other."""
    if not axis.is_numeric:
        return 0.08
    values = np.unique(np.array(axis.labels, float))
    values = np.log(values) if logarithmic else values
    return min(0.015 * float(np.ptp(values)), 0.15 * float(np.diff(values).min(initial=np.inf)))


def survival_panels(sweep: "Sweep", table: SweepTable) -> list[Panel]:
    """The share still inside against time at up to nine points, evenly chosen over the sweep, with
    the law's curve."""
    arrays = sweep.store.arrays
    if "time" not in arrays or "status" not in arrays or "mean_time" not in table.quantities:
        return []
    usable = [row for row in table.done if row.get("escapes") >= 1]
    panels = []
    for k, row in enumerate(evenly(usable, MOST_CURVES)):
        time, status = (np.asarray(arrays[name][row.index]) for name in ("time", "status"))
        used = (status == Status.EXITED) | (status == Status.CENSORED)
        panels.append(
            _survival_panel(row, time[used], status[used] == Status.EXITED, table, f"survival{k}")
        )
    return panels


def _survival_panel(
    row: Row, time: np.ndarray, exited: np.ndarray, table: SweepTable, name: str
) -> Panel:
    curve = stats.kaplan_meier(time, exited)
    kept = _thinned(curve.time, curve.survival)
    t = np.concatenate([[0.0], curve.time[kept]])
    share, low, high = (
        np.concatenate([[1.0], v[kept]]) for v in (curve.survival, curve.low, curve.high)
    )
    lowest = min(share[share > 0].min(), low[low > 0].min(initial=1.0))
    bottom = max(0.5 / len(time), 0.7 * float(lowest))
    # zero has no place on a logarithmic axis
    share, low = np.maximum(share, bottom), np.maximum(low, bottom)
    where = words_of(row.at, [axis.name for axis in table.axes if axis.varies]) or "the point"
    with _sheet(name) as (figure, ax):
        ax.step(t, share, where="post", color=COLOURS[0], linewidth=1.6, label="measured")
        ax.fill_between(t, low, high, step="post", color=COLOURS[0], alpha=0.3, linewidth=0)
        predicted = row.get("predicted_mean")
        if np.isfinite(predicted):
            span = np.linspace(0, t[-1], 60)
            ax.plot(span, np.exp(-span / predicted), "--", color=_INK, linewidth=1.2, label="law")
        ax.set(
            yscale="log",
            ylim=(bottom, 1.5),
            xlim=(0, 1.02 * t[-1]),
            xlabel=f"time ({table.quantities['mean_time'][0]})",
            ylabel="share still inside",
        )
        _ticks(ax.yaxis, (bottom, 1.5))
        ax.set_title("\n".join(textwrap.wrap(where, _TITLE_WIDTH)[:3]), fontsize=10)
        return Panel(_svg(figure, name, f"survival at {where}"), where)


def _thinned(time: np.ndarray, survival: np.ndarray) -> np.ndarray:
    """The steps of a curve to draw: all of a short one, else evenly spaced ones in time and in log
    share."""
    if len(time) <= 2 * _STEPS:
        return np.arange(len(time))
    depth = -np.log(np.maximum(survival, 0.5 / len(time)))
    even = [np.searchsorted(v, np.linspace(v[0], v[-1], _STEPS)) for v in (time, depth)]
    last = len(time) - 1
    return np.unique(np.concatenate([*even, [0, last - 1, last]]).clip(0, last))


def _places(rows: Sequence[Row], axis: AxisColumn, form: str) -> np.ndarray:
    """The rows' x coordinates: the value, 1 over it, or the number of the word."""
    if not axis.is_numeric:
        order = {label: float(k) for k, label in enumerate(dict.fromkeys(axis.labels))}
        return np.array([order[row.at[axis.name]] for row in rows])
    values = np.array([row.at[axis.name] for row in rows], float)
    return 1 / values if form == "exponential" else values


def _law(ax: "Axes", one: Series, axis: AxisColumn, form: str) -> None:
    rows = [row for row in one.rows if np.isfinite(row.get("predicted_mean"))]
    if not rows:
        return
    look: dict[str, Any] = (
        {"linestyle": "--"} if axis.is_numeric else {"linestyle": "none", "marker": "_"}
    )
    look |= {"color": _INK, "linewidth": 1.1, "markersize": 16, "label": "law", "zorder": 1.5}
    ax.plot(_places(rows, axis, form), [row.get("predicted_mean") for row in rows], **look)


def _fitted(ax: "Axes", one: Series, axis: AxisColumn, form: str, colour: str) -> None:
    if one.fit is None or one.fit.form != form:
        return
    ends = np.array([one.fit.low, one.fit.high])
    x = ends if form == "power" else 1 / ends
    ax.plot(x, one.fit.predict(ends), color=colour, linewidth=1.1, alpha=0.8)


def _x_axis(ax: "Axes", axis: AxisColumn, form: str, rows: Sequence[Row]) -> None:
    if not axis.is_numeric:
        words = list(dict.fromkeys(axis.labels))
        slanted = sum(map(len, words)) > 30
        look: dict[str, Any] = (
            {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        )
        ax.set_xticks(range(len(words)), [shortened(word, 16) for word in words], **look)
        _taller(ax, 0.6 * slanted)
        ax.set_xlim(-0.5, len(words) - 0.5)
        ax.set_xlabel(axis.setting)
        return
    if form == "exponential":
        ax.set_xlabel(f"1 / {axis.name}")
        ax.xaxis.set_major_formatter(lambda value, _: number(value))
        return
    values = np.unique([row.at[axis.name] for row in rows]).astype(float)
    if values[0] > 0:
        ax.set_xscale("log")
        _ticks(ax.xaxis, ax.get_xlim(), values)
    ax.set_xlabel(axis.name)


def _ticks(axis: Any, limits: tuple[float, float], values: np.ndarray | None = None) -> None:
    """Ticks of a logarithmic axis: at few `values` themselves, else at round numbers."""
    from matplotlib import ticker  # slow to import

    axis.set_minor_locator(ticker.NullLocator())
    axis.set_major_formatter(lambda value, _: number(value, 3))
    if values is not None and 1 < len(values) <= _MOST_TICKS:
        logs = np.log(values)
        if (np.diff(logs) > _CLOSEST * np.ptp(logs)).all():
            axis.set_major_locator(ticker.FixedLocator(values.tolist()))
            return
    low, high = limits
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    if len(decades) > _MOST_TICKS:
        return  # the locator of logarithmic axes leaves out some powers of ten
    ticks = decades
    for digits in ((1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0,)):
        ticks = np.sort(np.outer(10**decades, digits).ravel())
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        if len(ticks) <= _MOST_TICKS:
            break
    axis.set_major_locator(
        ticker.FixedLocator(ticks.tolist()) if len(ticks) > 2 else ticker.MaxNLocator(4)
    )


def _legend(ax: "Axes", series: Sequence[Series]) -> None:
    """A legend below the axes, where it hides no data."""
    handles, labels = ax.get_legend_handles_labels()
    first = {label: handle for handle, label in reversed(list(zip(handles, labels, strict=True)))}
    names = list(dict.fromkeys(labels))
    if len(names) < 2 and len(series) < 2:
        return
    columns = 1 if max(map(len, names)) > 26 else 2
    figure = _taller(ax, _LINE * (-(-len(names) // columns) - 2))
    figure.legend(
        [first[n] for n in names],
        names,
        loc="outside lower center",
        ncols=columns,
        fontsize=9,
        frameon=False,
    )


def _taller(ax: "Axes", inches: float) -> "Figure":
    """The figure, made taller, so that the axes keep their height when a legend is added."""
    figure: Any = ax.get_figure(root=True)
    figure.set_figheight(figure.get_figheight() + max(inches, 0.0))
    return figure


@contextlib.contextmanager
def _sheet(name: str) -> Iterator[tuple["Figure", "Axes"]]:
    """A figure with one pair of axes, drawn in the colour that `_svg` replaces. Settings are
    restored at the end."""
    import matplotlib as mpl  # slow to import
    from matplotlib.figure import Figure

    ink = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
    )
    settings: Any = ink | {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 10,
        "font.family": "sans-serif",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": _INK,
        "grid.alpha": 0.12,
        "text.parse_math": False,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        # the browser's font has these glyphs
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure = Figure(figsize=_SIZE, layout="constrained")
        yield figure, figure.subplots()


def _svg(figure: "Figure", name: str, about: str) -> str:
    """The figure as a transparent `<svg>` element with unique ids and the page's text colour."""
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # the page says how lines join
    text = re.sub(r"<!--.*?-->|<style.*?</style>", "", text, flags=re.DOTALL)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r'(\bid=")', rf"\1{name}-", body)
    body = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', body)
    body = body.replace("url(#", f"url(#{name}-")
    body = re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), body)
    body = body.replace(_INK, "currentColor")
    return f'<svg {box[0]} role="img" aria-label="{html.escape(about, quote=True)}">{body.strip()}'
