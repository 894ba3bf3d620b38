"""Real optimisers as kernels: the very iterations of optax, on minibatches that are what they
should be."""

import functools
import itertools
import math
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from statistical import assert_close, assert_mean

import levysde as ls
from levysde.kernels.minibatches import (
    first_epoch,
    next_of_epoch,
    ordered,
    subset,
)
from levysde.random import below, split_uint64, step_words, trajectory_key
from levysde.theory import sgd_covariance

WELL = ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 4.0])))
BALL = ls.Ball(radius=1.0, center=jnp.zeros(2))
STABLE = ls.StableComponents(alpha=1.5)


def losses(params, inputs, targets):
    hidden = jnp.tanh(inputs @ params["in"]["weight"] + params["in"]["bias"][None])
    return (hidden @ params["out"] - targets) ** 2


@functools.cache
def network(n: int = 24):
    rng = np.random.default_rng(0)
    params = {
        "in": {"weight": rng.normal(size=(3, 4)), "bias": np.zeros(4)},
        "out": rng.normal(size=4),
    }
    return ls.from_network(
        losses, params, rng.normal(size=(n, 3)), rng.normal(size=n), weight_decay=0.05, batched=True
    )


def drawn(seed: int, lanes: int, step: int, num: int):
    """The words of trajectories 0, 1, ... at one step, `(num, lanes)`."""
    return _drawn(jnp.asarray(split_uint64(seed)), lanes, jnp.uint32(step), num)


@functools.partial(jax.jit, static_argnums=(1, 3))
def _drawn(seed, lanes, step, num):
    ids = jnp.stack([jnp.arange(lanes, dtype=jnp.uint32), jnp.zeros(lanes, jnp.uint32)])
    return step_words(trajectory_key(seed, ids), jnp.full(lanes, step, jnp.uint32), num)


@functools.partial(eqx.filter_jit)
def columns(fn, words):
    return jax.vmap(fn, -1, -1)(words)


# --- minibatches ---


def test_below_is_the_high_half_of_a_product():
    words = np.random.default_rng(0).integers(0, 2**32, 1000, dtype=np.uint32)
    words[:3] = 0, 1, 2**32 - 1
    for bound in (1, 2, 7, 300, 65535, 65536, 100_003, 2**31 - 1):
        expected = [int(word) * bound >> 32 for word in words]
        np.testing.assert_array_equal(below(jnp.asarray(words), bound), expected)


@pytest.mark.parametrize("size", [3, 70])
@pytest.mark.slow_cases("70")
def test_a_subset_has_no_example_twice_and_favours_none(size):
    n, lanes = size + 4, 40_000 if size < 10 else 4_000
    index = np.asarray(columns(lambda w: subset(w, size, n), drawn(1, lanes, 0, 2)))
    assert (np.sort(index, 0)[1:] != np.sort(index, 0)[:-1]).all()
    assert index.min() >= 0
    assert index.max() < n
    member = np.zeros((n, lanes))
    np.put_along_axis(member, index, 1, 0)
    for i in range(n):
        assert_mean(member[i], size / n, 0.05, f"example {i}")
    for i, j in itertools.islice(itertools.combinations(range(n), 2), 25):
        assert_mean(
            member[i] * member[j], size * (size - 1) / (n * (n - 1)), 0.1, f"examples {i} and {j}"
        )


@pytest.mark.parametrize("n", [2, 3, 5, 16, 17, 300, 1000])
def test_an_order_is_one_to_one(n):
    keys = drawn(7, 200, 0, 2)
    orders = np.asarray(columns(lambda key: ordered(jnp.arange(n), key, n), keys))
    np.testing.assert_array_equal(
        np.sort(orders, 0), np.broadcast_to(np.arange(n)[:, None], orders.shape)
    )


@pytest.mark.parametrize(("n", "power"), [(3, 0.04), (4, 0.06), (5, 0.15)])
def test_all_orders_of_a_few_are_equally_likely(n, power):
    orders = np.asarray(
        columns(lambda key: ordered(jnp.arange(n), key, n), drawn(8, 200_000, 0, 2))
    )
    for order in itertools.permutations(range(n)):
        assert_mean(
            (orders == np.array(order)[:, None]).all(0), 1 / math.factorial(n), power, f"{order}"
        )


