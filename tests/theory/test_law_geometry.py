"""The escape law's geometry: what it was made of, and which of its assumptions are checked."""

import re
from dataclasses import replace
from math import gamma, pi, sin

import jax.numpy as jnp
import numpy as np
import pytest
from made_runs import exponential, run
from statistical import assert_close

import levysde as ls
from levysde import theory
from levysde.theory import escape_law


def test_a_law_keeps_what_it_was_made_of():
    """And another amplitude changes the dynamics with it, and drops what was said about the first
    amplitude."""
    well = ls.Quadratic(hessian=jnp.eye(2))
    base = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.1)
    adamw = ls.AdamW(
        well, ls.StableComponents(alpha=1.5), epsilon=0.1, rates=(100.0, 1.0), weight_decay=0.1
    )
    for dynamics in (base, ls.Scheduled(base, 0.5), adamw):
        law = escape_law(dynamics, ls.Ball(radius=1.0, center=jnp.zeros(2)), check=False)
        assert law.dynamics is dynamics
        assert law.domain.radius == 1
        assert law.dt is None
        assert [rays.directions.shape for rays in law.rays] == [(4, 2)]
        warned = replace(law, epsilon_warnings=("too noisy",), geometry_warnings=("a saddle",))
        assert warned.warnings == ("a saddle", "too noisy")
        other = warned.with_epsilon(0.02)
        assert other.warnings == ("a saddle",)
        assert other.epsilon == 0.02
        assert float(other.dynamics.epsilon) == jnp.float32(0.02)
        assert float(law.dynamics.epsilon) == jnp.float32(0.1)
        again = escape_law(other.dynamics, other.domain, check=False)
        assert abs(again.rate / other.rate - 1) < 1e-5


# layers along a ray


def line(outside):
    """Outside for these intervals of `|x|`."""

    def inside(x):
        size = jnp.abs(x[0])
        return ~jnp.any(jnp.stack([(size >= low) & (size < high) for low, high in outside]))

    return ls.Predicate(inside, dim=1)


def unit(epsilon=0.01, driver=None, dim=1):
    return ls.SGD(
        ls.Quadratic(hessian=jnp.eye(dim)),
        driver or ls.StableComponents(alpha=1.5),
        epsilon=epsilon,
    )


def beyond(intervals, epsilon=0.01):
    """Rate of jumps of SaS(1), alpha = 1.5, of either sign, whose size times epsilon lies in one of
    the intervals."""
    tail = gamma(2.5) * sin(0.75 * pi) / pi / 1.5
    return 2 * epsilon**1.5 * tail * sum(low**-1.5 - high**-1.5 for low, high in intervals)


@pytest.mark.parametrize(
    "outside",
    [
        ((1, 1.1), (1.12, 1.2), (3, np.inf)),
        ((1, 1.5), (1.6, np.inf)),
        ((1, 1.001), (1.002, np.inf)),
        ((0.5, 0.5005), (1, np.inf)),
        ((1, 4), (4.5, 5), (8, 9)),
    ],
)
def test_thin_layers_are_counted_or_within_the_error(outside):
    """Jumps that land outside, by the integral of the Lévy density; with the flow, all beyond the
    first layer."""
    domain, law = line(outside), escape_law(unit(), line(outside), follow=False, check=False)
    assert abs(law.rate - beyond(outside)) < 1e-6 * law.rate + law.rate_error
    assert 0 < law.rate_error < 2e-3 * law.rate
    assert law.crossings == "search"
    assert not law.star_shaped
    law = escape_law(unit(), domain, check=False)
    first = beyond([(outside[0][0], np.inf)])
    assert abs(law.rate - first) < 2 * law.rate_error
    assert law.rate_error < 6e-3 * law.rate
    assert not law.star_shaped


