"""Random words as a pure function of (seed, trajectory, step), and fast primitives that turn words into draws.

Generator: threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011), unrolled so that XLA fuses it; bit-equal to JAX's own. A trajectory's key is the cipher of its 64-bit id
under the 64-bit seed; its words at a step are the cipher of (step, block) under that key. Nothing is carried, so any
step of any trajectory can be drawn again, in any order, on any layout.

A word is a `uint32`. The primitives keep relative precision at BOTH ends of the unit interval (theory: the chance of a
one-step exit is 1e-5 to 1e-8, and a 24-bit uniform is 12% short there), hence the half offsets and complements.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt

U32 = jnp.uint32
LAST_STEP = 2**32 - 2  # counters above are reserved: the initial draw uses 2**32 - 1
_INIT_STEP = 2**32 - 1


def _rotate(x: Array, k: int) -> Array:
    return (x << U32(k)) | (x >> U32(32 - k))


def threefry2x32(k0: Array, k1: Array, x0: Array, x1: Array) -> tuple[Array, Array]:
    """The threefry-2x32 block cipher, 20 rounds. `uint32` in, `uint32` out, elementwise."""
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
    return np.stack([(value & np.uint64(0xFFFFFFFF)).astype(np.uint32), (value >> np.uint64(32)).astype(np.uint32)])


def trajectory_key(seed: UInt[Array, "2"], trajectory: UInt[Array, "2 lanes"]) -> UInt[Array, "2 lanes"]:
    """The key of each trajectory: the cipher of its id under the seed, a bijection of ids for each seed."""
    return jnp.stack(threefry2x32(seed[0], seed[1], trajectory[0], trajectory[1]))


def step_words(key: UInt[Array, "2 lanes"], step: UInt[Array, " lanes"], num: int) -> UInt[Array, "num lanes"]:
    """The `num` words of step `step`, one column a lane."""
    blocks = (num + 1) // 2
    shape = (blocks, step.shape[0])
    step, first, second = (jnp.broadcast_to(row[None], shape) for row in (step, key[0], key[1]))
    block = jnp.broadcast_to(jnp.arange(blocks, dtype=U32)[:, None], shape)
    return jnp.concatenate(threefry2x32(first, second, step, block))[:num]


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

    The low 16 bits of `finer`, when given, carry p on below 2^-32: without them p is a whole number of units and a
    half, and a tail probability of 1e-8 a whole number of 2^-31, up to 2% off.
    """
    pole, centre = word >> U32(1), ~word >> U32(1)
    sign = (word & U32(1)).astype(dtype) * 2 - 1
    if finer is None:
        return _fraction(pole, dtype), _fraction(centre, dtype), sign
    below = (finer & U32(0xFFFF)).astype(dtype) * np.asarray(2.0**-16, dtype) + np.asarray(2.0**-17, dtype)
    return (pole.astype(dtype) + below) * np.asarray(2.0**-32, dtype), _fraction(centre, dtype), sign


def exponential(word: UInt[Array, "..."], dtype=jnp.float32) -> Array:
    """A unit exponential, resolved at both ends: from 2^-33 to 22.9."""
    u, v = unit_pair(word, dtype)
    if dtype == jnp.float64:
        return jnp.where(v < 0.5, -jnp.log1p(-jnp.minimum(v, 0.5)), -jnp.log(u))
    # -log(1 - v) by its series where u has lost the digits of v
    small = v * (1 + v * (0.5 + v * (1 / 3 + v * 0.25)))
    return jnp.where(v < 2.0**-6, small, -jnp.log(jnp.minimum(u, 1 - 2.0**-8)))


def _sinpi_coefficients(degree: int) -> np.ndarray:
    """Coefficients of sin(pi x)/x as a polynomial in x^2 on |x| <= 1/2, by interpolation at Chebyshev points."""

    def f(t):
        root = np.sqrt(np.maximum(t, 1e-30))
        return np.sin(np.pi * root) / root

    series = np.polynomial.chebyshev.Chebyshev.interpolate(f, degree, domain=[0, 0.25])
    return series.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1]).coef


_SINPI = {32: _sinpi_coefficients(4), 64: _sinpi_coefficients(10)}


def sinpi(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """sin(pi x) for |x| <= 1/2, to the last digits of the dtype relative to itself; no range reduction."""
    t = x * x
    coefficients = _SINPI[64 if x.dtype == jnp.float64 else 32].astype(x.dtype)
    total = jnp.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * t + c
    return x * total


def normal_pair(first: UInt[Array, "..."], second: UInt[Array, "..."], dtype=jnp.float32) -> tuple[Array, Array]:
    """Two independent standard normals from two words (Box and Muller 1958)."""
    radius = jnp.sqrt(2 * exponential(first, dtype))
    pole, centre, sign = half_pair(second, dtype)
    spin = (second & U32(2)).astype(dtype) - 1
    return radius * sinpi(centre) * sign, radius * sinpi(pole) * spin
