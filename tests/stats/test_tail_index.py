"""Tail index estimators, their intervals under dependence, and the report that says when they do
not apply."""

from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import integrate, special, stats as scipy_stats
from scipy.signal import lfilter
from statistical import SIGMAS, assert_close, assert_mean

from levysde import stats
from levysde.errors import AccuracyWarning
from levysde.stats.samples import stable_table

pytestmark = pytest.mark.slow


def stable(alpha, shape, seed, beta=0.0):
    """An implementation of the stable law that is not ours (S1; location 0)."""
    return scipy_stats.levy_stable.rvs(
        alpha, beta, size=shape, random_state=np.random.default_rng(seed)
    )


def averaged(x, beta=0.9):
    return lfilter([1 - beta], [1, -beta], x)


def generator(seed):
    return np.random.default_rng(seed)


# tables of exact laws


def test_quantile_table_against_scipy():
    """Rows of the table put into scipy's distribution function (S1: shifted by `beta tan(pi
    alpha/2)`), and off the grid."""
    table = stable_table()
    for i, j in ((0, 0), (6, 7), (12, 3), (22, 10), (29, 5)):
        a, b = table["alpha"][i], table["beta"][j]
        q = table["quantile"][i, j] + b * np.tan(np.pi * a / 2)
        np.testing.assert_allclose(scipy_stats.levy_stable.cdf(q, a, b), table["level"], atol=1e-7)
        np.testing.assert_allclose(
            scipy_stats.levy_stable.pdf(q, a, b), table["density"][i, j], rtol=1e-6
        )
    np.testing.assert_allclose(
        table["quantile"][-1, 4], np.sqrt(2) * special.ndtri(table["level"]), atol=1e-9
    )
    cauchy = np.argmin(np.abs(table["alpha"] - 1))
    np.testing.assert_allclose(
        table["quantile"][cauchy, 0], np.tan(np.pi * (table["level"] - 0.5)), rtol=1e-9
    )


def exact_reading(tail, threshold):
    """1/Hill by quadrature: `int_u^inf P(|X| > x) dx / x`, over `P(|X| > u)`."""
    area = integrate.quad(lambda y: tail(threshold * np.exp(y)), 0, 60, limit=400)[0]
    return tail(threshold) / area


@pytest.mark.parametrize("share", [0.002, 0.03, 0.3])
def test_hill_on_stable(share):
    assert stats.hill_on_stable(1.0, share) == pytest.approx(
        exact_reading(lambda x: 2 / np.pi * np.arctan(1 / x), 1 / np.tan(np.pi * share / 2)),
        rel=1e-4,
    )
    assert stats.hill_on_stable(2.0, share) == pytest.approx(
        exact_reading(lambda x: special.erfc(x / 2), 2 * special.erfcinv(share)), rel=1e-4
    )
    x = stable(1.62, 400_000, seed=0)
    found = stats.hill(x, k=int(share * x.size)).alpha  # between two rows of the table
    assert_close(
        found.value, 1.3 * (found.high - found.low) / 3.92, stats.hill_on_stable(1.62, share), 0.3
    )


# Hill


def test_hill_by_hand_and_its_interval_on_a_pareto_law():
    x = np.append(np.exp([3.0, 2.0, 1.0, 0.5]), np.ones(60))
    fit = stats.hill(x * np.where(np.arange(64) % 2, 1, -1), k=3)
    assert fit.alpha.value == pytest.approx(3 / (2.5 + 1.5 + 0.5))
    assert (fit.k, fit.threshold) == (3, pytest.approx(np.exp(0.5)))
    low, high = scipy_stats.chi2.ppf([0.025, 0.975], 6) / 6
    assert (fit.alpha.low, fit.alpha.high) == (pytest.approx(low / 1.5), pytest.approx(high / 1.5))
    pareto = generator(1).pareto(1.7, (2000, 200)) + 1
    fits = [stats.hill(row, k=40).alpha for row in pareto]
    assert_mean(np.array([1 / f.value for f in fits]), 1 / 1.7, 0.02)
    assert_mean(np.array([f.low <= 1.7 <= f.high for f in fits]), 0.95, 0.03)


