"""Does an hour of random kills lose, repeat or change anything, and does memory stay flat over a
hundred runs?

Kills: a job is drawn (Gaussian and stable noise, SGD and ADAM, steppers with a bridge and with
jumps, a real optimiser, a network), run in a process of its own with a checkpoint, lanes, chunk and
workers drawn at random, and sent SIGKILL, SIGTERM or SIGINT at a random moment; again, with another
layout, until it ends. Its rows must then equal those of an undisturbed run in every bit of every
field. Every draw comes from --seed.

Memory: one process makes a hundred runs of one job, seed by seed, and notes its resident memory
after each.

Verdicts, fixed beforehand: no job differs, none needs a row twice after its end, every process that
was not killed ends well; memory after the last run is at most 5% above that after the tenth.

Run: python benchmarks/soak.py kills --minutes 60        python benchmarks/soak.py memory
"""

import argparse
import dataclasses
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "soak.json"
SIGNALS = ("SIGKILL", "SIGKILL", "SIGTERM", "SIGINT")
GROWTH = 1.05  # allowed, from the tenth run to the hundredth


def problem(name: str) -> tuple[Any, Any, Any, int]:
    """Kernel, domain, start and number of trajectories of a job; some seconds of work on one
    core."""
    import jax.numpy as jnp
    import optax

    import levysde as ls

    well, start = ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 4.0]))), jnp.zeros(2)
    ball = ls.Ball(radius=1.0, center=start)
    sgd = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.1)
    if name == "stable SGD":
        return ls.EulerMaruyama(sgd, dt=1e-3), ball, start, 40_000
    if name == "isotropic ADAM":
        adam = ls.Adam(
            well, ls.StableIsotropic(alpha=1.7), epsilon=0.05, delta=0.1, rates=(5.0, 0.5)
        )
        return ls.EulerMaruyama(adam, dt=1e-3), ball, start, 4_000
    if name == "bridged Langevin":
        return (
            ls.Bridged(ls.OrnsteinUhlenbeck(ls.Langevin(well, diffusion=0.12), dt=0.01), ball),
            ball,
            start,
            30_000,
        )
    if name == "jump by jump":
        basin = ls.Shifted(ball, sgd, cutoff=0.5)
        return ls.JumpAdapted(sgd, dt=0.01, cutoff=0.5, domain=basin), basin, start, 12_000
    if name == "optax ADAM":
        noise = ls.StableComponents(alpha=1.5)
        kernel = ls.OptimizerKernel(optax.adam(0.01), well, driver=noise, iteration_time=0.01)
        return kernel, ls.Ball(radius=0.3, center=start), start, 15_000
    assert name == "network"
    network = ls.softmax_regression(weight_decay=0.1)
    at = network.minimum
    return (
        ls.OptimizerKernel(optax.sgd(0.1), network, batch_size=8),
        ls.Ball(radius=0.5, center=at),
        at,
        400,
    )


LIMIT = {  # steps, after which a trajectory is censored
    "stable SGD": 100_000,
    "isotropic ADAM": 100_000,
    "bridged Langevin": 200_000,
    "jump by jump": 200_000,
    "optax ADAM": 200_000,
    "network": 20_000,
}


def work(name: str, seed: int, out: Path, layout: dict[str, Any], checkpoint: Path | None) -> None:
    """Makes the job and stores every field of its result."""
    import numpy as np

    import levysde as ls

    kernel, domain, start, num = problem(name)
    saved = None if checkpoint is None else ls.Checkpoint(checkpoint, checkpoint_every=0.3)
    run = ls.simulate_escape(
        kernel, domain, start, num=num, seed=seed, max_steps=LIMIT[name], checkpoint=saved, **layout
    )
    fields = {
        field.name: getattr(run, field.name)
        for field in dataclasses.fields(run)
        if field.name != "info"
    }
    with open(out.with_suffix(".tmp"), "wb") as file:
        np.savez(file, **fields)
    os.replace(out.with_suffix(".tmp"), out)


