"""Prefactor and s of Theorem 3.2, in one dimension, where the exact mean is known.

`L = (x^2 - 1)^2 / 40`: H_a = 0.2, |H_b| = 0.1, dL = 1/40. Two frozen temperatures, switched where
the loss has climbed s dL. Where the temperature jumps, the equation needs a convention:

    Ito          flux -L' P - (D P)', noise of the point before a step
    isothermal   flux -L' P - D P',   noise of the point after a step

Exact means of both by Green's function on a fine grid; the SDE (Ito) by Euler steps of eta / 8. The
same on one coordinate of the Styblinski-Tang function.
"""

import functools
from collections.abc import Callable
from math import exp, log
from typing import Any

import numpy as np

from levysde.landscapes import DoubleWell, StyblinskiTang
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
from levysde.theory import xie_law

from ..figures import COLOURS, look, new_figure, points, shared_legend
from ..numbers import by_factor
from .ladders import Ladder, Z, ladder, rows, slope
from .noise import frozen_noise, switches
from .white import CURVATURE, DEPTH, MINIMUM, SADDLE, TOP as TANG_TOP

BARRIER, LOW, TOP = 0.025, 0.2, 0.1  # dL, H_a, |H_b|
FRACTIONS = (0.25, 0.5, 0.75)
RATE = 0.5
EXPONENTS = (3.5, 4.5, 5.5, 6.5)  # of the rungs, for each s
_FINE = 8

CONVENTIONS = ("isothermal", "ito")
COLD = (5.0, 10.0, 20.0, 60.0)  # exponents of the quadrature
TANG = (4.7, 7.6, 10.8)  # the same on the Styblinski-Tang function

PREFACTOR = Claim(
    "prefactor",
    "The prefactor of the escape time is 2π/|H_b|",
    "Theorem 3.2, as in Ibayashi and Imaizumi (ICLR 2023 submission), Table 1",
    "exact mean over this law tends to 1 as η falls, in the band [0.9, 1.1] at the exponent 60, in "
    "either convention",
    "exact mean over this law at the exponent 60 outside [0.9, 1.1] in both conventions, for any s",
    "restated",
    "tau = (2 pi / |l'|) exp[(2B/eta) dL (s/l + (1-s)/|l'|)], l' an eigenvalue at a point next to "
    "the minimum",
    "noise matched across the switch of temperature by the flux -P grad L - D grad P (isothermal "
    "convention)",
)
CORRECTED = Claim(
    "prefactor-corrected",
    "In the Ito convention it is 2π/H_a",
    "derived for two frozen temperatures; that the paper uses the Ito form is restated by others "
    "(notes on FedAdamom)",
    "exact mean over 2π/H_a exp(...) tends to 1; measured over exact mean 1, in the band [0.9, "
    "1.1]",
    "exact over law at the exponent 60 outside [0.9, 1.1], or the pooled interval of measured over "
    "exact outside that band",
    "own",
)
EXPONENT = Claim(
    "prefactor-s",
    "The exponent is (2BΔL/η)(s/H_a + (1−s)/|H_b|), s the share of the barrier climbed at the "
    "minimum's temperature",
    "Theorem 3.2, as in Ibayashi and Imaizumi (ICLR 2023 submission), Table 1",
    "s read off the slope of the measured −log rate in B: as set, within 0.15",
    "an interval of that s further than 0.15 from the s that was set",
    "restated",
    PREFACTOR.printed,
)
CLAIMS = (PREFACTOR, CORRECTED, EXPONENT)


def batch_of(exponent: float, fraction: float) -> float:
    """The B at which the law has this exponent."""
    return exponent * RATE / (2 * BARRIER * (fraction / LOW + (1 - fraction) / TOP))


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    num = 200 if quick else 3000
    found = {}
    for i, fraction in enumerate(FRACTIONS):
        noise = {"name": reference(frozen_noise), "batch_size": 1.0, "path_fraction": fraction}
        run = {
            "landscape": {"name": "DoubleWell", "barrier": BARRIER},
            "driver": {"name": "Brownian"},
            "dynamics": {"name": "SGD", "learning_rate": RATE, "scale": noise},
            "domain": {"name": "Box", "lower": [-10.0], "upper": [0.0]},
            "kernel": {"name": "EulerMaruyama", "dt": RATE / _FINE},
            "start": [-1.0],
            "num": num,
            "max_time": 1e7,
        }
        batches = [float(f"{batch_of(e, fraction):.6g}") for e in EXPONENTS[: 3 if quick else 4]]
        found[f"s{fraction:g}"] = {
            "seed": 600 + i,
            "run": run,
            "grid": {"dynamics.scale.batch_size": batches},
        }
    return found