def test_pairs_of_places_are_equally_likely_among_many_examples():
    """Of 300, by the largest of 89,700 counts and their chi-square: a cipher of too few rounds
    shows here."""
    n, lanes = 300, 1_000_000
    pairs = np.asarray(
        columns(lambda key: ordered(jnp.array([3, 200]), key, n), drawn(9, lanes, 0, 2)), np.int64
    )
    counts = np.bincount(pairs[0] * n + pairs[1], minlength=n * n).reshape(n, n)
    assert np.trace(counts) == 0
    off, expected = counts[~np.eye(n, dtype=bool)], lanes / (n * (n - 1))
    cells = off.size
    assert_close(
        np.sum((off - expected) ** 2) / expected / cells,
        np.sqrt(2 / cells),
        1.0,
        0.03,
        "chi-square",
    )


def test_an_epoch_walks_through_every_example_once_in_any_order():
    n, size, lanes = 12, 4, 20_000
    state = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[..., None], (*leaf.shape, lanes)), first_epoch(n)
    )
    step = eqx.filter_jit(
        jax.vmap(lambda words, state: next_of_epoch(words, size, n, state), (-1, -1), (-1, -1))
    )
    for epoch in range(2):
        seen = []
        for k in range(n // size):
            index, state = step(drawn(2, lanes, epoch * n // size + k, 2), state)
            seen.append(np.asarray(index))
        whole = np.concatenate(seen)
        np.testing.assert_array_equal(
            np.sort(whole, 0), np.arange(n)[:, None] * np.ones(lanes, int)
        )
        for place in (0, 3, 4, 11):
            for example in (0, 5, 11):
                assert_mean(
                    whole[place] == example, 1 / n, 0.15, f"example {example} at place {place}"
                )
        together = (whole[0] == 3) & (whole[5] == 8)
        assert_mean(together, 1 / (n * (n - 1)), 0.5, "two places")


@pytest.mark.slow
def test_an_epoch_leaves_out_what_makes_no_batch():
    state, seen = first_epoch(10), []
    for k in range(8):
        index, state = next_of_epoch(drawn(3, 1, k, 2)[:, 0], 4, 10, state)
        seen.append(np.asarray(index))
    for first, second in (
        itertools.batched(seen, 2)
        if hasattr(itertools, "batched")
        else zip(*[iter(seen)] * 2, strict=True)
    ):
        assert len({*first.tolist(), *second.tolist()}) == 8


@pytest.mark.slow_cases("independent")
@pytest.mark.parametrize("sampling", ["independent", "replacement"])
def test_the_noise_of_a_batch_has_the_covariance_that_its_sampling_gives(sampling):
    net, size, lanes = network(), 6, 60_000
    rows = np.asarray(net.example_gradients(net.minimum), np.float64)
    rows = rows - rows.mean(0)
    n = len(rows)
    draw = (lambda w: subset(w, size, n)) if sampling == "independent" else (lambda w: below(w, n))
    index = np.asarray(columns(draw, drawn(4, lanes, 0, 2 if sampling == "independent" else size)))
    noise = rows[index].mean(0)  # (lanes, d)
    share = (n - size) / (n - 1) if sampling == "independent" else 1.0
    expected = (rows**2).mean(0) / size * share
    for j in np.argsort(expected)[-5:]:
        assert_mean(noise[:, j] ** 2, expected[j], 0.05, f"coordinate {j}")


# --- iterations ---


def mine(scale: float):
    """A custom transformation, which treats two layers of the tree apart."""
    chain = optax.chain(optax.clip_by_global_norm(0.5), optax.trace(0.8), optax.scale(-scale))
    return optax.multi_transform(
        {"a": chain, "b": optax.adam(scale)}, {"in": {"weight": "a", "bias": "b"}, "out": "b"}
    )


OPTIMIZERS = {
    "sgd": optax.sgd(0.05),
    "heavy ball": optax.sgd(0.02, momentum=0.9),
    "Nesterov": optax.sgd(0.02, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.01),
    "RMSProp": optax.rmsprop(0.01),
    "AdamW": optax.adamw(0.01, weight_decay=0.1),
    "layers apart": mine(0.02),
    "schedule": optax.adam(optax.cosine_decay_schedule(0.02, 50)),
}
# every optimiser, and every way to draw the batches
DRAWN = [(name, "epochs") for name in OPTIMIZERS]
DRAWN += [(n, s) for n in ("adam", "layers apart") for s in ("independent", "replacement")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sampling"), DRAWN)
def test_iterations_are_those_of_optax(name, sampling):
    net, size, num = network(), 5, 30
    kernel = ls.OptimizerKernel(OPTIMIZERS[name], net, batch_size=size, sampling=sampling)
    walk = ls.simulate_paths(kernel, net.minimum, num=3, seed=5, every=1, max_steps=num)
    params = jax.tree.map(jnp.asarray, net.unflatten(net.minimum))
    state, order = OPTIMIZERS[name].init(params), first_epoch(net.num_examples)
    gradient = eqx.filter_jit(
        lambda params, index: jax.grad(
            lambda p: (
                jnp.mean(losses(p, net.inputs[index], net.targets[index]))
                + 0.025 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(p))
            )
        )(params)
    )
    for k in range(num):
        words, n = drawn(5, 3, k, kernel.words_per_step)[:, 1], net.num_examples
        if sampling == "epochs":
            index, order = next_of_epoch(words, size, n, order)
        else:
            index = subset(words, size, n) if sampling == "independent" else below(words, n)
        updates, state = OPTIMIZERS[name].update(gradient(params, index), state, params)
        params = optax.apply_updates(params, updates)
        flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)])
        np.testing.assert_allclose(
            walk.positions[1, k + 1], flat, rtol=2e-4, atol=2e-5, err_msg=f"iteration {k}"
        )


