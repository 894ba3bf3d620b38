"""Stability plot of the Hill estimate. Drawn on the Axes it is given, or its own, and returned;
nothing is set globally."""

from typing import TYPE_CHECKING, Any

import numpy as np

from levysde import errors, stats
from levysde.plots.style import COLOURS, LINES, MARKERS, axes, drawn, ink, legend
from levysde.types import Arg, Number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SERIES = "levysde: Hill"  # how curves are found again


def hill(
    curve: Arg[stats.HillCurve],
    *,
    stable: Arg[Number | None] = None,
    ax: "Axes | None" = None,
    label: Arg[str | None] = "Hill",
    artist: Arg[dict[str, Any] | None] = None,
) -> "Axes":
    """The Hill estimate against the number of largest values used, its pointwise band, and the k
    chosen by `stats.hill`.

    A power tail shows as a level stretch. A stable law shows as the curve drawn for `stable`, which
    is level only far to the left when the index is near 2. Call it again with the same `ax` for a
    second sample.

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
    number = sum(line.get_gid() == _SERIES for line in ax.lines)
    look: dict[str, Any] = {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINES[number % len(LINES)],
        "linewidth": 1.6,
        "label": label,
    }
    (line,) = drawn(ax.plot, curve.k, curve.alpha, artist=artist, **look)
    line.set_gid(_SERIES)
    ax.fill_between(curve.k, curve.low, curve.high, color=line.get_color(), alpha=0.25, linewidth=0)
    at = np.interp(curve.chosen, curve.k, curve.alpha)
    marker = MARKERS[number % len(MARKERS)]
    chosen = f"{label}: k = {curve.chosen} chosen, index {at:.3g}"
    ax.plot(
        curve.chosen,
        at,
        marker,
        color=line.get_color(),
        markeredgecolor=ink(ax),
        markersize=8,
        label=chosen,
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
    ax.set_xscale("log")
    ax.set_xlabel("largest values used, k")
    ax.set_ylabel("tail index")
    legend(ax)
    return ax
