"""Eq. 5 and the escapes of ADAM: four readings of eq. 5, an equation that is ADAM, and optax ADAM
itself.

One stable gradient noise drives all: `g_k = grad F - S xi_k`. Eq. 5 puts fresh noise on the
position and a noise-free gradient in m. What v follows is read in four ways:

    v independent      a minibatch gradient independent of the noise on the position: the model as
                       printed (supplement, A.2)
    v by the kick      the minibatch gradient whose noise is the one on the position: the most
                       favourable reading
    mean square        a finite variance in place of the squared noise, `Adam(...)` as it is by
                       default: neither of the two;
                       of noise clipped at 3 and at 30 scales

The equation that averages the noisy gradient and squares it is ADAM step by step. One gradient of
size J in one coordinate sets its v to `(1 - beta2) J^2`, so that the steps that follow it add up,
in that coordinate, to at most

    learning_rate (1 - beta1) / ((1 - beta1 / sqrt(beta2)) sqrt(1 - beta2)),

32 learning rates at the usual betas, however large J is; sqrt(d) times that where d coordinates
jump at once. The paper remarks (p. 3) that ADAM's adaptation clips large gradients, and leaves that
setting out.
"""

from math import inf, log, sqrt
from typing import Any

import numpy as np

from levysde.stats import Estimate
from levysde.studies import Claim, Finding, Reading, Section, Verdict, judged, reference, ruled
from levysde.sweeps import Sweep

from ..figures import curves, new_figure, shared_legend
from ..numbers import around, by_factor
from .independent import IndependentSquare
from .problems import valley

ALPHA, SCALE, BETAS, DELTA = 1.5, 0.3, (0.9, 0.999), 1e-8
RATES = (0.01, 0.02, 0.03, 0.04, 0.06, 0.08)  # learning rates; the basin is a disc of radius one
# of a jump, in learning rates
BOUND = (1 - BETAS[0]) / ((1 - BETAS[0] / sqrt(BETAS[1])) * sqrt(1 - BETAS[1]))
CLIPS = (3.0, 30.0)  # noise beyond so many scales is left out of the variance that eq. 5 is given
_MOST_STEPS = 200_000
_TRUTH, _TWIN = "optax ADAM", "the equation that is ADAM"
_PRINTED, _KINDER = "eq. 5, v independent (A.2)", "eq. 5, v by the kick"
_EQ5 = (
    "d th = -mu Q^-1 m dt + eps Q^-1 Sigma dL, dm = b1 (grad F - m), dv = b2 ([grad f_S]^2 - v) "
    "(eq. 5); L and the minibatch "
    '"actually do not depend on each other" (A.2); Section 4 draws conclusions on ADAM\'s escapes '
    "from it"
)