def test_the_choice_of_k_follows_the_bias():
    """No bias: k at its bound. A bias: k shrinks, as n^(2/3) would, and the choice beats the whole
    tail."""
    pareto = stats.hill(generator(2).pareto(1.5, 20_000) + 1)
    assert pareto.k > 700
    x = stable(1.8, 20_000, seed=3)
    fit, wide = stats.hill(x), stats.hill(x, k=2000)
    assert fit.k < 800
    assert abs(fit.alpha.value - 1.8) < 0.7 * abs(wide.alpha.value - 1.8)


def test_curve_is_made_of_fits():
    x = stable(1.5, 3000, seed=4)
    curve = stats.hill_curve(x, confidence=0.9)
    assert (curve.k[0], curve.k[-1], curve.num_values, curve.confidence) == (10, 1499, 3000, 0.9)
    assert curve.chosen == stats.hill(x).k
    for i in (0, 50, -1):
        fit = stats.hill(x, k=int(curve.k[i]), confidence=0.9).alpha
        np.testing.assert_allclose(
            [curve.alpha[i], curve.low[i], curve.high[i]], [fit.value, fit.low, fit.high]
        )


# McCulloch


@pytest.mark.parametrize(("alpha", "beta"), [(0.8, 0.0), (1.2, -0.6), (1.7, 0.5)])
def test_all_four_parameters(alpha, beta):
    samples = 3 * stable(alpha, (150, 3000), seed=5, beta=beta) - 2
    fits = [stats.mcculloch(x) for x in samples]
    location = 3 * beta * np.tan(np.pi * alpha / 2) - 2  # in S0
    truths = {"alpha": alpha, "skewness": beta, "scale": 3.0, "location": location}
    for name, truth in truths.items():
        found = [getattr(fit, name) for fit in fits]
        values = np.array([f.value for f in found])
        error = values.std(ddof=1) / np.sqrt(values.size)
        # bias small beside the spread
        assert abs(values.mean() - truth) < SIGMAS * error + 0.2 * values.std(), name
        assert error * SIGMAS < 0.1, name
        widths = np.median([f.high - f.low for f in found])
        assert widths / 3.92 == pytest.approx(values.std(), rel=0.3), name
        assert np.mean([f.low <= truth <= f.high for f in found]) > 0.95 - SIGMAS * np.sqrt(
            0.05 * 0.95 / 150
        )


def test_quantiles_move_with_the_sample():
    x = stable(1.4, 4000, seed=6, beta=0.4)
    fit, moved, turned = stats.mcculloch(x), stats.mcculloch(5 * x + 1), stats.mcculloch(-x)
    np.testing.assert_allclose(
        [moved.alpha.value, moved.skewness.value, moved.scale.value, moved.location.value],
        [fit.alpha.value, fit.skewness.value, 5 * fit.scale.value, 5 * fit.location.value + 1],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        [turned.skewness.value, turned.location.value],
        [-fit.skewness.value, -fit.location.value],
        rtol=1e-5,
    )
    gauss = stats.mcculloch(special.ndtri((np.arange(999) + 0.5) / 999))
    assert gauss.alpha.value == pytest.approx(2, abs=0.02)
    assert (gauss.skewness.low, gauss.skewness.high) == (-1, 1)


# vectors


def isotropic(alpha, n, d, seed):
    rng = generator(seed)
    positive = scipy_stats.levy_stable.rvs(alpha / 2, 1.0, size=n, random_state=rng)
    return np.sqrt(positive)[:, None] * rng.normal(size=(n, d))


