"""Calls of `levysde.landscapes`."""

from collections.abc import Iterator

import jax.numpy as jnp

import levysde as ls
from calls.table import Call, Exempt
from levysde import landscapes

WELL = ls.DoubleWell()


def calls() -> Iterator[Call | Exempt]:
    yield from formulas()
    yield from networks()


def formulas() -> Iterator[Call | Exempt]:
    yield Call(
        landscapes.Quadratic, lambda: {"hessian": jnp.array([1.0, 4.0]), "minimum": jnp.zeros(2)}
    )
    yield Call(
        landscapes.Quadratic,
        lambda: {"hessian": jnp.diag(jnp.array([1.0, 4.0])), "minimum": jnp.ones(2)},
    )
    yield Call(
        landscapes.DoubleWell, lambda: {"barrier": 1.0, "distance": 1.0, "stiffness": 1.0, "dim": 2}
    )
    chain = {
        "positions": jnp.array([-1.0, 0.0, 1.0]),
        "heights": jnp.array([0.0, 1.0, 0.0]),
        "curvatures": jnp.array([8.0, -4.0, 8.0]),
    }
    yield Call(landscapes.WellChain, lambda: chain | {"stiffness": 1.0, "dim": 2, "marked": 1})
    wells = {
        "sharp_curvature": 16.0,
        "flat_curvature": 2.0,
        "saddle_curvature": 2.0,
        "stiffness": 1.0,
        "dim": 2,
        "marked": 1,
    }
    sides = {"barriers": jnp.array([1.0, 0.5]), "distances": jnp.array([0.8, 2.0])}
    yield Call(landscapes.sharp_flat, lambda: wells | sides)
    valley = {"left": 10.0, "right": 0.5, "smoothing": 0.1, "stiffness": 1.0, "dim": 2}
    yield Call(landscapes.AsymmetricValley, lambda: valley)
    yield Call(
        landscapes.StyblinskiTang, lambda: {"dim": 2, "hessian_factor": 2.0, "loss_factor": 0.5}
    )
    yield Call(landscapes.Rastrigin, lambda: {"dim": 2, "amplitude": 10.0})
    yield Call(landscapes.MuellerBrown, lambda: {"loss_factor": 0.01})
    linear = {
        "widths": (2, 1, 2),
        "target": jnp.array([[1.0, 0.5], [0.0, 1.0]]),
        "weight_decay": 0.01,
    }
    yield Call(landscapes.DeepLinear, lambda: linear, host=True)
    yield Call(
        landscapes.MatrixSensing, lambda: {"num_rows": 3, "rank": 1, "measurements": 10, "seed": 0}
    )
    yield Call(landscapes.Modified, lambda: {"landscape": WELL, "learning_rate": 0.1})
    yield Call(landscapes.rescaled, lambda: {"landscape": WELL, "hessian_factor": 2.0})
    yield Call(landscapes.in_float64, lambda: {"landscape": WELL})
    yield Call(
        landscapes.from_function,
        lambda: {"fn": lambda x: jnp.sum(x * x), "dim": 2, "minimum": jnp.zeros(2)},
        host=True,
    )
    yield Exempt(landscapes.FunctionLandscape, "made by from_function")
    yield Exempt(landscapes.Rescaled, "made by rescaled")


def networks() -> Iterator[Call | Exempt]:
    data = {
        "params": {"w": jnp.ones(2)},
        "inputs": jnp.ones((3, 2)),
        "targets": jnp.arange(3.0),
        "weight_decay": 0.1,
    }
    one = {"loss": lambda params, row, target: (row @ params["w"] - target) ** 2, "batched": False}
    several = {
        "loss": lambda params, rows, targets: (rows @ params["w"] - targets) ** 2,
        "batched": True,
    }
    for loss in (one, several):
        yield Call(landscapes.from_network, lambda loss=loss: data | loss)
    settings = {"num_images": 10, "weight_decay": 0.1, "seed": 0}
    yield Call(landscapes.digits_mlp, lambda: settings | {"hidden": 1}, cheap=False)
    yield Call(landscapes.digits_cnn, lambda: settings | {"channels": 1}, cheap=False)
    linear = {"dataset": "iris", "weight_decay": 0.1}
    yield Call(landscapes.softmax_regression, lambda: linear, cheap=False, host=True)
    yield Call(
        landscapes.logistic_regression,
        lambda: linear | {"dataset": "breast_cancer"},
        cheap=False,
        host=True,
    )
    layers = {"depth": 2, "width": 1, "seed": 0}
    yield Call(landscapes.fully_connected, lambda: linear | layers, cheap=False)
    yield Exempt(landscapes.NetworkLandscape, "made by from_network")
    yield Exempt(
        landscapes.model_parameters, "part of from_network and diagnose, which check first"
    )
    yield Exempt(landscapes.flat_vector_hint, "part of their messages")
    yield Exempt(landscapes.flattened, "part of at and refine, which check its numbers")
