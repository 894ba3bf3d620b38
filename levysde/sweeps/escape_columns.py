"""What an escape run leaves in the store: a row a trajectory, and the numbers of its comparison
with the law."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from levysde.analysis import Comparison, compare
from levysde.escape import EscapeResult, RunInfo, Status, describe
from levysde.protocols import Domain, Kernel
from levysde.stats import Estimate, exponentiality, mean_time
from levysde.sweeps.experiment import Variable
from levysde.theory import EscapeLaw


def columns_of(num: int, dim: int, unit: str) -> tuple[Variable, ...]:
    """What an escape run stores: a row a trajectory, and the numbers of its comparison. `unit` is
    that of times."""
    rows: list[Variable] = [
        Variable("time", "float64", "escape or censoring time", unit, ("trajectory",), (num,)),
        Variable(
            "status",
            "int8",
            "0 unfinished, 1 escaped, 2 censored, 3 NaN",
            "1",
            ("trajectory",),
            (num,),
        ),
        Variable("label", "int32", "exit set, 0 for none", "1", ("trajectory",), (num,)),
        Variable("steps", "uint32", "steps made", "1", ("trajectory",), (num,)),
        Variable(
            "overshot",
            "int8",
            "1 where an overshoot of the drift made the exit",
            "1",
            ("trajectory",),
            (num,),
        ),
    ]
    if dim:
        places, sizes, dtype = (
            ("trajectory", "coordinate"),
            (num, dim),
            np.dtype(jnp.result_type(float)).name,
        )
        rows.append(
            Variable("last_inside", dtype, "last place inside", "parameter units", places, sizes)
        )
        rows.append(
            Variable(
                "first_outside", dtype, "first place outside", "parameter units", places, sizes
            )
        )
    numbers = [Variable(name, "float64", about, units or unit) for name, about, units in _NUMBERS]
    run = Variable(
        "run_warnings", "str", "what was found before the run that can make its numbers wrong", ""
    )
    return (
        *rows,
        *numbers,
        run,
        Variable("warnings", "str", "caveats of the ratio", ""),
    )


_NUMBERS = (  # no units: those of time
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


def measured(result: EscapeResult, law: EscapeLaw | None) -> dict[str, Any]:
    """The columns of a result, with its comparison to a law."""
    columns: dict[str, Any] = {
        name: getattr(result, name) for name in ("time", "status", "label", "steps")
    }
    columns |= {
        "overshot": result.overshot.astype(np.int8),
        "run_warnings": "\n".join(result.info.warnings),
    }
    if result.last_inside.shape[1]:
        columns |= {"last_inside": result.last_inside, "first_outside": result.first_outside}
    counts = {name: result.count(s) for name, s in _COUNTS.items()}
    columns |= counts | {"dt": np.nan if result.info.dt is None else result.info.dt}
    if not counts["escapes"] + counts["censored"]:
        return columns
    comparison: Comparison | None = None if law is None else compare(result, law)
    test, mean = (
        _shape_and_mean(result)
        if comparison is None
        else (comparison.exponentiality, comparison.mean)
    )
    columns |= _spread("mean_time", mean)
    if test is not None:
        columns |= _spread("shape", test.shape) | {"p_exponential": test.p_value}
    if comparison is not None:
        columns |= _spread("ratio", comparison.ratio)
        columns |= {"predicted_mean": comparison.reference.value, "regime": comparison.regime}
        columns["warnings"] = "\n".join(comparison.warnings)
    return columns


_COUNTS = {"escapes": Status.EXITED, "censored": Status.CENSORED, "nan": Status.NONFINITE}


def _spread(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _shape_and_mean(result: EscapeResult) -> tuple[Any, Estimate]:
    used = (result.status == Status.EXITED) | (result.status == Status.CENSORED)
    time, exited = result.time[used], result.exited[used]
    test = exponentiality(time, exited) if np.unique(time[exited]).size > 1 else None
    return test, mean_time(time, exited)


def restored(
    columns: dict[str, Any], num: int, kernel: Kernel | None, domain: Domain | None, seed: int
) -> EscapeResult:
    """The result that a point's columns came from. What is not stored, speed and layout, is 0.
    Without its kernel and domain the result does not name them, and its unit is SDE time."""
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
        warnings=tuple(line for line in str(columns.get("run_warnings", "")).split("\n") if line),
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
