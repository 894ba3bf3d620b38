"""Float spacing: steps that rounding leaves unbiased, and a warning or a refusal where it
cannot."""

import warnings

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import gammaln, kve
from statistical import assert_mean

import levysde as ls
from levysde import theory
from levysde.errors import PrecisionWarning
from levysde.escape.precision import precision
from levysde.parts import check_derived, in_float64

FAR = 100.0  # where float32 has the spacing 7.6e-6
SPACING = float(np.spacing(np.float32(FAR)))
DT = 1e-5


def well(center=FAR, curvature=10.0, dim=1):
    return ls.Quadratic(hessian=curvature * jnp.eye(dim), minimum=jnp.full(dim, center))


def ball(center=FAR, radius=0.1, dim=1):
    return ls.Ball(radius=radius, center=jnp.full(dim, center))


def flow(epsilon=0.02, **options):
    return ls.SGD(well(), ls.Brownian(), epsilon=epsilon, **options)


def euler(dynamics, dt=DT):
    return ls.EulerMaruyama(dynamics, dt=dt)


RATES = {"rates": (50.0, 5.0)}
WHOLE = {
    "SGD": lambda: euler(flow()),
    "SGD, stable": lambda: euler(ls.SGD(well(), ls.StableIsotropic(alpha=1.5), epsilon=0.1)),
    "Marcus": lambda: euler(
        flow(scale=ls.StateScale(lambda x: 1 + x / 100, dim=1), convention="marcus")
    ),
    "Langevin": lambda: euler(ls.Langevin(well(), diffusion=1e-3)),
    "Adam": lambda: euler(ls.Adam(well(), ls.Brownian(), epsilon=0.02, **RATES)),
    "AdamW": lambda: euler(
        ls.AdamW(well(), ls.Brownian(), epsilon=0.02, weight_decay=1e-3, **RATES)
    ),
    "RMSProp": lambda: euler(ls.RMSProp(well(), ls.Brownian(), epsilon=0.02, forgetting_rate=5.0)),
    "Scheduled": lambda: euler(ls.Scheduled(flow(), 0.5)),
    "TamedEuler": lambda: ls.TamedEuler(flow(), dt=DT),
    "OrnsteinUhlenbeck": lambda: ls.OrnsteinUhlenbeck(flow(), dt=DT),
    "OrnsteinUhlenbeck, not quadratic": lambda: ls.OrnsteinUhlenbeck(
        ls.SGD(
            ls.from_function(lambda x: 5 * jnp.sum((x - FAR) ** 2), dim=1, minimum=[FAR]),
            ls.Brownian(),
            epsilon=0.02,
        ),
        dt=DT,
    ),
    "JumpAdapted": lambda: ls.JumpAdapted(
        ls.SGD(well(), ls.StableComponents(alpha=1.5), epsilon=0.2), dt=DT, cutoff=0.1
    ),
    "Bridged": lambda: ls.Bridged(euler(flow()), ball(radius=10.0)),
    "Diffrax, Euler": lambda: ls.DiffraxKernel(flow(), diffrax.Euler(), dt=DT),
    "Diffrax, Heun": lambda: ls.DiffraxKernel(flow(), diffrax.Heun(), dt=DT),
    "Diffrax, ShARK": lambda: ls.DiffraxKernel(flow(), diffrax.ShARK(), dt=DT),
    "OptimizerKernel": lambda: ls.OptimizerKernel(
        optax.sgd(DT), well(), driver=ls.Brownian(), scale=0.02 / DT**0.5, iteration_time=DT
    ),
}


def one_step(kernel, x, words):
    step = jax.jit(jax.vmap(lambda k, x, w: k.position(k.step(w, k.settled(x))), (None, None, 0)))
    return np.asarray(step(kernel, x, words), np.float64)


