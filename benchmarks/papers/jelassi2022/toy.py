"""The patch data: what gradient descent with and without momentum makes of them."""

from typing import Any

import numpy as np

from levysde.stats import Estimate
from levysde.studies import Claim, Finding, Section, Verdict, all_judged, judged, reference, ruled
from levysde.sweeps import Sweep

from ..figures import COLOURS, legend_below, new_figure
from ..numbers import around, width
from .figures import band, bars, momentum_axis
from .numbers import axis, over_runs, paths, runs, share, shown, sight
from .training import Patches

MU = 0.1
GAMMAS = [0.0, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998]
# of the sweep over mu; the first of the ladder beyond the threshold that we derived (0.989)
MOMENTUM = 0.99
# "GD+M" of the claims. The paper's introduction speaks of momentum close to 1
HEAVY = (0.99, 0.995, 0.998)
COLLAPSED = 0.01  # nats: the large-margin examples are done
# test errors from two sets of 5 seeds by another program: the range of the two means
KNOWN_ERROR = {
    0.0: (0.049, 0.051),
    0.9: (0.046, 0.046),
    0.95: (0.035, 0.038),
    0.98: (0.006, 0.009),
    0.99: (0, 0.001),
    0.995: (0, 0.001),
}
KNOWN_SIGNAL = {0.9: 1.55, 0.95: 2.24, 0.98: 3.79, 0.99: 5.07, 0.995: 6.09}
_KNOWN_RUNS = 5
_HEAVY = ", ".join(f"{gamma:g}" for gamma in HEAVY)

