"""Landscapes, dynamics and Euler-Maruyama against closed forms and against the real algorithms."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import optax
import pytest

import levysde as ls
from levysde.interfaces import is_lane_invariant
from levysde.protocols import Dynamics, matvec

jax_enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64

WELLS = {
    "diagonal": ls.Quadratic(hessian=jnp.array([1.0, 4.0]), minimum=jnp.array([0.5, -1.0])),
    "dense": ls.Quadratic(hessian=jnp.array([[2.0, 0.5], [0.5, 1.0]])),
    "double 1": ls.DoubleWell(barrier=0.7, distance=1.3),
    "double 2": ls.DoubleWell(barrier=0.7, distance=1.3, stiffness=2.0, dim=2),
    "function": ls.from_function(
        lambda x: jnp.sum(jnp.cosh(x)) + x[0] * x[1] / 2, dim=2, minimum=jnp.zeros(2)
    ),
}


@pytest.mark.slow_cases("function")
@pytest.mark.parametrize("name", WELLS)
def test_landscape(name):
    well = WELLS[name]
    rng = np.random.default_rng(0)
    for x in jnp.asarray(rng.normal(size=(5, well.dim)), dtype=float):
        np.testing.assert_allclose(well.gradient(x), jax.grad(well.value)(x), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            well.hessian(x), jax.jacfwd(well.gradient)(x), rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(well.gradient(well.minimum), 0, atol=1e-6)
    assert np.linalg.eigvalsh(well.hessian(well.minimum)).min() > 0
    assert is_lane_invariant(well.gradient, well.minimum)
    assert is_lane_invariant(well.value, well.minimum)


def test_double_well_points():
    well = WELLS["double 2"]
    for minimum in well.minima:
        np.testing.assert_allclose(well.gradient(minimum), 0, atol=1e-6)
        assert np.linalg.eigvalsh(well.hessian(minimum)).min() > 0
        np.testing.assert_allclose(well.value(minimum), 0, atol=1e-6)
    (saddle,) = well.saddles
    np.testing.assert_allclose(well.gradient(saddle), 0, atol=1e-6)
    assert (np.linalg.eigvalsh(well.hessian(saddle)) < 0).sum() == 1
    np.testing.assert_allclose(well.value(saddle), 0.7, rtol=1e-6)


def test_library_matmuls_are_noticed():
    matrix = jnp.eye(2)
    well = ls.from_function(lambda x: x @ matrix @ x, dim=2, minimum=jnp.zeros(2))
    assert not is_lane_invariant(well.gradient, well.minimum)
    nested = ls.from_function(
        jax.jit(lambda x: jnp.sum(jax.checkpoint(lambda y: matrix @ y)(x) ** 2)),
        dim=2,
        minimum=jnp.zeros(2),
    )
    assert not is_lane_invariant(nested.gradient, nested.minimum)
    stepper = ls.EulerMaruyama(ls.SGD(well, ls.Brownian(), epsilon=0.1), dt=0.1)
    words = jnp.zeros(stepper.words_per_step, jnp.uint32)
    assert not is_lane_invariant(stepper.step, words, well.minimum)


class Pull(eqx.Module):
    matrix: jax.Array

    def __call__(self, x):
        return -matvec(self.matrix, x)


def pull(t, y, args):
    return -matvec(args[0], y)


def spread(t, y, args):
    return lineax.DiagonalLinearOperator(args[1] + 0.01 * y**2)


def dynamics_of(name, driver, epsilon=0.2):
    well = ls.Quadratic(hessian=np.array([[2.0, 0.5], [0.5, 1.0]]))  # in the precision at hand
    common = {"epsilon": epsilon, "scale": jnp.array([1.0, 0.5])}
    second = {"gradient_variance": jnp.array([0.5, 2.0]), "delta": 0.1}
    match name:
        case "SGD":
            return ls.SGD(well, driver, **common)
        case "Adam":
            return ls.Adam(well, driver, rates=(5.0, 0.5), **second, **common)
        case "Adam, noise averaged":
            return ls.Adam(well, driver, rates=(300.0, 0.5), noise_in="average", **second, **common)
        case "AdamW":
            well = ls.Quadratic(hessian=well.matrix, minimum=jnp.array([0.5, -1.0]))
            return ls.AdamW(well, driver, rates=(5.0, 0.5), weight_decay=0.2, **second, **common)
        case "Adam, noise alone":
            return ls.Adam(well, driver, rates=(5.0, 0.5), square="noise", **second, **common)
        case "RMSProp, noise alone":
            return ls.RMSProp(well, driver, forgetting_rate=0.5, square="noise", **second, **common)
        case "RMSProp":
            return ls.RMSProp(well, driver, forgetting_rate=0.5, **second, **common)
        case "Momentum":
            return ls.Momentum(well, driver, forgetting_rate=300.0, averaged=True, **common)
        case "Momentum, second order":
            eta, scale = 0.01 * epsilon, common["scale"]
            return ls.Momentum(
                well,
                driver,
                learning_rate=eta,
                forgetting_rate=300.0,
                averaged=True,
                equation_order=2,
                scale=scale,
            )
        case "Momentum, Nesterov":
            return ls.Momentum(
                well, driver, forgetting_rate=300.0, averaged=True, nesterov=True, **common
            )
        case "SDE":
            return ls.SDE(Pull(well.matrix), driver, dim=2, attractor=jnp.zeros(2), **common)
        case "DiffraxSDE":
            path = diffrax.UnsafeBrownianPath(shape=(2,), key=jax.random.key(0))
            terms = diffrax.MultiTerm(diffrax.ODETerm(pull), diffrax.ControlTerm(spread, path))
            args = well.matrix, 3 * epsilon * jnp.array([1.0, 0.5])
            rest = {"args": args, "attractor": jnp.zeros(2)}
            return ls.DiffraxKernel(terms, diffrax.Heun(), dt=0.1, dim=2, **rest).dynamics
        case "Scheduled":
            return ls.Scheduled(dynamics_of("SGD", driver, epsilon), 0.7)
        case "Underdamped":
            stiff = ls.Quadratic(hessian=300.0 * np.array([[2.0, 0.5], [0.5, 1.0]]))
            return ls.Underdamped(stiff, diffusion=500.0 * epsilon, friction=300.0)
    return ls.Langevin(well, diffusion=jnp.array([[0.3, 0.1], [0.1, 0.2]]))


DYNAMICS = [
    "SGD",
    "Adam",
    "Adam, noise averaged",
    "AdamW",
    "Langevin",
    "Momentum",
    "Momentum, Nesterov",
    "RMSProp",
]
DYNAMICS += [
    "SDE",
    "DiffraxSDE",
    "Scheduled",
    "Underdamped",
    "Momentum, second order",
    "Adam, noise alone",
    "RMSProp, noise alone",
]


def final_classes(cls):
    """The package's own classes without subclasses; tests and papers define others."""
    own = [c for c in cls.__subclasses__() if c.__module__.startswith("levysde.")]
    return {name for c in own for name in final_classes(c)} or {cls.__name__}


