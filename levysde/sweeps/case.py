"""What the main job simulates: an optimiser at its minimum, its SDE with the measured noise, the
basin and the escape law."""

import functools
from dataclasses import dataclass, replace
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from levysde.domains import Box, Sublevel
from levysde.dynamics import SGD, Adam
from levysde.escape import simulate_paths
from levysde.kernels import EulerMaruyama
from levysde.landscapes import DoubleWell, Quadratic, digits_mlp
from levysde.networks import GradientNoise, Minimum, measure_gradient_noise, refine, train
from levysde.noise import StableComponents, StableIsotropic
from levysde.protocols import Domain, Dynamics, Landscape
from levysde.random import LAST_STEP
from levysde.theory import EscapeLaw, escape_law

_NOISES = {"components": StableComponents, "isotropic": StableIsotropic}
# of the basin's rim, where none is given
_HEIGHTS = {"digits": 0.05, "quadratic": 0.5, "double-well": 0.5}
_LEARNING_RATES = {"sgd": 0.1, "adam": 0.01}
_STABLE_STEP = (
    # dt times the largest curvature, where dt is not given; halving it moved no ratio
    # (docs/decisions.md)
    0.45
)
# of the basin's height: where the noise holds the median loss up by more, there is hardly a basin
_HARDLY = 0.5
_FREE_STEPS, _FREE_PATHS = 500, 64  # of the run that measures it


@dataclass(frozen=True)
class Case:
    """One optimiser at its minimum.

    Attributes:
        domain: the basin.
        law: the escape law there, at unit noise.
        dt: step in SDE time.
        height: of the basin's rim over the minimum, in units of the loss.
        minimum: how it was certified.
        noise: of the minibatch gradient, None where there is no data.
    """

    domain: Domain
    law: EscapeLaw
    dt: float
    height: float
    minimum: Minimum
    noise: GradientNoise | None

    def law_at(
        self, *, epsilon: float | None = None, predicted_steps: float | None = None
    ) -> EscapeLaw:
        """The law at a noise amplitude, or at that whose predicted mean is so many steps.

        The rate is `rate(1) eps^alpha`, so `eps = (rate(1) dt steps)^(-1/alpha)`. Raises ValueError
        where the mean is more steps than a trajectory makes.
        """
        amplitude = float(
            epsilon or (self.law.rate * self.dt * (predicted_steps or 1.0)) ** (-1 / self.law.alpha)
        )
        law = self.law.with_epsilon(amplitude)
        if law.mean / self.dt > LAST_STEP:
            raise ValueError(
                f"epsilon = {amplitude:g}: the predicted mean is {law.mean / self.dt:.3g} steps, "
                f"and a trajectory makes at most {LAST_STEP}. Take a larger epsilon, or a larger "
                "dt."
            )
        return law

    def kernel(self, law: EscapeLaw) -> EulerMaruyama:
        """The SDE of a law of this case, with its step."""
        return EulerMaruyama(_dynamics(law), dt=self.dt)

    def hardly_a_basin(self, law: EscapeLaw, seed: int) -> str:
        """A warning where the noise alone holds the loss up by more than half of the basin's
        height, else ""."""
        held = self._held_up(law, seed)
        if not held > _HARDLY * self.height:
            return ""
        return (
            f"there is hardly a basin: without its rim the noise holds the loss up by {held:.2g} "
            f"in the median, {held / self.height:.0%} of the basin's height, {self.height:.2g}. "
            "Trajectories leave at once. Take a smaller epsilon, or a larger basin_height."
        )

    def _held_up(self, law: EscapeLaw, seed: int) -> float:
        """The median loss above the minimum in the second half of a short run without a basin:
        under stable noise the mean is infinite."""
        dynamics, steps = _dynamics(law), int(min(_FREE_STEPS, max(8, law.mean / self.dt)))
        paths = simulate_paths(
            self.kernel(law),
            dynamics.attractor,
            num=_FREE_PATHS,
            seed=seed,
            every=steps // 4,
            max_steps=steps,
            throw=False,
        )
        late = paths.positions[:, paths.steps >= steps / 2].reshape(-1, paths.dim)
        losses = _losses(dynamics.landscape, jnp.asarray(late, dynamics.landscape.minimum.dtype))
        return float(np.nanmedian(np.asarray(losses, float))) - self.minimum.loss


@functools.lru_cache(maxsize=16)  # of the noise levels of a sweep, the first trains the network
def prepare(
    landscape: Literal["digits", "quadratic", "double-well"],
    noise: Literal["components", "isotropic"],
    optimizer: Literal["sgd", "adam"],
    alpha: float,
    seed: int,
    dt: float | None,
    height: float | None,
) -> Case:
    """Bring an optimiser to its minimum, measure the noise there and set the basin; see
    `MainJobSettings`.

    Raises ValueError where no strict minimum is reached, without which the numbers would be void,
    and for a rim above the barrier.
    """
    height = _HEIGHTS[landscape] if height is None else height
    driver = _NOISES[noise](alpha=alpha)
    measured, scale, variance = None, 1.0, 1.0
    if landscape == "digits":
        network = digits_mlp(seed=seed)
        trained = train(network, optimizer, seed=seed, learning_rate=_LEARNING_RATES[optimizer])
        minimum = refine(network, trained)
        well: Landscape = network.at(jnp.asarray(minimum.point, dtype=float))
        measured = measure_gradient_noise(well, seed=seed, alpha=alpha)
        scale, variance = measured.scale, measured.variance
    else:
        well = (
            Quadratic(hessian=jnp.diag(jnp.array([1.0, 4.0])))
            if landscape == "quadratic"
            else DoubleWell()
        )
        minimum = refine(well, well.minimum)
    domain = (
        _double_well_basin(height) if landscape == "double-well" else Sublevel(well, height=height)
    )
    if optimizer == "sgd":
        dynamics: Dynamics = SGD(well, driver, epsilon=1.0, scale=scale)
    else:
        delta = 0.1 * float(np.sqrt(np.max(variance)))
        dynamics = Adam(
            well,
            driver,
            epsilon=1.0,
            scale=scale,
            gradient_variance=variance,
            delta=delta,
            rates=(1.0, 1.0),
        )
    law = escape_law(dynamics, domain, check=False)
    dt = _STABLE_STEP / law.stiffness if dt is None else dt
    if optimizer == "adam":
        # the algorithm's averages span 10 and 1000 of its steps
        rates: Any = -np.log([0.9, 0.999]) / dt
        dynamics = eqx.tree_at(lambda d: d.rates, dynamics, jnp.asarray(rates, dtype=float))
        # the rate is that of frozen averages, a check of it is not
        law = replace(law, dynamics=dynamics)
    return Case(domain, law, dt, height, minimum, measured)


def _double_well_basin(height: float) -> Box:
    """The part of the sublevel set in the well of the minimum; the set has another part in the
    other well."""
    if height >= 1:
        raise ValueError(
            f"basin_height = {height:g} reaches over the barrier, whose height is 1. Give less, "
            "for example 0.5."
        )
    ends = -jnp.sqrt(1 + jnp.array([1.0, -1.0]) * height**0.5)
    return Box(lower=ends[:1], upper=ends[1:])


def _dynamics(law: EscapeLaw) -> Dynamics:
    assert law.dynamics is not None
    return law.dynamics


@eqx.filter_jit
def _losses(landscape: Landscape, rows: Array) -> Array:
    return jax.lax.map(landscape.value, rows)
