"""How escape times scale with the learning rate, the batch size and the tail index: SGD itself
(optax), in iterations.

The noise of a batch is the mean of as many independent stable draws, nothing is rescaled by hand.
With `eps = eta^((a-1)/a)` and S falling as `B^-(1-1/a)`, the law predicts `B^(a-1) eta^-a`
iterations.
"""

from itertools import pairwise
from typing import Any

from levysde.stats import Estimate
from levysde.studies import (
    Claim,
    Finding,
    Section,
    Verdict,
    detection_chance,
    judged,
    reference,
    ruled,
)
from levysde.sweeps import Sweep

from ..figures import curves, new_figure
from ..numbers import scaled
from .problems import HEIGHT, mean_of, valley

ALPHAS = (1.2, 1.5, 1.8)
RATES = (0.005, 0.01, 0.02, 0.04)
BATCHES = (1, 2, 4, 8)
SCALE = 0.1  # S, so that eps |S| / r stays below 0.1
TAILS = (1.1, 1.3, 1.5, 1.7, 1.9)
ETA = 0.02  # of the ladders in B and alpha
_MOST_STEPS = 3_000_000

LEARNING_RATE = Claim(
    "learning-rate",
    "A larger learning rate makes escapes faster: iterations fall as eta^-alpha",
    "follows from Theorem 1 with eps = eta^((alpha-1)/alpha); the paper prints no exponent in "
    "iterations",
    "exponent of iterations in eta over -alpha is 1, in the band [0.95, 1.05], alpha = 1.2, 1.5, "
    "1.8",
    "the interval of a ratio lies outside [0.95, 1.05]",
    "own",
)
BATCH = Claim(
    "batch-size",
    "A smaller batch makes escapes faster: iterations grow as B^(alpha-1) for stable noise",
    "follows from the law for stable noise; the paper prints no statement on batch size",
    "exponent of iterations in B over alpha - 1 is 1, in the band [0.9, 1.1], alpha = 1.2, 1.5, "
    "1.8",
    "the interval of a ratio lies outside [0.9, 1.1]",
    "own",
)
TAIL = Claim(
    "tail-index",
    "Heavier tails make escapes faster",
    "p. 7, Section 4",
    "iterations rise with alpha at a fixed learning rate, from 1.1 to 1.9",
    "iterations fall from one alpha to the next by more than both intervals",
    "read",
    "SGD's smaller alpha gives a smaller eps^-alpha, hence a shorter escape time",
)
CLAIMS = (LEARNING_RATE, BATCH, TAIL)


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    num = 400 if quick else 4000
    along_alpha = list(ALPHAS[::2] if quick else ALPHAS)
    rates = {"alpha": along_alpha, "learning_rate": list(RATES[1:] if quick else RATES)}
    batches = {"alpha": along_alpha, "count": list(BATCHES)}
    stable = {"name": "StableComponents", "alpha": 1.5}
    return {
        "learning-rate": {"seed": 301, "run": _run(stable, num), "grid": rates},
        "batch-size": {
            "seed": 302,
            # exponents of 0.2 and more are to be told from each other: three times the trajectories
            "run": _run({"name": reference(mean_of), "alpha": 1.5, "count": 1}, 3 * num),
            "grid": batches,
        },
        "tail-index": {"seed": 303, "run": _run(stable, num), "grid": {"alpha": list(TAILS)}},
    }


def _run(noise: dict[str, Any], num: int) -> dict[str, Any]:
    return {
        "landscape": {"name": reference(valley), "dim": 2, "condition": 4.0},
        # the equation says where the minimum is; what runs is the algorithm
        "dynamics": {"name": "Langevin", "diffusion": 1.0},
        "domain": {"name": "Sublevel", "height": HEIGHT},
        "kernel": {
            "name": "OptimizerKernel", "transformation": "sgd", "driver": noise, "scale": SCALE,
            "hyperparameters": {"learning_rate": ETA},
        },
        "num": num,
        "max_steps": _MOST_STEPS,
    }  # fmt: skip


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    figure, axes = new_figure(1, 3)
    rows: list[dict[str, Any]] = []
    in_rate = _exponents(found["learning-rate"], "learning_rate", axes[0], "learning rate", rows)
    in_batch = _exponents(found["batch-size"], "count", axes[1], "batch size", rows)
    rate_ratios = [scaled(slope, -1 / alpha) for alpha, slope in in_rate.items()]
    batch_ratios = [scaled(slope, 1 / (alpha - 1)) for alpha, slope in in_batch.items()]
    tail = found["tail-index"]
    means = [tail.estimate(point, "mean_time") for point in tail.plan.points]
    curves(axes[2], {f"eta = {ETA:g}": (TAILS, means)}, "alpha", "mean escape time (iterations)")
    rows += [
        {"ladder": "alpha", "alpha": a, "iterations": m.value}
        for a, m in zip(TAILS, means, strict=True)
    ]
    falls = sum(b.high < a.low for a, b in pairwise(means))
    rises = all(b.low > a.high for a, b in pairwise(means))
    verdicts = (
        _verdict(LEARNING_RATE, in_rate, rate_ratios, 0.05, "-alpha"),
        _verdict(BATCH, in_batch, batch_ratios, 0.1, "alpha - 1"),
        ruled(
            TAIL,
            "fails" if falls else "holds" if rises else "inconclusive",
            "; ".join(f"{mean} at {alpha:g}" for alpha, mean in zip(TAILS, means, strict=True))
            + " "
            "iterations",
            f"intervals of {max(m.high / m.value - 1 for m in means):.1%}: a fall by more than "
            "twice that is seen",
        ),
    )
    return Finding(verdicts, {"scaling": figure}, {"ladders": rows})


def _exponents(
    sweep: Sweep, name: str, ax: Any, label: str, rows: list[dict[str, Any]]
) -> dict[float, Estimate]:
    """The exponent of iterations at each alpha, and the points drawn."""
    lines, exponents = {}, {}
    for fit in sweep.fit(name):
        alpha = float(fit.at["alpha"])
        points = [p for p in sweep.plan.points if sweep.values(p)["alpha"] == alpha]
        x, means = (
            [float(sweep.values(p)[name]) for p in points],
            [sweep.estimate(p, "mean_time") for p in points],
        )
        exponents[alpha] = fit.slope
        lines[f"alpha = {alpha:g}: exponent {fit.slope.value:.3f}"] = (x, means)
        rows += [
            {"ladder": label, "alpha": alpha, label: v, "iterations": m.value}
            for v, m in zip(x, means, strict=True)
        ]
    curves(ax, lines, label, "mean escape time (iterations)")
    return exponents


def _verdict(
    claim: Claim, exponents: dict[float, Estimate], ratios: list[Estimate], band: float, unit: str
) -> Verdict:
    text = "; ".join(
        f"{slope} at alpha = {alpha:g}, over {unit}: {ratio}"
        for (alpha, slope), ratio in zip(exponents.items(), ratios, strict=True)
    )
    return ruled(
        claim,
        judged(ratios, 1 - band, 1 + band),
        text,
        f"chance to see an exponent off by {2 * band:.0%}: {detection_chance(band, ratios):.2f}",
    )


SECTION = Section("scaling", CLAIMS, sweeps, judge)
