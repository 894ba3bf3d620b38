"""Small problems that the tables of calls share, each made once."""

import atexit
import tempfile
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import levysde as ls
from levysde import networks, theory


@cache
def folder() -> Path:
    """A folder of this process, removed at its end."""
    made = tempfile.TemporaryDirectory()
    atexit.register(made.cleanup)
    return Path(made.name)


@cache
def kernel(dim: int = 2) -> ls.EulerMaruyama:
    well = ls.Quadratic(hessian=jnp.eye(dim))
    return ls.EulerMaruyama(ls.SGD(well, ls.StableComponents(alpha=1.5), epsilon=0.5), dt=0.1)


@cache
def ball(dim: int = 2) -> ls.Ball:
    return ls.Ball(radius=1.0, center=jnp.zeros(dim))


@cache
def result(dim: int = 2) -> ls.EscapeResult:
    """Four trajectories that left."""
    return ls.simulate_escape(kernel(dim), ball(dim), jnp.zeros(dim), num=4, seed=0)


@cache
def law(dim: int = 2) -> ls.EscapeLaw:
    return ls.escape_law(kernel(dim).dynamics, ball(dim), check=False)


@cache
def paths() -> ls.Paths:
    return ls.simulate_paths(
        kernel(), jnp.zeros(2), num=2, seed=0, every=10, max_steps=40, domain=ball()
    )


@cache
def action() -> theory.MinimumAction:
    """Two paths of four segments, made by hand."""
    paths = np.stack([np.linspace([0.0, 0.0], [1.0, side], 5) for side in (1.0, -1.0)])
    return theory.MinimumAction(0.5, 1e-3, paths[0], np.array([0.5, 0.6]), paths, 3, 2, ("far",))


@jax.tree_util.register_pytree_with_keys_class
class Frozen:
    """A dictionary that is a tree of its own kind, like flax's FrozenDict."""

    def __init__(self, held):
        self.held = held

    def __getitem__(self, name):
        return self.held[name]

    def tree_flatten_with_keys(self):
        names = sorted(self.held)
        return [(jax.tree_util.DictKey(n), self.held[n]) for n in names], tuple(names)

    @classmethod
    def tree_unflatten(cls, names, leaves):
        return cls(dict(zip(names, leaves, strict=True)))


def squared(params: jnp.ndarray, features: jnp.ndarray, target: jnp.ndarray) -> jnp.ndarray:
    """The loss of a linear regression at one example."""
    return (jnp.sum(features * params) - target) ** 2 / 2


@cache
def regression() -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of eight examples in two dimensions."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, 2)), rng.normal(size=8)


@cache
def network() -> ls.landscapes.NetworkLandscape:
    """A linear regression at its minimum."""
    net = ls.from_network(squared, np.zeros(2), *regression(), weight_decay=0.1)
    return net.at(jnp.asarray(networks.refine(net, net.minimum).point, dtype=float))


@cache
def track() -> networks.Track:
    """Two checkpoints, the second at the minimum."""
    return networks.track(
        squared,
        [np.zeros(2), np.asarray(network().minimum)],
        regression(),
        batch_size=2,
        iterations=[0, 10],
        learning_rate=0.1,
        weight_decay=0.1,
        num_batches=400,
    )


@cache
def diagnosis() -> ls.Diagnosis:
    return ls.diagnose(
        squared,
        np.asarray(network().minimum),
        regression(),
        batch_size=2,
        learning_rate=0.1,
        weight_decay=0.1,
        num_batches=400,
        num_rays=16,
        num_escapes=0,
    )
