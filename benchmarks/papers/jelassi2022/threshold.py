"""How much momentum is enough: the derived threshold in gamma over a grid of learning rates,
momenta and small margins."""

from typing import Any

import numpy as np

from levysde.stats import Estimate
from levysde.studies import (
    Claim,
    Finding,
    Section,
    Verdict,
    all_judged,
    detection_chance,
    judged,
    reference,
    ruled,
)
from levysde.sweeps import Sweep

from ..figures import legend_below, look, new_figure, points
from ..numbers import width
from .figures import bars, momentum_axis, plain_log
from .numbers import axis, over_runs, resampled, runs, shown
from .theory import memorization_threshold, momentum_threshold
from .training import Patches

MU = 0.1
SOLVED = 0.05  # error on small-margin points below which they are learned
HALFWAY = 0.25  # between guessing and none
RACE_RATE, RACE_MARGIN = 0.2, 0.3
_WHERE = "not in the paper: derived (momentum_threshold in theory.py)"

CLAIMS = (
    Claim(
        "threshold-enough",
        "Momentum beyond the threshold, 1 - gamma <= 2 ln2 (1 - mu) eta beta^2, solves the "
        "small-margin points",
        _WHERE,
        f"error on small-margin points below {SOLVED:g} in every cell beyond it",
        f"a cell beyond it whose error has its interval above {SOLVED:g}",
        "own",
    ),
    Claim(
        "threshold-rank",
        "The threshold ranks the cells of the grid: whether a cell is solved follows from "
        "2 ln2 (1 - mu) eta beta^2 / (1 - gamma)",
        _WHERE,
        "area under the ROC curve near 1",
        "area below .95",
        "own",
    ),
    Claim(
        "threshold-constant",
        "It is not only enough but needed: less momentum does not solve them",
        _WHERE,
        f"error falls through {HALFWAY:g} at 1 - gamma = k x 2 ln2 (1 - mu) eta beta^2 with k = 1, "
        "within a factor of 2",
        "geometric mean of k outside [.5, 2]",
        "own",
    ),
    Claim(
        "threshold-exponents",
        "The threshold in 1 - gamma is proportional to eta beta^2",
        _WHERE,
        "exponents 1 in eta and 2 in beta (a race between feature and memory would make 6 in beta)",
        "the exponent of eta outside [.75, 1.25], or that of beta outside [1.5, 2.5]",
        "own",
    ),
    Claim(
        "threshold-examples",
        "The threshold does not depend on the number of examples",
        _WHERE,
        "exponent 0 in N (a race between feature and memory, whose speed per example is 1/N, would "
        "make 2)",
        "the exponent of N outside [-.25, .25]",
        "own",
    ),
    Claim(
        "threshold-race",
        "A race decides whether feature or noise classifies the small-margin points",
        "not in the paper: derived after the first run (memorization_threshold in theory.py), "
        "tested on other seeds, mu, noise and starts",
        "halfway (half of their margin by the feature) over 2 ln2 (1 - mu) eta beta^2 is "
        "proportional to (1 + mu beta^2 N / (n^2 u0))^2: slope 1 between "
        "the logarithms (0 if momentum alone decided)",
        "the slope outside [.75, 1.25]",
        "own",
    ),
)


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    gammas = [0.0, 0.7, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999]
    grid = {"learning_rate": [0.05, 0.1, 0.2], "small_margin": [0.2, 0.3, 0.45], "gamma": gammas}
    if quick:
        grid = {
            "learning_rate": [0.1, 0.2],
            "small_margin": [0.3, 0.45],
            "gamma": [0.0, 0.8, 0.95, 0.98, 0.995],
        }
    run = {"runs": 4 if quick else 16, "small_fraction": MU, "relaxations": 5.0}
    spec = {"experiment": reference(Patches), "seed": 0, "coupled": True}
    examples = {
        "examples": [100, 400] if quick else [100, 200, 400],
        "gamma": gammas if not quick else grid["gamma"],
    }
    race = {
        "small_fraction": [0.05, 0.2],
        "noise_norm": [2.5, 4.0],
        "init_scale": [0.05, 0.1],
        "gamma": grid["gamma"],
    }
    if quick:
        race |= {"noise_norm": [2.5], "init_scale": [0.1]}
    # three times as long as it takes the slowest noise to be learned
    slow = {
        "runs": 4 if quick else 12,
        "learning_rate": RACE_RATE,
        "small_margin": RACE_MARGIN,
        "time": 450.0,
        "relaxations": 5.0,
    }
    return {
        "grid": spec | {"run": run, "grid": grid},
        "examples": spec | {"run": run, "grid": examples},
        "race": spec | {"seed": 1, "run": slow, "grid": race},
    }


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    sweep = found["grid"]
    etas, betas, gammas = (
        np.array(axis(sweep, name)) for name in ("learning_rate", "small_margin", "gamma")
    )
    law = np.array(
        [
            [momentum_threshold(learning_rate=e, small_margin=b, small_fraction=MU) for b in betas]
            for e in etas
        ]
    )
    beyond = law[..., None] / (1 - gammas)  # 1 at the threshold, more with more momentum
    error = runs(sweep, "test_small")  # (eta, beta, gamma, run)
    half = crossings(error.mean(-1), 1 - gammas)
    rows = [
        {
            "eta": etas[i],
            "beta": betas[j],
            "gamma": gammas[k],
            "beyond": beyond[i, j, k],
            "error_small": mean.value,
        }
        | {"low": mean.low, "high": mean.high, "halfway_over_law": half[i, j] / law[i, j]}
        for i, j, k in np.ndindex(beyond.shape)
        for mean in [over_runs(error[i, j, k])]
    ]
    by_size = runs(found["examples"], "test_small")
    sizes, ladder = (np.array(axis(found["examples"], name)) for name in ("examples", "gamma"))
    share, plain, race = race_cells(found["race"])
    rest = 1 - np.array(axis(found["race"], "gamma"))
    halves = [
        resampled(
            lambda e, index=index: float(crossings(e[index].mean(-1), rest, 0.5) / plain[index]),
            share,
        )
        for index in np.ndindex(plain.shape)
    ]
    verdicts = (
        _enough(error, beyond),
        _rank(error, beyond),
        _constant(error, gammas, law),
        _exponents(error, gammas, etas, betas),
        _examples(by_size, ladder, sizes),
        _race(share, rest, plain, race),
    )
    more = [
        {"examples": n, "halfway": h}
        for n, h in zip(sizes, crossings(by_size.mean(-1), 1 - ladder), strict=True)
    ]
    races = [
        {
            "threshold": plain[index],
            "race": race[index],
            "halfway_over_threshold": half.value,
            "low": half.low,
            "high": half.high,
        }
        for index, half in zip(np.ndindex(plain.shape), halves, strict=True)
    ]
    pictures = {
        "collapse": _collapse_figure(etas, betas, gammas, law, error),
        "race": _race_figure((race / plain).ravel(), halves),
        "examples": _by_examples_figure(
            sizes,
            ladder,
            by_size,
            momentum_threshold(learning_rate=0.1, small_margin=0.3, small_fraction=MU),
        ),
    }
    return Finding(verdicts, pictures, {"cells": rows, "examples": more, "race": races})


