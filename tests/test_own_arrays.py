"""Custom functions that hold NumPy arrays: the same numbers as with arrays of JAX, in float32 and
float64, in whatever order the two are used."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import levysde as ls
from levysde.parts import own_arrays

MATRIX = np.array([[1.1, 0.2], [-0.2, 2.3]])  # not exact in float32


def _global_force(x):
    return MATRIX @ x


def _in_closure():
    matrix = MATRIX.copy()
    return lambda x: -(matrix @ x)


def _in_the_module():
    return lambda x: -_global_force(x)


def _in_a_list():
    rows = [row.copy() for row in MATRIX]
    return lambda x: -jnp.stack([row @ x for row in rows])


def _in_a_partial():
    return functools.partial(lambda matrix, x: -(matrix @ x), MATRIX.copy())


def _in_a_default():
    return lambda x, matrix=MATRIX.copy(): -(matrix @ x)  # noqa: B008


def _in_a_derivative():
    matrix = MATRIX.copy()
    potential = jax.vjp  # a wrapper of JAX around a function that holds the array
    return lambda x: -potential(lambda y: matrix @ y, x)[0]


DRIFTS = [_in_closure, _in_the_module, _in_a_list, _in_a_partial, _in_a_default, _in_a_derivative]


def _sde(drift):
    return ls.SDE(drift, ls.Brownian(), dim=2, epsilon=0.5, attractor=[0.0, 0.0])


@pytest.mark.parametrize("make", DRIFTS)
def test_a_drift_with_numpy_arrays_has_the_covariance_of_one_with_jax_arrays(make):
    drift = make()
    alive = jax.jit(drift).lower(jnp.ones(2))  # keeps what JAX made of the array in float32
    kernel = ls.OrnsteinUhlenbeck(_sde(drift), dt=0.1)

    # the array in the precision of the moment, as a jnp.array written inside the function
    exact = ls.OrnsteinUhlenbeck(_sde(lambda x: -jnp.asarray(MATRIX.tolist()) @ x), dt=0.1)

    words = jnp.arange(kernel.words_per_step, dtype=jnp.uint32) * 40503001
    state = kernel.init(jnp.ones(2), words)
    np.testing.assert_array_equal(kernel.step(words, state), exact.step(words, state))
    del alive


def test_exact_exit_of_a_drift_with_a_numpy_array_is_not_rounded_to_float32():
    rate, box = np.array([1.1]), ls.Box(lower=[-1.0], upper=[1.0])

    def drift(x):
        return -rate * x

    alive = jax.jit(drift).lower(jnp.ones(1))
    sde = functools.partial(ls.SDE, driver=ls.Brownian(), dim=1, epsilon=0.5, attractor=[0.0])

    mean = ls.theory.exact_exit(sde(drift), box).mean

    assert mean == pytest.approx(ls.theory.exact_exit(sde(lambda x: -1.1 * x), box).mean, rel=1e-12)
    del alive


def test_a_float32_run_after_float64_works():
    drift = _in_closure()
    with jax.enable_x64(True):
        alive = jax.jit(drift).lower(jnp.ones(2))
    kernel = ls.EulerMaruyama(_sde(drift), dt=0.01)

    paths = ls.sample_paths(kernel, jnp.ones(2), seed=0, num_steps=3)

    assert np.isfinite(np.asarray(paths)).all()
    del alive


def test_kramers_of_a_loss_with_a_numpy_array():
    matrix = MATRIX @ MATRIX.T

    def loss(x):
        return 0.25 * jnp.sum((matrix @ (x * x - 1)) ** 2)

    well = ls.from_function(loss, dim=2, minimum=jnp.ones(2))
    own = ls.from_function(
        lambda x: 0.25 * jnp.sum((jnp.asarray(matrix.tolist()) @ (x * x - 1)) ** 2),
        dim=2,
        minimum=jnp.ones(2),
    )
    jax.vmap(well.gradient)(jnp.ones((3, 2)))

    laws = [
        ls.theory.kramers_law(fn, saddles=[[0.0, 1.0]], diffusion=0.05, escape="saddle")
        for fn in (well, own)
    ]

    assert laws[0].mean == pytest.approx(laws[1].mean, rel=1e-12)


def test_a_function_without_arrays_is_itself():
    def fn(x):
        return -x

    assert own_arrays(fn) is fn
    assert own_arrays(jnp.sin) is jnp.sin


def test_what_a_function_keeps_besides_arrays_stays_its_own():
    calls, matrix = [], np.eye(2)

    def drift(x, scale=2.0, *, shift=0.0):
        calls.append(1)
        return scale * (matrix @ x) + shift

    copy = own_arrays(drift)

    assert copy is not drift
    np.testing.assert_array_equal(copy(np.ones(2)), [2.0, 2.0])
    assert len(calls) == 1


def test_functions_that_call_each_other_are_copied():
    matrix = np.eye(2)

    def even(n, x):
        return matrix @ x if n == 0 else odd(n - 1, x)

    def odd(n, x):
        return -x if n == 0 else even(n - 1, x)

    np.testing.assert_array_equal(own_arrays(even)(2, np.ones(2)), [1.0, 1.0])


def test_an_empty_cell_stays_empty_until_it_is_filled():
    def drift(x):
        return later @ x

    copy = own_arrays(drift)
    later = np.eye(2)

    np.testing.assert_array_equal(copy(np.ones(2)), [1.0, 1.0])


def test_a_masked_array_is_not_taken_for_a_plain_one():
    masked = np.ma.masked_array([1.0, 2.0], mask=[False, True])

    with pytest.raises((TypeError, ValueError), match="mask"):
        _sde(lambda x: -masked * x)


def test_containers_of_any_kind_are_left_as_they_are():
    mixed = {1: np.eye(2), "a": None, (2, 3): [np.ones(2)]}
    loop = [np.eye(2)]
    loop.append(loop)

    def drift(x):
        assert list(mixed) == [1, "a", (2, 3)]
        assert drift.name == "kept"
        return mixed[1] @ x + mixed[2, 3][0] + loop[0] @ x

    drift.name = "kept"
    np.testing.assert_array_equal(own_arrays(drift)(np.ones(2)), [3.0, 3.0])
