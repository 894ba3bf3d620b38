"""The main job as an experiment: an optimiser at its minimum, one noise level per point, compared
with the escape law."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from pydantic import Field

from levysde import errors
from levysde.domains import Box, Sublevel
from levysde.dynamics import SGD, Adam
from levysde.escape import EscapeResult, simulate_paths
from levysde.kernels import EulerMaruyama
from levysde.landscapes import DoubleWell, Quadratic, digits_mlp
from levysde.networks import GradientNoise, Minimum, measure_gradient_noise, refine, train
from levysde.noise import StableComponents, StableIsotropic
from levysde.protocols import Domain, Dynamics, Landscape
from levysde.random import LAST_STEP
from levysde.sweeps.escapes import EscapeExperiment, columns_of, measured, with_ends
from levysde.sweeps.experiment import Job, Model, Variable, Work
from levysde.sweeps.plan import point_seed
from levysde.sweeps.spec import Spec, SpecError, as_spec, read_spec
from levysde.theory import EscapeLaw, escape_law, law_error
from levysde.types import Arg

_NOISES = {"components": StableComponents, "isotropic": StableIsotropic}
# of the basin's rim over the minimum, where none is given
_HEIGHTS = {"digits": 0.05, "quadratic": 0.5, "double-well": 0.5}
_LEARNING_RATES = {"sgd": 0.1, "adam": 0.01}
# dt times the largest curvature, where dt is not given; halving it moved no ratio
# (docs/decisions.md)
_STABLE_STEP = 0.45
# a median loss above this share of the basin's height, without its rim, draws a warning
_HARDLY = 0.5
_FREE_STEPS, _FREE_PATHS = 500, 64  # of the run that measures that loss
# settings that the noise levels of a case share
_CASE = {"landscape", "stable_noise", "optimizer", "alpha", "training_seed", "dt", "basin_height"}
_NUMBERS = (
    ("epsilon", "noise amplitude", "1"),
    ("predicted_steps", "predicted mean escape time in steps", "1"),
    ("measure", "m(W), the measure of the jumps that escape", "1"),
    (
        "law_error",
        "mean escape time in a simulation at half the step, over the predicted mean",
        "1",
    ),
    ("law_error_low", "its 95% interval, lower end", "1"),
    ("law_error_high", "its 95% interval, upper end", "1"),
    ("loss", "loss at the minimum", "1"),
    ("gradient_norm", "norm of the gradient at the minimum", "1"),
    ("smallest_eigenvalue", "smallest eigenvalue of the Hessian at the minimum", "1"),
    ("largest_eigenvalue", "largest eigenvalue of the Hessian at the minimum", "1"),
    ("height", "height of the basin's rim over the minimum", "1"),
    ("star_shaped", "1 where the basin is star-shaped along every noise ray", "1"),
)


class MainJobSettings(Model):
    """One noise level of the main job.

    Attributes:
        landscape: "digits" (a network on images), "quadratic" (curvatures 1 and 4) or "double-well"
            (one dimension).
        stable_noise: "components" (independent coordinates) or "isotropic".
        optimizer: the optimiser whose SDE is simulated, "sgd" or "adam".
        alpha: stability index of the noise, in (0, 2).
        epsilon: noise amplitude; or
        predicted_steps: the predicted mean escape time in steps, from which the law gives epsilon.
        num: trajectories.
        training_seed: of data, training and the measurement of the noise.
        dt: step in SDE time; by default 0.45 over the largest curvature.
        basin_height: height of the basin's rim over the minimum, in units of the loss; by default
            0.05 for digits and 0.5 for the wells.
        max_means: budget of a trajectory in predicted means.
        law_check: number of direct escapes that check the law at this noise level, at half the step
            and with another seed; 0 for none.
    """

    landscape: Literal["digits", "quadratic", "double-well"] = "digits"
    stable_noise: Literal["components", "isotropic"] = "components"
    optimizer: Literal["sgd", "adam"] = "sgd"
    alpha: Annotated[float, Field(gt=0, le=2)] = 1.5
    epsilon: Annotated[float, Field(gt=0)] | None = None
    predicted_steps: Annotated[float, Field(gt=0, le=LAST_STEP)] | None = None
    num: Annotated[int, Field(ge=1, le=10**9)] = 1500
    training_seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    dt: Annotated[float, Field(gt=0)] | None = None
    basin_height: Annotated[float, Field(gt=0)] | None = None
    max_means: Annotated[float, Field(gt=0)] = 30.0
    law_check: Annotated[int, Field(ge=0, le=10**7)] = 0


def main_job_spec(settings: Arg[Mapping[str, Any]]) -> Spec:
    """The specification of the main job that ships with the package, with some settings changed.

    Args:
        settings: fields of `MainJobSettings` by name, and "seed". A list makes an axis, and
            amplitudes in "epsilon" replace the predicted steps. The seed is that of the sweep and
            of the training.

    Returns:
        A `Spec` for `run_sweep`, which checks the settings.

    Raises:
        SpecError: a ValueError: something that no setting can be.
        TypeError: no mapping.
    """
    table = read_spec("main-job").model_dump(exclude_defaults=True)
    for name, value in errors.instance(
        "settings", settings, Mapping, '{"landscape": "quadratic"}'
    ).items():
        if name == "seed":
            table["seed"] = table["run"]["training_seed"] = value
        else:
            table["grid" if isinstance(value, list) else "run"][name] = value
    if "epsilon" in settings:
        del table["grid"]["predicted_steps"]
    return as_spec(table)


@dataclass(frozen=True)
class Case:
    """One optimiser at its minimum.

    Attributes:
        domain: the basin.
        law: the escape law there, at unit noise or at the noise level of a point.
        dt: step in SDE time.
        height: height of the basin's rim over the minimum, in units of the loss.
        minimum: how it was certified.
        noise: the minibatch gradient noise, None where there is no data.
    """

    domain: Domain
    law: EscapeLaw
    dt: float
    height: float
    minimum: Minimum
    noise: GradientNoise | None

    @property
    def dynamics(self) -> Dynamics:
        assert self.law.dynamics is not None
        return self.law.dynamics

    @property
    def kernel(self) -> EulerMaruyama:
        return EulerMaruyama(self.dynamics, dt=self.dt)

    @property
    def start(self) -> Array:
        return self.dynamics.attractor

    def at_noise(
        self, *, epsilon: float | None = None, predicted_steps: float | None = None
    ) -> "Case":
        """The case at a noise amplitude, or at that whose predicted mean is so many steps.

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
        return replace(self, law=law)

    def hardly_a_basin(self, seed: int) -> str:
        """A warning if the noise alone raises the loss by more than half the basin's height, else
        "".

        The loss is the median above the minimum in the second half of a short run without a rim:
        under stable noise the mean is infinite.
        """
        steps = int(min(_FREE_STEPS, max(8, self.law.mean / self.dt)))
        paths = simulate_paths(
            self.kernel,
            self.start,
            num=_FREE_PATHS,
            seed=seed,
            every=steps // 4,
            max_steps=steps,
            throw=False,
        )
        late = paths.positions[:, paths.steps >= steps / 2].reshape(-1, paths.dim)
        landscape = self.dynamics.landscape  # pyright: ignore[reportAttributeAccessIssue]
        losses = _losses(landscape, jnp.asarray(late, landscape.minimum.dtype))
        raised = float(np.nanmedian(np.asarray(losses, float))) - self.minimum.loss
        if not raised > _HARDLY * self.height:
            return ""
        return (
            f"there is hardly a basin: without its rim the noise holds the loss up by {raised:.2g} "
            f"in the median, {raised / self.height:.0%} of the basin's height, {self.height:.2g}. "
            "Trajectories leave at once. Take a smaller epsilon, or a larger basin_height."
        )


