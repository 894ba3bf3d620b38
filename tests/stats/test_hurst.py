"""Hurst exponents: fractional Gaussian noise against its covariance, estimators against known
exponents and by hand."""

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statistical import SIGMAS, assert_mean

from levysde import stats
from levysde.stats.hurst import _anis_lloyd

pytestmark = pytest.mark.slow


def noises(hurst, size, runs):
    return [stats.fractional_gaussian_noise(size, hurst, seed=seed) for seed in range(runs)]


@pytest.mark.parametrize("hurst", [0.2, 0.5, 0.85])
def test_noise_has_its_covariance(hurst):
    """Products at each lag, and the variance of the whole sum, `n^2H` exactly."""
    draws = np.array(noises(hurst, 64, 2500))
    for lag in (0, 1, 2, 17, 63):
        expected = (
            abs(lag + 1) ** (2 * hurst) - 2 * lag ** (2 * hurst) + abs(lag - 1) ** (2 * hurst)
        ) / 2
        products = (draws[:, 0] * draws[:, lag], draws[:, 63 - lag] * draws[:, 63])
        for found in products:
            error = found.std(ddof=1) / np.sqrt(found.size)
            assert abs(found.mean() - expected) < SIGMAS * error < 0.15
    assert_mean(draws.sum(1) ** 2, 64 ** (2 * hurst), relative_error=0.16)
    assert_mean((draws[:, :2].sum(1)) ** 2, 2 ** (2 * hurst), relative_error=0.16)
    assert scipy_stats.kstest(draws[:, 5], "norm").pvalue > 1e-6