TRUTHFUL = Claim(
    "truthful",
    "An equation that averages the noisy gradient, and squares it, escapes as ADAM does",
    "not in the paper: eq. 5 without its model of the noise",
    "from the same noise, trajectory by trajectory, it leaves at the same iteration, at every "
    "learning rate",
    "more than 1% of the trajectories leave at another iteration, or do not leave",
    "own",
)
INDEPENDENT = Claim(
    "eq5-independent",
    "Eq. 5 with v from a gradient independent of the noise (as printed) escapes as often as ADAM "
    "under stable gradient noise",
    "eq. 5, p. 5; supplement A.2, p. 1; used in Section 4. The paper compares no escape times",
    "the mean escape time of optax ADAM over that of this equation is 1 at every learning rate",
    "the interval of some ratio excludes 1",
    "read",
    _EQ5,
)
KINDER = Claim(
    "eq5-kick",
    "Eq. 5 with v from the gradient whose noise is the kick's (the most favourable reading) "
    "escapes as often as ADAM",
    "a reading of eq. 5 against A.2",
    "the mean escape time of optax ADAM over that of this equation is 1 at every learning rate",
    "the interval of some ratio excludes 1",
    "own",
)
MEAN = Claim(
    "eq5-mean-square",
    "Eq. 5 with a finite variance in v, `Adam(...)` as it is by default, escapes as often as ADAM",
    "a reading of eq. 5 for stable noise, whose square has no mean",
    "as for the claim before, for noise clipped at 3 and at 30 scales",
    "the interval of some ratio excludes 1",
    "own",
)
DEFAULTS = Claim(
    "decay-rates",
    "With ADAM's default setting the rates of eq. 5 satisfy b1 <= b2 <= 2 b1",
    "Assumption 2, p. 5; symbols as in the algorithm, p. 4",
    "b2 / b1 between 1 and 2",
    "b2 / b1 outside [1, 2] for both usual conversions of a decay factor to a rate",
    "read",
    "b1 <= b2 <= 2 b1 (Assumption 2), which ADAM's default setting is said to satisfy",
    "b1, b2 are the rates at which the averages of eq. 5 forget as the algorithm's do: -ln(beta) "
    "/ eta (exact) or (1 - beta) / eta (first order), any eta",
)
JUMP = Claim(
    "one-jump",
    "One large gradient takes ADAM out of a basin of any width, as it does in eq. 5",
    "a question to Theorem 1 for eq. 5; the paper remarks (p. 3) that ADAM's adaptation clips, and "
    "leaves that setting out",
    f"iterations of optax ADAM fall as eta^-alpha, exponent -{ALPHA:g}, although ADAM's largest "
    f"jump in a coordinate is the basin's radius only at a learning rate of {1 / BOUND:.3f}",
    f"the interval of the exponent excludes -{ALPHA:g}",
    "own",
)
CLAIMS = (TRUTHFUL, INDEPENDENT, KINDER, MEAN, DEFAULTS, JUMP)


def clipped_variance(clip: float) -> float:
    """`E min(|xi|, clip)^2` of a unit stable draw, by a million of them."""
    from scipy.stats import levy_stable  # slow to import

    draws = np.asarray(
        levy_stable.rvs(ALPHA, 0, size=1_000_000, random_state=np.random.default_rng(0))
    )
    return float(np.mean(np.minimum(np.abs(draws), clip) ** 2))


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    rate = {"of": "dynamics.learning_rate"}
    optax_adam = {
        "name": "OptimizerKernel", "transformation": "adam", "scale": SCALE, "iteration_time": rate,
        "driver": {"name": "StableComponents", "alpha": ALPHA},
        "hyperparameters": {"learning_rate": rate, "b1": BETAS[0], "b2": BETAS[1], "eps": DELTA},
    }  # fmt: skip
    euler = {"name": "EulerMaruyama", "dt": rate}
    adam = {"name": "Adam", "scale": SCALE, "delta": DELTA, "bias_correction": True}
    independent = {"name": reference(IndependentSquare), "scale": SCALE, "delta": DELTA}
    is_adam = adam | {"noise_in": "average", "square": "sampled"}
    # name: seed, kernel, equation. The first two share a seed, and so the noise of every
    # trajectory.
    found: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
        _TRUTH: (701, optax_adam, is_adam),
        _TWIN: (701, euler, is_adam),
        _PRINTED: (704, euler, independent),
        _KINDER: (705, euler, adam | {"square": "sampled"}),
    }
    for k, clip in enumerate(CLIPS):
        variance = float(f"{SCALE**2 * clipped_variance(clip):.4g}")
        found[f"eq. 5, mean square, clip {clip:g}"] = (
            702 + k,
            euler,
            adam | {"gradient_variance": variance},
        )
    rates = list(RATES[1:5:2] if quick else RATES)
    return {name: _spec(*parts, rates, 100 if quick else 4000) for name, parts in found.items()}


