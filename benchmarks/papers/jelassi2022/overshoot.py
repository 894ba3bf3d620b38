"""The overshoot: how far momentum carries the network along a feature that is learned already,
against the derived law."""

from typing import Any

import numpy as np

from levysde.stats import Estimate
from levysde.studies import (
    Claim,
    Finding,
    Section,
    Verdict,
    Word,
    all_judged,
    judged,
    reference,
    ruled,
)
from levysde.sweeps import Sweep

from ..figures import new_figure
from .figures import bars, momentum_axis, plain_log
from .numbers import axis, over_runs, paths, resampled, runs, shown, sight
from .theory import momentum_overshoot
from .training import Patches

MU, ETA = 0.1, 0.1
# small margins: too small to have a say, as the derivation has it, and the toy's
ALONE, TOY = 0.01, 0.3
RELAXATIONS = 15.0
_WHERE = "not in the paper: derived (momentum_overshoot in theory.py)"

CLAIMS = (
    Claim(
        "overshoot-limit",
        "As gamma -> 1, |c| -> sqrt(2 ln2 (1 - mu) eta / (1 - gamma))",
        _WHERE,
        "measured over predicted: 1 at the largest gamma if small-margin points have no "
        "influence (beta = 0.01)",
        "mean ratio at the largest gamma more than 10% from 1",
        "own",
    ),
    Claim(
        "overshoot-from-below",
        "Before the limit the law is low, and less so the nearer gamma is to 1",
        _WHERE,
        "measured over predicted above 1 at every gamma, and falling over the last four",
        "a ratio whose interval lies below 1, or one of the last three steps up with its interval",
        "own",
    ),
    Claim(
        "overshoot-exponents",
        "|c| grows as (1 - gamma)^(-1/2) and as eta^(1/2)",
        _WHERE,
        "slopes -0.5 (last three gamma) and 0.5 (eta from 0.025 to 0.2 at the same gamma)",
        "a slope more than .05 off",
        "own",
    ),
    Claim(
        "overshoot-all-push",
        "Where the ball rolls past 1/beta, the small-margin loss pushes too: the limit then has no "
        "factor 1 - mu",
        _WHERE,
        "|c| at beta = 0.3 over |c| at beta = 0.01, at the largest gamma: "
        f"{1 / np.sqrt(1 - MU):.3f}",
        "mean ratio outside [1.03, 1.08]; 1 if the law held unchanged",
        "own",
    ),
)


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    gammas = (
        [0.9, 0.98, 0.99, 0.995, 0.998]
        if quick
        else [0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995]
    )
    run = {
        "runs": 4 if quick else 16,
        "learning_rate": ETA,
        "small_fraction": MU,
        "relaxations": RELAXATIONS,
    }
    shared = {"experiment": reference(Patches), "seed": 0, "coupled": True}
    steps = {"gamma": 0.995 if quick else 0.999, "small_margin": ALONE}
    return {
        "gamma": shared | {"run": run, "grid": {"small_margin": [ALONE, TOY], "gamma": gammas}},
        "learning-rate": shared
        | {"run": run | steps, "grid": {"learning_rate": [0.025, 0.05, 0.1, 0.2]}},
    }


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    sweep = found["gamma"]
    gammas = np.array(axis(sweep, "gamma"))
    laws = np.array(
        [momentum_overshoot(learning_rate=ETA, gamma=g, small_fraction=MU) for g in gammas]
    )
    signal = {beta: runs(sweep, "signal", small_margin=beta) for beta in (ALONE, TOY)}
    # the energy of a run is its own: its fraction of large margins times their loss at the start
    # (after one step of the heaviest ball, which has hardly moved); 0.9 ln 2 is the mean of it
    shares = runs(sweep, "small_share", small_margin=ALONE, gamma=gammas[0])
    start = paths(sweep, "large_loss", small_margin=ALONE, gamma=gammas[-1])[:, 0]
    own = laws[:, None] * np.sqrt((1 - shares) * start / ((1 - MU) * np.log(2)))[None]
    ratio = {beta: values / own for beta, values in signal.items()}
    by_rate = runs(found["learning-rate"], "signal")
    verdicts = (
        _limit(ratio[ALONE][-1], float(gammas[-1])),
        _from_below(ratio[ALONE]),
        _exponents(
            signal[ALONE], gammas, by_rate, np.array(axis(found["learning-rate"], "learning_rate"))
        ),
        _all_push(signal),
    )
    rows = [
        {"beta": beta, "gamma": gammas[i], "law": laws[i], "measured": float(values[i].mean())}
        | {"ratio": mean.value, "ratio_low": mean.low, "ratio_high": mean.high}
        for beta, values in signal.items()
        for i in range(len(gammas))
        for mean in [over_runs(ratio[beta][i])]
    ]
    picture = _overshoot_figure(gammas, laws, signal, ratio, MU)
    return Finding(verdicts, {"law": picture}, {"ladder": rows})


