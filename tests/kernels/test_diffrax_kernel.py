"""Diffrax's solvers under the engine's words, and our drivers as paths of diffrax."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import pytest
from calls.noise import DRIVERS
from scipy.integrate import quad
from statistical import assert_mean

import levysde as ls

DENSE = np.array([[2.0, 0.5], [0.5, 1.0]])
STABLE = ls.StableComponents(alpha=1.5)


def quadratic(dim=2):
    hessian = DENSE if dim == 2 else np.eye(1)
    return ls.Quadratic(hessian)


def langevin(dim=2, diffusion=0.3):
    return ls.Langevin(quadratic(dim), diffusion=diffusion)


FLOWS = {
    "number": lambda: langevin(),
    "diagonal": lambda: ls.SGD(quadratic(), ls.Brownian(), epsilon=0.5, scale=np.array([1.0, 0.4])),
    "matrix": lambda: langevin(diffusion=np.array([[0.3, 0.1], [0.1, 0.2]])),
    "low rank": lambda: ls.SGD(
        quadratic(), ls.Brownian(), epsilon=0.5, scale=ls.LowRankScale(np.array([[1.0], [0.4]]))
    ),
    "state": lambda: ls.SGD(
        quadratic(),
        ls.Brownian(),
        epsilon=0.5,
        scale=ls.StateScale(lambda x: 1 + 0.1 * x**2, dim=2),
    ),
    "state matrix": lambda: ls.SGD(
        quadratic(),
        ls.Brownian(),
        epsilon=0.5,
        scale=ls.StateScale(lambda x: jnp.outer(1 + 0.1 * x**2, x), dim=2),
    ),
}


@pytest.mark.parametrize("name", FLOWS)
def test_its_euler_is_ours(name):
    flow, x = FLOWS[name](), jnp.array([0.7, -0.4])
    ours, theirs = ls.EulerMaruyama(flow, dt=0.05), ls.DiffraxKernel(flow, diffrax.Euler(), dt=0.05)
    assert ours.words_per_step == theirs.words_per_step
    words = np.random.default_rng(4).integers(
        2**32, size=(100, 8, ours.words_per_step), dtype=np.uint32
    )

    def walk(kernel, words):
        state = kernel.init(x, jnp.zeros(kernel.words_per_init, jnp.uint32))
        return jax.lax.scan(
            lambda state, w: ((new := kernel.step(w, state)), kernel.position(new)), state, words
        )[1]

    ours, theirs = (
        jax.jit(jax.vmap(functools.partial(walk, kernel), 1))(words) for kernel in (ours, theirs)
    )
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)
    assert np.ptp(ours[:, -1], axis=0).min() > 0.01


# Strong orders on a linear equation. With W and H known, only the part along K is missed: order 2,
# where elsewhere it is 1.5.
ORDERS = {"Euler": 1, "Heun": 1, "EulerHeun": 1, "ItoMilstein": 1, "SEA": 1}
ORDERS |= {"ShARK": 2, "SRA1": 2, "SPaRK": 2, "GeneralShARK": 2, "SlowRK": 2}


def one_step(name, dt):
    """`x' = a x + b.(W, H)` of a solver on `dx = -x dt + dW`: a, b."""
    kernel = ls.DiffraxKernel(langevin(1, diffusion=0.5), getattr(diffrax, name)(), dt=dt)
    unit = [jnp.eye(kernel.level + 1)[:, i : i + 1] for i in range(kernel.level + 1)]
    still = [jnp.zeros(1)] * len(unit)

    @jax.jit
    def step(noise, x):
        return kernel.advance(noise, kernel.init(x, jnp.zeros(0, jnp.uint32)))[0][0]

    first = [[part[j] for part in unit] for j in range(len(unit))]
    return float(step(still, jnp.ones(1))), np.array(
        [step(noise, jnp.zeros(1)) for noise in first], float
    )


def strong_error(name, dt, end=1.0):
    """Root mean square of `x_n - X(end)` for x(0) = 1 and one Brownian motion, without random
    numbers: the covariances of W, H and the exact noise of a step, `integral e^{-(dt-s)} dW`, by
    quadrature of their kernels."""
    a, b = one_step(name, dt)
    decay = np.exp(-dt)

    def defect(s):
        u = s / dt
        return np.dot(b, [1.0, 0.5 - u][: len(b)]) - np.exp(-(dt - s))

    gap = quad(lambda s: defect(s) ** 2, 0, dt, epsabs=1e-16)[0]
    cross = quad(lambda s: defect(s) * np.exp(-(dt - s)), 0, dt, epsabs=1e-16)[0]
    own = (1 - decay**2) / 2
    # moments of e = x - X and X: e' = a e + (a - decay) X + noise, X' = decay X + noise
    matrix = np.array([[a, a - decay], [0, decay]])
    moment = np.array([[0.0, 0.0], [0.0, 1.0]])
    for _ in range(round(end / dt)):
        moment = matrix @ moment @ matrix.T + np.array([[gap, cross], [cross, own]])
    return np.sqrt(moment[0, 0])


@pytest.mark.parametrize("name", ORDERS)
def test_strong_orders(name, float64):
    errors = np.array([strong_error(name, dt) for dt in (1 / 8, 1 / 16, 1 / 32)])
    orders = np.log2(errors[:-1] / errors[1:])
    assert abs(orders[-1] - ORDERS[name]) < 0.06, (errors, orders)


@pytest.mark.slow
def test_weak_orders(float64):
    """The variance at time 1: order 1 for Euler, 2 for Heun."""
    for name, order in (("Euler", 1), ("Heun", 2)):
        errors = []
        for dt in (1 / 8, 1 / 16, 1 / 32):
            (a, b), n = one_step(name, dt), round(1 / dt)
            errors.append(b[0] ** 2 * dt * (1 - a ** (2 * n)) / (1 - a**2) - (1 - np.exp(-2)) / 2)
        orders = np.log2(np.abs(np.array(errors[:-1]) / errors[1:]))
        assert abs(orders[-1] - order) < 0.12, (name, errors, orders)


def halves_joined(first, second):
    """(W, H) of two equal steps as those of one (Chen's relation)."""
    return [first[0] + second[0], (first[1] + second[1]) / 2 + (first[0] - second[0]) / 4]


@pytest.mark.slow
def test_shark_beats_euler_on_a_double_well(float64):
    """Strong errors with one Brownian motion at three steps, against 16 times finer steps of its
    own."""
    flow, x = ls.Langevin(ls.DoubleWell(), diffusion=0.2), -jnp.ones(1)
    levels, finest, rng = (5, 6, 7), 11, np.random.default_rng(0)
    h, num = 2.0**-finest, 400
    noise = [
        np.sqrt(h) * rng.normal(size=(2**finest, num, 1)),
        np.sqrt(h / 12) * rng.normal(size=(2**finest, num, 1)),
    ]
    ends = {}
    for level in range(finest, min(levels) - 1, -1):
        if level in (*levels, finest):
            for name in ("ShARK", "Euler"):
                kernel = ls.DiffraxKernel(flow, getattr(diffrax, name)(), dt=2.0**-level)
                parts = [jnp.asarray(part) for part in noise[: kernel.level + 1]]

                def path(*noise, kernel=kernel):
                    def body(state, now):
                        return kernel.advance(list(now), state), None

                    return jax.lax.scan(body, kernel.init(x, jnp.zeros(0, jnp.uint32)), noise)[0][0]

                ends[name, level] = np.asarray(jax.jit(jax.vmap(path, in_axes=1))(*parts))
        noise = halves_joined([part[::2] for part in noise], [part[1::2] for part in noise])
    exact = ends["ShARK", finest]
    errors = {
        name: np.array([np.sqrt(np.mean((ends[name, level] - exact) ** 2)) for level in levels])
        for name in ("ShARK", "Euler")
    }
    orders = {name: np.log2(e[:-1] / e[1:]) for name, e in errors.items()}
    assert (orders["ShARK"] > 1.35).all(), (errors, orders)
    assert (orders["Euler"] < 1.15).all(), (errors, orders)
    assert errors["ShARK"][-1] < errors["Euler"][-1] / 10


class _AsksForAll(diffrax.Euler):
    minimal_levy_area = diffrax.AbstractSpaceTimeTimeLevyArea


def test_noise_has_its_law():
    """Variances dt, dt/12, dt/720, and no correlation: W, H, K are each from words of their own."""
    dt = 0.3
    for solver, count in ((diffrax.Euler(), 1), (diffrax.ShARK(), 2), (_AsksForAll(), 3)):
        kernel = ls.DiffraxKernel(langevin(), solver, dt=dt)
        assert kernel.words_per_step == 2 * count
        words = np.random.default_rng(3).integers(2**32, size=(50_000, 2 * count), dtype=np.uint32)
        parts = [np.asarray(part, float) for part in jax.jit(jax.vmap(kernel.noise))(words)]
        assert len(parts) == count
        columns = np.concatenate(parts, 1) / np.sqrt(np.repeat([dt, dt / 12, dt / 720][:count], 2))
        for i in range(2 * count):
            for j in range(i + 1):
                assert_mean(
                    columns[:, i] * columns[:, j] + 1,
                    2.0 if i == j else 1.0,
                    0.04,
                    f"covariance {i}{j}",
                )


def test_conventions(float64):
    """Ito's Milstein and Heun's method differ by the drift `eps^2 s s' / 2` that their equations
    differ by."""
    scale, eps, dt = ls.StateScale(lambda x: 1 + x**2, dim=1), 0.5, 1e-4
    x, flat = jnp.array([0.7]), ls.Quadratic(np.zeros((1, 1)))
    s, slope, w = 1 + 0.7**2, 2 * 0.7, float(np.sqrt(dt))
    means = {}
    for convention, solver in (("ito", diffrax.ItoMilstein()), ("marcus", diffrax.Heun())):
        flow = ls.SGD(flat, ls.Brownian(), epsilon=eps, scale=scale, convention=convention)
        kernel = ls.DiffraxKernel(flow, solver, dt=dt)
        state = kernel.init(x, jnp.zeros(0, jnp.uint32))
        step = jax.jit(
            lambda noise, kernel=kernel, state=state: kernel.advance([noise], state)[0][0]
        )
        up, down = (float(step(jnp.array([sign * w]))) for sign in (1, -1))
        np.testing.assert_allclose((up - down) / (2 * w), eps * s, rtol=1e-3)
        means[convention] = ((up + down) / 2 - 0.7) / dt
    np.testing.assert_allclose(means["ito"], 0, atol=1e-8)
    np.testing.assert_allclose(means["marcus"], eps**2 * s * slope / 2, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Euler", "Heun", "ShARK"])
def test_solvers_in_the_engine(name):
    well = ls.DoubleWell(barrier=0.5, dim=2)
    kernel = ls.DiffraxKernel(ls.Langevin(well, diffusion=0.2), getattr(diffrax, name)(), dt=0.05)
    basin = ls.Ball(radius=0.8, center=well.minimum)
    runs = [
        ls.simulate_escape(
            kernel, basin, well.minimum, num=96, seed=1, max_time=50.0, devices=1, lanes=lanes
        )
        for lanes in (16, 64)
    ]
    assert runs[0].exited.mean() > 0.5
    for field in ("time", "exited", "last_inside", "first_outside", "steps", "status"):
        np.testing.assert_array_equal(getattr(runs[0], field), getattr(runs[1], field))
    other = ls.DiffraxKernel(ls.Langevin(well, diffusion=0.3), getattr(diffrax, name)(), dt=0.02)
    assert jax.tree.structure(other) == jax.tree.structure(kernel)


@pytest.mark.slow
def test_a_solver_whose_second_state_drifts_away_is_told():
    """ReversibleHeun keeps two states, whose difference grows at every decaying flow."""
    well = ls.DoubleWell(barrier=0.5, dim=2)
    kernel = ls.DiffraxKernel(ls.Langevin(well, diffusion=0.2), diffrax.ReversibleHeun(), dt=0.05)
    basin = ls.Ball(radius=0.8, center=well.minimum)
    with pytest.warns(ls.StabilityWarning, match=r"multiplies a deviation from it by 1\.2"):
        ls.simulate_escape(kernel, basin, well.minimum, num=4, seed=1, max_time=1.0)


def state_dependent(convention):
    scale = ls.StateScale(lambda x: 1 + x**2, dim=2)
    return ls.SGD(quadratic(), ls.Brownian(), epsilon=0.1, scale=scale, convention=convention)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ls.DiffraxKernel(
                ls.SGD(quadratic(), STABLE, epsilon=0.1), diffrax.Euler(), dt=0.1
            ),
            "no Brownian path",
        ),
        (lambda: ls.DiffraxKernel(langevin(), diffrax.Euler, dt=0.1), "must be an AbstractSolver"),
        (lambda: ls.DiffraxKernel(langevin(), "Euler", dt=0.1), "must be an AbstractSolver"),
        (lambda: ls.DiffraxKernel(langevin(), diffrax.Tsit5(), dt=0.1), "Tsit5 is no solver"),
        (lambda: ls.DiffraxKernel(langevin(), diffrax.QUICSORT(), dt=0.1), "QUICSORT is no solver"),
        (lambda: ls.DiffraxKernel(langevin(), diffrax.Kvaerno3(), dt=0.1), "Kvaerno3 is implicit"),
        (
            lambda: ls.DiffraxKernel(langevin(), diffrax.HalfSolver(diffrax.Heun()), dt=0.1),
            "a part of its step",
        ),
        (
            lambda: ls.DiffraxKernel(state_dependent("ito"), diffrax.Heun(), dt=0.1),
            'convention="marcus"',
        ),
        (
            lambda: ls.DiffraxKernel(state_dependent("marcus"), diffrax.Euler(), dt=0.1),
            'convention="ito"',
        ),
        (
            lambda: ls.DiffraxKernel(state_dependent("marcus"), diffrax.ShARK(), dt=0.1),
            "ShARK cannot step",
        ),
        (lambda: ls.DiffraxKernel(langevin(), diffrax.Euler(), dt=0.0), "dt must be positive"),
        (
            lambda: ls.DiffraxKernel(3, diffrax.Euler(), dt=0.1),
            "terms must be SGD, Langevin or SDE",
        ),
        (
            lambda: ls.Reflected(
                ls.DiffraxKernel(langevin(), diffrax.Euler(), dt=0.1),
                ls.Ball(radius=1.0, center=jnp.zeros(2)),
            ),
            "DiffraxKernel may keep more than the position",
        ),
        (lambda: ls.LevyPath(3, 2, dt=0.1, seed=0), "driver must be a Driver"),
        (lambda: ls.LevyPath(STABLE, 0, dt=0.1, seed=0), "dim must be"),
        (lambda: ls.LevyPath(STABLE, 2, dt=0.0, seed=0), "dt must be positive"),
        (lambda: ls.LevyPath(STABLE, 2, dt=0.1, seed=-1), "seed must be"),
        (lambda: ls.LevyPath(STABLE, 2, dt=0.1, seed=0, trajectory=-1), "trajectory must be"),
        (
            lambda: ls.LevyPath(STABLE, 2, dt=0.1, seed=0, trajectory=jnp.arange(3)),
            "trajectory must be",
        ),
        (lambda: ls.LevyPath(STABLE, 2, dt=0.1, seed=0, trajectory=0.5), "trajectory must be"),
        (
            lambda: jax.vmap(lambda i: ls.LevyPath(STABLE, 2, dt=0.1, seed=0, trajectory=i))(
                jnp.ones(3)
            ),
            "one integer",
        ),
        (lambda: ls.LevyPath(ls.StudentT(df=3.0, dt=0.1), 2, dt=0.2, seed=0), "dt"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def solved(path, flow, x, steps, dt0, controller):
    """diffrax's own Euler over so many steps of the path."""
    terms = diffrax.MultiTerm(
        diffrax.ODETerm(lambda t, y, args: -flow.landscape.gradient(y)),
        diffrax.ControlTerm(lambda t, y, args: flow.epsilon * jnp.eye(2), path),
    )
    return diffrax.diffeqsolve(
        terms,
        diffrax.Euler(),
        t0=0.0,
        t1=steps * path.dt,
        dt0=dt0,
        y0=x,
        saveat=diffrax.SaveAt(steps=True),
        stepsize_controller=controller,
        max_steps=steps + 1,
    ).ys[:steps]


@pytest.mark.slow
@pytest.mark.parametrize(
    "driver",
    [ls.Brownian(), STABLE, ls.StableIsotropic(alpha=1.2)],
    ids=["brownian", "components", "isotropic"],
)
def test_diffeqsolve_makes_our_trajectories(driver):
    """diffrax's user loop, vmapped over trajectories, makes the paths of `simulate_paths`."""
    flow, x, steps = ls.SGD(quadratic(), driver, epsilon=0.2), jnp.array([0.5, -0.3]), 64
    ours = ls.simulate_paths(
        ls.EulerMaruyama(flow, dt=2.0**-6), x, ids=range(4), seed=7, every=1, max_steps=steps
    )

    def solve(trajectory):
        path = ls.LevyPath(driver, 2, dt=2.0**-6, seed=7, trajectory=trajectory)
        return solved(path, flow, x, steps, path.dt, diffrax.ConstantStepSize())

    theirs = jax.jit(jax.vmap(solve))(jnp.arange(4))
    np.testing.assert_allclose(theirs, ours.positions[:, 1:], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRIVERS)
def test_every_driver_has_a_path(name):
    """In `diffeqsolve` under vmap, jit and grad, the steps of the engine."""
    make, dim, dt = DRIVERS[name]
    driver, steps, x = make(), 12, jnp.ones(dim)

    def end(epsilon, trajectory):
        path = ls.LevyPath(driver, dim, dt=dt, seed=7, trajectory=trajectory)
        terms = diffrax.MultiTerm(
            diffrax.ODETerm(lambda t, y, args: -0.1 * y),
            diffrax.ControlTerm(
                lambda t, y, args: lineax.DiagonalLinearOperator(args * jnp.ones(dim)), path
            ),
        )
        end = steps * path.dt
        solution = diffrax.diffeqsolve(
            terms, diffrax.Euler(), 0.0, end, path.dt, x, args=epsilon, max_steps=steps + 1
        )
        return jnp.sum(solution.ys), solution.ys[0]

    ends = jax.value_and_grad(end, has_aux=True)
    (_, theirs), slopes = jax.jit(jax.vmap(ends, (None, 0)))(0.3, jnp.arange(4))
    kernel = ls.EulerMaruyama(ls.SDE(lambda x: -0.1 * x, driver, dim=dim, epsilon=0.3), dt=dt)
    paths = ls.simulate_paths(kernel, x, ids=range(4), seed=7, every=1, max_steps=steps)
    ours = paths.positions[:, -1]
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)
    still = float((1 - 0.1 * dt) ** steps)  # linear in epsilon, so the slope is known
    np.testing.assert_allclose(slopes, (ours - still).sum(1) / 0.3, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["components", "truncated"])
def test_a_driver_made_inside_jit_makes_the_same_draws(name):
    make, dim, dt = DRIVERS[name]

    def increment():
        return ls.LevyPath(make(), dim, dt=dt, seed=1).evaluate(0.0, dt)

    np.testing.assert_allclose(jax.jit(increment)(), increment(), rtol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ls.LevyPath(ls.StudentT(df=3.0, dt=0.1), 2, dt=0.2, seed=0),
        lambda: ls.LevyPath(ls.TemperedComponents(1.5, 1e-3), 2, dt=0.2, seed=0),
        lambda: ls.LevyPath(ls.TruncatedComponents(1.5, 1e-3), 2, dt=0.2, seed=0),
        lambda: ls.EulerMaruyama(ls.SDE(lambda x: -x, ls.StudentT(df=3.0, dt=0.1), dim=2), dt=0.2),
    ],
)
def test_a_step_that_a_driver_does_not_have_is_refused_inside_jit(make):
    with pytest.raises(ValueError, match=r"dt = 0\.2"):
        jax.eval_shape(lambda: (make(), jnp.zeros(()))[1])


