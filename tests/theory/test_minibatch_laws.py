"""Escape under minibatch noise: the laws against quadrature of the equation that they describe."""

import math

import numpy as np
import pytest

from levysde.theory import (
    combined_law,
    first_passage,
    optimizer_exponent,
    sgd_covariance,
    xie_law,
)

# L' = x (x - 1) (x - 2): minima at 0 and 2 of curvature 2, the saddle at 1 of curvature -1, a
# barrier of 1/4
LOW, TOP, BARRIER = 2.0, 1.0, 0.25
BATCH = 4


def slope(x):
    return x * (x - 1) * (x - 2)


def switch_at(s):
    """Where the loss, `x^2 (x - 2)^2 / 4`, has risen by the fraction s of the barrier."""
    return 1 - math.sqrt(1 - math.sqrt(s))


def two_temperatures(drift, diffusion, s, end):
    """Log of the exact mean time from 0 to `end`, drift and diffusion being given as (below, above)
    the switch.

    Started at the switch, the quadrature has its jump between two panels; the way there is at one
    temperature.
    """
    c = switch_at(s)
    way = first_passage(drift[0], diffusion[0], start=0.0, upper=c)
    rest = first_passage(
        lambda x: np.where(x < c, drift[0](x), drift[1](x)),
        lambda x: np.where(x < c, diffusion[0], diffusion[1]),
        start=c,
        upper=end,
    )
    return np.logaddexp(way.log_mean, rest.log_mean)


def law(eta, s=0.5, **options):
    return xie_law(
        barrier=BARRIER,
        minimum_curvature=LOW,
        saddle_curvature=-TOP,
        learning_rate=eta,
        batch_size=BATCH,
        path_fraction=s,
        **options,
    )


# Theorem 3.2


@pytest.mark.parametrize(("escape", "end"), [("other minimum", 2.0), ("saddle", 1.0)])
@pytest.mark.parametrize("s", [0.2, 0.5, 0.8])
def test_the_corrected_law_is_the_limit_of_two_frozen_temperatures(s, escape, end):
    """The excess of the exact mean falls as eta."""
    excess = []
    for eta in (0.08, 0.04, 0.02):
        cold = eta / (2 * BATCH)
        exact = two_temperatures([lambda x: -slope(x)] * 2, (cold * LOW, cold * TOP), s, end)
        excess.append(exact - law(eta, s, escape=escape).log_mean)
    assert np.log2(excess[0] / excess[1]) == pytest.approx(1, abs=0.2)
    assert np.log2(excess[1] / excess[2]) == pytest.approx(1, abs=0.1)
    assert abs(excess[-1]) < 0.03
    printed = law(0.02, s, escape=escape, prefactor="printed")
    assert printed.log_mean - law(0.02, s, escape=escape).log_mean == pytest.approx(
        math.log(LOW / TOP)
    )
    # the printed prefactor is off by H_a / |H_b|, 2, at any eta
    assert abs(exact - printed.log_mean) > 0.6


def test_the_printed_prefactor_is_that_of_the_isothermal_convention():
    """A smooth switch: the noise of the point after the step amounts to a drift `+ D'`, and the
    mean is H_a / |H_b| times Ito's; with half of that drift (Stratonovich) the root of it."""
    for eta in (0.04, 0.01):
        cold = eta / (2 * BATCH)

        def diffusion(x, cold=cold):
            return cold * (LOW + (TOP - LOW) * (1 + np.tanh((x - 0.5) / 0.1)) / 2)

        def tilt(x, cold=cold):
            return cold * (TOP - LOW) * (1 - np.tanh((x - 0.5) / 0.1) ** 2) / 0.2

        ito, stratonovich, isothermal = (
            first_passage(
                lambda x, k=k: -slope(x) + k * tilt(x),
                diffusion,
                start=0.0,
                upper=2.0,
                reflecting=-2.0,
            ).log_mean
            for k in (0, 0.5, 1)
        )
        # D at minimum and saddle is off LOW and TOP by 1e-4
        assert isothermal - ito == pytest.approx(math.log(LOW / TOP), abs=5e-4)
        assert stratonovich - ito == pytest.approx(math.log(LOW / TOP) / 2, abs=5e-4)


def test_units_and_large_exponents():
    found = law(1e-4)
    assert found.mean == found.iterations == math.inf
    assert found.rate == 0
    assert found.exponent == pytest.approx(2 * BATCH * BARRIER / 1e-4 * 0.75)
    assert found.log_mean == pytest.approx(found.exponent + math.log(math.pi))
    assert "10^" in repr(found)
    warm = law(0.1)
    assert warm.iterations == pytest.approx(warm.mean / 0.1)
    assert warm.rate * warm.mean == pytest.approx(1)
    assert warm.survival(warm.mean) == pytest.approx(math.exp(-1))
    assert law(0.1, escape="saddle").mean == pytest.approx(warm.mean / 2)
    for word in ("other minimum", "Theorem 3.2", "corrected", "in iterations"):
        assert word in repr(warm)


