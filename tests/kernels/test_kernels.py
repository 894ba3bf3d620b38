"""The exact Ornstein-Uhlenbeck splitting and tamed Euler against closed forms, quadratures and the
generator's own spectrum."""

import subprocess
import sys
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.interpolate import CubicSpline
from scipy.linalg import eigh_tridiagonal, expm, solve_continuous_lyapunov
from statistical import assert_mean

import levysde as ls
from levysde.interfaces import is_lane_invariant
from levysde.kernels.euler import tamed
from levysde.kernels.ou import _phi1, _phi2

DENSE = np.array([[2.0, 0.5], [0.5, 1.0]])
AXES = np.linalg.eigh(DENSE)[1]
CENTRE = np.array([0.5, -1.0])
COMPONENTS, ISOTROPIC = ls.StableComponents(alpha=1.5), ls.StableIsotropic(alpha=1.5)


def flow(name):
    """Linear flows whose step has a known law, in the precision at hand."""
    hessian, scale, driver = {
        "gaussian": (DENSE, np.array([[1.0, 0.3], [-0.2, 0.5]]), ls.Brownian()),
        "gaussian, diagonal": (np.array([3.0, 0.5]), np.array([1.0, 0.5]), ls.Brownian()),
        "gaussian, low rank": (DENSE, ls.LowRankScale(np.array([[1.0], [0.0]])), ls.Brownian()),
        "components": (np.array([3.0, 0.5]), np.array([1.0, 0.5]), COMPONENTS),
        "components, eigenvectors": (DENSE, AXES * np.array([1.0, 0.4]), COMPONENTS),
        "components, low rank": (
            DENSE,
            ls.LowRankScale(AXES[:, :1]),
            ls.StableComponents(alpha=0.8),
        ),
        "components, one curvature": (
            1.5 * np.eye(2),
            np.array([[1.0, 0.3], [-0.2, 0.5]]),
            COMPONENTS,
        ),
        "isotropic": (np.array([1.5, 1.5]), 0.7, ISOTROPIC),
        "isotropic, any scale": (
            1.5 * np.eye(2),
            np.array([[1.0, 0.3], [-0.2, 0.5]]),
            ls.StableIsotropic(alpha=1.2),
        ),
        "no force": (np.zeros(2), np.array([1.0, 0.5]), COMPONENTS),
    }[name]
    return ls.SGD(ls.Quadratic(hessian, CENTRE), driver, epsilon=0.6, scale=scale)


FLOWS = [
    "gaussian",
    "gaussian, diagonal",
    "gaussian, low rank",
    "components",
    "components, eigenvectors",
]
FLOWS += [
    "components, low rank",
    "components, one curvature",
    "isotropic",
    "isotropic, any scale",
    "no force",
]


def full(matrix):
    matrix = np.asarray(matrix, float)
    return np.diag(matrix) if matrix.ndim == 1 else matrix


def scale_of(sgd):
    return float(sgd.epsilon) * np.asarray(
        jax.vmap(sgd.scale.apply, (0, None), 1)(jnp.eye(sgd.noise_dim), sgd.attractor), float
    )


def decay_of(kernel):
    """e^{-H dt}, from the kernel's numbers."""
    return np.eye(2) - full(kernel.drift) @ full(kernel.dynamics.landscape.matrix)


def exponent(driver, k):
    """psi of `E exp(i <k, L_t>) = exp(-t psi(k))`."""
    if isinstance(driver, ls.Brownian):
        return np.sum(k**2) / 2
    alpha = float(driver.alpha)
    return (
        np.sum(k**2) ** (alpha / 2)
        if isinstance(driver, ls.StableIsotropic)
        else np.sum(np.abs(k) ** alpha)
    )


def step_exponent(kernel, k):
    """Of the noise of one step, `-log E exp(i <k, xi>)`, from the kernel's numbers."""
    return float(kernel.time) * exponent(kernel.dynamics.driver, full(kernel.mixing).T @ k)


