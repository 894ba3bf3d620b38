"""What does a sweep cost over its points, how fast is a store of 1,000 points, and what do kills
lose?

    python benchmarks/sweeps.py [--cases overhead store kills ray clone] [--out
        benchmarks/results/sweeps.json]

Cases, sizes, seeds and verdicts are fixed here before the run. `overhead` holds a sweep against the
same points in a plain loop, alternately in one process; `store` opens and scans one of 1,000
points; `kills` sends SIGKILL at 20 random moments to drivers and workers, starts the same command
again each time, and compares the data byte for byte with an undisturbed run; `ray` holds one actor
against this process, past the first point; `clone` goes from a clone to a report of 20 points.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOALS = {
    "overhead_short_ms": 20.0,
    "overhead_long_share": 0.05,
    "open_s": 0.1,
    "scan_s": 0.5,
    "lost": 0,
    "redone": 0,
    "differing_files": 0,
    "ray_ratio": 1.10,
    "clone_s": 360.0,
}
SEED, KILLS, REPEATS, RAY_REPEATS = 0, 20, 3, 7
RUN = {
    "landscape": {"name": "Quadratic", "hessian": [[1.0, 0.0], [0.0, 4.0]]},
    "driver": {"name": "StableComponents", "alpha": 1.5},
    "dynamics": {"name": "SGD", "epsilon": 0.1},
    "domain": {"name": "Ball", "radius": 1.0},
    "kernel": {"name": "EulerMaruyama", "dt": 1e-2},
    "num": 64,
}


def table(num: int, dt: float, count: int, low: float = 0.1, high: float = 0.3) -> dict:
    run = RUN | {"num": num, "kernel": {"name": "EulerMaruyama", "dt": dt}}
    return {
        "title": "benchmark",
        "seed": SEED,
        "run": run,
        "grid": {"epsilon": {"low": low, "high": high, "num": count}},
    }


SHORT = table(num=64, dt=1e-2, count=200)  # some 30 ms a point
LONG = table(num=40_000, dt=1e-3, count=4, low=0.1, high=0.12)  # some 10 s a point
KILLED = table(num=6_000, dt=1e-3, count=8, low=0.12, high=0.2)  # some 1 to 4 s a point


def by_hand(spec: dict) -> float:
    """Seconds that the points of a spec take in a plain loop, as a script would be written."""
    import jax.numpy as jnp

    import levysde as ls
    from levysde.sweeps import make_plan

    points = make_plan(spec).points  # for their seeds
    start = time.perf_counter()
    for point in points:
        well = ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 4.0])))
        epsilon = point.settings.dynamics.arguments["epsilon"]
        dynamics = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=epsilon)
        ball = ls.Ball(radius=1.0, center=jnp.zeros(2))
        law = ls.escape_law(dynamics, ball, check=False)
        dt = point.settings.kernel.arguments["dt"]
        result = ls.simulate_escape(
            ls.EulerMaruyama(dynamics, dt=dt),
            ball,
            jnp.zeros(2),
            num=spec["run"]["num"],
            seed=point.seed,
            max_time=30 * law.mean,
            record="times",
        )
        ls.compare(result, law)
    return time.perf_counter() - start


def swept(spec: dict, out: Path, **options) -> float:
    from levysde.sweeps import run_sweep

    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    tally = run_sweep(spec, out, **options)
    assert tally.failed == 0, tally
    return time.perf_counter() - start


def overhead(folder: Path) -> dict:
    rows = {}
    for name, spec, repeats in (("short", SHORT, REPEATS), ("long", LONG, REPEATS)):
        count = spec["grid"]["epsilon"]["num"]
        # exits at once: what is left is compilation
        quick = {"grid": {"epsilon": [1.0, 1.1]}, "seed": 99}
        swept(spec | quick, folder / "warm")
        pairs = [(swept(spec, folder / name), by_hand(spec)) for _ in range(repeats)]
        more = [sweep - loop for sweep, loop in pairs]
        rows[name] = {
            "points": count,
            "pairs_s": pairs,
            "seconds_a_point": statistics.median(loop for _, loop in pairs) / count,
            "overhead_ms_a_point": 1e3 * statistics.median(more) / count,
            "overhead_share": statistics.median(sweep / loop - 1 for sweep, loop in pairs),
        }
    rows["reached"] = {
        "short": rows["short"]["overhead_ms_a_point"] < GOALS["overhead_short_ms"],
        "long": rows["long"]["overhead_share"] < GOALS["overhead_long_share"],
    }
    return rows


def store(folder: Path) -> dict:
    import xarray

    from levysde.sweeps import open_sweep

    spec = table(num=16, dt=1e-2, count=250, low=0.2, high=0.6)
    spec["grid"]["radius"] = [0.7, 0.8, 0.9, 1.0]
    out = folder / "thousand"
    seconds = swept(spec, out)
    timed = {"open_sweep": [], "open_zarr": [], "scan": [], "read a number of every point": []}
    for _ in range(20):
        start = time.perf_counter()
        sweep = open_sweep(out)
        timed["open_sweep"].append(time.perf_counter() - start)
        start = time.perf_counter()
        frame = xarray.open_zarr(out, chunks=None)
        timed["open_zarr"].append(time.perf_counter() - start)
        start = time.perf_counter()
        done, failed = sweep.store.finished(), sweep.store.failed()
        timed["scan"].append(time.perf_counter() - start)
        assert (len(done), len(failed)) == (1000, 0)
        start = time.perf_counter()
        assert frame["summary"].sel(quantity="mean_time").values.shape == (250, 4)
        timed["read a number of every point"].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in timed.items()}
    files = [path for path in out.rglob("*") if path.is_file()]
    return {
        "points": 1000,
        "seconds_to_run": seconds,
        "median_s": medians,
        "files": len(files),
        "megabytes": sum(path.stat().st_size for path in files) / 1e6,
        "reached": {
            "open": max(medians["open_sweep"], medians["open_zarr"]) < GOALS["open_s"],
            "scan": medians["scan"] < GOALS["scan_s"],
        },
    }


def data_files(out: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in sorted(files.items())
        if not name.startswith((".run/", "log/"))
    }


def started(spec: dict, out: Path, engine: str) -> subprocess.Popen:
    code = (
        "import json, sys\nfrom levysde.sweeps import run_sweep\n"
        "options = {'engine': 'ray', 'workers': 2} if sys.argv[3] == 'ray' else {}\n"
        "run_sweep(json.loads(sys.argv[1]), sys.argv[2], checkpoint_every=0.5, **options)\n"
    )
    command = [sys.executable, "-c", code, json.dumps(spec), str(out), engine]
    return subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def actors(pid: int) -> list:
    import psutil

    try:
        below = psutil.Process(pid).children(recursive=True)
        return [p for p in below if any("ray::_run_numbered" in word for word in p.cmdline())]
    except psutil.Error:
        return []


def kills(folder: Path, first: int = 0) -> dict:
    """20 kills: 8 of a driver in its own process, 6 of a Ray driver with all it started, 6 of a Ray
    worker; from the number `first` on."""
    swept(KILLED, folder / "undisturbed")
    truth = data_files(folder / "undisturbed")
    rows, misses = [], 0
    while (k := first + len(rows)) < KILLS:
        draw = random.Random(f"{SEED}, {k}, {misses}")
        kind = "driver" if k < 8 else "ray driver" if k < 14 else "ray worker"
        out = folder / f"killed-{k}-{misses}"
        process = started(KILLED, out, "local" if kind == "driver" else "ray")
        start = time.monotonic()
        while not list(out.glob(".run/checkpoints/*")) and process.poll() is None:
            time.sleep(0.02)  # until a point is under way
        wait = draw.uniform(0.0, 10.0)
        time.sleep(wait)
        victims = actors(process.pid) if kind == "ray worker" else []
        before = {path: path.stat().st_mtime_ns for path in out.glob("*/c/*")}
        done = {path.name for path in out.glob("done/c/*")}
        if kind == "ray worker":
            hit = bool(victims)
            if victims:
                os.kill(draw.choice(victims).pid, signal.SIGKILL)
            process.wait()
        else:
            hit = process.poll() is None
            if hit:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(2.0)  # what Ray had started notices that its driver is gone
            kept = {path.name for path in out.glob("done/c/*")}
            again = started(KILLED, out, "local" if kind == "driver" else "ray")
            assert again.wait() == 0
            done |= kept
        after = {path: path.stat().st_mtime_ns for path in out.glob("*/c/*")}
        redone = {
            path.name
            for path, stamp in before.items()
            if path.name in done and after.get(path) != stamp
        }
        found = data_files(out)
        if not hit:  # it was through before: another moment is drawn
            misses += 1
            shutil.rmtree(out)
            continue
        rows.append(
            {
                "kind": kind,
                "after_s": wait,  # from the moment that a point is under way
                "done_before": len(done),
                "lost": len(done - {path.name for path in out.glob("done/c/*")}),
                "redone": len(redone),
                "differing_files": sum(
                    found.get(name) != truth.get(name) for name in found.keys() | truth.keys()
                ),
                "seconds": time.monotonic() - start,
            }
        )
        print(rows[-1], flush=True)
        shutil.rmtree(out)
    totals = {
        name: sum(row[name] for row in rows) for name in ("lost", "redone", "differing_files")
    }
    return {
        "points": 8,
        "rows": rows,
        "kills_that_came_too_late": misses,
        "totals": totals,
        "reached": all(totals[name] == GOALS[name] for name in totals),
    }


def rate(out: Path) -> float:
    """Seconds a point between the end of the first point and that of the last."""
    from datetime import datetime

    from levysde.sweeps import open_sweep

    ends = sorted(
        datetime.fromisoformat(how["ended"]).timestamp()
        for how in open_sweep(out).store.how().values()
    )
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def ray(folder: Path) -> dict:
    spec = table(num=8_000, dt=1e-3, count=6, low=0.12, high=0.14)
    pairs = []
    for _ in range(RAY_REPEATS):
        walls = (swept(spec, folder / "local"), swept(spec, folder / "ray", engine="ray"))
        pairs.append((rate(folder / "local"), rate(folder / "ray"), *walls))
    same = data_files(folder / "local") == data_files(folder / "ray")
    ratio = statistics.median(b / a for a, b, *_ in pairs)
    return {
        "points": 6,
        "local_s_a_point, ray_s_a_point, local_s, ray_s": pairs,
        "ratio": ratio,
        "same_bytes": same,
        "reached": same and ratio < GOALS["ray_ratio"],
    }


def clone(folder: Path) -> dict:
    """Clone, make an environment, install, run the 20 points of docs/sweeps/first.toml, write the
    report."""
    root = Path(__file__).parents[1]
    steps = [
        f"git clone --quiet {root} levysde",
        "cd levysde",
        f"{sys.executable} -m venv .venv",
        '.venv/bin/pip install --quiet ".[sweep]"',
        ".venv/bin/levysde sweep docs/sweeps/first.toml --out first",
        ".venv/bin/levysde report first",
        "test -s first/report.html",
    ]
    start = time.perf_counter()
    subprocess.run(["bash", "-ec", "\n".join(steps)], cwd=folder, check=True)
    seconds = time.perf_counter() - start
    return {"points": 20, "seconds": seconds, "reached": seconds < GOALS["clone_s"]}


CASES = {"overhead": overhead, "store": store, "kills": kills, "ray": ray, "clone": clone}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "sweeps.json"
    )
    parser.add_argument(
        "--kills-from", type=int, default=0, help="leave out the kills before this one"
    )
    options = parser.parse_args()
    report = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            more = {"first": options.kills_from} if name == "kills" else {}
            report[name] = CASES[name](Path(folder), **more) | {"machine": machine()}
        print(name, json.dumps(report[name], indent=1), flush=True)
        report["goals"] = GOALS
        options.out.write_text(json.dumps(report, indent=1))


def machine() -> dict:
    from levysde.sweeps import versions

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_1m": os.getloadavg()[0],
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
