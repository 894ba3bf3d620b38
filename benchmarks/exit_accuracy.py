"""How close do simulated exit times come to the exact ones of Getoor and Ryznar, and with which
order in dt?

No drift, unit ball, start at the centre, noise amplitude 1. Fixed before any run: the cases, the
ladder of dt, the seed, the number of trajectories, and the verdicts:
  * accuracy: the mean at the smallest dt is within 1.5% of the exact value;
  * shift: for alpha > 1 and isotropic noise, the boundary shift implied by the mean at each dt,
    ((mean/exact)^(1/alpha) - 1) / dt^(1/alpha), averaged over the ladder with its precision, agrees
    with rho_alpha within 5 standard errors or 3%, and 5 standard errors are at most 15% of it (a
    first run with equal numbers at every dt had no power for this, so the coarse rungs, where a
    trajectory is short, get more);
  * order: the slope of log(bias) over the two smallest dt whose bias is seen at 5 sigma; for alpha
    > 1 within 0.1 of 1/alpha.
Run: python benchmarks/exit_accuracy.py [--num 100000] [--seed 0] [--out
benchmarks/results/exit_accuracy.json]
"""

import argparse
import json
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import levysde as ls
from levysde.theory import boundary_shift, getoor_mean_exit, ryznar_mean_exit

STEPS = (6.4e-3, 1.6e-3, 4e-4, 1e-4)
TIMES = (16, 8, 2, 1)  # trajectories at each dt, in units of --num
# short trajectories want many, for the host to keep up; results do not depend on it
LANES = (16384, 4096, 512, 256)
ALPHAS = (0.8, 1.2, 1.5, 1.8)
CASES = [("isotropic", d, a) for d in (1, 2, 3) for a in ALPHAS] + [
    ("components", 2, a) for a in ALPHAS
]


def measure(
    noise: str, dim: int, alpha: float, rung: int, num: int, seed: int
) -> tuple[float, float]:
    driver = (
        ls.StableIsotropic(alpha=alpha)
        if noise == "isotropic"
        else ls.StableComponents(alpha=alpha)
    )
    free = ls.SGD(ls.Quadratic(hessian=jnp.zeros(dim)), driver, epsilon=1.0)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(dim))
    num *= TIMES[rung]
    run = ls.simulate_escape(
        ls.EulerMaruyama(free, dt=STEPS[rung]),
        ball,
        jnp.zeros(dim),
        num=num,
        seed=seed,
        lanes=LANES[rung],
    )
    return float(run.time.mean()), float(run.time.std(ddof=1) / np.sqrt(num))


def case(noise: str, dim: int, alpha: float, num: int, seed: int) -> dict:
    exact = (getoor_mean_exit if noise == "isotropic" else ryznar_mean_exit)(alpha=alpha, dim=dim)
    means, errors = map(
        np.array,
        zip(
            *(measure(noise, dim, alpha, rung, num, seed) for rung in range(len(STEPS))),
            strict=True,
        ),
    )
    steps, bias = np.array(STEPS), means - exact
    seen = np.flatnonzero(bias > 5 * errors)
    order = None
    if len(seen) >= 2:
        i, j = seen[-2], seen[-1]
        order = float(np.log(bias[i] / bias[j]) / np.log(steps[i] / steps[j]))
    row = {
        "noise": noise,
        "dim": dim,
        "alpha": alpha,
        "exact": exact,
        "dt": list(STEPS),
        "mean": means.tolist(),
        "standard_error": errors.tolist(),
        "relative_error": (bias / exact).tolist(),
        "order": order,
        "accurate": bool(abs(bias[-1]) / exact < 0.015),
    }
    if noise == "isotropic" and alpha > 1:
        shift = ((means / exact) ** (1 / alpha) - 1) / steps ** (1 / alpha)
        spread = errors / exact / alpha / steps ** (1 / alpha)
        weight = spread**-2 / np.sum(spread**-2)
        expected, found, error = (
            boundary_shift(alpha),
            float(np.sum(weight * shift)),
            float(np.sum(spread**-2) ** -0.5),
        )
        agrees = (
            abs(found - expected) < max(5 * error, 0.03 * expected) and 5 * error < 0.15 * expected
        )
        row |= {
            "shift": found,
            "shift_error": error,
            "shift_expected": expected,
            "shift_at_each_dt": shift.tolist(),
            "shift_agrees": bool(agrees),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "exit_accuracy.json"
    )
    options = parser.parse_args()
    start, rows = time.monotonic(), []
    print(
        "| noise | d | alpha | exact | mean at dt = 1e-4 | error | order in dt | shift (expected) |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for noise, dim, alpha in CASES:
        row = case(noise, dim, alpha, options.num, options.seed)
        rows.append(row)
        order = "-" if row["order"] is None else f"{row['order']:.2f} ({min(1.0, 1 / alpha):.2f})"
        shift = "-"
        if "shift" in row:
            shift = f"{row['shift']:.3f} ± {row['shift_error']:.3f} ({row['shift_expected']:.3f})"
        print(
            f"| {noise} | {dim} | {alpha} | {row['exact']:.5f} | {row['mean'][-1]:.5f} ± "
            f"{row['standard_error'][-1]:.5f} | {row['relative_error'][-1]:+.2%} | {order} | "
            f"{shift} |",
            flush=True,
        )
    probe = ls.simulate_escape(
        ls.EulerMaruyama(
            ls.SGD(ls.Quadratic(hessian=jnp.ones(1)), ls.Brownian(), epsilon=1.0), dt=0.1
        ),
        ls.Ball(radius=1.0, center=jnp.zeros(1)),
        jnp.zeros(1),
        num=16,
        seed=0,
    )
    verdicts = {
        "accuracy": f"{sum(row['accurate'] for row in rows)} of {len(rows)} within 1.5%",
        "shift": f"{sum(row.get('shift_agrees', False) for row in rows)} of "
        f"{sum('shift' in row for row in rows)} agree",
        "order": [
            f"{row['noise']} d={row['dim']} alpha={row['alpha']}: {row['order']:.3f}"
            for row in rows
            if row["alpha"] > 1
            and row["order"] is not None
            and abs(row["order"] - 1 / row["alpha"]) > 0.1
        ]
        or "all within 0.1 of 1/alpha",
    }
    print("\nverdicts:", json.dumps(verdicts, indent=1))
    report = {
        "num": options.num,
        "seed": options.seed,
        "seconds": time.monotonic() - start,
        "device": probe.info.device,
        "workers": probe.info.workers,
        "versions": probe.info.versions,
        "verdicts": verdicts,
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