@functools.lru_cache(maxsize=16)  # of the noise levels of a sweep, the first trains the network
def prepare(settings: MainJobSettings) -> Case:
    """Bring an optimiser to its minimum, measure the noise there and set the basin.

    Raises ValueError where no strict minimum is reached, without which the numbers would be void,
    and for a rim above the barrier.
    """
    height = settings.basin_height or _HEIGHTS[settings.landscape]
    driver = _NOISES[settings.stable_noise](alpha=settings.alpha)
    optimizer, seed = settings.optimizer, settings.training_seed
    measured_noise, scale, variance = None, 1.0, 1.0
    if settings.landscape == "digits":
        network = digits_mlp(seed=seed)
        trained = train(network, optimizer, seed=seed, learning_rate=_LEARNING_RATES[optimizer])
        minimum = refine(network, trained)
        well: Landscape = network.at(jnp.asarray(minimum.point, dtype=float))
        measured_noise = measure_gradient_noise(well, seed=seed, alpha=settings.alpha)
        scale, variance = measured_noise.scale, measured_noise.variance
        domain: Domain = Sublevel(well, height=height)
    elif settings.landscape == "quadratic":
        well = Quadratic(hessian=jnp.diag(jnp.array([1.0, 4.0])))
        domain = Sublevel(well, height=height)
    else:
        well, domain = DoubleWell(), _double_well_basin(height)
    if measured_noise is None:
        minimum = refine(well, well.minimum)
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
    dt = settings.dt or _STABLE_STEP / law.stiffness
    if optimizer == "adam":
        # the algorithm's averages span 10 and 1000 of its steps
        rates: Any = -np.log([0.9, 0.999]) / dt
        dynamics = eqx.tree_at(lambda d: d.rates, dynamics, jnp.asarray(rates, dtype=float))
        # the rate is that of frozen averages, a check of it is not
        law = replace(law, dynamics=dynamics)
    return Case(domain, law, dt, height, minimum, measured_noise)


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


