"""What the workers share: the counter of ids, the rows of finished trajectories, the lanes still in
flight; and the checkpoint of all that, in one file that is replaced whole, so that a killed run
resumes where it was.

The file is an npz archive (each member with its own checksum) whose header names the run: seed,
number of trajectories, limit, versions, and a fingerprint of the traced program, its numbers and
the starts. A trajectory is a pure function of (seed, id, step), so a resumed run gives the bits of
an undisturbed one.
"""

import functools
import hashlib
import json
import math
import os
import re
import threading
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from levysde import errors
from levysde.escape.block import (
    SMALLEST,
    Limits,
    Problem,
    advance_stack,
    empty_queue,
    empty_stack,
)
from levysde.escape.request import Run
from levysde.escape.result import Status
from levysde.types import Arg, PathLike

_FORMAT = 1
_FLIGHT = ("ids", "step", "before")  # stored of a `Flight`, beside its leaves


class Rows:
    """One row a trajectory, filled in any order; places of `dim` numbers, 0 where they are not
    kept."""

    def __init__(self, num: int, dim: int, dtype: Any):
        self.time = np.full(num, np.nan)
        self.label = np.zeros(num, np.int32)
        self.last_inside = np.full((num, dim), np.nan, dtype)
        self.first_outside = np.full((num, dim), np.nan, dtype)
        self.steps = np.zeros(num, np.uint32)
        self.status = np.zeros(num, np.int8)
        self.overshot = np.zeros(num, bool)

    def arrays(self) -> dict[str, np.ndarray]:
        return dict(vars(self))


class Flight(NamedTuple):
    """Unfinished trajectories with all that is needed to resume them: the lane axis last, as in a
    `Block`."""

    ids: np.ndarray
    step: np.ndarray
    before: np.ndarray
    leaves: list[np.ndarray]

    def take(self, keep: np.ndarray) -> "Flight":
        return jax.tree.map(lambda leaf: leaf[..., keep], self)

    @staticmethod
    def join(parts: list["Flight"]) -> "Flight | None":
        parts = [part for part in parts if len(part.ids)]
        return jax.tree.map(lambda *leaf: np.concatenate(leaf, -1), *parts) if parts else None