@pytest.mark.slow
def test_the_whole_data_as_a_batch_is_gradient_descent():
    net = network()
    kernel = ls.OptimizerKernel("sgd", net, batch_size=24, hyperparameters={"learning_rate": 0.1})
    assert kernel.words_per_step == 0
    x = net.minimum
    walk = ls.simulate_paths(kernel, x, num=2, seed=0, every=1, max_steps=10)
    np.testing.assert_array_equal(walk.positions[0], walk.positions[1])
    for k in range(10):
        x = x - 0.1 * net.gradient(x)
        np.testing.assert_allclose(walk.positions[0, k + 1], x, rtol=1e-4, atol=1e-6)


def test_sgd_under_a_driver_makes_the_steps_of_its_sde():
    eta = 0.02
    kernel = ls.OptimizerKernel(optax.sgd(eta), WELL, driver=STABLE, iteration_time=eta)
    sde = ls.EulerMaruyama(ls.SGD(WELL, STABLE, learning_rate=eta), dt=eta)
    algorithm, model = (
        ls.simulate_escape(k, BALL, jnp.zeros(2), num=500, seed=3) for k in (kernel, sde)
    )
    assert np.mean(algorithm.steps == model.steps) > 0.99  # one may be on the edge
    assert algorithm.info.unit == model.info.unit == "SDE time"
    ratio = ls.compare(model, algorithm).ratio
    assert ratio.value == pytest.approx(1, rel=0.01)


@pytest.mark.slow
def test_two_optimisers_from_one_seed_see_the_same_noise():
    kernels = [
        ls.OptimizerKernel(t, WELL, driver=STABLE)
        for t in (optax.sgd(1e-3), optax.sgd(1e-3, momentum=0.9))
    ]
    first = [
        ls.simulate_paths(k, jnp.zeros(2), num=4, seed=1, every=1, max_steps=1).positions[:, 1]
        for k in kernels
    ]
    np.testing.assert_array_equal(*first)
    net = network()
    pair = [
        ls.OptimizerKernel(t, net, batch_size=4)
        for t in (optax.sgd(0.1), optax.sgd(0.1, momentum=0.9))
    ]
    first = [
        ls.simulate_paths(k, net.minimum, num=4, seed=1, every=1, max_steps=1).positions[:, 1]
        for k in pair
    ]
    np.testing.assert_array_equal(*first)


