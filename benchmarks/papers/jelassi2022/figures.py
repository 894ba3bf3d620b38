"""The figures of the study. Bands and bars are 95% intervals of means over seeds."""

from typing import TYPE_CHECKING, Any

import numpy as np

from levysde.plots import COLOURS, MARKERS
from levysde.stats import Estimate
from levysde.sweeps import Sweep

from .numbers import axis, over_runs, paths, runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def blank(columns: int, width: float = 4.2, height: float = 4.0) -> "tuple[Figure, Any]":
    """A figure with a row of axes; no state of pyplot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def bars(ax: "Axes", x: Any, values: np.ndarray, k: int, label: str) -> None:
    """Means over the last axis with intervals against x, as series number k."""
    found = [over_runs(one) for one in values]
    mean = np.array([one.value for one in found])
    ends = np.abs(np.array([[one.low, one.high] for one in found]).T - mean)
    ax.errorbar(
        x, mean, yerr=ends, color=COLOURS[k], marker=MARKERS[k], markersize=4, capsize=2, linewidth=1.2, label=label
    )  # fmt: skip


def _below(ax: "Axes", columns: int = 2) -> None:
    """The legend under the axes, where no data are."""
    ax.legend(fontsize="small", frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns)


def errors(sweep: Sweep, known: dict[float, tuple[float, float]], mu: float) -> "Figure":
    """Test errors against the momentum, beside the numbers known before."""
    figure, (left, right) = blank(2)
    rest = 1 - np.array(axis(sweep, "gamma"))
    bars(left, rest, runs(sweep, "test_error"), 0, "measured, mean")
    x = np.array([1 - gamma for gamma in known])
    low, high = np.array(list(known.values())).T
    left.vlines(x * 1.08, low, high, color=COLOURS[1], linewidth=3, label="known before, 2 x 5 seeds")
    left.plot(x * 1.08, (low + high) / 2, "_", color=COLOURS[1], markersize=8)
    left.axhline(mu / 2, color="0.5", linewidth=0.8, linestyle="--", label="mu/2")
    left.set_ylabel("test error")
    for k, (name, label) in enumerate((("test_small", "small margin"), ("test_large", "large margin"))):
        bars(right, rest, runs(sweep, name), k, label)
    right.set_ylabel("test error on points of that margin")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.invert_xaxis()
        ax.set_xlabel("1 - gamma (left: gradient descent)")
        _below(ax)
    return figure


def shares(gammas: list[float], found: list[np.ndarray]) -> "Figure":
    """Share of the small margins in training that noise makes, against the momentum."""
    figure, (ax,) = blank(1, 5.5)
    bars(ax, 1 - np.array(gammas), np.stack(found), 0, "mean over seeds")
    ax.set_ylabel("share of the margin of small-margin\ntraining points that their own noise makes")
    ax.set_ylim(0, 1.05)
    _momenta(ax)
    ax.set_xlabel("1 - gamma (left: gradient descent)")
    return figure


def tracks(sweep: Sweep, gammas: tuple[float, ...]) -> "Figure":
    """Errors, learned signal and memorised noise along training."""
    figure, (left, middle, right) = blank(3)
    for k, gamma in enumerate(gammas):
        step = paths(sweep, "step", gamma=gamma)
        for ax, column, style in (
            (left, "train_error", ":"),
            (left, "test_error", "-"),
            (middle, "signal", "-"),
            (right, "small_by_noise", ":"),
            (right, "small_by_signal", "-"),
        ):
            label = (f"GD+M, gamma = {gamma:g}" if gamma else "GD") if ax is middle else ""
            band(ax, step, paths(sweep, column, gamma=gamma), k, style, label)
    left.set_title("error: test (solid), training (dotted)", fontsize="medium")
    left.set_ylim(-0.01, 0.2)
    middle.set_title("learned signal |c|, norm of <w_r, w*>", fontsize="medium")
    right.set_title(
        "margin on small-margin training points,\nby the feature (solid), by their noise (dotted)", fontsize="medium"
    )
    right.set_yscale("symlog", linthresh=0.1)
    for ax in (left, middle, right):
        ax.set_xscale("log")
        ax.set_xlabel("training step")
    _below(middle, 2)
    return figure


def band(ax: "Axes", x: np.ndarray, values: np.ndarray, k: int, style: Any, label: str) -> None:
    """Mean over runs `(runs, records)` with its interval as a band."""
    found = [over_runs(one) for one in values.T]
    ax.plot(x, [one.value for one in found], color=COLOURS[k], linestyle=style, label=label)
    ax.fill_between(x, [f.low for f in found], [f.high for f in found], color=COLOURS[k], alpha=0.2, linewidth=0)


def overshoot(
    gammas: np.ndarray, laws: np.ndarray, signal: dict[float, np.ndarray], ratio: dict[float, np.ndarray], mu: float
) -> "Figure":
    """|c| against 1 - gamma beside the law, and measured over predicted."""
    figure, (left, right) = blank(2)
    rest = 1 - gammas
    for k, (beta, values) in enumerate(signal.items()):
        bars(left, rest, values, k, f"measured, beta = {beta:g}")
        bars(right, rest, ratio[beta], k, f"beta = {beta:g}")
    left.plot(rest, laws, color="0.3", linestyle="--", label="law, gamma -> 1")
    _plain_log(left)
    left.set_ylabel("|c| at the end of training")
    right.axhline(1, color="0.3", linestyle="--", label="law")
    right.axhline(1 / np.sqrt(1 - mu), color="0.3", linestyle=":", label="law without the factor 1 - mu")
    right.set_ylabel("measured over predicted |c|")
    _momenta(left, right)
    return figure


def collapse(etas: np.ndarray, betas: np.ndarray, gammas: np.ndarray, law: np.ndarray, error: np.ndarray) -> "Figure":
    """Errors on small-margin points against how far beyond the threshold each cell of the grid lies."""
    figure, axs = blank(len(betas))
    for j, beta in enumerate(betas):
        for i, eta in enumerate(etas):
            bars(axs[j], law[i, j] / (1 - gammas), error[i, j], i, f"eta = {eta:g}")
        axs[j].axvline(1, color="0.3", linestyle="--", label="threshold")
        axs[j].axhline(0.25, color="0.7", linewidth=0.8, linestyle=":")
        axs[j].set_xscale("log")
        axs[j].set_ylim(-0.02, 0.54)
        axs[j].set_title(f"beta = {beta:g}", fontsize="medium")
        axs[j].set_xlabel("2 ln2 (1 - mu) eta beta^2 / (1 - gamma)")
        _below(axs[j])
    axs[0].set_ylabel("test error on small-margin points")
    return figure


def by_examples(sizes: np.ndarray, gammas: np.ndarray, error: np.ndarray, law: float) -> "Figure":
    """Errors on small-margin points against the momentum, by the number of examples."""
    figure, (ax,) = blank(1, 5.5)
    for k, n in enumerate(sizes):
        bars(ax, 1 - gammas, error[k], k, f"N = {n}")
    ax.axvline(law, color="0.3", linestyle="--", label="threshold, for every N")
    ax.set_ylabel("test error on small-margin points")
    _momenta(ax)
    return figure


def race(bracket: np.ndarray, half: list[Estimate]) -> "Figure":
    """Where feature and noise share the small margins evenly, over the plain threshold, against the race's bracket."""
    figure, (ax,) = blank(1, 5.5)
    value = np.array([one.value for one in half])
    ends = np.abs(np.array([[one.low, one.high] for one in half]).T - value)
    sure, there = np.isfinite(ends).all(0), np.isfinite(value)
    look: dict[str, Any] = {"color": COLOURS[0], "marker": MARKERS[0], "linestyle": ""}
    if sure.any():
        ax.errorbar(bracket[sure], value[sure], yerr=ends[:, sure], capsize=2, label="measured", **look)
    if (there & ~sure).any():
        ax.plot(
            bracket[there & ~sure],
            value[there & ~sure],
            fillstyle="none",
            label="undetermined: the runs disagree",
            **look,
        )
    if there.any():
        line = np.array([bracket.min() * 0.8, bracket.max() * 1.2])
        middle = np.exp(np.median(np.log(value / bracket)[there]))
        ax.plot(line, middle * line, color="0.3", linestyle="--", label=f"slope 1: the race, times {middle:.2f}")
    ax.axhline(1, color="0.3", linestyle=":", label="slope 0: momentum alone")
    ax.set_xscale("log")
    ax.xaxis.set_minor_formatter("")
    _plain_log(ax)
    ax.set_title(
        "1 - gamma at which feature and noise share evenly,\nover 2 ln2 (1 - mu) eta beta^2", fontsize="medium"
    )
    ax.set_xlabel("(1 + mu beta^2 N / (n^2 u0))^2")
    _below(ax)
    return figure


