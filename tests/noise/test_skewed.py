"""The skewed stable draw: pointwise against the printed formula, in both tails, through alpha = 1,
and its Lévy measure."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from drawing import increments
from scipy import integrate

import levysde as ls
from levysde.noise import levy_constant

pytestmark = pytest.mark.slow


def reference_skewed(
    angle: np.ndarray, tail: np.ndarray, alpha: float, beta: float, dt: float, kind: str
):
    """Chambers, Mallows, Stuck as printed (Nolan 2020, theorem 1.3), float64, the angle given by
    its distance to a pole."""
    pole = np.pi * ((angle >> 1) + ((tail & 0xFFFF) + 0.5) * 2.0**-16) * 2.0**-32
    u = np.where(angle & 1, np.pi / 2 - pole, pole - np.pi / 2)
    low, high = (tail + 0.5) * 2.0**-32, (~tail + 0.5) * 2.0**-32
    w = np.where(high < 0.5, -np.log1p(-high), -np.log(low))
    if alpha == 1:
        slope = np.pi / 2 + beta * u
        x = 2 / np.pi * (slope * np.tan(u) - beta * np.log(np.pi / 2 * w * np.sin(pole) / slope))
        return dt * x + 2 / np.pi * beta * dt * np.log(dt)
    z = beta * np.tan(np.pi * alpha / 2)
    theta = np.arctan(z) / alpha
    x = np.sin(alpha * (theta + u)) / (np.cos(alpha * theta) * np.sin(pole)) ** (1 / alpha)
    x = x * (np.cos(alpha * theta + (alpha - 1) * u) / w) ** ((1 - alpha) / alpha)
    return dt ** (1 / alpha) * x - (dt * z if kind == "S0" else 0)


@pytest.mark.parametrize("kind", ["S0", "S1"])
@pytest.mark.parametrize("alpha", [0.3, 0.7, 0.99, 1.0, 1.01, 1.5, 1.9, 1.999])
def test_skewed_equals_the_printed_formula(alpha, kind, dtype):
    words = np.random.default_rng(1).integers(0, 2**32, (2, 50_000), np.uint32)
    for beta, dt in itertools.product((0.0, 0.5, -1.0, 1.0), (1.0, 1e-2)):
        drawn = increments(
            ls.SkewedComponents(alpha, beta, kind), jnp.asarray(words), jnp.asarray(dt), 1
        )[0]
        a, step = (float(np.asarray(v, dtype)) for v in (alpha, dt))
        expected = reference_skewed(words[0], words[1], a, beta, step, kind)
        # zeros of the sine are crossed where the other factor is large, most so at small alpha
        spread = np.abs(expected) + step ** (1 / a) + (step if kind == "S0" else 0)
        error = np.abs(np.asarray(drawn, np.float64) - expected) / spread
        assert error.max() < (1e-6 if dtype == jnp.float64 else 2e-5 if alpha > 0.5 else 1e-3), (
            beta,
            dt,
        )


def test_s0_passes_smoothly_through_alpha_one(dtype):
    words = jnp.asarray(np.random.default_rng(2).integers(0, 2**32, (2, 20_000), np.uint32))
    rows = [
        np.asarray(
            increments(ls.SkewedComponents(a, 1.0, "S0"), words, jnp.asarray(0.01), 1)[0],
            np.float64,
        )
        for a in (1 - 1e-5, 1.0, 1 + 1e-5)
    ]
    for row in rows:
        np.testing.assert_allclose(row, rows[1], rtol=2e-3, atol=1e-5)
    assert 0 < np.max(np.abs(rows[0] - rows[2]))


def word_grid(enumerated: int, strata: int) -> tuple[np.ndarray, np.ndarray]:
    """Words and their probabilities: both ends one by one, geometric strata in between."""
    edges = np.unique(np.geomspace(enumerated, 2**31, strata + 1).astype(np.int64))
    low = np.concatenate([np.arange(enumerated), (edges[1:] + edges[:-1]) // 2])
    share = np.concatenate([np.ones(enumerated), np.diff(edges)]) * 2.0**-32
    return np.concatenate([low, 2**32 - 1 - low]).astype(np.uint32), np.concatenate([share, share])


@pytest.mark.parametrize("alpha", [0.5, 0.9, 1.0, 1.2, 1.5, 1.9])
@pytest.mark.parametrize("beta", [0.0, 0.6, -1.0])
def test_both_tails_of_skewed_are_right_to_a_percent_at_1e8(alpha, beta):
    (angles, angle_share), (tails, tail_share) = word_grid(2048, 300), word_grid(32, 100)
    # the lowest bit of the angle is its sign: a stratum stands for both
    words = np.stack(
        [
            g.ravel()
            for g in np.meshgrid(
                np.concatenate([angles >> 1 << 1, angles | 1]), tails, indexing="ij"
            )
        ]
    )
    weights = np.outer(np.concatenate([angle_share, angle_share]) / 2, tail_share).ravel()
    assert weights.sum() == pytest.approx(1)
    x = np.asarray(
        increments(ls.SkewedComponents(alpha, beta), jnp.asarray(words), jnp.asarray(1.0), 1)[0],
        np.float64,
    )
    for probability in (1e-7, 1e-8):
        for side in (1 + beta, 1 - beta):
            level = (levy_constant(alpha) / alpha * max(side, 0.1) / probability) ** (1 / alpha)
            measured = np.sum(weights[(x if side == 1 + beta else -x) > level])
            expected = levy_constant(alpha) / alpha * side * level**-alpha
            assert measured == pytest.approx(expected, rel=0.01, abs=1e-12), (probability, side)


@pytest.mark.parametrize(
    ("alpha", "kind"),
    [(0.4, "S1"), (0.9, "S1"), (1.2, "S1"), (1.7, "S1"), (1.7, "S0"), (0.4, "S0")],
)
def test_skewed_exponent_is_the_levy_khintchine_integral_of_its_rays(alpha, kind, float64):
    """Below 1 without, above 1 with compensation of every jump; S0 is S1 with a drift."""
    driver = ls.SkewedComponents(alpha, 0.6, kind)
    rays = driver.levy_rays(1)
    up, down = rays.weights * rays.tail(np.ones(2), np.arange(2)) * alpha  # densities at 1
    k = 1.3
    even = integrate.quad(lambda y: y ** (1 - alpha), 0, 1e-4)[0] / 2 + integrate.quad(
        lambda y: (1 - np.cos(y)) * y ** (-1 - alpha), 1e-4, 1e3, limit=4000
    )[0] + 1e3**-alpha / alpha  # fmt: skip
    compensated = alpha > 1

    def odd(y):
        return (np.sin(y) - (y if compensated else 0)) * y ** (-1 - alpha)

    total = integrate.quad(odd, 1e-5, 1e3, limit=4000)[0]
    total += (
        -(1e3 ** (1 - alpha)) / (alpha - 1) if compensated else 1e-5 ** (1 - alpha) / (1 - alpha)
    )
    expected = k**alpha * ((up + down) * even - 1j * (up - down) * total)
    drift = 0.6 * np.tan(np.pi * alpha / 2) * k if kind == "S0" else 0.0
    value = complex(driver.exponent(jnp.array([k])))
    assert value == pytest.approx(expected + 1j * drift, rel=2e-3)
    assert complex(driver.exponent(jnp.array([-k]))) == pytest.approx(value.conjugate())


def test_unskewed_is_the_symmetric_driver_and_one_sided_below_one_only_grows():
    k = jnp.array([0.7, -1.9])
    for alpha in (0.6, 1.0, 1.4, 2.0):
        for kind in ("S0", "S1"):
            value = complex(ls.SkewedComponents(alpha, 0.0, kind).exponent(k))
            assert value == pytest.approx(complex(ls.StableComponents(alpha).exponent(k)), rel=1e-5)
    assert complex(ls.SkewedComponents(1.3, 0.7).exponent(jnp.zeros(2))) == 0
    for alpha in (0.3, 0.6, 0.95):
        words = np.random.default_rng(3).integers(0, 2**32, (2, 100_000), np.uint32)
        drawn = increments(ls.SkewedComponents(alpha, 1.0), jnp.asarray(words), jnp.asarray(0.1), 1)
        assert (np.asarray(drawn) > 0).all()
