"""The experiment "escape": a landscape, a driver, dynamics, a domain and a kernel, each by its
name."""

import functools
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np
from pydantic import Field

from levysde import errors
from levysde.landscapes import NetworkLandscape
from levysde.networks import refine, train
from levysde.protocols import Domain, Dynamics, Kernel, Landscape
from levysde.sweeps.escapes import EscapeExperiment, columns_of
from levysde.sweeps.experiment import Model, Variable, Work
from levysde.sweeps.parts import NamedPart, build
from levysde.sweeps.spec import SpecError
from levysde.theory import EscapeLaw, escape_law


class Training(Model):
    """How a network is trained before its minimum is refined in float64."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    batch_size: Annotated[int, Field(ge=1)] = 30
    epochs: Annotated[int, Field(ge=1)] = 1000
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0


class EscapeSettings(Model):
    """One escape run.

    Attributes:
        landscape, driver, dynamics, domain, kernel: library objects by name; leave `landscape` and
            `driver` out if the dynamics has none.
        num: number of trajectories.
        training: for a network, how its minimum is found.
        start: start of the trajectories; the attractor by default.
        max_time, max_steps: limits of a trajectory, in SDE time and in steps.
        max_means: limit of a trajectory in predicted means, if a law predicts one.
        record: "times", or "places" to store also where each trajectory left.
        lanes: trajectories simulated at once, for equal bits on machines with different numbers of
            accelerators (networks only).
    """

    landscape: NamedPart | None = None
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
    """The objects of one point, made from its settings; the law is computed at its first use."""

    def __init__(self, settings: EscapeSettings):
        known: dict[str, Any] = {}
        if settings.landscape is not None:
            known["landscape"] = _trained(
                settings.landscape.model_dump_json(),
                "" if settings.training is None else settings.training.model_dump_json(),
            )
        elif settings.training is not None:
            raise SpecError("run.training: there is no landscape to train. Leave out training.")
        if "dt" in settings.kernel.arguments:
            # the law of Student's t steps belongs to one step length
            known["dt"] = settings.kernel.arguments["dt"]
        if settings.driver is not None:
            known["driver"] = build("driver", settings.driver, known)
        self.dynamics: Dynamics = build("dynamics", settings.dynamics, known)
        known["dynamics"] = known["terms"] = self.dynamics
        self.domain: Domain = build("domain", settings.domain, known)
        known["domain"] = self.domain
        self.kernel: Kernel = build("kernel", settings.kernel, known)
        if settings.start is None and not self.dynamics.has_attractor:
            start = f"start = {[0.0] * self.dynamics.dim}"
            raise SpecError(
                "run.start: the dynamics has no attractor to start at. For example "
                f"{start}, or give the dynamics its attractor."
            )
        self.start = (
            self.dynamics.attractor
            if settings.start is None
            else jnp.asarray(settings.start, float)
        )

    @property
    def law(self) -> EscapeLaw | None:
        """The escape law, None if there is none."""
        return None if isinstance(self.law_or_reason, str) else self.law_or_reason

    @functools.cached_property
    def law_or_reason(self) -> EscapeLaw | str:
        """The escape law, or why there is none."""
        if self.kernel.unit != "SDE time":
            return (
                f"the law is in SDE time, the kernel counts {self.kernel.unit}: give it "
                "iteration_time"
            )
        try:
            step = getattr(self.kernel, "dt", None) if self.dynamics.response == "flow" else None
            return escape_law(self.dynamics, self.domain, dt=step, check=False)
        except (ValueError, TypeError) as error:
            return str(error)


class EscapeRun(EscapeExperiment):
    """Thousands of escapes at each point, compared with the escape law if there is one."""

    name = "escape"
    settings = EscapeSettings

    def check(self, settings: EscapeSettings) -> None:
        problem = self.problem(settings)
        dim = problem.dynamics.dim
        if settings.start is not None and len(settings.start) != dim:
            raise SpecError(f"run.start: must have {dim} numbers, not {len(settings.start)}.")
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
                else f" (no law predicts its length: {problem.law_or_reason})"
            )
            raise SpecError(
                f"run.max_time: this run needs a budget{reason}. For example max_time = 1e4 "
                "or max_steps = 1_000_000."
            )

    def variables(self, points: Sequence[EscapeSettings]) -> tuple[Variable, ...]:
        dim = 0
        if any(point.record == "places" for point in points):
            # of the points of one landscape, one is made
            distinct = {
                (point.landscape or point.dynamics).model_dump_json(): point for point in points
            }.values()
            dim = max(self.problem(point).dynamics.dim for point in distinct)
        return columns_of(
            max(point.num for point in points), dim, self.problem(points[0]).kernel.unit
        )

    def limits(self, settings: EscapeSettings) -> dict[str, Any]:
        law, budgets = self.law(settings), [settings.max_time]
        if settings.max_means is not None and law is not None:
            budgets.append(settings.max_means * law.mean)
        return {
            "max_time": min((budget for budget in budgets if budget is not None), default=None),
            "max_steps": settings.max_steps,
            "lanes": settings.lanes,
            "record": settings.record,
        }

    def work(self, settings: EscapeSettings) -> Work | None:
        problem, limits = self.problem(settings), self.limits(settings)
        within = problem.kernel.steps_within
        bound = min(
            np.inf if limits["max_time"] is None else within(limits["max_time"]),
            np.inf if settings.max_steps is None else settings.max_steps,
        )
        if problem.law is None:
            return Work(settings.num * float(bound), is_bound=True)
        steps = max(within(problem.law.mean), 1)
        return Work(settings.num * float(min(bound, steps)), is_bound=False)

    def problem(self, settings: EscapeSettings) -> EscapeProblem:
        """The objects of a point: dynamics, domain, kernel, start, law."""
        return _problem(settings.model_dump_json())


@functools.lru_cache(maxsize=500)  # those looked at before the run are not made again
def _problem(text: str) -> EscapeProblem:
    return EscapeProblem(EscapeSettings.model_validate_json(text))


@functools.lru_cache(maxsize=8)
def _trained(part: str, training: str) -> Landscape:
    """A landscape at its minimum. With `training`, a network is trained and its minimum refined,
    which takes a while, so the result is cached."""
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
