"""Estimates from exit times and samples: against tables, hand calculations, scipy's own fits, and
simulation."""

import numpy as np
import pandas
import pytest
from scipy import optimize, stats as scipy_stats
from statistical import SIGMAS, assert_close, assert_mean

import levysde as ls
from levysde import stats

TEXTBOOK = (
    np.array([1.0, 2.0, 3.0, 3.0, 4.0, 5.0]),
    np.array([True, False, True, True, False, True]),
)


def stable(alpha, size, seed):
    """An implementation of the stable law that is not ours."""
    return scipy_stats.levy_stable.rvs(
        alpha, 0.0, size=size, random_state=np.random.default_rng(seed)
    )


def censored(rng, num, cut, shape=1.0):
    time = rng.weibull(shape, num)
    return np.minimum(time, cut), time < cut


# survival


def test_rate_against_the_chi_square_table():
    time = np.full(10, 10.0)  # N = 10, T = 100
    every = stats.escape_rate(time, np.ones(10, bool))
    np.testing.assert_allclose(
        [every.value, every.low, every.high], [0.1, 9.591 / 200, 34.170 / 200], rtol=1e-4
    )
    some = stats.escape_rate(np.append(time, 0.0), np.append(np.ones(10, bool), False))
    np.testing.assert_allclose(
        [some.value, some.low, some.high], [0.1, 9.591 / 200, 36.781 / 200], rtol=1e-4
    )
    none = stats.escape_rate(time, np.zeros(10, bool))
    np.testing.assert_allclose(
        [none.value, none.low, none.high], [0.0, 0.0, 2.9957 / 100], rtol=1e-4
    )


def test_mean_is_the_inverse_of_the_rate():
    time, exited = censored(np.random.default_rng(0), 50, 1.0)
    rate, mean = stats.escape_rate(time, exited), stats.mean_time(time, exited)
    np.testing.assert_allclose(
        [mean.value, mean.low, mean.high], [1 / rate.value, 1 / rate.high, 1 / rate.low]
    )
    assert mean.low < time.sum() / exited.sum() < mean.high
    never = stats.mean_time(time, np.zeros(50, bool))
    assert never.value == never.high == np.inf
    assert 0 < never.low < np.inf


@pytest.mark.slow
@pytest.mark.parametrize("cut", [np.inf, 1.0])
def test_coverage_of_rate_and_ratio(cut):
    """Uncensored intervals cover 95% exactly; censored ones at least that, and not all."""
    rng = np.random.default_rng(1)
    runs = 4000
    rate_hits, ratio_hits = np.zeros(runs), np.zeros(runs)
    for i in range(runs):
        first, second = censored(rng, 15, cut), censored(rng, 25, cut)
        rate, ratio = stats.escape_rate(*first), stats.mean_ratio(*first, *second)
        rate_hits[i], ratio_hits[i] = rate.low <= 1 <= rate.high, ratio.low <= 1 <= ratio.high
    for hits in (rate_hits, ratio_hits):
        if cut == np.inf:
            assert_mean(hits, 0.95, relative_error=0.02)
        else:
            assert 0.95 - SIGMAS * np.sqrt(0.05 * 0.95 / runs) < hits.mean() < 0.99


def test_ratio_against_the_f_table():
    time, yes = np.full(10, 2.0), np.ones(10, bool)
    ratio = stats.mean_ratio(3 * time, yes, time, yes)
    np.testing.assert_allclose(
        [ratio.value, ratio.low, ratio.high], [3, 3 / 2.4645, 3 * 2.4645], rtol=1e-4
    )
    # F(22, 20) and F(20, 22) at 97.5%: 2.434, 2.389
    more = np.append(time, 0.0), np.append(yes, False)
    ratio = stats.mean_ratio(*more, *more)
    np.testing.assert_allclose([ratio.low, ratio.high], [10 / 11 / 2.4339, 1.1 * 2.4339], rtol=1e-3)


def test_ratio_without_exits():
    time, yes, no = np.full(5, 2.0), np.ones(5, bool), np.zeros(5, bool)
    assert stats.mean_ratio(time, no, time, yes).value == np.inf
    assert (
        0
        < stats.mean_ratio(time, no, time, yes).low
        < np.inf
        == stats.mean_ratio(time, no, time, yes).high
    )
    assert (
        stats.mean_ratio(time, yes, time, no).value
        == stats.mean_ratio(time, yes, time, no).low
        == 0
    )
    assert np.isnan(stats.mean_ratio(time, no, time, no).value)


