"""Late entry, event columns of 0 and 1, and the log-rank test."""

import numpy as np
import pytest
import scipy
from statistical import assert_mean

from levysde import stats
from levysde.errors import AccuracyWarning


def generator(seed):
    return np.random.default_rng(seed)


def test_the_curve_is_that_of_scipy():
    time = np.round(generator(0).exponential(size=60), 1) + 0.1
    exited = generator(1).random(60) < 0.7
    curve = stats.kaplan_meier(time, exited)
    data = scipy.stats.CensoredData(uncensored=time[exited], right=time[~exited])
    expected = scipy.stats.ecdf(data).sf
    np.testing.assert_array_equal(curve.time, expected.quantiles)
    np.testing.assert_allclose(curve.survival, expected.probabilities, rtol=1e-14)
    with pytest.warns(RuntimeWarning, match="undefined at some observations"):
        band = expected.confidence_interval(method="log-log")
    inner = (curve.survival < 1) & (curve.survival > 0)
    np.testing.assert_allclose(curve.low[inner], band.low.probabilities[inner], rtol=1e-12)
    np.testing.assert_allclose(curve.high[inner], band.high.probabilities[inner], rtol=1e-12)


def test_the_curve_of_late_entries_by_hand():
    """At 2 three are at risk (the last has not entered), at 4 two, at 5 one."""
    curve = stats.kaplan_meier([2.0, 4.0, 3.0, 5.0], [1, 1, 0, 1], entry=[0.0, 1.0, 0.0, 3.0])
    np.testing.assert_allclose(curve.survival, [2 / 3, 2 / 3, 1 / 3, 0])


def test_late_entry_takes_back_the_bias_of_those_never_seen():
    """Of exponential times only those are seen that are longer than a random entry."""
    rng = generator(2)
    time, entry = rng.exponential(2.0, size=(2, 40_000)) * np.array([[1.0], [0.3]])
    seen = entry < time
    time, entry = time[seen], entry[seen]
    exited = np.ones(time.size, bool)
    late = stats.mean_time(time, exited, entry=entry)
    assert_mean(time - entry, 2.0, 0.05, "time at risk of exponential times")
    assert late.value == pytest.approx(np.mean(time - entry))
    assert stats.escape_rate(time, exited, entry=entry).value == pytest.approx(1 / late.value)
    assert stats.mean_time(time, exited).value > 2.3
    curve = stats.kaplan_meier(time, exited, entry=entry)
    at = np.searchsorted(curve.time, 2.0) - 1
    error = (curve.high[at] - curve.low[at]) / 4
    assert abs(curve.survival[at] - np.exp(-1)) < 5 * error
    assert error < 0.01


def test_a_curve_that_ends_before_the_others_enter_is_told():
    with pytest.warns(AccuracyWarning, match="at 1 all that were at risk had left"):
        stats.kaplan_meier([1.0, 5.0, 6.0], [1, 1, 1], entry=[0.0, 2.0, 2.0])


def test_log_rank_by_its_formula():
    time, other = np.array([1.0, 3.0, 4.0, 6.0, 8.0]), np.array([2.0, 3.0, 7.0, 9.0])
    exited, other_exited = np.array([1, 1, 0, 1, 1]), np.array([1, 1, 1, 0])
    observed = expected = variance = 0.0
    for t in np.unique(np.concatenate([time[exited == 1], other[other_exited == 1]])):
        n, m = (time >= t).sum(), (other >= t).sum()
        mine = ((time == t) & (exited == 1)).sum()
        d = mine + ((other == t) & (other_exited == 1)).sum()
        observed += mine
        expected += d * n / (n + m)
        if n + m > 1:
            variance += d * n * m * (n + m - d) / ((n + m) ** 2 * (n + m - 1))
    found = stats.log_rank(time, exited, other, other_exited)
    assert found.statistic == pytest.approx((observed - expected) / variance**0.5)
    assert found.p_value == pytest.approx(2 * scipy.stats.norm.sf(abs(found.statistic)))


def test_log_rank_has_its_level_and_sees_a_difference():
    rng, every = generator(3), np.ones(50, bool)
    p = [stats.log_rank(a, every, b, every).p_value for a, b in rng.exponential(size=(1000, 2, 50))]
    assert abs(np.mean(np.array(p) < 0.05) - 0.05) < 5 * (0.05 * 0.95 / 1000) ** 0.5
    twice = stats.log_rank(rng.exponential(size=50), every, rng.exponential(3.0, size=50), every)
    assert twice.statistic > 3


def test_nothing_left_has_no_test():
    found = stats.log_rank([1.0, 2.0], [False, False], [3.0], [False])
    assert np.isnan(found.p_value)


def test_events_as_numbers():
    time = np.array([1.0, 2.0, 3.0])
    expected = stats.mean_time(time, np.array([True, False, True]))
    for exited in ([1, 0, 1], np.array([1.0, 0.0, 1.0]), np.array([1, 0, 1], np.uint8)):
        assert stats.mean_time(time, exited) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda t: stats.mean_time(t, [1.0, np.nan, np.nan]),
            r"exited must be true or false.*2 of 3 .*\(nan\)",
        ),
        (lambda t: stats.mean_time(t, [1, 2, 0]), r"exited must be true or false.*\(2\)"),
        (lambda t: stats.mean_time([1.0, np.nan, 2.0], [1, 1, 1]), "time must be finite.*1 of 3"),
        (lambda t: stats.mean_time(t, [1, 1, 1], entry=[0.0, 2.5, 0.0]), "entry must be at least"),
        (lambda t: stats.mean_time(t, [1, 1, 1], entry=[-1.0, 0.0, 0.0]), "entry must be at least"),
        (lambda t: stats.kaplan_meier(t, [1, 1, 1], entry=[0.0]), r"entry must have shape \(3,\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.array([1.0, 2.0, 3.0]))


def test_all_at_one_time_tell_nothing():
    assert np.isnan(stats.log_rank([5.0, 5.0], [1, 1], [5.0], [1]).p_value)
