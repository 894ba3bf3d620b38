"""Random words as a pure function of (seed, trajectory, step), and fast primitives that turn words
into draws.

Generator: threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as
easy as 1, 2, 3", SC 2011), unrolled so that XLA fuses it; bit-equal to JAX's own. A trajectory's
key is the cipher of its 64-bit id under the 64-bit seed; its words at a step are the cipher of
(step, block) under that key. Nothing is carried, so any step of any trajectory can be drawn again,
in any order, on any layout.

A word is a `uint32`. The primitives keep relative precision at BOTH ends of the unit interval
(theory: the chance of a one-step exit is 1e-5 to 1e-8, and a 24-bit uniform is 12% short there),
hence the half offsets and complements.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt

U32 = np.uint32
LAST_STEP = 2**32 - 2  # counters above are reserved: the initial draw uses 2**32 - 1
_INIT_STEP = 2**32 - 1


def _rotate(x: Any, k: int) -> Any:
    return (x << U32(k)) | (x >> U32(32 - k))


def threefry2x32(k0: Any, k1: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    """The threefry-2x32 block cipher, 20 rounds. `uint32` in, `uint32` out, elementwise, NumPy or
    JAX."""
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    keys = (k0, k1, k0 ^ k1 ^ U32(0x1BD11BDA))
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for group in range(5):
        for rotation in rotations[group % 2]:
            x0 = x0 + x1
            x1 = x0 ^ _rotate(x1, rotation)
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + U32(group + 1)
    return x0, x1


def split_uint64(value: Array | np.ndarray | int) -> np.ndarray:
    """A 64-bit integer as its two words, low first: shape `(2,) + value.shape`, `uint32`."""
    value = np.asarray(value, dtype=np.uint64)
    return np.stack(
        [
            (value & np.uint64(0xFFFFFFFF)).astype(np.uint32),
            (value >> np.uint64(32)).astype(np.uint32),
        ]
    )


def trajectory_key(seed: Any, trajectory: Any) -> Any:
    """The key of each trajectory: the cipher of its id `(2, lanes)` under the seed `(2,)`, a
    bijection of ids for each seed.

    NumPy in, NumPy out, on the host; JAX in, JAX out.
    """
    stack = np.stack if isinstance(trajectory, np.ndarray) else jnp.stack
    return stack(threefry2x32(seed[0], seed[1], trajectory[0], trajectory[1]))


def step_words(
    key: UInt[Array, "2 lanes"], step: UInt[Array, " lanes"], num: int
) -> UInt[Array, "num lanes"]:
    """The `num` words of step `step`, one column a lane."""
    blocks = (num + 1) // 2
    shape = (blocks, step.shape[0])
    step, first, second = (jnp.broadcast_to(row[None], shape) for row in (step, key[0], key[1]))
    block = jnp.broadcast_to(jnp.arange(blocks, dtype=U32)[:, None], shape)
    # materialised: fused into its consumers, the cipher would run again for each, and take minutes
    # to compile
    words = jax.lax.platform_dependent(
        first, second, step, block, cpu=_enciphered_once, default=_enciphered
    )
    return jax.lax.optimization_barrier(words[:num])


def lane_words(key: UInt[Array, " 2"], step: UInt[Array, ""], num: int) -> UInt[Array, " num"]:
    """The column of `step_words` that belongs to one lane."""
    block = jnp.arange((num + 1) // 2, dtype=U32)
    words = _enciphered(
        *(jnp.broadcast_to(part, block.shape) for part in (key[0], key[1], step)), block
    )
    return jax.lax.optimization_barrier(words[:num])


def _enciphered(*block: Array) -> Array:
    return jnp.concatenate(threefry2x32(*block))


def _enciphered_once(*block: Array) -> Array:
    """`_enciphered` by one run of the cipher: XLA makes each array by a loop of its own, with all
    that leads to it, and would so run it for the first words and again for the second. They are
    made as the parts of one complex number."""
    parts = (jax.lax.bitcast_convert_type(word, jnp.float32) for word in threefry2x32(*block))
    both = jax.lax.optimization_barrier(jax.lax.complex(*parts))
    first, second = (
        jax.lax.bitcast_convert_type(part(both), U32)[None] for part in (jax.lax.real, jax.lax.imag)
    )
    # by a mask, so that a vector of pairs is loaded and parted by one instruction
    mask = jax.lax.optimization_barrier(np.array([0xFFFFFFFF, 0], U32))[:, None, None]
    return ((first & mask) | (second & ~mask)).reshape(-1, both.shape[-1])


def init_words(key: UInt[Array, "2 lanes"], num: int) -> UInt[Array, "num lanes"]:
    """The words of a trajectory's initial draw, disjoint from those of every step."""
    return step_words(key, jnp.full(key.shape[1], _INIT_STEP, U32), num)


