"""Networks on data as landscapes: values, derivatives, layouts, and what bad input is told."""

import builtins

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from calls.small import Frozen

import levysde as ls
from levysde.interfaces import is_lane_invariant
from levysde.landscapes import NetworkLandscape, digits_mlp, from_network

DECAY = 0.3


def hinge_free(params, image, label):
    """A per-example loss over a nested tree: tanh layer, list of outputs, squared error against a
    class number."""
    hidden = jnp.tanh(image @ params["w"] + params["b"])
    return (jnp.sum(hidden * params["out"][0]) + params["out"][1] - label) ** 2


def parts(rows: int = 7, seed: int = 0):
    rng = np.random.default_rng(seed)
    params = {
        "w": rng.normal(size=(3, 2)),
        "b": rng.normal(size=2),
        "out": [rng.normal(size=2), rng.normal()],
    }
    return params, rng.normal(size=(rows, 3)), rng.integers(0, 4, rows)


@pytest.fixture
def network() -> NetworkLandscape:
    return from_network(hinge_free, *parts(), weight_decay=DECAY)


def by_hand(x: np.ndarray) -> float:
    """The same loss written a second time, with numpy, example by example. Order: b, out[0],
    out[1], w."""
    _, inputs, targets = parts()
    b, out, bias, w = x[:2], x[2:4], x[4], x[5:].reshape(3, 2)
    total = 0.0
    for image, label in zip(inputs, targets, strict=True):
        total += (np.tanh(image @ w + b) @ out + bias - label) ** 2
    return total / len(targets) + DECAY / 2 * np.sum(x**2)