def test_every_dynamics_is_here():
    assert final_classes(Dynamics) == {name.split(",")[0] for name in DYNAMICS}


@pytest.mark.parametrize("name", DYNAMICS)
def test_dynamics_conformance(name):
    dynamics = dynamics_of(name, ls.StableComponents(alpha=1.5))
    dt, zero = jnp.asarray(1e-3), jnp.zeros(2)
    step = eqx.filter_jit(dynamics.step)
    rest = dynamics.settled(dynamics.attractor)
    np.testing.assert_allclose(
        dynamics.position(step(rest, dt, zero)), dynamics.attractor, atol=1e-6
    )
    # a driver jump y at the attractor moves the position by jump(y), which is linear: at once, or
    # before much is pulled back
    y = jnp.array([0.3, -2.0])
    state, steps = step(rest, dt, y), 0 if dynamics.response == "linear" else 25
    for _ in range(steps):
        state = step(state, dt, zero)
    moved = dynamics.position(state) - dynamics.attractor
    np.testing.assert_allclose(moved, dynamics.jump(y), rtol=0.05 if steps else 1e-4, atol=1e-6)
    np.testing.assert_allclose(dynamics.jump(-3 * y), -3 * dynamics.jump(y), rtol=1e-5)
    # near the attractor, where the averages have settled, the noiseless flow is that of the
    # linearisation
    state = dynamics.settled(dynamics.attractor + 1e-3 * jnp.array([1.0, 0.4]))
    small = dynamics.position(state) - dynamics.attractor
    for _ in range(steps):
        state = step(state, dt, zero)
    before = dynamics.position(state)
    velocity = (dynamics.position(step(state, dt, zero)) - before) / dt
    np.testing.assert_allclose(
        velocity, -dynamics.linearisation() @ (before - dynamics.attractor), rtol=2e-2
    )
    # `move` puts the position elsewhere and leaves the rest as it was
    there = dynamics.move(state, small)
    np.testing.assert_array_equal(dynamics.position(there), small)
    jax.tree.map(np.testing.assert_array_equal, dynamics.move(there, before), state)
    assert is_lane_invariant(dynamics.step, state, dt, y)


