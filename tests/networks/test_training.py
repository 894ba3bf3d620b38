"""Training by minibatches and refinement to a strict minimum in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from levysde.errors import AccuracyWarning
from levysde.landscapes import DoubleWell, digits_mlp, from_function, from_network
from levysde.networks import refine, train


def squared(params, features, target):
    return (jnp.sum(features * params) - target) ** 2 / 2


def regression(rows: int = 64, dim: int = 4, decay: float = 0.1, seed: int = 0):
    """A ridge regression and its exact solution in float64."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, dim)).astype(np.float32).astype(np.float64)
    targets = rng.normal(size=rows).astype(np.float32).astype(np.float64)
    network = from_network(
        squared, np.zeros(dim), features, targets, weight_decay=np.float32(decay)
    )
    hessian = features.T @ features / rows + float(np.float32(decay)) * np.eye(dim)
    return network, np.linalg.solve(hessian, features.T @ targets / rows), hessian


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.05), ("adam", 0.01)])
def test_training_goes_to_the_minimum(optimizer, rate):
    network, solution, _ = regression()
    x = train(network, optimizer, seed=0, learning_rate=rate, batch_size=16, epochs=200)
    start, end = np.linalg.norm(solution), np.linalg.norm(np.asarray(x) - solution)
    assert 0 < end < 0.3 * start  # not the minimum itself: minibatches keep it moving


def test_full_batches_are_gradient_descent():
    network, solution, hessian = regression()
    x = train(network, "sgd", seed=0, learning_rate=0.1, batch_size=64, epochs=5)
    expected = solution - np.linalg.matrix_power(np.eye(4) - 0.1 * hessian, 5) @ solution
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_batches_follow_the_seed_and_walk_through_all_examples():
    network, *_ = regression()

    def run(seed):
        return np.asarray(
            train(network, "sgd", seed=seed, learning_rate=0.01, batch_size=8, epochs=1)
        )

    np.testing.assert_array_equal(run(0), run(0))
    assert (run(0) != run(1)).any()
    # to first order in the rate, an epoch without replacement is the same whatever the order
    full = -0.01 * 8 * np.asarray(network.gradient(jnp.zeros(4)))
    np.testing.assert_allclose(run(0), full, atol=0.1 * np.abs(full).max())


@pytest.mark.parametrize(("name", "same"), [("sgd", optax.sgd(0.05)), ("adam", optax.adam(0.05))])
def test_a_transformation_trains_as_the_optimizer_of_its_name(name, same):
    network, *_ = regression()
    arguments = {"seed": 3, "batch_size": 16, "epochs": 4}
    named = train(network, name, learning_rate=0.05, **arguments)
    np.testing.assert_allclose(train(network, same, **arguments), named, rtol=1e-5, atol=1e-7)


def test_a_schedule_counts_steps():
    """Two epochs of two steps: the learning rate is 0 from the third step on."""
    network, *_ = regression()
    schedule = optax.piecewise_constant_schedule(0.1, {2: 0.0})
    two = train(network, optax.sgd(schedule), batch_size=32, epochs=2)
    assert np.abs(two).max() > 1e-3
    by_hand = optax.GradientTransformation(
        lambda params: jnp.zeros((), jnp.int32),
        lambda g, count, params: (jax.tree.map(lambda x: -0.1 * (count < 2) * x, g), count + 1),
    )
    same = train(network, by_hand, batch_size=32, epochs=2)
    np.testing.assert_allclose(two, same, rtol=1e-6)


def test_a_transformation_sees_the_tree_and_trains_a_part_of_it():
    def loss(params, features, target):
        return (jnp.sum(features * params["w"]) + params["b"] - target) ** 2 / 2

    rng = np.random.default_rng(0)
    start = {"w": np.zeros(2), "b": np.ones(())}
    network = from_network(loss, start, rng.normal(size=(12, 2)), rng.normal(size=12))
    frozen = optax.multi_transform(
        {"train": optax.sgd(0.1), "keep": optax.set_to_zero()}, {"w": "train", "b": "keep"}
    )
    found = train(network, frozen, batch_size=4, epochs=3)
    assert set(found) == {"w", "b"}
    assert found["b"] == 1.0
    assert np.abs(found["w"]).min() > 1e-3
    assert refine(network, found).gradient_norm < 1e-8


def test_a_hidden_key_and_a_low_precision_state_are_kept():
    network, *_ = regression()
    for made in (
        optax.noisy_sgd(0.01, key=jax.random.key(1)),
        optax.sgd(0.01, momentum=0.9, accumulator_dtype=jnp.bfloat16),
    ):
        found = train(network, made, batch_size=16, epochs=2)
        assert found.dtype == jnp.float32
        assert np.isfinite(found).all()


