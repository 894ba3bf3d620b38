"""Is a float32 run right, or does it warn of its precision?

Each dynamics and kernel leaves `|x - c| < 0.1` around the minimum c of a quadratic loss of
curvature 10, for c = 0, 1 and 100 and dt = 1e-2 to 1e-6, once in float32 and once in float64 from
the same seed, so that both see the same noise. Compared is the mean of min(exit time, 0.5). Fixed
before any run: the cases, the numbers, and the verdict. A row passes if the two means differ by at
most 3 standard errors of the paired difference and 1%, or if the float32 run warned of its
precision or refused to start.

Run: python benchmarks/float32_battery.py [--num 64] [--steps 1e-2 1e-3 ...] [--out
benchmarks/results/float32_battery.json]
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import levysde as ls
from levysde.errors import PrecisionWarning

STEPS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
CENTERS = (0.0, 1.0, 100.0)
CURVATURE, RADIUS, EPSILON, HORIZON = 10.0, 0.1, 0.26, 0.5
SIGMAS, NEGLIGIBLE = 3.0, 0.01


def well(center: float, dim: int = 1) -> ls.Quadratic:
    return ls.Quadratic(hessian=CURVATURE * jnp.eye(dim), minimum=jnp.full(dim, center))


def ball(center: float, dim: int = 1) -> ls.Ball:
    return ls.Ball(radius=RADIUS, center=jnp.full(dim, center))


def euler(
    make: Callable[..., ls.EulerMaruyama],
    driver: Callable = ls.Brownian,
    dim: int = 1,
    **options: object,
) -> Callable:
    """A case of Euler-Maruyama: the kernel at a minimum and a step."""

    def kernel(center: float, dt: float) -> ls.EulerMaruyama:
        return ls.EulerMaruyama(
            make(well(center, dim), driver(), epsilon=EPSILON, **options), dt=dt
        )

    return kernel


def flow(center: float) -> ls.SGD:
    return ls.SGD(well(center), ls.Brownian(), epsilon=EPSILON)


def stable_flow(center: float) -> ls.SGD:
    return ls.SGD(well(center), ls.StableComponents(alpha=1.5), epsilon=EPSILON)


def marcus(center: float, dt: float) -> ls.EulerMaruyama:
    scale = ls.StateScale(lambda x: 1 + 2 * (x - center), dim=1)
    dynamics = ls.SGD(
        well(center),
        ls.StableComponents(alpha=1.5),
        epsilon=EPSILON,
        scale=scale,
        convention="marcus",
    )
    return ls.EulerMaruyama(dynamics, dt=dt)


def optimizer(center: float, dt: float) -> ls.OptimizerKernel:
    return ls.OptimizerKernel(
        "sgd",
        well(center),
        driver=ls.Brownian(),
        scale=EPSILON / dt**0.5,
        hyperparameters={"learning_rate": dt},
        iteration_time=dt,
    )


RATES = {"rates": (50.0, 5.0)}
CASES: dict[str, tuple[Callable, int]] = {
    "SGD, Brownian": (euler(ls.SGD), 1),
    "SGD, components 1.8": (euler(ls.SGD, lambda: ls.StableComponents(alpha=1.8)), 1),
    "SGD, components 0.8": (euler(ls.SGD, lambda: ls.StableComponents(alpha=0.8)), 1),
    "SGD, isotropic 1.5": (euler(ls.SGD, lambda: ls.StableIsotropic(alpha=1.5), 2), 2),
    "SGD, Marcus 1.5": (marcus, 1),
    "Langevin": (
        lambda c, dt: ls.EulerMaruyama(ls.Langevin(well(c), diffusion=EPSILON**2 / 2), dt=dt),
        1,
    ),
    "Momentum": (euler(ls.Momentum, forgetting_rate=50.0, averaged=True), 1),
    "Momentum, Nesterov": (
        euler(ls.Momentum, forgetting_rate=50.0, averaged=True, nesterov=True),
        1,
    ),
    "Underdamped": (
        lambda c, dt: ls.EulerMaruyama(
            ls.Underdamped(well(c), diffusion=0.04, friction=5.0), dt=dt
        ),
        1,
    ),
    "Adam": (euler(ls.Adam, **RATES), 1),
    "Adam, noise in the average": (euler(ls.Adam, noise_in="average", **RATES), 1),
    "AdamW": (euler(ls.AdamW, weight_decay=1e-3, **RATES), 1),
    "RMSProp": (euler(ls.RMSProp, forgetting_rate=5.0), 1),
    "Scheduled": (
        lambda c, dt: ls.EulerMaruyama(ls.Scheduled(flow(c), lambda t: 1 / (1 + t)), dt=dt),
        1,
    ),
    "TamedEuler": (lambda c, dt: ls.TamedEuler(flow(c), dt=dt), 1),
    "OrnsteinUhlenbeck": (lambda c, dt: ls.OrnsteinUhlenbeck(flow(c), dt=dt), 1),
    "JumpAdapted": (lambda c, dt: ls.JumpAdapted(stable_flow(c), dt=dt, cutoff=0.05), 1),
    "Bridged": (lambda c, dt: ls.Bridged(ls.EulerMaruyama(flow(c), dt=dt), ball(c)), 1),
    "DiffraxKernel, Heun": (lambda c, dt: ls.DiffraxKernel(flow(c), diffrax.Heun(), dt=dt), 1),
    "OptimizerKernel, sgd": (optimizer, 1),
}


def times(name: str, center: float, dt: float, num: int, wide: bool) -> tuple[np.ndarray, bool]:
    """min(exit time, horizon) of each trajectory, and whether the run warned of its precision."""
    jax.config.update("jax_enable_x64", wide)
    make, dim = CASES[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = ls.simulate_escape(
            make(center, dt),
            ball(center, dim),
            jnp.full(dim, center),
            num=num,
            seed=1,
            max_time=HORIZON,
            record="times",
        )
    return np.minimum(run.time, HORIZON), any(
        issubclass(warning.category, PrecisionWarning) for warning in caught
    )


def row(name: str, center: float, dt: float, num: int) -> dict:
    exact, _ = times(name, center, dt, num, wide=True)
    found: dict = {"case": name, "minimum": center, "dt": dt, "float64": float(exact.mean())}
    try:
        short, warned = times(name, center, dt, num, wide=False)
    except ValueError as error:
        if "precision" not in str(error):
            raise
        return found | {"float32": None, "says": "refuses", "passes": True}
    error = float((short - exact).std(ddof=1) / np.sqrt(num))
    off = abs(float(short.mean() - exact.mean()))
    right = off <= SIGMAS * error + NEGLIGIBLE * exact.mean()
    says = "warns" if warned else ""
    return found | {
        "float32": float(short.mean()),
        "error": error,
        "right": bool(right),
        "says": says,
        "passes": bool(right or warned),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=64)
    parser.add_argument("--steps", type=float, nargs="*", default=list(STEPS))
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "float32_battery.json"
    )
    arguments = parser.parse_args()
    begun, rows = time.time(), []
    for dt in arguments.steps:
        for name in CASES:
            for center in CENTERS:
                rows.append(row(name, center, dt, arguments.num))
                print(json.dumps(rows[-1]), flush=True)
        verdicts = {
            "passes": f"{sum(r['passes'] for r in rows)} of {len(rows)}",
            "right without a warning": sum(r["passes"] and not r["says"] for r in rows),
            "warns": sum(r["says"] == "warns" for r in rows),
            "warns though right": sum(r["says"] == "warns" and r["right"] for r in rows),
            "refuses": sum(r["says"] == "refuses" for r in rows),
        }
        done = {
            "num": arguments.num,
            "seconds": time.time() - begun,
            "jax": jax.__version__,
            "verdicts": verdicts,
        }
        arguments.out.write_text(json.dumps(done | {"rows": rows}, indent=1) + "\n")
    print(json.dumps(verdicts))


if __name__ == "__main__":
    main()
