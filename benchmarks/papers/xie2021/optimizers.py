"""Momentum and ADAM (Xie et al., ICML 2022): how the exponent depends on B, k and the momentum.

Real optax optimisers on the Styblinski-Tang function in ten dimensions under Gaussian gradient
noise of covariance H_a k / B at the minimum, the same everywhere (s = 1): with one temperature the
exponents are those of the paper,

    SGD                            2 B dL / (eta k H_a)
    heavy ball (raw gradients)     (1 - beta) times that
    averaged momentum              the same as SGD
    ADAM (delta negligible)        2 sqrt(B) dL / (eta sqrt(k H_a)).

Height 1/8000 of the function's, so that a relaxation takes some 50 iterations. Rates are a unit of
`eta * iterations`. What is fitted is `-log` of the rate over that of relaxation: k H_a (SGD,
averaged), k H_a / (1 - beta), sqrt(k H_a B) (ADAM), since these prefactors depend on B and k too.
"""

import functools
from math import log
from typing import Any

import numpy as np
import optax

from levysde import errors
from levysde.stats import Estimate
from levysde.studies import (
    Claim,
    Finding,
    Section,
    Verdict,
    Word,
    all_judged,
    detection_chance,
    judged,
    reference,
    ruled,
)
from levysde.sweeps import Sweep
from levysde.theory import optimizer_exponent

from ..numbers import scaled
from .ladders import Ladder, Panel, Series, ladder, ladder_figure, power, quotient, rows, slope
from .noise import bowl_noise
from .styblinski import escape_run
from .white import CURVATURE, DEPTH, TOP

HEIGHT, BETA = 1 / 8000, 0.9
# exponents 3.4 to 9.1 on both ladders: those of SGD and momentum are proportional to B / k, ADAM's
# to its root
BATCHES = (3, 4, 5, 6, 8)
ADAM_BATCHES = (3, 5, 8, 13, 21)
RATES = {"sgd": 2.0, "heavy ball": 2.0 * (1 - BETA), "averaged momentum": 2.0, "adam": 0.075}
NAMES = {
    "sgd": "SGD",
    "heavy ball": "heavy ball, η/10",
    "averaged momentum": "averaged momentum",
    "adam": "ADAM",
}
AXES = {"batch_size": "B", "sharpness": "1/k"}

HEAVY = Claim(
    "momentum-heavy",
    "Heavy ball with raw gradients divides the exponent by 1/(1−β)",
    "ICML 2022, momentum; the order as in notes on FedAdamom (CVPR 2026)",
    f"slope against B/η over that of SGD at β = {BETA}: {1 - BETA:.2g}, within 10%",
    "the interval of that ratio outside the band",
    "restated",
    "log tau = O(2 (1-beta) B dL / (eta H_ae))",
)
AVERAGED = Claim(
    "momentum-averaged",
    "Momentum that averages gradients leaves the exponent as it is",
    "a check of ours of how momentum is meant",
    "slope against B/η over that of SGD: 1, in the band [0.9, 1.1]",
    "the interval of that ratio outside the band",
    "own",
)
ADAM = Claim(
    "adam-powers",
    "ADAM's exponent grows as sqrt(B) and 1/sqrt(k), SGD's as B and 1/k: ADAM favours flat minima "
    "less",
    'ICML 2022, ADAM; the order as in notes on FedAdamom. Abstract (read): adaptive rates "cannot '
    "select flat minima "
    'as SGD does"',
    "powers of B and of 1/k: ADAM 0.5, in the band [0.3, 0.7]; SGD 1, in the band [0.7, 1.3]",
    "an interval outside its band",
    "restated",
    "log tau = O(2 sqrt(B) dL / (eta sqrt(H_ae))) for ADAM, O(2 B dL / (eta H_ae)) for SGD",
)
SIZE = Claim(
    "adam-size",
    "ADAM's exponent is 2 sqrt(B) ΔL/(η sqrt(k H_a))",
    "ICML 2022, ADAM; the order as in notes on FedAdamom, the constant is ours",
    "slope against sqrt(B) and 1/sqrt(k) over the law's: 1, in the band [0.85, 1.15]",
    "an interval outside the band",
    "restated",
    "log tau = O(2 sqrt(B) dL / (eta sqrt(H_ae)))",
)
CLAIMS = (HEAVY, AVERAGED, ADAM, SIZE)


