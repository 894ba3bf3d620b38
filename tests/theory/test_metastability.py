"""Transitions between wells: the chain's algebra, the exact quadratures whose limit the rates are,
and what is refused."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.interpolate import BPoly
from scipy.linalg import expm
from statistical import assert_close, assert_mean

import levysde as ls
from levysde.theory import (
    MetastableChain,
    first_passage,
    gaussian_chain,
    kramers_law,
    stable_chain,
    stable_exit,
    stationary_point,
)

RATES = np.array([[0.0, 1.0, 2.0], [0.5, 0.0, 0.3], [0.1, 0.4, 0.0]])
THREE = ls.WellChain(
    [-1.0, 0.0, 1.2, 2.0, 3.0], [0.0, 0.5, 0.2, 0.6, -0.1], [6.0, -3.0, 5.0, -4.0, 4.0]
)


def chain_of(rates, log=False):
    with np.errstate(divide="ignore"):
        logs = np.asarray(rates, float) if log else np.log(rates)
    return MetastableChain(logs, np.arange(len(logs), dtype=float)[:, None], "numbers", ())


def double_well(x):
    return 4 * x * (1 - x * x)


def styblinski_tang(x):
    return 16 * x - 2 * x**3 - 2.5


def chain_of_wells(landscape):
    """`-F'` by scipy's Hermite interpolation between the stationary points, parabolas outside."""
    knots, heights, bends = (
        np.asarray(part, float)
        for part in (landscape.positions, landscape.heights, landscape.curvatures)
    )
    inside = BPoly.from_derivatives(knots, np.stack([heights, 0 * heights, bends], 1)).derivative()

    def drift(x):
        middle = inside(np.clip(x, knots[0], knots[-1]))
        return (
            -middle
            - bends[0] * np.minimum(x - knots[0], 0)
            - bends[-1] * np.maximum(x - knots[-1], 0)
        )

    return drift


# the chain


def test_three_wells_by_hand():
    chain = chain_of(RATES)
    q = RATES - np.diag(RATES.sum(1))
    np.testing.assert_allclose(chain.generator, q, rtol=1e-12)
    np.testing.assert_allclose(chain.mean_residence, [1 / 3, 1 / 0.8, 2], rtol=1e-12)
    np.testing.assert_allclose(
        chain.next_probabilities, [[0, 1 / 3, 2 / 3], [5 / 8, 0, 3 / 8], [0.2, 0.8, 0]], rtol=1e-12
    )
    # spanning trees: weight of 0 is q10 q20 + q10 q21 + q12 q20, and so on
    trees = np.array([0.05 + 0.2 + 0.03, 0.4 + 0.1 + 0.8, 1 * 0.3 + 2 * 0.3 + 2 * 0.5])
    np.testing.assert_allclose(chain.stationary, trees / trees.sum(), rtol=1e-12)
    # to well 2: h0 = 1/3 + h1/3, h1 = 1/0.8 + (5/8) h0
    h0 = (1 / 3 + 1.25 / 3) / (1 - 5 / 24)
    assert chain.mean_transition(0, 2) == pytest.approx(h0, rel=1e-12)
    assert chain.mean_transition(1, 2) == pytest.approx(1.25 + 5 / 8 * h0, rel=1e-12)
    assert chain.mean_transition(2, 2) == 0


@pytest.mark.parametrize("n", [2, 5, 12])
def test_any_chain_by_linear_algebra(n):
    rng = np.random.default_rng(n)
    rates = rng.exponential(size=(n, n)) ** 3 * (rng.random((n, n)) < 0.7)
    rates += np.roll(np.eye(n), 1, axis=1)  # a ring joins them all
    np.fill_diagonal(rates, 0)
    chain = chain_of(rates)
    q = chain.generator
    np.testing.assert_allclose(chain.stationary @ q, 0, atol=1e-13 * np.abs(q).max())
    assert chain.stationary.sum() == pytest.approx(1)
    for j in range(n):
        others = np.delete(np.arange(n), j)
        expected = np.insert(np.linalg.solve(q[np.ix_(others, others)], -np.ones(n - 1)), j, 0)
        np.testing.assert_allclose(chain.mean_transitions[:, j], expected, rtol=1e-10)
        assert chain.mean_transition(int(others[0]), j) == pytest.approx(
            expected[others[0]], rel=1e-10
        )


