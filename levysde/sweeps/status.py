"""What a sweep will take before it is run, and how far it is while it runs."""

import json
import math
import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from levysde import errors
from levysde.sweeps.place import Place
from levysde.sweeps.plan import Plan, Point
from levysde.sweeps.store import disk_bytes, open_store
from levysde.tables import Grid, Table, Tabled
from levysde.types import Arg, PathLike

_ASKED, _TRIALS, _SHOWN = 64, 6, 20
_TRIAL_SECONDS = 1.0  # after which no new kind of point is tried
# integers that do not change what is compiled
_COUNTS = {"num", "max_steps", "seed", "training_seed"}


@dataclass(frozen=True, repr=False)
class SweepEstimate(Tabled):
    """The cost of a sweep.

    Attributes:
        plan: the `Plan` of the sweep.
        seconds: expected time of one process on this machine, without compilation; NaN if it cannot
            be predicted.
        is_bound: whether `seconds` is an upper bound, since some points have only a bound.
        asked: number of points whose cost was computed, evenly spaced over the sweep; their mean
            stands for the others.
        speeds: units of work per second of each kind of point that was tried, by its name.
        kinds: number of kinds of points. Those not tried are taken to be as slow as the slowest.
        nbytes, free: upper bound of the disk space, and what is free (None for a URL).
        units: expected work of the first points, NaN if unknown.
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
        return f"{about} {duration(self.seconds)} by one process here, without compilation{rest}"


def estimate(plan: Arg[Plan], place: Arg[Place]) -> SweepEstimate:
    """Estimate a sweep's cost by a short trial of each kind of point (at most 6, and no new one
    after 1 s).

    Nothing is written.

    Args:
        plan: a `Plan`, from `make_plan`.
        place: the `Place` of the store.

    Returns:
        A `SweepEstimate`.

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
    for members in kinds.values():
        known = [(k, work) for k in members if (work := works[k]) is not None]
        speed = min(speeds.values(), default=np.nan)  # of kinds that are not tried
        if tried < _TRIALS and not (speeds and time.perf_counter() - start > _TRIAL_SECONDS):
            tried += 1
            if known:
                first = chosen[members[0]]
                speed = plan.experiment.units_per_second(first.settings)
                speeds[_kind_name(first)] = speed
                is_bound |= any(work.is_bound for _, work in known)
        for k, work in known:
            seconds[k] = work.amount / speed
    variables = plan.experiment.variables([point.settings for point in plan.points])
    shown = [plan.experiment.work(point.settings) for point in plan.points[:_SHOWN]]
    return SweepEstimate(
        plan=plan,
        seconds=float(np.mean(seconds)) * len(plan.points),
        is_bound=is_bound,
        asked=len(chosen),
        speeds=speeds,
        kinds=len(kinds),
        nbytes=disk_bytes(plan, variables),
        free=place.free_bytes() if place.is_local else None,
        units=tuple(np.nan if work is None else work.amount for work in shown),
    )


def _kind(point: Point) -> str:
    """The settings without their real numbers, which decide what is compiled."""

    def masked(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: masked(v, k) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [masked(v, key) for v in value]
        return "a number" if isinstance(value, float) or key in _COUNTS else value

    return json.dumps(masked(point.settings.model_dump()), sort_keys=True)


def _kind_name(point: Point) -> str:
    table = point.settings.model_dump()
    names = [value["name"] if isinstance(value, dict) else value for value in table.values()]
    return ", ".join(str(name) for name in names if isinstance(name, str))


def _work(units: float, unit: str) -> str:
    return "length unknown" if np.isnan(units) else f"{units:.3g} {unit}"


def _size(nbytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"


def duration(seconds: float) -> str:
    """A time as text in s, min, h or days."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 86400:.3g} days"


_STALE = 60.0  # seconds without a note after which a process counts as ended
_MOST_FAILURES = 5


@dataclass(frozen=True, repr=False)
class SweepStatus(Tabled):
    """Progress of a sweep.

    Attributes:
        url, title: of the sweep.
        points, done, failed: numbers of points.
        drivers: one line for each running process.
        rate: exits per second of all of them.
        left: seconds until the last of them is done, NaN if none is running.
        failures: (point, message) of the first few that failed.
    """

    url: str
    title: str
    points: int
    done: int
    failed: int
    drivers: tuple[str, ...]
    rate: float
    left: float
    failures: tuple[tuple[str, str], ...]

    def _table(self) -> Table:
        waiting = self.points - self.done - self.failed
        rows = [
            ("at", self.url),
            (
                "points",
                f"{self.done} of {self.points} points done, {self.failed} failed, {waiting} to run",
            ),
            *(("running", driver) for driver in self.drivers),
        ]
        if self.drivers:
            left = "unknown" if math.isnan(self.left) else duration(self.left)
            rows.append(("speed", f"{self.rate:.3g} exits/s, time left {left}"))
        elif waiting:
            rows.append(("running", "no process is running it; type its command again"))
        rows += [("failed", f"{point}: {message}") for point, message in self.failures]
        if self.failed > len(self.failures):
            rows.append(("failed", f"... and {self.failed - len(self.failures)} more that failed"))
        return Table(f"SweepStatus: {self.title}", rows)


def sweep_status(path: Arg[PathLike]) -> SweepStatus:
    """Progress of a sweep that may be running elsewhere.

    Args:
        path: folder or URL of its store.

    Returns:
        A `SweepStatus`.

    Raises:
        TypeError: something else than a path.
        StoreError: a ValueError: there is no sweep.
    """
    store = open_store(Place(errors.instance("path", path, str | os.PathLike, '"runs/first"')))
    done, failed = store.finished(), store.failed()
    notes = [
        note
        for name in store.place.files(".run")
        if name.startswith("now-")
        for note in [_note(store.place, name)]
    ]
    notes = [note for note in notes if time.time() - note.get("time", 0) < _STALE]
    texts = store.arrays["failure"]
    coordinates = {name: store.group[name][...] for name in store.attributes["axes"]}
    first = sorted(failed)[:_MOST_FAILURES]
    return SweepStatus(
        url=store.place.url,
        title=str(store.attributes["title"]),
        points=math.prod(store.shape),
        done=len(done),
        failed=len(failed),
        drivers=tuple(
            f"process {n['pid']} on {n['host']}: {n['ended']} of {n['todo']} since it began"
            for n in notes
        ),
        rate=sum(note["rate"] for note in notes),
        left=max((_left(note) for note in notes), default=math.nan),
        failures=tuple((_point_name(coordinates, index), str(texts[index])) for index in first),
    )


def _note(place: Place, name: str) -> dict[str, Any]:
    try:
        return json.loads(place.read(".run", name) or b"{}")
    except ValueError:
        return {}


def _left(note: dict[str, Any]) -> float:
    through = note["ended"] + note["within"]
    return (note["todo"] - through) / through * note["seconds"] if through else math.nan


def _point_name(coordinates: dict[str, Any], index: tuple[int, ...]) -> str:
    # a list has one dimension for all its axes
    along = index * len(coordinates) if len(index) == 1 else index
    return "/".join(
        f"{name}={values[k]}" for (name, values), k in zip(coordinates.items(), along, strict=True)
    )
