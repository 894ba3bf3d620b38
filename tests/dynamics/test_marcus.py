"""Marcus and Ito: flows in closed form, two escape laws of one noise, and the Stratonovich limit of
Brownian noise."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate
from statistical import assert_close, assert_mean

import levysde as ls
from levysde.interfaces import is_lane_invariant
from levysde.noise import levy_constant
from levysde.theory import escape_law

pytestmark = pytest.mark.slow

ALPHA = 1.5


def stable():
    return ls.StableComponents(alpha=ALPHA)


def sgd(
    fn,
    *,
    dim=1,
    convention="marcus",
    epsilon=0.05,
    hessian=1.0,
    driver=None,
    steps=64,
    minimum=None,
):
    well = ls.Quadratic(hessian=np.full(dim, hessian), minimum=minimum)
    scale = ls.StateScale(fn, dim=dim)
    driver = stable() if driver is None else driver
    return ls.SGD(
        well, driver, epsilon=epsilon, scale=scale, convention=convention, marcus_steps=steps
    )


@eqx.filter_jit
def kicks(dynamics, y, x):
    return jax.vmap(lambda y: dynamics.kick(y, x))(y)


def turning(x):
    """One noise coordinate that turns the plane."""
    return jnp.stack([-x[1], x[0]])[:, None]


# the flow


SIZES = np.array([-1e30, -1e6, -300.0, -20.0, -3.0, -0.5, -1e-6, 0.0, 1e-8, 0.01, 1.0, 5.0, 15.0])


def test_flow_of_an_affine_field(dtype):
    """S = 1 + c x: `x + u = (1 + c x) exp(c z)/c - 1/c`, for jumps of every size; large ones come
    to rest at S = 0."""
    c, x, epsilon = 0.8, 0.3, 0.5
    dynamics = sgd(lambda x: 1 + c * x, epsilon=epsilon)
    u = kicks(dynamics, jnp.asarray(SIZES[:, None], dtype), jnp.array([x]))
    assert u.dtype == dtype
    expected = (1 + c * x) * np.expm1(c * epsilon * SIZES) / c
    np.testing.assert_allclose(np.asarray(u)[:, 0], expected, rtol=3e-5, atol=0)


def test_flow_of_fields_of_two_dimensions(float64):
    x, y = jnp.array([0.4, -0.3]), np.array([[0.7, -1.1], [30.0, 2.0], [-0.01, 0.02]])
    # each coordinate by itself: x' = z (1 + x^2), so arctan x goes on by z
    z = y * 0.3 / np.abs(y).max(1, keepdims=True)
    u = kicks(sgd(lambda x: 1 + x * x, dim=2, epsilon=1.0), jnp.asarray(z), x)
    np.testing.assert_allclose(np.asarray(u), np.tan(np.arctan(x) + z) - np.asarray(x), rtol=3e-5)
    # a matrix that mixes them, by another integrator
    matrix = lambda x: np.array([[1 + x[0] * x[1], np.sin(x[1])], [x[0], 2.0]])  # noqa: E731
    mixed = lambda x: jnp.stack(  # noqa: E731
        [jnp.stack([1 + x[0] * x[1], jnp.sin(x[1])]), jnp.stack([x[0], 2 + 0 * x[0]])]
    )
    u = kicks(sgd(mixed, dim=2, epsilon=0.5), jnp.asarray(z), x)
    for jump, moved in zip(z, u, strict=True):
        exact = integrate.solve_ivp(
            lambda _, p, w=jump: 0.5 * matrix(p) @ w, (0, 1), x, rtol=1e-10, atol=1e-12
        ).y[:, -1]
        np.testing.assert_allclose(moved, exact - x, rtol=1e-4, atol=1e-7)


def test_flow_of_a_rotation():
    """Marcus turns, to two turns; Ito goes off along the tangent."""
    x, angles = jnp.array([0.6, 0.8]), np.array([0.1, 2.0, 12.0])
    marcus, ito = (
        np.asarray(
            kicks(
                sgd(turning, dim=2, epsilon=1.0, convention=name), jnp.asarray(angles[:, None]), x
            )
        )
        + np.asarray(x)
        for name in ("marcus", "ito")
    )
    turned = (0.6 + 0.8j) * np.exp(1j * angles)
    np.testing.assert_allclose(marcus, np.stack([turned.real, turned.imag], 1), atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(ito, axis=1), np.sqrt(1 + angles**2), rtol=1e-6)


def test_more_sub_steps_converge():
    """What a small number of sub-steps leaves of a jump falls, and then vanishes."""
    z, c = 12.0, 0.5
    expected = np.expm1(c * z) / c
    errors = []
    for most in (2, 4, 8, 16, 32, 64):
        u = kicks(sgd(lambda x: 1 + c * x, epsilon=1.0, steps=most), jnp.array([[z]]), jnp.zeros(1))
        errors.append(abs(float(u[0, 0]) / expected - 1))
    assert errors[0] > 0.5
    assert all(after <= before for before, after in itertools.pairwise(errors[:-1]))
    assert errors[-2] < 3e-5
    assert errors[-1] == errors[-2]  # it had arrived


def test_small_jumps_and_fields_without_a_slope(float64):
    """To second order Marcus adds half of f'f to Ito; where S does not change along the jump,
    nothing."""
    x, y = jnp.array([0.3]), jnp.array([[1e-3]])
    fn = lambda x: 2 + jnp.sin(3 * x)  # noqa: E731
    marcus, ito = (
        float(kicks(sgd(fn, epsilon=1.0, convention=name), y, x)[0, 0])
        for name in ("marcus", "ito")
    )
    slope = 3 * np.cos(0.9)
    assert marcus - ito == pytest.approx(ito * 1e-3 * slope / 2, rel=1e-2)
    flat = [
        kicks(sgd(lambda x: 2 + 0 * x, convention=name), 1e4 * y, x) for name in ("marcus", "ito")
    ]
    np.testing.assert_allclose(flat[0], flat[1], rtol=1e-14)


def test_a_scale_that_is_nan_is_noticed():
    dynamics = sgd(lambda x: jnp.sqrt(x), epsilon=1.0)
    assert np.isnan(kicks(dynamics, jnp.ones((1, 1)), jnp.array([-1.0]))).all()
    # ends where S does
    assert np.isfinite(kicks(dynamics, -jnp.ones((1, 1)), jnp.array([0.1]))).all()


# the dynamics


def test_conformance():
    """As every dynamics (tests/test_dynamics.py), with a response that is a map."""
    dynamics = sgd(lambda x: 1 + x, dim=2, minimum=jnp.array([0.5, -0.3]))
    dt, zero, x = jnp.asarray(1e-3), jnp.zeros(2), dynamics.attractor
    assert dynamics.response == "map"
    assert sgd(lambda x: 1 + x, convention="ito").response == "linear"
    np.testing.assert_array_equal(x, jnp.array([0.5, -0.3]))
    np.testing.assert_allclose(dynamics.step(x, dt, zero), x, atol=1e-6)
    y = jnp.array([0.3, -0.2])
    np.testing.assert_allclose(dynamics.step(x, dt, y) - x, dynamics.jump(y), rtol=0.03)
    np.testing.assert_allclose(
        dynamics.jump(y), 0.05 * np.array([1.5 * 0.3, 0.7 * -0.2]), rtol=1e-5
    )
    start = jnp.array([1.0, 1.0])
    np.testing.assert_allclose(dynamics.step(start, dt, zero), start - dt * (start - x), rtol=1e-6)
    both = dynamics.step(start, dt, y) - start  # drift and kick, both from the same point
    np.testing.assert_allclose(both, dynamics.kick(y, start) - dt * (start - x), rtol=1e-4)
    assert is_lane_invariant(dynamics.step, start, dt, y)
    other = eqx.tree_at(lambda d: d.epsilon, dynamics, jnp.asarray(0.1))
    assert jax.tree.structure(other) == jax.tree.structure(dynamics)


def test_lanes_do_not_matter():
    kernel = ls.EulerMaruyama(sgd(lambda x: 1 + 0.8 * x, epsilon=0.3), dt=0.05)
    box = ls.Box(lower=jnp.array([-0.9]), upper=jnp.array([1.0]))
    runs = [
        ls.simulate_escape(
            kernel, box, jnp.zeros(1), num=64, seed=1, max_time=20.0, devices=1, lanes=lanes
        )
        for lanes in (16, 64)
    ]
    assert runs[0].exited.any()
    for field in ("time", "exited", "last_inside", "first_outside", "steps"):
        np.testing.assert_array_equal(getattr(runs[0], field), getattr(runs[1], field))


# the two escape laws

C, RIGHT, LEFT = 1.5, 1.0, 0.6
BOX = ls.Box(lower=jnp.array([-LEFT]), upper=jnp.array([RIGHT]))
REACH = {"ito": (RIGHT, LEFT), "marcus": (np.log1p(C * RIGHT) / C, -np.log1p(-C * LEFT) / C)}


def affine(convention, epsilon):
    return sgd(lambda x: 1 + C * x, convention=convention, epsilon=epsilon)


def exact_rate(convention, epsilon):
    """`(C_a/a) eps^a (r_right^-a + r_left^-a)`, and the share of the right; Marcus: distances on
    the scale log(1 + c x)/c."""
    right, left = (reach**-ALPHA for reach in REACH[convention])
    return levy_constant(ALPHA) / ALPHA * epsilon**ALPHA * (right + left), right / (right + left)


@pytest.mark.parametrize("convention", ["ito", "marcus"])
def test_law_of_an_affine_scale(convention):
    law = escape_law(affine(convention, 0.07), BOX, check=False)
    rate, share = exact_rate(convention, 0.07)
    assert law.rate == pytest.approx(rate, rel=1e-5)
    assert law.ray_share[0] == pytest.approx(share, rel=1e-5)
    np.testing.assert_allclose(law.ray_distance, np.array(REACH[convention]) / 0.07, rtol=1e-5)
    assert law.star_shaped
    assert law.response == ("map" if convention == "marcus" else "linear")
    if convention == "marcus":
        with pytest.raises(ValueError, match="no power of epsilon"):
            law.with_epsilon(0.1)


@pytest.mark.parametrize("convention", ["ito", "marcus"])
def test_simulation_agrees_with_its_own_law_only(convention):
    """The exit side tells the conventions apart by 0.32 against 0.80."""
    epsilon, n, other = 0.06, 1500, {"ito": "marcus", "marcus": "ito"}[convention]
    kernel = ls.EulerMaruyama(affine(convention, epsilon), dt=0.02)
    run = ls.simulate_escape(kernel, BOX, jnp.zeros(1), num=n, seed=0)
    assert run.exited.all()
    (rate, share), (_, wrong) = exact_rate(convention, epsilon), exact_rate(other, epsilon)
    right = run.first_outside[:, 0] > 0
    error = np.sqrt(share * (1 - share) / n)
    # before epsilon -> 0 the start of the jump is spread about the minimum: 0.02 of the share, 0.05
    # of the mean
    assert abs(right.mean() - share) < 0.03 + 3 * error
    assert abs(right.mean() - wrong) > 0.4
    assert abs(run.time.mean() * rate - 1) < 0.06 + 3 / np.sqrt(n)


def test_law_in_the_plane():
    """S = 1 + c |x|^2, isotropic: along each ray `r = tan(sqrt(c) z) / sqrt(c)`."""
    c, radius, epsilon = 2.0, 0.9, 0.05
    driver = ls.StableIsotropic(alpha=1.2)
    ball = ls.Ball(radius=radius, center=jnp.zeros(2))
    rates = {}
    for convention in ("ito", "marcus"):
        dynamics = sgd(
            lambda x: 1 + c * jnp.sum(x * x),
            dim=2,
            convention=convention,
            epsilon=epsilon,
            driver=driver,
        )
        rates[convention] = escape_law(dynamics, ball, num_rays=64, check=False).rate
    total = driver.levy_rays(2, 64, 0).total()
    reach = np.arctan(np.sqrt(c) * radius) / np.sqrt(c)
    assert rates["ito"] == pytest.approx(total * (epsilon / radius) ** 1.2, rel=1e-5)
    assert rates["marcus"] == pytest.approx(total * (epsilon / reach) ** 1.2, rel=1e-5)


def test_no_jump_passes_a_zero_of_the_scale_under_marcus():
    """To the left of -1/c only Ito's straight jumps come; and a rotation about the minimum's ring
    leaves no ball."""
    beyond = ls.Box(lower=jnp.array([-1 / C - 0.05]), upper=jnp.array([jnp.inf]))
    ito = escape_law(affine("ito", 0.05), beyond, check=False)
    assert ito.rate == pytest.approx(
        levy_constant(ALPHA) / ALPHA * (0.05 / (1 / C + 0.05)) ** ALPHA, rel=1e-5
    )
    with pytest.raises(ValueError, match="infinite"):
        escape_law(affine("marcus", 0.05), beyond, check=False)
    ball, minimum = ls.Ball(radius=1.0, center=jnp.zeros(2)), jnp.array([0.5, 0.0])
    laws = [
        lambda n=name: escape_law(
            sgd(turning, dim=2, convention=n, minimum=minimum), ball, check=False
        )
        for name in REACH
    ]
    expected = 2 * levy_constant(ALPHA) / ALPHA * (0.05 * 0.5 / np.sqrt(0.75)) ** ALPHA
    assert laws[0]().rate == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="infinite"):
        laws[1]()


# Brownian noise


@pytest.mark.parametrize("driver", [ls.Brownian(), ls.StableComponents(alpha=2.0)])
@pytest.mark.parametrize("convention", ["ito", "marcus"])
def test_geometric_brownian_motion(driver, convention):
    """dX = s X dW: the mean stays under Ito and grows as exp(v s^2 t/2) under Stratonovich, v the
    driver's variance."""
    s, t, n = 0.5, 1.0, 200_000
    dynamics = sgd(lambda x: x, convention=convention, epsilon=s, hessian=0.0, driver=driver)
    kernel = ls.EulerMaruyama(dynamics, dt=t / 20)
    words = jax.random.bits(jax.random.key(0), (20, kernel.words_per_step, n), jnp.uint32)
    step = jax.vmap(kernel.step, in_axes=-1, out_axes=-1)
    x = jax.jit(
        lambda words: jax.lax.scan(lambda x, w: (step(w, x), None), jnp.ones((1, n)), words)[0]
    )(words)
    variance = ls.noise.unit_variance(driver)
    expected = np.exp(variance * s**2 * t / 2) if convention == "marcus" else 1.0
    assert_mean(np.asarray(x), expected, 0.02, f"{convention}: E X")
    if convention == "marcus":  # and log X is s W, exactly
        log = np.log(np.asarray(x, float))
        assert_mean(log**2, variance * s**2 * t, 0.02, "E log^2 X")
        assert_close(log.mean() + 1, log.std() / np.sqrt(n), 1.0, 0.02, "1 + E log X")


