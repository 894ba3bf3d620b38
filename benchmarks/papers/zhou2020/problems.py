"""Basins and noises of this study, as the parts of its sweeps, and the amplitudes at which they are
run.

A run is placed by its *regime*, rate over relaxation, which the law needs far below one: epsilon
follows from it. The step is a fiftieth of the fastest relaxation, or less where exits would be late
by more than two percent.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from levysde import errors
from levysde.domains import Sublevel
from levysde.dynamics import SGD, Adam
from levysde.landscapes import Quadratic
from levysde.noise import DriverSum, StableComponents, StableIsotropic
from levysde.protocols import Driver, Dynamics
from levysde.theory import EscapeLaw, escape_law

HEIGHT = 0.5  # of the rim: a radius of one along a curvature of one
ADAM = {"delta": 0.1, "rates": [20.0, 2.0]}  # of eq. 5, on the scale of the basins below
_FINEST, _LATE = 0.02, 0.02
_DRIVERS = {"StableComponents": StableComponents, "StableIsotropic": StableIsotropic}


def curvatures(dim: int, condition: float) -> np.ndarray:
    """From 1 to `condition`, evenly in the logarithm."""
    return np.geomspace(1.0, condition, dim)


def valley(dim: Any, condition: Any) -> Quadratic:
    """A quadratic valley along the axes with curvatures from 1 to `condition`."""
    dim = errors.integer("dim", dim)
    return Quadratic(hessian=curvatures(dim, float(errors.positive("condition", condition))))


def random_valley(number: Any, dim: Any) -> Quadratic:
    """The valley of that number: a random rotation, curvatures log-uniform from 0.5 to 5."""
    rng = np.random.default_rng(1000 + errors.integer("number", number, low=0))
    dim = errors.integer("dim", dim, "dim=5")
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return Quadratic(
        hessian=jnp.asarray(
            rotation * np.exp(rng.uniform(np.log(0.5), np.log(5), dim)) @ rotation.T
        )
    )


def mean_of(alpha: Any, count: Any) -> Driver:
    """The mean of `count` independent stable draws: the noise of a batch of so many examples with
    stable noise each."""
    count = errors.integer("count", count)
    driver = StableComponents(alpha)
    return DriverSum(*[(driver, 1 / count)] * count) if count > 1 else driver


def dynamics(
    optimizer: str, landscape: Quadratic, driver: Driver, epsilon: float, scale: Any = 1.0
) -> Dynamics:
    """SGD's equation, or eq. 5 with the stationary v of noise of that scale."""
    if optimizer == "SGD":
        return SGD(landscape, driver, epsilon=epsilon, scale=scale)
    return Adam(
        landscape, driver, epsilon=epsilon, scale=scale, gradient_variance=np.square(scale), **ADAM
    )


def dynamics_part(
    optimizer: str, epsilon: float, scale: Any = 1.0, rates: tuple[float, float] | None = None
) -> dict[str, Any]:
    """`dynamics` as a part of a sweep, with other rates of ADAM's averages if given."""
    scale = np.asarray(scale, float)
    part = {"name": optimizer, "epsilon": epsilon, "scale": scale.tolist()}
    if optimizer == "SGD":
        return part
    return (
        part
        | {"gradient_variance": np.square(scale).tolist()}
        | ADAM
        | ({"rates": list(rates)} if rates else {})
    )


def law_of(
    optimizer: str, driver: str, landscape: Quadratic, alpha: float, height: float, scale: Any = 1.0
) -> EscapeLaw:
    """At epsilon = 1, from which `at_regime` goes on."""
    return escape_law(
        dynamics(optimizer, landscape, _DRIVERS[driver](alpha), 1.0, scale),
        Sublevel(landscape, height=height),
        check=False,
    )


def at_regime(law: EscapeLaw, regime: float) -> tuple[EscapeLaw, float]:
    """The law where its rate over relaxation is `regime`, and a step for it."""
    law = law.with_epsilon(law.epsilon * (regime / law.regime) ** (1 / law.alpha))
    return law, step_for(law)


def step_for(law: EscapeLaw) -> float:
    dt = _FINEST / law.stiffness
    late = law.skeleton_bias(dt)
    return float(f"{dt * min(1.0, (_LATE / late) ** law.alpha):.3g}")
