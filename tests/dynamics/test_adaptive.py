"""ADAM's truthful variant, RMSProp and ADAMW against optax, their attractors, and their escape
laws."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import brentq

import levysde as ls
from levysde.dynamics import adam as adam_file
from levysde.theory import escape_law, jump_response

pytestmark = pytest.mark.slow

ETA = 0.05
MATRIX, CENTRE = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([0.3, -0.4])


def well(matrix=MATRIX, centre=CENTRE):
    return ls.Quadratic(hessian=np.asarray(matrix, float), minimum=centre)


def valley(curvature=1.0, centre=0.0):
    return well([[curvature]], np.array([centre]))


def stable(alpha=1.5):
    return ls.StableComponents(alpha=alpha)


ALGORITHM = {
    "learning_rate": ETA,
    "square": "sampled",
    "bias_correction": True,
    "scale": np.array([0.7, 1.3]),
}


def adam(**arguments):
    return ls.Adam(well(), stable(), noise_in="average", **ALGORITHM, **arguments)


# the algorithms, noise and all


@pytest.mark.parametrize(
    ("make", "optimiser"),
    [
        (adam, optax.adam(ETA)),
        (lambda: adam(delta=0.1), optax.adam(ETA, eps=0.1)),
        (lambda: adam(rates=-np.log([0.8, 0.95]) / ETA), optax.adam(ETA, 0.8, 0.95)),
        (
            lambda: ls.AdamW(well(), stable(), noise_in="average", weight_decay=0.3, **ALGORITHM),
            optax.adamw(ETA, weight_decay=0.3),
        ),
        (
            lambda: ls.RMSProp(well(), stable(), **ALGORITHM),
            optax.rmsprop(ETA, 0.9, eps_in_sqrt=False, bias_correction=True),
        ),
    ],
    ids=["adam", "adam, delta", "adam, betas", "adamw", "rmsprop"],
)
def test_the_algorithm_to_rounding(make, optimiser, float64):
    """A step of dt = eta with increment `eta^(1/a) xi` is the algorithm's step on the gradient
    `grad F - S xi`."""
    dynamics, x = make(), jnp.array([1.0, -2.0])
    state, memory = dynamics.init(x), optimiser.init(x)
    for noise in np.random.default_rng(0).standard_normal((100, 2)):
        state = dynamics.step(state, jnp.asarray(ETA), jnp.asarray(noise * ETA ** (1 / 1.5)))
        gradient = dynamics.landscape.gradient(x) - ALGORITHM["scale"] * noise
        update, memory = optimiser.update(gradient, memory, x)
        x = optax.apply_updates(x, update)
        np.testing.assert_allclose(state.x, x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("noise", [False, True])
def test_rmsprop_started_with_a_second_moment(noise, float64):
    """Without bias correction, v starting where `initial_scale` puts it."""
    dynamics = ls.RMSProp(
        well(),
        stable(),
        learning_rate=ETA,
        gradient_variance=0.0,
        square="sampled" if noise else "mean",
    )
    optimiser = optax.rmsprop(ETA, 0.9, initial_scale=0.8, eps_in_sqrt=False)
    x = jnp.array([1.0, -2.0])
    state, memory = dynamics.init(x)._replace(v=jnp.full(2, 0.8)), optimiser.init(x)
    for xi in noise * np.random.default_rng(0).standard_normal((100, 2)):
        state = dynamics.step(state, jnp.asarray(ETA), jnp.asarray(xi * ETA ** (1 / 1.5)))
        update, memory = optimiser.update(dynamics.landscape.gradient(x) - xi, memory)
        x = optax.apply_updates(x, update)
        np.testing.assert_allclose(state.x, x, rtol=0, atol=1e-13)


def test_default_rates(float64):
    for arguments in ({"learning_rate": ETA}, {"epsilon": ETA ** (1 / 3)}):
        np.testing.assert_allclose(
            ls.RMSProp(well(), stable(), **arguments).forgetting_rate, -np.log(0.9) / ETA
        )
        np.testing.assert_allclose(
            ls.AdamW(well(), stable(), **arguments).rates, -np.log([0.9, 0.999]) / ETA
        )


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSProp"])
def test_a_sampled_square_past_the_float_range_stays_finite(name):
    dynamics = getattr(ls, name)(well(), stable(), learning_rate=ETA, square="sampled")
    state = dynamics.init(dynamics.attractor)
    for increment in (jnp.full(2, 1e30), jnp.zeros(2), jnp.ones(2)):
        state = dynamics.step(state, jnp.asarray(ETA), increment)
    assert np.isfinite(state.v).all()
    assert np.isfinite(state.x).all()


# weight decay moves the attractor


@pytest.mark.parametrize("variance", [0.0, 4.0])
def test_adamw_attractor(variance, float64):
    """Where the preconditioned gradient and the decay are equal, by bisection; not the minimum of F
    + lambda x^2 / 2."""
    dynamics = ls.AdamW(
        valley(2.0, 1.0),
        stable(),
        learning_rate=0.1,
        gradient_variance=variance,
        delta=0.2,
        weight_decay=0.3,
    )
    root = brentq(
        lambda x: 2 * (x - 1) / (np.sqrt(4 * (x - 1) ** 2 + variance) + 0.2) + 0.3 * x,
        0,
        1,
        xtol=1e-14,
    )
    np.testing.assert_allclose(dynamics.attractor, [root], rtol=1e-10)
    assert abs(root - 2 / 2.3) > 0.03


def test_adamw_near_its_attractor(float64):
    dynamics = ls.AdamW(
        well(),
        stable(),
        learning_rate=0.1,
        gradient_variance=[0.5, 0.1],
        delta=0.01,
        weight_decay=0.3,
        rates=(200.0, 20.0),
    )
    dt, still, x = jnp.asarray(1e-3), jnp.zeros(2), dynamics.attractor

    def drift(x):
        gradient = dynamics.landscape.gradient(x)
        return gradient / (jnp.sqrt(gradient**2 + jnp.array([0.5, 0.1])) + 0.01) + 0.3 * x

    np.testing.assert_allclose(drift(x), 0, atol=1e-12)
    np.testing.assert_allclose(dynamics.linearisation(), jax.jacfwd(drift)(x), rtol=1e-10)
    state = jax.lax.fori_loop(
        0, 20_000, lambda _, s: dynamics.step(s, dt, still), dynamics.init(jnp.array([1.0, 1.0]))
    )
    np.testing.assert_allclose(state.x, x, atol=1e-8)
    gradient = dynamics.landscape.gradient(x)
    np.testing.assert_allclose(
        dynamics.preconditioner, np.sqrt(gradient**2 + np.array([0.5, 0.1])) + 0.01
    )


def test_adamw_follows_its_minimum_as_the_decay_grows(monkeypatch):
    """In a double well towards its saddle at 0, and not over it; past 4 = |F''(0)| / delta the
    saddle itself attracts."""
    landscape, centre = ls.DoubleWell(barrier=0.1, distance=1.0), []
    arguments = {"epsilon": 0.1, "delta": 0.1, "gradient_variance": 0.0}
    for decay in (0.05, 1.0, 3.0, 3.9, 5.0):
        centre.append(
            float(ls.AdamW(landscape, stable(), weight_decay=decay, **arguments).attractor[0])
        )
    assert centre == sorted(centre)
    assert centre[0] < -0.99
    assert centre[3] < -1e-3
    assert abs(centre[4]) < 1e-6
    monkeypatch.setattr(adam_file, "_newton", lambda adam, weight_decay, x: x)
    with pytest.raises(ValueError, match="weight_decay = 3 leaves no stable fixed point"):
        ls.AdamW(landscape, stable(), weight_decay=3.0, **arguments)


# escape laws


def law_of(dynamics, dt=None, low=-0.5, high=2.0):
    centre = float(dynamics.attractor[0])
    return escape_law(
        dynamics, ls.Box(lower=[centre + low], upper=[centre + high]), dt=dt, check=False
    )


@pytest.mark.parametrize("curvature", [1.0, 60.0])
def test_noise_through_adam_average(curvature):
    """With v at rest the jump is multiplied by P, and the law's flow finds it: slow (no rebound)
    and oscillating."""
    arguments = {
        "learning_rate": 0.02,
        "rates": (-np.log(0.9) / 0.02, 1e-9),
        "gradient_variance": 4.0,
        "delta": 0.5,
        "scale": 0.3,
    }
    position, average = (
        ls.Adam(valley(curvature), stable(), noise_in=n, **arguments)
        for n in ("position", "average")
    )
    forward, backward = jump_response(0.9, 0.02 * curvature / 2.5, gradient="averaged")
    base = law_of(position)
    law = law_of(average, dt=0.02)
    assert base.response == "linear"
    assert law.response == "flow"
    far, near = 2.0 / forward, 0.5 / forward
    if backward > 0:
        far = min(far, 0.5 / backward)
    jump = 0.3 * float(average.epsilon) / 2.5
    np.testing.assert_allclose(np.sort(law.ray_distance), np.array([near, far]) / jump, rtol=1e-3)
    np.testing.assert_allclose(np.sort(base.ray_distance), np.array([0.5, 2.0]) / jump, rtol=1e-5)
    assert (far < 2.0 / forward) == (curvature == 60.0)


def test_bias_correction_does_not_enter_the_law():
    arguments = {"learning_rate": 0.02, "noise_in": "average", "gradient_variance": 4.0}
    laws = [
        law_of(ls.Adam(valley(), stable(), bias_correction=b, **arguments), dt=0.02)
        for b in (False, True)
    ]
    assert laws[0].rate == pytest.approx(laws[1].rate, rel=1e-4)


def test_a_moving_second_moment():
    """The smallest jump that leaves, against ADAM's recursion written out: v grows with the
    gradient, which holds it back."""
    eta, w, variance = 0.02, 0.1, 0.01
    dynamics = ls.Adam(
        valley(),
        stable(),
        learning_rate=eta,
        rates=-np.log([1 - w, 1 - w]) / eta,
        gradient_variance=variance,
        noise_in="average",
    )

    def farthest(kick):
        x, m, v, path = 0.0, 0.0, variance, []
        for k in range(2000):
            m += w * (x - (k == 0) * kick - m)
            v += w * (x * x + variance - v)
            x -= eta * m / (np.sqrt(v) + 1e-8)
            path.append(x)
        return max(path)

    kicks = np.array(
        [brentq(lambda u, a=a: farthest(u) - a, 0, 1e5, xtol=1e-6) for a in (0.5, 2.0)]
    )
    assert kicks[1] > 4.5 * kicks[0]  # at rest v would make it 4
    # in increments: epsilon times one is eta times a kick
    distance = law_of(dynamics, dt=eta).ray_distance
    np.testing.assert_allclose(np.sort(distance), kicks * eta / float(dynamics.epsilon), rtol=1e-3)


@pytest.mark.parametrize("name", ["RMSProp", "AdamW"])
def test_laws_of_noise_at_once(name):
    arguments = {"weight_decay": 0.2} if name == "AdamW" else {}
    dynamics = getattr(ls, name)(
        valley(1.0, 0.5),
        stable(),
        epsilon=0.1,
        gradient_variance=0.3,
        delta=0.1,
        scale=0.7,
        **arguments,
    )
    law = law_of(dynamics)
    gradient = float(dynamics.landscape.gradient(dynamics.attractor)[0])
    assert (gradient != 0) == (name == "AdamW")
    jump = 0.07 / (np.sqrt(gradient**2 + 0.3) + 0.1)
    np.testing.assert_allclose(np.sort(law.ray_distance), np.array([0.5, 2.0]) / jump, rtol=1e-4)
    curvature = {
        "RMSProp": 1 / (np.sqrt(0.3) + 0.1),
        "AdamW": float(dynamics.linearisation()[0, 0]),
    }[name]
    assert law.stiffness == pytest.approx(curvature, rel=1e-5)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSProp"])
def test_no_law_of_a_sampled_square(name):
    dynamics = getattr(ls, name)(valley(), stable(), learning_rate=0.1, square="sampled")
    with pytest.raises(ValueError, match='no escape law with square="sampled"'):
        law_of(dynamics)


def make(name, landscape=None, driver=None, **change):
    arguments = {"learning_rate": 0.1, **change}
    return getattr(ls, name)(
        well() if landscape is None else landscape, driver or stable(), **arguments
    )


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSProp"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"landscape": 3}, "landscape must be a Landscape"),
        ({"driver": "stable"}, "driver must be a Driver"),
        ({"epsilon": 0.1}, "exactly one of epsilon and learning_rate"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"scale": 0.0}, "zero throughout"),
        ({"gradient_variance": np.ones(3)}, "one number or 2 values"),
        ({"gradient_variance": -1.0}, "must not be negative"),
        ({"delta": 0.0}, "delta must be positive"),
        ({"square": "mode"}, 'square must be "mean" or "noise" or "sampled", not "mode"'),
        ({"bias_correction": 1}, "bias_correction must be True or False"),
        (
            {"driver": stable(0.9), "learning_rate": None, "epsilon": 0.1},
            "stand for no learning rate",
        ),
    ],
)
def test_bad_input(name, change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make(name, **change)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make("Adam", noise_in="gradient"), 'noise_in must be "position" or "average"'),
        (lambda: make("AdamW", noise_in="gradient"), 'noise_in must be "position" or "average"'),
        (lambda: make("AdamW", rates=(1.0, -1.0)), "rates must be positive"),
        (lambda: make("AdamW", weight_decay=0.0), "weight_decay must be positive"),
        (lambda: make("AdamW", weight_decay=np.ones(2)), "weight_decay must be one number"),
        (lambda: make("RMSProp", forgetting_rate=0.0), "forgetting_rate must be positive"),
    ],
)
def test_bad_input_of_one(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_a_traced_weight_decay_is_told():
    parts = well(), stable()  # not made under jit, where they would be traced too
    with pytest.raises(TypeError, match="weight_decay is traced"):
        jax.jit(lambda w: make("AdamW", *parts, weight_decay=w).attractor)(0.1)
