"""The patch data: what gradient descent with and without momentum makes of them."""

from typing import Any

import numpy as np

from levysde.stats import Estimate
from levysde.studies.jelassi2022 import figures
from levysde.studies.jelassi2022.numbers import axis, over_runs, paths, runs, share, shown, sight
from levysde.studies.study import Finding, Section
from levysde.studies.verdicts import Claim, Verdict, all_judged, judged
from levysde.sweeps import Sweep

MU = 0.1
GAMMAS = [0.0, 0.9, 0.95, 0.98, 0.99, 0.995]
MOMENTUM = 0.99  # "GD+M" of the claims: the first of the ladder at which the derived threshold (.989) is passed
COLLAPSED = 0.01  # nats: the large-margin examples are done
# test errors from two sets of 5 seeds by another program: the range of the two means
KNOWN_ERROR = {
    0.0: (0.049, 0.051), 0.9: (0.046, 0.046), 0.95: (0.035, 0.038), 0.98: (0.006, 0.009), 0.99: (0, 0.001), 0.995: (0, 0.001)
}  # fmt: skip
KNOWN_SIGNAL = {0.9: 1.55, 0.95: 2.24, 0.98: 3.79, 0.99: 5.07, 0.995: 6.09}
_KNOWN_RUNS = 5

CLAIMS = (
    Claim(
        "zero-training-error",
        "GD and GD+M both reach zero training error",
        "theorems on GD and on GD+M (recalled)",
        "0 in every run after 1,500 steps",
        "the fraction of runs with zero training error is below .8 for either",
    ),
    Claim(
        "gd-errs",
        "GD's test error is about mu/2",
        "theorem on GD (recalled: at least of order mu)",
        f"{MU / 2:g}",
        f"mean over seeds outside {MU / 2:g} +- 10%",
    ),
    Claim(
        "momentum-generalises",
        "GD+M's test error is near 0",
        "theorem on GD+M (recalled)",
        f"0 at gamma = {MOMENTUM:g}",
        "mean over seeds above .005, a tenth of GD's",
    ),
    Claim(
        "gd-errs-on-small",
        "GD errs on small-margin points only, and there it guesses",
        "abstract; theorem on GD (recalled)",
        "error .5 on small-margin points, 0 on large-margin ones",
        "mean error outside [.4, .6] on small-margin points, or above .001 on large-margin ones",
    ),
    Claim(
        "gd-memorises",
        "GD tells the small-margin training points by their own noise",
        "abstract; proof sketch (recalled)",
        "share of their margin that their noise makes: near 1",
        "mean share below .9",
    ),
    Claim(
        "momentum-does-not-memorise",
        "GD+M tells them by the feature",
        "abstract; proof sketch (recalled)",
        "the same share: near 0",
        "mean share above .1",
    ),
    Claim(
        "keeps-moving",
        "GD+M keeps moving along w* when the large-margin points are done, GD does not",
        "abstract (historical gradients); proof sketch (recalled)",
        f"growth of |<w_r, w*>| after the large-margin loss has fallen below {COLLAPSED} nats: large (GD+M), near 1 (GD)",
        "mean growth below 2 for GD+M, or above 1.5 for GD",
    ),
    Claim(
        "two-margins",
        "Momentum gains nothing where all examples have one margin",
        "abstract (beneficial where examples share a feature but differ in margin)",
        "GD and GD+M have the same test error at mu = 0 and at mu = 1",
        "they differ by more than .005 at mu = 0, or by more than .05 (a tenth of guessing) at mu = 1",
    ),
    Claim(
        "known-table",
        "The toy's known test errors and signals are met",
        "not the paper: an earlier program of ours, two sets of 5 seeds",
        "test error .049-.051, .046, .035-.038, .006-.009, below .001, below .001; |c| 1.55, 2.24, 3.79, 5.07, 6.09",
        "a mean lies outside the 95% prediction interval for a mean of 5 other seeds (the spread is that of these runs)",
    ),
)


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    run = {"runs": 8 if quick else 32}
    shared = {"experiment": "levysde.studies.jelassi2022.training:PATCHES", "seed": 0, "coupled": True, "run": run}
    return {
        "gamma": shared | {"grid": {"gamma": GAMMAS}},
        "fraction": shared | {"grid": {"small_fraction": [0.0, MU, 1.0], "gamma": [0.0, MOMENTUM]}},
    }


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    sweep = found["gamma"]
    verdicts = (
        _zero_training(sweep),
        _one(sweep, CLAIMS[1], 0.0, "test_error", 0.9 * MU / 2, 1.1 * MU / 2, "a shift"),
        _one(sweep, CLAIMS[2], MOMENTUM, "test_error", -np.inf, 0.005, "an excess"),
        _small_only(sweep),
        _memorised(sweep, CLAIMS[4], 0.0, 0.9, np.inf),
        _memorised(sweep, CLAIMS[5], MOMENTUM, -np.inf, 0.1),
        _moving(sweep),
        _two_margins(found["fraction"]),
        _known(sweep),
    )
    names = ("test_error", "test_small", "test_large", "train_error", "train_loss", "signal")
    ends = {name: runs(sweep, name) for name in names}
    rows = [
        {"gamma": gamma, "run": k} | {name: float(values[i, k]) for name, values in ends.items()}
        for i, gamma in enumerate(axis(sweep, "gamma"))
        for k in range(ends["signal"].shape[1])
    ]
    shown_gammas = (0.0, 0.9, MOMENTUM)
    tracks = [
        {"gamma": gamma, "step": int(step)}
        | {name: float(paths(sweep, name, gamma=gamma)[:, k].mean()) for name in _TRACKS}
        for gamma in shown_gammas
        for k, step in enumerate(paths(sweep, "step", gamma=gamma))
    ]
    pictures = {"errors": figures.errors(sweep, KNOWN_ERROR, MU), "training": figures.tracks(sweep, shown_gammas)}
    return Finding(verdicts, pictures, {"ends": rows, "tracks": tracks})


