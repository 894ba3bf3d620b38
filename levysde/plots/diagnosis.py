"""Figures of a diagnosis: spectrum, alignment, tail indices, basin and escape times; single, or all
on one page."""

from typing import TYPE_CHECKING, Any

import numpy as np

from levysde.plots.style import COLOURS, MARKERS, axes, drawn, ink, legend
from levysde.types import Arg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from levysde.networks import Diagnosis

_NEEDED = ("hessian", "covariance", "alignment", "tails", "measures", "predictions")
_LAYERS = 20  # rows of the figure of tail indices
# share of the largest below which noise is rounding, for example along a shift of all logits
_NO_NOISE = 1e-12
_NAMES = {"sgd": "SGD", "adam": "ADAM"}


def _checked(report: Any, name: str) -> Any:
    if not all(hasattr(report, part) for part in _NEEDED):
        raise TypeError(
            f"report must be a Diagnosis, not {type(report).__name__}. For example "
            f"plots.{name}(diagnose(...))."
        )
    return report


def diagnosis(report: Arg["Diagnosis"]) -> "Figure":
    """All figures of a diagnosis on one page: `plots.diagnosis(report).savefig("diagnosis.png")`.

    Args:
        report: a `Diagnosis`, from `diagnose`.

    Returns:
        A figure of pyplot, 13 by 8 inches.

    Raises:
        TypeError: something else.
    """
    _checked(report, "diagnosis")
    import matplotlib.pyplot as plt  # slow to import

    figure, parts = plt.subplot_mosaic(
        [["spectrum", "alignment", "basin"], ["tails", "tails", "escapes"]],
        layout="constrained",
        figsize=(13, 8),
    )
    hessian_spectrum(report, ax=parts["spectrum"])
    noise_alignment(report, ax=parts["alignment"])
    tail_indices(report, ax=parts["tails"])
    basin_masses(report, ax=parts["basin"])
    escape_times(report, ax=parts["escapes"])
    figure.suptitle(
        f"{report.dim:,} parameters, {report.landscape.num_examples:,} examples, batches of "
        f"{report.batch_size}"
    )
    return figure


def hessian_spectrum(
    report: Arg["Diagnosis"], *, ax: "Axes | None" = None, artist: Arg[dict[str, Any] | None] = None
) -> "Axes":
    """Draw the Hessian's eigenvalues against their rank, and the largest of the gradients'
    covariance, on logarithmic axes.

    The line shows the whole spectrum, each eigenvalue over one rank: all eigenvalues if they are
    known, else the largest and, below them, the quadrature of the density. Negative eigenvalues are
    drawn dashed by their absolute value, ranked from the most negative one.

    Args:
        report: a `Diagnosis`.
        ax: axes to draw on; a new figure by default.
        artist: keywords for the line, as for `Axes.step`.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: something else than a diagnosis; what matplotlib has against
            `artist`.
    """
    h, c = _checked(report, "hessian_spectrum").hessian, report.covariance
    ax = axes(ax, artist)
    nodes, counts = _all_eigenvalues(h, report.dim)
    rounding = 1e-6 * np.abs(nodes).max()
    for side, style, name in ((1, "-", "Hessian"), (-1, "--", "Hessian, negative")):
        here = side * nodes > rounding
        if here.any():
            order = np.argsort(side * nodes[here])[::-1]
            values = side * nodes[here][order]
            drawn(
                ax.step,
                0.5 + np.cumsum([0, *counts[here][order]]),
                [*values, values[-1]],
                where="post",
                artist=artist,
                color=COLOURS[0],
                linestyle=style,
                linewidth=1.4,
                label=name,
            )
    for k, (name, values) in enumerate(
        (("Hessian", h.largest), ("gradient covariance", c.eigenvalues))
    ):
        rank = np.arange(1, len(values) + 1)
        # no negative eigenvalue has a place on a logarithmic axis
        ax.plot(
            rank[values > 0],
            values[values > 0],
            MARKERS[k],
            color=COLOURS[k],
            markersize=5,
            label=f"{name}, largest",
        )
    ax.set(xscale="log", yscale="log", xlabel="rank", ylabel="eigenvalue")
    legend(ax, columns=1)  # under its own panel: two would reach into the next one's
    return ax


