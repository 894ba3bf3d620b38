"""What the figures of this study have in common."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from levysde.stats import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(rows: int, columns: int) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4 * columns, 4.4 * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


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
    """Estimates with their intervals against x, a line each; both axes in `scale`. `first_large`: so that lines which
    agree with the first do not hide it. `first`: number of the first line's colour and marker."""
    for k, (label, (x, estimates)) in enumerate(lines.items(), first):
        value = np.array([e.value for e in estimates])
        low, high = (np.array([getattr(e, end) for e in estimates]) for end in ("low", "high"))
        large = first_large and k == first
        size = {"ms": 7 if large else 4, "lw": 2.5 if large else 1, "zorder": 2 if large else 3}
        style: dict[str, Any] = {"marker": "osD^v<>p"[k % 8], "capsize": 2, "color": f"C{k % 10}"} | size
        ax.errorbar(
            x, value, yerr=[value - np.minimum(low, value), np.maximum(high, value) - value], label=label, **style
        )
    ax.set_xscale(scale)
    ax.set_yscale(scale)
    ticks = sorted({float(v) for x, _ in lines.values() for v in x})
    ax.set_xticks(ticks, [f"{v:g}" for v in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if legend:
        ax.legend(fontsize=7, frameon=False)
