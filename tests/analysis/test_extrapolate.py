"""Richardson extrapolation: the fit on made-up levels, and on exits with a known limit."""

import jax.numpy as jnp
import numpy as np
import pytest
from statistical import assert_close

import levysde as ls
from levysde.analysis.extrapolate import _fitted

STEPS, ERRORS = np.array([0.4, 0.2, 0.1]), np.array([0.01, 0.02, 0.03])


def fitted(means, order=0.5, steps=STEPS, deviations=ERRORS):
    return _fitted(
        steps, means, deviations, np.full(len(steps), 10), (1,) * len(steps), order, 0.95
    )


def test_fit_is_exact_without_noise():
    found = fitted(2 + 3 * STEPS**0.5)
    assert found.mean.value == pytest.approx(2, rel=1e-12)
    assert found.bias.value == pytest.approx(3 * 0.1**0.5, rel=1e-12)
    assert found.p_value == pytest.approx(1)
    assert "off by" in found.warnings[0]
    two = fitted(2 + 3 * STEPS[:2], order=1.0, steps=STEPS[:2], deviations=ERRORS[:2])
    assert two.mean.value == pytest.approx(2, rel=1e-12)
    assert np.isnan(two.p_value)
    assert "not tested" in repr(two)


@pytest.mark.slow
def test_intervals_cover_and_the_fit_test_is_fair():
    rng = np.random.default_rng(0)
    found = [fitted(2 + 0.3 * STEPS**0.5 + ERRORS * rng.normal(size=3)) for _ in range(4000)]
    inside = np.array([run.mean.low < 2 < run.mean.high for run in found], float)
    assert_close(inside.mean(), np.sqrt(0.95 * 0.05 / 4000), 0.95, 0.02)
    covered = np.array([run.bias.low < 0.3 * 0.1**0.5 < run.bias.high for run in found], float)
    assert_close(covered.mean(), np.sqrt(0.95 * 0.05 / 4000), 0.95, 0.02)
    assert_close(np.mean([run.p_value for run in found]), np.sqrt(1 / 12 / 4000), 0.5, 0.05)


def test_a_wrong_order_is_noticed():
    found = fitted(2 + 3 * STEPS**0.5, order=2.0, deviations=ERRORS / 10)
    assert found.p_value < 1e-3
    assert "do not follow" in found.warnings[0]


@pytest.mark.slow
def test_brownian_exit_by_euler_alone():
    """Three coarse steps; their means are 9 to 18% late, the limit is right."""
    ball, flat = ls.Ball(radius=1.0, center=jnp.zeros(1)), ls.Quadratic(hessian=jnp.zeros((1, 1)))
    dynamics = ls.Langevin(flat, diffusion=0.5)
    found = ls.extrapolate_escape(
        lambda dt: (ls.EulerMaruyama(dynamics, dt=dt), ball),
        jnp.zeros(1),
        steps=[0.02, 0.01, 0.005],
        num=100_000,
        seed=1,
    )
    assert found.order == 0.5
    spread = (found.mean.high - found.mean.low) / 2 / 1.96
    assert_close(found.mean.value, spread, 1.0, 0.06)
    assert found.means[-1] > 1.06
    assert found.p_value > 1e-4
    assert len(set(found.seeds)) == 3
    again = ls.extrapolate_escape(
        lambda dt: (ls.EulerMaruyama(dynamics, dt=dt), ball),
        jnp.zeros(1),
        steps=[0.02, 0.01],
        num=[500, 1000],
        seed=1,
    )
    np.testing.assert_array_equal(again.nums, [500, 1000])


def test_default_orders():
    from levysde.analysis.extrapolate import _order

    ball, flat = ls.Ball(radius=1.0, center=jnp.zeros(1)), ls.Quadratic(hessian=jnp.zeros((1, 1)))
    gaussian, light = (
        ls.Langevin(flat, diffusion=0.5),
        ls.SGD(flat, ls.StableComponents(1.25), epsilon=1.0),
    )
    heavy = ls.SGD(flat, ls.StableComponents(0.8), epsilon=1.0)
    plain = ls.EulerMaruyama(gaussian, dt=0.1)
    assert _order([(plain, ball)]) == 0.5
    assert _order([(ls.Bridged(plain, ball), ball)]) == 1
    assert _order([(ls.EulerMaruyama(light, dt=0.1), ball)]) == pytest.approx(0.8)
    assert _order([(ls.EulerMaruyama(heavy, dt=0.1), ball)]) == 1
    assert _order([(ls.EulerMaruyama(light, dt=0.1), ls.Shifted(ball, light, dt=0.01))]) == 1


@pytest.mark.slow
def test_another_mean_and_bad_input():
    box, flat = (
        ls.Box(lower=-jnp.ones(1), upper=jnp.array([0.5])),
        ls.Quadratic(hessian=jnp.zeros((1, 1))),
    )
    dynamics = ls.Langevin(flat, diffusion=0.5)

    def make(dt):
        return ls.Bridged(ls.EulerMaruyama(dynamics, dt=dt), box), box

    found = ls.extrapolate_escape(
        make,
        jnp.zeros(1),
        steps=[0.02, 0.01],
        num=50_000,
        seed=2,
        statistic=lambda result: result.label == 2,
    )
    spread = (found.mean.high - found.mean.low) / 2 / 1.96
    assert_close(found.mean.value, spread, 2 / 3, 0.06)
    arguments = {"steps": [0.02, 0.01], "num": 100, "seed": 0}
    for change, kind, match in (
        ({"steps": [0.01, 0.02]}, ValueError, "that fall"),
        ({"steps": [0.01]}, ValueError, "two or more"),
        ({"steps": [0.02, -0.01]}, ValueError, "positive"),
        ({"num": [10, 20, 30]}, ValueError, "num must be one number, or 2"),
        ({"num": 1}, ValueError, "num must be at least 2"),
        ({"order": 0.0}, ValueError, "order must be positive"),
        ({"confidence": 2}, ValueError, "confidence"),
        ({"statistic": lambda result: 1.0}, ValueError, "one number a trajectory"),
    ):
        with pytest.raises(kind, match=match):
            ls.extrapolate_escape(make, jnp.zeros(1), **(arguments | change))
    with pytest.raises(TypeError, match="must give a kernel and a domain"):
        ls.extrapolate_escape(lambda dt: box, jnp.zeros(1), **arguments)
    with pytest.raises(TypeError, match="make must be a function"):
        ls.extrapolate_escape(3, jnp.zeros(1), **arguments)