@pytest.mark.slow
def test_a_step_that_floats_do_not_hold():
    """At dt = 0.01 the times of diffrax are off the grid by rounding, which is let pass; another
    step is not."""
    flow, x, big = ls.SGD(quadratic(), STABLE, epsilon=0.2), jnp.array([0.5, -0.3]), 2**63 + 12345
    ours = ls.simulate_paths(
        ls.EulerMaruyama(flow, dt=0.01), x, ids=[big], seed=2**40, every=1, max_steps=4000
    )
    path, constant = (
        ls.LevyPath(STABLE, 2, dt=0.01, seed=2**40, trajectory=big),
        diffrax.ConstantStepSize(),
    )
    theirs = {
        "constant": solved(path, flow, x, 4000, path.dt, constant),
        "given": solved(path, flow, x, 1000, None, diffrax.StepTo(ts=0.01 * np.arange(1001))),
    }
    for name, points in theirs.items():
        np.testing.assert_allclose(
            points, ours.positions[0, 1 : 1 + len(points)], rtol=1e-3, atol=1e-3, err_msg=name
        )
    with pytest.raises(Exception, match="multiples of its dt only"):
        jax.block_until_ready(solved(path, flow, x, 10, 0.004, constant))


@pytest.mark.slow
def test_increments_add_up(float64):
    path = ls.LevyPath(STABLE, 3, dt=0.25, seed=1, trajectory=5)
    assert isinstance(path, diffrax.AbstractPath)
    whole = path.evaluate(0.5, 2.0)
    pieces = [path.evaluate(0.25 * i, 0.25 * (i + 1)) for i in range(2, 8)]
    np.testing.assert_allclose(whole, sum(pieces), rtol=1e-12)
    np.testing.assert_allclose(path.evaluate(2.0) - path.evaluate(0.5), whole, rtol=1e-10)
    np.testing.assert_array_equal(path.evaluate(0.0), np.zeros(3))
    other = ls.LevyPath(STABLE, 3, dt=0.25, seed=1, trajectory=6)
    assert (np.abs(np.asarray(other.evaluate(0.0, 0.25) - path.evaluate(0.0, 0.25))) > 1e-6).all()
    for times in ((0.1, 0.25), (0.25, 0.4), (-0.25, 0.25)):
        with pytest.raises(Exception, match="multiples of its dt only"):
            jax.block_until_ready(eqx.filter_jit(path.evaluate)(*times))


