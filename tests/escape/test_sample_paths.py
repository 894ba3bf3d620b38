"""Paths inside JAX transformations, and keys of `jax.random` as seeds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statistical import assert_mean

import levysde as ls

WELL = ls.Quadratic(hessian=jnp.array([1.0, 2.0]))
BALL = ls.Ball(radius=1.0, center=jnp.zeros(2))


STABLE = ls.StableComponents(alpha=1.5)


def kernel(epsilon=0.5, driver=STABLE):
    return ls.EulerMaruyama(ls.SGD(WELL, driver, epsilon=epsilon), dt=0.1)


def test_many_keys_have_the_law_of_the_equation():
    """An Ornstein-Uhlenbeck step of Euler: variance `e^2 dt (1 - r^2n) / (1 - r^2)`."""
    keys = jax.random.split(jax.random.key(0), 20_000)
    paths = jax.jit(
        jax.vmap(lambda key: ls.sample_paths(kernel(0.5, ls.Brownian()), jnp.zeros(2), key, 8))
    )(keys)
    assert paths.shape == (20_000, 9, 2)
    ratio = 0.9**2
    variance = 0.25 * 0.1 * (1 - ratio**8) / (1 - ratio)
    assert_mean(np.asarray(paths[:, -1, 0], float) ** 2, variance, 0.06, "variance")
    middle = np.asarray(paths[:, 3, 0], float)
    assert abs(middle.mean()) < 5 * middle.std() / 20_000**0.5


def test_the_derivative_along_a_path_is_the_difference(float64):
    key = jax.random.key(3)

    def end(epsilon, start):
        return jnp.sum(ls.sample_paths(kernel(epsilon), start, key, 20)[-1] ** 2)

    at, start = jnp.asarray(0.3), jnp.array([0.5, -0.2])
    slope, slopes = jax.jit(jax.grad(end, (0, 1)))(at, start)
    h = 1e-6
    difference = (end(at + h, start) - end(at - h, start)) / (2 * h)
    np.testing.assert_allclose(slope, difference, rtol=1e-6)
    difference = (end(at, start.at[1].add(h)) - end(at, start.at[1].add(-h))) / (2 * h)
    np.testing.assert_allclose(slopes[1], difference, rtol=1e-6)


def test_a_kernel_with_words_at_its_start():
    stable = ls.SGD(WELL, ls.StableComponents(alpha=1.5), epsilon=0.2)
    adapted = ls.JumpAdapted(stable, dt=0.1, cutoff=0.5)
    path = ls.sample_paths(adapted, jnp.zeros(2), jax.random.PRNGKey(1), 5)
    assert np.isfinite(path).all()
    assert (path[0] == 0).all()


@pytest.mark.parametrize("key", [jax.random.key(5), jax.random.PRNGKey(5)], ids=["typed", "old"])
def test_a_key_is_the_seed_of_its_bits(key):
    runs = [
        ls.simulate_escape(kernel(), BALL, jnp.zeros(2), num=9, seed=seed, max_time=9.0)
        for seed in (5, key)
    ]
    assert runs[0] == runs[1]
    assert runs[1].info.seed == 5


def test_the_engine_inside_a_transformation_names_what_is_made_for_it():
    with pytest.raises(TypeError, match=r"sample_paths\(kernel, x0, key, steps\)"):
        jax.jit(lambda: ls.simulate_escape(kernel(), BALL, jnp.zeros(2), num=9, seed=0).time)()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ls.sample_paths(kernel(), jnp.zeros(3), jax.random.key(0), 3), "x0 must have"),
        (lambda: ls.sample_paths(kernel(), jnp.zeros(2), 0, 3), "key must be one key"),
        (
            lambda: ls.sample_paths(
                kernel(), jnp.zeros(2), jax.random.split(jax.random.key(0), 3), 3
            ),
            r"keys of shape \(3,\).*jax\.vmap",
        ),
        (lambda: ls.sample_paths(kernel(), jnp.zeros(2), jnp.zeros(2), 3), "key must be one key"),
        (lambda: ls.sample_paths(kernel(), jnp.zeros(2), jax.random.key(0), 0), "steps must be"),
        (lambda: ls.sample_paths(WELL, jnp.zeros(2), jax.random.key(0), 3), "kernel must be"),
        (
            lambda: ls.simulate_paths(
                kernel(),
                jnp.zeros(2),
                num=1,
                every=1,
                max_steps=2,
                seed=jax.random.key(0, impl="rbg"),
            ),
            "seed is a key of 128 bits",
        ),
        (
            lambda: ls.simulate_paths(
                kernel(),
                jnp.zeros(2),
                num=1,
                every=1,
                max_steps=2,
                seed=jax.random.split(jax.random.key(0), 2),
            ),
            r"keys of shape \(2,\)",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