def test_kaplan_meier_by_hand():
    curve = stats.kaplan_meier(*TEXTBOOK)
    np.testing.assert_array_equal(curve.time, [1, 2, 3, 4, 5])
    np.testing.assert_allclose(curve.survival, [5 / 6, 5 / 6, 5 / 12, 5 / 12, 0])
    spread = 1.959964 * np.sqrt(1 / 30) / abs(np.log(5 / 6))  # Greenwood: one exit of six
    np.testing.assert_allclose(
        [curve.low[0], curve.high[0]],
        [(5 / 6) ** np.exp(spread), (5 / 6) ** np.exp(-spread)],
        rtol=1e-6,
    )
    assert curve.low[-1] == 0
    assert curve.high[-1] == curve.high[-2] < 1
    assert np.isfinite(curve.low).all()


def test_kaplan_meier_before_the_first_exit():
    curve = stats.kaplan_meier([1.0, 2.0], [False, True])
    np.testing.assert_array_equal(curve.survival, [1.0, 0.0])
    np.testing.assert_allclose(curve.low, [0.025 ** (1 / 2), 0.0])  # two of two stayed
    np.testing.assert_allclose(curve.high, [1.0, 0.975])  # one of one left


def test_restricted_mean_by_hand_and_uncensored():
    assert stats.restricted_mean(*TEXTBOOK, horizon=4.5).value == pytest.approx(
        1 + 2 * 5 / 6 + 1.5 * 5 / 12
    )
    assert stats.restricted_mean(*TEXTBOOK, horizon=9.0).value == pytest.approx(
        1 + 2 * 5 / 6 + 2 * 5 / 12
    )
    time = np.random.default_rng(2).exponential(size=200)
    whole = stats.restricted_mean(time, np.ones(200, bool))
    assert whole.value == pytest.approx(time.mean())
    m, horizon = time.mean(), time.max()
    error = scipy_stats.t.isf(0.025, 199) * time.std(ddof=1) / np.sqrt(200)
    logit = np.log(m / (horizon - m)) + np.array([-1, 1]) * error * horizon / (m * (horizon - m))
    np.testing.assert_allclose([whole.low, whole.high], horizon / (1 + np.exp(-logit)))


def test_restricted_mean_under_random_censoring():
    rng = np.random.default_rng(3)
    time, stop = rng.exponential(size=200_000), rng.exponential(2.0, size=200_000)
    found = stats.restricted_mean(np.minimum(time, stop), time < stop, horizon=1.5)
    assert_close(
        found.value, (found.high - found.value) / 1.959964, 1 - np.exp(-1.5), relative_error=0.01
    )
    with pytest.raises(ValueError, match="past the last time"):
        stats.restricted_mean([1.0, 2.0], [True, False], horizon=3.0)


@pytest.mark.parametrize(
    ("time", "exited", "error", "message"),
    [
        ([1.0, 2.0], [2, 0], ValueError, "true or false"),
        ([1.0, 2.0], ["yes", "no"], TypeError, "booleans"),
        ([1.0, 2.0], [True], ValueError, "one shape"),
        ([], np.zeros(0, bool), ValueError, "at least 1"),
        (
            [1.0, np.nan],
            [True, False],
            ValueError,
            r"1 of 2 values are not, the first at index 1 "
            r"\(nan",
        ),
        (
            [1.0, -1.0],
            [True, False],
            ValueError,
            r"1 of 2 values are not, the first at index 1 "
            r"\(-1",
        ),
        ([1.0, 0.0], [True, True], ValueError, "positive where"),
        ([0.0, 0.0], [False, False], ValueError, "longer max_time"),
    ],
)
def test_bad_times(time, exited, error, message):
    for estimate in (stats.escape_rate, stats.mean_time, stats.kaplan_meier, stats.restricted_mean):
        with pytest.raises(error, match=message):
            estimate(time, exited)


def test_bad_confidence():
    with pytest.raises(ValueError, match="confidence"):
        stats.escape_rate([1.0], [True], confidence=95.0)
    with pytest.raises(ValueError, match="confidence"):
        stats.restricted_mean([1.0], [True], confidence=1.0)


