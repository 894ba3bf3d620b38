"""Theorem 1: the escape time times its rate is exponential in the limit of small noise. And the
rate as it is printed.

`(1 - r)/(1 + u + r) <= E exp(-u rate Gamma) <= (1 + r)/(1 + u - r)` for every u > -1, with r -> 0.
From a measured transform L the smallest r for which this holds is `|1 - (1 + u) L| / (1 + L)`; it
is followed along a ladder of falling noise.
"""

import itertools
from typing import Any

import numpy as np

from levysde.noise import levy_constant
from levysde.stats import Estimate
from levysde.studies import (
    Claim,
    Finding,
    Reading,
    Section,
    Verdict,
    detection_chance,
    judged,
    reference,
    ruled,
)
from levysde.sweeps import Sweep

from ..figures import curves, new_figure, shared_legend
from ..numbers import over, scaled
from .problems import HEIGHT, at_regime, dynamics_part, law_of, valley

ALPHA, CONDITION = 1.5, 4.0
OPTIMIZERS, DRIVERS = ("SGD", "Adam"), ("StableComponents", "StableIsotropic")
REGIMES = (0.1, 0.03, 0.01)  # rate over relaxation, falling
U = (-0.5, 0.5, 1.0, 2.0, 5.0)
BAND = 0.06  # of r at the end of the ladder
STEPS = (100.0, 300.0, 1000.0)  # predicted mean steps on the network

LAPLACE = Claim(
    "laplace",
    "The escape time times its rate is exponential as the noise falls, for SGD and for ADAM's eq. "
    "5",
    "Theorem 1, p. 6",
    "if Theta is the tail of the true Levy measure, r falls with the noise and is at most "
    f"{BAND} at the smallest noise, for u = -0.5 to 5, both optimisers, both "
    "stable drivers, d = 1 to 100",
    f"the interval of the largest r over u at the smallest noise lies above {BAND}, or r does not "
    "fall from first to last",
    "read",
    "(1-r)/(1+u+r) <= E exp(-u m(W) Theta(1/eps) Gamma) <= (1+r)/(1+u-r) for u > -1, with r -> 0",
)
NETWORK = Claim(
    "network",
    "The same on a network",
    "Theorem 1, p. 6, and its use for deep networks",
    f"r at most {BAND} where the predicted mean is 1000 steps, 8x8 digits, 610 parameters, SGD and "
    "ADAM",
    f"the interval of the largest r over u lies above {BAND}, or r does not fall from the first to "
    "the last noise level",
    "read",
    LAPLACE.printed,
)
PRINTED = Claim(
    "normalisation",
    "Theta(1/eps) is (2/alpha) eps^alpha for noise whose entries are SaS(1)",
    "p. 7, Section 4.2, and supplement C.1 (nu, Theta); p. 4 (entries SaS(1)); p. 6, Theorem 1",
    "rate with the printed Theta times measured mean is 1 in every dimension (with the true tail "
    "it is 1/(d C_alpha) for independent entries)",
    "the interval in d = 100 excludes that in d = 1, for noise of independent entries",
    "read",
    "Theta(eps^-d) = int_{|y| >= eps^-d} nu(dy) = int dy/|y|^(1+alpha) = (2/alpha) eps^(alpha d), "
    "nu on R^d",
    "one constant factor may be missing, the same in every dimension (another scale of SaS(1)); "
    "and with Theta the tail of the true nu Theorem 1 is right (claim `laplace`)",
)
CLAIMS = (LAPLACE, NETWORK, PRINTED)


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    found = {
        f"d{dim}": _spec(
            dim, 500 if quick else 4000 if dim > 10 else 20_000, REGIMES[:2] if quick else REGIMES
        )
        for dim in _dims(quick)
    }
    if not quick:
        run = {"landscape": "digits", "num": 3000}
        grid = {"optimizer": ["sgd", "adam"], "predicted_steps": list(STEPS)}
        found["network"] = {"experiment": "main-job", "seed": 105, "run": run, "grid": grid}
    return found


