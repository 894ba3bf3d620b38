"""Diagnosis of a user's model: every part against dense matrices, closed forms or the exact escape
law."""

import dataclasses
import importlib
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
import scipy.linalg
from statistical import assert_close, assert_mean

import levysde as ls
from levysde import plots, stats
from levysde.landscapes import NetworkLandscape, from_network, in_float64
from levysde.networks import example_blocks as programs
from levysde.networks.basin_measure import (
    axis_measure,
    cross,
    draw_axes,
    isotropic_measure,
    quadratic_masses,
)
from levysde.networks.curvature import lanczos, spectrum
from levysde.networks.diagnose_input import sgd_rate
from levysde.networks.escapes import adam_lift, lifted, measured_lift, settled
from levysde.networks.gradient_covariance import Alignment, alignment, gradient_covariance
from levysde.networks.products import Products, descent_left
from levysde.noise import StableComponents, StableIsotropic, total_tail
from levysde.noise.stable import stable

N, IN, HIDDEN = 60, 4, 3
DECAY, ALPHA, HEIGHT = 0.05, 1.5, 0.03


def loss(params, x, y):
    z = jnp.tanh(x @ params["in"]["w"] + params["in"]["b"]) @ params["out"]
    return jax.nn.softplus(z) - y * z


def data(n: int = N) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, IN))
    return x, (x[:, 0] + 0.7 * x[:, 1] * x[:, 2] + 0.5 * rng.normal(size=n) > 0).astype(float)


def start() -> dict:
    rng = np.random.default_rng(1)
    return {
        "in": {"w": rng.normal(size=(IN, HIDDEN)), "b": np.zeros(HIDDEN)},
        "out": rng.normal(size=HIDDEN),
    }


@pytest.fixture(scope="module")
def network() -> NetworkLandscape:
    """A small network in its minimum, 18 parameters."""
    net = from_network(loss, start(), *data(), weight_decay=DECAY)
    return net.at(jnp.asarray(ls.networks.refine(net, net.minimum).point, dtype=float))


def parameters(network: NetworkLandscape) -> dict:
    return network.unflatten(network.minimum)


@pytest.fixture(scope="module")
def report(network: NetworkLandscape) -> ls.Diagnosis:
    """All coordinates, components noise at a given index."""
    return ls.diagnose(
        loss,
        parameters(network),
        data(),
        batch_size=10,
        learning_rate=0.05,
        weight_decay=DECAY,
        alpha=ALPHA,
        basin_height=HEIGHT,
        num_batches=400,
        num_eigenvalues=5,
        num_escapes=0,
    )


pytestmark = pytest.mark.usefixtures("clean_canvas")


def dense(net: NetworkLandscape, x: jax.Array) -> np.ndarray:
    return np.asarray(jax.jit(type(net).hessian)(net, x))


def error(estimate: stats.Estimate) -> float:
    """The standard error that an interval at 95% stands for."""
    return (estimate.high - estimate.low) / 2 / 1.96


# --- the Hessian and the covariance, matrix-free
# ---------------------------------------------------------------------------


def matrix(eigenvalues: np.ndarray, seed: int) -> np.ndarray:
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))[0]
    return (vectors * eigenvalues) @ vectors.T


def test_spectrum_by_products_is_that_of_the_matrix():
    dim = 300
    eigenvalues = np.concatenate(
        [np.geomspace(10, 1, 8), np.linspace(0.01, 0.3, 192), np.linspace(-0.2, -0.01, 100)]
    )
    h = matrix(eigenvalues, 3)
    found = spectrum(lambda v: h @ v, dim, 6, 200, 0, 0.95)
    assert not found.exact
    assert found.products < 1500
    np.testing.assert_allclose(found.largest, eigenvalues[:6], rtol=1e-4)
    np.testing.assert_allclose(h @ found.vectors, found.vectors * found.largest, atol=2e-3)
    assert found.smallest == pytest.approx(-0.2, abs=2e-3)
    assert_close(found.trace.value, error(found.trace), eigenvalues.sum(), 0.1, "trace")
    assert_close(found.squares.value, error(found.squares), (eigenvalues**2).sum(), 0.01, "squares")
    # a share p of the spectrum has the variance 2 p (1 - p) / d for each of 4 starts
    assert_close(
        found.negative_share,
        np.sqrt(2 * (1 / 3) * (2 / 3) / dim / 4),
        1 / 3,
        0.35,
        "negative share",
    )
    assert found.weights.sum() == pytest.approx(1)
    rest = h - (found.vectors * found.largest) @ found.vectors.T
    spread = np.sqrt(((rest**2).sum(1) - np.diag(rest) ** 2) / 200)
    assert np.abs((found.diagonal - np.diag(h)) / spread).max() < 5
    assert spread.max() < 0.1 * np.diag(h).std() * 5


