"""Momentum against the algorithms, exact covariances, and the response of an averaged noise to a
jump."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.linalg import expm, solve_continuous_lyapunov, solve_discrete_lyapunov

import levysde as ls
from levysde.errors import PrecisionWarning
from levysde.theory import escape_law, exit_response, jump_response

pytestmark = pytest.mark.slow

ETA = 0.05
MATRIX, CENTRE = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([0.3, -0.4])


def well(matrix=MATRIX, centre=None):
    return ls.Quadratic(hessian=np.asarray(matrix, float), minimum=centre)


def stable(alpha=1.5):
    return ls.StableComponents(alpha=alpha)


# the algorithm


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("averaged", [False, True])
def test_momentum_is_the_algorithm_to_rounding(nesterov, averaged, float64):
    """A step of dt = eta with increment `eta^(1/a) xi` is optax's step on the gradient `grad F - S
    xi`, noise and all."""
    factors = np.array([0.7, 1.3])
    dynamics = ls.Momentum(
        well(centre=CENTRE),
        stable(),
        learning_rate=ETA,
        nesterov=nesterov,
        averaged=averaged,
        scale=factors,
    )
    optimiser = optax.sgd(ETA * (0.1 if averaged else 1), 0.9, nesterov=nesterov)
    x = jnp.array([1.0, -2.0])
    state, memory = dynamics.init(x), optimiser.init(x)
    for noise in np.random.default_rng(0).standard_normal((100, 2)):
        state = dynamics.step(state, jnp.asarray(ETA), jnp.asarray(noise * ETA ** (1 / 1.5)))
        update, memory = optimiser.update(dynamics.landscape.gradient(x) - factors * noise, memory)
        x = optax.apply_updates(x, update)
        np.testing.assert_allclose(state.x, x, rtol=0, atol=1e-14)


def test_rates_and_gains(float64):
    by_factor = ls.Momentum(well(), stable(), learning_rate=ETA, momentum=0.8)
    assert by_factor.forgetting_rate == pytest.approx(-np.log(0.8) / ETA)
    assert by_factor.gain == pytest.approx(5)
    for same in (
        ls.Momentum(well(), stable(), learning_rate=ETA, forgetting_rate=-np.log(0.8) / ETA),
        ls.Momentum(well(), stable(), epsilon=ETA ** (1 / 3), forgetting_rate=-np.log(0.8) / ETA),
        ls.Momentum(well(), stable(), epsilon=ETA ** (1 / 3), momentum=0.8),
    ):
        assert same.forgetting_rate == pytest.approx(float(by_factor.forgetting_rate))
        assert same.gain == pytest.approx(float(by_factor.gain))
    assert (
        ls.Momentum(well(), stable(0.8), epsilon=0.1, forgetting_rate=3.0, averaged=True).gain == 1
    )


# the equation


def linear_step(dynamics, dt):
    """The step's matrices: `state' = A state + B increment`, state being (x, m)."""
    dim = dynamics.landscape.dim

    def step(flat, increment):
        new = dynamics.step(
            dynamics.init(flat[:dim])._replace(m=flat[dim:]), jnp.asarray(dt), increment
        )
        return jnp.concatenate([new.x, new.m])

    zeros = jnp.zeros(2 * dim), jnp.zeros(dim)
    return (np.asarray(jax.jacfwd(step, argnums)(*zeros)) for argnums in (0, 1))


@pytest.mark.parametrize("beta", [0.3, 0.9])
@pytest.mark.parametrize("curvature", [0.5, 8.0])
def test_stationary_variance_of_the_algorithm(beta, curvature, float64):
    """`eta C / (h (1 - beta) (2 - eta h / (1 + beta)))` (Liu, Ziyin, Ueda 2021)."""
    dynamics = ls.Momentum(
        well([[curvature]]), ls.Brownian(), learning_rate=ETA, momentum=beta, scale=1.7
    )
    a, b = linear_step(dynamics, ETA)
    variance = solve_discrete_lyapunov(a, b @ b.T * ETA)[0, 0]
    expected = ETA * 1.7**2 / (curvature * (1 - beta) * (2 - ETA * curvature / (1 + beta)))
    assert variance == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("nesterov", [False, True])
