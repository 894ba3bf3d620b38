"""Paths of a fixed number of steps as a pure function, for use inside JAX transformations."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from levysde import errors
from levysde.protocols import Kernel, State
from levysde.types import Arg, Integer, Numbers


def sample_paths(
    kernel: Arg[Kernel], x0: Arg[Numbers], key: Arg[jax.Array], steps: Arg[Integer]
) -> Float[Array, "n d"]:
    """One path of `steps` steps, under `jit`, `vmap` and `grad`.

    A pure function of its arguments: map it over keys for many paths, over starts, or over the
    numbers of the kernel, and differentiate it with respect to them along the path. Nothing ends a
    path, and nothing is looked at before it: escapes, checks, restarts and thousands of
    trajectories are the work of `simulate_escape`, which other random words reach.

    Args:
        kernel: what moves, for example `EulerMaruyama(dynamics, dt=1e-2)`.
        x0: the start, shape `(d,)`.
        key: a key of `jax.random`.
        steps: number of steps n, 1 or more, no traced number.

    Returns:
        The positions, the start first, shape `(n + 1, d)`.

    Raises:
        TypeError, ValueError: something that is no `Kernel`, a start of another shape, something
            that is no single key, or a bad number of steps.
    """
    errors.instance("kernel", kernel, Kernel, "EulerMaruyama(dynamics, dt=1e-2)")
    start = errors.finite("x0", x0, f"x0=jnp.zeros({kernel.dim})", (kernel.dim,))
    errors.key(key)
    count = errors.integer("steps", steps, "steps=100", high=2**31 - 1)
    first, rest = jax.random.split(key)
    state = kernel.init(start, jax.random.bits(first, (kernel.words_per_init,), jnp.uint32))

    def step(state: State, key: Array) -> tuple[State, Array]:
        new = kernel.step(jax.random.bits(key, (kernel.words_per_step,), jnp.uint32), state)
        return new, kernel.position(new)

    _, positions = jax.lax.scan(step, state, jax.random.split(rest, count))
    return jnp.concatenate([start[None], positions])
