"""Minibatches out of random words: B of n examples, with or without replacement, or walking through
epochs.

A random order of the examples is never stored or sorted: its i-th place is computed, by a cipher of
the numbers below n whose key is two random words: a Feistel network (Luby and Rackoff, SIAM J.
Comput. 17, 1988) of additions modulo the rows and the columns of a grid that just holds n, applied
again to whatever falls on n or above (cycle walking; Black and Rogaway, CT-RSA 2002), so that it is
one to one. The places of a batch do not wait for each other: a loop that swaps examples costs as
much as a small network's gradient.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt

from levysde.protocols import State
from levysde.random import below

WORDS = 2  # of the key of an order
_GOLDEN = 0x9E3779B9  # 2^32 over the golden ratio: sets the rounds' keys apart
_U32 = np.uint32


def ordered(place: Int[Array, " b"], key: UInt[Array, " 2"], n: int) -> Int[Array, " b"]:
    """The examples at some places of the random order of n that `key` stands for."""
    rows = math.isqrt(n - 1) + 1
    columns = -(-n // rows)
    # orders of few examples mix slower: of 5, after 8 rounds, some are 20% too frequent
    rounds = 8 if n > 100 else 16
    # materialised: fused into the rounds, the keys would be made again for each place
    keys = jax.lax.optimization_barrier(
        _mixed(key[0] + jnp.arange(rounds, dtype=_U32) * _U32(_GOLDEN)) ^ key[1]
    )

    def cipher(x: Array) -> Array:
        row, column = x // _U32(columns), x % _U32(columns)
        for k in range(0, rounds, 2):
            row = _turned(row, _mixed(column ^ keys[k]), rows)
            column = _turned(column, _mixed(row ^ keys[k + 1]), columns)
        return row * _U32(columns) + column

    walked = jax.lax.while_loop(
        lambda x: jnp.any(x >= n),
        lambda x: jnp.where(x >= n, cipher(x), x),
        cipher(place.astype(_U32)),
    )
    return walked.astype(jnp.int32)


def _turned(x: Array, word: Array, size: int) -> Array:
    """`x` plus a random number below `size`, modulo `size`."""
    short = size <= 256  # then 24 bits of the word, times the size, stay within 32
    drawn = (
        ((word >> _U32(8)) * _U32(size)) >> _U32(24) if short else below(word, size).astype(_U32)
    )
    moved = x + drawn
    # the second is large where it wraps around below 0
    return jnp.minimum(moved, moved - _U32(size))


def _mixed(x: Array) -> Array:
    """Every bit of the result depends on every bit of `x` (the last steps of MurmurHash3)."""
    x = (x ^ (x >> _U32(16))) * _U32(0x85EBCA6B)
    x = (x ^ (x >> _U32(13))) * _U32(0xC2B2AE35)
    return x ^ (x >> _U32(16))


def subset(words: UInt[Array, " 2"], size: int, n: int) -> Int[Array, " size"]:
    """`size` different numbers below `n`."""
    return ordered(jnp.arange(size), words, n)


def first_epoch(n: int) -> State:
    """What a walk through epochs carries: the key of the order, and how many of it have been
    walked, here all."""
    return jnp.zeros(WORDS, jnp.uint32), jnp.full((), n, jnp.int32)


def next_of_epoch(
    words: UInt[Array, " 2"], size: int, n: int, carried: State
) -> tuple[Int[Array, " size"], State]:
    """The next `size` examples of an order, and what is carried on. Where fewer are left a new
    order begins, and the rest of the old is left out."""
    key, walked = carried
    over = walked + size > n
    key, walked = jnp.where(over, words, key), jnp.where(over, 0, walked)
    return ordered(walked + jnp.arange(size), key, n), (key, walked + size)