FREQUENCIES = [
    np.array([1.0, 0.0]),
    np.array([0.0, 2.0]),
    np.array([1.0, -0.7]),
    np.array([-0.3, 0.4]),
]


@pytest.mark.parametrize("dt", [1e-4, 0.3, 20.0])
@pytest.mark.parametrize("name", FLOWS)
def test_linear_step_is_exact_in_law(name, dt, float64):
    """Whatever H, S and L are, the noise has the exponent `integral_0^dt psi(eps S' e^{-H s} k)
    ds`."""
    sgd = flow(name)
    kernel, hessian, scale = (
        ls.OrnsteinUhlenbeck(sgd, dt=dt),
        full(sgd.landscape.matrix),
        scale_of(sgd),
    )
    x = jnp.array([2.0, 1.0])
    still = kernel.advance(jnp.zeros(2), x)
    np.testing.assert_allclose(
        still, CENTRE + expm(-hessian * dt) @ (np.asarray(x) - CENTRE), rtol=1e-12
    )
    rates, axes = np.linalg.eigh(hessian)
    for k in FREQUENCIES:

        def rate(s, k=k):
            return exponent(sgd.driver, scale.T @ (axes * np.exp(-rates * s)) @ axes.T @ k)

        edges = np.unique(
            np.minimum([0, 0.5, 1, 2, 4, 8, 20], dt)
        )  # the integrand has kinks, and decays long before 20
        expected = sum(quad(rate, a, b, epsrel=1e-9)[0] for a, b in pairwise(edges))
        np.testing.assert_allclose(step_exponent(kernel, k), expected, rtol=1e-6)


@pytest.mark.parametrize("name", FLOWS)
def test_two_steps_are_one(name, float64):
    sgd = flow(name)
    one, two = ls.OrnsteinUhlenbeck(sgd, dt=0.7), ls.OrnsteinUhlenbeck(sgd, dt=1.4)
    decay = decay_of(one)
    np.testing.assert_allclose(decay_of(two), decay @ decay, rtol=1e-12, atol=1e-15)
    for k in FREQUENCIES:
        together = step_exponent(one, k) + step_exponent(one, decay.T @ k)
        np.testing.assert_allclose(step_exponent(two, k), together, rtol=1e-12)


@pytest.mark.parametrize("name", FLOWS)
def test_noise_of_a_step_is_drawn_from_its_law(name):
    """Words fed directly; the characteristic function of what comes out."""
    kernel = ls.OrnsteinUhlenbeck(flow(name), dt=2.0)
    words = np.random.default_rng(1).integers(
        2**32, size=(200_000, kernel.words_per_step), dtype=np.uint32
    )
    draws = np.asarray(jax.jit(jax.vmap(kernel.noise))(words), float)
    for k in FREQUENCIES:
        expected = np.exp(-step_exponent(kernel, k))
        assert_mean(np.cos(draws @ k), expected, 0.05, f"{name}, k = {k}")
    assert kernel.drift.ndim == (2 if "eigen" in name or "low" in name or name == "gaussian" else 1)


@pytest.mark.parametrize("dt", [1e-3, 0.5, 50.0])
def test_stationary_law_is_kept_by_any_step(dt, float64):
    sgd = flow("gaussian")
    kernel, scale = ls.OrnsteinUhlenbeck(sgd, dt=dt), scale_of(sgd)
    stationary = solve_continuous_lyapunov(DENSE, scale @ scale.T)
    decay, root = decay_of(kernel), full(kernel.mixing)
    np.testing.assert_allclose(decay @ stationary @ decay.T + root @ root.T, stationary, rtol=1e-10)