def batches(sweeps: dict[str, Sweep], examples: int) -> "Figure":
    """Test errors of SGD with and without momentum against the batch size."""
    figure, axs = blank(len(sweeps))
    for ax, (name, sweep) in zip(axs, sweeps.items(), strict=True):
        for k, gamma in enumerate(axis(sweep, "gamma")):
            label = f"SGD+M, gamma = {gamma:g}" if gamma else "SGD"
            bars(ax, axis(sweep, "batch_size"), runs(sweep, "test_error", gamma=gamma), k, label)
        ax.set_xscale("log")
        ax.set_ylim(bottom=-0.002)
        ax.set_title(name, fontsize="medium")
        ax.set_xlabel(f"batch size, of {examples} examples")
        _below(ax)
    axs[0].set_ylabel("test error")
    return figure


def adam(sweep: Sweep, mu: float) -> "Figure":
    """Test errors of ADAM against its learning rate, from 0, where GD+M is."""
    figure, (left, right) = blank(2)
    for k, beta1 in enumerate(axis(sweep, "gamma")):
        for ax, name in ((left, "test_error"), (right, "signal")):
            bars(ax, axis(sweep, "learning_rate"), runs(sweep, name, gamma=beta1), k, f"beta1 = {beta1:g}")
    left.set_ylabel("test error")
    left.set_ylim(0, 1.2 * mu / 2)
    left.axhline(mu / 2, color="0.5", linewidth=0.8, linestyle="--", label="mu/2, as GD (GD+M, gamma = .99: 0)")
    right.set_ylabel("learned signal |c|")
    _plain_log(right)
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xlabel("ADAM's learning rate")
        _below(ax)
    return figure


