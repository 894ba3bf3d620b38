"""The job of `levysde escape` as an experiment: an optimiser in its minimum, at one noise amplitude a point."""

import functools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from levysde.analysis import Case, EscapeSettings, prepare, with_epsilon
from levysde.escape import EscapeResult, join_shards, simulate_escape
from levysde.kernels import EulerMaruyama
from levysde.sweeps.escape_columns import columns_of, measured, restored
from levysde.sweeps.experiment import Experiment, Job, Model, Variable, Work
from levysde.sweeps.spec import SpecError
from levysde.theory import EscapeLaw


class MainJobSettings(Model):
    """One rung of the main job.

    Attributes:
        landscape, noise, optimizer, alpha, dt, basin_height: as in `levysde escape`.
        epsilon: noise amplitude; or
        predicted_steps: the predicted mean escape time in steps, from which the law gives epsilon.
        num: trajectories.
        training_seed: of data, training and the noise's measurement.
        max_means: budget of a trajectory in predicted means.
    """

    landscape: Literal["digits", "quadratic", "double-well"] = "digits"
    noise: Literal["components", "isotropic"] = "components"
    optimizer: Literal["sgd", "adam"] = "sgd"
    alpha: Annotated[float, Field(gt=0, lt=2)] = 1.5
    epsilon: Annotated[float, Field(gt=0)] | None = None
    predicted_steps: Annotated[float, Field(gt=0)] | None = None
    num: Annotated[int, Field(ge=1, le=10**9)] = 1500
    training_seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    dt: Annotated[float, Field(gt=0)] | None = None
    basin_height: Annotated[float, Field(gt=0)] | None = None
    max_means: Annotated[float, Field(gt=0)] = 30.0


class MainJob(Experiment):
    """Training, polishing and measuring happen once for each optimiser, landscape and alpha, in each process."""

    name = "main-job"
    settings = MainJobSettings
    work_unit = "trajectory-steps"

    def check(self, settings: MainJobSettings) -> None:
        if (settings.epsilon is None) == (settings.predicted_steps is None):
            raise SpecError(
                "run.epsilon: give either epsilon, or predicted_steps, the predicted mean escape time in steps."
            )
        if settings.landscape == "double-well" and (settings.basin_height or 0) >= 1:
            raise SpecError(f"run.basin_height: {settings.basin_height:g} reaches over the barrier, whose height is 1.")

    def variables(self, points: Sequence[MainJobSettings]) -> tuple[Variable, ...]:
        return columns_of(max(p.num for p in points), 0, "SDE time")

    def run(self, settings: MainJobSettings, job: Job) -> EscapeResult:
        case, law = _case(settings), self.law(settings)
        return simulate_escape(
            _kernel(case, law.epsilon),
            case.domain,
            case.dynamics.attractor,
            num=settings.num,
            seed=job.seed,
            max_time=settings.max_means * law.mean,
            record="times",
            shard=job.shard,
            checkpoint=job.checkpoint,
            progress=job.progress or False,
        )

    def join(self, outcomes: Sequence[EscapeResult]) -> EscapeResult:
        return join_shards(list(outcomes))

    def columns(self, settings: MainJobSettings, outcome: EscapeResult, job: Job) -> dict[str, Any]:
        return measured(outcome, self.law(settings))

    def outcome(self, settings: MainJobSettings, columns: dict[str, Any], job: Job) -> EscapeResult:
        case = _case(settings)
        return restored(columns, settings.num, _kernel(case, self.law(settings).epsilon), case.domain, job.seed)

    def work(self, settings: MainJobSettings) -> Work | None:
        return (
            None if settings.predicted_steps is None else Work(settings.num * settings.predicted_steps, is_bound=False)
        )

    def units_per_second(self, settings: MainJobSettings) -> float:
        case = _case(settings)
        kernel = _kernel(case, self.law(settings).epsilon)
        result = simulate_escape(
            kernel, case.domain, case.dynamics.attractor, num=64, seed=0, max_steps=200, throw=False
        )
        return result.info.steps_per_second

    def law(self, settings: MainJobSettings) -> EscapeLaw:
        """The law at the point's noise amplitude."""
        case = _case(settings)
        if settings.epsilon is not None:
            return case.law.with_epsilon(settings.epsilon)
        return case.law.with_epsilon(
            (case.law.rate * case.dt * float(settings.predicted_steps or 1)) ** (-1 / case.law.alpha)
        )


def _kernel(case: Case, epsilon: float) -> EulerMaruyama:
    return EulerMaruyama(with_epsilon(case.dynamics, epsilon), dt=case.dt)


def _case(settings: MainJobSettings) -> Case:
    return _prepared(
        settings.landscape, settings.noise, settings.optimizer, settings.alpha, settings.training_seed, settings.dt,
        settings.basin_height,
    )  # fmt: skip


@functools.lru_cache(maxsize=16)
def _prepared(
    landscape: Any, noise: Any, optimizer: Any, alpha: float, seed: int, dt: float | None, height: float | None
) -> Case:
    return prepare(EscapeSettings(landscape, noise, (optimizer,), alpha, (1.0,), 1, seed, dt, height))[0]
