"""Eq. 5 as a model of ADAM: against the equation that sends its noise through the averages, and against optax ADAM itself.

One stable gradient noise drives all four: `g_k = grad F - S xi_k`. Eq. 5 puts fresh noise on the position and takes v from a
finite covariance; the truthful variant averages the noisy gradient and squares it, and is ADAM step by step. The point: one
gradient of size J sets v to `(1 - beta2) J^2`, so that the steps that follow it add up to at most

    learning_rate (1 - beta1) / ((1 - beta1 / sqrt(beta2)) sqrt(1 - beta2)),

32 learning rates at the usual betas, however large J is. A jump of ADAM is bounded; a basin that is wider is not left by one.
"""

from math import inf, sqrt
from typing import Any

import numpy as np

from levysde.stats import Estimate
from levysde.studies.study import Finding, Section
from levysde.studies.verdicts import Claim, Verdict, Word, all_judged, judged
from levysde.studies.zhou2020.figures import curves, new_figure
from levysde.studies.zhou2020.problems import HERE
from levysde.sweeps import Sweep

ALPHA, SCALE, BETAS, DELTA = 1.5, 0.3, (0.9, 0.999), 1e-8
RATES = (0.01, 0.02, 0.03, 0.04, 0.06, 0.08)  # learning rates; the basin is a disc of radius one
BOUND = (1 - BETAS[0]) / ((1 - BETAS[0] / sqrt(BETAS[1])) * sqrt(1 - BETAS[1]))  # of a jump, in learning rates
CLIPS = (3.0, 30.0)  # noise beyond so many scales is left out of the variance that eq. 5 is given
_MOST_STEPS = 200_000
_TRUTH = "optax ADAM"

TRUTHFUL = Claim(
    "truthful",
    "An equation that averages the noisy gradient, and squares it, escapes as ADAM does",
    "not in the paper: its own step from ADAM to an equation, without the model of the noise",
    "from the same noise, trajectory by trajectory, it leaves at the same iteration, at every learning rate",
    "more than 1% of the trajectories leave at another iteration, or do not leave",
)
MODEL = Claim(
    "eq5-model",
    "Eq. 5 describes the escapes of ADAM under stable gradient noise",
    "eq. 5, and Section 4, which draws its conclusions on ADAM from it",
    "mean escape time of optax ADAM over that of eq. 5 within a factor of 2, at every learning rate, for one of two finite "
    "variances given to it (of the noise clipped at 3 and at 30 scales)",
    "for both variances the interval of some ratio lies outside [0.5, 2]",
)
JUMP = Claim(
    "one-jump",
    "One large gradient takes ADAM out of a basin of any width, as it does in eq. 5",
    "Theorem 1 for eq. 5",
    f"iterations of optax ADAM fall as eta^-alpha, exponent -{ALPHA:g}, in the band [-2, -1], although ADAM's largest jump is "
    f"the basin's radius only at a learning rate of {1 / BOUND:.3f}",
    "the interval of the exponent lies outside [-2, -1]",
)
CLAIMS = (TRUTHFUL, MODEL, JUMP)


def clipped_variance(clip: float) -> float:
    """`E min(|xi|, clip)^2` of a unit stable draw, by a million of them."""
    from scipy.stats import levy_stable  # slow to import

    draws = np.asarray(levy_stable.rvs(ALPHA, 0, size=1_000_000, random_state=np.random.default_rng(0)))
    return float(np.mean(np.minimum(np.abs(draws), clip) ** 2))


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    rate = {"of": "dynamics.learning_rate"}
    adam = {
        "name": "OptimizerKernel", "transformation": "adam", "scale": SCALE, "iteration_time": rate,
        "noise": {"name": "StableComponents", "alpha": ALPHA},
        "hyperparameters": {"learning_rate": rate, "b1": BETAS[0], "b2": BETAS[1], "eps": DELTA},
    }  # fmt: skip
    euler = {"name": "EulerMaruyama", "dt": rate}
    truthful = {"noise": "average", "square": "sampled"}
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        _TRUTH: (adam, truthful),
        "truthful equation": (euler, truthful),
    }
    for clip in CLIPS:
        variance = float(f"{SCALE**2 * clipped_variance(clip):.4g}")
        found[f"eq. 5, clip {clip:g}"] = (euler, {"gradient_variance": variance})
    rates = list(RATES[1:5:2] if quick else RATES)
    # the first two have one seed, and so the same noise in every trajectory
    return {
        name: _spec(max(k, 1), *parts, rates, 100 if quick else 1000) for k, (name, parts) in enumerate(found.items())
    }


