"""What the laws must obey whatever the numbers: scaling, order, symmetry. Random wells, drivers and
basins, in float64.

They are compared with no other formula here, so nothing is known of the right value; each test says
which wrong law it would catch. Tolerances are those of rounding: ten thousand last digits, where
nothing is searched for.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jaxtyping import Array

import levysde as ls
from levysde import theory
from levysde.protocols import Landscape

pytestmark = pytest.mark.usefixtures("float64")

ROUNDING = 2e-12
# 128 equal angles in each of 8 sets: to rounding for ellipses up to 3 times as long as wide
RAYS = 1024
DRIVERS = pytest.mark.parametrize("driver", [ls.StableComponents, ls.StableIsotropic])

alphas = st.floats(0.4, 1.95)
sizes = st.floats(0.5, 2.0)
angles = st.floats(0.1, 1.4)
signs = st.sampled_from([-1.0, 1.0])


def turn(angle):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])


changes = st.builds(
    lambda p, q, a, b: turn(p) @ np.diag([a, b]) @ turn(q), angles, angles, sizes, sizes
)
points = st.builds(lambda x, y: np.array([x, y]), st.floats(-0.15, 0.15), st.floats(-0.15, 0.15))


def law(driver, alpha, domain, *, epsilon=0.1, scale=1.0, hessian=(1.0, 2.0), minimum=(0.0, 0.0)):
    hessian = np.diag(hessian) if np.ndim(hessian) < 2 else hessian
    well = ls.Quadratic(hessian=jnp.asarray(hessian), minimum=jnp.asarray(minimum))
    scale = jnp.asarray(np.eye(2) * scale if np.ndim(scale) < 2 else scale)
    return theory.escape_law(
        ls.SGD(well, driver(alpha=alpha), epsilon=epsilon, scale=scale),
        domain,
        num_rays=RAYS,
        check=False,
    )


def ball(radius=1.0, center=(0.0, 0.0)):
    return ls.Ball(radius=radius, center=jnp.asarray(center))


def box(half, center=(0.0, 0.0)):
    return ls.Box(lower=jnp.asarray(center) - half, upper=jnp.asarray(center) + half)


def ellipse(matrix, center=(0.0, 0.0)):
    return ls.Ellipsoid(center=jnp.asarray(center), matrix=jnp.asarray(matrix))


def shapes(c, center, matrix):
    """Three basins `c` times as large, about a center that moves out as well."""
    return {
        "ball": ball(1.1 * c, c * center),
        "box": box(c * np.array([0.7, 1.3]), c * center),
        "ellipse": ellipse(matrix @ matrix.T / c**2, c * center),
    }


# scaling


@pytest.mark.slow_cases("StableComponents")
@DRIVERS
@given(alpha=alphas, small=st.floats(1e-3, 0.1), ratio=st.floats(1.1, 30.0), center=points)
def test_the_rate_is_a_power_of_the_amplitude(driver, alpha, small, ratio, center):
    """Not of another exponent (1, 2 or alpha - 1), and m(W) knows nothing of the amplitude."""
    first = law(driver, alpha, ball(1.0, center), epsilon=small)
    second = law(driver, alpha, ball(1.0, center), epsilon=small * ratio)
    assert second.rate == pytest.approx(first.rate * ratio**alpha, rel=ROUNDING)
    assert second.mean == pytest.approx(first.mean / ratio**alpha, rel=ROUNDING)
    assert second.measure == pytest.approx(first.measure, rel=ROUNDING)
    assert first.with_epsilon(small * ratio).rate == pytest.approx(second.rate, rel=ROUNDING)


@pytest.mark.slow
@DRIVERS
@given(
    alpha=alphas,
    c=st.floats(1.1, 8.0),
    center=points,
    matrix=changes,
    shape=st.sampled_from(["ball", "box", "ellipse"]),
)
def test_the_measure_of_a_dilated_basin(driver, alpha, c, center, matrix, shape):
    """`m(cW) = c^-alpha m(W)`: no volume, no alpha + d. The same jumps made c times as long lead
    out of the larger basin at the rate of old."""
    first = law(driver, alpha, shapes(1.0, center, matrix)[shape])
    second = law(driver, alpha, shapes(c, center, matrix)[shape])
    assert second.measure == pytest.approx(first.measure * c**-alpha, rel=ROUNDING)
    stretched = law(driver, alpha, shapes(c, center, matrix)[shape], scale=c)
    assert stretched.rate == pytest.approx(first.rate, rel=ROUNDING)


@pytest.mark.slow_cases("StableComponents")
@DRIVERS
@given(alpha=alphas, change=changes, scale=changes, matrix=changes, center=points, minimum=points)
def test_any_linear_change_of_coordinates(driver, alpha, change, scale, matrix, center, minimum):
    """Scale and basin go with the coordinates, the noise's own stay: S before G, `G S` and not `S
    G` or its transpose."""
    inverse, shape = np.linalg.inv(change), matrix @ matrix.T
    first = law(driver, alpha, ellipse(shape, center), scale=scale, minimum=minimum)
    second = law(
        driver,
        alpha,
        ellipse(inverse.T @ shape @ inverse, change @ center),
        scale=change @ scale,
        minimum=change @ minimum,
    )
    assert second.rate == pytest.approx(first.rate, rel=ROUNDING)
    np.testing.assert_allclose(second.ray_distance, first.ray_distance, rtol=ROUNDING)


@pytest.mark.slow_cases("StableComponents")
@DRIVERS
@given(alpha=alphas, angle=angles, scale=changes, matrix=changes, k=st.floats(0.2, 5.0))
def test_turned_with_its_curvature_all_is_the_same(driver, alpha, angle, scale, matrix, k):
    """Rate, regime and stiffness; and a curvature k times as large changes the last two by k, the
    rate not at all (not by the height of the barrier)."""
    r, shape, hessian = turn(angle), matrix @ matrix.T, np.diag([1.0, 3.0])
    first = law(driver, alpha, ellipse(shape), scale=scale, hessian=hessian)
    second = law(
        driver, alpha, ellipse(r @ shape @ r.T), scale=r @ scale, hessian=k * r @ hessian @ r.T
    )
    assert second.rate == pytest.approx(first.rate, rel=ROUNDING)
    assert second.regime == pytest.approx(first.regime / k, rel=ROUNDING)
    assert second.stiffness == pytest.approx(first.stiffness * k, rel=ROUNDING)


# symmetry of the noise


@given(alpha=alphas, angle=angles, scale=changes)
def test_isotropic_noise_has_no_axes(alpha, angle, scale):
    """`S Q` is as good as S: a mean over directions with weights, or a jump map that is transposed,
    would show."""
    shape = (
        np.linalg.inv(scale).T @ np.diag([1.0, 2.0]) @ np.linalg.inv(scale)
    )  # in the noise's coordinates mildly long
    first = law(ls.StableIsotropic, alpha, ellipse(shape), scale=scale)
    second = law(ls.StableIsotropic, alpha, ellipse(shape), scale=scale @ turn(angle))
    assert second.rate == pytest.approx(first.rate, rel=ROUNDING)


@pytest.mark.slow
@given(
    alpha=alphas,
    scale=changes,
    matrix=changes,
    swap=st.booleans(),
    one=signs,
    two=signs,
    center=points,
)
def test_components_may_be_renamed_and_mirrored(alpha, scale, matrix, swap, one, two, center):
    permutation = np.diag([one, two])[::-1] if swap else np.diag([one, two])
    first = law(ls.StableComponents, alpha, ellipse(matrix @ matrix.T, center), scale=scale)
    second = law(
        ls.StableComponents, alpha, ellipse(matrix @ matrix.T, center), scale=scale @ permutation
    )
    assert second.rate == pytest.approx(first.rate, rel=ROUNDING)


@pytest.mark.slow
@given(alpha=alphas)
def test_components_have_axes(alpha):
    """A square turned by 45 degrees reaches sqrt(2) along the axes where it reached 1, so that
    components leave it at 2^(-alpha/2) of the rate; isotropic noise does not see the turn. Else the
    two tests above could not fail."""
    square, turned = (
        ls.HalfSpaces(normals=jnp.asarray(normals), offsets=jnp.ones(4))
        for normals in (
            np.vstack([np.eye(2), -np.eye(2)]),
            np.vstack([turn(np.pi / 4), -turn(np.pi / 4)]),
        )
    )
    rates = [
        [law(driver, alpha, basin).rate for basin in (square, turned)]
        for driver in (ls.StableComponents, ls.StableIsotropic)
    ]
    assert rates[0][1] == pytest.approx(rates[0][0] * 2 ** (-alpha / 2), rel=ROUNDING)
    # corners: equal angles are no longer exact
    assert rates[1][1] == pytest.approx(rates[1][0], rel=1e-3)


# order


@pytest.mark.slow
@DRIVERS
@given(alpha=alphas, scale=changes, center=points, more=st.floats(1.01, 2.0))
def test_a_larger_basin_is_left_more_slowly(driver, alpha, scale, center, more):
    """Rays to the far side, a union for an intersection or a height for its root would not all be
    in this order."""
    # the box touches the unit circle with its corners
    half, corner = np.array([0.6, 0.8]), 1.0 + 1e-9
    well = ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 2.0])))
    chain = [
        ls.Intersection(box(half, center), ball(0.7, center)),
        box(half, center),
        ball(corner, center),
        ball(corner * more, center),
    ]
    rates = [law(driver, alpha, basin, scale=scale).rate for basin in chain]
    assert rates[1] <= rates[0]  # the rays of components may all miss what is cut off
    assert all(np.diff(rates[1:]) < 0)
    heights = [
        law(driver, alpha, ls.Sublevel(well, height=h), scale=scale).rate for h in (0.5, 0.5 * more)
    ]
    # the search ends at 4e-11
    assert heights[1] == pytest.approx(heights[0] * more ** (-alpha / 2), rel=1e-9)


@given(
    alpha=st.floats(0.2, 2.0),
    dim=st.integers(1, 50),
    radius=sizes,
    epsilon=sizes,
    c=st.floats(1.1, 5.0),
    share=st.floats(0.0, 0.9),
)
def test_mean_exits_without_drift(alpha, dim, radius, epsilon, c, share):
    """Larger balls and starts further in take longer, lengths go as times to the power 1/alpha."""
    common = {"alpha": alpha, "dim": dim, "epsilon": epsilon}
    for mean in (theory.getoor_mean_exit, theory.ryznar_mean_exit):
        first = mean(radius=radius, start=share * radius, **common)
        assert mean(radius=c * radius, start=c * share * radius, **common) == pytest.approx(
            first * c**alpha, rel=ROUNDING
        )
        assert mean(radius=c * radius, start=share * radius, **common) > first
        assert mean(radius=radius, start=0.5 * share * radius, **common) >= first
        assert mean(
            radius=radius, start=share * radius, **common | {"epsilon": c * epsilon}
        ) == pytest.approx(first / c**alpha, rel=ROUNDING)
    brownian = theory.brownian_mean_exit(
        dim=dim, radius=radius, sigma=math.sqrt(2) * epsilon, start=share * radius
    )
    for mean in (theory.getoor_mean_exit, theory.ryznar_mean_exit):
        assert mean(
            alpha=2.0, dim=dim, radius=radius, epsilon=epsilon, start=share * radius
        ) == pytest.approx(brownian, rel=ROUNDING)


@given(
    pull=st.floats(-2.0, 4.0),
    push=st.floats(-1.0, 1.0),
    noise=st.floats(0.1, 2.0),
    more=st.floats(1.05, 2.0),
    c=st.floats(0.2, 5.0),
)
def test_first_passage_from_a_longer_interval(pull, push, noise, more, c):
    """Each end moved out by itself; drift and diffusion c times as strong are time run c times as
    fast."""

    def exits(lower, upper, fast=1.0):
        found = theory.first_passage(
            lambda x: fast * (push - pull * x), fast * noise, start=0.1, lower=lower, upper=upper
        )
        return found.mean, found.second_moment, found.upper_probability

    first = exits(-1.0, 1.0)
    assert exits(-more, 1.0)[0] > first[0]
    assert exits(-1.0, more)[0] > first[0]
    assert exits(-more, 1.0)[2] > first[2] > exits(-1.0, more)[2]
    np.testing.assert_allclose(
        exits(-1.0, 1.0, fast=c), np.array(first) / [c, c**2, 1], rtol=1e-9
    )  # as precise as they agree


@settings(max_examples=2)
@given(alpha=st.floats(0.6, 1.9), pull=st.floats(0.1, 1.0), more=st.floats(1.2, 1.5))
def test_stable_exit_from_a_longer_interval(alpha, pull, more):
    """And a drift a third as strong, with noise of 3^(-1/alpha), is the same equation run three
    times as slowly: epsilon enters by its power alpha, not as it is."""

    def exits(upper, slow=1.0):
        noise = 0.5 * slow ** (-1 / alpha)
        return theory.stable_exit(
            lambda x: -pull * x / slow,
            alpha=alpha,
            epsilon=noise,
            start=0.1,
            lower=-1.0,
            upper=upper,
        )

    first, longer, slower = exits(1.0), exits(more), exits(1.0, slow=3.0)
    assert longer.mean > first.mean
    assert longer.upper_probability < first.upper_probability
    assert slower.mean == pytest.approx(3 * first.mean, rel=first.error + slower.error + ROUNDING)


# Gaussian


class TwoWells(Landscape):
    """`k ((u^2 - 1)^2 / 4 + (s + t u) w^2 / 2) + level`, `(u, w) = R' x / c`: numbers that change
    compile nothing."""

    turned: Array
    stretch: Array
    strength: Array
    level: Array
    stiffness: Array
    twist: Array

    def value(self, x):
        u, w = jnp.sum(self.turned * x[:, None], 0) / self.stretch
        shape = (u**2 - 1) ** 2 / 4 + (self.stiffness + self.twist * u) * w**2 / 2
        return self.strength * shape + self.level

    def gradient(self, x):
        return jax.grad(self.value)(x)

    def hessian(self, x):
        return jax.hessian(self.value)(x)

    @property
    def minimum(self):
        return -self.stretch * self.turned[:, 0]

    @property
    def dim(self):
        return 2


def two_wells(angle=0.0, stretch=1.0, strength=1.0, level=0.0, stiffness=2.0, twist=0.5):
    return TwoWells(
        *(
            jnp.asarray(value, float)
            for value in (turn(angle), stretch, strength, level, stiffness, twist)
        )
    )


@pytest.mark.filterwarnings("ignore:the lowest barrier:levysde.errors.AccuracyWarning")
@given(
    angle=angles,
    stretch=sizes,
    strength=sizes,
    level=st.floats(-50, 50),
    stiffness=st.floats(1.0, 3.0),
    twist=st.floats(-0.8, 0.8),
    noise=st.floats(0.005, 0.1),
    friction=st.none() | st.floats(0.1, 10.0),
)
def test_kramers_law_and_units(angle, stretch, strength, level, stiffness, twist, noise, friction):
    """A constant added to the loss, a turn; loss and temperature in another unit, lengths in
    another: a height that is no difference or is not over D, or a rate that is no curvature, would
    break one of these."""
    shape = {"stiffness": stiffness, "twist": twist}

    def rate(landscape, temperature, drag=None):
        found = theory.kramers_law(
            landscape, saddles=jnp.zeros(2), diffusion=temperature, friction=drag
        )
        return np.exp(found.log_rate - first.log_rate)

    plain = two_wells(**shape)
    first = theory.kramers_law(plain, saddles=jnp.zeros(2), diffusion=noise, friction=friction)
    near = {"rel": 1e-13 * (1 + abs(level)) / noise}  # the barrier's rounding over D
    assert rate(two_wells(angle=angle, level=level, **shape), noise, friction) == pytest.approx(
        1, **near
    )
    faster = strength / stretch**2
    drag = None if friction is None else friction * math.sqrt(faster)
    other = two_wells(angle=angle, stretch=stretch, strength=strength, **shape)
    slowed = 0.5 if friction is not None else 1
    assert rate(other, noise * strength, drag) == pytest.approx(faster**slowed, **near)


@given(
    stiffness=st.floats(1.0, 3.0),
    twist=st.floats(-0.8, 0.8),
    noise=st.floats(0.005, 0.1),
    friction=st.floats(0.1, 1e6),
)
@pytest.mark.filterwarnings("ignore:the lowest barrier:levysde.errors.AccuracyWarning")
def test_kramers_law_and_what_lies_across(stiffness, twist, noise, friction):
    """A valley of curvature s - t across, s at its saddle, is left at the root of their ratio, no
    other power; and friction g slows by the x of `x^2 + g x = 1`, the saddle falling with curvature
    1."""
    straight, narrow = (two_wells(stiffness=stiffness, twist=t) for t in (0.0, twist))
    laws = [
        theory.kramers_law(well, saddles=jnp.zeros(2), diffusion=noise)
        for well in (straight, narrow)
    ]
    near = {"rel": 1e-13 / noise}
    assert laws[1].rate == pytest.approx(
        laws[0].rate * math.sqrt((stiffness - twist) / stiffness), **near
    )
    x = (
        theory.kramers_law(narrow, saddles=jnp.zeros(2), diffusion=noise, friction=friction).rate
        / laws[1].rate
    )
    assert x**2 + friction * x == pytest.approx(1, **near)


@given(
    heights=st.tuples(*[st.floats(0.0, 0.3)] * 3),
    bends=st.tuples(*[st.floats(3.0, 5.0)] * 3),
    noise=st.floats(0.01, 0.2),
)
def test_gaussian_chain_is_in_balance(heights, bends, noise):
    """`pi_i q_ij = pi_j q_ji` with the weights of Gibbs: no prefactor of the wrong well, no barrier
    from the wrong side."""
    landscape = ls.WellChain(
        jnp.array([-2.0, -1.0, 0.0, 1.0, 2.0]),
        jnp.array([heights[0], 1.0, heights[1], 1.2, heights[2]]),
        jnp.array([bends[0], -3.0, bends[1], -2.0, bends[2]]),
    )
    chain = theory.gaussian_chain(
        landscape,
        minima=jnp.array([[-2.0], [0.0], [2.0]]),
        saddles=jnp.array([[-1.0], [1.0]]),
        diffusion=noise,
        connects=[(0, 1), (1, 2)],
    )
    weights = np.exp(-np.array(heights) / noise) / np.sqrt(bends)
    np.testing.assert_allclose(chain.stationary, weights / weights.sum(), rtol=1e-9)
    flow = chain.stationary[:, None] * chain.rates
    np.testing.assert_allclose(flow, flow.T, rtol=1e-9)
    assert flow[0, 2] == 0


# chains of jumps


@given(
    alpha=alphas,
    gaps=st.tuples(*[st.floats(0.3, 2.0)] * 4),
    epsilon=st.floats(0.01, 0.5),
    scale=sizes,
    c=st.floats(1.1, 5.0),
)
def test_stable_chain_leaves_a_well_as_the_law_does(alpha, gaps, epsilon, scale, c):
    """The rates out of a well sum to the law of its interval: no well is left out or counted twice,
    none has its edges from another's minimum. Lengths scale as the law's, mirrored wells have
    mirrored rates."""
    places = np.cumsum([0.0, *gaps])
    minima, saddles = places[::2], places[1::2]
    chain = theory.stable_chain(minima, saddles, alpha=alpha, epsilon=epsilon, scale=scale)
    ends = np.array([-np.inf, *saddles, np.inf])
    for i, minimum in enumerate(minima):
        well = ls.Quadratic(hessian=jnp.ones((1, 1)), minimum=jnp.asarray([minimum]))
        basin = ls.Box(lower=jnp.asarray(ends[i : i + 1]), upper=jnp.asarray(ends[i + 1 : i + 2]))
        whole = theory.escape_law(
            ls.SGD(well, ls.StableComponents(alpha=alpha), epsilon=epsilon, scale=scale),
            basin,
            check=False,
        )
        assert chain.rates[i].sum() == pytest.approx(whole.rate, rel=ROUNDING)
        assert chain.mean_residence[i] == pytest.approx(whole.mean, rel=ROUNDING)
    larger = theory.stable_chain(c * minima, c * saddles, alpha=alpha, epsilon=epsilon, scale=scale)
    # differences of near tails
    np.testing.assert_allclose(larger.rates, chain.rates * c**-alpha, rtol=1e-9)
    mirrored = theory.stable_chain(
        -minima[::-1], -saddles[::-1], alpha=alpha, epsilon=epsilon, scale=scale
    )
    np.testing.assert_allclose(mirrored.rates[::-1, ::-1], chain.rates, rtol=1e-9)
    np.testing.assert_allclose(
        chain.stationary @ chain.generator, 0, atol=1e-12 * chain.rates.max()
    )


# the algorithm


@settings(max_examples=4)
@given(dim=st.integers(1, 6), batch=st.integers(1, 5), spread=sizes)
def test_kesten_index(dim, batch, spread):
    """It knows `eta s^2 / B` only; 2 where a variance is just lost, higher below, and higher with
    larger batches."""
    critical = 2 * batch / (batch + dim + 1)

    def index(eta, batch=batch, scale=1.0):
        return theory.kesten_index(dim=dim, learning_rate=eta, batch_size=batch, input_scale=scale)

    assert index(critical) == pytest.approx(2, abs=1e-8)
    below = index(0.8 * critical)
    assert index(0.8 * critical / spread**2, scale=spread) == pytest.approx(below, rel=1e-8)
    assert below > 2
    assert index(0.8 * critical, batch=batch + 1) > below


@given(drift=changes, diffusion=changes, angle=angles, center=points, t=st.floats(1.1, 3.0))
def test_quasi_potential(drift, diffusion, angle, center, t):
    """Turned with its flow it is the same, twice the noise makes half of it, and along a ray it
    grows as the square: so do the costs of balls, and the cheapest place is at its cost."""
    flow, noise, r = (
        drift @ drift.T + np.array([[0, 0.5], [-0.5, 0]]),
        diffusion @ diffusion.T,
        turn(angle),
    )
    first = theory.quasi_potential(flow, noise, center=center)
    second = theory.quasi_potential(r @ flow @ r.T, t * r @ noise @ r.T, center=r @ center)
    x = center + np.array([0.3, -0.7])
    assert second.value(r @ x) == pytest.approx(first.value(x) / t, rel=1e-10)
    assert first.value(center + t * (x - center)) == pytest.approx(t**2 * first.value(x), rel=1e-10)
    costs = [first.exit_cost(ball(radius, center)) for radius in (1.0, t)]
    assert costs[1] == pytest.approx(t**2 * costs[0], rel=1e-9)
    place = first.exit_place(ball(1.0, center))
    assert np.linalg.norm(place - center) == pytest.approx(1, rel=1e-9)
    assert first.value(place) == pytest.approx(costs[0], rel=1e-9)