def _spec(
    seed: int, kernel: dict[str, Any], dynamics: dict[str, Any], rates: list[float], num: int
) -> dict[str, Any]:
    run = {
        "landscape": {"name": reference(valley), "dim": 2, "condition": 1.0},
        "driver": {"name": "StableComponents", "alpha": ALPHA},
        "dynamics": dynamics | {"learning_rate": rates[0]},
        "domain": {"name": "Ball", "radius": 1.0},
        "kernel": kernel,
        "num": num,
        "max_steps": _MOST_STEPS,
    }
    return {"seed": seed, "run": run, "grid": {"dynamics.learning_rate": rates}}


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    table = {name: _rungs(sweep) for name, sweep in found.items()}
    rates, truth = list(table[_TRUTH]), table[_TRUTH]
    same = {r: float(np.mean(truth[r]["steps"] == table[_TWIN][r]["steps"])) for r in rates}
    ratios = {
        name: {r: _ratio_or_bound(truth[r], rungs[r]) for r in rates}
        for name, rungs in table.items()
        if name.startswith("eq. 5")
    }
    exponents = {name: _exponent(table[name]) for name in (_TRUTH, *ratios)}
    verdicts = (
        ruled(
            TRUTHFUL,
            "holds" if min(same.values()) >= 0.99 else "fails",
            "at the same "
            "iteration: " + ", ".join(f"{share:.1%} at {rate:g}" for rate, share in same.items()),
            "every trajectory that differs is seen",
        ),
        _differs(INDEPENDENT, {_PRINTED: ratios[_PRINTED]}),
        _differs(KINDER, {_KINDER: ratios[_KINDER]}),
        _differs(MEAN, {name: found for name, found in ratios.items() if "mean square" in name}),
        _defaults(),
        ruled(
            JUMP,
            judged(exponents[_TRUTH], -ALPHA, -ALPHA),
            "; ".join(f"exponent {slope} ({name})" for name, slope in exponents.items())
            + "; escapes of "
              "ADAM: " + ", ".join(f"{truth[r]['escapes']} of {truth[r]['num']} at "
                                   f"{r:g}" for r in rates),
            f"{truth[rates[0]]['num']} trajectories of at most {_MOST_STEPS:,} iterations",
        ),
    )  # fmt: skip
    rows = [
        {"model": name, "learning_rate": r} | rung
        for name, rungs in table.items()
        for r, rung in rungs.items()
    ]
    rows += [
        {"model": name, "learning_rate": r, "ADAM over it": e.value, "low": e.low, "high": e.high}
        for name, of_rate in ratios.items()
        for r, e in of_rate.items()
    ]
    return Finding(
        verdicts,
        {"escapes": _figure(table, ratios)},
        {"rungs": [{k: v for k, v in r.items() if k not in ("mean", "steps")} for r in rows]},
    )


def _differs(claim: Claim, ratios: dict[str, dict[float, Estimate]]) -> Verdict:
    """How the escape times differ. The paper compares none, so that a difference is a finding of
    ours, and no contradiction."""
    every = [e for of_rate in ratios.values() for e in of_rate.values() if e.low]
    known = [e for e in every if np.isfinite(e.high)]
    differs = sum(not e.low <= 1 <= e.high for e in every)
    shown = "; ".join(
        (f"{name}: " if len(ratios) > 1 else "")
        + ", ".join(
            (
                f"{e}"
                if np.isfinite(e.high)
                else f"above {e.low:.3g}"
                if e.low
                else "too few escapes of both"
            )
            + f" at {rate:g}"
            for rate, e in of_rate.items()
        )
        for name, of_rate in ratios.items()
    )
    low, high = min(e.value for e in known), max(e.value for e in known)
    return Verdict(
        claim,
        "own finding" if differs == len(every) else "inconclusive",
        f"ADAM's mean escape time over that of the equation: {shown}",
        f"intervals of at most a factor {max(e.high / e.value for e in known):.2f}",
        f"not tested in the paper; here ADAM's escapes are {_plain(low)} to {_plain(high)} times "
        "as rare, by the learning rate"
        if differs == len(every)
        else f"the intervals exclude 1 at {differs} of {len(every)} learning rates",
    )


def _plain(value: float) -> str:
    return f"{value:.1f}" if value < 20 else f"{value:,.0f}"


