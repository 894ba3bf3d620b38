"""White noise: the law of Eyring and Kramers (Theorem 3.1) on the Styblinski-Tang function, and on
a bowl without a saddle.

`dX = -grad F dt + sqrt(2 D) dW` from the deepest minimum until one coordinate passes the saddle;
exact flow near the minimum with a Brownian bridge. The exact mean is a quadrature in one dimension;
in ten it is that of the first of ten independent coordinates, from the survival of one, whose
generator is made diagonal on a grid (a tenth of the mean of one would be up to 15% short: such
times are not yet exponential). The bowl has the same curvature and its edge at the same height.
"""

from math import exp, log, pi, sqrt
from typing import Any

import numpy as np

from levysde.stats import Estimate
from levysde.studies import Claim, Finding, Section, detection_chance, judged, ruled
from levysde.sweeps import Sweep
from levysde.theory import first_passage

from ..numbers import scaled
from .ladders import (
    Ladder,
    Panel,
    Series,
    combined,
    ladder,
    ladder_figure,
    rows,
    slope,
    slope_ratio,
)

DIM = 10
MINIMUM, TOP = (
    float(u) for u in np.sort(np.roots([4.0, 0.0, -32.0, 5.0]).real)[:2]
)  # of one coordinate: deepest, saddle
# of the saddle over it
DEPTH = sum(sign * (u**4 - 16 * u**2 + 5 * u) / 2 for sign, u in ((-1, MINIMUM), (1, TOP)))
CURVATURE, SADDLE = (abs(6 * u**2 - 16) for u in (MINIMUM, TOP))
EDGE = sqrt(2 * DEPTH / CURVATURE)  # where the bowl has climbed as much
SHARPNESSES = (0.5, 1.0, 2.0, 4.0)
DIFFUSIONS = (6.0, 7.0, 8.0, 10.0, 13.0)
AT = 8.0  # D of the ladder in k
_DT = 1e-3  # at k = 1

RATE = Claim(
    "white-k",
    "Under white noise the escape rate is proportional to the sharpness k",
    "Theorem 3.1",
    "exponent 1 of rate against k, in the band [0.95, 1.05]",
    "the interval of the exponent lies outside [0.95, 1.05]",
)
ARRHENIUS = Claim(
    "white-D",
    "Under white noise −log rate grows as ΔL/D",
    "Theorem 3.1",
    f"slope of −log rate against 1/D: {DEPTH:.2f} (ΔL); over that of the exact law at the same D: "
    "1, in the band [0.95, 1.05]",
    "the interval of measured over exact slope lies outside [0.95, 1.05]",
)
PREFACTOR = Claim(
    "white-prefactor",
    "The prefactor under white noise is that of Eyring and Kramers",
    "Theorem 3.1",
    "exact mean over law tends to 1 as D falls; measured over exact mean at the smallest D 1, in "
    "the band [0.9, 1.1]",
    "exact over law at ΔL/D = 100 outside [0.98, 1.02], or the interval of measured over exact "
    "outside [0.9, 1.1]",
)
CLAIMS = (RATE, ARRHENIUS, PREFACTOR)


def sweeps(quick: bool) -> dict[str, dict[str, Any]]:
    num = 200 if quick else 3000
    diffusions = list(DIFFUSIONS[1:]) if quick else list(DIFFUSIONS)
    tang = _spec({"name": "StyblinskiTang", "dim": DIM, "hessian_factor": 1.0}, TOP, num)
    single = _spec({"name": "StyblinskiTang", "dim": 1, "hessian_factor": 1.0}, TOP, num, dim=1)
    bowl = _spec(
        {
            "name": "rescaled",
            "landscape": {"name": "Quadratic", "hessian": [CURVATURE] * DIM},
            "hessian_factor": 1.0,
        },
        EDGE,
        num,
    )
    along_k, along_d = {"hessian_factor": list(SHARPNESSES)}, {"diffusion": diffusions}
    return {
        "k": {"seed": 11, "run": tang, "grid": along_k},
        "k-bowl": {"seed": 12, "run": bowl, "grid": along_k},
        "D": {"seed": 13, "run": tang, "grid": along_d},
        "D-one": {"seed": 14, "run": single, "grid": along_d},
    }


def _spec(landscape: dict[str, Any], upper: float, num: int, dim: int = DIM) -> dict[str, Any]:
    box = {"name": "Box", "lower": [-10.0] * dim, "upper": [upper] * dim}
    return {
        "landscape": landscape,
        "dynamics": {"name": "Langevin", "diffusion": AT},
        "domain": {
            "name": "Dilated",
            "domain": box,
            "factor": {"of": "hessian_factor", "power": -0.5},
        },
        "kernel": {
            "name": "Bridged",
            "kernel": {
                "name": "OrnsteinUhlenbeck",
                "dt": {"of": "hessian_factor", "times": _DT, "power": -1.0},
            },
        },
        "num": num,
        "max_time": 1e4,
    }


def exact(diffusion: float) -> float:
    """Mean time of one coordinate to its saddle, by quadrature."""
    return first_passage(
        lambda x: -(2 * x**3 - 16 * x + 2.5), diffusion, start=MINIMUM, lower=-10.0, upper=TOP
    ).mean


