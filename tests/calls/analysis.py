"""Calls of `levysde.analysis`."""

from collections.abc import Iterator
from functools import cache

import jax.numpy as jnp
import numpy as np

import levysde as ls
from calls.small import ball, kernel, law, network, regression, result, squared
from calls.table import Call, Exempt
from levysde import analysis, theory


@cache
def exact() -> theory.FirstPassage:
    well = kernel(1).dynamics.landscape
    return theory.exact_exit(ls.SGD(well, ls.Brownian(), epsilon=0.5), ball(1))


def calls() -> Iterator[Call | Exempt]:
    yield from _measurements()
    yield from _networks()
    received = (
        *(analysis.Comparison, analysis.Diagnosis, analysis.PredictedEscape, analysis.SimulatedEscape),
        *(analysis.ExitDirections, analysis.LastJumps, analysis.Extrapolation),
        *(analysis.GradientNoise, analysis.Landings, analysis.Starts, analysis.Minimum),
    )
    for kind in received:
        yield Exempt(kind, "users only receive it")


def _measurements() -> Iterator[Call]:
    yield Call(
        ls.compare,
        lambda: {
            "result": result(1),
            "reference": law(1),
            "exact": exact(),
            "confidence": 0.95,
        },
        host=True,
    )
    yield Call(
        ls.compare,
        lambda: {"result": result(), "reference": result(), "exact": None, "confidence": 0.9},
        host=True,
    )
    yield Call(
        ls.exit_directions,
        lambda: {
            "result": result(),
            "landscape": kernel().dynamics.landscape,
            "minimum": jnp.zeros(2),
            "law": law(),
            "confidence": 0.95,
        },
        host=True,
    )
    yield Call(
        ls.exit_directions,
        lambda: {
            "result": result(),
            "landscape": np.diag([1.0, 2.0]),
            "minimum": jnp.zeros(2),
            "law": None,
            "confidence": 0.95,
        },
        host=True,
    )
    yield Call(
        ls.last_jumps,
        lambda: {
            "result": result(),
            "kernel": kernel(),
            "domain": ball(),
            "threshold": 0.5,
            "window": 1,
            "confidence": 0.95,
        },
        host=True,
    )
    yield Call(
        ls.landing_sharpness,
        lambda: {
            "result": result(),
            "landscape": kernel().dynamics.landscape,
            "minima": jnp.zeros((1, 2)),
            "tolerance": 1e-4,
            "max_steps": 1000,
            "confidence": 0.95,
        },
        host=True,
    )
    yield Call(
        ls.extrapolate_escape,
        lambda: {
            "make": lambda dt: (ls.EulerMaruyama(kernel().dynamics, dt=dt), ball()),
            "x0": jnp.zeros(2),
            "steps": [0.2, 0.1],
            "num": 4,
            "seed": 0,
            "order": 1.0,
            "value": lambda result: result.time,
            "confidence": 0.95,
            "lanes": 16,
        },
        host=True,
    )
    yield Call(
        ls.quasi_stationary_starts,
        lambda: {"kernel": kernel(), "domain": ball(), "x0": jnp.zeros(2), "num": 4, "seed": 0, "time": 0.5},
        host=True,
    )


def _networks() -> Iterator[Call]:
    yield Call(
        ls.diagnose,
        lambda: {
            "loss_fn": squared,
            "params": np.asarray(network().minimum),
            "data": regression(),
            "batch_size": 2,
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "weight_decay": 0.1,
            "batched": False,
            "alpha": 1.5,
            "noise": "components",
            "basin_height": 0.1,
            "settle": 0,
            "delta": 1e-8,
            "num_batches": 400,
            "num_eigenvalues": 2,
            "num_probes": 4,
            "num_rays": 16,
            "num_escapes": 0,
            "memory_budget": 1.0,
            "time_budget": 1.0,
            "confidence": 0.95,
            "seed": 0,
        },
        cheap=False,
        host=True,
        fine={"params": ("list",)},  # is another tree of parameters, which the loss does not take
    )
    yield Call(
        analysis.measure_gradient_noise,
        lambda: {
            "landscape": network(),
            "x": network().minimum,
            "batch_size": 2,
            "num_batches": 400,
            "seed": 0,
            "alpha": 1.5,
        },
        host=True,
    )
    yield Call(
        analysis.train,
        lambda: {
            "landscape": network(),
            "optimizer": "sgd",
            "seed": 0,
            "learning_rate": 0.01,
            "batch_size": 2,
            "epochs": 1,
        },
        host=True,
    )
    yield Call(
        analysis.polish,
        lambda: {"landscape": network(), "x": network().minimum, "tolerance": 1e-8, "max_steps": 50},
        host=True,
    )
    yield Call(analysis.with_epsilon, lambda: {"dynamics": kernel().dynamics, "epsilon": 0.1})