def test_small_steps_tend_to_the_underdamped_equation(nesterov, float64):
    """Flow and stationary covariance at three dt, with rate and gain kept: first order to those of
    the equation (heavy ball's covariance second)."""
    dynamics = ls.Momentum(
        well(),
        ls.Brownian(),
        epsilon=0.3,
        forgetting_rate=3.0,
        averaged=True,
        nesterov=nesterov,
        scale=[1.0, 0.5],
    )
    drift = np.block([[np.zeros((2, 2)), -np.eye(2)], [3.0 * MATRIX, -3.0 * np.eye(2)]])
    noise = np.vstack([np.zeros((2, 2)), -3.0 * 0.3 * np.diag([1.0, 0.5])])
    flow, covariance = expm(2.0 * drift), solve_continuous_lyapunov(drift, -noise @ noise.T)
    errors = []
    for num in (200, 400, 800):
        a, b = linear_step(dynamics, 2.0 / num)
        stationary = solve_discrete_lyapunov(a, b @ b.T * 2.0 / num)
        errors.append(
            [
                np.abs(np.linalg.matrix_power(a, num) - flow).max(),
                np.abs(stationary - covariance)[:2, :2].max(),
            ]
        )
    errors = np.array(errors)
    assert (errors[0] < 0.1 * np.array([np.abs(flow).max(), covariance[:2, :2].max()])).all()
    orders = np.log2(errors[:-1] / errors[1:])
    np.testing.assert_allclose(orders[:, 0], 1, atol=0.1)
    np.testing.assert_allclose(orders[:, 1], 1 if nesterov else 2, atol=0.1)


# the response to a jump


def path_after_a_jump(beta, decay, gradient, num):
    x = m = 0.0
    path = []
    for k in range(num):
        m = beta * m + (1 - beta) * ((decay * x if gradient == "averaged" else 0.0) - (k == 0))
        x -= m + (decay * x if gradient == "raw" else 0.0)
        path.append(x)
    return np.array(path)


@pytest.mark.parametrize("gradient", ["averaged", "raw"])
@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("share", [1e-3, 0.01, 0.3, 0.7, 0.97])
def test_jump_response_is_the_extreme_of_the_path(beta, gradient, share):
    decay = share * (2 if gradient == "raw" else 2 * (1 + beta) / (1 - beta))
    path = path_after_a_jump(beta, decay, gradient, 5000)
    forward, backward = jump_response(beta, decay, gradient=gradient)
    assert forward == pytest.approx(path.max(), rel=1e-9)
    assert backward == pytest.approx(max(0.0, -path.min()), rel=1e-9, abs=1e-15)


def test_jump_response_formula_and_limits():
    n, c = np.arange(1, 500), 0.98
    formula = np.max(0.1 * (c**n - 0.9**n) / (c - 0.9))
    assert jump_response(0.9, 0.02, gradient="raw").forward == pytest.approx(formula, rel=1e-12)
    assert jump_response(0.9, 0.02, gradient="raw").backward == 0
    for gradient in ("raw", "averaged"):
        assert jump_response(0.9, 1e-7, gradient=gradient).forward == pytest.approx(1, abs=2e-5)
        assert jump_response(0.9, 0.02, gradient=gradient).forward < 0.8
    double = (1 - 0.9**0.5) ** 2 / 0.1  # where the two roots meet
    near = [
        jump_response(0.9, double * (1 + e), gradient="averaged").forward for e in (-1e-6, 0, 1e-6)
    ]
    np.testing.assert_allclose(near, near[1], rtol=1e-5)


CASES = {  # momentum's arguments, curvature, whether the jump comes back on the other side
    "averaged, slow": ({"averaged": True, "learning_rate": 0.02}, 1.0, False),
    "averaged, oscillating": ({"averaged": True, "learning_rate": 0.2}, 1.0, True),
    "raw, oscillating": ({"learning_rate": 0.02}, 1.0, True),
    "raw, short": ({"learning_rate": 0.01, "momentum": 0.3}, 2.0, False),
    "long": ({"averaged": True, "learning_rate": 0.001, "momentum": 0.999}, 1.0, True),
}


