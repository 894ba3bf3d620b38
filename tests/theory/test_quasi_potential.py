"""The quasi-potential: the loss where it is one, least actions, exact covariances, exit places by
brute force, exit times."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import minimize

import levysde as ls
from levysde.theory import first_passage, quasi_potential, sgd_covariance

DRIFT = np.array([[1.0, 2.0], [-1.5, 0.8]])  # turns: not a gradient
DIFFUSION = np.array([[1.0, 0.3], [0.3, 0.4]])
HESSIAN = np.array([[2.0, 0.6], [0.6, 1.0]])
FRICTION = np.array([[0.0, -1.0], [3.0, 0.7]])  # (x, v): x' = v, v' = -3 x - 0.7 v


def quadrature_covariance(drift, diffusion):
    """`int 2 exp(-J t) D exp(-J' t) dt`, by Simpson's rule."""
    step, num = 0.005, 8001
    one, flow, terms = expm(-step * drift), np.eye(len(drift)), []
    for _ in range(num):
        terms.append(2 * flow @ diffusion @ flow.T)
        flow = one @ flow
    weights = np.ones(num)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    return np.einsum("t,tij->ij", weights, np.array(terms)) * step / 3


def test_a_gradient_flow_climbs_its_loss():
    found, place = quasi_potential(HESSIAN), np.array([[0.3, -1.0], [2.0, 0.5]])
    np.testing.assert_allclose(
        found.value(place), np.sum(place @ HESSIAN * place, 1) / 2, rtol=1e-12
    )
    assert quasi_potential(HESSIAN, 0.5).value(place[0]) == pytest.approx(2 * found.value(place[0]))
    moved = quasi_potential(HESSIAN, center=[1.0, 2.0])
    assert moved.value(place[0] + [1, 2]) == pytest.approx(found.value(place[0]))


def test_a_diffusion_that_goes_with_the_hessian_sees_no_curvature():
    """D = eta H / (2 B): C = eta / (2 B), whatever H; a bowl shrunk with its curvature is left over
    B r^2 / (eta k)."""
    eta, batch, radius = 0.01, 8, 0.7
    for k in (1.0, 4.0, 9.0):
        found = quasi_potential(k * HESSIAN, eta / (2 * batch) * k * HESSIAN)
        cost = found.exit_cost(ls.Ball(radius=radius / math.sqrt(k), center=jnp.zeros(2)))
        assert cost == pytest.approx(batch * radius**2 / (eta * k), rel=1e-5)


@pytest.mark.parametrize(
    ("drift", "diffusion"), [(DRIFT, DIFFUSION), (FRICTION, np.diag([0.0, 0.7]))]
)
def test_stationary_covariance(drift, diffusion):
    np.testing.assert_allclose(
        quasi_potential(drift, diffusion).covariance,
        quadrature_covariance(drift, diffusion),
        rtol=1e-7,
        atol=1e-9,
    )


def test_friction_keeps_the_energy():
    """Noise on the velocity only: V is the energy."""
    found = quasi_potential(FRICTION, [0.0, 0.7])
    np.testing.assert_allclose(found.covariance, np.diag([1 / 3, 1]), rtol=1e-12, atol=1e-14)


def test_it_is_the_limit_of_the_algorithm():
    """SGD at small learning rates rests with covariance eta C, D half the covariance of its noise:
    order eta."""
    noise, gaps = 2 * DIFFUSION, []
    limit = quasi_potential(HESSIAN, DIFFUSION).covariance
    for eta in (0.04, 0.02, 0.01):
        gaps.append(
            np.abs(sgd_covariance(HESSIAN, noise, learning_rate=eta).position / eta - limit).max()
        )
    np.testing.assert_allclose(np.log2(np.array(gaps[:-1]) / gaps[1:]), 1, atol=0.05)


# actions


def action(points, dt, drift, diffusion):
    """`sum |S^-1 (x' + J x)|^2 dt / 4`, the velocity at midpoints; `points` `(n, d)`."""
    velocity, middle = np.diff(points, axis=0) / dt, (points[1:] + points[:-1]) / 2
    residual = velocity + middle @ drift.T
    return np.sum(residual * np.linalg.solve(diffusion, residual.T).T) * dt / 4


