"""The escape run as an experiment: a landscape, a noise, an SDE, a basin and an integrator, each by
its name."""

import functools
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np
from pydantic import Field

from levysde import errors
from levysde.escape import EscapeResult, simulate_escape, without_preflight
from levysde.landscapes import NetworkLandscape
from levysde.networks import refine, train
from levysde.protocols import Domain, Dynamics, Kernel, Landscape
from levysde.sweeps.escape_columns import columns_of, measured, restored
from levysde.sweeps.experiment import Experiment, Job, Model, Variable, Work
from levysde.sweeps.parts import NamedPart, build
from levysde.sweeps.spec import SpecError
from levysde.theory import EscapeLaw, escape_law

_TRIAL_SECONDS, _TRIAL_NUM, _TRIAL_STEPS = 0.2, 4096, 10**6


class Training(Model):
    """How a network is brought to the minimum that it escapes from; it is refined there in
    float64."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    batch_size: Annotated[int, Field(ge=1)] = 30
    epochs: Annotated[int, Field(ge=1)] = 1000
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0


class EscapeSettings(Model):
    """One escape run.

    Attributes:
        landscape, driver, dynamics, domain, kernel: library objects by name; `driver` is left out
            where the dynamics has none.
        num: trajectories.
        training: for a network, how its minimum is found.
        start: where trajectories begin; the attractor by default.
        max_time, max_steps: budgets of a trajectory, in SDE time and in steps.
        max_means: a budget in predicted means, where a law predicts one.
        record: "times", or "places" to keep where each trajectory left.
        lanes: trajectories in flight, for bits that agree between machines of several accelerators
            (networks only).
    """

    landscape: NamedPart
    driver: NamedPart | None = None
    dynamics: NamedPart
    domain: NamedPart
    kernel: NamedPart
    num: Annotated[int, Field(ge=1, le=10**9)]
    training: Training | None = None
    start: tuple[float, ...] | None = Field(default=None, strict=False)
    max_time: Annotated[float, Field(gt=0)] | None = None
    max_steps: Annotated[int, Field(ge=1, le=2**32 - 2)] | None = None
    max_means: Annotated[float, Field(gt=0)] | None = 30.0
    record: Literal["times", "places"] = "times"
    lanes: Annotated[int, Field(ge=1)] | None = None


class EscapeProblem:
    """The objects of one point, made from its settings; the law is found when first asked for."""

    def __init__(self, settings: EscapeSettings):
        known: dict[str, Any] = {"landscape": _landscape(settings.landscape, settings.training)}
        if "dt" in settings.kernel.arguments:
            # the law of Student's steps is of one length
            known["dt"] = settings.kernel.arguments["dt"]
        if settings.driver is not None:
            known["driver"] = build("driver", settings.driver, known)
        self.landscape: Landscape = known["landscape"]
        self.dynamics: Dynamics = build("dynamics", settings.dynamics, known)
        known["dynamics"] = self.dynamics
        self.domain: Domain = build("domain", settings.domain, known)
        known["domain"] = self.domain
        self.kernel: Kernel = build("kernel", settings.kernel, known)
        self.start = (
            self.dynamics.attractor
            if settings.start is None
            else jnp.asarray(settings.start, float)
        )

    @property
    def law(self) -> EscapeLaw | None:
        """The law of these dynamics and this basin; None where there is none, and `no_law` says
        why."""
        return self._law_and_fault[0]

    @property
    def no_law(self) -> str:
        return self._law_and_fault[1]

    @functools.cached_property
    def _law_and_fault(self) -> tuple[EscapeLaw | None, str]:
        if self.kernel.unit != "SDE time":
            return (
                None,
                f"the law is in SDE time, the kernel counts {self.kernel.unit}: give it "
                "iteration_time",
            )
        try:
            if self.dynamics.response == "flow":
                return escape_law(self.dynamics, self.domain, dt=self.kernel.dt, check=False), ""  # pyright: ignore[reportAttributeAccessIssue]
            return escape_law(self.dynamics, self.domain, check=False), ""
        except (ValueError, TypeError) as error:
            return None, str(error)


class EscapeRun(Experiment):
    """Thousands of escapes at each point, compared with the law of jumps where there is one."""

    name = "escape"
    settings = EscapeSettings
    work_unit = "trajectory-steps"

    def check(self, settings: EscapeSettings) -> None:
        problem = _problem(settings)
        if settings.start is not None and len(settings.start) != problem.landscape.dim:
            raise SpecError(
                f"run.start: must have {problem.landscape.dim} numbers, not {len(settings.start)}."
            )
        if not bool(problem.domain.contains(problem.start)):
            raise SpecError(
                f"run.start: {np.asarray(problem.start)} lies outside the domain. Start inside it."
            )
        if (
            settings.max_time is None
            and settings.max_steps is None
            and (settings.max_means is None or not problem.law)
        ):
            reason = (
                ""
                if settings.max_means is None
                else f" (no law predicts its length: {problem.no_law})"
            )
            raise SpecError(
                f"run.max_time: this run needs a budget{reason}. For example max_time = 1e4 "
                "or max_steps = 1_000_000."
            )

    def variables(self, points: Sequence[EscapeSettings]) -> tuple[Variable, ...]:
        dim = (
            max(_dim(p) for p in _distinct(points))
            if any(p.record == "places" for p in points)
            else 0
        )
        return columns_of(max(p.num for p in points), dim, _problem(points[0]).kernel.unit)

    def run(self, settings: EscapeSettings, job: Job) -> EscapeResult:
        problem = _problem(settings)
        return simulate_escape(
            problem.kernel,
            problem.domain,
            problem.start,
            num=settings.num,
            seed=job.seed,
            max_time=_limit(settings, problem),
            max_steps=settings.max_steps,
            lanes=settings.lanes,
            record=settings.record,
            checkpoint=job.checkpoint,
            progress=job.progress or False,
        )

    def columns(self, settings: EscapeSettings, outcome: EscapeResult, job: Job) -> dict[str, Any]:
        return measured(outcome, _problem(settings).law)

    def outcome(self, settings: EscapeSettings, columns: dict[str, Any], job: Job) -> EscapeResult:
        problem = _problem(settings)
        return restored(columns, settings.num, problem.kernel, problem.domain, job.seed)

    def work(self, settings: EscapeSettings) -> Work | None:
        problem = _problem(settings)
        limit = _limit(settings, problem)
        bound = min(
            np.inf if limit is None else problem.kernel.steps_within(limit),
            np.inf if settings.max_steps is None else settings.max_steps,
        )
        if problem.law is None:
            return Work(settings.num * float(bound), is_bound=True)
        steps = problem.kernel.steps_within(problem.law.mean)
        return Work(settings.num * float(min(bound, max(steps, 1))), is_bound=False)

    def units_per_second(self, settings: EscapeSettings) -> float:
        problem = _problem(settings)
        num = min(settings.num, _TRIAL_NUM)

        def rate(steps: int) -> float:
            with without_preflight():  # the run itself looks and warns
                result = simulate_escape(
                    problem.kernel,
                    problem.domain,
                    problem.start,
                    num=num,
                    seed=0,
                    max_steps=steps,
                    throw=False,
                    record="times",
                )
            return result.info.steps_per_second

        rate(200)  # compiles
        rough = rate(200)
        # long enough that what a run costs besides its steps does not count
        steps = min(int(_TRIAL_SECONDS * rough / num), _TRIAL_STEPS)
        return max(rough, rate(steps)) if steps > 400 else rough

    def law(self, settings: EscapeSettings) -> EscapeLaw | None:
        return _problem(settings).law

    def problem(self, settings: EscapeSettings) -> EscapeProblem:
        """The objects of a point: landscape, dynamics, domain, kernel, start, law."""
        return _problem(settings)


def _limit(settings: EscapeSettings, problem: EscapeProblem) -> float | None:
    """The time at which a trajectory is censored: the nearer of the two budgets."""
    budgets = [settings.max_time]
    if settings.max_means is not None and problem.law is not None:
        budgets.append(settings.max_means * problem.law.mean)
    return min((budget for budget in budgets if budget is not None), default=None)


@functools.lru_cache(maxsize=500)  # those looked at before the run are not made again
def _problem_of(text: str) -> EscapeProblem:
    return EscapeProblem(EscapeSettings.model_validate_json(text))


def _problem(settings: EscapeSettings) -> EscapeProblem:
    return _problem_of(settings.model_dump_json())


def _distinct(points: Sequence[EscapeSettings]) -> list[EscapeSettings]:
    """One of the points for each landscape."""
    return list({p.landscape.model_dump_json(): p for p in points}.values())


def _dim(settings: EscapeSettings) -> int:
    return _problem(settings).landscape.dim


def _landscape(part: NamedPart, training: Training | None) -> Landscape:
    text = "" if training is None else training.model_dump_json()
    return _trained(part.model_dump_json(), text)


@functools.lru_cache(maxsize=8)
def _trained(part: str, training: str) -> Landscape:
    """A landscape at its minimum: as it is, or, for a network, trained there and refined. Kept,
    since it takes a while."""
    landscape = build("landscape", NamedPart.model_validate_json(part), {})
    if not training:
        return landscape
    how = Training.model_validate_json(training)
    if not isinstance(landscape, NetworkLandscape):
        raise SpecError(
            f"run.training: {json.loads(part)['name']!r} is no network and has its minimum. Leave "
            "out training."
        )
    trained = train(
        landscape,
        how.optimizer,
        seed=how.seed,
        learning_rate=how.learning_rate,
        batch_size=how.batch_size,
        epochs=how.epochs,
    )
    return landscape.at(
        errors.as_array("minimum", refine(landscape, trained).point, "jnp.zeros(2)")
    )
