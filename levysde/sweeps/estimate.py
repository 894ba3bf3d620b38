"""What a sweep will take, before it is run: points, time from a trial on this machine, disk."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from levysde import errors
from levysde.sweeps.place import Place
from levysde.sweeps.plan import Plan, Point
from levysde.sweeps.store import disk_bytes
from levysde.tables import Grid, Table, Tabled
from levysde.types import Arg

_ASKED, _TRIALS, _SHOWN = 64, 6, 20
_TRIAL_SECONDS = 1.0  # after which no new kind of point is tried
# integers that do not change what is compiled
_COUNTS = {"num", "max_steps", "seed", "training_seed"}


@dataclass(frozen=True, repr=False)
class SweepEstimate(Tabled):
    """The cost of a sweep.

    Attributes:
        plan: what was asked about.
        seconds: expected, for one process on this machine; NaN where nothing predicts it.
            Compilation is left out.
        is_bound: whether some point could only be bounded, so that `seconds` is the most it takes.
        asked: number of points whose cost was worked out, evenly over the sweep; the mean of them
            stands for the others.
        speeds: units of work a second of each kind of point that was tried, by its name.
        kinds: number of kinds of points there are; those not tried were taken to be as slow as the
            slowest.
        nbytes, free: disk at most, and free at the place (None for a URL).
        units: expected work of the first points, NaN where unknown.
    """

    plan: Plan
    seconds: float
    is_bound: bool
    asked: int
    speeds: dict[str, float]
    kinds: int
    nbytes: int
    free: int | None
    units: tuple[float, ...]

    def _table(self) -> Table:
        plan = self.plan
        unit = plan.experiment.work_unit
        cells = [
            (point.id, _work(units, unit))
            for point, units in zip(plan.points, self.units, strict=False)
        ]
        free = "" if self.free is None else f" of {_size(self.free)} free"
        lines: list = [*plan._rows(), Grid(("point", "work"), cells)]
        if len(plan.points) > len(self.units):
            lines.append(f"... and {len(plan.points) - len(self.units):,} more")
        lines += [
            ("speed of a trial here", f"{speed:.3g} {unit}/s ({kind})")
            for kind, speed in self.speeds.items()
        ]
        lines += [
            ("time", self._time()),
            ("disk", f"at most {_size(self.nbytes)}{free}"),
            "nothing was run or written",
        ]
        return Table(f"Estimate of {len(plan.points):,} points of {plan.experiment.name!r}", lines)

    def _time(self) -> str:
        if np.isnan(self.seconds):
            return "unknown: nothing predicts how long these points take"
        about = "at most" if self.is_bound else "about"
        rest = "" if self.asked == len(self.plan.points) else f", from {self.asked} of the points"
        missed = self.kinds - len(self.speeds)
        rest += f"; {missed} kinds of points were not tried" if missed else ""
        return f"{about} {duration(self.seconds)} by one process here, compilation apart{rest}"


def estimate(plan: Arg[Plan], place: Arg[Place]) -> SweepEstimate:
    """Work out a sweep's cost by a short trial of each kind of point (of at most 6, and of no new
    one after 1 s).

    Nothing is written.

    Args:
        plan: from `make_plan`.
        place: where it would be stored.

    Returns:
        An `SweepEstimate`.

    Raises:
        TypeError: arguments of another kind.
    """
    errors.instance("plan", plan, Plan, "make_plan(spec)")
    errors.instance("place", place, Place, 'Place("out")')
    chosen = [
        plan.points[k] for k in np.unique(np.linspace(0, len(plan.points) - 1, _ASKED).astype(int))
    ]
    works = [plan.experiment.work(point.settings) for point in chosen]
    kinds: dict[str, list[int]] = {}
    for k, point in enumerate(chosen):
        kinds.setdefault(_kind(point), []).append(k)
    speeds: dict[str, float] = {}
    seconds, is_bound = np.full(len(chosen), np.nan), False
    start, tried = time.perf_counter(), 0
    for members in list(kinds.values())[:_TRIALS]:
        if speeds and time.perf_counter() - start > _TRIAL_SECONDS:
            break
        tried += 1
        if any(works[k] is not None for k in members):
            speeds[_name(chosen[members[0]])] = speed = plan.experiment.units_per_second(
                chosen[members[0]].settings
            )
            for k in members:
                work = works[k]
                seconds[k] = np.nan if work is None else work.amount / speed
                is_bound |= work is not None and work.is_bound
    for members in list(kinds.values())[tried:]:
        for k in members:
            work = works[k]
            seconds[k] = (
                work.amount / min(speeds.values()) if work is not None and speeds else np.nan
            )
    variables = plan.experiment.variables([point.settings for point in plan.points])
    first = [plan.experiment.work(point.settings) for point in plan.points[:_SHOWN]]
    return SweepEstimate(
        plan=plan,
        seconds=float(np.mean(seconds)) * len(plan.points),
        is_bound=is_bound,
        asked=len(chosen),
        speeds=speeds,
        kinds=len(kinds),
        nbytes=disk_bytes(plan, variables),
        free=_free(place) if place.is_local else None,
        units=tuple(np.nan if work is None else work.amount for work in first),
    )


def _kind(point: Point) -> str:
    """What decides the compiled program: the settings without their real numbers."""

    def masked(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: masked(v, k) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [masked(v, key) for v in value]
        return "a number" if isinstance(value, float) or key in _COUNTS else value

    return json.dumps(masked(point.settings.model_dump()), sort_keys=True)


def _name(point: Point) -> str:
    table = point.settings.model_dump()
    names = [value["name"] if isinstance(value, dict) else value for value in table.values()]
    return ", ".join(str(name) for name in names if isinstance(name, str))


def _free(place: Place) -> int:
    folder = Path(place.root).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _work(units: float, unit: str) -> str:
    return "length unknown" if np.isnan(units) else f"{units:.3g} {unit}"


def _size(nbytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"


def duration(seconds: float) -> str:
    """Seconds in words that fit their size."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 86400:.3g} days"