@functools.cache  # one object for one setting, so that a ladder compiles once
def averaged_momentum(learning_rate: Any, momentum: Any) -> optax.GradientTransformation:
    """`m <- beta m + (1 - beta) g`, `x <- x - eta m`. Raises TypeError or ValueError for numbers
    out of range."""
    errors.positive("learning_rate", learning_rate)
    beta = errors.fraction("momentum", momentum)
    return optax.chain(optax.ema(beta, debias=False), optax.scale_by_learning_rate(learning_rate))


def transformation(name: str) -> dict[str, Any]:
    rate = {"learning_rate": {"of": "dynamics.learning_rate"}}
    return {
        "sgd": {"transformation": "sgd", "hyperparameters": rate},
        "heavy ball": {"transformation": "sgd", "hyperparameters": rate | {"momentum": BETA}},
        "averaged momentum": {
            "transformation": {"name": reference(averaged_momentum), "momentum": BETA} | rate
        },
        "adam": {
            "transformation": "adam",
            "hyperparameters": rate | {"b1": 0.9, "b2": 0.999, "eps": 1e-10},
        },
    }[name]


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    num = 100 if quick else 250
    found = {}
    for i, name in enumerate(RATES):
        batches = ADAM_BATCHES if name == "adam" else BATCHES
        batches = batches[:3] if quick else batches
        for j, axis in enumerate(AXES):
            if axis == "sharpness" and name not in ("sgd", "adam"):
                continue
            run = optimizer_run(name, float(batches[2]), num)
            if axis == "batch_size":
                grid = {"kernel.scale.batch_size": [float(b) for b in batches]}
            else:
                grid = {"landscape.hessian_factor": [batches[2] / b for b in batches]}
            found[f"{name.replace(' ', '')}-{axis}"] = {
                "seed": 700 + 10 * i + j,
                "run": run,
                "grid": grid,
            }
    return found


def optimizer_run(name: str, batch: float, num: int) -> dict[str, Any]:
    rate = {"of": "dynamics.learning_rate"}
    tang = {"name": "StyblinskiTang", "dim": 10, "hessian_factor": 1.0, "loss_factor": HEIGHT}
    kernel = {
        "name": "OptimizerKernel",
        "driver": {"name": "Brownian"},
        "scale": {"name": reference(bowl_noise), "batch_size": batch},
        "iteration_time": rate,
    }
    run = escape_run(tang, TOP, num, kernel | transformation(name))
    return run | {
        "dynamics": {"name": "SGD", "learning_rate": RATES[name]},
        "max_time": 1e9 * RATES[name],
        "max_steps": 10**7,
    }


def exponent(name: Any, batch: float, k: float) -> float:
    return optimizer_exponent(
        optimizer=name,
        barrier=HEIGHT * DEPTH,
        minimum_curvature=HEIGHT * CURVATURE * k,
        saddle_curvature=HEIGHT * CURVATURE * k,  # s = 1: one temperature
        learning_rate=RATES[name],
        batch_size=batch,
        momentum=BETA,
    )


