"""Any first-order equation: the same steps and laws as a gradient flow that it equals, exact means
where there are some, and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad_vec
from scipy.linalg import expm, solve_continuous_lyapunov

import levysde as ls
from levysde.kernels import OrnsteinUhlenbeck, TamedEuler
from levysde.theory import exact_exit

HESSIAN = jnp.array([1.0, 2.0])
WELL = ls.Quadratic(hessian=HESSIAN)
BALL = ls.Ball(radius=1.0, center=jnp.zeros(2))
TURNING = jnp.array([[1.0, 2.0], [-2.0, 0.5]])
DRIVERS = {"brownian": (ls.Brownian(), 0.7), "components": (ls.StableComponents(alpha=1.5), 0.2)}


def linear(driver=DRIVERS["components"][0], epsilon=0.2, matrix=TURNING, **changes):
    arguments = {"dim": 2, "epsilon": epsilon, "attractor": jnp.zeros(2)} | changes
    return ls.SDE(lambda x: -(matrix @ x), driver, **arguments)


@pytest.mark.parametrize("kernel", [ls.EulerMaruyama, TamedEuler])
@pytest.mark.parametrize("name", DRIVERS)
def test_the_drift_of_a_well_gives_the_exits_of_the_well(kernel, name):
    driver, epsilon = DRIVERS[name]
    sgd = ls.SGD(WELL, driver, epsilon=epsilon)
    sde = ls.SDE(lambda x: -HESSIAN * x, driver, dim=2, epsilon=epsilon, attractor=jnp.zeros(2))
    runs = [
        ls.simulate_escape(kernel(dynamics, dt=0.05), BALL, jnp.zeros(2), num=64, seed=3)
        for dynamics in (sgd, sde)
    ]
    np.testing.assert_array_equal(runs[0].time, runs[1].time)
    np.testing.assert_array_equal(runs[0].first_outside, runs[1].first_outside)


def test_the_escape_law_is_that_of_the_well():
    driver, epsilon = DRIVERS["components"]
    sde = linear(driver, epsilon, jnp.diag(HESSIAN))
    sgd = ls.SGD(WELL, driver, epsilon=epsilon)
    expected, found = (ls.escape_law(d, BALL, check=False) for d in (sgd, sde))
    assert found.rate == expected.rate
    assert found.stiffness == pytest.approx(2.0)


def test_a_flow_that_turns_carries_landings_out():
    """After a jump along the first axis the flow of a fast rotation sweeps the point over the short
    side of an ellipse, in which the straight jump would stay."""
    fast = jnp.array([[0.05, 5.0], [-5.0, 0.05]])
    sde = linear(ls.StableComponents(alpha=1.5), 0.1, fast)
    thin = ls.Ellipsoid(matrix=jnp.diag(jnp.array([0.25, 4.0])), center=jnp.zeros(2))
    circle = ls.Ball(radius=0.5, center=jnp.zeros(2))
    swept = ls.escape_law(sde, thin, check=False).rate
    assert swept == pytest.approx(ls.escape_law(sde, circle, check=False).rate, rel=0.08)


def test_the_exact_step_of_a_flow_that_turns(float64):
    kernel = OrnsteinUhlenbeck(linear(ls.Brownian(), 0.7), dt=0.3)
    matrix = np.asarray(TURNING, float)
    decay = expm(-0.3 * matrix)
    x = jnp.array([0.4, -1.2])
    np.testing.assert_allclose(kernel.noiseless(x), decay @ x, rtol=1e-12)
    covariance = quad_vec(
        lambda s: 0.49 * expm(-s * matrix) @ expm(-s * matrix).T, 0, 0.3, epsabs=1e-13
    )[0]
    np.testing.assert_allclose(kernel.mixing @ kernel.mixing.T, covariance, rtol=1e-10)
    stationary = solve_continuous_lyapunov(matrix, 0.49 * np.eye(2))
    np.testing.assert_allclose(
        decay @ stationary @ decay.T + kernel.mixing @ kernel.mixing.T, stationary, rtol=1e-10
    )


def test_the_rest_of_a_drift_that_turns_is_of_second_order(float64):
    def drift(x):
        return -(TURNING.astype(x.dtype) @ x) - x**3

    sde = ls.SDE(drift, ls.Brownian(), dim=2, attractor=jnp.zeros(2))
    start = jnp.array([0.8, 0.6])

    def end(steps):
        kernel = OrnsteinUhlenbeck(sde, dt=1 / steps)
        return jax.lax.fori_loop(0, steps, lambda _, x: kernel.noiseless(x), start)

    finest = end(1280)
    errors = [float(jnp.abs(end(n) - finest).max()) for n in (10, 20, 40)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.25)


def test_an_exact_mean_with_noise_that_depends_on_the_position():
    """`dX = s X dW`: log X is Brownian with drift -s^2/2, whose exit from (-a, a) is known."""
    s, a = 0.75, np.log(2)
    sde = ls.SDE(jnp.zeros_like, ls.Brownian(), dim=1, scale=lambda x: x, epsilon=s)
    domain = ls.Box(lower=[0.5], upper=[2.0])
    found = exact_exit(sde, domain, start=[1.0])
    up = (1 - np.exp(-a)) / (np.exp(a) - np.exp(-a))  # exp(log X) is a martingale
    mean = (a * (1 - up) - a * up) / (s**2 / 2)
    assert found.mean == pytest.approx(mean, rel=1e-8)


@pytest.mark.slow
def test_the_exact_mean_is_the_simulated_one():
    sde = ls.SDE(
        lambda x: -x,
        ls.Brownian(),
        dim=1,
        scale=lambda x: jnp.sqrt(0.5 + x**2),
        epsilon=0.7,
        attractor=jnp.zeros(1),
    )
    ball = ls.Ball(radius=1.0, center=jnp.zeros(1))
    exact = exact_exit(sde, ball).mean
    kernel = ls.Bridged(ls.EulerMaruyama(sde, dt=0.002), ball)
    run = ls.simulate_escape(kernel, ball, jnp.zeros(1), num=20_000, seed=1)
    assert abs(run.time.mean() - exact) < 5 * run.time.std() / np.sqrt(20_000) + 0.004 * exact
    assert run.time.std() / np.sqrt(20_000) < 0.01 * exact


def test_without_an_attractor_it_runs_and_laws_say_what_is_missing():
    free = ls.SDE(
        lambda x: jnp.stack([x[1], -x[0]]), ls.StableComponents(alpha=1.5), dim=2, epsilon=0.2
    )
    run = ls.simulate_escape(ls.EulerMaruyama(free, dt=0.05), BALL, jnp.zeros(2), num=64, seed=1)
    assert run.exited.all()
    with pytest.raises(ValueError, match=r"no attractor.*Type SDE\(drift, driver, dim=2"):
        ls.escape_law(free, BALL)
    paths = ls.simulate_paths(
        ls.EulerMaruyama(free, dt=0.05), jnp.zeros(2), max_steps=9, every=3, num=2, seed=1
    )
    assert np.isfinite(paths.positions).all()


def test_a_traced_drift_is_taken_as_it_is(float64):
    def end(strength):
        sde = ls.SDE(lambda x: -strength * x, ls.Brownian(), dim=1, attractor=jnp.zeros(1))
        kernel = ls.EulerMaruyama(sde, dt=0.1)
        return ls.sample_paths(kernel, jnp.ones(1), seed=0, num_steps=5)[-1, 0]

    h = 1e-6
    difference = (end(1.0 + h) - end(1.0 - h)) / (2 * h)
    np.testing.assert_allclose(jax.jit(jax.grad(end))(1.0), difference, rtol=1e-7)


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_a_rough_attractor_is_refused_in_every_unit(unit):
    def drift(x):
        return x - x**3 / unit**2

    with pytest.raises(ValueError, match="not zero, and vanishes near"):
        ls.SDE(drift, ls.Brownian(), dim=1, attractor=[0.8 * unit])
    near = ls.SDE(drift, ls.Brownian(), dim=1, attractor=[0.9995 * unit])
    np.testing.assert_allclose(near.attractor, unit, rtol=1e-6)


def test_a_large_coordinate_does_not_hide_another():
    def drift(x):
        return jnp.stack([1000 - x[0], x[1] - x[1] ** 3])

    with pytest.raises(ValueError, match="not zero"):
        ls.SDE(drift, ls.Brownian(), dim=2, attractor=[1000.0, 0.7])
    assert ls.SDE(drift, ls.Brownian(), dim=2, attractor=[1000.0, 1.0]).has_attractor


@pytest.mark.parametrize("drift", [lambda x: x**3, lambda x: -(x**2)])
def test_what_grows_beyond_the_derivative_is_not_stable(drift):
    with pytest.raises(ValueError, match="grows without noise"):
        ls.SDE(drift, ls.Brownian(), dim=1, attractor=[0.0])


def test_a_flat_attractor_is_one():
    assert ls.SDE(lambda x: -(x**3), ls.Brownian(), dim=1, attractor=[0.0]).has_attractor


@pytest.mark.parametrize(
    ("matrix", "dt"),
    [([[1.0, 2.0], [-2.0, 1.0]], 1000.0), ([[300.0, 0.0], [30.0, 1.0]], 1.0)],
)
def test_a_long_exact_step_of_a_drift_that_turns_is_finite(matrix, dt, float64):
    matrix = jnp.array(matrix)
    kernel = OrnsteinUhlenbeck(linear(ls.Brownian(), 0.7, matrix), dt=dt)
    covariance = quad_vec(
        lambda s: 0.49 * expm(-s * np.asarray(matrix)) @ expm(-s * np.asarray(matrix)).T,
        0,
        min(dt, 60.0),
        epsabs=1e-12,
        limit=20_000,
    )[0]
    found = (
        kernel.mixing @ kernel.mixing.T if kernel.mixing.ndim == 2 else jnp.diag(kernel.mixing**2)
    )
    np.testing.assert_allclose(found, covariance, rtol=1e-7, atol=1e-12)


def test_numbers_of_a_module_compile_nothing_new():
    class Pull(eqx.Module):
        strength: jax.Array

        def __call__(self, x):
            return -self.strength * x

    kernels = [
        ls.EulerMaruyama(
            ls.SDE(Pull(jnp.asarray(c)), ls.Brownian(), dim=2, attractor=jnp.zeros(2)), dt=0.1
        )
        for c in (1.0, 2.0)
    ]
    assert jax.tree.structure(kernels[0]) == jax.tree.structure(kernels[1])


def test_the_attractor_is_the_exact_zero(float64):
    sde = ls.SDE(lambda x: 2 - x**2, ls.Brownian(), dim=1, attractor=[1.4142])
    assert float(sde.attractor[0]) == pytest.approx(2**0.5, abs=2e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ls.SDE(lambda x: x[0], ls.Brownian(), dim=2), r"drift\(x\).*\(2,\)"),
        (lambda: ls.SDE(lambda x: x[:3] @ x, ls.Brownian(), dim=2), r"drift\(x\)"),
        (lambda: ls.SDE(lambda x: 1j * x, ls.Brownian(), dim=2), r"drift\(x\).*real"),
        (lambda: ls.SDE(-1.0, ls.Brownian(), dim=2), "drift must be a function"),
        (lambda: ls.SDE(ls.Brownian(), lambda x: -x, dim=2), "driver|drift"),
        (lambda: linear(attractor=[1.0, 0.0]), "the drift is .* not zero"),
        (lambda: linear(matrix=-TURNING), "grows without noise at the rate 0.75"),
        (lambda: linear(attractor=[0.0]), r"attractor must have shape \(2,\)"),
        (
            lambda: ls.SDE(lambda x: x / x, ls.Brownian(), dim=1, attractor=[0.0]),
            "the drift is .*nan.*must be finite",
        ),
        (lambda: linear(scale=lambda x: jnp.ones((3, 1))), "2 factors, or a matrix of 2 rows"),
        (lambda: linear(epsilon=0.0), "epsilon must be positive"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()
