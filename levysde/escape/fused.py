"""Many steps in one kernel of a GPU: state, words and draws stay in registers.

A turn of a compiled loop costs a GPU some microseconds for each kernel that it launches, whatever
the kernel does. Here the loop runs inside one Pallas kernel, a thread a lane, so that a launch is
paid once in a round. The step is the engine's own `turn` with the same words, written out number by
number by `levysde.escape.scalars`. What cannot be written out (networks, numbers looked up by other
numbers, thousands of operations) keeps XLA's loop.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde.escape import block as loops
from levysde.escape.block import Block, turn
from levysde.escape.scalars import CannotWriteOut, Numbers, flattened, numbers, refilled, run
from levysde.protocols import Domain, Kernel
from levysde.random import lane_words

FUSED = ("gpu", "cuda")  # platforms that get the kernel
_LANES = 128  # of a program of the kernel's grid: four warps


def fused_or_looped(
    problem: tuple[Kernel, Domain], block: Block, limit: Array, count: Array
) -> Block:
    """Decided while tracing, by whether the step can be written out."""
    try:
        return advance(problem, block, limit, count)
    except CannotWriteOut:
        return loops.advance(problem, block, limit, count)


def compiles(call: Callable, *arguments: Any) -> bool:
    """Whether a call of a program with the kernel in it works here. Kernel languages change with
    JAX and with the device, XLA's loop does not: it takes over, with a warning."""
    try:
        jax.block_until_ready(call(*arguments))
    # of whatever kind: the loop has the same errors where they are the user's
    except Exception as failure:
        warnings.warn(
            f"steps run in XLA's loop, more slowly: their kernel did not compile here ({failure}).",
            stacklevel=1,
        )
        return False
    return True


def advance(
    problem: tuple[Kernel, Domain],
    block: Block,
    limit: Array,
    count: Array,
    interpret: bool = False,
) -> Block:
    """`block.advance` as one kernel. `interpret` runs it on any device, slowly, for tests.

    Raises `CannotWriteOut`.
    """
    from jax.experimental import pallas as pl  # slow to import, and only accelerators want it
    from jax.experimental.pallas import triton

    moving = block.state, block.before, block.step
    shared = problem, jnp.asarray(limit, jnp.uint32)
    one_lane = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype), (block.key, *moving)
    )
    program = jax.make_jaxpr(turn_of)(shared, *one_lane)
    constants = [_Leaf(leaf) for leaf in jax.tree.leaves(shared)]
    key = _Leaf(block.key, lanes=True)
    leaves = [_Leaf(leaf, lanes=True) for leaf in jax.tree.leaves(moving)]

    def kernel(count_ref: Any, *refs: Any) -> None:
        sources, sinks = iter(refs[: -len(leaves)]), refs[-len(leaves) :]
        fixed = [leaf.load(next(sources)) for leaf in (*constants, key)]
        begun = [leaf.load(next(sources)) for leaf in leaves]

        def step(_: Array, flat: tuple) -> tuple:
            after = run(program, [*fixed, *refilled(begun, flat)], barriers=interpret)
            return tuple(
                jnp.broadcast_to(jnp.asarray(new, old.dtype), old.shape)
                for new, old in zip(flattened(after), flat, strict=True)
            )

        # the last leaf is the number of steps: a program whose lanes are all idle, as most are in
        # the end, returns at once
        living = jnp.max((begun[-1].item() < fixed[len(constants) - 1].item()).astype(jnp.int32))
        start = tuple(flattened(begun))
        flat = jax.lax.fori_loop(0, count_ref[0] * living, step, start)
        rest = iter(flat)
        for leaf, sink in zip(leaves, sinks, strict=True):
            leaf.store(sink, rest)

    size = block.step.size
    width = min(_LANES, size & -size)
    called = pl.pallas_call(
        kernel,
        grid=(size // width,),
        in_specs=[
            _Leaf(jnp.zeros(1, jnp.int32)).spec(width),
            *(leaf.spec(width) for leaf in (*constants, key, *leaves)),
        ],
        out_specs=[leaf.spec(width) for leaf in leaves],
        out_shape=[jax.ShapeDtypeStruct(leaf.rows.shape, leaf.rows.dtype) for leaf in leaves],
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=_LANES // 32, num_stages=1),
        name="levysde_steps",
    )(jnp.reshape(count, 1).astype(jnp.int32), *(leaf.rows for leaf in (*constants, key, *leaves)))
    whole = [leaf.whole(rows) for leaf, rows in zip(leaves, called, strict=True)]
    state, before, step = jax.tree.unflatten(jax.tree.structure(moving), whole)
    return block._replace(state=state, before=before, step=step)


def turn_of(shared: Any, key: Array, state: Any, before: Array, step: Array) -> Any:
    """One turn of one lane, its words included; `shared` is the problem and the limit."""
    problem, limit = shared
    words = lane_words(key, step, problem[0].words_per_step)
    return turn(problem, limit, words, state, before, step, over=lambda one: one)


class _Leaf:
    """An array as the kernel sees it: numbers in a row `(n,)`, or rows of lanes `(n, lanes)`; truth
    values as integers, and nothing as one unused zero."""

    def __init__(self, array: Any, lanes: bool = False):
        array = jnp.asarray(array)
        self.array, self.lanes = array, lanes
        self.shape = array.shape[:-1] if lanes else array.shape
        self.size = int(np.prod(self.shape))
        tail = array.shape[-1:] if lanes else ()
        rows = array.reshape(self.size, *tail) if self.size else jnp.zeros((1, *tail), array.dtype)
        self.rows = rows.astype(jnp.int32) if rows.dtype == bool else rows

    def spec(self, width: int) -> Any:
        from jax.experimental import pallas as pl

        if self.lanes:
            return pl.BlockSpec((self.rows.shape[0], width), lambda i: (0, i))
        return pl.BlockSpec(self.rows.shape, lambda i: (0,))

    def load(self, ref: Any) -> Numbers:
        values = [ref[i, :] if self.lanes else ref[i] for i in range(self.size)]
        if self.array.dtype == bool:
            values = [value != 0 for value in values]
        return numbers(self.shape, values)

    def store(self, ref: Any, values: Any) -> None:
        for i in range(self.size):
            ref[i, :] = next(values).astype(self.rows.dtype)

    def whole(self, rows: Array) -> Array:
        return rows[: self.size].reshape(self.array.shape).astype(self.array.dtype)