@pytest.mark.slow_cases(
    "Adam",
    "Adam, noise alone",
    "Adam, noise averaged",
    "AdamW",
    "Momentum",
    "Momentum, second order",
    "SGD",
    "Underdamped",
)
@pytest.mark.parametrize("name", DYNAMICS)
def test_dynamics_in_the_engine(name):
    """It runs; one that remembers has the same bits whatever the layout."""
    dynamics = dynamics_of(name, ls.StableComponents(alpha=1.5))
    basin = ls.Ball(radius=0.8, center=dynamics.attractor)
    runs = [
        ls.simulate_escape(
            ls.EulerMaruyama(dynamics, dt=0.02),
            basin,
            dynamics.attractor,
            num=64,
            seed=1,
            max_time=20.0,
            devices=1,
            lanes=lanes,
        )
        for lanes in ([16, 64] if name == "Momentum" else [16])
    ]
    assert runs[0].exited.any()
    for field in ("time", "exited", "last_inside", "first_outside", "steps", "status"):
        np.testing.assert_array_equal(getattr(runs[0], field), getattr(runs[-1], field))


@pytest.mark.parametrize("name", DYNAMICS)
def test_dynamics_keep_their_precision_and_structure(name, dtype):
    """A new number compiles nothing new, and a state is of the dtype at hand."""
    driver = ls.StableComponents(alpha=1.5)
    dynamics = dynamics_of(name, driver)
    if name != "Langevin":
        assert jax.tree.structure(dynamics_of(name, driver, epsilon=0.3)) == jax.tree.structure(
            dynamics
        )
    state = dynamics.init(dynamics.attractor)
    new = dynamics.step(state, jnp.asarray(0.02), jnp.ones(2))
    assert [leaf.dtype for leaf in jax.tree.leaves(new)] == [
        leaf.dtype for leaf in jax.tree.leaves(state)
    ]
    assert dynamics.position(new).dtype == dtype


def test_zero_noise_is_gradient_descent():
    well = WELLS["double 2"]
    sgd, x = ls.SGD(well, ls.StableComponents(alpha=1.5), learning_rate=0.05), jnp.array([0.4, 1.0])
    state, optimiser = sgd.init(x), optax.sgd(0.05)
    memory = optimiser.init(x)
    for _ in range(50):
        state = sgd.step(state, jnp.asarray(0.05), jnp.zeros(2))
        update, memory = optimiser.update(well.gradient(x), memory)
        x = optax.apply_updates(x, update)
    np.testing.assert_allclose(state, x, rtol=1e-5)


