"""`compare`: the ratio and its interval on times of a known law, every warning, and refusals."""

import dataclasses
import re

import jax.numpy as jnp
import numpy as np
import pytest
from made_runs import exponential, law, run
from statistical import SIGMAS, assert_mean

import levysde as ls
from levysde import stats, theory
from levysde.analysis import compare
from levysde.escape import Status
from levysde.theory import (
    escape_law,
    exact_exit,
    first_passage,
    getoor_mean_exit,
    kramers_law,
    stable_exit,
)
from levysde.theory.law import Answers


def test_numbers_of_a_clean_comparison():
    reference = law()
    times = exponential(2000, 0.9 * reference.mean)
    found = compare(run(times), reference)
    assert found.ratio.value == pytest.approx(times.mean() / reference.mean)
    assert found.ratio.low < 0.9 < found.ratio.high < 1
    assert found.mean.value == pytest.approx(times.mean())
    assert found.reference.value == reference.mean == found.reference.low == found.reference.high
    assert found.exponentiality.shape.low < 1 < found.exponentiality.shape.high
    assert (found.exits, found.num, found.censored_share) == (2000, 2000, 0)
    assert found.regime == reference.regime
    assert found.one_step_chance == pytest.approx(1e-3 * reference.rate, rel=1e-3)
    assert found.skeleton_bias == reference.skeleton_bias(1e-3)
    assert found.warnings == ()
    for part in (
        f"{found.ratio}",
        "95% interval",
        "SDE time",
        "2000 of 2000",
        "rate over relaxation",
        "Weibull",
    ):
        assert part in repr(found)
    assert "warning" not in repr(found)


@pytest.mark.slow
@pytest.mark.parametrize("cut", [np.inf, 100.0])
def test_coverage(cut):
    """The ratio's interval covers the truth as often as it says, with and without censoring."""
    reference, runs = law(), 400
    hits = np.zeros(runs)
    for i in range(runs):
        ratio = compare(
            run(exponential(40, reference.mean, seed=i), cut), reference, confidence=0.8
        ).ratio
        hits[i] = ratio.low <= 1 <= ratio.high
    if cut == np.inf:
        assert_mean(hits, 0.8, relative_error=0.13)
    else:
        assert 0.8 - SIGMAS * 0.4 / np.sqrt(runs) < hits.mean() < 0.95


def test_the_interval_is_that_of_the_mean():
    reference = law()
    found = compare(run(exponential(10, 3.0)), reference)
    scaled = np.array([found.mean.value, found.mean.low, found.mean.high]) * reference.rate
    np.testing.assert_allclose([found.ratio.value, found.ratio.low, found.ratio.high], scaled)


def test_two_runs():
    first, second = run(exponential(400, 3.0, seed=1)), run(exponential(300, 2.0, seed=2), dt=None)
    found = compare(first, second)
    assert found.ratio.value == pytest.approx(first.time.mean() / second.time.mean())
    assert found.ratio.low < 1.5 < found.ratio.high
    assert found.reference.low < 2.0 < found.reference.high
    assert np.isnan([found.regime, found.one_step_chance, found.skeleton_bias]).all()
    assert found.warnings == ()
    back = compare(second, first).ratio
    np.testing.assert_allclose([back.low, back.high], [1 / found.ratio.high, 1 / found.ratio.low])
    assert "a run of a kernel" in repr(found)


def test_the_error_of_the_law_widens_the_interval():
    reference = law()
    shaky = dataclasses.replace(reference, rate_error=0.05 * reference.rate)
    result = run(exponential(100_000, reference.mean))
    sharp, wide = compare(result, reference).ratio, compare(result, shaky).ratio
    expected = compare(result, shaky).reference
    assert (
        expected.high / expected.value
        == expected.value / expected.low
        == pytest.approx(np.exp(1.96 * 0.05), rel=1e-4)
    )
    assert wide.value == sharp.value
    assert wide.high - wide.low == pytest.approx(2 * 1.96 * 0.05, rel=0.05)
    assert sharp.high - sharp.low < 0.02