def test_heavy_ball_rests_with_the_exact_covariance():
    """Liu, Ziyin and Ueda 2021, at a rate where the continuous-time value is 9% and 55% off."""
    rate, momentum, hessian = 0.3, 0.5, jnp.diag(jnp.array([1.0, 4.0]))
    kernel = ls.OptimizerKernel(
        "sgd",
        WELL,
        driver=ls.Brownian(),
        scale=0.1,
        hyperparameters={"learning_rate": rate, "momentum": momentum},
    )
    walk = ls.simulate_paths(kernel, jnp.zeros(2), num=20_000, seed=0, every=60, max_steps=60)
    rest = sgd_covariance(hessian, 0.01 * np.eye(2), learning_rate=rate, momentum=momentum)
    expected = np.diag(rest.position)
    for j in range(2):
        assert_mean(
            np.asarray(walk.positions[:, -1, j], float) ** 2, expected[j], 0.06, f"coordinate {j}"
        )


@pytest.mark.slow
def test_hidden_keys_are_drawn_for_each_trajectory():
    kernel = ls.OptimizerKernel(optax.noisy_sgd(0.01, key=7), WELL, driver=STABLE, scale=1e-6)
    assert kernel.words_per_init == 2
    ends = ls.simulate_paths(kernel, jnp.zeros(2), num=50, seed=0, every=1, max_steps=1).positions[
        :, 1
    ]
    assert len(np.unique(ends[:, 0])) == 50


@pytest.mark.slow
def test_iterations_between_looks():
    """Ten iterations a step are the same iterations, seen at every tenth."""
    net = network()
    one, ten = (
        ls.OptimizerKernel(optax.adam(0.01), net, batch_size=24, iterations_per_step=k)
        for k in (1, 10)
    )
    every = ls.simulate_paths(one, net.minimum, num=1, seed=0, every=1, max_steps=20).positions[0]
    tenth = ls.simulate_paths(ten, net.minimum, num=1, seed=0, every=1, max_steps=2).positions[0]
    np.testing.assert_allclose(tenth, every[::10], rtol=1e-4, atol=1e-6)
    result = ls.simulate_escape(
        ls.OptimizerKernel(optax.sgd(0.1), WELL, driver=STABLE, iterations_per_step=10),
        BALL, jnp.zeros(2), num=50, seed=0, max_time=1000,
    )  # fmt: skip
    assert (result.time % 10 == 0).all()
    assert result.info.unit == "iterations"


@pytest.mark.slow
def test_a_state_to_start_with():
    settled = optax.tree.set(
        optax.adam(0.01).init(jnp.zeros(2)), nu=jnp.array([4.0, 9.0]), count=jnp.int32(10**6)
    )
    kernel = ls.OptimizerKernel(
        "adam",
        WELL,
        driver=STABLE,
        hyperparameters={"learning_rate": 0.01},
        optimizer_state=settled,
    )
    fresh = ls.OptimizerKernel("adam", WELL, driver=STABLE, hyperparameters={"learning_rate": 0.01})
    first, other = (
        ls.simulate_paths(k, jnp.zeros(2), num=4, seed=0, every=1, max_steps=1).positions[:, 1]
        for k in (kernel, fresh)
    )
    # a fresh ADAM's first step is a sign
    np.testing.assert_allclose(np.abs(other), 0.01, rtol=1e-3)
    assert (np.abs(first) < 0.1 * np.abs(other)).mean() > 0.7