_TRACKS = ("train_error", "test_error", "test_small", "test_large", "signal", "small_by_signal", "small_by_noise")


def _zero_training(sweep: Sweep) -> Verdict:
    found = {}
    for name, gamma in (("GD", 0.0), ("GD+M", MOMENTUM)):
        errors = runs(sweep, "train_error", gamma=gamma)
        found[name] = share(int((errors == 0).sum()), errors.size)
    count = runs(sweep, "train_error", gamma=0.0).size
    seen = (1 - 0.8**count) * 100
    return Verdict(
        CLAIMS[0],
        all_judged([judged(one, low=0.8) for one in found.values()]),
        "runs with zero training error: " + ", ".join(f"{name} {shown(one)}" for name, one in found.items()),
        f"at a true fraction of .8 a run that fails would have been among {count} with chance {seen:.1f}%",
    )


def _one(sweep: Sweep, claim: Claim, gamma: float, name: str, low: float, high: float, what: str) -> Verdict:
    found = over_runs(runs(sweep, name, gamma=gamma))
    return Verdict(claim, judged(found, low, high), shown(found), sight(found, 0.005, what))


def _small_only(sweep: Sweep) -> Verdict:
    small, large = (over_runs(runs(sweep, name, gamma=0.0)) for name in ("test_small", "test_large"))
    words = judged(small, 0.4, 0.6), judged(large, high=0.001)
    return Verdict(
        CLAIMS[3],
        all_judged(words),
        f"{shown(small)} on small-margin points, {shown(large)} on large-margin ones",
        sight(small, 0.1, "a shift of the first") + f"; {sight(large, 0.001, 'an excess of the second')}",
    )


def _memorised(sweep: Sweep, claim: Claim, gamma: float, low: float, high: float) -> Verdict:
    found = over_runs(noise_share(sweep, gamma))
    return Verdict(claim, judged(found, low, high), shown(found), sight(found, 0.05, "a shift"))


