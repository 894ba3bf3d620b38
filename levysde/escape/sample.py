"""Paths of a fixed number of steps as a pure function, for use inside JAX transformations."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from levysde import errors
from levysde.protocols import Kernel, State
from levysde.types import Arg, Integer, Numbers, Seed


def sample_paths(
    kernel: Arg[Kernel], x0: Arg[Numbers], *, seed: Arg[Seed], num_steps: Arg[Integer]
) -> Float[Array, "n d"]:
    """One path of `num_steps` steps, under `jit`, `vmap` and `grad`.

    A pure function of its arguments: map it over keys of `jax.random` for many paths, over starts,
    or over the numbers of the kernel, and differentiate it with respect to them along the path.
    Nothing ends a path, and no check is made before it: for escapes, checks, restarts and thousands
    of trajectories there is `simulate_escape`, whose random words are others.

    Args:
        kernel: what moves, for example `EulerMaruyama(dynamics, dt=1e-2)`.
        x0: the start, shape `(d,)`.
        seed: a key of `jax.random`, which may be traced, or an integer, 0 to 2^64 - 1.
        num_steps: number of steps n, 1 or more, no traced number.

    Returns:
        The positions, the start first, shape `(n + 1, d)`.

    Raises:
        TypeError, ValueError: something that is no `Kernel`, a start of another shape, something
            that is no seed, or a bad number of steps.

    Source:
        This package: the steps of the kernel, from words of `jax.random`.
    """
    errors.instance("kernel", kernel, Kernel, "EulerMaruyama(dynamics, dt=1e-2)")
    start = errors.finite("x0", x0, f"x0=jnp.zeros({kernel.dim})", (kernel.dim,))
    count = errors.integer("num_steps", num_steps, "num_steps=100", high=2**31 - 1)
    first, rest = jax.random.split(errors.random_key(seed))
    state = kernel.init(start, jax.random.bits(first, (kernel.words_per_init,), jnp.uint32))

    def step(state: State, key: Array) -> tuple[State, Array]:
        new = kernel.step(jax.random.bits(key, (kernel.words_per_step,), jnp.uint32), state)
        return new, kernel.position(new)

    _, positions = jax.lax.scan(step, state, jax.random.split(rest, count))
    return jnp.concatenate([start[None], positions])
