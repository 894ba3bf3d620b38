"""Learning-rate schedules against optax's, and starts from the quasi-stationary law against exact
ones."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.integrate import quad
from statistical import assert_mean

import levysde as ls
from levysde.analysis import starts as starts_module
from levysde.stats import exponentiality
from levysde.theory import boundary_shift, escape_law

pytestmark = pytest.mark.slow

ETA = 0.05
MATRIX, CENTRE = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([0.3, -0.4])


def well():
    return ls.Quadratic(hessian=MATRIX, minimum=CENTRE)


def stable(alpha=1.5):
    return ls.StableComponents(alpha=alpha)


COSINE = optax.cosine_decay_schedule(1.0, 60, alpha=0.1)
WARM = optax.warmup_exponential_decay_schedule(0.2, 1.0, 20, 30, 0.5)
TRUE_ADAM = {"square": "sampled", "bias_correction": True, "noise_in": "average"}
BASES = {
    "sgd": (lambda **a: ls.SGD(well(), stable(), **a), optax.sgd),
    "momentum": (lambda **a: ls.Momentum(well(), stable(), **a), lambda eta: optax.sgd(eta, 0.9)),
    "nesterov": (
        lambda **a: ls.Momentum(well(), stable(), nesterov=True, **a),
        lambda eta: optax.sgd(eta, 0.9, True),
    ),
    "adam": (lambda **a: ls.Adam(well(), stable(), **TRUE_ADAM, **a), optax.adam),
    "adamw": (
        lambda **a: ls.AdamW(well(), stable(), weight_decay=0.3, **TRUE_ADAM, **a),
        lambda eta: optax.adamw(eta, weight_decay=0.3),
    ),
}


@pytest.mark.parametrize("schedule", [COSINE, WARM], ids=["cosine", "warm-up"])
@pytest.mark.parametrize("name", BASES)
def test_schedules_are_those_of_optax(name, schedule, float64):
    """By the number of steps, and by the time at which each begins."""
    make, algorithm = BASES[name]
    # some are of float32
    optimiser = algorithm(lambda count: ETA * jnp.asarray(schedule(count), float))
    base, x = make(learning_rate=ETA), jnp.array([1.0, -2.0])
    by_steps = ls.Scheduled(base, schedule, clock="steps")
    by_time = ls.Scheduled(base, lambda t: schedule(t / ETA))
    states, memory = [by_steps.init(x), by_time.init(x)], optimiser.init(x)
    for noise in np.random.default_rng(0).standard_normal((80, 2)):
        increment = jnp.asarray(noise * ETA ** (1 / 1.5))
        states = [
            d.step(s, jnp.asarray(ETA), increment)
            for d, s in zip((by_steps, by_time), states, strict=True)
        ]
        update, memory = optimiser.update(base.landscape.gradient(x) - noise, memory, x)
        x = optax.apply_updates(x, update)
        np.testing.assert_allclose(by_steps.position(states[0]), x, rtol=0, atol=1e-13)
        np.testing.assert_allclose(by_time.position(states[1]), x, rtol=0, atol=1e-6)


def test_a_constant_schedule_is_another_learning_rate():
    """Of SGD a factor on drift and noise: at the same noise in one step, the law of `epsilon u`,
    relaxing u times as fast."""
    base = ls.SGD(well(), stable(), epsilon=0.1)
    basin = ls.Ball(radius=1.0, center=CENTRE)
    law, slowed = (
        escape_law(base, basin, check=False),
        escape_law(ls.Scheduled(base, 0.5), basin, check=False),
    )
    assert slowed.rate == pytest.approx(law.rate * 0.5**1.5, rel=1e-5)
    assert slowed.stiffness == pytest.approx(law.stiffness * 0.5, rel=1e-5)
    assert slowed.regime == pytest.approx(law.regime * 0.5**0.5, rel=1e-5)
    averaged = ls.Scheduled(
        ls.Momentum(well(), stable(), epsilon=0.1, forgetting_rate=200.0, averaged=True), 0.5
    )
    assert averaged.response == "flow"
    assert escape_law(averaged, basin, dt=0.01, check=False).rate == pytest.approx(
        slowed.rate, rel=0.05
    )


def test_no_law_of_a_changing_noise():
    scheduled = ls.Scheduled(ls.SGD(well(), stable(), epsilon=0.1), lambda t: 1 / (1 + t))
    with pytest.raises(ValueError, match="no one rate of escape and no escape law"):
        escape_law(scheduled, ls.Ball(radius=1.0, center=CENTRE), check=False)


def test_a_schedule_in_the_engine():
    """Noise that dies out as 1/t^2 leaves most trajectories inside; a short pulse at the start
    decides."""
    basin = ls.Ball(radius=1.0, center=CENTRE)
    base = ls.SGD(well(), stable(), epsilon=0.3)
    share = []
    for dynamics in (base, ls.Scheduled(base, lambda t: 1 / (1 + t) ** 2)):
        result = ls.simulate_escape(
            ls.EulerMaruyama(dynamics, dt=0.02),
            basin,
            CENTRE,
            num=128,
            seed=0,
            max_time=20.0,
            devices=1,
            lanes=128,
        )
        share.append(result.exited.mean())
    assert share[0] > 0.95
    assert share[1] < 0.6


SGD = {"landscape": well(), "driver": stable(), "epsilon": 0.1}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ls.Scheduled(well(), 0.5), "dynamics must be a Dynamics"),
        (lambda: ls.Scheduled(ls.Scheduled(ls.SGD(**SGD), 0.5), 0.5), "is Scheduled already"),
        (lambda: ls.Scheduled(ls.SGD(**SGD), 0.0), "schedule must be positive"),
        (lambda: ls.Scheduled(ls.SGD(**SGD), "cosine"), "schedule must be a number"),
        (lambda: ls.Scheduled(ls.SGD(**SGD), np.ones(2)), "schedule must be one number"),
        (
            lambda: ls.Scheduled(ls.SGD(**SGD), lambda t: t[0]),
            r"schedule fails for arguments of "
            r"shape \(\)",
        ),
        (lambda: ls.Scheduled(ls.SGD(**SGD), lambda t: jnp.ones(2)), "must return one real number"),
        (lambda: ls.Scheduled(ls.SGD(**SGD), lambda t: t > 1), "must return one real number"),
        (
            lambda: ls.Scheduled(ls.SGD(**SGD), 0.5, clock="epochs"),
            'clock must be "time" or "steps"',
        ),
    ],
)
def test_bad_schedules(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


# starts


def interval(low=-1.0, high=1.0):
    return ls.Box(lower=np.array([low]), upper=np.array([high]))


def brownian(dt, curvature=0.0, scale=1.0):
    landscape = ls.Quadratic(hessian=np.array([[curvature]]))
    return ls.EulerMaruyama(ls.SGD(landscape, ls.Brownian(), epsilon=scale), dt=dt)


def test_brownian_quasi_stationary_law():
    """On (-1, 1) the density cos(pi x / 2R) and the rate pi^2 / 8 R^2, R = 1 moved out by what
    steps of dt miss; exit times from there are exponential, from the centre they are not."""
    dt, num = 0.01, 4000
    half = 1 + boundary_shift(2.0) * np.sqrt(dt / 2)  # SaS(s) at alpha = 2 has variance 2 s^2
    kernel = brownian(dt)
    starts = ls.quasi_stationary_starts(
        kernel, interval(), jnp.array([0.5]), num=num, seed=1, duration=1.5
    )
    assert starts.x0.shape == (num, 1)
    weight = quad(lambda x: np.cos(np.pi * x / 2 / half), -1, 1)[0]
    second = quad(lambda x: x * x * np.cos(np.pi * x / 2 / half), -1, 1)[0] / weight
    assert_mean(starts.x0**2, second, relative_error=0.09, what="E x^2")
    assert abs(np.mean(starts.x0)) < 5 * np.std(starts.x0) / np.sqrt(num)
    # survival of the eigenfunctions 1 and 2 at time 1.5, from 0.5 (the second vanishes there)
    rate = np.pi**2 / 8 / half**2
    stayed = 4 / np.pi * np.cos(np.pi / 4 / half) * np.exp(-rate * 1.5)
    assert starts.tries == pytest.approx(1 / stayed, rel=0.06)
    call = {"num": num, "seed": 1, "devices": 1}
    result = ls.simulate_escape(kernel, interval(), starts.x0, **call)
    assert_mean(result.time, 1 / rate, relative_error=0.09, what="mean exit time")
    test = exponentiality(result.time, result.exited)
    assert abs(test.statistic) < 5
    assert test.shape.high - test.shape.low < 0.06
    centre = ls.simulate_escape(kernel, interval(), jnp.zeros(1), **call)
    assert exponentiality(centre.time, centre.exited).statistic > 10


def test_starts_depend_on_their_seed_and_fill_up_from_batches(monkeypatch):
    monkeypatch.setattr(starts_module, "_SMALLEST_BATCH", 64)
    call = {"num": 64, "duration": 1.0}
    first, again, other = (
        ls.quasi_stationary_starts(brownian(0.02), interval(), jnp.zeros(1), seed=seed, **call)
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.x0, again.x0)
    assert not np.isin(other.x0, first.x0).any()
    assert len(np.unique(first.x0)) == 64  # each batch has its own noise
    assert first.tries > 2
    for part in (
        "64 in 1 dimensions",
        "without leaving  1 SDE time",
        f"tries for each   {first.tries:.3g}",
    ):
        assert part in repr(first)


def test_starts_of_a_kernel_with_memory():
    landscape = ls.Quadratic(hessian=np.array([[1.0]]))
    momentum = ls.Momentum(landscape, stable(), epsilon=0.2, forgetting_rate=5.0, averaged=True)
    kernel = ls.EulerMaruyama(momentum, dt=0.02)
    starts = ls.quasi_stationary_starts(
        kernel, interval(), jnp.zeros(1), num=32, seed=0, duration=3.0
    )
    assert (np.abs(starts.x0) < 1).all()
    assert np.std(starts.x0) > 0.05
    result = ls.simulate_escape(kernel, interval(), starts.x0, num=32, seed=0, max_steps=50)
    assert result.num == 32


GOOD = {
    "kernel": brownian(0.02),
    "domain": interval(),
    "x0": np.zeros(1),
    "num": 10,
    "seed": 0,
    "duration": 1.0,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num": 0}, "num must be at least 1"),
        ({"num": 2.5}, "num must be an integer"),
        ({"seed": -1}, "seed must be from 0"),
        ({"duration": 0.0}, "duration must be positive"),
        ({"duration": np.inf}, "duration must be finite"),
        ({"duration": "long"}, "duration must be a number"),
        ({"x0": np.zeros((10, 1))}, r"one start of shape \(d,\)"),
        ({"x0": np.array([2.0])}, "outside the domain"),
        ({"x0": None}, "x0 must be a number or an array"),
        ({"kernel": 3}, "kernel must be a Kernel"),
        ({"domain": None}, "domain must be a Domain"),
        ({"duration": 9.0}, "0 of 3072 trajectories stayed for duration = 9 SDE time: too few"),
    ],
)
def test_bad_starts(change, message):
    call = {**GOOD, **change}
    with pytest.raises((ValueError, TypeError), match=message):
        ls.quasi_stationary_starts(call.pop("kernel"), call.pop("domain"), call.pop("x0"), **call)