def relaxation(name: str, batch: float, k: float) -> float:
    """The rate at which the optimiser relaxes in its minimum, a unit of `eta * iterations`."""
    curvature = HEIGHT * CURVATURE * k
    if name == "adam":
        return (curvature * batch) ** 0.5
    return curvature / (1 - BETA if name == "heavy ball" else 1)


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    raw = {name: ladder(sweep) for name, sweep in found.items()}
    lines, laws = {}, {}
    for name in RATES:
        batches = ADAM_BATCHES if name == "adam" else BATCHES
        for axis in AXES:
            here = raw.get(f"{name.replace(' ', '')}-{axis}")
            if here is None:
                continue
            at = [(x, 1.0) if axis == "batch_size" else (float(batches[2]), x) for x in here.x]
            plain = here.shifted(np.array([log(relaxation(name, b, k)) for b, k in at]))
            law = np.array([exponent(name, b, k) for b, k in at])
            x = here.x if axis == "batch_size" else 1 / here.x
            lines[name, axis], laws[name, axis] = plain.against(x), law[np.argsort(x)]
    verdicts = (*_momenta(lines), _powers(lines), _size(lines, laws))
    panels = [
        [
            Panel("B", [Series(NAMES[n], lines[n, "batch_size"]) for n in RATES if n != "adam"]),
            Panel("√B", [Series("ADAM", _rooted(lines["adam", "batch_size"]), look=3)]),
            Panel("1/k", [Series("SGD", lines["sgd", "sharpness"])]),
            Panel("1/√k", [Series("ADAM", _rooted(lines["adam", "sharpness"]), look=3)]),
        ]
    ]
    data = {name: rows(found_, name.rsplit("-", 1)[1]) for name, found_ in raw.items()}
    return Finding(
        verdicts, {"exponents": ladder_figure(panels, "−log(rate over relaxation)")}, data
    )


def _rooted(found: Ladder) -> Ladder:
    return found.against(found.x**0.5)


def _momenta(lines: dict[Any, Ladder]) -> tuple[Verdict, Verdict]:
    base = scaled(slope(lines["sgd", "batch_size"]), RATES["sgd"])  # against B / eta
    verdicts = []
    for claim, name, expected in (
        (HEAVY, "heavy ball", 1 - BETA),
        (AVERAGED, "averaged momentum", 1.0),
    ):
        ratio = quotient(scaled(slope(lines[name, "batch_size"]), RATES[name]), base)
        verdicts.append(
            ruled(
                claim,
                judged(ratio, 0.9 * expected, 1.1 * expected),
                f"ratio of slopes {ratio}",
                f"chance to see a ratio off by 20%: {detection_chance(0.1 * expected, ratio):.2f}",
            )
        )
    return verdicts[0], verdicts[1]


def _powers(lines: dict[Any, Ladder]) -> Verdict:
    start = {"sgd": 1.0, "adam": 0.5}
    found = {(n, a): power(lines[n, a], start[n]) for n in start for a in AXES}
    bands = {"sgd": (0.7, 1.3), "adam": (0.3, 0.7)}
    words: list[Word] = [judged(value, *bands[n]) for (n, _), value in found.items()]
    shown = ", ".join(f"{n.upper()} in {AXES[a]} {value}" for (n, a), value in found.items())
    return ruled(
        ADAM,
        all_judged(words),
        f"powers {shown}",
        "chance to distinguish ADAM's power from 1: "
        f"{detection_chance(0.3, [found['adam', a] for a in AXES]):.2f} or more",
    )


def _size(lines: dict[Any, Ladder], laws: dict[Any, np.ndarray]) -> Verdict:
    ratios: dict[str, Estimate] = {}
    for axis, label in AXES.items():
        here, law = lines["adam", axis], laws["adam", axis]
        expected = slope(_rooted(Ladder(here.x, law, here.escapes, here.censored))).value
        ratios[f"sqrt({label})"] = scaled(slope(_rooted(here)), 1 / expected)
    return ruled(
        SIZE,
        judged(ratios.values(), 0.85, 1.15),
        "measured over predicted "
        "slope " + ", ".join(f"in {name} {ratio}" for name, ratio in ratios.items()),
        f"chance to see a slope off by 30%: {detection_chance(0.15, ratios.values()):.2f} or more",
    )


SECTION = Section("optimizers", CLAIMS, sweeps, judge)