@pytest.mark.parametrize("name", WHOLE)
def test_noise_carries_a_drift_below_the_spacing(name):
    """The mean step in float32 is that in float64, where the drift is a fifth of the spacing and
    the noise several of them."""
    kernel, x = WHOLE[name](), np.array([FAR + 2048 * SPACING], np.float32)
    words = np.random.default_rng(3).integers(
        0, 2**32, (2**16, kernel.words_per_step), dtype=np.uint32
    )
    short = one_step(kernel, x, words)
    with in_float64(kernel) as precise:
        exact = one_step(precise, np.asarray(x, np.float64), words)
    drift = float(np.median(exact - x))
    assert 0.02 * SPACING < abs(drift) < 0.5 * SPACING
    jumped = np.abs(exact - x) > 1  # rounded by more than the spacing at x
    error = np.where(jumped, 0, short - exact)
    assert abs(error.mean()) < 5 * error.std() / np.sqrt(len(error)) + 0.02 * abs(drift)
    assert 5 * error.std() / np.sqrt(len(error)) < 0.4 * abs(drift)


EXITS = {
    "SGD": lambda driver, epsilon: euler(ls.SGD(well(), driver, epsilon=epsilon)),
    "TamedEuler": lambda driver, epsilon: ls.TamedEuler(
        ls.SGD(well(), driver, epsilon=epsilon), dt=DT
    ),
    "OrnsteinUhlenbeck": lambda driver, epsilon: ls.OrnsteinUhlenbeck(
        ls.SGD(well(), driver, epsilon=epsilon), dt=DT
    ),
    "Scheduled": lambda driver, epsilon: euler(
        ls.Scheduled(ls.SGD(well(), driver, epsilon=epsilon), 1.0)
    ),
}


@pytest.mark.slow_cases(
    but=(
        "driver0-0.26-SGD",
        "driver1-0.15-SGD",
    )
)
@pytest.mark.parametrize("name", EXITS)
@pytest.mark.parametrize(
    ("driver", "epsilon"), [(ls.Brownian(), 0.26), (ls.StableComponents(alpha=1.8), 0.15)]
)
def test_exits_far_from_zero(name, driver, epsilon):
    """Mean exit times around a minimum at 100 against the exact ones around 0; without the drift
    they are half as long."""
    here = ls.SGD(well(0.0), driver, epsilon=epsilon)
    exact = theory.exact_exit(here, ls.Box(lower=[-0.1], upper=[0.1])).mean
    run = ls.simulate_escape(EXITS[name](driver, epsilon), ball(), [FAR], num=768, seed=5)
    assert_mean(run.time, exact, 0.25, name)


def test_friction_below_the_spacing_of_one():
    """The decay of a velocity over a step of `g dt = 1.5e-7` is not that of the nearest float to
    `exp(-g dt)`."""
    dynamics = ls.Underdamped(well(0.0), diffusion=1.0, friction=1.0)
    dt, start = np.float32(1.5e-7), 0.75
    noise = np.asarray(np.random.default_rng(4).normal(size=2**16) * np.sqrt(dt), np.float32)
    state = dynamics.init(jnp.zeros(1))._replace(v=jnp.full(1, start))
    after = jax.vmap(lambda w: dynamics.step(state, jnp.asarray(dt), w[None]).v[0])(noise)
    change = np.asarray(after, np.float64) - start - np.sqrt(2) * noise.astype(np.float64)
    assert_mean(change, -start * 1.5e-7, 0.05, "change of the velocity")


@pytest.mark.slow
def test_waits_of_many_steps_are_counted():
    """A large jump that is due after 1e7 steps comes after so many: a float that loses dt at every
    step would drift."""
    dynamics = ls.SGD(well(0.0), ls.StableComponents(alpha=1.5), epsilon=1e-6)
    cutoff = 100.0
    rate = float(ls.JumpAdapted(dynamics, dt=1.0, cutoff=cutoff).rate)
    kernel = ls.JumpAdapted(dynamics, dt=1e-7 / rate, cutoff=cutoff)
    words = jnp.asarray(np.random.default_rng(1).integers(0, 2**32, (20_000, 1), dtype=np.uint32))
    states = jax.vmap(lambda w: kernel.init(jnp.zeros(1), w))(words)
    waits = np.asarray(states.full, np.float64) * 1e-7 + np.asarray(states.rest, np.float64) * rate
    assert_mean(waits, 1.0, 0.05, "mean wait times rate")
    state = kernel.init(jnp.zeros(1), words[0])
    still = jnp.zeros(kernel.words_per_step, jnp.uint32) + jnp.uint32(2**30)
    after = jax.jit(lambda s: jax.lax.fori_loop(0, 1000, lambda _, s: kernel.step(still, s), s))(
        state
    )
    assert int(state.full) - int(after.full) == 1000 == int(after.whole)