def noise_share(sweep: Sweep, gamma: float) -> np.ndarray:
    """Share of the small-margin training points' margin that their noise makes, at the end of each run."""
    noise, signal = (runs(sweep, name, gamma=gamma) for name in ("small_by_noise", "small_by_signal"))
    return noise / (noise + signal)


def growth(sweep: Sweep, gamma: float) -> np.ndarray:
    """By what factor |c| grew in each run after the large-margin loss had collapsed."""
    loss, signal = (paths(sweep, name, gamma=gamma) for name in ("large_loss", "signal"))
    first = np.argmax(loss < COLLAPSED, axis=1)
    return signal[:, -1] / np.take_along_axis(signal, first[:, None], 1)[:, 0]


def _moving(sweep: Sweep) -> Verdict:
    plain, momentum = (over_runs(growth(sweep, gamma)) for gamma in (0.0, MOMENTUM))
    words = judged(momentum, low=2.0), judged(plain, high=1.5)
    return Verdict(
        CLAIMS[6],
        all_judged(words),
        f"{shown(momentum)} (GD+M), {shown(plain)} (GD)",
        sight(momentum, 0.5, "a shift (GD+M)") + f"; {sight(plain, 0.1, 'a shift (GD)')}",
    )


def _two_margins(sweep: Sweep) -> Verdict:
    gains = {mu: over_runs(_gain(sweep, mu)) for mu in axis(sweep, "small_fraction")}
    words = judged(gains[0.0], -0.005, 0.005), judged(gains[1.0], -0.05, 0.05)
    text = ", ".join(f"{shown(gain)} at mu = {mu:g}" for mu, gain in gains.items())
    plain = over_runs(runs(sweep, "test_error", small_fraction=1.0, gamma=0.0))
    return Verdict(
        CLAIMS[7],
        all_judged(words),
        f"test error of GD less that of GD+M: {text}; at mu = 1 GD errs on {shown(plain)}",
        sight(gains[0.0], 0.005, "at mu = 0 a gain") + f"; {sight(gains[1.0], 0.05, 'at mu = 1 a gain')}",
    )


def _gain(sweep: Sweep, mu: float) -> np.ndarray:
    plain, momentum = (runs(sweep, "test_error", small_fraction=mu, gamma=gamma) for gamma in (0.0, MOMENTUM))
    return plain - momentum


def _known(sweep: Sweep) -> Verdict:
    misses, texts, widths = [], [], []
    for name, known in (("test_error", KNOWN_ERROR), ("signal", {g: (c, c) for g, c in KNOWN_SIGNAL.items()})):
        for gamma, (low, high) in known.items():
            band = other_seeds(runs(sweep, name, gamma=gamma), _KNOWN_RUNS)
            if band.high < low or band.low > high:
                misses.append(f"{name} at gamma = {gamma:g}: {shown(band)} for {low:g} to {high:g}")
            if band.high > band.low:
                widths.append((band.high - band.low) / 2 / max(abs(high), 1e-3))
        means = ", ".join(f"{over_runs(runs(sweep, name, gamma=gamma)).value:.3g}" for gamma in known)
        texts.append(f"{'test error' if name == 'test_error' else '|c|'} {means}")
    return Verdict(
        CLAIMS[8],
        "fails" if misses else "holds",
        "; ".join(texts) + ("; outside: " + "; ".join(misses) if misses else "; each within the prediction interval"),
        f"half a prediction interval is {min(widths):.1%} to {max(widths):.0%} of the known number",
    )


def other_seeds(values: np.ndarray, count: int) -> Estimate:
    """Where the mean of `count` other runs would lie: mean and prediction interval."""
    from scipy.stats import t  # slow to import

    n, mean = values.size, float(values.mean())
    half = float(t.isf(0.025, n - 1)) * float(values.std(ddof=1)) * np.sqrt(1 / n + 1 / count)
    return Estimate(mean, mean - half, mean + half)


SECTION = Section("toy", CLAIMS, sweeps, judge)
