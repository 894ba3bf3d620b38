"""Calls of `levysde.dynamics`."""

from collections.abc import Iterator

import jax.numpy as jnp

import levysde as ls
from calls.table import Call, Exempt
from levysde import dynamics

PARTS = {
    "landscape": ls.Quadratic(hessian=jnp.array([1.0, 4.0])),
    "driver": ls.StableComponents(alpha=1.5),
}
NOISE = {"epsilon": 0.1, "learning_rate": None, "scale": jnp.array([1.0, 0.5])}
STEPS = {"epsilon": None, "learning_rate": 0.1, "scale": jnp.eye(2)}
AVERAGE = {
    "gradient_variance": jnp.ones(2),
    "delta": 1e-8,
    "square": "mean",
    "bias_correction": False,
}


def calls() -> Iterator[Call | Exempt]:
    yield Call(dynamics.SGD, lambda: PARTS | NOISE | {"convention": "ito", "marcus_steps": 64})
    yield Call(
        dynamics.SGD,
        lambda: PARTS | STEPS | {"scale": marcus(), "convention": "marcus", "marcus_steps": 64},
    )
    yield Call(
        dynamics.SDE,
        lambda: {
            "drift": lambda x: -x,
            "driver": PARTS["driver"],
            "dim": 2,
            "scale": jnp.ones(2),
            "epsilon": 0.1,
            "attractor": jnp.zeros(2),
        },
    )
    yield Exempt(dynamics.FirstOrder, "an abstract class, which has no constructor of its own")
    for diffusion in (0.1, jnp.ones(2), jnp.eye(2)):
        langevin = {"landscape": PARTS["landscape"], "diffusion": diffusion}
        yield Call(dynamics.Langevin, lambda langevin=langevin: langevin)
    yield Call(
        dynamics.Underdamped,
        lambda: {"landscape": PARTS["landscape"], "diffusion": 0.1, "friction": 1.0},
    )
    momentum = {"nesterov": False, "averaged": False, "equation_order": 1}
    yield Call(
        dynamics.Momentum,
        lambda: PARTS | STEPS | momentum | {"momentum": 0.9, "forgetting_rate": None},
    )
    yield Call(
        dynamics.Momentum,
        lambda: PARTS | NOISE | momentum | {"momentum": None, "forgetting_rate": 1.0},
    )
    adam = AVERAGE | {"rates": jnp.array([100.0, 1.0]), "noise_in": "average"}
    betas = AVERAGE | {"rates": None, "noise_in": "position", "gradient_variance": 1.0}
    for noise, rates in ((NOISE, adam), (STEPS, betas)):
        yield Call(dynamics.Adam, lambda noise=noise, rates=rates: PARTS | noise | rates)
        decayed = rates | {"weight_decay": 1e-4}
        yield Call(
            dynamics.AdamW, lambda noise=noise, decayed=decayed: PARTS | noise | decayed, host=True
        )
    yield Call(dynamics.RMSProp, lambda: PARTS | NOISE | AVERAGE | {"forgetting_rate": 1.0})
    yield Call(dynamics.RMSProp, lambda: PARTS | STEPS | AVERAGE | {"forgetting_rate": None})
    sgd = dynamics.SGD(PARTS["landscape"], PARTS["driver"], epsilon=0.1)
    for schedule in (0.5, lambda t: 1 / (1 + t)):
        scheduled = {"dynamics": sgd, "schedule": schedule, "clock": "time"}
        yield Call(
            dynamics.Scheduled, lambda scheduled=scheduled: scheduled, fine={"schedule": ("float",)}
        )
    for state in (
        "AdamState",
        "MomentumState",
        "RMSPropState",
        "ScheduledState",
        "UnderdampedState",
    ):
        yield Exempt(getattr(dynamics, state), "made by its dynamics, in a compiled step")


def marcus() -> ls.StateScale:
    return ls.StateScale(lambda x: 1 + x * x, dim=2)