@pytest.mark.parametrize("end", [[1.0, 0.0], [-0.4, 0.9], [0.3, -2.0]])
def test_least_action_by_brute_force(end):
    """A path of 120 points from rest to the end, its discretised action minimised by scipy.
    Midpoints keep quadratic forms, so the least action is that of the equation, up to the finite
    time."""
    end, span, num = np.array(end), 12.0, 120
    dt = span / num
    found = quasi_potential(DRIFT, DIFFUSION)

    def cost(flat):
        points = np.vstack([np.zeros(2), flat.reshape(-1, 2), end])
        residual = np.diff(points, axis=0) / dt + (points[1:] + points[:-1]) / 2 @ DRIFT.T
        force = np.linalg.solve(DIFFUSION, residual.T).T / 2
        slope = np.zeros_like(points)
        slope[1:] += force + dt / 2 * force @ DRIFT
        slope[:-1] += -force + dt / 2 * force @ DRIFT
        return np.sum(residual * force) * dt / 2, slope[1:-1].ravel()

    start = np.linspace(0, 1, num + 1)[1:-1, None] * end
    best = minimize(
        cost,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20000, "maxfun": 40000, "ftol": 1e-14, "gtol": 1e-9},
    )
    assert best.fun == pytest.approx(found.value(end), rel=1e-5)
    along = found.path(end, np.linspace(span, 0, num + 1))
    np.testing.assert_allclose(best.x.reshape(-1, 2), along[1:-1], atol=0.01 * np.linalg.norm(end))


def test_the_path_has_the_action_of_the_value():
    found, end = quasi_potential(DRIFT, DIFFUSION, center=[0.5, -1.0]), np.array([2.0, 1.0])
    gaps = []
    for num in (500, 1000, 2000):
        points = found.path(end, np.linspace(25, 0, num + 1)) - [0.5, -1.0]
        gaps.append(action(points, 25 / num, DRIFT, DIFFUSION) - found.value(end))
    np.testing.assert_allclose(
        np.log2(np.array(gaps[:-1]) / gaps[1:]), 4, atol=0.1
    )  # second order in the distance from the best path
    assert abs(gaps[-1]) < 1e-3 * found.value(end)


def test_the_path_under_friction_runs_backwards():
    """The most probable path is the relaxation with the velocity turned round, in time turned
    round."""
    found, end = quasi_potential(FRICTION, [0.0, 0.7]), np.array([1.0, 0.4])
    times = np.linspace(0, 5, 11)
    relaxed = expm(-FRICTION * times[:, None, None]) @ (end * [1, -1]) * [1, -1]
    np.testing.assert_allclose(found.path(end, times), relaxed, rtol=1e-9, atol=1e-12)


# exits


def directions(dim, num=200_000):
    v = np.random.default_rng(0).standard_normal((num, dim))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def brute(potential, boundary):
    costs = potential.value(boundary)
    return costs.min(), boundary[np.argmin(costs)]


def flow(dim):
    rng = np.random.default_rng(dim)
    turning, root = rng.standard_normal((2, dim, dim))
    return quasi_potential(
        turning - turning.T + np.diag(1.0 + np.arange(dim)),
        root @ root.T,
        center=0.2 * rng.standard_normal(dim),
    )


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_exit_from_a_ball_or_an_ellipsoid(dim):
    potential, v = flow(dim), directions(dim)
    axes = np.linalg.qr(np.random.default_rng(9).standard_normal((dim, dim)))[0]
    radii, middle = np.linspace(0.8, 2.0, dim), np.full(dim, 0.1)
    for domain, boundary in (
        (ls.Ball(radius=1.3, center=jnp.asarray(middle)), middle + 1.3 * v),
        (ls.Ball(radius=0.5, center=jnp.asarray(potential.center)), potential.center + 0.5 * v),
        (ls.Ellipsoid(center=middle, radii=radii, axes=axes), middle + (v * radii) @ axes.T),
        (ls.Ellipsoid(center=middle, radii=radii), middle + v * radii),
    ):
        cost, _ = brute(potential, boundary)
        assert cost * (1 - 3e-3) <= potential.exit_cost(domain) <= cost * (1 + 1e-6)
        place = potential.exit_place(domain)
        assert potential.value(place) == pytest.approx(potential.exit_cost(domain), rel=1e-6)
        towards = place - np.asarray(domain.center)
        assert float(domain.ray_distance(domain.center, jnp.asarray(towards))) == pytest.approx(
            1, rel=1e-5
        )


