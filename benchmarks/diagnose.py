"""How long does the diagnosis of a network of 10^5 parameters take, in how much memory, and how
much do its rays gain?

A tanh network 64-280-280-10 (99,690 parameters, float32) on the 1,797 digits of scikit-learn,
cross-entropy per example, weight decay 1e-3, brought down by 600 steps of L-BFGS. `ls.diagnose`
then runs with its defaults in a process of its own, twice, with two seeds; a third process imports
the same and stops before it, for the memory that is not the diagnosis's.

Verdicts, fixed beforehand: at most 10 minutes; at most the memory planned for, plus 25% for what
Python holds twice, over the third process, and that within the default memory_budget; m(W) of both
optimisers known to 10%; the two seeds' m(W) within five standard errors of each other.

Run: python benchmarks/diagnose.py        --help shows the options.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "diagnose.json"
MINUTES, SLACK, KNOWN, SIGMAS = 10.0, 1.25, 0.1, 5.0
DECAY, HIDDEN, BATCH, RATE = 1e-3, 280, 32, 0.1


def problem() -> tuple[Any, Any, tuple[np.ndarray, np.ndarray]]:
    """The loss of one image, parameters at the start, data."""
    import jax
    import jax.numpy as jnp
    from sklearn.datasets import load_digits

    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    rng = np.random.default_rng(0)
    sizes = [64, HIDDEN, HIDDEN, 10]
    params = [
        {"weight": rng.normal(size=(a, b)) / np.sqrt(a), "bias": np.zeros(b)}
        for a, b in itertools.pairwise(sizes)
    ]

    def loss_fn(params: Any, image: Any, label: Any) -> Any:
        for layer in params[:-1]:
            image = jnp.tanh(image @ layer["weight"] + layer["bias"])
        logits = image @ params[-1]["weight"] + params[-1]["bias"]
        return jax.nn.logsumexp(logits) - logits[label]

    return loss_fn, params, (images / 16, labels)


def descend(steps: int, path: Path) -> dict[str, Any]:
    """Train by L-BFGS in float32 and keep the flat parameters."""
    import equinox as eqx
    import jax.numpy as jnp
    from scipy.optimize import minimize

    import levysde as ls

    loss_fn, params, data = problem()
    network = ls.from_network(loss_fn, params, *data, weight_decay=DECAY)
    both = eqx.filter_jit(lambda net, x: (net.value(x), net.gradient(x)))

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = both(network, jnp.asarray(x, network.minimum.dtype))
        return float(value), np.asarray(gradient, float)

    start = time.perf_counter()
    options = {"maxiter": steps, "maxfun": 3 * steps, "maxcor": 20, "ftol": 0.0, "gtol": 1e-8}
    found = minimize(
        value_and_gradient,
        np.asarray(network.minimum, float),
        jac=True,
        method="L-BFGS-B",
        options=options,
    )
    np.save(path, found.x)
    return {
        "steps": int(found.nit),
        "seconds": round(time.perf_counter() - start, 1),
        "loss": float(found.fun),
    }


def child(path: Path, seed: int, escapes: int, stop: bool) -> None:
    import jax.numpy as jnp

    import levysde as ls

    loss_fn, params, data = problem()
    network = ls.from_network(loss_fn, params, *data, weight_decay=DECAY)
    point = network.unflatten(jnp.asarray(np.load(path), network.minimum.dtype))
    row: dict[str, Any] = {"seed": seed}
    if not stop:
        start = time.perf_counter()
        report = ls.diagnose(
            loss_fn,
            point,
            data,
            batch_size=BATCH,
            learning_rate=RATE,
            weight_decay=DECAY,
            seed=seed,
            num_escapes=escapes,
        )
        row["seconds"] = round(time.perf_counter() - start, 1)
        row |= {
            "parts": report.seconds,
            "planned_gib": round(report.memory_bytes / 2**30, 3),
            "table": repr(report),
        }
        row["products"] = report.hessian.products
        row["measures"] = {
            name: {
                "value": m.measure.value,
                "interval": [m.measure.low, m.measure.high],
                "quadratic": m.quadratic,
                "rays": m.rays,
                "reduction": m.reduction,
                "by_sampling": m.by_sampling,
            }
            for name, m in report.measures.items()
        }
    row["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3)
    print(json.dumps(row))


def verdicts(rows: list[dict[str, Any]], idle: float) -> dict[str, bool]:
    measures = [row["measures"] for row in rows]
    half = {
        name: [(m[name]["interval"][1] - m[name]["interval"][0]) / 2 for m in measures]
        for name in measures[0]
    }
    apart = [
        abs(measures[0][name]["value"] - measures[1][name]["value"])
        / (np.hypot(*half[name]) / 1.96)
        for name in half
    ]
    return {
        f"at most {MINUTES:g} minutes": all(row["seconds"] <= 60 * MINUTES for row in rows),
        "within the memory planned": all(
            row["peak_gib"] - idle <= SLACK * row["planned_gib"] for row in rows
        ),
        "within the default budget": all(row["planned_gib"] <= 4.0 for row in rows),
        f"m(W) known to {KNOWN:.0%}": all(
            h <= KNOWN * m[name]["value"]
            for name in half
            for h, m in zip(half[name], measures, strict=True)
        ),
        f"two seeds within {SIGMAS:g} standard errors": bool(max(apart) <= SIGMAS),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=600, help="of L-BFGS")
    parser.add_argument("--escapes", type=int, default=100, help="trajectories asked for")
    parser.add_argument(
        "--child", nargs=3, metavar=("PATH", "SEED", "STOP"), help="make one run and print its row"
    )
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file for the numbers")
    args = parser.parse_args()
    if args.child:
        child(Path(args.child[0]), int(args.child[1]), args.escapes, args.child[2] == "1")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "point.npy"
        training = descend(args.steps, path)
        print(training, flush=True)
        rows = []
        for seed, stop in ((0, 1), (0, 0), (1, 0)):
            command = [
                sys.executable,
                __file__,
                "--child",
                str(path),
                str(seed),
                str(stop),
                "--escapes",
                str(args.escapes),
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print({key: value for key, value in rows[-1].items() if key != "table"}, flush=True)
    print(rows[1]["table"])
    met = verdicts(rows[1:], rows[0]["peak_gib"])
    print(met)
    import jax

    made = {
        "training": training,
        "idle_gib": rows[0]["peak_gib"],
        "runs": rows[1:],
        "verdicts": met,
        "load_at_the_end": os.getloadavg()[0],
        "device": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
    }
    args.out.write_text(json.dumps(made, indent=1) + "\n")
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
