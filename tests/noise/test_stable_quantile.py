"""The fitted quantile: the tail against other methods, the fit against the tail, and draws against
both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

from levysde.noise import StableComponents
from levysde.noise.quantile import FITTED, TOLERANCE, fit_quantile, stable_tail

ALPHAS = [0.7, 0.83, 0.95, 0.97, 0.985, 1.0, 1.013, 1.03, 1.1, 1.3, 1.5, 1.7, 1.8, 1.9, 1.95]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_tail_is_the_inverted_characteristic_function(alpha):
    """`P(|X| > x) = 1 - (2/pi) int sin(k x)/k exp(-k^a) dk` (Gil-Pelaez), where the integral is
    tame."""
    for x in (0.05, 0.4, 1.0, 2.5, 6.0):
        end = 40.0 ** (1 / alpha)
        inside, _ = integrate.quad(
            lambda k, x=x: np.sinc(k * x / np.pi) * x * np.exp(-(k**alpha)), 0, end, limit=2000
        )
        assert stable_tail(alpha, np.array([x]))[0] == pytest.approx(
            1 - 2 / np.pi * inside, abs=2e-8
        )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_far_tail_is_its_series(alpha):
    x = (2.0**30) ** (1 / alpha)
    n = np.arange(1, 4)
    terms = (
        (-1.0) ** (n + 1)
        * special.gamma(n * alpha)
        / special.factorial(n)
        * np.sin(n * np.pi * alpha / 2)
    )
    assert stable_tail(alpha, np.array([x]))[0] == pytest.approx(
        2 / np.pi * np.sum(terms * x ** (-n * alpha)), rel=1e-6
    )


def test_cauchy_is_exact():
    x = np.geomspace(1e-3, 1e9, 50)
    np.testing.assert_allclose(stable_tail(1.0, x), 2 / np.pi * np.arctan2(1, x), rtol=1e-7)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_drawn_sizes_have_the_probability_of_their_word(alpha, dtype):
    """Every octave of P from 1 to 2^-31: the tail beyond the draw of a word is the probability that
    the word stands for."""
    half = np.unique(
        np.concatenate(
            [np.geomspace(1, 2**31 - 1, 120), 2**31 - np.geomspace(1, 2**20, 20)]
        ).astype(np.int64)
    )
    # finer bits: 0x8000 of 0x10000
    words = np.stack([2 * half + 1, np.full_like(half, 0x10000)]).astype(np.uint32)
    driver = StableComponents(alpha)
    assert driver.words_per_step(1) == 2
    assert driver.words_per_step(3) == 3
    draw = jax.vmap(lambda column: driver.increment(column, 1, jnp.asarray(1.0))[0], in_axes=-1)
    drawn = np.asarray(jax.jit(draw)(jnp.asarray(words)), float)
    assert (drawn > 0).all()
    probability = (half + (0x8000 + 0.5) * 2.0**-16) * 2.0**-31
    stored = float(driver.alpha)
    allowed = TOLERANCE + (0 if dtype == jnp.float64 else 5e-6)  # relative error of a draw
    # near P = 1 it is the complement that the draw resolves
    inner = probability > 0.5
    tail, upper, lower = (stable_tail(stored, drawn * by) for by in (1, 1 + 1e-4, 1 - 1e-4))
    # a relative error of the draw is this many times as large in P; alpha times in the far tail
    slope = np.abs(np.log(upper / lower) / 2e-4)
    error = np.abs(tail / probability - 1)
    assert (error[~inner] <= (allowed * np.maximum(slope, 1))[~inner]).all()
    np.testing.assert_allclose(
        1 - tail[inner], 1 - probability[inner], rtol=allowed * max(stored, 1), atol=1e-8
    )


@pytest.mark.slow
def test_the_whole_fitted_range_is_reached():
    worst = 0.0
    for alpha in np.linspace(*FITTED, 26):
        top, bottom = fit_quantile(float(alpha))
        x = np.geomspace(0.01, 1e4, 60)
        p = stable_tail(float(alpha), x)
        t = np.sqrt(p)
        fitted = (
            (1 - p) * p ** (-1 / alpha) * np.polyval(top[::-1], t) / np.polyval(bottom[::-1], t)
        )
        assert (np.polyval(bottom[::-1], np.linspace(0, 1, 2001)) > 0).all(), alpha
        worst = max(worst, np.abs(fitted / x - 1).max())
    assert 1e-7 < worst < TOLERANCE


def test_outside_the_range_or_traced_it_draws_by_the_formula():
    for alpha in (0.5, 0.699, 1.951, 2.0):
        assert StableComponents(alpha).ratio is None
        assert StableComponents(alpha).words_per_step(2) == 4
        with pytest.raises(ValueError, match="outside the fitted range"):
            fit_quantile(2.5)
    words = jnp.arange(1, 5, dtype=jnp.uint32) * 123456789
    traced = jax.jit(lambda alpha: StableComponents(alpha).increment(words, 2, jnp.asarray(0.1)))(
        1.5
    )
    exact = StableComponents(1.5, exact_sampler=True).increment(words, 2, jnp.asarray(0.1))
    np.testing.assert_allclose(traced, exact, rtol=1e-5)


@pytest.mark.parametrize("exact", [1, "yes", None])
def test_exact_is_a_truth_value(exact):
    with pytest.raises(TypeError, match="exact_sampler must be True or False"):
        StableComponents(1.5, exact_sampler=exact)