@pytest.mark.slow
def test_shells_made_of_shapes_are_exact():
    """Balls within balls, slabs and their complements in one, two and three dimensions; the same
    set as a predicate."""
    for dim in (1, 2, 3):

        def ball(radius, x=0.0, dim=dim):
            return ls.Ball(radius=radius, center=jnp.zeros(dim).at[0].set(x))

        shell = ls.Intersection(
            ls.Complement(ls.Intersection(ball(1.1), ls.Complement(ball(1.0)))), ball(3.0)
        )
        driver = ls.StableIsotropic(alpha=1.5)
        law = escape_law(unit(driver=driver, dim=dim), shell, follow=False, check=False)
        share = (1 - 1.1**-1.5) + 3**-1.5
        whole = escape_law(unit(driver=driver, dim=dim), ball(1.0), check=False)
        assert law.crossings == "formula"
        assert (law.resolution, law.star_shaped) == (0, False)
        assert law.rate == pytest.approx(share * whole.rate, rel=1e-5)
        assert escape_law(unit(driver=driver, dim=dim), shell, check=False).rate == pytest.approx(
            whole.rate, rel=2e-3
        )
        holes = ls.ExitSets(ball(0.3, 0.9), ball(0.2, -1.3), ls.Complement(ball(2.0)))
        exact = escape_law(unit(driver=driver, dim=dim), holes, follow=False, check=False)

        def inside(x, dim=dim):
            first, second = jnp.zeros(dim).at[0].set(0.9), jnp.zeros(dim).at[0].set(-1.3)
            size = jnp.sum(x**2)
            return (
                (size < 4)
                & (jnp.sum((x - first) ** 2) >= 0.09)
                & (jnp.sum((x - second) ** 2) >= 0.04)
            )

        searched = escape_law(
            unit(driver=driver, dim=dim), ls.Predicate(inside, dim=dim), follow=False, check=False
        )
        assert exact.crossings == "formula"
        assert abs(searched.rate / exact.rate - 1) < 3e-3
        assert abs(searched.rate - exact.rate) < 3 * np.hypot(searched.rate_error, exact.rate_error)
        stretched = escape_law(
            unit(driver=driver, dim=dim), ls.Dilated(holes, factor=2.0), follow=False, check=False
        )
        assert stretched.rate == pytest.approx(exact.rate * 2**-1.5, rel=1e-5)


def test_an_answer_that_hinges_on_the_grid_says_so():
    """Layers without end: whatever is resolved, there are finer ones."""
    comb = ls.Predicate(lambda x: (jnp.abs(x[0]) < 1) | (jnp.sin(3e5 * x[0]) > 0.3), dim=1)
    law = escape_law(unit(), comb, follow=False, check=False)
    share = 0.5 + np.arcsin(0.3) / pi  # of the sine's period is outside
    assert law.rate == pytest.approx(share * beyond([(1, np.inf)]), rel=0.02)
    assert law.rate_error > 0.01 * law.rate
    assert "two ways of counting them differ" in law.warnings[0]
    assert "searched" in repr(law)


# the flow after a landing


def two_valleys(x):
    """Parabolas of curvature 1 about -1 and 1 (nearly), rounded where they meet."""
    return jnp.sum((jnp.sqrt(x[:1] ** 2 + 0.0025) - 1) ** 2) / 2 + jnp.sum(x[1:] ** 2) / 2


LEFT = -np.sqrt(1 - 0.0025)


def valleys(dim, epsilon=0.05, driver=None):
    loss = ls.from_function(two_valleys, dim=dim, minimum=jnp.zeros(dim).at[0].set(LEFT))
    return ls.SGD(loss, driver or ls.StableComponents(alpha=1.5), epsilon=epsilon)


def other_side(dim, radius=0.3):
    return ls.ExitSets(ls.Ball(radius=radius, center=jnp.zeros(dim).at[0].set(-LEFT)))


