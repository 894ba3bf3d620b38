"""Skewed, tempered, truncated stable and compound Poisson drivers: their laws, Lévy measures, exits
and refusals.

The skewed draw itself is tested in `test_skewed.py`.
"""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calls.noise import DRIVERS
from drawing import draw, increments
from scipy import integrate, special, stats
from statistical import assert_mean

import levysde as ls
from levysde.noise import levy_constant
from levysde.noise.poisson import _at_least
from levysde.noise.tempered import relativistic_tail

pytestmark = pytest.mark.slow


def test_other_numbers_compile_nothing():
    traces = []

    @eqx.filter_jit
    def one(driver, words, dt):
        traces.append(1)
        return driver.increment(words, 2, dt)

    families = [
        [ls.SkewedComponents(a, b) for a, b in ((0.5, 1.0), (1.0, -0.3), (1.5, 0.0), (2.0, 0.0))],
        [ls.TemperedComponents(a, m) for a, m in ((0.5, 1.0), (1.5, 3.0), (2.0, 0.3))],
        [ls.TemperedIsotropic(a, m) for a, m in ((0.5, 1.0), (1.5, 3.0), (2.0, 0.3))],
        [ls.TruncatedIsotropic(a, m) for a, m in ((0.5, 1.0), (1.5, 3.0))],
        [ls.CompoundPoisson(a, ls.GaussianJump(m, 2)) for a, m in ((0.5, 1.0), (1.5, 3.0))],
        [ls.CompoundPoisson(a, ls.ParetoJump(m, a, 2)) for a, m in ((0.5, 1.0), (1.5, 3.0))],
    ]
    for family in families:
        for driver in family:
            one(driver, jnp.arange(driver.words_per_step(2), dtype=jnp.uint32), jnp.asarray(1e-3))
    assert len(traces) == len(families)


@pytest.mark.parametrize("name", ["skewed", "tempered", "truncated isotropic", "poisson"])
def test_only_a_stable_law_has_a_power_of_epsilon(name):
    make, dim, _ = DRIVERS[name]
    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.ones(dim)), make(), epsilon=0.9)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(dim))
    law = ls.escape_law(dynamics, ball, num_rays=512, check=False)
    assert np.isfinite(law.alpha) == (name == "skewed")
    assert ("no power" in repr(law)) != (name == "skewed")


def word_grid(enumerated: int, strata: int) -> tuple[np.ndarray, np.ndarray]:
    """Words and their probabilities: both ends one by one, geometric strata in between."""
    edges = np.unique(np.geomspace(enumerated, 2**31, strata + 1).astype(np.int64))
    low = np.concatenate([np.arange(enumerated), (edges[1:] + edges[:-1]) // 2])
    share = np.concatenate([np.ones(enumerated), np.diff(edges)]) * 2.0**-32
    return np.concatenate([low, 2**32 - 1 - low]).astype(np.uint32), np.concatenate([share, share])


# --- tempered ---


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5, 1.9])
@pytest.mark.parametrize("length", [0.5, 4.0])
def test_tempered_tail_gives_back_the_exponent(alpha, length):
    """`psi(k) = int_0^inf k sin(k r) nu(|y| > r) dr`, an integration by parts of Lévy-Khintchine; d
    = 1."""
    k = 1.7
    edges = np.concatenate([[0], np.geomspace(1e-9, np.pi / k, 60), np.pi / k * np.arange(2, 200)])
    nodes, weights = np.polynomial.legendre.leggauss(20)
    r = (edges[1:, None] + edges[:-1, None]) / 2 + np.diff(edges)[:, None] / 2 * nodes
    values = k * np.sin(k * r) * relativistic_tail(r, alpha, length, 1)
    total = np.sum((values * weights * np.diff(edges)[:, None] / 2)[1:])
    # stable there
    total += k**2 * 2 * levy_constant(alpha) / alpha * edges[1] ** (2 - alpha) / (2 - alpha)
    driver = ls.TemperedComponents(alpha, length)
    assert total == pytest.approx(float(driver.exponent(jnp.array([k]))), rel=2e-4)
    rays = driver.levy_rays(1)
    assert rays.total(2.0) == pytest.approx(
        float(relativistic_tail(np.array(2.0), alpha, length, 1)), rel=1e-5
    )
    assert np.isnan(rays.index)


