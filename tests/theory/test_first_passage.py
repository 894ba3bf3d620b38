"""Gaussian first passage by quadrature against closed forms, another method, and what it
refuses."""

import math

import numpy as np
import pytest
from scipy import integrate, linalg, special

from levysde.theory import first_passage


def double_well(x):
    return x - x**3


@pytest.mark.parametrize("start", [-0.9, 0.0, 0.3])
def test_brownian_motion_between_two_ends(start):
    found = first_passage(lambda x: 0 * x, 0.5, start=start, lower=-1.0, upper=1.0)
    gap = 1 - start**2
    assert found.mean == pytest.approx(gap, rel=1e-12)
    assert found.second_moment == pytest.approx(gap * (5 - start**2) / 3, rel=1e-12)
    assert found.upper_probability == pytest.approx((1 + start) / 2, rel=1e-12)
    assert found.error < 1e-11


def test_constant_drift():
    """From 0 to c: inverse Gaussian, mean c / v and variance 2 D c / v^3; between two ends the
    classical side."""
    v, d, c = 0.7, 0.3, 2.0
    one = first_passage(lambda x: v + 0 * x, d, start=0.0, upper=c)
    assert one.mean == pytest.approx(c / v, rel=1e-9)
    assert one.variance == pytest.approx(2 * d * c / v**3, rel=1e-8)
    assert one.upper_probability == 1
    both = first_passage(lambda x: v + 0 * x, d, start=0.0, lower=-1.0, upper=c)
    expected = (1 - math.exp(-v / d)) / (1 - math.exp(-v * (1 + c) / d))
    assert both.upper_probability == pytest.approx(expected, rel=1e-11)
    assert both.mean == pytest.approx((both.upper_probability * (1 + c) - 1) / v, rel=1e-10)


@pytest.mark.parametrize("end", [0.5, 1.0, 4.0])
def test_ornstein_uhlenbeck_to_one_end(end):
    """dX = -X dt + dW from 0: sqrt(pi) int_0^c e^(u^2) (1 + erf u) du."""
    found = first_passage(lambda x: -x, 0.5, start=0.0, upper=end)
    expected = integrate.quad(
        lambda u: math.sqrt(math.pi) * math.exp(u * u) * (1 + special.erf(u)), 0, end, epsrel=1e-13
    )
    assert found.mean == pytest.approx(expected[0], rel=1e-10)
    mirrored = first_passage(lambda x: -x, 0.5, start=0.0, lower=-end)
    assert mirrored.mean == pytest.approx(found.mean, rel=1e-12)
    assert (found.upper_probability, mirrored.upper_probability) == (1, 0)


def test_reflected_brownian_motion():
    found = first_passage(lambda x: 0 * x, 2.0, start=0.5, reflecting=0.0, upper=3.0)
    assert found.mean == pytest.approx((9 - 0.25) / 4, rel=1e-12)
    turned = first_passage(lambda x: 0 * x, 2.0, start=-0.5, reflecting=0.0, lower=-3.0)
    assert turned.second_moment == pytest.approx(found.second_moment, rel=1e-12)


def test_diffusion_that_depends_on_the_place():
    """Geometric Brownian motion, dX = mu X dt + sigma X dW (Ito): its logarithm has drift mu -
    sigma^2 / 2."""
    mu, sigma, low, high = 0.1, 0.5, 0.5, 3.0
    found = first_passage(
        lambda x: mu * x, lambda x: (sigma * x) ** 2 / 2, start=1.0, lower=low, upper=high
    )
    v, d = mu - sigma**2 / 2, sigma**2 / 2
    ends = np.log([low, high])
    scale = 1 - np.exp(-v / d * ends)
    probability = -scale[0] / (scale[1] - scale[0])
    assert found.upper_probability == pytest.approx(probability, rel=1e-10)
    assert found.mean == pytest.approx(
        (probability * ends[1] + (1 - probability) * ends[0]) / v, rel=1e-9
    )


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_against_a_boundary_value_problem_by_chebyshev_collocation(noise):
    """D u'' + b u' = -1, then -2 u; D of the place, between two ends."""

    def diffusion(x):
        return noise * (1 + 0.5 * np.sin(2 * x))

    points = 120
    nodes = np.cos(np.pi * np.arange(points + 1) / points)
    weight = np.r_[2, np.ones(points - 1), 2] * (-1.0) ** np.arange(points + 1)
    gap = nodes[:, None] - nodes[None, :] + np.eye(points + 1)
    first = weight[:, None] / weight[None, :] / gap
    first -= np.diag(first.sum(1))
    low, high, start = -2.0, 0.5, -1.0
    x = low + (high - low) * (nodes + 1) / 2
    first *= 2 / (high - low)
    operator = diffusion(x)[:, None] * (first @ first) + double_well(x)[:, None] * first
    operator[[0, -1]] = np.eye(points + 1)[[0, -1]]

    def solved(right, ends):
        u = linalg.solve(operator, np.r_[ends[0], right[1:-1], ends[1]])
        return u, np.polynomial.Chebyshev.fit(x, u, points, domain=[low, high])(start)

    mean, at_start = solved(-np.ones(points + 1), (0, 0))
    _, second = solved(-2 * mean, (0, 0))
    _, upper = solved(np.zeros(points + 1), (1, 0))
    found = first_passage(double_well, diffusion, start=start, lower=low, upper=high)
    assert found.mean == pytest.approx(at_start, rel=1e-7)
    assert found.second_moment == pytest.approx(second, rel=1e-7)
    assert found.upper_probability == pytest.approx(upper, rel=1e-7)