CLAIMS = (
    Claim(
        "zero-training-error",
        "GD and GD+M both reach zero training error",
        "theorems on GD and on GD+M",
        "0 in every run after 1,500 steps",
        "the fraction of runs with zero training error is below 0.8 for GD or for GD+M",
        "recalled",
    ),
    Claim(
        "gd-errs",
        "GD's test error is about mu/2",
        "theorem on GD (as we recall it, at least of order mu)",
        f"{MU / 2:g}",
        f"mean over seeds outside {MU / 2:g} +- 10%",
        "recalled",
    ),
    Claim(
        "momentum-generalises",
        "GD+M generalises better than GD",
        "abstract",
        f"test error of GD less that of GD+M above 0 at gamma = {_HEAVY}",
        "the interval of a difference lies below 0",
        "read",
        'GD+M "significantly improves generalization compared to GD in some deep learning '
        'problems", provably on their data',
    ),
    Claim(
        "gd-errs-on-small",
        "GD errs on small-margin points only, and there it guesses",
        "theorem on GD",
        "error 0.5 on small-margin points, 0 on large-margin ones",
        "mean error outside [0.4, 0.6] on small-margin points, or above 0.001 on large-margin ones",
        "recalled",
    ),
    Claim(
        "gd-memorises",
        "GD classifies the small-margin training points by their own noise",
        "abstract",
        "share of their margin that their noise makes: near 1",
        "mean share below 0.9",
        "read",
        'GD "memorizes the small margin data"',
    ),
    Claim(
        "momentum-learns",
        "GD+M learns the feature in the small-margin data",
        "abstract",
        "error on new small-margin points, which only the feature can classify: below 0.05 at "
        f"gamma = {_HEAVY} (GD: 0.5)",
        "the interval of an error lies above 0.05",
        "read",
        'GD+M "still learns the feature in these data thanks to its historical gradients"',
    ),
    Claim(
        "keeps-moving",
        "GD+M keeps moving along w* when the large-margin points are done, GD does not",
        'proof sketch; the abstract has "thanks to its historical gradients"',
        f"growth of |<w_r, w*>| after the large-margin loss has fallen below {COLLAPSED} nats: "
        "large (GD+M), near 1 (GD)",
        f"mean growth below 2 for GD+M (gamma = {MOMENTUM:g}), or above 1.5 for GD",
        "recalled",
    ),
    Claim(
        "two-margins",
        "Momentum gains nothing where all examples have one margin",
        "the converse of the abstract, which says that momentum helps where examples differ in "
        "their margin",
        "GD and GD+M have the same test error at mu = 0 and at mu = 1",
        "they differ by more than 0.005 at mu = 0, or by more than 0.05 (a tenth of guessing) at "
        "mu = 1",
        "own",
    ),
    Claim(
        "momentum-share",
        "How much of the small margins in training does GD+M owe to their noise?",
        "a question of ours: the paper prints no number",
        f"reported at gamma = {_HEAVY}, beside the test error on small-margin points",
        "nothing: a measurement",
        "own",
    ),
    Claim(
        "known-table",
        "The toy's known test errors and signals are met",
        "not the paper: an earlier program of ours, two sets of 5 seeds",
        "test error 0.049-0.051, 0.046, 0.035-0.038, 0.006-0.009, below 0.001, below 0.001; |c| "
        "1.55, 2.24, 3.79, 5.07, 6.09",
        "a mean lies outside the 95% prediction interval for a mean of 5 other seeds (the spread "
        "is that of these runs)",
        "own",
    ),
)


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    run = {"runs": 8 if quick else 32}
    shared = {"experiment": reference(Patches), "seed": 0, "coupled": True, "run": run}
    return {
        "gamma": shared | {"grid": {"gamma": GAMMAS}},
        "fraction": shared | {"grid": {"small_fraction": [0.0, MU, 1.0], "gamma": [0.0, MOMENTUM]}},
    }


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    sweep = found["gamma"]
    verdicts = (
        _zero_training(sweep),
        _near_half_mu(sweep),
        _better(sweep),
        _small_only(sweep),
        _memorised(sweep),
        _learns(sweep),
        _moving(sweep),
        _two_margins(found["fraction"]),
        _shares(sweep),
        _known(sweep),
    )
    names = ("test_error", "test_small", "test_large", "train_error", "train_loss", "signal")
    ends = {name: runs(sweep, name) for name in names}
    rows = [
        {"gamma": gamma, "run": k, "noise_share": float(noise_share(sweep, gamma)[k])}
        | {name: float(values[i, k]) for name, values in ends.items()}
        for i, gamma in enumerate(axis(sweep, "gamma"))
        for k in range(ends["signal"].shape[1])
    ]
    shown_gammas = (0.0, 0.9, MOMENTUM, 0.995)
    tracks = [
        {"gamma": gamma, "step": int(step)}
        | {name: float(paths(sweep, name, gamma=gamma)[:, k].mean()) for name in _TRACKS}
        for gamma in shown_gammas
        for k, step in enumerate(paths(sweep, "step", gamma=gamma))
    ]
    pictures = {
        "errors": _errors_figure(sweep, KNOWN_ERROR, MU),
        "training": _tracks_figure(sweep, shown_gammas),
        "shares": _shares_figure(
            axis(sweep, "gamma"), [noise_share(sweep, g) for g in axis(sweep, "gamma")]
        ),
    }
    return Finding(verdicts, pictures, {"ends": rows, "tracks": tracks})


_TRACKS = (
    "train_error",
    "test_error",
    "test_small",
    "test_large",
    "signal",
    "small_by_signal",
    "small_by_noise",
)


def _zero_training(sweep: Sweep) -> Verdict:
    found = {}
    for gamma in (0.0, *HEAVY):
        errors = runs(sweep, "train_error", gamma=gamma)
        found[_named(gamma)] = share(int((errors == 0).sum()), errors.size)
    count = runs(sweep, "train_error", gamma=0.0).size
    seen = (1 - 0.8**count) * 100
    return ruled(
        CLAIMS[0],
        judged(found.values(), low=0.8),
        "runs with zero training "
        "error: " + ", ".join(f"{shown(one)} ({name})" for name, one in found.items()),
        f"at a true fraction of 0.8 a run that fails would have been among {count} with chance "
        f"{seen:.1f}%",
    )


def _named(gamma: float) -> str:
    return f"GD+M, gamma = {gamma:g}" if gamma else "GD"


def _near_half_mu(sweep: Sweep) -> Verdict:
    found = over_runs(runs(sweep, "test_error", gamma=0.0))
    word = judged(found, 0.9 * MU / 2, 1.1 * MU / 2)
    return ruled(CLAIMS[1], word, shown(found), sight(found, 0.005, "a shift"))


