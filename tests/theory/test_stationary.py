"""Stationary covariances of SGD with momentum: closed forms, the algorithm's own response, scipy,
and simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov
from statistical import assert_mean

import levysde as ls
from levysde.theory import kesten_index, regression_covariance, sgd_covariance

HESSIAN = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.4]])
# does not commute with the Hessian
NOISE = np.array([[1.0, -0.4, 0.2], [-0.4, 0.5, 0.1], [0.2, 0.1, 2.0]])


def algorithm(w, m, g, eta, mu, nesterov):
    m = mu * m + g
    return w - eta * (g + mu * m if nesterov else m), m


def responded(hessian, noise, eta, mu, nesterov, num):
    """The covariance of (w, m) as the sum over the past of what one iteration's noise has become:
    the algorithm, run."""
    d = len(hessian)
    w, m = algorithm(
        np.zeros((d, d)), np.zeros((d, d)), np.linalg.cholesky(noise), eta, mu, nesterov
    )
    total = np.zeros((2 * d, 2 * d))
    for _ in range(num):
        both = np.vstack([w, m])
        total += both @ both.T
        w, m = algorithm(w, m, hessian @ w, eta, mu, nesterov)
    return total


@pytest.mark.parametrize("mu", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("eta", [1e-6, 0.1, 0.9])
def test_closed_form_in_one_dimension(mu, eta):
    """Liu, Ziyin, Ueda 2021; without momentum `eta C / (h (2 - eta h))`."""
    found = sgd_covariance([[2.0]], [[0.7]], learning_rate=eta, momentum=mu)
    expected = eta * 0.7 / (2 * (1 - mu) * (2 - eta * 2 / (1 + mu)))
    assert found.position[0, 0] == pytest.approx(expected, rel=1e-9)
    if mu == 0:
        # m is the gradient h w + n
        assert found.momentum[0, 0] == pytest.approx(4 * expected + 0.7, rel=1e-9)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("mu", "eta"), [(0.0, 0.5), (0.5, 0.6), (0.9, 0.3)])
def test_the_algorithm_and_scipy(mu, eta, nesterov):
    found = sgd_covariance(HESSIAN, NOISE, learning_rate=eta, momentum=mu, nesterov=nesterov)
    np.testing.assert_allclose(
        found.joint, responded(HESSIAN, NOISE, eta, mu, nesterov, 2000), rtol=1e-9, atol=1e-12
    )
    if not nesterov:
        eye = np.eye(3)
        step = np.block([[eye - eta * HESSIAN, -eta * mu * eye], [HESSIAN, mu * eye]])
        kick = np.vstack([-eta * eye, eye])
        np.testing.assert_allclose(
            found.joint, solve_discrete_lyapunov(step, kick @ NOISE @ kick.T), rtol=1e-9, atol=1e-12
        )


def test_many_dimensions_and_small_steps():
    """eta -> 0: `(1 - mu)(H V + V H) = eta C`, to first order in eta; in 200 dimensions."""
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.standard_normal((200, 200)))[0]
    h = np.geomspace(1e-3, 10, 200)
    root = rng.standard_normal((200, 20))
    found = sgd_covariance(
        (vectors * h) @ vectors.T, root @ root.T, learning_rate=1e-6, momentum=0.9
    )
    rotated = vectors.T @ root @ root.T @ vectors
    expected = vectors @ (1e-5 * rotated / (h[:, None] + h)) @ vectors.T
    np.testing.assert_allclose(found.position, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("mu", "nesterov", "most"),
    [(0.0, False, 2.0), (0.9, False, 3.8), (0.9, True, 3.8 / 2.8), (0.0, True, 2.0)],
)
def test_it_is_refused_just_where_the_algorithm_is_unstable(mu, nesterov, most):
    eta = most / 2.0  # largest curvature 2
    below = sgd_covariance(
        np.diag([0.1, 2.0]), np.eye(2), learning_rate=0.999 * eta, momentum=mu, nesterov=nesterov
    )
    assert np.linalg.eigvalsh(below.joint)[0] > -1e-9
    np.testing.assert_allclose(
        below.joint,
        responded(np.diag([0.1, 2.0]), np.eye(2), 0.999 * eta, mu, nesterov, 40000),
        rtol=1e-5,
        atol=1e-9,
    )
    with pytest.raises(
        ValueError,
        match=r"unstable: times the largest curvature 2 .* Take a "
        r"learning_rate below",
    ):
        sgd_covariance(
            np.diag([0.1, 2.0]),
            np.eye(2),
            learning_rate=1.001 * eta,
            momentum=mu,
            nesterov=nesterov,
        )
    w, m = np.ones(1), np.zeros(1)
    for _ in range(40000):
        w, m = algorithm(w, m, 2 * w, 1.001 * eta, mu, nesterov)
        if abs(w) > 1e3:
            break
    assert abs(w) > 1e3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("momentum", "nesterov", "eta"), [(None, False, 0.75), (0.8, False, 1.4), (0.8, True, 0.5)]
)
def test_simulated_optimiser_at_a_large_learning_rate(momentum, nesterov, eta):
    """`Momentum` and `SGD` stepped by dt = eta, many times the linear regime: covariances by 4000
    independent runs."""
    hessian, noise = HESSIAN[:2, :2], NOISE[:2, :2]
    well, root = ls.Quadratic(hessian=hessian), np.linalg.cholesky(noise)
    if momentum is None:
        dynamics = ls.SGD(well, ls.Brownian(), learning_rate=eta, scale=root)
    else:
        dynamics = ls.Momentum(
            well, ls.Brownian(), learning_rate=eta, momentum=momentum, nesterov=nesterov, scale=root
        )
    paths = ls.simulate_paths(
        ls.EulerMaruyama(dynamics, dt=eta),
        jnp.zeros(2),
        seed=3,
        num=4000,
        every=200,
        max_steps=1000,
    )
    x = np.asarray(paths.positions[:, 1:], np.float64)  # looks 200 steps apart
    expected = sgd_covariance(
        hessian, noise, learning_rate=eta, momentum=momentum or 0.0, nesterov=nesterov
    ).position
    for i, j in ((0, 0), (1, 1)):
        assert_mean((x[:, :, i] * x[:, :, j]).mean(1), expected[i, j], 0.08, f"{i}{j}")
    assert_mean((x.sum(2) ** 2).mean(1), expected.sum(), 0.1, "of the sum")


# regression


def test_regression_with_equal_inputs_and_its_end_where_the_tail_index_is_two():
    """A = s^2 I without momentum: `V = v I`, `v = (eta^2 s^2 sigma^2 / B) / (2 c B - c^2 B (B + d +
    1))`, c = eta s^2 / B."""
    dim, batch, scale = 3, 4, 0.7
    critical = 2 / (batch + dim + 1) * batch / scale**2
    for eta in (0.05, 0.5 * critical, 0.999 * critical):
        c = eta * scale**2 / batch
        found = regression_covariance(
            scale**2 * np.eye(dim), learning_rate=eta, batch_size=batch, label_noise=1.3
        ).position
        v = eta**2 * scale**2 * 1.3**2 / batch / (2 * c * batch - c**2 * batch * (batch + dim + 1))
        np.testing.assert_allclose(found, v * np.eye(dim), rtol=1e-7, atol=1e-9)
    assert kesten_index(
        dim=dim, learning_rate=critical, batch_size=batch, input_scale=scale
    ) == pytest.approx(2)
    with pytest.raises(ValueError, match="no stationary law of finite variance"):
        regression_covariance(
            scale**2 * np.eye(dim), learning_rate=1.001 * critical, batch_size=batch
        )


@pytest.mark.parametrize("nesterov", [False, True])
def test_regression_is_the_fixed_point_of_its_noise(nesterov):
    """Noise of the formula at the top of the file gives the covariance back, unequal inputs and
    momentum."""
    inputs, options = HESSIAN, {"learning_rate": 0.1, "momentum": 0.6, "nesterov": nesterov}
    found = regression_covariance(inputs, batch_size=3, label_noise=0.8, **options)
    v = found.position
    noise = (inputs @ v @ inputs + np.trace(inputs @ v) * inputs + 0.64 * inputs) / 3
    np.testing.assert_allclose(
        sgd_covariance(inputs, noise, **options).joint, found.joint, rtol=1e-9, atol=1e-12
    )


def test_regression_run():
    """The algorithm itself, with momentum, on fresh Gaussian inputs: 20000 runs of 150
    iterations."""
    eta, mu, batch, num = 0.1, 0.5, 2, 20000
    inputs = np.diag([1.5, 0.5])
    rng = np.random.default_rng(5)
    w, m = np.zeros((num, 2)), np.zeros((num, 2))
    for _ in range(150):
        a = rng.standard_normal((num, batch, 2)) * np.sqrt(np.diag(inputs))
        residual = np.einsum("nbi,ni->nb", a, w) - rng.standard_normal((num, batch))
        w, m = algorithm(w, m, np.einsum("nbi,nb->ni", a, residual) / batch, eta, mu, False)
    found = regression_covariance(inputs, learning_rate=eta, batch_size=batch, momentum=mu)
    for i in (0, 1):
        assert_mean(w[:, i] ** 2, found.position[i, i], 0.1, f"coordinate {i}")
        assert_mean(m[:, i] ** 2, found.momentum[i, i], 0.1, f"momentum {i}")


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"hessian": np.diag([1.0, 0.0])}, ValueError, "flat direction"),
        ({"hessian": np.diag([1.0, -1.0])}, ValueError, "hessian must be positive definite"),
        ({"hessian": np.array([[1.0, 0.5], [0.0, 1.0]])}, ValueError, "hessian must be symmetric"),
        ({"hessian": np.ones(2)}, ValueError, r"hessian must have shape \(d, d\)"),
        (
            {"gradient_covariance": np.eye(3)},
            ValueError,
            r"gradient_covariance must have shape \(2, 2\)",
        ),
        (
            {"gradient_covariance": np.diag([1.0, -1.0])},
            ValueError,
            "gradient_covariance must have no negative eigenvalue",
        ),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be positive"),
        ({"momentum": 1.0}, ValueError, r"momentum must lie in \[0, 1\)"),
        ({"nesterov": 1}, TypeError, "nesterov must be True or False"),
        ({"hessian": "wide"}, TypeError, "hessian must be a number or an array"),
    ],
)
def test_bad_input(change, kind, message):
    arguments = {
        "hessian": np.eye(2),
        "gradient_covariance": np.eye(2),
        "learning_rate": 0.1,
    } | change
    with pytest.raises(kind, match=message):
        sgd_covariance(arguments.pop("hessian"), arguments.pop("gradient_covariance"), **arguments)


def test_traced_input_is_refused():
    with pytest.raises(TypeError, match="traced by JAX"):
        jax.jit(lambda h: sgd_covariance(h, np.eye(2), learning_rate=0.1))(jnp.eye(2))