def test_the_drift_of_stratonovich_in_a_well():
    """dX = -X dt + (s + c X) o dW is Ito with the drift -X + c (s + c X)/2, whose mean is
    linear."""
    s, c, t, n, count = 1.0, 0.6, 1.0, 200_000, 100
    well = ls.Quadratic(hessian=np.ones(1))
    scale = ls.StateScale(lambda x: s + c * x, dim=1)
    dynamics = ls.SGD(well, ls.Brownian(), epsilon=1.0, scale=scale, convention="marcus")
    kernel = ls.EulerMaruyama(dynamics, dt=t / count)
    keys = jax.random.split(jax.random.key(1), count)
    step = jax.vmap(kernel.step, in_axes=-1, out_axes=-1)

    def advance(x, key):
        return step(jax.random.bits(key, (kernel.words_per_step, n), jnp.uint32), x), None

    x = np.asarray(jax.jit(lambda keys: jax.lax.scan(advance, jnp.zeros((1, n)), keys)[0])(keys))
    rate, push = 1 - c * c / 2, c * s / 2
    expected = push / rate * -np.expm1(-rate * t)
    # the scheme's own mean: a step multiplies by exp(c^2 dt/2) - dt and adds (s/c)(exp(c^2 dt/2) -
    # 1)
    grow = np.exp(c * c * t / count / 2)
    chain = (s / c) * (grow - 1) * (1 - (grow - t / count) ** count) / (1 - (grow - t / count))
    assert chain == pytest.approx(expected, rel=0.01)
    assert_mean(x, chain, 0.06, "E X")


