"""A worker: one host thread that keeps one block of lanes busy."""

import threading
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from levysde.escape.block import IDLE, Block, Feed, Report, compiled_advance, empty_block
from levysde.escape.ledger import Flight, Ledger
from levysde.escape.result import Status
from levysde.protocols import Kernel
from levysde.random import split_uint64

SMALLEST = 16  # below this XLA may vectorise differently and change the last bit
_SHRINK = 2  # the draining block shrinks by this factor; each size compiles once
_CALL_SECONDS = 0.05  # a call lasts about this long, so that stopping and progress are prompt
_BUSY = 1 / 32  # share of lanes that may end in a call before calls are made shorter

_compile_lock = threading.Lock()
_compiled: set[Any] = set()


@dataclass(frozen=True)
class Run:
    """What is the same for every worker: `(kernel, domain, seed words)`, starts `(d,)` or `(num, d)`, limits, layout.
    `lane_invariant`: whether results are the same bits for any number of lanes; if not, a block keeps its lanes."""

    problem: tuple
    starts: np.ndarray
    seed: int
    num: int
    limit: int
    lanes: int
    chunk: int | None
    devices: tuple
    lane_invariant: bool


class Worker:
    """Advances lanes until the ledger has no more trajectories. `run` is the thread's target."""

    def __init__(self, number: int, run: Run, ledger: Ledger, device: Any):
        problem, lanes, chunk, starts, limit = run.problem, run.lanes, run.chunk, run.starts, run.limit
        self.number, self.ledger, self.starts, self.device = number, ledger, starts, device
        self.problem = jax.device_put(problem, device)
        self.kernel = problem[0]
        self.limit = np.uint32(limit)
        self.fixed_lanes = not run.lane_invariant
        self.chunk, self.steps = chunk, chunk or 32
        self.ids = np.zeros(lanes, np.uint64)
        self.used = np.zeros(lanes, bool)
        self.block = jax.device_put(empty_block(self.kernel, lanes, starts.dtype), device)
        self.snapshot = 0
        self.wide = (
            jnp.result_type(float) == np.float64
        )  # `with jax.enable_x64(True)` holds in the caller's thread only

    def run(self) -> None:
        with jax.enable_x64(self.wide), jax.default_device(self.device):
            while not self.ledger.stop.is_set() and self.fill():
                self.turn()
                if self.ledger.wanted > self.snapshot:
                    self.deposit(self.ledger.wanted)
            self.deposit(self.ledger.wanted)

    def fill(self) -> bool:
        """Hand idle lanes to new trajectories; shrink the block once there are none. False when all is done."""
        idle = np.flatnonzero(~self.used)
        fresh, resumed = self.ledger.take(len(idle)) if len(idle) else (np.zeros(0, np.uint64), None)
        self.fresh = np.zeros(len(self.used), bool)
        lanes = idle[: len(fresh)]
        self.fresh[lanes], self.ids[lanes], self.used[lanes] = True, fresh, True
        if resumed is not None:
            lanes = idle[len(fresh) : len(fresh) + len(resumed.ids)]
            self.ids[lanes], self.used[lanes] = resumed.ids, True
            self.restore(lanes, resumed)
        if not self.fixed_lanes and self.ledger.exhausted:
            self.shrink()
        return bool(self.used.any())

    def restore(self, lanes: np.ndarray, flight: Flight) -> None:
        """Write saved lanes into the block."""
        leaves, tree = jax.tree.flatten(self.block)
        saved = [*flight.leaves, flight.before, flight.step]
        arrays = [np.array(leaf) for leaf in leaves]
        for array, values in zip(arrays, saved, strict=True):
            array[..., lanes] = values
        self.block = jax.device_put(jax.tree.unflatten(tree, arrays), self.device)

    def shrink(self) -> None:
        """Pack the living lanes into a smaller block when at most half of them live."""
        size = len(self.used)
        while size > SMALLEST and self.used.sum() <= size / _SHRINK:
            size = max(SMALLEST, -(-size // _SHRINK // SMALLEST) * SMALLEST)
        if size < len(self.used):
            keep = np.concatenate([np.flatnonzero(self.used), np.flatnonzero(~self.used)])[:size]
            block = jax.tree.map(lambda leaf: np.ascontiguousarray(np.asarray(leaf)[..., keep]), self.block)
            self.block = jax.device_put(block, self.device)
            self.ids, self.used, self.fresh = self.ids[keep], self.used[keep], self.fresh[keep]

    def turn(self) -> None:
        """One call of the compiled part, and the rows of those that finished in it."""
        self.ready()
        before = self.total_steps(~self.fresh)
        start = time.perf_counter()
        self.block, report = self.call(self.steps)
        done = np.asarray(report.done) & self.used
        seconds = time.perf_counter() - start
        self.ledger.count_work(len(self.used) * self.steps, self.total_steps() - before)
        lanes = np.flatnonzero(done)
        if len(lanes):
            self.finish(lanes, report)
        self.used &= ~done
        if self.chunk is None:
            self.adapt(seconds, len(lanes))

    def call(self, steps: int) -> tuple[Block, Report]:
        starts = self.starts if self.starts.ndim == 1 else self.starts[self.ids]
        start = np.broadcast_to(starts[:, None], (len(starts), len(self.used))) if starts.ndim == 1 else starts.T
        feed = Feed(split_uint64(self.ids), self.fresh, np.ascontiguousarray(start))
        return compiled_advance(self.device.platform)(self.problem, self.block, feed, self.limit, np.int32(steps))

    def ready(self) -> None:
        """Compile for this block size if that has not been done, one thread at a time, and book the time apart."""
        key = (
            jax.tree.structure(self.problem),
            self.device,
            *(leaf.shape for leaf in jax.tree.leaves(self.problem)),
            len(self.used),
        )
        if key in _compiled:
            return
        with _compile_lock:
            if key not in _compiled:
                start = time.perf_counter()
                jax.block_until_ready(self.call(0))
                _compiled.add(key)
                self.ledger.count_work(0, 0, time.perf_counter() - start)

    def total_steps(self, lanes: np.ndarray | bool = True) -> int:
        return int(np.asarray(self.block.step)[self.used & lanes].sum(dtype=np.uint64))

    def adapt(self, seconds: float, ended: int) -> None:
        """Longer calls while few lanes end in one and it is short; shorter ones otherwise. Results do not depend on it."""
        if seconds > 2 * _CALL_SECONDS or ended > 2 * _BUSY * len(self.used):
            self.steps = max(16, self.steps // 2)
        elif seconds < _CALL_SECONDS and ended <= _BUSY * len(self.used):
            self.steps = min(self.steps * 2, 2**20)

    def finish(self, lanes: np.ndarray, report: Report) -> None:
        self.ledger.write(self.ids[lanes], outcome(self.kernel, self.block, report, lanes))

    def deposit(self, number: int) -> None:
        """Leave a copy of the living lanes for the checkpoint."""
        lanes = np.flatnonzero(self.used)
        step = np.asarray(self.block.step)[lanes]
        keep = lanes[step != IDLE]
        leaves = [np.asarray(leaf)[..., keep].copy() for leaf in jax.tree.leaves(self.block.state)]
        flight = Flight(
            self.ids[keep], np.asarray(self.block.step)[keep], np.asarray(self.block.before)[:, keep], leaves
        )
        self.ledger.deposit(self.number, number, flight)
        self.snapshot = number


def outcome(kernel: Kernel, block: Block, report: Report, lanes: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of a result for `lanes`, as they stand: left, NaN, or still inside."""
    label = np.asarray(report.label)[lanes]
    position = np.asarray(report.position)[:, lanes].T
    steps = np.asarray(block.step)[lanes]
    state = jax.tree.map(lambda leaf: np.asarray(leaf)[..., lanes], block.state)
    exited = label > 0
    status = np.where(exited, Status.EXITED, Status.CENSORED)
    status = np.where(np.asarray(report.nonfinite)[lanes], Status.NONFINITE, status)
    before = np.asarray(block.before)[:, lanes].T
    return {
        "time": kernel.elapsed(state, steps),
        "label": np.where(status == Status.EXITED, label, 0),
        "last_inside": np.where(exited[:, None], before, position),
        "first_outside": np.where(exited[:, None], position, np.nan),
        "steps": steps,
        "status": status,
    }