def test_occupation():
    chain, times = chain_of(RATES), np.array([0.0, 0.3, 2.0, 500.0])
    found = chain.occupation(times, 1)
    np.testing.assert_allclose(found, [expm(chain.generator * t)[1] for t in times], rtol=1e-12)
    np.testing.assert_allclose(found[[0, -1]], [[0, 1, 0], chain.stationary], atol=1e-12)
    mixed = chain.occupation(0.3, [0.2, 0.3, 0.5])
    np.testing.assert_allclose(
        mixed, np.array([0.2, 0.3, 0.5]) @ expm(chain.generator * 0.3), rtol=1e-12
    )


def test_occupation_long_after():
    """Where rates are 1 and 1e-30: a power of the matrix by doubling would lose the sum of 1 by all
    its rounding, doubled."""
    rates = np.array([[0, 1, 1e-30], [1, 0, 1e-30], [1e-30, 1e-30, 0]])
    times = np.array([1e20, 1e28, 1e30, 1e100])
    slow = -np.expm1(-3e-30 * times) / 3
    expected = np.stack([(1 - slow) / 2, (1 - slow) / 2, slow], 1)
    np.testing.assert_allclose(chain_of(rates).occupation(times, 0), expected, rtol=1e-12)


def test_a_simulated_chain():
    """20,000 walks from well 0 until well 2, and where they are after a time of 1."""
    rng, num = np.random.default_rng(1), 20_000
    chain = chain_of(RATES)
    jumps = np.cumsum(RATES / RATES.sum(1, keepdims=True), 1)
    at, clock = np.zeros(num, int), np.zeros(num)
    early, arrival = np.full(num, -1), np.full(num, np.nan)
    while np.isnan(arrival).any() or (early < 0).any():
        clock = clock + rng.exponential(size=num) / RATES.sum(1)[at]
        early = np.where((early < 0) & (clock > 1), at, early)
        at = (rng.random(num)[:, None] > jumps[at]).sum(1)
        arrival = np.where(np.isnan(arrival) & (at == 2), clock, arrival)
    assert_mean(arrival, chain.mean_transition(0, 2), 0.05)
    for j, p in enumerate(chain.occupation(1.0, 0)):
        assert_mean(early == j, p, 0.2)


def test_rates_hundreds_of_orders_apart():
    """A row of wells: `T(0 -> n) = sum_k sum_{l <= k} w_l / (w_k q_{k,k+1})`, w the weights of
    detailed balance."""
    rng = np.random.default_rng(4)
    up, back = -rng.uniform(0, 400, size=(2, 9))
    logs = np.full((10, 10), -np.inf)
    logs[np.arange(9), np.arange(1, 10)], logs[np.arange(1, 10), np.arange(9)] = up, back
    chain = chain_of(logs, log=True)
    weights = np.concatenate([[0], np.cumsum(up - back)])
    share = np.exp(weights - np.logaddexp.reduce(weights))
    seen = share > 0
    np.testing.assert_allclose(chain.stationary[seen], share[seen], rtol=1e-9)
    for k in range(1, 4):
        terms = [weights[m] - weights[n] - up[n] for n in range(k) for m in range(n + 1)]
        expected = np.logaddexp.reduce(terms)
        assert expected < 700
        assert math.log(chain.mean_transition(0, k)) == pytest.approx(expected, abs=1e-9)


# Gaussian noise


def passage_ratio(drift, chain, i, j, noise):
    """The exact mean time between two minima over the chain's; a wall far up the outer slope."""
    a, b = chain.minima[i, 0], chain.minima[j, 0]
    ends = {"upper": b, "reflecting": -5.0} if b > a else {"lower": b, "reflecting": 5.0}
    exact = first_passage(drift, noise, start=a, **ends)
    return math.exp(exact.log_mean - math.log(chain.mean_transition(i, j)))


@pytest.mark.parametrize(
    ("landscape", "drift", "noises", "order", "most"),
    [
        (ls.DoubleWell(), double_well, (0.05, 0.025, 0.0125), 1, 0.006),
        (ls.StyblinskiTang(1), styblinski_tang, (2.0, 1.0, 0.5), 1, 0.008),
        # the third derivative of a WellChain jumps at minima and saddles: the first correction is
        # of order sqrt(D)
        (THREE, chain_of_wells(THREE), (0.004, 0.002, 0.001), 0.5, 0.05),
    ],
)
def test_exact_mean_first_passage_is_approached(landscape, drift, noises, order, most):
    """The excess over the chain's mean falls with D, at its order; between neighbours and
    beyond."""
    excess = []
    for noise in noises:
        chain = gaussian_chain(
            landscape, minima=landscape.minima, saddles=landscape.saddles, diffusion=noise
        )
        pairs = [(0, 1), (0, chain.num - 1), (chain.num - 1, 0)]
        excess.append([passage_ratio(drift, chain, i, j, noise) - 1 for i, j in pairs])
    excess = np.array(excess)
    np.testing.assert_allclose(np.log2(excess[:-1] / excess[1:]), order, atol=0.15)
    assert np.abs(excess[-1]).max() < most


