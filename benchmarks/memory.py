"""How much memory do ten million trajectories take, with and without the places of their exits?

Exits of job J's noise at epsilon = 1 and dt = 0.01 (about 50 steps a trajectory, so that rows are
the work), d = 2. Each run is a process of its own; reported are its peak resident memory and that
of a run of 1,000, which is Python, JAX and the compiled program. Verdict, fixed beforehand: the
peak with record="times" is at most 1 GiB.

Run: python benchmarks/memory.py        --help shows the options.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
from pathlib import Path

LIMIT = 1.0  # GiB
RESULT = Path(__file__).parent / "results" / "memory.json"


def child(num: int, record: str) -> None:
    import jax
    import jax.numpy as jnp

    import levysde as ls

    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.eye(2)), ls.StableComponents(alpha=1.5), epsilon=1.0)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(2))
    run = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=0.01), ball, jnp.zeros(2), num=num, seed=0, record=record
    )
    assert run.exited.all()
    row = {
        "trajectories": num,
        "record": record,
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
        "seconds": round(run.info.seconds, 1),
        "ns_per_live_step": round(
            1e9 * (run.info.seconds - run.info.compile_seconds) / run.info.live_steps, 2
        ),
        "mean_steps": round(float(run.steps.mean()), 2),
        "device": run.info.device,
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
    }
    print(json.dumps(row))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=10_000_000, help="trajectories")
    parser.add_argument(
        "--child", nargs=2, metavar=("NUM", "RECORD"), help="make one run and print its row"
    )
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file for the numbers")
    args = parser.parse_args()
    if args.child:
        child(int(args.child[0]), args.child[1])
        return 0
    rows = []
    for num, record in ((1000, "times"), (args.num, "times"), (args.num, "places")):
        command = [sys.executable, __file__, "--child", str(num), record]
        rows.append(
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        )
        print({k: v for k, v in rows[-1].items() if k not in ("versions", "device")}, flush=True)
    args.out.write_text(json.dumps(rows, indent=1) + "\n")
    met = rows[1]["peak_gib"] <= LIMIT
    print(
        f'record="times": {rows[1]["peak_gib"]} GiB, target at most {LIMIT:g}: '
        f"{'met' if met else 'MISSED'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