@pytest.mark.parametrize("case", CASES)
def test_escape_law_follows_the_flow(case):
    """From (-0.3, 2): an oscillating jump to the right may leave on the left, and does so first
    when that end is near."""
    arguments, curvature, comes_back = CASES[case]
    dynamics = ls.Momentum(well([[curvature]], [0.0]), stable(), scale=0.1, **arguments)
    eta, low, high = arguments["learning_rate"], 0.3, 2.0
    law = escape_law(dynamics, ls.Box(lower=[-low], upper=[high]), dt=eta, check=False)
    gain, beta = float(dynamics.gain), arguments.get("momentum", 0.9)
    forward, backward = jump_response(beta, eta * curvature * gain, gradient="averaged")
    assert (backward > 0) == comes_back
    with np.errstate(divide="ignore"):
        right, left = (
            np.min([a / forward, np.divide(b, backward)]) for a, b in ((high, low), (low, high))
        )
    distance = np.array([right, left]) / (0.1 * gain * float(dynamics.epsilon))
    np.testing.assert_allclose(np.sort(law.ray_distance), np.sort(distance), rtol=1e-4)
    if comes_back:
        assert right < high / forward  # it leaves on the other side
    rays = dynamics.driver.levy_rays(1, 1, 0)
    rate = np.sum(rays.weights * rays.tail(distance, np.arange(2)))
    assert law.rate == pytest.approx(rate, rel=1e-3)
    assert law.response == "flow"


def test_law_in_several_dimensions():
    """Components noise, a diagonal well: each coordinate answers by its own curvature."""
    curvature, scale = np.array([0.3, 2.0, 30.0]), np.array([0.05, 0.1, 0.2])
    dynamics = ls.Momentum(
        well(np.diag(curvature)), stable(), learning_rate=0.02, averaged=True, scale=scale
    )
    law = escape_law(dynamics, ls.Box(lower=-np.ones(3), upper=np.ones(3)), dt=0.02, check=False)
    forward = np.array(
        [jump_response(0.9, 0.02 * h, gradient="averaged").forward for h in curvature]
    )
    distance = 1 / (forward * scale * float(dynamics.epsilon))
    np.testing.assert_allclose(np.sort(law.ray_distance), np.sort(np.tile(distance, 2)), rtol=1e-4)


def test_law_does_not_depend_on_units():
    """Loss in other units with eta and S to match, and the position in others: the same law, in
    steps."""
    rates = []
    for loss, length in ((1.0, 1.0), (1e6, 1.0), (1.0, 1e-4), (1e-5, 1e3)):
        curvature, eta = loss / length**2, 0.02 * length**2 / loss
        dynamics = ls.Momentum(
            well([[curvature]]), stable(), learning_rate=eta, scale=loss / length * 0.1
        )
        law = escape_law(
            dynamics, ls.Box(lower=[-0.3 * length], upper=[2.0 * length]), dt=eta, check=False
        )
        rates.append(law.rate * eta)
    np.testing.assert_allclose(rates, rates[0], rtol=1e-3)


class RawGradient(ls.Momentum):
    """Gradient descent with averaged noise, `n <- beta n + (1-beta) xi`, the gradient itself
    raw."""

    def settled(self, x):
        return self.init(x)

    def step(self, state, dt, increment):
        kick = self.epsilon * self.scale.apply(increment, state.x)
        noise = state.m - jnp.expm1(-self.forgetting_rate * dt) * (kick - state.m)
        return state._replace(x=state.x - dt * self.landscape.gradient(state.x) + noise, m=noise)


def test_raw_gradient_and_averaged_noise():
    """The formula printed in terms of c = 1 - eta h alone."""
    inner = ls.SGD(well([[1.0]]), stable(), epsilon=0.1)
    dynamics = RawGradient(
        inner.landscape,
        inner.driver,
        epsilon=0.1,
        forgetting_rate=-np.log(0.9) / 0.02,
        averaged=True,
    )
    basin = ls.Ball(radius=1.0, center=jnp.zeros(1))
    ratio = (
        escape_law(dynamics, basin, dt=0.02, check=False).rate
        / escape_law(inner, basin, check=False).rate
    )
    assert ratio == pytest.approx(jump_response(0.9, 0.02, gradient="raw").forward ** 1.5, rel=1e-4)