@pytest.mark.slow
def test_four_wells_and_detailed_balance():
    four = ls.WellChain(
        [-2.0, -1.2, 0.0, 0.9, 2.0, 2.6, 3.5],
        [0.1, 0.6, 0.0, 0.5, 0.15, 0.7, -0.05],
        [5.0, -4.0, 4.0, -3.0, 3.0, -5.0, 6.0],
        stiffness=2.0,
        dim=2,
    )
    noise = 0.01
    chain = gaussian_chain(four, minima=four.minima, saddles=four.saddles, diffusion=noise)
    weights = np.array([5.0, 4.0, 3.0, 6.0]) ** -0.5 * np.exp(
        -np.array([0.1, 0.0, 0.15, -0.05]) / noise
    )
    # positions are kept in float32
    np.testing.assert_allclose(chain.stationary, weights / weights.sum(), rtol=1e-5)
    flow = weights[:, None] * chain.rates
    np.testing.assert_allclose(flow, flow.T, rtol=1e-4)
    assert np.count_nonzero(chain.rates) == 6
    one = ls.WellChain(four.positions, four.heights, four.curvatures)
    same = gaussian_chain(one, minima=one.minima, saddles=one.saddles, diffusion=noise)
    # what lies across is the same everywhere
    np.testing.assert_allclose(same.rates, chain.rates, rtol=1e-4)
    assert passage_ratio(chain_of_wells(one), chain, 0, 3, noise) == pytest.approx(1, abs=0.2)


def test_rates_are_those_of_the_law_of_one_well():
    for friction in (None, 0.7):
        chain = gaussian_chain(
            THREE, minima=THREE.minima, saddles=THREE.saddles, diffusion=0.05, friction=friction
        )
        law = kramers_law(
            THREE, minimum=THREE.minima[1], saddles=THREE.saddles, diffusion=0.05, friction=friction
        )
        assert chain.rates[1].sum() == pytest.approx(law.rate, rel=1e-9)
        np.testing.assert_allclose(chain.next_probabilities[1, [0, 2]], law.shares, rtol=1e-9)
        assert chain.mean_residence[1] == pytest.approx(law.mean, rel=1e-9)


def test_independent_coordinates():
    """Two dimensions of Styblinski-Tang: the occupation is the product, and wells across the corner
    are not neighbours."""
    line, plane = ls.StyblinskiTang(1), ls.StyblinskiTang(2)
    one, two = (
        gaussian_chain(landscape, minima=landscape.minima, saddles=landscape.saddles, diffusion=6.0)
        for landscape in (line, plane)
    )
    assert np.count_nonzero(two.rates) == 8
    t = one.mean_residence[1]
    np.testing.assert_allclose(
        two.occupation(t, 0), np.kron(*[one.occupation(t, 0)] * 2), rtol=1e-6
    )
    np.testing.assert_allclose(two.stationary, np.kron(one.stationary, one.stationary), rtol=1e-6)


def test_barriers_beyond_float64():
    well = ls.DoubleWell(dim=2)
    chain = gaussian_chain(well, minima=well.minima, saddles=well.saddles, diffusion=1e-4)
    assert chain.mean_residence[0] == math.inf
    np.testing.assert_allclose(chain.stationary, 0.5, rtol=1e-9)
    np.testing.assert_allclose(chain.next_probabilities, [[0, 1], [1, 0]])
    assert "not defined" not in repr(chain)


@pytest.mark.slow
def test_curved_ways_down():
    """Mueller and Brown's surface: three minima, two saddles far from any straight line; detailed
    balance."""
    surface, noise = ls.MuellerBrown(), 5.0
    chain = gaussian_chain(surface, minima=surface.minima, saddles=surface.saddles, diffusion=noise)
    assert {tuple(pair) for pair in np.argwhere(chain.rates > 0)} == {
        (0, 2),
        (2, 0),
        (1, 2),
        (2, 1),
    }
    lows = [stationary_point(surface, x) for x in surface.minima]
    logs = np.array([-np.log(low.eigenvalues).sum() / 2 - low.loss / noise for low in lows])
    np.testing.assert_allclose(
        chain.stationary, np.exp(logs - np.logaddexp.reduce(logs)), rtol=1e-9
    )


