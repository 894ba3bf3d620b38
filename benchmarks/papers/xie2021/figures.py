"""The study's figures: `-log rate` along ladders with intervals and lines, and clouds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .ladders import Ladder, Z, intercept, slope

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#2b83ba", "#d95f02", "#1b9e77", "#b0569b")
MARKERS = ("o", "s", "D", "^")


@dataclass(frozen=True)
class Series:
    """Points of one kind with their fitted line; `law` is a theory's `-log rate` at the same x, drawn dashed; `look` is the
    number of its colour and marker, by default its place in the panel."""

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


def grid(rows: int, columns: int, *, width: float = 3.3, height: float = 2.9) -> "tuple[Figure, np.ndarray]":
    """A figure of `rows` by `columns` axes, not tied to any screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def ladder_figure(panels: Sequence[Sequence[Panel]], y: str = "−log rate (natural log)") -> "Figure":
    """Panels in rows; each series with 95% intervals and its weighted straight line."""
    figure, axes = grid(len(panels), len(panels[0]))
    for row, line in zip(axes, panels, strict=True):
        for ax, panel in zip(row, line, strict=True):
            _draw(ax, panel)
        row[0].set_ylabel(y)
    shared_legend(figure, axes.ravel())
    return figure


def _draw(ax: "Axes", panel: Panel) -> None:
    for k, series in enumerate(panel.series):
        found = series.found
        k = k if series.look is None else series.look
        ax.errorbar(
            found.x,
            found.slowness,
            Z * found.error,
            ls="",
            ms=4.5,
            capsize=2,
            label=series.label,
            color=COLOURS[k],
            marker=MARKERS[k],
        )
        ends = np.array([found.x.min(), found.x.max()])
        ax.plot(ends, intercept(found).value + slope(found).value * ends, color=COLOURS[k], lw=1)
        if series.law is not None:
            ax.plot(found.x, series.law, color=COLOURS[k], lw=1, ls=(0, (4, 2)))
    ax.set_xlabel(panel.x)
    ax.set_title(panel.title, fontsize="medium")


def shared_legend(figure: "Figure", axes: Any, columns: int = 2) -> None:
    """One legend above all axes: each name once."""
    found: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(
            list(found.values()),
            list(found),
            loc="outside upper center",
            ncols=columns,
            frameon=False,
            fontsize="small",
        )
