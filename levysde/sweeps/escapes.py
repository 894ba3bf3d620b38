"""What experiments that simulate escapes share: the run, its stored columns and its speed."""

from abc import abstractmethod
from typing import Any

import jax.numpy as jnp
import numpy as np

from levysde.analysis import compare
from levysde.escape import (
    EscapeResult,
    RunInfo,
    Status,
    describe,
    simulate_escape,
    without_preflight,
)
from levysde.protocols import Domain, Kernel
from levysde.stats import Estimate, exponentiality, mean_time
from levysde.sweeps.experiment import Experiment, Job, Variable
from levysde.theory import EscapeLaw

_TRIAL_SECONDS, _TRIAL_NUM, _TRIAL_STEPS = 0.2, 4096, 10**6
_COUNTS = {"escapes": Status.EXITED, "censored": Status.CENSORED, "nan": Status.NONFINITE}
# one value for each trajectory: name, dtype, long name, units ("" for those of time)
_TRAJECTORY = (
    ("time", "float64", "escape or censoring time", ""),
    ("status", "int8", "0 unfinished, 1 escaped, 2 censored, 3 NaN", "1"),
    ("label", "int32", "exit set, 0 for none", "1"),
    ("steps", "uint32", "steps made", "1"),
    ("overshot", "int8", "1 where an overshoot of the drift made the exit", "1"),
)
# one value for each point: name, long name, units
_NUMBERS = (
    ("mean_time", "mean escape time, time at risk over escapes", ""),
    ("mean_time_low", "its 95% interval, lower end", ""),
    ("mean_time_high", "its 95% interval, upper end", ""),
    ("predicted_mean", "mean escape time by the law of jumps", ""),
    ("ratio", "measured over predicted mean", "1"),
    ("ratio_low", "its 95% interval, lower end", "1"),
    ("ratio_high", "its 95% interval, upper end", "1"),
    ("shape", "Weibull shape of the escape times, 1 if exponential", "1"),
    ("shape_low", "its 95% interval, lower end", "1"),
    ("shape_high", "its 95% interval, upper end", "1"),
    ("p_exponential", "p-value of the exponential shape", "1"),
    ("escapes", "number of escapes", "1"),
    ("censored", "number censored", "1"),
    ("nan", "number that became NaN", "1"),
    ("regime", "rate over relaxation", "1"),
    ("dt", "step", ""),
)
_TEXTS = (
    ("run_warnings", "what was found before the run that can make its numbers wrong"),
    ("warnings", "caveats of the ratio"),
)


class EscapeExperiment(Experiment):
    """Base of the experiments that simulate escapes.

    `problem` gives the objects of a point (`kernel`, `domain`, `start` and `law`, None where there
    is no law), `limits` the arguments of `simulate_escape` that bound a trajectory.
    """

    work_unit = "trajectory-steps"

    @abstractmethod
    def problem(self, settings: Any) -> Any:
        """The objects of a point: `kernel`, `domain`, `start`, `law`."""

    @abstractmethod
    def limits(self, settings: Any) -> dict[str, Any]:
        """Arguments of `simulate_escape`: budgets, lanes, what is recorded."""

    def run(self, settings: Any, job: Job) -> EscapeResult:
        problem = self.problem(settings)
        return simulate_escape(
            problem.kernel,
            problem.domain,
            problem.start,
            num=settings.num,
            seed=job.seed,
            checkpoint=job.checkpoint,
            progress=job.progress or False,
            **self.limits(settings),
        )

    def columns(self, settings: Any, outcome: EscapeResult, job: Job) -> dict[str, Any]:
        return measured(outcome, self.law(settings))

    def outcome(self, settings: Any, columns: dict[str, Any], job: Job) -> EscapeResult:
        problem = self.problem(settings)
        return restored(columns, settings.num, problem.kernel, problem.domain, job.seed)

    def law(self, settings: Any) -> EscapeLaw | None:
        return self.problem(settings).law

    def units_per_second(self, settings: Any) -> float:
        problem, num = self.problem(settings), min(settings.num, _TRIAL_NUM)

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