@pytest.mark.slow_cases("StableIsotropic-2")
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("driver", [ls.StableComponents, ls.StableIsotropic])
def test_a_landing_that_the_flow_carries_out_is_an_escape(dim, driver):
    """Until the other minimum is reached is until its basin is: the rate of a half-space."""
    dynamics = valleys(dim, driver=driver(alpha=1.5))
    law = escape_law(dynamics, other_side(dim), check=False)
    half = beyond([(-LEFT, np.inf)], epsilon=0.05) / 2
    assert law.rate == pytest.approx(half, rel=5e-3)
    assert abs(law.rate - half) < 5 * law.rate_error
    alone = escape_law(dynamics, other_side(dim), follow=False, check=False)
    assert alone.rate < 0.2 * law.rate
    assert law.flow_share == pytest.approx(1 - alone.rate / law.rate, rel=1e-2)
    assert "count as escapes" in " ".join(" ".join(law.assumptions).split())
    assert law.warnings == ()
    again = escape_law(valleys(dim, 0.02, driver(alpha=1.5)), other_side(dim), check=False)
    assert law.with_epsilon(0.02).rate == pytest.approx(again.rate, rel=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dynamics", "domain"),
    [(valleys(1, 0.03), other_side(1)), (unit(0.05), line(((1, 1.2), (3, np.inf))))],
    ids=["other valley", "behind a layer"],
)
def test_the_flow_after_a_landing_in_a_run(dynamics, domain):
    """Simulated at small noise, the mean is the law's; without the flow it would be 1.5 to 6 times
    as long."""
    start = dynamics.landscape.minimum
    result = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=0.02), domain, start, num=2000, seed=1, record="times"
    )
    law = escape_law(dynamics, domain, check=False)
    found = ls.compare(result, law)
    error = (found.ratio.high - found.ratio.low) / (2 * 1.96)
    assert_close(found.ratio.value, error, 1.0, 0.15)
    assert law.mean < 0.7 * escape_law(dynamics, domain, follow=False, check=False).mean


def test_a_start_in_another_basin_is_told():
    dynamics = valleys(1)
    law = escape_law(dynamics, other_side(1), check=False)
    assert law.start_warnings(np.array([LEFT + 0.4])) == ()
    (warning,) = law.start_warnings(np.array([0.3]))
    assert "leaves the domain" in warning
    law = escape_law(dynamics, ls.Ball(radius=9.0, center=jnp.zeros(1)), check=False)
    (warning,) = law.start_warnings(np.array([0.3]))
    assert "does not go to the attractor" in warning
    found = ls.compare(started(run(exponential(500, law.mean)), (0.3,)), law)
    assert warning in found.warnings


@pytest.mark.slow
def test_what_lands_with_another_attractor_is_told():
    """A sublevel set of two parts: a jump into the other is inside, and does not come back."""
    dynamics = valleys(1)
    law = escape_law(dynamics, ls.Sublevel(dynamics.landscape, height=0.125), check=False)
    assert not law.star_shaped
    r = np.array([0.5, 1.5, 2.5])  # outside beyond -1.5, between -0.5 and 0.5, and beyond 1.5
    share = (r[1] ** -1.5 - r[2] ** -1.5) / (2 * r[0] ** -1.5)
    (warning,) = law.warnings
    said = float(re.search(r"([\d.]+)% of the jumps", warning).group(1)) / 100
    assert said == pytest.approx(share, rel=0.1)
    assert "Basin(landscape)" in warning
    assert escape_law(dynamics, ls.Basin(dynamics.landscape), check=False).warnings == ()


def test_a_flow_that_leaves_from_near_the_attractor_is_told():
    """A minimum that is none to one side, where the Hessian does not show it."""
    slope = ls.from_function(
        lambda x: jnp.sum(jnp.where(x > 0, -(x**3), x**2 / 2)), dim=1, minimum=jnp.zeros(1)
    )
    law = escape_law(
        ls.SGD(slope, ls.StableComponents(alpha=1.5), epsilon=0.1),
        ls.Ball(radius=1.0, center=jnp.zeros(1)),
        check=False,
    )
    assert any("the attractor is no minimum" in warning for warning in law.warnings)


def test_a_domain_that_its_gradient_flow_keeps_is_not_searched_again():
    well = ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 1e4])))
    dynamics = ls.SGD(well, ls.StableIsotropic(alpha=1.5), epsilon=0.1)
    law = escape_law(dynamics, ls.Sublevel(well, height=0.5), check=False)
    assert (law.flow_share, law.rate_error < 1e-2 * law.rate, law.warnings) == (0, True, ())
    assert "is so for this basin" in " ".join(law.assumptions)


# why there is no law