def bessel_tail(r: float, alpha: float, m: float, dim: int) -> float:
    """The radial density of the Lévy measure in closed form, integrated numerically."""
    nu = (dim + alpha) / 2
    front = (
        alpha / special.gamma(1 - alpha / 2) * 2 * (2 * m) ** nu / (2**dim * special.gamma(dim / 2))
    )
    density = integrate.quad(
        lambda u: np.exp(u * (dim - nu)) * special.kv(nu, m * np.exp(u)), np.log(r), np.log(r + 90)
    )
    return front * density[0]


@pytest.mark.parametrize("alpha", [0.6, 1.5])
def test_tempered_tail_is_the_integral_of_bessels_density(alpha):
    for dim, r in itertools.product((1, 2, 7), (0.01, 1.0, 30.0)):
        tail = relativistic_tail(np.array([r]), alpha, 1.25, dim)[0]
        assert tail == pytest.approx(bessel_tail(r, alpha, 0.8, dim), rel=1e-6)


def test_tempered_jumps_are_stable_when_small_and_cut_when_large():
    small, dim = 1e-3, 2
    free, cut = (
        ls.StableIsotropic(1.5).levy_rays(dim, 16, 0),
        ls.TemperedIsotropic(1.5, 2.0).levy_rays(dim, 16, 0),
    )
    assert cut.total(small) == pytest.approx(free.total(small), rel=1e-3)
    # nu(|y| > r) falls as r^(-1 - a/2 + (d-1)/2) exp(-r/length)
    decay = np.log(cut.total(60.0) / cut.total(80.0)) - 1.25 * np.log(80 / 60)
    assert decay == pytest.approx(10.0, rel=0.01)


def test_tempered_moments():
    """Variance `a m^(a-2) dt` a coordinate; coordinates of isotropic noise are dependent."""
    dt = 0.05
    for driver in (
        ls.TemperedComponents(1.2, 0.5, tries=10),
        ls.TemperedIsotropic(1.2, 0.5, tries=10),
    ):
        x = draw(driver, 300_000, 2, dt)
        for row in x:
            assert_mean(row**2, 1.2 * 0.5**0.8 * dt, 0.06, type(driver).__name__)
    fourth = stats.pearsonr(*(x**2)).statistic
    assert fourth > 0.1


def test_exhausted_tries_give_the_mean_of_the_clock():
    driver, dt = ls.TemperedIsotropic(1.0, 0.1, tries=3), 0.01
    words = np.zeros((driver.words_per_step(1), 2), np.uint32)
    words[:2] = np.array([[123456789], [987654321]])
    reference = float(
        increments(
            ls.TemperedIsotropic(2.0, 1e6, tries=3), jnp.asarray(words), jnp.asarray(1.0), 1
        )[0, 0]
    )
    tries = words[2:].reshape(3, 3, 2)
    tries[:, 0] = 0xFFFFFFF0  # near the pole: a huge V
    tries[:, 2] = 0xFFFFFFFF  # the least exponential: kept with certainty only if V = 0
    drawn = np.asarray(increments(driver, jnp.asarray(words), jnp.asarray(dt), 1))[0]
    np.testing.assert_allclose(drawn, reference * np.sqrt(dt * 0.5 * 0.1), rtol=1e-5)


# --- truncated ---