# exponentiality


def log_likelihood(shape, rate, time, exited):
    return (
        exited.sum() * np.log(shape * rate)
        + (shape - 1) * np.log(rate * time[exited]).sum()
        - ((rate * time) ** shape).sum()
    )


@pytest.mark.parametrize("cut", [np.inf, 0.5])
def test_shape_against_scipy_and_the_likelihood(cut):
    time, exited = censored(np.random.default_rng(4), 300, cut, shape=1.4)
    found = stats.exponentiality(time, exited)
    data = scipy_stats.CensoredData(uncensored=time[exited], right=time[~exited])
    assert found.shape.value == pytest.approx(
        scipy_stats.weibull_min.fit(data, floc=0)[0], rel=1e-3
    )

    def profile(shape):
        best = optimize.minimize_scalar(
            lambda r: -log_likelihood(shape, np.exp(r), time, exited), bracket=(-1, 1)
        )
        return -best.fun

    top = profile(found.shape.value)
    for end in (found.shape.low, found.shape.high):
        assert 2 * (top - profile(end)) == pytest.approx(3.841459, rel=1e-4)
    rate, step = exited.sum() / time.sum(), 1e-6
    slope = (
        log_likelihood(1 + step, rate, time, exited) - log_likelihood(1 - step, rate, time, exited)
    ) / (2 * step)
    assert np.sign(found.statistic) == np.sign(slope) == 1
    # a score test is the quadratic approximation of the likelihood ratio
    assert found.statistic**2 == pytest.approx(2 * (top - profile(1.0)), rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize(("num", "cut"), [(30, np.inf), (100, 0.5)])
def test_size_is_right(num, cut):
    """At 5% the test rejects 5% of exponential samples, and the interval covers 95%."""
    rng = np.random.default_rng(5)
    runs = 1200
    reject, cover = np.zeros(runs), np.zeros(runs)
    for i in range(runs):
        found = stats.exponentiality(*censored(rng, num, cut))
        reject[i], cover[i] = found.p_value < 0.05, found.shape.low <= 1 <= found.shape.high
    assert_mean(cover, 0.95, relative_error=0.04)
    assert_mean(1 - reject, 0.95, relative_error=0.04)


@pytest.mark.parametrize(("shape", "sign"), [(1.25, 1), (0.8, -1)])
def test_power(shape, sign):
    """A shape four standard errors away is seen nearly always, with its sign; the unit of time does
    not matter."""
    rng = np.random.default_rng(6)
    samples = [censored(rng, 400, 1.5, shape) for _ in range(200)]
    found = [stats.exponentiality(*sample) for sample in samples]
    assert np.mean([f.p_value < 0.05 for f in found]) > 0.95
    assert np.mean([sign * f.statistic > 0 for f in found]) == 1
    time, exited = samples[0]
    assert stats.exponentiality(1e6 * time, exited).statistic == pytest.approx(
        found[0].statistic, rel=1e-9
    )
    assert stats.exponentiality(1e6 * time, exited).shape.value == pytest.approx(
        found[0].shape.value, rel=1e-9
    )


def test_no_shape_without_exits():
    for exited in ([False, False], [True, False]):
        with pytest.raises(ValueError, match="fewer than two distinct"):
            stats.exponentiality([1.0, 2.0], exited)
    with pytest.raises(ValueError, match="fewer than two distinct"):
        stats.exponentiality([2.0, 2.0], [True, True])


# tail index and scale


@pytest.mark.parametrize("alpha", [0.8, 1.5, 1.9])
def test_index_and_scale(alpha):
    runs, size = 60, 4000
    samples = 3.0 * stable(alpha, (runs, size), seed=7)
    fits = [stats.characteristic_function_fit(x) for x in samples]
    blocks = [stats.block_log_moment_index(x) for x in samples]
    assert_mean(np.array([fit.alpha.value for fit in fits]), alpha, relative_error=0.02)
    assert_mean(np.array([fit.scale.value for fit in fits]), 3.0, relative_error=0.04)
    # unbiased in 1/a
    assert_mean(np.array([1 / found.value for found in blocks]), 1 / alpha, relative_error=0.06)
    for estimates, truth in (
        ([fit.alpha for fit in fits], alpha),
        ([fit.scale for fit in fits], 3.0),
        (blocks, alpha),
    ):
        hits = np.mean([e.low <= truth <= e.high for e in estimates])
        assert hits > 0.93 - SIGMAS * np.sqrt(0.07 * 0.93 / runs)
        widths = np.array([e.high - e.low for e in estimates])
        spread = np.std([e.value for e in estimates])
        assert np.median(widths) / (2 * 1.959964) == pytest.approx(spread, rel=0.4)


def test_stable_scale():
    x = stable(1.5, (40_000, 3), seed=8) * np.array([0.5, 2.0, 0.0])
    scale = stats.stable_scale(x, 1.5)
    assert scale[2] == 0
    error = np.sqrt(np.pi**2 / 6 * (1 / 1.5**2 + 0.5) / 40_000)
    for found, truth in zip(scale[:2], (0.5, 2.0), strict=True):
        assert_close(np.log(found / truth) + 1, error, 1.0, relative_error=0.04)
    cauchy = stats.stable_scale(np.tan(np.pi * ((np.arange(10_000) + 0.5) / 10_000 - 0.5)), 1.0)
    assert cauchy == pytest.approx(1.0, rel=1e-3)
    with pytest.raises(ValueError, match="1 of 3 coordinates"):
        stats.stable_scale(np.where(np.arange(3) == 1, np.maximum(x, 0), x), 1.5)
    with pytest.raises(ValueError, match="alpha"):
        stats.stable_scale(x, 2.5)


def test_documented_biases():
    """Averaged noise misleads the block estimator and not the characteristic function; both are
    misled by mixtures."""
    fresh = stable(1.5, 100_000, seed=9)
    averaged = np.empty_like(fresh)
    m = 0.0
    for i, value in enumerate(fresh):
        averaged[i] = m = 0.9 * m + 0.1 * value
    assert stats.block_log_moment_index(averaged, block=100).value == pytest.approx(1.14, abs=0.03)
    fit = stats.characteristic_function_fit(averaged, block=200)
    assert fit.alpha.low < 1.5 < fit.alpha.high
    assert fit.scale.value == pytest.approx(0.1 / (1 - 0.9**1.5) ** (1 / 1.5), rel=0.05)
    rng = np.random.default_rng(10)
    assert stats.characteristic_function_fit(
        rng.standard_t(3, 200_000)
    ).alpha.value == pytest.approx(1.70, abs=0.02)
    mixture = rng.normal(size=200_000) * np.exp(rng.normal(size=200_000))
    assert stats.characteristic_function_fit(mixture).alpha.value == pytest.approx(1.21, abs=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: stats.block_log_moment_index(x.reshape(2, 2, -1)), "shape"),
        (lambda x: stats.block_log_moment_index(np.where(x > 3, np.nan, x)), "finite"),
        (
            lambda x: stats.block_log_moment_index(np.where(np.arange(x.size) == 3, 0.0, x)),
            "1 of 992",
        ),
        (lambda x: stats.block_log_moment_index(x[:20]), "at least 8 blocks"),
        (lambda x: stats.block_log_moment_index(x, block=x.size // 4), "smaller block"),
        (lambda x: stats.block_log_moment_index(np.tile([1.0, -1.0001], 500), block=10), "cancel"),
        (lambda x: stats.characteristic_function_fit(x, block=100), "at least 20"),
        (
            lambda x: stats.characteristic_function_fit(np.where(np.abs(x) < 9, 0.0, x)),
            "interquartile",
        ),
        (lambda x: stats.characteristic_function_fit(x, block=0), "block"),
    ],
)
def test_bad_samples(call, message):
    with pytest.raises(ValueError, match=message):
        call(stable(1.5, 1000, seed=12))


@pytest.mark.parametrize("unit", [1e-320, 1e-300, 1e300, 2e307])
def test_times_at_the_ends_of_float64(unit):
    """Estimates carry the unit of the times, or are refused where the result leaves float64; a mean
    of 0 or inf is neither."""
    time, exited = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, True, True, False])
    scaled = np.ldexp(time, exponent := int(np.frexp(unit)[1]))
    for estimate, power in (
        (stats.mean_time, 1),
        (stats.restricted_mean, 1),
        (stats.escape_rate, -1),
        (lambda t, e: stats.mean_ratio(t, e, time, exited), 1),
        (lambda t, e: stats.mean_ratio(t, e, t[::-1], e), 0),
        (lambda t, e: stats.exponentiality(t, e).shape, 0),
    ):
        plain = estimate(time, exited)
        with np.errstate(over="ignore"):
            expected = np.ldexp([plain.value, plain.low, plain.high], power * exponent)
        if not np.isfinite(expected).all():
            with pytest.raises(ValueError, match="leaves the range of float64"):
                estimate(scaled, exited)
            continue
        found = estimate(scaled, exited)
        np.testing.assert_allclose(
            [found.value, found.low, found.high], expected, rtol=1e-3 if unit < 1e-310 else 1e-12
        )
    mixed = np.array([1e-320, 1e308, 3.0, 4.0]), np.ones(4, bool)
    assert stats.mean_time(*mixed).value == pytest.approx(2.5e307)
    assert stats.exponentiality(*mixed).shape.value < 0.1


