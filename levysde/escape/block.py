"""The compiled part: a block of lanes refilled and advanced by a number of steps.

The lane axis is last. One turn of the loop looks whether each lane's state is inside, and only then steps it, so that a
loss used by both the domain and the gradient is computed once, and a lane that is outside keeps its first point outside.
The words of a step are materialised once, by `step_words`: fused into every consumer they would be drawn again for each, at
twice the time of the whole step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from levysde.protocols import Domain, Kernel, State
from levysde.random import init_words, step_words, trajectory_key


class Block(NamedTuple):
    """Lanes in flight: kernel state `(..., lanes)`, last position inside `(d, lanes)`, steps made `(lanes,)`."""

    state: State
    before: Array
    step: Array


class Feed(NamedTuple):
    """What the host hands to the lanes, NumPy arrays: ids `(2, lanes)`, which lanes start anew `(lanes,)`, and their
    starts `(d, lanes)`."""

    ids: Any
    fresh: Any
    start: Any


class Report(NamedTuple):
    """What the host reads back: position `(d, lanes)`, `done`, exit-set label, NaN flag, each `(lanes,)`."""

    position: Array
    done: Array
    label: Array
    nonfinite: Array


IDLE = 0xFFFFFFFF  # the step number of a lane that holds no trajectory: above every limit


def _lanes(fn):
    return jax.vmap(fn, in_axes=-1, out_axes=-1)


def _select(condition: Array, yes: State, no: State) -> State:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def refill(kernel: Kernel, key: Array, block: Block, feed: Feed) -> Block:
    state = _lanes(kernel.init)(feed.start, init_words(key, kernel.words_per_init))
    return Block(
        _select(feed.fresh, state, block.state),
        jnp.where(feed.fresh, feed.start, block.before),
        jnp.where(feed.fresh, jnp.uint32(0), block.step),
    )


def advance(problem: tuple[Kernel, Domain, Array], block: Block, feed: Feed, limit: Array, count: Array):
    """Refill, then `count` steps for every lane that is inside and has made fewer than `limit`."""
    kernel, domain, seed = problem
    key = trajectory_key(seed, feed.ids)
    positions, contains = _lanes(kernel.position), _lanes(domain.contains)

    def turn(_: Array, block: Block) -> Block:
        x = positions(block.state)
        alive = contains(x) & (block.step < limit)
        words = step_words(key, block.step, kernel.words_per_step)
        new = _lanes(kernel.step)(words, block.state)
        step = block.step + alive.astype(jnp.uint32)
        return Block(_select(alive, new, block.state), jnp.where(alive, x, block.before), step)

    block = jax.lax.fori_loop(0, count, turn, refill(kernel, key, block, feed))
    x = positions(block.state)
    inside = contains(x)
    label = jnp.where(inside, 0, jnp.maximum(_lanes(domain.label)(x), 1))
    return block, Report(x, ~inside | (block.step >= limit), label, jnp.any(x != x, 0))


def empty_block(kernel: Kernel, lanes: int, dtype) -> Block:
    """A block whose lanes are all idle."""
    x = jax.ShapeDtypeStruct((kernel.dim,), dtype)
    words = jax.ShapeDtypeStruct((kernel.words_per_init,), jnp.uint32)
    state = jax.eval_shape(kernel.init, x, words)
    zeros = jax.tree.map(lambda leaf: jnp.zeros((*leaf.shape, lanes), leaf.dtype), state)
    return Block(zeros, jnp.zeros((kernel.dim, lanes), dtype), jnp.full(lanes, IDLE, jnp.uint32))


# The option gains 1.4x on CPUs with 512-bit vectors, touches nothing global, and exists on CPU only.
_cpu_advance = jax.jit(advance, compiler_options={"xla_cpu_prefer_vector_width": "512"})
_device_advance = jax.jit(advance)


def compiled_advance(platform: str):
    """The jitted `advance` of a platform; its cache outlives a run, so equal structures compile once."""
    return _cpu_advance if platform == "cpu" else _device_advance