def _spec(number: int, kernel: dict[str, Any], more: dict[str, Any], rates: list[float], num: int) -> dict[str, Any]:
    dynamics = {"name": "Adam", "learning_rate": rates[0], "scale": SCALE, "delta": DELTA, "bias_correction": True}
    run = {
        "landscape": {"name": f"{HERE}:valley", "dim": 2, "condition": 1.0},
        "driver": {"name": "StableComponents", "alpha": ALPHA},
        "dynamics": dynamics | more,
        "domain": {"name": "Ball", "radius": 1.0},
        "kernel": kernel,
        "num": num,
        "max_steps": _MOST_STEPS,
    }
    return {"seed": 700 + number, "run": run, "grid": {"dynamics.learning_rate": rates}}


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    table = {name: _rungs(sweep) for name, sweep in found.items()}
    rates = list(table[_TRUTH])
    truth, model = table[_TRUTH], [name for name in table if name.startswith("eq. 5")]
    same = {r: float(np.mean(truth[r]["steps"] == table["truthful equation"][r]["steps"])) for r in rates}
    against = {name: [_ratio_or_bound(truth[r], table[name][r]) for r in rates] for name in model}
    words: dict[str, Word] = {name: all_judged([judged(r, 0.5, 2) for r in ratios]) for name, ratios in against.items()}
    exponents = {name: _exponent(table[name]) for name in (_TRUTH, *model)}
    verdicts = (
        Verdict(
            TRUTHFUL,
            "holds" if min(same.values()) >= 0.99 else "fails",
            "at the same iteration: " + ", ".join(f"{share:.1%} at {rate:g}" for rate, share in same.items()),
            "every trajectory that differs is seen",
        ),
        Verdict(
            MODEL,
            "fails" if set(words.values()) == {"fails"} else "holds" if "holds" in words.values() else "not testable here",
            "; ".join(
                f"{name}: " + ", ".join(f"{r.value:.3g} at {rate:g}" for rate, r in zip(rates, ratios, strict=True))
                for name, ratios in against.items()
            )
            + " (where ADAM does not escape, its time at risk over eq. 5's mean, a lower limit)",
            "a factor of 2 is seen everywhere",
        ),
        Verdict(
            JUMP,
            judged(exponents[_TRUTH], -2, -1),
            "; ".join(f"exponent {slope} ({name})" for name, slope in exponents.items())
            + "; escapes of ADAM: " + ", ".join(f"{truth[r]['escapes']} of {truth[r]['num']} at {r:g}" for r in rates),
            f"{truth[rates[0]]['num']} trajectories of at most {_MOST_STEPS:,} iterations",
        ),
    )  # fmt: skip
    rows = [{"model": name, "learning_rate": r} | rung for name, rungs in table.items() for r, rung in rungs.items()]
    return Finding(
        verdicts,
        {"escapes": _figure(table)},
        {"rungs": [{k: v for k, v in r.items() if k not in ("mean", "steps")} for r in rows]},
    )


def _rungs(sweep: Sweep) -> dict[float, dict[str, Any]]:
    """By learning rate: escapes, time at risk, and the mean in iterations."""
    found = {}
    for point, rate in zip(sweep.plan.points, sweep.plan.axes[0].labels, strict=True):
        columns = sweep.columns(point)
        escapes, risk = int(columns["escapes"]), float(columns["time"].sum()) / rate
        half = 1.96 / sqrt(escapes) if escapes else inf
        mean = (
            Estimate(risk / escapes, risk / escapes * np.exp(-half), risk / escapes * np.exp(half)) if escapes else None
        )
        found[float(rate)] = {
            "escapes": escapes,
            "num": len(columns["time"]),
            "iterations": risk,
            "mean": mean,
            "steps": columns["steps"],
        }
    return found


def _ratio(above: dict[str, Any], under: dict[str, Any]) -> Estimate | None:
    """Of two means; None where one has fewer than ten escapes."""
    if min(above["escapes"], under["escapes"]) < 10:
        return None
    value = above["mean"].value / under["mean"].value
    half = 1.96 * sqrt(1 / above["escapes"] + 1 / under["escapes"])
    return Estimate(value, value * np.exp(-half), value * np.exp(half))


def _ratio_or_bound(above: dict[str, Any], under: dict[str, Any]) -> Estimate:
    """The same; where there are too few escapes above, what three of them would have made it, as a lower limit."""
    ratio = _ratio(above, under)
    if ratio is not None:
        return ratio
    limit = above["iterations"] / (above["escapes"] + 3 * sqrt(above["escapes"] + 1)) / under["mean"].value
    return Estimate(limit, limit, inf)


def _exponent(rungs: dict[float, dict[str, Any]]) -> Estimate:
    """Of iterations as a power of the learning rate, over the rungs with ten escapes or more, each weighted by its escapes."""
    used = {rate: rung for rate, rung in rungs.items() if rung["escapes"] >= 10}
    if len(used) < 2:
        return Estimate(np.nan, -inf, inf)
    x, y = np.log(list(used)), np.log([rung["mean"].value for rung in used.values()])
    weight = np.array([rung["escapes"] for rung in used.values()], float)
    x = x - weight @ x / weight.sum()
    spread = weight @ (x * x)
    value, half = float(weight @ (x * y) / spread), 1.96 / sqrt(spread)
    return Estimate(value, value - half, value + half)


def _figure(table: dict[str, dict[float, dict[str, Any]]]) -> Any:
    figure, axes = new_figure(1, 1)
    lines = {}
    for name, rungs in table.items():
        known = {rate: rung["mean"] for rate, rung in rungs.items() if rung["mean"] is not None}
        lines[name] = (list(known), list(known.values()))
    curves(axes[0], lines, "learning rate (radius of the basin: 1)", "mean escape time (iterations)", first_large=True)
    none = [rate for rate, rung in table[_TRUTH].items() if not rung["escapes"]]
    if none:
        risk = [table[_TRUTH][rate]["iterations"] / 3 for rate in none]
        axes[0].plot(none, risk, "^", color="C0", label="optax ADAM: no escape, lower limit (95%)")
    axes[0].axvline(1 / BOUND, color="0.5", ls="--", lw=1, label="ADAM's jumps reach the rim")
    axes[0].legend(fontsize=7, frameon=False)
    return figure


SECTION = Section("model", CLAIMS, sweeps, judge)
