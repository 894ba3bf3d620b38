"""Paths of least action: heights of losses, quasi-potentials of linear flows, transverse flows,
trajectories of Hamilton's equations, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import integrate

import levysde as ls
from levysde import plots
from levysde.theory import minimum_action, quasi_potential

DRIFT = np.array([[1.0, 2.0], [-1.5, 0.8]])  # turns: not a gradient
DIFFUSION = np.array([[1.0, 0.3], [0.3, 0.4]])


def maier_stein(mu):
    """Maier and Stein, Phys. Rev. E 48 (1993); a gradient for mu = 1, with a barrier of 1/4."""
    return lambda x: jnp.stack([x[0] - x[0] ** 3 - mu * x[0] * x[1] ** 2, -(1 + x[0] ** 2) * x[1]])


def to_saddle(mu, **given):
    return minimum_action(maier_stein(mu), start=[-1.0, 0.0], end=[0.0, 0.0], **given)


def turning(x):
    return -jnp.asarray(DRIFT) @ x


def well(x):
    """A double well of barrier 1/4 with a bent valley."""
    return (x[0] ** 2 - 1) ** 2 / 4 + jnp.sum((x[1:] - 0.3 * jnp.sin(2 * x[0])) ** 2)


@pytest.mark.parametrize("mu", [1.0, 3.0])
def test_along_the_axis_the_barrier_is_climbed(mu):
    """For mu < 4 the path stays on the axis, where the drift is that of a double well."""
    found = to_saddle(mu)
    assert abs(found.action - 0.25) < found.action_error < 1e-5
    assert np.abs(found.path[:, 1]).max() < 1e-6
    assert len(found.actions) == 1


def hamilton(mu, angle):
    """Nearest distance to the saddle and the action there, on the trajectory of `x' = b + 2 p`,
    `p' = -Db' p` that leaves the attractor at an angle, and the side on which it passes. Near the
    attractor V is `|x|^2`."""

    def right(_, z):
        x, y, p, q, _ = z
        u, v = x - x**3 - mu * x * y * y + 2 * p, -(1 + x * x) * y + 2 * q
        slopes = -((1 - 3 * x * x - mu * y * y) * p - 2 * x * y * q), 2 * mu * x * y * p
        return [u, v, slopes[0], slopes[1] + (1 + x * x) * q, p * u + q * v]

    def gone(_, z):
        return 1.5 - np.hypot(z[0], z[1])

    gone.terminal = True
    away = 1e-3 * np.array([np.cos(angle), np.sin(angle)])
    start = [away[0] - 1, away[1], *(2 * away), away @ away]
    path = integrate.solve_ivp(
        right, (0, 30), start, method="DOP853", rtol=1e-9, atol=1e-12, events=gone
    ).y
    nearest = np.hypot(path[0], path[1]).argmin()
    return np.hypot(*path[:2, nearest]), path[4, nearest], np.sign(path[1, -1])


# angles between which a trajectory leads to the saddle; others do, at a higher action
@pytest.mark.parametrize(("mu", "low", "high"), [(5.0, 0.9, 0.95), (10.0, 1.2276, 1.2278)])
def test_beyond_the_bifurcation_two_paths_leave_the_axis(mu, low, high):
    found = to_saddle(mu)
    side = hamilton(mu, low)[2]
    assert side != hamilton(mu, high)[2]
    for _ in range(35):
        middle = (low + high) / 2
        low, high = (middle, high) if hamilton(mu, middle)[2] == side else (low, middle)
    distance, action, _ = hamilton(mu, low)
    assert distance < 1e-3
    assert abs(found.action - action) < found.action_error + distance**2 < 1e-4 * action
    np.testing.assert_allclose(found.actions, found.action, rtol=1e-6)
    assert len(found.actions) == 2
    np.testing.assert_allclose(found.paths[0], found.paths[1] * [1, -1], atol=1e-3)
    assert found.action < 0.97 * 0.25  # on the axis it is 1/4


def test_the_error_covers_what_refinement_changes():
    """Coarse paths stay within their errors of a fine one, and the errors fall as 1 / n^2."""
    fine = to_saddle(5.0, num_segments=512, num_starts=3)
    coarse = [to_saddle(5.0, num_segments=num, num_starts=3) for num in (128, 256)]
    for found in coarse:
        assert abs(found.action - fine.action) < found.action_error < 1e-3 * fine.action
    assert 3 < coarse[0].action_error / coarse[1].action_error < 5.5
    assert fine.action_error < 1e-5 * fine.action


@pytest.mark.parametrize("end", [[1.0, 0.0], [0.3, -2.0]])
def test_a_linear_flow_has_its_quasi_potential(end):
    """A flow that turns: the path is a spiral. The polygons have the exact action, whatever their
    number of segments."""
    found = minimum_action(turning, DIFFUSION, start=[0.0, 0.0], end=end, num_segments=128)
    potential = quasi_potential(DRIFT, DIFFUSION)
    assert found.action == pytest.approx(potential.value(end), rel=1e-9)
    times = np.linspace(8, 0, 400)
    spiral = potential.path(end, times)
    gaps = np.linalg.norm(found.path[:, None] - spiral, axis=2).min(1)
    assert gaps.max() < 0.03 * np.linalg.norm(end)


@pytest.mark.parametrize("dim", [3, 6])
def test_a_linear_flow_in_more_dimensions(dim):
    rng = np.random.default_rng(dim)
    turn, root = rng.standard_normal((2, dim, dim))
    flow, noise = turn - turn.T + np.diag(1.0 + np.arange(dim)), root @ root.T + 0.3 * np.eye(dim)
    end = np.ones(dim)
    found = minimum_action(
        lambda x: -jnp.asarray(flow) @ x, noise, start=0 * end, end=end, num_segments=128
    )
    assert found.action == pytest.approx(quasi_potential(flow, noise).value(end), rel=1e-9)


@pytest.mark.parametrize(
    "domain",
    [
        ls.Ball(radius=2.0, center=[0.0, 0.0]),
        ls.Box(lower=[-1.0, -0.9], upper=[2.0, 0.75]),
        ls.Ellipsoid(center=[0.125, 0.125], radii=[0.75, 2.0]),
    ],
    ids=lambda domain: type(domain).__name__,
)
def test_the_cheapest_exit_of_a_linear_flow(domain):
    potential = quasi_potential(DRIFT, DIFFUSION)
    found = minimum_action(
        turning, DIFFUSION, start=[0.0, 0.0], domain=domain, num_segments=128, num_starts=6
    )
    place = potential.exit_place(domain)
    assert found.action == pytest.approx(potential.exit_cost(domain), rel=1e-6)
    if type(domain) is ls.Ball:  # two exits are alike
        place = place * np.sign(place @ found.path[-1])
    np.testing.assert_allclose(found.path[-1], place, atol=1e-4)
    assert np.all(np.diff(found.actions) >= 0)


@pytest.mark.parametrize("dim", [2, 3])
def test_a_transverse_flow_has_the_height_of_its_loss(dim):
    """`b = -(D + A) grad F`, A antisymmetric: V is F where the flow of `-(D - A) grad F` leads to
    the attractor."""
    rng = np.random.default_rng(dim)
    turn, root = rng.standard_normal((2, dim, dim))
    noise = root @ root.T / dim + 0.5 * np.eye(dim)

    def drift(x):
        return -jnp.asarray(noise + turn - turn.T) @ jax.grad(well)(x)

    bend = 0.3 * np.sin(-2.0)
    start = [-1.0, *[bend] * (dim - 1)]
    found = minimum_action(drift, noise, start=start, end=np.zeros(dim), num_starts=3)
    assert abs(found.action - 0.25) < found.action_error < 1e-4
    end = jnp.asarray([-0.8, *[bend + 0.25] * (dim - 1)])
    found = minimum_action(drift, noise, start=start, end=end, num_segments=128, num_starts=3)
    assert found.action == pytest.approx(float(well(end)), rel=1e-4)


@pytest.mark.parametrize("shape", ["matrix", "diagonal"])
def test_a_diffusion_that_depends_on_the_place(shape):
    """`b = -D(x) grad F`: V is F again."""

    def diffusion(x):
        if shape == "diagonal":
            return jnp.stack([1 + x[0] ** 2, jnp.ones(())])
        return jnp.asarray(DIFFUSION) * (1 + 0.5 * jnp.sin(x[0] + x[1]))

    def drift(x):
        noise = diffusion(x)
        return -(jnp.diag(noise) if noise.ndim == 1 else noise) @ jax.grad(well)(x)

    start, end = jnp.asarray([-1.0, 0.3 * jnp.sin(-2.0)]), jnp.asarray([-0.4, 0.2])
    found = minimum_action(drift, diffusion, start=start, end=end, num_segments=128, num_starts=2)
    assert found.action == pytest.approx(float(well(end)), rel=1e-5)


def test_units_of_the_noise():
    """Noise twice as strong halves the action; D = T is the exponent at the temperature T."""
    one, half = (
        minimum_action(turning, d, start=[0.0, 0.0], end=[1.0, 0.5], num_segments=128).action
        for d in (1.0, [2.0, 2.0])
    )
    assert half == pytest.approx(one / 2, rel=1e-9)
    loss = ls.DoubleWell(dim=2, barrier=0.5)
    found = minimum_action(
        lambda x: -loss.gradient(x),
        0.125,
        start=loss.minima[0],
        end=loss.saddles[0],
        num_starts=1,
    )
    law = ls.theory.kramers_law(loss, saddles=loss.saddles[0], diffusion=0.125)
    assert found.action == pytest.approx(law.barriers[0] / 0.125, rel=1e-5)


@pytest.mark.slow
def test_a_path_to_another_well_costs_no_more_than_its_saddle():
    found = minimum_action(maier_stein(5.0), start=[-1.0, 0.0], end=[1.0, 0.0])
    assert found.action == pytest.approx(to_saddle(5.0).action, rel=1e-3)
    half = minimum_action(
        maier_stein(5.0), start=[-1.0, 0.0], domain=ls.half_space(normal=[1.0, 0.0], offset=0.25)
    )
    assert half.action == pytest.approx(found.action, rel=1e-3)
    assert half.path[-1, 0] == pytest.approx(0.25, abs=1e-6)


@pytest.mark.slow
def test_a_boundary_that_is_a_level_of_the_loss():
    """All its points cost the same; the rays to it are searched."""
    loss = ls.from_function(well, dim=2, minimum=jnp.array([-1.0, 0.3 * jnp.sin(-2.0)]))
    with pytest.warns(ls.AccuracyWarning, match="hidden from start"):  # the other well
        found = minimum_action(
            lambda x: -loss.gradient(x),
            start=loss.minimum,
            domain=ls.Sublevel(loss, height=0.2),
        )
    assert found.action == pytest.approx(0.2, rel=1e-4)


@pytest.mark.slow
def test_a_limit_cycle_around_the_attractor():
    """Van der Pol's equation backwards in time: the cycle repels, and all places beyond it cost as
    much as the cycle. Exits from a larger ball cost the same."""

    def drift(x):
        return -jnp.stack([x[1], (1 - x[0] ** 2) * x[1] - x[0]])

    values = [
        minimum_action(
            drift,
            start=[0.0, 0.0],
            domain=ls.Ball(radius=radius, center=[0.0, 0.0]),
            num_starts=2,
        )
        for radius in (3.5, 5.0)
    ]
    assert values[0].action == pytest.approx(values[1].action, rel=5e-3)


@pytest.mark.slow
def test_ten_dimensions_and_a_boundary():
    dim = 10
    rng = np.random.default_rng(dim)
    turn, root = rng.standard_normal((2, dim, dim))
    flow, noise = turn - turn.T + np.diag(1.0 + np.arange(dim)), root @ root.T + 0.3 * np.eye(dim)
    ball = ls.Ball(radius=1.0, center=np.zeros(dim))
    found = minimum_action(
        lambda x: -jnp.asarray(flow) @ x, noise, start=np.zeros(dim), domain=ball, num_starts=8
    )
    assert found.action == pytest.approx(quasi_potential(flow, noise).exit_cost(ball), rel=1e-6)


# what depends on how a function is given


def test_numpy_arrays_in_a_function_keep_both_precisions():
    """JAX 0.10 keeps an array in the precision of its first use: neither a run in float32 before,
    nor one after, may fail or be rounded by the other."""
    exact = quasi_potential(DRIFT).value([1.0, 0.0])
    for first in (False, True):
        matrix = DRIFT.copy()

        def drift(x, matrix=matrix):
            return -jnp.sum(matrix * x[None, :], 1)

        run = jax.jit(drift)
        if first:
            run(jnp.ones(2))
        found = minimum_action(
            drift, start=[0.0, 0.0], end=[1.0, 0.0], num_segments=128, num_starts=1
        )
        assert found.action == pytest.approx(exact, rel=1e-7)
        np.testing.assert_allclose(run(jnp.ones(2)), -DRIFT.sum(1), rtol=1e-6)


def test_a_function_is_read_anew_each_time():
    rate = [1.0]

    def drift(x):
        return -rate[0] * x

    given = {"start": [0.0, 0.0], "end": [1.0, 0.0], "num_segments": 128, "num_starts": 1}
    one = minimum_action(drift, **given).action
    rate[0] = 3.0
    assert minimum_action(drift, **given).action == pytest.approx(3 * one)


# figures


def test_the_figure_shows_the_paths():
    plt.switch_backend("Agg")
    found = to_saddle(10.0, num_segments=128)
    ax = plots.action_paths(found, label="mu = 10")
    best, other, start, end = ax.lines
    np.testing.assert_allclose(best.get_xydata(), found.path)
    np.testing.assert_allclose(other.get_xydata(), found.paths[1])
    assert best.get_linestyle() != other.get_linestyle()
    np.testing.assert_allclose(start.get_xydata()[0], [-1, 0])
    np.testing.assert_allclose(end.get_xydata()[0], [0, 0], atol=1e-12)
    assert ax.get_legend().get_texts()[0].get_text() == "mu = 10, V = 0.17"
    plots.action_paths(found, ax=ax, coordinates=(1, 0))
    assert ax.lines[4].get_color() != best.get_color()
    plt.close("all")
    with pytest.raises(TypeError, match="action must be a MinimumAction"):
        plots.action_paths(found.path)
    with pytest.raises(ValueError, match="two coordinates"):
        plots.action_paths(found, coordinates=(0,))


# what is refused


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"drift": lambda x: x[0]}, TypeError, r"drift must return a real array of shape \(2,\)"),
        ({"drift": np.sin}, TypeError, "drift fails for arguments of shape"),
        ({"drift": 3.0}, TypeError, "drift must be a function, not 3.0"),
        ({"drift": lambda x: x * jnp.nan}, ValueError, r"drift must be finite at the start.*nan"),
        ({"drift": lambda x: x}, ValueError, "not an attractor: .* real part 1 there"),
        (
            {"drift": lambda x: jnp.stack([x[1], -x[0]])},
            ValueError,
            "not an attractor: .* real part -?0 there",
        ),
        (
            {"drift": lambda x: 0.5 - x},
            ValueError,
            r"not at rest: drift is \[0.5 0.5\] there.*point of rest is at \[0.5, 0.5\]",
        ),
        ({"diffusion": 0.0}, ValueError, "diffusion must be positive definite at the start"),
        ({"diffusion": [1.0, 0.0]}, ValueError, "smallest eigenvalue is 0. Give every direction"),
        ({"diffusion": [1.0, -1.0]}, ValueError, "diffusion must have no negative eigenvalue"),
        ({"diffusion": np.ones(3)}, ValueError, r"diffusion must be a number or have shape \(2,\)"),
        ({"diffusion": lambda x: jnp.ones(3)}, ValueError, "diffusion must return a number or an"),
        ({"diffusion": lambda x: -1.0 - x[0]}, ValueError, "positive definite at the start"),
        (
            {"diffusion": lambda x: jnp.array([[1.0, 0.5], [0.0, 1.0]])},
            ValueError,
            "diffusion must be symmetric at the start",
        ),
        ({"start": np.zeros(1)}, ValueError, "In one dimension use first_passage"),
        ({"start": np.zeros(11)}, ValueError, r"d from 2 to 10, not \(11,\)"),
        ({"start": [0.0, np.nan]}, ValueError, "start must be finite"),
        ({"end": [0.0, 0.0]}, ValueError, "end = .* is the start"),
        ({"end": np.ones(3)}, ValueError, r"end must have shape \(2,\)"),
        ({"end": None}, ValueError, "exactly one of end and domain, not neither"),
        (
            {"domain": ls.Ball(radius=1.0, center=[0.0, 0.0])},
            ValueError,
            "exactly one of end and domain, not both",
        ),
        (
            {"end": None, "domain": ls.Ball(radius=1.0, center=[2.0, 0.0])},
            ValueError,
            "start = .* is not inside",
        ),
        (
            {"end": None, "domain": ls.Ball(radius=1.0, center=np.zeros(3))},
            ValueError,
            "domain has 3 dimensions, but a point has 2. Give",
        ),
        ({"end": None, "domain": 1.0}, TypeError, "domain must be a Domain"),
        (
            {"end": None, "domain": ls.Box(lower=[-np.inf] * 2, upper=[np.inf] * 2)},
            ValueError,
            "no boundary at a finite place",
        ),
        ({"num_segments": 130}, ValueError, "multiple of 4, not 130. Type 128"),
        ({"num_segments": 8}, ValueError, "num_segments must be from 128"),
        ({"num_starts": 0}, ValueError, "num_starts must be"),
    ],
)
def test_bad_input(change, kind, message):
    given = {"drift": lambda x: -x, "start": [0.0, 0.0], "end": [1.0, 0.0]} | change
    with pytest.raises(kind, match=message):
        minimum_action(given.pop("drift"), given.pop("diffusion", 1.0), **given)


def test_what_did_not_converge_is_said():
    def walled(x):
        """Not a number beyond a wall that every path has to cross."""
        return jnp.where(jnp.abs(x[0] - 0.5) < 0.1, jnp.nan, -x)

    with pytest.raises(RuntimeError, match="none of 3 initial paths converged"):
        minimum_action(walled, start=[0.0, 0.0], end=[1.0, 0.0], num_starts=3)

    def narrow(x):
        """A step that 128 segments do not resolve."""
        return jnp.stack([-x[0] - 50 * jnp.exp(-(((x[0] - 0.6) / 0.002) ** 2)), -x[1]])

    with pytest.warns(ls.AccuracyWarning, match="action .* is not resolved.*more num_segments"):
        found = minimum_action(
            narrow, start=[0.0, 0.0], end=[1.0, 0.0], num_segments=128, num_starts=1
        )
    assert "not resolved" in found.warnings[0]
    assert "warning: the action" in repr(found)


def test_an_exit_that_is_hidden_is_said():
    """A domain of two balls that touch: most of the other one's boundary is not in sight."""
    balls = [ls.Ball(radius=1.0, center=[x, 0.0]) for x in (0.0, 2.5)]
    both = ls.Complement(ls.Intersection(*map(ls.Complement, balls)))
    with pytest.warns(ls.AccuracyWarning, match="hidden from start"):
        minimum_action(lambda x: -x, start=[0.0, 0.0], domain=both, num_segments=128, num_starts=2)


def test_results_are_compared_by_content():
    found = to_saddle(1.0, num_segments=128, num_starts=1)
    assert found == dataclasses.replace(found)
    assert found != dataclasses.replace(found, action=1.0)
