"""The main job as an experiment: an optimiser at its minimum, one noise level a point, compared
with the escape law."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from levysde import errors
from levysde.escape import EscapeResult, simulate_escape
from levysde.random import LAST_STEP
from levysde.sweeps.case import Case, prepare
from levysde.sweeps.escape_columns import columns_of, measured, restored
from levysde.sweeps.experiment import Experiment, Job, Model, Variable, Work
from levysde.sweeps.plan import point_seed
from levysde.sweeps.spec import Spec, SpecError, as_spec, read_spec
from levysde.theory import EscapeLaw, law_error
from levysde.types import Arg


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


class MainJob(Experiment):
    """Training, refinement and measurement happen once for each optimiser, landscape and alpha, in
    each process."""

    name = "main-job"
    settings = MainJobSettings
    work_unit = "trajectory-steps"

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
            self.law(settings)

    def variables(self, points: Sequence[MainJobSettings]) -> tuple[Variable, ...]:
        numbers = [Variable(name, "float64", about, units) for name, about, units in _NUMBERS]
        noise = Variable(
            "gradient_noise", "str", "the gradient noise that was measured at the minimum", ""
        )
        return (*columns_of(max(p.num for p in points), 0, "SDE time"), *numbers, noise)

    def run(self, settings: MainJobSettings, job: Job) -> EscapeResult:
        case, law = _case(settings), self.law(settings)
        kernel = case.kernel(law)
        return simulate_escape(
            kernel,
            case.domain,
            kernel.dynamics.attractor,
            num=settings.num,
            seed=job.seed,
            max_time=min(settings.max_means * law.mean, LAST_STEP * case.dt),
            record="times",
            checkpoint=job.checkpoint,
            progress=job.progress or False,
        )

    def columns(self, settings: MainJobSettings, outcome: EscapeResult, job: Job) -> dict[str, Any]:
        case, law = _case(settings), self.law(settings)
        if settings.law_check:
            seed = point_seed(job.seed, settings.model_dump_json())
            checked = law_error(
                law, dt=case.dt / 2, method="direct", num=settings.law_check, seed=seed
            )
            law = replace(law, error=checked)
        columns = measured(outcome, law)
        warnings = [columns.get("warnings", ""), case.hardly_a_basin(law, job.seed)]
        columns["warnings"] = "\n".join(warning for warning in warnings if warning)
        if law.error is not None:
            ratio = law.error.ratio
            columns |= {
                "law_error": ratio.value,
                "law_error_low": ratio.low,
                "law_error_high": ratio.high,
            }
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

    def outcome(self, settings: MainJobSettings, columns: dict[str, Any], job: Job) -> EscapeResult:
        case = _case(settings)
        return restored(
            columns, settings.num, case.kernel(self.law(settings)), case.domain, job.seed
        )

    def work(self, settings: MainJobSettings) -> Work | None:
        return (
            None
            if settings.predicted_steps is None
            else Work(settings.num * settings.predicted_steps, is_bound=False)
        )

    def units_per_second(self, settings: MainJobSettings) -> float:
        case = _case(settings)
        kernel = case.kernel(self.law(settings))
        result = simulate_escape(
            kernel,
            case.domain,
            kernel.dynamics.attractor,
            num=64,
            seed=0,
            max_steps=200,
            throw=False,
        )
        return result.info.steps_per_second

    def law(self, settings: MainJobSettings) -> EscapeLaw:
        """The law at the point's noise amplitude."""
        return _case(settings).law_at(
            epsilon=settings.epsilon, predicted_steps=settings.predicted_steps
        )


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


def _case(settings: MainJobSettings) -> Case:
    return prepare(
        settings.landscape,
        settings.stable_noise,
        settings.optimizer,
        settings.alpha,
        settings.training_seed,
        settings.dt,
        settings.basin_height,
    )
