"""Steps of a random walk and sums of drivers: their law, their tails by enumeration of words, and
what they refuse."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calls.noise import DRIVERS
from drawing import draw, increments
from scipy import special, stats
from statistical import assert_close, assert_mean

import levysde as ls
from levysde.noise import (
    Brownian,
    DriverSum,
    GaussianMixture,
    StableComponents,
    StableIsotropic,
    StudentT,
)
from levysde.protocols import Driver, LevyRays
from levysde.theory import escape_law

pytestmark = pytest.mark.slow

THREE = ("t", "mixture", "sum")
DFS = [0.5, 1.0, 3.0, 30.0]
MIXTURE = ([0.7, 0.05, 0.25], [1.0, 6.0, 0.3])


def t_characteristic_function(z: np.ndarray, df: float) -> np.ndarray:
    """Of `|k| = z / sqrt(df)`, in closed form."""
    return z ** (df / 2) * special.kv(df / 2, z) / (2 ** (df / 2 - 1) * special.gamma(df / 2))


def t_radius_tail(r: np.ndarray | float, df: float, dim: int) -> np.ndarray:
    """`P(|xi| > r)` by the integral over the chi-square W, which is not how the driver computes
    it."""
    log_w = np.linspace(-80 / df - 20, np.log(df + 200), 40_001)
    w = np.exp(log_w)
    density = stats.chi2(df).pdf(w) * w
    return np.trapezoid(density * stats.chi2(dim).sf(np.asarray(r)[..., None] ** 2 * w / df), log_w)


# --- Student t ---


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
@pytest.mark.parametrize("df", DFS)
def test_student_t_has_its_radius_and_marginals(df, dim):
    x = draw(StudentT(df, dt=1.0), 600_000, dim)
    radius = np.sum(x**2, 0) / dim
    for level in (0.02, 0.3, 0.7, 0.98):
        assert_mean(radius > stats.f(dim, df).isf(level), level, 0.05, f"radius {level}")
        for row in x:
            assert_mean(row <= stats.t(df).ppf(level), level, 0.05, f"coordinate {level}")


@pytest.mark.parametrize("dim", [2, 3, 5])
@pytest.mark.parametrize("df", [0.5, 3.0])
def test_student_t_points_everywhere_evenly(df, dim):
    x = draw(StudentT(df, dt=1.0), 500_000, dim)
    for k in (np.ones(dim), np.eye(dim)[-1], np.arange(dim) - 1.0):
        k = 0.6 * k / np.linalg.norm(k)
        expected = t_characteristic_function(0.6 * np.sqrt(df), df)
        assert_mean(np.cos(k @ x), expected, 0.02, f"{k}")


def test_a_long_vector_is_right_too():
    """Above 32 pairs the running sum is another."""
    x = draw(StudentT(3.0, dt=1.0), 100_000, 101)
    assert_mean(np.sum(x**2, 0) / 101 > stats.f(101, 3).isf(0.1), 0.1, 0.1)
    assert_mean(x[-1] <= stats.t(3).ppf(0.2), 0.2, 0.05)


@pytest.mark.parametrize("df", [0.1, *DFS, 200.0])
def test_student_t_exponent_is_the_closed_form(df, dtype):
    driver, dt = StudentT(df, dt=0.01), 0.01
    rounding = 1e-9 if dtype == jnp.float64 else 2e-5
    stored = np.float64(np.asarray(df, dtype))
    for k in (0.3, 2.0, 10.0, 30.0):
        phi = t_characteristic_function(k * np.sqrt(stored * dt), stored)
        assert driver.exponent(jnp.array([0.6 * k, 0.8 * k])) == pytest.approx(
            -np.log(phi) / dt, rel=rounding
        ), k
    assert driver.exponent(jnp.zeros(2)) == 0
    small = float(driver.exponent(jnp.array([1e-3])))
    if df > 4:  # variance df/(df-2)
        assert small == pytest.approx(0.5e-6 * df / (df - 2), rel=1e-4)


def strata(low: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Words and their probabilities: the lowest one by one, strata even in the logarithm above."""
    edges = np.unique(
        np.concatenate([np.arange(low + 1), np.geomspace(low, 2**32, number)]).astype(np.int64)
    )
    return (edges[1:] + edges[:-1]) // 2, np.diff(edges) * 2.0**-32


