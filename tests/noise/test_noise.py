"""The drivers have the law they claim: pointwise, in distribution, across time steps, dimensions
and lanes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawing import draw, increments, words_of
from scipy import special, stats
from statistical import assert_mean

from levysde.escape.block import jit as engine_jit
from levysde.noise import (
    Brownian,
    GaussianMixture,
    StableComponents,
    StableIsotropic,
    levy_constant,
)
from levysde.random import split_uint64, step_words, trajectory_key

ALPHAS = [0.3, 0.5, 1.0, 1.2, 1.5, 1.8, 1.9, 1.99, 2.0]
ALL_ALPHAS = [0.05, 0.1, *ALPHAS]
STABLE = [StableComponents, StableIsotropic]


def ExactComponents(alpha):
    """Components by the formula, where the class itself would take the fitted quantile."""
    return StableComponents(alpha, exact_sampler=True)


SAMPLERS = [*STABLE, ExactComponents]
EXTREMES = np.array(
    [0, 1, 2, 3, 0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFE, 0xFFFFFFFF], np.uint32
)
CAP = 1e27  # draws are capped at 1e30 times a factor of order one


def exact_exponential(word: np.ndarray) -> np.ndarray:
    low, high = (word + 0.5) * 2.0**-32, (~word + 0.5) * 2.0**-32
    return np.where(high < 0.5, -np.log1p(-high), -np.log(low))


def as_stored(alpha: float, dtype) -> float:
    return float(np.asarray(alpha, dtype))


# --- pointwise against the textbook formulas in float64 ---


def reference_components(angle: np.ndarray, tail: np.ndarray, alpha: float) -> np.ndarray:
    """Chambers-Mallows-Stuck as printed, but at an angle given by its distance to the pole."""
    pole = ((angle >> 1) + ((tail & 0xFFFF) + 0.5) * 2.0**-16) * 2.0**-32
    phi = np.pi * np.maximum(0.5 - ((angle >> 1) + 0.5) * 2.0**-32, 0)
    sine = np.where(
        alpha * phi > np.pi / 2,
        np.sin(np.pi * (1 - alpha / 2) + alpha * np.pi * pole),
        np.sin(alpha * phi),
    )
    turn = abs(1 - alpha)
    cosine = np.sin(np.pi * ((1 - turn) / 2 + turn * pole))
    log_size = (
        (1 - alpha) * np.log(cosine / exact_exponential(tail)) - np.log(np.sin(np.pi * pole))
    ) / alpha
    return np.where(angle & 1, 1, -1) * sine * np.exp(np.minimum(log_size, np.log(1e30)))


@pytest.mark.parametrize("alpha", ALL_ALPHAS)
def test_components_equal_the_formula_in_every_corner(alpha, dtype):
    ends = np.concatenate(
        [np.arange(300), np.geomspace(300, 2**31 - 1, 200).astype(np.int64)]
    ).astype(np.uint32)
    words = np.stack([grid.ravel() for grid in np.meshgrid(ends, np.concatenate([ends, ~ends]))])
    words[0, ::2] = ~words[0, ::2]
    driver = StableComponents(alpha, exact_sampler=True)
    drawn = increments(driver, jnp.asarray(words), jnp.asarray(1.0), 1)
    assert drawn.dtype == dtype
    expected = reference_components(words[0], words[1], as_stored(alpha, dtype))
    # float32: the exponent is known to about 1e-6, and is multiplied by up to log(1e30)/...; 5e-5
    # at alpha = 0.05
    tolerance = 1e-12 if dtype == jnp.float64 else 1e-5 + 2e-6 / alpha
    np.testing.assert_allclose(np.asarray(drawn, np.float64)[0], expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.8, 1.0, 1.5, 1.9, 2.0])
def test_isotropic_equals_the_formula_of_kanter(alpha, dtype):
    grid = np.random.default_rng(2).integers(0, 2**32, (6, 20_000), np.uint32)
    grid[0, :1000] = ~np.arange(1000, dtype=np.uint32)  # near the pole of the angle
    drawn = np.asarray(
        increments(StableIsotropic(alpha), jnp.asarray(grid), jnp.asarray(1.0), 3), np.float64
    )
    index = as_stored(alpha, dtype) / 2
    distance = np.pi * (~grid[0] + 0.5) * 2.0**-32  # from pi
    angle = np.pi * (grid[0] + 0.5) * 2.0**-32
    sine = np.where(
        index * angle > np.pi / 2,
        np.sin(np.pi * (1 - index) + index * distance),
        np.sin(index * angle),
    )
    over_pole = np.log(np.sin(np.minimum(angle, distance))) / index
    second = np.log(np.sin((1 - index) * angle) / exact_exponential(grid[1])) if index < 1 else 0.0
    log_v = np.log(sine) - over_pole + (1 - index) / index * second
    radius = np.sqrt(2 * exact_exponential(grid[2:4]))
    turn = np.pi * ((grid[4:6] >> 1) + 0.5) * 2.0**-32
    normals = [
        radius * np.cos(turn) * np.where(grid[4:6] & 1, 1, -1),
        radius * np.sin(turn) * np.where(grid[4:6] & 2, 1, -1),
    ]
    expected = (
        np.sqrt(2) * np.exp(np.minimum(log_v / 2, np.log(1e30))) * np.concatenate(normals)[:3]
    )
    np.testing.assert_allclose(
        drawn, expected, rtol=1e-11 if dtype == jnp.float64 else 5e-5, atol=0
    )


# --- in distribution ---


@pytest.mark.parametrize("driver", SAMPLERS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_marginal_characteristic_function(driver, alpha):
    x = draw(driver(alpha), 2_000_000, 1)
    for value in (0.7, 0.3):
        k = (-np.log(value)) ** (1 / alpha)
        assert_mean(np.cos(k * x), value, 0.01, f"{driver.__name__}({alpha}) at k = {k:.3g}")


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_joint_characteristic_function_tells_the_drivers_apart(alpha, dim):
    signs = np.array([1.0, -1.0, 1.0])[:dim]
    k = (1.2 / dim) ** (1 / alpha) * signs
    exponent = {
        StableComponents: np.sum(np.abs(k) ** alpha),
        StableIsotropic: np.linalg.norm(k) ** alpha,
    }
    if alpha < 1.95:  # at 2 they are one and the same
        assert abs(np.exp(exponent[StableComponents] - exponent[StableIsotropic]) - 1) > 0.03
    for driver in STABLE:
        assert driver(alpha).exponent(jnp.asarray(k)) == pytest.approx(exponent[driver], rel=1e-5)
        x = draw(driver(alpha), 1_000_000, dim)
        assert_mean(
            np.cos(k @ x), np.exp(-exponent[driver]), 0.02, f"{driver.__name__}({alpha}), d = {dim}"
        )


@pytest.mark.parametrize("driver", STABLE)
def test_steps_and_neighbouring_trajectories_are_independent(driver):
    now, then = (draw(driver(1.5), 1_000_000, 1, step=step)[0] for step in (0, 1))
    assert_mean(np.cos(0.5 * (now + then)), np.exp(-2 * 0.5**1.5), 0.01, "two steps")
    assert_mean(np.cos(0.5 * (now[1:] - now[:-1])), np.exp(-2 * 0.5**1.5), 0.01, "two trajectories")


@pytest.mark.parametrize("driver", STABLE)
@pytest.mark.parametrize(
    ("alpha", "law"), [(1.0, stats.cauchy), (2.0, stats.norm(scale=np.sqrt(2)))]
)
def test_cauchy_at_one_and_normal_of_variance_two_at_two(driver, alpha, law):
    x = draw(driver(alpha), 2_000_000, 1)[0]
    for level in (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98):
        assert_mean(
            x <= law.ppf(level), level, 0.03, f"{driver.__name__}({alpha}): quantile {level}"
        )


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_brownian_motion_has_variance_t_in_independent_coordinates(dim):
    driver = Brownian()
    words = words_of(
        jnp.asarray(split_uint64(4)),
        jnp.uint32(0),
        2_000_000,
        jnp.uint32(0),
        driver.words_per_step(dim),
    )
    x = np.asarray(increments(driver, words, jnp.asarray(0.25), dim), np.float64)
    for row in x:
        assert_mean(row**2, 0.25, 0.01, "variance")
        assert_mean(row**4, 3 * 0.25**2, 0.02, "fourth moment")
    for first, second in itertools.combinations(x, 2):
        assert_mean((first + second) ** 2, 0.5, 0.01, "variance of the sum of two coordinates")
    assert_mean(
        np.cos(2 * np.sum(x, 0)),
        np.exp(-0.25 * driver.exponent(jnp.full(dim, 2.0))),
        0.02,
        "exponent",
    )


# --- across time steps ---


@pytest.mark.parametrize("alpha", ALL_ALPHAS)
@pytest.mark.parametrize("driver", SAMPLERS)
def test_increments_over_dt_and_c_dt_differ_by_a_power_of_c(driver, alpha, dtype):
    driver, c = driver(alpha), 4.0
    words = words_of(
        jnp.asarray(split_uint64(5)), jnp.uint32(0), 5000, jnp.uint32(0), driver.words_per_step(2)
    )
    short, long = (
        np.asarray(increments(driver, words, jnp.asarray(dt), 2), np.float64)
        for dt in (1e-3, c * 1e-3)
    )
    seen = (np.abs(short) > 1e-30) & (np.abs(long) < CAP)  # within the float range, and not capped
    assert np.sum(seen) > (100 if alpha < 0.3 else 9990)
    rounding = 1e-11 if dtype == jnp.float64 else 5e-6 / min(alpha, 1)
    np.testing.assert_allclose(
        long[seen] / short[seen], c ** (1 / as_stored(alpha, dtype)), rtol=rounding
    )


def test_brownian_increments_scale_by_the_square_root():
    words = words_of(jnp.asarray(split_uint64(5)), jnp.uint32(0), 1000, jnp.uint32(0), 2)
    short, long = (increments(Brownian(), words, jnp.asarray(dt), 2) for dt in (1e-3, 4e-3))
    np.testing.assert_allclose(long, 2 * short, rtol=3e-7)


# --- no NaN, no infinity, no atom ---


@pytest.mark.parametrize("driver", SAMPLERS)
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("dt", [1e-6, 1.0])
def test_extreme_words_give_finite_draws(driver, dim, dt, dtype):
    for alpha in ALL_ALPHAS:
        num = driver(alpha).words_per_step(dim)
        corners = np.array(
            list(itertools.product(EXTREMES[[0, 1, 5, 6, 9]], repeat=min(num, 4))), np.uint32
        ).T
        words = np.concatenate([corners, corners[::-1]])[:num]
        drawn = np.asarray(increments(driver(alpha), jnp.asarray(words), jnp.asarray(dt), dim))
        assert np.isfinite(drawn).all(), alpha
        # below, dt^(1/alpha) takes small draws under the float range
        assert alpha < 0.5 or (drawn != 0).all(), alpha
        assert drawn.dtype == dtype


@pytest.mark.parametrize("alpha", ALL_ALPHAS)
@pytest.mark.parametrize("driver", SAMPLERS)
def test_no_value_is_drawn_too_often(driver, alpha):
    drawn = np.abs(draw(driver(alpha), 1_000_000, 1)[0])
    assert np.isfinite(drawn).all()
    assert (drawn > 0).all()
    free = drawn[drawn < CAP] if alpha < 0.3 else drawn
    assert free.size > 9e5
    # a float32 has 2^23 values an octave: coincidences of a handful are rounding, a hundred would
    # be an atom
    assert np.unique(free, return_counts=True)[1].max() < 25


@pytest.mark.parametrize("components", [StableComponents, ExactComponents])
@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.8, 1.0, 1.2, 1.5, 1.8, 1.9])
def test_each_pole_word_gives_its_own_draw(alpha, components):
    k = np.arange(4096, dtype=np.uint32)
    driver, fixed = components(alpha), np.full_like(k, 0x12345678)
    by_pole = np.asarray(
        increments(driver, jnp.asarray(np.stack([2 * k, fixed])), jnp.asarray(1.0), 1)
    )[0]
    assert (np.diff(by_pole) > 0).all()  # negative, largest first
    flipped = increments(driver, jnp.asarray(np.stack([2 * k + 1, fixed])), jnp.asarray(1.0), 1)[0]
    np.testing.assert_array_equal(flipped, -by_pole)
    size = StableIsotropic(alpha)
    words = np.stack([~k, fixed, fixed, fixed])
    assert (
        np.diff(np.abs(np.asarray(increments(size, jnp.asarray(words), jnp.asarray(1.0), 1))[0]))
        < 0
    ).all()


# --- the same bits for any number of lanes, and no compilation for another alpha ---


@pytest.mark.slow_cases("driver3-2", "driver4-3")
@pytest.mark.parametrize(
    ("driver", "dim"),
    [
        (StableComponents(1.5), 2),
        (StableComponents(1.8), 3),
        (StableComponents(0.6), 3),
        (StableIsotropic(1.5), 2),
        (StableIsotropic(1), 3),
        (Brownian(), 3),
    ],
)
def test_bits_do_not_depend_on_the_number_of_lanes(driver, dim):
    def block(driver, seed, first, dt, lanes):
        ids = jnp.stack([first + jnp.arange(lanes, dtype=jnp.uint32), jnp.zeros(lanes, jnp.uint32)])
        words = step_words(
            trajectory_key(seed, ids), jnp.full(lanes, 7, jnp.uint32), driver.words_per_step(dim)
        )
        return jax.vmap(lambda column: driver.increment(column, dim, dt), in_axes=-1, out_axes=-1)(
            words
        )

    def wide(driver, seed, first, dt, lanes):
        return programs[lanes](driver, seed, first, dt)

    programs = {
        lanes: engine_jit(functools.partial(block, lanes=lanes), jax.default_backend())
        for lanes in (16, 64, 256, 1000)
    }
    total, seed = 2000, jnp.asarray(split_uint64(9))
    rows = {
        lanes: np.concatenate(
            [
                wide(driver, seed, jnp.uint32(i), jnp.asarray(1e-3), lanes)
                for i in range(0, total, lanes)
            ],
            1,
        )
        for lanes in (16, 64, 256, 1000)
    }
    assert len(np.unique(rows[16])) > 0.99 * rows[16].size
    for lanes in (64, 256, 1000):
        np.testing.assert_array_equal(
            rows[lanes][:, :total].view(np.uint32), rows[16].view(np.uint32)
        )


@pytest.mark.parametrize(
    ("driver", "alphas"),
    [
        (StableComponents, (0.7, 1.0, 1.5, 1.9)),
        (ExactComponents, (0.5, 1.0, 2.0)),
        (StableIsotropic, (0.5, 1.0, 2.0)),
    ],
)
def test_another_alpha_or_dt_compiles_nothing(driver, alphas):
    traces = []

    @jax.jit
    def one(driver, words, dt):
        traces.append(1)
        return driver.increment(words, 2, dt)

    for alpha, dt in itertools.product(alphas, (1e-3, 1e-2)):
        one(
            driver(alpha),
            jnp.arange(driver(alpha).words_per_step(2), dtype=jnp.uint32),
            jnp.asarray(dt),
        )
    assert len(traces) == 1


# --- Lévy measures ---


def test_levy_constant_has_the_known_values():
    known = {1.0: 0.318310, 1.2: 0.333549, 1.5: 0.299207, 1.8: 0.164905, 1.9: 0.090992, 2.0: 0.0}
    for alpha, value in known.items():
        assert levy_constant(alpha) == pytest.approx(value, abs=1e-6)
    for alpha in (0.05, 0.3, 0.99, 1.01, 1.99, 1.999):
        exact = special.gamma(1 + alpha) * np.sin(np.pi * (2 - alpha) / 2) / np.pi
        assert levy_constant(alpha) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 1.5, 1.9])
@pytest.mark.parametrize("dim", [1, 2, 3, 10])
def test_total_tails(alpha, dim):
    constant = special.gamma(1 + alpha) * np.sin(np.pi * alpha / 2) / np.pi
    assert StableComponents(alpha).levy_rays(dim).total() == pytest.approx(
        2 * dim * constant / alpha, rel=1e-6
    )
    isotropic = (
        2**alpha
        * special.gamma((dim + alpha) / 2)
        / (special.gamma(dim / 2) * special.gamma(1 - alpha / 2))
    )
    assert StableIsotropic(alpha).levy_rays(dim, 64, 0).total() == pytest.approx(
        isotropic, rel=1e-6
    )
    if dim == 1:
        assert isotropic == pytest.approx(2 * constant / alpha)


def test_isotropic_rays_beyond_the_dimensions_of_sobol():
    rays = StableIsotropic(1.5).levy_rays(30_000, 8, 0)
    np.testing.assert_allclose(np.linalg.norm(rays.directions, axis=1), 1, rtol=1e-12)
    products = rays.directions @ rays.directions.T
    assert np.count_nonzero(np.abs(products) > 0.1) == 2 * len(
        rays.directions
    )  # antipodal pairs, else nearly orthogonal


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5, 1.9])
@pytest.mark.parametrize("dim", [1, 2, 3, 5])
@pytest.mark.parametrize("driver", STABLE)
def test_rays_add_up_to_the_total_and_to_each_marginal(driver, dim, alpha):
    driver = driver(alpha)
    rays = driver.levy_rays(dim, 8192, 0)
    directions, weights = rays.directions, rays.weights
    assert directions.shape == (weights.shape[0], dim)
    assert rays.index == pytest.approx(alpha, rel=1e-6)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(
        np.sum(weights[:, None] * directions, 0), 0, atol=1e-4 * np.sum(weights)
    )
    assert rays.total(2.0) == pytest.approx(rays.total() * 2**-alpha, rel=1e-6)
    # the marginals are SaS(1): along e, a ray v reaches 1 at the distance 1/|v_e|
    reach = 1 / np.maximum(np.abs(directions), 1e-20)
    marginal = np.sum(weights[:, None] * rays.tail(reach, np.arange(len(weights))[:, None]), 0)
    np.testing.assert_allclose(marginal, 2 * levy_constant(alpha) / alpha, rtol=3e-3)


def test_rays_of_components_are_the_half_axes():
    rays = StableComponents(1.5).levy_rays(2)
    assert {tuple(row) for row in rays.directions} == {(1, 0), (0, 1), (-1, 0), (0, -1)}
    np.testing.assert_array_equal(rays.weights, 1)


@pytest.mark.parametrize("driver", [StableComponents(2), StableIsotropic(2.0), Brownian()])
def test_gaussian_noise_has_no_jumps(driver):
    with pytest.raises(ValueError, match=r"no jumps.*Use"):
        driver.levy_rays(2, 16, 0)


@pytest.mark.parametrize("driver", STABLE)
@pytest.mark.parametrize("alpha", [0, -1.5, 2.001, np.nan, np.inf, 1e-60])
def test_alpha_outside_its_range_is_refused(driver, alpha):
    with pytest.raises(ValueError, match=r"alpha.*(For example|Rescale)"):
        driver(alpha)


@pytest.mark.parametrize("alpha", ["1.5", None, 1.5j, [1.2, 1.5]])
def test_alpha_of_the_wrong_kind_is_refused(alpha):
    with pytest.raises((TypeError, ValueError), match=r"alpha must be.*For example alpha=1.5"):
        StableComponents(alpha)


def test_numbers_of_a_mixture_are_checked_although_others_are_traced():
    with pytest.raises(ValueError, match="weights must be positive with sum 1"):
        jax.vmap(lambda s: GaussianMixture([0.9, 0.9], s, 0.1).weights)(jnp.ones((1, 2)))
    with pytest.raises(ValueError, match="scales must not be negative"):
        jax.vmap(lambda w: GaussianMixture(w, [1.0, -10.0], 0.1).scales)(jnp.array([[0.9, 0.1]]))