def real(sweep: Sweep, fraction: float) -> "Figure":
    """Test errors on digits against the momentum, with and without low-contrast images in training."""
    rates = axis(sweep, "learning_rate")
    figure, axs = blank(len(rates))
    places = np.arange(len(axis(sweep, "gamma")))
    for ax, eta in zip(axs, rates, strict=True):
        for k, (mu, name, label) in enumerate(
            (
                (0.0, "test_large", "trained without low contrast: full contrast"),
                (fraction, "test_large", f"trained with {fraction:.0%} low contrast: full contrast"),
                (fraction, "test_small", f"trained with {fraction:.0%} low contrast: low contrast"),
            )
        ):
            bars(ax, places, runs(sweep, name, small_fraction=mu, learning_rate=eta), k, label)
        ax.set_xticks(places, [f"{gamma:g}" if gamma else "0 (GD)" for gamma in axis(sweep, "gamma")])
        ax.set_ylim(bottom=0)
        ax.set_title(f"learning rate {eta:g}", fontsize="medium")
        ax.set_xlabel("gamma")
        _below(ax, 1)
    axs[0].set_ylabel("test error")
    return figure


def _momenta(*many: "Axes") -> None:
    """The horizontal axis of a ladder in 1 - gamma."""
    for ax in many:
        ax.set_xscale("log")
        ax.invert_xaxis()
        ax.set_xlabel("1 - gamma")
        _below(ax)


def _plain_log(ax: "Axes") -> None:
    """A logarithmic vertical axis over about one decade, its ticks as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