def exact_first(diffusion: float, dim: int = DIM, *, points: int = 800) -> float:
    """Mean time until the first of `dim` independent coordinates is at its saddle: the integral of
    the survival's power.

    `-L' d/dx + D d^2/dx^2` between a far reflecting end and the saddle, in its symmetric form:
    rates of going from cell to cell `D / h^2 exp(-(change of L) / 2D)`, in detailed balance.
    """
    from scipy.linalg import eigh_tridiagonal  # slow to import

    x, h = np.linspace(-6.0, TOP, points, endpoint=False, retstep=True)
    loss = (x**4 - 16 * x**2 + 5 * x) / 2
    end = (TOP**4 - 16 * TOP**2 + 5 * TOP) / 2
    up = diffusion / h**2 * np.exp(-np.diff(loss, append=end) / (2 * diffusion))
    down = diffusion / h**2 * np.exp(np.diff(loss) / (2 * diffusion))
    rates, vectors = eigh_tridiagonal(up + np.append(0, down), -np.sqrt(up[:-1] * down))
    weight = np.exp(-(loss - loss.min()) / (2 * diffusion))
    first = int(np.argmin(np.abs(x - MINIMUM)))
    parts = vectors[first] * (vectors.T @ weight) / weight[first]
    times = np.concatenate([[0.0], np.geomspace(1e-5, 40 / (dim * rates[0]), 4000)])
    survival = np.array([parts @ np.exp(-rates * t) for t in times])
    return float(np.trapezoid(np.clip(survival, 0, 1) ** dim, times))


def law(diffusion: float) -> float:
    """The same of one coordinate by Eyring and Kramers: half of the mean to the other minimum."""
    determinants = (log(SADDLE) - log(CURVATURE)) / 2
    return exp(log(pi / SADDLE) + determinants + DEPTH / diffusion)


def judge(found: dict[str, Sweep], quick: bool) -> Finding:
    ladders = {name: ladder(sweep) for name, sweep in found.items()}
    in_k = {name: exponent(ladders[name]) for name in ("k", "k-bowl")}
    along = {name: ladders[name].against(1 / ladders[name].x) for name in ("D", "D-one")}
    reference = {
        "D": np.array([log(exact_first(1 / x)) for x in along["D"].x]),
        "D-one": np.array([log(exact(1 / x)) for x in along["D-one"].x]),
    }
    ratio = {name: slope_ratio(along[name], reference[name]) for name in along}
    coldest = {name: _ratio_at_end(along[name], reference[name]) for name in along}
    asymptotic = (
        exact(DEPTH / 100) / law(DEPTH / 100) if not quick else exact(DEPTH / 50) / law(DEPTH / 50)
    )
    finite = exact(DIFFUSIONS[0]) / law(DIFFUSIONS[0])
    word = judged(in_k["k"], 0.95, 1.05)
    verdicts = (
        ruled(
            RATE,
            word,
            f"exponent {in_k['k']} in 10 dimensions, k from {SHARPNESSES[0]} to "
            f"{SHARPNESSES[-1]}; in the bowl without a saddle {in_k['k-bowl']}",
            f"chance to see an exponent off by 0.1: {detection_chance(0.1 - 0.05, in_k['k']):.2f}",
            "but this is true for any domain, with or without a saddle: stretching is exactly a "
            "change of time by k" * (word == "holds"),
        ),
        ruled(
            ARRHENIUS,
            judged(ratio["D"], 0.95, 1.05),
            f"slope {slope(along['D'])} in 10 dimensions, {slope(along['D-one'])} in one; over "
            f"the exact law's {ratio['D']} and {ratio['D-one']}",
            f"chance to see a slope off by 10%: {detection_chance(0.05, ratio['D']):.2f}",
        ),
        ruled(
            PREFACTOR,
            judged(coldest["D"], 0.9, 1.1) if abs(asymptotic - 1) < 0.02 else "fails",
            f"measured over exact mean {coldest['D']} (10 dimensions), {coldest['D-one']} (one); "
            f"exact over law {finite:.3f} at ΔL/D = {DEPTH / DIFFUSIONS[0]:.1f}, {asymptotic:.4f} "
            f"at {50 if quick else 100}",
            f"chance to see a prefactor off by 20%: {detection_chance(0.1, coldest['D']):.2f}",
        ),
    )
    data = {
        name: rows(found_, "k" if name.startswith("k") else "D") for name, found_ in ladders.items()
    }
    return Finding(verdicts, {"rates": _figure(ladders, along, reference)}, data)


def _figure(
    ladders: dict[str, Ladder], along: dict[str, Ladder], reference: dict[str, np.ndarray]
) -> Any:
    return ladder_figure(
        [
            [
                Panel(
                    "1/D (D in units of the loss)",
                    [
                        Series("10 dimensions", along["D"], reference["D"]),
                        Series("one dimension", along["D-one"], reference["D-one"]),
                    ],
                    "dashed: exact",
                ),
                Panel(
                    "log k (k: sharpness)",
                    [
                        Series("10 dimensions", ladders["k"].against(np.log(ladders["k"].x))),
                        Series(
                            "bowl without a saddle",
                            ladders["k-bowl"].against(np.log(ladders["k-bowl"].x)),
                            look=2,
                        ),
                    ],
                    f"D = {AT:g}",
                ),
            ]
        ]
    )


def exponent(found: Ladder) -> Estimate:
    """Of the rate as a power of x."""
    return scaled(slope(found.against(np.log(found.x))), -1.0)


def _ratio_at_end(found: Ladder, slowness: np.ndarray) -> Estimate:
    """Measured mean over the exact one at the largest x."""
    one = combined(np.ones((1, 1)), found.slowness[-1:] - slowness[-1:], found.escapes[-1:], (1,))
    value, low, high = (float(np.exp(v)) for v in (one.value, one.low, one.high))
    return Estimate(value, low, high, one.confidence)


SECTION = Section("white", CLAIMS, sweeps, judge)
