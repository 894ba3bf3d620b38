"""Twelve stiff or superlinear escape problems with steps from a tenth to ten times the stability
limit.

A row passes if its mean escape time is within 5% of the reference, or the run says why it may not
be: it has a warning, or its trajectories are NONFINITE. None may have one at a tenth of the limit.
The limit is where Euler's step becomes unstable: at the attractor, dt = 2 / (largest curvature);
for a superlinear drift, where a step from the boundary overshoots the other side.

    python benchmarks/stability_battery.py [--num 20000]

writes benchmarks/results/stability_battery.json.
"""

import argparse
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import levysde as ls
from levysde import theory

FACTORS = (0.1, 0.3, 0.9, 1.1, 3.0, 10.0)
GOAL = 0.05
OUT = Path(__file__).parent / "results" / "stability_battery.json"


@dataclass(frozen=True)
class Problem:
    """`kernel(dt)` from `domain`; `exact` solves the equation along the one coordinate that
    leaves."""

    name: str
    limit: float
    domain: ls.Box
    kernel: Callable
    exact: float


def strip(dim: int, half: float = 1.0) -> ls.Box:
    """|x_0| < half, everything else free."""
    wide = jnp.full(dim, jnp.inf).at[0].set(half)
    return ls.Box(lower=-wide, upper=wide)


def stiff(
    name: str, driver, epsilon: float, curvatures: list[float], stepper=ls.EulerMaruyama
) -> Problem:
    """Exits along the soft first axis of a quadratic well; the others are stiff."""
    dim = len(curvatures)
    dynamics = ls.SGD(
        ls.Quadratic(hessian=jnp.diag(jnp.array(curvatures))), driver, epsilon=epsilon
    )
    soft = ls.SGD(ls.Quadratic(hessian=jnp.eye(1) * curvatures[0]), driver, epsilon=epsilon)
    if isinstance(
        driver, ls.StableIsotropic
    ):  # a coordinate of isotropic stable noise is stable noise of the same scale
        soft = ls.SGD(soft.landscape, ls.StableComponents(alpha=driver.alpha), epsilon=epsilon)
    domain = strip(dim)
    make = (
        (lambda dt: ls.Bridged(ls.EulerMaruyama(dynamics, dt=dt), domain))
        if stepper is ls.Bridged
        else None
    )
    kernel = make or (lambda dt: stepper(dynamics, dt=dt))
    return Problem(
        name, 2 / max(curvatures), domain, kernel, theory.exact_exit(soft, strip(1)).mean
    )


def superlinear(
    name: str, power: int, driver, epsilon: float, half: float, stepper=ls.EulerMaruyama
) -> Problem:
    """F = x^p / p + x^2 / 2 in one dimension."""
    loss = ls.from_function(
        lambda x: jnp.sum(x**power / power + x * x / 2), dim=1, minimum=jnp.zeros(1)
    )
    dynamics = ls.SGD(loss, driver, epsilon=epsilon)
    limit = 2 * half / (half ** (power - 1) + half)
    return Problem(
        name,
        limit,
        strip(1, half),
        lambda dt: stepper(dynamics, dt=dt),
        theory.exact_exit(dynamics, strip(1, half)).mean,
    )


def problems() -> list[Problem]:
    stable, brown = ls.StableComponents(alpha=1.5), ls.Brownian()
    return [
        stiff("stable 1.5, d = 1, h = 100", stable, 0.5, [100.0]),
        stiff("stable 1.5, d = 2, h = 1, 400", stable, 0.5, [1.0, 400.0]),
        stiff(
            "stable 1.2, d = 3, h = 1, 30, 1000",
            ls.StableComponents(alpha=1.2),
            0.3,
            [1.0, 30.0, 1000.0],
        ),
        stiff(
            "stable 1.8, d = 10, h = 1 to 1000",
            ls.StableComponents(alpha=1.8),
            0.5,
            np.geomspace(1, 1000, 10).tolist(),
        ),
        stiff(
            "isotropic 1.5, d = 2, h = 1, 1000", ls.StableIsotropic(alpha=1.5), 0.5, [1.0, 1000.0]
        ),
        stiff(
            "isotropic 1.3, d = 5, h = 1 to 1000",
            ls.StableIsotropic(alpha=1.3),
            0.3,
            np.geomspace(1, 1000, 5).tolist(),
        ),
        stiff("Brownian, d = 3, h = 1, 50, 1000", brown, 0.7, [1.0, 50.0, 1000.0]),
        stiff("Brownian, d = 2, h = 1, 400", brown, 0.7, [1.0, 400.0]),
        stiff("Brownian, bridged, d = 2, h = 1, 100", brown, 0.6, [1.0, 100.0], ls.Bridged),
        superlinear("quartic, stable 1.5, |x| < 5", 4, stable, 0.5, 5.0),
        superlinear("sextic, stable 1.5, |x| < 3", 6, stable, 0.5, 3.0),
        superlinear("quartic, stable 1.5, tamed, |x| < 5", 4, stable, 0.5, 5.0, ls.TamedEuler),
    ]


def row(problem: Problem, factor: float, num: int) -> dict:
    """One run: its ratio to the reference and what it says of itself."""
    dt = factor * problem.limit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ls.AccuracyWarning)
        result = ls.simulate_escape(
            problem.kernel(dt),
            problem.domain,
            jnp.zeros(problem.domain.dim),
            num=num,
            seed=0,
            throw=False,
        )
    used = result.exited
    ratio = float(result.time[used].mean() / problem.exact) if used.any() else None
    error = (
        float(result.time[used].std() / problem.exact / np.sqrt(used.sum()))
        if used.sum() > 1
        else None
    )
    nonfinite = result.count(ls.Status.NONFINITE)
    flagged = bool(result.warnings) or nonfinite > 0
    right = ratio is not None and abs(ratio - 1) <= GOAL + 2 * error
    return {
        "problem": problem.name,
        "dt_over_limit": factor,
        "dt": dt,
        "ratio": ratio,
        "standard_error": error,
        "nonfinite": nonfinite,
        "overshot": int(result.overshot.sum()),
        "warnings": list(result.warnings),
        "right": right,
        "flagged": flagged,
        "passes": (right or flagged) and not (factor <= 0.1 and flagged),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=20_000, help="trajectories of a run")
    rows = []
    num = parser.parse_args().num
    for problem in problems():
        for factor in FACTORS:
            rows.append(row(problem, factor, num))
            shown = rows[-1]
            print(
                f"{shown['problem']:40} {factor:5} ratio {shown['ratio'] or float('nan'):8.4f} "
                f"nonfinite {shown['nonfinite']:6} overshot {shown['overshot']:6} "
                f"{'right' if shown['right'] else 'wrong'} "
                f"{'flagged' if shown['flagged'] else ''} {'' if shown['passes'] else 'FAILS'}",
                flush=True,
            )
            OUT.write_text(json.dumps({"num": num, "goal": GOAL, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
