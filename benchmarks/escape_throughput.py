"""How long does one step of a living trajectory take, beside C++, numba, diffrax, numpy and
PyTorch?

Job: first exits of dX = -X dt + 0.1 dL from the unit disc, L two independent SaS(1) coordinates
with alpha = 1.5, Euler steps of 1e-3, from 0. Repeats are interleaved (one run of each peer, then
again), so that a change in the machine's load meets them all; medians are reported. Compilation is
apart. Every two peers' mean exit times must agree within three standard errors. numba and diffrax
appear twice: as commonly used, and with our own help; levysde too, with its own draw and ("exact")
with that of the peers.

Run: python benchmarks/escape_throughput.py        --help shows the options; --quick takes a minute.
"""

import argparse
import importlib.metadata
import itertools
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import jax
import numpy as np
from array_peers import Numpy, Torch
from escape_peers import ALPHA, DIM, DT, EPSILON, RADIUS, Cpp, Diffrax, Levysde, Numba, Run

OWN_TARGET = 10.0  # ns per live step, at most
TARGETS = {
    "C++": 1.25,
    "numba": 30.0,
    "diffrax": 500.0,
}  # times levysde's time, at least (C++: levysde at most .8 of it)
PACKAGES = ("jax", "jaxlib", "diffrax", "equinox", "numba", "numpy")
PEERS = ["levysde", "exact", "cpp", "numba", "diffrax", "numpy", "torch"]
RESULT = Path(__file__).parent / "results" / "escape_throughput.json"