def _all_eigenvalues(h: Any, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Values, and the number of eigenvalues that each represents. The weights of single eigenvalues
    in the density are random, so the known largest eigenvalues replace its nodes."""
    rest = h.nodes < h.largest[-1]
    if h.exact or not rest.any():
        return h.nodes, dim * h.weights
    share = h.weights[rest] / h.weights[rest].sum()
    return np.concatenate([h.largest, h.nodes[rest]]), np.concatenate(
        [np.ones(len(h.largest)), (dim - len(h.largest)) * share]
    )


def noise_alignment(
    report: Arg["Diagnosis"], *, ax: "Axes | None" = None, artist: Arg[dict[str, Any] | None] = None
) -> "Axes":
    """Draw the gradient noise of one example along the Hessian's sharpest directions against the
    curvature.

    On the dotted line the covariance equals the Hessian; on the dashed line it is the nearest
    multiple.

    Args:
        report: a `Diagnosis`.
        ax: axes to draw on; a new figure by default.
        artist: keywords for the points, as for `Axes.plot`.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: something else than a diagnosis; what matplotlib has against
            `artist`.
    """
    a = _checked(report, "noise_alignment").alignment
    ax = axes(ax, artist)
    noisy = a.noise > _NO_NOISE * np.max(a.noise, initial=0.0)
    shown = (a.curvature > 0) & noisy
    silent = f" ({np.sum(~noisy)} without noise)" if not noisy.all() else ""
    drawn(
        ax.plot,
        a.curvature[shown],
        a.noise[shown],
        artist=artist,
        color=COLOURS[0],
        marker=MARKERS[0],
        linestyle="none",
        label="sharpest directions" + silent,
    )
    if shown.any():
        ends = np.array([a.curvature[shown].min(), a.curvature[shown].max()]) * [0.8, 1.25]
        factor = a.factor.value
        if factor > 0:
            ax.plot(
                ends,
                factor * ends,
                "--",
                color=ink(ax),
                linewidth=1.2,
                label=f"nearest multiple, {factor:.3g} H",
            )
        ax.plot(ends, ends, ":", color=ink(ax), linewidth=1.2, label="covariance = Hessian")
    ax.set(xscale="log", yscale="log")
    _few_ticks(ax)
    ax.set(xlabel="curvature  $u'Hu$", ylabel="noise of one example  $u'C_1u$")
    ax.set_title(f"cosine {a.cosine.value:.3g}", fontsize="medium")
    legend(ax, columns=1)
    return ax


def tail_indices(
    report: Arg["Diagnosis"], *, ax: "Axes | None" = None, artist: Arg[dict[str, Any] | None] = None
) -> "Axes":
    """Draw the tail index of minibatch noise, for each layer and for all, by two estimators, with
    intervals; 2 is Gaussian.

    Args:
        report: a `Diagnosis`.
        ax: axes to draw on; a new figure by default.
        artist: keywords for the bars, as for `Axes.errorbar`.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: something else than a diagnosis; what matplotlib has against
            `artist`.
    """
    t = _checked(report, "tail_indices").tails
    ax = axes(ax, artist)
    layers = t.layers[:_LAYERS]
    over_all = t.characteristic_function.median, t.block_log_moment.median, t.norm
    rows = [(row.index, row.block, row.norm) for row in layers]
    rows, names = [over_all, *rows], ["all", *(row.name for row in layers)]
    series = (
        "coordinates, characteristic function",
        "coordinates, block log-moment",
        "norm, block sums",
    )
    for k, name in enumerate(series):
        value, low, high = (
            np.array([getattr(row[k], end) for row in rows]) for end in ("value", "low", "high")
        )
        drawn(
            ax.errorbar,
            value,
            np.arange(len(rows)) + 0.22 * (k - 1),
            xerr=np.abs(np.stack([value - low, high - value])),
            artist=artist,
            label=name,
            color=COLOURS[k],
            marker=MARKERS[k],
            markersize=5,
            linestyle="none",
            capsize=2,
        )
    ax.axvline(2, color=ink(ax), linestyle=":", linewidth=1.2, label="Gaussian")
    ax.axvline(
        report.alpha,
        color=ink(ax),
        linestyle="--",
        linewidth=1.2,
        label=f"the law's alpha, {report.alpha:.3g}",
    )
    ax.set_yticks(np.arange(len(rows)), names)
    ax.set(ylim=(len(rows) - 0.4, -0.6), xlabel="tail index")
    if len(t.layers) > len(layers):
        ax.set_title(f"the first {len(layers)} of {len(t.layers)} layers", fontsize="medium")
    legend(ax)
    return ax


def basin_masses(
    report: Arg["Diagnosis"], *, ax: "Axes | None" = None, artist: Arg[dict[str, Any] | None] = None
) -> "Axes":
    """Draw the part of each ray in m(W) against the prediction by the Hessian only. On the dotted
    line the basin is quadratic.

    Args:
        report: a `Diagnosis`; without a basin the axes say so.
        ax: axes to draw on; a new figure by default.
        artist: keywords for the points, as for `Axes.plot`.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: something else than a diagnosis; what matplotlib has against
            `artist`.
    """
    measures = _checked(report, "basin_masses").measures
    ax = axes(ax, artist)
    ends = []
    for k, (name, m) in enumerate(measures.items()):
        shown = (m.predicted > 0) & (m.masses > 0)
        drawn(
            ax.plot,
            m.predicted[shown],
            m.masses[shown],
            artist=artist,
            alpha=0.6,
            color=COLOURS[k],
            marker=MARKERS[k],
            markersize=3,
            linestyle="none",
            label=f"{_NAMES[name]}, m(W) = {m.measure}",
        )
        ends += [m.predicted[shown].min(initial=np.inf), m.predicted[shown].max(initial=0)]
    if ends and np.isfinite(ends).all() and max(ends) > 0:
        line = [min(ends), max(ends)]
        ax.plot(line, line, ":", color=ink(ax), linewidth=1.2, label="quadratic basin")
        ax.set(xscale="log", yscale="log")
    _say(ax, bool(measures), "no basin: the point is not near a minimum")
    ax.set(xlabel="by the Hessian", ylabel=f"by rays, to {report.height:.3g} over the loss")
    ax.set_title(f"share of each ray in m(W), alpha = {report.alpha:.3g}", fontsize="medium")
    legend(ax, columns=1)
    return ax


def escape_times(
    report: Arg["Diagnosis"], *, ax: "Axes | None" = None, artist: Arg[dict[str, Any] | None] = None
) -> "Axes":
    """Draw the predicted mean escape times of SGD and ADAM and the simulated one, in iterations,
    with intervals.

    An arrow is a lower limit: no simulated trajectory left.

    Args:
        report: a `Diagnosis`; what was left out is named.
        ax: axes to draw on; a new figure by default.
        artist: keywords for the bars, as for `Axes.errorbar`.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: something else than a diagnosis; what matplotlib has against
            `artist`.
    """
    _checked(report, "escape_times")
    ax = axes(ax, artist)
    rows = [(f"law of {_NAMES[name]}", law.mean) for name, law in report.predictions.items()]
    if report.simulated is not None:
        rows.append(
            (f"simulated, {_NAMES.get(report.optimizer, report.optimizer)}", report.simulated.mean)
        )
    for k, (_, mean) in enumerate(rows):
        look: dict[str, Any] = {
            "color": COLOURS[k],
            "marker": MARKERS[k],
            "markersize": 7,
            "capsize": 3,
        }
        if np.isfinite(mean.value):
            high = mean.high if np.isfinite(mean.high) else mean.value
            ends = [[mean.value - mean.low], [high - mean.value]]
            drawn(ax.errorbar, mean.value, k, xerr=ends, artist=artist, **look)
        elif np.isfinite(mean.low):
            look |= {"xerr": [[0], [mean.low]], "xlolims": True}
            drawn(ax.errorbar, mean.low, k, artist=artist, **look)
    if rows:
        ax.set_xscale("log")
    _say(
        ax,
        bool(rows),
        "no times: " + ("no learning rate" if report.learning_rate is None else "no basin"),
    )
    ax.set_yticks(np.arange(len(rows)), [name for name, _ in rows])
    rate = "" if report.learning_rate is None else f" at learning rate {report.learning_rate:g}"
    ax.set(ylim=(len(rows) - 0.4, -0.6), xlabel=f"mean escape time\n(iterations{rate})")
    if report.simulated is None and rows:
        ax.set_title("simulated escapes were left out", fontsize="medium")
    return ax


def _few_ticks(ax: "Axes") -> None:
    """Ticks at 1, 2 and 5 of a decade: over less than two decades, the default ones overlap."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # slow to import

    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _say(ax: "Axes", known: bool, text: str) -> None:
    if not known:
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize="small")