def test_noise_is_a_function_of_its_seed():
    first, again, other = (stats.fractional_gaussian_noise(100, 0.7, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    assert stats.fractional_gaussian_noise(2, 0.5).shape == (2,)


@pytest.mark.parametrize("window", [8, 40])
def test_rescaled_range_of_independent_values(window):
    """Anis and Lloyd's mean against a plain simulation."""
    x = np.random.default_rng(0).normal(size=(40_000, window))
    walk = np.concatenate([np.zeros((40_000, 1)), np.cumsum(x - x.mean(1, keepdims=True), 1)], 1)
    assert_mean(np.ptp(walk, axis=1) / x.std(1), _anis_lloyd(window), relative_error=0.01)


@pytest.mark.parametrize("hurst", [0.3, 0.5, 0.7, 0.9])
def test_detrended_fluctuations_read_the_exponent(hurst):
    fits = [stats.hurst_dfa(x) for x in noises(hurst, 5000, 60)]
    values = np.array([f.value for f in fits])
    assert abs(values.mean() - hurst) < SIGMAS * values.std(ddof=1) / np.sqrt(60) + 0.005
    assert values.std() < 0.06
    hits = np.mean([f.low <= hurst <= f.high for f in fits])
    assert hits > 0.93 - SIGMAS * np.sqrt(0.07 * 0.93 / 60)
    assert np.median([f.high - f.low for f in fits]) / (2 * 2.262) == pytest.approx(
        values.std(), rel=0.4
    )
    higher = np.mean([stats.hurst_dfa(x, 2).value for x in noises(hurst, 5000, 30)])
    assert higher == pytest.approx(hurst, abs=0.03)


@pytest.mark.parametrize(("hurst", "reads"), [(0.3, 0.335), (0.5, 0.5), (0.7, 0.66), (0.9, 0.80)])
def test_rescaled_range_and_its_documented_bias(hurst, reads):
    values = np.array([stats.hurst_rs(x).value for x in noises(hurst, 10_000, 40)])
    assert abs(values.mean() - reads) < SIGMAS * values.std(ddof=1) / np.sqrt(40) + 0.005
    assert values.std() < 0.025


def test_detrending_by_hand():
    """One window a piece and one slope: the definition, written out with polyfit."""
    x = np.random.default_rng(1).normal(size=1000)
    path = np.cumsum(x - x.mean())
    sizes = np.unique(np.geomspace(20, 100, 12).astype(int))
    for order, q in ((1, 2.0), (2, 1.0), (0, 3.0)):
        fluctuation = []
        for s in sizes:
            pieces = []
            for piece in path.reshape(10, 100):
                windows = [piece[i * s : (i + 1) * s] for i in range(100 // s)]
                t = np.arange(s)
                square = [
                    np.mean((w - np.polyval(np.polyfit(t, w, order), t)) ** 2) for w in windows
                ]
                pieces.append(np.mean(np.array(square) ** (q / 2)))
            fluctuation.append(np.mean(pieces) ** (1 / q))
        expected = np.polyfit(np.log(sizes), np.log(fluctuation), 1)[0]
        assert stats.hurst_dfa(x, order, moment=q, smallest=20).value == pytest.approx(
            expected, rel=1e-9
        )


def test_trends_and_units_do_no_harm():
    x = stats.fractional_gaussian_noise(4000, 0.6, seed=1)
    for estimate in (stats.hurst_dfa, stats.hurst_rs):
        plain = estimate(x)
        assert estimate(1e6 * x + 1e5).value == pytest.approx(plain.value, rel=1e-9)
    drift = x + np.linspace(-8, 8, 4000)
    assert stats.hurst_dfa(drift, 2).value == pytest.approx(stats.hurst_dfa(x, 2).value, abs=1e-3)
    assert stats.hurst_dfa(drift, 1).value > stats.hurst_dfa(x, 1).value + 0.02


def test_stable_noise_reads_a_half_or_one_over_alpha():
    samples = scipy_stats.levy_stable.rvs(
        1.5, 0.0, size=(40, 10_000), random_state=np.random.default_rng(2)
    )
    rs = np.array([stats.hurst_rs(x).value for x in samples])
    dfa = np.array([stats.hurst_dfa(x).value for x in samples])
    low = np.array([stats.hurst_dfa(x, moment=0.5).value for x in samples])
    for values, expected in ((rs, 0.484), (dfa, 0.49), (low, 1 / 1.5)):
        assert abs(values.mean() - expected) < SIGMAS * values.std(ddof=1) / np.sqrt(40) + 0.005
        assert values.std(ddof=1) / np.sqrt(40) < 0.015


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: stats.hurst_rs(x[:400]), ValueError, "at least 500"),
        (lambda x: stats.hurst_rs(x.reshape(2, -1)), ValueError, "shape"),
        (lambda x: stats.hurst_rs(np.zeros(1000)), ValueError, "constant"),
        (lambda x: stats.hurst_rs(x, smallest=7), ValueError, "smallest"),
        (lambda x: stats.hurst_rs(x, smallest=60), ValueError, "type smallest=25"),
        (lambda x: stats.hurst_rs(x, confidence=2), ValueError, "confidence"),
        (lambda x: stats.hurst_dfa(np.where(x > 0, np.nan, x)), ValueError, "finite"),
        (lambda x: stats.hurst_dfa(x, -1), ValueError, "degree"),
        (lambda x: stats.hurst_dfa(x, 1.0), TypeError, "degree"),
        (lambda x: stats.hurst_dfa(x, 4, smallest=10), ValueError, "smallest must be at least 11"),
        (lambda x: stats.hurst_dfa(x, moment=0), ValueError, "moment"),
        (
            lambda x: stats.hurst_dfa(x, moment=1e-20),
            ValueError,
            "moment must lie between",
        ),  # read as H = 0 once
        (lambda x: stats.hurst_dfa(np.append(np.zeros(500), x[:500])), ValueError, "no spread"),
        (lambda x: stats.fractional_gaussian_noise(1, 0.5), ValueError, "num_values"),
        (lambda x: stats.fractional_gaussian_noise(100.0, 0.5), TypeError, "num_values"),
        (lambda x: stats.fractional_gaussian_noise(100, 1), ValueError, "hurst"),
        (lambda x: stats.fractional_gaussian_noise(100, "half"), TypeError, "hurst"),
        (lambda x: stats.fractional_gaussian_noise(100, 0.5, seed=1.5), TypeError, "seed"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(np.random.default_rng(3).normal(size=1000))
