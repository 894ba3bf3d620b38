"""Lanes advanced together from states that the caller has made, by the engine's own steps."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde.escape.block import INSIDE, Block, Problem, advance, jit, standing
from levysde.protocols import Domain, Kernel, State
from levysde.random import LAST_STEP

_CALL_SECONDS = 0.2  # of a compiled call: Ctrl-C waits for its end


@functools.cache
def _compiled(platform: str) -> Any:
    def program(whole: Problem, block: Block, count: Array) -> tuple[Block, Array]:
        block = advance(whole.parts(), block, jnp.uint32(LAST_STEP), count)
        left = standing(whole.parts(), block, jnp.uint32(LAST_STEP))[1] != INSIDE
        return block, left

    return jit(program, platform)


def advance_lanes(
    kernel: Kernel, domain: Domain, state: State, key: np.ndarray, count: int, rest: State
) -> tuple[State, np.ndarray, np.ndarray]:
    """At most `count` steps of every lane, each until it is outside.

    Args:
        kernel, domain: what moves, and the basin.
        state: of the kernel, the lane axis last.
        key: of each lane's trajectory, uint32 `(2, lanes)`.
        count: steps.
        rest: a state well inside, of one lane. It takes the place of those that have left: a test
            of a point outside may cost many times that of one inside, as where a flow is followed.

    Returns:
        The states, the steps that each lane made, and which lanes are outside; those of NaN are.
        Shapes `(lanes,)`.
    """
    x = jax.vmap(kernel.position, in_axes=-1, out_axes=-1)(state)
    zero = jnp.zeros(x.shape[-1], jnp.uint32)
    block = Block(
        state=state, before=x, step=zero, key=jnp.asarray(key), slot=zero.astype(jnp.int32)
    )
    problem, run, chunk = Problem(kernel, domain), _compiled(jax.default_backend()), 32
    gone, ends, steps = (
        np.zeros(len(zero), bool),
        jax.tree.map(np.array, state),
        np.zeros(len(zero), np.uint32),
    )
    while True:
        start = time.perf_counter()
        block, left = run(problem, block, np.int32(min(chunk, count)))
        left = np.asarray(left)
        count -= chunk
        over = count <= 0 or bool((left | gone).all())
        fresh = ~gone if over else left & ~gone
        ends = jax.tree.map(functools.partial(np.where, fresh), block.state, ends)
        steps = np.where(fresh, np.asarray(block.step), steps)
        gone |= left & fresh
        if over:
            return ends, steps, gone
        if left.any():
            still = jax.tree.map(lambda one: one[..., None], rest)
            block = block._replace(
                state=jax.tree.map(functools.partial(jnp.where, left), still, block.state)
            )
        chunk = min(2 * chunk, 2**20) if time.perf_counter() - start < _CALL_SECONDS / 2 else chunk
