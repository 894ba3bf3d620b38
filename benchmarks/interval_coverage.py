"""How often does each interval that the package returns hold the truth?

Fixed before any run: the cells below (n = 20 and 100, or the fewest values that a function accepts;
exponential and lognormal times, or the law that an estimator of tails assumes; no censoring, and
30%, at one time or at random), 2,000 samples a cell (500 where one sample takes a bootstrap), the
seed, 95% intervals, and the criterion: coverage from 0.93 to 0.97, or the function's documentation
gives the coverage. Samples that a function refuses are counted apart. Times have mean 1; lognormal
ones have a standard deviation of 1 in the logarithm. Run: python benchmarks/interval_coverage.py
[--runs 2000] [--seed 0] [--out benchmarks/results/interval_coverage.json] It also writes the table
in docs/howto/trust.md, one line a function; the JSON holds every cell.
"""

import argparse
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import levy_stable, norm

from levysde import analysis, networks, stats
from levysde.analysis import exits, extrapolate
from levysde.networks import curvature, gradient_noise
from levysde.sweeps import fits, scaling_fits
from levysde.sweeps.rows import Row

BAND = 0.93, 0.97
SAME = {  # functions whose intervals are those of others
    "compare": "mean_time, mean_ratio and exponentiality",
    "escape_law": "law_error",
    "law_error": "mean_time, or forced jumps, whose coverage is in the battery of the law",
    "index_of_growth": "block_log_moment_index",
    "tail_report": "the estimators that it calls",
}
CENSORED = 0.3
ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/howto/trust.md"
MARKS = "<!-- written by benchmarks/interval_coverage.py -->", "<!-- end -->"
Sample = Callable[[np.random.Generator], tuple]
Interval = tuple[float, float, float]  # low, high, truth


@dataclass(frozen=True)
class Cell:
    """Of which function, the law, n, the censoring, and one draw: by what they are about, intervals
    with their truths."""

    function: Callable
    law: str
    n: int
    censoring: str
    draw: Callable[[np.random.Generator], dict[str, Interval]]
    slow: bool = False


# laws of times, of mean 1: a draw of n, quantiles, and the mean of min(time, horizon)
LAWS = {
    "exponential": (
        lambda rng, n: rng.exponential(size=n),
        lambda p: -np.log1p(-p),
        lambda h: 1 - np.exp(-h),
    ),
    "lognormal": (
        lambda rng, n: rng.lognormal(-0.5, 1, size=n),
        lambda p: np.exp(norm.ppf(p) - 0.5),
        lambda h: norm.cdf(np.log(h) - 0.5) + h * norm.sf(np.log(h) + 0.5),
    ),
    "Weibull 1.5": (lambda rng, n: rng.weibull(1.5, size=n), None, None),
}
# mean of exponential censoring times that stop 30%
RANDOM = {"exponential": 7 / 3, "lognormal": 2.2}


