"""Intervals hold the truth as often as they say, or their documentation says how often they do."""

import dataclasses
import importlib.util
import inspect
import json
import typing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from calls import public_names
from scipy import stats as scipy_stats
from statistical import SIGMAS

from levysde import stats
from levysde.analysis import ExitDirections
from levysde.networks.gradient_noise import median_estimate

ROOT = Path(__file__).resolve().parents[2]
ROWS = json.loads((ROOT / "benchmarks/results/interval_coverage.json").read_text())["rows"]


def battery() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "interval_coverage", ROOT / "benchmarks/interval_coverage.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BATTERY = battery()
CELLS = BATTERY.cells()
# one law of each kind of estimator, of the cells that take little time
LIGHT = [
    cell
    for cell in CELLS
    if cell.n in (20, 50)
    and cell.law in ("exponential", "lognormal", "Pareto 1.5", "binomial", "normal")
    and cell.censoring != "30% at random"
    and not cell.slow
]


def has_interval(kind: object, seen: tuple = ()) -> bool:
    """Whether objects of this type hold an `Estimate` or a band."""
    if kind in (stats.Estimate, stats.SurvivalCurve, stats.HillCurve, ExitDirections):
        return True
    inner = list(typing.get_args(kind))
    if dataclasses.is_dataclass(kind) and kind not in seen:
        inner += [field.type for field in dataclasses.fields(kind)]
    return any(has_interval(part, (*seen, kind)) for part in inner)


def test_every_public_function_with_an_interval_is_measured():
    found = set()
    for name, value in public_names().items():
        if inspect.isfunction(value) and ".plots." not in name:
            returned = inspect.signature(value).return_annotation
            assert not isinstance(returned, str) or "Sweep" in returned or "Report" in returned, (
                name
            )
            if has_interval(returned):
                found.add(value.__name__)
    assert len(found) > 20
    measured = {row["function"] for row in ROWS}
    assert found - set(BATTERY.SAME) == measured
    assert {(cell.function.__name__, cell.law, cell.n, cell.censoring) for cell in CELLS} == {
        (row["function"], row["law"], row["n"], row["censoring"]) for row in ROWS
    }


@pytest.mark.parametrize("name", sorted({row["function"] for row in ROWS}))
def test_coverage_is_in_the_band_or_in_the_documentation(name):
    """Below 93% or above 97% by more than chance: the docstring gives the lowest or highest
    coverage in per cent."""
    (function,) = {cell.function for cell in CELLS if cell.function.__name__ == name}
    words = inspect.getdoc(function)
    rows = [row for row in ROWS if row["function"] == name]
    low = min(rows, key=lambda row: row["coverage"])
    high = max(rows, key=lambda row: row["coverage"])
    if low["coverage"] < BATTERY.BAND[0] - 2 * low["standard_error"]:
        assert f"{low['coverage']:.0%}" in words, low
    if high["coverage"] > BATTERY.BAND[1] + 2 * high["standard_error"]:
        assert f"{high['coverage']:.0%}" in words, high


@pytest.mark.parametrize(
    "cell", LIGHT, ids=lambda c: f"{c.function.__name__}-{c.law}-{c.censoring}"
)
def test_the_recorded_coverage_is_still_right(cell):
    runs = 400
    for row in BATTERY.measured(cell, runs, seed=1):
        (known,) = [
            r
            for r in ROWS
            if all(r[key] == row[key] for key in ("function", "about", "law", "n", "censoring"))
        ]
        share = known["coverage"]
        error = np.sqrt(
            max(share * (1 - share), 1 / known["runs"]) * (1 / row["runs"] + 1 / known["runs"])
        )
        assert abs(row["coverage"] - share) < SIGMAS * error, (row, known)
        assert SIGMAS * error < 0.15


# degenerate data


