"""Figure of a training run: what was measured at its checkpoints, over the iterations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from levysde import errors, networks, stats
from levysde.plots.style import COLOURS, MARKERS, axes, drawn, ink, legend
from levysde.types import Arg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE = 20  # ratio of the last iteration to the first above 0, from which the axis is logarithmic
_NAMES = {
    "sharpness": "sharpness",
    "batch_sharpness": "batch sharpness",
    "preconditioned_sharpness": "preconditioned sharpness",
}
# learning rate times the limit of stability: of gradient descent, and of ADAM with b1 = 0.9
_LIMITS = {"sgd": 2.0, "adam": 38.0}


def track(found: Arg[networks.Track], *, artist: Arg[dict[str, Any] | None] = None) -> "Figure":
    """Draw a training run on one page: loss, predicted escape time, sharpness, and tail index with
    the class of the noise, each against the iteration.

    The dotted line beside the sharpness is the limit of stability at the learning rate eta: 2 / eta
    for the sharpness and the batch sharpness of SGD, 38 / eta for the preconditioned sharpness of
    ADAM with betas 0.9 and 0.999.

    Args:
        found: a `Track`, from `networks.track`.
        artist: keywords for all lines, as for `Axes.errorbar`, for example `{"linewidth": 1}`.

    Returns:
        A figure of pyplot, 10 by 7 inches.

    Raises:
        TypeError: `found` is not a `Track`, or arguments of another kind.
        ValueError: what matplotlib has against `artist`.
    """
    errors.instance("found", found, networks.Track, "plots.track(networks.track(...))")
    import matplotlib.pyplot as plt  # slow to import
    from matplotlib.ticker import MaxNLocator

    figure, parts = plt.subplots(2, 2, layout="constrained", figsize=(10, 7), sharex=True)
    # the two with a legend below them come last
    loss, escape, sharpness, tail = (axes(ax, artist) for ax in parts.flat)
    _line(loss, found, found.loss, artist)
    loss.set(ylabel="loss")
    _sharpness(sharpness, found, artist)
    _tail(tail, found, artist)
    _line(escape, found, found.escape, artist)
    if np.isfinite([e.value for e in found.escape]).any():
        escape.set_yscale("log")
    else:
        where = {"transform": escape.transAxes, "ha": "center", "va": "center"}
        escape.text(0.5, 0.5, "no escape times: see the warnings", fontsize="small", **where)
        escape.set_yticks([])
    escape.set(ylabel="predicted mean escape time\n(iterations)")
    for ax in (sharpness, tail):
        ax.set(xlabel="iteration")
    first, last = found.iteration[found.iteration > 0][:1].sum(), found.iteration[-1]
    if last > _WIDE * first:
        loss.set_xscale("symlog", linthresh=first)  # the axes share it
        loss.set_xlim(-0.2 * first if found.iteration[0] == 0 else first / 1.3, 1.3 * last)
    else:
        loss.xaxis.set_major_locator(MaxNLocator(integer=True))
    rate = "" if found.learning_rate is None else f", learning rate {found.learning_rate:g}"
    name = found.optimizer if found.optimizer == "optax" else found.optimizer.upper()
    figure.suptitle(f"{name}{rate}, batches of {found.batch_size}")
    return figure


def _line(
    ax: "Axes",
    found: networks.Track,
    values: np.ndarray | Sequence[stats.Estimate],
    artist: Any,
    series: int = 0,
    **look: Any,
) -> None:
    """Numbers, or estimates with their intervals, against the iteration."""
    spread: Any = None
    if isinstance(values, np.ndarray):
        values = _finite(values)
    else:
        values, low, high = (
            _finite(np.array([getattr(e, end) for e in values])) for end in ("value", "low", "high")
        )
        ends = np.abs([values - low, high - values])
        spread = np.where(np.isnan(ends).any(0), 0.0, ends)  # one without an end has no bar
    given = {"color": COLOURS[series], "marker": MARKERS[series], "markersize": 5, "capsize": 2}
    drawn(ax.errorbar, found.iteration, values, yerr=spread, artist=artist, **given | look)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _sharpness(ax: "Axes", found: networks.Track, artist: Any) -> None:
    left_out = {"sgd": "preconditioned_sharpness", "adam": "batch_sharpness"}
    for series, (name, label) in enumerate(_NAMES.items()):
        if left_out.get(found.optimizer) != name:
            _line(ax, found, getattr(found, name), artist, series, label=label)
    limit = _LIMITS.get(found.optimizer)
    if limit is not None and found.learning_rate is not None:
        ax.axhline(
            limit / found.learning_rate,
            color=ink(ax),
            linestyle=":",
            linewidth=1.2,
            label=f"{limit:g} / learning rate",
        )
    ax.set(yscale="log", ylabel="sharpness")
    legend(ax)


def _tail(ax: "Axes", found: networks.Track, artist: Any) -> None:
    """A line through all, and the markers of each class of noise."""
    _line(ax, found, found.tail_index, artist, marker="", color=ink(ax), linewidth=1, zorder=1)
    for number, name in enumerate(dict.fromkeys(n for n in found.noise if n)):
        here = np.array([n == name for n in found.noise])
        ax.plot(
            found.iteration[here],
            np.array([e.value for e in found.tail_index])[here],
            linestyle="none",
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            label=name,
        )
    ax.axhline(2, color=ink(ax), linestyle=":", linewidth=1.2, label="tail index of a Gaussian")
    ax.set(ylabel="tail index of the noise")
    legend(ax)