def _dims(quick: bool) -> tuple[int, ...]:
    return (1, 2, 10) if quick else (1, 2, 10, 100)


def _cases(regimes: tuple[float, ...]) -> list[tuple[str, str, float]]:
    return list(itertools.product(OPTIMIZERS, DRIVERS, regimes))


def _spec(dim: int, num: int, regimes: tuple[float, ...]) -> dict[str, Any]:
    axes: dict[str, list[Any]] = {"dynamics": [], "driver": [], "epsilon": [], "dt": []}
    for optimizer, driver, regime in _cases(regimes):
        law, dt = at_regime(
            law_of(optimizer, driver, valley(dim, CONDITION), ALPHA, HEIGHT), regime
        )
        axes["dynamics"].append(dynamics_part(optimizer, law.epsilon))
        axes["driver"].append({"name": driver, "alpha": ALPHA})
        axes["epsilon"].append(law.epsilon)
        axes["dt"].append(dt)
    run = {
        "landscape": {"name": reference(valley), "dim": dim, "condition": CONDITION},
        "driver": axes["driver"][0],
        "dynamics": axes["dynamics"][0],
        "domain": {"name": "Sublevel", "height": HEIGHT},
        "kernel": {"name": "EulerMaruyama", "dt": axes["dt"][0]},
        "num": num,
    }
    return {"seed": 100 + dim, "run": run, "list": axes}


def smallest_r(times: np.ndarray, rate: float, u: float) -> Estimate:
    """The r that Theorem 1 needs at u, with a 95% interval of the transform (for u = -0.5 the
    variance is infinite, by a logarithm, and the interval is a little too narrow)."""
    values = np.exp(-u * rate * times)
    mean, half = float(values.mean()), 1.96 * float(values.std(ddof=1)) / np.sqrt(len(values))

    def needed(transform: float) -> float:
        return (1 - (1 + u) * transform) / (1 + transform)

    ends = sorted((needed(mean - half), needed(mean + half)))
    low = 0.0 if ends[0] < 0 < ends[1] else min(map(abs, ends))
    return Estimate(abs(needed(mean)), low, max(map(abs, ends)))


def rung(sweep: Sweep, point: Any) -> dict[str, Any]:
    """The numbers of one point: r at each u, and the ratio of the means."""
    columns = sweep.columns(point)
    times, rate = columns["time"][columns["status"] == 1], 1 / columns["predicted_mean"]
    found = {u: smallest_r(times, rate, u) for u in U}
    worst = max(found.values(), key=lambda r: r.value)
    return {
        "r": found,
        "worst": worst,
        "ratio": sweep.estimate(point, "ratio"),
        "regime": float(columns["regime"]),
        "shape": float(columns["shape"]),
    }


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    regimes = REGIMES[:2] if quick else REGIMES
    rows, ladders, printed = [], {}, {}
    for dim in _dims(quick):
        sweep = found[f"d{dim}"]
        for (optimizer, driver, _), point in zip(_cases(regimes), sweep.plan.points, strict=True):
            numbers = rung(sweep, point)
            ladders.setdefault((optimizer, driver, dim), []).append(numbers)
            rows.append(_row(numbers, {"optimizer": optimizer, "driver": driver, "d": dim}))
            if driver == "StableComponents" and optimizer == "SGD":
                printed[dim] = scaled(numbers["ratio"], 1 / (dim * float(levy_constant(ALPHA))))
    network: dict[str, list[dict[str, Any]]] = {}
    if "network" in found:
        for point in found["network"].plan.points:
            numbers, optimizer = rung(found["network"], point), point.settings.optimizer
            network.setdefault(optimizer, []).append(numbers)
            rows.append(
                _row(numbers, {"optimizer": optimizer, "driver": "StableComponents", "d": 610})
            )
    verdicts = (
        _laplace(LAPLACE, list(ladders.values())),
        _on_network(network),
        _as_printed(printed),
    )
    return Finding(verdicts, {"transform": _figure(ladders, network, regimes)}, {"rungs": rows})