def differences(fn, x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """Central differences of `fn` along every axis, derivative axis first."""
    return np.array([(fn(x + h * e) - fn(x - h * e)) / (2 * h) for e in np.eye(x.size)])


def test_value_is_the_mean_loss_plus_weight_decay(float64):
    network = from_network(hinge_free, *parts(), weight_decay=DECAY)
    x = np.random.default_rng(1).normal(size=network.dim)
    assert network.dim == 11
    assert float(network.value(jnp.asarray(x))) == pytest.approx(by_hand(x), rel=1e-12)


@pytest.mark.slow
def test_derivatives_equal_differences(float64):
    network = from_network(hinge_free, *parts(), weight_decay=DECAY)
    x = np.random.default_rng(2).normal(size=network.dim)
    gradient = np.asarray(network.gradient(jnp.asarray(x)))
    np.testing.assert_allclose(gradient, differences(by_hand, x), rtol=1e-6, atol=1e-8)
    hessian = np.asarray(jax.jit(lambda y: network.hessian(y))(jnp.asarray(x)))
    gradient = jax.jit(lambda y: network.gradient(y))
    numeric = differences(lambda y: np.asarray(gradient(jnp.asarray(y))), x)
    np.testing.assert_allclose(hessian, numeric, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-13)


@pytest.mark.slow
def test_example_gradients_average_to_the_gradient():
    # more examples than one chunk of the map
    network = from_network(hinge_free, *parts(600), weight_decay=DECAY)
    x = jnp.asarray(np.random.default_rng(3).normal(size=network.dim), dtype=float)
    rows = jax.jit(lambda y: network.example_gradients(y))(x)
    assert rows.shape == (600, network.dim)
    np.testing.assert_allclose(rows.mean(0), network.gradient(x), rtol=2e-5, atol=2e-5)
    index = jnp.array([3, 400, 599])
    np.testing.assert_allclose(
        rows[index].mean(0), network.batch_gradient(x, index), rtol=2e-5, atol=2e-5
    )
    assert float(jnp.abs(rows[3] - rows[400]).max()) > 0.1


def test_flat_vector_and_tree_are_the_same_numbers(network):
    tree = network.unflatten(network.minimum)
    params = parts()[0]
    assert jax.tree.structure(tree) == jax.tree.structure(params)
    for got, given in zip(jax.tree.leaves(tree), jax.tree.leaves(params), strict=True):
        assert got.shape == np.shape(given)
        np.testing.assert_array_equal(got, np.asarray(given, np.float32))


@pytest.mark.slow
def test_lanes_last_gives_the_gradient_of_each_lane():
    network = digits_mlp(hidden=3, num_images=20)
    assert not is_lane_invariant(network.gradient, network.minimum)
    x = network.minimum[:, None] + 0.1 * jax.random.normal(jax.random.key(0), (network.dim, 17))
    lanes, gradient = (
        jax.jit(jax.vmap(network.gradient, -1, -1))(x),
        eqx.filter_jit(network.gradient),
    )
    for lane in (0, 16):
        np.testing.assert_allclose(lanes[:, lane], gradient(x[:, lane]), rtol=1e-4, atol=1e-6)


def test_new_numbers_compile_nothing():
    traces = []

    @eqx.filter_jit
    def value(net):
        traces.append(1)
        return net.value(net.minimum)

    first = digits_mlp(hidden=2, num_images=20, weight_decay=0.02, seed=0)
    second = digits_mlp(hidden=2, num_images=20, weight_decay=0.03, seed=1)
    assert float(value(first)) != float(value(second.at(second.minimum * 2)))
    assert len(traces) == 1


def test_at_moves_only_the_mark(network):
    moved = network.at(np.full(11, 0.25))
    np.testing.assert_array_equal(moved.minimum, np.full(11, 0.25, np.float32))
    x = jnp.linspace(-1, 1, 11)
    assert float(moved.value(x)) == float(network.value(x))


def test_an_extreme_jump_leaves_a_loss_that_is_not_below_any_level():
    network = digits_mlp(hidden=2, num_images=20)
    for size in (1e5, 1e20, 1e30):
        far = network.value(network.minimum.at[0].add(size))
        assert not bool(far < 1e6)


@pytest.mark.slow
def test_digits_are_balanced_scaled_and_seeded():
    network = digits_mlp()
    assert network.dim == 64 * 8 + 8 + 8 * 10 + 10
    assert network.inputs.shape == (300, 64)
    assert float(network.inputs.min()) == 0
    assert float(network.inputs.max()) == 1
    np.testing.assert_array_equal(np.bincount(network.targets), np.full(10, 30))
    again, other = digits_mlp(), digits_mlp(seed=1)
    np.testing.assert_array_equal(network.inputs, again.inputs)
    assert bool(jnp.any(network.inputs != other.inputs))
    # nothing learned yet: about log 10 nats, plus the weight decay
    assert 2.2 < float(network.value(network.minimum)) < 3.0


def log_of_first(params, image, label):
    return jnp.log(params["w"][0, 0]) * label


def batched(params, images, labels):
    """`hinge_free` of all examples at once, these on the last axis."""
    hidden = jnp.tanh(params["w"].T @ images.T + params["b"][:, None])
    return (params["out"][0] @ hidden + params["out"][1] - labels) ** 2


@pytest.mark.slow
def test_a_batched_loss_is_the_same_landscape(network):
    both = from_network(batched, *parts(), weight_decay=DECAY, batched=True)
    x, index = jnp.linspace(-1, 1, network.dim), jnp.array([2, 5])
    for name, arguments in {
        "value": (x,),
        "gradient": (x,),
        "hessian": (x,),
        "example_gradients": (x,),
    }.items():
        ours, theirs = (eqx.filter_jit(getattr(one, name))(*arguments) for one in (both, network))
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6, err_msg=name)
    ours, theirs = (eqx.filter_jit(one.batch_gradient)(x, index) for one in (both, network))
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            lambda *args: batched(*args).mean(),
            "one real number for each example, not .* for 2 examples",
        ),
        (lambda p, x, y: batched(p, x, y) * jnp.ones(7), "fails on 2 examples"),
        (lambda p, x, y: batched(p, x, y).astype(int), "one real number for each example"),
    ],
)
def test_a_bad_batched_loss_is_told_what_to_return(loss, message):
    with pytest.raises(TypeError, match=message):
        from_network(loss, *parts(), batched=True)
    with pytest.raises(TypeError, match="batched"):
        from_network(hinge_free, *parts(), batched=1)