def test_refine_solves_a_ridge_regression_in_float64():
    network, solution, hessian = regression()
    minimum = refine(network, np.zeros(4))
    np.testing.assert_allclose(minimum.point, solution, rtol=0, atol=1e-10)
    np.testing.assert_allclose(minimum.hessian, hessian, rtol=1e-12, atol=1e-14)
    eigenvalues = np.linalg.eigvalsh(hessian)
    np.testing.assert_allclose(
        [minimum.smallest_eigenvalue, minimum.largest_eigenvalue], eigenvalues[[0, -1]], rtol=1e-10
    )
    assert minimum.gradient_norm < 1e-12
    assert minimum.distance == pytest.approx(np.linalg.norm(solution))


@pytest.mark.slow
def test_refine_certifies_a_trained_network_and_restores_float32():
    network = digits_mlp(hidden=3, num_images=50, weight_decay=0.03)
    x = train(network, "sgd", seed=0, learning_rate=0.1, batch_size=10, epochs=200)
    minimum = refine(network, x)
    x = network.flatten(x)
    assert minimum.point.dtype == np.float64
    assert minimum.gradient_norm < 1e-8
    assert minimum.smallest_eigenvalue > 0
    assert minimum.loss <= float(network.value(x)) + 1e-6
    # the certificate against a second difference of the loss, in float64, along the softest and the
    # stiffest direction
    values, vectors = np.linalg.eigh(minimum.hessian)
    with jax.enable_x64(True):
        precise = digits_mlp(hidden=3, num_images=50, weight_decay=np.float32(0.03))
        value = jax.jit(lambda x: precise.value(x))
        for k in (0, -1):
            step = 1e-3 * vectors[:, k]
            up, down = (float(value(jnp.asarray(minimum.point + s * step))) for s in (1, -1))
            assert (up + down - 2 * minimum.loss) / 1e-6 == pytest.approx(
                values[k], rel=1e-3, abs=1e-6
            )
    assert jnp.zeros(1).dtype == jnp.float32
    assert x.dtype == jnp.float32


def test_refine_leaves_a_saddle_downhill():
    well = DoubleWell(dim=2)
    minimum = refine(well, np.array([1e-3, 0.5]))
    np.testing.assert_allclose(np.abs(minimum.point), [1, 0], atol=1e-8)
    np.testing.assert_allclose(
        [minimum.smallest_eigenvalue, minimum.largest_eigenvalue], [1, 8], rtol=1e-9
    )


@pytest.mark.slow
def test_refine_refuses_a_saddle_a_flat_minimum_and_a_loss_without_one():
    with pytest.raises(ValueError, match=r"not a strict minimum.*eigenvalues run from -4"):
        refine(DoubleWell(), np.zeros(1))  # the gradient vanishes, so nothing pushes
    with pytest.warns(
        AccuracyWarning,
        match=r"the loss is flat at minimum = \[0. 0.\] along "
        r"\[-?0. -?1.\]",
    ):
        valley = from_function(lambda x: x[0] ** 2 + 0 * x[1], dim=2, minimum=jnp.zeros(2))
    with pytest.raises(ValueError, match=r"not a strict minimum.*add weight decay") as said:
        refine(valley, np.ones(2))
    assert "gradient norm" not in str(said.value)  # which is small enough
    network = from_network(lambda p, x, y: jnp.exp(-p[0] * x), np.zeros(1), np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match=r"the loss falls towards infinity. Add weight decay"):
        refine(network, np.zeros(1))
    banana = from_function(
        lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2),
        dim=6,
        minimum=jnp.ones(6),
    )
    with pytest.raises(
        ValueError,
        match=r"no minimum reached: after 1 Newton steps.*wanted "
        r"1e-08.*Train longer",
    ):
        refine(banana, np.tile([-1.2, 1.0], 3), max_steps=1)


def test_bad_training_input_is_told_what_to_type():
    network, *_ = regression()
    for arguments, message in [
        ({"optimizer": "rmsprop"}, '"sgd" or "adam"'),
        ({"optimizer": optax.sgd(0.1), "learning_rate": 0.1}, "has its own. Leave learning_rate"),
        ({"optimizer": optax.sgd(1e4)}, "diverged: the optimizer.*smaller learning rate"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"batch_size": 65}, "batch_size must be from 1 to 64"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"learning_rate": 1e4}, "diverged.*smaller one"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(network, **({"epochs": 50} | arguments))
    for optimizer, message in [
        (optax.sgd, "must be .* an optax GradientTransformation"),
        (optax.MultiSteps(optax.sgd(0.1), 2), "gradient_transformation"),
        (optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1)), "two gradients of the same batch"),
        (optax.polyak_sgd(), "no loss or function of the loss"),
    ]:
        with pytest.raises(TypeError, match=message):
            train(network, optimizer, epochs=1)
    with pytest.raises(TypeError, match="must be a network on data"):
        train(DoubleWell(), "sgd")
    with pytest.raises(ValueError, match="shape"):
        refine(network, np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        refine(network, np.full(4, np.nan))
    with pytest.raises(TypeError, match="must be a Landscape"):
        refine(squared, np.zeros(4))
