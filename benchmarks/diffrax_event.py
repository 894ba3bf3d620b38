"""How long do escapes take by diffrax's `Event` under `vmap`, beside the engine on the same terms?

Job: first exits of dX = -X dt + 0.5 dW from the unit disc, Euler steps of 1e-3, from 0, in float32.
Both sides get the same drift and diffusion: the engine as `DiffraxKernel(terms, Euler(), dt=dt)`,
diffrax as `diffeqsolve(terms, Euler(), event=Event(...))` under vmap and jit, where every lane
steps until the last one has left. diffrax appears twice: with `VirtualBrownianTree`, which its
documentation recommends (a fifth of the trajectories), and with `UnsafeBrownianPath`, which is
quicker where steps are fixed.
Repeats are interleaved and medians reported; compilation is apart. Any two mean exit times must
agree within three standard errors.

Run: python benchmarks/diffrax_event.py        --help shows the options; --quick takes a minute.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numpy as np
from escape_peers import DIM, DT, RADIUS, Run, run_of
from escape_throughput import measure, pooled, processor, versions, worst_disagreement

import levysde as ls

SIGMA = 0.5
RESULT = Path(__file__).parent / "results" / "diffrax_event.json"


def drift(t, y, args):
    return -y


def diffusion(t, y, args):
    return lineax.DiagonalLinearOperator(jnp.full(DIM, SIGMA))


def terms_with(control: diffrax.AbstractPath) -> diffrax.MultiTerm:
    return diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(diffusion, control))


class Engine:
    def __init__(self, num: int, threads: int):
        self.name, self.num, self.threads = "levysde", num, threads
        self.settings = (
            f"simulate_escape of DiffraxKernel(terms, Euler()), devices={threads}, lanes and chunk "
            "by default"
        )

    def prepare(self) -> None:
        control = diffrax.UnsafeBrownianPath(shape=(DIM,), key=jax.random.key(0))
        self.kernel = ls.DiffraxKernel(terms_with(control), diffrax.Euler(), dt=DT, dim=DIM)
        self.domain = ls.Ball(radius=RADIUS, center=jnp.zeros(DIM))
        self.run(0)

    def run(self, seed: int) -> Run:
        start = time.perf_counter()
        result = ls.simulate_escape(
            self.kernel,
            self.domain,
            jnp.zeros(DIM),
            num=self.num,
            seed=seed,
            devices=self.threads,
        )
        return run_of(time.perf_counter() - start, result.steps)


class Event:
    """`tree`: with VirtualBrownianTree, which needs the longest time beforehand."""

    def __init__(self, num: int, longest: float, tree: bool):
        self.name = f"diffrax, {'VirtualBrownianTree' if tree else 'UnsafeBrownianPath'}"
        self.num, self.longest, self.tree = num, longest, tree
        self.option = (
            {"xla_cpu_prefer_vector_width": "512"} if jax.default_backend() == "cpu" else {}
        )
        path = f"t1={longest:g}, tol=dt/2" if tree else "adjoint=ForwardMode()"
        self.settings = (
            "diffeqsolve(Euler, Event, SaveAt(t1=True), max_steps=None), vmap and jit, "
            f"{path}, {self.option or 'no'} compiler options"
        )

    def prepare(self) -> None:
        def steps(key):
            control, options = diffrax.UnsafeBrownianPath(shape=(DIM,), key=key), {}
            if self.tree:
                control = diffrax.VirtualBrownianTree(0.0, self.longest, DT / 2, (DIM,), key)
            else:  # which the default adjoint does not take
                options = {"adjoint": diffrax.ForwardMode()}
            solution = diffrax.diffeqsolve(
                terms_with(control),
                diffrax.Euler(),
                t0=0.0,
                t1=self.longest,
                dt0=DT,
                y0=jnp.zeros(DIM),
                event=diffrax.Event(lambda t, y, args, **kwargs: jnp.sum(y * y) >= RADIUS**2),
                saveat=diffrax.SaveAt(t1=True),
                max_steps=None,
                **options,
            )
            return solution.stats["num_steps"], solution.event_mask

        self.compiled = (
            jax.jit(jax.vmap(steps), compiler_options=self.option).lower(self.keys(0)).compile()
        )

    def keys(self, seed: int) -> jax.Array:
        return jax.random.split(jax.random.key(seed), self.num)

    def run(self, seed: int) -> Run:
        keys = jax.block_until_ready(self.keys(seed))
        start = time.perf_counter()
        steps, left = jax.block_until_ready(self.compiled(keys))
        seconds = time.perf_counter() - start
        if not np.all(left):
            raise RuntimeError(f"a trajectory was inside at time {self.longest:g}: give --longest")
        return run_of(seconds, np.asarray(steps))


def report(ready: list, prepared: dict, runs: dict, args: argparse.Namespace) -> dict:
    rows = []
    for i, peer in enumerate(ready):
        mean, error = pooled(runs[i])
        seconds = [run.seconds for run in runs[i]]
        rows.append(
            {
                "peer": peer.name,
                "settings": peer.settings,
                "trajectories": peer.num,
                "prepare_seconds": round(prepared[i], 3),
                "seconds": round(float(np.median(seconds)), 4),
                "seconds_all_repeats": [round(value, 4) for value in seconds],
                "ns_per_live_step": round(float(np.median([r.nanoseconds for r in runs[i]])), 2),
                "mean_exit_time": round(mean, 4),
                "standard_error": round(error, 4),
            }
        )
    for row in rows:
        row["times_levysde"] = round(row["ns_per_live_step"] / rows[0]["ns_per_live_step"], 1)
    means = [(row["mean_exit_time"], row["standard_error"]) for row in rows]
    return {
        "job": {"sigma": SIGMA, "dt": DT, "dim": DIM, "radius": RADIUS},
        "command": f"python benchmarks/diffrax_event.py --num {args.num} --repeats {args.repeats} "
        f"--threads {args.threads} --longest {args.longest:g}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "jax_device": f"{jax.devices()[0].platform} ({jax.devices()[0].device_kind})",
        "load_average_after": [round(load, 2) for load in os.getloadavg()],
        "versions": versions() | {"levysde": ls.__version__},
        "largest_difference_of_means_in_standard_errors": round(worst_disagreement(means), 2),
        "peers": rows,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=1000, help="trajectories a run")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved repeats of every peer")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="workers of levysde")
    parser.add_argument("--longest", type=float, default=400.0, help="last time for diffrax")
    parser.add_argument(
        "--quick", action="store_true", help="50 trajectories, one repeat, nothing written"
    )
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file for the numbers")
    args = parser.parse_args()
    if args.quick:
        args.num, args.repeats = 50, 1
    peers = [Engine(args.num, args.threads)]
    peers += [Event(args.num // 5, args.longest, tree=True)]
    peers += [Event(args.num, args.longest, tree=False)]
    summary = report(*measure(peers, args.repeats), args)
    if not args.quick:
        args.out.write_text(json.dumps(summary, indent=1) + "\n")
    print(
        "| | trajectories | seconds (median) | ns per live step | times levysde | mean exit time | "
        "compile s |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in summary["peers"]:
        print(
            f"| {row['peer']} | {row['trajectories']} | {row['seconds']:.2f} | "
            f"{row['ns_per_live_step']:.1f} | {row['times_levysde']:.1f} | "
            f"{row['mean_exit_time']:.2f} ± {row['standard_error']:.2f} | "
            f"{row['prepare_seconds']:.1f} |"
        )
    difference = summary["largest_difference_of_means_in_standard_errors"]
    agree = difference <= 3
    print(
        f"largest difference of two means: {difference} standard errors "
        f"({'agree' if agree else 'DISAGREE'})"
    )
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