@functools.cache
def _switches(fraction: float) -> tuple[np.ndarray, np.ndarray]:
    return switches(DoubleWell(barrier=BARRIER), fraction)


def exact_log_mean(
    batch: float, fraction: float, convention: str = "ito", *, points: int = 200_001
) -> float:
    """`log mean` from the minimum to the saddle of the equation with two frozen temperatures, by
    Green's function."""
    places, curvatures = _switches(fraction)
    temperatures = RATE / (2 * batch) * curvatures[:2]
    return _log_mean(
        lambda x: 4 * BARRIER * x * (x * x - 1),
        places[0],
        temperatures,
        (-3.0, -1.0, 0.0),
        convention,
        points,
    )


def tang_over_printed(exponent: float, convention: str, *, points: int = 400_001) -> float:
    """Exact mean over the law as restated, on one coordinate of the Styblinski-Tang function, s =
    1/2."""
    place = float(switches(StyblinskiTang(1), 0.5)[0][0])
    rate = 2 * DEPTH * (0.5 / CURVATURE + 0.5 / SADDLE) / exponent  # eta / B
    temperatures = rate / 2 * np.array([CURVATURE, SADDLE])
    ends = (-6.0, MINIMUM, TANG_TOP)
    exact = _log_mean(
        lambda x: 2 * x**3 - 16 * x + 2.5, place, temperatures, ends, convention, points
    )
    return exp(exact - exponent) * SADDLE / np.pi  # half of 2 pi / |H_b|: the time to the saddle


def _log_mean(
    slope_of: Callable[[np.ndarray], np.ndarray],
    place: float,
    temperatures: np.ndarray,
    ends: tuple[float, float, float],
    convention: str,
    points: int,
) -> float:
    """`log` of the mean time from the middle to the last of `ends`, the first reflecting; two
    temperatures, below and above `place`. Ito puts 1/D under the inner integral, isothermal under
    the outer one."""
    x = np.linspace(ends[0], ends[2], points)
    h = x[1] - x[0]
    diffusion = np.where(x < place, temperatures[0], temperatures[1])
    force = slope_of(x) / diffusion
    psi = np.concatenate([[0.0], np.cumsum((force[1:] + force[:-1]) * h / 2)])
    under, over = (np.log(diffusion), 0.0) if convention == "ito" else (0.0, np.log(diffusion))
    inner = np.logaddexp.accumulate(-psi - under) + log(h)
    outer = (psi - over + inner)[x >= ends[1]]
    return float(np.logaddexp.reduce(outer) + log(h))


def law(batch: float, fraction: float, prefactor: Any) -> float:
    return xie_law(
        barrier=BARRIER,
        minimum_curvature=LOW,
        saddle_curvature=TOP,
        learning_rate=RATE,
        batch_size=batch,
        path_fraction=fraction,
        prefactor=prefactor,
        escape="saddle",
    ).log_mean


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    ladders = {fraction: ladder(found[f"s{fraction:g}"]) for fraction in FRACTIONS}
    exact = {f: np.array([exact_log_mean(b, f) for b in ladders[f].x]) for f in FRACTIONS}
    over_exact = {f: _pooled(ladders[f], exact[f]) for f in FRACTIONS}
    implied = {f: _fraction(ladders[f], exact[f], f) for f in FRACTIONS}
    corrected = {f: over_law(60.0, f, "ito", "corrected") for f in FRACTIONS}
    verdicts = (
        _prefactor(),
        ruled(
            CORRECTED,
            "fails"
            if any(not 0.9 <= v <= 1.1 for v in corrected.values())
            else judged(over_exact.values(), 0.9, 1.1),
            f"exact over law at exponent 60: {_plain(corrected)}; measured over exact, pooled over "
            f"noise levels: {_shown(over_exact)}",
            f"chance to see a mean off by 20%: {detection_chance(0.1, over_exact.values()):.2f} or "
            "more",
        ),
        ruled(
            EXPONENT,
            all_judged([judged(v, f - 0.15, f + 0.15) for f, v in implied.items()]),
            f"s read off: {_shown(implied)}",
            f"chance to see an s off by 0.3: {detection_chance(0.15, implied.values()):.2f} or "
            "more",
        ),
    )
    data = {f"s = {f:g}": rows(found_, "B") for f, found_ in ladders.items()}
    return Finding(verdicts, {"prefactor": _figure(ladders)}, data)


def over_law(exponent: float, fraction: float, convention: str, prefactor: str) -> float:
    """Exact mean over the law."""
    batch = batch_of(exponent, fraction)
    return exp(exact_log_mean(batch, fraction, convention) - law(batch, fraction, prefactor))