def test_vectors_through_norms_projections_and_coordinates():
    x = isotropic(1.5, 20_000, 4, seed=7)
    whole = stats.block_log_moment_index(x)
    assert whole.low < 1.5 < whole.high
    assert whole.high - whole.low < 0.25
    assert stats.hill(x, k=200).alpha == stats.hill(np.linalg.norm(x, axis=1), k=200).alpha
    np.testing.assert_allclose(
        stats.block_log_moment_index(x[:, :1], block=50).value,
        stats.block_log_moment_index(x[:, 0], block=50).value,
    )
    cf = stats.characteristic_function_fit
    for found in (stats.per_coordinate(cf, x), stats.projections(cf, x, directions=30)):
        assert found.median == pytest.approx(1.5, abs=0.05)
        np.testing.assert_allclose((found.directions**2).sum(1), 1)
        for value, direction in zip(found.values[:3], found.directions[:3], strict=True):
            assert value == cf(x @ direction).alpha.value
    assert "30 directions" in repr(stats.projections(cf, x, directions=30))
    half = stats.per_coordinate(cf, x * [1, 0, 1, 0])
    assert np.isnan(half.values[[1, 3]]).all()
    assert np.isfinite(half.values[[0, 2]]).all()


def test_the_documented_reading_of_norms():
    rng = generator(8)
    mixture = np.exp(rng.normal(size=(5000, 1))) * rng.normal(size=(5000, 200))
    found = stats.block_log_moment_index(mixture)
    assert found.value == pytest.approx(1.4, abs=0.05)
    assert found.high < 1.5  # and sure of it


# block bootstrap


@pytest.mark.parametrize("kind", ["moving", "stationary"])
def test_bootstrap_has_the_spread_of_the_mean_of_dependent_values(kind):
    """AR(1): the standard error of a mean is `1/((1 - phi) sqrt(n))`, 2.4 times that of independent
    values."""
    errors = []
    for seed in range(40):
        x = lfilter([1], [1, -0.7], generator([9, seed]).normal(size=4300))[300:]
        found = stats.block_bootstrap(np.mean, x, kind=kind, resamples=200, seed=seed)
        assert found.value == x.mean()
        errors.append((found.high - found.low) / 3.92)
    truth = 1 / 0.3 / np.sqrt(4000)
    assert 0.85 * truth < np.mean(errors) < 1.05 * truth
    assert 5 < stats.block_length(x, kind=kind) < 100


def test_single_rows_and_whole_rows():
    x = generator(10).normal(size=(3000, 2))
    plain = stats.block_bootstrap(lambda v: v[:, 0].mean(), x, block=1, resamples=400)
    assert (plain.high - plain.low) / 3.92 == pytest.approx(1 / np.sqrt(3000), rel=0.15)
    with pytest.raises(ValueError, match="on every resample, which leaves no interval"):
        stats.block_bootstrap(
            lambda v: np.mean(v[:, 0] - v[:, 1]), np.stack([x[:, 0], x[:, 0]], 1), block=10
        )
    rare = stats.block_bootstrap(
        np.median, np.where(np.arange(101) < 52, 0.0, 1.0), block=1
    )  # quartiles agree, draws do not
    assert rare.low < rare.value == 0 < rare.high
    assert stats.block_length(x) <= 5
    assert stats.block_length(averaged(stable(1.5, 4000, 11))) > 30
    slow = np.exp(lfilter([1], [1, -0.98], generator(12).normal(size=4000)) * 0.2) * generator(
        13
    ).normal(size=4000)
    assert stats.block_length(slow) > 30  # no correlation but in the sizes
    same = [stats.block_bootstrap(stats.hill, x, seed=seed, resamples=20) for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]


def test_bootstrap_with_failures():
    x = generator(14).normal(size=200)
    calls = iter(range(10_000))

    def sometimes(values, every):
        if next(calls) % every == 1:
            raise ValueError("no")
        return values.mean()

    assert np.isfinite(stats.block_bootstrap(lambda v: sometimes(v, 30), x, resamples=100).high)
    with pytest.raises(ValueError, match="resamples, so its interval"):
        stats.block_bootstrap(lambda v: sometimes(v, 3), x, resamples=100)


# report

