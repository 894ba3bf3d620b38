"""Gaussian minibatch noise on the Styblinski-Tang function in ten dimensions, next to a bowl
without a saddle.

The height is divided by 2000, so that a stable learning rate escapes at all: the exponent `2 B dL /
(eta H)` does not change with the height, but `eta H < 2` does. Base setting: eta = 8, k = 1, `eta k
H_a = 0.14`; each ladder changes one of B, eta, k so that B / (eta k) takes the same five values.
Three runs of each:

    literal    steps of eta with noise of covariance |L''(x)| / B at every x: a model of ours
    frozen     the SDE with two temperatures, s = 1/2, from which the formula of Theorem 3.2
               follows; Euler steps of eta / 4
    bowl       steps of eta with noise H_a / B in a bowl of curvature H_a k whose edge has climbed
               dL: no saddle

The literal noise escapes far more slowly, so its B are smaller. It is run again as an SDE, with
finer and finer steps: it has to escape at one rate if it is a diffusion.
"""

from math import log
from typing import Any

import numpy as np

from levysde.landscapes import StyblinskiTang
from levysde.stats import Estimate, escape_rate
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
from levysde.theory import xie_law

from ..figures import COLOURS, look, new_figure, points
from ..numbers import over
from .ladders import (
    Ladder,
    Panel,
    Series,
    bend,
    ladder,
    ladder_figure,
    pooled,
    rows,
    slope,
    slope_ratio,
)
from .literal import literal_passage
from .noise import bowl_noise, frozen_noise, literal_noise
from .white import CURVATURE, DEPTH, DIM, EDGE, SADDLE, TOP

HEIGHT, RATE, FRACTION = 0.0005, 8.0, 0.5
BATCHES = {
    "literal": (4, 5, 6, 7, 8),
    "frozen": (8, 12, 16, 20, 24),
    "bowl": (16, 20, 24, 28, 32),
}  # the middle one is the base
NOISES = {"literal": literal_noise, "frozen": frozen_noise, "bowl": bowl_noise}
FINE = 4  # steps of the frozen SDE in one of eta
STEPS = (1, 2, 4, 8)  # of the literal SDE, in one of eta
AXES = {"batch_size": "B", "learning_rate": "1/η", "sharpness": "1/k"}

FROZEN = Claim(
    "sgd-exponent",
    "With two frozen temperatures −log rate grows as (2BΔL/ηk)(s/H_a + (1−s)/|H_b|)",
    "Theorem 3.2, as in Ibayashi and Imaizumi (ICLR 2023 submission), Table 1",
    "slopes of −log rate against B, 1/η, 1/k over the law's 1, in the band [0.9, 1.1]",
    "an interval of measured over predicted slope outside [0.9, 1.1]",
    "restated",
    "tau = (2 pi / |l'|) exp[(2B/eta) dL (s/l + (1-s)/|l'|)]",
)
LINES = Claim(
    "sgd-lines",
    "SGD with noise |H(θ)|/B: −log rate is linear in B, 1/η and 1/k",
    "experiments to Theorem 3.2",
    "slopes at the two ends of a line differ by less than half of the slope in the middle",
    "an interval of that difference outside [−0.5, 0.5]",
)
RANGE = Claim(
    "sgd-s",
    "Does SGD with noise |H(θ)|/B, taken literally, escape with an s between 0 and 1?",
    "a question of ours to Theorem 3.2, whose s is an unexplained factor in (0, 1)",
    f"slope against B/(ηk) between {2 * DEPTH / CURVATURE:.2f} (s = 1) and "
    f"{2 * DEPTH / SADDLE:.2f} (s = 0)",
    "the interval of the slope in B outside that range",
    "own",
)
NULL = Claim(
    "sgd-evidence",
    "Does a quadratic bowl without a saddle make straight lines of −log rate against B, 1/η, 1/k "
    "too?",
    "a caution of ours (null model); no statement in the paper is known to us that rests on "
    "straightness alone",
    "straight by the same test, with slopes within 25% of B r²/(ηk)",
    "an interval of a relative change of slope outside [−0.5, 0.5], or of a slope over B r²/(ηk) "
    "outside [0.75, 1.25]",
    "own",
)
LITERAL = Claim(
    "sgd-literal",
    "Does a diffusion with D(θ) = (η/2B)|H(θ)| along the whole path leave the valley, at a rate "
    "that its step does not set?",
    "a model of ours: the paper speaks of critical points (D(x) = eta C(x)/2 near them, in "
    "restatements)",
    "rate at steps of η/8 over that at η: 1, in the band [0.5, 2]",
    "the interval of that ratio outside [0.5, 2]",
    "own",
)
CLAIMS = (FROZEN, LINES, RANGE, NULL, LITERAL)