def looked_at(kernel, domain, x0):
    return [
        str(warning)
        for warning in precision(kernel, domain, np.asarray(x0, jnp.result_type(float)))
    ]


def slow_drift(dt, center=10.0):
    return euler(ls.SGD(well(center, 0.1), ls.Brownian(), epsilon=1e-5), dt)


def test_a_drift_that_is_lost_is_warned_of():
    kernel, domain = slow_drift(1e-7), ball(0.0, 1.0)
    with pytest.warns(
        PrecisionWarning,
        match=r"(?s)precision of float32.*spacing is "
        r"6e-08.*jax_enable_x64.*larger dt",
    ):
        run = ls.simulate_escape(kernel, domain, [0.0], num=16, seed=0, max_steps=10)
    assert any("precision of float32" in warning for warning in run.warnings)
    with pytest.warns(PrecisionWarning):
        ls.simulate_paths(kernel, [0.0], num=2, seed=0, every=5, max_steps=10, domain=domain)


def test_what_no_step_can_move_is_refused():
    with pytest.raises(
        ValueError,
        match=r"(?s)precision of float32 cannot hold any step.*centered "
        r"at 0.*larger dt",
    ):
        ls.simulate_escape(slow_drift(1e-10), ball(10.0, 1.0), [10.0], num=16, seed=0, max_steps=10)


COARSE = {
    "noise of a spacing": lambda: (euler(flow(1e-3)), ball()),
    "momentum": lambda: (
        euler(ls.Momentum(well(), ls.Brownian(), epsilon=0.1, forgetting_rate=50.0, averaged=True)),
        ball(),
    ),
    "underdamped": lambda: (euler(ls.Underdamped(well(), diffusion=0.04, friction=5.0)), ball()),
    "noise in an average": lambda: (
        euler(ls.Adam(well(), ls.Brownian(), epsilon=0.1, noise_in="average", **RATES)),
        ball(),
    ),
    "an average that stops": lambda: (
        euler(
            ls.RMSProp(
                well(0.0), ls.Brownian(), epsilon=1.0, forgetting_rate=1e-3, gradient_variance=0.01
            )
        ),
        ball(0.0),
    ),
    "one of two axes": lambda: (euler(flow2([0.0, FAR], [0.1, 1e-3])), ball2([0.0, FAR])),
    "an optimiser": lambda: (
        ls.OptimizerKernel(optax.sgd(1e-6), well(), driver=ls.Brownian()),
        ball(),
    ),
    "many dimensions": lambda: (
        euler(ls.SGD(well(dim=20), ls.Brownian(), epsilon=1e-3)),
        ball(dim=20),
    ),
}


def flow2(center, scale):
    landscape = ls.Quadratic(hessian=jnp.eye(2), minimum=jnp.asarray(center))
    return ls.SGD(landscape, ls.Brownian(), epsilon=1.0, scale=jnp.asarray(scale))


def ball2(center):
    return ls.Ball(radius=0.1, center=jnp.asarray(center))


@pytest.mark.parametrize("name", COARSE)
def test_coarse_settings_are_noticed(name):
    kernel, domain = COARSE[name]()
    found = looked_at(kernel, domain, domain.center)
    assert len(found) == 1
    assert "precision of float32" in found[0]
    if name == "one of two axes":
        assert "x[1]" in found[0]
    if name == "an average that stops":
        assert "the average v[0]" in found[0]


def unit(driver, center=0.0, dt=1e-3, epsilon=0.1, dim=2):
    return euler(ls.SGD(well(center, 1.0, dim), driver, epsilon=epsilon), dt), ball(
        center, 1.0, dim
    )