def test_noiseless_adam_is_adam_to_rounding():
    """The exponential rates of eq. 5 and the algorithm's decay factors are one and the same
    (theory: 3e-16)."""
    with jax_enable_x64(True):
        eta, b1, b2 = 0.05, 0.9, 0.999
        well = ls.Quadratic(hessian=jnp.array([[2.0, 0.5], [0.5, 1.0]]))
        x = jnp.array([1.0, -2.0])
        adam = ls.Adam(
            well,
            ls.StableComponents(alpha=1.5),
            learning_rate=eta,
            gradient_variance=0.0,
            rates=(-np.log(b1) / eta, -np.log(b2) / eta),
            delta=1e-8,
            bias_correction=True,
        )
        state, optimiser = adam.init(x), optax.adam(eta, b1, b2, eps=1e-8)
        memory = optimiser.init(x)
        for _ in range(200):
            state = adam.step(state, jnp.asarray(eta), jnp.zeros(2))
            update, memory = optimiser.update(well.gradient(x), memory)
            x = optax.apply_updates(x, update)
        np.testing.assert_allclose(state.x, x, rtol=0, atol=1e-13)
        default = ls.Adam(well, ls.StableComponents(alpha=1.5), epsilon=eta ** (1 / 3))
        np.testing.assert_allclose(default.rates, adam.rates, rtol=1e-12)
        sampled = ls.Adam(
            well, ls.StableComponents(alpha=1.5), learning_rate=eta, delta=1e-8, square="sampled"
        )
        state = sampled.step(sampled.init(jnp.zeros(2)), jnp.asarray(eta), jnp.ones(2))
        gain = -np.expm1(-float(sampled.rates[1]) * eta)
        np.testing.assert_allclose(
            state.v, (1 - gain) + gain * (eta ** (1 / 3) / eta) ** 2, rtol=1e-9
        )


def test_learning_rate_stands_for_epsilon():
    for alpha in (0.8, 1.0, 1.5, 2.0):
        sgd = ls.SGD(WELLS["dense"], ls.StableComponents(alpha=alpha), learning_rate=0.01)
        # eps eta^(1/a) = eta
        np.testing.assert_allclose(sgd.epsilon * 0.01 ** (1 / alpha), 0.01, rtol=1e-4)


def test_langevin_root():
    root = dynamics_of("Langevin", None).scale.matrix
    np.testing.assert_allclose(root @ root.T, 2 * np.array([[0.3, 0.1], [0.1, 0.2]]), rtol=1e-5)


