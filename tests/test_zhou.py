"""The study of Zhou et al.: its numbers against closed forms, and a run of it."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from statistical import assert_close

from levysde.noise import levy_constant
from levysde.studies import run_study
from levysde.studies.zhou2020 import STUDY, basins, model, ordering
from levysde.studies.zhou2020.law import U, smallest_r
from levysde.studies.zhou2020.problems import (
    ADAM,
    HEIGHT,
    at_regime,
    curvatures,
    law_of,
    mean_of,
    random_valley,
    step_for,
    valley,
)


@pytest.mark.parametrize("u", U)
def test_r_is_zero_for_exponential_times_and_known_for_others(u):
    rng = np.random.default_rng(0)
    times = rng.exponential(size=200_000)
    exact = smallest_r(times, 1.0, u)
    assert exact.low <= 0.004 if u < 0 else exact.low == pytest.approx(0, abs=2e-3)
    if u < 0:
        return  # the transform of times twice as long does not exist at u = -0.5
    late = smallest_r(2 * times, 1.0, u)
    transform = 1 / (1 + 2 * u)
    expected = abs(1 - (1 + u) * transform) / (1 + transform)
    assert_close(late.value, (late.high - late.low) / 3.92, expected, 0.05)
    # Theorem 1's own bounds hold with that r and with no smaller one
    for r, inside in ((expected + 1e-9, True), (0.9 * expected, False)):
        assert ((1 - r) / (1 + u + r) <= transform <= (1 + r) / (1 + u - r)) is inside


def test_a_run_is_placed_by_its_regime():
    law, dt = at_regime(law_of("SGD", "StableComponents", valley(3, 4.0), 1.5, HEIGHT), 0.02)
    assert law.regime == pytest.approx(0.02)
    assert law.skeleton_bias(dt) <= 0.02 * 1.01
    assert dt <= 0.02 / 4 * 1.01
    h = curvatures(3, 4.0)
    rate = law.epsilon**1.5 * 2 * float(levy_constant(1.5)) / 1.5 * np.sum((h / (2 * HEIGHT)) ** 0.75)
    assert law.rate == pytest.approx(rate, rel=1e-4)
    assert step_for(law) == dt


@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_mean_of_stable_draws_has_their_law(count):
    k = jnp.array([0.7, -1.3])
    expected = count ** (1 - 1.5) * np.sum(np.abs(k) ** 1.5)
    assert float(mean_of(1.5, count).exponent(k)) == pytest.approx(expected, rel=1e-5)


def test_random_valleys_are_valleys():
    for number in range(5):
        curvature = np.linalg.eigvalsh(np.asarray(random_valley(number, 5).hessian(jnp.zeros(5))))
        assert curvature.min() >= 0.49
        assert curvature.max() <= 5.01
    assert not np.allclose(random_valley(0, 5).hessian(jnp.zeros(5)), random_valley(1, 5).hessian(jnp.zeros(5)))


def test_the_line_through_basins():
    rng = np.random.default_rng(1)
    measure = np.exp(rng.uniform(-3, 1, 200))
    mean = 5 / measure**0.9 * np.exp(0.05 * rng.normal(size=200))
    slope, rank = basins.line(measure, mean, np.full(200, 400.0))
    assert_close(slope.value, (slope.high - slope.low) / 3.94, -0.9, 0.05)
    assert rank < -0.95


def test_the_map_is_the_closed_form_and_its_second_reading_has_no_units():
    rows = ordering.ratio_map()
    h, delta = curvatures(ordering.DIM, 10.0), ADAM["delta"]
    for row in rows:
        if row["condition"] != 10.0:
            continue
        a, s = row["alpha"], row["size"] * h ** row["power"]
        sgd, adam = np.mean((h * s**2) ** (a / 2)), np.mean((h * (s / (s + delta)) ** 2) ** (a / 2))
        assert row["measure_ratio"] == pytest.approx(sgd / adam, rel=1e-3)
        slowest = np.min(h / (s + delta)) / np.min(h)
        assert row["relaxed_ratio"] == pytest.approx(slowest**a * sgd / adam, rel=1e-3)
        # the loss, and with it delta, in other units
        c = 7.0
        sgd, adam = (np.mean((c * h * jump**2 / c) ** (a / 2)) for jump in (c * s, s / (s + delta)))
        slowest = np.min(c * h / (c * s + c * delta)) / np.min(c * h)
        assert row["relaxed_ratio"] == pytest.approx(slowest**a * sgd / adam, rel=1e-3)
    even = [row["relaxed_ratio"] for row in rows if row["power"] == 0]
    np.testing.assert_allclose(even, 1, rtol=1e-3)


def test_the_bound_on_jumps_of_adam():
    """One gradient of any size, then none: the steps add up to the bound, and never to more."""
    rate, ends = 0.01, []
    adam = optax.adam(rate, b1=model.BETAS[0], b2=model.BETAS[1], eps=1e-30)
    for size in (1.0, 1e3, 1e6):
        state, x = adam.init(jnp.zeros(())), 0.0
        # far from the start, where the corrections of the bias have gone
        state = (state[0]._replace(count=jnp.int32(100_000)), *state[1:])
        for k in range(300):
            update, state = adam.update(jnp.asarray(size if k == 0 else 0.0), state)
            x += float(update)
        ends.append(-x / rate)
    np.testing.assert_allclose(ends, model.BOUND, rtol=2e-3)


def test_a_clipped_variance():
    """Against the integral of the tail."""
    from scipy.stats import levy_stable

    x = np.linspace(0, 3, 61)
    tail = 2 * levy_stable.sf(x, model.ALPHA, 0)
    expected = np.trapezoid(2 * x * tail, x)
    assert model.clipped_variance(3.0) == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("section", [s.name for s in STUDY.sections if s.name != "law"])
def test_every_section_runs_quickly_to_its_verdicts(section, tmp_path):
    verdicts = run_study("zhou2020", tmp_path / "out", quick=True, sections=[section])
    claims = next(s.claims for s in STUDY.sections if s.name == section)
    assert [v.claim for v in verdicts] == list(claims)
    assert list((tmp_path / "out").glob(f"{section}-*.png"))