@pytest.mark.parametrize("alpha", [0.6, 1.0, 1.5, 1.9])
def test_truncated_exponent_is_its_levy_khintchine_integral(alpha):
    cutoff = 2.0
    for k in (0.1, 1.0, 12.0):
        split = min(1.0, k * cutoff)
        value = integrate.quad(
            lambda z: np.sinc(z / 2 / np.pi) ** 2 / 2, 0, split, weight="alg", wvar=(1 - alpha, 0)
        )[0]
        value += integrate.quad(lambda z: (1 - np.cos(z)) * z ** (-1 - alpha), split, k * cutoff)[0]
        expected = 2 * levy_constant(alpha) * k**alpha * value
        one = ls.TruncatedComponents(alpha, cutoff).exponent(jnp.array([k]))
        assert float(one) == pytest.approx(expected, rel=1e-4)
        assert float(
            ls.TruncatedIsotropic(alpha, cutoff).exponent(jnp.array([k]))
        ) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dim", [2, 3, 10])
def test_truncated_isotropic_exponent_tends_to_the_stable_one(dim):
    """What is missing is the cut tail: `T c^-a` where the phase has averaged out."""
    k = jnp.ones(dim) * 2.0
    driver, free = ls.TruncatedIsotropic(1.2, 8.0), ls.StableIsotropic(1.2)
    cut = free.levy_rays(dim, 16, 0).total(8.0)
    assert float(driver.exponent(k)) == pytest.approx(float(free.exponent(k)) - cut, rel=0.01)
    rays = driver.levy_rays(dim, 16, 0)
    assert rays.total(3.0) == pytest.approx(free.levy_rays(dim, 16, 0).total(3.0) - cut, rel=1e-6)
    assert rays.total(8.0) == 0


def test_no_truncated_draw_passes_the_cutoff():
    for driver in (
        ls.TruncatedComponents(1.2, 0.3, tries=4),
        ls.TruncatedIsotropic(1.2, 0.3, tries=4),
    ):
        x = draw(driver, 100_000, 2, 5e-3)
        size = (
            np.abs(x) if isinstance(driver, ls.TruncatedComponents) else np.linalg.norm(x, axis=0)
        )
        assert 0.29 < size.max() < 0.3
        assert np.mean(size == 0) < 1e-4


# --- compound Poisson ---


@pytest.mark.parametrize("mean", [1e-8, 1e-3, 0.3])
def test_numbers_of_jumps_are_poisson(mean, float64):
    chances = np.array(_at_least(jnp.asarray(mean), 4), float)
    np.testing.assert_allclose(chances, special.gammainc(np.arange(1, 5), mean), rtol=1e-6)


def test_number_of_jumps_by_enumeration():
    """The jump counts: word grids near zero give each number of jumps its probability."""
    driver = ls.CompoundPoisson(1.0, lambda words: jnp.ones(1), words_per_jump=1, max_jumps=6)
    low, share = word_grid(8192, 4000)
    words = np.zeros((driver.words_per_step(1), len(low)), np.uint32)
    words[0], words[1] = low, 0x80000000
    for dt in (1e-7, 1e-2, 0.2):
        count = np.asarray(increments(driver, jnp.asarray(words), jnp.asarray(dt), 1))[0]
        for n in range(1, 4 if dt > 1e-3 else 2):
            assert np.sum(share[count >= n]) == pytest.approx(special.gammainc(n, dt), rel=0.01), (
                dt,
                n,
            )


def test_law_of_gaussian_jumps_is_the_chance_that_one_leaves():
    for dim in (1, 2):
        driver = ls.CompoundPoisson(0.3, ls.GaussianJump(2.0, dim))
        dynamics = ls.SGD(ls.Quadratic(hessian=jnp.ones(dim)), driver, epsilon=0.5)
        law = ls.escape_law(
            dynamics, ls.Ball(radius=1.5, center=jnp.zeros(dim)), num_rays=65536, check=False
        )
        expected = 0.3 * stats.chi2(dim).sf(1.5**2)
        assert abs(law.rate - expected) < 5 * law.rate_error + 1e-3 * expected
        assert law.rate_error < 0.01 * expected
        with pytest.raises(ValueError, match="no power of epsilon"):
            law.with_epsilon(0.1)