def mlp(key: int = 0) -> eqx.nn.MLP:
    return eqx.nn.MLP(3, "scalar", 4, 1, key=jax.random.key(key))


def square(model, row, target):
    return (model(row) - target) ** 2


@pytest.mark.slow
def test_an_equinox_model_is_taken_as_it_is():
    """The same landscape as that of its arrays alone, with the loss that puts the model together
    again."""
    model, (_, inputs, targets) = mlp(), parts()
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    whole = from_network(square, model, inputs, targets, weight_decay=DECAY)
    apart = from_network(
        lambda p, row, target: square(eqx.combine(p, rest), row, target),
        arrays,
        inputs,
        targets,
        weight_decay=DECAY,
    )
    assert whole.dim == apart.dim == 3 * 4 + 4 + 4 + 1
    x = jnp.linspace(-1, 1, whole.dim)
    for name in ("value", "gradient", "hessian", "example_gradients"):
        ours, theirs = (eqx.filter_jit(getattr(one, name))(x) for one in (whole, apart))
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    back = whole.unflatten(whole.minimum)
    assert isinstance(back, eqx.nn.MLP)
    assert eqx.tree_equal(back, model)
    trained = ls.networks.train(whole, epochs=2, batch_size=3)
    assert isinstance(trained, eqx.nn.MLP)
    trained = whole.flatten(trained)
    same = ls.networks.train(apart, epochs=2, batch_size=3)
    np.testing.assert_array_equal(trained, apart.flatten(same))
    steps = []
    for landscape in (whole, apart):
        kernel = ls.OptimizerKernel(optax.adam(0.01), landscape, 3)
        state = kernel.init(trained, jnp.zeros(0, jnp.uint32))
        steps.append(eqx.filter_jit(kernel.step)(jnp.arange(2, dtype=jnp.uint32), state).position)
    np.testing.assert_array_equal(*steps)
    assert np.abs(steps[0] - trained).max() > 1e-3
    other = from_network(square, mlp(1), inputs, targets, weight_decay=DECAY)
    assert jax.tree.structure(other) == jax.tree.structure(whole)  # compiled once for both
    relu = eqx.tree_at(lambda net: net.activation, mlp(1), jnp.tanh)
    assert jax.tree.structure(from_network(square, relu, inputs, targets)) != jax.tree.structure(
        whole
    )


def test_functions_and_integers_beside_the_weights_are_not_parameters():
    class Model(eqx.Module):
        weight: jax.Array
        order: jax.Array
        rate: float
        act: object

        def __call__(self, row):
            return self.act(self.weight @ row[self.order]) * self.rate

    _, inputs, targets = parts()
    model = Model(jnp.ones(3), jnp.array([2, 0, 1]), 0.5, jnp.tanh)
    network = from_network(
        lambda p, row, y: square(p["first"], row, y), {"first": model}, inputs, targets
    )
    assert network.dim == 3
    assert network.unflatten(network.minimum)["first"].rate == 0.5
    plain = {"w": np.ones(3), "act": jax.nn.relu}
    network = from_network(
        lambda p, row, y: (p["act"](p["w"] @ row) - y) ** 2, plain, inputs, targets
    )
    assert network.dim == 3


def test_a_flat_vector_is_told_to_be_unflattened(network):
    with pytest.raises(
        TypeError,
        match=r"one flat vector of 11 numbers.*give "
        r"network.unflatten\(params\)",
    ):
        from_network(hinge_free, network.minimum, *parts()[1:])