def _better(sweep: Sweep) -> Verdict:
    plain = runs(sweep, "test_error", gamma=0.0)
    gains = {gamma: over_runs(plain - runs(sweep, "test_error", gamma=gamma)) for gamma in HEAVY}
    errors = {gamma: over_runs(runs(sweep, "test_error", gamma=gamma)) for gamma in (0.0, *HEAVY)}
    return ruled(
        CLAIMS[2],
        judged(gains.values(), low=0.0),
        "test error "
        + ", ".join(f"{shown(e)} ({_named(gamma)})" for gamma, e in errors.items())
        + "; GD less GD+M "
        + ", ".join(shown(gain) for gain in gains.values()),
        sight(gains.values(), 0.005, "a difference"),
    )


def _small_only(sweep: Sweep) -> Verdict:
    small, large = (
        over_runs(runs(sweep, name, gamma=0.0)) for name in ("test_small", "test_large")
    )
    words = judged(small, 0.4, 0.6), judged(large, high=0.001)
    return ruled(
        CLAIMS[3],
        all_judged(words),
        f"{shown(small)} on small-margin points, {shown(large)} on large-margin ones",
        sight(small, 0.1, "a shift of the first")
        + f"; {sight(large, 0.001, 'an excess of the second')}",
    )


def _memorised(sweep: Sweep) -> Verdict:
    found = over_runs(noise_share(sweep, 0.0))
    return ruled(CLAIMS[4], judged(found, low=0.9), shown(found), sight(found, 0.05, "a shift"))


def _learns(sweep: Sweep) -> Verdict:
    found = {gamma: over_runs(runs(sweep, "test_small", gamma=gamma)) for gamma in (0.0, *HEAVY)}
    heavy = [found[gamma] for gamma in HEAVY]
    return ruled(
        CLAIMS[5],
        judged(heavy, high=0.05),
        "error on small-margin "
        "points " + ", ".join(f"{shown(e)} ({_named(gamma)})" for gamma, e in found.items()),
        sight(heavy, 0.05, "where the interval is widest, an error"),
    )


def _shares(sweep: Sweep) -> Verdict:
    found = {gamma: over_runs(noise_share(sweep, gamma)) for gamma in (0.0, *HEAVY)}
    small = {gamma: over_runs(runs(sweep, "test_small", gamma=gamma)) for gamma in HEAVY}
    ends = found[HEAVY[0]], found[HEAVY[-1]]
    return ruled(
        CLAIMS[8],
        "own finding",
        "share of the margin by noise "
        + ", ".join(f"{shown(e)} ({_named(gamma)})" for gamma, e in found.items())
        + "; error on new small-margin points "
        + ", ".join(shown(e) for e in small.values()),
        f"intervals of {max(map(width, found.values())) / 2:.2g} at most",
        f"the noise makes {ends[0].value:.2f} of these margins at gamma = {HEAVY[0]:g} and "
        f"{ends[1].value:.2g} at {HEAVY[-1]:g}; it does no harm to new examples",
    )


def noise_share(sweep: Sweep, gamma: float) -> np.ndarray:
    """Share of the small-margin training points' margin that their noise makes, at the end of each
    run."""
    noise, signal = (
        runs(sweep, name, gamma=gamma) for name in ("small_by_noise", "small_by_signal")
    )
    return noise / (noise + signal)


def growth(sweep: Sweep, gamma: float) -> np.ndarray:
    """By what factor |c| grew in each run after the large-margin loss had collapsed."""
    loss, signal = (paths(sweep, name, gamma=gamma) for name in ("large_loss", "signal"))
    first = np.argmax(loss < COLLAPSED, axis=1)
    return signal[:, -1] / np.take_along_axis(signal, first[:, None], 1)[:, 0]


