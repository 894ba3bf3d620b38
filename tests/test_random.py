"""The words are JAX's own threefry and never repeat; the primitives keep their digits at both ends
of the interval."""

import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np
import pytest
from statistical import assert_mean

from levysde import random as lr

GENERATOR = np.random.default_rng(20)
# compiled, as the engine runs them
threefry, trajectory_key = jax.jit(lr.threefry2x32), jax.jit(lr.trajectory_key)
step_words, normals = (
    jax.jit(lr.step_words, static_argnums=2),
    jax.jit(lr.normals, static_argnums=(1, 2)),
)
EXTREMES = np.array(
    [0, 1, 2, 3, 0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFE, 0xFFFFFFFF], np.uint32
)


def both_ends(num: int = 3000) -> np.ndarray:
    """The 4096 lowest and highest words, and `num` between them, evenly in the logarithm of either
    distance."""
    low = np.concatenate(
        [np.arange(4096), np.geomspace(4096, 2**31, num).astype(np.uint64)]
    ).astype(np.uint32)
    return np.unique(np.concatenate([low, ~low, EXTREMES]))


def exact_fraction(word: np.ndarray) -> np.ndarray:
    return (word.astype(np.float64) + 0.5) * 2.0**-32


def exact_exponential(word: np.ndarray) -> np.ndarray:
    low, high = exact_fraction(word), exact_fraction(~word)
    return np.where(high < 0.5, -np.log1p(-high), -np.log(low))


def exact_sinpi(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0.25, np.cos(np.pi * (0.5 - x)), np.sin(np.pi * x))


def relative(found, expected) -> float:
    return float(np.max(np.abs(np.asarray(found, np.float64) / expected - 1)))


def as_key(value: int) -> jax.Array:
    return jnp.asarray(lr.split_uint64(value))


# --- the cipher ---


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_known_answers_of_random123(key, counter, expected):
    words = threefry(*(jnp.uint32(word) for word in (*key, *counter)))
    assert tuple(int(word) for word in words) == expected


def test_threefry_equals_that_of_jax():
    key = GENERATOR.integers(0, 2**32, 2, np.uint32)
    counts = GENERATOR.integers(0, 2**32, (2, 5000), np.uint32)
    ours = jnp.concatenate(threefry(*jnp.asarray(key), *jnp.asarray(counts)))
    theirs = jax.extend.random.threefry_2x32(jnp.asarray(key), jnp.asarray(counts.ravel()))
    np.testing.assert_array_equal(ours, theirs)


def test_words_are_the_cipher_of_step_and_block_under_the_cipher_of_id_under_seed():
    seed, trajectories, steps = (
        as_key(7),
        np.array([5, 2**40 + 3], np.uint64),
        jnp.asarray([11, 2**31], jnp.uint32),
    )
    keys = trajectory_key(seed, jnp.asarray(lr.split_uint64(trajectories)))
    words = np.asarray(step_words(keys, steps, 5))
    assert words.shape == (5, 2)
    for lane, trajectory in enumerate(trajectories):
        key = jax.extend.random.threefry_2x32(seed, as_key(int(trajectory)))
        np.testing.assert_array_equal(keys[:, lane], key)
        blocks = [
            jax.extend.random.threefry_2x32(key, jnp.asarray([steps[lane], b], jnp.uint32))
            for b in range(3)
        ]
        expected = np.concatenate([[b[0] for b in blocks], [b[1] for b in blocks]])[:5]
        np.testing.assert_array_equal(words[:, lane], expected)


def test_more_words_do_not_depend_on_how_many_lanes_are_asked_for():
    keys = trajectory_key(as_key(1), jnp.asarray(lr.split_uint64(np.arange(100, dtype=np.uint64))))
    steps = jnp.arange(100, dtype=jnp.uint32)
    np.testing.assert_array_equal(
        step_words(keys, steps, 4)[:, 17:23], step_words(keys[:, 17:23], steps[17:23], 4)
    )


# --- no two uses share words ---


