"""What the papers' figures share: figures that belong to no screen, estimates with their intervals,
legends beside the axes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from levysde.plots import COLOURS as COLOURS, MARKERS as MARKERS
from levysde.stats import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(
    rows: int, columns: int, *, width: float = 5.4, height: float = 4.4, legend: float = 0.0
) -> "tuple[Figure, list[Axes]]":
    """A figure and its axes, row by row; `width` and `height` of each in inches, `legend` for one
    outside."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + legend), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def look(k: int) -> dict[str, Any]:
    """Colour and marker of series number k."""
    return {"color": COLOURS[k], "marker": MARKERS[k]}


def points(ax: "Axes", x: Any, found: Iterable[Estimate], **artist: Any) -> None:
    """Estimates with their intervals against x."""
    found = list(found)
    value = np.array([e.value for e in found])
    low, high = (np.array([getattr(e, end) for e in found]) for end in ("low", "high"))
    ends = [value - np.minimum(low, value), np.maximum(high, value) - value]
    style: dict[str, Any] = {"capsize": 2, "ms": 4} | artist
    ax.errorbar(x, value, yerr=ends, **style)


def curves(
    ax: "Axes",
    lines: Mapping[str, tuple[Sequence[float], Sequence[Estimate]]],
    xlabel: str,
    ylabel: str,
    *,
    scale: str = "log",
    legend: bool = True,
    first_large: bool = False,
    first: int = 0,
) -> None:
    """Estimates against x, a line each; both axes in `scale`, with a tick at each x. `first_large`:
    so that lines which agree with the first do not hide it. `first`: number of the first line's
    colour and marker."""
    for k, (label, (x, estimates)) in enumerate(lines.items(), first):
        large = first_large and k == first
        size = {"ms": 7 if large else 4, "lw": 2.5 if large else 1, "zorder": 2 if large else 3}
        points(ax, x, estimates, label=label, marker="osD^v<>p"[k % 8], color=f"C{k % 10}", **size)
    ax.set(xscale=scale, yscale=scale, xlabel=xlabel, ylabel=ylabel)
    ticks = sorted({float(v) for x, _ in lines.values() for v in x})
    ax.set_xticks(ticks, [f"{v:g}" for v in ticks])
    ax.set_xticks([], minor=True)
    if legend:
        ax.legend(fontsize=7, frameon=False)


def shared_legend(
    figure: "Figure", axes: "Iterable[Axes]", columns: int = 2, **artist: Any
) -> None:
    """One legend outside all axes, by default above them: each name once."""
    found: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    artist = {"loc": "outside upper center", "fontsize": "small"} | artist
    if found:
        figure.legend(list(found.values()), list(found), ncols=columns, frameon=False, **artist)


def legend_below(ax: "Axes", columns: int = 2) -> None:
    """The legend under the axes, where no data are."""
    ax.legend(
        fontsize="small",
        frameon=False,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=columns,
    )


def plain_ticks(axis: Any, values: Sequence[float]) -> None:
    """Ticks at these values, written as plain numbers, and no others; `axis` is `ax.xaxis` or
    `ax.yaxis`."""
    axis.set_ticks(values, [f"{v:g}" for v in values])
    axis.set_ticks([], minor=True)
