"""Minibatch gradient noise: compared with closed forms on linear regressions, and against planted
stable data."""

import jax.numpy as jnp
import numpy as np
import pytest

from levysde.landscapes import DoubleWell, digits_mlp, from_network
from levysde.networks import measure_gradient_noise

ROWS = 200


def linear(params, features, target):
    """The gradient of an example is its `features`: the noise is whatever the data are."""
    return jnp.sum(features * params) + 0 * target


def squared(params, features, target):
    return (jnp.sum(features * params) - target) ** 2 / 2


def planted(features: np.ndarray):
    return from_network(
        linear, np.zeros(features.shape[1]), features, np.zeros(len(features)), weight_decay=0.5
    )


def test_variance_is_the_closed_form_without_replacement():
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(ROWS, 3)), rng.normal(size=ROWS)
    x = np.array([0.3, -0.2, 0.5])
    network = from_network(squared, np.zeros(3), features, targets, weight_decay=0.7)
    gradients = features * (features @ x - targets)[:, None]
    for batch in (1, 20, 150):
        noise = measure_gradient_noise(network, x, batch_size=batch, num_batches=400)
        exact = gradients.var(0) / batch * (1 - (batch - 1) / (ROWS - 1))
        np.testing.assert_allclose(noise.variance, exact, rtol=1e-4)


def test_drawn_batches_have_that_variance_and_the_gaussian_scale():
    features = np.random.default_rng(1).normal(size=(ROWS, 40)) * np.geomspace(0.1, 10, 40)
    noise = measure_gradient_noise(
        planted(features), batch_size=20, num_batches=4000, alpha=2.0, seed=3
    )
    # at alpha = 2 the scale s means N(0, 2 s^2); log-moment standard error 0.0124 a coordinate,
    # mean of 40: 0.002
    log_ratio = np.log(noise.scale / np.sqrt(noise.variance / 2))
    assert np.abs(log_ratio).max() < 5 * 0.0176
    assert abs(log_ratio.mean()) < 0.02
    for index in (noise.block_log_moment, noise.characteristic_function):
        assert 1.9 < index.median.value < 2.1


@pytest.mark.slow
def test_planted_stable_noise_is_recovered():
    """Single examples as batches: the noise is the data, less their mean."""
    from levysde.noise.stable import stable

    rng = np.random.default_rng(2)
    words = jnp.asarray(rng.integers(0, 2**32, (2, 20_000, 6), dtype=np.uint32))
    truth = np.geomspace(0.5, 20, 6)
    features = np.asarray(stable(words[0], words[1], jnp.asarray(1.5, dtype=float)), float) * truth
    noise = measure_gradient_noise(
        planted(features), batch_size=1, num_batches=2500, alpha=1.5, seed=0
    )
    # standard error of the log-moment scale at n = 2500: 0.025
    np.testing.assert_allclose(noise.scale, truth, rtol=0.125)
    for index in (noise.block_log_moment, noise.characteristic_function):
        assert index.pooled.low < 1.5 < index.pooled.high
        assert index.pooled.high - index.pooled.low < 0.3
        assert index.median.low < 1.5 < index.median.high
        assert index.per_coordinate.shape == (6,)
    wrong = measure_gradient_noise(
        planted(features), batch_size=1, num_batches=2500, alpha=2.0, seed=0
    )
    assert not np.allclose(wrong.scale, noise.scale, rtol=0.05)


def test_scale_is_linear_in_the_noise_and_follows_the_seed():
    features = np.random.default_rng(4).normal(size=(ROWS, 5))
    one = measure_gradient_noise(planted(features), batch_size=10, num_batches=400, seed=7)
    two = measure_gradient_noise(planted(2 * features), batch_size=10, num_batches=400, seed=7)
    np.testing.assert_allclose(two.scale, 2 * one.scale, rtol=1e-5)
    np.testing.assert_allclose(two.variance, 4 * one.variance, rtol=1e-5)
    other = measure_gradient_noise(planted(features), batch_size=10, num_batches=400, seed=8)
    assert (other.scale != one.scale).all()


def test_coordinates_without_noise_are_counted_and_have_none():
    features = np.random.default_rng(5).normal(size=(ROWS, 6))
    features[:, 1] = 0.0
    features[:, 4] = 7.25  # the same in every example: a gradient, but no noise
    noise = measure_gradient_noise(
        planted(features), np.full(6, 0.1), batch_size=10, num_batches=400
    )
    assert noise.dead == 2
    np.testing.assert_array_equal(noise.scale == 0, [False, True, False, False, True, False])
    np.testing.assert_array_equal(noise.variance == 0, noise.scale == 0)
    assert np.isnan(noise.block_log_moment.per_coordinate[[1, 4]]).all()
    assert "6, 2 of them without noise" in repr(noise)


def test_a_pixel_lit_in_one_image_breaks_no_estimator():
    features = np.random.default_rng(6).normal(size=(ROWS, 5))
    features[:, 2] = 0.0
    features[17, 2] = 1.0
    noise = measure_gradient_noise(planted(features), batch_size=10, num_batches=400)
    assert noise.dead == 0
    assert (noise.scale > 0).all()
    for index in (noise.block_log_moment, noise.characteristic_function):
        np.testing.assert_array_equal(
            np.isnan(index.per_coordinate), [False, False, True, False, False]
        )
        assert 1.7 < index.pooled.value < 2.3
    assert noise.variance[2] == pytest.approx(features[:, 2].var() / 10 * 190 / 199, rel=1e-4)


@pytest.mark.slow
def test_digits_have_dark_pixels_without_noise():
    network = digits_mlp(hidden=2, num_images=50)
    noise = measure_gradient_noise(network, batch_size=10, num_batches=400)
    dark = int(np.sum(~np.asarray(network.inputs).any(0)))
    assert dark > 0
    assert noise.dead == 2 * dark  # the weights from a dark pixel to both hidden units


def test_bad_input_is_told_what_to_type():
    network = planted(np.random.default_rng(0).normal(size=(20, 2)))
    for arguments, message in [
        ({"batch_size": 20}, "batch_size must be from 1 to 19"),
        ({"num_batches": 10}, "num_batches must be at least 400"),
        ({"alpha": 2.5}, r"alpha must lie in \(0, 2\]"),
        ({"x": np.zeros(3)}, "shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            measure_gradient_noise(network, **({"batch_size": 5} | arguments))
    with pytest.raises(TypeError, match="must be a network on data"):
        measure_gradient_noise(DoubleWell())
    with pytest.raises(ValueError, match="no coordinate has any gradient noise"):
        measure_gradient_noise(planted(np.ones((20, 2))), batch_size=5)


def test_noise_of_few_values_has_no_pooled_index():
    """Minibatches of two from examples whose gradients are 1 and -1: half of them have no noise."""
    signs = np.repeat([1.0, -1.0], 10)
    network = from_network(lambda p, x, y: p[0] * x, np.ones(1), signs, signs, weight_decay=1.0)
    found = measure_gradient_noise(network, batch_size=2, num_batches=400)
    assert np.isnan(found.block_log_moment.pooled.value)
    assert found.variance[0] == pytest.approx(1 / 2 * 18 / 19)