FINE = {
    "the first example": lambda: unit(ls.StableComponents(alpha=1.5)),
    "a short step": lambda: unit(ls.StableIsotropic(alpha=1.5), dt=1e-6),
    "alpha of a half": lambda: unit(ls.StableComponents(alpha=0.5), center=1.0, epsilon=0.01),
    "far, a long step": lambda: unit(ls.Brownian(), center=FAR, dt=1e-2),
    "momentum": lambda: (
        euler(
            ls.Momentum(well(0.0), ls.Brownian(), epsilon=0.1, forgetting_rate=50.0, averaged=True),
            1e-3,
        ),
        ball(0.0),
    ),
    "adam": lambda: (
        euler(ls.Adam(well(0.0), ls.StableComponents(alpha=1.5), learning_rate=1e-3), 1e-3),
        ball(0.0),
    ),
    "no noise in one coordinate": lambda: (
        euler(ls.SGD(well(0.0, dim=2), ls.Brownian(), epsilon=0.1, scale=[1.0, 0.0]), 1e-3),
        ball(0.0, dim=2),
    ),
    "an optimiser": lambda: (
        ls.OptimizerKernel(optax.adam(1e-3), well(1.0), driver=ls.Brownian()),
        ball(1.0),
    ),
    "many dimensions": lambda: unit(ls.StableIsotropic(alpha=1.5), center=1.0, dim=100),
    "jumps without a drift": lambda: (
        euler(
            ls.SGD(
                ls.Quadratic(hessian=jnp.zeros((1, 1))), ls.StableComponents(alpha=0.4), epsilon=1.0
            ),
            1e-3,
        ),
        ball(0.0, 1.0),
    ),
    "an unbounded direction": lambda: (
        unit(ls.Brownian())[0],
        ls.Box(lower=[-1.0, -np.inf], upper=[1.0, np.inf]),
    ),
}


@pytest.mark.slow_cases("many dimensions")
@pytest.mark.parametrize("name", FINE)
def test_comfortable_settings_are_silent(name):
    kernel, domain = FINE[name]()
    assert (
        looked_at(
            kernel,
            domain,
            kernel.landscape.minimum if name == "an optimiser" else kernel.dynamics.attractor,
        )
        == []
    )


@pytest.mark.usefixtures("float64")
def test_in_float64():
    assert looked_at(slow_drift(1e-7), ball(0.0, 1.0), [0.0]) == []
    found = looked_at(*unit(ls.Brownian(), center=1e13, dim=1), [1e13])
    assert len(found) == 1
    assert "precision of float64" in found[0]
    assert "jax_enable_x64" not in found[0]


def test_a_function_that_insists_on_float32():
    """It is looked at in float32, where a step that is rounded to nothing is seen as one."""

    def strict(x):
        if x.dtype != jnp.float32:
            raise TypeError("float32 only")
        return jnp.ones_like(x)

    scale = ls.StateScale(strict, dim=1)
    assert looked_at(euler(flow(0.3, scale=scale), 1e-3), ball(), [FAR]) == []
    assert len(looked_at(euler(flow(1e-3, scale=scale)), ball(), [FAR])) == 1


def test_other_numbers_compile_nothing_new():
    traced = []

    def factor(x):
        traced.append(0)
        return jnp.ones_like(x)

    scale = ls.StateScale(factor, dim=1)
    first, second = euler(flow(scale=scale)), euler(flow(0.3, scale=scale), 1e-3)
    made = len(traced)
    looked_at(first, ball(), [FAR])
    before = len(traced)
    looked_at(second, ball(radius=0.2), [FAR])
    assert before > made
    assert len(traced) == before


def test_a_time_beyond_the_last_step_is_refused():
    kernel, domain = unit(ls.Brownian(), dt=1e-2)
    match = (
        r"1e\+12 takes 1e\+14 steps of dt = 0.01, but a trajectory makes at most "
        r"4294967294.*4.25e\+07 or less.*235 or more"
    )
    with pytest.raises(ValueError, match="max_time = " + match):
        ls.simulate_escape(kernel, domain, [0.0, 0.0], num=16, seed=0, max_time=1e12)
    with pytest.raises(ValueError, match="max_time = " + match):
        ls.simulate_paths(kernel, [0.0, 0.0], num=1, seed=0, every=10, max_time=1e12)
    with pytest.raises(ValueError, match="times = " + match.replace("max_time", "times")):
        ls.simulate_paths(kernel, [0.0, 0.0], num=1, seed=0, times=[1.0, 1e12])
    counted = ls.OptimizerKernel(optax.sgd(0.1), well(0.0), driver=ls.Brownian())
    with pytest.raises(
        ValueError,
        match=r"max_time = 1e\+10 takes 1e\+10 steps, but "
        r".*iterations_per_step",
    ):
        ls.simulate_escape(counted, ball(0.0), [0.0], num=16, seed=0, max_time=1e10)
    run = ls.simulate_escape(kernel, domain, [0.0, 0.0], num=16, seed=0, max_time=1e12, max_steps=5)
    assert (run.steps == 5).all()


