"""How long does one living step of six other problems take, beside C++ written for each of them?

Isotropic noise in d = 2 and 10, Brownian noise, a double well, a dense Hessian in d = 10, ADAM with
its two averages; alpha = 1.5 and dt = 1e-3 throughout, d = 2 where nothing is said. The C++
(problem_reference.cpp, one build a problem) is vectorised over lanes, with nothing general in it.
Repeats are interleaved, medians reported, compilation is apart, and the two mean exit times must
agree within three standard errors. Verdict, fixed beforehand: at most 1.5 times the C++.

Run: python benchmarks/problem_throughput.py        --help shows the options.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
from escape_peers import CPP_FLAGS, DT, Cpp, Levysde, Run
from escape_throughput import measure, pooled, processor, versions, worst_disagreement

import levysde as ls

ALPHA, LIMIT = 1.5, 1.5
SOURCE = Path(__file__).with_name("problem_reference.cpp")
RESULT = Path(__file__).parent / "results" / "problem_throughput.json"


@dataclass(frozen=True)
class Problem:
    """`number` is that of problem_reference.cpp; `num` trajectories make about 2e8 living steps."""

    name: str
    number: int
    num: int
    epsilon: float
    make: Callable[[float], tuple[ls.protocols.Dynamics, ls.protocols.Domain]]


def sgd(driver: ls.protocols.Driver, dim: int) -> Callable:
    well = ls.Quadratic(hessian=jnp.ones(dim))  # its diagonal: the C++ multiplies by a number too
    return lambda epsilon: (ls.SGD(well, driver, epsilon=epsilon), ball(dim))


def ball(dim: int) -> ls.Ball:
    return ls.Ball(radius=1.0, center=jnp.zeros(dim))


def double_well(epsilon: float) -> tuple:
    well = ls.DoubleWell()
    return ls.SGD(well, ls.StableComponents(ALPHA), epsilon=epsilon), ls.Box(
        lower=[-4.0], upper=[0.0]
    )


def dense(epsilon: float) -> tuple:
    well = ls.Quadratic(hessian=jnp.eye(10) + 0.05)
    return ls.SGD(well, ls.StableComponents(ALPHA), epsilon=epsilon), ball(10)


def adam(epsilon: float) -> tuple:
    well = ls.Quadratic(hessian=jnp.ones(2))
    return ls.Adam(
        well, ls.StableComponents(ALPHA), epsilon=epsilon, rates=(10.0, 0.1), delta=0.1
    ), ball(2)


PROBLEMS = (
    Problem("isotropic, d = 2", 1, 6000, 0.1, sgd(ls.StableIsotropic(ALPHA), 2)),
    Problem("isotropic, d = 10", 2, 10_000, 0.1, sgd(ls.StableIsotropic(ALPHA), 10)),
    Problem("Brownian, d = 2", 3, 5000, 0.4, sgd(ls.Brownian(), 2)),
    Problem("double well, d = 1", 4, 4000, 0.1, double_well),
    Problem("dense Hessian, d = 10", 5, 20_000, 0.1, dense),
    Problem("ADAM, d = 2", 6, 6000, 0.1, adam),
)


class Ours(Levysde):
    """`simulate_escape` with its own choice of lanes and chunk."""

    def __init__(self, problem: Problem, threads: int):
        super().__init__(problem.num, threads)
        self.problem = problem

    def prepare(self) -> None:
        dynamics, self.domain = self.problem.make(self.problem.epsilon)
        self.kernel, self.start = ls.EulerMaruyama(dynamics, dt=DT), dynamics.attractor
        self.run(0)


class Reference(Cpp):
    """One build of problem_reference.cpp."""

    def __init__(self, problem: Problem, threads: int):
        super().__init__(problem.num, threads)
        self.problem = problem

    def prepare(self) -> None:
        self.build(SOURCE, f"-DPROBLEM={self.problem.number}")

    def run(self, seed: int) -> Run:
        return self.time(self.num, self.problem.epsilon, DT, self.threads, seed)


def rows(args: argparse.Namespace) -> list[dict]:
    found = []
    for problem in PROBLEMS:
        if args.only and problem.number not in args.only:
            continue
        pair, _, runs = measure(
            [Ours(problem, args.threads), Reference(problem, args.threads)], args.repeats
        )
        times = [[run.nanoseconds for run in runs[i]] for i in range(len(pair))]
        means = [pooled(runs[i]) for i in range(len(pair))]
        ours, theirs = (statistics.median(t) for t in times)
        found.append(
            {
                "problem": problem.name,
                "trajectories": problem.num,
                "epsilon": problem.epsilon,
                "levysde_ns": [round(float(t), 3) for t in times[0]],
                "cpp_ns": [round(float(t), 3) for t in times[1]],
                "ratio": round(float(ours / theirs), 3),
                "means": [[round(float(v), 4) for v in pair] for pair in means],
                "difference_in_standard_errors": round(float(worst_disagreement(means)), 2),
                "met": bool(ours <= LIMIT * theirs),
            }
        )
    return found


def table(found: list[dict]) -> str:
    lines = [
        "| problem | levysde ns | C++ ns | ratio | mean exit time, levysde | C++ | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found:
        ours, theirs = (f"{statistics.median(row[key]):.2f}" for key in ("levysde_ns", "cpp_ns"))
        means = " | ".join(f"{mean:.2f} ± {error:.2f}" for mean, error in row["means"])
        lines.append(
            f"| {row['problem']} | {ours} | {theirs} | {row['ratio']:.2f} | {means} | "
            f"{_said(row)} |"
        )
    return "\n".join(lines)


def _said(row: dict) -> str:
    if row["difference_in_standard_errors"] > 3:
        return "means DISAGREE"
    return "met" if row["met"] else "over 1.5"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats of both")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of both")
    parser.add_argument(
        "--only", type=int, nargs="+", help="numbers of the problems to run; nothing is written"
    )
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file for the numbers")
    args = parser.parse_args()
    found = rows(args)
    if not args.only:
        summary = {
            "flags": CPP_FLAGS,
            "threads": args.threads,
            "processor": processor(),
            "jax_device": f"{jax.devices()[0].platform} ({jax.devices()[0].device_kind})",
            "load_average_after": [round(load, 2) for load in os.getloadavg()],
            "versions": versions(),
            "problems": found,
        }
        args.out.write_text(json.dumps(summary, indent=1) + "\n")
    print(table(found))
    return 0 if all(row["difference_in_standard_errors"] <= 3 for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