def _defaults() -> Verdict:
    exact, first = log(BETAS[1]) / log(BETAS[0]), (1 - BETAS[1]) / (1 - BETAS[0])
    reading = Reading(
        Estimate(exact, min(exact, first), max(exact, first)), 1.0, 2.0, "b1 <= b2 <= 2 b1"
    )
    return ruled(
        DEFAULTS,
        "fails" if reading.contradicts else "holds",
        f"b2 / b1 = {exact:.4f} by -ln(beta) / eta, {first:.4f} by (1 - beta) / eta, for betas "
        f"{BETAS[0]:g} and {BETAS[1]:g}",
        "exact",
        "the decay factors 0.9 and 0.999 themselves satisfy it, but Theorem 1 uses it for the "
        "rates of eq. 5",
        reading,
    )


def _rungs(sweep: Sweep) -> dict[float, dict[str, Any]]:
    """By learning rate: escapes, time at risk, and the mean in iterations."""
    found = {}
    for point, rate in zip(sweep.plan.points, sweep.plan.axes[0].labels, strict=True):
        columns = sweep.columns(point)
        escapes, risk = int(columns["escapes"]), float(columns["time"].sum()) / rate
        half = 1.96 / sqrt(escapes) if escapes else inf
        mean = by_factor(risk / escapes, half) if escapes else None
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
    return by_factor(value, half)


def _ratio_or_bound(above: dict[str, Any], under: dict[str, Any]) -> Estimate:
    """The same; where there are too few escapes above, what three of them would have made it, as a
    lower limit; not a number where there are too few of both."""
    ratio = _ratio(above, under)
    if ratio is not None:
        return ratio
    if under["escapes"] < 10:
        return Estimate(np.nan, 0.0, inf)
    limit = (
        above["iterations"]
        / (above["escapes"] + 3 * sqrt(above["escapes"] + 1))
        / under["mean"].value
    )
    return Estimate(limit, limit, inf)


def _exponent(rungs: dict[float, dict[str, Any]]) -> Estimate:
    """Of iterations as a power of the learning rate, over the rungs with ten escapes or more, each
    weighted by its escapes."""
    used = {rate: rung for rate, rung in rungs.items() if rung["escapes"] >= 10}
    if len(used) < 2:
        return Estimate(np.nan, -inf, inf)
    x, y = np.log(list(used)), np.log([rung["mean"].value for rung in used.values()])
    weight = np.array([rung["escapes"] for rung in used.values()], float)
    x = x - weight @ x / weight.sum()
    spread = weight @ (x * x)
    value, half = float(weight @ (x * y) / spread), 1.96 / sqrt(spread)
    return around(value, half)


def _figure(
    table: dict[str, dict[float, dict[str, Any]]], ratios: dict[str, dict[float, Estimate]]
) -> Any:
    figure, axes = new_figure(1, 2)
    lines = {}
    for name, rungs in table.items():
        known = {rate: rung["mean"] for rate, rung in rungs.items() if rung["mean"] is not None}
        lines[name] = (list(known), list(known.values()))
    label = "learning rate (radius of the basin: 1)"
    curves(axes[0], lines, label, "mean escape time (iterations)", first_large=True, legend=False)
    none = [rate for rate, rung in table[_TRUTH].items() if not rung["escapes"]]
    if none:
        risk = [table[_TRUTH][rate]["iterations"] / 3 for rate in none]
        axes[0].plot(none, risk, "^", color="C0", label="optax ADAM: no escape, lower limit (95%)")
    axes[0].axvline(1 / BOUND, color="0.5", ls="--", lw=1, label="ADAM's jumps reach the rim")
    known = {
        name: {rate: e for rate, e in of_rate.items() if np.isfinite(e.high)}
        for name, of_rate in ratios.items()
    }
    lines = {name: (list(of_rate), list(of_rate.values())) for name, of_rate in known.items()}
    first = len(table) - len(ratios)
    curves(
        axes[1], lines, label, "mean escape time, ADAM over the equation", legend=False, first=first
    )
    axes[1].axhline(1, color="0.4", lw=1)
    axes[1].annotate(
        "1: escapes as often as ADAM",
        (0.98, 1.05),
        xycoords=("axes fraction", "data"),
        ha="right",
        fontsize=8,
    )
    shared_legend(figure, axes[:1], 4, fontsize=8, loc="outside lower center")
    return figure


SECTION = Section("model", CLAIMS, sweeps, judge)
