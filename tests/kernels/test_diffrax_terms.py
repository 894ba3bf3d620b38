"""Diffrax's terms as kernels: the steps of `diffrax.diffeqsolve` on the same increments, moments
and exits in closed form, and the same bits for any layout."""

import functools
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import pytest
from statistical import assert_mean

import levysde as ls
from levysde.escape import Status
from levysde.kernels.diffrax_terms import DiffraxSDE
from levysde.sweeps.parts import NamedPart, build
from levysde.theory import exact_exit

AREAS = (diffrax.BrownianIncrement, diffrax.SpaceTimeLevyArea, diffrax.SpaceTimeTimeLevyArea)
MATRIX = np.array([[2.0, 0.5], [-0.3, 1.0]])
WIDE = np.array([[0.5, 0.1, 0.2], [0.3, -0.1, 0.4]])
BALL = ls.Ball(radius=1.0, center=jnp.zeros(2))


def path(shape):
    return diffrax.UnsafeBrownianPath(shape=shape, key=jax.random.key(0))


def terms_of(f, g, shape=(2,)):
    return diffrax.MultiTerm(diffrax.ODETerm(f), diffrax.ControlTerm(g, path(shape)))


def made(f, g, shape=(2,), solver=None, *, dt=0.05, dim=2, args=None, attractor=None):
    solver = solver or diffrax.Euler()
    terms = terms_of(f, g, shape)
    return ls.DiffraxKernel(terms, solver, dt=dt, dim=dim, args=args, attractor=attractor)


def pull(t, y, args):
    return -y


def even(t, y, args):
    return 0.5 * jnp.eye(2)


# --- the steps of diffrax


def turning(t, y, args):
    return -jnp.asarray(MATRIX) @ y * (1 + jnp.sin(3 * t)) + args


FIELDS = {  # name -> diffusion, shape of the control
    "diagonal": (lambda t, y, args: lineax.DiagonalLinearOperator(args + jnp.arange(1.0, 3)), (2,)),
    "wide, of t": (lambda t, y, args: jnp.asarray(WIDE) * (1 + t), (3,)),
    "one noise, of t": (lambda t, y, args: jnp.array([0.5, 0.1]) * jnp.cos(t), ()),
    "diagonal of y": (lambda t, y, args: lineax.DiagonalLinearOperator(0.5 + jnp.sin(y)), (2,)),
    "operator of t and y": (
        lambda t, y, args: lineax.MatrixLinearOperator(jnp.asarray(WIDE) * (1 + t * y[0])),
        (3,),
    ),
}
ADDITIVE = ("ShARK", "SRA1", "SEA")  # their noise must not depend on y
GENERAL = ("Euler", "Heun", "EulerHeun", "Midpoint", "ItoMilstein", "StratonovichMilstein")
GENERAL += ("Ralston", "ReversibleHeun", "SlowRK", "SPaRK", "GeneralShARK")


class Given(diffrax.AbstractBrownianPath):
    """Increments known beforehand, one for each step."""

    noise: Any
    dt: float
    levy_area: Any
    t0 = 0.0
    t1 = float("inf")

    def evaluate(self, t0, t1=None, left=True, use_levy=False):
        parts = [part[jnp.round(t0 / self.dt).astype(int)] for part in self.noise]
        return self.levy_area(jnp.asarray(t1 - t0), *parts) if use_levy else parts[0]


CASES = [(solver, field) for solver in GENERAL for field in FIELDS]
CASES += [(solver, field) for solver in ADDITIVE for field in FIELDS if "y" not in field]


