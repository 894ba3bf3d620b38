"""Calls of `levysde.stats`."""

from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np

from calls.table import Call, Exempt
from levysde import stats


@cache
def noise(size: int = 64) -> np.ndarray:
    """Values of a symmetric stable law of index 1."""
    return np.random.default_rng(0).standard_cauchy(size)


@cache
def vectors() -> np.ndarray:
    return noise(128).reshape(64, 2)


@cache
def times() -> Mapping[str, np.ndarray]:
    """Twelve exit times, the last two censored."""
    return {"time": np.append(np.arange(1.0, 11.0), [10.0, 10.0]), "exited": np.arange(12) < 10}


def median(x: np.ndarray) -> float:
    return float(np.median(np.abs(x)))


def of_times() -> Iterator[Call]:
    yield Call(stats.exponentiality, lambda: {**times(), "confidence": 0.9}, host=True)
    for estimator in (stats.escape_rate, stats.mean_time, stats.kaplan_meier):
        late = {"entry": np.full(12, 0.5), "confidence": 0.9}
        yield Call(estimator, lambda late=late: {**times(), **late}, host=True)
    other = {"other_time": times()["time"], "other_exited": times()["exited"]}
    yield Call(stats.log_rank, lambda: {**times(), **other}, host=True)
    yield Call(
        stats.restricted_mean, lambda: {**times(), "horizon": 5.0, "confidence": 0.9}, host=True
    )
    yield Call(
        stats.mean_ratio,
        lambda: {**times(), **other, "confidence": 0.9},
        host=True,
    )


def of_noise() -> Iterator[Call]:
    # of vectors the estimators take norms, so that a second axis may be right
    yield Call(stats.hill, lambda: {"x": noise(), "k": 10, "confidence": 0.9}, host=True)
    yield Call(stats.hill_curve, lambda: {"x": noise(), "confidence": 0.9}, host=True)
    yield Call(stats.hill_on_stable, lambda: {"alpha": 1.5, "fraction": 0.01}, host=True)
    yield Call(stats.mcculloch, lambda: {"x": noise(100), "confidence": 0.9}, host=True)
    yield Call(
        stats.block_log_moment_index,
        lambda: {"x": noise(), "block": 4, "confidence": 0.9},
        host=True,
    )
    yield Call(
        stats.index_of_growth,
        lambda: {
            "single": np.abs(noise()).reshape(8, 8),
            "summed": np.abs(noise().reshape(8, 8).sum(1)),
            "confidence": 0.9,
        },
        host=True,
    )
    yield Call(
        stats.characteristic_function_fit,
        lambda: {"x": noise(), "block": 2, "confidence": 0.9},
        host=True,
    )
    yield Call(stats.stable_scale, lambda: {"x": noise(), "alpha": 1.5}, host=True)
    yield Call(
        stats.tail_report,
        lambda: {"x": noise(1000), "level": 0.05, "confidence": 0.9},
        host=True,
        cheap=False,
    )
    yield Call(stats.per_coordinate, lambda: {"estimator": median, "x": vectors()}, host=True)
    yield Call(
        stats.projections,
        lambda: {"estimator": median, "x": vectors(), "directions": 3, "seed": 1},
        host=True,
    )


def of_series() -> Iterator[Call]:
    series = {"x": noise(500), "smallest": 20, "confidence": 0.9}
    yield Call(stats.hurst_rs, lambda: series, host=True)
    yield Call(stats.hurst_dfa, lambda: {**series, "degree": 1, "moment": 1.5}, host=True)
    yield Call(
        stats.fractional_gaussian_noise,
        lambda: {"num_values": 20, "hurst": 0.7, "seed": 1},
        host=True,
    )
    yield Call(stats.block_length, lambda: {"x": noise(), "kind": "stationary"}, host=True)
    yield Call(
        stats.block_bootstrap,
        lambda: {
            "estimator": median,
            "x": noise(),
            "block": 4,
            "kind": "moving",
            "resamples": 20,
            "seed": 1,
            "confidence": 0.9,
        },
        host=True,
    )


def calls() -> Iterator[Call | Exempt]:
    yield from of_times()
    yield from of_noise()
    yield from of_series()
    for received in (
        stats.DirectionalIndex,
        stats.Estimate,
        stats.Exponentiality,
        stats.TailFinding,
        stats.HillCurve,
        stats.HillFit,
        stats.LogRank,
        stats.SkewedStableFit,
        stats.StableFit,
        stats.SurvivalCurve,
        stats.TailReport,
    ):
        yield Exempt(received, "a result, which functions give, without methods that take anything")
