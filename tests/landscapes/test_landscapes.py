"""Landscapes: stationary points with the Hessians they should have, known values, and losses
computed another way."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import levysde as ls
from levysde.interfaces import is_lane_invariant
from levysde.landscapes.function import check_minimum
from levysde.protocols import Landscape

TARGET = jnp.array([[2.0, 0.5, 0.0], [0.0, 1.0, -0.3]])
SYNTHETIC = {
    "StyblinskiTang": ls.StyblinskiTang(3, hessian_factor=2.5),
    "Rastrigin": ls.Rastrigin(3, amplitude=4.0),
    "MuellerBrown": ls.MuellerBrown(loss_factor=0.01),
    "WellChain": ls.WellChain(
        [-2, -1, 0.5, 1.5, 3],
        [0.0, 1.0, 0.2, 0.8, -0.5],
        [4.0, -3.0, 3.0, -2.0, 2.5],
        dim=2,
        marked=1,
    ),
    "AsymmetricValley": ls.AsymmetricValley(left=8.0, right=0.5, smoothing=0.2, dim=2),
    "DeepLinear": ls.DeepLinear((3, 2, 3, 2), TARGET, weight_decay=0.1),
    "MatrixSensing": ls.MatrixSensing(4, rank=2, measurements=40),
    "DoubleWell": ls.DoubleWell(barrier=0.7, distance=1.3, stiffness=2.0, dim=2),
    "Modified": ls.Modified(ls.Rastrigin(2, amplitude=4.0), learning_rate=0.003),
    "Quadratic": ls.Quadratic(hessian=jnp.array([[2.0, 0.5], [0.5, 1.0]])),
    "Rescaled": ls.rescaled(
        ls.DoubleWell(barrier=0.7, distance=1.3, stiffness=2.0, dim=2), hessian_factor=1.7
    ),
}
# tests/test_dynamics.py and tests/test_network.py
OTHERS = {"FunctionLandscape", "NetworkLandscape"}


def final_classes(interface):
    found = set()
    for child in interface.__subclasses__():
        below = final_classes(child)
        found |= below or {child}
    return {c for c in found if c.__module__.startswith("levysde.")}


def test_every_landscape_is_in_the_suite():
    assert {c.__name__ for c in final_classes(Landscape)} == set(SYNTHETIC) | OTHERS


@pytest.mark.parametrize("name", SYNTHETIC)
@pytest.mark.slow_cases("DeepLinear", "MatrixSensing", "Modified", "MuellerBrown", "WellChain")
def test_conformance(name):
    well = SYNTHETIC[name]
    points = jnp.asarray(np.random.default_rng(0).normal(size=(4, well.dim)), dtype=float)
    step = 1e-2
    value, gradient, hessian = map(eqx.filter_jit, (well.value, well.gradient, well.hessian))
    derivative = jax.jit(jax.jacfwd(well.gradient))
    for x, v in zip(points, points[::-1], strict=True):
        slope = (value(x + step * v) - value(x - step * v)) / (2 * step)
        size = float(jnp.linalg.norm(gradient(x)) * jnp.linalg.norm(v))
        np.testing.assert_allclose(jnp.sum(gradient(x) * v), slope, atol=2e-2 * size + 1e-3)
        np.testing.assert_allclose(hessian(x), derivative(x), rtol=1e-3, atol=1e-3)
    assert well.minimum.shape == (well.dim,)
    check_minimum(well, well.minimum)
    assert is_lane_invariant(well.gradient, well.minimum)
    assert is_lane_invariant(well.value, well.minimum)
    lanes = jax.jit(jax.vmap(well.value, in_axes=-1, out_axes=-1))(points.T)
    np.testing.assert_allclose(lanes, jax.jit(jax.vmap(well.value))(points), rtol=1e-4, atol=1e-5)


@pytest.mark.slow_cases("MuellerBrown", "StyblinskiTang")
@pytest.mark.parametrize(
    "name", ["StyblinskiTang", "Rastrigin", "MuellerBrown", "WellChain", "DoubleWell"]
)
def test_minima_and_saddles(name):
    well = SYNTHETIC[name]
    assert any(np.allclose(point, well.minimum) for point in well.minima)
    for negative, points in ((0, well.minima), (1, well.saddles)):
        for x in points:
            eigenvalues = np.linalg.eigvalsh(well.hessian(x))
            assert np.linalg.norm(well.gradient(x)) < 3e-5 * np.abs(eigenvalues).max() * (
                1 + np.linalg.norm(x)
            )
            assert (eigenvalues < 0).sum() == negative, (x, eigenvalues)


@pytest.mark.slow
def test_known_values():
    tang = ls.StyblinskiTang(2)
    # the published minimum a dimension
    assert tang.value(tang.minimum) == pytest.approx(2 * -39.16617, rel=1e-6)
    sharp = ls.StyblinskiTang(2, hessian_factor=9.0)
    np.testing.assert_allclose(sharp.minimum, tang.minimum / 3, rtol=1e-6)
    np.testing.assert_allclose(
        sharp.hessian(sharp.minimum), 9 * tang.hessian(tang.minimum), rtol=1e-4
    )
    assert len(tang.minima) == 4
    assert len(tang.saddles) == 4
    brown = ls.MuellerBrown()
    np.testing.assert_allclose(
        [brown.value(x) for x in brown.minima], [-146.6995, -108.1667, -80.7678], atol=2e-3
    )
    np.testing.assert_allclose(
        [brown.value(x) for x in brown.saddles], [-40.6648, -72.2489], atol=2e-3
    )
    np.testing.assert_allclose(brown.minima[0], [-0.558224, 1.441726], atol=1e-5)
    ripples = ls.Rastrigin(2)
    # x^2 at integer points
    assert ripples.value(jnp.array([1.0, -2.0])) == pytest.approx(5.0, abs=1e-4)
    assert ripples.value(jnp.array([0.5, 0.0])) == pytest.approx(20.25, abs=1e-4)
    np.testing.assert_allclose(ripples.minima[1], [0.994959, 0], atol=1e-5)


@pytest.mark.slow
def test_a_chain_is_what_its_numbers_say():
    chain = SYNTHETIC["WellChain"]
    first = jnp.stack([chain.minima, chain.minima])[0]
    np.testing.assert_allclose([chain.value(x) for x in first], [0.0, 0.2, -0.5], atol=1e-6)
    np.testing.assert_allclose([chain.value(x) for x in chain.saddles], [1.0, 0.8], atol=1e-6)
    np.testing.assert_allclose(
        [chain.hessian(x)[0, 0] for x in chain.saddles], [-3.0, -2.0], rtol=1e-4
    )
    grid = jnp.linspace(-3, 4, 1401)
    values = jax.vmap(lambda u: chain.value(jnp.stack([u, 0.0 * u])))(grid)
    turns = np.flatnonzero(np.diff(np.sign(np.diff(np.asarray(values, float)))))
    assert len(turns) == 5  # no other stationary point
    slopes = jax.vmap(lambda u: chain.hessian(jnp.stack([u, 0.0 * u]))[0, 0])(grid)
    assert np.abs(np.diff(slopes)).max() < 0.5  # C^2: no jump of the curvature across a knot


def test_sharp_and_flat_wells_are_as_asked():
    well = ls.sharp_flat(
        sharp_curvature=16.0,
        flat_curvature=1.5,
        barriers=(1.0, 0.7),
        distances=(0.8, 2.0),
        dim=2,
        stiffness=3.0,
    )
    sharp, flat = well.minima
    np.testing.assert_allclose(well.hessian(sharp), np.diag([16.0, 3.0]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(well.hessian(flat), np.diag([1.5, 3.0]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose([well.value(sharp), well.value(flat)], [0.0, 0.3], atol=1e-6)
    np.testing.assert_allclose(well.value(well.saddles[0]), 1.0, atol=1e-6)


def test_asymmetric_valley_has_its_two_curvatures():
    valley = SYNTHETIC["AsymmetricValley"]
    for u, curvature in ((-40.0, 8.0), (40.0, 0.5), (0.0, 4.25)):
        assert valley.hessian(jnp.array([u, 0.0]))[0, 0] == pytest.approx(curvature, rel=1e-3)
    assert valley.value(jnp.array([-1.0, 0.0])) > 4 * valley.value(jnp.array([1.0, 0.0]))


@pytest.mark.slow
def test_deep_linear_minimum_is_the_best_factorisation():
    well = SYNTHETIC["DeepLinear"]
    layers = [np.asarray(layer, float) for layer in well.layers(well.minimum)]
    product = layers[2] @ layers[1] @ layers[0]
    error = np.sum((product - np.asarray(TARGET)) ** 2) / 2
    assert well.value(well.minimum) == pytest.approx(
        error + 0.05 * sum(np.sum(w**2) for w in layers), rel=1e-5
    )
    rng = np.random.default_rng(3)
    starts = jnp.asarray(rng.normal(size=(20, well.dim)), dtype=float)
    walk = jax.vmap(
        lambda x: jax.lax.fori_loop(0, 20_000, lambda _, x: x - 0.003 * well.gradient(x), x)
    )
    ends = np.asarray(jax.vmap(well.value)(jax.jit(walk)(starts)), float)
    lowest = float(well.value(well.minimum))
    assert (ends > lowest - 1e-5).all()  # NaN fails
    assert ends.min() == pytest.approx(lowest, rel=1e-3)
    two = ls.DeepLinear((2, 2, 2), jnp.diag(jnp.array([2.0, 1.0])))
    assert two.value(two.minimum) == pytest.approx(0, abs=1e-10)
    narrow = ls.DeepLinear((2, 1, 2), jnp.diag(jnp.array([2.0, 1.0])))
    # half the square of what rank 1 must leave out
    assert narrow.value(narrow.minimum) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("widths", "decay"),
    [((3, 2, 2), 0.0), ((3, 2, 2), 0.1), ((3, 2, 3, 2), 0.0), ((3, 2, 3, 2), 0.1)],
)
@pytest.mark.slow_cases("widths0", "widths2-0.0", "widths3")
def test_deep_linear_saddles_are_strict(widths, decay):
    well = ls.DeepLinear(widths, TARGET, weight_decay=decay)
    value, gradient, hessian = map(eqx.filter_jit, (well.value, well.gradient, well.hessian))
    for x in well.saddles:
        assert np.linalg.norm(gradient(x)) < 1e-5
        assert np.linalg.eigvalsh(hessian(x))[0] < -0.05
        assert value(x) > value(well.minimum)


def test_deep_linear_under_a_strong_decay_rests_at_zero():
    well = ls.DeepLinear((2, 1, 2), jnp.eye(2), weight_decay=3.0)
    assert not well.minimum.any()
    assert well.saddles.shape == (0, well.dim)
    assert np.linalg.eigvalsh(eqx.filter_jit(well.hessian)(well.minimum))[0] > 0


def test_matrix_sensing_is_its_sum():
    well = SYNTHETIC["MatrixSensing"]
    u = np.random.default_rng(1).normal(size=(4, 2))
    found = np.array([np.sum(a * (u @ u.T)) for a in np.asarray(well.sensors, float)])
    expected = np.mean((found - np.asarray(well.readings, float)) ** 2) / 4
    assert well.value(jnp.asarray(u.ravel(), dtype=float)) == pytest.approx(expected, rel=1e-4)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    rotated = np.asarray(well.minimum, float).reshape(4, 2) @ turn
    assert well.value(jnp.asarray(rotated.ravel(), dtype=float)) == pytest.approx(0, abs=1e-9)


def test_logistic_regression_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    decay = 0.05
    well = ls.logistic_regression("breast_cancer", weight_decay=decay)
    check_minimum(well, well.minimum, tolerance=1e-5)
    bias, weight = np.asarray(well.minimum[:1], float), np.asarray(well.minimum[1:], float)
    features, labels = np.asarray(well.inputs, float), np.asarray(well.targets)
    # scikit-learn does not decay its intercept: a column of ones does
    wide = np.concatenate([np.ones((len(labels), 1)), features], 1)
    other = LogisticRegression(
        C=1 / (decay * len(labels)), fit_intercept=False, tol=1e-10, max_iter=10_000
    ).fit(wide, labels)
    np.testing.assert_allclose(np.concatenate([bias, weight]), other.coef_[0], atol=2e-5)


@pytest.mark.slow
def test_softmax_regression_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    decay = 0.05
    well = ls.softmax_regression("wine", weight_decay=decay)
    check_minimum(well, well.minimum, tolerance=1e-5)
    other = LogisticRegression(C=1 / (decay * 178), fit_intercept=False, tol=1e-10, max_iter=10_000)
    wide = np.concatenate([np.ones((178, 1)), np.asarray(well.inputs, float)], 1)
    found = np.asarray(well.minimum, float).reshape(14, 3)
    np.testing.assert_allclose(found, other.fit(wide, np.asarray(well.targets)).coef_.T, atol=2e-5)


@pytest.mark.slow
def test_convolutional_network_is_the_written_out_sum():
    well = ls.digits_cnn(channels=2, num_images=20, weight_decay=0.01)
    assert well.dim == 210
    params = jax.tree.map(lambda leaf: np.asarray(leaf, float), well.unflatten(well.minimum))
    image, label = np.asarray(well.inputs[3], float).reshape(8, 8), int(well.targets[3])
    pooled = np.zeros((2, 3, 3))
    for channel, i, j in itertools.product(range(2), range(6), range(6)):
        patch = np.sum(image[i : i + 3, j : j + 3] * params["filter"]["weight"][channel, 0])
        pooled[channel, i // 2, j // 2] += (
            np.tanh(patch + params["filter"]["bias"][channel, 0, 0]) / 4
        )
    logits = pooled.ravel() @ params["output"]["weight"] + params["output"]["bias"]
    expected = np.log(np.sum(np.exp(logits))) - logits[label]
    losses = well.loss(well.unflatten(well.minimum), well.inputs, well.targets)
    assert losses[3] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dim", [1, 2, 4, 5])
@pytest.mark.slow_cases("4", "5")
def test_the_gradient_of_a_function_is_that_of_reverse_mode(dim):
    """Up to four dimensions it is taken coordinate by coordinate, beyond by reverse mode."""
    rotation = jnp.asarray(np.random.default_rng(0).normal(size=(dim, dim)), dtype=float)

    def fn(x):
        y = jnp.sum(rotation * x[None, :], 1)
        return jnp.sum(y**4) + x[0] ** 2 * jnp.sum(x[dim // 2 :] ** 2)

    well = ls.from_function(fn, dim=dim, minimum=jnp.zeros(dim))
    x = jnp.linspace(0.3, 1.7, dim)
    np.testing.assert_allclose(well.gradient(x), jax.grad(fn)(x), rtol=2e-6)


@pytest.mark.slow_cases(
    "DeepLinear",
    "MatrixSensing",
    "MuellerBrown",
    "WellChain",
    "AsymmetricValley",
    "DoubleWell",
    "Modified",
    "Rastrigin",
    "Rescaled",
    "StyblinskiTang",
)
@pytest.mark.parametrize("name", [*SYNTHETIC])
def test_it_can_be_escaped_from(name):
    well = SYNTHETIC[name]
    dynamics = ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.5)
    basin = ls.Sublevel(well, height=0.3)
    run = ls.simulate_escape(
        ls.EulerMaruyama(dynamics, dt=1e-3), basin, well.minimum, num=32, seed=0, max_steps=20_000
    )
    assert run.exited.all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ls.StyblinskiTang(0), "dim must be at least 1"),
        (lambda: ls.StyblinskiTang(2, hessian_factor=-1.0), "hessian_factor must be positive"),
        (lambda: ls.StyblinskiTang(13).minima, "8192 minima"),
        (lambda: ls.StyblinskiTang(13).saddles, "saddles are listed up to 12"),
        (lambda: ls.Rastrigin(2, amplitude=0.1), "amplitude must be at least 1"),
        (lambda: ls.Rastrigin(1.5), "dim must be an integer"),
        (lambda: ls.MuellerBrown(loss_factor=0.0), "loss_factor must be positive"),
        (lambda: ls.WellChain([0.0, 1.0], [0.0, 1.0], [1.0, -1.0]), "one odd length"),
        (lambda: ls.WellChain([0.0, 1.0, 0.5], [0.0, 1.0, 0.0], [1.0, -1.0, 1.0]), "must ascend"),
        (
            lambda: ls.WellChain([-1.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, -1.0, 1.0]),
            "saddle must be higher",
        ),
        (
            lambda: ls.WellChain([-1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]),
            "negative at saddles",
        ),
        (
            lambda: ls.WellChain([-1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [90.0, -1.0, 1.0]),
            "would not be monotone",
        ),
        (
            lambda: ls.WellChain([-1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [5.0, -5.0, 5.0], marked=2),
            "marked must be from 0 to 1",
        ),
        (lambda: ls.sharp_flat(distances=(1.0, 1.0, 1.0)), r"distances must have shape \(2,\)"),
        (lambda: ls.sharp_flat(sharp_curvature=-2.0), "sharp_curvature must be positive"),
        (
            lambda: ls.sharp_flat(flat_curvature=50.0),
            "sharp_curvature, flat_curvature, .* do not fit together: between positions 0 and 2",
        ),
        (lambda: ls.sharp_flat(marked=2), "marked must be from 0 to 1"),
        (lambda: ls.AsymmetricValley(smoothing=0.0), "smoothing must be positive"),
        (lambda: ls.DeepLinear((2, 2, 2), jnp.ones(3)), "target must have shape"),
        (lambda: ls.DeepLinear((2, 2), jnp.eye(2)), "widths"),
        (lambda: ls.DeepLinear((2, 2, 2), jnp.zeros((2, 2))), "target must not be zero"),
        (
            lambda: ls.DeepLinear((2, 2, 2), jnp.eye(2), weight_decay=-1.0),
            "weight_decay must not be negative",
        ),
        (lambda: ls.MatrixSensing(3, rank=4), "rank must be from 1 to 3"),
        (lambda: ls.logistic_regression("digits"), "dataset must be one of 'breast_cancer'"),
        (lambda: ls.softmax_regression("mnist"), "dataset must be one of"),
        (lambda: ls.softmax_regression("iris", weight_decay=0.0), "weight_decay must be positive"),
        (lambda: ls.digits_cnn(channels=0), "channels must be at least 1"),
        (lambda: ls.digits_cnn(num_images=25), "multiple of 10"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