def unit_pair(word: UInt[Array, "..."], dtype=jnp.float32) -> tuple[Array, Array]:
    """A uniform u on (0, 1) and 1 - u, each with full relative precision down to 2^-33."""
    return _fraction(word, dtype), _fraction(~word, dtype)


def _fraction(word: Array, dtype) -> Array:
    return (word.astype(dtype) + np.asarray(0.5, dtype)) * np.asarray(2.0**-32, dtype)


def half_pair(
    word: UInt[Array, "..."], dtype=jnp.float32, finer: UInt[Array, "..."] | None = None
) -> tuple[Array, Array, Array]:
    """A uniform p on (0, 1/2), 1/2 - p, and an independent sign, from one word.

    The low 16 bits of `finer`, when given, carry p on below 2^-32: without them p is a whole number
    of units and a half, and a tail probability of 1e-8 a whole number of 2^-31, up to 2% off.
    """
    pole, centre = word >> U32(1), ~word >> U32(1)
    sign = (word & U32(1)).astype(dtype) * 2 - 1
    if finer is None:
        return _fraction(pole, dtype), _fraction(centre, dtype), sign
    return _finer_fraction(pole, finer, dtype), _fraction(centre, dtype), sign


def _finer_fraction(word: Array, finer: Array, dtype) -> Array:
    below = (finer & U32(0xFFFF)).astype(dtype) * np.asarray(2.0**-16, dtype) + np.asarray(
        2.0**-17, dtype
    )
    return (word.astype(dtype) + below) * np.asarray(2.0**-32, dtype)


def below(word: UInt[Array, "..."], bound: Array | int) -> Int[Array, "..."]:
    """A whole number, uniform on `[0, bound)` to one part in `2^32 / bound`: the high half of
    `word * bound`."""
    bound = jnp.asarray(bound, jnp.uint32)
    mask = jnp.uint32(0xFFFF)
    high, low = word >> jnp.uint32(16), word & mask
    above, under = bound >> jnp.uint32(16), bound & mask
    middle = high * under + ((low * under) >> jnp.uint32(16))
    carry = low * above + (middle & mask)
    return (high * above + (middle >> jnp.uint32(16)) + (carry >> jnp.uint32(16))).astype(jnp.int32)


def _interpolated(f, degree: int, low: float, high: float) -> np.ndarray:
    """Coefficients, lowest power first, of the polynomial through `f` at Chebyshev points."""
    series = np.polynomial.chebyshev.Chebyshev.interpolate(f, degree, domain=[low, high])
    return series.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1]).coef


