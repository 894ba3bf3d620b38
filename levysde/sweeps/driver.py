"""Run a sweep: create the store, then run the unfinished points.

The map is a loop in this process, over every n-th point for a shard, or tasks on a Ray cluster. A
point is a pure function of the spec, so the same command resumes an interrupted sweep: finished
points are not run again, a long point resumes from its checkpoint, and the data are those of an
uninterrupted run. A point that fails is stored with its message; a store that fails stops the
sweep.
"""

import contextlib
import json
import logging
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from levysde import errors
from levysde.escape import as_shard, progress_bar
from levysde.sweeps.engines import device_name, map_here, map_on_ray
from levysde.sweeps.place import Place
from levysde.sweeps.plan import Plan, Point, make_plan
from levysde.sweeps.spec import Spec, read_spec
from levysde.sweeps.store import Store, check_place, lay_out, versions
from levysde.tables import Table, Tabled
from levysde.types import Arg, Integer, Number, PathLike

LOG = logging.getLogger("levysde.sweeps")
_NOTE_SECONDS = 2.0  # between two notes of what is being run


@dataclass(frozen=True, repr=False)
class Tally(Tabled):
    """What a call of `run_sweep` did.

    Attributes:
        done: points run and stored.
        failed: points that failed.
        skipped: points that were finished before, or had failed and were not to be run again.
        seconds: total wall-clock seconds.
    """

    done: int
    failed: int
    skipped: int
    seconds: float

    def _table(self) -> Table:
        return Table(
            "Tally",
            [
                ("points", f"{self.done} done, {self.failed} failed, {self.skipped} skipped"),
                ("seconds", f"{self.seconds:.3g}"),
            ],
        )


def run_sweep(
    spec: Arg[Spec | dict[str, Any] | PathLike],
    out: Arg[PathLike],
    *,
    engine: Arg[Literal["local", "ray"]] = "local",
    shard: Arg[tuple[int, int] | str | None] = None,
    workers: Arg[Integer | None] = None,
    retry_failed: Arg[bool] = False,
    progress: Arg[bool] = False,
    checkpoint_every: Arg[Number] = 5.0,
    folder: Arg[PathLike | None] = None,
) -> Tally:
    """Run every unfinished point of a sweep and store it.

    Args:
        spec: a `Spec`, a table, or the path of a TOML file.
        out: folder or URL of the store. It is created if it does not exist, and resumed if it holds
            this sweep.
        engine: "local", in this process, one point after another on all cores or accelerators; or
            "ray", on a Ray cluster.
        shard: `(i, n)` or "i/n": this is process i (from 0) of n that share the store; it runs
            every n-th point. Local engine only.
        workers: number of points that the Ray engine runs at a time; by default one per
            accelerator, or one per node if there is no accelerator.
        retry_failed: run failed points again.
        progress: show a progress bar.
        checkpoint_every: seconds between checkpoints of the running point.
        folder: folder of the modules that the spec names; by default that of the TOML file.

    Returns:
        A `Tally` of the points that were run, that failed and that were skipped.

    Raises:
        SpecError, StoreError, BusyError: (ValueErrors, before anything is run) a spec that cannot
            be run, a place that holds something else, a store that another process writes to.
        ValueError, TypeError, ImportError: another wrong argument; an extra that is not installed.
        OSError: the store cannot be written. It holds every finished point.
        Interrupted: Ctrl-C. The running point has been saved; `.result` is the `Tally` so far.
    """
    if isinstance(spec, str | os.PathLike):
        folder = Path(spec).resolve().parent if folder is None else folder
        spec = read_spec(spec)
    engine = errors.choice("engine", engine, ("local", "ray"))
    part = (0, 1) if shard is None else as_shard(shard)
    every = errors.positive_real("checkpoint_every", checkpoint_every)
    workers = None if workers is None else errors.integer("workers", workers)
    errors.flag("retry_failed", retry_failed)
    errors.flag("progress", progress)
    if engine == "local" and workers is not None:
        raise ValueError('workers belongs to engine="ray". Leave it out, or type engine="ray".')
    if engine == "ray" and part[1] > 1:
        raise ValueError('engine="ray" shares the points itself. Leave out shard, or the engine.')
    place = Place(out)
    plan = make_plan(spec, folder)
    check_place(plan, place)
    start = time.monotonic()
    with place.locked(part):
        # of several shards that find no store, one lays it out while the others wait
        alone = part[1] == 1
        with contextlib.nullcontext() if alone else place.waiting_for("layout"):
            store = lay_out(plan, place, device_name())
        _warn_of_versions(store)
        closed = store.finished() if retry_failed else store.finished() | store.failed()
        mine = plan.points[part[0] :: part[1]]
        todo = [point for point in mine if point.index not in closed]
        before = len(mine) - len(todo)
        LOG.info("%s: %d points to run, %d finished before", place.url, len(todo), before)
        with Progress(plan, store, part, len(todo), show=progress) as shown:
            if engine == "ray":
                running = map_on_ray(plan, store, todo, every, shown.beat, workers)
            else:
                running = map_here(plan, store, todo, every, shown.inside)
            try:
                with contextlib.closing(running) as ended:
                    for point, message, units in ended:
                        shown.ended(point, message, units)
            except KeyboardInterrupt:
                tally = Tally(shown.done, shown.failures, before, time.monotonic() - start)
                raise errors.Interrupted(
                    f"interrupted with {shown.done} of {len(todo)} points finished; they are "
                    "stored, and the running point is saved. Run the same again to resume.",
                    tally,
                ) from None
    return Tally(shown.done, shown.failures, before, time.monotonic() - start)


