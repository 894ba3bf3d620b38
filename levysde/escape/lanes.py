"""Lanes advanced together from states that the caller has made, by the engine's own steps."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde.escape.block import INSIDE, Block, Problem, advance, jit, standing
from levysde.protocols import Domain, Kernel
from levysde.random import LAST_STEP

_CALL_SECONDS = 0.2  # of a compiled call: Ctrl-C waits for its end


@functools.cache
def _compiled(platform: str) -> Any:
    def program(whole: Problem, block: Block, count: Array) -> tuple[Block, Array, Array]:
        block = advance(whole.parts(), block, jnp.uint32(LAST_STEP), count)
        position, stands = standing(whole.parts(), block, jnp.uint32(LAST_STEP))
        return block, stands != INSIDE, jnp.all(stands != INSIDE)

    return jit(program, platform)


def advance_lanes(kernel: Kernel, domain: Domain, block: Block, count: int) -> tuple[Block, np.ndarray]:
    """`count` steps of every lane that is inside, and which lanes are outside then.

    Args:
        kernel, domain: what moves, and the basin.
        block: the lanes; shapes as in `Block`.
        count: steps.

    Returns:
        The lanes, each stopped where it left, its steps in `step`; bool `(lanes,)`. Lanes of NaN count as outside.
    """
    problem, run, chunk = Problem(kernel, domain), _compiled(jax.default_backend()), 32
    left = None
    while count > 0 or left is None:
        start = time.perf_counter()
        block, left, ended = run(problem, block, np.int32(min(chunk, count)))
        count = 0 if bool(ended) else count - chunk
        chunk = min(2 * chunk, 2**20) if time.perf_counter() - start < _CALL_SECONDS / 2 else chunk
    return block, np.asarray(left)