def test_a_start_that_is_rounded_to_the_boundary():
    kernel, domain = unit(ls.Brownian(), dim=1)
    match = r"As given it is inside, but float32 rounds 0.999999999 to 1.0: .*1e-07.*jax_enable_x64"
    with pytest.raises(ValueError, match=match):
        ls.simulate_escape(kernel, domain, [1 - 1e-9], num=16, seed=0)
    with pytest.raises(ValueError, match=r"nothing to escape from\. Start inside it"):
        ls.simulate_escape(kernel, domain, [1.3], num=16, seed=0)


@pytest.mark.slow
def test_a_replaced_alpha_is_the_alpha_that_is_drawn():
    stale = eqx.tree_at(lambda d: d.alpha, ls.StableComponents(alpha=1.8), jnp.asarray(1.2))
    words = jnp.asarray(np.random.default_rng(0).integers(0, 2**32, (100_000, 2), dtype=np.uint32))

    def draws(driver):
        return jax.vmap(lambda w: driver.increment(w, 1, jnp.asarray(1.0))[0])(words)

    assert_mean(
        np.cos(np.asarray(draws(stale))), np.exp(-1.0), 0.05, "characteristic function at 1"
    )
    assert np.isnan(np.asarray(jax.jit(draws)(stale))).all()  # alpha is traced: no fit to be had
    whole = jax.jit(draws)(ls.StableComponents(alpha=1.2))
    np.testing.assert_allclose(draws(stale), whole, rtol=1e-5)


def replaced(part, where, value):
    return eqx.tree_at(where, part, jnp.asarray(value))


STALE = {
    "StableComponents.ratio": lambda flow: replaced(
        euler(flow), lambda k: k.dynamics.driver.alpha, 1.2
    ),
    "OrnsteinUhlenbeck.mixing": lambda flow: replaced(
        ls.OrnsteinUhlenbeck(flow, dt=1e-2), lambda k: k.dynamics.epsilon, 0.3
    ),
    "JumpAdapted.variance": lambda flow: replaced(
        ls.JumpAdapted(flow, dt=1e-2, cutoff=0.5), lambda k: k.cutoff, 0.6
    ),
    "AdamW.fixed_point": lambda flow: replaced(
        euler(ls.AdamW(well(1.0), ls.Brownian(), epsilon=0.1, rates=(50.0, 5.0), weight_decay=0.1)),
        lambda k: k.dynamics.weight_decay,
        0.5,
    ),
    "DeepLinear.minimum": lambda flow: replaced(
        ls.OptimizerKernel(optax.sgd(0.1), ls.DeepLinear((1, 1, 1), [[1.0]]), driver=ls.Brownian()),
        lambda k: k.landscape.target,
        [[2.0]],
    ),
}


@pytest.mark.parametrize("name", STALE)
def test_numbers_that_do_not_belong_together_are_refused(name):
    dynamics = ls.SGD(well(0.0), ls.StableComponents(alpha=1.8), epsilon=0.1)
    kernel = STALE[name](dynamics)
    with pytest.raises(ValueError, match=f"{name} was computed from the other numbers"):
        ls.simulate_escape(
            kernel, ball(0.0, 1.0, kernel.dim), jnp.zeros(kernel.dim), num=16, seed=0, max_steps=1
        )


def test_a_shift_that_does_not_belong_is_refused():
    dynamics = ls.SGD(well(0.0), ls.StableComponents(alpha=1.8), epsilon=0.1)
    for shifted in (
        ls.Shifted(ball(0.0), dynamics, dt=1e-3),
        ls.Shifted(ball(0.0), dynamics, cutoff=0.01),
    ):
        check_derived(shifted)
        with pytest.raises(ValueError, match=r"Shifted\.size was computed"):
            check_derived(
                eqx.tree_at(lambda s: s.dynamics.driver, shifted, ls.StableComponents(alpha=1.2))
            )