def test_no_exit_at_all():
    found = compare(run(np.full(50, 99.0), cut=10.0), law())
    assert found.mean.value == found.ratio.value == found.ratio.high == np.inf
    assert found.ratio.low == pytest.approx(500 / -np.log(0.05) * law().rate)
    assert found.exponentiality is None
    assert "too few exits" in repr(found)
    assert any("0 exits" in warning for warning in found.warnings)


def island(x):
    return (jnp.sum(x**2) < 1) | (jnp.sum((x - jnp.array([3.0, 0.0])) ** 2) < 1)


MEAN = 112.1
STATUS = np.full(2000, Status.EXITED, np.int8)
STATUS[:3], STATUS[3:8] = Status.NONFINITE, Status.UNFINISHED


@pytest.mark.parametrize(
    ("result", "reference", "message"),
    [
        (run(exponential(99, MEAN)), law, "99 exits, fewer than 100"),
        (run(exponential(2000, MEAN), cut=200.0), law, "% of the run's trajectories were censored"),
        (run(exponential(2000, MEAN), status=STATUS), law, "3 trajectories of the run became NaN"),
        (
            run(exponential(2000, MEAN), status=STATUS),
            law,
            "5 trajectories of the run did not finish",
        ),
        (run(MEAN * np.random.default_rng(0).weibull(1.3, 2000)), law, "not exponential"),
        (run(exponential(2000, MEAN), dt=1e-6), law, r"8\.9e-09, below the 1e-08"),
        (run(exponential(2000, MEAN), dt=0.2), law, r"curvature is 0\.8, above 0\.5.*dt=0\.12"),
        (run(exponential(2000, MEAN), dt=0.2), law, r"bias is up to 2\.1%"),
        (
            run(exponential(2000, MEAN)),
            lambda: law(epsilon=0.5),
            r"relaxation is 0\.\d+, above "
            r"0\.1",
        ),
        (
            run(exponential(2000, MEAN)),
            lambda: law(domain=ls.Predicate(island, dim=2)),
            "not star-shaped",
        ),
        (
            run(exponential(2000, MEAN)),
            lambda: dataclasses.replace(law(), normalization="printed"),
            "as printed",
        ),
        (
            run(exponential(2000, MEAN)),
            lambda: run(exponential(9, MEAN)),
            "the reference run has 9 exits",
        ),
    ],
)
def test_warnings(result, reference, message):
    found = compare(result, reference())
    assert re.search(message, "\n".join(found.warnings)), found.warnings
    assert "warning: " in repr(found)


def test_an_attractor_that_is_no_minimum_is_told_instead_of_a_smaller_epsilon():
    reference = dataclasses.replace(law(), regime=np.inf)
    warnings = " ".join(compare(run(exponential(2000, MEAN)), reference).warnings)
    assert "the attractor is no minimum" in warnings
    assert "smaller epsilon" not in warnings


def test_left_out_rows_count_nowhere():
    times = exponential(2000, MEAN)
    times[:8] = np.nan
    found = compare(run(times, status=STATUS), law())
    assert found.num == found.exits == 1992
    assert found.mean.value == pytest.approx(times[8:].mean())


def test_the_suggested_step_cures_the_bias():
    reference = law()
    assert reference.skeleton_bias(0.2) > 0.02
    finer = 0.2 * (0.02 / reference.skeleton_bias(0.2)) ** 1.5
    assert reference.skeleton_bias(finer) == pytest.approx(0.02)


def test_without_a_step_or_above_one():
    found = compare(run(exponential(500, MEAN), dt=None), law())
    assert np.isnan(found.one_step_chance)
    assert found.regime == law().regime
    assert "step dt" not in repr(found)
    heavy = law(alpha=0.8, epsilon=0.01)
    found = compare(run(exponential(500, heavy.mean)), heavy)
    assert np.isnan(found.skeleton_bias)
    assert found.warnings == ()