class Progress:
    """Shows progress as a bar, and as a note in the store for `levysde status`."""

    def __init__(self, plan: Plan, store: Store, part: tuple[int, int], todo: int, *, show: bool):
        self.store, self.todo = store, todo
        self.name = f"now-{part[0]}-of-{part[1]}.json"
        self.done = self.failures = 0
        self.work = 0.0  # of points ended, in the units that experiments count
        self.within = (0, 1)
        self.start = self.noted = time.monotonic()
        self.bar = progress_bar(todo, "point", plan.spec.title or "sweep", show=show)

    def __enter__(self) -> "Progress":
        self._note()
        return self

    def __exit__(self, *failure: object) -> None:
        self.bar.close()
        with contextlib.suppress(OSError):
            self.store.place.remove(".run", self.name)

    def inside(self, finished: int, count: int) -> None:
        self.within = (finished, count)
        self.beat()

    def beat(self) -> None:
        if time.monotonic() - self.noted > _NOTE_SECONDS:
            self.bar.set_postfix_str(f"{self.rate:.3g} exits/s, {self.failures} failed")
            self._note()

    def ended(self, point: Point, message: str, units: float) -> None:
        """Count a point that has ended after `units` of work."""
        self.done += not message
        self.failures += bool(message)
        self.work += units
        self.within = (0, 1)
        self.bar.update()
        if message:
            self.bar.write(f"{point.id} failed: {message}")
        self.beat()

    @property
    def rate(self) -> float:
        """Exits a second since the start."""
        return (self.work + self.within[0]) / max(time.monotonic() - self.start, 1e-9)

    def _note(self) -> None:
        self.noted = time.monotonic()
        note = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "time": time.time(),
            "todo": self.todo,
            "ended": self.done + self.failures,
            "within": self.within[0] / max(self.within[1], 1),
            "rate": self.rate,
            "seconds": self.noted - self.start,
        }
        # a note is not data, and a store that fails raises elsewhere
        with contextlib.suppress(OSError):
            self.store.place.write(json.dumps(note).encode(), ".run", self.name)


def _warn_of_versions(store: Store) -> None:
    here, there = versions(), store.attributes["versions"]
    other = [
        f"{name} {there.get(name)} there, {here[name]} here"
        for name in here
        if here[name] != there.get(name)
    ]
    if device_name() != store.attributes["device"]:
        other.append(f"{store.attributes['device']} there, {device_name()} here")
    if other:
        LOG.warning(
            "the store was begun with other versions or on another device (%s). New points may "
            "differ in their last bits. The log of each point says how it was run.",
            "; ".join(other),
        )