def size_and_angle_words(pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Words `(2 pairs, n)` and probabilities. One pair: sizes by strata, angles spread evenly; two
    pairs: both sizes by strata. What else is in a word is arbitrary."""
    rng = np.random.default_rng(0)
    if pairs == 1:
        size, share = (np.repeat(part, 128) for part in strata(4096, 600))
        angle = np.argsort(rng.random((len(size) // 128, 128)), 1).ravel() * 2**25
        angle += rng.integers(0, 2**25, angle.shape)
        return np.stack([size, angle]).astype(np.uint32), share / 128
    size, share = strata(200, 500)
    first, second = (grid.ravel() for grid in np.meshgrid(size, size))
    angles = rng.integers(0, 2**32, (2, len(first)))
    return np.stack([first, second, *angles]).astype(np.uint32), np.outer(share, share).ravel()


@pytest.mark.parametrize("dim", [1, 2, 4])
@pytest.mark.parametrize("df", [*DFS, 1.5])
def test_student_t_tail_is_right_down_to_1e_8(df, dim):
    words, weights = size_and_angle_words((dim + 1) // 2)
    x = np.asarray(
        increments(StudentT(df, dt=1.0), jnp.asarray(words), jnp.asarray(1.0), dim), np.float64
    )
    radius = np.sqrt(np.sum(x**2, 0))
    for probability in (1e-4, 1e-6, 1e-7, 1e-8):
        r = np.sqrt(dim * stats.f(dim, df).isf(probability))
        assert np.sum(weights[radius > r]) == pytest.approx(probability, rel=0.01), probability


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("df", [0.5, 3.0, 30.0])
def test_student_t_rays_are_the_law_of_one_step(df, dim):
    driver = StudentT(df, dt=0.04)
    rays = driver.levy_rays(dim, 64, 0)
    r = np.array([0.05, 0.3, 1.0, 20.0])
    np.testing.assert_allclose(
        rays.tail(r, np.arange(4) % 2), t_radius_tail(r / 0.2, df, dim) / 0.04, rtol=1e-6
    )
    assert rays.total(0.7) == pytest.approx(
        float(t_radius_tail(0.7 / 0.2, df, dim)) / 0.04, rel=1e-6
    )
    assert np.isnan(rays.index)
    np.testing.assert_allclose(np.linalg.norm(rays.directions, axis=1), 1, rtol=1e-12)


# --- Gaussian mixture ---


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_mixture_has_its_moments_and_characteristic_function(dim):
    driver = GaussianMixture(*MIXTURE, dt=0.25)
    weights, scales = (np.array(part) for part in MIXTURE)
    x = draw(driver, 500_000, dim, dt=0.25)
    for row in x:
        assert_mean(row**2, 0.25 * np.sum(weights * scales**2), 0.05, "variance")
    k = np.linspace(1, 0.5, dim)
    for factor in (0.5, 1.5, 4.0):
        phi = np.sum(weights * np.exp(-(scales**2) * 0.25 * np.sum((factor * k) ** 2) / 2))
        assert_mean(np.cos(factor * k @ x), phi, 0.05, f"frequency {factor}")
        assert driver.exponent(jnp.asarray(factor * k)) == pytest.approx(
            -np.log(phi) / 0.25, rel=1e-5
        )
    if dim > 1:  # one component for all coordinates
        expected = 0.25**2 * np.sum(weights * scales**4)
        assert_mean(x[0] ** 2 * x[1] ** 2, expected, 0.2, "squares of two coordinates")


@pytest.mark.parametrize("weight", [1e-3, 1e-6, 1e-8])
@pytest.mark.parametrize("first", [True, False])
def test_rare_components_come_as_often_as_they_should(weight, first):
    weights, scales = (
        ([weight, 1 - weight], [1e4, 1.0]) if first else ([1 - weight, weight], [1.0, 1e4])
    )
    rng = np.random.default_rng(0)
    edges = np.unique(
        np.concatenate([np.arange(201), np.geomspace(200, 2**32, 4000)]).astype(np.int64)
    )
    word, share = (
        np.repeat((edges[1:] + edges[:-1]) // 2, 64),
        np.repeat(np.diff(edges) * 2.0**-32, 64) / 64,
    )
    fixed = np.full_like(word, 0x40000000)
    finer = np.full_like(word, 0x40000000) + (rng.integers(0, 2**16, word.shape) << 2)
    words = jnp.asarray(np.stack([word, fixed, finer]).astype(np.uint32))
    x = np.abs(
        np.asarray(increments(GaussianMixture(weights, scales, dt=1.0), words, jnp.asarray(1.0), 1))
    )[0]
    assert np.sum(share[x > 100]) == pytest.approx(weight, rel=0.01)


def test_mixture_exponent_is_right_at_both_ends(dtype):
    driver = GaussianMixture([0.5, 0.5], [1.0, 3.0], dt=0.01)
    assert driver.exponent(jnp.array([1e-4])) == pytest.approx(5 * 1e-8 / 2, rel=1e-5)
    assert driver.exponent(jnp.array([300.0])) == pytest.approx(
        (np.log(2) + 900 / 2) / 0.01, rel=1e-5
    )


# --- sums ---


def test_a_sum_is_its_parts_each_with_its_own_words():
    parts = [(Brownian(), 0.5), (StableComponents(1.5), -2.0), (StableIsotropic(1.2), 1.0)]
    driver = DriverSum(parts[0], parts[1], StableIsotropic(1.2))
    counts = [part.words_per_step(3) for part, _ in parts]
    assert driver.words_per_step(3) == sum(counts)
    words = jnp.asarray(np.random.default_rng(0).integers(0, 2**32, sum(counts), np.uint32))
    moves = []
    for (part, factor), own in zip(parts, jnp.split(words, np.cumsum(counts)[:-1]), strict=True):
        moves.append(factor * np.asarray(part.increment(own, 3, jnp.asarray(0.1)), np.float64))
    assert len({*counts, *np.abs(moves[1]).tolist()}) > 2
    np.testing.assert_allclose(driver.increment(words, 3, jnp.asarray(0.1)), sum(moves), rtol=1e-5)


def test_a_sum_has_the_sum_of_the_exponents():
    driver = DriverSum(
        (Brownian(), 0.5), (StableIsotropic(1.5), -2.0), (StudentT(3.0, dt=0.25), 3.0)
    )
    k = np.array([0.2, -0.3])
    size = np.linalg.norm(k)
    walk = -np.log(t_characteristic_function(3 * size * np.sqrt(3 * 0.25), 3.0)) / 0.25
    expected = 0.25 * size**2 / 2 + (2 * size) ** 1.5 + walk
    assert driver.exponent(jnp.asarray(k)) == pytest.approx(expected, rel=1e-5)
    assert_mean(np.cos(k @ draw(driver, 500_000, 2, dt=0.25)), np.exp(-0.25 * expected), 0.02)


def test_the_rays_of_a_sum():
    driver = DriverSum(
        (Brownian(), 0.5),
        (StableComponents(1.5), 2.0),
        (StableIsotropic(1.5), 0.5),
        GaussianMixture([1.0], [1.0], 1),
    )
    rays = driver.levy_rays(3, 64, 0)
    parts = [StableComponents(1.5).levy_rays(3), StableIsotropic(1.5).levy_rays(3, 64, 0)]
    assert rays.index == 1.5
    assert rays.total(0.7) == pytest.approx(
        2**1.5 * parts[0].total(0.7) + 0.5**1.5 * parts[1].total(0.7), rel=1e-9
    )
    assert len(rays.weights) == 6 + len(parts[1].weights)
    np.testing.assert_allclose(
        rays.tail(np.array([3.0]), np.array([0])), parts[0].tail(np.array([1.5]), np.array([0]))
    )
    mixed = DriverSum(StableComponents(1.5), StableComponents(1.2)).levy_rays(2, 64, 0)
    assert np.isnan(mixed.index)
    assert mixed.total(3.0) == pytest.approx(
        sum(StableComponents(a).levy_rays(2).total(3.0) for a in (1.5, 1.2))
    )


class OneSided(Driver):
    """Jumps along the first axis only, upwards; nothing else is needed here."""

    @property
    def index(self):
        return jnp.asarray(1.5)

    def words_per_step(self, dim):
        return 0

    def increment(self, words, dim, dt):
        return jnp.zeros(dim)

    def exponent(self, k):
        return jnp.zeros(())

    def levy_rays(self, dim, num, seed):
        return LevyRays(np.eye(dim)[:1], np.ones(1), lambda r, i: r**-1.5, 1.5)


def test_a_negative_factor_turns_the_rays():
    rays = DriverSum((OneSided(), -2.0), (OneSided(), 3.0)).levy_rays(2, 8, 0)
    np.testing.assert_array_equal(rays.directions, [[-1, 0], [1, 0]])
    np.testing.assert_allclose(rays.tail(np.full(2, 6.0), np.arange(2)), [3**-1.5, 2**-1.5])


def test_every_set_of_random_rays_has_the_same_number_and_its_own_directions():
    driver = DriverSum(StableIsotropic(1.5), (StableIsotropic(1.5), 2.0), StudentT(2.0, dt=0.1))
    first, second = (driver.levy_rays(3, 64, seed) for seed in (1, 2))
    assert first.directions.shape == second.directions.shape == (192, 3)
    assert not np.array_equal(first.directions, second.directions)
    assert len(np.unique(first.directions, axis=0)) == 192
    ball = ls.Ball(radius=1.0, center=jnp.zeros(3))
    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.eye(3)), driver, epsilon=0.1)
    law, total = escape_law(dynamics, ball, check=False), first.total(10.0)
    assert law.rate == pytest.approx(total, rel=1e-5)  # a centred ball: the same in every direction
    assert np.isnan(law.alpha)


def test_the_index_of_a_sum_is_that_of_its_parts():
    assert float(DriverSum(StableComponents(1.5), StableIsotropic(1.5)).index) == 1.5
    assert float(DriverSum(Brownian(), StudentT(1.5, dt=0.1), StableIsotropic(2)).index) == 2
    driver = DriverSum(Brownian(), StableIsotropic(1.5))
    with pytest.raises(ValueError, match=r"indices 1\.5, 2: no epsilon .* Give epsilon itself"):
        ls.SGD(ls.Quadratic(hessian=jnp.eye(1)), driver, learning_rate=0.1)
    assert ls.SGD(ls.Quadratic(hessian=jnp.eye(1)), driver, epsilon=0.1).epsilon == pytest.approx(
        0.1
    )


# --- what all three have in common ---


@pytest.mark.parametrize("name", THREE)
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_extreme_words_give_finite_draws(name, dim, dtype):
    driver = DRIVERS[name][0]()
    ends = np.array([0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF], np.uint32)
    num = driver.words_per_step(dim)
    words = (
        np.random.default_rng(0).choice(ends, (num, 4000))
        if num > 4
        else np.array([*itertools.product(ends, repeat=num)]).T
    )
    drivers = [driver] if name != "t" else [driver, StudentT(0.1, dt=0.25), StudentT(1e6, dt=0.25)]
    for driver in drivers:
        drawn = np.asarray(increments(driver, jnp.asarray(words), jnp.asarray(0.25), dim))
        assert np.isfinite(drawn).all()
        assert drawn.dtype == dtype
        assert (drawn != 0).all()


@pytest.mark.parametrize("name", THREE)
def test_no_value_is_drawn_too_often(name):
    drawn = np.abs(draw(DRIVERS[name][0](), 1_000_000, 1, dt=0.25)[0])
    assert np.unique(drawn, return_counts=True)[1].max() < 25


def test_other_numbers_compile_nothing():
    traces = []

    @jax.jit
    def one(driver, words, dt):
        traces.append(type(driver))
        return driver.increment(words, 2, dt)

    for df, dt in ((1.5, 0.1), (3.0, 0.2)):
        walk, mixture = StudentT(df, dt), GaussianMixture([0.5, 0.5], [1.0, df], dt)
        for driver in (walk, mixture, DriverSum((walk, df), (Brownian(), dt))):
            one(driver, jnp.zeros(driver.words_per_step(2), jnp.uint32), jnp.asarray(dt))
    assert len(traces) == 3


@pytest.mark.parametrize("name", THREE)
def test_another_step_is_refused(name):
    driver = DRIVERS[name][0]()
    driver.check_step(0.25)
    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.eye(2)), driver, epsilon=0.1)
    ls.EulerMaruyama(dynamics, dt=0.25)
    with pytest.raises(
        ValueError,
        match=r"only, not over dt = 0\.1.* Type .*dt=0\.1\), or a step "
        r"of dt=0\.25",
    ):
        ls.EulerMaruyama(dynamics, dt=0.1)


def test_one_step_is_one_optimiser_step():
    """`learning_rate=eta`, `dt = eta`: the step is `x - eta (grad + xi)`."""
    eta, words = 0.01, jnp.asarray([7, 2**31], jnp.uint32)
    driver = StudentT(3.0, dt=eta)
    kernel = ls.EulerMaruyama(
        ls.SGD(ls.Quadratic(hessian=jnp.eye(2)), driver, learning_rate=eta), dt=eta
    )
    xi = StudentT(3.0, dt=1.0).increment(words, 2, jnp.asarray(1.0))
    x = jnp.array([0.3, -0.2])
    np.testing.assert_allclose(kernel.step(words, x), x - eta * (x - xi), rtol=1e-5)


@pytest.mark.parametrize("df", [1.5, 2.5])
def test_escape_of_sgd_with_student_t_steps_follows_the_law(df):
    """The chance that one step from the minimum leaves, per unit time."""
    eta, radius = 0.1, {1.5: 20.0, 2.5: 8.0}[df]
    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.eye(2)), StudentT(df, dt=eta), learning_rate=eta)
    ball = ls.Ball(radius=radius, center=jnp.zeros(2))
    law = escape_law(dynamics, ball, check=False)
    one_step = (1 + (radius / eta) ** 2 / df) ** (-df / 2)  # the closed form in two dimensions
    assert law.rate == pytest.approx(one_step / eta, rel=1e-4)
    assert np.isnan(law.alpha)
    assert law.regime < 0.01
    result = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=eta), ball, jnp.zeros(2), num=4000, seed=1
    )
    assert_close(result.time.mean(), result.time.std() / np.sqrt(4000), law.mean, 0.1)


def test_brownian_noise_beside_stable_jumps_leaves_the_law_of_the_jumps():
    jumps = StableComponents(1.5)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(2))
    well = ls.Quadratic(hessian=jnp.eye(2))
    dynamics = ls.SGD(well, DriverSum((Brownian(), 0.5), jumps), epsilon=0.05)
    law, alone = (
        escape_law(dynamics, ball, check=False),
        escape_law(ls.SGD(well, jumps, epsilon=0.05), ball, check=False),
    )
    assert law.rate == pytest.approx(alone.rate, rel=1e-6)
    assert law.alpha == 1.5
    result = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=0.01), ball, jnp.zeros(2), num=4000, seed=2
    )
    assert_close(result.time.mean(), result.time.std() / np.sqrt(4000), law.mean, 0.1)


# --- bad input ---


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: StudentT(0.0, dt=0.1),
            ValueError,
            r"df must be positive.*For example "
            r"df=3\.0",
        ),
        (lambda: StudentT(np.inf, dt=0.1), ValueError, "df must be positive and finite"),
        (lambda: StudentT([1.0, 2.0], dt=0.1), ValueError, r"df must be one number.*\(2,\)"),
        (lambda: StudentT("3", dt=0.1), TypeError, "df must be a number"),
        (lambda: StudentT(3.0, dt=-0.1), ValueError, "dt must be positive"),
        (lambda: StudentT(3.0, dt=None), TypeError, r"dt must be a number.*dt=1e-3"),
        (
            lambda: GaussianMixture([0.5, 0.6], [1.0, 2.0], dt=0.1),
            ValueError,
            "weights must be positive with sum 1",
        ),
        (
            lambda: GaussianMixture([1.5, -0.5], [1.0, 2.0], dt=0.1),
            ValueError,
            "weights must be positive with sum 1",
        ),
        (
            lambda: GaussianMixture([1.0, 0.0], [1.0, 2.0], dt=0.1),
            ValueError,
            "weights must be positive",
        ),
        (
            lambda: GaussianMixture([0.5, 0.5], [1.0], dt=0.1),
            ValueError,
            r"one length, not of "
            r"shapes \(2,\) and "
            r"\(1,\)",
        ),
        (lambda: GaussianMixture(1.0, 1.0, dt=0.1), ValueError, "two lists of one length"),
        (lambda: GaussianMixture([], [], dt=0.1), ValueError, "weights is empty"),
        (
            lambda: GaussianMixture([0.5, 0.5], [1.0, -2.0], dt=0.1),
            ValueError,
            "scales must not be negative",
        ),
        (
            lambda: GaussianMixture([0.5, 0.5], [0.0, 0.0], dt=0.1),
            ValueError,
            "nor zero throughout",
        ),
        (
            lambda: GaussianMixture([0.5, 0.5], [1.0, np.nan], dt=0.1),
            ValueError,
            "scales must be finite",
        ),
        (
            lambda: GaussianMixture("half", [1.0], dt=0.1),
            TypeError,
            "weights must be a number or an array",
        ),
        (lambda: GaussianMixture([1.0], [1.0], dt=0.0), ValueError, "dt must be positive"),
        (
            lambda: GaussianMixture([1.0], [1.0], dt=0.1).levy_rays(2, 8, 0),
            ValueError,
            "GaussianMixture .* light .* Use",
        ),
        (lambda: DriverSum(), ValueError, "at least one driver"),
        (lambda: DriverSum(1.5), TypeError, r"parts\[0\] of a DriverSum must be a Driver"),
        (lambda: DriverSum(Brownian(), (2.0, Brownian())), TypeError, r"parts\[1\] .* pair"),
        (
            lambda: DriverSum((Brownian(), 0.0)),
            ValueError,
            r"factor of parts\[0\] \(Brownian\) is "
            r"zero",
        ),
        (
            lambda: DriverSum((Brownian(), np.nan)),
            ValueError,
            r"factor of parts\[0\] must be "
            r"finite",
        ),
        (
            lambda: DriverSum((Brownian(), [1.0, 2.0])),
            ValueError,
            r"factor of parts\[0\] must be "
            r"one number, not an array",
        ),
        (lambda: DriverSum((Brownian(), "2")), TypeError, r"factor of parts\[0\] must be a number"),
        (
            lambda: DriverSum(Brownian(), StableIsotropic(2)).levy_rays(2, 8, 0),
            ValueError,
            "no driver .* Brownian: .*alpha",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_traced_numbers_are_let_through_and_refused_on_the_host():
    words = jnp.zeros(2, jnp.uint32)
    jax.jit(lambda df: StudentT(df, df).increment(words, 2, jnp.asarray(0.1)))(2.0)
    jax.jit(lambda w: GaussianMixture(w, w, 0.1).exponent(jnp.ones(2)))(jnp.array([0.5, 0.5]))
    with pytest.raises(TypeError, match="StudentT is traced"):
        jax.jit(lambda df: StudentT(df, 0.1).levy_rays(2, 8, 0).total())(2.0)
    with pytest.raises(TypeError, match="DriverSum is traced"):
        jax.jit(lambda c: DriverSum((StableComponents(1.5), c)).levy_rays(2, 8, 0).total())(2.0)