def columns_of(num: int, dim: int, unit: str) -> tuple[Variable, ...]:
    """The columns of escape runs: one row per trajectory, and the numbers of the comparison.

    `dim` is 0 where the places of exits are not stored; `unit` is that of times.
    """
    places = (("trajectory", "coordinate"), (num, dim))
    dtype, units = np.dtype(jnp.result_type(float)).name, "parameter units"
    return (
        *(
            Variable(name, kind, about, units or unit, ("trajectory",), (num,))
            for name, kind, about, units in _TRAJECTORY
        ),
        *(
            Variable(f"{name}_{side}", dtype, f"{name} place {side}", units, *places)
            for name, side in (("last", "inside"), ("first", "outside"))
            if dim
        ),
        *(Variable(name, "float64", about, units or unit) for name, about, units in _NUMBERS),
        *(Variable(name, "str", about, "") for name, about in _TEXTS),
    )


def measured(result: EscapeResult, law: EscapeLaw | None) -> dict[str, Any]:
    """The columns of a result, with its comparison to a law."""
    columns: dict[str, Any] = {
        name: getattr(result, name) for name in ("time", "status", "label", "steps")
    }
    columns["overshot"] = result.overshot.astype(np.int8)
    columns["run_warnings"] = "\n".join(result.info.warnings)
    if result.last_inside.shape[1]:
        columns |= {"last_inside": result.last_inside, "first_outside": result.first_outside}
    counts = {name: result.count(status) for name, status in _COUNTS.items()}
    columns |= counts | {"dt": np.nan if result.info.dt is None else result.info.dt}
    if not counts["escapes"] + counts["censored"]:
        return columns
    if law is None:
        used = (result.status == Status.EXITED) | (result.status == Status.CENSORED)
        time, exited = result.time[used], result.exited[used]
        mean = mean_time(time, exited)
        test = exponentiality(time, exited) if np.unique(time[exited]).size > 1 else None
    else:
        found = compare(result, law)
        mean, test = found.mean, found.exponentiality
        columns |= with_ends("ratio", found.ratio)
        columns |= {"predicted_mean": found.reference.value, "regime": found.regime}
        columns["warnings"] = "\n".join(found.warnings)
    if test is not None:
        columns |= with_ends("shape", test.shape) | {"p_exponential": test.p_value}
    return columns | with_ends("mean_time", mean)


def with_ends(name: str, estimate: Estimate) -> dict[str, float]:
    """The three columns of a number with an interval."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def restored(
    columns: dict[str, Any], num: int, kernel: Kernel | None, domain: Domain | None, seed: int
) -> EscapeResult:
    """The result that a point's columns came from.

    What is not stored, speed and layout, is 0. Without its kernel and domain the result does not
    name them, and its unit is SDE time.
    """
    rows = {name: np.asarray(values)[:num] for name, values in columns.items() if np.ndim(values)}
    nowhere = np.zeros((num, 0), np.float32)
    dt = float(columns["dt"])
    info = RunInfo(
        kernel="" if kernel is None else describe(kernel),
        domain="" if domain is None else describe(domain),
        unit="SDE time" if kernel is None else kernel.unit,
        dt=None if np.isnan(dt) else dt,
        seed=seed,
        num=num,
        lanes=0,
        workers=0,
        device="",
        versions={},
        minibatches=getattr(kernel, "minibatches", None),
        warnings=tuple(filter(None, str(columns.get("run_warnings", "")).split("\n"))),
    )
    return EscapeResult(
        time=rows["time"],
        exited=rows["status"] == Status.EXITED,
        label=rows["label"],
        last_inside=rows.get("last_inside", nowhere),
        first_outside=rows.get("first_outside", nowhere),
        steps=rows["steps"],
        status=rows["status"],
        info=info,
        overshot=np.asarray(rows.get("overshot", np.zeros(num)), bool),
    )
