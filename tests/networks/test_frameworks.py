"""Models of flax, haiku and equinox, as the page on networks in docs/howto brings them in."""

import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from calls.small import Frozen

import levysde as ls

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "network.md"
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(40, 3))
TARGETS = (INPUTS[:, 0] > 0).astype(int)
DECAY = {"weight_decay": 0.05}


def cross_entropy(logits, label):
    return jax.nn.logsumexp(logits) - logits[label]


def block(framework: str) -> str:
    """The code below the name of a framework on the page."""
    (code,) = re.findall(rf"\*\*{framework}\.\*\*.*?```python\n(.*?)```", PAGE.read_text(), re.S)
    return code


def linen():
    nn = pytest.importorskip("flax.linen")

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(jnp.tanh(nn.Dense(3)(x)))

    return {"model": Model()}


def nnx_model():
    """With batch statistics, and a random stream."""
    nnx = pytest.importorskip("flax.nnx")

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(3, 3, rngs=rngs), nnx.Linear(3, 2, rngs=rngs)
            self.norm = nnx.BatchNorm(3, use_running_average=True, rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs, deterministic=True)

        def __call__(self, x):
            return self.last(self.drop(jnp.tanh(self.norm(self.first(x)))))

    return {"model": Model(nnx.Rngs(0)), "nnx": nnx}


def haiku():
    hk = pytest.importorskip("haiku")
    return {"model": lambda x: hk.Linear(2)(jnp.tanh(hk.Linear(3)(x))), "hk": hk}


def equinox():
    return {"model": eqx.nn.MLP(3, 2, 3, 1, activation=jnp.tanh, key=jax.random.key(0))}


def problem(framework: str, make):
    names = {"jax": jax, "inputs": INPUTS, "cross_entropy": cross_entropy} | make()
    exec(block(framework), names)
    return names["loss"], names["params"]


FRAMEWORKS = {"flax.linen": linen, "flax.nnx": nnx_model, "haiku": haiku, "equinox": equinox}


# trees of the same kinds, which need no framework: a registered container, and an object beside the
# weights
PLAIN = {
    "frozen": (
        lambda p, x, y: cross_entropy(jnp.tanh(x @ p["in"]["w"]) @ p["out"]["w"], y),
        lambda: Frozen(
            {"in": Frozen({"w": np.eye(3)}), "out": Frozen({"w": np.eye(3, 2)})},
        ),
    ),
    "function": (
        lambda p, x, y: cross_entropy(p["act"](x @ p["layer"]["w"] + p["layer"]["b"]), y),
        lambda: {"layer": {"w": np.eye(3, 2), "b": np.zeros(2)}, "act": jnp.tanh},
    ),
}


def same_kind(one, other) -> None:
    assert type(one) is type(other)
    assert jax.tree.structure(one) == jax.tree.structure(other)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_block_has_at_most_five_lines(framework):
    assert len([line for line in block(framework).splitlines() if line]) <= 5


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_model_is_trained_and_comes_back(framework):
    loss, params = problem(framework, FRAMEWORKS[framework])
    network = ls.from_network(loss, params, INPUTS, TARGETS, **DECAY)
    trained = ls.networks.train(network, optax.adam(0.02), batch_size=20, epochs=10)
    same_kind(trained, params)
    assert loss(trained, INPUTS[0], TARGETS[0]).shape == ()
    before, after = (float(network.at(p).value(network.flatten(p))) for p in (params, trained))
    assert after < before
    minimum = ls.networks.refine(network, trained)
    same_kind(network.unflatten(jnp.asarray(minimum.point)), params)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*PLAIN, *FRAMEWORKS])
def test_a_model_is_diagnosed_and_tracked(kind):
    if kind in PLAIN:
        loss, make = PLAIN[kind]
        params = make()
    else:
        loss, params = problem(kind, FRAMEWORKS[kind])
    network = ls.from_network(loss, params, INPUTS, TARGETS, **DECAY)
    trained = ls.networks.train(network, batch_size=20, epochs=200)
    given = {"batch_size": 10, "learning_rate": 0.1, "num_batches": 400, **DECAY}
    report = ls.diagnose(
        loss, trained, (INPUTS, TARGETS), num_rays=16, num_escapes=16, time_budget=2.0, **given
    )
    assert report.dim == network.dim
    same_kind(report.tree(report.covariance.variance), params)
    found = ls.networks.track(loss, [params, trained], (INPUTS, TARGETS), **given)
    assert found.sharpness[1] == report.hessian.largest[0]
    assert found.loss[1] == report.loss < found.loss[0]


def test_of_a_whole_nnx_model_the_parameters_are_trained():
    parts = nnx_model()
    model, nnx = parts["model"], parts["nnx"]

    def loss(model, x, y):
        return cross_entropy(model(x), y)

    network = ls.from_network(loss, model, INPUTS, TARGETS, **DECAY)
    assert network.dim == 3 * 3 + 3 + 3 + 3 + 3 * 2 + 2
    split, params = problem("flax.nnx", nnx_model)
    other = ls.from_network(split, params, INPUTS, TARGETS, **DECAY)
    assert other.dim == network.dim
    for optimizer in ("sgd", optax.sgd(0.1)):
        one, two = (ls.networks.train(net, optimizer, epochs=3) for net in (network, other))
        assert type(one) is type(model)
        np.testing.assert_allclose(network.flatten(one), other.flatten(two), rtol=1e-5)
    np.testing.assert_array_equal(one.norm.mean, model.norm.mean)
    assert isinstance(nnx.state(one), nnx.State)
    one.norm.mean = nnx.BatchStat(jnp.ones(3))
    with pytest.raises(ValueError, match=r"not trained, for example in a batch statistic"):
        network.at(one)