def pairs(words) -> np.ndarray:
    """Words of an even count as 64-bit blocks: equal blocks of different uses would betray a
    repeated counter."""
    words = np.asarray(words, np.uint64)
    half = words.shape[0] // 2
    return (words[:half] | (words[half:] << np.uint64(32))).ravel()


def test_words_of_seeds_trajectories_steps_and_init_are_disjoint():
    ids = np.array([*range(50), *range(2**32, 2**32 + 50), 2**63, 2**64 - 1], np.uint64)
    steps = [0, 1, 2, 3, 1000, 2**31, lr.LAST_STEP - 1, lr.LAST_STEP]
    blocks = []
    for seed in (0, 1, 2, 2**32, 2**32 + 1, 2**63, 2**64 - 1):
        keys = trajectory_key(as_key(seed), jnp.asarray(lr.split_uint64(ids)))
        blocks += [
            pairs(step_words(keys, jnp.full(len(ids), step, jnp.uint32), 6)) for step in steps
        ]
        blocks.append(pairs(lr.init_words(keys, 6)))
    blocks = np.concatenate(blocks)
    assert blocks.size == 7 * 9 * 3 * len(ids)
    # by chance, two of these would agree once in 1e10 such tests
    assert np.unique(blocks).size == blocks.size


def test_init_words_lie_past_the_last_step():
    keys = trajectory_key(as_key(3), jnp.asarray(lr.split_uint64(np.arange(4, dtype=np.uint64))))
    beyond = step_words(keys, jnp.full(4, lr.LAST_STEP + 1, jnp.uint32), 4)
    np.testing.assert_array_equal(lr.init_words(keys, 4), beyond)


def test_every_bit_of_seed_and_id_counts():
    flips = [0] + [1 << bit for bit in range(64)]
    one = jnp.asarray(lr.split_uint64(np.array([12345], np.uint64)))
    by_seed = np.concatenate(
        [trajectory_key(as_key(987654321 ^ flip), one) for flip in flips], axis=1
    )
    by_id = np.asarray(
        trajectory_key(as_key(3), jnp.asarray(lr.split_uint64(np.array(flips, np.uint64) ^ 12345)))
    )
    assert np.unique(pairs(by_seed)).size == np.unique(pairs(by_id)).size == 65


def test_split_uint64_is_low_word_first_and_keeps_shape():
    assert lr.split_uint64(2**63 + 5).tolist() == [5, 2**31]
    assert lr.split_uint64(2**64 - 1).tolist() == [0xFFFFFFFF, 0xFFFFFFFF]
    assert lr.split_uint64(np.arange(6).reshape(2, 3)).shape == (2, 2, 3)


# --- words to numbers ---


def test_unit_pair_keeps_its_digits_at_both_ends(dtype):
    words = both_ends()
    u, complement = lr.unit_pair(jnp.asarray(words), dtype)
    assert u.dtype == complement.dtype == dtype
    tolerance = 1.3e-7 if dtype == jnp.float32 else 1e-15
    assert relative(u, exact_fraction(words)) < tolerance
    assert relative(complement, exact_fraction(~words)) < tolerance
    assert u.min() == complement.min() == 2.0**-33


def test_half_pair_keeps_its_digits_at_both_ends(dtype):
    words = both_ends()
    pole, centre, sign = lr.half_pair(jnp.asarray(words), dtype)
    tolerance = 1.3e-7 if dtype == jnp.float32 else 1e-15
    assert relative(pole, exact_fraction(words >> 1)) < tolerance
    # exact: 32 bits fit into a float64
    assert relative(centre, 0.5 - exact_fraction(words >> 1)) < tolerance
    assert pole.min() == centre.min() == 2.0**-33
    np.testing.assert_array_equal(sign, np.where(words & 1, 1, -1))


