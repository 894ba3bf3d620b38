"""A worker: one host thread that keeps a stack of blocks of lanes busy.

To the host a lane is one number: lane n is column `n % width` of block `n // width`.
"""

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from levysde.escape.block import (
    AT_LIMIT,
    INSIDE,
    NONFINITE,
    SMALLEST,
    Block,
    Limits,
    Problem,
    Records,
    advance,
    advance_stack,
    empty_queue,
    empty_stack,
    jit,
)
from levysde.escape.fused import FUSED, compiles, fused_or_looped
from levysde.escape.ledger import Flight, Ledger
from levysde.escape.request import Run
from levysde.escape.result import Status
from levysde.protocols import Kernel
from levysde.random import split_uint64, trajectory_key

_CALL_SECONDS = 0.1  # a call lasts about this long, so that stopping and progress are prompt
# on accelerators, whose records of a million lanes take a while to fetch
_DEVICE_CALL_SECONDS = 0.25
_ROUNDS_A_LIFE = 64  # in the mean, so that a lane that has ended waits for little
_PLACES, _QUEUE_NUMBERS = 8192, 2**18  # of the queue: places, and numbers in their starts
_NARROWEST = 4096  # lanes of an accelerator
# a narrower program is compiled once a run has worked for so many times its compilation
_NARROWING = 1.0
_SPARE = 32  # a call ends when the queue is empty and one lane in so many is idle

_compile_lock = threading.Lock()
# by layout and device: whether the steps are fused, seconds it took
_compiled: dict[Any, tuple[bool, float]] = {}


@functools.cache
def compiled_advance(platform: str, fused: bool) -> Any:
    """The jitted `advance_stack` of a platform, its steps in one kernel if `fused`; its cache
    outlives a run, so equal structures compile once."""
    return jit(
        functools.partial(advance_stack, advance=fused_or_looped if fused else advance), platform
    )