def test_refusals():
    with pytest.raises(ValueError, match=r"counts iterations and the reference SDE time"):
        compare(run(exponential(10, 1.0), unit="iterations"), law())
    with pytest.raises(ValueError, match=r"counts SDE time and the reference iterations"):
        compare(run(exponential(10, 1.0)), run(exponential(10, 1.0), unit="iterations"))
    with pytest.raises(ValueError, match="no trajectory of the result"):
        compare(run(exponential(3, 1.0), status=np.full(3, Status.NONFINITE, np.int8)), law())
    with pytest.raises(ValueError, match="confidence"):
        compare(run(exponential(10, 1.0)), law(), confidence=2)
    with pytest.raises(TypeError, match="result must be an EscapeResult"):
        compare(law(), law())
    with pytest.raises(
        TypeError,
        match=r"reference must be an EscapeLaw or another law of levysde.theory, .*not "
        r"float",
    ):
        compare(run(exponential(10, 1.0)), 3.0)
    with pytest.raises(
        TypeError, match="exact must be a StableExit or a FirstPassage, not EscapeLaw"
    ):
        compare(run(exponential(10, 1.0)), law(), exact=law())
    with pytest.raises(ValueError, match=r"counts iterations and the reference SDE time"):
        compare(
            run(exponential(10, 1.0), unit="iterations"),
            first_passage(lambda x: -x, 0.1, start=0.0, upper=1.0),
        )


def slope(x):
    return -x


def test_an_exact_mean_stands_beside_the_law():
    reference = law()
    exact = stable_exit(slope, alpha=1.5, epsilon=0.1, start=0.0, lower=-1.0, upper=1.0)
    times = exponential(2000, 70.0)
    found = compare(run(times), reference, exact=exact)
    assert found.exact.value == exact.mean
    assert found.exact_ratio.value == pytest.approx(times.mean() / exact.mean)
    assert found.exact_ratio.high / found.exact_ratio.low == pytest.approx(
        found.ratio.high / found.ratio.low
    )
    plain = compare(run(times), reference)
    assert plain.exact is plain.exact_ratio is None
    assert found.ratio == plain.ratio
    for name, value in (
        ("exact mean", "75.1263"),
        ("exact over reference", f"{exact.mean / reference.mean:.4g}"),
    ):
        assert re.search(f"{name} +{re.escape(value)}", repr(found)), repr(found)
        assert name not in repr(plain)


def test_other_references():
    """Anything whose mean is known: the ratio is to that, and what belongs to jumps is left
    open."""
    passage = first_passage(slope, 0.2, start=0.0, lower=-1.0, upper=1.0)
    shaky = dataclasses.replace(passage, error=0.1)
    well = kramers_law(ls.DoubleWell(), saddles=jnp.zeros(1), diffusion=0.2)
    jumps = stable_exit(slope, alpha=1.5, epsilon=0.1, start=0.0, lower=-1.0, upper=1.0)
    times = exponential(2000, 3.0)
    for reference, word in ((passage, "quadrature"), (well, "Eyring"), (jumps, "nonlocal")):
        found = compare(run(times), reference)
        assert found.ratio.value == pytest.approx(times.mean() / reference.mean)
        assert word in repr(found)
        assert np.isnan([found.regime, found.one_step_chance, found.skeleton_bias]).all()
        assert found.warnings == ()
    wide = compare(run(times), shaky)
    assert wide.reference.high / wide.reference.value == pytest.approx(np.exp(0.1))
    assert wide.ratio.low < compare(run(times), passage).ratio.low


ONE = ls.Ball(radius=1.0, center=jnp.zeros(1))
BOWL = ls.Quadratic(hessian=jnp.eye(1))