@pytest.mark.slow
def test_bits_depend_on_no_layout():
    net = network()
    kernel = ls.OptimizerKernel(optax.adam(0.03), net, batch_size=4)
    domain = ls.Ball(radius=0.6, center=net.minimum)
    results = [
        ls.simulate_escape(
            kernel,
            domain,
            net.minimum,
            num=60,
            seed=2,
            max_steps=500,
            lanes=lanes,
            chunk=chunk,
            devices=devices,
        )
        for lanes, chunk, devices in ((16, 7, 1), (32, 100, 2))
    ]
    assert results[0].exited.mean() > 0.5
    for name in ("time", "exited", "label", "last_inside", "first_outside", "steps", "status"):
        np.testing.assert_array_equal(*(getattr(r, name) for r in results))


def test_another_learning_rate_compiles_nothing(monkeypatch):
    kernels = [
        ls.OptimizerKernel("adam", network(), batch_size=4, hyperparameters={"learning_rate": rate})
        for rate in (0.01, 0.02)
    ]
    assert jax.tree.structure(kernels[0]) == jax.tree.structure(kernels[1])
    assert kernels[0].name == "OptimizerKernel(adam, batches of 4, independent)"


@pytest.mark.slow
def test_a_result_names_how_its_minibatches_were_drawn():
    """And `compare` warns of two that were drawn differently, and of epochs against noise that is
    drawn anew."""
    basin = ls.Ball(radius=1.0, center=network().minimum)
    results = {}
    for sampling in ("independent", "replacement", "epochs"):
        kernel = ls.OptimizerKernel(
            "sgd", network(), 4, hyperparameters={"learning_rate": 0.1}, sampling=sampling
        )
        results[sampling] = ls.simulate_escape(
            kernel, basin, network().minimum, num=16, seed=0, max_steps=300
        )
        assert results[sampling].info.minibatches == sampling
        assert re.search(rf"minibatches +(with )?{sampling}", str(results[sampling]))
    whole = ls.OptimizerKernel("sgd", network(), 24, hyperparameters={"learning_rate": 0.1})
    assert (whole.minibatches, whole.name) == (None, "OptimizerKernel(sgd, all examples)")
    noisy = ls.OptimizerKernel(
        "sgd", network(), driver=ls.Brownian(), hyperparameters={"learning_rate": 0.1}
    )
    results["noise"] = ls.simulate_escape(
        noisy, basin, network().minimum, num=16, seed=0, max_steps=300
    )

    def warned(one, other):
        return [w for w in ls.compare(results[one], results[other]).warnings if "sampling=" in w]

    assert (
        warned("epochs", "epochs")
        == warned("noise", "replacement")
        == warned("replacement", "noise")
        == []
    )
    assert (
        'sampling="replacement", those of the reference run by '
        'sampling="epochs"' in warned("replacement", "epochs")[0]
    )
    assert "differs, and so do the mean escape times" in warned("independent", "replacement")[0]
    assert "nearly cancels over an epoch" in warned("epochs", "noise")[0]
    assert "nearly cancels over an epoch" in warned("noise", "epochs")[0]


def grows() -> optax.GradientTransformation:
    return optax.GradientTransformation(
        lambda params: (jnp.zeros(1),), lambda g, s, p=None: (g, (jnp.concatenate([s[0], s[0]]),))
    )


def wordy() -> optax.GradientTransformation:
    return optax.GradientTransformation(lambda params: ("heavy",), lambda g, s, p=None: (g, s))


SGD = optax.sgd(0.05)


def sam(period: int) -> optax.GradientTransformation:
    return optax.contrib.sam(SGD, optax.sgd(0.2), sync_period=period)


def free() -> optax.GradientTransformation:
    return optax.contrib.schedule_free(SGD, 0.05)


def private() -> optax.GradientTransformation:
    return optax.contrib.differentially_private_aggregate(1.0, 0.0, jax.random.key(0))


def plateau() -> optax.GradientTransformation:
    return optax.chain(SGD, optax.contrib.reduce_on_plateau())


def sums() -> optax.GradientTransformation:
    return optax.GradientTransformation(lambda params: (), lambda g, s, p=None: (jnp.sum(g), s))


