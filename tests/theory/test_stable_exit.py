"""The nonlocal equation for exits under stable noise: known values, closed forms, the Gaussian
quadrature, simulation."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from statistical import assert_mean

import levysde as ls
from levysde.theory import first_passage, getoor_mean_exit, stable_ball_exit, stable_exit


def pull(x):
    return -x


def double_well(x):
    return -4 * (x**3 - x)


@pytest.mark.parametrize(
    ("alpha", "epsilon", "mean"),
    [
        (1.5, 1.0, 0.948764),
        (1.5, 0.5, 3.82717),
        (1.5, 0.2, 23.8551),
        (1.5, 0.1, 75.1263),
        (1.8, 0.2, 79.0971),
    ],
)
def test_ornstein_uhlenbeck(alpha, epsilon, mean):
    """Values on which finite differences and a Galerkin method of another make had agreed."""
    found = stable_exit(pull, alpha=alpha, epsilon=epsilon, start=0.0, lower=-1.0, upper=1.0)
    assert found.mean == pytest.approx(mean, rel=1e-5)
    assert found.error < 1e-8
    assert found.upper_probability == pytest.approx(0.5, rel=1e-9)


def upwind(drift, alpha, epsilon, start, ends, diffusion=0.0):
    """Mean and probability of the upper end by a random walk on cells: jumps from centre to cell at
    their exact rates, drift to the next cell. Two grids extrapolated to size 0, where the error is
    of first order."""
    found = []
    for n in (801, 1603):
        h = (ends[1] - ends[0]) / n
        i = np.arange(n)
        x = ends[0] + h * (i + 0.5)
        tail = epsilon**alpha * ls.noise.levy_constant(alpha) / alpha
        k = np.arange(1, n)
        rate = np.append(0, tail * (((k - 0.5) * h) ** -alpha - ((k + 0.5) * h) ** -alpha))
        walk = rate[np.abs(i[:, None] - i)]
        near = (
            2 * tail * alpha * (h / 2) ** (2 - alpha) / (2 - alpha) / 2
        )  # variance of the jumps within a cell, halved
        up = np.maximum(drift(x), 0) / h + (near + diffusion) / h**2
        down = np.maximum(-drift(x), 0) / h + (near + diffusion) / h**2
        above = tail * ((n - i - 0.5) * h) ** -alpha
        leaving = above + above[::-1]
        walk[i[:-1], i[1:]] += up[:-1]
        walk[i[1:], i[:-1]] += down[1:]
        leaving[-1], leaving[0], above[-1] = (
            leaving[-1] + up[-1],
            leaving[0] + down[0],
            above[-1] + up[-1],
        )
        walk -= np.diag(walk.sum(1) + leaving)
        both = np.linalg.solve(walk, -np.stack([np.ones(n), above], 1))
        found.append([np.interp(start, x, column) for column in both.T])
    return 2 * np.array(found[1]) - found[0]


@pytest.mark.parametrize(
    ("drift", "alpha", "epsilon", "start", "ends", "diffusion"),
    [
        (pull, 0.5, 0.2, 0.0, (-1, 1), 0.0),
        (pull, 0.8, 0.1, 0.3, (-1, 1.2), 0.0),
        (pull, 1.0, 0.2, 0.0, (-1, 1), 0.0),
        (double_well, 0.8, 0.5, -1.0, (-1.5, 1.5), 0.0),
        (double_well, 0.5, 0.3, -1.0, (-2, 0), 0.0),
        (lambda x: 1 + 0 * x, 0.7, 0.5, 0.2, (-1, 1), 0.0),
        (pull, 0.7, 0.3, 0.2, (-1, 1), 0.2),
        (np.sin, 1.3, 0.5, 0.2, (-1, 1), 0.1),
    ],
)
def test_a_walk_on_cells(drift, alpha, epsilon, start, ends, diffusion):
    """Where the drift points inwards and alpha <= 1 too; nothing of the two methods is shared."""
    found = stable_exit(
        drift,
        alpha=alpha,
        epsilon=epsilon,
        start=start,
        lower=ends[0],
        upper=ends[1],
        diffusion=diffusion,
    )
    mean, side = upwind(drift, alpha, epsilon, start, ends, diffusion)
    assert found.mean == pytest.approx(mean, rel=2e-3)
    assert found.upper_probability == pytest.approx(side, abs=2e-3)
    assert found.error < 1e-6


@pytest.mark.parametrize(("alpha", "epsilon"), [(1.2, 0.3), (1.5, 0.15), (1.9, 0.3)])
def test_inward_drift_agrees_with_the_ball(alpha, epsilon):
    interval = stable_exit(
        double_well, alpha=alpha, epsilon=epsilon, start=0.2, lower=-1.0, upper=1.0
    )
    ball = stable_ball_exit(double_well, alpha=alpha, epsilon=epsilon, dim=1, start=0.2)
    for name in ("mean", "second_moment"):
        assert getattr(interval, name) == pytest.approx(
            getattr(ball, name), rel=max(1e-8, 3 * ball.error)
        ), name
    assert ball.error < 1e-4


def near_lower(drift, alpha, distances):
    return [
        stable_exit(drift, alpha=alpha, epsilon=0.5, start=-1 + s, lower=-1.0, upper=1.0).mean
        for s in distances
    ]


@pytest.mark.slow
def test_the_mean_jumps_where_the_drift_points_inwards_below_index_one():
    """With an outward drift it falls as the distance, without drift as its power alpha / 2, and
    above 1 it is continuous."""
    inward = near_lower(pull, 0.5, (1e-4, 1e-6, 1e-8))
    assert inward[2] > 1
    assert inward[2] == pytest.approx(inward[1], rel=2e-3)
    # the rest as s^(1 - alpha)
    assert (inward[0] - inward[1]) / (inward[1] - inward[2]) == pytest.approx(10, rel=0.05)
    outward = near_lower(lambda x: x, 0.5, (1e-6, 1e-8))
    assert outward[0] / outward[1] == pytest.approx(100, rel=0.01)
    none = near_lower(lambda x: 0 * x, 0.5, (1e-6, 1e-8))
    assert none[0] / none[1] == pytest.approx(100**0.25, rel=1e-3)
    above = near_lower(pull, 1.5, (1e-6, 1e-8))
    assert above[0] / above[1] == pytest.approx(100**0.75, rel=0.01)


@pytest.mark.slow_cases("1.05")
@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.8, 0.95, 1.0, 1.05, 1.2, 1.5, 1.8, 1.9])
def test_small_noise(alpha):
    """The layers at the ends are down to 1e-57 thin; the mean times the rate of single jumps is
    near 1, and every drift of a double well is solved to 1e-5."""
    from levysde.noise import levy_constant

    found = stable_exit(pull, alpha=alpha, epsilon=0.002, start=0.0, lower=-1.0, upper=1.0)
    assert found.error < 1e-6
    assert found.mean * 0.002**alpha * 2 * levy_constant(alpha) / alpha == pytest.approx(
        1, abs=0.02
    )
    crossing = stable_exit(
        double_well, alpha=alpha, epsilon=0.05, start=-1.0, lower=-1.5, upper=1.5
    )
    assert crossing.error < 1e-5


def test_gaussian_part():
    """Added to Gaussian noise it is more of it; beside vanishing jumps it is all there is."""

    def drift(x):
        return x - x**3 + 0.2 * np.cos(3 * x)

    ends = {"start": 0.3, "lower": -1.2, "upper": 1.5}
    exact = first_passage(drift, 0.05, **ends)
    for alpha, epsilon in ((2.0, 0.2), (1.5, 1e-12), (0.8, 1e-22)):
        gauss = 0.01 if alpha == 2 else 0.05
        found = stable_exit(drift, alpha=alpha, epsilon=epsilon, diffusion=gauss, **ends)
        for name in ("mean", "second_moment", "upper_probability"):
            assert getattr(found, name) == pytest.approx(getattr(exact, name), rel=1e-7), name
    without = stable_exit(drift, alpha=0.8, epsilon=0.3, **ends).mean
    small = [
        stable_exit(drift, alpha=0.8, epsilon=0.3, diffusion=d, **ends).mean
        for d in (1e-12, 1e-3, 1e-2)
    ]
    assert small[0] == pytest.approx(without, rel=1e-8)
    assert without > small[1] > small[2]


def test_ornstein_uhlenbeck_in_a_disc():
    found = stable_ball_exit(pull, alpha=1.5, epsilon=0.5, dim=2)
    assert found.mean == pytest.approx(1.98425, rel=1e-5)
    assert math.isnan(found.upper_probability)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 1.0, 1.5, 1.9, 2.0])
@pytest.mark.parametrize("dim", [1, 2, 3, 10])
def test_no_drift(alpha, dim):
    found = stable_ball_exit(
        lambda r: 0 * r, alpha=alpha, epsilon=0.7, dim=dim, start=0.5, radius=2.0
    )
    start = np.eye(1, dim)[0] * 0.5
    expected = getoor_mean_exit(alpha=alpha, dim=dim, radius=2.0, epsilon=0.7, start=start)
    assert found.mean == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 1.2, 1.7])
def test_an_interval_is_a_ball_and_may_be_anywhere(alpha):
    ball = stable_ball_exit(lambda r: r, alpha=alpha, epsilon=0.8, dim=1, start=0.25)
    interval = stable_exit(
        lambda x: (x - 3) * 1.0, alpha=alpha, epsilon=1.6, start=3.5, lower=1.0, upper=5.0
    )
    assert interval.mean == pytest.approx(ball.mean, rel=max(1e-7, 10 * ball.error))
    assert interval.second_moment == pytest.approx(
        ball.second_moment, rel=max(1e-7, 10 * ball.error)
    )


def test_side_without_drift():
    """P(up) is a regularised incomplete beta function; at alpha = 2 it is (1 + x) / 2."""
    for alpha, expected in ((2.0, 0.65), (1.0, 0.5 + math.asin(0.3) / math.pi)):
        found = stable_exit(
            lambda x: 0 * x, alpha=alpha, epsilon=1.0, start=0.3, lower=-1.0, upper=1.0
        )
        assert found.upper_probability == pytest.approx(expected, rel=1e-12)


def test_gaussian_noise_agrees_with_quadrature():
    """alpha = 2 is Brownian motion of variance 2t: D = epsilon^2, and nothing of the two methods is
    shared."""

    def drift(x):
        return x - x**3 + 0.2 * np.cos(3 * x)

    spectral = stable_exit(drift, alpha=2.0, epsilon=0.4, start=0.3, lower=-1.2, upper=1.5)
    exact = first_passage(drift, 0.16, start=0.3, lower=-1.2, upper=1.5)
    for name in ("mean", "second_moment", "upper_probability"):
        assert getattr(spectral, name) == pytest.approx(getattr(exact, name), rel=1e-8), name


def test_radial_gaussian_drift():
    """alpha = 2 in d = 3 with drift -r: T = int_r^1 e^(s^2/2D) s^-2 int_0^s e^(-u^2/2D) u^2 / D du
    ds."""
    from scipy.integrate import quad

    noise = 0.36

    def inner(s):
        return quad(lambda u: math.exp((s * s - u * u) / 2 / noise) * (u / s) ** 2 / noise, 0, s)[0]

    found = stable_ball_exit(pull, alpha=2.0, epsilon=0.6, dim=3, start=0.2)
    assert found.mean == pytest.approx(quad(inner, 0.2, 1.0)[0], rel=1e-9)


def test_survival_has_the_moments_and_falls():
    found = stable_exit(pull, alpha=1.5, epsilon=0.5, start=0.2, lower=-1.0, upper=1.0)
    times = np.linspace(0, 80, 16_001)
    alive = found.survival(times)
    assert (np.diff(alive[20:]) < 0).all()
    assert alive[40] < 1
    assert np.trapezoid(alive, times) == pytest.approx(found.mean, rel=1e-4)
    assert np.trapezoid(2 * times * alive, times) == pytest.approx(found.second_moment, rel=1e-3)
    late = found.survival([40.0, 41.0])
    assert math.log(late[0] / late[1]) == pytest.approx(found.decay_rate, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "start", "gauss"), [(0.6, -0.999, 0.0), (1.4, 0.2, 0.05)])
def test_simulated_exits(alpha, start, gauss):
    """From just inside an inward edge below index 1, where the mean jumps; and with a Gaussian part
    (late by .3%)."""
    epsilon, well = 0.5, ls.Quadratic(hessian=jnp.eye(1))
    stable = ls.StableComponents(alpha=alpha)
    driver = (
        ls.DriverSum(stable, (ls.Brownian(), math.sqrt(2 * gauss) / epsilon)) if gauss else stable
    )
    kernel = ls.EulerMaruyama(ls.SGD(well, driver, epsilon=epsilon), dt=1e-4)
    run = ls.simulate_escape(
        kernel, ls.Ball(radius=1.0, center=jnp.zeros(1)), jnp.array([start]), num=20_000, seed=5
    )
    exact = stable_exit(
        pull, alpha=alpha, epsilon=epsilon, start=start, lower=-1.0, upper=1.0, diffusion=gauss
    )
    assert_mean(run.time, exact.mean, 0.05)
    assert_mean((run.first_outside[:, 0] > 0).astype(float), exact.upper_probability, 0.06)


@pytest.mark.slow
def test_simulated_exits_from_a_slanted_well():
    """Mean, side and survival of 20,000 paths; exits late by .2% are a quarter of a standard
    error."""
    alpha, epsilon, start, dt = 1.5, 0.6, 0.3, 1e-4
    well = ls.from_function(lambda x: jnp.sum(x**2 / 2 - 0.3 * x), dim=1, minimum=jnp.array([0.3]))
    kernel = ls.EulerMaruyama(
        ls.SGD(well, ls.StableComponents(alpha=alpha), epsilon=epsilon), dt=dt
    )
    run = ls.simulate_escape(
        kernel, ls.Ball(radius=1.0, center=jnp.zeros(1)), jnp.array([start]), num=20_000, seed=11
    )
    exact = stable_exit(
        lambda x: 0.3 - x, alpha=alpha, epsilon=epsilon, start=start, lower=-1.0, upper=1.0
    )
    assert_mean(run.time, exact.mean, 0.04)
    up = (run.first_outside[:, 0] > 0).astype(float)
    assert_mean(up, exact.upper_probability, 0.03)
    for t in (0.5, 2.0, 4.0):
        assert_mean((run.time > t).astype(float), float(exact.survival([t])[0]), 0.1)


@pytest.mark.slow
def test_what_does_not_converge_gives_no_number():
    with pytest.raises(
        RuntimeError,
        match=r"mean exit time did not converge.*larger "
        r"epsilon.*first_passage",
    ):
        # a barrier of 50 D
        stable_exit(pull, alpha=2.0, epsilon=0.1, start=0.0, lower=-1.0, upper=1.0)
    with pytest.raises(RuntimeError, match=r"mean exit time did not converge.*drift smooth"):
        stable_exit(
            lambda x: 50 * np.sin(300 * x),
            alpha=0.5,
            epsilon=0.01,
            start=0.0,
            lower=-1.0,
            upper=1.0,
        )
    with pytest.raises(
        RuntimeError,
        match=r"mean exit time did not converge.*too small beside the drift.*larger "
        r"epsilon",
    ):
        stable_ball_exit(pull, alpha=1.5, epsilon=0.01, dim=2)
    with pytest.raises(RuntimeError, match=r"alpha < 1 the answer jumps"):
        stable_ball_exit(pull, alpha=0.6, epsilon=0.3, dim=2)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"start": 1.0}, ValueError, "start = 1 must lie between"),
        ({"start": 1 - 1e-13}, ValueError, "nearer to an end than 1e-12"),
        ({"diffusion": -0.1}, ValueError, "diffusion = -0.1 must not be negative"),
        ({"alpha": 2.5}, ValueError, "alpha"),
        ({"epsilon": 0.0}, ValueError, "epsilon must be positive"),
        ({"drift": 1.0}, TypeError, "drift must be a function, not"),
        ({"drift": lambda x: np.full_like(x, np.nan)}, ValueError, "drift is nan at x"),
    ],
)
def test_bad_input(change, kind, message):
    arguments = {"alpha": 1.5, "epsilon": 0.5, "start": 0.0, "lower": -1.0, "upper": 1.0} | change
    with pytest.raises(kind, match=message):
        stable_exit(arguments.pop("drift", pull), **arguments)


def test_bad_ball():
    with pytest.raises(ValueError, match=r"start = 1.* below radius = 1"):
        stable_ball_exit(pull, alpha=1.5, epsilon=0.5, dim=2, start=1.0)
    with pytest.raises(ValueError, match="must not be negative"):
        stable_ball_exit(pull, alpha=1.5, epsilon=0.5, dim=2).survival([-1.0])
