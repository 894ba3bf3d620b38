"""Calls of `levysde.kernels`."""

from collections.abc import Iterator

import diffrax
import jax
import jax.numpy as jnp
import optax

import levysde as ls
from calls.table import Call, Exempt
from levysde import kernels

WELL = ls.Quadratic(hessian=jnp.array([1.0, 4.0]))
STABLE = ls.SGD(WELL, ls.StableComponents(alpha=1.5), epsilon=0.1)
GAUSSIAN = ls.Langevin(WELL, diffusion=0.1)
BALL = ls.Ball(radius=1.0, center=jnp.zeros(2))


def calls() -> Iterator[Call | Exempt]:
    for kernel in (kernels.EulerMaruyama, kernels.TamedEuler, kernels.OrnsteinUhlenbeck):
        host = kernel is kernels.OrnsteinUhlenbeck
        yield Call(kernel, lambda: {"dynamics": STABLE, "dt": 0.01}, host=host)
    yield Call(
        kernels.Bridged,
        lambda: {"kernel": kernels.EulerMaruyama(GAUSSIAN, dt=0.01), "domain": BALL},
    )
    yield Call(
        kernels.Reflected,
        lambda: {"kernel": kernels.EulerMaruyama(GAUSSIAN, dt=0.01), "domain": BALL},
    )
    yield Call(
        kernels.JumpAdapted, lambda: {"dynamics": STABLE, "dt": 0.01, "cutoff": 0.5, "domain": BALL}
    )
    own = {"dim": None, "args": None, "attractor": None}
    yield Call(
        kernels.DiffraxKernel,
        lambda: own | {"terms": GAUSSIAN, "solver": diffrax.Heun(), "dt": 0.01},
    )
    yield Call(
        kernels.DiffraxKernel,
        lambda: {
            "terms": terms(),
            "solver": diffrax.Heun(),
            "dt": 0.01,
            "dim": 2,
            "args": {"rate": jnp.ones(2)},
            "attractor": jnp.zeros(2),
        },
    )
    regression = {
        "dim": 2,
        "learning_rate": 0.1,
        "batch_size": 4,
        "label_noise": 1.0,
        "input_scale": 1.0,
    }
    yield Call(kernels.LinearRegressionSGD, lambda: regression)
    yield from optimizers()


def terms() -> diffrax.MultiTerm:
    path = diffrax.UnsafeBrownianPath(shape=(2,), key=jax.random.key(0))
    return diffrax.MultiTerm(
        diffrax.ODETerm(lambda t, y, args: -args["rate"] * y),
        diffrax.ControlTerm(lambda t, y, args: 0.1 * jnp.eye(2), path),
    )


def optimizers() -> Iterator[Call]:
    def loss(params, row, target):
        return (row @ params - target) ** 2

    network = ls.from_network(loss, jnp.ones(2), jnp.ones((3, 2)), jnp.arange(3.0))
    own = {"scale": None, "optimizer_state": None, "iterations_per_step": 2}
    batches = {
        "landscape": network,
        "batch_size": 2,
        "driver": None,
        "sampling": "epochs",
        "iteration_time": 0.1,
    }
    noisy = {
        "landscape": WELL,
        "batch_size": None,
        "driver": ls.Brownian(),
        "sampling": "independent",
    }
    made = {"transformation": optax.sgd(0.1), "hyperparameters": None}
    named = {"transformation": "sgd", "hyperparameters": {"learning_rate": 0.1}}
    synthetic = own | noisy | {"scale": jnp.ones(2), "iteration_time": None}
    yield Call(kernels.OptimizerKernel, lambda: own | batches | named)
    yield Call(kernels.OptimizerKernel, lambda: synthetic | made)
    momentum = optax.sgd(0.1, momentum=0.9)
    started = {"transformation": momentum, "optimizer_state": momentum.init(jnp.zeros(2))}
    yield Call(kernels.OptimizerKernel, lambda: synthetic | made | started)
