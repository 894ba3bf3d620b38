"""The classes of noise: each law is found, its numbers are those that were drawn, and the driver
that is printed draws the same law."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats as scipy_stats
from scipy.signal import lfilter
from statistical import assert_close, assert_mean

import levysde as ls
from levysde import stats
from levysde.stats.noise_fits import STABLE, _stable, binned, fit_laws


def generator(seed):
    return np.random.default_rng(seed)


def stable(alpha, shape, seed):
    """An implementation of the stable law that is not ours."""
    return scipy_stats.levy_stable.rvs(alpha, 0.0, size=shape, random_state=generator(seed))


def isotropic(alpha, shape, seed):
    """Vectors `sqrt(2A) G` with a positive stable A for each."""
    normals = generator(seed).normal(size=shape)
    b = alpha / 2
    scale = np.cos(np.pi * b / 2) ** (1 / b)
    a = scipy_stats.levy_stable.rvs(
        b, 1.0, scale=scale, size=shape[0], random_state=generator(seed + 1)
    )
    return np.sqrt(2 * a)[:, None] * normals


SAMPLES = {
    "Gaussian": lambda: 0.3 * generator(0).normal(size=3000) + 7,
    "stable": lambda: 1e-3 * stable(1.5, 3000, 1),
    "clipped stable": lambda: np.clip(stable(1.5, 3000, 2), -15, 15),
    "heavy-tailed, not stable": lambda: 40 * generator(3).standard_t(3, 3000),
    "not continuous": lambda: np.round(3 * generator(4).normal(size=3000)),
    "correlated": lambda: lfilter([1], [1, -0.3], generator(5).normal(size=3000)),
    "too short to tell": lambda: generator(6).normal(size=900),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_each_class_is_found(name):
    found = stats.noise_class(SAMPLES[name](), norms=False)
    assert found.name == name
    assert found.num_values == len(SAMPLES[name]())
    assert bool(found.driver) == bool(found.dynamics) == (name in list(SAMPLES)[:4])
    no_law = name in list(SAMPLES)[4:]
    assert found.law.startswith("No law") == no_law
    assert f"NoiseClass: {name}" in repr(found)
    assert np.all(np.diff(found.size) > 0)
    assert np.all(np.diff(found.share) <= 0)


@pytest.mark.parametrize("seed", [10, 11])
def test_a_mixture_and_a_truncated_law(seed):
    rng = generator(seed)
    mixture = rng.normal(size=5000) * np.where(rng.random(5000) < 0.2, 4.0, 1.0)
    found = stats.noise_class(mixture)
    assert found.name == "heavy-tailed, not stable"
    assert found.fits[0].name == "two normals"
    assert found.driver.startswith("ls.GaussianMixture")
    values = stable(1.5, 6000, seed)
    cut = values[np.abs(values) < 12]
    found = stats.noise_class(cut)
    assert (found.name, found.fits[0].label) == ("clipped stable", "truncated stable")
    assert found.clipped == 0
    assert found.fits[0].parameters["end"] == pytest.approx(12, rel=0.03)


def test_the_density_of_stable_sizes_is_that_of_scipy():
    r = np.array([0.05, 0.5, 1, 3, 6, 20, 200.0])
    for alpha, error in ((1.0, 2e-4), (1.5, 2e-4), (1.9, 1e-3), (1.99, 3e-3)):
        log_density = _stable(1.0, np.log(2 - alpha))(np.log(r))
        exact = 2 * r * scipy_stats.levy_stable.pdf(r, alpha, 0)
        np.testing.assert_allclose(np.exp(log_density), exact, rtol=error)


def test_fitted_numbers_are_those_drawn():
    """Within their standard errors, which a fit of 20,000 values makes small."""
    n = 20_000
    found = stats.noise_class(0.5 * stable(1.6, n, 20))
    assert_close(found.fits[0].parameters["alpha"], 0.011, 1.6, 0.05)
    assert_close(found.scale, 0.5 * 0.0075, 0.5, 0.05)
    found = stats.noise_class(0.5 * generator(21).standard_t(3, n))
    assert_close(found.fits[0].parameters["df"], 0.065, 3.0, 0.15)
    assert_close(found.scale, 0.5 * 0.01, 0.5, 0.1)
    found = stats.noise_class(0.5 * generator(22).normal(size=n) - 3)
    assert_close(found.scale, 0.5 / np.sqrt(2 * n), 0.5, 0.03)


@pytest.mark.parametrize("factor", [1e-200, 1e-3, 1e200])
def test_the_unit_does_not_matter(factor):
    x = generator(30).standard_t(3, 2000)
    one, other = stats.noise_class(x), stats.noise_class(factor * x)
    assert one.name == other.name
    assert other.scale == pytest.approx(factor * one.scale, rel=1e-3)
    assert other.fits[0].evidence == pytest.approx(one.fits[0].evidence, rel=1e-4)


@pytest.mark.parametrize("name", list(SAMPLES)[:4])
def test_the_printed_line_draws_the_noise(name):
    """One Euler step from the minimum adds `learning_rate` times one draw of the measured law."""
    x = SAMPLES[name]()
    found = stats.noise_class(x, norms=False)
    names = {"ls": ls, "landscape": ls.Quadratic(hessian=jnp.eye(1)), "learning_rate": 0.05}
    dynamics = eval(found.dynamics, names)
    kernel = ls.EulerMaruyama(dynamics, dt=0.05)
    paths = ls.simulate_paths(kernel, jnp.zeros(1), num=20_000, seed=0, times=[0.05])
    drawn = np.abs(np.asarray(paths.positions).ravel()) / 0.05
    sizes = np.abs(x - np.median(x))
    # a level of the survival function, by both samples
    for level in (0.5, 0.1, 0.02):
        size = np.quantile(sizes, 1 - level)
        difference = np.mean(drawn > size) - np.mean(sizes > size)
        assert abs(difference) < 5 * np.sqrt(level * (1 - level) * (1 / 3000 + 1 / 20_000))


def test_a_mixture_that_is_printed_can_be_typed():
    rng = generator(31)
    for x in (
        rng.normal(size=5000) * np.exp(0.8 * rng.normal(size=5000)),
        rng.normal(size=5000) * np.where(rng.random(5000) < 0.2, 4.0, 1.0),
    ):
        driver = eval(stats.noise_class(x).driver, {"ls": ls, "learning_rate": 0.1})
        assert isinstance(driver, ls.GaussianMixture)


# vectors


def test_vectors_tell_components_from_isotropic():
    scales = np.geomspace(0.1, 10, 6)
    one = stats.noise_class(isotropic(1.5, (2500, 6), 40) * scales)
    other = stats.noise_class(stable(1.5, (2500, 6), 42) * scales)
    assert (one.name, other.name, one.dim) == ("stable", "stable", 6)
    assert one.driver.startswith("ls.StableIsotropic(alpha=1.")
    assert other.driver.startswith("ls.StableComponents(alpha=1.")
    assert other.fits[0].parameters["alpha"] == pytest.approx(1.5, abs=0.06)


def test_constant_coordinates_are_left_out_and_clipped_norms_named():
    x = generator(43).normal(size=(1500, 8))
    x[:, 3] = 2.0
    found = stats.noise_class(x)
    assert found.name == "Gaussian"
    assert any("1 of 8 coordinates are constant" in text for text in found.warnings)
    x[:, 5] *= generator(45).random(1500) < 0.8  # a rectified unit
    found = stats.noise_class(x)
    assert found.name == "Gaussian"
    assert any("values of 1 of 7 coordinates repeat" in text for text in found.warnings)
    x = generator(44).normal(size=(1500, 8))
    norms = np.sqrt((x**2).sum(1, keepdims=True))
    found = stats.noise_class(x * np.minimum(1, 3.5 / norms))
    assert any("clipped by their norm" in text for text in found.warnings)


# norms

SPECTRUM = np.arange(1, 31.0) ** -0.5


def lengths(x):
    return np.sqrt((x**2).sum(1))


@pytest.mark.slow_cases(but=("Gaussian",))
@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("Gaussian", lambda: lengths(generator(50).normal(size=(6000, 30)) * SPECTRUM)),
        ("stable", lambda: lengths(stable(1.6, (6000, 30), 51) * SPECTRUM)),
        ("clipped stable", lambda: np.minimum(lengths(isotropic(1.6, (6000, 30), 52)), 80.0)),
        (
            "heavy-tailed, not stable",
            lambda: (
                lengths(generator(53).normal(size=(6000, 30)) * SPECTRUM)
                / np.sqrt(generator(54).chisquare(3, 6000) / 3)
            ),
        ),
        ("correlated", lambda: np.exp(lfilter([1], [1, -0.5], generator(55).normal(size=6000)))),
    ],
    ids=["Gaussian", "stable", "clipped", "heavy", "correlated"],
)
def test_norms_show_the_tail(name, draw):
    found = stats.noise_class(draw())
    assert (found.name, found.norms) == (name, True)
    assert np.isnan(found.scale)
    assert found.dynamics == ""  # no scale of coordinates
    assert any("norms show the tail only" in text for text in found.warnings) == (
        name != "correlated"
    )
    if name in ("stable", "clipped stable"):
        assert found.fits[0].parameters["alpha"] == pytest.approx(1.6, abs=0.08)


@pytest.mark.slow
def test_norms_far_from_zero_are_gaussian():
    """A loss or a norm with little noise on a large mean: laws that are narrow in log r."""
    found = stats.noise_class(2.3 + 0.01 * generator(56).normal(size=3000))
    assert (found.name, found.norms) == ("Gaussian", True)


@pytest.mark.slow_cases("1e-07")
@pytest.mark.parametrize("spread", [1e-7, 1e-2])
def test_an_outlier_far_away_takes_no_memory(spread):
    x = 1 + spread * generator(58).normal(size=1200)
    x[7] = 1e12
    assert stats.noise_class(x).num_values == 1200


def test_what_is_a_norm_can_be_said():
    x = np.abs(generator(57).normal(size=90))  # too few for a fit
    assert stats.noise_class(x).norms
    assert not stats.noise_class(x, norms=False).norms
    with pytest.raises(ValueError, match="norms must be False for an x that has two axes"):
        stats.noise_class(-x, norms=True)


# caveats


def test_caveats():
    rng = generator(60)
    uniform = stats.noise_class(rng.random(5000) - 0.5)
    assert uniform.name == "Gaussian"  # or lighter
    assert any("no size is above" in text for text in uniform.warnings)
    assert uniform.scale == pytest.approx(1 / np.sqrt(12), rel=0.05)
    skewed = stats.noise_class(rng.exponential(size=5000) - 1)
    assert any("not symmetric" in text for text in skewed.warnings)
    slight = stats.noise_class(rng.standard_t(80, 200_000))
    assert slight.name == "Gaussian"
    signs = stats.noise_class(np.where(rng.random(2000) < 0.5, -1.0, 1.0))
    assert signs.name == "not continuous"


def test_a_scale_that_changes_in_time_is_correlated():
    x = generator(61).normal(size=3000) * np.linspace(1, 3, 3000)
    found = stats.noise_class(x)
    assert found.name == "correlated"
    assert "the scale of the noise changes in time" in found.reason


def test_weak_correlation_counts_only_if_it_is_strong_enough():
    x = lfilter([1], [1, -0.03], generator(62).normal(size=100_000))
    found = stats.noise_class(x)
    assert 0.015 < found.correlation < 0.05  # nine standard errors from 0
    assert found.name == "Gaussian"


def test_clipping_needs_several_values_at_an_end():
    x = generator(63).standard_t(3, 2000)
    assert stats.noise_class(x).clipped == 0
    assert stats.noise_class(np.clip(x, -6, 6)).clipped == np.sum(np.abs(x) >= 6)
    assert stats.noise_class(np.clip(x, None, 5)).clipped == np.sum(x >= 5) + 1  # the smallest


def test_fits_of_few_independent_values_are_weighed():
    """Coordinates that are copies of one another are worth one."""
    x = generator(64).standard_t(5, 1500)
    alone, copies = stats.noise_class(x), stats.noise_class(np.stack([x] * 8, axis=1))
    for one, other in zip(
        sorted(alone.fits, key=lambda fit: fit.label),
        sorted(copies.fits, key=lambda fit: fit.label),
        strict=True,
    ):
        assert one.evidence == pytest.approx(other.evidence, rel=1e-3)


def test_survival_of_the_fits_is_that_of_the_sample():
    found = stats.noise_class(SAMPLES["stable"]())
    for fit in found.fits[:1]:
        assert np.abs(fit.survival - found.share).max() < 0.03
        assert fit.gap == pytest.approx(np.abs(fit.survival - found.share).max(), abs=1e-9)
        assert np.all(np.diff(fit.survival) <= 1e-12)
    exact = 2 * scipy_stats.levy_stable.sf(found.size[::30] / 1e-3, 1.5, 0)
    np.testing.assert_allclose(found.fits[0].survival[::30], exact, rtol=0.25)


@pytest.mark.slow
def test_wrong_classes_are_rare():
    """125 samples of 5,000 values, all of which must get a class. If 1% are wrong, 6 or more of
    them are wrong once in 500 runs with other seeds."""
    wrong = []
    for seed in range(25):
        rng = generator([70, seed])
        alpha = rng.uniform(1.3, 1.85)
        draws = {
            "Gaussian": rng.normal(size=5000),
            "heavy-tailed, not stable": rng.standard_t(rng.uniform(3, 5), 5000),
            "stable": stable(alpha, 5000, 1000 + seed),
            "clipped stable": np.clip(stable(alpha, 5000, 2000 + seed), -12, 12),
            "correlated": lfilter([1], [1, -rng.uniform(0.2, 0.9)], rng.normal(size=5000)),
        }
        wrong += [name for name, x in draws.items() if stats.noise_class(x).name != name]
    assert len(wrong) <= 5, wrong


@pytest.mark.slow
def test_the_likelihood_is_one():
    """Twice the gain in log-likelihood of a free index over the true one is chi-square with one
    degree of freedom, so its mean is 1."""
    gains, law = [], _stable(1.0, np.log(0.4))
    for seed in range(60):
        x = np.abs(stable(1.6, 4000, 3000 + seed))
        sizes = binned(x, norms=False, clipped=0, weight=1.0)
        best = next(f for f in fit_laws(sizes, norms=False) if f.label == STABLE)
        tried = max(
            float(law(sizes.bins - shift) @ sizes.counts) for shift in np.linspace(-0.06, 0.06, 121)
        )
        gains.append(2 * (best.evidence + np.log(4000) - tried))
    assert_mean(np.array(gains), 1.0, 1.2)