def started(
    name: str, seed: int, out: Path, layout: dict[str, Any], checkpoint: Path | None
) -> subprocess.Popen:
    asked = json.dumps(
        {
            "name": name,
            "seed": seed,
            "out": str(out),
            "layout": layout,
            "checkpoint": checkpoint and str(checkpoint),
        }
    )
    return subprocess.Popen(
        [sys.executable, __file__, "work", asked], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def same(left: Path, right: Path) -> list[str]:
    """The fields in which two stored results differ."""
    import numpy as np

    with np.load(left) as one, np.load(right) as two:
        assert set(one) == set(two)
        return [name for name in one if one[name].tobytes() != two[name].tobytes()]


def soak(minutes: float, seed: int) -> dict[str, Any]:
    draw, tally, wrong = random.Random(seed), Counter(), []
    end, jobs = time.monotonic() + 60 * minutes, Counter()
    with tempfile.TemporaryDirectory() as folder:
        references: dict[str, Path] = {}
        lasted: dict[str, float] = {}
        while time.monotonic() < end:
            name = draw.choice(list(LIMIT))
            if name not in references:
                references[name] = Path(folder, f"{name}.npz")
                before = time.monotonic()
                assert started(name, seed, references[name], {}, None).wait() == 0
                lasted[name] = time.monotonic() - before
                print(f"{name}: undisturbed in {lasted[name]:.0f} s", flush=True)
            out, checkpoint = Path(folder, "out.npz"), Path(folder, "run.npz")
            out.unlink(missing_ok=True)
            checkpoint.unlink(missing_ok=True)
            kills = disturbed(name, seed, out, checkpoint, lasted[name], draw, tally, wrong)
            differs = same(references[name], out) if out.exists() else ["everything"]
            jobs[name] += 1
            if differs:
                wrong.append(f"{name} after {kills} kills: {', '.join(differs)}")
            print(
                f"{name}: {kills} kills, {'the same in every bit' if not differs else wrong[-1]}",
                flush=True,
            )
    return {
        "minutes": minutes,
        "seed": seed,
        "jobs": dict(jobs),
        "kills": dict(tally),
        "wrong": wrong,
    }


def disturbed(
    name: str,
    seed: int,
    out: Path,
    checkpoint: Path,
    lasts: float,
    draw: random.Random,
    tally: Counter,
    wrong: list,
) -> int:
    """Makes a job with kills at random moments until it ends; how many.

    At first within the time that the job takes undisturbed; ever later, since a busy machine may
    have become slower.
    """
    kills = 0
    while True:
        layout = {
            "lanes": draw.choice([None, 16, 64, 256, 1000]),
            "chunk": draw.choice([None, 7, 100, 1000]),
            "devices": draw.choice([None, 1, 2, 3]),
        }
        process = started(name, seed, out, layout, checkpoint)
        try:
            _, errors = process.communicate(timeout=draw.uniform(0.0, lasts) * 1.15**kills)
        except subprocess.TimeoutExpired:
            chosen = draw.choice(SIGNALS)
            resumed = "with a checkpoint" if checkpoint.exists() else "before the first checkpoint"
            tally[f"{chosen} {resumed}"] += 1
            process.send_signal(getattr(signal, chosen))
            process.communicate()
            kills += 1
            continue
        if process.returncode:
            wrong.append(
                f"{name}, {layout}: ended with {process.returncode}: {errors.decode()[-500:]}"
            )
        return kills


def repeated(runs: int) -> dict[str, Any]:
    """Resident memory, in MiB, after each of many runs in this process."""
    import psutil

    import levysde as ls

    kernel, domain, start, _ = problem("stable SGD")
    process, sizes = psutil.Process(), []
    for seed in range(runs):
        ls.simulate_escape(kernel, domain, start, num=2_000, seed=seed)
        sizes.append(round(process.memory_info().rss / 2**20, 1))
        if seed % 10 == 9:
            print(f"after {seed + 1} runs: {sizes[-1]} MiB", flush=True)
    return {
        "runs": runs,
        "mib": sizes,
        "growth from the tenth": round(sizes[-1] / sizes[min(9, runs - 1)], 4),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("kills", "memory", "work"))
    parser.add_argument(
        "asked", nargs="?", help="what `work` is to do, as JSON; for the script itself"
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON file for the numbers")
    args = parser.parse_args()
    if args.part == "work":
        asked = json.loads(args.asked)
        checkpoint = asked["checkpoint"] and Path(asked["checkpoint"])
        work(asked["name"], asked["seed"], Path(asked["out"]), asked["layout"], checkpoint)
        return 0
    numbers = soak(args.minutes, args.seed) if args.part == "kills" else repeated(args.runs)
    import jax

    numbers |= {
        "versions": {"jax": jax.__version__, "python": platform.python_version()},
        "cores": os.cpu_count(),
    }
    kept = json.loads(args.out.read_text()) if args.out.exists() else {}
    args.out.write_text(json.dumps(kept | {args.part: numbers}, indent=1) + "\n")
    met = (
        not numbers["wrong"] if args.part == "kills" else numbers["growth from the tenth"] <= GROWTH
    )
    print(
        json.dumps({k: v for k, v in numbers.items() if k != "mib"}, indent=1),
        "met" if met else "MISSED",
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