def test_stationary_variance_in_the_engine():
    """At a step of three relaxation times; Euler's steps would diverge."""
    langevin = ls.Langevin(ls.Quadratic(DENSE), diffusion=0.3)
    paths = ls.simulate_paths(
        ls.OrnsteinUhlenbeck(langevin, dt=6.0),
        jnp.zeros(2),
        num=20_000,
        seed=2,
        every=1,
        max_steps=5,
    )
    last, expected = paths.positions[:, -1].astype(float), 0.3 * np.linalg.inv(DENSE)
    for i, j in ((0, 0), (0, 1), (1, 1)):
        assert_mean(last[:, i] * last[:, j], expected[i, j], 0.2, f"covariance {i}{j}")


def test_without_force_it_is_euler():
    sgd = flow("no force")
    exact, euler = ls.OrnsteinUhlenbeck(sgd, dt=0.3), ls.EulerMaruyama(sgd, dt=0.3)
    words = jnp.array([123456789, 3987654321], jnp.uint32)
    x = jnp.asarray(CENTRE + 1.0, dtype=float)
    np.testing.assert_allclose(exact.step(words, x), euler.step(words, x), rtol=1e-6)
    almost = ls.OrnsteinUhlenbeck(
        ls.SGD(ls.Quadratic(np.full(2, 1e-8), CENTRE), COMPONENTS, epsilon=0.6), dt=0.3
    )
    none = ls.OrnsteinUhlenbeck(
        ls.SGD(ls.Quadratic(np.zeros(2), CENTRE), COMPONENTS, epsilon=0.6), dt=0.3
    )
    np.testing.assert_allclose(almost.noise(words), none.noise(words), rtol=1e-6)


def test_a_short_step_keeps_its_digits():
    """In float32, 1 - e^{-h dt} would be 5% off at h dt = 1e-6."""
    kernel = ls.OrnsteinUhlenbeck(flow("gaussian, diagonal"), dt=1e-6)
    assert kernel.drift.dtype == jnp.float32
    np.testing.assert_allclose(kernel.drift, 1e-6, rtol=2e-6)


# Weak orders, without random numbers: the transition operator on a line by Gauss and Hermite's rule
# and splines, against the spectrum of the generator.
LINE = np.linspace(-2.5, 2.5, 1001)
DIFFUSION, END, START = 0.3, 0.5, 0.3


def double_well():
    return ls.Langevin(ls.DoubleWell(), diffusion=DIFFUSION)


def generator_mean(observable, cells):
    """`E observable(X_END)` from START: detailed balance on `cells` cells, an error of second
    order."""
    x = np.linspace(-2.5, 2.5, cells + 1)
    potential, width = (x**2 - 1) ** 2, x[1] - x[0]
    up = DIFFUSION / width**2 * np.exp(-np.diff(potential) / (2 * DIFFUSION))
    down = DIFFUSION / width**2 * np.exp(np.diff(potential) / (2 * DIFFUSION))
    values, vectors = eigh_tridiagonal(
        -(np.append(up, 0) + np.append(0, down)), np.full(cells, DIFFUSION / width**2)
    )
    weight = np.exp(-potential / (2 * DIFFUSION))
    i = int(np.argmin(np.abs(x - START)))
    assert abs(x[i] - START) < 1e-12
    return (vectors[i] * np.exp(values * END)) @ (vectors.T @ (weight * observable(x))) / weight[i]


def expected_mean(observable):
    coarse, fine = (generator_mean(observable, cells) for cells in (500, 1000))
    return fine + (fine - coarse) / 3