@pytest.mark.slow
def test_a_jump_that_is_too_short_is_told_from_an_unbounded_basin():
    ball = ls.Ball(radius=1.0, center=jnp.zeros(1))
    for cutoff, jumps in ((2.4, 2), (1.5, 3)):
        short = unit(0.25, ls.TruncatedComponents(alpha=1.5, cutoff=cutoff))
        with pytest.raises(
            ValueError,
            match=rf"no single jump leaves.*takes {jumps} "
            rf"jumps",
        ) as raised:
            escape_law(short, ball, check=False)
        assert "unbounded" not in str(raised.value)
        needed = float(re.search(r"epsilon above ([\d.]+)", str(raised.value)).group(1))
        assert needed == pytest.approx(1 / cutoff, rel=0.02)
        escape_law(
            unit(1.01 * needed, ls.TruncatedComponents(alpha=1.5, cutoff=cutoff)), ball, check=False
        )
    half = ls.Box(lower=jnp.array([-1.0]), upper=jnp.array([jnp.inf]))
    one_sided = ls.SkewedComponents(alpha=1.5, skewness=1.0)
    with pytest.raises(ValueError, match="no jumps along the rays on which the basin is bounded"):
        escape_law(unit(0.1, one_sided), half, check=False)
    with pytest.raises(ValueError, match="unbounded along every noise ray"):
        escape_law(unit(0.1), ls.Predicate(lambda x: x[0] < jnp.inf, dim=1), check=False)


# means of other laws


def started(result, start):
    return replace(result, info=replace(result.info, start=start))


def test_compare_takes_chains_and_minibatch_laws():
    """The mean of the well in which the run started, and of the law along a path."""
    chain = theory.stable_chain([-1.0, 2.0], [0.0], alpha=1.5, epsilon=0.1)
    first, second = chain.mean_residence
    assert second > 2 * first
    times = exponential(500, first)
    for start, mean in (((-1.2,), first), ((1.5,), second)):
        found = ls.compare(started(run(times), start), chain)
        assert found.reference.value == mean
        assert found.ratio.value == pytest.approx(times.mean() / mean)
        assert found.reference.low == mean == found.reference.high
        assert f"well {int(start[0] > 0)}" in found.name
    with pytest.raises(ValueError, match="does not say in which well it started"):
        ls.compare(run(times), chain)
    with pytest.raises(ValueError, match="2 dimensions, the chain has 1"):
        ls.compare(started(run(times), (0.0, 0.0)), chain)
    even = theory.stable_chain([-1.0, 1.0], [0.0], alpha=1.5, epsilon=0.1)
    assert ls.compare(run(times), even).reference.value == pytest.approx(even.mean_residence[0])
    law = theory.xie_law(
        barrier=1.0, minimum_curvature=8.0, saddle_curvature=4.0, learning_rate=0.1, batch_size=1
    )
    found = ls.compare(run(times), law)
    assert found.ratio.value == pytest.approx(times.mean() / law.mean)
    assert found.name == law.name


def test_a_run_says_where_it_started():
    ball = ls.Ball(radius=1.0, center=jnp.zeros(1))
    kernel = ls.EulerMaruyama(
        ls.SGD(ls.Quadratic(hessian=jnp.eye(1)), ls.StableComponents(alpha=1.5), epsilon=0.5),
        dt=0.01,
    )
    for start, kept in (([0.25], (0.25,)), ([[0.5], [0.5]], (0.5,)), ([[0.5], [0.25]], None)):
        assert ls.simulate_escape(kernel, ball, jnp.array(start), num=2, seed=0).info.start == kept


def test_a_hole_near_the_attractor_of_a_large_domain_is_seen():
    """The doubling that brackets a first crossing steps over the hole and finds the edge at 100:
    the law was 132,085."""
    flow = ls.SGD(ls.Quadratic(hessian=jnp.eye(2)), ls.StableIsotropic(alpha=1.5), epsilon=0.02)
    hole = ls.Complement(ls.Ball(radius=0.3, center=jnp.array([0.5, 0.5])))
    known = ls.Intersection(hole, ls.Ball(radius=100.0, center=jnp.zeros(2)))
    searched = ls.Predicate(
        lambda x: (jnp.sum((x - 0.5) ** 2) > 0.09) & (jnp.sum(x**2) < 1e4), dim=2
    )
    exact, found = (
        ls.escape_law(flow, domain, follow=False, check=False) for domain in (known, searched)
    )
    assert found.mean == pytest.approx(exact.mean, rel=5 * (found.rate_error / found.rate + 2e-3))
    assert found.rate_error < 0.02 * found.rate