@pytest.mark.slow
def test_exact_exit_is_the_equation_of_the_dynamics():
    """Amplitude, scale, kind of driver, Gaussian part, interval and start all arrive."""
    flat = ls.Quadratic(hessian=1e-12 * jnp.eye(1))
    for driver in (ls.StableComponents(alpha=1.3), ls.StableIsotropic(alpha=1.3)):
        dynamics = ls.SGD(flat, driver, epsilon=0.5, scale=-1.4)
        box = ls.Box(lower=jnp.array([-1.0]), upper=jnp.array([3.0]))
        found = exact_exit(dynamics, box, start=jnp.array([0.5]))
        free = getoor_mean_exit(alpha=1.3, dim=1, radius=2.0, epsilon=0.7, start=0.5)
        assert found.mean == pytest.approx(free, rel=1e-6)
        assert found.upper_probability < 0.5
    brownian = (
        ls.Langevin(BOWL, diffusion=0.18),
        ls.SGD(BOWL, ls.Brownian(), epsilon=0.6),
        ls.SGD(BOWL, ls.StableComponents(alpha=2.0), epsilon=0.6 / np.sqrt(2)),
        ls.SGD(BOWL, ls.DriverSum((ls.Brownian(), 0.6), (ls.Brownian(), 0.8)), epsilon=0.6),
    )
    for dynamics in brownian:
        found = exact_exit(dynamics, ONE)
        assert found.mean == pytest.approx(
            first_passage(slope, 0.18, start=0.0, lower=-1, upper=1).mean, rel=1e-6
        )
    mixed = ls.DriverSum(
        (ls.StableComponents(alpha=1.5), 0.6), (ls.StableIsotropic(alpha=1.5), -0.8), ls.Brownian()
    )
    found = exact_exit(ls.SGD(BOWL, mixed, epsilon=0.5), ONE)
    amplitude = 0.5 * (0.6**1.5 + 0.8**1.5) ** (1 / 1.5)
    same = stable_exit(
        slope, alpha=1.5, epsilon=amplitude, diffusion=0.125, start=0.0, lower=-1.0, upper=1.0
    )
    assert found.mean == pytest.approx(same.mean, rel=1e-6)
    half_line = ls.Box(lower=jnp.array([-jnp.inf]), upper=jnp.array([0.0]))
    found = exact_exit(
        ls.Langevin(ls.DoubleWell(), diffusion=0.2), half_line, start=jnp.array([-1.0])
    )
    exact = first_passage(lambda x: -4 * (x**3 - x), 0.2, start=-1.0, upper=0.0)
    assert found.mean == pytest.approx(exact.mean, rel=1e-6)


def sgd(driver=None, **options):
    return ls.SGD(BOWL, driver or ls.StableComponents(alpha=1.5), epsilon=0.1, **options)


@pytest.mark.parametrize(
    ("dynamics", "domain", "options", "kind", "message"),
    [
        (
            ls.Momentum(BOWL, ls.Brownian(), epsilon=0.1, forgetting_rate=1.0),
            ONE,
            {},
            TypeError,
            "not Momentum",
        ),
        (sgd(), "ball", {}, TypeError, "domain must be a Domain"),
        (sgd(), ls.Ball(radius=1.0, center=jnp.zeros(2)), {}, ValueError, "the domain d = 2"),
        (
            sgd(),
            ls.Predicate(lambda x: jnp.abs(x[0]) < 1, dim=1),
            {},
            ValueError,
            "Predicate is not known to be an inter",
        ),
        (sgd(), ONE, {"start": jnp.ones(1)}, ValueError, "lies outside the domain"),
        (
            sgd(),
            ls.Box(lower=jnp.array([-1.0]), upper=jnp.array([jnp.inf])),
            {},
            ValueError,
            "no end on one side",
        ),
        (
            sgd(ls.TemperedComponents(alpha=1.5, length=1.0)),
            ONE,
            {},
            TypeError,
            "not TemperedComponents",
        ),
        (
            sgd(scale=ls.StateScale(lambda x: 1 + x**2, dim=1)),
            ONE,
            {},
            ValueError,
            "StateScale is no number",
        ),
        (
            sgd(ls.DriverSum(ls.StableComponents(alpha=1.2), ls.StableComponents(alpha=1.5))),
            ONE,
            {},
            ValueError,
            "have the indices",
        ),
    ],
)
def test_exact_exit_refuses_what_it_does_not_know(dynamics, domain, options, kind, message):
    with pytest.raises(kind, match=message):
        exact_exit(dynamics, domain, **options)


@pytest.mark.slow
def test_a_real_run_agrees_with_its_law():
    """The whole chain: a well, its noise, thousands of escapes; the law is 5% high at epsilon =
    0.1, as it should be."""
    well = ls.Quadratic(hessian=jnp.array([1.0]))
    dynamics = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.1)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(1))
    result = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=0.01), ball, jnp.zeros(1), num=4000, seed=3
    )
    reference = escape_law(dynamics, ball, check=False)
    found = compare(result, reference, exact=exact_exit(dynamics, ball))
    exact = 75.1263 * reference.rate  # the exact mean exit time
    assert exact == pytest.approx(0.95, abs=0.01)
    assert found.exact.value == pytest.approx(75.1263, rel=1e-5)
    assert found.exact_ratio.value == pytest.approx(found.ratio.value / exact, rel=1e-5)
    assert found.ratio.high - found.ratio.low < 0.08
    assert abs(found.ratio.value - exact) < 0.5 * SIGMAS / 1.96 * (
        found.ratio.high - found.ratio.low
    )
    assert found.exponentiality.p_value > 1e-6
    assert found.warnings == ()


