"""Tails right to 1% at P = 1e-8, by enumeration of the words and not by counting rare draws (that
would take 1e12).

A grid of words holds the lowest and the highest 8192 one by one, and between them strata, even in
the logarithm, each with its share of all 2^32 words. Large draws come from the lowest (components)
or highest (isotropic) angle words.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from levysde.noise import StableComponents, StableIsotropic

ALPHAS = [0.5, 0.8, 1.0, 1.2, 1.5, 1.8, 1.9]
RARE = [1e-6, 1e-7, 1e-8]


def word_grid(enumerated: int, strata: int) -> tuple[np.ndarray, np.ndarray]:
    """Words and their probabilities: both ends one by one, geometric strata in between."""
    edges = np.unique(np.geomspace(enumerated, 2**31, strata + 1).astype(np.int64))
    low = np.concatenate([np.arange(enumerated), (edges[1:] + edges[:-1]) // 2])
    share = np.concatenate([np.ones(enumerated), np.diff(edges)]) * 2.0**-32
    words = np.concatenate([low, 2**32 - 1 - low]).astype(np.uint32)
    weights = np.concatenate([share, share])
    assert weights.sum() == pytest.approx(1)
    return words, weights


def crossed(angles: tuple, tails: tuple) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of an angle word and a tail word, `(2, pairs)`, and their probabilities."""
    words = np.stack([grid.ravel() for grid in np.meshgrid(angles[0], tails[0], indexing="ij")])
    return words, np.outer(angles[1], tails[1]).ravel()


WORDS, WEIGHTS = crossed(word_grid(8192, 400), word_grid(32, 200))


@eqx.filter_jit
def increments(driver, words, dt):
    return jax.vmap(lambda column: driver.increment(column, 1, dt)[0], in_axes=-1, out_axes=-1)(
        words
    )


def marginal_tail(x: float, alpha: float, terms: int = 3) -> float:
    """P(|X| > x) of SaS(1) by its series in 1/x (Bergstrom), convergent below 1, asymptotic
    above."""
    n = np.arange(1, terms + 1)
    series = (
        (-1.0) ** (n + 1)
        * special.gamma(n * alpha)
        / special.factorial(n)
        * np.sin(n * np.pi * alpha / 2)
    )
    return 2 / np.pi * float(np.sum(series * x ** (-n * alpha)))


def isotropic_tail(x: float, alpha: float, dim: int) -> float:
    """P(|X| > x) of the isotropic law to leading order in P."""
    total = (
        2**alpha
        * special.gamma((dim + alpha) / 2)
        / (special.gamma(dim / 2) * special.gamma(1 - alpha / 2))
    )
    return total * x**-alpha


def component_sizes(alpha: float, dt: float = 1.0, exact: bool = False) -> np.ndarray:
    return np.abs(
        np.asarray(
            increments(
                StableComponents(alpha, exact_sampler=exact), jnp.asarray(WORDS), jnp.asarray(dt)
            )
        )
    )


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_components_have_the_right_tail(alpha, exact):
    sizes = component_sizes(alpha, exact=exact)
    for probability in RARE:
        x = (marginal_tail(1.0, alpha, 1) / probability) ** (1 / alpha)
        assert np.sum(WEIGHTS[sizes > x]) == pytest.approx(marginal_tail(x, alpha), rel=0.01), (
            probability
        )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_isotropic_has_the_right_tail_in_every_dimension(alpha):
    """The Gaussian factor is taken out of the draw (its words are fixed) and put back by
    quadrature."""
    driver, gaussian_words = (
        StableIsotropic(alpha),
        np.full((2, WORDS.shape[1]), 0x2468ACE0, np.uint32),
    )
    words = np.concatenate([WORDS, gaussian_words])
    unit = float(
        increments(StableIsotropic(2.0), jnp.asarray(words[:, :1]), jnp.asarray(1.0))[0]
    ) / np.sqrt(2)
    mixing = np.asarray(increments(driver, jnp.asarray(words), jnp.asarray(1.0)), np.float64) / unit
    assert (mixing > 0).all()
    large = mixing > np.quantile(mixing, 0.5)
    order = np.argsort(-mixing[large])
    sorted_mixing, tail = mixing[large][order], np.cumsum(WEIGHTS[large][order])
    width = 0.005
    radius = np.arange(width / 2, 9, width)
    for dim in (1, 2, 3):
        density = stats.chi(dim).pdf(radius) * width
        for probability in RARE:
            x = (isotropic_tail(1.0, alpha, dim) / probability) ** (1 / alpha)
            found = np.searchsorted(-sorted_mixing, -x / radius)
            assert found.max() < len(tail)
            measured = np.sum(density * np.where(found > 0, tail[np.maximum(found, 1) - 1], 0))
            assert measured == pytest.approx(isotropic_tail(x, alpha, dim), rel=0.01), (
                dim,
                probability,
            )


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_small_alpha_and_dt_leave_the_float_range_gracefully(alpha):
    """dt^(1/alpha) is 1e-60 at alpha = 0.05: the chance of a jump past 1 is about dt all the
    same."""
    measured = np.sum(WEIGHTS[component_sizes(alpha, dt=1e-3) > 1])
    assert measured == pytest.approx(marginal_tail(1e3 ** (1 / alpha), alpha), rel=0.01)


def textbook(alpha: float, bits: int, below: float | None) -> np.ndarray:
    """Draws whose angle is `bits` random bits from its pole, plus a fixed fraction of a unit, or
    the tail word's bits."""
    angle, tail = WORDS.astype(np.int64)
    fraction = ((tail & 0xFFFF) + 0.5) * 2.0**-16 if below is None else below
    pole = np.pi / 2 * ((angle >> (32 - bits)) + fraction) * 2.0**-bits
    exponential = -np.log((tail + 0.5) * 2.0**-32)
    size = np.abs(np.sin(alpha * (np.pi / 2 - pole))) / np.sin(pole) ** (1 / alpha)
    return size * (np.cos((1 - alpha) * (np.pi / 2 - pole)) / exponential) ** ((1 - alpha) / alpha)


@pytest.mark.parametrize(
    ("alpha", "bits", "below", "wrong"),
    [
        (1.5, 31, None, False),
        (1.5, 31, 0.5, False),
        (1.0, 31, None, False),
        # at alpha = 1 nothing else smooths the steps: 21 words where 21.5 belong
        (1.0, 31, 0.5, True),
        (1.5, 31, 0.0625, True),
        (1.5, 23, 0.5, True),
    ],
)
def test_this_check_sees_a_coarse_or_shifted_angle(alpha, bits, below, wrong):
    x = (marginal_tail(1.0, alpha, 1) / 1e-8) ** (1 / alpha)
    ratio = np.sum(WEIGHTS[textbook(alpha, bits, below) > x]) / marginal_tail(x, alpha)
    assert (abs(ratio - 1) > 0.01) == wrong, ratio
