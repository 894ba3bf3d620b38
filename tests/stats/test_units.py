"""Estimates do not depend on the unit of the data, from 1e-200 to 1e200, or the call is refused by
name."""

import dataclasses

import jax
import numpy as np
import pytest

import levysde as ls
from levysde import stats

UNITS = (1e-200, 1e-160, 1e-60, 1e60, 1e160, 1e200)
# odd: the middle of an even number is rounded
NOISE = np.random.default_rng(0).standard_cauchy((1201, 2))
TIMES = np.random.default_rng(1).exponential(size=60)
EXITED = np.arange(60) % 4 > 0
# what each estimator gives, in the order of its numbers, and the power of the unit in each
ESTIMATORS = {
    "escape_rate": (lambda u: stats.escape_rate(u * TIMES, EXITED), -1),
    "mean_time": (lambda u: stats.mean_time(u * TIMES, EXITED), 1),
    "restricted_mean": (lambda u: stats.restricted_mean(u * TIMES, EXITED, u * 0.7), 1),
    "restricted_mean, one time": (lambda u: stats.restricted_mean([3 * u], [True], u * 4), 1),
    "mean_ratio": (lambda u: stats.mean_ratio(u * TIMES, EXITED, u * TIMES[:20], EXITED[:20]), 0),
    "exponentiality": (lambda u: stats.exponentiality(u * TIMES, EXITED).shape, 0),
    "hill": (lambda u: stats.hill(u * NOISE[:, 0]).alpha, 0),
    "hill of vectors": (lambda u: stats.hill(u * NOISE).alpha, 0),
    "mcculloch, index": (lambda u: stats.mcculloch(u * NOISE[:, 0]).alpha, 0),
    "mcculloch, skewness": (lambda u: stats.mcculloch(u * NOISE[:, 0]).skewness, 0),
    "mcculloch, scale": (lambda u: stats.mcculloch(u * NOISE[:, 0]).scale, 1),
    "mcculloch, location": (lambda u: stats.mcculloch(u * NOISE[:, 0]).location, 1),
    "characteristic function, index": (
        lambda u: stats.characteristic_function_fit(u * NOISE[:, 0]).alpha,
        0,
    ),
    "characteristic function, scale": (
        lambda u: stats.characteristic_function_fit(u * NOISE[:, 0]).scale,
        1,
    ),
    "block log-moment": (lambda u: stats.block_log_moment_index(u * NOISE[:, 0]), 0),
    "block log-moment of vectors": (lambda u: stats.block_log_moment_index(u * NOISE), 0),
    "hurst_rs": (lambda u: stats.hurst_rs(u * NOISE[:, 0]), 0),
    "hurst_dfa": (lambda u: stats.hurst_dfa(u * NOISE[:, 0]), 0),
    "hurst_dfa, moment 8": (lambda u: stats.hurst_dfa(u * NOISE[:, 0], moment=8.0), 0),
    "block_bootstrap": (
        lambda u: stats.block_bootstrap(np.median, u * NOISE[:, 0], resamples=40),
        1,
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimates_follow_the_unit(name):
    estimate, power = ESTIMATORS[name]
    one = estimate(1.0)
    for unit in UNITS:
        found = estimate(unit)
        for end in ("value", "low", "high"):
            expected = getattr(one, end) * unit**power
            assert getattr(found, end) == pytest.approx(
                expected, rel=1e-6, abs=1e-9 * unit**power
            ), (unit, end)


def test_curves_reports_and_scales_follow_the_unit():
    curve, survival = stats.hill_curve(NOISE), stats.kaplan_meier(TIMES, EXITED)
    report, scale = stats.tail_report(NOISE[:, 0]), stats.stable_scale(NOISE, 1.0)
    length = stats.block_length(NOISE)
    for unit in UNITS:
        np.testing.assert_allclose(stats.hill_curve(unit * NOISE).alpha, curve.alpha, rtol=1e-6)
        other = stats.kaplan_meier(unit * TIMES, EXITED)
        assert dataclasses.replace(other, time=survival.time) == survival
        np.testing.assert_allclose(other.time, unit * survival.time)
        found = stats.tail_report(unit * NOISE[:, 0])
        assert found.flags == report.flags
        for mine, other in zip(found.findings, report.findings, strict=True):
            assert mine.statistic == pytest.approx(other.statistic, rel=1e-6, abs=1e-6)
        np.testing.assert_allclose(stats.stable_scale(unit * NOISE, 1.0), unit * scale, rtol=1e-9)
        assert stats.block_length(unit * NOISE) == length
        median = stats.projections(
            lambda x: np.median(np.abs(x)), unit * NOISE, directions=3
        ).median
        assert median == pytest.approx(
            unit * stats.projections(lambda x: np.median(np.abs(x)), NOISE, directions=3).median
        )


@pytest.mark.parametrize("unit", [1e-60, 1e-10, 1e10, 1e60])
def test_covariance_scale_follows_the_unit(unit):
    """Roots of covariances that float32 holds, though it does not hold the covariances."""
    matrix = np.array([[2.0, 0.5], [0.5, 1.0]])
    one = np.asarray(ls.covariance_scale(matrix, ls.Brownian()).matrix)
    found = np.asarray(ls.covariance_scale(unit * matrix, ls.Brownian()).matrix)
    np.testing.assert_allclose(found, np.sqrt(unit) * one, rtol=1e-5)


def test_covariances_beyond_the_range_of_floats_are_refused():
    for unit in (1e-200, 1e200):
        with pytest.raises(ValueError, match=r"root of covariance.*leaves the range of float32"):
            ls.covariance_scale(unit * np.eye(2), ls.Brownian())
        with jax.enable_x64(True):
            root = ls.covariance_scale(unit * np.eye(2), ls.Brownian()).matrix
            np.testing.assert_allclose(np.asarray(root), np.sqrt(unit) * np.eye(2))
