"""What every driver must do. A new driver joins by its instance in `calls/noise.py`."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from calls.noise import DRIVERS
from drawing import draw, increments
from statistical import assert_mean

import levysde as ls
from levysde import noise
from levysde.interfaces import is_lane_invariant
from levysde.protocols import Driver

EXTREMES = np.array([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF], np.uint32)
# variants of a law that another case tests already
VARIANTS = (
    "skewed S0",
    "skewed below 1",
    "skewed at 1",
    "skewed near 1",
    "poisson, plain function",
)


def test_every_driver_is_in_the_suite():
    public = {c for c in vars(noise).values() if isinstance(c, type) and issubclass(c, Driver)}
    assert {type(make()) for make, _, _ in DRIVERS.values()} == public - {Driver}


def has_the_law_of_its_exponent(name: str, lanes: int, sizes: tuple[float, ...], error: float):
    """The characteristic function at frequencies of these sizes, to this relative error."""
    make, dim, dt = DRIVERS[name]
    driver = make()
    x = draw(driver, lanes, dim, dt)
    for size in sizes:
        k = np.array([1.0, -0.6, 0.3])[:dim] * size / dt**0.5
        exponent = complex(driver.exponent(jnp.asarray(k)))
        modulus, phase = np.exp(-dt * exponent.real), k @ x + dt * exponent.imag
        assert_mean(np.cos(phase), modulus, error / modulus, f"{name}, modulus at |k| = {size}")
        odd = np.sin(phase)
        assert abs(odd.mean()) <= 5 * odd.std() / np.sqrt(odd.size) < error, (
            f"{name}, phase at |k| = {size}"
        )


@pytest.mark.slow_cases(
    *VARIANTS,
    "mixture",
    "skewed",
    "tempered",
    "tempered isotropic",
    "truncated",
    "truncated isotropic",
)
@pytest.mark.parametrize("name", DRIVERS)
def test_increments_have_the_law_of_the_exponent(name):
    has_the_law_of_its_exponent(name, 50_000, (0.5,), 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRIVERS)
def test_increments_have_the_law_of_the_exponent_to_a_percent(name):
    has_the_law_of_its_exponent(name, 400_000, (0.3, 0.6, 1.0), 0.006)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRIVERS)
def test_draws_of_extreme_words_are_finite_typed_and_compile_once(name, dtype):
    make, dim, dt = DRIVERS[name]
    driver = make()
    num = driver.words_per_step(dim)
    corners = np.array(list(itertools.product(EXTREMES, repeat=4)), np.uint32).T
    words = np.concatenate([corners] * (num // 4 + 1))[:num]
    drawn = increments(driver, jnp.asarray(words), jnp.asarray(dt), dim)
    assert drawn.shape == (dim, corners.shape[1])
    assert drawn.dtype == dtype
    assert np.isfinite(np.asarray(drawn)).all()
    if name != "sum":  # of two indices, which it refuses to name
        assert driver.index.shape == ()


@pytest.mark.slow_cases(
    *VARIANTS, "poisson", "tempered", "tempered isotropic", "truncated isotropic"
)
@pytest.mark.parametrize("name", DRIVERS)
def test_the_bits_of_a_draw_do_not_depend_on_the_lanes(name):
    make, dim, dt = DRIVERS[name]
    driver = make()
    num = driver.words_per_step(dim)
    assert is_lane_invariant(
        lambda w, h: driver.increment(w, dim, h), jnp.zeros(num, jnp.uint32), jnp.asarray(dt)
    )
    words = np.random.default_rng(1).integers(0, 2**32, (num, 64), np.uint32)
    whole = np.asarray(increments(driver, jnp.asarray(words), jnp.asarray(dt), dim))
    parts = [
        increments(driver, jnp.asarray(words[:, i : i + 16]), jnp.asarray(dt), dim)
        for i in range(0, 64, 16)
    ]
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRIVERS)
def test_every_driver_escapes_and_its_law_is_finite_or_refused(name):
    """Noise with light tails has no escape law by jumps."""
    make, dim, dt = DRIVERS[name]
    driver = make()
    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.ones(dim)), driver, epsilon=0.9)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(dim))
    result = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=dt),
        ball,
        jnp.zeros(dim),
        num=32,
        seed=1,
        max_steps=200,
        devices=1,
        throw=False,
    )
    assert result.num == 32
    if name in ("Brownian", "measured rows", "mixture"):
        with pytest.raises(ValueError, match="jump"):
            ls.escape_law(dynamics, ball, check=False)
        return
    law = ls.escape_law(dynamics, ball, num_rays=512, check=False)
    assert np.isfinite(law.mean)
    assert law.mean > 0
