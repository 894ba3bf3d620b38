"""The law of Eyring and Kramers: closed forms, the quadrature that it is the limit of, and what it
refuses."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import levysde as ls
from levysde.errors import AccuracyWarning
from levysde.theory import first_passage, kramers_law, stationary_point

QUARTIC = ls.from_function(lambda x: jnp.sum((x**2 - 1) ** 2) / 4, dim=1, minimum=jnp.array([-1.0]))
FOUR_WELLS = ls.from_function(lambda x: jnp.sum((x**2 - 1) ** 2) / 4, dim=2, minimum=-jnp.ones(2))


def curved(x):
    """Stiffness 1 across the minimum (-1, 0), 2 across the saddle (0, 0)."""
    return (x[0] ** 2 - 1) ** 2 / 4 + (2 + x[0]) * x[1] ** 2 / 2


def turned(x):
    angle = 0.7
    c, s = math.cos(angle), math.sin(angle)
    return curved(jnp.array([c * x[0] + s * x[1], -s * x[0] + c * x[1]]))


def test_closed_form_in_two_dimensions_however_turned():
    direct = ls.from_function(curved, dim=2, minimum=jnp.array([-1.0, 0.0]))
    law = kramers_law(direct, saddles=jnp.array([0.1, 0.1]), diffusion=0.02)
    expected = 2 * math.pi * math.sqrt((1 * 2) / (2 * 1)) * math.exp(0.25 / 0.02)
    assert law.mean == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(law.saddles[0].eigenvalues, [-1, 2], rtol=1e-9)
    rotated = ls.from_function(turned, dim=2, minimum=jnp.array([-math.cos(0.7), -math.sin(0.7)]))
    assert kramers_law(rotated, saddles=jnp.zeros(2), diffusion=0.02).mean == pytest.approx(
        expected, rel=1e-6
    )


def test_it_is_the_limit_of_the_exact_mean():
    """The correction at a finite barrier is of the order of D over the barrier: 8%, 5% and 2% were
    found at 6.6, 9.8, 20."""
    for barrier, correction in ((6.6, 0.08), (9.8, 0.05), (20, 0.022), (200, 0.0022)):
        noise = 0.25 / barrier
        law = kramers_law(QUARTIC, saddles=jnp.zeros(1), diffusion=noise)
        exact = first_passage(lambda x: x - x**3, noise, start=-1.0, upper=1.0)
        excess = exact.log_mean + law.log_rate
        assert excess == pytest.approx(correction, rel=0.2)


def test_to_the_saddle_it_takes_half_as_long():
    other, saddle = (
        kramers_law(QUARTIC, saddles=jnp.zeros(1), diffusion=0.005, escape=escape)
        for escape in ("other minimum", "saddle")
    )
    assert saddle.mean == pytest.approx(other.mean / 2, rel=1e-12)
    exact = first_passage(lambda x: x - x**3, 0.005, start=-1.0, upper=0.0)
    assert exact.mean == pytest.approx(saddle.mean, rel=0.02)


def test_saddles_add_their_rates():
    one = kramers_law(FOUR_WELLS, saddles=jnp.array([0.0, -1.0]), diffusion=0.02)
    two = kramers_law(FOUR_WELLS, saddles=jnp.array([[0.0, -1.0], [-1.0, 0.0]]), diffusion=0.02)
    assert two.rate == pytest.approx(2 * one.rate, rel=1e-9)
    np.testing.assert_allclose(two.shares, 0.5, rtol=1e-9)
    assert two.survival(two.mean) == pytest.approx(math.exp(-1))


def test_friction():
    """High friction only slows time by g; at any friction the factor of Kramers' 1940 paper."""
    plain = kramers_law(QUARTIC, saddles=jnp.zeros(1), diffusion=0.02)
    for friction in (0.5, 3.0, 1e4):
        slowed = kramers_law(QUARTIC, saddles=jnp.zeros(1), diffusion=0.02, friction=friction)
        factor = math.sqrt(friction**2 / 4 + 1) - friction / 2
        assert slowed.mean == pytest.approx(plain.mean / factor, rel=1e-6)
    assert slowed.mean == pytest.approx(1e4 * plain.mean, rel=1e-3)
    # where the difference is 0
    extreme = kramers_law(QUARTIC, saddles=jnp.zeros(1), diffusion=0.02, friction=1e12)
    assert extreme.mean == pytest.approx(1e12 * plain.mean, rel=1e-9)


