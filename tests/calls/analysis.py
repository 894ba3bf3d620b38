"""Calls of `levysde.analysis`."""

from collections.abc import Iterator
from functools import cache

import jax.numpy as jnp
import numpy as np

import levysde as ls
from calls.small import ball, kernel, law, result
from calls.table import Call, Exempt
from levysde import analysis, theory


@cache
def exact() -> theory.FirstPassage:
    well = kernel(1).dynamics.landscape
    return theory.exact_exit(ls.SGD(well, ls.Brownian(), epsilon=0.5), ball(1))


def calls() -> Iterator[Call | Exempt]:
    yield from _measurements()
    received = (
        *(analysis.Comparison, analysis.Landings, analysis.Starts),
        *(analysis.ExitDirections, analysis.LastJumps, analysis.Extrapolation),
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
            "statistic": lambda result: result.time,
            "confidence": 0.95,
            "lanes": 16,
        },
        host=True,
    )
    yield Call(
        ls.quasi_stationary_starts,
        lambda: {
            "kernel": kernel(),
            "domain": ball(),
            "x0": jnp.zeros(2),
            "num": 4,
            "seed": 0,
            "duration": 0.5,
        },
        host=True,
    )
    yield Call(analysis.with_epsilon, lambda: {"dynamics": kernel().dynamics, "epsilon": 0.1})