@pytest.mark.parametrize("period", [2, 3])
def test_accumulated_gradients_move_every_few_iterations(period):
    """`MultiSteps` as a transformation takes the mean of the gradients of several batches, then
    moves once."""
    kernel = ls.OptimizerKernel(
        optax.MultiSteps(SGD, period).gradient_transformation(), WELL, driver=STABLE
    )
    plain = ls.OptimizerKernel(SGD, WELL, driver=STABLE)
    x, words = jnp.array([0.3, -0.2]), drawn(3, period, 0, 2)
    state, moves = kernel.init(x, jnp.zeros(0, jnp.uint32)), []
    for k in range(period):
        state = kernel.step(words[:, k], state)
        moves.append(plain.step(words[:, k], plain.init(x, jnp.zeros(0, jnp.uint32))).position - x)
        np.testing.assert_array_equal(state.position == x, [k < period - 1] * 2)
    np.testing.assert_allclose(state.position - x, sum(moves) / period, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (
            lambda: ls.OptimizerKernel(optax.sgd(0.1), WELL),
            ValueError,
            "exactly one of batch_size and driver",
        ),
        (
            lambda: ls.OptimizerKernel(optax.sgd(0.1), WELL, 3),
            TypeError,
            "Quadratic has no examples",
        ),
        (
            lambda: ls.OptimizerKernel(optax.sgd(0.1), WELL, 3, driver=STABLE),
            ValueError,
            "exactly one",
        ),
        (
            lambda: ls.OptimizerKernel(optax.sgd(0.1), network(), 25),
            ValueError,
            "batch_size must be from 1 to 24",
        ),
        (
            lambda: ls.OptimizerKernel(optax.sgd(0.1), network(), 2.5),
            TypeError,
            "batch_size must be an integer",
        ),
        (
            lambda: ls.OptimizerKernel(0.1, WELL, driver=STABLE),
            TypeError,
            "must be a GradientTransformation",
        ),
        (
            lambda: ls.OptimizerKernel("sdg", WELL, driver=STABLE),
            ValueError,
            "optax has no optimiser 'sdg'",
        ),
        (lambda: ls.OptimizerKernel("adam", WELL, driver=STABLE), TypeError, "learning_rate"),
        (
            lambda: ls.OptimizerKernel(optax.sgd(0.1), WELL, driver=0.1),
            TypeError,
            "driver must be a Driver",
        ),
        (
            lambda: ls.OptimizerKernel(optax.sgd(0.1), WELL, driver=ls.StudentT(3.0, dt=0.1)),
            ValueError,
            "dt=1",
        ),
        (
            lambda: ls.OptimizerKernel(optax.sgd(0.1), network(), 4, scale=2.0),
            ValueError,
            "scale belongs to",
        ),
        (
            lambda: ls.OptimizerKernel(optax.sgd(0.1), WELL, driver=STABLE, hyperparameters={}),
            ValueError,
            "has been made",
        ),
        (
            lambda: ls.OptimizerKernel(
                "sgd", WELL, driver=STABLE, hyperparameters={"learning_rate": np.nan}
            ),
            ValueError,
            r"hyperparameters\['learning_rate'\] must be finite",
        ),
        (
            lambda: ls.OptimizerKernel(
                "sgd", WELL, driver=STABLE, hyperparameters={"learning_rat": 0.1}
            ),
            TypeError,
            "learning_rat",
        ),
        (
            lambda: ls.OptimizerKernel(sam(2), WELL, driver=STABLE),
            TypeError,
            "two gradients of the same batch",
        ),
        (
            lambda: ls.OptimizerKernel(sam(2), network(), 4),
            TypeError,
            "no option for SAM. Write a Kernel",
        ),
        (
            lambda: ls.OptimizerKernel(optax.chain(optax.clip(1.0), sam(2)), network(), 4),
            TypeError,
            "same batch",
        ),
        (
            lambda: ls.OptimizerKernel(free(), WELL, driver=STABLE),
            TypeError,
            "evaluated at another",
        ),
        (
            lambda: ls.OptimizerKernel(optax.lookahead(SGD, 5, 0.5), WELL, driver=STABLE),
            TypeError,
            "its fast optimiser",
        ),
        (
            lambda: ls.OptimizerKernel(private(), WELL, driver=STABLE),
            TypeError,
            "clips the gradient of each example",
        ),
        (
            lambda: ls.OptimizerKernel(sums(), WELL, driver=STABLE),
            TypeError,
            r"updates of shape \(\) for .* \(2,\)",
        ),
        (
            lambda: ls.OptimizerKernel(optax.lbfgs(), WELL, driver=STABLE),
            TypeError,
            "linesearch=None",
        ),
        (
            lambda: ls.OptimizerKernel(plateau(), WELL, driver=STABLE),
            TypeError,
            "fixed learning rate",
        ),
        (
            lambda: ls.OptimizerKernel(optax.polyak_sgd(), WELL, driver=STABLE),
            TypeError,
            "no loss or function",
        ),
        (
            lambda: ls.OptimizerKernel(optax.MultiSteps(SGD, 3), network(), 4),
            TypeError,
            r"MultiSteps\(\.\.\.\)\.gradient_transformation\(\)",
        ),
        (lambda: ls.OptimizerKernel(grows(), WELL, driver=STABLE), TypeError, "changes its shape"),
        (
            lambda: ls.OptimizerKernel(wordy(), WELL, driver=STABLE),
            TypeError,
            "arrays only, but holds 'heavy'",
        ),
        (
            lambda: ls.OptimizerKernel(mine(0.1), WELL, driver=STABLE),
            TypeError,
            "the optimiser fails",
        ),
        (
            lambda: ls.OptimizerKernel(optax.adam(0.1), WELL, driver=STABLE, optimizer_state=3.0),
            TypeError,
            "fails on this landscape's parameters and this optimizer_state",
        ),
        (
            lambda: ls.OptimizerKernel(optax.sgd(0.1), WELL, driver=STABLE, sampling="epoch"),
            ValueError,
            "sampling must be",
        ),
        (
            lambda: ls.OptimizerKernel(optax.sgd(0.1), WELL, driver=STABLE, iteration_time=0),
            ValueError,
            "iteration_time",
        ),
    ],
)
def test_bad_input_is_refused_in_words(make, kind, words):
    with pytest.raises(kind, match=words):
        make()


