"""The nonlocal equation for exits under stable noise: known values, closed forms, the Gaussian quadrature, simulation."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from statistical import assert_mean

import levysde as ls
from levysde.theory import first_passage, getoor_mean_exit, stable_ball_exit, stable_exit


def pull(x):
    return -x


@pytest.mark.parametrize(
    ("alpha", "epsilon", "mean"),
    [(1.5, 1.0, 0.948764), (1.5, 0.5, 3.82717), (1.5, 0.2, 23.8551), (1.5, 0.1, 75.1263), (1.8, 0.2, 79.0971)],
)
def test_ornstein_uhlenbeck(alpha, epsilon, mean):
    """Values on which finite differences and a Galerkin method of another make had agreed."""
    found = stable_exit(pull, alpha=alpha, epsilon=epsilon, start=0.0, lower=-1.0, upper=1.0)
    assert found.mean == pytest.approx(mean, rel=1e-5)
    assert found.error < 2e-5
    assert found.upper_probability == pytest.approx(0.5, rel=1e-9)


def test_ornstein_uhlenbeck_in_a_disc():
    found = stable_ball_exit(pull, alpha=1.5, epsilon=0.5, dim=2)
    assert found.mean == pytest.approx(1.98425, rel=1e-5)
    assert math.isnan(found.upper_probability)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 1.0, 1.5, 1.9, 2.0])
@pytest.mark.parametrize("dim", [1, 2, 3, 10])
def test_no_drift(alpha, dim):
    found = stable_ball_exit(lambda r: 0 * r, alpha=alpha, epsilon=0.7, dim=dim, start=0.5, radius=2.0)
    start = np.eye(1, dim)[0] * 0.5
    expected = getoor_mean_exit(alpha=alpha, dim=dim, radius=2.0, epsilon=0.7, start=start)
    assert found.mean == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 1.2, 1.7])
def test_an_interval_is_a_ball_and_may_be_anywhere(alpha):
    ball = stable_ball_exit(lambda r: r, alpha=alpha, epsilon=0.8, dim=1, start=0.25)
    interval = stable_exit(lambda x: (x - 3) * 1.0, alpha=alpha, epsilon=1.6, start=3.5, lower=1.0, upper=5.0)
    assert interval.mean == pytest.approx(ball.mean, rel=max(1e-7, 10 * ball.error))
    assert interval.second_moment == pytest.approx(ball.second_moment, rel=max(1e-7, 10 * ball.error))


def test_side_without_drift():
    """P(up) is a regularised incomplete beta function; at alpha = 2 it is (1 + x) / 2."""
    for alpha, expected in ((2.0, 0.65), (1.0, 0.5 + math.asin(0.3) / math.pi)):
        found = stable_exit(lambda x: 0 * x, alpha=alpha, epsilon=1.0, start=0.3, lower=-1.0, upper=1.0)
        assert found.upper_probability == pytest.approx(expected, rel=1e-12)


def test_gaussian_noise_agrees_with_quadrature():
    """alpha = 2 is Brownian motion of variance 2t: D = epsilon^2, and nothing of the two methods is shared."""

    def drift(x):
        return x - x**3 + 0.2 * np.cos(3 * x)

    spectral = stable_exit(drift, alpha=2.0, epsilon=0.4, start=0.3, lower=-1.2, upper=1.5)
    exact = first_passage(drift, 0.16, start=0.3, lower=-1.2, upper=1.5)
    for name in ("mean", "second_moment", "upper_probability"):
        assert getattr(spectral, name) == pytest.approx(getattr(exact, name), rel=1e-8), name


def test_radial_gaussian_drift():
    """alpha = 2 in d = 3 with drift -r: T = int_r^1 e^(s^2/2D) s^-2 int_0^s e^(-u^2/2D) u^2 / D du ds."""
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
def test_simulated_exits_from_a_slanted_well():
    """Mean, side and survival of 20,000 paths; exits late by .2% are a quarter of a standard error."""
    alpha, epsilon, start, dt = 1.5, 0.6, 0.3, 1e-4
    well = ls.from_function(lambda x: jnp.sum(x**2 / 2 - 0.3 * x), dim=1, minimum=jnp.array([0.3]))
    kernel = ls.EulerMaruyama(ls.SGD(well, ls.StableComponents(alpha=alpha), epsilon=epsilon), dt=dt)
    run = ls.simulate_escape(kernel, ls.Ball(radius=1.0, center=jnp.zeros(1)), jnp.array([start]), num=20_000, seed=11)
    exact = stable_exit(lambda x: 0.3 - x, alpha=alpha, epsilon=epsilon, start=start, lower=-1.0, upper=1.0)
    assert_mean(run.time, exact.mean, 0.04)
    up = (run.first_outside[:, 0] > 0).astype(float)
    assert_mean(up, exact.upper_probability, 0.03)
    for t in (0.5, 2.0, 4.0):
        assert_mean((run.time > t).astype(float), float(exact.survival([t])[0]), 0.1)


def test_what_does_not_converge_gives_no_number():
    with pytest.raises(
        RuntimeError, match=r"mean exit time did not converge.*too small beside the drift.*larger epsilon"
    ):
        stable_exit(pull, alpha=1.5, epsilon=0.01, start=0.0, lower=-1.0, upper=1.0)
    with pytest.raises(RuntimeError, match=r"alpha < 1 the answer jumps"):
        stable_exit(pull, alpha=0.6, epsilon=0.3, start=0.0, lower=-1.0, upper=1.0)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"start": 1.0}, ValueError, "start = 1 must lie between"),
        ({"alpha": 2.5}, ValueError, "alpha"),
        ({"epsilon": 0.0}, ValueError, "epsilon must be positive"),
        ({"drift": 1.0}, TypeError, "drift must be a function of arrays"),
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