def peers(args: argparse.Namespace) -> list:
    slow = max(100, args.num // 5)
    every = {
        "levysde": lambda: [Levysde(args.num, args.threads)],
        "exact": lambda: [Levysde(args.num, args.threads, exact=True)],
        "cpp": lambda: [Cpp(args.num, args.threads)],
        "numba": lambda: [Numba(slow, args.threads, tuned) for tuned in (False, True)],
        "diffrax": lambda: [Diffrax(num, own) for own in (False, True) for num in args.diffrax_num],
        "numpy": lambda: [Numpy(slow // 2)],
        "torch": lambda: [Torch(slow // 2, args.threads)],
    }
    return [peer for name in args.peers for peer in every[name]()]


def measure(chosen: list, repeats: int) -> tuple[list, dict, dict]:
    """Peers that could be prepared, seconds of preparation, and interleaved runs, both by
    position."""
    ready, prepared = [], {}
    for peer in chosen:
        start = time.perf_counter()
        try:
            peer.prepare()
        except ImportError as missing:
            print(f"skipped {peer.name}: {missing}", file=sys.stderr)
            continue
        prepared[len(ready)] = time.perf_counter() - start
        ready.append(peer)
        print(f"{peer.name}, {peer.num} trajectories: {peer.settings}", file=sys.stderr)
    runs: dict[int, list[Run]] = {i: [] for i in range(len(ready))}
    for repeat in range(repeats):
        for i, peer in enumerate(ready):
            runs[i].append(peer.run(repeat + 1))
            shown = (
                f"{runs[i][-1].nanoseconds:9.2f} ns, mean {runs[i][-1].mean:.2f} +- "
                f"{runs[i][-1].error:.2f}"
            )
            print(f"repeat {repeat + 1} {peer.name:24} {peer.num:6} {shown}", file=sys.stderr)
    return ready, prepared, runs


def pooled(runs: list[Run]) -> tuple[float, float]:
    """Mean exit time over all repeats, and its standard error."""
    mean = statistics.fmean(run.mean for run in runs)
    return mean, float(np.sqrt(sum(run.error**2 for run in runs))) / len(runs)


def worst_disagreement(means: list[tuple[float, float]]) -> float:
    """The largest difference of two peers' means, in its standard errors."""
    pairs = itertools.combinations(means, 2)
    return max((abs(a - b) / float(np.hypot(da, db)) for (a, da), (b, db) in pairs), default=0.0)


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = {
            line.split(":")[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        }
        return ", ".join(sorted(names))
    return platform.processor()


def versions() -> dict[str, str]:
    installed = {
        dist.metadata["Name"].lower(): dist.version for dist in importlib.metadata.distributions()
    }
    return {"python": platform.python_version()} | {
        name: installed.get(name, "missing") for name in PACKAGES
    }


def report(ready: list, prepared: dict, runs: dict, args: argparse.Namespace) -> dict:
    rows = []
    for i, peer in enumerate(ready):
        mean, error = pooled(runs[i])
        times = [run.nanoseconds for run in runs[i]]
        rows.append(
            {
                "peer": peer.name,
                "settings": peer.settings,
                "trajectories": peer.num,
                "prepare_seconds": round(prepared[i], 3),
                "ns_per_live_step": round(statistics.median(times), 3),
                "ns_all_repeats": [round(t, 3) for t in times],
                "mean_exit_time": round(mean, 4),
                "standard_error": round(error, 4),
            }
        )
    own = next((row["ns_per_live_step"] for row in rows if row["peer"] == "levysde"), None)
    for row in rows:
        row["ratio_to_levysde"] = round(row["ns_per_live_step"] / own, 4) if own else None
    return {
        "job": {"alpha": ALPHA, "epsilon": EPSILON, "dt": DT, "dim": DIM, "radius": RADIUS},
        "command": f"python benchmarks/escape_throughput.py --num {args.num} --repeats "
        f"{args.repeats} --threads {args.threads} --diffrax-num "
        f"{' '.join(map(str, args.diffrax_num))} --peers {' '.join(args.peers)}",
        "threads": args.threads,
        "repeats": args.repeats,
        "processor": processor(),
        "cores": os.cpu_count(),
        "jax_device": f"{jax.devices()[0].platform} ({jax.devices()[0].device_kind})",
        "load_average_after": [round(load, 2) for load in os.getloadavg()],
        "versions": versions(),
        "largest_difference_of_means_in_standard_errors": round(
            worst_disagreement([(row["mean_exit_time"], row["standard_error"]) for row in rows]), 2
        ),
        "peers": rows,
    }


def table(summary: dict) -> str:
    lines = [
        "| | trajectories | ns per live step (median) | range | times levysde | mean exit time | "
        "compile s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in summary["peers"]:
        low, high = min(row["ns_all_repeats"]), max(row["ns_all_repeats"])
        lines.append(
            f"| {row['peer']} | {row['trajectories']} | {row['ns_per_live_step']:.2f} | "
            f"{low:.2f}-{high:.2f} | {row['ratio_to_levysde']} | {row['mean_exit_time']:.2f} ± "
            f"{row['standard_error']:.2f} | {row['prepare_seconds']:.1f} |"
        )
    return "\n".join(lines)


def verdicts(summary: dict) -> list[str]:
    """Each target, met or missed, against every row of the peer: how it is commonly used, and with
    help."""
    said = []
    for row in summary["peers"]:
        target = TARGETS.get(row["peer"].split(",")[0])
        if row["peer"] == "levysde":
            met = row["ns_per_live_step"] <= OWN_TARGET
            value = row["ns_per_live_step"]
            said.append(
                f"levysde: {value:.1f} ns, target at most {OWN_TARGET:g}: "
                f"{'met' if met else 'MISSED'}"
            )
        elif target and row["ratio_to_levysde"]:
            met = row["ratio_to_levysde"] >= target
            name = f"{row['peer']}, {row['trajectories']} trajectories"
            said.append(
                f"{name}: {row['ratio_to_levysde']:.1f} times, target at least {target:g}: "
                f"{'met' if met else 'MISSED'}"
            )
    return said


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--num", type=int, default=10_000, help="trajectories a run (numba: a fifth)"
    )
    parser.add_argument(
        "--diffrax-num", type=int, nargs="+", default=[200, 1000], help="trajectories for diffrax"
    )
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats of every peer")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="threads for levysde, C++ and numba"
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        default=PEERS,
        help="which to run",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="1000 trajectories, diffrax 50, two repeats, nothing written",
    )
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file for the numbers")
    args = parser.parse_args()
    if args.quick:
        args.num, args.diffrax_num, args.repeats = 1000, [50], 2
    summary = report(*measure(peers(args), args.repeats), args)
    if not args.quick:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(summary, indent=2) + "\n")
    print(table(summary))
    print("\n".join(["", *verdicts(summary)]))
    difference = summary["largest_difference_of_means_in_standard_errors"]
    agree = difference <= 3
    print(
        f"largest difference of two means: {difference} standard errors "
        f"({'agree' if agree else 'DISAGREE'})"
    )
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
