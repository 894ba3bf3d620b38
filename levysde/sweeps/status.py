"""How a sweep is going, as seen from outside: counted from the names in the store, and from what
its drivers note."""

import json
import math
import os
import time
from dataclasses import dataclass
from typing import Any

from levysde import errors
from levysde.sweeps.estimate import duration
from levysde.sweeps.place import Place
from levysde.sweeps.store import open_store
from levysde.tables import Table, Tabled
from levysde.types import Arg, PathLike

_STALE = 60.0  # seconds after which a driver that has noted nothing is taken for gone
_SHOWN = 5


@dataclass(frozen=True, repr=False)
class SweepStatus(Tabled):
    """Points done, failed and to run; exits a second and seconds left by the drivers that are
    running (NaN without any).

    Attributes:
        url, title: of the sweep.
        points, done, failed: numbers of points.
        drivers: one line for each driver or shard that is running.
        rate: exits a second of all of them.
        left: seconds until the last of them is through.
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
            rows.append(("running", "nobody is running it: type its command again"))
        rows += [("failed", f"{point}: {message}") for point, message in self.failures]
        if self.failed > len(self.failures):
            rows.append(("failed", f"... and {self.failed - len(self.failures)} more that failed"))
        return Table(f"SweepStatus: {self.title}", rows)


def sweep_status(path: Arg[PathLike]) -> SweepStatus:
    """How a sweep is going, as seen from outside.

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
    first = sorted(failed)[:_SHOWN]
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
        failures=tuple((_name(coordinates, index), str(texts[index])) for index in first),
    )


def _note(place: Place, name: str) -> dict[str, Any]:
    try:
        return json.loads(place.read(".run", name) or b"{}")
    except ValueError:
        return {}


def _left(note: dict[str, Any]) -> float:
    through = note["ended"] + note["within"]
    return (note["todo"] - through) / through * note["seconds"] if through else math.nan


def _name(coordinates: dict[str, Any], index: tuple[int, ...]) -> str:
    # a list has one dimension for all its axes
    along = index * len(coordinates) if len(index) == 1 else index
    return "/".join(
        f"{name}={values[k]}" for (name, values), k in zip(coordinates.items(), along, strict=True)
    )