# --- noise as it was measured ---


@pytest.mark.slow
def test_empirical_steps_are_means_of_rows(dtype):
    net, size = network(), 5
    rows = np.asarray(net.example_gradients(net.minimum), np.float64)
    driver, words = ls.EmpiricalSteps(rows, batch_size=size), drawn(6, 60_000, 0, size)
    x = np.asarray(
        columns(lambda w: driver.increment(w, rows.shape[1], jnp.asarray(1.0)), words), np.float64
    )
    centred = rows - rows.mean(0)
    index = np.asarray(below(words, len(rows)))
    np.testing.assert_allclose(x, centred[index].mean(0).T, rtol=1e-3, atol=1e-5)
    k = np.linspace(-0.2, 0.2, rows.shape[1])
    value = np.exp(-complex(driver.exponent(jnp.asarray(k))))
    assert_mean(np.cos(k @ x), value.real, 0.05)
    assert np.mean(np.exp(1j * (centred @ k) / size)) ** size == pytest.approx(value, rel=1e-4)
    with pytest.raises(ValueError, match="no escape law of jumps"):
        driver.levy_rays(2, 10, 0)
    with pytest.raises(ValueError, match="coordinates, but 2 are asked for"):
        driver.words_per_step(2)
    with pytest.raises(ValueError, match="own step dt = 1"):
        driver.check_step(0.1)


@pytest.mark.parametrize(
    ("rows", "size", "words"),
    [
        (np.ones((4, 2)), 1, "all the same"),
        (np.ones(4), 1, "shape"),
        (np.full((4, 2), np.nan), 1, "finite"),
        (np.eye(2), 0, "batch_size"),
    ],
)
def test_bad_rows_are_refused(rows, size, words):
    with pytest.raises(ValueError, match=words):
        ls.EmpiricalSteps(rows, size)