def _moving(sweep: Sweep) -> Verdict:
    plain, momentum = (over_runs(growth(sweep, gamma)) for gamma in (0.0, MOMENTUM))
    words = judged(momentum, low=2.0), judged(plain, high=1.5)
    return ruled(
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
    return ruled(
        CLAIMS[7],
        all_judged(words),
        f"test error of GD less that of GD+M: {text}; at mu = 1 GD errs on {shown(plain)}",
        sight(gains[0.0], 0.005, "at mu = 0 a gain")
        + f"; {sight(gains[1.0], 0.05, 'at mu = 1 a gain')}",
    )


def _gain(sweep: Sweep, mu: float) -> np.ndarray:
    plain, momentum = (
        runs(sweep, "test_error", small_fraction=mu, gamma=gamma) for gamma in (0.0, MOMENTUM)
    )
    return plain - momentum


def _known(sweep: Sweep) -> Verdict:
    misses, texts, widths = [], [], []
    for name, known in (
        ("test_error", KNOWN_ERROR),
        ("signal", {g: (c, c) for g, c in KNOWN_SIGNAL.items()}),
    ):
        for gamma, (low, high) in known.items():
            band = other_seeds(runs(sweep, name, gamma=gamma), _KNOWN_RUNS)
            if band.high < low or band.low > high:
                misses.append(f"{name} at gamma = {gamma:g}: {shown(band)} for {low:g} to {high:g}")
            if band.high > band.low:
                widths.append((band.high - band.low) / 2 / max(abs(high), 1e-3))
        means = ", ".join(
            f"{over_runs(runs(sweep, name, gamma=gamma)).value:.3g}" for gamma in known
        )
        texts.append(f"{'test error' if name == 'test_error' else '|c|'} {means}")
    return ruled(
        CLAIMS[9],
        "fails" if misses else "holds",
        "; ".join(texts)
        + (
            "; outside: " + "; ".join(misses) if misses else "; each within the prediction interval"
        ),
        f"half a prediction interval is {min(widths):.1%} to {max(widths):.0%} of the known number",
    )


def other_seeds(values: np.ndarray, count: int) -> Estimate:
    """Where the mean of `count` other runs would lie: mean and prediction interval."""
    from scipy.stats import t  # slow to import

    n, mean = values.size, float(values.mean())
    half = float(t.isf(0.025, n - 1)) * float(values.std(ddof=1)) * np.sqrt(1 / n + 1 / count)
    return around(mean, half)


def _errors_figure(sweep: Sweep, known: dict[float, tuple[float, float]], mu: float) -> Any:
    """Test errors against the momentum, beside the numbers known before."""
    figure, (left, right) = new_figure(1, 2, width=4.2, height=4.0)
    rest = 1 - np.array(axis(sweep, "gamma"))
    bars(left, rest, runs(sweep, "test_error"), 0, "measured, mean")
    x = np.array([1 - gamma for gamma in known])
    low, high = np.array(list(known.values())).T
    left.vlines(
        x * 1.08, low, high, color=COLOURS[1], linewidth=3, label="known before, 2 x 5 seeds"
    )
    left.plot(x * 1.08, (low + high) / 2, "_", color=COLOURS[1], markersize=8)
    left.axhline(mu / 2, color="0.5", linewidth=0.8, linestyle="--", label="mu/2")
    left.set_ylabel("test error")
    for k, (name, label) in enumerate(
        (("test_small", "small margin"), ("test_large", "large margin"))
    ):
        bars(right, rest, runs(sweep, name), k, label)
    right.set_ylabel("test error on points of that margin")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.invert_xaxis()
        ax.set_xlabel("1 - gamma (left: gradient descent)")
        legend_below(ax)
    return figure


def _shares_figure(gammas: list[float], found: list[np.ndarray]) -> Any:
    """Share of the small margins in training that noise makes, against the momentum."""
    figure, (ax,) = new_figure(1, 1, width=5.5, height=4.0)
    bars(ax, 1 - np.array(gammas), np.stack(found), 0, "mean over seeds")
    ax.set_ylabel("share of the margin of small-margin\ntraining points that their own noise makes")
    ax.set_ylim(0, 1.05)
    momentum_axis(ax)
    ax.set_xlabel("1 - gamma (left: gradient descent)")
    return figure


def _tracks_figure(sweep: Sweep, gammas: tuple[float, ...]) -> Any:
    """Errors, learned signal and memorised noise along training."""
    figure, (left, middle, right) = new_figure(1, 3, width=4.2, height=4.0)
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
        "margin on small-margin training points,\nby the feature (solid), by their noise (dotted)",
        fontsize="medium",
    )
    right.set_yscale("symlog", linthresh=0.1)
    for ax in (left, middle, right):
        ax.set_xscale("log")
        ax.set_xlabel("training step")
    legend_below(middle, 2)
    return figure


SECTION = Section("toy", CLAIMS, sweeps, judge)