def test_barriers_of_hundreds_keep_their_digits():
    """Kramers' law is approached as D falls, with a relative correction of order D, in logarithms
    far beyond float64."""
    errors = []
    for noise in (0.02, 0.01, 0.0005):
        found = first_passage(double_well, noise, start=-1.0, upper=1.0)
        kramers = math.log(2 * math.pi / math.sqrt(2)) + 0.25 / noise
        errors.append((found.log_mean - kramers) / noise)
    assert found.second_moment == math.inf  # e^1003
    np.testing.assert_allclose(errors, errors[-1], rtol=0.12)
    assert 1 < errors[-1] < 2


def test_what_has_no_answer_is_refused():
    def inflection(x):
        return 0.1 * np.abs(3 * x**2 - 1)

    with pytest.raises(ValueError, match=r"diffusion is .* at x = -0\.577.*never escapes"):
        first_passage(double_well, inflection, start=-1.0, upper=0.0)
    with pytest.raises(ValueError, match=r"does not come back.*infinite"):
        first_passage(lambda x: 0 * x, 0.5, start=0.0, upper=1.0)
    with pytest.raises(ValueError, match=r"does not come back.*infinite"):
        first_passage(lambda x: -1 + 0 * x, 0.5, start=0.0, upper=1.0)
    with pytest.raises(
        RuntimeError,
        match=r"mean first-passage time .* did not "
        r"converge.*discontinuous",
    ):
        first_passage(lambda x: np.sign(np.sin(40 * x)), 0.01, start=0.0, lower=-1.01, upper=1.07)
    with pytest.raises(ValueError, match="drift is inf at x = "):
        first_passage(
            lambda x: np.where(np.abs(x - 0.5) < 0.1, np.inf, -x),
            0.5,
            start=0.0,
            lower=-1.0,
            upper=1.0,
        )


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"start": 2.0}, ValueError, "start = 2 must lie strictly between"),
        ({"lower": None, "upper": None}, ValueError, "give lower, upper or both"),
        ({"reflecting": -3.0}, ValueError, "with two exits"),
        ({"diffusion": -1.0}, ValueError, "diffusion must be positive"),
        ({"diffusion": lambda x: -1 + 0 * x}, ValueError, "diffusion is -1 at x"),
        ({"drift": 3.0}, TypeError, "drift must be a function, not 3.0"),
        (
            {"drift": lambda x: x[:, 7]},
            TypeError,
            r"drift must map points \(n,\) to values \(n,\), but fails: IndexError",
        ),
        ({"drift": lambda x: 1 / 0}, TypeError, "drift must map .* but fails: ZeroDivisionError"),
        ({"drift": lambda x: x + 1j}, TypeError, "drift must map .*complex128"),
        ({"drift": lambda x: None}, TypeError, "drift must map .*not None"),
        ({"diffusion": lambda x: np.full(len(x), np.nan)}, ValueError, "diffusion is nan at x"),
        ({"drift": lambda x: 1.0}, ValueError, r"drift must map points .* to as many values"),
        ({"start": math.nan}, ValueError, "start must be finite"),
        ({"upper": "1"}, TypeError, "upper must be a number"),
    ],
)
def test_bad_input(change, kind, message):
    arguments = {
        "drift": lambda x: -x,
        "diffusion": 0.5,
        "start": 0.0,
        "lower": -1.0,
        "upper": 1.0,
    } | change
    with pytest.raises(kind, match=message):
        first_passage(arguments.pop("drift"), arguments.pop("diffusion"), **arguments)


def test_an_open_end_sees_a_second_well_beyond():
    """Two reaches short of the well at -12 agreed on 56.6."""

    def drift(x):
        return -(x + 73.0 * (x + 12.0) * np.exp(-((x + 12.0) ** 2) / 2))

    seen, bounded = (
        first_passage(drift, 0.5, start=0.0, upper=2.0, reflecting=wall) for wall in (None, -40.0)
    )
    assert bounded.mean == pytest.approx(420.13, rel=1e-4)
    assert seen.mean == pytest.approx(bounded.mean, rel=1e-6)


def test_an_open_end_needs_no_diffusion_far_beyond_its_reach():
    """Where the diffusion ends at 40, the look for another well goes no further."""

    def diffusion(x):
        return 0.5 * (1.6e3 - x**2) / 1.6e3

    seen, bounded = (
        first_passage(lambda x: -x, diffusion, start=0.0, upper=1.0, reflecting=wall)
        for wall in (None, -20.0)
    )
    assert seen.mean == pytest.approx(bounded.mean, rel=1e-9)
