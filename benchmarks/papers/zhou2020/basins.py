"""Escape times against the Radon measure m(W), over fifty random basins at one noise amplitude."""

from typing import Any

import numpy as np

from levysde.stats import Estimate
from levysde.studies import Claim, Finding, Section, detection_chance, judged, reference, ruled
from levysde.sweeps import Sweep

from ..figures import new_figure, plain_ticks, points
from ..numbers import around
from .problems import dynamics_part, law_of, random_valley, step_for

# the last: rate over relaxation in the basin where it is largest
ALPHA, DIM, COUNT, REGIME = 1.5, 5, 50, 0.02
HEIGHTS = (0.1, 1.0)  # of the rims, log-uniform
OPTIMIZERS = ("SGD", "Adam")

SLOPE = Claim(
    "measure",
    "The escape time is inversely proportional to the Radon measure m(W) of the basin's escaping "
    "set",
    "p. 2 and p. 6, after Theorem 1",
    "slope -1 of log mean time against log m(W), in the band [-1.05, -0.95], SGD and ADAM; rank "
    "correlation near -1",
    "the interval of a slope lies outside [-1.05, -0.95]",
    "read",
    "bounds of E Gamma are at the order of 1/(m(W) Theta(1/eps))",
)


def _basins(quick: bool) -> list[tuple[int, float]]:
    heights = np.exp(
        np.random.default_rng(0).uniform(np.log(HEIGHTS[0]), np.log(HEIGHTS[1]), COUNT)
    )
    return [(k, float(f"{heights[k]:.4g}")) for k in range(10 if quick else COUNT)]


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    return {optimizer: _spec(optimizer, quick) for optimizer in OPTIMIZERS}


def _spec(optimizer: str, quick: bool) -> dict[str, Any]:
    basins = _basins(quick)
    laws = [
        law_of(optimizer, "StableComponents", random_valley(k, DIM), ALPHA, h) for k, h in basins
    ]
    epsilon = min((REGIME / law.regime) ** (1 / ALPHA) for law in laws)
    laws = [law.with_epsilon(epsilon) for law in laws]
    run = {
        "landscape": {"name": reference(random_valley), "number": 0, "dim": DIM},
        "driver": {"name": "StableComponents", "alpha": ALPHA},
        "dynamics": dynamics_part(optimizer, epsilon),
        "domain": {"name": "Sublevel", "height": 1.0},
        "kernel": {"name": "EulerMaruyama", "dt": 0.01},
        "num": 400 if quick else 2000,
    }
    axes = {
        "number": [k for k, _ in basins],
        "height": [h for _, h in basins],
        "dt": [step_for(law) for law in laws],
    }
    return {"seed": 200 + OPTIMIZERS.index(optimizer), "run": run, "list": axes}


def line(measure: np.ndarray, mean: np.ndarray, escapes: np.ndarray) -> tuple[Estimate, float]:
    """Slope of log mean against log m, weighted by escapes, and Spearman's rank correlation. The
    interval takes the residuals as they are, so that it covers what the law leaves out in each
    basin too."""
    from scipy.stats import spearmanr, t  # slow to import

    x, y = np.log(measure), np.log(mean)
    weight = escapes / escapes.sum()
    x = x - weight @ x
    slope = float(weight @ (x * y) / (weight @ (x * x)))
    residual = y - weight @ y - slope * x
    error = float(np.sqrt(weight @ residual**2 / (len(x) - 2) / (weight @ (x * x))))
    half = float(t.isf(0.025, len(x) - 2)) * error
    return around(slope, half), float(spearmanr(measure, mean)[0])  # pyright: ignore[reportArgumentType]


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    figure, axes = new_figure(1, 1)
    rows, slopes, ranks, ratios = [], [], [], []
    for optimizer, sweep in found.items():
        columns = [sweep.columns(point) for point in sweep.plan.points]
        measure = np.array([sweep.law(sweep.values(point)).measure for point in sweep.plan.points])
        mean, escapes, ratio = (
            np.array([float(c[name]) for c in columns])
            for name in ("mean_time", "escapes", "ratio")
        )
        slope, rank = line(measure, mean, escapes)
        slopes.append(slope)
        ranks.append(rank)
        ratios.append(ratio)
        rows += [
            {
                "optimizer": optimizer,
                "basin": k,
                "height": h,
                "m(W)": m,
                "mean_time": t,
                "escapes": n,
                "ratio": r,
            }
            for (k, h), m, t, n, r in zip(
                _basins(quick), measure, mean, escapes, ratio, strict=True
            )
        ]
        color = f"C{OPTIMIZERS.index(optimizer)}"
        bars = map(around, mean, 1.96 * mean / np.sqrt(escapes))
        points(
            axes[0],
            measure,
            bars,
            fmt="o",
            lw=1,
            capsize=0,
            color=color,
            label=f"{optimizer}, slope {slope.value:.3f}",
        )
        order = np.argsort(measure)
        axes[0].plot(measure[order], (mean / ratio)[order], color=color, lw=1, ls="--")
    axes[0].set(xscale="log", yscale="log", xlabel="m(W)", ylabel="mean escape time (SDE time)")
    axes[0].set_title(
        f"{len(_basins(quick))} random basins, d = {DIM}, alpha = {ALPHA:g}; dashed: the law",
        fontsize=10,
    )
    axes[0].legend(frameon=False)
    plain_ticks(axes[0].xaxis, [0.5, 1, 2, 5])
    plain_ticks(axes[0].yaxis, [20, 50, 100, 200])
    verdict = ruled(
        SLOPE,
        judged(slopes, -1.05, -0.95),
        f"slope {slopes[0]} (SGD), {slopes[1]} (ADAM); rank correlation {ranks[0]:.3f}, "
        f"{ranks[1]:.3f}; measured over predicted mean {min(r.min() for r in ratios):.2f} to "
        f"{max(r.max() for r in ratios):.2f}",
        f"chance to see a slope off by 0.1: {detection_chance(0.05, slopes):.2f}",
    )
    return Finding((verdict,), {"basins": figure}, {"basins": rows})


SECTION = Section("basins", (SLOPE,), sweeps, judge)