def test_one_sided_jumps_keep_their_quadrature_error():
    """All directions alike, sizes drawn: not one exact set of rays."""
    driver = ls.CompoundPoisson(
        1.0, lambda w: jnp.abs(ls.GaussianJump(1.0, 1)(w)), words_per_jump=2
    )
    law = ls.escape_law(
        ls.SGD(ls.Quadratic(hessian=jnp.ones(1)), driver, epsilon=0.5),
        ls.Ball(radius=1.0, center=jnp.zeros(1)),
        check=False,
    )
    assert law.rate_error > 0
    assert law.rate == pytest.approx(2 * stats.norm.sf(2), rel=0.02)


def test_pareto_jumps_are_the_large_jumps_of_stable_noise():
    scale, alpha, dim = 0.5, 1.5, 3
    free = ls.StableIsotropic(alpha).levy_rays(dim, 1024, 0)
    driver = ls.CompoundPoisson(free.total(scale), ls.ParetoJump(alpha, scale, dim))
    rays = driver.levy_rays(dim, 2**14, 0)
    for r in (0.5 * scale, 0.7, 2.0, 5.0):
        assert rays.total(r) == pytest.approx(free.total(max(r, scale)), rel=0.01)
    np.testing.assert_allclose(np.linalg.norm(rays.directions, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.mean(rays.directions**2, 0), 1 / dim, atol=0.02)
    sizes = np.linalg.norm(
        draw(ls.CompoundPoisson(1.0, ls.ParetoJump(alpha, scale, dim)), 500_000, dim, 0.04), axis=0
    )
    assert_mean(
        sizes > 2 * scale, 0.04 * 2**-alpha, 0.07, "tail at twice the scale"
    )  # two jumps in a step: 2%


# --- exits against the exact walk ---


def walk_exits(density, no_jump: float, dt: float, cells: int = 300) -> tuple[float, float]:
    """Mean number of steps, and chance of the right side, of `x <- (1 - dt) x + noise` from 0 out
    of (-1, 1): the integral equation on midpoints. `density` of the noise's continuous part;
    `no_jump` is the atom at zero."""
    x = (np.arange(cells) + 0.5) * 2 / cells - 1
    start = (1 - dt) * x
    kernel = density(x[None, :] - start[:, None]) * 2 / cells
    at = np.clip((start - x[0]) / (2 / cells), 0, cells - 1 - 1e-9)
    left = at.astype(int)
    kernel[np.arange(cells), left] += no_jump * (1 - at + left)
    kernel[np.arange(cells), left + 1] += no_jump * (at - left)
    system = np.eye(cells) - kernel
    mean = np.interp(0, x, np.linalg.solve(system, np.ones(cells)))
    y = np.concatenate([np.linspace(0, 3, 3001), np.geomspace(3, 90, 1000)[1:]])
    values = density(y)
    beyond = np.append(np.cumsum((np.diff(y) * (values[1:] + values[:-1]) / 2)[::-1])[::-1], 0)
    right = np.interp(1 - start, y, beyond)
    return mean, np.interp(0, x, np.linalg.solve(system, right))


def density_of(driver, epsilon: float, dt: float):
    """The density of `epsilon L_dt` by inversion of the exponent."""
    num, period = 2**18, 200.0
    k = np.fft.fftfreq(num, period / num) * 2 * np.pi
    exponent = np.asarray(jax.vmap(driver.exponent)(jnp.asarray(epsilon * k)[:, None]))
    values = np.fft.fftshift(np.fft.fft(np.exp(-dt * exponent))).real / period
    grid = (np.arange(num) - num / 2) * period / num
    return lambda y: np.interp(y, grid, values, 0, 0)


@pytest.mark.parametrize(
    ("driver", "epsilon", "dt"),
    [
        (lambda: ls.SkewedComponents(1.5, 0.7), 0.4, 0.05),
        (lambda: ls.SkewedComponents(1.0, 0.5), 0.4, 0.05),
        (lambda: ls.TemperedComponents(1.5, 1.5, tries=8), 0.5, 0.04),
    ],
)
def test_exits_of_the_walk_are_exact(driver, epsilon, dt, float64):
    driver = driver()
    steps, right = walk_exits(density_of(driver, epsilon, dt), 0.0, dt)
    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.ones(1)), driver, epsilon=epsilon)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(1))
    run = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=dt), ball, jnp.zeros(1), num=40_000, seed=4
    )
    assert_mean(run.steps, steps, 0.03, "mean number of steps")
    assert_mean(run.first_outside[:, 0] > 0, right, 0.03, "right side")