def test_exit_from_a_ball_about_the_point_is_along_the_widest_axis():
    found = quasi_potential(DRIFT, DIFFUSION)
    values, vectors = np.linalg.eigh(found.covariance)
    ball = ls.Ball(radius=2.0, center=jnp.zeros(2))
    assert found.exit_cost(ball) == pytest.approx(4 / (2 * values[-1]), rel=1e-9)
    assert abs(vectors[:, -1] @ found.exit_place(ball)) == pytest.approx(2, rel=1e-9)


def test_exit_from_a_ball_that_touches_nothing_along_its_widest_axis():
    """The point is off the middle along the narrow axis only, a little or a lot: the two regimes of
    the multiplier."""
    found = quasi_potential(np.diag([1.0, 3.0]))  # V = x^2 / 2 + 3 y^2 / 2
    angles = np.linspace(0, 2 * np.pi, 400_001)
    for off in (1e-3, 0.3, 0.6, 0.66, 0.67, 0.9):
        middle = np.array([0.0, -off])
        boundary = middle + np.stack([np.cos(angles), np.sin(angles)], 1)
        cost, place = brute(found, boundary)
        ball = ls.Ball(radius=1.0, center=jnp.asarray(middle))
        assert found.exit_cost(ball) == pytest.approx(cost, rel=1e-6)
        np.testing.assert_allclose(np.abs(found.exit_place(ball)), np.abs(place), atol=5e-3)


def test_exit_from_a_box_and_from_half_spaces():
    potential = flow(3)
    box = ls.Box(lower=jnp.array([-1.0, -np.inf, -0.9]), upper=jnp.array([2.0, 1.5, 0.8]))
    t = np.linspace(-4, 4, 401)
    costs = []
    for i, bound in ((0, -1.0), (0, 2.0), (1, 1.5), (2, -0.9), (2, 0.8)):
        u, w = np.meshgrid(t, t)
        face = np.insert(np.stack([u.ravel(), w.ravel()], 1), i, bound, axis=1)
        costs.append(brute(potential, face)[0])
    assert min(costs) * (1 - 3e-3) <= potential.exit_cost(box) <= min(costs) * (1 + 1e-6)
    same = ls.HalfSpaces(
        normals=[[-3, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, -1], [0, 0, 1]],
        offsets=[3, 2, 3, 0.9, 0.8],
    )
    assert potential.exit_cost(same) == pytest.approx(potential.exit_cost(box), rel=1e-6)
    np.testing.assert_allclose(
        potential.exit_place(same), potential.exit_place(box), rtol=1e-5, atol=1e-6
    )
    place = potential.exit_place(box)
    assert bool(box.contains(jnp.asarray(potential.center + 0.999 * (place - potential.center))))
    both = ls.Intersection(box, ls.Ball(radius=0.4, center=jnp.asarray(potential.center)))
    assert (
        potential.exit_cost(both) == potential.exit_cost(both.domains[1]) < potential.exit_cost(box)
    )


def test_mean_exit_time_in_one_dimension():
    """`log` of the exact mean, two temperatures apart, against `V`: what is left is of the order of
    T."""
    found = quasi_potential([[1.5]], 0.4)
    cost = found.exit_cost(ls.Box(lower=[-1.0], upper=[3.0]))
    assert cost == pytest.approx(1.5 / (2 * 0.4), rel=1e-12)
    gaps = []
    for t in (0.04, 0.02, 0.01):
        logs = [
            first_passage(lambda x: -1.5 * x, 0.4 * u, start=0.0, lower=-1.0, upper=3.0).log_mean
            - 0.5 * math.log(u)  # the prefactor of an exit where the drift still points back
            for u in (t, t / 2)
        ]
        gaps.append((logs[1] - logs[0]) * t - cost)
    assert abs(gaps[-1]) < 0.02 * cost
    assert np.all(np.abs(gaps[1:]) < 0.6 * np.abs(gaps[:-1]))


