"""Calls of `levysde.sweeps`."""

from collections.abc import Iterator
from functools import cache

from sweeping import spec

from calls.small import folder
from calls.table import Call, Exempt
from levysde import sweeps

ELSEWHERE = {"path": ("no sweep at", "out")}  # a folder without one; what is no place at all


FIELD = {"spec": ("no such field",)}  # which, the message says


@cache
def store() -> sweeps.Sweep:
    """Three points that have been run."""
    place = folder() / "sweep"
    sweeps.run_sweep(spec(run__num=20, grid={"epsilon": [0.3, 0.5, 0.7]}), place)
    return sweeps.open_sweep(place)


@cache
def main_job() -> sweeps.Sweep:
    """One noise level of the main job that has been run."""
    place = folder() / "main_job"
    settings = {"landscape": "quadratic", "optimizer": ["sgd"], "epsilon": [0.3], "num": 20}
    sweeps.run_sweep(sweeps.main_job_spec(settings), place)
    return sweeps.open_sweep(place)


@cache
def plan() -> sweeps.Plan:
    return sweeps.make_plan(store().store.spec)


def file() -> str:
    path = folder() / "spec.toml"
    path.write_text("[run]\nnum = 10\n[grid]\nepsilon = [0.1, 0.2]\n")
    return str(path)


def calls() -> Iterator[Call | Exempt]:
    yield Call(
        sweeps.run_sweep,
        lambda: {
            "spec": store().store.spec,
            "out": store().store.place.url,
            "engine": "local",
            "shard": "0/1",
            "workers": None,
            "retry_failed": False,
            "progress": False,
            "checkpoint_every": 5.0,
            "folder": folder(),
        },
        host=True,
        also=FIELD,
        fine={"out": ("text",)},  # any word is a folder
    )
    yield Call(
        sweeps.estimate,
        lambda: {"plan": plan(), "place": sweeps.Place(folder() / "new")},
        cheap=False,
    )
    yield Call(
        sweeps.scaling_fits,
        lambda: {
            "sweep": store(),
            "axis": "epsilon",
            "quantity": "mean_time",
            "form": "power",
            "confidence": 0.95,
            "resamples": 20,
            "seed": 0,
        },
        host=True,
    )
    yield Call(
        sweeps.make_plan, lambda: {"spec": store().store.spec, "folder": folder()}, also=FIELD
    )
    yield Call(
        sweeps.write_report,
        lambda: {"sweep": store(), "path": folder() / "report.html"},
        cheap=False,
    )
    yield Call(sweeps.read_spec, lambda: {"path": file()})
    yield Call(sweeps.sweep_status, lambda: {"path": store().store.place.url}, also=ELSEWHERE)
    yield Call(sweeps.open_sweep, lambda: {"path": store().store.place.url}, also=ELSEWHERE)
    yield Call(sweeps.Sweep, lambda: {"store": store().store})
    yield Call(sweeps.Place, lambda: {"out": str(folder())})
    yield Call(
        sweeps.main_job_spec,
        lambda: {"settings": {"landscape": "quadratic", "epsilon": [0.3]}},
        also=FIELD,
    )
    yield Call(sweeps.main_job_report, lambda: {"sweep": main_job()}, host=True)
    # its name is taken
    yield Call(sweeps.register, lambda: {"experiment": sweeps.MainJob()}, cheap=False)
    yield Call(
        sweeps.Variable,
        lambda: {
            "name": "time",
            "dtype": "float64",
            "long_name": "escape time",
            "units": "SDE time",
            "dims": ("trajectory",),
            "sizes": (4,),
        },
    )
    yield Call(sweeps.Work, lambda: {"amount": 100.0, "is_bound": False}, host=True)
    for bare in (sweeps.EscapeRun, sweeps.MainJob, sweeps.versions):
        yield Call(bare, dict)
    for received in (
        sweeps.Tally,
        sweeps.SweepEstimate,
        sweeps.ScalingFit,
        sweeps.Plan,
        sweeps.SweepStatus,
        sweeps.Store,
    ):
        yield Exempt(received, "users only receive it")
    yield Exempt(sweeps.Job, "made for each point by the driver; an experiment only receives it")
    yield Exempt(sweeps.Experiment, "an interface to derive from")
    yield Exempt(sweeps.Model, "a base for settings, whose fields pydantic checks")
    yield Exempt(sweeps.MainJobSettings, "settings, whose fields pydantic checks")
    yield Exempt(
        sweeps.Spec, "made by `read_spec` and `make_plan` from a table, whose faults they name"
    )
    for error in (sweeps.SpecError, sweeps.StoreError, sweeps.BusyError):
        yield Exempt(error, "an exception")
