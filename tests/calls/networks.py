"""Calls of `levysde.networks`."""

from collections.abc import Iterator

import numpy as np

import levysde as ls
from calls.small import network, regression, squared
from calls.table import Call, Exempt
from levysde import networks


def calls() -> Iterator[Call | Exempt]:
    for kind in (
        networks.Diagnosis,
        networks.PredictedEscape,
        networks.SimulatedEscape,
        networks.GradientNoise,
        networks.Minimum,
        networks.Track,
    ):
        yield Exempt(kind, "users only receive it")
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
            "stable_noise": "components",
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
        networks.track,
        lambda: {
            "loss_fn": squared,
            "checkpoints": [np.zeros(2), np.asarray(network().minimum)],
            "data": regression(),
            "batch_size": 2,
            "iterations": np.array([0, 10]),
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "weight_decay": 0.1,
            "batched": False,
            "alpha": 1.5,
            "basin_height": 0.1,
            "delta": 1e-8,
            "num_batches": 400,
            "memory_budget": 1.0,
            "confidence": 0.95,
            "seed": 0,
        },
        cheap=False,
        host=True,
    )
    yield Call(
        networks.measure_gradient_noise,
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
        networks.train,
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
        networks.refine,
        lambda: {
            "landscape": network(),
            "x": network().minimum,
            "tolerance": 1e-8,
            "max_steps": 50,
        },
        host=True,
    )