CONTROLS = {  # what must be flagged, and by which checks at least one of
    "gaussian mixture": (
        lambda r, n: r.normal(size=n) * np.exp(r.normal(size=n)),
        {"drifts under sums", "tail"},
    ),
    "averaged": (lambda r, n: averaged(r.standard_cauchy(n)), {"correlated"}),
    "student": (lambda r, n: r.standard_t(3, n), {"drifts under sums", "tail"}),
    "laplace": (lambda r, n: r.laplace(size=n), {"drifts under sums", "tail"}),
    "gaussian": (lambda r, n: r.normal(size=n), {"Gaussian"}),
    "slow mixture": (
        lambda r, n: r.normal(size=n) * np.exp(lfilter([0.14], [1, -0.99], r.normal(size=n))),
        {"varying scale"},
    ),
    "skewed": (
        lambda r, n: scipy_stats.levy_stable.rvs(1.5, 0.5, size=n, random_state=r),
        {"asymmetric"},
    ),
    "heavier tail": (
        lambda r, n: np.where(r.random(n) < 0.03, 10 * r.standard_cauchy(n), r.normal(size=n)),
        {"tail"},
    ),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_are_flagged_for_their_reason(name):
    make, reasons = CONTROLS[name]
    reports = [stats.tail_report(make(generator([15, seed]), 10_000)) for seed in range(8)]
    assert np.mean([bool(reasons & set(report.flags)) for report in reports]) >= 7 / 8
    assert all(report.verdict.startswith("not independent") for report in reports)


def test_stable_noise_passes():
    """24 reports at 2%: four flags or more would come once in 600 000 times."""
    reports = [
        stats.tail_report(stable(a, 10_000, seed=[16, s, int(10 * a)]))
        for a in (1.2, 1.5, 1.8)
        for s in range(8)
    ]
    assert sum(bool(report.flags) for report in reports) <= 4
    scores = np.array([[f.statistic for f in report.findings[1:6]] for report in reports])
    assert (np.abs(scores.mean(0)) < SIGMAS * 1.3 / np.sqrt(24)).all()
    assert (scores.std(0) < 1.9).all()
    assert ((scores.std(0) > 0.4)[[0, 1, 2, 4]]).all()
    clean = next(report for report in reports if not report.flags)
    assert "consistent with" in clean.verdict
    text = repr(clean)
    assert text.splitlines()[0] == "TailReport of 10000 values"
    for word in (
        "Hill",
        "McCulloch",
        "characteristic function",
        "sums of 10",
        "drifts under sums",
        clean.verdict,
    ):
        assert word in text
    assert "FLAG" not in text


@pytest.mark.parametrize("seed", range(20))
def test_integers_are_not_continuous(seed):
    """Rounded values have no tail index, and some estimators no answer: that is the verdict, not an
    error."""
    report = stats.tail_report(generator(seed).integers(-3, 4, 1000))
    assert report.flags[0] == "not continuous"
    assert "values repeat" in report.verdict
    assert "x is rounded or discrete" in report.verdict
    assert np.isfinite(report.findings[0].statistic)


@pytest.mark.parametrize(
    "make",
    [
        lambda r: r.integers(0, 2, 1000),
        lambda r: r.poisson(3, 1000),
        lambda r: np.where(r.random(1000) < 0.9, 0.0, r.normal(size=1000)),
        lambda r: np.tile([1.0, -1.0], 500),
        lambda r: np.round(r.standard_cauchy(1000)),
    ],
    ids=["coins", "counts", "mostly zero", "alternating", "rounded"],
)
def test_repeated_values_give_a_verdict(make):
    report = stats.tail_report(make(generator(18)))
    assert "not continuous" in report.flags
    # a grid far finer than a standard error
    fine = stats.tail_report(np.round(stable(1.5, 1000, seed=19), 2))
    assert "not continuous" not in fine.flags


def test_a_constant_is_refused_by_the_report():
    with pytest.raises(ValueError, match="all 1000 values of x are equal"):
        stats.tail_report(np.ones(1000))


# values that repeat, and zeros


def test_hill_warns_of_values_that_repeat():
    """Nominal index 1, but 4.34 [2.08, 7.42] from the 10 largest and .398 [.199, .666] from the 11
    largest."""
    x = np.repeat([1.0, 10.0, 100.0, 1000.0], [1000, 100, 10, 1])
    for k in (10, 11, None):
        with pytest.warns(AccuracyWarning, match="sizes of x are equal"):
            fit = stats.hill(x, k=k)
        assert "rounded or discrete" in fit.warnings[0]
        assert "warning: up to" in repr(fit)
    with pytest.warns(AccuracyWarning, match="sizes of x are equal"):
        assert stats.hill_curve(x).warnings
    with pytest.warns(AccuracyWarning, match="143 of 1001 values of x are equal"):
        assert stats.mcculloch(np.repeat(np.arange(-3.0, 4.0), 143)).warnings
    fine = np.round(generator(20).standard_cauchy(1000), 2)
    assert stats.hill(fine[fine != 0], k=50).warnings == stats.mcculloch(fine).warnings == ()
    # quiet
    assert (
        stats.block_bootstrap(
            stats.hill, generator(21).standard_cauchy(500), block=1, resamples=20
        ).low
        > 0
    )


COPIES = np.repeat(generator(23).standard_cauchy(100), 10)


@pytest.mark.parametrize(
    "estimator",
    [stats.mcculloch, stats.characteristic_function_fit, lambda x: stats.hill(x, k=900)],
)
def test_copies_are_told(estimator):
    """Each value ten times: the intervals, which count 1000 values, are too narrow by the root of
    ten."""
    with pytest.warns(
        AccuracyWarning, match="100% of the .* occur more than once, (10|9.99) times on average"
    ):
        assert "holds copies" in repr(estimator(COPIES))
    assert "not continuous" in stats.tail_report(COPIES).flags


@pytest.mark.parametrize(
    "make", [lambda r: r.choice([-1.0, 1.0], 5000), lambda r: r.integers(0, 4, 5000)]
)
def test_an_index_above_two_is_told(make):
    """Coins and counts read 2.07 [2.06, 2.08] and 2.05 [2.04, 2.06]."""
    with pytest.warns(AccuracyWarning) as told:
        fit = stats.characteristic_function_fit(make(generator(24)))
    assert fit.alpha.low > 2
    assert "lies above 2, where no stable law is" in fit.warnings[-1]
    assert [str(w.message) for w in told] == list(fit.warnings)


def test_a_gaussian_index_is_two_at_most():
    """Without a bound it would pass 2 in half of all samples; no warning is issued."""
    rows = generator(25).normal(size=(20, 1000))
    found = [stats.characteristic_function_fit(x).alpha for x in rows]
    assert all(a.low <= a.value <= a.high <= 2 for a in found)
    assert sum(a.value == 2 for a in found) > 5


def test_block_sums_tell_an_offset_and_coins():
    """A Gaussian of mean 10 reads 0.999, coins in odd blocks 2.56; centred at its median the first
    reads 2 again."""
    x = generator(26).normal(size=5000)
    assert abs(stats.block_log_moment_index(x).value - 2) < 0.4
    for offset in (x + 10, (x + 10)[:100], x.reshape(-1, 5) + np.array([0, 0, 1, 0, 0])):
        with pytest.warns(AccuracyWarning, match="x is not centred at 0"):
            stats.block_log_moment_index(offset)
    with pytest.warns(AccuracyWarning) as told:
        stats.block_log_moment_index(np.sign(x), block=35)
    assert "4970 of 4970 sizes of x are equal" in str(told[0].message)
    assert "lies above 2, where no stable law is" in str(told[1].message)


def test_hill_says_that_zeros_were_left_out():
    x = np.append(generator(22).pareto(1.5, 85) + 1, np.zeros(32))
    with pytest.warns(AccuracyWarning, match="32 of 117 values of x are 0"):
        curve = stats.hill_curve(x)
    assert curve.num_values == 117
    with pytest.warns(AccuracyWarning, match="32 of 117 values of x are 0"):
        fit = stats.hill(x, k=20)
    assert fit.alpha == stats.hill(x[:85], k=20).alpha


# bad input


def too_many(x):
    return stats.block_bootstrap(np.mean, x, block=1000)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: stats.hill(x.reshape(2, 5, -1)), ValueError, "shape"),
        (lambda x: stats.hill(x[:20]), ValueError, "at least 50"),
        (lambda x: stats.hill(np.where(x > 0, np.inf, x)), ValueError, "finite"),
        (lambda x: stats.hill(["a"] * 60), TypeError, "real numbers"),
        (lambda x: stats.hill(None), TypeError, "real numbers"),
        (lambda x: stats.hill(x + 1j), TypeError, "complex"),
        (lambda x: stats.hill(x, k=1), ValueError, "k must be from 2 to 999"),
        (lambda x: stats.hill(x, k=1000), ValueError, "k must be from 2 to 999"),
        (lambda x: stats.hill(x, k=10.0), TypeError, "k must be an integer"),
        (lambda x: stats.hill(np.ones(60)), ValueError, "not all equal"),
        (lambda x: stats.hill(np.minimum(np.abs(x), 0.5), k=10), ValueError, "larger k"),
        (lambda x: stats.hill_curve(x, confidence=95), ValueError, "confidence"),
        (lambda x: stats.hill_on_stable(2.5, 0.1), ValueError, "alpha"),
        (lambda x: stats.hill_on_stable(0.3, 0.1), ValueError, "from 0.5 to 2"),
        (lambda x: stats.hill_on_stable(1.5, 0.7), ValueError, "outside the table"),
        (lambda x: stats.hill_on_stable(1.5, 7), ValueError, "fraction"),
        (lambda x: stats.mcculloch(x[:50]), ValueError, "at least 100"),
        (lambda x: stats.mcculloch(np.where(np.abs(x) < 9, 0.0, x)), ValueError, "interquartile"),
        (lambda x: stats.mcculloch(x**5), ValueError, "heavier"),
        (lambda x: stats.mcculloch(x[:, None]), ValueError, r"x\[:, 0\]"),
        (lambda x: stats.per_coordinate(stats.hill, x), ValueError, r"\(n, d\)"),
        (lambda x: stats.per_coordinate(3, x[:, None]), TypeError, "estimator"),
        (lambda x: stats.per_coordinate(stats.hill, np.zeros((60, 2))), ValueError, "no direction"),
        (lambda x: stats.per_coordinate(lambda v: "a", x[:, None]), TypeError, "not a number"),
        (
            lambda x: stats.projections(stats.hill, x[:, None], directions=0),
            ValueError,
            "directions",
        ),
        (lambda x: stats.projections(stats.hill, x[:, None], seed=-1), ValueError, "seed"),
        (lambda x: stats.block_bootstrap(None, x), TypeError, "estimator"),
        (lambda x: stats.block_bootstrap(lambda v: v, x), TypeError, "not a number"),
        (lambda x: stats.block_bootstrap(lambda v: np.nan, x), ValueError, "estimator gave NaN"),
        (lambda x: stats.block_bootstrap(np.mean, x[:20]), ValueError, "at least 50"),
        (too_many, ValueError, "block must be from 1 to 125"),
        (lambda x: stats.block_bootstrap(np.mean, x, resamples=3), ValueError, "resamples"),
        (lambda x: stats.block_bootstrap(np.mean, x, kind="circular"), ValueError, "kind"),
        (lambda x: stats.block_length(x, kind="circular"), ValueError, "kind"),
        (lambda x: stats.tail_report(x[:900]), ValueError, "at least 1000"),
        (lambda x: stats.tail_report(x, level=1), ValueError, "level"),
        (lambda x: stats.tail_report(np.zeros(2000)), ValueError, "all 2000 values of x are equal"),
    ],
)
def test_bad_samples(call, error, message):
    with pytest.raises(error, match=message):
        call(stable(1.5, 1000, seed=17))


def test_traced_values_are_refused():
    with pytest.raises(TypeError, match="traced"):
        jax.jit(lambda x: stats.hill(x).alpha.value)(np.ones(60))


def test_the_tables_are_small():
    assert Path(stats.__file__).with_name("stable_quantiles.npz").stat().st_size < 100_000