def test_stationary_scale_by_diffrax():
    """An Ornstein-Uhlenbeck process by diffrax with stable noise: `E cos(k X) = exp(-|k eps|^a /
    a)` at stationarity."""
    alpha, eps, dt, steps = 1.5, 0.5, 2.0**-5, 160

    def end(trajectory):
        path = ls.LevyPath(STABLE, 1, dt=dt, seed=11, trajectory=trajectory)
        terms = diffrax.MultiTerm(
            diffrax.ODETerm(lambda t, y, args: -y),
            diffrax.ControlTerm(lambda t, y, args: eps * jnp.eye(1), path),
        )
        solution = diffrax.diffeqsolve(
            terms, diffrax.Euler(), 0.0, steps * dt, dt, jnp.zeros(1), max_steps=steps + 1
        )
        return solution.ys[0, 0]

    ends = np.asarray(jax.jit(jax.vmap(end))(jnp.arange(20_000)), float)
    # of the Euler scheme itself: sum of dt (1 - dt)^(a i)
    weight = dt * np.sum((1 - dt) ** (alpha * np.arange(steps)))
    assert abs(weight - 1 / alpha) < 0.02
    for k in (1.0, 2.0):
        assert_mean(np.cos(k * ends), np.exp(-((k * eps) ** alpha) * weight), 0.05, f"k = {k}")