@pytest.mark.parametrize("wide", [False, True])
def test_parts_made_at_once_belong_together(wide):
    with jax.enable_x64(wide):
        dynamics = ls.SGD(well(0.0), ls.StableComponents(alpha=1.95), epsilon=0.1)
        check_derived(
            [ls.OrnsteinUhlenbeck(dynamics, dt=1e-2), ls.JumpAdapted(dynamics, dt=1e-2, cutoff=0.5)]
        )
        check_derived(
            ls.OrnsteinUhlenbeck(ls.SGD(ls.DoubleWell(), ls.Brownian(), epsilon=0.1), dt=1e-2)
        )


# T (1F2(-a/2; d/2, 1 - a/2; -(k c)^2/4) - 1) c^-a, by mpmath
TRUNCATED = [
    (0.8, 1, 994.09, 249.76784),
    (0.8, 1, 27.5, 13.9406613),
    (0.3, 1, 100.0, 3.41099795),
    (1.95, 1, 27.5, 640.761782),
    (0.8, 2, 27.5, 13.8308137),
    (0.8, 2, 994.09, 249.65815),
    (1.5, 2, 18.75, 81.1004138),
    (0.8, 3, 100.0, 39.3921659),
    (0.8, 10, 994.09, 249.28363),
    (1.5, 100, 100.0, 998.169842),
]


@pytest.mark.parametrize(("alpha", "dim", "k", "expected"), TRUNCATED)
def test_truncated_exponents_at_high_frequencies(alpha, dim, k, expected):
    along = jnp.zeros(dim).at[0].set(k)
    assert float(ls.TruncatedIsotropic(alpha, 4.0).exponent(along)) == pytest.approx(
        expected, rel=3e-5
    )
    if dim == 1:
        assert float(ls.TruncatedComponents(alpha, 4.0).exponent(along)) == pytest.approx(
            expected, rel=1e-5
        )


def test_student_exponents_at_high_frequencies():
    """`phi = z^h K_h(z) / (2^(h-1) Gamma(h))`, `h = df/2`, `z = k sqrt(df dt)`, far below 1e-15."""
    exponent = jax.jit(lambda driver, k: driver.exponent(k))
    for df in (0.1, 1.0, 3.0, 30.0):
        for k in (0.5, 2.0, 30.0, 1e3, 1e5):
            h, z = df / 2, k * np.sqrt(df)
            expected = z - (h * np.log(z) + np.log(kve(h, z)) - (h - 1) * np.log(2) - gammaln(h))
            found = float(exponent(ls.StudentT(df=df, dt=1.0), jnp.array([k])))
            assert found == pytest.approx(expected, rel=2e-5), (df, k)


@pytest.mark.slow
def test_a_gradient_that_cancels_is_named():
    """A polynomial about k = 500 written out: float32 leaves after 5.2 instead of 12.9."""
    k = 500.0

    def written_out(x):
        quartic = (
            x[0] ** 4 - 4 * k * x[0] ** 3 + 6 * k**2 * x[0] ** 2 - 4 * k**3 * x[0] + k**4
        ) / 4
        return quartic + 0.1 * (x[0] - k) ** 2

    def about_the_minimum(x):
        return (x[0] - k) ** 4 / 4 + 0.1 * (x[0] - k) ** 2

    box = ls.Box(lower=[k - 1], upper=[k + 1])
    for loss, named in ((written_out, True), (about_the_minimum, False)):
        landscape = ls.from_function(loss, dim=1, minimum=[k])
        kernel = ls.EulerMaruyama(ls.SGD(landscape, ls.Brownian(), epsilon=0.5), dt=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ls.PrecisionWarning)
            found = " ".join(
                ls.simulate_escape(kernel, box, [k], num=16, seed=0, max_time=1.0).warnings
            )
        assert ("rounding changes the gradient" in found) == named


def test_a_level_between_two_floats_is_named():
    landscape = ls.from_function(lambda x: 1e6 + jnp.sum(x**2) / 2, dim=1, minimum=[0.0])
    with pytest.warns(ls.PrecisionWarning, match=r"12.5% of height = 0.5 apart"):
        ls.Sublevel(landscape, height=0.5)
