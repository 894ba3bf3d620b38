"""Real images: digits of which a fraction has low contrast, through a small convolutional
network."""

from typing import Any

import numpy as np

from levysde.studies import Claim, Finding, Section, Verdict, judged, reference, ruled
from levysde.sweeps import Sweep

from ..figures import legend_below, new_figure
from .digits import Digits
from .figures import bars
from .numbers import axis, over_runs, runs, share, shown, sight

GAMMAS = [0.0, 0.9, 0.99]
RATES = [0.3, 1.0]
FRACTION = 0.2
_GAIN = 0.005
_MOST = 0.75  # of the runs; all of 16, or 23 of 24, have their interval above it

CLAIMS = (
    Claim(
        "real-zero-training-error",
        "The convolutional network reaches zero training error with GD and with GD+M",
        "needed for the comparison",
        "0 in every run",
        "the fraction of runs with zero training error is below 0.75 for any momentum, learning "
        "rate, or fraction",
        "own",
    ),
    Claim(
        "real-gain",
        "Momentum improves generalisation more where a fraction of the images has a small margin",
        "experiments on real images of which some have a small margin (theirs are larger, with "
        "deeper networks)",
        f"gain in test error (GD less GD+M) at a fraction of {FRACTION:g} less the gain without "
        "small margins: positive",
        f"it is below {_GAIN:g} at every momentum and learning rate",
        "recalled",
        'abstract (read): "we also empirically verify this learning process of momentum in '
        'real-world settings"',
    ),
    Claim(
        "real-gain-on-small",
        "Is the gain on the small-margin images?",
        "a question of ours on these digits",
        f"gain on low-contrast test images less gain on full-contrast ones, fraction {FRACTION:g}: "
        "positive",
        f"it is below {_GAIN:g} at every momentum and learning rate",
        "own",
    ),
)


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    run = {"runs": 4 if quick else 24, "examples": 300, "time": 1000.0}
    grid = {
        "small_fraction": [0.0, FRACTION],
        "learning_rate": RATES[1:] if quick else RATES,
        "gamma": GAMMAS,
    }
    if quick:
        grid["gamma"] = [0.0, 0.99]
    spec = {"experiment": reference(Digits), "seed": 0, "coupled": True}
    return {"digits": spec | {"run": run, "grid": grid}}


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    sweep = found["digits"]
    rows = []
    for fraction in axis(sweep, "small_fraction"):
        for eta in axis(sweep, "learning_rate"):
            for gamma in axis(sweep, "gamma"):
                at = {"small_fraction": fraction, "learning_rate": eta, "gamma": gamma}
                row: dict[str, Any] = dict(at)
                for name in ("train_error", "test_error", "test_small", "test_large"):
                    mean = over_runs(runs(sweep, name, **at))
                    row |= {name: mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}
                rows.append(row)
    places = [
        (eta, gamma)
        for eta in axis(sweep, "learning_rate")
        for gamma in axis(sweep, "gamma")
        if gamma > 0
    ]
    more = {
        at: _gain(sweep, "test_error", FRACTION, *at) - _gain(sweep, "test_error", 0.0, *at)
        for at in places
    }
    on_small = {
        at: _gain(sweep, "test_small", FRACTION, *at) - _gain(sweep, "test_large", FRACTION, *at)
        for at in places
    }
    whole = {at: over_runs(_gain(sweep, "test_error", FRACTION, *at)) for at in places}
    also = "; the gain itself: " + ", ".join(shown(one) for one in whole.values())
    verdicts = _trained(sweep), _anywhere(CLAIMS[1], more, also), _anywhere(CLAIMS[2], on_small)
    return Finding(verdicts, {"digits": _real_figure(sweep, FRACTION)}, {"cells": rows})


def _gain(sweep: Sweep, name: str, fraction: float, eta: float, gamma: float) -> np.ndarray:
    plain, momentum = (
        runs(sweep, name, small_fraction=fraction, learning_rate=eta, gamma=g) for g in (0.0, gamma)
    )
    return plain - momentum


def _trained(sweep: Sweep) -> Verdict:
    train = runs(sweep, "train_error")
    cells = train.reshape(-1, train.shape[-1])
    found = [share(int((cell == 0).sum()), cell.size) for cell in cells]
    worst = min(found, key=lambda one: one.value)
    return ruled(
        CLAIMS[0],
        judged(found, low=_MOST),
        f"lowest of {len(found)} settings: {shown(worst)}; largest training error of a run "
        f"{train.max():.3g}",
        f"a true fraction of .5 would have been seen with chance {_seen(cells.shape[1]):.2f}",
    )


def _seen(count: int) -> float:
    """The chance that so many runs, half of them with zero training error in truth, give an
    interval below _MOST."""
    from scipy.stats import binom  # slow to import

    return float(
        sum(binom.pmf(k, count, 0.5) for k in range(count + 1) if share(k, count).high < _MOST)
    )


def _anywhere(
    claim: Claim, differences: dict[tuple[float, float], np.ndarray], also: str = ""
) -> Verdict:
    """Holds where it holds everywhere, fails where it fails everywhere; else where it holds is
    named."""
    found = {at: over_runs(values) for at, values in differences.items()}
    words = {at: judged(one, low=_GAIN) for at, one in found.items()}
    held = [
        f"eta = {eta:g}, gamma = {gamma:g}"
        for (eta, gamma), word in words.items()
        if word == "holds"
    ]
    text = (
        ", ".join(
            f"{shown(one)} (eta = {eta:g}, gamma = {gamma:g})"
            for (eta, gamma), one in found.items()
        )
        + also
    )
    power = sight(found.values(), 0.01, "where the interval is widest, a deviation")
    if len(held) == len(words):
        return ruled(claim, "holds", text, power)
    if held and "fails" in words.values():
        return ruled(claim, "holds only if", text, power, " or ".join(held))
    failed = all(word == "fails" for word in words.values())
    return ruled(claim, "fails" if failed else "inconclusive", text, power)


def _real_figure(sweep: Sweep, fraction: float) -> Any:
    """Test errors on digits against the momentum, with and without low-contrast images in
    training."""
    rates = axis(sweep, "learning_rate")
    figure, axs = new_figure(1, len(rates), width=4.2, height=4.0)
    places = np.arange(len(axis(sweep, "gamma")))
    for ax, eta in zip(axs, rates, strict=True):
        for k, (mu, name, label) in enumerate(
            (
                (0.0, "test_large", "trained without low contrast: full contrast"),
                (
                    fraction,
                    "test_large",
                    f"trained with {fraction:.0%} low contrast: full contrast",
                ),
                (fraction, "test_small", f"trained with {fraction:.0%} low contrast: low contrast"),
            )
        ):
            bars(ax, places, runs(sweep, name, small_fraction=mu, learning_rate=eta), k, label)
        ax.set_xticks(
            places, [f"{gamma:g}" if gamma else "0 (GD)" for gamma in axis(sweep, "gamma")]
        )
        ax.set_ylim(bottom=0)
        ax.set_title(f"learning rate {eta:g}", fontsize="medium")
        ax.set_xlabel("gamma")
        legend_below(ax, 1)
    axs[0].set_ylabel("test error")
    return figure


SECTION = Section("digits", CLAIMS, sweeps, judge)
