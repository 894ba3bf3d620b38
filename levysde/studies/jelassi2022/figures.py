"""The figures of the study. Bands and bars are 95% intervals of means over seeds."""

from typing import TYPE_CHECKING, Any

import numpy as np

from levysde.plots import COLOURS, MARKERS
from levysde.studies.jelassi2022.numbers import axis, over_runs, paths, runs
from levysde.sweeps import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def blank(columns: int, width: float = 4.2, height: float = 3.6) -> "tuple[Figure, Any]":
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


def errors(sweep: Sweep, known: dict[float, tuple[float, float]], mu: float) -> "Figure":
    """Test errors against the momentum, beside the numbers known before."""
    figure, (left, right) = blank(2)
    rest = 1 - np.array(axis(sweep, "gamma"))
    bars(left, rest, runs(sweep, "test_error"), 0, "measured, mean over seeds")
    x = np.array([1 - gamma for gamma in known])
    low, high = np.array(list(known.values())).T
    left.vlines(x * 1.08, low, high, color=COLOURS[1], linewidth=3, label="known before (two sets of 5 seeds)")
    left.plot(x * 1.08, (low + high) / 2, "_", color=COLOURS[1], markersize=8)
    left.axhline(mu / 2, color="0.5", linewidth=0.8, linestyle="--", label="mu/2")
    left.set_ylabel("test error")
    for k, (name, label) in enumerate((("test_small", "small margin"), ("test_large", "large margin"))):
        bars(right, rest, runs(sweep, name), k, label)
    right.set_ylabel("test error on points of that margin")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.invert_xaxis()
        ax.set_xlabel("1 - gamma  (1: gradient descent; more momentum to the right)")
        ax.legend(fontsize="small", frameon=False)
    return figure


def tracks(sweep: Sweep, gammas: tuple[float, ...]) -> "Figure":
    """Errors, learned signal and memorised noise along training."""
    figure, (left, middle, right) = blank(3)
    for k, gamma in enumerate(gammas):
        step = paths(sweep, "step", gamma=gamma)
        name = f"GD+M, gamma = {gamma:g}" if gamma else "GD"
        for ax, column, style, label in (
            (left, "train_error", ":", f"{name}, training"),
            (left, "test_error", "-", f"{name}, test"),
            (middle, "signal", "-", name),
            (right, "small_by_signal", "-", f"{name}, feature"),
            (right, "small_by_noise", ":", f"{name}, own noise"),
        ):
            band(ax, step, paths(sweep, column, gamma=gamma), k, style, label)
    left.set_ylabel("error")
    middle.set_ylabel("learned signal |c|, c_r = <w_r, w*>")
    right.set_ylabel("small-margin training points: margin made by")
    right.set_yscale("symlog", linthresh=0.1)
    for ax in (left, middle, right):
        ax.set_xscale("log")
        ax.set_xlabel("training step")
        ax.legend(fontsize="x-small", frameon=False)
    return figure


def band(ax: "Axes", x: np.ndarray, values: np.ndarray, k: int, style: Any, label: str) -> None:
    """Mean over runs `(runs, records)` with its interval as a band."""
    found = [over_runs(one) for one in values.T]
    ax.plot(x, [one.value for one in found], color=COLOURS[k], linestyle=style, label=label)
    ax.fill_between(x, [f.low for f in found], [f.high for f in found], color=COLOURS[k], alpha=0.2, linewidth=0)