@dataclass
class Ledger:
    """The state that workers share; every method takes the lock."""

    rows: Rows
    shard: tuple[int, int] = (0, 1)  # this one, of so many: this shard takes every n-th id
    flight: Flight | None = None  # resumed lanes, handed out before new ids
    lock: AbstractContextManager = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    finished: int = 0
    lane_steps: int = 0
    live_steps: int = 0
    compile_seconds: float = 0.0
    wanted: int = 0  # number of the snapshot that workers are asked for
    # worker -> (number, its lanes)
    snapshots: dict[int, tuple[int, Flight]] = field(default_factory=dict)

    def __post_init__(self):
        waiting = self.rows.status == Status.UNFINISHED
        if self.flight is not None:
            waiting[self.flight.ids] = False
        first, stride = self.shard
        mine = range(first, len(waiting), stride)
        self.queue = mine if waiting.all() else np.array([i for i in mine if waiting[i]], np.uint64)
        self.num = len(mine)
        self.next = 0
        self.returned = np.zeros(0, np.uint64)
        self.finished = int(np.sum(self.rows.status != Status.UNFINISHED))

    def resume(self, count: int) -> Flight | None:
        with self.lock:
            if self.flight is None or not count:
                return None
            resumed = self.flight.take(np.arange(0, min(count, len(self.flight.ids))))
            rest = self.flight.take(np.arange(len(resumed.ids), len(self.flight.ids)))
            self.flight = rest if len(rest.ids) else None
            return resumed

    def take(self, count: int, share: float) -> np.ndarray:
        """Fresh ids: `count`, or that `share` of those that wait if it is less."""
        with self.lock:
            waiting = len(self.queue) - self.next + len(self.returned)
            count = min(count, math.ceil(share * waiting))
            back, self.returned = self.returned[:count], self.returned[count:]
            fresh = np.asarray(self.queue[self.next : self.next + count - len(back)], np.uint64)
            self.next += len(fresh)
            return np.concatenate([back, fresh])

    def give_back(self, ids: np.ndarray) -> None:
        with self.lock:
            self.returned = np.concatenate([self.returned, ids])

    def write(self, ids: np.ndarray, columns: dict[str, np.ndarray]) -> None:
        with self.lock:
            for name, values in columns.items():
                column = getattr(self.rows, name)
                column[ids] = values if column.ndim == 1 else values[:, : column.shape[1]]
            self.finished += len(ids)

    def count_work(self, lane_steps: int, live_steps: int, compile_seconds: float = 0.0) -> None:
        with self.lock:
            self.lane_steps += lane_steps
            self.live_steps += live_steps
            self.compile_seconds += compile_seconds

    def deposit(self, worker: int, number: int, flight: Flight) -> None:
        with self.lock:
            self.snapshots[worker] = (number, flight)

    def in_flight(self) -> Flight | None:
        """Every unfinished trajectory that has lived: the workers' last deposits and what waits to
        be resumed."""
        with self.lock:
            parts = [flight for _, flight in self.snapshots.values()]
            if self.flight is not None:
                parts.append(self.flight)
            flight = Flight.join(parts)
            if flight is None:
                return None
            return flight.take(self.rows.status[flight.ids] == Status.UNFINISHED)


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often to save.

    Args:
        path: the file, written by NumPy as an archive; its folder is made when missing.
        checkpoint_every: seconds between saves, stretched so that saving costs at most 5%.
        final: whether a finished run is saved too; False for one whose rows are stored elsewhere as
            soon as it returns.
        on_save: called with the path after each save, for example to copy the file off the machine;
            None by default.

    Raises:
        ValueError, TypeError: a path of another kind, seconds that are not positive, an `on_save`
            that is no function.
    """

    path: Arg[PathLike]
    checkpoint_every: Arg[float] = 5.0
    final: Arg[bool] = True
    on_save: Arg[Callable[[Path], Any] | None] = None

    def __post_init__(self):
        errors.instance("path", self.path, str | os.PathLike, '"run.npz"')
        seconds = errors.positive_real("checkpoint_every", self.checkpoint_every)
        object.__setattr__(self, "checkpoint_every", seconds)
        errors.flag("final", self.final)
        if self.on_save is not None:
            errors.function("on_save", self.on_save)


def fingerprint(run: Run) -> str:
    """A hash of everything the results depend on: the traced program, its numbers, the starts, the
    limit."""
    stack = jax.eval_shape(lambda: empty_stack(run.problem[0], 1, SMALLEST, run.starts.dtype))
    program = jax.make_jaxpr(advance_stack)(
        Problem(*run.problem), stack, empty_queue(run.starts, 1), Limits(0, 0, 0, 0, 0)
    )
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", str(program)).encode())
    for leaf in [*jax.tree.leaves(run.problem), run.starts]:
        array = np.asarray(leaf)
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Saver:
    """The checkpoint of one run. Its header is made when first asked for: tracing the program takes
    longer than a short run."""

    settings: Checkpoint
    path: Path
    run: Run
    record: str

    @functools.cached_property
    def header(self) -> dict[str, Any]:
        run = self.run
        return {
            "format": _FORMAT,
            "seed": run.seed,
            "num": run.num,
            "limit": run.limit,
            "jax": jax.__version__,
            "device": run.devices[0].device_kind,
            "lanes": 0 if run.lane_invariant else run.width,
            "record": self.record,
            "fingerprint": fingerprint(run),
        }

    def save(self, ledger: Ledger) -> None:
        """Write to a new file, then put it in the place of the old one in one move."""
        flight = ledger.in_flight()
        with ledger.lock:
            rows = ledger.rows.arrays()
            arrays: dict[str, Any] = {f"row_{name}": column.copy() for name, column in rows.items()}
        if flight is not None:
            arrays |= {f"flight_{name}": getattr(flight, name) for name in _FLIGHT}
            arrays |= {f"flight_leaf_{i}": leaf for i, leaf in enumerate(flight.leaves)}
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}.new")
        try:
            with open(fresh, "wb") as file:
                np.savez(file, header=np.asarray(json.dumps(self.header)), **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)
        finally:
            fresh.unlink(missing_ok=True)
        if self.settings.on_save is not None:
            self.settings.on_save(self.path)

    def load(self, rows: Rows) -> Flight | None:
        """Fill `rows` from the file, if there is one, and return the living lanes. Raises
        CheckpointError for another run or a damaged file."""
        if not self.path.exists():
            return None
        where = f"the checkpoint {str(self.path)!r}"
        advice = f"Delete {str(self.path)!r} to start over, or give another checkpoint path."
        try:
            with open(self.path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            saved = json.loads(str(arrays.pop("header")))
            if not isinstance(saved, dict):
                raise ValueError("its header is no table")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise errors.CheckpointError(
                f"{where} is damaged or no checkpoint ({error}). {advice}"
            ) from None
        for name, asked in self.header.items():
            if saved.get(name) != asked:
                held = f"{saved.get(name)!r} in the file, {asked!r} asked for"
                what = f"a run with another {name}: {held}"
                if name == "fingerprint":
                    what = "another run (its kernel, domain or start differs)"
                raise errors.CheckpointError(f"{where} is of {what}. {advice}")
        for name, values in rows.arrays().items():
            stored = arrays.get(f"row_{name}")
            if stored is None or (stored.shape, stored.dtype) != (values.shape, values.dtype):
                raise errors.CheckpointError(
                    f"{where} is damaged (its column {name!r} does not fit). {advice}"
                )
            values[...] = stored
        if "flight_ids" not in arrays:
            return None
        count = sum(name.startswith("flight_leaf_") for name in arrays)
        leaves = [arrays[f"flight_leaf_{i}"] for i in range(count)]
        ids, step, before = (arrays[f"flight_{name}"] for name in _FLIGHT)
        return Flight(ids, step, before, leaves)


def saver(value: Any, run: Run, record: str, part: tuple[int, int]) -> Saver:
    """What saves `run` to the path or `Checkpoint` given, which is probed for writing, under a name
    of its own for each of several shards."""
    settings = value if isinstance(value, Checkpoint) else None
    path = errors.writable("checkpoint", value if settings is None else settings.path)
    settings = settings or Checkpoint(path)
    if part[1] > 1:
        path = path.with_name(f"{path.name}.{part[0]}-of-{part[1]}")
    return Saver(settings, path, run, record)
