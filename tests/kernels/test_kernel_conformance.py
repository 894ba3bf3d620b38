"""Kernels: one conformance suite for every class."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import levysde as ls
from levysde.interfaces import is_lane_invariant
from levysde.protocols import Kernel

WELL = ls.Quadratic(hessian=jnp.diag(jnp.array([1.0, 2.0])))
LANGEVIN = ls.Langevin(WELL, diffusion=0.3)
STABLE = ls.SGD(WELL, ls.StableComponents(alpha=1.5), epsilon=0.4)
BALL = ls.Ball(radius=1.0, center=jnp.zeros(2))
PATH = diffrax.UnsafeBrownianPath(shape=(2,), key=jax.random.key(0))
KERNELS = {
    "Bridged": ls.Bridged(ls.EulerMaruyama(LANGEVIN, dt=0.02), BALL),
    "DiffraxKernel": ls.DiffraxKernel(LANGEVIN, diffrax.Euler(), dt=0.02),
    "DiffraxKernel, terms": ls.DiffraxKernel(
        diffrax.MultiTerm(
            diffrax.ODETerm(lambda t, y, args: -args * jnp.cos(t) * y),
            diffrax.ControlTerm(lambda t, y, args: (1 + t) * jnp.outer(1 + y, args), PATH),
        ),
        diffrax.EulerHeun(),
        dt=0.02,
        dim=2,
        args=jnp.array([1.0, 0.5]),
    ),
    "EulerMaruyama": ls.EulerMaruyama(STABLE, dt=0.02),
    "JumpAdapted": ls.JumpAdapted(STABLE, dt=0.02, cutoff=0.5, domain=BALL),
    "LinearRegressionSGD": ls.LinearRegressionSGD(2, 0.2, 3),
    "OptimizerKernel": ls.OptimizerKernel(
        "adam",
        WELL,
        driver=ls.StableComponents(alpha=1.5),
        hyperparameters={"learning_rate": 0.02},
        iteration_time=0.02,
    ),
    "Reflected": ls.Reflected(ls.EulerMaruyama(STABLE, dt=0.02), BALL),
    "OrnsteinUhlenbeck": ls.OrnsteinUhlenbeck(STABLE, dt=0.02),
    "TamedEuler": ls.TamedEuler(STABLE, dt=0.02),
}


def final_classes(cls):
    below = [c for c in cls.__subclasses__() if c.__module__.startswith("levysde.")]
    return {name for c in below for name in final_classes(c)} or {cls.__name__}


def test_every_kernel_is_here():
    assert final_classes(Kernel) == {name.split(",")[0] for name in KERNELS}


def words(num, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 2**32, num, dtype=np.uint32))


@pytest.mark.parametrize("name", KERNELS)
def test_conformance(name):
    kernel, x0 = KERNELS[name], jnp.array([0.2, -0.1])
    step = eqx.filter_jit(kernel.step)
    state = kernel.init(x0, words(kernel.words_per_init))
    np.testing.assert_array_equal(kernel.position(state), x0)
    assert kernel.dim == 2
    assert kernel.unit in ("SDE time", "iterations")
    # a step is a function of its words, keeps shapes and dtypes, and moves
    new = step(words(kernel.words_per_step, 1), state)
    again = step(words(kernel.words_per_step, 1), state)
    jax.tree.map(np.testing.assert_array_equal, new, again)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), new) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), state
    )
    assert (np.asarray(kernel.position(new)) != np.asarray(x0)).any()
    assert is_lane_invariant(kernel.step, words(kernel.words_per_step), state)
    # the clock runs, in numpy with the lane axis last, and `steps_within` is enough for it to reach
    # a time
    enough, clocks = kernel.steps_within(0.5), []
    for i in range(enough):
        state = step(words(kernel.words_per_step, i), state)
        lanes = jax.tree.map(lambda leaf: np.asarray(leaf)[..., None], state)
        clocks.append(kernel.elapsed(lanes, np.array([i + 1], np.uint32)))
    assert clocks[0].shape == (1,)
    assert clocks[0].dtype == np.float64
    left = not bool(BALL.contains(kernel.position(state)))
    # these stop their clocks where the path left
    if name not in ("Bridged", "JumpAdapted") or not left:
        assert (np.diff(np.ravel(clocks)) > 0).all()
        assert clocks[-1][0] >= 0.5 * (1 - 1e-5)
    directions = kernel.noise_directions()
    assert directions.ndim == 2
    assert directions.shape[1] == 2
    assert np.linalg.matrix_rank(directions) == 2


@pytest.mark.parametrize("name", KERNELS)
def test_numbers_are_leaves(name):
    """Other numbers compile nothing new."""
    traces, kernel = [], KERNELS[name]
    state = kernel.init(jnp.zeros(2), words(kernel.words_per_init))

    @eqx.filter_jit
    def look(kernel, state):
        traces.append(1)
        return kernel.step(words(kernel.words_per_step), state)

    look(kernel, state)
    look(
        jax.tree.map(lambda leaf: leaf * 1.01 if eqx.is_inexact_array(leaf) else leaf, kernel),
        state,
    )
    assert len(traces) == 1
