"""The escape law's own error: the simulated ratio against exact means, by both methods."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statistical import assert_close

import levysde as ls
from levysde import theory
from levysde.errors import AccuracyWarning
from levysde.theory.jump_strata import Cut, Rays, strata

WELL = ls.Quadratic(hessian=jnp.eye(1))
BALL = ls.Ball(radius=1.0, center=jnp.zeros(1))


def ou(alpha, epsilon):
    dynamics = ls.SGD(WELL, ls.StableComponents(alpha=alpha), epsilon=epsilon)
    return dynamics, ls.escape_law(dynamics, BALL, check=False)


@pytest.mark.slow_cases("forced")
@pytest.mark.parametrize("method", ["direct", "forced"])
def test_the_error_is_that_of_the_exact_mean(method):
    """At alpha = 1.5, epsilon = 0.2 the law is 15% too long."""
    dynamics, law = ou(1.5, 0.2)
    exact = theory.exact_exit(dynamics, BALL).mean / law.mean
    found = ls.law_error(law, method=method, num=4000, seed=3)
    standard_error = np.log(found.ratio.high / found.ratio.low) / (2 * 1.96) * found.ratio.value
    assert_close(found.ratio.value, standard_error, exact, 0.12)
    assert found.method == method
    assert "shorter than the law's" in found.warning


@pytest.mark.slow
def test_rare_escapes_cost_no_more():
    """Direct simulation of one escape takes 8e5 steps here, and the law is right within 0.1%."""
    _, law = ou(1.5, 1e-3)
    found = ls.law_error(law, seed=1)
    assert found.method == "forced"
    assert found.steps < 2e6
    assert 0.97 < found.ratio.low <= found.ratio.value <= found.ratio.high < 1.03
    assert found.warning == ""


@pytest.mark.slow
def test_landings_where_the_flow_is_slow():
    """A double well: most of the error is of jumps that land inside near the saddle and leave
    later."""
    dynamics = ls.SGD(ls.DoubleWell(), ls.StableComponents(alpha=1.8), epsilon=0.2)
    left = ls.Box(lower=jnp.array([-4.0]), upper=jnp.array([0.0]))
    law = ls.escape_law(dynamics, left, check=False)
    exact = theory.exact_exit(dynamics, left).mean / law.mean
    found = ls.law_error(law, method="forced", num=4000, seed=5)
    standard_error = np.log(found.ratio.high / found.ratio.low) / (2 * 1.96) * found.ratio.value
    assert_close(found.ratio.value, standard_error, exact, 0.2)


@pytest.mark.slow
def test_escape_law_checks_itself_and_says_so():
    dynamics = ls.SGD(WELL, ls.StableComponents(alpha=1.9), epsilon=0.2)
    with pytest.warns(ls.AccuracyWarning, match="estimated to be 2[0-9]% shorter than the law's"):
        law = ls.escape_law(dynamics, BALL)
    assert law.error.warning in law.warnings
    assert "mean over the law's, simulated" in repr(law)
    assert law.with_epsilon(0.01).error is None
    assert "not checked" in repr(law.with_epsilon(0.01))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ls.escape_law(dynamics, BALL, check=False).error is None


def test_the_check_is_the_same_again():
    _, law = ou(1.5, 0.2)
    first, again = (ls.law_error(law, method="forced", num=1000, seed=7) for _ in range(2))
    assert first == again


def test_what_takes_too_long_is_said_to_be_unresolved():
    _, law = ou(1.5, 1e-3)
    found = ls.law_error(law, seconds=1e-6)
    assert found.method == "none"
    assert np.isnan(found.ratio.value)
    assert "is not resolved: it takes about" in found.warning
    assert "law_error(law, seconds=" in found.warning


@pytest.mark.parametrize("alpha", [1.3, 1.5, 1.7, 1.9])
def test_a_coarser_step_is_tried_once(alpha):
    """Whatever float32 makes of it."""
    _, law = ou(alpha, 1e-2)
    found = ls.law_error(law, seconds=1e-6)
    assert found.method == "none"
    assert found.dt > 1.5 * ls.law_error(law, method="forced", num=500).dt


def test_bad_arguments():
    _, law = ou(1.5, 0.2)
    with pytest.raises(TypeError, match="law must come from escape_law"):
        ls.law_error(3.0)
    with pytest.raises(ValueError, match='method must be "auto"'):
        ls.law_error(law, method="exact")
    printed = ls.escape_law(law.dynamics, BALL, normalization="printed", check=False)
    with pytest.raises(ValueError, match="as printed"):
        ls.law_error(printed)


def test_strata_share_the_measure():
    """Stratum 0 is the rate of the law; all together are the measure beyond the cutoff."""
    _, law = ou(1.5, 0.2)
    parts = strata(Rays(law.rays), law.ray_distance, law.ray_share)
    np.testing.assert_allclose(parts.masses[0], law.rate, rtol=1e-12)
    beyond = 2 * ls.noise.levy_constant(1.5) / 1.5 * parts.cutoff[0] ** -1.5
    np.testing.assert_allclose(parts.masses.sum(), beyond, rtol=1e-12)
    np.testing.assert_allclose(parts.cutoff, 0.5 / 0.2)


@pytest.mark.slow_cases("cutoff0")
@pytest.mark.parametrize("cutoff", [jnp.asarray(2.0), jnp.array([2.0, 3.0])])
def test_a_cut_driver_has_no_long_increments(cutoff):
    driver = Cut(ls.StableComponents(alpha=1.2), cutoff)
    words = jax.random.bits(jax.random.key(0), (20_000, driver.words_per_step(2)), jnp.uint32)
    y = np.asarray(jax.vmap(lambda w: driver.increment(w, 2, jnp.asarray(1.0)))(words))
    size = np.abs(y) if cutoff.ndim else np.linalg.norm(y, axis=1)
    assert (size < np.asarray(cutoff)).all()
    assert (size > 0.9 * np.asarray(cutoff)).any()


@pytest.mark.slow
def test_a_gaussian_part_that_escapes_by_itself_is_not_overlooked():
    """The Brownian part alone leaves 28 times as often as the jumps, too rarely to be seen beside
    forced jumps."""
    driver = ls.DriverSum((ls.Brownian(), 5.6), (ls.StableComponents(alpha=1.5), 0.002))
    law = ls.escape_law(ls.SGD(WELL, driver, epsilon=0.05), BALL, check=False)
    found = ls.law_error(law, method="forced", num=1000)
    assert "exits by small noise alone were not seen" in found.warning


@pytest.mark.slow
def test_the_step_is_short_enough_for_a_rotation_and_for_the_driver():
    """Euler's step makes a rotation (eigenvalues 1 +- 5i) fall more slowly. Tempered drivers want
    short steps."""

    class Rotation(ls.protocols.Landscape):
        dim: int = eqx.field(static=True, default=2)

        @property
        def minimum(self):
            return jnp.zeros(2)

        def value(self, x):
            return jnp.sum(x * x) / 2

        def gradient(self, x):
            return jnp.stack([x[0] + 5 * x[1], x[1] - 5 * x[0]])

        def hessian(self, x):
            return jnp.array([[1.0, 5.0], [-5.0, 1.0]])

    dynamics = ls.SGD(Rotation(), ls.StableComponents(alpha=1.5), epsilon=0.05)
    domain = ls.half_space(normal=[1.0, 0.0], offset=1.0)
    found = ls.law_error(ls.escape_law(dynamics, domain, check=False), num=4000, method="forced")
    assert found.dt < 0.005
    assert found.warning == ""
    tempered = ls.SGD(WELL, ls.TemperedComponents(alpha=1.5, length=3.0), epsilon=0.1)
    found = ls.law_error(ls.escape_law(tempered, BALL, check=False), num=1000, method="forced")
    assert 0.6 < found.ratio.value < 1


@pytest.mark.slow
def test_a_flat_minimum_and_a_driver_of_one_step_are_no_crash():
    flat = ls.from_function(lambda x: jnp.sum(x**4), dim=1, minimum=jnp.zeros(1))
    flow = ls.SGD(flat, ls.StableComponents(alpha=1.5), epsilon=0.3)
    with pytest.warns(AccuracyWarning, match="no linear part at the attractor"):
        law = ls.escape_law(flow, ls.Sublevel(flat, height=1.0))
    assert law.error.method == "none"
    student = ls.SGD(ls.Quadratic(hessian=jnp.eye(1)), ls.StudentT(df=1.5, dt=0.01), epsilon=0.05)
    box = ls.Box(lower=-jnp.ones(1), upper=jnp.ones(1))
    assert ls.escape_law(student, box).error.dt == pytest.approx(0.01)