def test_saddles_that_are_given_their_wells():
    found = gaussian_chain(THREE, minima=THREE.minima, saddles=THREE.saddles, diffusion=0.05)
    given = gaussian_chain(
        THREE, minima=THREE.minima, saddles=THREE.saddles, diffusion=0.05, connects=[(1, 0), (1, 2)]
    )
    np.testing.assert_array_equal(given.log_rates, found.log_rates)


# jumps


@pytest.mark.parametrize("alpha", [1.3, 1.7])
def test_the_exact_exit_from_a_well_is_approached(alpha):
    """Mean time and side of the exit from the middle of three wells, by the nonlocal equation, at
    epsilon halved twice."""
    errors = []
    for epsilon in (0.4, 0.2, 0.1):
        chain = stable_chain([-1.5, 0.0, 2.0], [-0.8, 1.2], alpha=alpha, epsilon=epsilon)
        exact = stable_exit(
            lambda x: -6 * x * (1.2 - x) * (x + 0.8),
            alpha=alpha,
            epsilon=epsilon,
            start=0.0,
            lower=-0.8,
            upper=1.2,
        )
        errors.append(
            [
                exact.mean / chain.mean_residence[1] - 1,
                exact.upper_probability / chain.next_probabilities[1, 2] - 1,
            ]
        )
    errors = np.abs(errors)
    assert (errors[1:] < 0.7 * errors[:-1]).all()
    assert errors[-1].max() < 0.06


def test_stable_rates_are_the_levy_measure_of_a_well():
    places, tops, alpha, size = (
        np.array([-2.0, -0.5, 1.0, 3.0]),
        np.array([-1.0, 0.3, 2.0]),
        1.4,
        0.05 * 1.7,
    )
    chain = stable_chain(places, tops, alpha=alpha, epsilon=0.05, scale=1.7)
    constant = math.gamma(1 + alpha) * math.sin(math.pi * alpha / 2) / math.pi
    ends = np.concatenate([[-np.inf], tops, [np.inf]])
    for i in range(4):
        for j in set(range(4)) - {i}:
            mass = quad(
                lambda y, x=places[i]: constant * abs(y - x) ** (-1 - alpha), ends[j], ends[j + 1]
            )[0]
            assert chain.rates[i, j] == pytest.approx(size**alpha * mass, rel=1e-7)
    column = stable_chain(places[:, None], tops[:, None], alpha=alpha, epsilon=0.05, scale=1.7)
    np.testing.assert_array_equal(column.log_rates, chain.log_rates)
    np.testing.assert_array_equal(
        np.asarray(ls.WellChain([0, 1, 2], [0, 1, 0], [8, -4, 8]).minima).shape, (2, 1)
    )


@pytest.mark.slow
def test_simulated_jumps_between_wells():
    """From the middle of four wells: which minimum's neighbourhood is entered first. Epsilon is
    small, not zero: its own correction is allowed 5% of each probability."""
    wells = ls.WellChain(
        [-2.0, -1.0, 0.0, 1.2, 2.4, 3.2, 4.0],
        [0, 1, 0, 1, 0, 1, 0],
        [8, -4, 8, -4, 6, -5, 8],
        marked=1,
    )
    chain = stable_chain(wells.minima, wells.saddles, alpha=1.3, epsilon=0.05)
    num, sets = (
        4000,
        [ls.Ball(radius=0.3, center=place) for place in wells.minima[jnp.array([0, 2, 3])]],
    )
    kernel = ls.EulerMaruyama(ls.SGD(wells, ls.StableComponents(alpha=1.3), epsilon=0.05), dt=0.02)
    result = ls.simulate_escape(kernel, ls.ExitSets(*sets), wells.minima[1], num=num, seed=1)
    for label, j in ((1, 0), (2, 2), (3, 3)):
        p = chain.next_probabilities[1, j]
        assert_close(
            np.mean(result.label == label),
            math.sqrt(p * (1 - p) / num) + 0.01 * p,
            p,
            0.35,
            f"well {j}",
        )
    assert_close(
        result.time.mean(),
        chain.mean_residence[1] * (1 / math.sqrt(num) + 0.01),
        chain.mean_residence[1],
        0.2,
    )