# bad input

WELL, MOVING = ls.Quadratic(hessian=np.ones(2)), ls.StateScale(lambda x: 1 + x * x, dim=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"convention": "stratonovich"},
            'convention must be "ito" or "marcus", not "stratonovich"',
        ),
        ({"convention": None}, "convention must be"),
        ({"convention": "marcus", "scale": None}, "ScalarScale: S does not depend on the position"),
        ({"convention": "marcus", "scale": [1.0, 2.0]}, "DiagonalScale: S does not depend"),
        ({"convention": "marcus", "scale": np.eye(2)}, "DenseScale: S does not depend"),
        (
            {"convention": "marcus", "scale": ls.LowRankScale(np.ones((2, 1)))},
            "LowRankScale: S does not depend",
        ),
        ({"convention": "marcus", "scale": ls.StateScale(lambda x: x, dim=3)}, "made for dim = 3"),
        ({"convention": "marcus", "marcus_steps": 0}, "marcus_steps must be at least 1"),
        ({"convention": "marcus", "marcus_steps": 8.0}, "marcus_steps must be an integer"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ls.SGD(WELL, stable(), epsilon=0.1, **{"scale": MOVING, **change})


def test_other_dynamics_have_no_convention():
    for make in (ls.Adam, ls.Momentum):
        with pytest.raises(TypeError, match="convention"):
            make(WELL, stable(), epsilon=0.1, scale=MOVING, convention="marcus")