def crossings(error: np.ndarray, rest: np.ndarray, level: float = HALFWAY) -> np.ndarray:
    """Where the error `(..., rungs)` first falls through `level` as `rest = 1 - gamma` falls,
    linear in its logarithm; NaN where it starts below or never does."""
    found = np.full(error.shape[:-1], np.nan)
    for index in np.ndindex(found.shape):
        line = error[index]
        below = np.flatnonzero(line < level)
        if below.size and below[0] > 0:
            k = below[0]
            part = (line[k - 1] - level) / (line[k - 1] - line[k])
            found[index] = np.exp(
                np.log(rest[k - 1]) + part * (np.log(rest[k]) - np.log(rest[k - 1]))
            )
    return found


def area(score: np.ndarray, solved: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a solved cell scores higher than an unsolved one;
    NaN without either."""
    yes, no = score[solved], score[~solved]
    if not yes.size or not no.size:
        return np.nan
    difference = yes[:, None] - no[None, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def _enough(error: np.ndarray, beyond: np.ndarray) -> Verdict:
    cells = [over_runs(one) for one in error[beyond >= 1]]
    worst = max(cells, key=lambda cell: cell.high)
    return ruled(
        CLAIMS[0],
        judged(cells, high=SOLVED),
        f"largest of {len(cells)} cells: {shown(worst)}",
        f"an error of {2 * SOLVED:g} in that cell would have been seen with chance "
        f"{detection_chance(SOLVED, worst):.2f}",
    )


def _rank(error: np.ndarray, beyond: np.ndarray) -> Verdict:
    found = resampled(lambda e: area(beyond, e.mean(-1) < SOLVED), error)
    solved = int((error.mean(-1) < SOLVED).sum())
    return ruled(
        CLAIMS[1],
        judged(found, low=0.95),
        f"{shown(found)}; {solved} of {beyond.size} cells solved",
        "an area of 0.9 would have been distinguished from 0.95 with chance "
        f"{detection_chance(0.05, found):.2f}",
    )


def _constant(error: np.ndarray, gammas: np.ndarray, law: np.ndarray) -> Verdict:
    def constant(e: np.ndarray) -> float:
        logs = np.log(crossings(e.mean(-1), 1 - gammas) / law)
        return float(logs[np.isfinite(logs)].mean()) if np.isfinite(logs).any() else np.nan

    found = resampled(constant, error)
    k = Estimate(*(float(np.exp(end)) for end in (found.value, found.low, found.high)))
    each = crossings(error.mean(-1), 1 - gammas) / law
    each = each[np.isfinite(each)]
    ends = (
        f"{each.min():.3g} to {each.max():.3g}, {each.size} pairs (eta, beta)"
        if each.size
        else "no crossing"
    )
    return ruled(
        CLAIMS[2],
        judged(k, 0.5, 2.0),
        f"k = {shown(k)}, {ends}",
        "k twice as large would have been seen with chance "
        f"{detection_chance(np.log(2), found):.2f}",
    )


def _exponents(
    error: np.ndarray, gammas: np.ndarray, etas: np.ndarray, betas: np.ndarray
) -> Verdict:
    grid = [np.log(part).ravel() for part in np.meshgrid(etas, betas, indexing="ij")]

    def exponent(e: np.ndarray, which: int) -> float:
        half = np.log(crossings(e.mean(-1), 1 - gammas)).ravel()
        there = np.isfinite(half)
        if there.sum() < 4:
            return np.nan
        design = np.stack([np.ones(half.size), *grid], 1)[there]
        if np.linalg.matrix_rank(design) < 3:
            return np.nan
        return float(np.linalg.lstsq(design, half[there], rcond=None)[0][which])

    of_eta, of_beta = (
        resampled(lambda e, which=which: exponent(e, which), error) for which in (1, 2)
    )
    return ruled(
        CLAIMS[3],
        all_judged((judged(of_eta, 0.75, 1.25), judged(of_beta, 1.5, 2.5))),
        f"{shown(of_eta)} in eta, {shown(of_beta)} in beta",
        "exponents off by .25 and .5 would have been seen with chances "
        f"{detection_chance(0.25, of_eta):.2f} and {detection_chance(0.5, of_beta):.2f}",
    )


def _examples(error: np.ndarray, gammas: np.ndarray, sizes: np.ndarray) -> Verdict:
    def exponent(e: np.ndarray) -> float:
        half = np.log(crossings(e.mean(-1), 1 - gammas))
        return float(np.polyfit(np.log(sizes), half, 1)[0]) if np.isfinite(half).all() else np.nan

    found = resampled(exponent, error)
    halves = crossings(error.mean(-1), 1 - gammas)
    each = ", ".join(f"{half:.3g} at N = {n}" for half, n in zip(halves, sizes, strict=True))
    return ruled(
        CLAIMS[4],
        judged(found, -0.25, 0.25),
        f"{shown(found)}; halfway at 1 - gamma = {each}",
        f"an exponent of .5 would have been seen with chance {detection_chance(0.25, found):.2f}",
    )


def race_cells(sweep: Sweep) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each setting: its noise's share of the small margins `(mu, noise, start, gamma, run)`, and
    its plain threshold and the race's `(mu, noise, start)`."""
    by_noise, by_signal = (runs(sweep, name) for name in ("small_by_noise", "small_by_signal"))
    share = by_noise / (by_noise + by_signal)
    axes = [axis(sweep, name) for name in ("small_fraction", "noise_norm", "init_scale")]
    shared = {"learning_rate": RACE_RATE, "small_margin": RACE_MARGIN}
    plain, race = np.empty(share.shape[:3]), np.empty(share.shape[:3])
    for index in np.ndindex(plain.shape):
        mu, norm, scale = (values[k] for values, k in zip(axes, index, strict=True))
        plain[index] = momentum_threshold(small_fraction=mu, **shared)
        more = {"examples": 200, "noise_norm": norm, "init_scale": scale}
        race[index] = memorization_threshold(small_fraction=mu, **shared, **more)
    return share, plain, race


def _race(share: np.ndarray, rest: np.ndarray, plain: np.ndarray, race: np.ndarray) -> Verdict:
    def slope(e: np.ndarray) -> float:
        half = np.log(crossings(e.mean(-1), rest, 0.5) / plain)
        there = np.isfinite(half)
        return (
            float(np.polyfit(np.log(race / plain)[there], half[there], 1)[0])
            if there.sum() > 1
            else np.nan
        )

    found = resampled(slope, share)
    over = crossings(share.mean(-1), rest, 0.5) / race
    over = over[np.isfinite(over)]
    ends = f"{over.min():.3g} to {over.max():.3g}" if over.size else "nowhere"
    return ruled(
        CLAIMS[5],
        judged(found, 0.75, 1.25),
        f"slope {shown(found)} over {over.size} of {race.size} settings, whose brackets squared "
        f"differ by a factor of {float((race / plain).max() / (race / plain).min()):.3g}; halfway "
        f"over the race's threshold {ends}",
        f"a slope of .5 would have been seen with chance {detection_chance(0.25, found):.2f}",
    )


def _collapse_figure(
    etas: np.ndarray, betas: np.ndarray, gammas: np.ndarray, law: np.ndarray, error: np.ndarray
) -> Any:
    """Errors on small-margin points against how far beyond the threshold each cell of the grid
    lies."""
    figure, axs = new_figure(1, len(betas), width=4.2, height=4.0)
    for j, beta in enumerate(betas):
        for i, eta in enumerate(etas):
            bars(axs[j], law[i, j] / (1 - gammas), error[i, j], i, f"eta = {eta:g}")
        axs[j].axvline(1, color="0.3", linestyle="--", label="threshold")
        axs[j].axhline(0.25, color="0.7", linewidth=0.8, linestyle=":")
        axs[j].set_xscale("log")
        axs[j].set_ylim(-0.02, 0.54)
        axs[j].set_title(f"beta = {beta:g}", fontsize="medium")
        axs[j].set_xlabel("2 ln2 (1 - mu) eta beta^2 / (1 - gamma)")
        legend_below(axs[j])
    axs[0].set_ylabel("test error on small-margin points")
    return figure


def _by_examples_figure(
    sizes: np.ndarray, gammas: np.ndarray, error: np.ndarray, law: float
) -> Any:
    """Errors on small-margin points against the momentum, by the number of examples."""
    figure, (ax,) = new_figure(1, 1, width=5.5, height=4.0)
    for k, n in enumerate(sizes):
        bars(ax, 1 - gammas, error[k], k, f"N = {n}")
    ax.axvline(law, color="0.3", linestyle="--", label="threshold, for every N")
    ax.set_ylabel("test error on small-margin points")
    momentum_axis(ax)
    return figure


def _race_figure(bracket: np.ndarray, half: list[Estimate]) -> Any:
    """Where feature and noise share the small margins evenly, over the plain threshold, against the
    race's bracket."""
    figure, (ax,) = new_figure(1, 1, width=5.5, height=4.0)
    value, widths = (np.array([of(one) for one in half]) for of in (lambda one: one.value, width))
    sure, there = np.isfinite(widths), np.isfinite(value)
    style = look(0) | {"linestyle": "", "ms": 6}
    if sure.any():
        points(
            ax,
            bracket[sure],
            [one for one, known in zip(half, sure, strict=True) if known],
            label="measured",
            **style,
        )
    if (there & ~sure).any():
        ax.plot(
            bracket[there & ~sure],
            value[there & ~sure],
            fillstyle="none",
            label="undetermined: the runs disagree",
            **style,
        )
    if there.any():
        line = np.array([bracket.min() * 0.8, bracket.max() * 1.2])
        middle = np.exp(np.median(np.log(value / bracket)[there]))
        ax.plot(
            line,
            middle * line,
            color="0.3",
            linestyle="--",
            label=f"slope 1: the race, times {middle:.2f}",
        )
    ax.axhline(1, color="0.3", linestyle=":", label="slope 0: momentum alone")
    ax.set_xscale("log")
    ax.xaxis.set_minor_formatter("")
    plain_log(ax)
    ax.set_title(
        "1 - gamma at which feature and noise share evenly,\nover 2 ln2 (1 - mu) eta beta^2",
        fontsize="medium",
    )
    ax.set_xlabel("(1 + mu beta^2 N / (n^2 u0))^2")
    legend_below(ax)
    return figure


SECTION = Section("threshold", CLAIMS, sweeps, judge)
