"""A reflecting wall: against the exact mean exit time of a reflected diffusion."""

import jax.numpy as jnp
import numpy as np
import pytest

import levysde as ls
from levysde.theory import first_passage

WALL = ls.half_space(normal=[-1.0], offset=0.0)  # x > 0
DOMAIN = ls.Box(lower=[-jnp.inf], upper=[1.0])
DRIFTLESS = ls.SDE(jnp.zeros_like, ls.Brownian(), dim=1)


def run(kernel, num, domain=DOMAIN):
    return ls.simulate_escape(kernel, domain, jnp.array([0.3]), num=num, seed=5, max_time=100.0)


def reflected(dt, sde=DRIFTLESS):
    return ls.Bridged(ls.Reflected(ls.EulerMaruyama(sde, dt=dt), WALL), DOMAIN)


def test_the_mean_of_reflected_brownian_motion():
    """`(1 - x^2)` from x, for `dX = dW` reflected at 0, exit at 1."""
    exact = first_passage(
        lambda x: 0 * x, 0.5, start=0.3, upper=1.0, lower=None, reflecting=0.0
    ).mean
    assert exact == pytest.approx(1 - 0.09, rel=1e-9)
    found = run(reflected(0.01), 4000)
    error = found.time.std() / 4000**0.5
    assert abs(found.time.mean() - exact) < 5 * error + 0.02
    assert error < 0.02
    assert found.last_inside.min() >= 0


@pytest.mark.slow
def test_with_a_drift_against_the_wall():
    sde = ls.SDE(lambda x: -1.0 + 0 * x, ls.Brownian(), dim=1)
    exact = first_passage(
        lambda x: -1.0 + 0 * x, 0.5, start=0.3, upper=1.0, lower=None, reflecting=0.0
    ).mean
    means = [run(reflected(dt, sde), 40_000).time for dt in (0.008, 0.002)]
    error = means[1].std() / 40_000**0.5
    assert abs(means[1].mean() - exact) < 5 * error + 0.01 * exact
    assert error < 0.01 * exact


@pytest.mark.parametrize(
    "wall",
    [ls.Ball(radius=1.0, center=jnp.zeros(2)), ls.Box(lower=[-1.0, -1.0], upper=[1.0, 1.0])],
    ids=["ball", "box"],
)
def test_no_jump_passes_the_wall(wall):
    sde = ls.SDE(jnp.zeros_like, ls.StableComponents(alpha=1.2), dim=2)
    kernel = ls.Reflected(ls.EulerMaruyama(sde, dt=0.1), wall)
    paths = ls.simulate_paths(kernel, jnp.zeros(2), max_steps=400, every=1, num=8, seed=2)
    x = np.asarray(paths.positions).reshape(-1, 2)
    radius = np.linalg.norm(x, axis=1) if isinstance(wall, ls.Ball) else np.abs(x).max(1)
    assert radius.max() <= 1
    assert radius.mean() > 0.3


@pytest.mark.parametrize("name", ["ball", "box"])
def test_a_long_jump_is_reflected_as_often_as_needed(name, float64):
    walls = {
        "ball": ls.Ball(radius=1.5, center=jnp.array([0.5])),
        "box": ls.Box(lower=[-1.0], upper=[2.0]),
    }
    still = ls.SDE(jnp.zeros_like, ls.Brownian(), dim=1)
    kernel = ls.Reflected(ls.EulerMaruyama(still, dt=0.1), walls[name])
    for jump in (-1000.3, -2.9, 0.4, 1.8, 5.2, 31.7, 1e6 + 0.25):
        expected = 0.1 + jump
        while not -1 <= expected <= 2:
            expected = 4 - expected if expected > 2 else -2 - expected
        found = kernel._back(jnp.array([0.1]), jnp.array([0.1 + jump]))
        np.testing.assert_allclose(found, [expected], atol=1e-9)


def test_a_start_behind_the_wall_is_told():
    kernel = ls.Reflected(ls.EulerMaruyama(DRIFTLESS, dt=0.1), WALL)
    with pytest.raises(ValueError, match=r"x0 = .* lies behind the wall of Reflected"):
        ls.simulate_escape(kernel, DOMAIN, jnp.array([-0.5]), num=4, seed=1, max_time=1.0)
    assert np.isnan(ls.sample_paths(kernel, jnp.array([-0.5]), seed=0, num_steps=2)[1:]).all()
    on_it = ls.simulate_escape(kernel, DOMAIN, jnp.zeros(1), num=4, seed=1, max_time=100.0)
    assert on_it.exited.all()


def test_bad_input():
    well = ls.Quadratic(hessian=jnp.eye(1))
    moving = ls.EulerMaruyama(ls.Underdamped(well, diffusion=0.1, friction=1.0), dt=0.1)
    with pytest.raises(TypeError, match="kernel must step an equation of first order"):
        ls.Reflected(moving, WALL)
    with pytest.raises(ValueError, match="points of 2 dimensions"):
        ls.Reflected(ls.EulerMaruyama(DRIFTLESS, dt=0.1), ls.Ball(radius=1.0, center=jnp.zeros(2)))
    with pytest.raises(TypeError, match="has no formula for its boundary"):
        ls.Reflected(ls.EulerMaruyama(DRIFTLESS, dt=0.1), ls.Predicate(lambda x: x[0] < 1, dim=1))
