"""Minibatches out of random words: B of n examples, with or without replacement, or walking through epochs.

Floyd's sampling draws a subset from exactly B words; an epoch is a Fisher-Yates shuffle that is carried on from step to step,
so that it too takes a word an example and no sorting.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt

from levysde.protocols import State, Words
from levysde.random import below

_WRITTEN_OUT = 64  # examples of a batch: more are drawn by a loop


def subset(words: UInt[Array, " b"], n: int) -> Int[Array, " b"]:
    """`b` different numbers below `n`, every subset equally likely (Floyd; Bentley, Comm. ACM 30, 1987)."""
    size = len(words)
    if size <= _WRITTEN_OUT:
        chosen: list[Array] = []
        for j in range(size):
            drawn = below(words[j], n - size + j + 1)
            taken = jnp.zeros((), bool)
            for other in chosen:
                taken = taken | (drawn == other)
            chosen.append(jnp.where(taken, n - size + j, drawn))
        return jnp.stack(chosen)

    def draw(j: Array, chosen: Array) -> Array:
        number = below(words[j], n - size + j + 1)
        taken = jnp.any(chosen == number)
        return chosen.at[j].set(jnp.where(taken, n - size + j, number))

    return jax.lax.fori_loop(0, size, draw, jnp.full(size, -1, jnp.int32))


def first_order(n: int) -> State:
    """What a walk through epochs carries: an order of the examples, `(n,)`, and how many of it have been walked."""
    return jnp.arange(n, dtype=jnp.int32), jnp.zeros((), jnp.int32)


def next_of_epoch(words: UInt[Array, " b"], carried: State) -> tuple[Int[Array, " b"], State]:
    """The next `b` examples of a random order, and what is carried on. Where fewer than `b` are left an epoch begins, and the
    rest is left out, as most loaders do with `drop_last`."""
    order, walked = carried
    n, size = len(order), len(words)
    walked = jnp.where(walked + size > n, 0, walked)

    def swap(j: Array, order: Array) -> Array:
        here = walked + j
        there = here + below(words[j], (n - here).astype(jnp.uint32))
        return order.at[here].set(order[there]).at[there].set(order[here])

    order = jax.lax.fori_loop(0, size, swap, order)
    return jax.lax.dynamic_slice(order, (walked,), (size,)), (order, walked + size)


def words_of_batch(batch_size: int, n: int) -> int:
    """How many words a batch takes; the whole data set is one batch and takes none."""
    return 0 if batch_size == n else batch_size


def with_replacement(words: Words, n: int) -> Int[Array, " b"]:
    return below(words, n)