TREES = {
    "nested": (hinge_free, lambda: parts()[0]),
    "function": (
        lambda p, x, y: (p["act"](p["a"]["w"] @ x) - y) ** 2,
        lambda: {"a": {"w": np.ones(3)}, "act": jnp.tanh},
    ),
    "registered": (
        lambda p, x, y: (p["w"] @ x + p["b"] - y) ** 2,
        lambda: Frozen({"w": np.ones(3), "b": np.zeros(())}),
    ),
    "matrix": (lambda p, x, y: ((x @ p)[0] - y) ** 2, lambda: np.ones((3, 1))),
    "vector": (lambda p, x, y: (x @ p - y) ** 2, lambda: np.ones(3)),
    "numbers": (lambda p, x, y: (p[0] * x[0] + p[1] - y) ** 2, lambda: [1.0, 2.0]),
    "model": (lambda p, x, y: square(p, x, y), lambda: mlp()),
}


@pytest.mark.parametrize("name", TREES)
def test_a_tree_is_taken_wherever_a_point_is(name):
    loss, make = TREES[name]
    tree = make()
    network = from_network(loss, tree, *parts()[1:])
    moved = jax.tree.map(lambda leaf: leaf if callable(leaf) else 2 * leaf, tree)
    vector = 2 * network.minimum
    np.testing.assert_array_equal(network.flatten(moved), vector)
    np.testing.assert_array_equal(network.flatten(vector), vector)
    np.testing.assert_array_equal(network.flatten(network.unflatten(vector)), vector)
    assert jax.tree.structure(network.unflatten(vector)) == jax.tree.structure(tree)
    for x in (moved, vector, list(np.asarray(vector))):
        np.testing.assert_array_equal(network.at(x).minimum, vector)
    noise = [
        ls.networks.measure_gradient_noise(network, x, batch_size=3, num_batches=400)
        for x in (moved, vector)
    ]
    assert noise[0] == noise[1]


def test_a_tree_in_float64_keeps_its_digits(network):
    ridge = from_network(hinge_free, *parts(), weight_decay=DECAY)
    start = parts()[0]
    found = ls.networks.refine(ridge, start)
    exact = np.concatenate([start["b"], start["out"][0], [start["out"][1]], start["w"].ravel()])
    assert found.distance == float(np.linalg.norm(found.point - exact))


def test_a_traced_tree_becomes_a_traced_vector(network):
    tree = parts()[0]
    inside = jax.jit(lambda t: network.at(t).minimum)(tree)
    np.testing.assert_array_equal(inside, network.minimum)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"w": None}, TypeError, r"x is another tree.*: \['w'\] is missing.*shape \(11,\)"),
        ({"more": np.ones(2)}, TypeError, r"x is another tree.*\['more'\] is not among them"),
        ({"out": (np.ones(2), 1.0)}, TypeError, "its containers are of other kinds"),
        ({"w": np.ones((2, 3))}, ValueError, r"x\['w'\] must have shape \(3, 2\), not \(2, 3\)"),
        ({"b": np.array([0, np.nan])}, ValueError, "x must be finite"),
        ({"b": np.array(["a", "b"])}, TypeError, "x must be a number or an array"),
        ({"b": np.ma.masked_array([1.0, 2.0], [1, 0])}, ValueError, "x holds masked values"),
    ],
)
def test_a_wrong_tree_is_told_what_is_wrong(network, change, error, message):
    tree = parts()[0] | change
    for call in (network.at, lambda x: ls.networks.refine(network, x)):
        with pytest.raises(error, match=message):
            call(tree)
    with pytest.raises(error, match=message.replace("x", "params", 1)):
        network.flatten(tree)


def test_a_model_that_differs_in_what_is_not_trained_is_refused():
    tree = {"w": np.ones(3), "act": jnp.tanh}
    network = from_network(lambda p, x, y: (p["act"](p["w"] @ x) - y) ** 2, tree, *parts()[1:])
    network.at(tree)
    with pytest.raises(ValueError, match=r"x differs .* not trained"):
        network.at(tree | {"act": jnp.sin})
    whole = from_network(square, mlp(), *parts()[1:])
    with pytest.raises(ValueError, match=r"x differs .* not trained"):
        whole.at(eqx.tree_at(lambda net: net.activation, mlp(), jnp.tanh))