def values(name: str, axis: str, quick: bool) -> list[float]:
    """The ladder of an axis: B / (eta k) takes the values BATCHES / RATE on each."""
    batches = BATCHES[name][:3] if quick else BATCHES[name]
    if axis == "batch_size":
        return [float(b) for b in batches]
    return [{"learning_rate": RATE, "sharpness": 1.0}[axis] * BATCHES[name][2] / b for b in batches]


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    num = 100 if quick else 250
    found = {}
    for i, axis in enumerate(AXES):
        for j, (name, run) in enumerate(_runs(num).items()):
            path = {
                "batch_size": "kernel.scale.batch_size"
                if name != "frozen"
                else "dynamics.scale.batch_size"
            }
            where = {
                "learning_rate": "dynamics.learning_rate",
                "sharpness": "landscape.hessian_factor",
            } | path
            found[f"{name}-{axis}"] = {
                "seed": 100 + 10 * i + j,
                "run": run,
                "grid": {where[axis]: values(name, axis, quick)},
            }
    found["literal-steps"] = {
        "seed": 150,
        "run": literal_sde(num),
        "grid": {"kernel.dt": [RATE / n for n in STEPS]},
    }
    return found


def _runs(num: int) -> dict[str, dict[str, Any]]:
    literal, frozen, constant = (
        {"name": reference(noise), "batch_size": float(BATCHES[name][2])}
        for name, noise in NOISES.items()
    )
    frozen |= {"path_fraction": FRACTION}
    bowl = {
        "name": "rescaled",
        "landscape": {"name": "Quadratic", "hessian": [HEIGHT * CURVATURE] * DIM},
        "hessian_factor": 1.0,
    }
    euler = {"name": "EulerMaruyama", "dt": {"of": "dynamics.learning_rate", "times": 1 / FINE}}
    return {
        "literal": escape_run(_tang(), TOP, num, _real(literal)),
        "frozen": escape_run(_tang(), TOP, num, euler, frozen),
        "bowl": escape_run(bowl, EDGE, num, _real(constant)),
    }


def literal_sde(num: int) -> dict[str, Any]:
    literal = {"name": reference(literal_noise), "batch_size": float(BATCHES["literal"][0])}
    run = escape_run(_tang(), TOP, num, {"name": "EulerMaruyama", "dt": RATE}, literal)
    return run | {"max_time": 1e6}