def _prefactor() -> Verdict:
    """By quadrature alone."""
    at = {kind: {f: over_law(60.0, f, kind, "printed") for f in FRACTIONS} for kind in CONVENTIONS}
    right = [kind for kind in CONVENTIONS if all(0.9 <= v <= 1.1 for v in at[kind].values())]
    wrong = [kind for kind in CONVENTIONS if all(not 0.9 <= v <= 1.1 for v in at[kind].values())]
    exponents, on_tang = (", ".join(f"{e:g}" for e in ladder_) for ladder_ in (COLD, TANG))
    along = {
        kind: ", ".join(f"{over_law(e, 0.5, kind, 'printed'):.3f}" for e in COLD)
        for kind in CONVENTIONS
    }
    tang = {
        kind: ", ".join(f"{tang_over_printed(e, kind):.3f}" for e in TANG) for kind in CONVENTIONS
    }
    word: Word = (
        "holds" if len(right) == 2 else "depends on the convention" if right and wrong else "fails"
    )
    return ruled(
        PREFACTOR,
        word,
        "; ".join(
            f"exact over this law, {kind.replace('ito', 'Ito')}: {along[kind]} at exponents "
            f"{exponents} (s = 0.5), {_plain(at[kind])} at 60; on Styblinski-Tang {tang[kind]} at "
            f"{on_tang}"
            for kind in CONVENTIONS
        ),
        "the quadrature has no noise",
        "right in the isothermal convention, off by |H_b|/H_a in the Ito convention "
        f"({TOP / LOW:g} here, {SADDLE / CURVATURE:.3f} on Styblinski-Tang); the exponent is the "
        "same in both"
        if word == "depends on the convention"
        else f"tends to 1 in: {', '.join(right) or 'neither convention'}",
    )


def _fraction(found: Ladder, exact: np.ndarray, set_to: float) -> Estimate:
    """s of the measured slope in B; what the exact slope at these B reads beyond what was set is
    the finite barrier's, and is taken off."""
    unit = 2 * BARRIER / RATE

    def read(value: float) -> float:
        return (1 / TOP - value / unit) / (1 / TOP - 1 / LOW)

    seen = slope(found)
    extra = read(slope(Ladder(found.x, exact, found.escapes, found.censored)).value) - set_to
    return Estimate(*(read(v) - extra for v in (seen.value, seen.high, seen.low)))


def _pooled(found: Ladder, slowness: np.ndarray) -> Estimate:
    weights = found.escapes / found.escapes.sum()
    change, half = (
        float(weights @ (found.slowness - slowness)),
        Z * float(found.escapes.sum() ** -0.5),
    )
    return Estimate(*(exp(change + d) for d in (0.0, -half, half)))


def _plain(values: dict[float, float]) -> str:
    return ", ".join(f"s = {f:g}: {v:.3f}" for f, v in values.items())


def _shown(values: dict[float, Estimate]) -> str:
    return ", ".join(f"s = {f:g}: {v}" for f, v in values.items())


def _figure(ladders: dict[float, Ladder]) -> Any:
    figure, (ax,) = new_figure(1, 1, width=5.2, height=3.6, legend=0.5)
    exponents = np.linspace(3, 20, 18)
    for k, f in enumerate(FRACTIONS):
        for kind, style in zip(CONVENTIONS, ("--", "-"), strict=True):
            ratio = [over_law(float(e), f, kind, "corrected") for e in exponents]
            label = f"exact, {kind.replace('ito', 'Ito')}, s = {f:g}"
            ax.plot(exponents, ratio, color=COLOURS[k], lw=1, ls=style, label=label)
        found = ladders[f]
        base = np.array([law(b, f, "corrected") for b in found.x])
        at = EXPONENTS[: len(found.x)]
        over = map(by_factor, np.exp(found.slowness - base), Z * found.error)
        beside = np.add(at, 0.12 * (k - 1))  # so that none hides another
        label = f"SDE (Ito), s = {f:g}"
        points(ax, beside, over, ls="", ms=4.5, label=label, **look(k))
    ax.axhline(1, color="0.4", lw=1, ls=(0, (4, 2)), label="law with 2π/H_a")
    ax.axhline(LOW / TOP, color="0.4", lw=1, ls=(0, (1, 1)), label="law as restated, 2π/|H_b|")
    ax.set_xlabel("exponent (2BΔL/η)(s/H_a + (1−s)/|H_b|)")
    ax.set_ylabel("mean escape time over the law with 2π/H_a")
    ax.set_ylim(0, None)
    shared_legend(figure, [ax])
    return figure


SECTION = Section("prefactor", CLAIMS, sweeps, judge)
