"""What the workers share: the counter of ids, the rows of finished trajectories, the lanes still in
flight."""

import math
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from levysde.escape.result import Status


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


@dataclass
class Flight:
    """Unfinished trajectories with all that is needed to go on: the lane axis last, as in a
    `Block`."""

    ids: np.ndarray
    step: np.ndarray
    before: np.ndarray
    leaves: list[np.ndarray]

    def take(self, keep: np.ndarray) -> "Flight":
        return Flight(
            self.ids[keep],
            self.step[keep],
            self.before[..., keep],
            [leaf[..., keep] for leaf in self.leaves],
        )

    @staticmethod
    def join(parts: list["Flight"]) -> "Flight | None":
        parts = [part for part in parts if len(part.ids)]
        if not parts:
            return None
        leaves = [
            np.concatenate(group, -1)
            for group in zip(*(part.leaves for part in parts), strict=True)
        ]
        ids, step = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "step")
        )
        return Flight(ids, step, np.concatenate([part.before for part in parts], -1), leaves)


@dataclass
class Ledger:
    """The state that workers share; every method takes the lock."""

    rows: Rows
    shard: tuple[int, int] = (0, 1)  # this one, of so many: this shard takes every n-th id
    flight: Flight | None = None  # resumed lanes, handed out before new ids
    lock: threading.Lock = field(default_factory=threading.Lock)
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
        """Up to `count` resumed trajectories with their lanes."""
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
        """Ids that were taken and not begun."""
        with self.lock:
            self.returned = np.concatenate([self.returned, ids])

    @property
    def exhausted(self) -> bool:
        return self.next >= len(self.queue) and self.flight is None and not len(self.returned)

    def write(self, ids: np.ndarray, columns: dict[str, np.ndarray]) -> None:
        """Store finished rows."""
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