class Worker:
    """Advances lanes until the ledger has no more trajectories. `run` is the thread's target."""

    def __init__(self, number: int, run: Run, ledger: Ledger, device: Any):
        self.number, self.ledger, self.starts, self.device = number, ledger, run.starts, device
        self.problem = jax.device_put(Problem(*run.problem), device)
        self.kernel = run.problem[0]
        self.elapsed = self.kernel.elapsed  # equinox binds a method anew at each look, in 0.2 ms
        self.limit, self.seed = np.uint32(run.limit), split_uint64(run.seed)
        self.size = np.asarray(run.size, run.starts.dtype)
        self.fixed_width, self.share = not run.lane_invariant, 1 / (4 * len(run.devices))
        self.chunk, self.steps, self.rounds = run.chunk, run.chunk or 32, 1
        self.lane_steps = self.ended = self.taken = 0
        self.blocks, self.width = run.lanes // run.width, run.width
        self.ids, self.used = np.zeros(run.lanes, np.uint64), np.zeros(run.lanes, bool)
        self.made = 0  # steps made so far by the lanes in use
        self.stack = jax.device_put(
            empty_stack(self.kernel, self.blocks, self.width, self.starts.dtype), device
        )
        self.places = max(run.lanes, min(_PLACES, _QUEUE_NUMBERS // self.kernel.dim))
        self.snapshot, self.compiled = 0, False
        # seconds to compile this layout, and seconds of work since the start
        self.cost = self.busy = 0.0
        self.fused = device.platform in FUSED  # until it is seen to compile
        # `with jax.enable_x64(True)` holds in the caller's thread only
        self.wide = jnp.result_type(float) == np.float64

    def run(self) -> None:
        with jax.enable_x64(self.wide), jax.default_device(self.device):
            while not self.ledger.stop.is_set() and self.turn():
                if self.ledger.wanted > self.snapshot:
                    self.deposit(self.ledger.wanted)
            self.deposit(self.ledger.wanted)

    def turn(self) -> bool:
        """One call of the compiled part, and the rows of those that finished in it. False when all
        is done."""
        if self.ledger.flight is not None:
            self.restore()
        idle = len(self.used) - int(self.used.sum())
        ids = self.ledger.take(min(self.places, idle + 2 * self.taken + SMALLEST), self.share)
        if not len(ids):
            self.pack()
        if not len(ids) and not self.used.any():
            return False
        if not self.compiled:
            self.compile()
        start = time.perf_counter()
        self.stack, records, taken, rounds = self.call(ids, self.rounds)
        self.taken, rounds = int(taken), int(rounds)
        seconds = time.perf_counter() - start
        self.busy += seconds
        self.ledger.give_back(ids[self.taken :])
        self.book(np.concatenate([self.ids, ids]), records, rounds)
        self.adapt(seconds, rounds)
        return True

    @property
    def narrower(self) -> int:
        """The width that follows when few lanes live; 0 for none. Each width is compiled, hence the
        large step: the larger on accelerators, where few lanes take as long as many. 0 too while
        compiling it would more than double the run's time."""
        least, part = (SMALLEST, 4) if self.device.platform == "cpu" else (_NARROWEST, 32)
        width = min(self.width, max(least, -(-self.width // part // SMALLEST) * SMALLEST))
        if self.fixed_width or width == self.width:
            return 0
        pays = self.busy > _NARROWING * self.cost or self._layout(1, width) in _compiled
        return width if pays else 0

    def call(self, ids: np.ndarray, rounds: int) -> tuple:
        queue = empty_queue(self.starts, self.places)
        queue.key[:, : len(ids)] = trajectory_key(self.seed, split_uint64(ids))
        if self.starts.ndim == 2:
            queue.start[:, : len(ids)] = self.starts[ids].T
        lanes = self.blocks * self.width
        if len(ids):
            floor = lanes - max(1, lanes // _SPARE)
        else:
            floor = self.width * (self.blocks - 1) or self.narrower
        counts = np.array([self.steps, rounds, self.blocks, floor], np.int32)
        limits = Limits(self.limit, counts[0], counts[1], counts[2], counts[3], self.size)
        advance = compiled_advance(self.device.platform, self.fused)
        return advance(self.problem, self.stack, queue._replace(count=np.int32(len(ids))), limits)

    def book(self, ids: np.ndarray, records: Records, rounds: int) -> None:
        """Write the rows of the slots that ended, and update what is in the lanes."""
        step, slot = (np.asarray(leaf).reshape(-1) for leaf in (self.stack.step, self.stack.slot))
        ended = np.flatnonzero(np.asarray(records.standing)[: len(ids)] != INSIDE)
        before = self.made
        if len(ended):
            rows = jax.tree.map(lambda leaf: np.asarray(leaf)[ended], records)
            columns = outcome(self.kernel, self.elapsed, rows)
            self.ledger.write(ids[ended], columns | {"overshot": rows.overshot})
            before -= int(rows.step.sum(dtype=np.uint64))
        self.used = slot >= 0
        self.ids = ids[np.maximum(slot, 0)]
        self.made = int(step.sum(where=self.used, dtype=np.uint64))
        lane_steps = rounds * self.blocks * self.width * self.steps
        self.ledger.count_work(lane_steps, self.made - before)
        self.lane_steps, self.ended = self.lane_steps + lane_steps, self.ended + len(ended)

    def adapt(self, seconds: float, rounds: int) -> None:
        """Choose few steps in a round, so that a lane seldom waits, and many rounds in a call, so
        that the host seldom does."""
        life = self.lane_steps / (self.ended + 1)
        pace = max(seconds, 1e-6) / max(1, rounds * self.steps)  # seconds a step of the stack
        lasting = _CALL_SECONDS if self.device.platform == "cpu" else _DEVICE_CALL_SECONDS
        steps = min(life / _ROUNDS_A_LIFE, lasting / pace, 16 * self.steps)
        # a refill costs some 10 us: beside a network's step, nothing
        least = max(1, min(16, int(1e-3 / pace)))
        if self.chunk is None:
            self.steps = max(least, 2 ** int(np.log2(max(steps, 1))))
        self.rounds = int(np.clip(lasting / (pace * self.steps), 1, 16 * self.rounds))

    def restore(self) -> None:
        lanes = np.flatnonzero(~self.used[: self.blocks * self.width])
        flight = self.ledger.resume(len(lanes))
        if flight is None:
            return
        lanes = lanes[: len(flight.ids)]
        self.ids[lanes], self.used[lanes] = flight.ids, True
        saved = Block(
            jax.tree.unflatten(jax.tree.structure(self.stack.state), flight.leaves),
            flight.before,
            flight.step,
            trajectory_key(self.seed, split_uint64(flight.ids)),
            lanes.astype(np.int32),
        )

        def written(leaf: Any, values: np.ndarray) -> np.ndarray:
            array = np.array(leaf)
            block, column = np.divmod(lanes, self.width)
            array[block, ..., column] = np.moveaxis(values, -1, 0)
            return array

        self.made += int(flight.step.sum(dtype=np.uint64))
        self.stack = jax.device_put(jax.tree.map(written, self.stack, saved), self.device)

    def pack(self) -> None:
        """Move the living lanes together once they need fewer blocks, or fit into a narrow one."""
        living, width = int(self.used.sum()), self.width
        if self.blocks == 1 and living <= self.narrower:
            width = self.narrower or width
        needed = max(1, -(-living // width))
        if width == self.width and needed == self.blocks:
            return
        kept = len(self.used) if width == self.width else width
        order = np.argsort(~self.used, kind="stable")[:kept]

        def moved(leaf: Any) -> np.ndarray:
            values = _lanes_of(np.asarray(leaf), order)
            blocks = values.reshape(*values.shape[:-1], -1, width)
            return np.ascontiguousarray(np.moveaxis(blocks, -2, 0))

        self.stack = jax.device_put(jax.tree.map(moved, self.stack), self.device)
        self.ids, self.used = self.ids[order], self.used[order]
        self.compiled = self.compiled and width == self.width
        self.blocks, self.width = needed, width

    def _layout(self, blocks: int, width: int) -> tuple:
        """What a compiled program is for."""
        leaves = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(self.problem)]
        lanes = [(leaf.shape[1:-1], leaf.dtype) for leaf in jax.tree.leaves(self.stack)]
        structure = jax.tree.structure(self.problem)
        return structure, self.device, self.places, *leaves, *lanes, blocks, width

    def compile(self) -> None:
        """Compile for this layout if that has not been done, one thread at a time, and book the
        time apart."""
        key = self._layout(self.blocks, self.width)
        with _compile_lock:
            if key not in _compiled:
                start = time.perf_counter()
                self.fused = self.fused and compiles(self.call, np.zeros(0, np.uint64), 0)
                jax.block_until_ready(self.call(np.zeros(0, np.uint64), 0))
                _compiled[key] = self.fused, time.perf_counter() - start
                self.ledger.count_work(0, 0, _compiled[key][1])
            self.fused, self.cost = _compiled[key]
        self.compiled = True

    def deposit(self, number: int) -> None:
        lanes = np.flatnonzero(self.used)
        step, before = (
            _lanes_of(np.asarray(leaf), lanes) for leaf in (self.stack.step, self.stack.before)
        )
        leaves = [_lanes_of(np.asarray(leaf), lanes) for leaf in jax.tree.leaves(self.stack.state)]
        self.ledger.deposit(self.number, number, Flight(self.ids[lanes], step, before, leaves))
        self.snapshot = number


def _lanes_of(leaf: np.ndarray, lanes: np.ndarray) -> np.ndarray:
    """Some lanes of a stacked array `(blocks, ..., width)`, as `(..., len(lanes))`."""
    block, column = np.divmod(lanes, leaf.shape[-1])
    chosen = leaf[block, ..., column]  # the lanes come first
    return chosen if chosen.ndim == 1 else np.moveaxis(chosen, 0, -1)


def outcome(kernel: Kernel, elapsed: Callable, ends: Records) -> dict[str, np.ndarray]:
    """The columns of a result, a row an end. `elapsed` is the kernel's."""
    lost = (ends.standing == AT_LIMIT) & _overflowed(kernel, ends)
    standing = np.where(lost, NONFINITE, ends.standing)
    outside = ((standing > 0) | (standing == NONFINITE))[:, None]
    ended = np.where(standing == NONFINITE, Status.NONFINITE, Status.CENSORED)
    status = np.where(standing > 0, Status.EXITED, ended)
    return {
        "time": elapsed(jax.tree.map(lambda leaf: np.moveaxis(leaf, 0, -1), ends.state), ends.step),
        "label": np.maximum(standing, 0),
        "last_inside": np.where(outside, ends.before, ends.position),
        "first_outside": np.where(outside, ends.position, np.nan),
        "steps": ends.step,
        "status": status,
    }


def _overflowed(kernel: Kernel, ends: Records) -> np.ndarray:
    """Whether a number of the state that was finite at the start is so no longer, for each end: an
    average that has overflowed may hold the position still, inside for ever."""
    finite = [_finite(leaf) for leaf in jax.tree.leaves(ends.state)]
    if all(part.all() for part in finite):
        return np.zeros(len(ends.standing), bool)
    words = jnp.zeros(kernel.words_per_init, jnp.uint32)
    start = jax.tree.leaves(kernel.init(jnp.zeros_like(ends.before[0]), words))
    begun = [_finite(leaf) for leaf in start]
    lost = [(~now & well) for now, well in zip(finite, begun, strict=True)]
    return np.any([part.reshape(len(part), -1).any(1) for part in lost], axis=0)


def _finite(leaf: Any) -> np.ndarray:
    """Which numbers of an array are finite. Integers are, and so are keys and flags."""
    array = np.asarray(leaf)
    inexact = np.issubdtype(array.dtype, np.inexact) or array.dtype.kind == "V"
    return np.isfinite(array) if inexact else np.ones(array.shape, bool)