def test_paths_add_their_rates():
    laws = [law(0.1), law(0.1, 0.9), law(0.1)]
    both = combined_law(laws)
    assert both.rate == pytest.approx(sum(one.rate for one in laws))
    np.testing.assert_allclose(both.shares, [one.rate / both.rate for one in laws])
    assert both.exponent == laws[1].exponent
    assert "share of each path" in repr(both)
    cold = combined_law([law(1e-5), law(1e-5)])
    assert cold.log_mean == pytest.approx(law(1e-5).log_mean - math.log(2))


# one temperature


def test_equal_temperatures_are_white_noise():
    """Curvatures of one size: one temperature, and both prefactors agree with Eyring and
    Kramers."""
    white = math.log(2 * math.pi / 1.5) + 0.3 / (0.1 * 1.5 / 8)
    for prefactor in ("corrected", "printed"):
        same = xie_law(
            barrier=0.3,
            minimum_curvature=1.5,
            saddle_curvature=1.5,
            learning_rate=0.1,
            batch_size=4,
            path_fraction=0.3,
            prefactor=prefactor,
        )
        assert same.log_mean == pytest.approx(white, rel=1e-12)


# other optimisers


def exponent(optimizer, eta, low=LOW, top=TOP, **options):
    return optimizer_exponent(
        optimizer=optimizer,
        barrier=BARRIER,
        minimum_curvature=low,
        saddle_curvature=top,
        learning_rate=eta,
        batch_size=BATCH,
        **options,
    )


@pytest.mark.parametrize(
    ("optimizer", "momentum", "factor"),
    [("sgd", 0, 1), ("heavy ball", 0.8, 1), ("averaged momentum", 0.8, 0.2)],
)
def test_momentum_by_the_exact_stationary_variance(optimizer, momentum, factor):
    """At one curvature the exponent is `x^2 / (2 Var w)` where the bowl has risen by dL, to order
    eta."""
    gaps = []
    for eta in (0.02, 0.01, 0.005):
        variance = sgd_covariance(
            [[LOW]], [[LOW / BATCH]], learning_rate=eta * factor, momentum=momentum
        ).position[0, 0]
        expected = 2 * BARRIER / LOW / (2 * variance)
        gaps.append(exponent(optimizer, eta, top=LOW, momentum=momentum or 0.5) / expected - 1)
    np.testing.assert_allclose(np.log2(np.array(gaps[:-1]) / gaps[1:]), 1, atol=0.05)
    assert abs(gaps[-1]) < 0.01


@pytest.mark.parametrize("s", [0.3, 0.7])
def test_adam_by_quadrature(s):
    """v frozen at |H| / B on both parts of the way: `dX = -L' / sqrt(v) dt + sqrt(eta) dW`. `log
    mean` at eta / 2 less that at eta is the exponent at eta, as the prefactor cancels."""
    low, top = math.sqrt(LOW / BATCH), math.sqrt(TOP / BATCH)
    gaps = []
    for eta in (0.16, 0.08, 0.04):
        logs = [
            two_temperatures(
                [lambda x: -slope(x) / low, lambda x: -slope(x) / top], (cold / 2, cold / 2), s, 2.0
            )
            for cold in (eta, eta / 2)
        ]
        gaps.append(logs[1] - logs[0] - exponent("adam", eta, path_fraction=s))
    assert abs(gaps[-1]) < 0.02
    assert (np.abs(gaps[1:]) < 0.7 * np.abs(gaps[:-1])).all()


def test_sgd_is_the_law_and_heavy_ball_a_share_of_it():
    assert exponent("sgd", 0.1, path_fraction=0.3) == pytest.approx(law(0.1, 0.3).exponent)
    assert exponent("averaged momentum", 0.1) == exponent("sgd", 0.1)
    assert exponent("heavy ball", 0.1, momentum=0.95) == pytest.approx(0.05 * exponent("sgd", 0.1))


# errors


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"barrier": 0.0}, ValueError, "barrier must be positive"),
        ({"minimum_curvature": -1.0}, ValueError, "minimum_curvature must be positive"),
        ({"saddle_curvature": 0.0}, ValueError, "saddle_curvature must not be 0"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number"),
        ({"batch_size": 0}, ValueError, "batch_size must be positive"),
        ({"path_fraction": 1.0}, ValueError, "path_fraction must lie strictly between 0 and 1"),
        ({"prefactor": "best"}, ValueError, 'prefactor must be "corrected" or "printed"'),
        ({"escape": "away"}, ValueError, "escape must be"),
    ],
)
def test_bad_numbers(change, kind, message):
    arguments = {
        "barrier": 1.0,
        "minimum_curvature": 1.0,
        "saddle_curvature": -1.0,
        "learning_rate": 0.1,
        "batch_size": 4,
    } | change
    with pytest.raises(kind, match=message):
        xie_law(**arguments)


def test_bad_parts():
    with pytest.raises(TypeError, match="laws must be a list of MinibatchLaw"):
        combined_law([0.1, 0.2])
    with pytest.raises(
        ValueError,
        match=r"laws must agree in learning_rate, but have 0\.1 and "
        r"0\.2",
    ):
        combined_law([law(0.1), law(0.2)])
    with pytest.raises(ValueError, match="optimizer must be"):
        exponent("lion", 0.1)