QUADRATIC = WELLS["dense"]
STABLE = ls.StableComponents(alpha=1.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ls.Quadratic(hessian=jnp.ones((2, 3))), "square"),
        (
            lambda: ls.Quadratic(hessian=jnp.array([[1.0, 2.0], [0.0, 1.0]])),
            r"symmetric.*reaches "
            r"2",
        ),
        (lambda: ls.Quadratic(hessian=jnp.array([[1.0, jnp.nan], [jnp.nan, 1.0]])), "finite"),
        (lambda: ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, -1.0]))), "negative eigenvalue"),
        (lambda: ls.Quadratic(hessian="eye"), "must be a number or an array"),
        (
            lambda: ls.Quadratic(hessian=jnp.eye(2), minimum=jnp.zeros(3)),
            r"minimum must have shape "
            r"\(2,\)",
        ),
        (lambda: ls.DoubleWell(barrier=-1.0), "barrier must be positive"),
        (lambda: ls.DoubleWell(dim=3), "dim must be from 1 to 2"),
        (lambda: ls.from_function(3, dim=1, minimum=jnp.zeros(1)), "fn must be a function"),
        (lambda: ls.from_function(lambda x: x, dim=2, minimum=jnp.zeros(2)), "one real number"),
        (
            lambda: ls.from_function(lambda x: x @ jnp.ones(3), dim=2, minimum=jnp.zeros(2)),
            r"fn\(x\) fails for arguments of shape \(2,\)",
        ),
        (
            lambda: ls.from_function(lambda x: jnp.sum(x), dim=2, minimum=jnp.zeros(2)),
            "not one: the gradient's norm",
        ),
        (
            lambda: ls.from_function(lambda x: -jnp.sum(x**2), dim=2, minimum=jnp.zeros(2)),
            "saddle or a maximum",
        ),
        (
            lambda: ls.from_function(lambda x: x[0] ** 2 - x[1] ** 2, dim=2, minimum=jnp.zeros(2)),
            "saddle or a maximum",
        ),
        (
            lambda: ls.from_function(lambda x: x[0] ** 2 + x[1] ** 3, dim=2, minimum=jnp.zeros(2)),
            "the loss falls from 0 to",
        ),
        (
            lambda: ls.from_function(lambda x: x[0] ** 2 - x[1] ** 4, dim=2, minimum=jnp.zeros(2)),
            "the loss falls from 0 to",
        ),
        (
            lambda: ls.from_function(lambda x: -jnp.sum(x**4), dim=2, minimum=jnp.zeros(2)),
            "the loss falls from -?0 to",
        ),
        (
            lambda: ls.from_function(lambda x: 5 + jnp.sum(x**3), dim=9, minimum=jnp.zeros(9)),
            "the loss falls from 5 to",
        ),
        (
            lambda: ls.from_function(lambda x: jnp.sum(jnp.log(x)), dim=2, minimum=jnp.zeros(2)),
            "loss is not finite",
        ),
        (
            lambda: ls.from_function(
                lambda x: jnp.sqrt(jnp.sum(x**2)), dim=2, minimum=jnp.zeros(2)
            ),
            "gradient is not finite",
        ),
        (lambda: ls.SGD(None, STABLE, epsilon=0.1), "landscape must be a Landscape"),
        (lambda: ls.SGD(QUADRATIC, "stable", epsilon=0.1), "driver must be a Driver"),
        (lambda: ls.SGD(QUADRATIC, STABLE), "exactly one of epsilon and learning_rate"),
        (lambda: ls.SGD(QUADRATIC, STABLE, epsilon=0.1, learning_rate=0.1), "exactly one"),
        (lambda: ls.SGD(QUADRATIC, STABLE, epsilon=-0.1), "epsilon must be positive"),
        (lambda: ls.SGD(QUADRATIC, STABLE, epsilon=1e-60), "leaves the range of float32"),
        (
            lambda: ls.SGD(QUADRATIC, STABLE, epsilon=0.1, scale=jnp.ones(3)),
            r"shape \(3,\), which does not fit d = 2",
        ),
        (lambda: ls.SGD(QUADRATIC, STABLE, epsilon=0.1, scale=0.0), "zero throughout"),
        (
            lambda: ls.Adam(QUADRATIC, STABLE, epsilon=0.1, gradient_variance=-1.0),
            "must not be negative",
        ),
        (
            lambda: ls.Adam(QUADRATIC, STABLE, epsilon=0.1, gradient_variance=jnp.ones(3)),
            "one number or 2 values",
        ),
        (
            lambda: ls.Adam(QUADRATIC, STABLE, epsilon=0.1, rates=(1.0, 0.0)),
            "rates must be positive",
        ),
        (
            lambda: ls.Adam(QUADRATIC, STABLE, epsilon=0.1, rates=1.0),
            r"rates must have shape \(2,\)",
        ),
        (lambda: ls.Adam(QUADRATIC, STABLE, epsilon=0.1, square="mode"), "square must be"),
        (
            lambda: ls.Adam(QUADRATIC, STABLE, epsilon=0.1, bias_correction="yes"),
            "bias_correction must be True or False",
        ),
        (
            lambda: ls.Adam(QUADRATIC, ls.StableComponents(alpha=0.9), epsilon=0.1),
            "stand for no learning rate",
        ),
        (lambda: ls.Langevin(QUADRATIC, diffusion=-1.0), "must not be negative"),
        (
            lambda: ls.Langevin(QUADRATIC, diffusion=jnp.array([[1.0, 2.0], [0.0, 1.0]])),
            "symmetric",
        ),
        (
            lambda: ls.Langevin(QUADRATIC, diffusion=jnp.array([[1.0, 2.0], [2.0, 1.0]])),
            "negative eigenvalue",
        ),
        (lambda: ls.EulerMaruyama(QUADRATIC, dt=0.1), "dynamics must be a Dynamics"),
        (
            lambda: ls.EulerMaruyama(ls.SGD(QUADRATIC, STABLE, epsilon=0.1), dt=0.0),
            "dt must be positive",
        ),
        (lambda: ls.StableComponents(alpha=2.5), r"alpha must lie in \(0, 2\]"),
        (lambda: ls.StableIsotropic(alpha=0), "alpha must be positive"),
        (lambda: ls.StableIsotropic(alpha=float("nan")), "alpha must be positive"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


RUN = {"num": 4, "seed": 0, "max_steps": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num": 0}, "num must be at least 1"),
        ({"num": 1.5}, "num must be an integer"),
        ({"num": True}, "num must be an integer"),
        ({"seed": -1}, "seed must be from 0 to 18446744073709551615"),
        ({"seed": 2**64}, "seed must be from 0"),
        ({"max_time": 0.0}, "max_time must be positive"),
        ({"max_time": float("inf")}, "max_time must be finite"),
        ({"max_steps": 2**32}, "max_steps must be from 1"),
        ({"lanes": 0}, "lanes must be from 1"),
        ({"chunk": -1}, "chunk must be from 1"),
        ({"devices": 0}, "devices must be at least 1"),
        ({"x0": jnp.zeros(3)}, r"x0 must have shape \(2,\)"),
        ({"x0": jnp.array([jnp.nan, 0.0])}, "x0 must be finite"),
        ({"x0": jnp.array([5.0, 0.0])}, "outside the domain"),
        ({"x0": jnp.zeros((3, 2))}, "one start a trajectory"),
        ({"kernel": "euler"}, "kernel must be a Kernel"),
        ({"domain": None}, "domain must be a Domain"),
        (
            {"domain": ls.Ball(radius=1.0, center=jnp.zeros(3))},
            "takes points of 3 dimensions, the kernel moves in 2",
        ),
        ({"checkpoint": 7}, "checkpoint must be a path"),
        ({"checkpoint": "/proc/no/such.npz"}, "cannot be written"),
    ],
)
def test_bad_runs_are_refused_before_compiling(change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stepper = ls.EulerMaruyama(ls.SGD(QUADRATIC, STABLE, epsilon=0.1), dt=0.1)
    call = {
        "kernel": stepper,
        "domain": ls.Ball(radius=1.0, center=jnp.zeros(2)),
        "x0": jnp.zeros(2),
        **RUN,
        **change,
    }
    with pytest.raises((ValueError, TypeError), match=message):
        ls.simulate_escape(call.pop("kernel"), call.pop("domain"), call.pop("x0"), **call)


def test_infinite_mean_is_said_not_run():
    well = ls.Quadratic(hessian=jnp.eye(2))
    stepper = ls.EulerMaruyama(
        ls.SGD(well, STABLE, epsilon=0.1, scale=jnp.array([1.0, 0.0])), dt=0.1
    )
    slab = ls.Box(lower=jnp.array([-jnp.inf, -1.0]), upper=jnp.array([jnp.inf, 1.0]))
    with pytest.raises(ValueError, match="mean escape time is infinite"):
        ls.simulate_escape(stepper, slab, jnp.zeros(2), num=4, seed=0)
    censored = ls.simulate_escape(stepper, slab, jnp.zeros(2), num=4, seed=0, max_time=1.0)
    assert not censored.exited.any()