def times(law: str, n: int, censoring: str) -> Sample:
    draw, quantile, _ = LAWS[law]

    def one(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        time = draw(rng, n)
        if censoring == "none":
            return time, np.ones(n, bool)
        stop = (
            quantile(1 - CENSORED)
            if censoring == "30% at one time"
            else rng.exponential(RANDOM[law], size=n)
        )
        return np.minimum(time, stop), time < stop

    return one


def of(estimate: Any, truth: float) -> Interval:
    return estimate.low, estimate.high, truth


def survival_at(curve: stats.SurvivalCurve, place: float, truth: float) -> Interval:
    """The band at a time: that of the last step before it."""
    i = int(np.searchsorted(curve.time, place, side="right")) - 1
    return (curve.low[i], curve.high[i], truth) if i >= 0 else (0.0, 1.0, truth)


def curves(sample: tuple, places: dict[float, float]) -> dict[str, Interval]:
    curve = stats.kaplan_meier(*sample)
    return {f"survival of {p:g}": survival_at(curve, place, p) for p, place in places.items()}


def restricted(sample: tuple, horizons: dict[float, float]) -> dict[str, Interval]:
    found = {}
    for horizon, truth in horizons.items():
        with suppress(ValueError):  # the survival is unknown there
            found[f"horizon {horizon:g} means"] = of(stats.restricted_mean(*sample, horizon), truth)
    return found


def of_times() -> Iterator[Cell]:
    for law, (_, quantile, mean) in LAWS.items():
        if quantile is None:
            continue
        for censoring, n in product(("none", "30% at one time", "30% at random"), (20, 100)):
            s, row, whole = times(law, n, censoring), (law, n, censoring), censoring == "none"
            places = {p: quantile(1 - p) for p in (0.75, 0.5, *([0.25] if whole else []))}
            horizons = {
                h: float(mean(h))
                for h in (0.1, 0.3, 1.0, *([] if censoring == "30% at one time" else [3.0]))
            }
            yield Cell(
                stats.escape_rate, *row, lambda r, s=s: {"rate": of(stats.escape_rate(*s(r)), 1.0)}
            )
            yield Cell(
                stats.mean_time, *row, lambda r, s=s: {"mean": of(stats.mean_time(*s(r)), 1.0)}
            )
            yield Cell(
                stats.mean_ratio,
                *row,
                lambda r, s=s: {"ratio": of(stats.mean_ratio(*s(r), *s(r)), 1.0)},
            )
            yield Cell(stats.kaplan_meier, *row, lambda r, s=s, p=places: curves(s(r), p))
            yield Cell(stats.restricted_mean, *row, lambda r, s=s, h=horizons: restricted(s(r), h))
    shapes = (
        ("exponential", 1.0, "none"),
        ("exponential", 1.0, "30% at one time"),
        ("Weibull 1.5", 1.5, "none"),
    )
    for (law, shape, censoring), n in product(shapes, (20, 100)):
        s = times(law, n, censoring)
        yield Cell(
            stats.exponentiality,
            law,
            n,
            censoring,
            lambda r, s=s, k=shape: {"Weibull shape": of(stats.exponentiality(*s(r)).shape, k)},
        )


def stable(alpha: float, n: int, rng: np.random.Generator) -> np.ndarray:
    return levy_stable.rvs(alpha, 0.0, size=n, random_state=rng)


def hills(rng: np.random.Generator, n: int) -> dict[str, Interval]:
    x = rng.pareto(1.5, n) + 1
    return {
        "k = n/10": of(stats.hill(x, k=n // 10).alpha, 1.5),
        "k chosen": of(stats.hill(x).alpha, 1.5),
    }


def at_20(curve: stats.HillCurve) -> dict[str, Interval]:
    i = int(np.argmin(np.abs(curve.k - 20)))
    return {"k = 20": (curve.low[i], curve.high[i], 1.5)}


def parts(fit: Any, **truths: float) -> dict[str, Interval]:
    return {name: of(getattr(fit, name), truth) for name, truth in truths.items()}


def noise(n: int, h: float, rng: np.random.Generator) -> np.ndarray:
    return stats.fractional_gaussian_noise(n, h, seed=int(rng.integers(2**63)))


def of_noise() -> Iterator[Cell]:
    for n in (50, 100, 1000):  # 50 is the fewest
        yield Cell(stats.hill, "Pareto 1.5", n, "none", lambda r, n=n: hills(r, n))
        yield Cell(
            stats.hill_curve,
            "Pareto 1.5",
            n,
            "none",
            lambda r, n=n: at_20(stats.hill_curve(r.pareto(1.5, n) + 1)),
        )
    fit, growth = stats.characteristic_function_fit, stats.block_log_moment_index
    for a, n in product((1.2, 1.5, 1.8), (20, 100, 1000)):
        law, block = f"stable {a}", 2 if n == 20 else None  # 8 blocks at least
        draw = partial(stable, a, n)
        yield Cell(
            fit, law, n, "none", lambda r, a=a, draw=draw: parts(fit(draw(r)), alpha=a, scale=1.0)
        )
        yield Cell(
            growth,
            law,
            n,
            "none",
            lambda r, a=a, b=block, draw=draw: {"alpha": of(growth(draw(r), block=b), a)},
        )
        if n == 20:
            continue
        yield Cell(
            stats.hill,
            law,
            n,
            "none",
            lambda r, a=a, draw=draw: {"k chosen": of(stats.hill(draw(r)).alpha, a)},
        )
        yield Cell(
            stats.mcculloch,
            law,
            n,
            "none",
            lambda r, a=a, draw=draw: parts(
                stats.mcculloch(draw(r)), alpha=a, skewness=0.0, scale=1.0, location=0.0
            ),
        )
    # 500 is the fewest
    for function, h, n in product((stats.hurst_dfa, stats.hurst_rs), (0.5, 0.7), (500, 2000)):
        law = f"fractional noise, H = {h}"
        yield Cell(
            function,
            law,
            n,
            "none",
            lambda r, f=function, h=h, n=n: {"H": of(f(noise(n, h, r)), h)},
        )
    for law, n in product(("exponential", "lognormal"), (50, 200)):
        yield Cell(
            stats.block_bootstrap,
            law,
            n,
            "none",
            lambda r, law=law, n=n: {
                "mean, blocks of 1": of(
                    stats.block_bootstrap(np.mean, LAWS[law][0](r, n), block=1), 1.0
                )
            },
            slow=True,
        )


def shares(rng: np.random.Generator, n: int) -> dict[str, Interval]:
    return {
        f"share of {p:g}": of(exits.bounded_mean(float(rng.binomial(n, p)), n, 0.95), p)
        for p in (0.1, 0.5)
    }


def parts_of_exits(rng: np.random.Generator, n: int) -> dict[str, Interval]:
    return {
        "mean share of 2/3": of(exits.bounded_mean(float(rng.beta(2, 1, n).sum()), n, 0.95), 2 / 3)
    }


def median(rng: np.random.Generator, n: int) -> dict[str, Interval]:
    return {
        "median over coordinates": of(
            gradient_noise.median_estimate(rng.normal(1.5, 0.2, n), rng), 1.5
        )
    }


def limit(rng: np.random.Generator, n: int) -> dict[str, Interval]:
    """Means 1 + step of n exponential times each."""
    steps = np.array([0.4, 0.2, 0.1])
    rows = rng.exponential(1 + steps[:, None], size=(3, n))
    errors = rows.std(1, ddof=1) / np.sqrt(n)
    found = extrapolate._fitted(steps, rows.mean(1), errors, np.full(3, n), (1, 2, 3), 1.0, 0.95)
    return {"limit of three steps": of(found.mean, 1.0)}


def slope(rng: np.random.Generator, n: int) -> dict[str, Interval]:
    """A mean of x^-1.5 at five x, from n escapes at each."""
    places = 0.05, 0.1, 0.2, 0.4, 0.8
    rows = tuple(
        Row(
            index=(i,),
            at={"epsilon": x},
            state="done",
            numbers={
                "mean_time": float(rng.exponential(x**-1.5, n).mean()),
                "escapes": n,
                "predicted_mean": x**-1.5,
            },
            words={},
            warnings=(),
            message="",
            seed=i,
        )
        for i, x in enumerate(places)
    )
    line = fits.Line(rows, np.diag(np.full(len(rows), 1 / n)), {}, (), 0)
    fit: Any = fits.fit_line(line, "epsilon", "mean_time", "power", 0.95, False)
    return {"slope of five points": of(fit.slope, -1.5)}


_SYMMETRIC = np.random.default_rng(7).normal(size=(100, 100))
_SYMMETRIC = _SYMMETRIC @ _SYMMETRIC.T / 100


def trace(rng: np.random.Generator, probes: int) -> dict[str, Interval]:
    values, vectors = np.zeros(0), np.zeros((100, 0))
    found, _, _ = curvature.random_sums(
        lambda v: _SYMMETRIC @ v, values, vectors, probes, rng, 0.95
    )
    return {"trace by sign vectors": of(found, float(np.trace(_SYMMETRIC)))}


def ratio(rng: np.random.Generator, n: int) -> dict[str, Interval]:
    hessian, g = np.array([1.0, 2.0, 4.0, 20.0]), rng.standard_t(5, size=(n, 4))
    found = curvature.ratio_of_means((g**2) @ hessian, (g**2).sum(1), 0.95)
    return {"batch sharpness": of(found, float(hessian.mean()))}


def of_analysis() -> Iterator[Cell]:
    for function, law, draw in (
        (analysis.landing_sharpness, "binomial", shares),
        (analysis.last_jumps, "binomial", shares),
        (analysis.exit_directions, "beta(2, 1)", parts_of_exits),
        (networks.measure_gradient_noise, "normal", median),
        (analysis.extrapolate_escape, "exponential", limit),
        (scaling_fits, "exponential", slope),
    ):
        for n in (20, 100):
            yield Cell(function, law, n, "none", partial(draw, n=n))
    yield Cell(networks.diagnose, "100 x 100 matrix", 16, "none", partial(trace, probes=16))
    for n in (400, 2000):  # the fewest minibatches, and the default
        yield Cell(networks.track, "Student t(5)", n, "none", partial(ratio, n=n))


def cells() -> list[Cell]:
    return [*of_times(), *of_noise(), *of_analysis()]


def measured(cell: Cell, runs: int, seed: int) -> list[dict[str, Any]]:
    """How often the intervals of a cell hold the truth, and on which side they miss."""
    name = [cell.function.__name__, cell.law, str(cell.n), cell.censoring]
    rng = np.random.default_rng([seed, zlib.crc32(" ".join(name).encode())])
    found: dict[str, list[Interval]] = {}
    for _ in range(runs):
        with suppress(ValueError):  # refused: too few different times, sums that cancel
            for about, interval in cell.draw(rng).items():
                found.setdefault(about, []).append(interval)
    rows = []
    for about, intervals in found.items():
        low, high, truth = np.array(intervals).T
        used = len(intervals)
        coverage = float(np.mean((low <= truth) & (truth <= high)))
        rows.append(
            {
                "function": cell.function.__name__,
                "about": about,
                "law": cell.law,
                "n": cell.n,
                "censoring": cell.censoring,
                "coverage": round(coverage, 4),
                "standard_error": round(
                    float(np.sqrt(max(coverage * (1 - coverage), 1 / used) / used)), 4
                ),
                "truth_above": round(float(np.mean(truth > high)), 4),
                "truth_below": round(float(np.mean(truth < low)), 4),
                "runs": used,
                "refused": runs - used,
                "unbounded": round(float(np.mean(~np.isfinite(high - low))), 4),
                "within": bool(BAND[0] <= coverage <= BAND[1]),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """One line a function: its cells, how many are in the band, the lowest and the highest coverage
    and where."""

    def shown(row: dict[str, Any]) -> str:
        censoring = "" if row["censoring"] == "none" else f", {row['censoring']} censored"
        return f"{row['coverage']:.1%} ({row['about']}, {row['law']}, n = {row['n']}{censoring})"

    lines = ["| function | cells | within 93% to 97% | lowest | highest |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(row["function"] for row in rows):
        mine = [row for row in rows if row["function"] == name]
        ends = [pick(mine, key=lambda row: row["coverage"]) for pick in (min, max)]
        within = sum(row["within"] for row in mine)
        lines.append(f"| `{name}` | {len(mine)} | {within} | {shown(ends[0])} | {shown(ends[1])} |")
    return "\n".join(lines)


def written(page: str, rows: list[dict[str, Any]]) -> str:
    """The page with its table between the two marks replaced."""
    before, rest = page.split(MARKS[0])
    return f"{before}{MARKS[0]}\n\n{table(rows)}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only",
        default="",
        help="functions whose name holds this; the rows of the others are kept",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results/interval_coverage.json"
    )
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    kept = json.loads(given.out.read_text())["rows"] if given.only else []
    for cell in cells():
        if given.only not in cell.function.__name__:
            own = cell.function.__name__, cell.law, cell.n, cell.censoring
            rows += [
                row
                for row in kept
                if (row["function"], row["law"], row["n"], row["censoring"]) == own
            ]
            continue
        for row in measured(cell, given.runs // 4 if cell.slow else given.runs, given.seed):
            rows.append(row)
            place = (
                f"{row['function']}, {row['about']}, {row['law']}, n = {row['n']}, "
                f"{row['censoring']}"
            )
            print(
                f"{place}: {row['coverage']:.3f} ± {row['standard_error']:.3f}",
                "" if row["within"] else "<-",
                flush=True,
            )
    versions = {"python": sys.version.split()[0], "numpy": np.__version__}
    command = f"python benchmarks/interval_coverage.py --runs {given.runs} --seed {given.seed}"
    report = {
        "command": command,
        "band": BAND,
        "versions": versions,
        "rows": rows,
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    PAGE.write_text(written(PAGE.read_text(), rows))
    print(f"{sum(row['within'] for row in rows)} of {len(rows)} cells cover {BAND[0]} to {BAND[1]}")


if __name__ == "__main__":
    main()