def test_a_flow_that_grows_or_never_ends_is_refused(monkeypatch):
    dynamics = ls.Momentum(
        well(np.diag([1.0, 400.0])), stable(), epsilon=0.1, forgetting_rate=10.0, averaged=True
    )
    basin = ls.Ball(radius=1.0, center=jnp.zeros(2))
    with pytest.raises(ValueError, match=r"dt = 0\.3 is too coarse.*grows by a factor"):
        escape_law(dynamics, basin, dt=0.3, check=False)
    with pytest.raises(ValueError, match="Give the step at which to follow it"):
        escape_law(dynamics, basin, check=False)
    monkeypatch.setattr(exit_response, "LONGEST", 100)
    slow = ls.Momentum(well(np.eye(3)), stable(), epsilon=0.1, forgetting_rate=1e-3, averaged=True)
    with pytest.raises(ValueError, match="not back at rest 100 steps"):
        escape_law(slow, ls.Ball(radius=1.0, center=jnp.zeros(3)), dt=1e-3, check=False)


def test_with_epsilon():
    dynamics = ls.Momentum(well([[1.0]]), stable(), epsilon=0.1, forgetting_rate=5.0, averaged=True)
    other = ls.Momentum(well([[1.0]]), stable(), epsilon=0.3, forgetting_rate=5.0, averaged=True)
    basin = ls.Ball(radius=1.0, center=jnp.zeros(1))
    law = escape_law(dynamics, basin, dt=0.02, check=False).with_epsilon(0.3)
    assert law.rate == pytest.approx(escape_law(other, basin, dt=0.02, check=False).rate, rel=1e-4)
    assert np.isnan(law.skeleton_bias(0.01))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ls.Momentum(None, stable(), epsilon=0.1), "landscape must be a Landscape"),
        (lambda: ls.Momentum(well(), "stable", epsilon=0.1), "driver must be a Driver"),
        (lambda: ls.Momentum(well(), stable()), "exactly one of epsilon and learning_rate"),
        (
            lambda: ls.Momentum(well(), stable(), learning_rate=-1.0),
            "learning_rate must be positive",
        ),
        (
            lambda: ls.Momentum(well(), stable(), learning_rate=0.1, momentum=1.0),
            "strictly between 0 and 1, not 1.0",
        ),
        (
            lambda: ls.Momentum(well(), stable(), learning_rate=0.1, momentum=0.0),
            "momentum must be positive",
        ),
        (
            lambda: ls.Momentum(well(), stable(), learning_rate=0.1, momentum="big"),
            "momentum must be a number",
        ),
        (
            lambda: ls.Momentum(well(), stable(), learning_rate=0.1, forgetting_rate=-2.0),
            "forgetting_rate must be positive",
        ),
        (
            lambda: ls.Momentum(
                well(), stable(), learning_rate=0.1, forgetting_rate=2.0, momentum=0.9
            ),
            "one of momentum and forgetting_rate",
        ),
        (
            lambda: ls.Momentum(well(), stable(), learning_rate=0.1, nesterov=1),
            "nesterov must be True or False",
        ),
        (
            lambda: ls.Momentum(well(), stable(), learning_rate=0.1, averaged="no"),
            "averaged must be True or False",
        ),
        (
            lambda: ls.Momentum(well(), stable(), learning_rate=0.1, scale=np.ones(3)),
            "does not fit d = 2",
        ),
        (
            lambda: ls.Momentum(well(), stable(0.9), epsilon=0.1),
            r"stand for no learning rate.*Give forgetting_rate=1.0 with averaged",
        ),
        (
            lambda: ls.Momentum(well(), stable(0.9), epsilon=0.1, forgetting_rate=1.0),
            "Give learning_rate, or averaged=True",
        ),
        (
            lambda: jump_response(1.0, 0.1, gradient="raw"),
            "momentum must lie strictly between 0 and 1",
        ),
        (lambda: jump_response(0.9, 0.0, gradient="raw"), "decay must be positive"),
        (lambda: jump_response(0.9, 2.5, gradient="raw"), "it must be below 2"),
        (lambda: jump_response(0.9, 38.1, gradient="averaged"), "it must be below 38"),
        (lambda: jump_response(0.9, 0.1, gradient="mean"), "gradient must be"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_momentum_that_float32_rounds_is_told():
    """float32 makes 1 - momentum 1.19e-7 of 1e-7."""
    well, options = ls.Quadratic(hessian=jnp.eye(1)), {"learning_rate": 1e-3}
    with pytest.warns(PrecisionWarning, match=r"changes 1 - momentum by 19\.2%"):
        ls.Momentum(well, ls.Brownian(), momentum=1 - 1e-7, **options)
    with pytest.raises(ValueError, match="is rounded to 1 by float32"):
        ls.Momentum(well, ls.Brownian(), momentum=1 - 1e-9, **options)