def polynomial(coefficients: Array | np.ndarray, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`sum_i coefficients[i] x^i`, by Horner's rule."""
    total = jnp.full_like(x, 1) * coefficients[-1].astype(x.dtype)
    for i in range(coefficients.shape[0] - 2, -1, -1):
        total = total * x + coefficients[i].astype(x.dtype)
    return total


_LOG2 = _interpolated(lambda z: np.log1p(z) / (z * np.log(2)), 8, 0.5**0.5 - 1, 2**0.5 - 1)
_EXP2 = _interpolated(np.exp2, 6, -0.5, 0.5)
_ROUNDING = np.float32(1.5 * 2**23)
_ROUNDING_BITS = np.int32(0x4B400000)
_ROOT_HALF_BITS = 0x3F3504F3  # of the float32 nearest to sqrt(1/2)


def log2(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log2 of positive normal numbers, to 1e-7 (float32) beside the rounding of the result; half
    the cost of XLA's own."""
    if x.dtype != jnp.float32:
        return jnp.log2(x)
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    exponent = (bits - _ROOT_HALF_BITS) >> 23
    # x / 2^exponent - 1, within 0.42
    above = jax.lax.bitcast_convert_type(bits - (exponent << 23), jnp.float32) - 1
    return exponent.astype(jnp.float32) + above * polynomial(_LOG2, above)


def exp2(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """2^x for x <= 126, to 2e-7 relative (float32); 2^-126 below -126."""
    if x.dtype != jnp.float32:
        return jnp.exp2(x)
    # added to _ROUNDING, x is rounded to a whole number in the low bits: `round` and a conversion
    # would look out for overflow
    x = jnp.maximum(x, -126)
    whole = jax.lax.bitcast_convert_type(x + _ROUNDING, jnp.int32) - _ROUNDING_BITS
    power = jax.lax.bitcast_convert_type((whole + 127) << 23, jnp.float32)
    # the whole number goes back through an integer: jax 0.10 takes (x + a) - a for x
    return power * polynomial(_EXP2, x - whole.astype(jnp.float32))


def exponential(
    word: UInt[Array, "..."], dtype=jnp.float32, finer: UInt[Array, "..."] | None = None
) -> Array:
    """A unit exponential, resolved at both ends: from 2^-33 to 22.9; to 34.0 with the low 16 bits
    of `finer`."""
    u, v = unit_pair(word, dtype)
    u = u if finer is None else _finer_fraction(word, finer, dtype)
    if dtype == jnp.float64:
        return jnp.where(v < 0.5, -jnp.log1p(-jnp.minimum(v, 0.5)), -jnp.log(u))
    # -log(1 - v) by its series where u has lost the digits of v
    small = v * (1 + v * (0.5 + v * (1 / 3 + v * 0.25)))
    return jnp.where(
        v < 2.0**-6, small, -np.asarray(np.log(2), dtype) * log2(jnp.minimum(u, 1 - 2.0**-8))
    )


def _sine_over_x(t: np.ndarray) -> np.ndarray:
    root = np.sqrt(np.maximum(t, 1e-30))
    return np.sin(np.pi * root) / root


_SINPI = {32: _interpolated(_sine_over_x, 4, 0, 0.25), 64: _interpolated(_sine_over_x, 10, 0, 0.25)}


def sinpi(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`sin(pi x)` for `|x| <= 1/2`, to the last digits of the dtype relative to itself; no range
    reduction."""
    return x * polynomial(_SINPI[64 if x.dtype == jnp.float64 else 32], x * x)


def normals(
    words: UInt[Array, "words ..."], dim: int, dtype=jnp.float32
) -> Float[Array, "dim ..."]:
    """`dim` independent standard normals from as many words, rounded up to even (Box and Muller
    1958)."""
    half = (dim + 1) // 2
    # materialised: it would be computed for each of the two it serves
    radius = jax.lax.optimization_barrier(jnp.sqrt(2 * exponential(words[:half], dtype)))
    angles = words[half : 2 * half]
    pole, centre, sign = half_pair(angles, dtype)
    spin = (angles & U32(2)).astype(dtype) - 1
    # chosen and not put end to end: XLA does not vectorise a concatenation that it fuses with what
    # follows
    cosine = (jnp.arange(2) == 0).reshape(2, *[1] * words.ndim)
    pairs = jnp.where(cosine, sign[None], spin[None]) * sinpi(
        jnp.where(cosine, centre[None], pole[None])
    )
    return (radius[None] * pairs).reshape(-1, *words.shape[1:])[:dim]