def _row(numbers: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    ratio = numbers["ratio"]
    row = about | {"regime": numbers["regime"], "shape": numbers["shape"]}
    row |= {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high}
    return (
        row
        | {f"r({u:g})": r.value for u, r in numbers["r"].items()}
        | {"r_high": numbers["worst"].high}
    )


def _laplace(claim: Claim, ladders: list[list[dict[str, Any]]]) -> Verdict:
    ends = [rungs[-1]["worst"] for rungs in ladders]
    falls = sum(rungs[-1]["worst"].low <= rungs[0]["worst"].value for rungs in ladders)
    word = judged(ends, high=BAND) if falls == len(ladders) else "fails"
    first, last = ([rungs[i]["worst"].value for rungs in ladders] for i in (0, -1))
    shapes = [rungs[-1]["shape"] for rungs in ladders]
    return ruled(
        claim,
        word,
        f"largest r over u: {min(first):.3f} to {max(first):.3f} at the largest noise, "
        f"{min(last):.3f} to {max(last):.3f} at the smallest (highest end of an interval "
        f"{max(r.high for r in ends):.3f}); falls in {falls} of {len(ladders)}; Weibull shape "
        f"there {min(shapes):.3f} to {max(shapes):.3f}",
        f"chance to see r = {2 * BAND:g}: {detection_chance(BAND, ends):.2f} in the widest "
        "interval",
        "the widest intervals are those at u = -0.5, where the transform's variance is infinite"
        if word == "inconclusive"
        else "",
    )


def _on_network(network: dict[str, list[dict[str, Any]]]) -> Verdict:
    if not network:
        return Verdict(
            NETWORK, "inconclusive", "not run", "none", "the quick run leaves the network out"
        )
    return _laplace(NETWORK, list(network.values()))


def _as_printed(printed: dict[int, Estimate]) -> Verdict:
    text = ", ".join(f"{estimate} (d = {dim})" for dim, estimate in printed.items())
    true = ", ".join(f"{1 / (dim * float(levy_constant(ALPHA))):.3g}" for dim in printed)
    widest = max(printed.values(), key=lambda r: (r.high - r.low) / r.value)
    ratio = over(printed[max(printed)], printed[min(printed)])
    reading = Reading(
        ratio, 1.0, 1.0, f"the same constant in d = {max(printed)} as in d = {min(printed)}"
    )
    return ruled(
        PRINTED,
        "fails" if reading.contradicts else "inconclusive",
        f"rate with the printed Theta times measured mean: {text}; 1/(d C_alpha) is {true}",
        f"chance to see 20%: {detection_chance(0.1 * widest.value, widest):.2f}",
        "the closed form is the tail of dy/|y|^(1+alpha) on the line, not that of SaS(1) noise in "
        "R^d",
        reading,
    )


def _figure(ladders: dict[Any, Any], network: dict[str, Any], regimes: tuple[float, ...]) -> Any:
    figure, axes = new_figure(1, 2 if network else 1)
    lines = {
        f"{optimizer}, {driver.removeprefix('Stable').lower()}, d = {dim}": (
            [n["regime"] for n in rungs],
            [n["worst"] for n in rungs],
        )
        for (optimizer, driver, dim), rungs in ladders.items()
    }
    curves(
        axes[0],
        lines,
        "rate over relaxation",
        "r that Theorem 1 needs, largest over u",
        legend=False,
    )
    shared_legend(figure, axes[:1], 4, fontsize=7, loc="outside lower center")
    if network:
        lines = {
            name.upper(): (STEPS, [n["worst"] for n in rungs]) for name, rungs in network.items()
        }
        curves(axes[1], lines, "predicted mean (steps)", "r that Theorem 1 needs, largest over u")
        axes[1].set_title("network on digits, 610 parameters")
    for ax in axes:
        ax.axhline(BAND, color="0.5", lw=1, ls="--")
        ax.set_ylim(3e-3, 0.6)
    axes[0].set_title(f"quadratic valleys, alpha = {ALPHA:g}")
    return figure


SECTION = Section("law", CLAIMS, sweeps, judge)
