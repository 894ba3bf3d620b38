"""Draws of drivers for tests: increments of many lanes from given words, or from the words of
trajectories 0, 1, ..."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde.protocols import Driver
from levysde.random import split_uint64, step_words, trajectory_key


@eqx.filter_jit
def increments(driver: Driver, words: Array, dt: Array, dim: int) -> Array:
    """One increment a lane; words `(n, lanes)`, increments `(dim, lanes)`."""
    return jax.vmap(lambda column: driver.increment(column, dim, dt), in_axes=-1, out_axes=-1)(
        words
    )


@eqx.filter_jit
def words_of(seed: Array, first: Array, lanes: int, step: Array, num: int) -> Array:
    """The words of one step, shape `(num, lanes)`; the lanes are trajectories from `first` on."""
    ids = jnp.stack([first + jnp.arange(lanes, dtype=jnp.uint32), jnp.zeros(lanes, jnp.uint32)])
    return step_words(trajectory_key(seed, ids), jnp.full(lanes, step, jnp.uint32), num)


def draw(
    driver: Driver, lanes: int, dim: int, dt: float = 1.0, seed: int = 1, step: int = 0
) -> np.ndarray:
    """Increments over dt, `(dim, lanes)`, of trajectories 0, 1, ... at one step, in float64."""
    words = words_of(
        jnp.asarray(split_uint64(seed)),
        jnp.uint32(0),
        lanes,
        jnp.uint32(step),
        driver.words_per_step(dim),
    )
    return np.asarray(increments(driver, words, jnp.asarray(dt), dim), np.float64)