def test_random_keys_and_counts_beside_the_weights_are_not_parameters():
    """As in the state of a model of flax.nnx with dropout."""
    tree = {"w": np.ones(3), "key": jax.random.key(0), "count": jnp.uint32(4)}
    network = from_network(lambda p, x, y: (p["w"] @ x - y) ** 2, tree, *parts()[1:])
    assert network.dim == 3
    back = network.unflatten(network.minimum)
    assert back["count"].dtype == jnp.uint32
    assert network.at(back).dim == 3


BAD = [
    ({"loss": 3}, TypeError, "loss must be a function"),
    ({"loss": lambda p, x, y: x}, TypeError, "one real number for each example"),
    ({"loss": lambda p, x, y: p["nothing"]}, TypeError, "fails on one example .input of shape .3"),
    ({"loss": lambda p, x, y: jnp.argmax(x)}, TypeError, "one real number"),
    ({"params": {}}, ValueError, "hold no arrays"),
    ({"params": {"w": "weights"}}, TypeError, "each array in params"),
    ({"params": {"w": np.array([[np.nan, 1]])}}, ValueError, "each array in params must be finite"),
    ({"targets": np.arange(5)}, ValueError, "7 examples but targets 5"),
    ({"inputs": np.zeros((0, 3)), "targets": np.zeros(0)}, ValueError, "hold no examples"),
    ({"inputs": np.array(["a", "b"])}, TypeError, "array of numbers"),
    ({"inputs": np.full((7, 3), np.inf)}, ValueError, "inputs must be finite"),
    ({"weight_decay": -0.1}, ValueError, "must not be negative"),
    ({"weight_decay": [0.1, 0.2]}, ValueError, "shape"),
    (
        {"loss": log_of_first, "params": {"w": -np.ones((1, 1))}},
        ValueError,
        "the loss is not finite",
    ),
    (
        {"loss": lambda p, x, y: jnp.sqrt(p["w"][0, 0])},
        ValueError,
        "gradient .1 of 1 entries. is not finite",
    ),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_networks_are_told_what_to_type(change, error, message):
    params, inputs, targets = parts()
    arguments = {
        "loss": hinge_free,
        "params": params,
        "inputs": inputs,
        "targets": targets,
        "weight_decay": 0.1,
    } | change
    if "gradient" in message:
        arguments["params"] = {"w": np.zeros((1, 1))}
    decay = arguments.pop("weight_decay")
    with pytest.raises(error, match=message):
        from_network(*arguments.values(), weight_decay=decay)


def test_a_mark_of_wrong_shape_or_nan_is_refused(network):
    with pytest.raises(ValueError, match=r"shape \(11,\)"):
        network.at(np.zeros(10))
    with pytest.raises(ValueError, match="must be finite"):
        network.at(np.full(11, np.nan))


def test_a_vector_of_numpy_becomes_a_tree(network):
    tree = network.unflatten(np.arange(11.0))
    np.testing.assert_array_equal(network.flatten(tree), np.arange(11))
    with pytest.raises(ValueError, match=r"x must have shape \(11,\), not \(10,\)"):
        network.unflatten(np.zeros(10))
    with pytest.raises(TypeError, match="x must be a number or an array"):
        network.unflatten("weights")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_images": 301}, "multiple of 10"),
        ({"num_images": 2000}, "from 10 to 1740"),
        ({"hidden": 0}, "at least 1"),
    ],
)
def test_digits_outside_their_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        digits_mlp(**arguments)


def test_missing_scikit_learn_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        ImportError,
        match=r"scikit-learn, which is not installed. Type: pip "
        r'install "levysde\[data\]"',
    ):
        digits_mlp()