def test_lanczos_to_the_end_is_the_whole_spectral_measure():
    eigenvalues = np.array([-1.0, 0.5, 2.0, 7.0])
    h, v = matrix(eigenvalues, 0), np.random.default_rng(1).normal(size=4)
    nodes, weights = lanczos(lambda u: h @ u, v, 10)
    np.testing.assert_allclose(nodes, eigenvalues, atol=1e-10)
    inverse = v @ np.linalg.solve(h, v)
    assert (v @ v) * np.sum(weights / nodes) == pytest.approx(inverse, rel=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_products_in_uneven_blocks_are_those_of_the_dense_matrices(network: NetworkLandscape):
    with in_float64(network) as net:
        x, n = net.minimum + 0.1, net.num_examples
        rows = np.asarray(jax.jit(type(net).example_gradients)(net, x)) - np.asarray(
            net.weight_decay * x
        )
        mean = rows.mean(0)
        apart = rows - mean
        v = jnp.asarray(np.random.default_rng(0).normal(size=net.dim))
        size = 7
        blocks = programs.in_blocks(net, size)
        assert blocks.index.shape == (-(-n // size), size)
        np.testing.assert_allclose(
            jax.jit(programs.hessian_product)(blocks, x, v), dense(net, x) @ v, rtol=1e-9
        )
        np.testing.assert_allclose(
            jax.jit(programs.data_gradient)(blocks, x), mean, rtol=1e-9, atol=1e-12
        )
        second = np.asarray(jax.jit(programs.covariance_product)(blocks, x, v)) - mean * (mean @ v)
        np.testing.assert_allclose(second, apart.T @ (apart @ v) / n, rtol=1e-8, atol=1e-12)
        chosen = jnp.array([0, 5, 17])
        squares, largest, columns = jax.jit(programs.example_moments)(
            blocks, x, jnp.asarray(mean), chosen
        )
        np.testing.assert_allclose(squares, (apart**2).sum(0), rtol=1e-9)
        np.testing.assert_allclose(largest, np.abs(rows).max(0), rtol=1e-9)
        np.testing.assert_allclose(
            np.asarray(columns)[:n], apart[:, [0, 5, 17]], rtol=1e-7, atol=1e-12
        )
        steps = jnp.array([0.3, -0.2, 9.9])
        values = jax.jit(programs.axis_losses)(
            blocks, x, jnp.array([2, 11, 0]), steps, jnp.asarray(2)
        )
        expected = [net.value(x.at[2].add(0.3)), net.value(x.at[11].add(-0.2)), 0.0]
        np.testing.assert_allclose(values, expected, rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_batches_are_reduced_to_what_they_are(network: NetworkLandscape):
    with in_float64(network) as net:
        x, rows = net.minimum, jnp.array([[0, 1, 2], [3, 4, 5], [7, 9, 11]])
        mean = jax.jit(programs.data_gradient)(programs.in_blocks(net, 60), x)
        gradient = jax.jit(type(net).batch_gradient)
        noise = np.stack([gradient(net, x, row) - net.weight_decay * x - mean for row in rows])
        total, logs, moved, values, sizes = jax.jit(programs.batch_noise)(
            net, x, mean, rows, jnp.array([1, 3])
        )
        np.testing.assert_allclose(total, noise.sum(0), atol=1e-12)
        np.testing.assert_allclose(logs, np.log(np.abs(noise)).sum(0), rtol=1e-9)
        np.testing.assert_array_equal(moved, 3)
        np.testing.assert_allclose(values, noise[:, [1, 3]], atol=1e-12)
        ends = np.cumsum([np.prod(shape) for shape in net.shapes])[:-1].astype(int)
        expected = np.stack([(part**2).sum(1) for part in np.split(noise, ends, axis=1)], 1)
        np.testing.assert_allclose(sizes, expected, rtol=1e-9)


def test_covariance_and_alignment_by_products():
    rng = np.random.default_rng(4)
    n, dim = 120, 400
    rows = (
        rng.normal(size=(n, 12))
        * np.geomspace(3, 0.3, 12)
        @ np.linalg.qr(rng.normal(size=(dim, 12)))[0].T
    )
    rows += 0.02 * rng.normal(size=(n, dim))
    apart = rows - rows.mean(0)
    c = apart.T @ apart / n
    h = 0.5 * c + matrix(np.linspace(0.001, 0.02, dim), 5)
    found = gradient_covariance(lambda v: c @ v, np.diag(c), rows.mean(0), n, 6, 0, 0.95)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(c)[::-1][:6], rtol=1e-4)
    assert found.trace == pytest.approx(np.trace(c))
    assert_close(found.squares.value, error(found.squares), np.sum(c * c), 0.02, "squares")
    assert found.effective_rank == pytest.approx(np.trace(c) ** 2 / found.squares.value)
    exactly = dataclasses.replace(found, squares=stats.Estimate(*[float(np.sum(c * c))] * 3))
    curved = spectrum(lambda v: h @ v, dim, 6, 50, 1, 0.95)
    exact = np.sum(c * h) / np.sqrt(np.sum(c * c) * np.sum(h * h))
    for count in (40, n):
        seen = alignment(
            curved,
            exactly,
            lambda v: c @ v,
            lambda i: (apart[i], float(apart[i] @ h @ apart[i])),
            count,
            2,
            0.95,
        )
        if count == n:
            assert seen.factor.value * curved.squares.value == pytest.approx(
                np.sum(c * h), rel=1e-9
            )
        assert_close(seen.cosine.value, error(seen.cosine), exact, 0.05, "cosine")
        assert_close(
            seen.factor.value, error(seen.factor), np.sum(c * h) / np.sum(h * h), 0.05, "factor"
        )
    np.testing.assert_allclose(seen.noise, [u @ c @ u for u in curved.vectors.T])
    assert seen.overlap > 0.95
    assert seen.chance == pytest.approx(6 / dim)


# --- rays and m(W)


@pytest.mark.parametrize("off", [1.0, 1e-7, 3e6])
def test_crossings_of_a_quadratic_from_any_guess(off: float):
    curvature = np.geomspace(1e-4, 1e4, 9)
    exact, evaluations = np.sqrt(2 / curvature), []

    def loss(ray: np.ndarray, r: np.ndarray) -> np.ndarray:
        evaluations.append(ray.size)
        return curvature[ray] * r**2 / 2 - 1

    found = cross(loss, exact * off)
    np.testing.assert_array_equal(found.ray, np.arange(9))
    np.testing.assert_allclose(found.distance, exact, rtol=1e-5)
    assert (found.sign == 1).all()
    if off == 1:
        assert sum(evaluations) < 25 * 9


def test_every_stretch_outside_counts_and_what_never_ends_does_not():
    def value(ray: np.ndarray, r: np.ndarray) -> np.ndarray:
        comes_back = (r - 1) * (r - 2.2) * (r - 3.5)
        ends_in_nan = np.where(r > 0.6, np.nan, -1.0)
        return np.select([ray == 0, ray == 1], [comes_back, ends_in_nan], -1.0)

    found = cross(value, np.ones(3))
    np.testing.assert_allclose(
        found.masses(3, 1.5), [1 - 2.2**-1.5 + 3.5**-1.5, 0.6**-1.5, 0], rtol=1e-4
    )
    np.testing.assert_array_equal(found.returning(3), [True, False, False])
    first = [found.distance[found.ray == ray].min(initial=np.inf) for ray in range(3)]
    np.testing.assert_allclose(first, [1, 0.6, np.inf], rtol=1e-5)


def skewed(dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masses that few coordinates carry, and a prediction that is wrong by a factor of about 1.5
    each."""
    rng = np.random.default_rng(seed)
    masses = np.exp(2 * rng.normal(size=dim))
    masses[rng.random(dim) < 0.2] = 0
    return masses, masses * np.exp(0.4 * rng.normal(size=dim)) + 0.05 * rng.random(dim)


def test_sampled_measure_is_right_and_knows_its_error():
    dim, count, repeats = 2000, 80, 400
    masses, predicted = skewed(dim, 0)
    rng = np.random.default_rng(1)
    found = []
    for _ in range(repeats):
        drawn, chance = draw_axes([predicted, np.roll(predicted, 7)], count, rng)
        found.append(
            axis_measure(masses[drawn], drawn, chance, predicted, np.ones(count), 0.0, 0.95)
        )
    values = np.array([f.measure.value for f in found])
    assert_mean(values, masses.mean(), 0.03, "m(W)")
    covered = np.mean([f.measure.low <= masses.mean() <= f.measure.high for f in found])
    assert_close(covered, np.sqrt(0.95 * 0.05 / repeats), 0.95, 0.06, "coverage")
    # plain sampling of as many coordinates has the variance of the masses over count
    gain = masses.var() / count / values.var(ddof=1)
    claimed = np.median([f.reduction for f in found])
    assert gain > 5
    assert claimed == pytest.approx(gain, rel=5 * np.sqrt(2 / repeats))


@pytest.mark.slow
def test_a_wrong_prediction_costs_accuracy_only():
    dim, count = 1000, 200
    masses, _ = skewed(dim, 2)
    wrong = np.random.default_rng(3).random(dim)
    rng = np.random.default_rng(4)
    values = []
    for _ in range(400):
        drawn, chance = draw_axes([wrong], count, rng)
        values.append(
            axis_measure(
                masses[drawn], drawn, chance, wrong, np.ones(count), 0.0, 0.95
            ).measure.value
        )
    assert_mean(np.array(values), masses.mean(), 0.1, "m(W)")


def test_few_coordinates_are_all_taken():
    masses, predicted = skewed(50, 0)
    drawn, chance = draw_axes([predicted], 50, np.random.default_rng(0))
    found = axis_measure(masses[drawn], drawn, chance, predicted, np.full(50, 4.0), 0.0, 0.95)
    assert found.measure.low == found.measure.high == pytest.approx(masses.mean())
    assert found.relaxation == pytest.approx(0.25)
    negative = axis_measure(masses[drawn], drawn, chance, predicted, np.full(50, -4.0), 0.0, 0.95)
    assert np.isinf(negative.relaxation)


@pytest.mark.slow
def test_isotropic_measure_by_double_sampling():
    rng = np.random.default_rng(0)
    curvature = np.geomspace(0.1, 10, 8)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        v = rng.normal(size=(count, 8))
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        predicted = ((v**2) @ curvature) ** 0.75
        return predicted * (1 + 0.3 * v[:, 0]), predicted

    exact = draw(2_000_000)[1].mean()  # the odd part has no mean
    found = []
    for _ in range(300):
        masses, predicted = draw(500)
        found.append(isotropic_measure(masses[:100], predicted, np.ones(100), 0.0, 0.95))
    values = np.array([f.measure.value for f in found])
    assert_mean(values, exact, 0.02, "m(W)")
    covered = np.mean([f.measure.low <= exact <= f.measure.high for f in found])
    assert_close(covered, np.sqrt(0.95 * 0.05 / 300), 0.95, 0.07, "coverage")
    assert np.median([f.reduction for f in found]) > 1.5


def test_total_tail_is_that_of_the_rays():
    for driver in (StableComponents(alpha=1.3), StableIsotropic(alpha=1.3)):
        for dim in (1, 2, 5):
            assert total_tail(driver, dim) == pytest.approx(
                driver.levy_rays(dim, 64, 0).total(), rel=1e-6
            )
    assert np.isfinite(total_tail(StableIsotropic(alpha=1.9), 10**6))
    with pytest.raises(ValueError, match="alpha = 2 is Gaussian"):
        total_tail(StableComponents(alpha=2.0), 3)
    with pytest.raises(TypeError, match="driver must be a StableComponents or a StableIsotropic"):
        total_tail(ls.Brownian(), 3)


# --- the whole


@pytest.mark.slow
def test_report_of_a_small_network_is_exact(network: NetworkLandscape, report: ls.Diagnosis):
    with in_float64(network) as net:
        x = net.minimum
        h = dense(net, x)
        rows = np.asarray(jax.jit(type(net).example_gradients)(net, x))
        value, slope = float(net.value(x)), np.asarray(net.gradient(x))
    eigenvalues = np.linalg.eigvalsh(h)
    assert report.hessian.exact
    np.testing.assert_allclose(report.hessian.largest, eigenvalues[::-1][:5], rtol=1e-8)
    assert report.hessian.smallest == pytest.approx(eigenvalues[0], rel=1e-6)
    np.testing.assert_allclose(report.hessian.diagonal, np.diag(h), rtol=1e-9)
    apart = rows - rows.mean(0)
    c = apart.T @ apart / N
    np.testing.assert_allclose(report.covariance.variance, np.diag(c), rtol=1e-9)
    np.testing.assert_allclose(
        report.covariance.eigenvalues, np.linalg.eigvalsh(c)[::-1][:5], rtol=1e-8
    )
    cosine = np.sum(c * h) / np.sqrt(np.sum(c * c) * np.sum(h * h))
    assert report.alignment.cosine.value == pytest.approx(cosine, rel=1e-8)
    assert report.alignment.cosine.low == report.alignment.cosine.high
    assert report.loss == pytest.approx(value, rel=1e-9)
    assert report.gradient_norm == pytest.approx(np.linalg.norm(slope), rel=1e-6, abs=1e-12)
    factor = (N - 10) / (N - 1) / 10
    assert report.excess == pytest.approx(0.05 * np.trace(c) * factor / 4, rel=0.02)
    sigma = ls.theory.sgd_covariance(h, c * factor, learning_rate=0.05).position
    assert report.excess == pytest.approx(np.trace(h @ sigma) / 2, rel=1e-3)


def test_loss_held_up_by_the_noise_is_that_of_discrete_sgd():
    curvature, c = np.array([3.0, 0.5]), np.array([[0.4, 0.1], [0.1, 0.2]])
    one = stats.Estimate(1.0, 1.0, 1.0)
    known = Alignment(one, one, curvature, np.diag(c), 1.0, 1.0)
    for eta in (1e-3, 0.3, 0.6):
        sigma = ls.theory.sgd_covariance(np.diag(curvature), 0.1 * c, learning_rate=eta).position
        assert lifted(eta, known, 0.06, 0.1) == pytest.approx(
            curvature @ np.diag(sigma) / 2, rel=1e-9
        )
    assert lifted(0.7, known, 0.06, 0.1) == np.inf


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_measure_and_times_are_those_of_the_escape_law(
    network: NetworkLandscape, report: ls.Diagnosis, name: str
):
    scale = report.tails.scale(ALPHA)
    driver = ls.StableComponents(alpha=ALPHA)
    if name == "sgd":
        dynamics = ls.SGD(network, driver, learning_rate=0.05, scale=scale)
    else:
        variance = report.covariance.variance * report.covariance.batch_factor(10)
        dynamics = ls.Adam(
            network,
            driver,
            learning_rate=0.05,
            scale=scale,
            gradient_variance=variance,
            delta=report.delta,
        )
    law = ls.escape_law(dynamics, ls.Sublevel(network, height=HEIGHT), check=False)
    found, predicted = report.measures[name], report.predictions[name]
    assert found.measure.value == pytest.approx(law.measure, rel=2e-4)
    assert found.measure.low == found.measure.high
    assert found.rays == 2 * network.dim
    assert predicted.rate == pytest.approx(law.rate, rel=2e-4)
    assert predicted.mean.value == pytest.approx(law.mean / 0.05, rel=2e-4)
    assert predicted.regime == pytest.approx(law.regime, rel=1e-3)
    assert predicted.epsilon == pytest.approx(law.epsilon, rel=1e-5)


@pytest.mark.slow
def test_descent_left_is_that_of_the_quadratic():
    features = np.random.default_rng(0).normal(size=(40, 3))
    net = from_network(
        lambda p, x, y: (x @ p - y) ** 2 / 2, np.ones(3), features, np.ones(40), weight_decay=0.1
    )
    with in_float64(net) as precise:
        model = Products(precise, 2**30)
        h, g = dense(precise, precise.minimum), np.asarray(precise.gradient(precise.minimum))
        np.testing.assert_allclose(model.slope, g, rtol=1e-9)
        fall, kink = descent_left(model, np.linalg.eigvalsh(h)[-1])
        assert fall == pytest.approx(g @ np.linalg.solve(h, g) / 2, rel=1e-9)
        assert not kink


def test_at_a_saddle_the_descent_is_walked():
    def valley(params, x, y):  # minima at +-1 along the first axis, F = -1/4 there
        u = params[0] ** 2
        return u * u / 4 - u / 2 + params[1] ** 2 + 0 * y + 0.01 * x * params[1]

    net = from_network(valley, np.array([0.05, 0.0]), np.array([1.0, -1.0]), np.zeros(2))
    with in_float64(net) as precise:
        model = Products(precise, 2**30)
        fall = model.loss + 0.25
        largest = np.linalg.eigvalsh(dense(precise, precise.minimum))[-1]
        assert descent_left(model, largest) == (pytest.approx(fall, rel=1e-6), False)
        place, again = model.descend(100)
    np.testing.assert_allclose(place, [1, 0], atol=1e-6)
    assert again == pytest.approx(fall, rel=1e-9)


def test_settle_brings_the_point_to_its_minimum(network: NetworkLandscape):
    away = jax.tree.map(lambda leaf: leaf + 0.05, parameters(network))
    found = ls.diagnose(
        loss,
        away,
        data(),
        batch_size=10,
        weight_decay=DECAY,
        num_batches=400,
        settle=500,
        num_escapes=0,
    )
    np.testing.assert_allclose(found.landscape.minimum, network.minimum, atol=1e-3)
    assert found.gradient_norm < 1e-5
    assert found.descent < 1e-6 * found.height
    assert found.measures


@pytest.mark.slow
def test_scale_and_index_of_planted_layers():
    """Batches of one: the noise is the data, here one Gaussian layer and one of index 1.3."""
    rng = np.random.default_rng(2)
    words = jnp.asarray(rng.integers(0, 2**32, (2, 6000, 6), dtype=np.uint32))
    heavy = np.asarray(stable(words[0], words[1], jnp.asarray(1.3, dtype=float)), float)
    features = np.concatenate([rng.normal(size=(6000, 6)), 0.1 * heavy], 1)
    features -= features.mean(0)  # the point is the minimum

    def linear(params, x, y):
        return x[:6] @ params["a"] + x[6:11] @ params["b"] + 0 * params["b"][0] * x[11]

    params = {"a": np.zeros(6), "b": np.zeros(5), "dead": np.zeros(2)}
    found = ls.diagnose(
        linear,
        params,
        (features, np.zeros(6000)),
        batch_size=1,
        num_batches=2500,
        weight_decay=1.0,
        alpha=1.3,
        basin_height=0.5,
    )
    gaussian, stable_layer, dead = found.tails.layers
    assert [row.name for row in found.tails.layers] == ["a", "b", "dead"]
    assert gaussian.index.value == pytest.approx(2, abs=0.1)
    assert stable_layer.index.value == pytest.approx(1.3, abs=0.1)
    # at 95% five coordinates say nothing of where their median lies
    assert (stable_layer.index.low, stable_layer.index.high) == (0.0, np.inf)
    assert stable_layer.norm.low < 1.3 < stable_layer.norm.high
    assert np.isnan(dead.index.value)
    assert dead.variance == 0
    np.testing.assert_array_equal(found.covariance.variance == 0, [False] * 11 + [True] * 2)
    scale = found.tails.scale(1.3)
    # log-moment standard error at n = 2500: 0.03
    np.testing.assert_allclose(scale[6:11], 0.1, rtol=0.15)
    np.testing.assert_array_equal(scale[11:], 0)
    # the loss is linear and the decay is the Hessian: a ball of radius sqrt(2 h)
    exact = (scale**2 / (2 * found.height)) ** 0.65
    assert found.measures["sgd"].measure.value == pytest.approx(exact.mean(), rel=1e-4)
    assert found.measures["sgd"].quadratic == pytest.approx(exact.mean(), rel=1e-4)
    assert found.predictions == {}
    assert any("no learning rate" in warning for warning in found.warnings)
    np.testing.assert_array_equal(quadratic_masses(scale, np.full(13, -1.0), 1.0, 1.3), 0)


def quick(network: NetworkLandscape, **arguments) -> ls.Diagnosis:
    settings = {
        "batch_size": 10,
        "weight_decay": DECAY,
        "num_batches": 400,
        "num_escapes": 0,
    } | arguments
    return ls.diagnose(loss, parameters(network), data(), **settings)


@pytest.mark.slow
def test_isotropic_noise_against_the_escape_law(network: NetworkLandscape):
    found = quick(
        network,
        alpha=ALPHA,
        basin_height=HEIGHT,
        stable_noise="isotropic",
        num_rays=200,
        learning_rate=0.05,
    )
    dynamics = ls.SGD(
        network, ls.StableIsotropic(alpha=ALPHA), learning_rate=0.05, scale=found.tails.scale(ALPHA)
    )
    law = ls.escape_law(dynamics, ls.Sublevel(network, height=HEIGHT), num_rays=1024, check=False)
    m = found.measures["sgd"]
    assert_close(m.measure.value, error(m.measure), law.measure, 0.2, "m(W)")
    assert m.reduction > 1.5
    assert found.predictions["sgd"].rate == pytest.approx(
        law.rate * m.measure.value / law.measure, rel=1e-4
    )
    assert found.predictions["sgd"].regime == pytest.approx(law.regime, rel=0.3)


def escapes(network: NetworkLandscape, num: int) -> ls.Diagnosis:
    found = quick(network, learning_rate=1.0, basin_height=0.01, num_escapes=num, seed=3)
    s = found.simulated
    assert s is not None
    assert s.num == num
    assert s.exits > num / 2
    assert s.result.info.unit == "iterations"
    assert f"{s.exits} of {num} left" in repr(found)
    return found


@pytest.mark.slow
def test_the_real_optimiser_is_simulated_from_the_point(network: NetworkLandscape):
    found = escapes(network, 20)
    assert found.measured
    plots.escape_times(found).figure.canvas.draw()


@pytest.mark.slow
def test_simulated_escapes_are_those_of_a_run_by_hand(network: NetworkLandscape):
    s = escapes(network, 200).simulated
    assert s is not None
    kernel = ls.OptimizerKernel(optax.sgd(1.0), network, 10)
    domain = ls.Sublevel(network, height=0.01)
    direct = ls.simulate_escape(
        kernel, domain, network.minimum, num=400, seed=0, max_steps=s.longest
    )
    same = stats.mean_ratio(s.result.time, s.result.exited, direct.time, direct.exited)
    assert_close(
        np.log(same.value) + 1,
        np.log(same.high / same.low) / 3.92,
        1,
        0.6,
        "mean over that of a run by hand",
    )


@pytest.mark.slow
def test_adam_starts_with_its_averages_at_rest(network: NetworkLandscape):
    found = quick(network, optimizer="adam", learning_rate=0.05, basin_height=0.02, num_escapes=10)
    assert found.simulated is not None, found.left_out
    rested = settled(
        ls.OptimizerKernel("adam", network, 10, hyperparameters={"learning_rate": 1e-3}), 0
    )
    second = rested.start[0].nu
    variance = found.tree(found.covariance.variance * found.covariance.batch_factor(10))
    for seen, expected in zip(jax.tree.leaves(second), jax.tree.leaves(variance), strict=True):
        # 1 - beta^3000 is .95; v is a mean over some 2000 squares
        np.testing.assert_allclose(seen / 0.95, expected, rtol=0.3)


def test_what_cannot_be_afforded_is_left_out_and_said(network: NetworkLandscape):
    noisy = optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(0)), optax.sgd(1e-4))
    found = quick(network, optimizer=noisy, learning_rate=1e-4, num_escapes=10, time_budget=1e-6)
    assert found.simulated is None
    assert "over time_budget=1e-06. Type time_budget=" in found.left_out
    enough = float(re.search(r"Type time_budget=([0-9.]+), ", found.left_out)[1])
    needed = float(re.search(r"take about (\S+) s", found.left_out)[1])
    assert 1.15 * needed < enough < 1.4 * needed
    assert found.left_out.endswith("or fewer num_escapes")
    assert found.left_out in " ".join(repr(found).split())  # lines are wrapped
    assert found.optimizer == "optax"
    assert any("random key" in warning for warning in found.warnings)
    assert found.predictions == {}
    assert any("no escape law is known for this optimiser" in warning for warning in found.warnings)


@pytest.mark.slow
def test_an_optimiser_without_a_law_is_simulated_and_not_predicted(network: NetworkLandscape):
    """The law of SGD at the same number says 3.4 million iterations, and left such runs out."""
    adam = optax.adam(0.2)
    found = quick(
        network,
        optimizer=adam,
        learning_rate=1e-3,
        basin_height=0.02,
        num_escapes=40,
        time_budget=20.0,
    )
    assert found.optimizer == "optax"
    assert found.predictions == {}
    assert "predicted mean" not in repr(found)
    assert found.simulated is not None, found.left_out
    assert found.simulated.exits > 20
    domain = ls.Sublevel(network, height=0.02)
    direct = ls.simulate_escape(
        ls.OptimizerKernel(adam, network, 10), domain, network.minimum, num=400, seed=5
    )
    ours, theirs = found.simulated.result, direct
    same = stats.mean_ratio(ours.time, ours.exited, theirs.time, theirs.exited)
    assert_close(
        np.log(same.value) + 1,
        np.log(same.high / same.low) / 3.92,
        1,
        1.0,
        "mean over that of a run by hand",
    )


def test_a_law_that_is_far_too_long_does_not_stop_the_simulation(
    network: NetworkLandscape, monkeypatch
):
    module = importlib.import_module("levysde.networks.diagnose")
    monkeypatch.setattr(module, "expected_iterations", lambda request, predictions: 1e12)
    found = quick(network, learning_rate=1.0, basin_height=0.01, num_escapes=20, time_budget=20.0)
    assert found.simulated is not None, found.left_out
    assert found.simulated.exits > 10
    assert any(
        "of the predicted one: the law of single jumps does not" in warning
        for warning in found.warnings
    )


@pytest.mark.slow
def test_a_pilot_without_exits_says_how_long_escapes_take_at_least(network: NetworkLandscape):
    momentum = optax.sgd(1e-3, momentum=0.5)
    found = quick(network, optimizer=momentum, num_escapes=100, time_budget=5.0, basin_height=1.0)
    assert found.simulated is None
    steps = int(
        re.search(
            r"none of 16 pilot trajectories left within ([0-9,]+) "
            r"it",
            found.left_out,
        )[1].replace(",", "")
    )
    above = int(re.search(r"the mean is above ([0-9,]+) ", found.left_out)[1].replace(",", ""))
    assert above == pytest.approx(16 * steps / 3, rel=0.01)
    assert re.search(
        r"over time_budget=5. Type time_budget=\S+ or more, a lower "
        r"basin_height",
        found.left_out,
    )


@pytest.mark.parametrize(
    ("transformation", "rate"),
    [
        (optax.sgd(0.1), 0.1),
        (optax.chain(optax.identity(), optax.scale(-0.3)), 0.3),
        (optax.sgd(0.1, momentum=0.9), None),
        (optax.sgd(optax.linear_schedule(0.1, 0.0, 100)), None),
        (optax.chain(optax.clip(1.0), optax.sgd(0.1)), None),
        (optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)), None),
        (optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)), None),
        (optax.chain(optax.sgd(0.1), optax.scale_by_sign()), None),
        (optax.adam(0.1), None),
        (optax.sgd(-0.1), None),
    ],
)
def test_plain_sgd_is_known_by_what_it_does(
    transformation: optax.GradientTransformation, rate: float | None
):
    assert sgd_rate(transformation, 5) == (None if rate is None else pytest.approx(rate, rel=1e-5))


def test_plain_sgd_from_optax_has_the_law_of_its_own_rate(
    network: NetworkLandscape, report: ls.Diagnosis
):
    given = {
        "alpha": ALPHA,
        "basin_height": HEIGHT,
        "num_escapes": 0,
        "num_rays": 256,
        "num_eigenvalues": 5,
    }
    found = quick(network, optimizer=optax.sgd(0.05), **given)
    assert (found.optimizer, found.learning_rate) == ("sgd", pytest.approx(0.05))
    assert found.predictions["sgd"].mean.value == pytest.approx(
        report.predictions["sgd"].mean.value, rel=1e-4
    )
    with pytest.raises(
        ValueError,
        match=r"learning_rate = 0.1, but the optimizer is plain SGD at the learning "
        r"rate 0.05",
    ):
        quick(network, optimizer=optax.sgd(0.05), learning_rate=0.1)
    with pytest.raises(TypeError, match="gradient_transformation"):
        quick(network, optimizer=optax.MultiSteps(optax.sgd(0.05), 3))


# --- a basin lower than what the noise holds up ---


def test_loss_held_up_by_adam_is_that_of_its_stationary_covariance():
    """tr(HV)/2 with `PHV + VHP = eta P C P`, solved densely in the coordinates where PH is
    symmetric."""
    rng = np.random.default_rng(2)
    root = rng.normal(size=(4, 4))
    h, eta, delta = root @ root.T + np.eye(4), 1e-3, 1e-8
    c = np.diag(rng.uniform(0.1, 2.0, 4)) + 0.05
    p = np.diag(1 / (np.sqrt(np.diag(c)) + delta))
    v = scipy.linalg.solve_continuous_lyapunov(p @ h, eta * p @ c @ p)
    assert adam_lift(eta, np.diag(c), delta) == pytest.approx(np.trace(h @ v) / 2, rel=1e-9)


@pytest.mark.slow
def test_a_basin_that_the_noise_fills_is_hardly_one(network: NetworkLandscape):
    """ADAM of learning rate 0.01 holds the loss up by 0.0026, by formula and by a run."""
    kernel = ls.OptimizerKernel("adam", network, 10, hyperparameters={"learning_rate": 0.01})
    run = np.array([measured_lift(settled(kernel, seed), 1000, seed) for seed in range(6)])
    low = quick(network, optimizer="adam", learning_rate=0.01, basin_height=0.004, num_escapes=0)
    assert_close(run.mean(), run.std() / np.sqrt(5), low.excess, 0.35, "held up")
    assert any(
        w.startswith(
            "there is hardly a basin: the noise of the optimiser holds the loss up by "
            f"{low.excess:.2g}, "
        )
        and f"Type basin_height={2.5 * low.excess:.2g} or more" in w
        for w in low.warnings
    )
    assert "excess loss from the noise (ADAM)" in repr(low)
    high = quick(network, optimizer="adam", learning_rate=0.01, basin_height=0.04, num_escapes=0)
    assert not any("hardly a basin" in w for w in high.warnings)
    fast = quick(
        network, optimizer=optax.adam(0.3), basin_height=0.02, num_escapes=16, time_budget=10.0
    )
    assert any(
        "there is hardly a basin: the noise of the optimiser holds the loss up by" in w
        for w in fast.warnings
    )
    assert "excess loss from the noise (measured)" in repr(fast)


# --- the point ---


def test_advice_does_not_repeat_what_was_given(network: NetworkLandscape):
    away = jax.tree.map(lambda leaf: leaf + 1.0, parameters(network))
    given = {"batch_size": 10, "num_batches": 400, "num_escapes": 0, "basin_height": 0.02}
    plain = ls.diagnose(loss, away, data(), **given)
    assert any(
        "Type settle=1000" in w and "add weight_decay, for example" in w for w in plain.warnings
    )
    tried = ls.diagnose(loss, away, data(), settle=1, weight_decay=DECAY, **given)
    about = [
        w
        for w in tried.warnings
        if "settle=1 did not reach a minimum. Type settle=10, train longer" in w
    ]
    assert about
    assert all(w.endswith("or raise weight_decay from 0.05.") for w in about)
    assert not any("settle=1000" in w or "add weight_decay" in w for w in tried.warnings)


@pytest.mark.slow
def test_a_kink_is_named_where_the_loss_does_not_fall_as_its_gradient_says():
    model = eqx.nn.MLP(IN, "scalar", 8, 1, key=jax.random.key(0))
    x, y = data()
    found = ls.diagnose(
        lambda net, row, target: (net(row) - target) ** 2,
        model,
        (x, x[:, 0] + 0.7 * x[:, 1] * x[:, 2] + y),
        batch_size=10,
        weight_decay=0.01,
        settle=1000,
        num_escapes=0,
        num_batches=400,
    )
    assert found.kink
    assert any(
        "the loss has a kink at the point" in w and "jax.nn.softplus" in w for w in found.warnings
    )
    assert not any(
        "settle=" in w or "add weight_decay" in w or "saddle" in w for w in found.warnings
    )
    assert found.layers[0] == ("layers.0.weight", 32)
    assert found.tree(found.covariance.variance)(jnp.ones(IN)).shape == ()  # a model again


def test_a_point_off_the_minimum_is_told(network: NetworkLandscape):
    away = jax.tree.map(lambda leaf: leaf + 1.0, parameters(network))
    found = ls.diagnose(
        loss, away, data(), batch_size=10, weight_decay=DECAY, num_batches=400, learning_rate=0.1
    )
    assert found.descent > found.height
    assert found.measures == {}
    assert found.predictions == {}
    assert found.simulated is None
    assert any(
        "not near a minimum" in warning and "settle=1000" in warning for warning in found.warnings
    )
    assert "left out: the point is not near a minimum" in repr(found)
    plots.diagnosis(found).canvas.draw()


def test_one_seed_one_report_whatever_the_budget(network: NetworkLandscape, report: ls.Diagnosis):
    again = quick(
        network,
        learning_rate=0.05,
        alpha=ALPHA,
        basin_height=HEIGHT,
        num_eigenvalues=5,
        memory_budget=0.02,
        num_rays=16,
    )
    np.testing.assert_array_equal(again.tails.mean_log, report.tails.mean_log)
    np.testing.assert_allclose(again.hessian.largest, report.hessian.largest, rtol=1e-10)
    assert again.memory_bytes < 0.02 * 2**30
    m, exact = again.measures["sgd"], report.measures["sgd"].measure.value
    assert m.rays < 2 * network.dim
    assert_close(m.measure.value, error(m.measure), exact, 0.3, "m(W) of 16 coordinates")


def test_table_and_tree(network: NetworkLandscape, report: ls.Diagnosis):
    text = repr(report)
    assert text.startswith("Diagnosis of 18 parameters on 60 examples")
    for part in (
        "trace of C1",
        "cosine of C1",
        "tail index",
        "m(W) of SGD",
        "predicted mean, ADAM",
        "layer in.b",
    ):
        assert part in text
    assert f"{report.alignment.cosine.value:.4g} [" not in text  # exact
    assert "index of its norm" in text
    assert "left out: num_escapes=0" in text
    assert f"{HEIGHT}; basin_height=" in text
    assert report.layers == (("in.b", 3), ("in.w", 12), ("out", 3))
    tree = report.tree(report.covariance.variance)
    assert jax.tree.map(jnp.shape, tree) == jax.tree.map(jnp.shape, parameters(network))
    np.testing.assert_allclose(tree["out"], report.covariance.variance[15:], rtol=1e-6)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.alpha = 1.0


def test_figures_draw_the_report(report: ls.Diagnosis):
    settings = dict(mpl.rcParams)
    figure = plots.diagnosis(report)
    figure.canvas.draw()
    assert dict(mpl.rcParams) == settings
    assert len(figure.axes) == 5
    for ax in figure.axes[:3]:  # each legend under its own panel
        below = ax.get_legend().get_window_extent()
        assert ax.bbox.x0 <= below.x0 <= below.x1 <= ax.bbox.x1
    assert all(ax.get_tightbbox().x1 <= figure.bbox.x1 + 1 for ax in figure.axes)
    figure, ax = plt.subplots()
    assert plots.noise_alignment(report, ax=ax) is ax
    np.testing.assert_allclose(ax.lines[0].get_xdata(), report.alignment.curvature)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), report.alignment.noise)
    line = plots.hessian_spectrum(report).lines[0]
    np.testing.assert_allclose(line.get_xdata(), np.arange(19) + 0.5)
    np.testing.assert_allclose(line.get_ydata()[:-1], report.hessian.nodes[::-1])
    rough = dataclasses.replace(  # a density whose largest nodes weigh next to nothing
        report.hessian,
        exact=False,
        nodes=np.array([0.5, 0.9, 1.0]) * report.hessian.largest[-1] * [0.1, 2, 3],
        weights=np.array([0.98, 0.01, 0.01]),
    )
    line, dots = plots.hessian_spectrum(dataclasses.replace(report, hessian=rough)).lines[:2]
    np.testing.assert_allclose(line.get_ydata()[: len(dots.get_ydata())], dots.get_ydata())
    np.testing.assert_allclose(line.get_xdata()[[0, 1, -1]], [0.5, 1.5, 18.5])
    masses = plots.basin_masses(report).lines[0]
    np.testing.assert_allclose(masses.get_ydata().mean(), report.measures["sgd"].measure.value)
    names = [text.get_text() for text in plots.tail_indices(report).get_yticklabels()]
    assert names == ["all", "in.b", "in.w", "out"]
    assert (
        plots.escape_times(report).get_xlabel()
        == "mean escape time\n(iterations at learning rate 0.05)"
    )
    with pytest.raises(TypeError, match="report must be a Diagnosis, not int"):
        plots.tail_indices(3)


# --- what is refused


def mean_loss(params, x, y):
    return jnp.mean(jax.vmap(loss, (None, 0, 0))(params, x, y))


def normalised(params, x, y):
    return jax.vmap(loss, (None, 0, 0))(params, x - x.mean(0)[None], y)


BAD = [
    ({"loss_fn": 3}, TypeError, "loss_fn must be a function, not 3"),
    ({"loss_fn": mean_loss}, TypeError, "loss_fn fails on one example"),
    ({"loss_fn": lambda p, x, y: x}, TypeError, "must return one real number for each example"),
    ({"loss_fn": mean_loss, "batched": True}, TypeError, "seems to take their mean"),
    ({"loss_fn": normalised, "batched": True}, ValueError, "loss_fn mixes examples"),
    ({"data": (np.ones((5, IN)), np.ones(4))}, ValueError, "5 inputs but 4 targets"),
    ({"data": 3}, TypeError, r"data must be \(inputs, targets\)"),
    ({"data": (np.ones((5, IN)),)}, TypeError, "not tuple of 1"),
    ({"data": (np.zeros((0, IN)), np.zeros(0))}, ValueError, "data hold no examples"),
    ({"data": ([[1.0], [1.0, 2.0]], [0.0, 1.0])}, ValueError, "data are no arrays"),
    ({"data": (["a", "b"], [0.0, 1.0])}, TypeError, "data must be numbers"),
    ({"loss_fn": lambda p, x, y: 1 / 0}, TypeError, "ZeroDivisionError"),
    ({"loss_fn": lambda p, x, y: jnp.nan * loss(p, x, y)}, ValueError, "the loss is not finite"),
    ({"batch_size": N}, ValueError, f"batch_size = {N}, but there are {N} examples"),
    ({"batch_size": 10 * N}, ValueError, "none is larger"),
    ({"batch_size": 2.5}, TypeError, "batch_size must be an integer"),
    (
        {"params": {"w": jnp.arange(3)}},
        TypeError,
        r"params\['w'\] is of int32, and only real parameters",
    ),
    ({"optimizer": "lion"}, ValueError, '"sgd", "adam" or an optax'),
    ({"optimizer": optax.adam}, TypeError, "optax GradientTransformation, not <function"),
    (
        {"optimizer": optax.GradientTransformation(lambda p: "text", lambda g, s, p=None: (g, s))},
        TypeError,
        "arrays only",
    ),
    ({"learning_rate": -1.0}, ValueError, "learning_rate must be positive"),
    ({"alpha": 2.0}, ValueError, "alpha = 2 is Gaussian"),
    ({"alpha": 2.5}, ValueError, "alpha must lie in"),
    ({"stable_noise": "pink"}, ValueError, "stable_noise must be"),
    ({"basin_height": 0.0}, ValueError, "basin_height must be positive"),
    ({"num_batches": 10}, ValueError, "num_batches must be at least 400"),
    ({"num_rays": 4}, ValueError, "num_rays must be at least 16"),
    ({"memory_budget": 1e-6}, ValueError, "memory_budget = 1e-06 GiB, but 18 parameters take"),
    ({"confidence": 1.0}, ValueError, "confidence must lie strictly"),
    ({"seed": -1}, ValueError, "seed must be"),
]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"), BAD, ids=[str(list(bad[0])[-1]) + bad[2][:18] for bad in BAD]
)
def test_bad_input_is_told_what_to_type(arguments: dict, kind: type[Exception], message: str):
    given = {"loss_fn": loss, "params": start(), "data": data(), "batch_size": 10} | arguments
    with pytest.raises(kind, match=message):
        ls.diagnose(**given)


def test_examples_that_do_not_differ_have_no_noise():
    with pytest.raises(ValueError, match="all examples have the same gradient"):
        ls.diagnose(loss, start(), (np.ones((8, IN)), np.ones(8)), batch_size=2, num_batches=400)


def test_a_program_past_its_limit_is_refused_with_both_numbers(network: NetworkLandscape):
    def make(size: int):
        return "program", 1000 * size + 500

    assert programs.fitting(make, 64, 10_000, "a test")[0] <= 9
    assert programs.fitting(make, 64, 10**6, "a test") == (64, "program", 64_500)
    with pytest.raises(
        ValueError,
        match=r"memory_budget leaves .* GiB for a test, which takes .* even for one example",
    ):
        programs.fitting(make, 64, 1200, "a test")
    with pytest.raises(ValueError, match="a product with the Hessian"):
        Products(network, 8)


@pytest.mark.slow
def test_one_array_of_data_is_enough():
    points = np.random.default_rng(0).normal(size=(30, 3)) + 1

    def distance(params, x):
        return jnp.sum((x - params) ** 2) / 2

    found = ls.diagnose(
        distance, points.mean(0), points, batch_size=5, num_batches=400, num_escapes=0, alpha=1.5
    )
    np.testing.assert_allclose(found.hessian.largest, 1, rtol=1e-9)
    np.testing.assert_allclose(found.covariance.variance, points.var(0), rtol=1e-6)
    exact = (found.tails.scale(1.5) ** 2 / (2 * found.height)) ** 0.75
    assert found.measures["sgd"].measure.value == pytest.approx(exact.mean(), rel=1e-4)


def test_index_of_growth_is_the_block_estimator_on_sizes():
    x = np.random.default_rng(0).normal(size=(900, 4))
    blocks = x.reshape(30, 30, 4)
    sizes = np.linalg.norm(blocks, axis=2), np.linalg.norm(blocks.sum(1), axis=1)
    whole, parts = stats.block_log_moment_index(x, block=30), stats.index_of_growth(*sizes)
    assert (whole.value, whole.low, whole.high) == pytest.approx(
        (parts.value, parts.low, parts.high), rel=1e-12
    )
    with pytest.raises(ValueError, match="shapes"):
        stats.index_of_growth(sizes[0], sizes[1][:5])


def test_a_flat_vector_is_told_to_be_unflattened(network: NetworkLandscape):
    with pytest.raises(
        TypeError,
        match=rf"one flat vector of {network.dim} numbers.*give network.unflatten\(params\)",
    ):
        ls.diagnose(loss, network.minimum, data(), batch_size=10)