# errors


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"alpha": 2.0}, ValueError, "alpha = 2 is Gaussian and has no jumps"),
        ({"alpha": 2.5}, ValueError, r"alpha must lie in \(0, 2\]"),
        ({"epsilon": 0.0}, ValueError, "epsilon must be positive"),
        ({"saddles": [0.0, 0.5]}, ValueError, "2 minima and 2 saddles are no row of wells"),
        ({"minima": [0.0], "saddles": np.zeros(0)}, ValueError, "saddles is empty"),
        ({"saddles": [1.5]}, ValueError, "must ascend in turns"),
        ({"minima": [1.0, -1.0]}, ValueError, "must ascend in turns"),
        ({"minima": np.zeros((2, 2))}, ValueError, r"must have shape \(n,\) or \(n, 1\)"),
        ({"minima": "two"}, TypeError, "minima must be a number or an array"),
    ],
)
def test_bad_wells_on_a_line(change, kind, message):
    arguments = {"minima": [-1.0, 1.0], "saddles": [0.0], "alpha": 1.5, "epsilon": 0.1} | change
    with pytest.raises(kind, match=message):
        stable_chain(arguments.pop("minima"), arguments.pop("saddles"), **arguments)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"landscape": "wells"}, TypeError, "landscape must be a Landscape"),
        ({"diffusion": -1.0}, ValueError, "diffusion must be positive"),
        ({"friction": 0.0}, ValueError, "friction must be positive"),
        ({"minima": THREE.minima[:1]}, ValueError, "needs two minima or more"),
        (
            {"minima": THREE.minima[:2]},
            ValueError,
            r"leads to the minimum at \[3\.\], which is not "
            r"in the list of 2",
        ),
        (
            {"minima": jnp.array([[-1.0], [-0.95], [3.0]])},
            ValueError,
            "two of the minima lead to the same point",
        ),
        (
            {"saddles": THREE.minima[:1]},
            ValueError,
            "has 0 negative eigenvalues: a saddle of a chain has one",
        ),
        ({"minima": THREE.saddles}, ValueError, "has 1 negative eigenvalues: a minimum has none"),
        ({"saddles": jnp.zeros(1)}, ValueError, r"saddles must have shape \(n, 1\)"),
        ({"connects": [(0, 1)]}, ValueError, "two numbers of minima for each of the 2 saddles"),
        ({"connects": [(0, 1), (1, 3)]}, ValueError, "numbered from 0 to 2"),
        ({"connects": [(0, 0), (1, 2)]}, ValueError, "joins two different minima"),
    ],
)
def test_bad_wells_of_a_loss(change, kind, message):
    arguments = {
        "landscape": THREE,
        "minima": THREE.minima,
        "saddles": THREE.saddles,
        "diffusion": 0.05,
    } | change
    with pytest.raises(kind, match=message):
        gaussian_chain(arguments.pop("landscape"), **arguments)


def test_saddles_that_are_no_way_are_refused():
    def ring(x):
        """A ring-shaped valley, highest opposite to its minimum, and two wells across."""
        tilt = (x[0] + 1) ** 2 + x[1] ** 2
        return 4 * (x[0] ** 2 + x[1] ** 2 - 1) ** 2 + 0.1 * tilt + (x[2] ** 2 - 1) ** 2 / 4

    def falling(x):
        """A cubic with its top at 2, and two wells across."""
        return x[0] ** 2 - x[0] ** 3 / 3 + (x[1] ** 2 - 1) ** 2 / 4

    wells = jnp.array([[-1.0, 0.0, -1.0], [-1.0, 0.0, 1.0]])
    horseshoe = ls.from_function(ring, dim=3, minimum=wells[0])
    with pytest.raises(ValueError, match="from both sides: no way from one well to another"):
        gaussian_chain(horseshoe, minima=wells, saddles=[[1.0, 0.0, 1.0]], diffusion=0.01)
    wells = jnp.array([[0.0, -1.0], [0.0, 1.0]])
    slope = ls.from_function(falling, dim=2, minimum=wells[0])
    with pytest.raises(ValueError, match="reaches no minimum"):
        gaussian_chain(slope, minima=wells, saddles=[[2.0, 1.0]], diffusion=0.01)


def test_what_is_not_defined_for_a_chain_in_parts():
    chain = gaussian_chain(THREE, minima=THREE.minima, saddles=THREE.saddles[:1], diffusion=0.05)
    for quantity in ("stationary", "mean_transitions"):
        with pytest.raises(
            ValueError,
            match=r"the chain is disconnected.*wells 0 1 \| 2 are not "
            r"joined",
        ):
            getattr(chain, quantity)
    with pytest.raises(ValueError, match="well 2 has no way out"):
        _ = chain.next_probabilities
    assert chain.mean_residence[2] == math.inf
    assert "disconnected" in repr(chain)
    chain = chain_of(RATES)
    with pytest.raises(ValueError, match="j must be from 0 to 2"):
        chain.mean_transition(0, 3)
    with pytest.raises(ValueError, match="t must not be negative"):
        chain.occupation(-1.0, 0)
    with pytest.raises(ValueError, match="probabilities that sum to 1"):
        chain.occupation(1.0, [1.0, 1.0, 0.0])