@pytest.mark.slow_cases(
    but=("Euler-wide, of t", "Heun-diagonal of y", "ReversibleHeun-diagonal", "ShARK-wide, of t")
)
@pytest.mark.parametrize(("name", "field"), CASES, ids=["-".join(case) for case in CASES])
def test_a_solver_makes_the_steps_that_it_makes_in_diffrax(name, field, float64):
    (g, shape), solver, dt, steps = FIELDS[field], getattr(diffrax, name)(), 2.0**-4, 16
    x, args = jnp.array([0.7, -0.4]), jnp.asarray(0.1)
    kernel = made(turning, g, shape, solver, dt=dt, args=args)
    rng = np.random.default_rng(0)
    noise = [
        jnp.asarray(rng.normal(size=(steps, *shape)) * np.sqrt(dt * variance))
        for variance in (1, 1 / 12, 1 / 720)[: kernel.level + 1]
    ]

    @eqx.filter_jit
    def walk(kernel, noise):
        def step(state, now):
            state = kernel.advance(now, state)
            return state, kernel.position(state)

        rows = [part.reshape(steps, -1) for part in noise]
        return jax.lax.scan(step, kernel.init(x, jnp.zeros(0, jnp.uint32)), rows)[1]

    terms = diffrax.MultiTerm(
        diffrax.ODETerm(turning),
        diffrax.ControlTerm(g, Given(noise, dt, AREAS[kernel.level])),
    )
    solution = diffrax.diffeqsolve(
        terms,
        solver,
        0.0,
        steps * dt,
        dt,
        x,
        args=args,
        saveat=diffrax.SaveAt(steps=True),
        max_steps=steps + 1,
    )
    np.testing.assert_allclose(walk(kernel, noise), solution.ys[:steps], rtol=1e-11, atol=1e-12)


FORMS = {
    "matrix": (even, (2,), 0.5 * jnp.eye(2)),
    "wide matrix": (
        lambda t, y, args: jnp.asarray(WIDE),
        (3,),
        ls.LowRankScale(np.asarray(WIDE)),
    ),
    "diagonal": (
        lambda t, y, args: 0.5 * lineax.DiagonalLinearOperator(jnp.array([1.0, 0.4])),
        (2,),
        jnp.array([0.5, 0.2]),
    ),
    "vector": (lambda t, y, args: jnp.array([0.5, 0.2]), (2,), jnp.array([0.5, 0.2])),
    "one noise": (
        lambda t, y, args: jnp.array([0.5, 0.2]),
        (),
        ls.LowRankScale(np.array([[0.5], [0.2]])),
    ),
    "vector of y": (lambda t, y, args: 1 + 0.1 * y**2, (2,), lambda x: 1 + 0.1 * x**2),
    "tree": (
        lambda t, y, args: even(t, y, args),
        diffrax.VirtualBrownianTree(0.0, 1.0, 0.1, (2,), jax.random.key(1)),
        0.5 * jnp.eye(2),
    ),
}