def test_a_mean_away_from_the_law_is_named():
    """Beyond 10% and its interval; with a checked law, whether the law's own problem is as far."""
    reference = law()
    short = exponential(2000, 0.7 * reference.mean)
    found = " ".join(compare(run(short), reference).warnings)
    assert re.search(
        r"measured mean is (2[5-9]|3[0-5])% shorter than the law's .* at epsilon = 0.05 the law, a "
        r"limit",
        found,
    )
    near = theory.LawError(stats.Estimate(0.7, 0.66, 0.74), "direct", 4000, 0.01, 0, 1000, 0.05)
    checked = compare(run(short), dataclasses.replace(reference, error=near))
    assert checked.law_error == near
    assert "estimated to be 30% shorter than the law's" in " ".join(checked.warnings)
    assert "measured mean is" not in " ".join(checked.warnings)
    fine = theory.LawError(stats.Estimate(0.99, 0.96, 1.02), "direct", 4000, 0.01, 0, 1000, 0.05)
    other = " ".join(compare(run(short), dataclasses.replace(reference, error=fine)).warnings)
    assert "a simulation of the law's own problem gave 0.99" in other
    assert compare(run(exponential(2000, 0.97 * reference.mean)), reference).warnings == ()


class OwnLaw(Answers):
    """A law of one's own."""

    name, unit, assumptions, log_rate = "my law", "SDE time", (), 0.0

    def __init__(self, mean, answers=None, held=None):
        self.mean, self.answers, self.held = mean, answers, held

    def interval(self, confidence=0.95):
        return self.answers or super().interval(confidence)

    def conditions(self, ratio, dt, start):
        return self.held or super().conditions(ratio, dt, start)


def test_a_custom_law_is_checked():
    result = run([1.0, 2.0, 3.0, 4.0])
    good = compare(result, OwnLaw(2.5))
    assert good.ratio.value == pytest.approx(1.0)
    assert good.name == "my law"
    for mean in (-1.0, 0.0, np.nan):
        with pytest.raises(ValueError, match="the law 'my law' must answer interval"):
            compare(result, OwnLaw(mean))
    with pytest.raises(ValueError, match="beyond float64"):
        compare(result, OwnLaw(np.inf))
    for bad in (stats.Estimate(2.5, 2.0, 3.0, 0.5), (2.0, 3.0)):
        with pytest.raises(ValueError, match="must answer interval"):
            compare(result, OwnLaw(2.5, bad))
    with pytest.raises(TypeError, match="must answer conditions"):
        compare(result, OwnLaw(2.5, held="oops"))
    narrow = compare(result, OwnLaw(2.5)).ratio
    wide = compare(result, OwnLaw(2.5, stats.Estimate(2.5, 1.25, 2.6))).ratio
    assert wide.high > 1.1 * narrow.high  # the mean may be half of the law's


@pytest.mark.slow
def test_an_exact_mean_for_another_start_is_told():
    """From 0.9 the mean is 1.77 times as short; the law said nothing."""
    flow = ls.SGD(ls.Quadratic(hessian=jnp.eye(1)), ls.StableComponents(alpha=1.5), epsilon=0.5)
    domain = ls.Box(lower=-jnp.ones(1), upper=jnp.ones(1))
    result = ls.simulate_escape(
        ls.EulerMaruyama(flow, dt=0.01), domain, jnp.zeros(1), num=50, seed=0
    )
    there, here = (theory.exact_exit(flow, domain, start=jnp.array([x])) for x in (0.9, 0.0))
    told = "the run started at 0, and the nonlocal equation, exact is for a start at 0.9"
    assert any(told in warning for warning in compare(result, there).warnings)
    assert any(told in warning for warning in compare(result, here, exact=there).warnings)
    assert not any("started at" in warning for warning in compare(result, here).warnings)
