"""Minibatches out of random words: B of n examples, with or without replacement, or walking through epochs.

A random order of the examples is never stored or sorted: its i-th place is computed, by a cipher of the numbers below n whose
key is two random words. The cipher is a Feistel network on the next power of two (Luby and Rackoff, SIAM J. Comput. 17, 1988),
applied again to whatever falls on n or above (cycle walking; Black and Rogaway, CT-RSA 2002), so that it is one to one. The
places of a batch are independent of each other in the program: a loop that swaps examples costs as much as a small network's
gradient.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt

from levysde.protocols import State, Words
from levysde.random import below

WORDS = 2  # of the key of an order
_ROUNDS = 12
_GOLDEN = 0x9E3779B9  # 2^32 over the golden ratio: sets the rounds' keys apart
_U32 = np.uint32


def ordered(place: Int[Array, " b"], key: UInt[Array, " 2"], n: int) -> Int[Array, " b"]:
    """The examples at some places of the random order of n that `key` stands for."""
    bits = max(2, (n - 1).bit_length())
    low = bits // 2
    keys = [_mixed(key[0] + _U32(k * _GOLDEN % 2**32)) ^ key[1] for k in range(_ROUNDS)]

    def cipher(x: Array) -> Array:
        halves, sizes = [x >> _U32(low), x & _U32(2**low - 1)], (bits - low, low)
        for k in range(_ROUNDS):
            here, there = k % 2, 1 - k % 2
            halves[here] = halves[here] ^ (_mixed(halves[there] ^ keys[k]) >> _U32(32 - sizes[here]))
        return (halves[0] << _U32(low)) | halves[1]

    walked = jax.lax.while_loop(
        lambda x: jnp.any(x >= n), lambda x: jnp.where(x >= n, cipher(x), x), cipher(place.astype(jnp.uint32))
    )
    return walked.astype(jnp.int32)


def _mixed(x: Array) -> Array:
    """Every bit of the result depends on every bit of `x` (the last steps of MurmurHash3)."""
    x = (x ^ (x >> _U32(16))) * _U32(0x85EBCA6B)
    x = (x ^ (x >> _U32(13))) * _U32(0xC2B2AE35)
    return x ^ (x >> _U32(16))


def subset(words: UInt[Array, " 2"], size: int, n: int) -> Int[Array, " size"]:
    """`size` different numbers below `n`."""
    return ordered(jnp.arange(size), words, n)


def first_epoch(n: int) -> State:
    """What a walk through epochs carries: the key of the order, and how many of it have been walked, here all."""
    return jnp.zeros(WORDS, jnp.uint32), jnp.full((), n, jnp.int32)


def next_of_epoch(words: UInt[Array, " 2"], size: int, n: int, carried: State) -> tuple[Int[Array, " size"], State]:
    """The next `size` examples of an order, and what is carried on. Where fewer are left a new order begins, and the rest of
    the old is left out."""
    key, walked = carried
    over = walked + size > n
    key, walked = jnp.where(over, words, key), jnp.where(over, 0, walked)
    return ordered(walked + jnp.arange(size), key, n), (key, walked + size)


def with_replacement(words: Words, n: int) -> Int[Array, " b"]:
    """As many numbers below `n` as there are words, each drawn anew."""
    return below(words, n)