def _limit(ratio: np.ndarray, gamma: float) -> Verdict:
    found = over_runs(ratio)
    text = f"{shown(found, 4)} at gamma = {gamma:g}"
    return ruled(CLAIMS[0], judged(found, 0.9, 1.1), text, sight(found, 0.05, "a deviation"))


def _from_below(ratio: np.ndarray) -> Verdict:
    levels = [over_runs(one) for one in ratio]
    # the runs share their data, so they are paired
    changes = [over_runs(step) for step in np.diff(ratio[-4:], axis=0)]
    words: list[Word] = [
        *(judged(level, low=1.0) for level in levels),
        *(judged(change, high=0.0) for change in changes),
    ]
    return ruled(
        CLAIMS[1],
        all_judged(words),
        "ratios "
        + ", ".join(f"{level.value:.4g}" for level in levels)
        + "; last steps "
        + ", ".join(map(shown, changes)),
        sight(changes[-1], 0.03, "a last step up"),
    )


def _exponents(
    signal: np.ndarray, gammas: np.ndarray, by_rate: np.ndarray, rates: np.ndarray
) -> Verdict:
    slopes = [slope(1 - gammas[-3:], signal[-3:]), slope(rates, by_rate)]
    words = judged(slopes[0], -0.55, -0.45), judged(slopes[1], 0.45, 0.55)
    return ruled(
        CLAIMS[2],
        all_judged(words),
        f"{shown(slopes[0])} in 1 - gamma, {shown(slopes[1])} in eta",
        "; ".join(
            sight(one, 0.05, f"a deviation in {name}")
            for one, name in zip(slopes, ("1 - gamma", "eta"), strict=True)
        ),
    )


def slope(x: np.ndarray, values: np.ndarray) -> Estimate:
    """Slope of log(mean over runs) against log x, its interval from runs drawn again."""
    return resampled(lambda v: float(np.polyfit(np.log(x), np.log(v.mean(-1)), 1)[0]), values)


def _all_push(signal: dict[float, np.ndarray]) -> Verdict:
    found = over_runs(signal[TOY][-1] / signal[ALONE][-1])
    return ruled(
        CLAIMS[3],
        judged(found, 1.03, 1.08),
        shown(found, 4),
        sight(found, 0.054, "the whole effect"),
    )


def _overshoot_figure(
    gammas: np.ndarray,
    laws: np.ndarray,
    signal: dict[float, np.ndarray],
    ratio: dict[float, np.ndarray],
    mu: float,
) -> Any:
    """|c| against 1 - gamma beside the law, and measured over predicted."""
    figure, (left, right) = new_figure(1, 2, width=4.2, height=4.0)
    rest = 1 - gammas
    for k, (beta, values) in enumerate(signal.items()):
        bars(left, rest, values, k, f"measured, beta = {beta:g}")
        bars(right, rest, ratio[beta], k, f"beta = {beta:g}")
    left.plot(rest, laws, color="0.3", linestyle="--", label="law, gamma -> 1")
    plain_log(left)
    left.set_ylabel("|c| at the end of training")
    right.axhline(1, color="0.3", linestyle="--", label="law")
    right.axhline(
        1 / np.sqrt(1 - mu), color="0.3", linestyle=":", label="law without the factor 1 - mu"
    )
    right.set_ylabel("measured over predicted |c|")
    momentum_axis(left, right)
    return figure


SECTION = Section("overshoot", CLAIMS, sweeps, judge)