DEGENERATE = {
    "one exit": lambda: stats.restricted_mean([3.0], [True]),
    "all censored": lambda: stats.restricted_mean([5.0] * 5, [False] * 5),
    "all exits together": lambda: stats.restricted_mean([5.0] * 5, [True] * 5),
    "all exits together, before the horizon": lambda: stats.restricted_mean(
        [5.0] * 5, [True] * 5, 9.0
    ),
    "horizon before the first exit": lambda: stats.restricted_mean(
        [1.0, 2.0, 3.0], [True] * 3, 0.5
    ),
    "a constant, blocks": lambda: stats.block_log_moment_index([7.0] * 64),
    "a constant, sums": lambda: stats.index_of_growth(np.ones((8, 4)), np.full(8, 4.0)),
    "two values in turn, blocks": lambda: stats.block_log_moment_index(
        np.tile([1.0, 2.0], 50), block=4
    ),
    "two values in turn, characteristic function": lambda: (
        stats.characteristic_function_fit(np.tile([1.0, -1.0], 50)).alpha
    ),
    "two values in turn, R/S": lambda: stats.hurst_rs(np.tile([1.0, -1.0], 500)),
    "two values in turn, DFA": lambda: stats.hurst_dfa(np.tile([1.0, -1.0], 500)),
    "the same ten times, DFA": lambda: stats.hurst_dfa(
        np.tile(np.random.default_rng(0).normal(size=100), 10)
    ),
    "a constant, resampled": lambda: stats.block_bootstrap(np.mean, np.ones(60), block=1),
    "an estimator that looks at nothing": lambda: stats.block_bootstrap(
        lambda x: 1.0, np.arange(60.0), block=1
    ),
    "one rate": lambda: stats.escape_rate([2.0], [True]),
    "equal times": lambda: stats.mean_time([2.0] * 4, [True] * 4),
    "equal times, ratio": lambda: stats.mean_ratio([2.0] * 4, [True] * 4, [2.0] * 4, [True] * 4),
    "two times": lambda: stats.exponentiality([2.0, 3.0], [True, True]).shape,
    "one coordinate": lambda: median_estimate(np.array([1.5]), np.random.default_rng(0)),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_no_interval_of_width_zero(name):
    """Data without spread give an interval that is known without it, or are refused."""
    try:
        found = DEGENERATE[name]()
    except ValueError:
        return
    assert found.low < found.high
    assert found.low <= found.value <= found.high


def test_intervals_that_are_known_without_spread():
    """Five of five stayed: with 95% the chance to stay is at least .025^(1/5) = .478 (Clopper and
    Pearson)."""
    exact = scipy_stats.binomtest(5, 5).proportion_ci(0.95).low
    assert exact == pytest.approx(0.478, abs=1e-3)
    curve = stats.kaplan_meier([1.0] * 5, [False] * 5)
    assert (curve.survival[0], curve.low[0], curve.high[0]) == (1.0, pytest.approx(exact), 1.0)
    left = stats.kaplan_meier([1.0] * 5, [True] * 5)
    assert (left.survival[0], left.low[0], left.high[0]) == (0.0, 0.0, pytest.approx(1 - exact))
    stayed = stats.restricted_mean([5.0] * 5, [False] * 5)
    assert (stayed.value, stayed.low, stayed.high) == (5, pytest.approx(5 * exact), 5)
    # the others may have left at once, or never
    early = stats.restricted_mean([5.0] * 5, [True] * 5, 10.0)
    assert (early.value, early.low, early.high) == (
        5,
        pytest.approx(5 * exact),
        pytest.approx(5 * exact + 10 * (1 - exact)),
    )
    one = stats.restricted_mean([3.0], [True])
    assert (one.value, one.low, one.high) == (3, pytest.approx(3 * 0.025), 3)
    band = stats.kaplan_meier([1.0, 2.0, 3.0, 4.0], [False, False, True, True])
    # those censored are at risk no more
    np.testing.assert_allclose(band.low[:2], [0.025 ** (1 / 4), 0.025 ** (1 / 3)])
    assert (
        (0 <= band.low)
        & (band.low <= band.survival)
        & (band.survival <= band.high)
        & (band.high <= 1)
    ).all()


def test_the_page_shows_the_recorded_coverage():
    page = (ROOT / "docs/howto/trust.md").read_text()
    assert BATTERY.written(page, ROWS) == page