# gaps in the data

ESTIMATORS = {
    "hill": stats.hill,
    "hill_curve": stats.hill_curve,
    "mcculloch": stats.mcculloch,
    "block_log_moment_index": stats.block_log_moment_index,
    "characteristic_function_fit": stats.characteristic_function_fit,
    "stable_scale": lambda x: stats.stable_scale(x, 1.5),
    "hurst_rs": stats.hurst_rs,
    "hurst_dfa": stats.hurst_dfa,
    "block_length": stats.block_length,
    "block_bootstrap": lambda x: stats.block_bootstrap(np.median, x, resamples=20),
    "tail_report": stats.tail_report,
    "projections": lambda x: stats.projections(stats.hill, np.ma.stack([x, x], 1), directions=2),
    "mean_time": lambda x: stats.mean_time(np.abs(x), np.ones(len(x), bool)),
    "restricted_mean": lambda x: stats.restricted_mean(np.abs(x), np.ones(len(x), bool)),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_gaps_are_refused_with_their_number_and_place(name):
    x = stable(1.5, 1000, seed=13)
    hidden = np.zeros(1000, bool)
    hidden[[7, 400, 401]] = True
    with pytest.raises(ValueError, match=r"masked values \((3 of 1000|6 of 2000)\)"):
        ESTIMATORS[name](np.ma.array(x, mask=hidden))
    ESTIMATORS[name](np.ma.array(x, mask=np.zeros(1000, bool)))  # nothing is hidden
    with pytest.raises(
        ValueError,
        match=r"(3 of 1000|6 of 2000) values are (NaN|not), the first at index "
        r"(7\b|\(7, 0\))",
    ):
        ESTIMATORS[name](np.where(hidden, np.nan, x))


def test_masked_times_do_not_count():
    """The mean of 1, 2, 3 is 2; with the hidden 999 it was 251."""
    time = np.ma.masked_greater([1.0, 2.0, 3.0, 999.0], 100)
    with pytest.raises(ValueError, match=r"time holds masked values \(1 of 4\)"):
        stats.mean_time(time, [True] * 4)
    assert stats.mean_time(time[~time.mask], [True] * 3).value == 2
    with pytest.raises(ValueError, match=r"exited holds masked values \(1 of 2\)"):
        stats.mean_time([1.0, 2.0], np.ma.array([True, True], mask=[False, True]))
    with pytest.raises(ValueError, match="covariance holds masked values"):
        ls.covariance_scale(np.ma.masked_less(np.eye(2), 0.5), ls.Brownian())
    with pytest.raises(ValueError, match="center holds masked values"):
        ls.Ball(radius=1.0, center=[1.0, np.ma.masked])


def test_missing_values_of_pandas():
    x = pandas.Series([1, None, 3, None] * 50, dtype="Int64")
    for gaps in (x, x.astype(object), x.tolist()):
        with pytest.raises(
            (ValueError, TypeError),
            match=r"100 of 200 values are (NaN|missing), "
            r"the first at index 1",
        ):
            stats.hill(gaps)
    with pytest.raises(TypeError, match="1 of 3 values are missing, the first at index 1"):
        stats.mean_time([1.0, 2.0, 3.0], pandas.Series([True, None, False], dtype="boolean"))
    assert stats.mean_time(pandas.Series([1.0, 3.0]), pandas.Series([True, True])).value == 2