def escape_run(
    landscape: dict[str, Any],
    upper: float,
    num: int,
    kernel: dict[str, Any],
    scale: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An escape run on a sum over coordinates, from its minimum to where one of them passes `upper
    / sqrt(k)`."""
    dynamics: dict[str, Any] = {"name": "SGD", "learning_rate": RATE}
    box = {"name": "Box", "lower": [-10.0] * DIM, "upper": [upper] * DIM}
    return {
        "landscape": landscape,
        "driver": {"name": "Brownian"},
        "dynamics": dynamics if scale is None else dynamics | {"scale": scale},
        "domain": {
            "name": "Dilated",
            "domain": box,
            "factor": {"of": "landscape.hessian_factor", "power": -0.5},
        },
        "kernel": kernel,
        "num": num,
        "max_time": 2e7,
    }


def _tang() -> dict[str, Any]:
    return {"name": "StyblinskiTang", "dim": DIM, "hessian_factor": 1.0, "loss_factor": HEIGHT}


def _real(scale: dict[str, Any]) -> dict[str, Any]:
    rate = {"of": "dynamics.learning_rate"}
    return {
        "name": "OptimizerKernel",
        "transformation": "sgd",
        "driver": {"name": "Brownian"},
        "scale": scale,
        "hyperparameters": {"learning_rate": rate},
        "iteration_time": rate,
    }


def settings(name: str, axis: str, found: Ladder) -> list[tuple[float, float, float]]:
    """(B, eta, k) of each rung, the ladder being in the order of its own axis."""
    place = list(AXES).index(axis)
    base = [float(BATCHES[name][2]), RATE, 1.0]
    return [tuple([*base[:place], float(x), *base[place + 1 :]]) for x in found.x]  # pyright: ignore[reportReturnType]


def law(name: str, batch: float, rate: float, k: float, fraction: float = FRACTION) -> float:
    """`log mean`: of Theorem 3.2 (corrected prefactor) to the saddle, over ten coordinates; of the
    bowl its exponent."""
    if name == "bowl":
        return bowl_exponent(radius=EDGE, sharpness=k, learning_rate=rate, batch_size=batch)
    return xie_law(
        barrier=HEIGHT * DEPTH,
        minimum_curvature=HEIGHT * CURVATURE * k,
        saddle_curvature=HEIGHT * SADDLE * k,
        learning_rate=rate,
        batch_size=batch,
        path_fraction=fraction,
        escape="saddle",
    ).log_mean - log(DIM)


def bowl_exponent(
    *, radius: float, sharpness: float, learning_rate: float, batch_size: float
) -> float:
    """`B r^2 / (eta k)`: V/D at the edge of a bowl of curvature `k h`, edge at `r / sqrt(k)`, noise
    covariance `k h / B`.

    The curvature h cancels: the noise grows with it, and there is no saddle."""
    return batch_size * radius**2 / (learning_rate * sharpness)


def straight(found: Ladder, axis: str) -> Ladder:
    """Against B, 1/eta or 1/k."""
    return found if axis == "batch_size" else found.against(1 / found.x)


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    raw = {name: ladder(sweep) for name, sweep in found.items() if name != "literal-steps"}
    by_step = step_rates(found["literal-steps"])
    lines, laws = {}, {}
    for name in ("literal", "frozen", "bowl"):
        for axis in AXES:
            key = f"{name}-{axis}"
            law_of = np.array([law(name, *at) for at in settings(name, axis, raw[key])])
            lines[key] = straight(raw[key], axis)
            laws[key] = law_of if axis == "batch_size" else law_of[np.argsort(1 / raw[key].x)]
    verdicts = (
        _frozen(lines, laws),
        _lines(lines),
        _range(lines, laws),
        _null(lines, laws),
        _literal(by_step),
    )
    panels = [
        Panel(
            label,
            [
                Series(
                    "frozen, s = 1/2 (SDE); dashed: Theorem 3.2, 2π/H_a",
                    lines[f"frozen-{axis}"],
                    laws[f"frozen-{axis}"],
                ),
                Series("literal |H(θ)|/B (steps of η)", lines[f"literal-{axis}"]),
                Series("null model: bowl without a saddle", lines[f"bowl-{axis}"]),
            ],
        )
        for axis, label in AXES.items()
    ]
    data = {name: rows(raw[name], name.split("-", 1)[1]) for name in raw}
    data["literal-steps"] = [
        {"step": x, "rate": r.value, "low": r.low, "high": r.high} for x, r in by_step.items()
    ]
    return Finding(
        verdicts, {"lines": ladder_figure([panels]), "steps": _steps_figure(by_step)}, data
    )


def _each(values: dict[str, Estimate]) -> str:
    return ", ".join(f"{AXES[axis]}: {value}" for axis, value in values.items())


def _frozen(lines: dict[str, Ladder], laws: dict[str, np.ndarray]) -> Verdict:
    ratios = {axis: slope_ratio(lines[f"frozen-{axis}"], laws[f"frozen-{axis}"]) for axis in AXES}
    return ruled(
        FROZEN, judged(ratios.values(), 0.9, 1.1), f"measured over predicted slope {_each(ratios)}",
        f"chance to see a slope off by 20%: {detection_chance(0.1, ratios.values()):.2f} or more",
    )  # fmt: skip


def _lines(lines: dict[str, Ladder]) -> Verdict:
    bends = {axis: bend(lines[f"literal-{axis}"]) for axis in AXES}
    slopes = {axis: slope(lines[f"literal-{axis}"]) for axis in AXES}
    word = judged(bends.values(), -0.5, 0.5)
    return ruled(
        LINES,
        word,
        f"slopes {_each(slopes)}; relative change of slope {_each(bends)}",
        f"chance to see a change of slope of 1: {detection_chance(0.5, bends.values()):.2f} or "
        "more",
        "but the lines of a bowl without a saddle are straight too: see `sgd-evidence`"
        * (word == "holds"),
    )


def _range(lines: dict[str, Ladder], laws: dict[str, np.ndarray]) -> Verdict:
    measured = slope(lines["literal-batch_size"])
    low, high = 2 * DEPTH / CURVATURE / RATE, 2 * DEPTH / SADDLE / RATE
    implied = [(high - v) / (high - low) for v in (measured.value, measured.high, measured.low)]
    return ruled(
        RANGE,
        judged(measured, low, high),
        f"slope in B {measured}, against {low:.3f} (s = 1) to {high:.3f} (s = 0): s = "
        f"{implied[0]:.2f} [{implied[1]:.2f}, {implied[2]:.2f}]",
        "chance to see a slope off the range by half its width: "
        f"{detection_chance((high - low) / 2, measured):.2f}",
        f"at ηkH_a = {RATE * HEIGHT * CURVATURE:.2f} only; s is read off a rate that depends on "
        "the step, see `sgd-literal`",
    )


def _null(lines: dict[str, Ladder], laws: dict[str, np.ndarray]) -> Verdict:
    bends = {axis: bend(lines[f"bowl-{axis}"]) for axis in AXES}
    ratios = {axis: slope_ratio(lines[f"bowl-{axis}"], laws[f"bowl-{axis}"]) for axis in AXES}
    word = all_judged([judged(bends.values(), -0.5, 0.5), judged(ratios.values(), 0.75, 1.25)])
    return ruled(
        NULL,
        word,
        f"the bowl: relative change of slope {_each(bends)}; slope over B r²/(ηk) "
        f"{_each(ratios)}, pooled {pooled(list(ratios.values()))}",
        f"chance to see a slope off by 50%: {detection_chance(0.25, ratios.values()):.2f} or more",
        "a straight line alone does not distinguish the theorem from a bowl without a saddle"
        if word == "holds"
        else "",
    )


def step_rates(sweep: Sweep) -> dict[float, Estimate]:
    """The rate at each step of integration, in steps over eta, the largest first; an upper limit
    where nothing escaped."""
    found = {}
    for point in sweep.plan.points:
        at = sweep.values(point)
        result = sweep.result(at)
        found[float(*at.values()) / RATE] = escape_rate(result.time, result.exited)
    return found


def quadrature() -> str:
    """What the exact mean of the literal SDE in one dimension is, or why there is none."""
    well = StyblinskiTang(1, loss_factor=HEIGHT)
    try:
        found = literal_passage(
            well, learning_rate=RATE, batch_size=BATCHES["literal"][0], upper=TOP
        )
    except ValueError as error:
        return str(error).split(". Freeze")[0]
    return f"a mean of {found.mean:.4g}"


def _literal(by_step: dict[float, Estimate]) -> Verdict:
    fine, coarse = by_step[min(by_step)], by_step[max(by_step)]
    ratio = over(fine, coarse)
    shown = ", ".join(f"η/{1 / step:.0f}: {rate}" for step, rate in by_step.items())
    return ruled(
        LITERAL,
        judged(ratio, 0.5, 2.0),
        f"rate at steps of {shown} (10 dimensions, B = {BATCHES['literal'][0]}); finest over "
        f"coarsest {ratio}. By quadrature: {quadrature()}",
        f"a rate of half the coarsest would have been seen as {0.5 * coarse.value:.2g}, the finest "
        f"is known to {fine.high:.2g}",
        "its escapes are an artefact of the step, and vanish with it",
    )


def _steps_figure(by_step: dict[float, Estimate]) -> Any:
    figure, (ax,) = new_figure(1, 1, width=4.6, height=3.2, legend=0.5)
    for step, rate in by_step.items():
        if rate.value:
            points(ax, [step], [rate], ms=6, **look(0))
        else:
            ax.errorbar(
                step, rate.high, rate.high / 2, uplims=True, color=COLOURS[0], marker="_", capsize=2
            )
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlabel("step of integration over η")
    ax.set_ylabel("escape rate (1/SDE time)")
    limits = "; arrows: upper limits" if any(not rate.value for rate in by_step.values()) else ""
    ax.set_title(f"the literal SDE, D = (η/2B)|H(θ)|{limits}", fontsize="medium")
    return figure


SECTION = Section("styblinski", CLAIMS, sweeps, judge)