@pytest.mark.slow_cases(but=("wide matrix", "vector of y"))
@pytest.mark.parametrize("form", FORMS)
def test_its_euler_makes_the_paths_of_euler_maruyama(form):
    g, shape, scale = FORMS[form]
    control = shape if isinstance(shape, diffrax.AbstractPath) else path(shape)
    terms = diffrax.MultiTerm(diffrax.ODETerm(pull), diffrax.ControlTerm(g, control))
    theirs = ls.DiffraxKernel(terms, diffrax.Euler(), dt=0.05, dim=2)
    ours = ls.EulerMaruyama(ls.SDE(lambda x: -x, ls.Brownian(), dim=2, scale=scale), dt=0.05)
    assert isinstance(theirs.dynamics, ls.SDE)
    assert type(theirs.dynamics.scale) is type(ours.dynamics.scale)
    assert len(jax.tree.leaves(theirs.init(jnp.ones(2), jnp.zeros(0, jnp.uint32)))) == 1
    paths = [
        ls.simulate_paths(kernel, jnp.ones(2), num=4, seed=3, every=1, max_steps=40).positions
        for kernel in (ours, theirs)
    ]
    np.testing.assert_allclose(paths[1], paths[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["Euler", "EulerHeun"])
def test_the_dynamics_of_terms_of_t_step_as_the_kernel(solver):
    """Euler where the noise is read as Ito, Euler-Heun where it is Stratonovich."""
    g, shape = FIELDS["operator of t and y"]
    kernel = made(turning, g, shape, getattr(diffrax, solver)(), args=0.1)
    assert isinstance(kernel.dynamics, DiffraxSDE)
    pairs = [
        ls.simulate_paths(k, jnp.ones(2), num=4, seed=3, every=1, max_steps=40).positions
        for k in (kernel, ls.EulerMaruyama(kernel.dynamics, dt=0.05))
    ]
    np.testing.assert_allclose(pairs[1], pairs[0], rtol=1e-4, atol=1e-5)


# --- what the fields read


def test_a_field_that_ignores_t_is_autonomous_however_it_is_written():
    jitted = jax.jit(lambda t, y, args: jnp.where(y > 0, -y, -2 * y))

    def looped(t, y, args):
        return jax.lax.scan(lambda c, _: ((c[0], c[1] / 2), None), (t, -y), None, 3)[0][1]

    for f in (pull, jitted, looped):
        assert isinstance(made(f, even).dynamics, ls.SDE)
    for f in (lambda t, y, args: -y * t, lambda t, y, args: jnp.where(t > 1, y, -y)):
        dynamics = made(f, even).dynamics
        assert isinstance(dynamics, DiffraxSDE)
        assert dynamics.reads_time


def test_solvers_for_additive_noise_take_a_diffusion_that_looks_at_y_and_does_not_use_it():
    kernel = made(pull, lambda t, y, args: (1 + t) * jnp.eye(y.size), solver=diffrax.ShARK())
    assert kernel.level == 1


def test_a_stratonovich_solver_reads_the_noise_so(float64):
    """The means of a step differ by the drift `g g' / 2`."""
    x, dt = jnp.array([0.7]), 1e-4
    value, slope, w = 0.5 * (1 + 0.7**2), 0.7, np.sqrt(dt)
    for solver, expected in ((diffrax.ItoMilstein(), 0.0), (diffrax.Heun(), value * slope / 2)):
        kernel = made(
            lambda t, y, args: 0 * y,
            lambda t, y, args: 0.5 * (1 + y**2),
            (),
            solver,
            dim=1,
            dt=dt,
        )
        state = kernel.init(x, jnp.zeros(0, jnp.uint32))
        step = eqx.filter_jit(lambda kernel, state, z: kernel.advance([z], state)[0][0])
        up, down = (float(step(kernel, state, jnp.array([s * w]))) for s in (1, -1))
        np.testing.assert_allclose(((up + down) / 2 - 0.7) / dt, expected, rtol=1e-3, atol=1e-8)
        assert isinstance(kernel.dynamics, ls.SDE) == (expected == 0)


class Net(eqx.Module):
    layer: eqx.nn.MLP

    def __call__(self, t, y, args):
        return self.layer(y) - y


def test_networks_and_args_are_leaves_of_the_program():
    def kernel(seed, size):
        f = Net(eqx.nn.MLP(2, 2, 4, 1, key=jax.random.key(seed)))
        g = lambda t, y, args: args["size"] * even(t, y, args)  # noqa: E731
        return made(f, g, args={"size": jnp.asarray(size), "name": "any"})

    g = functools.partial(even)
    first, other = kernel(0, 0.3), kernel(1, 0.4)
    assert isinstance(first.dynamics, ls.SDE)
    assert len(jax.tree.leaves(first.dynamics.drift)) == 4 + 2
    fixed = [made(pull, g, args=jnp.asarray(size)) for size in (1.0, 2.0)]
    assert jax.tree.structure(fixed[0]) == jax.tree.structure(fixed[1])
    np.testing.assert_allclose(other.dynamics.scale.matrix, 0.2 * np.eye(2), rtol=1e-6)


def test_a_gradient_through_args(float64):
    def end(strength):
        kernel = made(lambda t, y, a: -a * t * y, lambda t, y, a: a * even(t, y, a), args=strength)
        return ls.sample_paths(kernel, jnp.ones(2), seed=0, num_steps=5)[-1, 0]

    h = 1e-6
    difference = (end(jnp.asarray(1.0 + h)) - end(jnp.asarray(1.0 - h))) / (2 * h)
    np.testing.assert_allclose(jax.jit(jax.grad(end))(1.0), difference, rtol=1e-7)


# --- laws


def test_the_noise_of_a_wide_diffusion_has_its_covariance():
    kernel, dt = made(pull, lambda t, y, args: jnp.asarray(WIDE), (3,)), 0.05
    words = np.random.default_rng(1).integers(
        2**32, size=(40_000, kernel.words_per_step), dtype=np.uint32
    )
    steps = jax.jit(jax.vmap(lambda w: kernel.step(w, kernel.settled(jnp.zeros(2)))[0]))(words)
    steps, expected = np.asarray(steps, float), dt * WIDE @ WIDE.T
    for i, j in ((0, 0), (0, 1), (1, 1)):
        assert_mean(steps[:, i] * steps[:, j], expected[i, j], 0.06, f"covariance {i}{j}")


@pytest.mark.parametrize(("solver", "dt"), [("Heun", 0.05), ("ShARK", 0.05), ("Euler", 0.0025)])
def test_moments_of_a_drift_that_grows_in_time(solver, dt):
    """`dX = -t X dt + dW` from 1: mean `exp(-t^2 / 2)`, variance `integral exp(s^2 - t^2) ds`."""
    solver = getattr(diffrax, solver)()
    kernel = made(
        lambda t, y, args: -t * y, lambda t, y, args: jnp.ones(1), (), solver, dim=1, dt=dt
    )
    num, steps = 20_000, round(0.5 / dt)

    @jax.jit
    def half(keys, state):
        def step(state, key):
            words = jax.random.bits(key, (num, kernel.words_per_step))
            return jax.vmap(kernel.step)(words, state), None

        return jax.lax.scan(step, state, keys)[0]

    state = jax.vmap(kernel.settled)(jnp.ones((num, 1)))
    s = np.linspace(0, 1, 20_001)
    for i, t in enumerate((0.5, 1.0, 1.5)):
        state = half(jax.random.split(jax.random.key(i), steps), state)
        sample = np.asarray(state[0][:, 0], float)
        mean = np.exp(-(t**2) / 2)
        variance = np.trapezoid(np.exp((s * t) ** 2 - t**2), s * t)
        assert_mean(sample + 1 - mean, 1.0, 0.05, f"mean at {t}")
        assert_mean((sample - mean) ** 2, variance, 0.06, f"variance at {t}")


def test_exact_exit_takes_ito_terms():
    g = lambda t, y, args: args * jnp.sqrt(0.5 + y**2)  # noqa: E731
    interval = ls.Ball(radius=1.0, center=jnp.zeros(1))
    kernel = made(pull, g, (), dim=1, args=jnp.asarray(0.7), attractor=jnp.zeros(1))
    sde = ls.SDE(
        lambda x: -x,
        ls.Brownian(),
        dim=1,
        scale=lambda x: jnp.sqrt(0.5 + x**2),
        epsilon=0.7,
        attractor=jnp.zeros(1),
    )
    expected = exact_exit(sde, interval).mean
    np.testing.assert_allclose(exact_exit(kernel.dynamics, interval).mean, expected, rtol=1e-6)
    heun = made(pull, g, (), diffrax.Heun(), dim=1, args=0.7, attractor=jnp.zeros(1))
    with pytest.raises(TypeError, match="dynamics must be SGD"):
        exact_exit(heun.dynamics, interval)


@pytest.mark.slow
def test_the_mean_exit_of_heun_is_exact(float64):
    """An Ornstein-Uhlenbeck process in an interval, crossings between steps included."""
    kernel = made(
        pull, lambda t, y, args: jnp.ones(1) * 0.7, (), diffrax.Heun(), dim=1, dt=0.02,
        attractor=jnp.zeros(1),
    )  # fmt: skip
    interval = ls.Ball(radius=1.0, center=jnp.zeros(1))
    run = ls.simulate_escape(
        ls.Bridged(kernel, interval), interval, jnp.zeros(1), num=40_000, seed=1
    )
    assert_mean(run.time, exact_exit(kernel.dynamics, interval).mean, 0.03)


# --- the engine


def swaying(t, y, args):
    return -(1 + 0.5 * jnp.sin(t)) * y


def timed(dt=0.02):
    g = lambda t, y, args: args * jnp.diag(1 + 0.2 * jnp.cos(t + y))  # noqa: E731
    return made(swaying, g, solver=diffrax.EulerHeun(), dt=dt, args=0.6)


@pytest.mark.slow
def test_exits_under_fields_of_t_have_the_same_bits_for_any_layout_and_restart(tmp_path):
    def run(**how):
        kernel = timed(dt=0.005)
        return ls.simulate_escape(kernel, BALL, jnp.zeros(2), num=4000, seed=5, **how)

    whole = run()
    assert whole.steps.max() > 1000
    assert whole == run(lanes=16, chunk=64, devices=2)
    assert whole == ls.join_shards([run(shard=(0, 2)), run(shard=(1, 2))])
    calls = []

    def stop(finished, of):
        calls.append(finished)
        if len(calls) == 1:
            raise KeyboardInterrupt

    file = tmp_path / "run.npz"
    with pytest.raises(ls.Interrupted):
        run(checkpoint=file, lanes=16, chunk=16, progress=stop)
    with np.load(file) as left:
        assert 0 < (left["row_status"] == Status.EXITED).sum() < 4000
        assert left["flight_step"].any()
    assert whole == run(checkpoint=file)


@pytest.mark.slow
def test_paths_under_fields_of_t_are_those_of_the_exits():
    kernel = timed()
    run = ls.simulate_escape(kernel, BALL, jnp.zeros(2), num=16, seed=5, max_time=30.0)
    slow = int(np.argmax(run.steps))
    paths = ls.simulate_paths(
        kernel, jnp.zeros(2), ids=[slow], seed=5, every=1, max_steps=int(run.steps[slow])
    )
    np.testing.assert_array_equal(paths.positions[0, -1], run.first_outside[slow])


@pytest.mark.slow
def test_a_comparison():
    kernel = made(pull, even, attractor=jnp.zeros(2))
    runs = [
        ls.simulate_escape(k, BALL, jnp.zeros(2), num=64, seed=1)
        for k in (kernel, ls.EulerMaruyama(kernel.dynamics, dt=0.05))
    ]
    np.testing.assert_allclose(runs[0].time, runs[1].time)
    assert ls.compare(runs[0], runs[1]).log_rank.p_value > 0.5


def test_laws_say_that_the_terms_read_the_time():
    dynamics = timed().dynamics
    for ask in ("attractor", "response"):
        with pytest.raises(ValueError, match="the terms read the time t"):
            getattr(dynamics, ask)


def test_a_sweep_builds_it_from_its_dynamics():
    flow = ls.Langevin(ls.Quadratic(hessian=jnp.eye(2)), diffusion=0.1)
    part = NamedPart(name="DiffraxKernel", solver={"name": "diffrax:Heun"}, dt=0.1)
    kernel = build("kernel", part, {"dynamics": flow, "terms": flow})
    assert isinstance(kernel.solver, diffrax.Heun)


# --- what is refused

LEVY = ls.LevyPath(ls.StableComponents(alpha=1.5), 2, dt=0.1, seed=0)
ODE, SPREAD = diffrax.ODETerm(pull), diffrax.ControlTerm(even, path((2,)))
SOLVER, SHAPE = diffrax.Euler(), jax.ShapeDtypeStruct((2,), np.float32)


def of_terms(*terms, dim: Any = 2):
    return ls.DiffraxKernel(diffrax.MultiTerm(*terms), SOLVER, dt=0.1, dim=dim)


def with_control(control):
    return of_terms(ODE, diffrax.ControlTerm(even, control))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: of_terms(ODE), r"one ODETerm and one ControlTerm, not \(ODETerm\)"),
        (lambda: ls.DiffraxKernel(ODE, SOLVER, dt=0.1), "terms must be SGD, Langevin or SDE, or"),
        (lambda: of_terms(ODE, SPREAD, SPREAD), r"Write several as one.*jnp\.concatenate"),
        (lambda: of_terms(ODE, SPREAD, dim=None), "dim must be an integer"),
        (lambda: with_control(LEVY), r"must be a Brownian path.*EulerMaruyama\(SDE"),
        (lambda: with_control(lambda t0, t1: t1 - t0), "must be a Brownian path"),
        (lambda: with_control(path((2, 2))), r"must have shape \(m,\)"),
        (lambda: with_control(path((SHAPE, SHAPE))), r"must have shape \(m,\)"),
        (lambda: with_control(path((3,))), r"shape \(d, m\) = \(2, 3\).*shape=\(2, 2\)"),
        (
            lambda: made(lambda t, y, args: -y[:1], even),
            r"must return a real array of shape \(2,\)",
        ),
        (lambda: made(lambda t, y, args: -y["a"], even), "the drift f.* of terms fails"),
        (lambda: made(lambda t, y, args: -y if t > 0 else y, even), "the drift f.* of terms fails"),
        (lambda: made(pull, lambda t, y, args: 0.5), r"must return a real matrix.*, or the diag"),
        (lambda: made(pull, lambda t, y, args: jnp.ones(3)), "must return a real matrix"),
        (lambda: made(pull, lambda t, y, args: jnp.ones((2, 2), int)), "must return a real matrix"),
        (lambda: made(pull, lambda t, y, args: jnp.zeros((2, 2))), "is zero throughout"),
        (lambda: made(pull, lambda t, y, args: jnp.nan * jnp.eye(2)), "must be finite"),
        (lambda: made(pull, even, args={"rate": jnp.array([1.0, jnp.nan])}), "args, or a.*NaN"),
        (lambda: made(pull, even, args=(float("nan"),)), "args, or a.*NaN"),
        (lambda: made(pull, even, args={1, 2}), "args, or a .* nor hashable"),
        (lambda: made(pull, even, attractor=jnp.ones(2)), "not zero"),
        (
            lambda: made(lambda t, y, args: -t * y, even, attractor=jnp.zeros(2)),
            r"attractor = .* read the time t.*Leave attractor out",
        ),
        (
            lambda: made(pull, lambda t, y, args: jnp.diag(1 + y), solver=diffrax.ShARK()),
            "ShARK cannot step",
        ),
        (lambda: made(pull, even, solver=diffrax.Kvaerno3()), "Kvaerno3 is implicit"),
        (lambda: made(pull, even, solver=diffrax.Tsit5()), "Tsit5 is no solver"),
        (
            lambda: ls.DiffraxKernel(
                ls.SDE(lambda x: -x, ls.Brownian(), dim=2), SOLVER, dt=0.1, dim=2
            ),
            "dim = 2 belongs to diffrax's terms, and SDE has its own. Leave dim out",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_a_call_with_the_name_of_other_kernels_is_answered():
    with pytest.raises(TypeError, match="Did you mean terms"):
        ls.DiffraxKernel(dynamics=3, solver=SOLVER, dt=0.1)