def test_a_second_word_carries_half_pair_on_below_its_last_digit(dtype):
    words, finer = both_ends()[:4000], np.arange(4000, dtype=np.uint32) * 0x9E3779B1
    pole, centre, sign = lr.half_pair(jnp.asarray(words), dtype, jnp.asarray(finer))
    exact = ((words >> 1) + ((finer & 0xFFFF) + 0.5) * 2.0**-16) * 2.0**-32
    assert relative(pole, exact) < (1.3e-7 if dtype == jnp.float32 else 1e-15)
    for found, coarse in zip(
        (centre, sign), lr.half_pair(jnp.asarray(words), dtype)[1:], strict=True
    ):
        np.testing.assert_array_equal(found, coarse)
    lowest, _, _ = lr.half_pair(jnp.uint32(0), dtype, jnp.uint32(0))
    assert lowest == 2.0**-49


def test_exponential_keeps_its_digits_at_both_ends(dtype):
    words = both_ends(20_000)
    drawn = lr.exponential(jnp.asarray(words), dtype)
    assert drawn.dtype == dtype
    assert relative(drawn, exact_exponential(words)) < (3e-6 if dtype == jnp.float32 else 1e-13)
    small = exact_fraction(~words) < 2.0**-6  # where the series is used
    assert relative(drawn[small], exact_exponential(words[small])) < (
        3e-7 if dtype == jnp.float32 else 1e-13
    )
    assert drawn.min() == pytest.approx(2.0**-33, rel=1e-6)
    assert drawn.max() == pytest.approx(33 * np.log(2), rel=1e-6)


def test_sinpi_is_right_relative_to_itself(dtype):
    x = np.concatenate([exact_fraction(both_ends()) / 2, np.linspace(0, 0.5, 10_001)[1:]])
    x = np.concatenate([x, -x]).astype(dtype)
    tolerance = 2.5e-7 if dtype == jnp.float32 else 3e-15
    wide = np.abs(x.astype(np.float64))
    assert relative(lr.sinpi(jnp.asarray(x)), np.sign(x) * exact_sinpi(wide)) < tolerance
    assert lr.sinpi(jnp.zeros((), dtype)) == 0


def test_normals_pointwise(dtype):
    words = both_ends(200)[::16]
    first, second = (grid.ravel() for grid in np.meshgrid(words, words))
    x, y = np.split(
        np.asarray(
            normals(jnp.asarray(np.concatenate([first, second])), 2 * len(first), dtype), float
        ),
        2,
    )
    radius = np.sqrt(2 * exact_exponential(first))
    pole = exact_fraction(second >> 1)
    tolerance = 4e-6 if dtype == jnp.float32 else 1e-13
    assert relative(x, radius * exact_sinpi(0.5 - pole) * np.where(second & 1, 1, -1)) < tolerance
    assert relative(y, radius * exact_sinpi(pole) * np.where(second & 2, 1, -1)) < tolerance
    assert np.hypot(x, y).max() == pytest.approx(np.sqrt(66 * np.log(2)), rel=1e-5)


def test_normals_are_independent_standard_normals():
    words = jnp.asarray(GENERATOR.integers(0, 2**32, (2, 2_000_000), np.uint32))
    x, y = np.asarray(normals(words, 2), np.float64)
    for z, name in ((x, "first"), (y, "second")):
        assert_mean(z**2, 1.0, 0.01, f"variance of the {name}")
        assert_mean(z**4, 3.0, 0.02, f"fourth moment of the {name}")
    assert_mean((x + y) ** 2, 2.0, 0.01, "variance of the sum")
    assert_mean(x**2 * y**2, 1.0, 0.02, "squares are uncorrelated")
    for sign_x, sign_y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        assert_mean((x * sign_x > 0) & (y * sign_y > 0), 0.25, 0.01, "one quadrant")


@pytest.mark.parametrize(
    "function",
    [lr.exponential, lambda w: lr.normals(jnp.stack([w, ~w]), 1), lambda w: lr.unit_pair(w)[0]],
)
def test_extreme_words_give_finite_nonzero_numbers(function):
    drawn = np.asarray(function(jnp.asarray(EXTREMES)))
    assert np.isfinite(drawn).all()
    assert (drawn != 0).all()
