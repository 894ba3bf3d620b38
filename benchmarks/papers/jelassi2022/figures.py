"""The figures of the study. Bands and bars are 95% intervals of means over seeds."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..figures import COLOURS, legend_below, look, points
from .numbers import over_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def bars(ax: "Axes", x: Any, values: np.ndarray, k: int, label: str) -> None:
    """Means over the last axis with intervals against x, as series number k."""
    points(ax, x, map(over_runs, values), lw=1.2, label=label, **look(k))


def band(ax: "Axes", x: np.ndarray, values: np.ndarray, k: int, style: Any, label: str) -> None:
    """Mean over runs `(runs, records)` with its interval as a band."""
    found = [over_runs(one) for one in values.T]
    ax.plot(x, [one.value for one in found], color=COLOURS[k], linestyle=style, label=label)
    ax.fill_between(
        x, [f.low for f in found], [f.high for f in found], color=COLOURS[k], alpha=0.2, linewidth=0
    )


def momentum_axis(*many: "Axes") -> None:
    """The horizontal axis of a ladder in 1 - gamma."""
    for ax in many:
        ax.set_xscale("log")
        ax.invert_xaxis()
        ax.set_xlabel("1 - gamma")
        legend_below(ax)


def plain_log(ax: "Axes") -> None:
    """A logarithmic vertical axis over about one decade, its ticks as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