def test_exits_of_the_compound_poisson_walk_are_exact():
    intensity, epsilon, dt = 2.0, 0.5, 0.02
    driver = ls.CompoundPoisson(intensity, ls.GaussianJump(1.0, 1))
    chance = stats.poisson(intensity * dt).pmf

    def density(y):
        return sum(chance(n) * stats.norm(scale=epsilon * np.sqrt(n)).pdf(y) for n in range(1, 5))

    steps, _ = walk_exits(density, chance(0), dt)
    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.ones(1)), driver, epsilon=epsilon)
    ball = ls.Ball(radius=1.0, center=jnp.zeros(1))
    run = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=dt), ball, jnp.zeros(1), num=30_000, seed=4
    )
    assert_mean(run.steps, steps, 0.035, "mean number of steps")


# --- refusals ---

JUMP = ls.GaussianJump(1.0, 2)
BAD = [
    (lambda: ls.SkewedComponents(2.5, 0.1), r"alpha must lie in \(0, 2\]"),
    (lambda: ls.SkewedComponents(1.5, 1.2), r"skewness must lie in \[-1, 1\]"),
    (lambda: ls.SkewedComponents(1.5, [[0.1]]), "skewness must be one number or one a coordinate"),
    (lambda: ls.SkewedComponents(1.5, np.nan), "skewness must be finite"),
    (lambda: ls.SkewedComponents(1.5, None), "skewness must be a number"),
    (lambda: ls.SkewedComponents(1.5, 0.1, "S2"), 'parameterization must be "S1" or "S0"'),
    (
        lambda: ls.SkewedComponents(2.0, 0.1),
        "alpha = 2 is Gaussian and has no skewness.*Type skewness=0",
    ),
    (lambda: ls.SkewedComponents(1.5, [0.1, 0.2]).words_per_step(3), "skewness has shape"),
    (lambda: ls.SkewedComponents(2.0, 0.0).levy_rays(1), "no jumps"),
    (lambda: ls.TemperedComponents(0.0, 1.0), "alpha must be positive"),
    (lambda: ls.TemperedComponents(1.5, -1.0), "length must be positive"),
    (lambda: ls.TemperedIsotropic(1.5, np.inf), "length must be positive and finite"),
    (lambda: ls.TemperedIsotropic(1.5, 1.0, tries=0), "tries must be"),
    (lambda: ls.TemperedComponents(1.5, 1.0, tries=1.5), "tries must be an integer"),
    (lambda: ls.TemperedIsotropic(2.0, 1.0).levy_rays(2, 16, 0), "no jumps"),
    (
        lambda: ls.TemperedComponents(1.5, 1.0).check_step(0.01),
        r"dt = 0.01 is too "
        r"long.*tries=5.*dt=0.0056",
    ),
    (lambda: ls.TemperedIsotropic(1.5, 1.0).check_step(2.0), r"too long.*Type dt=0.0056"),
    (lambda: ls.TruncatedComponents(2.0, 1.0), "alpha = 2 is Gaussian and has no jumps to cut"),
    (lambda: ls.TruncatedIsotropic(2.0, 1.0), "alpha = 2 is Gaussian and has no jumps to cut"),
    (lambda: ls.TruncatedComponents(1.5, 0.0), "cutoff must be positive"),
    (lambda: ls.TruncatedIsotropic(1.5, 1.0, tries=True), "tries must be an integer"),
    (
        lambda: ls.TruncatedComponents(1.5, 1.0).check_step(0.01),
        r"dt = 0.01 is too "
        r"long.*tries=4.*dt=0.0025",
    ),
    (lambda: ls.TruncatedComponents(1.999, 1.0).check_step(0.1), "too long"),
    (lambda: ls.CompoundPoisson(0.0, JUMP), "intensity must be positive"),
    (lambda: ls.CompoundPoisson(1.0, 3.0), "jump must be a function, not 3.0"),
    (lambda: ls.CompoundPoisson(1.0, lambda w: jnp.ones(1)), "words_per_jump is missing"),
    (
        lambda: ls.CompoundPoisson(1.0, lambda w: jnp.ones(1), words_per_jump=-2),
        "words_per_jump must be",
    ),
    (
        lambda: ls.CompoundPoisson(1.0, lambda w: jnp.ones(()), words_per_jump=1),
        "must return a real vector",
    ),
    (lambda: ls.CompoundPoisson(1.0, lambda w: w, words_per_jump=1), "must return a real vector"),
    (
        lambda: ls.CompoundPoisson(1.0, lambda w: jnp.ones(w), words_per_jump=1),
        r"jump\(words\) fails",
    ),
    (
        lambda: ls.CompoundPoisson(1.0, JUMP, characteristic=2.0),
        "characteristic must be a function",
    ),
    (lambda: ls.CompoundPoisson(1.0, JUMP, max_jumps=0), "max_jumps must be"),
    (
        lambda: ls.CompoundPoisson(1.0, JUMP).words_per_step(3),
        "jump gives vectors of 2 coordinates, but the noise has 3",
    ),
    (
        lambda: ls.CompoundPoisson(1.0, JUMP).check_step(0.1),
        r"more than max_jumps = 4.*Type "
        r"dt=0.04",
    ),
    (
        lambda: ls.CompoundPoisson(1.0, ls.ParetoJump(1.5, 1.0)).exponent(jnp.ones(1)),
        "CompoundPoisson needs the characteristic",
    ),
    (
        lambda: ls.CompoundPoisson(1.0, lambda w: jnp.full(1, np.nan), words_per_jump=1).levy_rays(
            1, 8, 0
        ),
        "not finite",
    ),
    (lambda: ls.GaussianJump(-1.0), "std must be positive"),
    (lambda: ls.ParetoJump(-1.0, 1.0), "alpha must be positive"),
    (lambda: ls.ParetoJump(1.0, 1.0, 0), "dim must be"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_input_is_refused_by_name(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize(
    "driver",
    [
        ls.TemperedComponents(1.5, 1.0),
        ls.TruncatedIsotropic(1.5, 1.0),
        ls.CompoundPoisson(9.0, JUMP),
    ],
)
def test_a_kernel_refuses_the_step(driver):
    dynamics = ls.SGD(ls.Quadratic(hessian=jnp.ones(2)), driver, epsilon=0.1)
    with pytest.raises(ValueError, match=r"dt = 0.02 "):
        ls.EulerMaruyama(dynamics, dt=0.02)
    ls.EulerMaruyama(dynamics, dt=1e-3)


def test_a_cutoff_inside_the_basin_has_no_escape_by_one_jump():
    dynamics = ls.SGD(
        ls.Quadratic(hessian=jnp.ones(2)), ls.TruncatedComponents(1.5, 5.0), epsilon=0.1
    )
    with pytest.raises(ValueError, match="no single jump leaves"):
        ls.escape_law(dynamics, ls.Ball(radius=1.0, center=jnp.zeros(2)), check=False)