def scheme_mean(step, size, dt, observable):
    """The same by steps `step(noise, x)` with noise `size` times a normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    noise = jnp.asarray(size * nodes)[:, None]
    over = jax.vmap(jax.vmap(step, (0, None)), (None, 0))
    reached = np.clip(
        np.asarray(jax.jit(over)(noise, jnp.asarray(LINE)[:, None]))[..., 0], LINE[0], LINE[-1]
    )
    values = observable(LINE)
    for _ in range(round(END / dt)):
        values = CubicSpline(LINE, values)(reached) @ (weights / weights.sum())
    return float(CubicSpline(LINE, values)(START))


def weak_errors(make, observable, steps):
    """Errors of the kernels `make(dt)`, one for each dt."""
    expected, errors = expected_mean(observable), []
    for dt in steps:
        kernel = make(dt)
        if isinstance(kernel, ls.OrnsteinUhlenbeck):
            size, step = float(kernel.mixing[0]), kernel.advance
        elif isinstance(kernel, ls.TamedEuler):
            size, step = dt**0.5, kernel.advance
        else:
            size, step = dt**0.5, lambda w, x, kernel=kernel: kernel.dynamics.step(x, kernel.dt, w)
        errors.append(scheme_mean(step, size, dt, observable) - expected)
    return np.array(errors)


OBSERVABLES = {"mean": lambda x: x, "square": lambda x: x**2}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mean", pytest.param("square", marks=pytest.mark.slow)])
def test_weak_orders_on_a_double_well(name, float64):
    observable, steps = OBSERVABLES[name], [1 / 64, 1 / 128, 1 / 256]
    kinds, errors = (ls.OrnsteinUhlenbeck, ls.EulerMaruyama, ls.TamedEuler), {}
    for kind in kinds:
        errors[kind] = weak_errors(
            lambda dt, kind=kind: kind(double_well(), dt=dt), observable, steps
        )
    for kind, order, band in zip(kinds, (2, 1, 1), (0.1, 0.05, 0.05), strict=True):
        found = np.log2(np.abs(errors[kind][:-1] / errors[kind][1:]))
        assert abs(found[-1] - order) < band, (kind.__name__, errors[kind], found)
        assert abs(found[-1] - order) < abs(found[0] - order) + 0.02, (
            kind.__name__,
            errors[kind],
            found,
        )


def test_phi_functions():
    """`phi1(z) = integral_0^1 e^{-zs} ds`, `phi2(z) = integral_0^1 e^{-zs} (1 - s) ds`, also where
    their formulas cancel."""
    for z in (0.0, 1e-9, 3e-4, 9.9e-4, 1.01e-3, 0.5, 30.0, -1e-6, -2.0):
        for phi, weight in ((_phi1, lambda s: 1.0), (_phi2, lambda s: 1 - s)):
            expected = quad(
                lambda s, z=z, weight=weight: np.exp(-z * s) * weight(s), 0, 1, epsabs=1e-14
            )[0]
            np.testing.assert_allclose(phi(np.array(z)), expected, rtol=1e-10)


@pytest.mark.slow
def test_noiseless_splitting_is_of_second_order(float64):
    """In two dimensions, with an H that is not diagonal, against an adaptive solver."""
    well = ls.from_function(
        lambda x: jnp.sum(jnp.cosh(x)) + x[0] * x[1] / 2 + x[0] ** 4 / 4,
        dim=2,
        minimum=jnp.zeros(2),
    )
    dynamics, start = ls.Langevin(well, diffusion=0.1), np.array([1.0, -0.5])
    gradient = jax.jit(lambda x: well.gradient(x))
    exact = solve_ivp(
        lambda t, x: -np.asarray(gradient(x)), (0, 1), start, rtol=1e-12, atol=1e-13
    ).y[:, -1]
    walk = eqx.filter_jit(
        lambda k, x, num: jax.lax.fori_loop(0, num, lambda i, x: k.advance(jnp.zeros(2), x), x)
    )
    errors = []
    for steps in (64, 128, 256):
        kernel = ls.OrnsteinUhlenbeck(dynamics, dt=1 / steps)
        assert kernel.drift.ndim == 2
        end = walk(kernel, jnp.asarray(start), jnp.asarray(steps))
        errors.append(np.linalg.norm(np.asarray(end) - exact))
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 2, atol=0.2)


QUARTIC = ls.from_function(lambda x: jnp.sum(x**4) / 4, dim=2, minimum=jnp.zeros(2))


@pytest.mark.slow
@pytest.mark.parametrize(
    "dynamics",
    [
        ls.Langevin(QUARTIC, diffusion=30.0),
        ls.SGD(QUARTIC, ls.StableComponents(alpha=1.2), epsilon=3.0),
        # jumps beyond the float range of the force
        ls.SGD(QUARTIC, ls.StableIsotropic(alpha=0.5), epsilon=10.0),
    ],
    ids=["gaussian", "components", "isotropic"],
)
def test_tamed_stays_where_euler_explodes(dynamics):
    run = {"num": 64, "seed": 3, "every": 50, "max_steps": 200, "throw": False}
    start = jnp.array([3.0, -2.0])
    euler, tamed = (
        ls.simulate_paths(kind(dynamics, dt=0.1), start, **run)
        for kind in (ls.EulerMaruyama, ls.TamedEuler)
    )
    bad = ls.Status.NONFINITE
    assert (euler.status == bad).mean() > 0.9
    assert not (tamed.status == bad).any()
    if "Langevin" in tamed.kernel:
        assert np.abs(tamed.positions).max() < 50


@pytest.mark.slow
def test_tamed_from_far():
    """A start that Euler throws further out at each step comes in by less than one a step."""
    kernel = ls.TamedEuler(ls.Langevin(QUARTIC, diffusion=1e-6), dt=0.1)
    x = jnp.array([50.0, 0.0])
    moved = x - kernel.advance(jnp.zeros(2), x)
    assert 0.9 < float(moved[0]) < 1
    path = ls.simulate_paths(kernel, x, num=1, seed=0, every=1, max_steps=200).positions[0, :, 0]
    assert (np.diff(path[:40]) < 0).all()
    assert abs(path[-1]) < 0.5


def test_a_force_beyond_the_float_range_points_back():
    well = ls.DoubleWell(dim=2, stiffness=1e20)
    kernel, x = ls.TamedEuler(ls.Langevin(well, diffusion=1.0), dt=0.1), jnp.array([1e20, -1e20])
    np.testing.assert_array_equal(well.gradient(x), [np.inf, -np.inf])
    np.testing.assert_allclose(
        tamed(well.gradient(x), kernel.dt), np.array([1, -1]) / np.sqrt(2), rtol=1e-5
    )
    assert np.isfinite(kernel.advance(jnp.zeros(2), x)).all()


@pytest.mark.slow_cases("ito")
@pytest.mark.parametrize("convention", ["ito", "marcus"])
def test_tamed_differs_from_euler_by_dt_squared(convention, float64):
    scale = ls.StateScale(lambda x: 1 + x**2, dim=2)
    sgd = ls.SGD(QUARTIC, COMPONENTS, epsilon=0.3, scale=scale, convention=convention)
    x, words = jnp.array([0.7, -0.4]), jnp.array([1234567890, 3987654321], jnp.uint32)
    force = np.asarray(QUARTIC.gradient(x))
    for dt in (1e-2, 1e-4):
        tamed, euler = (kind(sgd, dt=dt) for kind in (ls.TamedEuler, ls.EulerMaruyama))
        difference = np.asarray(tamed.step(words, x) - euler.step(words, x)) / dt**2
        np.testing.assert_allclose(
            difference, np.linalg.norm(force) * force, rtol=2 * dt, atol=1e-6
        )


def kernels(driver, epsilon=0.5, dt=0.05):
    quadratic = ls.SGD(
        ls.Quadratic(np.array([2.0, 1.0])), driver, epsilon=epsilon, scale=np.array([1.0, 0.5])
    )
    well = ls.SGD(ls.DoubleWell(dim=2), driver, epsilon=epsilon)
    return {
        "exact": ls.OrnsteinUhlenbeck(quadratic, dt=dt),
        "split": ls.OrnsteinUhlenbeck(well, dt=dt),
        "tamed": ls.TamedEuler(well, dt=dt),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exact", "split", "tamed"])
@pytest.mark.parametrize("driver", [ls.Brownian(), COMPONENTS], ids=["brownian", "components"])
def test_kernels_in_the_engine(name, driver):
    kernel = kernels(driver)[name]
    words = jnp.zeros(kernel.words_per_step, jnp.uint32)
    assert is_lane_invariant(kernel.step, words, kernel.dynamics.attractor)
    basin = ls.Ball(radius=0.6, center=kernel.dynamics.attractor)
    runs = [
        ls.simulate_escape(
            kernel,
            basin,
            kernel.dynamics.attractor,
            num=96,
            seed=1,
            max_time=50.0,
            devices=1,
            lanes=lanes,
        )
        for lanes in (16, 64)
    ]
    assert runs[0].exited.mean() > 0.5
    for field in ("time", "exited", "last_inside", "first_outside", "steps", "status"):
        np.testing.assert_array_equal(getattr(runs[0], field), getattr(runs[1], field))
    other = kernels(driver, epsilon=0.7, dt=0.02)[name]
    # so that it compiles nothing new
    assert jax.tree.structure(other) == jax.tree.structure(kernel)
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(other)] == [
        (leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(kernel)
    ]


EULER = "EulerMaruyama"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ls.OrnsteinUhlenbeck(3, dt=0.1), "steps an equation of first order.*not 3"),
        (
            lambda: ls.OrnsteinUhlenbeck(
                ls.Momentum(QUARTIC, ls.Brownian(), epsilon=1.0, forgetting_rate=1.0), dt=0.1
            ),
            "not Momentum",
        ),
        (
            lambda: ls.TamedEuler(ls.Adam(QUARTIC, ls.Brownian(), epsilon=1.0), dt=0.1),
            f"not Adam.*{EULER}",
        ),
        (lambda: ls.TamedEuler(flow("gaussian"), dt=0.0), "dt must be positive"),
        (lambda: ls.OrnsteinUhlenbeck(flow("gaussian"), dt=-1.0), "dt must be positive"),
        (
            lambda: ls.OrnsteinUhlenbeck(
                ls.SGD(
                    QUARTIC,
                    ls.Brownian(),
                    epsilon=1.0,
                    scale=ls.StateScale(lambda x: 1 + x**2, dim=2),
                ),
                dt=0.1,
            ),
            f"StateScale must not depend on the position.*{EULER}",
        ),
        (
            lambda: ls.OrnsteinUhlenbeck(
                ls.SGD(QUARTIC, ls.SkewedComponents(alpha=1.5, skewness=0.5), epsilon=1.0), dt=0.1
            ),
            f"not for SkewedComponents.*{EULER}",
        ),
        (
            lambda: ls.OrnsteinUhlenbeck(
                ls.SGD(ls.Quadratic(DENSE), COMPONENTS, epsilon=1.0), dt=0.1
            ),
            f"column 0 of the scale is no eigenvector.*{EULER}",
        ),
        (
            lambda: ls.OrnsteinUhlenbeck(
                ls.SGD(ls.Quadratic(np.array([1.0, 2.0])), ISOTROPIC, epsilon=1.0), dt=0.1
            ),
            f"goes from 1 to 2.*{EULER}",
        ),
        (
            lambda: jax.jit(lambda dt: ls.OrnsteinUhlenbeck(flow("gaussian"), dt=dt))(0.1),
            "dt is traced",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.slow
def test_diffrax_is_imported_late():
    code = (
        "import sys, levysde as ls\n"
        "assert 'diffrax' not in sys.modules and {'DiffraxKernel', 'LevyPath'} <= set(dir(ls))\n"
        "ls.LevyPath, ls.DiffraxKernel\n"
        "assert 'diffrax' in sys.modules and not hasattr(ls, 'LevyPaths')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