@pytest.mark.slow
def test_simulated_exits_from_a_ball():
    """SGD with noise that is strong along the steep axis: the loss would put the exits on the flat
    one, V on the steep one.

    The mean is `T^(1/2) exp(V / T)` up to a constant, so two temperatures give V, to the order of
    T.
    """
    hessian, scale, dt = np.diag([1.0, 0.5]), np.diag([1.0, 0.3]), 2e-3
    potential = quasi_potential(hessian, scale @ scale.T / 2)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(2))
    assert potential.exit_cost(ball) == pytest.approx(1.0)
    means, num = [], 1500
    for epsilon in (0.55, 0.45):
        dynamics = ls.SGD(
            ls.Quadratic(hessian=hessian), ls.Brownian(), epsilon=epsilon, scale=scale
        )
        seen = ls.Ball(
            radius=1 - 0.5826 * epsilon * math.sqrt(dt), center=jnp.zeros(2)
        )  # exits are seen late, by this much
        result = ls.simulate_escape(
            ls.EulerMaruyama(dynamics, dt=dt), seen, jnp.zeros(2), num=num, seed=2
        )
        assert np.mean(np.abs(result.first_outside[:, 0]) > 0.8) > 0.8
        means.append(result.time.mean())
    hot, cold = 0.55**2, 0.45**2
    estimate = (math.log(means[1] / means[0]) - math.log(cold / hot) / 2) / (1 / cold - 1 / hot)
    error = math.sqrt(2 / num) / (1 / cold - 1 / hot)
    assert abs(estimate - 1) < 5 * error + 0.6 * hot * cold
    assert 5 * error < 0.3


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (
            {"drift_matrix": np.diag([1.0, -1.0])},
            ValueError,
            "not stable: J has an eigenvalue of real part -1",
        ),
        ({"drift_matrix": [[0.0, -1.0], [1.0, 0.0]]}, ValueError, "not stable"),
        ({"drift_matrix": np.ones(2)}, ValueError, r"drift_matrix must have shape \(d, d\)"),
        (
            {"diffusion": np.diag([1.0, 0.0])},
            ValueError,
            r"does not reach the direction \[0\. "
            r"1\.\]",
        ),
        ({"diffusion": np.ones((2, 2))}, ValueError, "not controllable"),
        ({"diffusion": 0.0}, ValueError, "not controllable"),
        ({"diffusion": np.diag([1.0, -1.0])}, ValueError, "no negative eigenvalue"),
        ({"diffusion": np.ones(3)}, ValueError, "diffusion must be a number or have shape"),
        ({"diffusion": [[1.0, 0.5], [0.0, 1.0]]}, ValueError, "diffusion must be symmetric"),
        ({"center": np.zeros(3)}, ValueError, r"center must have shape \(2,\)"),
        ({"drift_matrix": "flow"}, TypeError, "drift_matrix must be a number or an array"),
    ],
)
def test_bad_input(arguments, kind, message):
    arguments = {"drift_matrix": np.eye(2)} | arguments
    with pytest.raises(kind, match=message):
        quasi_potential(arguments.pop("drift_matrix"), arguments.pop("diffusion", 1.0), **arguments)


def test_bad_domains():
    found = quasi_potential(np.eye(2))
    with pytest.raises(TypeError, match="domain must be a Ball, Box, Ellipsoid"):
        found.exit_cost(ls.Complement(ls.Ball(radius=1.0, center=jnp.ones(2))))
    with pytest.raises(ValueError, match="has 3 dimensions, but the flow has 2"):
        found.exit_cost(ls.Ball(radius=1.0, center=jnp.zeros(3)))
    with pytest.raises(ValueError, match="is not inside"):
        found.exit_cost(ls.Ball(radius=1.0, center=jnp.ones(2) * 2))
    everything = ls.Box(lower=[-np.inf, -np.inf], upper=[np.inf, np.inf])
    assert found.exit_cost(everything) == math.inf
    with pytest.raises(ValueError, match="no boundary at a finite place"):
        found.exit_place(everything)
    with pytest.raises(ValueError, match="times must be a vector"):
        found.path([1.0, 0.0], [-1.0])
