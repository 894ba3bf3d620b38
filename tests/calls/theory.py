"""Calls of `levysde.theory`."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np

import levysde as ls
from calls.table import Call, Exempt
from levysde import protocols, theory

# what one may ask of a time or a place of any shape, or of no place at all
ANY_SHAPE = ("shape", "several")


@cache
def wells() -> protocols.Landscape:
    return ls.from_function(lambda x: (x[0] ** 2 - 1) ** 2 / 4, dim=1, minimum=jnp.array([-1.0]))


@cache
def sgd() -> protocols.Dynamics:
    return ls.SGD(ls.Quadratic(hessian=jnp.ones(1)), ls.StableComponents(alpha=1.5), epsilon=0.5)


def ball() -> protocols.Domain:
    return ls.Ball(radius=1.0, center=jnp.zeros(1))


def pull(x: np.ndarray) -> np.ndarray:
    return -x


def negated(x: jnp.ndarray) -> jnp.ndarray:
    return -x


def path() -> Mapping[str, Any]:
    return {
        "barrier": 1.0,
        "minimum_curvature": 2.0,
        "saddle_curvature": -1.0,
        "learning_rate": 0.1,
        "batch_size": 4.0,
        "path_fraction": 0.4,
    }


def sgd_settings() -> Mapping[str, Any]:
    return {"learning_rate": 0.1, "momentum": 0.5, "nesterov": False}


def exact_values() -> Iterator[Call]:
    place = {"dim": 2, "radius": 1.0, "start": jnp.array([0.1, 0.2])}
    for law in (theory.getoor_mean_exit, theory.ryznar_mean_exit):
        yield Call(law, lambda: {"alpha": 1.5, "epsilon": 0.5, **place}, host=True)
    yield Call(theory.brownian_mean_exit, lambda: {"sigma": 0.5, **place}, host=True)
    yield Call(
        theory.exact_exit,
        lambda: {"dynamics": sgd(), "domain": ball(), "start": jnp.array([0.1])},
        cheap=False,
        host=True,
    )
    interval = {"start": 0.1, "lower": -1.0, "upper": 1.0}
    yield Call(
        theory.first_passage,
        lambda: {"drift": pull, "diffusion": 0.5, "reflecting": None, **interval},
        host=True,
        cheap=False,
        also={"upper": ("ends",), "lower": ("ends",)},
    )
    yield Call(
        theory.first_passage,
        lambda: {
            "drift": pull,
            "diffusion": np.ones_like,
            "start": 0.1,
            "lower": None,
            "upper": 1.0,
            "reflecting": -1.0,
        },
        host=True,
        cheap=False,
        fine={"diffusion": ("float",)},  # a number stands for a constant function
    )
    yield Call(
        theory.stable_exit,
        lambda: {"drift": pull, "alpha": 1.5, "epsilon": 0.5, "diffusion": 0.1, **interval},
        host=True,
        cheap=False,
    )
    yield Call(
        theory.stable_ball_exit,
        lambda: {
            "drift": pull,
            "alpha": 1.5,
            "epsilon": 0.5,
            "dim": 2,
            "start": 0.1,
            "radius": 1.0,
        },
        host=True,
        cheap=False,
    )


def transitions() -> Iterator[Call]:
    path = {
        "drift": negated,
        "diffusion": 0.5,
        "start": jnp.zeros(2),
        "num_segments": 128,
        "num_starts": 2,
    }
    yield Call(
        theory.minimum_action,
        lambda: {**path, "end": jnp.ones(2), "domain": None},
        host=True,
        cheap=False,
    )
    yield Call(
        theory.minimum_action,
        lambda: {**path, "end": None, "domain": ls.Ball(radius=1.0, center=jnp.zeros(2))},
        host=True,
        cheap=False,
    )
    yield Call(
        theory.committor,
        lambda: {
            "drift": negated,
            "diffusion": 0.5,
            "source": ls.half_space(normal=[1.0, 0.0], offset=-0.5),
            "destination": ls.half_space(normal=[-1.0, 0.0], offset=-0.5),
            "lower": -jnp.ones(2),
            "upper": jnp.ones(2),
            "num_cells": 30,
        },
        host=True,
        cheap=False,
    )


def laws() -> Iterator[Call]:
    yield Call(
        theory.escape_law,
        lambda: {
            "dynamics": sgd(),
            "domain": ball(),
            "epsilon": [0.1, 0.2],
            "normalization": "true",
            "num_rays": 64,
            "seed": 0,
            "dt": 0.01,
            "follow": True,
            "check": False,
            "progress": False,
        },
        host=True,
        fine={"check": ("flag",)},
    )
    yield Call(
        theory.log_rate,
        lambda: {
            "dynamics": sgd(),
            "domain": ball(),
            "saddles": None,
            "num_rays": 64,
            "seed": 0,
        },
    )
    yield Call(
        theory.law_error,
        lambda: {
            "law": theory.escape_law(sgd(), ball(), check=False),
            "dt": 0.1,
            "method": "direct",
            "num": 500,
            "seed": 0,
            "seconds": 1.0,
            "progress": False,
        },
        cheap=False,
        host=True,
    )
    yield Call(
        theory.stationary_point,
        lambda: {"landscape": wells(), "x": jnp.array([0.1]), "max_steps": 50},
        host=True,
    )
    saddle = {
        "landscape": wells(),
        "saddles": jnp.array([[0.1]]),
        "diffusion": 0.05,
        "friction": 1.0,
    }
    yield Call(
        theory.kramers_law,
        lambda: {**saddle, "minimum": jnp.array([-0.9]), "escape": "saddle"},
        host=True,
    )
    yield Call(
        theory.gaussian_chain,
        lambda: {**saddle, "minima": jnp.array([[-1.0], [1.0]]), "connects": [(0, 1)]},
        host=True,
    )
    yield Call(
        theory.stable_chain,
        lambda: {
            "minima": jnp.array([-1.0, 1.0]),
            "saddles": jnp.array([0.1]),
            "alpha": 1.5,
            "epsilon": 0.1,
            "scale": 2.0,
        },
        host=True,
    )
    yield Call(
        theory.xie_law, lambda: {**path(), "prefactor": "printed", "escape": "saddle"}, host=True
    )
    yield Call(theory.combined_law, lambda: {"laws": [theory.xie_law(**path())]}, host=True)
    yield Call(
        theory.optimizer_exponent,
        lambda: {"optimizer": "adam", **path(), "momentum": 0.9},
        host=True,
    )
    yield Call(
        theory.quasi_potential,
        lambda: {
            "drift_matrix": jnp.diag(jnp.array([1.0, 2.0])),
            "diffusion": jnp.eye(2),
            "center": jnp.zeros(2),
        },
        host=True,
    )
    yield Call(
        theory.sgd_covariance,
        lambda: {"hessian": jnp.eye(2), "gradient_covariance": jnp.eye(2), **sgd_settings()},
        host=True,
    )
    yield Call(
        theory.regression_covariance,
        lambda: {
            "input_covariance": jnp.eye(2),
            "batch_size": 4,
            "label_noise": 1.0,
            **sgd_settings(),
        },
        host=True,
    )
    yield Call(
        theory.kesten_index,
        lambda: {"dim": 2, "learning_rate": 0.5, "batch_size": 2, "input_scale": 1.0},
        host=True,
        cheap=False,
    )
    yield Call(
        theory.jump_response, lambda: {"momentum": 0.9, "decay": 0.02, "gradient": "raw"}, host=True
    )


def asked_of_results() -> Iterator[Call]:
    """Methods of the objects that the functions give, on small ones made by hand."""
    one = np.ones(1)
    law = theory.EscapeLaw(
        *(0.5, 0.0, 1.0, 1.5, 0.1, 0.1, 1.0, True),
        *(one, one, one[None], "true", "linear", "by hand", ()),
    )
    point = theory.StationaryPoint(one, 0.0, one)
    kramers = theory.KramersLaw(-1.0, one, one, point, (point,), 0.1, None, "saddle")
    exits = theory.StableExit(1.0, 2.0, 0.5, 0.0, (-np.eye(1), np.eye(1), one, one))
    for survival in (law.survival, kramers.survival, theory.xie_law(**path()).survival):
        yield Call(survival, lambda: {"t": 1.0}, host=True, fine={"t": ANY_SHAPE})
    yield Call(
        exits.survival,
        lambda: {"times": jnp.array([1.0, 2.0])},
        host=True,
        fine={"times": ANY_SHAPE},
    )
    yield Call(law.quantile, lambda: {"p": 0.5}, host=True, fine={"p": ANY_SHAPE})
    yield Call(law.with_epsilon, lambda: {"epsilon": 0.2}, host=True)
    yield Call(law.start_warnings, lambda: {"x0": one}, host=True)
    yield Call(law.one_step_chance, lambda: {"dt": 0.01}, host=True)
    yield Call(law.skeleton_bias, lambda: {"dt": 0.01}, host=True)
    chain = theory.stable_chain([-1.0, 1.0], [0.0], alpha=1.5, epsilon=0.1)
    yield Call(chain.mean_transition, lambda: {"i": 0, "j": 1}, host=True)
    yield Call(chain.occupation, lambda: {"t": 1.0, "start": 0}, host=True, fine={"t": ANY_SHAPE})
    axis = np.linspace(-1, 1, 5)
    chances = theory.Committor((axis, axis), np.full((5, 5), 0.5), 1e-3)
    yield Call(chances.value, lambda: {"x": jnp.ones(2)}, host=True, fine={"x": ANY_SHAPE})
    potential = theory.quasi_potential(np.eye(2))
    yield Call(potential.value, lambda: {"x": jnp.ones(2)}, host=True, fine={"x": ANY_SHAPE})
    yield Call(
        potential.path, lambda: {"x": jnp.ones(2), "times": jnp.array([0.0, 1.0])}, host=True
    )
    yield Call(
        potential.exit_cost, lambda: {"domain": ls.Ball(radius=1.0, center=jnp.zeros(2))}, host=True
    )
    yield Call(
        potential.exit_place,
        lambda: {"domain": ls.Ball(radius=1.0, center=jnp.zeros(2))},
        host=True,
    )


def calls() -> Iterator[Call | Exempt]:
    yield from exact_values()
    yield from transitions()
    yield from laws()
    yield from asked_of_results()
    for received in (
        theory.Committor,
        theory.EscapeLaw,
        theory.FirstPassage,
        theory.JumpResponse,
        theory.KramersLaw,
        theory.LawError,
        theory.MetastableChain,
        theory.MinibatchLaw,
        theory.MinimumAction,
        theory.QuasiPotential,
        theory.Residence,
        theory.Conditions,
        theory.Law,
        theory.StableExit,
        theory.StationaryCovariance,
        theory.StationaryPoint,
    ):
        yield Exempt(received, "a result, which functions give; what it is asked is tried above")