def test_barriers_beyond_float64():
    law = kramers_law(QUARTIC, saddles=jnp.zeros(1), diffusion=1e-4)
    assert law.mean == math.inf
    assert law.rate == 0
    assert -law.log_rate == pytest.approx(2500 + math.log(2 * math.pi / math.sqrt(2)), rel=1e-6)
    assert "barriers over D" in repr(law)


@pytest.mark.slow
def test_stationary_points_of_a_known_surface():
    """Mueller and Brown's saddle between the two lower minima, from their paper's figures to four
    digits."""
    surface = ls.MuellerBrown()
    saddle = stationary_point(surface, jnp.array([-0.8, 0.6]))
    assert saddle.index == 1
    np.testing.assert_allclose(saddle.point, [-0.8220, 0.6243], atol=2e-4)
    assert stationary_point(surface, surface.minimum).index == 0


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            {"saddles": jnp.array([0.0, 0.0])},
            ValueError,
            "has 2 negative eigenvalues: escapes pass over saddles of index one",
        ),
        ({"saddles": jnp.array([1.0, -1.0])}, ValueError, "has 0 negative eigenvalues"),
        ({"saddles": jnp.array([[0.0, -1.0], [0.05, -1.0]])}, ValueError, "lead to the same point"),
        ({"saddles": jnp.zeros(3)}, ValueError, r"saddles must have shape \(2,\)"),
        (
            {"minimum": jnp.array([0.0, -1.0])},
            ValueError,
            "1 negative eigenvalues: it is no minimum",
        ),
        ({"diffusion": 0.0}, ValueError, "diffusion must be positive"),
        ({"friction": -1.0}, ValueError, "friction must be positive"),
        ({"escape": "away"}, ValueError, "escape must be"),
        ({"landscape": "wells"}, TypeError, "landscape must be a Landscape"),
    ],
)
def test_bad_input(change, kind, message):
    arguments = {
        "landscape": FOUR_WELLS,
        "saddles": jnp.array([0.0, -1.0]),
        "diffusion": 0.05,
    } | change
    with pytest.raises(kind, match=message):
        kramers_law(arguments.pop("landscape"), **arguments)


def test_flat_and_missing_points_are_refused():
    flat = ls.from_function(lambda x: x[0] ** 2 + x[1] ** 4, dim=2, minimum=jnp.zeros(2))
    with pytest.raises(ValueError, match="flat in one direction"):
        stationary_point(flat, jnp.zeros(2))
    with pytest.raises(
        ValueError,
        match=r"no stationary point found from x = \[30\.\]: after 1 "
        r"steps",
    ):
        stationary_point(QUARTIC, jnp.array([30.0]), max_steps=1)


def test_a_low_barrier_and_weak_friction_are_told():
    """At D = 10 the law says 1.23, where quadrature gives 0.393; at friction 0.01 it says 31.2,
    where simulated escapes take 1,257."""
    well, left = ls.DoubleWell(), -jnp.ones(1)
    with pytest.warns(AccuracyWarning, match=r"the lowest barrier is 0\.1 D"):
        kramers_law(well, saddles=jnp.zeros(1), minimum=left, diffusion=10.0)
    with pytest.warns(AccuracyWarning, match=r"friction = 0\.01 is weak"):
        kramers_law(well, saddles=jnp.zeros(1), minimum=left, diffusion=0.3, friction=0.01)