@eqx.filter_jit
def _losses(landscape: Landscape, rows: Array) -> Array:
    return jax.lax.map(landscape.value, rows)


def check_seed(seed: int, settings: MainJobSettings) -> int:
    """The seed of the escapes that check the law at a point."""
    # hashed by the field's former name, so that the documented runs can be repeated
    return point_seed(seed, settings.model_dump_json().replace('"stable_noise":', '"noise":'))


class MainJob(EscapeExperiment):
    """Training, refinement and measurement happen once for each optimiser, landscape and alpha, in
    each process."""

    name = "main-job"
    settings = MainJobSettings

    def check(self, settings: MainJobSettings) -> None:
        if (settings.epsilon is None) == (settings.predicted_steps is None):
            raise SpecError(
                "run.epsilon: give either epsilon, or predicted_steps, the predicted mean escape "
                "time in steps."
            )
        if settings.alpha == 2:
            raise SpecError(
                "run.alpha: 2 is Gaussian and has no stable escape law. Give less, for example 1.5."
            )
        if settings.landscape != "digits":  # which has to be trained first
            self.problem(settings)

    def variables(self, points: Sequence[MainJobSettings]) -> tuple[Variable, ...]:
        numbers = [Variable(name, "float64", about, units) for name, about, units in _NUMBERS]
        return (
            *columns_of(max(p.num for p in points), 0, "SDE time"),
            *numbers,
            Variable("gradient_noise", "str", "gradient noise measured at the minimum", ""),
        )

    def problem(self, settings: MainJobSettings) -> Case:
        """The case at the point's noise level."""
        shared = MainJobSettings(**settings.model_dump(include=_CASE))
        return prepare(shared).at_noise(  # pyright: ignore[reportArgumentType]  (frozen, so hashable)
            epsilon=settings.epsilon, predicted_steps=settings.predicted_steps
        )

    def limits(self, settings: MainJobSettings) -> dict[str, Any]:
        case = self.problem(settings)
        longest = min(settings.max_means * case.law.mean, LAST_STEP * case.dt)
        return {"max_time": longest, "record": "times"}

    def columns(self, settings: MainJobSettings, outcome: EscapeResult, job: Job) -> dict[str, Any]:
        case = self.problem(settings)
        law = case.law
        if settings.law_check:
            checked = law_error(
                law,
                dt=case.dt / 2,
                method="direct",
                num=settings.law_check,
                seed=check_seed(job.seed, settings),
            )
            law = replace(law, error=checked)
        columns = measured(outcome, law)
        warnings = [columns.get("warnings", ""), case.hardly_a_basin(job.seed)]
        columns["warnings"] = "\n".join(filter(None, warnings))
        if law.error is not None:
            columns |= with_ends("law_error", law.error.ratio)
        return columns | {
            "epsilon": law.epsilon,
            "predicted_steps": law.mean / case.dt,
            "measure": law.measure,
            "loss": case.minimum.loss,
            "gradient_norm": case.minimum.gradient_norm,
            "smallest_eigenvalue": case.minimum.smallest_eigenvalue,
            "largest_eigenvalue": case.minimum.largest_eigenvalue,
            "height": case.height,
            "star_shaped": float(law.star_shaped),
            "gradient_noise": "" if case.noise is None else str(case.noise),
        }

    def work(self, settings: MainJobSettings) -> Work | None:
        if settings.predicted_steps is None:
            return None
        return Work(settings.num * settings.predicted_steps, is_bound=False)
